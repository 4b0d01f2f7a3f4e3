"""Routes by hand: what is left after every fee, how prices may be compared, each guard (desk F1 to F3, 6.1; analytics 8)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from analytics.alert import AlertEvent
from analytics.alerts import DEFAULT_RULES, Metric, Rule
from analytics.engine import Engine
from analytics.fitness import LEG_GUARDS, MarkJumps
from analytics.routes import Axis, Route, RouteKind
from analytics.settings import AnalyticsSettings, Arb, Fees, Guards, Size
from analytics.snapshot import RouteView, View
from analytics.spread import Quote
from analytics.tracker import RouteQuote
from feeds.health import LegHealth, Pulse
from feeds.model import (
    MS,
    SECOND,
    BookState,
    Channel,
    Contract,
    Index,
    Instrument,
    InstrumentId,
    Kind,
    LinkState,
    Mark,
    Ns,
    Status,
    Stream,
)
from feeds.orderbook import OrderBook

T0: Ns = 1_790_000_000 * SECOND
STEP: Ns = 100 * MS
QUICK = Guards(dwell_ms=0, updates=1)
SMALL = Size(default=10_000.0)


def made(venue: str, quote: str = "USDT", kind: Kind = Kind.SPOT, contract: Contract = Contract.LINEAR) -> Instrument:
    settle = "" if kind is Kind.SPOT else "BTC" if contract is Contract.INVERSE else quote
    return Instrument(
        id=f"{venue}:BTC/{quote}" + (f":{settle}" if settle else ""),
        venue=venue,
        market=str(kind),
        native="BTC",
        base="BTC",
        quote=quote,
        settle=settle,
        kind=kind,
        contract=contract,
        contract_size=100.0 if contract is Contract.INVERSE else 1.0,
        tick=0.1,
        lot=1.0 if contract is Contract.INVERSE else 1e-5,
    )


BIN_SPOT, BYB_SPOT, OKX_SPOT = made("BINANCE"), made("BYBIT"), made("OKX")
BIN_PERP, BYB_PERP = made("BINANCE", kind=Kind.PERP), made("BYBIT", kind=Kind.PERP)
BIN_COIN = made("BINANCE", "USD", Kind.PERP, Contract.INVERSE)
BYB_FUT = structs.replace(made("BYBIT", kind=Kind.FUTURE), id="BYBIT:BTC/USDT:USDT-261225")


@dataclass
class Floor:
    """An engine with books that a test writes to, and the time it is there."""

    instruments: Iterable[Instrument]
    settings: AnalyticsSettings = field(default_factory=lambda: AnalyticsSettings(guards=QUICK, size=SMALL))
    rules: Iterable[Rule] = DEFAULT_RULES
    now: Ns = T0

    def __post_init__(self) -> None:
        self.events: list[AlertEvent] = []
        self.engine = Engine(self.settings, self.rules, emit=self.events.append)
        self.books: dict[InstrumentId, OrderBook] = {}
        for instrument in self.instruments:
            self.watch(instrument)

    def watch(self, instrument: Instrument) -> None:
        self.engine.on_instrument(instrument, self.now)
        self.books[instrument.id] = OrderBook(instrument, LegHealth(Pulse(self.now)))

    def write(self, instrument: Instrument, bid: float, ask: float, size: float = 1e6, *deeper: tuple[float, float]) -> None:
        """A new book: the touch, and how far further levels lie on both sides with their size."""
        book = self.books[instrument.id]
        bids = [(bid, size), *((bid - away, more) for away, more in deeper)]
        asks = [(ask, size), *((ask + away, more) for away, more in deeper)]
        was = book.state
        book.replace(bids, asks, book.seq + 1, 0, self.now)
        book.leg.pulse.last_ns = self.now
        if was is not BookState.SYNCED:
            self.status(instrument, LinkState.READY, BookState.SYNCED)
        self.engine.on_book(book, self.now)

    def status(self, instrument: Instrument, link: LinkState, book: BookState, reason: str = "") -> None:
        self.engine.on_status(Stream(instrument.id, Channel.BOOK), Status(link, book, reason), self.now)

    def fall(self, instrument: Instrument, reason: str, link: LinkState = LinkState.READY) -> None:
        self.books[instrument.id].fall(BookState.BUFFERING, reason)
        self.status(instrument, link, BookState.BUFFERING, reason)

    def index(self, instrument: Instrument, price: float) -> None:
        self.engine.on_metric(instrument, Index(price, 0), self.now)

    def mark(self, instrument: Instrument, price: float) -> None:
        self.engine.on_metric(instrument, Mark(price, 0), self.now)

    def marks(self, **prices: float) -> None:
        """A mark, and an index with it, of each instrument by the name it has in this file."""
        for name, price in prices.items():
            self.mark(NAMED[name], price)
            self.index(NAMED[name], 100_000.0)

    def tick(self, count: int = 1, pulse: bool = True) -> None:
        """Boundaries: the first at `now`, the time after the last. Pulses keep coming unless told otherwise."""
        for _ in range(count):
            for book in self.books.values():
                if pulse and book.leg.pulse.alive:
                    book.leg.pulse.last_ns = self.now
            self.engine.on_time(self.now)
            self.now += STEP

    def route(self, buy: Instrument, sell: Instrument) -> Route:
        return self.engine.routes[f"{buy.id} > {sell.id}"]

    def judged(self, buy: Instrument, sell: Instrument) -> RouteQuote:
        found = self.route(buy, sell).judge(self.now)
        assert isinstance(found, RouteQuote), found
        return found

    def told(self, metric: str) -> list[str]:
        return [str(event.kind) for event in self.events if event.alert.rule == metric]

    def seen(self, buy: Instrument, sell: Instrument) -> RouteView:
        (found,) = self.engine.snapshot(View(routes=(f"{buy.id} > {sell.id}",))).routes
        return found


NAMED: Mapping[str, Instrument] = {"bin_perp": BIN_PERP, "byb_perp": BYB_PERP, "byb_fut": BYB_FUT, "bin_coin": BIN_COIN}


def two(buy: Instrument = BIN_SPOT, sell: Instrument = BYB_SPOT, **more: object) -> Floor:
    """Buy at 100,000, sell at 100,500: 50 bp."""
    floor = Floor((buy, sell), **more)  # type: ignore[arg-type]
    floor.write(buy, 99_990.0, 100_000.0)
    floor.write(sell, 100_500.0, 100_510.0)
    return floor


@pytest.mark.parametrize(
    ("buy", "sell", "fees", "kind"),
    [
        (BIN_SPOT, BIN_PERP, 30.0, RouteKind.CONVERGENCE),  # 2 * (10 + 5)
        (BIN_PERP, made("OKX", kind=Kind.PERP), 20.0, RouteKind.CONVERGENCE),  # 2 * (5 + 5)
        (BIN_PERP, BYB_PERP, 21.0, RouteKind.CONVERGENCE),
        (BIN_SPOT, BYB_SPOT, 20.0, RouteKind.LOCKED),  # two fees of 10
        (OKX_SPOT, BYB_PERP, 31.0, RouteKind.CONVERGENCE),
        (BIN_SPOT, made("BINANCE", kind=Kind.FUTURE), 30.0, RouteKind.CONVERGENCE),
    ],
)
def test_what_must_be_unwound_pays_four_fees(buy: Instrument, sell: Instrument, fees: float, kind: RouteKind) -> None:
    floor = two(buy, sell)
    route, found = floor.route(buy, sell), floor.judged(buy, sell)
    assert route.fees_bps == pytest.approx(fees)
    assert route.kind(floor.now) is (RouteKind.LOCKED if kind is RouteKind.LOCKED else RouteKind.UNSPLIT)  # no marks yet
    for leg in (buy, sell):
        if leg.kind is not Kind.SPOT:
            floor.mark(leg, 100_000.0)
            floor.index(leg, 100_000.0)
    assert route.kind(floor.now) is kind
    assert found.in_bps == pytest.approx(50.0)
    assert found.edge_bps == pytest.approx(50.0 - fees)
    assert (found.buy_price, found.sell_price) == pytest.approx((100_000.0, 100_500.0))


def test_the_articles_example_is_three_quarters_of_a_point_gross_and_a_loss() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT))
    floor.write(BIN_SPOT, 67_099.0, 67_100.0)
    floor.write(BYB_SPOT, 67_105.0, 67_106.0)
    found = floor.judged(BIN_SPOT, BYB_SPOT)
    assert found.in_bps == pytest.approx(0.745, abs=5e-4)
    assert found.edge_bps == pytest.approx(0.745 - 20.0, abs=5e-4)
    fees = AnalyticsSettings(fees=Fees(taker_bps={"BINANCE": 4.0, "BYBIT": 4.0}), size=SMALL, guards=QUICK)
    article = Floor((BIN_SPOT, BYB_SPOT), fees)
    article.write(BIN_SPOT, 67_099.0, 67_100.0)
    article.write(BYB_SPOT, 67_105.0, 67_106.0)
    assert article.judged(BIN_SPOT, BYB_SPOT).edge_bps == pytest.approx(-7.25, abs=0.01)
    article.tick(20)
    assert not article.engine.episodes
    assert article.events == []


def _at_size(floor: Floor, buy: Instrument, sell: Instrument) -> RouteQuote:
    found = floor.route(buy, sell).at_size(floor.books[buy.id], floor.books[sell.id], floor.route(buy, sell).scales(floor.now))
    assert isinstance(found, RouteQuote)
    return found


def test_the_size_is_walked_on_both_legs() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT), AnalyticsSettings(guards=QUICK, size=Size(30_000.0)))
    floor.write(BIN_SPOT, 99.0, 100.0, 100.0, (50.0, 1_000.0))
    floor.write(BYB_SPOT, 200.0, 201.0, 100.0, (50.0, 1_000.0))
    base = 100 + 20_000 / 150
    assert floor.route(BIN_SPOT, BYB_SPOT).judge(floor.now) == "unit"
    found = structs.astuple(_at_size(floor, BIN_SPOT, BYB_SPOT))
    assert found[:3] == pytest.approx((30_000 / base, (100 * 200 + (base - 100) * 150) / base, base))


def test_in_and_out_at_once_is_the_bail_out() -> None:
    floor = Floor((BIN_SPOT, BIN_PERP))
    floor.write(BIN_SPOT, 99_980.0, 100_000.0)
    floor.write(BIN_PERP, 100_500.0, 100_530.0)
    route = floor.route(BIN_SPOT, BIN_PERP)
    found = route.bailout(floor.judged(BIN_SPOT, BIN_PERP), floor.now)
    assert found.out_bps == pytest.approx((100_530 - 99_980) / 100_000 * 1e4)
    assert found.bailout_bps == pytest.approx(50.0 - 55.0 - 30.0)
    floor.fall(BIN_SPOT, "gap")
    assert isnan(route.bailout(RouteQuote(1.0, 1.0, 1.0, 0.0, 0.0, 0.0), floor.now).bailout_bps)


def test_size_zero_judges_the_touch_and_what_it_holds() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT), AnalyticsSettings(guards=QUICK, size=Size(0.0)))
    floor.write(BIN_SPOT, 99_990.0, 100_000.0, 0.01, (10.0, 5.0))
    floor.write(BYB_SPOT, 100_500.0, 100_510.0, 0.002, (10.0, 5.0))
    found = floor.judged(BIN_SPOT, BYB_SPOT)
    assert (found.buy_price, found.sell_price, found.base) == pytest.approx((100_000.0, 100_500.0, 0.002))


# -- how prices are compared ------------------------------------------------------------------------------------------------


def crossed_quotes() -> Floor:
    """A coin-margined perp in USD over a spot in USDT whose raw prices cross by 100 bp, and a USDT perp for the spot's index."""
    floor = Floor((BIN_SPOT, BIN_COIN, BIN_PERP))
    floor.write(BIN_SPOT, 99_990.0, 100_000.0)
    floor.write(BIN_COIN, 101_000.0, 101_010.0)
    floor.write(BIN_PERP, 99_990.0, 100_000.0)
    return floor


