"""Ladders by hand: which axis may be drawn, that rows neither lose nor make anything, and that nothing jumps (desk F3)."""

import pytest
from msgspec import structs

from analytics.ladder import AxisHold, AxisView, CursorView, Grid, LadderColumn, LadderQuery, Unit, round_step
from analytics.routes import Axis
from analytics.snapshot import View
from feeds.model import MS, SECOND, Contract, Instrument, Kind, LinkState, Trade
from tests.unit.test_routes import BIN_COIN, BIN_PERP, BIN_SPOT, BYB_PERP, BYB_SPOT, Floor, made

FUTURE = structs.replace(made("BINANCE", kind=Kind.FUTURE), id="BINANCE:BTC/USDT:USDT-991231", expiry_ns=2_000_000_000 * SECOND)
OPTION = structs.replace(
    made("DERIBIT", kind=Kind.OPTION), id="DERIBIT:BTC/USDT:USDT-991231-9-C", expiry_ns=2_000_000_000 * SECOND
)
ONE = LadderQuery(base="BTC", rows=11, group_bps=0.1)
"""Rows of 1 at prices round 100,000."""


def axes(floor: Floor, query: LadderQuery) -> tuple[AxisView, ...]:
    floor.tick()
    return floor.engine.snapshot(View(routes=None, pairs=None, ladder=query)).axes


def axis(floor: Floor, query: LadderQuery = ONE) -> AxisView:
    (found,) = axes(floor, query)
    return found


def column(found: AxisView, instrument: Instrument) -> LadderColumn:
    return next(each for each in found.members if each.instrument == instrument.id)


def at(found: AxisView, sums: tuple[float, ...], row: int) -> float:
    assert found.top is not None
    return sums[found.top - row]


def both(bid: float = 100_000.2, ask: float = 100_000.4) -> Floor:
    """A dollar contract and a tether contract of one venue."""
    floor = Floor((BIN_PERP, BIN_COIN))
    for instrument in (BIN_PERP, BIN_COIN):
        floor.write(instrument, bid, ask)
    return floor


# -- which axis -------------------------------------------------------------------------------------------------------------


def test_markets_of_one_quote_share_a_price_axis_named_by_it() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT, BIN_PERP))
    found = axis(floor)
    assert (found.name, found.axis) == ("USDT", Axis.PRICE)
    assert [each.instrument for each in found.members] == [BIN_SPOT.id, BYB_SPOT.id, BIN_PERP.id]


def test_dollars_and_tethers_never_stand_on_one_price_axis() -> None:
    assert [(each.name, each.axis) for each in axes(both(), ONE)] == [("USD", Axis.PRICE), ("USDT", Axis.PRICE)]


def test_two_quotes_stand_on_the_axis_of_their_own_indices_while_both_are_fresh() -> None:
    floor = both()
    floor.index(BIN_PERP, 100_000.0)
    floor.index(BIN_COIN, 99_900.0)
    found = axis(floor, structs.replace(ONE, group_bps=1.0))
    assert (found.name, found.axis, found.step) == ("own index", Axis.INDEX, 1.0)
    # the same prices: 0.03 bp above the one index, 10.04 bp above the other
    assert (column(found, BIN_PERP).bid_row, column(found, BIN_PERP).ask_row) == (0, 1)
    assert (column(found, BIN_COIN).bid_row, column(found, BIN_COIN).ask_row) == (10, 11)
    assert found.fair == pytest.approx((0.03 + (100_000.3 / 99_900.0 - 1) * 1e4) / 2)
    floor.now += 3 * SECOND
    floor.index(BIN_PERP, 100_000.0)
    assert [each.name for each in axes(floor, ONE)] == ["USD", "USDT"]


def test_an_index_that_hesitates_hollows_its_column_and_leaves_the_axis_that_is_drawn() -> None:
    floor = both()
    floor.index(BIN_COIN, 100_000.0)
    floor.now += 3 * SECOND
    floor.index(BIN_PERP, 100_000.0)
    held = structs.replace(ONE, held=(AxisHold("own index", 1.0),))
    found = axis(floor, held)
    assert found.axis is Axis.INDEX
    assert [(each.hollow, any(each.bids)) for each in found.members] == [(False, True), (True, False)]
    floor.now += 8 * SECOND
    floor.index(BIN_PERP, 100_000.0)
    assert [each.name for each in axes(floor, held)] == ["USD", "USDT"]


