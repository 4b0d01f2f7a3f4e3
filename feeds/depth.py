"""The levels of one side of a book as arrays, for readers who look at all of them many times a second (BOOK).

A side's dict takes messages fast, but its thousands of numbers lie all over the memory: looking them up one by one costs 0.7 us
each by the time of the next frame. Here they lie side by side, and a reading takes in only what has changed since the last one:
the side notes the messages it applies, a reading works them in. Measured on three deep Binance books at ten frames a second:
0.4 ms a frame against 3.5.

Prices rise on either side. When a book may be read, and when a quote lies over it, is `OrderBook`'s business.
"""

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = NDArray[np.float64]

LONGEST_LOG: Final = 2_048
"""Levels: with more noted than this nobody has read for seconds, or reading the side anew costs no more than all the changes."""


class Depth:
    """The levels of a mapping price -> size when made; what is noted then is added by the next `read`."""

    __slots__ = ("_log", "_noted", "_prices", "_read", "_sizes")

    def __init__(self, sizes: Mapping[float, float]) -> None:
        prices = np.fromiter(sizes, float, len(sizes))
        held = np.fromiter(sizes.values(), float, len(sizes))
        order = prices.argsort()
        order = order[held[order] > 0.0]
        self._prices = array("d", prices[order].tobytes())
        self._sizes = array("d", held[order].tobytes())
        self._log: list[Sequence[tuple[float, float]]] = []
        self._noted = 0
        self._read = _copied(self._prices), _copied(self._sizes)

    def note(self, levels: Sequence[tuple[float, float]]) -> bool:
        """Keep an update (price, absolute size; 0 removes) for the next reading. False: it is too much, make a new one then."""
        self._log.append(levels)
        self._noted += len(levels) or 1
        return self._noted <= LONGEST_LOG

    def read(self) -> tuple[Column, Column]:
        """Prices, rising, and their sizes, all above 0. They cannot be written, and no update alters them."""
        if self._log:
            self._merge()
            self._log.clear()
            self._noted = 0
            self._read = _copied(self._prices), _copied(self._sizes)
        return self._read

    def _merge(self) -> None:
        """One by one: an insertion moves 40 KB at most, 1 us. Merged as arrays it costs twice as much at 25 levels a reading."""
        prices, sizes = self._prices, self._sizes
        for price, size in dict(chain.from_iterable(self._log)).items():
            place = bisect_left(prices, price)
            if place < len(prices) and prices[place] == price:
                if size:
                    sizes[place] = size
                else:
                    del prices[place], sizes[place]
            elif size:
                prices.insert(place, price)
                sizes.insert(place, size)


def laid_over(prices: Column, sizes: Column, best: float, size: float, sign: int) -> tuple[Column, Column]:
    """A side (bids `sign` +1, asks -1) under a newer best quote: what is not worse than it goes. Nothing where it is nan."""
    if best != best:
        return NOTHING, NOTHING
    if sign > 0:
        worse = prices.searchsorted(best)
        return np.concatenate((prices[:worse], (best,))), np.concatenate((sizes[:worse], (size,)))
    worse = prices.searchsorted(best, "right")
    return np.concatenate(((best,), prices[worse:])), np.concatenate(((size,), sizes[worse:]))


def _copied(held: "array[float]") -> Column:
    return np.frombuffer(held.tobytes())


NOTHING: Final = _copied(array("d"))
