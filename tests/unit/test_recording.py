"""The recording format: what is written comes back, segments stand alone, and damage costs what it hit and no more."""

import base64
import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from feeds.errors import InputError
from feeds.health import Probe
from feeds.model import SECOND, Contract, Instrument, Kind
from feeds.recording import (
    LOST,
    Answer,
    Closed,
    Header,
    HeadLine,
    Opened,
    Record,
    Recording,
    RecordingWriter,
    UserAct,
    decode,
    encode,
)
from feeds.venue import Checkpoint
from tests.full_disk import disk_full_at

START = 1_723_161_253_937_085_768
DAY = 86_400 * SECOND
HEADER = Header(start_wall_ns=START, start_monotonic_ns=7, version="0.1.0", config_hash="c0ffee", source="test")
PERP = Instrument(
    id="BYBIT:BTC/USD:BTC",
    venue="BYBIT",
    market="inverse",
    native="BTCUSD",
    base="BTC",
    quote="USD",
    settle="BTC",
    kind=Kind.PERP,
    contract=Contract.INVERSE,
    tick=0.1,
    lot=1.0,
)
OPENED = Opened("BYBIT", "inverse", "wss://stream.bybit.com/v5/public/inverse", [(PERP.id, "book"), (PERP.id, "trade")])
CHECKPOINT = Checkpoint(PERP.id, 7, 6, [(100.5, 2.0)], [(101.0, 1.0), (101.5, 3.25)])


def frame(number: int) -> Record:
    """Distinct frames a millisecond apart, of about 100 bytes that do not compress to nothing."""
    return Record(START + number * 1_000_000, "t", "a", b'{"n":%d,"x":"%x"}' % (number, 3 ** (number % 97) * 7**40))


def write(
    directory: Path,
    records: list[Record],
    head: Callable[[], list[HeadLine]] = list,
    *,
    segment_bytes: int = 1 << 26,
    member_bytes: int = 1 << 20,
) -> Path:
    writer = RecordingWriter(directory, HEADER, head, segment_bytes=segment_bytes, member_bytes=member_bytes)
    for record in records:
        if record.kind == "t":
            writer.frame(record.recv_ns, record.conn, record.payload)
        else:
            writer.write(*record)
    writer.close()
    assert writer.failure is None
    return directory


def read(path: Path) -> tuple[list[Record], list[str]]:
    recording = Recording(path)
    return list(recording.records()), recording.damage


