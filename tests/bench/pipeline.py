"""Frames per second of each stage of the one path, on the three-market night, each stage on top of the one before.

(a) read the recording; (b) decode every frame into its type; (c) keep the books; (d) the whole headless replay: engine, routes,
alerts, statistics. CPU seconds of this process, median of three passes. Then the same on the deep USD-M depth stream alone.
"""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

from analytics.settings import AnalyticsSettings
from feeds.hub import Hub
from feeds.importers import import_capture
from feeds.recording import Header, Record, Recording, RecordingWriter
from feeds.venue import NoListener
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
        return [Row("pipeline", 0.0, "", f"skipped: no {NIGHT.name} beside the repository")]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rec"
        import_capture([NIGHT], path, venues=VENUES)
        return [*_stages(path), *_deep(path)]


def _stages(path: Path) -> list[Row]:
    def whole() -> int:
        replay = Replay(Recording(path), AnalyticsSettings())
        replay.run(inf)
        return replay.player.position

    work = {
        "(a) read": lambda: _read(path),
        "(b) + typed decode": lambda: _decoded(path),
        "(c) + book": lambda: _booked(path),
        "(d) whole replay": whole,
    }
    measured = {name: cpu(stage) for name, stage in work.items()}
    found = [
        Row(name, count / seconds, "frames/s", f"{seconds:.2f} s for {count:,}") for name, (seconds, count) in measured.items()
    ]
    ratio = measured["(c) + book"][0] / measured["(d) whole replay"][0]
    return [*found, Row("(d) / (c)", ratio, "", "limit: at least 0.4")]


def _read(path: Path) -> int:
    return sum(1 for _ in Recording(path).records())


def _decoded(path: Path) -> int:
    count = 0
    for record in Recording(path).records():
        if record[1] == "t":
            _decoder(record)(record[3])
        count += 1
    return count


def _booked(path: Path) -> int:
    hub, count = Hub(VENUES, NoListener()), 0
    frame, handle = hub.frame, hub.handle
    for record in Recording(path).records():
        if record[1] == "t":
            frame(record[2], record[3], record[0])
        else:
            handle(record)
        count += 1
    return count


def _decoder(record: Record) -> Callable[[bytes], object]:
    name = record[3][11:40]
    if b"@depth" in name:
        return DECODERS[b"spot"] if record[2] == "binance-spot" else DECODERS[b"depth"]
    return DECODERS[b"bookTicker"] if b"@bookTicker" in name else DECODERS[b"trade"]


def _deep(path: Path) -> list[Row]:
    """The same stages on the deep USD-M depth stream alone, and its books against bare decode from memory."""
    deep = path.parent / "deep"
    writer = RecordingWriter(deep, Header(start_wall_ns=Recording(path).start_ns, source="bench"))
    for record in Recording(path).records():
        if record.conn in ("binance-usdm", "-") and (record.kind != "t" or b"@depth" in record.payload[:40]):
            writer.write(*record)
    writer.close()
    decode, count = cpu(lambda: _decoded(deep))
    book, _ = cpu(lambda: _booked(deep))
    records = list(Recording(deep).records())
    frames = [record for record in records if record.kind == "t"]

    def bare() -> int:
        for frame in frames:
            binance._futures_depth(frame[3])
        return len(frames)

    def kept() -> int:
        hub = Hub(VENUES, NoListener())
        frame, handle = hub.frame, hub.handle
        for record in records:
            if record[1] == "t":
                frame(record[2], record[3], record[0])
            else:
                handle(record)
        return len(frames)

    plain, _ = cpu(bare)
    memory, _ = cpu(kept)
    return [
        Row("deep USD-M: (b) read + decode", count / decode, "frames/s", f"{len(frames):,} depth frames"),
        Row("deep USD-M: (c) + book", count / book, "frames/s", "sequence, book, best quote, health"),
        Row("deep USD-M: (c) / (b)", decode / book, "", "limit: at least 0.39"),
        Row("deep USD-M: from memory", plain / memory, "", "bare decode / (decode and book), without reading"),
    ]
