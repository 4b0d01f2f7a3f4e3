"""Which columns a width has room for, and what a row of them looks like."""

from itertools import pairwise

import pytest

from tui.formats import DASH
from tui.line import Line, cells, text_of
from tui.table import Column, fit_columns

NAME = Column("name", "market", 6, "<", grow=True)
BID = Column("bid", "bid", 7)
AGE = Column("age", "age", 5, rank=1)
NOTE = Column("note", "note", 4, "^", rank=2)
COLUMNS = (NAME, AGE, BID, NOTE)


def keys(width: int, columns: tuple[Column, ...] = COLUMNS) -> list[str]:
    return [column.key for column in fit_columns(columns, width).columns]


@pytest.mark.parametrize(
    ("width", "drawn"),
    [
        (26, ["name", "age", "bid", "note"]),
        (25, ["name", "age", "bid"]),
        (21, ["name", "age", "bid"]),
        (20, ["name", "bid"]),
        (15, ["name", "bid"]),
        (14, ["name"]),
        (3, ["name"]),
    ],
)
def test_the_least_important_column_goes_first_and_those_left_keep_their_order(width: int, drawn: list[str]) -> None:
    assert keys(width) == drawn


def test_a_wider_line_never_loses_a_column() -> None:
    wide = Column("wide", "wide", 20, rank=3)
    thin = Column("thin", "thin", 1, rank=4)
    shown = [set(keys(width, (*COLUMNS, wide, thin))) for width in range(80)]
    assert all(narrow <= wider for narrow, wider in pairwise(shown))
    assert shown[-1] == {"name", "age", "bid", "note", "wide", "thin"}


def test_of_one_rank_the_right_one_goes_first() -> None:
    assert keys(10, (Column("a", "a", 6, rank=1), Column("b", "b", 6, rank=1))) == ["a"]


def test_what_is_left_goes_to_the_columns_that_grow() -> None:
    assert fit_columns(COLUMNS, 36).widths == (16, 5, 7, 4)
    two = (NAME, BID, Column("route", "route", 4, "<", grow=True))
    assert fit_columns(two, 25).widths == (9, 7, 6)


def test_a_column_too_wide_for_the_line_is_narrowed_and_its_number_not_cut() -> None:
    layout = fit_columns((BID,), 5)
    assert layout.widths == (4,)
    assert text_of(layout.row({"bid": ("65012.1", "bid")})) == "    …"


def test_titles_stand_as_their_cells_do() -> None:
    layout = fit_columns(COLUMNS, 26)
    assert layout.head == Line(((" market   age     bid note", "head"),))
    assert text_of(fit_columns((Column("x", "much too long", 4),), 5).head) == " muc…"


def test_a_row_has_a_cell_for_the_pointer_and_a_gap_between_columns() -> None:
    layout = fit_columns(COLUMNS, 26)
    figures = {"name": ("BTC", "title"), "age": ("1.8s", "text"), "bid": ("65012.1", "bid"), "note": ("ab", "text")}
    assert text_of(layout.row(figures)) == " BTC     1.8s 65012.1  ab "
    assert text_of(layout.row(figures, mark="▸")) == "▸BTC     1.8s 65012.1  ab "
    assert layout.row(figures, mark="▸").spans[0] == ("▸", "accent")
    assert layout.row(figures, ground="cursor").ground == "cursor"


def test_a_cell_that_is_missing_is_a_dash_and_not_a_blank() -> None:
    layout = fit_columns((NAME, BID), 15)
    assert layout.row({}).spans == ((" ", "text"), (f"{DASH}            {DASH}", "dim"))


def test_neighbours_of_one_role_are_one_span() -> None:
    layout = fit_columns((NAME, AGE, BID), 21)
    row = layout.row({"name": ("BTC", "text"), "age": ("1.8s", "text"), "bid": ("1.0", "bid")})
    assert row.spans == ((" BTC     1.8s ", "text"), ("    1.0", "bid"))


def test_an_empty_cell_is_blank_whatever_its_role() -> None:
    row = fit_columns((NAME, AGE, BID), 21).row({"name": ("BTC", "text"), "age": ("", "crit"), "bid": ("1.0", "text")})
    assert row.spans == ((" BTC              1.0", "text"),)


def test_a_line_wider_than_its_columns_ends_in_blanks_of_no_colour() -> None:
    assert fit_columns((BID,), 10).row({"bid": ("1.0", "bid")}).spans == ((" ", "text"), ("    1.0", "bid"), ("  ", "text"))


def test_names_with_wide_characters_move_no_column() -> None:
    layout = fit_columns((NAME, BID), 15)
    for name in ("市場", "市場市場", "\U0001f468\u200d\U0001f469", "שקל", "\x1b[2J\x07", "e\u0301"):
        row = layout.row({"name": (name, "title"), "bid": ("65012.1", "bid")})
        assert cells(text_of(row)) == 15
        assert text_of(row).endswith(" 65012.1")


def test_headings_stand_over_the_columns_of_their_group() -> None:
    pair = (Column("bp", "bp", 6, group="mark"), Column("z", "z", 5, group="mark"))
    layout = fit_columns((NAME, *pair, BID), 28)
    over, titles = layout.heads
    assert titles == layout.head
    assert text_of(over) == "        ─── mark ───        "
    assert fit_columns((NAME, BID), 15).heads == (fit_columns((NAME, BID), 15).head,)


def test_a_layout_knows_what_it_draws() -> None:
    layout = fit_columns(COLUMNS, 15)
    assert layout.has("bid")
    assert not layout.has("note")


@pytest.mark.parametrize("width", [0, 1, 2])
def test_a_line_of_hardly_any_width_is_still_that_wide(width: int) -> None:
    layout = fit_columns(COLUMNS, width)
    assert [cells(text_of(line)) for line in (layout.head, layout.row({}), *layout.heads)] == [width] * 3
    assert cells(text_of(fit_columns((), width).row({}))) == width


def test_a_column_with_a_limit_grows_first_and_no_further() -> None:
    columns = (
        Column("name", "name", 4, "<", 0, most=6),
        Column("value", "value", 5, ">", 0),
        Column("why", "why", 3, "<", 0, grow=True),
    )
    found = {width: fit_columns(columns, width).widths for width in (15, 16, 17, 20)}
    assert found == {15: (4, 5, 3), 16: (5, 5, 3), 17: (6, 5, 3), 20: (6, 5, 6)}


def test_what_there_is_no_room_for_is_named_as_a_user_would() -> None:
    columns = (
        Column("name", "name", 4, "<", 0),
        Column("a", "bp", 4, ">", 1, group="mark"),
        Column("b", "z", 4, ">", 3, group="mark"),
        Column("c", "bp", 4, ">", 2, group="basis"),
        Column("d", "z", 4, ">", 4, group="basis"),
        Column("e", "OI $", 4, ">", 5),
    )
    assert fit_columns(columns, 40).missing == ()
    assert fit_columns(columns, 40).said_missing(80) == ""
    narrow = fit_columns(columns, 10)
    assert narrow.missing == ("mark z", "basis", "OI $")
    assert narrow.said_missing(80) == "no room for mark z, basis, OI $"
    assert narrow.said_missing(25) == "no room for 3 columns"
    assert narrow.said_missing(5) == ""
