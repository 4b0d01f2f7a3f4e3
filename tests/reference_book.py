"""The reference L2 book: a `SortedDict` a side, obviously right and slow. The oracle for `feeds.orderbook`, tests and benchmarks.

It has the reader's interface of `OrderBook` (replace, apply, touch, bid and ask, levels, within) and shares no code with it. It
knows nothing of states: whoever uses it feeds it only what a SYNCED book would take.
"""

from collections.abc import Iterable
from math import nan

from sortedcontainers import SortedDict

Levels = list[tuple[float, float]]


class ReferenceSide:
    """Bids (`sign` +1) or asks (-1), best first in a `SortedDict` keyed by minus sign times price."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self._sizes: SortedDict[float, float] = SortedDict()

    def replace(self, levels: Iterable[tuple[float, float]]) -> None:
        self._sizes.clear()
        self.apply(levels)

    def apply(self, levels: Iterable[tuple[float, float]]) -> None:
        for price, size in levels:
            if size:
                self._sizes[-self.sign * price] = size
            else:
                self._sizes.pop(-self.sign * price, None)

    def best(self) -> tuple[float, float]:
        if not self._sizes:
            return nan, 0.0
        key, size = self._sizes.peekitem(0)
        return -self.sign * key, size

    def levels(self) -> Levels:
        return [(-self.sign * key, size) for key, size in self._sizes.items()]

    def __len__(self) -> int:
        return len(self._sizes)


class ReferenceBook:
    """Two sides and a best quote that lies over them while its number is above the book's."""

    def __init__(self) -> None:
        self.bids = ReferenceSide(1)
        self.asks = ReferenceSide(-1)
        self.seq = -1
        self._quote: tuple[float, float, float, float] | None = None
        self._quote_seq = -1

    def replace(self, bids: Iterable[tuple[float, float]], asks: Iterable[tuple[float, float]], seq: int) -> None:
        self.bids.replace(bids)
        self.asks.replace(asks)
        self._quote, self._quote_seq = None, -1
        self._follow(seq)

    def apply(self, bids: Iterable[tuple[float, float]], asks: Iterable[tuple[float, float]], seq: int) -> None:
        self.bids.apply(bids)
        self.asks.apply(asks)
        self._follow(seq)

    def touch(self, bid: float, bid_size: float, ask: float, ask_size: float, seq: int) -> bool:
        if seq <= self.seq or seq < self._quote_seq:
            return False
        self._quote, self._quote_seq = (bid, bid_size, ask, ask_size), seq
        return True

    @property
    def crossed(self) -> bool:
        """Best bid at or above best ask, of the levels or with the quote over them: what a reader must not see."""
        bids, asks = self._all()
        return bool(bids and asks and bids[0][0] >= asks[0][0]) or self.bids.best()[0] >= self.asks.best()[0]

    def best(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(price, size) of bid and ask; (nan, 0.0) for an empty side, and for both when crossed."""
        nothing = (nan, 0.0)
        if self.crossed:
            return nothing, nothing
        bids, asks = self._all()
        return (bids[0] if bids else nothing), (asks[0] if asks else nothing)

    def levels(self, count: int) -> tuple[Levels, Levels]:
        """Best first; nothing when crossed."""
        if self.crossed:
            return [], []
        bids, asks = self._all()
        return bids[: max(count, 0)], asks[: max(count, 0)]

    def within(self, bps: float) -> tuple[Levels, Levels]:
        """Levels at most `bps` from the middle; nothing when crossed or one-sided."""
        (bid, _), (ask, _) = self.best()
        middle = (bid + ask) / 2
        bids, asks = self._all()
        lowest, highest = middle * (1 - bps / 1e4), middle * (1 + bps / 1e4)
        if middle != middle:
            return [], []
        return [level for level in bids if level[0] >= lowest], [level for level in asks if level[0] <= highest]

    def _follow(self, seq: int) -> None:
        self.seq = seq
        if self._quote_seq <= seq:
            self._quote = None

    def _all(self) -> tuple[Levels, Levels]:
        bids, asks = self.bids.levels(), self.asks.levels()
        if self._quote is None:
            return bids, asks
        bid, bid_size, ask, ask_size = self._quote
        over_bids = [(bid, bid_size), *(level for level in bids if level[0] < bid)] if bid > 0 and bid_size > 0 else []
        over_asks = [(ask, ask_size), *(level for level in asks if level[0] > ask)] if ask > 0 and ask_size > 0 else []
        return over_bids, over_asks
