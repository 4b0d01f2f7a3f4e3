"""BitMEX: recordings, tardis-machine and the simulator. The venue itself closed on 2026-09-23 and is not connected to.

Facts: protocols.md 0.3 to 0.6 and 5 (BitMEX/api-connectors 2024-05, blog 2022-02 and 2023-06; frames recorded 2021 to 2026).
Tables come as a `partial` and then rows to insert, update and delete. A book's rows have no number: TCP's order is the only one,
and the proof of a gap is an id that is not what the rows before made of it. Until 2023 an id stood for a price and `update` and
`delete` did not name it; since then ids are arbitrary and every row names its price. One dictionary, id to price, reads both.

Best quotes (`quote`) come in bundles up to a second behind the book (recorded), on a clock that does not compare with the book's:
they never lie over it. They are a sign of life, and a witness: book and quote that stand still and differ cannot both be right.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import nan
from typing import Annotated, ClassVar, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

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
    Fees,
    Funding,
    Index,
    Instrument,
    InstrumentId,
    Instruments,
    Kind,
    Liquidation,
    Mark,
    Ns,
    OpenInterest,
    Price,
    Rate,
    Size,
    Stats24h,
    Stream,
    Trade,
)
from feeds.session import RENEWED, THROUGH_NS, BookFeed, BookSession, Handler
from feeds.text import clean_text
from feeds.venue import NOTHING, Action, Checkpoint, Endpoint, Fetch, FetchError, Listener, Plan, Send, Session, Terms

CLOSED = "venue closed on 2026-09-23"
MARKET = "public"
"""The only one: names are unique at the venue."""
CATALOGUE_KEY = "instruments"
CATALOGUE_PATH = "/api/v1/instrument/active"
TIME_PATH = "/api/v1"
ENDPOINTS: Mapping[str, Endpoint] = {MARKET: Endpoint("https://www.bitmex.com", "wss://ws.bitmex.com")}
REQUESTS_PER_MINUTE = 30
SENDS_PER_S = 1.0
"""Ours; sources disagree on the venue's."""

IDS_KEPT = 100_000
"""Levels of a book: the deepest recorded had 9,000."""
ORDERS_KEPT = 10_000
"""Liquidation orders of one instrument."""
RESTATE_NS: Ns = SECOND
"""Mark and index are told again after so long without a change, since each message says that they still hold."""

BOOK, BOOK_25, QUOTE, TRADE, INSTRUMENT, FUNDING, LIQUIDATION = (
    "orderBookL2",
    "orderBookL2_25",
    "quote",
    "trade",
    "instrument",
    "funding",
    "liquidation",
)
TABLES: Mapping[Channel, str] = {
    Channel.BOOK: BOOK,
    Channel.TOUCH: QUOTE,
    Channel.TRADE: TRADE,
    Channel.TICKER: INSTRUMENT,
    Channel.LIQUIDATION: LIQUIDATION,
}
"""What is subscribed to; recordings may hold more."""
CHANNEL_OF: Mapping[str, Channel] = {
    **{table: channel for channel, table in TABLES.items()},
    BOOK_25: Channel.BOOK,
    FUNDING: Channel.TICKER,
}
_SYMBOL = r"[A-Z0-9_]{2,40}"
_TOPIC = re.compile(rf"([a-zA-Z0-9_]{{1,20}}):({_SYMBOL})")
_ROW_SYMBOL = re.compile(rb'"symbol"\s*:\s*"(' + _SYMBOL.encode() + rb')"')
_TABLE = re.compile(rb"\w{1,20}")
_FRAME_TABLE = re.compile(rb'"table"\s*:\s*"(\w{1,20})"')
_KEY = b'"table":"'
_NAME_LIMIT = 24

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime(2010, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_MIDNIGHT = datetime(2000, 1, 1, tzinfo=UTC)
"""Spans of time are written as instants after this one."""
_LONGEST_S = 7 * 24 * 3_600

Instant: TypeAlias = Annotated[datetime, Meta(tz=True)]
LevelId: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 62)]
Side: TypeAlias = Literal["Buy", "Sell"]
Doing: TypeAlias = Literal["partial", "insert", "update", "delete"]
Row = TypeVar("Row", bound="_Row")
Take: TypeAlias = Callable[[Doing, Sequence[Row], Ns], Sequence[Action]]
"""What takes one frame's rows of one symbol."""


class _Wire(Struct, gc=False):
    """Base of wire messages: decoded, read once and dropped."""


class _Row(_Wire):
    symbol: str


class _Level(_Row):
    id: LevelId
    side: Side
    size: Size | None = None
    price: Price | None = None
    timestamp: Instant | None = None
    transactTime: Instant | None = None


class _Quote(_Row):
    bidPrice: Price | None = None
    askPrice: Price | None = None


class _Fill(_Row):
    timestamp: Instant
    side: Side
    size: Size
    price: Price
    trdMatchID: str = ""
    trdType: str = "Regular"


