"""Exports against spreadsheets, hostile names and full disks, and the promise that the bytes depend on the alerts alone."""

import csv
import io
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from analytics.alert import Alert, AlertState, Leg, Severity
from feeds.errors import ArbtopError, InputError
from tests.full_disk import disk_full_at
from tui.export import COLUMNS, export, export_path, format_of, formula_safe, row_of, utc_text

REPOSITORY = Path(__file__).parents[2]
DESIGN_COLUMNS = re.split(
    ", ",
    "seq, opened_utc, closed_utc, duration_ms, rule, severity, scope, state, value, unit, enter, exit, peak, peak_utc, legs, "
    "prices, sizes, ages_ms, fees_bps, quality, repeats, acked_utc, recording_pos",
)
T0 = 1_790_000_000_123_456_789

CLOSED = Alert(
    seq=1,
    opened_ns=T0,
    closed_ns=T0 + 1_500_000_250,
    rule="basis.entry",
    severity=Severity.CRIT,
    scope="BINANCE:BTC/USDT > OKX:BTC/USDT:USDT",
    state=AlertState.RESOLVED,
    value=-12.3456789012345,
    unit="bps",
    enter=-10.0,
    exit=1e-07,
    peak=-14.1,
    peak_ns=T0 + 1,
    legs=(Leg("BINANCE:BTC/USDT", "buy", 60000.1, 0.1 + 0.2, 12.5), Leg("OKX:BTC/USDT:USDT", "sell", 60010.0)),
    fees_bps=20.0,
    quality="edge",
    repeats=3,
    acked_ns=T0 + 2,
    recording_pos=123456,
)
OPEN = Alert(
    seq=2,
    opened_ns=T0,
    rule="nodata",
    severity=Severity.INFO,
    scope="DERIBIT:BTC/USD:BTC",
    value=None,
    unit="",
    enter=1.0,
    exit=0.5,
    legs=(Leg("DERIBIT:BTC/USD:BTC", "watch", 60000.5, 10.0, 3.0),),
)


def changed(**changes: object) -> Alert:
    return msgspec.structs.replace(OPEN, **changes)


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_the_columns_are_the_documented_ones_in_both_formats(tmp_path: Path) -> None:
    assert list(COLUMNS) == DESIGN_COLUMNS
    assert export([CLOSED, OPEN], tmp_path / "a.csv") == 2
    assert export([CLOSED, OPEN], tmp_path / "a.jsonl") == 2
    assert list(cells(tmp_path / "a.csv")[0]) == DESIGN_COLUMNS
    for line in (tmp_path / "a.jsonl").read_text().splitlines():
        assert list(json.loads(line)) == DESIGN_COLUMNS


def test_csv_gives_every_number_back_and_an_empty_cell_for_no_value(tmp_path: Path) -> None:
    export([CLOSED, OPEN], tmp_path / "a.csv")
    closed, still_open = cells(tmp_path / "a.csv")
    assert closed == {
        "seq": "1",
        "opened_utc": "2026-09-21T14:13:20.123456789Z",
        "closed_utc": "2026-09-21T14:13:21.623457039Z",
        "duration_ms": "1500.00025",
        "rule": "basis.entry",
        "severity": "crit",
        "scope": "BINANCE:BTC/USDT > OKX:BTC/USDT:USDT",
        "state": "resolved",
        "value": "-12.3456789012345",
        "unit": "bps",
        "enter": "-10.0",
        "exit": "1e-07",
        "peak": "-14.1",
        "peak_utc": "2026-09-21T14:13:20.123456790Z",
        "legs": "buy BINANCE:BTC/USDT | sell OKX:BTC/USDT:USDT",
        "prices": "60000.1 | 60010.0",
        "sizes": "0.3 | ",
        "ages_ms": "12.5 | ",
        "fees_bps": "20.0",
        "quality": "edge",
        "repeats": "3",
        "acked_utc": "2026-09-21T14:13:20.123456791Z",
        "recording_pos": "123456",
    }
    empty = [column for column, cell in still_open.items() if not cell]
    assert empty == ["closed_utc", "duration_ms", "value", "unit", "peak", "peak_utc", "fees_bps", "quality", "acked_utc"]
    assert (still_open["legs"], still_open["prices"], still_open["sizes"]) == ("watch DERIBIT:BTC/USD:BTC", "60000.5", "10.0")


def test_jsonl_keeps_lists_numbers_and_null(tmp_path: Path) -> None:
    export([CLOSED, OPEN], tmp_path / "a.jsonl")
    closed, still_open = (json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines())
    assert closed["legs"] == ["buy BINANCE:BTC/USDT", "sell OKX:BTC/USDT:USDT"]
    assert (closed["prices"], closed["sizes"], closed["ages_ms"]) == ([60000.1, 60010.0], [0.3, None], [12.5, None])
    assert (closed["value"], closed["exit"], closed["duration_ms"]) == (-12.3456789012345, 1e-07, 1500.00025)
    assert (still_open["value"], still_open["closed_utc"], still_open["duration_ms"]) == (None, None, None)
    assert (still_open["unit"], still_open["repeats"]) == ("", 0)


