"""An alert as a value: an episode with a beginning, a peak and an end, not a line per tick (DESIGN 3, analytics 13)."""

from enum import StrEnum

from msgspec import Struct

from feeds.model import Ns


class Severity(StrEnum):
    INFO = "info"
    WARN = "warn"
    CRIT = "crit"


class AlertState(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


class Leg(Struct, frozen=True):
    """One leg of what fired, at the trigger: `role` buy, sell or watch, price and size as judged, age of its book."""

    instrument: str
    role: str
    price: float | None = None
    size_base: float | None = None
    age_ms: float | None = None


class Alert(Struct, frozen=True, kw_only=True):
    """One episode. `value` and `peak` are in `unit`; `None` stands for "no value"; times are UTC ns, 0 = not yet."""

    seq: int
    opened_ns: Ns
    closed_ns: Ns = 0
    rule: str
    severity: Severity
    scope: str
    """The market or route: `BINANCE:BTC/USDT`, `BINANCE:BTC/USDT:USDT > BINANCE:BTC/USDT`."""
    state: AlertState = AlertState.FIRING
    value: float | None
    unit: str
    enter: float
    exit: float
    peak: float | None = None
    peak_ns: Ns = 0
    legs: tuple[Leg, ...] = ()
    fees_bps: float | None = None
    quality: str = ""
    """Why it closed or what was doubtful: edge, stale, gap, nodata, disconnected; empty while open and sound."""
    repeats: int = 0
    """Further firings within the cooldown."""
    acked_ns: Ns = 0
    muted_until_ns: Ns = 0
    """Until when its rule was muted on its scope, as of the last thing that was logged of it; 0 = not. No export tells it."""
    recording_pos: int = 0
    """Records handed on before the trigger, counted from the start of the recording; 0 live without a recorder."""


class AlertKind(StrEnum):
    """What happened to an episode. MUTE: its rule was muted on its scope, or no longer is; the episode says until when."""

    FIRE = "FIRE"
    PEAK = "PEAK"
    ACK = "ACK"
    MUTE = "MUTE"
    RESOLVE = "RESOLVE"
    NODATA = "NODATA"


class AlertEvent(Struct, frozen=True):
    """What the engine, or the user through the session, hands to the journal: the episode as it stands after the event."""

    kind: AlertKind
    alert: Alert
    at_ns: Ns
