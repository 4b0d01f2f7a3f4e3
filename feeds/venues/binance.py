"""Binance: spot, USD-M and COIN-M public market data.

Facts: protocols.md 0.3 to 0.6 and 1 (developers.binance.com and the spot API docs, 2026-07; USD-M routes of 2026-04-23).
Books come from a REST snapshot joined to the diff stream. Spot events follow by `U == previous u + 1`, futures by
`pu == previous u`. A bookTicker shares the book's sequence, so a newer one lies over the book. Depth runs at any interval.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import ClassVar, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from feeds import symbols
from feeds.errors import DECODE_ERRORS, BadFrame, InputError
from feeds.health import HealthBoard, StreamHealth
from feeds.model import (
    MS,
    SECOND,
    Aggressor,
    BookState,
    Channel,
    Contract,
    Funding,
    Index,
    Instrument,
    Instruments,
    Kind,
    Level,
    LinkState,
    Liquidation,
    Mark,
    Millis,
    Ns,
    Price,
    Size,
    Stream,
    Trade,
)
from feeds.session import RESYNC_SPACING_NS, BookFeed, BookSession
from feeds.text import clean_text
from feeds.venue import NOTHING, Action, Fetch, FetchError, Listener, Plan, Send, Session

SPOT, USDM, COINM = "spot", "usdm", "coinm"
BUFFER_BYTES = 8 << 20
"""Diffs kept while a snapshot is on its way; beyond it the join starts over."""
REGRESSED_NS: Ns = SECOND
"""A diff with an old number is a duplicate, unless it was sent this much after the book's last: then the numbering fell back."""
HANDLERS_KEPT = 4096
"""Stream names remembered on a connection: far above what is subscribed."""
STREAMS_PER_CONNECTION = 180
"""At most 200 by NT; a multiple of the streams of an instrument on every route, so that book and quote stay together."""
PARAMS_PER_MESSAGE = 200
LONGEST_FUNDING_NS: Ns = 24 * 3600 * SECOND
"""A funding time that steps further says nothing about the interval."""
PERPETUAL_FROM_MS = 3_786_912_000_000
"""A delivery date in 2090 or later stands for "never"."""


class Market(NamedTuple):
    """One of Binance's three markets: where it is, and how its books follow."""

    rest: str
    routes: Mapping[str, str]
    """Route name -> websocket base; a market without routes has the one route "" ."""
    depth_path: str
    depth_weight: int
    catalogue_path: str
    catalogue_weight: int


MARKETS: Mapping[str, Market] = {
    SPOT: Market(
        "https://api.binance.com",
        {"": "wss://stream.binance.com:9443"},
        "/api/v3/depth?symbol={symbol}&limit=1000",
        50,
        "/api/v3/exchangeInfo",
        20,
    ),
    USDM: Market(
        "https://fapi.binance.com",
        {"public": "wss://fstream.binance.com/public", "market": "wss://fstream.binance.com/market"},
        "/fapi/v1/depth?symbol={symbol}&limit=1000",
        20,
        "/fapi/v1/exchangeInfo",
        1,
    ),
    COINM: Market(
        "https://dapi.binance.com",
        {"": "wss://dstream.binance.com"},
        "/dapi/v1/depth?symbol={symbol}&limit=1000",
        20,
        "/dapi/v1/exchangeInfo",
        1,
    ),
}

STREAM_NAMES: Mapping[tuple[str, Channel], str] = {
    (SPOT, Channel.BOOK): "depth@100ms",
    (SPOT, Channel.TOUCH): "bookTicker",
    (SPOT, Channel.TRADE): "trade",
    (USDM, Channel.BOOK): "depth@100ms",
    (USDM, Channel.TOUCH): "bookTicker",
    (USDM, Channel.TRADE): "aggTrade",
    (USDM, Channel.TICKER): "markPrice@1s",
    (USDM, Channel.LIQUIDATION): "forceOrder",
    (COINM, Channel.BOOK): "depth@100ms",
    (COINM, Channel.TOUCH): "bookTicker",
    (COINM, Channel.TRADE): "aggTrade",
    (COINM, Channel.TICKER): "markPrice@1s",
    (COINM, Channel.LIQUIDATION): "forceOrder",
}
USDM_MARKET_ROUTE = frozenset({Channel.TRADE, Channel.TICKER, Channel.LIQUIDATION})
"""Channels that USD-M serves under /market; on /public they are acknowledged and silent."""

