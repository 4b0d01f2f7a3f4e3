"""What every venue's session does alike: the pulse of the link, falling and resyncing books, telling the listener.

The venue's own file adds only its protocol: names, decoders, the sequence rule and how to ask for a snapshot. Rules and numbers:
reliability 3.0 and 7.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from feeds.clock import NEVER
from feeds.health import HealthBoard, LegHealth, Pulse, StreamHealth
from feeds.model import (
    MS,
    SECOND,
    SILENT,
    BookState,
    Channel,
    Instrument,
    InstrumentId,
    Instruments,
    LinkState,
    Ns,
    Status,
    Stream,
)
from feeds.orderbook import OrderBook
from feeds.venue import NOTHING, Action, Checkpoint, Drop, FetchError, Listener, Plan, Send

CROSSED_GRACE_NS: Ns = 500 * MS
RESYNC_SPACING_NS: Ns = 2 * SECOND
SILENCE_MIN_NS: Ns = 2 * SECOND
SILENCE_MAX_NS: Ns = 4_500 * MS


def silence_ns(pulse_period_ns: Ns | None) -> Ns:
    """How long a link may be silent: three pulse periods, 2 to 4.5 s; without a pulse 4.5 s."""
    if pulse_period_ns is None:
        return SILENCE_MAX_NS
    return min(max(3 * pulse_period_ns, SILENCE_MIN_NS), SILENCE_MAX_NS)


class BookFeed:
    """One book on one connection, with what its session must remember to keep it whole."""

    __slots__ = ("book", "chain", "health", "instrument", "leg", "resync_at_ns", "resynced_ns", "stream")

    def __init__(self, instrument: Instrument, stream: Stream, leg: LegHealth, health: StreamHealth) -> None:
        self.instrument = instrument
        self.stream = stream
        self.leg = leg
        self.health = health
        self.book = OrderBook(instrument, leg)
        self.chain = -1
        """What the next update must follow, by the venue's rule."""
        self.resynced_ns: Ns = 0
        self.resync_at_ns: Ns = NEVER


