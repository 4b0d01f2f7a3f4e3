"""Spreads in basis points, with the rule that a stale price has no spread, and the class of a z-score.

Pure arithmetic on prices that others hold; no series is kept here. `spread` = mark against index, `premium` = the price at which
size trades (impact mid) against index: the latter is the default signal, because several venues compute their mark from the
index and the funding rate (BitMEX: entirely), so that its spread says nothing new.

Sources: analytics.md 0 (bps), 2 (spreads, BitMEX fair price marking) and 3 (classes); reliability.md 3.0 (freshness).
"""

from enum import StrEnum
from math import inf, nan
from typing import Final

from msgspec import Struct

from feeds.model import SECOND, Ns

STALE_INDEX: Final = "STALE_INDEX"
"""A price is older than `MAX_AGE_NS`, or the two are further apart than `MAX_APART_NS`."""
NO_PRICE: Final = "NO_PRICE"
"""A price is missing, or the reference is not a positive finite number."""
MAX_AGE_NS: Final[Ns] = 10 * SECOND
MAX_APART_NS: Final[Ns] = 3 * SECOND
MECHANICAL_BPS: Final = 0.1
"""A spread that leaves less than this beside its mechanical part is badged MECH."""


class Quote(Struct, frozen=True, gc=False):
    """A price of one stream (mark, index) and when it was received."""

    price: float
    recv_ns: Ns


class Spread(Struct, frozen=True, gc=False):
    """`value_bps`, or NaN and the reason why there is none."""

    value_bps: float
    reason: str = ""


class Signal(StrEnum):
    """What a z-score says to do with the spread: buying it = buying the derivative and selling the reference."""

    STRONG_SELL = "STRONG_SELL"
    WEAK_SELL = "WEAK_SELL"
    NEUTRAL = "NEUTRAL"
    WEAK_BUY = "WEAK_BUY"
    STRONG_BUY = "STRONG_BUY"


def bps(value: float | None, reference: float | None) -> float:
    """(value - reference) / reference * 1e4: positive when `value` is the dearer.

    NaN, never 0, when either is missing or not finite, or the reference (index, spot, buy price) is not positive: a dead index
    must not look like a perfect peg. Source: analytics.md 0.
    """
    if value is None or reference is None or not 0.0 < reference < inf or not -inf < value < inf:
        return nan
    return (value - reference) / reference * 1e4


def mark_index_bps(mark: Quote | None, index: Quote | None, now_ns: Ns) -> Spread:
    """Mark against index at `now_ns`: NaN with `STALE_INDEX` unless each is <= 10 s old and they were received <= 3 s apart.

    A price received after `now_ns` counts as new. Source: analytics.md 2, reliability.md 3.0.
    """
    if mark is None or index is None:
        return Spread(nan, NO_PRICE)
    older, newer = sorted((mark.recv_ns, index.recv_ns))
    if now_ns - older > MAX_AGE_NS or newer - older > MAX_APART_NS:
        return Spread(nan, STALE_INDEX)
    return _spread(mark.price, index.price)


def premium_bps(impact_mid: float | None, index: Quote | None, now_ns: Ns) -> Spread:
    """Impact mid (middle of `walk.spend` on both sides of a book readable now) against an index that is <= 10 s old at `now_ns`.

    NaN with `STALE_INDEX` for an older index, with `NO_PRICE` where either is missing. Source: analytics.md 2.
    """
    if index is None:
        return Spread(nan, NO_PRICE)
    if now_ns - index.recv_ns > MAX_AGE_NS:
        return Spread(nan, STALE_INDEX)
    return _spread(impact_mid, index.price)


def mechanical_bps(rate: float, interval_s: int, next_ns: Ns, now_ns: Ns) -> float:
    """The part of mark against index that the funding rate alone makes: rate * time left / interval, in bps.

    BitMEX perpetuals: all of the mark; Binance and Bybit: one of the three candidates for it (P1). `rate` is a fraction per
    interval. The time left is never below 0: the first mark after a stamp still carries the stamp that passed. NaN where the
    venue did not say the interval or the stamp (0). Source: analytics.md 2; BitMEX fair price marking.
    """
    if interval_s <= 0 or next_ns <= 0:
        return nan
    return rate * max(next_ns - now_ns, 0) / (interval_s * SECOND) * 1e4


def signal_class(z: float, threshold: float = 2.0) -> Signal | None:
    """Beyond `threshold` strong, beyond half of it weak, both strictly; None for a NaN z-score. Source: analytics.md 3."""
    if z != z:
        return None
    if z > threshold:
        return Signal.STRONG_SELL
    if z > threshold / 2:
        return Signal.WEAK_SELL
    if z < -threshold:
        return Signal.STRONG_BUY
    if z < -threshold / 2:
        return Signal.WEAK_BUY
    return Signal.NEUTRAL


def _spread(value: float | None, reference: float) -> Spread:
    value_bps = bps(value, reference)
    return Spread(value_bps, NO_PRICE if value_bps != value_bps else "")
