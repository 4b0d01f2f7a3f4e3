"""The configuration file: found, read, checked and written. Also the reading and checking of TOML that rule files share.

TOML becomes `Config`, whose tables are the Structs of `analytics/settings.py` and `tui/settings.py`. Their types, ranges and
defaults are the only ones: `config init` and every error text are made from them. tomllib does not tell where a key stands, so a
scanner maps key paths to lines; it reads only what tomllib has accepted, and never decides whether a file is valid. Not here:
rules (`tui/rules.py`), secrets (none are read). Sources: DESIGN 5, desk.md 7, ecosystem.md 1.
"""

import os
import re
import textwrap
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, get_args

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
    "fees": "Whose fees routes pay.",
    "fees.tier": "vip0: the lowest public tier; none: no fees at all",
    "fees.confirmed": "true once you have checked the rates; until then they are shown as unconfirmed",
    "fees.taker_bps": 'your own taker rates in bp, by venue, kind and contract, or by instrument: { "BINANCE spot" = 7.5 }',
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
    "paths": "Directories, absolute or under ~/. Empty is the default.",
    "paths.state": "the alert log; by default in the platform's state directory",
    "paths.recordings": "imported recordings; by default in the platform's data directory",
    "paths.exports": "exports that are named without a directory; by default the working directory",
}
"""Table, or `table.key` → what it is, with its unit. Defaults and ranges come from the Structs."""


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
    config = make(toml, Config, toml.root)
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
            data = file.read(LONGEST + 1)
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file; check the name") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}; name a file that can") from error
    except ValueError:
        raise InputError(f"{name}: is no file name") from None
    if len(data) > LONGEST:
        raise InputError(f"{name}: longer than {LONGEST >> 20} MiB; that is no file of settings")
    return data


# A table against its Struct.


def make(
    toml: Toml, kind: type[S], table: Table, where: KeyPath = (), label: str = "", inherited: Table = MappingProxyType({})
) -> S:
    """A table of the file as a Struct.

    Args:
        kind: its fields are keys, its Structs are tables.
        table: what the file says, at `where`.
        label: what error texts call the table; "" for the root.
        inherited: values of keys that the file leaves out, where they are not the Struct's defaults.

    Raises:
        InputError: the first mistake in the order of lines.
    """
    mistakes = sorted(_mistakes(toml, kind, table, where, label), key=lambda mistake: mistake[0])
    if mistakes:
        raise InputError(f"{toml.name} line {mistakes[0][0]}: {mistakes[0][1]}")
    given = {**inherited, **table}
    missing = [field.name for field in fields(kind) if field.required and field.name not in given]
    if missing:
        raise toml.mistake(where, f"{label} needs {' and '.join(missing)}")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:  # each value is right, together they are not
        text, _, inner = str(error).partition(" - at `$.")
        place: KeyPath = (*where, inner.rstrip("`")) if inner else where
        words = re.findall(r"\w+", text)
        named = [word for word in words if (*place, word) in toml.lines]
        prefix = f"[{inner.rstrip('`')}] " if inner else ""
        raise toml.mistake((*place, *named[:1]), prefix + clean_text(text, SHOWN)) from None


def _mistakes(toml: Toml, kind: type[Struct], table: Table, where: KeyPath, label: str) -> Iterator[tuple[int, str]]:
    expected = {field.name: field.type for field in fields(kind)}
    for key, value in table.items():
        here = (*where, key)
        line = toml.line(here)
        if key not in expected:
            yield line, _unknown(key, value, expected, label)
        elif _is_table(expected[key]):
            if isinstance(value, dict):
                yield from _mistakes(toml, expected[key], value, here, f"[{key}]")
            else:
                yield line, f"{key} is a table: write [{key}], and its keys below it"
        else:
            yield from _wrong(toml, expected[key], value, here, f"{key} in {label}")


def _is_table(expected: Any) -> bool:
    return isinstance(expected, type) and issubclass(expected, Struct)


def _unknown(key: str, value: object, expected: Mapping[str, Any], label: str) -> str:
    what = "table" if isinstance(value, dict) and not label else "key"
    shown = f"[{clean_text(key)}]" if what == "table" else f'"{clean_text(key)}"'
    tables = {name: kind.__struct_fields__ for name, kind in expected.items() if _is_table(kind)}
    home = next((name for name, keys in tables.items() if key in keys), None)
    if home is not None and what == "key":
        return f"unknown key {shown} outside a table; put it below [{home}]"
    quoted = {name: f"[{name}]" if name in tables else f'"{name}"' for name in expected}
    near = get_close_matches(key, expected, 1)
    mend = f"did you mean {quoted[near[0]]}?" if near else f"what there is: {', '.join(quoted.values())}"
    return f"unknown {what} {shown}{f' in {label}' if label else ''}; {mend}"


def _wrong(toml: Toml, expected: Any, value: object, where: KeyPath, label: str) -> Iterator[tuple[int, str]]:
    """What is wrong with a value that is no table of settings."""
    form = inspect.type_info(expected)
    if isinstance(form, inspect.DictType):
        if not isinstance(value, dict):
            yield toml.line(where), f"{label} is {_shown(value)}: it must be {wanted(expected)}"
            return
        (entry,) = get_args(expected)[1:]
        for key, each in value.items():
            yield from _wrong(toml, entry, each, (*where, key), f'"{clean_text(key)}" in {label}')
        return
    finite = not isinstance(value, float) or isfinite(value)
    try:
        msgspec.convert(value, expected)
    except msgspec.ValidationError:
        pass
    else:
        if finite:
            return
    must = wanted(expected) if finite else wanted(expected).replace("a number", "a finite number")
    yield toml.line(where), f"{label} is {_shown(value)}: it must be {must}"


