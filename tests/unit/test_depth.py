"""A side as arrays: what is handed out never changes under a reader's hands, and what nobody reads does not pile up."""

import numpy as np
import pytest

from feeds.depth import LONGEST_LOG, Column, Depth
from feeds.health import LegHealth, Pulse
from feeds.model import BookState
from feeds.orderbook import LONGEST, OrderBook, Side
from tests.market import instruments

NOW = 1_790_784_000_000_000_000


def book_of(bids: list[tuple[float, float]], asks: list[tuple[float, float]], seq: int = 10) -> OrderBook:
    book = OrderBook(instruments()["binance.usdm"], LegHealth(Pulse(1)))
    book.replace(bids, asks, seq, 5, NOW)
    return book


def levels(prices: Column, sizes: Column) -> list[tuple[float, float]]:
    return list(zip(prices.tolist(), sizes.tolist(), strict=True))


def shown(book: OrderBook) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    bid_prices, bid_sizes, ask_prices, ask_sizes = book.depth()
    return levels(bid_prices, bid_sizes), levels(ask_prices, ask_sizes)


def test_prices_rise_on_both_sides_and_removed_levels_are_not_told() -> None:
    book = book_of([(99.0, 1.0), (98.0, 2.0), (97.0, 0.0)], [(103.0, 4.0), (101.0, 3.0)])
    assert shown(book) == ([(98.0, 2.0), (99.0, 1.0)], [(101.0, 3.0), (103.0, 4.0)])
    book.apply([(98.0, 0.0), (98.5, 5.0), (99.0, 6.0), (90.0, 0.0)], [(104.0, 7.0), (100.0, 8.0)], 11, 0, NOW)
    assert shown(book) == ([(98.5, 5.0), (99.0, 6.0)], [(100.0, 8.0), (101.0, 3.0), (103.0, 4.0), (104.0, 7.0)])


def test_of_two_changes_of_one_price_between_readings_the_later_counts() -> None:
    depth = Depth({99.0: 1.0})
    assert depth.note([(98.0, 1.0), (98.0, 2.0), (99.0, 0.0)])
    assert depth.note([(98.0, 3.0), (97.0, 1.0)])
    assert depth.note([(97.0, 0.0)])
    assert levels(*depth.read()) == [(98.0, 3.0)]
    assert levels(*depth.read()) == [(98.0, 3.0)]


def test_what_was_read_does_not_change_with_the_book_and_cannot_be_written() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    before = book.depth()
    book.apply([(99.0, 7.0), (98.0, 7.0)], [(101.0, 0.0)], 11, 0, NOW)
    after = book.depth()
    assert [column.tolist() for column in before] == [[99.0], [1.0], [101.0], [1.0]]
    assert [column.tolist() for column in after] == [[98.0, 99.0], [7.0, 7.0], [], []]
    with pytest.raises(ValueError, match="read-only"):
        before[1][0] = 9.0


def test_a_quiet_book_is_not_read_anew() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    assert all(first is second for first, second in zip(book.depth(), book.depth(), strict=True))


def test_a_log_nobody_reads_is_dropped_and_the_next_reading_is_whole() -> None:
    side = Side(1)
    side.replace([(50.0, 1.0)])
    side.depth()
    for round_ in range(LONGEST_LOG):
        side.apply([(100.0 + round_, 1.0), (99.0 + round_, 0.0)])
    assert side._depth is None
    assert levels(*side.depth()) == [(50.0, 1.0), (99.0 + LONGEST_LOG, 1.0)]


def test_updates_without_a_level_do_not_pile_up_either() -> None:
    depth = Depth({})
    assert [depth.note([]) for _ in range(LONGEST_LOG + 1)] == [True] * LONGEST_LOG + [False]


def test_nothing_is_noted_for_a_side_that_nobody_has_read() -> None:
    side = Side(1)
    side.replace([(50.0, 1.0)])
    side.apply([(51.0, 1.0)])
    assert side._depth is None


def test_a_snapshot_leaves_no_ghost_in_the_arrays() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    book.depth()
    book.apply([(98.0, 1.0)], [(102.0, 1.0)], 11, 0, NOW)
    book.replace([(97.0, 1.0)], [(103.0, 1.0)], 30, 0, NOW)
    assert shown(book) == ([(97.0, 1.0)], [(103.0, 1.0)])


def test_sweeping_tombstones_does_not_make_a_side_be_read_anew() -> None:
    side = Side(1)
    side.replace([(1e6, 1.0)])
    side.depth()
    mirror = side._depth
    prices = [100.0 + at for at in range(2 * LONGEST)]
    for begin in range(0, len(prices), 500):
        side.apply([(price, 1.0) for price in prices[begin : begin + 500]])
        side.depth()
        side.apply([(price, 0.0) for price in prices[begin : begin + 500]])
        side.depth()
    assert len(side._sizes) < len(prices)
    assert side._depth is mirror
    assert levels(*side.depth()) == [(1e6, 1.0)]


def test_a_newer_quote_hides_what_is_better_and_takes_its_own_price() -> None:
    book = book_of([(98.0, 1.0), (99.0, 2.0)], [(101.0, 3.0), (102.0, 4.0)])
    book.touch(98.0, 7.0, 101.0, 8.0, 11, 0, NOW)
    assert shown(book) == ([(98.0, 7.0)], [(101.0, 8.0), (102.0, 4.0)])
    book.touch(98.5, 7.0, 101.5, 8.0, 12, 0, NOW)
    assert shown(book) == ([(98.0, 1.0), (98.5, 7.0)], [(101.5, 8.0), (102.0, 4.0)])
    book.touch(98.5, 7.0, float("nan"), 0.0, 13, 0, NOW)
    assert shown(book) == ([(98.0, 1.0), (98.5, 7.0)], [])
    book.apply([], [], 13, 0, NOW)
    assert shown(book) == ([(98.0, 1.0), (99.0, 2.0)], [(101.0, 3.0), (102.0, 4.0)])


def test_an_unpublished_book_has_no_depth() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    book.depth()
    book.apply([(101.0, 1.0)], [], 11, 0, NOW)
    assert shown(book) == ([], [])
    book.apply([(101.0, 0.0)], [], 12, 0, NOW)
    assert shown(book) == ([(99.0, 1.0)], [(101.0, 1.0)])
    book.fall(BookState.BUFFERING, "gap")
    assert shown(book) == ([], [])


def test_a_frozen_book_keeps_its_depth_while_the_live_one_goes_on() -> None:
    book = book_of([(99.0, 1.0)], [(101.0, 1.0)])
    book.touch(98.5, 2.0, 101.0, 3.0, 11, 0, NOW)
    still = book.still(book.leg)
    assert shown(still) == shown(book) == ([(98.5, 2.0)], [(101.0, 3.0)])
    book.apply([(99.0, 0.0), (98.5, 0.0), (98.0, 1.0)], [], 12, 0, NOW)
    assert shown(still) == ([(98.5, 2.0)], [(101.0, 3.0)])
    assert shown(book) == ([(98.0, 1.0)], [(101.0, 1.0)])


def test_columns_are_plain_doubles() -> None:
    assert {column.dtype for column in (*book_of([(99.0, 1.0)], []).depth(), *Depth({}).read())} == {np.dtype(np.float64)}
