"""What had happened before the exchange started: two days of one-minute bars and funding, made up backwards from the seed.

Bars end where the market begins. They are made when first asked for, each instrument from a random source of its own, so asking
changes nothing else.
"""

from collections.abc import Iterable, Sequence
from math import exp, sqrt
from random import Random
from typing import Literal, NamedTuple, TypeAlias

from feeds.model import SECOND, Ns
from feeds.simulator.formulas import VenueRules, WeightedPremium
from feeds.simulator.listings import Listing

MINUTE_MS = 60_000
DAYS = 2
MINUTES = DAYS * 1_440
BarKind: TypeAlias = Literal["trade", "mark", "index", "premium"]


class Bar(NamedTuple):
    """One bar. Volumes are zero but for trades; of a premium the four prices are fractions."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    base: float
    quote: float
    trades: int


class Settled(NamedTuple):
    """A funding time that has passed."""

    time_ms: int
    rate: float
    mark: float


class Growing:
    """The bar of the current minute."""

    __slots__ = ("base", "close", "high", "low", "open", "open_ms", "quote", "trades")

    def __init__(self, open_ms: int, price: float) -> None:
        self.open_ms = open_ms
        self.open = self.high = self.low = self.close = price
        self.base = self.quote = 0.0
        self.trades = 0

    def add(self, price: float, base: float = 0.0, quote: float = 0.0) -> None:
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        if base:
            self.base += base
            self.quote += quote
            self.trades += 1

    @property
    def bar(self) -> Bar:
        return Bar(self.open_ms, self.open, self.high, self.low, self.close, self.base, self.quote, self.trades)


def asset_path(rng: Random, price: float, a_minute: float) -> list[float]:
    """Closes of the minutes before a start at `price`, which is the last; `a_minute` is the standard deviation of a return."""
    path = [price]
    for _ in range(MINUTES):
        path.append(path[-1] * exp(rng.gauss(0.0, a_minute)))
    path.reverse()
    return path


class Past:
    """Bars and funding of one instrument before the start."""

    def __init__(
        self, listing: Listing, seed: int, path: Sequence[float], scale: float, premium_bps: float, start_ns: Ns
    ) -> None:
        """`path` is the asset's, `scale` turns it into this instrument's quote, `premium_bps` is where its premium starts."""
        self.listing = listing
        rng = Random(f"{seed}/past/{listing.key}")
        self._index = [price * scale for price in path]
        keep = 0.5 ** (60.0 / listing.half_life_s)
        mean, kick = listing.premium_mean_bps * 1e-4, listing.premium_sd_bps * 1e-4 * sqrt(1 - keep * keep)
        premia = [premium_bps * 1e-4]
        for _ in range(len(path) - 1):
            premia.append(mean + (premia[-1] - mean) * keep + rng.gauss(0.0, kick))
        premia.reverse()
        self._premia = premia
        self._first_ms = start_ns // 1_000_000 // MINUTE_MS * MINUTE_MS - MINUTES * MINUTE_MS
        self._bars: dict[BarKind, list[Bar]] = {}

    def bars(self, kind: BarKind) -> list[Bar]:
        """Oldest first; the last one ends with the minute before the start's."""
        found = self._bars.get(kind)
        if found is None:
            found = self._bars[kind] = self._made(kind)
        return found

    def _made(self, kind: BarKind) -> list[Bar]:
        rng = Random(f"{self.listing.key}/{kind}/{self._first_ms}")
        closes = {
            "index": self._index,
            "premium": self._premia,
            "mark": [i * (1 + p) for i, p in zip(self._index, self._premia, strict=True)],
            "trade": [i * (1 + p) for i, p in zip(self._index, self._premia, strict=True)],
        }[kind]
        wiggle = self.listing.premium_sd_bps * 1e-4 if kind == "premium" else 0.0002
        a_minute = self.listing.depth_quote * 20
        bars = []
        for at in range(MINUTES):
            first, last = closes[at], closes[at + 1]
            size = wiggle if kind == "premium" else wiggle * last
            high = max(first, last) + abs(rng.gauss(0.0, size))
            low = min(first, last) - abs(rng.gauss(0.0, size))
            quote = a_minute * exp(rng.gauss(-0.2, 0.6)) if kind == "trade" else 0.0
            trades = 1 + int(quote / 2_500) if quote else 0
            bars.append(Bar(self._first_ms + at * MINUTE_MS, first, high, low, last, quote / last, quote, trades))
        return bars

    def funding(self, rules: VenueRules) -> tuple[list[Settled], WeightedPremium]:
        """Funding times before the start, oldest first, and the average that runs at the start."""
        step_ms, first_ms = rules.interval_s * 1_000, rules.terms.first_funding_s * 1_000
        settled: list[Settled] = []
        average = WeightedPremium()
        samples = 60 // rules.premium_every_s
        whole = False
        for at in range(1, MINUTES + 1):
            for _ in range(samples):
                average.add(self._premia[at])
            end_ms = self._first_ms + at * MINUTE_MS
            if (end_ms - first_ms) % step_ms == 0:
                if whole:
                    mark = self._index[at] * (1 + self._premia[at])
                    settled.append(Settled(end_ms, rules.funding(average.mean), mark))
                whole = True
                average = WeightedPremium()
        return settled, average

    def day(self) -> tuple[float, float, float]:
        """Open, high and low of the 24 h before the start."""
        prices = self._index[-1_441:]
        return prices[0], max(prices), min(prices)


def gathered(bars: Iterable[Bar], interval_ms: int) -> list[Bar]:
    """One-minute bars as longer ones."""
    if interval_ms == MINUTE_MS:
        return list(bars)
    made: list[Bar] = []
    for bar in bars:
        open_ms = bar.open_ms // interval_ms * interval_ms
        if made and made[-1].open_ms == open_ms:
            last = made[-1]
            made[-1] = Bar(
                open_ms,
                last.open,
                max(last.high, bar.high),
                min(last.low, bar.low),
                bar.close,
                last.base + bar.base,
                last.quote + bar.quote,
                last.trades + bar.trades,
            )
        else:
            made.append(bar._replace(open_ms=open_ms))
    return made


def minute_of(now_ns: Ns) -> int:
    """The start of the minute, in ms."""
    return now_ns // (60 * SECOND) * MINUTE_MS
