"""Whatever happens to the bytes of a recording: reading never fails, and nothing that stands before the damage is lost.

And whichever piece of the made-up market's recording is lost, the books after it are right or not there, and every link lives.
"""

import gzip
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.errors import InputError
from feeds.hub import Hub
from feeds.model import SECOND, BookState, Instrument, LinkState, Ns
from feeds.orderbook import OrderBook
from feeds.recording import ENDED, LOST, Answer, Closed, Header, Opened, Record, Recording, RecordingWriter, decode, encode
from feeds.venue import NoListener
from feeds.venues import VENUES
from tests import made
from tests.market import instruments

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
    offsets = [entry[1] for entry in msgspec.json.decode(index) if len(entry) == 2]
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


Sides = tuple[list[tuple[float, float]], list[tuple[float, float]]]


def sides(book: OrderBook) -> Sides:
    return book.bids.levels(1 << 30), book.asks.levels(1 << 30)


class Watch(NoListener):
    """What is published: (time, instrument, update count) in order, and the levels at each update count."""

    def __init__(self) -> None:
        self.told: list[tuple[Ns, str, int]] = []
        self.levels: dict[tuple[str, int], Sides] = {}

    def on_book(self, book: OrderBook, now: Ns) -> None:
        key = (book.instrument.id, book.seq)
        self.told.append((now, *key))
        found = sides(book)
        assert self.levels.setdefault(key, found) == found

    on_touch = on_book


class Run(NamedTuple):
    hub: Hub
    seen: Watch
    records: list[Record]
    damage: list[str]

    @property
    def books(self) -> dict[str, OrderBook]:
        return {name: book for conn in self.hub.connections.values() for name, book in conn.session.books.items()}

    @property
    def lost_ns(self) -> Ns:
        """When the connections begin anew; 0 when they do not."""
        return next((record.recv_ns for record in self.records if record.kind == "c" and closed(record) == LOST), 0)


def closed(record: Record) -> int:
    value = decode("c", record.payload)
    assert isinstance(value, Closed)
    return value.code


def play(path: Path) -> Run:
    """Everything but the end, at which all connections close."""
    seen = Watch()
    hub = Hub(VENUES, seen)
    recording = Recording(path)
    records = list(recording.records())
    for record in records:
        if record.kind != "c" or closed(record) != ENDED:
            hub.handle(record)
    return Run(hub, seen, records, recording.damage)


def rest_answer(native: str, book: OrderBook) -> Answer:
    bids, asks = ([(repr(price), repr(size)) for price, size in side] for side in sides(book))
    body = encode({"lastUpdateId": book.seq, "bids": bids, "asks": asks})
    return Answer(f"depth:{native}", "", 200, body.decode())


