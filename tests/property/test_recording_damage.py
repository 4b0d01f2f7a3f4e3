"""Whatever happens to the bytes of a recording: reading never fails, and nothing that stands before the damage is lost."""

import gzip
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.errors import InputError
from feeds.recording import Header, Opened, Record, Recording, RecordingWriter, encode

START = 1_723_161_253_937_085_768
DAMAGE = st.tuples(
    st.sampled_from(["cut", "flip", "delete", "insert", "zero"]),
    st.floats(0, 1),
    st.integers(1, 400),
    st.binary(min_size=1, max_size=60),
)


def records() -> list[Record]:
    made = [Record(START, "o", "a", encode(Opened("BINANCE", "spot", "", [("BINANCE:BTC/USDT", "book")])))]
    for number in range(1, 160):
        payload = b'{"n":%d,"x":"%x"}' % (number, 3 ** (number % 89) * 7**40)
        if number % 20 == 0:
            payload = b"\xff\x00\n" + payload
        made.append(Record(START + number * 10_000_000 + number % 7, "t", "a", payload))
    return made


WHOLE = records()


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "rec"
    writer = RecordingWriter(path, Header(start_wall_ns=START), member_bytes=1_500)
    for record in WHOLE:
        if record.kind == "t":
            writer.frame(record.recv_ns, record.conn, record.payload)
        else:
            writer.write(*record)
        writer.flush()
    writer.close()
    return path


def damaged(data: bytes, damage: tuple[str, float, int, bytes]) -> tuple[bytes, int]:
    """The bytes after the damage, and where it begins."""
    what, share, size, noise = damage
    at = int(share * (len(data) - 1))
    changes: dict[str, Callable[[], bytes]] = {
        "cut": lambda: data[:at],
        "flip": lambda: data[:at] + bytes([data[at] ^ (1 << size % 8)]) + data[at + 1 :],
        "delete": lambda: data[:at] + data[at + size :],
        "insert": lambda: data[:at] + noise + data[at:],
        "zero": lambda: data[:at] + b"\0" * min(size, len(data) - at) + data[at + size :],
    }
    return changes[what](), at


def opened(directory: Path) -> tuple[Recording | None, str]:
    try:
        return Recording(directory), ""
    except InputError as error:
        return None, str(error)


def read(name: str, data: bytes, index: bytes | None) -> tuple[list[Record], list[str]] | None:
    """Records and damage; None where the path is no recording any more."""
    directory = Path(tempfile.mkdtemp())
    try:
        (directory / name).write_bytes(data)
        if index is not None:
            (directory / "000001.idx").write_bytes(index)
        recording, refusal = opened(directory)
        if recording is None:
            assert refusal
            assert "\n" not in refusal
            return None
        found = list(recording.records())
        assert [record.recv_ns for record in found] == sorted(record.recv_ns for record in found)
        assert recording.start_ns >= 0
        assert recording.end_ns >= 0
        return found, recording.damage
    finally:
        shutil.rmtree(directory)


@settings(max_examples=200, deadline=None)
@given(damage=DAMAGE)
def test_a_damaged_plain_segment_keeps_every_line_before_the_damage(segment: Path, damage: tuple[str, float, int, bytes]) -> None:
    text = gzip.decompress((segment / "000001.log.gz").read_bytes())
    data, at = damaged(text, damage)
    before = text[:at].count(b"\n") - 2
    result = read("000001.log", data, None)
    if result is None:
        assert before <= 0
        return
    found, told = result
    if before > 0:
        assert found[:before] == WHOLE[:before]
    known = set(WHOLE)
    intact = [record for record in found if record in known]
    after = text[at + 401 :]
    expected_after = WHOLE[len(WHOLE) - max(after.count(b"\n") - 2, 0) :] if damage[0] != "cut" else []
    assert [record for record in expected_after if record not in set(intact)] == []
    if len(intact) < len(WHOLE) and data != text and not data.endswith(b"\n"):
        assert told


@settings(max_examples=200, deadline=None)
@given(damage=DAMAGE, indexed=st.booleans())
def test_a_damaged_compressed_segment_keeps_every_member_before_and_after(
    segment: Path, damage: tuple[str, float, int, bytes], indexed: bool
) -> None:
    whole = (segment / "000001.log.gz").read_bytes()
    index = (segment / "000001.idx").read_bytes()
    data, at = damaged(whole, damage)
    offsets = [offset for _, offset in msgspec.json.decode(index)]
    kept = max((offset for offset in offsets if offset <= at), default=0)
    before = gzip.decompress(whole[:kept]).count(b"\n") - 2 if kept else 0
    result = read("000001.log.gz", data, index if indexed else None)
    if result is None:
        assert before <= 0
        return
    found, told = result
    assert found[: max(before, 0)] == WHOLE[: max(before, 0)]
    if damage[0] != "cut":
        later = [offset for offset in offsets if offset >= at + damage[2]]
        after = gzip.decompress(whole[later[0] :]).count(b"\n") if later else 0
        assert after == 0 or found[-after:] == WHOLE[-after:]
    if len(found) < len(WHOLE) and at not in offsets:
        assert told


@settings(max_examples=100, deadline=None)
@given(damages=st.lists(DAMAGE, min_size=2, max_size=6), compressed=st.booleans(), index=st.none() | st.binary(max_size=80))
def test_any_amount_of_damage_is_no_exception(
    segment: Path, damages: list[tuple[str, float, int, bytes]], compressed: bool, index: bytes | None
) -> None:
    data = (segment / "000001.log.gz").read_bytes()
    if not compressed:
        data = gzip.decompress(data)
    for damage in damages:
        if data:
            data, _ = damaged(data, damage)
    read("000001.log.gz" if compressed else "000001.log", data, index)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=600), compressed=st.booleans())
def test_any_bytes_under_a_segments_name_are_no_exception(data: bytes, compressed: bool) -> None:
    read("000001.log.gz", gzip.compress(data) if compressed else data, data)
    read("000001.log", b"arbtop-recording 1\n" + data, None)
