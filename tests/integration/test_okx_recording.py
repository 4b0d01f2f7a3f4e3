"""Eleven seconds of OKX as recorded on 2022-05-13: spot, swap and dated future on one socket, every checksum, every book."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from feeds import symbols
from feeds.health import HealthBoard
from feeds.hub import Hub
from feeds.importers import import_capture
from feeds.model import MS, BookState, Channel, Contract, Instrument, Kind, Stats24h, Stream, Trade
from feeds.recording import Recording
from feeds.venue import NoListener
from feeds.venues.okx import Okx, OkxSession
from tests.recordings import recording
from tests.unit.test_okx import Heard

pytestmark = pytest.mark.recordings
VENUE = Okx()
CHANNELS = (Channel.BOOK, Channel.TRADE, Channel.TICKER)
NATIVES = ("BTC-USD-220527", "UNI-USD-SWAP", "BTC-USDT")


@cache
def lines() -> list[dict[str, Any]]:
    text = gzip.decompress((recording("okx-2022-05-13") / "spot-swap-futures.jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in text.splitlines()]


@cache
def lists() -> Mapping[str, bytes]:
    """The recorded instrument lists, by the adapter's own names for them; the last of each."""
    answers = {}
    for line in lines():
        if line["t"] == "http":
            key = VENUE.catalogue_key(line["url"])
            assert key is not None
            answers[key] = line["data"].encode()
    return answers


@cache
def instruments() -> Mapping[str, Instrument]:
    return {found.id: found for found in VENUE.instruments(lists())}


def native() -> dict[str, Instrument]:
    return {each.native: each for each in instruments().values()}


class Run:
    """The recorded connection: a session for what was asked for, and its frames in order of time."""

    def __init__(self) -> None:
        streams = [Stream(native()[name].id, channel) for name in NATIVES for channel in CHANNELS]
        self.heard, self.board = Heard(), HealthBoard()
        (plan,) = VENUE.plan(streams, instruments())
        assert plan.url == next(line["addr"] for line in lines() if line["t"] == "connect")
        session = VENUE.session(plan, instruments(), self.heard, self.board)
        assert isinstance(session, OkxSession)
        self.session = session
        self.frames = [(int(float(line["ts"]) * 1e9), line["data"]) for line in lines() if line["t"] == "recv"]
        assert self.frames == sorted(self.frames, key=lambda frame: frame[0])
        self.asked = session.opened(self.frames[0][0])

    def play(self) -> Iterator[dict[str, Any]]:
        """Feed each frame, then hand it out as plain JSON."""
        for now, text in self.frames:
            assert not self.session.frame(text.encode(), now)
            yield json.loads(text)


class Plain:
    """A book as the venue documents it, with the venue's own texts: two dicts."""

    def __init__(self) -> None:
        self.bids: dict[float, tuple[str, str]] = {}
        self.asks: dict[float, tuple[str, str]] = {}

    def take(self, message: dict[str, Any]) -> None:
        (data,) = message["data"]
        if message["action"] == "snapshot":
            self.bids, self.asks = {}, {}
        for side, levels in ((self.bids, data["bids"]), (self.asks, data["asks"])):
            for price, size, *_ in levels:
                if float(size):
                    side[float(price)] = (price, size)
                else:
                    side.pop(float(price), None)

    def checksum(self) -> int:
        """Of the recorded texts: what the venue says it is."""
        bids = [":".join(text) for _, text in sorted(self.bids.items(), reverse=True)[:25]]
        asks = [":".join(text) for _, text in sorted(self.asks.items())[:25]]
        both = [text for pair in zip(bids, asks, strict=False) for text in pair]
        both += bids[len(asks) :] + asks[len(bids) :]
        value = crc32(":".join(both).encode())
        return value - (1 << 32) if value >> 31 else value

    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        bids = [(price, float(size)) for price, (_, size) in sorted(self.bids.items(), reverse=True)]
        return bids, [(price, float(size)) for price, (_, size) in sorted(self.asks.items())]


