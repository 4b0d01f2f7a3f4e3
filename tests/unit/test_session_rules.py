"""What every session does alike: dead links, crossed books, spaced resyncs, statuses (reliability 3.0). Driven as Binance."""

import json
from collections.abc import Sequence
from itertools import pairwise
from math import isnan

import pytest
from msgspec import structs

from feeds.errors import BadFrame
from feeds.health import HealthBoard
from feeds.model import MS, SECOND, BookState, Channel, Instrument, Kind, LinkState, Ns, OpenInterest, Status, Stream
from feeds.session import FAR_AHEAD, silence_ns
from feeds.venue import Drop, Fetch, Send
from tests.unit.test_binance import ALL, COINM, OTHERS, SPOT, USDM, Link, Notes, followed


def drops(link: Link) -> list[Drop]:
    return [action for action in link.asked if isinstance(action, Drop)]


@pytest.mark.parametrize(
    ("channels", "limit_ms"),
    [
        ((Channel.BOOK, Channel.TOUCH), 2_000),
        ((Channel.TICKER, Channel.TRADE), 3_000),
        ((Channel.TOUCH, Channel.TICKER), 2_000),
        ((Channel.BOOK, Channel.TRADE), 4_500),
    ],
    ids=["bookTicker pulse", "markPrice only", "both", "no pulse"],
)
def test_a_silent_link_is_dead_at_its_limit_and_not_before(channels: Sequence[Channel], limit_ms: int) -> None:
    link = Link(USDM, channels)
    link.wait((limit_ms - 100) * MS)
    assert drops(link) == []
    link.wait(100 * MS)
    (drop,) = drops(link)
    assert (drop.reason, drop.fatal, drop.wait_ns) == (f"no data for {limit_ms / 1000:.1f} s", False, 0)
    assert {status.link for _, status in link.notes.statuses[-len(channels) :]} == {LinkState.DOWN}
    link.wait(20 * SECOND)
    assert len(drops(link)) == 1


@pytest.mark.parametrize(("period_ms", "limit_ms"), [(100, 2_000), (700, 2_100), (1_000, 3_000), (3_000, 4_500), (None, 4_500)])
def test_the_silence_limit_is_three_periods_within_two_and_four_and_a_half_seconds(period_ms: int | None, limit_ms: int) -> None:
    assert silence_ns(None if period_ms is None else period_ms * MS) == limit_ms * MS


def test_a_dead_link_blanks_its_books_and_its_leg_at_once() -> None:
    link = followed(SPOT)
    link.wait(2 * SECOND)
    assert isnan(link.book.bid)
    assert (link.book.state, link.book.reason) == (BookState.EMPTY, "link")
    assert not link.book.leg.pulse.alive


def test_what_arrives_on_a_dead_link_brings_no_book_back() -> None:
    link = followed(SPOT)
    link.wait(2 * SECOND)
    told = len(link.notes.books), len(link.notes.statuses)
    link.diff(12, 13)
    link.snapshot(13)
    link.raw('{"code":2,"msg":"late"}')
    link.send("trade", {"p": "1", "q": "2", "m": False, "T": 3, "t": 4})
    link.send("bookTicker", {"u": 99, "b": "99", "B": "1", "a": "101", "A": "1"})
    link.wait(5 * SECOND)
    assert isnan(link.book.bid)
    assert link.book.state is BookState.EMPTY
    assert (len(link.notes.books), len(link.notes.statuses)) == told
    assert link.notes.trades == []
    assert not link.session.pulse.alive  # type: ignore[attr-defined]


def test_any_data_frame_is_a_sign_of_life_and_an_acknowledgement_is_none() -> None:
    link = Link(SPOT)
    for _ in range(4):
        link.wait(1_500 * MS)
        link.raw('{"stream":"dogeusdt@kline_1m","data":{}}')
    assert drops(link) == []
    link.wait(1_500 * MS)
    link.raw('{"result":null,"id":1}')
    link.wait(500 * MS)
    assert len(drops(link)) == 1


def test_a_closed_connection_blanks_its_books_and_tells_every_stream() -> None:
    link = followed(USDM)
    link.session.closed("going away", link.now)
    assert isnan(link.book.bid)
    assert {(status.link, status.book) for _, status in link.notes.statuses[-5:]} == {(LinkState.DOWN, BookState.EMPTY)}
    link.wait(20 * SECOND)
    assert drops(link) == []


