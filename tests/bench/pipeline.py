"""Frames per second of each stage of the one path, on the three-market night, each stage on top of the one before.

(a) read the recording; (b) decode every frame into its type; (c) keep the books; (d) the whole headless replay: engine, routes,
alerts, statistics. CPU seconds of this process, median of three passes. Then the deep USD-M depth stream from memory: books against
bare decode.
"""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

import msgspec

from analytics.settings import AnalyticsSettings
from feeds.health import Health
from feeds.hub import Hub
from feeds.importers import import_capture
from feeds.model import Instrument, Metric, Ns, Status, Stream, Trade
from feeds.orderbook import OrderBook
from feeds.recording import Opened, Record, Recording
from feeds.venues import VENUES, binance
from tests.bench.row import Row
from tests.recordings import RECORDINGS
from tui.session import Replay

PASSES = 3
NIGHT = RECORDINGS / "binance-2024-08-08"
DECODERS: dict[bytes, Callable[[bytes], object]] = {
    b"bookTicker": binance._touch,
    b"trade": binance._trade,
    b"depth": binance._futures_depth,
    b"spot": binance._spot_depth,
}


class Silent:
    """A listener that does nothing."""

    def on_time(self, now: Ns) -> None: ...
    def on_instrument(self, instrument: Instrument, now: Ns) -> None: ...
    def on_status(self, stream: Stream, status: Status, now: Ns) -> None: ...
    def on_touch(self, book: OrderBook, now: Ns) -> None: ...
    def on_book(self, book: OrderBook, now: Ns) -> None: ...
    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None: ...
    def on_metric(self, instrument: Instrument, metric: Metric, now: Ns) -> None: ...
    def on_health(self, stream: Stream, health: Health, now: Ns) -> None: ...


def cpu(work: Callable[[], int]) -> tuple[float, int]:
    """Median CPU seconds of some passes, and what the work counted."""
    times, count = [], 0
    for _ in range(PASSES):
        gc.collect()
        begin = time.process_time()
        count = work()
        times.append(time.process_time() - begin)
    return statistics.median(times), count


def rows() -> Sequence[Row]:
    """Needs the recording; no rows without it."""
    if not NIGHT.is_dir():
        return [Row("pipeline", 0.0, "-", f"skipped: no {NIGHT.name} beside the repository")]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rec"
        import_capture([NIGHT], path, venues=VENUES)
        return [*_stages(path), *_deep(path)]


def _stages(path: Path) -> list[Row]:
    def read() -> int:
        return sum(1 for _ in Recording(path).records())

    def decoded() -> int:
        count = 0
        for record in Recording(path).records():
            if record[1] == "t":
                _decoder(record)(record[3])
            count += 1
        return count

    def booked() -> int:
        hub, count = Hub(VENUES, Silent()), 0
        frame, handle = hub.frame, hub.handle
        for record in Recording(path).records():
            if record[1] == "t":
                frame(record[2], record[3], record[0])
            else:
                handle(record)
            count += 1
        return count

    def whole() -> int:
        replay = Replay(Recording(path), AnalyticsSettings())
        replay.run(inf)
        return replay.player.position

    found = []
    times = {}
    for name, work in (("(a) read", read), ("(b) + typed decode", decoded), ("(c) + book", booked), ("(d) whole replay", whole)):
        seconds, count = cpu(work)
        times[name[:3]] = seconds
        found.append(Row(name, count / seconds, "frames/s", f"{seconds:.2f} s for {count:,}"))
    found.append(Row("(d) / (c)", times["(c)"] / times["(d)"], "ratio", "limit: at least 0.4"))
    return found


def _decoder(record: Record) -> Callable[[bytes], object]:
    name = record[3][11:40]
    if b"@depth" in name:
        return DECODERS[b"spot"] if record[2] == "binance-spot" else DECODERS[b"depth"]
    return DECODERS[b"bookTicker"] if b"@bookTicker" in name else DECODERS[b"trade"]


def _deep(path: Path) -> list[Row]:
    records = [record for record in Recording(path).records() if record.conn in ("binance-usdm", "-")]
    frames = [record for record in records if record.kind == "t" and b"@depth" in record.payload[:40]]
    before = [record for record in records if record.kind in "io"]
    answer = next(record for record in records if record.kind == "h")
    first = next(number for number, record in enumerate(frames) if record.recv_ns > answer.recv_ns)

    def bare() -> int:
        decode = binance._futures_depth
        for record in frames[first:]:
            decode(record[3])
        return len(frames) - first

    def booked() -> int:
        hub = Hub(VENUES, Silent())
        for record in (*before, *frames[:first], answer):
            if record.kind != "t":
                hub.handle(record)
            else:
                hub.frame(record.conn, record.payload, record.recv_ns)
        session = hub.connections["binance-usdm"].session.frame
        begin = time.process_time()
        for record in frames[first:]:
            session(record[3], record[0])
        taken.append(time.process_time() - begin)
        return len(frames) - first

    taken: list[float] = []
    plain, count = cpu(bare)
    cpu(booked)
    kept = statistics.median(taken)
    opened = [msgspec.json.decode(record.payload, type=Opened) for record in before if record.kind == "o"]
    return [
        Row("deep USD-M: typed decode", count / plain, "frames/s", f"{opened[0].market}, {count:,} depth frames"),
        Row("deep USD-M: decode + book", count / kept, "frames/s", "sequence, book, touch, health"),
        Row("deep USD-M: (c) / decode", plain / kept, "ratio", "limit: at least 0.39"),
    ]
