"""The engine as a listener: what it says when links die and books fall, and what it must never say (DESIGN 1 to 3)."""

import json
from collections.abc import Callable, Mapping, Sequence
from math import isnan, nan

import pytest
from msgspec import structs

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState, Severity
from analytics.alerts import DEFAULT_RULES, Metric, Rule
from analytics.batch import rolling_moments
from analytics.engine import Engine
from analytics.routes import Axis
from analytics.settings import AnalyticsSettings, Arb, Fees, Guards, Imbalance, Size, ZScore
from analytics.snapshot import View
from feeds.clock import BOUNDARY_NS
from feeds.health import Pulse
from feeds.hub import Hub
from feeds.model import MS, SECOND, BookState, Channel, Funding, LinkState, Ns, Status, Stream
from feeds.venue import Plan
from feeds.venues import VENUES
from tests.market import Frame, SeededMarket, instruments, is_snapshot
from tests.unit.test_routes import (
    BIN_COIN,
    BIN_PERP,
    BIN_SPOT,
    BYB_FUT,
    BYB_PERP,
    BYB_SPOT,
    QUICK,
    SMALL,
    STEP,
    T0,
    Floor,
    made,
    two,
)

GENEROUS = AnalyticsSettings(
    fees=Fees(tier="none"),
    size=Size(20_000.0),
    guards=Guards(max_skew_ms=1_000),
    arb=Arb(open_bp=3.0, close_bp=2.0),
    z=ZScore(window=60, min_periods=5),
)
SEEN: tuple[Rule, ...] = tuple(structs.replace(rule, enabled=True) for rule in DEFAULT_RULES)
SPOT_USDM = ("binance.spot", "binance.usdm")
ALL = ("binance.spot", "binance.usdm", "binance.coinm", "bybit.linear")


class Run:
    """The seeded market through hub and sessions. `change` drops or replaces frames, `look` is called after each frame."""

    def __init__(
        self,
        markets: Sequence[str],
        seconds: float = 12.0,
        *,
        settings: AnalyticsSettings = GENEROUS,
        rules: Sequence[Rule] = SEEN,
        change: Callable[[Frame, float, SeededMarket], Frame | None] = lambda frame, _s, _market: frame,
        look: Callable[["Run"], None] = lambda _run: None,
        listed: Callable[[Sequence[str]], Sequence[str]] = lambda names: names,
    ) -> None:
        self.events: list[AlertEvent] = []
        self.engine = Engine(settings, rules, emit=self.events.append)
        self.hub = Hub(VENUES, self.engine)
        self.market = SeededMarket(5, seconds, markets=markets)
        self.known = {name: instruments()[name] for name in listed(markets)}
        self.start: Ns = self.market.start_ms * MS
        self.hub.ticker.advance(self.start)
        self.hub.watch(self.known.values(), self.start)
        for conn, plan in self._plans().items():
            self.hub.open(conn, plan, self.start)
        self.now = self.start
        for sent in self.market.frames():
            self.now = sent.recv_ns
            frame = change(sent, (sent.recv_ns - self.start) / SECOND, self.market)
            if frame is None:
                continue
            self.hub.ticker.advance(frame.recv_ns)
            if is_snapshot(frame.data):
                native = self.known[frame.market].native
                self.hub.answer(
                    frame.conn if frame.conn in self.hub.connections else f"{frame.conn}.public",
                    f"depth:{native}",
                    frame.data,
                    frame.recv_ns,
                )
            else:
                self.hub.frame(frame.conn, frame.data, frame.recv_ns)
            look(self)
        self.hub.ticker.advance(self.now)
        self.hub.ticker.finish()

    def _plans(self) -> Mapping[str, Plan]:
        found = {}
        for name, instrument in self.known.items():
            venue = VENUES[instrument.venue]
            wanted = [Stream(instrument.id, channel) for channel in venue.channels(instrument)]
            for plan in venue.plan(wanted, self.hub.instruments):
                books = any(stream.channel is Channel.BOOK for stream in plan.streams)
                found[f"{name}.{'public' if books else 'market'}" if name == "binance.usdm" else name] = plan
        return found

    def told(self, rule: str, scope: str = "") -> list[AlertEvent]:
        return [event for event in self.events if event.alert.rule == rule and scope in ("", event.alert.scope)]


