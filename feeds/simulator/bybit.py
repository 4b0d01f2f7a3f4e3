"""Bybit v5 on loopback: spot, linear and inverse behind one port, as the venue has them. REST is in `bybit_rest.py`.

Facts: protocols.md 0.3, 0.5, 0.6 and 2, quirks included: a book topic is a window of the best levels, whose deltas also delete
what leaves it and bring what enters; depth 1 is a snapshot each time and is sent again after 3 s; tickers of derivatives are
deltas, those of spot have no best quote; a refused topic fails its whole request; data come before the acknowledgement. Error
texts: frames that others recorded in 2026.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, TypeAlias
from uuid import UUID

from aiohttp import web

from feeds.model import SECOND, Ns
from feeds.simulator.bybit_dialect import BybitDialect
from feeds.simulator.bybit_rest import BybitRest, plain
from feeds.simulator.kit import Connection, VenueServer
from feeds.simulator.listings import Listing
from feeds.simulator.maker import Print
from feeds.simulator.market import STEP_NS, Forced, Step, World
from feeds.simulator.truebook import TrueBook

SPOT, LINEAR, INVERSE = CATEGORIES = ("spot", "linear", "inverse")
DEPTH_STEPS: Mapping[int, int] = {1: 1, 50: 1, 200: 5, 1000: 10}
"""Steps of the market between two pushes of a depth: the venue's 10, 20, 100 and 200 ms."""
RESEND_STEPS = 3 * SECOND // STEP_NS
TICKER_STEPS: Mapping[str, int] = {SPOT: 2, LINEAR: 5, INVERSE: 5}
LIQUIDATION_STEPS = 25
SPOT_ARGS = 10
CHARACTERS_A_CONNECTION = 21_000
IDLE_NS: Ns = 600 * SECOND
FILLS_A_MESSAGE = 1_024
YEAR_NS: Ns = 365 * 86_400 * SECOND

_TOPIC = re.compile(r"(?:orderbook\.(1|50|200|1000)|(publicTrade|tickers|allLiquidation))\.([A-Z0-9-]+)")
Fields: TypeAlias = dict[str, str]
Batch: TypeAlias = Sequence[tuple[int, int]]


class _Feed(ABC):
    """One topic of one category: what it has told last, and what it tells next."""

    every = 1
    """Steps between two looks."""

    def __init__(self, server: "BybitServer", listing: Listing, topic: str) -> None:
        self.server = server
        self.listing = listing
        self.topic = topic
        self.book: TrueBook = server.world.books[listing.key]
        self.step = -1
        """When it last looked; what it holds is old when nobody has listened since."""

    def first(self) -> str | None:
        """What a new subscriber is told at once; None where the topic begins with the next event."""
        return None

    @abstractmethod
    def next(self, now_ns: Ns) -> Iterable[str]:
        """What all subscribers are told in this step."""

    def message(self, kind: str, data: str, now_ns: Ns, *more: str) -> str:
        """A data frame; spot orders its keys in another way."""
        ts = f'"ts":{self.server.now_ms(now_ns)}'
        kind = f'"type":"{kind}"'
        head = (ts, kind) if self.listing.market == SPOT else (kind, ts)
        return "{" + ",".join((f'"topic":"{self.topic}"', *head, f'"data":{data}', *more)) + "}"


