"""Bybit v5: spot, linear and inverse public market data.

Facts: protocols.md 0.3 to 0.6 and 2 (bybit-exchange/docs, 2026-07; frames recorded 2026-08 to 2026-10). A book begins with an
in-band snapshot and goes on while `u` grows by one; any later snapshot replaces it. `seq` orders messages of all depths, so a
newer depth-1 message lies over the book. `tickers` of derivatives are deltas: what a message does not mention is unchanged.
"""

import re
from collections.abc import Mapping, Sequence
from math import nan
from typing import Annotated, ClassVar, Literal, TypeAlias
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
from msgspec import Meta, Struct

from feeds import symbols
from feeds.clock import NEVER
from feeds.errors import DECODE_ERRORS, BadFrame, InputError
from feeds.health import HealthBoard, StreamHealth
from feeds.model import (
    MS,
    SECOND,
    BookState,
    Channel,
    Contract,
    Funding,
    Index,
    Instrument,
    InstrumentId,
    Instruments,
    Kind,
    Level,
    Liquidation,
    Mark,
    Millis,
    Ns,
    OpenInterest,
    Price,
    Rate,
    Size,
    Stats24h,
    Stream,
    Trade,
)
from feeds.session import FAR_AHEAD, BookFeed, BookSession, Handler
from feeds.text import clean_text
from feeds.venue import NOTHING, Action, Endpoint, Fetch, FetchError, Listener, Plan, Send, Session, Terms

CATALOGUE_PATH = "/v5/market/instruments-info"
TIME_PATH = "/v5/market/time"
SPOT, LINEAR, INVERSE = "spot", "linear", "inverse"
UNKNOWN = -2
"""An update number that no update follows: the least is 0."""
MARKETS = (SPOT, LINEAR, INVERSE)
ENDPOINTS: Mapping[str, Endpoint] = dict.fromkeys(MARKETS, Endpoint("https://api.bybit.com", "wss://stream.bybit.com"))
REQUESTS_PER_MINUTE = 7_200
"""600 in any 5 s, from one address."""
SENDS_PER_S = 10.0
"""Ours; the venue states no limit."""
FORBIDDEN_NS: Ns = 600 * SECOND
"""403 is said to who asks too often, and he is let in again after ten minutes; to who asks from the wrong region as well."""

DEPTH = 200
"""Levels a side of the books that are asked for; recordings may hold others."""
ARGS_PER_MESSAGE = 10
"""Spot's limit. A request fails as a whole, so none asks for more than one instrument anyway."""
CHARACTERS_PER_CONNECTION = 21_000
PING_NS: Ns = 20 * SECOND
SWEEP_EVERY = 1_024
"""Updates of a book between two looks for levels beyond its depth: 0 in 2,142 recorded updates, and a look costs 40 us."""
RESTATE_NS: Ns = SECOND
"""Mark and index are told again after so long without a change, since each ticker message says that they still hold."""

TOPICS: Mapping[tuple[str, Channel], str] = {
    (market, channel): name
    for market in MARKETS
    for channel, name in (
        (Channel.BOOK, f"orderbook.{DEPTH}"),
        (Channel.TOUCH, "orderbook.1"),
        (Channel.TRADE, "publicTrade"),
        (Channel.TICKER, "tickers"),
        (Channel.LIQUIDATION, "allLiquidation"),
    )
    if (market, channel) != (SPOT, Channel.LIQUIDATION)
}
PULSE_PERIODS: Mapping[Channel, Ns] = {Channel.TICKER: SECOND, Channel.TOUCH: 3 * SECOND}
"""Derivatives' tickers come every 100 ms but only when something changed (longest recorded silence 1.1 s); a depth-1 book is
sent again after 3 s without a change. Spot's tickers are no pulse: 2.2 s of silence with 20 trades a second."""

CHANNEL_OF: Mapping[str, Channel] = {
    "publicTrade": Channel.TRADE,
    "tickers": Channel.TICKER,
    "allLiquidation": Channel.LIQUIDATION,
}
_SYMBOL = r"[A-Z0-9-]{1,40}"
_TOPIC = re.compile(rf"(?:orderbook\.([1-9]\d{{0,4}})|(publicTrade|tickers|allLiquidation))\.({_SYMBOL})")
_ANY_TOPIC = re.compile(rf"(?:orderbook\.\d{{1,5}}|publicTrade|tickers|allLiquidation)\.({_SYMBOL})")
_KEY = b'"topic":"'
_NAME_FROM, _NAME_LIMIT = len(_KEY), len(_KEY) + 64

