"""The configuration file: found, read, checked and written. Also the reading and checking of TOML that rule files share.

TOML becomes `Config`, whose tables are the Structs of `analytics/settings.py` and `tui/settings.py`; their types, ranges and
defaults are the only ones, so `config init` and every error text are made from them. tomllib does not tell where a key stands, so a
small scanner maps key paths to lines; it reads only what tomllib has accepted, and never decides whether a file is valid. Not here:
rules (`tui/rules.py`), secrets (none are read). Sources: DESIGN 5, desk.md 7, ecosystem.md 1.
"""

import errno
import os
import re
import stat
import textwrap
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from msgspec import Struct, inspect
from msgspec.structs import fields

from analytics.fees import FeeSchedule
from analytics.settings import AnalyticsSettings
from feeds.errors import InputError
from feeds.text import clean_text
from tui.journal import sync_directory, sync_file, write_whole
from tui.settings import Paths, default_config_path

LONGEST: Final = 1 << 20
"""Bytes of a file that a person wrote; a longer one is something else."""
SHOWN: Final = 256
WIDTH: Final = 100

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the root down; an int is a place in an array."""
Table: TypeAlias = Mapping[str, Any]
S = TypeVar("S", bound=Struct)


class Config(AnalyticsSettings, frozen=True, forbid_unknown_fields=True):
    """Everything a user may set."""

    paths: Paths = Paths()

    @property
    def analytics(self) -> AnalyticsSettings:
        """The tables that the engine is told."""
        return AnalyticsSettings(*(getattr(self, name) for name in AnalyticsSettings.__struct_fields__))


NOTES: Final[Mapping[str, str]] = {
    "fees.tier": 'vip0: what the venue states or the lowest public tier; none: no fees at all',
    "fees.confirmed": "true once you have checked the rates; until then they are shown as unconfirmed",
    "fees.taker_bps": 'your own rates in bp, by venue, kind and contract or by instrument: { "BINANCE spot" = 7.5 }',
    "size.default": "USD a leg",
    "guards.max_age_ms": "ms since a leg's connection last carried data",
    "guards.max_lag_ms": "ms from the venue to here, where known",
    "guards.late_over_own_p50_ms": "ms that a leg's data may come later than its own median",
    "guards.max_skew_ms": "ms by which the lag of two legs may differ",
    "guards.min_leg_usd": "USD that a leg must hold to count",
    "guards.dwell_ms": "ms that an edge must last before it opens an episode",
    "guards.updates": "book updates that an edge must last before it opens an episode",
    "guards.plausible_bp": "bp of difference beyond which something is taken to be wrong",
    "arb.open_bp": "bp of edge at which an episode opens",
    "arb.close_bp": "bp of edge below which it closes",
    "arb.close_hold_ms": "ms that it must stay below",
    "z.window": "samples of 1 s",
    "z.min_periods": "samples of 1 s before there is a z",
    "z.mode": "prior: against the samples before this one; inclusive: with it; ewma: exponentially weighted",
    "z.decay": "weight that ewma keeps from one sample to the next",
    "z.threshold": "standard deviations from which a z counts as unusual",
    "obi.band_bps": "bp on each side of mid",
    "obi.tau_s": "s, time constant of the smoothing",
    "premium.impact_notional": "quote units",
    "paths.state": "alert log and what the program remembers; default: the platform's state directory",
    "paths.recordings": "imported recordings; default: recordings in the platform's data directory",
    "paths.exports": "exports named without a directory; default: the working directory",
}
"""`table.key` → what it is and in which unit. Defaults and ranges come from the Structs."""


class Toml(NamedTuple):
    """A file as read: its root table, and the line of each key and table."""

    name: str
    """The path, safe to show."""
    root: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def line(self, where: KeyPath) -> int:
        """The line of a key, else of the table round it; 1 for what stands nowhere."""
        return next((self.lines[where[:end]] for end in range(len(where), 0, -1) if where[:end] in self.lines), 1)

    def mistake(self, where: KeyPath, text: str) -> InputError:
        return InputError(f"{self.name} line {self.line(where)}: {text}")


def load_config(path: Path | None = None) -> Config:
    """The user's configuration; every default when `path` is None and there is no file in the default place.

    Raises:
        InputError: a named file that is not there, or a mistake in the file, with file, line and mend.
    """
    found = path or default_config_path()
    if path is None and not found.exists():
        return Config()
    toml = read_toml(found)
    config = make(toml, Config, toml.root, (), "the file", toml.root)
    for key, rate_bps in config.fees.taker_bps.items():
        try:
            FeeSchedule(config.fees.tier, {key: rate_bps / 1e4})
        except ValueError as error:
            raise toml.mistake(("fees", "taker_bps", key), clean_text(str(error), SHOWN)) from None
    return config


def read_toml(path: Path) -> Toml:
    """Read a TOML file that a person wrote.

    Raises:
        InputError: it cannot be read, is no text or no TOML; with file, line and mend.
    """
    name = clean_text(str(path), SHOWN)
    data = _bytes_of(path, name).removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode().replace("\r\n", "\n")
        root = tomllib.loads(text)
        return Toml(name, root, key_lines(text))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name} line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8") from None
    except RecursionError:
        raise InputError(f"{name}: tables or arrays are nested too deeply; nothing here needs that") from None
    except ValueError as error:  # tomllib's own, and int()'s for thousands of digits
        said = _POSITION.search(str(error))
        line = int(said[1]) if said and said[1] else text.rstrip("\n").count("\n") + 1
        what = clean_text(_POSITION.sub("", str(error)), SHOWN)
        column = f" at column {said[2]}" if said and said[2] else ""
        raise InputError(f"{name} line {line}: not TOML: {what}{column}") from None


_POSITION = re.compile(r" \((?:at line (\d+), column (\d+)|at end of document)\)$")


def _bytes_of(path: Path, name: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe of that name does not hang the program
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InputError(f"{name}: is not a regular file; name a TOML file")
            data = file.read(LONGEST + 1)
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a directory; name a TOML file") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from error
    except ValueError:
        raise InputError(f"{name}: is no file name") from None
    if len(data) > LONGEST:
        raise InputError(f"{name}: longer than {LONGEST >> 20} MiB; that is no file of settings")
    return data


# From here on: a table against its Struct.


def make(toml: Toml, kind: type[S], table: Table, where: KeyPath, label: str, filled: Table) -> S:
    """`filled` as a Struct, after every key that stands in the file has been checked.

    Args:
        kind: the Struct; nested Structs are tables.
        table: what the file says, at `where`.
        label: what error texts call the table.
        filled: the table with whatever it inherits put in.

    Raises:
        InputError: the first mistake in the order of lines.
    """
    mistakes = sorted(_mistakes(toml, kind, table, where, label), key=lambda mistake: mistake[0])
    if mistakes:
        raise InputError(f"{toml.name} line {mistakes[0][0]}: {mistakes[0][1]}")
    try:
        return msgspec.convert(filled, kind)
    except msgspec.ValidationError as error:
        text, _, inner = str(error).partition(" - at `$")
        deep = (*where, *inner.rstrip("`").strip(".").split(".")) if inner else where
        inside: Any = table
        for key in deep[len(where) :]:
            inside = inside.get(key, {})
        words = re.findall(r"[a-z_]+", text)
        named = min((key for key in inside if key in words), key=words.index, default=None)
        place = f" in [{inner.rstrip('`').strip('.')}]" if inner else ""
        raise toml.mistake(deep if named is None else (*deep, named), clean_text(text, SHOWN) + place) from None


def _mistakes(toml: Toml, kind: type[Struct], table: Table, where: KeyPath, label: str) -> Iterator[tuple[int, str]]:
    known = {field.name: field.type for field in fields(kind)}
    for key, value in table.items():
        here = (*where, key)
        expected = known.get(key)
        if expected is None:
            yield toml.line(here), _unknown(key, value, kind, label)
        elif isinstance(expected, type) and issubclass(expected, Struct):
            if isinstance(value, dict):
                yield from _mistakes(toml, expected, value, here, f"[{key}]")
            else:
                yield toml.line(here), f"{key} is a table: write [{key}] and its keys below it"
        else:
            yield from _wrong(toml, inspect.type_info(expected), value, here, f"{key} in {label}")


def _unknown(key: str, value: object, kind: type[Struct], label: str) -> str:
    names = kind.__struct_fields__
    tables = {name: field.type.__struct_fields__ for name, field in zip(names, fields(kind), strict=True) if _is_table(field.type)}
    shown = clean_text(key)
    if tables:
        near = get_close_matches(key, names, 1)
        homes = [name for name, keys in tables.items() if key in keys]
        if homes:
            return f'key "{shown}" stands outside its table; put it below [{homes[0]}]'
        what = "table" if isinstance(value, dict) else "key"
        mend = f"did you mean [{near[0]}]?" if near else f"there is {', '.join(f'[{name}]' for name in names)}"
        return f"unknown {what} {f'[{shown}]' if what == 'table' else f'"{shown}" outside a table'}; {mend}"
    near = get_close_matches(key, names, 1)
    mend = f'did you mean "{near[0]}"?' if near else f"there is {', '.join(names)}"
    return f'unknown key "{shown}" in {label}; {mend}'
