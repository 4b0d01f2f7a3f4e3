"""The demo exchange's Binance, on real sockets: frames as the venue sends them, books that end as the truth, quirks and hooks.

Time is the test's: the exchange stands at a start and is moved on step by step while clients read.
"""

import asyncio
import gzip
import json
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.request import urlopen

import aiohttp
import pytest
from aiohttp import web

from feeds.clock import NEVER
from feeds.health import HealthBoard
from feeds.model import SECOND, BookState, Channel, Instrument, Ns, Stream
from feeds.orderbook import OrderBook
from feeds.simulator import run
from feeds.simulator.kit import BINARY, Connection, framed
from feeds.simulator.market import STEP_NS
from feeds.simulator.run import Exchange
from feeds.venue import Action, Fetch, NoListener, Send
from feeds.venues.binance import Binance
from tests.recordings import recording

Json: TypeAlias = dict[str, Any]
START_NS: Ns = 1_795_246_003 * SECOND
WITHIN_S = 5.0
READ_ROUNDS = 20
"""Turns of the loop in which what was sent over loopback has been read."""
REST = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}
NATIVE = {"spot": "BTCUSDT", "usdm": "BTCUSDT", "coinm": "BTCUSD_PERP"}
MARKETS = tuple(REST)


@asynccontextmanager
async def exchange(seed: int = 7, assets: Sequence[str] = ("BTC",)) -> AsyncIterator[Exchange]:
    running = await run.start(seed, assets=assets, start_ns=START_NS)
    try:
        yield running
    finally:
        await running.stop()


async def pass_time(running: Exchange, seconds: float) -> None:
    """Move the market on, letting clients read."""
    for count in range(round(seconds * SECOND / STEP_NS)):
        running.world.advance(running.world.now_ns + STEP_NS)
        if count % 5 == 0:
            await asyncio.sleep(0)
    for _ in range(READ_ROUNDS):
        await asyncio.sleep(0)


async def until(true: Callable[[], object]) -> None:
    """What goes over a socket of this process takes rounds of the loop, nobody knows how many."""
    async with asyncio.timeout(WITHIN_S):
        while not true():
            await asyncio.sleep(0.001)


class Client:
    """A websocket client that keeps what it hears."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.frames: list[Json] = []
        self.texts: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.texts.append(message.data)
                self.frames.append(json.loads(message.data))

    async def say(self, message: object) -> Json:
        """Send a control message: its answer."""
        await self.ws.send_str(message if isinstance(message, str) else json.dumps(message))
        async with asyncio.timeout(WITHIN_S):
            while True:
                for frame in self.frames:
                    if "stream" not in frame:
                        self.frames.remove(frame)
                        return frame
                await asyncio.sleep(0.001)

    async def subscribe(self, *names: str) -> Json:
        return await self.say({"method": "SUBSCRIBE", "params": list(names), "id": 1})

    async def ended(self) -> int | None:
        """The close code, once the connection is over."""
        async with asyncio.timeout(WITHIN_S):
            await self._reading
        return self.ws.close_code

    def of(self, name: str) -> list[Json]:
        return [frame["data"] for frame in self.frames if frame.get("stream") == name]

    async def close(self) -> None:
        await self.ws.close()
        await self._reading


@asynccontextmanager
async def connected(running: Exchange, market: str, path: str = "/stream") -> AsyncIterator[Client]:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{running.endpoints[f'BINANCE.{market}'].websocket}{path}") as ws,
    ):
        client = Client(ws)
        try:
            yield client
        finally:
            await client.close()


@asynccontextmanager
async def bare(running: Exchange, **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client of spot without a reader."""
    url = f"{running.endpoints['BINANCE.spot'].websocket}/stream"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, **options) as ws:
        yield ws


async def get(running: Exchange, market: str, path: str) -> tuple[int, Any, Mapping[str, str]]:
    async with aiohttp.ClientSession() as http, http.get(f"{running.endpoints[f'BINANCE.{market}'].rest}{path}") as answer:
        return answer.status, await answer.json(content_type=None), answer.headers


def path_of(market: str, channel: str) -> str:
    if market != "usdm":
        return "/stream"
    return "/market/stream" if channel in ("aggTrade", "markPrice@1s", "forceOrder", "ticker") else "/public/stream"


def server(running: Exchange, market: str) -> Any:
    return running.servers[f"BINANCE.{market}"]


# -- shapes ---------------------------------------------------------------------------------------------------------------

