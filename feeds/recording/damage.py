"""What a damaged recording loses, and how that is told: lines left out, and times that their neighbours contradict.

Not here: finding the damage (`reader`, `segments`).
"""

from datetime import UTC, datetime
from typing import Final

from feeds.model import SECOND, Ns
from feeds.recording.format import Record

DAY_NS: Final[Ns] = 86_400 * SECOND
LEAP_NS: Final[Ns] = 31 * DAY_NS
"""A machine may sleep for days; lines that agree on a leap beyond this are still not believed."""
YEAR_2100_NS: Final[Ns] = 4_102_444_800 * SECOND
DAMAGE_KEPT: Final = 1000


class Losses:
    """Damage of one file. Neighbouring lines with one fault make one entry."""

    def __init__(self, name: str, out: dict[str, None]) -> None:
        self.any = False
        self.place = ""
        """Where line numbers count from, when not from the start of the file."""
        self._name = name
        self._out = out
        self._run: tuple[int, int, str] | None = None

    def line(self, number: int, why: str) -> None:
        self.any = True
        if self._run is not None and self._run[1] + 1 == number and self._run[2] == why:
            self._run = (self._run[0], number, why)
            return
        self.finish()
        self._run = (number, number, why)

    def say(self, what: str) -> None:
        self.finish()
        self.any = True
        self._add(f"{self._name} {what}")

    def finish(self) -> None:
        if self._run is None:
            return
        first, last, why = self._run
        self._run = None
        place = f"line {first}" if first == last else f"lines {first} to {last}"
        self._add(f"{self._name} {place}{self.place}: {why}; left out")

    def _add(self, text: str) -> None:
        if len(self._out) < DAMAGE_KEPT:
            self._out[text] = None
        elif len(self._out) == DAMAGE_KEPT:
            self._out[f"more than {DAMAGE_KEPT} pieces are damaged; the rest is not listed"] = None


class Order:
    """Decides which of two lines is wrong when time goes back or leaps ahead: the next line does, by what it follows."""

    def __init__(self) -> None:
        self.pending: Record | None = None
        self.rival: Record | None = None
        self.rival_line = 0

    def settle(self, floor: Ns, pending: Record | None, record: Record, line: int, losses: "Losses") -> list[Record]:
        """What is certain now, in order. `floor` is the last time handed out, `pending` the record held back until now."""
        at, rival = record.recv_ns, self.rival
        self.pending = pending
        if pending is None:
            if 0 <= at < YEAR_2100_NS:
                self.pending = record
            else:
                losses.line(line, "its time is none")
            return []
        if 0 <= at - pending.recv_ns <= DAY_NS:
            if rival is not None:
                losses.line(self.rival_line, self.reason())
            self.pending, self.rival = record, None
            return [pending]
        if rival is None:
            if at < floor:
                losses.line(line, "its time goes back")
            else:
                self.rival, self.rival_line = record, line
            return []
        if not 0 <= at - rival.recv_ns <= DAY_NS:
            losses.line(line, "its time fits neither line before it")
            return []
        leap = rival.recv_ns - pending.recv_ns
        if leap > LEAP_NS and floor >= 0:
            losses.line(self.rival_line, "its time leaps ahead by more than a month")
            self.rival, self.rival_line = record, line
            return []
        self.pending, self.rival = record, None
        if leap > 0 and floor >= 0:
            losses.say(f"line {self.rival_line}: time leaps ahead by {leap / DAY_NS:.1f} days; kept")
            return [pending, rival]
        losses.line(self.rival_line - 1, f"its time, {_utc(pending.recv_ns)}, does not fit the lines after it")
        return [rival]

    def reason(self) -> str:
        """Why the rival is left out."""
        if self.pending is not None and self.rival is not None and self.rival.recv_ns > self.pending.recv_ns:
            return "its time leaps ahead by more than a day"
        return "its time goes back"


def _utc(at: Ns) -> str:
    if at >= YEAR_2100_NS:
        return "beyond 2100"
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")
