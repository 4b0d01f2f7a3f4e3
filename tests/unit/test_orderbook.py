"""The book's promises one by one: nothing readable unless whole, a newer quote over it, no work for what is far away."""

from bisect import insort
from math import isnan
from typing import NamedTuple

import pytest

from feeds.health import LegHealth, Pulse
from feeds.model import BookState
from feeds.orderbook import HIGH, LONGEST, ROOM, OrderBook, Side
from tests.market import instruments

NOW = 1_790_784_000_000_000_000


def book_of(bids: list[tuple[float, float]], asks: list[tuple[float, float]], seq: int = 10) -> OrderBook:
    book = OrderBook(instruments()["binance.usdm"], LegHealth(Pulse(1)))
    book.replace(bids, asks, seq, 5, NOW)
    return book


class Seen(NamedTuple):
    bid: float
    bid_size: float
    ask: float
    ask_size: float


def seen(book: OrderBook) -> Seen:
    return Seen(book.bid, book.bid_size, book.ask, book.ask_size)


def assert_nothing_readable(book: OrderBook) -> None:
    assert not book.published
    assert isnan(book.bid)
    assert isnan(book.ask)
    assert isnan(book.mid)
    assert (book.bid_size, book.ask_size) == (0.0, 0.0)
    assert book.levels(5) == ([], [])
    assert book.within(100.0) == ([], [], [], [])


def test_a_new_book_shows_nothing() -> None:
    assert_nothing_readable(OrderBook(instruments()["binance.usdm"], LegHealth(Pulse(1))))


def test_a_fallen_book_shows_no_last_price_and_says_why() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    book.touch(100.0, 1.0, 101.0, 1.0, 11, 0, NOW)
    before = book.version
    book.fall(BookState.BUFFERING, "gap")
    assert_nothing_readable(book)
    assert (book.state, book.reason) == (BookState.BUFFERING, "gap")
    assert book.version > before
    assert book.best_of_levels()[0][1] == 0.0


def test_a_quote_does_not_revive_a_fallen_book() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    book.fall(BookState.BUFFERING, "gap")
    assert not book.touch(99.5, 1.0, 100.5, 1.0, 99, 0, NOW)
    assert_nothing_readable(book)


def test_a_quote_from_before_the_fall_does_not_lie_over_the_next_snapshot() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    book.touch(99.5, 1.0, 100.5, 1.0, 500, 0, NOW)
    book.fall(BookState.BUFFERING, "gap")
    book.replace([(98.0, 2.0)], [(102.0, 3.0)], 20, 0, NOW)
    assert seen(book) == (98.0, 2.0, 102.0, 3.0)


def test_a_snapshot_leaves_no_ghost_level_of_the_old_book() -> None:
    book = book_of([(99.0, 1.0), (98.0, 1.0)], [(101.0, 1.0)])
    book.replace([(97.0, 1.0)], [(103.0, 2.0), (104.0, 0.0)], 30, 0, NOW)
    assert book.levels(9) == ([(97.0, 1.0)], [(103.0, 2.0)])


@pytest.mark.parametrize("ask", [99.0, 98.0], ids=["locked", "crossed"])
def test_a_crossed_or_locked_book_is_unpublished_at_once_and_knows_since_when(ask: float) -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    book.apply([], [(ask, 1.0)], 11, 0, NOW + 5)
    assert_nothing_readable(book)
    assert book.crossed_ns == NOW + 5
    book.apply([], [(100.5, 1.0)], 12, 0, NOW + 9)
    assert book.crossed_ns == NOW + 5  # still crossed, since the same moment
    book.apply([], [(ask, 0.0)], 13, 0, NOW + 10)
    assert book.crossed_ns == 0
    assert seen(book) == (99.0, 1.0, 100.5, 1.0)


def test_a_crossing_quote_unpublishes_and_the_next_one_publishes() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    assert book.touch(101.0, 1.0, 100.0, 1.0, 11, 0, NOW)
    assert_nothing_readable(book)
    assert book.touch(100.0, 1.0, 100.5, 2.0, 12, 0, NOW)
    assert seen(book) == (100.0, 1.0, 100.5, 2.0)


@pytest.mark.parametrize("touch_first", [True, False])
def test_a_quote_over_them_does_not_hide_levels_that_cross(touch_first: bool) -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    if touch_first:
        book.touch(99.5, 1.0, 100.5, 1.0, 15, 0, NOW)
    book.apply([(110.0, 1.0)], [], 11, 0, NOW + 5)
    assert book.touch(99.6, 1.0, 100.4, 1.0, 16, 0, NOW + 6)
    assert_nothing_readable(book)
    assert book.crossed_ns == NOW + 5
    book.apply([(110.0, 0.0)], [], 12, 0, NOW + 7)
    assert seen(book) == (99.6, 1.0, 100.4, 1.0)


def test_an_older_quote_is_ignored() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)], seq=10)
    assert not book.touch(98.0, 5.0, 102.0, 5.0, 10, 0, NOW)
    assert book.touch(99.5, 5.0, 100.5, 5.0, 12, 0, NOW)
    assert not book.touch(98.0, 5.0, 102.0, 5.0, 11, 0, NOW)
    assert seen(book) == (99.5, 5.0, 100.5, 5.0)


