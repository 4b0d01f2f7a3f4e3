"""Deribit: recorded frames field by field, the sequence rule, hostile frames, requests. Frames: protocols.md 4.1, 4.2 and 4.4."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import msgspec
import pytest

from feeds import symbols
from feeds.errors import DECODE_ERRORS, BadFrame, InputError
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
    PairIndex,
    Stats24h,
    Status,
    Stream,
    Trade,
)
from feeds.orderbook import OrderBook
from feeds.venue import NOTHING, Action, Drop, Endpoint, Fetch, FetchError, Send
from feeds.venues.deribit import REQUESTS_KEPT, Deribit, DeribitSession
from tests.unit.test_bybit import Heard

VENUE = Deribit()
START: Ns = 1_789_344_931_000 * MS


def instrument(name: str, native: str, kind: Kind, contract: Contract = Contract.LINEAR) -> Instrument:
    parts = symbols.parse(name)
    return Instrument(
        id=name,
        venue="DERIBIT",
        market="public",
        native=native,
        base=parts.base,
        quote=parts.quote,
        settle=parts.settle,
        kind=kind,
        contract=contract,
        tick=0.5,
        lot=10.0,
    )


PERP = instrument("DERIBIT:BTC/USD:BTC", "BTC-PERPETUAL", Kind.PERP, Contract.INVERSE)
ETH = instrument("DERIBIT:ETH/USD:ETH", "ETH-PERPETUAL", Kind.PERP, Contract.INVERSE)
DATED = instrument("DERIBIT:BTC/USD:BTC-261225", "BTC-25DEC26", Kind.FUTURE, Contract.INVERSE)
LINEAR = instrument("DERIBIT:SOL/USDC:USDC", "SOL_USDC-PERPETUAL", Kind.PERP)
SPOT = instrument("DERIBIT:BTC/USDT", "BTC_USDT", Kind.SPOT)
SPOT_USDC = instrument("DERIBIT:BTC/USDC", "BTC_USDC", Kind.SPOT)
STABLE = instrument("DERIBIT:USDC/USDT", "USDC_USDT", Kind.SPOT)
OPTION = instrument("DERIBIT:BTC/USD:BTC-261225-76000-C", "BTC-25DEC26-76000-C", Kind.OPTION, Contract.QUANTO)
INSTRUMENTS = {each.id: each for each in (PERP, ETH, DATED, LINEAR, SPOT, SPOT_USDC, STABLE, OPTION)}


@dataclass
class Desk:
    """A session with what it was told, and a clock that only the test moves."""

    session: DeribitSession
    heard: Heard
    board: HealthBoard
    now: Ns = START

    def send(self, frame: str | bytes | Mapping[str, object]) -> Sequence[Action]:
        if not isinstance(frame, (str, bytes)):
            frame = json.dumps(frame, separators=(",", ":"))
        data = frame.encode() if isinstance(frame, str) else frame
        self.now += MS
        return self.session.frame(data, self.now)

    def book(self, of: Instrument = PERP) -> OrderBook:
        return self.session.books[of.id]

    def status(self, stream: Stream) -> Status:
        return next(status for told, status in reversed(self.heard.statuses) if told == stream)

    def said(self) -> list[str]:
        return [text for _, text in self.board.said]


def desk(*instruments: Instrument, channels: Sequence[Channel] | None = None, acknowledges: bool = True) -> Desk:
    streams = [Stream(each.id, channel) for each in instruments for channel in channels or VENUE.channels(each)]
    heard, board = Heard(), HealthBoard()
    (plan,) = VENUE.plan(streams, INSTRUMENTS)
    session = VENUE.session(plan, INSTRUMENTS, heard, board)
    assert isinstance(session, DeribitSession)
    for action in session.opened(START):
        if acknowledges and isinstance(action, Send):
            acknowledge(session, action, START)
    return Desk(session, heard, board)


def acknowledge(session: DeribitSession, request: Send, now: Ns, without: Sequence[str] = ()) -> None:
    message = json.loads(request.text)
    granted = [channel for channel in message["params"].get("channels", ()) if channel not in without]
    answer = {"jsonrpc": "2.0", "id": message["id"], "result": granted if "channels" in message["params"] else "ok"}
    session.frame(json.dumps(answer).encode(), now)


def notice(channel: str, data: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}}


def snapshot(
    change_id: int, bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]], at: int = 0
) -> dict[str, Any]:
    data = {
        "timestamp": 1789344931302 + at,
        "type": "snapshot",
        "change_id": change_id,
        "instrument_name": "BTC-PERPETUAL",
        "bids": [["new", *level] for level in bids],
        "asks": [["new", *level] for level in asks],
    }
    return notice("book.BTC-PERPETUAL.100ms", data)


def change(
    change_id: int, previous: int, bids: Sequence[object] = (), asks: Sequence[object] = (), at: int = 10
) -> dict[str, Any]:
    data = {
        "timestamp": 1789344931302 + at,
        "type": "change",
        "change_id": change_id,
        "instrument_name": "BTC-PERPETUAL",
        "bids": bids,
        "asks": asks,
        "prev_change_id": previous,
    }
    return notice("book.BTC-PERPETUAL.100ms", data)


def quote(bid: float | None, bid_size: float, ask: float | None, ask_size: float, at: int = 1) -> dict[str, Any]:
    data = {
        "timestamp": 1789344931302 + at,
        "instrument_name": "BTC-PERPETUAL",
        "best_bid_price": bid,
        "best_bid_amount": bid_size,
        "best_ask_price": ask,
        "best_ask_amount": ask_size,
    }
    return notice("quote.BTC-PERPETUAL", data)


FIRST = snapshot(70, [(100.0, 10.0), (99.0, 20.0)], [(101.0, 30.0), (102.0, 40.0)])
BOOK = Stream(PERP.id, Channel.BOOK)
TICKER_OF = Stream(PERP.id, Channel.TICKER)

# --- fixtures of protocols.md 4.4 -----------------------------------------------------------------------------------------------

SNAPSHOT = (
    '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"timestamp":1789344931302,'
    '"type":"snapshot","change_id":118850968930,"instrument_name":"BTC-PERPETUAL","bids":[["new",76914.0,1000200.0],'
    '["new",76909.0,4040.0]],"asks":[["new",76914.5,999990.0]]}}}'
)
CHANGE = (
    '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"timestamp":1789344931639,'
    '"type":"change","change_id":118850969743,"instrument_name":"BTC-PERPETUAL","bids":[["change",76914.0,1.0002e6],'
    '["new",76899.0,10.0],["delete",76893.0,0.0]],"asks":[["delete",77027.5,0.0]],"prev_change_id":118850968930}}}'
)
GROUPED = (
    '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.none.10.100ms","data":{"timestamp":'
    '1789344931549,"change_id":118850969613,"instrument_name":"BTC-PERPETUAL","bids":[[76914.0,1.0002e6],[76909.0,4040.0],'
    '[76908.0,2.0e3]],"asks":[[76914.5,999990.0],[76917.5,8450.0]]}}}'
)
QUOTE = (
    '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"quote.BTC-PERPETUAL","data":{"timestamp":1765541767174,'
    '"instrument_name":"BTC-PERPETUAL","best_ask_price":92288.5,"best_bid_price":92288.0,"best_ask_amount":99470.0,'
    '"best_bid_amount":133440.0}}}'
)
TRADES = (
    '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms","data":[{"timestamp":1789344933994,'
    '"price":76917.5,"amount":8450.0,"direction":"buy","index_price":76906.67,"instrument_name":"BTC-PERPETUAL","trade_seq":'
    '140284854,"mark_price":76917.12,"tick_direction":0,"starbase_match_id":225046781992378368,"trade_id":"267258393","contracts":'
    '845.0,"starbase_timestamp":1789344933994718924}]}}'
)
TICKER = (
    '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-PERPETUAL.100ms","data":{"timestamp":1790755218559,'
    '"state":"open","stats":{"high":84548.5,"low":82900.5,"price_change":-0.8525,"volume":9341.40027576,"volume_usd":781497780.0,'
    '"volume_notional":781497780.0},"index_price":83251.03,"instrument_name":"BTC-PERPETUAL","last_price":83216.0,'
    '"settlement_price":83223.11,"min_price":81963.5,"max_price":84460.5,"open_interest":797578130,"mark_price":83212.14,'
    '"interest_value":-4.467407940520975e-5,"current_funding":-2.1714e-4,"estimated_delivery_price":83251.03,"funding_8h":-3.1e-6,'
    '"best_ask_price":83212.5,"best_bid_price":83212.0,"best_ask_amount":261910.0,"best_bid_amount":71750.0}}}'
)
DATED_TICKER = (
    '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-25DEC26.100ms","data":{"timestamp":1790755218589,'
    '"state":"open","stats":{"high":8.55e4,"low":83950.0,"price_change":-0.8593,"volume":26.06185762,"volume_usd":2201640.0,'
    '"volume_notional":2201640.0},"index_price":83251.03,"instrument_name":"BTC-25DEC26","last_price":84225.0,"settlement_price":'
    '84233.38,"min_price":82957.5,"max_price":85487.5,"open_interest":311779840,"mark_price":84222.65,"estimated_delivery_price":'
    '83251.03,"best_ask_price":84227.5,"best_bid_price":84225.0,"best_ask_amount":53160.0,"best_bid_amount":4530.0}}}'
)
INDEX = notice("deribit_price_index.btc_usdt", {"timestamp": 1535098298227, "price": 6521.17, "index_name": "btc_usdt"})
PERPETUAL = notice("perpetual.BTC-PERPETUAL.100ms", {"interest": 0.0049995, "index_price": 64500.25, "timestamp": 1760000000823})
PARTIAL = (
    '{"jsonrpc":"2.0","id":5,"result":["book.BTC-PERPETUAL.100ms"],"usIn":1789344931553548,"usOut":1789344931553627,"usDiff":79,'
    '"testnet":true}'
)
TEST_REQUEST = '{"params":{"type":"test_request"},"method":"heartbeat","jsonrpc":"2.0"}'
HEARTBEAT = '{"params":{"type":"heartbeat"},"method":"heartbeat","jsonrpc":"2.0"}'
INVALID = (
    '{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"data":{"reason":"invalid value","param":"kind"},"message":"Invalid params"},'
    '"usIn":1789344931553833,"usOut":1789344931553881,"usDiff":48,"testnet":true}'
)


def test_a_recorded_snapshot_and_change_are_applied_level_by_level() -> None:
    at = desk(PERP)
    assert at.send(SNAPSHOT.replace("76909.0,4040.0]", '76909.0,4040.0],["new",76893.0,7.0]')) is NOTHING
    book = at.book()
    assert book.levels(9) == ([(76914.0, 1000200.0), (76909.0, 4040.0), (76893.0, 7.0)], [(76914.5, 999990.0)])
    assert (book.seq, book.venue_ns, book.recv_ns) == (1789344931302, 1789344931302 * MS, at.now)
    assert at.session.feeds[PERP.id].chain == 118850968930
    book.leg.fresh = False
    assert at.send(CHANGE) is NOTHING
    assert book.levels(9) == ([(76914.0, 1000200.0), (76909.0, 4040.0), (76899.0, 10.0)], [(76914.5, 999990.0)])
    assert (book.seq, book.venue_ns, book.recv_ns) == (1789344931639, 1789344931639 * MS, at.now)
    assert (book.bid, book.bid_size, book.ask, book.ask_size) == (76914.0, 1000200.0, 76914.5, 999990.0)
    assert at.session.feeds[PERP.id].chain == 118850969743
    assert (book.leg.raw_ns, book.leg.fresh) == (at.now - 1789344931639 * MS, True)


def test_a_delete_removes_its_level_whatever_amount_it_says() -> None:
    at = synced()
    at.send(change(71, 70, [["delete", 100.0, 5.0]]))
    assert at.book().levels(5)[0] == [(99.0, 20.0)]


def test_a_recorded_grouped_book_replaces_the_whole_each_time() -> None:
    at = desk(PERP)
    assert at.send(GROUPED) is NOTHING
    book = at.book()
    assert book.levels(9) == (
        [(76914.0, 1000200.0), (76909.0, 4040.0), (76908.0, 2000.0)],
        [(76914.5, 999990.0), (76917.5, 8450.0)],
    )
    assert (book.seq, book.venue_ns) == (1789344931549, 1789344931549 * MS)
    assert (book.leg.raw_ns, book.leg.fresh) == (at.now - 1789344931549 * MS, True)
    at.send(GROUPED.replace("[76909.0,4040.0],", "").replace("[76917.5,8450.0]", "[76918.0,1.0]"))
    assert book.levels(9) == ([(76914.0, 1000200.0), (76908.0, 2000.0)], [(76914.5, 999990.0), (76918.0, 1.0)])
    assert at.status(BOOK) == Status(LinkState.READY, BookState.SYNCED)
    assert len(at.heard.books) == 2


def test_a_best_quote_newer_than_a_grouped_book_stays_over_it() -> None:
    at = desk(PERP)
    at.send(GROUPED)
    at.send(quote(76914.2, 5.0, 76914.4, 6.0, at=500))
    at.send(GROUPED.replace("1789344931549", "1789344931700"))
    assert (at.book().bid, at.book().bid_size, at.book().ask, at.book().ask_size) == (76914.2, 5.0, 76914.4, 6.0)
    at.send(GROUPED.replace("1789344931549", "1789344931802"))
    assert (at.book().bid, at.book().ask) == (76914.0, 76914.5)


def test_a_grouped_book_that_fell_is_whole_with_its_next_frame_and_not_asked_for() -> None:
    at = desk(PERP, channels=[Channel.BOOK, Channel.TRADE])
    at.send(GROUPED)
    assert sent(at.session.refused(GROUPED.encode(), at.now)) == again("book.BTC-PERPETUAL.none.10.100ms")
    at.send(GROUPED)
    assert at.session.refused(GROUPED.encode(), at.now) == NOTHING  # less than 2 s later
    assert not at.book().published
    at.send(GROUPED)
    assert at.book().published
    assert at.status(BOOK) == Status(LinkState.READY, BookState.SYNCED, "decode")
    assert pass_time(at, 3 * SECOND) == []


def test_a_clock_of_the_engine_that_is_set_back_leaves_no_quote_of_before_over_the_book() -> None:
    at = synced()
    at.send(quote(100.5, 1.0, 100.7, 2.0, at=20_000))
    at.send(change(71, 70, [["change", 100.0, 11.0]], at=19_900))
    assert (at.book().bid, at.book().ask) == (100.5, 100.7)
    at.send(change(72, 71, [["change", 100.0, 12.0]], at=300))
    assert (at.book().bid, at.book().bid_size, at.book().ask) == (100.0, 12.0, 101.0)
    at.send(quote(100.1, 3.0, 100.9, 4.0, at=320))
    assert (at.book().bid, at.book().ask) == (100.1, 100.9)


def test_a_clock_that_is_set_back_leaves_no_quote_of_before_over_a_grouped_book() -> None:
    at = desk(PERP)
    at.send(GROUPED)
    at.send(quote(76914.2, 5.0, 76914.4, 6.0, at=500))
    at.send(GROUPED.replace("1789344931549", "1789344931048"))
    assert (at.book().bid, at.book().ask) == (76914.0, 76914.5)


def test_two_books_of_one_instrument_do_not_mix() -> None:
    at = synced()
    ignored = at.board.ignored
    assert at.send(GROUPED) is NOTHING
    assert (at.book().bid, at.board.ignored) == (100.0, ignored + 1)


def test_two_intervals_of_one_channel_do_not_tell_everything_twice() -> None:
    at = desk(PERP)
    at.send(TRADES)
    at.send(TRADES.replace("PERPETUAL.100ms", "PERPETUAL.raw"))
    assert (len(at.heard.trades), at.board.ignored) == (1, 1)
    at.send(TRADES)
    assert len(at.heard.trades) == 2


def test_a_frame_that_is_refused_takes_no_stream_for_its_interval() -> None:
    at = desk(PERP)
    with pytest.raises(DECODE_ERRORS):
        at.send(TRADES.replace("PERPETUAL.100ms", "PERPETUAL.7ms").replace("8450.0", "0"))
    at.send(TRADES)
    assert len(at.heard.trades) == 1


def test_a_recorded_best_quote_lies_over_an_older_book() -> None:
    at = desk(PERP)
    at.send(snapshot(70, [(92280.0, 1.0)], [(92290.0, 1.0)], at=1765541767173 - 1789344931302))
    at.heard.books.clear()
    book = at.book()
    book.leg.fresh = False
    assert at.send(QUOTE) is NOTHING
    assert (book.bid, book.bid_size, book.ask, book.ask_size) == (92288.0, 133440.0, 92288.5, 99470.0)
    assert (book.touch_seq, book.venue_ns) == (1765541767174, 1765541767174 * MS)
    assert (at.heard.touches, at.heard.books) == ([(PERP.id, 92288.0, 92288.5)], [])
    assert (book.leg.raw_ns, book.leg.fresh) == (at.now - 1765541767174 * MS, True)


@pytest.mark.parametrize("later", [0, -1, -1_000_000])
def test_a_best_quote_no_later_than_the_book_does_not_replace_it(later: int) -> None:
    at = synced()
    at.send(quote(100.5, 1.0, 100.7, 2.0, at=later))
    assert (at.book().bid, at.book().ask) == (100.0, 101.0)
    assert at.heard.touches == []


def test_a_change_of_the_book_takes_an_older_best_quote_away() -> None:
    at = synced()
    at.send(quote(100.5, 1.0, 100.7, 2.0, at=5))
    at.send(change(71, 70, [["new", 98.0, 1.0]], at=4))
    assert at.book().bid == 100.5
    at.send(change(72, 71, [["new", 97.0, 1.0]], at=5))
    assert at.book().bid == 100.0


@pytest.mark.parametrize(("price", "amount"), [(None, 0.0), (0.0, 0.0), (100.5, 0.0)])
def test_a_side_without_orders_has_no_best_price(price: float | None, amount: float) -> None:
    at = synced()
    at.send(quote(price, amount, 100.9, 2.0))
    assert isnan(at.book().bid)
    assert at.book().ask == 100.9


def test_recorded_trades_carry_the_takers_side_and_dollars() -> None:
    at = desk(PERP)
    assert at.send(TRADES) is NOTHING
    assert at.heard.trades == [(PERP, Trade(76917.5, 8450.0, "buy", 1789344933994 * MS, "267258393", False))]
    assert at.heard.metrics == []
    assert PERP.to_quote(8450.0, 76917.5) == 8450.0
    assert PERP.to_base(8450.0, 76917.5) == 8450.0 / 76917.5


@pytest.mark.parametrize("mark", ['"block_trade_id":"BLOCK-1"', '"combo_trade_id":"8"', '"block_trade_id":154'])
def test_what_did_not_trade_in_the_book_is_marked(mark: str) -> None:
    at = desk(PERP)
    at.send(TRADES.replace('"tick_direction":0', mark))
    assert at.heard.trades[0][1].block


@pytest.mark.parametrize(
    ("flag", "direction", "positions"),
    [
        ("T", "sell", ["long"]),
        ("T", "buy", ["short"]),
        ("M", "sell", ["short"]),
        ("M", "buy", ["long"]),
        ("MT", "sell", ["long", "short"]),
        ("MT", "buy", ["short", "long"]),
    ],
)
def test_a_liquidation_flag_names_the_positions_that_were_closed(flag: str, direction: str, positions: list[str]) -> None:
    at = desk(PERP)
    at.send(TRADES.replace('"tick_direction":0', f'"liquidation":"{flag}"').replace('"buy"', f'"{direction}"'))
    told = at.heard.of(Liquidation)
    assert [each.position for each in told] == positions
    assert {(each.price, each.size, each.venue_ns) for each in told} == {(76917.5, 8450.0, 1789344933994 * MS)}
    assert [trade.aggressor for _, trade in at.heard.trades] == [direction]


def test_a_recorded_ticker_yields_every_metric_in_its_unit() -> None:
    at = desk(PERP)
    at.send(TICKER)
    when = 1790755218559 * MS
    assert at.heard.metrics == [
        Mark(83212.14, when),
        Index(83251.03, when),
        Funding(-0.00021714, 28_800, 0, when),
        OpenInterest(797578130.0, when),
        Stats24h(9341.40027576, 781497780.0, when),
    ]


def test_a_recorded_ticker_of_a_dated_future_has_no_funding() -> None:
    at = desk(DATED)
    at.send(DATED_TICKER)
    when = 1790755218589 * MS
    assert at.heard.metrics == [
        Mark(84222.65, when),
        Index(83251.03, when),
        OpenInterest(311779840.0, when),
        Stats24h(26.06185762, 2201640.0, when),
    ]
    at.send(DATED_TICKER.replace('"state":"open"', '"current_funding":0.1'))
    assert at.heard.of(Funding) == []


def test_a_ticker_without_news_says_nothing_until_a_second_has_passed() -> None:
    at = desk(PERP)
    at.send(TICKER)
    at.heard.metrics.clear()
    quiet = TICKER.replace("1790755218559", "1790755218659").replace("261910.0", "5.0")
    at.send(quiet)
    assert at.heard.metrics == []
    at.now += SECOND
    at.send(quiet)
    assert at.heard.metrics == [Mark(83212.14, 1790755218659 * MS), Index(83251.03, 1790755218659 * MS)]


LATER: Ns = 1790755218660 * MS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mark_price": 83213.0}, [Mark(83213.0, LATER), Index(83251.03, LATER)]),
        ({"index_price": 83252.0}, [Mark(83212.14, LATER), Index(83252.0, LATER)]),
        ({"current_funding": 0.0}, [Funding(0.0, 28_800, 0, LATER)]),
        ({"open_interest": 797578140}, [OpenInterest(797578140.0, LATER)]),
        ({"stats": {"volume": 1.0, "volume_usd": 5.0, "volume_notional": 4.0}}, [Stats24h(1.0, 4.0, LATER)]),
        ({"stats": {"volume": 1.0, "volume_usd": 5.0}}, [Stats24h(1.0, 5.0, LATER)]),
        ({"funding_8h": 0.5, "interest_value": 1.0, "state": "closed"}, []),
        ({"current_funding": None, "open_interest": None}, []),
        ({"index_price": None, "mark_price": 83213.0}, [Mark(83213.0, LATER)]),
        ({"mark_price": None}, [Index(83251.03, LATER)]),
        ({"mark_price": 0, "index_price": 0}, []),
    ],
    ids=str,
)
def test_only_what_changed_is_told_and_what_is_null_is_not_zero(change: dict[str, object], expected: list[Metric]) -> None:
    at = desk(PERP)
    at.send(TICKER)
    at.heard.metrics.clear()
    frame = json.loads(TICKER)
    frame["params"]["data"].update(timestamp=1790755218660, **change)
    at.send(frame)
    assert at.heard.metrics == expected


@pytest.mark.parametrize("stats", [None, {}, {"volume": None, "volume_usd": None, "high": None}])
def test_an_untraded_instrument_has_no_volume(stats: object) -> None:
    at = desk(PERP)
    data = {"timestamp": 1, "instrument_name": "BTC-PERPETUAL", "stats": stats, "best_bid_price": None}
    at.send(notice("ticker.BTC-PERPETUAL.100ms", data))
    assert at.heard.metrics == []


def test_a_volume_that_is_not_told_any_more_is_unknown() -> None:
    at = desk(PERP)
    at.send(TICKER)
    at.heard.metrics.clear()
    at.send(TICKER.replace('"volume":9341.40027576,', "").replace("1790755218559", "1790755218560"))
    (told,) = at.heard.of(Stats24h)
    assert (isnan(told.base_volume), told.quote_volume) == (True, 781497780.0)


def test_the_dollar_volume_is_no_volume_in_another_quote() -> None:
    at = desk(LINEAR)
    data = {"timestamp": 1, "instrument_name": "SOL_USDC-PERPETUAL", "stats": {"volume": 5.0, "volume_usd": 700.0}}
    at.send(notice("ticker.SOL_USDC-PERPETUAL.100ms", data))
    (told,) = at.heard.of(Stats24h)
    assert (told.base_volume, isnan(told.quote_volume)) == (5.0, True)


def test_a_recorded_index_is_that_of_its_pair() -> None:
    at = desk(SPOT, STABLE, SPOT_USDC)
    assert at.send(INDEX) is NOTHING
    assert at.heard.metrics == [Index(6521.17, 1535098298227 * MS)]
    assert at.session.pulse.last_ns == at.now
    assert at.board.stream(Stream(SPOT.id, Channel.TICKER)).frames == 1
    at.heard.metrics.clear()
    at.send(notice("deribit_price_index.usdc_usdt", {"timestamp": 5, "price": 0.9998, "index_name": "usdc_usdt"}))
    at.send(notice("deribit_price_index.btc_usdc", {"timestamp": 6, "price": 6522.0, "index_name": "btc_usdc"}))
    assert at.heard.metrics == [Index(0.9998, 5 * MS), Index(6522.0, 6 * MS)]


def test_an_index_reaches_every_instrument_it_is_the_index_of() -> None:
    at = desk(PERP, DATED, ETH, channels=[Channel.TICKER])
    told: list[tuple[str, Metric]] = []
    at.heard.on_metric = lambda instrument, metric, now: told.append((instrument.id, metric))  # type: ignore[method-assign]
    at.send(notice("deribit_price_index.btc_usd", {"timestamp": 7, "price": 83000.0, "index_name": "btc_usd"}))
    assert told == [(PERP.id, Index(83000.0, 7 * MS)), (DATED.id, Index(83000.0, 7 * MS))]
    assert at.board.stream(TICKER_OF).frames == 0
    ignored = at.board.ignored
    at.send(notice("deribit_price_index.sol_usd", {"timestamp": 7, "price": 83.0, "index_name": "sol_usd"}))
    assert (len(told), at.board.ignored) == (2, ignored + 1)


def test_a_ticker_does_not_take_an_index_back_in_time() -> None:
    at = desk(SPOT)
    at.send(notice("deribit_price_index.btc_usdt", {"timestamp": 500, "price": 84000.0, "index_name": "btc_usdt"}))
    at.heard.metrics.clear()
    data = {"timestamp": 400, "instrument_name": "BTC_USDT", "index_price": 83000.0, "mark_price": 83001.0}
    at.send(notice("ticker.BTC_USDT.100ms", data))
    assert at.heard.metrics == []
    data["timestamp"] = 600
    at.now += SECOND
    at.send(notice("ticker.BTC_USDT.100ms", data))
    at.send(notice("deribit_price_index.btc_usdt", {"timestamp": 550, "price": 84000.0, "index_name": "btc_usdt"}))
    assert at.heard.metrics == [Index(83000.0, 600 * MS)]


def test_a_spot_ticker_tells_volume_and_index_but_no_mark_and_no_open_interest() -> None:
    at = desk(SPOT)
    stats = {"volume": 2.0, "volume_usd": 160000.0, "volume_notional": 160010.0}
    data = {"timestamp": 9, "instrument_name": "BTC_USDT", "mark_price": 80000.0, "index_price": 80001.0, "open_interest": 0}
    at.send(notice("ticker.BTC_USDT.100ms", {**data, "stats": stats, "current_funding": 0.1}))
    assert at.heard.metrics == [Index(80001.0, 9 * MS), Stats24h(2.0, 160010.0, 9 * MS)]


def test_a_channel_that_is_not_read_is_a_counter_and_a_sign_of_life() -> None:
    at = desk(PERP)
    for channel in (
        "perpetual.BTC-PERPETUAL.100ms",
        "book.NOBODY.100ms",
        "book.BTC-PERPETUAL.5.10.100ms",
        "incremental_ticker.BTC-PERPETUAL",
        "trades.future.BTC.100ms",
        "platform_state",
        "quote.",
    ):
        assert at.send(notice(channel, PERPETUAL["params"]["data"])) is NOTHING
    assert at.board.ignored == 7
    assert at.session.pulse.last_ns == at.now
    assert at.session.link is LinkState.NOT_READY


def test_an_unasked_stream_of_a_known_instrument_is_ignored() -> None:
    at = desk(PERP, channels=[Channel.BOOK])
    at.send(TRADES)
    assert (at.heard.trades, at.board.ignored) == ([], 1)


def test_an_option_is_a_book_and_nothing_else() -> None:
    at = desk(OPTION)
    assert [stream.channel for stream in at.session.streams] == [Channel.BOOK]
    at.send(CHANGE.replace("BTC-PERPETUAL", OPTION.native).replace('"type":"change"', '"type":"snapshot"'))
    assert at.book(OPTION).bid == 76914.0
    assert isnan(OPTION.to_base(1.0, 0.05))
    assert isnan(OPTION.to_quote(1.0, 0.05))


@pytest.mark.parametrize("order", [("params", "method", "jsonrpc"), ("jsonrpc", "params", "method")])
def test_the_order_of_a_frames_keys_does_not_matter(order: tuple[str, ...]) -> None:
    at = desk(PERP)
    for frame in (FIRST, change(71, 70, [["new", 100.5, 1.0]])):
        params = {key: frame["params"][key] for key in ("data", "channel")}
        at.send({key: {**frame, "params": params}[key] for key in order})
    assert at.book().bid == 100.5


def test_blanks_between_the_tokens_do_not_hide_a_frame() -> None:
    at = desk(PERP)
    at.send(json.dumps(FIRST, indent=1))
    assert at.book().published


# --- the sequence rule ----------------------------------------------------------------------------------------------------------


def synced() -> Desk:
    """A book, its best quote and its trades."""
    at = desk(PERP, channels=[Channel.BOOK, Channel.TOUCH, Channel.TRADE])
    at.send(FIRST)
    assert at.book().published
    return at


def sent(actions: Sequence[Action]) -> list[tuple[str, list[str]]]:
    messages = [json.loads(action.text) for action in actions if isinstance(action, Send)]
    assert len(messages) == len(actions)
    return [(message["method"], message["params"].get("channels", [])) for message in messages]


def again(*channels: str) -> list[tuple[str, list[str]]]:
    return [("public/unsubscribe", list(channels)), ("public/subscribe", list(channels))]


AGAIN = again("book.BTC-PERPETUAL.100ms")


@pytest.mark.parametrize(("change_id", "previous"), [(72, 71), (71, 69), (69, 68), (0, 0), (10**15, 10**14)])
def test_a_change_that_does_not_follow_blanks_the_book_and_asks_for_another(change_id: int, previous: int) -> None:
    at = synced()
    at.now += 3 * SECOND
    assert sent(at.send(change(change_id, previous, [["new", 100.5, 1.0]]))) == AGAIN
    book = at.book()
    assert (book.state, book.reason, book.published) == (BookState.BUFFERING, "gap", False)
    assert isnan(book.bid)
    assert book.levels(1) == ([], [])
    health = at.board.stream(BOOK)
    assert (health.gaps, health.resyncs) == (1, 1)
    assert at.status(BOOK) == Status(LinkState.READY, BookState.BUFFERING, "gap")


def test_after_a_gap_nothing_is_applied_before_the_next_snapshot() -> None:
    at = synced()
    at.now += 3 * SECOND
    at.send(change(75, 74))
    for number in (75, 76, 70, -1):
        frame = change(number + 1, max(number, 0), [["new", 100.5, 1.0]])
        assert at.send(frame) is NOTHING
        assert not at.book().published
    at.send(snapshot(80, [(50.0, 1.0)], [(51.0, 1.0)]))
    assert at.book().levels(5) == ([(50.0, 1.0)], [(51.0, 1.0)])
    at.send(change(81, 80, [["new", 50.5, 1.0]]))
    assert at.book().bid == 50.5
    assert at.board.stream(BOOK).gaps == 1


def test_a_second_gap_within_two_seconds_waits_before_it_asks() -> None:
    at = synced()
    at.now += 3 * SECOND
    at.send(change(72, 71))
    at.send(snapshot(80, [(50.0, 1.0)], [(51.0, 1.0)]))
    assert at.send(change(82, 81)) is NOTHING
    asked = at.now - 2 * MS
    assert at.session.deadline <= asked + 2 * SECOND
    at.session.pulse.last_ns = asked + 2 * SECOND
    assert sent(at.session.wake(asked + 2 * SECOND)) == AGAIN


def test_a_change_sent_twice_changes_nothing() -> None:
    at = synced()
    at.send(change(71, 70, [["new", 100.5, 1.0]]))
    version = at.book().version
    assert at.send(change(71, 70, [["new", 100.5, 1.0]])) is NOTHING
    assert (at.book().version, at.book().published) == (version, True)
    health = at.board.stream(BOOK)
    assert (health.gaps, health.ignored) == (0, 1)


def test_a_change_before_any_snapshot_publishes_nothing() -> None:
    at = desk(PERP)
    assert at.send(CHANGE) is NOTHING
    assert at.book().state is BookState.BUFFERING
    assert at.heard.books == []
    health = at.board.stream(BOOK)
    assert (health.gaps, health.ignored) == (0, 1)


def test_a_snapshot_in_mid_stream_replaces_the_book_whatever_its_number() -> None:
    for number in (500, 3):
        at = synced()
        at.send(quote(100.5, 1.0, 100.7, 1.0, at=50))
        at.send(snapshot(number, [(50.0, 1.0)], [(51.0, 1.0)]))
        assert at.book().levels(5) == ([(50.0, 1.0)], [(51.0, 1.0)])
        at.send(change(number + 1, number, [["new", 50.5, 1.0]]))
        assert at.book().bid == 50.5
        assert at.board.stream(BOOK).gaps == 0


def test_frames_of_before_there_were_types_are_told_apart_by_what_they_follow() -> None:
    at = desk(PERP)
    old = [json.loads(json.dumps(frame)) for frame in (FIRST, change(71, 70, [["new", 100.5, 1.0]]))]
    for frame in old:
        del frame["params"]["data"]["type"]
        at.send(frame)
    assert (at.book().bid, at.session.feeds[PERP.id].chain) == (100.5, 71)


def test_a_change_that_does_not_say_what_it_follows_is_refused() -> None:
    at = synced()
    frame = change(71, 70)
    del frame["params"]["data"]["prev_change_id"]
    with pytest.raises(BadFrame, match="follows"):
        at.send(frame)


def test_a_side_that_runs_empty_is_nan_and_not_its_last_price() -> None:
    at = synced()
    at.send(change(71, 70, [["delete", 100.0, 0.0], ["delete", 99.0, 0]]))
    assert isnan(at.book().bid)
    assert at.book().ask == 101.0


def test_an_empty_book_is_whole_and_has_no_price() -> None:
    at = desk(PERP)
    at.send(snapshot(70, [], []))
    assert (at.book().state, isnan(at.book().bid), at.book().levels(1)) == (BookState.SYNCED, True, ([], []))
    at.send(change(71, 70, [["new", 5.0, 1.0]]))
    assert at.book().bid == 5.0


def test_a_crossed_book_is_unpublished_at_once_and_asked_for_after_half_a_second() -> None:
    at = synced()
    at.now = START + 3 * SECOND
    at.session.pulse.last_ns = at.now
    at.session.wake(at.now)
    at.send(change(71, 70, [["new", 101.5, 1.0]]))
    assert not at.book().published
    assert at.session.deadline <= at.now + 500 * MS
    assert sent(at.session.wake(at.now + 500 * MS)) == AGAIN
    assert at.book().reason == "crossed"


def test_a_new_connection_begins_without_a_book() -> None:
    at = synced()
    at.session.closed("1006", at.now)
    assert not at.book().published
    assert at.status(BOOK) == Status(LinkState.DOWN, BookState.EMPTY, "1006")
    other = desk(PERP)
    assert other.send(change(71, 70, [["new", 100.5, 1.0]])) is NOTHING
    assert not other.book().published


def test_a_book_restored_from_a_recording_goes_on_by_its_chain() -> None:
    at = synced()
    at.send(quote(100.5, 1.0, 100.7, 2.0, at=5))
    (checkpoint,) = at.session.checkpoints()
    assert (checkpoint.chain, checkpoint.seq) == (70, 1789344931302)
    other = desk(PERP, channels=[Channel.BOOK])
    other.session.restore(checkpoint, other.now)
    assert (other.book().bid, other.book().ask) == (100.5, 100.7)
    other.send(change(71, 70, [["new", 100.2, 1.0]]))
    assert other.book().levels(5) == ([(100.2, 1.0), (100.0, 10.0), (99.0, 20.0)], [(101.0, 30.0), (102.0, 40.0)])


def test_trades_through_a_standing_book_blank_it_and_block_trades_do_not() -> None:
    for block in (True, False):
        at = synced()
        trade = {"timestamp": 1, "instrument_name": "BTC-PERPETUAL", "price": 98.0, "amount": 10.0, "direction": "sell"}
        frame = notice("trades.BTC-PERPETUAL.100ms", [{**trade, "block_trade_id": "x"} if block else trade] * 2)
        asked: list[Action] = []
        for _ in range(21):
            asked.extend(at.send(frame))
            pass_time(at, 100 * MS)
        asked.extend(at.send(frame))
        assert sent(asked) == ([] if block else AGAIN)
        assert (at.book().published, at.book().reason) == ((True, "") if block else (False, "tape"))


def test_a_best_quote_the_book_does_not_follow_blanks_it() -> None:
    at = synced()
    at.send(quote(100.5, 1.0, 100.7, 2.0, at=50))
    assert at.book().bid == 100.5
    assert sent(pass_time(at, 4 * SECOND)) == AGAIN
    assert at.book().reason == "tape"


def test_a_best_quote_of_a_standing_book_that_says_the_same_is_no_contradiction() -> None:
    at = synced()
    at.send(quote(100.0, 11.0, 101.0, 30.0, at=50))
    assert pass_time(at, 10 * SECOND) == []
    assert at.book().published


def test_a_best_quote_from_impossibly_far_ahead_is_refused() -> None:
    at = synced()
    with pytest.raises(BadFrame, match="ahead"):
        at.send(quote(100.5, 1.0, 100.7, 2.0, at=86_400_001))
    assert at.book().bid == 100.0


def test_a_best_quote_without_a_book_is_a_pulse_and_no_more() -> None:
    at = desk(PERP, channels=[Channel.TOUCH])
    at.send(QUOTE)
    assert at.session.pulse.last_ns == at.now
    assert at.session.link is LinkState.READY
    assert at.heard.touches == []


# --- hostile frames -------------------------------------------------------------------------------------------------------------

GOOD = json.dumps(change(71, 70, [["new", 100.5, 1.0]], [["change", 101.0, 5.0]]), separators=(",", ":"))


def put(old: str, new: str) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new).encode()


HOSTILE: dict[str, bytes] = {
    "nan price": put("100.5", '"nan"'),
    "bare NaN price": put("100.5", "NaN"),
    "bare infinite price": put("100.5", "Infinity"),
    "overflowing price": put("100.5", "1e400"),
    "negative price": put("100.5", "-100.5"),
    "zero price": put("100.5", "0"),
    "price of 1e15": put("100.5", "1e15"),
    "empty price": put("100.5", '""'),
    "null price": put("100.5", "null"),
    "true price": put("100.5", "true"),
    "negative amount": put("5.0]", "-5.0]"),
    "infinite amount": put("5.0]", "1e999]"),
    "null amount": put("5.0]", "null]"),
    "unknown action": put('"new"', '"old"'),
    "action a number": put('"new"', "1"),
    "change of two": put('["new",100.5,1.0]', '["new",100.5]'),
    "change of four": put('["new",100.5,1.0]', '["new",100.5,1.0,1]'),
    "changes no list": put('[["new",100.5,1.0]]', '"100.5"'),
    "change id a fraction": put('"change_id":71', '"change_id":71.5'),
    "change id negative": put('"change_id":71', '"change_id":-71'),
    "change id null": put('"change_id":71', '"change_id":null'),
    "change id of 5,000 digits": put('"change_id":71', '"change_id":' + "7" * 5000),
    "change id missing": put('"change_id":71,', ""),
    "previous negative": put('"prev_change_id":70', '"prev_change_id":-1'),
    "previous missing": put(',"prev_change_id":70', ""),
    "previous null": put('"prev_change_id":70', '"prev_change_id":null'),
    "bids missing": put('"bids":[["new",100.5,1.0]],', ""),
    "data missing": put('"data"', '"date"'),
    "data a list": put('"data":{', '"data":[{'),
    "params a list": put('"params":{', '"params":[{'),
    "type unknown": put('"type":"change"', '"type":"update"'),
    "timestamp missing": put('"timestamp":1789344931312,', ""),
    "timestamp in microseconds": put("1789344931312", "1789344931312000"),
    "timestamp negative": put("1789344931312", "-1"),
    "timestamp text": put("1789344931312", '"soon"'),
    "channel a number": put('"book.BTC-PERPETUAL.100ms"', "200"),
    "two channels": put('"data"', '"channel":"book.ETH-PERPETUAL.100ms","data"'),
    "another instrument": put('"instrument_name":"BTC-PERPETUAL"', '"instrument_name":"ETH-PERPETUAL"'),
    "instrument missing": put('"instrument_name":"BTC-PERPETUAL",', ""),
    "inner channel first": b'{"params":{"data":{"channel":"book.BTC-PERPETUAL.100ms"},"channel":"perpetual.X.raw"}}',
    "truncated": GOOD[:-9].encode(),
    "truncated in the channel": GOOD[:75].encode(),
    "trailing bytes": GOOD.encode() + b"}",
    "two frames": GOOD.encode() * 2,
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "bad UTF-8": put('"instrument_name":"BTC', '"instrument_name":"#').replace(b"#", b"\xff\xfe"),
    "bad UTF-8 channel": GOOD.encode().replace(b"book.BTC-PERPETUAL", b"book.\xff"),
    "lone surrogate": put('"instrument_name":"BTC-PERPETUAL"', '"instrument_name":"\\ud800"'),
    "deep": put('[["new",100.5,1.0]]', "[" * 5000 + "]" * 5000),
    "deep alone": b"[" * 5000 + b"]" * 5000,
    "answer no list": b'{"jsonrpc":"2.0","id":2,"result":{"a":1}}',
    "answer of numbers": b'{"jsonrpc":"2.0","id":2,"result":[1]}',
    "error no object": b'{"jsonrpc":"2.0","id":2,"error":5}',
    "error code a text": b'{"jsonrpc":"2.0","id":2,"error":{"code":"x"}}',
    "empty": b"",
    "blank": b" ",
    "zero bytes": b"\x00" * 64,
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_frame_does_not_change_a_published_book(data: bytes) -> None:
    at = desk(PERP, channels=[Channel.BOOK], acknowledges=False)
    at.send(FIRST)
    book = at.book()
    before = (book.version, book.levels(10), book.seq, at.session.feeds[PERP.id].chain)
    try:
        at.send(data)
    except (*DECODE_ERRORS, BadFrame):
        actions = at.session.refused(data, at.now)
        assert all(isinstance(action, Send) for action in actions)
    if book.published:
        assert (book.version, book.levels(10), book.seq, at.session.feeds[PERP.id].chain) == before
    else:
        assert book.levels(10) == ([], [])
        assert book.reason in ("decode", "gap")


REFUSED = [name for name in HOSTILE if name != "bad UTF-8 channel"]  # a channel nobody has is ignored unread


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_frame_is_refused_and_not_swallowed(name: str) -> None:
    at = desk(PERP, channels=[Channel.BOOK], acknowledges=False)
    at.send(FIRST)
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.send(HOSTILE[name])


def test_fields_that_are_new_do_not_stop_the_feed() -> None:
    at = synced()
    at.send(put('"type":"change"', '"type":"change","x":[{"y":null}]'))
    assert at.book().bid == 100.5


def test_numbers_with_exponents_are_read() -> None:
    at = synced()
    at.send(put("100.5,1.0", "1.005e2,8.7e3"))
    assert (at.book().bid, at.book().bid_size) == (100.5, 8700.0)


@pytest.mark.parametrize(
    ("of", "frame"),
    [
        (PERP, TRADES.replace('"buy"', '"BUY"')),
        (PERP, TRADES.replace("76917.5", "-1")),
        (PERP, TRADES.replace("8450.0", "0.0")),
        (PERP, TRADES.replace("8450.0", '"nan"')),
        (PERP, TRADES.replace('"tick_direction":0', '"liquidation":"X"')),
        (PERP, TRADES.replace('"instrument_name":"BTC-PERPETUAL"', '"instrument_name":"ETH-PERPETUAL"')),
        (PERP, TRADES.replace('"data"', '"channel":"trades.ETH-PERPETUAL.100ms","data"')),
        (PERP, TICKER.replace("83212.14", "-1")),
        (PERP, TICKER.replace("83251.03", "1e400")),
        (PERP, TICKER.replace("-2.1714e-4", "11")),
        (PERP, TICKER.replace("797578130", "-1")),
        (PERP, TICKER.replace("9341.40027576", "-1")),
        (PERP, TICKER.replace("1790755218559", "1790755218559000")),
        (PERP, TICKER.replace('"instrument_name":"BTC-PERPETUAL"', '"instrument_name":"ETH-PERPETUAL"')),
        (PERP, TICKER.replace('"data"', '"channel":"ticker.ETH-PERPETUAL.100ms","data"')),
        (PERP, QUOTE.replace("92288.0", '"nan"')),
        (PERP, QUOTE.replace("92288.0", "-1")),
        (PERP, QUOTE.replace('"best_bid_amount":133440.0', '"x":1')),
        (PERP, QUOTE.replace('"instrument_name":"BTC-PERPETUAL"', '"instrument_name":"ETH-PERPETUAL"')),
        (PERP, QUOTE.replace('"data"', '"channel":"quote.ETH-PERPETUAL","data"')),
        (PERP, GROUPED.replace("4040.0", "-1")),
        (PERP, GROUPED.replace("[76909.0,4040.0]", '["new",76909.0,4040.0]')),
        (PERP, GROUPED.replace('"instrument_name":"BTC-PERPETUAL"', '"instrument_name":"ETH-PERPETUAL"')),
        (PERP, GROUPED.replace('"data"', '"channel":"book.ETH-PERPETUAL.100ms","data"')),
        (SPOT, json.dumps(INDEX, separators=(",", ":")).replace("6521.17", "0")),
        (SPOT, json.dumps(INDEX, separators=(",", ":")).replace('"index_name":"btc_usdt"', '"index_name":"btc_usd"')),
        (SPOT, json.dumps(INDEX, separators=(",", ":")).replace('"data"', '"channel":"deribit_price_index.btc_usd","data"')),
    ],
)
def test_nonsense_on_any_channel_tells_nobody(of: Instrument, frame: str) -> None:
    at = desk(of)
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.send(frame)
    assert (at.heard.trades, at.heard.metrics, at.heard.touches, at.heard.books) == ([], [], [], [])
    assert at.session.link is LinkState.NOT_READY


def test_a_refused_change_blanks_its_book_and_no_other() -> None:
    at = desk(PERP, ETH)
    at.send(FIRST)
    at.send(json.dumps(FIRST).replace("BTC-PERPETUAL", "ETH-PERPETUAL"))
    at.now += 3 * SECOND
    assert sent(at.session.refused(HOSTILE["zero price"], at.now)) == AGAIN
    assert (at.book(PERP).state, at.book(PERP).reason) == (BookState.BUFFERING, "decode")
    assert at.book(ETH).published
    assert at.board.stream(BOOK).quarantined == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TRADES.encode(),
        TICKER.encode(),
        GROUPED.encode(),
        b'{"params":{"channel":"perpetual.BTC-PERPETUAL.raw"',
        b'{"params":{"channel":"book.XYZ.100ms"',
        b'{"params":{"channel":"deribit_price_index.btc_usd"',
    ],
)
def test_a_refused_frame_of_nobodys_book_leaves_the_books_alone(data: bytes) -> None:
    at = synced()
    assert at.session.refused(data, at.now) == NOTHING
    assert at.book().published


# --- control --------------------------------------------------------------------------------------------------------------------


def calls(actions: Sequence[Action]) -> list[dict[str, Any]]:
    return [json.loads(action.text) for action in actions if isinstance(action, Send)]


def opened(*instruments: Instrument, channels: Sequence[Channel] | None = None) -> list[dict[str, Any]]:
    streams = [Stream(each.id, channel) for each in instruments for channel in channels or VENUE.channels(each)]
    (plan,) = VENUE.plan(streams, INSTRUMENTS)
    return calls(VENUE.session(plan, INSTRUMENTS, Heard(), HealthBoard()).opened(START))


def test_a_connection_asks_for_heartbeats_and_then_for_its_channels() -> None:
    heartbeat, subscribe, rates = opened(PERP, SPOT, OPTION)
    assert heartbeat == {"jsonrpc": "2.0", "id": 1, "method": "public/set_heartbeat", "params": {"interval": 30}}
    assert (subscribe["jsonrpc"], subscribe["id"], subscribe["method"]) == ("2.0", 2, "public/subscribe")
    assert subscribe["params"]["channels"] == [
        "book.BTC-PERPETUAL.100ms",
        "quote.BTC-PERPETUAL",
        "trades.BTC-PERPETUAL.100ms",
        "ticker.BTC-PERPETUAL.100ms",
        "book.BTC_USDT.100ms",
        "quote.BTC_USDT",
        "trades.BTC_USDT.100ms",
        "ticker.BTC_USDT.100ms",
        "deribit_price_index.btc_usdt",
        "book.BTC-25DEC26-76000-C.100ms",
    ]
    pairs = ("btc_usd", "btc_usdc", "eth_usd", "eth_usdt", "eth_usdc", "usdc_usdt")  # one is asked for already
    assert (rates["id"], rates["method"]) == (3, "public/subscribe")
    assert rates["params"]["channels"] == [f"deribit_price_index.{pair}" for pair in pairs]


def test_the_indices_that_tell_dollars_apart_are_told_whatever_is_watched_and_stay_when_their_spot_pair_goes() -> None:
    at = desk(SPOT)
    at.send(INDEX)
    told = PairIndex("DERIBIT", "BTC", "USDT", 6521.17, 1535098298227 * MS)
    assert (at.heard.pairs, at.heard.metrics) == ([told], [Index(6521.17, 1535098298227 * MS)])
    left = sent(at.session.want((), [Stream(SPOT.id, channel) for channel in Channel], at.now))
    assert "ticker.BTC_USDT.100ms" in left[0][1]
    assert "deribit_price_index.btc_usdt" not in left[0][1]
    at.heard.metrics.clear()
    at.send(INDEX)
    at.send(notice("deribit_price_index.usdc_usdt", {"timestamp": 5, "price": 0.9998, "index_name": "usdc_usdt"}))
    assert at.heard.pairs == [told, told, PairIndex("DERIBIT", "USDC", "USDT", 0.9998, 5 * MS)]
    assert (at.heard.metrics, at.board.ignored) == ([], 0)


def test_an_index_that_flows_does_not_keep_a_market_alive_whose_ticker_is_silent() -> None:
    at = desk(PERP)
    at.send(FIRST)
    spoke_ns = at.now
    at.now += 2 * SECOND
    at.send(notice("deribit_price_index.btc_usd", {"timestamp": 7, "price": 83000.0, "index_name": "btc_usd"}))
    at.send(notice("deribit_price_index.eth_usdc", {"timestamp": 7, "price": 3000.0, "index_name": "eth_usdc"}))
    assert at.session.pulse.last_ns == spoke_ns
    (dropped,) = at.session.wake(spoke_ns + 3 * SECOND)
    assert isinstance(dropped, Drop)


def test_a_refused_index_of_a_pair_is_said_and_nothing_else_is_refused_with_it() -> None:
    at = desk(PERP, acknowledges=False)
    answer_to(at, 3, *(f"deribit_price_index.{pair}" for pair in ("btc_usd", "btc_usdt", "btc_usdc", "eth_usd", "eth_usdt")))
    (said,) = at.said()
    assert said.endswith("deribit_price_index.eth_usdc, deribit_price_index.usdc_usdt")
    assert not any(asked.declined for asked in at.session.streams.values())


def test_a_test_request_is_answered_at_once_and_is_no_sign_of_data() -> None:
    at = desk(PERP)
    (answer,) = calls(at.send(TEST_REQUEST))
    assert (answer["method"], answer["params"]) == ("public/test", {})
    assert at.send({"jsonrpc": "2.0", "id": answer["id"], "result": {"version": "1.2.26"}}) is NOTHING
    assert at.send(HEARTBEAT) is NOTHING
    assert (at.session.pulse.last_ns, at.session.link, at.board.ignored) == (START, LinkState.NOT_READY, 0)


def test_an_acknowledgement_is_no_sign_of_data() -> None:
    at = desk(PERP, acknowledges=False)
    assert at.send(PARTIAL) is NOTHING
    assert (at.session.pulse.last_ns, at.session.link, at.said()) == (START, LinkState.NOT_READY, [])


def answer_to(at: Desk, number: int, *channels: str) -> Sequence[Action]:
    return at.send({"jsonrpc": "2.0", "id": number, "result": channels, "usIn": 1, "usOut": 2, "usDiff": 1, "testnet": False})


def test_a_channel_that_is_missing_from_the_answer_is_refused_and_the_others_are_not() -> None:
    at = desk(PERP, ETH, channels=[Channel.BOOK, Channel.TRADE], acknowledges=False)
    answer_to(at, 2, "trades.ETH-PERPETUAL.100ms", "trades.BTC-PERPETUAL.100ms", "book.BTC-PERPETUAL.100ms")
    refused = Stream(ETH.id, Channel.BOOK)
    assert at.status(refused) == Status(LinkState.NOT_READY, BookState.BUFFERING, "the venue does not take the channel")
    assert at.said() == ["DERIBIT: the venue does not take the channel: book.ETH-PERPETUAL.100ms"]
    at.send(FIRST)
    assert at.status(BOOK) == Status(LinkState.READY, BookState.SYNCED)
    assert at.session.streams[Stream(ETH.id, Channel.TRADE)].request == ""
    assert at.session.streams[refused].declined


def test_a_refused_index_does_not_take_the_ticker_down_with_it() -> None:
    at = desk(SPOT, channels=[Channel.TICKER], acknowledges=False)
    answer_to(at, 2, "ticker.BTC_USDT.100ms")
    assert at.said() == ["DERIBIT: the venue does not take the channel: deribit_price_index.btc_usdt"]
    assert not at.session.streams[Stream(SPOT.id, Channel.TICKER)].declined


def test_where_the_book_of_changes_is_refused_the_grouped_one_is_asked_for() -> None:
    at = desk(PERP, channels=[Channel.BOOK, Channel.TRADE], acknowledges=False)
    answer_to(at, 2, "trades.BTC-PERPETUAL.100ms")
    asked = pass_time(at, 15_100 * MS)
    grouped = "book.BTC-PERPETUAL.none.20.100ms"
    assert sent(asked) == again(grouped)
    frame = GROUPED.replace("none.10", "none.20")
    at.send(frame)
    assert at.book().bid == 76914.0
    assert at.status(BOOK) == Status(LinkState.READY, BookState.SYNCED)
    at.now += 3 * SECOND
    assert sent(at.session.refused(frame.encode(), at.now)) == again(grouped)
    assert sent(at.session.want((), (BOOK,), at.now)) == [("public/unsubscribe", [grouped])]
    assert sent(at.session.want((BOOK,), (), at.now)) == AGAIN[1:]


def test_a_refused_grouped_book_is_given_up_for_the_book_of_changes() -> None:
    at = desk(PERP, channels=[Channel.BOOK, Channel.TRADE], acknowledges=False)
    at.send(TRADES)
    answer_to(at, 2, "trades.BTC-PERPETUAL.100ms")
    (_, subscribe) = calls(pass_time(at, 15_100 * MS))
    answer_to(at, subscribe["id"])
    assert sent(pass_time(at, 15_100 * MS)) == AGAIN


def test_data_may_come_before_the_acknowledgement() -> None:
    at = desk(PERP, channels=[Channel.BOOK], acknowledges=False)
    at.send(FIRST)
    answer_to(at, 2)
    assert at.book().published
    assert at.status(BOOK) == Status(LinkState.READY, BookState.SYNCED)


def test_an_error_fails_the_streams_of_its_request_in_clear_words() -> None:
    at = desk(PERP, channels=[Channel.BOOK], acknowledges=False)
    assert at.send(INVALID) is NOTHING
    assert at.said() == ["DERIBIT: error -32602: a parameter is wrong (kind invalid value)"]
    assert at.status(BOOK).link is LinkState.NOT_READY
    assert at.status(BOOK).reason == "error -32602: a parameter is wrong (kind invalid value)"


def test_an_error_of_another_request_holds_no_stream() -> None:
    at = desk(PERP, channels=[Channel.BOOK], acknowledges=False)
    too_small = '{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"data":{"reason":"value must be >= 10","param":"interval"}}}'
    at.send(too_small)
    assert at.said() == ["DERIBIT: error -32602: a parameter is wrong (interval value must be >= 10)"]
    assert at.status(BOOK) == Status(LinkState.NOT_READY, BookState.BUFFERING)


def test_an_error_without_a_number_holds_every_stream_that_has_no_data_yet() -> None:
    at = desk(PERP, ETH, channels=[Channel.BOOK], acknowledges=False)
    at.send(FIRST)
    at.send('{"jsonrpc":"2.0","error":{"code":11051,"message":"system_maintenance"}}')
    eth = Stream(ETH.id, Channel.BOOK)
    assert at.status(eth).reason == "error 11051: the venue is under maintenance"
    assert at.status(BOOK) == Status(LinkState.READY, BookState.SYNCED)
    at.send(json.dumps(FIRST).replace("BTC-PERPETUAL", "ETH-PERPETUAL"))
    assert at.status(eth) == Status(LinkState.READY, BookState.SYNCED)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            {"code": 13778, "message": "raw_subscriptions_not_available_for_unauthorized"},
            "error 13778: raw channels are only for",
        ),
        ({"code": 13009, "message": "unauthorized", "data": {"reason": "invalid_token"}}, "(invalid_token)"),
        ({"code": 4711, "message": "something new", "data": "text"}, "error 4711: something new"),
        ({"code": 4711, "message": "", "data": [1]}, "error 4711: unknown"),
    ],
)
def test_an_error_is_told_with_its_number_whatever_comes_with_it(error: dict[str, object], words: str) -> None:
    at = desk(PERP, channels=[Channel.BOOK], acknowledges=False)
    at.send({"jsonrpc": "2.0", "id": 2, "error": error})
    (said,) = at.said()
    assert words in said


def test_too_many_requests_give_the_connection_up_for_half_a_minute() -> None:
    at = desk(PERP, acknowledges=False)
    (drop,) = at.send('{"jsonrpc":"2.0","id":2,"error":{"code":10028,"message":"too_many_requests","data":{"wait":1}}}')
    assert drop == Drop("error 10028: too many requests", 30 * SECOND)
    assert at.said() == ["DERIBIT: error 10028: too many requests"]


@pytest.mark.parametrize("code", [1, 10028])
def test_an_error_text_cannot_drive_the_terminal(code: int) -> None:
    at = desk(PERP, channels=[Channel.BOOK], acknowledges=False)
    data = {"reason": "\x1b[2J" + "y" * 500, "param": "\x9b"}
    error = {"code": code, "message": "\x1b]52;c;aGk=\x07" + "x" * 500, "data": data}
    for action in at.send({"jsonrpc": "2.0", "id": 2, "error": error}):
        assert isinstance(action, Drop)
        assert not {"\x1b", "\x07", "\x9b"}.intersection(action.reason)
    with pytest.raises(BadFrame) as refusal:
        VENUE.instruments({"instruments:any:spot": json.dumps({"error": error}).encode()})
    assert not {"\x1b", "\x07", "\x9b"}.intersection(str(refusal.value))
    (said,) = at.said()
    assert not {"\x1b", "\x07", "\x9b"}.intersection(said)
    assert len(said) < 300
    reason = at.status(BOOK).reason
    assert "\x1b" not in reason
    assert len(reason) <= 64


def test_the_same_refusal_again_is_said_once_and_costs_no_connection() -> None:
    at = desk(PERP, channels=[Channel.BOOK, Channel.TRADE], acknowledges=False)
    at.send(TRADES)
    answer_to(at, 2, "trades.BTC-PERPETUAL.100ms")
    asked = []
    for second in range(1, 151):
        actions = pass_time(at, SECOND)
        asked.extend([second] * bool(sent(actions)))
        for call in calls(actions):
            if call["method"] == "public/subscribe":
                at.send({"jsonrpc": "2.0", "id": call["id"], "error": {"code": 13009, "message": "unauthorized"}})
    assert asked == [15, 30, 90, 150]
    assert at.said()[1:] == ["DERIBIT: error 13009: only for signed-in users"]


def test_answers_that_never_come_do_not_fill_the_memory() -> None:
    at = synced()
    for _ in range(10 * REQUESTS_KEPT):
        at.session.again((BOOK,), at.now)
    assert len(at.session._awaited) == REQUESTS_KEPT


def test_an_object_without_meaning_is_a_counter() -> None:
    at = desk(PERP)
    for frame in ("{}", '{"params":{}}', '{"jsonrpc":"2.0","method":"subscription"}'):
        assert at.send(frame) is NOTHING
    assert at.board.ignored == 3


def test_the_first_data_makes_the_link_ready_once() -> None:
    at = desk(PERP, channels=[Channel.BOOK, Channel.TRADE])
    at.send(TRADES)
    assert at.session.link is LinkState.READY
    assert at.status(BOOK) == Status(LinkState.READY, BookState.BUFFERING)
    told = len(at.heard.statuses)
    at.send(TRADES)
    assert len(at.heard.statuses) == told


@pytest.mark.parametrize(
    ("of", "channels", "silence_ns"),
    [
        (PERP, (Channel.BOOK, Channel.TICKER), 3 * SECOND),
        (DATED, (Channel.BOOK, Channel.TICKER), 3 * SECOND),
        (PERP, (Channel.BOOK, Channel.TOUCH), 4_500 * MS),
        (SPOT, (Channel.BOOK, Channel.TICKER), 4_500 * MS),
    ],
)
def test_a_silent_link_is_given_up_by_its_pulse_whatever_its_heartbeats(
    of: Instrument, channels: Sequence[Channel], silence_ns: Ns
) -> None:
    at = desk(of, channels=channels)
    at.now = START + silence_ns - 2 * MS
    at.send(TEST_REQUEST)
    assert not any(isinstance(action, Drop) for action in at.session.wake(START + silence_ns - MS))
    (dropped,) = at.session.wake(START + silence_ns)
    assert isinstance(dropped, Drop)
    assert at.status(Stream(of.id, Channel.BOOK)).link is LinkState.DOWN
    assert at.session.wake(START + 60 * SECOND) == NOTHING


def test_what_arrives_on_a_dead_link_brings_no_book_back() -> None:
    at = synced()
    at.now += 5 * SECOND
    at.session.wake(at.now)
    told = len(at.heard.statuses), len(at.heard.books)
    assert at.send(FIRST) == NOTHING
    assert at.send(TRADES) == at.send(TEST_REQUEST) == at.send(INVALID) == NOTHING
    assert not at.book().published
    assert (len(at.heard.statuses), len(at.heard.books), at.heard.trades) == (*told, [])


def test_a_ticker_that_is_dropped_and_wanted_again_tells_everything_again() -> None:
    at = desk(PERP)
    at.send(TICKER)
    told = list(at.heard.metrics)
    at.session.want((), (TICKER_OF,), at.now)
    at.session.want((TICKER_OF,), (), at.now)
    at.heard.metrics.clear()
    at.send(TICKER)
    assert at.heard.metrics == told


@pytest.mark.parametrize(
    "frame", [SNAPSHOT, GROUPED, QUOTE, TRADES, TICKER], ids=["book", "grouped", "quote", "trades", "ticker"]
)
def test_every_channel_is_a_sign_of_life_each_time(frame: str) -> None:
    at = desk(PERP)
    for _ in range(2):
        at.send(frame)
        assert at.session.pulse.last_ns == at.now
    assert at.session.link is LinkState.READY
    assert sum(health.frames for health in at.board.streams.values()) == 2
    assert sum(health.bytes for health in at.board.streams.values()) == 2 * len(frame)


def test_a_stream_that_is_dropped_and_wanted_again_starts_over() -> None:
    at = synced()
    assert sent(at.session.want((), (BOOK,), at.now)) == AGAIN[:1]
    ignored = at.board.ignored
    at.send(change(71, 70, [["new", 100.5, 1.0]]))
    assert at.board.ignored == ignored + 1
    assert sent(at.session.want((BOOK,), (), at.now)) == AGAIN[1:]
    at.send(change(72, 71, [["new", 100.5, 1.0]]))
    assert not at.book().published
    at.send(FIRST)
    assert at.book().published


def test_a_rest_answer_is_nobodys() -> None:
    at = synced()
    assert at.session.answer("instruments:any:spot", FetchError(429, "no"), at.now) == NOTHING


# --- silence, taking over (the rules themselves: test_session_rules) ------------------------------------------------------------


def pass_time(at: Desk, span: Ns) -> list[Action]:
    """Boundary by boundary, with a sign of life at each."""
    actions: list[Action] = []
    until = at.now // (100 * MS) * (100 * MS) + span
    at.now = at.now // (100 * MS) * (100 * MS)
    while at.now < until:
        at.session.frame(b'{"params":{"channel":"platform_state"}}', at.now)
        at.now += 100 * MS
        if at.session.deadline <= at.now:
            actions.extend(at.session.wake(at.now))
    return actions


def test_a_silent_ticker_of_a_derivative_is_asked_for_again_though_its_index_goes_on() -> None:
    at = desk(PERP, channels=[Channel.TICKER])
    at.send(TICKER)
    actions: list[Action] = []
    for second in range(4):
        data = {"timestamp": second, "price": 83000.0, "index_name": "btc_usd"}
        at.send(notice("deribit_price_index.btc_usd", data))
        actions.extend(pass_time(at, SECOND))
    assert sent(actions) == again("ticker.BTC-PERPETUAL.100ms")
    assert at.status(TICKER_OF) == Status(LinkState.NOT_READY, BookState.EMPTY, "no data")
    at.send(TICKER)
    assert at.status(TICKER_OF) == Status(LinkState.READY, BookState.EMPTY)


def test_a_spot_ticker_may_be_silent() -> None:
    at = desk(SPOT, channels=[Channel.TICKER])
    at.send(notice("ticker.BTC_USDT.100ms", {"timestamp": 9, "instrument_name": "BTC_USDT"}))
    assert pass_time(at, 100 * SECOND) == []


def test_a_book_whose_snapshot_never_comes_after_a_gap_costs_the_connection() -> None:
    at = desk(PERP, channels=[Channel.BOOK])
    at.send(FIRST)
    pass_time(at, 3 * SECOND)
    asked = at.send(change(72, 71))
    assert sent(asked) == AGAIN
    answer_to(at, calls(asked)[1]["id"], "book.BTC-PERPETUAL.100ms")
    for number in range(72, 90):
        at.send(change(number + 1, number))  # of the old subscription
    (_, subscribe) = actions = pass_time(at, 15_100 * MS)
    assert sent(actions) == AGAIN
    answer_to(at, calls([subscribe])[0]["id"], "book.BTC-PERPETUAL.100ms")
    (drop,) = pass_time(at, 15 * SECOND)
    assert isinstance(drop, Drop)


def test_a_silent_book_is_not_blanked_and_a_fresh_snapshot_proves_it() -> None:
    at = desk(PERP, channels=[Channel.BOOK])
    at.send(FIRST)
    assert sent(pass_time(at, 65_100 * MS)) == AGAIN
    assert at.book().published
    at.send(FIRST)
    assert pass_time(at, 60 * SECOND) == []
    assert at.book().published


def test_a_promoted_session_restates_what_only_changes_would_tell() -> None:
    at = desk(PERP)
    at.send(TICKER)
    at.send(FIRST)
    assert at.session.ready
    told, heard, board = list(at.heard.metrics), Heard(), HealthBoard()
    at.session.promote(heard, board, at.now)
    assert heard.metrics == told
    assert len(told) == 5
    assert heard.books == [(PERP.id, 100.0, 101.0)]
    at.send(TICKER.replace("83212.14", "83212.15"))
    assert len(heard.metrics) == 7
    assert (len(at.heard.metrics), board.stream(TICKER_OF).frames) == (5, 1)
    at.session.retire()
    at.send(TICKER.replace("83212.14", "83212.16"))
    at.send(snapshot(500, [(1.0, 1.0)], [(2.0, 1.0)]))
    assert (len(heard.metrics), len(heard.books), at.book().published) == (7, 1, False)


def test_what_is_not_known_is_not_restated() -> None:
    at = desk(PERP)
    data = {"timestamp": 1, "instrument_name": "BTC-PERPETUAL", "mark_price": 5.0}
    at.send(notice("ticker.BTC-PERPETUAL.100ms", data))
    heard = Heard()
    at.session.promote(heard, HealthBoard(), at.now)
    assert heard.metrics == [Mark(5.0, MS)]


def test_an_expired_contract_is_unsubscribed() -> None:
    soon = msgspec.structs.replace(DATED, expiry_ns=START + 3 * SECOND)
    known = {**INSTRUMENTS, soon.id: soon}
    streams = [Stream(PERP.id, Channel.TRADE), Stream(soon.id, Channel.BOOK), Stream(soon.id, Channel.TICKER)]
    (plan,) = VENUE.plan(streams, known)
    heard = Heard()
    session = DeribitSession(plan, known, heard, HealthBoard())
    for action in session.opened(START):
        assert isinstance(action, Send)
        acknowledge(session, action, START)
    at = Desk(session, heard, session.board)
    expected = [("public/unsubscribe", ["book.BTC-25DEC26.100ms", "ticker.BTC-25DEC26.100ms"])]
    assert sent(pass_time(at, 3 * SECOND)) == expected
    assert at.status(streams[1]) == at.status(streams[2]) == Status(LinkState.CLOSED, BookState.EMPTY, "expired")
    assert list(session.streams) == streams[:1]


# --- the venue's facts ----------------------------------------------------------------------------------------------------------


def many(count: int) -> dict[str, Instrument]:
    coins = [instrument(f"DERIBIT:C{i}/USDC", f"C{i}_USDC", Kind.SPOT) for i in range(count)]
    return {each.id: each for each in coins}


def test_one_request_takes_at_most_a_hundred_channels_and_misses_none() -> None:
    known = many(90)
    (plan,) = VENUE.plan([Stream(each.id, channel) for each in known.values() for channel in VENUE.channels(each)], known)
    messages = calls(VENUE.session(plan, known, Heard(), HealthBoard()).opened(START))[1:]
    assert all(len(message["params"]["channels"]) <= 100 for message in messages)
    names = ("book.{}.100ms", "quote.{}", "trades.{}.100ms", "ticker.{}.100ms")
    expected = [name.format(f"C{i}_USDC") for i in range(90) for name in names]
    expected += [f"deribit_price_index.c{i}_usdc" for i in range(90)]
    expected += [f"deribit_price_index.{base}_{quote}" for base in ("btc", "eth") for quote in ("usd", "usdt", "usdc")]
    expected += ["deribit_price_index.usdc_usdt"]
    assert sorted(channel for message in messages for channel in message["params"]["channels"]) == sorted(expected)
    assert len({message["id"] for message in messages}) == len(messages)


def test_very_many_streams_are_split_and_an_instruments_stay_together() -> None:
    known = many(250)
    wanted = [Stream(each.id, channel) for each in known.values() for channel in VENUE.channels(each)]
    plans = VENUE.plan(wanted, known)
    assert [stream for plan in plans for stream in plan.streams] == wanted
    assert max(len(plan.streams) for plan in plans) == 400
    assert sum(len({stream.instrument for stream in plan.streams}) for plan in plans) == 250


def test_every_instrument_shares_one_socket() -> None:
    wanted = [Stream(each.id, Channel.BOOK) for each in (SPOT, PERP, DATED, LINEAR)]
    (plan,) = Deribit({"public": Endpoint("http://127.0.0.1:8", "ws://127.0.0.1:9")}).plan(wanted, INSTRUMENTS)
    assert (plan.venue, plan.market, plan.url) == ("DERIBIT", "public", "ws://127.0.0.1:9/ws/api/v2")
    assert plan.streams == tuple(wanted)
    assert VENUE.plan(wanted, INSTRUMENTS)[0].url == "wss://www.deribit.com/ws/api/v2"


def test_a_channel_an_instrument_does_not_have_opens_no_connection() -> None:
    assert VENUE.plan([Stream(OPTION.id, Channel.TICKER), Stream(PERP.id, Channel.LIQUIDATION)], INSTRUMENTS) == []
    assert list(VENUE.channels(PERP)) == [Channel.BOOK, Channel.TOUCH, Channel.TRADE, Channel.TICKER]
    assert list(VENUE.channels(OPTION)) == [Channel.BOOK]


@pytest.mark.parametrize(
    ("topic", "stream"),
    [
        ("book.BTC-PERPETUAL.100ms", BOOK),
        ("book.BTC-PERPETUAL.raw", BOOK),
        ("book.BTC-PERPETUAL.agg2", BOOK),
        ("book.BTC-PERPETUAL.none.20.100ms", BOOK),
        ("book.BTC-PERPETUAL.none.1.100ms", BOOK),
        ("book.BTC-PERPETUAL.5.10.100ms", None),
        ("book.BTC-PERPETUAL.none.7.100ms", None),
        ("book.BTC-PERPETUAL", None),
        ("quote.BTC_USDT", Stream(SPOT.id, Channel.TOUCH)),
        ("quote.BTC_USDT.raw", None),
        ("ticker.BTC-25DEC26.raw", Stream(DATED.id, Channel.TICKER)),
        ("trades.SOL_USDC-PERPETUAL.100ms", Stream(LINEAR.id, Channel.TRADE)),
        ("trades.future.BTC.100ms", None),
        ("book.BTC-25DEC26-76000-C.raw", Stream(OPTION.id, Channel.BOOK)),
        ("ticker.BTC-25DEC26-76000-C.raw", None),
        ("deribit_price_index.btc_usdt", Stream(SPOT.id, Channel.TICKER)),
        ("deribit_price_index.usdc_usdt", Stream(STABLE.id, Channel.TICKER)),
        ("deribit_price_index.btc_usd", TICKER_OF),
        ("deribit_price_index.doge_usd", None),
        ("perpetual.BTC-PERPETUAL.100ms", None),
        ("incremental_ticker.BTC-PERPETUAL", None),
        ("ticker.BTC-PERPETUAL.100ms\n", None),
        ("ticker.BTC-1JAN30.100ms", None),
    ],
)
def test_a_topic_means_one_stream_or_none(topic: str, stream: Stream | None) -> None:
    assert VENUE.stream_of("public", topic, INSTRUMENTS) == stream
    assert VENUE.stream_of("elsewhere", topic, INSTRUMENTS) is None


@pytest.mark.parametrize(
    ("data", "topic"),
    [
        (TICKER.encode(), "ticker.BTC-PERPETUAL.100ms"),
        (b'{"params":{"data":[],"channel":"platform_state"}}', "platform_state"),
        (b'{ "params" : { "channel" : "quote.X" } }', "quote.X"),
        (b'{"params":{"channel":"\x1b[2J"}}', "\ufffd[2J"),
        (PARTIAL.encode(), None),
        (TEST_REQUEST.encode(), None),
        (b"nonsense", None),
        (b"[" * 5000, None),
        (b'{"params":{"channel":"' + b"x" * 500 + b'"}}', "x" * 100),
    ],
)
def test_a_frames_topic_is_found_wherever_it_stands(data: bytes, topic: str | None) -> None:
    assert VENUE.topic("public", data) == topic


def row(**changes: object) -> dict[str, object]:
    """A row of the answer of 2026-09-14 (test.deribit.com), shortened."""
    return {
        "min_trade_amount": 10.0,
        "is_active": True,
        "price_index": "btc_usd",
        "state": "open",
        "taker_commission": 0.0005001,
        "max_leverage": 50,
        "base_currency": "BTC",
        "settlement_currency": "BTC",
        "contract_size": 10.0,
        "kind": "future",
        "future_type": "reversed",
        "tick_size_steps": [],
        "expiration_timestamp": 32503708800000,
        "instrument_name": "BTC-PERPETUAL",
        "settlement_period": "perpetual",
        "instrument_type": "reversed",
        "counter_currency": "USD",
        "tick_size": 0.5,
        "maker_commission": 0.0,
        "quote_currency": "USD",
        **changes,
    }


FUTURE: dict[str, object] = {
    "instrument_name": "BTC-25DEC26",
    "expiration_timestamp": 1798185600000,
    "settlement_period": "month",
    "tick_size": 2.5,
    "taker_commission": 0.0005,
}
IN_USDC: dict[str, object] = {
    "instrument_name": "SOL_USDC-PERPETUAL",
    "base_currency": "SOL",
    "quote_currency": "USDC",
    "counter_currency": "USDC",
    "settlement_currency": "USDC",
    "instrument_type": "linear",
    "future_type": "linear",
    "tick_size": 0.01,
    "min_trade_amount": 0.1,
    "contract_size": 0.1,
}
PAIR: dict[str, object] = {
    "instrument_name": "BTC_USDT",
    "kind": "spot",
    "quote_currency": "USDT",
    "counter_currency": "USDT",
    "settlement_currency": None,
    "instrument_type": "linear",
    "future_type": None,
    "tick_size": 0.1,
    "min_trade_amount": 0.0001,
    "contract_size": 0.0001,
    "maker_commission": 0.0,
    "taker_commission": 0.0,
}
OPTION_ROW: dict[str, object] = {
    "instrument_name": "BTC-25DEC26-76000-C",
    "kind": "option",
    "quote_currency": "BTC",
    "expiration_timestamp": 1798185600000,
    "strike": 76000.0,
    "option_type": "call",
    "tick_size": 0.0001,
    "tick_size_steps": [{"above_price": 0.005, "tick_size": 0.0005}],
    "min_trade_amount": 0.1,
    "contract_size": 1.0,
}


def answered(*rows: object) -> Sequence[Instrument]:
    body = {"jsonrpc": "2.0", "result": rows, "usIn": 1, "usOut": 2, "usDiff": 1, "testnet": False}
    return VENUE.instruments({"instruments:any:future": json.dumps(body).encode()})


def test_an_inverse_perpetual_is_read_field_by_field() -> None:
    (found,) = answered(row())
    assert found == Instrument(
        id="DERIBIT:BTC/USD:BTC",
        venue="DERIBIT",
        market="public",
        native="BTC-PERPETUAL",
        base="BTC",
        quote="USD",
        settle="BTC",
        kind=Kind.PERP,
        contract=Contract.INVERSE,
        contract_size=1.0,
        tick=0.5,
        lot=10.0,
        min_notional=0.0,
        expiry_ns=0,
        funding_interval_s=0,
        fees=Fees(0.0, 0.0005001),
    )
    assert found.to_quote(8450.0, 76917.5) == 8450.0


@pytest.mark.parametrize("routed", [True, False])
def test_trades_are_not_asked_for_where_a_pair_is_matched_on_another_exchange(routed: bool) -> None:
    venue = Deribit()
    rows = [row(), row(**PAIR, **({"is_cbe_routed": True, "is_csr": True} if routed else {}))]
    body = json.dumps({"jsonrpc": "2.0", "result": rows}).encode()
    perp, spot = venue.instruments({"instruments:any:any": body})
    assert (Channel.TRADE in venue.channels(spot)) is not routed
    assert Channel.TRADE in venue.channels(perp)
    wanted = [Stream(each.id, Channel.TRADE) for each in (perp, spot)]
    (plan,) = venue.plan(wanted, {each.id: each for each in (perp, spot)})
    assert list(plan.streams) == wanted[: 1 if routed else 2]


def test_a_dated_future_expires_when_its_list_says() -> None:
    (found,) = answered(row(**FUTURE))
    assert (found.id, found.native, found.kind) == ("DERIBIT:BTC/USD:BTC-261225", "BTC-25DEC26", Kind.FUTURE)
    assert (found.expiry_ns, found.tick, found.fees) == (1798185600000 * MS, 2.5, Fees(0.0, 0.0005))


def test_a_contract_in_usdc_is_linear_and_sized_in_coin() -> None:
    (found,) = answered(row(**IN_USDC))
    assert (found.id, found.contract, found.contract_size) == ("DERIBIT:SOL/USDC:USDC", Contract.LINEAR, 1.0)
    assert (found.tick, found.lot, found.to_base(5.0, 100.0), found.to_quote(5.0, 100.0)) == (0.01, 0.1, 5.0, 500.0)


@pytest.mark.parametrize("settle", [None, "USDT", ""])
def test_a_spot_pair_settles_in_nothing(settle: str | None) -> None:
    changes = {**PAIR, "settlement_currency": settle}
    (found,) = answered(row(**changes))
    assert (found.id, found.kind, found.settle, found.expiry_ns) == ("DERIBIT:BTC/USDT", Kind.SPOT, "", 0)
    assert (found.tick, found.lot, found.fees) == (0.1, 0.0001, Fees(0.0, 0.0))


def test_an_option_is_known_and_its_sizes_are_never_converted() -> None:
    (found,) = answered(row(**OPTION_ROW))
    assert (found.id, found.kind, found.native) == ("DERIBIT:BTC/USD:BTC-261225-76000-C", Kind.OPTION, "BTC-25DEC26-76000-C")
    assert (found.lot, found.expiry_ns) == (0.1, 1798185600000 * MS)
    assert isnan(found.to_base(1.0, 0.05))
    linear = {**OPTION_ROW, **IN_USDC, "kind": "option", "instrument_name": "SOL_USDC-25DEC26-2d5-P", "strike": 2.5}
    (found,) = answered(row(**{**linear, "expiration_timestamp": 1798185600000}))
    assert (found.id, found.contract) == ("DERIBIT:SOL/USDC:USDC-261225-2.5-P", Contract.LINEAR)


def test_where_the_tick_depends_on_the_price_the_finest_is_taken() -> None:
    (found,) = answered(row(**OPTION_ROW))
    assert found.tick == 0.0001
    steps = [{"above_price": 100.0, "tick_size": 1.0}, {"above_price": 1000.0, "tick_size": 0.25}]
    (found,) = answered(row(tick_size_steps=steps))
    assert found.tick == 0.25


@pytest.mark.parametrize("missing", ["maker_commission", "taker_commission"])
def test_fees_that_are_not_told_are_none_and_not_zero(missing: str) -> None:
    entry = row()
    del entry[missing]
    (found,) = answered(entry)
    assert found.fees is None
    (found,) = answered(row(maker_commission=-0.0001))
    assert found.fees == Fees(-0.0001, 0.0005001)


def test_a_row_of_2021_says_less_and_is_read_all_the_same() -> None:
    entry = row(**FUTURE)
    for key in ("settlement_currency", "counter_currency", "instrument_type", "future_type", "tick_size_steps", "price_index"):
        del entry[key]
    assert answered(entry) == answered(row(**FUTURE))


@pytest.mark.parametrize(
    "changes",
    [
        {"is_active": False},
        {"kind": "future_combo", "instrument_name": "BTC-FS-25DEC26_PERP"},
        {"kind": "option"},
        {"kind": "spot"},
        {"kind": "perpetual"},
        {"instrument_name": "BTC"},
        {"instrument_name": ""},
        {"instrument_name": "BTC-PERPETUAL\x1b[2J"},
        {"instrument_name": "btc-PERPETUAL"},
        {"base_currency": "ETH"},
        {"base_currency": ""},
        {"quote_currency": "EUR", "counter_currency": "EUR"},
        {"settlement_currency": "ETH"},
        {"instrument_type": "linear"},
        {"expiration_timestamp": 1798185600000},
        {"expiration_timestamp": -1},
        {**FUTURE, "expiration_timestamp": 32503708800000},
        {**FUTURE, "expiration_timestamp": 1798272000000},
        {**FUTURE, "expiration_timestamp": 0},
        {"tick_size": 0},
        {"tick_size": "nan"},
        {"tick_size_steps": [{"above_price": 1.0, "tick_size": 0}]},
        {"min_trade_amount": 0},
        {"min_trade_amount": None},
        {"taker_commission": 5},
        {"taker_commission": "nan"},
    ],
    ids=str,
)
def test_what_does_not_trade_or_contradicts_itself_is_left_out(changes: dict[str, object]) -> None:
    assert [found.native for found in answered(row(**changes), row(**IN_USDC), 5, None, [])] == ["SOL_USDC-PERPETUAL"]


@pytest.mark.parametrize(
    ("native", "name"),
    [
        ("BTC-PERPETUAL", "DERIBIT:BTC/USD:BTC"),
        ("BTC-3JUL26", "DERIBIT:BTC/USD:BTC-260703"),
        ("BTC-25DEC26", "DERIBIT:BTC/USD:BTC-261225"),
        ("SOL_USDC-PERPETUAL", "DERIBIT:SOL/USDC:USDC"),
        ("BTC_USDC-25DEC26", "DERIBIT:BTC/USDC:USDC-261225"),
        ("BTC_USDC", "DERIBIT:BTC/USDC"),
        ("USDC_USDT", "DERIBIT:USDC/USDT"),
        ("BTC-25DEC26-76000-C", "DERIBIT:BTC/USD:BTC-261225-76000-C"),
        ("XRP_USDC-26DEC25-2d5-P", "DERIBIT:XRP/USDC:USDC-251226-2.5-P"),
    ],
)
def test_names_go_both_ways(native: str, name: str) -> None:
    parts = symbols.native_to_parts("DERIBIT", "public", native)
    assert parts is not None
    assert symbols.format_id(parts) == name
    assert symbols.native_name(symbols.parse(name)) == native


@pytest.mark.parametrize(
    "native", ["BTC", "BTC-FS-25DEC26_PERP", "BTC-32DEC26", "BTC-25DEC26-76000", "_USDC", "BTC-PERPETUAL-C", ""]
)
def test_unknown_names_are_refused_and_not_guessed(native: str) -> None:
    assert symbols.native_to_parts("DERIBIT", "public", native) is None


def test_what_deribit_does_not_list_has_no_name() -> None:
    with pytest.raises(InputError):
        symbols.native_name(symbols.parse("DERIBIT:ETH/USD:BTC"))


def test_a_refused_list_is_an_error_and_not_an_empty_market() -> None:
    refusal = b'{"jsonrpc":"2.0","error":{"code":10028,"message":"too_many_requests\\u001b"},"usIn":1,"usOut":2}'
    with pytest.raises(BadFrame, match="DERIBIT instruments: error 10028: too many requests"):
        VENUE.instruments({"instruments:any:spot": refusal})
    for body in (b"<html>403</html>", b"{}", b'{"result":{}}', b"[]"):
        with pytest.raises(DECODE_ERRORS):
            VENUE.instruments({"instruments:any:spot": body})
    assert VENUE.instruments({"depth:BTC-PERPETUAL": b"nonsense"}) == []


def test_the_catalogue_asks_for_futures_and_for_spot() -> None:
    fetches = VENUE.catalogue()
    assert [(fetch.key, fetch.path) for fetch in fetches] == [
        ("instruments:any:future", "/api/v2/public/get_instruments?currency=any&kind=future&expired=false"),
        ("instruments:any:spot", "/api/v2/public/get_instruments?currency=any&kind=spot&expired=false"),
    ]
    assert {fetch.market for fetch in fetches} == {"public"}
    assert [VENUE.catalogue_key("https://www.deribit.com" + fetch.path) for fetch in fetches] == [fetch.key for fetch in fetches]
    assert VENUE.next_page(fetches[0].key, b"") is None


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("https://www.deribit.com/api/v2/public/get_instruments?currency=BTC&expired=false", "instruments:BTC:all"),
        ("https://www.deribit.com/api/v2/public/get_instruments?currency=USDC&kind=future", "instruments:USDC:future"),
        ("https://www.deribit.com/api/v2/public/get_instruments?currency=BTC&expired=true", None),
        ("https://www.deribit.com/api/v2/public/get_instruments?currency=B%1b&kind=future", None),
        ("https://www.deribit.com/api/v2/public/get_instruments?currency=BTC&kind=x", None),
        ("https://www.deribit.com/api/v2/public/get_instruments", None),
        ("https://www.deribit.com/api/v2/public/ticker?instrument_name=BTC-PERPETUAL", None),
    ],
)
def test_a_recorded_request_is_recognised_by_its_url(url: str, key: str | None) -> None:
    assert VENUE.catalogue_key(url) == key
    assert VENUE.snapshot_key(url) is None


def test_the_venues_time_is_the_middle_of_the_request() -> None:
    assert VENUE.clock("public") == Fetch("clock:public", "/api/v2/public/get_time", 1, 1, "public")
    body = (
        b'{"jsonrpc":"2.0","result":1789347085459,"usIn":1789347085459496,"usOut":1789347085459642,"usDiff":146,"testnet":true}'
    )
    assert VENUE.server_ns(body) == 1789347085459569 * 1000
    assert VENUE.server_ns(b'{"jsonrpc":"2.0","result":1789347085459}') == 1789347085459 * MS
    assert VENUE.server_ns(b'{"result":1789347085459,"usIn":5,"usOut":4}') == 1789347085459 * MS
    with pytest.raises(BadFrame, match="10028"):
        VENUE.server_ns(b'{"jsonrpc":"2.0","error":{"code":10028,"message":"too_many_requests"}}')
    for other in (b"{}", b'{"result":0}', b'{"result":"soon"}', b'{"result":9e30}', b'{"result":1,"usIn":-1}'):
        with pytest.raises(DECODE_ERRORS):
            VENUE.server_ns(other)


def test_the_terms_keep_within_the_venues_credits() -> None:
    terms = VENUE.terms("public")
    assert (terms.rest, terms.pool, terms.lives_ns) == ("https://www.deribit.com", "deribit", 0)
    assert terms.weight_per_minute * 500 <= 60 * 10_000
    assert terms.sends_per_s * 3_000 <= 10_000
    assert {60 * fetch.weight for fetch in VENUE.catalogue()} == {terms.weight_per_minute}


def test_nan_is_never_told_for_what_a_frame_states() -> None:
    at = desk(PERP)
    at.send(TICKER)
    for metric in at.heard.metrics:
        assert not any(value is nan or value != value for value in msgspec.structs.astuple(metric))
