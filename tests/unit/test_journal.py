"""The alert log against what disks and crashes do: each test is a way to lose, double or tear an alert."""

import errno
import json
import os
import stat
import zlib
from pathlib import Path

import msgspec
import pytest

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState, Leg, Severity
from feeds.errors import ArbtopError
from feeds.model import MS, SECOND
from tests.full_disk import disk_full_at
from tui import journal as journal_module
from tui.alert_log import encode_record, read
from tui.journal import Journal

T0 = 1_790_000_000_000_000_000


def alert(seq: int, **changes: object) -> Alert:
    base = Alert(
        seq=seq,
        opened_ns=T0 + seq * SECOND,
        rule="spread.z",
        severity=Severity.WARN,
        scope=f"BINANCE:BTC/USDT > OKX:BTC/USDT #{seq}",
        value=-2.5,
        unit="σ",
        enter=2.0,
        exit=1.0,
        legs=(Leg("BINANCE:BTC/USDT", "buy", 60000.1, 0.5, 12.0), Leg("OKX:BTC/USDT", "sell")),
    )
    return msgspec.structs.replace(base, **changes)


def fire(seq: int, at: int | None = None) -> AlertEvent:
    episode = alert(seq)
    return AlertEvent(AlertKind.FIRE, episode, episode.opened_ns if at is None else at)


def peak(seq: int, at: int, value: float) -> AlertEvent:
    return AlertEvent(AlertKind.PEAK, alert(seq, peak=value, peak_ns=at), at)


def resolve(seq: int, at: int | None = None) -> AlertEvent:
    closed = T0 + seq * SECOND + 500 * MS if at is None else at
    return AlertEvent(AlertKind.RESOLVE, alert(seq, state=AlertState.RESOLVED, closed_ns=closed, quality="edge"), closed)


def seqs(directory: Path) -> list[int]:
    return [episode.seq for episode in read(directory)[0]]


def test_a_record_can_be_verified_with_json_and_zlib_alone() -> None:
    line = encode_record(fire(7))
    fields = json.loads(line)
    assert list(fields) == ["seq", "utc_ns", "kind", "payload", "crc32"]
    assert (fields["seq"], fields["utc_ns"], fields["kind"]) == (7, T0 + 7 * SECOND, "FIRE")
    without = line.rstrip(b"\n").replace(b',"crc32":%d' % fields["crc32"], b"")
    assert fields["crc32"] == zlib.crc32(without)