def kinds(events: Sequence[AlertEvent]) -> list[str]:
    return [str(event.kind) for event in events if event.kind is not AlertKind.PEAK]


# -- through the hub --------------------------------------------------------------------------------------------------------


def test_the_seeded_market_makes_books_episodes_and_statistics() -> None:
    run = Run(ALL)
    assert all(market.fit and market.mid > 0 for market in run.engine.markets.values())
    assert any(e.route == "BINANCE:BTC/USDT > BINANCE:BTC/USDT:USDT" for e in run.engine.episodes)
    assert kinds(run.told("stale")) == kinds(run.told("gap")) == []
    assert run.hub.quarantined == 0


def test_a_dead_link_is_told_once_when_it_dies_and_nothing_of_it_is_shown() -> None:
    def change(frame: Frame, at_s: float, _market: SeededMarket) -> Frame | None:
        return frame if frame.market != "binance.spot" or at_s < 5.0 else None

    run = Run(SPOT_USDM, 14.0, change=change)
    assert kinds(run.told("stale")) == ["FIRE"]
    event = run.told("stale")[0]
    spot = run.engine.markets["BINANCE:BTC/USDT"]
    assert (event.kind, event.alert.scope) == (AlertKind.FIRE, spot.id)
    last = spot.book.leg.pulse.last_ns if spot.book is not None else 0
    # the pulse rule of reliability 3.0: 2 to 4.5 s of silence, told at the boundary
    assert 2 * SECOND <= event.at_ns - last <= 4_500 * MS + BOUNDARY_NS
    assert not spot.fit
    assert isnan(spot.mid)
    assert isnan(spot.obi)
    for pair in run.engine.pairs.values():
        assert isnan(pair.statistic.value)
        assert isnan(pair.tradable_bps)
    for route in run.engine.routes.values():
        assert route.quote is None
        assert isinstance(route.judge(run.now), str)
        assert not route.tracker.open


def test_a_lost_update_fires_a_gap_once_and_resolves_with_the_next_snapshot() -> None:
    lost: list[float] = []
    again: list[float] = []

    def change(frame: Frame, at_s: float, market: SeededMarket) -> Frame | None:
        if frame.market != "bybit.linear" or at_s < 4.0 or b'"orderbook.50' not in frame.data or again:
            return frame
        if not lost:
            lost.append(at_s)
            return None
        if at_s < lost[0] + 1.0:
            return frame
        again.append(at_s)  # the answer to the session's new subscription: the true book under this frame's number
        message = json.loads(frame.data)
        bids, asks = market.truth("bybit.linear") or ([], [])
        message["type"] = "snapshot"
        message["data"] |= {"b": [[str(p), str(s)] for p, s in bids], "a": [[str(p), str(s)] for p, s in asks]}
        return frame._replace(data=json.dumps(message).encode())

    states: list[tuple[bool, float]] = []

    def look(run: Run) -> None:
        market = run.engine.markets["BYBIT:BTC/USDT:USDT"]
        if market.book is not None and market.book.state is not BookState.SYNCED:
            states.append((market.fit, market.mid))

    run = Run(("binance.usdm", "bybit.linear"), 10.0, change=change, look=look)
    fell = run.told("gap", "BYBIT:BTC/USDT:USDT")
    assert kinds(fell) == ["FIRE", "RESOLVE"]
    assert [event.at_ns for event in fell if event.kind is AlertKind.RESOLVE] == [fell[-1].alert.closed_ns]
    assert run.start + int(lost[0] * SECOND) <= fell[0].at_ns <= run.start + int(lost[0] * SECOND) + 3 * BOUNDARY_NS
    assert states
    assert run.engine.markets["BYBIT:BTC/USDT:USDT"].fit
    assert all(not fit and isnan(mid) for fit, mid in states)


def test_the_order_in_which_instruments_are_listed_changes_no_result() -> None:
    def results(run: Run) -> tuple[object, ...]:
        alerts = sorted(
            (e.at_ns, str(e.kind), e.alert.rule, e.alert.scope, e.alert.value, e.alert.peak)
            for e in run.events
            if e.alert.value is not None
        )
        pairs = {name: (pair.axis, list(pair.statistic.history), pair.statistic.n) for name, pair in run.engine.pairs.items()}
        routes = {name: (route.nearest, route.refusals) for name, route in run.engine.routes.items()}
        return sorted(run.engine.episodes, key=lambda e: (e.opened_ns, e.route)), alerts, pairs, routes

    one, other = Run(ALL, 10.0), Run(ALL, 10.0, listed=lambda names: list(reversed(names)))
    assert results(one) == results(other)
    assert one.engine.episodes


