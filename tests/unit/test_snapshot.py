"""What a snapshot may say: live figures that do not flicker, none that is old, nothing that nobody looks at (DESIGN 1.4, 3)."""

import pytest
from msgspec import structs

from analytics.fitness import leg_refusal
from analytics.routes import Route
from analytics.settings import AnalyticsSettings, Fees, Tape, ZScore
from analytics.snapshot import MarketView, Snapshot, View
from feeds.model import MS, SECOND, BookState, Channel, Instrument, LinkState, Status, Stream, Trade
from tests.unit.test_routes import BIN_COIN, BIN_PERP, BIN_SPOT, BYB_PERP, BYB_SPOT, OKX_SPOT, QUICK, SMALL, Floor, made, two

WARM = AnalyticsSettings(guards=QUICK, size=SMALL, z=ZScore(window=20, min_periods=3))


def seen(floor: Floor, view: View | None = None) -> Snapshot:
    return floor.engine.snapshot(view or View())


def market(floor: Floor, instrument: Instrument, view: View | None = None) -> MarketView:
    return next(each for each in seen(floor, view).markets if each.instrument == instrument.id)


def marked(floor: Floor, seconds: int, begin: int = 0) -> None:
    """A mark each second, each a little different, and an index with it."""
    for second in range(begin, begin + seconds):
        floor.index(BIN_PERP, 100_000.0)
        floor.mark(BIN_PERP, 100_010.0 + second % 3)
        floor.tick(10)


# -- mark against index -----------------------------------------------------------------------------------------------------


def test_mark_against_index_does_not_vanish_in_the_seconds_without_a_new_mark() -> None:
    floor = two(BIN_SPOT, BIN_PERP, settings=WARM)
    marked(floor, 6)
    for _ in range(20):
        view = market(floor, BIN_PERP)
        assert view.mark_index_bps == pytest.approx(1.2)
        assert view.residual_bps is None  # no funding is known
        floor.tick()
    floor.mark(BIN_PERP, 100_030.0)
    floor.index(BIN_PERP, 100_000.0)
    assert market(floor, BIN_PERP).mark_index_bps == pytest.approx(3.0)  # at once, not with the next second


def test_a_mark_that_an_index_has_run_away_from_in_time_is_compared_with_nothing() -> None:
    floor = two(BIN_SPOT, BIN_PERP, settings=WARM)
    marked(floor, 6)
    floor.tick(35)
    floor.index(BIN_PERP, 100_500.0)
    floor.tick()
    view = market(floor, BIN_PERP)
    assert view.mark_index_bps is view.mark_index_z is None


def test_a_z_score_outlives_a_gap_by_five_seconds_and_no_longer() -> None:
    floor = two(BIN_SPOT, BIN_PERP, settings=WARM)
    marked(floor, 8)
    last = floor.engine.markets[BIN_PERP.id].mark_index
    while floor.engine.now_ns < last.z_ns + 5 * SECOND:
        floor.tick()
        assert market(floor, BIN_PERP).mark_index_z == last.last_z
    assert last.z != last.last_z  # the grid itself has had a gap by now
    floor.tick()
    assert market(floor, BIN_PERP).mark_index_bps is not None
    assert market(floor, BIN_PERP).mark_index_z is None


def test_no_z_score_is_left_of_a_ticker_whose_connection_is_gone() -> None:
    floor = two(BIN_SPOT, BIN_PERP, settings=WARM)
    marked(floor, 8)
    assert market(floor, BIN_PERP).mark_index_z is not None
    floor.engine.on_status(Stream(BIN_PERP.id, Channel.TICKER), Status(LinkState.DOWN, BookState.EMPTY, "link"), floor.now)
    view = market(floor, BIN_PERP)
    assert view.mark_index_bps is view.mark_index_z is None


def test_the_sample_count_of_a_z_score_is_told() -> None:
    floor = two(BIN_SPOT, BIN_PERP, settings=WARM)
    marked(floor, 8)
    assert market(floor, BIN_PERP).mark_index_n == 8


