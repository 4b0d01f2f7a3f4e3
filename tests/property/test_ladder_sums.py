"""Rows of a ladder against each level on its own: nothing lost, nothing counted twice, no cross made (desk F3, LADDER)."""

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from analytics.ladder import AxisHold, AxisView, LadderColumn, LadderQuery, Unit, make_axes
from analytics.routes import Axis
from feeds.model import Contract, Instrument
from tests.unit.test_routes import BIN_COIN, BIN_PERP, BIN_SPOT, BYB_PERP, Floor

Side = list[tuple[int, float]]
"""(ticks, size), best first."""

SEEDS = st.integers(0, 2**32 - 1)
MARKETS = st.sampled_from((BIN_SPOT, BIN_PERP, BIN_COIN))
GROUPS = st.sampled_from((0.0, 0.1, 0.5, 1.0, 3.0, 25.0))
UNITS: st.SearchStrategy[Unit] = st.sampled_from(("quote", "base", "contracts"))
TICKS_PER_UNIT = 10
"""Of the markets in use: their tick is 0.1."""
MIDDLE = 600_000


def book(seed: int) -> tuple[Side, Side]:
    """Ticks and sizes of both sides, some levels together and some far apart."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 120, 2)
    middle = MIDDLE + int(rng.integers(-200, 200))
    gap = int(rng.integers(1, 60))
    bids = middle - np.cumsum(rng.integers(1, int(rng.integers(2, 40)), count[0]))
    asks = middle + gap - 1 + np.cumsum(rng.integers(1, int(rng.integers(2, 40)), count[1]))
    sizes = rng.lognormal(0, 1.5, count.sum()).tolist()
    return (
        list(zip(bids.tolist(), sizes[: count[0]], strict=True)),
        list(zip(asks.tolist(), sizes[count[0] :], strict=True)),
    )


def written(instrument: Instrument, sides: tuple[Side, Side], over: Floor | None = None) -> Floor:
    made = over or Floor((instrument,))
    priced = [[(ticks / TICKS_PER_UNIT, size) for ticks, size in side] for side in sides]
    target = made.books[instrument.id]
    made.write(instrument, 1.0, 2.0)
    target.replace(priced[0], priced[1], target.seq + 1, 0, made.now)
    made.engine.on_book(target, made.now)
    return made


def axis(made: Floor, query: LadderQuery) -> AxisView:
    (found,) = make_axes(query, made.engine.markets.values(), made.now)
    return found


def amount(instrument: Instrument, unit: Unit, price: float, size: float) -> float:
    """A level in a unit, by what the words say and not by the program."""
    if unit == "contracts":
        return size
    each = size * instrument.contract_size
    if instrument.contract is Contract.INVERSE:
        return each if unit == "quote" else each / price
    return each * price if unit == "quote" else each


def rows_of(sides: tuple[Side, Side], step: float) -> tuple[list[int], list[int]]:
    """The row of each level in exact arithmetic: steps are decimal numbers."""
    exact = Fraction(f"{step:.10g}")
    bids = [floor(Fraction(ticks, TICKS_PER_UNIT) / exact) for ticks, _ in sides[0]]
    asks = [ceil(Fraction(ticks, TICKS_PER_UNIT) / exact) for ticks, _ in sides[1]]
    return bids, asks


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, instrument=MARKETS, group=GROUPS, unit=UNITS, rows=st.integers(1, 60), shift=st.integers(-40, 40))
def test_each_level_lies_in_exactly_one_row_and_each_row_holds_exactly_its_levels(
    seed: int, instrument: Instrument, group: float, unit: Unit, rows: int, shift: int
) -> None:
    sides = book(seed)
    query = LadderQuery(base="BTC", rows=rows, group_bps=group, unit=unit)
    made = written(instrument, sides)
    at_fair = axis(made, query)
    assert at_fair.centre is not None
    hold = AxisHold(at_fair.name, at_fair.step, at_fair.centre + shift)
    found = axis(made, structs.replace(query, held=(hold,)))
    assert found.top is not None
    (mine,) = found.members
    for side, numbers, sums in zip(sides, rows_of(sides, found.step), (mine.bids, mine.asks), strict=True):
        naive = [0.0] * rows
        for (ticks, size), row in zip(side, numbers, strict=True):
            if 0 <= found.top - row < rows:
                naive[found.top - row] += amount(instrument, unit, ticks / TICKS_PER_UNIT, size)
        assert sums == pytest.approx(naive, rel=1e-9, abs=0.0)
    bid_rows, ask_rows = rows_of(sides, found.step)
    assert (mine.bid_row, mine.ask_row) == (bid_rows[0], ask_rows[0])
    assert (mine.deepest_bid_row, mine.deepest_ask_row) == (bid_rows[-1], ask_rows[-1])


def filled(found: AxisView, column: LadderColumn) -> tuple[list[int], list[int]]:
    """Rows with something in them."""
    assert found.top is not None
    shown = range(found.top, found.top - found.rows, -1)
    return (
        [row for row, size in zip(shown, column.bids, strict=True) if size],
        [row for row, size in zip(shown, column.asks, strict=True) if size],
    )


@settings(max_examples=100, deadline=None)
@given(seeds=st.tuples(SEEDS, SEEDS), group=GROUPS, by_index=st.booleans(), drift=st.floats(-30.0, 30.0))
def test_grouping_shows_no_cross_that_is_not_there(seeds: tuple[int, int], group: float, by_index: bool, drift: float) -> None:
    """Within a market never, between markets only where a bid is at or above an ask on the axis."""
    made = Floor((BIN_PERP, BYB_PERP))
    indices = {BIN_PERP.id: 60_000.0, BYB_PERP.id: 60_000.0 * (1 + drift / 1e4)}
    for instrument, seed in zip((BIN_PERP, BYB_PERP), seeds, strict=True):
        written(instrument, book(seed), made)
        made.index(instrument, indices[instrument.id])
    found = axis(made, LadderQuery(base="BTC", rows=80, group_bps=group, prefer=Axis.INDEX if by_index else None))
    assert found.axis is (Axis.INDEX if by_index else Axis.PRICE)
    for mine in found.members:
        assert mine.bid_row is not None
        assert mine.ask_row is not None
        assert mine.bid_row < mine.ask_row
        bids, asks = filled(found, mine)
        assert all(row <= mine.bid_row for row in bids)
        assert all(row >= mine.ask_row for row in asks)
        for other in found.members:
            assert other.ask_row is not None
            assert mine.bid is not None
            assert other.ask is not None
            unit = {each: indices[each] if by_index else 1.0 for each in indices}
            bid, ask = mine.bid / unit[mine.instrument], other.ask / unit[other.instrument]
            if mine.bid_row >= other.ask_row:
                assert bid >= ask * (1 - 3e-9)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, instrument=MARKETS, group=st.sampled_from((0.5, 1.0, 3.0)), power=st.sampled_from((-3, -1, 1, 3)))
def test_ten_times_the_price_is_the_same_ladder(seed: int, instrument: Instrument, group: float, power: int) -> None:
    sides = book(seed)
    scale = 10.0**power
    scaled = structs.replace(instrument, tick=instrument.tick * scale)
    made, other = Floor((instrument,)), Floor((scaled,))
    for each, floor_, by in ((instrument, made, 1.0), (scaled, other, scale)):
        target = floor_.books[each.id]
        floor_.write(each, 1.0, 2.0)
        bids, asks = ([(ticks / TICKS_PER_UNIT * by, size) for ticks, size in side] for side in sides)
        target.replace(bids, asks, 9, 0, floor_.now)
        floor_.engine.on_book(target, floor_.now)
    query = LadderQuery(base="BTC", rows=40, group_bps=group, unit="contracts")
    one, two = axis(made, query), axis(other, query)
    assert two.step == pytest.approx(one.step * scale)
    assert two.centre == one.centre
    (mine,), (theirs,) = one.members, two.members
    assert theirs.bids == pytest.approx(mine.bids)
    assert theirs.asks == pytest.approx(mine.asks)
    assert (theirs.bid_row, theirs.ask_row) == (mine.bid_row, mine.ask_row)


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, instrument=MARKETS, group=GROUPS, away=st.integers(-60, 60))
def test_the_cursor_sums_what_the_rows_up_to_it_hold(seed: int, instrument: Instrument, group: float, away: int) -> None:
    sides = book(seed)
    made = written(instrument, sides)
    query = LadderQuery(base="BTC", rows=9, group_bps=group)
    centre = axis(made, query).centre
    assert centre is not None
    cursor = centre + away
    found = axis(made, structs.replace(query, cursor=(instrument.id, cursor)))
    bid_rows, ask_rows = rows_of(sides, found.step)
    if bid_rows[0] < cursor < ask_rows[0]:
        assert found.cursor is None
        return
    bids = cursor <= bid_rows[0]
    side, numbers = (sides[0], bid_rows) if bids else (sides[1], ask_rows)
    within = [
        (ticks / TICKS_PER_UNIT, size)
        for (ticks, size), row in zip(side, numbers, strict=True)
        if (row >= cursor if bids else row <= cursor)
    ]
    assert found.cursor is not None
    assert found.cursor.side == ("bids" if bids else "asks")
    assert found.cursor.base == pytest.approx(sum(amount(instrument, "base", p, s) for p, s in within))
    assert found.cursor.quote == pytest.approx(sum(amount(instrument, "quote", p, s) for p, s in within))
    assert found.cursor.cost_bps > 0
