"""What a user may set about the numbers, with the defaults of desk.md section 7. `tui/config.py` reads the file into these."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Bps = Annotated[float, Meta(ge=-10_000, le=10_000)]
Millis = Annotated[int, Meta(ge=0, le=3_600_000)]
Positive = Annotated[float, Meta(gt=0)]
FeeBps = Annotated[float, Meta(ge=-100, le=1000)]


class Fees(Struct, frozen=True, forbid_unknown_fields=True):
    """`[fees]`: whose fees. `taker_bps` overrides: `"BINANCE spot" = 7.5` or an instrument's id; negative is a rebate.

    `conversion_bp` is what it costs to change one dollar into another and back: two fills at the lowest public tier's spot rate.
    """

    tier: Literal["vip0", "none"] = "vip0"
    confirmed: bool = False
    taker_bps: Mapping[str, FeeBps] = field(default_factory=dict)
    conversion_bp: Annotated[float, Meta(ge=0, le=1000)] = 20.0


class Size(Struct, frozen=True, forbid_unknown_fields=True):
    """`[size]`: what one leg is worth in USD. 0 judges routes at the touch, whatever it holds."""

    default: Annotated[float, Meta(ge=0)] = 50_000.0


class Guards(Struct, frozen=True, forbid_unknown_fields=True):
    """`[guards]`: when a leg or a pair of legs may be believed (reliability 3.0, analytics 8.5)."""

    max_age_ms: Millis = 1_000
    max_lag_ms: Millis = 1_000
    late_over_own_p50_ms: Millis = 150
    max_skew_ms: Millis = 250
    min_leg_usd: Annotated[float, Meta(ge=0)] = 10_000.0
    dwell_ms: Millis = 300
    updates: Annotated[int, Meta(ge=1, le=100)] = 3
    plausible_bp: Positive = 1_000.0


class Arb(Struct, frozen=True, forbid_unknown_fields=True):
    """`[arb]`: when a route's episode opens and closes, in bp of edge after every fee, in and out."""

    open_bp: Bps = 3.0
    close_bp: Bps = 0.0
    close_hold_ms: Millis = 500

    def __post_init__(self) -> None:
        if self.close_bp > self.open_bp:
            raise ValueError("close_bp must not be above open_bp")


class ZScore(Struct, frozen=True, forbid_unknown_fields=True):
    """`[z]`: the window in samples of the 1 s grid."""

    window: Annotated[int, Meta(ge=2, le=86_400)] = 500
    min_periods: Annotated[int, Meta(ge=2)] = 50
    mode: Literal["prior", "inclusive", "ewma"] = "prior"
    decay: Annotated[float, Meta(gt=0, lt=1)] = 0.95
    threshold: Positive = 2.0

    def __post_init__(self) -> None:
        if self.min_periods > self.window:
            raise ValueError("min_periods must not be above window")


class Imbalance(Struct, frozen=True, forbid_unknown_fields=True):
    """`[obi]`: order-book imbalance within a band round mid, smoothed."""

    band_bps: Annotated[float, Meta(gt=0, le=500)] = 10.0
    tau_s: Positive = 2.0


class Premium(Struct, frozen=True, forbid_unknown_fields=True):
    """`[premium]`: the notional in quote units whose average price stands for the book in the premium."""

    impact_notional: Positive = 10_000.0


class Tape(Struct, frozen=True, forbid_unknown_fields=True):
    """`[tape]`: which prints are kept, by notional in USD."""

    min_usd: Annotated[float, Meta(ge=0)] = 100_000.0


class Alerts(Struct, frozen=True, forbid_unknown_fields=True):
    """`[alerts]`: thresholds of rules that ship, where they are not those of another table."""

    depeg_bp: Annotated[float, Meta(gt=0, le=5_000)] = 20.0


Usd = Annotated[float, Meta(ge=0.5, le=2)]
"""US dollars for one stablecoin."""
Fx = Literal["implied"] | Mapping[Literal["USDT", "USDC"], Usd]
"""Rates by which prices in different dollars are compared: of the venues' indices, some of them fixed by the user."""


class Tables(Struct, frozen=True, forbid_unknown_fields=True):
    """The tables of the configuration that are the engine's."""

    fees: Fees = Fees()
    size: Size = Size()
    guards: Guards = Guards()
    arb: Arb = Arb()
    z: ZScore = ZScore()
    obi: Imbalance = Imbalance()
    premium: Premium = Premium()
    tape: Tape = Tape()


class AnalyticsSettings(Tables, frozen=True, forbid_unknown_fields=True):
    """Everything the engine is told."""

    fx: Fx = "implied"
    """`fx` of `[venues]`."""

    @property
    def fixed_usd(self) -> Mapping[str, float]:
        """US dollars for one coin, where the user has fixed it."""
        return {} if self.fx == "implied" else {str(coin): usd for coin, usd in self.fx.items()}
