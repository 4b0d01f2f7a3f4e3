"""What is compared in dollars by an implied rate: routes, bases, ladders; and a coin that leaves its dollar (desk F3)."""

from math import isnan

import pytest
from msgspec import structs

from analytics.alerts import DEFAULT_RULES, shipped_rules
from analytics.fx import Source
from analytics.ladder import AxisHold, AxisView, LadderColumn, LadderQuery
from analytics.routes import Axis, RouteKind
from analytics.settings import AnalyticsSettings, Fees
from analytics.snapshot import View
from feeds.model import MS, SECOND, Instrument, Ns, PairIndex
from tests.unit.test_ladder import FUTURE
from tests.unit.test_routes import BIN_COIN, BIN_PERP, BIN_SPOT, BYB_SPOT, QUICK, SMALL, T0, Floor, made

USDT = 0.998
DRB_SPOT = made("DERIBIT", "USDC")
CHEAP = AnalyticsSettings(guards=QUICK, size=SMALL, fees=Fees(taker_bps={"BINANCE": 1.0, "DERIBIT": 1.0}, conversion_bp=5.0))
ROWS = LadderQuery(base="BTC", rows=11, group_bps=0.1)


def rates(floor: Floor, usdt: float = USDT, usdc: float = 1.0, apart_bps: float = 0.0) -> None:
    """Both venues tell BTC in every dollar; one says that a coin is worth so much more."""
    for venue, more in (("OKX", 0.0), ("DERIBIT", apart_bps / 1e4)):
        for quote, worth in (("USD", 1.0), ("USDT", usdt * (1 + more)), ("USDC", usdc)):
            floor.engine.on_pair_index(PairIndex(venue, "BTC", quote, 100_000.0 / worth, floor.now - 10 * MS), floor.now)


def crossing(sell_bid: float, settings: AnalyticsSettings = CHEAP) -> Floor:
    """A tether spot at 100,000 tethers (99,800 dollars), and a coin-margined perpetual in dollars."""
    floor = Floor((BIN_SPOT, BIN_COIN), settings)
    floor.write(BIN_SPOT, 99_990.0, 100_000.0)
    floor.write(BIN_COIN, sell_bid, sell_bid + 10.0)
    return floor


# -- routes -------------------------------------------------------------------------------------------------------------------


def test_what_crosses_raw_and_not_in_dollars_is_no_edge() -> None:
    floor = crossing(99_800.0)
    rates(floor)
    floor.tick()
    back, route = floor.judged(BIN_COIN, BIN_SPOT), floor.judged(BIN_SPOT, BIN_COIN)
    assert (99_990.0 - 99_810.0) / 99_810.0 * 1e4 == pytest.approx(18.0, abs=0.1)  # what it would be raw
    assert back.in_bps == pytest.approx((99_990.0 * USDT - 99_810.0) / 99_810.0 * 1e4)
    assert back.in_bps < 0.0
    assert route.in_bps == pytest.approx(0.0, abs=1e-9)
    assert floor.route(BIN_SPOT, BIN_COIN).scales(floor.now).axis is Axis.CONVERTED


def test_a_conversion_costs_what_the_user_says_and_twice_the_uncertainty_of_its_rate() -> None:
    floor = crossing(100_200.0)
    rates(floor, apart_bps=4.0)
    floor.tick()
    rate = floor.engine.fx.rate("USDT")
    assert rate.source is Source.IMPLIED
    assert rate.uncertainty_bps == pytest.approx(4.0)
    found = floor.judged(BIN_SPOT, BIN_COIN)
    assert found.fx_bps == pytest.approx(5.0 + 2 * 4.0)
    assert found.edge_bps == pytest.approx(found.in_bps - found.fees_bps - 13.0)
    route = floor.route(BIN_SPOT, BIN_COIN)
    assert route.touch_edge == pytest.approx(found.edge_bps)
    assert route.bailout(found, floor.now).bailout_bps == pytest.approx(
        found.in_bps - route.bailout(found, floor.now).out_bps - found.fees_bps - 13.0
    )
    (seen,) = floor.engine.snapshot(View(routes=(route.id,), details=True)).routes
    assert (seen.axis, seen.edge_bps) == ("converted", found.edge_bps)
    assert seen.detail is not None
    assert (seen.detail.fx_bps, seen.detail.rates) == (found.fx_bps, (rate,))


