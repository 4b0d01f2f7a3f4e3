"""The contract between a venue's protocol and the rest: what a session is told, and what it may ask for (DESIGN 3).

A venue is a sans-I/O state machine: it opens no socket and reads no clock, so one implementation is driven by a live socket, a
recording, a simulator or a test, and every fault is a unit test.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, Protocol, TypeAlias

from msgspec import Struct

from feeds.health import Health, HealthBoard
from feeds.model import (
    Channel,
    Instrument,
    InstrumentId,
    Instruments,
    LinkState,
    Metric,
    Ns,
    PairIndex,
    Status,
    Stream,
    Trade,
    VenueId,
)
from feeds.orderbook import OrderBook


class Send(Struct, frozen=True, gc=False):
    """Send a control message. Secrets never pass here."""

    text: str


class Fetch(Struct, frozen=True, gc=False):
    """Ask over REST. `key` names the answer (`depth:BTCUSDT`); derived, never counted: a replay pairs answers by it."""

    key: str
    path: str
    weight: int
    priority: int
    """0 snapshot, 1 instruments and server time, 2 history."""
    market: str = ""
    """Whose REST host is asked; empty in a session's request means its own market."""


class Drop(Struct, frozen=True, gc=False):
    """Give the connection up. At least `wait_ns` before the next connect; `fatal` is shown and never reconnected."""

    reason: str
    wait_ns: Ns
    fatal: bool = False


class Renew(Struct, frozen=True, gc=False):
    """This connection will end soon: open another with the same streams, which takes over once its books are whole."""

    reason: str


Action: TypeAlias = Send | Fetch | Drop | Renew
NOTHING: Final[tuple[Action, ...]] = ()
"""What `frame` returns for market data: no allocation."""


class FetchError(Struct, frozen=True):
    """A REST answer that is none. `status` is the HTTP status, 0 where there was no answer; `reason` is already clean."""

    status: int
    reason: str


class Plan(Struct, frozen=True):
    """One connection to open: where, and which streams run on it."""

    venue: VenueId
    market: str
    url: str
    streams: tuple[Stream, ...]


class Endpoint(Struct, frozen=True):
    """Where one market of a venue is: bases without a trailing slash. Loopback may be `http://` and `ws://`, nothing else may."""

    rest: str
    websocket: str


class Terms(Struct, frozen=True):
    """What a venue allows and demands on one of its markets (protocols.md 1.3, 2.1)."""

    rest: str
    """Base URL of its REST host."""
    pool: str
    """Markets that name the same pool share one request-weight limit."""
    weight_per_minute: int
    sends_per_s: float
    """Control messages a connection may send."""
    connects_per_minute: int = 6
    """Per host; ours, far below what venues allow (reliability 3.0)."""
    lives_ns: Ns = 0
    """Age at which a connection is renewed, before the venue cuts it; 0 where it never does."""
    ping_s: float = 20.0
    """Period of the websocket's own pings."""
    forbidden_ns: Ns = 0
    """How long a handshake that is answered with 403 keeps a connection away; 0 for good, until the user says otherwise."""
    used_weight: str = ""
    """Response header with the weight used in this minute; empty where there is none."""


class Laid(Struct, frozen=True):
    """A best quote that lies over a book. A side without a price is empty."""

    seq: int
    bid: float | None
    bid_size: float
    ask: float | None
    ask_size: float


class Checkpoint(Struct, frozen=True, omit_defaults=True):
    """A SYNCED book as a recording segment opens with it. `seq` and `chain` are the venue's two orders (see `OrderBook`)."""

    instrument: InstrumentId
    seq: int
    chain: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]
    laid: Laid | None = None


class Listener(Protocol):
    """Push, synchronous, in receive order. Implementors do not raise."""

    def on_time(self, now: Ns) -> None:
        """Each 100 ms boundary, before any record at or after it."""

    def on_instrument(self, instrument: Instrument, now: Ns) -> None:
        """An instrument that is watched from here on, or whose facts changed."""

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None: ...
    def on_touch(self, book: OrderBook, now: Ns) -> None: ...
    def on_book(self, book: OrderBook, now: Ns) -> None: ...
    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None: ...
    def on_metric(self, instrument: Instrument, metric: Metric, now: Ns) -> None: ...
    def on_pair_index(self, index: PairIndex, now: Ns) -> None:
        """The index of a pair, of those that a venue is asked for besides what is watched: by them dollars are told apart."""

    def on_health(self, stream: Stream, health: Health, now: Ns) -> None:
        """Once a second."""


