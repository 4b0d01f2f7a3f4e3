"""The statistical kernels over a whole history at once: what `stream.py` says after each sample, as columns.

Used to seed a statistic from back-filled history, and as the second opinion on the streaming kernels: the two agree to
1e-9 * max(1, |value|). No scipy, no pandas: those judge both in the tests.

No running total is ever subtracted from another, so a sample outside a window cannot touch its value. Windows and decayed pasts
are put together from pieces by Chan's merge, pieces of 1, 2, 4, ... samples, each described by its mean's distance from its own
newest sample; so there is no pivot to choose, and an offset of 1e8 costs nothing. Work goes in blocks that stay in the
processor's cache. Sources: analytics.md 1.1, 1.2, 1.4; Chan, Golub and LeVeque 1983; Hillis and Steele 1986 (the scan).
"""

from collections.abc import Iterator
from typing import TypeAlias, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from analytics.stream import FLAT, FORGOTTEN, LIMIT, check_decay
from feeds.model import Ns

Column: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Piece: TypeAlias = tuple[Column, Column, Column]
"""Per newest sample: mean minus that sample, sum of squared deviations, and plain sum. The first serves deviations (exact at any
offset), the last the mean itself (exact also where the newest sample is a spike that an older one cancels)."""
_T = TypeVar("_T", bound=np.generic)

_BLOCK: int = 8192  # samples: 64 KB a column, half the time of one pass over 1e6 (measured)
_NOTHING: float = 1e-200  # a weight that no sample in a ring can feel; products below it would be denormal, and slow


class RollingColumns(Struct, frozen=True):
    """One value a sample: what `RollingMoments` says after that sample was pushed, `z_prior` just before."""

    mean: Column
    sd: Column
    n: Counts
    flat: Flags
    z_inclusive: Column
    z_prior: Column


class EwmColumns(Struct, frozen=True):
    """One value a sample: what `EwmMoments` says after that sample was pushed, `z_prior` just before."""

    mean: Column
    var: Column
    flat: Flags
    z_prior: Column


def rolling_moments(samples: ArrayLike, window: int = 500, min_periods: int = 50) -> RollingColumns:
    """Rolling mean, standard deviation (ddof 1) and z-scores of a one-dimensional history.

    Args:
        samples: in time order; NaN, infinities and magnitudes from `LIMIT` are gaps.
        window: samples in the window, at least 2; gaps do not count.
        min_periods: samples needed before there is a value, 1 to `window`.

    Returns:
        Columns as long as `samples`. At a gap mean, sd, n and flat stay what they were and the z-scores are NaN.

    Raises:
        ValueError: window or min_periods out of range, or samples not one-dimensional.
    """
    if window < 2 or not 1 <= min_periods <= window:
        raise ValueError(f"rolling window {window}, min_periods {min_periods}: needs 2 <= window, 1 <= min_periods <= window")
    given, kept = _kept(samples)
    x = given[kept]
    size = x.size
    off = np.empty(size)  # mean of the window minus its newest sample
    squares = np.empty(size)
    totals = np.empty(size)
    reach = window - 1
    block = max(_BLOCK, 4 * window)
    for start in range(0, size, block):
        head = min(reach, start)
        piece = slice(start - head, min(start + block, size))
        for column, values in zip((off, squares, totals), _windows(x[piece], window, partial=start == 0), strict=True):
            column[start : piece.stop] = values[head:]
    n = np.minimum(np.arange(1, size + 1), window)
    mean = totals / n
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.sqrt(squares / (n - 1))
    cold = n < min_periods
    mean[cold] = np.nan
    sd[cold | (n < 2)] = np.nan
    flat = sd <= FLAT * np.maximum(1.0, np.abs(mean))
    scale = np.where(flat, np.nan, sd)
    z_inclusive = -off / scale
    z_prior = np.full(size, np.nan)
    z_prior[1:] = (np.diff(x) - off[:-1]) / scale[:-1]
    return RollingColumns(
        mean=_held(mean, kept, np.nan),
        sd=_held(sd, kept, np.nan),
        n=_held(n, kept, 0),
        flat=_held(flat, kept, False),
        z_inclusive=_placed(z_inclusive, kept),
        z_prior=_placed(z_prior, kept),
    )