class _BookFeed(_Feed):
    """The best `depth` levels of each side."""

    def __init__(self, server: "BybitServer", listing: Listing, topic: str, depth: int) -> None:
        super().__init__(server, listing, topic)
        self.depth = depth
        self.every = DEPTH_STEPS[depth]
        self.u = Random(f"{server.world.seed}/{listing.key}/{topic}").randrange(10**6, 10**8)
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.seq = -1
        self.now_ns: Ns = 0
        self.sent_step = 0
        self._look(server.world.now_ns)

    def first(self) -> str:
        if self.server.world.steps - self.step > self.every:
            self.sent_step = self.server.world.steps
            self._look(self.server.world.now_ns)
        return self._snapshot(self.now_ns)

    def next(self, now_ns: Ns) -> Iterable[str]:
        change = self._look(now_ns)
        if self.depth == 1:
            if change is not None or self.step - self.sent_step >= RESEND_STEPS:
                self.sent_step = self.step
                yield self._snapshot(now_ns)
        elif change is not None:
            yield self._frame("delta", *change, now_ns)

    def restart(self, now_ns: Ns) -> str:
        """The service starts over: a snapshot whose number is 1."""
        self._look(now_ns)
        self.u = 1
        return self._snapshot(now_ns)

    def _look(self, now_ns: Ns) -> tuple[Batch, Batch] | None:
        """Move to the book as it is; what changed within the window, in it before or in it now. None where nothing did."""
        book, depth = self.book, self.depth
        self.step = self.server.world.steps
        if book.seq == self.seq:
            return None
        bids = {ticks: book.bids[ticks] for ticks in book.bid_ticks[-depth:]}
        asks = {ticks: book.asks[ticks] for ticks in book.ask_ticks[:depth]}
        changed = _changes(self.bids, bids), _changes(self.asks, asks)
        if not any(changed):
            return None
        self.bids, self.asks = bids, asks
        self.seq, self.now_ns = book.seq, now_ns
        self.u += 1
        return changed[0][::-1], changed[1]

    def _snapshot(self, now_ns: Ns) -> str:
        bids = sorted(self.bids.items(), reverse=True)
        return self._frame("snapshot", bids, sorted(self.asks.items()), now_ns)

    def _frame(self, kind: str, bids: Batch, asks: Batch, now_ns: Ns) -> str:
        listing, levels = self.listing, self.server.levels
        sides = f'"b":[{levels(listing, bids)}],"a":[{levels(listing, asks)}]'
        data = f'{{"s":"{listing.native}",{sides},"u":{self.u},"seq":{self.seq}}}'
        return self.message(kind, data, now_ns, f'"cts":{self.server.now_ms(self.now_ns)}')


class _TradeFeed(_Feed):
    """Every trade, a step's worth in one message."""

    def __init__(self, server: "BybitServer", listing: Listing, topic: str) -> None:
        super().__init__(server, listing, topic)
        self.fills: list[Print] = []
        self._last_ticks = server.world.figures[listing.key].last_ticks
        self._rose = True

    def next(self, now_ns: Ns) -> Iterable[str]:
        fills, self.fills = self.fills, []
        for at in range(0, len(fills), FILLS_A_MESSAGE):
            yield self.message("snapshot", f"[{','.join(map(self._fill, fills[at : at + FILLS_A_MESSAGE]))}]", now_ns)

    def _fill(self, made: Print) -> str:
        listing = self.listing
        price, size = self.server.price(listing, made.ticks), self.server.size(listing, made.lots)
        side, at_ms = "Buy" if made.buy else "Sell", self.server.now_ms(made.now_ns)
        if listing.market == SPOT:
            return (
                f'{{"i":"{2_100_000_000_000_000_000 + made.number}","T":{at_ms},"p":"{price}","v":"{size}","S":"{side}",'
                f'"seq":{self.book.seq},"s":"{listing.native}","BT":false,"RPI":false}}'
            )
        return (
            f'{{"T":{at_ms},"s":"{listing.native}","S":"{side}","v":"{size}","p":"{price}","L":"{self._direction(made.ticks)}",'
            f'"i":"{trade_id(listing, made.number)}","BT":false,"RPI":false,"seq":{self.book.seq}}}'
        )

    def _direction(self, ticks: int) -> str:
        zero = "Zero" if ticks == self._last_ticks else ""
        if not zero:
            self._rose = ticks > self._last_ticks
            self._last_ticks = ticks
        return f"{zero}{'Plus' if self._rose else 'Minus'}Tick"


class _LiquidationFeed(_Feed):
    """Every liquidation, in batches. `S` is the side of the position that was closed out, `p` its bankruptcy price."""

    every = LIQUIDATION_STEPS

    def __init__(self, server: "BybitServer", listing: Listing, topic: str) -> None:
        super().__init__(server, listing, topic)
        self.closes: list[Forced] = []

    def next(self, now_ns: Ns) -> Iterable[str]:
        closes, self.closes = self.closes, []
        if closes:
            yield self.message("snapshot", f"[{','.join(map(self._close, closes))}]", now_ns)

    def _close(self, made: Forced) -> str:
        listing = self.listing
        price, size = self.server.price(listing, made.bankrupt_ticks), self.server.size(listing, made.lots)
        side = "Buy" if made.position_long else "Sell"
        return f'{{"T":{self.server.now_ms(made.now_ns)},"s":"{listing.native}","S":"{side}","v":"{size}","p":"{price}"}}'


