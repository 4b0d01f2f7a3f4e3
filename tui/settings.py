"""What a user may set about the program itself: where it keeps its things. The numbers' settings are `analytics/settings.py`.

Places follow the platform's own rules (platformdirs, which honours XDG_*). Nothing is created here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field
from platformdirs import user_config_path, user_data_path, user_state_path

from analytics.settings import Fx
from feeds.errors import InputError
from feeds.machine.address import Address
from feeds.venues.tardis import STREAM_PATH

APP: Final = "arbtop"

Place = Annotated[str, Meta(max_length=1024)]
"""A directory: absolute, under `~/`, or empty for the default."""


class Paths(Struct, frozen=True, forbid_unknown_fields=True):
    """`[paths]`: directories, absolute or under ~/. An empty one is the default."""

    state: Place = ""
    recordings: Place = ""
    exports: Place = ""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            place = getattr(self, name)
            if not place.isprintable():
                raise ValueError(f"{name} holds a control character")
            if place and not place.startswith(("/", "~/")) and place != "~":
                raise ValueError(f"{name} must be absolute or begin with ~/")

    def state_dir(self) -> Path:
        """Where the alert log lives. Raises InputError where a `~` means nothing, as the others do."""
        return _expand(self.state) if self.state else user_state_path(APP, appauthor=False)

    def recordings_dir(self) -> Path:
        """Where an import goes without `--output`, and where a replay looks for a name that is not here."""
        return _expand(self.recordings) if self.recordings else user_data_path(APP, appauthor=False) / "recordings"

    def exports_dir(self) -> Path:
        """Where exports and pictures go that are named without a directory."""
        return _expand(self.exports) if self.exports else Path.cwd()

    def export_path(self, path: Path) -> Path:
        """A plain file name goes to the directory of exports, if one is set; a path is taken as it is."""
        if self.exports and path.parent == Path() and path.name not in ("", ".."):
            return _expand(self.exports) / path
        return path


class Venues(Struct, frozen=True, forbid_unknown_fields=True):
    """`[venues]`: which are live, and how they are reached. Nothing here is secret: public data needs no key.

    `tardis`: a tardis-machine's live address, whose exchanges stand in for all venues.
    """

    live: Annotated[tuple[Literal["binance", "bybit", "okx", "deribit", "bitmex"], ...], Meta(min_length=1)] = (
        "binance",
        "bybit",
        "okx",
        "deribit",
    )
    fx: Fx = "implied"
    endpoints: Mapping[str, Annotated[str, Meta(min_length=1, max_length=300)]] = field(default_factory=dict)
    tardis: Annotated[str, Meta(max_length=2000)] = ""
    proxy: Annotated[str, Meta(max_length=300)] = ""
    ca_file: Place = ""

    def places(self) -> dict[str, dict[str, dict[str, str]]]:
        """Venue → market → `rest` or `websocket` → its base URL. Raises ValueError for a key of another form."""
        found: dict[str, dict[str, dict[str, str]]] = {}
        for key, url in self.endpoints.items():
            words = key.split()
            if len(words) != 3 or words[2] not in ("rest", "websocket"):
                raise ValueError(f'"{key}" must be like "BINANCE usdm rest" or "BINANCE usdm websocket"')
            venue, market, what = words
            found.setdefault(venue.upper(), {}).setdefault(market.lower(), {})[what] = url.rstrip("/")
        return found

    def __post_init__(self) -> None:
        self.places()
        if self.tardis:
            try:
                live = Address.of(self.tardis).route.live
            except InputError as error:
                raise ValueError(str(error)) from None
            if not live:
                raise ValueError(
                    f"{self.tardis} has an end: live messages are at tardis://HOST:PORT{STREAM_PATH}?EXCHANGE=SYMBOLS"
                )
        for url in (*self.endpoints.values(), *filter(None, [self.proxy])):
            if not url.isprintable() or "@" in url:
                raise ValueError("an address may hold neither control characters nor a user and password")
        for url in self.endpoints.values():
            if "?" in url or "#" in url:
                raise ValueError("an address of a venue is its base: nothing with ? or #, which recordings would keep")

    def ca_path(self) -> Path | None:
        """Further certificates to trust; None for the system's alone."""
        return _expand(self.ca_file) if self.ca_file else None


class Ui(Struct, frozen=True, forbid_unknown_fields=True):
    """`[ui]`: how the screens look."""

    home: Literal["desk", "book", "alerts", "feeds"] = "desk"
    theme: Annotated[str, Meta(min_length=1, max_length=200)] = "midnight"
    glyphs: Literal["auto", "braille", "block", "ascii"] = "auto"
    fps: Annotated[int, Meta(ge=1, le=30)] = 10
    calm: bool = False
    group_bp: Annotated[float, Meta(ge=0, le=10)] = 1.0


def themes_dir() -> Path:
    """Where the user's own themes are, one TOML file each."""
    return user_config_path(APP, appauthor=False) / "themes"


def default_config_path() -> Path:
    """The configuration file that is read when none is named."""
    return user_config_path(APP, appauthor=False) / "config.toml"


def _expand(place: str) -> Path:
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise InputError(f"[paths] {place}: there is no home directory; write an absolute path") from error
