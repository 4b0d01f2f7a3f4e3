"""The kernels against oracles that share no code with them.

Exact two passes in long double judge windows; pandas judges series in bps only (rolling) and the weighted moments, because its
rolling variance is off by 1e-8 at prices and 1e-4 after a spike (analytics.md 1.1, measured); long double judges irregular ticks.
"""

from collections.abc import Callable
from math import exp, fsum, inf, isnan, nan, nextafter, sqrt

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from analytics.batch import decayed_counter, ewm_moments, rolling_moments
from analytics.stream import DecayedCounter, EwmMoments, RollingMoments
from feeds.model import SECOND

Column = NDArray[np.float64]
SIZE = 3000


def spread_bps() -> Column:
    """An Ornstein-Uhlenbeck spread with a half-life of 60 samples."""
    rng = np.random.default_rng(11)
    x = np.zeros(SIZE)
    for i in range(1, SIZE):
        x[i] = 0.5 ** (1 / 60) * x[i - 1] + rng.normal() * 0.7
    return x


def price() -> Column:
    return 1e5 + np.cumsum(np.random.default_rng(12).normal(size=SIZE))


def far_from_zero() -> Column:
    return 1e8 + 0.1 * np.random.default_rng(13).normal(size=SIZE)


def spiked() -> Column:
    x = np.random.default_rng(14).normal(size=SIZE)
    x[[1, 900, 2200]] = (1e7, -1e7, 1e4)
    return x


SERIES: tuple[Callable[[], Column], ...] = (spread_bps, price, far_from_zero, spiked)


def exact(x: Column, window: int, at: int) -> tuple[float, float, float, float]:
    """Mean, sd, z inclusive and z prior (NaN if flat) at one sample: two passes in long double over the window itself."""

    def moments(end: int) -> tuple[np.longdouble, np.longdouble]:
        part = x[max(0, end - window) : end].astype(np.longdouble)
        mean = part.sum() / part.size
        return mean, np.sqrt(((part - mean) ** 2).sum() / (part.size - 1))

    def score(mean: np.longdouble, sd: np.longdouble) -> float:
        return float((x[at] - mean) / sd) if sd > 1e-12 * max(1.0, abs(float(mean))) else nan

    mean, sd = moments(at + 1)
    return float(mean), float(sd), score(mean, sd), score(*moments(at))


def near(value: float, wanted: float, tolerance: float = 1e-9) -> bool:
    return abs(value - wanted) <= tolerance * max(1.0, abs(wanted)) or (isnan(value) and isnan(wanted))


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("window", [2, 37, 500])
def test_streaming_moments_do_not_drift_from_the_exact_window(series: Callable[[], Column], window: int) -> None:
    x = series()
    kernel = RollingMoments(window, 2)
    for i, value in enumerate(x.tolist()):
        prior = kernel.z_prior(value)
        kernel.push(value)
        if i > 2 and (i % 41 == 0 or 895 < i < 910):
            mean, sd, z_inclusive, z_prior = exact(x, window, i)
            assert near(kernel.mean, mean)
            assert near(kernel.sd, sd)
            assert near(kernel.z_inclusive(), z_inclusive)
            assert near(prior, z_prior)


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("window", [2, 37, 500])
def test_batch_moments_do_not_carry_what_lies_outside_the_window(series: Callable[[], Column], window: int) -> None:
    x = series()
    columns = rolling_moments(x, window, 2)
    for i in [*range(3, SIZE, 41), *range(895, 910), *range(1395, 1410)]:
        mean, sd, z_inclusive, z_prior = exact(x, window, i)
        assert near(columns.mean[i], mean)
        assert near(columns.sd[i], sd)
        assert near(columns.z_inclusive[i], z_inclusive)
        assert near(columns.z_prior[i], z_prior)


def test_a_spread_in_bps_gives_the_articles_rolling_z_score() -> None:
    x = spread_bps()
    rolling = pd.Series(x).rolling(500, min_periods=50)
    columns = rolling_moments(x, 500, 50)
    np.testing.assert_allclose(columns.mean, rolling.mean().to_numpy(), atol=1e-9, rtol=1e-9)
    np.testing.assert_allclose(columns.sd, rolling.std().to_numpy(), atol=1e-9, rtol=1e-9)
    assert np.isnan(columns.mean[:49]).all()
    assert not np.isnan(columns.mean[49:]).any()


