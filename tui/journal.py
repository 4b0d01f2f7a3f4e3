"""The durable alert log: each thing that happens to an alert is one line of JSON on disk, written before it counts as known.

A record is `{seq, utc_ns, kind, payload, crc32}`; `payload` is the whole episode as it stands afterwards, so the last record of
a `seq` is the episode, and a record written twice changes nothing. `crc32` is zlib's over the line as it reads without
`,"crc32":N`. Each running instance writes a family of files of its own (`alerts.jsonl`, `alerts-2.jsonl`, ...), numbers its
alerts itself, and puts full files aside as `alerts.0001.jsonl`, ...; reading spans and merges them all. This module evaluates no
rule, reads no clock (times come with the events) and draws nothing. Source: reliability.md 5 and 6 (measured there: `os.write` of
a whole line is not torn by SIGKILL, buffered writing is; a full disk first shows as a short write).
"""

import errno
import fcntl
import os
import re
import stat
import sys
import zlib
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState
from feeds.errors import DECODE_ERRORS, ArbtopError
from feeds.model import SECOND, Ns

ROTATE_BYTES: Final = 8 << 20
HOLD: Final = 10_000
"""Records kept in memory while the disk refuses them."""
PEAK_EVERY_NS: Final = SECOND
INSTANCES: Final = 99
BAD_NAMED: Final = 20
"""How many bad lines a report names; all are counted."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_DIRECTORY_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP})
_MEND: Final = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "make it writable or name another under [paths]",
    errno.EPERM: "make it writable or name another under [paths]",
    errno.EROFS: "name a writable directory under [paths]",
    errno.ELOOP: "a symbolic link stands where the log belongs, remove it",
}
_FILE_NAME: Final = re.compile(r"alerts(?:-([2-9]|[1-9][0-9]))?(?:\.([0-9]{4,9}))?\.jsonl")
_SEQ: Final = re.compile(rb'\{"seq":([0-9]{1,15}),')
_CRC: Final = b',"crc32":'
_ACTIVE: Final = sys.maxsize
"""Sorts the file that is being written behind those put aside."""


class Record(Struct, frozen=True):
    """A line of the log without its `crc32`. `utc_ns` is the event's time."""

    seq: int
    utc_ns: Ns
    kind: AlertKind
    payload: Alert


class BadLine(Struct, frozen=True):
    """A line that was skipped: file name, line number from 1, and why: bad JSON, bad UTF-8 or bad crc."""

    file: str
    line: int
    reason: str


class Report(Struct, frozen=True, kw_only=True):
    """What reading met: `records` good lines, `bad` skipped ones (the first twenty by name in `bad_lines`)."""

    records: int = 0
    bad: int = 0
    bad_lines: tuple[BadLine, ...] = ()
    duplicates: int = 0
    """Records that stood there twice, after a crash between writing and knowing it."""
    missing: int = 0
    """Numbers between the first and the last `seq` of an instance that no record has."""
    torn_bytes: int = 0
    """Bytes after the last newline of a file in use: a record under way, or torn; the next writer seals it."""

    def text(self) -> str:
        """One line to show the user; empty when all was well."""
        parts = []
        if self.bad:
            named = ", ".join(f"{bad.file}:{bad.line} {bad.reason}" for bad in self.bad_lines[:3])
            parts.append(f"damaged lines skipped: {self.bad} ({named}{', ...' if self.bad > 3 else ''})")
        if self.missing:
            parts.append(f"alerts missing: {self.missing}")
        return "; ".join(parts)


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Record).decode


def encode_record(event: AlertEvent) -> bytes:
    """The line of an event, with its newline."""
    body = _encode(Record(event.alert.seq, event.at_ns, event.kind, event.alert))
    return b"%b%b%d}\n" % (body[:-1], _CRC, zlib.crc32(body))


