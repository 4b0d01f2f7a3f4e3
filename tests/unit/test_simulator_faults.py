"""Each fault does on the wire what its name says: two raw clients on one server, one of them the victim, the other the witness.

Both are subscribed to the same, so that what the victim was sent differs from what the witness was sent by the fault alone. The
market moves when the test says. The clients read frames themselves: no library stands between the wire and the assertion.
"""

import asyncio
import json
import re
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import aiohttp
import pytest

from feeds.model import SECOND
from feeds.simulator import damage
from feeds.simulator.binance import BinanceServer
from feeds.simulator.bitmex import BitmexServer
from feeds.simulator.bybit import BybitServer
from feeds.simulator.deribit import DeribitServer
from feeds.simulator.dialect import FEATURES
from feeds.simulator.faults import BURST_TIMES, FAULTS, FOR_DEMO, STORM, Cure, Fault, Schedule, play, strike
from feeds.simulator.injection import Injection, listing_at
from feeds.simulator.kit import Connection, VenueServer
from feeds.simulator.market import STEP_NS, World
from feeds.simulator.okx import OkxServer
from feeds.simulator.truebook import TrueBook

Json = dict[str, Any]
START_NS = 1_790_757_082 * SECOND
SYNC = b"the test has come so far"
TEXT, BINARY, CLOSE, PONG = 0x81, 0x82, 0x88, 0x8A
PROMPT_S = 5.0


class Frame(NamedTuple):
    """First byte (final, reserved bits, opcode) and payload."""

    head: int
    payload: bytes


class Wire:
    """A websocket client of 40 lines that checks nothing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, headers: str) -> None:
        self.reader, self.writer, self.status, self.headers = reader, writer, status, headers

    @classmethod
    async def open(cls, port: int, path: str) -> "Wire":
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        lines = (f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade")
        writer.write("\r\n".join((*lines, f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", "")).encode())
        headers = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PROMPT_S)).decode()
        return cls(reader, writer, int(headers.split()[1]), headers)

    async def frame(self) -> Frame:
        head, length = await self.reader.readexactly(2)
        size = length & 0x7F
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
        return Frame(head, await self.reader.readexactly(size))

    async def until(self, last: Callable[[Frame], bool]) -> list[Frame]:
        """Frames before the first for which `last` is true."""
        found: list[Frame] = []
        async with asyncio.timeout(PROMPT_S):
            while not last(frame := await self.frame()):
                found.append(frame)
        return found

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
        self.writer.write(bytes((opcode,)) + length + bytes(4) + payload)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class Part(NamedTuple):
    """A server to be a client of: where, what asks for a book and more, what answers that, how its books' messages begin."""

    make: Callable[[World], VenueServer]
    path: str
    asks: Json
    answered: bytes
    book: str
    leaves: Sequence[Json] = ()
    """What ends the subscription of the book."""


BYBIT_TOPICS = ["orderbook.200.BTCUSDT", "orderbook.1.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT"]
BINANCE_TOPICS = ["btcusdt@depth@100ms", "btcusdt@bookTicker", "btcusdt@trade"]


OKX_ARGS = [{"channel": name, "instId": "BTC-USDT-SWAP"} for name in ("books", "bbo-tbt", "trades", "tickers")]
DERIBIT_TOPICS = [name.format("BTC-PERPETUAL") for name in ("book.{}.100ms", "quote.{}", "trades.{}.100ms", "ticker.{}.100ms")]
BITMEX_TOPICS = [f"{table}:XBTUSD" for table in ("orderBookL2", "quote", "trade", "instrument")]


def deribit_call(method: str, *channels: str) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "method": f"public/{method}", "params": {"channels": channels}}


PARTS = {
    "bybit": Part(
        BybitServer,
        "/v5/public/linear",
        {"op": "subscribe", "args": BYBIT_TOPICS},
        b'"success"',
        '"topic":"orderbook.200.',
        [{"op": "unsubscribe", "args": ["orderbook.200.BTCUSDT"]}],
    ),
    "binance": Part(
        lambda world: BinanceServer(world, "spot"),
        "/stream",
        {"method": "SUBSCRIBE", "params": BINANCE_TOPICS, "id": 1},
        b'"result"',
        '"stream":"btcusdt@depth',
    ),
    "okx": Part(
        OkxServer,
        "/ws/v5/public",
        {"id": "1", "op": "subscribe", "args": OKX_ARGS},
        b'"event":"subscribe","arg":{"channel":"tickers"',
        '{"arg":{"channel":"books"',
        [{"id": "2", "op": "unsubscribe", "args": OKX_ARGS[:1]}],
    ),
    "deribit": Part(
        DeribitServer,
        "/ws/api/v2",
        deribit_call("subscribe", *DERIBIT_TOPICS),
        b'"result":[',
        '"channel":"book.',
        [deribit_call("unsubscribe", DERIBIT_TOPICS[0])],
    ),
    "bitmex": Part(
        BitmexServer,
        "/realtime",
        {"op": "subscribe", "args": BITMEX_TOPICS},
        b'"subscribe":"instrument:XBTUSD"',
        '"table":"orderBookL2"',
        [{"op": "unsubscribe", "args": BITMEX_TOPICS[:1]}],
    ),
}


