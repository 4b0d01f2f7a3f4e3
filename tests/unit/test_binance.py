"""Binance: every recorded fixture field by field, the join and continuity rules clause by clause, and hostile frames.

Fixtures: protocols.md 1.4 to 1.6. Everything runs through one `Link`: a session, what it asked for, and what its listener heard.
"""

import gzip
import json
import random
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.health import Health, HealthBoard
from feeds.hub import Hub
from feeds.model import (
    MS,
    SECOND,
    BookState,
    Channel,
    Contract,
    Funding,
    Index,
    Instrument,
    Kind,
    LinkState,
    Liquidation,
    Mark,
    Metric,
    Ns,
    OpenInterest,
    PairIndex,
    Status,
    Stream,
    Trade,
)
from feeds.orderbook import OrderBook
from feeds.venue import Action, Endpoint, Fetch, FetchError, Plan, Renew, Send
from feeds.venues.binance import BUFFER_BYTES, HANDLERS_KEPT, MARKETS, Binance
from tests.market import instruments

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
NOW: Ns = 1_791_500_000_000_000_000
BINANCE = Binance()
SPOT, USDM, COINM = (instruments()[f"binance.{market}"] for market in ("spot", "usdm", "coinm"))
OTHERS = {
    "NKNUSDT": msgspec.structs.replace(SPOT, id="BINANCE:NKN/USDT", native="NKNUSDT", base="NKN"),
    "ILVUSDT": msgspec.structs.replace(USDM, id="BINANCE:ILV/USDT:USDT", native="ILVUSDT", base="ILV"),
    "BCHUSD_PERP": msgspec.structs.replace(COINM, id="BINANCE:BCH/USD:BCH", native="BCHUSD_PERP", base="BCH"),
}
Levels: TypeAlias = Sequence[tuple[float, float]]
ALL = {one.id: one for one in (SPOT, USDM, COINM, *OTHERS.values())}


class Notes:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.statuses: list[tuple[Stream, Status]] = []
        self.books: list[tuple[float, float, float, float]] = []
        self.touches: list[tuple[float, float, float, float]] = []
        self.trades: list[tuple[str, Trade]] = []
        self.metrics: list[tuple[str, Metric]] = []

    def on_time(self, now: Ns) -> None:
        """Nothing here depends on time."""

    def on_instrument(self, instrument: Instrument, now: Ns) -> None:
        """Known beforehand."""

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        self.statuses.append((stream, status))

    def on_touch(self, book: OrderBook, now: Ns) -> None:
        self.touches.append((book.bid, book.bid_size, book.ask, book.ask_size))

    def on_book(self, book: OrderBook, now: Ns) -> None:
        self.books.append((book.bid, book.bid_size, book.ask, book.ask_size))

    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None:
        self.trades.append((instrument.id, trade))

    def on_metric(self, instrument: Instrument, metric: Metric, now: Ns) -> None:
        self.metrics.append((instrument.id, metric))

    def on_pair_index(self, index: PairIndex, now: Ns) -> None:
        """This venue tells none."""

    def on_health(self, stream: Stream, health: Health, now: Ns) -> None:
        """Tested in test_health."""