FIXTURES: Mapping[tuple[str, str], str] = {
    ("spot", "trade"): """{"e":"trade","E":1789295134226,"s":"BTCUSDT","t":388510,"p":"76745.19000000","q":"0.00065000",
        "T":1789295134225,"m":false,"M":true}""",
    ("spot", "bookTicker"): """{"u":1801512,"s":"BTCUSDT","b":"76745.18000000","B":"8.74206000","a":"76745.19000000",
        "A":"12.06313000"}""",
    ("spot", "depth@100ms"): """{"e":"depthUpdate","E":1789295135813,"s":"BTCUSDT","U":1801513,"u":1801513,
        "b":[["76743.86000000","0.00000000"]],"a":[]}""",
    ("spot", "aggTrade"): """{"e":"aggTrade","E":1633998523963,"s":"NKNUSDT","a":15683430,"p":"0.35280000","q":"58.00000000",
        "f":19862790,"l":19862790,"T":1633998523963,"m":false,"M":true}""",
    ("usdm", "bookTicker"): """{"e":"bookTicker","u":429012276615,"s":"BTCUSDT","ps":"BTCUSDT","b":"76947.30","B":"0.0374",
        "a":"76968.30","A":"2237.2173","T":1789469121938,"E":1789469121959,"st":1}""",
    ("usdm", "depth@100ms"): """{"e":"depthUpdate","E":1789469122060,"T":1789469122045,"s":"BTCUSDT","ps":"BTCUSDT",
        "U":429012276615,"u":429012277528,"pu":429012275789,"b":[],"a":[["76968.30","1191.3336"]],"st":1}""",
    (
        "usdm",
        "markPrice@1s",
    ): """{"e":"markPriceUpdate","E":1790757176000,"s":"BTCUSDT","p":"83003.10000000",
        "ap":"83003.10000000","P":"83198.80343841","i":"83045.69043478","r":"-0.00001012","T":1790784000000,"st":1}""",
    (
        "usdm",
        "aggTrade",
    ): """{"e":"aggTrade","E":1791391082024,"a":3478018549,"s":"BTCUSDT","p":"83434.40","q":"0.016",
        "nq":"0.016","f":8154045700,"l":8154045704,"T":1791391081874,"m":true,"st":1}""",
    (
        "usdm",
        "forceOrder",
    ): """{"e":"forceOrder","E":1791391083124,"o":{"s":"ILVUSDT","S":"SELL","o":"LIMIT","f":"IOC",
        "q":"116.5","p":"3.80300","ap":"3.85642","X":"FILLED","l":"25.2","z":"116.5","T":1791391082119,"ps":"ILVUSDT","st":1}}""",
    ("usdm", "depth20@100ms"): """{"e":"depthUpdate","E":1791044805993,"T":1791044805992,"s":"BTCUSDT","U":11727350456530,
        "u":11727350464793,"pu":11727350456340,"b":[["84756.30","9.447"]],"a":[["84756.40","1.5"]]}""",
    ("coinm", "bookTicker"): """{"e":"bookTicker","u":11660059839759,"s":"BTCUSD_PERP","ps":"BTCUSD","b":"83732.4","B":"680",
        "a":"83732.5","A":"2458","T":1790373637547,"E":1790373637547,"st":2}""",
    ("coinm", "depth@100ms"): """{"e":"depthUpdate","E":1790373637622,"T":1790373637613,"s":"BTCUSD_PERP","ps":"BTCUSD",
        "U":11660059838224,"u":11660059844303,"pu":11660059836647,"b":[["82997.3","1382"],["83517.9","0"]],
        "a":[["83732.5","2458"]],"st":2}""",
    ("coinm", "markPrice@1s"): """{"e":"markPriceUpdate","E":1790373638000,"s":"BTCUSD_PERP","p":"83732.50000000",
        "ap":"83732.50000000","P":"83805.72765516","i":"83786.17543766","r":"-0.00000573","T":1790380800000,"st":2}""",
    (
        "coinm",
        "trade",
    ): """{"e":"trade","E":1790373534694,"T":1790373534694,"s":"BTCUSD_PERP","t":1155839922,"p":"83781.6",
        "q":"1","X":"MARKET","m":false}""",
    ("coinm", "aggTrade"): """{"e":"aggTrade","E":1626916404006,"a":11285749,"s":"BCHUSD_PERP","p":"427.91","q":"3","f":16034449,
        "l":16034449,"T":1626916403852,"m":true}""",
    ("coinm", "forceOrder"): """{"e":"forceOrder","E":1591154240950,"o":{"s":"BTCUSD_PERP","ps":"BTCUSD","S":"BUY","o":"LIMIT",
        "f":"IOC","q":"3","p":"9425.5","ap":"9496.5","X":"FILLED","l":"1","z":"3","T":1591154240949}}""",
}
"""`data` of recorded or documented frames: protocols.md 1.4 to 1.6."""

