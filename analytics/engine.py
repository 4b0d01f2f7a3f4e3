"""The engine: the listener that owns market state, judges routes and rules on the grid, and yields snapshots (DESIGN 1 and 3).

Push stops here. A record touches only its market and marks it; routes and the fast rules are judged at each 100 ms boundary, the
statistics at each second, and a screen asks for a snapshot when it draws. Nothing depends on how fast records are handed on.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from heapq import nsmallest
from itertools import islice
from math import inf, nan

from analytics.alert import Alert, AlertEvent, Leg
from analytics.alerts import DEFAULT_RULES, METRICS, AlertBook, Context, Metric, Rule
from analytics.basis import Pair
from analytics.fees import FeeSchedule
from analytics.fitness import LEG_GUARDS, LegGuard, MarkJumps, leg_refusal
from analytics.fx import FxBoard, peg
from analytics.market import Market, index_source
from analytics.routes import DOLLARS, Axis, AxisRule, Route, RouteKind, axis_rule
from analytics.settings import AnalyticsSettings
from analytics.snapshot import Print, Snapshot, View, wanted
from analytics.spread import Quote
from analytics.tracker import Episode, RouteQuote
from analytics.viewing import make_snapshot
from feeds.clock import BOUNDARY_NS
from feeds.health import Health
from feeds.model import (
    MS,
    SECOND,
    SILENT,
    BookState,
    Channel,
    Funding,
    Index,
    Instrument,
    InstrumentId,
    LinkState,
    Mark,
    Ns,
    OpenInterest,
    PairIndex,
    Stats24h,
    Status,
    Stream,
    Trade,
)
from feeds.model import Metric as MarketMetric
from feeds.orderbook import OrderBook

EPISODES_KEPT = 10_000
PRINTS_KEPT = 200
GONE = frozenset({LinkState.DOWN, LinkState.CLOSED})


class Engine:
    """A `feeds.venue.Listener`.

    Args:
        settings: sizes, fees, guards, thresholds.
        rules: alert rules; the default ones when not given.
        emit: gets every alert event at once.
        position: records handed on so far.
        first_seq, resume: where alert numbers go on, and the episodes that were open.
        rule_of_axis, leg_guards: how prices are compared and legs believed; not the user's to change.
    """

    def __init__(
        self,
        settings: AnalyticsSettings,
        rules: Iterable[Rule] = DEFAULT_RULES,
        *,
        emit: Callable[[AlertEvent], object] = lambda _event: None,
        position: Callable[[], int] = lambda: 0,
        first_seq: int = 1,
        resume: Iterable[Alert] = (),
        rule_of_axis: AxisRule = axis_rule,
        leg_guards: Sequence[tuple[str, LegGuard]] = LEG_GUARDS,
    ) -> None:
        self.settings = settings
        own = {name: bps / 1e4 for name, bps in settings.fees.taker_bps.items()}
        self.fees = FeeSchedule(settings.fees.tier, own, settings.fees.confirmed)
        self.alerts = AlertBook(rules, emit, position, first_seq, (settings.arb.open_bp, settings.arb.close_bp))
        self.alerts.resume(resume)
        self._resumed = {alert.scope for alert in self.alerts.open}
        """Scopes of resumed alerts: a route among them is judged until it is seen open or its edge gone."""
        self.markets: dict[InstrumentId, Market] = {}
        self.routes: dict[str, Route] = {}
        self.pairs: dict[str, Pair] = {}
        self.episodes: deque[Episode] = deque(maxlen=EPISODES_KEPT)
        """Closed ones, oldest first."""
        self.tape: deque[Print] = deque(maxlen=PRINTS_KEPT)
        """Prints of at least `settings.tape.min_usd`, oldest first."""
        self.fx = FxBoard(settings.fixed_usd)
        self._min_print = settings.tape.min_usd
        self.health: dict[Stream, Health] = {}
        self.now_ns: Ns = 0
        self._axis_rule = rule_of_axis
        self._leg_guards = leg_guards
        self._jumps = MarkJumps()
        self._routes_of: dict[InstrumentId, list[Route]] = {}
        self._open: list[Route] = []

    def snapshot(self, view: View) -> Snapshot:
        """Frozen figures of the last boundary, of what the view asks for."""
        prints = (each for each in reversed(self.tape) if wanted(each.instrument, view.instruments))
        return make_snapshot(
            view,
            self.now_ns,
            self.markets.values(),
            self.pairs.values(),
            self.routes.values(),
            self.alerts.open,
            tuple(islice(prints, view.tape)),
            self.settings,
            self._leg_guards,
            self.fx.rates,
        )

    def nearest_routes(self, count: int, match: Callable[[Route], bool] | None = None) -> tuple[str, ...]:
        """Ids of up to `count` routes that `match`, by falling edge of their touches; those that have none come last, and two
        markets that no axis has ever compared are no route.

        Nothing is judged or walked, so it is cheap; what is nearest by the touch need not be so at size.
        """
        routes = (route for route in self.routes.values() if route.axis is not Axis.RAW and (match is None or match(route)))
        ranked = ((-edge if (edge := _touch_edge(route, self.now_ns)) == edge else inf, route.id) for route in routes)
        return tuple(name for _, name in nsmallest(count, ranked))

    def still(self) -> tuple[Market, ...]:
        """Copies of all markets as they stand, for ladders that are read while the engine goes on."""
        return tuple(market.still() for market in self.markets.values())

    def unmatched_rules(self) -> list[Rule]:
        """Enabled rules whose scope names nothing that there is: most likely a slip of the pen."""
        names = self._scopes()
        return [
            rule
            for rule in self.alerts.rules
            if rule.scope != "*" and not any(fnmatchcase(name, rule.scope) for name in names[METRICS[rule.metric].scope])
        ]

    def end_gone(self) -> None:
        """Every list of instruments has come: alerts resumed from an earlier run whose scope is in none of them end as `gone`."""
        names = self._scopes()
        self.alerts.end_gone(lambda metric, scope: scope in names[METRICS[metric].scope], self.now_ns)
        self._resumed &= {alert.scope for alert in self.alerts.open}

    # -- what arrives ------------------------------------------------------------------------------------------------------

    def on_instrument(self, instrument: Instrument, now: Ns) -> None:
        """A market more, with its routes and pairs to every other of the same base; or new facts, which start it afresh."""
        market = Market(instrument, self.settings)
        market.fx = self.fx.rate(instrument.quote)
        if instrument.id in self.markets:
            before = self._forget(instrument.id, now)
            market.status, market.fell_ns = before.status, before.fell_ns
        others = [other for other in self.markets.values() if other.instrument.base == instrument.base]
        self.markets[market.id] = market
        for each in self.markets.values():
            each.index_of = index_source(each, list(self.markets.values()))
        fees = self.fees.at(now)
        for other in others:
            pair = Pair(other, market, self.settings, self._axis_rule, self._leg_guards)
            self.pairs[pair.id] = pair
            for buy, sell in ((other, market), (market, other)):
                route = Route(buy, sell, self.settings, fees, self._axis_rule, self._leg_guards, self._jumps)
                self.routes[route.id] = route
                self._routes_of.setdefault(buy.id, []).append(route)
                self._routes_of.setdefault(sell.id, []).append(route)

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        market = self.markets.get(stream.instrument)
        if market is None:
            return
        if stream.channel is Channel.TICKER and status.link in GONE:
            market.forget_ticker()
            self._jumps.forget(market.id)
        if stream.channel is not Channel.BOOK:
            return
        if status.link is LinkState.CLOSED and market.status.link is not LinkState.CLOSED:
            market.last_status = market.status
        market.status = status
        market.moved = True
        if status.book is not BookState.SYNCED:
            market.bid = market.ask = nan
        if status.link is LinkState.CLOSED:
            market.fell_ns = 0
        elif status.book is BookState.SYNCED:
            market.healed = True
        elif status.reason == "gap":
            market.fell_ns = market.fell_ns or now
            market.healed = False

    def on_book(self, book: OrderBook, now: Ns) -> None:
        market = self.markets[book.instrument.id]
        market.book = book
        if book.bid != market.bid or book.ask != market.ask:
            self._moved(market, book, now)

    on_touch = on_book

    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None:
        if not trade.block:
            market = self.markets[instrument.id]
            market.last_trade = trade
            market.last_trade_ns = now
        quote = instrument.to_quote(trade.size, trade.price)
        if quote >= self._min_print and instrument.quote in DOLLARS:
            base = instrument.to_base(trade.size, trade.price)
            self.tape.append(Print(instrument.id, now, trade.price, base, quote, trade.aggressor, trade.block))

    def on_metric(self, instrument: Instrument, metric: MarketMetric, now: Ns) -> None:
        market = self.markets[instrument.id]
        if isinstance(metric, Mark):
            self._jumps.note(market.id, market.mark, metric.price, now)
            market.mark = Quote(metric.price, now)
            market.mark_new = True
        elif isinstance(metric, Index):
            market.index = Quote(metric.price, now)
            for each in self.markets.values():
                if each.index_of is market:
                    each.moved = True
        elif isinstance(metric, Funding):
            market.funding = metric
        elif isinstance(metric, OpenInterest):
            market.open_interest = metric.size
        elif isinstance(metric, Stats24h):
            market.quote_volume_24h = metric.quote_volume

    def on_pair_index(self, index: PairIndex, now: Ns) -> None:
        self.fx.note(index, now)

    def on_health(self, stream: Stream, health: Health, now: Ns) -> None:
        self.health[stream] = health

    # -- what the grid does ------------------------------------------------------------------------------------------------

    def on_time(self, now: Ns) -> None:
        self.now_ns = now
        converts_anew = self.fx.step(now)
        if converts_anew:
            for market in self.markets.values():
                market.fx = self.fx.rate(market.instrument.quote)
        for market in self.markets.values():
            self._links(market, now)
        for route in self.routes.values():
            if route.buy.moved or route.sell.moved or (converts_anew and route.crosses):
                route.look(now)
            if route.interesting or route.id in self._resumed:
                self._judge(route, now)
            else:
                route.quote = None
        for market in self.markets.values():
            market.moved = False
        if now % SECOND < BOUNDARY_NS:
            self._second(now)

    def finish(self, now: Ns) -> None:
        """The source has ended: open episodes close as `shutdown`. Alerts stay as they are."""
        for route in self.routes.values():
            closed = route.tracker.refuse(now, "shutdown")
            if closed is not None:
                self.episodes.append(closed)
        self._open.clear()

    def _links(self, market: Market, now: Ns) -> None:
        """Stale and gap: facts of link and book, not thresholds."""
        book = market.book
        pulse = book.leg.pulse if book is not None else None
        closed = market.status.link is LinkState.CLOSED
        silent = market.status.link is LinkState.DOWN and market.status.reason == SILENT
        if book is None and not closed and not silent:
            return  # nothing is known yet: an alert resumed from the last run stays as it is
        dead = silent if pulse is None else not pulse.alive or (market.stale and not pulse.heard)
        stale = market.stale = dead and not closed
        silent_ms = (now - pulse.last_ns) / MS if pulse is not None else nan
        quality = "closed" if closed else ""
        self.alerts.say(Metric.STALE, market.id, now, stale, silent_ms, lambda: self._watching(market, now), quality)
        out_ms = (now - market.fell_ns) / MS if market.fell_ns else 0.0
        self.alerts.say(Metric.GAP, market.id, now, bool(market.fell_ns), out_ms, lambda: self._watching(market, now), quality)
        if market.healed and market.fell_ns:  # one that came and went between two boundaries is told all the same
            market.fell_ns = 0
            self.alerts.say(Metric.GAP, market.id, now, False, nan, Context)
        market.healed = False

    def _judge(self, route: Route, now: Ns) -> None:
        found = route.step(now)
        kind = route.kind(now)
        tracker = route.tracker
        was_open = tracker.open
        peak, peak_ns = tracker.peak
        if isinstance(found, str):
            episode = tracker.refuse(now, found)
        else:
            episode = tracker.step(now, found, kind, route.fresh())
        if episode is not None and episode.closed_ns:
            self.episodes.append(episode)
            self._open.remove(route)
        elif tracker.open and not was_open:
            self._open.append(route)
        if route.id in self._resumed:
            if isinstance(found, str) or kind is RouteKind.UNSPLIT:
                return  # nothing is known yet of an edge that could be told
            close_bp = self.settings.arb.close_bp
            if not tracker.open and found.gate_bps >= close_bp:
                return
            self._resumed.remove(route.id)
            if not tracker.open:
                gone = "edge_collapsed" if found.edge_bps < close_bp else "fresh_edge_collapsed"
                self.alerts.say(Metric.ROUTE, route.id, now, False, nan, Context, gone)
        if not (was_open or tracker.open):
            return
        if episode is not None:
            peak, peak_ns = episode.peak.edge_bps, episode.peak_ns
        if peak == peak:
            self.alerts.peak(Metric.ROUTE, route.id, peak, peak_ns)
        edge = found.edge_bps if isinstance(found, RouteQuote) else nan
        told = tracker.open and kind is not RouteKind.UNSPLIT
        reason = episode.reason if episode is not None else ""
        closed_ns = episode.closed_ns if episode is not None else 0
        self.alerts.say(Metric.ROUTE, route.id, now, told, edge, lambda: self._trigger(route, now), reason, closed_ns)

    def _second(self, now: Ns) -> None:
        for market in self.markets.values():
            market.second(now, not leg_refusal(market, self.settings.guards, now, self._leg_guards))
            if self.alerts.watched(Metric.IMBALANCE):
                self.alerts.judge(Metric.IMBALANCE, market.id, now, market.obi, lambda m=market: self._watching(m, now))  # type: ignore[misc]
        for pair in self.pairs.values():
            pair.second(now)
            for metric, value in ((Metric.Z, pair.statistic.z), (Metric.BASIS, pair.statistic.value)):
                if self.alerts.watched(metric):
                    seen = value if pair.tradable_bps == pair.tradable_bps else nan
                    self.alerts.judge(metric, pair.id, now, seen, lambda p=pair: self._pair(p, now))  # type: ignore[misc]
        if self.alerts.watched(Metric.DEPEG):
            for coin, departure_bps in self.fx.departures_bps.items():
                self.alerts.judge(Metric.DEPEG, peg(coin), now, departure_bps, Context)
        self.alerts.peaks(now)

    def _moved(self, market: Market, book: OrderBook, now: Ns) -> None:
        market.bid, market.ask = book.bid, book.ask
        market.moved = True
        if self._open:
            for route in self._open:
                if route.buy is market or route.sell is market:
                    found = route.judge(now)
                    if isinstance(found, RouteQuote):
                        route.tracker.observe(now, found)
                        route.note(found, now)

    def _scopes(self) -> Mapping[str, Mapping[str, object]]:
        """What rules can be about, by kind and name."""
        pegs = {peg(coin): coin for coin in self.fx.departures_bps}
        return {"market": self.markets, "pair": self.pairs, "route": self.routes, "peg": pegs}

    def _forget(self, instrument: InstrumentId, now: Ns) -> Market:
        for route in self._routes_of.pop(instrument, []):
            closed = route.tracker.refuse(now, "instrument changed")
            if closed is not None:
                self.episodes.append(closed)
                self._open.remove(route)
                self.alerts.say(Metric.ROUTE, route.id, now, False, nan, Context, closed.reason)
            self.routes.pop(route.id, None)
            for kept in self._routes_of.values():
                if route in kept:
                    kept.remove(route)
        self.pairs = {name: pair for name, pair in self.pairs.items() if instrument not in (pair.reference.id, pair.other.id)}
        self._jumps.forget(instrument)
        return self.markets.pop(instrument)

    # -- what an alert says ------------------------------------------------------------------------------------------------

    def _leg(self, market: Market, role: str, price: float, base: float, now: Ns) -> Leg:
        book = market.book
        return Leg(
            instrument=market.id,
            role=role,
            price=price if price == price else None,
            size_base=base if base == base else None,
            age_ms=(now - book.recv_ns) / MS if book is not None else None,
        )

    def _watching(self, market: Market, now: Ns) -> Context:
        return Context((self._leg(market, "watch", market.mid, nan, now),))

    def _pair(self, pair: Pair, now: Ns) -> Context:
        return Context(tuple(self._leg(market, "watch", market.mid, nan, now) for market in (pair.other, pair.reference)))

    def _trigger(self, route: Route, now: Ns) -> Context:
        quote = route.quote
        if quote is None:
            return Context()
        return Context(
            (
                self._leg(route.buy, "buy", quote.buy_price, quote.base, now),
                self._leg(route.sell, "sell", quote.sell_price, quote.base, now),
            ),
            quote.fees_bps,
        )


def _touch_edge(route: Route, now: Ns) -> float:
    """The route's `touch_edge`, which is kept by changes of price; nan where silence has made it old since.

    Of a basis that stands only the fresh part counts: it is not money that waits.
    """
    if route.buy.fit and route.sell.fit and route.scales(now).axis is not Axis.RAW:
        quote = route.quote
        standing = quote is not None and route.kind(now, quote) is RouteKind.STANDING
        return quote.gate_bps if standing and quote is not None else route.touch_edge
    return nan