def test_a_replay_in_one_go_and_batch_kernels_say_what_the_live_statistics_say() -> None:
    run = Run(ALL, 40.0)
    checked = 0
    for pair in run.engine.pairs.values():
        values = [value for _, value in pair.statistic.history]
        columns = rolling_moments(values, 60, 5)
        if len(values) < 30:
            continue
        checked += 1
        assert pair.statistic.n == columns.n[-1]
        assert pair.statistic.mean == pytest.approx(columns.mean[-1], rel=1e-9)
        assert pair.statistic.sd == pytest.approx(columns.sd[-1], rel=1e-9)
        assert pair.statistic.last_z == pytest.approx(columns.z_prior[-1], rel=1e-9)
    assert checked >= 4


# -- straight calls ---------------------------------------------------------------------------------------------------------


def test_a_link_that_comes_back_resolves_its_alert_and_dies_anew_later() -> None:
    floor = two()
    for _ in range(2):
        floor.tick(2)
        floor.books[BIN_SPOT.id].leg.pulse.alive = False
        floor.tick(3)
        floor.books[BIN_SPOT.id].leg.pulse.alive = True
        floor.tick(100)
    assert kinds([e for e in floor.events if e.alert.rule == "stale"]) == ["FIRE", "RESOLVE"] * 2


def test_a_gap_that_heals_between_two_boundaries_is_told_all_the_same() -> None:
    floor = two()
    floor.tick()
    floor.now += 10 * MS
    floor.fall(BIN_SPOT, "gap")
    floor.now += 20 * MS
    floor.write(BIN_SPOT, 99_990.0, 100_000.0)
    floor.now += 70 * MS
    floor.tick(3)
    told = [e for e in floor.events if e.alert.rule == "gap"]
    assert kinds(told) == ["FIRE", "RESOLVE"]
    assert told[0].alert.opened_ns == told[1].alert.closed_ns == T0 + 2 * STEP


def test_a_book_that_fell_for_another_reason_is_no_gap() -> None:
    floor = two()
    for reason in ("crossed", "link", "reset"):
        floor.fall(BIN_SPOT, reason)
        floor.tick(2)
    assert floor.told("gap") == []


def test_a_gap_that_lasts_fires_once_and_ends_with_its_book() -> None:
    floor = two()
    floor.fall(BIN_SPOT, "gap")
    floor.tick(30)
    assert floor.told("gap")[:1] == ["FIRE"]
    floor.write(BIN_SPOT, 99_990.0, 100_000.0)
    floor.tick(2)
    assert [kind for kind in floor.told("gap") if kind != "PEAK"] == ["FIRE", "RESOLVE"]
    assert [e.alert.peak for e in floor.events if e.alert.rule == "gap"][-1] == pytest.approx(3_000.0)


def test_a_stream_that_is_dropped_on_purpose_is_neither_stale_nor_a_gap() -> None:
    floor = two()
    floor.fall(BIN_SPOT, "gap")
    floor.books[BIN_SPOT.id].leg.pulse.alive = False
    floor.tick()
    floor.status(BIN_SPOT, LinkState.CLOSED, BookState.EMPTY, "unsubscribed")
    floor.tick(5)
    ended = {e.alert.rule: e.alert for e in floor.events if e.kind is AlertKind.RESOLVE}
    assert set(ended) >= {"stale", "gap"}
    assert ended["stale"].quality == "closed"
    assert floor.engine.alerts.open == []


def test_the_status_of_another_channel_does_not_touch_the_book() -> None:
    floor = two()
    before = floor.engine.markets[BIN_SPOT.id].status
    floor.engine.on_status(Stream(BIN_SPOT.id, Channel.TICKER), Status(LinkState.DOWN, BookState.EMPTY, "link"), floor.now)
    assert floor.engine.markets[BIN_SPOT.id].status == before


