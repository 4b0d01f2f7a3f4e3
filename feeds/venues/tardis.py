"""Tardis' normalised messages: one shape for every venue, in each venue's own names and units, several venues in one stream.

Facts: protocols.md 6 (tardis-node src/types.ts, 2026-08; a stream recorded 2019-04-01). Each exchange of a stream is a connection
of its own here, as it is at the venue: one that falls silent is found even while another speaks. Books begin with `isSnapshot`
and go on in the order of arrival: there is no number to check, and nothing to ask for. A `disconnect` empties books until their
next snapshot. Not here: the raw replay, which the venues' own adapters read.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from feeds import symbols
from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.health import HealthBoard, StreamHealth
from feeds.model import (
    SECOND,
    BookState,
    Channel,
    Funding,
    Index,
    Instrument,
    InstrumentId,
    Instruments,
    Liquidation,
    Mark,
    Ns,
    OpenInterest,
    Price,
    Rate,
    Size,
    Stream,
    Trade,
    VenueId,
)
from feeds.session import BookFeed, BookSession
from feeds.text import clean_text
from feeds.venue import NOTHING, Action, Drop, FetchError, Listener, Plan, Send

SCHEME: Final = "tardis"
"""Of the URL of a recorded connection that speaks these messages: `tardis://bitmex/public`, exchange and market."""
STREAM_PATH: Final = "/ws-stream-normalized"
"""Of a tardis-machine's websocket with live messages."""
DISCONNECTED: Final = "disconnect"
"""The message, and why a book fell, when the recorder lost the exchange."""
SILENCE_NS: Final[Ns] = 15 * SECOND
"""The recorder itself gives an exchange up after 10 s, says so and begins anew; a stream of few symbols is silent for long."""

EXCHANGES: Mapping[str, tuple[VenueId, str]] = {
    "binance": ("BINANCE", "spot"),
    "binance-futures": ("BINANCE", "usdm"),
    "binance-delivery": ("BINANCE", "coinm"),
    "bybit-spot": ("BYBIT", "spot"),
    "bybit": ("BYBIT", ""),
    "okex": ("OKX", "public"),
    "okex-swap": ("OKX", "public"),
    "okex-futures": ("OKX", "public"),
    "deribit": ("DERIBIT", "public"),
    "bitmex": ("BITMEX", "public"),
}
"""Exchange -> venue and market; linear and inverse contracts of Bybit are one exchange, and only their names tell them apart."""
CHANNEL_OF: Mapping[str, Channel] = {
    "book_change": Channel.BOOK,
    "trade": Channel.TRADE,
    "derivative_ticker": Channel.TICKER,
    "liquidation": Channel.LIQUIDATION,
}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(2010, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)

Instant: TypeAlias = Annotated[datetime, Meta(tz=True)]


class _Wire(Struct, gc=False):
    """Base of wire messages: decoded, read once and dropped."""


class Head(_Wire):
    """What every message has: whose it is, and when it came to the recorder."""

    type: str
    exchange: str
    localTimestamp: Instant
    symbol: str = ""
    symbols: list[str] = []
    """Of a `disconnect`; none means all."""


class _Level(_Wire):
    price: Price
    amount: Size


class _Book(_Wire):
    isSnapshot: bool
    bids: list[_Level]
    asks: list[_Level]
    timestamp: Instant


class _Trade(_Wire):
    price: Price
    amount: Size
    side: Literal["buy", "sell", "unknown"]
    timestamp: Instant
    id: str | None = None


class _Ticker(_Wire):
    timestamp: Instant
    markPrice: Price | None = None
    indexPrice: Price | None = None
    fundingRate: Rate | None = None
    fundingTimestamp: Instant | None = None
    openInterest: Size | None = None


class _Liquidation(_Wire):
    price: Price
    amount: Size
    side: Literal["buy", "sell"]
    timestamp: Instant


_head = msgspec.json.Decoder(Head).decode
_book = msgspec.json.Decoder(_Book).decode
_trade = msgspec.json.Decoder(_Trade).decode
_ticker = msgspec.json.Decoder(_Ticker).decode
_liquidation = msgspec.json.Decoder(_Liquidation).decode


def spoken_at(url: str) -> bool:
    """Whether a connection to `url` speaks these messages, whichever venue's they are."""
    return url.startswith(f"{SCHEME}:") or urlsplit(url).path == STREAM_PATH


