"""200 SIGKILLs at seeded moments while 1,000 alerts are fired and resolved: the goal of reliability 9."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from analytics.alert import AlertState
from tests.integration.journal_writer import STAYS_OPEN, item_of
from tui.alert_log import read

SEED = 20260923
KILLS = 200
PER_LIFE = 5
REPOSITORY = Path(__file__).parents[2]


class Writer:
    """The fork server and what its children said."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-m", "tests.integration.journal_writer", str(directory)]
        self.process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.fired: set[int] = set()
        self.resolved: set[int] = set()
        self.interrupted = 0
        self._idle = False

    def live(self, limit: int, acknowledged: int, spin_ns: int) -> None:
        """A life up to item `limit`, ended `spin_ns` after that many acknowledgements; 0 counts from the fork."""
        pid = self._spawn(limit)
        heard = 0
        while heard < acknowledged and not self._idle:
            heard += self._hear(self._line())
        # The moment of the fault, not a wait for a state: the kill has to hit inside an append, wherever that may be.
        until = time.perf_counter_ns() + spin_ns
        while time.perf_counter_ns() < until:
            pass
        self._end(pid)

    def finish(self, limit: int) -> None:
        pid = self._spawn(limit)
        while not self._idle:
            self._hear(self._line())
        self._end(pid)

    def _spawn(self, limit: int) -> int:
        self._idle = False
        self._send(f"{limit}\n")
        # the child may speak before its parent has told its pid
        while True:
            line = self._line()
            if line.startswith("pid "):
                return int(line.split()[1])
            self._hear(line)

    def _end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self._send("\n")
        for line in iter(self._line, "reaped"):
            self._hear(line)
        self.interrupted += not self._idle

    def _hear(self, line: str) -> int:
        if line == "idle":
            self._idle = True
            return 0
        kind, seq = line.split()
        {"F": self.fired, "R": self.resolved}[kind].add(int(seq))
        return 1

    def _send(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.endswith(b"\n"), "the writer died"
        return line.decode().strip()

    def close(self) -> None:
        self.process.communicate()


def test_200_kills_lose_no_acknowledged_alert_double_none_and_leave_no_hole(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    writer = Writer(tmp_path)
    try:
        for life in range(1, KILLS + 1):
            acknowledged = chance.randrange(2 * PER_LIFE)
            spin_ns = chance.randrange(1_000_000 if acknowledged else 15_000_000)
            writer.live(life * PER_LIFE, acknowledged, spin_ns)
            # now, before the next life could fire a lost one again
            states = {alert.seq: alert.state for alert in read(tmp_path)[0]}
            assert writer.fired <= states.keys(), f"kill {life}: an acknowledged alert was lost"
            assert all(states[seq] is AlertState.RESOLVED for seq in writer.resolved), (
                f"kill {life}: an acknowledged end was lost"
            )
        writer.finish(KILLS * PER_LIFE)
    finally:
        writer.close()
    assert writer.interrupted > KILLS // 2, "the kills came too late to interrupt anything"

    episodes, report = read(tmp_path)
    total = KILLS * PER_LIFE
    assert [alert.seq for alert in episodes] == list(range(1, total + 1)), "a hole or a duplicate"
    assert [item_of(alert) for alert in episodes] == list(range(1, total + 1)), "an alert lost or fired twice"
    assert (report.bad, report.missing, report.torn_bytes) == (0, 0, 0)
    still_firing = {alert.seq for alert in episodes if alert.state is AlertState.FIRING}
    assert still_firing == set(range(STAYS_OPEN, total + 1, STAYS_OPEN))
    assert len(list(tmp_path.glob("alerts.*.jsonl"))) > 10, "no kill could hit a rotation"
    assert not list(tmp_path.glob("alerts-2*.jsonl")), "a killed writer kept its lock"
    print(f"interrupted {writer.interrupted}, acknowledged {len(writer.fired)}, duplicates {report.duplicates}")