class _News(_Row):
    """What is absent is unchanged; null is no longer known."""

    timestamp: Instant | None = None
    state: str = ""
    markPrice: Price | UnsetType | None = UNSET
    indicativeSettlePrice: Price | UnsetType | None = UNSET
    fundingRate: Rate | UnsetType | None = UNSET
    fundingTimestamp: Instant | UnsetType | None = UNSET
    fundingInterval: Instant | UnsetType | None = UNSET
    openInterest: Size | UnsetType | None = UNSET
    homeNotional24h: Size | UnsetType | None = UNSET
    foreignNotional24h: Size | UnsetType | None = UNSET


class _Paid(_Row):
    timestamp: Instant
    fundingInterval: Instant
    fundingRate: Rate


class _Order(_Row):
    orderID: str
    side: Side | None = None
    price: Price | None = None
    leavesQty: Size | None = None


class _Filter(Struct, frozen=True, gc=False):
    symbol: str = ""


class _Frame(Struct, Generic[Row], gc=False):
    table: str
    action: Doing
    data: list[Row]
    filter: _Filter = _Filter()


class _Request(Struct, frozen=True, gc=False):
    args: list[str] | str = ""


class _Control(_Wire):
    """The welcome, an acknowledgement, an error, or a data frame written in an unusual way."""

    table: str | None = None
    info: str = ""
    success: bool = False
    subscribe: str = ""
    error: str | None = None
    request: _Request = _Request()


class _Listed(_Wire):
    symbol: str
    state: str
    typ: str
    underlying: str
    quoteCurrency: str
    tickSize: Price
    lotSize: Size
    settlCurrency: str | None = None
    multiplier: float | None = None
    underlyingToPositionMultiplier: float | None = None
    underlyingToSettleMultiplier: float | None = None
    quoteToSettleMultiplier: float | None = None
    isInverse: bool = False
    isQuanto: bool = False
    expiry: Instant | None = None
    fundingInterval: Instant | None = None
    makerFee: Rate | None = None
    takerFee: Rate | None = None


class _Fault(_Wire):
    message: str = ""


class _Refusal(_Wire):
    error: _Fault


class _Time(_Wire):
    timestamp: Annotated[int, Meta(gt=0, lt=4_102_444_800_000)]


_levels = msgspec.json.Decoder(_Frame[_Level]).decode
_quotes = msgspec.json.Decoder(_Frame[_Quote]).decode
_fills = msgspec.json.Decoder(_Frame[_Fill]).decode
_news = msgspec.json.Decoder(_Frame[_News]).decode
_paid = msgspec.json.Decoder(_Frame[_Paid]).decode
_orders = msgspec.json.Decoder(_Frame[_Order]).decode
_any = msgspec.json.Decoder(_Frame[_Row]).decode
_control = msgspec.json.Decoder(_Control).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_listed = msgspec.json.Decoder(_Listed).decode
_refusal = msgspec.json.Decoder(_Refusal).decode
_time = msgspec.json.Decoder(_Time).decode

_KINDS: Mapping[str, Kind] = {"FFWCSX": Kind.PERP, "FFSCSX": Kind.PERP, "FFCCSX": Kind.FUTURE, "IFXXXP": Kind.SPOT}
"""By `typ`: perpetuals on coins and on stocks, dated futures, spot. Spreads, indices and predictions are not carried."""
_SETTLES: Mapping[str, tuple[str, float]] = {"XBt": ("BTC", 1e8), "USDt": ("USDT", 1e6)}
"""Settlement currency -> coin, and how many of it are one coin."""