def test_the_fresh_edge_pays_for_the_conversion_too() -> None:
    floor = crossing(100_200.0)
    floor.mark(BIN_COIN, 99_900.0)
    floor.index(BIN_COIN, 99_900.0)
    rates(floor)
    floor.tick()
    found = floor.judged(BIN_SPOT, BIN_COIN)
    whole = (100_200.0 / 99_900.0) / (100_000.0 / 99_995.0) - 1.0  # a spot is its own mark
    assert found.fresh_bps == pytest.approx(whole * 1e4 - found.fees_bps - found.fx_bps)


def test_what_may_be_done_while_it_earns_pays_for_the_conversion_too() -> None:
    """38 bp in dollars pay 4 bp of fees and 3 bp to open; with 40 bp of conversion nothing of it does."""
    for conversion_bp, done in ((5.0, True), (40.0, False)):
        dear = structs.replace(CHEAP, fees=structs.replace(CHEAP.fees, conversion_bp=conversion_bp))
        floor = crossing(100_180.0, dear)
        rates(floor)
        floor.tick()
        found = floor.route(BIN_SPOT, BIN_COIN).executable(floor.now)
        assert found is not None
        assert (found.base > 0.0) is done


def test_a_conversion_is_free_where_there_are_no_fees_at_all_but_as_uncertain() -> None:
    floor = crossing(100_200.0, structs.replace(CHEAP, fees=Fees(tier="none")))
    rates(floor, apart_bps=4.0)
    floor.tick()
    assert floor.judged(BIN_SPOT, BIN_COIN).fx_bps == pytest.approx(8.0)


def test_two_stablecoins_are_as_uncertain_as_both_of_their_rates() -> None:
    floor = Floor((BIN_SPOT, DRB_SPOT), CHEAP)
    floor.write(BIN_SPOT, 100_190.0, 100_200.0)
    floor.write(DRB_SPOT, 100_000.0, 100_010.0)
    rates(floor, apart_bps=3.0)
    floor.tick()
    scales = floor.route(BIN_SPOT, DRB_SPOT).scales(floor.now)
    assert scales.axis is Axis.CONVERTED
    assert scales.uncertainty_bps == pytest.approx(3.0 + 1.0)
    assert floor.route(BIN_SPOT, DRB_SPOT).kind(floor.now) is RouteKind.LOCKED


def test_one_quote_is_never_converted_and_pays_nothing() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT), CHEAP)
    floor.write(BIN_SPOT, 99_990.0, 100_000.0)
    floor.write(BYB_SPOT, 100_200.0, 100_210.0)
    rates(floor, apart_bps=9.0)
    floor.tick()
    assert floor.route(BIN_SPOT, BYB_SPOT).scales(floor.now).axis is Axis.PRICE
    assert floor.judged(BIN_SPOT, BYB_SPOT).fx_bps == 0.0


def test_own_indices_come_before_a_conversion_and_pay_none() -> None:
    floor = crossing(100_200.0)
    rates(floor)
    floor.index(BIN_COIN, 99_900.0)
    floor.index(BIN_SPOT, 100_100.0)
    floor.tick()
    assert floor.route(BIN_SPOT, BIN_COIN).scales(floor.now).axis is Axis.INDEX
    assert floor.judged(BIN_SPOT, BIN_COIN).fx_bps == 0.0


def test_an_index_that_hesitates_is_no_reason_to_convert_and_one_that_is_gone_is() -> None:
    floor = crossing(100_200.0)
    floor.index(BIN_COIN, 99_900.0)
    floor.index(BIN_SPOT, 100_100.0)
    seen: list[tuple[Ns, Axis]] = []
    for _ in range(125):
        if not (floor.now - T0) % SECOND:
            rates(floor)
        floor.tick()
        axis = floor.route(BIN_SPOT, BIN_COIN).scales(floor.now).axis
        if not seen or axis is not seen[-1][1]:
            seen.append((floor.now - T0, axis))
    assert [axis for _, axis in seen] == [Axis.INDEX, Axis.RAW, Axis.CONVERTED]
    assert 2 * SECOND < seen[1][0] <= 2_200 * MS
    assert 10 * SECOND < seen[2][0] <= 10_200 * MS


def test_a_rate_that_grows_old_or_is_disputed_ends_every_episode_on_it_and_nothing_opens_without() -> None:
    for disputed in (False, True):
        floor = crossing(100_400.0)
        rates(floor)
        floor.tick(3)
        route = floor.route(BIN_SPOT, BIN_COIN)
        assert route.tracker.open
        if disputed:
            floor.now += SECOND
            rates(floor, apart_bps=200.0)
        else:
            floor.now += 6 * SECOND
        floor.tick()
        assert route.judge(floor.now) == "quote"
        assert route.scales(floor.now).axis is Axis.RAW
        assert isnan(route.touch_edge)
        assert route.tracker.idle
        assert "quote" in {episode.reason for episode in floor.engine.episodes}


