"""Colour themes: what each role of a line looks like, read from TOML.

A theme that ships is a file of `themes/`; a user's own is a file in the user's directory, or anywhere. It may name one that ships
as its `base` and say only what differs. Each mistake is named with its line (`tui/toml.py`). Whether colours can be told apart is
not judged here: tests/unit/test_colours.py computes that for what ships. Nothing here knows a terminal; styles are words.
Source: terminal-ui.md 5.2.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import as_file, files
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from feeds.errors import InputError
from feeds.text import clean_text
from tui.toml import SHOWN, Toml, make, read_toml

ROLES: Final = (
    *("text", "dim", "head", "title", "accent"),
    *("bid", "ask", "bid_bar", "ask_bar"),
    *("good", "bad"),
    *("crit", "warn", "info", "stale"),
    *("mine", "flash"),
)
"""Every role that a span may have; `mine` is the user's own size."""

ATTRIBUTES: Final = ("bold", "dim", "italic", "underline", "reverse")
_HUES: Final = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
ANSI_COLOURS: Final = ("default", *_HUES, *(f"bright_{hue}" for hue in _HUES))
"""The terminal's own: its foreground or background, and its sixteen colours."""

_TRUE_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)
_SUFFIX: Final = ".toml"


class Colors(Struct, frozen=True):
    """The grounds, and the lines around panels. Each is a colour: `#rrggbb`, or one of `ANSI_COLOURS`."""

    background: str
    surface: str
    """Panels and dialogs."""
    border: str
    cursor: str
    """The row of the cursor."""
    shade: str
    """Every fifth row of a ladder."""


class Theme(Struct, frozen=True):
    """One theme, whole."""

    name: str
    dark: bool
    ansi: bool
    """May name the terminal's own colours; otherwise every colour is `#rrggbb`."""
    colors: Colors
    roles: Mapping[str, str]
    """Each of `ROLES` → style text for `split_style`."""


GROUNDS: Final = Colors.__struct_fields__

# What a file may say: everything is left out where there is a base. The fields of the two tables are the names above.
_ColorsTable: Final = msgspec.defstruct("_ColorsTable", [(ground, str | None, None) for ground in GROUNDS], frozen=True)
_RolesTable: Final = msgspec.defstruct("_RolesTable", [(role, str | None, None) for role in ROLES], frozen=True)
_ThemeFile: Final = msgspec.defstruct(
    "_ThemeFile",
    [
        ("base", str | None, None),
        ("dark", bool | None, None),
        ("ansi", bool | None, None),
        ("colors", _ColorsTable, _ColorsTable()),
        ("roles", _RolesTable, _RolesTable()),
    ],
    frozen=True,
)


def split_style(text: str) -> tuple[tuple[str, ...], str]:
    """The attributes and the colour of a style text: `bold #56b4e9` is (("bold",), "#56b4e9").

    Raises:
        ValueError: it is none; the text says what is wrong and how it is written.
    """
    *attributes, colour = text.split() or [""]
    for attribute in attributes:
        if attribute not in ATTRIBUTES:
            raise ValueError(f'"{clean_text(attribute)}" is none of {", ".join(ATTRIBUTES)}; the colour comes last')
    if len(set(attributes)) < len(attributes):
        raise ValueError("it says an attribute twice")
    if colour in ATTRIBUTES:
        raise ValueError(f"no colour follows {colour}; write one after it")
    return tuple(attributes), _colour(colour)


def _colour(text: str) -> str:
    if text not in ANSI_COLOURS and not _TRUE_COLOUR.fullmatch(text):
        near = get_close_matches(text, ANSI_COLOURS, 1)
        mend = f'did you mean "{near[0]}"?' if near else "write #rrggbb, or in an ansi theme default, red, bright_red, ..."
        raise ValueError(f'"{clean_text(text)}" is no colour; {mend}')
    return text


# Finding.


def theme_names(directory: Path) -> tuple[str, ...]:
    """Names of the themes that ship, then of the user's own in `directory`; not of files whose names cannot be shown as they are.

    Raises:
        InputError: the directory cannot be read, or a file there has the name of a theme that ships.
    """
    shipped = _shipped()
    own = _own(directory)
    for name in own:
        if name in shipped:
            raise _shadow(directory / f"{name}{_SUFFIX}")
    return (*shipped, *own)


