"""A REST snapshot that is older than what a reader has already been shown never becomes the book again."""

import msgspec

from feeds.hub import Hub
from feeds.model import MS, SECOND, BookState, Channel, Ns, Stream
from feeds.recording.format import Answer, Opened, Record, UserAct
from feeds.venue import NoListener, Plan
from feeds.venues import VENUES
from tests.market import instruments

NAME = "BINANCE:BTC/USDT"
START: Ns = 1_790_000_000 * SECOND


class Rig:
    def __init__(self) -> None:
        self.hub = Hub(VENUES, NoListener())
        self.now = START
        self.hub.watch(instruments().values(), self.now)
        plan = Plan("BINANCE", "spot", "wss://host/stream", (Stream(NAME, Channel.BOOK),))
        self.take("o", Opened.of(plan))

    def take(self, kind: str, value: object, wait_ns: Ns = 10 * MS) -> None:
        self.now += wait_ns
        self.hub.handle(Record(self.now, kind, "a", msgspec.json.encode(value)))

    def snapshot(self, last: int, bid: float, wait_ns: Ns = 10 * MS) -> None:
        body = {"lastUpdateId": last, "bids": [[str(bid), "1"]], "asks": [[str(bid + 1), "1"]]}
        self.take("h", Answer("depth:BTCUSDT", "/api/v3/depth", 200, msgspec.json.encode(body).decode()), wait_ns)

    def diff(self, first: int, last: int, bid: str) -> None:
        data = {"e": "depthUpdate", "E": self.now // MS, "s": "BTCUSDT", "U": first, "u": last, "b": [[bid, "1"]], "a": []}
        self.take("t", {"stream": "btcusdt@depth@100ms", "data": data})

    @property
    def shown(self) -> tuple[BookState, float]:
        book = self.hub.connections["a"].session.books[NAME]
        return book.state, book.bid


def synced_at_120() -> Rig:
    rig = Rig()
    rig.diff(90, 100, "100.0")
    rig.snapshot(100, 100.0)
    rig.diff(101, 120, "100.5")
    assert rig.shown == (BookState.SYNCED, 100.5)
    return rig


def test_after_a_resync_an_older_snapshot_is_not_taken() -> None:
    rig = synced_at_120()
    rig.take("u", UserAct("resync", NAME))
    rig.snapshot(110, 99.0, 100 * MS)
    assert rig.shown[0] is BookState.BUFFERING
    rig.snapshot(120, 100.5, 100 * MS)
    assert rig.shown == (BookState.SYNCED, 100.5)


def test_after_a_refused_frame_a_snapshot_of_what_was_shown_is_not_enough() -> None:
    rig = synced_at_120()
    rig.take("t", {"stream": "btcusdt@depth@100ms", "data": {"e": "depthUpdate", "U": "nonsense"}})
    assert rig.shown[0] is BookState.BUFFERING
    rig.snapshot(120, 100.5, 100 * MS)
    assert rig.shown[0] is BookState.BUFFERING
    rig.snapshot(125, 101.0, 100 * MS)
    assert rig.shown == (BookState.SYNCED, 101.0)


def test_numbers_that_start_over_are_taken_after_some_seconds() -> None:
    rig = synced_at_120()
    rig.take("u", UserAct("resync", NAME))
    for _ in range(11):
        rig.take("t", {"stream": "ethusdt@trade", "data": {}}, SECOND)  # the link lives
    rig.snapshot(5, 99.0)
    assert rig.shown == (BookState.SYNCED, 99.0)
