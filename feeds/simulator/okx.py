"""OKX v5 on loopback: one public websocket for every kind of instrument, its subscriptions, limits and notices.

Facts: protocols.md 3.1, quirks included: each arg of a request is acknowledged by itself, and its data follow the
acknowledgements; a ping is bare text; a connection on which nothing was pushed or asked for 30 s is closed; requests are limited
by the hour; a notice goes a minute before the end. What the channels say is in `okx_feeds.py`, REST in `okx_rest.py`.
"""

import json
import re
import struct
import time
from collections import deque
from collections.abc import Iterable, Sequence
from math import exp, sin
from typing import Any, Final, TypeAlias

from aiohttp import web

from feeds.model import MS, SECOND, Ns
from feeds.simulator.kit import CLOSE, Connection, VenueServer
from feeds.simulator.listings import START_PRICES_USD, Listing
from feeds.simulator.market import Forced, Step, World
from feeds.simulator.okx_dialect import OkxDialect
from feeds.simulator.okx_feeds import (
    INDEX_QUOTES,
    OFFERS,
    TYPES,
    Batch,
    BookFeed,
    Feed,
    Fill,
    Generation,
    IndexFeed,
    LiquidationFeed,
    StatusFeed,
    plain,
)
from feeds.simulator.okx_rest import OkxRest

PATH: Final = "/ws/v5/public"
IDLE_NS: Final[Ns] = 30 * SECOND
NOTICE_NS: Final[Ns] = 60 * SECOND
OPERATIONS, HOUR_NS = 480, 3_600 * SECOND
ARGS_BYTES: Final = 64 << 10
CONNECTS_PER_S: Final = 3
RECENT_FORCED: Final = 40
NO_DATA, GOING_AWAY = 4004, 1001
WRONG, BAD, TOO_MANY, RENEWAL = "60018", "60012", "60014", "64008"
NOTICE: Final = "The connection will soon be closed for a service upgrade. Please reconnect."
STATUS: Final = "status"
CHANNELS: Final = (*OFFERS, "index-tickers", "liquidation-orders", STATUS)

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
Arg: TypeAlias = dict[str, str]


class _Client:
    """What the venue keeps of a connection."""

    __slots__ = ("args_bytes", "ends_ns", "operations", "pushed_ns")

    def __init__(self, now_ns: Ns) -> None:
        self.operations: deque[Ns] = deque()
        """When the requests of the last hour came."""
        self.args_bytes = 0
        self.pushed_ns = now_ns
        self.ends_ns: Ns = 0
        """When it is cut, as was announced; 0 where nothing was."""


