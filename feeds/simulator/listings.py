"""What the demo exchange lists: every instrument with its ticks, lots, depth and pace, and how its numbers are written.

Facts of form (names, contract sizes, digits) are those of protocols.md 0.4, 1, 2 and 8; prices, depths and paces are invented.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from msgspec import Struct

from feeds.model import SECOND, Ns

MarketName = Literal["spot", "usdm", "coinm", "linear", "inverse"]
Kind = Literal["spot", "perp", "future"]

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
EXPIRY_HOUR = 8
NEAREST_EXPIRY_DAYS = 20
"""A dated future that is listed has at least this long to live."""


class Listing(Struct, frozen=True, kw_only=True):
    """One instrument as its venue counts and writes it. Sizes are in the venue's unit, a lot is `lot` of it."""

    venue: str
    market: MarketName
    native: str
    base: str
    quote: str
    settle: str
    """Empty for spot."""
    kind: Kind
    contract: Literal["linear", "inverse"]
    contract_size: float
    """Base units (linear) or US dollars (inverse) in one unit of size."""
    tick: float
    lot: float
    price_digits: int
    size_digits: int
    expiry_ns: Ns
    """0 unless it is a dated future."""
    funding_interval_s: int
    """0 unless it is a perpetual."""
    pace: float
    """Level changes in a step of the market."""
    depth_quote: float
    """Median value of the orders near the touch on one side of the book, in quote units a bps."""
    lag_steps: int
    """How many steps of the market its price lies behind the latent one."""
    half_life_s: float
    """True half-life of its premium over the latent price."""
    premium_sd_bps: float
    """Stationary standard deviation of that premium."""
    premium_mean_bps: float = 0.0
    """What it reverts to."""

    @property
    def key(self) -> str:
        return f"{self.venue}.{self.market}.{self.native}"

    def price_text(self, ticks: int) -> str:
        return f"{ticks * self.tick:.{self.price_digits}f}"

    def size_text(self, lots: int) -> str:
        return f"{lots * self.lot:.{self.size_digits}f}"

    def lots_of(self, value: float, price: float) -> int:
        """`value` in quote units at `price` as whole lots, at least one."""
        units = value / self.contract_size if self.contract == "inverse" else value / (price * self.contract_size)
        return max(1, round(units / self.lot))

    def value_of(self, lots: int, price: float) -> float:
        """Quote units in `lots` at `price`."""
        units = lots * self.lot * self.contract_size
        return units if self.contract == "inverse" else units * price

    def base_of(self, lots: int, price: float) -> float:
        """Base units in `lots` at `price`."""
        return self.value_of(lots, price) / price


class _Form(Struct, frozen=True):
    """How one market writes one asset's numbers."""

    tick: float
    price_digits: int
    lot: float
    size_digits: int
    contract_size: float = 1.0


class _Place(Struct, frozen=True):
    """What the instruments of one market and kind have in common. Pace and depth are those of BTC."""

    venue: str
    market: MarketName
    kind: Kind
    pace: float
    depth_quote: float
    lag_steps: int
    half_life_s: float
    premium_sd_bps: float


_PLACES = (
    _Place("BINANCE", "spot", "spot", 5.0, 160_000.0, 1, 12.0, 0.25),
    _Place("BINANCE", "usdm", "perp", 8.0, 240_000.0, 0, 45.0, 1.1),
    _Place("BINANCE", "usdm", "future", 0.5, 60_000.0, 5, 90.0, 1.0),
    _Place("BINANCE", "coinm", "perp", 2.0, 90_000.0, 4, 60.0, 1.3),
    _Place("BYBIT", "spot", "spot", 3.0, 120_000.0, 3, 15.0, 0.35),
    _Place("BYBIT", "linear", "perp", 5.0, 180_000.0, 2, 60.0, 1.2),
    _Place("BYBIT", "linear", "future", 0.4, 50_000.0, 6, 120.0, 1.0),
    _Place("BYBIT", "inverse", "perp", 1.5, 80_000.0, 5, 80.0, 1.4),
)

