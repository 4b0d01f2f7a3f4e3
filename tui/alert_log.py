"""What a directory of alert logs holds, and how it is read back into episodes.

A record is one line of JSON, `{seq, utc_ns, kind, payload, crc32}`; `payload` is the whole episode as it stands afterwards, so
the last record of a `seq` is the episode, and a record that stands there twice changes nothing. `crc32` is zlib's over the line
as it reads without `,"crc32":N`. Each running instance has a family of files of its own (`alerts.jsonl`, `alerts-2.jsonl`, ...)
and numbers its alerts itself; full files are put aside as `alerts.0001.jsonl`, ...; reading spans and merges them all, takes no
lock and changes nothing. Not here: writing, locks and repair (`tui/journal.py`), rules, drawing. Source: reliability.md 5 and 6.
"""

import errno
import os
import re
import stat
import sys
import zlib
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from analytics.alert import Alert, AlertEvent, AlertKind
from feeds.errors import DECODE_ERRORS, ArbtopError
from feeds.model import Ns

BAD_NAMED: Final = 20
"""How many bad lines a report names; all are counted."""
ACTIVE: Final = sys.maxsize
"""The number of the file that is being written: it sorts behind those put aside."""

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


class Family:
    """The fold of one instance's files, in the order they were written."""

    def __init__(self) -> None:
        self.episodes: dict[int, tuple[Ns, Alert]] = {}
        """seq → (time of its first record, never less than that of a record before it; last state)."""
        self.highest = 0
        """The highest `seq` known to be used; 0 for none."""
        self.records = 0
        self.bad: list[BadLine] = []
        self.duplicates = 0
        self.torn_bytes = 0
        self._latest_ns: Ns = 0
        self._seen: set[tuple[int, int]] = set()

    def take(self, name: str, data: bytes, active: bool) -> None:
        """Fold a file's bytes, `name` naming its bad lines. An unfinished last line is none of them in the `active` file."""
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
        """Numbers from the first `seq` to the highest that no record has."""
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
        families = load(path)
    except FileNotFoundError:
        return [], Report()
    except OSError as error:
        raise refusal(path, "read", error) from error
    merged = [
        (first, family, position, alert)
        for family, folded in families.items()
        for position, (first, alert) in enumerate(folded.episodes.values())
    ]
    merged.sort(key=lambda entry: entry[:3])
    return [entry[3] for entry in merged], summary(families)


def summary(families: dict[int, Family]) -> Report:
    """What reading these families (instance → fold) met, as one report."""
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


def log_files(directory: Path) -> list[tuple[int, int, str]]:
    """(instance, number, name) of each log file, in the order to read them. Raises OSError."""
    found = []
    for name in os.listdir(directory):
        match = _FILE_NAME.fullmatch(name)
        if match:
            found.append((int(match[1] or 1), int(match[2] or ACTIVE), name))
    return sorted(found)


def load(directory: Path, only: int = 0) -> dict[int, Family]:
    """Fold the files of all instances, or of `only` that one: instance → fold, in the order of instances.

    Begun anew when another process puts a file aside meanwhile.

    Raises:
        OSError: the directory or a file in it cannot be read.
    """
    while True:
        files = [entry for entry in log_files(directory) if only in (0, entry[0])]
        families: dict[int, Family] = {}
        try:
            for family, number, name in files:
                families.setdefault(family, Family()).take(name, _bytes_of(directory / name), number == ACTIVE)
        except FileNotFoundError:
            continue
        if files == [entry for entry in log_files(directory) if only in (0, entry[0])]:
            return families


def _bytes_of(path: Path) -> bytes:
    descriptor = open_regular(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def open_regular(path: str | Path, flags: int, directory: int | None = None) -> int:
    """A descriptor of a regular file: no link is followed, and a pipe of that name does not hang the program.

    Args:
        flags: of `os.open`; a file that they create is its owner's alone.
        directory: descriptor of the directory that a relative `path` starts from.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def refusal(path: Path, verb: str, error: OSError) -> ArbtopError:
    """The user's line when the log in the directory `path` cannot be opened or read (`verb`): where, why, and how to mend it."""
    where = error.filename if isinstance(error.filename, str) else path
    mend = _MEND.get(error.errno or 0, "name another directory under [paths]")
    return ArbtopError(f"{path / where}: cannot {verb} the alert log: {error.strerror}; {mend}")
