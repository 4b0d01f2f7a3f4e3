"""Two connections that carry the same streams: the older one speaks until the newer one is whole, then only the newer."""

from collections.abc import Sequence

import msgspec
import pytest

from feeds.hub import Hub
from feeds.model import MS, SECOND, BookState, Channel, LinkState, Ns, Status, Stream
from feeds.orderbook import OrderBook
from feeds.recording import LOST
from feeds.recording.format import Answer, Closed, Opened, Record
from feeds.venue import NoListener, Plan
from feeds.venues import VENUES
from tests.market import instruments

NAME = "BYBIT:BTC/USDT:USDT"
BOOK = Stream(NAME, Channel.BOOK)
TOUCH = Stream(NAME, Channel.TOUCH)
START: Ns = 1_790_000_000 * SECOND


class Heard(NoListener):
    def __init__(self) -> None:
        self.books: list[tuple[float, float]] = []
        self.statuses: list[Status] = []

    def on_book(self, book: OrderBook, now: Ns) -> None:
        self.books.append((book.bid, book.ask))

    on_touch = on_book

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        if stream == BOOK:
            self.statuses.append(status)


class Rig:
    def __init__(self) -> None:
        self.heard = Heard()
        self.hub = Hub(VENUES, self.heard)
        self.promoted: list[str] = []
        self.hub.promoted = self.promoted.append
        self.now = START
        self.hub.watch(instruments().values(), self.now)

    def take(self, kind: str, conn: str, value: object) -> None:
        self.now += 10 * MS
        self.hub.handle(Record(self.now, kind, conn, msgspec.json.encode(value)))

    def open(self, conn: str, streams: Sequence[Stream] = (BOOK, TOUCH)) -> None:
        self.take("o", conn, Opened.of(Plan("BYBIT", "linear", "wss://host/v5/public/linear", tuple(streams))))

    def close(self, conn: str, code: int = LOST) -> None:
        self.take("c", conn, Closed(code, "gone"))

    def book(self, conn: str, bid: float, ask: float, *, u: int, seq: int, kind: str = "snapshot") -> None:
        self.take("t", conn, _book("orderbook.200", bid, ask, u, seq, kind, self.now))

    def touch(self, conn: str, bid: float, ask: float, *, u: int, seq: int) -> None:
        self.take("t", conn, _book("orderbook.1", bid, ask, u, seq, "snapshot", self.now))


