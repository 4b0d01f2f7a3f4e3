"""Deribit v2: perpetuals, dated futures and spot; options for the books of recordings.

Facts: protocols.md 0.3 to 0.6 and 4 (Deribit API 2.1.1, 2026-08; frames recorded 2021-07 to 2026-09). JSON-RPC over one socket. A
book begins with an in-band snapshot and goes on while `prev_change_id` is the last `change_id`; a grouped book comes whole each
time. Change ids number books alone, so books and best quotes are ordered by their time in the matching engine, in ms. A channel
that the venue does not take is silently missing from its answer. Liquidations are flags of trades and come with them. Sizes are
amounts: US dollars of an inverse contract, coin of any other.
"""

import re
from collections.abc import Mapping, Sequence
from math import nan
from typing import Annotated, ClassVar, Generic, Literal, TypeAlias, TypeVar
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
    Fees,
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
    PairIndex,
    Price,
    Rate,
    Size,
    Stats24h,
    Stream,
    Trade,
)
from feeds.session import BookFeed, BookSession, Handler
from feeds.text import clean_text
from feeds.venue import NOTHING, Action, Drop, Endpoint, Fetch, FetchError, Listener, Plan, Send, Session, Terms

MARKET = "public"
"""Names are unique in the whole venue: spot, futures and options are one market."""
ENDPOINTS: Mapping[str, Endpoint] = {MARKET: Endpoint("https://www.deribit.com", "wss://www.deribit.com")}
SOCKET_PATH = "/ws/api/v2"
INSTRUMENTS_PATH = "/api/v2/public/get_instruments"
TIME_PATH = "/api/v2/public/get_time"
LISTED = ("future", "spot")
"""Kinds that are asked for; perpetuals are futures here. Options and combinations are not watched."""
REQUESTS_PER_MINUTE = 1_200
"""500 credits a request of 10,000 a second."""
INSTRUMENTS_WEIGHT = 20
"""An instrument list may be asked for once a second."""
SENDS_PER_S = 3.0
"""3,000 credits a subscription of 10,000 a second."""
CHANNELS_PER_MESSAGE = 100
STREAMS_PER_CONNECTION = 400
"""Ours; the venue states no limit."""
REQUESTS_KEPT = 64
"""Subscriptions whose answers are awaited: far above what is ever under way."""
HEARTBEAT_S = 30
"""How often the server asks whether anybody is there; at least 10."""
TOO_MANY, TOO_MANY_NS = 10028, 30 * SECOND
AHEAD_MS = 86_400_000
"""No best quote is a day ahead of a book that follows."""
RESTATE_NS: Ns = SECOND
"""Mark and index are told again after so long without a change, since each ticker says that they still hold."""
FUNDING_S = 8 * 3600
"""Funding accrues without a break; `current_funding` states it per 8 hours."""
PERPETUAL_FROM_MS = 3_786_912_000_000
"""An expiry in 2090 or later stands for "never"."""

REASONS: Mapping[int, str] = {
    TOO_MANY: "too many requests",
    10020: "there is no such instrument",
    10040: "busy, try again",
    10041: "busy with settlement, try again",
    10047: "the matching engine is busy",
    10066: "too many requests at once",
    11050: "a request that it could not read",
    11051: "the venue is under maintenance",
    11094: "the server has failed",
    13009: "only for signed-in users",
    13028: "too slow or down for now",
    13778: "raw channels are only for signed-in users",
    13888: "the server ran out of time",
    -32601: "there is no such method",
    -32602: "a parameter is wrong",
    -32700: "the request was no JSON",
}
"""What the venue's error codes mean."""
REFUSED = "the venue does not take the channel"

TOPICS: Mapping[Channel, str] = {
    Channel.BOOK: "book.{}.100ms",
    Channel.TOUCH: "quote.{}",
    Channel.TRADE: "trades.{}.100ms",
    Channel.TICKER: "ticker.{}.100ms",
}
"""What is subscribed to without signing in; recordings may hold other intervals."""
GROUPED = "book.{}.none.20.100ms"
"""Asked for where the book of changes is refused."""
CHANNELS: Mapping[Kind, Sequence[Channel]] = {
    Kind.SPOT: tuple(TOPICS),
    Kind.PERP: tuple(TOPICS),
    Kind.FUTURE: tuple(TOPICS),
    Kind.OPTION: (Channel.BOOK,),
}
CHANNEL_OF: Mapping[str, Channel] = {
    "book": Channel.BOOK,
    "quote": Channel.TOUCH,
    "trades": Channel.TRADE,
    "ticker": Channel.TICKER,
}
INDEX = "deribit_price_index."
RATES: Mapping[str, tuple[str, str]] = {
    f"{base}_{quote}".lower(): (base, quote)
    for base, quotes in (("BTC", ("USD", "USDT", "USDC")), ("ETH", ("USD", "USDT", "USDC")), ("USDC", ("USDT",)))
    for quote in quotes
}
"""Indices asked for on every connection, whatever is watched: one coin in several dollars tells what these are worth in each
other (analytics.md 23)."""

