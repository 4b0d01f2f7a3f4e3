"""What a size costs: one side against lot-by-lot expansion, two sides by hand, rounding and limits (analytics 8.2 and 18)."""

from fractions import Fraction
from math import inf, isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from analytics.walk import DEPTHS, Levels, execute, fill, round_down, spend, take
from feeds.model import Contract, Instrument
from tests.contracts import contract_of

SPOT = contract_of(Contract.LINEAR, 1.0)
LINEAR = contract_of(Contract.LINEAR, 0.01)
INVERSE = contract_of(Contract.INVERSE, 100.0, lot=1.0)
KINDS = (SPOT, LINEAR, INVERSE)


def side(seed: int, scale: float = 1.0, levels: int = 60) -> list[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    prices = (1000 + np.cumsum(rng.integers(1, 40, levels)) * 0.01) * scale
    return list(zip(prices.tolist(), rng.lognormal(0, 1.5, levels).tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(
    levels=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=12),
    lots=st.integers(1, 160),
    instrument=st.sampled_from(KINDS),
)
def test_a_walk_is_the_price_of_the_lots_one_by_one(levels: list[tuple[int, int]], lots: int, instrument: Instrument) -> None:
    book = [(1000.0 + sum(step for step, _ in levels[: at + 1]), float(count)) for at, (_, count) in enumerate(levels)]
    expanded = [price for price, size in book for _ in range(int(size))]
    taken = expanded[:lots]
    enough = lots <= len(expanded)
    unit = Fraction(instrument.contract_size)
    if instrument.contract is Contract.INVERSE:
        base = sum((unit / Fraction(price) for price in taken), Fraction(0))
        quote = unit * len(taken)
    else:
        base = unit * len(taken)
        quote = sum((unit * Fraction(price) for price in taken), Fraction(0))
    more = 0 if enough else 1
    for found in (spend(book, instrument, float(quote) + more), take(book, instrument, float(base) + more)):
        assert found.complete is enough
        assert found.base == pytest.approx(float(base), rel=1e-12)
        assert found.quote == pytest.approx(float(quote), rel=1e-12)
        assert found.worst == taken[-1]
        if enough:
            assert found.price == pytest.approx(float(quote / base), rel=1e-12)
        else:
            assert isnan(found.price)


def test_a_partly_taken_level_counts_for_its_part() -> None:
    book = [(100.0, 1.0), (200.0, 5.0)]
    for instrument in (SPOT, INVERSE):
        assert spend(book, instrument, 500.0) == pytest.approx((500.0 / 3.0, 3.0, 500.0, True, 200.0))
    assert take(book, SPOT, 3.0) == pytest.approx((500.0 / 3.0, 3.0, 500.0, True, 200.0))
    assert take(book, INVERSE, 3.0) == pytest.approx((500.0 / 3.0, 3.0, 500.0, True, 200.0))


def test_a_book_too_thin_gives_no_price_but_tells_what_it_holds() -> None:
    book = [(100.0, 1.0), (101.0, 1.0)]
    for found in (spend(book, SPOT, 500.0), take(book, SPOT, 5.0)):
        assert isnan(found.price)
        assert found[1:] == (2.0, 201.0, False, 101.0)
    assert spend([], SPOT, 500.0)[1:4] == take([], SPOT, 5.0)[1:4] == (0.0, 0.0, False)


def test_all_that_a_book_holds_is_not_refused_for_a_rounding() -> None:
    assert sum([0.1] * 8) < 0.8
    assert spend([(0.1, 1.0)] * 8, SPOT, 0.8) == pytest.approx((0.1, 8.0, 0.8, True, 0.1))
    assert take([(1.0, 0.1)] * 8, SPOT, 0.8) == pytest.approx((1.0, 0.8, 0.8, True, 1.0))
    tail = [(1.0, 0.1)] * 8 + [(2.0, 1e-9)]  # a last level so small that the error of the sum before it is not
    assert take(tail, SPOT, 0.8 + 1e-9).complete


@pytest.mark.parametrize("size", [0.0, -1.0, nan])
def test_a_size_that_is_none_has_no_price_and_divides_by_nothing(size: float) -> None:
    for walk in (spend, take):
        found = walk([(100.0, 1.0)], SPOT, size)
        assert isnan(found.price)
        assert found[1:4] == (0.0, 0.0, False)


def test_an_endless_size_is_never_complete() -> None:
    assert not spend([(100.0, 1.0)], SPOT, inf).complete
    assert not take([(100.0, 1.0)], SPOT, inf).complete


def test_prices_times_1000_scale_the_average_alone() -> None:
    for seed in range(20):
        small, large = spend(side(seed), SPOT, 5e3), spend(side(seed, 1000.0), SPOT, 5e6)
        assert small.price * 1000 == pytest.approx(large.price, rel=1e-12)
        assert small.base == pytest.approx(large.base, rel=1e-12)


def test_the_average_lies_between_the_touch_and_the_last_price() -> None:
    for seed in range(20):
        book = side(seed)
        found = spend(book, SPOT, 1e4)
        assert book[0][0] < found.price < found.worst


def test_a_fill_reads_deeper_only_while_it_needs_to() -> None:
    book = side(1, levels=5_000)
    for size in (1.0, 30.0, 2_000.0, 1e9):
        asked: list[int] = []

        def levels(count: int, asked: list[int] = asked) -> Levels:
            asked.append(count)
            return book[:count]

        found = fill(levels, take, SPOT, size)
        assert found == take(book[: asked[-1]], SPOT, size)
        assert tuple(asked) == DEPTHS[: len(asked)]
        if len(asked) > 1:
            assert not take(book[: asked[-2]], SPOT, size).complete
    assert not found.complete


ASKS = [(100.0, 2.0), (101.0, 2.0), (103.0, 5.0)]
BIDS = [(102.0, 1.0), (101.5, 2.0), (100.5, 9.0)]


def test_two_books_are_walked_until_the_edge_is_gone() -> None:
    found = execute(ASKS, BIDS, SPOT, SPOT)
    assert found.binding == "edge"
    assert found.base == pytest.approx(3.0)
    assert found.cost == pytest.approx(2 * 100 + 101)
    assert found.profit == pytest.approx(102 + 2 * 101.5 - 301)
    assert (found.buy_limit, found.sell_limit) == (101.0, 101.5)
    assert found.average_bps == pytest.approx(found.profit / found.cost * 1e4)


def test_a_walk_that_ends_with_the_visible_book_says_that_more_may_stand_there() -> None:
    assert execute(ASKS[:1], BIDS, SPOT, SPOT).binding == "depth"
    assert execute([], BIDS, SPOT, SPOT).binding == "depth"
    assert isnan(execute([], BIDS, SPOT, SPOT).average_bps)


def test_money_and_coins_bind_when_they_run_out() -> None:
    by_base = execute(ASKS, BIDS, SPOT, SPOT, max_base=1.5)
    assert by_base.binding == "inventory"
    assert by_base.base == pytest.approx(1.5)
    by_cost = execute(ASKS, BIDS, SPOT, SPOT, max_cost=250.5)
    assert by_cost.binding == "capital"
    assert by_cost.cost == pytest.approx(250.5)
    assert by_cost.base == pytest.approx(2.5)


def test_each_fee_more_leaves_less() -> None:
    last = inf
    for fee in np.linspace(0.0, 0.02, 21).tolist():
        profit = execute(ASKS, BIDS, SPOT, SPOT, buy_fee=fee).profit
        assert profit <= last
        assert execute(ASKS, BIDS, SPOT, SPOT, buy_fee=fee, sell_fee=0.001).profit <= profit
        last = profit
    assert last == 0.0


def test_scales_change_neither_the_edge_nor_the_currency_of_the_cost() -> None:
    plain = execute(ASKS, BIDS, SPOT, SPOT, max_cost=250.5, min_average_bps=50.0)
    scaled = execute(
        ASKS,
        [(p * 7.0, s) for p, s in BIDS],
        SPOT,
        SPOT,
        buy_scale=1 / 3,
        sell_scale=1 / 21,
        max_cost=250.5,
        min_average_bps=50.0,
    )
    assert scaled.binding == plain.binding
    numbers = ("base", "cost", "profit", "average_bps", "base_at_edge")
    assert [getattr(scaled, name) for name in numbers] == pytest.approx([getattr(plain, name) for name in numbers], rel=1e-9)


def test_inverse_sizes_are_converted_at_the_price_of_their_level() -> None:
    found = execute([(100.0, 1.0), (125.0, 1.0)], [(200.0, 10.0)], INVERSE, SPOT)
    assert found.cost == pytest.approx(200.0)  # two contracts of 100 dollars
    assert found.profit == pytest.approx((1.0 + 0.8) * 200.0 - 200.0)


@pytest.mark.parametrize(
    ("base", "lots", "wanted"),
    [(1.2349, (0.001, 0.01), 1.23), (1.2349, (0.01, 0.001), 1.23), (0.3, (0.1, 0.1), 0.3), (0.009, (0.01, 0.001), 0.0)],
)
def test_a_size_is_cut_to_the_coarser_lot(base: float, lots: tuple[float, float], wanted: float) -> None:
    buy, sell = (structs.replace(SPOT, lot=lot) for lot in lots)
    assert round_down(base, buy, sell, 100.0) == pytest.approx(wanted)


def test_a_contract_worth_dollars_is_a_lot_in_base_at_the_price() -> None:
    assert round_down(2.7, SPOT, INVERSE, 100.0) == pytest.approx(2.0)  # one contract is 100 dollars is one coin
    assert round_down(2.7, INVERSE, SPOT, 200.0) == pytest.approx(2.5)