DIFFERENCES: Mapping[tuple[str, str], frozenset[str]] = {
    ("usdm", "depth20@100ms"): frozenset({"ps", "st"}),  # the fixture's keeper dropped them
    ("coinm", "aggTrade"): frozenset({"st"}),  # recorded in 2021, before the field
    ("coinm", "forceOrder"): frozenset({"o.st"}),  # documented before the field
}
"""What the demo sends beyond a fixture."""


def shape(value: object, at: str = "") -> dict[str, str]:
    """Every key's path -> the type of its value; a number in a string is a `number text`."""
    match value:
        case dict():
            return {path: kind for key, each in value.items() for path, kind in shape(each, f"{at}.{key}".lstrip(".")).items()}
        case list():
            found: dict[str, str] = {at: "list"}
            for each in value:
                found |= shape(each, f"{at}[]")
            return found
        case str():
            try:
                float(value)
            except ValueError:
                return {at: "text"}
            return {at: "number text"}
    return {at: type(value).__name__}


def merged(frames: Iterable[object]) -> dict[str, str]:
    return {path: kind for frame in frames for path, kind in shape(frame).items()}


@pytest.mark.parametrize(("market", "channel"), FIXTURES)
async def test_a_frame_cannot_be_told_from_the_venues(market: str, channel: str) -> None:
    fixture = shape(json.loads(FIXTURES[market, channel]))
    async with exchange() as running, connected(running, market, path_of(market, channel)) as client:
        name = f"{NATIVE[market].lower()}@{channel}"
        await client.subscribe(name)
        for _ in range(60):
            await pass_time(running, 2.0)
            if client.of(name) and (channel != "depth@100ms" or len(client.of(name)) > 5):
                break
        made = merged(client.of(name))
    if "b" in fixture:
        fixture |= (
            {"b[]": "list", "b[][]": "number text", "a[]": "list", "a[][]": "number text"} if fixture["b"] == "list" else {}
        )
    assert set(made) - set(fixture) == DIFFERENCES.get((market, channel), frozenset())
    assert {path: made.get(path) for path in fixture} == fixture


RECORDED = (
    ("binance-2023-04-05/spot-btcusdt.gz", "spot"),
    ("binance-2023-04-05/usdm-btcusdt-2.gz", "usdm"),
    ("binance-2024-08-08/coinm-btcusd_perp-1.gz", "coinm"),
)
ADDED = frozenset({"ps", "st", "ap"})
"""Fields the venue has added since those recordings."""
WITHDRAWN: Mapping[tuple[str, str], frozenset[str]] = {("spot", "trade"): frozenset({"a", "b"})}
"""Order numbers of buyer and seller in a trade, which the venue no longer tells."""


@pytest.mark.recordings
@pytest.mark.parametrize(("file", "market"), RECORDED)
async def test_a_frame_is_as_it_was_recorded(file: str, market: str) -> None:
    folder, _, name = file.partition("/")
    recorded: dict[str, list[Json]] = {}
    with gzip.open(recording(folder) / name, "rt") as lines:
        for _, line in zip(range(6_000), lines, strict=False):
            frame = json.loads(line.partition(" ")[2])
            if "stream" in frame:
                channel = frame["stream"].partition("@")[2]
                recorded.setdefault("depth@100ms" if channel.startswith("depth") else channel, []).append(frame["data"])
    assert len(recorded) >= 3
    async with exchange() as running:
        for channel, frames in recorded.items():
            async with connected(running, market, path_of(market, channel)) as client:
                stream = f"{NATIVE[market].lower()}@{channel}"
                await client.subscribe(stream)
                await pass_time(running, 6.0)
                made, real = merged(client.of(stream)), merged(frames)
            assert set(made) - set(real) <= ADDED, channel
            assert set(real) - set(made) == WITHDRAWN.get((market, channel), frozenset()), channel
            assert all(made[path] == real[path] for path in set(made) & set(real)), channel


