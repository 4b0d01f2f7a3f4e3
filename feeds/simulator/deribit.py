"""Deribit v2 on loopback: perpetuals, dated futures and spot on one JSON-RPC socket. Requests are answered in `deribit_rest.py`.

Facts: protocols.md 0.3 to 0.6 and 4, quirks included: a channel that the venue does not take is silently missing from its answer,
a raw one fails its whole request; who spends more than its credits is told so and cut off; a client that does not answer
`test_request` is cut off; numbers are JSON numbers, with an exponent where that is shorter. Order books are of the matching
engine's time, in ms: each step of the market is a ms of its own. Not simulated: books of options, raw channels, grouped prices,
and the channels that no dashboard needs (`perpetual`, `incremental_ticker`, lifecycle).
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from aiohttp import web

from feeds.model import MS, SECOND, Ns
from feeds.simulator.deribit_dialect import DeribitDialect
from feeds.simulator.deribit_rest import CONTRACT_SIZES, INDEX_DIGITS, ROUTED, DeribitRest, RefusedError, answered, number
from feeds.simulator.kit import Connection, VenueServer
from feeds.simulator.listings import START_PRICES_USD, Listing
from feeds.simulator.maker import Print
from feeds.simulator.market import STEP_NS, Step, World
from feeds.simulator.truebook import TrueBook

INTERVAL_STEPS: Mapping[str, int] = {"100ms": 100 * MS // STEP_NS, "agg2": 2 * SECOND // STEP_NS}
"""Steps of the market between two pushes."""
DEPTHS: Final = (1, 10, 20)
"""Levels that a grouped book may have."""
SHORTEST_HEARTBEAT_S: Final = 10
INDICES: Mapping[str, tuple[str, str]] = {
    f"{base}_{quote}".lower(): (base, quote)
    for base, quote in (
        ("BTC", "USD"),
        ("ETH", "USD"),
        ("BTC", "USDC"),
        ("ETH", "USDC"),
        ("SOL", "USDC"),
        ("BTC", "USDT"),
        ("ETH", "USDT"),
        ("SOL", "USDT"),
        ("USDC", "USDT"),
    )
}
"""Those of the venue's index names that are of coins known here: it lists neither SOL in dollars nor a stablecoin in them."""
MEMO = 8_192
"""Prices and sizes of an instrument whose texts are remembered: more than a book has levels."""
MAKERS_TOO = 16
"""Of so many liquidations one closes the maker's position as well."""
MAKERS_ALONE = 512
"""Of so many other trades of a perpetual one closes its maker's position alone."""

_CHANNEL = re.compile(
    rf"(?:(book|ticker|trades)\.([A-Z0-9_-]+)\.({'|'.join(INTERVAL_STEPS)})"
    rf"|book\.([A-Z0-9_-]+)\.none\.({'|'.join(map(str, DEPTHS))})\.({'|'.join(INTERVAL_STEPS)})"
    r"|quote\.([A-Z0-9_-]+)"
    r"|deribit_price_index\.([a-z_]+))"
)
Batch: TypeAlias = Iterable[tuple[int, int]]
Json: TypeAlias = dict[str, Any]


class Numbers:
    """An instrument's ticks and lots as the wire has them."""

    def __init__(self, book: TrueBook) -> None:
        self._book = book
        self._prices: dict[int, str] = {}
        self._sizes: dict[int, str] = {}

    def price(self, ticks: int) -> str:
        found = self._prices.get(ticks)
        if found is None:
            found = _kept(self._prices, ticks, number(self._book.price(ticks)))
        return found

    def size(self, lots: int) -> str:
        found = self._sizes.get(lots)
        if found is None:
            found = _kept(self._sizes, lots, number(self._book.size(lots)))
        return found


