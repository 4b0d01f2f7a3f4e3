"""Routes: buy here, sell there, and what is left at size after every fee, in and out (desk F3 and 6.1, analytics 8).

A route runs between any two markets of one base. The axis rule says how their prices may be compared at all; the guards, in
order, whether both legs may be believed now; the walk what the size costs. The edge that opens an episode is
`in - fees - 2 * fx uncertainty`. Four fees unless both legs are spot (LOCKED).

Marks split the edge of a route with a derivative: `1 + in` = index gap x carried premium x what is fresh, each leg's price
against its own mark, a spot's against its own mid. A derivative is pulled to its mark; nothing pulls two marks together, so an
edge that is not fresh is a standing basis and no opportunity (analytics 8.6, desk 6.1).
"""

from collections.abc import Callable, Container, Sequence
from enum import StrEnum
from math import inf, nan
from typing import NamedTuple

from analytics.fees import FeeSchedule, locked
from analytics.fitness import LEG_GUARDS, LegGuard, anchor, mark_refusal, pair_refusal
from analytics.market import Market
from analytics.settings import AnalyticsSettings
from analytics.tracker import RouteQuote, Tracker
from analytics.walk import Executable, execute, round_down, spend, take
from feeds.model import SECOND, InstrumentId, Ns
from feeds.orderbook import OrderBook

DOLLARS = frozenset({"USD", "USDT", "USDC"})
"""Quotes whose unit is taken for a dollar when a size is cut, and for nothing else."""
EXECUTABLE_LEVELS = (1, 16, 256)
"""How many levels are read, the few first: where the edge ends within them, more would change nothing."""
AXIS_INDEX_AGE_NS: Ns = 2 * SECOND
"""Two periods of the indices there are. The ten seconds of reliability 3.0 are for showing an index, not for an edge on it."""
ROUNDING_BPS = 1e-8
"""By how much an edge at size may come out above the touches' for arithmetic's sake."""


class Axis(StrEnum):
    """How the prices of two markets are compared."""

    PRICE = "price"
    """Same quote."""
    INDEX = "own index"
    """Each leg in bp of its own index."""
    CONVERTED = "converted"
    """Both in US dollars, by the rates of `analytics/fx.py`."""
    RAW = "RAW"
    """Different quotes, nothing to convert by: statistics under that word, never a route."""


class RouteKind(StrEnum):
    LOCKED = "LOCKED"
    """Spot to spot with inventory on both sides: two fees."""
    CONVERGENCE = "CONVERGENCE"
    """At least one leg must be unwound: four fees."""
    STANDING = "STANDING BASIS"
    """An edge worth opening that the marks carry: it need not converge. Shown, never an episode."""
    UNSPLIT = "UNSPLIT"
    """A derivative without a fresh mark: a standing basis cannot be told from a fresh edge. Tracked, never alerted."""


class Scales(NamedTuple):
    """What one quote unit of each leg counts on the common axis."""

    axis: Axis
    buy: float
    sell: float
    uncertainty_bps: float = 0.0
    """Of the rates between them, where they are converted."""


AxisRule = Callable[[Market, Market, Ns], Scales]


def axis_rule(buy: Market, sell: Market, now: Ns) -> Scales:
    """Desk F3, in order: same quote, own index, converted, RAW.

    Prices that move are compared by indices that must be of one moment: each at most 2 s old, and at most that far apart. One
    that only hesitates is a gap and no other measure: nothing is converted until one has been gone for 10 s.
    """
    if buy.instrument.quote == sell.instrument.quote:
        return Scales(Axis.PRICE, 1.0, 1.0)
    buy_index, sell_index = buy.own_index(now, AXIS_INDEX_AGE_NS), sell.own_index(now, AXIS_INDEX_AGE_NS)
    if buy_index == buy_index and sell_index == sell_index:
        return Scales(Axis.INDEX, 1.0 / buy_index, 1.0 / sell_index)
    hesitates = buy.own_index(now) > 0 and sell.own_index(now) > 0
    if hesitates or not (buy.fx.usd > 0 and sell.fx.usd > 0):
        return Scales(Axis.RAW, nan, nan)
    return Scales(Axis.CONVERTED, buy.fx.usd, sell.fx.usd, buy.fx.uncertainty_bps + sell.fx.uncertainty_bps)


