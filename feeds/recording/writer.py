"""Writes a recording: lines into the plain segment at once, compressed members of it by one thread beside.

A frame costs the caller a list append and, each second or quarter MiB, one `os.write`. gzip runs in a thread (zlib lets go of
the interpreter), so that closing has at most one member left to do. The plain file stays until the compressed one is on the disk.
Measured with reliability 6: a short write returns a count and only the next one raises, so counts are checked.
"""

import base64
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from feeds.errors import InputError
from feeds.model import SECOND, Ns
from feeds.recording.format import BINARY, SIGNATURE, TEXT, TOLD_KINDS, VERSION, Header, HeadLine, RecordingFailed, is_token
from feeds.text import clean_text

SEGMENT_BYTES: int = 64 << 20
MEMBER_BYTES: int = 1 << 20
FLUSH_BYTES: int = 256 << 10
FLUSH_NS: Ns = SECOND
LEVEL: int = 5
"""zlib level, measured on Binance depth: 6 is 2 % smaller and takes half as long again, 4 is 6 % larger."""
WAITING_MEMBERS: int = 8
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW


class RecordingWriter:
    """One recording in one directory, which it makes (0700) and which must not hold a recording yet.

    `head` gives the lines that restate the present when a segment begins. After an error of the disk `failure` says so and every
    further call does nothing: the caller need not look, and nothing is raised. Raises `InputError` when it cannot begin.
    """

    def __init__(
        self,
        directory: Path,
        header: Header,
        head: Callable[[], Iterable[HeadLine]] = tuple,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        member_bytes: int = MEMBER_BYTES,
    ) -> None:
        self.directory = directory
        self.header = header
        self.failure: RecordingFailed | None = None
        self.bytes = 0
        """Text written so far, over all segments."""
        self._head = head
        self._segment_bytes = segment_bytes
        self._member_bytes = member_bytes
        self._segment: _Segment | None = None
        self._number = 0
        self._last_ns: Ns = 0
        self._flush_ns: Ns = 0
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._buffer_ns: Ns = 0
        self._prefixes: dict[str, bytes] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: deque[Future[None]] = deque()
        self._closed = False
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            taken = any(directory.iterdir())
        except OSError as error:
            raise InputError(f"{_shown(directory)}: cannot record there: {_reason(error)}") from None
        if taken:
            raise InputError(f"{_shown(directory)}: not empty: name a new directory to record into")

    def frame(self, recv_ns: Ns, conn: str, data: bytes) -> None:
        """A websocket message as it came; one that would not survive as a line is kept as base64."""
        if b"\n" in data or not (data.isascii() or _is_utf8(data)):
            self.write(recv_ns, BINARY, conn, base64.b64encode(data))
            return
        self._line(recv_ns, TEXT, conn, data)

    def write(self, recv_ns: Ns, kind: str, conn: str, payload: bytes) -> None:
        """Any other record. `payload` holds no line feed; `conn` is a token without spaces (`ValueError` otherwise)."""
        if b"\n" in payload:
            raise ValueError(f"a payload of kind {kind} with a line feed")
        self._line(recv_ns, kind, conn, payload)
        self._tell(self._last_ns, kind, conn, payload)

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        segment = self._segment
        if not self._buffer or segment is None:
            return
        block = b"".join(self._buffer)
        self._buffer.clear()
        self._buffered = 0
        if self.failure is not None:
            return
        try:
            segment.append(block, self._buffer_ns)
        except OSError as error:
            self._fail(error)
            return
        self.bytes += len(block)
        if segment.member_size >= self._member_bytes:
            self._compress(segment.take_member())

    def close(self) -> None:
        """Write the rest, compress it, wait until it is on the disk."""
        if self._closed:
            return
        self._end_segment()
        self._closed = True
        while self._jobs:
            self._jobs.popleft().result()
        if self._pool is not None:
            self._pool.shutdown()

    def _line(self, recv_ns: Ns, kind: str, conn: str, payload: bytes) -> None:
        if self.failure is not None or self._closed:
            return
        if recv_ns < self._last_ns:
            recv_ns = self._last_ns
        self._last_ns = recv_ns
        segment = self._segment
        full = segment is None or segment.size + self._buffered >= self._segment_bytes
        if full and not self._begin_segment(recv_ns):
            return
        self._put(recv_ns, kind, conn, payload)
        if self._buffered >= FLUSH_BYTES or recv_ns - self._flush_ns >= FLUSH_NS:
            self._flush_ns = recv_ns
            self.flush()

    def _put(self, recv_ns: Ns, kind: str, conn: str, payload: bytes) -> None:
        prefix = self._prefixes.get(kind + conn)
        if prefix is None:
            if not is_token(conn):
                raise ValueError(f"{conn!r} is no connection token")
            prefix = self._prefixes[kind + conn] = f" {kind} {conn} ".encode()
        line = b"%d%b%b\n" % (recv_ns, prefix, payload)
        if not self._buffer:
            self._buffer_ns = recv_ns
        self._buffer.append(line)
        self._buffered += len(line)

    def _begin_segment(self, recv_ns: Ns) -> bool:
        """False when the disk refused."""
        self._end_segment()
        if self.failure is not None:
            return False
        lines = list(self._head())
        self._number += 1
        try:
            self._segment = _Segment(self.directory, self._number)
        except OSError as error:
            self._fail(error)
            return False
        header = msgspec.structs.replace(self.header, head=len(lines))
        first = b"%b %d\n%b\n" % (SIGNATURE, VERSION, msgspec.json.encode(header))
        self._buffer.append(first)
        self._buffered += len(first)
        self._buffer_ns = self._flush_ns = recv_ns
        for kind, conn, payload in lines:
            self._put(recv_ns, kind, conn, payload)
            self._tell(recv_ns, kind, conn, payload)
        return True

    def _tell(self, recv_ns: Ns, kind: str, conn: str, payload: bytes) -> None:
        """Repeat in the index what no piece of the segment can be used without."""
        if kind in TOLD_KINDS and self._segment is not None:
            self._segment.told.append((recv_ns, kind, conn, payload.decode("utf-8", "replace")))

    def _end_segment(self) -> None:
        segment = self._segment
        if segment is None:
            return
        self.flush()
        self._segment = None
        if self.failure is not None:
            self._run(segment.abandon)
            return
        if segment.member_size:
            self._compress(segment.take_member())
        self._run(segment.finish)

    def _compress(self, member: "_Member") -> None:
        self._run(lambda: member.segment.add_member(member.text, member.recv_ns))

    def _run(self, job: Callable[[], None]) -> None:
        """In the order given, on the one thread; the caller waits when that falls behind."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "arbtop-recording")
        self._jobs.append(self._pool.submit(job))
        while len(self._jobs) > WAITING_MEMBERS:
            self._jobs.popleft().result()

    def _fail(self, error: OSError) -> None:
        self.failure = RecordingFailed(f"{_shown(self.directory)}: recording stopped: {_reason(error)}")
        self.failure.__cause__ = error
        self._buffer.clear()
        self._buffered = 0


class _Member(msgspec.Struct):
    segment: "_Segment"
    recv_ns: Ns
    text: bytes


class _Segment:
    """One segment's files. `append` and `take_member` are the caller's, `add_member` and `finish` the thread's."""

    def __init__(self, directory: Path, number: int) -> None:
        self._path = directory / f"{number:06d}.log"
        self._packed_path = directory / f"{number:06d}.log.gz"
        self._index_path = directory / f"{number:06d}.idx"
        self.size = 0
        self.member_size = 0
        self.told: list[tuple[Ns, str, str, str]] = []
        """What the index repeats: complete when `finish` reads it."""
        self._member_ns: Ns = 0
        self._member: list[bytes] = []
        self._index: list[tuple[Ns, int]] = []
        self._offset = 0
        self._packed_fd = -1
        self._pack_error: OSError | None = None
        self._fd = os.open(self._path, _NEW_FILE, 0o600)

    def append(self, block: bytes, recv_ns: Ns) -> None:
        """All of `block`, whose first line is of `recv_ns`, or none of it and an `OSError`."""
        try:
            _write_all(self._fd, block)
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        if not self._member:
            self._member_ns = recv_ns
        self.size += len(block)
        self.member_size += len(block)
        self._member.append(block)

    def take_member(self) -> _Member:
        member = _Member(self, self._member_ns, b"".join(self._member))
        self._member.clear()
        self.member_size = 0
        return member

    def abandon(self) -> None:
        """After a failure: the plain file stays as it is."""
        self._drop_packed()
        self._close()

    def add_member(self, text: bytes, recv_ns: Ns) -> None:
        if self._pack_error is not None:
            return
        packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
        member = packer.compress(text) + packer.flush()
        try:
            if self._packed_fd < 0:
                self._packed_fd = os.open(self._temporary(self._packed_path), _NEW_FILE, 0o600)
            _write_all(self._packed_fd, member)
        except OSError as error:
            self._pack_error = error
            return
        self._index.append((recv_ns, self._offset))
        self._offset += len(member)

    def finish(self) -> None:
        """Make the compressed segment the segment. Where the disk refuses, the plain file stays and is read as well."""
        try:
            if self._pack_error is None and self._packed_fd >= 0:
                self._replace_plain()
        except OSError as error:
            self._pack_error = error
        if self._pack_error is not None:
            self._drop_packed()
        self._close()

    def _replace_plain(self) -> None:
        os.fsync(self._packed_fd)
        index_fd = os.open(self._temporary(self._index_path), _NEW_FILE, 0o600)
        try:
            _write_all(index_fd, msgspec.json.encode([*self._index, *self.told]))
            os.fsync(index_fd)
        finally:
            os.close(index_fd)
        for path in (self._index_path, self._packed_path):
            self._temporary(path).rename(path)
        directory_fd = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory_fd)
        finally:
            os.close(directory_fd)
        self._path.unlink()

    def _drop_packed(self) -> None:
        for path in (self._packed_path, self._index_path):
            with suppress(OSError):
                self._temporary(path).unlink(missing_ok=True)

    def _close(self) -> None:
        for fd in (self._fd, self._packed_fd):
            if fd >= 0:
                with suppress(OSError):
                    os.close(fd)

    @staticmethod
    def _temporary(path: Path) -> Path:
        return path.with_name(path.name + ".part")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(path: Path) -> str:
    return clean_text(str(path), 200)


def _reason(error: OSError) -> str:
    return (error.strerror or "the disk refused").lower()
