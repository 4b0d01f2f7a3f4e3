"""What one update of each kernel costs, beside numpy and pandas doing the same in the same run.

Not timed in CI: figures are for the reader, the budget of analytics.md 17 stands in the note. Best of a few runs, one thread.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from analytics.batch import decayed_counter, ewm_moments, rolling_moments
from analytics.book_metrics import bands, imbalance, microprice
from analytics.spread import bps, signal_class
from analytics.stream import DecayedCounter, EwmMoments, RollingMoments
from analytics.walk import spend
from feeds.model import SECOND, Contract, Instrument, Kind

WINDOW = 500
LEVELS = 700
WIDTHS = (5.0, 10.0, 25.0, 50.0)


def _micros(run: Callable[[], object], updates: int, repetitions: int = 3) -> float:
    """Microseconds an update: the best of a few runs, so that what else the machine does stays out."""
    best = math.inf
    for _ in range(repetitions):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best / updates * 1e6


def _instrument(contract: Contract) -> Instrument:
    return Instrument(
        id="X:BTC/USD:USD",
        venue="X",
        market="swap",
        native="BTC",
        base="BTC",
        quote="USD",
        kind=Kind.PERP,
        contract=contract,
        tick=0.1,
        lot=1.0,
    )


def rows() -> list[tuple[str, float, str]]:
    """(what, microseconds per update, note) for every kernel and what it is measured against."""
    return [*_streaming(), *_batch(), *_pipeline(), *_book()]


def _streaming() -> list[tuple[str, float, str]]:
    count = 50_000
    column = np.random.default_rng(0).normal(size=count)
    samples = column.tolist()

    def rolling() -> None:
        kernel = RollingMoments(WINDOW, 50)
        for x in samples:
            kernel.push(x)

    def scored() -> None:
        kernel = RollingMoments(WINDOW, 50)
        for x in samples:
            kernel.z_prior(x)
            kernel.push(x)

    def weighted() -> None:
        kernel = EwmMoments(decay=0.95)
        for x in samples:
            kernel.push(x)

    def irregular() -> None:
        kernel = EwmMoments(tau_ns=2 * SECOND)
        at = 0
        for x in samples:
            at += SECOND
            kernel.push(x, at)

    def counted() -> None:
        counter = DecayedCounter(2 * SECOND)
        at = 0
        for x in samples:
            at += SECOND
            counter.add(x, at)

    def window_by_numpy() -> None:
        for end in range(WINDOW, WINDOW + 1000):
            window = column[end - WINDOW : end]
            window.mean()
            window.std(ddof=1)

    def window_by_pandas() -> None:
        for end in range(WINDOW, WINDOW + 100):
            window = pd.Series(column[end - WINDOW : end])
            window.mean()
            window.std()

    return [
        ("RollingMoments.push", _micros(rolling, count), f"window {WINDOW}; budget 0.6 us"),
        ("RollingMoments.z_prior + push", _micros(scored, count), "what a sample on the grid costs"),
        ("numpy mean + std of the window", _micros(window_by_numpy, 1000), "the same by recomputing"),
        ("pandas mean + std of the window", _micros(window_by_pandas, 100, 2), "the same by recomputing"),
        ("EwmMoments.push, decay", _micros(weighted, count), "0.25 us in the prototype"),
        ("EwmMoments.push, time constant", _micros(irregular, count), "one exp more"),
        ("DecayedCounter.add", _micros(counted, count), ""),
    ]


def _batch() -> list[tuple[str, float, str]]:
    count = 1_000_000
    column = np.random.default_rng(1).normal(size=count)
    at_ns = np.arange(count) * SECOND
    series = pd.Series(column)

    def by_pandas() -> None:
        rolling = series.rolling(WINDOW, min_periods=50)
        rolling.mean()
        rolling.std()

    def ewm_by_pandas() -> None:
        ewm = series.ewm(alpha=0.05)
        ewm.mean()
        ewm.var()

    return [
        (
            "batch rolling_moments",
            _micros(lambda: rolling_moments(column, WINDOW, 50), count, 2),
            "1e6 samples, exact; mean, sd, both z",
        ),
        ("pandas rolling mean + std", _micros(by_pandas, count, 2), "1e6 samples; off by 1e-4 after a spike"),
        ("batch ewm_moments", _micros(lambda: ewm_moments(column, decay=0.95), count, 2), "1e6 samples; mean, var, z"),
        ("pandas ewm mean + var", _micros(ewm_by_pandas, count, 2), "1e6 samples"),
        ("batch decayed_counter", _micros(lambda: decayed_counter(column, at_ns, 10 * SECOND), count, 2), "1e6 events"),
    ]


def _pipeline() -> list[tuple[str, float, str]]:
    count = 1000
    rng = np.random.default_rng(2)
    index = 6e4 + np.cumsum(rng.normal(size=count))
    mark = index * (1 + rng.normal(0, 6e-4, count))
    volume = rng.lognormal(size=count)
    pairs = list(zip(mark.tolist(), index.tolist(), volume.tolist(), strict=True))

    def streaming() -> None:
        spread = RollingMoments(WINDOW, 50)
        smooth = EwmMoments(decay=0.9)
        volumes = RollingMoments(100, 100)
        for one_mark, one_index, one_volume in pairs:
            value = bps(one_mark, one_index)
            signal_class(spread.z_prior(value))
            spread.push(value)
            smooth.push(value)
            volumes.push(one_volume)

    def batch() -> None:
        value = (mark - index) / index * 1e4
        rolling_moments(value, WINDOW, 50)
        ewm_moments(value, decay=0.9)
        rolling_moments(volume, 100, 100)

    def by_pandas() -> None:
        frame = pd.DataFrame({"bps": (mark - index) / index * 1e4, "volume": volume})
        rolling = frame["bps"].rolling(WINDOW, min_periods=50)
        (frame["bps"] - rolling.mean()) / rolling.std()
        frame["bps"].ewm(alpha=0.1).mean()
        frame["volume"] / frame["volume"].rolling(100).mean()

    budget = "1000 records; budget 5 us a record with parsing and probability (5 ms per 1000)"
    return [
        ("pipeline streaming", _micros(streaming, count, 5), budget),
        ("pipeline batch", _micros(batch, count, 5), budget),
        ("pipeline pandas", _micros(by_pandas, count, 5), "the same columns, vectorised"),
    ]


def _book() -> list[tuple[str, float, str]]:
    rng = np.random.default_rng(3)
    steps = np.arange(LEVELS) * 0.1
    bid_prices, ask_prices = 6e4 - 0.05 - steps, 6e4 + 0.05 + steps
    bid_sizes, ask_sizes = rng.lognormal(size=(2, LEVELS))
    sides = bid_prices.tolist(), bid_sizes.tolist(), ask_prices.tolist(), ask_sizes.tolist()
    asks = list(zip(*sides[2:], strict=True))
    linear, inverse = _instrument(Contract.LINEAR), _instrument(Contract.INVERSE)
    times = 100

    def repeated(run: Callable[[], object]) -> float:
        def loop() -> None:
            for _ in range(times):
                run()

        return _micros(loop, times)

    def by_numpy() -> None:
        bids, bid_size, asks, ask_size = (np.asarray(column) for column in sides)
        mid = (bids[0] + asks[0]) / 2
        for width in WIDTHS:
            for prices, sizes in ((bids, bid_size), (asks, ask_size)):
                inside = np.abs(prices - mid) <= mid * width / 1e4
                float(sizes[inside].sum())
                float((prices[inside] * sizes[inside]).sum())

    note = f"{LEVELS} levels a side, {len(WIDTHS)} widths; once a second a book"
    return [
        ("bands, linear", repeated(lambda: bands(*sides, WIDTHS, linear)), note + "; 10 bps alone took 117-182 us before"),
        ("bands, inverse", repeated(lambda: bands(*sides, WIDTHS, inverse)), note),
        ("bands by numpy from lists", repeated(by_numpy), note),
        ("imbalance of 10 levels", repeated(lambda: imbalance(*sides, 10, linear)), ""),
        ("microprice", repeated(lambda: microprice(6e4, 1.0, 6e4 + 0.1, 2.0, linear)), ""),
        ("spend, linear", repeated(lambda: spend(asks, linear, 1e6)), "1e6 quote units of one side; walk budget 100 us"),
    ]