class Link:
    """One session of `instrument`'s market, opened; `asked` is every action it returned. Requests are acknowledged at once."""

    def __init__(
        self,
        instrument: Instrument = SPOT,
        channels: Sequence[Channel] = tuple(Channel),
        *,
        acknowledges: bool = True,
        now: Ns = NOW,
    ) -> None:
        self.instrument = instrument
        self.notes = Notes()
        self.board = HealthBoard()
        streams = tuple(Stream(instrument.id, channel) for channel in channels if channel in BINANCE.channels(instrument))
        plan = Plan("BINANCE", instrument.market, "wss://host/stream", streams)
        self.session = BINANCE.session(plan, ALL, self.notes, self.board)
        self.now = now
        self.acknowledges = acknowledges
        self.asked: list[Action] = []
        self.take(self.session.opened(self.now))

    @property
    def book(self) -> OrderBook:
        return self.session.books[self.instrument.id]

    @property
    def fetches(self) -> int:
        """How often the book was asked for."""
        return sum(isinstance(action, Fetch) and action.key.startswith("depth:") for action in self.asked)

    @property
    def gaps(self) -> int:
        return self.board.stream(Stream(self.instrument.id, Channel.BOOK)).gaps

    @property
    def ignored(self) -> int:
        return self.board.stream(Stream(self.instrument.id, Channel.BOOK)).ignored

    @property
    def subscribed(self) -> list[tuple[str, list[str]]]:
        """Every request about streams so far: method and names."""
        messages = [json.loads(action.text) for action in self.asked if isinstance(action, Send)]
        return [(message["method"], message["params"]) for message in messages]

    def status(self, channel: Channel) -> Status:
        stream = Stream(self.instrument.id, channel)
        return next(status for told, status in reversed(self.notes.statuses) if told == stream)

    def take(self, actions: Sequence[Action]) -> None:
        self.asked.extend(actions)
        for action in actions:
            if isinstance(action, Send) and self.acknowledges:
                self.session.frame(json.dumps({"result": None, "id": json.loads(action.text)["id"]}).encode(), self.now)

    def raw(self, data: bytes | str) -> None:
        self.take(self.session.frame(data.encode() if isinstance(data, str) else data, self.now))

    def send(self, stream: str, data: Mapping[str, Any]) -> None:
        self.raw(frame(f"{self.instrument.native.lower()}@{stream}", data))

    def diff(
        self,
        first: int,
        last: int,
        previous: int = -1,
        b: Levels = (),
        a: Levels = (),
        at_ms: int = 0,
    ) -> None:
        self.send("depth@100ms", diff(self.instrument, first, last, previous, b, a, at_ms or self.now // MS))

    def snapshot(self, last: int, bids: Levels = ((99.0, 1.0),), asks: Levels = ((101.0, 1.0),)) -> None:
        body = json.dumps({"lastUpdateId": last, "bids": rows(bids), "asks": rows(asks)}).encode()
        self.asked.extend(self.session.answer(f"depth:{self.instrument.native}", body, self.now))

    def fails(self, status: int = 500) -> None:
        self.asked.extend(self.session.answer(f"depth:{self.instrument.native}", FetchError(status, "no"), self.now))

    def wait(self, span: Ns, *, pulse: bool = False) -> None:
        """Let time pass as the Ticker does, boundary by boundary; with `pulse` the link shows life at each."""
        until = self.now + span
        while self.now < until:
            if pulse:
                self.raw('{"stream":"!contractInfo","data":{}}')
            self.now += 100 * MS
            if self.session.deadline <= self.now:
                self.take(self.session.wake(self.now))


def rows(levels: Levels) -> list[list[str]]:
    return [[f"{price:.2f}", f"{size:.3f}"] for price, size in levels]


def frame(stream: str, data: Mapping[str, Any]) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def diff(
    instrument: Instrument,
    first: int,
    last: int,
    previous: int,
    b: Levels,
    a: Levels,
    at_ms: int,
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "e": "depthUpdate",
        "E": at_ms,
        "s": instrument.native,
        "U": first,
        "u": last,
        "b": rows(b),
        "a": rows(a),
    }
    return data if instrument.market == "spot" else data | {"T": at_ms, "pu": previous}


def followed(instrument: Instrument, last: int = 10) -> Link:
    """A link whose book is SYNCED and follows: the last update is `last` + 1."""
    link = Link(instrument)
    link.snapshot(last)
    link.diff(last, last + 1, last, b=[(98.0, 2.0)])
    assert link.book.published
    assert link.book.seq == last + 1
    return link


BOTH = pytest.mark.parametrize("instrument", [SPOT, USDM], ids=["spot", "futures"])
FUTURES = pytest.mark.parametrize("instrument", [USDM, COINM], ids=["usdm", "coinm"])
EVERY = pytest.mark.parametrize("instrument", [SPOT, USDM, COINM], ids=["spot", "usdm", "coinm"])


# --- fixtures, field by field


def test_spot_trade_fixture() -> None:
    link = Link(SPOT)
    link.raw(
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1789295134226,"s":"BTCUSDT","t":388510,"p":"76745.19000000",'
        '"q":"0.00065000","T":1789295134225,"m":false,"M":true}}'
    )
    trade = Trade(76745.19, 0.00065, "buy", 1789295134225 * MS, "388510")
    assert link.notes.trades == [("BINANCE:BTC/USDT", trade)]


def test_spot_trade_of_2023_takes_the_trade_id_not_the_order_ids() -> None:
    link = Link(SPOT)
    link.raw(
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1680652800000,"s":"BTCUSDT","t":3071245454,"p":"28165.47000000",'
        '"q":"0.00056000","b":20720542158,"a":20720542592,"T":1680652799999,"m":true,"M":true}}'
    )
    assert link.notes.trades == [("BINANCE:BTC/USDT", Trade(28165.47, 0.00056, "sell", 1680652799999 * MS, "3071245454"))]


def test_spot_agg_trade_fixture() -> None:
    link = Link(OTHERS["NKNUSDT"])
    link.raw(
        '{"stream":"nknusdt@aggTrade","data":{"e":"aggTrade","E":1633998523963,"s":"NKNUSDT","a":15683430,"p":"0.35280000",'
        '"q":"58.00000000","f":19862790,"l":19862790,"T":1633998523963,"m":false,"M":true}}'
    )
    assert link.notes.trades == [("BINANCE:NKN/USDT", Trade(0.3528, 58.0, "buy", 1633998523963 * MS, "15683430"))]


def test_spot_book_fixtures() -> None:
    link = Link(SPOT)
    link.snapshot(1801511, [(76743.86, 3.0), (76700.0, 1.0)], [(76800.0, 2.0)])
    link.raw(
        '{"stream":"btcusdt@bookTicker","data":{"u":1801512,"s":"BTCUSDT","b":"76745.18000000","B":"8.74206000",'
        '"a":"76745.19000000","A":"12.06313000"}}'
    )
    assert link.notes.touches == [(76745.18, 8.74206, 76745.19, 12.06313)]
    assert not link.book.leg.fresh  # spot bookTicker has no time
    link.diff(1801512, 1801512, b=[(76745.18, 8.74206)], a=[(76745.19, 12.06313)])
    link.raw(
        '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1789295135813,"s":"BTCUSDT","U":1801513,"u":1801513,'
        '"b":[["76743.86000000","0.00000000"]],"a":[]}}'
    )
    assert link.book.levels(9) == ([(76745.18, 8.742), (76700.0, 1.0)], [(76745.19, 12.063), (76800.0, 2.0)])
    assert (link.book.seq, link.book.venue_ns, link.book.recv_ns) == (1801513, 1789295135813 * MS, NOW)
    assert link.book.leg.raw_ns == NOW - 1789295135813 * MS
    assert link.book.leg.fresh


def test_usdm_book_fixtures() -> None:
    link = Link(USDM)
    link.snapshot(429012275789, [(76900.0, 1.0)], [(76968.3, 5.0), (76999.0, 1.0)])
    link.raw(
        '{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":429012276615,"s":"BTCUSDT","ps":"BTCUSDT","b":"76947.30",'
        '"B":"0.0374","a":"76968.30","A":"2237.2173","T":1789469121938,"E":1789469121959,"st":1}}'
    )
    assert link.notes.touches == [(76947.3, 0.0374, 76968.3, 2237.2173)]
    assert link.book.leg.raw_ns == NOW - 1789469121959 * MS
    link.raw(
        '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1789469122060,"T":1789469122045,"s":"BTCUSDT",'
        '"ps":"BTCUSDT","U":429012276615,"u":429012277528,"pu":429012275789,"b":[],"a":[["76968.30","1191.3336"]],"st":1}}'
    )
    assert link.book.levels(9) == ([(76900.0, 1.0)], [(76968.3, 1191.3336), (76999.0, 1.0)])
    assert (link.book.seq, link.book.venue_ns) == (429012277528, 1789469122060 * MS)


def test_usdm_mark_price_fixture() -> None:
    link = Link(USDM)
    link.raw(
        '{"stream":"btcusdt@markPrice@1s","data":{"e":"markPriceUpdate","E":1790757176000,"s":"BTCUSDT","p":"83003.10000000",'
        '"ap":"83003.10000000","P":"83198.80343841","i":"83045.69043478","r":"-0.00001012","T":1790784000000,"st":1}}'
    )
    at = 1790757176000 * MS
    assert link.notes.metrics == [
        (USDM.id, Mark(83003.1, at)),
        (USDM.id, Index(83045.69043478, at)),
        (USDM.id, Funding(-0.00001012, 28_800, 1790784000000 * MS, at)),
    ]


def test_a_mark_price_of_a_dated_contract_has_no_funding() -> None:
    link = Link(USDM)
    link.send("markPrice@1s", {"e": "markPriceUpdate", "E": 1, "s": "BTCUSDT", "p": "5.0", "P": "5", "i": "6.0", "r": "", "T": 0})
    assert link.notes.metrics == [(USDM.id, Mark(5.0, MS)), (USDM.id, Index(6.0, MS))]


def test_usdm_agg_trade_fixture() -> None:
    link = Link(USDM)
    link.raw(
        '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1791391082024,"a":3478018549,"s":"BTCUSDT","p":"83434.40",'
        '"q":"0.016","nq":"0.016","f":8154045700,"l":8154045704,"T":1791391081874,"m":true,"st":1}}'
    )
    assert link.notes.trades == [(USDM.id, Trade(83434.4, 0.016, "sell", 1791391081874 * MS, "3478018549"))]


FORCE_ORDER = (
    '{"e":"forceOrder","E":1791391083124,"o":{"s":"ILVUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"116.5","p":"3.80300",'
    '"ap":"3.85642","X":"FILLED","l":"25.2","z":"116.5","T":1791391082119,"ps":"ILVUSDT","st":1}}'
)


def test_usdm_force_order_fixture_closes_a_long_at_the_average_price() -> None:
    link = Link(OTHERS["ILVUSDT"])
    link.raw(f'{{"stream":"ilvusdt@forceOrder","data":{FORCE_ORDER}}}')
    assert link.notes.metrics == [("BINANCE:ILV/USDT:USDT", Liquidation("long", 3.85642, 116.5, 1791391082119 * MS))]


def test_all_market_and_partial_depth_streams_are_ignored_and_counted() -> None:
    link = followed(USDM)
    before = link.book.version
    link.raw(f'{{"stream":"!forceOrder@arr","data":{FORCE_ORDER}}}')
    link.raw(
        '{"stream":"btcusdt@depth20@100ms","data":{"e":"depthUpdate","E":1791044805993,"T":1791044805992,"s":"BTCUSDT",'
        '"U":11727350456530,"u":11727350464793,"pu":11727350456340,"b":[["84756.30","9.447"]],"a":[["84756.40","1.5"]]}}'
    )
    assert link.board.ignored == 2
    assert (link.notes.metrics, link.book.version) == ([], before)


def test_coinm_book_fixtures() -> None:
    link = Link(COINM)
    body = (
        b'{"symbol":"BTCUSD_PERP","pair":"BTCUSD","lastUpdateId":11660059836647,"E":1790373521101,"T":1790373521100,'
        b'"bids":[["83517.9","5078"]],"asks":[["83732.5","956"]]}'
    )
    link.asked.extend(link.session.answer("depth:BTCUSD_PERP", body, NOW))
    assert (link.book.bid, link.book.bid_size, link.book.ask, link.book.ask_size) == (83517.9, 5078.0, 83732.5, 956.0)
    assert link.book.venue_ns == 1790373521101 * MS
    link.raw(
        '{"stream":"btcusd_perp@bookTicker","data":{"e":"bookTicker","u":11660059839759,"s":"BTCUSD_PERP","ps":"BTCUSD",'
        '"b":"83732.4","B":"680","a":"83732.5","A":"2458","T":1790373637547,"E":1790373637547,"st":2}}'
    )
    assert link.notes.touches == [(83732.4, 680.0, 83732.5, 2458.0)]
    link.raw(
        '{"stream":"btcusd_perp@depth@100ms","data":{"e":"depthUpdate","E":1790373637622,"T":1790373637613,"s":"BTCUSD_PERP",'
        '"ps":"BTCUSD","U":11660059838224,"u":11660059844303,"pu":11660059836647,"b":[["82997.3","1382"],["83517.9","0"]],'
        '"a":[["83732.5","2458"]],"st":2}}'
    )
    assert link.book.levels(9) == ([(82997.3, 1382.0)], [(83732.5, 2458.0)])
    assert link.book.seq == 11660059844303


def test_coinm_mark_trade_and_force_order_fixtures() -> None:
    link = Link(COINM)
    link.raw(
        '{"stream":"btcusd_perp@markPrice@1s","data":{"e":"markPriceUpdate","E":1790373638000,"s":"BTCUSD_PERP",'
        '"p":"83732.50000000","ap":"83732.50000000","P":"83805.72765516","i":"83786.17543766","r":"-0.00000573",'
        '"T":1790380800000,"st":2}}'
    )
    link.raw(
        '{"stream":"btcusd_perp@trade","data":{"e":"trade","E":1790373534694,"T":1790373534694,"s":"BTCUSD_PERP","t":1155839922,'
        '"p":"83781.6","q":"1","X":"MARKET","m":false}}'
    )
    link.raw(
        '{"stream":"btcusd_perp@forceOrder","data":{"e":"forceOrder","E":1591154240950,"o":{"s":"BTCUSD_PERP","ps":"BTCUSD",'
        '"S":"BUY","o":"LIMIT","f":"IOC","q":"3","p":"9425.5","ap":"9496.5","X":"FILLED","l":"1","z":"3","T":1591154240949}}}'
    )
    at = 1790373638000 * MS
    assert [metric for _, metric in link.notes.metrics] == [
        Mark(83732.5, at),
        Index(83786.17543766, at),
        Funding(-0.00000573, 28_800, 1790380800000 * MS, at),
        Liquidation("short", 9496.5, 3.0, 1591154240949 * MS),
    ]
    assert link.notes.trades == [(COINM.id, Trade(83781.6, 1.0, "buy", 1790373534694 * MS, "1155839922"))]


def test_coinm_agg_trade_fixture() -> None:
    link = Link(OTHERS["BCHUSD_PERP"])
    link.raw(
        '{"stream":"bchusd_perp@aggTrade","data":{"e":"aggTrade","E":1626916404006,"a":11285749,"s":"BCHUSD_PERP","p":"427.91",'
        '"q":"3","f":16034449,"l":16034449,"T":1626916403852,"m":true}}'
    )
    assert link.notes.trades == [("BINANCE:BCH/USD:BCH", Trade(427.91, 3.0, "sell", 1626916403852 * MS, "11285749"))]


@pytest.mark.parametrize(("kind", "price"), [("INSURANCE_FUND", "28722.50"), ("ADL", "28722.50"), ("NA", "0")])
def test_prints_that_are_no_market_trades_are_dropped_without_counting_as_bad(kind: str, price: str) -> None:
    link = Link(USDM)
    link.send("trade", {"e": "trade", "E": 1, "T": 1, "s": "BTCUSDT", "t": 7, "p": price, "q": price, "X": kind, "m": True})
    assert link.notes.trades == []


def test_a_market_trade_without_price_is_a_bad_frame() -> None:
    with pytest.raises(BadFrame):
        Link(USDM).send("trade", {"T": 1, "t": 7, "p": "0", "q": "1", "X": "MARKET", "m": True})


def test_a_forced_order_that_filled_nothing_is_no_liquidation_and_an_unknown_side_is_refused() -> None:
    link = Link(USDM)
    order = {"s": "BTCUSDT", "S": "SELL", "ap": "5", "z": "0", "T": 1}
    link.send("forceOrder", {"o": order})
    link.send("forceOrder", {"o": order | {"ap": "0", "z": "5"}})
    link.send("forceOrder", {"o": order | {"s": "ETHUSDT", "z": "5"}})
    assert link.notes.metrics == []
    with pytest.raises(BadFrame):
        link.send("forceOrder", {"o": order | {"S": "HOLD", "z": "5"}})


# --- joining a snapshot (protocols 0.3)


@EVERY
def test_nothing_is_published_before_a_snapshot(instrument: Instrument) -> None:
    link = Link(instrument)
    assert link.asked[-1] == Fetch(f"depth:{instrument.native}", link.asked[-1].path, link.asked[-1].weight, 0)  # type: ignore[union-attr]
    link.diff(5, 6, 4, b=[(99.0, 1.0)], a=[(101.0, 1.0)])
    link.send("bookTicker", {"u": 9, "b": "99", "B": "1", "a": "101", "A": "1"})
    assert link.book.state is BookState.BUFFERING
    assert isnan(link.book.bid)
    assert (link.notes.books, link.notes.touches, link.gaps) == ([], [], 0)


def test_spot_drops_diffs_that_end_at_or_before_the_snapshot() -> None:
    link = Link(SPOT)
    link.diff(5, 10, b=[(99.0, 7.0)])
    link.diff(11, 12, b=[(98.0, 2.0)])
    link.snapshot(10, [(99.0, 1.0)])
    assert link.book.levels(9)[0] == [(99.0, 1.0), (98.0, 2.0)]
    assert link.book.seq == 12


def test_futures_keep_a_diff_that_ends_at_the_snapshot_and_drop_one_that_ends_before() -> None:
    link = Link(USDM)
    link.diff(5, 9, 4, b=[(99.0, 7.0)])
    link.diff(9, 10, 9, b=[(98.0, 2.0)])
    link.diff(15, 17, 10, b=[(97.0, 3.0)])
    link.snapshot(10, [(99.0, 1.0)])
    assert link.book.levels(9)[0] == [(99.0, 1.0), (98.0, 2.0), (97.0, 3.0)]
    assert link.book.seq == 17


# (instrument, U, u, pu, joins a snapshot of update 10)
FIRST_DIFFS = [
    (SPOT, 11, 11, -1, True),
    (SPOT, 5, 11, -1, True),
    (SPOT, 12, 15, -1, False),
    (USDM, 5, 15, 4, True),
    (USDM, 10, 15, 9, True),
    (USDM, 5, 10, 4, True),
    (USDM, 13, 15, 10, True),
    (USDM, 11, 15, 9, False),
    (COINM, 12, 15, 11, False),
]


@pytest.mark.parametrize(("instrument", "first", "last", "previous", "joins"), FIRST_DIFFS)
def test_the_first_diff_after_a_snapshot_must_contain_it(
    instrument: Instrument, first: int, last: int, previous: int, joins: bool
) -> None:
    buffered = Link(instrument)
    buffered.diff(first, last, previous, b=[(99.5, 2.0)])
    buffered.snapshot(10)
    assert buffered.book.published is joins
    assert buffered.fetches == (1 if joins else 2)  # a snapshot older than the buffer is asked for again
    assert buffered.gaps == 0
    later = Link(instrument)
    later.snapshot(10)
    assert later.book.published
    later.diff(first, last, previous, b=[(99.5, 2.0)])
    assert later.book.published is joins
    assert later.gaps == (0 if joins else 1)


@BOTH
def test_a_hole_between_buffered_diffs_is_a_gap_and_shows_nothing(instrument: Instrument) -> None:
    link = Link(instrument)
    link.diff(10, 11, 9)
    link.diff(13, 14, 12)
    link.snapshot(10)
    assert link.book.state is BookState.BUFFERING
    assert (link.gaps, link.notes.books) == (1, [])


@BOTH
def test_a_snapshot_newer_than_the_whole_buffer_waits_for_a_diff_that_contains_it(instrument: Instrument) -> None:
    link = Link(instrument)
    link.diff(5, 6, 4, b=[(99.5, 9.0)])
    link.snapshot(10)
    link.diff(7, 8, 6, b=[(99.5, 9.0)])  # still before the snapshot
    assert link.book.levels(3)[0] == [(99.0, 1.0)]
    link.diff(9, 12, 8, b=[(99.5, 2.0)])
    assert link.book.levels(3)[0] == [(99.5, 2.0), (99.0, 1.0)]
    assert (link.gaps, link.book.seq) == (0, 12)


@BOTH
def test_a_second_snapshot_while_synced_changes_nothing(instrument: Instrument) -> None:
    link = followed(instrument)
    link.snapshot(5, [(50.0, 1.0)], [(150.0, 1.0)])
    assert link.book.bid == 99.0


@EVERY
def test_a_failed_snapshot_is_asked_for_again_after_two_seconds_not_at_once(instrument: Instrument) -> None:
    link = Link(instrument)
    for asked in range(1, 6):
        link.fails(500)
        assert link.fetches == asked
        link.wait(1_900 * MS, pulse=True)
        assert link.fetches == asked
        link.wait(100 * MS)
        assert link.fetches == asked + 1
    link.snapshot(10)
    link.diff(10, 11, 10)
    assert link.book.published
    link.wait(5 * SECOND, pulse=True)
    assert link.fetches == 6


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"code":-1003,"msg":"x"}', b'{"lastUpdateId":1,"bids":[["nan","1"]],"asks":[]}']
)
def test_a_snapshot_that_is_none_is_refused_and_asked_for_again(body: bytes) -> None:
    link = Link(SPOT)
    with pytest.raises(DECODE_ERRORS):
        link.session.answer("depth:BTCUSDT", body, link.now)
    link.wait(1_900 * MS, pulse=True)
    assert link.fetches == 1
    link.wait(100 * MS)
    assert link.fetches == 2
    assert link.book.state is BookState.BUFFERING


