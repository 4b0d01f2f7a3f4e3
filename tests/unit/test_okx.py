"""OKX: recorded frames field by field, both sequence rules, REST fallback, hostile frames. Frames: protocols.md 3.1 and 3.7."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any
from zlib import crc32

import msgspec
import pytest

from feeds import symbols
from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.health import Health, HealthBoard
from feeds.hub import Hub
from feeds.importers.places import topics_sent
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
from feeds.recording.format import Opened, Record
from feeds.venue import NOTHING, Action, Drop, Endpoint, Fetch, FetchError, Plan, Renew, Send
from feeds.venues.okx import BOOKS_PER_CONNECTION, OPERATIONS, SWEEP_EVERY, Okx, OkxSession

VENUE = Okx()
START: Ns = 1_790_439_594_000 * MS


@dataclass
class Heard:
    """A listener that keeps what it was told."""

    statuses: list[tuple[Stream, Status]] = field(default_factory=list)
    books: list[tuple[str, float, float]] = field(default_factory=list)
    touches: list[tuple[str, float, float]] = field(default_factory=list)
    trades: list[tuple[Instrument, Trade]] = field(default_factory=list)
    told: list[tuple[str, Metric]] = field(default_factory=list)
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
        self.told.append((instrument.id, metric))

    @property
    def metrics(self) -> list[Metric]:
        return [metric for _, metric in self.told]


def instrument(native: str, id_: str, contract_size: float = 1.0, **more: Any) -> Instrument:
    parts = symbols.parse(f"OKX:{id_}")
    return Instrument(
        id=f"OKX:{id_}",
        venue="OKX",
        market="public",
        native=native,
        base=parts.base,
        quote=parts.quote,
        settle=parts.settle,
        kind=parts.kind,
        contract=parts.contract if parts.kind is not Kind.OPTION else Contract.LINEAR,
        contract_size=contract_size,
        tick=0.1,
        lot=0.01,
        **more,
    )


SPOT = instrument("BTC-USDT", "BTC/USDT")
SWAP = instrument("BTC-USDT-SWAP", "BTC/USDT:USDT", 0.01)
COIN = instrument("BTC-USD-SWAP", "BTC/USD:BTC", 100.0)
DATED = instrument("BTC-USD-220527", "BTC/USD:BTC-220527", 100.0)
LINEAR_DATED = instrument("BTC-USDT-261225", "BTC/USDT:USDT-261225", 0.01)
XPERP = instrument("BTC-USD_UM_XPERP-310404", "BTC/USD:USD", 0.01)
CALL = instrument("BTC-USD-220514-22000-C", "BTC/USD:BTC-220514-22000-C", 0.1)
ETH = instrument("ETH-USDT-SWAP", "ETH/USDT:USDT", 0.1)
SOL = instrument("SOL-USDT-SWAP", "SOL/USDT:USDT")
SOL_DATED = instrument("SOL-USDT-261225", "SOL/USDT:USDT-261225")
INSTRUMENTS = {each.id: each for each in (SPOT, SWAP, COIN, DATED, LINEAR_DATED, XPERP, CALL, ETH, SOL, SOL_DATED)}


@dataclass
class Desk:
    """A session with what it was told, and a clock that only the test moves."""

    session: OkxSession
    heard: Heard
    board: HealthBoard
    first: list[Action]
    now: Ns = START

    def send(self, frame: str | bytes | Mapping[str, object]) -> Sequence[Action]:
        if not isinstance(frame, (str, bytes)):
            frame = json.dumps(frame, separators=(",", ":"))
        data = frame.encode() if isinstance(frame, str) else frame
        self.now += MS
        return self.session.frame(data, self.now)

    def book(self, of: Instrument = SWAP) -> OrderBook:
        return self.session.books[of.id]

    def status(self, stream: Stream) -> Status:
        return next(status for told, status in reversed(self.heard.statuses) if told == stream)


def desk(*instruments: Instrument, channels: Sequence[Channel] | None = None, acknowledges: bool = True) -> Desk:
    streams = [Stream(each.id, channel) for each in instruments for channel in channels or VENUE.channels(each)]
    heard, board = Heard(), HealthBoard()
    (plan,) = VENUE.plan(streams, INSTRUMENTS)
    session = VENUE.session(plan, INSTRUMENTS, heard, board)
    assert isinstance(session, OkxSession)
    first = list(session.opened(START))
    if acknowledges:
        acknowledge(session, first, START)
    return Desk(session, heard, board, first)


def acknowledge(session: OkxSession, actions: Sequence[Action], now: Ns) -> None:
    for request in messages(actions):
        for arg in request["args"]:
            session.frame(json.dumps({"id": request["id"], "event": request["op"], "arg": arg, "connId": "x"}).encode(), now)


def messages(actions: Sequence[Action]) -> list[dict[str, Any]]:
    return [json.loads(action.text) for action in actions if isinstance(action, Send) and action.text != "ping"]


def sent(actions: Sequence[Action]) -> list[tuple[str, list[str]]]:
    """What was asked for, as op and `channel:what`."""
    return [(each["op"], [":".join(arg.values()) for arg in each["args"]]) for each in messages(actions)]


def book_frame(
    action: str,
    seq: int,
    previous: int,
    bids: Sequence[Sequence[str]],
    asks: Sequence[Sequence[str]],
    of: Instrument = SWAP,
    ts: int = 1790439597300,
) -> dict[str, Any]:
    sides = {"asks": [[*level, "0", "1"] for level in asks], "bids": [[*level, "0", "1"] for level in bids]}
    data = {**sides, "ts": str(ts), "checksum": 0, "seqId": seq, "prevSeqId": previous}
    return {"arg": {"channel": "books", "instId": of.native}, "action": action, "data": [data]}


SNAPSHOT = book_frame("snapshot", 70, -1, [["100", "1"], ["99", "2"]], [["101", "3"], ["102", "4"]])
FOLLOWING = book_frame("update", 75, 70, [["100.5", "1"]], [["101", "5"]])
BOOK_STREAM = Stream(SWAP.id, Channel.BOOK)
AGAIN = [("unsubscribe", ["books:BTC-USDT-SWAP"]), ("subscribe", ["books:BTC-USDT-SWAP"])]


def quote_frame(bid: Sequence[str] | None, ask: Sequence[str] | None, seq: int | None, of: Instrument = SWAP) -> dict[str, Any]:
    sides = {"asks": [[*ask, "0", "1"]] if ask else [], "bids": [[*bid, "0", "1"]] if bid else []}
    data = {**sides, "ts": "1790439594900", **({} if seq is None else {"seqId": seq})}
    return {"arg": {"channel": "bbo-tbt", "instId": of.native}, "data": [data]}


# --- fixtures of protocols.md 3.1 and 3.7 ---------------------------------------------------------------------------------------

BOOK_SNAPSHOT = (
    '{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"snapshot","data":[{"asks":[["84093.5","667.19","0","70"],'
    '["84093.6","0.51","0","1"]],"bids":[["84093.4","570.27","0","83"]],"ts":"1790439597200","checksum":0,"seqId":342177342746,"prevSeqId":-1}]}'
)
BOOK_UPDATE = (
    '{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"update","data":[{"asks":[["84099.9","0.02","0","2"],'
    '["84102","1.71","0","2"],["84153.5","0","0","0"]],"bids":[["84099.5","1811.71","0","78"],["84036","0","0","0"]],'
    '"ts":"1790439597300","checksum":0,"seqId":342177342909,"prevSeqId":342177342746}]}'
)
TOUCH = (
    '{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"data":[{"asks":[["84093.5","667.19","0","70"]],"bids":[["84093.4",'
    '"570.27","0","83"]],"ts":"1790439594900","seqId":342177336945}]}'
)
TRADE = (
    '{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","tradeId":"2953620209","px":"84093.4",'
    '"sz":"0.01","side":"sell","ts":"1790439594782","count":"1","source":"0","seqId":342177336862}]}'
)
MARK = (
    '{"arg":{"channel":"mark-price","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","instType":"SWAP","markPx":'
    '"83003.8","ts":"1790757203016"}]}'
)
INDEX = (
    '{"arg":{"channel":"index-tickers","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","idxPx":"83043.9","open24h":"83990.9",'
    '"high24h":"84560.3","low24h":"82902.2","sodUtc0":"83664","sodUtc8":"83073.9","ts":"1790757203066"}]}'
)
FUNDING = (
    '{"arg":{"channel":"funding-rate","instId":"BTC-USDT-SWAP"},"data":[{"formulaType":"withRate","fundingRate":'
    '"0.0000252378080097","fundingTime":"1790784000000","impactValue":"20000.0000000000000000","instId":"BTC-USDT-SWAP","instType":'
    '"SWAP","interestRate":"0.0001000000000000","maxFundingRate":"0.00375","method":"current_period","minFundingRate":"-0.00375",'
    '"nextFundingRate":"","nextFundingTime":"1790812800000","premium":"-0.0005333853474351","prevFundingTime":"1790755200000",'
    '"settFundingRate":"0.0000337200721784","settState":"settled","ts":"1790757122992"}]}'
)
OPEN_INTEREST = (
    '{"arg":{"channel":"open-interest","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","instType":"SWAP","oi":'
    '"2874486.99000000925","oiCcy":"28744.8699000000925","oiUsd":"2385812703.752047677463","ts":"1790757195759"}]}'
)
LIQUIDATION = (
    '{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0","bkPx":"82655.7","ccy":"",'
    '"posSide":"long","side":"sell","sz":"8.55","ts":"1791565600771"}],"instFamily":"BTC-USDT","instId":"BTC-USDT-SWAP","instType":'
    '"SWAP","uly":"BTC-USDT"}]}'
)
SHORT_TICKER = (
    '{"arg":{"channel":"tickers","instId":"BTC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"BTC-USDT-SWAP","last":"80214.9",'
    '"lastSz":"0.28","askPx":"80214.9","askSz":"214.99","bidPx":"80214.8","bidSz":"589.89","open24h":"81290.8","ts":'
    '"1789893848451"}]}'
)
TICKER = (
    '{"arg":{"channel":"tickers","instId":"BTC-USDT-SWAP"},"data":[{"instType":"SWAP","instId":"BTC-USDT-SWAP","last":"31807.4",'
    '"lastSz":"3","askPx":"31807.4","askSz":"4","bidPx":"31807.3","bidSz":"482","open24h":"31671.1","high24h":"32450","low24h":'
    '"31234.8","sodUtc0":"31743.6","sodUtc8":"32052.7","volCcy24h":"122143.88","vol24h":"12214388","ts":"1654033232461"}]}'
)
FIVE = (
    '{"arg":{"channel":"books5","instId":"BTC-USDT-SWAP"},"data":[{"asks":[["103259.9","885.31","0","2"],["103261.1","0.83","0",'
    '"1"]],"bids":[["103250","21871.09","0","2"]],"instId":"BTC-USDT-SWAP","ts":"1762700094902","seqId":178414521}]}'
)
COIN_TICKER = (
    '{"arg":{"channel":"tickers","instId":"BTC-USD-220527"},"data":[{"instType":"FUTURES","instId":"BTC-USD-220527","last":'
    '"30218.8","lastSz":"1","askPx":"30220.1","askSz":"3","bidPx":"30210.4","bidSz":"4","open24h":"29571.4","volCcy24h":'
    '"2620.289","vol24h":"779573","ts":"1652459223003"}]}'
)
SPOT_TICKER = (
    '{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT","last":"30236","lastSz":'
    '"0.0002","askPx":"30228.7","askSz":"1.55896972","bidPx":"30228.6","bidSz":"0.23393","open24h":"29700.4","high24h":"31073",'
    '"low24h":"28020.3","sodUtc0":"29028.8","sodUtc8":"30337.7","volCcy24h":"525802090.62716611","vol24h":"17602.13085371","ts":'
    '"1652459224956"}]}'
)
ACK = '{"id":"1","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"connId":"73220c7f"}'
ERROR = '{"id":"1512","event":"error","code":"60012","msg":"Invalid request: ...","connId":"a4d3ae55"}'
WRONG = (
    '{"event":"error","msg":"Wrong URL or channel:books,instId:ETH-USDT-SWAP doesn\'t exist. Please use the correct URL, channel '
    'and parameters referring to API document.","code":"60018","connId":"b2b0944b"}'
)
NOTICE = (
    '{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.",'
    '"connId":"a"}'
)
WORKS = (
    '{"arg":{"channel":"status"},"data":[{"title":"Trading account WebSocket system upgrade","state":"scheduled","begin":'
    '"1672823400000","end":"1672825980000","href":"","preOpenBegin":"","scheDesc":"","serviceType":"0","system":"unified",'
    '"maintType":"1","env":"1","ts":"1672826038470"}]}'
)


def test_a_recorded_snapshot_is_the_book_in_contracts() -> None:
    at = desk(SWAP)
    assert at.send(BOOK_SNAPSHOT) is NOTHING
    book = at.book()
    assert book.levels(9) == ([(84093.4, 570.27)], [(84093.5, 667.19), (84093.6, 0.51)])
    assert (book.seq, book.venue_ns, book.recv_ns) == (342177342746, 1790439597200 * MS, at.now)
    assert SWAP.to_base(570.27, 84093.4) == pytest.approx(5.7027)
    assert SWAP.to_quote(570.27, 84093.4) == pytest.approx(479_559.43, abs=0.01)
    assert COIN.to_quote(3.0, 84093.4) == 300.0
    assert COIN.to_base(3.0, 75_000.0) == 0.004


def test_a_recorded_depth_update_is_applied_level_by_level() -> None:
    at = desk(SWAP)
    asks = [["84099.9", "5"], ["84102", "9"], ["84153.5", "1"]]
    at.send(book_frame("snapshot", 342177342746, -1, [["84093.4", "570.27"], ["84036", "1"]], asks))
    assert at.send(BOOK_UPDATE) is NOTHING
    book = at.book()
    assert book.levels(9) == ([(84099.5, 1811.71), (84093.4, 570.27)], [(84099.9, 0.02), (84102.0, 1.71)])
    assert (book.seq, book.venue_ns, book.recv_ns) == (342177342909, 1790439597300 * MS, at.now)
    assert (book.bid, book.bid_size, book.ask, book.ask_size) == (84099.5, 1811.71, 84099.9, 0.02)
    assert (book.leg.raw_ns, book.leg.fresh) == (at.now - 1790439597300 * MS, True)
    assert at.heard.books[-1] == (SWAP.id, 84099.5, 84099.9)


def test_a_recorded_best_quote_lies_over_an_older_book_and_not_over_a_newer_one() -> None:
    for seq, laid in ((342177336944, True), (342177336945, False), (342177336946, False)):
        at = desk(SWAP)
        at.send(book_frame("snapshot", seq, -1, [["84000", "1"]], [["84200", "1"]]))
        at.heard.books.clear()
        at.book().leg.fresh = False
        assert at.send(TOUCH) is NOTHING
        book = at.book()
        shown = (84093.4, 570.27, 84093.5, 667.19) if laid else (84000.0, 1.0, 84200.0, 1.0)
        assert (book.bid, book.bid_size, book.ask, book.ask_size) == shown
        assert (at.heard.touches, at.heard.books) == ([(SWAP.id, 84093.4, 84093.5)] if laid else [], [])
        assert (book.leg.raw_ns, book.leg.fresh) == (at.now - 1790439594900 * MS, True)


def test_a_side_without_a_best_quote_is_none_and_not_its_last_price() -> None:
    at = desk(SWAP)
    at.send(SNAPSHOT)
    at.send(quote_frame(None, ["100.9", "2"], 71))
    assert isnan(at.book().bid)
    assert (at.book().ask, at.book().ask_size) == (100.9, 2.0)


def test_a_best_quote_without_a_number_says_not_which_is_newer_and_is_not_laid() -> None:
    at = desk(SWAP)
    at.send(SNAPSHOT)
    at.send(quote_frame(["100.5", "1"], ["100.9", "2"], None))
    assert (at.book().bid, at.heard.touches) == (100.0, [])


def test_a_recorded_trade_carries_the_takers_side() -> None:
    at = desk(SWAP)
    assert at.send(TRADE) is NOTHING
    assert at.heard.trades == [(SWAP, Trade(84093.4, 0.01, "sell", 1790439594782 * MS, "2953620209", False))]
    at.send(TRADE.replace('"sell"', '"buy"'))
    assert at.heard.trades[1][1].aggressor == "buy"


FUNDED = Funding(0.0000252378080097, 28_800, 1790784000000 * MS, 1790757122992 * MS)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (MARK, Mark(83003.8, 1790757203016 * MS)),
        (FUNDING, FUNDED),
        (FUNDING.replace('"1790812800000"', '"1790798400000"'), msgspec.structs.replace(FUNDED, interval_s=14_400)),
        (FUNDING.replace('"1790812800000"', '""'), msgspec.structs.replace(FUNDED, interval_s=0)),
        (FUNDING.replace('"1790812800000"', '"1790784000000"'), msgspec.structs.replace(FUNDED, interval_s=0)),
        (FUNDING.replace('"1790812800000"', '"1799999999999"'), msgspec.structs.replace(FUNDED, interval_s=0)),
        (FUNDING.replace('"1790784000000"', '""'), msgspec.structs.replace(FUNDED, interval_s=0, next_ns=0)),
        (FUNDING.replace('"0.0000252378080097"', '""'), None),
        (OPEN_INTEREST, OpenInterest(2874486.99000000925, 1790757195759 * MS)),
        (SHORT_TICKER, None),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_recorded_part_of_a_ticker_is_read_field_by_field(frame: str, expected: Metric | None) -> None:
    at = desk(SWAP)
    assert at.send(frame) is NOTHING
    assert at.heard.told == ([(SWAP.id, expected)] if expected is not None else [])


def test_open_interest_is_one_sided_and_in_contracts() -> None:
    at = desk(SWAP)
    at.send(OPEN_INTEREST)
    (metric,) = at.heard.metrics
    assert isinstance(metric, OpenInterest)
    assert SWAP.to_base(metric.size, 83_000.0) == pytest.approx(28744.8699000000925)


def test_volume_of_contracts_is_told_in_coin_and_in_dollars_where_the_venue_says_it() -> None:
    at = desk(SWAP, DATED, SPOT)
    at.send(TICKER)
    at.send(COIN_TICKER)
    at.send(SPOT_TICKER)
    linear, inverse, spot = at.heard.metrics
    assert isinstance(linear, Stats24h)
    assert (linear.base_volume, linear.venue_ns) == (122143.88, 1654033232461 * MS)
    assert isnan(linear.quote_volume)
    assert inverse == Stats24h(2620.289, 77_957_300.0, 1652459223003 * MS)
    assert spot == Stats24h(17602.13085371, 525802090.62716611, 1652459224956 * MS)


def test_one_index_is_told_to_every_contract_on_its_pair_and_to_no_other() -> None:
    at = desk(SWAP, LINEAR_DATED, COIN, SPOT)
    assert at.send(INDEX) is NOTHING
    index = Index(83043.9, 1790757203066 * MS)
    assert at.heard.told == [(SWAP.id, index), (LINEAR_DATED.id, index)]
    at.send(INDEX.replace("BTC-USDT", "BTC-USD"))
    assert at.heard.told[2:] == [(COIN.id, index)]


def test_an_index_proves_no_ticker_alive() -> None:
    at = desk(SWAP, channels=[Channel.TICKER])
    at.send(INDEX)
    assert not at.session.streams[Stream(SWAP.id, Channel.TICKER)].heard
    health = at.board.stream(Stream(SWAP.id, Channel.TICKER))
    assert (health.frames, health.last_ns) == (1, 0)
    at.send(MARK)
    assert at.session.streams[Stream(SWAP.id, Channel.TICKER)].heard


LATER = LIQUIDATION.replace("1791565600771", str(START // MS + 5))


@pytest.mark.parametrize(
    ("position", "side", "expected"),
    [("long", "sell", "long"), ("short", "buy", "short"), ("net", "sell", "long"), ("net", "buy", "short"), ("", "buy", "short")],
)
def test_a_recorded_liquidation_names_the_position_not_the_order(position: str, side: str, expected: str) -> None:
    at = desk(SWAP, ETH)
    at.send(LATER.replace('"posSide":"long","side":"sell"', f'"posSide":"{position}","side":"{side}"'))
    ((name, told),) = at.heard.told
    assert isinstance(told, Liquidation)
    assert (name, told.position, told.price, told.size) == (SWAP.id, expected, 82655.7, 8.55)
    assert told.venue_ns == START + 5 * MS


def test_liquidations_of_before_the_subscription_are_repeated_first_and_not_told() -> None:
    at = desk(SWAP)
    before = LIQUIDATION.replace("1791565600771", str(START // MS - 1))
    at.send(before)
    assert at.heard.told == []
    at.send(before)  # the venue says late ones late
    assert len(at.heard.told) == 1


def test_liquidations_of_what_nobody_watches_are_left_out() -> None:
    at = desk(SWAP)
    at.send(LATER.replace('"instId":"BTC-USDT-SWAP"', '"instId":"DOGE-USDT-SWAP"'))
    assert (at.heard.told, at.board.ignored) == ([], 0)
    assert at.session.pulse.last_ns == at.now


def test_recorded_five_level_books_are_whole_in_each_message() -> None:
    at = desk(SWAP)
    at.send(FIVE)
    book = at.book()
    assert book.levels(9) == ([(103250.0, 21871.09)], [(103259.9, 885.31), (103261.1, 0.83)])
    assert (book.seq, book.venue_ns) == (178414521, 1762700094902 * MS)
    assert at.status(BOOK_STREAM) == Status(LinkState.READY, BookState.SYNCED)
    at.send(FIVE.replace("103250", "103251").replace("178414521", "178414600").replace("094902", "095002"))
    assert book.levels(9)[0] == [(103251.0, 21871.09)]
    at.send(FIVE)  # an older one
    assert book.bid == 103251.0
    assert at.board.stream(BOOK_STREAM).ignored == 1


def test_two_books_of_one_instrument_do_not_mix() -> None:
    at = synced()
    ignored = at.board.ignored
    at.send(FIVE)
    assert (at.book().bid, at.board.ignored) == (100.0, ignored + 1)


@pytest.mark.parametrize("frame", [ACK, "pong"])
def test_an_acknowledgement_or_a_pong_is_no_sign_of_data(frame: str) -> None:
    at = desk(SWAP)
    assert at.send(frame) == NOTHING
    assert at.session.pulse.last_ns == START
    assert (at.session.link, at.board.ignored) == (LinkState.NOT_READY, 0)


@pytest.mark.parametrize("order", [("arg", "action", "data"), ("data", "action", "arg"), ("action", "data", "arg")])
def test_the_order_of_a_frames_keys_does_not_matter(order: tuple[str, ...]) -> None:
    at = desk(SWAP)
    for frame in (SNAPSHOT, FOLLOWING):
        at.send({key: frame[key] for key in order})
    assert at.book().bid == 100.5
    flipped = json.dumps(book_frame("update", 76, 75, [["100.7", "1"]], []), indent=1)
    at.send(
        flipped.replace('"channel": "books",', "").replace(
            '"instId": "BTC-USDT-SWAP"', '"instId":"BTC-USDT-SWAP","channel":"books"'
        )
    )
    assert at.book().bid == 100.7


# --- the sequence rule ----------------------------------------------------------------------------------------------------------


def synced(*channels: Channel) -> Desk:
    at = desk(SWAP, channels=channels or (Channel.BOOK, Channel.TRADE))
    at.send(SNAPSHOT)
    assert at.book().published
    return at


@pytest.mark.parametrize(("seq", "previous"), [(80, 71), (80, 69), (80, -1), (60, 50), (70, 60), (71, 71)])
def test_an_update_that_does_not_follow_blanks_the_book_and_asks_for_another(seq: int, previous: int) -> None:
    at = synced()
    at.now += 3 * SECOND
    assert sent(at.send(book_frame("update", seq, previous, [["100.5", "1"]], []))) == AGAIN
    book = at.book()
    assert (book.state, book.reason, book.published) == (BookState.BUFFERING, "gap", False)
    assert isnan(book.bid)
    assert book.levels(1) == ([], [])
    health = at.board.stream(BOOK_STREAM)
    assert (health.gaps, health.resyncs) == (1, 1)
    assert at.status(BOOK_STREAM) == Status(LinkState.READY, BookState.BUFFERING, "gap")


def test_numbers_need_not_be_neighbours() -> None:
    at = synced()
    at.send(FOLLOWING)
    at.send(book_frame("update", 9_000, 75, [["100.6", "1"]], []))
    assert at.book().bid == 100.6
    assert at.board.stream(BOOK_STREAM).gaps == 0


def test_a_keepalive_repeats_the_number_and_is_no_gap() -> None:
    at = synced()
    at.now += 60 * SECOND
    for _ in range(2):
        assert at.send(book_frame("update", 70, 70, [], [])) is NOTHING
    assert (at.book().bid, at.book().seq, at.book().recv_ns) == (100.0, 70, at.now)
    at.send(FOLLOWING)
    assert at.book().bid == 100.5
    assert at.board.stream(BOOK_STREAM).gaps == 0


def test_a_reset_goes_on_from_the_smaller_number_and_an_older_best_quote_is_forgotten() -> None:
    at = synced(Channel.BOOK, Channel.TOUCH)
    at.send(quote_frame(["100.2", "1"], ["100.9", "1"], 72))
    assert at.book().bid == 100.2
    at.send(book_frame("update", 3, 70, [["100.1", "1"]], []))
    assert (at.book().bid, at.book().seq) == (100.1, 3)
    at.send(book_frame("update", 8, 3, [["100.4", "1"]], []))
    assert at.book().bid == 100.4
    at.send(quote_frame(["100.6", "1"], ["100.9", "1"], 9))
    assert at.book().bid == 100.6
    assert at.board.stream(BOOK_STREAM).gaps == 0


def test_after_a_gap_nothing_is_applied_before_the_next_snapshot() -> None:
    at = synced()
    at.now += 3 * SECOND
    at.send(book_frame("update", 80, 79, [["100.5", "1"]], []))
    for seq in (81, 82):
        assert at.send(book_frame("update", seq, seq - 1, [["100.5", "1"]], [])) is NOTHING
        assert not at.book().published
    at.send(book_frame("snapshot", 90, -1, [["50", "1"]], [["51", "1"]]))
    assert at.book().levels(5) == ([(50.0, 1.0)], [(51.0, 1.0)])
    at.send(book_frame("update", 91, 90, [["50.5", "1"]], []))
    assert at.book().bid == 50.5
    assert at.board.stream(BOOK_STREAM).gaps == 1


def test_a_second_gap_within_two_seconds_waits_before_it_asks() -> None:
    at = synced()
    at.now += 3 * SECOND
    at.send(book_frame("update", 80, 79, [], []))
    at.send(book_frame("snapshot", 90, -1, [["50", "1"]], [["51", "1"]]))
    assert at.send(book_frame("update", 99, 98, [], [])) is NOTHING
    asked = at.now - 2 * MS
    at.session.pulse.last_ns = asked + 2 * SECOND
    assert at.session.deadline <= asked + 2 * SECOND
    assert sent(at.session.wake(asked + 2 * SECOND)) == AGAIN


def test_a_snapshot_in_mid_stream_replaces_the_book() -> None:
    at = synced()
    at.send(book_frame("snapshot", 50, -1, [["50", "1"]], [["51", "1"]]))
    at.send(book_frame("update", 51, 50, [["50.5", "1"]], []))
    assert at.book().levels(5) == ([(50.5, 1.0), (50.0, 1.0)], [(51.0, 1.0)])
    assert at.board.stream(BOOK_STREAM).gaps == 0


def test_an_update_before_any_snapshot_publishes_nothing() -> None:
    at = desk(SWAP)
    assert at.send(FOLLOWING) is NOTHING
    assert at.book().state is BookState.BUFFERING
    assert at.heard.books == []


def test_a_crossed_book_is_unpublished_at_once_and_asked_for_after_half_a_second() -> None:
    at = synced()
    at.now += 3 * SECOND
    at.send(book_frame("update", 71, 70, [["101.5", "1"]], []))
    assert not at.book().published
    assert sent(at.session.wake(at.now + 500 * MS)) == AGAIN
    assert at.book().reason == "crossed"


def test_levels_beyond_the_depth_do_not_stay_as_ghosts() -> None:
    at = desk(SWAP)
    at.send(book_frame("snapshot", 1, -1, [[str(1000 - i / 10), "1"] for i in range(450)], [["2000", "1"]]))
    assert len(at.book().levels(10_000)[0]) == 400
    for step in range(SWEEP_EVERY):
        at.send(book_frame("update", 2 + step, 1 + step, [[str(1001 + step / 10000), "1"]], []))
    bids, _ = at.book().levels(10_000)
    assert len(bids) == 400
    assert bids[0][0] == 1001 + (SWEEP_EVERY - 1) / 10000


def test_a_new_connection_knows_nothing_of_the_old_ones_numbers() -> None:
    synced()
    at = desk(SWAP, channels=(Channel.BOOK,))
    at.send(FOLLOWING)
    assert not at.book().published
    assert at.book().seq == -1


def test_a_dropped_connection_comes_back_over_the_hub_with_its_own_snapshot() -> None:
    hub = Hub({"OKX": VENUE}, Heard())
    hub.watch(INSTRUMENTS.values(), START)
    plan = Plan("OKX", "public", "wss://x", (BOOK_STREAM,))
    now = START

    def take(kind: str, payload: bytes) -> OrderBook:
        nonlocal now
        now += MS
        hub.handle(Record(now, kind, "a", payload))
        return (
            hub.connections["a"].session.books[SWAP.id] if "a" in hub.connections else OrderBook(SWAP, hub.health.legs[SWAP.id])
        )

    take("o", msgspec.json.encode(Opened.of(plan)))
    assert take("t", json.dumps(SNAPSHOT).encode()).published
    assert not take("c", b'{"code":1006,"reason":"gone"}').published
    take("o", msgspec.json.encode(Opened.of(plan)))
    assert not take("t", json.dumps(FOLLOWING).encode()).published
    assert take("t", json.dumps(SNAPSHOT).encode()).published


# --- frames of before there were numbers ----------------------------------------------------------------------------------------


def old_frame(action: str, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]], checksum: int) -> dict[str, Any]:
    frame = book_frame(action, 0, 0, bids, asks)
    del frame["data"][0]["seqId"], frame["data"][0]["prevSeqId"]
    frame["data"][0]["checksum"] = checksum
    return frame


def checksum(text: str) -> int:
    value = crc32(text.encode())
    return value - (1 << 32) if value >> 31 else value


OLD_SNAPSHOT = old_frame(
    "snapshot", [["3366.1", "7"], ["3366", "0.00000001"]], [["3366.8", "9"], ["3368", "8"], ["3372", "8"]],
    checksum("3366.1:7:3366.8:9:3366:0.00000001:3368:8:3372:8"),
)  # fmt: skip


def old() -> Desk:
    at = desk(SWAP, channels=(Channel.BOOK, Channel.TOUCH))
    at.send(OLD_SNAPSHOT)
    assert at.book().published
    at.now += 3 * SECOND
    return at


def test_an_old_update_is_taken_when_the_book_it_makes_has_its_checksum() -> None:
    at = old()
    told = checksum("3366.1:7:3366.8:9:3368:8:3372:8")
    assert at.send(old_frame("update", [["3366", "0"]], [], told)) is NOTHING
    assert at.book().levels(9) == ([(3366.1, 7.0)], [(3366.8, 9.0), (3368.0, 8.0), (3372.0, 8.0)])
    assert (at.board.stream(BOOK_STREAM).gaps, at.heard.books[-1]) == (0, (SWAP.id, 3366.1, 3366.8))
    at.send(old_frame("update", [], [["3368", "0"]], checksum("3366.1:7:3366.8:9:3372:8")))
    assert at.book().published


def test_an_old_update_with_another_checksum_blanks_the_book_before_anybody_sees_it() -> None:
    at = old()
    told = len(at.heard.books)
    wrong = checksum("3366.1:7:3366.8:9:3368:8:3372:8") ^ 1
    assert sent(at.send(old_frame("update", [["3366", "0"]], [], wrong))) == AGAIN
    book = at.book()
    assert (book.published, book.state, book.reason) == (False, BookState.BUFFERING, "checksum")
    assert len(at.heard.books) == told
    assert at.board.stream(BOOK_STREAM).gaps == 1
    assert at.send(old_frame("update", [], [], wrong)) is NOTHING
    at.send(OLD_SNAPSHOT)
    assert book.published


def test_an_old_snapshot_with_another_checksum_is_not_shown() -> None:
    at = desk(SWAP, channels=(Channel.BOOK,))
    wrong = json.loads(json.dumps(OLD_SNAPSHOT))
    wrong["data"][0]["checksum"] ^= 1
    at.send(wrong)
    assert (at.book().published, at.book().reason, at.heard.books) == (False, "checksum", [])


def test_only_the_best_25_levels_are_summed_up() -> None:
    at = desk(SWAP, channels=(Channel.BOOK,))
    bids = [[str(1000 - i), "1"] for i in range(30)]
    text = ":".join(f"{1000 - i}:1" + (":2000:5" if i == 0 else "") for i in range(25))
    at.send(old_frame("snapshot", bids, [["2000", "5"]], checksum(text)))
    assert at.book().published


def test_a_checksum_beside_a_number_is_never_looked_at() -> None:
    at = desk(SWAP)
    for frame in (SNAPSHOT, FOLLOWING):
        lying = json.loads(json.dumps(frame))
        lying["data"][0]["checksum"] = 12345
        at.send(lying)
    assert at.book().bid == 100.5


def test_an_update_of_the_other_era_does_not_follow() -> None:
    at = old()
    assert sent(at.send(book_frame("update", 5, 4, [], []))) == AGAIN
    at = synced()
    at.now += 3 * SECOND
    assert sent(at.send(old_frame("update", [], [], checksum("100:1:101:3:99:2:102:4")))) == AGAIN
    assert (at.book().published, at.book().reason) == (False, "gap")


def test_a_best_quote_is_not_laid_over_a_book_without_numbers() -> None:
    at = old()
    at.send(quote_frame(["3366.5", "1"], ["3366.7", "1"], 1_900_000_000_000))
    assert (at.book().bid, at.heard.touches) == (3366.1, [])


def test_a_book_without_numbers_goes_on_from_a_recordings_checkpoint() -> None:
    (checkpoint,) = old().session.checkpoints()
    at = desk(SWAP, channels=(Channel.BOOK,))
    at.session.restore(checkpoint, at.now)
    at.send(old_frame("update", [["3366", "0"]], [], checksum("3366.1:7:3366.8:9:3368:8:3372:8")))
    assert at.book().levels(1) == ([(3366.1, 7.0)], [(3366.8, 9.0)])


# --- REST fallback --------------------------------------------------------------------------------------------------------------


def pass_time(at: Desk, span: Ns) -> list[Action]:
    """Boundary by boundary, with a sign of life at each; pings are left out."""
    actions: list[Action] = []
    at.now = at.now // (100 * MS) * (100 * MS)
    until = at.now + span
    while at.now < until:
        at.session.frame(b'{"arg":{"channel":"price-limit","instId":"X"},"data":[]}', at.now)
        at.now += 100 * MS
        if at.session.deadline <= at.now:
            actions.extend(action for action in at.session.wake(at.now) if action != Send("ping"))
    return actions


FETCH = Fetch("depth:BTC-USDT-SWAP", "/api/v5/market/books?instId=BTC-USDT-SWAP&sz=400", 1, 0)


def answer(seq: int, bid: str = "100", ask: str = "101", **envelope: object) -> bytes:
    data = {"asks": [[ask, "1", "0", "1"]], "bids": [[bid, "1", "0", "1"]], "ts": "1790439597000", "seqId": seq}
    return json.dumps({"code": "0", "msg": "", "data": [data], **envelope}).encode()


def waiting() -> Desk:
    """Updates 70 to 80 and 80 to 90 have come, no snapshot, and ten seconds have passed."""
    at = desk(SWAP, channels=(Channel.BOOK,))
    at.send(book_frame("update", 80, 70, [["100.1", "1"]], []))
    at.send(book_frame("update", 90, 80, [["100.2", "1"]], []))
    assert pass_time(at, 9_900 * MS) == []
    assert pass_time(at, 200 * MS) == [FETCH]
    return at


def test_updates_without_a_snapshot_for_ten_seconds_are_joined_to_one_over_rest() -> None:
    for seq, bid in ((70, 100.2), (75, 100.2), (80, 100.2), (85, 100.2), (90, 100.0)):
        at = waiting()
        assert at.session.answer("depth:BTC-USDT-SWAP", answer(seq), at.now) == NOTHING
        assert at.book().published
        assert at.book().bid == bid
        assert at.status(BOOK_STREAM) == Status(LinkState.READY, BookState.SYNCED)
        at.send(book_frame("update", 95, 90, [["100.3", "1"]], []))
        assert at.book().bid == 100.3
        assert at.board.stream(BOOK_STREAM).gaps == 0
        assert pass_time(at, 10 * SECOND) == []


def test_a_rest_snapshot_older_than_what_was_kept_is_asked_for_again_after_two_seconds() -> None:
    at = waiting()
    assert at.session.answer("depth:BTC-USDT-SWAP", answer(69), at.now) == NOTHING
    assert not at.book().published
    assert pass_time(at, 1_900 * MS) == []
    assert pass_time(at, 200 * MS) == [FETCH]


@pytest.mark.parametrize("body", [FetchError(500, "no"), FetchError(429, "too many")])
def test_a_rest_answer_that_is_none_is_asked_for_again(body: FetchError) -> None:
    at = waiting()
    assert at.session.answer("depth:BTC-USDT-SWAP", body, at.now) == NOTHING
    assert pass_time(at, 2_100 * MS) == [FETCH]


@pytest.mark.parametrize(
    "body",
    [
        answer(80, data=[]),
        answer(80, code="50011", msg="Too Many Requests"),
        b"<html>",
        b"{}",
        answer(80, "nan"),
        answer(80, "-1"),
    ],
)
def test_a_senseless_rest_answer_is_refused_and_the_snapshot_asked_for_again(body: bytes) -> None:
    at = waiting()
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.session.answer("depth:BTC-USDT-SWAP", body, at.now)
    assert not at.book().published
    assert pass_time(at, 2_100 * MS) == [FETCH]


def test_the_first_update_on_a_rest_snapshot_must_contain_it() -> None:
    for seq, previous, taken in ((95, 90, True), (95, 88, True), (89, 85, None), (95, 91, False), (90, 90, True), (3, 90, True)):
        at = waiting()
        at.session.answer("depth:BTC-USDT-SWAP", answer(90), at.now)
        at.now += 3 * SECOND
        actions = at.send(book_frame("update", seq, previous, [["100.3", "1"]], []))
        assert at.book().published == (taken is not False)
        assert (at.book().bid == 100.3) == bool(taken)
        assert sent(actions) == ([] if taken is not False else AGAIN)


def test_an_old_number_long_after_a_rest_snapshot_is_a_new_count_and_not_left_out_for_ever() -> None:
    at = waiting()
    at.session.answer("depth:BTC-USDT-SWAP", answer(90), at.now)
    at.now += 3 * SECOND
    assert sent(at.send(book_frame("update", 7, 5, [], [], ts=1790439599000))) == AGAIN


def test_updates_kept_with_a_hole_between_them_are_joined_after_the_hole_only() -> None:
    at = waiting()
    at.send(book_frame("update", 99, 95, [["100.4", "1"]], []))
    at.session.answer("depth:BTC-USDT-SWAP", answer(85), at.now)
    assert not at.book().published
    at.session.answer("depth:BTC-USDT-SWAP", answer(96), at.now)
    assert at.book().levels(9)[0] == [(100.4, 1.0), (100.0, 1.0)]


def test_a_snapshot_over_rest_that_is_older_than_what_was_shown_is_not_taken() -> None:
    at = synced(Channel.BOOK)
    pass_time(at, 3 * SECOND)
    acknowledge(at.session, at.session.renew_book(SWAP.id, at.now), at.now)
    at.send(FOLLOWING)
    assert pass_time(at, 10_100 * MS) == [FETCH]
    at.session.answer("depth:BTC-USDT-SWAP", answer(69), at.now)
    assert not at.book().published
    at.session.answer("depth:BTC-USDT-SWAP", answer(70), at.now)
    assert at.book().bid == 100.5


def test_a_rest_snapshot_without_any_update_is_of_any_age_and_not_asked_for() -> None:
    at = desk(SWAP, channels=(Channel.BOOK,))
    assert [action for action in pass_time(at, 14 * SECOND) if isinstance(action, Fetch)] == []
    at.session.answer("depth:BTC-USDT-SWAP", answer(90), at.now)
    assert not at.book().published


def test_a_snapshot_in_the_stream_makes_the_rest_one_needless() -> None:
    at = waiting()
    at.send(SNAPSHOT)
    at.session.answer("depth:BTC-USDT-SWAP", answer(90, "50", "51"), at.now)
    assert at.book().bid == 100.0


def test_what_is_kept_for_a_join_is_bounded() -> None:
    at = desk(SWAP, channels=(Channel.BOOK,))
    levels = [[str(1000 + i), "1"] for i in range(400)]
    for step in range(600):
        at.send(book_frame("update", step + 1, step, levels, levels))
    join = at.session._joins[SWAP.id]
    assert join.size < 5 << 20
    assert len(join.events) < 600


# --- hostile frames -------------------------------------------------------------------------------------------------------------

GOOD = json.dumps(FOLLOWING, separators=(",", ":"))


def put(old: str, new: str) -> bytes:
    assert old in GOOD, old
    return GOOD.replace(old, new).encode()


HOSTILE: dict[str, bytes] = {
    "nan price": put('"100.5"', '"nan"'),
    "bare NaN price": put('"100.5"', "NaN"),
    "infinite price": put('"100.5"', '"Infinity"'),
    "overflowing price": put('"100.5"', '"1e400"'),
    "bare overflowing price": put('"100.5"', "1e400"),
    "negative price": put('"100.5"', '"-100.5"'),
    "zero price": put('"100.5"', '"0"'),
    "price with underscore": put('"100.5"', '"1_00"'),
    "empty price": put('"100.5"', '""'),
    "null price": put('"100.5"', "null"),
    "true price": put('"100.5"', "true"),
    "nan size": put('"5","0"', '"nan","0"'),
    "negative size": put('"5","0"', '"-5","0"'),
    "infinite size": put('"5","0"', '"inf","0"'),
    "level of one": put('["100.5","1","0","1"]', '["100.5"]'),
    "level no list": put('["100.5","1","0","1"]', '{"price":"100.5","size":"1"}'),
    "levels no list": put('[["100.5","1","0","1"]]', '"100.5"'),
    "number a fraction": put('"seqId":75', '"seqId":75.5'),
    "number negative": put('"seqId":75', '"seqId":-7'),
    "number of 5,000 digits": put('"seqId":75', '"seqId":' + "8" * 5000),
    "number true": put('"seqId":75', '"seqId":true'),
    "neither number nor checksum": put('"checksum":0,"seqId":75,"prevSeqId":70', '"x":0'),
    "no number before": put(',"prevSeqId":70', ""),
    "bids missing": put('"bids"', '"bits"'),
    "data missing": put('"data"', '"date"'),
    "data an object": put('"data":[{', '"data":{"x":{'),
    "data empty": GOOD[: GOOD.index('"data"')].encode() + b'"data":[]}',
    "two books": GOOD.replace('"data":[', '"data":[{"asks":[],"bids":[],"ts":"1","seqId":1,"prevSeqId":70},').encode(),
    "action missing": put('"action":"update",', ""),
    "action unknown": put('"update"', '"delta"'),
    "time missing": put('"ts"', '"tz"'),
    "time in nanoseconds": put('"ts":"1790439597300"', '"ts":"1790439597300000000"'),
    "time negative": put('"ts":"1790439597300"', '"ts":"-1"'),
    "time a word": put('"ts":"1790439597300"', '"ts":"soon"'),
    "channel a number": put('"channel":"books"', '"channel":200'),
    "two args": put('"action"', '"arg":{"channel":"books","instId":"ETH-USDT-SWAP"},"action"'),
    "two channels": put('"action"', '"arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"action"'),
    "truncated": GOOD[:-9].encode(),
    "truncated in the arg": GOOD[:30].encode(),
    "trailing bytes": GOOD.encode() + b"}",
    "two frames": GOOD.encode() * 2,
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "bad UTF-8": GOOD.encode().replace(b'"update"', b'"\xff\xfe"'),
    "deep": put('[["100.5","1","0","1"]]', "[" * 5000 + "]" * 5000),
    "deep alone": b"[" * 5000 + b"]" * 5000,
    "empty": b"",
    "blank": b" ",
    "zero bytes": b"\x00" * 64,
    "a list": b"[]",
    "a number": b"1",
    "a text": b'"books"',
    "null": b"null",
    "binary": bytes(range(256)),
    "half a pong": b"pon",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_frame_is_refused_and_does_not_change_a_published_book(data: bytes) -> None:
    at = synced()
    book = at.book()
    before = (book.version, book.levels(10), book.seq, at.session.feeds[SWAP.id].chain)
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.send(data)
    assert (book.version, book.levels(10), book.seq, at.session.feeds[SWAP.id].chain) == before
    actions = at.session.refused(data, at.now)
    assert all(isinstance(action, Send) for action in actions)
    assert book.published or (book.reason == "decode" and book.levels(10) == ([], []))


@pytest.mark.parametrize(
    ("of", "frame"),
    [
        (SWAP, TRADE.replace('"sell"', '"Sell"')),
        (SWAP, TRADE.replace('"84093.4"', '"-1"')),
        (SWAP, TRADE.replace('"0.01"', '"nan"')),
        (SWAP, MARK.replace('"83003.8"', '"0"')),
        (SWAP, MARK.replace('"instId":"BTC-USDT-SWAP","instType"', '"instId":"ETH-USDT-SWAP","instType"')),
        (SWAP, INDEX.replace('"83043.9"', '"inf"')),
        (SWAP, INDEX.replace('"instId":"BTC-USDT","idxPx"', '"instId":"ETH-USDT","idxPx"')),
        (SWAP, FUNDING.replace('"0.0000252378080097"', '"nan"')),
        (SWAP, FUNDING.replace('"0.0000252378080097"', '"11"')),
        (SWAP, FUNDING.replace('"1790784000000"', '"9e30"')),
        (SWAP, OPEN_INTEREST.replace('"2874486.99000000925"', '"-1"')),
        (SWAP, TICKER.replace('"122143.88"', '"nan"')),
        (SWAP, LATER.replace('"sell"', '"Sell"')),
        (SWAP, LATER.replace('"82655.7"', '"1e999"')),
        (SWAP, TOUCH.replace('"84093.4"', '"nan"')),
        (SWAP, TOUCH.replace('"bids":[', '"bids":[["84093.3","1","0","1"],')),
    ],
)
def test_nonsense_on_any_channel_tells_nobody(of: Instrument, frame: str) -> None:
    at = desk(of)
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.send(frame)
    assert (at.heard.trades, at.heard.told, at.heard.touches, at.heard.books) == ([], [], [], [])
    assert at.session.link is LinkState.NOT_READY


@pytest.mark.parametrize("frame", [TRADE, TOUCH, MARK, INDEX, LATER])
def test_a_frame_that_names_two_topics_is_refused(frame: str) -> None:
    at = desk(SWAP, ETH)
    at.send(frame)
    told = len(at.heard.trades), len(at.heard.told), len(at.heard.touches)
    with pytest.raises(BadFrame, match="two topics"):
        at.send(frame.replace('"data"', '"arg":{"channel":"books","instId":"ETH-USDT-SWAP"},"data"'))
    assert (len(at.heard.trades), len(at.heard.told), len(at.heard.touches)) == told


def test_fields_that_are_new_do_not_stop_the_feed() -> None:
    at = synced()
    at.send(put('"ts"', '"x":[{"y":null}],"ts"'))
    assert at.book().bid == 100.5
    wider = book_frame("update", 76, 75, [["100.6", "1"]], [])
    wider["arg"]["instFamily"] = "BTC-USDT"
    at.send(wider)
    assert at.book().bid == 100.6


def test_a_refused_update_blanks_its_book_and_no_other() -> None:
    at = desk(SWAP, ETH)
    at.send(SNAPSHOT)
    at.send(book_frame("snapshot", 70, -1, [["10", "1"]], [["11", "1"]], of=ETH))
    at.now += 3 * SECOND
    assert sent(at.session.refused(HOSTILE["nan price"], at.now)) == AGAIN
    assert (at.book().state, at.book().reason) == (BookState.BUFFERING, "decode")
    assert at.book(ETH).published
    assert at.board.stream(BOOK_STREAM).quarantined == 1
    at.session.refused(MARK.encode(), at.now)
    assert at.board.stream(Stream(SWAP.id, Channel.TICKER)).quarantined == 1


def test_a_best_quote_from_impossibly_far_ahead_is_refused() -> None:
    at = synced(Channel.BOOK, Channel.TOUCH)
    with pytest.raises(BadFrame):
        at.send(TOUCH)
    assert at.book().bid == 100.0


# --- control --------------------------------------------------------------------------------------------------------------------


def test_what_is_asked_for_on_one_connection() -> None:
    at = desk(SPOT, SWAP, DATED)
    assert sent(at.first) == [
        ("subscribe", ["books:BTC-USDT", "bbo-tbt:BTC-USDT", "trades:BTC-USDT", "tickers:BTC-USDT"]),
        (
            "subscribe",
            [
                *(f"{name}:BTC-USDT-SWAP" for name in ("books", "bbo-tbt", "trades", "tickers", "mark-price")),
                "index-tickers:BTC-USDT",
                "funding-rate:BTC-USDT-SWAP",
                "open-interest:BTC-USDT-SWAP",
                "liquidation-orders:SWAP",
            ],
        ),
        (
            "subscribe",
            [
                *(f"{name}:BTC-USD-220527" for name in ("books", "bbo-tbt", "trades", "tickers", "mark-price")),
                "index-tickers:BTC-USD",
                "open-interest:BTC-USD-220527",
                "liquidation-orders:FUTURES",
            ],
        ),
        ("subscribe", ["status"]),
        ("subscribe", ["index-tickers:BTC-USDC"]),
        ("subscribe", ["index-tickers:ETH-USD", "index-tickers:ETH-USDT", "index-tickers:ETH-USDC"]),
    ]
    last = messages(at.first)[1]
    assert last["args"][0] == {"channel": "books", "instId": "BTC-USDT-SWAP"}
    assert last["args"][-1] == {"channel": "liquidation-orders", "instType": "SWAP"}
    assert all(each["id"].isalnum() and len(each["id"]) <= 32 and len(each["args"]) <= 20 for each in messages(at.first))


def test_what_several_instruments_share_is_asked_for_once_and_left_with_the_last() -> None:
    at = desk(SOL, SOL_DATED, ETH)
    asked = [topic for _, topics in sent(at.first) for topic in topics]
    assert asked.count("index-tickers:SOL-USDT") == asked.count("liquidation-orders:SWAP") == 1
    left = at.session.want((), [Stream(SOL.id, channel) for channel in Channel], at.now)
    ((op, topics),) = sent(left)
    assert (op, "index-tickers:SOL-USDT" in topics, "liquidation-orders:SWAP" in topics) == ("unsubscribe", False, False)
    ((_, topics),) = sent(at.session.want((), [Stream(SOL_DATED.id, channel) for channel in Channel], at.now))
    assert "index-tickers:SOL-USDT" in topics
    at.heard.told.clear()
    at.send(INDEX.replace("BTC", "SOL"))
    assert at.heard.told == []


def test_the_indices_that_tell_dollars_apart_are_told_whatever_is_watched_and_stay_when_their_last_contract_goes() -> None:
    at = desk(SWAP)
    at.send(INDEX)
    assert at.heard.told == [(SWAP.id, Index(83043.9, 1790757203066 * MS))]
    told = PairIndex("OKX", "BTC", "USDT", 83043.9, 1790757203066 * MS)
    assert at.heard.pairs == [told]
    ((_, left),) = sent(at.session.want((), [Stream(SWAP.id, channel) for channel in Channel], at.now))
    assert "index-tickers:BTC-USDT" not in left
    at.heard.told.clear()
    at.send(INDEX)
    at.send(INDEX.replace("BTC-USDT", "ETH-USDC"))
    assert at.heard.pairs == [told, told, msgspec.structs.replace(told, base="ETH", quote="USDC")]
    assert (at.heard.told, at.board.ignored, at.session.pulse.last_ns) == ([], 0, at.now)
    at.send(INDEX.replace("BTC-USDT", "DOGE-USDT"))
    assert (len(at.heard.pairs), at.board.ignored) == (3, 1)
    with pytest.raises(BadFrame):
        at.send(INDEX.replace('"instId":"BTC-USDT","idxPx"', '"instId":"BTC-USD","idxPx"'))


def test_a_pair_that_the_venue_does_not_list_takes_no_other_down() -> None:
    at = desk(SPOT, channels=[Channel.BOOK])
    number = messages(at.first)[-1]["id"]
    missing = {"event": "error", "code": "60018", "id": number, "msg": "channel:index-tickers,instId:ETH-USDC doesn't exist."}
    at.send({**json.loads(WRONG), **missing})
    assert at.session.link is LinkState.NOT_READY
    at.send(INDEX.replace("BTC-USDT", "ETH-USDT"))
    assert [(each.base, each.quote) for each in at.heard.pairs] == [("ETH", "USDT")]


def test_indices_of_pairs_that_fall_silent_are_asked_for_again() -> None:
    at = desk(SPOT)
    at.send(book_frame("snapshot", 1, -1, [["1", "1"]], [["2", "1"]], of=SPOT))
    asked: list[list[str]] = []
    for _ in range(36):
        at.send(INDEX.replace("BTC-USDT", "BTC-USD"))
        asked += [topics for op, topics in sent(pass_time(at, SECOND)) if op == "subscribe" and "index-tickers:ETH-USD" in topics]
    assert asked == [[f"index-tickers:{pair}" for pair in ("BTC-USDT", "BTC-USDC", "ETH-USD", "ETH-USDT", "ETH-USDC")]]


def test_a_stream_that_is_dropped_and_wanted_again_starts_over() -> None:
    at = synced()
    assert sent(at.session.want((), (BOOK_STREAM,), at.now)) == AGAIN[:1]
    ignored = at.board.ignored
    at.send(FOLLOWING)
    assert at.board.ignored == ignored + 1
    assert sent(at.session.want((BOOK_STREAM,), (), at.now)) == AGAIN[1:]
    at.send(FOLLOWING)
    assert not at.book().published
    at.send(SNAPSHOT)
    assert at.book().published


def test_an_unknown_topic_is_a_counter_and_a_sign_of_life() -> None:
    at = desk(SWAP)
    for name, what in (
        ("candle1m", "BTC-USDT-SWAP"),
        ("books", "NOBODY"),
        ("books-elp", "BTC-USDT-SWAP"),
        ("books", "ETH-USDT-SWAP"),
    ):
        assert at.send({"arg": {"channel": name, "instId": what}, "data": [{}]}) is NOTHING
    assert at.board.ignored == 4
    assert at.session.pulse.last_ns == at.now
    assert at.session.link is LinkState.NOT_READY
    at.send("{}")
    at.send({"event": "channel-conn-count", "channel": "orders", "connCount": "2", "connId": "x"})
    assert at.board.ignored == 6


def test_a_stream_is_acknowledged_with_its_last_part() -> None:
    at = desk(SWAP, channels=[Channel.TICKER, Channel.TRADE], acknowledges=False)
    ticker, trade = Stream(SWAP.id, Channel.TICKER), Stream(SWAP.id, Channel.TRADE)
    args = messages(at.first)[0]["args"]
    for arg in args[:-1]:
        assert at.session.streams[ticker].request == "1"
        at.send({"id": "1", "event": "subscribe", "arg": arg, "connId": "x"})
    assert (at.session.streams[ticker].request, at.session.streams[trade].request) == ("", "1")
    at.send({"event": "subscribe", "arg": args[-1]})  # without a number, as in 2022
    assert at.session.streams[trade].request == ""


def test_requests_that_are_never_answered_are_sent_again_after_five_seconds() -> None:
    at = desk(SWAP, channels=[Channel.TRADE], acknowledges=False)
    assert sent(pass_time(at, 5_100 * MS)) == [("unsubscribe", ["trades:BTC-USDT-SWAP"]), ("subscribe", ["trades:BTC-USDT-SWAP"])]
    assert at.status(Stream(SWAP.id, Channel.TRADE)).reason == "no answer"


def test_an_error_that_names_a_topic_declines_its_stream_and_no_other() -> None:
    at = desk(SWAP, ETH, channels=[Channel.BOOK, Channel.TRADE], acknowledges=False)
    assert at.send(WRONG) is NOTHING
    at.send(SNAPSHOT)
    status = at.status(Stream(ETH.id, Channel.BOOK))
    assert (status.link, status.reason) == (LinkState.NOT_READY, "no such channel or instrument")
    assert at.session.streams[Stream(ETH.id, Channel.TRADE)].fault == ""
    assert at.status(BOOK_STREAM) == Status(LinkState.READY, BookState.SYNCED)
    (said,) = [text for _, text in at.board.said]
    assert said.startswith("OKX: refused 60018: no such channel or instrument (Wrong URL or channel:books,instId:ETH-USDT-SWAP")


def test_an_error_with_a_number_is_about_that_request() -> None:
    at = desk(SWAP, ETH, channels=[Channel.BOOK], acknowledges=False)
    at.send(ERROR.replace('"1512"', '"2"'))
    assert at.status(Stream(ETH.id, Channel.BOOK)).reason == "the request was not understood"
    assert at.session.streams[BOOK_STREAM].fault == ""
    at.send(ERROR)  # of nobody's request
    assert at.session.streams[BOOK_STREAM].fault == ""
    assert len(at.board.said) == 2


def test_an_error_that_names_nothing_holds_every_stream_that_has_no_answer_yet() -> None:
    at = desk(SWAP, ETH, channels=[Channel.BOOK], acknowledges=False)
    at.send(SNAPSHOT)
    at.send(ERROR.replace('"id":"1512",', ""))
    assert at.status(Stream(ETH.id, Channel.BOOK)).reason == "the request was not understood"
    assert at.status(BOOK_STREAM).link is LinkState.READY


def test_a_stream_that_may_never_speak_is_well_once_it_is_taken_after_a_refusal() -> None:
    """Liquidations of a dated future come once a month: it would be called refused until then."""
    at = desk(DATED, channels=[Channel.TRADE, Channel.LIQUIDATION], acknowledges=False)
    stream = Stream(DATED.id, Channel.LIQUIDATION)
    at.send(ERROR.replace('"1512"', '"1"'))
    assert at.status(stream) == Status(LinkState.NOT_READY, BookState.EMPTY, "the request was not understood")
    again = pass_time(at, 15 * SECOND)
    assert [op for op, topics in sent(again) if "liquidation-orders:FUTURES" in topics] == ["unsubscribe", "subscribe"]
    assert at.session.streams[stream].fault
    acknowledge(at.session, again, at.now)
    assert at.session.streams[stream].fault == at.status(stream).reason == ""


def test_a_refused_part_of_a_ticker_does_not_take_the_ticker_away() -> None:
    at = desk(SWAP, channels=[Channel.TICKER], acknowledges=False)
    stream = Stream(SWAP.id, Channel.TICKER)
    for arg in messages(at.first)[0]["args"]:
        if arg["channel"] == "index-tickers":
            at.send({**json.loads(WRONG), "msg": "Wrong URL or channel:index-tickers,instId:BTC-USDT doesn't exist."})
        else:
            at.send({"id": "1", "event": "subscribe", "arg": arg})
    assert (at.session.streams[stream].fault, at.session.streams[stream].request) == ("", "")
    at.send(MARK)
    assert at.status(stream) == Status(LinkState.READY, BookState.EMPTY)
    assert len(at.board.said) == 1


def test_an_error_text_cannot_drive_the_terminal() -> None:
    at = desk(SWAP, channels=[Channel.BOOK], acknowledges=False)
    at.send({"event": "error", "code": "\x1b[2J", "msg": "\x1b]52;c;aGk=\x07" + "x" * 500})
    (said,) = [text for _, text in at.board.said]
    assert "\x1b" not in said
    assert "\x07" not in said
    assert len(said) < 300
    reason = at.status(BOOK_STREAM).reason
    assert "\x1b" not in reason
    assert len(reason) <= 64


def test_a_notice_of_an_upgrade_renews_the_connection_once() -> None:
    at = synced()
    (action,) = at.send(NOTICE)
    assert action == Renew("the venue upgrades this server")
    assert at.book().published
    assert at.send(NOTICE) == NOTHING
    assert at.board.said[0][1].startswith("OKX: notice 64008: the venue upgrades this server (The connection will soon be closed")
    assert desk(SWAP).send(NOTICE.replace("64008", "64009")) == NOTHING


@pytest.mark.parametrize(
    ("state", "words"),
    [("scheduled", "maintenance is planned"), ("ongoing", "maintenance has begun"), ("completed", "maintenance is over")],
)
def test_maintenance_is_said_in_clear_words(state: str, words: str) -> None:
    at = desk(SWAP)
    assert at.send(WORKS.replace("scheduled", state)) == NOTHING
    when = "from 2023-01-04 09:10 UTC to 2023-01-04 09:53 UTC"
    assert [text for _, text in at.board.said] == [f"OKX: {words} {when}: Trading account WebSocket system upgrade"]
    assert at.session.link is LinkState.NOT_READY


def test_a_ping_is_bare_text_and_sent_when_nothing_came_for_25_seconds() -> None:
    (plan,) = VENUE.plan([BOOK_STREAM], INSTRUMENTS)
    session = VENUE.session(msgspec.structs.replace(plan, streams=()), INSTRUMENTS, Heard(), HealthBoard())
    session.opened(START)
    assert session.deadline <= START + 25 * SECOND
    assert Send("ping") not in session.wake(START + 25 * SECOND - MS)
    assert Send("ping") in session.wake(START + 25 * SECOND)
    assert Send("ping") not in session.wake(START + 26 * SECOND)
    assert Send("ping") in session.wake(START + 50 * SECOND)


def test_a_connection_of_a_thin_market_lives_by_an_index_that_always_moves() -> None:
    at = desk(SPOT, channels=[Channel.BOOK])
    assert ("subscribe", ["status", "index-tickers:BTC-USD"]) in sent(at.first)
    at.send(book_frame("snapshot", 1, -1, [["1", "1"]], [["2", "1"]], of=SPOT))
    for _ in range(10):
        at.now += 2 * SECOND
        assert at.send(INDEX.replace("BTC-USDT", "BTC-USD")) is NOTHING
        assert at.session.wake(at.now) == NOTHING
    assert (at.book(SPOT).published, at.board.ignored, at.heard.told) == (True, 0, [])


def test_the_index_that_proves_the_link_alive_stays_when_its_last_contract_goes() -> None:
    at = desk(SPOT, COIN)
    left = sent(at.session.want((), [Stream(COIN.id, channel) for channel in Channel], at.now))
    assert [topics for _, topics in left if "index-tickers:BTC-USD" in topics] == []
    at.heard.told.clear()
    at.send(INDEX.replace("BTC-USDT", "BTC-USD"))
    assert (at.heard.told, at.board.ignored, at.session.pulse.last_ns) == ([], 0, at.now)


@pytest.mark.parametrize(
    ("of", "channels", "silence_ns"),
    [
        (SPOT, (Channel.BOOK, Channel.TOUCH), 4_500 * MS),
        (SPOT, (Channel.BOOK, Channel.TICKER), 4_500 * MS),
        (SWAP, (Channel.BOOK, Channel.TICKER), 3 * SECOND),
    ],
)
def test_a_silent_link_is_given_up_by_its_pulse(of: Instrument, channels: Sequence[Channel], silence_ns: Ns) -> None:
    at = desk(of, channels=channels)
    at.now = START + SECOND
    at.session.frame(b"pong", START + SECOND)
    assert not any(isinstance(action, Drop) for action in at.session.wake(START + silence_ns - MS))
    (dropped,) = at.session.wake(START + silence_ns)
    assert isinstance(dropped, Drop)
    at.now = START + silence_ns
    assert at.send(book_frame("snapshot", 1, -1, [["1", "1"]], [["2", "1"]], of=of)) == NOTHING
    assert not at.book(of).published


def test_a_silent_part_of_a_ticker_is_asked_for_again_while_others_speak() -> None:
    at = desk(SWAP, channels=[Channel.TICKER])
    at.send(OPEN_INTEREST)
    asked: list[tuple[Ns, list[str]]] = []
    for _ in range(700):
        at.send(MARK)
        asked += [(at.now - START, topics) for op, topics in sent(pass_time(at, 100 * MS)) if op == "subscribe"]
    pairs = ("BTC-USDT", "BTC-USD", "BTC-USDC", "ETH-USD", "ETH-USDT", "ETH-USDC")
    assert [topics for _, topics in asked] == [[f"index-tickers:{pair}" for pair in pairs], ["open-interest:BTC-USDT-SWAP"]]
    assert 30 * SECOND <= asked[0][0] < 36 * SECOND
    assert 60 * SECOND <= asked[1][0] < 66 * SECOND
    unknown = [metric for metric in at.heard.metrics if isinstance(metric, OpenInterest)][-1]
    assert isnan(unknown.size)


def test_a_part_that_nobody_could_hear_is_not_asked_for_again() -> None:
    at = desk(SWAP, channels=[Channel.TICKER])
    at.send(MARK)
    until = at.now + 40 * SECOND
    at.session.stood_still(at.now, until)
    at.now = until
    at.send(MARK)
    assert pass_time(at, 10 * SECOND) == []


def test_requests_beyond_what_an_hour_allows_cost_the_connection_and_not_the_venues_patience() -> None:
    at = desk(SWAP, channels=[Channel.BOOK])
    seq, operations = 70, len(messages(at.first))
    at.send(SNAPSHOT)
    actions: Sequence[Action] = NOTHING
    for _ in range(OPERATIONS):
        at.now += 3 * SECOND
        seq += 100
        actions = at.send(book_frame("update", seq, seq - 1, [], []))
        if any(isinstance(action, Drop) for action in actions):
            break
        operations += len(messages(actions))
        at.send(book_frame("snapshot", seq, -1, [["1", "1"]], [["2", "1"]]))
    assert actions == (Drop("the requests of an hour are used up", 0),)
    assert OPERATIONS - 2 < operations <= OPERATIONS < 480
    at.now += 3_600 * SECOND
    assert messages(at.session.renew_book(SWAP.id, at.now))


def test_trades_through_a_standing_book_blank_it_and_improved_prices_do_not() -> None:
    for source, expected in (("1", False), ("0", True)):
        at = synced()
        outside = TRADE.replace('"84093.4"', '"98"').replace('"source":"0"', f'"source":"{source}"')
        asked: list[Action] = []
        for _ in range(22):
            asked.extend(at.send(outside))
            asked.extend(pass_time(at, 100 * MS))
        assert (sent(asked) == AGAIN) == expected
        assert at.book().published != expected


def test_a_promoted_session_restates_what_only_changes_would_tell() -> None:
    at = desk(SWAP)
    for frame in (TICKER, MARK, INDEX, FUNDING, OPEN_INTEREST):
        at.send(frame)
    at.send(SNAPSHOT)
    assert at.session.ready
    heard, board = Heard(), HealthBoard()
    at.session.promote(heard, board, at.now)
    assert repr(heard.told) == repr(at.heard.told)
    assert len(heard.told) == 5
    assert heard.books == [(SWAP.id, 100.0, 101.0)]
    at.send(MARK.replace("83003.8", "83004"))
    assert len(heard.told) == 6
    at.session.retire()
    at.send(MARK)
    at.send(INDEX)
    assert (len(heard.told), at.book().published) == (6, False)


def test_an_expired_contract_is_unsubscribed_and_its_pairs_index_stays_for_others() -> None:
    soon = msgspec.structs.replace(LINEAR_DATED, expiry_ns=START + 2 * SECOND)
    known = {**INSTRUMENTS, soon.id: soon}
    streams = [Stream(SWAP.id, Channel.TICKER), Stream(soon.id, Channel.BOOK), Stream(soon.id, Channel.TICKER)]
    (plan,) = VENUE.plan(streams, known)
    heard = Heard()
    session = OkxSession(plan, known, heard, HealthBoard())
    at = Desk(session, heard, session.board, list(session.opened(START)))
    acknowledge(session, at.first, START)
    ((op, topics),) = sent(pass_time(at, 2 * SECOND))
    assert (op, sorted(topics)) == (
        "unsubscribe",
        [f"{name}:BTC-USDT-261225" for name in ("books", "mark-price", "open-interest", "tickers")],
    )
    assert at.status(streams[1]) == Status(LinkState.CLOSED, BookState.EMPTY, "expired")
    assert list(session.streams) == streams[:1]


# --- the venue's facts ----------------------------------------------------------------------------------------------------------


def test_one_socket_carries_every_kind_and_is_split_where_it_would_carry_too_many_books() -> None:
    wanted = [Stream(each.id, Channel.BOOK) for each in (SPOT, SWAP, DATED, XPERP, CALL)]
    (plan,) = Okx({"public": Endpoint("http://127.0.0.1:8", "ws://127.0.0.1:9")}).plan(wanted, INSTRUMENTS)
    assert (plan.venue, plan.market, plan.url, plan.streams) == ("OKX", "public", "ws://127.0.0.1:9/ws/v5/public", tuple(wanted))
    assert VENUE.plan(wanted, INSTRUMENTS)[0].url == "wss://ws.okx.com:8443/ws/v5/public"
    coins = [instrument(f"C{i}-USDT-SWAP", f"C{i}/USDT:USDT") for i in range(60)]
    known = {each.id: each for each in coins}
    many = [Stream(each.id, channel) for each in coins for channel in VENUE.channels(each)]
    plans = VENUE.plan(many, known)
    assert [len({stream.instrument for stream in each.streams}) for each in plans] == [25, 25, 10]
    assert BOOKS_PER_CONNECTION < 30
    assert [stream for each in plans for stream in each.streams] == many
    for each in plans:
        actions = VENUE.session(each, known, Heard(), HealthBoard()).opened(START)
        assert sum(len(json.dumps(request["args"])) for request in messages(actions)) < 64 << 10


def test_a_channel_that_a_kind_does_not_have_opens_no_connection() -> None:
    assert VENUE.plan([Stream(SPOT.id, Channel.LIQUIDATION), Stream(CALL.id, Channel.TICKER)], INSTRUMENTS) == []
    assert list(VENUE.channels(SWAP)) == list(VENUE.channels(DATED)) == list(Channel)
    assert list(VENUE.channels(CALL)) == [Channel.BOOK]


@pytest.mark.parametrize(
    ("topic", "stream"),
    [
        ("books:BTC-USDT", Stream(SPOT.id, Channel.BOOK)),
        ("books5:BTC-USDT-SWAP", Stream(SWAP.id, Channel.BOOK)),
        ("books-l2-tbt:BTC-USDT-SWAP", Stream(SWAP.id, Channel.BOOK)),
        ("bbo-tbt:BTC-USDT-SWAP", Stream(SWAP.id, Channel.TOUCH)),
        ("trades:BTC-USD-220527", Stream(DATED.id, Channel.TRADE)),
        ("funding-rate:BTC-USD_UM_XPERP-310404", Stream(XPERP.id, Channel.TICKER)),
        ("index-tickers:BTC-USDT", Stream(SWAP.id, Channel.TICKER)),
        ("index-tickers:BTC-USD", Stream(COIN.id, Channel.TICKER)),
        ("index-tickers:DOGE-USDT", None),
        ("books:BTC-USD-220514-22000-C", Stream(CALL.id, Channel.BOOK)),
        ("trades:BTC-USD-220514-22000-C", None),
        ("liquidation-orders:SWAP", None),
        ("books-elp:BTC-USDT", None),
        ("candle1m:BTC-USDT", None),
        ("books:NOBODY", None),
        ("books", None),
        ("", None),
    ],
)
def test_a_topic_means_one_stream_or_none(topic: str, stream: Stream | None) -> None:
    assert VENUE.stream_of("public", topic, INSTRUMENTS) == stream


@pytest.mark.parametrize(
    ("data", "topic"),
    [
        (TICKER.encode(), "tickers:BTC-USDT-SWAP"),
        (LIQUIDATION.encode(), "liquidation-orders:SWAP"),
        (WORKS.encode(), "status"),
        (b'{"action":"update","data":[],"arg":{"instId":"X","channel":"books"}}', "books:X"),
        (b'{"arg":{"channel":"\\u001b[2J"}}', "\ufffd[2J"),
        (ACK.encode(), None),
        (b'{"arg":{"channel":"books","instId":"X"},"event":"subscribe"}', None),
        (b"pong", None),
        (b"nonsense", None),
        (b"[" * 5000, None),
    ],
)
def test_a_frames_topic_is_found_wherever_it_stands(data: bytes, topic: str | None) -> None:
    assert VENUE.topic("public", data) == topic


def test_a_recorded_subscription_names_the_topics_that_its_frames_have() -> None:
    at = desk(SWAP)
    named = [topic for action in at.first if isinstance(action, Send) for topic in topics_sent(action.text.encode())]
    assert named == [topic for _, topics in sent(at.first) for topic in topics]
    for frame in (TRADE, TICKER, MARK, INDEX, FUNDING, OPEN_INTEREST, LIQUIDATION, TOUCH, BOOK_UPDATE, WORKS):
        assert VENUE.topic("public", frame.encode()) in named


def row(**changes: object) -> dict[str, object]:
    """BTC-USDT-SWAP as listed in 2026, shortened."""
    return {
        "alias": "",
        "baseCcy": "",
        "ctMult": "1",
        "ctType": "linear",
        "ctVal": "0.01",
        "ctValCcy": "BTC",
        "expTime": "",
        "instFamily": "BTC-USDT",
        "instId": "BTC-USDT-SWAP",
        "instType": "SWAP",
        "lotSz": "0.01",
        "minSz": "0.01",
        "optType": "",
        "quoteCcy": "",
        "ruleType": "normal",
        "settleCcy": "USDT",
        "state": "live",
        "stk": "",
        "tickSz": "0.1",
        "uly": "BTC-USDT",
        **changes,
    }


INVERSE_ROW = row(
    instId="BTC-USD-261030", instType="FUTURES", ctType="inverse", ctVal="100", ctValCcy="USD", settleCcy="BTC", uly="BTC-USD",
    instFamily="BTC-USD", expTime="1793347200000", lotSz="0.1",
)  # fmt: skip
LINEAR_ROW = row(
    instId="BTC-USD_UM-261030",
    instType="FUTURES",
    settleCcy="USD",
    uly="BTC-USD",
    instFamily="BTC-USD_UM",
    expTime="1793347200000",
)
XPERP_ROW = row(
    instId="BTC-USD_UM_XPERP-310404", instType="FUTURES", settleCcy="USD", uly="BTC-USD", instFamily="BTC-USD_UM_XPERP",
    expTime="1933056000000", ruleType="xperp",
)  # fmt: skip
SPOT_ROW = row(
    instId="BTC-USDT", instType="SPOT", baseCcy="BTC", quoteCcy="USDT", ctVal="", ctMult="", ctType="", ctValCcy="", settleCcy="",
    uly="", instFamily="", lotSz="0.00000001",
)  # fmt: skip
OPTION_ROW = row(
    instId="BTC-USD-220514-22000-C", instType="OPTION", ctType="", ctVal="1", ctMult="0.1", settleCcy="BTC", uly="BTC-USD",
    expTime="1652515200000", stk="22000", optType="C",
)  # fmt: skip


def listed(kind: str, *rows: object, **envelope: object) -> Sequence[Instrument]:
    body = {"code": "0", "msg": "", "data": rows, **envelope}
    return VENUE.instruments({f"instruments:{kind}": json.dumps(body).encode()})


@pytest.mark.parametrize(
    ("kind", "entry", "expected"),
    [
        ("SWAP", row(), ("BTC/USDT:USDT", Kind.PERP, Contract.LINEAR, 0.01, 0.01, 0)),
        ("FUTURES", INVERSE_ROW, ("BTC/USD:BTC-261030", Kind.FUTURE, Contract.INVERSE, 100.0, 0.1, 1793347200000 * MS)),
        ("FUTURES", LINEAR_ROW, ("BTC/USD:USD-261030", Kind.FUTURE, Contract.LINEAR, 0.01, 0.01, 1793347200000 * MS)),
        ("FUTURES", XPERP_ROW, ("BTC/USD:USD", Kind.PERP, Contract.LINEAR, 0.01, 0.01, 0)),
        ("FUTURES", {**XPERP_ROW, "ruleType": ""}, ("BTC/USD:USD", Kind.PERP, Contract.LINEAR, 0.01, 0.01, 0)),
        ("SPOT", SPOT_ROW, ("BTC/USDT", Kind.SPOT, Contract.LINEAR, 1.0, 0.00000001, 0)),
        ("OPTION", OPTION_ROW, ("BTC/USD:BTC-220514-22000-C", Kind.OPTION, Contract.LINEAR, 0.1, 0.01, 1652515200000 * MS)),
    ],
)
def test_an_instrument_is_read_field_by_field(kind: str, entry: dict[str, Any], expected: tuple[Any, ...]) -> None:
    (found,) = listed(kind, entry)
    parts = symbols.parse(found.id)
    assert found.id == f"OKX:{expected[0]}"
    assert (found.kind, found.contract, found.contract_size, found.lot, found.expiry_ns) == expected[1:]
    assert (found.venue, found.market, found.native, found.tick) == ("OKX", "public", entry["instId"], 0.1)
    assert (found.base, found.quote, found.settle) == (parts.base, parts.quote, parts.settle)
    assert (found.min_notional, found.funding_interval_s, found.fees, found.assumed) == (0.0, 0, None, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "suspend"},
        {"state": "preopen"},
        {"ruleType": "pre_market"},
        {"instType": "FUTURES"},
        {"ctType": ""},
        {"ctType": "inverse"},
        {"ctValCcy": "USDT"},
        {"settleCcy": "USDC"},
        {"settleCcy": "USDⓈ"},
        {"uly": ""},
        {"uly": "BTCUSDT"},
        {"uly": "btc-usdt", "ctValCcy": "btc", "settleCcy": "usdt"},
        {"instId": "BTC\x1b-USDT-SWAP"},
        {"instId": ""},
        {"ctVal": ""},
        {"ctVal": "0"},
        {"ctMult": "nan"},
        {"tickSz": "0"},
        {"lotSz": ""},
        {"lotSz": "-1"},
        {"expTime": "soon"},
        {"stk": None},
    ],
    ids=str,
)
def test_what_does_not_trade_or_cannot_be_understood_is_left_out(changes: dict[str, object]) -> None:
    good = row(instId="ETH-USDT-SWAP", uly="ETH-USDT", ctValCcy="ETH")
    assert [found.native for found in listed("SWAP", row(**changes), good, 5, None)] == ["ETH-USDT-SWAP"]


@pytest.mark.parametrize(
    "changes", [{"expTime": ""}, {"expTime": "0"}, {"stk": "1"}, {"expTime": "4102444799000000"}, {"expTime": "-5"}], ids=str
)
def test_a_dated_contract_without_its_date_is_left_out(changes: dict[str, object]) -> None:
    assert listed("FUTURES", {**LINEAR_ROW, **changes}) == []


def test_an_option_without_its_strike_is_not_taken_for_a_future() -> None:
    assert listed("OPTION", {**OPTION_ROW, "stk": "", "optType": ""}) == []


def test_of_two_contracts_with_one_name_the_swap_is_kept() -> None:
    swap = row(instId="BTC-USD_UM-SWAP", settleCcy="USD", uly="BTC-USD", instFamily="BTC-USD_UM")
    lists = {"instruments:FUTURES": [XPERP_ROW], "instruments:SWAP": [swap]}
    answers = {key: json.dumps({"code": "0", "data": rows}).encode() for key, rows in lists.items()}
    assert [found.native for found in VENUE.instruments(answers)] == ["BTC-USD_UM-SWAP"]


def test_a_refused_list_is_an_error_and_not_an_empty_market() -> None:
    with pytest.raises(BadFrame, match="too many requests: error 50011"):
        listed("SWAP", code="50011", msg="Too Many Requests\x1b")
    with pytest.raises(DECODE_ERRORS):
        VENUE.instruments({"instruments:SWAP": b"<html>403</html>"})
    with pytest.raises(DECODE_ERRORS):
        listed("SWAP", data={})
    assert VENUE.instruments({"depth:BTC-USDT": b"nonsense"}) == []


@pytest.mark.parametrize(
    ("url", "catalogue", "snapshot"),
    [
        ("https://www.okx.com/api/v5/public/instruments?instType=SWAP", "instruments:SWAP", None),
        ("https://www.okx.com/api/v5/public/instruments?instType=OPTION&uly=BTC-USD", "instruments:OPTION:BTC-USD", None),
        ("https://www.okx.com/api/v5/public/instruments?instType=MARGIN", None, None),
        ("https://www.okx.com/api/v5/public/instruments", None, None),
        ("https://www.okx.com/api/v5/market/books?instId=BTC-USDT-SWAP&sz=400", None, "depth:BTC-USDT-SWAP"),
        ("https://www.okx.com/api/v5/market/books", None, None),
        ("https://www.okx.com/api/v5/market/trades?instId=BTC-USDT", None, None),
    ],
)
def test_a_recorded_request_is_recognised_by_its_url(url: str, catalogue: str | None, snapshot: str | None) -> None:
    assert VENUE.catalogue_key(url) == catalogue
    assert VENUE.snapshot_key(url) == snapshot


def test_the_catalogue_asks_for_each_kind_and_its_answers_are_found_again() -> None:
    fetches = VENUE.catalogue()
    assert [fetch.key for fetch in fetches] == ["instruments:SPOT", "instruments:SWAP", "instruments:FUTURES"]
    assert [VENUE.catalogue_key("https://www.okx.com" + fetch.path) for fetch in fetches] == [fetch.key for fetch in fetches]
    assert {fetch.market for fetch in fetches} == set(Okx.endpoints) == {"public"}
    assert VENUE.next_page("instruments:SPOT", b"") is None


def test_the_venues_time_is_asked_for_and_read_and_a_refusal_is_none() -> None:
    assert VENUE.clock("public") == Fetch("clock:public", "/api/v5/public/time", 1, 1, "public")
    assert VENUE.server_ns(b'{"code":"0","data":[{"ts":"1597026383085"}],"msg":""}') == 1_597_026_383_085 * MS
    with pytest.raises(BadFrame, match="50011"):
        VENUE.server_ns(b'{"code":"50011","msg":"Too Many Requests","data":[]}')
    for other in (b"{}", b'{"code":"0","data":[{"ts":"0"}]}', b'{"code":"0","data":[{"ts":"9e30"}]}', b'{"code":"0","data":[]}'):
        with pytest.raises((*DECODE_ERRORS, BadFrame)):
            VENUE.server_ns(other)


def test_the_terms_stay_below_what_the_venue_allows() -> None:
    terms = VENUE.terms("public")
    assert (terms.rest, terms.pool, terms.weight_per_minute) == ("https://www.okx.com", "okx", 10 * 30)
    assert (terms.lives_ns, terms.connects_per_minute) == (0, 6)


def test_a_rest_answer_of_nothing_asked_for_is_nobodys() -> None:
    at = synced()
    for key in ("instruments:SWAP", "depth:NOBODY", "depth:ETH-USDT-SWAP", "depth:BTC-USDT-SWAP"):
        assert at.session.answer(key, b"nonsense", at.now) == NOTHING


def test_nothing_readable_is_left_after_the_connection_has_gone() -> None:
    at = synced()
    at.session.closed("1006", at.now)
    assert not at.book().published
    assert at.status(BOOK_STREAM) == Status(LinkState.DOWN, BookState.EMPTY, "1006")