def test_a_rate_that_moves_is_seen_by_routes_whose_books_stand_still() -> None:
    floor = crossing(100_000.0)
    rates(floor)
    floor.tick()
    route = floor.route(BIN_SPOT, BIN_COIN)
    before = route.touch_edge
    floor.now += SECOND
    rates(floor, usdt=USDT * 0.999)
    floor.tick()
    assert route.touch_edge == pytest.approx(before + 10.0, abs=0.1)


def test_a_rate_that_the_user_has_fixed_converts_without_any_index_and_without_doubt() -> None:
    floor = crossing(100_200.0, structs.replace(CHEAP, fx={"USDT": 0.9990}))
    floor.tick()
    found = floor.judged(BIN_SPOT, BIN_COIN)
    assert found.fx_bps == 5.0
    assert found.in_bps == pytest.approx((100_200.0 - 99_900.0) / 99_900.0 * 1e4)
    assert [rate.source for rate in floor.engine.snapshot(View()).fx] == [Source.FIXED, None]


# -- bases and ladders ----------------------------------------------------------------------------------------------------------


def test_a_basis_across_quotes_is_converted_and_a_rate_that_hesitates_is_a_gap() -> None:
    floor = crossing(100_000.0)
    (pair,) = floor.engine.pairs.values()
    rates(floor)
    floor.tick(11)
    assert (pair.axis, pair.statistic.n) == (Axis.CONVERTED, 2)
    assert pair.tradable_bps == pytest.approx((100_005.0 / (99_995.0 * USDT) - 1) * 1e4)
    floor.now += 6 * SECOND
    floor.tick(11)
    assert (pair.axis, pair.statistic.n, isnan(pair.tradable_bps)) == (Axis.CONVERTED, 2, True)
    rates(floor)
    floor.tick(10)
    assert (pair.axis, pair.statistic.n) == (Axis.CONVERTED, 3)
    floor.now += 20 * SECOND
    floor.tick(11)
    assert pair.axis is Axis.RAW


def axes(floor: Floor, query: LadderQuery = ROWS) -> tuple[AxisView, ...]:
    floor.tick()
    return floor.engine.snapshot(View(routes=None, pairs=None, ladder=query)).axes


def column(found: AxisView, instrument: Instrument) -> LadderColumn:
    return next(each for each in found.members if each.instrument == instrument.id)


def test_quotes_that_can_be_converted_stand_on_one_axis_in_dollars() -> None:
    floor = crossing(99_800.2)
    assert [each.name for each in axes(floor)] == ["USD", "USDT"]
    rates(floor)
    (found,) = axes(floor)
    assert (found.name, found.axis, found.step) == ("converted", Axis.CONVERTED, 1.0)
    assert found.fair == pytest.approx((99_995.0 * USDT + 99_805.2) / 2)
    # 99,990 tethers are 99,790.02 dollars and 100,000 are 99,800.0
    assert (column(found, BIN_SPOT).bid_row, column(found, BIN_SPOT).ask_row) == (99_790, 99_800)
    assert (column(found, BIN_COIN).bid_row, column(found, BIN_COIN).ask_row) == (99_800, 99_811)
    assert column(found, BIN_SPOT).bid == 99_990.0
    floor.now += 6 * SECOND
    for instrument in (BIN_SPOT, BIN_COIN):
        floor.books[instrument.id].leg.pulse.last_ns = floor.now
    assert [each.name for each in axes(floor)] == ["USD", "USDT"]


def test_rows_in_dollars_hold_what_the_books_hold() -> None:
    floor = crossing(99_800.2)
    rates(floor)
    (found,) = axes(floor, structs.replace(ROWS, rows=401))
    for instrument, bid in ((BIN_SPOT, 99_990.0), (BIN_COIN, 99_800.2)):
        assert sum(column(found, instrument).bids) == pytest.approx(instrument.to_quote(1e6, bid))


def test_own_indices_come_before_dollars_and_dated_markets_of_two_quotes_share_theirs() -> None:
    dated = structs.replace(FUTURE, id="BINANCE:BTC/USD:BTC-991231", quote="USD", settle="BTC")
    floor = Floor((BIN_PERP, BIN_COIN, FUTURE, dated))
    for instrument in (BIN_PERP, BIN_COIN, FUTURE, dated):
        floor.write(instrument, 100_000.0, 100_001.0)
        floor.index(instrument, 100_000.0)
    rates(floor)
    assert [(each.name, len(each.members)) for each in axes(floor)] == [("own index", 2), ("converted", 2)]
    by_price = structs.replace(ROWS, prefer=Axis.PRICE)
    assert [(each.name, len(each.members)) for each in axes(floor, by_price)] == [("converted", 4)]


