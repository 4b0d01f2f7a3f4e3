"""Reads a recording, whole or damaged. What cannot be read is left out and named; everything before and after it is kept.

Damage is expected (a killed process, a full disk, a copy that was cut off), so nothing here trusts a byte: a member that does not
decompress is skipped, so is a line that is no record, so is a time that its neighbours contradict. What follows a lost piece
begins anew (`holes`). Only a path that holds no recording at all is an error. Rules: DESIGN 3 "Recording", reliability 2 (26).

The loop over lines is the replay's hot path: measured 0.8 us a line of 1 kB, from a plain file, splitting included.
"""

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from feeds.errors import DECODE_ERRORS, InputError
from feeds.model import Ns
from feeds.recognise import ARBTOP, format_of
from feeds.recording.damage import DAY_NS, Losses, Order
from feeds.recording.format import BINARY, HEAD_KINDS, JSON_KINDS, OPEN, TEXT, TOLD_KINDS, Header, Record, decode, is_token
from feeds.recording.holes import Holes
from feeds.recording.segments import KINDS, LONGEST, Block, Segment, blocks, last_ns, open_segment, told_lines
from feeds.session import SILENCE_MIN_NS
from feeds.text import clean_text

_NAME = re.compile(r"(\d{6})\.log(\.gz)?")


