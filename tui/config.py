"""The configuration file: found, loaded into `Config`, and written with every default for `config init`.

The tables of `Config` are the Structs of `analytics/settings.py` and `tui/settings.py`; their types, ranges and defaults are the
only ones, and the file that is written is made from them. Not here: how TOML is read and a mistake located (`tui/toml.py`), rules
(`tui/rules.py`), secrets (none are read). Sources: DESIGN 5, desk.md 7, ecosystem.md 1.
"""

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import fields

from analytics.fees import FeeSchedule
from analytics.settings import Alerts, AnalyticsSettings, Tables
from feeds.errors import InputError
from feeds.text import clean_text
from tui.journal import sync_directory, sync_file, write_whole
from tui.settings import Paths, Ui, Venues, default_config_path
from tui.toml import SHOWN, make, read_toml, toml_value, wanted
from tui.watching import Watch

WIDTH: Final = 100
"""Characters of a comment line in the written file, after its `# `."""


class Config(Tables, frozen=True, forbid_unknown_fields=True):
    """Everything a user may set."""

    venues: Venues = Venues()
    watch: Watch = Watch()
    alerts: Alerts = Alerts()
    ui: Ui = Ui()
    paths: Paths = Paths()

    @property
    def analytics(self) -> AnalyticsSettings:
        """What the engine is told: its tables, and one key of another."""
        tables = {name: getattr(self, name) for name in Tables.__struct_fields__}
        return AnalyticsSettings(**tables, fx=self.venues.fx)


NOTES: Final[Mapping[str, str]] = {
    "fees": "Whose fees routes pay.",
    "fees.tier": "vip0: the lowest public tier; none: no fees at all",
    "fees.confirmed": "true once you have checked the rates; until then they are shown as unconfirmed",
    "fees.taker_bps": 'your own taker rates in bp, by venue, kind and contract, or by instrument: { "BINANCE spot" = 7.5 }',
    "fees.conversion_bp": "bp that it costs to change one dollar (USD, USDT, USDC) into another and back, on routes that need it",
    "size": "What one leg of a route is worth.",
    "size.default": "USD a leg; 0 judges routes at the touch, whatever it holds",
    "guards": "When a leg, or a pair of legs, may be believed.",
    "guards.max_age_ms": "ms since a leg's connection last carried data",
    "guards.max_lag_ms": "ms from the venue to here, where known",
    "guards.late_over_own_p50_ms": "ms that a leg's data may come later than its own median",
    "guards.max_skew_ms": "ms by which two legs may differ in lag",
    "guards.min_leg_usd": "USD that can be done on a leg",
    "guards.dwell_ms": "ms that an edge must last before an episode opens",
    "guards.updates": "updates that an edge must last before an episode opens",
    "guards.plausible_bp": "bp of difference beyond which something is taken to be wrong",
    "arb": "When an episode of a route opens and closes, by its edge after every fee, in and out.",
    "arb.open_bp": "bp of edge from which an episode opens",
    "arb.close_bp": "bp of edge below which it closes",
    "arb.close_hold_ms": "ms that the edge must stay below",
    "z": "The z-score of mark - index, premium and basis.",
    "z.window": "samples of 1 s",
    "z.min_periods": "samples of 1 s before there is a z",
    "z.mode": "prior: against the samples before this one; inclusive: with it; ewma: exponentially weighted",
    "z.decay": "weight that ewma keeps from one sample to the next",
    "z.threshold": "standard deviations beyond which a z is a strong signal, beyond half of it a weak one",
    "obi": "Order-book imbalance within a band round mid, smoothed.",
    "obi.band_bps": "bp on each side of mid",
    "obi.tau_s": "s, time constant of the smoothing",
    "premium": "The premium of a perpetual over its index.",
    "premium.impact_notional": "quote units whose average price stands for the book",
    "tape": "The tape of large prints.",
    "tape.min_usd": "USD from which a print is shown; block trades too",
    "venues": "The venues of a live run, and how they are reached.",
    "venues.live": "venues that are opened",
    "venues.fx": "dollars for a USDT and a USDC: by the indices of OKX and Deribit, or fixed by you: { USDT = 0.9997 }",
    "venues.endpoints": 'other addresses: { "BINANCE usdm rest" = "https://...", "BYBIT spot websocket" = "wss://..." }',
    "venues.tardis": "a tardis-machine in place of all venues: tardis://localhost:8000/ws-stream-normalized?deribit=BTC-PERPETUAL",
    "venues.proxy": "http:// address of a proxy for everything; empty for none",
    "venues.ca_file": "a PEM file of further certificates to trust, of a proxy that opens TLS; TLS is always verified",
    "watch": "What a live run watches on each venue.",
    "watch.pinned": "base coins",
    "watch.kinds": "spot, perpetuals settled in USDT or in coin, the next and the next but one dated future",
    "watch.quotes": "quotes of spot pairs and linear contracts",
    "watch.else_quotes": "the first of these that a market lists, where it has a coin in none of those",
    "alerts": "Thresholds of alert rules that ship; everything else about rules is in a rule file.",
    "alerts.depeg_bp": "bp that a USDT or USDC is worth more or less than a dollar; over at three quarters of it",
    "ui": "How the screens look.",
    "ui.home": "the screen that is shown first",
    "ui.theme": "a theme that ships (midnight, okabe, ansi), or the name of a file in the themes directory beside this one",
    "ui.glyphs": "signs to draw with; auto takes braille where the terminal's locale is UTF-8, else ascii",
    "ui.fps": "frames per second",
    "ui.calm": "true: two frames per second, and nothing flashes",
    "ui.group_bp": "bp that a row of the order books spans; 0 is one tick",
    "paths": "Directories, absolute or under ~/. Empty is the default.",
    "paths.state": "the alert log; by default in the platform's state directory",
    "paths.recordings": "imported recordings; by default in the platform's data directory",
    "paths.exports": "exports that are named without a directory; by default the working directory",
}
"""Table, or `table.key` → what it is, with its unit. Defaults and ranges come from the Structs."""


