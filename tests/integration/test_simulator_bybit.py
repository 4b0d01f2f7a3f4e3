"""The simulated Bybit on a real socket: its books against the truth, its frames against recorded ones, its refusals, its REST.

Time is the test's: the market moves when `advance` is called, so every run is the same.
"""

import gzip
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import pytest

from feeds.model import SECOND
from feeds.simulator.bybit import LIQUIDATION_STEPS, BybitServer
from feeds.simulator.maker import Print
from feeds.simulator.market import STEP_NS, Forced, Step, World
from tests.recordings import recording
from tests.shapes import shape

START_NS = 1_790_757_082 * SECOND
Json = dict[str, Any]


class Client:
    """A raw websocket client: what it was sent, parsed."""

    def __init__(self, world: World, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.world = world
        self.ws = ws

    async def ask(self, message: Json | str) -> list[Json]:
        """Send, and everything up to the answer."""
        await self.ws.send_str(message if isinstance(message, str) else json.dumps(message))
        frames: list[Json] = []
        while not frames or "topic" in frames[-1]:
            frames.append(await self.ws.receive_json(timeout=5))
        return frames

    async def subscribe(self, *topics: str) -> list[Json]:
        return await self.ask({"req_id": "r1", "op": "subscribe", "args": topics})

    async def advance(self, steps: int) -> list[Json]:
        """Move the market on; what was sent meanwhile."""
        frames: list[Json] = []
        while steps > 0:
            self.world.advance(self.world.now_ns + min(steps, 50) * STEP_NS)
            steps -= 50
            frames.extend((await self.ask({"op": "ping"}))[:-1])
        return frames


@pytest.fixture
async def server() -> AsyncIterator[BybitServer]:
    made = BybitServer(World(11, START_NS, ("BTC", "ETH")))
    await made.start()
    yield made
    await made.stop()


async def client(server: BybitServer, http: aiohttp.ClientSession, category: str) -> Client:
    return Client(server.world, await http.ws_connect(f"ws://{server.base}/v5/public/{category}"))


class NaiveBook:
    """The rule of protocols.md 0.3, and no more."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.u = self.seq = -1

    def take(self, message: Json) -> None:
        data = message["data"]
        if message["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        else:
            assert data["u"] == self.u + 1
        for side, levels in ((self.bids, data["b"]), (self.asks, data["a"])):
            for price, size in levels:
                if float(size):
                    side[float(price)] = float(size)
                else:
                    del side[float(price)]
        self.u, self.seq = data["u"], data["seq"]

    @property
    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


@pytest.mark.parametrize(
    ("category", "natives", "steps"),
    [("linear", ("BTCUSDT", "ETHUSDT"), 700), ("spot", ("BTCUSDT",), 500), ("inverse", ("BTCUSD", "ETHUSD"), 400)],
)
async def test_a_book_kept_by_the_rule_is_the_truth_after_each_of_thousands_of_updates(
    server: BybitServer, http: aiohttp.ClientSession, category: str, natives: Sequence[str], steps: int
) -> None:
    reader = await client(server, http, category)
    books: dict[str, NaiveBook] = {}
    counts: dict[str, int] = {}

    def take(frames: Sequence[Json]) -> None:
        for frame in frames:
            if "topic" in frame:
                _, depth, native = frame["topic"].split(".")
                book = books.setdefault(frame["topic"], NaiveBook())
                book.take(frame)
                counts[depth] = counts.get(depth, 0) + 1
                truth = server.world.truth(f"BYBIT.{category}.{native}", book.seq, int(depth))
                assert book.levels == truth, f"{frame['topic']} at {book.seq}"

    for native in natives:
        take(await reader.subscribe(*(f"orderbook.{depth}.{native}" for depth in (1, 50, 200, 1000))))
    for _ in range(steps // 50):
        take(await reader.advance(50))
    assert len(books) == 4 * len(natives)
    assert counts["50"] > steps * 0.3
    assert sum(counts.values()) > steps


async def test_a_second_subscriber_joins_a_running_count_without_disturbing_the_first(
    server: BybitServer, http: aiohttp.ClientSession
) -> None:
    first, second = await client(server, http, "linear"), await client(server, http, "linear")
    books = [NaiveBook(), NaiveBook()]
    for frame in (await first.subscribe("orderbook.200.BTCUSDT"))[:-1] + await first.advance(33):
        books[0].take(frame)
    (snapshot, _) = await second.subscribe("orderbook.200.BTCUSDT")
    books[1].take(snapshot)
    for frame in await first.advance(50):
        books[0].take(frame)
    for frame in (await second.ask({"op": "ping"}))[:-1]:
        books[1].take(frame)
    assert books[0].levels == books[1].levels
    assert books[0].u == books[1].u


async def test_after_a_pause_without_readers_a_book_does_not_begin_with_old_levels(
    server: BybitServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http, "linear")
    await reader.subscribe("orderbook.200.BTCUSDT")
    await reader.ask({"op": "unsubscribe", "args": ["orderbook.200.BTCUSDT"]})
    await reader.advance(200)
    (snapshot, _) = await reader.subscribe("orderbook.200.BTCUSDT")
    assert snapshot["data"]["seq"] == server.world.books["BYBIT.linear.BTCUSDT"].seq


async def test_depth_one_is_always_a_snapshot_and_comes_again_with_the_same_number_after_three_seconds_of_rest(
    server: BybitServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http, "inverse")
    frames = (await reader.subscribe("orderbook.1.ETHUSD"))[:-1]
    numbers = {frame["data"]["u"] for frame in frames + await reader.advance(50)}
    assert len(numbers) > 1
    (feed,) = server._feeds.values()
    u = max(numbers)
    told: list[Json] = []
    for _ in range(310):
        server.world.steps += 1
        told.extend(json.loads(text) for text in feed.next(server.world.now_ns))
    assert {(frame["type"], frame["data"]["u"]) for frame in told} == {("snapshot", u)}
    assert 2 <= len(told) <= 3


async def test_a_restart_is_a_snapshot_numbered_one_that_the_count_goes_on_from(
    server: BybitServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http, "linear")
    await reader.subscribe("orderbook.50.BTCUSDT")
    await reader.advance(10)
    assert server.restart("linear", "BTCUSDT") == 1
    frames = await reader.advance(10)
    assert [(frame["type"], frame["data"]["u"]) for frame in frames[:2]] == [("snapshot", 1), ("delta", 2)]
    book = NaiveBook()
    for frame in frames:
        book.take(frame)
    assert book.levels == server.world.truth("BYBIT.linear.BTCUSDT", book.seq, 50)


async def test_ticker_deltas_merge_to_what_rest_says_for_every_subscriber(
    server: BybitServer, http: aiohttp.ClientSession
) -> None:
    readers = [await client(server, http, "linear"), await client(server, http, "linear")]
    known: list[Json] = [{}, {}]
    frames = (await readers[0].subscribe("tickers.BTCUSDT"))[:-1] + await readers[0].advance(102)
    frames_of_second = (await readers[1].subscribe("tickers.BTCUSDT"))[:-1]
    frames += await readers[0].advance(98)
    frames_of_second += (await readers[1].ask({"op": "ping"}))[:-1]
    for state, heard in zip(known, (frames, frames_of_second), strict=True):
        assert [frame["type"] for frame in heard[:2]] == ["snapshot", "delta"]
        for frame in heard:
            state |= frame["data"]
    assert known[0] == known[1] == server.answers.ticker(server.listings["linear", "BTCUSDT"])


async def test_spot_tickers_have_no_best_quote(server: BybitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http, "spot")
    frames = (await reader.subscribe("tickers.BTCUSDT"))[:-1] + await reader.advance(100)
    assert {frame["type"] for frame in frames} == {"snapshot"}
    assert not any("Price" in name and name.startswith(("bid", "ask")) for frame in frames for name in frame["data"])


async def test_data_come_before_the_acknowledgement(server: BybitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http, "linear")
    frames = await reader.subscribe("orderbook.50.BTCUSDT", "tickers.BTCUSDT", "publicTrade.BTCUSDT")
    assert ["topic" in frame for frame in frames] == [True, True, False]
    assert frames[-1] == {"success": True, "ret_msg": "", "conn_id": frames[-1]["conn_id"], "req_id": "r1", "op": "subscribe"}


@pytest.mark.parametrize(
    ("category", "args", "text"),
    [
        ("spot", ["orderbook.50.BTCUSDT", "orderbook.50.NOSUCHSYM"], "Invalid symbol :[orderbook.50.NOSUCHSYM]"),
        ("linear", ["orderbook.50.BTCUSDT", "tickers.NOSUCHSYM"], "error:handler not found,topic:tickers.NOSUCHSYM"),
        ("linear", ["orderbook.30.BTCUSDT"], "error:handler not found,topic:orderbook.30.BTCUSDT"),
        ("spot", ["allLiquidation.BTCUSDT"], "error:handler not found,topic:allLiquidation.BTCUSDT"),
        ("spot", [f"tickers.X{n}" for n in range(11)], "args size >10"),
        ("linear", ["tickers.BTCUSDT", "tickers.BTCUSDT"], "error:already subscribed,topic:tickers.BTCUSDT"),
        ("linear", [f"tickers.{'X' * 30}{n}" for n in range(600)], "args length >21000"),
    ],
)
async def test_a_refused_topic_fails_its_whole_request_and_does_not_say_which_request(
    server: BybitServer, http: aiohttp.ClientSession, category: str, args: list[str], text: str
) -> None:
    reader = await client(server, http, category)
    (answer,) = await reader.subscribe(*args)
    assert answer == {"success": False, "ret_msg": text, "conn_id": answer["conn_id"], "op": "subscribe"}
    assert await reader.advance(20) == []


async def test_pings_are_answered_and_nonsense_closes_nothing(server: BybitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http, "linear")
    (pong,) = await reader.ask({"op": "ping", "req_id": "7"})
    assert (pong["success"], pong["ret_msg"], pong["req_id"], pong["op"]) == (True, "pong", "7", "ping")
    for nonsense in ("hello", "[" * 5_000, "[]", '{"op":"nope"}', '{"op":"subscribe"}', '{"op":"subscribe","args":[1]}'):
        (answer,) = await reader.ask(nonsense)
        assert answer["success"] is False
    assert (await reader.ask({"op": "ping"}))[-1]["success"] is True


async def test_a_client_that_says_nothing_for_ten_minutes_is_closed(server: BybitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http, "linear")
    await reader.ask({"op": "ping"})
    for _ in range(2):
        server.world.advance(server.world.now_ns + 301 * SECOND)
    assert (await reader.ws.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)


async def test_a_liquidation_names_the_side_of_the_position_and_trades_name_the_takers(
    server: BybitServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http, "linear")
    topics = [f"{name}.{native}" for name in ("allLiquidation", "publicTrade") for native in ("BTCUSDT", "ETHUSDT")]
    await reader.subscribe(*topics)
    prints: list[Print] = []
    server.world.subscribe(lambda step: prints.extend(step.prints))
    frames = await reader.advance(250)
    traded = [
        (fill["s"], fill["S"], fill["p"], fill["v"]) for frame in frames if "publicT" in frame["topic"] for fill in frame["data"]
    ]
    sides, listings = {True: "Buy", False: "Sell"}, server.world.listings
    assert sorted(traded) == sorted(
        (listing.native, sides[made.buy], listing.price_text(made.ticks), listing.size_text(made.lots))
        for made in prints
        if (listing := listings[made.key]).native in ("BTCUSDT", "ETHUSDT")
        and (listing.venue, listing.market) == ("BYBIT", "linear")
    )
    liquidate(server)
    said = [fill for frame in (await reader.ask({"op": "ping"}))[:-1] for fill in frame["data"]]
    assert [(fill["s"], fill["S"], fill["p"], fill["v"]) for fill in said] == [
        ("BTCUSDT", "Buy", "80000.00", "0.005"),
        ("BTCUSDT", "Sell", "80200.00", "0.007"),
    ]


def liquidate(server: BybitServer) -> None:
    """A long and a short are closed out."""
    key, now_ns = "BYBIT.linear.BTCUSDT", server.world.now_ns
    forced = [Forced(key, True, 801_000, 800_000, 5, now_ns), Forced(key, False, 801_000, 802_000, 7, now_ns)]
    server.on_step(Step(LIQUIDATION_STEPS, now_ns, [], forced, False))
    for connection in server.connections:
        connection.flush()


# Frames against recorded ones.

FIXTURES: Mapping[tuple[str, str], Sequence[str]] = {
    ("linear", "tickers.BTCUSDT"): (
        (
            '{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","tickDirection":"ZeroMinusTick","price24hPcnt":'
            '"-0.01229","lastPrice":"83024.60","prevPrice24h":"84057.70","highPrice24h":"84556.00","lowPrice24h":"82813.80","prevPrice1h":'
            '"83275.30","markPrice":"83024.70","indexPrice":"83074.01","openInterest":"57118.511","openInterestValue":"4742247240.22",'
            '"turnover24h":"3734121786.2434","volume24h":"44701.1000","fundingIntervalHour":"8","fundingCap":"0.00333",'
            '"singleOpenInterest":"28559.256","singleOpenInterestValue":"2371123661.62","nextFundingTime":"1790784000000","fundingRate":'
            '"-0.00007774","bid1Price":"83024.60","bid1Size":"3.871","ask1Price":"83024.70","ask1Size":"2.935","preOpenPrice":"",'
            '"preQty":"","curPreListingPhase":""},"cs":818232112541,"ts":1790757082283}'
        ),
    ),
    ("spot", "orderbook.50.BTCUSDT"): (
        (
            '{"topic":"orderbook.50.BTCUSDT","ts":1789299658933,"type":"delta","data":{"s":"BTCUSDT","b":[["77140.3","0"],["77139.8","0"],'
            '["76200","0.002114"],["76181.8","0.003835"]],"a":[["77141.2","0"],["77928","0.002492"]],"u":3734359,"seq":2189232166},'
            '"cts":1789299658878}'
        ),
    ),
    ("spot", "orderbook.1.BTCUSDT"): (
        (
            '{"topic":"orderbook.1.BTCUSDT","ts":1789299655643,"type":"snapshot","data":{"s":"BTCUSDT","b":[["77140.5","0.216593"]],'
            '"a":[["77140.6","0.324006"]],"u":1980705,"seq":2189232157},"cts":1789299655598}'
        ),
    ),
    ("spot", "publicTrade.BTCUSDT"): (
        (
            '{"topic":"publicTrade.BTCUSDT","ts":1789299660724,"type":"snapshot","data":[{"i":"2100000000188691524","T":1789299660688,'
            '"p":"77140.5","v":"0.00389","S":"Sell","seq":2189232173,"s":"BTCUSDT","BT":false,"RPI":false}]}'
        ),
    ),
    ("linear", "publicTrade.BTCUSDT"): (
        (
            '{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1791457528912,"data":[{"T":1791457528911,"s":"BTCUSDT","S":"Buy",'
            '"v":"0.011","p":"82642.90","L":"PlusTick","i":"5be1261b-d231-533b-89cd-0653c4f333be","BT":false,"RPI":false,'
            '"seq":822323446907}]}'
        ),
    ),
    ("inverse", "publicTrade.BTCUSD"): (
        (
            '{"topic":"publicTrade.BTCUSD","type":"snapshot","ts":1791457532051,"data":[{"T":1791457532050,"s":"BTCUSD","S":"Sell",'
            '"v":"2238","p":"82586.40","L":"ZeroMinusTick","i":"4639ca04-a297-52c5-aa8d-d4799be02811","BT":false,"RPI":false,'
            '"seq":118895331123}]}'
        ),
    ),
    ("spot", "tickers.BTCUSDT"): (
        (
            '{"topic":"tickers.BTCUSDT","ts":1740835319867,"type":"snapshot","cs":64027791513,"data":{"symbol":"BTCUSDT","lastPrice":'
            '"84547.99","highPrice24h":"86584.84","lowPrice24h":"80609.26","prevPrice24h":"80900","volume24h":"9416.834648","turnover24h":'
            '"792190557.2149933","price24hPcnt":"0.0451","usdIndexPrice":"84501.308024"}}'
        ),
    ),
    ("linear", "allLiquidation.BTCUSDT"): (
        (
            '{"topic":"allLiquidation.ICPUSDT","type":"snapshot","ts":1789670094412,"data":[{"T":1789670094099,"s":"ICPUSDT","S":"Buy",'
            '"v":"19.7","p":"2.585"}]}'
        ),
    ),
}
"""Recorded frames: protocols.md 2.4."""


async def frames_of(server: BybitServer, http: aiohttp.ClientSession, category: str, topic: str, kind: str) -> list[Json]:
    """Some messages of a topic."""
    reader = await client(server, http, category)
    frames = (await reader.subscribe(topic))[:-1]
    liquidate(server)
    frames += await reader.advance(150)
    found = [frame for frame in frames if frame["type"] == kind]
    assert found
    return found


@pytest.mark.parametrize(("category", "topic"), FIXTURES)
async def test_frames_have_the_keys_and_types_of_recorded_ones(
    server: BybitServer, http: aiohttp.ClientSession, category: str, topic: str
) -> None:
    for text in FIXTURES[category, topic]:
        recorded = json.loads(text)
        for made in await frames_of(server, http, category, topic, recorded["type"]):
            assert shape(made) <= shape(recorded)
            assert list(made) == list(recorded)
            assert made["topic"].split(".")[:-1] == recorded["topic"].split(".")[:-1]
            if made["data"] and isinstance(made["data"], list):
                assert list(made["data"][0]) == list(recorded["data"][0])
            if topic.startswith("tickers"):
                assert list(made["data"]) == list(recorded["data"])


DIFFERENCES: Mapping[str, set[str]] = {
    "answer": {".req_id text"},  # whoever recorded gave no id, so the venue's answers carry a blank one, or none
}
"""What simulated frames have and recorded ones have not, by topic."""
NOT_SIMULATED: Mapping[str, set[str]] = {
    "tickers": {".data.usdIndexPrice blank"},  # recorded now and then on spot; ours always has an index
}
"""What recorded snapshots have and simulated ones have not."""


def kind_of(frame: Json) -> tuple[str, str]:
    """The topic without its symbol, and the type."""
    return frame["topic"].rpartition(".")[0] if "topic" in frame else "answer", frame.get("type", "")


@pytest.mark.recordings
@pytest.mark.parametrize("category", ["linear", "spot"])
async def test_frames_have_the_keys_and_types_of_the_recording(
    server: BybitServer, http: aiohttp.ClientSession, category: str
) -> None:
    lines = gzip.decompress((recording("bybit-2026-08-09") / "spot-and-linear.jsonl.gz").read_bytes()).decode().splitlines()
    parsed = [json.loads(line) for line in lines]
    conn = next(line["conn"] for line in parsed if line["t"] == "connect" and line["addr"].endswith(category))
    recorded: dict[tuple[str, str], set[str]] = {}
    for line in parsed:
        if line["t"] == "recv" and line["conn"] == conn:
            frame = json.loads(line["data"])
            kind = kind_of(frame)
            recorded[kind] = recorded.get(kind, set()) | shape(frame)
    reader = await client(server, http, category)
    made: dict[tuple[str, str], set[str]] = {}
    topics = [topic for topic, _ in recorded if topic != "answer" and not topic.startswith("kline")]
    frames = await reader.subscribe(*(f"{topic}.BTCUSDT" for topic in dict.fromkeys(topics)))
    for frame in frames + await reader.advance(500):
        kind = kind_of(frame)
        made[kind] = made.get(kind, set()) | shape(frame)
    assert made.keys() == {kind for kind in recorded if not kind[0].startswith("kline")}
    for kind, found in made.items():
        assert found - recorded[kind] == DIFFERENCES.get(kind[0], set()), kind
        if kind[1] == "snapshot":
            assert recorded[kind] - found <= NOT_SIMULATED.get(kind[0], set()), kind


@pytest.mark.recordings
@pytest.mark.parametrize("category", ["linear", "spot"])
async def test_instrument_lists_have_the_keys_and_types_of_the_recording(
    server: BybitServer, http: aiohttp.ClientSession, category: str
) -> None:
    text = gzip.decompress((recording("bybit-2026-08-09") / "spot-and-linear.jsonl.gz").read_bytes()).decode()
    answers = [line for line in map(json.loads, text.splitlines()) if line["t"] == "http" and category in line["url"]]
    recorded = json.loads(answers[0]["data"])
    made = await get(server, http, f"instruments-info?category={category}&limit=1000")
    pairs = {row["symbol"]: row for row in recorded["result"]["list"]}
    for row in made["result"]["list"]:
        like = pairs.get(row["symbol"]) or next(r for r in pairs.values() if r.get("contractType") == row["contractType"])
        assert list(row) == list(like)
        assert shape(row) == shape(like)
    assert made.keys() == recorded.keys()
    assert made["result"].keys() == recorded["result"].keys()


# REST.


async def get(server: BybitServer, http: aiohttp.ClientSession, path: str) -> Json:
    async with http.get(f"http://{server.base}/v5/market/{path}") as answer:
        assert answer.status == 200
        found: Json = await answer.json()
        return found


async def test_a_list_that_is_read_to_its_first_page_only_lacks_instruments(
    server: BybitServer, http: aiohttp.ClientSession
) -> None:
    found: list[str] = []
    cursor = ""
    pages = 0
    while pages == 0 or cursor:
        page = await get(server, http, f"instruments-info?category=linear&limit=1000&cursor={cursor}")
        found += [row["symbol"] for row in page["result"]["list"]]
        cursor = page["result"]["nextPageCursor"].replace("%", "%25")
        pages += 1
    assert pages > 1
    assert sorted(found) == sorted(native for market, native in server.listings if market == "linear")
    spot = await get(server, http, "instruments-info?category=spot&limit=1")
    assert len(spot["result"]["list"]) == 2
    assert "nextPageCursor" not in spot["result"]


@pytest.mark.parametrize(
    "path",
    [
        "funding/history?category=linear&symbol=BTCUSDT&startTime=1",
        "kline?category=linear&symbol=NOSUCHSYM&interval=1",
        "kline?category=linear&symbol=BTCUSDT&interval=7",
        "premium-index-price-kline?category=inverse&symbol=BTCUSD&interval=1",
        "orderbook?category=option&symbol=BTCUSDT",
        "open-interest?category=linear&symbol=BTCUSDT",
        "recent-trade?category=linear&symbol=BTCUSDT&limit=zero",
    ],
)
async def test_an_error_has_status_200_and_says_so_in_its_code(
    server: BybitServer, http: aiohttp.ClientSession, path: str
) -> None:
    answer = await get(server, http, path)
    assert answer["retCode"] != 0
    assert answer["result"] == {}


async def test_history_comes_newest_first_and_within_what_was_asked(server: BybitServer, http: aiohttp.ClientSession) -> None:
    for name in ("kline", "mark-price-kline", "index-price-kline", "premium-index-price-kline"):
        rows = (await get(server, http, f"{name}?category=linear&symbol=BTCUSDT&interval=5"))["result"]["list"]
        times = [int(row[0]) for row in rows]
        assert len(rows) == 200
        assert times == sorted(times, reverse=True)
        assert {later - earlier for later, earlier in itertools.pairwise(times)} == {300_000}
        assert {len(row) for row in rows} == {7 if name == "kline" else 5}
        for row in rows:
            opened, high, low, closed = map(float, row[1:5])
            assert low <= min(opened, closed)
            assert high >= max(opened, closed)
        span = f"start={times[150]}&end={times[100]}"
        part = (await get(server, http, f"{name}?category=linear&symbol=BTCUSDT&interval=5&{span}"))["result"]["list"]
        assert [int(row[0]) for row in part] == times[100:151]
    funding = (await get(server, http, "funding/history?category=linear&symbol=BTCUSDT"))["result"]["list"]
    stamps = [int(row["fundingRateTimestamp"]) for row in funding]
    assert len(stamps) >= 5
    assert stamps == sorted(stamps, reverse=True)
    assert all(stamp % 28_800_000 == 0 for stamp in stamps)


async def test_open_interest_pages_join_without_a_hole_or_a_repeat(server: BybitServer, http: aiohttp.ClientSession) -> None:
    stamps: list[int] = []
    cursor = ""
    for _ in range(20):
        path = f"open-interest?category=linear&symbol=BTCUSDT&intervalTime=15min&limit=40&cursor={cursor.replace('%', '%25')}"
        answer = await get(server, http, path)
        stamps += [int(row["timestamp"]) for row in answer["result"]["list"]]
        cursor = answer["result"]["nextPageCursor"]
        if not cursor:
            break
    assert len(stamps) == 192
    assert {later - earlier for later, earlier in itertools.pairwise(stamps)} == {900_000}


async def test_the_book_over_rest_is_the_truth_and_spot_gives_one_level_unless_asked(
    server: BybitServer, http: aiohttp.ClientSession
) -> None:
    for category, native, default in (("spot", "BTCUSDT", 1), ("linear", "BTCUSDT", 25), ("inverse", "BTCUSD", 25)):
        for depth, query in ((default, ""), (300, "&limit=300")):
            book = (await get(server, http, f"orderbook?category={category}&symbol={native}{query}"))["result"]
            truth = server.world.truth(f"BYBIT.{category}.{native}", book["seq"], depth)
            assert [[(float(p), float(s)) for p, s in book[side]] for side in "ba"] == list(truth)


async def test_time_follows_the_venues_own_clock(server: BybitServer, http: aiohttp.ClientSession) -> None:
    server.clock_offset_ns = 7 * SECOND
    answer = await get(server, http, "time")
    assert int(answer["result"]["timeNano"]) == server.world.now_ns + 7 * SECOND
    assert answer["time"] == int(answer["result"]["timeNano"]) // 1_000_000


async def test_who_asks_too_often_is_shut_out_without_an_envelope(server: BybitServer, http: aiohttp.ClientSession) -> None:
    server.answers._requests.extend([server.world.now_ns] * 600)
    async with http.get(f"http://{server.base}/v5/market/time") as answer:
        assert (answer.status, await answer.text()) == (403, "access too frequent")
    server.world.advance(server.world.now_ns + 5 * SECOND)
    assert (await get(server, http, "time"))["retCode"] == 0
