"""What the whole program costs live: `arbtop demo`, five venues and three coins, in a terminal of 160x50 that is drained.

Read from the system's accounts of the process, so nothing is left out: reading, decoding, books, analytics, alerts and drawing.
The simulator is a process of its own and stands beside it.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.row import Row
from tests.terminal import Terminal, plain_environment

WARM_S: Final = 30.0
"""Every venue is there, and the windows that fill within seconds are full."""
SETTLE_S: Final = 2.0
SECONDS: Final = 15.0
SIZE: Final = (160, 50)
SCREENS: Final = {"DESK": "1", "BOOK": "3", "FEEDS": "8"}
TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")


def rows() -> Sequence[Row]:
    """For the table of `make bench`."""
    found = []
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "tui", "demo", "--seed", "3"]
        environment = plain_environment(Path(home), PYTHONPATH=str(Path(__file__).resolve().parents[2]))
        with Terminal(command, environment, *SIZE) as terminal:
            terminal.wait_for("BIN ●", "BYB ●", "OKX ●", "DRB ●", "BMX ●", deadline_s=60)
            time.sleep(WARM_S)
            (simulator,) = children(terminal.pid)
            for screen, key in SCREENS.items():
                terminal.type(key)
                time.sleep(SETTLE_S)
                pids = terminal.pid, simulator
                before = [cpu_s(pid) for pid in pids]
                begun, written = time.perf_counter(), terminal.count
                time.sleep(SECONDS)
                wall = time.perf_counter() - begun
                own, other = ((cpu_s(pid) - old) / wall * 100 for pid, old in zip(pids, before, strict=True))
                note = f"{(terminal.count - written) / wall / 1e3:.1f} kB/s to the terminal; the simulator beside it {other:.0f}"
                found.append(Row(f"{screen} live CPU", own, "% core", note))
            told = re.search(r"([\d.]+) of +(\d+) fps · +(\d+) left out", terminal.text)
            if told is not None:
                found.append(Row("FEEDS frames", float(told[1]), "a second", f"of {told[2]}; {told[3]} left out since the start"))
            terminal.type("q")
            terminal.exit_code(30)
    return found


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and all its threads (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
