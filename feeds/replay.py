"""A recording played through the one path: at any speed, paused, stepped, or from another time on.

The player owns no clock: whoever drives it says how much real time has passed. What the records do does not depend on how they
are handed on, so a replay repeats the run that made it, at any speed (DESIGN 1.2). Nothing is performed: what sessions ask for
goes nowhere, and their answers come from the recording.
"""

from collections.abc import Callable, Iterator

from feeds.clock import BOUNDARY_NS, NEVER
from feeds.hub import Hub
from feeds.model import Ns
from feeds.recording import Record, Recording


class Player:
    """One pass over a recording.

    Args:
        recording: what to play.
        build: makes the hub with its listener; called at the start and again after each seek, since statistics start over then.
    """

    def __init__(self, recording: Recording, build: Callable[[], Hub]) -> None:
        self.recording = recording
        self._build = build
        self.hub = build()
        self._records: Iterator[Record] = recording.records()
        self._next: Record | None = next(self._records, None)
        self.position = 0
        """Records handed on in this pass."""
        self.begun_ns: Ns = 0
        """Where the pass began, when that is not the recording's start: its position is not one in the recording then."""
        self.speed = 1.0
        self.paused = False
        self.finished = False
        self.now_ns: Ns = self._next.recv_ns if self._next is not None else 0

    def step(self) -> bool:
        """Hand on one record. False when there is none left."""
        record = self._next
        if record is None:
            self._finish()
            return False
        self._next = next(self._records, None)
        self.now_ns = max(self.now_ns, record.recv_ns)
        self.hub.handle(record)
        self.position += 1
        return True

    def pace(self, elapsed_ns: Ns) -> int:
        """`elapsed_ns` of real time have passed: play so much at `speed`. Returns how many records were handed on."""
        if self.paused or self.finished:
            return 0
        return self.until(self.now_ns + int(min(elapsed_ns * self.speed, NEVER)))

    def until(self, at: Ns) -> int:
        """Hand on every record received at or before `at`, and the boundaries up to it."""
        before = self.position
        while self._next is not None and self._next.recv_ns <= at:
            self.step()
        if self._next is None:
            self._finish()
        elif at > self.now_ns:
            self.now_ns = at
            self.hub.ticker.advance(at)
        return self.position - before

    def seek(self, at: Ns) -> None:
        """Begin anew at `at`: books and last values are those of that moment; statistics, episodes and alerts start there."""
        self.hub = self._build()
        self._records = self.recording.records(at)
        self._next = next(self._records, None)
        self.position = 0
        self.begun_ns = at
        self.finished = False
        self.now_ns = self._next.recv_ns if self._next is not None else at
        self.hub.quiet = True
        self.until(at - BOUNDARY_NS)
        self.hub.begin()
        self.until(at)

    def _finish(self) -> None:
        if not self.finished:
            self.finished = True
            self.hub.ticker.finish()
