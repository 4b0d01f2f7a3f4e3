"""The walk of two books against a linear program and a bisection, on random books (analytics 8.2 and 18)."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from scipy.optimize import linprog

from analytics.walk import execute
from feeds.model import Instrument
from tests.unit.test_walk import KINDS

Levels = list[tuple[float, float]]
LIMITS = st.one_of(st.just(inf), st.floats(0.01, 1.0))
SEEDS = st.integers(0, 2**32 - 1)
FINE = tuple(structs.replace(instrument, lot=1e-12) for instrument in KINDS)
"""With lots so small that rounding does not show."""


def crossed(seed: int, buy: Instrument, sell: Instrument) -> tuple[Levels, Levels]:
    """Asks and bids that cross a few levels deep, sizes in each venue's unit, up to some coins a level."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 15))
    asks = 1000.0 + np.cumsum(rng.integers(1, 30, count)) * 0.1
    bids = 1000.0 + rng.uniform(-5, 20) - np.cumsum(rng.integers(1, 30, count)) * 0.1
    sides = []
    for prices, instrument in ((asks, buy), (bids, sell)):
        coins = rng.lognormal(0, 1.0, count)
        sides.append([(float(p), float(c / instrument.to_base(1.0, float(p)))) for p, c in zip(prices, coins, strict=True)])
    return sides[0], sides[1]


def best_profit(
    asks: Levels, bids: Levels, buy: Instrument, sell: Instrument, fees: tuple[float, float], most: tuple[float, float]
) -> float:
    """HiGHS: how much of each level to take so that profit is largest, what is bought being sold, within both limits."""
    ask_prices, bid_prices = np.array([p for p, _ in asks]) * (1 + fees[0]), np.array([p for p, _ in bids]) * (1 - fees[1])
    room = [(0.0, buy.to_base(s, p)) for p, s in asks] + [(0.0, sell.to_base(s, p)) for p, s in bids]
    ones, zeros = np.ones(len(asks)), np.zeros(len(bids))
    bounded = [(np.concatenate([row, zeros]), limit) for row, limit in ((ones, most[0]), (ask_prices, most[1])) if limit < inf]
    found = linprog(
        np.concatenate([ask_prices, -bid_prices]),
        A_ub=np.array([row for row, _ in bounded]) if bounded else None,
        b_ub=[limit for _, limit in bounded] if bounded else None,
        A_eq=np.concatenate([ones, -np.ones(len(bids))])[None, :],
        b_eq=[0.0],
        bounds=room,
        method="highs",
    )
    assert found.status == 0
    return float(-found.fun)


@settings(max_examples=150, deadline=None)
@given(
    seed=SEEDS,
    buy=st.sampled_from(KINDS),
    sell=st.sampled_from(KINDS),
    fees=st.tuples(st.sampled_from((0.0, 0.0002, 0.001)), st.sampled_from((0.0, 0.0005))),
    base_share=LIMITS,
    cost_share=LIMITS,
)
def test_nothing_earns_more_than_the_walk(
    seed: int, buy: Instrument, sell: Instrument, fees: tuple[float, float], base_share: float, cost_share: float
) -> None:
    asks, bids = crossed(seed, buy, sell)
    free = execute(asks, bids, buy, sell, buy_fee=fees[0], sell_fee=fees[1])
    coins = sum(buy.to_base(size, price) for price, size in asks)
    most = base_share * coins if base_share < inf else inf, cost_share * free.cost if cost_share < inf and free.cost else inf
    found = execute(asks, bids, buy, sell, buy_fee=fees[0], sell_fee=fees[1], max_base=most[0], max_cost=most[1])
    assert found.profit == pytest.approx(best_profit(asks, bids, buy, sell, fees, most), rel=1e-8, abs=1e-7)
    assert found.cost <= most[1] * (1 + 1e-12)
    assert found.base <= most[0] * (1 + 1e-9)


@settings(max_examples=150, deadline=None)
@given(seed=SEEDS, buy=st.sampled_from(FINE), sell=st.sampled_from(FINE), wanted=st.floats(0.1, 150.0))
def test_the_size_at_an_edge_is_what_bisection_finds(seed: int, buy: Instrument, sell: Instrument, wanted: float) -> None:
    asks, bids = crossed(seed, buy, sell)
    found = execute(asks, bids, buy, sell, buy_fee=0.0002, min_average_bps=wanted)
    if not found.cost:
        assert found.base_at_edge == 0.0
        return

    def average(base: float) -> float:
        part = execute(asks, bids, buy, sell, buy_fee=0.0002, max_base=base)
        return part.profit / part.cost * 1e4

    low, high = 0.0, found.base
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if average(middle) >= wanted else (low, middle)
    assert found.base_at_edge == pytest.approx(low, rel=1e-8, abs=1e-9)