class _Feed(ABC):
    """One channel: what it has told last, and what it tells next."""

    every = 1
    """Steps between two looks."""

    def __init__(self, server: "DeribitServer", channel: str) -> None:
        self.server = server
        self.channel = channel
        self.step = -1
        """When it last looked; what it holds is old when nobody has listened since."""

    @abstractmethod
    def first(self) -> str | None:
        """What a new subscriber is told at once; None where the channel begins with the next event."""

    @abstractmethod
    def next(self, step: Step) -> str | None:
        """What all subscribers are told in this step."""

    def message(self, data: str) -> str:
        return f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{self.channel}","data":{data}}}}}'

    @property
    def stale(self) -> bool:
        """Whether a look has been missed."""
        return self.step < 0 or self.server.world.steps - self.step > self.every


class _ListingFeed(_Feed):
    """A channel of one instrument."""

    def __init__(self, server: "DeribitServer", channel: str, listing: Listing, every: int = 1) -> None:
        super().__init__(server, channel)
        self.listing = listing
        self.book: TrueBook = server.world.books[listing.key]
        self.numbers = server.numbers[listing.key]
        self.every = every

    def engine_ms(self, seq: int) -> int:
        """The matching engine's time of a state of the book."""
        return self.server.now_ms(self.book.time_of(seq))


class _BookFeed(_ListingFeed):
    """All levels: the whole once, then what changed."""

    def __init__(self, server: "DeribitServer", channel: str, listing: Listing, every: int) -> None:
        super().__init__(server, channel, listing, every)
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.seq = -1
        """The state that was looked at last."""
        self.change_id = -1
        """The state that was told last. It differs where what had changed was as before again."""
        self.told_ms = 0

    def first(self) -> str:
        """As the other subscribers know it, so that the next change fits all of them."""
        if self.stale:
            self._look()
        return self._snapshot()

    def next(self, step: Step) -> str | None:
        self.step = step.number
        if self.book.seq == self.seq:
            return None
        change = self.book.changes_since(self.seq)
        self.seq = self.book.seq
        if change is None:
            return None
        bids, asks = self._changes(self.bids, change.bids), self._changes(self.asks, change.asks)
        if not bids and not asks:
            return None
        bids.sort(reverse=True)
        asks.sort()
        before, self.change_id, self.told_ms = self.change_id, self.seq, self.engine_ms(self.seq)
        sides = ",".join(text for _, text in bids), ",".join(text for _, text in asks)
        return self._frame("change", *sides, f',"prev_change_id":{before}')

    def restart(self) -> str:
        """A snapshot in mid-stream, that the count goes on from."""
        self._look()
        return self._snapshot()

    def _look(self) -> None:
        book = self.book
        self.step = self.server.world.steps
        self.bids, self.asks = dict(book.bids), dict(book.asks)
        self.seq = self.change_id = book.seq
        self.told_ms = self.engine_ms(book.seq)

    def _snapshot(self) -> str:
        sides = (self._new(sorted(self.bids.items(), reverse=True)), self._new(sorted(self.asks.items())))
        return self._frame("snapshot", *sides, "")

    def _changes(self, side: dict[int, int], changes: Mapping[int, int]) -> list[tuple[int, str]]:
        """Take changes in: ticks and text of each level that is not as it was told last."""
        price, size = self.numbers.price, self.numbers.size
        made = []
        for ticks, lots in changes.items():
            before = side.get(ticks, 0)
            if lots == before:
                continue
            if lots:
                side[ticks] = lots
                made.append((ticks, f'["{"change" if before else "new"}",{price(ticks)},{size(lots)}]'))
            else:
                del side[ticks]
                made.append((ticks, f'["delete",{price(ticks)},0.0]'))
        return made

    def _new(self, levels: Batch) -> str:
        price, size = self.numbers.price, self.numbers.size
        return ",".join([f'["new",{price(ticks)},{size(lots)}]' for ticks, lots in levels])

    def _frame(self, kind: str, bids: str, asks: str, more: str) -> str:
        return self.message(
            f'{{"timestamp":{self.told_ms},"type":"{kind}","change_id":{self.change_id},'
            f'"instrument_name":"{self.listing.native}","bids":[{bids}],"asks":[{asks}]{more}}}'
        )