def test_what_is_preferred_is_taken_where_it_is_honest() -> None:
    floor = both()
    by_index, by_price = (structs.replace(ONE, prefer=prefer) for prefer in (Axis.INDEX, Axis.PRICE))
    tethers = structs.replace(by_index, names=(BIN_PERP.id,))
    assert [each.name for each in axes(floor, by_index)] == ["USD", "USDT"]  # no index is known
    assert [each.name for each in axes(floor, tethers)] == ["USDT"]
    floor.index(BIN_PERP, 100_000.0)
    floor.index(BIN_COIN, 100_000.0)
    assert [each.name for each in axes(floor, tethers)] == ["own index"]
    assert [each.name for each in axes(floor, by_price)] == ["USD", "USDT"]


def test_options_are_left_out_and_a_dated_future_keeps_to_prices_and_does_not_move_fair() -> None:
    floor = Floor((BIN_PERP, FUTURE, OPTION))
    floor.write(BIN_PERP, 100_000.0, 100_001.0)
    floor.write(FUTURE, 102_000.0, 102_001.0)
    found = axis(floor)
    assert [each.instrument for each in found.members] == [BIN_PERP.id, FUTURE.id]
    assert found.fair == 100_000.5
    floor.watch(BIN_COIN)
    for instrument in (BIN_PERP, BIN_COIN, FUTURE):
        floor.index(instrument, 100_000.0)
    assert [(each.name, [m.instrument for m in each.members]) for each in axes(floor, ONE)] == [
        ("own index", [BIN_PERP.id, BIN_COIN.id]),
        ("USDT", [FUTURE.id]),
    ]
    alone = axis(floor, structs.replace(ONE, names=(FUTURE.id,)))
    assert alone.fair == 102_000.5


def test_columns_stand_in_the_order_asked_for_and_other_coins_stay_away() -> None:
    eth = structs.replace(BIN_PERP, id="BINANCE:ETH/USDT:USDT", base="ETH")
    floor = Floor((BIN_SPOT, eth, BYB_SPOT))
    assert [each.instrument for each in axis(floor).members] == [BIN_SPOT.id, BYB_SPOT.id]
    asked = structs.replace(ONE, names=(BYB_SPOT.id, eth.id, "none", BIN_SPOT.id))
    assert [each.instrument for each in axis(floor, asked).members] == [BYB_SPOT.id, BIN_SPOT.id]
    assert axes(floor, structs.replace(ONE, base="SOL")) == ()


# -- rows -------------------------------------------------------------------------------------------------------------------


def test_grouping_never_makes_a_cross_which_rounding_to_the_nearest_would() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT))
    floor.write(BIN_SPOT, 100_000.6, 100_001.2)
    floor.write(BYB_SPOT, 100_000.7, 100_001.4)
    found = axis(floor)
    assert found.step == 1.0
    bid_rows = [each.bid_row for each in found.members]
    ask_rows = [each.ask_row for each in found.members]
    assert (bid_rows, ask_rows) == ([100_000, 100_000], [100_002, 100_002])
    # rounded to the nearest, every bid would share the row of every ask, on books 0.5 apart
    assert {round(price) for each in found.members for price in (each.bid, each.ask) if price is not None} == {100_001}


def test_a_level_on_a_rows_price_lies_on_it_though_binary_fractions_say_otherwise() -> None:
    """0.3 // 0.1 is 2."""
    assert 0.3 // 0.1 == 2.0
    for step in (0.1, 0.01, 0.7, 2.5, 1e-7):
        for row in (1, 3, 7, 30, 999_999, 1_000_003, 7_000_001):
            price = float(f"{row * step:.9f}")
            grid = Grid(0.0, step)
            assert (grid.bid_row(price), grid.ask_row(price)) == (row, row)
            tick = step / 100
            assert (grid.bid_row(price - tick), grid.ask_row(price + tick)) == (row - 1, row + 1)


