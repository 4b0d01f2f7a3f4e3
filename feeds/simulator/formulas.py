"""Index, mark, premium and funding by each venue's own rule, written once more and small: this is what the program is judged by.

Sources: analytics.md 2 and 11 (Binance's rules of 2025-09-18, Bybit's v5 documentation). Premia and rates are fractions; a rate
is for one interval, positive when longs pay. No state but the running averages, no clock.
"""

from collections import deque
from collections.abc import Iterable, Sequence

INTEREST_A_DAY = 0.0003
DAY_S = 86_400
FUNDING_CLAMP = 0.0005
OUTLIER = 0.05
"""A constituent farther than this from the median of all is moved to that distance before it is weighed."""
IMPACT_QUOTE = 25_000.0
"""Impact notional: 200 USDT over the smallest initial margin, 0.8 %."""


def clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the two."""
    ranked = sorted(values)
    half = len(ranked) // 2
    return ranked[half] if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) / 2


def index_price(constituents: Sequence[tuple[float, float]]) -> float:
    """Weighted mean of (price, weight), outliers drawn in."""
    centre = median(price for price, _ in constituents)
    low, high = centre * (1 - OUTLIER), centre * (1 + OUTLIER)
    total = sum(weight for _, weight in constituents)
    return sum(clamp(price, low, high) * weight for price, weight in constituents) / total


def premium(impact_bid: float, impact_ask: float, index: float) -> float:
    """Premium index: how far the impact prices stand outside the index price."""
    return (max(0.0, impact_bid - index) - max(0.0, index - impact_ask)) / index


class WeightedPremium:
    """Average of an interval's premia with weights 1, 2, 3, ...: the later the heavier."""

    __slots__ = ("count", "weighted")

    def __init__(self) -> None:
        self.count = 0
        self.weighted = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.weighted += self.count * value

    @property
    def mean(self) -> float:
        """0 before the first premium."""
        return self.weighted * 2 / (self.count * (self.count + 1)) if self.count else 0.0


class MovingAverage:
    """Mean of the last `size` samples."""

    __slots__ = ("_held", "_size", "_sum")

    def __init__(self, size: int) -> None:
        self._held: deque[float] = deque()
        self._size = size
        self._sum = 0.0

    def add(self, value: float) -> float:
        """The mean with `value` in it."""
        self._held.append(value)
        self._sum += value
        if len(self._held) > self._size:
            self._sum -= self._held.popleft()
        return self._sum / len(self._held)


class VenueRules:
    """What Binance and Bybit do differently: averaging spans and how a premium becomes a rate."""

    def __init__(self, venue: str, interval_s: int) -> None:
        self.venue = venue
        self.interval_s = interval_s
        self.cap = 0.0005 * interval_s / 3_600
        self.premium_every_s = {"BINANCE": 5, "BYBIT": 60}[venue]
        self.basis_span_s = {"BINANCE": 30, "BYBIT": 300}[venue]

    def funding(self, mean_premium: float) -> float:
        """The rate of one interval."""
        hours = self.interval_s / 3_600
        if self.venue == "BINANCE":
            interest = INTEREST_A_DAY / 3
            rate = (mean_premium + clamp(interest - mean_premium, -FUNDING_CLAMP, FUNDING_CLAMP)) * hours / 8
        else:
            interest = INTEREST_A_DAY * self.interval_s / DAY_S
            rate = mean_premium + clamp(interest - mean_premium, -FUNDING_CLAMP, FUNDING_CLAMP)
        return clamp(rate, -self.cap, self.cap)

    def mark(self, index: float, rate: float, to_funding_s: float, mean_basis: float, last: float) -> float:
        """A perpetual's mark: the middle one of the funding-implied price, the index with its mean basis, and the last trade.

        `mean_basis` is the mean of mid minus index over the venue's span, in quote units.
        """
        implied = index * (1 + rate * max(to_funding_s, 0.0) / self.interval_s)
        return median((implied, index + mean_basis, last))


def dated_mark(index: float, mean_basis: float) -> float:
    """A dated contract's mark: the index with its mean basis, in quote units."""
    return index + mean_basis
