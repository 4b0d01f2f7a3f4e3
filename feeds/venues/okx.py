"""OKX v5: public market data of spot, swaps, dated futures and X-Perps, and the books of options in recordings.

Facts: protocols.md 0.3 to 0.6 and 3 (the venue's pages of 2026-06; frames recorded 2022 to 2026). One socket and one REST host
serve every kind, so there is one market, `public`. A book begins with an in-band snapshot and goes on while `prevSeqId` is the
last `seqId`, which may fall (a reset) or repeat (a keepalive); old frames have a CRC32 of the best 25 levels instead. `bbo-tbt`
shares the book's numbers, so a newer one lies over it. Derivatives count contracts. A ticker is five channels here, and the index
is named by its pair.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import zip_longest
from math import nan
from typing import Annotated, ClassVar, Final, Literal, TypeAlias, TypeVar
from urllib.parse import parse_qs, urlsplit
from zlib import crc32

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
    InstrumentId,
    Instruments,
    Kind,
    Liquidation,
    Mark,
    Metric,
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
from feeds.session import FAR_AHEAD, RESYNC_SPACING_NS, BookFeed, BookSession, Handler
from feeds.text import clean_text
from feeds.venue import NOTHING, Action, Drop, Endpoint, Fetch, FetchError, Listener, Plan, Renew, Send, Session, Terms

PUBLIC: Final = "public"
ENDPOINTS: Mapping[str, Endpoint] = {PUBLIC: Endpoint("https://www.okx.com", "wss://ws.okx.com:8443")}
CATALOGUE_PATH = "/api/v5/public/instruments"
TIME_PATH = "/api/v5/public/time"
BOOK_PATH = "/api/v5/market/books"
REQUESTS_PER_MINUTE = 300
"""10 in any 2 s, from one address: the strictest limit of what is asked for."""
SENDS_PER_S = 10.0
"""Ours; the venue limits `OPERATIONS` instead."""
OPERATIONS = 460
"""Subscriptions and unsubscriptions in an hour on one connection; it allows 480."""
HOUR_NS: Ns = 3_600 * SECOND
BOOKS_PER_CONNECTION = 25
"""Fewer than 30 books of 400 levels, says the venue."""
ARGS_PER_MESSAGE = 20
PING_NS: Ns = 25 * SECOND
"""A socket on which the venue has said nothing for 30 s is closed by it."""
DEPTH = 400
SNAPSHOT_NS: Ns = 10 * SECOND
"""Updates without a snapshot for so long: it is fetched over REST (protocols.md 3.4)."""
BUFFER_BYTES = 4 << 20
"""Updates kept while a REST snapshot is on its way; beyond it keeping starts over."""
SWEEP_EVERY = 1_024
"""Updates of a book between two looks for levels beyond its depth: none in 287 recorded updates."""
HANDLERS_KEPT = 4_096
"""Spellings of topics remembered on a connection: far above what is subscribed."""
LONGEST_FUNDING_S = 86_400
"""Two funding times further apart say nothing about the interval."""
CHECKED_LEVELS = 25
"""Levels a side that the CRC32 of old frames covers."""

BARE, UNNUMBERED = -2, -3
"""`chain` of a book whose next update must contain its number, not follow it (of a REST snapshot, or of five levels), and of
one without numbers. No update follows either: the least number is -1."""
REGRESSED_NS: Ns = SECOND
"""An update with an old number was there before the REST snapshot, unless it is so much later: then counting has started over."""

SPOT, SWAP, FUTURES, OPTION = "SPOT", "SWAP", "FUTURES", "OPTION"
TYPES = (SPOT, SWAP, FUTURES)
"""The lists of the catalogue, in this order: of two contracts with one id the first is kept."""
STATUS = "status"
BOOKS, FIVE, TOUCHES, TRADES, TICKERS = "books", "books5", "bbo-tbt", "trades", "tickers"
MARKS, INDICES, FUNDINGS, OPEN_INTERESTS, LIQUIDATIONS = (
    "mark-price",
    "index-tickers",
    "funding-rate",
    "open-interest",
    "liquidation-orders",
)
_DERIVATIVE: Mapping[Channel, tuple[str, ...]] = {
    Channel.BOOK: (BOOKS,),
    Channel.TOUCH: (TOUCHES,),
    Channel.TRADE: (TRADES,),
    Channel.TICKER: (TICKERS, MARKS, INDICES, OPEN_INTERESTS),
    Channel.LIQUIDATION: (LIQUIDATIONS,),
}
CHANNELS: Mapping[Kind, Mapping[Channel, tuple[str, ...]]] = {
    Kind.SPOT: {Channel.BOOK: (BOOKS,), Channel.TOUCH: (TOUCHES,), Channel.TRADE: (TRADES,), Channel.TICKER: (TICKERS,)},
    Kind.PERP: {**_DERIVATIVE, Channel.TICKER: (TICKERS, MARKS, INDICES, FUNDINGS, OPEN_INTERESTS)},
    Kind.FUTURE: _DERIVATIVE,
    Kind.OPTION: {Channel.BOOK: (BOOKS,)},
}
"""The venue's channels that make up one of ours. A refusal of the first is one of the whole."""
CHANNEL_OF: Mapping[str, Channel] = {
    BOOKS: Channel.BOOK,
    FIVE: Channel.BOOK,
    "books-l2-tbt": Channel.BOOK,
    "books50-l2-tbt": Channel.BOOK,
    TOUCHES: Channel.TOUCH,
    TRADES: Channel.TRADE,
    TICKERS: Channel.TICKER,
    MARKS: Channel.TICKER,
    INDICES: Channel.TICKER,
    FUNDINGS: Channel.TICKER,
    OPEN_INTERESTS: Channel.TICKER,
    LIQUIDATIONS: Channel.LIQUIDATION,
}
"""Recordings may hold other books than those that are asked for."""
DEPTHS: Mapping[str, int] = {FIVE: 5, "books50-l2-tbt": 50}
PULSE = f"{INDICES}:BTC-USD"
"""Asked for on every connection: it moves each second or two, so a connection of thin markets is not taken for a dead one."""
RATE_COINS, DOLLARS = ("BTC", "ETH"), ("USD", "USDT", "USDC")
RATES: Mapping[str, tuple[str, str]] = {f"{INDICES}:{base}-{quote}": (base, quote) for base in RATE_COINS for quote in DOLLARS}
"""Indices asked for on every connection, whatever is watched: one coin in several dollars tells what these are worth in each
other (analytics.md 23)."""
SHARED = frozenset({INDICES, LIQUIDATIONS})
"""Channels that are about several instruments: one subscription serves them all."""
PART_LIMITS: Mapping[str, Ns] = {
    MARKS: 30 * SECOND,
    INDICES: 30 * SECOND,
    OPEN_INTERESTS: 60 * SECOND,
    FUNDINGS: 300 * SECOND,
}
"""Silence after which a part of a ticker is asked for anew: three periods. An unchanged mark comes each 10 s, funding in 90 s."""
PARTS_EVERY_NS: Ns = 5 * SECOND
"""Between two looks for silent parts."""
PART_RARELY_NS: Ns = 300 * SECOND
"""Put off by so much more once it has been asked for in vain."""

