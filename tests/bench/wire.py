"""From a socket to the engine: the three-market night's Binance spot connection over loopback, by each websocket library.

Saturated, as a ratio to the same path from memory; and paced at 2,000 messages a second, the CPU of one message. The reading
loop, hub, session and engine are the program's own; the sender is another process.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from analytics.engine import Engine
from analytics.settings import AnalyticsSettings
from feeds.clock import ReceiveClock
from feeds.connection import Wire
from feeds.hub import Hub
from feeds.importers import import_capture
from feeds.model import LinkState, Ns
from feeds.recording import Record, Recording
from feeds.venue import Plan, Terms
from feeds.venues import VENUES
from feeds.wire import dial, library
from tests.bench.pipeline import NIGHT
from tests.bench.row import Row

CONN = "binance-coinm"
FRAMES = 60_000
PACE = 2_000
PACED_S = 8
TERMS = Terms("http://127.0.0.1", "bench", 1_000, 10.0)


class Driver:
    """What `feeds.live.Live` does with a frame, without requests: they are in the recording, and come at their place."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.clock = ReceiveClock()
        self.hub = Hub(VENUES, Engine(AnalyticsSettings()))
        self.seen = 0
        self.done = asyncio.Event()
        self._others: dict[int, list[Record]] = {}
        self.total = 0
        for record in records:
            if record.kind == "t":
                self.total += 1
            else:
                self._others.setdefault(self.total, []).append(record)
        self._between()

    def stamp(self) -> Ns:
        return self.clock.stamp()

    def opened(self, conn: str, plan: Plan) -> None: ...

    def closed(self, conn: str, code: int, reason: str) -> None: ...

    def link_state(self, conn: str) -> LinkState:
        return LinkState.READY

    def frame(self, conn: str, data: bytes) -> None:
        now = self.clock.stamp()
        self.hub.ticker.advance(now)
        self.hub.frame(CONN, data, now)
        self.seen += 1
        if self.seen in self._others:
            self._between()
        if self.seen == self.total:
            self.done.set()

    def _between(self) -> None:
        for record in self._others.get(self.seen, ()):
            if record.kind != "c":
                self.hub.handle(Record(self.clock.stamp(), *record[1:]))


def rows() -> Sequence[Row]:
    """Needs the recording; no rows without it."""
    if not NIGHT.is_dir():
        return [Row("socket", 0.0, "", f"skipped: no {NIGHT.name} beside the repository")]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rec"
        import_capture([NIGHT], path, venues=VENUES)
        records: list[Record] = []
        frames = 0
        for record in Recording(path).records():
            if record.conn in (CONN, "-") and frames < FRAMES:
                records.append(record)
                frames += record.kind == "t"
        file = Path(directory) / "frames"
        file.write_bytes(b"\n".join(record.payload for record in records if record.kind == "t"))
        return _measured(records, file)


def _measured(records: Sequence[Record], file: Path) -> list[Row]:
    memory_s, books = _from_memory(records)
    total = sum(record.kind == "t" for record in records)
    found = [Row("from memory to the engine", total / memory_s, "frames/s", f"{total:,} frames of COIN-M, books and engine")]
    for name, fast in (("websockets", False), ("picows (fast)", True)):
        seconds, held = asyncio.run(_over_socket(records, file, fast, 0))
        assert held == books, "the books differ"
        found.append(Row(f"{name}, saturated", total / seconds, "frames/s", "CPU of this process"))
        found.append(Row(f"{name} / memory", memory_s / seconds, "", "share of the speed from memory"))
        some = records[: next(at for at, record in enumerate(records) if record.kind == "t") + PACE * PACED_S]
        count = sum(record.kind == "t" for record in some)
        paced_s, _ = asyncio.run(_over_socket(some, file, fast, PACE))
        found.append(
            Row(
                f"{name} at {PACE:,} a second",
                1e6 * paced_s / count,
                "us",
                f"CPU a message, {100 * paced_s / PACED_S:.1f} % of a core",
            )
        )
    return found


def _from_memory(records: Sequence[Record]) -> tuple[float, list[object]]:
    driver = Driver(records)
    frames = [record.payload for record in records if record.kind == "t"]
    begun = time.process_time()
    for data in frames:
        driver.frame(CONN, data)
    return time.process_time() - begun, _books(driver)


async def _over_socket(records: Sequence[Record], file: Path, fast: bool, pace: int) -> tuple[float, list[object]]:
    server = subprocess.Popen([sys.executable, "-m", "tests.bench.wire_server", str(file), str(pace)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    driver = Driver(records)
    chosen = library(fast)
    socket = await dial(chosen, f"ws://127.0.0.1:{port}/", 20.0, None)
    wire = Wire(CONN, Plan("BINANCE", "coinm", "", ()), socket, TERMS, driver, chosen)
    begun = time.process_time()
    serving = asyncio.create_task(wire.serve())
    await driver.done.wait()
    seconds = time.process_time() - begun
    books = _books(driver)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    server.kill()
    server.wait(5)
    server.stdout.close()
    return seconds, books


def _books(driver: Driver) -> list[object]:
    connection = driver.hub.connections[CONN]
    return [(book.state, book.seq, book.bids.levels(20), book.asks.levels(20)) for book in connection.session.books.values()]