class NoListener:
    """A listener that does nothing: for keeping books alone, and to build listeners on that hear only some of it."""

    def on_time(self, now: Ns) -> None: ...
    def on_instrument(self, instrument: Instrument, now: Ns) -> None: ...
    def on_status(self, stream: Stream, status: Status, now: Ns) -> None: ...
    def on_touch(self, book: OrderBook, now: Ns) -> None: ...
    def on_book(self, book: OrderBook, now: Ns) -> None: ...
    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None: ...
    def on_metric(self, instrument: Instrument, metric: Metric, now: Ns) -> None: ...
    def on_pair_index(self, index: PairIndex, now: Ns) -> None: ...
    def on_health(self, stream: Stream, health: Health, now: Ns) -> None: ...


class Session(Protocol):
    """One connection's life: made at connect, thrown away at disconnect, so no state can outlive its generation."""

    @property
    def books(self) -> Mapping[InstrumentId, OrderBook]: ...
    @property
    def link(self) -> LinkState: ...
    @property
    def deadline(self) -> Ns:
        """Earliest moment `wake` is due."""

    def opened(self, now: Ns) -> Sequence[Action]: ...
    def want(self, add: Sequence[Stream], drop: Sequence[Stream], now: Ns) -> Sequence[Action]:
        """Change the subscriptions while running."""

    def frame(self, data: bytes, now: Ns) -> Sequence[Action]:
        """One websocket message. Raises `BadFrame` or a decode error for what the venue should not have sent."""

    def answer(self, key: str, body: bytes | FetchError, now: Ns) -> Sequence[Action]: ...
    def wake(self, now: Ns) -> Sequence[Action]: ...
    def closed(self, reason: str, now: Ns, final: bool = False) -> None:
        """The connection is gone: say so for every stream. Called once, last. `final`: on purpose, nothing follows it."""

    def refused(self, data: bytes, now: Ns) -> Sequence[Action]:
        """A frame was quarantined: the book it belonged to may have missed an update and starts over."""

    @property
    def ready(self) -> bool:
        """Data has come and every book that has not been declined is SYNCED: it may take over from an older connection."""

    def promote(self, listener: Listener, health: HealthBoard, now: Ns) -> None:
        """From now on this session speaks: to `listener` and on `health`, which begin with all it knows. Called at most once."""

    def retire(self) -> None:
        """Another connection speaks for these streams now: whatever still comes here reaches nobody, and its books are empty."""

    def renew_book(self, instrument: InstrumentId, now: Ns) -> Sequence[Action]:
        """The user wants a book fetched anew; nothing for one that is not here."""

    def stood_still(self, since: Ns, until: Ns) -> None:
        """Nobody looked from `since` to `until`: that nothing came then is no sign of anything, and nothing is judged by it."""

    def checkpoints(self) -> Sequence[Checkpoint]: ...
    def restore(self, checkpoint: Checkpoint, now: Ns) -> None:
        """Take a book from a segment's head, unless it is SYNCED already."""


class Venue(Protocol):
    """Facts of one venue; stateless."""

    id: ClassVar[VenueId]

    def closed(self, market: str) -> str:
        """Why a market trades no more, so that it is neither asked nor connected to; empty where it does."""

    def catalogue(self) -> Sequence[Fetch]:
        """The requests whose answers list the instruments."""

    def next_page(self, key: str, body: bytes) -> Fetch | None:
        """The request for what follows an answer of the catalogue; None after the last. Raises a decode error for no answer."""

    def clock(self, market: str) -> Fetch:
        """The request for the venue's time."""

    def server_ns(self, body: bytes) -> Ns:
        """The time in such an answer, UTC ns. Raises a decode error or `BadFrame`."""

    def terms(self, market: str) -> Terms: ...

    def instruments(self, answers: Mapping[str, bytes]) -> Sequence[Instrument]:
        """Instruments out of those answers, by the answers' keys. What cannot be understood is left out, never guessed."""

    def plan(self, wanted: Sequence[Stream], instruments: Instruments) -> Sequence[Plan]:
        """The connections that carry the wanted streams, by the venue's routes and limits."""

    def channels(self, instrument: Instrument) -> Sequence[Channel]:
        """What the venue publishes for an instrument."""

    def topic(self, market: str, data: bytes) -> str | None:
        """The venue's name of the stream a frame belongs to; None for acknowledgements and what is not recognised."""

    def stream_of(self, market: str, topic: str, instruments: Instruments) -> Stream | None:
        """What such a name means here; None for a channel or symbol that is not carried."""

    def catalogue_key(self, url: str) -> str | None:
        """Which key of `catalogue` a recorded REST request answered."""

    def snapshot_key(self, url: str) -> str | None:
        """The key under which a session would have asked for a recorded REST book snapshot."""

    def session(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> Session: ...