def test_a_real_cross_between_markets_is_kept() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT))
    floor.write(BIN_SPOT, 100_003.0, 100_003.5)
    floor.write(BYB_SPOT, 100_001.0, 100_001.5)
    found = axis(floor)
    assert (column(found, BIN_SPOT).bid_row, column(found, BYB_SPOT).ask_row) == (100_003, 100_002)


@pytest.mark.parametrize(
    ("instrument", "unit", "sums"),
    [
        (BIN_SPOT, "quote", (2.0 * 100_000.2 + 3.0 * 100_000.1, 4.0 * 99_999.2)),
        (BIN_SPOT, "base", (5.0, 4.0)),
        (BIN_SPOT, "contracts", (5.0, 4.0)),
        (BIN_COIN, "quote", (500.0, 400.0)),
        (BIN_COIN, "base", (200 / 100_000.2 + 300 / 100_000.1, 400 / 99_999.2)),
        (BIN_COIN, "contracts", (5.0, 4.0)),
    ],
)
def test_sizes_are_told_in_the_unit_asked_for_each_level_at_its_own_price(
    instrument: Instrument, unit: Unit, sums: tuple[float, float]
) -> None:
    floor = Floor((instrument,))
    floor.write(instrument, 100_000.2, 100_000.4, 2.0, (0.1, 3.0), (1.0, 4.0))
    found = axis(floor, structs.replace(ONE, unit=unit))
    mine = column(found, instrument)
    assert (at(found, mine.bids, 100_000), at(found, mine.bids, 99_999)) == pytest.approx(sums)
    assert sum(mine.bids) == pytest.approx(sum(sums))
    assert at(found, mine.bids, 100_001) == 0.0


def test_the_touch_that_lies_over_the_book_is_what_rows_show() -> None:
    floor = Floor((BIN_PERP,))
    floor.write(BIN_PERP, 100_002.0, 100_003.0, 5.0, (2.0, 7.0))
    book = floor.books[BIN_PERP.id]
    assert book.touch(100_001.0, 1.5, 100_003.0, 2.5, book.seq + 1, 0, floor.now)
    found = axis(floor, structs.replace(ONE, unit="base"))
    mine = column(found, BIN_PERP)
    assert mine.bid_row == 100_001
    assert [at(found, mine.bids, row) for row in (100_002, 100_001, 100_000)] == [0.0, 1.5, 7.0]
    assert at(found, mine.asks, 100_003) == 2.5