def bybit_snapshot(instrument: Instrument, book: OrderBook, chain: int, now: Ns) -> bytes:
    bids, asks = ([(repr(price), repr(size)) for price, size in side] for side in sides(book))
    data = {"s": instrument.native, "b": bids, "a": asks, "u": chain, "seq": book.seq}
    message = {"topic": f"orderbook.50.{instrument.native}", "type": "snapshot", "ts": now // 1_000_000, "data": data}
    return encode({**message, "cts": now // 1_000_000})


SHOWN_AGAIN = 0.9
"""At this share of the recording every book's snapshot is in it once more."""


def again(path: Path, market: list[Record], *, snapshots: bool, segment_bytes: int, member_bytes: int) -> Path:
    """The made-up market written once more, in segments and members of these sizes."""
    hub = Hub(VENUES, NoListener())
    header = Header(start_wall_ns=market[0].recv_ns)
    writer = RecordingWriter(path, header, hub.head, segment_bytes=segment_bytes, member_bytes=member_bytes)
    due = {instrument.id: instrument for instrument in instruments().values()} if snapshots else {}
    show_ns = market[0].recv_ns + int((market[-1].recv_ns - market[0].recv_ns) * SHOWN_AGAIN)
    for record in market:
        written = [record]
        hub.handle(record)
        at, _, conn, _ = record
        connection = hub.connections.get(conn)
        for feed in list(connection.session.feeds.values()) if connection is not None and at >= show_ns else []:  # type: ignore[attr-defined]
            instrument = due.pop(feed.instrument.id, None)
            if instrument is not None and instrument.venue == "BINANCE":
                written.append(Record(at, "h", conn, encode(rest_answer(instrument.native, feed.book))))
            elif instrument is not None:
                written.append(Record(at, "t", conn, bybit_snapshot(instrument, feed.book, feed.chain, at)))
        for one in written:
            writer.write(*one)
    writer.close()
    assert not due
    return path


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    path = tmp_path_factory.mktemp("made") / "rec"
    made.record(path, seed=4, seconds=24)
    return list(Recording(path).records())


@pytest.fixture(scope="module")
def one_segment(market: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("one") / "rec"
    return again(path, market, snapshots=True, segment_bytes=1 << 30, member_bytes=600_000)


@pytest.fixture(scope="module")
def one_segment_run(one_segment: Path) -> Run:
    return play(one_segment)


def members(path: Path, segment: int = 1) -> list[int]:
    """Where each member of a segment begins."""
    entries = msgspec.json.decode((path / f"{segment:06d}.idx").read_bytes())
    return [entry[1] for entry in entries if len(entry) == 2]


def without_member(path: Path, to: Path, member: int, segment: int = 1) -> Path:
    """A copy in which one member is damaged."""
    shutil.copytree(path, to)
    file = to / f"{segment:06d}.log.gz"
    data = bytearray(file.read_bytes())
    at = members(path, segment)[member] + 200
    for place in range(at, at + 100):
        data[place] ^= 0x5A
    file.write_bytes(data)
    return to


def test_after_any_lost_member_links_live_and_books_wait_for_their_snapshot(
    one_segment: Path, one_segment_run: Run, tmp_path: Path
) -> None:
    whole = one_segment_run
    count = len(members(one_segment))
    assert count >= 5
    assert {book.state for book in whole.books.values()} == {BookState.SYNCED}
    start_ns, end_ns = whole.records[0].recv_ns, whole.records[-1].recv_ns
    show_ns = start_ns + int((end_ns - start_ns) * SHOWN_AGAIN)
    for member in range(count):
        run = play(without_member(one_segment, tmp_path / f"{member}", member))
        frames = [record for record in run.records if record.kind == "t"]
        assert len(frames) < sum(record.kind == "t" for record in whole.records) - 500
        assert run.hub.instruments == whole.hub.instruments
        assert run.hub.connections.keys() == whole.hub.connections.keys()
        assert run.hub.frames == len(frames)
        assert run.hub.health.ignored == whole.hub.health.ignored == 0
        assert run.hub.quarantined == 0
        assert {conn.session.link for conn in run.hub.connections.values()} == {LinkState.READY}
        assert run.seen.levels.items() <= whole.seen.levels.items()
        assert len(run.damage) == 1
        if member == count - 1:
            assert not run.lost_ns
            continue
        assert "books wait for their next snapshot" in run.damage[0]
        begun_ns = next(record.recv_ns for record in run.records if record.kind == "o") if not member else run.lost_ns
        assert begun_ns < show_ns
        assert not [told for told in run.seen.told if begun_ns <= told[0] < show_ns]
        assert {told[1] for told in run.seen.told if told[0] >= show_ns} == whole.books.keys()
        assert {name: sides(book) for name, book in run.books.items()} == {
            name: sides(book) for name, book in whole.books.items()
        }
        before = [record.recv_ns for record in run.records if record.recv_ns < begun_ns]
        assert not before or begun_ns - before[-1] > 4.5 * SECOND  # a session alone would take its link for dead


def test_without_a_later_snapshot_no_book_comes_back_after_a_lost_member(market: list[Record], tmp_path: Path) -> None:
    path = again(tmp_path / "rec", market, snapshots=False, segment_bytes=1 << 30, member_bytes=1_200_000)
    whole = play(path)
    for member in (0, 1):
        run = play(without_member(path, tmp_path / f"{member}", member))
        begun_ns = run.lost_ns or run.records[0].recv_ns
        assert not [told for told in run.seen.told if told[0] >= begun_ns]
        assert {book.state for book in run.books.values()} == {BookState.BUFFERING}
        assert {conn.session.link for conn in run.hub.connections.values()} == {LinkState.READY}
        assert run.seen.levels.items() <= whole.seen.levels.items()


def test_the_segment_after_a_lost_member_brings_every_book_back(market: list[Record], tmp_path: Path) -> None:
    path = again(tmp_path / "rec", market, snapshots=False, segment_bytes=700_000, member_bytes=100_000)
    whole = play(path)
    segments = Recording(path).segments
    assert len(segments) >= 4
    for segment in (1, 2):
        for member in (0, 3, len(members(path, segment)) - 1):
            run = play(without_member(path, tmp_path / f"{segment}-{member}", member, segment))
            back_ns = segments[segment].start_ns
            assert run.hub.health.ignored == 0
            assert run.seen.levels.items() <= whole.seen.levels.items()
            assert [told for told in run.seen.told if told[0] > back_ns] == [
                told for told in whole.seen.told if told[0] > back_ns
            ], (segment, member)
            assert {conn.session.link for conn in run.hub.connections.values()} == {LinkState.READY}


def test_a_seek_into_a_segment_whose_head_is_lost_knows_instruments_and_connections(market: list[Record], tmp_path: Path) -> None:
    path = again(tmp_path / "rec", market, snapshots=False, segment_bytes=700_000, member_bytes=100_000)
    damaged_path = without_member(path, tmp_path / "lost", 0, 2)
    recording = Recording(damaged_path)
    found = list(recording.records(recording.segments[1].start_ns))
    assert [record.kind for record in found[:8]] == ["i", *"o" * 7]
    assert {record.conn for record in found[1:8]} == {record.conn for record in market if record.kind == "o"}
    assert found[0].recv_ns == found[8].recv_ns
