"""BitMEX on loopback: perpetuals and dated futures on one socket, as tables of rows.

The tables are in `bitmex_feeds.py`, REST and instruments in `bitmex_rest.py`. Facts: protocols.md 0.3 to 0.6 and 5, frames
recorded in 2021. Quirks included: each topic is acknowledged by itself and first, its `partial` comes later, and changes may come
before it. Texts of refusals that no recording has are ours. Not simulated: tables of all symbols at once, `orderBook10`, bins,
chat, announcements, and topics of indices.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from aiohttp import WSCloseCode, web

from feeds.model import SECOND, Ns
from feeds.simulator.bitmex_dialect import BitmexDialect
from feeds.simulator.bitmex_feeds import (
    ACTIONS,
    DEPTHS,
    Action,
    BookFeed,
    Feed,
    FundingFeed,
    InstrumentFeed,
    LiquidationFeed,
    QuoteFeed,
    Rows,
    TradeFeed,
    action_of,
)
from feeds.simulator.bitmex_rest import BitmexRest
from feeds.simulator.bitmex_tables import Era, instant
from feeds.simulator.kit import Connection, VenueServer
from feeds.simulator.listings import Listing
from feeds.simulator.maker import Print
from feeds.simulator.market import Step, World
from feeds.simulator.truebook import Levels, Touch, TrueBook

PARTIAL_STEPS: Final = 3
"""Between an acknowledgement and its `partial`."""
CONNECTS_A_MINUTE: Final = 40
Json: TypeAlias = dict[str, Any]


FEEDS: Mapping[str, Callable[["BitmexServer", Listing, str], Feed]] = {
    **dict.fromkeys(DEPTHS, BookFeed),
    "quote": QuoteFeed,
    "trade": TradeFeed,
    "instrument": InstrumentFeed,
    "funding": FundingFeed,
    "liquidation": LiquidationFeed,
}


class BitmexServer(VenueServer):
    """All of BitMEX. `era` is how its books are written."""

    name = "BITMEX"
    dialect = BitmexDialect()

    def __init__(self, world: World, *, era: Era = Era.ARBITRARY) -> None:
        super().__init__(world)
        self.era = era
        self.listings: dict[str, Listing] = {
            listing.native: listing for listing in world.listings.values() if listing.venue == self.name
        }
        self.rows = {listing.key: Rows(listing, era) for listing in self.listings.values()}
        self.answers = BitmexRest(self)
        self.last_trades: dict[str, Print] = {}
        """By listing key; none before the first."""
        self._feeds: dict[str, Feed] = {}
        self._begun: list[tuple[int, Connection, Feed]] = []
        """From which step on somebody gets a `partial`."""
        self._opened: deque[Ns] = deque()
        world.subscribe(lambda step: self.last_trades.update((made.key, made) for made in step.prints))

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.name}.public",)

    def websocket_paths(self) -> Iterable[str]:
        return ["/realtime"]

    async def rest(self, request: web.Request) -> web.StreamResponse:
        return await self.answers.answer(request)

    async def opened(self, connection: Connection) -> None:
        now_ns, opened = self.world.now_ns, self._opened
        opened.append(now_ns)
        while opened[0] <= now_ns - 60 * SECOND:
            opened.popleft()
        left = CONNECTS_A_MINUTE - len(opened)
        if left < 0:
            wait_s = 60 - (now_ns - opened[0]) // SECOND
            error = f"Rate limit exceeded, retry in {wait_s} seconds."
            await self._say(connection, {"status": 429, "error": error, "meta": {"retryAfter": wait_s}, "request": {}})
            await connection.close(WSCloseCode.POLICY_VIOLATION, "Rate limit exceeded")
            return
        now = instant(self.now_ms())
        welcome = {"info": "Welcome to the BitMEX Realtime API.", "version": "2.0.0", "timestamp": now}
        docs = "https://www.bitmex.com/app/wsAPI"
        await self._say(connection, welcome | {"docs": docs, "limit": {"remaining": left}})
        asked = connection.request.query.get("subscribe", "")
        if asked:
            await self._asked(connection, {"op": "subscribe", "args": asked.split(",")})

    async def received(self, connection: Connection, text: str) -> None:
        if text == "ping":
            await connection.send("pong")
            return
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            await self._refuse(connection, "The message is not JSON.", {})
            return
        if not isinstance(message, dict):
            await self._refuse(connection, "The message is no object.", {})
            return
        await self._asked(connection, message)

    async def _asked(self, connection: Connection, message: Json) -> None:
        op, args = message.get("op"), message.get("args")
        if isinstance(args, str):
            args = [args]
        if op not in ("subscribe", "unsubscribe"):
            await self._refuse(connection, f"Unknown operation: {str(op)[:40]}", message)
        elif not isinstance(args, list) or not args or not all(isinstance(arg, str) for arg in args):
            await self._refuse(connection, "The arguments are no list of topics.", message)
        elif op == "unsubscribe":
            for topic in args:
                known = connection.topics.pop(topic, None) is not None
                await self._answer(connection, op, topic, "" if known else "You are not subscribed to this topic", message)
        else:
            await self._subscribe(connection, args, message)

    async def _subscribe(self, connection: Connection, topics: Sequence[str], message: Json) -> None:
        """A topic that there is not fails the whole request; one that is subscribed to already fails alone."""
        feeds: dict[str, Feed] = {}
        for topic in topics:
            feed = self._feed(topic)
            if isinstance(feed, str):
                await self._refuse(connection, feed, message)
                return
            feeds[topic] = feed
        for topic, feed in feeds.items():
            known = topic in connection.topics
            await self._answer(
                connection, "subscribe", topic, "You are already subscribed to this topic" if known else "", message
            )
            if not known:
                feed.begin()
                connection.topics[topic] = feed
                self._begun.append((self.world.steps + PARTIAL_STEPS, connection, feed))

    async def _answer(self, connection: Connection, op: str, topic: str, problem: str, message: Json) -> None:
        if problem:
            await self._refuse(connection, f"{problem}: {topic}", message)
        else:
            await self._say(connection, {"success": True, op: topic, "request": message})

    async def _refuse(self, connection: Connection, problem: str, message: Json) -> None:
        await self._say(connection, {"status": 400, "error": problem, "meta": {}, "request": message})

    async def _say(self, connection: Connection, message: Json) -> None:
        await connection.send(json.dumps(message, separators=(",", ":")))

    def _feed(self, topic: str) -> Feed | str:
        """The feed of a topic, or why there is none."""
        found = self._feeds.get(topic)
        if found is not None:
            return found
        table, _, native = topic.partition(":")
        if table not in FEEDS:
            return f"Unknown table: {table[:40]}"
        listing = self.listings.get(native)
        if listing is None:
            return "Unknown or expired symbol."
        made = self._feeds[topic] = FEEDS[table](self, listing, table)
        return made

    def on_step(self, step: Step) -> None:
        readers: dict[Feed, list[Connection]] = {}
        for connection in self.connections:
            for feed in connection.topics.values():
                if isinstance(feed, Feed):
                    readers.setdefault(feed, []).append(connection)
        for feed, connections in readers.items():
            for text in feed.told(step):
                for connection in connections:
                    connection.publish(feed.topic, text)
        if self._begun and self._begun[0][0] <= step.number:
            self._begin(step.number)

    def _begin(self, number_: int) -> None:
        due = [each for each in self._begun if each[0] <= number_]
        self._begun = self._begun[len(due) :]
        for _, connection, feed in due:
            if connection.alive and connection.topics.get(feed.topic) is feed:
                connection.publish(feed.topic, feed.partial())

    def truth(self, key: str, number: int, depth: int | None = None) -> tuple[Levels, Levels]:
        """What a reader of `orderBookL2` has after the frame of that ms: the state of a step, less what later frames tell."""
        book = self.world.books[key]
        for later in range(len(ACTIONS)):
            try:
                seq = book.state_at(number + later)
            except KeyError:
                continue
            untold = self._last_frames(book, seq, later)
            bids, asks = book.truth(seq, None if depth is None else depth + len(untold))
            return _without(bids, untold, False)[:depth], _without(asks, untold, True)[:depth]
        raise KeyError(f"{key} has no state of {number} ms")

    def truth_touch(self, key: str, number: int) -> Touch:
        try:
            return super().truth_touch(key, number)
        except KeyError:  # the time of no step: that of a frame which is not its step's last
            pass
        (bid,), (ask,) = self.truth(key, number, 1)
        return *bid, *ask

    def _last_frames(self, book: TrueBook, seq: int, count: int) -> list[tuple[float, bool, float]]:
        """Price, whether it is an ask, and size before, of what the last frames of a state's tell."""
        if not count:
            return []
        found: dict[Action, list[tuple[float, bool, float]]] = {}
        for ticks, ask, before, after in book.changes_of(seq):
            found.setdefault(action_of(before, after), []).append((book.price(ticks), ask, book.size(before)))
        if len(found) <= count:
            raise KeyError(f"{book.listing.key} told its state {seq} in {len(found)} frames")
        told_last = [action for action in ACTIONS if action in found][-count:]
        return [change for action in told_last for change in found[action]]

    def restart(self, market: str, native: str) -> int:
        """An instrument's books begin anew, in mid-stream: a `partial` to each of their readers. Tells how many were sent."""
        sent = 0
        for table in DEPTHS:
            feed = self._feeds.get(f"{table}:{native}")
            for connection in self.connections:
                if feed is not None and connection.topics.get(feed.topic) is feed:
                    connection.publish(feed.topic, feed.partial())
                    connection.flush()
                    sent += 1
        return sent


def _without(levels: Sequence[tuple[float, float]], untold: Iterable[tuple[float, bool, float]], ask: bool) -> Levels:
    """A side as it was before some of its levels came or changed."""
    before = {price: size for price, of_ask, size in untold if of_ask is ask}
    return [level for price, size in levels if (level := (price, before.get(price, size)))[1]]