def test_a_restart_neither_repeats_nor_loses_an_open_alert(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        assert journal.next_seq == 1
        assert journal.open_alerts() == ()
        for event in (fire(1), fire(2), peak(2, T0 + 4 * SECOND, 9.0), fire(3), resolve(1)):
            assert journal.append(event)
        assert journal.next_seq == 4
    with Journal(tmp_path) as journal:
        assert journal.next_seq == 4
        assert journal.open_alerts() == (peak(2, T0 + 4 * SECOND, 9.0).alert, alert(3))
        assert (journal.state, list(journal.messages)) == ("", [])
    episodes, report = read(tmp_path)
    assert episodes == [resolve(1).alert, peak(2, T0 + 4 * SECOND, 9.0).alert, alert(3)]
    assert (report.records, report.bad, report.duplicates, report.missing, report.text()) == (5, 0, 0, 0, "")


def test_a_torn_tail_is_not_glued_to_the_next_record_and_its_bytes_are_kept(tmp_path: Path) -> None:
    for seq in (1, 2, 3):
        with Journal(tmp_path) as journal:
            journal.append(fire(seq))
            assert len(journal.messages) == (seq > 1)
            assert all("40 bytes" in message and "alerts.torn" in message for message in journal.messages)
        with open(tmp_path / "alerts.jsonl", "ab") as file:
            file.write(encode_record(fire(seq + 1))[:40])
    episodes, report = read(tmp_path)
    assert [episode.seq for episode in episodes] == [1, 2, 3]
    assert (report.bad, report.torn_bytes) == (0, 40)
    kept = (tmp_path / "alerts.torn").read_bytes()
    assert kept == b"".join(encode_record(fire(seq))[:40] + b"\n" for seq in (2, 3))


def test_a_file_of_zero_bytes_after_a_power_cut_is_a_torn_tail(tmp_path: Path) -> None:
    (tmp_path / "alerts.jsonl").write_bytes(b"\0" * 4096)
    with Journal(tmp_path) as journal:
        assert journal.append(fire(1))
    assert seqs(tmp_path) == [1]
    assert (tmp_path / "alerts.torn").read_bytes() == b"\0" * 4096 + b"\n"


def test_torn_bytes_that_cannot_be_copied_stay_in_the_file_they_are_in(tmp_path: Path) -> None:
    whole = encode_record(fire(1))
    (tmp_path / "alerts.jsonl").write_bytes(whole + b'{"seq":2')
    (tmp_path / "alerts.torn").mkdir()
    with Journal(tmp_path) as journal:
        assert journal.next_seq == 2
        assert journal.append(fire(2))
    assert (tmp_path / "alerts.0001.jsonl").read_bytes() == whole + b'{"seq":2'
    episodes, report = read(tmp_path)
    assert [episode.seq for episode in episodes] == [1, 2]
    assert report.bad == 1


def test_reading_does_not_touch_a_file_another_process_writes(tmp_path: Path) -> None:
    content = encode_record(fire(1)) + encode_record(fire(2))[:50]
    (tmp_path / "alerts.jsonl").write_bytes(content)
    episodes, report = read(tmp_path)
    assert [episode.seq for episode in episodes] == [1]
    assert (report.torn_bytes, report.bad) == (50, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["alerts.jsonl"]
    assert (tmp_path / "alerts.jsonl").read_bytes() == content


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"not json", "bad JSON"),
        (b"", "bad JSON"),
        (b"[" * 5000, "bad JSON"),
        (b'{"seq":2}', "bad JSON"),
        (encode_record(fire(2)).strip().replace(b"spread.z", b"spread.y"), "bad crc"),
        (encode_record(fire(2)).strip().replace(b',"crc32":', b',"crc33":'), "bad crc"),
        (encode_record(fire(2)).strip().replace(b'"seq":2', b'"seq":4', 1), "bad crc"),
        (encode_record(fire(2)).strip().replace("σ".encode(), b"\xcf\x28"), "bad UTF-8"),
    ],
)
def test_one_bad_line_does_not_hide_the_lines_after_it(tmp_path: Path, damage: bytes, reason: str) -> None:
    (tmp_path / "alerts.jsonl").write_bytes(encode_record(fire(1)) + damage + b"\n" + encode_record(fire(3)))
    episodes, report = read(tmp_path)
    assert [episode.seq for episode in episodes] == [1, 3]
    assert report.bad == 1
    assert msgspec.structs.astuple(report.bad_lines[0]) == ("alerts.jsonl", 2, reason)
    with Journal(tmp_path) as journal:
        assert journal.next_seq == 4
        assert f"damaged lines skipped: 1 (alerts.jsonl:2 {reason})" in journal.messages[0]


def test_the_number_of_a_damaged_last_alert_is_not_given_again(tmp_path: Path) -> None:
    damaged = encode_record(fire(2)).replace(b"spread.z", b"spread.y")
    (tmp_path / "alerts.jsonl").write_bytes(encode_record(fire(1)) + damaged)
    with Journal(tmp_path) as journal:
        assert journal.next_seq == 3
        assert journal.found.missing == 1
        assert "alerts missing: 1" in journal.messages[0]
    far = encode_record(fire(900)).replace(b"spread.z", b"spread.y")
    (tmp_path / "alerts.jsonl").write_bytes(encode_record(fire(1)) + far)
    with Journal(tmp_path) as journal:
        assert journal.next_seq == 2, "a number torn out of the sequence must not open a hole"


