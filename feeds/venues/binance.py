"""Binance: spot, USD-M and COIN-M public market data.

Facts: protocols.md 0.3 to 0.6 and 1 (developers.binance.com and the spot API docs, 2026-07; USD-M routes of 2026-04-23).
Books come from a REST snapshot joined to the diff stream. Spot events follow by `U == previous u + 1`, futures by
`pu == previous u`. A bookTicker shares the book's sequence, so a newer one lies over the book. Depth runs at any interval.
Open interest has no stream: it is asked for over REST.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite, nan
from typing import Annotated, ClassVar, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Meta, Struct

from feeds import symbols
from feeds.clock import NEVER
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
    Liquidation,
    Mark,
    Millis,
    Ns,
    OpenInterest,
    Price,
    Size,
    Stream,
    Trade,
)
from feeds.session import FAR_AHEAD, RESYNC_SPACING_NS, BookFeed, BookSession, Handler
from feeds.subscription import NO_DATA, PERIODS
from feeds.text import clean_text
from feeds.venue import NOTHING, Action, Endpoint, Fetch, FetchError, Listener, Plan, Renew, Send, Session, Terms

SPOT, USDM, COINM = "spot", "usdm", "coinm"
FLOOR_NS: Ns = 10 * SECOND
"""A snapshot may not be older than what was shown this long ago: REST answers may lag behind the stream."""
OPEN_INTEREST_OLD_NS: Ns = 60 * SECOND
"""An open interest that could not be asked for anew for so long is not known any more."""
BUFFER_BYTES = 8 << 20
"""Diffs kept while a snapshot is on its way; beyond it the join starts over."""
REGRESSED_NS: Ns = SECOND
"""A diff with an old number is a duplicate, unless it was sent this much after the book's last: then the numbering fell back."""
HANDLERS_KEPT = 4096
"""Stream names remembered on a connection: far above what is subscribed."""
STREAMS_PER_CONNECTION = 180
"""At most 200 by NT; a multiple of the streams of an instrument on every route, so that book and quote stay together."""
PARAMS_PER_MESSAGE = 200
LONGEST_FUNDING_H = 24
LONGEST_FUNDING_NS: Ns = LONGEST_FUNDING_H * 3600 * SECOND
"""A funding time that steps further says nothing about the interval."""
PERPETUAL_FROM_MS = 3_786_912_000_000
"""A delivery date in 2090 or later stands for "never"."""


class Market(NamedTuple):
    """One of Binance's three markets: its requests, and what it allows (protocols.md 1.3 to 1.6)."""

    routes: Sequence[str]
    """What its websocket base is followed by."""
    prefix: str
    """Of its REST paths."""
    depth_weight: int
    catalogue_weight: int
    pool: str
    weight_per_minute: int
    sends_per_s: float
    """One less than allowed, or two: pongs count as well."""


MARKETS: Mapping[str, Market] = {
    SPOT: Market(("",), "/api/v3", 50, 20, "binance spot", 6_000, 4.0),
    USDM: Market(("/public", "/market"), "/fapi/v1", 20, 1, "binance futures", 2_400, 8.0),
    COINM: Market(("",), "/dapi/v1", 20, 1, "binance futures", 2_400, 8.0),
}
ENDPOINTS: Mapping[str, Endpoint] = {
    SPOT: Endpoint("https://api.binance.com", "wss://stream.binance.com:9443"),
    USDM: Endpoint("https://fapi.binance.com", "wss://fstream.binance.com"),
    COINM: Endpoint("https://dapi.binance.com", "wss://dstream.binance.com"),
}
LIVES_NS: Ns = (23 * 60 + 50) * 60 * SECOND
"""A connection is cut after 24 h."""
OPEN_INTEREST_NS: Ns = 15 * SECOND
USUAL_FUNDING_S = 8 * 3600
"""Of a perpetual that fundingInfo does not list, and of every coin-margined one."""
SLOW_MARK_NS: Ns = 3 * SECOND
"""Period of markPrice without @1s."""
FUNDING_KEY, FUNDING_PATH = "funding:usdm", "/fapi/v1/fundingInfo"
SHUTDOWN = b"!serverShutdown"

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
    e: str = ""
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