def test_dollars_and_tethers_without_an_index_are_never_a_route() -> None:
    floor = crossed_quotes()
    floor.tick(50)
    route = floor.route(BIN_SPOT, BIN_COIN)
    assert route.scales(floor.now).axis is Axis.RAW
    assert route.judge(floor.now) == "quote"
    assert route.step(floor.now) == "quote"
    assert route.quote is None
    assert route.nearest is None
    assert route.executable(floor.now) is None
    assert isnan(route.touch_edge)
    assert not floor.engine.episodes
    assert floor.events == []


def test_each_leg_is_measured_by_its_own_index_while_both_are_fresh() -> None:
    floor = crossed_quotes()
    floor.index(BIN_COIN, 100_000.0)
    floor.index(BIN_PERP, 99_000.0)  # the spot borrows it
    route = floor.route(BIN_SPOT, BIN_COIN)
    assert route.scales(floor.now).axis is Axis.INDEX
    found = floor.judged(BIN_SPOT, BIN_COIN)
    buy, sell = 100_000.0 / 99_000.0, 101_000.0 / 100_000.0
    assert found.in_bps == pytest.approx((sell - buy) / buy * 1e4)
    done = route.executable(floor.now)
    assert done is not None
    assert done.base == 0.0  # no edge on that axis, however far the raw prices cross