def test_rows_beyond_the_view_are_cut_off_not_heaped_on_its_edge() -> None:
    floor = Floor((BIN_PERP,))
    floor.write(BIN_PERP, 100_000.0, 100_001.0, 1.0, *((float(away), 1.0) for away in range(1, 50)))
    found = axis(floor, structs.replace(ONE, rows=6, unit="base"))
    assert found.centre == 100_000  # the middle of 100,000.5 lies on an even row
    assert found.top == 100_003
    mine = column(found, BIN_PERP)
    assert mine.asks == (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    assert mine.bids == (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)


def test_a_view_far_off_the_touch_shows_what_rests_there() -> None:
    floor = Floor((BIN_PERP,))
    floor.write(BIN_PERP, 100_000.0, 100_001.0, 1.0, (2_000.0, 7.0))
    below_it = structs.replace(ONE, unit="base", held=(AxisHold("USDT", 1.0, 98_000),))
    found = axis(floor, below_it)
    assert column(found, BIN_PERP).bids == (0.0,) * 5 + (7.0,) + (0.0,) * 5
    assert not any(column(found, BIN_PERP).asks)
    assert column(found, BIN_PERP).bid_row == 100_000


@pytest.mark.parametrize("centre", [100_000, 98_000, 103_000])
def test_what_rests_between_the_touch_and_rows_moved_off_it_is_told_apart(centre: int) -> None:
    floor = Floor((BIN_PERP,))
    floor.write(BIN_PERP, 100_000.0, 100_001.0, 1.0, (10.0, 2.0), (2_000.0, 7.0))
    found = axis(floor, structs.replace(ONE, unit="base", held=(AxisHold("USDT", 1.0, centre),)))
    mine = column(found, BIN_PERP)
    assert (mine.bids_above, mine.asks_below) == {100_000: (0.0, 0.0), 98_000: (3.0, 0.0), 103_000: (0.0, 10.0)}[centre]
    assert sum(mine.bids) == {100_000: 1.0, 98_000: 7.0, 103_000: 0.0}[centre]


def test_a_snapshot_holds_plain_numbers_which_can_be_written_to_json() -> None:
    floor = Floor((BIN_PERP,))
    floor.write(BIN_PERP, 100_000.0, 100_001.0, 1.0, (3.0, 2.0))
    found = axis(floor, structs.replace(ONE, size_usd=150_000.0, cursor=(BIN_PERP.id, 99_999)))
    mine = column(found, BIN_PERP)
    told = [*mine.bids, *mine.asks, mine.bids_above, mine.asks_below]
    assert found.cursor is not None
    told += [found.cursor.base, found.cursor.quote, found.cursor.average_price, found.cursor.cost_bps]
    assert {type(each) for each in told} == {float}
    assert {type(each) for each in (mine.bid_row, mine.ask_row, mine.mine_bid_row, mine.mine_ask_row)} == {int}


@pytest.mark.parametrize("how", ["none", "fallen", "dead", "one side"])
def test_a_market_that_may_not_be_read_is_a_hollow_column(how: str) -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT))
    floor.write(BIN_SPOT, 100_000.0, 100_001.0)
    if how != "none":
        floor.write(BYB_SPOT, 100_000.0, 100_001.0)
        floor.engine.on_trade(BYB_SPOT, Trade(100_000.0, 1.0, "buy", 0), floor.now)
    if how == "fallen":
        floor.fall(BYB_SPOT, "gap", LinkState.READY)
    elif how == "dead":
        floor.books[BYB_SPOT.id].leg.pulse.alive = False
    elif how == "one side":
        floor.books[BYB_SPOT.id].replace([(100_000.0, 1.0)], [], 9, 0, floor.now)
    found = axis(floor, structs.replace(ONE, size_usd=1_000.0, cursor=(BYB_SPOT.id, 99_999)))
    mine = column(found, BYB_SPOT)
    assert mine.hollow
    assert mine.bids == mine.asks == (0.0,) * 11
    assert mine.bid_row is mine.ask_row is mine.last_row is mine.mine_bid_row is mine.mine_ask_row is None
    assert (mine.bid, mine.ask) == ((100_000.0, None) if how == "one side" else (None, None))
    assert found.cursor is None
    assert not column(found, BIN_SPOT).hollow


def test_without_any_book_there_is_nothing_to_centre_on() -> None:
    found = axis(Floor((BIN_SPOT,)))
    assert found.centre is found.top is found.fair is None
    assert found.members[0].hollow


def test_a_quantos_contracts_can_be_told_but_not_converted() -> None:
    quanto = made("BINANCE", kind=Kind.PERP, contract=Contract.QUANTO)
    floor = Floor((quanto,))
    floor.write(quanto, 100_000.0, 100_001.0, 3.0)
    pointed = (quanto.id, 100_000)
    assert axis(floor).members[0].hollow
    found = axis(floor, structs.replace(ONE, unit="contracts", size_usd=1_000.0, cursor=pointed))
    assert sum(found.members[0].bids) == 3.0
    assert (found.cursor, found.members[0].mine_bid_row) == (None, None)


# -- marks and cursor -------------------------------------------------------------------------------------------------------


def test_the_last_print_lies_on_the_row_of_the_side_it_hit() -> None:
    floor = Floor((BIN_PERP,))
    floor.write(BIN_PERP, 100_000.2, 100_000.4)
    assert axis(floor).members[0].last_row is None
    floor.engine.on_trade(BIN_PERP, Trade(100_000.4, 1.0, "buy", 0), floor.now)
    assert axis(floor).members[0].last_row == axis(floor).members[0].ask_row == 100_001
    floor.engine.on_trade(BIN_PERP, Trade(100_000.2, 1.0, "sell", 0), floor.now)
    assert axis(floor).members[0].last_row == axis(floor).members[0].bid_row == 100_000
    floor.engine.on_trade(BIN_PERP, Trade(99_000.0, 500.0, "sell", 0, block=True), floor.now)
    assert axis(floor).members[0].last_row == 100_000