class _GroupedFeed(_ListingFeed):
    """The best levels, whole each time."""

    def __init__(self, server: "DeribitServer", channel: str, listing: Listing, every: int, depth: int) -> None:
        super().__init__(server, channel, listing, every)
        self.depth = depth
        self.seq = -1
        self.told = ""

    def first(self) -> str:
        if self.stale:
            self._look(self.server.world.steps)
        return self._frame()

    def next(self, step: Step) -> str | None:
        return self._frame() if self._look(step.number) else None

    def _look(self, step: int) -> bool:
        """Move to the book as it is; whether that is something new."""
        self.step = step
        book, depth = self.book, self.depth
        if book.seq == self.seq:
            return False
        self.seq = book.seq
        bids = self._levels((ticks, book.bids[ticks]) for ticks in reversed(book.bid_ticks[-depth:]))
        asks = self._levels((ticks, book.asks[ticks]) for ticks in book.ask_ticks[:depth])
        before, self.told = self.told, f'"bids":[{bids}],"asks":[{asks}]'
        return self.told != before

    def _levels(self, levels: Batch) -> str:
        price, size = self.numbers.price, self.numbers.size
        return ",".join([f"[{price(ticks)},{size(lots)}]" for ticks, lots in levels])

    def _frame(self) -> str:
        head = f'"timestamp":{self.engine_ms(self.seq)},"change_id":{self.seq},"instrument_name":"{self.listing.native}"'
        return self.message(f"{{{head},{self.told}}}")


class _QuoteFeed(_ListingFeed):
    """The best bid and ask, in each step that changes them."""

    def first(self) -> str:
        return self._frame(self.engine_ms(self.book.seq))

    def next(self, step: Step) -> str | None:
        return self._frame(self.server.now_ms(step.now_ns)) if self.book.touched else None

    def _frame(self, at_ms: int) -> str:
        bid, bid_lots, ask, ask_lots = self.book.touch
        price, size = self.numbers.price, self.numbers.size
        return self.message(
            f'{{"timestamp":{at_ms},"instrument_name":"{self.listing.native}",'
            f'"best_ask_price":{price(ask)},"best_bid_price":{price(bid)},'
            f'"best_ask_amount":{size(ask_lots)},"best_bid_amount":{size(bid_lots)}}}'
        )


class _TradeFeed(_ListingFeed):
    """Every trade, an interval's worth in one message. What closed a position by force says whose."""

    def __init__(self, server: "DeribitServer", channel: str, listing: Listing, every: int) -> None:
        super().__init__(server, channel, listing, every)
        self.fills: list[Print] = []
        self._last_ticks = server.world.figures[listing.key].last_ticks
        self._rose = True
        self._contract_size = CONTRACT_SIZES.get((listing.contract, listing.base), 1.0)
        self._prefix = "" if listing.base == "BTC" else f"{listing.base}-"

    def first(self) -> None:
        return None

    def next(self, step: Step) -> str | None:
        fills, self.fills = self.fills, []
        return self.message(f"[{','.join(map(self._fill, fills))}]") if fills else None

    def _fill(self, made: Print) -> str:
        listing, figures, numbers = self.listing, self.server.world.figures[self.listing.key], self.numbers
        digits = INDEX_DIGITS[listing.base]
        index = number(round(figures.index, digits))
        mark = index if listing.kind == "spot" else number(round(figures.mark, digits))
        flag = liquidation(listing, made)
        at_ns = self.server.clock_ns(made.now_ns)
        contracts = number(self.book.size(made.lots) / self._contract_size)
        return (
            f'{{"timestamp":{at_ns // MS},"price":{numbers.price(made.ticks)},"amount":{numbers.size(made.lots)},'
            f'"direction":"{"buy" if made.buy else "sell"}","index_price":{index},"instrument_name":"{listing.native}",'
            f'"trade_seq":{made.number},"mark_price":{mark},'
            + (f'"liquidation":"{flag}",' if flag else "")
            + f'"tick_direction":{self._direction(made.ticks)},"starbase_match_id":{(1 << 57) + made.number},'
            f'"trade_id":"{self._prefix}{made.number}"'
            + (f',"contracts":{contracts}' if listing.kind != "spot" else "")
            + f',"starbase_timestamp":{at_ns}}}'
        )

    def _direction(self, ticks: int) -> int:
        """0 above the last trade, 1 at it after a rise, 2 below it, 3 at it after a fall."""
        same = ticks == self._last_ticks
        if not same:
            self._rose = ticks > self._last_ticks
            self._last_ticks = ticks
        return (0 if self._rose else 2) + same