def load_theme(name_or_path: str, directory: Path) -> Theme:
    """A theme.

    Args:
        name_or_path: the name of one that ships, or of the user's file NAME.toml in `directory`; or the path of a file, which
            ends in .toml.
        directory: where the user's themes are; it need not exist.

    Raises:
        InputError: there is none, its file has a mistake, or it has the name of one that ships.
    """
    shipped = _shipped()
    if name_or_path.endswith(_SUFFIX):
        path = Path(name_or_path)
        if path.stem in shipped:
            raise _shadow(path)
        return _read(path, path.stem)
    own = _own(directory)
    if name_or_path in shipped:
        if name_or_path in own:
            raise _shadow(directory / f"{name_or_path}{_SUFFIX}")
        return _read_shipped(name_or_path)
    if name_or_path in own:
        return _read(directory / f"{name_or_path}{_SUFFIX}", name_or_path)
    near = get_close_matches(name_or_path, (*shipped, *own), 1)
    known = f'did you mean "{near[0]}"?' if near else f"what there is: {', '.join((*shipped, *own))}"
    place = clean_text(str(directory), SHOWN)
    raise InputError(f'no theme "{clean_text(name_or_path)}" ships or is in {place}; {known}')


def _shipped() -> tuple[str, ...]:
    found = (file.name for file in files("themes").iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


def _own(directory: Path) -> tuple[str, ...]:
    try:
        found = [path.stem for path in directory.iterdir() if path.suffix == _SUFFIX]
    except FileNotFoundError:
        return ()
    except OSError as error:
        place = clean_text(str(directory), SHOWN)
        raise InputError(f"{place}: the themes there cannot be read: {error.strerror}; make it a readable directory") from error
    return tuple(sorted(name for name in found if not name.startswith(".") and clean_text(name) == name))


def _shadow(path: Path) -> InputError:
    place, name = clean_text(str(path), SHOWN), clean_text(path.stem)
    return InputError(f'{place}: a theme that ships is called "{name}"; rename the file, and say base = "{name}" in it')


# Reading.


def _read_shipped(name: str) -> Theme:
    with as_file(files("themes") / f"{name}{_SUFFIX}") as path:
        return _read(path, name)


def _read(path: Path, name: str) -> Theme:
    toml = read_toml(path)
    make(toml, _ThemeFile, toml.root, label="a theme")
    base = _base(toml)
    dark = _flag(toml, "dark", base.dark if base else None)
    ansi = _flag(toml, "ansi", base.ansi if base else None)
    colors = _table(toml, "colors", GROUNDS, asdict(base.colors) if base else {})
    roles = _table(toml, "roles", ROLES, base.roles if base else {})
    for key, values in (("colors", colors), ("roles", roles)):
        _check(toml, key, values, ansi)
    return Theme(clean_text(name), dark, ansi, Colors(**colors), MappingProxyType(roles))


_OR_BASE: Final = 'or name a theme that ships as base, like base = "midnight"'


def _base(toml: Toml) -> Theme | None:
    base = toml.root.get("base")
    if base is None:
        return None
    shipped = _shipped()
    if base not in shipped:
        names = ", ".join(f'"{name}"' for name in shipped)
        raise toml.mistake(("base",), f'base is "{clean_text(base)}": it must be one of the themes that ship: {names}')
    return _read_shipped(base)


def _flag(toml: Toml, key: str, inherited: bool | None) -> bool:
    value: bool | None = toml.root.get(key, inherited)
    if value is None:
        raise toml.mistake((key,), f"{key} is missing: write {key} = true or {key} = false, {_OR_BASE}")
    return value


def _table(toml: Toml, key: str, names: tuple[str, ...], inherited: Mapping[str, str]) -> dict[str, str]:
    values = {**inherited, **toml.root.get(key, {})}
    missing = [name for name in names if name not in values]
    if missing:
        raise toml.mistake((key,), f"[{key}] needs {', '.join(missing)}; write them, {_OR_BASE}")
    return {name: values[name] for name in names}


def _check(toml: Toml, key: str, values: Mapping[str, str], ansi: bool) -> None:
    """Every style is one, and the terminal's own colours are named in an ansi theme only."""
    given = sorted(toml.root.get(key, {}), key=lambda name: toml.line((key, name)))
    for name in (*given, *(name for name in values if name not in given)):
        style = values[name]
        try:
            colour = _colour(style) if key == "colors" else split_style(style)[1]
        except ValueError as error:
            raise toml.mistake((key, name), f"{name} in [{key}]: {error}") from None
        if colour in ANSI_COLOURS and not ansi:
            if name in given:
                raise toml.mistake(
                    (key, name), f"{name} in [{key}]: {colour} is the terminal's own; write #rrggbb, or ansi = true"
                )
            raise toml.mistake(
                ("ansi",), f"the base has {colour} for {name} in [{key}]; leave out ansi = false, or write #rrggbb there"
            )