Blank: TypeAlias = Literal[""]
"""How tickers and lists write "none"."""
Update: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 62)]
Hours: TypeAlias = Annotated[float, Meta(ge=0, le=1_000)]
MessageType: TypeAlias = Literal["snapshot", "delta"]


class _Wire(Struct, gc=False):
    """Base of wire messages: decoded, read once and dropped."""


class _Book(_Wire):
    s: str
    b: list[Level]
    a: list[Level]
    u: Update
    seq: Update


class _BookFrame(_Wire):
    topic: str
    type: MessageType
    ts: Millis
    data: _Book


class _Fill(_Wire):
    T: Millis
    S: Literal["Buy", "Sell"]
    v: Size
    p: Price
    i: str = ""
    BT: bool = False


class _TradeFrame(_Wire):
    topic: str
    data: list[_Fill]


class _Ticker(_Wire):
    """A field that is absent or blank says nothing new."""

    markPrice: Price | Blank = ""
    indexPrice: Size | Blank = ""
    fundingRate: Rate | Blank = ""
    nextFundingTime: Millis | Blank = ""
    fundingIntervalHour: Hours | Blank = ""
    openInterest: Size | Blank = ""
    singleOpenInterest: Size | Blank = ""
    volume24h: Size | Blank = ""
    turnover24h: Size | Blank = ""


class _TickerFrame(_Wire):
    topic: str
    type: MessageType
    ts: Millis
    data: _Ticker


class _Close(_Wire):
    T: Millis
    S: Literal["Buy", "Sell"]
    v: Size
    p: Price


class _CloseFrame(_Wire):
    topic: str
    data: list[_Close]


class _Control(_Wire):
    """An acknowledgement, a pong, an error, or a data frame written in an unusual way."""

    topic: str | None = None
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class _PriceFilter(_Wire):
    tickSize: Price


class _LotFilter(_Wire):
    qtyStep: Size = 0.0
    basePrecision: Size = 0.0
    minNotionalValue: Size | Blank = 0.0
    minOrderAmt: Size | Blank = 0.0


class _Symbol(_Wire):
    symbol: str
    status: str
    baseCoin: str
    quoteCoin: str
    priceFilter: _PriceFilter
    lotSizeFilter: _LotFilter
    settleCoin: str = ""
    contractType: str = ""
    deliveryTime: Millis | Blank = 0
    fundingInterval: Annotated[int, Meta(ge=0, le=100_000)] = 0
    isPreListing: bool = False


class _Page(_Wire):
    list: list[msgspec.Raw]
    nextPageCursor: str = ""


class _Answer(_Wire):
    retCode: int
    retMsg: str = ""


class _PageAnswer(_Wire):
    result: _Page


class _Time(_Wire):
    timeNano: Annotated[int, Meta(gt=0, lt=4_102_444_800_000_000_000)]


class _TimeAnswer(_Wire):
    result: _Time


_book = msgspec.json.Decoder(_BookFrame, strict=False).decode
_trade = msgspec.json.Decoder(_TradeFrame, strict=False).decode
_ticker = msgspec.json.Decoder(_TickerFrame, strict=False).decode
_close = msgspec.json.Decoder(_CloseFrame, strict=False).decode
_control = msgspec.json.Decoder(_Control).decode
_answer = msgspec.json.Decoder(_Answer).decode
_page = msgspec.json.Decoder(_PageAnswer).decode
_time = msgspec.json.Decoder(_TimeAnswer, strict=False).decode
_symbol = msgspec.json.Decoder(_Symbol, strict=False).decode

_CONTRACTS: Mapping[tuple[str, str], tuple[Kind, Contract]] = {
    (SPOT, ""): (Kind.SPOT, Contract.LINEAR),
    (LINEAR, "LinearPerpetual"): (Kind.PERP, Contract.LINEAR),
    (LINEAR, "LinearFutures"): (Kind.FUTURE, Contract.LINEAR),
    (INVERSE, "InversePerpetual"): (Kind.PERP, Contract.INVERSE),
    (INVERSE, "InverseFutures"): (Kind.FUTURE, Contract.INVERSE),
}


