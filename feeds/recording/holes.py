"""What makes a lost piece of a recording harmless: after it, every connection begins anew.

To a session a hole looks like silence: it would give its link up and ignore what follows. So a connection that was open is
closed (code `LOST`) and opened again at the first good line, with the instruments and connections that were told of in the hole
as the segment's index repeats them; its books then wait for a snapshot. Where a segment's head follows the hole, the head does
that and brings the books. Not here: finding the damage (`reader`, `segments`).
"""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from feeds.model import Ns
from feeds.recording.format import CLOSE, INSTRUMENTS, LOST, OPEN, Closed, Record, encode
from feeds.recording.segments import Segment, told_lines

_CLOSED: Final = encode(Closed(LOST, "damaged recording"))


class Hole(Struct):
    before: tuple[Record | None, ...]
    """What had been read before it and is not handed out yet."""
    head: Sequence[str] | None = None
    """The connections that a head after it opens; None: no head follows."""


class Holes:
    """Follows what is handed out, and says what has to be put in where a piece is lost."""

    def __init__(self) -> None:
        self.open: dict[str, bytes] = {}
        """The payload that opened each open connection."""
        self._instruments = b""
        """As last told."""
        self._holes: list[Hole] = []
        self._segments: dict[Segment, None] = {}

    def seen(self, record: Record) -> None:
        """A record was handed out that may tell instruments, or open or close a connection."""
        if record.kind == OPEN:
            self.open[record.conn] = record.payload
        elif record.kind == CLOSE:
            self.open.pop(record.conn, None)
        elif record.kind == INSTRUMENTS:
            self._instruments = record.payload

    def lost(self, segment: Segment, before: tuple[Record | None, ...]) -> None:
        """A piece of this segment is lost after the records `before`."""
        self._segments[segment] = None
        self._at(before).head = None

    def restated(self, before: tuple[Record | None, ...], head: Sequence[str]) -> None:
        """Something is lost after the records `before`, and a head follows that opens these connections."""
        self._at(before).head = head

    @property
    def waiting(self) -> bool:
        """Whether there is a hole whose far side is not handed out yet."""
        return bool(self._holes)

    def mend(self, floor: Ns, record: Record) -> Iterator[Record]:
        """What goes before `record`; nothing when no hole lies before it. `floor` is the last time handed out."""
        hole: Hole | None = None
        while self._holes and not any(record is known for known in self._holes[0].before):
            hole = self._holes.pop(0)
        if hole is None:
            return
        at, segments = record.recv_ns, list(self._segments)
        self._segments.clear()
        for conn in [conn for conn in self.open if hole.head is None or conn not in hole.head]:
            yield Record(at, CLOSE, conn, _CLOSED)
            if hole.head is not None:
                del self.open[conn]
        if hole.head is not None:
            return
        for line in (line for segment in segments for line in told_lines(segment)):
            # a connection that closes at the very time of the record may do so after it
            if floor <= line.recv_ns <= at and line != record and (line.recv_ns < at or line.kind != CLOSE):
                if line.kind == INSTRUMENTS and line.payload != self._instruments:
                    yield line._replace(recv_ns=at)
                self.seen(line)
        for conn, opened in self.open.items():
            yield Record(at, OPEN, conn, opened)

    def _at(self, before: tuple[Record | None, ...]) -> Hole:
        """The hole after `before`: two with nothing in between are one."""
        last = self._holes[-1] if self._holes else None
        if last is None or len(last.before) != len(before) or any(a is not b for a, b in zip(last.before, before, strict=True)):
            last = Hole(before)
            self._holes.append(last)
        return last
