"""The simulated OKX on a real socket: its books against the truth, its frames against recorded ones, its refusals, its REST.

Time is the test's: the market moves when `advance` is called, so every run is the same. The last part puts the real adapter, with
the program's own connections, in front of it.
"""

import asyncio
import gzip
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from feeds import wire
from feeds.live import Live
from feeds.model import (
    MS,
    SECOND,
    BookState,
    Channel,
    Funding,
    Index,
    Instrument,
    LinkState,
    Liquidation,
    Mark,
    Metric,
    Ns,
    OpenInterest,
    Stats24h,
    Status,
    Stream,
    Trade,
)
from feeds.orderbook import OrderBook
from feeds.simulator.kit import Connection
from feeds.simulator.maker import Print
from feeds.simulator.market import STEP_NS, Forced, Step, World
from feeds.simulator.okx import PATH, OkxServer
from feeds.venue import Endpoint, NoListener
from feeds.venues.okx import Okx
from tests.recordings import recording
from tests.shapes import shape
from tests.unit.test_okx import (
    BOOK_UPDATE,
    FUNDING,
    INDEX,
    LIQUIDATION,
    MARK,
    OPEN_INTEREST,
    TICKER,
    TOUCH,
    TRADE,
    WORKS,
)

START_NS = 1_790_757_082 * SECOND
SWAP, COIN, SPOT, DATED = "BTC-USDT-SWAP", "ETH-USD-SWAP", "BTC-USDT", "BTC-USDT-261225"
Json = dict[str, Any]
Arg = dict[str, str]


def arg(channel: str, what: str = "") -> Arg:
    if not what:
        return {"channel": channel}
    return {"channel": channel, "instType" if channel == "liquidation-orders" else "instId": what}


