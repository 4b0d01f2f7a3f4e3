"""Whether a market's data may be believed now, alone and beside another's (reliability 3.0, analytics 8.5).

Routes, the basis and the rules on them ask here, so that a figure that one of them refuses is not shown by another.
"""

from collections.abc import Callable, Sequence

from analytics.market import Market
from analytics.settings import Guards
from feeds.model import MS, SILENT, LinkState, Ns
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