def head_of(data: bytes) -> tuple[Head, Ns]:
    """The head of a message and its `localTimestamp`. Raises a decode error or `BadFrame` for what is none."""
    head = _head(data)
    return head, ns_of(head.localTimestamp)


def place_of(exchange: str, symbol: str) -> tuple[VenueId, str] | None:
    """(venue, market) of an exchange's symbol; None for an exchange that is not carried."""
    place = EXCHANGES.get(exchange)
    if place is None or place[1]:
        return place
    linear = symbols.native_to_parts(place[0], "linear", symbol) is not None
    return place[0], "linear" if linear else "inverse"


def topic_of(data: bytes) -> str | None:
    """`book_change.XBTUSD`; None for what belongs to no one instrument."""
    try:
        head = _head(data)
    except DECODE_ERRORS:
        return None
    return clean_text(f"{head.type}.{head.symbol}") if head.symbol else None


def stream_of(topic: str, instruments: Instruments) -> Stream | None:
    """What such a name means among the instruments of one market."""
    kind, _, symbol = topic.partition(".")
    channel = CHANNEL_OF.get(kind)
    found = next((each for each in instruments.values() if each.native == symbol), None)
    return Stream(found.id, channel) if found is not None and channel is not None else None


def session(plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> "TardisSession":
    """The session of a plan at a URL that `spoken_at` knows."""
    return TardisSession(plan, instruments, listener, health)


class TardisSession(BookSession):
    """One exchange of a stream."""

    def __init__(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> None:
        super().__init__(plan, instruments, listener, health)
        self._by_native = {
            instrument.native: instrument
            for instrument in instruments.values()
            if instrument.venue == plan.venue and instrument.market == plan.market
        }
        self._expected: dict[InstrumentId, None] = {}  # books whose first snapshot is on its way
        self._told: dict[InstrumentId, _Ticker] = {}

    def pulse_period_ns(self) -> Ns | None:
        return None

    def want(self, add: Sequence[Stream], drop: Sequence[Stream], now: Ns) -> Sequence[Action]:
        actions = super().want(add, drop, now)
        self.silence_ns = SILENCE_NS
        return actions

    def subscribe(self, add: Sequence[Stream], drop: Sequence[Stream]) -> Sequence[Send]:
        """The address of a stream names what is on it: nothing is ever sent."""
        for stream in drop:
            self._told.pop(stream.instrument, None)
        self._expected.update(dict.fromkeys(stream.instrument for stream in add if stream.channel is Channel.BOOK))
        return []

    def resubscribe(self, streams: Sequence[Stream]) -> Sequence[Action]:
        return NOTHING

    def request_book(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        """A snapshot comes with a new connection only."""
        if feed.instrument.id in self._expected:
            del self._expected[feed.instrument.id]
            return NOTHING
        return (Drop(f"the book of {feed.instrument.id} begins anew with a new connection only", 0),)

    def restate(self, now: Ns) -> None:
        for instrument, row in self._told.items():
            self._tell(self.instruments[instrument], row, now)

    def answer(self, key: str, body: bytes | FetchError, now: Ns) -> Sequence[Action]:
        """This session asks for nothing over REST."""
        return NOTHING

    def frame(self, data: bytes, now: Ns) -> Sequence[Action]:
        head, local_ns = head_of(data)
        if not self.pulse.alive:
            return NOTHING  # given up: what still arrives may not bring a book back
        if head.type == DISCONNECTED and EXCHANGES.get(head.exchange, ("", ""))[0] == self.plan.venue:
            self._disconnected(head.symbols, now)
            return NOTHING
        stream = self._stream(head)
        if stream is None:
            self.pulse.last_ns = now
            self.board.ignored += 1
            return NOTHING
        asked, instrument = self.streams[stream], self._by_native[head.symbol]
        if stream.channel is Channel.BOOK:
            self._change(self.feeds[instrument.id], data, local_ns, now)
        else:
            self._take(instrument, stream.channel, data, asked.health, now)
        if stream.channel is not Channel.BOOK and not asked.heard:  # a book speaks with its snapshot
            self.hear(stream, now)
        self.alive(now)
        return NOTHING

    def refused(self, data: bytes, now: Ns) -> Sequence[Action]:
        try:
            stream = self._stream(_head(data))
        except DECODE_ERRORS:  # it may have been of any book, and no number would ever tell
            return [action for feed in self.feeds.values() for action in self.resync(feed, "decode", now)]
        if stream is None:
            return NOTHING
        self.board.stream(stream).quarantined += 1
        return self.resync(self.feeds[stream.instrument], "decode", now) if stream.channel is Channel.BOOK else NOTHING

    def _stream(self, head: Head) -> Stream | None:
        """The stream of a message; None where nobody asked for it."""
        instrument, channel = self._by_native.get(head.symbol), CHANNEL_OF.get(head.type)
        if instrument is None or channel is None or place_of(head.exchange, head.symbol) != (self.plan.venue, self.plan.market):
            return None
        stream = Stream(instrument.id, channel)
        return stream if stream in self.streams else None

    def _disconnected(self, natives: Sequence[str], now: Ns) -> None:
        """The recorder lost the exchange: what it had of these symbols, or of all, may have changed since."""
        for feed in self.feeds.values():
            if not natives or feed.instrument.native in natives:
                self.fall(feed, DISCONNECTED, now)

    def _take(self, instrument: Instrument, channel: Channel, data: bytes, health: StreamHealth, now: Ns) -> None:
        if channel is Channel.TRADE:
            self._fill(instrument, data, health, now)
        elif channel is Channel.TICKER:
            ticker = _ticker(data)
            _times(ticker)
            self._seen(health, data, now)
            self._told[instrument.id] = ticker
            self._tell(instrument, ticker, now)
        else:
            closed = _liquidation(data)
            at = ns_of(closed.timestamp)
            self._seen(health, data, now)
            position: Literal["long", "short"] = "short" if closed.side == "buy" else "long"  # the order's side
            self.listener.on_metric(instrument, Liquidation(position, closed.price, closed.amount, at), now)

    def _seen(self, health: StreamHealth, data: bytes, now: Ns) -> None:
        health.seen(len(data), now)
        self.pulse.last_ns = now

    def _change(self, feed: BookFeed, data: bytes, local_ns: Ns, now: Ns) -> None:
        """Where a venue states no time the recorder writes its own into both places: that is no time of the venue's."""
        message = _book(data)
        at = ns_of(message.timestamp)
        at = 0 if at == local_ns else at
        bids = [(level.price, level.amount) for level in message.bids]
        asks = [(level.price, level.amount) for level in message.asks]
        self._seen(feed.health, data, now)
        if at:
            feed.leg.raw_ns = now - at
            feed.leg.fresh = True
        if message.isSnapshot:
            feed.book.replace(bids, asks, 0, at, now)
            self.hear(feed.stream, now)
            self.synced(feed, now)
        elif feed.book.state is not BookState.SYNCED:
            feed.health.ignored += 1
        else:
            feed.book.apply(bids, asks, feed.book.seq + 1, at, now)
            self.changed(feed, now)

    def _fill(self, instrument: Instrument, data: bytes, health: StreamHealth, now: Ns) -> None:
        """None is held against the book: they come seconds late (half of the recorded ones of BitMEX outside it)."""
        fill = _trade(data)
        at = ns_of(fill.timestamp)
        self._seen(health, data, now)
        if fill.side == "unknown":
            health.ignored += 1
            return
        self.listener.on_trade(instrument, Trade(fill.price, fill.amount, fill.side, at, clean_text(fill.id or "")), now)

    def _tell(self, instrument: Instrument, row: _Ticker, now: Ns) -> None:
        """Open interest of Bybit counts both sides, of the others one."""
        (at, next_ns), tell = _times(row), self.listener.on_metric
        if row.markPrice is not None:
            tell(instrument, Mark(row.markPrice, at), now)
        if row.indexPrice is not None:
            tell(instrument, Index(row.indexPrice, at), now)
        if row.fundingRate is not None:
            tell(instrument, Funding(row.fundingRate, instrument.funding_interval_s, next_ns, at), now)
        if row.openInterest is not None:
            sides = 2 if instrument.venue == "BYBIT" else 1
            tell(instrument, OpenInterest(row.openInterest / sides, at), now)


def _times(row: _Ticker) -> tuple[Ns, Ns]:
    """The venue's time and the next funding's, 0 where that is not told."""
    return ns_of(row.timestamp), ns_of(row.fundingTimestamp) if row.fundingTimestamp is not None else 0


def ns_of(at: datetime) -> Ns:
    """UTC ns. Raises `BadFrame` for what is no time of a market."""
    if not _FIRST <= at < _LAST:
        raise BadFrame("a time outside the years 2010 to 2099")
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000