def load_config(path: Path | None = None) -> Config:
    """The user's configuration; every default when `path` is None and there is no file in the default place.

    Raises:
        InputError: a named file that is not there, or a mistake in the file, with file, line and mend.
    """
    found = path or default_config_path()
    if path is None and not found.exists():
        return Config()
    toml = read_toml(found)
    config = make(toml, Config, toml.root)
    for key, rate_bps in config.fees.taker_bps.items():
        try:
            FeeSchedule(config.fees.tier, {key: rate_bps / 1e4})
        except ValueError as error:
            raise toml.mistake(("fees", "taker_bps", key), clean_text(str(error), SHOWN)) from None
    return config


# Writing the file.


def default_file() -> str:
    """A configuration file in which every key stands with its default, range and unit, commented out."""
    lines = [
        "# arbtop's configuration. Each key stands here with its default: remove the # in front to change one.",
        "# What stays commented follows the program's own defaults. `arbtop config check` says whether the file is sound.",
    ]
    for name, kind in ((field.name, field.type) for field in fields(Config)):
        lines += ["", *_comment(NOTES.get(name, "")), f"[{name}]"]
        for field in fields(kind):
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            note = NOTES.get(f"{name}.{field.name}", "")
            lines += [*_comment(f"{note} ({wanted(field.type)})"), f"#{field.name} = {toml_value(default)}"]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH)]


def write_default_file(path: Path) -> None:
    """Write `default_file` at once and whole, readable by its owner only, where there is no file yet.

    Raises:
        InputError: there is one.
        OSError: the disk refused it; nothing is left behind.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    beside = f".{path.name}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
        try:
            try:
                write_whole(descriptor, default_file().encode())
                sync_file(descriptor)
            finally:
                os.close(descriptor)
            os.link(beside, path.name, src_dir_fd=directory, dst_dir_fd=directory)  # unlike a rename, it never replaces a file
        finally:
            os.unlink(beside, dir_fd=directory)
        sync_directory(directory)
    except FileExistsError:
        raise InputError(f"{clean_text(str(path), SHOWN)}: is there already; move it away, or edit it") from None
    finally:
        os.close(directory)