@pytest.mark.parametrize(("instrument", "unit_size"), [(BIN_SPOT, 1.0), (BIN_COIN, 1_000.0)])
def test_my_size_ends_on_the_row_of_the_last_level_it_needs(instrument: Instrument, unit_size: float) -> None:
    """One coin a level, or a thousand contracts of $100."""
    floor = Floor((instrument,))
    floor.write(instrument, 100_000.0, 100_001.0, unit_size, (1.0, unit_size), (4.0, unit_size))

    def ends(size_usd: float) -> tuple[int | None, int | None]:
        mine = axis(floor, structs.replace(ONE, size_usd=size_usd)).members[0]
        return mine.mine_bid_row, mine.mine_ask_row

    assert ends(50_000.0) == (100_000, 100_001)
    assert ends(150_000.0) == (99_999, 100_002)
    assert ends(250_000.0) == (99_996, 100_005)
    assert ends(500_000.0) == (None, None)
    assert ends(0.0) == (None, None)


def test_my_size_is_not_marked_where_the_quote_is_no_dollar() -> None:
    in_coin = made("BINANCE", quote="ETH")
    floor = Floor((in_coin,))
    floor.write(in_coin, 100_000.0, 100_001.0)
    assert axis(floor, structs.replace(ONE, size_usd=1_000.0)).members[0].mine_bid_row is None


@pytest.mark.parametrize(("instrument", "size"), [(BIN_PERP, 1.0), (BIN_COIN, 1_000.0)])
def test_the_cursor_tells_what_stands_from_the_touch_to_its_row(instrument: Instrument, size: float) -> None:
    floor = Floor((instrument,))
    floor.write(instrument, 100_000.0, 100_002.0, size, (1.0, size), (5.5, 2 * size))
    levels = [(100_000.0, size), (99_999.0, size), (99_994.5, 2 * size)]

    def pointed(row: int) -> CursorView | None:
        return axis(floor, structs.replace(ONE, cursor=(instrument.id, row))).cursor

    def holds(row: int, count: int) -> None:
        found = pointed(row)
        assert found is not None
        assert (found.instrument, found.row, found.side) == (instrument.id, row, "bids")
        assert found.base == pytest.approx(sum(base[:count]))
        assert found.quote == pytest.approx(sum(quote[:count]))

    base = [instrument.to_base(s, p) for p, s in levels]
    quote = [instrument.to_quote(s, p) for p, s in levels]
    for row, count in ((100_000, 1), (99_999, 2), (99_995, 2), (99_994, 3), (90_000, 3)):
        holds(row, count)
    assert pointed(100_001) is None
    sold = pointed(99_999)
    assert sold is not None
    assert sold.average_price == pytest.approx(sold.quote / sold.base)
    assert sold.cost_bps == pytest.approx((100_001.0 - sold.average_price) / 100_001.0 * 1e4)
    bought = pointed(100_008)
    assert bought is not None
    assert bought.side == "asks"
    assert bought.average_price > 100_003.0
    assert bought.cost_bps > 0


# -- what must not jump -----------------------------------------------------------------------------------------------------


def test_a_held_centre_stays_while_fair_moves_and_without_a_hold_it_follows() -> None:
    floor = Floor((BIN_PERP,))
    floor.write(BIN_PERP, 100_000.0, 100_001.0)
    held = structs.replace(ONE, held=(AxisHold("USDT", 1.0, 99_990),))
    following = structs.replace(ONE, held=(AxisHold("USDT", 1.0),))
    assert axis(floor, held).centre == 99_990
    floor.write(BIN_PERP, 100_010.0, 100_011.0)
    assert (axis(floor, held).centre, axis(floor, following).centre) == (99_990, 100_010)


def test_another_group_keeps_the_price_in_the_middle() -> None:
    floor = Floor((BIN_PERP,))
    floor.write(BIN_PERP, 100_000.0, 100_001.0)
    found = axis(floor, structs.replace(ONE, group_bps=1.0, held=(AxisHold("USDT", 1.0, 99_990),)))
    assert (found.step, found.centre) == (10.0, 9_999)


