"""A series as glyphs: gaps stay gaps, the right edge is now, and nothing shimmers."""

from math import inf, nan

import pytest

from tui.sparkline import Style, sparkline

SECOND = 10**9
RAMP = [(second * SECOND, float(second)) for second in range(100)]
STYLES: tuple[Style, ...] = ("braille", "block", "ascii")
MIDDLE = {"braille": "⠤", "block": "▄", "ascii": "-"}


def test_a_rising_series_rises_to_the_right_edge() -> None:
    assert sparkline(RAMP, 99 * SECOND, 8, 8, "block") == "▁▂▃▄▅▆▇█"
    assert sparkline(RAMP, 99 * SECOND, 5, 5, "ascii") == "_.-=^"
    assert sparkline(RAMP, 99 * SECOND, 4, 2, "braille") == "⡠⠊"


def test_a_gap_is_never_bridged() -> None:
    points = [(0, 1.0), (1 * SECOND, 2.0), (5 * SECOND, 3.0)]
    assert sparkline(points, 5 * SECOND, 6, 6, "block") == "▁▅   █"
    assert sparkline(points, 5 * SECOND, 6, 3, "braille") == "⡐ ⠈"


def test_a_series_that_has_ended_moves_away_from_now() -> None:
    assert sparkline([(0, 1.0), (SECOND, 2.0)], 4 * SECOND, 5, 5, "block") == "▁█   "


@pytest.mark.parametrize("hole", [None, nan, inf, -inf])
def test_a_value_that_is_none_ends_the_line_and_does_not_scale_it(hole: float | None) -> None:
    points = [(0, 1.0), (1 * SECOND, hole), (2 * SECOND, 2.0)]
    assert sparkline(points, 2 * SECOND, 3, 3, "block") == "▁ █"
    assert sparkline([(0, 1.0), (1, hole)], 1, 1, 1, "block") == " "


def test_the_last_value_of_a_slot_is_drawn() -> None:
    points = [(0, 1.0), (SECOND, 9.0), (SECOND + 1, 1.0), (2 * SECOND, 2.0)]
    assert sparkline(points, 2 * SECOND, 3, 3, "block") == "▁▁█"


def test_what_is_later_than_now_or_before_the_window_is_neither_drawn_nor_scales() -> None:
    points = [(0, -1e9), (10 * SECOND, 1.0), (11 * SECOND, 2.0), (11 * SECOND + 2, -1e9)]
    assert sparkline(points, 11 * SECOND + 1, 2, 2, "block") == "▁█"


def test_the_line_stands_still_until_a_slot_is_over_and_then_moves_by_one() -> None:
    points = [(ns, float(ns * 7 % 13)) for ns in range(0, 40 * SECOND, SECOND // 3)]
    for style in ("block", "ascii"):
        drawn = [sparkline(points, 40 * SECOND + part * SECOND // 10, 10, 10, style, 0, 13) for part in range(11)]
        assert len(set(drawn[:10])) == 1
        assert drawn[10][:9] == drawn[0][1:]


@pytest.mark.parametrize("style", STYLES)
def test_a_series_that_does_not_move_is_drawn_at_half_the_height(style: Style) -> None:
    points = [(second * SECOND, 5.0) for second in range(10)]
    assert sparkline(points, 9 * SECOND, 10, 5, style) == MIDDLE[style] * 5


def test_a_given_scale_is_kept_and_what_lies_outside_is_drawn_at_its_edge() -> None:
    points = [(0, -50.0), (SECOND, 0.5), (2 * SECOND, 50.0)]
    assert sparkline(points, 2 * SECOND, 3, 3, "block", 0.0, 1.0) == "▁▅█"
    assert sparkline(points, 2 * SECOND, 3, 3, "block", nan, None) == "▁▅█"
    assert sparkline(points, 2 * SECOND, 3, 3, "block", 1.0, 0.0) == "▄▄▄"


def test_the_widest_range_does_not_overflow() -> None:
    assert sparkline([(0, -1.7e308), (SECOND, 0.0), (2 * SECOND, 1.7e308)], 2 * SECOND, 3, 3, "block") == "▁▅█"


@pytest.mark.parametrize("style", STYLES)
def test_without_samples_the_cells_are_blank(style: Style) -> None:
    assert sparkline([], 99 * SECOND, 10, 7, style) == " " * 7
    assert {sparkline(RAMP, 99 * SECOND, window_s, 7, style) for window_s in (nan, inf, 1e300, 0, -1)} == {" " * 7}
    assert sparkline(RAMP, 99 * SECOND, 10, 0, style) == ""


def test_ascii_is_ascii() -> None:
    assert sparkline(RAMP, 99 * SECOND, 100, 30, "ascii").isascii()
