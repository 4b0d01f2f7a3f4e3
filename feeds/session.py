"""What every venue's session does alike: the pulse of the link, books that fall and resync, silent streams, telling the listener.

The venue's own file adds only its protocol: names, decoders, the sequence rule and how to ask for a snapshot. Rules and numbers:
reliability 3.0 and 7.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import nan
from typing import ClassVar, TypeAlias

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
    Kind,
    LinkState,
    Ns,
    Status,
    Stream,
)
from feeds.orderbook import OrderBook
from feeds.subscription import BOOK_SILENCE_NS, NO_DATA, PERIODS, RETRY_NS, Subscription, Verdict
from feeds.venue import NOTHING, Action, Checkpoint, Drop, FetchError, Laid, Listener, NoListener, Plan, Send

Handler: TypeAlias = Callable[[bytes, Ns], Sequence[Action]]
"""What takes the frames of one stream name."""

CROSSED_GRACE_NS: Ns = 500 * MS
RESYNC_SPACING_NS: Ns = 2 * SECOND
SILENCE_MIN_NS: Ns = 2 * SECOND
SILENCE_MAX_NS: Ns = 4_500 * MS
THROUGH_NS: Ns = 2 * SECOND
"""For so long may trades print outside a book, or a best quote lie over one that does not follow."""
FAR_AHEAD = 100_000_000
"""No best quote is so many updates ahead of a book that follows: the busiest counter needs twenty minutes for them."""
EXPIRED = "expired"
RENEWED = "renewed"
TAPE = "tape"
"""Why a book fell: asked for by the user; contradicted by trades or by the best quote."""


def silence_ns(pulse_period_ns: Ns | None) -> Ns:
    """How long a link may be silent: three pulse periods, 2 to 4.5 s; without a pulse 4.5 s."""
    if pulse_period_ns is None:
        return SILENCE_MAX_NS
    return min(max(3 * pulse_period_ns, SILENCE_MIN_NS), SILENCE_MAX_NS)


class BookFeed:
    """One book on one connection, with what its session must remember to keep it whole."""

    __slots__ = (
        "book",
        "chain",
        "floor",
        "floor_ns",
        "health",
        "instrument",
        "leg",
        "outside_at",
        "outside_last_ns",
        "outside_ns",
        "over_ns",
        "over_seq",
        "resync_at_ns",
        "resynced_ns",
        "silent_seq",
        "stream",
        "through_ns",
    )

    def __init__(self, instrument: Instrument, stream: Stream, leg: LegHealth, health: StreamHealth) -> None:
        self.instrument = instrument
        self.stream = stream
        self.leg = leg
        self.health = health
        self.book = OrderBook(instrument, leg)
        self.chain = -1
        """What the next update must follow, by the venue's rule."""
        self.floor = 0
        """A snapshot of an earlier update is older than what has been shown."""
        self.floor_ns: Ns = 0
        self.resynced_ns: Ns = 0
        self.resync_at_ns: Ns = NEVER
        self.silent_seq = -1
        """Update of the last snapshot on which no update ever came: the same once more means a market without changes."""
        self.outside_ns: Ns = 0
        """Since when trades have printed outside the book, and only there, through `outside_at`; 0 while they do not."""
        self.outside_last_ns: Ns = 0
        self.outside_at = 0.0
        self.over_seq = -1
        """A best quote that lay over the book when it was last looked at, and when it was first seen there."""
        self.over_ns: Ns = 0
        self.through_ns: Ns = -NEVER
        """When trades or the best quote last contradicted it for too long."""


