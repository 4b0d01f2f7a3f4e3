"""What a headless run says and does not say: its beginning, its end, what was cut off, what could not be written."""

import os
import subprocess
import sys
from math import inf
from pathlib import Path

import msgspec
import pytest

from analytics.alert import AlertState
from analytics.alerts import DEFAULT_RULES, Metric, Rule
from analytics.settings import AnalyticsSettings, Arb, Fees, ZScore
from feeds.errors import InputError
from feeds.model import MS, SECOND
from feeds.recording import Header, Opened, Recording, RecordingWriter
from tests import made
from tests.market import FUNDING_AT_MS, instruments
from tui.alert_log import read
from tui.session import Replay, ReplayOptions, moment, replay_headless

ROOT = Path(__file__).resolve().parents[2]
FREE = AnalyticsSettings(fees=Fees(tier="none"), arb=Arb(5, 3))
START = 1_790_784_000 * SECOND


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "rec"
    made.record(path, seed=4, seconds=16)
    return path


def written(directory: Path, *records: tuple[int, str, str, bytes]) -> Path:
    writer = RecordingWriter(directory, Header(start_wall_ns=START, source="test"))
    for record in records:
        writer.write(*record)
    writer.close()
    return directory


def test_a_run_from_a_time_on_begins_there(recording: Path) -> None:
    there = Recording(recording)
    whole = replay_headless(ReplayOptions(path=recording, settings=FREE))
    late = replay_headless(ReplayOptions(path=recording, settings=FREE, at="+12"))
    assert late.from_utc > whole.from_utc  # type: ignore[operator]
    begun = there.start_ns + 12 * SECOND
    replay = Replay(Recording(recording), FREE)
    replay.player.seek(begun)
    replay.run(inf)
    assert replay.episodes.alerts
    assert all(alert.opened_ns >= begun for alert in replay.episodes.alerts.values())
    assert all(alert.recording_pos == 0 for alert in replay.episodes.alerts.values())  # not counted from the start: not claimed
    first = Replay(Recording(recording), FREE)
    first.run(inf)
    assert any(alert.recording_pos > 0 for alert in first.episodes.alerts.values())


def test_the_start_as_it_is_printed_is_taken(recording: Path) -> None:
    there = Recording(recording)
    report = replay_headless(ReplayOptions(path=recording))
    assert report.from_utc is not None
    assert moment(report.from_utc, there) == there.start_ns


def test_a_time_outside_the_recording_is_refused_with_its_bounds(recording: Path) -> None:
    with pytest.raises(InputError, match="lies outside the recording, which runs from 2026-"):
        moment("2026-01-01T00:00:00Z", Recording(recording))
    with pytest.raises(InputError, match="is no time"):
        moment("soon", Recording(recording))


def test_times_are_exact_to_the_microsecond(tmp_path: Path) -> None:
    path = written(tmp_path / "r", (START, "i", "-", b"[]"), (START + 10 * SECOND, "i", "-", b"[]"))
    assert moment("2026-09-30T16:00:01.000001Z", Recording(path)) == START + SECOND + 1_000
    assert START == FUNDING_AT_MS * MS


def test_an_empty_recording_claims_no_time_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "000001.log").write_bytes(b'arbtop-recording 1\n{"start_wall_ns":1790784000000000000}\n')
    report = replay_headless(ReplayOptions(path=tmp_path / "r"))
    assert (report.from_utc, report.to_utc) == (None, None)
    assert "nothing was recorded" in report.notes
    assert "1970" not in report.text()


def test_a_recording_that_was_cut_off_says_so(recording: Path, tmp_path: Path) -> None:
    records = [record for record in Recording(recording).records() if record.kind != "c"]
    cut = replay_headless(ReplayOptions(path=written(tmp_path / "r", *records)))
    assert any("was cut off" in note for note in cut.notes)
    assert not any("was cut off" in note for note in replay_headless(ReplayOptions(path=recording)).notes)