CODES: Mapping[str, str] = {
    "50001": "the service is down for maintenance",
    "50011": "too many requests",
    "50013": "the venue is busy",
    "50026": "the venue has an internal error",
    "51001": "there is no such instrument",
    "60008": "this socket has no such channel",
    "60011": "the channel needs a login",
    "60012": "the request was not understood",
    "60013": "the request was not understood",
    "60014": "too many requests",
    "60018": "no such channel or instrument",
    "60031": "no such channel or instrument",
    "64003": "the channel is for VIP users",
    "64008": "the venue upgrades this server",
}
RENEWAL = "64008"
MAINTENANCE: Mapping[str, str] = {
    "scheduled": "maintenance is planned",
    "ongoing": "maintenance has begun",
    "pre_open": "maintenance is nearly over",
    "completed": "maintenance is over",
    "canceled": "maintenance is called off",
}
"""States in messages of the status channel."""

_SYMBOL = re.compile(r"[A-Z0-9_.-]{1,60}")
_NAMED = re.compile(r"channel:\s*([a-z0-9-]{1,40})(?:,\s*inst(?:Id|Type|Family):\s*([A-Z0-9_.-]{1,60}))?")
"""How an error names what was asked for."""
_HEAD = b'{"arg":{'
_FROM, _TO = len(_HEAD), len(_HEAD) + 160

Blank: TypeAlias = Literal[""]
"""How the venue writes "none"."""
Sequel: TypeAlias = Annotated[int, Meta(ge=-1, lt=1 << 62)]
_Some = TypeVar("_Some")
Checksum: TypeAlias = Annotated[int, Meta(ge=-(1 << 31), lt=1 << 32)]


class _Wire(Struct, gc=False):
    """Base of wire messages: decoded, read once and dropped."""


class _Arg(_Wire):
    channel: str
    instId: str = ""
    instType: str = ""
    instFamily: str = ""

    @property
    def topic(self) -> str:
        what = self.instId or self.instFamily or self.instType
        return f"{self.channel}:{what}" if what else self.channel


class _Level(_Wire, array_like=True):
    """Price and size; the number of orders and a constant follow. Read so, a message costs 3.5 us; as tuples of four, 4.6."""

    price: Price
    size: Size


class _Book(_Wire):
    asks: list[_Level]
    bids: list[_Level]
    ts: Millis
    seqId: Sequel | None = None
    prevSeqId: Sequel | None = None
    checksum: Checksum | None = None


class _BookFrame(_Wire):
    arg: _Arg
    data: list[_Book]
    action: Literal["snapshot", "update", ""] = ""


class _BookAnswer(_Wire):
    code: str
    data: list[_Book]
    msg: str = ""


class _Fill(_Wire):
    px: Price
    sz: Price
    side: Literal["buy", "sell"]
    ts: Millis
    tradeId: str = ""
    source: str = ""


class _TradeFrame(_Wire):
    arg: _Arg
    data: list[_Fill]


class _Ticker(_Wire):
    instId: str = ""
    vol24h: Size | Blank = ""
    volCcy24h: Size | Blank = ""
    ts: Millis | Blank = 0


class _TickerFrame(_Wire):
    arg: _Arg
    data: list[_Ticker]


class _Mark(_Wire):
    markPx: Price
    ts: Millis
    instId: str = ""


class _MarkFrame(_Wire):
    arg: _Arg
    data: list[_Mark]


class _Index(_Wire):
    idxPx: Price
    ts: Millis
    instId: str = ""


class _IndexFrame(_Wire):
    arg: _Arg
    data: list[_Index]


class _Funding(_Wire):
    fundingRate: Rate | Blank
    fundingTime: Millis | Blank = ""
    nextFundingTime: Millis | Blank = ""
    ts: Millis | Blank = 0
    instId: str = ""


class _FundingFrame(_Wire):
    arg: _Arg
    data: list[_Funding]


class _OpenInterest(_Wire):
    oi: Size
    ts: Millis
    instId: str = ""


class _OpenInterestFrame(_Wire):
    arg: _Arg
    data: list[_OpenInterest]


class _Close(_Wire):
    bkPx: Price
    sz: Price
    side: Literal["buy", "sell"]
    ts: Millis
    posSide: str = ""


class _Closes(_Wire):
    instId: str
    details: list[_Close]


class _CloseFrame(_Wire):
    arg: _Arg
    data: list[_Closes]


class _Works(_Wire):
    """One row of the status channel."""

    title: str
    state: str
    begin: Millis | Blank = ""
    end: Millis | Blank = ""


class _WorksFrame(_Wire):
    arg: _Arg
    data: list[_Works]


class _Envelope(_Wire):
    """What stands around any message: data have an `arg` alone, everything else an `event`."""

    arg: _Arg | None = None
    event: str = ""
    code: str = ""
    msg: str = ""
    id: str = ""


class _Row(_Wire):
    """One instrument of a list."""

    instId: str
    instType: str
    state: str
    tickSz: Price
    lotSz: Price
    baseCcy: str = ""
    quoteCcy: str = ""
    settleCcy: str = ""
    uly: str = ""
    ctType: str = ""
    ctVal: Price | Blank = ""
    ctMult: Price | Blank = ""
    ctValCcy: str = ""
    expTime: Millis | Blank = ""
    ruleType: str = "normal"
    stk: str = ""
    optType: Literal["", "C", "P"] = ""


class _Answer(_Wire):
    code: str
    msg: str = ""


class _ListAnswer(_Wire):
    data: list[msgspec.Raw]


class _Time(_Wire):
    ts: Annotated[int, Meta(gt=0, lt=4_102_444_800_000)]


class _TimeAnswer(_Wire):
    data: list[_Time]


_book = msgspec.json.Decoder(_BookFrame, strict=False).decode
_book_answer = msgspec.json.Decoder(_BookAnswer, strict=False).decode
_trade = msgspec.json.Decoder(_TradeFrame, strict=False).decode
_ticker = msgspec.json.Decoder(_TickerFrame, strict=False).decode
_mark = msgspec.json.Decoder(_MarkFrame, strict=False).decode
_index = msgspec.json.Decoder(_IndexFrame, strict=False).decode
_funding = msgspec.json.Decoder(_FundingFrame, strict=False).decode
_open_interest = msgspec.json.Decoder(_OpenInterestFrame, strict=False).decode
_close = msgspec.json.Decoder(_CloseFrame, strict=False).decode
_works = msgspec.json.Decoder(_WorksFrame, strict=False).decode
_envelope = msgspec.json.Decoder(_Envelope).decode
_answer = msgspec.json.Decoder(_Answer).decode
_list = msgspec.json.Decoder(_ListAnswer).decode
_time = msgspec.json.Decoder(_TimeAnswer, strict=False).decode
_row = msgspec.json.Decoder(_Row, strict=False).decode