_NATIVE = r"[A-Za-z0-9_-]{1,48}"
_TOPIC = re.compile(
    rf"(?:(book|trades|ticker)\.({_NATIVE})\.(?:raw|agg2|\d{{1,5}}ms)"
    rf"|(book)\.({_NATIVE})\.none\.(?:1|10|20)\.(?:agg2|\d{{1,5}}ms)"
    rf"|(quote)\.({_NATIVE}))"
)
"""A book whose prices are rounded into groups is none: only `none` is read."""
_INDEX = re.compile(r"deribit_price_index\.([a-z0-9]{1,16}_[a-z0-9]{1,16})")
_GROUPED = re.compile(rf"book\.{_NATIVE}\.none\..*")
_CURRENCY = re.compile(r"[A-Za-z0-9]{1,16}")
_KINDS = frozenset({"", "future", "spot", "option", "future_combo", "option_combo"})
_KEY = b'"channel":"'
_NAME_FROM, _NAME_LIMIT = len(_KEY), len(_KEY) + 96

Update: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 62)]
Amount: TypeAlias = Annotated[float, Meta(gt=0, lt=1e15)]
Commission: TypeAlias = Annotated[float, Meta(gt=-1, lt=1)]
Change: TypeAlias = tuple[Literal["new", "change", "delete"], Price, Size]
Number: TypeAlias = int | str
"""An id, written in either way over the years."""
Data = TypeVar("Data")


class _Wire(Struct, gc=False):
    """Base of wire messages: decoded, read once and dropped."""


class _Params(_Wire, Generic[Data]):
    channel: str
    data: Data


class _Frame(_Wire, Generic[Data]):
    params: _Params[Data]


class _Book(_Wire):
    timestamp: Millis
    instrument_name: str
    change_id: Update
    bids: list[Change]
    asks: list[Change]
    type: Literal["snapshot", "change", ""] = ""
    prev_change_id: Update | None = None


class _Whole(_Wire):
    timestamp: Millis
    instrument_name: str
    change_id: Update
    bids: list[Level]
    asks: list[Level]


class _Quote(_Wire):
    """A side without orders has no price, or price and amount 0."""

    timestamp: Millis
    instrument_name: str
    best_bid_price: Size | None
    best_bid_amount: Size | None
    best_ask_price: Size | None
    best_ask_amount: Size | None


class _Fill(_Wire):
    timestamp: Millis
    instrument_name: str
    price: Price
    amount: Amount
    direction: Aggressor
    trade_id: Number = ""
    liquidation: Literal["M", "T", "MT"] | None = None
    block_trade_id: Number | None = None
    combo_trade_id: Number | None = None


class _Stats(_Wire):
    volume: Size | None = None
    volume_usd: Size | None = None
    volume_notional: Size | None = None


class _Ticker(_Wire):
    """Each message is whole: what is absent or null is not known."""

    timestamp: Millis
    instrument_name: str
    mark_price: Size | None = None
    index_price: Size | None = None
    current_funding: Rate | None = None
    open_interest: Size | None = None
    stats: _Stats | None = None


class _PriceIndex(_Wire):
    timestamp: Millis
    price: Price
    index_name: str


class _ControlParams(_Wire):
    channel: str | None = None
    type: str = ""


class _Detail(_Wire):
    reason: str = ""
    param: str = ""


class _Error(_Wire):
    code: int
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Control(_Wire):
    """An answer, an error, a heartbeat, or a data frame written in an unusual way."""

    method: str = ""
    id: Number | None = None
    params: _ControlParams | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    error: _Error | None = None


class _Step(_Wire):
    tick_size: Price


class _Row(_Wire):
    instrument_name: str
    kind: str
    base_currency: str
    quote_currency: str
    tick_size: Price
    min_trade_amount: Price
    expiration_timestamp: Annotated[int, Meta(ge=0, lt=1 << 50)] = 0
    settlement_currency: str | None = None
    counter_currency: str | None = None
    instrument_type: str | None = None
    future_type: str | None = None
    is_active: bool = True
    is_csr: bool = False
    """Of a spot pair that is matched on another exchange."""
    tick_size_steps: list[_Step] = []
    maker_commission: Commission | None = None
    taker_commission: Commission | None = None


class _Answer(_Wire):
    error: _Error | None = None


class _ListAnswer(_Wire):
    result: list[msgspec.Raw]


class _TimeAnswer(_Wire):
    """`usIn` and `usOut` are when the request was taken and answered, in us; `result` is in ms."""

    result: Annotated[int, Meta(gt=0, lt=4_102_444_800_000)]
    usIn: Annotated[int, Meta(ge=0, lt=4_102_444_800_000_000)] = 0
    usOut: Annotated[int, Meta(ge=0, lt=4_102_444_800_000_000)] = 0