class _TickerFeed(_ListingFeed):
    """Figures of an instrument, whole each time."""

    def __init__(self, server: "DeribitServer", channel: str, listing: Listing, every: int) -> None:
        super().__init__(server, channel, listing, every)
        self._seen: tuple[object, ...] = ()

    def first(self) -> str:
        return self._frame(self.server.world.now_ns)

    def next(self, step: Step) -> str | None:
        figures = self.server.world.figures[self.listing.key]
        seen = (self.book.touch, figures.trades, figures.mark, figures.index, figures.open_interest_lots)
        if seen == self._seen:
            return None
        self._seen = seen
        return self._frame(step.now_ns)

    def _frame(self, now_ns: Ns) -> str:
        return self.message(self.server.answers.ticker(self.listing, self.server.now_ms(now_ns)))


class _IndexFeed(_Feed):
    """An index, once a second."""

    def __init__(self, server: "DeribitServer", channel: str, name: str) -> None:
        super().__init__(server, channel)
        self.name = name

    def first(self) -> str:
        return self._frame(self.server.world.now_ns)

    def next(self, step: Step) -> str | None:
        return self._frame(step.now_ns) if step.whole_second else None

    def _frame(self, now_ns: Ns) -> str:
        price = number(self.server.index(self.name))
        return self.message(f'{{"timestamp":{self.server.now_ms(now_ns)},"price":{price},"index_name":"{self.name}"}}')


class _Client:
    """What the venue keeps of a connection."""

    __slots__ = ("beat_ns", "begun", "heartbeat_ns", "spoke", "tested")

    def __init__(self) -> None:
        self.heartbeat_ns: Ns = 0
        """How often the server speaks up; 0 where it was not asked to."""
        self.beat_ns: Ns = 0
        """When it last did."""
        self.spoke = False
        """Whether a request has come since."""
        self.tested = False
        """Whether a `test_request` waits for its answer."""
        self.begun: list[_Feed] = []
        """Channels of the request at hand: they speak after its answer."""


