"""A segment's file as text: gzip members or plain, whole or damaged, in pieces of whole lines.

A member that does not decompress is skipped; the next one begins at the next gzip magic that does. Not here: what a line means
(`reader`).
"""

import mmap
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from feeds.errors import DECODE_ERRORS, InputError
from feeds.model import Ns
from feeds.recognise import GZIP_MAGIC
from feeds.recording.damage import COST, DAY_NS, Losses
from feeds.recording.format import (
    BINARY,
    JSON_KINDS,
    NO_CONN,
    SIGNATURE,
    TEXT,
    TOLD_KINDS,
    VERSION,
    Header,
    Record,
    decode,
    is_token,
)
from feeds.text import clean_text

BLOCK_BYTES: Final = 1 << 20
LONGEST: Final = 96 << 20
"""A member or a line beyond this is not ours: a segment has 64 MiB and a frame at most tens."""
START_BYTES: Final = 256 << 10
PIECE_BYTES: Final = 256 << 10
"""About one compressed member."""
KINDS: Final = {kind.encode(): kind for kind in (TEXT, BINARY, *sorted(JSON_KINDS))}

_MEMBER = b"\x1f\x8b\x08\x00"
_VERSION = re.compile(rb"arbtop-recording (\d{1,9})")
_header = msgspec.json.Decoder(Header).decode


class IndexEntry(Struct, frozen=True, array_like=True):
    """One entry of a segment's index: of a member (time of its first line, byte where it begins), or, after all of those, of a
    line that tells instruments or connections (time, kind, conn, payload)."""

    recv_ns: Ns
    what: int | str
    conn: str = NO_CONN
    payload: str = ""


_index = msgspec.json.Decoder(list[IndexEntry]).decode


class Segment(Struct, frozen=True):
    """One file of a recording."""

    path: Path
    number: int
    header: Header | None
    """None where line 2 cannot be read."""
    start_ns: Ns
    """Time of its first record; 0 where it has none that can be read."""


class Block(Struct, gc=False):
    """Whole lines out of one place of a file."""

    lines: list[bytes]
    first: int
    """Line number of the first."""
    whole: bool = True
    """False: a piece before it is lost. Without lines: the piece at the end of the file is."""


def open_segment(number: int, path: Path) -> Segment | None:
    """What a file of that name is; None when its readable text has nothing of a recording. Raises `InputError`, `OSError`."""
    first = next(_text(path, Losses(path.name, {}), START_BYTES), None)
    if first is None:
        return None
    lines = first[1].split(b"\n", 8)
    version = _VERSION.fullmatch(lines[0])
    if version is not None and int(version[1]) > VERSION:
        shown = clean_text(str(path), 200)
        raise InputError(f"{shown}: a recording of format {int(version[1])}; this arbtop reads {VERSION}: update it to read this")
    header = _read_header(lines[1]) if len(lines) > 1 else None
    start_ns = _steady(map(_stamp, lines), 1)
    if version is None and header is None and not start_ns:
        return None
    return Segment(path, number, header, start_ns)


def _read_header(line: bytes) -> Header | None:
    try:
        return _header(line)
    except DECODE_ERRORS:
        return None


def _stamp(line: bytes) -> Ns:
    """The time of a line that looks like a record; 0 for any other."""
    parts = line.split(b" ", 3)
    if len(parts) == 4 and parts[0].isdigit() and len(parts[0]) < 20 and parts[1] in KINDS:
        return int(parts[0])
    return 0


def _steady(stamps: Iterable[Ns], sign: int) -> Ns:
    """The first time that the one after it confirms, reading forwards (`sign` 1) or backwards (-1); 0 when there is none."""
    before = 0
    for stamp in stamps:
        if before and stamp and 0 <= sign * (stamp - before) <= DAY_NS:
            return before
        before = stamp or before
    return before


def last_ns(segment: Segment) -> Ns:
    """Time of the segment's last record, from its last MiB of text where that can be found."""
    tail = b""
    if segment.path.suffix == ".gz":
        with segment.path.open("rb") as file:
            data = file.read()
        for offset in reversed(_offsets(segment.path, data)):
            try:
                tail = zlib.decompressobj(31).decompress(data[offset:], LONGEST)
            except zlib.error:
                continue
            break
        else:
            for _, text in _text(segment.path, Losses("", {})):
                tail = text or tail
    else:
        with segment.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - BLOCK_BYTES, 0))
            tail = file.read()
    return _steady(map(_stamp, reversed(tail[: tail.rfind(b"\n") + 1].split(b"\n"))), -1) or segment.start_ns