def test_all_290_checksums_are_right_and_every_book_is_the_plain_one() -> None:
    run, plain, checked = Run(), dict[str, Plain](), Counter[str]()
    for message in run.play():
        if message.get("arg", {}).get("channel") != "books" or "data" not in message:
            continue
        name, (data,) = message["arg"]["instId"], message["data"]
        plain.setdefault(name, Plain()).take(message)
        assert plain[name].checksum() == data["checksum"]
        book = run.session.books[native()[name].id]
        assert book.published
        assert book.levels(1_000) == plain[name].levels()
        assert (book.venue_ns, book.seq) == (int(data["ts"]) * MS, int(data["ts"]))
        assert book.leg.raw_ns == book.recv_ns - book.venue_ns
        checked[message["action"]] += 1
    assert checked == {"snapshot": 3, "update": 287}
    assert {name: tuple(map(len, book.levels())) for name, book in plain.items()} == {
        "BTC-USD-220527": (74, 62),
        "UNI-USD-SWAP": (125, 118),
        "BTC-USDT": (400, 400),
    }
    for stream, health in run.board.streams.items():
        assert (health.gaps, health.resyncs, health.quarantined, health.ignored) == (0, 0, 0, 0), stream


def test_a_lost_update_is_found_out_by_the_checksum_before_a_wrong_best_level_is_shown() -> None:
    """What lies below the best 25 levels no checksum covers: three of the updates left out here changed nothing above."""
    lost = found = looked = 0
    books = [number for number, (_, text) in enumerate(Run().frames) if '"books"' in text and '"update"' in text]
    for missing in books[::7]:
        run, plain = Run(), dict[str, Plain]()
        lost += 1
        for number, (now, text) in enumerate(run.frames):
            message = json.loads(text)
            if number != missing:
                run.session.frame(text.encode(), now)
            if message.get("arg", {}).get("channel") != "books" or "data" not in message:
                continue
            name = message["arg"]["instId"]
            plain.setdefault(name, Plain()).take(message)
            book = run.session.books[native()[name].id]
            if number > missing and book.published:
                looked += 1
                assert book.levels(25) == tuple(side[:25] for side in plain[name].levels())
        fallen = [book for book in run.session.books.values() if book.state is not BookState.SYNCED]
        assert [book.reason for book in fallen] in ([], ["checksum"])
        found += len(fallen)
    assert (lost, found) == (41, 38)
    assert looked > 3_000


def test_every_recorded_trade_arrives_with_its_takers_side() -> None:
    run, trades = Run(), 0
    for message in run.play():
        if message.get("arg", {}).get("channel") == "trades" and "data" in message:
            rows = message["data"]
            assert run.heard.trades == [
                (
                    native()[row["instId"]],
                    Trade(float(row["px"]), float(row["sz"]), row["side"], int(row["ts"]) * MS, row["tradeId"]),
                )
                for row in rows
            ]
            trades += len(rows)
            run.heard.trades.clear()
        assert not run.heard.trades
    assert trades == 74


def test_every_recorded_ticker_is_volume_in_coin_and_in_dollars() -> None:
    run, tickers = Run(), Counter[str]()
    for message in run.play():
        if message.get("arg", {}).get("channel") == "tickers" and "data" in message:
            (row,) = message["data"]
            ((id_, told),) = run.heard.told
            assert id_ == native()[row["instId"]].id
            assert isinstance(told, Stats24h)
            assert told.venue_ns == int(row["ts"]) * MS
            base, other = ("vol24h", "volCcy24h") if row["instType"] == "SPOT" else ("volCcy24h", "vol24h")
            assert told.base_volume == float(row[base])
            assert told.quote_volume == float(row[other]) * (
                1 if row["instType"] == "SPOT" else native()[row["instId"]].contract_size
            )
            assert told.quote_volume / told.base_volume == pytest.approx(float(row["last"]), rel=0.06)
            tickers[row["instId"]] += 1
            run.heard.told.clear()
        assert not run.heard.told
    assert tickers == {"BTC-USDT": 25, "BTC-USD-220527": 2, "UNI-USD-SWAP": 1}