def test_an_index_older_than_two_seconds_ends_the_comparison() -> None:
    floor = crossed_quotes()
    floor.index(BIN_COIN, 100_000.0)
    floor.index(BIN_PERP, 100_000.0)
    floor.tick(3)
    assert floor.route(BIN_SPOT, BIN_COIN).tracker.open
    floor.now = T0 + 2 * SECOND
    floor.tick()
    assert floor.route(BIN_SPOT, BIN_COIN).tracker.open
    floor.tick()
    (episode,) = [e for e in floor.engine.episodes if e.route == f"{BIN_SPOT.id} > {BIN_COIN.id}"]
    assert (episode.reason, episode.closed_ns) == ("quote", T0 + 2 * SECOND + STEP)
    assert floor.route(BIN_SPOT, BIN_COIN).judge(floor.now) == "quote"


def test_one_index_is_not_enough() -> None:
    floor = crossed_quotes()
    floor.index(BIN_COIN, 100_000.0)
    assert floor.route(BIN_SPOT, BIN_COIN).judge(floor.now) == "quote"
    assert floor.route(BIN_COIN, BIN_SPOT).judge(floor.now) == "quote"


def test_a_spot_borrows_the_index_of_its_own_venue_and_quote_only() -> None:
    other = made("BYBIT", kind=Kind.PERP)
    floor = Floor((BIN_SPOT, BIN_COIN, other))
    floor.write(BIN_SPOT, 99_990.0, 100_000.0)
    floor.write(BIN_COIN, 101_000.0, 101_010.0)
    floor.index(BIN_COIN, 100_000.0)
    floor.index(other, 100_000.0)
    assert floor.route(BIN_SPOT, BIN_COIN).judge(floor.now) == "quote"


# -- guards -----------------------------------------------------------------------------------------------------------------


def shut_down(floor: Floor, leg: Instrument) -> None:
    floor.engine.markets[leg.id].status = Status(LinkState.CLOSED, BookState.SYNCED, "end of the capture")