class BookSession(ABC):
    """Base of a venue's session. Subclasses implement `frame`, `answer`, `refused`, `subscribe` and `request_book`."""

    def __init__(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> None:
        self.plan = plan
        self.instruments = instruments
        self.listener = listener
        self.board = health
        self.pulse = Pulse()
        self.link = LinkState.CONNECTING
        self.deadline: Ns = NEVER
        self.books: dict[InstrumentId, OrderBook] = {}
        self.feeds: dict[InstrumentId, BookFeed] = {}
        self.streams: list[Stream] = []
        self.silence_ns = SILENCE_MAX_NS

    @abstractmethod
    def frame(self, data: bytes, now: Ns) -> Sequence[Action]: ...

    @abstractmethod
    def answer(self, key: str, body: bytes | FetchError, now: Ns) -> Sequence[Action]: ...

    @abstractmethod
    def refused(self, data: bytes, now: Ns) -> Sequence[Action]: ...

    @abstractmethod
    def subscribe(self, add: Sequence[Stream], drop: Sequence[Stream]) -> Sequence[Send]:
        """The control messages that change the subscriptions."""

    @abstractmethod
    def request_book(self, feed: BookFeed) -> Sequence[Action]:
        """How to get a fresh snapshot of a book."""

    @abstractmethod
    def pulse_period_ns(self) -> Ns | None:
        """Period of the most frequent pulse channel among `streams`; None where none of them is one."""

    def opened(self, now: Ns) -> Sequence[Action]:
        self.pulse.opened_ns = self.pulse.last_ns = now
        self.link = LinkState.NOT_READY
        return self.want(self.plan.streams, (), now)

    def want(self, add: Sequence[Stream], drop: Sequence[Stream], now: Ns) -> Sequence[Action]:
        actions: list[Action] = []
        drop = [stream for stream in dict.fromkeys(drop) if stream in self.streams]
        for stream in drop:
            self.streams.remove(stream)
            if stream.channel is Channel.BOOK:
                self.feeds.pop(stream.instrument)
                self.books.pop(stream.instrument).fall(BookState.EMPTY, "unsubscribed")
            self.listener.on_status(stream, Status(LinkState.CLOSED, BookState.EMPTY, "unsubscribed"), now)
        fresh = [stream for stream in dict.fromkeys(add) if stream not in self.streams]
        self.streams.extend(fresh)
        actions.extend(self.subscribe(fresh, drop))
        for stream in fresh:
            health = self.board.stream(stream)
            if stream.channel is Channel.BOOK:
                instrument = self.instruments[stream.instrument]
                leg = self.board.leg(instrument.id, instrument.venue, instrument.market, self.pulse)
                feed = BookFeed(instrument, stream, leg, health)
                self.feeds[instrument.id] = feed
                self.books[instrument.id] = feed.book
                feed.book.fall(BookState.BUFFERING, "")
                feed.resynced_ns = now
                actions.extend(self.request_book(feed))
                feed.resynced_ns = 0  # the first resync is at once
            self.tell(stream, now)
        self.silence_ns = silence_ns(self.pulse_period_ns())
        self.due(now + self.silence_ns)
        return actions

    def wake(self, now: Ns) -> Sequence[Action]:
        actions: list[Action] = []
        if not self.pulse.alive:
            self.deadline = NEVER
            return NOTHING
        if now - self.pulse.last_ns >= self.silence_ns:
            return self.link_dead(now)
        self.deadline = self.pulse.last_ns + self.silence_ns
        for feed in self.feeds.values():
            book = feed.book
            if book.crossed_ns:
                if now - book.crossed_ns >= CROSSED_GRACE_NS:
                    actions.extend(self.resync(feed, "crossed", now))
                else:
                    self.due(book.crossed_ns + CROSSED_GRACE_NS)
            if feed.resync_at_ns <= now:
                feed.resync_at_ns = NEVER
                feed.resynced_ns = now
                actions.extend(self.request_book(feed))
            self.due(feed.resync_at_ns)
        return actions or NOTHING

    def closed(self, reason: str, now: Ns, final: bool = False) -> None:
        self.pulse.alive = False
        self.deadline = NEVER
        self.link = LinkState.CLOSED if final else LinkState.DOWN
        self._blank(reason, now)

    def checkpoints(self) -> Sequence[Checkpoint]:
        return [
            Checkpoint(
                instrument=feed.instrument.id,
                seq=feed.book.seq,
                chain=feed.chain,
                bids=feed.book.bids.levels(1 << 30),
                asks=feed.book.asks.levels(1 << 30),
            )
            for feed in self.feeds.values()
            if feed.book.state is BookState.SYNCED
        ]

    def restore(self, checkpoint: Checkpoint, now: Ns) -> None:
        feed = self.feeds.get(checkpoint.instrument)
        if feed is None or feed.book.state is BookState.SYNCED:
            return
        feed.chain = checkpoint.chain
        feed.book.replace(checkpoint.bids, checkpoint.asks, checkpoint.seq, 0, now)
        self.tell(feed.stream, now)
        self.listener.on_book(feed.book, now)

    def due(self, at: Ns) -> None:
        """Be woken no later than `at`."""
        if at < self.deadline:
            self.deadline = at

    def tell(self, stream: Stream, now: Ns) -> None:
        """Report a stream's status as it is."""
        feed = self.feeds.get(stream.instrument)
        if feed is not None and stream.channel is Channel.BOOK:
            self.listener.on_status(stream, Status(self.link, feed.book.state, feed.book.reason), now)
        else:
            self.listener.on_status(stream, Status(self.link, BookState.EMPTY), now)

    def alive(self, now: Ns) -> None:
        """The first data frame: the link is ready."""
        if self.link is LinkState.NOT_READY:
            self.link = LinkState.READY
            for stream in self.streams:
                self.tell(stream, now)

    def synced(self, feed: BookFeed, now: Ns) -> None:
        """A snapshot has been joined."""
        feed.resync_at_ns = NEVER
        self.tell(feed.stream, now)
        self.changed(feed, now)

    def changed(self, feed: BookFeed, now: Ns) -> None:
        """The book has a new content: tell, and see to it that a crossed one is looked at again."""
        if feed.book.crossed_ns:
            self.due(feed.book.crossed_ns + CROSSED_GRACE_NS)
        self.listener.on_book(feed.book, now)

    def gap(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        """An update was missed: nothing is readable until the next snapshot."""
        feed.health.gaps += 1
        return self.resync(feed, "gap", now)

    def resync(self, feed: BookFeed, reason: str, now: Ns) -> Sequence[Action]:
        """Blank a book and ask for a snapshot: at once the first time, then at least 2 s apart."""
        feed.health.resyncs += 1
        feed.chain = -1
        feed.book.fall(BookState.BUFFERING, reason)
        self.tell(feed.stream, now)
        return self.request_when_due(feed, now)

    def request_when_due(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        """Ask for a snapshot now, or later when the last request is less than 2 s old."""
        if now - feed.resynced_ns < RESYNC_SPACING_NS:
            feed.resync_at_ns = feed.resynced_ns + RESYNC_SPACING_NS
            self.due(feed.resync_at_ns)
            return NOTHING
        feed.resynced_ns = now
        feed.resync_at_ns = NEVER
        return self.request_book(feed)

    def link_dead(self, now: Ns) -> Sequence[Action]:
        """Nothing came for too long: blank everything and give the connection up."""
        silent_s = (now - self.pulse.last_ns) / SECOND
        self.pulse.alive = False
        self.deadline = NEVER
        self.link = LinkState.DOWN
        self._blank(SILENT, now)
        return (Drop(f"no data for {silent_s:.1f} s", 0),)

    def _blank(self, reason: str, now: Ns) -> None:
        for feed in self.feeds.values():
            feed.book.fall(BookState.EMPTY, reason)
        for stream in self.streams:
            self.tell(stream, now)