def wanted(expected: Any) -> str:
    """What a value must be, in words: `a whole number from 0 to 3600000`."""
    return _words(inspect.type_info(expected))


def _words(form: inspect.Type) -> str:
    match form:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{_range(form)}"
        case inspect.FloatType():
            return f"a number{_range(form)}"
        case inspect.LiteralType():
            return "one of " + ", ".join(f'"{value}"' for value in form.values)
        case inspect.EnumType():
            return "one of " + ", ".join(f'"{member.value}"' for member in form.cls)
        case inspect.StrType():
            least = f" of at least {form.min_length} characters" if form.min_length else ""
            most = f" of at most {form.max_length} characters" if form.max_length else ""
            return f"text{least or most}" + (f" like {form.pattern}" if form.pattern else "")
        case inspect.DictType():
            return f'a table of "name" = {_words(form.value_type)}'
        case inspect.UnionType():
            return " or ".join(_words(one) for one in form.types if not isinstance(one, inspect.NoneType))
    raise TypeError(f"a setting of type {form} has no words")


def _range(form: inspect.IntType | inspect.FloatType) -> str:
    if form.ge is not None and form.le is not None:
        return f" from {form.ge:.15g} to {form.le:.15g}"
    bounds = (("from", form.ge), ("above", form.gt), ("up to", form.le), ("below", form.lt))
    stated = [f"{word} {bound:.15g}" for word, bound in bounds if bound is not None]
    return f" {' and '.join(stated)}" if stated else ""


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, int) and value.bit_length() > 64:
        return "an enormous number"
    return clean_text(toml_value(value) if isinstance(value, bool | int | float | str) else str(value))


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


def toml_value(value: object) -> str:
    """A default as TOML text: truth, number, text or an empty table."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return msgspec.json.encode(value).decode()
        case dict() if not value:
            return "{}"
    raise TypeError(f"{value!r} is no default that a file can state")


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


# Where keys stand.

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_QUOTED = re.compile(
    r'"""(?:\\[\s\S]|(?!""")[^\\])*""""{0,2}'
    r"|'''(?:(?!''')[\s\S])*''''{0,2}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
)
_PLAIN = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which each key, table and array element of a valid TOML text first stands."""
    return _Scan(text).lines


class _Scan:
    """One pass over text that tomllib has accepted, with line feeds only. Text that it has not gives some lines, or none."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._starts = [match.end() for match in re.finditer("\n", text)]
        self._elements: dict[KeyPath, int] = {}
        table: KeyPath = ()
        while not self._ended():
            before = self._at
            table = self._header() if text[self._at] == "[" else self._pair(table)
            if self._at == before:
                return

    def _ended(self) -> bool:
        """Step over blanks and comments, and say whether nothing follows."""
        self._take(_BLANK)
        return self._at >= len(self._text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _step(self, mark: str) -> bool:
        """Step over blanks and `mark`, if that is what follows."""
        self._take(_BLANK)
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _note(self, where: KeyPath) -> None:
        self.lines.setdefault(where, bisect_right(self._starts, self._at) + 1)

    def _header(self) -> KeyPath:
        array = self._text.startswith("[[", self._at)
        self._at += 1 + array
        table: KeyPath = ()
        for key in (keys := self._keys())[:-1]:
            table = self._last((*table, key))
            self._note(table)
        table = (*table, *keys[-1:])
        self._note(table)
        if array:
            self._elements[table] = self._elements.get(table, -1) + 1
        table = self._last(table)
        self._note(table)
        self._step("]]" if array else "]")
        return table

    def _last(self, table: KeyPath) -> KeyPath:
        """An array of tables stands for its last element."""
        return (*table, self._elements[table]) if table in self._elements else table

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._take(_BLANK)
            quoted = self._take(_QUOTED)
            key = tomllib.loads(f"k={quoted}")["k"] if quoted else self._take(_BARE)
            keys.append(key)
            if not self._step("."):
                return keys

    def _pair(self, table: KeyPath) -> KeyPath:
        """`key = value` in `table`; returns `table`."""
        where = table
        self._take(_BLANK)
        start = self._at
        for key in self._keys():
            where = (*where, key)
            self.lines.setdefault(where, bisect_right(self._starts, start) + 1)
        if self._step("="):
            self._value(where)
        return table

    def _value(self, where: KeyPath) -> None:
        if self._step("["):
            place = 0
            while not self._step("]") and self._at < len(self._text):
                before = self._at
                self._note((*where, place))
                self._value((*where, place))
                self._step(",")
                place += 1
                if self._at == before:
                    return
        elif self._step("{"):
            while not self._step("}") and self._at < len(self._text):
                before = self._at
                self._pair(where)
                self._step(",")
                if self._at == before:
                    return
        elif not self._take(_QUOTED):
            self._take(_PLAIN)
