"""Theme files: what a user writes must be what is drawn, and a slip must be named with its line."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feeds.errors import InputError
from tui.theme import ANSI_COLOURS, GROUNDS, ROLES, load_theme, split_style, theme_names

OKABE = load_theme("okabe", Path("no-such-directory"))
ANSI = load_theme("ansi", Path("no-such-directory"))


def write(directory: Path, text: str | bytes, name: str = "mine") -> Path:
    path = directory / f"{name}.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def whole(roles: tuple[str, ...] = ROLES, grounds: tuple[str, ...] = GROUNDS) -> str:
    """A theme without a base: two flags, [colors] on line 3 and [roles] after it."""
    lines = ["dark = false", "ansi = false", "[colors]", *(f'{ground} = "#ffffff"' for ground in grounds)]
    return "\n".join([*lines, "[roles]", *(f'{role} = "bold #101010"' for role in roles)]) + "\n"


# What is read.


def test_a_theme_on_a_base_changes_only_what_it_says(tmp_path: Path) -> None:
    write(tmp_path, 'base = "okabe"\n[colors]\ncursor = "#102030"\n[roles]\nbid = "underline bold #ABCDEF"\n')
    theme = load_theme("mine", tmp_path)
    assert theme.name == "mine"
    assert (theme.dark, theme.ansi) == (OKABE.dark, OKABE.ansi)
    assert theme.colors.cursor == "#102030"
    assert theme.roles["bid"] == "underline bold #ABCDEF"
    assert [role for role in ROLES if theme.roles[role] != OKABE.roles[role]] == ["bid"]
    assert [ground for ground in GROUNDS if getattr(theme.colors, ground) != getattr(OKABE.colors, ground)] == ["cursor"]


def test_a_theme_without_a_base_stands_alone(tmp_path: Path) -> None:
    theme = load_theme(str(write(tmp_path, whole())), tmp_path / "elsewhere")
    assert (theme.name, theme.dark, theme.ansi) == ("mine", False, False)
    assert tuple(theme.roles) == ROLES
    assert set(theme.roles.values()) == {"bold #101010"}


def test_a_true_colour_has_its_place_in_an_ansi_theme(tmp_path: Path) -> None:
    write(tmp_path, 'base = "ansi"\n[roles]\nbid = "#56b4e9"\nask = "reverse bright_red"\n')
    theme = load_theme("mine", tmp_path)
    assert theme.ansi
    assert (theme.roles["bid"], theme.roles["ask"]) == ("#56b4e9", "reverse bright_red")


def test_a_base_alone_is_that_theme_under_another_name(tmp_path: Path) -> None:
    write(tmp_path, 'base = "ansi"\n')
    theme = load_theme("mine", tmp_path)
    assert (theme.roles, theme.colors, theme.ansi) == (ANSI.roles, ANSI.colors, True)


def test_a_theme_cannot_be_changed_behind_the_screens() -> None:
    with pytest.raises(TypeError):
        OKABE.roles["bid"] = "#000000"  # type: ignore[index]


# Mistakes.

AFTER_BASE = 'base = "okabe"\n[colors]\nborder = "#333333"\n\n[roles]\ntext = "#ffffff"\n'
"""Six lines; what is appended is a role, on line 7."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('base = "okabe"\ncolours = 3\n', 'line 2: unknown key "colours" in a theme; did you mean [colors]?'),
        ('base = "okabe"\n[role]\nbid = "#ffffff"\n', 'line 2: unknown key "role" in a theme; did you mean [roles]?'),
        ('base = "okabe"\n\nbid = "#ffffff"\n', 'line 3: unknown key "bid" outside a table; put it below [roles]'),
        (AFTER_BASE + 'bids = "#ffffff"\n', 'line 7: unknown key "bids" in [roles]; did you mean "bid"?'),
        (AFTER_BASE + '\nblink = "#ffffff"\n', 'line 8: unknown key "blink" in [roles]; what there is: "text", "dim", '),
        ('base = "ansi"\n[colors]\npanel = "red"\n', 'line 3: unknown key "panel" in [colors]; what there is: "background", '),
        (AFTER_BASE + 'bid = "#56b4e"\n', 'line 7: bid in [roles]: "#56b4e" is no colour; write #rrggbb'),
        (AFTER_BASE + 'bid = "56b4e9"\n', 'line 7: bid in [roles]: "56b4e9" is no colour; write #rrggbb'),
        (AFTER_BASE + 'bid = "#56b4e９"\n', 'line 7: bid in [roles]: "#56b4e９" is no colour; write #rrggbb'),
        (AFTER_BASE + 'bid = "gren"\n', 'line 7: bid in [roles]: "gren" is no colour; did you mean "green"?'),
        (AFTER_BASE + 'bid = ""\n', 'line 7: bid in [roles]: "" is no colour; write #rrggbb'),
        (AFTER_BASE + 'bid = "bold"\n', "line 7: bid in [roles]: no colour follows bold; write one after it"),
        (
            AFTER_BASE + 'bid = "blink #ffffff"\n',
            'line 7: bid in [roles]: "blink" is none of bold, dim, italic, underline, reverse;',
        ),
        (AFTER_BASE + 'bid = "#ffffff bold"\n', 'line 7: bid in [roles]: "#ffffff" is none of bold, '),
        (AFTER_BASE + 'bid = "bold bold #ffffff"\n', "line 7: bid in [roles]: it says an attribute twice"),
        (AFTER_BASE + 'bid = "\\u001b[31m"\n', 'line 7: bid in [roles]: "\ufffd[31m" is no colour'),
        (AFTER_BASE + 'bid = "green"\n', "line 7: bid in [roles]: green is the terminal's own; write #rrggbb, or ansi = true"),
        (AFTER_BASE + "bid = 3\n", "line 7: bid in [roles] is 3: it must be text"),
        (AFTER_BASE + 'bid = ["#ffffff"]\n', "line 7: bid in [roles] is an array: it must be text"),
        ('base = "okabe"\n[colors]\n\ncursor = "bold #ffffff"\n', 'line 4: cursor in [colors]: "bold #ffffff" is no colour'),
        ('base = "okabe"\n[colors]\ncursor = "default"\n', "line 3: cursor in [colors]: default is the terminal's own; "),
        ('base = "ansi"\n\nansi = false\n', "line 3: the base has default for background in [colors]; leave out ansi = false"),
        ('\nbase = "okab"\n', 'line 2: base is "okab": it must be one of the themes that ship: "ansi", "midnight", "okabe"'),
        ('\nbase = "mine"\n', 'line 2: base is "mine": it must be one of the themes that ship: '),
        ("base = 3\n", "line 1: base in a theme is 3: it must be text"),
        ('base = "okabe"\ndark = "yes"\n', 'line 2: dark in a theme is "yes": it must be true or false'),
        ('base = "okabe"\nansi = 1\n', "line 2: ansi in a theme is 1: it must be true or false"),
        ('base = "okabe"\nroles = "red"\n', "line 2: roles is a table: write [roles], and its keys below it"),
        ("", "line 1: dark is missing: write dark = true or dark = false, or name a theme that ships as base"),
        ("dark = true\n", "line 1: ansi is missing: write ansi = true or ansi = false, or name a theme that ships as base"),
        ("dark = true\nansi = false\n", "line 1: [colors] needs background, surface, border, cursor, shade; write them, or name"),
        (whole(grounds=GROUNDS[:-1]), "line 3: [colors] needs shade; write them, or name a theme that ships as base"),
        (whole(roles=ROLES[:-2]), "line 9: [roles] needs mine, flash; write them, or name a theme that ships as base"),
        (whole()[: whole().index("#101010") + 3], "line 10: not TOML: "),
        ('base = "okabe"\n[roles\n', "line 2: not TOML: "),
        ('base = "okabe"\nbase = "ansi"\n', "line 2: not TOML: "),
        (b'base = "okabe"\n[roles]\nbid = "\xff"\n', "line 3: not UTF-8 (byte 0xff); save the file as UTF-8"),
        (b'base = "okabe"\n' + b"#" * (1 << 20), "longer than 1 MiB; that is no file of settings"),
    ],
)
def test_a_slip_is_named_with_its_line_and_its_mend(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as refused:
        load_theme("mine", tmp_path)
    message = str(refused.value)
    between = ": " if said.startswith("longer") else " "
    assert message.startswith(f"{path}{between}{said}")
    assert "\n" not in message
    assert re.fullmatch(r"[^\x00-\x1f\x7f]*", message)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(whole()) - 1))