class Bybit:
    """Facts of the venue: instruments, connections, names.

    Args:
        endpoints: where each category is; the real hosts unless said otherwise.
    """

    id: ClassVar[str] = "BYBIT"
    endpoints: ClassVar[Mapping[str, Endpoint]] = ENDPOINTS

    def __init__(self, endpoints: Mapping[str, Endpoint] = ENDPOINTS) -> None:
        self._endpoints = endpoints

    def closed(self, market: str) -> str:
        return ""

    def catalogue(self) -> Sequence[Fetch]:
        return [_catalogue_fetch(market, "") for market in MARKETS]

    def next_page(self, key: str, body: bytes) -> Fetch | None:
        """The request for what follows a page of the catalogue; None after the last. Raises a decode error for no page."""
        market = _market_of(key)
        cursor = _page(body).result.nextPageCursor
        return _catalogue_fetch(market, cursor) if market is not None and cursor else None

    def clock(self, market: str) -> Fetch:
        return Fetch(f"clock:{market}", TIME_PATH, 1, 1, market)

    def server_ns(self, body: bytes) -> Ns:
        """Raises `BadFrame` for a refusal."""
        _refuse(body, "time")
        return _time(body).result.timeNano

    def terms(self, market: str) -> Terms:
        return Terms(
            rest=self._endpoints[market].rest,
            pool="bybit",
            weight_per_minute=REQUESTS_PER_MINUTE,
            sends_per_s=SENDS_PER_S,
            forbidden_ns=FORBIDDEN_NS,
        )

    def instruments(self, answers: Mapping[str, bytes]) -> Sequence[Instrument]:
        """Raises a decode error for an answer that is no list and `BadFrame` for a refusal; what does not trade is left out."""
        found: list[Instrument] = []
        for key, body in answers.items():
            market = _market_of(key)
            if market is None:
                continue
            _refuse(body, f"{market} instruments")
            found.extend(filter(None, (_instrument(market, raw) for raw in _page(body).result.list)))
        return found

    def channels(self, instrument: Instrument) -> Sequence[Channel]:
        return [channel for market, channel in TOPICS if market == instrument.market]

    def plan(self, wanted: Sequence[Stream], instruments: Instruments) -> Sequence[Plan]:
        """One connection a category, split where the topics' names grow too long; an instrument's streams stay together."""
        markets: dict[str, dict[InstrumentId, list[Stream]]] = {}
        for stream in wanted:
            market = instruments[stream.instrument].market
            if (market, stream.channel) in TOPICS:
                markets.setdefault(market, {}).setdefault(stream.instrument, []).append(stream)
        plans = []
        for market, by_instrument in markets.items():
            streams: list[Stream] = []
            length = 0
            for instrument, group in by_instrument.items():
                names = [_topic_name(instruments[instrument], stream.channel) for stream in group]
                more = 1 + sum(len(name) + 3 for name in names)  # with brackets, quotes and commas
                if streams and length + more > CHARACTERS_PER_CONNECTION:
                    plans.append(self._plan(market, streams))
                    streams, length = [], 0
                streams.extend(group)
                length += more
            plans.append(self._plan(market, streams))
        return plans

    def topic(self, market: str, data: bytes) -> str | None:
        name = _name(data)
        if name is not None:
            return clean_text(name)
        try:
            found = _control(data).topic
        except DECODE_ERRORS:
            return None
        return clean_text(found) if found is not None else None

    def stream_of(self, market: str, topic: str, instruments: Instruments) -> Stream | None:
        match = _TOPIC.fullmatch(topic)
        if match is None:
            return None
        for instrument in instruments.values():
            if instrument.native == match[3] and instrument.market == market and instrument.venue == self.id:
                return Stream(instrument.id, _channel(match))
        return None

    def catalogue_key(self, url: str) -> str | None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        market = query.get("category", [""])[0]
        if parts.path != CATALOGUE_PATH or market not in MARKETS:
            return None
        return _catalogue_key(market, query.get("cursor", [""])[0])

    def snapshot_key(self, url: str) -> str | None:
        """Books begin in-band: no session ever asks for one."""
        return None

    def session(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> Session:
        return BybitSession(plan, instruments, listener, health)

    def _plan(self, market: str, streams: Sequence[Stream]) -> Plan:
        return Plan(self.id, market, f"{self._endpoints[market].websocket}/v5/public/{market}", tuple(streams))


class _Quote:
    """The best quote as depth-1 messages have left it; nan is an empty side. No update follows on `u` before a snapshot."""

    __slots__ = ("ask", "ask_size", "bid", "bid_size", "u")

    def __init__(self) -> None:
        self.bid = self.ask = nan
        self.bid_size = self.ask_size = 0.0
        self.u = UNKNOWN


class _Known:
    """What an instrument's ticker messages have said so far; None: not yet."""

    __slots__ = (
        "at_ns",
        "index",
        "interval_s",
        "mark",
        "next_ns",
        "open_interest",
        "rate",
        "single",
        "told_ns",
        "turnover",
        "volume",
    )

    def __init__(self, interval_s: int) -> None:
        self.mark: float | None = None
        self.index: float | None = None
        self.rate: float | None = None
        self.next_ns: Ns = 0
        self.interval_s = interval_s
        self.open_interest: float | None = None
        self.single: float | None = None
        self.volume: float | None = None
        self.turnover: float | None = None
        self.told_ns: Ns = -NEVER
        """When mark and index were last told."""
        self.at_ns: Ns = 0
        """The venue's time of the last message."""


class BybitSession(BookSession):
    """One connection of one category."""

    def __init__(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> None:
        super().__init__(plan, instruments, listener, health)
        self._by_native = {
            instrument.native: instrument
            for instrument in instruments.values()
            if instrument.venue == plan.venue and instrument.market == plan.market
        }
        self._book_topics: dict[InstrumentId, str] = {}  # the depth that feeds a book: the first that is heard of
        self._on_the_way: dict[InstrumentId, None] = {}  # books whose first subscription has just been sent
        self._quotes: dict[InstrumentId, _Quote] = {}
        self._known: dict[InstrumentId, _Known] = {}
        self._ping_at_ns: Ns = NEVER

    def pulse_period_ns(self) -> Ns | None:
        channels = (Channel.TOUCH,) if self.plan.market == SPOT else (Channel.TICKER, Channel.TOUCH)
        return min((PULSE_PERIODS[s.channel] for s in self.streams if s.channel in channels), default=None)

    def opened(self, now: Ns) -> Sequence[Action]:
        actions = super().opened(now)
        self._ping_at_ns = now + PING_NS
        self.due(self._ping_at_ns)
        return actions

    def wake(self, now: Ns) -> Sequence[Action]:
        actions = super().wake(now)
        if not self.pulse.alive:
            return actions  # given up: nothing is asked for on it any more
        if now >= self._ping_at_ns:
            self._ping_at_ns = now + PING_NS
            actions = [*actions, Send('{"op":"ping"}')]
        self.due(self._ping_at_ns)
        return actions

    def subscribe(self, add: Sequence[Stream], drop: Sequence[Stream]) -> Sequence[Send]:
        self.handlers.clear()
        sends = self._messages("unsubscribe", drop)
        for stream in drop:
            if stream.channel is Channel.BOOK:
                self._book_topics.pop(stream.instrument, None)
                self._on_the_way.pop(stream.instrument, None)
            elif stream.channel is Channel.TOUCH:
                self._quotes.pop(stream.instrument, None)
            elif stream.channel is Channel.TICKER:
                self._known.pop(stream.instrument, None)
        for stream in add:
            instrument = self.instruments[stream.instrument]
            self._by_native[instrument.native] = instrument
            if stream.channel is Channel.BOOK:
                self._on_the_way[stream.instrument] = None
        return sends + self._messages("subscribe", add)

    def resubscribe(self, streams: Sequence[Stream]) -> Sequence[Action]:
        """A fresh snapshot comes with a fresh subscription."""
        return self._messages("unsubscribe", streams) + self._messages("subscribe", streams)

    def request_book(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        instrument = feed.instrument.id
        if feed.book.state is BookState.SYNCED:
            return NOTHING
        if instrument in self._on_the_way:
            del self._on_the_way[instrument]
            return NOTHING
        return self.again((feed.stream,), now)

    def restate(self, now: Ns) -> None:
        for instrument, known in self._known.items():
            self._restate(self.instruments[instrument], known, now)

    def frame(self, data: bytes, now: Ns) -> Sequence[Action]:
        start = data.find(_KEY)
        end = data.find(b'"', start + _NAME_FROM, start + _NAME_LIMIT) if start >= 0 else -1
        if end < 0:
            return self._said(data, now)
        name = data[start + _NAME_FROM : end]
        handler = self.handlers.get(name)
        return handler(data, now) if handler is not None else self._first(name, data, now)

    def answer(self, key: str, body: bytes | FetchError, now: Ns) -> Sequence[Action]:
        """This session asks for nothing over REST."""
        return NOTHING

    def refused(self, data: bytes, now: Ns) -> Sequence[Action]:
        match = _TOPIC.fullmatch((_name(data) or b"").decode("ascii", "replace"))
        instrument = self._by_native.get(match[3]) if match is not None else None
        if match is None or instrument is None:
            return NOTHING
        stream = Stream(instrument.id, _channel(match))
        if stream not in self.streams:
            return NOTHING
        self.board.stream(stream).quarantined += 1
        if stream.channel is Channel.BOOK:
            owner = self._book_topics.get(instrument.id, match[0])
            return self.resync(self.feeds[instrument.id], "decode", now) if owner == match[0] else NOTHING
        if stream.channel is Channel.TICKER and self._known.pop(instrument.id, None) is not None:
            return self.again((stream,), now)  # a change may have been lost, and only a snapshot says everything
        return NOTHING

    def _messages(self, op: str, streams: Sequence[Stream]) -> list[Send]:
        """One request an instrument, so that a symbol the venue does not know takes no other down with it."""
        groups: dict[InstrumentId, list[Stream]] = {}
        for stream in streams:
            groups.setdefault(stream.instrument, []).append(stream)
        sends = []
        for group in groups.values():
            for at in range(0, len(group), ARGS_PER_MESSAGE):
                some = group[at : at + ARGS_PER_MESSAGE]
                number = self.request(some if op == "subscribe" else ())
                message = {"req_id": str(number), "op": op, "args": [self._topic(stream) for stream in some]}
                sends.append(Send(msgspec.json.encode(message).decode()))
        return sends

    def _topic(self, stream: Stream) -> str:
        own = self._book_topics.get(stream.instrument) if stream.channel is Channel.BOOK else None
        return own or _topic_name(self.instruments[stream.instrument], stream.channel)

    def _first(self, name: bytes, data: bytes, now: Ns) -> Sequence[Action]:
        """A topic without a handler: the first message of a stream since it was asked for, or one that nobody asked for."""
        if not self.pulse.alive:
            return NOTHING  # given up: what still arrives may not bring a book back
        topic = name.decode("ascii", "replace")
        match = _TOPIC.fullmatch(topic)
        instrument = self._by_native.get(match[3]) if match is not None else None
        if match is None or instrument is None:
            return self._ignored(now)
        stream = Stream(instrument.id, _channel(match))
        if stream not in self.streams:
            return self._ignored(now)
        if stream.channel is Channel.BOOK and self._book_topics.setdefault(instrument.id, topic) != topic:
            return self._ignored(now)
        handler = self._handler(instrument, stream, topic)
        actions = handler(data, now)
        self.handlers[name] = handler
        if stream.channel is not Channel.BOOK:  # a book speaks with its snapshot
            self.hear(stream, now)
        self.alive(now)
        return actions

    def _ignored(self, now: Ns) -> Sequence[Action]:
        """A stream that nobody asked for: it is a sign of life and no more."""
        self.pulse.last_ns = now
        self.board.ignored += 1
        return NOTHING

    def _handler(self, instrument: Instrument, stream: Stream, topic: str) -> Handler:
        health = self.streams[stream].health
        if stream.channel is Channel.BOOK:
            return self._book(self.feeds[instrument.id], topic)
        if stream.channel is Channel.TOUCH:
            return self._touch(instrument, health, topic)
        if stream.channel is Channel.TRADE:
            return self._trade(instrument, health, topic)
        if stream.channel is Channel.TICKER:
            return self._ticker(instrument, health, topic)
        return self._liquidation(instrument, health, topic)

    def _said(self, data: bytes, now: Ns) -> Sequence[Action]:
        """What is no market data. A pong is no sign of life: the server answers pings while its data stand still."""
        message = _control(data)
        if message.topic is not None:
            name = message.topic.encode()
            handler = self.handlers.get(name)
            return handler(data, now) if handler is not None else self._first(name, data, now)
        if not self.pulse.alive:
            return NOTHING
        if message.success is False:
            self._decline(message, now)
        elif message.success is None and not message.op:
            self.board.ignored += 1
        elif message.op == "subscribe":
            self.acknowledged(message.req_id, now)
        return NOTHING

    def _decline(self, message: _Control, now: Ns) -> None:
        """An error fails a whole request, found by its number, else by the instruments it names; without either, all unheard."""
        text = clean_text(message.ret_msg, 200)
        named = _ANY_TOPIC.findall(message.ret_msg)
        unheard = [asked for asked in self.streams.values() if not asked.heard and message.op != "unsubscribe"]
        hit = [asked for asked in unheard if message.req_id and asked.request == message.req_id] or [
            asked for asked in unheard if not named or self.instruments[asked.stream.instrument].native in named
        ]
        reason = text[:64] or "refused"
        if not hit or any(asked.fault != reason for asked in hit):
            self.board.say(f"{self.plan.venue} {self.plan.market}: {clean_text(message.op)} failed: {text}", now)
        self.declined([asked.stream for asked in hit], reason, now)

    def _book(self, feed: BookFeed, topic: str) -> Handler:
        book, leg, pulse, listener = feed.book, feed.leg, self.pulse, self.listener
        seen, apply, decode, synced = feed.health.seen, feed.book.apply, _book, BookState.SYNCED
        depth, symbol = int(topic.split(".")[1]), feed.instrument.native
        until_sweep = SWEEP_EVERY

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            nonlocal until_sweep
            frame = decode(data)
            update = frame.data
            if frame.topic != topic or update.s != symbol:
                raise BadFrame("a book's frame names two topics or symbols")
            seen(len(data), now)
            pulse.last_ns = now
            at = frame.ts * MS
            if at:
                leg.raw_ns = now - at
                leg.fresh = True
            u = update.u
            if frame.type == "delta" and u == feed.chain + 1 and book.state is synced:
                feed.chain = u
                apply(update.b, update.a, update.seq, at, now)
                until_sweep -= 1
                if not until_sweep:
                    until_sweep = SWEEP_EVERY
                    _sweep(feed, depth)
                if book.crossed_ns:
                    self.changed(feed, now)
                else:
                    listener.on_book(book, now)
                return NOTHING
            return self._out_of_line(feed, frame, depth, now)

        return message

    def _out_of_line(self, feed: BookFeed, frame: _BookFrame, depth: int, now: Ns) -> Sequence[Action]:
        """A snapshot, an update sent twice, one of a book without a snapshot, or the proof of a gap."""
        book, update = feed.book, frame.data
        if frame.type == "snapshot":
            if update.u == 1 or update.seq < book.seq:
                book.touch_seq = -1  # the service has started over: an older count says nothing about what is newer
            feed.chain = update.u
            book.replace(update.b, update.a, update.seq, frame.ts * MS, now)
            _sweep(feed, depth)
            self.hear(feed.stream, now)
            self.synced(feed, now)
            return NOTHING
        if book.state is not BookState.SYNCED or update.u == feed.chain:
            feed.health.ignored += 1
            return NOTHING
        return self.gap(feed, now)

    def _touch(self, instrument: Instrument, health: StreamHealth, topic: str) -> Handler:
        pulse, listener, decode, seen = self.pulse, self.listener, _book, health.seen
        known = self._quotes.setdefault(instrument.id, _Quote())
        feed = self.feeds.get(instrument.id)
        synced = BookState.SYNCED

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            frame = decode(data)
            update = frame.data
            if frame.topic != topic or update.s != instrument.native:
                raise BadFrame("a best quote's frame names two topics or symbols")
            seen(len(data), now)
            pulse.last_ns = now
            if frame.type == "snapshot":
                known.bid, known.bid_size = _best(update.b, nan, 0.0)
                known.ask, known.ask_size = _best(update.a, nan, 0.0)
            elif update.u == known.u + 1:
                known.bid, known.bid_size = _best(update.b, known.bid, known.bid_size)
                known.ask, known.ask_size = _best(update.a, known.ask, known.ask_size)
            else:
                known.u = UNKNOWN
                health.ignored += 1
                return NOTHING
            known.u = update.u
            if feed is None:
                return NOTHING
            book = feed.book
            if update.seq - book.seq > FAR_AHEAD and book.state is synced:
                raise BadFrame("a best quote from far ahead of its book")
            at = frame.ts * MS
            if at:
                feed.leg.raw_ns = now - at
                feed.leg.fresh = True
            if book.touch(known.bid, known.bid_size, known.ask, known.ask_size, update.seq, at, now):
                if book.crossed_ns:
                    self.changed(feed, now)
                else:
                    listener.on_touch(book, now)
            return NOTHING

        return message

    def _trade(self, instrument: Instrument, health: StreamHealth, topic: str) -> Handler:
        pulse, on_trade, decode, seen = self.pulse, self.listener.on_trade, _trade, health.seen
        feed = self.feeds.get(instrument.id)
        book = feed.book if feed is not None else None

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            frame = decode(data)
            if frame.topic != topic:
                raise BadFrame("a trade's frame names two topics")
            seen(len(data), now)
            pulse.last_ns = now
            actions: Sequence[Action] = NOTHING
            for fill in frame.data:
                side: Literal["buy", "sell"] = "buy" if fill.S == "Buy" else "sell"
                on_trade(instrument, Trade(fill.p, fill.v, side, fill.T * MS, clean_text(fill.i), fill.BT), now)
                if book is None or feed is None or fill.BT:
                    continue
                if book.bid <= fill.p <= book.ask:
                    feed.outside_ns = 0
                else:
                    actions = self.printed_outside(feed, fill.p, now) or actions
            return actions

        return message

    def _ticker(self, instrument: Instrument, health: StreamHealth, topic: str) -> Handler:
        pulse, decode, seen = self.pulse, _ticker, health.seen
        known = self._known.setdefault(instrument.id, _Known(instrument.funding_interval_s))
        derivative = instrument.kind is not Kind.SPOT

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            frame = decode(data)
            if frame.topic != topic:
                raise BadFrame("a ticker's frame names two topics")
            seen(len(data), now)
            pulse.last_ns = now
            new, at = frame.data, frame.ts * MS
            known.at_ns = at
            if derivative:
                self._tell_prices(instrument, known, new, at, now)
                self._tell_funding(instrument, known, new, at, now)
                self._tell_open_interest(instrument, known, new, at, now)
            if new.volume24h != "" or new.turnover24h != "":
                self._tell_volume(instrument, known, new, at, now)
            return NOTHING

        return message

    def _restate(self, instrument: Instrument, known: _Known, now: Ns) -> None:
        """All that is known, as if it had just changed."""
        at, tell = known.at_ns, self.listener.on_metric
        if known.mark is not None:
            tell(instrument, Mark(known.mark, at), now)
        if known.index:
            tell(instrument, Index(known.index, at), now)
        if known.rate is not None:
            tell(instrument, Funding(known.rate, known.interval_s, known.next_ns, at), now)
        if known.open_interest is not None:
            tell(instrument, OpenInterest(known.open_interest, at), now)
        self._say_volume(instrument, known, at, now)

    def _tell_prices(self, instrument: Instrument, known: _Known, new: _Ticker, at: Ns, now: Ns) -> None:
        """Mark and index go together: a message that mentions one says that the other still holds."""
        changed = False
        if new.markPrice != "" and new.markPrice != known.mark:
            known.mark = new.markPrice
            changed = True
        if new.indexPrice != "" and new.indexPrice != known.index:
            known.index = new.indexPrice
            changed = True
        if not changed and now - known.told_ns < RESTATE_NS:
            return
        known.told_ns = now
        if known.mark is not None:
            self.listener.on_metric(instrument, Mark(known.mark, at), now)
        if known.index:
            self.listener.on_metric(instrument, Index(known.index, at), now)

    def _tell_funding(self, instrument: Instrument, known: _Known, new: _Ticker, at: Ns, now: Ns) -> None:
        rate, next_ms, hours = new.fundingRate, new.nextFundingTime, new.fundingIntervalHour
        if (rate == "" and next_ms == "" and hours == "") or instrument.kind is not Kind.PERP:
            return
        before = known.rate, known.next_ns, known.interval_s
        if rate != "":
            known.rate = rate
        if next_ms != "":
            known.next_ns = next_ms * MS
        if hours:
            known.interval_s = round(hours * 3600)
        if known.rate is not None and before != (known.rate, known.next_ns, known.interval_s):
            self.listener.on_metric(instrument, Funding(known.rate, known.interval_s, known.next_ns, at), now)

    def _tell_open_interest(self, instrument: Instrument, known: _Known, new: _Ticker, at: Ns, now: Ns) -> None:
        """`openInterest` counts both sides; where the one-sided figure is sent too, that is taken."""
        if new.openInterest == "" and new.singleOpenInterest == "":
            return
        if new.singleOpenInterest != "":
            known.single = new.singleOpenInterest
        size = known.single
        if size is None and new.openInterest != "":
            size = new.openInterest / 2
        if size is not None and size != known.open_interest:
            known.open_interest = size
            self.listener.on_metric(instrument, OpenInterest(size, at), now)

    def _tell_volume(self, instrument: Instrument, known: _Known, new: _Ticker, at: Ns, now: Ns) -> None:
        before = known.volume, known.turnover
        if new.volume24h != "":
            known.volume = new.volume24h
        if new.turnover24h != "":
            known.turnover = new.turnover24h
        if before != (known.volume, known.turnover):
            self._say_volume(instrument, known, at, now)

    def _say_volume(self, instrument: Instrument, known: _Known, at: Ns, now: Ns) -> None:
        """Inverse contracts count volume in USD and turnover in coin."""
        volume, turnover = known.volume, known.turnover
        if volume is None or turnover is None:
            return
        base, in_quote = (turnover, volume) if instrument.contract is Contract.INVERSE else (volume, turnover)
        self.listener.on_metric(instrument, Stats24h(base, in_quote, at), now)

    def _liquidation(self, instrument: Instrument, health: StreamHealth, topic: str) -> Handler:
        pulse, listener, decode, seen = self.pulse, self.listener, _close, health.seen

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            frame = decode(data)
            if frame.topic != topic:
                raise BadFrame("a liquidation's frame names two topics")
            seen(len(data), now)
            pulse.last_ns = now
            for close in frame.data:
                position: Literal["long", "short"] = "long" if close.S == "Buy" else "short"  # the position's side
                listener.on_metric(instrument, Liquidation(position, close.p, close.v, close.T * MS), now)
            return NOTHING

        return message


def _name(data: bytes) -> bytes | None:
    """The topic of a frame wherever its key stands; None where the bytes show none."""
    start = data.find(_KEY)
    if start < 0:
        return None
    end = data.find(b'"', start + _NAME_FROM, start + _NAME_LIMIT)
    return data[start + _NAME_FROM : end] if end > 0 else None


def _channel(match: re.Match[str]) -> Channel:
    if match[2]:
        return CHANNEL_OF[match[2]]
    return Channel.TOUCH if match[1] == "1" else Channel.BOOK


def _topic_name(instrument: Instrument, channel: Channel) -> str:
    return f"{TOPICS[instrument.market, channel]}.{instrument.native}"


def _best(levels: Sequence[tuple[float, float]], price: float, size: float) -> tuple[float, float]:
    """The one level of a side after `levels`: a size of 0 removes it, any other takes its place."""
    for at, held in levels:
        if held:
            price, size = at, held
        elif at == price:
            price, size = nan, 0.0
    return price, size


def _sweep(feed: BookFeed, depth: int) -> None:
    """Drop levels beyond the depth subscribed to: the venue no longer says when they change."""
    for side in (feed.book.bids, feed.book.asks):
        if len(side) > depth:
            side.replace(side.levels(depth))


def _refuse(body: bytes, what: str) -> None:
    """An error comes with HTTP status 200: raises `BadFrame` for one."""
    answer = _answer(body)
    if answer.retCode:
        raise BadFrame(f"BYBIT {what}: error {answer.retCode}: {clean_text(answer.retMsg)}")


def _catalogue_key(market: str, cursor: str) -> str:
    return f"instruments:{market}:{clean_text(cursor, 200)}" if cursor else f"instruments:{market}"


def _catalogue_fetch(market: str, cursor: str) -> Fetch:
    more = f"&cursor={quote(cursor, safe='')}" if cursor else ""
    return Fetch(_catalogue_key(market, cursor), f"{CATALOGUE_PATH}?category={market}&limit=1000{more}", 1, 1, market)


def _market_of(key: str) -> str | None:
    head, _, rest = key.partition(":")
    market = rest.partition(":")[0]
    return market if head == "instruments" and market in MARKETS else None


def _instrument(market: str, raw: msgspec.Raw) -> Instrument | None:
    """One row of an instruments-info answer; None unless it trades and every fact is there."""
    try:
        row = _symbol(raw)
    except DECODE_ERRORS:
        return None
    found = _CONTRACTS.get((market, row.contractType))
    if found is None or row.status != "Trading" or row.isPreListing or re.fullmatch(_SYMBOL, row.symbol) is None:
        return None
    kind, contract = found
    lot = row.lotSizeFilter.basePrecision if market == SPOT else row.lotSizeFilter.qtyStep
    least = row.lotSizeFilter.minOrderAmt if market == SPOT else row.lotSizeFilter.minNotionalValue
    expiry_ns = (row.deliveryTime or 0) * MS if kind is Kind.FUTURE else 0
    settle = "" if market == SPOT else row.settleCoin
    if not lot or (kind is Kind.FUTURE) != bool(expiry_ns) or settle != _settle(row, market):
        return None
    try:
        name = symbols.instrument_id(Bybit.id, row.baseCoin, row.quoteCoin, settle, expiry_ns)
    except InputError:
        return None
    return Instrument(
        id=name,
        venue=Bybit.id,
        market=market,
        native=row.symbol,
        base=row.baseCoin,
        quote=row.quoteCoin,
        settle=settle,
        kind=kind,
        contract=contract,
        tick=row.priceFilter.tickSize,
        lot=lot,
        min_notional=least or 0.0,
        expiry_ns=expiry_ns,
        funding_interval_s=60 * row.fundingInterval if kind is Kind.PERP else 0,
    )


def _settle(row: _Symbol, market: str) -> str:
    """What the category must settle in; another coin would be a contract that is not understood."""
    return {SPOT: "", LINEAR: row.quoteCoin, INVERSE: row.baseCoin}[market]