class DeribitServer(VenueServer):
    """The one market of Deribit."""

    name = "DERIBIT"
    dialect = DeribitDialect()

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.listings: dict[str, Listing] = {
            listing.native: listing for listing in world.listings.values() if listing.venue == self.name
        }
        self.numbers = {listing.key: Numbers(world.books[listing.key]) for listing in self.listings.values()}
        self.answers = DeribitRest(self)
        self.clients: dict[Connection, _Client] = {}
        self._feeds: dict[str, _Feed] = {}
        self._make: Mapping[str, Callable[..., _Feed]] = {"book": _BookFeed, "ticker": _TickerFeed, "trades": _TradeFeed}
        self._methods: Mapping[str, Callable[[Connection, Json], object]] = {
            "public/subscribe": self._join,
            "public/unsubscribe": self._leave,
            "public/unsubscribe_all": self._leave_all,
            "public/set_heartbeat": self._set_heartbeat,
            "public/disable_heartbeat": self._disable_heartbeat,
            "public/test": self._test,
        }

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.name}.public",)

    def websocket_paths(self) -> Iterable[str]:
        return ["/ws/api/v2"]

    def index(self, name: str) -> float:
        """An index as it is told; that of a coin which this market leaves out moves with the dollars alone.

        Raises KeyError for one that the venue has not.
        """
        base, quote = INDICES[name]
        if base in self.world.assets:
            price = self.world.index(self.name, base, quote)
        else:
            price = (self.world.usd_per.get(base) or START_PRICES_USD[base]) / self.world.usd_per[quote]
        return round(price, INDEX_DIGITS[base])

    async def rest(self, request: web.Request) -> web.StreamResponse:
        return await self.answers.answer(request)

    async def opened(self, connection: Connection) -> None:
        self.clients[connection] = _Client()

    def closed(self, connection: Connection) -> None:
        self.clients.pop(connection, None)

    async def received(self, connection: Connection, text: str) -> None:
        taken_ns, client = self.clock_ns(), self.clients[connection]
        number_of: object = None
        try:
            message = _parsed(text)
            number_of = message.get("id")
            method, params = message.get("method"), message.get("params", {})
            if not isinstance(method, str) or not isinstance(params, dict):
                raise RefusedError(-32600, "Invalid Request")
            client.spoke = True
            self.answers.spend(method)
            own = self._methods.get(method)
            result = own(connection, params) if own is not None else self.answers.call(method, params)
            answer: Json = {"result": result}
        except RefusedError as refusal:
            answer = {"error": refusal.body}
        await connection.send(answered(answer, number_of, taken_ns))
        if "error" in answer and answer["error"]["code"] == RefusedError.TOO_MANY:
            connection.drop()
            return
        begun, client.begun = client.begun, []
        for feed in begun:
            first = feed.first()
            if first is not None:
                connection.publish(feed.channel, first)
        connection.flush()

    def _join(self, connection: Connection, params: Json) -> list[str]:
        """What of it the venue takes."""
        channels = _channels(params)
        if any(channel.endswith(".raw") for channel in channels):
            raise RefusedError(13778, "raw_subscriptions_not_available_for_unauthorized")
        taken = []
        for channel in dict.fromkeys(channels):
            feed = self._feed(channel)
            if feed is not None:
                taken.append(channel)
                if channel not in connection.topics:
                    connection.topics[channel] = feed
                    self.clients[connection].begun.append(feed)
        return sorted(taken, reverse=True)

    def _leave(self, connection: Connection, params: Json) -> list[str]:
        return [channel for channel in _channels(params) if connection.topics.pop(channel, None) is not None]

    def _leave_all(self, connection: Connection, params: Json) -> str:
        connection.topics.clear()
        return "ok"

    def _set_heartbeat(self, connection: Connection, params: Json) -> str:
        interval = params.get("interval")
        if not isinstance(interval, (int, float)) or isinstance(interval, bool):
            raise RefusedError.parameter("interval", "must be a number")
        if interval < SHORTEST_HEARTBEAT_S:
            raise RefusedError.parameter("interval", f"value must be >= {SHORTEST_HEARTBEAT_S}")
        client = self.clients[connection]
        client.heartbeat_ns, client.beat_ns = int(interval * SECOND), self.world.now_ns
        client.spoke = client.tested = False
        return "ok"

    def _disable_heartbeat(self, connection: Connection, params: Json) -> str:
        self.clients[connection].heartbeat_ns = 0
        return "ok"

    def _test(self, connection: Connection, params: Json) -> object:
        self.clients[connection].tested = False
        return self.answers.call("public/test", params)

    def _feed(self, channel: str) -> _Feed | None:
        """The feed of a channel; None where the venue has no such channel."""
        found = self._feeds.get(channel)
        if found is not None:
            return found
        match = _CHANNEL.fullmatch(channel)
        if match is None:
            return None
        kind, native, interval, grouped, depth, grouped_interval, quoted, index = match.groups()
        if index is not None:
            if index not in INDICES:
                return None
            feed: _Feed = _IndexFeed(self, channel, index)
        else:
            listing = self.listings.get(native or grouped or quoted)
            if listing is None or (kind == "trades" and listing.kind in ROUTED):
                return None
            if quoted is not None:
                feed = _QuoteFeed(self, channel, listing)
            elif grouped is not None:
                feed = _GroupedFeed(self, channel, listing, INTERVAL_STEPS[grouped_interval], int(depth))
            else:
                feed = self._make[kind](self, channel, listing, INTERVAL_STEPS[interval])
        self._feeds[channel] = feed
        return feed

    def on_step(self, step: Step) -> None:
        readers: dict[_Feed, list[Connection]] = {}
        for connection in self.connections:
            for feed in connection.topics.values():
                if isinstance(feed, _Feed):
                    readers.setdefault(feed, []).append(connection)
            self._beat(connection, step.now_ns)
        self._collect(step, readers)
        for feed, connections in readers.items():
            if step.number % feed.every:
                continue
            text = feed.next(step)
            if text is not None:
                for connection in connections:
                    connection.publish(feed.channel, text)

    def _collect(self, step: Step, readers: Mapping[_Feed, object]) -> None:
        """Hand a step's trades to the feeds that somebody reads; the others forget theirs."""
        fills: dict[str, list[Print]] = {}
        for made in step.prints:
            fills.setdefault(made.key, []).append(made)
        for feed in self._feeds.values():
            if isinstance(feed, _TradeFeed):
                if feed in readers:
                    feed.fills.extend(fills.get(feed.listing.key, ()))
                else:
                    feed.fills.clear()

    def _beat(self, connection: Connection, now_ns: Ns) -> None:
        """Speak up where a client asked for that. One that says nothing is asked to; one that does not answer goes."""
        client = self.clients.get(connection)
        if client is None or not client.heartbeat_ns or now_ns - client.beat_ns < client.heartbeat_ns:
            return
        if client.tested:
            connection.drop()
            return
        client.tested = not client.spoke
        client.beat_ns, client.spoke = now_ns, False
        kind = "test_request" if client.tested else "heartbeat"
        connection.send_frame(f'{{"params":{{"type":"{kind}"}},"method":"heartbeat","jsonrpc":"2.0"}}'.encode())

    def restart(self, market: str, native: str) -> int:
        """Snapshots in the middle of an instrument's books. Tells how many were sent."""
        sent = 0
        for feed in self._feeds.values():
            if isinstance(feed, _BookFeed) and feed.listing.native == native:
                text = feed.restart()
                for connection in self.connections:
                    if connection.topics.get(feed.channel) is feed:
                        connection.publish(feed.channel, text)
                        connection.flush()
                        sent += 1
        return sent


def liquidation(listing: Listing, made: Print) -> Literal["", "T", "M", "MT"]:
    """Whose position a trade closed by force: the taker's, its maker's, both."""
    if listing.kind != "perp":
        return ""
    if made.forced:
        return "T" if made.number % MAKERS_TOO else "MT"
    return "" if made.number % MAKERS_ALONE else "M"


def _kept(memo: dict[int, str], key: int, text: str) -> str:
    if len(memo) > MEMO:
        memo.clear()
    memo[key] = text
    return text


def _parsed(text: str) -> Json:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError(-32700, "Parse error") from None
    if not isinstance(message, dict):
        raise RefusedError(-32600, "Invalid Request")
    return message


def _channels(params: Json) -> Sequence[str]:
    channels = params.get("channels")
    if not isinstance(channels, list) or not channels or not all(isinstance(channel, str) for channel in channels):
        raise RefusedError.parameter("channels", "must be a non-empty list")
    return channels
