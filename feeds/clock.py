"""Receive time and the 100 ms grid: the only two sources of time in the program.

`ReceiveClock` turns the process's monotonic clock into UTC nanoseconds that never go back; a step of the wall clock is noted, not
followed. `Ticker` decides when time-dependent work runs, and serves live and replay alike, which is why a replay repeats the
run that made the recording (DESIGN 1.2).
"""

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from feeds.model import MS, SECOND, Ns

BOUNDARY_NS: int = 100 * MS
LEAP_NS: int = 3_600 * SECOND
"""A silence longer than this is not walked boundary by boundary."""
STALL_NS: int = 500 * MS
"""So much too late the grid is looked at only where the whole program stood still."""
LONGEST_STALL_NS: int = 30 * SECOND
"""After a longer one every connection begins anew: what still waits to be read is not worth it, and venues have hung up."""
NEVER: Ns = 1 << 62
"""A deadline that no boundary reaches."""


class ReceiveClock:
    """Wall time at construction plus monotonic time since."""

    def __init__(self, wall_ns: Callable[[], Ns] = time.time_ns, monotonic_ns: Callable[[], Ns] = time.monotonic_ns) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self.start_monotonic_ns = monotonic_ns()
        self.start_wall_ns = wall_ns()
        self._base_ns = self.start_wall_ns - self.start_monotonic_ns
        self._last_ns = self.start_wall_ns

    def stamp(self) -> Ns:
        """Receive time now, never less than the last answer."""
        now = self._base_ns + self._monotonic_ns()
        if now < self._last_ns:
            return self._last_ns
        self._last_ns = now
        return now

    def wall_step_ns(self) -> Ns:
        """How far the wall clock has moved against receive time since the start: shown to the user, never followed."""
        return self._wall_ns() - (self._base_ns + self._monotonic_ns())


class Timed(Protocol):
    """Whatever runs on the grid. `deadline` is read at each boundary; `wake` is called at the first boundary at or after it."""

    @property
    def deadline(self) -> Ns: ...
    def wake(self, now: Ns) -> object: ...


class Ticker:
    """Calls every 100 ms boundary once, in order: first the sessions whose deadline has come, then `on_time`."""

    def __init__(self, on_time: Callable[[Ns], object], timed: Callable[[], Iterable[Timed]]) -> None:
        self._on_time = on_time
        self._timed = timed
        self.next_ns: Ns = 0
        """The next boundary to call; 0 before the first record."""

    def advance(self, now: Ns) -> None:
        """Call every boundary at or before `now` not yet called. The first record only sets the grid's start."""
        if now < self.next_ns:
            return
        if not self.next_ns:
            self.next_ns = -(-now // BOUNDARY_NS) * BOUNDARY_NS
        if now - self.next_ns > LEAP_NS:
            self._leap(now)
        while self.next_ns <= now:
            self._boundary()

    def _leap(self, now: Ns) -> None:
        """Nothing came for hours: every timer runs out within the first; of what follows only the last boundary is called."""
        end = self.next_ns + LEAP_NS
        while self.next_ns <= end:
            self._boundary()
        if all(session.deadline > now for session in self._timed()):
            self.next_ns = now // BOUNDARY_NS * BOUNDARY_NS

    def finish(self) -> None:
        """The boundary after the last record: what a replay ends with."""
        if self.next_ns:
            self._boundary()

    def _boundary(self) -> None:
        at = self.next_ns
        self.next_ns = at + BOUNDARY_NS  # first: a fault in what is called costs one boundary, and is not met again for ever
        for session in self._timed():
            if session.deadline <= at:
                session.wake(at)
        self._on_time(at)