class Client:
    """A raw websocket client: what it was sent, parsed."""

    def __init__(self, world: World, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.world = world
        self.ws = ws

    async def ask(self, message: Json | str) -> list[Json]:
        """Send, and everything that has been said in answer."""
        await self.ws.send_str(message if isinstance(message, str) else json.dumps(message))
        return await self.heard()

    async def heard(self) -> list[Json]:
        """What has been sent by now."""
        await self.ws.send_str("ping")
        frames = []
        while (text := await self.ws.receive_str(timeout=5)) != "pong":
            frames.append(json.loads(text))
        return frames

    async def subscribe(self, *args: Arg) -> list[Json]:
        """What comes after the acknowledgements, which must be right."""
        frames = await self.ask({"id": "7", "op": "subscribe", "args": args})
        assert [(each["id"], each["event"], each["arg"]) for each in frames[: len(args)]] == [
            ("7", "subscribe", each) for each in args
        ]
        return frames[len(args) :]

    async def advance(self, steps: int) -> list[Json]:
        """Move the market on; what was sent meanwhile."""
        frames: list[Json] = []
        while steps > 0:
            self.world.advance(self.world.now_ns + min(steps, 50) * STEP_NS)
            steps -= 50
            frames.extend(await self.heard())
        return frames

    async def closed_with(self) -> int | None:
        """The code of the close that must come, after whatever data."""
        while True:
            message = await self.ws.receive(timeout=5)
            if message.type is aiohttp.WSMsgType.CLOSE:
                return int(message.data)
            assert message.type is aiohttp.WSMsgType.TEXT, "closed without a code"


@pytest.fixture
async def server() -> AsyncIterator[OkxServer]:
    made = OkxServer(World(11, START_NS, ("BTC", "ETH"), venues=("OKX",)))
    await made.start()
    yield made
    await made.stop()


async def client(server: OkxServer, http: aiohttp.ClientSession) -> Client:
    return Client(server.world, await http.ws_connect(f"ws://{server.base}{PATH}"))


def key(native: str) -> str:
    return f"OKX.public.{native}"


class NaiveBook:
    """The rule of protocols.md 3.3, and no more."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.number = -1

    def take(self, message: Json) -> None:
        (data,) = message["data"]
        if message["action"] == "snapshot":
            self.bids, self.asks = {}, {}
            assert data["prevSeqId"] == -1
        else:
            assert data["prevSeqId"] == self.number
        for side, levels in ((self.bids, data["bids"]), (self.asks, data["asks"])):
            for price, size, constant, orders in levels:
                assert (constant, orders == "0") == ("0", size == "0")
                if float(size):
                    side[float(price)] = float(size)
                else:
                    del side[float(price)]
        assert data["checksum"] == 0
        self.number = data["seqId"]

    @property
    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


def books_of(frames: Sequence[Json], native: str) -> list[Json]:
    return [each for each in frames if each.get("arg") == arg("books", native) and "data" in each]


# Books.


async def test_a_book_kept_by_the_rule_is_the_truth_after_each_of_a_thousand_updates(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    books = {native: NaiveBook() for native in (SWAP, COIN, SPOT, DATED)}
    count, gaps, full = 0, 0, 0

    def take(frames: Sequence[Json]) -> None:
        nonlocal count, gaps, full
        for frame in frames:
            native = frame["arg"]["instId"]
            book, before = books[native], books[native].number
            book.take(frame)
            truth = server.truth(key(native), book.number, 400)
            assert book.levels == truth, f"{native} at {book.number}"
            full += [len(side) for side in truth] == [400, 400]
            count += 1
            gaps += book.number - before > 1

    take(await reader.subscribe(*(arg("books", native) for native in books)))
    for _ in range(30):
        take(await reader.advance(50))
    assert count > 1_000
    assert count * 0.3 < full < count, "some books are cut off at the window's edge, some end before it"
    assert gaps > count * 0.9, "numbers are shared with other instruments"


async def test_a_best_quote_is_told_at_each_change_with_the_books_number_and_before_the_book(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    (snapshot, quote) = sorted(
        await reader.subscribe(arg("books", SWAP), arg("bbo-tbt", SWAP)), key=lambda each: "action" not in each
    )
    assert snapshot["data"][0]["seqId"] == quote["data"][0]["seqId"]
    touches = 0

    def changed(step: Step) -> None:
        nonlocal touches
        touches += server.world.books[key(SWAP)].touched

    server.world.subscribe(changed)
    frames = await reader.advance(500)
    quotes = [each["data"][0] for each in frames if each["arg"]["channel"] == "bbo-tbt"]
    assert len(quotes) == touches > 100
    for each in quotes:
        (bid, bid_size, _, _), (ask, ask_size, _, _) = each["bids"][0], each["asks"][0]
        told = (float(bid), float(bid_size), float(ask), float(ask_size))
        assert told == server.world.truth_touch(key(SWAP), each["seqId"])
    numbers = [(each["data"][0]["seqId"], each["arg"]["channel"]) for each in frames]
    assert all(earlier <= later for (earlier, _), (later, _) in itertools.pairwise(numbers))
    assert sum(earlier[0] == later[0] for earlier, later in itertools.pairwise(numbers)) > 10
    assert not any(earlier == (later[0], "books") for earlier, later in itertools.pairwise(numbers))


async def test_a_second_subscriber_joins_a_running_count_without_disturbing_the_first(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    first, second = await client(server, http), await client(server, http)
    books = [NaiveBook(), NaiveBook()]
    for frame in await first.subscribe(arg("books", SWAP)) + await first.advance(33):
        books[0].take(frame)
    for frame in await second.subscribe(arg("books", SWAP)):
        books[1].take(frame)
    for frame in await first.advance(50):
        books[0].take(frame)
    for frame in await second.heard():
        books[1].take(frame)
    assert books[0].levels == books[1].levels
    assert books[0].number == books[1].number


async def test_after_a_pause_without_readers_a_book_does_not_begin_with_old_levels(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    await reader.subscribe(arg("books", SWAP))
    (answer,) = await reader.ask({"op": "unsubscribe", "args": [arg("books", SWAP)]})
    assert (answer["event"], answer["arg"]) == ("unsubscribe", arg("books", SWAP))
    assert await reader.advance(200) == []
    book = NaiveBook()
    for frame in await reader.subscribe(arg("books", SWAP)):
        book.take(frame)
    assert book.number == server.world.books[key(SWAP)].seq
    assert book.levels == server.world.truth(key(SWAP), book.number, 400)


async def test_a_book_that_rests_repeats_its_number_each_minute(server: OkxServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    ((snapshot),) = await reader.subscribe(arg("books", SWAP))
    number = snapshot["data"][0]["seqId"]
    told: list[Json] = []
    for second in range(1, 122):
        now_ns = server.world.now_ns + second * SECOND
        server.on_step(Step(0, now_ns, [], [], True))  # nothing happens to any book
        server.connections[0].flush()
        told += await reader.heard()
        server.connections[0].heard_ns = now_ns
    rows = [each["data"][0] for each in told]
    assert [(row["asks"], row["bids"], row["seqId"], row["prevSeqId"]) for row in rows] == [([], [], number, number)] * 2
    assert int(rows[1]["ts"]) - int(rows[0]["ts"]) == 60_000


async def test_counting_starts_over_from_a_smaller_number_that_follows_the_last_and_the_truth_is_found_under_both(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    book = NaiveBook()
    frames = await reader.subscribe(arg("books", SWAP), arg("bbo-tbt", SWAP)) + await reader.advance(50)
    begun = server.number(server.listings[SWAP], server.world.books[key(SWAP)].seq)
    for _ in range(3):
        assert server.restart("public", SWAP) == 1
        frames += await reader.advance(52)
    falls, last = 0, 1 << 62
    for frame in frames:
        number = frame["data"][0]["seqId"]
        if frame["arg"]["channel"] == "books":
            book.take(frame)
            assert book.levels == server.truth(key(SWAP), book.number, 400)
            falls += number < last
            last = number
        else:
            assert server.truth_touch(key(SWAP), number)[0] == float(frame["data"][0]["bids"][0][0])
    assert falls == 1 + 3
    assert last < begun // 7


async def test_other_books_count_on_when_one_starts_over(server: OkxServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    frames = await reader.subscribe(arg("books", SWAP), arg("books", SPOT))
    server.restart("public", SWAP)
    other = NaiveBook()
    for frame in books_of(frames + await reader.advance(50), SPOT):
        other.take(frame)
    assert other.number == server.world.books[key(SPOT)].seq


# What is answered, refused and closed.


async def test_each_arg_is_acknowledged_by_itself_and_its_data_come_after_all_of_them(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    args = [arg("tickers", SWAP), arg("books", SWAP), arg("index-tickers", "BTC-USDC")]
    frames = await reader.ask({"id": "md7", "op": "subscribe", "args": args})
    assert ["data" in frame for frame in frames] == [False] * 3 + [True] * 3
    assert frames[0] == {"id": "md7", "event": "subscribe", "arg": args[0], "connId": frames[0]["connId"]}
    assert [frame["arg"] for frame in frames[3:]] == args
    (bare, _) = await reader.ask({"op": "subscribe", "args": [arg("bbo-tbt", SPOT)]})
    assert list(bare) == ["event", "arg", "connId"]


WRONG: Sequence[Arg] = [
    arg("books", "NO-SUCH"),
    arg("mark-price", SPOT),
    arg("funding-rate", DATED),
    arg("open-interest", SPOT),
    arg("index-tickers", SWAP),
    arg("index-tickers", "BTC-EUR"),
    arg("liquidation-orders", "SPOT"),
    arg("books-l2-nope", SWAP),
    {"channel": "books", "instType": "SWAP"},
    {"channel": "books", "instId": SWAP, "instType": "SWAP"},
    {"instId": SWAP},
]


async def test_a_wrong_arg_is_refused_with_the_requests_number_and_takes_no_other_down(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    for wrong in WRONG:
        refused, accepted, _ = await reader.ask({"id": "9", "op": "subscribe", "args": [wrong, arg("tickers", SWAP)]})
        assert list(refused) == ["id", "event", "code", "msg", "connId"]
        assert (refused["id"], refused["event"], refused["code"]) == ("9", "error", "60018")
        assert f"channel:{wrong.get('channel', '')}" in refused["msg"]
        assert accepted["event"] == "subscribe"
    assert {frame["arg"]["channel"] for frame in await reader.advance(100)} == {"tickers"}


NONSENSE: Sequence[str] = [
    "hello",
    "[" * 5_000,
    "[]",
    '{"op":"login","args":[{}]}',
    '{"op":"subscribe"}',
    '{"op":"subscribe","args":[]}',
    '{"op":"subscribe","args":["books"]}',
    '{"op":"subscribe","args":[{"channel":1}]}',
    '{"id":"not alphanumeric","op":"subscribe","args":[{"channel":"status"}]}',
]


async def test_what_is_no_request_is_refused_and_closes_nothing(server: OkxServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    for nonsense in NONSENSE:
        (answer,) = await reader.ask(nonsense)
        assert (answer["event"], answer["code"]) == ("error", "60012")
    assert await reader.subscribe(arg("status")) == []


async def test_beyond_480_requests_in_an_hour_a_connection_is_refused_and_the_next_is_not(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    for _ in range(240):
        await reader.ws.send_str(json.dumps({"op": "subscribe", "args": [arg("status")]}))
        await reader.ws.send_str(json.dumps({"op": "unsubscribe", "args": [arg("status")]}))
    assert {frame["event"] for frame in await reader.heard()} == {"subscribe", "unsubscribe"}
    (answer,) = await reader.ask({"id": "1", "op": "subscribe", "args": [arg("status")]})
    assert (answer["id"], answer["code"]) == ("1", "60014")
    other = await client(server, http)
    assert await other.subscribe(arg("status")) == []
    made = server._clients[server.connections[0]].operations
    made.extend([made.popleft() - 3_600 * SECOND for _ in range(len(made))])  # as if they had been an hour ago
    assert await reader.subscribe(arg("status")) == []


async def test_the_args_of_a_connection_are_limited_to_64_kb(server: OkxServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe(arg("tickers", SWAP))
    server._clients[server.connections[0]].args_bytes = (64 << 10) - 10
    (answer,) = await reader.ask({"op": "subscribe", "args": [arg("tickers", SPOT)]})
    assert (answer["code"], "64 KB" in answer["msg"]) == ("60012", True)
    await reader.ask({"op": "unsubscribe", "args": [arg("tickers", SWAP)]})
    assert await reader.subscribe(arg("tickers", SPOT))


async def test_a_fourth_connect_in_a_second_is_refused(server: OkxServer, http: aiohttp.ClientSession) -> None:
    now = asyncio.get_running_loop().time()
    server.connects.extend([now + 5.0] * 3)  # so that the speed of this machine does not matter
    with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
        await client(server, http)
    server.connects.clear()
    assert await (await client(server, http)).heard() == []


async def test_a_ping_is_bare_text_and_so_is_its_answer(server: OkxServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.ws.send_str("ping")
    assert await reader.ws.receive_str(timeout=5) == "pong"


async def test_a_connection_on_which_nothing_is_pushed_or_asked_for_30_seconds_is_closed_and_another_is_not(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    idle, pushed, asking = await client(server, http), await client(server, http), await client(server, http)
    await idle.heard()
    await pushed.subscribe(arg("books", SWAP))
    for _ in range(7):
        await asking.heard()
        server.world.advance(server.world.now_ns + 5 * SECOND)
    assert await idle.closed_with() == 4004
    assert [connection.alive for connection in server.connections] == [True, True]
    await asking.heard()


async def test_an_upgrade_is_announced_and_cuts_a_minute_later_whoever_is_still_there(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    old = await client(server, http)
    await old.subscribe(arg("tickers", SWAP))
    server.announce_shutdown()
    (notice,) = await old.heard()
    assert list(notice) == ["event", "code", "msg", "connId"]
    assert (notice["event"], notice["code"]) == ("notice", "64008")
    new = await client(server, http)
    await new.subscribe(arg("tickers", SWAP))
    for _ in range(12):
        assert await old.heard() is not None
        server.world.advance(server.world.now_ns + 5 * SECOND)
    assert await old.closed_with() == 1001
    assert await new.advance(20)


async def test_a_reader_who_does_not_read_is_cut_off(server: OkxServer, http: aiohttp.ClientSession) -> None:
    slow, other = await client(server, http), await client(server, http)
    args = [arg(channel, native) for native in server.listings for channel in ("books", "bbo-tbt", "trades", "tickers")]
    await slow.subscribe(*args)
    await other.subscribe(*args)
    connection: Connection = server.connections[0]
    connection.outbox_bytes = 1 << 16
    transport = slow.ws._response.connection.transport  # type: ignore[union-attr]
    transport.pause_reading()  # type: ignore[union-attr]
    for _ in range(400):
        await other.advance(20)
        if server.too_slow:
            break
    assert server.too_slow == 1
    assert not connection.alive
    assert await other.advance(10)
    transport.abort()  # type: ignore[union-attr]


async def test_maintenance_is_told_to_who_listens_and_to_who_comes_later(server: OkxServer, http: aiohttp.ClientSession) -> None:
    first, second = await client(server, http), await client(server, http)
    assert await first.subscribe(arg("status")) == []
    server.maintain("scheduled", START_NS + 3_600 * SECOND, START_NS + 3_900 * SECOND)
    (told,) = await first.heard()
    assert shape(told) == shape(json.loads(WORKS))
    assert list(told["data"][0]) == list(json.loads(WORKS)["data"][0])
    assert (told["data"][0]["state"], told["data"][0]["begin"]) == ("scheduled", str((START_NS + 3_600 * SECOND) // MS))
    assert await second.subscribe(arg("status")) == [told]


# Trades and liquidations.


async def test_trades_are_those_of_the_market_gathered_by_price_with_the_last_ones_id(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    natives = (SWAP, COIN, SPOT)
    await reader.subscribe(*(arg("trades", native) for native in natives))
    prints: list[Print] = []
    server.world.subscribe(lambda step: prints.extend(step.prints))
    rows = [row for frame in await reader.advance(500) for row in frame["data"]]
    true: dict[tuple[str, int, str, int], int] = {}
    for made in prints:
        listing = server.world.listings[made.key]
        if listing.native in natives:
            at = (listing.native, made.ticks, "buy" if made.buy else "sell", made.now_ns // MS)
            true[at] = true.get(at, 0) + made.lots
    assert len(rows) == len(true) > 100
    for row, (place, lots) in zip(sorted(rows, key=place_of), sorted(true.items()), strict=True):
        listing = server.listings[row["instId"]]
        assert (row["instId"], row["side"], int(row["ts"])) == (place[0], place[2], place[3])
        assert (float(row["px"]), float(row["sz"])) == (float(listing.price_text(place[1])), float(listing.size_text(lots)))
    for native in natives:
        own = [(int(row["tradeId"]), int(row["count"])) for row in rows if row["instId"] == native]
        assert all(later == earlier + count for (earlier, _), (later, count) in itertools.pairwise(own))
        assert max(count for _, count in own) > 1
    again = await client(server, http)
    (last,) = await again.subscribe(arg("trades", SWAP))
    assert last["data"][0] == next(row for row in reversed(rows) if row["instId"] == SWAP)


def place_of(row: Json) -> tuple[str, int, str, int]:
    tick = 0.01 if row["instId"].startswith("ETH") else 0.1
    return row["instId"], round(float(row["px"]) / tick), row["side"], int(row["ts"])


def liquidate(server: OkxServer, native: str = SWAP) -> None:
    """Two longs and a short are closed out, in one second."""
    now_ns = server.world.now_ns
    forced = [
        Forced(key(native), True, 801_000, 800_000, 500, now_ns - 20 * MS),
        Forced(key(native), False, 801_000, 802_000, 700, now_ns - 10 * MS),
        Forced(key(COIN), True, 300_000, 299_000, 15, now_ns),
    ]
    step = Step(0, now_ns, [], forced, True)
    server._remember(step)
    server.on_step(step)
    for connection in server.connections:
        connection.flush()


async def test_a_liquidation_names_position_and_order_and_at_most_one_a_contract_and_second_is_told(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    assert await reader.subscribe(arg("liquidation-orders", "SWAP"), arg("liquidation-orders", "FUTURES")) == []
    liquidate(server)
    told = [(row["instId"], row["details"]) for frame in await reader.heard() for row in frame["data"]]
    assert [(native, [(one["posSide"], one["side"], one["bkPx"], one["sz"]) for one in details]) for native, details in told] == [
        (SWAP, [("short", "buy", "80200", "7")]),
        (COIN, [("long", "sell", "2990", "1.5")]),
    ]


async def test_recent_liquidations_are_repeated_at_subscription_newest_first(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    await reader.heard()
    liquidate(server)
    (first,) = await reader.subscribe(arg("liquidation-orders", "SWAP"))
    assert {row["instId"]: [one["sz"] for one in row["details"]] for row in first["data"]} == {SWAP: ["7", "5"], COIN: ["1.5"]}
    assert await reader.subscribe(arg("liquidation-orders", "FUTURES")) == []


# Frames against recorded ones.

FIXTURES = (BOOK_UPDATE, TOUCH, TRADE, MARK, INDEX, FUNDING, OPEN_INTEREST, LIQUIDATION, TICKER)
"""Recorded frames: protocols.md 3.7."""


@pytest.mark.parametrize("text", FIXTURES, ids=lambda text: json.loads(text)["arg"]["channel"])
async def test_frames_have_the_keys_and_types_of_recorded_ones(server: OkxServer, http: aiohttp.ClientSession, text: str) -> None:
    recorded = json.loads(text)
    reader = await client(server, http)
    frames = await reader.subscribe(recorded["arg"])
    liquidate(server)
    frames += await reader.advance(3_050 if recorded["arg"]["channel"] == "funding-rate" else 250)
    if "action" in recorded:
        frames = [frame for frame in frames if frame["action"] == recorded["action"]]
    assert len(frames) > 1 + (recorded["arg"]["channel"] == "liquidation-orders") * -1
    for made in frames:
        assert shape(made) <= shape(recorded)
        assert list(made) == list(recorded)
        assert made["arg"] == recorded["arg"]
        assert [list(row) for row in made["data"]] == [list(recorded["data"][0])] * len(made["data"])


async def test_numbers_are_written_without_trailing_zeros(server: OkxServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    (snapshot,) = await reader.subscribe(arg("books", SPOT))
    texts = [text for side in ("asks", "bids") for level in snapshot["data"][0][side] for text in level[:2]]
    assert len(texts) == 1_600
    assert not any(text.endswith((".", "0")) for text in texts if "." in text)
    assert any("." not in text for text in texts)


NOT_RECORDED: Mapping[str, set[str]] = {
    "books": {".data[].seqId int", ".data[].prevSeqId int"},
    "trades": {".data[].count number as text", ".data[].source number as text", ".data[].seqId int"},
    "subscribe": {".id number as text", ".connId number as text", ".connId text"},
}
"""What the venue has said only since 2022, by channel or event."""


@pytest.mark.recordings
async def test_frames_have_the_keys_and_types_of_the_recording(server: OkxServer, http: aiohttp.ClientSession) -> None:
    text = gzip.decompress((recording("okx-2022-05-13") / "spot-swap-futures.jsonl.gz").read_bytes()).decode()
    recorded: dict[tuple[str, str], set[str]] = {}
    for line in map(json.loads, text.splitlines()):
        if line["t"] == "recv":
            frame = json.loads(line["data"])
            recorded.setdefault(kind_of(frame), set()).update(shape(frame))
    reader = await client(server, http)
    args = [arg(channel, native) for channel in ("tickers", "trades", "books") for native in (DATED, COIN, SPOT)]
    made: dict[tuple[str, str], set[str]] = {}
    for frame in await reader.ask({"id": "7", "op": "subscribe", "args": args}) + await reader.advance(500):
        made.setdefault(kind_of(frame), set()).update(shape(frame))
    assert made.keys() == recorded.keys()
    for kind, found in made.items():
        assert found - recorded[kind] <= NOT_RECORDED.get(kind[0], set()), kind
        assert recorded[kind] - found == set(), kind


def kind_of(frame: Json) -> tuple[str, str]:
    """The channel, or the event, and the action."""
    return frame.get("event") or frame["arg"]["channel"], frame.get("action", "")


LISTED_SINCE: set[str] = {
    "auctionEndTime", "contTdSwTime", "instFamily", "instIdCode", "openType", "ruleType",
}  # fmt: skip
"""Fields of an instrument that the list of 2022 has not (protocols.md 3.5)."""


@pytest.mark.recordings
async def test_instrument_lists_have_the_keys_and_types_of_the_recording(server: OkxServer, http: aiohttp.ClientSession) -> None:
    text = gzip.decompress((recording("okx-2022-05-13") / "spot-swap-futures.jsonl.gz").read_bytes()).decode()
    answers = {
        line["url"].partition("instType=")[2]: json.loads(line["data"])
        for line in map(json.loads, text.splitlines())
        if line["t"] == "http"
    }
    for kind in ("SPOT", "SWAP", "FUTURES"):
        made = await get(server, http, f"public/instruments?instType={kind}")
        assert sorted(made) == sorted(answers[kind])
        assert len(made["data"]) == sum(
            one.kind == {"SPOT": "spot", "SWAP": "perp", "FUTURES": "future"}[kind] for one in server.listings.values()
        )
        for row in made["data"]:
            like = next(
                one
                for one in answers[kind]["data"]
                if one["uly"] == row["uly"]
                and one["baseCcy"] == row["baseCcy"]
                and one["ctType"] == row["ctType"]
                and (kind != "FUTURES" or "quarter" in one["alias"])
            )
            assert set(row) - set(like) == LISTED_SINCE
            assert list(like) == [name for name in row if name in like]
            assert {name: shape(row[name]) for name in like} == {name: shape(like[name]) for name in like}
            facts = ("ctMult", "ctType", "ctVal", "ctValCcy", "quoteCcy", "settleCcy", "tickSz")
            assert [row[name] for name in facts] == [like[name] for name in facts]


# REST.


async def get(server: OkxServer, http: aiohttp.ClientSession, path: str, status: int = 200) -> Json:
    async with http.get(f"http://{server.base}/api/v5/{path}") as answer:
        assert answer.status == status
        found: Json = await answer.json()
        return found


async def test_the_book_over_rest_is_the_truth_and_one_level_unless_more_are_asked_for(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    server.world.advance(START_NS + SECOND)
    for native, depth, query in ((SWAP, 1, ""), (COIN, 300, "&sz=300"), (SPOT, 400, "&sz=400")):
        (book,) = (await get(server, http, f"market/books?instId={native}{query}"))["data"]
        assert list(book) == ["asks", "bids", "ts", "seqId"]
        truth = server.world.truth(key(native), book["seqId"], depth)
        assert [[(float(p), float(s)) for p, s, _, _ in book[side]] for side in ("bids", "asks")] == list(truth)
    server.restart("public", SWAP)
    (book,) = (await get(server, http, f"market/books?instId={SWAP}"))["data"]
    assert server.state(key(SWAP), book["seqId"]) == server.world.books[key(SWAP)].seq > book["seqId"]


async def test_updates_go_on_from_a_book_over_rest_without_a_level_too_many_or_too_few(
    server: OkxServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    await reader.subscribe(arg("books", SWAP))
    await reader.advance(33)
    (found,) = (await get(server, http, f"market/books?instId={SWAP}&sz=400"))["data"]
    book = NaiveBook()
    book.take({"action": "snapshot", "data": [{**found, "prevSeqId": -1, "checksum": 0}]})
    updates = await reader.advance(300)
    for frame in updates:
        book.take(frame)
        assert book.levels == server.truth(key(SWAP), book.number, 400)
    assert len(updates) > 50


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("market/books?instId=NO-SUCH", 200, "51001"),
        ("market/books?instId=BTC-USDT&sz=401", 200, "51000"),
        ("market/books?instId=BTC-USDT&sz=many", 200, "51000"),
        ("market/books", 400, "50014"),
        ("public/instruments", 400, "50014"),
        ("public/instruments?instType=STOCK", 200, "51000"),
        ("public/funding-rate-history?instId=BTC-USDT", 200, "51000"),
    ],
)
async def test_a_refusal_says_so_in_its_code(
    server: OkxServer, http: aiohttp.ClientSession, path: str, status: int, code: str
) -> None:
    answer = await get(server, http, path, status)
    assert (answer["code"], answer["data"]) == (code, [])
    assert answer["msg"]


async def test_past_funding_comes_newest_first_and_after_means_older(server: OkxServer, http: aiohttp.ClientSession) -> None:
    path = f"public/funding-rate-history?instId={SWAP}"
    times = [int(row["fundingTime"]) for row in (await get(server, http, path))["data"]]
    assert times == sorted(times, reverse=True)
    assert len(times) >= 5
    assert all(at % 28_800_000 == 0 for at in times)

    async def page(query: str) -> list[int]:
        return [int(row["fundingTime"]) for row in (await get(server, http, f"{path}{query}"))["data"]]

    assert await page(f"&limit=2&after={times[1]}") == times[2:4]
    assert await page(f"&before={times[2]}") == times[:2]


async def test_time_follows_the_venues_own_clock(server: OkxServer, http: aiohttp.ClientSession) -> None:
    server.clock_offset_ns = 7 * SECOND
    (row,) = (await get(server, http, "public/time"))["data"]
    assert int(row["ts"]) == (server.world.now_ns + 7 * SECOND) // MS


async def test_who_asks_too_often_is_refused_for_two_seconds(server: OkxServer, http: aiohttp.ClientSession) -> None:
    for _ in range(10):
        await get(server, http, "public/time")
    assert (await get(server, http, "public/time", 429))["code"] == "50011"
    assert (await get(server, http, "public/instruments?instType=SPOT"))["code"] == "0"
    server.world.advance(server.world.now_ns + 2 * SECOND)
    assert (await get(server, http, "public/time"))["code"] == "0"


async def test_indices_of_bitcoin_and_ether_exist_and_move_though_neither_is_listed(http: aiohttp.ClientSession) -> None:
    alone = OkxServer(World(5, START_NS, ("SOL",), venues=("OKX",)))
    await alone.start()
    try:
        reader = await client(alone, http)
        pairs = [f"{base}-{quote}" for base in ("BTC", "ETH", "SOL") for quote in ("USD", "USDT", "USDC")]
        told: dict[str, list[float]] = {pair: [] for pair in pairs}
        for frame in await reader.subscribe(*(arg("index-tickers", pair) for pair in pairs)) + await reader.advance(250):
            told[frame["arg"]["instId"]].append(float(frame["data"][0]["idxPx"]))
        assert all(len(set(prices)) > 3 for prices in told.values())
        for base in ("BTC", "ETH", "SOL"):
            rate = told[f"{base}-USD"][-1] / told[f"{base}-USDT"][-1]
            assert rate == pytest.approx(alone.world.usd_per["USDT"], abs=2e-5)
    finally:
        await alone.stop()


# The real adapter.


class Witness(NoListener):
    """Holds all that the adapter tells against the market."""

    def __init__(self, server: OkxServer) -> None:
        self.server = server
        self.published: Counter[str] = Counter()
        self.books: dict[str, OrderBook] = {}
        self.status: dict[Stream, Status] = {}
        self.fell: list[tuple[Stream, Status]] = []
        self.metrics: dict[tuple[str, type], list[Metric]] = {}
        self.trades: list[tuple[Instrument, Trade]] = []
        self.seconds: dict[int, dict[str, tuple[float, float, float, int, int]]] = {}
        """Second -> listing -> mark, index, rate, next funding and open lots, as published in it."""
        self._note(Step(0, server.world.now_ns, [], [], True))
        server.world.subscribe(self._note)

    def _note(self, step: Step) -> None:
        if step.whole_second:
            self.seconds[step.now_ns // SECOND] = {
                name: (one.mark, one.index, one.rate, one.next_funding_ns, one.open_interest_lots)
                for name, one in self.server.world.figures.items()
            }

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        self.status[stream] = status
        if stream.channel is Channel.BOOK and stream.instrument in self.books and status.book is not BookState.SYNCED:
            self.fell.append((stream, status))

    def on_touch(self, book: OrderBook, now: Ns) -> None:
        number = max(book.touch_seq, book.seq)
        true = self.server.truth_touch(key(book.instrument.native), number)
        assert (book.bid, book.bid_size, book.ask, book.ask_size) == true
        self.published[book.instrument.id] += 1

    def on_book(self, book: OrderBook, now: Ns) -> None:
        self.on_touch(book, now)
        self.books[book.instrument.id] = book
        if self.published[book.instrument.id] % 8 == 0:
            self.compare(book)

    def compare(self, book: OrderBook) -> None:
        truth = self.server.truth(key(book.instrument.native), book.seq, 400)
        assert (book.bids.levels(400), book.asks.levels(400)) == truth

    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None:
        self.trades.append((instrument, trade))

    def on_metric(self, instrument: Instrument, metric: Metric, now: Ns) -> None:
        self.metrics.setdefault((instrument.native, type(metric)), []).append(metric)


class Rig:
    """The program's own feeds in front of the server."""

    def __init__(self, server: OkxServer, live: Live, witness: Witness) -> None:
        self.server = server
        self.live = live
        self.witness = witness

    @property
    def wanted(self) -> list[Instrument]:
        return list(self.live.hub.instruments.values())

    def ready(self) -> bool:
        """Whether every stream has data and every book is whole."""
        streams = [Stream(one.id, channel) for one in self.wanted for channel in Okx().channels(one)]
        known = [self.witness.status.get(stream) for stream in streams]
        return bool(known) and all(
            status is not None
            and status.link is LinkState.READY
            and (stream.channel is not Channel.BOOK or status.book is BookState.SYNCED)
            for stream, status in zip(streams, known, strict=True)
            if stream.channel is not Channel.LIQUIDATION
        )

    async def move(self, until: Callable[[], bool]) -> None:
        """Move the market on until it is so."""
        async with asyncio.timeout(20):
            while not until():
                self.server.world.advance(self.server.world.now_ns + 100 * MS)
                await asyncio.sleep(0.001)

    async def updates(self, more: int) -> None:
        before = dict(self.witness.published)
        await self.move(lambda: all(self.witness.published[one.id] >= before.get(one.id, 0) + more for one in self.wanted))


@asynccontextmanager
async def rigged(server: OkxServer) -> AsyncIterator[Rig]:
    witness = Witness(server)
    venue = Okx({"public": Endpoint(f"http://{server.base}", f"ws://{server.base}")})
    live = Live({"OKX": venue}, witness, list, markets={"OKX": ("public",)}, rng=random.Random(1))
    task = asyncio.create_task(live.run())
    rig = Rig(server, live, witness)
    try:
        await rig.move(rig.ready)
        yield rig
    finally:
        live.stop()
        await task
        await asyncio.gather(*wire._closing)  # websockets that were renewed and are still being closed
    assert live.faults == 0, list(live.hub.health.said)
    assert live.hub.quarantined == 0


async def test_the_adapter_has_every_book_level_by_level_and_every_figure_of_the_market(server: OkxServer) -> None:
    async with rigged(server) as rig:
        await rig.updates(150)
        witness, world = rig.witness, server.world
        assert {one.native for one in rig.wanted} == set(server.listings)
        assert witness.fell == []
        for book in witness.books.values():
            witness.compare(book)
        for one in rig.wanted:
            listing, name = server.listings[one.native], key(one.native)
            lots, price = 12_345, world.figures[name].last_ticks * listing.tick
            assert one.to_base(lots * listing.lot, price) == pytest.approx(listing.base_of(lots, price))
            assert (one.tick, one.lot, one.expiry_ns) == (listing.tick, listing.lot, listing.expiry_ns)
            kinds = {kind for native, kind in witness.metrics if native == one.native} - {Liquidation}
            expected = {"spot": {Stats24h}, "future": {Stats24h, Mark, Index, OpenInterest}}
            assert kinds == expected.get(listing.kind, {Stats24h, Mark, Index, OpenInterest, Funding})
        judged: Counter[type] = Counter()
        for (native, kind), told in witness.metrics.items():
            listing = server.listings[native]
            for metric in told:
                if isinstance(metric, (Stats24h, Liquidation)):
                    continue
                mark, index, rate, next_ns, lots = witness.seconds[metric.venue_ns // SECOND][key(native)]
                if isinstance(metric, Mark):
                    assert metric.price == round(mark, listing.price_digits)
                elif isinstance(metric, Index):
                    assert metric.price == round(index, {"BTC": 1, "ETH": 2}[listing.base])
                elif isinstance(metric, Funding):
                    assert metric.rate == pytest.approx(rate, abs=1e-15)
                    assert (metric.interval_s, metric.next_ns) == (28_800, next_ns)
                else:
                    assert isinstance(metric, OpenInterest)
                    assert metric.size == float(listing.size_text(lots))
                judged[kind] += 1
        assert min(judged[kind] for kind in (Mark, Index, OpenInterest)) > 20
        assert judged[Funding] >= 4
        assert len(witness.trades) > 100


async def test_a_book_whose_count_starts_over_stays_whole(server: OkxServer) -> None:
    async with rigged(server) as rig:
        for _ in range(3):
            for native in server.listings:
                server.restart("public", native)
            await rig.updates(20)
        assert rig.witness.fell == []
        for book in rig.witness.books.values():
            rig.witness.compare(book)


async def test_a_lost_update_is_noticed_and_the_book_asked_for_anew(server: OkxServer) -> None:
    async with rigged(server) as rig:
        (connection,) = server.connections
        lost: list[str] = []

        def lose(topic: str, text: str) -> list[str]:
            if topic == f"books:{SWAP}" and not lost:
                lost.append(text)
                return []
            return [text]

        connection.filters.append(lose)
        await rig.move(lambda: bool(rig.witness.fell))
        ((stream, status),) = rig.witness.fell
        assert (stream.instrument, status.reason) == ("OKX:BTC/USDT:USDT", "gap")
        await rig.move(rig.ready)
        await rig.updates(20)
        assert len(rig.witness.fell) == 1


async def test_an_announced_end_leaves_no_moment_without_a_book(server: OkxServer) -> None:
    async with rigged(server) as rig:
        (old,) = server.connections
        server.announce_shutdown()
        await rig.move(lambda: old not in server.connections and rig.ready())
        await rig.updates(20)
        assert rig.witness.fell == []
        assert [link.reconnects for link in rig.live.view().links] == [0]


async def test_maintenance_is_said_to_the_user(server: OkxServer) -> None:
    async with rigged(server) as rig:
        await rig.move(lambda: "status" in server.connections[0].topics)
        server.maintain("scheduled", START_NS + 3_600 * SECOND, START_NS + 3_900 * SECOND, "Swap upgrade \x1b[2J")
        await rig.move(lambda: bool(rig.live.hub.health.said))
        ((_, said),) = rig.live.hub.health.said
        assert "OKX: maintenance is planned from 2026-09-30" in said
        assert "\x1b" not in said
