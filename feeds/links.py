"""What can be seen of the machinery that feeds the program: connections, request limits, clocks. Values only, made to be shown.

Filled by `feeds/live.py`; a replay knows the part that a recording tells.
"""

from collections.abc import Mapping
from enum import StrEnum
from math import nan

from msgspec import Struct

from feeds.model import LinkState, Ns


class Breaker(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class LinkView(Struct, frozen=True, kw_only=True):
    """One connection that is wanted, whether it is up or not."""

    slot: str
    """Its lasting name: `BINANCE.usdm.public.1`."""
    venue: str
    market: str
    host: str
    """Host and port, never a path or a query."""
    streams: int
    state: LinkState
    since_ns: Ns
    """When it came into this state."""
    reason: str = ""
    """Why it is not READY, already clean."""
    next_ns: Ns = 0
    """When the next attempt begins; 0 while none is planned."""
    attempt: int = 0
    """Failed attempts since it last worked for a minute."""
    opened_ns: Ns = 0
    """When the connection that is up was opened; 0 while none is."""
    renews_ns: Ns = 0
    """When it will be renewed on plan; 0 where it never is."""
    renewing: bool = False
    """A second connection is being brought up to take over."""
    reconnects: int = 0
    connects_left: int = 0
    """Attempts that the host's budget still allows in this minute."""
    frames: int = 0
    bytes: int = 0
    last_ns: Ns = 0
    """When the last data frame came."""
    raw: tuple[tuple[Ns, str], ...] = ()
    """The last few messages, newest last: `←` received, `→` sent, clean and cut."""


class PoolView(Struct, frozen=True, kw_only=True):
    """One REST request limit."""

    name: str
    host: str
    used: int
    """Weight used in this minute, ours or what the venue says, whichever is more."""
    limit: int
    queued: int
    gate_ns: Ns = 0
    """Until when nothing may be asked (Retry-After); 0 when it may."""
    breaker: Breaker = Breaker.CLOSED
    answered: int = 0
    failed: int = 0
    last_ms: float = nan
    """Round trip of the last answer."""
    reason: str = ""
    """Why it last failed, already clean."""


class ClockView(Struct, frozen=True):
    """A venue's clock minus ours, in ms; nan while unknown."""

    offset_ms: float
    error_ms: float


class Recording(Struct, frozen=True, kw_only=True):
    """What is being recorded; `directory` empty: nothing."""

    directory: str = ""
    bytes: int = 0
    since_ns: Ns = 0
    failure: str = ""


class FeedsView(Struct, frozen=True, kw_only=True):
    """Everything that a screen of the machinery draws, beside the streams' own `Health`."""

    now_ns: Ns
    links: tuple[LinkView, ...] = ()
    pools: tuple[PoolView, ...] = ()
    clocks: Mapping[tuple[str, str], ClockView] = {}
    """(venue, market) → its clock."""
    said: tuple[tuple[Ns, str], ...] = ()
    """What venues and connections said, clean, newest last."""
    recording: Recording = Recording()
    wall_step_ms: float = 0.0
    """How far the wall clock has stepped against receive time since the start."""
    quarantined: int = 0
    ignored: int = 0
