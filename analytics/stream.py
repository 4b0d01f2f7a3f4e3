"""The statistical kernels, one sample at a time: rolling and exponentially weighted moments, and the decayed counter.

Each update is O(1) in plain floats and each kernel owns its state. Nothing here reads a clock, draws a grid or knows what a
sample means: the caller decides when a sample is due and pushes nothing, or NaN, for a gap. `batch.py` gives the same numbers
over a whole history; the two agree to 1e-9 * max(1, |value|).

Sources: analytics.md 1.1 to 1.4 and 3; Welford 1962 and West 1979 (recursions), Chan, Golub and LeVeque 1983 (pivot, merge).
"""

from collections import deque
from math import exp, nan, sqrt
from operator import mul

from feeds.model import Ns

LIMIT: float = 1e150
"""A sample of this magnitude or more is skipped like NaN: its square has no float."""
FLAT: float = 1e-12
"""A standard deviation at or below FLAT * max(1, |mean|) is rounding, not movement: no z-score is formed from it."""
FORGOTTEN: float = 1e-30
"""A decay below this (69 time constants) forgets the past: the next sample starts over."""
_COLLAPSE: float = 1e-4
# When the sum of squares falls by this factor, what is left of it carries the rounding of what went. A window of 600 is then
# still within 600 * 2^-53 / 1e-4 = 7e-10 of exact; the 1e-6 of analytics.md 1.1 would allow 7e-8 and break the 1e-9 contract.


class RollingMoments:
    """Mean, standard deviation (ddof 1) and z-scores of the last `window` samples.

    Args:
        window: samples in the window, at least 2.
        min_periods: samples needed before there is a value, 1 to `window`.

    Raises:
        ValueError: window or min_periods out of range.

    Values are sums of deviations from a pivot, moved on by Welford's recursion. They are computed afresh in two passes every
    `window` pushes (while it fills: at 1, 2, 4, ... samples, so that a first sample out of line is not the pivot for long), and
    at once when a spike has left the window. Source: analytics.md 1.1.
    """

    __slots__ = ("_due", "_mean", "_peak", "_pivot", "_ring", "_squares", "last", "min_periods", "n", "window")

    def __init__(self, window: int = 500, min_periods: int = 50) -> None:
        if window < 2 or not 1 <= min_periods <= window:
            raise ValueError(f"rolling window {window}, min_periods {min_periods}: needs 2 <= window, 1 <= min_periods <= window")
        self.window = window
        self.min_periods = min_periods
        self.n = 0
        """Samples in the window."""
        self.last = nan
        """The sample pushed last; NaN after a gap, so that a gap has no z-score."""
        self._ring: deque[float] = deque(maxlen=window)
        self._pivot = 0.0
        self._mean = 0.0  # of x - pivot
        self._squares = 0.0  # of deviations from the mean
        self._peak = 0.0  # of _squares since the last refresh
        self._due = 1  # pushes until the next refresh

    def push(self, x: float) -> None:
        """Take one sample. NaN, infinities and magnitudes from `LIMIT` are a gap: not stored."""
        if not -LIMIT < x < LIMIT:
            self.last = nan
            return
        ring = self._ring
        mean = self._mean
        if self.n == self.window:
            pivot = self._pivot
            old = ring[0]
            step = x - old
            self._mean = moved = mean + step / self.window
            squares = self._squares + step * ((x - pivot - moved) + (old - pivot - mean))
        else:
            self.n += 1
            y = x - self._pivot
            step = y - mean
            self._mean = moved = mean + step / self.n
            squares = self._squares + step * (y - moved)
        ring.append(x)
        self.last = x
        self._squares = squares
        if squares > self._peak:
            self._peak = squares
        self._due -= 1
        if not self._due or squares < _COLLAPSE * self._peak or squares < 0.0:
            self._refresh()

    def _refresh(self) -> None:
        """Two passes over the window, with the pivot moved to its mean."""
        ring = self._ring
        n = self.n
        first = ring[0]
        pivot = first + sum([x - first for x in ring]) / n
        off = [x - pivot for x in ring]
        mean = sum(off) / n
        self._pivot = pivot
        self._mean = mean
        self._squares = self._peak = max(0.0, sum(map(mul, off, off)) - n * mean * mean)
        self._due = n

    @property
    def mean(self) -> float:
        """In the samples' unit; NaN below `min_periods`."""
        return self._pivot + self._mean if self.n >= self.min_periods else nan

    @property
    def sd(self) -> float:
        """Sample standard deviation in the samples' unit; NaN below `min_periods` or two samples."""
        n = self.n
        return sqrt(self._squares / (n - 1)) if n >= self.min_periods and n > 1 else nan

    @property
    def flat(self) -> bool:
        """Whether the window has values but none of them moves, which is why there is no z-score."""
        sd = self.sd
        return sd <= FLAT * max(1.0, abs(self._pivot + self._mean))

    def z_inclusive(self) -> float:
        """The last sample against the window that contains it, at most (n-1)/sqrt(n); NaN if cold, flat or after a gap."""
        return self.z_prior(self.last)

    def z_prior(self, x: float) -> float:
        """`x` against the window as it stands: call before `push(x)`. NaN if cold, flat or `x` a gap (analytics.md 3)."""
        n = self.n
        if n < self.min_periods or n < 2 or not -LIMIT < x < LIMIT:
            return nan
        sd = sqrt(self._squares / (n - 1))
        if sd <= FLAT or sd <= FLAT * abs(self._pivot + self._mean):
            return nan
        return (x - self._pivot - self._mean) / sd


