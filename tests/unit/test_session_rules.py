"""What every session does alike: dead links, crossed books, spaced resyncs, statuses (reliability 3.0). Driven as Binance."""

import json
from collections.abc import Sequence
from itertools import pairwise
from math import isnan

import pytest

from feeds.model import MS, SECOND, BookState, Channel, LinkState, Ns, Stream
from feeds.session import silence_ns
from feeds.venue import Drop, Fetch, Send
from tests.unit.test_binance import COINM, OTHERS, SPOT, USDM, Link, followed


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