PULSE_PERIODS: Mapping[Channel, Ns] = {Channel.TOUCH: SECOND // 2, Channel.TICKER: SECOND}
"""bookTicker of an active instrument, markPrice@1s."""

CHANNEL_OF: Mapping[str, Channel] = {
    "depth": Channel.BOOK,
    "bookTicker": Channel.TOUCH,
    "trade": Channel.TRADE,
    "aggTrade": Channel.TRADE,
    "markPrice": Channel.TICKER,
    "forceOrder": Channel.LIQUIDATION,
}
_TOPIC = re.compile(r"([a-z0-9_]{1,40})@(depth|bookTicker|trade|aggTrade|markPrice|forceOrder)(?:@\d{1,5}m?s)?")
_PREFIX = b'{"stream":"'


class _Wire(Struct, gc=False):
    """Base of wire messages: decoded, read once and dropped."""


class _SpotDepth(_Wire):
    E: Millis
    U: int
    u: int
    b: list[Level]
    a: list[Level]


class _SpotDepthFrame(_Wire):
    data: _SpotDepth


class _FuturesDepth(_Wire):
    E: Millis
    U: int
    u: int
    pu: int
    b: list[Level]
    a: list[Level]


class _FuturesDepthFrame(_Wire):
    data: _FuturesDepth


class _Snapshot(_Wire):
    lastUpdateId: int
    bids: list[Level]
    asks: list[Level]
    E: Millis = 0


class _Touch(_Wire):
    u: int
    b: Size
    B: Size
    a: Size
    A: Size
    E: Millis = 0


class _TouchFrame(_Wire):
    data: _Touch


class _Trade(_Wire):
    p: Size
    q: Size
    m: bool
    T: Millis
    t: int = 0
    a: int = 0
    X: str = "MARKET"


class _TradeFrame(_Wire):
    data: _Trade


class _MarkPrice(_Wire):
    E: Millis
    p: Price
    i: Size = 0.0
    r: str = ""
    T: Millis = 0


class _MarkPriceFrame(_Wire):
    data: _MarkPrice


class _Order(_Wire):
    s: str
    S: str
    ap: Size
    z: Size
    T: Millis


class _ForceOrder(_Wire):
    o: _Order


class _ForceOrderFrame(_Wire):
    data: _ForceOrder


class _Error(_Wire):
    code: int = 0
    msg: str = ""


class _Control(_Wire):
    """An acknowledgement, an error in either of its forms, or a frame whose keys stand in another order."""

    stream: str | None = None
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: _Error | None = None


class _Filter(_Wire):
    filterType: str = ""
    tickSize: Size = 0.0
    stepSize: Size = 0.0
    notional: Size = 0.0
    minNotional: Size = 0.0


class _Symbol(_Wire):
    symbol: str
    baseAsset: str
    quoteAsset: str
    status: str = ""
    contractStatus: str = ""
    contractType: str = ""
    marginAsset: str = ""
    deliveryDate: int = 0
    contractSize: Price = 1.0
    filters: list[_Filter] = []


class _Catalogue(_Wire):
    symbols: list[msgspec.Raw]


_spot_depth = msgspec.json.Decoder(_SpotDepthFrame, strict=False).decode
_futures_depth = msgspec.json.Decoder(_FuturesDepthFrame, strict=False).decode
_snapshot = msgspec.json.Decoder(_Snapshot, strict=False).decode
_touch = msgspec.json.Decoder(_TouchFrame, strict=False).decode
_trade = msgspec.json.Decoder(_TradeFrame, strict=False).decode
_mark_price = msgspec.json.Decoder(_MarkPriceFrame, strict=False).decode
_force_order = msgspec.json.Decoder(_ForceOrderFrame, strict=False).decode
_control = msgspec.json.Decoder(_Control).decode
_catalogue = msgspec.json.Decoder(_Catalogue).decode
_symbol = msgspec.json.Decoder(_Symbol, strict=False).decode


class Binance:
    """Facts of the venue: instruments, connections, names."""

    id: ClassVar[str] = "BINANCE"

    def catalogue(self) -> Sequence[Fetch]:
        return [
            Fetch(f"instruments:{name}", market.catalogue_path, market.catalogue_weight, 1) for name, market in MARKETS.items()
        ]

    def instruments(self, answers: Mapping[str, bytes]) -> Sequence[Instrument]:
        """Raises a decode error when an answer is no exchangeInfo; a symbol that cannot be understood is left out."""
        found: list[Instrument] = []
        for key, body in answers.items():
            market = key.removeprefix("instruments:")
            if market in MARKETS:
                found.extend(filter(None, (_instrument(market, raw) for raw in _catalogue(body).symbols)))
        return found

    def channels(self, instrument: Instrument) -> Sequence[Channel]:
        return [channel for market, channel in STREAM_NAMES if market == instrument.market]

    def plan(self, wanted: Sequence[Stream], instruments: Instruments) -> Sequence[Plan]:
        """One connection a market and route, split at the stream limit."""
        routes: dict[tuple[str, str], list[Stream]] = {}
        for stream in wanted:
            market = instruments[stream.instrument].market
            route = ""
            if market == USDM:
                route = "market" if stream.channel in USDM_MARKET_ROUTE else "public"
            routes.setdefault((market, route), []).append(stream)
        return [
            Plan(self.id, market, f"{MARKETS[market].routes[route]}/stream", tuple(streams[at : at + STREAMS_PER_CONNECTION]))
            for (market, route), streams in routes.items()
            for at in range(0, len(streams), STREAMS_PER_CONNECTION)
        ]

    def topic(self, market: str, data: bytes) -> str | None:
        name = _stream_name(data)
        if name is None:
            try:
                found = _control(data).stream
            except DECODE_ERRORS:
                return None
            return clean_text(found) if found is not None else None
        return clean_text(name)

    def stream_of(self, market: str, topic: str, instruments: Instruments) -> Stream | None:
        match = _TOPIC.fullmatch(topic)
        if match is None:
            return None
        native = match[1].upper()
        for instrument in instruments.values():
            if instrument.native == native and instrument.market == market and instrument.venue == self.id:
                return Stream(instrument.id, CHANNEL_OF[match[2]])
        return None

    def catalogue_key(self, url: str) -> str | None:
        path = urlsplit(url).path
        return next((f"instruments:{name}" for name, market in MARKETS.items() if path == market.catalogue_path), None)

    def snapshot_key(self, url: str) -> str | None:
        parts = urlsplit(url)
        symbol = parse_qs(parts.query).get("symbol")
        if symbol and any(parts.path == urlsplit(market.depth_path).path for market in MARKETS.values()):
            return f"depth:{clean_text(symbol[0])}"
        return None

    def session(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> Session:
        return BinanceSession(plan, instruments, listener, health)


class _Join:
    """Diffs kept until a snapshot meets them, for one book."""

    __slots__ = ("events", "size")

    def __init__(self) -> None:
        self.events: list[_SpotDepth | _FuturesDepth] = []
        self.size = 0

    def clear(self) -> None:
        self.events = []
        self.size = 0


class BinanceSession(BookSession):
    """One connection of one market.

    A feed's `chain` is the update of a snapshot on which nothing lies yet: the next diff must contain it, not follow it.
    """

    def __init__(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> None:
        super().__init__(plan, instruments, listener, health)
        self.spot = plan.market == SPOT
        self.joins: dict[str, _Join] = {}
        self._message_id = 0
        self._by_native = {
            instrument.native: instrument
            for instrument in instruments.values()
            if instrument.venue == plan.venue and instrument.market == plan.market
        }
        self._handlers: dict[bytes, Callable[[bytes, Ns], Sequence[Action]]] = {}
        self._intervals: dict[str, tuple[Ns, int]] = {}  # instrument -> next funding time seen, interval in s

    def pulse_period_ns(self) -> Ns | None:
        return min((PULSE_PERIODS[s.channel] for s in self.streams if s.channel in PULSE_PERIODS), default=None)

    def subscribe(self, add: Sequence[Stream], drop: Sequence[Stream]) -> Sequence[Send]:
        self._handlers.clear()
        for stream in add:
            instrument = self.instruments[stream.instrument]
            self._by_native[instrument.native] = instrument
            if stream.channel is Channel.BOOK:
                self.joins[instrument.native] = _Join()
        sends = []
        for method, streams in (("UNSUBSCRIBE", drop), ("SUBSCRIBE", add)):
            names = [self._name(stream) for stream in streams]
            for at in range(0, len(names), PARAMS_PER_MESSAGE):
                self._message_id += 1
                message = {"method": method, "params": names[at : at + PARAMS_PER_MESSAGE], "id": self._message_id}
                sends.append(Send(msgspec.json.encode(message).decode()))
        return sends

    def request_book(self, feed: BookFeed) -> Sequence[Action]:
        native = feed.instrument.native
        market = MARKETS[self.plan.market]
        self.joins.setdefault(native, _Join())
        return (Fetch(f"depth:{native}", market.depth_path.format(symbol=native), market.depth_weight, 0),)

    def frame(self, data: bytes, now: Ns) -> Sequence[Action]:
        name = _stream_name(data)
        if name is None:
            return self._control(data, now) if self.pulse.alive else NOTHING
        if self.link is not LinkState.READY:
            if not self.pulse.alive:
                return NOTHING  # given up: what still arrives may not bring a book back
            self.alive(now)
        handler = self._handlers.get(name)
        if handler is None:
            handler = self._remember(name)
        return handler(data, now)

    def refused(self, data: bytes, now: Ns) -> Sequence[Action]:
        match = _TOPIC.fullmatch((_stream_name(data) or b"").decode("ascii", "replace"))
        instrument = self._by_native.get(match[1].upper()) if match is not None else None
        if match is None or instrument is None:
            return NOTHING
        self.board.stream(Stream(instrument.id, CHANNEL_OF[match[2]])).quarantined += 1
        feed = self.feeds.get(instrument.id)
        if match[2] != "depth" or feed is None:
            return NOTHING
        return self.resync(feed, "decode", now)

    def answer(self, key: str, body: bytes | FetchError, now: Ns) -> Sequence[Action]:
        """A depth snapshot. Raises a decode error for a body that is none."""
        instrument = self._by_native.get(key.removeprefix("depth:"))
        feed = self.feeds.get(instrument.id) if instrument is not None else None
        if feed is None or feed.book.state is BookState.SYNCED or not self.pulse.alive:
            return NOTHING
        feed.resync_at_ns = now + RESYNC_SPACING_NS  # unless this is the snapshot; a body that is none raises below
        self.due(feed.resync_at_ns)
        if isinstance(body, FetchError):
            return NOTHING
        return self._join(feed, _snapshot(body), now)

    def resync(self, feed: BookFeed, reason: str, now: Ns) -> Sequence[Action]:
        self.joins[feed.instrument.native] = _Join()
        return super().resync(feed, reason, now)

    def _name(self, stream: Stream) -> str:
        instrument = self.instruments[stream.instrument]
        return f"{instrument.native.lower()}@{STREAM_NAMES[instrument.market, stream.channel]}"

    def _remember(self, name: bytes) -> Callable[[bytes, Ns], Sequence[Action]]:
        if len(self._handlers) >= HANDLERS_KEPT:  # names nobody asked for must not fill the memory
            self._handlers.clear()
        handler = self._handlers[name] = self._handler(name)
        return handler

    def _handler(self, name: bytes) -> Callable[[bytes, Ns], Sequence[Action]]:
        """What handles a stream name, looked up once a name."""
        match = _TOPIC.fullmatch(name.decode("ascii", "replace"))
        instrument = self._by_native.get(match[1].upper()) if match is not None else None
        if match is None or instrument is None:
            return self._ignore
        stream = Stream(instrument.id, CHANNEL_OF[match[2]])
        if stream not in self.streams:
            return self._ignore
        health = self.board.stream(stream)
        feed = self.feeds.get(instrument.id)
        if stream.channel is Channel.BOOK and feed is not None:
            return self._depth(feed)
        if stream.channel is Channel.TOUCH:
            return self._touch(feed, health) if feed is not None else self._ignore
        make = {
            Channel.TRADE: self._trade,
            Channel.TICKER: self._mark_price,
            Channel.LIQUIDATION: self._force_order,
        }[stream.channel]
        return make(instrument, health)

    def _ignore(self, data: bytes, now: Ns) -> Sequence[Action]:
        """A stream that nobody asked for: it is a sign of life and no more."""
        self.pulse.last_ns = now
        self.board.ignored += 1
        return NOTHING

    def _control(self, data: bytes, now: Ns) -> Sequence[Action]:
        message = _control(data)
        if message.stream is not None:
            self.alive(now)
            name = message.stream.encode("utf-8", "replace")
            return (self._handlers.get(name) or self._remember(name))(data, now)
        error = message.error or (_Error(message.code, message.msg) if message.code else None)
        if error is not None:
            self.link = LinkState.NOT_READY
            self.board.say(f"{self.plan.venue} {self.plan.market}: error {error.code}: {clean_text(error.msg, 200)}", now)
            for stream in self.streams:
                self.tell(stream, now)
        return NOTHING

    def _depth(self, feed: BookFeed) -> Callable[[bytes, Ns], Sequence[Action]]:
        """The hot path of a book: decode, follow the sequence, apply, tell."""
        decode: Callable[[bytes], _SpotDepthFrame | _FuturesDepthFrame] = _spot_depth if self.spot else _futures_depth
        book, leg, health, pulse, listener = feed.book, feed.leg, feed.health, self.pulse, self.listener
        synced = BookState.SYNCED

        def depth(data: bytes, now: Ns) -> Sequence[Action]:
            event = decode(data).data
            health.seen(len(data), now)
            pulse.last_ns = now
            sent_ns = event.E * MS
            leg.raw_ns = now - sent_ns
            leg.fresh = True
            if book.state is synced and _previous(event) == book.seq and event.u >= event.U:
                book.apply(event.b, event.a, event.u, sent_ns, now)
                if book.crossed_ns:
                    self.changed(feed, now)
                else:
                    listener.on_book(book, now)
                return NOTHING
            return self._out_of_line(feed, event, len(data), now)

        return depth

    def _out_of_line(self, feed: BookFeed, event: _SpotDepth | _FuturesDepth, size: int, now: Ns) -> Sequence[Action]:
        """A diff that does not simply follow: one of a book without a snapshot, an old one, or the proof of a gap."""
        if event.u < event.U:
            raise BadFrame("a depth update ends before it begins")
        book = feed.book
        join = self.joins.setdefault(feed.instrument.native, _Join())
        if book.state is BookState.SYNCED:
            bare = feed.chain == book.seq
            old = event.u < book.seq or (event.u == book.seq and (self.spot or not bare))
            if old and not (book.venue_ns and event.E * MS > book.venue_ns + REGRESSED_NS):
                feed.health.ignored += 1
                return NOTHING
            if not old and bare and self._contains(event, book.seq):
                feed.chain = -1
                book.apply(event.b, event.a, event.u, event.E * MS, now)
                self.changed(feed, now)
                return NOTHING
            actions = self.gap(feed, now)
            join = self.joins[feed.instrument.native]
        else:
            actions = NOTHING
        join.events.append(event)
        join.size += size
        if join.size > BUFFER_BYTES:
            join.clear()
            book.reason = "overflow"
            self.tell(feed.stream, now)
            return self.request_when_due(feed, now)
        return actions

    def _contains(self, event: _SpotDepth | _FuturesDepth, last: int) -> bool:
        """The join rule: whether a diff is the first that may be laid on a snapshot of update `last`."""
        if isinstance(event, _SpotDepth):
            return event.U <= last + 1 <= event.u
        return event.U <= last <= event.u or event.pu == last

    def _join(self, feed: BookFeed, snapshot: _Snapshot, now: Ns) -> Sequence[Action]:
        join = self.joins.setdefault(feed.instrument.native, _Join())
        last = snapshot.lastUpdateId
        oldest = last + 1 if self.spot else last
        kept = [event for event in join.events if event.u >= oldest]
        if kept and not self._contains(kept[0], last):
            return self.request_when_due(feed, now)  # the snapshot is older than what was kept: ask again
        feed.book.replace(snapshot.bids, snapshot.asks, last, snapshot.E * MS, now)
        feed.chain = -1 if kept else last
        for at, event in enumerate(kept):
            if at and _previous(event) != feed.book.seq:
                return self.gap(feed, now)
            feed.book.apply(event.b, event.a, event.u, event.E * MS, now)
        join.clear()
        feed.book.recv_ns = now
        self.synced(feed, now)
        return NOTHING

    def _touch(self, feed: BookFeed, health: StreamHealth) -> Callable[[bytes, Ns], Sequence[Action]]:
        lay, leg, pulse, listener, book = feed.book.touch, feed.leg, self.pulse, self.listener, feed.book

        def touch(data: bytes, now: Ns) -> Sequence[Action]:
            quote = _touch(data).data
            health.seen(len(data), now)
            pulse.last_ns = now
            sent = quote.E
            if sent:
                leg.raw_ns = now - sent * MS
                leg.fresh = True
            if lay(quote.b, quote.B, quote.a, quote.A, quote.u, sent * MS, now):
                if book.crossed_ns:
                    self.changed(feed, now)
                else:
                    listener.on_touch(book, now)
            return NOTHING

        return touch

    def _trade(self, instrument: Instrument, health: StreamHealth) -> Callable[[bytes, Ns], Sequence[Action]]:
        pulse, listener = self.pulse, self.listener

        def trade(data: bytes, now: Ns) -> Sequence[Action]:
            fill = _trade(data).data
            health.seen(len(data), now)
            pulse.last_ns = now
            if fill.X != "MARKET":  # the insurance fund's, ADL, and NA, whose price is 0
                return NOTHING
            if not (fill.p and fill.q):
                raise BadFrame("a trade without price or size")
            side: Aggressor = "sell" if fill.m else "buy"
            listener.on_trade(instrument, Trade(fill.p, fill.q, side, fill.T * MS, str(fill.t or fill.a)), now)
            return NOTHING

        return trade

    def _mark_price(self, instrument: Instrument, health: StreamHealth) -> Callable[[bytes, Ns], Sequence[Action]]:
        listener = self.listener

        def mark_price(data: bytes, now: Ns) -> Sequence[Action]:
            mark = _mark_price(data).data
            health.seen(len(data), now)
            self.pulse.last_ns = now
            at = mark.E * MS
            listener.on_metric(instrument, Mark(mark.p, at), now)
            if mark.i:
                listener.on_metric(instrument, Index(mark.i, at), now)
            rate = _rate(mark.r)
            if rate is not None and mark.T:
                interval_s = self._funding_interval_s(instrument, mark.T * MS)
                listener.on_metric(instrument, Funding(rate, interval_s, mark.T * MS, at), now)
            return NOTHING

        return mark_price

    def _funding_interval_s(self, instrument: Instrument, next_ns: Ns) -> int:
        """The metadata's interval until the funding time has stepped; from then on the step itself."""
        seen, interval_s = self._intervals.get(instrument.id, (next_ns, instrument.funding_interval_s))
        if 0 < next_ns - seen <= LONGEST_FUNDING_NS:
            interval_s = (next_ns - seen) // SECOND
        self._intervals[instrument.id] = (next_ns, interval_s)
        return interval_s

    def _force_order(self, instrument: Instrument, health: StreamHealth) -> Callable[[bytes, Ns], Sequence[Action]]:
        def force_order(data: bytes, now: Ns) -> Sequence[Action]:
            order = _force_order(data).data.o
            health.seen(len(data), now)
            self.pulse.last_ns = now
            if order.S not in ("SELL", "BUY"):
                raise BadFrame(f"a forced order with side {clean_text(order.S)}")
            position: Literal["long", "short"] = "long" if order.S == "SELL" else "short"
            if order.ap and order.z and order.s == instrument.native:
                self.listener.on_metric(instrument, Liquidation(position, order.ap, order.z, order.T * MS), now)
            return NOTHING

        return force_order


def _previous(event: _SpotDepth | _FuturesDepth) -> int:
    """The update that a diff follows."""
    return event.pu if isinstance(event, _FuturesDepth) else event.U - 1


def _stream_name(data: bytes) -> bytes | None:
    """The name in a combined frame that begins as they all do; None for anything else."""
    if data.startswith(_PREFIX):
        end = data.find(b'"', 11, 80)
        if end > 0:
            return data[11:end]
    return None


def _rate(text: str) -> float | None:
    """A funding rate as text; None where there is none (dated contracts send an empty string)."""
    if not text:
        return None
    try:
        rate = float(text)
    except ValueError:
        raise BadFrame(f"a funding rate that is no number: {clean_text(text)}") from None
    if not isfinite(rate) or abs(rate) >= 10:
        raise BadFrame(f"a funding rate out of bounds: {clean_text(text)}")
    return rate


def _instrument(market: str, raw: msgspec.Raw) -> Instrument | None:
    """One symbol of an exchangeInfo answer; None unless it trades and every fact is there."""
    try:
        entry = _symbol(raw)
    except DECODE_ERRORS:
        return None
    tick = max((f.tickSize for f in entry.filters if f.filterType == "PRICE_FILTER"), default=0.0)
    lot = max((f.stepSize for f in entry.filters if f.filterType == "LOT_SIZE"), default=0.0)
    least = max((f.notional or f.minNotional for f in entry.filters if f.filterType in ("NOTIONAL", "MIN_NOTIONAL")), default=0.0)
    if not (tick and lot) or (entry.contractStatus or entry.status) != "TRADING":
        return None
    perpetual = "PERPETUAL" in entry.contractType or entry.deliveryDate >= PERPETUAL_FROM_MS
    expiry_ns = 0 if market == SPOT or perpetual else entry.deliveryDate * MS
    settle = "" if market == SPOT else entry.marginAsset
    if market != SPOT and not (settle and entry.deliveryDate):
        return None
    base, quote = clean_text(entry.baseAsset), clean_text(entry.quoteAsset)
    kind = Kind.SPOT if market == SPOT else Kind.PERP if perpetual else Kind.FUTURE
    try:
        name = symbols.instrument_id(Binance.id, base, quote, clean_text(settle), expiry_ns)
    except InputError:
        return None
    return Instrument(
        id=name,
        venue=Binance.id,
        market=market,
        native=clean_text(entry.symbol),
        base=base,
        quote=quote,
        settle=clean_text(settle),
        kind=kind,
        contract=Contract.INVERSE if market == COINM else Contract.LINEAR,
        contract_size=entry.contractSize if market == COINM else 1.0,
        tick=tick,
        lot=lot,
        min_notional=least,
        expiry_ns=expiry_ns,
    )
