"""31 s of BitMEX as recorded on 2021-07-22: every book against a replay with `json` and `dict` alone, and against its quotes."""

import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from feeds import symbols
from feeds.health import HealthBoard
from feeds.hub import Hub
from feeds.importers import import_capture
from feeds.model import MS, BookState, Channel, Contract, Fees, Instrument, Kind, Ns, Stream, Trade
from feeds.recording import Recording
from feeds.venue import NoListener, Plan
from feeds.venues.bitmex import Bitmex, BitmexSession
from tests.recordings import recording
from tests.unit.test_bybit import Heard

pytestmark = pytest.mark.recordings
VENUE = Bitmex()
Touch = tuple[float, float, float, float]


@cache
def lines() -> list[tuple[Ns, str]]:
    """(receive time, message)."""
    found = []
    with gzip.open(recording("bitmex-2021-07-22") / "ws.txt.gz", "rt") as file:
        for line in file:
            stamp, _, text = line.strip().partition(": ")
            if text.startswith("{") and not stamp.startswith("wss"):
                found.append((int(float(stamp) * 1e9), text))
    return found


@cache
def listed() -> list[dict[str, Any]]:
    with gzip.open(recording("bitmex-2021-07-22") / "rest.txt.gz", "rt") as file:
        body = file.readline().partition(": ")[2]
    return json.loads(body)  # type: ignore[no-any-return]


@cache
def instruments() -> Mapping[str, Instrument]:
    key = VENUE.catalogue_key("https://www.bitmex.com/api/v1/instrument/active")
    assert key is not None
    return {found.id: found for found in VENUE.instruments({key: json.dumps(listed()).encode()})}


def natives() -> dict[str, Instrument]:
    return {each.native: each for each in instruments().values()}


class Run:
    """The recorded connection: a session for the streams that were asked for, and its frames."""

    def __init__(self) -> None:
        topics = [message["subscribe"] for _, text in lines() if "subscribe" in (message := json.loads(text))]
        found = [VENUE.stream_of("public", topic, instruments()) for topic in topics]
        streams = tuple(stream for stream in found if stream is not None)
        assert len(streams) == len(topics) == 30
        self.heard, self.board = Heard(), HealthBoard()
        plan = Plan("BITMEX", "public", "wss://www.bitmex.com/realtime", streams)
        session = VENUE.session(plan, instruments(), self.heard, self.board)
        assert isinstance(session, BitmexSession)
        self.session = session
        session.opened(lines()[0][0])

    def play(self) -> Iterator[tuple[Ns, dict[str, Any]]]:
        """Feed each frame, then hand it out as plain JSON; time goes by between them."""
        for now, text in lines():
            if now >= self.session.deadline:
                self.session.wake(now)
            assert not self.session.frame(text.encode(), now)
            yield now, json.loads(text)