def test_an_axis_in_dollars_keeps_its_rows_while_the_rate_wanders() -> None:
    floor = crossing(99_800.2)
    rates(floor)
    (first,) = axes(floor)
    held = structs.replace(ROWS, held=(AxisHold(first.name, first.step, first.centre),))
    rates(floor, usdt=USDT * 1.0001)
    (then,) = axes(floor, held)
    assert (then.centre, then.step) == (first.centre, first.step)


# -- a coin that leaves its dollar ----------------------------------------------------------------------------------------------


def pegs(floor: Floor, *usdt: float) -> None:
    """A rate for three seconds each."""
    for worth in usdt:
        for _ in range(3):
            rates(floor, usdt=worth)
            floor.tick(10)


def told(floor: Floor) -> list[tuple[str, str, float]]:
    return [
        (str(event.kind), event.alert.scope, round(event.alert.value or 0.0, 1))
        for event in floor.events
        if event.alert.rule == "depeg" and str(event.kind) != "PEAK"
    ]


def test_a_coin_twenty_bp_from_a_dollar_is_one_alert_until_it_is_back_within_fifteen() -> None:
    floor = Floor((), rules=DEFAULT_RULES)
    pegs(floor, 0.9981, 0.9979, 0.9981, 0.9979, 0.9984)
    assert told(floor) == [("FIRE", "USDT/USD", -21.0)]
    pegs(floor, 0.9986)
    assert [kind for kind, _, _ in told(floor)] == ["FIRE", "RESOLVE"]
    assert [alert.scope for alert in floor.engine.alerts.open] == []


def test_a_coin_above_a_dollar_is_told_as_well_and_a_moment_is_none() -> None:
    floor = Floor((), rules=DEFAULT_RULES)
    rates(floor, usdt=1.0025)
    floor.tick(10)
    rates(floor, usdt=1.0)
    floor.tick(10)
    assert told(floor) == []
    pegs(floor, 1.0025)
    assert told(floor) == [("FIRE", "USDT/USD", 25.0)]


def test_the_threshold_is_the_configurations() -> None:
    floor = Floor((), rules=shipped_rules(50.0))
    pegs(floor, 0.9960)
    assert told(floor) == []
    pegs(floor, 0.9940, 0.9962)
    assert told(floor) == [("FIRE", "USDT/USD", -60.0)]
    pegs(floor, 0.9963)
    assert [kind for kind, _, _ in told(floor)] == ["FIRE", "RESOLVE"]


def test_a_fixed_rate_hides_no_coin_that_falls() -> None:
    floor = Floor((), structs.replace(CHEAP, fx={"USDT": 1.0}))
    pegs(floor, 0.9950)
    assert told(floor) == [("FIRE", "USDT/USD", -50.0)]


def test_without_a_source_an_alert_ends_as_unknown_and_none_begins() -> None:
    floor = Floor((), rules=DEFAULT_RULES)
    pegs(floor, 0.9950)
    floor.tick(170)
    assert [kind for kind, _, _ in told(floor)] == ["FIRE", "NODATA"]


def test_a_rule_may_name_a_coin_and_one_that_names_nothing_is_noticed() -> None:
    (depeg,) = [rule for rule in DEFAULT_RULES if rule.id == "depeg"]
    for scope, unmatched in (("USDC/USD", 0), ("*/USD", 0), ("USDC", 1)):
        floor = Floor((), rules=[structs.replace(depeg, scope=scope)])
        assert len(floor.engine.unmatched_rules()) == unmatched
    floor = Floor((), rules=[structs.replace(depeg, scope="USDC/USD")])
    pegs(floor, 0.9950)
    assert told(floor) == []


def test_an_alert_of_a_coin_that_was_open_goes_on_after_a_restart() -> None:
    floor = Floor((), rules=DEFAULT_RULES)
    pegs(floor, 0.9950)
    (old,) = floor.engine.alerts.open
    again = Floor((), rules=DEFAULT_RULES)
    again.engine.alerts.resume([old])
    again.engine.end_gone()
    pegs(again, 0.9950)
    assert [alert.seq for alert in again.engine.alerts.open] == [old.seq]
    assert told(again) == []
