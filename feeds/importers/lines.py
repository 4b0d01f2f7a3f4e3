"""Lines of a capture file, plain or gzip, and the list of what had to be left out.

A gzip file that is cut off or corrupt gives every line up to the fault. Not here: what a line means.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from feeds.errors import DECODE_ERRORS
from feeds.model import SECOND, Ns
from feeds.recognise import GZIP_MAGIC
from feeds.text import clean_text

BLOCK_BYTES: Final = 1 << 20
LONGEST_LINE: Final = 64 << 20
DAMAGE_KEPT: Final = 1000
EARLIEST_NS: Final[Ns] = 1_262_304_000 * SECOND
"""2010: no capture is older."""
LATEST_NS: Final[Ns] = 4_102_444_800 * SECOND

_SECONDS = re.compile(rb"(\d{9,10})(?:\.(\d{1,9})\d*)?")
_LIFE_SIGNS = frozenset({b"ping", b"pong"})
_raw = msgspec.json.Decoder(msgspec.Raw).decode


class Item(NamedTuple):
    """One line of a capture, understood. `kind` is one of the constants below; `text` the frame or body."""

    recv_ns: Ns
    line: int
    kind: str
    conn: str
    """The capture's own name of the connection within its file; empty for REST."""
    url: str
    text: bytes


FRAME, CONNECT, SENT, REST = "frame", "connect", "sent", "rest"


class Damage:
    """What was left out, one line a piece: file, line, why. The second pass meets the same again and does not tell it."""

    def __init__(self) -> None:
        self.closed = False
        self._told: list[str] = []
        self._more = 0

    def line(self, path: Path, number: int, why: str) -> None:
        self.say(f"{clean_text(path.name)} line {number}: {why}; left out")

    def say(self, text: str) -> None:
        if self.closed:
            return
        if len(self._told) < DAMAGE_KEPT:
            self._told.append(text)
        else:
            self._more += 1

    @property
    def told(self) -> list[str]:
        return [*self._told, f"and {self._more} more damaged pieces"] if self._more else list(self._told)


def lines_of(path: Path, damage: Damage, progress: Callable[[int], object]) -> Iterator[tuple[int, bytes]]:
    """(line number, line) of every line that is not blank. `progress` is told the bytes of file read since the last call."""
    return ((number, line) for number, line in all_lines_of(path, damage, progress) if line and not line.isspace())


def all_lines_of(path: Path, damage: Damage, progress: Callable[[int], object]) -> Iterator[tuple[int, bytes]]:
    """The same with blank lines, for a format in which they mean something."""
    number = 0
    carry = b""
    for text in _texts(path, damage, progress):
        lines = (carry + text).split(b"\n")
        carry = lines.pop()
        for line in lines:
            number += 1
            yield number, line
        if len(carry) > LONGEST_LINE:
            damage.line(path, number + 1, f"it is longer than {LONGEST_LINE >> 20} MiB")
            return
    if carry and not carry.isspace():
        yield number + 1, carry


def _texts(path: Path, damage: Damage, progress: Callable[[int], object]) -> Iterator[bytes]:
    with path.open("rb") as file:
        data = file.read(BLOCK_BYTES)
        packed = data.startswith(GZIP_MAGIC)
        unpacker = zlib.decompressobj(31)
        while data:
            progress(len(data))
            if not packed:
                yield data
            while packed and data:
                if unpacker.eof:  # the next member; padding of zeros is none
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    unpacker = zlib.decompressobj(31)
                try:
                    text = unpacker.decompress(data, 4 * BLOCK_BYTES)
                except zlib.error:
                    damage.say(f"{clean_text(path.name)}: the gzip data is corrupt; everything before that is kept")
                    return
                if text:
                    yield text
                data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            data = file.read(BLOCK_BYTES)
        if packed and not unpacker.eof:
            damage.say(f"{clean_text(path.name)}: the gzip file is cut off; everything before that is kept")


def seconds_ns(text: bytes) -> Ns | None:
    """Epoch seconds with a fraction, as decimal text, exactly in ns; None for what is no such time."""
    match = _SECONDS.fullmatch(text)
    if match is None:
        return None
    at = int(match[1]) * SECOND + int((match[2] or b"").ljust(9, b"0"))
    return at if EARLIEST_NS <= at < LATEST_NS else None


def is_message(text: bytes) -> bool:
    """Whether `text` is one JSON value, or OKX's or BitMEX's bare life sign: what a cut or garbled line is not."""
    if text in _LIFE_SIGNS:
        return True
    try:
        _raw(text)
    except DECODE_ERRORS:
        return False
    return True