# -- of the moment ----------------------------------------------------------------------------------------------------------


def test_depth_and_basis_are_those_of_the_books_that_stand_beside_them() -> None:
    floor = two(BIN_SPOT, BIN_PERP, settings=WARM)
    marked(floor, 6)
    before = seen(floor).pairs[0]
    floor.write(BIN_PERP, 100_999.0, 101_001.0, 2.0, (3.0, 5.0))
    view, pair = market(floor, BIN_PERP), seen(floor).pairs[0]
    assert view.depth_quote["1"] == pytest.approx((2 * 100_999.0 + 5 * 100_996.0, 2 * 101_001.0 + 5 * 101_004.0))
    spot = market(floor, BIN_SPOT)
    assert view.mid is not None
    assert spot.mid is not None
    assert pair.basis_bps == pytest.approx((view.mid - spot.mid) / spot.mid * 1e4)
    assert pair.basis_bps != before.basis_bps
    assert (pair.z, pair.n) == (before.z, before.n), "the z-score is of the last sample"


def test_neither_depth_nor_basis_is_told_of_a_book_that_may_not_be_believed() -> None:
    floor = two(BIN_SPOT, BIN_PERP, settings=WARM)
    marked(floor, 6)
    assert market(floor, BIN_PERP).depth_quote
    floor.fall(BIN_PERP, "gap")
    assert market(floor, BIN_PERP).depth_quote == {}
    pair = seen(floor).pairs[0]
    assert pair.basis_bps is pair.z is None


def test_what_no_axis_has_ever_compared_is_not_close_to_money() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT, BIN_COIN))
    floor.tick()
    assert len(floor.engine.routes) == 6
    assert set(floor.engine.nearest_routes(10)) == {f"{BIN_SPOT.id} > {BYB_SPOT.id}", f"{BYB_SPOT.id} > {BIN_SPOT.id}"}


# -- history ----------------------------------------------------------------------------------------------------------------


def test_history_holds_the_window_and_no_more_oldest_first() -> None:
    floor = two(BIN_SPOT, BIN_PERP, settings=WARM)
    marked(floor, 12)
    engine = floor.engine
    whole = list(engine.markets[BIN_PERP.id].mark_index.history)
    view = View(window_s=5, pair_window_s=5)
    told = market(floor, BIN_PERP, view)
    assert told.mark_index_history == tuple(whole[-5:])
    assert [at for at, _ in told.mark_index_history] == sorted(at for at, _ in told.mark_index_history)
    assert all(engine.now_ns - 5 * SECOND < at <= engine.now_ns for at, _ in told.mark_index_history)
    assert len(told.premium_history) == 5
    assert len(seen(floor, view).pairs[0].history) == 5
    assert market(floor, BIN_PERP, View(window_s=3_600)).mark_index_history == tuple(whole)
    assert market(floor, BIN_PERP).mark_index_history == ()
    floor.mark(BIN_PERP, 100_020.0)
    floor.tick()  # on the second itself, both ends of the window fall on samples
    assert len(market(floor, BIN_PERP, view).mark_index_history) == 5
    assert market(floor, BIN_PERP).mark_index_history == ()
    floor.tick(49)
    assert len(market(floor, BIN_PERP, view).mark_index_history) == 1  # a gap is a gap, not older samples


# -- what is not looked at --------------------------------------------------------------------------------------------------


def test_what_nobody_looks_at_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    floor = two()
    floor.tick()
    assert len(seen(floor).routes) == 2
    assert len(seen(floor).pairs) == 1

    def judge(_route: Route, _now: int) -> str:
        raise AssertionError("a route was judged that nobody looks at")

    monkeypatch.setattr(Route, "judge", judge)
    none = seen(floor, View(routes=None, pairs=None))
    assert (none.routes, none.pairs, none.axes, none.tape) == ((), (), (), ())
    assert len(none.markets) == 2


