"""The durable alert log: each thing that happens to an alert is one line of JSON on disk, written before it counts as known.

A writer locks the first family of files that no running instance has, moves the bytes that a crash has torn out of the way, puts
full files aside, and keeps records in memory while the disk refuses them. What a line is, how files are named and how they are
read back is `tui/alert_log.py`. This module evaluates no rule, reads no clock (times come with the events) and draws nothing.
Source: reliability.md 5 and 6 (measured there: `os.write` of a whole line is not torn by SIGKILL, buffered writing is; a full
disk first shows as a short write).
"""

import errno
import fcntl
import os
import sys
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState
from feeds.errors import ArbtopError
from feeds.model import SECOND, Ns
from tui.alert_log import ACTIVE, Family, encode_record, load, log_files, open_regular, refusal, summary

ROTATE_BYTES: Final = 8 << 20
HOLD: Final = 10_000
"""Records kept in memory while the disk refuses them."""
PEAK_EVERY_NS: Final = SECOND
INSTANCES: Final = 99

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_DIRECTORY_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP})


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
            families = load(self.directory, self.instance)
        except OSError as error:
            self._release()
            raise refusal(self.directory, "open", error) from error
        except ArbtopError:
            self._release()
            raise
        self.found = summary(families)
        """What reading this instance's files met."""
        if self.found.text():
            self.messages.append(f"{self.directory}: {self.found.text()}")
        folded = families.get(self.instance, Family())
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
            self._lock_fd = open_regular(f"{self._stem}.lock", os.O_RDWR | os.O_CREAT, self._directory_fd)
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
            descriptor = open_regular(f"{self._stem}.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, self._directory_fd)
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
        torn = open_regular(f"{self._stem}.torn", os.O_WRONLY | os.O_APPEND | os.O_CREAT, self._directory_fd)
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
        numbers = [number for family, number, _ in log_files(self.directory) if family == self.instance and number < ACTIVE]
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
