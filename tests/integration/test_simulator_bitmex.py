"""The simulated BitMEX on a real socket: its books against the truth, its rows against recorded ones, REST, the adapter.

Time is the test's: the market moves when `advance` is called, so every run is the same.
"""

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from feeds.live import Live
from feeds.model import (
    MS,
    SECOND,
    BookState,
    Channel,
    Contract,
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
from feeds.simulator.bitmex import CONNECTS_A_MINUTE, PARTIAL_STEPS, BitmexServer
from feeds.simulator.bitmex_feeds import LEAVES_STEPS, SHRINKS_STEPS
from feeds.simulator.bitmex_tables import Era, fine_digits, number, span
from feeds.simulator.market import STEP_NS, Forced, Step, World
from feeds.venue import Endpoint, NoListener
from feeds.venues.bitmex import Bitmex
from tests.recordings import recording

START_NS = 1_790_757_082 * SECOND
Json = dict[str, Any]
Sides = tuple[list[tuple[float, float]], list[tuple[float, float]]]


class Client:
    """A raw websocket client: what it was sent, parsed."""

    def __init__(self, world: World, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.world = world
        self.ws = ws

    async def heard(self) -> list[Json]:
        """Everything up to the answer of a ping."""
        await self.ws.send_str("ping")
        frames: list[Json] = []
        while (text := await self.ws.receive_str(timeout=5)) != "pong":
            frames.append(json.loads(text))
        return frames

    async def ask(self, message: Json | str) -> list[Json]:
        await self.ws.send_str(message if isinstance(message, str) else json.dumps(message))
        return await self.heard()

    async def subscribe(self, *topics: str) -> list[Json]:
        return await self.ask({"op": "subscribe", "args": topics})

    async def advance(self, steps: int) -> list[Json]:
        """Move the market on; what was sent meanwhile."""
        frames: list[Json] = []
        while steps > 0:
            self.world.advance(self.world.now_ns + min(steps, 50) * STEP_NS)
            steps -= 50
            frames.extend(await self.heard())
        return frames


def world_of(*assets: str, start_ns: Ns = START_NS) -> World:
    return World(11, start_ns, assets or ("BTC", "ETH"), venues=("BITMEX",))


@asynccontextmanager
async def serving(server: BitmexServer) -> AsyncIterator[BitmexServer]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def server() -> AsyncIterator[BitmexServer]:
    async with serving(BitmexServer(world_of())) as made:
        yield made


async def client(server: BitmexServer, http: aiohttp.ClientSession, query: str = "") -> Client:
    """Connected and welcomed."""
    made = Client(server.world, await http.ws_connect(f"ws://{server.base}/realtime{query}"))
    welcome = await made.ws.receive_json(timeout=5)
    assert welcome["info"] == "Welcome to the BitMEX Realtime API."
    return made


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def key(native: str) -> str:
    return f"BITMEX.public.{native}"


def is_of_a_step(server: BitmexServer, native: str, at_ms: int) -> bool:
    try:
        return server.world.books[key(native)].state_at(at_ms) > 0
    except KeyError:
        return False


class NaiveBook:
    """The rule of protocols.md 5.2 for rows by id and side, and no more."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], Json] | None = None

    def take(self, frame: Json) -> None:
        if frame["action"] == "partial":
            self.rows = {}
        if self.rows is None:
            return
        for row in frame["data"]:
            at = row["id"], row["side"]
            if frame["action"] == "delete":
                del self.rows[at]
            elif frame["action"] == "update":
                self.rows[at] = {**self.rows[at], **row}
            else:
                assert at not in self.rows
                self.rows[at] = row

    @property
    def levels(self) -> Sides:
        rows = (self.rows or {}).values()
        bids, asks = ([(row["price"], row["size"]) for row in rows if row["side"] == side] for side in ("Buy", "Sell"))
        return sorted(bids, reverse=True), sorted(asks)


# -- books -----------------------------------------------------------------------------------------------------------------


async def test_a_book_kept_by_the_rule_is_the_truth_after_each_of_thousands_of_frames(
    server: BitmexServer, http: aiohttp.ClientSession
) -> None:
    """At the time of its frame, also between the frames of one event."""
    reader = await client(server, http)
    books = {native: NaiveBook() for native in server.listings}
    await reader.subscribe(*(f"orderBookL2:{native}" for native in books))
    counts: dict[str, int] = {}
    between = 0
    for _ in range(12):
        for frame in await reader.advance(50):
            (native,) = {row["symbol"] for row in frame["data"]}
            book = books[native]
            book.take(frame)
            if book.rows is None:
                continue
            counts[frame["action"]] = counts.get(frame["action"], 0) + 1
            at = ms(frame["data"][0]["transactTime"])
            bids, asks = book.levels
            assert server.truth_touch(key(native), at) == (*bids[0], *asks[0]), f"{native} {frame['action']} at {at}"
            if not sum(counts.values()) % 8:
                assert (bids, asks) == server.truth(key(native), at), f"{native} {frame['action']} at {at}"
                between += not is_of_a_step(server, native, at)
    assert counts["partial"] == len(books) == 4
    assert min(counts["delete"], counts["update"], counts["insert"]) > 200
    assert between > 50, "states between two frames of one event"
    for native, book in books.items():
        assert book.levels == server.world.truth(key(native), server.world.books[key(native)].seq)


async def test_levels_enter_and_leave_a_window_of_the_best_25(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe("orderBookL2_25:XBTUSD")
    book, entered = NaiveBook(), 0
    for _ in range(300):
        before = set(server.world.books[key("XBTUSD")].bids)
        frames = await reader.advance(1)
        for frame in frames:
            book.take(frame)
            if frame["action"] == "insert":
                ticks = [round(row["price"] / 0.1) for row in frame["data"] if row["side"] == "Buy"]
                entered += sum(each in before for each in ticks)
        if book.rows is not None:
            assert book.levels == server.world.truth(key("XBTUSD"), server.world.books[key("XBTUSD")].seq, 25)
    assert entered > 5, "levels that had been there before and came into the window"


async def test_in_the_old_era_an_id_is_a_price_and_updates_and_deletes_do_not_name_it(http: aiohttp.ClientSession) -> None:
    async with serving(BitmexServer(world_of("BTC"), era=Era.FORMULA)) as server:
        reader = await client(server, http)
        await reader.subscribe("orderBookL2:XBTUSD")
        book, seen = NaiveBook(), dict[str, set[tuple[str, ...]]]()
        for frame in await reader.advance(400):
            book.take(frame)
            for row in frame["data"]:
                seen.setdefault(frame["action"], set()).add(tuple(row))
                if "price" in row:
                    assert row["id"] == 88 * 10**8 - round(row["price"] / 0.01)
        assert seen == {
            "partial": {("symbol", "id", "side", "size", "price")},
            "insert": {("symbol", "id", "side", "size", "price")},
            "update": {("symbol", "id", "side", "size")},
            "delete": {("symbol", "id", "side")},
        }
        assert book.levels == server.world.truth(key("XBTUSD"), server.world.books[key("XBTUSD")].seq)


async def test_ids_are_one_a_price_and_nothing_a_reader_could_compute(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe("orderBookL2:XBTUSD")
    frames = await reader.advance(10)
    partial = next(frame for frame in frames if frame["action"] == "partial")
    rows = partial["data"]
    assert len({row["id"] for row in rows}) == len(rows)
    assert [row["price"] for row in rows] == sorted((row["price"] for row in rows), reverse=True)
    assert [row["id"] for row in rows] not in (
        sorted(row["id"] for row in rows),
        sorted((row["id"] for row in rows), reverse=True),
    )


async def test_changes_come_before_the_partial_and_the_partial_after_its_acknowledgement(
    server: BitmexServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    (ack,) = await reader.subscribe("orderBookL2:XBTUSD")
    assert ack == {
        "success": True,
        "subscribe": "orderBookL2:XBTUSD",
        "request": {"op": "subscribe", "args": ["orderBookL2:XBTUSD"]},
    }
    actions = [frame["action"] for frame in await reader.advance(PARTIAL_STEPS)]
    assert actions[-1] == "partial"
    assert len(actions) > 1


async def test_a_second_subscriber_does_not_disturb_the_first_and_one_that_comes_back_begins_with_what_is_there(
    server: BitmexServer, http: aiohttp.ClientSession
) -> None:
    readers = [await client(server, http), await client(server, http)]
    books = [NaiveBook(), NaiveBook()]

    async def take(at: int, frames: Sequence[Json]) -> None:
        for frame in frames:
            if "table" in frame:
                books[at].take(frame)

    topic = "orderBookL2:XBTUSD"
    await take(0, await readers[0].subscribe(topic) + await readers[0].advance(33))
    await take(1, await readers[1].subscribe(topic))
    await take(0, await readers[0].advance(20))
    await take(1, await readers[1].heard())
    truth = server.world.truth(key("XBTUSD"), server.world.books[key("XBTUSD")].seq)
    assert [book.levels for book in books] == [truth, truth]
    for reader in readers:
        await reader.ask({"op": "unsubscribe", "args": [topic]})
    server.world.advance(server.world.now_ns + 2 * SECOND)
    books[0] = NaiveBook()
    await take(0, await readers[0].subscribe(topic) + await readers[0].advance(20))
    assert books[0].levels == server.world.truth(key("XBTUSD"), server.world.books[key("XBTUSD")].seq)


async def test_a_book_can_begin_anew_in_mid_stream(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe("orderBookL2:XBTUSD", "orderBookL2_25:XBTUSD", "orderBookL2:ETHUSDT")
    await reader.advance(20)
    assert server.restart("public", "XBTUSD") == 2
    frames = await reader.heard()
    assert [(frame["table"], frame["action"]) for frame in frames] == [("orderBookL2", "partial"), ("orderBookL2_25", "partial")]
    book = NaiveBook()
    for frame in frames[:1] + [each for each in await reader.advance(20) if each["data"][0]["symbol"] == "XBTUSD"]:
        if frame["table"] == "orderBookL2":
            book.take(frame)
    assert book.levels == server.world.truth(key("XBTUSD"), server.world.books[key("XBTUSD")].seq)


async def test_a_reader_who_does_not_read_is_cut_off(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe(*(f"orderBookL2:{native}" for native in server.listings))
    server.connections[0].outbox_bytes = 1 << 16
    reader.ws._response.connection.transport.pause_reading()  # type: ignore[union-attr]
    for _ in range(400):
        if not server.connections or not server.connections[0].alive:
            break
        for native in server.listings:
            server.restart("public", native)
        server.world.advance(server.world.now_ns + STEP_NS)
    assert server.too_slow == 1


# -- what is said besides ----------------------------------------------------------------------------------------------------


async def test_the_welcome_says_how_many_connects_are_left_and_after_the_last_there_is_none(
    server: BitmexServer, http: aiohttp.ClientSession
) -> None:
    left = []
    for _ in range(CONNECTS_A_MINUTE):
        ws = await http.ws_connect(f"ws://{server.base}/realtime")
        left.append((await ws.receive_json(timeout=5))["limit"]["remaining"])
        await ws.close()
    assert left == list(range(CONNECTS_A_MINUTE - 1, -1, -1))
    ws = await http.ws_connect(f"ws://{server.base}/realtime")
    said = await ws.receive_json(timeout=5)
    assert (said["status"], said["meta"]) == (429, {"retryAfter": 60})
    assert (await ws.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
    server.world.advance(server.world.now_ns + 61 * SECOND)
    await client(server, http)


async def test_topics_in_the_address_are_subscribed_to_at_once(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http, "?subscribe=quote:XBTUSD,trade:ETHUSDT")
    acks = await reader.heard()
    assert [ack["subscribe"] for ack in acks] == ["quote:XBTUSD", "trade:ETHUSDT"]
    frames = await reader.advance(PARTIAL_STEPS)
    assert {(frame["table"], frame["filter"]["symbol"]) for frame in frames if frame["action"] == "partial"} == {
        ("quote", "XBTUSD"),
        ("trade", "ETHUSDT"),
    }


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["orderBookL2:XBTUSD", "orderBookL3:XBTUSD"], "Unknown table: orderBookL3"),
        (["orderBookL2:XBTUSD", "trade:NOSUCH"], "Unknown or expired symbol."),
        (["trade:ETHUSD"], "Unknown or expired symbol."),
        (["trade"], "Unknown or expired symbol."),
        ([], "The arguments are no list of topics."),
        ([1], "The arguments are no list of topics."),
    ],
)
async def test_a_refused_topic_fails_its_whole_request_with_status_400(
    server: BitmexServer, http: aiohttp.ClientSession, args: list[object], error: str
) -> None:
    reader = await client(server, http)
    request = {"op": "subscribe", "args": args}
    assert await reader.ask(request) == [{"status": 400, "error": error, "meta": {}, "request": request}]
    assert await reader.advance(20) == []


async def test_a_topic_that_is_subscribed_to_fails_alone_and_one_that_was_dropped_is_silent(
    server: BitmexServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    await reader.subscribe("trade:XBTUSD")
    refused, ack = await reader.subscribe("trade:XBTUSD", "quote:XBTUSD")
    assert (refused["status"], refused["error"]) == (400, "You are already subscribed to this topic: trade:XBTUSD")
    assert ack["subscribe"] == "quote:XBTUSD"
    request = {"op": "unsubscribe", "args": ["trade:XBTUSD", "quote:XBTUSD", "funding:XBTUSD"]}
    *gone, unknown = await reader.ask(request)
    assert [each["unsubscribe"] for each in gone] == ["trade:XBTUSD", "quote:XBTUSD"]
    assert unknown["error"] == "You are not subscribed to this topic: funding:XBTUSD"
    assert await reader.advance(60) == [], "not even a partial that was on its way"


async def test_nonsense_is_refused_and_closes_nothing(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    for nonsense in ("hello", "[" * 5_000, "[]", '{"op":"nope"}', '{"op":"subscribe"}', '{"args":[]}', "null"):
        (answer,) = await reader.ask(nonsense)
        assert answer["status"] == 400
    (ack,) = await reader.ask({"op": "subscribe", "args": "trade:XBTUSD"})
    assert ack["success"] is True


async def test_a_client_that_says_nothing_is_left_alone(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    """Pings are the client's to send."""
    reader = await client(server, http)
    for _ in range(3):
        server.world.advance(server.world.now_ns + 600 * SECOND)
    assert await reader.heard() == []


# -- the other tables ----------------------------------------------------------------------------------------------------------


async def test_quotes_come_a_second_at_a_time_and_each_was_the_touch_at_its_time(
    server: BitmexServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    await reader.subscribe("quote:XBTUSD")
    partial, *frames = await reader.advance(1_000)
    assert (partial["action"], len(partial["data"])) == ("partial", 1)
    assert 15 <= len(frames) <= 20
    assert max(len(frame["data"]) for frame in frames) > 1
    rows = [row for frame in frames for row in frame["data"]]
    for row in rows:
        quote = row["bidPrice"], row["bidSize"], row["askPrice"], row["askSize"]
        assert quote == server.truth_touch(key("XBTUSD"), ms(row["timestamp"]))
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)


async def test_trades_name_the_taker_and_what_they_are_worth(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe("trade:XBTUSD", "trade:XBTUSDT")
    prints: list[Any] = []
    server.world.subscribe(lambda step: prints.extend(step.prints))
    rows = [row for frame in await reader.advance(600) if frame["action"] == "insert" for row in frame["data"]]
    listings = server.world.listings
    told = sorted((row["symbol"], row["side"], row["price"], row["size"]) for row in rows)
    assert told == sorted(
        (one.native, "Buy" if made.buy else "Sell", float(one.price_text(made.ticks)), int(one.size_text(made.lots)))
        for made in prints
        if (one := listings[made.key]).native in ("XBTUSD", "XBTUSDT")
    )
    assert {row["symbol"] for row in rows} == {"XBTUSD", "XBTUSDT"}
    assert len({row["trdMatchID"] for row in rows}) == len(rows)
    for row in rows:
        if row["symbol"] == "XBTUSD":
            assert row["foreignNotional"] == row["size"]
            assert row["homeNotional"] == pytest.approx(row["size"] / row["price"], rel=1e-5)
            assert row["grossValue"] == pytest.approx(row["homeNotional"] * 1e8)
        else:
            assert row["homeNotional"] == pytest.approx(row["size"] * 1e-6)
            assert row["foreignNotional"] == pytest.approx(row["homeNotional"] * row["price"])
            assert row["grossValue"] == pytest.approx(row["foreignNotional"] * 1e6, abs=1)


async def test_a_new_reader_of_trades_gets_the_last_one_that_there_was(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    prints: list[Any] = []
    server.world.subscribe(lambda step: prints.extend(made for made in step.prints if made.key == key("XBTUSD")))
    await reader.advance(600)
    await reader.subscribe("trade:XBTUSD")
    partial = next(frame for frame in await reader.advance(PARTIAL_STEPS) if frame["action"] == "partial")
    (row,) = partial["data"]
    assert int(row["trdMatchID"][-12:], 16) == prints[-1].number


async def test_instrument_rows_are_sparse_and_merge_to_what_rest_says_for_every_reader(
    server: BitmexServer, http: aiohttp.ClientSession
) -> None:
    readers = [await client(server, http), await client(server, http)]
    known: list[Json] = [{}, {}]
    heard: list[list[Json]] = [[], []]
    await readers[0].subscribe("instrument:XBTUSD")
    heard[0] += await readers[0].advance(160)
    await readers[1].subscribe("instrument:XBTUSD")
    to_five = 250 - server.world.steps % 250
    heard[0] += await readers[0].advance(to_five + 250 + (5 - START_NS // SECOND % 5) % 5 * 50)
    heard[1] += await readers[1].heard()
    for state, frames in zip(known, heard, strict=True):
        actions = [frame["action"] for frame in frames]
        first = actions.index("partial")
        assert "partial" not in actions[first + 1 :]
        for frame in frames[first:]:
            (row,) = frame["data"]
            assert frame["action"] == "partial" or len(row) < 12
            state |= row
    row = server.answers.row(server.listings["XBTUSD"])
    assert known[0] == known[1]
    assert {name: value for name, value in known[0].items() if value != row[name]} == {}
    marks = [ms(frame["data"][0]["timestamp"]) for frame in heard[0] if "markPrice" in frame["data"][0]][1:]
    assert marks
    assert all(at // 1_000 % 5 == 0 for at in marks)


async def test_funding_is_paid_at_4_12_and_20_and_then_told(http: aiohttp.ClientSession) -> None:
    noon = int(datetime(2026, 9, 30, 12, tzinfo=UTC).timestamp()) * SECOND
    async with serving(BitmexServer(world_of("BTC", start_ns=noon - 2 * SECOND))) as server:
        reader = await client(server, http)
        await reader.subscribe("funding:XBTUSD", "instrument:XBTUSD")
        frames = await reader.advance(300)
        partials = {frame["table"]: frame["data"][0] for frame in frames if frame["action"] == "partial"}
        assert partials["funding"]["timestamp"] == "2026-09-30T04:00:00.000Z"
        assert partials["instrument"]["fundingTimestamp"] == "2026-09-30T12:00:00.000Z"
        (paid,) = [row for frame in frames if (frame["table"], frame["action"]) == ("funding", "insert") for row in frame["data"]]
        assert (paid["timestamp"], paid["fundingInterval"]) == ("2026-09-30T12:00:00.000Z", "2000-01-01T08:00:00.000Z")
        assert paid["fundingRate"] == round(server.world.figures[key("XBTUSD")].settled[-1].rate, 6)
        assert paid["fundingRateDaily"] == pytest.approx(3 * paid["fundingRate"])
        news = [row for frame in frames if frame["action"] == "update" for row in frame["data"] if "fundingTimestamp" in row]
        assert [row["fundingTimestamp"] for row in news] == ["2026-09-30T20:00:00.000Z"]


def close_out(server: BitmexServer) -> None:
    """A long and a short are closed out in the step that is."""
    now_ns = server.world.now_ns
    forced = [
        Forced(key("XBTUSD"), True, 801_000, 800_000, 50, now_ns),
        Forced(key("XBTUSD"), False, 801_000, 802_000, 7, now_ns),
    ]
    server.on_step(Step(server.world.steps, now_ns, [], forced, False))
    for connection in server.connections:
        connection.flush()


async def test_a_liquidation_is_an_order_that_comes_shrinks_and_goes(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe("liquidation:XBTUSD")
    (partial,) = await reader.advance(PARTIAL_STEPS)
    assert partial["data"] == []
    close_out(server)
    (insert,) = await reader.heard()
    assert [(row["side"], row["price"], row["leavesQty"]) for row in insert["data"]] == [
        ("Sell", 80_000, 5_000),
        ("Buy", 80_200, 700),
    ]
    late = await client(server, http)
    await late.subscribe("liquidation:XBTUSD")
    shrunk = next(frame for frame in await reader.advance(SHRINKS_STEPS) if frame["action"] == "update")
    names = [row["orderID"] for row in insert["data"]]
    assert [(row["orderID"], row["leavesQty"]) for row in shrunk["data"]] == list(zip(names, (2_500, 300), strict=True))
    assert [list(row) for row in shrunk["data"]] == [["orderID", "symbol", "leavesQty"]] * 2
    list_of_late = next(frame for frame in await late.heard() if frame["action"] == "partial")
    assert [row["orderID"] for row in list_of_late["data"]] == names
    gone = next(frame for frame in await reader.advance(LEAVES_STEPS - SHRINKS_STEPS) if frame["action"] == "delete")
    assert [row["orderID"] for row in gone["data"]] == names
    assert [list(row) for row in gone["data"]] == [["orderID", "symbol"]] * 2


# -- rows against recorded ones ------------------------------------------------------------------------------------------------

NEWER: Mapping[str, str] = {
    "orderBookL2": (
        '{"symbol":"XBTUSD","id":62400580205,"side":"Sell","size":33000,"price":98459.9,"timestamp":"2024-11-24T08:26:22.356Z",'
        '"transactTime":"2024-11-24T08:26:22.275Z"}'
    ),
    "trade": (
        '{"timestamp":"2024-11-24T08:15:38.704Z","symbol":"XBTUSD","side":"Sell","size":100,"price":98570.9,"tickDirection":'
        '"ZeroPlusTick","trdMatchID":"00000000-006d-1000-0000-000e8737d536","grossValue":101450,"homeNotional":0.0010145,'
        '"foreignNotional":100.0,"trdType":"Regular"}'
    ),
    "funding": (
        '{"timestamp":"2024-11-25T04:00:00.000Z","symbol":"XBTUSD","fundingInterval":"2000-01-01T08:00:00.000Z","fundingRate":0.0001,'
        '"fundingRateDaily":0.0003}'
    ),
    "quote": (
        '{"timestamp":"2021-07-22T22:36:10.014Z","symbol":"UNIUSDT","bidSize":750,"bidPrice":17.277,"askPrice":17.297,"askSize":123}'
    ),
    "liquidation": (
        '{"orderID":"dd9cea25-207c-0dab-15b5-b88da776f500","symbol":"XBTUSD","side":"Buy","price":10106,"leavesQty":9214}'
    ),
}
"""Recorded rows: protocols.md 5.3. JSON knows one kind of number."""


def shape(value: object, path: str = "") -> set[str]:
    """Every key in a message with the type of what stands there."""
    if isinstance(value, dict):
        return set().union(*(shape(item, f"{path}.{name}") for name, item in value.items())) if value else {f"{path} object"}
    if isinstance(value, list):
        return set().union(*(shape(item, f"{path}[]") for item in value)) if value else set()
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return {f"{path} {type(value).__name__}"}
    return {f"{path} number"}


async def frames_of_every_table(server: BitmexServer, http: aiohttp.ClientSession, native: str) -> list[Json]:
    reader = await client(server, http)
    tables = ("orderBookL2", "orderBookL2_25", "quote", "trade", "instrument", "funding", "liquidation")
    frames = await reader.subscribe(*(f"{table}:{native}" for table in tables))
    frames += await reader.advance(300)
    close_out(server)
    return frames + await reader.heard()


@pytest.mark.parametrize("native", ["XBTUSD", "ETHUSDT"])
async def test_rows_have_the_keys_and_types_of_recorded_ones(
    server: BitmexServer, http: aiohttp.ClientSession, native: str
) -> None:
    seen: set[str] = set()
    for frame in await frames_of_every_table(server, http, native):
        text = NEWER.get(frame.get("table", ""))
        if text is None:
            continue
        recorded = json.loads(text)
        for row in frame["data"]:
            seen.add(frame["table"])
            assert shape(row) <= shape(recorded)
            if frame["action"] in ("partial", "insert"):
                assert list(row) == list(recorded)
    assert seen >= NEWER.keys() - ({"liquidation"} if native != "XBTUSD" else set())


@pytest.mark.recordings
async def test_frames_of_the_old_era_have_the_keys_and_types_of_the_recording(http: aiohttp.ClientSession) -> None:
    text = gzip.decompress((recording("bitmex-2021-07-22") / "ws.txt.gz").read_bytes()).decode()
    recorded: dict[str, set[str]] = {}
    texts: dict[str, str] = {}
    for line in text.splitlines():
        stamp, _, body = line.partition(": ")
        if stamp.startswith("wss") or not body.startswith("{"):
            continue
        frame = json.loads(body)
        recorded[kind_of(frame)] = recorded.get(kind_of(frame), set()) | shape(frame)
        texts.setdefault(kind_of(frame), body)
    async with serving(BitmexServer(world_of("BTC"), era=Era.FORMULA)) as server:
        ws = await http.ws_connect(f"ws://{server.base}/realtime")
        first = await ws.receive_json(timeout=5)
        reader = Client(server.world, ws)
        frames = [first, *await reader.subscribe(*(f"{table}:XBTUSD" for table in ("orderBookL2", "quote", "trade")))]
        frames += await reader.advance(400)
        await reader.subscribe("trade:XBTUSDT")
        frames += await reader.advance(20)
    made: dict[str, set[str]] = {}
    for frame in frames:
        made[kind_of(frame)] = made.get(kind_of(frame), set()) | shape(frame)
        assert list(frame) == list(json.loads(texts[kind_of(frame)]))
    assert made.keys() == recorded.keys()
    for kind, found in made.items():
        assert found == recorded[kind], kind
    for table in ("orderBookL2", "quote", "trade"):
        partial = json.loads(texts[f"partial {table}"])
        ours = next(frame for frame in frames if kind_of(frame) == f"partial {table}")
        assert {name: ours[name] for name in ("keys", "types", "foreignKeys", "attributes")} == {
            name: partial[name] for name in ("keys", "types", "foreignKeys", "attributes")
        }


def kind_of(frame: Json) -> str:
    if "table" in frame:
        return f"{frame['action']} {frame['table']}"
    return "welcome" if "info" in frame else "acknowledgement"


@pytest.mark.recordings
async def test_the_list_of_instruments_has_the_keys_and_types_of_the_recording(http: aiohttp.ClientSession) -> None:
    with gzip.open(recording("bitmex-2021-07-22") / "rest.txt.gz", "rt") as file:
        rows = {row["symbol"]: row for row in json.loads(file.readline().partition(": ")[2])}
    async with serving(BitmexServer(world_of(), era=Era.FORMULA)) as server:
        made = {row["symbol"]: row for row in await get(server, http, "instrument/active")}
    dated = next(native for native in made if native.startswith("XBT") and not native.startswith("XBTUSD"))
    for native, like in (("XBTUSD", "XBTUSD"), ("ETHUSD", "ETHUSD"), (dated, "XBTZ21")):
        assert list(made[native]) == list(rows[like]), native
        # between settlements a contract's fee is 0 or not, and a tax there is or not
        either = {".indicativeTaxRate"}
        ours, theirs = ({each for each in shape(row) if each.split()[0] not in either} for row in (made[native], rows[like]))
        if native == "ETHUSD":
            ours = {each for each in ours if not each.endswith("NoneType")}  # nobody trades it
            assert ours <= theirs
        else:
            assert ours == theirs, native


@pytest.mark.parametrize(
    ("value", "text"),
    [(32175.0, "32175"), (98459.9, "98459.9"), (0.0001, "0.0001"), (3e-05, "0.00003"), (100, "100"), (-1e-06, "-0.000001")],
)
def test_numbers_are_written_without_needless_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_spans_are_written_as_instants() -> None:
    assert [span(seconds) for seconds in (28_800, 3_600, 604_800)] == [
        "2000-01-01T08:00:00.000Z",
        "2000-01-01T01:00:00.000Z",
        "2000-01-08T00:00:00.000Z",
    ]


# -- REST ----------------------------------------------------------------------------------------------------------------------


async def get(server: BitmexServer, http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(f"http://{server.base}/api/v1/{path}") as answer:
        assert answer.status == 200
        return await answer.json()


async def test_the_adapter_understands_every_instrument_and_its_contract(
    server: BitmexServer, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"http://{server.base}/api/v1/instrument/active") as answer:
        body = await answer.read()
    found = {each.native: each for each in Bitmex().instruments({"instruments": body})}
    assert found.keys() == {*server.listings, "ETHUSD"}
    for native, listing in server.listings.items():
        one = found[native]
        assert (one.base, one.quote, one.settle, one.kind.value) == (listing.base, listing.quote, listing.settle, listing.kind)
        assert (one.contract.value, one.contract_size) == (listing.contract, listing.contract_size)
        assert (one.tick, one.lot, one.expiry_ns) == (listing.tick, listing.lot, listing.expiry_ns)
        assert one.funding_interval_s == (28_800 if listing.kind == "perp" else 0)
        assert one.fees is not None
    dated = next(one for one in found.values() if one.expiry_ns)
    assert datetime.fromtimestamp(dated.expiry_ns // SECOND, UTC).hour == 12
    assert (found["ETHUSD"].contract, found["ETHUSD"].settle, found["ETHUSD"].contract_size) == (Contract.QUANTO, "BTC", 1e-6)


async def test_indices_are_those_of_the_contracts(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    rows = {row["symbol"]: row for row in await get(server, http, "instrument/indices")}
    assert rows.keys() == {".BXBT", ".BXBTT", ".BETHT"}
    assert rows[".BXBT"]["lastPrice"] == round(server.world.index("BITMEX", "BTC", "USD"), 2)
    assert {one.native for one in Bitmex().instruments({"instruments": json.dumps(list(rows.values())).encode()})} == set()


async def test_time_follows_the_venues_own_clock_and_unknown_paths_are_404(
    server: BitmexServer, http: aiohttp.ClientSession
) -> None:
    server.clock_offset_ns = 7 * SECOND
    async with http.get(f"http://{server.base}/api/v1") as answer:
        body = await answer.read()
    assert Bitmex().server_ns(body) == (server.world.now_ns + 7 * SECOND) // MS * MS
    async with http.get(f"http://{server.base}/api/v1/nope") as answer:
        assert (answer.status, (await answer.json())["error"]["name"]) == (404, "HTTPError")
    async with http.post(f"http://{server.base}/api/v1") as answer:
        assert answer.status == 404


async def test_the_31st_request_of_a_minute_is_told_to_wait(server: BitmexServer, http: aiohttp.ClientSession) -> None:
    left = []
    for _ in range(30):
        async with http.get(f"http://{server.base}/api/v1") as answer:
            assert answer.status == 200
            assert answer.headers["x-ratelimit-limit"] == "30"
            left.append(int(answer.headers["x-ratelimit-remaining"]))
    assert left == list(range(29, -1, -1))
    async with http.get(f"http://{server.base}/api/v1") as answer:
        assert answer.status == 429
        wait_s = int(answer.headers["retry-after"])
        assert (await answer.json())["error"]["name"] == "RateLimitError"
    assert int(answer.headers["x-ratelimit-reset"]) == server.world.now_ns // SECOND + wait_s
    server.world.advance(server.world.now_ns + wait_s * SECOND)
    await get(server, http, "")


# -- the adapter ---------------------------------------------------------------------------------------------------------------


class Checked(NoListener):
    """Holds each published book against the truth at its own time, and keeps the rest."""

    def __init__(self, server: BitmexServer) -> None:
        self.server = server
        self.judged = self.between = 0
        self.wrong: list[str] = []
        self.status: dict[Stream, Status] = {}
        self.trades: list[tuple[str, Trade]] = []
        self.metrics: dict[tuple[str, type], Metric] = {}
        self.liquidations: list[Liquidation] = []
        self.books: dict[str, OrderBook] = {}

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        self.status[stream] = status

    def on_book(self, book: OrderBook, now: Ns) -> None:
        native = book.instrument.native
        self.books[native] = book
        if not book.published:
            return
        self.judged += 1
        at_ms = (book.venue_ns - self.server.clock_offset_ns) // MS
        touch = book.bid, book.bid_size, book.ask, book.ask_size
        if touch != self.server.truth_touch(key(native), at_ms):
            self.wrong.append(f"{native} at {at_ms}: {touch}")
        if not self.judged % 16 and book.levels(1 << 20) != self.server.truth(key(native), at_ms):
            self.wrong.append(f"{native} at {at_ms}: levels")

    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None:
        self.trades.append((instrument.native, trade))

    def on_metric(self, instrument: Instrument, metric: Metric, now: Ns) -> None:
        self.metrics[instrument.native, type(metric)] = metric
        if isinstance(metric, Liquidation):
            self.liquidations.append(metric)


class Rig:
    """A server whose time stands still until it is moved, and the program's client of it."""

    def __init__(self, server: BitmexServer) -> None:
        self.server = server
        self.heard = Checked(server)
        venue = Bitmex({"public": Endpoint(f"http://{server.base}", f"ws://{server.base}")})
        self.live = Live(
            {"BITMEX": venue},
            self.heard,
            lambda listed: [each for each in listed if each.contract is not Contract.QUANTO],
            markets={"BITMEX": ("public",)},
            rng=random.Random(1),
        )

    async def move(self, until: Callable[[], bool], step_ns: Ns = 100 * MS) -> None:
        async with asyncio.timeout(20):
            while not until():
                self.server.world.advance(self.server.world.now_ns + step_ns)
                await asyncio.sleep(0.001)

    async def rest(self, until: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.001)

    def synced(self) -> bool:
        books = [status.book for stream, status in self.heard.status.items() if stream.channel is Channel.BOOK]
        return len(books) == len(self.server.listings) and set(books) == {BookState.SYNCED}

    def settled(self) -> bool:
        """Every book has the exchange's last state."""
        books = self.server.world.books
        return all(
            self.heard.books[native].venue_ns // MS == self.server.now_ms(books[key(native)].time_of(books[key(native)].seq))
            for native in self.server.listings
        )


@asynccontextmanager
async def rigged(server: BitmexServer) -> AsyncIterator[Rig]:
    async with serving(server):
        rig = Rig(server)
        task = asyncio.create_task(rig.live.run())
        try:
            yield rig
        finally:
            rig.live.stop()
            await task
        assert rig.live.faults == 0, list(rig.live.hub.health.said)


async def test_the_adapter_has_the_true_book_at_each_of_thousands_of_publishes_and_every_figure() -> None:
    server = BitmexServer(world_of("BTC", "ETH", "SOL"))
    async with rigged(server) as rig:
        heard = rig.heard
        await rig.move(lambda: rig.synced() and heard.judged > 4_000)
        await rig.rest(rig.settled)
        assert heard.wrong == []
        for native, book in heard.books.items():
            assert book.levels(1 << 20) == server.world.truth(key(native), server.world.books[key(native)].seq)
        assert {link.state for link in rig.live.view().links} == {LinkState.READY}
        assert all(not stream.gaps and not stream.resyncs for stream in rig.live.hub.health.streams.values())
        assert {native for native, _ in heard.trades} >= {one.native for one in server.listings.values() if one.kind == "perp"}
        await rig.move(lambda: server.world.now_ns // SECOND % 5 == 0, STEP_NS)
        at_ms = server.world.now_ns // SECOND * 1_000
        figures = server.world.figures
        wanted = {native: (heard.metrics.get, one) for native, one in server.listings.items()}

        def told() -> bool:
            return all(
                (mark := heard.metrics.get((native, Mark))) is not None and mark.venue_ns // MS >= at_ms for native in wanted
            )

        await rig.rest(told)
        for native, listing in server.listings.items():
            one, digits = figures[key(native)], fine_digits(listing)
            mark, index = heard.metrics[native, Mark], heard.metrics[native, Index]
            assert (mark.price, index.price) == (round(one.mark, digits), round(one.index, digits))  # type: ignore[union-attr]
            interest = heard.metrics[native, OpenInterest]
            assert isinstance(interest, OpenInterest)
            assert interest.size == one.open_interest_lots * listing.lot
            stats = heard.metrics[native, Stats24h]
            assert isinstance(stats, Stats24h)
            assert (stats.base_volume, stats.quote_volume) == pytest.approx((one.base_volume, one.quote_volume), rel=1e-3)
            if listing.kind == "perp":
                funding = heard.metrics[native, Funding]
                assert isinstance(funding, Funding)
                assert (funding.rate, funding.interval_s, funding.next_ns) == (
                    round(one.rate, 6),
                    listing.funding_interval_s,
                    one.next_funding_ns,
                )


async def test_the_adapter_goes_on_after_a_book_began_anew_and_tells_liquidations_by_the_position() -> None:
    server = BitmexServer(world_of("BTC"))
    async with rigged(server) as rig:
        await rig.move(rig.synced)
        server.restart("public", "XBTUSD")
        close_out(server)
        judged = rig.heard.judged
        await rig.move(lambda: rig.heard.judged > judged + 300)
        assert rig.heard.wrong == []
        told = [(each.position, each.price, each.size) for each in rig.heard.liquidations]
        assert {("long", 80_000.0, 5_000.0), ("short", 80_200.0, 700.0)} <= set(told)
        assert len(told) == len(set(told)), "what is left of an order is no new one"


async def test_the_adapter_keeps_books_of_the_old_era() -> None:
    server = BitmexServer(world_of("BTC"), era=Era.FORMULA)
    async with rigged(server) as rig:
        books = rig.heard.books
        rig.heard.on_book = lambda book, now: books.__setitem__(book.instrument.native, book)  # type: ignore[method-assign]  # no times
        await rig.move(lambda: rig.synced() and sum(book.seq for book in books.values()) > 1_000)

        def same() -> bool:
            world = server.world
            return all(
                book.levels(1 << 20) == world.truth(key(native), world.books[key(native)].seq) for native, book in books.items()
            )

        await rig.rest(same)
        assert all(not stream.gaps for stream in rig.live.hub.health.streams.values())


async def test_a_lost_row_is_a_gap_and_the_book_begins_anew() -> None:
    server = BitmexServer(world_of("BTC"))
    async with rigged(server) as rig:
        await rig.move(rig.synced)
        lost: list[str] = []

        def lose(topic: str, text: str) -> list[str]:
            if topic == "orderBookL2:XBTUSD" and not lost and '"action":"insert"' in text:
                lost.append(text)
                return []
            return [text]

        server.connections[0].filters.append(lose)
        instrument = next(
            stream.instrument for stream in rig.heard.status if "USD:BTC" in stream.instrument and "-" not in stream.instrument
        )
        health = rig.live.hub.health.streams[Stream(instrument, Channel.BOOK)]
        await rig.move(lambda: bool(health.gaps))
        await rig.move(rig.synced)
        await rig.rest(rig.settled)
        assert rig.heard.books["XBTUSD"].levels(1 << 20) == server.world.truth(
            key("XBTUSD"), server.world.books[key("XBTUSD")].seq
        )
