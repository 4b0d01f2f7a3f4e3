"""What may be drawn, how wide it is, and what is left of it in too few cells."""

import sys

import pytest
from rich.cells import cell_len

from tui.line import GLYPHS, Line, cells, fit, join, number, pad, plain, text_of

ASCII = "".join(map(chr, range(0x20, 0x7F)))


def test_no_character_is_measured_differently_from_what_the_terminal_library_draws() -> None:
    wrong = [hex(code) for code in range(sys.maxunicode + 1) if cells(chr(code)) != cell_len(plain(chr(code)))]
    assert wrong == []


def test_no_character_is_drawn_that_takes_no_cell_or_changes_its_neighbour() -> None:
    drawn = [character for code in range(sys.maxunicode + 1) if plain(character := chr(code)) == character]
    assert {cell_len(character) for character in drawn} == {1, 2}
    assert cell_len("".join(drawn)) == sum(map(cells, drawn))


def test_plain_leaves_ascii_and_our_own_glyphs_alone() -> None:
    assert plain(ASCII + GLYPHS) == ASCII + GLYPHS
    assert cells(ASCII + GLYPHS) == len(ASCII + GLYPHS) == cell_len(ASCII + GLYPHS)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("a\x1b[31mb", "a?[31mb"),
        ("a\x07\n\t\x7f\x9b", "a?????"),
        ("é", "é"),
        ("e\u0301", "e?"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468?\U0001f469"),
        ("❤\ufe0f", "❤?"),
        ("\U0001f44d\U0001f3fd", "\U0001f44d?"),
        ("\ud800", "?"),
        ("\ue000", "?"),
        ("\u0378", "?"),
        ("\u202e123", "?123"),
        ("a\u2028b", "a?b"),
        ("a\u00a0b\u3000c", "a b c"),
        ("市場", "市場"),
        ("\u1160", "?"),
    ],
)
def test_what_a_terminal_would_execute_or_misplace_is_replaced(text: str, drawn: str) -> None:
    assert plain(text) == drawn


def test_a_name_written_from_right_to_left_cannot_turn_the_figures_behind_it() -> None:
    assert plain("שקל ١٢ ريال") == "??? ?? ????"


@pytest.mark.parametrize(
    ("text", "width", "align", "fitted"),
    [
        ("abc", 5, "<", "abc  "),
        ("abc", 5, ">", "  abc"),
        ("abc", 6, "^", " abc  "),
        ("abc", 3, "<", "abc"),
        ("abcd", 3, "<", "ab…"),
        ("abcd", 3, ">", "ab…"),
        ("abcd", 1, "^", "…"),
        ("abcd", 0, "<", ""),
        ("", 2, "<", "  "),
        ("市場", 4, "<", "市場"),
        ("市場", 5, ">", " 市場"),
        ("市場", 3, "<", "市…"),
        ("a市場b", 3, "<", "a …"),
        ("a\nb", 4, "<", "a?b "),
    ],
)
def test_fit_cuts_with_a_mark_and_never_halves_a_wide_character(text: str, width: int, align: str, fitted: str) -> None:
    assert fit(text, width, align) == fitted


@pytest.mark.parametrize(
    ("text", "width", "drawn"),
    [
        ("65012.10", 10, "  65012.10"),
        ("65012.10", 8, "65012.10"),
        ("65012.10", 7, "      …"),
        ("−0.6", 6, "  −0.6"),
        ("—", 3, "  —"),
        ("123", 1, "…"),
        ("123", 0, ""),
        ("市場", 3, "  …"),
    ],
)
def test_a_number_that_does_not_fit_is_never_cut_into_another_number(text: str, width: int, drawn: str) -> None:
    assert number(text, width) == drawn


def test_join_makes_one_span_of_neighbours_of_one_role() -> None:
    left = Line((("a", "text"), ("b", "bid")), "cursor")
    assert join(left, ("c", "bid"), ("", "ask"), ("d", "ask")) == Line((("a", "text"), ("bc", "bid"), ("d", "ask")))
    assert join(("a", "text"), ground="shade") == Line((("a", "text"),), "shade")


def test_pad_fills_a_short_line_with_blanks_and_keeps_its_ground() -> None:
    assert pad(Line((("ab", "bid"),), "cursor"), 4) == Line((("ab", "bid"), ("  ", "text")), "cursor")
    assert pad(Line(()), 2) == Line((("  ", "text"),))


def test_pad_leaves_a_line_of_the_right_width_as_it_is() -> None:
    line = Line((("ab", "bid"), ("—", "dim")))
    assert pad(line, 3) is line


def test_pad_marks_a_number_that_is_cut_between_its_spans() -> None:
    price = Line((("65012", "bid"), (".10", "dim")))
    assert pad(price, 5) == Line((("6501…", "bid"),))
    assert pad(price, 6) == Line((("65012…", "bid"),))
    assert pad(price, 7) == Line((("65012", "bid"), (".…", "dim")))


def test_pad_cuts_blanks_without_a_mark() -> None:
    assert text_of(pad(Line((("abc ", "text"), ("   ", "dim"))), 4)) == "abc "
    assert text_of(pad(Line((("abc ", "text"), ("   ", "dim"))), 3)) == "abc"


def test_pad_of_no_width_is_empty() -> None:
    assert pad(Line((("abc", "text"),), "shade"), 0) == Line((), "shade")


def test_pad_draws_nothing_that_is_not_plain() -> None:
    assert text_of(pad(Line((("a\x1bb", "text"),)), 3)) == "a?b"
    assert text_of(pad(Line((("a", "text"), ("市場", "bid"), ("c", "text"))), 3)) == "a …"