def alive(link: Link, span: Ns) -> None:
    link.wait(span, pulse=True)


@pytest.mark.parametrize("instrument", [SPOT, USDM], ids=["spot", "futures"])
def test_a_book_crossed_for_500_ms_is_resynced_and_not_before(instrument: object) -> None:
    link = followed(SPOT if instrument is SPOT else USDM)
    link.diff(12, 12, 11, b=[(101.5, 1.0)])
    assert isnan(link.book.bid)
    assert link.book.state is BookState.SYNCED
    alive(link, 400 * MS)
    assert link.fetches == 1
    alive(link, 100 * MS)
    assert (link.fetches, link.gaps) == (2, 0)
    assert (link.book.state, link.book.reason) == (BookState.BUFFERING, "crossed")
    link.snapshot(20)
    assert link.book.bid == 99.0


def test_a_book_crossed_by_a_quote_alone_is_resynced_too() -> None:
    link = followed(SPOT)
    link.send("bookTicker", {"u": 20, "b": "101", "B": "1", "a": "100", "A": "1"})
    alive(link, 500 * MS)
    assert link.fetches == 2


def test_a_book_that_uncrosses_in_time_is_kept() -> None:
    link = followed(SPOT)
    link.diff(12, 12, b=[(101.5, 1.0)])
    alive(link, 300 * MS)
    link.diff(13, 13, b=[(101.5, 0.0)])
    assert link.book.bid == 99.0
    alive(link, 2 * SECOND)
    assert link.fetches == 1
    link.diff(14, 14, b=[(101.5, 1.0)])
    alive(link, 400 * MS)
    assert link.fetches == 1  # the grace starts anew


def test_the_first_resync_is_at_once_and_later_ones_two_seconds_apart() -> None:
    link = followed(SPOT)
    at = [link.now]
    link.diff(20, 20)
    assert link.fetches == 2
    last = 20
    while len(at) < 4:
        link.snapshot(last)
        last += 10
        link.diff(last, last)  # another gap at once
        seen = link.fetches
        while link.fetches == seen:
            alive(link, 100 * MS)
            assert link.now - at[-1] <= 2 * SECOND
        at.append(link.now)
    assert [later - earlier for earlier, later in pairwise(at)] == [2 * SECOND] * 3
    assert link.gaps == 4


def test_a_resync_long_after_the_last_one_is_at_once_again() -> None:
    link = followed(SPOT)
    link.diff(20, 20)
    link.snapshot(20)
    alive(link, 3 * SECOND)
    link.diff(30, 30)
    assert link.fetches == 3


def test_a_snapshot_that_came_too_old_is_asked_for_once_not_twice() -> None:
    link = Link(SPOT)
    alive(link, 3 * SECOND)
    link.diff(20, 21)
    link.snapshot(10)  # older than the buffer, and the last request is long ago: asked for at once
    assert link.fetches == 2
    alive(link, 5 * SECOND)
    assert link.fetches == 2


def test_a_snapshot_cancels_a_resync_that_was_put_off() -> None:
    link = followed(SPOT)
    link.diff(20, 20)
    link.snapshot(20)
    link.diff(30, 30)  # put off for two seconds
    link.snapshot(30)
    alive(link, 5 * SECOND)
    assert (link.fetches, link.book.published) == (2, True)


def test_every_fall_and_rise_of_a_book_is_told_in_order() -> None:
    link = followed(SPOT)
    link.diff(20, 20)
    link.snapshot(20)
    told = [(status.link, status.book, status.reason) for stream, status in link.notes.statuses if stream.channel is Channel.BOOK]
    assert told == [
        (LinkState.NOT_READY, BookState.BUFFERING, ""),
        (LinkState.NOT_READY, BookState.SYNCED, ""),
        (LinkState.READY, BookState.SYNCED, ""),
        (LinkState.READY, BookState.BUFFERING, "gap"),
        (LinkState.READY, BookState.SYNCED, "gap"),
    ]


