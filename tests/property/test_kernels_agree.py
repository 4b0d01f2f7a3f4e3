"""The two implementations of every kernel say the same, to 1e-9 * max(1, |value|), on histories made to pull them apart.

Histories are described by few numbers (kind, seed, window, spikes, gaps), so a failing example is one line (analytics.md 0, 18).
"""

from collections.abc import Callable
from math import isnan

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from numpy.typing import NDArray

from analytics.batch import decayed_counter, ewm_moments, rolling_moments
from analytics.stream import FLAT, DecayedCounter, EwmMoments, RollingMoments
from feeds.model import SECOND

Column = NDArray[np.float64]

SHAPES: dict[str, Callable[[np.random.Generator, int], Column]] = {
    "noise": lambda rng, size: rng.normal(size=size),
    "walk": lambda rng, size: np.cumsum(rng.normal(size=size)),
    "price": lambda rng, size: 1e5 + np.cumsum(rng.normal(size=size)),
    "offset 1e8": lambda rng, size: 1e8 + 0.1 * rng.normal(size=size),
    "constant": lambda rng, size: np.full(size, rng.normal() * 100),
    "steps": lambda rng, size: np.repeat(rng.normal(size=size), 7)[:size] * 10.0,
    "mostly still": lambda rng, size: np.where(rng.random(size) < 0.02, rng.normal(size=size), 3.7),
    "fading": lambda rng, size: rng.normal(size=size) * np.exp(-np.arange(size) / (size / 12)),
    "ladder of spikes": lambda rng, size: rng.normal(size=size) * 10.0 ** rng.integers(0, 8, size),
}
WINDOWS = st.one_of(st.integers(2, 12), st.integers(13, 600))


class History(Struct, frozen=True):
    """A series by its recipe: places and heights of spikes, places of gaps (NaN, infinities)."""

    shape: str
    seed: int
    size: int
    spikes: dict[int, float]
    gaps: dict[int, float]

    def samples(self) -> Column:
        x = SHAPES[self.shape](np.random.default_rng(self.seed), self.size)
        for at, height in self.spikes.items():
            x[at % self.size] += height
        for at, gap in self.gaps.items():
            x[at % self.size] = gap
        return x


SEEDS = st.integers(0, 2**32 - 1)
PLACES = st.integers(0, 1499)
HISTORIES = st.builds(
    History,
    shape=st.sampled_from(sorted(SHAPES)),
    seed=SEEDS,
    size=st.one_of(st.integers(1, 40), st.integers(600, 1500)),
    spikes=st.dictionaries(PLACES, st.sampled_from((1e7, -1e7, 1e4)), max_size=4),
    gaps=st.dictionaries(PLACES, st.sampled_from((np.nan, np.inf, -np.inf)), max_size=6),
)


def differ(batch: float, stream: float) -> bool:
    """Whether two values break the contract of analytics.md 0."""
    if isnan(batch) or isnan(stream):
        return isnan(batch) != isnan(stream)
    return abs(batch - stream) > 1e-9 * max(1.0, abs(stream))


def doubtful(mean: float, sd: float) -> bool:
    """Whether no z-score can be asked of both: within rounding of flat, or moving by less than 1e-8 of the samples themselves."""
    return sd <= 1e-8 * abs(mean) or 0.1 < sd / (FLAT * max(1.0, abs(mean))) < 10.0


@settings(max_examples=120, deadline=None)
@given(history=HISTORIES, window=WINDOWS, periods=st.integers(1, 600))
def test_a_history_and_the_live_feed_never_show_different_rolling_values(history: History, window: int, periods: int) -> None:
    x = history.samples()
    periods = min(periods, window)
    columns = rolling_moments(x, window, periods)
    kernel = RollingMoments(window, periods)
    for i, value in enumerate(x.tolist()):
        prior_doubtful = doubtful(kernel.mean, kernel.sd)
        prior = kernel.z_prior(value)
        kernel.push(value)
        assert columns.n[i] == kernel.n
        assert not differ(columns.mean[i], kernel.mean), f"mean at {i}"
        assert not differ(columns.sd[i], kernel.sd), f"sd at {i}"
        assert prior_doubtful or not differ(columns.z_prior[i], prior), f"z_prior at {i}"
        if not doubtful(kernel.mean, kernel.sd):
            assert not differ(columns.z_inclusive[i], kernel.z_inclusive()), f"z_inclusive at {i}"
            assert columns.flat[i] == kernel.flat


