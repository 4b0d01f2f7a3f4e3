"""BitMEX: recorded rows field by field, books by id in both eras of prices, lists, hostile frames. Rows: protocols.md 5.3."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from feeds import symbols
from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.health import HealthBoard
from feeds.model import (
    MS,
    SECOND,
    BookState,
    Channel,
    Contract,
    Fees,
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
    Stats24h,
    Status,
    Stream,
    Trade,
)
from feeds.orderbook import OrderBook
from feeds.session import TAPE
from feeds.venue import NOTHING, Action, Drop, Endpoint, FetchError, Plan, Send
from feeds.venues.bitmex import CATALOGUE_KEY, CLOSED, IDS_KEPT, Bitmex, BitmexSession
from tests.unit.test_bybit import Heard

HERE = Bitmex({"public": Endpoint("http://127.0.0.1:1", "ws://127.0.0.1:1")})
"""Not the real host: that one is closed."""
START: Ns = 1_732_436_782_000 * MS


def ns(text: str) -> Ns:
    return round(datetime.fromisoformat(text).timestamp() * 1_000) * MS


def instrument(id_: str, native: str, contract_size: float = 1.0, **more: Any) -> Instrument:
    parts = symbols.parse(id_)
    return Instrument(
        id=id_,
        venue="BITMEX",
        market="public",
        native=native,
        base=parts.base,
        quote=parts.quote,
        settle=parts.settle,
        kind=parts.kind,
        contract=parts.contract,
        contract_size=contract_size,
        tick=0.5,
        lot=100.0,
        expiry_ns=symbols.expiry_ns(parts),
        **more,
    )


XBTUSD = instrument("BITMEX:BTC/USD:BTC", "XBTUSD", funding_interval_s=28_800)
UNI = instrument("BITMEX:UNI/USDT:BTC", "UNIUSDT", 1e-5, funding_interval_s=28_800)
DOT = instrument("BITMEX:DOT/USDT:USDT", "DOTUSDT", 1e-4)
DATED = instrument("BITMEX:BTC/USD:BTC-261225", "XBTZ26")
SPOT = instrument("BITMEX:BTC/USDT", "XBT_USDT", 1e-8)
INSTRUMENTS = {each.id: each for each in (XBTUSD, UNI, DOT, DATED, SPOT)}
BOOK_STREAM = Stream(XBTUSD.id, Channel.BOOK)


@dataclass
class Desk:
    """A session with what it was told, and a clock that only the test moves."""

    session: BitmexSession
    heard: Heard
    board: HealthBoard
    now: Ns = START

    def send(self, frame: str | bytes | Mapping[str, object]) -> Sequence[Action]:
        if not isinstance(frame, (str, bytes)):
            frame = json.dumps(frame, separators=(",", ":"))
        self.now += MS
        return self.session.frame(frame.encode() if isinstance(frame, str) else frame, self.now)

    def book(self, of: Instrument = XBTUSD) -> OrderBook:
        return self.session.books[of.id]

    def status(self, stream: Stream = BOOK_STREAM) -> Status:
        return next(status for told, status in reversed(self.heard.statuses) if told == stream)


def desk(*instruments: Instrument, channels: Sequence[Channel] | None = None, acknowledges: bool = True) -> Desk:
    streams = [Stream(each.id, channel) for each in instruments for channel in channels or HERE.channels(each)]
    heard, board = Heard(), HealthBoard()
    (plan,) = HERE.plan(streams, INSTRUMENTS)
    session = HERE.session(plan, INSTRUMENTS, heard, board)
    assert isinstance(session, BitmexSession)
    for action in session.opened(START):
        assert isinstance(action, Send)
        if acknowledges:
            acknowledge(session, action, START)
    return Desk(session, heard, board)


def acknowledge(session: BitmexSession, request: Send, now: Ns) -> None:
    message = json.loads(request.text)
    for topic in message["args"]:
        session.frame(json.dumps({"success": True, message["op"]: topic, "request": message}).encode(), now)


def rows(table: str, action: str, *data: Mapping[str, object], symbol: str = "XBTUSD", **more: object) -> dict[str, object]:
    return {"table": table, "action": action, **more, "data": [{"symbol": symbol, **row} for row in data]}


def level(id_: int, side: str, size: float | None = None, price: float | None = None, **more: object) -> dict[str, object]:
    row: dict[str, object] = {"id": id_, "side": side, **more}
    if size is not None:
        row["size"] = size
    if price is not None:
        row["price"] = price
    return row


def book(action: str, *data: Mapping[str, object], symbol: str = "XBTUSD", table: str = "orderBookL2") -> dict[str, object]:
    return rows(table, action, *data, symbol=symbol)


PARTIAL = book(
    "partial",
    level(30, "Sell", 300, 102.0),
    level(20, "Sell", 200, 101.0),
    level(10, "Buy", 100, 100.0),
    level(5, "Buy", 50, 99.0),
)
LEVELS = ([(100.0, 100.0), (99.0, 50.0)], [(101.0, 200.0), (102.0, 300.0)])

# --- recorded frames and rows of protocols.md 5.1 and 5.3 -----------------------------------------------------------------------

WELCOME = (
    '{"info":"Welcome to the BitMEX Realtime API.","version":"2021-07-14T01:26:29.000Z","timestamp":"2021-07-22T22:36:07.865Z",'
    '"docs":"https://www.bitmex.com/app/wsAPI","limit":{"remaining":39}}'
)
ACK = (
    '{"success":true,"subscribe":"orderBookL2:XBTUSD","request":{"op":"subscribe","args":["orderBookL2:XBTUSD","trade:XBTUSD"]}}'
)
ERROR = '{"status":400,"error":"Unknown table: orderBookL3","meta":{},"request":{"op":"subscribe","args":["orderBookL2:XBTUSD"]}}'
LEVEL_2024 = (
    '{"symbol":"XBTUSD","id":62400580205,"side":"Sell","size":33000,"price":98459.9,"timestamp":"2024-11-24T08:26:22.356Z",'
    '"transactTime":"2024-11-24T08:26:22.275Z"}'
)
TRADE_2024 = (
    '{"timestamp":"2024-11-24T08:15:38.704Z","symbol":"XBTUSD","side":"Sell","size":100,"price":98570.9,"tickDirection":'
    '"ZeroPlusTick","trdMatchID":"00000000-006d-1000-0000-000e8737d536","grossValue":101450,"homeNotional":0.0010145,'
    '"foreignNotional":100.0,"trdType":"Regular"}'
)
TRADE_2021 = (
    '{"timestamp":"2021-07-22T22:36:10.014Z","symbol":"UNIUSDT","side":"Buy","size":52,"price":17.297,"tickDirection":"PlusTick",'
    '"trdMatchID":"39744121-c20e-44ba-8cc8-a6b8cdf72885","grossValue":899444,"homeNotional":16.73101673101673,'
    '"foreignNotional":289.39639639639637}'
)
FUNDING_2024 = (
    '{"timestamp":"2024-11-25T04:00:00.000Z","symbol":"XBTUSD","fundingInterval":"2000-01-01T08:00:00.000Z","fundingRate":0.0001,'
    '"fundingRateDaily":0.0003}'
)
MARK_2026 = (
    '{"symbol":"DOTUSDT","openValue":538432500000,"fairPrice":1.2669,"markPrice":1.2669,"timestamp":"2026-05-27T12:56:40.500Z"}'
)
INDEX_2026 = '{"symbol":"XBTUSD","indicativeSettlePrice":75847.62,"timestamp":"2026-05-27T11:00:00.500Z"}'
PARTIAL_2021 = (
    '{"table":"orderBookL2_25","action":"partial","keys":["symbol","id","side"],"types":{"symbol":"symbol","id":"long","side":'
    '"symbol","size":"long","price":"float"},"foreignKeys":{"symbol":"instrument","side":"side"},"attributes":{"symbol":"parted",'
    '"id":"sorted"},"filter":{"symbol":"XBTUSD"},"data":[{"symbol":"XBTUSD","id":8795192450,"side":"Sell","size":5000,"price":'
    "48075.5}]}"
)
QUOTE_2021 = (
    '{"timestamp":"2021-07-22T22:36:10.014Z","symbol":"UNIUSDT","bidSize":750,"bidPrice":17.277,"askPrice":17.297,"askSize":123}'
)
LIQUIDATION = '{"orderID":"dd9cea25-207c-0dab-15b5-b88da776f500","symbol":"XBTUSD","side":"Buy","price":10106,"leavesQty":9214}'
GONE = '{"orderID":"dd9cea25-207c-0dab-15b5-b88da776f500","symbol":"XBTUSD"}'
INSTRUMENT_2024: dict[str, object] = {
    "symbol": "XBTUSD",
    "rootSymbol": "XBT",
    "state": "Open",
    "typ": "FFWCSX",
    "positionCurrency": "USD",
    "underlying": "XBT",
    "quoteCurrency": "USD",
    "referenceSymbol": ".BXBT",
    "lotSize": 100,
    "tickSize": 0.1,
    "multiplier": -100000000,
    "settlCurrency": "XBt",
    "underlyingToSettleMultiplier": -100000000,
    "isQuanto": False,
    "isInverse": True,
    "makerFee": 0.0005,
    "takerFee": 0.0005,
    "fundingTimestamp": "2024-11-25T04:00:00.000Z",
    "fundingInterval": "2000-01-01T08:00:00.000Z",
    "fundingRate": 0.00011,
    "indicativeFundingRate": 0.000125,
    "volume24h": 419742700,
    "turnover24h": 431762899194,
    "homeNotional24h": 4317.62899194,
    "foreignNotional24h": 419742700,
    "openInterest": 411647400,
    "openValue": 420691293378,
    "fairPrice": 97849.76,
    "markPrice": 97849.76,
    "indicativeSettlePrice": 97843.77,
    "timestamp": "2024-11-24T23:33:19.034Z",
    "minTick": 0.01,
    "limitUpPrice": None,
}


def of_table(table: str, action: str, *data: str) -> str:
    return f'{{"table":"{table}","action":"{action}","data":[{",".join(data)}]}}'


def test_a_recorded_level_carries_its_price_its_size_in_contracts_and_the_engines_time() -> None:
    at = desk(XBTUSD, channels=[Channel.BOOK])
    at.send(PARTIAL)
    assert at.send(of_table("orderBookL2", "insert", LEVEL_2024)) is NOTHING
    assert at.book().levels(9) == (LEVELS[0], [*LEVELS[1], (98459.9, 33000.0)])
    when = ns("2024-11-24T08:26:22.275+00:00")
    assert (at.book().venue_ns, at.book().recv_ns, at.book().seq) == (when, at.now, 1)
    assert (at.book().leg.raw_ns, at.book().leg.fresh) == (at.now - when, True)
    assert XBTUSD.to_quote(33000.0, 98459.9) == 33000.0
    assert XBTUSD.to_base(33000.0, 98459.9) == pytest.approx(0.335162, rel=1e-6)


def test_a_recorded_partial_of_25_levels_feeds_the_book_without_a_time() -> None:
    at = desk(XBTUSD, channels=[Channel.BOOK])
    assert at.send(PARTIAL_2021) is NOTHING
    assert at.book().levels(9) == ([], [(48075.5, 5000.0)])
    assert (at.book().published, at.book().venue_ns, at.book().leg.fresh) == (True, 0, False)
    assert at.status() == Status(LinkState.READY, BookState.SYNCED)


def test_of_two_tables_the_first_that_is_heard_feeds_the_book() -> None:
    at = desk(XBTUSD, channels=[Channel.BOOK])
    at.send({**PARTIAL, "table": "orderBookL2_25"})
    at.send(book("partial", level(1, "Buy", 1, 50.0)))
    assert at.book().levels(9) == LEVELS
    assert at.board.ignored == 1
    (send,) = at.session.resubscribe([BOOK_STREAM])[1:]
    assert json.loads(send.text)["args"] == ["orderBookL2_25:XBTUSD"]  # type: ignore[union-attr]


def test_recorded_trades_carry_the_takers_side_and_contracts() -> None:
    at = desk(XBTUSD, UNI)
    at.send(of_table("trade", "insert", TRADE_2024))
    at.send(of_table("trade", "insert", TRADE_2021))
    assert at.heard.trades == [
        (
            XBTUSD,
            Trade(98570.9, 100.0, "sell", ns("2024-11-24T08:15:38.704+00:00"), "00000000-006d-1000-0000-000e8737d536", False),
        ),
        (UNI, Trade(17.297, 52.0, "buy", ns("2021-07-22T22:36:10.014+00:00"), "39744121-c20e-44ba-8cc8-a6b8cdf72885", False)),
    ]
    assert XBTUSD.to_base(100.0, 98570.9) == pytest.approx(0.0010145, rel=1e-5)


def test_the_trades_of_a_partial_have_been_before_and_are_not_told() -> None:
    at = desk(XBTUSD)
    at.send(of_table("trade", "partial", TRADE_2024))
    assert at.heard.trades == []
    assert at.board.stream(Stream(XBTUSD.id, Channel.TRADE)).frames == 1


def test_a_trade_that_is_not_regular_did_not_touch_the_book() -> None:
    at = desk(XBTUSD)
    at.send(of_table("trade", "insert", TRADE_2024.replace("Regular", "Settlement")))
    assert at.heard.trades[0][1].block


def test_a_recorded_mark_and_a_recorded_index_are_told_as_such() -> None:
    at = desk(XBTUSD, DOT)
    at.send(of_table("instrument", "update", MARK_2026))
    at.send(of_table("instrument", "update", INDEX_2026))
    assert at.heard.metrics == [
        Mark(1.2669, ns("2026-05-27T12:56:40.500+00:00")),
        Index(75847.62, ns("2026-05-27T11:00:00.500+00:00")),
    ]


def test_a_recorded_instrument_yields_every_metric() -> None:
    at = desk(XBTUSD)
    at.send({"table": "instrument", "action": "partial", "filter": {"symbol": "XBTUSD"}, "data": [INSTRUMENT_2024]})
    when, next_ns = ns("2024-11-24T23:33:19.034+00:00"), ns("2024-11-25T04:00:00+00:00")
    assert at.heard.metrics == [
        Mark(97849.76, when),
        Index(97843.77, when),
        Funding(0.00011, 28_800, next_ns, when),
        OpenInterest(411647400.0, when),
        Stats24h(4317.62899194, 419742700.0, when),
    ]


WHEN = "2024-11-24T23:33:20.000Z"
AT = ns("2024-11-24T23:33:20+00:00")
NEXT = ns("2024-11-25T04:00:00+00:00")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"markPrice": 97850.0}, [Mark(97850.0, AT), Index(97843.77, AT)]),
        ({"markPrice": None}, [Index(97843.77, AT)]),
        ({"indicativeSettlePrice": None}, [Mark(97849.76, AT)]),
        ({"fundingRate": 0.0002}, [Funding(0.0002, 28_800, NEXT, AT)]),
        ({"fundingRate": 0.0}, [Funding(0.0, 28_800, NEXT, AT)]),
        ({"fundingRate": None}, []),
        ({"fundingTimestamp": "2024-11-25T12:00:00.000Z"}, [Funding(0.00011, 28_800, NEXT + 28_800 * SECOND, AT)]),
        ({"fundingTimestamp": None}, [Funding(0.00011, 28_800, 0, AT)]),
        ({"fundingInterval": "2000-01-01T04:00:00.000Z"}, [Funding(0.00011, 14_400, NEXT, AT)]),
        ({"fundingInterval": "2026-01-01T04:00:00.000Z"}, []),
        ({"openInterest": 5}, [OpenInterest(5.0, AT)]),
        ({"openInterest": 411647400}, []),
        ({"openInterest": None}, []),
        ({"foreignNotional24h": 1}, [Stats24h(4317.62899194, 1.0, AT)]),
        ({"homeNotional24h": None}, []),
        ({"lastPrice": 97900}, []),
    ],
    ids=str,
)
def test_a_row_changes_what_it_mentions_and_null_is_no_longer_known(change: dict[str, object], expected: list[Metric]) -> None:
    at = desk(XBTUSD)
    at.send({"table": "instrument", "action": "partial", "data": [INSTRUMENT_2024]})
    at.heard.metrics.clear()
    at.send(rows("instrument", "update", {**change, "timestamp": WHEN}))
    assert at.heard.metrics == expected


def test_a_row_without_news_says_after_a_second_that_mark_and_index_hold() -> None:
    at = desk(XBTUSD)
    at.send({"table": "instrument", "action": "partial", "data": [INSTRUMENT_2024]})
    at.heard.metrics.clear()
    at.now += SECOND
    at.send(rows("instrument", "update", {"lastPrice": 1, "timestamp": WHEN}))
    assert at.heard.metrics == [Mark(97849.76, AT), Index(97843.77, AT)]


def test_a_dated_contract_has_no_funding() -> None:
    at = desk(DATED)
    at.send(rows("instrument", "partial", {"markPrice": 90000, "fundingRate": 0.1, "timestamp": WHEN}, symbol="XBTZ26"))
    at.send(of_table("funding", "partial", FUNDING_2024.replace("XBTUSD", "XBTZ26")))
    assert at.heard.metrics == [Mark(90000.0, AT)]


def test_a_recorded_payment_of_funding_tells_rate_interval_and_time_but_no_next_one() -> None:
    at = desk(XBTUSD)
    at.send(of_table("funding", "partial", FUNDING_2024))
    assert at.heard.metrics == [Funding(0.0001, 28_800, 0, ns("2024-11-25T04:00:00+00:00"))]


def test_a_payment_never_replaces_the_rate_to_come() -> None:
    at = desk(XBTUSD)
    at.send({"table": "instrument", "action": "partial", "data": [INSTRUMENT_2024]})
    at.heard.metrics.clear()
    at.send(of_table("funding", "insert", FUNDING_2024))
    assert at.heard.metrics == []


@pytest.mark.parametrize(("side", "position"), [("Buy", "short"), ("Sell", "long")])
def test_a_recorded_liquidation_names_the_position_not_the_order(side: str, position: str) -> None:
    at = desk(XBTUSD)
    at.send(of_table("liquidation", "insert", LIQUIDATION.replace('"Buy"', f'"{side}"')))
    (told,) = at.heard.metrics
    assert isinstance(told, Liquidation)
    assert (told.position, told.price, told.size, told.venue_ns) == (position, 10106.0, 9214.0, 0)


def test_the_list_of_liquidations_tells_each_order_once_and_what_it_grows_by() -> None:
    at = desk(XBTUSD)

    def told(action: str, *data: str) -> list[tuple[float, float]]:
        at.heard.metrics.clear()
        at.send(of_table("liquidation", action, *data))
        return [(each.price, each.size) for each in at.heard.of(Liquidation)]

    first = '{"orderID":"a","symbol":"XBTUSD",'
    assert told("partial", LIQUIDATION) == []  # they began before we came
    assert told("insert", LIQUIDATION) == []
    assert told("insert", first + '"side":"Sell","price":10,"leavesQty":5}') == [(10.0, 5.0)]
    assert told("update", first + '"leavesQty":3}') == []
    assert told("update", first + '"price":9}') == []
    assert told("update", first + '"leavesQty":10}') == [(9.0, 7.0)]
    assert told("delete", first[:-1] + "}", GONE) == []
    assert told("update", first + '"side":"Sell","price":10,"leavesQty":99}') == []  # of an order that is not in the list
    assert told("insert", LIQUIDATION) == [(10106.0, 9214.0)]
    at.send({"table": "liquidation", "action": "partial", "filter": {"symbol": "XBTUSD"}, "data": []})
    assert told("insert", LIQUIDATION) == [(10106.0, 9214.0)]  # the list of before is no longer the list


def test_an_order_list_cannot_grow_for_ever() -> None:
    at = desk(XBTUSD)
    for number in range(21):
        data = [
            f'{{"orderID":"{number}-{each}","symbol":"XBTUSD","side":"Buy","price":1,"leavesQty":1}}' for each in range(1_000)
        ]
        at.send(of_table("liquidation", "insert", *data))
    assert sum(map(len, at.session._orders.values())) <= 10_000


def test_a_quote_is_a_sign_of_life_and_never_lies_over_the_book() -> None:
    at = desk(UNI)
    at.send(book("partial", level(1, "Buy", 9, 17.2), level(2, "Sell", 9, 17.3), symbol="UNIUSDT"))
    at.heard.books.clear()
    at.send(of_table("quote", "insert", QUOTE_2021))
    assert at.session.pulse.last_ns == at.now
    assert (at.book(UNI).bid, at.book(UNI).ask, at.book(UNI).touch_seq) == (17.2, 17.3, -1)
    assert (at.heard.touches, at.heard.books) == ([], [])


@pytest.mark.parametrize("frame", [WELCOME, ACK, "pong", '{"success":true,"unsubscribe":"trade:XBTUSD"}'])
def test_what_is_no_market_data_is_no_sign_of_data(frame: str) -> None:
    at = desk(XBTUSD)
    assert at.send(frame) is NOTHING
    assert at.session.pulse.last_ns == START
    assert at.session.link is LinkState.NOT_READY
    assert at.board.ignored == 0


def test_blanks_and_another_order_of_keys_do_not_hide_a_frame() -> None:
    at = desk(XBTUSD, channels=[Channel.BOOK])
    at.send(json.dumps(PARTIAL, indent=1))
    at.send({key: book("update", level(10, "Buy", 7))[key] for key in ("data", "action", "table")})
    assert at.book().best_of_levels()[0] == (100.0, 7.0)


# --- books by id ----------------------------------------------------------------------------------------------------------------


def synced(*channels: Channel) -> Desk:
    at = desk(XBTUSD, channels=channels or [Channel.BOOK, Channel.TRADE])
    at.send(PARTIAL)
    assert at.book().levels(9) == LEVELS
    return at


def fallen(at: Desk, actions: Sequence[Action], reason: str) -> bool:
    """Whether the book fell for `reason` and a fresh partial was asked for."""
    asked = [json.loads(action.text) for action in actions if isinstance(action, Send)]
    return (
        asked == [{"op": op, "args": ["orderBookL2:XBTUSD"]} for op in ("unsubscribe", "subscribe")]
        and at.book().state is BookState.BUFFERING
        and at.book().reason == reason
        and at.book().levels(9) == ([], [])
    )


def test_of_2021_an_update_and_a_deletion_find_their_price_by_id() -> None:
    at = synced()
    at.send(book("update", level(20, "Sell", 7), level(5, "Buy", 8)))
    at.send(book("delete", level(10, "Buy")))
    at.send(book("insert", level(12, "Buy", 1, 100.5)))
    assert at.book().levels(9) == ([(100.5, 1.0), (99.0, 8.0)], [(101.0, 7.0), (102.0, 300.0)])
    assert at.book().seq == 3


def test_since_2023_every_row_names_its_price_and_may_move_a_level() -> None:
    at = synced()
    at.send(book("update", level(20, "Sell", 7, 101.0), level(30, "Sell", 9, 101.5)))
    at.send(book("delete", level(10, "Buy", None, 100.0)))
    assert at.book().levels(9) == ([(99.0, 50.0)], [(101.0, 7.0), (101.5, 9.0)])
    at.send(book("insert", level(77, "Sell", 4, 102.0)))
    assert at.book().levels(9)[1] == [(101.0, 7.0), (101.5, 9.0), (102.0, 4.0)]


def test_a_price_is_free_again_once_its_level_is_gone_or_has_moved() -> None:
    at = synced()
    at.send(book("delete", level(10, "Buy")))
    at.send(book("insert", level(11, "Buy", 4, 100.0)))
    at.send(book("update", level(20, "Sell", 7, 101.5)))
    at.send(book("insert", level(21, "Sell", 8, 101.0)))
    assert at.book().levels(9) == ([(100.0, 4.0), (99.0, 50.0)], [(101.0, 8.0), (101.5, 7.0), (102.0, 300.0)])


def test_ids_in_no_order_give_levels_in_the_order_of_prices() -> None:
    at = desk(XBTUSD, channels=[Channel.BOOK])
    at.send(book("partial", *(level(id_, "Buy", 1, price) for id_, price in ((9, 3.0), (1, 2.0), (5, 4.0)))))
    assert at.book().levels(9)[0] == [(4.0, 1.0), (3.0, 1.0), (2.0, 1.0)]


def test_one_id_on_both_sides_is_two_levels() -> None:
    """Before 2023 a price had one id, whichever side it was on."""
    at = synced()
    at.send(book("delete", level(10, "Buy")))
    at.send(book("insert", level(10, "Sell", 6, 100.0)))
    assert at.book().best_of_levels() == ((99.0, 50.0), (100.0, 6.0))
    at.send(book("delete", level(10, "Sell")))
    assert at.book().best_of_levels() == ((99.0, 50.0), (101.0, 200.0))


@pytest.mark.parametrize(
    "frame",
    [
        book("update", level(11, "Buy", 7)),
        book("update", level(11, "Buy", 7, 100.0)),
        book("update", level(10, "Sell", 7)),
        book("delete", level(11, "Buy")),
        book("delete", level(10, "Sell")),
        book("insert", level(10, "Buy", 7, 100.0)),
        book("insert", level(11, "Buy", 7, 100.0)),
        book("update", level(10, "Buy", 7, 99.0)),
        book("update", level(5, "Buy", 7), level(11, "Buy", 7)),
    ],
    ids=[
        "update of an unknown id",
        "update of an unknown id at a known price",
        "update on the other side",
        "deletion of an unknown id",
        "deletion on the other side",
        "insertion of a known id",
        "insertion at a price that is there",
        "move to a price that is there",
        "the second row",
    ],
)
def test_an_id_that_is_not_what_the_rows_before_made_of_it_is_a_gap(frame: dict[str, object]) -> None:
    at = synced()
    before = len(at.heard.books)
    assert fallen(at, at.send(frame), "gap")
    assert len(at.heard.books) == before
    assert at.board.stream(BOOK_STREAM).gaps == 1
    at.send(book("update", level(5, "Buy", 7)))
    assert not at.book().published
    at.send(PARTIAL)
    assert at.book().levels(9) == LEVELS


def test_what_comes_before_the_partial_is_ignored() -> None:
    at = desk(XBTUSD, channels=[Channel.BOOK])
    assert at.send(book("insert", level(1, "Buy", 1, 1.0))) is NOTHING
    assert at.send(book("delete", level(1, "Buy"))) is NOTHING
    assert (at.book().state, at.heard.books) == (BookState.BUFFERING, [])
    assert at.board.stream(BOOK_STREAM).ignored == 2
    at.send(PARTIAL)
    assert at.book().levels(9) == LEVELS


def test_a_second_partial_replaces_the_book_and_its_ids() -> None:
    at = synced()
    at.send(book("partial", level(1, "Buy", 3, 98.0)))
    assert at.book().levels(9) == ([(98.0, 3.0)], [])
    assert fallen(at, at.send(book("update", level(10, "Buy", 7))), "gap")


def test_an_empty_partial_is_an_empty_book() -> None:
    at = synced()
    at.send({"table": "orderBookL2", "action": "partial", "filter": {"symbol": "XBTUSD"}, "data": []})
    assert (at.book().published, at.book().levels(9)) == (True, ([], []))


def test_a_frame_of_several_symbols_reaches_each_book() -> None:
    at = desk(XBTUSD, UNI, channels=[Channel.BOOK])
    data = [
        {"symbol": symbol, **level(1, "Buy", 1, price)} for symbol, price in (("XBTUSD", 5.0), ("XBTM21", 6.0), ("UNIUSDT", 7.0))
    ]
    at.send({"table": "orderBookL2", "action": "partial", "data": data})
    assert (at.book().bid, at.book(UNI).bid) == (5.0, 7.0)
    assert at.board.ignored == 1


def test_a_book_cannot_grow_for_ever() -> None:
    at = synced()
    first = [level(1_000 + step, "Buy", 1, 1.0 + step / 1e6) for step in range(IDS_KEPT - 2)]
    assert at.send(book("insert", *first)) is NOTHING
    assert at.book().published
    assert fallen(at, at.send(book("insert", level(1, "Buy", 1, 0.5))), "gap")


def test_a_second_gap_within_two_seconds_waits() -> None:
    at = synced()
    assert at.send(book("delete", level(11, "Buy")))
    at.send(PARTIAL)
    assert at.send(book("delete", level(11, "Buy"))) == NOTHING
    assert not at.book().published
    at.now += 2 * SECOND
    assert any(isinstance(action, Send) for action in at.session.wake(at.now))


def test_nothing_of_a_connection_outlives_it() -> None:
    at = synced()
    at.session.closed("lost", at.now)
    assert at.book().state is BookState.EMPTY
    later = desk(XBTUSD, channels=[Channel.BOOK])
    assert later.send(book("update", level(10, "Buy", 7))) is NOTHING
    assert later.book().state is BookState.BUFFERING


def test_after_the_link_was_given_up_nothing_brings_a_book_back() -> None:
    at = synced()
    at.now += 5 * SECOND
    (drop,) = at.session.wake(at.now)
    assert isinstance(drop, Drop)
    assert at.send(PARTIAL) is NOTHING
    assert not at.book().published


def test_a_restored_book_goes_on_where_rows_name_their_price() -> None:
    at = synced()
    (checkpoint,) = at.session.checkpoints()
    alone = desk(XBTUSD, channels=[Channel.BOOK])
    alone.session.restore(checkpoint, START)
    assert alone.book().levels(9) == LEVELS
    alone.send(book("update", level(10, "Buy", 7, 100.0)))
    alone.send(book("update", level(10, "Buy", 8)))
    alone.send(book("delete", level(20, "Sell", None, 101.0)))
    assert alone.book().levels(9) == ([(100.0, 8.0), (99.0, 50.0)], [(102.0, 300.0)])


def test_a_restored_book_falls_rather_than_guess_a_price_by_an_id() -> None:
    at = synced()
    (checkpoint,) = at.session.checkpoints()
    alone = desk(XBTUSD, channels=[Channel.BOOK])
    alone.session.restore(checkpoint, START)
    assert fallen(alone, alone.send(book("update", level(10, "Buy", 7))), "gap")


def test_a_restored_price_belongs_to_one_id() -> None:
    at = synced()
    (checkpoint,) = at.session.checkpoints()
    alone = desk(XBTUSD, channels=[Channel.BOOK])
    alone.session.restore(checkpoint, START)
    alone.send(book("update", level(10, "Buy", 7, 100.0)))
    assert fallen(alone, alone.send(book("update", level(11, "Buy", 8, 100.0))), "gap")


def test_a_checkpoint_does_not_replace_a_book_that_is_whole() -> None:
    at = synced()
    (checkpoint,) = at.session.checkpoints()
    at.session.restore(checkpoint, at.now)
    assert fallen(at, at.send(book("update", level(11, "Buy", 7, 100.0))), "gap")  # its ids are still held to


# --- contradiction --------------------------------------------------------------------------------------------------------------


def quote(bid: float | None, ask: float | None) -> dict[str, object]:
    return rows("quote", "insert", {"timestamp": WHEN, "bidPrice": bid, "bidSize": 1, "askPrice": ask, "askSize": 1})


def settled(at: Desk, ns_: Ns = 2 * SECOND) -> Sequence[Action]:
    """Time goes by while another instrument keeps the link alive."""
    at.now += ns_
    at.session.pulse.last_ns = at.now
    return at.session.wake(at.now)


def test_a_book_that_differs_from_a_quote_for_two_still_seconds_is_fetched_anew() -> None:
    at = synced(Channel.BOOK, Channel.TOUCH)
    at.send(quote(100.5, 101.0))
    assert settled(at, 1_900 * MS) is NOTHING
    assert fallen(at, settled(at, 200 * MS), TAPE)


@pytest.mark.parametrize(("bid", "ask"), [(100.0, 101.0)])
def test_a_book_that_agrees_with_its_quote_stands(bid: float, ask: float) -> None:
    at = synced(Channel.BOOK, Channel.TOUCH)
    at.send(quote(bid, ask))
    assert settled(at) is NOTHING
    assert at.book().published


def test_a_quote_without_a_book_contradicts_nothing() -> None:
    at = desk(XBTUSD, channels=[Channel.TOUCH])
    at.send(quote(100.0, 101.0))
    assert settled(at) is NOTHING


def test_an_empty_side_of_the_quote_is_one_of_the_book() -> None:
    at = synced(Channel.BOOK, Channel.TOUCH)
    at.send(book("delete", level(20, "Sell"), level(30, "Sell")))
    at.send(quote(100.0, None))
    assert settled(at) is NOTHING
    assert at.book().published
    at.send(quote(100.0, 101.0))
    assert fallen(at, settled(at), TAPE)


def test_a_book_that_moves_is_not_judged_by_an_old_quote() -> None:
    at = synced(Channel.BOOK, Channel.TOUCH)
    at.send(quote(100.5, 101.0))
    for size in range(5):
        assert settled(at, 1_500 * MS) is NOTHING
        at.send(book("update", level(10, "Buy", size + 1)))
    assert at.book().published


def test_a_still_book_is_not_judged_by_a_quote_that_has_just_come() -> None:
    at = synced(Channel.BOOK, Channel.TOUCH)
    assert settled(at, 3 * SECOND) is NOTHING
    at.send(quote(100.5, 101.0))
    assert settled(at, 1_900 * MS) is NOTHING
    assert at.book().published


def test_after_a_standstill_of_ours_an_old_quote_says_nothing() -> None:
    at = synced(Channel.BOOK, Channel.TOUCH)
    at.send(quote(100.5, 101.0))
    at.session.stood_still(at.now, at.now + 5 * SECOND)
    assert settled(at, 6 * SECOND) is NOTHING
    assert at.book().published


def test_trades_outside_the_book_for_two_seconds_resync_it() -> None:
    at = synced()
    actions: Sequence[Action] = NOTHING
    for _ in range(5):
        at.now += 600 * MS
        actions = actions or at.send(of_table("trade", "insert", TRADE_2024))
    assert fallen(at, actions, TAPE)


def test_trades_between_bid_and_ask_or_off_the_book_resync_nothing() -> None:
    for trade in (TRADE_2024.replace("98570.9", "100.5"), TRADE_2024.replace("Regular", "Settlement")):
        at = synced()
        for _ in range(5):
            at.now += 600 * MS
            assert at.send(of_table("trade", "insert", trade)) is NOTHING
        assert at.book().published


def test_a_crossed_book_is_blank_and_fetched_anew_after_half_a_second() -> None:
    at = synced()
    at.send(book("insert", level(40, "Buy", 1, 101.5)))
    assert not at.book().published
    assert fallen(at, settled(at, 500 * MS), "crossed")


# --- hostile frames -------------------------------------------------------------------------------------------------------------

HOSTILE: Sequence[tuple[str, Callable[[], object]]] = [
    ("negative size", lambda: book("update", level(10, "Buy", -1))),
    ("zero price", lambda: book("insert", level(11, "Buy", 1, 0.0))),
    ("no size", lambda: book("insert", level(11, "Buy", None, 5.0))),
    ("no size in an update", lambda: book("update", level(10, "Buy"))),
    ("no price", lambda: book("insert", level(11, "Buy", 1))),
    ("no price in a partial", lambda: book("partial", level(11, "Buy", 1))),
    ("an id twice", lambda: book("partial", level(11, "Buy", 1, 5.0), level(11, "Buy", 1, 6.0))),
    ("a price twice", lambda: book("partial", level(11, "Buy", 1, 5.0), level(12, "Buy", 1, 5.0))),
    ("a side of its own", lambda: book("update", level(10, "Both", 1))),
    ("an action of its own", lambda: book("upsert", level(10, "Buy", 1))),
    ("a text for an id", lambda: {**book("update"), "data": [{"symbol": "XBTUSD", "id": "10", "side": "Buy", "size": 1}]}),
    ("a negative id", lambda: book("delete", level(-1, "Buy"))),
    ("a time before there was a market", lambda: book("update", level(10, "Buy", 1, timestamp="1999-01-01T00:00:00Z"))),
    ("a time without a zone", lambda: book("update", level(10, "Buy", 1, timestamp="2024-01-01T00:00:00"))),
    ("no rows", lambda: {"table": "orderBookL2", "action": "update"}),
    ("two tables", lambda: '{"table":"orderBookL2","table":"trade","action":"update","data":[]}'),
    ("1e400", lambda: '{"table":"orderBookL2","action":"update","data":[{"symbol":"XBTUSD","id":10,"side":"Buy","size":1e400}]}'),
    ("NaN", lambda: '{"table":"orderBookL2","action":"update","data":[{"symbol":"XBTUSD","id":10,"side":"Buy","size":NaN}]}'),
    ("no object", lambda: "[]"),
    ("depth", lambda: '{"table":"orderBookL2","action":"update","data":' + "[" * 5_000),
    ("bad UTF-8", lambda: b'{"table":"orderBookL2","action":"\xff"}'),
    ("a ping", lambda: "ping"),
]


@pytest.mark.parametrize("make", [make for _, make in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_a_hostile_frame_is_refused_and_changes_nothing(make: Callable[[], Any]) -> None:
    at = synced()
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.send(make())
    assert at.book().levels(9) == LEVELS


def test_a_refused_book_frame_starts_its_book_over_and_no_other() -> None:
    at = desk(XBTUSD, UNI, channels=[Channel.BOOK])
    at.send(PARTIAL)
    at.send(book("partial", level(1, "Buy", 1, 5.0), symbol="UNIUSDT"))
    bad = json.dumps(book("update", level(10, "Buy", -1))).encode()
    assert fallen(at, at.session.refused(bad, at.now), "decode")
    assert at.book(UNI).published
    assert at.board.stream(BOOK_STREAM).quarantined == 1


def test_a_refused_frame_of_the_other_depth_leaves_the_book() -> None:
    at = synced()
    bad = json.dumps(book("update", level(10, "Buy", -1), table="orderBookL2_25")).encode()
    assert at.session.refused(bad, at.now) is NOTHING
    assert at.book().published


def test_a_refused_payment_of_funding_leaves_what_the_instrument_told() -> None:
    at = desk(XBTUSD)
    at.send({"table": "instrument", "action": "partial", "data": [INSTRUMENT_2024]})
    bad = b'{"table":"funding","action":"insert","data":[{"symbol":"XBTUSD","fundingRate":99}]}'
    assert at.session.refused(bad, at.now) == NOTHING
    at.heard.metrics.clear()
    at.send(rows("instrument", "update", {"indicativeSettlePrice": 5, "timestamp": WHEN}))
    assert at.heard.metrics == [Mark(97849.76, AT), Index(5.0, AT)]


def test_a_refused_ticker_is_asked_for_anew_since_a_change_may_be_lost() -> None:
    at = desk(XBTUSD)
    at.send({"table": "instrument", "action": "partial", "data": [INSTRUMENT_2024]})
    bad = b'{"table":"instrument","action":"update","data":[{"symbol":"XBTUSD","markPrice":-1}]}'
    sends = [json.loads(action.text) for action in at.session.refused(bad, at.now) if isinstance(action, Send)]
    assert sends == [{"op": op, "args": ["instrument:XBTUSD"]} for op in ("unsubscribe", "subscribe")]
    at.heard.metrics.clear()
    at.send(rows("instrument", "update", {"indicativeSettlePrice": 5, "timestamp": WHEN}))
    assert at.heard.metrics == [Index(5.0, AT)]  # the mark of before is not believed any more


@pytest.mark.parametrize("data", [b'{"table":"nothing","data":[{"symbol":"XBTUSD"}]}', b'{"table":"trade","data":[{}]}'])
def test_a_refused_frame_of_no_stream_asks_for_nothing(data: bytes) -> None:
    at = synced()
    assert at.session.refused(data, at.now) == NOTHING
    assert at.book().published


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"tab', b'{"table":"orderBookL2","act', b'{"tabl\xff":"orderBookL2","data":[]}', b'{"table":"orderBookL2"}'],
)
def test_a_refused_frame_of_nobody_knows_which_book_starts_every_book_over(data: bytes) -> None:
    at = desk(XBTUSD, UNI, channels=[Channel.BOOK])
    at.send(PARTIAL)
    at.send(book("partial", level(1, "Buy", 1, 5.0), symbol="UNIUSDT"))
    assert len(at.session.refused(data, at.now)) == 4  # nothing would prove it lost
    assert not at.book().published
    assert not at.book(UNI).published


def test_a_refused_frame_that_names_its_symbol_alone_starts_that_book_over() -> None:
    at = desk(XBTUSD, UNI, channels=[Channel.BOOK])
    at.send(PARTIAL)
    at.send(book("partial", level(1, "Buy", 1, 5.0), symbol="UNIUSDT"))
    assert fallen(at, at.session.refused(b'{"t\xffble":"orderBookL2","data":[{"symbol":"XBTUSD"}]}', at.now), "decode")
    assert at.book(UNI).published


def test_a_book_of_an_earlier_subscription_is_not_gone_on_with_when_a_later_one_begins() -> None:
    """Two renewals in a row: the partial of the first comes before the second leaves and subscribes again."""
    at = synced()
    at.session.renew_book(XBTUSD.id, at.now)
    at.send(PARTIAL)
    assert at.book().published
    at.send({"success": True, "subscribe": "orderBookL2:XBTUSD", "request": {}})
    at.send(book("update", level(10, "Buy", 77)))
    assert not at.book().published
    at.send(PARTIAL)
    assert at.book().levels(9) == LEVELS


@pytest.mark.parametrize("name", [b"orderB\xffokL2", b"", b"orderBook L2"])
def test_a_table_whose_name_is_garbled_is_refused_and_not_taken_for_one_that_nobody_reads(name: bytes) -> None:
    at = synced()
    data = b'{"table":"' + name + b'","action":"update","data":[{"symbol":"XBTUSD"}]}'
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.session.frame(data, at.now)
    assert fallen(at, at.session.refused(data, at.now), "decode")


def test_an_object_that_is_neither_rows_nor_an_answer_is_refused() -> None:
    at = synced()
    with pytest.raises(BadFrame):
        at.send({})


@pytest.mark.parametrize(
    "frame",
    [
        rows("orderBook10", "update", {"bids": [], "asks": []}),
        rows("trade", "insert", symbol="XBTUSD"),
        of_table("trade", "insert", TRADE_2024.replace("XBTUSD", ".BXBT")),
        of_table("quote", "insert", QUOTE_2021),
        rows("chat", "insert", {"message": "hello"}),
    ],
    ids=["a table that is not read", "no rows", "an index", "another instrument", "no market data"],
)
def test_what_nobody_asked_for_is_counted_and_is_a_sign_of_life(frame: Any) -> None:
    at = desk(XBTUSD, channels=[Channel.BOOK])
    assert at.send(frame) is NOTHING
    assert (at.board.ignored, at.session.pulse.last_ns) == (1, at.now)
    assert at.session.link is LinkState.NOT_READY


# --- requests -------------------------------------------------------------------------------------------------------------------


def test_one_message_an_instrument_asks_for_its_tables() -> None:
    at = desk(XBTUSD, SPOT, acknowledges=False)
    sends = at.session.subscribe([Stream(each.id, channel) for each in (XBTUSD, SPOT) for channel in HERE.channels(each)], ())
    assert [json.loads(send.text) for send in sends] == [
        {
            "op": "subscribe",
            "args": [f"{table}:XBTUSD" for table in ("orderBookL2", "quote", "trade", "instrument", "liquidation")],
        },
        {"op": "subscribe", "args": [f"{table}:XBT_USDT" for table in ("orderBookL2", "quote", "trade", "instrument")]},
    ]


def test_each_topic_is_acknowledged_by_itself() -> None:
    at = desk(XBTUSD, channels=[Channel.BOOK, Channel.TRADE], acknowledges=False)
    at.send(ACK)
    assert [asked.request == "" for asked in at.session.streams.values()] == [True, False]
    at.now += 5 * SECOND
    at.session.pulse.last_ns = at.now
    at.session.wake(at.now)
    assert at.status().reason == ""
    assert at.status(Stream(XBTUSD.id, Channel.TRADE)).reason == "no answer"


def test_an_error_declines_the_topics_of_its_request_in_the_venues_words() -> None:
    at = desk(XBTUSD, UNI, channels=[Channel.BOOK], acknowledges=False)
    at.send(ERROR)
    assert at.status() == Status(LinkState.NOT_READY, BookState.BUFFERING, "Unknown table: orderBookL3")
    assert at.status(Stream(UNI.id, Channel.BOOK)).reason == ""
    assert [text for _, text in at.board.said] == ["BITMEX public: subscribe failed: Unknown table: orderBookL3"]
    at.send(PARTIAL)
    assert at.status() == Status(LinkState.READY, BookState.SYNCED)


def test_an_error_without_a_request_is_about_all_that_has_not_spoken() -> None:
    at = desk(XBTUSD, UNI, channels=[Channel.BOOK])
    at.send(PARTIAL)
    at.send('{"status":503,"error":"\\u001b[2JThe system is currently overloaded"}')
    assert at.status().reason == ""
    assert at.status(Stream(UNI.id, Channel.BOOK)).reason == "\ufffd[2JThe system is currently overloaded"


def test_a_stream_that_is_dropped_forgets_all_that_it_knew() -> None:
    at = desk(XBTUSD)
    at.send(PARTIAL)
    at.send({"table": "instrument", "action": "partial", "data": [INSTRUMENT_2024]})
    at.send(quote(1.0, 2.0))
    at.send(of_table("liquidation", "insert", LIQUIDATION))
    streams = list(at.session.streams)
    (send,) = at.session.want((), streams, at.now)
    assert json.loads(send.text)["op"] == "unsubscribe"  # type: ignore[union-attr]
    for kept in (at.session._known, at.session._levels, at.session._seen, at.session._orders, at.session._book_tables):
        assert kept == {}
    at.session.want([BOOK_STREAM], (), at.now)
    at.send(book("update", level(10, "Buy", 7)))
    assert at.book().state is BookState.BUFFERING


def test_whoever_takes_over_is_told_all_that_is_known() -> None:
    at = desk(XBTUSD)
    at.send(PARTIAL)
    at.send({"table": "instrument", "action": "partial", "data": [INSTRUMENT_2024]})
    expected, heard = list(at.heard.metrics), Heard()
    at.session.promote(heard, HealthBoard(), at.now)
    assert heard.metrics == expected
    assert [name for name, *_ in heard.books] == [XBTUSD.id]


def test_a_contract_whose_state_changes_says_so() -> None:
    at = desk(XBTUSD)
    at.send(rows("instrument", "update", {"state": "Settled", "timestamp": WHEN}))
    assert [text for _, text in at.board.said] == ["BITMEX XBTUSD: its state is Settled"]


def test_a_dated_contract_ends_at_its_hour() -> None:
    at = desk(DATED, XBTUSD, channels=[Channel.BOOK])
    at.send(book("partial", level(1, "Buy", 1, 5.0), symbol="XBTZ26"))
    at.now = DATED.expiry_ns
    at.session.pulse.last_ns = at.now
    (send, *_) = at.session.wake(at.now)
    assert json.loads(send.text) == {"op": "unsubscribe", "args": ["orderBookL2:XBTZ26"]}  # type: ignore[union-attr]
    assert at.status(Stream(DATED.id, Channel.BOOK)) == Status(LinkState.CLOSED, BookState.EMPTY, "expired")


def test_a_session_asks_for_nothing_over_rest() -> None:
    at = synced()
    assert at.session.answer("x", FetchError(500, "no"), at.now) is NOTHING


# --- the venue ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("websocket", ["wss://ws.bitmex.com", "wss://www.bitmex.com", "wss://ws.testnet.bitmex.com"])
def test_the_closed_venue_is_neither_asked_nor_connected_to(websocket: str) -> None:
    real = Bitmex({"public": Endpoint("https://www.bitmex.com", websocket)})
    assert real.closed("public") == CLOSED == "venue closed on 2026-09-23"
    assert real.plan([BOOK_STREAM], INSTRUMENTS) == []
    assert Bitmex().plan([BOOK_STREAM], INSTRUMENTS) == []


def test_elsewhere_one_connection_carries_everything() -> None:
    assert HERE.closed("public") == ""
    streams = [Stream(each.id, channel) for each in INSTRUMENTS.values() for channel in Channel]
    (plan,) = HERE.plan(streams, INSTRUMENTS)
    carried = tuple(stream for stream in streams if stream != Stream(SPOT.id, Channel.LIQUIDATION))
    assert plan == Plan("BITMEX", "public", "ws://127.0.0.1:1/realtime", carried)
    assert [fetch.path for fetch in HERE.catalogue()] == ["/api/v1/instrument/active"]
    assert HERE.plan([], INSTRUMENTS) == []


def test_a_session_runs_on_any_address_that_speaks_the_protocol() -> None:
    """Raw replay of tardis-machine: its address goes into the plan."""
    plan = Plan("BITMEX", "public", "ws://127.0.0.1:8001/ws-replay?exchange=bitmex", (BOOK_STREAM,))
    (send,) = Bitmex().session(plan, INSTRUMENTS, Heard(), HealthBoard()).opened(START)
    assert isinstance(send, Send)
    assert json.loads(send.text)["args"] == ["orderBookL2:XBTUSD"]


@pytest.mark.parametrize(
    ("data", "topic"),
    [
        (PARTIAL_2021, "orderBookL2_25:XBTUSD"),
        (of_table("quote", "insert", QUOTE_2021), "quote:UNIUSDT"),
        ('{"table":"trade","action":"partial","filter":{"symbol":"XBTUSD"},"data":[]}', "trade:XBTUSD"),
        ('{"table":"instrument","action":"partial","data":[]}', "instrument"),
        ('{"table":"trade\\u001b","action":"insert","data":[{"symbol":"A"}]}', "trade\ufffd:A"),
        (ACK, None),
        (WELCOME, None),
        ("pong", None),
        ("[" * 9_000, None),
    ],
)
def test_the_topic_of_a_frame_is_its_table_and_symbol(data: str, topic: str | None) -> None:
    assert HERE.topic("public", data.encode()) == topic


@pytest.mark.parametrize(
    ("topic", "channel"),
    [
        ("orderBookL2:XBTUSD", Channel.BOOK),
        ("orderBookL2_25:XBTUSD", Channel.BOOK),
        ("quote:XBTUSD", Channel.TOUCH),
        ("trade:XBTUSD", Channel.TRADE),
        ("instrument:XBTUSD", Channel.TICKER),
        ("funding:XBTUSD", Channel.TICKER),
        ("liquidation:XBTUSD", Channel.LIQUIDATION),
        ("orderBook10:XBTUSD", None),
        ("tradeBin1m:XBTUSD", None),
        ("trade:XBTJPY", None),
        ("trade", None),
        ("trade:.BXBT", None),
        ("trade:XBTUSD ", None),
    ],
)
def test_a_topic_means_a_stream_or_nothing(topic: str, channel: Channel | None) -> None:
    expected = Stream(XBTUSD.id, channel) if channel is not None else None
    assert HERE.stream_of("public", topic, INSTRUMENTS) == expected


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://www.bitmex.com/api/v1/instrument/active", CATALOGUE_KEY),
        ("https://www.bitmex.com/api/v1/instrument/indices", None),
        ("https://www.bitmex.com/api/v1/orderBook/L2?symbol=XBTUSD", None),
    ],
)
def test_a_recorded_request_is_known_by_its_url(url: str, key: str | None) -> None:
    assert HERE.catalogue_key(url) == key
    assert HERE.snapshot_key(url) is None


def test_the_venues_time_is_in_milliseconds() -> None:
    assert HERE.server_ns(b'{"name":"BitMEX API","version":"2.0.0","timestamp":1732436782275}') == 1732436782275 * MS
    assert HERE.clock("public").path == "/api/v1"
    for bad in (b"{}", b'{"timestamp":0}', b'{"timestamp":1732436782275000}'):
        with pytest.raises(DECODE_ERRORS):
            HERE.server_ns(bad)


def test_a_refusal_is_told_in_the_venues_words() -> None:
    refusal = b'{"error":{"message":"Rate limit exceeded\\u0007, retry in 1 seconds.","name":"RateLimitError"}}'
    with pytest.raises(BadFrame, match="BITMEX instruments: Rate limit exceeded\ufffd, retry in 1 seconds"):
        HERE.instruments({CATALOGUE_KEY: refusal})
    with pytest.raises(BadFrame, match="BITMEX time: refused"):
        HERE.server_ns(b'{"error":{}}')
    with pytest.raises(DECODE_ERRORS):
        HERE.next_page(CATALOGUE_KEY, refusal)
    assert HERE.next_page(CATALOGUE_KEY, b"[]") is None
    assert HERE.instruments({"another": b"[]"}) == []


def listed(**change: object) -> Instrument | None:
    body = json.dumps([{**INSTRUMENT_2024, **change}]).encode()
    return next(iter(HERE.instruments({CATALOGUE_KEY: body})), None)


def test_the_recorded_perpetual_is_inverse_in_contracts_of_a_dollar() -> None:
    assert listed() == Instrument(
        id="BITMEX:BTC/USD:BTC",
        venue="BITMEX",
        market="public",
        native="XBTUSD",
        base="BTC",
        quote="USD",
        settle="BTC",
        kind=Kind.PERP,
        contract=Contract.INVERSE,
        contract_size=1.0,
        tick=0.1,
        lot=100.0,
        funding_interval_s=28_800,
        fees=Fees(0.0005, 0.0005),
    )


LINEAR = {"isInverse": False, "underlyingToSettleMultiplier": None}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {
                **LINEAR,
                "symbol": "LTCUSDT",
                "underlying": "LTC",
                "quoteCurrency": "USDT",
                "settlCurrency": "USDt",
                "multiplier": 100,
                "underlyingToPositionMultiplier": 10000,
                "quoteToSettleMultiplier": 1000000,
            },
            ("BITMEX:LTC/USDT:USDT", Contract.LINEAR, 1e-4),
        ),
        (
            {
                **LINEAR,
                "symbol": "XBTUSDT",
                "quoteCurrency": "USDT",
                "settlCurrency": "USDt",
                "multiplier": 1,
                "quoteToSettleMultiplier": 1000000,
            },
            ("BITMEX:BTC/USDT:USDT", Contract.LINEAR, 1e-6),
        ),
        (
            {**LINEAR, "symbol": "ETHUSD", "underlying": "ETH", "isQuanto": True, "multiplier": 100},
            ("BITMEX:ETH/USD:BTC", Contract.QUANTO, 1e-6),
        ),
        (
            {
                **LINEAR,
                "symbol": "XRPZ26",
                "typ": "FFCCSX",
                "expiry": "2026-12-25T12:00:00.000Z",
                "underlying": "XRP",
                "quoteCurrency": "XBT",
                "multiplier": 100000000,
                "underlyingToPositionMultiplier": 1,
                "quoteToSettleMultiplier": 100000000,
                "fundingInterval": None,
            },
            ("BITMEX:XRP/BTC:BTC-261225", Contract.LINEAR, 1.0),
        ),
        (
            {
                **LINEAR,
                "symbol": "XBT_USDT",
                "typ": "IFXXXP",
                "quoteCurrency": "USDT",
                "settlCurrency": "",
                "underlyingToPositionMultiplier": 100000000,
            },
            ("BITMEX:BTC/USDT", Contract.LINEAR, 1e-8),
        ),
    ],
    ids=["linear", "linear without a position multiplier", "quanto", "dated in bitcoin", "spot"],
)
def test_each_kind_of_contract_has_its_unit(change: dict[str, object], expected: tuple[str, Contract, float]) -> None:
    found = listed(**change)
    assert found is not None
    assert (found.id, found.contract) == expected[:2]
    assert found.contract_size == pytest.approx(expected[2], rel=1e-12)
    parts = symbols.parse(found.id)
    assert (found.kind, found.settle) == (parts.kind, parts.settle)
    assert symbols.native_name(parts) == found.native
    assert symbols.native_to_parts("BITMEX", "public", found.native) in (None, parts)


def test_a_dated_contract_expires_when_the_list_says() -> None:
    found = listed(typ="FFCCSX", symbol="XBTZ26", expiry="2026-12-25T12:00:00.000Z", fundingInterval=None)
    assert found is not None
    assert (found.id, found.kind) == ("BITMEX:BTC/USD:BTC-261225", Kind.FUTURE)
    assert (found.expiry_ns, found.funding_interval_s) == (ns("2026-12-25T12:00:00+00:00"), 0)


def test_what_the_list_does_not_say_is_not_made_up() -> None:
    found = listed(makerFee=None, fundingInterval=None)
    assert found is not None
    assert (found.fees, found.funding_interval_s) == (None, 0)
    free = listed(makerFee=0, takerFee=0)
    assert free is not None
    assert free.fees == Fees(0.0, 0.0)  # XBTEUR in 2021: said, and so known


@pytest.mark.parametrize(
    "change",
    [
        {"state": "Settled"},
        {"state": "Unlisted"},
        {"typ": "FFMCSX", "symbol": "XBTM26-XBTU26", "expiry": "2026-06-26T12:00:00.000Z"},
        {"typ": "MRCXXX", "symbol": ".BXBT"},
        {"typ": "FFICSX"},
        {"typ": "FFCCSX"},
        {"expiry": "2026-06-26T12:00:00.000Z"},
        {"expiry": "2026-06-26T12:00:00.000Z", "typ": "IFXXXP"},
        {"expiry": "2206-06-26T12:00:00.000Z", "typ": "FFCCSX"},
        {"symbol": "xbtusd"},
        {"lotSize": 0},
        {"lotSize": None},
        {"tickSize": 0},
        {"settlCurrency": "Gwei"},
        {"settlCurrency": None},
        {"settlCurrency": "USDt"},
        {"typ": "IFXXXP"},
        {"typ": "IFXXXP", "settlCurrency": None, "isInverse": False},
        {"multiplier": None},
        {"multiplier": 0},
        {"multiplier": 1e30},
        {"underlyingToSettleMultiplier": -10},
        {"isQuanto": True},
        {"isInverse": False},
        {"underlying": "btc"},
        {
            **LINEAR,
            "quoteCurrency": "USDT",
            "settlCurrency": "USDt",
            "underlyingToPositionMultiplier": 10,
            "multiplier": 1,
            "quoteToSettleMultiplier": 1e6,
        },
        {**LINEAR, "quoteCurrency": "USDT", "settlCurrency": "USDt"},
    ],
    ids=str,
)
def test_what_is_not_understood_is_left_out(change: dict[str, object]) -> None:
    assert listed(**change) is None


def test_times_are_utc_whatever_the_machine_thinks() -> None:
    assert ns("2024-11-24T08:26:22.275+00:00") == round(datetime(2024, 11, 24, 8, 26, 22, 275_000, UTC).timestamp() * 1e3) * MS
    at = synced()
    at.send(book("update", level(10, "Buy", 1, timestamp="2024-11-24T10:26:22.275+02:00")))
    assert at.book().venue_ns == ns("2024-11-24T08:26:22.275+00:00")