def test_streams_can_be_added_and_dropped_at_run_time() -> None:
    link = followed(SPOT)
    other = OTHERS["NKNUSDT"]
    book, trades = Stream(other.id, Channel.BOOK), Stream(other.id, Channel.TRADE)
    before = len(link.asked)
    link.asked.extend(link.session.want([book, trades, book], (), link.now))
    fresh = link.asked[before:]
    assert [json.loads(one.text)["params"] for one in fresh if isinstance(one, Send)] == [
        ["nknusdt@depth@100ms", "nknusdt@trade"]
    ]
    assert [one.key for one in fresh if isinstance(one, Fetch)] == ["depth:NKNUSDT"]
    link.raw('{"stream":"nknusdt@trade","data":{"p":"1","q":"2","m":false,"T":3,"t":4}}')
    assert link.notes.trades[-1][0] == other.id
    link.asked.extend(link.session.want((), [book, trades, Stream("BINANCE:NO/SUCH", Channel.BOOK)], link.now))
    assert isinstance(link.asked[-1], Send)
    assert json.loads(link.asked[-1].text)["params"] == ["nknusdt@depth@100ms", "nknusdt@trade"]
    assert other.id not in link.session.books
    link.raw('{"stream":"nknusdt@trade","data":{"p":"1","q":"2","m":false,"T":3,"t":4}}')
    assert (len(link.notes.trades), link.board.ignored) == (1, 1)
    assert link.book.published


def test_a_book_wanted_again_does_not_meet_the_diffs_of_its_former_life() -> None:
    link = Link(SPOT)
    stream = Stream(SPOT.id, Channel.BOOK)
    link.diff(5, 6)
    link.session.want((), [stream], link.now)
    link.session.want([stream], (), link.now)
    link.diff(50, 60)
    link.snapshot(55)
    assert (link.book.seq, link.gaps) == (60, 0)


def test_an_instrument_that_became_known_after_the_connection_can_be_wanted() -> None:
    link = Link(COINM)
    late = OTHERS["BCHUSD_PERP"]
    link.session._by_native.pop(late.native)  # type: ignore[attr-defined]
    link.session.want([Stream(late.id, Channel.TRADE)], (), link.now)
    link.raw('{"stream":"bchusd_perp@aggTrade","data":{"p":"1","q":"2","m":false,"T":3,"a":4}}')
    assert link.notes.trades[0][0] == late.id


def test_the_pulse_limit_follows_the_streams() -> None:
    link = Link(USDM, (Channel.BOOK,))
    link.session.want([Stream(USDM.id, Channel.TOUCH)], (), link.now)
    link.wait(2 * SECOND)
    assert len(drops(link)) == 1


# --- streams that say nothing (reliability 3.0)

LIFE = '{"stream":"!contractInfo","data":{}}'
LIVELY = (Channel.BOOK, Channel.TOUCH, Channel.TRADE)