class Recording:
    """A recording on disk: a directory of segments, or one segment file by itself.

    Raises `InputError` when the path holds no recording, or one of a later version. Reading never raises for damage; `damage` has
    a line for each piece that was left out, and grows while `records` is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._damage: dict[str, None] = {}
        self._end_ns: Ns | None = None
        self.segments: tuple[Segment, ...] = tuple(self._open(path))

    @property
    def damage(self) -> list[str]:
        """One line a piece: file, place, what is wrong, what was kept."""
        return list(self._damage)

    @property
    def header(self) -> Header | None:
        """Of the first segment whose header can be read."""
        return next((segment.header for segment in self.segments if segment.header is not None), None)

    @property
    def start_ns(self) -> Ns:
        """Receive time of the first record; 0 when there is none."""
        return next((segment.start_ns for segment in self.segments if segment.start_ns), 0)

    @property
    def end_ns(self) -> Ns:
        """Receive time of the last record; 0 when there is none. Reads the last lines only."""
        if self._end_ns is None:
            self._end_ns = next(filter(None, map(last_ns, reversed(self.segments))), 0)
        return self._end_ns

    def records(self, start_ns: Ns | None = None) -> Iterator[Record]:
        """Records in receive order, from the head of the last segment that starts at or before `start_ns`.

        Heads of later segments are skipped, except after damage: there they bring back what was lost. After a lost piece within a
        segment, records are put in that close every open connection (code `LOST`) and open it again. Frames of kind `b` come out
        as kind `t`.
        """
        return self._read(self._first(start_ns))

    def _read(self, segments: tuple[Segment, ...]) -> Iterator[Record]:
        conns: dict[bytes, str] = {}
        order, holes = Order(), Holes()
        pending: Record | None = None
        last = floor = -1
        calm = False
        fresh = True
        new = tuple.__new__
        to_text, text, day = _conn, TEXT.encode(), DAY_NS
        number = segments[0].number if segments else 0
        for segment in segments:
            losses = Losses(segment.path.name, self._damage)
            order.pending = pending
            if segment.number != number:
                losses.say(f"segment {number:06d} is missing before it")
                losses.any = False  # this one's head makes up for it
                holes.lost(segment, order.held)
                calm, fresh = False, True
            number = segment.number + 1
            head = _Head(segment)
            for block in blocks(segment, losses):
                order.pending = pending
                if not block.whole:
                    if block.lines and pending is None and not told_lines(segment):
                        losses.say("does not tell what was open before that: messages are ignored up to the next segment")
                    holes.lost(segment, order.held)
                    head.left = 0
                    calm = False
                elif head.left and (restating := head.take(block)):
                    if not fresh:
                        block.lines = block.lines[len(restating) :]
                        block.first += len(restating)
                    elif not head.told:
                        head.told = True
                        holes.restated(order.held, _opens(restating))
                        calm = False
                at_line = block.first - 1
                for line in block.lines:
                    at_line += 1
                    try:
                        stamp, kind, conn, payload = line.split(b" ", 3)
                        at = int(stamp)
                        token = conns.get(conn) or to_text(conns, conn)
                        if kind == text:
                            record = new(Record, (at, "t", token, payload))
                        else:
                            record = new(Record, (at, *_typed(kind, token, payload)))
                            calm = False
                    except (ValueError, binascii.Error, *DECODE_ERRORS) as error:
                        losses.line(at_line, _why(line, error))
                        calm = False
                        continue
                    if calm and 0 <= at - last <= day:
                        yield pending  # type: ignore[misc]  # calm means there is one
                        pending = record
                        floor, last = last, at
                        continue
                    order.pending = pending
                    held = order.held
                    if losses.missed and pending is not None and (losses.missed > 1 or at - last >= SILENCE_MIN_NS):
                        _lines_lost(holes, segment, held, losses)
                    settled = order.settle(floor, pending, record, at_line, losses)
                    pending = order.pending
                    if pending is record:
                        if losses.missed > 1:
                            _lines_lost(holes, segment, held, losses)
                        losses.missed = 0
                    for one in settled:
                        yield from holes.mend(floor, one)
                        yield one
                        holes.seen(one)
                        floor = one[0]
                    if pending is not None:
                        last = pending[0]
                        calm = not (order.chains or holes.waiting or pending[1] in TOLD_KINDS)
            losses.finish()
            fresh = losses.any
        if pending is not None:
            yield from holes.mend(floor, pending)
            yield pending
        if order.chains:
            losses = Losses(segments[-1].path.name, self._damage)
            order.drop(losses)
            losses.finish()

    def _first(self, start_ns: Ns | None) -> tuple[Segment, ...]:
        if start_ns is None:
            return self.segments
        starts: list[Ns] = []
        for segment in self.segments:
            starts.append(max(segment.start_ns, starts[-1] if starts else 0))
        return self.segments[max(bisect_right(starts, start_ns) - 1, 0) :]

    def _open(self, path: Path) -> Iterator[Segment]:
        shown = clean_text(str(path), 200)
        try:
            files = sorted(path.iterdir()) if path.is_dir() else [path]
            if not path.exists():
                raise InputError(f"{shown}: there is no such file or directory")
            found: dict[int, Path] = {}
            for file in files:
                match = _NAME.fullmatch(file.name)
                if match is not None and file.is_file():
                    found.setdefault(int(match[1]), file)  # sorted: the plain file first, which is whole where both are there
            segments = [open_segment(number, file) for number, file in sorted(found.items())]
            if not any(segments):
                raise InputError(f"{shown}: {_what_else(path, files)}")
        except OSError as error:
            raise InputError(f"{shown}: cannot be read: {(error.strerror or 'error').lower()}") from None
        for (number, file), segment in zip(sorted(found.items()), segments, strict=True):
            yield segment or Segment(file, number, None, 0)


def _typed(kind: bytes, conn: str, payload: bytes) -> tuple[str, str, bytes]:
    """Kind, connection and payload of a line that is no text frame. Raises what the caller catches."""
    name = KINDS.get(kind)
    if name is None:
        raise ValueError("kind")
    if name == BINARY:
        return TEXT, conn, base64.b64decode(payload, validate=True)
    if name in JSON_KINDS:
        decode(name, payload)
    return name, conn, payload


def _conn(known: dict[bytes, str], conn: bytes) -> str:
    """A connection token as text, remembered. Raises `ValueError` for what is none."""
    text = conn.decode("ascii")
    if not is_token(text):
        raise ValueError("conn")
    if len(known) > 10_000:
        known.clear()
    known[conn] = text
    return text


def _why(line: bytes, error: Exception) -> str:
    parts = line.split(b" ", 3)
    if len(parts) < 4 or not parts[0].isdigit():
        return "it is no record"
    if parts[1] not in KINDS:
        return f"kind {clean_text(parts[1], 8)!r} is not known"
    if isinstance(error, binascii.Error):
        return "its base64 is damaged"
    if parts[1] == TEXT.encode() or not isinstance(error, DECODE_ERRORS):
        return "its connection name is damaged"
    return f"the JSON of its kind {parts[1].decode()} is damaged"


class _Head:
    """The restating lines that a segment begins with."""

    def __init__(self, segment: Segment) -> None:
        self.left = segment.header.head if segment.header is not None else LONGEST
        """How many are still to come, at most."""
        self.told = False
        self._known = segment.header is not None
        self._start = b"%d " % segment.start_ns

    def take(self, block: Block) -> list[bytes]:
        """Those at the beginning of a block."""
        taken = 0
        for line in block.lines:
            kind = line.split(b" ", 2)[1:2]
            known = self._known or line.startswith(self._start)
            if taken == self.left or not known or not kind or KINDS.get(kind[0]) not in HEAD_KINDS:
                self.left = taken
                break
            taken += 1
        self.left -= taken
        return block.lines[:taken]


def _opens(head: list[bytes]) -> list[str]:
    """The connections that a head opens."""
    parts = [line.split(b" ", 3) for line in head]
    return [part[2].decode("ascii", "replace") for part in parts if len(part) == 4 and KINDS.get(part[1]) == OPEN]


def _lines_lost(holes: Holes, segment: Segment, before: tuple[Record | None, ...], losses: Losses) -> None:
    """Lines left out that may have been more than one frame, or that leave a silence at which a link would be given up.

    Of a single line nothing is made: where it was a frame, the venue's sequence rule finds out.
    """
    holes.lost(segment, before)
    if holes.open:
        losses.cost()


def _what_else(path: Path, files: list[Path]) -> str:
    """What a path is that holds no recording, and what to do with it."""
    if path.is_dir() and not files:
        return "an empty directory: nothing was recorded here"
    for file in files:
        form = format_of(file) if file.is_file() else None
        if form is not None and form.importable:
            return f"no arbtop recording, but {form.name}: make one of it with `arbtop import`"
        if form is not None and path.is_dir():
            return f"no arbtop recording, but {clean_text(file.name)} in it is {form.name}"
        if form is ARBTOP:
            return "a segment under another name: arbtop replays 000001.log or the directory that holds it"
        if form is not None:
            return f"{form.name}, which arbtop does not import"
    return "no recording: arbtop replays a directory that holds 000001.log or 000001.log.gz"