def test_a_route_alert_is_one_episode_with_legs_fees_and_the_reason_of_its_end() -> None:
    floor = two(BIN_SPOT, BYB_SPOT)
    floor.tick(3)
    floor.write(BYB_SPOT, 100_700.0, 100_710.0)
    floor.tick(20)
    floor.write(BYB_SPOT, 99_900.0, 100_710.0)
    fell = floor.now
    floor.tick(10)
    told = [e for e in floor.events if e.alert.rule == "route"]
    assert kinds(told) == ["FIRE", "RESOLVE"]
    fired, ended = told[0].alert, told[-1].alert
    assert [(leg.instrument, leg.role) for leg in fired.legs] == [(BIN_SPOT.id, "buy"), (BYB_SPOT.id, "sell")]
    assert [leg.price for leg in fired.legs] == pytest.approx([100_000.0, 100_500.0])
    assert [fired.value, fired.fees_bps] == pytest.approx([30.0, 20.0])
    assert (ended.quality, ended.closed_ns) == ("edge_collapsed", fell)
    assert ended.peak == pytest.approx(50.0)
    (episode,) = floor.engine.episodes
    assert episode.closed_ns == fell
    assert episode.peak.edge_bps == pytest.approx(50.0)


def test_what_happens_between_two_boundaries_reaches_the_episode() -> None:
    floor = two()
    floor.tick()
    floor.now -= 60 * MS
    floor.write(BYB_SPOT, 100_900.0, 100_910.0)
    floor.now += 20 * MS
    floor.write(BYB_SPOT, 100_500.0, 100_510.0)
    floor.now += 40 * MS
    floor.tick(3)
    floor.engine.finish(floor.now)
    (episode,) = floor.engine.episodes
    assert episode.peak_ns == T0 + 40 * MS
    assert episode.peak.edge_bps == pytest.approx(70.0)
    assert episode.probes_bps[0] == pytest.approx(70.0)


def test_the_end_of_the_source_closes_episodes_as_shutdown_and_leaves_alerts_open() -> None:
    floor = two()
    floor.tick(3)
    floor.engine.finish(floor.now)
    assert [(e.reason, e.closed_ns) for e in floor.engine.episodes] == [("shutdown", floor.now)]
    assert [alert.rule for alert in floor.engine.alerts.open] == ["route"]
    floor.engine.finish(floor.now)
    assert len(floor.engine.episodes) == 1


def test_changed_facts_start_a_market_afresh_and_close_what_ran_on_it() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT, BIN_PERP))
    floor.write(BIN_SPOT, 99_990.0, 100_000.0)
    floor.write(BYB_SPOT, 100_500.0, 100_510.0)
    floor.write(BIN_PERP, 99_990.0, 100_000.0)
    floor.marks(bin_perp=100_000.0)
    floor.tick(3)
    engine = floor.engine
    routes, pairs = sorted(engine.routes), sorted(engine.pairs)
    old = engine.markets[BYB_SPOT.id]
    kept = engine.routes[f"{BIN_SPOT.id} > {BIN_PERP.id}"]
    floor.watch(structs.replace(BYB_SPOT, tick=0.01))
    market = engine.markets[BYB_SPOT.id]
    assert market is not old
    assert (market.book, market.instrument.tick) == (None, 0.01)
    assert (sorted(engine.routes), sorted(engine.pairs)) == (routes, pairs)
    assert engine.routes[f"{BIN_SPOT.id} > {BIN_PERP.id}"] is kept
    assert all(old not in (route.buy, route.sell) for route in engine.routes.values())
    assert all(old not in (pair.reference, pair.other) for pair in engine.pairs.values())
    assert {e.reason for e in engine.episodes} == {"instrument changed"}
    assert engine.alerts.open == []
    floor.tick(5)
    assert [kind for kind in floor.told("route") if kind != "PEAK"].count("FIRE") == len(engine.episodes)
    floor.write(BYB_SPOT, 100_500.0, 100_510.0)
    floor.tick(2)
    assert len(engine.alerts.open) == len(engine.episodes)


def test_a_spot_measures_by_the_index_of_a_perp_listed_later_and_by_its_new_facts() -> None:
    floor = Floor((BIN_SPOT,))
    spot = floor.engine.markets[BIN_SPOT.id]
    assert spot.index_of is spot
    floor.watch(BIN_PERP)
    assert spot.index_of is floor.engine.markets[BIN_PERP.id]
    floor.watch(structs.replace(BIN_PERP, tick=0.01))
    floor.index(BIN_PERP, 5.0)
    assert spot.own_index(floor.now) == 5.0