def plain(directory: Path, lines: list[bytes], name: str = "000001.log") -> Path:
    """A segment that is still being written, with these lines after the two first."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_bytes(b"arbtop-recording 1\n" + encode(HEADER) + b"\n" + b"".join(lines))
    return directory


def line(record: Record) -> bytes:
    return b"%d %b %b %b\n" % (record.recv_ns, record.kind.encode(), record.conn.encode(), record.payload)


EVERY_KIND = [
    Record(START, "i", "-", encode([PERP])),
    Record(START, "o", "bybit-inverse", encode(OPENED)),
    Record(START + 1, "t", "bybit-inverse", b'{"topic":"orderbook.50.BTCUSD"}'),
    Record(START + 1, "t", "bybit-inverse", '{"reason":"désolé €"}'.encode()),
    Record(START + 2, "t", "bybit-inverse", b""),
    Record(START + 3, "t", "bybit-inverse", b" two  spaces \r"),
    Record(START + 4, "t", "bybit-inverse", b'{\n  "pretty": true\n}'),
    Record(START + 5, "t", "bybit-inverse", b"\xff\xfe\x00 no UTF-8 \x80"),
    Record(START + 6, "h", "bybit-inverse", encode(Answer("depth:BTCUSD", "/v5/market/orderbook", 200, '{"a":\n1}'))),
    Record(START + 7, "k", "-", encode(Probe("BYBIT", "inverse", START, START + 9, START + 5))),
    Record(START + 8, "u", "-", b'{"act":"watch","instrument":"BYBIT:BTC/USD:BTC"}'),
    Record(START + 9, "s", "bybit-inverse", encode(CHECKPOINT)),
    Record(START + 10, "c", "bybit-inverse", encode(Closed(1006, "gone"))),
]


def test_every_kind_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read(write(tmp_path / "rec", EVERY_KIND)) == (EVERY_KIND, [])


def test_payloads_come_back_as_the_values_they_were() -> None:
    assert decode("o", encode(OPENED)) == OPENED
    assert decode("c", encode(Closed(1000, "x"))) == Closed(1000, "x")
    assert decode("s", encode(CHECKPOINT)) == CHECKPOINT
    assert decode("i", encode([PERP])) == [PERP]
    assert decode("u", b'{"act":"mute","rule":3}') == UserAct("mute")


def test_a_channel_of_a_later_version_does_not_break_the_plan() -> None:
    plan = Opened("BYBIT", "inverse", "", [(PERP.id, "hologram"), (PERP.id, "book")]).plan()
    assert [str(stream.channel) for stream in plan.streams] == ["book"]
    assert Opened.of(plan) == Opened("BYBIT", "inverse", "", [(PERP.id, "book")])


def test_frames_that_would_break_a_line_are_kept_as_base64(tmp_path: Path) -> None:
    write(tmp_path / "rec", EVERY_KIND)
    text = gzip.decompress((tmp_path / "rec/000001.log.gz").read_bytes())
    assert [row.split(b" ")[1] for row in text.split(b"\n")[2:-1]].count(b"b") == 2


def test_segment_layout_is_the_documented_one(tmp_path: Path) -> None:
    write(tmp_path / "rec", [frame(0), frame(1)], lambda: [("i", "-", encode([PERP]))])
    signature, header, head, first, second, rest = gzip.decompress((tmp_path / "rec/000001.log.gz").read_bytes()).split(b"\n")
    assert signature == b"arbtop-recording 1"
    assert msgspec.json.decode(header) == {
        "start_wall_ns": START,
        "start_monotonic_ns": 7,
        "version": "0.1.0",
        "config_hash": "c0ffee",
        "source": "test",
        "head": 1,
    }
    assert head == b"%d i - " % START + encode([PERP])
    assert [first + b"\n", second + b"\n", rest] == [line(frame(0)), line(frame(1)), b""]
    assert [path.name for path in sorted((tmp_path / "rec").iterdir())] == ["000001.idx", "000001.log.gz"]


def test_others_on_the_machine_cannot_read_a_recording(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "rec", HEADER)
    writer.frame(START, "a", b"{}")
    assert (tmp_path / "rec").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "rec/000001.log").stat().st_mode & 0o777 == 0o600
    writer.close()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "rec").iterdir()} == {0o600}


def test_a_killed_process_loses_at_most_a_second(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "rec", HEADER)
    for step in range(30):
        writer.frame(START + step * SECOND // 10, "a", b'{"n":%d}' % step)
    records, damage = read(tmp_path / "rec")
    assert (len(records), damage) == (21, [])
    writer.close()
    assert len(read(tmp_path / "rec")[0]) == 30


def test_receive_time_never_falls_on_disk(tmp_path: Path) -> None:
    records, damage = read(write(tmp_path / "rec", [frame(5), frame(3), frame(6)]))
    assert [record.recv_ns for record in records] == [frame(5).recv_ns, frame(5).recv_ns, frame(6).recv_ns]
    assert damage == []


def test_a_connection_name_that_would_break_a_line_is_refused(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "rec", HEADER)
    for name in ("", "two words", "line\nfeed", "x" * 65):
        with pytest.raises(ValueError):
            writer.frame(START, name, b"{}")
    with pytest.raises(ValueError):
        writer.write(START, "u", "-", b'{"act":\n"x"}')
    writer.close()


def test_recording_over_another_recording_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "rec", [frame(0)])
    with pytest.raises(InputError, match="not empty"):
        RecordingWriter(tmp_path / "rec", HEADER)


class State:
    """What a hub would restate: an instrument, a connection, and a book that moves."""

    def __init__(self) -> None:
        self.seq = 0

    def head(self) -> list[HeadLine]:
        moved = msgspec.structs.replace(CHECKPOINT, seq=self.seq)
        return [("i", "-", encode([PERP])), ("o", "a", encode(OPENED)), ("s", "a", encode(moved))]


def rolled(tmp_path: Path, frames: int = 300, segment_bytes: int = 8_000, member_bytes: int = 2_000) -> Path:
    state = State()
    writer = RecordingWriter(tmp_path / "rec", HEADER, state.head, segment_bytes=segment_bytes, member_bytes=member_bytes)
    for number in range(frames):
        state.seq = number
        writer.frame(frame(number).recv_ns, "a", frame(number).payload)
        writer.flush()
    writer.close()
    return tmp_path / "rec"


def numbers(records: list[Record]) -> list[int]:
    return [msgspec.json.decode(record.payload)["n"] for record in records if record.kind == "t"]


def test_reading_in_sequence_skips_the_heads_of_later_segments(tmp_path: Path) -> None:
    path = rolled(tmp_path)
    recording = Recording(path)
    records = list(recording.records())
    assert len(recording.segments) > 3
    assert recording.damage == []
    assert numbers(records) == list(range(300))
    assert [record.kind for record in records if record.kind != "t"] == ["i", "o", "s"]


def test_a_segment_can_be_read_alone_and_restates_its_moment(tmp_path: Path) -> None:
    path = rolled(tmp_path)
    second = Recording(path).segments[1]
    for alone in (Recording(second.path), Recording(path)):
        records = list(alone.records(second.start_ns + 1))
        assert [record.kind for record in records[:4]] == ["i", "o", "s", "t"]
        checkpoint = decode("s", records[2].payload)
        assert isinstance(checkpoint, Checkpoint)
        assert checkpoint.seq == numbers(records)[0]
        assert records[0].recv_ns == records[3].recv_ns


def test_a_seek_begins_at_the_last_segment_that_starts_before(tmp_path: Path) -> None:
    path = rolled(tmp_path)
    recording = Recording(path)
    third = recording.segments[2]
    assert next(recording.records(third.start_ns)).recv_ns == third.start_ns
    assert next(recording.records(third.start_ns - 1)).recv_ns == recording.segments[1].start_ns
    assert next(recording.records(0)).recv_ns == START
    assert next(recording.records(START + DAY)).recv_ns == recording.segments[-1].start_ns


def test_start_and_end_are_known_without_reading_everything(tmp_path: Path) -> None:
    path = rolled(tmp_path)
    recording = Recording(path)
    assert (recording.start_ns, recording.end_ns) == (START, frame(299).recv_ns)
    (path / "000001.idx").unlink()
    for index in path.glob("*.idx"):
        index.write_bytes(b"[[1,99999999]]")
    assert Recording(path).end_ns == frame(299).recv_ns


def member_offsets(path: Path) -> list[int]:
    """Where the members of the first segment begin."""
    return [entry[1] for entry in msgspec.json.decode((path / "000001.idx").read_bytes()) if len(entry) == 2]


def test_the_index_says_where_each_member_begins(tmp_path: Path) -> None:
    path = rolled(tmp_path, segment_bytes=1 << 20)
    data = (path / "000001.log.gz").read_bytes()
    index = msgspec.json.decode((path / "000001.idx").read_bytes())
    members = [entry for entry in index if len(entry) == 2]
    assert len(members) > 5
    assert index[: len(members)] == members
    for position, (recv_ns, offset) in enumerate(members):
        text = zlib.decompressobj(31).decompress(data[offset:])
        first = text.split(b"\n")[0 if position else 2]
        assert int(first.split(b" ")[0]) == recv_ns
        assert text.endswith(b"\n")


def test_a_missing_segment_is_named_and_the_next_head_brings_the_books_back(tmp_path: Path) -> None:
    path = rolled(tmp_path)
    whole = numbers(read(path)[0])
    lost = numbers(list(Recording(path / "000002.log.gz").records()))
    (path / "000002.log.gz").unlink()
    records, damage = read(path)
    assert numbers(records) == [number for number in whole if number not in lost]
    assert [record.kind for record in records if record.kind != "t"] == ["i", "o", "s"] * 2
    assert damage == ["000003.log.gz segment 000002 is missing before it"]


def test_the_head_after_a_damaged_segment_brings_the_books_back(tmp_path: Path) -> None:
    path = rolled(tmp_path)
    first = path / "000001.log.gz"
    text = gzip.decompress(first.read_bytes())
    first.write_bytes(gzip.compress(text.replace(b'"n":7,', b'"n":7,\n')))
    records, damage = read(path)
    assert [record.kind for record in records if record.kind != "t"] == ["i", "o", "s"] * 2
    assert len(damage) == 1


def test_a_plain_file_left_beside_its_compressed_form_is_not_read_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "rec", [frame(number) for number in range(50)])
    (path / "000001.log").write_bytes(gzip.decompress((path / "000001.log.gz").read_bytes()))
    assert numbers(read(path)[0]) == list(range(50))


def test_one_corrupt_byte_loses_one_member(tmp_path: Path) -> None:
    path = rolled(tmp_path, segment_bytes=1 << 20)
    file = path / "000001.log.gz"
    data = file.read_bytes()
    offsets = [*member_offsets(path), len(data)]
    for member in range(len(offsets) - 1):
        lost = numbers_of(zlib.decompressobj(31).decompress(data[offsets[member] :]))
        for place in (
            offsets[member],
            offsets[member] + 11,
            (offsets[member] + offsets[member + 1]) // 2,
            offsets[member + 1] - 6,
        ):
            file.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
            records, damage = read(path)
            assert numbers(records) == [number for number in range(300) if number not in lost], (member, place)
            assert len(damage) == 1
            assert f"byte {offsets[member]}:" in damage[0]


def numbers_of(text: bytes) -> list[int]:
    rows = [row for row in text.split(b"\n") if b" t a " in row]
    return [msgspec.json.decode(row.split(b" ", 3)[3])["n"] for row in rows]


def test_a_member_is_found_again_without_the_index(tmp_path: Path) -> None:
    path = rolled(tmp_path, segment_bytes=1 << 20)
    file = path / "000001.log.gz"
    data = file.read_bytes()
    _, second, third, *_ = member_offsets(path)
    (path / "000001.idx").unlink()
    file.write_bytes(data[: second + 20] + b"inserted" + data[second + 20 :])
    lost = numbers_of(zlib.decompressobj(31).decompress(data[second:third]))
    assert numbers(read(path)[0]) == [number for number in range(300) if number not in lost]


def test_a_truncated_file_keeps_all_whole_lines_before_the_cut(tmp_path: Path) -> None:
    path = rolled(tmp_path, segment_bytes=1 << 20)
    file = path / "000001.log.gz"
    data = file.read_bytes()
    text = gzip.decompress(data)
    offsets = member_offsets(path)
    edges = [offset + step for offset in offsets[1:4] for step in (-9, -1, 0, 1, 9, 10, 11, 60)]
    for cut in [*edges, len(data) - 1, len(data) - 8, len(data) - 9, len(data) - 20]:
        file.write_bytes(data[:cut])
        before = zlib_prefix(data[:cut])
        records, damage = read(path)
        assert numbers(records) == numbers_of(text[: before.rfind(b"\n") + 1]), cut
        assert bool(damage) == (cut not in offsets), cut


def zlib_prefix(data: bytes) -> bytes:
    """What is certain of a cut file: the text of its whole members, and of the last one as far as it goes."""
    out = b""
    while data:
        unpacker = zlib.decompressobj(31)
        out += unpacker.decompress(data)
        data = unpacker.unused_data
    return out


def test_a_file_cut_before_its_first_record_is_no_recording_but_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "rec", [frame(0)])
    (path / "000001.log.gz").write_bytes((path / "000001.log.gz").read_bytes()[:8])
    with pytest.raises(InputError, match="no recording"):
        Recording(path)


def test_a_torn_last_line_is_left_out_and_named(tmp_path: Path) -> None:
    path = plain(tmp_path / "rec", [line(frame(0)), line(frame(1)), line(frame(2))[:-9]])
    assert read(path) == ([frame(0), frame(1)], ["000001.log line 5: it is cut off; left out"])


BAD_LINES = {
    b"\x00\x01garbage\xff\n": "it is no record",
    b"\n": "it is no record",
    b"17231612539x7085768 t a {}\n": "it is no record",
    line(frame(1)).replace(b" t ", b" q "): "kind 'q' is not known",
    line(frame(1)).replace(b" t a ", b" t \xc3\xa9 "): "its connection name is damaged",
    b"%d b a !!notbase64\n" % frame(1).recv_ns: "its base64 is damaged",
    b'%d o a {"venue":"BYBIT"\n' % frame(1).recv_ns: "the JSON of its kind o is damaged",
    b'%d o a {"venue":"BYBIT"}\n' % frame(1).recv_ns: "the JSON of its kind o is damaged",
    b'%d c a {"code":"x"}\n' % frame(1).recv_ns: "the JSON of its kind c is damaged",
    b'%d h a {"key":"\xff"}\n' % frame(1).recv_ns: "the JSON of its kind h is damaged",
    b'%d i - [{"id":1}]\n' % frame(1).recv_ns: "the JSON of its kind i is damaged",
    b"%d k - []\n" % frame(1).recv_ns: "the JSON of its kind k is damaged",
    b'%d u - {"no":1}\n' % frame(1).recv_ns: "the JSON of its kind u is damaged",
    b"%d s a " % frame(1).recv_ns + b"[" * 5000 + b"\n": "the JSON of its kind s is damaged",
    b"%d t a {}\n" % (START - 1): "its time goes back",
    b"%d t a {}\n" % (frame(1).recv_ns + 2 * DAY): "its time leaps ahead by more than a day",
    b"%d t a {}\n" % (10**40): "its time leaps ahead by more than a day",
    b"-5 t a {}\n": "its time goes back",
}


@pytest.mark.parametrize("bad", BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_bad_line_costs_itself_and_is_named(tmp_path: Path, bad: bytes) -> None:
    good = [frame(number) for number in range(6)]
    path = plain(tmp_path / "rec", [*map(line, good[:3]), bad, *map(line, good[3:])])
    assert read(path) == (good, [f"000001.log line 6: {BAD_LINES[bad]}; left out"])


def test_neighbouring_bad_lines_make_one_entry(tmp_path: Path) -> None:
    path = plain(tmp_path / "rec", [line(frame(0)), *[b"rubbish\n"] * 400, line(frame(1))])
    assert read(path) == ([frame(0), frame(1)], ["000001.log lines 4 to 403: it is no record; left out"])


def test_the_list_of_damage_does_not_grow_without_bound(tmp_path: Path) -> None:
    lines = [part for number in range(3000) for part in (line(frame(number)), b"rubbish %d\n" % number)]
    records, damage = read(plain(tmp_path / "rec", lines))
    assert len(records) == 3000
    assert len(damage) == 1001
    assert "not listed" in damage[-1]


def test_a_time_damaged_forwards_does_not_take_the_lines_after_it_along(tmp_path: Path) -> None:
    good = [frame(number) for number in range(8)]
    late = b"%d t a {}\n" % (good[4].recv_ns + 3600 * SECOND)
    for place in (0, 1, 4, 8):
        path = plain(tmp_path / f"rec{place}", [*map(line, good[:place]), late, *map(line, good[place:])])
        records, damage = read(path)
        expected = good if place < 8 else [*good, Record(good[4].recv_ns + 3600 * SECOND, "t", "a", b"{}")]
        assert records == expected, place
        assert len(damage) == (place < 8)


def test_a_first_time_from_the_dawn_of_time_does_not_stretch_the_recording(tmp_path: Path) -> None:
    good = [frame(number) for number in range(5)]
    for early in (b"5 t a {}\n", b"-5 t a {}\n", b"9999999999999999999 t a {}\n"):
        (tmp_path / "rec/000001.log").unlink(missing_ok=True)
        records, damage = read(plain(tmp_path / "rec", [early, *map(line, good)]))
        assert records == good
        assert len(damage) == 1


def test_a_single_line_with_an_impossible_time_is_not_believed(tmp_path: Path) -> None:
    for time in (-5, 10**40):
        (tmp_path / "rec/000001.log").unlink(missing_ok=True)
        records, damage = read(plain(tmp_path / "rec", [b"%d t a {}\n" % time]))
        assert records == []
        assert damage == ["000001.log line 3: its time is none; left out"]


def test_a_machine_that_slept_for_two_days_is_believed(tmp_path: Path) -> None:
    shifted = [Record(record.recv_ns + 2 * DAY, *record[1:]) for record in map(frame, range(3, 6))]
    records, damage = read(plain(tmp_path / "rec", [line(record) for record in [*map(frame, range(3)), *shifted]]))
    assert records == [*map(frame, range(3)), *shifted]
    assert damage == ["000001.log line 6: time leaps ahead by 2.0 days; kept"]


@pytest.mark.parametrize("days", [32, 400, 20_000])
def test_what_follows_a_silence_of_months_is_not_lost(tmp_path: Path, days: int) -> None:
    shifted = [Record(record.recv_ns + days * DAY, *record[1:]) for record in map(frame, range(3, 8))]
    records, damage = read(plain(tmp_path / "rec", [line(record) for record in [*map(frame, range(3)), *shifted]]))
    assert records == [*map(frame, range(3)), *shifted]
    assert damage == [f"000001.log line 6: time leaps ahead by {days}.0 days; kept"]


@pytest.mark.parametrize("days", [-4_000, 40_000])
def test_times_before_2015_or_after_2099_are_not_believed_though_they_agree(tmp_path: Path, days: int) -> None:
    early = [Record(record.recv_ns - 5_000 * DAY, *record[1:]) for record in map(frame, range(3))]
    start = early if days < 0 else list(map(frame, range(3)))
    shifted = [Record(record.recv_ns + days * DAY, *record[1:]) for record in map(frame, range(3, 9))]
    records, damage = read(plain(tmp_path / "rec", [line(record) for record in [*start, *shifted]]))
    assert records == start
    assert damage == ["000001.log lines 6 to 11: its time leaps ahead by more than a day; left out"]


def test_two_damaged_times_that_agree_do_not_take_the_rest_along(tmp_path: Path) -> None:
    good = [frame(number) for number in range(8)]
    late = [b"%d t a {}\n" % (frame(number).recv_ns + 300 * DAY) for number in (3, 4)]
    records, damage = read(plain(tmp_path / "rec", [*map(line, good[:3]), *late, *map(line, good[3:])]))
    assert records == good
    assert damage == ["000001.log lines 6 to 7: its time leaps ahead by more than a day; left out"]


def test_damaged_times_around_a_true_leap_lose_only_themselves(tmp_path: Path) -> None:
    good = [frame(number) for number in range(4)]
    later = [Record(record.recv_ns + 40 * DAY, *record[1:]) for record in map(frame, range(4, 10))]
    wrong = [b"%d t a {}\n" % (START + days * DAY) for days in (900, 5, 1200)]
    for place in range(3):
        (tmp_path / "rec/000001.log").unlink(missing_ok=True)
        after = [line(record) for record in later]
        after[place:place] = wrong[:2] if place else wrong
        records, damage = read(plain(tmp_path / "rec", [*map(line, good), *after]))
        assert records == good + later, place
        assert "time leaps ahead by 40.0 days; kept" in " ".join(damage)


HERE = Record(START, "i", "-", encode([PERP]))
A_OPENS, B_OPENS = Record(START, "o", "a", encode(OPENED)), Record(START, "o", "b", encode(OPENED))
BROKEN = encode(Closed(LOST, "damaged recording"))


def told(record: Record) -> HeadLine:
    return record.kind, record.conn, record.payload


def anew(at: Record, *opens: Record) -> list[Record]:
    """What is put in before `at` where a piece is lost."""
    closed = [Record(at.recv_ns, "c", one.conn, BROKEN) for one in opens]
    return [*closed, *(Record(at.recv_ns, "o", one.conn, one.payload) for one in opens)]


def test_lines_lost_in_a_row_make_open_connections_begin_anew_once(tmp_path: Path) -> None:
    good = [frame(number) for number in range(8)]
    lines = [*map(line, [HERE, A_OPENS, *good[:3]]), b"rubbish\n", b"\0\0\0\n", *map(line, good[3:6])]
    lines += [b"rubbish\n", b"%d q a {}\n" % START, *map(line, good[6:])]
    records, damage = read(plain(tmp_path / "rec", lines))
    expected = [HERE, A_OPENS, *good[:3], *anew(good[3], A_OPENS), *good[3:6], *anew(good[6], A_OPENS), *good[6:]]
    assert records == expected
    assert damage[0] == "000001.log lines 8 to 9: it is no record; left out; books wait for their next snapshot"
    assert len(damage) == 3


def test_one_record_between_two_holes_begins_anew_and_so_does_the_next(tmp_path: Path) -> None:
    good = [frame(number) for number in range(4)]
    rubbish = [b"rubbish\n", b"rubbish\n"]
    lines = [*map(line, [A_OPENS, *good[:2]]), *rubbish, line(good[2]), *rubbish, line(good[3])]
    records, _ = read(plain(tmp_path / "rec", lines))
    assert records == [A_OPENS, *good[:2], *anew(good[2], A_OPENS), good[2], *anew(good[3], A_OPENS), good[3]]


def test_a_single_line_lost_leaves_it_to_the_sequence_rule(tmp_path: Path) -> None:
    good = [frame(number) for number in range(6)]
    path = plain(tmp_path / "rec", [*map(line, [A_OPENS, *good[:3]]), b"rubbish\n", *map(line, good[3:])])
    assert read(path) == ([A_OPENS, *good], ["000001.log line 7: it is no record; left out"])


def test_a_lost_line_that_leaves_a_silence_no_link_survives_begins_anew(tmp_path: Path) -> None:
    good = [frame(number) for number in range(6)]
    late = [Record(record.recv_ns + 3 * SECOND, *record[1:]) for record in good[3:]]
    path = plain(tmp_path / "rec", [*map(line, [A_OPENS, *good[:3]]), b"block of zeros" + b"\0" * 4096 + b"\n", *map(line, late)])
    records, damage = read(path)
    assert records == [A_OPENS, *good[:3], *anew(late[0], A_OPENS), *late]
    assert damage == ["000001.log line 7: it is no record; left out; books wait for their next snapshot"]


def corrupt(path: Path, member: int, name: str = "000001") -> None:
    """Damage one member of a segment."""
    file = path / f"{name}.log.gz"
    entries = msgspec.json.decode((path / f"{name}.idx").read_bytes())
    data = bytearray(file.read_bytes())
    data[[entry[1] for entry in entries if len(entry) == 2][member] + 30] ^= 0x10
    file.write_bytes(data)


def in_members(path: Path, pieces: list[list[Record]], head: Callable[[], list[HeadLine]] = list) -> Path:
    """A segment whose members hold just these records."""
    writer = RecordingWriter(path, HEADER, head, member_bytes=1)
    for piece in pieces:
        writer.flush()
        for record in piece:
            writer.write(*record)
    writer.close()
    return path


def at(number: int, record: Record) -> Record:
    return record._replace(recv_ns=frame(number).recv_ns)


def test_what_a_lost_member_opened_and_closed_is_known_from_the_index(tmp_path: Path) -> None:
    ends = Record(START, "c", "a", encode(Closed(0, "unsubscribed")))
    two = Record(START, "i", "-", encode([PERP, msgspec.structs.replace(PERP, id="BYBIT:ETH/USD:ETH", native="ETHUSD")]))
    pieces = [[HERE, A_OPENS, frame(0)], [at(1, ends), at(2, two), at(2, B_OPENS), frame(3)], [frame(4), frame(5)]]
    path = in_members(tmp_path / "rec", pieces)
    corrupt(path, 1)
    records, damage = read(path)
    gone, back = Record(frame(4).recv_ns, "c", "a", BROKEN), at(4, B_OPENS)
    assert records == [*pieces[0], gone, at(4, two), back, *pieces[2]]
    assert len(damage) == 1
    assert damage[0].endswith("where reading goes on; books wait for their next snapshot")


def test_a_lost_head_is_known_from_the_index(tmp_path: Path) -> None:
    head: list[HeadLine] = [told(HERE), told(A_OPENS), ("s", "a", encode(CHECKPOINT))]
    path = in_members(tmp_path / "rec", [[frame(0)], [frame(1), frame(2)]], lambda: head)
    corrupt(path, 0)
    records, damage = read(path)
    assert records == [at(1, HERE), at(1, A_OPENS), frame(1), frame(2)]
    assert len(damage) == 1


@pytest.mark.parametrize("index", ["old", "none", "garbled"])
def test_without_the_indexs_lines_a_lost_head_is_said_to_cost_the_segment(tmp_path: Path, index: str) -> None:
    path = in_members(tmp_path / "rec", [[HERE, A_OPENS, frame(0)], [frame(1), frame(2)]])
    corrupt(path, 0)
    file = path / "000001.idx"
    entries = msgspec.json.decode(file.read_bytes())
    wrong = [[START, "o", "a", '{"venue":"BYBIT"}'], [START, "o", "a b", OPENED.url], [START, "x"], [START, "i", "-", "[" * 5000]]
    content = {"old": encode([entry for entry in entries if len(entry) == 2]), "none": b"", "garbled": encode(wrong)}
    file.write_bytes(content[index])
    assert Recording(path).end_ns == frame(2).recv_ns
    records, damage = read(path)
    assert records == [frame(1), frame(2)]
    assert "messages are ignored up to the next segment" in damage[1]
    assert len(damage) == 2


def test_a_connection_that_closed_in_a_lost_piece_does_not_stay_open_past_the_next_head(tmp_path: Path) -> None:
    heads: list[list[HeadLine]] = [[], [told(HERE), told(B_OPENS)]]
    writer = RecordingWriter(tmp_path / "rec", HEADER, lambda: heads.pop(0), segment_bytes=1000, member_bytes=1)
    for record in (HERE, A_OPENS, B_OPENS):
        writer.write(*record)
    writer.flush()
    writer.write(*at(0, Record(START, "c", "a", encode(Closed(1000, "x" * 900)))))
    later = frame(1)._replace(conn="b")
    writer.write(*later)
    writer.close()
    corrupt(tmp_path / "rec", 1)
    records, _ = read(tmp_path / "rec")
    gone = Record(later.recv_ns, "c", "a", BROKEN)
    assert records == [HERE, A_OPENS, B_OPENS, gone, at(1, HERE), at(1, B_OPENS), later]


def test_a_hole_before_a_segment_without_a_head_begins_anew_too(tmp_path: Path) -> None:
    path = rolled(tmp_path)
    for number, records in ((1, [HERE, A_OPENS, frame(0)]), (3, [frame(1), frame(2)])):
        (path / f"{number:06d}.log.gz").unlink()
        plain(path, list(map(line, records)), f"{number:06d}.log")
    for file in path.iterdir():
        if file.name not in ("000001.log", "000003.log"):
            file.unlink()
    records, damage = read(path)
    assert records == [HERE, A_OPENS, frame(0), *anew(frame(1), A_OPENS), frame(1), frame(2)]
    assert damage == ["000003.log segment 000002 is missing before it"]


def test_a_damaged_header_costs_only_itself(tmp_path: Path) -> None:
    path = plain(tmp_path / "rec", [line(frame(0)), line(frame(1))])
    text = (path / "000001.log").read_bytes()
    (path / "000001.log").write_bytes(text.replace(b'"source"', b'"source'))
    assert read(path) == ([frame(0), frame(1)], ["000001.log line 2: the header is damaged; left out"])
    (path / "000001.log").write_bytes(b"zzz" + text[3:])
    records, damage = read(path)
    assert records == [frame(0), frame(1)]
    assert damage == ["000001.log line 1: it does not say that this is a recording; left out"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("000001.log", b"arbtop-recording 2\n{}\n", "update"),
        ("000001.log", b"hello\nworld\n", "no recording"),
        ("000001.log.gz", b"\x00" * 4000, "no recording"),
        ("000001.log", b"", "no recording"),
        ("000001.log.gz", b"", "no recording"),
        ("notes.txt", b"hello\n", "no recording"),
        ("day.gz", gzip.compress(b'1723161256172216566 {"stream":"btcusdt@trade","data":{}}\n', mtime=0), "arbtop import"),
        ("ws.txt", b"wss://dstream.binance.com/stream?streams=a <-> 1618677479.300887\n", "arbtop import"),
        ("rest.txt", b"https://dapi.binance.com/dapi/v1/depth -> 1618677479.3: {}\n", "arbtop import"),
        ("capture.jsonl", b'{"t":"header","format":2,"exchange":"BYBIT"}\n', "arbtop import"),
        ("tardis.jsonl", b'{"type":"trade","localTimestamp":"2019-04-01T00:00:00.3Z"}\n', "does not import|Tardis"),
        ("renamed.log", b"arbtop-recording 1\n{}\n", "under another name|in it is an arbtop recording"),
    ],
)
def test_a_path_that_is_no_recording_gets_one_line_that_says_what_it_is(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / name).write_bytes(content)
    for path in (tmp_path / "rec", tmp_path / "rec" / name):
        with pytest.raises(InputError, match=says) as caught:
            Recording(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_an_empty_or_absent_directory_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "rec").mkdir()
    with pytest.raises(InputError, match="empty directory"):
        Recording(tmp_path / "rec")
    with pytest.raises(InputError, match="no such file"):
        Recording(tmp_path / "elsewhere")


def test_a_hostile_file_name_does_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "\x1b]0;owned\x07").mkdir()
    with pytest.raises(InputError) as caught:
        Recording(tmp_path / "\x1b]0;owned\x07")
    assert "\x1b" not in str(caught.value)


def test_a_full_disk_is_a_state_and_leaves_whole_lines(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "rec", HEADER)
    with disk_full_at(3_000):
        for number in range(200):
            writer.frame(frame(number).recv_ns, "a", frame(number).payload)
            writer.flush()
        assert writer.failure is not None
        assert "recording stopped" in str(writer.failure)
        writer.close()
    records, damage = read(tmp_path / "rec")
    assert damage == []
    assert 0 < len(records) < 200
    assert records == [frame(number) for number in range(len(records))]
    assert [path.name for path in (tmp_path / "rec").iterdir()] == ["000001.log"]


def test_a_disk_too_full_to_compress_keeps_the_plain_segment(tmp_path: Path) -> None:
    records = [Record(START + number, "t", "a", base64.b64encode(os.urandom(300))) for number in range(100)]
    writer = RecordingWriter(tmp_path / "rec", HEADER)
    for record in records:
        writer.frame(record.recv_ns, record.conn, record.payload)
    writer.flush()
    with disk_full_at(3_000):
        writer.close()
    assert [path.name for path in (tmp_path / "rec").iterdir()] == ["000001.log"]
    assert read(tmp_path / "rec") == (records, [])


def test_a_directory_that_cannot_be_made_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot record there"):
        RecordingWriter(tmp_path / "file" / "rec", HEADER)