def mark(link: Link) -> None:
    link.send("markPrice@1s", {"E": link.now // MS, "p": "5", "i": "5", "r": "0.0001", "T": 7})


def fill(link: Link, price: float) -> None:
    link.send("trade", {"p": str(price), "q": "1", "m": False, "T": link.now // MS, "t": 4})


def quote(link: Link, number: int, bid: float, ask: float) -> None:
    link.send("bookTicker", {"u": number, "b": str(bid), "B": "1", "a": str(ask), "A": "1", "E": link.now // MS})


def asked_for(link: Link, name: str) -> int:
    return sum(method == "SUBSCRIBE" and f"{link.instrument.native.lower()}@{name}" in names for method, names in link.subscribed)


def test_a_silent_ticker_is_asked_for_after_three_periods_and_brings_the_connection_down_after_three_more() -> None:
    link = Link(COINM, (Channel.TRADE, Channel.TICKER))
    mark(link)
    alive(link, 2_900 * MS)
    assert link.status(Channel.TICKER) == Status(LinkState.READY, BookState.EMPTY)
    alive(link, 100 * MS)
    assert link.status(Channel.TICKER) == Status(LinkState.NOT_READY, BookState.EMPTY, "no data")
    assert link.status(Channel.TRADE).link is LinkState.READY
    assert link.subscribed[1:] == [("UNSUBSCRIBE", ["btcusd_perp@markPrice@1s"]), ("SUBSCRIBE", ["btcusd_perp@markPrice@1s"])]
    alive(link, 2_900 * MS)
    assert drops(link) == []
    alive(link, 100 * MS)
    assert [drop.reason for drop in drops(link)] == [f"no data on ticker of {COINM.id}"]


def test_a_ticker_that_speaks_again_is_ready_and_no_connection_is_given_up() -> None:
    link = Link(COINM, (Channel.TRADE, Channel.TICKER))
    mark(link)
    alive(link, 3_500 * MS)
    mark(link)
    assert link.status(Channel.TICKER) == Status(LinkState.READY, BookState.EMPTY)
    for _ in range(40):
        alive(link, SECOND)
        mark(link)
    assert (drops(link), asked_for(link, "markPrice@1s")) == ([], 2)


def test_a_ticker_that_stops_again_and_again_is_asked_for_at_most_every_fifteen_seconds() -> None:
    link = Link(COINM, (Channel.TRADE, Channel.TICKER))
    for _ in range(12):
        mark(link)
        assert link.status(Channel.TICKER).link is LinkState.READY
        alive(link, 5 * SECOND)
        assert link.status(Channel.TICKER).link is LinkState.NOT_READY
    assert asked_for(link, "markPrice@1s") == 1 + 4
    assert drops(link) == []


def test_a_mark_price_of_three_seconds_is_not_silent_between_two() -> None:
    link = Link(COINM, (Channel.TRADE, Channel.TICKER))
    for _ in range(5):
        link.send("markPrice", {"E": link.now // MS, "p": "5", "i": "5", "r": "0.0001", "T": 7})
        alive(link, 3 * SECOND)
    assert asked_for(link, "markPrice@1s") == 1


def test_trades_liquidations_and_quotes_are_never_judged_by_silence() -> None:
    link = Link(COINM, (Channel.TOUCH, Channel.TRADE, Channel.LIQUIDATION))
    quote(link, 5, 1.0, 2.0)
    alive(link, 200 * SECOND)
    assert (len(link.subscribed), drops(link)) == (1, [])
    assert {link.status(channel).link for channel in (Channel.TOUCH, Channel.TRADE, Channel.LIQUIDATION)} == {LinkState.READY}


def quiet(link: Link, span: Ns, answer: int | None, *, moving: bool = False) -> None:
    """Time passes without an update of the book. REST answers requests for it with update `answer`, or later ones if `moving`."""
    until = link.now + span
    while link.now < until:
        before = link.fetches
        alive(link, 100 * MS)
        if link.fetches > before and answer is not None:
            link.snapshot(answer + link.fetches if moving else answer)


def test_a_book_silent_for_65_s_is_asked_for_again_and_then_the_connection_is_given_up() -> None:
    link = followed(SPOT)
    quiet(link, 64_900 * MS, None)
    assert (asked_for(link, "depth@100ms"), link.fetches) == (1, 1)
    quiet(link, 100 * MS, 12)
    assert (asked_for(link, "depth@100ms"), link.fetches) == (2, 2)
    assert (link.status(Channel.BOOK).link, link.status(Channel.BOOK).reason) == (LinkState.NOT_READY, "no data")
    quiet(link, 14_900 * MS, 12)
    assert drops(link) == []
    quiet(link, 100 * MS, 12)
    assert [drop.reason for drop in drops(link)] == [f"no data on book of {SPOT.id}"]


def test_a_book_that_is_silent_because_nothing_changes_is_kept() -> None:
    link = followed(SPOT)
    quiet(link, 300 * SECOND, 11)
    assert (link.book.published, drops(link), link.fetches) == (True, [], 1 + 4)
    assert link.status(Channel.BOOK).link is LinkState.READY


def test_a_book_that_speaks_after_65_s_is_whole() -> None:
    link = followed(SPOT)
    quiet(link, 66 * SECOND, 12)
    link.diff(12, 13, b=[(99.5, 1.0)])
    quiet(link, 20 * SECOND, None)
    assert (link.book.bid, drops(link)) == (99.5, [])
    assert link.status(Channel.BOOK) == Status(LinkState.READY, BookState.SYNCED)


def test_a_snapshot_that_nothing_ever_follows_is_not_shown_for_longer_than_15_s() -> None:
    link = Link(SPOT, LIVELY)
    fill(link, 100.0)
    link.snapshot(10)
    quiet(link, 14_900 * MS, None)
    assert link.book.published
    quiet(link, 100 * MS, 12, moving=True)
    assert (link.book.published, link.book.reason) == (False, "no data")
    quiet(link, 185 * SECOND, 12, moving=True)
    assert (link.book.published, drops(link), link.fetches) == (False, [], 1 + 4)
    link.diff(30, 31)
    assert link.fetches == 6
    link.snapshot(30)
    assert link.book.published


def test_a_market_without_any_change_shows_its_snapshot_again_once_that_is_proved() -> None:
    link = Link(SPOT, LIVELY)
    link.snapshot(10)
    quiet(link, 16 * SECOND, 10)
    assert link.book.published
    assert link.status(Channel.BOOK) == Status(LinkState.READY, BookState.SYNCED, "no data")
    assert drops(link) == []


# --- acknowledgements


def test_a_request_without_an_answer_makes_its_streams_not_ready_and_is_sent_again() -> None:
    link = Link(COINM, (Channel.TRADE, Channel.LIQUIDATION), acknowledges=False)
    alive(link, 4_900 * MS)
    assert (link.status(Channel.TRADE).link, len(link.subscribed)) == (LinkState.READY, 1)
    alive(link, 100 * MS)
    assert link.status(Channel.TRADE) == Status(LinkState.NOT_READY, BookState.EMPTY, "no answer")
    both = ["btcusd_perp@aggTrade", "btcusd_perp@forceOrder"]
    assert link.subscribed[1:] == [("UNSUBSCRIBE", both), ("SUBSCRIBE", both)]
    alive(link, 200 * SECOND)
    assert [method for method, _ in link.subscribed].count("SUBSCRIBE") == 1 + 5  # at 5, 20, 80, 140, 200 s
    assert drops(link) == []


def test_an_acknowledgement_that_comes_late_makes_the_stream_ready() -> None:
    link = Link(COINM, (Channel.TRADE,), acknowledges=False)
    alive(link, 6 * SECOND)
    link.raw('{"result":null,"id":2}')  # of the unsubscription
    assert link.status(Channel.TRADE).link is LinkState.NOT_READY
    link.raw('{"result":null,"id":3}')
    assert link.status(Channel.TRADE) == Status(LinkState.READY, BookState.EMPTY)
    alive(link, 100 * SECOND)
    assert len(link.subscribed) == 3


def test_a_stream_that_flows_needs_no_acknowledgement() -> None:
    link = Link(SPOT, LIVELY, acknowledges=False)
    link.snapshot(10)
    link.diff(10, 11)
    quote(link, 11, 99.0, 101.0)
    fill(link, 100.0)
    alive(link, 30 * SECOND)
    assert (len(link.subscribed), link.fetches, link.book.published) == (1, 1, True)
    assert {status.link for _, status in link.notes.statuses[-3:]} == {LinkState.READY}


def test_an_error_hits_the_streams_of_its_request_and_no_others() -> None:
    link = Link(COINM, (Channel.TRADE,))
    late = Stream(OTHERS["BCHUSD_PERP"].id, Channel.TRADE)
    link.acknowledges = False
    link.take(link.session.want([late], (), link.now))
    alive(link, 100 * MS)
    link.raw('{"error":{"code":2,"msg":"Invalid request"},"id":2}')
    (told,) = [status for stream, status in link.notes.statuses if stream == late and status.reason]
    assert told == Status(LinkState.NOT_READY, BookState.EMPTY, "error 2: Invalid request")
    assert link.status(Channel.TRADE).link is LinkState.READY
    alive(link, 14_800 * MS)
    assert len(link.subscribed) == 2
    alive(link, 200 * MS)
    assert link.subscribed[-1] == ("SUBSCRIBE", ["bchusd_perp@aggTrade"])


def test_an_error_does_not_touch_a_stream_that_flows() -> None:
    link = followed(SPOT)
    link.raw('{"code":2,"msg":"Invalid request"}')
    assert link.status(Channel.BOOK) == Status(LinkState.READY, BookState.SYNCED)
    assert link.status(Channel.TRADE).link is LinkState.NOT_READY


def test_a_stream_that_is_acknowledged_and_never_speaks_stays_not_ready_and_brings_nothing_down() -> None:
    link = Link(COINM, (Channel.TRADE, Channel.TICKER))
    fill_at_first = '{"stream":"btcusd_perp@aggTrade","data":{"p":"1","q":"2","m":false,"T":3,"a":4}}'
    link.raw(fill_at_first)
    alive(link, 14_900 * MS)
    assert link.status(Channel.TICKER).link is LinkState.READY
    alive(link, 100 * MS)
    assert link.status(Channel.TICKER) == Status(LinkState.NOT_READY, BookState.EMPTY, "no data")
    alive(link, 185 * SECOND)
    assert (asked_for(link, "markPrice@1s"), drops(link)) == (1 + 4, [])  # at 15, 30, 90, 150 s


def test_a_connection_on_which_nothing_that_was_asked_for_speaks_is_given_up() -> None:
    link = Link(COINM, (Channel.TICKER,))
    alive(link, 29_900 * MS)
    assert drops(link) == []
    alive(link, 100 * MS)
    assert len(drops(link)) == 1


def test_timers_of_streams_do_not_wake_the_session_at_every_boundary() -> None:
    link = Link(COINM, acknowledges=False)
    quote(link, 5, 1.0, 2.0)
    wakes = 0
    for _ in range(2_000):
        link.raw(LIFE)
        link.now += 100 * MS
        if link.session.deadline <= link.now:
            wakes += 1
            link.take(link.session.wake(link.now))
    assert wakes < 450


# --- a book that its own trades and quotes contradict


@pytest.mark.parametrize(("price", "outside"), [(98.5, True), (101.5, True), (99.0, False), (100.0, False), (101.0, False)])
def test_two_seconds_of_trades_outside_the_book_blank_it_and_trades_inside_do_not(price: float, outside: bool) -> None:
    link = followed(SPOT)
    for _ in range(20):
        fill(link, price)
        alive(link, 100 * MS)
    assert link.book.published
    fill(link, price)
    assert link.book.published is not outside
    assert (link.book.reason, link.fetches, asked_for(link, "depth@100ms")) == (("tape", 2, 2) if outside else ("", 1, 1))


def test_one_trade_inside_the_book_clears_it() -> None:
    link = followed(SPOT)
    for step in range(60):
        fill(link, 100.0 if step % 15 == 14 else 98.0)
        alive(link, 100 * MS)
    assert link.fetches == 1


def test_trades_that_come_after_the_quotes_they_moved_do_not_blank_a_trending_book() -> None:
    link = followed(SPOT)
    for step in range(60):
        fill(link, 98.0 + step)
        link.diff(12 + step, 12 + step, b=[(99.5 + step, 1.0), (98.5 + step, 0.0)], a=[(101.0 + step, 0.0), (102.0 + step, 1.0)])
        fill(link, 98.0 + step)
        alive(link, 100 * MS)
    assert (link.fetches, link.book.published) == (1, True)


def test_sweeps_seconds_apart_do_not_blank_a_thin_book() -> None:
    link = followed(SPOT)
    for _ in range(10):
        fill(link, 98.0)
        alive(link, 2 * SECOND)
    assert link.fetches == 1


def test_a_book_without_one_side_is_not_contradicted_by_trades_there() -> None:
    link = followed(SPOT)
    link.diff(12, 12, a=[(101.0, 0.0)])
    for _ in range(40):
        fill(link, 150.0)
        alive(link, 100 * MS)
    assert link.fetches == 1


def test_a_book_that_does_not_follow_its_best_quote_is_fetched_anew() -> None:
    link = followed(SPOT)
    for number in range(40):
        quote(link, 20 + number, 90.0, 91.0)
        alive(link, 100 * MS)
    assert (link.book.state, link.book.reason) == (BookState.BUFFERING, "tape")
    assert (link.fetches, asked_for(link, "depth@100ms")) == (2, 2)
    link.diff(60, 61)
    link.snapshot(60)
    assert link.book.published
    assert drops(link) == []


def test_a_book_that_was_asked_for_anew_and_stays_silent_costs_the_connection_after_15_s() -> None:
    link = followed(SPOT)
    silent_ns: Ns = 0
    for number in range(200):
        quote(link, 20 + number, 90.0, 91.0)
        before = link.fetches
        alive(link, 100 * MS)
        if link.fetches > before:
            silent_ns = link.now
            link.snapshot(19)
        if drops(link):
            break
    assert [drop.reason for drop in drops(link)] == [f"no data on book of {SPOT.id}"]
    assert link.now - silent_ns == 15 * SECOND


def test_a_book_contradicted_again_within_15_s_costs_the_connection() -> None:
    link = followed(SPOT)
    for number in range(80):
        quote(link, 20 + number, 90.0, 91.0)
        alive(link, 100 * MS)
        if link.book.state is BookState.BUFFERING and not drops(link):
            link.diff(20 + number, 20 + number)
            link.snapshot(20 + number)
            link.diff(21 + number, 21 + number)
    (first, *_) = drops(link)
    assert first.reason == f"the book of {SPOT.id} does not follow its trades and quotes"


def test_a_quote_whose_number_the_book_does_not_reach_is_dropped_while_the_book_goes_on() -> None:
    link = followed(SPOT)
    quote(link, 1_000_000, 90.0, 91.0)
    for number in range(12, 60):
        link.diff(number, number, b=[(98.0, float(number))])
        alive(link, 100 * MS)
    assert (link.book.bid, link.book.ask, link.fetches) == (99.0, 101.0, 1)
    quote(link, 60, 99.5, 100.5)
    assert link.book.bid == 99.5


def test_a_quote_from_impossibly_far_ahead_is_refused_at_once() -> None:
    link = followed(SPOT)
    with pytest.raises(BadFrame):
        quote(link, 11 + FAR_AHEAD + 1, 90.0, 91.0)
    assert link.book.bid == 99.0
    quote(link, 12, 99.5, 100.5)
    assert link.book.bid == 99.5


# --- taking over


def hidden(instrument: Instrument = SPOT) -> tuple[Link, Notes, HealthBoard]:
    """A session under way, and the listener and board that it will get."""
    link = Link(instrument)
    link.notes.statuses.clear()
    return link, Notes(), HealthBoard()


def ready(link: Link) -> bool:
    return link.session.ready


def test_a_session_is_ready_when_data_has_come_and_every_book_is_whole() -> None:
    link = Link(SPOT, LIVELY)
    assert not ready(link)
    link.diff(11, 12)
    assert not ready(link)
    link.snapshot(11)
    assert ready(link)
    link.diff(14, 14)
    assert not ready(link)


def test_a_ticker_must_have_spoken_before_a_session_is_ready() -> None:
    link = Link(COINM)
    link.diff(11, 12, 10)
    link.snapshot(11)
    assert not ready(link)
    mark(link)
    assert ready(link)


def test_a_declined_book_does_not_keep_a_session_from_being_ready_and_a_silent_one_does() -> None:
    link = Link(SPOT, LIVELY)
    fill(link, 100.0)
    alive(link, 16 * SECOND)
    assert not ready(link)
    link.raw('{"code":2,"msg":"Invalid symbol"}')
    assert ready(link)


def test_a_promoted_session_tells_its_new_listener_all_it_knows_and_the_old_one_nothing() -> None:
    link, notes, board = hidden(COINM)
    link.snapshot(10)
    link.diff(10, 11, 10)
    mark(link)
    body = b'{"symbol":"BTCUSD_PERP","openInterest":"77","time":5}'
    link.session.answer("oi:BTCUSD_PERP", body, link.now)
    before = len(link.notes.statuses), len(link.notes.books), len(link.notes.metrics)
    link.session.promote(notes, board, link.now)
    ready = Status(LinkState.READY, BookState.SYNCED)
    assert [status for stream, status in notes.statuses if stream.channel is Channel.BOOK] == [ready]
    assert len(notes.statuses) == 5
    assert notes.books == [(99.0, 1.0, 101.0, 1.0)]
    assert notes.metrics == [(COINM.id, OpenInterest(77.0, 5 * MS))]
    link.diff(12, 12, 11)
    quote(link, 13, 99.5, 100.5)
    mark(link)
    assert (len(notes.books), len(notes.touches), len(notes.metrics)) == (2, 1, 4)
    assert (len(link.notes.statuses), len(link.notes.books), len(link.notes.metrics)) == before
    assert [board.stream(Stream(COINM.id, channel)).frames for channel in (Channel.BOOK, Channel.TOUCH)] == [1, 1]


def test_a_promoted_book_runs_on_the_boards_leg_and_the_new_pulse() -> None:
    link, notes, board = hidden()
    older = followed(SPOT)
    older.session.promote(notes, board, older.now)
    leg = board.legs[SPOT.id]
    link.snapshot(10)
    link.diff(10, 11)
    link.session.promote(notes, board, link.now)
    older.session.retire()
    assert link.book.leg is leg
    assert leg.pulse is link.session.pulse  # type: ignore[attr-defined]
    assert leg.pulse.alive
    link.wait(2 * SECOND)
    assert not leg.pulse.alive


def test_a_promoted_session_keeps_judging_its_streams() -> None:
    link, notes, board = hidden(COINM)
    link.snapshot(10)
    link.diff(10, 11, 10)
    mark(link)
    link.session.promote(notes, board, link.now)
    alive(link, 2_900 * MS)
    assert asked_for(link, "markPrice@1s") == 1
    alive(link, 100 * MS)
    assert asked_for(link, "markPrice@1s") == 2
    assert notes.statuses[-1] == (Stream(COINM.id, Channel.TICKER), Status(LinkState.NOT_READY, BookState.EMPTY, "no data"))


def test_what_still_comes_to_a_retired_session_reaches_nobody() -> None:
    link = followed(COINM)
    notes, board, book, leg = link.notes, link.board, link.book, link.book.leg
    counts = {stream: health.frames for stream, health in board.streams.items()}
    told = len(notes.statuses), len(notes.books), len(notes.metrics)
    raw_ns, pulse = leg.raw_ns, leg.pulse
    asked = len(link.asked)
    link.session.retire()
    assert not book.published
    link.now += SECOND
    link.diff(12, 13, 11)
    quote(link, 14, 99.5, 100.5)
    mark(link)
    link.snapshot(20)
    link.session.answer("oi:BTCUSD_PERP", b'{"symbol":"BTCUSD_PERP","openInterest":"77","time":5}', link.now)
    link.raw('{"code":2,"msg":"late"}')
    link.wait(20 * SECOND)
    link.session.closed("1000", link.now)
    assert not book.published
    assert (len(notes.statuses), len(notes.books), len(notes.metrics)) == told
    assert {stream: health.frames for stream, health in board.streams.items()} == counts
    assert (leg.raw_ns, leg.pulse, leg.pulse.alive) == (raw_ns, pulse, True)
    assert (link.asked[asked:], list(board.said), link.session.checkpoints()) == ([], [], [])


def test_a_book_is_fetched_anew_when_the_user_wants_it() -> None:
    link = followed(SPOT)
    link.take(link.session.renew_book(SPOT.id, link.now))
    assert (link.book.state, link.book.reason, link.fetches) == (BookState.BUFFERING, "renewed", 2)
    assert link.session.renew_book("BINANCE:NO/SUCH", link.now) == ()
    link.wait(2 * SECOND)
    assert link.session.renew_book(SPOT.id, link.now) == ()  # the link is dead


# --- contracts end

FUTURE = structs.replace(COINM, id="BINANCE:BTC/USD:BTC-261106", native="BTCUSD_261106", kind=Kind.FUTURE)


def test_an_expired_contract_leaves_the_connection_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    link = followed(COINM)
    known = {**ALL, FUTURE.id: structs.replace(FUTURE, expiry_ns=link.now + 5 * SECOND)}
    monkeypatch.setattr(link.session, "instruments", known)
    streams = [Stream(FUTURE.id, channel) for channel in (Channel.BOOK, Channel.TICKER)]
    link.take(link.session.want(streams, (), link.now))
    alive(link, 4_900 * MS)
    assert FUTURE.id in link.session.books
    alive(link, 100 * MS)
    assert FUTURE.id not in link.session.books
    assert link.notes.statuses[-2:] == [(stream, Status(LinkState.CLOSED, BookState.EMPTY, "expired")) for stream in streams]
    assert link.subscribed[-1] == ("UNSUBSCRIBE", ["btcusd_261106@depth@100ms", "btcusd_261106@markPrice@1s"])
    assert link.book.published
    before = len(link.subscribed)
    assert [action for action in link.session.want(streams, (), link.now) if isinstance(action, Send)] == []
    assert link.notes.statuses[-1][1] == Status(LinkState.CLOSED, BookState.EMPTY, "expired")
    alive(link, SECOND)
    assert len(link.subscribed) == before