def decode_record(line: bytes) -> Record | str:
    """The record in `line` (no newline), or why it is none."""
    try:
        record = _decode(line)
    except UnicodeDecodeError:
        return "bad UTF-8"
    except DECODE_ERRORS:
        return "bad JSON"
    cut = line.rfind(_CRC)
    if cut < 0 or line[cut:] != b"%b%d}" % (_CRC, zlib.crc32(line[:cut] + b"}")):
        return "bad crc"
    return record


class _Family:
    """The fold of one instance's files, in the order they were written."""

    def __init__(self) -> None:
        self.episodes: dict[int, tuple[Ns, Alert]] = {}
        """seq → (time of its first record, never less than that of a record before it; last state)."""
        self.highest = 0
        self.records = 0
        self.bad: list[BadLine] = []
        self.duplicates = 0
        self.torn_bytes = 0
        self._latest_ns: Ns = 0
        self._seen: set[tuple[int, int]] = set()

    def take(self, name: str, data: bytes, active: bool) -> None:
        *lines, tail = data.split(b"\n")
        if tail and active:
            self.torn_bytes += len(tail)
        elif tail:
            lines.append(tail)
        for number, line in enumerate(lines, 1):
            record = decode_record(line)
            if isinstance(record, Record):
                self._fold(record, zlib.crc32(line))
            else:
                self.bad.append(BadLine(name, number, record))
                self._number_of(line)

    def _fold(self, record: Record, crc: int) -> None:
        seq = record.seq
        if (seq, crc) in self._seen:
            self.duplicates += 1
            return
        self._seen.add((seq, crc))
        self.records += 1
        self.highest = max(self.highest, seq)
        self._latest_ns = max(self._latest_ns, record.utc_ns)
        first = self.episodes[seq][0] if seq in self.episodes else self._latest_ns
        self.episodes[seq] = (first, record.payload)

    def _number_of(self, line: bytes) -> None:
        """A damaged line still used up its number, if what is left of it fits the sequence."""
        match = _SEQ.match(line)
        if match and int(match[1]) == self.highest + 1:
            self.highest += 1

    @property
    def missing(self) -> int:
        return self.highest - min(self.episodes, default=self.highest + 1) + 1 - len(self.episodes)


def read(directory: str | Path) -> tuple[list[Alert], Report]:
    """All episodes in `directory`, each in its last state, in the order in which they began; takes no lock, changes nothing.

    Within one instance that is the order of `seq`; instances are merged by (time of the first record, instance, position).
    A directory that is not there holds none.

    Raises:
        ArbtopError: the directory or a file in it cannot be read.
    """
    path = Path(directory).absolute()
    try:
        families = _load(path)
    except FileNotFoundError:
        return [], Report()
    except OSError as error:
        raise _refusal(path, "read", error) from error
    merged = [
        (first, family, position, alert)
        for family, folded in families.items()
        for position, (first, alert) in enumerate(folded.episodes.values())
    ]
    merged.sort(key=lambda entry: entry[:3])
    return [entry[3] for entry in merged], _report(families)


def _report(families: dict[int, _Family]) -> Report:
    folded = families.values()
    bad = [line for family in folded for line in family.bad]
    return Report(
        records=sum(family.records for family in folded),
        bad=len(bad),
        bad_lines=tuple(bad[:BAD_NAMED]),
        duplicates=sum(family.duplicates for family in folded),
        missing=sum(family.missing for family in folded),
        torn_bytes=sum(family.torn_bytes for family in folded),
    )


def _files(directory: Path) -> list[tuple[int, int, str]]:
    """(instance, number, name) of each log file, in the order to read them."""
    found = []
    for name in os.listdir(directory):
        match = _FILE_NAME.fullmatch(name)
        if match:
            found.append((int(match[1] or 1), int(match[2] or _ACTIVE), name))
    return sorted(found)


def _load(directory: Path, only: int = 0) -> dict[int, _Family]:
    """Fold the files of all instances, or of one. Begun anew when another process puts a file aside meanwhile."""
    while True:
        files = [entry for entry in _files(directory) if only in (0, entry[0])]
        families: dict[int, _Family] = {}
        try:
            for family, number, name in files:
                families.setdefault(family, _Family()).take(name, _bytes_of(directory / name), number == _ACTIVE)
        except FileNotFoundError:
            continue
        if files == [entry for entry in _files(directory) if only in (0, entry[0])]:
            return families