def test_pairs_are_told_by_name_and_by_their_legs() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT, BIN_PERP))
    floor.tick()
    pairs = seen(floor).pairs
    assert {(each.other, each.reference) for each in pairs} == {
        (BYB_SPOT.id, BIN_SPOT.id),
        (BIN_PERP.id, BIN_SPOT.id),
        (BIN_PERP.id, BYB_SPOT.id),
    }
    assert seen(floor, View(pairs=(pairs[1].pair,))).pairs == (pairs[1],)
    assert len(seen(floor, View(instruments=(BIN_PERP.id,))).pairs) == 2
    (own,) = seen(floor, View(own_spot=True)).pairs
    assert (own.other, own.reference) == (BIN_PERP.id, BIN_SPOT.id)


# -- belief -----------------------------------------------------------------------------------------------------------------


def test_a_market_says_why_it_is_not_believed_in_the_words_that_refuse_its_routes() -> None:
    floor = two()
    floor.tick()
    assert market(floor, BIN_SPOT).refused == ""
    assert market(floor, BIN_SPOT).facts is BIN_SPOT
    floor.books[BIN_SPOT.id].leg.late_ns = 3_000.0 * MS
    assert market(floor, BIN_SPOT).refused == floor.route(BIN_SPOT, BYB_SPOT).judge(floor.now) == "late"
    floor.books[BIN_SPOT.id].leg.pulse.alive = False
    told = market(floor, BIN_SPOT).refused
    assert told == leg_refusal(floor.engine.markets[BIN_SPOT.id], QUICK, floor.now) == "stale"
    assert market(Floor((BIN_SPOT,)), BIN_SPOT).refused == "state"


# -- prints -----------------------------------------------------------------------------------------------------------------


def test_the_last_print_is_told_whole_and_a_block_trade_is_not_it() -> None:
    floor = two()
    assert market(floor, BIN_SPOT).last_price is None
    floor.engine.on_trade(BIN_SPOT, Trade(100_000.0, 0.5, "sell", 1), floor.now)
    floor.engine.on_trade(BIN_SPOT, Trade(90_000.0, 50.0, "buy", 2, block=True), floor.now + 1)
    told = market(floor, BIN_SPOT)
    assert (told.last_price, told.last_size, told.last_aggressor, told.last_ns) == (100_000.0, 0.5, "sell", floor.now)
    floor.fall(BIN_SPOT, "gap")
    told = market(floor, BIN_SPOT)
    assert (told.last_price, told.last_size, told.last_aggressor, told.last_ns) == (None, None, None, None)


def test_the_tape_holds_large_prints_of_dollar_markets_newest_first() -> None:
    in_coin = made("OKX", quote="ETH")
    floor = Floor((BIN_SPOT, BIN_COIN, in_coin), AnalyticsSettings(tape=Tape(min_usd=50_000.0)))
    for instrument, trade in (
        (BIN_SPOT, Trade(100_000.0, 0.5, "buy", 1)),  # 50,000: just enough
        (BIN_SPOT, Trade(100_000.0, 0.49999, "buy", 2)),
        (BIN_COIN, Trade(100_000.0, 600.0, "sell", 3)),  # contracts of $100
        (BIN_COIN, Trade(100_000.0, 499.0, "sell", 4)),
        (in_coin, Trade(30.0, 1e6, "buy", 5)),  # thirty million of something that is no dollar
        (BIN_SPOT, Trade(99_000.0, 10.0, "sell", 6, block=True)),
    ):
        floor.engine.on_trade(instrument, trade, floor.now)
        floor.now += 1
    tape = seen(floor, View(tape=10)).tape
    assert [(each.instrument, each.notional_quote, each.size_base, each.aggressor, each.block) for each in tape] == [
        (BIN_SPOT.id, 990_000.0, 10.0, "sell", True),
        (BIN_COIN.id, 60_000.0, pytest.approx(0.6), "sell", False),
        (BIN_SPOT.id, 50_000.0, 0.5, "buy", False),
    ]
    assert [each.recv_ns for each in tape] == [floor.now - 1, floor.now - 4, floor.now - 6]
    assert seen(floor, View(tape=1)).tape == tape[:1]
    assert seen(floor, View(tape=10, instruments=(BIN_COIN.id,))).tape == tape[1:2]
    assert seen(floor).tape == ()


