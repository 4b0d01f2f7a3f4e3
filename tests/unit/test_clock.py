"""Receive time never goes back, and every boundary runs once, in order, whatever the chunks in which records come."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.clock import BOUNDARY_NS, LEAP_NS, NEVER, ReceiveClock, Ticker
from feeds.model import MS, SECOND, Ns

START = 1_790_784_000_000_000_000


class Clocks:
    """A wall and a monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.wall_at: Ns = START
        self.monotonic_at: Ns = 77 * SECOND

    def clock(self) -> ReceiveClock:
        return ReceiveClock(lambda: self.wall_at, lambda: self.monotonic_at)

    def advance(self, span: Ns) -> None:
        self.wall_at += span
        self.monotonic_at += span


def test_receive_time_starts_at_the_wall_and_moves_with_the_monotonic_clock() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    assert clock.stamp() == START
    clocks.advance(5 * SECOND)
    assert clock.stamp() == START + 5 * SECOND


def test_a_step_of_the_wall_clock_is_noted_not_followed() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    for step in (-30 * SECOND, 60 * SECOND):
        before = clock.stamp()
        clocks.wall_at += step
        assert clock.stamp() == before
    clocks.advance(SECOND)
    assert clock.stamp() == START + SECOND
    assert clock.wall_step_ns() == 30 * SECOND


@given(st.lists(st.integers(min_value=-(10**9), max_value=10**9), max_size=50))
def test_receive_time_never_goes_back_even_if_the_monotonic_clock_does(moves: list[int]) -> None:
    clocks = Clocks()
    clock = clocks.clock()
    stamps = []
    for move in moves:
        clocks.monotonic_at += move
        stamps.append(clock.stamp())
    assert all(a <= b for a, b in pairwise([START, *stamps]))


class Sleeper:
    """Something timed that notes when it was woken and then asks for the next moment."""

    def __init__(self, name: str, deadline: Ns, calls: list[tuple[str, Ns]], every: Ns = 0) -> None:
        self.name = name
        self.deadline = deadline
        self._calls = calls
        self._every = every

    def wake(self, now: Ns) -> None:
        self._calls.append((self.name, now))
        self.deadline = now + self._every if self._every else NEVER


def run(times: list[Ns], chunks: list[int], *, every: Ns = 0) -> list[tuple[str, Ns]]:
    """Feed record times; after each, a number of live timer calls at the same time, as when nothing comes."""
    calls: list[tuple[str, Ns]] = []
    sleepers = [Sleeper("late", START + 730 * MS, calls), Sleeper("often", START, calls, every or 250 * MS)]
    ticker = Ticker(lambda now: calls.append(("time", now)), lambda: sleepers)
    for at, extra in zip(times, [*chunks, *[0] * len(times)], strict=False):
        for _ in range(extra + 1):
            ticker.advance(at)
    ticker.finish()
    return calls


@given(
    times=st.lists(st.integers(min_value=0, max_value=3 * SECOND), min_size=1, max_size=30).map(sorted),
    more=st.lists(st.integers(min_value=0, max_value=3 * SECOND), max_size=30),
    chunks=st.lists(st.integers(min_value=0, max_value=3), max_size=30),
)
def test_boundaries_do_not_depend_on_how_records_and_timer_calls_are_chunked(
    times: list[int], more: list[int], chunks: list[int]
) -> None:
    times = [START + 13 * MS + at for at in times]
    between = [START + 13 * MS + at for at in more if times[0] <= START + 13 * MS + at <= times[-1]]
    assert run(times, []) == run(times, chunks) == run(sorted(times + between), chunks)