_book = msgspec.json.Decoder(_Frame[_Book], strict=False).decode
_whole = msgspec.json.Decoder(_Frame[_Whole], strict=False).decode
_quote = msgspec.json.Decoder(_Frame[_Quote], strict=False).decode
_trades = msgspec.json.Decoder(_Frame[list[_Fill]], strict=False).decode
_ticker = msgspec.json.Decoder(_Frame[_Ticker], strict=False).decode
_index = msgspec.json.Decoder(_Frame[_PriceIndex], strict=False).decode
_control = msgspec.json.Decoder(_Control).decode
_channels = msgspec.json.Decoder(list[str]).decode
_detail = msgspec.json.Decoder(_Detail).decode
_answer = msgspec.json.Decoder(_Answer).decode
_list = msgspec.json.Decoder(_ListAnswer).decode
_row = msgspec.json.Decoder(_Row, strict=False).decode
_time = msgspec.json.Decoder(_TimeAnswer).decode


class Deribit:
    """Facts of the venue: instruments, connections, names.

    Args:
        endpoints: where its one market is; the real hosts unless said otherwise.
    """

    id: ClassVar[str] = "DERIBIT"
    endpoints: ClassVar[Mapping[str, Endpoint]] = ENDPOINTS

    def __init__(self, endpoints: Mapping[str, Endpoint] = ENDPOINTS) -> None:
        self._endpoints = endpoints
        self._routed: set[str] = set()
        """Spot pairs that are matched on another exchange: their trades are not told."""

    def closed(self, market: str) -> str:
        return ""

    def catalogue(self) -> Sequence[Fetch]:
        path = INSTRUMENTS_PATH + "?currency=any&kind={}&expired=false"
        return [Fetch(f"instruments:any:{kind}", path.format(kind), INSTRUMENTS_WEIGHT, 1, MARKET) for kind in LISTED]

    def next_page(self, key: str, body: bytes) -> Fetch | None:
        """Nothing: each answer is whole."""
        return None

    def clock(self, market: str) -> Fetch:
        return Fetch(f"clock:{market}", TIME_PATH, 1, 1, market)

    def server_ns(self, body: bytes) -> Ns:
        """The middle of the time the server had the request. Raises `BadFrame` for a refusal."""
        _refuse(body, "time")
        answer = _time(body)
        if 0 < answer.usIn <= answer.usOut:
            return (answer.usIn + answer.usOut) * 500
        return answer.result * MS

    def terms(self, market: str) -> Terms:
        return Terms(
            rest=self._endpoints[market].rest,
            pool="deribit",
            weight_per_minute=REQUESTS_PER_MINUTE,
            sends_per_s=SENDS_PER_S,
        )

    def instruments(self, answers: Mapping[str, bytes]) -> Sequence[Instrument]:
        """Raises a decode error for an answer that is no list and `BadFrame` for a refusal; what does not trade is left out."""
        found: list[Instrument] = []
        for key, body in answers.items():
            if key.startswith("instruments:"):
                _refuse(body, "instruments")
                rows = [row for raw in _list(body).result if (row := _read(raw)) is not None]
                self._routed.update(row.instrument_name for row in rows if row.is_csr)
                found.extend(filter(None, map(_instrument, rows)))
        return found

    def channels(self, instrument: Instrument) -> Sequence[Channel]:
        told = CHANNELS[instrument.kind]
        if instrument.native in self._routed:
            return [channel for channel in told if channel is not Channel.TRADE]
        return told

    def plan(self, wanted: Sequence[Stream], instruments: Instruments) -> Sequence[Plan]:
        """One connection, more where there are very many streams; an instrument's streams stay together."""
        groups: dict[InstrumentId, list[Stream]] = {}
        for stream in wanted:
            if stream.channel in self.channels(instruments[stream.instrument]):
                groups.setdefault(stream.instrument, []).append(stream)
        parts: list[list[Stream]] = []
        for group in groups.values():
            if not parts or len(parts[-1]) + len(group) > STREAMS_PER_CONNECTION:
                parts.append([])
            parts[-1].extend(group)
        url = self._endpoints[MARKET].websocket + SOCKET_PATH
        return [Plan(self.id, MARKET, url, tuple(streams)) for streams in parts]

    def topic(self, market: str, data: bytes) -> str | None:
        name = _name(data)
        if name is not None:
            return clean_text(name, 100)
        try:
            params = _control(data).params
        except DECODE_ERRORS:
            return None
        return clean_text(params.channel, 100) if params is not None and params.channel is not None else None

    def stream_of(self, market: str, topic: str, instruments: Instruments) -> Stream | None:
        """An index belongs to the instruments that it is the index of: here to their first, spot before perpetuals."""
        own = [each for each in instruments.values() if each.venue == self.id and each.market == market]
        index = _INDEX.fullmatch(topic)
        if index is not None:
            fitting = [each for each in own if _index_name(each) == index[1] and Channel.TICKER in CHANNELS[each.kind]]
            first = min(fitting, key=lambda each: list(Kind).index(each.kind), default=None)
            return Stream(first.id, Channel.TICKER) if first is not None else None
        named = _named(topic)
        if named is None:
            return None
        channel, native = named
        return next(
            (Stream(each.id, channel) for each in own if each.native == native and channel in CHANNELS[each.kind]),
            None,
        )

    def catalogue_key(self, url: str) -> str | None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        currency, kind = (query.get(name, [""])[0] for name in ("currency", "kind"))
        if parts.path != INSTRUMENTS_PATH or _CURRENCY.fullmatch(currency) is None or kind not in _KINDS:
            return None
        return f"instruments:{currency}:{kind or 'all'}" if query.get("expired") != ["true"] else None

    def snapshot_key(self, url: str) -> str | None:
        """Books begin in-band: no session ever asks for one."""
        return None

    def session(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> Session:
        return DeribitSession(plan, instruments, listener, health)


class _Known:
    """What an instrument's tickers have told so far; None: not known."""

    __slots__ = ("at_ns", "index", "index_ns", "mark", "open_interest", "rate", "told_ns", "turnover", "volume")

    def __init__(self) -> None:
        self.mark: float | None = None
        self.index: float | None = None
        self.index_ns: Ns = 0
        """The venue's time of `index`, which two channels may tell."""
        self.rate: float | None = None
        self.open_interest: float | None = None
        self.volume: float | None = None
        self.turnover: float | None = None
        self.told_ns: Ns = -NEVER
        """When mark and index were last told."""
        self.at_ns: Ns = 0
        """The venue's time of the last ticker."""


class DeribitSession(BookSession):
    """One connection. A feed's `chain` is its last change id; its book's `seq` is a time in ms, comparable with best quotes."""

    def __init__(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> None:
        super().__init__(plan, instruments, listener, health)
        self._by_native = {
            instrument.native: instrument
            for instrument in instruments.values()
            if instrument.venue == plan.venue and instrument.market == plan.market
        }
        self._own_topics: dict[Stream, str] = {}  # what feeds a stream: the first of its channels that is heard
        self._on_the_way: dict[InstrumentId, None] = {}  # books whose first subscription has just been sent
        self._known: dict[InstrumentId, _Known] = {}
        self._awaited: dict[str, Sequence[str]] = {}  # request -> its channels

    def pulse_period_ns(self) -> Ns | None:
        derivative = any(
            stream.channel is Channel.TICKER and self.instruments[stream.instrument].kind is not Kind.SPOT
            for stream in self.streams
        )
        return self.ticker_period_ns if derivative else None

    def opened(self, now: Ns) -> Sequence[Action]:
        heartbeat = self._call("public/set_heartbeat", {"interval": HEARTBEAT_S}, self.request(()))
        streams = super().opened(now)
        asked = {channel for channels in self._awaited.values() for channel in channels}
        rates = [INDEX + name for name in RATES if INDEX + name not in asked]
        if not rates:
            return [heartbeat, *streams]
        number = self.request(())
        self._await(str(number), rates)
        return [heartbeat, *streams, self._call("public/subscribe", {"channels": rates}, number)]

    def subscribe(self, add: Sequence[Stream], drop: Sequence[Stream]) -> Sequence[Send]:
        self.handlers.clear()
        sends = self._messages("public/unsubscribe", drop)
        for stream in drop:
            self._own_topics.pop(stream, None)
            if stream.channel is Channel.BOOK:
                self._on_the_way.pop(stream.instrument, None)
            elif stream.channel is Channel.TICKER:
                self._known.pop(stream.instrument, None)
        for stream in add:
            instrument = self.instruments[stream.instrument]
            self._by_native[instrument.native] = instrument
            if stream.channel is Channel.BOOK:
                self._on_the_way[stream.instrument] = None
        return sends + self._messages("public/subscribe", add)

    def resubscribe(self, streams: Sequence[Stream]) -> Sequence[Action]:
        """A fresh snapshot comes with a fresh subscription."""
        return self._messages("public/unsubscribe", streams) + self._messages("public/subscribe", streams)

    def request_book(self, feed: BookFeed, now: Ns) -> Sequence[Action]:
        instrument = feed.instrument.id
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
        topic = (_name(data) or b"").decode("ascii", "replace")
        stream = self._stream(topic)
        if stream is None:
            return NOTHING
        self.board.stream(stream).quarantined += 1
        if stream.channel is not Channel.BOOK or self._own_topics.get(stream, topic) != topic:
            return NOTHING
        return self.resync(self.feeds[stream.instrument], "decode", now)

    def _call(self, method: str, params: Mapping[str, object], number: int) -> Send:
        return Send(msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).decode())

    def _messages(self, method: str, streams: Sequence[Stream]) -> list[Send]:
        """A request fails only for the channels it has no use for, so many share one."""
        sends = []
        channels: list[str] = []
        asked: list[Stream] = []
        for at, stream in enumerate(streams, 1):
            subscribes = method == "public/subscribe"
            channels.extend(topic for topic in self._topics(stream) if subscribes or topic.removeprefix(INDEX) not in RATES)
            asked.append(stream)
            if at == len(streams) or len(channels) > CHANNELS_PER_MESSAGE - 2:
                number = self.request(asked if subscribes else ())
                channels = list(dict.fromkeys(channels))
                if subscribes:
                    self._await(str(number), channels)
                sends.append(self._call(method, {"channels": channels}, number))
                channels, asked = [], []
        return sends

    def _await(self, request: str, channels: Sequence[str]) -> None:
        if len(self._awaited) >= REQUESTS_KEPT:
            del self._awaited[next(iter(self._awaited))]
        self._awaited[request] = channels

    def _topic(self, stream: Stream) -> str:
        """The channel that a stream is; what else it needs is in `_topics`."""
        own = self._own_topics.get(stream)
        return own or TOPICS[stream.channel].format(self.instruments[stream.instrument].native)

    def _topics(self, stream: Stream) -> Sequence[str]:
        """A derivative's ticker carries its index; a spot pair's need not, and only speaks when there are orders."""
        topic = self._topic(stream)
        instrument = self.instruments[stream.instrument]
        if stream.channel is Channel.TICKER and instrument.kind is Kind.SPOT:
            return (topic, INDEX + _index_name(instrument))
        return (topic,)

    def _stream(self, topic: str) -> Stream | None:
        """What a channel means here; None for one that nobody asked for, and for an index."""
        named = _named(topic)
        instrument = self._by_native.get(named[1]) if named is not None else None
        if named is None or instrument is None:
            return None
        stream = Stream(instrument.id, named[0])
        return stream if stream in self.streams else None

    def _first(self, name: bytes, data: bytes, now: Ns) -> Sequence[Action]:
        """A channel without a handler: the first message since it was asked for, or one that nobody asked for."""
        if not self.pulse.alive:
            return NOTHING  # given up: what still arrives may not bring a book back
        topic = name.decode("ascii", "replace")
        index = _INDEX.fullmatch(topic)
        stream = self._stream(topic)
        if index is not None:
            handler = self._price_index(index[1], topic)
        else:
            handler = self._handler(stream, topic) if stream is not None else None
        if handler is None:
            return self._ignored(now)
        actions = handler(data, now)
        self.handlers[name] = handler
        if stream is not None:
            self._own_topics[stream] = topic
            if stream.channel is not Channel.BOOK:  # a book speaks with its snapshot
                self.hear(stream, now)
        self.alive(now)
        return actions

    def _ignored(self, now: Ns) -> Sequence[Action]:
        """A channel that nobody asked for: it is a sign of life and no more."""
        self.pulse.last_ns = now
        self.board.ignored += 1
        return NOTHING

    def _handler(self, stream: Stream, topic: str) -> Handler | None:
        """None where another interval feeds the stream already: everything would be told twice."""
        if self._own_topics.get(stream, topic) != topic:
            return None
        health, instrument = self.streams[stream].health, self.instruments[stream.instrument]
        if stream.channel is Channel.BOOK:
            feed = self.feeds[stream.instrument]
            return self._whole(feed, topic) if _GROUPED.fullmatch(topic) else self._book(feed, topic)
        if stream.channel is Channel.TOUCH:
            return self._touch(instrument, health, topic)
        if stream.channel is Channel.TRADE:
            return self._trades(instrument, health, topic)
        return self._ticker(instrument, health, topic)

    def _said(self, data: bytes, now: Ns) -> Sequence[Action]:
        """What is no market data. A heartbeat is no sign of life: the server sends it while its data stand still."""
        message = _control(data)
        params = message.params
        if params is not None and params.channel is not None:
            name = params.channel.encode("utf-8", "replace")
            handler = self.handlers.get(name)
            return handler(data, now) if handler is not None else self._first(name, data, now)
        if not self.pulse.alive:
            return NOTHING
        if message.method == "heartbeat" and params is not None:
            test = params.type == "test_request"  # unanswered, it closes the connection
            return (self._call("public/test", {}, self.request(())),) if test else NOTHING
        request = "" if message.id is None else str(message.id)
        if message.error is not None:
            return self._failed(message.error, request, now)
        if not request:
            self.board.ignored += 1
        elif request in self._awaited:
            self._granted(request, _channels(message.result), now)
        return NOTHING

    def _granted(self, request: str, channels: Sequence[str], now: Ns) -> None:
        """What a subscription asked for and the answer does not list is refused, without a word."""
        refused = [channel for channel in self._awaited.pop(request) if channel not in channels]
        if refused:
            hit = [
                stream for stream, asked in self.streams.items() if asked.request == request and self._topic(stream) in refused
            ]
            self._decline(hit, REFUSED, f"{REFUSED}: {', '.join(refused[:8])}", now)
            for stream in hit:
                if stream.channel is Channel.BOOK:
                    self._other_book(stream)
        self.acknowledged(request, now)

    def _other_book(self, stream: Stream) -> None:
        """From now on ask for the grouped book in place of the one of changes, and the other way round."""
        if self._own_topics.pop(stream, None) is None:
            self._own_topics[stream] = GROUPED.format(self.instruments[stream.instrument].native)

    def _failed(self, error: _Error, request: str, now: Ns) -> Sequence[Action]:
        """An error fails a whole request; without a number it may have been any that is not heard yet."""
        self._awaited.pop(request, None)
        text = _told(error)
        if error.code == TOO_MANY:
            self.board.say(f"{self.plan.venue}: {text}", now)
            return (Drop(text, TOO_MANY_NS),)
        hit = [stream for stream, asked in self.streams.items() if not asked.heard and (not request or asked.request == request)]
        self._decline(hit, text, text, now)
        return NOTHING

    def _decline(self, streams: Sequence[Stream], reason: str, text: str, now: Ns) -> None:
        reason = clean_text(reason)
        if not streams or any(self.streams[stream].fault != reason for stream in streams):
            self.board.say(f"{self.plan.venue}: {text}", now)
        self.declined(streams, reason, now)

    def _book(self, feed: BookFeed, topic: str) -> Handler:
        book, leg, pulse, listener = feed.book, feed.leg, self.pulse, self.listener
        seen, apply, decode, native = feed.health.seen, feed.book.apply, _book, feed.instrument.native

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            params = decode(data).params
            update = params.data
            if params.channel != topic or update.instrument_name != native:
                raise BadFrame("a book's frame names two channels or instruments")
            snapshot = update.type == "snapshot" or (not update.type and update.prev_change_id is None)
            if not snapshot and update.prev_change_id is None:
                raise BadFrame("a book's change does not say what it follows")
            seen(len(data), now)
            pulse.last_ns = now
            at = update.timestamp * MS
            if at:
                leg.raw_ns = now - at
                leg.fresh = True
            if not snapshot and update.prev_change_id == feed.chain:  # -1, which nothing follows, unless it is SYNCED
                feed.chain = update.change_id
                if update.timestamp < book.seq:  # its clock was set back: a quote of before lies over nothing any more
                    book.touch_seq = -1
                apply(_levels(update.bids), _levels(update.asks), update.timestamp, at, now)
                if book.crossed_ns:
                    self.changed(feed, now)
                else:
                    listener.on_book(book, now)
                return NOTHING
            return self._out_of_line(feed, update, snapshot, now)

        return message

    def _out_of_line(self, feed: BookFeed, update: _Book, snapshot: bool, now: Ns) -> Sequence[Action]:
        """A snapshot, a change sent twice, one of a book without a snapshot, or the proof of a gap."""
        if snapshot:
            feed.chain = update.change_id
            at = update.timestamp
            feed.book.replace(_levels(update.bids), _levels(update.asks), at, at * MS, now)
            self.hear(feed.stream, now)
            self.synced(feed, now)
            return NOTHING
        if feed.book.state is not BookState.SYNCED or update.change_id == feed.chain:
            feed.health.ignored += 1
            return NOTHING
        return self.gap(feed, now)

    def _whole(self, feed: BookFeed, topic: str) -> Handler:
        """A book that comes whole each time: nothing can be missed. A best quote newer than it stays over it."""
        book, leg, pulse, native = feed.book, feed.leg, self.pulse, feed.instrument.native
        asked = self.streams[feed.stream]

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            params = _whole(data).params
            update = params.data
            if params.channel != topic or update.instrument_name != native:
                raise BadFrame("a book's frame names two channels or instruments")
            feed.health.seen(len(data), now)
            pulse.last_ns = now
            at = update.timestamp * MS
            if at:
                leg.raw_ns = now - at
                leg.fresh = True
            first = not asked.heard or book.state is not BookState.SYNCED
            over = book.touch_seq if update.timestamp >= book.seq else -1
            feed.chain = update.change_id
            book.replace(update.bids, update.asks, update.timestamp, at, now)
            book.touch(book.touch_bid, book.touch_bid_size, book.touch_ask, book.touch_ask_size, over, 0, now)
            if first:
                self.hear(feed.stream, now)
                self.synced(feed, now)
            else:
                self.changed(feed, now)
            return NOTHING

        return message

    def _touch(self, instrument: Instrument, health: StreamHealth, topic: str) -> Handler:
        pulse, listener, decode, seen = self.pulse, self.listener, _quote, health.seen
        feed = self.feeds.get(instrument.id)
        synced = BookState.SYNCED

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            params = decode(data).params
            quote = params.data
            if params.channel != topic or quote.instrument_name != instrument.native:
                raise BadFrame("a best quote's frame names two channels or instruments")
            if feed is not None and quote.timestamp - feed.book.seq > AHEAD_MS and feed.book.state is synced:
                raise BadFrame("a best quote from far ahead of its book")
            seen(len(data), now)
            pulse.last_ns = now
            if feed is None:
                return NOTHING
            book, at = feed.book, quote.timestamp * MS
            if at:
                feed.leg.raw_ns = now - at
                feed.leg.fresh = True
            bid, bid_size = quote.best_bid_price or nan, quote.best_bid_amount or 0.0
            ask, ask_size = quote.best_ask_price or nan, quote.best_ask_amount or 0.0
            if book.touch(bid, bid_size, ask, ask_size, quote.timestamp, at, now):
                if book.crossed_ns:
                    self.changed(feed, now)
                else:
                    listener.on_touch(book, now)
            return NOTHING

        return message

    def _trades(self, instrument: Instrument, health: StreamHealth, topic: str) -> Handler:
        pulse, listener, decode, seen = self.pulse, self.listener, _trades, health.seen
        feed = self.feeds.get(instrument.id)
        book = feed.book if feed is not None else None

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            params = decode(data).params
            if params.channel != topic or any(fill.instrument_name != instrument.native for fill in params.data):
                raise BadFrame("a trade's frame names two channels or instruments")
            seen(len(data), now)
            pulse.last_ns = now
            actions: Sequence[Action] = NOTHING
            for fill in params.data:
                at = fill.timestamp * MS
                block = fill.block_trade_id is not None or fill.combo_trade_id is not None
                trade = Trade(fill.price, fill.amount, fill.direction, at, clean_text(str(fill.trade_id)), block)
                listener.on_trade(instrument, trade, now)
                for position in _liquidated(fill):
                    listener.on_metric(instrument, Liquidation(position, fill.price, fill.amount, at), now)
                if book is None or feed is None or block:
                    continue
                if book.bid <= fill.price <= book.ask:
                    feed.outside_ns = 0
                else:
                    actions = self.printed_outside(feed, fill.price, now) or actions
            return actions

        return message

    def _ticker(self, instrument: Instrument, health: StreamHealth, topic: str) -> Handler:
        pulse, decode, seen = self.pulse, _ticker, health.seen
        known = self._known.setdefault(instrument.id, _Known())

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            params = decode(data).params
            new = params.data
            if params.channel != topic or new.instrument_name != instrument.native:
                raise BadFrame("a ticker's frame names two channels or instruments")
            seen(len(data), now)
            pulse.last_ns = now
            known.at_ns = at = new.timestamp * MS
            self._tell_prices(instrument, known, new, at, now)
            if instrument.kind is Kind.PERP and new.current_funding is not None and new.current_funding != known.rate:
                known.rate = new.current_funding
                self._say_funding(instrument, known, at, now)
            if instrument.kind is not Kind.SPOT and new.open_interest is not None and new.open_interest != known.open_interest:
                known.open_interest = new.open_interest
                self.listener.on_metric(instrument, OpenInterest(new.open_interest, at), now)
            self._tell_volume(instrument, known, new.stats or _Stats(), at, now)
            return NOTHING

        return message

    def _price_index(self, name: str, topic: str) -> Handler | None:
        """The index of every instrument here whose index it is, and of its pair if that is asked for; None where of neither."""
        fitting = [
            (self.instruments[stream.instrument], asked)
            for stream, asked in self.streams.items()
            if stream.channel is Channel.TICKER and _index_name(self.instruments[stream.instrument]) == name
        ]
        pair = RATES.get(name)
        if not fitting and pair is None:
            return None
        told = [(instrument, self._known.setdefault(instrument.id, _Known())) for instrument, _ in fitting]
        # a ticker whose silence is a fault must speak itself, and no index may stand for the life of its market
        counted = [asked.health for _, asked in fitting if not asked.limit_ns]

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            params = _index(data).params
            index = params.data
            if params.channel != topic or index.index_name != name:
                raise BadFrame("an index's frame names two channels or indices")
            for health in counted:
                self.pulse.last_ns = now
                health.seen(len(data), now)
            at = index.timestamp * MS
            for instrument, known in told:
                if at >= known.index_ns:
                    known.index, known.index_ns = index.price, at
                    self.listener.on_metric(instrument, Index(index.price, at), now)
            if pair is not None:
                self.listener.on_pair_index(PairIndex(self.plan.venue, *pair, index.price, at), now)
            return NOTHING

        return message

    def _restate(self, instrument: Instrument, known: _Known, now: Ns) -> None:
        """All that is known, as if it had just changed."""
        at, tell = known.at_ns, self.listener.on_metric
        if known.mark is not None:
            tell(instrument, Mark(known.mark, at), now)
        if known.index is not None:
            tell(instrument, Index(known.index, known.index_ns), now)
        if known.rate is not None:
            self._say_funding(instrument, known, at, now)
        if known.open_interest is not None:
            tell(instrument, OpenInterest(known.open_interest, at), now)
        if known.volume is not None or known.turnover is not None:
            self._say_volume(instrument, known, at, now)

    def _tell_prices(self, instrument: Instrument, known: _Known, new: _Ticker, at: Ns, now: Ns) -> None:
        """Mark and index go together. A spot pair has no mark; its index may have been told later already."""
        mark = (new.mark_price or None) if instrument.kind is not Kind.SPOT else None
        index = (new.index_price or None) if at >= known.index_ns else None
        if mark == known.mark and index in (None, known.index) and now - known.told_ns < RESTATE_NS:
            return
        known.mark, known.told_ns = mark, now
        if mark is not None:
            self.listener.on_metric(instrument, Mark(mark, at), now)
        if index is not None:
            known.index, known.index_ns = index, at
            self.listener.on_metric(instrument, Index(index, at), now)

    def _say_funding(self, instrument: Instrument, known: _Known, at: Ns, now: Ns) -> None:
        if known.rate is not None:
            self.listener.on_metric(instrument, Funding(known.rate, FUNDING_S, 0, at), now)

    def _tell_volume(self, instrument: Instrument, known: _Known, stats: _Stats, at: Ns, now: Ns) -> None:
        """`volume` is in base units; in quote units it is named otherwise where the quote is the dollar."""
        turnover = stats.volume_notional
        if turnover is None and instrument.quote == "USD":
            turnover = stats.volume_usd
        if (stats.volume, turnover) != (known.volume, known.turnover):
            known.volume, known.turnover = stats.volume, turnover
            self._say_volume(instrument, known, at, now)

    def _say_volume(self, instrument: Instrument, known: _Known, at: Ns, now: Ns) -> None:
        base, in_quote = (nan if each is None else each for each in (known.volume, known.turnover))
        self.listener.on_metric(instrument, Stats24h(base, in_quote, at), now)


def _name(data: bytes) -> bytes | None:
    """The channel of a frame wherever its key stands; None where the bytes show none."""
    start = data.find(_KEY)
    if start < 0:
        return None
    end = data.find(b'"', start + _NAME_FROM, start + _NAME_LIMIT)
    return data[start + _NAME_FROM : end] if end > 0 else None


def _named(topic: str) -> tuple[Channel, str] | None:
    """Channel and native name that a topic speaks of; None for what is not read."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    return CHANNEL_OF[match[1] or match[3] or match[5]], match[2] or match[4] or match[6]


def _index_name(instrument: Instrument) -> str:
    return f"{instrument.base}_{instrument.quote}".lower()


def _levels(changes: Sequence[Change]) -> list[tuple[float, float]]:
    return [(price, size if action != "delete" else 0.0) for action, price, size in changes]


def _liquidated(fill: _Fill) -> Sequence[Literal["long", "short"]]:
    """Whose position a trade closed by force: the taker's was long if he sold, the maker's if he bought from him."""
    taker: Literal["long", "short"] = "long" if fill.direction == "sell" else "short"
    maker: Literal["long", "short"] = "short" if fill.direction == "sell" else "long"
    return {"T": (taker,), "M": (maker,), "MT": (taker, maker)}[fill.liquidation] if fill.liquidation else ()


def _told(error: _Error) -> str:
    """An error in words: `error 13778: raw channels are only for signed-in users (...)`."""
    try:
        detail = _detail(error.data)
    except DECODE_ERRORS:
        detail = _Detail()
    more = " ".join(each[:80] for each in (detail.param, detail.reason) if each)
    words = REASONS.get(error.code) or error.message[:100] or "unknown"
    return clean_text(f"error {error.code}: {words}" + (f" ({more})" if more else ""), 200)


def _refuse(body: bytes, what: str) -> None:
    """Raises `BadFrame` for an answer that is an error."""
    error = _answer(body).error
    if error is not None:
        raise BadFrame(f"{Deribit.id} {what}: {_told(error)}")


def _read(raw: msgspec.Raw) -> _Row | None:
    """One row of a get_instruments answer; None where a fact is missing."""
    try:
        return _row(raw)
    except DECODE_ERRORS:
        return None


def _instrument(row: _Row) -> Instrument | None:
    """What a row is about; None unless it trades and its name says the same."""
    parts = symbols.native_to_parts(Deribit.id, MARKET, row.instrument_name)
    if parts is None or not row.is_active or not _agrees(row, parts):
        return None
    expiry_ns = row.expiration_timestamp * MS if parts.expiry else 0
    try:
        name = symbols.instrument_id(Deribit.id, parts.base, parts.quote, parts.settle, expiry_ns, parts.strike, parts.right)
    except InputError:
        return None
    if name != symbols.format_id(parts):
        return None
    option_in_coin = parts.kind is Kind.OPTION and parts.contract is Contract.INVERSE
    return Instrument(
        id=name,
        venue=Deribit.id,
        market=MARKET,
        native=row.instrument_name,
        base=parts.base,
        quote=parts.quote,
        settle=parts.settle,
        kind=parts.kind,
        # its prices and its sizes are both in coin: none of the conversions of an inverse contract holds
        contract=Contract.QUANTO if option_in_coin else parts.contract,
        tick=min([row.tick_size, *(step.tick_size for step in row.tick_size_steps)]),
        lot=row.min_trade_amount,
        expiry_ns=expiry_ns,
        fees=_fees(row),
    )


def _agrees(row: _Row, parts: symbols.Parts) -> bool:
    """Whether list and name tell the same contract; lists of 2021 say less. An option's quote there is what it is priced in."""
    perpetual = row.expiration_timestamp >= PERPETUAL_FROM_MS
    kind = {"spot": Kind.SPOT, "option": Kind.OPTION, "future": Kind.PERP if perpetual else Kind.FUTURE}.get(row.kind)
    quote = row.counter_currency or (None if kind is Kind.OPTION else row.quote_currency)
    contract = {"linear": Contract.LINEAR, "reversed": Contract.INVERSE}.get(row.instrument_type or row.future_type or "")
    return (
        (kind, row.base_currency) == (parts.kind, parts.base)
        and quote in (None, parts.quote)
        and (kind is Kind.SPOT or (row.settlement_currency or parts.settle) == parts.settle)
        and contract in (None, parts.contract)
    )


def _fees(row: _Row) -> Fees | None:
    if row.maker_commission is None or row.taker_commission is None:
        return None
    return Fees(row.maker_commission, row.taker_commission)