def test_an_event_written_twice_after_a_crash_is_one_alert_in_its_last_state(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for event in (fire(1), fire(1), resolve(1), fire(1), resolve(1), fire(1)):
            journal.append(event)
    episodes, report = read(tmp_path)
    assert episodes == [resolve(1).alert]
    assert (report.records, report.duplicates) == (2, 4)
    with Journal(tmp_path) as journal:
        assert (journal.next_seq, journal.open_alerts()) == (2, ())


def test_a_wall_clock_set_back_does_not_reopen_what_was_resolved(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(fire(1, T0 + 100 * SECOND))
        journal.append(resolve(1, T0 - 3600 * SECOND))
        journal.append(fire(2, T0 - 3599 * SECOND))
    episodes, _ = read(tmp_path)
    assert [(episode.seq, episode.state) for episode in episodes] == [(1, AlertState.RESOLVED), (2, AlertState.FIRING)]


def test_a_full_disk_is_said_and_loses_nothing_that_memory_holds(tmp_path: Path) -> None:
    size = len(encode_record(fire(1)))
    with Journal(tmp_path) as journal:
        with disk_full_at(2 * size + size // 3):
            assert [journal.append(fire(seq)) for seq in range(1, 6)] == [True, True, False, False, False]
            assert journal.state == "LOG FULL 3 held"
            assert (journal.durable(2), journal.durable(3)) == (True, False)
            assert not journal.retry()
            content = (tmp_path / "alerts.jsonl").read_bytes()
            assert content.endswith(b"\n"), "the short write left a torn line"
            assert seqs(tmp_path) == [1, 2]
            assert len(journal.open_alerts()) == 5
        assert journal.retry()
        assert (journal.state, journal.held, journal.lost) == ("", 0, 0)
        assert journal.durable(3)
        assert journal.append(fire(6))
        assert len(journal.messages) == 2
    assert seqs(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert [json.loads(line)["seq"] for line in (tmp_path / "alerts.jsonl").read_bytes().splitlines()] == [1, 2, 3, 4, 5, 6]


def test_the_next_alert_also_carries_what_waited_for_space(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        with disk_full_at(10):
            assert not journal.append(fire(1))
        assert journal.append(fire(2))
        assert journal.state == ""
    assert seqs(tmp_path) == [1, 2]


def test_what_memory_cannot_hold_is_counted_and_said_and_the_newest_survive(tmp_path: Path) -> None:
    with Journal(tmp_path, hold=10) as journal:
        with disk_full_at(0):
            for seq in range(1, 16):
                journal.append(fire(seq))
            assert journal.state == "LOG FULL 10 held, 5 lost"
        assert journal.retry()
        assert journal.state == "LOG 5 lost"
        assert not journal.durable(5), "what was lost must not lose its mark"
        assert journal.durable(6)
        assert journal.append(resolve(5))
        assert journal.durable(5), "each record is the whole episode"
    episodes, _ = read(tmp_path)
    assert sorted(episode.seq for episode in episodes) == [5, *range(6, 16)]


def test_records_still_held_at_the_end_are_said_to_be_lost(tmp_path: Path) -> None:
    with disk_full_at(0):
        journal = Journal(tmp_path)
        journal.append(fire(1))
        journal.close()
    assert journal.lost == 1
    assert "1 lost" in journal.messages[-1]


@pytest.mark.parametrize(("number", "word"), [(errno.ENOSPC, "LOG FULL"), (errno.EDQUOT, "LOG FULL"), (errno.EIO, "LOG ERROR")])
def test_a_write_that_the_disk_does_not_confirm_is_not_taken_for_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with Journal(tmp_path) as journal:
        journal.append(fire(1))
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "sync_file", refuse)
            assert not journal.append(fire(2))
            assert not journal.append(fire(3))
        assert journal.state.startswith(word)
        assert seqs(tmp_path) == [1]
        assert journal.append(fire(4))
    episodes, report = read(tmp_path)
    assert [episode.seq for episode in episodes] == [1, 2, 3, 4]
    assert report.duplicates == 0


def test_a_second_instance_does_not_write_into_the_first_ones_file(tmp_path: Path) -> None:
    with Journal(tmp_path) as first, Journal(tmp_path) as second:
        assert (first.file.name, second.file.name) == ("alerts.jsonl", "alerts-2.jsonl")
        assert "in use by another arbtop" in second.messages[0]
        assert (first.next_seq, second.next_seq) == (1, 1)
        second.append(fire(1, T0 + 2))
        first.append(fire(1, T0 + 1))
        first.append(fire(2, T0 + 3))
        second.append(fire(2, T0 + 3))
        first.append(resolve(1, T0 + 9))
    episodes, report = read(tmp_path)
    states = [(episode.seq, episode.state.value) for episode in episodes]
    assert states == [(1, "resolved"), (1, "firing"), (2, "firing"), (2, "firing")]
    assert (report.records, report.missing, report.duplicates) == (5, 0, 0)
    with Journal(tmp_path) as again:
        assert again.file.name == "alerts.jsonl"
        assert (again.next_seq, [episode.seq for episode in again.open_alerts()]) == (3, [2])


def test_a_file_put_aside_at_its_size_is_read_in_order_and_never_overwritten(tmp_path: Path) -> None:
    limit = 5 * len(encode_record(fire(10))) + 5  # digits of lengths differ from line to line
    for start in (1, 13, 25):
        with Journal(tmp_path, rotate_bytes=limit) as journal:
            assert journal.next_seq == start
            for seq in range(start, start + 12):
                assert journal.append(fire(seq))
    names = sorted(path.name for path in tmp_path.glob("*.jsonl"))
    assert names == [*(f"alerts.{number:04d}.jsonl" for number in range(1, len(names))), "alerts.jsonl"]
    assert len(names) == 8
    assert all(path.stat().st_size <= limit for path in tmp_path.glob("*.jsonl"))
    assert seqs(tmp_path) == list(range(1, 37))


def test_more_than_9999_files_are_still_read_in_order(tmp_path: Path) -> None:
    for number, name in enumerate(["alerts.0002.jsonl", "alerts.9999.jsonl", "alerts.10000.jsonl", "alerts.jsonl"], 1):
        (tmp_path / name).write_bytes(encode_record(fire(number)))
    (tmp_path / "alerts.backup.jsonl").write_bytes(encode_record(fire(77)))
    assert seqs(tmp_path) == [1, 2, 3, 4]


def test_a_crash_between_putting_aside_and_beginning_anew_loses_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(fire(1))
    os.rename(tmp_path / "alerts.jsonl", tmp_path / "alerts.0001.jsonl")
    assert seqs(tmp_path) == [1]
    with Journal(tmp_path) as journal:
        assert journal.next_seq == 2
        assert [episode.seq for episode in journal.open_alerts()] == [1]


def test_a_backlog_longer_than_a_file_is_spread_over_files(tmp_path: Path) -> None:
    limit = 5 * len(encode_record(fire(10))) + 5  # digits of lengths differ from line to line
    with Journal(tmp_path, rotate_bytes=limit) as journal:
        with disk_full_at(0):
            for seq in range(1, 13):
                journal.append(fire(seq))
        assert journal.retry()
    assert seqs(tmp_path) == list(range(1, 13))
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["alerts.0001.jsonl", "alerts.0002.jsonl", "alerts.jsonl"]


def test_a_log_moved_away_by_another_program_does_not_swallow_what_follows(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(fire(1))
        os.rename(tmp_path / "alerts.jsonl", tmp_path / "alerts.jsonl.old")
        assert journal.append(fire(2))
        (tmp_path / "alerts.jsonl").unlink()
        (tmp_path / "alerts.jsonl").write_bytes(b"")
        assert journal.append(fire(3))
        assert [("moved away" in message) for message in journal.messages] == [True, True]
    assert seqs(tmp_path) == [3]


def test_nobody_else_may_read_the_log_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Journal(tmp_path / "state" / "alerts", rotate_bytes=500) as journal:
            for seq in range(1, 4):
                journal.append(fire(seq))
    finally:
        os.umask(before)
    directory = tmp_path / "state" / "alerts"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_link_in_place_of_the_log_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    directory = tmp_path / "alerts"
    directory.mkdir()
    (directory / "alerts.jsonl").symlink_to(victim)
    with pytest.raises(ArbtopError, match=r"alerts\.jsonl: cannot open the alert log: .*symbolic link.*remove it"):
        Journal(directory)
    assert victim.read_text() == "precious"
    (directory / "alerts.jsonl").unlink()
    with Journal(directory) as journal:
        assert journal.instance == 1, "the failed open kept its lock"


def test_a_pipe_in_place_of_the_log_does_not_hang_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alerts.jsonl")
    with pytest.raises(ArbtopError, match="not a regular file"):
        Journal(tmp_path)
    with pytest.raises(ArbtopError, match="cannot read the alert log: not a regular file"):
        read(tmp_path)


def test_a_directory_that_cannot_be_is_one_line_and_an_absent_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArbtopError, match=f"^{tmp_path}/file: cannot open the alert log: File exists; ") as caught:
        Journal(tmp_path / "file")
    assert "\n" not in str(caught.value)
    episodes, report = read(tmp_path / "absent")
    assert (episodes, report.records) == ([], 0)


def test_peaks_do_not_flood_the_log_and_the_last_one_is_not_forgotten(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(fire(1))
        at = T0 + 2 * SECOND
        for step in range(25):
            journal.append(peak(1, at + step * 100 * MS, float(step)))
        lines = (tmp_path / "alerts.jsonl").read_bytes().splitlines()
        peaks = [json.loads(line) for line in lines[1:]]
        assert [record["payload"]["peak"] for record in peaks] == [0.0, 10.0, 20.0]
        assert journal.open_alerts()[0].peak == 24.0
        journal.retry(at + 2900 * MS)
        assert read(tmp_path)[0][0].peak == 20.0
        journal.retry(at + 3000 * MS)
        assert read(tmp_path)[0][0].peak == 24.0
        journal.append(peak(1, at + 3500 * MS, 30.0))
    assert read(tmp_path)[0][0].peak == 30.0


def test_a_peak_that_waited_does_not_come_after_the_end_of_its_alert(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append(fire(1))
        journal.append(peak(1, T0 + 2 * SECOND, 5.0))
        journal.append(peak(1, T0 + 2 * SECOND + 100 * MS, 6.0))
        journal.append(resolve(1, T0 + 2 * SECOND + 200 * MS))
        journal.retry(T0 + 60 * SECOND)
    assert read(tmp_path)[0] == [resolve(1, T0 + 2 * SECOND + 200 * MS).alert]