def test_a_buffer_that_overflows_starts_over_and_says_so() -> None:
    link = Link(SPOT)
    big = [(50.0 + at / 100, 1.0) for at in range(4_000)]
    frames = 0
    while link.book.reason != "overflow":
        frames += 1
        link.diff(frames * 10, frames * 10 + 9, b=big)
        assert frames * 60_000 < 4 * BUFFER_BYTES
    assert link.notes.statuses[-1][1].reason == "overflow"
    assert link.fetches == 2
    link.snapshot(5)  # older than what is left of the buffer: nothing is, so it stands alone
    link.diff(frames * 10 + 10, frames * 10 + 12)
    assert not link.book.published


# --- continuity


def test_spot_follows_by_first_and_last_number() -> None:
    link = followed(SPOT)
    link.diff(12, 14)
    link.diff(15, 15)
    assert (link.book.seq, link.gaps) == (15, 0)


@FUTURES
def test_futures_follow_by_the_previous_number_whatever_the_first_is(instrument: Instrument) -> None:
    link = followed(instrument)
    link.diff(40, 50, 11)
    assert (link.book.seq, link.gaps) == (50, 0)
    link.diff(51, 60, 49)  # U follows, pu does not
    assert link.gaps == 1


@pytest.mark.parametrize(
    ("instrument", "first", "last", "previous"),
    [(SPOT, 13, 14, -1), (SPOT, 11, 14, -1), (USDM, 12, 14, 12), (COINM, 12, 14, 10)],
    ids=["spot hole", "spot overlap", "usdm hole", "coinm overlap"],
)
def test_a_gap_is_counted_once_and_no_price_shows_until_the_next_snapshot(
    instrument: Instrument, first: int, last: int, previous: int
) -> None:
    link = followed(instrument)
    books = len(link.notes.books)
    link.diff(first, last, previous)
    for number in range(3):
        link.diff(last + 1 + number, last + 1 + number, last + number)
        link.send("bookTicker", {"u": last + 50, "b": "99", "B": "1", "a": "101", "A": "1"})
        assert isnan(link.book.bid)
        assert link.book.levels(3) == ([], [])
    assert (link.gaps, link.fetches, len(link.notes.books)) == (1, 2, books)
    status = [status for stream, status in link.notes.statuses if stream.channel is Channel.BOOK][-1]
    assert (status.book, status.reason) == (BookState.BUFFERING, "gap")
    link.snapshot(last, [(99.0, 3.0)], [(101.0, 4.0)])
    assert (link.book.bid, link.book.bid_size, link.book.ask, link.book.seq) == (99.0, 3.0, 101.0, last + 3)
    assert link.gaps == 1