def test_prices_and_sizes_carry_no_noise_of_arithmetic_and_lose_nothing_else() -> None:
    legs = tuple(Leg("BINANCE:BTC/USDT", "buy", price, price / 1e6) for price in (61675.98999999999, 61675.9873012, 1e-9))
    row = row_of(changed(legs=legs))
    assert row.prices == (61675.99, 61675.9873012, 1e-9)
    assert row.sizes == (0.06167599, 0.0616759873012, 1e-15)


def test_the_bytes_have_no_mark_no_carriage_return_and_end_in_a_newline(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl"):
        export([CLOSED, changed(unit="σ")], tmp_path / name)
        data = (tmp_path / name).read_bytes()
        assert not data.startswith(b"\xef\xbb\xbf")
        assert b"\r" not in data
        assert data.endswith(b"\n")
        assert "σ".encode() in data
        export([], tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (",".join(f'"{column}"' for column in DESIGN_COLUMNS) + "\n").encode()
    assert (tmp_path / "a.jsonl").read_bytes() == b""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "＋", "－", "＠"])
def test_no_text_starts_a_formula_in_a_spreadsheet(tmp_path: Path, start: str) -> None:
    text = f"""{start}HYPERLINK("http://x","y"),z"""
    hostile = changed(rule=text, scope=text, unit=text, quality=text, legs=(Leg("X", text, -5.0), Leg("Y", "sell", 1.0)))
    export([hostile], tmp_path / "a.csv")
    (row,) = cells(tmp_path / "a.csv")
    assert [row[column] for column in ("rule", "scope", "unit", "quality")] == [f"'{text}"] * 4
    assert row["legs"] == f"'{text} X | sell Y"
    assert row["prices"] == "'-5.0 | 1.0", "several numbers in a cell are text"
    export([hostile], tmp_path / "a.jsonl")
    assert json.loads((tmp_path / "a.jsonl").read_text())["rule"] == text, "JSON needs no quote"


@pytest.mark.parametrize("text", ["\tcmd", "\rcmd", "\ncmd"])
def test_a_tab_or_line_break_in_front_is_safe_as_well(text: str) -> None:
    assert formula_safe(text) == f"'{text}"
    assert row_of(changed(rule=text)).rule == "\ufffdcmd"


def test_negative_numbers_stay_numbers(tmp_path: Path) -> None:
    legs = (Leg("X", "watch", None, None, -1.5),)
    export([changed(value=-3.25, peak=-4.0, enter=-1.0, exit=-0.5, fees_bps=-0.1, legs=legs)], tmp_path / "a.csv")
    line = (tmp_path / "a.csv").read_text().splitlines()[1]
    for number in (",-3.25,", ",-4.0,", ",-1.0,", ",-0.5,", ",-0.1,", ",-1.5,"):
        assert number in line


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_no_value(tmp_path: Path, number: float) -> None:
    hostile = changed(value=number, enter=number, exit=number, peak=number, fees_bps=number, legs=(Leg("X", "buy", number),))
    for name in ("a.csv", "a.jsonl"):
        export([hostile], tmp_path / name)
        text = (tmp_path / name).read_text().lower()
        assert "nan" not in text
        assert 'inf"' not in text.replace('"info"', "")
    row = json.loads((tmp_path / "a.jsonl").read_text())
    assert [row[column] for column in ("value", "enter", "exit", "peak", "fees_bps", "prices")] == [None] * 5 + [[None]]


def test_no_control_byte_reaches_a_file(tmp_path: Path) -> None:
    text = "a\x1b]52;c;eA==\x07\x9b2J\u202e\ud800\r\n" + "x" * 500
    hostile = changed(rule=text, scope=text, unit=text, quality=text, legs=(Leg(text, text),) * 2)
    for name in ("a.csv", "a.jsonl"):
        export([hostile], tmp_path / name)
        data = (tmp_path / name).read_text(encoding="utf-8")
        assert not [character for character in data if character in "\x1b\x07\x9b\u202e\r" or "\ud800" <= character <= "\udfff"]
        assert "\\u" not in data
        assert data.count("\n") == (2 if name == "a.csv" else 1)
        assert "x" * 257 not in data


def test_the_old_export_survives_a_full_disk_and_no_temporary_file_is_left(tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl"):
        export([OPEN], tmp_path / name)
        before = (tmp_path / name).read_bytes()
        for size in (0, 100):
            with (
                disk_full_at(size),
                pytest.raises(ArbtopError, match=f"{name}: cannot write the export: File too large; ") as caught,
            ):
                export([CLOSED, OPEN] * 50, tmp_path / name)
            assert "\n" not in str(caught.value)
            assert (tmp_path / name).read_bytes() == before
        with disk_full_at(0), pytest.raises(ArbtopError):
            export([CLOSED], tmp_path / f"new-{name}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.jsonl"]


def test_an_export_is_private_and_steps_over_what_a_crash_left(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".arbtop-{os.getpid()}-0.tmp").symlink_to(victim)
    before = os.umask(0)
    try:
        export([OPEN], tmp_path / "a.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o600
    assert victim.read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_link_of_the_targets_name_is_replaced_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim.csv"
    victim.write_text("precious")
    (tmp_path / "a.csv").symlink_to(victim)
    export([OPEN], tmp_path / "a.csv")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "a.csv").is_symlink()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden.csv",
        "../a.csv",
        "/etc/a.csv",
        "sub/a.csv",
        "a\\b.csv",
        "a b.csv",
        "a.csv\n",
        "a\x00.csv",
        "ä.csv",
        "١.csv",
        "~a.csv",
        "$HOME.csv",
        "x" * 77 + ".csv",
    ],
)
def test_a_name_from_a_dialog_cannot_leave_its_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="not a name for an export") as caught:
        export_path(tmp_path, name)
    assert str(caught.value).isprintable()


