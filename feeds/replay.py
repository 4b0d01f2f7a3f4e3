"""A recording played through the one path: at any speed, paused, stepped, or from another time on.

The player owns no clock: whoever drives it says how much real time has passed. What the records do does not depend on how they
are handed on, so a replay repeats the run that made it, at any speed and in any slices (DESIGN 1.2). Nothing is performed: what
sessions ask for goes nowhere, and their answers come from the recording.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from feeds.clock import BOUNDARY_NS, NEVER
from feeds.hub import Hub
from feeds.model import SECOND, Ns
from feeds.recording import ENDED, Closed, Record, Recording, decode
from feeds.recording.format import CLOSE

LOOK_EVERY: Final = 64
"""Records handed on between two looks at `stop`, at most: what a boundary does costs as much as many records."""


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
        self._ahead: deque[Record] = deque()
        """Records that have been read, but are not due."""
        self._next: Record | None = self._read()
        self.position = 0
        """Records handed on in this pass."""
        self.begun_ns: Ns = 0
        """Where the pass began, when that is not the recording's start: its position is not one in the recording then."""
        self.speed = 1.0
        self.paused = False
        self.finished = False
        self.stays_open = False
        """Whether a pass ends before the closes that end a recording: what is looked at then is the last instant, not its end."""
        self.stopped = False
        """The last `until` was stopped before its time was reached: the next one goes on from there."""
        self.now_ns: Ns = self._next.recv_ns if self._next is not None else 0
        self.last_ns: Ns = 0
        """When the record that was last handed on was received; 0 before the first of this pass."""
        self._judged_ns: Ns = 0
        """Where the grid reaches the listener from; before that a pass only brings books up to date."""

    @property
    def next_ns(self) -> Ns:
        """When the next record was received; a time that never comes when there is none."""
        return self._next.recv_ns if self._next is not None else NEVER

    def step(self) -> bool:
        """Hand on one record. False when there is none left."""
        record = self._next
        if record is None:
            self._finish()
            return False
        self._next = self._read()
        self.last_ns = record.recv_ns
        self.now_ns = max(self.now_ns, record.recv_ns)
        self.hub.handle(record)
        self.position += 1
        return True

    def pace(self, elapsed_ns: Ns) -> int:
        """`elapsed_ns` of real time have passed: play so much at `speed`. Returns how many records were handed on."""
        if self.paused or self.finished:
            return 0
        return self.until(self.now_ns + int(min(elapsed_ns * self.speed, NEVER)))

    def until(self, at: Ns, stop: Callable[[], bool] | None = None) -> int:
        """Hand on every record received at or before `at`, and the boundaries up to it.

        `stop` is asked every so often, after some work is done, whether to leave off; `stopped` then says so.
        Returns how many records were handed on.
        """
        before = self.position
        done = self._play(min(at, self._judged_ns) if self.hub.quiet else at, stop)
        if done and self.hub.quiet and at >= self._judged_ns:
            self.hub.begin()
            done = self._play(at, stop)
        self.stopped = not done
        return self.position - before

    def seek(self, at: Ns) -> None:
        """Begin anew at `at`: books and last values are those of that moment; statistics, episodes and alerts start there."""
        self.rewind(at)
        self.until(at)

    def rewind(self, at: Ns | None = None) -> None:
        """Begin anew at the recording's start, or for `until` to go on to `at` as `seek` does. Hands nothing on itself."""
        self.hub = self._build()
        self._records = self.recording.records(at)
        self._ahead.clear()
        self._next = self._read()
        self.position = 0
        self.begun_ns = at or 0
        self.finished = self.stopped = False
        self.last_ns = 0
        self.now_ns = self._next.recv_ns if self._next is not None else at or 0
        self._judged_ns = at - BOUNDARY_NS if at else 0
        self.hub.quiet = at is not None

    def end(self) -> None:
        """Hand on the closes that a pass that `stays_open` has left, once that has come to its end."""
        if self.finished and self._next is not None:
            self.stays_open = self.finished = False
            self.until(NEVER)

    def _read(self) -> Record | None:
        return self._ahead.popleft() if self._ahead else next(self._records, None)

    def _only_closes_are_left(self) -> bool:
        if self._next is None or not _ends(self._next):
            return False
        while all(map(_ends, self._ahead)):
            record = next(self._records, None)
            if record is None:
                return True
            self._ahead.append(record)
        return False

    def _play(self, at: Ns, stop: Callable[[], bool] | None) -> bool:
        """False when stopped on the way."""
        handed = 0
        while self._next is not None and self._next.recv_ns <= at:
            if self.stays_open and self._only_closes_are_left():
                self.finished = True
                return True
            if stop is None:
                self.step()
                continue
            if not self._walk(self._next.recv_ns, stop):
                return False
            boundary = self._next.recv_ns >= self.hub.ticker.next_ns
            self.step()
            handed += 1
            if (boundary or not handed % LOOK_EVERY) and stop():
                return False
        if self._next is None:
            self._finish()
        elif at > self.now_ns:
            if stop is not None and not self._walk(at, stop):
                return False
            self.now_ns = at
            self.hub.ticker.advance(at)
        return True

    def _walk(self, at: Ns, stop: Callable[[], bool]) -> bool:
        """A silence before `at` is walked a second at a time: its boundaries cost as well. False when stopped in it."""
        ticker = self.hub.ticker
        while 0 < ticker.next_ns < at - SECOND:
            self.now_ns = ticker.next_ns + SECOND
            ticker.advance(self.now_ns)
            if stop():
                return False
        return True

    def _finish(self) -> None:
        if not self.finished:
            self.finished = True
            self.hub.ticker.finish()


def _ends(record: Record) -> bool:
    """Whether it closes a connection because the source has ended."""
    if record.kind != CLOSE:
        return False
    closed = decode(CLOSE, record.payload)
    return isinstance(closed, Closed) and closed.code == ENDED
