"""The samples of an hour: the newest are kept, oldest first, and holding them takes no more memory as time goes on."""

import tracemalloc
from collections import deque

import pytest

from analytics.series import HOUR, SPARE, Series
from analytics.settings import ZScore
from analytics.statistic import Statistic
from feeds.model import SECOND, Ns

START: Ns = 1_700_000_000 * SECOND


@pytest.mark.parametrize("count", [0, 1, HOUR, HOUR + 5, HOUR + SPARE, HOUR + SPARE + 1, 2 * HOUR + 2 * SPARE + 3])
def test_an_hour_of_samples_is_kept_whole_and_in_order_and_no_more(count: int) -> None:
    series, kept = Series(), deque[tuple[Ns, float]](maxlen=HOUR)
    for at in range(count):
        series.append(START + at * SECOND, at / 7)
        kept.append((START + at * SECOND, at / 7))
    assert (list(series), len(series)) == (list(kept), len(kept))
    last = START + (count - 1) * SECOND
    for oldest in (0, START, last - 60 * SECOND - 1, last - 60 * SECOND, last - 1, last, last + 1):
        assert series.after(oldest) == tuple(sample for sample in kept if sample[0] > oldest)


def test_samples_that_fell_out_of_the_hour_are_not_told_by_a_longer_window() -> None:
    series = Series()
    for at in range(HOUR + SPARE):
        series.append(START + at * SECOND, 1.0)
    assert [at for at, _ in series.after(0)] == [START + at * SECOND for at in range(SPARE, HOUR + SPARE)]


def test_an_answer_is_not_kept_beyond_its_window_or_the_next_sample() -> None:
    series = Series()
    for at in range(HOUR + SPARE + 1):
        series.append(at * SECOND, at / 7)
        assert series.after((at - 3) * SECOND)[-1] == (at * SECOND, at / 7)
        assert [each for each, _ in series.after((at - 2) * SECOND)] == [each * SECOND for each in (at - 1, at) if each >= 0]


def test_an_hour_of_a_statistic_takes_no_memory_after_its_window_is_full() -> None:
    statistic = Statistic(ZScore(window=5, min_periods=2))
    for at in range(10):
        statistic.push(START + at * SECOND, at / 7)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for at in range(10, 2 * HOUR):
            statistic.push(START + at * SECOND, at / 7)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 4_096, grown
