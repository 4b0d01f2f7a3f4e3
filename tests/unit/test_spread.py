"""Spreads in bps by hand, their freshness rule, and what BitMEX's mark is made of. See analytics.md 2, 3; reliability 3.0."""

from math import inf, isnan, nan

import numpy as np
import pytest

from analytics.spread import (
    MECHANICAL_BPS,
    NO_PRICE,
    STALE_INDEX,
    Quote,
    Signal,
    bps,
    mark_index_bps,
    mechanical_bps,
    premium_bps,
    signal_class,
)
from feeds.model import SECOND

NOW = 1_700_000_000 * SECOND


@pytest.mark.parametrize(("value", "reference", "wanted"), [(100.5, 100, 50), (99.5, 100, -50), (100, 100, 0), (100, 200, -5000)])
def test_the_reference_leg_is_the_denominator(value: float, reference: float, wanted: float) -> None:
    assert bps(value, reference) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("reference", [None, 0.0, -0.0, -100.0, nan, inf, -inf])
def test_a_dead_index_does_not_look_like_a_perfect_peg(reference: float | None) -> None:
    assert isnan(bps(100.0, reference))
    if reference is not None:
        spread = mark_index_bps(Quote(100.0, NOW), Quote(reference, NOW), NOW)
        assert isnan(spread.value_bps)
        assert spread.reason == NO_PRICE


@pytest.mark.parametrize("value", [None, nan, inf, -inf])
def test_a_missing_price_has_no_spread(value: float | None) -> None:
    assert isnan(bps(value, 100.0))


def test_prices_in_another_unit_give_the_same_bps() -> None:
    rng = np.random.default_rng(1)
    for value, reference in rng.uniform(0.5, 2.0, (200, 2)).tolist():
        assert bps(value * 1000, reference * 1000) == pytest.approx(bps(value, reference), rel=1e-9, abs=1e-9)


def test_swapped_venues_swap_the_sign() -> None:
    rng = np.random.default_rng(2)
    for a, b in rng.uniform(0.9, 1.1, (200, 2)).tolist():
        there, back = bps(a, b), bps(b, a)
        assert (there > 0) == (back < 0)
        assert (1 + there / 1e4) * (1 + back / 1e4) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(
    ("mark_age_s", "index_age_s", "stale"),
    [
        (0, 0, False),
        (10, 10, False),
        (10.001, 10, True),
        (10, 10.001, True),
        (0, 3, False),
        (3, 0, False),
        (0, 3.001, True),
        (3.001, 0, True),
    ],
)
def test_a_stale_or_split_pair_has_no_spread(mark_age_s: float, index_age_s: float, stale: bool) -> None:
    mark = Quote(100.5, NOW - int(mark_age_s * SECOND))
    index = Quote(100.0, NOW - int(index_age_s * SECOND))
    spread = mark_index_bps(mark, index, NOW)
    assert isnan(spread.value_bps) is stale
    assert spread.reason == (STALE_INDEX if stale else "")
    if not stale:
        assert spread.value_bps == pytest.approx(50.0)


def test_a_side_that_never_came_is_named_as_missing_not_stale() -> None:
    for mark, index in ((None, Quote(1.0, NOW)), (Quote(1.0, NOW), None), (None, None)):
        assert mark_index_bps(mark, index, NOW).reason == NO_PRICE
    assert premium_bps(100.0, None, NOW).reason == NO_PRICE
    assert premium_bps(None, Quote(100.0, NOW), NOW).reason == NO_PRICE
    assert premium_bps(nan, Quote(100.0, NOW), NOW).reason == NO_PRICE


def test_a_premium_needs_an_index_no_older_than_ten_seconds() -> None:
    fresh = premium_bps(99.9, Quote(100.0, NOW - 10 * SECOND), NOW)
    assert fresh.value_bps == pytest.approx(-10.0)
    stale = premium_bps(99.9, Quote(100.0, NOW - 10 * SECOND - 1), NOW)
    assert isnan(stale.value_bps)
    assert stale.reason == STALE_INDEX


def test_the_bitmex_spread_is_all_funding_and_leaves_nothing_to_trade() -> None:
    interval_s = 8 * 3600
    rng = np.random.default_rng(3)
    for stamp in range(1, 5):
        next_ns = NOW + stamp * interval_s * SECOND
        rate = float(rng.normal(0, 2e-4))
        for minute in range(480, -1, -7):
            now = next_ns - minute * 60 * SECOND
            index = float(rng.uniform(2e4, 9e4))
            mark = round(index * (1 + rate * minute / 480), 2)
            spread = mark_index_bps(Quote(mark, now), Quote(index, now), now)
            mechanical = mechanical_bps(rate, interval_s, next_ns, now)
            assert abs(mechanical) <= abs(rate) * 1e4 + 1e-12
            assert abs(spread.value_bps - mechanical) < 0.005 < MECHANICAL_BPS


def test_the_first_mark_after_a_funding_stamp_has_no_negative_time_left() -> None:
    assert mechanical_bps(1e-4, 28_800, NOW, NOW + SECOND) == 0.0


@pytest.mark.parametrize(("interval_s", "next_ns"), [(0, NOW), (28_800, 0)])
def test_an_unknown_funding_interval_is_not_taken_for_eight_hours(interval_s: int, next_ns: int) -> None:
    assert isnan(mechanical_bps(1e-4, interval_s, next_ns, NOW - SECOND))


@pytest.mark.parametrize(
    ("z", "wanted"),
    [
        (2.0001, Signal.STRONG_SELL),
        (2.0, Signal.WEAK_SELL),
        (1.0001, Signal.WEAK_SELL),
        (1.0, Signal.NEUTRAL),
        (0.0, Signal.NEUTRAL),
        (-1.0, Signal.NEUTRAL),
        (-1.0001, Signal.WEAK_BUY),
        (-2.0, Signal.WEAK_BUY),
        (-2.0001, Signal.STRONG_BUY),
        (inf, Signal.STRONG_SELL),
        (nan, None),
    ],
)
def test_a_z_on_the_threshold_is_not_past_it(z: float, wanted: Signal | None) -> None:
    assert signal_class(z, 2.0) is wanted


def test_the_threshold_is_the_callers() -> None:
    assert signal_class(2.5, 3.0) is Signal.WEAK_SELL
    assert signal_class(-3.5, 3.0) is Signal.STRONG_BUY