def disconnect(floor: Floor, leg: Instrument) -> None:
    floor.engine.markets[leg.id].status = Status(LinkState.DOWN, BookState.SYNCED, "going away")


def unpublish(floor: Floor, leg: Instrument) -> None:
    floor.fall(leg, "gap")


def kill(floor: Floor, leg: Instrument) -> None:
    floor.books[leg.id].leg.pulse.alive = False


def silence(floor: Floor, leg: Instrument) -> None:
    floor.books[leg.id].leg.pulse.last_ns = floor.now - 1_001 * MS


def delay(floor: Floor, leg: Instrument) -> None:
    floor.books[leg.id].leg.late_ns = 151.0 * MS


def lag(floor: Floor, leg: Instrument) -> None:
    for book in floor.books.values():
        book.leg.lag_ns = 990.0 * MS
    floor.books[leg.id].leg.lag_ns = 1_001.0 * MS


SPOILS: Mapping[str, Callable[[Floor, Instrument], None]] = {
    "shutdown": shut_down,
    "disconnected": disconnect,
    "stale": kill,
    "state": unpublish,
    "age": silence,
    "late": delay,
    "lag": lag,
}


def test_every_guard_of_the_table_has_its_test() -> None:
    assert [name for name, _ in LEG_GUARDS] == list(SPOILS)


@pytest.mark.parametrize("leg", [BIN_SPOT, BYB_SPOT], ids=["buy", "sell"])
@pytest.mark.parametrize("name", list(SPOILS))
def test_a_leg_that_may_not_be_believed_refuses_the_route(name: str, leg: Instrument) -> None:
    floor = two()
    SPOILS[name](floor, leg)
    assert floor.route(BIN_SPOT, BYB_SPOT).judge(floor.now) == name
    without = [guard for guard in LEG_GUARDS if guard[0] != name]
    market = floor.engine.markets
    route = Route(market[BIN_SPOT.id], market[BYB_SPOT.id], floor.settings, floor.engine.fees, leg_guards=without)
    assert route.judge(floor.now) != name  # taken out, nothing else says so


@pytest.mark.parametrize("limit", ["age", "late", "lag"])
def test_a_leg_exactly_at_the_limit_passes(limit: str) -> None:
    floor = two()
    leg = floor.books[BIN_SPOT.id].leg
    if limit == "age":
        leg.pulse.last_ns = floor.now - 1_000 * MS
    elif limit == "late":
        leg.late_ns = 150.0 * MS
    else:
        leg.lag_ns = 1_000.0 * MS
    floor.judged(BIN_SPOT, BYB_SPOT)


@pytest.mark.parametrize("which", ["lag", "late"])
def test_legs_out_of_step_are_refused(which: str) -> None:
    floor = two()
    one, other = floor.books[BIN_SPOT.id].leg, floor.books[BYB_SPOT.id].leg
    for apart, wanted in ((250, ""), (251, "skew")):
        if which == "lag":
            one.lag_ns, other.lag_ns = 300.0 * MS, (300.0 + apart) * MS
            one.late_ns = other.late_ns = 0.0
        else:  # an unknown lag on one leg: judged by lateness
            one.lag_ns, other.lag_ns = nan, 900.0 * MS
            one.late_ns, other.late_ns = 140.0 * MS, (140.0 - apart) * MS
        found = floor.route(BIN_SPOT, BYB_SPOT).judge(floor.now)
        assert (found if isinstance(found, str) else "") == wanted


def test_the_first_reason_in_the_order_of_the_table_is_the_one_told() -> None:
    floor = two()
    for name in reversed(list(SPOILS)):
        SPOILS[name](floor, BIN_SPOT)
        assert floor.route(BIN_SPOT, BYB_SPOT).judge(floor.now) == name


def test_a_price_in_another_unit_is_no_opportunity() -> None:
    floor = Floor((BIN_SPOT, BYB_SPOT))
    floor.write(BIN_SPOT, 99.0, 100.0)
    floor.write(BYB_SPOT, 110.5, 111.0)
    assert floor.route(BIN_SPOT, BYB_SPOT).judge(floor.now) == "unit"
    floor.write(BYB_SPOT, 110.0, 111.0)
    floor.judged(BIN_SPOT, BYB_SPOT)


@pytest.mark.parametrize("thin", ["buy", "sell"])
def test_a_book_too_thin_for_the_size_is_refused(thin: str) -> None:
    floor = two()
    leg, at = (BIN_SPOT, (99_990.0, 100_000.0)) if thin == "buy" else (BYB_SPOT, (100_500.0, 100_510.0))
    floor.write(leg, *at, 0.05)
    assert floor.route(BIN_SPOT, BYB_SPOT).judge(floor.now) == "depth"


def test_a_leg_below_the_smallest_worth_telling_is_refused() -> None:
    floor = two(settings=AnalyticsSettings(guards=QUICK, size=Size(9_999.0)))
    assert floor.route(BIN_SPOT, BYB_SPOT).judge(floor.now) == "size"


@pytest.mark.parametrize("leg", ["buy", "sell"])
@pytest.mark.parametrize("facts", [{"lot": 1.0}, {"min_notional": 20_000.0}])
def test_what_a_venue_would_not_take_as_an_order_is_refused(leg: str, facts: dict[str, float]) -> None:
    coarse = structs.replace(BIN_SPOT if leg == "buy" else BYB_SPOT, **facts)
    pair = (coarse, BYB_SPOT) if leg == "buy" else (BIN_SPOT, coarse)
    assert two(*pair).route(*pair).judge(T0) == "lot"


