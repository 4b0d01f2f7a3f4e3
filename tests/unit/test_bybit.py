"""Bybit: recorded frames field by field, the sequence rule, hostile frames, requests. Frames: protocols.md 2.1 and 2.4."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import msgspec
import pytest

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.health import Health, HealthBoard
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
    Stats24h,
    Status,
    Stream,
    Trade,
)
from feeds.orderbook import OrderBook
from feeds.venue import NOTHING, Action, Drop, Endpoint, Fetch, FetchError, Plan, Send
from feeds.venues.bybit import SWEEP_EVERY, Bybit, BybitSession

VENUE = Bybit()
START: Ns = 1_789_299_655_000 * MS


@dataclass
class Heard:
    """A listener that keeps what it was told."""

    statuses: list[tuple[Stream, Status]] = field(default_factory=list)
    books: list[tuple[str, float, float]] = field(default_factory=list)
    touches: list[tuple[str, float, float]] = field(default_factory=list)
    trades: list[tuple[Instrument, Trade]] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    pairs: list[PairIndex] = field(default_factory=list)

    def on_time(self, now: Ns) -> None: ...
    def on_instrument(self, instrument: Instrument, now: Ns) -> None: ...
    def on_health(self, stream: Stream, health: Health, now: Ns) -> None: ...

    def on_pair_index(self, index: PairIndex, now: Ns) -> None:
        self.pairs.append(index)

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        self.statuses.append((stream, status))

    def on_touch(self, book: OrderBook, now: Ns) -> None:
        self.touches.append((book.instrument.id, book.bid, book.ask))

    def on_book(self, book: OrderBook, now: Ns) -> None:
        self.books.append((book.instrument.id, book.bid, book.ask))

    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None:
        self.trades.append((instrument, trade))

    def on_metric(self, instrument: Instrument, metric: Metric, now: Ns) -> None:
        self.metrics.append(metric)

    def of(self, kind: type) -> list[Any]:
        return [metric for metric in self.metrics if type(metric) is kind]


def instrument(market: str, native: str, base: str, quote: str, settle: str = "", kind: Kind = Kind.SPOT) -> Instrument:
    return Instrument(
        id=f"BYBIT:{base}/{quote}" + (f":{settle}" if settle else "") + ("-261225" if kind is Kind.FUTURE else ""),
        venue="BYBIT",
        market=market,
        native=native,
        base=base,
        quote=quote,
        settle=settle,
        kind=kind,
        contract=Contract.INVERSE if market == "inverse" else Contract.LINEAR,
        tick=0.1,
        lot=0.001,
        funding_interval_s=14_400 if kind is Kind.PERP else 0,
    )


SPOT = instrument("spot", "BTCUSDT", "BTC", "USDT")
SPOT_ETH = instrument("spot", "ETHUSDT", "ETH", "USDT")
LINEAR = instrument("linear", "BTCUSDT", "BTC", "USDT", "USDT", Kind.PERP)
LINEAR_ICP = instrument("linear", "ICPUSDT", "ICP", "USDT", "USDT", Kind.PERP)
LINEAR_DATED = instrument("linear", "BTCUSDT-25DEC26", "BTC", "USDT", "USDT", Kind.FUTURE)
INVERSE = instrument("inverse", "BTCUSD", "BTC", "USD", "BTC", Kind.PERP)
NO_SUCH = instrument("spot", "NOSUCHSYM", "NOSUCH", "SYM")
INSTRUMENTS = {each.id: each for each in (SPOT, SPOT_ETH, LINEAR, LINEAR_ICP, LINEAR_DATED, INVERSE, NO_SUCH)}


@dataclass
class Desk:
    """A session with what it was told, and a clock that only the test moves."""

    session: BybitSession
    heard: Heard
    board: HealthBoard
    now: Ns = START

    def send(self, frame: str | bytes | Mapping[str, object]) -> Sequence[Action]:
        if not isinstance(frame, (str, bytes)):
            frame = json.dumps(frame, separators=(",", ":"))
        data = frame.encode() if isinstance(frame, str) else frame
        self.now += MS
        return self.session.frame(data, self.now)

    def book(self, of: Instrument = SPOT) -> OrderBook:
        return self.session.books[of.id]

    def status(self, stream: Stream) -> Status:
        return next(status for told, status in reversed(self.heard.statuses) if told == stream)


def desk(*instruments: Instrument, channels: Sequence[Channel] | None = None, acknowledges: bool = True) -> Desk:
    streams = [Stream(each.id, channel) for each in instruments for channel in channels or VENUE.channels(each)]
    heard, board = Heard(), HealthBoard()
    (plan,) = VENUE.plan(streams, INSTRUMENTS)
    session = VENUE.session(plan, INSTRUMENTS, heard, board)
    assert isinstance(session, BybitSession)
    for action in session.opened(START):
        if acknowledges and isinstance(action, Send):
            acknowledge(session, action, START)
    return Desk(session, heard, board)


def acknowledge(session: BybitSession, request: Send, now: Ns) -> None:
    message = json.loads(request.text)
    answer = {"success": True, "ret_msg": "", "conn_id": "x", "req_id": message["req_id"], "op": message["op"]}
    session.frame(json.dumps(answer).encode(), now)


def book_frame(
    kind: str, u: int, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]], seq: int | None = None, depth: int = 200
) -> dict[str, object]:
    return {
        "topic": f"orderbook.{depth}.BTCUSDT",
        "ts": 1789299655643 + u,
        "type": kind,
        "data": {"s": "BTCUSDT", "b": bids, "a": asks, "u": u, "seq": 10 * u if seq is None else seq},
        "cts": 1789299655598,
    }


SNAPSHOT = book_frame("snapshot", 7, [["100", "1"], ["99", "2"]], [["101", "3"], ["102", "4"]])
BOOK_STREAM = Stream(SPOT.id, Channel.BOOK)

# --- fixtures of protocols.md 2.4 -----------------------------------------------------------------------------------------------

DELTA_50 = (
    '{"topic":"orderbook.50.BTCUSDT","ts":1789299658933,"type":"delta","data":{"s":"BTCUSDT","b":[["77140.3","0"],["77139.8","0"],'
    '["76200","0.002114"],["76181.8","0.003835"]],"a":[["77141.2","0"],["77928","0.002492"]],"u":3734359,"seq":2189232166},'
    '"cts":1789299658878}'
)
TOUCH = (
    '{"topic":"orderbook.1.BTCUSDT","ts":1789299655643,"type":"snapshot","data":{"s":"BTCUSDT","b":[["77140.5","0.216593"]],'
    '"a":[["77140.6","0.324006"]],"u":1980705,"seq":2189232157},"cts":1789299655598}'
)
SPOT_TRADE = (
    '{"topic":"publicTrade.BTCUSDT","ts":1789299660724,"type":"snapshot","data":[{"i":"2100000000188691524","T":1789299660688,'
    '"p":"77140.5","v":"0.00389","S":"Sell","seq":2189232173,"s":"BTCUSDT","BT":false,"RPI":false}]}'
)
TICKER = (
    '{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","tickDirection":"ZeroMinusTick","price24hPcnt":'
    '"-0.01229","lastPrice":"83024.60","prevPrice24h":"84057.70","highPrice24h":"84556.00","lowPrice24h":"82813.80","prevPrice1h":'
    '"83275.30","markPrice":"83024.70","indexPrice":"83074.01","openInterest":"57118.511","openInterestValue":"4742247240.22",'
    '"turnover24h":"3734121786.2434","volume24h":"44701.1000","fundingIntervalHour":"8","fundingCap":"0.00333",'
    '"singleOpenInterest":"28559.256","singleOpenInterestValue":"2371123661.62","nextFundingTime":"1790784000000","fundingRate":'
    '"-0.00007774","bid1Price":"83024.60","bid1Size":"3.871","ask1Price":"83024.70","ask1Size":"2.935","preOpenPrice":"","preQty":'
    '"","curPreListingPhase":""},"cs":818232112541,"ts":1790757082283}'
)
TICKER_DELTA = (
    '{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","markPrice":"83024.60","openInterestValue":'
    '"4742241528.37","ask1Price":"83024.70","ask1Size":"2.942","singleOpenInterestValue":"2371120805.70"},"cs":818232113624,'
    '"ts":1790757083083}'
)
LINEAR_TRADE = (
    '{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1791457528912,"data":[{"T":1791457528911,"s":"BTCUSDT","S":"Buy",'
    '"v":"0.011","p":"82642.90","L":"PlusTick","i":"5be1261b-d231-533b-89cd-0653c4f333be","BT":false,"RPI":false,'
    '"seq":822323446907}]}'
)
INVERSE_TRADE = (
    '{"topic":"publicTrade.BTCUSD","type":"snapshot","ts":1791457532051,"data":[{"T":1791457532050,"s":"BTCUSD","S":"Sell",'
    '"v":"2238","p":"82586.40","L":"ZeroMinusTick","i":"4639ca04-a297-52c5-aa8d-d4799be02811","BT":false,"RPI":false,'
    '"seq":118895331123}]}'
)
SPOT_TICKER = (
    '{"topic":"tickers.BTCUSDT","ts":1740835319867,"type":"snapshot","cs":64027791513,"data":{"symbol":"BTCUSDT","lastPrice":'
    '"84547.99","highPrice24h":"86584.84","lowPrice24h":"80609.26","prevPrice24h":"80900","volume24h":"9416.834648",'
    '"turnover24h":"792190557.2149933","price24hPcnt":"0.0451","usdIndexPrice":"84501.308024"}}'
)
LIQUIDATION = (
    '{"topic":"allLiquidation.ICPUSDT","type":"snapshot","ts":1789670094412,"data":[{"T":1789670094099,"s":"ICPUSDT","S":"Buy",'
    '"v":"19.7","p":"2.585"}]}'
)
SPOT_ACK = '{"success":true,"ret_msg":"subscribe","conn_id":"x","req_id":"md1","op":"subscribe"}'
LINEAR_ACK = '{"success":true,"ret_msg":"","conn_id":"x","req_id":"md1","op":"subscribe"}'
PONG = '{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"100001","op":"ping"}'
ERROR = '{"success":false,"ret_msg":"Invalid symbol :[orderbook.50.NOSUCHSYM]","conn_id":"x","op":"subscribe"}'


def test_a_recorded_depth_update_is_applied_level_by_level() -> None:
    at = desk(SPOT)
    bids = [["77140.3", "1"], ["77139.8", "1"], ["77139", "1"], ["76200", "9"]]
    asks = [["77141.2", "1"], ["77142", "0.5"]]
    at.send(book_frame("snapshot", 3734358, bids, asks, seq=2189232160, depth=50))
    assert at.send(DELTA_50) is NOTHING
    book = at.book()
    assert book.levels(9) == ([(77139.0, 1.0), (76200.0, 0.002114), (76181.8, 0.003835)], [(77142.0, 0.5), (77928.0, 0.002492)])
    assert (book.seq, book.venue_ns, book.recv_ns) == (2189232166, 1789299658933 * MS, at.now)
    assert (book.bid, book.bid_size, book.ask, book.ask_size) == (77139.0, 1.0, 77142.0, 0.5)
    leg = book.leg
    assert leg.raw_ns == at.now - 1789299658933 * MS
    assert leg.fresh


def test_a_recorded_best_quote_lies_over_an_older_book() -> None:
    at = desk(SPOT)
    at.send(book_frame("snapshot", 5, [["77140", "1"]], [["77141", "1"]], seq=2189232156))
    at.heard.books.clear()
    book = at.book()
    book.leg.fresh = False
    assert at.send(TOUCH) is NOTHING
    assert (book.bid, book.bid_size, book.ask, book.ask_size) == (77140.5, 0.216593, 77140.6, 0.324006)
    assert (book.touch_seq, book.venue_ns) == (2189232157, 1789299655643 * MS)
    assert (at.heard.touches, at.heard.books) == ([(SPOT.id, 77140.5, 77140.6)], [])
    assert (book.leg.raw_ns, book.leg.fresh) == (at.now - 1789299655643 * MS, True)


def test_a_best_quote_older_than_the_book_does_not_replace_it() -> None:
    at = desk(SPOT)
    at.send(book_frame("snapshot", 5, [["77140", "1"]], [["77141", "1"]], seq=2189232157))
    at.send(TOUCH)
    assert (at.book().bid, at.book().ask) == (77140.0, 77141.0)
    assert at.heard.touches == []


def test_a_best_quote_sent_again_with_the_same_number_is_no_gap() -> None:
    at = desk(SPOT)
    at.send(book_frame("snapshot", 5, [["77140", "1"]], [["77141", "1"]], seq=2189232156))
    for _ in range(3):
        assert at.send(TOUCH) is NOTHING
    assert at.book().bid == 77140.5
    assert at.board.stream(Stream(SPOT.id, Channel.TOUCH)).frames == 3


def test_recorded_trades_carry_the_takers_side() -> None:
    at = desk(SPOT)
    at.send(SPOT_TRADE)
    assert at.heard.trades == [(SPOT, Trade(77140.5, 0.00389, "sell", 1789299660688 * MS, "2100000000188691524", False))]
    at = desk(LINEAR)
    at.send(LINEAR_TRADE)
    id_ = "5be1261b-d231-533b-89cd-0653c4f333be"
    assert at.heard.trades == [(LINEAR, Trade(82642.9, 0.011, "buy", 1791457528911 * MS, id_, False))]
    at = desk(INVERSE)
    at.send(INVERSE_TRADE)
    assert [(each, trade.size, trade.aggressor) for each, trade in at.heard.trades] == [(INVERSE, 2238.0, "sell")]


def test_a_block_trade_is_marked() -> None:
    at = desk(LINEAR)
    at.send(LINEAR_TRADE.replace('"BT":false', '"BT":true'))
    assert at.heard.trades[0][1].block


def test_a_recorded_linear_ticker_yields_every_metric() -> None:
    at = desk(LINEAR)
    at.send(TICKER)
    when = 1790757082283 * MS
    assert at.heard.metrics == [
        Mark(83024.7, when),
        Index(83074.01, when),
        Funding(-0.00007774, 28_800, 1790784000000 * MS, when),
        OpenInterest(28559.256, when),
        Stats24h(44701.1, 3734121786.2434, when),
    ]


def test_a_ticker_delta_keeps_what_it_does_not_mention() -> None:
    at = desk(LINEAR)
    at.send(TICKER)
    at.heard.metrics.clear()
    at.send(TICKER_DELTA)
    when = 1790757083083 * MS
    assert at.heard.metrics == [Mark(83024.6, when), Index(83074.01, when)]


def test_a_ticker_delta_without_news_says_nothing_until_a_second_has_passed() -> None:
    at = desk(LINEAR)
    at.send(TICKER)
    at.heard.metrics.clear()
    quiet = '{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","bid1Size":"3"},"cs":1,"ts":1790757082400}'
    at.send(quiet)
    assert at.heard.metrics == []
    at.now += SECOND
    at.send(quiet)
    assert at.heard.metrics == [Mark(83024.7, 1790757082400 * MS), Index(83074.01, 1790757082400 * MS)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fundingRate": "0.0001"}, Funding(0.0001, 28_800, 1790784000000 * MS, 1 * MS)),
        ({"fundingRate": "0"}, Funding(0.0, 28_800, 1790784000000 * MS, 1 * MS)),
        ({"fundingIntervalHour": "1"}, Funding(-0.00007774, 3_600, 1790784000000 * MS, 1 * MS)),
        ({"nextFundingTime": "1790812800000"}, Funding(-0.00007774, 28_800, 1790812800000 * MS, 1 * MS)),
        ({"singleOpenInterest": "3"}, OpenInterest(3.0, 1 * MS)),
        ({"volume24h": "5"}, Stats24h(5.0, 3734121786.2434, 1 * MS)),
        ({"openInterest": "57118.511"}, None),
        ({"volume24h": "44701.1", "turnover24h": "3734121786.2434", "fundingRate": "-0.00007774"}, None),
        ({"fundingRate": "", "nextFundingTime": "", "markPrice": "", "openInterest": ""}, None),
    ],
    ids=str,
)
def test_only_the_metric_whose_fields_changed_is_told(change: dict[str, str], expected: Metric | None) -> None:
    at = desk(LINEAR)
    at.send(TICKER)
    at.heard.metrics.clear()
    at.send({"topic": "tickers.BTCUSDT", "type": "delta", "data": {"symbol": "BTCUSDT", **change}, "ts": 1})
    assert at.heard.metrics == ([expected] if expected is not None else [])


def test_the_funding_interval_comes_from_the_metadata_where_the_ticker_has_none() -> None:
    at = desk(LINEAR)
    data = {"symbol": "BTCUSDT", "fundingRate": "0.0002", "nextFundingTime": "1790784000000"}
    at.send({"topic": "tickers.BTCUSDT", "type": "snapshot", "data": data, "ts": 1})
    assert at.heard.metrics == [Funding(0.0002, 14_400, 1790784000000 * MS, MS)]


def test_open_interest_of_both_sides_is_halved() -> None:
    at = desk(LINEAR)
    at.send({"topic": "tickers.BTCUSDT", "type": "snapshot", "data": {"openInterest": "57118.511"}, "ts": 1})
    assert at.heard.metrics == [OpenInterest(57118.511 / 2, MS)]


def test_inverse_volume_is_in_dollars_and_its_turnover_in_coin() -> None:
    at = desk(INVERSE)
    data = {
        "symbol": "BTCUSD",
        "volume24h": "1000000",
        "turnover24h": "12.5",
        "singleOpenInterest": "777",
        "fundingRate": "0.0001",
    }
    at.send({"topic": "tickers.BTCUSD", "type": "snapshot", "data": data, "ts": 1})
    assert at.heard.of(Stats24h) == [Stats24h(12.5, 1_000_000.0, MS)]
    assert at.heard.of(OpenInterest) == [OpenInterest(777.0, MS)]


def test_a_dated_contract_has_no_funding() -> None:
    at = desk(LINEAR_DATED)
    data = {"markPrice": "84000", "fundingRate": "", "nextFundingTime": "0", "fundingIntervalHour": ""}
    at.send({"topic": "tickers.BTCUSDT-25DEC26", "type": "snapshot", "data": data, "ts": 1})
    at.send({"topic": "tickers.BTCUSDT-25DEC26", "type": "delta", "data": {"fundingRate": "0.5"}, "ts": 1})
    assert at.heard.metrics == [Mark(84000.0, MS)]


def test_a_recorded_spot_ticker_is_volume_and_no_index() -> None:
    at = desk(SPOT)
    at.send(SPOT_TICKER)
    assert at.heard.metrics == [Stats24h(9416.834648, 792190557.2149933, 1740835319867 * MS)]


@pytest.mark.parametrize(("side", "position"), [("Buy", "long"), ("Sell", "short")])
def test_a_recorded_liquidation_names_the_position_not_the_order(side: str, position: str) -> None:
    at = desk(LINEAR_ICP)
    at.send(LIQUIDATION.replace('"Buy"', f'"{side}"'))
    (told,) = at.heard.metrics
    assert isinstance(told, Liquidation)
    assert (told.position, told.price, told.size, told.venue_ns) == (position, 2.585, 19.7, 1789670094099 * MS)


@pytest.mark.parametrize("frame", [SPOT_ACK, LINEAR_ACK, PONG], ids=["spot", "linear", "pong"])
def test_an_acknowledgement_is_no_sign_of_data(frame: str) -> None:
    at = desk(SPOT)
    assert at.send(frame) is NOTHING
    assert at.session.pulse.last_ns == START
    assert at.session.link is LinkState.NOT_READY
    assert at.board.ignored == 0


@pytest.mark.parametrize(
    "order", [("topic", "type", "ts", "data"), ("data", "ts", "type", "topic"), ("type", "data", "topic", "ts")]
)
def test_the_order_of_a_frames_keys_does_not_matter(order: tuple[str, ...]) -> None:
    at = desk(SPOT)
    at.send({key: SNAPSHOT[key] for key in order})
    at.send({key: book_frame("delta", 8, [["100.5", "1"]], [])[key] for key in order})
    assert at.book().bid == 100.5


def test_blanks_between_the_tokens_do_not_hide_a_frame() -> None:
    at = desk(SPOT)
    at.send(json.dumps(SNAPSHOT, indent=1))
    assert at.book().published


# --- the sequence rule ----------------------------------------------------------------------------------------------------------


def synced() -> Desk:
    """A book and its trades: nothing else that must speak."""
    at = desk(SPOT, channels=[Channel.BOOK, Channel.TRADE])
    at.send(SNAPSHOT)
    assert at.book().published
    return at


def quoted(seq: int = 70) -> Desk:
    """A book with its best quote beside it."""
    at = desk(SPOT)
    at.send(book_frame("snapshot", 7, [["100", "1"], ["99", "2"]], [["101", "3"], ["102", "4"]], seq=seq))
    return at


def sent(actions: Sequence[Action]) -> list[tuple[str, list[str]]]:
    messages = [json.loads(action.text) for action in actions if isinstance(action, Send)]
    assert len(messages) == len(actions)
    return [(message["op"], message["args"]) for message in messages]


AGAIN = [("unsubscribe", ["orderbook.200.BTCUSDT"]), ("subscribe", ["orderbook.200.BTCUSDT"])]


@pytest.mark.parametrize("u", [9, 6, 0, 1_000_000])
def test_an_update_that_does_not_follow_blanks_the_book_and_asks_for_another(u: int) -> None:
    at = synced()
    at.now += 3 * SECOND
    assert sent(at.send(book_frame("delta", u, [["100.5", "1"]], []))) == AGAIN
    book = at.book()
    assert (book.state, book.reason, book.published) == (BookState.BUFFERING, "gap", False)
    assert isnan(book.bid)
    assert book.levels(1) == ([], [])
    health = at.board.stream(BOOK_STREAM)
    assert (health.gaps, health.resyncs) == (1, 1)
    assert at.status(BOOK_STREAM) == Status(LinkState.READY, BookState.BUFFERING, "gap")


def test_after_a_gap_nothing_is_applied_before_the_next_snapshot() -> None:
    at = synced()
    at.now += 3 * SECOND
    at.send(book_frame("delta", 9, [["100.5", "1"]], []))
    for u in (10, 11, 0):
        assert at.send(book_frame("delta", u, [["100.5", "1"]], [])) is NOTHING
        assert not at.book().published
    at.send(book_frame("snapshot", 20, [["50", "1"]], [["51", "1"]]))
    assert at.book().levels(5) == ([(50.0, 1.0)], [(51.0, 1.0)])
    at.send(book_frame("delta", 21, [["50.5", "1"]], []))
    assert at.book().bid == 50.5
    assert at.board.stream(BOOK_STREAM).gaps == 1


def test_a_second_gap_within_two_seconds_waits_before_it_asks() -> None:
    at = synced()
    at.now += 3 * SECOND
    at.send(book_frame("delta", 9, [], []))
    at.send(book_frame("snapshot", 20, [["50", "1"]], [["51", "1"]]))
    assert at.send(book_frame("delta", 22, [], [])) is NOTHING
    asked = at.now - 2 * MS
    assert at.session.deadline <= asked + 2 * SECOND
    at.session.pulse.last_ns = asked + 2 * SECOND
    assert sent(at.session.wake(asked + 2 * SECOND)) == AGAIN


def test_an_update_sent_twice_changes_nothing() -> None:
    at = synced()
    at.send(book_frame("delta", 8, [["100.5", "1"]], []))
    version = at.book().version
    assert at.send(book_frame("delta", 8, [["100.5", "1"]], [])) is NOTHING
    assert (at.book().version, at.book().published) == (version, True)
    health = at.board.stream(BOOK_STREAM)
    assert (health.gaps, health.ignored) == (0, 1)


def test_an_update_before_any_snapshot_publishes_nothing() -> None:
    at = desk(SPOT)
    assert at.send(book_frame("delta", 0, [["100.5", "1"]], [["101", "1"]])) is NOTHING
    assert at.book().state is BookState.BUFFERING
    assert at.heard.books == []
    health = at.board.stream(BOOK_STREAM)
    assert (health.gaps, health.ignored) == (0, 1)


def test_a_snapshot_in_mid_stream_replaces_the_book() -> None:
    at = synced()
    at.send(book_frame("snapshot", 500, [["50", "1"]], [["51", "1"]]))
    assert at.book().levels(5) == ([(50.0, 1.0)], [(51.0, 1.0)])
    at.send(book_frame("delta", 501, [["50.5", "1"]], []))
    assert at.book().bid == 50.5
    assert at.board.stream(BOOK_STREAM).gaps == 0


def test_a_restarted_service_counts_from_one_and_an_older_touch_is_forgotten() -> None:
    at = quoted(seq=2189232156)
    at.send(TOUCH)
    assert at.book().bid == 77140.5
    at.send(book_frame("snapshot", 1, [["50", "1"]], [["51", "1"]], seq=3))
    assert (at.book().bid, at.book().ask) == (50.0, 51.0)
    at.send(book_frame("delta", 2, [["50.5", "1"]], [], seq=4))
    assert at.book().bid == 50.5
    assert at.board.stream(BOOK_STREAM).gaps == 0


def test_a_side_that_runs_empty_is_nan_and_not_its_last_price() -> None:
    at = synced()
    at.send(book_frame("delta", 8, [["100", "0"], ["99", "0.000"]], []))
    assert isnan(at.book().bid)
    assert at.book().ask == 101.0


def test_a_crossed_book_is_unpublished_at_once_and_asked_for_after_half_a_second() -> None:
    at = synced()
    at.now += 3 * SECOND
    at.send(book_frame("delta", 8, [["101.5", "1"]], []))
    assert not at.book().published
    assert at.session.deadline <= at.now + 500 * MS
    assert sent(at.session.wake(at.now + 500 * MS)) == AGAIN
    assert at.book().reason == "crossed"


def test_levels_beyond_the_depth_do_not_stay_as_ghosts() -> None:
    at = desk(SPOT)
    side = [[str(1000 - i), "1"] for i in range(50)]
    at.send(book_frame("snapshot", 1, side, [["2000", "1"]], depth=50))
    for step in range(SWEEP_EVERY):
        at.send(book_frame("delta", 2 + step, [[str(1001 + step / 10000), "1"]], [], depth=50))
    bids, _ = at.book().levels(10_000)
    assert len(bids) == 50
    assert bids[0][0] == 1001 + (SWEEP_EVERY - 1) / 10000
    assert bids == sorted(bids, reverse=True)


def test_a_snapshot_deeper_than_its_depth_is_cut() -> None:
    at = desk(SPOT)
    at.send(book_frame("snapshot", 1, [[str(1000 - i), "1"] for i in range(70)], [["2000", "1"]], depth=50))
    assert len(at.book().levels(10_000)[0]) == 50


def test_two_depths_of_one_instrument_do_not_mix_in_one_book() -> None:
    at = synced()
    ignored = at.board.ignored
    assert at.send(book_frame("delta", 8, [["100.5", "1"]], [], depth=50)) is NOTHING
    assert (at.book().bid, at.board.ignored) == (100.0, ignored + 1)


def touch_frame(kind: str, u: int, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]], seq: int) -> dict[str, object]:
    return book_frame(kind, u, bids, asks, seq=seq, depth=1)


def test_best_quote_deltas_of_old_recordings_are_merged() -> None:
    at = quoted()
    at.send(touch_frame("snapshot", 1, [["100.1", "1"]], [["100.9", "2"]], 71))
    at.send(touch_frame("delta", 2, [["100.1", "0"], ["100.2", "5"]], [], 72))
    book = at.book()
    assert (book.bid, book.bid_size, book.ask, book.ask_size) == (100.2, 5.0, 100.9, 2.0)
    at.send(touch_frame("delta", 3, [["100.3", "4"], ["100.2", "0"]], [["100.9", "7"]], 73))
    assert (book.bid, book.bid_size, book.ask, book.ask_size) == (100.3, 4.0, 100.9, 7.0)
    at.send(touch_frame("delta", 4, [["100.3", "0"]], [], 74))
    assert isnan(book.bid)
    assert book.ask == 100.9


@pytest.mark.parametrize("u", [0, 3, 77])
def test_a_best_quote_delta_that_does_not_follow_is_not_merged(u: int) -> None:
    at = quoted()
    at.send(touch_frame("snapshot", 1, [["100.1", "1"]], [["100.9", "2"]], 71))
    for number in (u, 2):
        at.send(touch_frame("delta", number, [["100.5", "5"]], [], 72 + number))
        assert at.book().bid == 100.1
    at.send(touch_frame("snapshot", 90, [["100.6", "5"]], [["100.9", "2"]], 200))
    assert at.book().bid == 100.6


def test_a_best_quote_delta_before_a_snapshot_is_not_merged() -> None:
    at = quoted()
    at.send(touch_frame("delta", 0, [["100.5", "5"]], [], 72))
    assert at.book().bid == 100.0
    assert at.heard.touches == []


def test_a_best_quote_without_a_book_is_a_pulse_and_no_more() -> None:
    at = desk(SPOT, channels=[Channel.TOUCH])
    at.send(TOUCH)
    assert at.session.pulse.last_ns == at.now
    assert at.session.link is LinkState.READY
    assert at.heard.touches == []


# --- hostile frames -------------------------------------------------------------------------------------------------------------

GOOD = json.dumps(book_frame("delta", 8, [["100.5", "1"]], [["101", "5"]]), separators=(",", ":"))


def put(old: str, new: str) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new).encode()


HOSTILE: dict[str, bytes] = {
    "nan price": put('"100.5"', '"nan"'),
    "bare NaN price": put('"100.5"', "NaN"),
    "infinite price": put('"100.5"', '"Infinity"'),
    "bare infinite price": put('"100.5"', "Infinity"),
    "overflowing price": put('"100.5"', '"1e400"'),
    "bare overflowing price": put('"100.5"', "1e400"),
    "negative price": put('"100.5"', '"-100.5"'),
    "zero price": put('"100.5"', '"0"'),
    "price with underscore": put('"100.5"', '"1_00"'),
    "price with blank": put('"100.5"', '" 100 "'),
    "price of 1e15": put('"100.5"', '"1e15"'),
    "empty price": put('"100.5"', '""'),
    "null price": put('"100.5"', "null"),
    "true price": put('"100.5"', "true"),
    "nan size": put('"5"', '"nan"'),
    "negative size": put('"5"', '"-5"'),
    "infinite size": put('"5"', '"inf"'),
    "level of one": put('["100.5","1"]', '["100.5"]'),
    "level of three": put('["100.5","1"]', '["100.5","1","1"]'),
    "levels no list": put('[["100.5","1"]]', '"100.5"'),
    "u a fraction": put('"u":8', '"u":8.5'),
    "u negative": put('"u":8', '"u":-8'),
    "u null": put('"u":8', '"u":null'),
    "u of 5,000 digits": put('"u":8', '"u":' + "8" * 5000),
    "u missing": put('"u":8,', ""),
    "seq missing": put(',"seq":80', ""),
    "bids missing": put('"b":[["100.5","1"]],', ""),
    "data missing": put('"data"', '"date"'),
    "data a list": put('"data":{', '"data":[{'),
    "type missing": put('"type"', '"tipe"'),
    "type unknown": put('"delta"', '"update"'),
    "ts missing": put('"ts"', '"tz"'),
    "ts in nanoseconds": put('"ts":1789299655651', '"ts":1789299655651000000'),
    "ts negative": put('"ts":1789299655651', '"ts":-1'),
    "ts text": put('"ts":1789299655651', '"ts":"soon"'),
    "topic a number": put('"topic":"orderbook.200.BTCUSDT"', '"topic":200'),
    "two topics": put('"ts"', '"topic":"orderbook.200.ETHUSDT","ts"'),
    "another symbol": put('"s":"BTCUSDT"', '"s":"ETHUSDT"'),
    "symbol missing": put('"s":"BTCUSDT",', ""),
    "inner topic first": b'{"data":{"topic":"orderbook.200.BTCUSDT"},"type":"delta","ts":1,"topic":"kline.1.X"}',
    "truncated": GOOD[:-9].encode(),
    "truncated in the topic": GOOD[:20].encode(),
    "trailing bytes": GOOD.encode() + b"}",
    "two frames": GOOD.encode() * 2,
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "bad UTF-8": put('"s":"BTCUSDT"', '"s":"#"').replace(b"#", b"\xff\xfe"),
    "bad UTF-8 topic": GOOD.encode().replace(b"orderbook.200.BTCUSDT", b"orderbook.200.\xff"),
    "lone surrogate": put('"s":"BTCUSDT"', '"s":"\\ud800"'),
    "deep": put('[["100.5","1"]]', "[" * 5000 + "]" * 5000),
    "deep alone": b"[" * 5000 + b"]" * 5000,
    "empty": b"",
    "blank": b" ",
    "zero bytes": b"\x00" * 64,
    "a list": b"[]",
    "a number": b"1",
    "a text": b'"orderbook.200.BTCUSDT"',
    "null": b"null",
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_frame_does_not_change_a_published_book(data: bytes) -> None:
    at = synced()
    book = at.book()
    before = (book.version, book.levels(10), book.seq, at.session.feeds[SPOT.id].chain)
    try:
        at.send(data)
    except (*DECODE_ERRORS, BadFrame):
        actions = at.session.refused(data, at.now)
        assert all(isinstance(action, Send) for action in actions)
    if book.published:
        assert (book.version, book.levels(10), book.seq, at.session.feeds[SPOT.id].chain) == before
    else:
        assert book.levels(10) == ([], [])
        assert book.reason in ("decode", "gap")


REFUSED = [name for name in HOSTILE if name != "bad UTF-8 topic"]  # a topic nobody has is ignored unread


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_frame_is_refused_and_not_swallowed(name: str) -> None:
    at = synced()
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.send(HOSTILE[name])


def test_fields_that_are_new_do_not_stop_the_feed() -> None:
    at = synced()
    at.send(put('"s":"BTCUSDT"', '"s":"BTCUSDT","x":[{"y":null}]'))
    assert at.book().bid == 100.5


def test_numbers_in_place_of_texts_are_read() -> None:
    at = synced()
    at.send(put('["100.5","1"]', "[1.005e2,1]"))
    assert (at.book().bid, at.book().bid_size) == (100.5, 1.0)


@pytest.mark.parametrize(
    ("of", "frame"),
    [
        (SPOT, SPOT_TRADE.replace('"Sell"', '"SELL"')),
        (SPOT, SPOT_TRADE.replace('"77140.5"', '"-1"')),
        (SPOT, SPOT_TRADE.replace('"0.00389"', '"nan"')),
        (LINEAR, TICKER.replace('"83024.70","indexPrice"', '"0","indexPrice"')),
        (LINEAR, TICKER.replace('"-0.00007774"', '"nan"')),
        (LINEAR, TICKER.replace('"-0.00007774"', '"11"')),
        (LINEAR, TICKER.replace('"28559.256"', '"-1"')),
        (LINEAR, TICKER.replace('"fundingIntervalHour":"8"', '"fundingIntervalHour":"-8"')),
        (LINEAR_ICP, LIQUIDATION.replace('"Buy"', '"Long"')),
        (LINEAR_ICP, LIQUIDATION.replace('"2.585"', '"1e999"')),
        (SPOT, TOUCH.replace('"77140.5"', '"nan"')),
        (SPOT, SPOT_TRADE.replace('"type"', '"topic":"publicTrade.ETHUSDT","type"')),
        (SPOT, SPOT_TICKER.replace('"type"', '"topic":"tickers.ETHUSDT","type"')),
        (SPOT, TOUCH.replace('"type"', '"topic":"orderbook.1.ETHUSDT","type"')),
        (LINEAR_ICP, LIQUIDATION.replace('"type"', '"topic":"allLiquidation.BTCUSDT","type"')),
    ],
)
def test_nonsense_on_any_channel_tells_nobody(of: Instrument, frame: str) -> None:
    at = desk(of)
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.send(frame)
    assert (at.heard.trades, at.heard.metrics, at.heard.touches, at.heard.books) == ([], [], [], [])
    assert at.session.link is LinkState.NOT_READY


def test_a_refused_update_blanks_its_book_and_no_other() -> None:
    at = desk(SPOT, SPOT_ETH)
    at.send(SNAPSHOT)
    at.send(json.dumps(SNAPSHOT).replace("BTCUSDT", "ETHUSDT"))
    at.now += 3 * SECOND
    assert sent(at.session.refused(HOSTILE["nan price"], at.now)) == AGAIN
    assert (at.book(SPOT).state, at.book(SPOT).reason) == (BookState.BUFFERING, "decode")
    assert at.book(SPOT_ETH).published
    assert at.board.stream(BOOK_STREAM).quarantined == 1


def test_a_refused_ticker_forgets_what_it_merged_and_asks_for_everything() -> None:
    at = desk(LINEAR)
    at.send(TICKER)
    actions = at.session.refused(TICKER_DELTA.encode(), at.now)
    assert sent(actions) == [("unsubscribe", ["tickers.BTCUSDT"]), ("subscribe", ["tickers.BTCUSDT"])]
    at.heard.metrics.clear()
    at.send(TICKER)
    assert len(at.heard.metrics) == 5


@pytest.mark.parametrize(
    "data", [b"", SPOT_TRADE.encode(), b'{"topic":"kline.1.BTCUSDT"', b'{"topic":"orderbook.200.XYZ"', DELTA_50.encode()]
)
def test_a_refused_frame_of_nobodys_book_leaves_the_books_alone(data: bytes) -> None:
    at = synced()
    assert at.session.refused(data, at.now) == NOTHING
    assert at.book().published


# --- control --------------------------------------------------------------------------------------------------------------------


def test_an_unknown_topic_is_a_counter_and_a_sign_of_life() -> None:
    at = desk(SPOT)
    for topic in ("kline.1.BTCUSDT", "orderbook.200.NOBODY", "orderbook.rpi.BTCUSDT", "liquidation.BTCUSDT", "tickers.", "x"):
        assert at.send({"topic": topic, "ts": 1, "type": "snapshot", "data": {}}) is NOTHING
    assert at.board.ignored == 6
    assert at.session.pulse.last_ns == at.now
    assert at.session.link is LinkState.NOT_READY


def test_an_unasked_stream_of_a_known_instrument_is_ignored() -> None:
    at = desk(SPOT, channels=[Channel.BOOK])
    at.send(SPOT_TRADE)
    assert (at.heard.trades, at.board.ignored) == ([], 1)


def test_an_object_without_meaning_is_a_counter() -> None:
    at = desk(SPOT)
    assert at.send("{}") is NOTHING
    assert at.board.ignored == 1


def test_the_first_data_makes_the_link_ready_once() -> None:
    at = desk(SPOT, channels=[Channel.BOOK, Channel.TRADE])
    at.send(SPOT_TRADE)
    assert at.session.link is LinkState.READY
    assert at.status(BOOK_STREAM) == Status(LinkState.READY, BookState.BUFFERING)
    told = len(at.heard.statuses)
    at.send(SPOT_TRADE)
    assert len(at.heard.statuses) == told


def test_data_may_come_before_the_acknowledgement() -> None:
    at = synced()
    at.send(SPOT_ACK)
    assert at.book().published
    assert at.status(BOOK_STREAM) == Status(LinkState.READY, BookState.SYNCED)


def test_a_declined_symbol_is_not_ready_and_the_others_are() -> None:
    at = desk(SPOT, NO_SUCH, channels=[Channel.BOOK, Channel.TRADE])
    assert at.send(ERROR) is NOTHING
    at.send(SNAPSHOT)
    for channel in (Channel.BOOK, Channel.TRADE):
        status = at.status(Stream(NO_SUCH.id, channel))
        assert (status.link, status.reason) == (LinkState.NOT_READY, "Invalid symbol :[orderbook.50.NOSUCHSYM]")
    assert at.status(BOOK_STREAM) == Status(LinkState.READY, BookState.SYNCED)
    assert [text for _, text in at.board.said] == ["BYBIT spot: subscribe failed: Invalid symbol :[orderbook.50.NOSUCHSYM]"]


def test_an_error_that_names_nothing_holds_every_stream_that_has_no_data_yet() -> None:
    at = desk(SPOT, SPOT_ETH, channels=[Channel.BOOK])
    at.send(SNAPSHOT)
    at.send('{"success":false,"ret_msg":"error:handler not found","op":"subscribe"}')
    eth = Stream(SPOT_ETH.id, Channel.BOOK)
    assert at.status(eth) == Status(LinkState.NOT_READY, BookState.BUFFERING, "error:handler not found")
    assert at.status(BOOK_STREAM).link is LinkState.READY
    at.send(json.dumps(SNAPSHOT).replace("BTCUSDT", "ETHUSDT"))
    assert at.status(eth) == Status(LinkState.READY, BookState.SYNCED)


def test_an_error_text_cannot_drive_the_terminal() -> None:
    at = desk(SPOT, channels=[Channel.BOOK])
    at.send({"success": False, "ret_msg": "\x1b]52;c;aGk=\x07" + "x" * 500, "op": "\x1b[2J"})
    (said,) = [text for _, text in at.board.said]
    assert "\x1b" not in said
    assert "\x07" not in said
    assert len(said) < 300
    reason = at.status(BOOK_STREAM).reason
    assert "\x1b" not in reason
    assert len(reason) <= 64


def test_the_same_error_again_is_said_once() -> None:
    at = desk(NO_SUCH, channels=[Channel.BOOK])
    for _ in range(5):
        at.send(ERROR)
    assert len(at.board.said) == 1


def test_a_failed_unsubscription_does_not_hold_a_stream() -> None:
    at = desk(SPOT, channels=[Channel.BOOK])
    at.send('{"success":false,"ret_msg":"error:orderbook.200.BTCUSDT not found","op":"unsubscribe"}')
    assert at.status(BOOK_STREAM) == Status(LinkState.NOT_READY, BookState.BUFFERING)
    assert len(at.board.said) == 1


def test_a_ping_goes_out_every_twenty_seconds() -> None:
    at = desk(SPOT)
    at.session.pulse.last_ns = START + 20 * SECOND - MS
    assert at.session.deadline <= START + 20 * SECOND
    actions = at.session.wake(START + 20 * SECOND)
    assert Send('{"op":"ping"}') in actions
    assert Send('{"op":"ping"}') not in at.session.wake(START + 20 * SECOND + MS)
    at.session.pulse.last_ns = START + 40 * SECOND - MS
    assert Send('{"op":"ping"}') in at.session.wake(START + 40 * SECOND)


@pytest.mark.parametrize(
    ("of", "channels", "silence_ns"),
    [
        (SPOT, (Channel.BOOK, Channel.TOUCH), 4_500 * MS),
        (SPOT, (Channel.BOOK, Channel.TICKER), 4_500 * MS),
        (LINEAR, (Channel.BOOK, Channel.TICKER), 3 * SECOND),
        (LINEAR, (Channel.BOOK, Channel.TOUCH), 4_500 * MS),
    ],
)
def test_a_silent_link_is_given_up_by_its_pulse(of: Instrument, channels: Sequence[Channel], silence_ns: Ns) -> None:
    at = desk(of, channels=channels)
    at.send(PONG)
    assert not any(isinstance(action, Drop) for action in at.session.wake(START + silence_ns - MS))
    (dropped,) = at.session.wake(START + silence_ns)
    assert isinstance(dropped, Drop)
    assert at.status(Stream(of.id, Channel.BOOK)).link is LinkState.DOWN
    assert at.session.wake(START + 60 * SECOND) == NOTHING


def test_a_book_without_its_snapshot_is_asked_for_again() -> None:
    at = desk(SPOT, channels=[Channel.BOOK])
    at.session.pulse.last_ns = START + 15 * SECOND
    assert sent([each for each in at.session.wake(START + 15 * SECOND) if "ping" not in str(each)]) == AGAIN


def test_a_book_that_has_its_snapshot_is_not_asked_for_again() -> None:
    at = synced()
    at.session.pulse.last_ns = START + 15 * SECOND
    assert at.session.wake(START + 15 * SECOND) == NOTHING


def test_a_book_restored_from_a_recording_goes_on_by_its_chain() -> None:
    at = synced()
    (checkpoint,) = at.session.checkpoints()
    assert (checkpoint.chain, checkpoint.seq) == (7, 70)
    other = desk(SPOT, channels=[Channel.BOOK])
    other.session.restore(checkpoint, other.now)
    other.send(book_frame("delta", 8, [["100.5", "1"]], []))
    assert other.book().levels(5) == ([(100.5, 1.0), (100.0, 1.0), (99.0, 2.0)], [(101.0, 3.0), (102.0, 4.0)])
    other.session.pulse.last_ns = START + 15 * SECOND
    assert other.session.wake(START + 15 * SECOND) == NOTHING


def test_a_stream_that_is_dropped_and_wanted_again_starts_over() -> None:
    at = synced()
    assert sent(at.session.want((), (BOOK_STREAM,), at.now)) == AGAIN[:1]
    ignored = at.board.ignored
    at.send(book_frame("delta", 8, [["100.5", "1"]], []))
    assert at.board.ignored == ignored + 1
    assert sent(at.session.want((BOOK_STREAM,), (), at.now)) == AGAIN[1:]
    at.send(book_frame("delta", 9, [["100.5", "1"]], []))
    assert not at.book().published
    at.send(SNAPSHOT)
    assert at.book().published


def test_nothing_readable_is_left_after_the_connection_has_gone() -> None:
    at = synced()
    at.session.closed("1006", at.now)
    assert not at.book().published
    assert at.status(BOOK_STREAM) == Status(LinkState.DOWN, BookState.EMPTY, "1006")


def test_a_rest_answer_is_nobodys() -> None:
    at = synced()
    assert at.session.answer("instruments:spot", FetchError(403, "no"), at.now) == NOTHING


# --- silence, acknowledgements, taking over (the rules themselves: test_session_rules) ------------------------------------------


def pass_time(at: Desk, span: Ns, *, acknowledges: bool = False) -> list[Action]:
    """Boundary by boundary, with a sign of life at each."""
    actions: list[Action] = []
    until = at.now // (100 * MS) * (100 * MS) + span
    at.now = at.now // (100 * MS) * (100 * MS)
    while at.now < until:
        at.session.frame(b'{"topic":"kline.1.BTCUSDT"}', at.now)
        at.now += 100 * MS
        if at.session.deadline <= at.now:
            actions.extend(action for action in at.session.wake(at.now) if action != Send('{"op":"ping"}'))
            for action in actions:
                if acknowledges and isinstance(action, Send):
                    acknowledge(at.session, action, at.now)
    return actions


def test_a_request_carries_a_number_and_its_answer_finds_its_streams() -> None:
    at = desk(SPOT, SPOT_ETH, channels=[Channel.TRADE], acknowledges=False)
    at.send('{"success":true,"ret_msg":"subscribe","conn_id":"x","req_id":"2","op":"subscribe"}')
    assert sent(pass_time(at, 5 * SECOND)) == [("unsubscribe", ["publicTrade.BTCUSDT"]), ("subscribe", ["publicTrade.BTCUSDT"])]
    stream = Stream(SPOT.id, Channel.TRADE)
    assert at.status(stream) == Status(LinkState.NOT_READY, BookState.EMPTY, "no answer")
    assert at.status(Stream(SPOT_ETH.id, Channel.TRADE)).reason == ""


def test_an_error_with_a_number_hits_that_request_alone() -> None:
    at = desk(SPOT, SPOT_ETH, channels=[Channel.TRADE], acknowledges=False)
    at.send('{"success":false,"ret_msg":"too many","conn_id":"x","req_id":"2","op":"subscribe"}')
    assert at.status(Stream(SPOT_ETH.id, Channel.TRADE)) == Status(LinkState.NOT_READY, BookState.EMPTY, "too many")
    assert at.status(Stream(SPOT.id, Channel.TRADE)).reason == ""


def test_a_declined_symbol_is_asked_for_again_now_and_then_and_costs_no_connection() -> None:
    at = desk(SPOT, NO_SUCH, channels=[Channel.BOOK], acknowledges=False)
    at.send(SNAPSHOT)
    at.send(ERROR)
    asked = []
    for second in range(1, 151):
        at.send(book_frame("delta", 7 + second, [["99", str(second)]], []))
        actions = pass_time(at, SECOND)
        asked.extend([second] * bool(actions))
        for action in actions:
            assert isinstance(action, Send)
            at.send(ERROR)
    assert asked == [15, 30, 90, 150]
    assert len(at.board.said) == 1


def test_a_silent_ticker_of_a_derivative_is_asked_for_again_and_its_snapshot_heals_it() -> None:
    at = desk(LINEAR, channels=[Channel.TICKER, Channel.TRADE])
    at.send(LINEAR_TRADE)
    at.send(TICKER)
    stream = Stream(LINEAR.id, Channel.TICKER)
    again = [("unsubscribe", ["tickers.BTCUSDT"]), ("subscribe", ["tickers.BTCUSDT"])]
    assert sent(pass_time(at, 3_100 * MS)) == again
    assert at.status(stream) == Status(LinkState.NOT_READY, BookState.EMPTY, "no data")
    at.send(TICKER)
    assert at.status(stream) == Status(LinkState.READY, BookState.EMPTY)


def test_a_spot_ticker_may_be_silent() -> None:
    at = desk(SPOT, channels=[Channel.TICKER])
    at.send(SPOT_TICKER)
    assert pass_time(at, 100 * SECOND) == []


def test_a_book_whose_snapshot_never_comes_after_a_gap_costs_the_connection() -> None:
    at = desk(SPOT, channels=[Channel.BOOK])
    at.send(SNAPSHOT)
    pass_time(at, 3 * SECOND)
    asked = at.send(book_frame("delta", 9, [], []))
    assert sent(asked) == AGAIN
    for action in asked:
        assert isinstance(action, Send)
        acknowledge(at.session, action, at.now)
    for u in range(10, 30):
        at.send(book_frame("delta", u, [], []))  # of the old subscription
    assert sent(pass_time(at, 15_100 * MS, acknowledges=True)) == AGAIN
    (drop,) = pass_time(at, 15 * SECOND)
    assert isinstance(drop, Drop)


def test_a_silent_book_is_not_blanked_and_a_fresh_snapshot_proves_it() -> None:
    at = desk(SPOT, channels=[Channel.BOOK])
    at.send(SNAPSHOT)
    assert sent(pass_time(at, 65_100 * MS)) == AGAIN
    assert at.book().published
    at.send(SNAPSHOT)
    assert pass_time(at, 60 * SECOND) == []
    assert at.book().published


def test_trades_through_a_standing_book_blank_it_and_block_trades_do_not() -> None:
    for block in (True, False):
        at = synced()
        trade = {"T": 1, "s": "BTCUSDT", "S": "Sell", "v": "1", "p": "98", "i": "x", "BT": block}
        asked: list[Action] = []
        for _ in range(21):
            asked.extend(at.send({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": [trade]}))
            pass_time(at, 100 * MS)
        asked.extend(at.send({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": [trade, trade]}))
        assert sent(asked) == ([] if block else AGAIN)
        assert (at.book().published, at.book().reason) == ((True, "") if block else (False, "tape"))


def test_a_best_quote_from_impossibly_far_ahead_is_refused() -> None:
    at = quoted()
    with pytest.raises(BadFrame):
        at.send(TOUCH)
    assert at.book().bid == 100.0


def test_what_arrives_on_a_dead_link_brings_no_book_back() -> None:
    at = synced()
    dead = at.now + 5 * SECOND
    at.session.wake(dead)
    at.now = dead
    told = len(at.heard.statuses), len(at.heard.books)
    assert at.send(SNAPSHOT) == NOTHING
    at.send(SPOT_TRADE)
    at.send(ERROR)
    assert not at.book().published
    assert (len(at.heard.statuses), len(at.heard.books), at.heard.trades) == (*told, [])


def test_a_promoted_session_restates_what_only_changes_would_tell() -> None:
    at = desk(LINEAR)
    at.send(TICKER)
    at.send(SNAPSHOT)
    assert at.session.ready
    told, heard, board = list(at.heard.metrics), Heard(), HealthBoard()
    at.session.promote(heard, board, at.now)
    assert heard.metrics == told
    assert len(told) == 5
    assert heard.books == [(LINEAR.id, 100.0, 101.0)]
    assert {status.link for _, status in heard.statuses} == {LinkState.READY}
    at.send(TICKER_DELTA)
    assert len(heard.metrics) == 7
    assert (len(at.heard.metrics), board.stream(Stream(LINEAR.id, Channel.TICKER)).frames) == (5, 1)
    at.session.retire()
    at.send(TICKER_DELTA.replace("83024.60", "83024.50"))
    at.send(book_frame("snapshot", 50, [["1", "1"]], [["2", "1"]]))
    assert (len(heard.metrics), len(heard.books), at.book(LINEAR).published) == (7, 1, False)


def test_an_expired_contract_is_unsubscribed() -> None:
    soon = msgspec.structs.replace(LINEAR_DATED, expiry_ns=START + 3 * SECOND)
    known = {**INSTRUMENTS, soon.id: soon}
    streams = [Stream(LINEAR.id, Channel.TRADE), Stream(soon.id, Channel.BOOK), Stream(soon.id, Channel.TICKER)]
    (plan,) = VENUE.plan(streams, known)
    heard = Heard()
    session = BybitSession(plan, known, heard, HealthBoard())
    session.opened(START)
    at = Desk(session, heard, session.board)
    assert sent(pass_time(at, 3 * SECOND)) == [("unsubscribe", ["orderbook.200.BTCUSDT-25DEC26", "tickers.BTCUSDT-25DEC26"])]
    assert at.status(streams[1]) == at.status(streams[2]) == Status(LinkState.CLOSED, BookState.EMPTY, "expired")
    assert list(session.streams) == streams[:1]


# --- the venue's facts ----------------------------------------------------------------------------------------------------------


def test_one_request_takes_one_instrument_and_at_most_ten_topics() -> None:
    coins = [instrument("spot", f"C{i}USDT", f"C{i}", "USDT") for i in range(30)]
    known = {each.id: each for each in coins}
    (plan,) = VENUE.plan([Stream(each.id, channel) for each in coins for channel in VENUE.channels(each)], known)
    session = VENUE.session(plan, known, Heard(), HealthBoard())
    messages = sent(session.opened(START))
    assert len(messages) == 30
    assert all(op == "subscribe" and len(args) <= 10 for op, args in messages)
    assert all(len({topic.rpartition(".")[2] for topic in args}) == 1 for _, args in messages)
    assert sorted(topic for _, args in messages for topic in args) == sorted(
        f"{name}.C{i}USDT" for i in range(30) for name in ("orderbook.200", "orderbook.1", "publicTrade", "tickers")
    )


def test_a_connection_never_carries_more_characters_than_allowed() -> None:
    coins = [
        instrument("linear", f"VERYLONGNAME{i:04}USDT", f"VERYLONGNAME{i:04}", "USDT", "USDT", Kind.PERP) for i in range(400)
    ]
    known = {each.id: each for each in coins}
    wanted = [Stream(each.id, channel) for each in coins for channel in VENUE.channels(each)]
    plans = VENUE.plan(wanted, known)
    assert len(plans) > 1
    assert [stream for plan in plans for stream in plan.streams] == wanted
    for plan in plans:
        messages = sent(VENUE.session(plan, known, Heard(), HealthBoard()).opened(START))
        assert sum(len(json.dumps(args, separators=(",", ":"))) for _, args in messages) <= 21_000
    together = [{stream.instrument for stream in plan.streams} for plan in plans]
    assert sum(map(len, together)) == len(coins)


def test_each_category_has_its_own_socket() -> None:
    wanted = [Stream(each.id, Channel.BOOK) for each in (SPOT, LINEAR, INVERSE, SPOT_ETH)]
    places = {market: Endpoint("http://127.0.0.1:8", "ws://127.0.0.1:9") for market in ("spot", "linear", "inverse")}
    plans = Bybit(places).plan(wanted, INSTRUMENTS)
    assert [(plan.venue, plan.market, plan.url, len(plan.streams)) for plan in plans] == [
        ("BYBIT", "spot", "ws://127.0.0.1:9/v5/public/spot", 2),
        ("BYBIT", "linear", "ws://127.0.0.1:9/v5/public/linear", 1),
        ("BYBIT", "inverse", "ws://127.0.0.1:9/v5/public/inverse", 1),
    ]
    assert VENUE.plan(wanted, INSTRUMENTS)[0].url == "wss://stream.bybit.com/v5/public/spot"


def test_a_channel_the_category_does_not_have_opens_no_connection() -> None:
    assert VENUE.plan([Stream(SPOT.id, Channel.LIQUIDATION)], INSTRUMENTS) == []
    assert Channel.LIQUIDATION not in VENUE.channels(SPOT)
    assert list(VENUE.channels(INVERSE)) == list(Channel)


@pytest.mark.parametrize(
    ("market", "topic", "stream"),
    [
        ("spot", "orderbook.200.BTCUSDT", Stream(SPOT.id, Channel.BOOK)),
        ("spot", "orderbook.50.BTCUSDT", Stream(SPOT.id, Channel.BOOK)),
        ("spot", "orderbook.1.BTCUSDT", Stream(SPOT.id, Channel.TOUCH)),
        ("linear", "tickers.BTCUSDT", Stream(LINEAR.id, Channel.TICKER)),
        ("linear", "publicTrade.BTCUSDT-25DEC26", Stream(LINEAR_DATED.id, Channel.TRADE)),
        ("inverse", "allLiquidation.BTCUSD", Stream(INVERSE.id, Channel.LIQUIDATION)),
        ("inverse", "tickers.BTCUSDT", None),
        ("spot", "kline.1.BTCUSDT", None),
        ("spot", "orderbook.rpi.BTCUSDT", None),
        ("spot", "orderbook.0.BTCUSDT", None),
        ("spot", "tickers.BTCUSDT\n", None),
    ],
)
def test_a_topic_means_one_stream_or_none(market: str, topic: str, stream: Stream | None) -> None:
    assert VENUE.stream_of(market, topic, INSTRUMENTS) == stream


@pytest.mark.parametrize(
    ("data", "topic"),
    [
        (TICKER.encode(), "tickers.BTCUSDT"),
        (b'{"type":"delta","topic":"kline.1.X","data":[]}', "kline.1.X"),
        (b'{ "topic" : "tickers.X" }', "tickers.X"),
        (b'{"topic":"\x1b[2J"}', "\ufffd[2J"),
        (PONG.encode(), None),
        (b"nonsense", None),
        (b"[" * 5000, None),
        (b'{"topic":"' + b"x" * 500 + b'"}', "x" * 64),
    ],
)
def test_a_frames_topic_is_found_wherever_it_stands(data: bytes, topic: str | None) -> None:
    assert VENUE.topic("spot", data) == topic


def row(**changes: object) -> dict[str, object]:
    """A row of a linear answer as recorded 2026-08-09, shortened."""
    return {
        "symbol": "0GUSDT",
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": "0G",
        "quoteCoin": "USDT",
        "launchTime": "1758175736000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceFilter": {"minPrice": "0.0001", "maxPrice": "1999.9998", "tickSize": "0.0001"},
        "lotSizeFilter": {"maxOrderQty": "350000.0", "minOrderQty": "0.1", "qtyStep": "0.1", "minNotionalValue": "5"},
        "fundingInterval": 240,
        "settleCoin": "USDT",
        "isPreListing": False,
        "preListingInfo": None,
        **changes,
    }


def answered(*rows: object, market: str = "linear", **envelope: object) -> Sequence[Instrument]:
    body = {"retCode": 0, "retMsg": "OK", "result": {"category": market, "list": rows, "nextPageCursor": ""}, **envelope}
    return VENUE.instruments({f"instruments:{market}": json.dumps(body).encode()})


def test_a_linear_perpetual_is_read_field_by_field() -> None:
    assert answered(row()) == [
        Instrument(
            id="BYBIT:0G/USDT:USDT",
            venue="BYBIT",
            market="linear",
            native="0GUSDT",
            base="0G",
            quote="USDT",
            settle="USDT",
            kind=Kind.PERP,
            contract=Contract.LINEAR,
            contract_size=1.0,
            tick=0.0001,
            lot=0.1,
            min_notional=5.0,
            expiry_ns=0,
            funding_interval_s=14_400,
            fees=None,
        )
    ]


def test_a_dated_contract_expires_at_its_delivery_time() -> None:
    changes = {"symbol": "BTCUSDT-25DEC26", "baseCoin": "BTC", "contractType": "LinearFutures", "fundingInterval": 0}
    (found,) = answered(row(deliveryTime="1798185600000", **changes))
    assert (found.id, found.kind, found.expiry_ns) == ("BYBIT:BTC/USDT:USDT-261225", Kind.FUTURE, 1798185600000 * MS)
    assert found.funding_interval_s == 0


def test_a_spot_pair_takes_its_lot_from_the_base_precision() -> None:
    lots = {"basePrecision": "0.000001", "quotePrecision": "0.0000001", "minOrderQty": "0.000001", "minOrderAmt": "5"}
    entry = {"symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "status": "Trading", "lotSizeFilter": lots}
    (found,) = answered({**entry, "priceFilter": {"tickSize": "0.1"}}, market="spot")
    assert (found.id, found.kind, found.tick, found.lot, found.min_notional) == ("BYBIT:BTC/USDT", Kind.SPOT, 0.1, 0.000001, 5.0)
    assert found.settle == ""


def test_an_inverse_contract_is_one_dollar() -> None:
    changes = {"symbol": "BTCUSD", "baseCoin": "BTC", "quoteCoin": "USD", "settleCoin": "BTC", "contractType": "InversePerpetual"}
    (found,) = answered(row(**changes), market="inverse")
    assert (found.id, found.contract, found.contract_size) == ("BYBIT:BTC/USD:BTC", Contract.INVERSE, 1.0)
    assert found.to_base(83_000.0, 83_000.0) == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "PreLaunch"},
        {"status": "Settling"},
        {"status": "Closed"},
        {"isPreListing": True},
        {"contractType": "InversePerpetual"},
        {"contractType": "LinearOption"},
        {"settleCoin": "BTC"},
        {"baseCoin": ""},
        {"baseCoin": "0g"},
        {"baseCoin": "0G\x1b[2J"},
        {"symbol": "0G\x1bUSDT"},
        {"symbol": ""},
        {"contractType": "LinearFutures"},
        {"contractType": "LinearFutures", "deliveryTime": ""},
        {"priceFilter": {"tickSize": "0"}},
        {"priceFilter": {}},
        {"lotSizeFilter": {"qtyStep": "0"}},
        {"lotSizeFilter": {"qtyStep": "nan"}},
        {"lotSizeFilter": None},
        {"fundingInterval": "often"},
    ],
    ids=str,
)
def test_what_does_not_trade_or_cannot_be_understood_is_left_out(changes: dict[str, object]) -> None:
    assert [found.native for found in answered(row(**changes), row(symbol="AUSDT", baseCoin="A"), 5, None)] == ["AUSDT"]


def test_a_refused_list_is_an_error_and_not_an_empty_market() -> None:
    with pytest.raises(BadFrame, match="10006"):
        answered(retCode=10006, retMsg="Too many visits\x1b", result={})
    with pytest.raises(DECODE_ERRORS):
        VENUE.instruments({"instruments:linear": b"<html>403</html>"})
    with pytest.raises(DECODE_ERRORS):
        answered(result={})
    assert VENUE.instruments({"depth:BTCUSDT": b"nonsense"}) == []


def test_the_catalogue_asks_for_each_category_and_follows_the_cursor() -> None:
    fetches = VENUE.catalogue()
    assert [fetch.key for fetch in fetches] == ["instruments:spot", "instruments:linear", "instruments:inverse"]
    assert [VENUE.catalogue_key("https://api.bybit.com" + fetch.path) for fetch in fetches] == [fetch.key for fetch in fetches]
    body = {"retCode": 0, "result": {"list": [row()], "nextPageCursor": "first%3D1&2"}}
    more = VENUE.next_page("instruments:linear", json.dumps(body).encode())
    assert isinstance(more, Fetch)
    assert more.key == "instruments:linear:first%3D1&2"
    assert VENUE.catalogue_key("https://api.bybit.com" + more.path) == more.key
    assert len(VENUE.instruments({more.key: json.dumps(body).encode()})) == 1
    body["result"] = {"list": [], "nextPageCursor": ""}
    assert VENUE.next_page(more.key, json.dumps(body).encode()) is None


def test_the_venues_time_is_asked_for_and_read_and_a_refusal_is_none() -> None:
    assert VENUE.clock("linear") == Fetch("clock:linear", "/v5/market/time", 1, 1, "linear")
    body = (
        b'{"retCode":0,"retMsg":"OK","result":{"timeSecond":"1688639403","timeNano":"1688639403423213947"},"time":1688639403423}'
    )
    assert VENUE.server_ns(body) == 1_688_639_403_423_213_947
    with pytest.raises(BadFrame, match="10006"):
        VENUE.server_ns(b'{"retCode":10006,"retMsg":"Too many visits","result":{}}')
    for other in (b"{}", b'{"retCode":0,"result":{"timeNano":"0"}}', b'{"retCode":0,"result":{"timeNano":"9e30"}}'):
        with pytest.raises(DECODE_ERRORS):
            VENUE.server_ns(other)


def test_the_categories_share_one_request_limit() -> None:
    terms = [VENUE.terms(market) for market in ("spot", "linear", "inverse")]
    assert len({one.pool for one in terms}) == 1
    assert terms[0].weight_per_minute == 600 * 12
    assert (terms[0].rest, terms[0].lives_ns, terms[0].sends_per_s) == ("https://api.bybit.com", 0, 10.0)
    assert [fetch.market for fetch in VENUE.catalogue()] == ["spot", "linear", "inverse"]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://api.bybit.com/v5/market/instruments-info?&category=linear&status=Trading&limit=1000", "instruments:linear"),
        ("https://api.bybit.com/v5/market/instruments-info?category=option", None),
        ("https://api.bybit.com/v5/market/instruments-info", None),
        ("https://api.bybit.com/v5/market/tickers?category=linear", None),
    ],
)
def test_a_recorded_request_is_recognised_by_its_url(url: str, key: str | None) -> None:
    assert VENUE.catalogue_key(url) == key
    assert VENUE.snapshot_key(url) is None


def test_a_session_is_made_for_its_own_market_only() -> None:
    make: Callable[..., object] = VENUE.session
    session = make(Plan("BYBIT", "linear", "wss://x", ()), INSTRUMENTS, Heard(), HealthBoard())
    assert isinstance(session, BybitSession)
    session.opened(START)
    session.frame(LINEAR_TRADE.encode(), START)
    assert session.board.ignored == 1