def test_another_coin_makes_no_route() -> None:
    floor = Floor((BIN_SPOT, structs.replace(BYB_SPOT, id="BYBIT:ETH/USDT", base="ETH")))
    assert floor.engine.routes == {}
    assert floor.engine.pairs == {}


def test_a_crossed_or_empty_book_gives_no_number() -> None:
    floor = two()
    floor.tick(2)
    for bid, ask in ((100_000.0, 99_000.0), (nan, nan)):
        book = floor.books[BIN_SPOT.id]
        book.replace([(bid, 1.0)] if bid == bid else [], [(ask, 1.0)] if ask == ask else [], book.seq + 1, 0, floor.now)
        floor.engine.on_book(book, floor.now)
        floor.tick(10)
        market = floor.engine.markets[BIN_SPOT.id]
        assert isnan(market.mid)
        assert isnan(market.obi)
        assert all(pair.statistic.value != pair.statistic.value for pair in floor.engine.pairs.values())
        assert all(route.quote is None for route in floor.engine.routes.values())
        floor.write(BIN_SPOT, 99_990.0, 100_000.0)
        floor.tick(10)
        assert market.mid == 99_995.0


def test_an_imbalance_without_a_level_in_the_band_is_none_not_the_last_one() -> None:
    floor = Floor((BIN_SPOT,), AnalyticsSettings(obi=Imbalance(band_bps=1.0)))
    floor.write(BIN_SPOT, 100_000.0, 100_001.0, 1.0)
    floor.tick(11)
    market = floor.engine.markets[BIN_SPOT.id]
    assert market.obi == 0.0
    floor.write(BIN_SPOT, 99_000.0, 101_000.0)
    floor.tick(10)
    assert isnan(market.obi)


def test_mark_against_index_takes_a_sample_only_from_a_new_mark() -> None:
    floor = Floor((BIN_PERP,))
    market = floor.engine.markets[BIN_PERP.id]
    floor.tick()
    for second in range(1, 9):
        floor.index(BIN_PERP, 100_000.0)
        if second not in (4, 5):
            floor.mark(BIN_PERP, 100_010.0 + second)
        floor.tick(10)
        value = market.mark_index.value
        assert isnan(value) if second in (4, 5) else value == pytest.approx(1.0 + second / 10)
    assert [at - T0 for at, _ in market.mark_index.history] == [s * SECOND for s in (1, 2, 3, 6, 7, 8)]