class Plain:
    """A book as the venue documents it: rows by id and side."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], dict[str, Any]] = {}

    def take(self, message: dict[str, Any]) -> None:
        if message["action"] == "partial":
            self.rows.clear()
        for row in message["data"]:
            key = row["id"], row["side"]
            if message["action"] == "delete":
                del self.rows[key]
            elif message["action"] == "update":
                self.rows[key] = {**self.rows[key], **row}
            else:
                assert key not in self.rows
                self.rows[key] = row

    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        held: dict[str, list[tuple[float, float]]] = {"Buy": [], "Sell": []}
        for row in self.rows.values():
            held[row["side"]].append((row["price"], row["size"]))
        return sorted(held["Buy"], reverse=True), sorted(held["Sell"])


def test_every_id_is_consistent_and_every_book_is_right() -> None:
    run, plain = Run(), dict[str, Plain]()
    frames = {"partial": 0, "insert": 0, "update": 0, "delete": 0}
    compared = 0
    for _, message in run.play():
        if message.get("table") != "orderBookL2":
            continue
        (symbol,) = {row["symbol"] for row in message["data"]}
        plain.setdefault(symbol, Plain()).take(message)
        frames[message["action"]] += 1
        book = run.session.books[natives()[symbol].id]
        assert book.published
        if not sum(frames.values()) % 20:
            compared += 1
            assert book.levels(1 << 20) == plain[symbol].levels()
    for symbol, expected in plain.items():
        assert run.session.books[natives()[symbol].id].levels(1 << 20) == expected.levels()
    for stream, health in run.board.streams.items():
        assert (health.gaps, health.resyncs, health.quarantined, health.ignored) == (0, 0, 0, 0), stream
    assert frames == {"partial": 10, "insert": 445, "update": 1090, "delete": 434}
    assert compared == 98


def test_ids_stood_for_prices_until_2023() -> None:
    """(10^8 · index − id) · listing tick: what the session does not rely on, and a check of the rows themselves."""
    ticks = {"XBTUSD": 0.01, "ADAUSDT": 1e-5, "SOLUSDT": 1e-3, "BCHUSD": 0.05, "TRXU21": 1e-10, "XRPU21": 1e-8}
    rows = 0
    for _, text in lines():
        message = json.loads(text)
        if message.get("table") == "orderBookL2" and message["action"] in ("partial", "insert"):
            for row in message["data"]:
                tick = ticks.get(row["symbol"])
                if tick is not None:
                    origin = row["id"] + round(row["price"] / tick)
                    assert origin % 100_000_000 == 0, row
                    rows += 1
    assert rows > 10_000


def best(book: Any) -> Touch:
    (bid, bid_size), (ask, ask_size) = book.best_of_levels()
    return bid, bid_size, ask, ask_size


def test_the_touch_is_in_step_with_the_venues_own_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    """Each recorded quote is looked for among the touches of its book, from the one that met the quote before it on.

    Quotes come in bundles, up to a second after the book, so they are matched in order, not by time. One step from quote to
    quote is one change of the touch. Where it takes two, what was in between was no moment of the market: the venue sends one
    event as up to three frames, of what it deleted, updated and inserted, in this order, and quotes only the outcome.
    """
    run = Run()
    touches: dict[str, list[tuple[Ns, str, Touch]]] = {}
    quotes: dict[str, list[Touch]] = {}
    for now, message in run.play():
        table = message.get("table")
        if table == "orderBookL2":
            symbol = message["data"][0]["symbol"]
            touch = best(run.session.books[natives()[symbol].id])
            seen = touches.setdefault(symbol, [])
            if not seen or seen[-1][2] != touch:
                seen.append((now, message["action"], touch))
        elif table == "quote":
            for row in message["data"]:
                quotes.setdefault(row["symbol"], []).append((row["bidPrice"], row["bidSize"], row["askPrice"], row["askSize"]))
    within, explained = 0, []
    for symbol, told in quotes.items():
        seen, at = touches[symbol], -1
        for quote in told:
            found = next(index for index in range(max(at, 0), len(seen)) if seen[index][2] == quote)
            if found - at <= 1:
                within += 1
            else:
                assert found - at == 2
                (since, first, between), (until, then, _) = seen[at + 1], seen[found]
                explained.append((symbol, quote, between, (until - since) / MS))
                assert (first, then) in {("delete", "update"), ("delete", "insert"), ("update", "insert")}
            at = found
    total = sum(map(len, quotes.values()))
    with capsys.disabled():
        print(f"\nBitMEX quotes met within one update of the touch: {within} of {total} ({within / total:.1%}); the others:")
        for symbol, quote, between, ms in explained:
            print(f"  {symbol} {quote}, after {between} had been the touch for {ms:.3f} ms")
    assert (total, within, len(explained)) == (436, 416, 20)
    assert max(ms for *_, ms in explained) < 3


def test_every_recorded_trade_arrives_with_its_takers_side_and_none_of_before() -> None:
    run, trades = Run(), 0
    for _, message in run.play():
        expected = []
        if message.get("table") == "trade" and message["action"] == "insert":
            expected = [
                (
                    natives()[row["symbol"]],
                    Trade(
                        row["price"],
                        row["size"],
                        row["side"].lower(),
                        round(datetime.fromisoformat(row["timestamp"]).timestamp() * 1e3) * MS,
                        row["trdMatchID"],
                    ),
                )
                for row in message["data"]
            ]
        assert run.heard.trades == expected
        trades += len(expected)
        run.heard.trades.clear()
    assert trades == 17


def test_base_and_quote_of_a_trade_are_what_the_venue_says_they_are() -> None:
    """The unit of every linear and inverse contract, by the venue's own sums."""
    checked = 0
    for _, text in lines():
        message = json.loads(text)
        for row in message["data"] if message.get("table") == "trade" else ():
            of = natives()[row["symbol"]]
            if of.contract is Contract.QUANTO:
                assert of.to_base(row["size"], row["price"]) != of.to_base(row["size"], row["price"])
                assert row["grossValue"] == pytest.approx(row["size"] * row["price"] * of.contract_size * 1e8, abs=1)
                continue
            assert of.to_base(row["size"], row["price"]) == pytest.approx(row["homeNotional"], rel=1e-3)
            assert of.to_quote(row["size"], row["price"]) == pytest.approx(row["foreignNotional"], rel=1e-9)
            checked += 1
    assert checked == 18