@settings(max_examples=80, deadline=None)
@given(history=HISTORIES, decay=st.floats(0.01, 0.9995), periods=st.integers(2, 60))
def test_a_history_and_the_live_feed_never_show_different_ewm_values(history: History, decay: float, periods: int) -> None:
    x = history.samples()
    columns = ewm_moments(x, decay=decay, min_periods=periods)
    kernel = EwmMoments(decay=decay, min_periods=periods)
    for i, value in enumerate(x.tolist()):
        prior_doubtful = kernel.n > 1 and doubtful(kernel.mean, kernel.var**0.5)
        prior = kernel.z_prior(value)
        kernel.push(value)
        assert not differ(columns.mean[i], kernel.mean), f"mean at {i}"
        assert not differ(columns.var[i], kernel.var), f"var at {i}"
        assert prior_doubtful or not differ(columns.z_prior[i], prior), f"z_prior at {i}"


@settings(max_examples=80, deadline=None)
@given(history=HISTORIES, tau_s=st.floats(0.05, 5000), seed=SEEDS)
def test_irregular_ticks_with_pauses_and_a_clock_that_steps_back_agree(history: History, tau_s: float, seed: int) -> None:
    x = history.samples()
    rng = np.random.default_rng(seed)
    gaps = np.rint(10.0 ** rng.uniform(-3, 3, x.size) * SECOND).astype(np.int64)
    gaps[rng.random(x.size) < 0.05] = -SECOND // 2
    gaps[rng.random(x.size) < 0.1] = 0
    at_ns = 1_700_000_000 * SECOND + np.cumsum(gaps)
    tau_ns = int(tau_s * SECOND)
    columns = ewm_moments(x, tau_ns=tau_ns, at_ns=at_ns)
    sums = decayed_counter(np.abs(x), at_ns, tau_ns)
    kernel = EwmMoments(tau_ns=tau_ns)
    counter = DecayedCounter(tau_ns)
    for i, (value, at) in enumerate(zip(x.tolist(), at_ns.tolist(), strict=True)):
        prior_doubtful = kernel.n > 1 and doubtful(kernel.mean, kernel.var**0.5)
        prior = kernel.z_prior(value)
        kernel.push(value, at)
        counter.add(abs(value), at)
        assert not differ(columns.mean[i], kernel.mean), f"mean at {i}"
        assert not differ(columns.var[i], kernel.var), f"var at {i}"
        assert prior_doubtful or not differ(columns.z_prior[i], prior), f"z_prior at {i}"
        assert not differ(sums[i], counter.value(at)), f"sum at {i}"


def test_a_history_longer_than_one_block_has_no_seam() -> None:
    rng = np.random.default_rng(5)
    x = np.cumsum(rng.normal(size=40_000)) + 6e4
    x[8190:8195] += 1e7
    rolling = rolling_moments(x, 500, 50)
    ewm = ewm_moments(x, decay=0.999)
    kernel = RollingMoments(500, 50)
    weighted = EwmMoments(decay=0.999)
    for i, value in enumerate(x.tolist()):
        kernel.push(value)
        weighted.push(value)
        assert not differ(rolling.sd[i], kernel.sd), i
        assert not differ(rolling.z_inclusive[i], kernel.z_inclusive()), i
        assert not differ(ewm.mean[i], weighted.mean), i
        assert not differ(ewm.var[i], weighted.var), i
