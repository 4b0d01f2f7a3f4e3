"""What the demo exchange lists: every instrument with its ticks, lots, depth and pace, and how its numbers are written.

Facts of form (names, contract sizes, digits) are those of protocols.md 0.4, 1 to 5 and 8; prices, depths and paces are invented.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from msgspec import Struct

from feeds.model import SECOND, Ns

MarketName = Literal["spot", "usdm", "coinm", "linear", "inverse", "public"]
Kind = Literal["spot", "perp", "future"]

MONTH_CODES = "FGHJKMNQUVXZ"
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
EXPIRY_HOUR = 8
EXPIRY_HOURS = {"BITMEX": 12}
"""Venues whose contracts end at another hour, UTC."""
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
    """What the instruments of one market, kind and quote have in common. Pace and depth are those of BTC."""

    venue: str
    market: MarketName
    kind: Kind
    quote: str
    pace: float
    depth_quote: float
    lag_steps: int
    half_life_s: float
    premium_sd_bps: float
    inverse: bool = False
    assets: tuple[str, ...] = ("BTC", "ETH", "SOL")

    @property
    def form(self) -> str:
        """Where its numbers' form is found."""
        if self.market != "public":
            return f"{self.venue}.{self.market}"
        return f"{self.venue}.{'spot' if self.kind == 'spot' else 'inverse' if self.inverse else 'linear'}"


_MAJOR = ("BTC", "ETH")
_PLACES = (
    _Place("BINANCE", "spot", "spot", "USDT", 5.0, 160_000.0, 1, 12.0, 0.25),
    _Place("BINANCE", "usdm", "perp", "USDT", 8.0, 240_000.0, 0, 45.0, 1.1),
    _Place("BINANCE", "usdm", "future", "USDT", 0.5, 60_000.0, 5, 90.0, 1.0, assets=_MAJOR),
    _Place("BINANCE", "coinm", "perp", "USD", 2.0, 90_000.0, 4, 60.0, 1.3, inverse=True),
    _Place("BYBIT", "spot", "spot", "USDT", 3.0, 120_000.0, 3, 15.0, 0.35),
    _Place("BYBIT", "linear", "perp", "USDT", 5.0, 180_000.0, 2, 60.0, 1.2),
    _Place("BYBIT", "linear", "future", "USDT", 0.4, 50_000.0, 6, 120.0, 1.0, assets=_MAJOR),
    _Place("BYBIT", "inverse", "perp", "USD", 1.5, 80_000.0, 5, 80.0, 1.4, inverse=True),
    _Place("OKX", "public", "spot", "USDT", 3.0, 110_000.0, 2, 14.0, 0.3),
    _Place("OKX", "public", "perp", "USDT", 5.0, 190_000.0, 2, 50.0, 1.2),
    _Place("OKX", "public", "future", "USDT", 0.4, 50_000.0, 6, 110.0, 1.0, assets=_MAJOR),
    _Place("OKX", "public", "perp", "USD", 1.5, 80_000.0, 4, 70.0, 1.3, inverse=True),
    _Place("DERIBIT", "public", "spot", "USDC", 0.5, 60_000.0, 6, 20.0, 0.5),
    _Place("DERIBIT", "public", "perp", "USD", 2.5, 130_000.0, 3, 65.0, 1.3, inverse=True, assets=_MAJOR),
    _Place("DERIBIT", "public", "perp", "USDC", 1.0, 50_000.0, 5, 75.0, 1.4, assets=("SOL",)),
    _Place("DERIBIT", "public", "future", "USD", 0.5, 60_000.0, 6, 100.0, 1.1, inverse=True, assets=_MAJOR),
    _Place("BITMEX", "public", "perp", "USD", 1.5, 70_000.0, 5, 75.0, 1.5, inverse=True, assets=("BTC",)),
    _Place("BITMEX", "public", "perp", "USDT", 1.0, 50_000.0, 5, 75.0, 1.5),
    _Place("BITMEX", "public", "future", "USD", 0.3, 40_000.0, 7, 120.0, 1.2, inverse=True, assets=("BTC",)),
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
    ("OKX.spot", "BTC"): _Form(0.1, 1, 1e-8, 8),
    ("OKX.spot", "ETH"): _Form(0.01, 2, 1e-6, 6),
    ("OKX.spot", "SOL"): _Form(0.01, 2, 1e-6, 6),
    ("OKX.linear", "BTC"): _Form(0.1, 1, 0.01, 2, 0.01),
    ("OKX.linear", "ETH"): _Form(0.01, 2, 0.01, 2, 0.1),
    ("OKX.linear", "SOL"): _Form(0.01, 2, 0.01, 2),
    ("OKX.inverse", "BTC"): _Form(0.1, 1, 0.1, 1, 100.0),
    ("OKX.inverse", "ETH"): _Form(0.01, 2, 0.1, 1, 10.0),
    ("OKX.inverse", "SOL"): _Form(0.01, 2, 0.1, 1, 10.0),
    ("DERIBIT.spot", "BTC"): _Form(0.01, 2, 1e-8, 8),
    ("DERIBIT.spot", "ETH"): _Form(0.01, 2, 1e-8, 8),
    ("DERIBIT.spot", "SOL"): _Form(0.01, 2, 1e-8, 8),
    ("DERIBIT.inverse", "BTC"): _Form(0.5, 1, 10.0, 1),
    ("DERIBIT.inverse", "ETH"): _Form(0.05, 2, 1.0, 1),
    ("DERIBIT.linear", "SOL"): _Form(0.01, 2, 0.1, 1),
    ("BITMEX.inverse", "BTC"): _Form(0.1, 1, 100.0, 0),
    ("BITMEX.linear", "BTC"): _Form(0.1, 1, 1_000.0, 0, 1e-6),
    ("BITMEX.linear", "ETH"): _Form(0.05, 2, 1_000.0, 0, 1e-5),
    ("BITMEX.linear", "SOL"): _Form(0.01, 2, 1_000.0, 0, 1e-4),
}