class Stage:
    """A server, a victim and a witness."""

    def __init__(self, kind: str, server: VenueServer, stack: AsyncExitStack) -> None:
        self.part = PARTS[kind]
        self.server = server
        self.world = server.world
        self.bybit = server.name == "BYBIT"
        self._stack = stack
        self.before: list[str] = []
        """What the witness was sent before the fault."""

    async def client(self) -> Wire:
        wire = await Wire.open(self.server.port, self.part.path)
        self._stack.push_async_callback(wire.close)
        return wire

    async def subscribed(self) -> tuple[Wire, Connection]:
        wire = await self.client()
        wire.send(json.dumps(self.part.asks).encode())
        await wire.until(lambda frame: self.part.answered in frame.payload)
        return wire, self.server.connections[-1]

    async def set(self) -> None:
        self.victim, self.target = await self.subscribed()
        self.witness, self.beside = await self.subscribed()
        self.advance(40)
        self.before = texts(await self.read(self.witness, self.beside))
        await self.read(self.victim, self.target)

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self.world.advance(self.world.now_ns + STEP_NS)

    async def read(self, wire: Wire, connection: Connection) -> list[Frame]:
        """What it was sent since the last time."""
        connection.send_frame(SYNC)
        return await wire.until(lambda frame: frame.payload == SYNC)

    async def inject(self, name: str, seed: int = 1) -> Injection:
        fault = FAULTS[name]
        injection = await fault.inject(self.target if fault.target == "connection" else self.server, Random(seed))
        self._stack.push_async_callback(injection.lift)
        return injection

    async def told(self, steps: int = 60) -> tuple[list[Frame], list[str]]:
        """What the victim and the witness were sent over some steps."""
        self.advance(steps)
        return await self.read(self.victim, self.target), texts(await self.read(self.witness, self.beside))

    async def harmed(self, name: str, steps: int = 60, seed: int = 1) -> tuple[list[str], list[str], Injection]:
        """The texts of both under a fault; it was at work, and after it is lifted both are sent the same again."""
        injection = await self.inject(name, seed)
        victim, witness = await self.told(steps)
        assert injection.count > 0
        await injection.lift()
        again, same = await self.told(20)
        assert texts(again) == same
        return texts(victim), witness, injection


def texts(frames: Sequence[Frame]) -> list[str]:
    return [frame.payload.decode("utf-8", "surrogateescape") for frame in frames]


@asynccontextmanager
async def staged(kind: str) -> AsyncIterator[Stage]:
    venues = ("BINANCE", "BYBIT") if kind in ("binance", "bybit") else (kind.upper(),)
    server = PARTS[kind].make(World(3, START_NS, ("BTC",), venues=venues))
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        stage = Stage(kind, server, stack)
        await stage.set()
        yield stage


@pytest.fixture
async def bybit() -> AsyncIterator[Stage]:
    async with staged("bybit") as stage:
        yield stage


@pytest.fixture
async def binance() -> AsyncIterator[Stage]:
    async with staged("binance") as stage:
        yield stage


