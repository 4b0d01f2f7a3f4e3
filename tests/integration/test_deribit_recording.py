"""31 s of Deribit as recorded on 2021-07-22, ten options: every book against a replay with `json` and `dict` alone."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from feeds import symbols
from feeds.health import HealthBoard
from feeds.hub import Hub
from feeds.importers.capture import import_capture
from feeds.model import MS, BookState, Channel, Contract, Fees, Instrument, Kind, LinkState, Status
from feeds.recording.reader import Recording
from feeds.venue import NoListener
from feeds.venues.deribit import Deribit, DeribitSession
from tests.recordings import recording
from tests.unit.test_bybit import Heard

pytestmark = pytest.mark.recordings
VENUE = Deribit()
FILE = "options.jsonl.gz"


@cache
def lines() -> list[dict[str, Any]]:
    text = gzip.decompress((recording("deribit-2021-07-22") / FILE).read_bytes()).decode()
    return [json.loads(line) for line in text.splitlines()]


@cache
def listed() -> list[dict[str, Any]]:
    return [row for line in lines() if line["t"] == "http" for row in json.loads(line["data"])["result"]]


@cache
def instruments() -> Mapping[str, Instrument]:
    answers = {}
    for line in lines():
        if line["t"] == "http":
            key = VENUE.catalogue_key(line["url"])
            assert key is not None
            answers[key] = line["data"].encode()
    return {found.id: found for found in VENUE.instruments(answers)}


@cache
def natives() -> dict[str, Instrument]:
    return {each.native: each for each in instruments().values()}


class Run:
    """The recording's one connection: a session for what was asked for, and its frames."""

    def __init__(self) -> None:
        (asked,) = [json.loads(line["data"])["params"]["channels"] for line in lines() if line["t"] == "send"]
        streams = [stream for topic in asked if (stream := VENUE.stream_of("public", topic, instruments())) is not None]
        self.asked = asked
        self.heard, self.board = Heard(), HealthBoard()
        (plan,) = VENUE.plan(streams, instruments())
        assert plan.url == next(line["addr"] for line in lines() if line["t"] == "connect")
        session = VENUE.session(plan, instruments(), self.heard, self.board)
        assert isinstance(session, DeribitSession)
        self.session = session
        self.frames = [(int(float(line["ts"]) * 1e9), line["data"]) for line in lines() if line["t"] == "recv"]
        session.opened(self.frames[0][0])

    def play(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Feed each frame, then hand out its channel and its data as plain JSON."""
        for now, text in self.frames:
            assert not self.session.frame(text.encode(), now)
            params = json.loads(text).get("params", {})
            yield params.get("channel", ""), params.get("data", {})


class Plain:
    """A book as the venue documents it: two dicts and the last change id."""

    def __init__(self) -> None:
        self.sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self.change_id = -1

    def take(self, data: dict[str, Any]) -> None:
        if data["type"] == "snapshot":
            assert "prev_change_id" not in data
            self.sides = ({}, {})
        else:
            assert data["prev_change_id"] == self.change_id < data["change_id"]
        self.change_id = data["change_id"]
        for side, changes in zip(self.sides, (data["bids"], data["asks"]), strict=True):
            for action, price, amount in changes:
                assert (action == "new") == (price not in side), "a level that is new was there, or one that changes was not"
                if action == "delete":
                    assert amount == 0
                    del side[price]
                else:
                    assert amount > 0
                    side[price] = amount

    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        bids, asks = self.sides
        return sorted(bids.items(), reverse=True), sorted(asks.items())


def test_every_recorded_change_follows_and_every_book_is_right_after_every_frame() -> None:
    run, plain = Run(), dict[str, Plain]()
    kinds = Counter[str]()
    for channel, data in run.play():
        if not channel.startswith("book."):
            continue
        native = data["instrument_name"]
        plain.setdefault(native, Plain()).take(data)
        kinds[data["type"]] += 1
        book = run.session.books[natives()[native].id]
        assert book.published
        assert book.levels(1_000) == plain[native].levels()
        assert (book.seq, book.venue_ns) == (data["timestamp"], data["timestamp"] * MS)
        assert run.session.feeds[book.instrument.id].chain == data["change_id"]
    assert kinds == {"snapshot": 10, "change": 36}
    assert len(plain) == 10
    for stream, health in run.board.streams.items():
        assert (health.gaps, health.resyncs, health.quarantined, health.ignored) == (0, 0, 0, 0), stream
        assert run.heard.statuses[-1][1] == Status(LinkState.READY, BookState.SYNCED)


def test_time_orders_best_quotes_and_books() -> None:
    """Each ticker shows the touch, price and amount, of the book's last change at or before the ticker's own time.

    This is what lets a best quote lie over a book by its time alone. 0 is an empty side.
    """
    run, tickers = Run(), list[dict[str, Any]]()
    touches: dict[str, list[tuple[int, list[tuple[float, float]]]]] = {}
    for channel, data in run.play():
        if channel.startswith("ticker."):
            tickers.append(data)
        elif channel.startswith("book."):
            book = run.session.books[natives()[data["instrument_name"]].id]
            touch = [side if side[0] == side[0] else (0.0, 0.0) for side in book.best_of_levels()]
            touches.setdefault(data["instrument_name"], []).append((data["timestamp"], touch))
    same = 0
    for ticker in tickers:
        before = [touch for at, touch in touches[ticker["instrument_name"]] if at <= ticker["timestamp"]]
        same += before[-1] == [(ticker[f"best_{side}_price"], ticker[f"best_{side}_amount"]) for side in ("bid", "ask")]
    assert (same, len(tickers)) == (89, 89)


def test_everything_but_books_is_counted_as_ignored_and_answers_are_no_data() -> None:
    run = Run()
    kinds = Counter(channel.partition(".")[0] for channel, _ in run.play())
    assert kinds == {"book": 46, "ticker": 89, "": 1}
    assert run.board.ignored == kinds["ticker"]
    assert sum(health.frames for health in run.board.streams.values()) == kinds["book"]
    assert not run.board.said


def test_the_recorded_answer_grants_all_that_was_asked_for() -> None:
    run = Run()
    granted = json.loads(run.frames[0][1])["result"]
    assert sorted(granted) == sorted(run.asked)
    assert granted != run.asked


def test_the_real_instrument_lists_are_read_whole() -> None:
    found = instruments()
    assert len(found) == len(listed()) == 1_017
    kinds = Counter((each.kind, each.contract) for each in found.values())
    assert kinds == {
        (Kind.OPTION, Contract.QUANTO): 980,
        (Kind.FUTURE, Contract.INVERSE): 18,
        (Kind.PERP, Contract.INVERSE): 3,
        (Kind.PERP, Contract.LINEAR): 16,
    }
    perp = found["DERIBIT:BTC/USD:BTC"]
    assert (perp.native, perp.tick, perp.lot, perp.expiry_ns, perp.fees) == ("BTC-PERPETUAL", 0.5, 10.0, 0, Fees(0.0, 0.0005))
    dated = found["DERIBIT:BTC/USD:BTC-220325"]
    assert (dated.native, dated.expiry_ns) == ("BTC-25MAR22", 1648195200000 * MS)
    weekly = found["DERIBIT:SOL/USD:SOL-220610"]
    assert (weekly.native, weekly.fees) == ("SOL-10JUN22", Fees(-0.0002, 0.0005))
    linear = found["DERIBIT:DOGE/USDC:USDC"]
    assert (linear.native, linear.tick, linear.lot, linear.contract_size) == ("DOGE_USDC-PERPETUAL", 1e-05, 100.0, 1.0)


def test_every_row_of_the_real_lists_is_read_as_it_stands() -> None:
    for row in listed():
        found = natives()[row["instrument_name"]]
        assert (found.tick, found.lot) == (row["tick_size"], row["min_trade_amount"])
        assert found.fees == Fees(row["maker_commission"], row["taker_commission"])
        assert found.base == row["base_currency"]
        perpetual = row["settlement_period"] == "perpetual"
        assert (found.kind is Kind.PERP) == perpetual
        assert found.expiry_ns == (0 if perpetual else row["expiration_timestamp"] * MS)
        if "price_index" in row:
            assert f"{found.base}_{found.quote}".lower() == row["price_index"]


def test_the_string_rules_never_contradict_the_real_lists() -> None:
    for found in instruments().values():
        parts = symbols.parse(found.id)
        assert symbols.native_to_parts("DERIBIT", found.market, found.native) == parts
        assert symbols.native_name(parts) == found.native
        assert parts.kind is found.kind
        assert symbols.expiry_ns(parts) == found.expiry_ns


def test_an_imported_capture_replays_to_the_same_books(tmp_path: Path) -> None:
    venues = {VENUE.id: VENUE}
    report = import_capture([recording("deribit-2021-07-22")], tmp_path / "made", venues=venues)
    assert report.frames == 136
    assert len(report.instruments) == 10
    assert not any(each.assumed for each in report.instruments)
    hub = Hub(venues, NoListener())
    for record in Recording(tmp_path / "made").records():
        if record.kind != "c":
            hub.handle(record)
    run = Run()
    for _ in run.play():
        pass
    (connection,) = hub.connections.values()
    assert {name: book.levels(1_000) for name, book in connection.session.books.items()} == {
        name: book.levels(1_000) for name, book in run.session.books.items()
    }
    assert all(stream.channel is Channel.BOOK for stream in run.session.streams)
