"""Alerts as files that a spreadsheet, pandas or another program reads: CSV and JSON lines, one row an episode.

Whole files only: the bytes are made first, written beside the target, and take its name when they are on the disk, so a full disk
or a crash leaves the old file as it was. The bytes depend on the alerts alone, not on time zone, locale or run. Text in CSV can
not start a formula, and no control byte passes in either format. This module reads no journal and draws nothing. Source: the
columns of DESIGN.md 3, safety of cells and names of reliability.md 5.3 and 5.4.
"""

import csv
import errno
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import astuple

from analytics.alert import Alert
from feeds.errors import ArbtopError, InputError
from feeds.model import MS, SECOND, Ns
from feeds.text import clean_text
from tui.journal import sync_directory, sync_file, write_whole

TEXT_LIMIT: Final = 256
"""Characters of a text cell; a leg may have as many."""

FIGURES: Final = 12
"""Of a price or size; what is behind them is noise. No tick is rounded to: averages at size and mids lie between ticks."""
_EPOCH: Final = datetime(1970, 1, 1)
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}", re.ASCII)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MEND: Final = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EFBIG: "raise the file size limit or choose another place",
    errno.EACCES: "choose a directory you may write to",
    errno.EPERM: "choose a directory you may write to",
    errno.EROFS: "choose a directory you may write to",
    errno.ENAMETOOLONG: "choose a shorter name",
}

Cell: TypeAlias = int | float | str | None


class Row(Struct, frozen=True):
    """An episode as exported; the field names are the columns, in this order. `None` stands for "no value".

    Times are ISO 8601 UTC to the ns; `value`, `enter`, `exit`, `peak` in `unit`; `prices` in quote per base, `sizes` in base
    units, `ages_ms` in ms, each in the order of `legs`, whose text is `role instrument`.
    """

    seq: int
    opened_utc: str | None
    closed_utc: str | None
    duration_ms: float | None
    rule: str
    severity: str
    scope: str
    state: str
    value: float | None
    unit: str
    enter: float | None
    exit: float | None
    peak: float | None
    peak_utc: str | None
    legs: tuple[str, ...]
    prices: tuple[float | None, ...]
    sizes: tuple[float | None, ...]
    ages_ms: tuple[float | None, ...]
    fees_bps: float | None
    quality: str
    repeats: int
    acked_utc: str | None
    recording_pos: int


COLUMNS: Final[tuple[str, ...]] = Row.__struct_fields__


def row_of(alert: Alert) -> Row:
    """The episode as a row: times as text, text cleaned, what is no finite number as `None`."""
    return Row(
        seq=alert.seq,
        opened_utc=utc_text(alert.opened_ns),
        closed_utc=utc_text(alert.closed_ns),
        duration_ms=(alert.closed_ns - alert.opened_ns) / MS if alert.closed_ns else None,
        rule=clean_text(alert.rule, TEXT_LIMIT),
        severity=alert.severity.value,
        scope=clean_text(alert.scope, TEXT_LIMIT),
        state=alert.state.value,
        value=_finite(alert.value),
        unit=clean_text(alert.unit, TEXT_LIMIT),
        enter=_finite(alert.enter),
        exit=_finite(alert.exit),
        peak=_finite(alert.peak),
        peak_utc=utc_text(alert.peak_ns),
        legs=tuple(clean_text(f"{leg.role} {leg.instrument}", TEXT_LIMIT) for leg in alert.legs),
        prices=tuple(_figure(leg.price) for leg in alert.legs),
        sizes=tuple(_figure(leg.size_base) for leg in alert.legs),
        ages_ms=tuple(_finite(leg.age_ms) for leg in alert.legs),
        fees_bps=_finite(alert.fees_bps),
        quality=clean_text(alert.quality, TEXT_LIMIT),
        repeats=alert.repeats,
        acked_utc=utc_text(alert.acked_ns),
        recording_pos=alert.recording_pos,
    )


def utc_text(at: Ns) -> str | None:
    """`2026-10-04T12:00:00.000000001Z` for UTC ns; `None` for 0, which stands for "not yet"."""
    if not at:
        return None
    seconds, rest = divmod(at, SECOND)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}.{rest:09d}Z"


def local_text(at: Ns, zone: tzinfo | None = None) -> str | None:
    """`2026-10-04T14:00:00.000000001+02:00`: the same in `zone`, by default the machine's."""
    if not at:
        return None
    seconds, rest = divmod(at, SECOND)
    there = datetime.fromtimestamp(seconds, UTC).astimezone(zone).isoformat()
    return f"{there[:19]}.{rest:09d}{there[19:]}"


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def _figure(number: float | None) -> float | None:
    """A price or size without the noise of arithmetic: 61675.99, not 61675.98999999999."""
    return None if number is None or not math.isfinite(number) else float(f"{number:.{FIGURES}g}")


def formula_safe(text: str) -> str:
    """`text` so that no spreadsheet takes it for a formula: one that starts like one gets a `'` in front."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _cell(value: Cell | Sequence[Cell]) -> Cell:
    """One CSV cell. Numbers stay numbers, also the only one of a list; lists become text joined with ` | `."""
    if isinstance(value, str):
        return formula_safe(value)
    if value is None or isinstance(value, int | float):
        return value
    if len(value) == 1:
        return _cell(value[0])
    return formula_safe(" | ".join("" if part is None else str(part) for part in value))


Values: TypeAlias = Sequence[Cell | Sequence[Cell]]
"""A row's values in the order of `COLUMNS`."""