def test_a_size_in_dollars_means_nothing_in_another_currency() -> None:
    pair = made("BINANCE", "EUR"), made("BYBIT", "EUR")
    assert two(*pair).route(*pair).judge(T0) == "fx"


def test_a_venue_without_a_fee_rate_is_refused_not_taken_for_free() -> None:
    unknown = made("NOWHERE")
    floor = two(BIN_SPOT, unknown)
    assert isnan(floor.route(BIN_SPOT, unknown).fees_bps)
    assert floor.route(BIN_SPOT, unknown).judge(floor.now) == "fees"
    assert floor.route(BIN_SPOT, unknown).executable(floor.now) is None
    floor.tick(20)
    assert floor.events == []


def test_refusals_of_an_edge_worth_opening_are_counted_by_reason_with_the_last_example() -> None:
    floor = two()
    route = floor.route(BIN_SPOT, BYB_SPOT)
    silence(floor, BIN_SPOT)
    floor.tick(3, pulse=False)
    delay(floor, BIN_SPOT)
    floor.tick(2)
    assert route.refusals == {"age": 3, "late": 2}
    assert route.last_refusal is not None
    assert route.last_refusal[:2] == (T0 + 4 * STEP, "late")
    assert route.last_refusal[2] == pytest.approx(30.0)
    quiet = floor.route(BYB_SPOT, BIN_SPOT)
    assert quiet.refusals == {}


# -- standing or fresh ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buy", [BIN_PERP, BIN_SPOT], ids=["derivatives", "spot"])
def test_a_derivative_without_a_mark_is_tracked_but_never_told(buy: Instrument) -> None:
    floor = two(buy, BYB_PERP)
    if buy is BIN_PERP:
        floor.marks(bin_perp=100_000.0)
    floor.tick(5)
    assert floor.route(buy, BYB_PERP).tracker.open
    view = floor.seen(buy, BYB_PERP)
    assert (view.kind, view.refused, view.fresh_bps) == ("UNSPLIT", "no mark", None)
    floor.fall(buy, "gap")
    floor.tick()
    assert [(e.kind, e.reason) for e in floor.engine.episodes] == [("UNSPLIT", "state")]
    assert floor.told("route") == []


@pytest.mark.parametrize("buy", [BIN_PERP, BIN_SPOT], ids=["derivatives", "spot"])
def test_an_episode_is_told_until_a_mark_is_old(buy: Instrument) -> None:
    floor = two(buy, BYB_PERP)
    floor.marks(**({"bin_perp": 100_000.0} if buy is BIN_PERP else {}), byb_perp=100_000.0)
    floor.tick(2)
    assert floor.told("route") == ["FIRE"]
    floor.now = T0 + 10 * SECOND
    floor.tick()
    assert floor.told("route") == ["FIRE"]
    floor.tick()
    assert floor.told("route") == ["FIRE", "RESOLVE"]
    assert floor.events[-1].alert.quality == "unsplit"
    assert [(e.kind, e.reason, e.closed_ns) for e in floor.engine.episodes] == [
        ("CONVERGENCE", "unsplit", T0 + 10 * SECOND + STEP)
    ]
    floor.write(BYB_PERP, 100_500.0, 100_510.0)
    floor.tick()
    assert floor.route(buy, BYB_PERP).tracker.open  # as what it is now: unsplit, and not told
    assert floor.seen(buy, BYB_PERP).refused == "stale mark"
    floor.marks(**({"bin_perp": 100_000.0} if buy is BIN_PERP else {}), byb_perp=100_000.0)
    floor.tick()
    assert [(e.kind, e.reason) for e in floor.engine.episodes][1:] == [("UNSPLIT", "split")]
    floor.write(BYB_PERP, 100_500.0, 100_510.0)
    floor.tick()
    assert floor.told("route") == ["FIRE", "RESOLVE", "FIRE"]


@pytest.mark.parametrize(("apart_ms", "reason"), [(3_000, ""), (3_001, "stale mark")])
def test_mark_and_index_must_be_of_one_time(apart_ms: int, reason: str) -> None:
    floor = two(BIN_SPOT, BYB_PERP)
    floor.mark(BYB_PERP, 100_000.0)
    floor.now += apart_ms * MS
    floor.index(BYB_PERP, 100_000.0)
    assert floor.route(BIN_SPOT, BYB_PERP).unsplit(floor.now) == reason


def test_a_mark_of_nothing_splits_nothing() -> None:
    floor = two(BIN_SPOT, BYB_PERP)
    floor.marks(byb_perp=0.0)
    assert floor.route(BIN_SPOT, BYB_PERP).unsplit(floor.now) == "no mark"
    assert isnan(floor.judged(BIN_SPOT, BYB_PERP).fresh_bps)