@given(st.lists(st.integers(min_value=0, max_value=5 * SECOND), min_size=1, max_size=40).map(sorted))
def test_every_boundary_comes_once_in_order_and_a_replay_ends_with_the_one_after_its_last_record(times: list[int]) -> None:
    seen: list[Ns] = []
    ticker = Ticker(seen.append, list)
    for at in times:
        before = len(seen)
        ticker.advance(START + at)
        assert all(boundary <= START + at for boundary in seen[before:])
    ticker.finish()
    first = -(-(START + times[0]) // BOUNDARY_NS) * BOUNDARY_NS
    assert seen == list(range(first, seen[-1] + 1, BOUNDARY_NS))
    assert START + times[-1] < seen[-1] <= START + times[-1] + BOUNDARY_NS


def test_a_deadline_runs_at_the_first_boundary_at_or_after_it_and_before_on_time() -> None:
    calls: list[tuple[str, Ns]] = []
    sleeper = Sleeper("wake", START + 150 * MS, calls)
    ticker = Ticker(lambda now: calls.append(("time", now)), lambda: [sleeper])
    ticker.advance(START + 1)
    ticker.advance(START + 400 * MS)
    assert calls[:3] == [("time", START + 100 * MS), ("wake", START + 200 * MS), ("time", START + 200 * MS)]
    assert [name for name, _ in calls].count("wake") == 1


def test_a_deadline_on_a_boundary_runs_at_that_boundary_not_the_next() -> None:
    calls: list[tuple[str, Ns]] = []
    sleeper = Sleeper("wake", START + 200 * MS, calls)
    ticker = Ticker(lambda now: None, lambda: [sleeper])
    ticker.advance(START)
    ticker.advance(START + SECOND)
    assert calls == [("wake", START + 200 * MS)]


def test_a_stalled_loop_evaluates_each_boundary_at_its_own_time() -> None:
    seen: list[Ns] = []
    ticker = Ticker(seen.append, list)
    ticker.advance(START)
    ticker.advance(START + 5 * SECOND)
    assert seen == [START + at * BOUNDARY_NS for at in range(51)]


def test_a_ticker_that_saw_no_record_finishes_without_a_boundary() -> None:
    seen: list[Ns] = []
    Ticker(seen.append, list).finish()
    assert seen == []


def test_a_record_that_comes_late_calls_no_boundary_twice() -> None:
    seen: list[Ns] = []
    ticker = Ticker(seen.append, list)
    for at in (START, START + SECOND, START + 300 * MS, START + SECOND):
        ticker.advance(at)
    assert len(seen) == len(set(seen)) == 11


def test_a_silence_of_months_is_not_walked_boundary_by_boundary() -> None:
    called: list[Ns] = []
    ticker = Ticker(called.append, list)
    start = 1_000 * BOUNDARY_NS
    ticker.advance(start)
    later = start + 400 * 86_400 * SECOND
    ticker.advance(later)
    assert called[0] == start
    assert called[-1] == later
    assert len(called) < 40_000
    assert called == sorted(set(called))
    hour = LEAP_NS // BOUNDARY_NS
    assert called[:hour] == [start + step * BOUNDARY_NS for step in range(hour)]


def test_a_timer_that_is_due_in_the_silence_is_not_leapt_over() -> None:
    class Late:
        def __init__(self) -> None:
            self.deadline = 2 * LEAP_NS
            self.woken: list[Ns] = []

        def wake(self, now: Ns) -> None:
            self.woken.append(now)
            self.deadline = NEVER

    session = Late()
    ticker = Ticker(lambda _now: None, lambda: [session])
    ticker.advance(BOUNDARY_NS)
    ticker.advance(5 * LEAP_NS)
    assert session.woken == [2 * LEAP_NS]


def test_a_fault_at_one_boundary_does_not_stop_the_grid() -> None:
    """Met again at each call it would be the end of time: everything would stand where it was, and nothing say so."""
    called: list[Ns] = []

    def on_time(at: Ns) -> None:
        called.append(at)
        if len(called) == 2:
            raise ZeroDivisionError

    ticker = Ticker(on_time, tuple)
    ticker.advance(START)
    with pytest.raises(ZeroDivisionError):
        ticker.advance(START + 3 * BOUNDARY_NS)
    ticker.advance(START + 3 * BOUNDARY_NS)
    assert called == [START + count * BOUNDARY_NS for count in range(4)]