def test_a_volume_mean_over_100_full_samples_has_no_value_for_the_first_99() -> None:
    volumes = np.random.default_rng(15).lognormal(size=400)
    kernel = RollingMoments(100, 100)
    means = []
    for volume in volumes.tolist():
        kernel.push(volume)
        means.append(kernel.mean)
    np.testing.assert_allclose(means, pd.Series(volumes).rolling(100).mean().to_numpy(), rtol=1e-12)


def test_a_million_updates_do_not_add_up_rounding() -> None:
    # Loud and quiet by turns, too alike for the collapse rule: only the periodic refresh clears what the loud ones leave.
    rng = np.random.default_rng(16)
    size = 1_000_000
    x = rng.normal(size=size) * np.where(np.arange(size) // 600 % 2, 80.0, 1.0)
    x[-1500:] = rng.normal(size=1500)
    kernel = RollingMoments(600, 600)
    for value in x.tolist():
        kernel.push(value)
    mean, sd, z_inclusive, _ = exact(x, 600, size - 1)
    assert near(kernel.mean, mean, 1e-13)
    assert near(kernel.sd, sd, 1e-13)
    assert near(kernel.z_inclusive(), z_inclusive, 1e-13)


def test_two_spikes_that_cancel_do_not_round_the_mean_away() -> None:
    x = np.random.default_rng(21).normal(size=400)
    x[[100, 250]] += (1e7, -1e7)
    columns = rolling_moments(x, 300, 1)
    kernel = RollingMoments(300, 1)
    for i, value in enumerate(x.tolist()):
        kernel.push(value)
        mean = fsum(x[max(0, i - 299) : i + 1]) / min(i + 1, 300)
        assert near(columns.mean[i], mean, 3e-10)
        assert near(kernel.mean, mean, 3e-10)


def test_a_cold_window_has_no_value() -> None:
    kernel = RollingMoments(10, 3)
    for value in (1.0, 2.0):
        kernel.push(value)
        assert isnan(kernel.mean)
        assert isnan(kernel.sd)
        assert isnan(kernel.z_prior(9.0))
        assert not kernel.flat
    kernel.push(3.0)
    assert (kernel.n, kernel.mean, kernel.sd, kernel.z_inclusive(), kernel.z_prior(5.0)) == (3, 2.0, 1.0, 1.0, 3.0)


def test_one_sample_has_a_mean_but_no_deviation() -> None:
    kernel = RollingMoments(10, 1)
    kernel.push(4.0)
    assert kernel.mean == 4.0
    assert isnan(kernel.sd)
    assert isnan(kernel.z_inclusive())


@pytest.mark.parametrize("level", [0.0, 7.3, 1e8])
def test_a_series_that_stands_still_is_flat_not_infinitely_unusual(level: float) -> None:
    kernel = RollingMoments(20, 5)
    weighted = EwmMoments(decay=0.9)
    for i in range(60):
        still = nextafter(level, inf) if i % 2 else level
        kernel.push(level + 1e7 if i == 2 else still)
        weighted.push(still)
    assert (kernel.flat, weighted.flat) == (True, True)
    assert isnan(kernel.z_prior(level + 1.0))
    assert isnan(kernel.z_inclusive())
    assert isnan(weighted.z_prior(level + 1.0))
    kernel.push(level + 1.0)
    assert not kernel.flat
    assert kernel.z_inclusive() == pytest.approx(19 / sqrt(20))
    columns = rolling_moments([level] * 30, 20, 5)
    assert columns.flat[4:].all()
    assert not columns.flat[:4].any()
    assert np.isnan(columns.z_prior).all()


@pytest.mark.parametrize("n", [50, 500])
def test_the_inclusive_z_is_damped_by_its_own_sample_and_the_prior_one_is_not(n: int) -> None:
    kernel = RollingMoments(n, 2)
    x = np.random.default_rng(17).normal(size=n - 1)
    for value in x.tolist():
        kernel.push(value)
    assert kernel.z_prior(1e6) > 1e5
    kernel.push(1e6)
    assert kernel.z_inclusive() == pytest.approx((n - 1) / sqrt(n), rel=1e-6)


@pytest.mark.parametrize("gap", [nan, inf, -inf, 1e200])
def test_a_gap_is_neither_stored_nor_scored(gap: float) -> None:
    kernel = RollingMoments(5, 2)
    weighted = EwmMoments(decay=0.9)
    counter = DecayedCounter(SECOND)
    for value in (1.0, 2.0, 4.0):
        kernel.push(value)
        weighted.push(value)
        counter.add(value, SECOND)

    def state() -> tuple[float, ...]:
        return kernel.n, kernel.mean, kernel.sd, weighted.mean, weighted.var, counter.value(SECOND)

    before = state()
    assert isnan(kernel.z_prior(gap))
    assert isnan(weighted.z_prior(gap))
    kernel.push(gap)
    weighted.push(gap)
    counter.add(gap, 2 * SECOND)
    assert state() == before
    assert isnan(kernel.last)
    assert isnan(kernel.z_inclusive())
    columns = rolling_moments([1.0, 2.0, 4.0, gap], 5, 2)
    assert columns.sd[3] == columns.sd[2]
    assert columns.n.tolist() == [1, 2, 3, 3]
    assert isnan(columns.z_inclusive[3])
    assert isnan(columns.z_prior[3])


def test_a_history_of_nothing_but_gaps_is_not_an_error() -> None:
    for x in ([], [nan, nan]):
        assert np.isnan(rolling_moments(x, 5, 2).mean).all()
        assert np.isnan(ewm_moments(x, decay=0.5).mean).all()
        assert not decayed_counter(x, [0] * len(x), SECOND).any()


@pytest.mark.parametrize("decay", [0.95, 0.9, 0.5])
@pytest.mark.parametrize("series", [spread_bps, spiked])
def test_weighted_moments_start_as_pandas_adjusted_ones_do(series: Callable[[], Column], decay: float) -> None:
    x = series()[:1200]
    x[[7, 8, 500]] = nan
    oracle = pd.Series(x).ewm(alpha=1 - decay, adjust=True, ignore_na=True)
    kernel = EwmMoments(decay=decay)
    means, variances = [], []
    for value in x.tolist():
        kernel.push(value)
        means.append(kernel.mean)
        variances.append(kernel.var)
    columns = ewm_moments(x, decay=decay)
    scale = np.maximum(1.0, np.abs(oracle.var().to_numpy()))
    for mean, var in ((means, variances), (columns.mean, columns.var)):
        np.testing.assert_allclose(mean, oracle.mean().to_numpy(), rtol=1e-12, atol=1e-9 if series is spiked else 1e-12)
        error = np.abs(np.asarray(var) - oracle.var().to_numpy()) / scale
        assert np.nanmax(error) < 1e-12
    assert isnan(variances[0])
    # adjust=False is another statistic: it would give the first sample the weight of all that came before it.
    assert abs(means[1] - pd.Series(x).ewm(alpha=1 - decay, adjust=False).mean()[1]) > 1e-3


def test_weighted_moments_of_irregular_ticks_weigh_by_age() -> None:
    rng = np.random.default_rng(18)
    tau_ns = 3 * SECOND
    at_ns = 1_700_000_000 * SECOND + np.cumsum(rng.integers(1, 8 * SECOND, 400))
    x = 1e8 + rng.normal(size=400)
    kernel = EwmMoments(tau_ns=tau_ns)
    columns = ewm_moments(x, tau_ns=tau_ns, at_ns=at_ns)
    for i, (value, at) in enumerate(zip(x.tolist(), at_ns.tolist(), strict=True)):
        prior = kernel.z_prior(value)
        kernel.push(value, at)
        if i < 2:
            continue
        past = x[: i + 1].astype(np.longdouble)
        weights = np.exp(-(at_ns[i] - at_ns[: i + 1]).astype(np.longdouble) / tau_ns)
        total = weights.sum()
        mean = (weights * past).sum() / total
        var = (weights * (past - mean) ** 2).sum() / (total - (weights**2).sum() / total)
        assert near(kernel.mean, float(mean))
        assert near(kernel.var, float(var))
        assert near(columns.var[i], float(var))
        weights, past = weights[:-1], past[:-1]
        total = weights.sum()
        mean = (weights * past).sum() / total
        sd = np.sqrt((weights * (past - mean) ** 2).sum() / (total - (weights**2).sum() / total))
        assert near(prior, float((x[i] - mean) / sd), 1e-8)
        assert near(columns.z_prior[i], float((x[i] - mean) / sd), 1e-8)


def test_a_mean_by_half_life_is_the_one_pandas_gives_for_times() -> None:
    rng = np.random.default_rng(19)
    at_ns = 1_700_000_000 * SECOND + np.cumsum(rng.integers(1, 5 * SECOND, 300))
    x = rng.normal(size=300)
    half_life_ns = 10 * SECOND
    oracle = pd.Series(x).ewm(halflife=pd.Timedelta(half_life_ns, "ns"), times=pd.to_datetime(at_ns, unit="ns")).mean()
    columns = ewm_moments(x, tau_ns=round(half_life_ns / np.log(2)), at_ns=at_ns)
    np.testing.assert_allclose(columns.mean, oracle.to_numpy(), atol=1e-8)


def test_a_pause_longer_than_memory_starts_the_weighted_moments_over() -> None:
    kernel = EwmMoments(tau_ns=SECOND)
    for i, value in enumerate((100.0, 120.0, 90.0)):
        kernel.push(value, i * SECOND)
    kernel.push(5.0, 3600 * SECOND)
    assert (kernel.n, kernel.mean) == (1, 5.0)
    assert isnan(kernel.var)
    kernel.push(7.0, 3601 * SECOND)
    assert kernel.var == pytest.approx(2.0, rel=1e-12)
    columns = ewm_moments([100.0, 120.0, 90.0, 5.0, 7.0], tau_ns=SECOND, at_ns=np.array([0, 1, 2, 3600, 3601]) * SECOND)
    assert isnan(columns.var[3])
    assert columns.var[4] == pytest.approx(2.0, rel=1e-12)
    assert isnan(columns.z_prior[4])


def test_a_long_pause_within_memory_does_not_cancel_the_variance_away() -> None:
    # weights 1e-17 and 1: pandas' s1^2 - s2 is 0 in floats here
    kernel = EwmMoments(tau_ns=SECOND)
    kernel.push(1.0, 0)
    kernel.push(3.0, 40 * SECOND)
    assert kernel.var == pytest.approx(2.0, rel=1e-12)


def test_a_cold_weighted_state_has_no_z_score() -> None:
    kernel = EwmMoments(decay=0.95, min_periods=3)
    assert isnan(kernel.mean)
    for value in (1.0, 2.0):
        kernel.push(value)
        assert isnan(kernel.z_prior(9.0))
    kernel.push(4.0)
    assert kernel.z_prior(9.0) == pytest.approx((9.0 - kernel.mean) / sqrt(kernel.var), rel=1e-12)


def test_a_counter_fades_between_events_and_never_grows_by_itself() -> None:
    counter = DecayedCounter(2 * SECOND)
    assert counter.value(10**18) == 0.0
    counter.add(8.0, 10 * SECOND)
    assert counter.value(10 * SECOND) == 8.0
    assert counter.value(12 * SECOND) == pytest.approx(8.0 / exp(1), rel=1e-15)
    assert counter.value(9 * SECOND) == 8.0
    counter.add(1.0, 12 * SECOND)
    assert counter.value(12 * SECOND) == pytest.approx(1.0 + 8.0 / exp(1), rel=1e-15)
    counter.add(1.0, 11 * SECOND)
    assert counter.value(14 * SECOND) == pytest.approx((2.0 + 8.0 / exp(1)) / exp(1), rel=1e-15)


def test_a_steady_flow_settles_at_rate_times_tau() -> None:
    counter = DecayedCounter(5 * SECOND)
    for i in range(10_000):
        counter.add(1.0, i * SECOND // 100)
    assert counter.value(9_999 * SECOND // 100) / 5 == pytest.approx(100.0, rel=2e-3)


def test_counted_amounts_weigh_by_their_age() -> None:
    rng = np.random.default_rng(20)
    at_ns = np.cumsum(rng.integers(0, SECOND, 500)) + 1_700_000_000 * SECOND
    amounts = rng.lognormal(size=500)
    sums = decayed_counter(amounts, at_ns, 2 * SECOND)
    for i in range(0, 500, 17):
        ages = (at_ns[i] - at_ns[: i + 1]).astype(np.longdouble)
        assert near(sums[i], float((amounts[: i + 1] * np.exp(-ages / (2 * SECOND))).sum()), 1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RollingMoments(1, 1),
        lambda: RollingMoments(10, 11),
        lambda: RollingMoments(10, 0),
        lambda: rolling_moments([1.0], 1, 1),
        lambda: rolling_moments([1.0], 10, 11),
        lambda: rolling_moments([[1.0]], 10, 1),
        lambda: EwmMoments(),
        lambda: EwmMoments(decay=0.9, tau_ns=1),
        lambda: EwmMoments(decay=1.0),
        lambda: EwmMoments(tau_ns=0),
        lambda: EwmMoments(decay=0.9, min_periods=1),
        lambda: ewm_moments([1.0]),
        lambda: ewm_moments([1.0], tau_ns=1),
        lambda: ewm_moments([1.0], tau_ns=1, at_ns=[1, 2]),
        lambda: ewm_moments([1.0], decay=0.9, min_periods=1),
        lambda: DecayedCounter(0),
        lambda: decayed_counter([1.0], [1], -5),
    ],
)
def test_a_kernel_that_cannot_work_is_refused_at_construction(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()