def test_the_step_does_not_flip_while_fair_wanders() -> None:
    """Between 2 and 2.5 the choice turns at 2.236; round it the step stays what it was."""
    assert (round_step(2.2, 0.1), round_step(2.3, 0.1)) == (2.0, 2.5)
    step, steps = 2.0, []
    for wander in (2.2, 2.25, 2.22, 2.3, 2.2, 2.25, 2.2):
        step = round_step(wander, 0.1, step)
        steps.append(step)
    assert set(steps) == {2.0}
    assert round_step(2.45, 0.1, 2.0) == 2.5
    floor = Floor((BIN_PERP,))
    query = LadderQuery(base="BTC", rows=11, group_bps=1.0)
    seen = []
    for mid in (22_200.0, 22_500.0, 22_200.0, 22_500.0):
        floor.write(BIN_PERP, mid - 0.5, mid + 0.5)
        found = axis(floor, query)
        query = structs.replace(query, held=(AxisHold(found.name, found.step),))
        seen.append(found.step)
    assert set(seen) == {2.0}


@pytest.mark.parametrize("tick", [0.01, 0.1, 0.5, 0.25, 0.3, 1e-7, 4.0])
def test_steps_are_round_multiples_of_the_tick_and_near_what_is_wanted(tick: float) -> None:
    for times in (0.2, 1.0, 1.3, 3.0, 7.0, 42.0, 999.0, 31_415.0):
        step = round_step(times * tick, tick)
        assert step >= tick
        assert step / tick == pytest.approx(round(step / tick), rel=1e-9)
        assert times < 1.0 or max(step / (times * tick), times * tick / step) <= 2.5
    assert round_step(tick * 7, tick, tick * 3.3) == round_step(tick * 7, tick)  # what is held may be no step at all


def test_the_coarsest_tick_rules_and_rows_are_written_exactly() -> None:
    floor = Floor((BIN_SPOT, structs.replace(BYB_SPOT, tick=0.5)))
    floor.write(BIN_SPOT, 100_000.0, 100_000.1)
    found = axis(floor, structs.replace(ONE, group_bps=0.0))
    assert (found.step, found.decimals) == (0.5, 1)
    assert axis(floor, structs.replace(ONE, group_bps=0.001)).step == 0.5
    fine = axis(Floor((structs.replace(BIN_SPOT, tick=0.1),)), structs.replace(ONE, group_bps=0.0))
    assert (fine.value(1_000_003), fine.decimals) == (100_000.3, 1)
    assert axis(floor, structs.replace(ONE, group_bps=0.25)).decimals == 1  # 2.5
    assert axis(floor, structs.replace(ONE, group_bps=10.0)).decimals == 0


def test_the_index_axis_steps_in_basis_points() -> None:
    floor = both()
    for instrument in (BIN_PERP, BIN_COIN):
        floor.index(instrument, 100_000.0)
    assert axis(floor, structs.replace(ONE, group_bps=0.0)).step == 0.1
    assert axis(floor, structs.replace(ONE, group_bps=2.5)).step == 2.5
    found = axis(floor, structs.replace(ONE, group_bps=0.0))
    mine = column(found, BIN_PERP)
    assert (mine.bid_row, mine.ask_row, found.centre) == (0, 1, 0)


def test_a_ladder_of_a_made_up_moment_is_the_same_twice() -> None:
    floor = both()
    query = structs.replace(ONE, group_bps=5.0, size_usd=1_000.0, cursor=(BIN_PERP.id, 0))
    floor.engine.on_trade(BIN_PERP, Trade(100_000.4, 10.0, "buy", 0), floor.now - 5 * MS)
    view = View(depth=5, exits=True, window_s=60, ladder=query, tape=5)
    floor.tick()
    assert floor.engine.snapshot(view) == floor.engine.snapshot(view)


def test_only_the_venues_own_perp_lends_its_index_to_a_spot() -> None:
    floor = Floor((BIN_SPOT, BIN_PERP, BYB_SPOT, BYB_PERP, BIN_COIN))
    for instrument in (BIN_PERP, BIN_COIN):
        floor.index(instrument, 100_000.0)
    assert {each.axis for each in axes(floor, ONE)} == {Axis.PRICE}
    floor.index(BYB_PERP, 100_000.0)
    assert [each.axis for each in axes(floor, ONE)] == [Axis.INDEX]