def test_the_fresh_edge_is_what_is_left_if_each_leg_comes_back_to_its_mark() -> None:
    floor = Floor((BIN_PERP, BYB_PERP))
    floor.write(BIN_PERP, 99_890.0, 99_900.0)
    floor.write(BYB_PERP, 100_500.0, 100_510.0)
    floor.marks(bin_perp=100_000.0, byb_perp=100_400.0)
    found = floor.judged(BIN_PERP, BYB_PERP)
    assert found.fresh_bps == pytest.approx((100_500 / 100_400 / (99_900 / 100_000) - 1) * 1e4 - 21.0)
    assert found.fresh_bps == pytest.approx(20.0 - 21.0, abs=0.1)
    assert found.edge_bps == pytest.approx(60.06 - 21.0, abs=0.01)
    assert found.gate_bps == found.fresh_bps


def test_a_spot_is_its_own_mark_and_standing_apart_alone_makes_nothing_fresh() -> None:
    floor = Floor((BIN_SPOT, BIN_PERP))
    floor.write(BIN_SPOT, 99_480.0, 99_500.0)
    floor.write(BIN_PERP, 100_100.0, 100_110.0)
    floor.marks(bin_perp=100_000.0)
    found = floor.judged(BIN_SPOT, BIN_PERP)
    assert found.fresh_bps == pytest.approx((100_100 / 100_000 / (99_500 / 99_490) - 1) * 1e4 - 30.0)
    floor.tick(5)
    assert floor.seen(BIN_SPOT, BIN_PERP).kind == "STANDING BASIS"


def test_between_spots_nothing_is_split() -> None:
    floor = two()
    assert isnan(floor.judged(BIN_SPOT, BYB_SPOT).fresh_bps)
    assert floor.route(BIN_SPOT, BYB_SPOT).unsplit(floor.now) == ""
    floor.tick()
    assert floor.told("route") == ["FIRE"]
    assert floor.seen(BIN_SPOT, BYB_SPOT).kind == "LOCKED"


def test_a_fresh_edge_pays_the_way_out_as_well() -> None:
    """16 bp fresh: more than one fee a leg (10.5) and the threshold, less than the four that it takes to get out again."""
    floor = Floor((BIN_PERP, BYB_FUT))
    floor.write(BIN_PERP, 99_990.0, 100_000.0)
    floor.write(BYB_FUT, 100_640.0, 100_650.0)
    floor.marks(bin_perp=100_000.0, byb_fut=100_480.0)
    floor.tick(10)
    assert floor.judged(BIN_PERP, BYB_FUT).fresh_bps == pytest.approx(15.9 - 21.0, abs=0.1)
    assert floor.told("route") == []


def carry(floor: Floor, seconds: float, future: float = 100_485.0) -> None:
    """A dated future 48 bp over a perp, its mark at 100,480: both told each second, both books each boundary."""
    for _ in range(round(seconds * 10)):
        if floor.now % SECOND == 0:
            floor.marks(bin_perp=99_995.0, byb_fut=100_480.0)
        floor.write(BIN_PERP, 99_990.0, 100_000.0)
        floor.write(BYB_FUT, future - 5.0, future + 5.0)
        floor.tick()


def test_a_carry_that_stands_is_never_an_episode() -> None:
    floor = Floor((BIN_PERP, BYB_FUT), AnalyticsSettings(size=SMALL))
    carry(floor, 60.0)
    route = floor.route(BIN_PERP, BYB_FUT)
    assert not floor.engine.episodes
    assert not route.tracker.open
    assert floor.told("route") == []
    view = floor.seen(BIN_PERP, BYB_FUT)
    assert (view.kind, view.refused) == ("STANDING BASIS", "")
    assert view.edge_bps == pytest.approx(27.0)
    assert view.fresh_bps == pytest.approx(-21.5, abs=0.1)
    assert route.refusals == {"standing": 600}
    assert floor.seen(BYB_FUT, BIN_PERP).kind == "CONVERGENCE"  # it pays nothing, so there is nothing to call standing


def test_without_the_gate_a_carry_that_stands_is_alerted_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RouteQuote, "gate_bps", property(lambda quote: quote.edge_bps))
    floor = Floor((BIN_PERP, BYB_FUT), AnalyticsSettings(size=SMALL))
    carry(floor, 10.0)
    assert floor.told("route") == ["FIRE"]
    assert floor.route(BIN_PERP, BYB_FUT).tracker.open