def test_a_newer_quote_stays_over_the_book_until_a_diff_has_caught_up() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)], seq=10)
    book.touch(99.5, 5.0, 100.5, 6.0, 12, 0, NOW)
    book.apply([(98.0, 3.0)], [], 11, 0, NOW)
    assert seen(book) == (99.5, 5.0, 100.5, 6.0)
    book.apply([(99.2, 3.0)], [], 12, 0, NOW)
    assert seen(book) == (99.2, 3.0, 101.0, 1.0)


def test_levels_under_a_worse_quote_are_as_many_as_asked_for() -> None:
    bids = [(100.0 - at, 1.0) for at in range(50)]
    book = book_of(bids, [(101.0, 1.0)])
    book.touch(80.0, 9.0, 101.0, 1.0, 11, 0, NOW)  # twenty levels above it are gone already
    shown = book.levels(10)[0]
    assert shown == [(80.0, 9.0), *bids[21:30]]


def test_a_quote_takes_its_price_level_and_hides_better_ones() -> None:
    book = book_of([(99.0, 1.0), (98.0, 2.0)], [(101.0, 1.0), (102.0, 2.0)])
    book.touch(98.0, 7.0, 100.0, 8.0, 11, 0, NOW)
    assert book.levels(5) == ([(98.0, 7.0)], [(100.0, 8.0), (101.0, 1.0), (102.0, 2.0)])


def test_a_quote_outside_the_range_is_not_within_it() -> None:
    book = book_of([(95.0, 1.0)], [(105.0, 1.0)])
    assert book.within(100.0) == ([], [], [], [])
    book.touch(96.0, 1.0, 104.0, 1.0, 11, 0, NOW)
    assert book.within(100.0) == ([], [], [], [])
    assert book.within(401.0) == ([96.0], [1.0], [104.0], [1.0])


@pytest.mark.parametrize(("bid", "size"), [(0.0, 0.0), (99.0, 0.0), (0.0, 1.0), (float("nan"), 1.0)])
def test_a_quote_without_price_or_size_is_an_empty_side(bid: float, size: float) -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    assert book.touch(bid, size, 100.5, 3.0, 11, 0, NOW)
    assert isnan(book.bid)
    assert book.bid_size == 0.0
    assert (book.ask, book.ask_size) == (100.5, 3.0)
    assert book.levels(3) == ([], [(100.5, 3.0), (101.0, 1.0)])


def test_an_empty_side_has_no_price_and_no_middle() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    book.apply([(99.0, 0.0)], [], 11, 0, NOW)
    assert isnan(book.bid)
    assert isnan(book.mid)
    assert book.ask == 101.0
    assert book.published
    assert book.levels(3) == ([], [(101.0, 1.0)])


def test_removing_a_level_that_is_not_there_changes_nothing() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    book.apply([(99.5, 0.0)], [(100.5, 0.0)], 11, 0, NOW)
    assert seen(book) == (99.0, 1.0, 101.0, 1.0)
    assert (len(book.bids), len(book.asks)) == (1, 1)


def test_tombstones_do_not_pile_up_in_memory() -> None:
    side = Side(1)
    side.replace([(float(price), 1.0) for price in range(1, 101)])
    for round_ in range(200):
        prices = [1_000.0 + round_ * 50 + at for at in range(50)]
        side.apply([(price, 1.0) for price in prices])
        side.apply([(price, 0.0) for price in prices])
    assert len(side) == 100
    assert len(side._sizes) <= 2 * (100 + 50) + ROOM + 50
    assert len(side._band) <= LONGEST + 2 * HIGH + 50


def test_far_levels_cost_no_insertion_into_the_sorted_list(monkeypatch: pytest.MonkeyPatch) -> None:
    inserted: list[float] = []

    def counted(band: list[float], key: float) -> None:
        inserted.append(key)
        insort(band, key)

    monkeypatch.setattr("feeds.orderbook.insort", counted)
    side = Side(1)
    side.replace([(10_000.0 - at, 1.0) for at in range(5_000)])
    side.apply([(1_000.5 + at, 1.0) for at in range(500)])
    assert inserted == []  # far from the touch
    side.apply([(9_990.0, 2.0), (9_980.0, 0.0), (9_980.0, 4.0)])
    assert inserted == []  # prices the side knows
    side.apply([(9_990.5, 1.0), (2_000.25, 1.0)])
    assert inserted == [9_990.5]


def test_no_levels_are_read_when_none_are_asked_for() -> None:
    side = Side(1)
    side.replace([(99.0, 1.0), (98.0, 1.0)])
    assert side.levels(0) == []
    assert book_of([(99.0, 1.0)], [(101.0, 1.0)]).levels(0) == ([], [])


def test_reading_the_whole_side_once_does_not_make_every_later_update_dearer() -> None:
    side = Side(-1)
    side.replace([(1.0 + at, 1.0) for at in range(20_000)])
    side.apply([(0.5, 1.0)])
    assert len(side.levels(1 << 30)) == 20_001
    assert len(side._band) <= LONGEST + 2 * HIGH
    side.best()
    assert len(side._band) <= LONGEST + 2 * HIGH