ANSWERS: Mapping[str, tuple[str, str]] = {
    "/api/v3/depth": ("spot", "symbol=BTCUSDT&limit=100"),
    "/api/v3/klines": ("spot", "symbol=BTCUSDT&interval=1m&limit=3"),
    "/api/v3/ticker/24hr": ("spot", "symbol=BTCUSDT"),
    "/api/v3/ticker/bookTicker": ("spot", "symbol=BTCUSDT"),
    "/fapi/v1/depth": ("usdm", "symbol=BTCUSDT&limit=100"),
    "/fapi/v1/premiumIndex": ("usdm", "symbol=BTCUSDT"),
    "/fapi/v1/fundingRate": ("usdm", "symbol=BTCUSDT"),
    "/fapi/v1/fundingInfo": ("usdm", ""),
    "/fapi/v1/openInterest": ("usdm", "symbol=BTCUSDT"),
    "/fapi/v1/klines": ("usdm", "symbol=BTCUSDT&interval=1m&limit=3"),
    "/fapi/v1/ticker/24hr": ("usdm", "symbol=BTCUSDT"),
    "/dapi/v1/depth": ("coinm", "symbol=BTCUSD_PERP&limit=100"),
    "/dapi/v1/premiumIndex": ("coinm", ""),
    "/dapi/v1/fundingRate": ("coinm", "symbol=BTCUSD_PERP"),
    "/dapi/v1/openInterest": ("coinm", "symbol=BTCUSD_PERP"),
    "/dapi/v1/klines": ("coinm", "symbol=BTCUSD_PERP&interval=1m&limit=3"),
    "/dapi/v1/markPriceKlines": ("coinm", "symbol=BTCUSD_PERP&interval=1m&limit=3"),
    "/dapi/v1/indexPriceKlines": ("coinm", "pair=BTCUSD&interval=1m&limit=3"),
    "/dapi/v1/ticker/24hr": ("coinm", "symbol=BTCUSD_PERP"),
    "/dapi/v1/ticker/bookTicker": ("coinm", "symbol=BTCUSD_PERP"),
}
ANSWERS_ADDED = frozenset({"[].markPrice", "[].rateType"})
"""In fundingRate, since the recordings."""


@cache
def recorded_answers() -> Json:
    """Path -> list of {query, body}."""
    answers: Json = json.loads(gzip.decompress((recording("binance-rest") / "public-rest-answers.json.gz").read_bytes()))
    return answers


@pytest.mark.recordings
@pytest.mark.parametrize("path", ANSWERS)
async def test_an_answer_has_the_shape_of_a_recorded_one(path: str) -> None:
    market, query = ANSWERS[path]
    answers = recorded_answers()
    good = [one["body"] for one in answers[path] if one["body"] and not (isinstance(one["body"], dict) and "code" in one["body"])]
    async with exchange(assets=("BTC", "SOL")) as running:
        status, body, _ = await get(running, market, f"{path}?{query}")
    assert status == 200
    recorded = [merged([each]) for each in good if isinstance(each, list) == isinstance(body, list)]
    made = merged([body])
    assert any(set(made) - set(real) <= ANSWERS_ADDED for real in recorded)
    assert any(set(real) <= set(made) for real in recorded)
    real = {key: kind for each in recorded for key, kind in each.items()}
    assert {key: kind for key, kind in made.items() if key in real and kind != real[key]} == {}


@pytest.mark.recordings
@pytest.mark.parametrize("market", MARKETS)
async def test_what_is_listed_is_described_by_recorded_words(market: str) -> None:
    answers = recorded_answers()
    real = merged([answers[f"{REST[market]}/exchangeInfo"][0]["body"]])
    async with exchange() as running:
        status, body, _ = await get(running, market, f"{REST[market]}/exchangeInfo")
    made = merged([body])
    assert status == 200
    assert set(made) - set(real) == frozenset()
    assert {key: (kind, real[key]) for key, kind in made.items() if kind != real[key]} == {}


# -- books ----------------------------------------------------------------------------------------------------------------


class NaiveBook:
    """The documented procedure with dicts, written for this test alone."""

    def __init__(self, market: str) -> None:
        self.spot = market == "spot"
        self.sides: dict[str, dict[str, str]] = {}
        self.last = -1
        self.joined = False
        self.waiting: list[Json] = []
        self.changes = 0

    def snapshot(self, body: Json) -> None:
        self.last = body["lastUpdateId"]
        self.sides = {"b": dict(body["bids"]), "a": dict(body["asks"])}
        for event in self.waiting:
            self.event(event)

    def event(self, event: Json) -> None:
        if not self.sides:
            self.waiting.append(event)
            return
        if event["u"] <= self.last if self.spot else event["u"] < self.last:
            return
        if not self.joined:
            assert event["U"] <= self.last + 1 if self.spot else (event["U"] <= self.last or event["pu"] == self.last)
            self.joined = True
        else:
            assert (event["U"] - 1 if self.spot else event["pu"]) == self.last
        self.last = event["u"]
        for side in "ba":
            for price, size in event[side]:
                self.changes += 1
                self.sides[side][price] = size
                if float(size) == 0.0:
                    del self.sides[side][price]

    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        bids, asks = ([(float(p), float(q)) for p, q in self.sides[side].items()] for side in "ba")
        return sorted(bids, reverse=True), sorted(asks)