class Bailout(NamedTuple):
    """In and out at once: what closing now would cost in bp of the entry's buy price, and what is left after all fees."""

    out_bps: float
    bailout_bps: float


class Route:
    """One direction between two markets."""

    __slots__ = (
        "_axis_rule",
        "_conversion_bps",
        "_guards",
        "_jumps",
        "_seen",
        "_settings",
        "axis",
        "buy",
        "buy_fee",
        "crosses",
        "fees_bps",
        "id",
        "last_reason",
        "last_refusal",
        "locked",
        "nearest",
        "nearest_ns",
        "quote",
        "refusals",
        "sell",
        "sell_fee",
        "touch_edge",
        "tracker",
    )

    def __init__(
        self,
        buy: Market,
        sell: Market,
        settings: AnalyticsSettings,
        fees: FeeSchedule,
        rule: AxisRule = axis_rule,
        leg_guards: Sequence[tuple[str, LegGuard]] = LEG_GUARDS,
        jumps: Container[InstrumentId] = frozenset(),
    ) -> None:
        """`jumps`: the markets whose mark has just jumped."""
        self.buy = buy
        self.sell = sell
        self.id = f"{buy.id} > {sell.id}"
        self._settings = settings
        self._axis_rule = rule
        self._guards = leg_guards
        self._jumps = jumps
        self.locked = locked(buy.instrument, sell.instrument)
        self.buy_fee, self.sell_fee = fees.leg_fees(buy.instrument, sell.instrument) or (nan, nan)
        self.fees_bps = round((self.buy_fee + self.sell_fee) * 1e4, 9)  # 21, not 21.000000000000004
        """All fees of the round trip in bp; nan when one is not known, which refuses the route."""
        self.crosses = buy.instrument.quote != sell.instrument.quote
        """The legs' quotes differ."""
        self._conversion_bps = settings.fees.conversion_bp if settings.fees.tier != "none" else 0.0
        self.tracker = Tracker(self.id, settings.arb, settings.guards)
        self.touch_edge = nan
        """Edge of the two touches: an upper bound of the edge at any size."""
        self.quote: RouteQuote | None = None
        """At the last boundary at which the route was judged and passed; None otherwise."""
        self.nearest: RouteQuote | None = None
        self.nearest_ns: Ns = 0
        """The best edge that passed every guard so far, and when."""
        self.axis = Axis.RAW if self.crosses else Axis.PRICE
        """The axis last in use; RAW only where there never was a better one."""
        self.last_reason = "state"
        """Why it was refused when last judged; empty when it was not."""
        self.refusals: dict[str, int] = {}
        self.last_refusal: tuple[Ns, str, float] | None = None
        """When, why, and the touch edge it had: the last time an edge worth opening was refused."""
        self._seen: tuple[int, ...] = ()

    def scales(self, now: Ns) -> Scales:
        return self._axis_rule(self.buy, self.sell, now)

    def fx_bps(self, scales: Scales) -> float:
        """What a conversion takes from the edge: its cost, and twice the uncertainty of the rates (desk 6.1)."""
        return self._conversion_bps + 2 * scales.uncertainty_bps if scales.axis is Axis.CONVERTED else 0.0

    def unsplit(self, now: Ns) -> str:
        """Why marks do not split the edge now; empty where they do, and between spots, where there is nothing to split."""
        if self.locked:
            return ""
        return mark_refusal(self.buy, self._jumps, now) or mark_refusal(self.sell, self._jumps, now)

    def kind(self, now: Ns, quote: RouteQuote | None = None) -> RouteKind:
        """The route's class by its legs and marks; with a `quote`, at whatever size, also whether its edge is a standing one."""
        if self.locked:
            return RouteKind.LOCKED
        if self.unsplit(now):
            return RouteKind.UNSPLIT
        return RouteKind.STANDING if quote is not None and self._stands(quote) else RouteKind.CONVERGENCE

    def look(self, now: Ns) -> None:
        """Bring `touch_edge` up to date: cheap, for every change of a touch price."""
        buy, sell = self.buy, self.sell
        if not self.crosses:
            self.touch_edge = (sell.bid - buy.ask) / buy.ask * 1e4 - self.fees_bps
            return
        scales = self.scales(now)
        if scales.axis is not Axis.RAW:
            self.axis = scales.axis
        ask = buy.ask * scales.buy
        self.touch_edge = (sell.bid * scales.sell - ask) / ask * 1e4 - self.fees_bps - self.fx_bps(scales)

    @property
    def interesting(self) -> bool:
        """Whether judging it in full can change anything: an episode is near or open, or a nearer edge than the best so far."""
        if not self.tracker.idle:
            return True
        best = self.nearest.edge_bps if self.nearest is not None else -inf
        upper = self.touch_edge + ROUNDING_BPS
        return upper >= self._settings.arb.open_bp or upper > best

    def judge(self, now: Ns, size_usd: float | None = None) -> RouteQuote | str:
        """The route at size, or the first reason why it may not be believed. Without `size_usd` it is the configured size."""
        refused = pair_refusal(self.buy, self.sell, self._settings.guards, now, self._guards)
        if refused:
            return refused
        buy_book, sell_book = self.buy.book, self.sell.book
        if buy_book is None or sell_book is None:
            return "state"
        scales = self.scales(now)
        if scales.axis is Axis.RAW:
            return "quote"
        if self.fees_bps != self.fees_bps:
            return "fees"
        quote = self.at_size(buy_book, sell_book, scales, size_usd, self._carried(now))
        if isinstance(quote, str):
            return quote
        if abs(quote.in_bps) > self._settings.guards.plausible_bp:
            return "unit"
        return quote

    def at_size(
        self, buy_book: OrderBook, sell_book: OrderBook, scales: Scales, size_usd: float | None = None, carried: float = nan
    ) -> RouteQuote | str:
        """Both books walked at the size (0: the touch). `carried`: the sell leg's mark over the buy leg's, each in its own quote;
        nan leaves the edge whole."""
        size = self._settings.size.default if size_usd is None else size_usd
        buy, sell = self.buy.instrument, self.sell.instrument
        if not size:
            ask, bid = buy_book.ask, sell_book.bid
            if ask != ask or bid != bid:
                return "depth"
            base = min(buy.to_base(buy_book.ask_size, ask), sell.to_base(sell_book.bid_size, bid))
            return self._quote(ask, bid, base, scales, carried)
        if buy.quote not in DOLLARS:
            return "fx"
        bought = self.buy.reading.bought(buy_book, spend, size)
        if not bought.complete:
            return "depth"
        sold = self.sell.reading.sold(sell_book, take, bought.base)
        if not sold.complete:
            return "depth"
        if size < self._settings.guards.min_leg_usd:
            return "size"
        if not round_down(bought.base, buy, sell, bought.price) or size < buy.min_notional or sold.quote < sell.min_notional:
            return "lot"
        return self._quote(bought.price, sold.price, bought.base, scales, carried)

    def step(self, now: Ns) -> RouteQuote | str:
        """A boundary: judge and remember; the tracker is the caller's to feed with what this returns."""
        found = self.judge(now)
        self.last_reason = found if isinstance(found, str) else ""
        if isinstance(found, str):
            self.quote = None
            if self.touch_edge >= self._settings.arb.open_bp:
                self._refused(now, found)
            return found
        if self._stands(found):
            self._refused(now, "standing")
        self.quote = found
        self.note(found, now)
        return found

    def note(self, quote: RouteQuote, now: Ns) -> None:
        """Remember it if no better one has passed so far."""
        if self.nearest is None or quote.edge_bps > self.nearest.edge_bps:
            self.nearest, self.nearest_ns = quote, now

    def fresh(self) -> bool:
        """Whether either book, or an index that the prices are compared by, has changed since the last call."""
        seen = (*self._data(self.buy), *self._data(self.sell))
        changed = seen != self._seen
        self._seen = seen
        return changed

    def bailout(self, quote: RouteQuote, now: Ns) -> Bailout:
        """What it would be worth to open and close at once, at the size of `quote`; nan where a book does not hold it."""
        buy_book, sell_book = self.buy.book, self.sell.book
        scales = self.scales(now)
        if buy_book is None or sell_book is None:
            return Bailout(nan, nan)
        back = self.buy.reading.sold(buy_book, take, quote.base)
        cover = self.sell.reading.bought(sell_book, take, quote.base)
        out = (cover.price * scales.sell - back.price * scales.buy) / (quote.buy_price * scales.buy) * 1e4
        fees_bps = self.fees_bps * (2 if self.locked else 1)  # in and out is four fills, whatever is held
        return Bailout(out, quote.in_bps - out - fees_bps - quote.fx_bps)

    def executable(self, now: Ns) -> Executable | None:
        """What could be done now while each further unit still earns its fees; None where the route may not be believed."""
        buy_book, sell_book = self.buy.book, self.sell.book
        scales = self.scales(now)
        if buy_book is None or sell_book is None or scales.axis is Axis.RAW or self.fees_bps != self.fees_bps:
            return None
        paid = 1.0 + self.fx_bps(scales) / 1e4
        for count in EXECUTABLE_LEVELS:
            found = execute(
                self.buy.reading.asks(buy_book, count),
                self.sell.reading.bids(sell_book, count),
                self.buy.instrument,
                self.sell.instrument,
                buy_scale=scales.buy * paid,
                sell_scale=scales.sell,
                buy_fee=self.buy_fee,
                sell_fee=self.sell_fee,
                min_average_bps=self._settings.arb.open_bp,
            )
            if found.binding == "edge":
                break
        return found

    def _data(self, leg: Market) -> tuple[int, Ns]:
        version = leg.book.version if leg.book is not None else -1
        if not self.crosses or leg.index_of.index is None:
            return version, 0
        return version, leg.index_of.index.recv_ns

    def _carried(self, now: Ns) -> float:
        return nan if self.locked or self.unsplit(now) else anchor(self.sell) / anchor(self.buy)

    def _stands(self, quote: RouteQuote) -> bool:
        """Whether only the fresh edge keeps it from opening."""
        open_bp = self._settings.arb.open_bp
        return quote.edge_bps >= open_bp > quote.fresh_bps and not self.tracker.open

    def _refused(self, now: Ns, reason: str) -> None:
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        self.last_refusal = (now, reason, self.touch_edge)

    def _quote(self, buy_price: float, sell_price: float, base: float, scales: Scales, carried: float) -> RouteQuote:
        """The fresh edge pays all fees of the route and its conversion, as the edge does: it is what the trade earns, in and out,
        if each leg only comes back to its mark. One fee a leg would call fresh what cannot be closed at a profit."""
        cost = buy_price * scales.buy
        in_bps = (sell_price * scales.sell - cost) / cost * 1e4
        fees_bps, fx_bps = self.fees_bps, self.fx_bps(scales)
        paid_bps = fees_bps + fx_bps
        fresh_bps = (sell_price / (buy_price * carried) - 1.0) * 1e4 - paid_bps if carried == carried else nan
        return RouteQuote(buy_price, sell_price, base, in_bps, fees_bps, in_bps - paid_bps, fresh_bps, fx_bps)