def test_the_tape_does_not_grow_for_ever() -> None:
    floor = Floor((BIN_SPOT,))
    for number in range(500):
        floor.engine.on_trade(BIN_SPOT, Trade(100_000.0 + number, 1.0, "buy", number), floor.now)
    tape = seen(floor, View(tape=1_000)).tape
    assert len(tape) == 200
    assert tape[0].price == 100_499.0


# -- the nearest routes -----------------------------------------------------------------------------------------------------


def three() -> Floor:
    """Bids of 100,000, 100,100 and 100,200, each with an ask 10 above."""
    floor = Floor((BIN_SPOT, BYB_SPOT, OKX_SPOT), AnalyticsSettings(fees=Fees(tier="none"), size=SMALL))
    for number, instrument in enumerate((BIN_SPOT, BYB_SPOT, OKX_SPOT)):
        floor.write(instrument, 100_000.0 + 100 * number, 100_010.0 + 100 * number)
    floor.tick()
    return floor


def test_the_nearest_routes_come_by_falling_edge() -> None:
    floor = three()
    edges = {name: route.touch_edge for name, route in floor.engine.routes.items()}
    assert floor.engine.nearest_routes(10) == tuple(sorted(edges, key=lambda name: (-edges[name], name)))
    assert floor.engine.nearest_routes(1) == (f"{BIN_SPOT.id} > {OKX_SPOT.id}",)
    assert floor.engine.nearest_routes(0) == ()
    from_bybit = floor.engine.nearest_routes(10, lambda route: route.buy.id == BYB_SPOT.id)
    assert from_bybit == (f"{BYB_SPOT.id} > {OKX_SPOT.id}", f"{BYB_SPOT.id} > {BIN_SPOT.id}")
    assert [each.route for each in seen(floor, View(routes=from_bybit[:1])).routes] == [from_bybit[0]]


@pytest.mark.parametrize("how", ["dead", "fallen"])
def test_a_route_whose_leg_may_not_be_read_is_near_nothing(how: str) -> None:
    floor = three()
    if how == "dead":
        floor.books[OKX_SPOT.id].leg.pulse.alive = False
        assert floor.route(BIN_SPOT, OKX_SPOT).touch_edge > 0  # what its last prices would say
    else:
        floor.fall(OKX_SPOT, "gap")
    nearest = floor.engine.nearest_routes(10)
    assert {name for name in nearest[:2] if OKX_SPOT.id not in name} == set(nearest[:2])
    assert list(nearest[2:]) == sorted(nearest[2:])  # no edge at all: by name, so that rows stay where they are


def test_a_route_on_indices_that_have_grown_old_is_near_nothing() -> None:
    floor = two(BYB_PERP, BIN_COIN)
    floor.index(BYB_PERP, 100_000.0)
    floor.index(BIN_COIN, 100_000.0)
    floor.tick()
    name = f"{BYB_PERP.id} > {BIN_COIN.id}"
    assert floor.engine.nearest_routes(1) == (name,)
    floor.tick(30)
    assert floor.engine.routes[name].touch_edge > 0
    assert floor.engine.nearest_routes(10) == tuple(sorted(floor.engine.routes))


def test_new_facts_of_an_instrument_take_nothing_from_the_tape() -> None:
    floor = three()
    floor.engine.on_trade(BIN_SPOT, Trade(100_000.0, 2.0, "buy", 1), floor.now)
    floor.engine.on_instrument(structs.replace(BIN_SPOT, lot=1e-4), floor.now)
    assert len(seen(floor, View(tape=5)).tape) == 1
    assert market(floor, BIN_SPOT).last_price is None