class EwmMoments:
    """Exponentially weighted mean and variance, as pandas' `ewm(adjust=True, ignore_na=True)` gives them.

    Args:
        decay: weight of the past per sample, in (0, 1); alpha = 1 - decay.
        tau_ns: instead of `decay`, a time constant: the past weighs exp(-dt / tau), for irregular ticks.
        min_periods: samples needed before there is a z-score, at least 2.

    Raises:
        ValueError: neither or both of decay and tau_ns, or one out of range.

    The variance is unbiased for weights that count reliability. All terms that are summed are positive, so a spike fades
    without a trace, and a pause of any length leaves the variance sound. Source: analytics.md 1.2; West 1979.
    """

    __slots__ = ("_at_ns", "_decay", "_last", "_off", "_pairs", "_squares", "_tau_ns", "_total", "_weight", "min_periods", "n")

    def __init__(self, *, decay: float | None = None, tau_ns: Ns | None = None, min_periods: int = 2) -> None:
        check_decay(decay, tau_ns)
        if min_periods < 2:
            raise ValueError(f"ewm min_periods {min_periods}: needs at least 2")
        self.min_periods = min_periods
        self.n = 0
        """Samples that still weigh anything."""
        self._decay = decay or 0.0
        self._tau_ns = tau_ns or 1
        self._at_ns: Ns = 0
        self._last = nan
        # Mean minus last sample: at 1e8 a mean in one float is 1e-8 coarse, too coarse for the z-score of a spread of 0.1.
        self._off = 0.0
        self._total = nan
        self._weight = 1.0
        self._pairs = 0.0  # sum over pairs of w_i * w_j: half of pandas' s1^2 - s2, without the cancellation
        self._squares = 0.0

    def push(self, x: float, at_ns: Ns = 0) -> None:
        """Take one sample, received at `at_ns` (read only with a time constant; a time that goes back counts as no time).

        NaN, infinities and magnitudes from `LIMIT` are a gap: skipped.
        """
        if not -LIMIT < x < LIMIT:
            return
        q = self._decay
        if not q:
            span = at_ns - self._at_ns
            if span > 0:
                self._at_ns = at_ns
                q = exp(-span / self._tau_ns)
            else:
                q = 1.0
        if not self.n or q < FORGOTTEN:
            self.n = 1
            self._at_ns = at_ns
            self._last = self._total = x
            self._off = self._pairs = self._squares = 0.0
            self._weight = 1.0
            return
        self.n += 1
        step = x - self._last - self._off
        past = q * self._weight
        self._weight = weight = past + 1.0
        self._off = off = -step * past / weight
        self._squares = q * self._squares - step * off
        self._pairs = q * q * self._pairs + past
        self._total = q * self._total + x
        self._last = x

    @property
    def mean(self) -> float:
        """In the samples' unit; NaN before the first sample."""
        return self._total / self._weight

    @property
    def var(self) -> float:
        """Unbiased variance in the samples' unit squared; NaN below two samples."""
        return self._squares * self._weight / (2.0 * self._pairs) if self.n > 1 else nan

    @property
    def flat(self) -> bool:
        """Whether there are values but none of them moves, which is why there is no z-score."""
        return self.n > 1 and sqrt(self.var) <= FLAT * max(1.0, abs(self.mean))

    def z_prior(self, x: float) -> float:
        """`x` against the state as it stands: call before `push(x)`. NaN if cold, flat or `x` a gap (analytics.md 3)."""
        if self.n < self.min_periods or not -LIMIT < x < LIMIT:
            return nan
        sd = sqrt(self._squares * self._weight / (2.0 * self._pairs))
        if sd <= FLAT or sd <= FLAT * abs(self._total / self._weight):
            return nan
        return (x - self._last - self._off) / sd


class DecayedCounter:
    """A sum that fades: each amount weighs exp(-age / tau). Rates, liquidation intensity, volume (analytics.md 1.4).

    Args:
        tau_ns: time constant in ns. A steady flow of r per second settles at r * tau.

    Raises:
        ValueError: tau_ns is not positive.
    """

    __slots__ = ("_at_ns", "_sum", "_tau_ns")

    def __init__(self, tau_ns: Ns) -> None:
        check_decay(None, tau_ns)
        self._tau_ns = tau_ns
        self._at_ns: Ns = 0
        self._sum = 0.0

    def add(self, amount: float, at_ns: Ns) -> None:
        """Count `amount` at `at_ns`; a time that goes back counts as no time, a non-finite amount as none."""
        if -LIMIT < amount < LIMIT:
            self._sum = self.value(at_ns) + amount
            if at_ns > self._at_ns:
                self._at_ns = at_ns

    def value(self, at_ns: Ns) -> float:
        """The faded sum at `at_ns`, in the unit of the amounts; 0 before the first."""
        span = at_ns - self._at_ns
        return self._sum * exp(-span / self._tau_ns) if span > 0 else self._sum


def check_decay(decay: float | None, tau_ns: Ns | None) -> None:
    """Raise ValueError unless exactly one of a decay in (0, 1) and a positive time constant is given."""
    if (decay is None) == (tau_ns is None):
        raise ValueError("give either decay or tau_ns")
    if decay is not None and not 0.0 < decay < 1.0:
        raise ValueError(f"decay {decay}: needs 0 < decay < 1")
    if tau_ns is not None and tau_ns <= 0:
        raise ValueError(f"tau_ns {tau_ns}: needs more than 0")
