"""Whether a market's data may be believed now, alone and beside another's (reliability 3.0, analytics 8.5).

Routes, the basis and the rules on them ask here, so that a figure that one of them refuses is not shown by another. The same of
a mark, by which an edge is split into what is carried and what is fresh (analytics 8.6).
"""

from collections.abc import Callable, Container, Sequence
from math import nan

from analytics.market import Market
from analytics.settings import Guards
from analytics.spread import MAX_AGE_NS, MAX_APART_NS, Quote, bps
from feeds.model import MS, SILENT, InstrumentId, Kind, LinkState, Ns
from feeds.orderbook import OrderBook

LegGuard = Callable[[Market, OrderBook, Guards, Ns], bool]
"""True when the leg passes."""

LEG_GUARDS: Sequence[tuple[str, LegGuard]] = (
    ("shutdown", lambda market, _b, _g, _n: market.status.link is not LinkState.CLOSED),
    ("disconnected", lambda market, _b, _g, _n: market.status.link is not LinkState.DOWN or market.status.reason == SILENT),
    ("stale", lambda market, book, _g, _n: book.leg.pulse.alive),
    ("state", lambda market, book, _g, _n: book.published),
    ("age", lambda market, book, g, now: now - book.leg.pulse.last_ns <= g.max_age_ms * MS),
    ("late", lambda market, book, g, _n: not book.leg.late_ns > g.late_over_own_p50_ms * MS),
    ("lag", lambda market, book, g, _n: not book.leg.lag_ns > g.max_lag_ms * MS),
)
"""In order, the root cause first. An unknown lateness or lag (nan) passes: it is no evidence."""

MARK_JUMP_BPS = 10.0
"""A mark that moves farther than this in one update is no measure until it has been told again."""
MARK_SETTLES_NS: Ns = 500 * MS
"""An update sooner than this after a jump does not confirm it: some venues repeat a mark several times a second."""


def in_step(one: OrderBook, other: OrderBook, guards: Guards) -> bool:
    """Whether the legs' lags differ by no more than allowed; by lateness where a lag is unknown."""
    apart = abs(one.leg.lag_ns - other.leg.lag_ns)
    if apart != apart:
        apart = abs(one.leg.late_ns - other.leg.late_ns)
    return not apart > guards.max_skew_ms * MS


def leg_refusal(market: Market, guards: Guards, now: Ns, table: Sequence[tuple[str, LegGuard]] = LEG_GUARDS) -> str:
    """The first reason why a market may not be believed; empty when it may."""
    book = market.book
    if book is None:
        return "state"
    return next((reason for reason, passes in table if not passes(market, book, guards, now)), "")


def pair_refusal(one: Market, other: Market, guards: Guards, now: Ns, table: Sequence[tuple[str, LegGuard]] = LEG_GUARDS) -> str:
    """The first reason, in the table's order, why two markets may not be compared; empty when they may.

    An empty table takes every guard out, the one between the legs as well.
    """
    if one.book is None or other.book is None:
        return "state"
    for reason, passes in table:
        if not (passes(one, one.book, guards, now) and passes(other, other.book, guards, now)):
            return reason
    return "skew" if table and not in_step(one.book, other.book, guards) else ""


class MarkJumps:
    """The markets whose mark has jumped and not been told again since; the engine's, fed with every mark."""

    __slots__ = ("_jumped_ns",)

    def __init__(self) -> None:
        self._jumped_ns: dict[InstrumentId, Ns] = {}

    def note(self, instrument: InstrumentId, before: Quote | None, price: float, now: Ns) -> None:
        """A mark of `price` that follows `before`; one that follows none is no jump."""
        if before is None:
            return
        if abs(bps(price, before.price)) > MARK_JUMP_BPS:
            self._jumped_ns[instrument] = now
        elif self._jumped_ns and now - self._jumped_ns.get(instrument, now) >= MARK_SETTLES_NS:
            del self._jumped_ns[instrument]

    def forget(self, instrument: InstrumentId) -> None:
        """Its marks begin anew."""
        self._jumped_ns.pop(instrument, None)

    def __contains__(self, instrument: object) -> bool:
        return instrument in self._jumped_ns


def mark_refusal(market: Market, jumps: Container[InstrumentId], now: Ns) -> str:
    """Why a market's mark does not split an edge now; empty where it does, and for spot, which is its own mark (desk 6.1).

    Mark and index must each be at most 10 s old and have been received at most 3 s apart (reliability 3.0), and the mark's last
    update no jump (analytics 8.6).
    """
    if market.instrument.kind is Kind.SPOT:
        return ""
    mark, index = market.mark, market.index
    if mark is None or index is None or not mark.price > 0.0:
        return "no mark"
    mark_ns, index_ns = mark.recv_ns, index.recv_ns
    if now - mark_ns > MAX_AGE_NS or now - index_ns > MAX_AGE_NS or abs(mark_ns - index_ns) > MAX_APART_NS:
        return "stale mark"
    return "mark jump" if market.id in jumps else ""


def anchor(market: Market) -> float:
    """The price by which a leg's own is fresh or not: its mark, or a spot's mid; nan where there is none. In quote units."""
    if market.instrument.kind is Kind.SPOT:
        return market.mid
    return market.mark.price if market.mark is not None else nan
