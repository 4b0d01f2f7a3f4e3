"""What a trade costs: the user's own rates, else what the venue states for the instrument, else the lowest public tier.

Rates are fractions of notional for one fill; negative is a rebate. The table is protocols.md section 9 with its sources and
dates: defaults, nobody's tier until the user says so. A second table holds what was paid in a month of the past, for recordings
of that month. Neither knows settlement fees or discounts. An instrument that nothing covers has no rate, and a route over it is
refused with reason `fees`.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import TypeAlias

from msgspec import Struct

from feeds.model import SECOND, Contract, Instrument, InstrumentId, Kind, Ns, VenueId

TIERS = ("vip0", "none")
"""The lowest public tier, and no fees at all."""
RATE_LIMIT = 0.1
"""A rate above a tenth of the notional is a slip of units."""
CROSSINGS_LOCKED, CROSSINGS_UNWOUND = 1, 2
"""How often each leg pays: spot to spot is left as it stands, anything else must be unwound (desk.md F1)."""

NOT_YOURS = "default, not your tier"
STATED = "stated by the venue for the instrument, not your tier"
YOURS = "your own"
NO_FEES = "no fees: tier none"


class Default(Struct, frozen=True):
    """One line of the table: which instruments of a venue, the rates, who said so and when."""

    venue: VenueId
    kinds: tuple[Kind, ...]
    contracts: tuple[Contract, ...]
    maker: float
    taker: float
    source: str
    as_of: str


class FeeRate(Struct, frozen=True):
    """Fractions of notional a fill. `source` says whose they are, `as_of` when that was said ("" unknown)."""

    taker: float
    maker: float
    source: str
    as_of: str
    confirmed: bool
    """The user's own rate, or a tier the user has confirmed as theirs."""


_SPOT = (Kind.SPOT,)
_DATED_OR_NOT = (Kind.PERP, Kind.FUTURE)
_LINEAR = (Contract.LINEAR,)
_INVERSE = (Contract.INVERSE,)
_BOTH = (Contract.LINEAR, Contract.INVERSE)

DEFAULTS: tuple[Default, ...] = (
    Default("BINANCE", _SPOT, _LINEAR, 0.0010, 0.0010, "ccxt 4.5.90, Binance fee page", "2026"),
    Default("BINANCE", _DATED_OR_NOT, _LINEAR, 0.0002, 0.0005, "ccxt 4.5.90, public fee index", "2026-10-12"),
    Default("BINANCE", _DATED_OR_NOT, _INVERSE, 0.0001, 0.0005, "ccxt 4.5.90; Binance's FAQ says 0.015/0.040 %", "2026-10-23"),
    Default("BYBIT", _SPOT, _LINEAR, 0.0010, 0.0010, "Bybit help center", "2026"),
    Default("BYBIT", _DATED_OR_NOT, _BOTH, 0.0002, 0.00055, "Bybit help center, public fee index", "2026-10-16"),
    Default("OKX", _SPOT, _LINEAR, 0.0008, 0.0010, "okx.com/fees, USDT pairs, Lv1", "2026"),
    Default("OKX", _DATED_OR_NOT, _BOTH, 0.0002, 0.0005, "okx.com/fees, public fee index", "2026-10-16"),
    Default("DERIBIT", _SPOT, _LINEAR, 0.0, 0.0, "Deribit support article", "before 2026-08-01"),
    Default("DERIBIT", _DATED_OR_NOT, _BOTH, 0.0, 0.0005, "Deribit support article", "before 2026-08-01"),
    Default("BITMEX", (Kind.PERP,), _INVERSE, 0.0005, 0.0005, "instrument of 2024, venue closed", "2024-11"),
)


class Month(Struct, frozen=True):
    """What was paid from `since_ns` to before `until_ns`, by the receive clock. What it does not list is as in `DEFAULTS`."""

    name: str
    since_ns: Ns
    until_ns: Ns
    rows: tuple[Default, ...]


_DERIBIT_2019 = "deribit.com/pages/docs, section Fees"
_BITMEX_2019 = "bitmex.com/app/fees"
PAST: tuple[Month, ...] = (
    Month(
        "2019-04",
        1_554_076_800 * SECOND,
        1_556_668_800 * SECOND,
        (
            Default("DERIBIT", (Kind.PERP,), _INVERSE, -0.00025, 0.00075, _DERIBIT_2019, "2019"),
            Default("DERIBIT", (Kind.FUTURE,), _INVERSE, -0.0002, 0.0005, _DERIBIT_2019, "2019"),
            Default("BITMEX", (Kind.PERP,), (Contract.INVERSE, Contract.QUANTO), -0.00025, 0.00075, _BITMEX_2019, "2019"),
            Default("BITMEX", (Kind.FUTURE,), _INVERSE, -0.00025, 0.00075, _BITMEX_2019, "2019"),
        ),
    ),
)
"""The pages as they were kept: BitMEX's in summer 2019, by the contracts that it lists; Deribit's after its perpetuals of BTC and
ETH had begun. Its older page, from before them, knows only 0.05 %; metadata recorded on 2019-08-26 confirms the later one."""

