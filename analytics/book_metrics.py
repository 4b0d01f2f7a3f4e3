"""What the shape of one order book says: depth and imbalance near the mid, and the microprice.

Pure functions of one reading of a book; they neither hold a book nor smooth over time. A side is two parallel sequences, best
level first: prices (quote per base, finite, positive, not crossing the other side) and sizes (the venue's own unit, positive).
Every quantity that leaves is in base or quote units; contracts are converted by `Instrument`, an inverse contract's at the
price of each level. They run once a second a book over some 700 levels a side (analytics.md 16), so levels are summed in C.

What a size costs is `walk.py`'s business.

Sources: analytics.md 10; VAMP as in hftbacktest's order-book-imbalance notes; Stoikov 2018 on the microprice.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import nan
from operator import mul, neg, truediv
from typing import Final, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from feeds.model import Contract, Instrument

Column: TypeAlias = NDArray[np.float64]

ONE_SIDED: Final = "ONE_SIDED"
"""One side of the book is empty: the imbalance is +-1 by definition, not by observation."""
_SLACK: Final = 1e-12
# Relative: keeps a level that lies exactly on a band's edge inside it at any price scale; a tick is far wider than this.


class Imbalance(Struct, frozen=True, gc=False):
    """Bid and ask quantity in base units, and their balance."""

    bid_base: float
    ask_base: float

    @property
    def value(self) -> float:
        """(bid - ask) / (bid + ask) in [-1, 1]; +-1 with one side empty, NaN with both."""
        total = self.bid_base + self.ask_base
        return (self.bid_base - self.ask_base) / total if total else nan

    @property
    def ratio(self) -> float:
        """Bid over ask; NaN without asks."""
        return self.bid_base / self.ask_base if self.ask_base else nan

    @property
    def flag(self) -> str:
        """`ONE_SIDED` or empty."""
        return ONE_SIDED if (self.bid_base > 0.0) != (self.ask_base > 0.0) else ""


class Band(Struct, frozen=True, gc=False):
    """What rests within `width_bps` of mid, each side. The sums are NaN without a mid, that is with a side empty."""

    width_bps: float
    bid_base: float
    bid_quote: float
    ask_base: float
    ask_quote: float
    bid_whole: bool
    """The book holds levels beyond the band: the sum is not cut short by how deep the book is subscribed."""
    ask_whole: bool
    imbalance: Imbalance
    """OBI within the band, in base units. With one side empty: +-1, `ONE_SIDED`, the band drawn from the touch there is."""

    @property
    def vamp(self) -> float:
        """Volume-adjusted mid in quote per base: each side's mean price weighted by the other side's quantity; NaN if empty."""
        total = self.bid_base + self.ask_base
        if not (self.bid_base > 0.0 and self.ask_base > 0.0):
            return nan
        return (self.bid_quote / self.bid_base * self.ask_base + self.ask_quote / self.ask_base * self.bid_base) / total


class Microprice(Struct, frozen=True, gc=False):
    """`price` in quote per base, and how far it lies from mid."""

    price: float
    deviation_bps: float


def bands(
    bid_prices: Sequence[float],
    bid_sizes: Sequence[float],
    ask_prices: Sequence[float],
    ask_sizes: Sequence[float],
    widths_bps: Sequence[float],
    instrument: Instrument,
) -> tuple[Band, ...]:
    """Depth and imbalance within each of `widths_bps` of mid, edges included, in one pass over the levels.

    Args:
        bid_prices, bid_sizes, ask_prices, ask_sizes: the two sides, best first.
        widths_bps: rising and positive, such as (5, 10, 25, 50).
        instrument: for contract units.

    Raises:
        ValueError: widths that do not rise from above 0.

    Source: analytics.md 10 (OBI_x, depth_x, VAMP_x).
    """
    if any(wide <= narrow for narrow, wide in zip((0.0, *widths_bps), widths_bps, strict=False)):
        raise ValueError(f"band widths {list(widths_bps)} bps: need to rise from above 0")
    if not bid_prices or not ask_prices:
        bid_sums, _ = _sums(bid_prices, bid_sizes, bid_prices[0] if bid_prices else nan, widths_bps, -1.0, instrument)
        ask_sums, _ = _sums(ask_prices, ask_sizes, ask_prices[0] if ask_prices else nan, widths_bps, 1.0, instrument)
        return tuple(
            Band(width, nan, nan, nan, nan, False, False, Imbalance(bid_base, ask_base))
            for width, (bid_base, _), (ask_base, _) in zip(widths_bps, bid_sums, ask_sums, strict=True)
        )
    mid = (bid_prices[0] + ask_prices[0]) / 2
    bid_sums, bid_counts = _sums(bid_prices, bid_sizes, mid, widths_bps, -1.0, instrument)
    ask_sums, ask_counts = _sums(ask_prices, ask_sizes, mid, widths_bps, 1.0, instrument)
    return tuple(
        Band(
            width,
            *bid_sum,
            *ask_sum,
            bid_count < len(bid_prices),
            ask_count < len(ask_prices),
            Imbalance(bid_sum[0], ask_sum[0]),
        )
        for width, bid_sum, ask_sum, bid_count, ask_count in zip(
            widths_bps, bid_sums, ask_sums, bid_counts, ask_counts, strict=True
        )
    )


def quote_within(
    bid_prices: Column,
    bid_sizes: Column,
    ask_prices: Column,
    ask_sizes: Column,
    widths_bps: Sequence[float],
    instrument: Instrument,
) -> tuple[tuple[float, float], ...]:
    """What rests within each of `widths_bps` of mid, edges included, in quote units: (bids, asks) a width; () with a side empty.

    The same sums as those of `bands`, of whole sides as arrays whose prices rise on both (`OrderBook.depth`): for who asks at
    every frame.
    """
    if not len(bid_prices) or not len(ask_prices):
        return ()
    mid = float(bid_prices[-1] + ask_prices[0]) / 2
    found = []
    for width in widths_bps:
        begin = int(bid_prices.searchsorted(mid * (1.0 - width / 1e4) * (1.0 - _SLACK)))
        end = int(ask_prices.searchsorted(mid * (1.0 + width / 1e4) * (1.0 + _SLACK), "right"))
        found.append(
            (
                _quote(bid_prices[begin:], bid_sizes[begin:], instrument),
                _quote(ask_prices[:end], ask_sizes[:end], instrument),
            )
        )
    return tuple(found)


def imbalance(
    bid_prices: Sequence[float],
    bid_sizes: Sequence[float],
    ask_prices: Sequence[float],
    ask_sizes: Sequence[float],
    levels: int,
    instrument: Instrument,
) -> Imbalance:
    """Imbalance of the best `levels` levels a side, in base units (OBI_N, analytics.md 10).

    It says little for a small N: of perfectly symmetric books 24 % lie beyond 0.3 at N = 10.
    """
    return Imbalance(
        base_and_quote(bid_prices[:levels], bid_sizes[:levels], instrument)[0],
        base_and_quote(ask_prices[:levels], ask_sizes[:levels], instrument)[0],
    )


def microprice(bid: float, bid_size: float, ask: float, ask_size: float, instrument: Instrument) -> Microprice:
    """The touch weighted by the other side's size: mid + OBI_1 * spread / 2 (analytics.md 10).

    Args:
        bid, ask: touch prices, quote per base.
        bid_size, ask_size: in the venue's unit; both 0 gives NaN.
    """
    bid_base = instrument.to_base(bid_size, bid)
    ask_base = instrument.to_base(ask_size, ask)
    total = bid_base + ask_base
    if not total > 0.0:
        return Microprice(nan, nan)
    mid = (bid + ask) / 2
    step = (ask - bid) / 2 * ((bid_base - ask_base) / total)
    return Microprice(mid + step, step / mid * 1e4)


def base_and_quote(prices: Sequence[float], sizes: Sequence[float], instrument: Instrument) -> tuple[float, float]:
    """Levels summed in base and quote units; sizes in the venue's unit.

    `to_base` and `to_quote` are linear in size, so once the price is folded in they may convert the sum instead of each level:
    two calls instead of two a level.
    """
    if instrument.contract is Contract.INVERSE:
        return instrument.to_base(sum(map(truediv, sizes, prices)), 1.0), instrument.to_quote(sum(sizes), 1.0)
    return instrument.to_base(sum(sizes), 1.0), instrument.to_quote(sum(map(mul, prices, sizes)), 1.0)


def _quote(prices: Column, sizes: Column, instrument: Instrument) -> float:
    total = sizes.sum() if instrument.contract is Contract.INVERSE else prices @ sizes
    return instrument.to_quote(float(total), 1.0)


def _sums(
    prices: Sequence[float],
    sizes: Sequence[float],
    origin: float,
    widths_bps: Sequence[float],
    away: float,
    instrument: Instrument,
) -> tuple[list[tuple[float, float]], list[int]]:
    """Running (base, quote) out to each width from `origin`, and the levels they took. `away` is -1 for bids, 1 for asks."""
    sums: list[tuple[float, float]] = []
    counts: list[int] = []
    base = quote = 0.0
    begin = 0
    for width in widths_bps:
        edge = origin * (1.0 + away * width / 1e4)
        if away > 0:
            end = bisect_right(prices, edge * (1.0 + _SLACK), begin)
        else:
            end = bisect_right(prices, -edge * (1.0 - _SLACK), begin, key=neg)
        ring_base, ring_quote = base_and_quote(prices[begin:end], sizes[begin:end], instrument)
        base += ring_base
        quote += ring_quote
        sums.append((base, quote))
        counts.append(end)
        begin = end
    return sums, counts