class Bitmex:
    """Facts of the venue: instruments, connections, names.

    Args:
        endpoints: where it is; at its real hosts, unless said otherwise, and there nothing is asked for any more.
    """

    id: ClassVar[str] = "BITMEX"
    endpoints: ClassVar[Mapping[str, Endpoint]] = ENDPOINTS

    def __init__(self, endpoints: Mapping[str, Endpoint] = ENDPOINTS) -> None:
        self._endpoints = endpoints

    def closed(self, market: str) -> str:
        """The venue itself is; a simulator or a replay at another address is not."""
        place = self._endpoints[market]
        hosts = [f".{urlsplit(base).hostname or ''}" for base in (place.rest, place.websocket)]
        return CLOSED if any(host.endswith(".bitmex.com") for host in hosts) else ""

    def catalogue(self) -> Sequence[Fetch]:
        return [Fetch(CATALOGUE_KEY, CATALOGUE_PATH, 1, 1, MARKET)]

    def next_page(self, key: str, body: bytes) -> Fetch | None:
        """The list is one page. Raises a decode error for no list."""
        _list(body)
        return None

    def clock(self, market: str) -> Fetch:
        return Fetch(f"clock:{market}", TIME_PATH, 1, 1, market)

    def server_ns(self, body: bytes) -> Ns:
        """Raises `BadFrame` for a refusal."""
        _refuse(body, "time")
        return _time(body).timestamp * MS

    def terms(self, market: str) -> Terms:
        return Terms(
            rest=self._endpoints[market].rest,
            pool="bitmex",
            weight_per_minute=REQUESTS_PER_MINUTE,
            sends_per_s=SENDS_PER_S,
        )

    def instruments(self, answers: Mapping[str, bytes]) -> Sequence[Instrument]:
        """Raises a decode error for an answer that is no list and `BadFrame` for a refusal; what does not trade is left out."""
        body = answers.get(CATALOGUE_KEY)
        if body is None:
            return []
        _refuse(body, "instruments")
        return [found for found in map(_instrument, _list(body)) if found is not None]

    def channels(self, instrument: Instrument) -> Sequence[Channel]:
        if instrument.kind is Kind.SPOT:
            return [channel for channel in TABLES if channel is not Channel.LIQUIDATION]
        return list(TABLES)

    def plan(self, wanted: Sequence[Stream], instruments: Instruments) -> Sequence[Plan]:
        """One connection for everything; none at all to the closed venue."""
        streams = tuple(stream for stream in wanted if stream.channel in self.channels(instruments[stream.instrument]))
        if not streams or self.closed(MARKET):
            return []
        return [Plan(self.id, MARKET, f"{self._endpoints[MARKET].websocket}/realtime", streams)]

    def topic(self, market: str, data: bytes) -> str | None:
        """Of the first row: frames of topics that name a symbol hold no other."""
        try:
            frame = _any(data)
        except DECODE_ERRORS:
            return None
        symbol = frame.data[0].symbol if frame.data else frame.filter.symbol
        return clean_text(f"{frame.table}:{symbol}") if symbol else clean_text(frame.table)

    def stream_of(self, market: str, topic: str, instruments: Instruments) -> Stream | None:
        match = _TOPIC.fullmatch(topic)
        channel = CHANNEL_OF.get(match[1]) if match is not None else None
        if match is None or channel is None:
            return None
        for instrument in instruments.values():
            if instrument.native == match[2] and instrument.market == market and instrument.venue == self.id:
                return Stream(instrument.id, channel)
        return None

    def catalogue_key(self, url: str) -> str | None:
        return CATALOGUE_KEY if urlsplit(url).path == CATALOGUE_PATH else None

    def snapshot_key(self, url: str) -> str | None:
        """Books begin in-band: no session ever asks for one."""
        return None

    def session(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> Session:
        return BitmexSession(plan, instruments, listener, health)


class _Ids:
    """Which price each id of a book's side stands for, and the other way round."""

    __slots__ = ("ids", "prices")

    def __init__(self) -> None:
        self.prices: dict[int, float] = {}
        self.ids: dict[float, int] = {}

    def put(self, id_: int, price: float) -> None:
        self.prices[id_] = price
        self.ids[price] = id_

    def take(self, id_: int) -> None:
        del self.ids[self.prices.pop(id_)]


class _Levels:
    """Both sides' ids. `restored`: they began as levels without ids, so that one unheard of is known by its price."""

    __slots__ = ("restored", "sides")

    def __init__(self, restored: bool = False) -> None:
        self.sides: dict[Side, _Ids] = {"Buy": _Ids(), "Sell": _Ids()}
        self.restored = restored


class _Known:
    """What an instrument's rows have said so far; None: not yet, or no longer."""

    __slots__ = ("at_ns", "base", "index", "interval_s", "mark", "next_ns", "open_interest", "quote", "rate", "told_ns")

    def __init__(self, interval_s: int) -> None:
        self.mark: float | None = None
        self.index: float | None = None
        self.rate: float | None = None
        self.next_ns: Ns = 0
        self.interval_s = interval_s
        self.open_interest: float | None = None
        self.base: float | None = None
        self.quote: float | None = None
        self.told_ns: Ns = -NEVER
        """When mark and index were last told."""
        self.at_ns: Ns = 0
        """The venue's time of the last message."""


class _Seen:
    """The best quote as it was last heard; nan is an empty side."""

    __slots__ = ("ask", "at_ns", "bid")

    def __init__(self, bid: float, ask: float, at_ns: Ns) -> None:
        self.bid = bid
        self.ask = ask
        self.at_ns = at_ns


class BitmexSession(BookSession):
    """One connection."""

    ticker_period_ns: ClassVar[Ns] = 20 * SECOND
    """Marks are made every five seconds and told where they change; a quiet contract's are told less often."""

    def __init__(self, plan: Plan, instruments: Instruments, listener: Listener, health: HealthBoard) -> None:
        super().__init__(plan, instruments, listener, health)
        self._by_native = {
            instrument.native: instrument
            for instrument in instruments.values()
            if instrument.venue == plan.venue and instrument.market == plan.market
        }
        self._book_tables: dict[InstrumentId, str] = {}  # the table that feeds a book: the first that is heard of
        self._on_the_way: dict[InstrumentId, None] = {}  # books whose first subscription has just been sent
        self._levels: dict[InstrumentId, _Levels] = {}
        self._seen: dict[InstrumentId, _Seen] = {}
        self._known: dict[InstrumentId, _Known] = {}
        self._orders: dict[InstrumentId, dict[str, _Order]] = {}

    def pulse_period_ns(self) -> Ns | None:
        """No table speaks at fixed times. The venue's advice to ping after 5 s of silence comes too late for that."""
        return None

    def wake(self, now: Ns) -> Sequence[Action]:
        actions = super().wake(now)
        contradicted = self._contradicted(now)
        return [*actions, *contradicted] if contradicted else actions

    def stood_still(self, since: Ns, until: Ns) -> None:
        super().stood_still(since, until)
        self._seen.clear()

    def restore(self, checkpoint: Checkpoint, now: Ns) -> None:
        """A checkpoint has no ids: rows that name their price go on from it, the first that does not is a gap."""
        feed = self.feeds.get(checkpoint.instrument)
        if feed is not None and feed.book.state is not BookState.SYNCED:
            self._levels[checkpoint.instrument] = _Levels(restored=True)
        super().restore(checkpoint, now)

    def subscribe(self, add: Sequence[Stream], drop: Sequence[Stream]) -> Sequence[Send]:
        self.handlers.clear()
        sends = self._messages("unsubscribe", drop)
        for stream in drop:
            if stream.channel is Channel.BOOK:
                for kept in (self._book_tables, self._on_the_way, self._levels):
                    kept.pop(stream.instrument, None)
            elif stream.channel is Channel.TOUCH:
                self._seen.pop(stream.instrument, None)
            elif stream.channel is Channel.TICKER:
                self._known.pop(stream.instrument, None)
            elif stream.channel is Channel.LIQUIDATION:
                self._orders.pop(stream.instrument, None)
        for stream in add:
            instrument = self.instruments[stream.instrument]
            self._by_native[instrument.native] = instrument
            if stream.channel is Channel.BOOK:
                self._on_the_way[stream.instrument] = None
        return sends + self._messages("subscribe", add)

    def resubscribe(self, streams: Sequence[Stream]) -> Sequence[Action]:
        """A fresh partial comes with a fresh subscription."""
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
        name = _name(data)
        if name is None:
            return self._said(data, now)
        handler = self.handlers.get(name)
        return handler(data, now) if handler is not None else self._first(name, data, now)

    def answer(self, key: str, body: bytes | FetchError, now: Ns) -> Sequence[Action]:
        """This session asks for nothing over REST."""
        return NOTHING

    def refused(self, data: bytes, now: Ns) -> Sequence[Action]:
        match = _FRAME_TABLE.search(data)
        table = match[1].decode() if match is not None else ""
        channel = CHANNEL_OF.get(table)
        natives = dict.fromkeys(native.decode() for native in _ROW_SYMBOL.findall(data))
        actions: list[Action] = []
        if match is None or (channel is Channel.BOOK and not natives):
            for feed in self.feeds.values():  # it may have been of any of these, and nothing else will prove it lost
                if not natives or feed.instrument.native in natives:
                    actions.extend(self.resync(feed, "decode", now))
            return actions
        for instrument in [self._by_native[native] for native in natives if native in self._by_native]:
            stream = Stream(instrument.id, channel) if channel is not None else None
            if stream is None or stream not in self.streams:
                continue
            self.board.stream(stream).quarantined += 1
            if channel is Channel.BOOK and self._book_tables.get(instrument.id, table) == table:
                actions.extend(self.resync(self.feeds[instrument.id], "decode", now))
            elif table == INSTRUMENT and self._known.pop(instrument.id, None) is not None:
                actions.extend(self.again((stream,), now))  # a change may have been lost, and only a partial says everything
        return actions or NOTHING

    def _messages(self, op: str, streams: Sequence[Stream]) -> list[Send]:
        """One message an instrument, so that a symbol the venue does not know takes no other down with it."""
        groups: dict[InstrumentId, list[str]] = {}
        for stream in streams:
            if op == "subscribe":
                self.request((stream,))  # each topic is acknowledged by itself
            groups.setdefault(stream.instrument, []).append(self._topic(stream))
        return [Send(msgspec.json.encode({"op": op, "args": topics}).decode()) for topics in groups.values()]

    def _topic(self, stream: Stream) -> str:
        own = self._book_tables.get(stream.instrument) if stream.channel is Channel.BOOK else None
        return f"{own or TABLES[stream.channel]}:{self.instruments[stream.instrument].native}"

    def _said(self, data: bytes, now: Ns) -> Sequence[Action]:
        """What is no market data. A pong is no sign of life: the server answers pings while its data stand still."""
        if data == b"pong":
            return NOTHING
        message = _control(data)
        if message.table is not None:
            name = message.table.encode()
            handler = self.handlers.get(name)
            return handler(data, now) if handler is not None else self._first(name, data, now)
        if not self.pulse.alive:
            return NOTHING
        if message.error is not None:
            self._decline(message.error, message.request.args, now)
        elif message.success:
            self._acknowledge(message.subscribe, now)
        elif not message.info:
            raise BadFrame("neither rows of a table nor an answer")
        return NOTHING

    def _acknowledge(self, topic: str, now: Ns) -> None:
        for stream, asked in self.streams.items():
            if self._topic(stream) != topic:
                continue
            if asked.request:
                self.acknowledged(asked.request, now)
            feed = self.feeds.get(stream.instrument) if stream.channel is Channel.BOOK else None
            if feed is not None and feed.book.state is BookState.SYNCED:
                # by the partial of an earlier subscription: what happened between the two was told to nobody
                asked.ask(now)
                self.fall(feed, RENEWED, now)
                self.due(asked.due(now))

    def _decline(self, error: str, args: Sequence[str] | str, now: Ns) -> None:
        """An error repeats its request: of the topics in it, else of all, those that have not spoken are refused."""
        text = clean_text(error, 200)
        topics = (args,) if isinstance(args, str) else args
        unheard = [asked for asked in self.streams.values() if not asked.heard]
        hit = [asked for asked in unheard if not any(topics) or self._topic(asked.stream) in topics]
        reason = text[:64] or "refused"
        if not hit or any(asked.fault != reason for asked in hit):
            self.board.say(f"{self.plan.venue} {self.plan.market}: subscribe failed: {text}", now)
        self.declined([asked.stream for asked in hit], reason, now)

    def _first(self, name: bytes, data: bytes, now: Ns) -> Sequence[Action]:
        """A table without a handler: the first frame since something was asked for, or one of a table that nobody reads."""
        if not self.pulse.alive:
            return NOTHING  # given up: what still arrives may not bring a book back
        handler = self._table(name.decode("ascii", "replace"))
        if handler is None:
            if not _TABLE.fullmatch(name):
                raise BadFrame("the name of a table is none")
            return self._ignored(now)
        self.handlers[name] = handler
        return handler(data, now)

    def _ignored(self, now: Ns) -> Sequence[Action]:
        """Rows that nobody asked for: a sign of life and no more."""
        self.pulse.last_ns = now
        self.board.ignored += 1
        return NOTHING

    def _table(self, table: str) -> Handler | None:
        """What takes the frames of one table; None for a table that is not read."""
        if table in (BOOK, BOOK_25):
            return self._rows(table, _levels, self._book)
        if table == QUOTE:
            return self._rows(table, _quotes, self._quote)
        if table == TRADE:
            return self._rows(table, _fills, self._trade)
        if table == INSTRUMENT:
            return self._rows(table, _news, self._ticker)
        if table == FUNDING:
            return self._rows(table, _paid, self._funding)
        return self._rows(table, _orders, self._liquidation) if table == LIQUIDATION else None

    def _rows(self, table: str, decode: Callable[[bytes], _Frame[Row]], make: Callable[[Instrument], Take[Row]]) -> Handler:
        """Decode frames of a table and hand each symbol's rows to what `make` makes for its instrument."""
        takers: dict[str, tuple[StreamHealth, Take[Row]]] = {}
        pulse = self.pulse

        def message(data: bytes, now: Ns) -> Sequence[Action]:
            frame = decode(data)
            rows = frame.data
            if frame.table != table:
                raise BadFrame("a frame names two tables")
            first = rows[0].symbol if rows else frame.filter.symbol
            groups: dict[str, list[Row]] = {first: rows}
            if any(row.symbol != first for row in rows):
                groups = {}
                for row in rows:
                    groups.setdefault(row.symbol, []).append(row)
            pulse.last_ns = now
            actions: Sequence[Action] = NOTHING
            for symbol, own in groups.items():
                taker = takers.get(symbol)
                fresh = self._stream(table, symbol) if taker is None else None
                if fresh is not None:
                    taker = self.streams[fresh].health, make(self.instruments[fresh.instrument])
                if taker is None:
                    self.board.ignored += 1
                    continue
                health, take = taker
                health.seen(len(data), now)
                actions = [*actions, *done] if (done := take(frame.action, own, now)) else actions
                if fresh is not None:
                    takers[symbol] = taker
                    if fresh.channel is not Channel.BOOK:  # a book speaks with its partial
                        self.hear(fresh, now)
                    self.alive(now)
            return actions

        return message

    def _stream(self, table: str, symbol: str) -> Stream | None:
        """The stream that rows belong to; None where nobody asked for them."""
        instrument = self._by_native.get(symbol)
        stream = Stream(instrument.id, CHANNEL_OF[table]) if instrument is not None else None
        if stream is None or stream not in self.streams:
            return None
        if stream.channel is Channel.BOOK and self._book_tables.setdefault(stream.instrument, table) != table:
            return None
        return stream

    # -- books -------------------------------------------------------------------------------------------------------------

    def _book(self, instrument: Instrument) -> Take[_Level]:
        feed = self.feeds[instrument.id]
        book, leg, listener, synced = feed.book, feed.leg, self.listener, BookState.SYNCED

        def take(action: Doing, rows: Sequence[_Level], now: Ns) -> Sequence[Action]:
            at = _newest(rows)
            if action == "partial":
                self._whole(feed, rows, at, now)
            elif book.state is not synced:
                feed.health.ignored += 1
                return NOTHING
            else:
                changes = _changes(self._levels[instrument.id], action, rows)
                if changes is None:
                    return self.gap(feed, now)
                book.apply(*changes, book.seq + 1, at, now)
                if book.crossed_ns:
                    self.changed(feed, now)
                else:
                    listener.on_book(book, now)
            if at:
                leg.raw_ns = now - at
                leg.fresh = True
            return NOTHING

        return take

    def _whole(self, feed: BookFeed, rows: Sequence[_Level], at: Ns, now: Ns) -> None:
        levels = _Levels()
        changes = _changes(levels, "insert", rows)
        if changes is None:
            raise BadFrame("a partial names an id or a price twice")
        self._levels[feed.instrument.id] = levels
        feed.book.replace(*changes, 0, at, now)
        self.hear(feed.stream, now)
        self.synced(feed, now)

    # -- the other tables --------------------------------------------------------------------------------------------------

    def _quote(self, instrument: Instrument) -> Take[_Quote]:
        seen = self._seen

        def take(action: Doing, rows: Sequence[_Quote], now: Ns) -> Sequence[Action]:
            if rows:
                last = rows[-1]
                bid, ask = (nan if price is None else price for price in (last.bidPrice, last.askPrice))
                seen[instrument.id] = _Seen(bid, ask, now)
            return NOTHING

        return take

    def _contradicted(self, now: Ns) -> list[Action]:
        """Books that differ from the best quote though both have stood still for long enough."""
        actions: list[Action] = []
        for instrument, quote in self._seen.items():
            feed = self.feeds.get(instrument)
            if feed is None or now - max(quote.at_ns, feed.health.last_ns) < THROUGH_NS:
                continue
            if not (_same(quote.bid, feed.book.bid) and _same(quote.ask, feed.book.ask)):
                actions.extend(self._through(feed, now))
        return actions

    def _trade(self, instrument: Instrument) -> Take[_Fill]:
        on_trade = self.listener.on_trade
        feed = self.feeds.get(instrument.id)

        def take(action: Doing, rows: Sequence[_Fill], now: Ns) -> Sequence[Action]:
            stamps = [_ns(row.timestamp) for row in rows]
            if action != "insert":
                return NOTHING  # a partial holds trades of before
            actions: Sequence[Action] = NOTHING
            for row, at in zip(rows, stamps, strict=True):
                side: Literal["buy", "sell"] = "buy" if row.side == "Buy" else "sell"
                off_book = row.trdType != "Regular"
                on_trade(instrument, Trade(row.price, row.size, side, at, clean_text(row.trdMatchID), off_book), now)
                if feed is None or off_book:
                    continue
                if feed.book.bid <= row.price <= feed.book.ask:
                    feed.outside_ns = 0
                else:
                    actions = self.printed_outside(feed, row.price, now) or actions
            return actions

        return take

    def _ticker(self, instrument: Instrument) -> Take[_News]:
        known = self._known.setdefault(instrument.id, _Known(instrument.funding_interval_s))

        def take(action: Doing, rows: Sequence[_News], now: Ns) -> Sequence[Action]:
            stamps = [(_ns(row.timestamp) if row.timestamp is not None else 0, _next(row)) for row in rows]
            if action == "delete":
                return NOTHING
            for row, (at, next_ns) in zip(rows, stamps, strict=True):
                known.at_ns = at
                self._tell_prices(instrument, known, row, at, now)
                self._tell_funding(instrument, known, row, next_ns, at, now)
                self._tell_interest(instrument, known, row, at, now)
                self._tell_volume(instrument, known, row, at, now)
                if row.state not in ("", "Open"):
                    self.board.say(f"{self.plan.venue} {instrument.native}: its state is {clean_text(row.state)}", now)
            return NOTHING

        return take

    def _funding(self, instrument: Instrument) -> Take[_Paid]:
        """What was paid last. The rate of the next time is `instrument`'s to tell, and once it has, this says nothing new."""
        known = self._known.setdefault(instrument.id, _Known(instrument.funding_interval_s))

        def take(action: Doing, rows: Sequence[_Paid], now: Ns) -> Sequence[Action]:
            if rows and action in ("partial", "insert") and instrument.kind is Kind.PERP:
                last = max(rows, key=lambda row: row.timestamp)
                at = _ns(last.timestamp)
                known.interval_s = _span_s(last.fundingInterval) or known.interval_s
                if known.rate is None:
                    self.listener.on_metric(instrument, Funding(last.fundingRate, known.interval_s, 0, at), now)
            return NOTHING

        return take

    def _liquidation(self, instrument: Instrument) -> Take[_Order]:
        """The list of orders that close positions: each is told when it appears, and what it grows by later."""
        listener, known = self.listener, self._orders.setdefault(instrument.id, {})

        def take(action: Doing, rows: Sequence[_Order], now: Ns) -> Sequence[Action]:
            if action == "partial":
                known.clear()
            for row in rows:
                name = clean_text(row.orderID)
                if action == "delete":
                    known.pop(name, None)
                    continue
                before = known.get(name)
                if before is None and action == "update":
                    continue
                order = _merged(before, row) if before is not None else row
                if len(known) >= ORDERS_KEPT:
                    known.clear()
                known[name] = order
                more = (order.leavesQty or 0.0) - (before.leavesQty or 0.0 if before is not None else 0.0)
                if action != "partial" and more > 0 and order.side is not None and order.price is not None:
                    position: Literal["long", "short"] = "short" if order.side == "Buy" else "long"  # the order's side
                    listener.on_metric(instrument, Liquidation(position, order.price, more, 0), now)
            return NOTHING

        return take

    def _restate(self, instrument: Instrument, known: _Known, now: Ns) -> None:
        """All that is known, as if it had just changed."""
        at, tell = known.at_ns, self.listener.on_metric
        if known.mark is not None:
            tell(instrument, Mark(known.mark, at), now)
        if known.index is not None:
            tell(instrument, Index(known.index, at), now)
        if known.rate is not None:
            tell(instrument, Funding(known.rate, known.interval_s, known.next_ns, at), now)
        if known.open_interest is not None:
            tell(instrument, OpenInterest(known.open_interest, at), now)
        if known.base is not None and known.quote is not None:
            tell(instrument, Stats24h(known.base, known.quote, at), now)

    def _tell_prices(self, instrument: Instrument, known: _Known, row: _News, at: Ns, now: Ns) -> None:
        """Mark and index go together: a message that mentions one says that the other still holds."""
        before = known.mark, known.index
        if row.markPrice is not UNSET:
            known.mark = row.markPrice
        if row.indicativeSettlePrice is not UNSET:
            known.index = row.indicativeSettlePrice
        if (known.mark, known.index) == before and now - known.told_ns < RESTATE_NS:
            return
        known.told_ns = now
        if known.mark is not None:
            self.listener.on_metric(instrument, Mark(known.mark, at), now)
        if known.index is not None:
            self.listener.on_metric(instrument, Index(known.index, at), now)

    def _tell_funding(self, instrument: Instrument, known: _Known, row: _News, next_ns: Ns | None, at: Ns, now: Ns) -> None:
        if instrument.kind is not Kind.PERP:
            return
        before = known.rate, known.next_ns, known.interval_s
        if row.fundingRate is not UNSET:
            known.rate = row.fundingRate
        if next_ns is not None:
            known.next_ns = next_ns
        if isinstance(row.fundingInterval, datetime):
            known.interval_s = _span_s(row.fundingInterval) or known.interval_s
        if known.rate is not None and (known.rate, known.next_ns, known.interval_s) != before:
            self.listener.on_metric(instrument, Funding(known.rate, known.interval_s, known.next_ns, at), now)

    def _tell_interest(self, instrument: Instrument, known: _Known, row: _News, at: Ns, now: Ns) -> None:
        """Open contracts, each counted once."""
        if row.openInterest is UNSET or row.openInterest == known.open_interest:
            return
        known.open_interest = row.openInterest
        if known.open_interest is not None:
            self.listener.on_metric(instrument, OpenInterest(known.open_interest, at), now)

    def _tell_volume(self, instrument: Instrument, known: _Known, row: _News, at: Ns, now: Ns) -> None:
        """The venue states both in coins, of quantos too."""
        before = known.base, known.quote
        if row.homeNotional24h is not UNSET:
            known.base = row.homeNotional24h
        if row.foreignNotional24h is not UNSET:
            known.quote = row.foreignNotional24h
        if known.base is not None and known.quote is not None and (known.base, known.quote) != before:
            self.listener.on_metric(instrument, Stats24h(known.base, known.quote, at), now)


def _name(data: bytes) -> bytes | None:
    """The table of a frame wherever its key stands; None where the bytes show none."""
    start = data.find(_KEY)
    if start < 0:
        return None
    start += len(_KEY)
    end = data.find(b'"', start, start + _NAME_LIMIT)
    return data[start:end] if end > 0 else None


_Changes: TypeAlias = tuple[list[tuple[float, float]], list[tuple[float, float]]]


def _changes(levels: _Levels, action: Doing, rows: Sequence[_Level]) -> _Changes | None:
    """What rows do to bids and asks as (price, size), 0 removing; None for the proof of a gap. Raises `BadFrame` for no rows.

    After None the ids are of no use any more.
    """
    for row in rows:
        if (row.size is None and action != "delete") or (row.price is None and action == "insert"):
            raise BadFrame("a level without a price or size")
    changes: dict[Side, list[tuple[float, float]]] = {"Buy": [], "Sell": []}
    for row in rows:
        own, out = levels.sides[row.side], changes[row.side]
        price = own.prices.get(row.id)
        if action == "insert":
            if price is not None or row.price is None or row.price in own.ids or len(own.prices) >= IDS_KEPT:
                return None
            own.put(row.id, row.price)
            out.append((row.price, row.size or 0.0))
            continue
        if price is None:
            if not levels.restored or row.price is None or row.price in own.ids:
                return None
            price = row.price
            own.put(row.id, price)
        if action == "delete":
            own.take(row.id)
            out.append((price, 0.0))
            continue
        if row.price is not None and row.price != price:
            if row.price in own.ids:
                return None
            own.take(row.id)
            own.put(row.id, row.price)
            out.append((price, 0.0))
        out.append((price if row.price is None else row.price, row.size or 0.0))
    return changes["Buy"], changes["Sell"]


def _merged(before: _Order, row: _Order) -> _Order:
    """A liquidation order after a row that says only what has changed."""
    side = before.side if row.side is None else row.side
    price = before.price if row.price is None else row.price
    size = before.leavesQty if row.leavesQty is None else row.leavesQty
    return _Order(symbol=before.symbol, orderID=before.orderID, side=side, price=price, leavesQty=size)


def _newest(rows: Sequence[_Level]) -> Ns:
    """The matching engine's time of the newest row, else the time of its sending; 0 before 2022, when rows had none."""
    stamps = [stamp for row in rows if (stamp := row.transactTime or row.timestamp) is not None]
    return _ns(max(stamps)) if stamps else 0


def _ns(at: datetime) -> Ns:
    """UTC ns. Raises `BadFrame` for what is no time of a market."""
    if not _FIRST <= at < _LAST:
        raise BadFrame("a time outside the years 2010 to 2099")
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000


def _next(row: _News) -> Ns | None:
    """The next funding time that a row tells: 0 for one that is no longer known, None for nothing new."""
    if row.fundingTimestamp is UNSET:
        return None
    return _ns(row.fundingTimestamp) if isinstance(row.fundingTimestamp, datetime) else 0


def _span_s(at: datetime) -> int:
    """A span of time written as an instant, in s; 0 for what is none of funding."""
    span = (at - _MIDNIGHT).total_seconds()
    return round(span) if 0 < span <= _LONGEST_S else 0


def _same(one: float, other: float) -> bool:
    """Equal prices, or none on either side."""
    return one == other or (one != one and other != other)


def _refuse(body: bytes, what: str) -> None:
    """Raises `BadFrame` for an answer that says why it is none."""
    try:
        error = _refusal(body).error
    except DECODE_ERRORS:
        return
    raise BadFrame(f"BITMEX {what}: {clean_text(error.message) or 'refused'}")


def _coin(native: str) -> str:
    return "BTC" if native == "XBT" else native


def _instrument(raw: msgspec.Raw) -> Instrument | None:
    """One row of an instrument answer; None unless it trades and every fact is there."""
    try:
        row = _listed(raw)
    except DECODE_ERRORS:
        return None
    kind = _KINDS.get(row.typ)
    settle, minor = _SETTLES.get(row.settlCurrency or "", ("", 0.0))
    if kind is None or row.state != "Open" or not row.lotSize or re.fullmatch(_SYMBOL, row.symbol) is None:
        return None
    if (kind is Kind.SPOT) == bool(settle) or (kind is Kind.FUTURE) != (row.expiry is not None):
        return None
    contract = Contract.QUANTO if row.isQuanto else Contract.INVERSE if row.isInverse else Contract.LINEAR
    size = _contract_size(row, contract, minor)
    base, quote = _coin(row.underlying), _coin(row.quoteCurrency)
    try:
        expiry_ns = _ns(row.expiry) if row.expiry is not None else 0
        name = symbols.instrument_id(Bitmex.id, base, quote, settle, expiry_ns)
    except (InputError, BadFrame):
        return None
    if size is None or not 0 < size < 1e15 or symbols.parse(name).contract is not contract:
        return None
    stated = row.makerFee is not None and row.takerFee is not None
    return Instrument(
        id=name,
        venue=Bitmex.id,
        market=MARKET,
        native=row.symbol,
        base=base,
        quote=quote,
        settle=settle,
        kind=kind,
        contract=contract,
        contract_size=size,
        tick=row.tickSize,
        lot=row.lotSize,
        expiry_ns=expiry_ns,
        funding_interval_s=_span_s(row.fundingInterval) if kind is Kind.PERP and row.fundingInterval is not None else 0,
        fees=Fees(row.makerFee or 0.0, row.takerFee or 0.0) if stated else None,
    )


def _contract_size(row: _Listed, contract: Contract, minor: float) -> float | None:
    """What one contract is: coins (linear, spot), quote units (inverse), settle coins for each unit of price (quanto).

    None where the multipliers are missing or do not agree with each other.
    """
    multiplier = abs(row.multiplier or 0.0)
    if contract is Contract.INVERSE:
        per_coin = abs(row.underlyingToSettleMultiplier or minor)
        return multiplier / per_coin if multiplier and per_coin == minor else None
    if contract is Contract.QUANTO:
        return multiplier / minor if multiplier and minor else None
    per_unit = row.underlyingToPositionMultiplier or 0.0
    stated = 1 / per_unit if per_unit > 0 else None
    if row.settlCurrency and row.quoteToSettleMultiplier and multiplier:
        derived = multiplier / row.quoteToSettleMultiplier
        return derived if stated is None or abs(derived / stated - 1) < 1e-9 else None
    return stated