@BOTH
def test_a_duplicate_or_old_diff_is_ignored_and_is_no_gap(instrument: Instrument) -> None:
    link = followed(instrument)
    before = link.book.version
    link.diff(10, 11, 10, b=[(99.9, 9.0)])
    link.diff(5, 8, 4, b=[(99.9, 9.0)])
    assert (link.book.version, link.gaps, link.ignored, link.book.bid) == (before, 0, 2, 99.0)


@BOTH
def test_numbering_that_falls_back_is_a_gap_not_a_frozen_book(instrument: Instrument) -> None:
    link = followed(instrument)
    link.now += 5 * SECOND
    link.diff(2, 3, 1, b=[(90.0, 1.0)])
    assert link.gaps == 1
    assert not link.book.published
    link.snapshot(2)
    assert (link.book.published, link.book.seq) == (True, 3)


@BOTH
def test_a_diff_that_ends_before_it_begins_is_refused(instrument: Instrument) -> None:
    link = followed(instrument)
    with pytest.raises(BadFrame):
        link.diff(12, 5, 11)
    assert link.book.seq == 11


@pytest.mark.parametrize("suffix", ["", "@0ms", "@100ms", "@250ms", "@500ms", "@1000ms"])
def test_depth_runs_at_any_interval(suffix: str) -> None:
    link = followed(USDM)
    link.send(f"depth{suffix}", diff(USDM, 12, 14, 11, [(99.5, 4.0)], [], link.now // MS))
    assert (link.book.seq, link.book.bid) == (14, 99.5)


@BOTH
def test_a_quarantined_depth_frame_blanks_the_book_and_asks_for_a_new_one(instrument: Instrument) -> None:
    link = followed(instrument)
    bad = frame("btcusdt@depth@100ms", {"E": 1, "U": "x", "u": 2})
    with pytest.raises(DECODE_ERRORS):
        link.raw(bad)
    link.asked.extend(link.session.refused(bad, link.now))
    assert (link.book.state, link.book.reason, link.fetches) == (BookState.BUFFERING, "decode", 2)
    assert link.board.stream(Stream(instrument.id, Channel.BOOK)).quarantined == 1


def test_a_quarantined_trade_leaves_the_book_alone() -> None:
    link = followed(SPOT)
    link.session.refused(frame("btcusdt@trade", {}), link.now)
    assert link.book.published
    assert link.board.stream(Stream(SPOT.id, Channel.TRADE)).quarantined == 1


# --- best quote over the book


@EVERY
def test_a_quote_ahead_lies_over_the_book_and_one_behind_does_not(instrument: Instrument) -> None:
    link = followed(instrument)
    link.send("bookTicker", {"u": 11, "b": "98.5", "B": "1", "a": "100", "A": "2", "E": link.now // MS})
    assert link.notes.touches == []
    link.send("bookTicker", {"u": 15, "b": "98.5", "B": "1", "a": "100", "A": "2", "E": link.now // MS})
    assert link.notes.touches == [(98.5, 1.0, 100.0, 2.0)]
    link.diff(12, 14, 11, b=[(97.0, 1.0)])
    assert (link.book.bid, link.book.ask) == (98.5, 100.0)
    link.diff(15, 15, 14, b=[(98.7, 2.0)])
    assert (link.book.bid, link.book.ask) == (99.0, 101.0)


@pytest.mark.parametrize(("bid", "size"), [("0.00000000", "0.00000000"), ("99", "0.000")])
def test_a_quote_with_an_empty_side_has_none(bid: str, size: str) -> None:
    link = followed(SPOT)
    link.send("bookTicker", {"u": 20, "b": bid, "B": size, "a": "100", "A": "2"})
    assert isnan(link.book.bid)
    assert (link.book.bid_size, link.book.ask) == (0.0, 100.0)


# --- control messages, key order, names


def test_frames_are_understood_whatever_their_key_order() -> None:
    link = followed(USDM)
    link.session.link = LinkState.NOT_READY  # type: ignore[misc]
    turned = dict(reversed(diff(USDM, 12, 14, 11, [(99.5, 4.0)], [], NOW // MS).items()))
    link.raw(json.dumps({"data": turned, "stream": "btcusdt@depth"}))
    link.raw('{ "stream" : "btcusdt@aggTrade", "data": {"m":true,"T":5,"q":"1","p":"7","a":3}}')
    assert (link.book.seq, link.book.bid) == (14, 99.5)
    assert link.notes.trades == [(USDM.id, Trade(7.0, 1.0, "sell", 5 * MS, "3"))]
    assert link.notes.statuses[-1][1].link is LinkState.READY


@pytest.mark.parametrize(
    "error",
    ['{"code":2,"msg":"Invalid request: \\u001b[31mno"}', '{"error":{"code":2,"msg":"Invalid request: \\u001b[31mno"},"id":1}'],
)
def test_an_error_answer_in_either_form_is_shown_clean_and_the_streams_are_not_ready(error: str) -> None:
    link = Link(USDM)
    link.raw(error)
    assert [text for _, text in link.board.said] == ["BINANCE usdm: error 2: Invalid request: \ufffd[31mno"]
    assert {status.link for _, status in link.notes.statuses[-5:]} == {LinkState.NOT_READY}


@pytest.mark.parametrize("text", ['{"result":null,"id":1}', '{"result":["btcusdt@depth"],"id":"x"}', '{"id":null}', "{}"])
def test_an_acknowledgement_is_no_data_and_no_error(text: str) -> None:
    link = Link(USDM)
    link.now += SECOND
    link.raw(text)
    assert link.session.pulse.last_ns == NOW  # type: ignore[attr-defined]
    assert list(link.board.said) == []


def test_unknown_streams_are_counted_and_do_not_fill_the_memory() -> None:
    link = Link(SPOT)
    for number in range(HANDLERS_KEPT + 100):
        link.raw(f'{{"stream":"x{number}@kline_1m","data":{{}}}}')
    link.raw('{"stream":"ethusdt@trade","data":{}}')
    assert link.board.ignored == HANDLERS_KEPT + 101
    assert len(link.session.handlers) <= HANDLERS_KEPT  # type: ignore[attr-defined]


def test_the_first_data_frame_makes_every_stream_ready() -> None:
    link = Link(SPOT)
    assert {status.link for _, status in link.notes.statuses} == {LinkState.NOT_READY}
    link.diff(1, 2)
    assert [status.link for _, status in link.notes.statuses[-3:]] == [LinkState.READY] * 3


def test_subscriptions_are_lower_case_and_sent_in_one_message() -> None:
    link = Link(COINM)
    names = ["depth@100ms", "bookTicker", "aggTrade", "markPrice@1s", "forceOrder"]
    sends = [action for action in link.asked if isinstance(action, Send)]
    assert [json.loads(action.text) for action in sends] == [
        {"method": "SUBSCRIBE", "params": [f"btcusd_perp@{name}" for name in names], "id": 1}
    ]


def test_usdm_runs_on_two_routes_and_the_others_on_one() -> None:
    wanted = [Stream(one.id, channel) for one in (SPOT, USDM, COINM) for channel in BINANCE.channels(one)]
    plans = {plan.url: {stream.channel for stream in plan.streams} for plan in BINANCE.plan(wanted, ALL)}
    market = {Channel.TRADE, Channel.TICKER, Channel.LIQUIDATION}
    assert plans == {
        "wss://stream.binance.com:9443/stream": {Channel.BOOK, Channel.TOUCH, Channel.TRADE},
        "wss://fstream.binance.com/public/stream": {Channel.BOOK, Channel.TOUCH},
        "wss://fstream.binance.com/market/stream": market,
        "wss://dstream.binance.com/stream": set(Channel),
    }


@EVERY
def test_a_full_connection_never_parts_a_book_from_its_quote(instrument: Instrument) -> None:
    many = {f"X{at}": msgspec.structs.replace(instrument, id=f"X{at}", native=f"X{at}") for at in range(150)}
    wanted = [Stream(name, channel) for name in many for channel in BINANCE.channels(instrument)]
    plans = BINANCE.plan(wanted, many)
    assert sum(len(plan.streams) for plan in plans) == len(wanted)
    for plan in plans:
        assert len(plan.streams) <= 200
        held = {(stream.instrument, stream.channel) for stream in plan.streams}
        for name, channel in held:
            assert channel is not Channel.BOOK or (name, Channel.TOUCH) in held


def test_topics_and_urls_are_recognised_for_importers() -> None:
    assert BINANCE.topic("spot", b'{"stream":"btcusdt@depth@100ms","data":{}}') == "btcusdt@depth@100ms"
    assert BINANCE.topic("spot", b'{"data":{},"stream":"btcusdt@trade"}') == "btcusdt@trade"
    assert BINANCE.topic("spot", b'{"result":null,"id":1}') is None
    assert BINANCE.topic("spot", b"\xff") is None
    assert BINANCE.stream_of("usdm", "btcusdt@depth@0ms", ALL) == Stream(USDM.id, Channel.BOOK)
    assert BINANCE.stream_of("spot", "btcusdt@bookTicker", ALL) == Stream(SPOT.id, Channel.TOUCH)
    assert BINANCE.stream_of("spot", "btcusdt@kline_1m", ALL) is None
    assert BINANCE.stream_of("coinm", "btcusdt@depth", ALL) is None
    assert BINANCE.snapshot_key("https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=5") == "depth:BTCUSDT"
    assert BINANCE.snapshot_key("https://fapi.binance.com/fapi/v1/klines?symbol=BTCUSDT") is None
    assert BINANCE.catalogue_key("https://dapi.binance.com/dapi/v1/exchangeInfo") == "instruments:coinm"


# --- funding interval


def test_the_funding_interval_is_the_step_of_the_next_funding_time() -> None:
    link = Link(USDM)

    def interval(next_ms: int) -> int:
        link.send("markPrice@1s", {"E": 5, "p": "5", "i": "5", "r": "0.0001", "T": next_ms})
        funding = link.notes.metrics[-1][1]
        assert isinstance(funding, Funding)
        return funding.interval_s

    hour = 3_600_000
    start = 1_790_784_000_000
    assert interval(start) == 28_800  # what the metadata says
    assert interval(start + 4 * hour) == 14_400
    assert interval(start + 4 * hour) == 14_400
    assert interval(start + 300 * hour) == 14_400  # no interval
    assert interval(start + 301 * hour) == 3_600


@pytest.mark.parametrize("rate", ["nan", "inf", "-1e9", "x", "10"])
def test_a_funding_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(BadFrame):
        Link(USDM).send("markPrice@1s", {"E": 5, "p": "5", "i": "5", "r": rate, "T": 7})


# --- open interest, asked for


@FUTURES
def test_open_interest_is_asked_for_each_fifteen_seconds_and_told(instrument: Instrument) -> None:
    link = Link(instrument)
    prefix = {"usdm": "/fapi/v1", "coinm": "/dapi/v1"}[instrument.market]
    link.wait(14 * SECOND, pulse=True)
    ask = Fetch(f"oi:{instrument.native}", f"{prefix}/openInterest?symbol={instrument.native}", 1, 2)
    assert [action for action in link.asked if isinstance(action, Fetch) and action.key.startswith("oi:")] == [ask]
    link.wait(2 * SECOND, pulse=True)
    assert link.asked.count(ask) == 2
    body = f'{{"symbol":"{instrument.native}","openInterest":"6196.323","time":1787059914451}}'.encode()
    link.take(link.session.answer(ask.key, body, link.now))
    assert link.notes.metrics == [(instrument.id, OpenInterest(6196.323, 1787059914451 * MS))]
    link.take(link.session.answer(ask.key, FetchError(500, "no"), link.now))
    with pytest.raises(DECODE_ERRORS):
        link.session.answer(ask.key, b'{"code":-1121,"msg":"Invalid symbol."}', link.now)
    with pytest.raises(BadFrame):
        link.session.answer(ask.key, body.replace(instrument.native.encode(), b"ETHUSDT"), link.now)
    assert (len(link.notes.metrics), link.board.stream(Stream(instrument.id, Channel.BOOK)).resyncs) == (1, 0)


def test_open_interest_is_asked_for_where_the_ticker_runs_and_nowhere_else() -> None:
    for link in (Link(SPOT), Link(USDM, [Channel.BOOK, Channel.TOUCH])):
        link.wait(20 * SECOND, pulse=True)
        assert not [action for action in link.asked if isinstance(action, Fetch) and action.key.startswith("oi:")]
    link = Link(USDM)
    link.take(link.session.want((), [Stream(USDM.id, Channel.TICKER)], link.now))
    link.wait(20 * SECOND, pulse=True)
    assert not [action for action in link.asked if isinstance(action, Fetch) and action.key.startswith("oi:")]


@FUTURES
def test_an_open_interest_that_cannot_be_had_any_more_becomes_unknown_after_a_minute(instrument: Instrument) -> None:
    link = Link(instrument)
    key = f"oi:{instrument.native}"
    body = f'{{"symbol":"{instrument.native}","openInterest":"6196.323","time":1787059914451}}'.encode()
    link.take(link.session.answer(key, body, link.now))
    link.wait(60 * SECOND, pulse=True)
    link.take(link.session.answer(key, FetchError(0, "no answer"), link.now))
    assert len(link.notes.metrics) == 1
    link.wait(SECOND, pulse=True)
    link.take(link.session.answer(key, FetchError(0, "no answer"), link.now))
    ((_, first), (name, last)) = link.notes.metrics
    assert first == OpenInterest(6196.323, 1787059914451 * MS)
    assert name == instrument.id
    assert isinstance(last, OpenInterest)
    assert isnan(last.size)
    link.session.promote(heir := Notes(), HealthBoard(), link.now)
    assert heir.metrics == [], "and no connection that takes over tells it again"


# --- what the venue says about itself


@pytest.mark.parametrize(
    "text",
    [
        '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
        '{"e":"serverShutdown","E":1770123456789}',
    ],
)
def test_a_server_that_shuts_down_is_left_for_another_before_it_does(text: str) -> None:
    link = followed(SPOT)
    link.raw(text)
    assert [type(action) for action in link.asked[-1:]] == [Renew]
    assert link.book.published


def test_a_best_quote_without_a_book_counts_and_is_no_unknown_stream() -> None:
    link = Link(SPOT, [Channel.TOUCH])
    link.send("bookTicker", {"u": 9, "b": "99", "B": "1", "a": "101", "A": "1"})
    assert (link.board.ignored, link.board.stream(Stream(SPOT.id, Channel.TOUCH)).frames) == (0, 1)
    assert link.session.ready


def test_every_market_can_be_somewhere_else() -> None:
    places = {market: Endpoint(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}") for port, market in enumerate(MARKETS)}
    venue = Binance(places)
    wanted = [Stream(one.id, Channel.TRADE) for one in (SPOT, USDM, COINM)] + [Stream(USDM.id, Channel.BOOK)]
    assert sorted(plan.url for plan in venue.plan(wanted, ALL)) == [
        "ws://127.0.0.1:0/stream",
        "ws://127.0.0.1:1/market/stream",
        "ws://127.0.0.1:1/public/stream",
        "ws://127.0.0.1:2/stream",
    ]
    assert [venue.terms(market).rest for market in MARKETS] == [f"http://127.0.0.1:{port}" for port in range(3)]


def test_the_futures_markets_share_one_weight_limit_and_spot_has_its_own() -> None:
    spot, usdm, coinm = (BINANCE.terms(market) for market in ("spot", "usdm", "coinm"))
    assert (spot.pool != usdm.pool, usdm.pool == coinm.pool) == (True, True)
    assert (spot.weight_per_minute, usdm.weight_per_minute, coinm.weight_per_minute) == (6_000, 2_400, 2_400)
    assert (spot.sends_per_s, usdm.sends_per_s) == (4.0, 8.0)
    assert (usdm.rest, coinm.rest) == ("https://fapi.binance.com", "https://dapi.binance.com")
    assert {one.lives_ns for one in (spot, usdm, coinm)} == {(23 * 60 + 50) * 60 * SECOND}
    assert {one.used_weight for one in (spot, usdm, coinm)} == {"X-MBX-USED-WEIGHT-1M"}


def test_the_venues_time_is_asked_for_and_read() -> None:
    assert [BINANCE.clock(market).path for market in ("spot", "usdm", "coinm")] == [
        "/api/v3/time",
        "/fapi/v1/time",
        "/dapi/v1/time",
    ]
    assert BINANCE.clock("usdm").market == "usdm"
    assert BINANCE.server_ns(b'{"serverTime":1787059914451}') == 1787059914451 * MS
    for body in (b"{}", b'{"serverTime":0}', b'{"serverTime":1787059914451000}', b"<html>"):
        with pytest.raises(DECODE_ERRORS):
            BINANCE.server_ns(body)


def test_the_catalogue_names_the_market_of_each_request() -> None:
    found = {fetch.key: fetch.market for fetch in BINANCE.catalogue()}
    assert found == {
        "instruments:spot": "spot",
        "instruments:usdm": "usdm",
        "instruments:coinm": "coinm",
        "funding:usdm": "usdm",
    }
    assert BINANCE.catalogue_key("https://fapi.binance.com/fapi/v1/fundingInfo") == "funding:usdm"
    assert BINANCE.next_page("instruments:spot", b"{}") is None


# --- instruments


def symbol(**changes: object) -> dict[str, object]:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
        {"filterType": "LOT_SIZE", "stepSize": "0.001"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
    ]
    facts = {"symbol": "BTCUSDT", "status": "TRADING", "contractType": "PERPETUAL", "deliveryDate": 4133404800000}
    return {**facts, "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "filters": filters, **changes}


def catalogue(market: str, *symbols: object) -> Sequence[Instrument]:
    return BINANCE.instruments({f"instruments:{market}": json.dumps({"symbols": symbols}).encode()})


def test_instruments_carry_what_the_venue_states() -> None:
    (perp,) = catalogue("usdm", symbol())
    assert (perp.id, perp.kind, perp.contract, perp.settle) == ("BINANCE:BTC/USDT:USDT", Kind.PERP, Contract.LINEAR, "USDT")
    assert (perp.tick, perp.lot, perp.min_notional, perp.contract_size, perp.expiry_ns) == (0.1, 0.001, 100.0, 1.0, 0)
    dated = {"symbol": "BTCUSD_261225", "deliveryDate": 1798185600000, "contractType": "CURRENT_QUARTER"}
    facts = {"quoteAsset": "USD", "marginAsset": "BTC", "status": "", "contractStatus": "TRADING", "contractSize": 100}
    (future,) = catalogue("coinm", symbol(**facts, **dated))
    assert (future.id, future.kind, future.contract) == ("BINANCE:BTC/USD:BTC-261225", Kind.FUTURE, Contract.INVERSE)
    assert (future.contract_size, future.expiry_ns, future.native) == (100.0, 1798185600000 * MS, "BTCUSD_261225")
    (spot,) = catalogue("spot", symbol())
    assert (spot.id, spot.kind, spot.settle, spot.expiry_ns) == ("BINANCE:BTC/USDT", Kind.SPOT, "", 0)


@pytest.mark.parametrize(
    ("rows", "interval_s"),
    [
        ([{"symbol": "BTCUSDT", "fundingIntervalHours": 4}], 14_400),
        ([{"symbol": "ETHUSDT", "fundingIntervalHours": 4}], 28_800),
        ([{"symbol": "BTCUSDT", "fundingIntervalHours": 0}], 0),
        ([{"symbol": "BTCUSDT", "fundingIntervalHours": 1e9}], 0),
        ([{"symbol": "BTCUSDT"}, 7, None], 0),
        ([], 28_800),
        (None, 0),
    ],
    ids=str,
)
def test_the_funding_interval_is_what_funding_info_says_else_eight_hours_else_unknown(rows: object, interval_s: int) -> None:
    answers = {"instruments:usdm": json.dumps({"symbols": [symbol()]}).encode()}
    if rows is not None:
        answers["funding:usdm"] = json.dumps(rows).encode()
    (perp,) = BINANCE.instruments(answers)
    assert perp.funding_interval_s == interval_s


def test_coin_margined_perpetuals_fund_each_eight_hours_and_dated_contracts_never() -> None:
    facts = {"quoteAsset": "USD", "marginAsset": "BTC", "status": "", "contractStatus": "TRADING", "contractSize": 100}
    perp, dated = catalogue("coinm", symbol(**facts), symbol(**facts, deliveryDate=1798185600000, contractType="CURRENT_QUARTER"))
    assert (perp.funding_interval_s, dated.funding_interval_s) == (28_800, 0)


def test_a_perpetual_with_a_delisting_date_stays_a_perpetual() -> None:
    (perp,) = catalogue("usdm", symbol(deliveryDate=1798185600000))
    assert (perp.id, perp.kind) == ("BINANCE:BTC/USDT:USDT", Kind.PERP)


@pytest.mark.parametrize(
    "odd",
    [
        symbol(status="BREAK"),
        symbol(filters=[]),
        symbol(baseAsset="b t c"),
        symbol(baseAsset=""),
        symbol(contractSize=0),
        symbol(contractSize="nan"),
        symbol(deliveryDate="soon"),
        symbol(marginAsset=""),
        {"symbol": "BTCUSDT"},
        17,
        None,
    ],
)
def test_one_symbol_that_cannot_be_understood_does_not_lose_the_others(odd: object) -> None:
    assert [one.native for one in catalogue("usdm", odd, symbol())] == ["BTCUSDT"]


@pytest.mark.recordings
def test_recorded_instrument_lists_are_understood() -> None:
    path = RECORDINGS / "binance-rest" / "public-rest-answers.json.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    answers = json.loads(gzip.decompress(path.read_bytes()))
    paths = {"spot": "/api/v3/exchangeInfo", "usdm": "/fapi/v1/exchangeInfo", "coinm": "/dapi/v1/exchangeInfo"}
    found: dict[str, Instrument] = {}
    for market, where in paths.items():
        for answer in answers[where]:
            body = json.dumps(answer["body"]).encode()
            one = BINANCE.instruments({f"instruments:{market}": body})
            assert one
            found.update({f"{market} {instrument.native}": instrument for instrument in one})
    perp, coin = found["usdm BTCUSDT"], found["coinm BTCUSD_PERP"]
    assert (perp.id, perp.tick, perp.lot, perp.min_notional) == ("BINANCE:BTC/USDT:USDT", 0.1, 0.001, 100.0)
    assert (coin.id, coin.tick, coin.lot, coin.contract_size, coin.settle) == ("BINANCE:BTC/USD:BTC", 0.1, 1.0, 100.0, "BTC")
    assert all(instrument.tick > 0 < instrument.lot for instrument in found.values())


@pytest.mark.recordings
def test_the_recorded_coinm_list_of_2021_has_its_dated_contracts() -> None:
    path = RECORDINGS / "binance-coinm-2021-04-17" / "rest-exchangeinfo.txt.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    body = gzip.decompress(path.read_bytes()).split(b"\n")[0].split(b": ", 1)[1]
    found = {one.native: one for one in BINANCE.instruments({"instruments:coinm": body})}
    assert found["BTCUSD_PERP"].kind is Kind.PERP
    assert (found["BTCUSD_210924"].id, found["BTCUSD_210924"].expiry_ns) == ("BINANCE:BTC/USD:BTC-210924", 1632470400000 * MS)
    assert (found["ETHUSD_210625"].contract_size, found["BTCUSD_210625"].contract_size) == (10.0, 100.0)


# --- checkpoints


@BOTH
@pytest.mark.parametrize("bare", [True, False], ids=["bare snapshot", "followed"])
def test_a_book_restored_from_a_checkpoint_goes_on_without_a_gap(instrument: Instrument, bare: bool) -> None:
    link = followed(instrument)
    if bare:
        link = Link(instrument)
        link.snapshot(11)
    (checkpoint,) = link.session.checkpoints()
    again = Link(instrument)
    again.session.restore(checkpoint, again.now)
    assert again.book.levels(9) == link.book.levels(9)
    for one in (link, again):
        one.diff(*((9, 14, 8) if bare else (12, 14, 11)), b=[(99.5, 2.0)])
        assert (one.gaps, one.book.seq, one.book.bid) == (0, 14, 99.5)


def test_a_book_that_is_not_synced_has_no_checkpoint_and_a_synced_one_takes_none() -> None:
    link = Link(SPOT)
    assert link.session.checkpoints() == []
    (checkpoint,) = followed(SPOT).session.checkpoints()
    link.snapshot(50, [(42.0, 1.0)], [(43.0, 1.0)])
    link.session.restore(checkpoint, link.now)
    assert link.book.bid == 42.0


# --- hostile frames (reliability 4)

GOOD = {"e": "depthUpdate", "E": NOW // MS, "T": 5, "s": "BTCUSDT", "U": 12, "u": 14, "pu": 11, "b": [["99.50", "1"]], "a": []}
NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400", "-1", "null", "true", "[]", "{}"]
NUMBERS += [f'"{text}"' for text in ("nan", "inf", "-1", "1e400", "1_0", " 1 ", "\u0661", "")]


def hostile() -> list[bytes]:
    text = frame("btcusdt@depth@100ms", GOOD).decode()
    made = [text.replace('"99.50"', number) for number in [*NUMBERS, "0", '"0"', '"0.00"']]
    made += [text.replace('["99.50","1"]', f'["99.50",{number}]') for number in NUMBERS]
    for key in ("U", "u", "pu", "E"):
        made += [text.replace(f'"{key}":{GOOD[key]}', f'"{key}":{number}') for number in NUMBERS]
    made += [
        json.dumps({"stream": "btcusdt@depth@100ms", "data": {k: v for k, v in GOOD.items() if k != key}}) for key in "UuEba"
    ]
    made += [text.replace("[]", "[[1]]"), text.replace("[]", "[[1,2,3]]"), text.replace("[]", '[["1"]]'), text.replace("[]", "7")]
    nested = "[" * 5_000 + "]" * 5_000
    made += [
        text.replace("[]", nested),
        text.replace('"T":5', f'"T":{nested}'),
        nested,
        f'{{"id":{nested}}}',
        f'{{"x":{nested}}}',
    ]
    made += [
        "",
        " ",
        "null",
        "0",
        '"x"',
        "[",
        "{",
        '{"stream":',
        '{"stream":"',
        '{"stream":"btcusdt@depth',
        "\ufeff" + text,
        text[:-2],
    ]
    made += ['{"stream":17}', '{"stream":"\\ud800"}', '{"stream":"btcusdt@depth@100ms","data":null}', text + "x", "}" * 70]
    made += ['{"stream":"btcusdt@depth@100ms","data":[]}', '{"code":"x"}', '{"error":7}']
    random_bytes = random.Random(7).randbytes(1 << 20)
    raw = [one.encode("utf-8", "surrogatepass") for one in made]
    raw += [random_bytes, b"{" * (1 << 20), text.encode() + b"\x00", b"\xff\xfe", text.encode().replace(b"BTCUSDT", b"\xff\xfe")]
    return [*raw, b'{"stream":"' + b"a" * (1 << 20), b'{"stream":"btcusdt@depth@100ms","data":{"s":"\xed\xa0\x80"}}']


def same_book(book: OrderBook) -> bool:
    return book.levels(9) == ([(99.0, 1.0), (98.0, 2.0)], [(101.0, 1.0)]) and book.seq == 11


@BOTH
@pytest.mark.parametrize("data", hostile(), ids=lambda data: repr(data[:60])[:70])
def test_a_hostile_frame_raises_only_what_the_hub_catches_and_leaves_no_wrong_book(instrument: Instrument, data: bytes) -> None:
    link = followed(instrument)
    try:
        link.raw(data)
    except (*DECODE_ERRORS, BadFrame):
        link.session.refused(data, link.now)
    assert not link.book.published or same_book(link.book) or link.book.levels(9) == naive(instrument, data)


def naive(instrument: Instrument, data: bytes) -> object:
    """What a frame that is valid after all makes of the book of `followed`."""
    event = json.loads(data.decode("utf-8", "replace"))["data"]
    assert (event["U"], event["u"]) == (12, 14) if instrument.market == "spot" else event["pu"] == 11
    bids = {99.0: 1.0, 98.0: 2.0} | {float(price): float(size) for price, size in event["b"]}
    return sorted(((p, s) for p, s in bids.items() if s), reverse=True), [(101.0, 1.0)]


def test_the_hub_survives_every_hostile_frame_and_gives_the_connection_up_after_five() -> None:
    asked: list[Action] = []
    hub = Hub({"BINANCE": BINANCE}, Notes(), lambda _conn, actions: asked.extend(actions))
    hub.watch(ALL.values(), NOW)
    hub.open("x", Plan("BINANCE", "spot", "wss://host", (Stream(SPOT.id, Channel.BOOK),)), NOW)
    for data in hostile():
        hub.frame("x", data, NOW)
    assert hub.quarantined > 100
    assert all(len(one.text) <= 160 and one.text.isprintable() for one in hub.quarantine)
    assert sum(type(action).__name__ == "Drop" for action in asked) == hub.quarantined // 5


def test_a_hostile_snapshot_does_not_leave_the_book_waiting_for_ever() -> None:
    asked: list[Action] = []
    hub = Hub({"BINANCE": BINANCE}, Notes(), lambda _conn, actions: asked.extend(actions))
    hub.watch(ALL.values(), NOW)
    hub.open("x", Plan("BINANCE", "spot", "wss://host", (Stream(SPOT.id, Channel.BOOK),)), NOW)
    hub.ticker.advance(NOW)
    hub.answer("x", "depth:BTCUSDT", b"<html>", NOW)
    hub.frame("x", b'{"stream":"btcusdt@depth","data":{"E":1,"U":1,"u":2,"b":[],"a":[]}}', NOW + SECOND)
    hub.ticker.advance(NOW + 3 * SECOND)
    assert sum(isinstance(action, Fetch) for action in asked) == 2
