"""A book's best levels at one of its versions, read once for everyone who asks.

A market is a leg of many routes, and ten times a second most of them walk it at the same size: reading its levels is what costs
(measured with 46 markets: four fifths of a boundary). Nothing is kept beyond the next change of the book.
"""

from collections.abc import Callable
from functools import partial

from analytics.walk import Fill, Levels, fill
from feeds.model import Instrument
from feeds.orderbook import OrderBook

Walk = Callable[[Levels, Instrument, float], Fill]
"""`spend` or `take`."""


class Reading:
    """Levels and fills of one book. Not for a book whose sides are changed behind its back: `version` must tell."""

    __slots__ = ("_book", "_fills", "_levels", "_version")

    def __init__(self) -> None:
        self._book: OrderBook | None = None
        self._version = -1
        self._fills: dict[tuple[Walk, bool, float], Fill] = {}
        self._levels: dict[tuple[bool, int], Levels] = {}

    def bought(self, book: OrderBook, walk: Walk, size: float) -> Fill:
        """What buying from the asks comes to."""
        return self._filled(book, walk, False, size)

    def sold(self, book: OrderBook, walk: Walk, size: float) -> Fill:
        """What selling into the bids comes to."""
        return self._filled(book, walk, True, size)

    def asks(self, book: OrderBook, count: int) -> Levels:
        """Up to so many of the best, the touch laid over them; not to be changed."""
        self._turn_to(book)
        key = False, count
        found = self._levels.get(key)
        if found is None:
            found = self._levels[key] = book.ask_levels(count)
        return found

    def bids(self, book: OrderBook, count: int) -> Levels:
        """The like of the other side."""
        self._turn_to(book)
        key = True, count
        found = self._levels.get(key)
        if found is None:
            found = self._levels[key] = book.bid_levels(count)
        return found

    def _turn_to(self, book: OrderBook) -> None:
        if book is not self._book or book.version != self._version:
            self._book, self._version = book, book.version
            self._fills.clear()
            self._levels.clear()

    def _filled(self, book: OrderBook, walk: Walk, bids: bool, size: float) -> Fill:
        self._turn_to(book)
        key = walk, bids, size
        found = self._fills.get(key)
        if found is None:
            levels = partial(self.bids if bids else self.asks, book)
            found = self._fills[key] = fill(levels, walk, book.instrument, size)
        return found
