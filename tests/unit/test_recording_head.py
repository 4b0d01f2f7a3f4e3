"""A recording begun in the middle of a run shows from its first line on what the run showed, best quotes over books included."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from feeds.hub import Hub
from feeds.model import MS, SECOND, Channel, Ns, Stream
from feeds.orderbook import OrderBook
from feeds.recording.format import Answer, Opened, Record
from feeds.venue import NoListener, Plan
from feeds.venues import VENUES
from tests.market import instruments

START: Ns = 1_790_000_000 * SECOND
SPOT, LINEAR = "BINANCE:BTC/USDT", "BYBIT:BTC/USDT:USDT"


class Run:
    """A hub that is told things, and what a recording that begins now would hold."""

    def __init__(self, name: str, market: str) -> None:
        self.hub = Hub(VENUES, NoListener())
        self.now = START
        self.name = name
        self.hub.watch(instruments().values(), self.now)
        plan = Plan(name.partition(":")[0], market, "wss://host", (Stream(name, Channel.BOOK), Stream(name, Channel.TOUCH)))
        self.take("o", Opened.of(plan))

    def take(self, kind: str, value: object) -> None:
        self.now += 10 * MS
        self.hub.handle(Record(self.now, kind, "a", msgspec.json.encode(value)))

    @property
    def book(self) -> OrderBook:
        return self.hub.connections["a"].session.books[self.name]

    def shown(self) -> tuple[object, ...]:
        return str((self.book.bid, self.book.bid_size, self.book.ask, self.book.ask_size)), self.book.levels(5), self.book.seq

    def begun_now(self) -> "Run":
        other = object.__new__(Run)
        other.hub, other.now, other.name = Hub(VENUES, NoListener()), self.now, self.name
        for kind, conn, payload in self.hub.head():
            other.hub.handle(Record(other.now, kind, conn, payload))
        return other


def binance(quote: Mapping[str, Any]) -> Run:
    run = Run(SPOT, "spot")
    body = {"lastUpdateId": 10, "bids": [["99", "1"], ["98", "2"]], "asks": [["101", "1"], ["102", "2"]]}
    run.take("h", Answer("depth:BTCUSDT", "/api/v3/depth", 200, msgspec.json.encode(body).decode()))
    run.take("t", {"stream": "btcusdt@depth@100ms", "data": diff(run, 11, 12)})
    run.take("t", {"stream": "btcusdt@bookTicker", "data": {"u": 15, "s": "BTCUSDT", **quote}})
    return run


def diff(run: Run, first: int, last: int) -> dict[str, Any]:
    return {"e": "depthUpdate", "E": run.now // MS, "s": "BTCUSDT", "U": first, "u": last, "b": [["97", "3"]], "a": []}


@pytest.mark.parametrize(
    "quote",
    [{"b": "99.5", "B": "3", "a": "100.5", "A": "4"}, {"b": "99.5", "B": "3", "a": "0", "A": "0"}],
    ids=["both sides", "one side empty"],
)
def test_a_quote_that_lies_over_a_binance_book_lies_there_from_the_head_on_and_goes_with_the_next_update(
    quote: Mapping[str, Any],
) -> None:
    run = binance(quote)
    replay = run.begun_now()
    assert run.book.bid == 99.5
    assert replay.shown() == run.shown()
    for each in (run, replay):
        each.take("t", {"stream": "btcusdt@depth@100ms", "data": diff(run, 13, 15)})
    assert run.book.bid == 99.0
    assert replay.shown() == run.shown()


def test_a_quote_that_lies_over_a_bybit_book_lies_there_from_the_head_on() -> None:
    run = Run(LINEAR, "linear")
    for topic, bid, ask, seq in (("orderbook.200", "99", "101", 10), ("orderbook.1", "99.5", "100.5", 12)):
        data = {"s": "BTCUSDT", "b": [[bid, "1"]], "a": [[ask, "1"]], "u": 5, "seq": seq}
        run.take("t", {"topic": f"{topic}.BTCUSDT", "type": "snapshot", "ts": run.now // MS, "data": data})
    assert run.book.bid == 99.5
    assert run.begun_now().shown() == run.shown()


def test_a_book_on_which_no_quote_lies_begins_without_one() -> None:
    run = binance({"b": "99.5", "B": "3", "a": "100.5", "A": "4"})
    run.take("t", {"stream": "btcusdt@depth@100ms", "data": diff(run, 13, 15)})
    assert b"laid" not in b"".join(payload for _, _, payload in run.hub.head())
    assert run.begun_now().shown() == run.shown()