def ewm_moments(
    samples: ArrayLike,
    *,
    decay: float | None = None,
    tau_ns: Ns | None = None,
    at_ns: ArrayLike | None = None,
    min_periods: int = 2,
) -> EwmColumns:
    """Exponentially weighted mean, unbiased variance and z-score against the prior state of a one-dimensional history.

    Args:
        samples: in time order; NaN, infinities and magnitudes from `LIMIT` are gaps.
        decay: weight of the past per sample, in (0, 1).
        tau_ns: instead of `decay`, a time constant; then `at_ns` gives each sample's time (UTC ns).
        at_ns: integer times, as many as samples; a time that goes back counts as no time.
        min_periods: samples needed before there is a z-score, at least 2.

    Returns:
        Columns as long as `samples`. At a gap mean, var and flat stay what they were and the z-score is NaN.

    Raises:
        ValueError: an argument out of range, missing, or of the wrong shape.
    """
    check_decay(decay, tau_ns)
    if min_periods < 2:
        raise ValueError(f"ewm min_periods {min_periods}: needs at least 2")
    given, kept = _kept(samples)
    x = given[kept]
    size = x.size
    if decay is not None:
        decays = np.full(size, decay)
    else:
        assert tau_ns is not None
        decays = _decays(_times(at_ns, given.size)[kept], tau_ns)
    decays[decays < FORGOTTEN] = 0.0
    decays[:1] = 0.0
    order = np.arange(size)
    n = order - np.maximum.accumulate(np.where(decays == 0.0, order, 0)) + 1
    off = np.zeros(size)
    squares = np.zeros(size)
    pairs = np.zeros(size)
    weight = np.ones(size)
    totals = x.copy()
    fade = decays.copy()
    for old, new in _scan(fade):
        delta = (x[old] - x[new]) + (off[old] - off[new])
        past = fade[new] * weight[old]
        total = past + weight[new]
        share = past / total
        squares[new] += fade[new] * squares[old] + delta * delta * share * weight[new]
        pairs[new] += fade[new] ** 2 * pairs[old] + past * weight[new]
        off[new] += delta * share
        totals[new] += fade[new] * totals[old]
        weight[new] = total
    mean = totals / weight
    with np.errstate(divide="ignore", invalid="ignore"):
        var = np.where(n > 1, squares * weight / (2.0 * pairs), np.nan)
    sd = np.sqrt(var)
    flat = sd <= FLAT * np.maximum(1.0, np.abs(mean))
    scale = np.where(flat | (n < min_periods), np.nan, sd)
    z_prior = np.full(size, np.nan)
    z_prior[1:] = (np.diff(x) - off[:-1]) / scale[:-1]
    return EwmColumns(
        mean=_held(mean, kept, np.nan),
        var=_held(var, kept, np.nan),
        flat=_held(flat, kept, False),
        z_prior=_placed(z_prior, kept),
    )


def decayed_counter(amounts: ArrayLike, at_ns: ArrayLike, tau_ns: Ns) -> Column:
    """The faded sum just after each amount: what `DecayedCounter.value(at_ns[i])` says after `add(amounts[i], at_ns[i])`.

    Args:
        amounts: one-dimensional; non-finite ones count as none.
        at_ns: integer times (UTC ns), as many as amounts; a time that goes back counts as no time.
        tau_ns: time constant in ns.

    Raises:
        ValueError: tau_ns is not positive, or a wrong shape.
    """
    check_decay(None, tau_ns)
    given, kept = _kept(amounts)
    # A skipped amount neither counts nor moves the counter's time, but the value is read at its own time all the same.
    times = _times(at_ns, given.size)
    x = given[kept]
    fade = _decays(times[kept], tau_ns)
    fade[:1] = 0.0
    sums = x.copy()
    for old, new in _scan(fade):
        sums[new] += fade[new] * sums[old]
    latest = _held(np.maximum.accumulate(times[kept]), kept, 0)
    faded: Column = _held(sums, kept, 0.0) * np.exp(-np.maximum(times - latest, 0) / tau_ns)
    return faded