@pytest.mark.parametrize("spot", [False, True], ids=["derivatives", "spot"])
def test_a_sudden_move_opens_and_closes_when_the_mark_has_followed(spot: bool) -> None:
    buy = BIN_SPOT if spot else BIN_PERP
    floor = Floor((buy, BYB_FUT), AnalyticsSettings(size=SMALL))
    standing, fees = 100_000.0, 31.0 if spot else 21.0
    fell: Ns = 0
    for step in range(400):
        at = step / 10
        price = standing * (1.0048 if at >= 10 else 1.0)
        mark = standing * (1 + 0.0048 * min(max(at // 1 - 10, 0.0), 10.0) / 10)  # in ten seconds it is there
        if floor.now % SECOND == 0:
            floor.marks(**({} if spot else {"bin_perp": standing}), byb_fut=mark)
        floor.write(buy, standing - 0.5, standing + 0.5)
        floor.write(BYB_FUT, price - 0.5, price + 0.5)
        if not fell and at >= 10 and (price - 0.5) / mark / (1.000005) * 1e4 - 1e4 - fees < 0:
            fell = floor.now
        floor.tick()
    (episode,) = floor.engine.episodes
    assert (episode.kind, episode.reason) == ("CONVERGENCE", "fresh_edge_collapsed")
    assert episode.opened_ns == T0 + 10 * SECOND + 2 * STEP  # the dwell
    assert episode.closed_ns == fell > T0 + 12 * SECOND
    assert [kind for kind in floor.told("route") if kind != "PEAK"] == ["FIRE", "RESOLVE"]
    assert floor.events[-1].alert.quality == "fresh_edge_collapsed"
    assert floor.seen(buy, BYB_FUT).kind == "STANDING BASIS"


def test_an_open_episode_is_no_standing_basis_while_its_fresh_edge_is_above_close() -> None:
    floor = Floor((BIN_PERP, BYB_FUT))
    floor.marks(bin_perp=100_000.0, byb_fut=100_000.0)
    for mark in (100_000.0, 100_030.0):
        floor.marks(byb_fut=mark)
        floor.write(BIN_PERP, 99_990.0, 100_000.0)
        floor.write(BYB_FUT, 100_250.0, 100_260.0)
        floor.tick()
    view = floor.seen(BIN_PERP, BYB_FUT)
    assert view.edge_bps == pytest.approx(4.0)
    assert view.fresh_bps == pytest.approx(1.0, abs=0.1)
    assert (view.kind, floor.route(BIN_PERP, BYB_FUT).refusals) == ("CONVERGENCE", {})
    assert floor.told("route") == ["FIRE"]


def test_a_mark_that_jumps_is_no_measure_until_it_is_told_again() -> None:
    """A venue's mark leaps while its price stands still: what would look fresh is the mark's doing."""
    floor = Floor((BIN_PERP, BYB_FUT))
    carry(floor, 1.0)
    floor.marks(bin_perp=99_995.0, byb_fut=100_000.0)
    assert floor.judged(BIN_PERP, BYB_FUT).edge_bps > 3.0
    floor.tick(3)
    view = floor.seen(BIN_PERP, BYB_FUT)
    assert (view.kind, view.refused) == ("UNSPLIT", "mark jump")
    floor.marks(byb_fut=100_000.0)  # 300 ms later the same once more is no second opinion
    floor.tick(2)
    assert floor.seen(BIN_PERP, BYB_FUT).refused == "mark jump"
    assert floor.told("route") == []
    floor.marks(byb_fut=100_001.0)
    carry(floor, 0.1)
    assert floor.seen(BIN_PERP, BYB_FUT).kind == "CONVERGENCE"
    assert floor.told("route") == ["FIRE"]


def test_ten_basis_points_are_no_jump_and_a_first_mark_is_none() -> None:
    jumps = MarkJumps()
    for before, price, jumped in ((None, 100_000.0, False), (100_000.0, 100_100.0, False), (100_000.0, 100_100.1, True)):
        jumps.note("a", Quote(before, T0) if before is not None else None, price, T0)
        assert ("a" in jumps) is jumped
    assert "b" not in jumps
    jumps.note("b", Quote(100.0, T0), 100.0, T0 + SECOND)
    assert "a" in jumps
    jumps.note("a", Quote(100_100.1, T0), 99_000.0, T0 + SECOND)
    jumps.note("a", Quote(99_000.0, T0), 99_000.0, T0 + SECOND + 499 * MS)
    assert "a" in jumps
    jumps.note("a", Quote(99_000.0, T0), 99_000.0, T0 + SECOND + 500 * MS)
    assert "a" not in jumps


def test_a_jump_is_forgotten_with_the_connection_that_told_it() -> None:
    floor = two(BIN_SPOT, BYB_PERP)
    floor.marks(byb_perp=100_000.0)
    floor.marks(byb_perp=100_200.0)
    route = floor.route(BIN_SPOT, BYB_PERP)
    assert route.unsplit(floor.now) == "mark jump"
    floor.engine.on_status(Stream(BYB_PERP.id, Channel.TICKER), Status(LinkState.DOWN, BookState.EMPTY, "link"), floor.now)
    assert route.unsplit(floor.now) == "no mark"
    floor.marks(byb_perp=100_400.0)
    assert route.unsplit(floor.now) == ""
    floor.marks(byb_perp=100_600.0)
    floor.watch(structs.replace(BYB_PERP, tick=0.01))
    floor.marks(byb_perp=100_600.0)
    assert floor.route(BIN_SPOT, BYB_PERP).unsplit(floor.now) == ""


def test_the_view_at_another_size_has_the_fresh_edge_of_that_size() -> None:
    floor = Floor((BIN_PERP, BYB_FUT))
    floor.write(BIN_PERP, 99_990.0, 100_000.0)
    floor.write(BYB_FUT, 100_480.0, 100_490.0, 0.01, (130.0, 1e6))
    floor.marks(bin_perp=99_995.0, byb_fut=100_340.0)
    floor.tick()
    name = f"{BIN_PERP.id} > {BYB_FUT.id}"
    views = {size: floor.engine.snapshot(View(routes=(name,), size_usd=size)).routes[0] for size in (0.0, 10_000.0)}
    assert views[10_000.0].kind == "STANDING BASIS"
    assert views[0.0].fresh_bps == pytest.approx(14.0 - 0.5 - 21.0, abs=0.1)
    assert views[10_000.0].fresh_bps == pytest.approx(2.3 - 0.5 - 21.0, abs=0.1)


# -- what must not change anything ------------------------------------------------------------------------------------------


def test_prices_times_1000_leave_every_edge_alone() -> None:
    found = []
    for scale in (1.0, 1_000.0):
        floor = Floor((BIN_SPOT, BYB_SPOT), AnalyticsSettings(guards=QUICK, size=Size(10_000.0 * scale)))
        floor.write(BIN_SPOT, 99.9 * scale, 100.0 * scale, 50.0, (1.0 * scale, 1e6))
        floor.write(BYB_SPOT, 100.4 * scale, 100.5 * scale, 50.0, (1.0 * scale, 1e6))
        quote = floor.judged(BIN_SPOT, BYB_SPOT)
        found.append((quote.in_bps, quote.edge_bps, quote.base))
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_swapped_venues_swap_the_roles() -> None:
    one, other = two(BIN_SPOT, BYB_SPOT), two(BYB_SPOT, BIN_SPOT)
    assert one.judged(BIN_SPOT, BYB_SPOT) == other.judged(BYB_SPOT, BIN_SPOT)
    assert one.judged(BYB_SPOT, BIN_SPOT) == other.judged(BIN_SPOT, BYB_SPOT)


def test_each_fee_more_lowers_the_edge_by_itself() -> None:
    last = None
    for fee in range(0, 30, 3):
        fees = Fees(taker_bps={"BINANCE": float(fee), "BYBIT": 10.0})
        floor = two(settings=AnalyticsSettings(guards=QUICK, size=SMALL, fees=fees))
        edge = floor.judged(BIN_SPOT, BYB_SPOT).edge_bps
        assert last is None or edge == pytest.approx(last - 3.0)
        last = edge


# -- judging only when it matters -------------------------------------------------------------------------------------------


class Eager(Route):
    """Judged at every boundary."""

    __slots__ = ()
    interesting = True


def random_market(seed: int, kind: type[Route], instruments: tuple[Instrument, ...]) -> Floor:
    """Four seconds of books that cross now and then, fall, go late and come back, with indices for some."""
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analytics.engine.Route", kind)
        settings = AnalyticsSettings(
            guards=Guards(dwell_ms=200, updates=2),
            size=Size(float(rng.choice([0.0, 10_000.0, 60_000.0]))),
            fees=Fees(tier="none"),
            arb=Arb(open_bp=3.0, close_bp=0.0, close_hold_ms=200),
        )
        floor = Floor(instruments, settings)
    for step in range(160):
        for instrument in instruments:
            draw = rng.random()
            if draw < 0.45:
                middle = 1_000.0 + float(rng.integers(-6, 7)) * 0.1
                size = float(rng.integers(1, 80))
                scale = instrument.to_base(1.0, middle)
                floor.write(instrument, middle - 0.05, middle + 0.05, size / scale, (0.2, 40.0 / scale))
            elif draw < 0.47:
                floor.fall(instrument, "gap")
            elif draw < 0.49:
                floor.books[instrument.id].leg.late_ns = float(rng.choice([0.0, 200.0])) * MS
            elif draw < 0.75 and instrument.kind is Kind.PERP:
                floor.index(instrument, 1_000.0 + float(rng.integers(-4, 5)) * 0.1)
                if draw < 0.73:
                    floor.mark(instrument, 1_000.0 + float(rng.integers(-6, 7)) * 0.1)
        floor.now += int(rng.integers(1, 99)) * MS if step % 3 else 0
        floor.now = -(-floor.now // STEP) * STEP
        floor.tick()
    floor.engine.finish(floor.now)
    return floor


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), coin=st.booleans())
def test_looking_only_where_it_matters_hides_no_episode(seed: int, coin: bool) -> None:
    instruments = (BIN_SPOT, BIN_PERP, BIN_COIN if coin else BYB_SPOT)
    lazy, eager = random_market(seed, Route, instruments), random_market(seed, Eager, instruments)
    assert list(lazy.engine.episodes) == list(eager.engine.episodes)
    assert lazy.events == eager.events
    for name, route in lazy.engine.routes.items():
        other = eager.engine.routes[name]
        assert (route.nearest, route.nearest_ns, route.refusals, route.last_refusal) == (
            other.nearest,
            other.nearest_ns,
            other.refusals,
            other.last_refusal,
        )


def test_the_random_market_has_episodes_to_hide() -> None:
    closed = [e for seed in range(40) for e in random_market(seed, Route, (BIN_SPOT, BIN_PERP, BIN_COIN)).engine.episodes]
    assert len(closed) > 20
    assert {e.reason for e in closed} >= {
        "edge_collapsed",
        "fresh_edge_collapsed",
        "split",
        "unsplit",
        "state",
        "late",
        "shutdown",
    }
    assert any(BIN_COIN.id in e.route for e in closed)
    assert Metric.ROUTE in {rule.metric for rule in DEFAULT_RULES}
