"""A tardis-machine's live stream in place of the venues, and the command line on what one has: real sockets on loopback.

The simulated market's time is moved faster than the wall's.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from feeds.errors import InputError
from feeds.hub import Hub
from feeds.live import Live
from feeds.machine.address import Address
from feeds.machine.venue import machine_venues
from feeds.model import MS, BookState, LinkState
from feeds.orderbook import OrderBook
from feeds.recording import Recording
from feeds.simulator.market import World
from feeds.simulator.tardis import Break, TardisServer
from feeds.venue import NoListener
from feeds.venues import VENUES, markets_of
from tests.integration.test_tardis_machine import BOTH, START, STORED, machine
from tests.terminal import plain_environment
from tui.config import load_config
from tui.session import ReplayOptions, replay_headless

PATIENCE_S: Final = 20.0
LIVE: Final = "ws-stream-normalized?bitmex=XBTUSD&deribit=BTC-PERPETUAL&bybit=BTCUSDT"
WATCHED: Final = {"BITMEX:BTC/USD:BTC", "DERIBIT:BTC/USD:BTC", "BYBIT:BTC/USDT:USDT"}


class Rig:
    """A machine whose market stands still, and a program that takes it for its venues."""

    def __init__(self, server: TardisServer, live: Live) -> None:
        self.server = server
        self.live = live

    async def move(self, until: Any) -> None:
        """Move the market's time on until it is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not until():
                self.server.world.advance(self.server.world.now_ns + 100 * MS)
                await asyncio.sleep(0.001)

    @property
    def books(self) -> dict[str, OrderBook]:
        return {book.instrument.id: book for each in self.live.hub.connections.values() for book in each.session.books.values()}

    def synced(self) -> bool:
        return {name for name, book in self.books.items() if book.published} == WATCHED

    async def compare(self) -> None:
        """Every book is the true one, once what is on its way has arrived."""
        world = self.server.world
        keys = {"BITMEX:BTC/USD:BTC": "BITMEX.public.XBTUSD", "DERIBIT:BTC/USD:BTC": "DERIBIT.public.BTC-PERPETUAL"}
        keys["BYBIT:BTC/USDT:USDT"] = "BYBIT.linear.BTCUSDT"
        truth = {name: world.truth(key, world.books[key].seq) for name, key in keys.items()}
        async with asyncio.timeout(PATIENCE_S):
            while {name: book.levels(1 << 20) for name, book in self.books.items() if book.published} != truth:
                await asyncio.sleep(0.001)


@asynccontextmanager
async def rig(directory: Path | None = None, **more: Any) -> AsyncIterator[Rig]:
    server = TardisServer(World(5, START, ("BTC",), venues=("BITMEX", "DERIBIT", "BYBIT")), **more)
    await server.start()
    venues = machine_venues(Address.of(f"tardis://127.0.0.1:{server.port}/{LIVE}"))
    markets = {name: markets_of(venue) for name, venue in venues.items()}
    live = Live(venues, NoListener(), lambda listed: listed, markets=markets)
    if directory is not None:
        live.record(directory, "test")
    running = asyncio.create_task(live.run())
    try:
        yield Rig(server, live)
    finally:
        live.stop()
        await running
        await server.stop()
    assert live.faults == 0


async def test_each_exchange_of_a_machine_becomes_a_connection_whose_book_is_the_true_one(tmp_path: Path) -> None:
    async with rig(tmp_path / "made") as at:
        await at.move(at.synced)
        for _ in range(5):
            before = at.live.hub.frames
            await at.move(lambda before=before: at.live.hub.frames > before + 30)
            await at.compare()
        assert [link.state for link in at.live.links.values()] == [LinkState.READY] * 3
        last = {name: book.levels(1 << 20) for name, book in at.books.items()}
        assert at.live.hub.quarantined == 0
        assert sorted(option["exchange"] for _, option in at.server.asked) == ["bitmex", "bybit", "deribit"]
    again = {}
    hub = Hub(VENUES, NoListener())  # a replay knows nothing of the machine but what was recorded
    for record in Recording(tmp_path / "made").records():
        if record.kind == "c":
            break
        hub.handle(record)
    for connection in hub.connections.values():
        again.update({name: book.levels(1 << 20) for name, book in connection.session.books.items()})
    assert again == last


async def test_an_exchange_that_the_machine_loses_has_no_book_until_it_is_back() -> None:
    async with rig() as at:
        await at.move(at.synced)
        at.server.silent.add("bitmex")
        await at.move(lambda: not at.books["BITMEX:BTC/USD:BTC"].published)
        book = at.books["BITMEX:BTC/USD:BTC"]
        assert (book.state, book.reason) == (BookState.BUFFERING, "disconnect")
        assert at.books["DERIBIT:BTC/USD:BTC"].published
        at.server.silent.clear()
        await at.move(at.synced)
        await at.compare()