class _TickerFeed(_Feed):
    """Figures of an instrument: of derivatives what has changed, of spot everything."""

    def __init__(self, server: "BybitServer", listing: Listing, topic: str) -> None:
        super().__init__(server, listing, topic)
        self.every = TICKER_STEPS[listing.market]
        self.told: Fields = {}

    def first(self) -> str:
        """As the other subscribers know it, so that the next delta fits all of them."""
        if not self.told or self.server.world.steps - self.step > self.every:
            self.step = self.server.world.steps
            self.told = self.server.answers.ticker(self.listing)
        return self._frame("snapshot", self.told, self.server.world.now_ns)

    def next(self, now_ns: Ns) -> Iterable[str]:
        self.step = self.server.world.steps
        now = self.server.answers.ticker(self.listing)
        changed = {name: text for name, text in now.items() if self.told.get(name) != text}
        self.told = now
        if not changed:
            return
        if self.listing.market == SPOT:
            yield self._frame("snapshot", now, now_ns)
        else:
            yield self._frame("delta", {"symbol": self.listing.native} | changed, now_ns)

    def _frame(self, kind: str, fields: Fields, now_ns: Ns) -> str:
        data = json.dumps(fields, separators=(",", ":"))
        cross, ts = f'"cs":{self.book.seq}', f'"ts":{self.server.now_ms(now_ns)}'
        head = f'"topic":"{self.topic}"'
        if self.listing.market == SPOT:
            return f'{{{head},{ts},"type":"{kind}",{cross},"data":{data}}}'
        return f'{{{head},"type":"{kind}","data":{data},{cross},{ts}}}'