class Okx:
    """Facts of the venue: instruments, connections, names.

    Args:
        endpoints: where its one market is; the real host unless said otherwise.
    """

    id: ClassVar[str] = "OKX"
    endpoints: ClassVar[Mapping[str, Endpoint]] = ENDPOINTS

    def __init__(self, endpoints: Mapping[str, Endpoint] = ENDPOINTS) -> None:
        self._endpoints = endpoints

    def closed(self, market: str) -> str:
        return ""

    def catalogue(self) -> Sequence[Fetch]:
        return [Fetch(f"instruments:{each}", f"{CATALOGUE_PATH}?instType={each}", 1, 1, PUBLIC) for each in TYPES]

    def next_page(self, key: str, body: bytes) -> Fetch | None:
        """Nothing: each answer is whole."""
        return None

    def clock(self, market: str) -> Fetch:
        return Fetch(f"clock:{market}", TIME_PATH, 1, 1, market)

    def server_ns(self, body: bytes) -> Ns:
        """Raises `BadFrame` for a refusal."""
        _refuse(body, "time")
        (row,) = _only(_time(body).data, "time")
        return row.ts * MS

    def terms(self, market: str) -> Terms:
        return Terms(
            rest=self._endpoints[market].rest,
            pool="okx",
            weight_per_minute=REQUESTS_PER_MINUTE,
            sends_per_s=SENDS_PER_S,
        )

    def instruments(self, answers: Mapping[str, bytes]) -> Sequence[Instrument]:
        """Raises a decode error for an answer that is no list and `BadFrame` for a refusal; what does not trade is left out."""
        found: dict[InstrumentId, Instrument] = {}
        for listed in (*TYPES, OPTION):
            for key, body in answers.items():
                if _type_of(key) != listed:
                    continue
                _refuse(body, f"{listed} instruments")
                for one in filter(None, (_instrument(listed, raw) for raw in _list(body).data)):
                    found.setdefault(one.id, one)
        return list(found.values())

    def channels(self, instrument: Instrument) -> Sequence[Channel]:
        return list(CHANNELS[instrument.kind])

    def plan(self, wanted: Sequence[Stream], instruments: Instruments) -> Sequence[Plan]:
        """One connection for all kinds, split where it would carry too many books; an instrument's streams stay together."""
        groups: dict[InstrumentId, list[Stream]] = {}
        for stream in wanted:
            if stream.channel in CHANNELS[instruments[stream.instrument].kind]:
                groups.setdefault(stream.instrument, []).append(stream)
        all_of_them = list(groups.values())
        url = f"{self._endpoints[PUBLIC].websocket}/ws/v5/public"
        return [
            Plan(self.id, PUBLIC, url, tuple(stream for group in some for stream in group))
            for at in range(0, len(all_of_them), BOOKS_PER_CONNECTION)
            for some in [all_of_them[at : at + BOOKS_PER_CONNECTION]]
        ]

    def topic(self, market: str, data: bytes) -> str | None:
        try:
            message = _envelope(data)
        except DECODE_ERRORS:
            return None
        return clean_text(message.arg.topic, 100) if message.arg is not None and not message.event else None

    def stream_of(self, market: str, topic: str, instruments: Instruments) -> Stream | None:
        """An index counts as its coin's swap's; liquidations of all contracts are no one's."""
        name, _, what = topic.partition(":")
        channel = CHANNEL_OF.get(name)
        if channel is None:
            return None
        native = f"{what}-SWAP" if name == INDICES else what
        for instrument in instruments.values():
            if instrument.native == native and instrument.market == market and instrument.venue == self.id:
                return Stream(instrument.id, channel) if channel in CHANNELS[instrument.kind] else None
        return None

    def catalogue_key(self, url: str) -> str | None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        listed = query.get("instType", [""])[0]
        if parts.path != CATALOGUE_PATH or listed not in (*TYPES, OPTION):
            return None
        family = (query.get("instFamily") or query.get("uly") or [""])[0]
        return f"instruments:{listed}:{clean_text(family)}" if family else f"instruments:{listed}"

    def snapshot_key(self, url: str) -> str | None:
        parts = urlsplit(url)
        native = parse_qs(parts.query).get("instId")
        return f"depth:{clean_text(native[0])}" if native and parts.path == BOOK_PATH else None

    def session(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> Session:
        return OkxSession(plan, instruments, listener, health)


class _Join:
    """Updates of one book kept until a REST snapshot meets them: each follows the one before."""

    __slots__ = ("events", "fetch_at_ns", "size")

    def __init__(self, fetch_at_ns: Ns) -> None:
        self.events: list[_Book] = []
        self.size = 0
        self.fetch_at_ns = fetch_at_ns

    def keep(self, update: _Book, size: int) -> None:
        if self.size > BUFFER_BYTES or (self.events and self.events[-1].seqId != update.prevSeqId):
            self.events, self.size = [], 0
        self.events.append(update)
        self.size += size


class OkxSession(BookSession):
    """One connection."""

    ticker_period_ns: ClassVar[Ns] = 10 * SECOND

    def __init__(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> None:
        super().__init__(plan, instruments, listener, health)
        self._by_native: dict[str, Instrument] = {}  # of what was ever asked for
        self._topics: dict[str, dict[Stream, None]] = {}  # what is subscribed to, and for whom
        self._unanswered: dict[str, str] = {}  # topic -> the request that asked for it
        self._refused: dict[str, None] = {}  # parts that the venue does not give
        self._book_topics: dict[InstrumentId, str] = {}  # the channel that feeds a book: the first that is heard of
        self._on_the_way: dict[InstrumentId, None] = {}  # books whose first subscription has just been sent
        self._joins: dict[InstrumentId, _Join] = {}
        self._known: dict[InstrumentId, dict[type, Metric]] = {}  # the last of each kind that was told
        self._spoke_ns: dict[str, Ns] = {}  # parts of tickers: when they last spoke, or were asked for
        self._parts_at_ns: Ns = NEVER
        self._pinged_ns: Ns = 0
        self._operations: deque[Ns] = deque(maxlen=2 * OPERATIONS)
        self._now: Ns = 0  # of what is being sent
        self._renewed = False

    def pulse_period_ns(self) -> Ns | None:
        """Mark and index of a derivative come several times a second; a spot ticker was silent for 1.3 s among many trades."""
        kinds = {self.instruments[each.instrument].kind for each in self.streams if each.channel is Channel.TICKER}
        return SECOND if kinds - {Kind.SPOT} else None

    def opened(self, now: Ns) -> Sequence[Action]:
        self._pinged_ns = now
        self._parts_at_ns = now + PARTS_EVERY_NS
        actions = [*super().opened(now)]
        self.due(now + PING_NS)
        self.due(self._parts_at_ns)
        for asked in ((STATUS, PULSE), *_rates_by_coin()):
            fresh = [topic for topic in asked if topic not in self._topics]
            for topic in fresh:
                if topic in RATES:
                    self._topics[topic] = {}
            if fresh:
                actions.append(self._request("subscribe", (), fresh))
        return actions

    def want(self, add: Sequence[Stream], drop: Sequence[Stream], now: Ns) -> Sequence[Action]:
        self._now = now
        return super().want(add, drop, now)

    def again(self, streams: Sequence[Stream], now: Ns) -> Sequence[Action]:
        self._now = now
        spent = self._spent(2 * len({stream.instrument for stream in streams}), now)
        return spent or super().again(streams, now)

    def wake(self, now: Ns) -> Sequence[Action]:
        self._now = now
        actions = super().wake(now)
        if not self.pulse.alive:
            return actions  # given up: nothing is asked for on it any more
        more: list[Action] = []
        idle_ns = max(self.pulse.last_ns, self._pinged_ns)
        if now - idle_ns >= PING_NS:
            self._pinged_ns = idle_ns = now
            more.append(Send("ping"))
        self.due(idle_ns + PING_NS)
        for instrument, join in self._joins.items():
            if join.fetch_at_ns <= now:
                join.fetch_at_ns = NEVER
                native = self.instruments[instrument].native
                more.append(Fetch(f"depth:{native}", f"{BOOK_PATH}?instId={native}&sz={DEPTH}", 1, 0))
            self.due(join.fetch_at_ns)
        if now >= self._parts_at_ns and now >= self._blind_ns:
            self._parts_at_ns = now + PARTS_EVERY_NS
            more.extend(self._look_at_parts(now))
        self.due(self._parts_at_ns)
        return [*actions, *more] if more else actions

    def stood_still(self, since: Ns, until: Ns) -> None:
        super().stood_still(since, until)
        for topic in self._spoke_ns:
            self._spoke_ns[topic] += until - since

    def subscribe(self, add: Sequence[Stream], drop: Sequence[Stream]) -> Sequence[Send]:
        self.handlers.clear()
        left: dict[InstrumentId, list[str]] = {}
        for stream in drop:
            for topic in self._topics_of(stream):
                owners = self._topics.get(topic, {})
                owners.pop(stream, None)
                if not owners and topic not in RATES and self._topics.pop(topic, None) is not None:
                    self._forget(topic)
                    left.setdefault(stream.instrument, []).append(topic)
            if stream.channel is Channel.BOOK:
                self._book_topics.pop(stream.instrument, None)
                self._on_the_way.pop(stream.instrument, None)
                self._joins.pop(stream.instrument, None)
            elif stream.channel is Channel.TICKER:
                self._known.pop(stream.instrument, None)
        sends = [self._request("unsubscribe", (), topics) for topics in left.values()]
        groups: dict[InstrumentId, list[Stream]] = {}
        for stream in add:
            groups.setdefault(stream.instrument, []).append(stream)
            instrument = self.instruments[stream.instrument]
            self._by_native[instrument.native] = instrument
            if stream.channel is Channel.BOOK:
                self._on_the_way[stream.instrument] = None
        for group in groups.values():
            fresh: list[str] = []
            asking: list[Stream] = []
            for stream in group:
                new = [topic for topic in self._topics_of(stream) if topic not in self._topics]
                for topic in self._topics_of(stream):
                    self._topics.setdefault(topic, {})[stream] = None
                fresh += new
                asking += [stream] * bool(new)
            if fresh:
                sends.append(self._request("subscribe", asking, fresh))
        return sends

    def resubscribe(self, streams: Sequence[Stream]) -> Sequence[Action]:
        """A fresh snapshot comes with a fresh subscription."""
        groups: dict[InstrumentId, list[Stream]] = {}
        for stream in streams:
            groups.setdefault(stream.instrument, []).append(stream)
            if stream.channel is Channel.BOOK:
                self._joins.pop(stream.instrument, None)
        sends = []
        for group in groups.values():
            topics = list(dict.fromkeys(topic for stream in group for topic in self._topics_of(stream)))
            sends += [self._request("unsubscribe", (), topics), self._request("subscribe", group, topics)]
        return sends

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
            for metric in known.values():
                self.listener.on_metric(self.instruments[instrument], metric, now)

    def fall(self, feed: BookFeed, reason: str, now: Ns) -> None:
        self._joins.pop(feed.instrument.id, None)
        super().fall(feed, reason, now)

    def frame(self, data: bytes, now: Ns) -> Sequence[Action]:
        if data.startswith(_HEAD):
            handler = self.handlers.get(data[_FROM : data.find(b"}", _FROM, _TO)])
            if handler is not None:
                return handler(data, now)
        return self._other(data, now)

    def answer(self, key: str, body: bytes | FetchError, now: Ns) -> Sequence[Action]:
        """A book's snapshot. Raises a decode error or `BadFrame` for a body that is none."""
        what, _, native = key.partition(":")
        instrument = self._by_native.get(native)
        feed = self.feeds.get(instrument.id) if instrument is not None and what == "depth" else None
        join = self._joins.get(feed.instrument.id) if feed is not None else None
        if feed is None or join is None or not self.pulse.alive:
            return NOTHING
        join.fetch_at_ns = now + RESYNC_SPACING_NS  # unless this is the snapshot; a body that is none raises below
        self.due(join.fetch_at_ns)
        if isinstance(body, FetchError):
            return NOTHING
        _refuse(body, f"book of {native}")
        (snapshot,) = _only(_book_answer(body).data, "book")
        return self._join(feed, join, snapshot, now)

    def refused(self, data: bytes, now: Ns) -> Sequence[Action]:
        arg = _arg_of(data)
        stream = self._stream(arg.channel, arg.instId) if arg is not None else None
        if stream is None:
            return NOTHING
        self.board.stream(stream).quarantined += 1
        if stream.channel is not Channel.BOOK or arg is None:
            return NOTHING  # the next message says everything anew
        owner = self._book_topics.get(stream.instrument, arg.topic)
        return self.resync(self.feeds[stream.instrument], "decode", now) if owner == arg.topic else NOTHING

    # -- what is asked for -----------------------------------------------------------------------------------------------------

    def _topics_of(self, stream: Stream) -> tuple[str, ...]:
        own = self._book_topics.get(stream.instrument) if stream.channel is Channel.BOOK else None
        return (own,) if own else _topics(self.instruments[stream.instrument], stream.channel)

    def _request(self, op: str, streams: Sequence[Stream], topics: Sequence[str]) -> Send:
        """One request an instrument, so that a name the venue does not know takes no other down with it."""
        number = str(self.request(streams))
        if op == "subscribe":
            for topic in topics:
                self._unanswered[topic] = number
                self._spoke_ns[topic] = self._now
        self._operations.append(self._now)
        message = {"id": number, "op": op, "args": [_arg(topic) for topic in topics]}
        return Send(msgspec.json.encode(message).decode())

    def _spent(self, more: int, now: Ns) -> Sequence[Action]:
        """A connection on which the venue would refuse `more` requests is worth less than a new one."""
        done = self._operations
        while done and now - done[0] >= HOUR_NS:
            done.popleft()
        return (Drop("the requests of an hour are used up", 0),) if len(done) + more > OPERATIONS else NOTHING

    def _forget(self, topic: str) -> None:
        self._unanswered.pop(topic, None)
        self._refused.pop(topic, None)
        self._spoke_ns.pop(topic, None)

    def _look_at_parts(self, now: Ns) -> Sequence[Action]:
        """Parts of tickers that are silent while others speak."""
        silent: list[str] = []
        for topic, owners in self._topics.items():
            name = topic.partition(":")[0]
            limit_ns = PART_LIMITS.get(name)
            if limit_ns is None or topic in self._refused or now - self._spoke_ns.get(topic, now) < limit_ns:
                continue
            silent.append(topic)
            for stream in owners:
                if name == OPEN_INTERESTS and self._known.get(stream.instrument, {}).pop(OpenInterest, None) is not None:
                    self.listener.on_metric(self.instruments[stream.instrument], OpenInterest(nan, 0), now)
        if not silent:
            return NOTHING
        messages = [silent[at : at + ARGS_PER_MESSAGE] for at in range(0, len(silent), ARGS_PER_MESSAGE)]
        spent = self._spent(2 * len(messages), now)
        if spent:
            return spent
        actions = [self._request(op, (), some) for some in messages for op in ("unsubscribe", "subscribe")]
        self._spoke_ns.update(dict.fromkeys(silent, now + PART_RARELY_NS))
        return actions

    # -- what arrives ----------------------------------------------------------------------------------------------------------

    def _other(self, data: bytes, now: Ns) -> Sequence[Action]:
        """A topic in a new spelling, or no market data. A pong is no sign of life: it comes while data stand still."""
        if data == b"pong":
            return NOTHING
        message = _envelope(data)
        if message.event:
            return self._said(message, now) if self.pulse.alive else NOTHING
        if message.arg is None:
            self.board.ignored += 1
            return NOTHING
        if not self.pulse.alive:
            return NOTHING  # given up: what still arrives may not bring a book back
        key = message.arg.topic.encode("utf-8", "replace")
        handler = self.handlers.get(key)
        actions = handler(data, now) if handler is not None else self._first(key, message.arg, data, now)
        found = self.handlers.get(key)
        if found is not None and data.startswith(_HEAD):
            if len(self.handlers) >= HANDLERS_KEPT:
                self.handlers.clear()
            self.handlers[data[_FROM : data.find(b"}", _FROM, _TO)]] = found
        return actions

    def _first(self, key: bytes, arg: _Arg, data: bytes, now: Ns) -> Sequence[Action]:
        """A topic without a handler: the first message of it since it was asked for, or one that nobody asked for."""
        if arg.topic == STATUS:
            return self._maintenance(data, now)
        stream = self._stream(arg.channel, arg.instId)
        owners = self._topics.get(arg.topic, {}) if arg.channel in SHARED else {}
        if stream is not None and stream.channel is Channel.BOOK:
            owner = self._book_topics.setdefault(stream.instrument, arg.topic)
            stream = stream if owner == arg.topic else None
        if stream is None and not owners and arg.topic not in RATES:
            self.pulse.last_ns = now  # a stream that nobody asked for: it is a sign of life and no more
            self.board.ignored += 1
            return NOTHING
        if stream is None:
            handler = self._shared(arg, list(owners))
        else:
            handler = self._handler(arg, stream)
        actions = handler(data, now)
        self.handlers[key] = handler
        if stream is not None and stream.channel is not Channel.BOOK:  # a book speaks with its snapshot
            self.hear(stream, now)
        if stream is not None or owners:
            self.alive(now)
        return actions

    def _stream(self, name: str, native: str) -> Stream | None:
        """Whose a message with that arg is; None for what several share and what nobody asked for."""
        channel, instrument = CHANNEL_OF.get(name), self._by_native.get(native)
        if channel is None or instrument is None or name in SHARED:
            return None
        stream = Stream(instrument.id, channel)
        return stream if stream in self.streams else None

    def _handler(self, arg: _Arg, stream: Stream) -> Handler:
        make: Callable[[_Arg, Instrument, StreamHealth], Handler] = {
            Channel.BOOK: self._book,
            Channel.TOUCH: self._touch,
            Channel.TRADE: self._trade,
            Channel.TICKER: self._ticker,
        }[stream.channel]
        return make(arg, self.instruments[stream.instrument], self.streams[stream].health)

    def _shared(self, arg: _Arg, owners: Sequence[Stream]) -> Handler:
        return self._index(arg, owners) if arg.channel == INDICES else self._liquidation(arg, owners)

    def _said(self, message: _Envelope, now: Ns) -> Sequence[Action]:
        if message.event == "subscribe" and message.arg is not None:
            self._accept(message.arg.topic, now)
        elif message.event == "error":
            self._decline(message, now)
        elif message.event == "notice":
            return self._notice(message, now)
        elif message.event != "unsubscribe":
            self.board.ignored += 1
        return NOTHING

    def _notice(self, message: _Envelope, now: Ns) -> Sequence[Action]:
        self._say(message, "notice", now)
        if message.code != RENEWAL or self._renewed:
            return NOTHING
        self._renewed = True
        return (Renew(CODES[RENEWAL]),)

    def _accept(self, topic: str, now: Ns) -> None:
        """Each part is acknowledged by itself, and a stream with its last."""
        self._refused.pop(topic, None)
        self._settle(topic, now)

    def _settle(self, topic: str, now: Ns) -> None:
        """A part is no longer waited for."""
        self._unanswered.pop(topic, None)
        for stream in self._topics.get(topic, ()):
            asked = self.streams[stream]
            if not any(part in self._unanswered for part in self._topics_of(stream)) and asked.acknowledge():
                self.tell(stream, now)

    def _decline(self, message: _Envelope, now: Ns) -> None:
        """An error is about what it names of its request, else about the whole request, else about all that is unanswered."""
        named = {f"{name}:{what}" if what else name for name, what in _NAMED.findall(message.msg)}
        request = [topic for topic, number in self._unanswered.items() if number == message.id or not message.id]
        hit = [topic for topic in request if topic in named] or (request if message.id or not named else [])
        reason = CODES.get(message.code, "") or clean_text(message.msg) or "refused"
        streams: dict[Stream, None] = {}
        for topic in hit:
            self._refused[topic] = None
            for stream in self._topics.get(topic, ()):
                if topic == self._topics_of(stream)[0] and not self.streams[stream].heard:
                    streams[stream] = None
        if not streams or any(self.streams[stream].fault != reason for stream in streams):
            self._say(message, "refused", now)
        self.declined(list(streams), reason, now)
        for topic in hit:
            self._settle(topic, now)

    def _say(self, message: _Envelope, what: str, now: Ns) -> None:
        words = CODES.get(message.code)
        text = f"{words} ({clean_text(message.msg, 200)})" if words else clean_text(message.msg, 200)
        self.board.say(f"{self.plan.venue}: {what} {clean_text(message.code, 8)}: {text}", now)

    def _maintenance(self, data: bytes, now: Ns) -> Sequence[Action]:
        for works in _works(data).data:
            words = MAINTENANCE.get(works.state)
            if words is None:
                self.board.ignored += 1
                continue
            times = [f"{word} {_clock(at)}" for word, at in (("from", works.begin), ("to", works.end)) if at]
            self.board.say(" ".join([f"{self.plan.venue}: {words}", *times]) + f": {clean_text(works.title, 160)}", now)
        return NOTHING

    # -- books -----------------------------------------------------------------------------------------------------------------

    def _book(self, arg: _Arg, instrument: Instrument, health: StreamHealth) -> Handler:
        """The hot path: decode, follow the numbers, apply, tell."""
        feed = self.feeds[instrument.id]
        book, leg, pulse, listener = feed.book, feed.leg, self.pulse, self.listener
        seen, apply, decode, synced = health.seen, feed.book.apply, _book, BookState.SYNCED
        channel, native, depth = arg.channel, instrument.native, DEPTHS.get(arg.channel, DEPTH)
        until_sweep = SWEEP_EVERY

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            nonlocal until_sweep
            frame = decode(data)
            if frame.arg.channel != channel or frame.arg.instId != native or len(frame.data) != 1:
                raise BadFrame("a book's frame names two topics, or holds not exactly one book")
            update = frame.data[0]
            seq = update.seqId
            seen(len(data), now)
            pulse.last_ns = now
            at = update.ts * MS
            if at:
                leg.raw_ns = now - at
                leg.fresh = True
            if seq is not None and update.prevSeqId == feed.chain and book.state is synced and frame.action == "update":
                if seq < feed.chain:
                    book.touch_seq = -1  # counting has started over: an older count says nothing about what is newer
                feed.chain = seq
                apply(_pairs(update.bids), _pairs(update.asks), seq, at, now)
                until_sweep -= 1
                if not until_sweep:
                    until_sweep = SWEEP_EVERY
                    _sweep(feed, depth)
                if book.crossed_ns:
                    self.changed(feed, now)
                else:
                    listener.on_book(book, now)
                return NOTHING
            if channel == FIVE:
                return self._replace(feed, update, now)
            if frame.action == "" or (seq is None and update.checksum is None):
                raise BadFrame("a book's frame that is neither a snapshot nor an update, or has neither number nor checksum")
            if frame.action == "snapshot":
                return self._begin(feed, update, depth, now)
            return self._unnumbered(feed, update, now) if seq is None else self._out_of_line(feed, update, len(data), now)

        return message

    def _begin(self, feed: BookFeed, snapshot: _Book, depth: int, now: Ns) -> Sequence[Action]:
        """An in-band snapshot replaces the book, whatever it was."""
        self._joins.pop(feed.instrument.id, None)
        numbered = snapshot.seqId is not None
        feed.chain = snapshot.seqId if snapshot.seqId is not None else UNNUMBERED
        self._take(feed, snapshot, now)
        _sweep(feed, depth)
        self.hear(feed.stream, now)
        if not numbered and not _sums_up(feed, snapshot):
            return self.resync(feed, "checksum", now)
        self.synced(feed, now)
        return NOTHING

    def _take(self, feed: BookFeed, whole: _Book, now: Ns) -> None:
        seq = whole.seqId if whole.seqId is not None else whole.ts
        feed.book.replace(_pairs(whole.bids), _pairs(whole.asks), seq, whole.ts * MS, now)

    def _replace(self, feed: BookFeed, whole: _Book, now: Ns) -> Sequence[Action]:
        """Five levels: every message is a snapshot, and an older one says nothing new."""
        book = feed.book
        fresh = book.state is not BookState.SYNCED
        if not fresh and whole.ts * MS < book.venue_ns:
            feed.health.ignored += 1
            return NOTHING
        feed.chain = BARE
        self._take(feed, whole, now)
        if fresh or not self.streams[feed.stream].heard:
            self.hear(feed.stream, now)
            self.synced(feed, now)
        else:
            self.changed(feed, now)
        return NOTHING

    def _unnumbered(self, feed: BookFeed, update: _Book, now: Ns) -> Sequence[Action]:
        """An update of before there were numbers: right if the book it makes has the checksum it tells."""
        book = feed.book
        if book.state is not BookState.SYNCED:
            feed.health.ignored += 1
            return NOTHING
        if feed.chain != UNNUMBERED:
            return self.gap(feed, now)
        book.apply(_pairs(update.bids), _pairs(update.asks), update.ts, update.ts * MS, now)
        if not _sums_up(feed, update):
            feed.health.gaps += 1
            return self.resync(feed, "checksum", now)
        self.changed(feed, now)
        return NOTHING

    def _out_of_line(self, feed: BookFeed, update: _Book, size: int, now: Ns) -> Sequence[Action]:
        """An update on a REST snapshot, one of a book without a snapshot, or the proof of a gap."""
        book, seq, previous = feed.book, update.seqId, update.prevSeqId
        if seq is None or previous is None:
            raise BadFrame("an update that does not say what it follows")
        if book.state is not BookState.SYNCED:
            join = self._joins.get(feed.instrument.id)
            if join is None:
                asked_ns = self.streams[feed.stream].asked_ns
                join = self._joins[feed.instrument.id] = _Join(max(asked_ns + SNAPSHOT_NS, now))
                self.due(join.fetch_at_ns)
            join.keep(update, size)
            return NOTHING
        if feed.chain != BARE:
            return self.gap(feed, now)
        if not _contains(update, book.seq):
            if seq > book.seq or update.ts * MS > book.venue_ns + REGRESSED_NS:
                return self.gap(feed, now)
            feed.health.ignored += 1
            return NOTHING
        feed.chain = seq
        book.apply(_pairs(update.bids), _pairs(update.asks), seq, update.ts * MS, now)
        self.changed(feed, now)
        return NOTHING

    def _join(self, feed: BookFeed, join: _Join, snapshot: _Book, now: Ns) -> Sequence[Action]:
        last = snapshot.seqId
        if last is None:
            raise BadFrame("a snapshot without a number")
        kept = [event for event in join.events if event.seqId is not None and event.seqId > last]
        if kept and not _contains(kept[0], last):
            return NOTHING  # older than what was kept, and so perhaps than what has been shown: it is asked for again
        del self._joins[feed.instrument.id]
        feed.chain = BARE
        self._take(feed, snapshot, now)
        for event in kept:
            seq = event.seqId or 0
            feed.chain = seq
            feed.book.apply(_pairs(event.bids), _pairs(event.asks), seq, event.ts * MS, now)
        self.hear(feed.stream, now)
        self.synced(feed, now)
        return NOTHING

    def _touch(self, arg: _Arg, instrument: Instrument, health: StreamHealth) -> Handler:
        pulse, listener, decode, seen, native = self.pulse, self.listener, _book, health.seen, instrument.native
        feed = self.feeds.get(instrument.id)
        synced = BookState.SYNCED

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            frame = decode(data)
            if frame.arg.channel != TOUCHES or frame.arg.instId != native or len(frame.data) != 1:
                raise BadFrame("a best quote's frame names two topics, or holds not exactly one quote")
            quote = frame.data[0]
            if len(quote.bids) > 1 or len(quote.asks) > 1:
                raise BadFrame("a best quote of several levels")
            if feed is None:
                seen(len(data), now)
                pulse.last_ns = now
                return NOTHING
            book = feed.book
            seq = quote.seqId if feed.chain != UNNUMBERED else None
            if seq is not None and seq - book.seq > FAR_AHEAD and book.state is synced:
                raise BadFrame("a best quote from far ahead of its book")
            seen(len(data), now)
            pulse.last_ns = now
            at = quote.ts * MS
            if at:
                leg = feed.leg
                leg.raw_ns = now - at
                leg.fresh = True
            if seq is None:
                return NOTHING  # nothing says which of the two is newer
            bid, bid_size = (quote.bids[0].price, quote.bids[0].size) if quote.bids else (nan, 0.0)
            ask, ask_size = (quote.asks[0].price, quote.asks[0].size) if quote.asks else (nan, 0.0)
            if book.touch(bid, bid_size, ask, ask_size, seq, at, now):
                if book.crossed_ns:
                    self.changed(feed, now)
                else:
                    listener.on_touch(book, now)
            return NOTHING

        return message

    # -- everything else ---------------------------------------------------------------------------------------------------------

    def _trade(self, arg: _Arg, instrument: Instrument, health: StreamHealth) -> Handler:
        pulse, on_trade, decode, seen, native = self.pulse, self.listener.on_trade, _trade, health.seen, instrument.native
        feed = self.feeds.get(instrument.id)
        book = feed.book if feed is not None else None

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            frame = decode(data)
            if frame.arg.channel != TRADES or frame.arg.instId != native:
                raise BadFrame("a trade's frame names two topics")
            seen(len(data), now)
            pulse.last_ns = now
            actions: Sequence[Action] = NOTHING
            for fill in frame.data:
                side: Aggressor = fill.side
                on_trade(instrument, Trade(fill.px, fill.sz, side, fill.ts * MS, clean_text(fill.tradeId)), now)
                if book is None or feed is None or fill.source not in ("", "0"):
                    continue  # orders of the price improvement programme stand in no book
                if book.bid <= fill.px <= book.ask:
                    feed.outside_ns = 0
                else:
                    actions = self.printed_outside(feed, fill.px, now) or actions
            return actions

        return message

    def _ticker(self, arg: _Arg, instrument: Instrument, health: StreamHealth) -> Handler:
        """One of the channels that make up a ticker."""
        pulse, seen, spoke, name, topic = self.pulse, health.seen, self._spoke_ns, arg.channel, arg.topic
        read: Callable[[bytes], tuple[_Arg, Iterable[tuple[str, Metric | None]]]] = {
            TICKERS: lambda data: _read(_ticker(data), lambda row: _volume(instrument, row)),
            MARKS: lambda data: _read(_mark(data), lambda row: Mark(row.markPx, row.ts * MS)),
            FUNDINGS: lambda data: _read(_funding(data), _rate),
            OPEN_INTERESTS: lambda data: _read(_open_interest(data), lambda row: OpenInterest(row.oi, row.ts * MS)),
        }[name]

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            named, rows = read(data)
            rows = list(rows)
            if named.topic != topic or any(own not in ("", instrument.native) for own, _ in rows):
                raise BadFrame("a ticker's frame names two topics")
            seen(len(data), now)
            pulse.last_ns = spoke[topic] = now
            for _, metric in rows:
                if metric is not None:
                    self._tell(instrument, metric, now)
            return NOTHING

        return message

    def _tell(self, instrument: Instrument, metric: Metric, now: Ns) -> None:
        self._known.setdefault(instrument.id, {})[type(metric)] = metric
        self.listener.on_metric(instrument, metric, now)

    def _index(self, arg: _Arg, owners: Sequence[Stream]) -> Handler:
        """One index is that of every contract on its pair. Its frames count as the first one's, but prove no ticker alive."""
        pulse, spoke, topic, pair = self.pulse, self._spoke_ns, arg.topic, RATES.get(arg.topic)
        instruments = [self.instruments[stream.instrument] for stream in owners]
        health = self.streams[owners[0]].health if owners else StreamHealth()

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            frame = _index(data)
            if frame.arg.topic != topic or any(row.instId not in ("", arg.instId) for row in frame.data):
                raise BadFrame("an index's frame names two topics")
            health.frames += 1
            health.bytes += len(data)
            pulse.last_ns = spoke[topic] = now
            for row in frame.data:
                for instrument in instruments:
                    self._tell(instrument, Index(row.idxPx, row.ts * MS), now)
                if pair is not None:
                    self.listener.on_pair_index(PairIndex(self.plan.venue, *pair, row.idxPx, row.ts * MS), now)
            return NOTHING

        return message

    def _liquidation(self, arg: _Arg, owners: Sequence[Stream]) -> Handler:
        """Those of every contract of a type come together. The first message repeats what was before the subscription."""
        pulse, listener, topic = self.pulse, self.listener, arg.topic
        watched = {self.instruments[stream.instrument].native: stream for stream in owners}
        since_ns: Ns = max(self.streams[stream].asked_ns for stream in owners)

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            nonlocal since_ns
            frame = _close(data)
            if frame.arg.topic != topic:
                raise BadFrame("a liquidation's frame names two topics")
            pulse.last_ns = now
            for row in frame.data:
                stream = watched.get(row.instId)
                if stream is None:
                    continue
                asked = self.streams[stream]
                asked.health.seen(len(data), now)
                if not asked.heard:
                    self.hear(stream, now)
                instrument = self.instruments[stream.instrument]
                for close in row.details:
                    if close.ts * MS >= since_ns:
                        listener.on_metric(instrument, Liquidation(_position(close), close.bkPx, close.sz, close.ts * MS), now)
            since_ns = 0
            return NOTHING

        return message


def _read(frame: "_Frame", metric: Callable[..., Metric | None]) -> tuple[_Arg, Iterable[tuple[str, Metric | None]]]:
    """What a frame is about, and the metric of each of its rows with the instrument that the row names."""
    return frame.arg, [(row.instId, metric(row)) for row in frame.data]


_Frame: TypeAlias = _TickerFrame | _MarkFrame | _FundingFrame | _OpenInterestFrame


def _volume(instrument: Instrument, row: _Ticker) -> Stats24h | None:
    """Contracts' volume is told in contracts and in base coin: linear ones leave the quote unknown."""
    volume, other = row.vol24h, row.volCcy24h
    if volume == "" or other == "":
        return None
    at = (row.ts or 0) * MS
    if instrument.kind is Kind.SPOT:
        return Stats24h(volume, other, at)
    inverse = instrument.contract is Contract.INVERSE
    return Stats24h(other, volume * instrument.contract_size if inverse else nan, at)


def _rate(row: _Funding) -> Funding | None:
    """The interval is what lies between the next two funding times."""
    if row.fundingRate == "":
        return None
    this, then = row.fundingTime or 0, row.nextFundingTime or 0
    interval_s = (then - this) // 1_000 if this and then else 0
    known = 0 < interval_s <= LONGEST_FUNDING_S
    return Funding(row.fundingRate, interval_s if known else 0, this * MS, (row.ts or 0) * MS)


def _position(close: _Close) -> Literal["long", "short"]:
    """The side that was closed out; accounts without position sides tell only the order's."""
    if close.posSide == "long" or (close.posSide != "short" and close.side == "sell"):
        return "long"
    return "short"


def _pairs(levels: list[_Level]) -> list[tuple[float, float]]:
    return [(level.price, level.size) for level in levels]


def _contains(update: _Book, last: int) -> bool:
    """The join rule: whether an update is the first that may be laid on a REST snapshot of number `last`."""
    previous, seq = update.prevSeqId, update.seqId
    return previous is not None and seq is not None and (previous == last or previous < last < seq)


def _sums_up(feed: BookFeed, told: _Book) -> bool:
    """Whether the best levels have the CRC32 that an old frame tells (protocols.md 3.3: bid, ask, bid, ask, as texts)."""
    book = feed.book
    sides = (book.bids.levels(CHECKED_LEVELS), book.asks.levels(CHECKED_LEVELS))
    numbers = (number for pair in zip_longest(*sides) for level in pair if level is not None for number in level)
    return crc32(":".join(map(_plain, numbers)).encode()) == (told.checksum or 0) & 0xFFFFFFFF


def _plain(number: float) -> str:
    """A number as the venue writes it: all digits, no trailing zeros, no exponent (each of 16,528 recorded in 2022)."""
    text = repr(number)
    return format(Decimal(text), "f") if "e" in text else text.removesuffix(".0")


def _sweep(feed: BookFeed, depth: int) -> None:
    """Drop levels beyond the depth subscribed to: the venue no longer says when they change."""
    for side in (feed.book.bids, feed.book.asks):
        if len(side) > depth:
            side.replace(side.levels(depth))


def _topics(instrument: Instrument, channel: Channel) -> tuple[str, ...]:
    """What makes up a stream. An index is named by the pair, liquidations by the type of contract."""
    names = {INDICES: f"{instrument.base}-{instrument.quote}", LIQUIDATIONS: _listed_as(instrument)}
    return tuple(f"{name}:{names.get(name, instrument.native)}" for name in CHANNELS[instrument.kind][channel])


def _rates_by_coin() -> list[list[str]]:
    """A request a coin, so that a pair that the venue does not know takes no other coin's down with it."""
    return [[topic for topic, (base, _) in RATES.items() if base == coin] for coin in RATE_COINS]


def _listed_as(instrument: Instrument) -> str:
    """The venue's type: an X-Perp is one of its futures."""
    return SWAP if instrument.native.endswith("-SWAP") else FUTURES


def _arg(topic: str) -> Mapping[str, str]:
    name, _, what = topic.partition(":")
    if not what:
        return {"channel": name}
    return {"channel": name, "instType" if name == LIQUIDATIONS else "instId": what}


def _arg_of(data: bytes) -> _Arg | None:
    """The arg at the head of a frame that could not be read as a whole."""
    end = data.find(b"}", _FROM, _TO)
    if not data.startswith(_HEAD) or end < 0:
        return None
    try:
        return _head(b"{" + data[_FROM : end + 1])
    except DECODE_ERRORS:
        return None


_head = msgspec.json.Decoder(_Arg).decode


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1_000, UTC):%Y-%m-%d %H:%M} UTC"