def test_a_truncated_theme_is_refused_wherever_it_ends(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path, whole()[:cut])
    if cut == len(whole()) - 1:  # only the last line feed is gone
        assert load_theme("mine", tmp_path).roles["flash"] == "bold #101010"
        return
    with pytest.raises(InputError) as refused:
        load_theme("mine", tmp_path)
    assert re.match(re.escape(str(path)) + r" line \d+: ", str(refused.value))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=80))
def test_no_bytes_in_a_theme_leave_a_traceback(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, b'base = "okabe"\n' + data)
    with suppress(InputError):
        load_theme("mine", tmp_path)


# Names.


def test_the_shipped_themes_are_named_before_the_users(tmp_path: Path) -> None:
    assert theme_names(tmp_path / "none") == ("ansi", "midnight", "okabe")
    for name in ("zebra", "atoll", ".hidden", "bell\x07"):
        write(tmp_path, 'base = "okabe"\n', name)
    (tmp_path / "notes.txt").touch()
    assert theme_names(tmp_path) == ("ansi", "midnight", "okabe", "atoll", "zebra")


def test_a_users_theme_does_not_hide_a_shipped_one(tmp_path: Path) -> None:
    path = write(tmp_path, 'base = "okabe"\n', "okabe")
    for attempt in (
        lambda: theme_names(tmp_path),
        lambda: load_theme("okabe", tmp_path),
        lambda: load_theme(str(path), tmp_path),
    ):
        with pytest.raises(InputError) as refused:
            attempt()
        assert (
            str(refused.value) == f'{path}: a theme that ships is called "okabe"; rename the file, and say base = "okabe" in it'
        )
    assert load_theme("midnight", tmp_path).name == "midnight"