def _book(topic: str, bid: float, ask: float, u: int, seq: int, kind: str, now: Ns) -> dict[str, object]:
    data = {"s": "BTCUSDT", "b": [[str(bid), "1"]], "a": [[str(ask), "1"]], "u": u, "seq": seq}
    return {"topic": f"{topic}.BTCUSDT", "type": kind, "ts": now // MS, "data": data, "cts": now // MS}


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.open("a")
    made.touch("a", 100.0, 101.0, u=1, seq=9)
    made.book("a", 100.0, 101.0, u=5, seq=10)
    return made


def test_a_connection_under_way_is_not_heard(rig: Rig) -> None:
    heard = len(rig.heard.books)
    rig.open("b")
    rig.touch("b", 90.0, 91.0, u=7, seq=50)
    assert len(rig.heard.books) == heard
    assert not rig.promoted
    rig.book("a", 100.5, 101.0, u=6, seq=11, kind="delta")
    assert rig.heard.books[-1] == (100.5, 101.0)


def test_it_takes_over_when_its_book_is_whole_and_no_reader_sees_a_moment_without_one(rig: Rig) -> None:
    rig.open("b")
    before = len(rig.heard.statuses)
    rig.touch("b", 102.0, 103.0, u=7, seq=19)
    rig.book("b", 102.0, 103.0, u=8, seq=20)
    assert rig.promoted == ["b"]
    assert rig.heard.books[-1] == (102.0, 103.0)
    told = rig.heard.statuses[before:]
    assert told
    assert all(status.book is BookState.SYNCED and status.link is LinkState.READY for status in told)


def test_the_old_one_writes_into_nothing_after_that(rig: Rig) -> None:
    rig.open("b")
    rig.touch("b", 102.0, 103.0, u=7, seq=19)
    rig.book("b", 102.0, 103.0, u=8, seq=20)
    heard, told = len(rig.heard.books), len(rig.heard.statuses)
    rig.book("a", 1.0, 2.0, u=6, seq=30, kind="delta")
    rig.touch("a", 1.0, 2.0, u=9, seq=31)
    rig.close("a")
    assert (len(rig.heard.books), len(rig.heard.statuses)) == (heard, told)
    rig.book("b", 102.5, 103.0, u=9, seq=21, kind="delta")
    assert rig.heard.books[-1] == (102.5, 103.0)


def test_the_leg_of_the_book_lives_by_the_new_link_alone(rig: Rig) -> None:
    rig.open("b")
    rig.touch("b", 102.0, 103.0, u=7, seq=19)
    rig.book("b", 102.0, 103.0, u=8, seq=20)
    last = rig.now
    rig.touch("a", 1.0, 2.0, u=9, seq=31)
    leg = rig.hub.health.legs[NAME]
    assert leg.pulse.last_ns == last


def test_the_one_under_way_is_heard_at_once_when_the_old_one_is_lost(rig: Rig) -> None:
    rig.open("b")
    rig.close("a")
    assert rig.promoted == ["b"]
    assert rig.heard.statuses[-1].book is not BookState.SYNCED
    rig.touch("b", 102.0, 103.0, u=7, seq=19)
    rig.book("b", 102.0, 103.0, u=8, seq=20)
    assert rig.heard.books[-1] == (102.0, 103.0)


def test_one_that_is_lost_on_the_way_leaves_the_old_one_speaking(rig: Rig) -> None:
    told = len(rig.heard.statuses)
    rig.open("b")
    rig.close("b")
    assert len(rig.heard.statuses) == told
    rig.book("a", 100.5, 101.0, u=6, seq=11, kind="delta")
    assert rig.heard.books[-1] == (100.5, 101.0)


def test_what_the_newer_one_does_not_carry_stays_with_the_older(rig: Rig) -> None:
    trades = Stream(NAME, Channel.TRADE)
    rig = Rig()
    rig.open("a", (BOOK, TOUCH, trades))
    rig.touch("a", 100.0, 101.0, u=1, seq=9)
    rig.book("a", 100.0, 101.0, u=5, seq=10)
    rig.open("b", (BOOK, TOUCH))
    rig.touch("b", 102.0, 103.0, u=7, seq=19)
    rig.book("b", 102.0, 103.0, u=8, seq=20)
    assert rig.hub.connections["a"].plan.streams == (trades,)
    assert rig.hub.connections["b"].plan.streams == (BOOK, TOUCH)


def test_an_answer_without_a_status_is_an_error_in_a_replay_too() -> None:
    rig = Rig()
    book = Stream("BINANCE:BTC/USDT", Channel.BOOK)
    rig.take("o", "s", Opened.of(Plan("BINANCE", "spot", "wss://host/stream", (book,))))
    rig.take("h", "s", Answer("depth:BTCUSDT", "/api/v3/depth", 0, "no answer"))
    assert not rig.hub.quarantine
    assert rig.hub.connections["s"].session.books["BINANCE:BTC/USDT"].state is BookState.BUFFERING


def test_one_whose_subscription_was_refused_does_not_take_a_whole_book_away(rig: Rig) -> None:
    rig.open("b")
    rig.touch("b", 102.0, 103.0, u=7, seq=19)
    rig.take("t", "b", {"success": False, "ret_msg": "Request frequency exceeded", "op": "subscribe", "req_id": "1"})
    rig.touch("b", 102.0, 103.0, u=8, seq=20)
    assert not rig.promoted
    rig.book("a", 100.5, 101.0, u=6, seq=11, kind="delta")
    assert rig.heard.books[-1] == (100.5, 101.0)