def _bytes_of(path: Path) -> bytes:
    descriptor = _open(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _open(path: str | Path, flags: int, directory: int | None = None) -> int:
    """A descriptor of a regular file: no link is followed, and a pipe of that name does not hang the program."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def _refusal(path: Path, verb: str, error: OSError) -> ArbtopError:
    where = error.filename if isinstance(error.filename, str) else path
    mend = _MEND.get(error.errno or 0, "name another directory under [paths]")
    return ArbtopError(f"{path / where}: cannot {verb} the alert log: {error.strerror}; {mend}")


def sync_file(descriptor: int) -> None:
    """Return when the file's bytes are on the disk. Raises OSError."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync there stops at the drive's cache
    else:
        os.fdatasync(descriptor)


def sync_directory(descriptor: int) -> None:
    """Make creations and renames in a directory last; a file system that has no such call is left alone. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise


def write_whole(descriptor: int, data: bytes) -> None:
    """`data` in one `os.write`, a short one continued. Raises OSError, after which part of it may stand at the file's end."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class _Held(Struct, frozen=True):
    line: bytes
    seq: int
    serial: int
    sync: bool


class Journal:
    """The one writer of an instance's family of files.

    Args:
        directory: made with mode 0700 if need be.
        rotate_bytes: a file that would grow past this is put aside.
        hold: how many records memory keeps while the disk refuses them.

    Raises:
        ArbtopError: the directory or the log cannot be opened. Once open, trouble with the disk is not raised: it is in `state`.
    """

    def __init__(self, directory: str | Path, *, rotate_bytes: int = ROTATE_BYTES, hold: int = HOLD) -> None:
        self.directory = Path(directory).absolute()
        self.instance = 0
        """1, or more while other instances run on the same directory."""
        self.lost = 0
        """Records that neither the disk nor memory could take."""
        self.messages: deque[str] = deque(maxlen=100)
        """One line each, for the log panel; the reader takes them out."""
        self._rotate_bytes = rotate_bytes
        self._hold = hold
        self._held: deque[_Held] = deque()
        self._serial = 0
        self._unsaved: dict[int, int] = {}
        self._peaked: dict[int, Ns] = {}
        self._late_peaks: dict[int, AlertEvent] = {}
        self._trouble: OSError | None = None
        self._directory_fd = self._lock_fd = self._fd = -1
        self._identity = (0, 0)
        self._aside = False
        self._cut_to: int | None = None
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            self._lock()
            self._attach()
            families = _load(self.directory, self.instance)
        except OSError as error:
            self._release()
            raise _refusal(self.directory, "open", error) from error
        except ArbtopError:
            self._release()
            raise
        self.found = _report(families)
        """What reading this instance's files met."""
        if self.found.text():
            self.messages.append(f"{self.directory}: {self.found.text()}")
        folded = families.get(self.instance, _Family())
        self.next_seq = folded.highest + 1
        """The number of the next alert: one more than the highest ever written by this instance's predecessors and itself."""
        self._open_alerts = {
            seq: alert for seq, (_, alert) in sorted(folded.episodes.items()) if alert.state is AlertState.FIRING
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def file(self) -> Path:
        """The file that is being written."""
        return self.directory / f"{self._stem}.jsonl"

    @property
    def held(self) -> int:
        """Records in memory that wait for the disk."""
        return len(self._held)

    @property
    def state(self) -> str:
        """Empty while all is on disk; else `LOG FULL 12 held, 3 lost`, `LOG ERROR (reason) ...`, or `LOG 3 lost`."""
        lost = f"{self.lost} lost" if self.lost else ""
        if self._trouble is None:
            return f"LOG {lost}" if lost else ""
        word = "LOG FULL" if self._trouble.errno in _FULL else f"LOG ERROR ({self._trouble.strerror})"
        return f"{word} {self.held} held" + (f", {lost}" if lost else "")

    def open_alerts(self) -> tuple[Alert, ...]:
        """The alerts of this instance that have fired and not resolved, by `seq`: what the engine is rebuilt from."""
        return tuple(self._open_alerts.values())

    def durable(self, seq: int) -> bool:
        """Whether the last state of that alert is on disk; while it is not, the screen marks it."""
        return seq not in self._unsaved

    def append(self, event: AlertEvent) -> bool:
        """Write an event, after whatever is still held. A peak within a second of the alert's last one waits for that second.

        Returns:
            True when the alert's state is safe on disk; a peak is written without waiting for the disk.
        """
        alert = event.alert
        seq = alert.seq
        self.next_seq = max(self.next_seq, seq + 1)
        if alert.state is AlertState.FIRING:
            self._open_alerts[seq] = alert
        else:
            self._open_alerts.pop(seq, None)
            self._peaked.pop(seq, None)
        self._late_peaks.pop(seq, None)
        if event.kind is AlertKind.PEAK and seq in self._peaked and event.at_ns - self._peaked[seq] < PEAK_EVERY_NS:
            self._late_peaks[seq] = event
        else:
            self._keep(event)
        self.retry(event.at_ns)
        return self.durable(seq)

    def retry(self, now: Ns = 0) -> bool:
        """Try to write what is held, and the peaks whose second is over by `now`: for a timer, once a second.

        Returns:
            True when nothing is held any more.
        """
        for seq, event in list(self._late_peaks.items()):
            if now - self._peaked[seq] >= PEAK_EVERY_NS:
                del self._late_peaks[seq]
                self._keep(event, max(now, event.at_ns))
        self._drain()
        return not self._held

    def close(self) -> None:
        """Write what waits, sync, and let the directory go. What the disk still refuses is lost, counted and said."""
        if self._directory_fd < 0:
            return
        for event in self._late_peaks.values():
            self._keep(event)
        self._late_peaks.clear()
        self._drain()
        try:
            sync_file(self._fd)
        except OSError as error:
            self._trouble = error
        if self._held:
            self.lost += len(self._held)
            self._held.clear()
            self.messages.append(f"{self.file}: closed while refusing records: {self.lost} lost")
        self._release()

    def _keep(self, event: AlertEvent, written_ns: Ns = 0) -> None:
        """Queue a record; past the limit the oldest goes."""
        seq = event.alert.seq
        peak = event.kind is AlertKind.PEAK
        if peak:
            self._peaked[seq] = written_ns or event.at_ns
        self._serial += 1
        self._held.append(_Held(encode_record(event), seq, self._serial, not peak))
        self._unsaved.pop(seq, None)
        self._unsaved[seq] = self._serial
        if len(self._held) > self._hold:
            self._held.popleft()
            self.lost += 1
        if len(self._unsaved) > 2 * self._hold:  # lost ones nobody looks at any more
            del self._unsaved[next(iter(self._unsaved))]

    def _drain(self) -> None:
        before, waiting = self._trouble, len(self._held)
        try:
            while self._held:
                self._prepare(len(self._held[0].line))
                self._commit()
        except OSError as error:
            self._trouble = error
            if before is None:
                self.messages.append(f"{self.file}: {error.strerror}; alerts are kept in memory until it can be written again")
        else:
            self._trouble = None
            if before is not None:
                self.messages.append(f"{self.file}: writable again, {waiting} held records written, {self.lost} lost")

    def _prepare(self, size: int) -> None:
        """A file that ends in a whole line, bears our name, and has room for `size` bytes."""
        if not self._named():
            if not self._aside:
                self.messages.append(f"{self.file}: moved away or replaced by another program; a new one was begun")
            self._attach()
        if self._cut_to is not None:
            if os.fstat(self._fd).st_size > self._cut_to:
                os.ftruncate(self._fd, self._cut_to)
            self._cut_to = None
        end = os.fstat(self._fd).st_size
        if end and end + size > self._rotate_bytes:
            sync_file(self._fd)
            self._put_aside()
            self._attach()

    def _commit(self) -> None:
        """Write held records, as many as the file has room for, then sync once. What is not safe is cut off and stays held."""
        start = end = os.fstat(self._fd).st_size
        count = 0
        sync = False
        failure: OSError | None = None
        for held in self._held:
            if count and end + len(held.line) > self._rotate_bytes:
                break
            try:
                write_whole(self._fd, held.line)
            except OSError as error:
                failure = error
                self._cut(end)
                break
            end += len(held.line)
            count += 1
            sync |= held.sync
        if sync:
            try:
                sync_file(self._fd)
            except OSError:
                self._cut(start)
                raise
        for _ in range(count):
            held = self._held.popleft()
            if self._unsaved.get(held.seq) == held.serial:
                del self._unsaved[held.seq]
        if failure is not None:
            raise failure

    def _cut(self, size: int) -> None:
        self._cut_to = size
        try:
            os.ftruncate(self._fd, size)
        except OSError:
            return  # `_prepare` tries again before anything else is written; after a crash the next open seals the tail
        self._cut_to = None

    @property
    def _stem(self) -> str:
        return "alerts" if self.instance == 1 else f"alerts-{self.instance}"

    def _lock(self) -> None:
        """Take the first family that no running instance has."""
        for instance in range(1, INSTANCES + 1):
            self.instance = instance
            self._lock_fd = _open(f"{self._stem}.lock", os.O_RDWR | os.O_CREAT, self._directory_fd)
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock_fd)
                self._lock_fd = -1
                continue
            if instance > 1:
                self.messages.append(f"{self.directory}: in use by another arbtop; this one writes {self.file.name}")
            return
        raise ArbtopError(f"{self.directory}: {INSTANCES} instances write alerts here; name another directory under [paths]")

    def _attach(self) -> None:
        """Open the file by its name, in place of the one that may be open, with its tail sealed."""
        while True:
            descriptor = _open(f"{self._stem}.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, self._directory_fd)
            try:
                self._seal(descriptor)
                break
            except OSError:
                os.close(descriptor)
                self._put_aside()  # the torn bytes cannot be copied: keep the whole file
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = descriptor
        status = os.fstat(descriptor)
        self._identity = (status.st_dev, status.st_ino)
        self._aside = False
        self._cut_to = None
        sync_directory(self._directory_fd)

    def _seal(self, descriptor: int) -> None:
        """Truncate to the last newline; the bytes after it are kept in `alerts.torn`, each piece on a line of its own."""
        size = os.fstat(descriptor).st_size
        if not size or os.pread(descriptor, 1, size - 1) == b"\n":
            return
        content = os.pread(descriptor, size, 0)
        tail = content[content.rfind(b"\n") + 1 :]
        torn = _open(f"{self._stem}.torn", os.O_WRONLY | os.O_APPEND | os.O_CREAT, self._directory_fd)
        try:
            before = os.fstat(torn).st_size
            try:
                write_whole(torn, tail + b"\n")
                sync_file(torn)
            except OSError:
                os.ftruncate(torn, before)
                raise
        finally:
            os.close(torn)
        os.ftruncate(descriptor, size - len(tail))
        sync_file(descriptor)
        self.messages.append(f"{self.file}: ended in {len(tail)} bytes of an unfinished record, moved to {self._stem}.torn")

    def _put_aside(self) -> None:
        numbers = [number for family, number, _ in _files(self.directory) if family == self.instance and number < _ACTIVE]
        name = f"{self._stem}.{max(numbers, default=0) + 1:04d}.jsonl"
        os.rename(f"{self._stem}.jsonl", name, src_dir_fd=self._directory_fd, dst_dir_fd=self._directory_fd)
        self._aside = True
        sync_directory(self._directory_fd)

    def _named(self) -> bool:
        try:
            status = os.stat(f"{self._stem}.jsonl", dir_fd=self._directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def _release(self) -> None:
        for descriptor in (self._fd, self._lock_fd, self._directory_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._fd = self._lock_fd = self._directory_fd = -1
