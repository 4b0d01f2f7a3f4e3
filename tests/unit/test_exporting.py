"""The export dialog's choices: the preview is the file, the default is the headless export, and no file is lost unasked."""

import csv
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from analytics.alert import Alert
from feeds.errors import ArbtopError, InputError
from tests.unit.test_export import CLOSED, OPEN, T0
from tui.export import TIMES as TIME_COLUMNS
from tui.export import export, local_text, utc_text
from tui.exporting import Exporting, Format, Times, default_name

ALERTS = [CLOSED, OPEN, msgspec.structs.replace(OPEN, seq=3), msgspec.structs.replace(CLOSED, seq=4, acked_ns=0)]


def exporting(directory: Path, fmt: Format = "csv", times: Times = "utc", name: str = "") -> Exporting:
    return Exporting(directory=directory, name=name or f"alerts.{fmt}", fmt=fmt, times=times, zone=timezone(timedelta(hours=9)))


@pytest.mark.parametrize("fmt", ["csv", "jsonl"])
def test_with_the_default_times_the_file_is_the_headless_export(tmp_path: Path, fmt: Format) -> None:
    export(ALERTS, tmp_path / f"headless.{fmt}")
    written = exporting(tmp_path, fmt).write(ALERTS)
    assert written == tmp_path / f"alerts.{fmt}"
    assert written.read_bytes() == (tmp_path / f"headless.{fmt}").read_bytes()


@pytest.mark.parametrize("fmt", ["csv", "jsonl"])
@pytest.mark.parametrize("times", ["utc", "epoch_ns", "local"])
def test_the_preview_is_the_beginning_of_the_file(tmp_path: Path, fmt: Format, times: Times) -> None:
    dialog = exporting(tmp_path, fmt, times)
    lines = dialog.write(ALERTS).read_text().split("\n")
    for n in (0, 1, 3, 99):
        assert dialog.preview(ALERTS, n) == lines[:-1][:n]
    assert dialog.preview([]) == (lines[:1] if fmt == "csv" else [])


def columns(path: Path, fmt: Format) -> list[dict[str, object]]:
    if fmt == "jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        return [dict(row) for row in csv.DictReader(file, strict=True)]


@pytest.mark.parametrize("fmt", ["csv", "jsonl"])
def test_another_form_of_times_changes_nothing_but_the_times(tmp_path: Path, fmt: Format) -> None:
    files = {
        times: columns(exporting(tmp_path, fmt, times, f"{times}.{fmt}").write(ALERTS), fmt)
        for times in ("utc", "epoch_ns", "local")
    }
    for utc, epoch, local in zip(*files.values(), strict=True):
        rest = [{name: value for name, value in row.items() if name not in TIME_COLUMNS} for row in (utc, epoch, local)]
        assert rest[0] == rest[1] == rest[2]
        assert epoch["opened_utc"] == (str(T0) if fmt == "csv" else T0)
        assert local["opened_utc"] == "2026-09-21T23:13:20.123456789+09:00"
        for name in TIME_COLUMNS:
            assert bool(utc[name]) == bool(epoch[name]) == bool(local[name])


def test_a_local_time_keeps_the_nanosecond_and_the_zones_own_summer() -> None:
    zone = ZoneInfo("Europe/Berlin")
    assert local_text(T0, zone) == "2026-09-21T16:13:20.123456789+02:00"
    winter = T0 + 90 * 86_400 * 1_000_000_000
    assert local_text(winter, zone) == "2026-12-20T15:13:20.123456789+01:00"
    assert local_text(0, zone) is None
    here = local_text(T0)
    assert here is not None
    assert datetime.fromisoformat(f"{here[:26]}{here[29:]}") == datetime.fromisoformat((utc_text(T0) or "")[:26]).replace(
        tzinfo=UTC
    )


@pytest.mark.parametrize(("scope", "expected"), [("shown", [2, 4]), ("all", [1, 2, 3, 4]), ("unacked", [2, 3, 4])])
def test_a_scope_chooses_and_rows_go_by_number_whatever_the_screens_order(
    tmp_path: Path, scope: str, expected: list[int]
) -> None:
    dialog = msgspec.structs.replace(exporting(tmp_path), scope=scope)
    shown: list[Alert] = [ALERTS[3], ALERTS[1]]
    assert [alert.seq for alert in dialog.chosen(shown, reversed(ALERTS))] == expected


def test_a_file_is_replaced_only_when_that_was_said(tmp_path: Path) -> None:
    dialog = exporting(tmp_path)
    assert not exporting(tmp_path).taken
    path = dialog.write(ALERTS[:1])
    before = path.read_bytes()
    assert dialog.taken
    with pytest.raises(InputError, match=r"alerts\.csv: there is a file of this name; overwrite it or choose another name"):
        dialog.write(ALERTS)
    assert path.read_bytes() == before
    dialog.write(ALERTS, overwrite=True)
    assert path.read_bytes() != before
    assert [file.name for file in tmp_path.iterdir()] == ["alerts.csv"]


@pytest.mark.parametrize(
    "name", ["", "../a.csv", "/a.csv", ".a.csv", "a b.csv", "a.xlsx", "a", "a.jsonl", "\x1b[2J.csv", "a" * 90 + ".csv"]
)
def test_a_name_that_cannot_be_is_one_line_and_writes_nothing(tmp_path: Path, name: str) -> None:
    dialog = Exporting(directory=tmp_path, name=name)
    for act in (lambda: dialog.write(ALERTS), lambda: dialog.taken, lambda: dialog.path):
        with pytest.raises(InputError) as refused:
            act()
        assert str(refused.value).isprintable()
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArbtopError, match="there is no directory"):
        exporting(tmp_path / "gone").write(ALERTS)


def test_the_suffix_follows_the_format_where_the_name_had_the_old_one(tmp_path: Path) -> None:
    dialog = exporting(tmp_path).with_format("jsonl")
    assert (dialog.name, dialog.fmt) == ("alerts.jsonl", "jsonl")
    assert dialog.with_format("csv") == exporting(tmp_path)
    assert exporting(tmp_path, name="mine").with_format("jsonl").name == "mine"


def test_the_default_name_is_of_recorded_time_and_may_be_used(tmp_path: Path) -> None:
    assert default_name(1_723_161_492_123_456_789) == "alerts-20240808T235812Z.csv"
    assert default_name(1_723_161_492_000_000_000, "jsonl") == "alerts-20240808T235812Z.jsonl"
    assert exporting(tmp_path, name=default_name(0)).path.name == "alerts-19700101T000000Z.csv"