_Rows: TypeAlias = Mapping[tuple[VenueId, Kind, Contract], Default]


def _by_class(rows: Iterable[Default]) -> _Rows:
    return {(row.venue, kind, contract): row for row in rows for kind in row.kinds for contract in row.contracts}


_NOW = _by_class(DEFAULTS)
_THEN: Mapping[str, _Rows] = {month.name: {**_NOW, **_by_class(month.rows)} for month in PAST}


def locked(buy: Instrument, sell: Instrument) -> bool:
    """Whether nothing has to be unwound: both legs are spot, with inventory on both sides."""
    return buy.kind is Kind.SPOT and sell.kind is Kind.SPOT


class FeeSchedule:
    """Whose fees apply.

    Args:
        tier: one of `TIERS`.
        overrides: the user's own taker rates as fractions, under an instrument's id (`BINANCE:BTC/USDT`) or under a venue
            with, as far as wanted, kind and contract: `BINANCE`, `BINANCE spot`, `BINANCE perp inverse`. The narrowest wins.
        confirmed: whether the user has said that the tier is theirs.

    Raises:
        ValueError: an unknown tier, a key that names nothing, a rate that is no number or above a tenth.
    """

    def __init__(self, tier: str = "vip0", overrides: Mapping[str, float] | None = None, confirmed: bool = False) -> None:
        if tier not in TIERS:
            raise ValueError(f"fee tier {tier!r} is not known: write one of {', '.join(TIERS)}")
        self.tier = tier
        self.confirmed = confirmed
        self._rows = _NOW
        self.overrides: Mapping[InstrumentId | str, float] = dict(overrides or {})
        for key, rate in self.overrides.items():
            if not isfinite(rate) or abs(rate) > RATE_LIMIT:
                raise ValueError(f"fee of {key!r}: {rate} of the notional cannot be; 7.5 bp are 0.00075")
            if "/" not in key and key not in _CLASS_NAMES:
                raise ValueError(
                    f"fee of {key!r} names nothing: write a venue, a venue with kind and contract (BINANCE spot, "
                    "BYBIT perp inverse) or an instrument's id"
                )

    def at(self, now: Ns) -> "FeeSchedule":
        """The same with the table of that time: a recording of a month in `PAST` is judged by what was paid then."""
        month = next((month for month in PAST if month.since_ns <= now < month.until_ns), None)
        if month is None:
            return self
        then = FeeSchedule(self.tier, self.overrides, self.confirmed)
        then._rows = _THEN[month.name]
        return then

    def rate(self, instrument: Instrument) -> FeeRate | None:
        """The rates of an instrument; None where neither the user, nor the venue, nor the table has one."""
        if self.tier == "none":
            return FeeRate(0.0, 0.0, NO_FEES, "", False)
        known = self._stated(instrument)
        taker = next((self.overrides[key] for key in _keys(instrument) if key in self.overrides), None)
        if taker is None:
            return known
        maker = known.maker if known is not None else taker
        return FeeRate(taker, maker, YOURS, "", True)

    def round_trip_bps(self, buy: Instrument, sell: Instrument) -> float | None:
        """Every taker fee of a route in bp: four, or two when both legs are spot (LOCKED); None where a leg has no rate."""
        legs = self.leg_fees(buy, sell)
        return None if legs is None else sum(legs) * 1e4

    def leg_fees(self, buy: Instrument, sell: Instrument) -> tuple[float, float] | None:
        """What each leg of a route pays in all, as fractions: in and out, or in alone when both are spot (LOCKED)."""
        buy_rate, sell_rate = self.rate(buy), self.rate(sell)
        if buy_rate is None or sell_rate is None:
            return None
        crossings = CROSSINGS_LOCKED if locked(buy, sell) else CROSSINGS_UNWOUND
        return crossings * buy_rate.taker, crossings * sell_rate.taker

    def _stated(self, instrument: Instrument) -> FeeRate | None:
        if instrument.fees is not None:
            return FeeRate(instrument.fees.taker, instrument.fees.maker, STATED, "", self.confirmed)
        row = self._rows.get((instrument.venue, instrument.kind, instrument.contract))
        if row is None:
            return None
        label = f"{self.tier}, confirmed by you" if self.confirmed else NOT_YOURS
        return FeeRate(row.taker, row.maker, f"{label}: {row.source}", row.as_of, self.confirmed)


def _keys(instrument: Instrument) -> Iterator[str]:
    """Under which names a user may have given a rate, the narrowest first."""
    yield instrument.id
    yield f"{instrument.venue} {instrument.kind} {instrument.contract}"
    yield f"{instrument.venue} {instrument.kind}"
    yield instrument.venue


_CLASS_NAMES = frozenset(
    name
    for venue in {row.venue: None for row in DEFAULTS}
    for kind in Kind
    for name in (venue, f"{venue} {kind}", *(f"{venue} {kind} {contract}" for contract in Contract))
)