class BookSession(ABC):
    """Base of a venue's session. Subclasses add names, decoders, the sequence rule, and how to ask for streams and snapshots."""

    ticker_period_ns: ClassVar[Ns] = SECOND
    """How often the ticker of a derivative speaks."""

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
        self.streams: dict[Stream, Subscription] = {}
        self.handlers: dict[bytes, Handler] = {}
        """By stream name, for the streams that have spoken; what they hold on to is fixed, so they go when any of it changes."""
        self.silence_ns = SILENCE_MAX_NS
        self._silent_ns: Ns = 0
        """The silence of the link counts from here, where that is later than its last data: it leaves out when nobody looked."""
        self._blind_ns: Ns = 0
        """Until when nobody looked last: nothing of before is judged."""
        self._look_ns: Ns = NEVER
        self._requests = 0

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
    def resubscribe(self, streams: Sequence[Stream]) -> Sequence[Action]:
        """Ask anew for streams that are subscribed to, and with a book's for a snapshot."""

    @abstractmethod
    def request_book(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        """How to get a fresh snapshot of a book."""

    @abstractmethod
    def restate(self, now: Ns) -> None:
        """Tell the listener again what the venue tells only when it changes."""

    @abstractmethod
    def pulse_period_ns(self) -> Ns | None:
        """Period of the most frequent pulse channel among `streams`; None where none of them is one."""

    def opened(self, now: Ns) -> Sequence[Action]:
        self.pulse.opened_ns = self.pulse.last_ns = now
        self.link = LinkState.NOT_READY
        return self.want(self.plan.streams, (), now)

    def want(self, add: Sequence[Stream], drop: Sequence[Stream], now: Ns) -> Sequence[Action]:
        dropped = [stream for stream in dict.fromkeys(drop) if stream in self.streams]
        self._leave(dropped, "unsubscribed", now)
        wanted = [stream for stream in dict.fromkeys(add) if stream not in self.streams]
        fresh = [stream for stream in wanted if not 0 < self._expiry_ns(stream) <= now]
        for stream in fresh:
            self.streams[stream] = asked = Subscription(stream, self.board.stream(stream), self._limit_ns(stream))
            asked.ask(now)
        actions: list[Action] = list(self.subscribe(fresh, dropped))
        for stream in fresh:
            if stream.channel is Channel.BOOK:
                instrument = self.instruments[stream.instrument]
                leg = self.board.leg(instrument.id, instrument.venue, instrument.market, self.pulse)
                feed = BookFeed(instrument, stream, leg, self.streams[stream].health)
                self.feeds[instrument.id] = feed
                self.books[instrument.id] = feed.book
                feed.book.fall(BookState.BUFFERING, "")
                feed.resynced_ns = now
                actions.extend(self.request_book(feed, now))
                feed.resynced_ns = 0  # the first resync is at once
            self.tell(stream, now)
            self.due(self.streams[stream].due(now))
            self.due(self._expiry_ns(stream) or NEVER)
        for stream in wanted:
            if stream not in self.streams:
                self.listener.on_status(stream, Status(LinkState.CLOSED, BookState.EMPTY, EXPIRED), now)
        self.silence_ns = silence_ns(self.pulse_period_ns())
        self.due(now + self.silence_ns)
        self._look_ns = _next_second(now)
        if self.feeds:
            self.due(self._look_ns)
        return actions

    def wake(self, now: Ns) -> Sequence[Action]:
        if not self.pulse.alive:
            self.deadline = NEVER
            return NOTHING
        if now < self._blind_ns:
            self.deadline = self._blind_ns
            return NOTHING
        silent_ns = max(self.pulse.last_ns, self._silent_ns)
        if self.streams and now - silent_ns >= self.silence_ns:
            return self.link_dead(now)
        self.deadline = silent_ns + self.silence_ns if self.streams else NEVER
        return [*self._expire(now), *self._look_at_books(now), *self._look_at_streams(now)] or NOTHING

    def closed(self, reason: str, now: Ns, final: bool = False) -> None:
        self.pulse.alive = False
        self.deadline = NEVER
        self.link = LinkState.CLOSED if final else LinkState.DOWN
        self._blank(reason, now)

    @property
    def ready(self) -> bool:
        if self.link is not LinkState.READY:
            return False
        for stream, asked in self.streams.items():
            if stream.channel is Channel.BOOK and not (asked.declined or self.books[stream.instrument].published):
                return False
            if stream.channel is Channel.TICKER and not (asked.fault or asked.heard):
                return False
        return True

    def promote(self, listener: Listener, health: HealthBoard, now: Ns) -> None:
        for line in self.board.said:
            health.said.append(line)
        self.listener = listener
        self._move(health)
        for stream in self.streams:
            self.tell(stream, now)
        for feed in self.feeds.values():
            if feed.book.state is BookState.SYNCED:
                listener.on_book(feed.book, now)
        self.restate(now)

    def retire(self) -> None:
        self.pulse = Pulse()
        self.pulse.alive = False
        self.deadline = NEVER
        self.link = LinkState.CLOSED
        self.listener = NoListener()
        self._move(HealthBoard())
        for book in self.books.values():
            book.fall(BookState.EMPTY, "retired")

    def renew_book(self, instrument: InstrumentId, now: Ns) -> Sequence[Action]:
        feed = self.feeds.get(instrument)
        if feed is None or not self.pulse.alive:
            return NOTHING
        return self.resync(feed, RENEWED, now)

    def stood_still(self, since: Ns, until: Ns) -> None:
        self._blind_ns = until
        self._silent_ns = max(self.pulse.last_ns, self._silent_ns) + until - since
        for asked in self.streams.values():
            asked.stood_still(until - since)
        for feed in self.feeds.values():
            feed.over_seq, feed.outside_ns = -1, 0
            feed.book.leg.stood_still(until - since)

    def checkpoints(self) -> Sequence[Checkpoint]:
        return [
            Checkpoint(
                instrument=feed.instrument.id,
                seq=feed.book.seq,
                chain=feed.chain,
                bids=feed.book.bids.levels(1 << 30),
                asks=feed.book.asks.levels(1 << 30),
                laid=_laid(feed.book),
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
        quote = checkpoint.laid
        if quote is not None:
            bid, ask = (nan if price is None else price for price in (quote.bid, quote.ask))
            feed.book.touch(bid, quote.bid_size, ask, quote.ask_size, quote.seq, 0, now)
        self.streams[feed.stream].hear()  # it had spoken before the segment began
        self.tell(feed.stream, now)
        self.listener.on_book(feed.book, now)

    def due(self, at: Ns) -> None:
        """Be woken no later than `at`."""
        if at < self.deadline:
            self.deadline = at

    def request(self, streams: Sequence[Stream]) -> int:
        """The number of a new request; its answer will be about these streams."""
        self._requests += 1
        for stream in streams:
            asked = self.streams.get(stream)
            if asked is not None:
                asked.request = str(self._requests)
        return self._requests

    def acknowledged(self, request: str, now: Ns) -> None:
        """The venue has said yes to a request."""
        for stream, asked in self.streams.items():
            if asked.request == request and asked.acknowledge():
                self.tell(stream, now)

    def declined(self, streams: Sequence[Stream], reason: str, now: Ns) -> None:
        """The venue has said no to what asked for these streams; what has spoken since is asked for no longer."""
        for stream in streams:
            asked = self.streams[stream]
            asked.decline(reason)
            self.tell(stream, now)
            self.due(asked.due(now))

    def hear(self, stream: Stream, now: Ns) -> None:
        """A stream speaks for the first time since it was asked for."""
        asked = self.streams[stream]
        if asked.hear():
            self.tell(stream, now)
        if asked.limit_ns:
            self.due(now + asked.limit_ns)

    def tell(self, stream: Stream, now: Ns) -> None:
        """Report a stream's status as it is."""
        asked = self.streams.get(stream)
        link, fault = self.link, asked.fault if asked is not None else ""
        if fault and link in (LinkState.NOT_READY, LinkState.READY):
            link = LinkState.NOT_READY
        else:
            fault = ""
        feed = self.feeds.get(stream.instrument)
        if feed is not None and stream.channel is Channel.BOOK:
            self.listener.on_status(stream, Status(link, feed.book.state, fault or feed.book.reason), now)
        else:
            self.listener.on_status(stream, Status(link, BookState.EMPTY, fault), now)

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
        self.fall(feed, reason, now)
        return self.request_when_due(feed, now)

    def fall(self, feed: BookFeed, reason: str, now: Ns) -> None:
        """Nothing of the book is readable until its next snapshot."""
        feed.health.resyncs += 1
        feed.chain = -1
        feed.over_seq, feed.outside_ns = -1, 0
        feed.book.fall(BookState.BUFFERING, reason)
        self.tell(feed.stream, now)

    def request_when_due(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        """Ask for a snapshot now, or later when the last request is less than 2 s old."""
        if now - feed.resynced_ns < RESYNC_SPACING_NS:
            feed.resync_at_ns = feed.resynced_ns + RESYNC_SPACING_NS
            self.due(feed.resync_at_ns)
            return NOTHING
        feed.resynced_ns = now
        feed.resync_at_ns = NEVER
        return self.request_book(feed, now)

    def again(self, streams: Sequence[Stream], now: Ns) -> Sequence[Action]:
        """Subscribe anew. What comes next counts as the streams' first data."""
        for stream in streams:
            self.streams[stream].ask(now)
            if stream.channel is Channel.BOOK:
                feed = self.feeds[stream.instrument]
                feed.resynced_ns, feed.resync_at_ns = now, NEVER
        self.handlers.clear()
        actions = self.resubscribe(streams)
        for stream in streams:
            self.due(self.streams[stream].due(now))
        return actions

    def printed_outside(self, feed: BookFeed, price: float, now: Ns) -> Sequence[Action]:
        """A trade that does not lie between the book's bid and ask.

        One says nothing: it took a level away, or came after the quote that it moved. Two seconds of trades through one price
        that stands there all the time do.
        """
        book = feed.book
        if not book.published or not (price < book.bid or price > book.ask):
            return NOTHING  # no book, or a side without a price
        through = book.bid if price < book.bid else book.ask
        if not feed.outside_ns or through != feed.outside_at or now - feed.outside_last_ns >= THROUGH_NS:
            feed.outside_ns, feed.outside_at = now, through
        feed.outside_last_ns = now
        return self._through(feed, now) if now - feed.outside_ns >= THROUGH_NS else NOTHING

    def link_dead(self, now: Ns) -> Sequence[Action]:
        """Nothing came for too long: blank everything and give the connection up."""
        silent_s = (now - self.pulse.last_ns) / SECOND
        self.pulse.alive = False
        self.deadline = NEVER
        self.link = LinkState.DOWN
        self._blank(SILENT, now)
        return (Drop(f"no data for {silent_s:.1f} s", 0),)

    def _look_at_books(self, now: Ns) -> list[Action]:
        actions: list[Action] = []
        second = now >= self._look_ns
        if second:
            self._look_ns = _next_second(now)
        for feed in self.feeds.values():
            book = feed.book
            if book.crossed_ns:
                crossed_ns = max(book.crossed_ns, self._blind_ns)
                if now - crossed_ns >= CROSSED_GRACE_NS:
                    actions.extend(self.resync(feed, "crossed", now))
                else:
                    self.due(crossed_ns + CROSSED_GRACE_NS)
            if feed.resync_at_ns <= now:
                feed.resync_at_ns = NEVER
                feed.resynced_ns = now
                actions.extend(self.request_book(feed, now))
            self.due(feed.resync_at_ns)
            if second:
                actions.extend(self._look_at_quote(feed, now))
        if self.feeds:
            self.due(self._look_ns)
        return actions

    def _look_at_quote(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        """A best quote over the book is followed by the book, or one of them is wrong."""
        book = feed.book
        if book.state is not BookState.SYNCED or book.touch_seq <= book.seq:
            feed.over_seq = -1
        elif feed.over_seq <= book.seq:
            feed.over_seq, feed.over_ns = book.touch_seq, now
        elif now - feed.over_ns >= THROUGH_NS:
            feed.over_seq = -1
            bid, ask = book.best_of_levels()
            follows = _same(book.touch_bid, bid[0]) and _same(book.touch_ask, ask[0])
            if not follows and feed.health.last_ns <= feed.over_ns:
                return self._through(feed, now)
            book.touch_seq = -1  # the book goes on and has not reached that number, or shows the same prices
            recv_ns = book.recv_ns
            book.apply((), (), book.seq, book.venue_ns, now)
            book.recv_ns = recv_ns  # nothing has been received
            self.changed(feed, now)
        return NOTHING

    def _look_at_streams(self, now: Ns) -> list[Action]:
        actions: list[Action] = []
        again: list[Stream] = []
        alone = not any(asked.ever for asked in self.streams.values())
        for stream, asked in self.streams.items():
            before = asked.fault
            verdict = asked.judge(now, alone)
            if verdict is Verdict.GIVE_UP and not actions:
                actions.append(Drop(f"no data on {stream.channel} of {stream.instrument}", 0))
            elif verdict is Verdict.AGAIN:
                again.append(stream)
            if asked.fault != before:
                self._unheard(asked, now)
        if again:
            actions.extend(self.again(again, now))
        for asked in self.streams.values():
            self.due(asked.due(now))
        return actions

    def _unheard(self, asked: Subscription, now: Ns) -> None:
        """A stream has become silent. A snapshot on which nothing has ever come may be of any age: nobody may read it."""
        feed = self.feeds.get(asked.stream.instrument) if asked.stream.channel is Channel.BOOK else None
        if feed is not None and not asked.ever and asked.fault == NO_DATA and feed.book.state is BookState.SYNCED:
            feed.silent_seq = feed.book.seq
            self.fall(feed, NO_DATA, now)
        self.handlers.clear()  # so that the next frame is noticed
        self.tell(asked.stream, now)

    def _through(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        """Trades or the best quote contradict the book: it is fetched anew, and soon after that the connection is."""
        feed.outside_ns = 0
        asked = self.streams[feed.stream]
        if not asked.heard:
            return NOTHING  # asked for anew already: it speaks soon, or the connection is given up
        if now - feed.through_ns < RETRY_NS:
            return (Drop(f"the book of {feed.instrument.id} does not follow its trades and quotes", 0),)
        feed.through_ns = now
        asked.tries = 1
        self.fall(feed, TAPE, now)
        return self.again((feed.stream,), now)

    def _expire(self, now: Ns) -> Sequence[Action]:
        """Streams of contracts that have ended."""
        over: list[Stream] = []
        for stream in self.streams:
            expiry_ns = self._expiry_ns(stream)
            if 0 < expiry_ns <= now:
                over.append(stream)
            elif expiry_ns:
                self.due(expiry_ns)
        if not over:
            return NOTHING
        self._leave(over, EXPIRED, now)
        return self.subscribe((), over)

    def _leave(self, streams: Sequence[Stream], reason: str, now: Ns) -> None:
        for stream in streams:
            del self.streams[stream]
            if stream.channel is Channel.BOOK:
                self.feeds.pop(stream.instrument)
                self.books.pop(stream.instrument).fall(BookState.EMPTY, reason)
            self.listener.on_status(stream, Status(LinkState.CLOSED, BookState.EMPTY, reason), now)

    def _expiry_ns(self, stream: Stream) -> Ns:
        return self.instruments[stream.instrument].expiry_ns

    def _limit_ns(self, stream: Stream) -> Ns:
        """How long a stream that has spoken may be silent; 0 where silence says nothing."""
        if stream.channel is Channel.BOOK:
            return BOOK_SILENCE_NS
        if stream.channel is Channel.TICKER and self.instruments[stream.instrument].kind is not Kind.SPOT:
            return PERIODS * self.ticker_period_ns
        return 0

    def _move(self, board: HealthBoard) -> None:
        """Count on another board from here on."""
        self.board = board
        self.handlers.clear()
        for stream, asked in self.streams.items():
            last_ns, asked.health = asked.health.last_ns, board.stream(stream)
            asked.health.last_ns = max(last_ns, asked.health.last_ns)
        for feed in self.feeds.values():
            instrument, before = feed.instrument, feed.leg
            leg = board.leg(instrument.id, instrument.venue, instrument.market, self.pulse)
            leg.raw_ns, leg.fresh = before.raw_ns, before.fresh
            feed.leg = feed.book.leg = leg
            feed.health = self.streams[feed.stream].health

    def _blank(self, reason: str, now: Ns) -> None:
        self.handlers.clear()
        for feed in self.feeds.values():
            feed.book.fall(BookState.EMPTY, reason)
        for stream in self.streams:
            self.tell(stream, now)


def _laid(book: OrderBook) -> Laid | None:
    if book.touch_seq <= book.seq:
        return None
    bid, ask = (price if price == price else None for price in (book.touch_bid, book.touch_ask))
    return Laid(book.touch_seq, bid, book.touch_bid_size, ask, book.touch_ask_size)


def _same(one: float, other: float) -> bool:
    """Equal prices, or none on either side."""
    return one == other or (one != one and other != other)


def _next_second(now: Ns) -> Ns:
    return (now // SECOND + 1) * SECOND