class BybitServer(VenueServer):
    """All three categories of Bybit."""

    name = "BYBIT"
    dialect = BybitDialect()

    def __init__(self, world: World, *, page: int = 3, idle_ns: Ns = IDLE_NS) -> None:
        """`page`: rows that a page of linear instruments holds at most, so few that its cursor matters; `idle_ns`: how long a
        client may say nothing."""
        super().__init__(world)
        self._idle_ns = idle_ns
        self.listings: dict[tuple[str, str], Listing] = {
            (listing.market, listing.native): listing for listing in world.listings.values() if listing.venue == self.name
        }
        self.answers = BybitRest(self, page)
        self._feeds: dict[tuple[str, str], _Feed] = {}
        self._make: Mapping[str, Callable[..., _Feed]] = {
            "publicTrade": _TradeFeed,
            "tickers": _TickerFeed,
            "allLiquidation": _LiquidationFeed,
        }

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}.{category}" for category in CATEGORIES)

    def websocket_paths(self) -> Iterable[str]:
        return [f"/v5/public/{category}" for category in CATEGORIES]

    async def rest(self, request: web.Request) -> web.StreamResponse:
        return await self.answers.answer(request)

    async def received(self, connection: Connection, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            await self._say(connection, "", f"Failed to decode incoming data:{text[:40]}", None)
            return
        op = message.get("op") if isinstance(message, dict) else None
        if op == "ping":
            await self._say(connection, "ping", "", message.get("req_id"), pong=True)
        elif op in ("subscribe", "unsubscribe"):
            await self._asked(connection, op, message)
        else:
            await self._say(connection, "", "error:invalid op", None)

    async def _asked(self, connection: Connection, op: str, message: dict[str, Any]) -> None:
        args = message.get("args")
        if not isinstance(args, list) or not args or not all(isinstance(arg, str) for arg in args):
            problem = "Params Error"
        elif op == "subscribe":
            problem = self._subscribe(connection, args)
        else:
            problem = ""
            for topic in args:
                connection.topics.pop(topic, None)
        await self._say(connection, op, problem, message.get("req_id"))

    async def _say(self, connection: Connection, op: str, problem: str, req_id: object, *, pong: bool = False) -> None:
        """Acknowledge, or refuse: a refusal does not say which request it belongs to."""
        spot = category_of(connection) == SPOT
        answer: dict[str, object] = {"success": not problem, "ret_msg": problem or ("pong" if pong else op if spot else "")}
        answer["conn_id"] = f"sim{self.port}-{connection.number:05d}"
        if not problem and (req_id or not spot):
            answer["req_id"] = req_id or ""
        answer["op"] = op
        await connection.send(json.dumps(answer, separators=(",", ":")))

    def _subscribe(self, connection: Connection, topics: Sequence[str]) -> str:
        """Subscribe to all of them or to none; why to none."""
        category = category_of(connection)
        if category == SPOT and len(topics) > SPOT_ARGS:
            return f"args size >{SPOT_ARGS}"
        if sum(map(len, (*connection.topics, *topics))) > CHARACTERS_A_CONNECTION:
            return f"args length >{CHARACTERS_A_CONNECTION}"
        feeds = {}
        for topic in topics:
            if topic in connection.topics or topic in feeds:
                return f"error:already subscribed,topic:{topic}"
            feed = self._feed(category, topic)
            if isinstance(feed, str):
                return feed
            feeds[topic] = feed
        for topic, feed in feeds.items():
            connection.topics[topic] = feed
            text = feed.first()
            if text is not None:
                connection.publish(topic, text)
        return ""

    def _feed(self, category: str, topic: str) -> _Feed | str:
        """The feed of a topic, or why there is none."""
        found = self._feeds.get((category, topic))
        if found is not None:
            return found
        match = _TOPIC.fullmatch(topic)
        if match is None or (match[2] == "allLiquidation" and category == SPOT):
            return f"error:handler not found,topic:{topic}"
        listing = self.listings.get((category, match[3]))
        if listing is None:
            return f"Invalid symbol :[{topic}]" if category == SPOT else f"error:handler not found,topic:{topic}"
        if match[1]:
            feed: _Feed = _BookFeed(self, listing, topic, int(match[1]))
        else:
            feed = self._make[match[2]](self, listing, topic)
        self._feeds[category, topic] = feed
        return feed

    def on_step(self, step: Step) -> None:
        readers: dict[_Feed, list[Connection]] = {}
        for connection in self.connections:
            for feed in connection.topics.values():
                if isinstance(feed, _Feed):
                    readers.setdefault(feed, []).append(connection)
            if step.now_ns - connection.heard_ns > self._idle_ns:
                connection.drop()
        self._collect(step, readers)
        for feed, connections in readers.items():
            if step.number % feed.every:
                continue
            for text in feed.next(step.now_ns):
                for connection in connections:
                    connection.publish(feed.topic, text)

    def _collect(self, step: Step, readers: Mapping[_Feed, object]) -> None:
        """Hand a step's trades and liquidations to the feeds that somebody reads; the others forget theirs."""
        fills: dict[str, list[Print]] = {}
        for made in step.prints:
            fills.setdefault(made.key, []).append(made)
        for feed in self._feeds.values():
            if isinstance(feed, _TradeFeed):
                feed.fills = fills.get(feed.listing.key, []) if feed in readers else []
            elif isinstance(feed, _LiquidationFeed):
                if feed in readers:
                    feed.closes.extend(made for made in step.forced if made.key == feed.listing.key)
                else:
                    feed.closes.clear()

    def restart(self, market: str, native: str) -> int:
        """The service of an instrument's books starts over: `u` is 1, in a snapshot in mid-stream. Tells how many were sent."""
        sent = 0
        for feed in self._feeds.values():
            if isinstance(feed, _BookFeed) and (feed.listing.market, feed.listing.native) == (market, native):
                text = feed.restart(self.world.now_ns)
                for connection in self.connections:
                    if connection.topics.get(feed.topic) is feed:
                        connection.publish(feed.topic, text)
                        connection.flush()
                        sent += 1
        return sent

    def price(self, listing: Listing, ticks: int) -> str:
        """`ticks` as the category writes them: spot without trailing zeros."""
        text = listing.price_text(ticks)
        return plain(text) if listing.market == SPOT else text

    def size(self, listing: Listing, lots: int) -> str:
        if not lots:
            return "0"
        text = listing.size_text(lots)
        return plain(text) if listing.market == SPOT else text

    def levels(self, listing: Listing, batch: Batch) -> str:
        """Levels as the wire has them."""
        price, size = self.price, self.size
        return ",".join([f'["{price(listing, ticks)}","{size(listing, lots)}"]' for ticks, lots in batch])


def category_of(connection: Connection) -> str:
    return connection.path.rpartition("/")[2]


def trade_id(listing: Listing, number: int) -> str:
    """A derivative's trade id, which looks like a UUID."""
    return str(UUID(int=Random(f"{listing.key}/{number}").getrandbits(128), version=5))


def _changes(before: dict[int, int], after: dict[int, int]) -> list[tuple[int, int]]:
    """(ticks, lots) of each level that changed, 0 for one that left, in rising order."""
    changed = [level for level in after.items() if before.get(level[0]) != level[1]]
    changed.extend((ticks, 0) for ticks in before if ticks not in after)
    changed.sort()
    return changed
