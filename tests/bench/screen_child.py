"""One line of `tests/bench/screens.py`: arbtop on a recording, in the terminal that it was started in, and what it cost.

    python -m tests.bench.screen_child RECORDING WHAT SECONDS OUT.json

The app, its driver and its pump are the real ones. Beside them runs one task that reads the counters before and after, and then
sleeps 10 ms at a time for as long again, for the loop's lag. WHAT is a screen, `paused` (DESK), `undrawn` (the replay alone),
`table` (DESK in `DataTable`s) or `stall` (DESK, whose terminal is going to stand still: lag and cost are of the same seconds).
"""

import asyncio
import resource
import sys
import time
from math import inf
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from msgspec import structs

from analytics.alerts import DEFAULT_RULES, Metric, Rule
from analytics.settings import AnalyticsSettings
from feeds.model import SECOND
from feeds.recording import Recording
from tests.bench.table_desk import TableApp
from tui.app import ArbtopApp, Look
from tui.glyphs import GLYPHS
from tui.playback import Playback
from tui.run import settle_memory
from tui.screens.live import LiveScreen
from tui.session import Replay
from tui.theme import load_theme

WARM_S: Final = 200
"""Of the recording, played before anything is drawn: books are full, statistics warm, and there are alerts."""
SETTLE_S: Final = 2.0
SLEEP_S: Final = 0.01
LOUD: Final = {Metric.Z: (2.0, 1.0), Metric.BASIS: (4.0, 3.0), Metric.IMBALANCE: (0.15, 0.1)}
"""Enter and exit of rules that do not run by default, low enough to fill a list."""


class Cost(msgspec.Struct, frozen=True):
    """Of the measured seconds alone. Lags are how late a 10 ms sleep ended."""

    seconds: float
    cpu_s: float
    frames: int
    skipped: int
    written_bytes: int
    lags_ms: list[float]
    late_ms: float
    """The worst lateness of a record, against when it was due."""
    records: int
    alerts: int
    rss_mb: float

    def lag_ms(self, share: float) -> float:
        """Quantile of the lag."""
        return sorted(self.lags_ms)[min(int(len(self.lags_ms) * share), len(self.lags_ms) - 1)]


Measured: TypeAlias = ArbtopApp | TableApp


async def measure(app: Measured, what: str, seconds: float) -> Cost:
    """Wait until the app has settled, then count for so long."""
    await asyncio.sleep(SETTLE_S)
    if what == "undrawn" and isinstance(app.screen, LiveScreen):
        app.screen._timer.pause()
    source = app.tape
    assert source is not None
    if what == "paused":
        source.toggle()
    if what in ("undrawn", "paused"):
        await asyncio.sleep(SETTLE_S / 2)
    outlet, meter = app.outlet, app.meter
    assert outlet is not None
    source.reset_worst()
    lagging = asyncio.create_task(lag_ms(seconds)) if what == "stall" else None
    before = meter.frames, meter.skipped, outlet.queued_bytes, source.status.position, cpu_s(), time.perf_counter()
    await asyncio.sleep(seconds)
    after = meter.frames, meter.skipped, outlet.queued_bytes, source.status.position, cpu_s(), time.perf_counter()
    frames, skipped, written, records, cpu, wall = (new - old for new, old in zip(after, before, strict=True))
    lags = await (lagging or lag_ms(seconds))
    return Cost(
        seconds=wall,
        cpu_s=cpu,
        frames=int(frames),
        skipped=int(skipped),
        written_bytes=int(written),
        lags_ms=lags,
        late_ms=source.worst_late_ns / 1e6,
        records=int(records),
        alerts=len(source.alerts),
        rss_mb=int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6,
    )


async def lag_ms(seconds: float) -> list[float]:
    """How late 10 ms sleeps end. They cost as much as a third of a screen, so nothing else is counted meanwhile."""
    lags = []
    end = time.perf_counter() + seconds
    while (at := time.perf_counter()) < end:
        await asyncio.sleep(SLEEP_S)
        lags.append((time.perf_counter() - at - SLEEP_S) * 1e3)
    return lags


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _loud(rule: Rule) -> Rule:
    if rule.metric not in LOUD:
        return rule
    enter, exit_at = LOUD[rule.metric]
    return structs.replace(rule, enabled=True, enter=enter, exit=exit_at)


def make(path: Path, what: str) -> Measured:
    """The app on a recording of which the first minutes have been played."""
    rules = tuple(_loud(rule) for rule in DEFAULT_RULES)
    recording = Recording(path)
    source = Playback(Replay(recording, AnalyticsSettings(), rules))
    source.speed = inf
    warm_s = min(WARM_S, (recording.end_ns - recording.start_ns) / SECOND / 4)
    while source.status.now_ns < recording.start_ns + int(warm_s * SECOND):
        source.advance(time.monotonic_ns())
    source.speed = 1.0
    nowhere = path.parent
    look = Look(theme=load_theme("midnight", nowhere), glyphs=GLYPHS["braille"], themes=nowhere, exports=nowhere)
    if what == "table":
        return TableApp(source, look)
    return ArbtopApp(source, structs.replace(look, home=what if what in ("book", "alerts") else "desk"))


async def run(app: Measured, what: str, seconds: float) -> Cost:
    async def then_leave() -> Cost:
        try:
            return await measure(app, what, seconds)
        finally:
            app.exit()

    measuring = asyncio.create_task(then_leave())
    await app.run_async()
    return await measuring


def main() -> None:
    path, what, seconds, out = sys.argv[1:5]
    app = make(Path(path), what)
    settle_memory()
    cost = asyncio.run(run(app, what, float(seconds)))
    Path(out).write_bytes(msgspec.json.encode(cost))


if __name__ == "__main__":
    main()