@pytest.mark.parametrize("market", MARKETS)
async def test_a_reader_who_follows_the_documents_ends_with_the_true_book(market: str) -> None:
    native = NATIVE[market]
    async with exchange(seed=21) as running, connected(running, market, path_of(market, "depth")) as client:
        await pass_time(running, 1.0)
        await client.subscribe(f"{native.lower()}@depth@100ms", f"{native.lower()}@bookTicker")
        await pass_time(running, 0.5)
        _, body, _ = await get(running, market, f"{REST[market]}/depth?symbol={native}&limit=1000")
        await pass_time(running, 60.0)
        book = NaiveBook(market)
        for event in client.of(f"{native.lower()}@depth@100ms")[:3]:
            book.event(event)
        book.snapshot(body)
        key = f"BINANCE.{market}.{native}"
        for event in client.of(f"{native.lower()}@depth@100ms")[3:]:
            book.event(event)
            bids, asks = book.levels()
            assert (*bids[0], *asks[0]) == running.world.truth_touch(key, book.last)
        assert book.levels() == running.world.truth(key, book.last)
        assert book.changes > 4_000
        quotes = client.of(f"{native.lower()}@bookTicker")
        assert len(quotes) > 500
        for quote in quotes:
            told = tuple(float(quote[name]) for name in "bBaA")
            assert told == running.world.truth_touch(key, quote["u"])


class Judge(NoListener):
    """Compares each published book with the truth."""

    def __init__(self, running: Exchange, market: str) -> None:
        self.running = running
        self.market = market
        self.published = 0
        self.touches = 0

    def on_book(self, book: OrderBook, now: Ns) -> None:
        if book.state is BookState.SYNCED and not book.crossed_ns:
            bids, asks = self.running.world.truth(f"BINANCE.{self.market}.{book.instrument.native}", book.seq)
            if book.touch_seq <= book.seq:
                assert book.levels(1_000) == (bids, asks)
                self.published += 1

    def on_touch(self, book: OrderBook, now: Ns) -> None:
        if book.state is BookState.SYNCED and not book.crossed_ns:
            key = f"BINANCE.{self.market}.{book.instrument.native}"
            told = (book.bid, book.bid_size, book.ask, book.ask_size)
            assert told == self.running.world.truth_touch(key, max(book.touch_seq, book.seq))
            self.touches += 1


@pytest.mark.parametrize("market", MARKETS)
async def test_the_adapter_cannot_tell_it_from_the_venue(market: str) -> None:
    venue = Binance()
    async with exchange(seed=22, assets=("BTC", "SOL")) as running, aiohttp.ClientSession() as http:
        place = running.endpoints[f"BINANCE.{market}"]
        async with http.get(f"{place.rest}{REST[market]}/exchangeInfo") as answer:
            instruments: dict[str, Instrument] = {
                one.id: one for one in venue.instruments({f"instruments:{market}": await answer.read()})
            }
        assert len(instruments) == {"spot": 2, "usdm": 3, "coinm": 2}[market]
        streams = [Stream(name, channel) for name in instruments for channel in (Channel.BOOK, Channel.TOUCH)]
        (plan,) = venue.plan(streams, instruments)
        judge = Judge(running, market)
        session = venue.session(plan, instruments, judge, HealthBoard())
        async with http.ws_connect(place.websocket + plan.url[plan.url.index("/", 8) :]) as ws:
            heard: deque[bytes] = deque()

            async def read() -> None:
                async for message in ws:
                    heard.append(message.data.encode())

            reading = asyncio.create_task(read())

            async def perform(actions: Iterable[Action]) -> None:
                for action in actions:
                    assert isinstance(action, Send | Fetch), action
                    if isinstance(action, Send):
                        await ws.send_str(action.text)
                        continue
                    async with http.get(place.rest + action.path) as answer:
                        await perform(session.answer(action.key, await answer.read(), running.world.now_ns))

            await perform(session.opened(running.world.now_ns))
            for _ in range(300):
                await pass_time(running, 0.1)
                while heard:
                    await perform(session.frame(heard.popleft(), running.world.now_ns))
                if session.deadline != NEVER and session.deadline <= running.world.now_ns:
                    await perform(session.wake(running.world.now_ns))
        assert all(book.state is BookState.SYNCED for book in session.books.values())
        assert judge.published > 200 * len(instruments)
        assert judge.touches > 300
        session.closed("test", running.world.now_ns, final=True)
        await reading


# -- control messages and limits ------------------------------------------------------------------------------------------