def told_lines(segment: Segment) -> list[Record]:
    """The lines that tell instruments and connections, its head's among them, as the segment's index repeats them."""
    found: list[Record] = []
    for entry in _entries(segment.path):
        if entry.what in TOLD_KINDS and is_token(entry.conn):
            record = Record(entry.recv_ns, str(entry.what), entry.conn, entry.payload.encode())
            try:
                decode(record.kind, record.payload)
            except DECODE_ERRORS:
                continue
            found.append(record)
    return found


def _offsets(path: Path, data: bytes) -> list[int]:
    """Where the index says that members begin, as far as the file agrees."""
    offsets = [entry.what for entry in _entries(path) if isinstance(entry.what, int)]
    return [offset for offset in offsets if 0 <= offset < len(data) and data.startswith(_MEMBER, offset)]


def _entries(path: Path) -> list[IndexEntry]:
    """The index of a compressed segment; nothing where there is none that can be read."""
    if path.suffix != ".gz":
        return []
    try:
        return _index(path.with_name(path.name.removesuffix(".log.gz") + ".idx").read_bytes())
    except (OSError, *DECODE_ERRORS):
        return []


def blocks(segment: Segment, losses: Losses) -> Iterator[Block]:
    """Whole lines of a segment after its two first ones, in pieces of about a MiB."""
    carry = b""
    number = 1
    begun = False
    for whole, text in _readable(segment.path, losses):
        if not whole and carry:
            losses.line(number, "it is cut off")
            carry = b""
        if not whole:
            losses.finish()
            number, losses.place = 1, " after that"
            begun = True
        lines = (carry + text).split(b"\n")
        carry = lines.pop()
        if not begun and len(lines) >= 2:
            begun = True
            if lines[0] != b"%b %d" % (SIGNATURE, VERSION):
                losses.line(1, "it does not say that this is a recording")
            if segment.header is None:
                losses.line(2, "the header is damaged")
            if not _stamp(lines[1]):
                del lines[:2]
                number = 3
            elif not _stamp(lines[0]):
                del lines[:1]
                number = 2
        yield Block(lines, number, whole)
        number += len(lines)
        if len(carry) > LONGEST:
            losses.line(number, f"it is longer than {LONGEST >> 20} MiB")
            carry = b""
            yield Block([], number, False)
    if carry:
        losses.line(number, "it is cut off")
        yield Block([], number, False)


def _readable(path: Path, losses: Losses) -> Iterator[tuple[bool, bytes]]:
    """`_text`, of the compressed file where the plain one has just become it; a disk that refuses is damage."""
    try:
        if not path.exists():
            path = path.with_name(path.name + ".gz")
        yield from _text(path, losses)
    except OSError as error:
        losses.say(f"cannot be read on: {(error.strerror or 'error').lower()}")
        yield False, b""


def _text(path: Path, losses: Losses, block: int = BLOCK_BYTES) -> Iterator[tuple[bool, bytes]]:
    """Pieces of a segment's text. False beside a piece: something before it is lost; an empty piece then ends the file."""
    with path.open("rb") as file:
        if path.suffix != ".gz":
            while data := file.read(block):
                yield True, data
            return
        if not file.seek(0, 2):
            losses.say("is empty")
            yield False, b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data_map:
            yield from _members(data_map, losses)


def _members(data: mmap.mmap, losses: Losses) -> Iterator[tuple[bool, bytes]]:
    """Text of each gzip member. One that is corrupt is skipped: the next begins at the next magic that decompresses.

    Of a member that the end of the file cuts off, the text before the cut is kept: it is what was written.
    """
    at, end, whole = 0, len(data), True
    lost_at = -1
    while at < end:
        unpacker = zlib.decompressobj(31)
        pieces: list[bytes] = []
        size, ahead = 0, at
        good = data[at : at + 2] == GZIP_MAGIC
        try:
            while good and not unpacker.eof and ahead < end and size < LONGEST:
                piece = unpacker.decompress(data[ahead : ahead + PIECE_BYTES], LONGEST)
                pieces.append(piece)
                size += len(piece)
                ahead = min(ahead + PIECE_BYTES, end)
        except zlib.error:
            good = False
        text = b"".join(pieces)
        if good and unpacker.eof:
            if lost_at >= 0:
                losses.say(f"byte {lost_at}: a damaged piece; left out up to byte {at}, where reading goes on; {COST}")
                lost_at, whole = -1, False
            yield whole, text
            whole = True
            at = ahead - len(unpacker.unused_data)
            continue
        follow = data.find(_MEMBER, at + 1)
        if good and follow < 0 and text and lost_at < 0:
            losses.say(f"byte {at}: the file is cut off inside a member; the whole lines before the cut are kept")
            yield whole, text
            yield False, b""
            return
        if lost_at < 0:
            lost_at = at
        at = follow if follow >= 0 else end
    if lost_at >= 0:
        losses.say(f"byte {lost_at}: a damaged piece; left out up to the end of the file")
        yield False, b""
