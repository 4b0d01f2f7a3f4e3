"""What the engine knows of one instrument: its book, its mark, index and funding, and the figures computed once a second.

One owner, the engine; no statistic here reads a clock. A figure whose input is not fit is nan, never its last value.
"""

from collections import deque
from math import exp, nan

from analytics import book_metrics, spread
from analytics.settings import AnalyticsSettings
from analytics.statistic import Statistic
from feeds.model import SECOND, BookState, Funding, Instrument, Kind, LinkState, Ns, Status, Trade
from feeds.orderbook import OrderBook

INDEX_MAX_AGE_NS: Ns = 10 * SECOND
NO_STATUS = Status(LinkState.CONNECTING, BookState.EMPTY)


class Market:
    """State of one instrument. `bid` and `ask` are the touch last seen, to tell a change of price from a change of size."""

    __slots__ = (
        "ask",
        "bid",
        "book",
        "depth",
        "fell_ns",
        "funding",
        "index",
        "index_ns",
        "index_of",
        "instrument",
        "last_trade",
        "mark",
        "mark_new",
        "mark_ns",
        "mark_index",
        "moved",
        "obi",
        "open_interest",
        "premium",
        "quote_volume_24h",
        "status",
        "_obi_ns",
        "_settings",
    )

    def __init__(self, instrument: Instrument, settings: AnalyticsSettings) -> None:
        self.instrument = instrument
        self._settings = settings
        self.book: OrderBook | None = None
        self.status: Status = NO_STATUS
        self.fell_ns: Ns = 0
        """When the book last fell; 0 before it ever did."""
        self.bid = self.ask = nan
        self.moved = False
        """The touch price has changed since the last boundary."""
        self.mark = self.index = nan
        self.mark_ns: Ns = 0
        self.index_ns: Ns = 0
        self.mark_new = False
        self.index_of: Market = self
        """Whose index stands for this instrument: its own, or that of the same venue's perp in the same quote for a spot."""
        self.funding: Funding | None = None
        self.open_interest = nan
        self.quote_volume_24h = nan
        self.last_trade: Trade | None = None
        self.mark_index = Statistic(settings.z)
        self.premium = Statistic(settings.z)
        self.depth: book_metrics.Depth | None = None
        self.obi = nan
        self._obi_ns: Ns = 0

    @property
    def fit(self) -> bool:
        """Whether its book may be read: SYNCED, not crossed, and the link alive."""
        book = self.book
        return book is not None and book.published and book.leg.pulse.alive

    @property
    def mid(self) -> float:
        return self.book.mid if self.book is not None and self.fit else nan

    def own_index(self, now: Ns) -> float:
        """The index this instrument is measured by; nan when it is more than 10 s old."""
        source = self.index_of
        return source.index if now - source.index_ns <= INDEX_MAX_AGE_NS else nan

    def second(self, now: Ns) -> None:
        """The 1 s grid: spreads against the index, and the sums over the band round mid."""
        if self.mark_new:
            self.mark_new = False
            value, _reason = spread.mark_index_bps(self.mark, self.mark_ns, self.index, self.index_ns, now)
            self.mark_index.push(now, value)
        if not self.fit or self.book is None:
            self.depth = None
            self.obi = nan
            return
        band = self._settings.obi.band_bps
        self.depth = book_metrics.depth(*self.book.within(band), self.instrument, band)
        self._smooth(now, self.depth.imbalance)
        index = self.own_index(now)
        if index == index and self.instrument.kind is not Kind.SPOT:
            bid_prices, bid_sizes, ask_prices, ask_sizes = self.book.within(band)
            notional = self._settings.premium.impact_notional
            middle = book_metrics.impact_mid(bid_prices, bid_sizes, ask_prices, ask_sizes, notional, self.instrument)
            self.premium.push(now, spread.premium_bps(middle, index))

    def _smooth(self, now: Ns, imbalance: float) -> None:
        if imbalance != imbalance:
            return
        if self.obi != self.obi:
            self.obi = imbalance
        else:
            keep = exp(-(now - self._obi_ns) / (self._settings.obi.tau_s * SECOND))
            self.obi = keep * self.obi + (1 - keep) * imbalance
        self._obi_ns = now


def index_source(market: Market, markets: list[Market]) -> Market:
    """The market whose index `market` is measured by (desk F3): itself unless it is spot."""
    own = market.instrument
    if own.kind is not Kind.SPOT:
        return market
    for other in markets:
        found = other.instrument
        if found.kind is Kind.PERP and (found.venue, found.base, found.quote) == (own.venue, own.base, own.quote):
            return other
    return market


HISTORY_SECONDS = 3_600


def history() -> deque[tuple[Ns, float]]:
    """An hour of (ns, value) on the 1 s grid."""
    return deque(maxlen=HISTORY_SECONDS)