async def test_a_stream_that_ends_is_opened_anew_and_its_books_begin_again() -> None:
    async with rig() as at:
        await at.move(at.synced)
        for connection in list(at.server.connections):
            connection.drop()
        await at.move(lambda: not at.synced())
        await at.move(at.synced)
        await at.compare()


async def test_a_machine_that_is_not_there_or_not_well_is_why_nothing_is_listed() -> None:
    async with rig() as at:
        at.server.health = "Unhealthy"
        async with asyncio.timeout(PATIENCE_S):
            while not at.live.trouble:
                await asyncio.sleep(0.001)
        assert "the machine says of itself that it is Unhealthy" in next(iter(at.live.trouble.values()))
        assert at.live.links == {}


# the command line


async def arbtop(home: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    home.mkdir(exist_ok=True)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tui", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**plain_environment(home), "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        cwd=home,
    )
    out, said = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode is not None
    return child.returncode, out.decode(), said.decode()


async def test_what_a_machine_has_is_imported_and_kept_or_played_and_gone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with machine() as server:
        place = f"tardis://127.0.0.1:{server.port}/?{BOTH}"
        code, out, said = await arbtop(home, "import", place, "-o", str(tmp_path / "kept"), "--json")
        assert (code, said) == (0, "")
        assert [each["frames"] for each in json.loads(out)["connections"]] == [5, 1]
        code, played, said = await arbtop(home, "replay", place, "--headless", "--speed", "max", "--json")
        assert (code, said) == (0, "")
    assert [each.name for each in tmp_path.iterdir() if each.name != "home"] == ["kept"]  # and nothing that was fetched for it
    frames = [record.payload for record in Recording(tmp_path / "kept").records() if record.kind == "t"]
    assert frames == STORED
    report = json.loads(played)
    kept = replay_headless(ReplayOptions(path=tmp_path / "kept"))
    assert (report["frames"], report["from_utc"], report["to_utc"]) == (kept.frames, kept.from_utc, kept.to_utc)
    file = tmp_path / "normalised.jsonl"
    file.write_bytes(b"".join(line + b"\n" for line in STORED))
    code, out, said = await arbtop(home, "replay", str(file), "--headless", "--speed", "max", "--json")
    assert (code, said) == (0, "")
    assert {**json.loads(out), "source": ""} == {**report, "source": ""}


async def test_a_machine_that_fails_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with machine() as server:
        server.breaks = Break(3, "half")
        place = f"tardis://127.0.0.1:{server.port}/?{BOTH}"
        code, out, said = await arbtop(home, "import", place, "-o", str(tmp_path / "kept"))
    assert (code, out) == (1, "")
    assert said == (
        f"arbtop: tardis://127.0.0.1:{server.port}/replay-normalized: line 4 is cut off; run it again: "
        "what the machine has fetched so far is in its cache\n"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("command", [("import",), ("replay", "--headless")])
async def test_an_address_that_is_none_is_a_mistake_of_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    code, out, said = await arbtop(tmp_path / "home", *command, "tardis://localhost/?bitmx=XBTUSD")
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert "bitmx is neither an exchange" in said


async def test_a_machine_named_in_the_configuration_is_what_a_live_run_watches(tmp_path: Path) -> None:
    server = TardisServer(World(5, START, ("BTC",), venues=("BITMEX", "DERIBIT", "BYBIT")))
    await server.start()
    config = tmp_path / "config.toml"
    config.write_text(f'[venues]\ntardis = "tardis://127.0.0.1:{server.port}/{LIVE}"\n')
    running = asyncio.create_task(
        arbtop(tmp_path / "home", "--config", str(config), "record", "-o", str(tmp_path / "kept"), "--json", "--seconds", "3")
    )
    try:
        while not running.done():
            server.world.advance(server.world.now_ns + 20 * MS)
            await asyncio.sleep(0.02)
        code, _, said = await running
    finally:
        running.cancel()
        await server.stop()
    assert code == 0, said
    records = list(Recording(tmp_path / "kept").records())
    frames = {record.conn.rpartition(".")[0] for record in records if record.kind == "t"}
    assert frames == {"BITMEX.public.1", "DERIBIT.public.1", "BYBIT.linear.1"}


def test_a_replay_is_no_live_source_and_the_configuration_says_so(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[venues]\ntardis = "tardis://localhost/?{BOTH}"\n')
    with pytest.raises(InputError, match="has an end: live messages are at"):
        load_config(config)
