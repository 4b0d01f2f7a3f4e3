"""What the engine knows of one instrument: its book, its mark, index and funding, and the figures computed once a second.

One owner, the engine; nothing here reads a clock. A figure whose input is not fit is nan, never its last value.
"""

from math import exp, nan

from analytics.book_metrics import bands
from analytics.fx import FxRate, unknown
from analytics.reading import Reading
from analytics.settings import AnalyticsSettings
from analytics.spread import Quote, mark_index_bps, premium_bps
from analytics.statistic import Statistic
from analytics.walk import spend
from feeds.health import LegHealth, Pulse
from feeds.model import SECOND, BookState, Funding, Instrument, Kind, LinkState, Ns, Status, Trade
from feeds.orderbook import OrderBook

INDEX_MAX_AGE_NS: Ns = 10 * SECOND
NO_STATUS = Status(LinkState.CONNECTING, BookState.EMPTY)
DEPTH_BPS = (1.0, 5.0)
"""Widths whose dollar depth is shown."""
BEYOND = 1.05
"""The band is cut from a little more than it is wide, so that rounding leaves out no level on its edge."""


class Market:
    """State of one instrument. `bid` and `ask` are the touch last seen, to tell a change of price from a change of size."""

    __slots__ = (
        "_obi_ns",
        "_settings",
        "ask",
        "bid",
        "book",
        "fell_ns",
        "funding",
        "fx",
        "healed",
        "id",
        "index",
        "index_of",
        "instrument",
        "last_status",
        "last_trade",
        "last_trade_ns",
        "mark",
        "mark_index",
        "mark_new",
        "moved",
        "obi",
        "open_interest",
        "premium",
        "quote_volume_24h",
        "reading",
        "stale",
        "status",
    )

    def __init__(self, instrument: Instrument, settings: AnalyticsSettings) -> None:
        self.instrument = instrument
        self.id = instrument.id
        self._settings = settings
        self.book: OrderBook | None = None
        self.reading = Reading()
        """Of its book, for the routes it is a leg of."""
        self.status: Status = NO_STATUS
        self.last_status: Status = NO_STATUS
        """What it was before its source ended; of use once `status` is CLOSED."""
        self.stale = False
        """The link is dead, or was and has carried nothing since it was opened again."""
        self.fell_ns: Ns = 0
        """When the book fell by a gap and, at the last boundary, had not come back; 0 otherwise."""
        self.healed = False
        """It has come back since the last boundary."""
        self.bid = self.ask = nan
        self.moved = False
        """The touch price has changed since the last boundary."""
        self.mark: Quote | None = None
        self.index: Quote | None = None
        self.mark_new = False
        self.index_of: Market = self
        """Whose index stands for this instrument: its own, or that of the same venue's perp in the same quote for a spot."""
        self.fx: FxRate = unknown(instrument.quote)
        """What a unit of its quote is worth in dollars, as of the last boundary."""
        self.funding: Funding | None = None
        self.open_interest = nan
        self.quote_volume_24h = nan
        self.last_trade: Trade | None = None
        """The last print that touched the book: no block trade."""
        self.last_trade_ns: Ns = 0
        """When it was received."""
        self.mark_index = Statistic(settings.z)
        self.premium = Statistic(settings.z)
        self.obi = nan
        """Imbalance within the band, smoothed; -1 to 1."""
        self._obi_ns: Ns = 0

    @property
    def fit(self) -> bool:
        """Whether its book may be read: SYNCED, not crossed, and the link alive."""
        book = self.book
        return book is not None and book.published and book.leg.pulse.alive

    @property
    def mid(self) -> float:
        return self.book.mid if self.book is not None and self.fit else nan

    def still(self) -> "Market":
        """A copy of what ladders read, as it stands: its book no longer moves, and its link stays what it is."""
        found = Market(self.instrument, self._settings)
        found.status = self.status
        found.last_trade, found.last_trade_ns = self.last_trade, self.last_trade_ns
        found.index = self.index_of.index
        found.fx = self.fx
        if self.book is not None:
            pulse = Pulse(self.book.leg.pulse.opened_ns)
            pulse.last_ns, pulse.alive = self.book.leg.pulse.last_ns, self.book.leg.pulse.alive
            found.book = self.book.still(LegHealth(pulse))
        return found

    def own_index(self, now: Ns, max_age_ns: Ns = INDEX_MAX_AGE_NS) -> float:
        """The index this instrument is measured by; nan when it is too old, or its connection gone."""
        index = self.index_of.index
        return index.price if index is not None and now - index.recv_ns <= max_age_ns else nan

    def forget_ticker(self) -> None:
        """The connection that told mark, index, funding and open interest is gone: none of them is known any more."""
        self.mark = self.index = self.funding = None
        self.mark_new = False
        self.open_interest = self.quote_volume_24h = nan

    def second(self, now: Ns, believed: bool) -> None:
        """The 1 s grid: spreads against the index and, where the book may be `believed`, the imbalance round mid."""
        if self.mark_new:
            self.mark_new = False
            self.mark_index.push(now, mark_index_bps(self.mark, self.index, now).value_bps)
        else:
            self.mark_index.gap()
        book = self.book
        if book is None or not believed:
            self.obi = nan
            self.premium.gap()
            return
        width_bps = self._settings.obi.band_bps
        (band,) = bands(*book.within(BEYOND * width_bps), (width_bps,), self.instrument)
        self._smooth(now, band.imbalance.value)
        if self.index is None or self.instrument.kind is Kind.SPOT:
            return
        notional = self._settings.premium.impact_notional
        sold = self.reading.sold(book, spend, notional)
        bought = self.reading.bought(book, spend, notional)
        self.premium.push(now, premium_bps((sold.price + bought.price) / 2, self.index, now).value_bps)

    def _smooth(self, now: Ns, imbalance: float) -> None:
        if imbalance != imbalance or self.obi != self.obi:
            self.obi = imbalance  # a band without a level has no imbalance; the average starts over behind it
        else:
            keep = exp(-(now - self._obi_ns) / (self._settings.obi.tau_s * SECOND))
            self.obi = keep * self.obi + (1 - keep) * imbalance
        self._obi_ns = now


def index_source(market: Market, markets: list[Market]) -> Market:
    """The market whose index `market` is measured by (desk F3): itself, unless it is spot and its venue has such a perp."""
    own = market.instrument
    if own.kind is not Kind.SPOT:
        return market
    perps = [
        other
        for other in markets
        if other.instrument.kind is Kind.PERP
        and (other.instrument.venue, other.instrument.base, other.instrument.quote) == (own.venue, own.base, own.quote)
    ]
    return min(perps, key=lambda other: other.id, default=market)
