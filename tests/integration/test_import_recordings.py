"""The real captures beside the repository, imported: every frame arrives, once, in order, and nothing else does."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from feeds.errors import InputError
from feeds.hub import Hub
from feeds.importers import ImportReport, import_capture
from feeds.model import BookState
from feeds.recording import Answer, Record, Recording, decode
from feeds.venue import Listener
from feeds.venues import VENUES
from tests.recordings import recording

pytestmark = pytest.mark.recordings

MARKET = {"spot": "binance-spot", "usdm": "binance-usdm", "coinm": "binance-coinm", "ws": "binance-coinm"}

SNAPSHOTS = {
    "binance-2024-08-08": [
        ("binance-spot", "depth:BTCUSDT"),
        ("binance-usdm", "depth:BTCUSDT"),
        ("binance-coinm", "depth:BTCUSD_PERP"),
    ],
    "binance-2023-04-05": [("binance-usdm", "depth:BTCUSDT")],
}


def imported(name: str, directory: Path) -> tuple[ImportReport, list[Record]]:
    report = import_capture([recording(name)], directory / name, venues=VENUES)
    made = Recording(directory / name)
    records = list(made.records())
    assert made.damage == []
    assert report.damage == ()
    assert (made.start_ns, made.end_ns) == (report.start_ns, report.end_ns)
    return report, records


def frames(path: Path) -> Iterator[bytes]:
    """The messages of a line-based capture, found without the importer."""
    with gzip.open(path) as file:
        for line in file:
            match = re.match(rb'\d+(?:\.\d+:)? (\{"(?:stream|e)":.*)\n', line)
            if match is not None:
                yield match[1]


@pytest.mark.parametrize("name", ["binance-2024-08-08", "binance-2023-04-05", "binance-coinm-2021-04-17"])
def test_every_binance_frame_arrives_once_and_in_the_order_of_its_connection(tmp_path: Path, name: str) -> None:
    report, records = imported(name, tmp_path)
    expected: dict[str, list[bytes]] = {}
    for path in sorted(recording(name).glob("*.gz")):
        if path.name.startswith("rest"):
            continue
        expected.setdefault(MARKET[re.split(r"[-.]", path.name)[0]], []).extend(frames(path))
    for conn, messages in expected.items():
        assert [record.payload for record in records if record.kind == "t" and record.conn == conn] == messages, conn
    assert report.frames == sum(map(len, expected.values())) == sum(record.kind == "t" for record in records)
    assert sum(stream.frames for stream in report.streams) == report.frames
    assert [record.recv_ns for record in records] == sorted(record.recv_ns for record in records)
    answers = [(record.conn, decode("h", record.payload)) for record in records if record.kind == "h" and record.conn != "-"]
    snapshots = [(conn, answer.key) for conn, answer in answers if isinstance(answer, Answer)]
    assert snapshots == SNAPSHOTS.get(name, snapshots)
    assert Counter(record.kind for record in records)["o"] == Counter(record.kind for record in records)["c"] == len(expected)


def test_the_dated_contracts_of_2021_come_from_the_captures_own_answer(tmp_path: Path) -> None:
    report, records = imported("binance-coinm-2021-04-17", tmp_path)
    assert len(report.instruments) == 10
    assert not any(one.assumed for one in report.instruments)
    assert "BINANCE:BTC/USD:BTC-210924" in [one.id for one in report.instruments]
    assert sum(record.kind == "h" and record.conn == "binance-coinm" for record in records) == 10
    assert report.notes == ()


def test_the_bybit_capture_is_put_in_the_order_of_time(tmp_path: Path) -> None:
    report, records = imported("bybit-2026-08-09", tmp_path)
    expected: dict[str, list[bytes]] = {}
    with gzip.open(recording("bybit-2026-08-09") / "spot-and-linear.jsonl.gz") as file:
        for line in file:
            entry = json.loads(line)
            if entry["t"] == "recv":
                expected.setdefault(entry["conn"], []).append(entry["data"].encode())
    got = {
        conn: [record.payload for record in records if record.kind == "t" and record.conn == conn]
        for conn in ("bybit-linear", "bybit-spot")
    }
    assert got == {"bybit-linear": expected["BYBIT.ws.2"], "bybit-spot": expected["BYBIT.ws.3"]}
    assert report.frames == 3227
    assert [record.recv_ns for record in records] == sorted(record.recv_ns for record in records)
    assert len({record.recv_ns for record in records if record.kind == "c"}) == 1
    assert not any(one.assumed for one in report.instruments)


@pytest.mark.parametrize(
    ("name", "venue"), [("okx-2022-05-13", "OKX"), ("deribit-2021-07-22", "DERIBIT"), ("bitmex-2021-07-22", "BITMEX")]
)
def test_captures_of_a_venue_without_an_adapter_are_refused_by_its_name(tmp_path: Path, name: str, venue: str) -> None:
    without = {key: adapter for key, adapter in VENUES.items() if key != venue}
    with pytest.raises(InputError, match=venue):
        import_capture([recording(name)], tmp_path / name, venues=without)


@pytest.mark.parametrize("name", ["binance-rest", "history"])
def test_folders_that_hold_no_capture_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        import_capture([recording(name)], tmp_path / name, venues=VENUES)


class Silent(Listener):
    """Hears and does nothing."""


def books(hub: Hub) -> dict[str, tuple[BookState, int, list[tuple[float, float]], list[tuple[float, float]]]]:
    found = {book.instrument.id: book for conn in hub.connections.values() for book in conn.session.books.values()}
    return {name: (book.state, book.seq, *book.levels(50)) for name, book in sorted(found.items())}


def test_a_segment_read_alone_ends_with_the_books_of_the_whole(tmp_path: Path) -> None:
    def hub() -> Hub:
        return Hub(VENUES, Silent())  # type: ignore[abstract]  # empty bodies of a protocol: nothing is missing

    folder = recording("bybit-2026-08-09")
    import_capture([folder], tmp_path / "rec", venues=VENUES, make_hub=hub, segment_bytes=500_000)
    made = Recording(tmp_path / "rec")
    assert len(made.segments) > 3
    whole = hub()
    for record in made.records():
        if record.kind != "c":
            whole.handle(record)
    expected = books(whole)
    assert {state for state, *_ in expected.values()} == {BookState.SYNCED}
    for segment in made.segments[1:]:
        alone = hub()
        for record in made.records(segment.start_ns):
            if record.kind != "c":
                alone.handle(record)
        assert books(alone) == expected, segment.number


def test_a_damaged_copy_of_the_night_loses_what_was_hit_and_says_so(tmp_path: Path) -> None:
    imported("binance-2023-04-05", tmp_path)
    path = tmp_path / "binance-2023-04-05"
    whole = list(Recording(path).records())
    file = path / "000001.log.gz"
    data = bytearray(file.read_bytes())
    index = msgspec.json.decode((path / "000001.idx").read_bytes())
    data[(index[9][1] + index[10][1]) // 2] ^= 0x40
    file.write_bytes(bytes(data[:-100]))
    made = Recording(path)
    records = list(made.records())
    before = [record for record in whole if record.recv_ns < index[9][0]]
    after = [record for record in whole if index[10][0] < record.recv_ns <= records[-1].recv_ns]
    assert records[: len(before)] == before
    assert [record for record in records if record.recv_ns > index[10][0]] == after[: len(records)]
    assert len(made.damage) >= 2
    assert len(records) > 0.9 * len(whole)


RAW = {"bitmex-2021-07-22": ("bitmex", "bitmex-public"), "okx-2022-05-13": ("okex", "okx-public")}


@pytest.mark.parametrize("name", RAW)
def test_a_capture_put_into_the_raw_lines_of_tardis_gives_the_same_books(tmp_path: Path, name: str) -> None:
    """The lines name no exchange: the messages' own form tells the venue."""
    exchange, conn = RAW[name]
    report, records = imported(name, tmp_path)
    own = [record for record in records if record.kind == "t" and record.conn == conn]
    path = tmp_path / "raw.jsonl"
    with path.open("wb") as file:
        for record in own:
            at = datetime.fromtimestamp(record.recv_ns // 1_000_000_000, UTC)
            micros = record.recv_ns % 1_000_000_000 // 1_000
            file.write(
                b'{"localTimestamp":"%s","message":%s}\n' % (f"{at:%Y-%m-%dT%H:%M:%S}.{micros:06}0Z".encode(), record.payload)
            )
    listed = tmp_path / "listed.json"
    listed.write_bytes(msgspec.json.encode(report.instruments))
    again = import_capture([path], tmp_path / "raw", venues=VENUES, instruments=listed)
    assert again.damage == ()
    (connection,) = again.connections
    assert (connection.conn, connection.url) == (conn, f"tardis-raw://{exchange}/public")
    made = list(Recording(tmp_path / "raw").records())
    assert [record.payload for record in made if record.kind == "t"] == [record.payload for record in own]
    found = []
    for each in (records, made):
        hub = Hub(VENUES, Silent())  # type: ignore[abstract]  # empty bodies of a protocol: nothing is missing
        for record in each:
            if record.kind != "c":
                hub.handle(record)
        found.append(books(hub))
    assert found[0] == found[1]
    assert {state for state, *_ in found[0].values()} == {BookState.SYNCED}
