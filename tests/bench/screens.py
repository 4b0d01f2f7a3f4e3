"""What the screens cost on the three-market night at 160x50, 10 frames a second, 1x, in a terminal that is drained.

Each line is a process of its own (`tests/bench/screen_child.py`), a screen the median of three: user and system time of all of
it, the replay included, the bytes that went to the terminal, and how late the event loop was. Beside them the replay alone, and
DESK built with `DataTable`. Then a terminal whose reader stands still for five seconds. Limits stand in the notes; nothing is
asserted.
"""

import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from feeds.importers import import_capture
from feeds.venues import VENUES
from tests.bench.row import Row
from tests.bench.screen_child import Cost
from tests.made import record
from tests.recordings import RECORDINGS
from tests.terminal import Terminal, plain_environment

NIGHT: Final = RECORDINGS / "binance-2024-08-08"
SECONDS: Final = 8.0
STALL_S: Final = 5.0
RUNS: Final = 3
SIZE: Final = (160, 50)
MADE_S: Final = 90.0
LATE_LIMIT_MS: Final = 100.0


def rows() -> Sequence[Row]:
    """For the table of `make bench`."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "recording"
        if NIGHT.is_dir():
            import_capture([NIGHT], path, venues=VENUES)
            found = []
        else:
            record(path, seed=1, seconds=MADE_S)
            found = [Row("recording", 6, "markets", f"no {NIGHT.name} beside the repository: the made-up market instead")]
        costs = {what: cost(path, what) for what in ("undrawn", "paused")}
        costs |= {what: middle([cost(path, what) for _ in range(RUNS)]) for what in ("desk", "book", "alerts", "table")}
        for what in ("desk", "book", "alerts"):
            found += _screen_rows(what.upper(), costs[what], costs["undrawn"], limited=what != "alerts")
        desk, table, alone, paused = (costs[name] for name in ("desk", "table", "undrawn", "paused"))
        found += [
            Row("replay alone", alone.cpu_s / alone.seconds * 100, "% core", "nothing drawn: its part of every figure above"),
            Row("DESK paused", paused.cpu_s / paused.seconds * 100, "% core", f"{paused.written_bytes:,} bytes in all"),
            *_screen_rows("DataTable", table, alone, limited=False),
            Row("DataTable / DESK", frame_ms(table, alone) / frame_ms(desk, alone), "times", "CPU a frame without the replay"),
            Row("DataTable / DESK", _frame_bytes(table) / _frame_bytes(desk), "times", "bytes a frame"),
            *_stall_rows(cost(path, "stall")),
        ]
        return found


def cost(path: Path, what: str) -> Cost:
    """One child in one terminal, to its end."""
    out = path.parent / "cost.json"
    command = [sys.executable, "-m", "tests.bench.screen_child", str(path), what, str(SECONDS), str(out)]
    with Terminal(command, plain_environment(path.parent), *SIZE) as terminal:
        if what == "stall":
            terminal.wait_for_bytes(b"\x1b[?1049h", deadline_s=120)
            pause = threading.Event()
            pause.wait(3.0)
            terminal.stall()
            pause.wait(STALL_S)
            terminal.resume()
        if terminal.exit_code(180):
            raise RuntimeError(f"{what} ended badly:\n{terminal.text}")
    return msgspec.json.decode(out.read_bytes(), type=Cost)


def middle(costs: Sequence[Cost]) -> Cost:
    """The median by CPU: other guests of the machine cost one run in three a quarter more."""
    return sorted(costs, key=lambda each: each.cpu_s)[len(costs) // 2]


def frame_ms(found: Cost, alone: Cost) -> float:
    """CPU of a frame without what the replay takes."""
    return (found.cpu_s / found.seconds - alone.cpu_s / alone.seconds) * found.seconds / max(found.frames, 1) * 1e3


def _frame_bytes(found: Cost) -> float:
    return found.written_bytes / max(found.frames, 1)


def _screen_rows(name: str, found: Cost, alone: Cost, *, limited: bool) -> list[Row]:
    def limit(text: str) -> str:
        return f"; limit {text}" if limited else ""

    whole_ms = found.cpu_s / max(found.frames, 1) * 1e3
    share = found.cpu_s / found.seconds * 100
    return [
        Row(f"{name} CPU a frame", whole_ms, "ms", f"{frame_ms(found, alone):.1f} without the replay{limit('6')}"),
        Row(f"{name} CPU", share, "% core", f"{found.rss_mb:.0f} MB{limit('8')}"),
        Row(f"{name} bytes a frame", _frame_bytes(found), "bytes", f"to the terminal{limit('12,000')}"),
        Row(f"{name} frames", found.frames / found.seconds, "a second", f"{found.skipped} left out; {found.alerts} alerts"),
        Row(
            f"{name} loop lag p99",
            found.lag_ms(0.99),
            "ms",
            f"p50 {found.lag_ms(0.5):.2f}, longest {found.lag_ms(1.0):.1f}{limit('5')}",
        ),
    ]


def _stall_rows(found: Cost) -> list[Row]:
    return [
        Row(
            "reader stalled 5 s: latest record",
            found.late_ms,
            "ms",
            f"of {found.records:,}; limit {LATE_LIMIT_MS:.0f}",
        ),
        Row("reader stalled 5 s: loop lag", found.lag_ms(1.0), "ms", f"the longest; {found.skipped} frames left out"),
    ]
