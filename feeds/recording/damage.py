"""What a damaged recording loses, and how that is told: lines left out, and times that their neighbours contradict.

Not here: finding the damage (`reader`, `segments`).
"""

from datetime import UTC, datetime
from typing import Final

from feeds.model import SECOND, Ns
from feeds.recording.format import Record

DAY_NS: Final[Ns] = 86_400 * SECOND
YEAR_2015_NS: Final[Ns] = 1_420_070_400 * SECOND
YEAR_2100_NS: Final[Ns] = 4_102_444_800 * SECOND
AGREEING: Final = 3
"""So many lines in a row make a leap ahead believed: a machine may sleep, but three damaged times do not agree."""
CHAINS: Final = 3
"""How many guesses of the true time are followed at once."""
DAMAGE_KEPT: Final = 1000
COST: Final = "books wait for their next snapshot"
"""What a lost piece costs: every connection begins anew after it."""


class Losses:
    """Damage of one file. Neighbouring lines with one fault make one entry."""

    def __init__(self, name: str, out: dict[str, None]) -> None:
        self.any = False
        self.missed = 0
        """Lines left out since the last good one; its reader sets it back."""
        self.place = ""
        """Where line numbers count from, when not from the start of the file."""
        self._name = name
        self._out = out
        self._run: tuple[int, int, str] | None = None
        self._cost = ""

    def line(self, number: int, why: str) -> None:
        self.any = True
        self.missed += 1
        if self._run is not None and self._run[1] + 1 == number and self._run[2] == why:
            self._run = (self._run[0], number, why)
            return
        self.finish()
        self._run = (number, number, why)

    def cost(self) -> None:
        """The lines left out last are a piece whose loss costs the books."""
        if self._run is not None:
            self._cost = f"; {COST}"
            self.finish()

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
        self._add(f"{self._name} {place}{self.place}: {why}; left out{self._cost}")
        self._cost = ""

    def _add(self, text: str) -> None:
        if len(self._out) < DAMAGE_KEPT:
            self._out[text] = None
        elif len(self._out) == DAMAGE_KEPT:
            self._out[f"more than {DAMAGE_KEPT} pieces are damaged; the rest is not listed"] = None


class Order:
    """Decides which lines are wrong when time goes back or leaps ahead: those after them do, by what they follow."""

    def __init__(self) -> None:
        self.pending: Record | None = None
        self.chains: list[list[tuple[Record, int]]] = []
        """Lines (with their numbers) that contradict the pending one: each list agrees in itself."""

    @property
    def held(self) -> tuple[Record | None, ...]:
        """Everything that has been read and not handed out."""
        return (self.pending, *(record for chain in self.chains for record, _ in chain))

    def settle(self, floor: Ns, pending: Record | None, record: Record, line: int, losses: Losses) -> list[Record]:
        """What is certain now, in order. `floor` is the last time handed out, `pending` the record held back until now."""
        at = record.recv_ns
        self.pending = pending
        if pending is None:
            if 0 <= at < YEAR_2100_NS:
                self.pending = record
            else:
                losses.line(line, "its time is none")
            return []
        if 0 <= at - pending.recv_ns <= DAY_NS:
            self.drop(losses)
            self.pending = record
            return [pending]
        ahead = at > pending.recv_ns
        if at < floor or (ahead and not _believable(floor, at)):
            losses.line(line, _why(ahead))
            return []
        for chain in self.chains:
            if chain[-1][0].recv_ns <= at <= chain[0][0].recv_ns + DAY_NS:
                chain.append((record, line))
                return self._decide(floor, pending, chain, losses)
        self.chains.append([(record, line)])
        if len(self.chains) > CHAINS:
            self._leave_out(self.chains.pop(0), losses)
        return []

    def drop(self, losses: Losses) -> None:
        """The pending line is right and all that contradict it are wrong."""
        self._leave_out([entry for chain in self.chains for entry in chain], losses)
        self.chains.clear()

    def _decide(self, floor: Ns, pending: Record, chain: list[tuple[Record, int]], losses: Losses) -> list[Record]:
        """Whether lines that agree with each other are right, and then whether the pending one is, too."""
        first, line = chain[0]
        leap = first.recv_ns - pending.recv_ns
        slept = leap > 0 and floor >= 0
        if slept and len(chain) < AGREEING:
            return []
        self.chains.remove(chain)
        self.drop(losses)
        self.pending = chain[-1][0]
        settled = [record for record, _ in chain[:-1]]
        if slept:
            losses.say(f"line {line}: time leaps ahead by {leap / DAY_NS:.1f} days; kept")
            return [pending, *settled]
        losses.line(line - 1, f"its time, {_utc(pending.recv_ns)}, does not fit the lines after it")
        return settled

    def _leave_out(self, entries: list[tuple[Record, int]], losses: Losses) -> None:
        pending = self.pending
        for record, line in sorted(entries, key=lambda entry: entry[1]):
            losses.line(line, _why(pending is not None and record.recv_ns > pending.recv_ns))


def _believable(floor: Ns, at: Ns) -> bool:
    """Whether a time can be true that lies more than a day ahead. The first line of all (`floor` < 0) may be the wrong one."""
    return (YEAR_2015_NS <= at or floor < 0) and at < YEAR_2100_NS


def _why(ahead: bool) -> str:
    return "its time leaps ahead by more than a day" if ahead else "its time goes back"


def _utc(at: Ns) -> str:
    if at >= YEAR_2100_NS:
        return "beyond 2100"
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")