def test_all_that_was_sent_was_asked_for() -> None:
    run = Run()
    frames = sum("table" in message for _, message in run.play())
    assert sum(health.frames for health in run.board.streams.values()) == frames == 2089
    assert (run.board.ignored, list(run.board.said)) == (0, [])


def test_the_recorded_list_of_instruments_is_read_whole() -> None:
    found = natives()
    assert len(found) == len(listed()) == 34
    kinds = {(each.kind, each.contract) for each in found.values()}
    assert kinds == {
        (Kind.PERP, Contract.INVERSE),
        (Kind.PERP, Contract.QUANTO),
        (Kind.FUTURE, Contract.INVERSE),
        (Kind.FUTURE, Contract.QUANTO),
        (Kind.FUTURE, Contract.LINEAR),
    }
    xbt, ada, eth = found["XBTUSD"], found["ADAUSDT"], found["ETHU21"]
    assert (xbt.id, xbt.tick, xbt.lot, xbt.contract_size, xbt.funding_interval_s) == (
        "BITMEX:BTC/USD:BTC",
        0.5,
        100.0,
        1.0,
        28_800,
    )
    assert xbt.fees == Fees(-0.00025, 0.00075)
    assert found["XBTEUR"].fees == Fees(0.0, 0.0)
    assert (ada.id, ada.contract, ada.contract_size) == ("BITMEX:ADA/USDT:BTC", Contract.QUANTO, 0.01)
    assert (eth.id, eth.contract, eth.contract_size) == ("BITMEX:ETH/BTC:BTC-210924", Contract.LINEAR, 1.0)
    for row in listed():
        of = found[row["symbol"]]
        if of.contract is Contract.QUANTO:
            value = row["openInterest"] * row["markPrice"] * of.contract_size
            assert value * 1e8 == pytest.approx(row["openValue"], rel=1e-3), row["symbol"]


def test_the_string_rules_never_contradict_the_recorded_list() -> None:
    silent = []
    for found in instruments().values():
        parts = symbols.parse(found.id)
        read = symbols.native_to_parts("BITMEX", found.market, found.native)
        assert read in (None, parts)
        assert symbols.native_name(parts) == found.native
        assert (parts.kind, parts.contract) == (found.kind, found.contract)
        assert symbols.expiry_ns(parts) == found.expiry_ns
        silent += [found.native] if read is None else []
    assert len(silent) == 15
    assert all(native.endswith("USDT") for native in silent)  # the coin they settle in changed in 2021: the name does not tell


def test_the_capture_is_imported_and_replayed_with_its_own_list(tmp_path: Path) -> None:
    report = import_capture([recording("bitmex-2021-07-22")], tmp_path / "made", venues={"BITMEX": VENUE})
    assert (report.damage, report.notes, len(report.instruments)) == ((), (), 10)
    assert not any(one.assumed for one in report.instruments)
    assert report.frames == len(lines())
    hub = Hub({"BITMEX": VENUE}, NoListener())
    for record in Recording(tmp_path / "made").records():
        if record.kind != "c":
            hub.handle(record)
    (connection,) = hub.connections.values()
    run = Run()
    for _ in run.play():
        pass
    assert {book.state for book in connection.session.books.values()} == {BookState.SYNCED}
    for name, book in connection.session.books.items():
        assert book.levels(1 << 20) == run.session.books[name].levels(1 << 20)
    assert Stream("BITMEX:BTC/USD:BTC", Channel.TOUCH) in hub.health.streams