MEAN_PREMIA_BPS = {
    ("BINANCE.usdm", "SOL"): 7.5,
    ("BYBIT.linear", "SOL"): -6.5,
    ("BYBIT.inverse", "SOL"): -6.0,
    ("BINANCE.usdm", "ETH"): 1.0,
    ("BYBIT.linear", "ETH"): -1.5,
    ("OKX.linear", "SOL"): 5.0,
    ("OKX.linear", "ETH"): 0.5,
    ("DERIBIT.linear", "SOL"): -5.0,
}
"""Perpetuals that stand apart for good: their funding leaves the dead zone of the formulas, the others' is pinned."""

ASSETS = ("BTC", "ETH", "SOL")
VENUES = ("BINANCE", "BYBIT")
START_PRICES_USD = {"BTC": 84_000.0, "ETH": 3_050.0, "SOL": 162.0}
LIVELINESS = {"BTC": 1.0, "ETH": 0.75, "SOL": 0.5}
"""Pace and depth against BTC."""
SHORT_FUNDING = frozenset({"SOL"})
"""Assets whose perpetuals pay every 4 h instead of every 8."""


def listed(start_ns: Ns, assets: Sequence[str] = ASSETS, venues: Sequence[str] = VENUES) -> tuple[Listing, ...]:
    """Everything those venues list at `start_ns`. Raises KeyError for an asset that is not in `ASSETS`."""
    for asset in assets:
        START_PRICES_USD[asset]
    expiry = quarter_after(start_ns)
    return tuple(
        _listing(place, asset, expiry) for place in _PLACES if place.venue in venues for asset in assets if asset in place.assets
    )


def _listing(place: _Place, asset: str, expiry: datetime) -> Listing:
    form = _FORMS[place.form, asset]
    return Listing(
        venue=place.venue,
        market=place.market,
        native=_NAMES[place.venue](place, asset, expiry),
        base=asset,
        quote=place.quote,
        settle="" if place.kind == "spot" else asset if place.inverse else place.quote,
        kind=place.kind,
        contract="inverse" if place.inverse else "linear",
        contract_size=form.contract_size,
        tick=form.tick,
        lot=form.lot,
        price_digits=form.price_digits,
        size_digits=form.size_digits,
        expiry_ns=_expiry_ns(place, expiry) if place.kind == "future" else 0,
        funding_interval_s=0 if place.kind != "perp" else _funding_interval_s(place.venue, asset),
        pace=place.pace * LIVELINESS[asset],
        depth_quote=place.depth_quote * LIVELINESS[asset],
        lag_steps=place.lag_steps,
        half_life_s=place.half_life_s,
        premium_sd_bps=place.premium_sd_bps,
        premium_mean_bps=MEAN_PREMIA_BPS.get((place.form, asset), 0.0),
    )


def _expiry_ns(place: _Place, expiry: datetime) -> Ns:
    hour = EXPIRY_HOURS.get(place.venue, EXPIRY_HOUR)
    return int(expiry.replace(hour=hour).timestamp()) * SECOND


def _funding_interval_s(venue: str, asset: str) -> int:
    """Deribit states an 8 h rate that accrues without a break."""
    return 14_400 if asset in SHORT_FUNDING and venue not in ("DERIBIT", "BITMEX") else 28_800


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


def _binance(place: _Place, asset: str, expiry: datetime) -> str:
    name = f"{asset}{place.quote}"
    return f"{name}_PERP" if place.market == "coinm" else f"{name}_{expiry:%y%m%d}" if place.kind == "future" else name


def _bybit(place: _Place, asset: str, expiry: datetime) -> str:
    name = f"{asset}{place.quote}"
    return f"{name}-{expiry:%d}{MONTHS[expiry.month - 1]}{expiry:%y}" if place.kind == "future" else name


def _okx(place: _Place, asset: str, expiry: datetime) -> str:
    return f"{asset}-{place.quote}" + {"spot": "", "perp": "-SWAP", "future": f"-{expiry:%y%m%d}"}[place.kind]


def _deribit(place: _Place, asset: str, expiry: datetime) -> str:
    name = asset if place.inverse else f"{asset}_{place.quote}"
    dated = f"-{expiry.day}{MONTHS[expiry.month - 1]}{expiry:%y}"
    return name + {"spot": "", "perp": "-PERPETUAL", "future": dated}[place.kind]


def _bitmex(place: _Place, asset: str, expiry: datetime) -> str:
    coin = "XBT" if asset == "BTC" else asset
    return f"{coin}{MONTH_CODES[expiry.month - 1]}{expiry:%y}" if place.kind == "future" else f"{coin}{place.quote}"


_NAMES: dict[str, Callable[[_Place, str, datetime], str]] = {
    "BINANCE": _binance,
    "BYBIT": _bybit,
    "OKX": _okx,
    "DERIBIT": _deribit,
    "BITMEX": _bitmex,
}
"""How a venue calls what it lists."""
