"""A tardis-machine on loopback, read over real sockets: what it has kept arrives whole or as one line of error, never in part.

The simulated market stands still unless a test moves it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from feeds.hub import Hub
from feeds.importers import import_capture
from feeds.machine.address import Address
from feeds.machine.fetch import MachineFailed, fetch
from feeds.model import SECOND, BookState
from feeds.recording import Recording
from feeds.simulator.market import World
from feeds.simulator.tardis import Break, TardisServer
from feeds.venue import NoListener
from feeds.venues import VENUES
from tests.unit.test_bitmex import PARTIAL
from tests.unit.test_tardis import PERPETUAL, SNAPSHOT, TRADE, change, disconnect, message

START: Final = 1_790_757_082 * SECOND
SPAN: Final = "from=2019-10-23T10:00Z&to=2019-10-23T11:00Z"
BOTH: Final = f"bitmex=XBTUSD&deribit=BTC-PERPETUAL&{SPAN}"


def at_second(text: str, second: int) -> bytes:
    return json.dumps({**json.loads(text), "localTimestamp": f"2019-10-23T10:33:{second:02}.000000Z"}).encode()


PERPETUAL_BOOK = message(
    "book_change", PERPETUAL, isSnapshot=True, bids=[{"price": 99.5, "amount": 10}], asks=[{"price": 100.5, "amount": 20}]
)
STORED: Final = [
    at_second(SNAPSHOT, 0),
    at_second(PERPETUAL_BOOK, 1),
    at_second(TRADE, 2),
    at_second(change(False, [(99.0, 0)], []), 3),
    at_second(disconnect(["XBTUSD"]), 4),
    at_second(change(False, [(98.0, 1)], []), 5),
]


@asynccontextmanager
async def machine(**more: Any) -> AsyncIterator[TardisServer]:
    server = TardisServer(World(3, START, ("BTC",), venues=("BITMEX", "DERIBIT")), **{"stored": STORED, **more})
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def address(server: TardisServer, asked: str = BOTH, path: str = "") -> Address:
    return Address.of(f"tardis://127.0.0.1:{server.port}/{path}?{asked}")


def lines(paths: Sequence[Path]) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines()]


async def failure(server: TardisServer, directory: Path, asked: str = BOTH, path: str = "", patience_s: float = 5.0) -> str:
    """The one line that a fetch says."""
    with pytest.raises(MachineFailed) as caught:
        await fetch(address(server, asked, path), directory, patience_s=patience_s)
    said = str(caught.value)
    assert "\n" not in said
    place = f"tardis://127.0.0.1:{server.port}/{path or 'replay-normalized'}"
    assert said.startswith(place)
    return said.removeprefix(place)


# what arrives


@pytest.mark.parametrize("path", ["replay-normalized", "ws-replay-normalized"])
async def test_two_exchanges_arrive_in_one_answer_as_they_were_kept(tmp_path: Path, path: str) -> None:
    async with machine() as server:
        paths = await fetch(address(server, path=path), tmp_path)
        assert [option["exchange"] for _, option in server.asked] == ["bitmex", "deribit"]
    assert [one.name for one in paths] == ["normalised.jsonl"]
    assert lines(paths) == STORED
    import_capture(paths, tmp_path / "made", venues=VENUES)
    records = list(Recording(tmp_path / "made").records())
    assert [record.payload for record in records if record.kind == "t"] == STORED
    hub = Hub(VENUES, NoListener())
    for record in records:
        if record.kind != "c":
            hub.handle(record)
    books = {name: hub.connections[name].session.books for name in ("bitmex-public", "deribit-public")}
    xbt = books["bitmex-public"]["BITMEX:BTC/USD:BTC"]
    assert (xbt.state, xbt.reason) == (BookState.BUFFERING, "disconnect")  # and its change of second 5 reached no book
    assert books["deribit-public"]["DERIBIT:BTC/USD:BTC"].levels(9) == ([(99.5, 10.0)], [(100.5, 20.0)])


async def test_only_what_was_asked_for_arrives(tmp_path: Path) -> None:
    async with machine() as server:
        got = lines(await fetch(address(server, f"bitmex=XBTUSD&dataTypes=trade&{SPAN}"), tmp_path))
        assert got == [STORED[2], STORED[4]]
        got = lines(await fetch(address(server, "deribit=&from=2019-10-23T10:33:01Z&to=2019-10-23T10:33:02Z"), tmp_path))
        assert got == [STORED[1]]


async def test_a_slow_reader_of_a_long_answer_gets_all_of_it(tmp_path: Path) -> None:
    many = [at_second(TRADE, 2)] * 30_000
    async with machine(stored=many) as server:
        for path in ("replay-normalized", "ws-replay-normalized"):
            told: list[float] = []
            paths = await fetch(address(server, f"bitmex=XBTUSD&{SPAN}", path), tmp_path, told.append)
            assert len(lines(paths)) == len(many)
            assert told == sorted(told)
            assert 0.0 < told[0] <= told[-1] <= 1.0


BITMEX_RAW = [
    ("2019-10-23T10:33:00.1234567Z", json.dumps(PARTIAL).encode()),
    ("2019-10-23T10:33:01.0000000Z", b'{"success":true,"subscribe":"orderBookL2:XBTUSD"}'),
    None,
    ("2019-10-23T10:33:03.0000000Z", json.dumps(PARTIAL).encode()),
]
DERIBIT_BOOK = (
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.raw","data":{"type":"snapshot",'
    b'"timestamp":1571826780000,"instrument_name":"BTC-PERPETUAL","change_id":7,"bids":[["new",99.5,10.0]],'
    b'"asks":[["new",100.5,20.0]]}}}'
)


async def test_a_raw_replay_goes_through_the_venues_own_adapters(tmp_path: Path) -> None:
    raw = {"bitmex": BITMEX_RAW, "deribit": [("2019-10-23T10:33:02.0000000Z", DERIBIT_BOOK)]}
    async with machine(raw=raw) as server:
        paths = await fetch(address(server, f"bitmex=&deribit=BTC-PERPETUAL&channels=book&{SPAN}", "replay"), tmp_path)
    assert [one.name for one in paths] == ["bitmex.jsonl", "deribit.jsonl"]
    report = import_capture(paths, tmp_path / "made", venues=VENUES)
    assert report.damage == ()
    assert [(each.conn, each.url) for each in report.connections] == [
        ("bitmex-public", "tardis-raw://bitmex/public"),
        ("deribit-public", "tardis-raw://deribit/public"),
    ]
    records = list(Recording(tmp_path / "made").records())
    bitmex = [record for record in records if record.conn == "bitmex-public"]
    assert [record.kind for record in bitmex] == ["o", "t", "t", "c", "o", "t", "c"]  # the blank line is a lost connection
    assert bitmex[1].payload == json.dumps(PARTIAL).encode()
    hub = Hub(VENUES, NoListener())
    for record in records:
        if record is not records[-1] and record is not records[-2]:
            hub.handle(record)
    books = {book.instrument.id: book for each in hub.connections.values() for book in each.session.books.values()}
    assert books["DERIBIT:BTC/USD:BTC"].levels(9) == ([(99.5, 10.0)], [(100.5, 20.0)])
    assert books["BITMEX:BTC/USD:BTC"].published


async def test_the_machine_says_that_it_is_well_at_its_first_port_alone() -> None:
    async with machine() as server, aiohttp.ClientSession() as client:
        async with client.get(f"http://{server.base}/health-check") as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "Healthy")
        for url in (f"http://127.0.0.1:{server.port + 1}/health-check", f"http://{server.base}/nothing"):
            async with client.get(url) as answer:
                assert answer.status == 404


# what goes wrong


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (Break(3, "half"), ": line 4 is cut off; run it again"),
        (Break(3, "error"), ": it stopped after line 3: an error in the middle; run it again"),
        (Break(3, "cut"), ": the connection was lost after line 3 ("),
        (Break(3, "bytes", b'{"type":"trade"}'), " line 4: no whole message of Tardis (Object missing required field"),
        (Break(3, "bytes", b"\xff\xfe{"), " line 4: no whole message of Tardis ("),
        (Break(3, "bytes", b'{"type":' + b"[" * 5_000), " line 4: no whole message of Tardis ("),
        (Break(3, "bytes", b"<html>\x1b]0;owned\x07</html>"), " line 4: no whole message of Tardis ("),
        (Break(0, "error"), ": it stopped after line 0: an error in the middle"),
    ],
    ids=["half", "error", "cut", "no time", "no text", "depth", "another server", "error at once"],
)
async def test_an_http_answer_that_is_not_whole_is_one_line_that_says_where(tmp_path: Path, how: Break, says: str) -> None:
    async with machine() as server:
        server.breaks = how
        said = await failure(server, tmp_path)
    assert said.startswith(says)
    assert "run it again" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (Break(3, "close"), ": closed with 1011 after message 3: Error: an error in the middle; run it again"),
        (Break(3, "close", code=1008), ": closed with 1008 after message 3: it was not read fast enough; run it again"),
        (Break(3, "cut"), ": the connection was lost after line 3 ("),
        (Break(3, "bytes", b"[]"), " line 4: no whole message of Tardis ("),
        (Break(3, "bytes", b"x" * (17 << 20)), ": message 4 is too long; see what answers there"),
    ],
    ids=["1011", "1008", "cut", "hostile", "too long"],
)
async def test_a_websocket_that_ends_before_all_was_sent_is_one_line_that_says_where(
    tmp_path: Path, how: Break, says: str
) -> None:
    async with machine() as server:
        server.breaks = how
        assert (await failure(server, tmp_path, path="ws-replay-normalized")).startswith(says)


async def test_a_line_without_an_end_is_not_read_for_ever(tmp_path: Path) -> None:
    async with machine() as server:
        server.breaks = Break(0, "bytes", b"x" * (17 << 20))
        assert await failure(server, tmp_path) == ": line 1 is longer than 16 MiB; see what answers there"


async def test_a_machine_without_a_key_says_which_days_it_serves(tmp_path: Path) -> None:
    async with machine(keyless=True) as server:
        said = await failure(server, tmp_path)
        assert said.startswith(": answered with 401: API key is missing.")
        assert said.endswith("without an API key of Tardis a machine serves the first day of each month only")


async def test_an_exchange_with_nothing_kept_is_no_recording_of_nothing(tmp_path: Path) -> None:
    async with machine() as server:
        said = await failure(server, tmp_path, f"bitmex=ETHUSD&dataTypes=trade&{SPAN.replace('T11:00Z', 'T10:01Z')}")
    assert said.startswith(": it has nothing of what was asked for")


@pytest.mark.parametrize("path", ["replay-normalized", "ws-replay-normalized"])
async def test_a_machine_that_goes_silent_is_not_waited_for_for_ever(tmp_path: Path, path: str) -> None:
    async def silent(*_any: Any) -> None:
        await asyncio.Event().wait()

    async with machine() as server:
        server.rest_hook = server.greeting = silent
        said = await failure(server, tmp_path, path=path, patience_s=0.05)
        assert said.startswith(": it sent nothing for 0.05 s after line 0; run it again")


@pytest.mark.parametrize("path", ["replay-normalized", "ws-replay-normalized"])
async def test_nobody_there_is_said_with_what_to_start(tmp_path: Path, path: str) -> None:
    async with machine() as server:
        server.refuse()
        said = await failure(server, tmp_path, path=path)
    assert said.startswith(": cannot be reached (")
    assert said.endswith("start tardis-machine there, or mend host and port")


async def test_what_cannot_be_asked_for_is_refused_by_the_machine_with_its_reason(tmp_path: Path) -> None:
    async with machine() as server, aiohttp.ClientSession() as client:
        for query in ("", "options=[", 'options={"exchange":"kraken"}', 'options={"exchange":"bitmex","dataTypes":["trade"]}'):
            async with client.get(f"http://{server.base}/replay-normalized?{query}") as answer:
                assert answer.status in (400, 500)
                assert json.loads(await answer.text())["message"]
            async with client.ws_connect(f"ws://127.0.0.1:{server.port + 1}/ws-stream-normalized?options=[") as ws:
                closing = await ws.receive(timeout=5)
                assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1011)


# the live stream


class Stream:
    """A raw client of the live stream."""

    def __init__(self, server: TardisServer, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.server = server
        self.ws = ws

    async def move(self, until: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Move the market on until what has come is enough."""
        got: list[dict[str, Any]] = []
        async with asyncio.timeout(20):
            while not until(got):
                self.server.world.advance(self.server.world.now_ns + SECOND // 10)
                await asyncio.sleep(0)
                while True:
                    try:
                        got.append(await self.ws.receive_json(timeout=0.005))
                    except TimeoutError:
                        break
        return got


@asynccontextmanager
async def stream(server: TardisServer, *options: dict[str, Any]) -> AsyncIterator[Stream]:
    async with aiohttp.ClientSession() as client:
        url = f"ws://127.0.0.1:{server.port + 1}/ws-stream-normalized"
        async with client.ws_connect(url, params={"options": json.dumps(options if len(options) > 1 else options[0])}) as ws:
            yield Stream(server, ws)


EVERY = ["book_change", "trade", "derivative_ticker", "liquidation"]


async def test_one_stream_carries_several_exchanges_and_its_books_are_the_true_ones() -> None:
    async with machine() as server:
        wanted = [
            {"exchange": "bitmex", "dataTypes": EVERY},
            {"exchange": "deribit", "symbols": ["BTC-PERPETUAL"], "dataTypes": EVERY},
        ]
        async with stream(server, *wanted) as client:
            got = await client.move(
                lambda got: {"trade", "derivative_ticker"} <= {each["type"] for each in got} and len(got) > 200
            )
        assert {each["exchange"] for each in got} == {"bitmex", "deribit"}
        assert {each["symbol"] for each in got if each["exchange"] == "deribit"} == {"BTC-PERPETUAL"}
        for listing in server.world.listings.values():
            own = [each for each in got if each["type"] == "book_change" and each["symbol"] == listing.native]
            if listing.venue == "DERIBIT" and listing.native != "BTC-PERPETUAL":
                assert own == []
                continue
            assert [each["isSnapshot"] for each in own] == [True] + [False] * (len(own) - 1)
            sides: dict[str, dict[float, float]] = {"bids": {}, "asks": {}}
            for each in own:
                for side, levels in sides.items():
                    levels.update((level["price"], level["amount"]) for level in each[side])
            bids, asks = server.world.truth(listing.key, server.world.books[listing.key].seq)
            told = [sorted((p, n) for p, n in levels.items() if n) for levels in sides.values()]
            assert told == [sorted(bids), sorted(asks)]


async def test_a_silent_exchange_is_told_once_and_comes_back_with_a_snapshot() -> None:
    wanted = {
        "exchange": "bitmex",
        "symbols": ["XBTUSD"],
        "dataTypes": ["book_change"],
        "withDisconnectMessages": True,
        "withErrorMessages": True,
        "timeoutIntervalMS": 2_000,
    }
    async with machine() as server, stream(server, wanted) as client:
        await client.move(bool)
        server.silent.add("bitmex")
        got = await client.move(lambda got: sum(each["type"] == "error" for each in got) >= 2)
        lost = [each for each in got if each["type"] in ("error", "disconnect")]
        assert [each["type"] for each in lost] == ["error", "disconnect", "error"]
        assert [each["subSequentErrorsCount"] for each in lost if each["type"] == "error"] == [1, 2]
        assert lost[1]["symbols"] == ["XBTUSD"]
        server.silent.clear()
        (back, *_) = await client.move(bool)
        assert (back["type"], back["isSnapshot"]) == ("book_change", True)


async def test_a_stream_that_fails_too_often_ends_with_1011() -> None:
    async with machine() as server:
        server.silent.add("bitmex")
        async with stream(server, {"exchange": "bitmex", "dataTypes": EVERY, "timeoutIntervalMS": 100}) as client:
            for _ in range(60):
                server.world.advance(server.world.now_ns + SECOND // 10)
            closing = await client.ws.receive(timeout=5)
    assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1011)