def test_a_connection_of_unknown_instruments_or_market_is_named_and_left_out(tmp_path: Path) -> None:
    made_up = list(instruments().values())
    known = msgspec.json.encode(made_up[:1])
    stranger = Opened("BINANCE", "sp0t", "", [(made_up[0].id, "book")])
    partly = Opened("BINANCE", "spot", "", [(made_up[0].id, "book"), ("BINANCE:NO/SUCH", "book")])
    path = written(
        tmp_path / "r",
        (START, "i", "-", known),
        (START, "o", "a", msgspec.json.encode(stranger)),
        (START, "o", "b", msgspec.json.encode(partly)),
    )
    report = replay_headless(ReplayOptions(path=path))
    assert any("connection a is left out: nothing of BINANCE sp0t is known here" in note for note in report.notes)
    assert any("connection b: no instrument BINANCE:NO/SUCH is known" in note for note in report.notes)


def test_a_rule_whose_scope_names_nothing_is_pointed_out(recording: Path) -> None:
    rules = (*DEFAULT_RULES[:1], Rule(id="typo", metric=Metric.GAP, scope="binance:BTC/*"))
    report = replay_headless(ReplayOptions(path=recording, rules=rules))
    assert "rule typo: nothing here is called binance:BTC/*" in report.notes
    assert not any("rule route" in note for note in report.notes)


def test_a_log_of_another_run_is_closed_not_gone_on_with(recording: Path, tmp_path: Path) -> None:
    records = [record for record in Recording(recording).records() if record.kind != "c"]
    until = records[0].recv_ns + 8 * SECOND
    cut = written(tmp_path / "cut", *(record for record in records if record.conn != "bybit.spot" or record.recv_ns < until))
    state = tmp_path / "state"
    first = replay_headless(ReplayOptions(path=cut, state=state, settings=FREE))
    assert first.alerts_open >= 1
    second = replay_headless(ReplayOptions(path=cut, state=state, settings=FREE))
    assert second.alerts == first.alerts
    log, _ = read(state / "alerts")
    assert [alert.seq for alert in log] == list(range(1, 2 * sum(first.alerts.values()) + 1))
    ended = [alert for alert in log if alert.quality == "shutdown" and alert.seq <= sum(first.alerts.values())]
    assert ended
    assert all(alert.state is AlertState.RESOLVED and alert.closed_ns >= alert.opened_ns for alert in ended)


def test_alerts_that_no_disk_took_make_the_run_fail(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[fees]\ntier = "none"\n[arb]\nopen_bp = 5\nclose_bp = 3\n')
    run = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700)); from tui.cli import main; main()"
    )
    arguments = ["--config", str(tmp_path / "config.toml"), "replay", str(recording), "--headless", "--speed", "max"]
    done = subprocess.run(
        [sys.executable, "-c", run, *arguments, "--state", str(tmp_path / "state")],
        env={**os.environ, "HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "alert records could not be written" in done.stderr
    assert "LOG" in done.stdout


def test_a_run_from_a_time_on_counts_only_itself(recording: Path) -> None:
    whole = replay_headless(ReplayOptions(path=recording))
    late = replay_headless(ReplayOptions(path=recording, at="+14"))
    assert 0 < late.frames < 0.3 * whole.frames
    assert sum(stream.frames for stream in late.streams) < 0.3 * sum(stream.frames for stream in whole.streams)
    rates = {(s.market, s.channel): s.frames_per_s for s in whole.streams}
    book = next(s for s in late.streams if s.channel == "book")
    assert book.frames_per_s == pytest.approx(rates[book.market, "book"], rel=0.4)
    assert "1970" not in late.text()


def test_ewma_has_no_z_before_it_is_warm(recording: Path) -> None:
    settings = msgspec.structs.replace(FREE, z=ZScore(mode="ewma", min_periods=50))
    report = replay_headless(ReplayOptions(path=recording, settings=settings))
    assert all(pair.z is None for pair in report.pairs)  # sixteen seconds are fewer than fifty samples
    warm = msgspec.structs.replace(FREE, z=ZScore(mode="ewma", min_periods=5))
    assert any(pair.z is not None for pair in replay_headless(ReplayOptions(path=recording, settings=warm)).pairs)


def test_the_text_says_what_the_book_was_before_the_source_ended(recording: Path) -> None:
    report = replay_headless(ReplayOptions(path=recording))
    assert {market.book for market in report.markets} == {"synced"}