def _only(rows: list[_Some], what: str) -> list[_Some]:
    if len(rows) != 1:
        raise BadFrame(f"OKX {what}: {len(rows)} rows in place of one")
    return rows


def _refuse(body: bytes, what: str) -> None:
    """An error may come with HTTP status 200: raises `BadFrame` for one."""
    answer = _answer(body)
    if answer.code != "0":
        words = CODES.get(answer.code, "refused")
        raise BadFrame(f"OKX {what}: {words}: error {clean_text(answer.code, 8)}: {clean_text(answer.msg)}")


def _type_of(key: str) -> str | None:
    head, _, rest = key.partition(":")
    return rest.partition(":")[0] if head == "instruments" else None


_KINDS: Mapping[str, Kind] = {SPOT: Kind.SPOT, SWAP: Kind.PERP, FUTURES: Kind.FUTURE, OPTION: Kind.OPTION}


def _instrument(listed: str, raw: msgspec.Raw) -> Instrument | None:
    """One row of a list; None unless it trades and every fact is there."""
    try:
        row = _row(raw)
    except DECODE_ERRORS:
        return None
    if row.instType != listed or row.state != "live" or row.ruleType == "pre_market" or _SYMBOL.fullmatch(row.instId) is None:
        return None
    kind = Kind.PERP if row.ruleType == "xperp" or "_XPERP" in row.instId else _KINDS[listed]
    base, quote = (row.baseCcy, row.quoteCcy) if listed == SPOT else _pair(row)
    expiry_ns = (row.expTime or 0) * MS if kind in (Kind.FUTURE, Kind.OPTION) else 0
    contract = _contract(row, kind, base, quote)
    dated = kind in (Kind.FUTURE, Kind.OPTION)
    if contract is None or dated != bool(expiry_ns) or (kind is Kind.OPTION) != bool(row.stk and row.optType):
        return None
    try:
        name = symbols.instrument_id(Okx.id, base, quote, row.settleCcy, expiry_ns, row.stk, row.optType)
    except InputError:
        return None
    return Instrument(
        id=name,
        venue=Okx.id,
        market=PUBLIC,
        native=row.instId,
        base=base,
        quote=quote,
        settle=row.settleCcy,
        kind=kind,
        contract=contract,
        contract_size=1.0 if kind is Kind.SPOT else (row.ctVal or nan) * (row.ctMult or nan),
        tick=row.tickSz,
        lot=row.lotSz,
        expiry_ns=expiry_ns,
    )


def _pair(row: _Row) -> tuple[str, str]:
    base, _, quote = row.uly.partition("-")
    return base, quote


def _contract(row: _Row, kind: Kind, base: str, quote: str) -> Contract | None:
    """Linear counts base coin and settles in the quote, inverse the other way round; what is neither is not understood.

    Options count base coin whatever they settle in.
    """
    if kind is Kind.SPOT:
        return Contract.LINEAR if not row.settleCcy else None
    if not (row.ctVal and row.ctMult):
        return None
    if kind is Kind.OPTION:
        return Contract.LINEAR if row.ctValCcy == base and row.settleCcy in (base, quote) else None
    told = (row.ctType, row.ctValCcy, row.settleCcy)
    return {("linear", base, quote): Contract.LINEAR, ("inverse", quote, base): Contract.INVERSE}.get(told)