def _csv(rows: Iterable[Values]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow([formula_safe(column) for column in COLUMNS])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _jsonl(rows: Iterable[Values]) -> bytes:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
    return "".join(f"{encode(dict(zip(COLUMNS, row, strict=True)))}\n" for row in rows).encode()


FORMATS: Final[Mapping[str, Callable[[Iterable[Values]], bytes]]] = MappingProxyType({"csv": _csv, "jsonl": _jsonl})
"""Format name, which is also the suffix → its bytes."""


TIMES: Final[Mapping[str, str]] = MappingProxyType(
    {"opened_utc": "opened_ns", "closed_utc": "closed_ns", "peak_utc": "peak_ns", "acked_utc": "acked_ns"}
)
"""The columns that hold a time → the episode's field."""


def export_bytes(alerts: Iterable[Alert], fmt: str, time: Callable[[Ns], Cell] = utc_text) -> bytes:
    """The whole file of these episodes in the format `fmt`. `time` writes the times; nothing else depends on it."""
    places = [(COLUMNS.index(column), field) for column, field in TIMES.items()]

    def values(alert: Alert) -> Values:
        cells: list[Cell | Sequence[Cell]] = list(astuple(row_of(alert)))
        for place, field in places:
            cells[place] = time(getattr(alert, field))
        return cells

    return FORMATS[fmt](map(values, alerts))


def format_of(path: str | Path) -> str:
    """The format that the suffix of `path` names. Raises InputError for any other suffix, with the list."""
    name = Path(path).suffix.removeprefix(".").lower()
    if name not in FORMATS:
        known = ", ".join(f".{known}" for known in FORMATS)
        raise InputError(f"{_shown(path)}: no export format has this suffix; end the name in one of {known}")
    return name


def export_path(directory: str | Path, name: str) -> Path:
    """Where an export named in a dialog goes: always a plain name directly under `directory`.

    Raises:
        InputError: the name has other characters than letters, digits, `.`, `_`, `-`, or more than 80 of them, starts with a dot,
            has an unknown suffix, or is a link that leads out of the directory.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{_shown(name)}: not a name for an export; use 1 to 80 of A-Z a-z 0-9 . _ - and no leading dot")
    format_of(name)
    base = Path(directory).resolve()
    path = base / name
    if not path.resolve().is_relative_to(base):
        raise InputError(f"{_shown(path)}: leads out of {_shown(base)}; use another name")
    return path


def export(alerts: Iterable[Alert], path: str | Path, fmt: str | None = None) -> int:
    """Write the episodes, in the order given, as one whole file with mode 0600 in place of whatever file has that name.

    Args:
        fmt: `csv` or `jsonl`; by default what the suffix of `path` says.

    Returns:
        The number of episodes.

    Raises:
        InputError: the path cannot be an export: unknown format, no such directory, a directory, a device.
        ArbtopError: the disk refused it (full, not writable); the old file stands, nothing else is left behind.
    """
    target = Path(path)
    chosen = format_of(target) if fmt is None else fmt
    if chosen not in FORMATS:
        raise InputError(f"{clean_text(chosen)}: no such export format; choose one of {', '.join(FORMATS)}")
    episodes = list(alerts)
    replace_file(target, export_bytes(episodes, chosen))
    return len(episodes)


def replace_file(target: Path, data: bytes) -> None:
    """Put `data` under the name `target`, durably and in one step. Raises as `export` does."""
    try:
        _check(target)
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _replace(directory, target.name, data)
        finally:
            os.close(directory)
    except OSError as error:
        mend = _MEND.get(error.errno or 0, "choose another place")
        raise ArbtopError(f"{_shown(target)}: cannot write the export: {error.strerror}; {mend}") from error


def _check(target: Path) -> None:
    if "\0" in str(target):
        raise InputError(f"{_shown(target)}: is no file name; choose another")
    if target.is_dir():
        raise InputError(f"{_shown(target)}: is a directory; add a file name")
    if not target.parent.is_dir():
        raise InputError(f"{_shown(target)}: there is no directory {_shown(target.parent)}; make it first")
    if target.exists() and not target.is_file():
        raise InputError(f"{_shown(target)}: is not a regular file; choose another name")


def _replace(directory: int, name: str, data: bytes) -> None:
    temporary, descriptor = _temporary(directory)
    replaced = False
    try:
        try:
            write_whole(descriptor, data)
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        replaced = True
    finally:
        if not replaced:
            os.unlink(temporary, dir_fd=directory)
    sync_directory(directory)


def _temporary(directory: int) -> tuple[str, int]:
    """A new file of our own in the directory; one that a crash left there is stepped over."""
    count = 0
    while True:
        name = f".arbtop-{os.getpid()}-{count}.tmp"
        try:
            return name, os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
        except FileExistsError:
            count += 1


def _shown(path: str | Path) -> str:
    return clean_text(str(path), TEXT_LIMIT)