def test_a_plain_name_is_taken_and_a_link_that_leads_out_is_not(tmp_path: Path) -> None:
    directory = tmp_path / "exports"
    directory.mkdir()
    assert export_path(directory, "Alerts_2026-10.v1.csv") == directory.resolve() / "Alerts_2026-10.v1.csv"
    assert export_path(directory, "x" * 76 + ".csv").parent == directory.resolve()
    (directory / "link.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(InputError, match="leads out of"):
        export_path(directory, "link.csv")


@pytest.mark.parametrize("name", ["alerts", "alerts.xls", "alerts.csv.gz", "csv"])
def test_an_unknown_format_is_refused_with_the_list(tmp_path: Path, name: str) -> None:
    for refused in (lambda: export([OPEN], tmp_path / name), lambda: export_path(tmp_path, name), lambda: format_of(name)):
        with pytest.raises(InputError, match=r"end the name in one of \.csv, \.jsonl"):
            refused()
    assert not list(tmp_path.iterdir())


def test_a_format_given_by_name_wins_over_the_suffix(tmp_path: Path) -> None:
    export([OPEN], tmp_path / "out.txt", "jsonl")
    assert json.loads((tmp_path / "out.txt").read_text())["seq"] == 2
    assert format_of("A.CSV") == "csv"
    with pytest.raises(InputError, match="xls: no such export format; choose one of csv, jsonl"):
        export([OPEN], tmp_path / "out.csv", "xls")


def test_a_path_that_cannot_be_an_export_is_one_line_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "dir.csv").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe.csv")
    cases = {
        "dir.csv": "is a directory; add a file name",
        "absent/a.csv": "there is no directory .*absent; make it first",
        "file/a.csv": "there is no directory .*file; make it first",
        "pipe.csv": "is not a regular file; choose another name",
        "a\0b.csv": "is no file name",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            export([OPEN], tmp_path / name)
        assert str(caught.value).isprintable()
    with pytest.raises(ArbtopError, match="File name too long; choose a shorter name"):
        export([OPEN], tmp_path / ("x" * 300 + ".csv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dir.csv", "file", "pipe.csv"]


def test_a_time_is_exact_to_the_nanosecond_and_zero_is_none() -> None:
    assert utc_text(0) is None
    assert utc_text(1) == "1970-01-01T00:00:00.000000001Z"
    assert utc_text(1_709_164_800_000_000_000) == "2024-02-29T00:00:00.000000000Z"
    assert utc_text(1_790_000_000_999_999_999) == "2026-09-21T14:13:20.999999999Z"


def test_the_bytes_are_the_same_in_tokyo_under_any_hash_seed_and_locale(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from tests.unit.test_export import CLOSED, OPEN, changed\n"
        "from tui.export import export\n"
        "for name in ('a.csv', 'a.jsonl'):\n"
        "    export([CLOSED, OPEN, changed(unit=chr(963))], sys.argv[1] + '/' + name)\n"
    )
    written = []
    for place, environment in {
        "here": {"TZ": "UTC", "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        "tokyo": {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "4711", "LC_ALL": "C", "PYTHONUTF8": "0"},
    }.items():
        (tmp_path / place).mkdir()
        command = [sys.executable, "-c", script, str(tmp_path / place)]
        subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **environment}, check=True)
        written.append([(tmp_path / place / name).read_bytes() for name in ("a.csv", "a.jsonl")])
    assert written[0] == written[1]


def test_a_csv_field_with_quotes_commas_and_bars_comes_back_whole(tmp_path: Path) -> None:
    text = "he said \"x\", y | z; 'q'"
    export([changed(rule=text)], tmp_path / "a.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_text()), strict=True))
    assert [len(row) for row in rows] == [len(COLUMNS)] * 2
    assert rows[1][COLUMNS.index("rule")] == text


def test_an_export_does_not_tell_what_is_muted(tmp_path: Path) -> None:
    """Muting is the user's; the file is of the market."""
    export([CLOSED], tmp_path / "plain.csv")
    export([msgspec.structs.replace(CLOSED, muted_until_ns=T0 * 2)], tmp_path / "muted.csv")
    assert (tmp_path / "plain.csv").read_bytes() == (tmp_path / "muted.csv").read_bytes()
