"""What the program says of its own cost: measured where it can be, unknown where it cannot, and never a zero instead."""

import asyncio
import os
from collections.abc import Iterator
from math import isnan
from pathlib import Path

import pytest

from feeds.model import MS, SECOND
from tui.process import LAGS_KEPT, LoopLag, ProcessMeter

NOWHERE = Path("no-such-directory")


class Machine:
    """A clock and a count of used processor time that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 5 * SECOND
        self.used_s = 3.0

    def go_on(self, seconds: float, used_s: float) -> None:
        self.now_ns += int(seconds * SECOND)
        self.used_s += used_s


@pytest.fixture
def machine() -> Machine:
    return Machine()


def meter(machine: Machine, proc: Path = NOWHERE) -> ProcessMeter:
    return ProcessMeter(lambda: machine.now_ns, lambda: machine.used_s, proc)


def test_the_share_is_of_one_core_and_of_the_time_since_the_sample_before(machine: Machine) -> None:
    own = meter(machine)
    machine.go_on(2, 0.5)
    assert own.sample().cpu_share == pytest.approx(0.25)
    machine.go_on(1, 1.5)
    assert own.sample().cpu_share == pytest.approx(1.5)  # threads of ours on a second core


def test_before_any_time_has_passed_the_share_is_unknown_and_not_0(machine: Machine) -> None:
    assert isnan(meter(machine).sample().cpu_share)


def test_a_key_pressed_just_after_a_frame_does_not_turn_the_share_into_noise(machine: Machine) -> None:
    own = meter(machine)
    machine.go_on(1, 0.1)
    assert own.sample().cpu_share == pytest.approx(0.1)
    machine.go_on(0.01, 0.01)
    assert own.sample().cpu_share == pytest.approx(0.1)
    machine.go_on(0.99, 0.19)
    assert own.sample().cpu_share == pytest.approx(0.2)


def test_where_there_is_no_proc_memory_and_descriptors_are_unknown(machine: Machine) -> None:
    cost = meter(machine).sample()
    assert isnan(cost.rss_bytes)
    assert cost.descriptors is None
    assert cost.peak_bytes > 1_000_000


@pytest.mark.parametrize("text", ["", "7", "7 many 3"])
def test_a_proc_of_another_form_is_unknown_and_no_traceback(machine: Machine, tmp_path: Path, text: str) -> None:
    (tmp_path / "statm").write_text(text)
    assert isnan(meter(machine, tmp_path).sample().rss_bytes)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc here")
def test_a_descriptor_more_is_seen_as_one_more(machine: Machine) -> None:
    own = meter(machine, Path("/proc/self"))
    before = own.sample()
    reader, writer = os.pipe()
    try:
        after = own.sample()
    finally:
        os.close(reader)
        os.close(writer)
    assert before.descriptors is not None
    assert after.descriptors == before.descriptors + 2
    assert 1_000_000 < after.rss_bytes <= after.peak_bytes * 1.5


def test_lag_is_told_by_rank_and_unknown_before_it_was_measured(machine: Machine) -> None:
    own = meter(machine)
    cost = own.sample(3, [float(lag) for lag in range(100, 0, -1)])
    assert (cost.lag_p50_ms, cost.lag_p99_ms, cost.lag_max_ms, cost.tasks) == (50.0, 99.0, 100.0, 3)
    assert isnan(own.sample().lag_p99_ms)


class Loop:
    """An event loop of which only the timers are used."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.timers: list[tuple[float, asyncio.TimerHandle]] = []
        self.real = asyncio.new_event_loop()

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: object, *args: object) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self.real)  # type: ignore[arg-type]
        self.timers.append((when, handle))
        return handle

    def go_to(self, now_s: float) -> None:
        """Be there, and only then call what was due."""
        self.now_s = now_s
        due = [handle for when, handle in self.timers if when <= now_s and not handle.cancelled()]
        self.timers = [(when, handle) for when, handle in self.timers if when > now_s]
        for handle in due:
            handle._run()


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.real.close()


def test_a_loop_that_was_held_up_is_seen_as_late_by_so_much(loop: Loop) -> None:
    lag = LoopLag()
    lag.start(loop)  # type: ignore[arg-type]
    loop.go_to(100.1)
    loop.go_to(100.45)
    assert list(lag.lags_ms) == pytest.approx([0.0, 250.0])


def test_lag_is_kept_for_a_minute_and_no_longer(loop: Loop) -> None:
    lag = LoopLag()
    lag.start(loop)  # type: ignore[arg-type]
    for at in range(1, 2 * LAGS_KEPT):
        loop.go_to(100.0 + at)
    assert len(lag.lags_ms) == LAGS_KEPT


def test_stopped_it_leaves_no_timer_and_started_twice_only_one(loop: Loop) -> None:
    lag = LoopLag()
    lag.start(loop)  # type: ignore[arg-type]
    lag.start(loop)  # type: ignore[arg-type]
    assert sum(not handle.cancelled() for _, handle in loop.timers) == 1
    lag.stop()
    loop.go_to(200.0)
    assert not lag.lags_ms
    assert not [handle for _, handle in loop.timers if not handle.cancelled()]


def test_up_time_is_from_the_beginning(machine: Machine) -> None:
    own = meter(machine)
    machine.go_on(90, 0.0)
    assert own.sample().up_ms == 90 * SECOND / MS
