"""TOML that a person wrote: read, held against a Struct, and each mistake named with its line and its mend.

Types, ranges and defaults are the Structs' own; every error text is made from them, and `wanted` says them in words. tomllib does
not tell where a key stands, so a scanner maps key paths to lines; it reads only what tomllib has accepted, and never decides
whether a file is valid. Not here: what the keys mean (`tui/config.py`, `tui/rules.py` and their Structs), and writing files.
Sources: DESIGN 5, ecosystem.md 1.
"""

import os
import re
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

from feeds.errors import InputError
from feeds.text import clean_text

LONGEST: Final = 1 << 20
"""Bytes of a file that a person wrote; a longer one is something else."""
SHOWN: Final = 256
"""Characters of a path or of another's words that an error line shows."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the root down; an int is a place in an array."""
Table: TypeAlias = Mapping[str, Any]
S = TypeVar("S", bound=Struct)


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
        """`text`, with the file and the line of the key in front, to be raised."""
        return InputError(f"{self.name} line {self.line(where)}: {text}")


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
        case inspect.VarTupleType():
            least = " with at least one entry" if form.min_length else ""
            return f"an array{least} of {_words(form.item_type).removeprefix('one of ')}"
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


def toml_value(value: object) -> str:
    """A value as TOML text: truth, number, text, an array of these, or an empty table."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return msgspec.json.encode(value).decode()
        case tuple():
            return f"[{', '.join(toml_value(each) for each in value)}]"
        case dict() if not value:
            return "{}"
    raise TypeError(f"{value!r} is no default that a file can state")


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