def _windows(x: Column, window: int, partial: bool) -> Piece:
    """The last `window` samples up to each one.

    With `partial` the windows at the head are as long as there are samples; without, those `window - 1` entries mean nothing.
    """
    size = x.size
    order = np.arange(1, size + 1)

    def merge(newer: Piece, length: int, older: Piece, older_length: int) -> Piece:
        """Windows of `length` samples, lengthened by the `older_length` samples that precede them."""
        off, squares, totals = (column.copy() for column in newer)
        if length < size:
            counts = np.minimum(order[:-length], older_length) if partial else older_length
            delta = (x[:-length] - x[length:]) + (older[0][:-length] - newer[0][length:])
            share = counts / (counts + length)
            off[length:] += delta * share
            delta *= delta
            delta *= share * length
            squares[length:] += delta
            squares[length:] += older[1][:-length]
            totals[length:] += older[2][:-length]
        return off, squares, totals

    piece = np.zeros(size), np.zeros(size), x
    whole = piece
    length = 1  # of a piece: 1, 2, 4, ...
    covered = 0
    while True:
        if window & length:
            whole = merge(whole, covered, piece, length) if covered else piece
            covered += length
        if covered == window:
            return whole
        piece = merge(piece, length, piece, length)
        length *= 2


def _scan(fade: Column) -> Iterator[tuple[slice, slice]]:
    """Pairs of slices (older piece, newer piece) to merge, block by block, until every sample holds its whole past.

    `fade` is the weight of what precedes each piece, 0 where nothing does; it is brought up to date here after each merge. The
    caller merges the columns between two steps. A block's first entry is the last of the block before: the past it carries on.
    """
    for start in range(0, fade.size, _BLOCK):
        first = max(start - 1, 0)
        stop = min(start + _BLOCK, fade.size)
        shift = 1
        while first + shift < stop and fade[first + shift : stop].any():
            old, new = slice(first, stop - shift), slice(first + shift, stop)
            yield old, new
            product = fade[new] * fade[old]
            product[product < _NOTHING] = 0.0
            fade[new] = product
            shift *= 2


def _kept(samples: ArrayLike) -> tuple[Column, Flags]:
    x = np.asarray(samples, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"samples of shape {x.shape}: needs one dimension")
    return x, np.abs(x) < LIMIT


def _times(at_ns: ArrayLike | None, size: int) -> Counts:
    if at_ns is None:
        raise ValueError("a time constant needs at_ns, one time a sample")
    times = np.asarray(at_ns, dtype=np.int64)
    if times.shape != (size,):
        raise ValueError(f"at_ns of shape {times.shape} for {size} samples")
    return times


def _decays(times: Counts, tau_ns: Ns) -> Column:
    """exp(-dt / tau) before each sample; the first has none before it."""
    decays: Column = np.exp(-np.diff(np.maximum.accumulate(times), prepend=times[:1]) / tau_ns)
    return decays


def _placed(values: Column, kept: Flags) -> Column:
    """Values at the places of the samples that were kept, NaN at the gaps."""
    column = np.full(kept.size, np.nan)
    column[kept] = values
    return column


def _held(values: NDArray[_T], kept: Flags, before: float) -> NDArray[_T]:
    """Values at the places of the samples that were kept, held through the gaps; `before` the first."""
    return np.concatenate((np.array([before], dtype=values.dtype), values))[np.cumsum(kept)]
