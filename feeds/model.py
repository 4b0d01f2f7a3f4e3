"""The words of the program: instruments, streams, statuses and market events, with their units.

Everything here is a frozen value. No venue, no socket, no clock. Prices are in the quote currency; a size is in the venue's own
unit (base coin, contracts or US dollars) until `Instrument.to_base` or `to_quote` converts it, and nowhere else.
Times are integer nanoseconds UTC. Sources: DESIGN 3 and protocols.md 0.4 to 0.6.
"""

from collections.abc import Mapping
from enum import StrEnum
from math import nan
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

Ns: TypeAlias = int
"""Nanoseconds: a UTC instant or a span, as the name around it says."""
VenueId: TypeAlias = str
InstrumentId: TypeAlias = str

Price: TypeAlias = Annotated[float, Meta(gt=0, lt=1e15)]
"""A price as it comes off the wire. The decoder refuses nan, inf, zero, negatives and 1e400, in C."""
Size: TypeAlias = Annotated[float, Meta(ge=0, lt=1e15)]
"""A size off the wire; 0 deletes a level."""
Rate: TypeAlias = Annotated[float, Meta(gt=-10, lt=10)]
"""A funding rate as a fraction per interval."""
Millis: TypeAlias = Annotated[int, Meta(ge=0, lt=4_102_444_800_000)]
"""A venue time in ms before the year 2100; 0 stands for "none" where a venue sends that."""
Level: TypeAlias = tuple[Price, Size]
Levels: TypeAlias = list[Level]

MS: int = 1_000_000
SECOND: int = 1_000_000_000


class Kind(StrEnum):
    SPOT = "spot"
    PERP = "perp"
    FUTURE = "future"
    OPTION = "option"


class Contract(StrEnum):
    LINEAR = "linear"
    INVERSE = "inverse"
    QUANTO = "quanto"


class Fees(Struct, frozen=True):
    """Fractions of notional: maker, taker. What a venue's own metadata states for an instrument."""

    maker: float
    taker: float


class Instrument(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing that trades. `id` is `VENUE:BASE/QUOTE[:SETTLE[-YYMMDD]]`; `native` is the venue's name within `market`."""

    id: InstrumentId
    venue: VenueId
    market: str
    """The venue's own division, in which `native` is unique: spot, usdm, coinm, linear, inverse, swap, ..."""
    native: str
    base: str
    quote: str
    settle: str = ""
    """Empty for spot."""
    kind: Kind
    contract: Contract = Contract.LINEAR
    contract_size: Annotated[float, Meta(gt=0)] = 1.0
    """Base units (linear) or quote units (inverse) in one unit of the venue's size field."""
    tick: Annotated[float, Meta(gt=0)]
    lot: Annotated[float, Meta(gt=0)]
    min_notional: Annotated[float, Meta(ge=0)] = 0.0
    """In quote units; 0 where the venue states none."""
    expiry_ns: Ns = 0
    """0 unless a dated future or an option."""
    funding_interval_s: int = 0
    """0 where the metadata does not say."""
    fees: Fees | None = None
    """What the venue's metadata states, never a default."""
    assumed: bool = False
    """True for a shipped entry that no venue answer has confirmed."""

    def to_base(self, size: float, price: float) -> float:
        """`size` in the venue's unit at `price` (quote per base) as base units; nan for a quanto."""
        if self.contract is Contract.INVERSE:
            return size * self.contract_size / price
        return size * self.contract_size if self.contract is Contract.LINEAR else nan

    def to_quote(self, size: float, price: float) -> float:
        """`size` in the venue's unit at `price` (quote per base) as quote units, USD of an inverse contract; nan for a quanto."""
        if self.contract is Contract.INVERSE:
            return size * self.contract_size
        return size * self.contract_size * price if self.contract is Contract.LINEAR else nan


class Channel(StrEnum):
    BOOK = "book"
    TOUCH = "touch"
    TRADE = "trade"
    TICKER = "ticker"
    """Mark, index, funding, open interest, 24 h figures: whatever of them the venue has."""
    LIQUIDATION = "liquidation"


class Stream(Struct, frozen=True, order=True):
    """One channel of one instrument."""

    instrument: InstrumentId
    channel: Channel


Instruments: TypeAlias = Mapping[InstrumentId, Instrument]


class LinkState(StrEnum):
    CONNECTING = "connecting"
    READY = "ready"
    NOT_READY = "not ready"
    DOWN = "down"
    COOLING = "cooling"
    MAINTENANCE = "maintenance"
    PAUSED = "paused"
    CLOSED = "closed"


SILENT = "link"
"""Why a book fell whose connection said nothing for too long."""


class BookState(StrEnum):
    EMPTY = "empty"
    BUFFERING = "buffering"
    SYNCED = "synced"


class Status(Struct, frozen=True):
    """What a stream's link and book are, and why the book last fell: gap, crossed, link, decode, overflow, reset, closed."""

    link: LinkState
    book: BookState
    reason: str = ""


Aggressor: TypeAlias = Literal["buy", "sell"]


class Trade(Struct, frozen=True, gc=False):
    """A print. `size` is in the venue's unit; `aggressor` is the taker's side; `block` trades did not touch the book."""

    price: float
    size: float
    aggressor: Aggressor
    venue_ns: Ns
    id: str = ""
    block: bool = False


class Mark(Struct, frozen=True, gc=False, tag=True):
    price: float
    venue_ns: Ns


class Index(Struct, frozen=True, gc=False, tag=True):
    price: float
    venue_ns: Ns


class PairIndex(Struct, frozen=True, gc=False):
    """A venue's index of a pair of currencies, watched markets in it or not: quote units per base."""

    venue: VenueId
    base: str
    quote: str
    price: float
    venue_ns: Ns


class Funding(Struct, frozen=True, gc=False, tag=True):
    """`rate` is a fraction per interval, positive when longs pay; `next_ns` 0 and `interval_s` 0 mean the venue did not say."""

    rate: float
    interval_s: int
    next_ns: Ns
    venue_ns: Ns


class OpenInterest(Struct, frozen=True, gc=False, tag=True):
    """One side, in the venue's size unit."""

    size: float
    venue_ns: Ns


class Stats24h(Struct, frozen=True, gc=False, tag=True):
    """Traded in the last 24 h, in base and in quote units."""

    base_volume: float
    quote_volume: float
    venue_ns: Ns


class Liquidation(Struct, frozen=True, gc=False, tag=True):
    """A forced close. `position` is the side that was closed out, never the order's side; `size` in the venue's unit."""

    position: Literal["long", "short"]
    price: float
    size: float
    venue_ns: Ns


Metric: TypeAlias = Mark | Index | Funding | OpenInterest | Stats24h | Liquidation