class OkxServer(VenueServer):
    """All of OKX's public market data."""

    name = "OKX"
    dialect = OkxDialect()

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.by_key: dict[str, Listing] = {key: one for key, one in world.listings.items() if one.venue == self.name}
        self.listings: dict[str, Listing] = {listing.native: listing for listing in self.by_key.values()}
        self._published = {(one.base, one.quote): world.figures[key] for key, one in self.by_key.items()}
        self.fills: dict[str, list[Fill]] = {}
        """Of this step, by the listing's key."""
        self.last_fills: dict[str, Fill] = {}
        self.recent_forced: deque[Forced] = deque(maxlen=RECENT_FORCED)
        self.answers = OkxRest(self)
        self.handshake = self._admit
        self._trade_ids = {key: 10**9 + 1_000 * number for number, key in enumerate(self.by_key)}
        self._eras: dict[str, list[tuple[int, int]]] = {key: [(world.books[key].seq, 0)] for key in self.by_key}
        """From which state on the venue counts lower, and by how much, oldest first; each era begins below the one before."""
        self._feeds: dict[str, Feed] = {}
        self._status = StatusFeed(self, STATUS, {"channel": STATUS})
        self._clients: dict[Connection, _Client] = {}
        world.subscribe(self._remember)

    @property
    def names(self) -> tuple[str, ...]:
        return (f"{self.name}.public",)

    def websocket_paths(self) -> Iterable[str]:
        return [PATH]

    async def rest(self, request: web.Request) -> web.StreamResponse:
        return await self.answers.answer(request)

    async def opened(self, connection: Connection) -> None:
        self._clients[connection] = _Client(self.world.now_ns)

    def closed(self, connection: Connection) -> None:
        del self._clients[connection]
        for feed in self._feeds.values():
            feed.readers.pop(connection, None)

    # -- what clients ask for ---------------------------------------------------------------------------------------------

    async def received(self, connection: Connection, text: str) -> None:
        if text == "ping":
            await connection.send("pong")
            return
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        op = message.get("op") if isinstance(message, dict) else None
        number = message.get("id") if isinstance(message, dict) else None
        args = _args(message)
        if op not in ("subscribe", "unsubscribe") or args is None or not (number is None or _is_id(number)):
            await self._refuse(connection, None, BAD, f"Invalid request: {text[:200]}")
        elif not self._within_the_hour(connection):
            await self._refuse(connection, number, TOO_MANY, "Requests too frequent")
        elif op == "subscribe":
            await self._subscribe(connection, number, args)
        else:
            await self._leave(connection, number, args)

    async def _subscribe(self, connection: Connection, number: str | None, args: Sequence[Arg]) -> None:
        """Acknowledge or refuse arg by arg; then what the accepted ones begin with."""
        client = self._clients[connection]
        asked: dict[str, Feed] = {}
        for arg in args:
            topic = _topic(arg)
            feed = self._feed(topic, arg)
            size = len(json.dumps(arg, separators=(",", ":")))
            if feed is None:
                named = "".join(f",{key}:{value}" for key, value in arg.items() if key != "channel")
                text = f"Wrong URL or channel:{arg.get('channel', '')}{named} doesn't exist. "
                text += "Please use the correct URL, channel and parameters referring to API document."
                await self._refuse(connection, number, WRONG, text)
            elif client.args_bytes + size > ARGS_BYTES:
                await self._refuse(connection, number, BAD, "The total length of multiple channels cannot exceed 64 KB")
            else:
                client.args_bytes += size * (topic not in connection.topics)
                asked[topic] = feed
                connection.topics[topic] = feed
                await self._acknowledge(connection, "subscribe", number, arg)
        for topic, feed in asked.items():
            for text in feed.first():
                connection.publish(topic, text)
            feed.readers[connection] = None
        connection.flush()

    async def _leave(self, connection: Connection, number: str | None, args: Sequence[Arg]) -> None:
        for arg in args:
            feed = connection.topics.pop(_topic(arg), None)
            if isinstance(feed, Feed):
                del feed.readers[connection]
                self._clients[connection].args_bytes -= len(json.dumps(arg, separators=(",", ":")))
            await self._acknowledge(connection, "unsubscribe", number, arg)

    async def _acknowledge(self, connection: Connection, op: str, number: str | None, arg: Arg) -> None:
        await self._say(connection, number, event=op, arg=arg)

    async def _refuse(self, connection: Connection, number: str | None, code: str, text: str) -> None:
        await self._say(connection, number, event="error", code=code, msg=text)

    async def _say(self, connection: Connection, number: str | None, **what: object) -> None:
        told = {**({} if number is None else {"id": number}), **what, "connId": self._name_of(connection)}
        await connection.send(json.dumps(told, separators=(",", ":")))

    def _name_of(self, connection: Connection) -> str:
        return f"{self.port:04x}{connection.number & 0xFFFF:04x}"

    def _within_the_hour(self, connection: Connection) -> bool:
        """Count a request; whether the connection may still make it."""
        now_ns, operations = self.world.now_ns, self._clients[connection].operations
        while operations and now_ns - operations[0] >= HOUR_NS:
            operations.popleft()
        if len(operations) >= OPERATIONS:
            return False
        operations.append(now_ns)
        return True

    def _feed(self, topic: str, arg: Arg) -> Feed | None:
        """The feed of a topic; None where the venue has none."""
        found = self._feeds.get(topic)
        if found is None:
            found = self._made(topic, arg)
            if found is not None:
                feeds = {**self._feeds, topic: found}
                order = {name: rank for rank, name in enumerate(CHANNELS)}
                self._feeds = dict(sorted(feeds.items(), key=lambda one: order[one[0].partition(":")[0]]))
        return found

    def _made(self, topic: str, arg: Arg) -> Feed | None:
        """The order of an instrument's messages is fixed: a best quote comes before the book of the same step."""
        channel, what = arg.get("channel", ""), arg.get("instId", "")
        if arg.keys() == {"channel"} and channel == STATUS:
            return self._status
        if arg.keys() == {"channel", "instType"} and channel == "liquidation-orders":
            kind = arg["instType"]
            return LiquidationFeed(self, topic, arg, kind) if kind in (TYPES["perp"], TYPES["future"]) else None
        if arg.keys() != {"channel", "instId"}:
            return None
        if channel == "index-tickers":
            base, _, quote = what.partition("-")
            return IndexFeed(self, topic, arg, base, quote) if base in self._indexed and quote in INDEX_QUOTES else None
        listing, offer = self.listings.get(what), OFFERS.get(channel)
        if listing is None or offer is None or listing.kind not in offer.kinds:
            return None
        return offer.make(self, topic, arg, listing)

    @property
    def _indexed(self) -> Iterable[str]:
        """Bitcoin and ether have an index whatever is listed."""
        return {*self.world.assets, "BTC", "ETH"}

    def _admit(self, _request: web.Request) -> web.Response | None:
        """So many handshakes a second."""
        now = time.monotonic()
        recent = sum(now - at < 1.0 for at in list(self.connects)[-CONNECTS_PER_S - 1 :])
        return web.Response(status=429) if recent > CONNECTS_PER_S else None

    # -- what the market does ---------------------------------------------------------------------------------------------

    def on_step(self, step: Step) -> None:
        now_ns, clients = step.now_ns, self._clients
        for feed in self._feeds.values():
            if feed.readers and feed.due(step):
                for text in feed.next(now_ns):
                    for connection in feed.readers:
                        connection.publish(feed.topic, text)
                        clients[connection].pushed_ns = now_ns
        for connection, client in clients.items():
            if 0 < client.ends_ns <= now_ns:
                _end(connection, GOING_AWAY, "")
            elif now_ns - max(client.pushed_ns, connection.heard_ns) > IDLE_NS:
                _end(connection, NO_DATA, "No data received in 30s.")

    def _remember(self, step: Step) -> None:
        """Gather a step's trades by price and side, and keep what new subscribers are told."""
        self.fills = {}
        taken: dict[tuple[str, int, bool], tuple[int, int]] = {}
        for made in step.prints:
            if made.key in self.by_key:
                lots, count = taken.get((made.key, made.ticks, made.buy), (0, 0))
                taken[made.key, made.ticks, made.buy] = lots + made.lots, count + orders(made.lots)
        for (key, ticks, buy), (lots, count) in taken.items():
            self._trade_ids[key] = last_id = self._trade_ids[key] + count
            number = self.number(self.by_key[key], self.world.books[key].seq)
            fill = Fill(ticks, lots, buy, count, last_id, step.now_ns, number)
            self.fills.setdefault(key, []).append(fill)
            self.last_fills[key] = fill
        self.recent_forced.extend(made for made in step.forced if made.key in self.by_key)

    def index(self, asset: str, quote: str) -> float:
        """The index of a pair: as published where something is listed on it, else as it is now.

        Of an asset that the market does not have it is a price that never rests.
        """
        world = self.world
        published = self._published.get((asset, quote))
        if published is not None:
            return published.index
        if asset in world.latent_usd:
            return world.index(self.name, asset, quote)
        wave = sin(world.now_ns // SECOND / 37) * 5e-4
        return START_PRICES_USD[asset] * exp(wave) / world.usd_per[quote]

    # -- what an operator does --------------------------------------------------------------------------------------------

    def announce_shutdown(self) -> None:
        """An upgrade of the service: every connection is told, and cut a minute later."""
        for connection, client in self._clients.items():
            told = {"event": "notice", "code": RENEWAL, "msg": NOTICE, "connId": self._name_of(connection)}
            client.ends_ns = self.world.now_ns + NOTICE_NS
            connection.publish("notice", json.dumps(told, separators=(",", ":")))
            connection.flush()

    def maintain(self, state: str, begin_ns: Ns, end_ns: Ns, title: str = "Trading system upgrade") -> None:
        """Say on the status channel that maintenance is `scheduled`, `ongoing`, `pre_open`, `completed` or `canceled`."""
        self._status.works = {
            "title": title,
            "state": state,
            "begin": str(begin_ns // MS),
            "end": str(end_ns // MS),
            "href": "",
            "preOpenBegin": "",
            "scheDesc": "",
            "serviceType": "0",
            "system": "unified",
            "maintType": "1",
            "env": "1",
            "ts": str(self.now_ms()),
        }
        for connection in self._status.readers:
            connection.publish(STATUS, self._status.told())
            connection.flush()

    def generation(self, listing: Listing) -> Generation:
        """An instrument's book as who reads it knows it; as it is now, where nobody does."""
        feed = self._feeds.get(f"books:{listing.native}") or self._made("", {"channel": "books", "instId": listing.native})
        assert isinstance(feed, BookFeed)
        return feed.generation()

    def restart(self, market: str, native: str) -> int:
        """Counting of an instrument's books starts over from a smaller number, in mid-stream. Tells to how many readers."""
        listing = self.listings[native]
        eras, seq = self._eras[listing.key], self.world.books[listing.key].seq
        eras.append((seq, seq - self.number(listing, seq) // 2))
        feed = self._feeds.get(f"books:{native}")
        if not isinstance(feed, BookFeed) or not feed.readers:
            return 0
        text = feed.restart(self.world.now_ns)
        for connection in feed.readers:
            connection.publish(feed.topic, text)
            connection.flush()
        return len(feed.readers)

    # -- how it is written ------------------------------------------------------------------------------------------------

    def number(self, listing: Listing, seq: int) -> int:
        """What the venue calls the state `seq` of a book now."""
        return seq - self._eras[listing.key][-1][1]

    def state(self, key: str, number: int) -> int:
        """The state of a book that the venue called so, ever: what `World.truth` takes."""
        offset = next((offset for seq, offset in self._eras[key] if number >= seq - offset), 0)
        return number + offset

    def price(self, listing: Listing, ticks: int) -> str:
        return plain(listing.price_text(ticks))

    def size(self, listing: Listing, lots: int) -> str:
        return plain(listing.size_text(lots))

    def levels(self, listing: Listing, batch: Batch) -> str:
        """Levels as the wire has them: price, size, a constant, orders."""
        price, size = self.price, self.size
        return ",".join([f'["{price(listing, ticks)}","{size(listing, lots)}","0","{orders(lots)}"]' for ticks, lots in batch])


def orders(lots: int) -> int:
    """How many orders stand in a level of so many lots."""
    return 1 + lots % 9 if lots else 0


def _end(connection: Connection, code: int, reason: str) -> None:
    connection.send_frame(struct.pack("!H", code) + reason.encode(), CLOSE)
    connection.drop()


def _is_id(number: object) -> bool:
    return isinstance(number, str) and _ID.fullmatch(number) is not None


def _args(message: Any) -> list[Arg] | None:
    """The args of a request; None where there are none."""
    args = message.get("args") if isinstance(message, dict) else None
    if not isinstance(args, list) or not args or not all(isinstance(arg, dict) for arg in args):
        return None
    return args if all(isinstance(value, str) for arg in args for value in arg.values()) else None


def _topic(arg: Arg) -> str:
    """As `books:BTC-USDT`."""
    return ":".join([arg.get("channel", ""), *(value for key, value in arg.items() if key != "channel")])
