"""What a stablecoin is worth in US dollars, from the indices of one coin in several dollars (analytics 9 and 23).

No venue here lists a deep USDT/USD book, but some tell one coin's index in USD, USDT and USDC on one clock, and a quotient of two
is the rate: `USDT/USD = BTC-USD / BTC-USDT`. Each venue and coin gives an estimate. The rate is the median of those that agree,
its uncertainty how far these lie apart. What a bad index makes is set aside and can neither move the rate nor widen it; where too
few agree there is none. Nothing can be traded at it: what a conversion costs is the user's to say.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import isnan, nan
from statistics import median
from typing import Final, NamedTuple

from msgspec import Struct

from analytics.spread import bps
from feeds.model import SECOND, Ns, PairIndex, VenueId

DOLLAR: Final = "USD"
COINS: Final = ("USDT", "USDC")
"""In this order: a rate may rest on those before it."""
MAX_AGE_NS: Ns = 5 * SECOND
"""Since an index last said something new (analytics 8.5, guard 4)."""
MAX_APART_NS: Ns = 2 * SECOND
"""Between the two indices of an estimate, by the venue's clock: one of them moves on alone when the other stands still."""
AGREE_BPS: Final = 10.0
"""How far from the median of all an estimate may lie. Honest ones differ by 1 to 3 bp."""
ENOUGH: Final = 2
"""One estimate may be as wrong as its worse index, and nothing would show it."""
LEAST_BPS: Final = 1.0
"""Uncertainty of estimates that happen to be equal: baskets have 1 to 3 bp of noise (desk 6.2, 18)."""


class Source(StrEnum):
    """Whose word a rate is."""

    IMPLIED = "IMPLIED"
    """Of the venues' indices: measured, not tradable."""
    FIXED = "FIXED"
    """The user's."""


class Missing(StrEnum):
    """Why there is no rate."""

    NONE = ""
    UNHEARD = "no source"
    STALE = "stale"
    ALONE = "one source"
    APART = "sources disagree"


class FxRate(Struct, frozen=True, gc=False):
    """US dollars for one unit of a currency. `usd` is nan where there is no rate that may be used, and `missing` says why."""

    currency: str
    usd: float
    uncertainty_bps: float = 0.0
    source: Source | None = None
    """None for the dollar itself, and where nothing is known."""
    at_ns: Ns = 0
    """When the oldest index in it was received; without a rate, in the last one that there was. 0: never, or it needs none."""
    estimates: int = 0
    """How many agree."""
    missing: Missing = Missing.NONE


PAR: Final = FxRate(DOLLAR, 1.0)


def peg(currency: str) -> str:
    """What a rate is called: `USDT/USD`."""
    return f"{currency}/{DOLLAR}"


def unknown(currency: str) -> FxRate:
    """No rate, and no source of one."""
    return FxRate(currency, nan, missing=Missing.UNHEARD)


class _Told(NamedTuple):
    price: float
    recv_ns: Ns
    venue_ns: Ns


class Estimate(NamedTuple):
    """One venue's and coin's word on a rate, when its older index was received, and whether its indices are of one moment."""

    usd: float
    at_ns: Ns
    in_step: bool = True


def agreeing(estimates: Sequence[Estimate]) -> list[Estimate]:
    """Those near the median of all; none unless they are at least two and more than half."""
    if not estimates:
        return []
    middle = median(each.usd for each in estimates)
    near = [each for each in estimates if abs(bps(each.usd, middle)) <= AGREE_BPS]
    return near if len(near) >= ENOUGH and 2 * len(near) > len(estimates) else []


class FxBoard:
    """The rates as they stand. The engine's: fed with every index of a pair, stepped at each boundary.

    Args:
        fixed: US dollars for one coin, where the user has said so: these convert, whatever indices imply.
    """

    def __init__(self, fixed: Mapping[str, float]) -> None:
        self._told: dict[tuple[VenueId, str, str], _Told] = {}
        self._fixed = {coin: FxRate(coin, usd, source=Source.FIXED) for coin, usd in fixed.items()}
        self.implied: dict[str, FxRate] = {coin: unknown(coin) for coin in COINS}
        self.departures_bps: dict[str, float] = dict.fromkeys(COINS, nan)
        """How far each coin is from a dollar, by what is measured; of sources that disagree, what all of them say at least."""
        self._converts: dict[str, tuple[float, float]] = {}
        """Currency -> rate and uncertainty, of those that can be converted."""

    def rate(self, currency: str) -> FxRate:
        """The rate to convert by."""
        if currency == DOLLAR:
            return PAR
        return self._fixed.get(currency) or self.implied.get(currency) or unknown(currency)

    @property
    def rates(self) -> tuple[FxRate, ...]:
        """Those of the stablecoins, to convert by."""
        return tuple(self.rate(coin) for coin in COINS)

    def note(self, index: PairIndex, now: Ns) -> None:
        """An index. One that is not newer by its venue's clock says nothing: it is repeated, or late.

        A clock that has stood ahead of all that followed for `MAX_AGE_NS` was wrong, and counts anew.
        """
        key = index.venue, index.base, index.quote
        before = self._told.get(key)
        wrong = before is not None and index.venue_ns < before.venue_ns and now - before.recv_ns > MAX_AGE_NS
        if before is None or index.venue_ns > before.venue_ns or wrong:
            self._told[key] = _Told(index.price, now, index.venue_ns)

    def step(self, now: Ns) -> bool:
        """A boundary. Whether any conversion has changed."""
        for coin in COINS:
            self._measure(coin, now)
        before = self._converts
        self._converts = {rate.currency: (rate.usd, rate.uncertainty_bps) for rate in self.rates if not isnan(rate.usd)}
        return before != self._converts

    def _measure(self, coin: str, now: Ns) -> None:
        every = self._estimates(coin)
        estimates = [each for each in every if each.in_step and now - each.at_ns <= MAX_AGE_NS]
        kept = agreeing(estimates)
        if kept:
            values = [each.usd for each in kept]
            usd = median(values)
            apart_bps = max(bps(max(values), min(values)), LEAST_BPS)
            self.implied[coin] = FxRate(coin, usd, apart_bps, Source.IMPLIED, min(each.at_ns for each in kept), len(kept))
            self.departures_bps[coin] = bps(usd, 1.0)
            return
        enough = len(estimates) >= ENOUGH
        self.departures_bps[coin] = min((bps(each.usd, 1.0) for each in estimates), key=abs) if enough else nan
        if enough:
            missing = Missing.APART
        elif len(estimates) < len(every):
            missing = Missing.STALE
        else:
            missing = Missing.ALONE if every else Missing.UNHEARD
        self.implied[coin] = FxRate(coin, nan, at_ns=self.implied[coin].at_ns, missing=missing)

    def _estimates(self, coin: str) -> list[Estimate]:
        """What the indices say, of whatever age. Two of one coin, or one of this coin in another whose rate is known."""
        found: list[Estimate] = []
        for (venue, base, quote), told in self._told.items():
            if quote == coin:
                dollars = self._told.get((venue, base, DOLLAR))
                if dollars is not None:
                    in_step = abs(dollars.venue_ns - told.venue_ns) <= MAX_APART_NS
                    found.append(Estimate(dollars.price / told.price, min(dollars.recv_ns, told.recv_ns), in_step))
            elif base == coin and quote in self.implied:
                through = self.implied[quote]
                if not isnan(through.usd):
                    found.append(Estimate(told.price * through.usd, min(through.at_ns, told.recv_ns)))
        return found