class _FundingRow(_Wire):
    symbol: str
    fundingIntervalHours: float | str | None = None


class _OpenInterest(_Wire):
    symbol: str
    openInterest: Size
    time: Millis = 0


class _Time(_Wire):
    serverTime: Annotated[int, Meta(gt=0, lt=4_102_444_800_000)]


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
_funding_info = msgspec.json.Decoder(list[msgspec.Raw]).decode
_funding_row = msgspec.json.Decoder(_FundingRow).decode
_open_interest = msgspec.json.Decoder(_OpenInterest, strict=False).decode
_time = msgspec.json.Decoder(_Time).decode


class Binance:
    """Facts of the venue: instruments, connections, names.

    Args:
        endpoints: where each market is; the real hosts unless said otherwise.
    """

    id: ClassVar[str] = "BINANCE"
    endpoints: ClassVar[Mapping[str, Endpoint]] = ENDPOINTS

    def __init__(self, endpoints: Mapping[str, Endpoint] = ENDPOINTS) -> None:
        self._endpoints = endpoints

    def closed(self, market: str) -> str:
        return ""

    def catalogue(self) -> Sequence[Fetch]:
        lists = [
            Fetch(f"instruments:{name}", f"{market.prefix}/exchangeInfo", market.catalogue_weight, 1, name)
            for name, market in MARKETS.items()
        ]
        return [*lists, Fetch(FUNDING_KEY, FUNDING_PATH, 0, 1, USDM)]

    def next_page(self, key: str, body: bytes) -> Fetch | None:
        """Nothing: each answer is whole."""
        return None

    def clock(self, market: str) -> Fetch:
        return Fetch(f"clock:{market}", f"{MARKETS[market].prefix}/time", 1, 1, market)

    def server_ns(self, body: bytes) -> Ns:
        return _time(body).serverTime * MS

    def terms(self, market: str) -> Terms:
        facts = MARKETS[market]
        return Terms(
            rest=self._endpoints[market].rest,
            pool=facts.pool,
            weight_per_minute=facts.weight_per_minute,
            sends_per_s=facts.sends_per_s,
            lives_ns=LIVES_NS,
            used_weight="X-MBX-USED-WEIGHT-1M",
        )

    def instruments(self, answers: Mapping[str, bytes]) -> Sequence[Instrument]:
        """Raises a decode error when an answer is no list; what cannot be understood in one is left out.

        Without fundingInfo the funding intervals of USD-M are unknown.
        """
        listed = _funding_intervals(answers[FUNDING_KEY]) if FUNDING_KEY in answers else None
        found: list[Instrument] = []
        for key, body in answers.items():
            market = key.removeprefix("instruments:")
            if market in MARKETS:
                each = filter(None, (_instrument(market, raw) for raw in _catalogue(body).symbols))
                found.extend(_with_funding(one, listed) for one in each)
        return found

    def channels(self, instrument: Instrument) -> Sequence[Channel]:
        return [channel for market, channel in STREAM_NAMES if market == instrument.market]

    def plan(self, wanted: Sequence[Stream], instruments: Instruments) -> Sequence[Plan]:
        """One connection a market and route, split at the stream limit."""
        routes: dict[tuple[str, str], list[Stream]] = {}
        for stream in wanted:
            market = instruments[stream.instrument].market
            route = MARKETS[market].routes[-1 if stream.channel in USDM_MARKET_ROUTE else 0]
            routes.setdefault((market, route), []).append(stream)
        return [
            Plan(self.id, market, f"{self._endpoints[market].websocket}{route}/stream", tuple(some))
            for (market, route), streams in routes.items()
            for at in range(0, len(streams), STREAMS_PER_CONNECTION)
            for some in [streams[at : at + STREAMS_PER_CONNECTION]]
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
        return next((fetch.key for fetch in self.catalogue() if fetch.path == path), None)

    def snapshot_key(self, url: str) -> str | None:
        parts = urlsplit(url)
        symbol = parse_qs(parts.query).get("symbol")
        if symbol and any(parts.path == f"{market.prefix}/depth" for market in MARKETS.values()):
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
        self._counted_ns: dict[str, Ns] = {}  # when an open interest was last answered
        self._by_native = {
            instrument.native: instrument
            for instrument in instruments.values()
            if instrument.venue == plan.venue and instrument.market == plan.market
        }
        self._polls: dict[str, Ns] = {}  # native name -> when its open interest is asked for next
        self._open_interest: dict[str, OpenInterest] = {}
        self._intervals: dict[str, tuple[Ns, int]] = {}  # instrument -> next funding time seen, interval in s

    def pulse_period_ns(self) -> Ns | None:
        return min((PULSE_PERIODS[s.channel] for s in self.streams if s.channel in PULSE_PERIODS), default=None)

    def subscribe(self, add: Sequence[Stream], drop: Sequence[Stream]) -> Sequence[Send]:
        self.handlers.clear()
        for stream in drop:
            if stream.channel is Channel.TICKER:
                native = self.instruments[stream.instrument].native
                self._polls.pop(native, None)
                self._open_interest.pop(native, None)
        for stream in add:
            instrument = self.instruments[stream.instrument]
            self._by_native[instrument.native] = instrument
            if stream.channel is Channel.BOOK:
                self.joins[instrument.native] = _Join()
            elif stream.channel is Channel.TICKER:
                self._polls[instrument.native] = self.streams[stream].asked_ns
                self.due(self._polls[instrument.native])
        return self._messages("UNSUBSCRIBE", drop) + self._messages("SUBSCRIBE", add)

    def resubscribe(self, streams: Sequence[Stream]) -> Sequence[Action]:
        books = [self._depth_request(self.instruments[s.instrument]) for s in streams if s.channel is Channel.BOOK]
        return [*self._messages("UNSUBSCRIBE", streams), *self._messages("SUBSCRIBE", streams), *books]

    def request_book(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        self.joins.setdefault(feed.instrument.native, _Join())
        return (self._depth_request(feed.instrument),)

    def restate(self, now: Ns) -> None:
        """Mark, index and funding come each second anyway."""
        for native, metric in self._open_interest.items():
            self.listener.on_metric(self._by_native[native], metric, now)

    def wake(self, now: Ns) -> Sequence[Action]:
        actions = super().wake(now)
        if self._polls and self.pulse.alive:
            late = [native for native, at in self._polls.items() if at <= now]
            self._polls.update(dict.fromkeys(late, now + OPEN_INTEREST_NS))
            self.due(min(self._polls.values()))
            path = f"{MARKETS[self.plan.market].prefix}/openInterest?symbol="
            actions = [*actions, *(Fetch(f"oi:{native}", path + native, 1, 2) for native in late)] or NOTHING
        return actions

    def frame(self, data: bytes, now: Ns) -> Sequence[Action]:
        name = _stream_name(data)
        if name is None:
            return self._control(data, now)
        handler = self.handlers.get(name)
        return handler(data, now) if handler is not None else self._first(name, data, now)

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
        """A depth snapshot or an open interest. Raises a decode error for a body that is none."""
        what, _, native = key.partition(":")
        instrument = self._by_native.get(native)
        if instrument is None or not self.pulse.alive:
            return NOTHING
        if what == "oi":
            if native in self._polls and isinstance(body, bytes):
                self._counted(instrument, _open_interest(body), now)
                self._counted_ns[native] = now
            elif now - self._counted_ns.get(native, now) > OPEN_INTEREST_OLD_NS:
                self._open_interest.pop(native, None)
                self.listener.on_metric(instrument, OpenInterest(nan, 0), now)
            return NOTHING
        feed = self.feeds.get(instrument.id)
        if feed is None:
            return NOTHING
        asked = self.streams[feed.stream]
        if feed.book.state is BookState.SYNCED:
            if not asked.heard and isinstance(body, bytes) and _snapshot(body).lastUpdateId == feed.book.seq:
                self.hear(feed.stream, now)  # silent because nothing has changed
            return NOTHING
        feed.resync_at_ns = now + RESYNC_SPACING_NS  # unless this is the snapshot; a body that is none raises below
        self.due(feed.resync_at_ns)
        if isinstance(body, FetchError):
            return NOTHING
        snapshot = _snapshot(body)
        if asked.fault == NO_DATA and not asked.ever:
            if snapshot.lastUpdateId != feed.silent_seq:  # changes went by unheard: it would stand still as well
                feed.silent_seq = snapshot.lastUpdateId
                feed.resync_at_ns = NEVER
                return NOTHING
            self.hear(feed.stream, now)
        return self._join(feed, snapshot, now)

    def fall(self, feed: BookFeed, reason: str, now: Ns) -> None:
        self.joins[feed.instrument.native] = _Join()
        if feed.book.state is BookState.SYNCED:  # what has been shown, and one more where an update is known to be lost
            feed.floor, feed.floor_ns = feed.book.seq + (reason == "decode"), now
        super().fall(feed, reason, now)

    def _messages(self, method: str, streams: Sequence[Stream]) -> list[Send]:
        sends = []
        for at in range(0, len(streams), PARAMS_PER_MESSAGE):
            some = streams[at : at + PARAMS_PER_MESSAGE]
            number = self.request(some if method == "SUBSCRIBE" else ())
            message = {"method": method, "params": [self._name(stream) for stream in some], "id": number}
            sends.append(Send(msgspec.json.encode(message).decode()))
        return sends

    def _depth_request(self, instrument: Instrument) -> Fetch:
        market = MARKETS[self.plan.market]
        path = f"{market.prefix}/depth?symbol={instrument.native}&limit=1000"
        return Fetch(f"depth:{instrument.native}", path, market.depth_weight, 0)

    def _counted(self, instrument: Instrument, answer: _OpenInterest, now: Ns) -> None:
        if answer.symbol != instrument.native:
            raise BadFrame("an open interest of another symbol")
        self._open_interest[instrument.native] = metric = OpenInterest(answer.openInterest, answer.time * MS)
        self.listener.on_metric(instrument, metric, now)

    def _name(self, stream: Stream) -> str:
        instrument = self.instruments[stream.instrument]
        return f"{instrument.native.lower()}@{STREAM_NAMES[instrument.market, stream.channel]}"

    def _first(self, name: bytes, data: bytes, now: Ns) -> Sequence[Action]:
        """A name without a handler: the first message of a stream since it was asked for, or one that nobody asked for."""
        if not self.pulse.alive:
            return NOTHING  # given up: what still arrives may not bring a book back
        if name == SHUTDOWN:
            return _shutdown()
        self.alive(now)
        stream = self._stream(name)
        handler = self._handler(stream) if stream is not None else self._ignore
        actions = handler(data, now)
        if len(self.handlers) >= HANDLERS_KEPT:  # names nobody asked for must not fill the memory
            self.handlers.clear()
        self.handlers[name] = handler
        if stream is None:
            return actions
        if name.endswith(b"@markPrice"):  # each three seconds
            self.streams[stream].limit_ns = PERIODS * SLOW_MARK_NS
        mute = self.streams[stream].fault == NO_DATA
        self.hear(stream, now)
        feed = self.feeds.get(stream.instrument)
        if mute and feed is not None and stream.channel is Channel.BOOK and feed.book.state is not BookState.SYNCED:
            return [*actions, *self.request_when_due(feed, now)]
        return actions

    def _stream(self, name: bytes) -> Stream | None:
        """What a stream name means here; None for one that nobody asked for."""
        match = _TOPIC.fullmatch(name.decode("ascii", "replace"))
        instrument = self._by_native.get(match[1].upper()) if match is not None else None
        if match is None or instrument is None:
            return None
        stream = Stream(instrument.id, CHANNEL_OF[match[2]])
        return stream if stream in self.streams else None

    def _handler(self, stream: Stream) -> Handler:
        health = self.streams[stream].health
        instrument, feed = self.instruments[stream.instrument], self.feeds.get(stream.instrument)
        if stream.channel is Channel.BOOK:
            return self._depth(self.feeds[stream.instrument])
        if stream.channel is Channel.TOUCH:
            return self._touch(feed, health) if feed is not None else self._bare_touch(health)
        if stream.channel is Channel.TRADE:
            return self._trade(instrument, health, feed)
        if stream.channel is Channel.TICKER:
            return self._mark_price(instrument, health)
        return self._force_order(instrument, health)

    def _ignore(self, data: bytes, now: Ns) -> Sequence[Action]:
        """A stream that nobody asked for: it is a sign of life and no more."""
        self.pulse.last_ns = now
        self.board.ignored += 1
        return NOTHING

    def _control(self, data: bytes, now: Ns) -> Sequence[Action]:
        message = _control(data)
        if message.stream is not None:
            name = message.stream.encode("utf-8", "replace")
            handler = self.handlers.get(name)
            return handler(data, now) if handler is not None else self._first(name, data, now)
        if not self.pulse.alive:
            return NOTHING
        if message.e == "serverShutdown":
            return _shutdown()
        error = message.error or (_Error(message.code, message.msg) if message.code else None)
        request = "" if message.id is None else str(message.id)
        if error is None:
            self.acknowledged(request, now)
            return NOTHING
        text = f"error {error.code}: {clean_text(error.msg, 200)}"
        self.board.say(f"{self.plan.venue} {self.plan.market}: {text}", now)
        asked = [one for one in self.streams.values() if not one.heard and (not request or one.request == request)]
        self.declined([one.stream for one in asked], text[:64], now)
        return NOTHING

    def _depth(self, feed: BookFeed) -> Handler:
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
            if old:
                feed.floor = 0  # the numbering has started over
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
        old = last < feed.floor and now - feed.floor_ns < FLOOR_NS
        if old or (kept and not self._contains(kept[0], last)):
            return self.request_when_due(feed, now)  # the snapshot is older than what was kept or has been shown: ask again
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

    def _bare_touch(self, health: StreamHealth) -> Handler:
        """A best quote without a book: a sign of life and no more."""

        def touch(data: bytes, now: Ns) -> Sequence[Action]:
            _touch(data)
            health.seen(len(data), now)
            self.pulse.last_ns = now
            return NOTHING

        return touch

    def _touch(self, feed: BookFeed, health: StreamHealth) -> Handler:
        lay, leg, pulse, listener, book = feed.book.touch, feed.leg, self.pulse, self.listener, feed.book
        synced = BookState.SYNCED

        def touch(data: bytes, now: Ns) -> Sequence[Action]:
            quote = _touch(data).data
            if quote.u - book.seq > FAR_AHEAD and book.state is synced:
                raise BadFrame("a best quote from far ahead of its book")
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

    def _trade(self, instrument: Instrument, health: StreamHealth, feed: BookFeed | None) -> Handler:
        pulse, listener = self.pulse, self.listener
        book = feed.book if feed is not None else None

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
            if book is None or feed is None:
                return NOTHING
            if book.bid <= fill.p <= book.ask:
                feed.outside_ns = 0
                return NOTHING
            return self.printed_outside(feed, fill.p, now)

        return trade

    def _mark_price(self, instrument: Instrument, health: StreamHealth) -> Handler:
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

    def _force_order(self, instrument: Instrument, health: StreamHealth) -> Handler:
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


def _shutdown() -> Sequence[Action]:
    return (Renew("the venue shuts this server down"),)


def _funding_intervals(body: bytes) -> Mapping[str, int]:
    """Symbol -> seconds, of the symbols that fundingInfo lists; 0, unknown, where it says nothing sensible."""
    found: dict[str, int] = {}
    for raw in _funding_info(body):
        try:
            row = _funding_row(raw)
        except DECODE_ERRORS:
            continue
        hours = row.fundingIntervalHours
        found[row.symbol] = round(hours * 3600) if isinstance(hours, (int, float)) and 0 < hours <= LONGEST_FUNDING_H else 0
    return found


def _with_funding(one: Instrument, listed: Mapping[str, int] | None) -> Instrument:
    """An instrument with its funding interval where that is known; `listed` None: fundingInfo was not answered."""
    if one.kind is not Kind.PERP or (one.market == USDM and listed is None):
        return one
    interval_s = USUAL_FUNDING_S if one.market == COINM or listed is None else listed.get(one.native, USUAL_FUNDING_S)
    return msgspec.structs.replace(one, funding_interval_s=interval_s)


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