async def test_control_messages_are_answered_in_the_venues_words() -> None:
    async with exchange() as running, connected(running, "spot") as client:
        assert await client.subscribe("btcusdt@trade", "btcusdt@bookTicker") == {"result": None, "id": 1}
        assert await client.say({"method": "LIST_SUBSCRIPTIONS", "id": "x"}) == {
            "result": ["btcusdt@trade", "btcusdt@bookTicker"],
            "id": "x",
        }
        assert await client.say({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": None}) == {
            "result": None,
            "id": None,
        }
        await pass_time(running, 2.0)
        assert not client.of("btcusdt@trade")
        assert client.of("btcusdt@bookTicker")
        answer = await client.say({"method": "SUBSCRIB", "params": [], "id": 3})
        assert answer["code"] == 2
        assert answer["msg"].startswith("Invalid request: ")
        assert (await client.say("{nonsense"))["code"] == 3


async def test_a_misspelled_stream_is_acknowledged_and_silent() -> None:
    async with exchange() as running, connected(running, "spot") as client:
        assert await client.subscribe("btcusdt@deph@100ms", "nosuch@trade") == {"result": None, "id": 1}
        await pass_time(running, 3.0)
        assert client.frames == []


@pytest.mark.parametrize(
    ("path", "heard", "silent"),
    [
        ("/public/stream", "bookTicker", "markPrice@1s"),
        ("/market/stream", "markPrice@1s", "bookTicker"),
        ("/stream", "bookTicker", "markPrice@1s"),
    ],
)
async def test_a_stream_on_the_wrong_route_is_acknowledged_and_silent(path: str, heard: str, silent: str) -> None:
    async with exchange() as running, connected(running, "usdm", path) as client:
        assert await client.subscribe(f"btcusdt@{heard}", f"btcusdt@{silent}") == {"result": None, "id": 1}
        await pass_time(running, 3.0)
        assert {frame["stream"] for frame in client.frames} == {f"btcusdt@{heard}"}


async def test_streams_can_stand_in_the_address_and_raw_ones_are_not_wrapped() -> None:
    async with (
        exchange() as running,
        connected(running, "spot", "/stream?streams=btcusdt@bookTicker/btcusdt@trade") as client,
        connected(running, "spot", "/ws/btcusdt@bookTicker") as raw,
    ):
        await pass_time(running, 2.0)
        assert {frame["stream"] for frame in client.frames} == {"btcusdt@bookTicker", "btcusdt@trade"}
        assert raw.frames == client.of("btcusdt@bookTicker")


@pytest.mark.parametrize(("market", "allowed"), [("spot", 5), ("coinm", 10)])
async def test_too_many_control_messages_end_the_connection(market: str, allowed: int) -> None:
    async with exchange() as running, connected(running, market) as client:
        for number in range(allowed):
            await client.say({"method": "LIST_SUBSCRIPTIONS", "id": number})
        await client.ws.send_str('{"method":"LIST_SUBSCRIPTIONS","id":9}')
        assert await client.ended() == 1008


async def test_request_weight_is_told_shared_and_limited() -> None:
    async with exchange() as running:
        _, _, first = await get(running, "usdm", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
        _, _, second = await get(running, "coinm", "/dapi/v1/premiumIndex")
        assert (first["X-MBX-USED-WEIGHT-1M"], second["X-MBX-USED-WEIGHT-1M"]) == ("20", "30")
        server(running, "usdm").pool.limit = 40
        server(running, "usdm").pool.ban_after = 2
        found = [await get(running, "usdm", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000") for _ in range(3)]
        assert [status for status, _, _ in found] == [429, 429, 418]
        assert found[0][1]["code"] == -1003
        assert found[0][2]["Retry-After"] == str(60 - START_NS // SECOND % 60)
        assert (await get(running, "spot", "/api/v3/time"))[0] == 200
        await pass_time(running, 60.0)
        assert (await get(running, "usdm", "/fapi/v1/time"))[0] == 200


@pytest.mark.parametrize(
    ("market", "path", "code"),
    [
        ("spot", "/api/v3/depth?symbol=NOSUCH", -1121),
        ("spot", "/api/v3/depth", -1102),
        ("spot", "/api/v3/klines?symbol=BTCUSDT&interval=7m", -1120),
        ("usdm", "/fapi/v1/depth?symbol=BTCUSDT&limit=200", -4021),
        ("usdm", "/fapi/v1/depth?symbol=BTCUSDT&limit=abc", -1100),
        ("coinm", "/dapi/v1/klines?symbol=BTCUSD_PERP&interval=1d&startTime=1546300800000&endTime=1577836800000", -4088),
    ],
)
async def test_a_wrong_request_gets_the_venues_code(market: str, path: str, code: int) -> None:
    async with exchange() as running:
        status, body, _ = await get(running, market, path)
        assert (status, body["code"]) == (400, code)


async def test_history_pages_as_the_venue_pages() -> None:
    async with exchange(assets=("SOL",)) as running:
        path = "/fapi/v1/fundingRate?symbol=SOLUSDT"
        every = (await get(running, "usdm", path))[1]
        assert len(every) > 8
        assert (await get(running, "usdm", f"{path}&limit=3"))[1] == every[-3:]
        from_first = f"{path}&limit=3&startTime={every[0]['fundingTime'] - 5}"
        assert (await get(running, "usdm", from_first))[1] == every[:3]
        assert (await get(running, "usdm", f"{path}&limit=2&endTime={every[4]['fundingTime']}"))[1] == every[3:5]
        times = [row["fundingTime"] for row in every]
        assert all(time_ms % 14_400_000 <= 2 for time_ms in times)
        path = "/fapi/v1/klines?symbol=SOLUSDT&interval=1m"
        assert len((await get(running, "usdm", path))[1]) == 500
        rows = (await get(running, "usdm", f"{path}&limit=9999"))[1]
        assert len(rows) == 1_500
        assert (await get(running, "usdm", f"{path}&startTime={rows[10][0]}&limit=4"))[1] == rows[10:14]
        assert (await get(running, "usdm", f"{path}&endTime={rows[20][0]}&limit=4"))[1] == rows[17:21]
        infos = (await get(running, "usdm", "/fapi/v1/fundingInfo"))[1]
        assert [(row["symbol"], row["fundingIntervalHours"]) for row in infos] == [("SOLUSDT", 4)]


# -- what faults are made of ------------------------------------------------------------------------------------------------


async def subscribed(client: Client, running: Exchange) -> Connection:
    """The server's end of a client that hears bookTicker and trades of spot."""
    await client.subscribe("btcusdt@bookTicker", "btcusdt@trade")
    found: Connection = server(running, "spot").connections[0]
    return found


async def test_a_reset_connection_is_reset_and_not_closed() -> None:
    async with exchange() as running:
        place = server(running, "spot")
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        lines = ["GET /stream HTTP/1.1", f"Host: {place.base}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        writer.write("\r\n".join(lines).encode())
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        place.connections[0].abort()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert list(place.connections) == []


@pytest.mark.parametrize("code", [1000, 1001, 1012])
async def test_a_connection_is_closed_with_the_code_it_is_told(code: int) -> None:
    async with exchange() as running, connected(running, "spot") as client:
        connection = await subscribed(client, running)
        await connection.close(code, "maintenance")
        assert await client.ended() == code


async def test_a_dropped_connection_ends_without_a_close_frame() -> None:
    async with exchange() as running, connected(running, "spot") as client:
        (await subscribed(client, running)).drop()
        assert await client.ended() == 1006


async def test_a_frozen_connection_neither_speaks_nor_listens_until_it_thaws() -> None:
    async with exchange() as running, connected(running, "spot") as client:
        connection = await subscribed(client, running)
        connection.freeze()
        await client.ws.send_str('{"method":"LIST_SUBSCRIPTIONS","id":7}')
        await pass_time(running, 2.0)
        await asyncio.sleep(0.05)
        assert client.texts[1:] == []
        connection.thaw()
        await pass_time(running, 1.0)
        await until(lambda: any(frame.get("id") == 7 for frame in client.frames))
        await until(lambda: client.of("btcusdt@bookTicker"))


async def test_a_muted_topic_is_silent_and_others_go_on() -> None:
    async with exchange() as running, connected(running, "spot") as client:
        connection = await subscribed(client, running)
        connection.mute("btcusdt@trade")
        await pass_time(running, 2.0)
        assert {frame["stream"] for frame in client.frames} == {"btcusdt@bookTicker"}
        connection.unmute("btcusdt@trade")
        await pass_time(running, 2.0)
        assert client.of("btcusdt@trade")


async def test_filters_drop_double_and_rewrite_what_is_sent() -> None:
    async with exchange() as running, connected(running, "spot") as client:
        connection = await subscribed(client, running)
        connection.filters.append(lambda topic, text: [] if topic.endswith("trade") else [text, text])
        connection.filters.append(lambda _topic, text: [text.replace("BTCUSDT", "ETHUSDT")])
        await pass_time(running, 2.0)
        quotes = client.of("btcusdt@bookTicker")
        assert quotes[::2] == quotes[1::2]
        assert {quote["s"] for quote in quotes} == {"ETHUSDT"}
        assert not client.of("btcusdt@trade")


async def test_any_bytes_can_be_put_on_the_wire() -> None:
    async with exchange() as running, bare(running) as ws:
        connection: Connection = server(running, "spot").connections[0]
        connection.send_frame(b"\x00\xff", BINARY)
        assert (await ws.receive()).data == b"\x00\xff"
        connection.send_raw(framed(b"x" * 70_000))
        assert (await ws.receive()).data == "x" * 70_000
        connection.send_raw(framed(b"\xff\xfe"))
        assert (await ws.receive()).type is not aiohttp.WSMsgType.TEXT


async def test_a_handshake_can_be_refused_and_is_counted() -> None:
    async with exchange() as running:
        place = server(running, "spot")
        place.handshake = lambda _request: web.Response(status=429, headers={"Retry-After": "7"})
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connected(running, "spot"):
                pass
        assert refused.value.status == 429
        assert refused.value.headers is not None
        assert refused.value.headers["Retry-After"] == "7"
        place.handshake = None
        async with connected(running, "spot"):
            assert len(place.connects) == 2


async def test_a_connection_can_be_closed_as_soon_as_it_is_accepted() -> None:
    async with exchange() as running:

        async def close(connection: Connection) -> None:
            await connection.close(1000)

        server(running, "spot").greeting = close
        async with connected(running, "spot") as client:
            assert await client.ended() == 1000
            assert client.frames == []


async def test_rest_can_be_answered_by_a_hook() -> None:
    async with exchange() as running:

        async def broken(_request: web.Request, path: str) -> web.StreamResponse | None:
            return web.json_response({"code": -1000}, status=500) if path.endswith("/depth") else None

        server(running, "spot").rest_hook = broken
        assert (await get(running, "spot", "/api/v3/depth?symbol=BTCUSDT"))[0] == 500
        assert (await get(running, "spot", "/api/v3/time"))[0] == 200
        assert [path for _, path in server(running, "spot").requests] == ["/api/v3/depth?symbol=BTCUSDT", "/api/v3/time"]


async def test_a_closed_port_refuses_and_comes_back_where_it_was() -> None:
    async with exchange() as running, connected(running, "spot") as standing:
        await standing.subscribe("btcusdt@bookTicker")
        place = server(running, "spot")
        port = place.port
        place.refuse()
        with pytest.raises(aiohttp.ClientConnectorError):
            async with connected(running, "spot"):
                pass
        await pass_time(running, 1.0)
        assert standing.of("btcusdt@bookTicker")
        await place.listen()
        assert place.port == port
        async with connected(running, "spot") as client:
            assert await client.subscribe("btcusdt@trade") == {"result": None, "id": 1}


async def test_a_reader_who_does_not_read_is_cut_off() -> None:
    async with exchange() as running, bare(running, max_msg_size=1 << 26) as ws:
        place = server(running, "spot")
        connection: Connection = place.connections[0]
        ws._response.connection.transport.pause_reading()  # type: ignore[union-attr]
        for _ in range(40):
            connection.send_frame(b"x" * (1 << 18))
        assert place.too_slow == 1
        assert not connection.alive
        ws._response.connection.transport.abort()  # type: ignore[union-attr]


async def test_the_servers_clock_can_be_wrong() -> None:
    async with exchange() as running:
        server(running, "spot").clock_offset_ns = 90 * SECOND
        assert (await get(running, "spot", "/api/v3/time"))[1]["serverTime"] == START_NS // 1_000_000 + 90_000


async def test_spot_announces_its_shutdown_and_cuts() -> None:
    async with exchange() as running, connected(running, "spot") as client:
        await subscribed(client, running)
        server(running, "spot").announce_shutdown()
        await server(running, "spot").cut()
        assert await client.ended() == 1001
        assert client.frames[-1]["data"]["e"] == "serverShutdown"


async def test_the_server_pings_and_gives_up_on_who_does_not_answer() -> None:
    async with exchange() as running, bare(running, autoping=False) as ws:
        place = server(running, "spot")
        await pass_time(running, 21.0)
        ping = await ws.receive()
        assert ping.type is aiohttp.WSMsgType.PING
        await ws.pong(ping.data)
        await until(lambda: not place.connections[0].unanswered_ns)
        await pass_time(running, 100.0)
        while (message := await ws.receive()).type is aiohttp.WSMsgType.PING:
            pass
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
        assert list(place.connections) == []


async def test_it_stops_with_clients_connected() -> None:
    running = await run.start(7, assets=("BTC",))
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(f"{running.endpoints['BINANCE.spot'].websocket}/stream?streams=btcusdt@bookTicker")
        assert (await ws.receive()).type is aiohttp.WSMsgType.TEXT
        async with asyncio.timeout(2.0):
            await running.stop()
        await ws.close()


@pytest.mark.parametrize("by_signal", [False, True])
def test_the_process_says_where_it_is_and_ends_when_asked(by_signal: bool) -> None:
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "feeds.simulator", "--seed", "3", *(["--faults"] if by_signal else [])],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        said = json.loads(child.stdout.readline())
        assert said["seed"] == 3
        assert {f"BINANCE.{market}" for market in MARKETS} <= set(said["endpoints"])
        with urlopen(f"{said['endpoints']['BINANCE.spot']['rest']}/api/v3/time") as answer:
            assert json.load(answer)["serverTime"] > 0
        if by_signal:
            child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=WITHIN_S)
    assert (child.returncode, out, err) == (0, b"", b"")
