"""The basis between two markets: sign, axis, and what ends a series (analytics 7.1, desk F3)."""

from math import isnan

import pytest

from analytics.basis import Pair
from analytics.routes import Axis
from analytics.settings import AnalyticsSettings, ZScore
from analytics.statistic import Statistic
from feeds.model import SECOND, Instrument
from tests.unit.test_routes import BIN_COIN, BIN_PERP, BIN_SPOT, BYB_SPOT, T0, Floor

QUICK_Z = AnalyticsSettings(z=ZScore(window=10, min_periods=3))


def pair_of(floor: Floor) -> Pair:
    (pair,) = floor.engine.pairs.values()
    return pair


def on(*instruments: Instrument) -> Floor:
    floor = Floor(instruments, QUICK_Z)
    for instrument in instruments:
        floor.write(instrument, 99.0, 101.0)
    return floor


@pytest.mark.parametrize("swapped", [False, True])
def test_a_rich_derivative_is_a_positive_basis_whichever_was_listed_first(swapped: bool) -> None:
    floor = on(*((BIN_PERP, BIN_SPOT) if swapped else (BIN_SPOT, BIN_PERP)))
    floor.write(BIN_PERP, 100.0, 102.0)
    floor.tick(1)
    pair = pair_of(floor)
    assert (pair.reference.id, pair.other.id) == (BIN_SPOT.id, BIN_PERP.id)
    assert pair.id == f"{BIN_PERP.id} / {BIN_SPOT.id}"
    assert pair.statistic.value == pair.tradable_bps == pytest.approx(100.0)
    assert pair.axis is Axis.PRICE


def test_two_of_a_kind_are_ordered_by_name() -> None:
    assert pair_of(on(BYB_SPOT, BIN_SPOT)).reference.id == BIN_SPOT.id


def test_a_leg_that_may_not_be_read_is_a_gap_not_the_last_value() -> None:
    floor = on(BIN_SPOT, BIN_PERP)
    floor.tick(21)
    pair = pair_of(floor)
    floor.fall(BIN_SPOT, "gap")
    floor.tick(10)
    assert isnan(pair.statistic.value)
    assert isnan(pair.statistic.z)
    assert isnan(pair.tradable_bps)
    floor.write(BIN_SPOT, 99.0, 101.0)
    floor.tick(10)
    assert pair.statistic.value == 0.0
    assert [at - T0 for at, _ in pair.statistic.history] == [0, SECOND, 2 * SECOND, 4 * SECOND]


def test_a_change_of_axis_starts_the_series_anew() -> None:
    floor = on(BIN_PERP, BIN_COIN)
    floor.write(BIN_COIN, 100.0, 102.0)
    floor.tick(31)
    pair = pair_of(floor)
    assert (pair.axis, pair.statistic.n, pair.other.id) == (Axis.RAW, 4, BIN_PERP.id)
    assert pair.statistic.value == pytest.approx(-1 / 101 * 1e4)
    assert isnan(pair.tradable_bps)
    floor.index(BIN_PERP, 100.0)
    floor.index(BIN_COIN, 101.0)
    floor.tick(20)
    assert (pair.axis, pair.statistic.n) == (Axis.INDEX, 2)
    assert pair.tradable_bps == pytest.approx(0.0, abs=1e-9)
    floor.tick(30)  # the indices are more than 2 s old: a gap
    assert (pair.axis, pair.statistic.n) == (Axis.INDEX, 2)
    assert isnan(pair.tradable_bps)
    floor.tick(70)  # and gone for more than 10 s: another measure
    assert pair.axis is Axis.RAW
    assert pair.statistic.n == len(pair.statistic.history) <= 2
    assert isnan(pair.tradable_bps)


def test_both_legs_count_in_basis_points_of_their_own_index() -> None:
    floor = on(BIN_SPOT, BIN_COIN, BIN_PERP)
    floor.write(BIN_COIN, 101.0, 103.0)
    floor.index(BIN_PERP, 98.0)  # also the spot's
    floor.index(BIN_COIN, 101.0)
    floor.tick(1)
    pair = floor.engine.pairs[f"{BIN_COIN.id} / {BIN_SPOT.id}"]
    assert pair.statistic.value == pytest.approx(((102 / 101) / (100 / 98) - 1) * 1e4)


def test_prices_times_1000_are_the_same_basis() -> None:
    found = []
    for scale in (1.0, 1_000.0):
        floor = Floor((BIN_SPOT, BIN_PERP), QUICK_Z)
        floor.write(BIN_SPOT, 99.0 * scale, 101.0 * scale)
        floor.write(BIN_PERP, 99.7 * scale, 101.3 * scale)
        floor.tick(1)
        found.append(pair_of(floor).statistic.value)
    assert found[0] == pytest.approx(found[1], rel=1e-9)


# -- the series under it ----------------------------------------------------------------------------------------------------


def test_no_score_before_it_is_warm_and_none_at_a_gap() -> None:
    series = Statistic(ZScore(window=10, min_periods=3))
    for at, value in enumerate([1.0, 2.0, 3.0]):
        series.push(at, value)
        assert isnan(series.z)
    series.push(3, 5.0)
    assert series.z == pytest.approx(3.0)
    assert (series.last_z, series.z_ns) == (series.z, 3)
    series.gap()
    assert isnan(series.value)
    assert isnan(series.z)
    series.push(4, float("nan"))
    assert (series.n, len(series.history), series.last_ns, series.z_ns) == (4, 4, 3, 3)


def test_each_definition_of_z_is_its_own() -> None:
    values = [1.0, 2.0, 4.0, 3.0, 9.0]
    found = {}
    for mode in ("prior", "inclusive", "ewma"):
        series = Statistic(ZScore(window=5, min_periods=2, mode=mode))
        for at, value in enumerate(values):
            series.push(at, value)
        found[mode] = series.z
    assert found["prior"] == pytest.approx((9 - 2.5) / (5 / 3) ** 0.5)
    assert found["inclusive"] == pytest.approx((9 - 3.8) / 9.7**0.5)
    assert found["ewma"] not in (found["prior"], found["inclusive"])
    assert abs(found["inclusive"]) <= 4 / 5**0.5