@pytest.fixture(params=["bybit", "binance"])
async def either(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with staged(request.param) as stage:
        yield stage


def missing(have: Sequence[str], all_: Sequence[str]) -> list[str]:
    """What is in `all_` and not in `have`, by count."""
    return list((Counter(all_) - Counter(have)).elements())


def changed(victim: Sequence[str], witness: Sequence[str]) -> tuple[str, str]:
    """The one message that differs: as it was, and as it was sent."""
    (was,), (now,) = missing(victim, witness), missing(witness, victim)
    assert victim.index(now) == witness.index(was)
    return was, now


def is_book(text: str) -> bool:
    return re.search(r'"(?:topic|stream)":"(?:orderbook\.200|btcusdt@depth)', text) is not None


def sides(text: str) -> tuple[list[list[str]], list[list[str]]]:
    """Bids and asks of a book's message; Binance names them alike."""
    found = BybitServer.dialect.sides(json.loads(text))
    assert found is not None
    return found


def both(text: str) -> list[list[str]]:
    """All levels of a message."""
    bids, asks = sides(text)
    return bids + asks


# The link.


@pytest.mark.parametrize("code", [1000, 1001, 1012])
async def test_a_close_arrives_with_its_code_and_the_others_stay(bybit: Stage, code: int) -> None:
    closing = asyncio.create_task(bybit.inject(f"close {code}"))
    await bybit.victim.until(lambda frame: frame == Frame(CLOSE, frame.payload) and frame.payload[:2] == struct.pack("!H", code))
    bybit.victim.send(struct.pack("!H", code), CLOSE)
    await closing
    assert bybit.server.connections == [bybit.beside]


async def test_1006_is_an_end_without_a_close_frame(bybit: Stage) -> None:
    await bybit.inject("close 1006")
    with pytest.raises(asyncio.IncompleteReadError):
        await bybit.victim.until(lambda frame: frame.head == CLOSE)


async def test_a_reset_is_a_reset(bybit: Stage) -> None:
    await bybit.inject("reset")
    with pytest.raises(ConnectionResetError):
        await bybit.victim.frame()
    bybit.advance(10)
    assert await bybit.read(bybit.witness, bybit.beside)


async def test_all_connections_drop_at_once(bybit: Stage) -> None:
    await bybit.inject("all connections drop")
    for wire in (bybit.victim, bybit.witness):
        with pytest.raises(ConnectionResetError):
            await wire.frame()


async def test_the_24_hour_cut_closes_everyone(bybit: Stage) -> None:
    cut = asyncio.create_task(bybit.inject("24 h cut"))
    for wire in (bybit.victim, bybit.witness):
        await wire.until(lambda frame: frame.head == CLOSE and frame.payload[:2] == struct.pack("!H", 1001))
        wire.send(struct.pack("!H", 1001), CLOSE)
    await cut


async def test_a_shutdown_is_announced_and_follows(binance: Stage) -> None:
    injection = await binance.inject("shutdown notice")
    victim, _ = await binance.told(5)
    assert any('"serverShutdown"' in text for text in texts(victim))
    lifting = asyncio.create_task(injection.lift())
    for wire in (binance.victim, binance.witness):
        await wire.until(lambda frame: frame.head == CLOSE)
        wire.send(struct.pack("!H", 1001), CLOSE)
    await lifting


async def test_half_open_neither_sends_nor_answers_and_keeps_the_socket(bybit: Stage) -> None:
    injection = await bybit.inject("half-open")
    bybit.victim.send(b'{"op":"ping"}')
    bybit.advance(100)
    assert len(await bybit.read(bybit.witness, bybit.beside)) > 100
    assert bybit.target.transport.is_reading() is False
    assert bybit.victim.reader._buffer == b""  # type: ignore[attr-defined]
    await injection.lift()
    pong = await bybit.victim.until(lambda frame: b'"pong"' in frame.payload)
    assert pong == []


async def test_pongs_go_on_while_no_data_come(bybit: Stage) -> None:
    await bybit.inject("pong but no data")
    bybit.victim.send(b"x", 0x89)
    bybit.victim.send(b'{"op":"ping"}')
    assert await bybit.victim.until(lambda frame: b'"pong"' in frame.payload) == [Frame(PONG, b"x")]
    victim, witness = await bybit.told()
    assert victim == []
    assert len(witness) > 50


async def test_one_muted_topic_is_silent_while_the_others_flow(either: Stage) -> None:
    injection = await either.inject("one topic muted")
    victim, witness = await either.told()
    (topic,) = injection.struck
    assert texts(victim) == [text for text in witness if f'"{topic}"' not in text]
    assert len(victim) < len(witness)


async def test_writes_of_three_bytes_carry_the_same_frames(bybit: Stage) -> None:
    usual, sizes = bybit.target.write, list[int]()

    def recording(data: bytes) -> None:
        sizes.append(len(data))
        usual(data)

    bybit.target.write = recording
    victim, witness, _ = await bybit.harmed("three-byte writes", 20)
    assert victim == witness
    assert sizes.count(3) > len(sizes) / 2


async def test_slow_bytes_are_late_and_whole(bybit: Stage) -> None:
    usual, sizes = bybit.target.write, list[int]()

    def recording(data: bytes) -> None:
        sizes.append(len(data))
        usual(data)

    bybit.target.write = recording
    injection = await bybit.inject("slow bytes")
    bybit.advance(60)
    witness = texts(await bybit.read(bybit.witness, bybit.beside))
    sent = sum(sizes)
    assert sent < sum(map(len, witness)) / 2
    assert max(sizes) <= 600
    await injection.lift()
    assert texts(await bybit.read(bybit.victim, bybit.target)) == witness


async def test_a_burst_is_twenty_times_everything_but_the_book_and_each_trade_is_new(either: Stage) -> None:
    victim, witness, _ = await either.harmed("burst")
    assert [text for text in victim if is_book(text)] == [text for text in witness if is_book(text)]
    others, more = ([text for text in told if not is_book(text)] for told in (witness, victim))
    assert len(others) * BURST_TIMES >= len(more) > len(others) * (BURST_TIMES - 5)
    name = "publicTrade" if either.bybit else "@trade"
    ids = [json.loads(text)["data"] for text in more if name in text]
    seen = [fill["i"] for data in ids for fill in data] if either.bybit else [data["t"] for data in ids]
    assert len(set(seen)) == len(seen)


# Getting in.


async def test_refused_means_that_nobody_listens_until_it_is_lifted(bybit: Stage) -> None:
    injection = await bybit.inject("refused")
    with pytest.raises(ConnectionResetError):
        await bybit.victim.frame()
    with pytest.raises(ConnectionRefusedError):
        await bybit.client()
    await injection.lift()
    assert (await bybit.client()).status == 101


@pytest.mark.parametrize(("status", "waits"), [(429, True), (418, True), (403, False), (451, False), (503, False)])
async def test_a_handshake_is_answered_with_the_status_until_it_is_lifted(bybit: Stage, status: int, waits: bool) -> None:
    injection = await bybit.inject(f"handshake {status}")
    with pytest.raises(ConnectionResetError):
        await bybit.victim.frame()
    wire = await bybit.client()
    assert wire.status == status
    assert ("retry-after" in wire.headers.lower()) is waits
    await injection.lift()
    assert (await bybit.client()).status == 101


async def test_accept_then_close_accepts_and_closes(bybit: Stage) -> None:
    injection = await bybit.inject("accept then close")
    for _ in range(2):
        wire = await bybit.client()
        assert wire.status == 101
        assert (await wire.frame()).head == CLOSE
        wire.send(b"", CLOSE)
    await injection.lift()
    assert (await bybit.subscribed())[0].status == 101


@pytest.mark.parametrize(
    ("name", "acknowledged", "data"),
    [
        ("subscription refused", False, False),
        ("never acknowledged", None, False),
        ("acknowledged but silent", True, False),
        ("acknowledgement lost", None, True),
    ],
)
async def test_a_subscription_is_answered_as_the_fault_says(
    either: Stage, name: str, acknowledged: bool | None, data: bool
) -> None:
    injection = await either.inject(name)
    with pytest.raises(ConnectionResetError):
        await either.victim.frame()
    wire = await either.client()
    topic = BYBIT_TOPICS[0] if either.bybit else BINANCE_TOPICS[0]
    asked = {"op": "subscribe", "args": [topic]} if either.bybit else {"method": "SUBSCRIBE", "params": [topic], "id": 1}
    wire.send(json.dumps(asked).encode())
    while not injection.struck.get("answer"):
        await asyncio.sleep(0)
    either.advance(20)
    frames = [json.loads(text) for text in texts(await either.read(wire, either.server.connections[-1]))]
    answers = [frame for frame in frames if "conn_id" in frame or "id" in frame]
    said = [answer.get("success", "error" not in answer) for answer in answers]
    assert said == ([] if acknowledged is None else [acknowledged])
    assert (len(frames) > len(answers)) is data
    await injection.lift()
    either.advance(20)
    assert await either.read(wire, either.server.connections[-1])


# The order of a book's messages.


async def test_a_gap_is_one_lost_message_of_a_book(either: Stage) -> None:
    victim, witness, _ = await either.harmed("gap")
    (lost,) = missing(victim, witness)
    assert is_book(lost)
    assert victim == [text for text in witness if text != lost]


async def test_a_duplicate_comes_twice_in_a_row(either: Stage) -> None:
    victim, witness, _ = await either.harmed("duplicate")
    (twice,) = missing(witness, victim)
    assert is_book(twice)
    at = victim.index(twice)
    assert victim[at : at + 2] == [twice, twice]


async def test_a_reorder_swaps_two_messages_of_a_book(either: Stage) -> None:
    victim, witness, _ = await either.harmed("reorder")
    assert sorted(victim) == sorted(witness)
    told, true = ([text for text in each if is_book(text)] for each in (victim, witness))
    differ = [at for at, pair in enumerate(zip(told, true, strict=True)) if pair[0] != pair[1]]
    assert len(differ) == 2
    assert [told[at] for at in differ] == [true[at] for at in reversed(differ)]
    assert differ[1] == differ[0] + 1


async def test_a_regress_repeats_an_old_message(either: Stage) -> None:
    victim, witness, _ = await either.harmed("regress")
    (old,) = missing(witness, victim)
    books = [text for text in victim if is_book(text)]
    first, again = (at for at, text in enumerate(books) if text == old)
    assert again - first >= 3


async def test_an_overlap_covers_the_message_before_it_too(binance: Stage) -> None:
    was, now = changed(*(await binance.harmed("overlap"))[:2])
    before, after = json.loads(was)["data"], json.loads(now)["data"]
    assert after["u"] == before["u"]
    assert after["U"] < before["U"]
    assert {price for price, _ in after["b"]} > {price for price, _ in before["b"]}
    assert {tuple(level) for level in before["b"]} <= {tuple(level) for level in after["b"]}


async def test_a_delta_comes_before_the_snapshot_that_a_lost_message_makes_necessary(bybit: Stage) -> None:
    injection = await bybit.inject("delta before snapshot")
    victim, witness = await bybit.told()
    assert len(missing(texts(victim), witness)) == 1
    bybit.victim.send(b'{"op":"unsubscribe","args":["orderbook.200.BTCUSDT"]}')
    bybit.victim.send(b'{"op":"subscribe","args":["orderbook.200.BTCUSDT"]}')
    seen = 0

    def second(frame: Frame) -> bool:
        nonlocal seen
        seen += b'"success"' in frame.payload
        return seen == 2

    early, snapshot = (json.loads(text) for text in texts(await bybit.victim.until(second)) if "topic" in text)
    assert (early["type"], snapshot["type"]) == ("delta", "snapshot")
    assert early["data"]["u"] == snapshot["data"]["u"] - 1
    assert len(early["data"]["b"]) < len(snapshot["data"]["b"])
    assert injection.count == 2


async def test_a_second_snapshot_in_mid_stream_is_numbered_one(bybit: Stage) -> None:
    injection = await bybit.inject("second snapshot")
    victim, _ = await bybit.told()
    books = [json.loads(text) for text in texts(victim) if is_book(text)]
    assert [(book["type"], book["data"]["u"]) for book in books[:2]] == [("snapshot", 1), ("delta", 2)]
    assert injection.count > 0


# Numbers and levels.

BAD = {
    "negative price": ("-1", 0),
    "zero price": ("0", 0),
    "negative size": ("-0.5", 1),
    "NaN": ("nan", None),
    "infinity": ("inf", None),
    "1e400": ("inf", None),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("seed", range(4))
async def test_a_bad_number_stands_in_one_level(bybit: Stage, name: str, seed: int) -> None:
    was, now = changed(*(await bybit.harmed(name, seed=seed))[:2])
    value, place = BAD[name]
    differ = [
        (at, new)
        for old_level, new_level in zip(both(was), both(now), strict=True)
        for at, (old, new) in enumerate(zip(old_level, new_level, strict=True))
        if old != new
    ]
    ((at, new),) = differ
    assert place in (None, at)
    assert repr(abs(float(new)) if value == "inf" else float(new)) == repr(float(value))


async def test_a_crossing_bid_is_far_above_an_ask(either: Stage) -> None:
    was, now = changed(*(await either.harmed("crossed"))[:2])
    before, after = sides(was), sides(now)
    (bid,) = [level for level in after[0] if level not in before[0]]
    assert after[1] == before[1]
    assert float(bid[0]) > 1.01 * max(float(price) for price, size in after[1] if float(size))
    assert float(bid[1]) > 0


@pytest.mark.parametrize(("name", "ticks"), [("locked for a moment", 0), ("crossed for a moment", 3)])
async def test_a_book_is_locked_or_crossed_for_one_message_and_then_true_again(either: Stage, name: str, ticks: int) -> None:
    victim, witness, _ = await either.harmed(name)
    was, now = missing(victim, witness), missing(witness, victim)
    first, second = (json.loads(text)["data"] for text in now)
    listing = listing_at(either.server, either.target, BYBIT_TOPICS[0] if either.bybit else BINANCE_TOPICS[0])
    assert listing is not None
    ask = either.world.truth_touch(listing.key, first["seq" if either.bybit else "u"])[2]
    placed, taken = first["b"][-1], second["b"][-1]
    assert float(placed[0]) == pytest.approx(ask + ticks * listing.tick, abs=listing.tick / 10)
    assert float(placed[1]) > 0
    assert taken == [placed[0], "0"] or len(was) == 1
    books = [text for text in victim if is_book(text)]
    assert books.index(now[1]) == books.index(now[0]) + 1


@pytest.mark.parametrize(("name", "side"), [("bids ten times as high", 0), ("asks ten times as high", 1)])
async def test_one_sides_prices_are_ten_times_as_high(bybit: Stage, name: str, side: int) -> None:
    was, now = changed(*(await bybit.harmed(name))[:2])
    before, after = sides(was), sides(now)
    assert after[1 - side] == before[1 - side]
    for (old, size), (new, _) in zip(before[side], after[side], strict=True):
        assert float(new) == pytest.approx(float(old) * (10 if float(size) else 1))


async def test_levels_beyond_the_depth_are_far_below_all_others(bybit: Stage) -> None:
    was, now = changed(*(await bybit.harmed("level beyond the depth"))[:2])
    more = both(now)
    extra = [level for level in more if level not in both(was)]
    assert len(extra) == 5
    assert all(float(level[0]) < 0.6 * min(float(price) for price, _ in both(was)) for level in extra)


async def test_nothing_lies_beyond_the_depth_of_a_book_that_is_shorter_than_its_window(bybit: Stage) -> None:
    fault = FAULTS["level beyond the depth"]
    assert fault.fits(bybit.server, bybit.target)
    (book,) = {id(one): one for one in books_on(bybit)}.values()
    while len(book.bids) >= bybit.server.dialect.window:
        book.set_bid(book.bid_ticks[0], 0)
    assert not fault.fits(bybit.server, bybit.target)


def books_on(stage: Stage) -> list[TrueBook]:
    listings = [listing_at(stage.server, stage.target, topic) for topic in stage.target.topics]
    return [stage.world.books[listing.key] for listing in listings if listing is not None]


async def test_a_wrong_size_is_plausible_and_alone(bybit: Stage) -> None:
    was, now = changed(*(await bybit.harmed("wrong size"))[:2])
    ((old, new),) = [(o, n) for o, n in zip(both(was), both(now), strict=True) if o != n]
    assert old[0] == new[0]
    assert float(new[1]) == pytest.approx(3 * float(old[1]))


async def test_a_lost_level_leaves_the_ids_whole(bybit: Stage) -> None:
    was, now = changed(*(await bybit.harmed("level lost"))[:2])
    assert len(both(was)) == len(both(now)) + 1
    assert json.loads(was)["data"]["u"] == json.loads(now)["data"]["u"]


# Text.


@pytest.mark.parametrize("seed", range(3))
async def test_malformed_json_is_the_beginning_of_a_message(bybit: Stage, seed: int) -> None:
    was, now = changed(*(await bybit.harmed("malformed JSON", seed=seed))[:2])
    assert was.startswith(now)
    with pytest.raises(json.JSONDecodeError):
        json.loads(now)


async def test_malformed_json_comes_again_and_again_and_ends(bybit: Stage) -> None:
    victim, witness, _ = await bybit.harmed("malformed JSON, again and again")
    assert len(missing(victim, witness)) == len(missing(witness, victim)) == STORM


@pytest.mark.parametrize("seed", range(5))
async def test_a_wrong_type_stands_where_another_was(bybit: Stage, seed: int) -> None:
    was, now = (json.loads(text)["data"] for text in changed(*(await bybit.harmed("wrong type", seed=seed))[:2]))
    (name,) = [name for name in was if was[name] != now[name]]
    assert type(was[name]) is not type(now[name]) or now[name] in ([["x", "y"]], [[[]]])


@pytest.mark.parametrize("seed", range(5))
async def test_a_missing_field_is_missing(bybit: Stage, seed: int) -> None:
    was, now = (json.loads(text) for text in changed(*(await bybit.harmed("field missing", seed=seed))[:2]))
    lost = [name for name in was if name not in now] + [name for name in was["data"] if name not in now.get("data", was["data"])]
    assert len(lost) == 1


async def test_more_fields_leave_the_others_as_they_are(either: Stage) -> None:
    was, now = (json.loads(text) for text in changed(*(await either.harmed("more fields"))[:2]))
    assert {name: now["data"][name] for name in was["data"]} == was["data"]
    assert len(now["data"]) == len(was["data"]) + 4


@pytest.mark.parametrize("seed", range(3))
async def test_an_empty_message_says_nothing(bybit: Stage, seed: int) -> None:
    _, now = changed(*(await bybit.harmed("empty", seed=seed))[:2])
    assert not now.strip(' {}[]"nul')


@pytest.mark.parametrize("seed", range(4))
async def test_deep_nesting_is_five_thousand_deep(bybit: Stage, seed: int) -> None:
    _, now = changed(*(await bybit.harmed("deep nesting", seed=seed))[:2])
    assert "[" * damage.NESTED in now
    with pytest.raises(RecursionError):
        json.loads(now)


async def test_a_byte_order_mark_stands_in_front(bybit: Stage) -> None:
    was, now = changed(*(await bybit.harmed("byte order mark"))[:2])
    assert now == "\ufeff" + was


async def framed_alone(stage: Stage, name: str) -> tuple[Frame, str]:
    """The frame that the fault put in the place of a message, and that message."""
    injection = await stage.inject(name)
    victim, witness = await stage.told()
    (at,) = [at for at, (frame, text) in enumerate(zip(victim, witness, strict=True)) if frame != Frame(TEXT, text.encode())]
    assert injection.count == 1
    return victim[at], witness[at]


async def test_bad_utf8_is_in_a_text_frame(bybit: Stage) -> None:
    frame, _ = await framed_alone(bybit, "bad UTF-8")
    assert frame.head == TEXT
    with pytest.raises(UnicodeDecodeError):
        frame.payload.decode()


async def test_a_binary_frame_holds_the_message(bybit: Stage) -> None:
    frame, text = await framed_alone(bybit, "binary frame")
    assert frame == Frame(BINARY, text.encode())


async def test_a_deflate_bomb_is_small_and_unfolds(bybit: Stage) -> None:
    frame, _ = await framed_alone(bybit, "deflate bomb")
    assert frame.head == TEXT | 0x40
    assert len(frame.payload) < damage.BOMB_BYTES / 500
    unfold, size = zlib.decompressobj(-15), 0
    data = frame.payload + damage.DEFLATE_TAIL
    while data:
        size += len(unfold.decompress(data, 1 << 20))
        data = unfold.unconsumed_tail
    assert size == damage.BOMB_BYTES


async def test_a_message_of_20_mib_arrives_whole_although_readers_that_slow_are_cut_off(bybit: Stage) -> None:
    injection = await bybit.inject("20 MiB message")
    bybit.advance(20)
    reading = asyncio.create_task(bybit.read(bybit.victim, bybit.target))
    frames = await reading
    assert injection.count == 1
    assert max(len(frame.payload) for frame in frames) > damage.HUGE_BYTES
    assert bybit.server.too_slow == 0


# Times.

TIMED = [
    ("times in microseconds", lambda was, now: now == was * 1_000),
    ("times zero", lambda was, now: now == 0),
]


@pytest.mark.parametrize(("name", "right"), TIMED)
async def test_every_time_is_wrong_while_it_lasts(bybit: Stage, name: str, right: Callable[[int, int], bool]) -> None:
    victim, witness, _ = await bybit.harmed(name)
    assert len(victim) == len(witness)
    for was, now in zip(map(json.loads, witness), map(json.loads, victim), strict=True):
        assert right(was["ts"], now["ts"])
        assert was["data"] == now["data"] or "publicTrade" in was["topic"]


async def test_times_are_missing_while_it_lasts(either: Stage) -> None:
    victim, witness, _ = await either.harmed("times missing")
    timed = [text for text in witness if re.search(r'"(?:ts|cts|E|T)":', text)]
    assert timed
    assert not [text for text in victim if re.search(r'"(?:ts|cts|E|T)":', text)]


async def test_a_wrong_clock_is_wrong_in_every_time_and_over_rest(bybit: Stage) -> None:
    injection = await bybit.inject("clock wrong")
    victim, _ = await bybit.told()
    true_ms = bybit.world.now_ns // 1_000_000
    for frame in victim:
        assert 4_000 < abs(json.loads(frame.payload)["ts"] - true_ms) < 45_000
    assert abs((await rest(bybit, "/v5/market/time"))[1]["time"] - true_ms) > 4_000
    await injection.lift()
    assert (await rest(bybit, "/v5/market/time"))[1]["time"] == true_ms


# REST.


async def rest(stage: Stage, path: str) -> tuple[int, Json]:
    async with aiohttp.ClientSession() as session, session.get(f"http://{stage.server.base}{path}") as answer:
        text = await answer.text()
        with suppress(ValueError):
            parsed = json.loads(text)
            return answer.status, parsed if isinstance(parsed, dict) else {}
        return answer.status, {"text": text, "retry": answer.headers.get("Retry-After")}


@pytest.mark.parametrize(("name", "status"), [("REST 429", 429), ("REST 418", 418), ("REST 403", 403), ("REST 500", 500)])
async def test_rest_answers_with_the_status_until_it_is_lifted(bybit: Stage, name: str, status: int) -> None:
    injection = await bybit.inject(name)
    for _ in range(2):
        assert (await rest(bybit, "/v5/market/time"))[0] == status
    victim, witness = await bybit.told()
    assert texts(victim) == witness
    await injection.lift()
    assert (await rest(bybit, "/v5/market/time"))[0] == 200


async def test_two_faults_of_one_hook_can_end_in_any_order(bybit: Stage) -> None:
    first, second = await bybit.inject("REST 429"), await bybit.inject("REST 500")
    assert (await rest(bybit, "/v5/market/time"))[0] == 500
    await first.lift()
    assert (await rest(bybit, "/v5/market/time"))[0] == 500
    await second.lift()
    assert (await rest(bybit, "/v5/market/time"))[0] == 200


DEPTH = "/api/v3/depth?symbol=BTCUSDT&limit=100"


async def needs_a_snapshot(stage: Stage) -> None:
    """The fault has made one necessary: a message of each book was lost."""
    victim, witness = await stage.told()
    assert texts(victim) != []
    assert len([text for text in witness if is_book(text)]) - len([text for text in texts(victim) if is_book(text)]) in (0, 1)


async def test_a_snapshot_fails_three_times(binance: Stage) -> None:
    await binance.inject("snapshot 500")
    await needs_a_snapshot(binance)
    assert [(await rest(binance, DEPTH))[0] for _ in range(4)] == [500, 500, 500, 200]
    assert (await rest(binance, "/api/v3/time"))[0] == 200


@pytest.mark.parametrize(("name", "times"), [("snapshot too old", 1), ("snapshot too old five times", 5)])
async def test_a_snapshot_is_older_than_all_that_was_sent(binance: Stage, name: str, times: int) -> None:
    await binance.inject(name)
    await needs_a_snapshot(binance)
    oldest = min(json.loads(text)["data"]["U"] for text in binance.before if is_book(text))
    for _ in range(times):
        assert (await rest(binance, DEPTH))[1]["lastUpdateId"] < oldest - 1
    assert (await rest(binance, DEPTH))[1]["lastUpdateId"] > oldest


async def test_a_snapshot_is_not_answered_until_it_is_lifted(binance: Stage) -> None:
    injection = await binance.inject("snapshot never answered")
    await needs_a_snapshot(binance)
    asking = asyncio.create_task(rest(binance, DEPTH))
    while not injection.struck.get("/api/v3/depth"):
        await asyncio.sleep(0)
    assert (await rest(binance, "/api/v3/time"))[0] == 200
    assert not asking.done()
    await injection.lift()
    assert (await asking)[0] == 200


async def test_a_late_snapshot_arrives_after_its_connection_is_gone(binance: Stage) -> None:
    await binance.inject("snapshot of the connection before")
    await needs_a_snapshot(binance)
    seq = binance.world.books["BINANCE.spot.BTCUSDT"].seq
    asking = asyncio.create_task(rest(binance, DEPTH))
    with pytest.raises(ConnectionResetError):
        await binance.victim.frame()
    assert not asking.done()
    binance.advance(20)
    status, late = await asking
    assert (status, late["lastUpdateId"]) == (200, seq)
    assert binance.world.books["BINANCE.spot.BTCUSDT"].seq > seq


async def test_a_delisted_instrument_is_in_no_list_and_says_nothing(either: Stage) -> None:
    injection = await either.inject("delisting")
    path = "/v5/market/instruments-info?category=linear" if either.bybit else "/api/v3/exchangeInfo"

    async def listed() -> list[Json]:
        body = (await rest(either, path))[1]
        rows: list[Json] = body["result"]["list"] if either.bybit else body["symbols"]
        return [row for row in rows if row["symbol"] == "BTCUSDT"]

    assert await listed() == []
    assert (await either.told())[0] == []
    wire, connection = await either.subscribed()
    either.advance(20)
    assert await either.read(wire, connection) == []
    await injection.lift()
    assert len(await listed()) == 1
    assert (await either.told())[0] != []


async def test_a_tick_change_is_in_the_list(either: Stage) -> None:
    path = "/v5/market/instruments-info?category=linear" if either.bybit else "/api/v3/exchangeInfo"

    async def tick() -> float:
        body = (await rest(either, path))[1]
        rows: list[Json] = body["result"]["list"] if either.bybit else body["symbols"]
        (row,) = [row for row in rows if row["symbol"] == "BTCUSDT"]
        rules = [row["priceFilter"]] if either.bybit else row["filters"]
        return float(next(rule["tickSize"] for rule in rules if "tickSize" in rule))

    was = await tick()
    injection = await either.inject("tick change")
    assert await tick() == pytest.approx(10 * was)
    await injection.lift()
    assert await tick() == was


# The table and the schedule.


def test_every_fault_says_what_it_threatens_and_how_long_it_lasts() -> None:
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert re.fullmatch(r"I([1-9]|1[0-3])", fault.threatens)
        assert 0 < fault.lasts_s[0] <= fault.lasts_s[1]
        assert fault.needs | fault.noticed_by <= FEATURES.keys()


def test_only_an_undetectable_fault_excuses_a_wrong_book_and_it_says_why() -> None:
    found = {name for name, fault in FAULTS.items() if fault.undetectable}
    assert found == {"asks ten times as high", "wrong size", "level lost"}
    for fault in FAULTS.values():
        assert bool(fault.reason) is bool(fault.mitigated_by) is (fault.undetectable or bool(fault.noticed_by))


def test_every_fault_of_the_table_is_tried_in_this_file() -> None:
    source = "".join(path.read_text() for path in (Path(__file__), Path(__file__).with_name("test_dialects.py")))
    tried = {name for name in FAULTS if f'"{name}"' in source}
    tried |= {f"close {code}" for code in (1000, 1001, 1012)} | {f"handshake {code}" for code in (429, 418, 403, 451, 503)}
    assert tried == FAULTS.keys()


async def test_a_fault_is_refused_where_it_cannot_work(bybit: Stage) -> None:
    for name, target in (("overlap", bybit.target), ("gap", bybit.server), ("snapshot 500", bybit.server)):
        assert not FAULTS[name].fits(bybit.server, bybit.target if target is bybit.target else None)
        with pytest.raises(ValueError, match=name):
            await FAULTS[name].inject(target, Random(1))


def first(schedule: Schedule, count: int) -> list[Any]:
    return [planned for planned, _ in zip(schedule, range(count), strict=False)]


def test_a_schedule_is_the_same_for_a_seed_and_every_fault_comes_in_time() -> None:
    world = World(3, START_NS, ("BTC",))
    servers: dict[str, VenueServer] = {server.name: server for server in (BinanceServer(world, "spot"), BybitServer(world))}
    plans = first(Schedule(5, servers), 3_000)
    assert plans == first(Schedule(5, servers), 3_000)
    assert plans != first(Schedule(6, servers), 3_000)
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(plans)]
    assert plans[0].at_s == 15.0
    assert min(gaps) >= 1.0
    assert sum(gaps) / len(gaps) == pytest.approx(10.0, rel=0.1)
    have = [server.dialect.features | {"book"} for server in servers.values()]
    fitting = {fault.name for fault in FOR_DEMO if any(fault.needs <= each for each in have)}
    assert {planned.fault.name for planned in plans} == fitting > {"gap", "overlap", "second snapshot"}
    for planned in plans:
        assert planned.fault.needs - {"book"} <= servers[planned.server].dialect.features
        assert planned.fault.lasts_s[0] <= planned.lasts_s <= planned.fault.lasts_s[1]
        assert planned.fault.recovers_by is not Cure.STAYS_AWAY


def test_a_schedule_without_a_server_it_could_work_on_is_refused() -> None:
    with pytest.raises(ValueError, match="no fault"):
        Schedule(1, {"BYBIT": BybitServer(World(3, START_NS, ("BTC",)))}, faults=[FAULTS["overlap"]])


async def test_a_planned_fault_strikes_a_connection_it_fits_and_the_same_one_for_the_same_plan(bybit: Stage) -> None:
    servers = {"BYBIT": bybit.server}
    plan = next(iter(Schedule(1, {"BYBIT": bybit.server}, faults=[FAULTS["gap"]])))
    await bybit.client()
    struck = [await strike(plan, servers) for _ in range(2)]
    assert all(injection is not None for injection in struck)
    assert len({injection.connection for injection in struck if injection is not None}) == 1
    for injection in struck:
        assert injection is not None
        assert injection.connection is not None
        assert any(map(bybit.server.dialect.is_book, injection.connection.topics))
        await injection.lift()


async def test_a_plan_for_a_server_without_connections_does_nothing(bybit: Stage) -> None:
    plan = next(iter(Schedule(1, {"BYBIT": bybit.server}, faults=[FAULTS["gap"]])))
    empty = BybitServer(bybit.world)
    assert await strike(plan, {"BYBIT": empty}) is None


async def test_when_a_played_schedule_ends_nothing_of_it_is_left(bybit: Stage) -> None:
    names = ("REST 500", "burst", "one topic muted", "clock wrong", "three-byte writes")
    schedule = Schedule(2, {"BYBIT": bybit.server}, faults=[FAULTS[name] for name in names], every_s=1.0)
    said: list[str] = []
    usual = bybit.target.write
    enough = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if len(said) >= 20:
            enough.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    playing = asyncio.create_task(play(schedule, {"BYBIT": bybit.server}, said.append, sleep))
    await asyncio.wait_for(enough.wait(), PROMPT_S)
    playing.cancel()
    with suppress(asyncio.CancelledError):
        await playing
    assert len({line.split(": ")[1].split(" on ")[0] for line in said}) > 3
    assert bybit.server.clock_offset_ns == 0
    assert bybit.target.filters == bybit.beside.filters == []
    assert bybit.target.muted == bybit.beside.muted == set()
    assert bybit.target.write == usual
    assert (await rest(bybit, "/v5/market/time"))[0] == 200
    victim, witness = await bybit.told()
    assert texts(victim) == witness


def fault_names(cure: Cure) -> set[str]:
    return {name for name, fault in FAULTS.items() if fault.recovers_by is cure}


def test_what_loses_an_update_is_never_said_to_need_nothing() -> None:
    losing: list[Fault] = [FAULTS[name] for name in ("gap", "reorder", "malformed JSON", "empty", "deep nesting")]
    assert {fault.name for fault in losing} <= fault_names(Cure.RESYNC)