def test_an_unknown_theme_says_which_there_are(tmp_path: Path) -> None:
    write(tmp_path, 'base = "okabe"\n')
    with pytest.raises(InputError, match=r'no theme "okab" ships or is in .*; did you mean "okabe"\?$'):
        load_theme("okab", tmp_path)
    with pytest.raises(InputError, match=r"; what there is: ansi, midnight, okabe, mine$"):
        load_theme("solarized", tmp_path)
    with pytest.raises(InputError, match=r'^no theme "\ufffd\[2J" ships'):
        load_theme("\x1b[2J", tmp_path)
    with pytest.raises(InputError, match=r"nowhere\.toml: there is no such file"):
        load_theme("nowhere.toml", tmp_path)


def test_a_theme_name_does_not_leave_the_users_directory(tmp_path: Path) -> None:
    write(tmp_path, 'base = "okabe"\n')
    (tmp_path / "themes").mkdir()
    with pytest.raises(InputError, match=r'no theme "\.\./mine"'):
        load_theme("../mine", tmp_path / "themes")


def test_a_themes_directory_that_is_none_is_one_line(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    with pytest.raises(InputError, match="the themes there cannot be read: Not a directory"):
        theme_names(file)


# Styles.


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("#56b4e9", ((), "#56b4e9")),
        ("default", ((), "default")),
        ("bold bright_white", (("bold",), "bright_white")),
        ("reverse bold italic dim underline red", (("reverse", "bold", "italic", "dim", "underline"), "red")),
    ],
)
def test_a_style_is_its_attributes_and_its_colour(text: str, parts: tuple[tuple[str, ...], str]) -> None:
    assert split_style(text) == parts


def test_the_terminals_own_colours_are_sixteen_and_its_default() -> None:
    assert len(ANSI_COLOURS) == len(set(ANSI_COLOURS)) == 17


@settings(max_examples=200)
@given(st.text(max_size=30))
def test_a_style_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        attributes, colour = split_style(text)
    except ValueError:
        return
    assert split_style(" ".join((*attributes, colour))) == (attributes, colour)