def test_mark_and_index_too_old_or_too_far_apart_have_no_spread() -> None:
    floor = Floor((BIN_PERP,))
    market = floor.engine.markets[BIN_PERP.id]
    floor.tick()
    floor.index(BIN_PERP, 100_000.0)
    for apart, known in ((3 * SECOND, True), (3 * SECOND + STEP, False)):
        floor.now = market.index.recv_ns + apart if market.index is not None else 0
        floor.mark(BIN_PERP, 100_010.0)
        floor.now = -(-floor.now // SECOND) * SECOND
        floor.tick()
        assert (market.mark_index.value == market.mark_index.value) is known


def test_a_resumed_route_alert_ends_when_its_edge_is_seen_gone_and_waits_while_nothing_is_known() -> None:
    def resumed() -> tuple[Floor, list[AlertEvent]]:
        floor = Floor((BIN_SPOT, BYB_SPOT))
        scope = f"{BIN_SPOT.id} > {BYB_SPOT.id}"
        old = [
            Alert(
                seq=4 + at,
                opened_ns=T0 - SECOND,
                rule=rule,
                severity=Severity.CRIT,
                scope=name,
                value=9.0,
                unit="bp",
                enter=3.0,
                exit=0.0,
                peak=9.0,
            )
            for at, (rule, name) in enumerate((("route", scope), ("stale", BIN_SPOT.id)))
        ]
        events: list[AlertEvent] = []
        floor.engine = Engine(floor.settings, DEFAULT_RULES, emit=events.append, first_seq=6, resume=old)
        for instrument in (BIN_SPOT, BYB_SPOT):
            floor.watch(instrument)
        floor.tick(20)
        assert events == []
        floor.write(BIN_SPOT, 99_990.0, 100_000.0)
        return floor, events

    floor, events = resumed()
    floor.write(BYB_SPOT, 100_500.0, 100_510.0)  # still there
    floor.tick(30)
    assert kinds([e for e in events if e.alert.rule == "route"]) == []
    assert kinds([e for e in events if e.alert.rule == "stale"]) == ["RESOLVE"]
    floor.write(BYB_SPOT, 100_000.0, 100_010.0)
    floor.tick(10)
    assert [(str(e.kind), e.alert.seq) for e in events if e.alert.rule == "route" and e.kind is not AlertKind.PEAK] == [
        ("RESOLVE", 4)
    ]

    floor, events = resumed()
    floor.write(BYB_SPOT, 100_220.0, 100_230.0)  # between close and open
    floor.tick(2)
    assert kinds([e for e in events if e.alert.rule == "route"]) == []
    floor.write(BYB_SPOT, 100_000.0, 100_010.0)  # gone
    floor.tick(2)
    (ended,) = [e.alert for e in events if e.alert.rule == "route"]
    assert (ended.seq, ended.state, ended.quality) == (4, AlertState.RESOLVED, "edge_collapsed")


def resumed_future() -> tuple[Floor, list[AlertEvent]]:
    """A perp and a dated future 48 bp above it, with an alert on the route from the last run."""
    floor = Floor((BIN_PERP, BYB_FUT))
    old = Alert(
        seq=4,
        opened_ns=T0 - SECOND,
        rule="route",
        severity=Severity.CRIT,
        scope=f"{BIN_PERP.id} > {BYB_FUT.id}",
        value=9.0,
        unit="bp",
        enter=3.0,
        exit=0.0,
        peak=9.0,
    )
    events: list[AlertEvent] = []
    floor.engine = Engine(floor.settings, DEFAULT_RULES, emit=events.append, first_seq=5, resume=[old])
    for instrument in (BIN_PERP, BYB_FUT):
        floor.watch(instrument)
    floor.write(BIN_PERP, 99_990.0, 100_000.0)
    floor.write(BYB_FUT, 100_480.0, 100_490.0)
    floor.tick(20)
    assert floor.route(BIN_PERP, BYB_FUT).tracker.open  # tracked, but nothing can be said before the marks are there
    assert events == []
    return floor, events


@pytest.mark.parametrize("book", [100_480.0, 101_100.0])
def test_a_resumed_alert_waits_for_marks_and_ends_when_they_carry_all_of_it(book: float) -> None:
    floor, events = resumed_future()
    floor.marks(bin_perp=99_995.0, byb_fut=100_480.0)
    floor.write(BYB_FUT, book, book + 10.0)
    floor.tick(3)
    ended = [(e.alert.seq, e.alert.quality) for e in events if e.kind is AlertKind.RESOLVE]
    assert ended == ([(4, "fresh_edge_collapsed")] if book == 100_480.0 else [])  # the other is fresh, and goes on
    assert [alert.seq for alert in floor.engine.alerts.open] == ([] if book == 100_480.0 else [4])
    assert "FIRE" not in kinds(events)


def test_marks_that_take_turns_give_the_same_run_twice() -> None:
    def run() -> tuple[object, ...]:
        floor = Floor((BIN_PERP, BYB_FUT, BIN_SPOT), AnalyticsSettings(size=SMALL))
        for step in range(300):
            floor.write(BIN_SPOT, 99_990.0, 100_000.0)
            floor.write(BIN_PERP, 99_990.0, 100_000.0)
            floor.write(BYB_FUT, 100_480.0 + 20 * (step % 30), 100_490.0 + 20 * (step % 30))
            if step % 70 == 0:
                floor.marks(bin_perp=99_995.0, byb_fut=100_480.0 + step / 10)
            floor.tick()
        floor.engine.finish(floor.now)
        return list(floor.engine.episodes), floor.events, floor.engine.snapshot(View(details=True))

    one, other = run(), run()
    assert one == other
    assert one[0]


def test_rules_on_statistics_never_see_a_raw_axis() -> None:
    rules = [structs.replace(rule, enabled=True, for_ms=0) for rule in DEFAULT_RULES if rule.metric is Metric.BASIS]
    floor = Floor((BIN_SPOT, BIN_COIN), AnalyticsSettings(guards=QUICK, size=SMALL), rules)
    floor.write(BIN_SPOT, 99_990.0, 100_000.0)
    floor.write(BIN_COIN, 101_000.0, 101_010.0)
    floor.tick(50)
    (pair,) = floor.engine.pairs.values()
    assert pair.axis is Axis.RAW
    assert pair.statistic.value == pytest.approx(101.0, abs=1.0)
    assert floor.events == []
    same = Floor((BIN_SPOT, BYB_PERP), AnalyticsSettings(guards=QUICK, size=SMALL), rules)
    same.write(BIN_SPOT, 99_990.0, 100_000.0)
    same.write(BYB_PERP, 101_000.0, 101_010.0)
    same.tick(50)
    assert same.told("basis")[0] == "FIRE"


def test_the_users_own_fees_reach_the_routes() -> None:
    fees = Fees(taker_bps={"BINANCE spot": 7.5, BYB_SPOT.id: 1.0})
    floor = Floor((BIN_SPOT, BYB_SPOT, made("OKX")), AnalyticsSettings(fees=fees))
    assert floor.route(BIN_SPOT, BYB_SPOT).fees_bps == pytest.approx(8.5)
    assert floor.route(BIN_SPOT, made("OKX")).fees_bps == pytest.approx(17.5)


# -- what a fresh pair of eyes found ----------------------------------------------------------------------------------------


def test_an_index_whose_connection_is_gone_compares_nothing() -> None:
    """The book's own connection may be alive: USD-M tells its index on another one."""
    floor = two(BIN_PERP, BIN_COIN)
    floor.index(BIN_PERP, 100_000.0)
    floor.index(BIN_COIN, 100_000.0)
    floor.mark(BIN_PERP, 100_000.0)
    floor.tick()
    assert floor.route(BIN_PERP, BIN_COIN).scales(floor.now).axis is Axis.INDEX
    ticker = Stream(BIN_PERP.id, Channel.TICKER)
    floor.engine.on_status(ticker, Status(LinkState.DOWN, BookState.EMPTY, "link"), floor.now)
    floor.tick()
    assert floor.route(BIN_PERP, BIN_COIN).judge(floor.now) == "quote"
    market = next(m for m in floor.engine.snapshot(View()).markets if m.instrument == BIN_PERP.id)
    assert market.mark is market.index is market.funding_rate is market.open_interest is None
    assert market.bid is not None


@pytest.mark.parametrize("spoilt", ["late", "lag", "age", "skew"])
def test_no_basis_premium_or_imbalance_from_a_leg_that_may_not_be_believed(spoilt: str) -> None:
    floor = two(BIN_SPOT, BIN_PERP)
    floor.index(BIN_PERP, 100_000.0)
    floor.tick(11)
    pair = next(iter(floor.engine.pairs.values()))
    market = floor.engine.markets[BIN_PERP.id]
    assert not isnan(pair.tradable_bps)
    assert not isnan(market.obi)
    assert not isnan(market.premium.value)
    leg = floor.books[BIN_PERP.id].leg
    other = floor.books[BIN_SPOT.id].leg
    if spoilt == "late":
        leg.late_ns = 3_000.0 * MS
    elif spoilt == "lag":
        leg.lag_ns = 3_000.0 * MS
    elif spoilt == "skew":
        leg.lag_ns, other.lag_ns = 900.0 * MS, 0.0
    else:
        leg.pulse.last_ns = floor.now - 1_500 * MS
    floor.tick(11, pulse=spoilt != "age")
    assert isnan(pair.tradable_bps)
    assert isnan(pair.statistic.z)
    if spoilt != "skew":  # which is a matter of two
        assert isnan(market.obi)
        assert isnan(market.premium.value)


def test_funding_of_an_interval_that_has_ended_is_not_shown() -> None:
    floor = two(BIN_SPOT, BIN_PERP)
    floor.engine.on_metric(BIN_PERP, Funding(0.0001, 28_800, T0 + 10 * SECOND, T0), floor.now)

    def shown() -> float | None:
        return next(m for m in floor.engine.snapshot(View()).markets if m.instrument == BIN_PERP.id).funding_rate

    floor.tick()
    assert shown() == 0.0001
    floor.now = T0 + 71 * SECOND
    floor.tick()
    assert shown() is None


def test_an_instrument_whose_facts_changed_keeps_the_status_of_its_book() -> None:
    floor = two(BIN_SPOT, BIN_PERP)
    floor.tick()
    floor.engine.on_instrument(structs.replace(BIN_PERP, lot=BIN_PERP.lot * 10), floor.now)
    floor.tick()
    market = next(m for m in floor.engine.snapshot(View()).markets if m.instrument == BIN_PERP.id)
    assert (market.link, market.book) == ("ready", "synced")


def test_a_growing_silence_is_told_once_a_second_while_it_lasts() -> None:
    floor = two(BIN_SPOT, BIN_PERP)
    floor.tick()
    floor.books[BIN_PERP.id].leg.pulse.alive = False
    floor.tick(100, pulse=False)
    assert floor.told("stale") == ["FIRE", *["PEAK"] * 9]
    peaks = [event.alert.peak or 0.0 for event in floor.events]
    assert peaks[-1] > 9_000
    assert peaks == sorted(peaks)
    floor.books[BIN_PERP.id].leg.pulse.alive = True
    floor.tick()
    assert floor.told("stale")[-1] == "RESOLVE"
    assert floor.events[-1].alert.peak is not None
    assert floor.events[-1].alert.peak >= peaks[-1]


@pytest.mark.parametrize(("mark", "badge"), [(100_005.0, "MECH"), (100_010.0, "")])
def test_a_spread_that_only_says_what_funding_says_is_badged(mark: float, badge: str) -> None:
    floor = two(BIN_SPOT, BIN_PERP)
    floor.engine.on_metric(BIN_PERP, Funding(0.0001, 28_800, T0 + 14_400 * SECOND, T0), floor.now)  # 1 bp, half of it to come
    floor.index(BIN_PERP, 100_000.0)
    floor.mark(BIN_PERP, mark)
    floor.tick()
    market = next(m for m in floor.engine.snapshot(View()).markets if m.instrument == BIN_PERP.id)
    assert market.mechanical_bps == pytest.approx(0.5, abs=1e-4)
    assert market.residual_bps == pytest.approx((mark - 100_000.0) / 10.0 - 0.5, abs=1e-4)
    assert market.badge == badge


def test_a_link_that_is_open_again_is_stale_until_it_carries_data() -> None:
    floor = two(BIN_SPOT, BIN_PERP)
    floor.tick()
    leg = floor.books[BIN_PERP.id].leg
    leg.pulse.alive = False
    floor.tick(3, pulse=False)
    leg.pulse = Pulse(floor.now)  # a new connection that has said nothing yet
    floor.tick(3, pulse=False)
    assert floor.told("stale") == ["FIRE"]
    leg.pulse.last_ns = floor.now + 1
    floor.tick()
    assert floor.told("stale") == ["FIRE", "RESOLVE"]


def test_a_silent_market_without_a_book_is_stale_too() -> None:
    floor = Floor((BIN_SPOT,))
    floor.status(BIN_SPOT, LinkState.DOWN, BookState.EMPTY, "link")
    floor.tick()
    assert floor.told("stale") == ["FIRE"]


def test_one_peak_everywhere() -> None:
    """The best edge between two boundaries is the episode's, the route's and the alert's."""
    floor = two(BIN_SPOT, BYB_SPOT)
    floor.tick(3)
    floor.now -= STEP // 2
    floor.write(BYB_SPOT, 100_700.0, 100_710.0)
    between = floor.now
    floor.now += 10 * MS
    floor.write(BYB_SPOT, 100_500.0, 100_510.0)
    floor.now += STEP // 2 - 10 * MS
    floor.tick(2)
    route = floor.route(BIN_SPOT, BYB_SPOT)
    episode = route.tracker.episode()
    (alert,) = [alert for alert in floor.engine.alerts.open if alert.rule == "route"]
    assert episode is not None
    assert route.nearest is not None
    assert episode.peak.edge_bps == pytest.approx(50.0, abs=0.2)
    assert alert.peak == episode.peak.edge_bps == route.nearest.edge_bps
    assert alert.peak_ns == episode.peak_ns == route.nearest_ns == between


def test_going_in_and_out_of_a_locked_route_costs_four_fees() -> None:
    floor = two(BIN_SPOT, BYB_SPOT)
    route = floor.route(BIN_SPOT, BYB_SPOT)
    quote = floor.judged(BIN_SPOT, BYB_SPOT)
    way_out = route.bailout(quote, floor.now)
    assert route.fees_bps == pytest.approx(20.0)
    assert way_out.bailout_bps == pytest.approx(quote.in_bps - way_out.out_bps - 40.0)