def test_every_frame_is_somebodys_and_acknowledgements_are_no_data() -> None:
    run = Run()
    list(run.play())
    assert (run.board.ignored, list(run.board.said)) == (0, [])
    acknowledged = sum('"event"' in text for _, text in run.frames)
    assert sum(health.frames for health in run.board.streams.values()) + acknowledged == len(run.frames)
    assert acknowledged == 18


def test_the_recorded_requests_are_spelled_as_the_session_spells_them() -> None:
    recorded = [arg for line in lines() if line["t"] == "send" for arg in json.loads(line["data"])["args"]]
    (uni,) = [each for each in NATIVES if each.startswith("UNI")]
    streams = [Stream(native()[uni].id, channel) for channel in CHANNELS]
    (plan,) = VENUE.plan(streams, instruments())
    sends = VENUE.session(plan, instruments(), Heard(), HealthBoard()).opened(0)
    asked = [arg for send in sends for arg in json.loads(getattr(send, "text", "{}"))["args"]]
    assert [arg for arg in recorded if arg["instId"] == uni and arg not in asked] == []


def test_the_real_instrument_lists_are_read_whole() -> None:
    found = instruments().values()
    assert Counter(each.kind for each in found) == {Kind.SPOT: 513, Kind.PERP: 166, Kind.FUTURE: 104, Kind.OPTION: 696}
    rows = {row["instId"] for body in lists().values() for row in json.loads(body)["data"] if row["state"] == "live"}
    assert rows == {each.native for each in found}
    spot, swap, dated = (native()[name] for name in ("BTC-USDT", "UNI-USD-SWAP", "BTC-USD-220527"))
    assert (spot.id, spot.tick, spot.lot, spot.contract_size) == ("OKX:BTC/USDT", 0.1, 1e-8, 1.0)
    assert (swap.id, swap.contract, swap.contract_size, swap.tick) == ("OKX:UNI/USD:UNI", Contract.INVERSE, 10.0, 0.001)
    assert (dated.id, dated.contract, dated.contract_size, dated.expiry_ns) == (
        "OKX:BTC/USD:BTC-220527",
        Contract.INVERSE,
        100.0,
        1653638400000 * MS,
    )
    linear = native()["BTC-USDT-SWAP"]
    assert (linear.id, linear.contract, linear.contract_size, linear.lot) == ("OKX:BTC/USDT:USDT", Contract.LINEAR, 0.01, 1.0)


def test_the_string_rules_never_contradict_the_real_lists() -> None:
    for found in instruments().values():
        parts = symbols.parse(found.id)
        assert symbols.native_to_parts("OKX", found.market, found.native) == parts
        assert symbols.native_name(parts) == found.native
        assert parts.kind is found.kind
        assert found.kind is Kind.OPTION or parts.contract is found.contract
        assert symbols.expiry_ns(parts) == found.expiry_ns


def test_the_capture_is_imported_whole_and_its_replay_ends_with_the_same_books(tmp_path: Path) -> None:
    report = import_capture([recording("okx-2022-05-13")], tmp_path / "made", venues={"OKX": VENUE})
    assert (report.damage, report.notes) == ((), ())
    assert [(each.venue, each.market, each.frames) for each in report.connections] == [("OKX", "public", len(Run().frames))]
    assert {each.native for each in report.instruments} == set(NATIVES)
    assert not any(each.assumed for each in report.instruments)
    hub = Hub({"OKX": VENUE}, NoListener())
    published = 0
    for record in Recording(tmp_path / "made").records():
        hub.handle(record)
        for connection in hub.connections.values():
            published = max(published, sum(book.published for book in connection.session.books.values()))
            if record.recv_ns == report.end_ns and record.kind == "t":
                books = {book.instrument.native: book.levels(1_000) for book in connection.session.books.values()}
    run, plain = Run(), dict[str, Plain]()
    for message in run.play():
        if message.get("arg", {}).get("channel") == "books" and "data" in message:
            plain.setdefault(message["arg"]["instId"], Plain()).take(message)
    assert published == 3
    assert books == {name: book.levels() for name, book in plain.items()}
    assert (hub.quarantined, hub.health.ignored) == (0, 0)
