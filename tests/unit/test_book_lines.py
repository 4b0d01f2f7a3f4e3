"""BOOK's lines say what is known, what is not, on which scale a bar is, and where another axis begins."""

from collections.abc import Sequence
from typing import Final

import pytest
from msgspec import structs

from analytics.ladder import AxisView, LadderQuery, Unit
from analytics.snapshot import MarketView, View
from feeds.model import Instrument, InstrumentId
from tests.unit.test_routes import BIN_COIN, BIN_PERP, Floor
from tui.line import text_of
from tui.lines.book import AXIS_EDGE, Ladder, Rows, full_bars, heads
from tui.lines.cursor import cursor_text

WIDTH: Final = 120
PERP: Final = structs.replace(BIN_PERP, tick=1.0)
COIN: Final = structs.replace(BIN_COIN, tick=1.0)
DEEPER: Final = ((1.0, 0.5), (3.0, 2.0))
"""A level right behind the touch, none for two ticks, then the last that the venue sent."""


class Seen:
    """What a frame is made of."""

    def __init__(
        self, *markets: Instrument, unit: Unit = "base", rows: int = 5, cursor: int | None = None, coin_times: float = 1.0
    ) -> None:
        floor = Floor(markets)
        for each in markets:
            times = coin_times if each is COIN else 1.0
            floor.write(each, 60_000.0, 60_001.0, 3.0 * times, *((away, size * times) for away, size in DEEPER))
        floor.tick()
        pointed = (markets[0].id, cursor) if cursor is not None else None
        query = LadderQuery(base="BTC", rows=rows, group_bps=0.0, unit=unit, cursor=pointed)
        found = floor.engine.snapshot(View(routes=None, pairs=None, ladder=query))
        self.unit: Unit = unit
        self.axes: Sequence[AxisView] = found.axes
        self.markets: dict[InstrumentId, MarketView] = {market.instrument: market for market in found.markets}

    def drawn(self, cumulative: bool = False) -> Ladder:
        full = full_bars(self.axes, self.unit, cumulative, {})
        return Ladder(unit=self.unit, cumulative=cumulative, selected=self.axes[0].members[0].instrument, full=full)

    def rows(self, cumulative: bool = False) -> dict[int, str]:
        """The first market's column, without its bars, by the price of the row."""
        texts = [text_of(line).split("│")[:2] for _, line in Rows().make(self.axes, self.markets, self.drawn(cumulative), WIDTH)]
        return {int(label.split()[0]): "".join(sign for sign in text if sign not in "█▉▊▋▌▍▎▏▐◂●▸◆ ") for label, text in texts}


@pytest.mark.parametrize("rows", [3, 5, 7, 9, 11])
def test_a_row_with_nothing_in_it_is_unknown_only_beyond_the_last_level_of_the_book(rows: int) -> None:
    """However few rows are seen: the level behind the blank ones may lie below the last of them."""
    found = Seen(PERP, rows=rows).rows()
    known = {60_005: "—", 60_004: "2.0", 60_003: "", 60_002: "0.500", 60_001: "3.0"}
    known |= {60_000: "3.0", 59_999: "0.500", 59_998: "", 59_997: "2.0", 59_996: "—"}
    assert found == {row: known.get(row, "—") for row in found}


def test_added_up_a_row_with_nothing_in_it_repeats_the_sum_and_is_unknown_beyond_the_last_level() -> None:
    found = Seen(PERP, rows=11).rows(cumulative=True)
    assert [found[row] for row in (60_001, 60_002, 60_003, 60_004, 60_005)] == ["3.0", "3.5", "3.5", "5.5", "—"]
    assert [found[row] for row in (60_000, 59_999, 59_998, 59_997, 59_996)] == ["3.0", "3.5", "3.5", "5.5", "—"]


@pytest.mark.parametrize(("unit", "scales"), [("contracts", {5.0, 5000.0}), ("quote", {500_000.0}), ("base", {5.0})])
def test_in_contracts_each_market_has_its_own_scale_else_all_have_one(unit: Unit, scales: set[float]) -> None:
    """A contract of one market is a coin, of the other a hundred dollars: side by side their counts compare with nothing."""
    seen = Seen(PERP, COIN, unit=unit, coin_times=1000.0)
    assert set(full_bars(seen.axes, unit, False, {}).values()) == scales


def test_a_further_axis_begins_with_a_line_of_its_own_in_every_row() -> None:
    seen = Seen(COIN, PERP)
    drawn = seen.drawn()
    lines = [text_of(line) for line in heads(seen.axes, seen.markets, drawn, WIDTH)]
    lines += [text_of(line) for _, line in Rows().make(seen.axes, seen.markets, drawn, WIDTH)]
    assert {line.index(AXIS_EDGE) for line in lines} == {lines[0].index(AXIS_EDGE)}
    assert all(line.count(AXIS_EDGE) == 1 for line in lines)
    alone = Seen(PERP)
    assert not any(AXIS_EDGE in text_of(line) for line in heads(alone.axes, alone.markets, alone.drawn(), WIDTH))


@pytest.mark.parametrize(("row", "side"), [(59_999, "bids"), (60_002, "asks")])
def test_what_the_cursor_says_shortens_whole_words_and_never_the_cost(row: int, side: str) -> None:
    seen = Seen(PERP, cursor=row)
    market = seen.markets[PERP.id]
    texts = [cursor_text(seen.axes[0], market, row, room) for room in (120, 78, 60, 45, 32)]
    assert texts[0].startswith(f"BIN perp BTC/USDT to {row}: {side} 3.50 BTC = 210k USDT, average ")
    for text, room in zip(texts, (120, 78, 60, 45, 32), strict=True):
        assert len(text) <= room
        assert "3.50 BTC" in text
        assert "costs 0.107 bp" in text


def test_beyond_the_last_level_the_cursor_says_that_this_is_all_that_is_known() -> None:
    for row, known in ((59_998, False), (59_997, False), (59_996, True), (60_004, False), (60_005, True)):
        seen = Seen(PERP, cursor=row, rows=3)
        assert ("all that is known" in cursor_text(seen.axes[0], seen.markets[PERP.id], row, 120)) is known, row