_FORMS: dict[tuple[str, str], _Form] = {
    ("BINANCE.spot", "BTC"): _Form(0.01, 8, 1e-5, 8),
    ("BINANCE.spot", "ETH"): _Form(0.01, 8, 1e-4, 8),
    ("BINANCE.spot", "SOL"): _Form(0.01, 8, 1e-3, 8),
    ("BINANCE.usdm", "BTC"): _Form(0.1, 2, 1e-3, 3),
    ("BINANCE.usdm", "ETH"): _Form(0.01, 2, 1e-3, 3),
    ("BINANCE.usdm", "SOL"): _Form(0.01, 4, 1e-2, 2),
    ("BINANCE.coinm", "BTC"): _Form(0.1, 1, 1.0, 0, 100.0),
    ("BINANCE.coinm", "ETH"): _Form(0.01, 2, 1.0, 0, 10.0),
    ("BINANCE.coinm", "SOL"): _Form(0.01, 2, 1.0, 0, 10.0),
    ("BYBIT.spot", "BTC"): _Form(0.1, 1, 1e-6, 6),
    ("BYBIT.spot", "ETH"): _Form(0.01, 2, 1e-5, 5),
    ("BYBIT.spot", "SOL"): _Form(0.01, 2, 1e-4, 4),
    ("BYBIT.linear", "BTC"): _Form(0.1, 2, 1e-3, 3),
    ("BYBIT.linear", "ETH"): _Form(0.01, 2, 1e-2, 2),
    ("BYBIT.linear", "SOL"): _Form(0.01, 3, 1e-1, 1),
    ("BYBIT.inverse", "BTC"): _Form(0.1, 2, 1.0, 0),
    ("BYBIT.inverse", "ETH"): _Form(0.01, 2, 1.0, 0),
    ("BYBIT.inverse", "SOL"): _Form(0.01, 3, 1.0, 0),
}

MEAN_PREMIA_BPS = {
    ("BINANCE.usdm", "SOL"): 7.5,
    ("BYBIT.linear", "SOL"): -6.5,
    ("BYBIT.inverse", "SOL"): -6.0,
    ("BINANCE.usdm", "ETH"): 1.0,
    ("BYBIT.linear", "ETH"): -1.5,
}
"""Perpetuals that stand apart for good: their funding leaves the dead zone of the formulas, the others' is pinned."""

ASSETS = ("BTC", "ETH", "SOL")
START_PRICES_USD = {"BTC": 84_000.0, "ETH": 3_050.0, "SOL": 162.0}
LIVELINESS = {"BTC": 1.0, "ETH": 0.75, "SOL": 0.5}
"""Pace and depth against BTC."""
DATED = frozenset({"BTC", "ETH"})
SHORT_FUNDING = frozenset({"SOL"})
"""Assets whose perpetuals pay every 4 h instead of every 8."""


def listed(start_ns: Ns, assets: Sequence[str] = ASSETS) -> tuple[Listing, ...]:
    """Everything both venues list at `start_ns`. Raises KeyError for an asset that is not in `ASSETS`."""
    expiry = quarter_after(start_ns)
    found = []
    for place in _PLACES:
        for asset in assets:
            if place.kind == "future" and asset not in DATED:
                continue
            form = _FORMS[f"{place.venue}.{place.market}", asset]
            inverse = place.market in ("coinm", "inverse")
            quote = "USD" if inverse else "USDT"
            found.append(
                Listing(
                    venue=place.venue,
                    market=place.market,
                    native=_native(place, asset, quote, expiry),
                    base=asset,
                    quote=quote,
                    settle="" if place.kind == "spot" else asset if inverse else quote,
                    kind=place.kind,
                    contract="inverse" if inverse else "linear",
                    contract_size=form.contract_size,
                    tick=form.tick,
                    lot=form.lot,
                    price_digits=form.price_digits,
                    size_digits=form.size_digits,
                    expiry_ns=int(expiry.timestamp()) * SECOND if place.kind == "future" else 0,
                    funding_interval_s=0 if place.kind != "perp" else 14_400 if asset in SHORT_FUNDING else 28_800,
                    pace=place.pace * LIVELINESS[asset],
                    depth_quote=place.depth_quote * LIVELINESS[asset],
                    lag_steps=place.lag_steps,
                    half_life_s=place.half_life_s,
                    premium_sd_bps=place.premium_sd_bps,
                    premium_mean_bps=MEAN_PREMIA_BPS.get((f"{place.venue}.{place.market}", asset), 0.0),
                )
            )
    return tuple(found)


def quarter_after(now_ns: Ns) -> datetime:
    """The nearest end of a quarter's contract, the last Friday of March, June, September or December, that is far enough away."""
    now = datetime.fromtimestamp(now_ns // SECOND, UTC)
    year, month = now.year, (now.month - 1) // 3 * 3 + 3
    while True:
        last = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
        friday = last - timedelta(days=(last.weekday() - 4) % 7)
        expiry = datetime(friday.year, friday.month, friday.day, EXPIRY_HOUR, tzinfo=UTC)
        if expiry - now >= timedelta(days=NEAREST_EXPIRY_DAYS):
            return expiry
        year, month = (year, month + 3) if month < 12 else (year + 1, 3)


def _native(place: _Place, asset: str, quote: str, expiry: datetime) -> str:
    name = f"{asset}{quote}"
    if place.market == "coinm":
        return f"{name}_PERP"
    if place.kind != "future":
        return name
    if place.venue == "BINANCE":
        return f"{name}_{expiry:%y%m%d}"
    return f"{name}-{expiry:%d}{MONTHS[expiry.month - 1]}{expiry:%y}"
