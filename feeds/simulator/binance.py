"""Binance on loopback: spot, USD-M and COIN-M, each a server of its own, websockets and REST on one port.

Facts: protocols.md 0.3, 0.5, 0.6 and 1, quirks included: a misspelled stream and one on the wrong USD-M route are acknowledged
and stay silent; depth updates chain by `U` on spot and by `pu` on futures. REST is in `binance_rest.py`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from aiohttp import web
from msgspec import Struct

from feeds.model import MS, SECOND, Ns
from feeds.simulator.binance_dialect import BinanceDialect
from feeds.simulator.binance_rest import BinanceRest
from feeds.simulator.kit import PING, Connection, VenueServer, WeightPool
from feeds.simulator.listings import Listing
from feeds.simulator.maker import Print
from feeds.simulator.market import Forced, Step, World
from feeds.simulator.truebook import Change

Market: TypeAlias = Literal["spot", "usdm", "coinm"]
STREAMS_A_CONNECTION = 1_024
ROUTES = ("public", "market")
MARKET_ROUTE = frozenset({"aggTrade", "markPrice", "ticker", "forceOrder"})
"""USD-M streams that only `/market` serves; every other one only `/public` and the unrouted path."""


class Rules(Struct, frozen=True):
    """How the markets differ on the wire."""

    st: int
    """1 USD-M, 2 COIN-M, 0 spot: fields `ps` and `st` are only on futures."""
    controls_per_s: int
    ping_ns: Ns
    pong_within_ns: Ns
    depth_steps: int
    """Steps between two depth updates where the stream name gives none."""
    ticker_steps: int
    weight_a_minute: int


RULES: Mapping[Market, Rules] = {
    "spot": Rules(0, 5, 20 * SECOND, 60 * SECOND, 50, 50, 6_000),
    "usdm": Rules(1, 10, 180 * SECOND, 600 * SECOND, 12, 100, 2_400),
    "coinm": Rules(2, 10, 180 * SECOND, 600 * SECOND, 12, 25, 2_400),
}

_STREAM = re.compile(r"([a-z0-9_]+)@(depth|bookTicker|trade|aggTrade|markPrice|ticker|forceOrder)(5|10|20)?(?:@(\d+m?s))?")
_PERIODS: Mapping[str, int] = {"100ms": 5, "250ms": 12, "500ms": 25, "1000ms": 50, "1s": 50}
"""Steps in an interval suffix; 0ms and anything else unknown means every step."""


class _Topic:
    """One stream that somebody listens to."""

    __slots__ = ("channel", "depth", "every", "first", "last_seq", "listing", "name", "phase", "trades")

    def __init__(self, name: str, channel: str, listing: Listing, every: int, depth: int, seq: int) -> None:
        self.name = name
        self.channel = channel
        self.listing = listing
        self.every = every
        self.phase = sum(name.encode()) % every
        self.depth = depth
        self.last_seq = seq
        self.first = True
        self.trades: list[Print] = []


class BinanceServer(VenueServer):
    """One of Binance's markets."""

    def __init__(self, world: World, market: Market, pool: WeightPool | None = None) -> None:
        """`pool`: shared by USD-M and COIN-M."""
        super().__init__(world)
        self.market = market
        self.rules = RULES[market]
        self.name = f"BINANCE.{market}"
        self.dialect = BinanceDialect(market)
        self.controls_per_s = self.rules.controls_per_s
        self.pool = pool or WeightPool(self.rules.weight_a_minute)
        self.listings = {
            one.native.lower(): one for one in world.listings.values() if one.venue == "BINANCE" and one.market == market
        }
        self.answers = BinanceRest(self)
        self._topics: dict[str, _Topic] = {}
        self._readers: dict[str, list[Connection]] = {}
        self._forced: dict[str, Forced] = {}
        self._compose: Mapping[str, Callable[[_Topic, Step], Iterable[str]]] = {
            "depth": self._depth,
            "partial": self._partial,
            "bookTicker": self._touch,
            "trade": self._trades,
            "aggTrade": self._aggregated,
            "markPrice": self._mark_price,
            "ticker": self._ticker,
            "forceOrder": self._force_order,
        }

    def websocket_paths(self) -> Iterable[str]:
        routes = ("", *(f"/{route}" for route in ROUTES)) if self.market == "usdm" else ("",)
        for route in routes:
            yield f"{route}/stream"
            yield f"{route}/ws"
            yield f"{route}/ws/{{streams:.+}}"

    async def rest(self, request: web.Request) -> web.StreamResponse:
        return await self.answers.answer(request)

    async def opened(self, connection: Connection) -> None:
        asked = connection.request.query.get("streams") or connection.request.match_info.get("streams", "")
        for name in filter(None, asked.split("/")):
            self._subscribe(connection, name)

    def closed(self, connection: Connection) -> None:
        for name in list(connection.topics):
            self._unsubscribe_topic(connection, name)

    async def received(self, connection: Connection, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            await connection.send('{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}')
            return
        problem = _refusal(message)
        if problem:
            await connection.send(json.dumps({"code": 2, "msg": f"Invalid request: {problem}"}, separators=(",", ":")))
            return
        params: list[str] = message.get("params", [])
        result: object = None
        match message["method"]:
            case "SUBSCRIBE":
                if len(connection.topics) + len(params) > STREAMS_A_CONNECTION:
                    await connection.close(1008, "Too many streams")
                    return
                for name in params:
                    self._subscribe(connection, name)
            case "UNSUBSCRIBE":
                for name in params:
                    self._unsubscribe_topic(connection, name)
            case _:
                result = list(connection.topics)
        await connection.send(json.dumps({"result": result, "id": message.get("id")}, separators=(",", ":")))

    def on_step(self, step: Step) -> None:
        for made in step.prints:
            self._traded(made)
        for each in step.forced:
            self._forced[each.key] = each
        for name, topic in self._topics.items():
            if (step.number + topic.phase) % topic.every:
                continue
            for text in self._compose[topic.channel](topic, step):
                for connection in self._readers[name]:
                    connection.publish(name, text if _combined(connection) else _bare(text))
        if step.whole_second:
            self._forced.clear()
            self._keep_alive(step.now_ns)

    def announce_shutdown(self) -> None:
        """The notice spot sends before it closes a connection."""
        text = f'{{"stream":"!serverShutdown","data":{{"e":"serverShutdown","E":{self.now_ms()}}}}}'
        for connection in self.connections:
            connection.publish("!serverShutdown", text if _combined(connection) else _bare(text))
            connection.flush()

    async def cut(self, code: int = 1001, reason: str = "") -> None:
        """The end of 24 hours: close every connection."""
        for connection in list(self.connections):
            await connection.close(code, reason)

    def _subscribe(self, connection: Connection, name: str) -> None:
        if name in connection.topics:
            return
        connection.topics[name] = None
        topic = self._topics.get(name) or self._topic(name)
        if topic is None or not self._serves(connection.path, topic.channel):
            return
        self._topics[name] = topic
        self._readers.setdefault(name, []).append(connection)

    def _unsubscribe_topic(self, connection: Connection, name: str) -> None:
        connection.topics.pop(name, None)
        readers = self._readers.get(name, [])
        if connection in readers:
            readers.remove(connection)
        if not readers:
            self._readers.pop(name, None)
            self._topics.pop(name, None)

    def _topic(self, name: str) -> _Topic | None:
        """What a stream name means here; None for one that is misspelled or not carried."""
        match = _STREAM.fullmatch(name)
        listing = self.listings.get(match[1]) if match is not None else None
        if match is None or listing is None:
            return None
        channel, depth, period = match[2], int(match[3] or 0), match[4]
        if (depth and channel != "depth") or (self.market == "spot" and channel in ("markPrice", "forceOrder")):
            return None
        every = 1
        if channel == "depth":
            every = _PERIODS.get(period, 1) if period else self.rules.depth_steps
            channel = "partial" if depth else "depth"
        elif channel == "ticker":
            every = self.rules.ticker_steps
        elif channel == "aggTrade" and self.market != "spot":
            every = 5
        return _Topic(name, channel, listing, every, depth, self.world.books[listing.key].seq)

    def _serves(self, path: str, channel: str) -> bool:
        if self.market != "usdm":
            return True
        return path.startswith("/market/") == (channel in MARKET_ROUTE)

    def _keep_alive(self, now_ns: Ns) -> None:
        for connection in self.connections:
            if connection.unanswered_ns and now_ns - connection.unanswered_ns > self.rules.pong_within_ns:
                connection.drop()
            elif now_ns - connection.pinged_ns >= self.rules.ping_ns:
                connection.pinged_ns = now_ns
                connection.unanswered_ns = connection.unanswered_ns or now_ns
                connection.send_frame(str(self.now_ms(now_ns)).encode(), PING)

    def _traded(self, made: Print) -> None:
        listing = self.world.listings[made.key]
        if listing.venue != "BINANCE" or listing.market != self.market:
            return
        for name in (f"{listing.native.lower()}@trade", f"{listing.native.lower()}@aggTrade"):
            topic = self._topics.get(name)
            if topic is not None:
                topic.trades.append(made)

    def _depth(self, topic: _Topic, step: Step) -> Iterable[str]:
        book = self.world.books[topic.listing.key]
        previous = topic.last_seq
        change = book.changes_since(previous)
        if change is None:
            return
        topic.last_seq = change.last
        yield self._depth_frame(topic, step.now_ns, change, previous)

    def _depth_frame(self, topic: _Topic, now_ns: Ns, change: Change, previous: int) -> str:
        listing, now_ms = topic.listing, self.now_ms(now_ns)
        bids = rows(listing, sorted(change.bids.items()))
        asks = rows(listing, sorted(change.asks.items()))
        if not self.rules.st:
            return (
                f'{{"stream":"{topic.name}","data":{{"e":"depthUpdate","E":{now_ms},"s":"{listing.native}","U":{change.first},'
                f'"u":{change.last},"b":[{bids}],"a":[{asks}]}}}}'
            )
        return (
            f'{{"stream":"{topic.name}","data":{{"e":"depthUpdate","E":{now_ms},"T":{now_ms - 8},"s":"{listing.native}",'
            f'"ps":"{pair_of(listing)}","U":{change.first},"u":{change.last},"pu":{previous},"b":[{bids}],"a":[{asks}],'
            f'"st":{self.rules.st}}}}}'
        )

    def _partial(self, topic: _Topic, step: Step) -> Iterable[str]:
        listing = topic.listing
        book = self.world.books[listing.key]
        bids = [(t, book.bids[t]) for t in book.bid_ticks[: -topic.depth - 1 : -1]]
        asks = [(t, book.asks[t]) for t in book.ask_ticks[: topic.depth]]
        if self.rules.st:
            change = Change(book.seq, book.seq, dict(bids), dict(asks))
            yield self._depth_frame(topic, step.now_ns, change, topic.last_seq)
            topic.last_seq = book.seq
        else:
            yield (
                f'{{"stream":"{topic.name}","data":{{"lastUpdateId":{book.seq},"bids":[{rows(listing, bids)}],'
                f'"asks":[{rows(listing, asks)}]}}}}'
            )

    def _touch(self, topic: _Topic, step: Step) -> Iterable[str]:
        listing = topic.listing
        book = self.world.books[listing.key]
        if not (book.touched or topic.first):
            return
        topic.first = False
        bid, bid_lots, ask, ask_lots = book.touch
        price, size = listing.price_text, listing.size_text
        quote = f'"b":"{price(bid)}","B":"{size(bid_lots)}","a":"{price(ask)}","A":"{size(ask_lots)}"'
        if not self.rules.st:
            yield f'{{"stream":"{topic.name}","data":{{"u":{book.seq},"s":"{listing.native}",{quote}}}}}'
            return
        now_ms = self.now_ms(step.now_ns)
        yield (
            f'{{"stream":"{topic.name}","data":{{"e":"bookTicker","u":{book.seq},"s":"{listing.native}","ps":"{pair_of(listing)}",'
            f'{quote},"T":{now_ms - 3},"E":{now_ms},"st":{self.rules.st}}}}}'
        )

    def _trades(self, topic: _Topic, step: Step) -> Iterable[str]:
        listing = topic.listing
        for made in topic.trades:
            head = f'{{"stream":"{topic.name}","data":{{"e":"trade","E":{self.now_ms(step.now_ns)}'
            price, size = listing.price_text(made.ticks), listing.size_text(made.lots)
            at_ms, maker = self.now_ms(made.now_ns), _json(not made.buy)
            if self.rules.st:
                yield (
                    f'{head},"T":{at_ms},"s":"{listing.native}","t":{made.number},"p":"{price}","q":"{size}","X":"MARKET",'
                    f'"m":{maker}}}}}'
                )
            else:
                yield (
                    f'{head},"s":"{listing.native}","t":{made.number},"p":"{price}","q":"{size}","T":{at_ms},"m":{maker},"M":true}}}}'
                )
        topic.trades = []

    def _aggregated(self, topic: _Topic, step: Step) -> Iterable[str]:
        """Fills of one taker at one price are one event."""
        listing, now_ms = topic.listing, self.now_ms(step.now_ns)
        groups: list[list[Print]] = []
        for made in topic.trades:
            last = groups[-1][-1] if groups else None
            if last is not None and (last.ticks, last.buy) == (made.ticks, made.buy):
                groups[-1].append(made)
            else:
                groups.append([made])
        topic.trades = []
        for group in groups:
            first, last = group[0], group[-1]
            price, size = listing.price_text(first.ticks), listing.size_text(sum(made.lots for made in group))
            ids = f'"f":{first.number},"l":{last.number},"T":{self.now_ms(first.now_ns)},"m":{_json(not first.buy)}'
            head = f'{{"stream":"{topic.name}","data":{{"e":"aggTrade","E":{now_ms}'
            aggregate = first.number // 2
            if not self.rules.st:
                yield f'{head},"s":"{listing.native}","a":{aggregate},"p":"{price}","q":"{size}",{ids},"M":true}}}}'
            elif self.market == "usdm":
                yield (f'{head},"a":{aggregate},"s":"{listing.native}","p":"{price}","q":"{size}","nq":"{size}",{ids},"st":1}}}}')
            else:
                yield f'{head},"a":{aggregate},"s":"{listing.native}","p":"{price}","q":"{size}",{ids},"st":2}}}}'

    def _mark_price(self, topic: _Topic, step: Step) -> Iterable[str]:
        seconds = step.now_ns // SECOND
        if not step.whole_second or (not topic.name.endswith("@1s") and seconds % 3):
            return
        listing = topic.listing
        figures = self.world.figures[listing.key]
        perpetual = listing.kind == "perp"
        rate = f"{figures.rate:.8f}" if perpetual else ""
        next_ms = figures.next_funding_ns // MS if perpetual else 0
        now_ms = self.now_ms(seconds * SECOND)
        yield (
            f'{{"stream":"{topic.name}","data":{{"e":"markPriceUpdate","E":{now_ms},"s":"{listing.native}",'
            f'"p":"{figures.mark:.8f}","ap":"{figures.mark_average:.8f}","P":"{figures.mark * 1.0008:.8f}",'
            f'"i":"{figures.index:.8f}","r":"{rate}","T":{next_ms},"st":{self.rules.st}}}}}'
        )

    def _ticker(self, topic: _Topic, step: Step) -> Iterable[str]:
        listing = topic.listing
        day = self.answers.day(listing)
        now_ms = self.now_ms(step.now_ns)
        spot_only = ""
        if not self.rules.st:
            spot_only = (
                f'"x":"{day["prevClosePrice"]}","b":"{day["bidPrice"]}","B":"{day["bidQty"]}","a":"{day["askPrice"]}",'
                f'"A":"{day["askQty"]}",'
            )
        quote = day["baseVolume"] if self.market == "coinm" else day["quoteVolume"]
        tail = f',"ps":"{pair_of(listing)}","st":{self.rules.st}' if self.rules.st else ""
        yield (
            f'{{"stream":"{topic.name}","data":{{"e":"24hrTicker","E":{now_ms},"s":"{listing.native}","p":"{day["priceChange"]}",'
            f'"P":"{day["priceChangePercent"]}","w":"{day["weightedAvgPrice"]}",{spot_only}"c":"{day["lastPrice"]}",'
            f'"Q":"{day["lastQty"]}","o":"{day["openPrice"]}","h":"{day["highPrice"]}","l":"{day["lowPrice"]}",'
            f'"v":"{day["volume"]}","q":"{quote}","O":{day["openTime"]},"C":{day["closeTime"]},"F":{day["firstId"]},'
            f'"L":{day["lastId"]},"n":{day["count"]}{tail}}}}}'
        )

    def _force_order(self, topic: _Topic, step: Step) -> Iterable[str]:
        """Only the latest of a second, told when the second ends."""
        made = self._forced.get(topic.listing.key) if step.whole_second else None
        if made is None:
            return
        listing = topic.listing
        size = listing.size_text(made.lots)
        side = "SELL" if made.position_long else "BUY"
        order = (
            f'"S":"{side}","o":"LIMIT","f":"IOC","q":"{size}","p":"{listing.price_text(made.bankrupt_ticks)}",'
            f'"ap":"{listing.price_text(made.ticks)}","X":"FILLED","l":"{size}","z":"{size}","T":{self.now_ms(made.now_ns)}'
        )
        pair = f'"ps":"{pair_of(listing)}"'
        names = f'"s":"{listing.native}",{order},{pair}' if self.market == "usdm" else f'"s":"{listing.native}",{pair},{order}'
        yield (
            f'{{"stream":"{topic.name}","data":{{"e":"forceOrder","E":{self.now_ms(step.now_ns)},"o":{{{names},'
            f'"st":{self.rules.st}}}}}}}'
        )


def pair_of(listing: Listing) -> str:
    """What futures of one underlying share: BTCUSD."""
    return f"{listing.base}{listing.quote}"


def rows(listing: Listing, levels: Iterable[tuple[int, int]]) -> str:
    """Levels as the wire has them."""
    price, size = listing.price_text, listing.size_text
    return ",".join([f'["{price(ticks)}","{size(lots)}"]' for ticks, lots in levels])


def _refusal(message: Any) -> str:
    """Why a control message is not understood; empty where it is."""
    if not isinstance(message, dict):
        return "unknown variant"
    method = message.get("method")
    if method not in ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS"):
        return f"unknown variant {method}, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`"
    if not isinstance(message.get("id"), int | str | None) or isinstance(message.get("id"), bool):
        return "request ID must be an unsigned integer, a string or null"
    params = message.get("params", [])
    if method != "LIST_SUBSCRIPTIONS" and not (isinstance(params, list) and all(isinstance(name, str) for name in params)):
        return "params must be a list of strings"
    return ""


def _combined(connection: Connection) -> bool:
    return connection.path.endswith("/stream")


def _bare(text: str) -> str:
    """What is inside a combined frame."""
    return text[text.index('"data":') + 7 : -1]


def _json(flag: bool) -> str:
    return "true" if flag else "false"
