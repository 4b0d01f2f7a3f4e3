"""The ASCII glyph set: a terminal without the signs must still tell crit from warn, and no column may move."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual._border import BORDER_CHARS
from textual.scrollbar import ScrollBarRender
from textual.widgets._toggle_button import ToggleButton

from feeds.errors import InputError
from tui import line
from tui.glyphs import FALLBACK, GLYPHS, TO_ASCII, choose_glyphs, to_ascii
from tui.line import cells, plain

TUI = Path(line.__file__).parent
SIGNS = "■▲●○◐□◆▸◂↑↓█"
"""Severities, states and places in lines."""

strange = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("ab é中😀▶❤☀#1\u200d\ufe0f\ufe0e\u0301\u200b\t\n\x1b\x7f\x9b\ud800𝟘한🇩🇪👩🏽"),
        st.sampled_from(line.GLYPHS),
    ),
    max_size=40,
)


# Translation.


def test_each_severity_and_state_keeps_a_sign_of_its_own() -> None:
    drawn = [to_ascii(sign) for sign in SIGNS]
    assert len(set(drawn)) == len(SIGNS)
    assert FALLBACK not in drawn
    assert to_ascii("■ ▲ ●") == "X ! *"


def test_figures_keep_their_sign_and_a_missing_value_its_dash() -> None:
    assert to_ascii("−1.25 │ — │ 3…") == "-1.25 | - | 3~"


def test_a_frame_stays_a_frame() -> None:
    assert to_ascii("╭─ BOOK ─╮│╰━┫╳▐X▌") == "+- BOOK -+|+-+X[X]"


def test_bars_shrink_from_full_to_nothing() -> None:
    assert to_ascii("██▌ ▐█▎ ▒▒") == "##] [#| ::"


def test_braille_keeps_the_height_of_its_highest_dot() -> None:
    assert to_ascii("⠀⡀⠄⠂⠁⣿⠈⠐⠠⢀") == " _.-^^^-._"


def test_the_table_is_one_to_one_in_cells_and_all_ascii() -> None:
    for code, sign in TO_ASCII.items():
        assert cell_len(chr(code)) == cells(chr(code)) == 1, hex(code)
        assert len(sign) == 1, hex(code)
        assert sign.isascii(), hex(code)
        assert sign.isprintable(), hex(code)
    assert not any(chr(code).isascii() for code in TO_ASCII)
    assert "█▌■".translate(TO_ASCII) == to_ascii("█▌■")


def test_everything_that_lines_are_drawn_with_has_an_ascii_sign() -> None:
    assert [glyph for glyph in line.GLYPHS if ord(glyph) not in TO_ASCII] == []


def literals(source: str) -> Iterator[str]:
    """The text constants of a source that are no docstrings."""
    tree = ast.parse(source)
    standing_alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in standing_alone)
    return (node.value for node in constants if isinstance(node.value, str))


def test_no_sign_is_drawn_that_ascii_would_turn_into_a_question_mark() -> None:
    files = [*TUI.glob("*.py"), *TUI.glob("lines/*.py"), *TUI.glob("screens/*.py"), *TUI.glob("widgets/*.py")]
    lost = {
        (file.name, character)
        for file in files
        if file.name not in ("glyphs.py", "toml.py", "picture.py")
        for text in literals(file.read_text())
        for character in text
        if not character.isascii() and plain(character) == character and cells(character) == 1 and ord(character) not in TO_ASCII
    }
    assert not lost


def test_what_textual_draws_itself_has_an_ascii_sign() -> None:
    drawn = {"".join(row) for rows in BORDER_CHARS.values() for row in rows}
    drawn |= {*ScrollBarRender.VERTICAL_BARS, *ScrollBarRender.HORIZONTAL_BARS, ScrollBarRender.BLANK_GLYPH}
    drawn |= {ToggleButton.BUTTON_LEFT, ToggleButton.BUTTON_INNER, ToggleButton.BUTTON_RIGHT}
    drawn.add("…•▼▲▶⭘─━│┃╸╺╴╶╵╷╍╏═║└├┗┣╚╠▌▐▔▁╱╲")  # inputs, selects, trees, rules, tabs, notes
    lost = {character for text in drawn for character in text if not character.isascii() and ord(character) not in TO_ASCII}
    assert not lost


@settings(max_examples=400, deadline=None)
@given(strange)
def test_any_text_becomes_ascii_of_the_same_cells(text: str) -> None:
    drawn = to_ascii(text, cell_len)
    assert drawn.isascii()
    assert drawn.isprintable()
    assert len(drawn) == cell_len(text)


@settings(max_examples=400, deadline=None)
@given(strange)
def test_a_line_that_passed_the_gate_keeps_its_cells_by_either_measure(text: str) -> None:
    drawn = to_ascii(plain(text))
    assert drawn.isascii()
    assert drawn.isprintable()
    assert len(drawn) == cells(text)
    assert drawn == to_ascii(plain(text), cell_len)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("", ""),
        ("BTC 65000", "BTC 65000"),
        ("币安 65000", "???? 65000"),
        ("é→ü", "?>?"),
        ("👨\u200d👩\u200d👧 BTC 65000", "?? BTC 65000"),
        ("e\u0301 65000", "e 65000"),
        ("a\u200db■\u200d■ 65000", "aX 65000"),
        ("a\x1b[31mb", "a[31mb"),
        ("❤\ufe0f 1", "?? 1"),
        ("⠿ 中", "^ ??"),
    ],
)
def test_what_stands_behind_a_strange_name_is_not_lost(text: str, drawn: str) -> None:
    assert to_ascii(text, cell_len) == drawn


# Sets.


def test_each_set_has_its_sparkline() -> None:
    assert {name: (each.name, each.spark) for name, each in GLYPHS.items()} == {name: (name, name) for name in GLYPHS}
    assert list(GLYPHS) == ["braille", "block", "ascii"]


@pytest.mark.parametrize(
    ("env", "encoding", "chosen"),
    [
        ({"LANG": "en_US.UTF-8", "TERM": "xterm-256color"}, "utf-8", "braille"),
        ({"LANG": "de_DE.utf8@euro"}, "UTF8", "braille"),
        ({}, "utf-8", "braille"),
        ({"LANG": "en_US"}, "utf-8", "braille"),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, "utf-8", "braille"),
        ({"LANG": "en_US.UTF-8", "TERM": "linux"}, "utf-8", "ascii"),
        ({"LANG": "en_US.UTF-8"}, "iso8859-1", "ascii"),
        ({"LANG": "en_US.UTF-8"}, "", "ascii"),
        ({"LANG": "C"}, "utf-8", "ascii"),
        ({"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, "utf-8", "ascii"),
        ({"LC_ALL": "", "LC_CTYPE": "de_DE.ISO-8859-15@euro", "LANG": "en_US.UTF-8"}, "utf-8", "ascii"),
    ],
)
def test_auto_draws_only_what_the_terminal_can_show(env: dict[str, str], encoding: str, chosen: str) -> None:
    assert choose_glyphs("auto", env, encoding) is GLYPHS[chosen]


def test_what_the_user_names_is_taken_whatever_the_terminal_says() -> None:
    for name, each in GLYPHS.items():
        assert choose_glyphs(name, {"TERM": "linux", "LC_ALL": "C"}, "ascii") is each


def test_an_unknown_set_is_one_line_that_names_those_there_are() -> None:
    with pytest.raises(InputError) as refused:
        choose_glyphs("brail\x1ble", {}, "utf-8")
    assert str(refused.value) == 'no glyph set "brail\ufffdle"; it must be one of auto, braille, block, ascii'
