"""A broken or slow host is left alone, asked again by one call at a time, and trusted again only after a good answer."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from feeds.breaker import NO_PERMIT, CircuitBreaker
from feeds.links import Breaker
from feeds.model import MS, SECOND, Ns

FAILURES, SLOW, SLOW_NS, COOL_NS, COOL_MAX_NS = 3, 4, 200 * MS, 2 * SECOND, 10 * SECOND
QUICK_NS = 20 * MS


def breaker() -> CircuitBreaker:
    return CircuitBreaker(failures=FAILURES, slow=SLOW, slow_ns=SLOW_NS, cool_ns=COOL_NS, cool_max_ns=COOL_MAX_NS)


def opened(now: Ns = 0) -> CircuitBreaker:
    made = breaker()
    for _ in range(FAILURES):
        made.failed(made.admit(now), now)
    assert made.state is Breaker.OPEN
    return made


def test_a_dead_host_is_not_asked_on_and_on() -> None:
    made = opened(now=5)
    assert made.admit(5 + COOL_NS - 1) == NO_PERMIT
    assert made.probe_ns == 5 + COOL_NS


def test_a_host_that_answers_ever_more_slowly_is_left_alone() -> None:
    made = breaker()
    for _ in range(SLOW - 1):
        made.answered(made.admit(0), 0, SLOW_NS + 1)
    assert made.admit(0) != NO_PERMIT
    made.answered(made.admit(0), 0, SLOW_NS + 1)
    assert made.state is Breaker.OPEN


def test_an_answer_in_time_and_an_answer_between_failures_start_the_counts_over() -> None:
    made = breaker()
    for _ in range(5):
        made.answered(made.admit(0), 0, SLOW_NS)
        for _ in range(SLOW - 1):
            made.answered(made.admit(0), 0, SLOW_NS + 1)
        made.answered(made.admit(0), 0, QUICK_NS)
        for _ in range(FAILURES - 1):
            made.failed(made.admit(0), 0)
    assert made.state is Breaker.CLOSED


def test_ten_callers_at_once_send_one_probe() -> None:
    made = opened()
    assert [made.admit(COOL_NS) != NO_PERMIT for _ in range(10)] == [True] + [False] * 9
    assert made.state is Breaker.HALF_OPEN


def test_a_slow_probe_is_no_recovery() -> None:
    made = opened()
    made.answered(made.admit(COOL_NS), COOL_NS, SLOW_NS + 1)
    assert made.state is Breaker.OPEN


def test_bad_probes_wait_longer_each_time_up_to_a_cap_and_a_good_one_forgets_it() -> None:
    made, waits = opened(), []
    for _ in range(5):
        now = made.probe_ns
        made.failed(made.admit(now), now)
        waits.append((made.probe_ns - now) // SECOND)
    assert waits == [4, 8, 10, 10, 10]
    made.answered(made.admit(made.probe_ns), made.probe_ns, QUICK_NS)
    made.failed(made.admit(100 * SECOND), 100 * SECOND)
    assert made.state is Breaker.CLOSED, "the failures of before count no more"
    for _ in range(FAILURES - 1):
        made.failed(made.admit(100 * SECOND), 100 * SECOND)
    assert made.probe_ns == 100 * SECOND + COOL_NS


@pytest.mark.parametrize("late", ["answered", "failed", "abandoned"])
def test_a_call_from_before_the_opening_cannot_answer_for_the_probe(late: str) -> None:
    made = breaker()
    old = made.admit(0)
    for _ in range(FAILURES):
        made.failed(made.admit(0), 0)
    probe = made.admit(COOL_NS)
    match late:
        case "answered":
            made.answered(old, COOL_NS, QUICK_NS)
        case "failed":
            made.failed(old, COOL_NS)
        case _:
            made.abandoned(old)
    assert made.state is Breaker.HALF_OPEN
    assert made.admit(COOL_NS) == NO_PERMIT
    made.answered(probe, COOL_NS, QUICK_NS)
    assert made.admit(COOL_NS) != NO_PERMIT


class Calls(RuleBasedStateMachine):
    """Any order of calls, answers, failures and cancellations, against what must hold at all times."""

    calls: "Bundle[int]" = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.made = breaker()
        self.now: Ns = 1_000 * SECOND
        self.out: set[int] = set()
        """Numbers of the calls under way; the permit of each is in `permit`."""
        self.permit: dict[int, int] = {}
        self.number = 0
        self.probe: int | None = None
        self.opened_ns: Ns = 0
        self.cool_ns: Ns = COOL_NS

    @rule(step=st.sampled_from([1, SLOW_NS, SECOND, COOL_NS, COOL_MAX_NS]))
    def time_passes(self, step: Ns) -> None:
        self.now += step

    @rule(target=calls)
    def call(self) -> int:
        before = self.made.state
        permit = self.made.admit(self.now)
        self.number += 1
        if before is Breaker.OPEN:
            assert (permit != NO_PERMIT) == (self.now >= self.opened_ns + self.cool_ns)
        if before is Breaker.HALF_OPEN:
            assert (permit != NO_PERMIT) == (self.probe is None), "two probes, or a slot that was never given back"
        if permit != NO_PERMIT:
            self.permit[self.number] = permit
            self.out.add(self.number)
            if self.made.state is Breaker.HALF_OPEN:
                self.probe = self.number
        return self.number

    def _end(self, number: int) -> tuple[int, Breaker, bool]:
        self.out.discard(number)
        probe = number == self.probe
        if probe:
            self.probe = None
        return self.permit.pop(number, -1), self.made.state, probe

    def _expect(self, before: Breaker, probe: bool, good: bool) -> None:
        """What the end of a call may have changed."""
        if before is Breaker.OPEN:
            assert self.made.state is Breaker.OPEN
        elif before is Breaker.HALF_OPEN:
            expected = (Breaker.CLOSED if good else Breaker.OPEN) if probe else Breaker.HALF_OPEN
            assert self.made.state is expected
            if probe:
                self.cool_ns = COOL_NS if good else min(2 * self.cool_ns, COOL_MAX_NS)
        if self.made.state is Breaker.OPEN and before is not Breaker.OPEN:
            self.opened_ns = self.now
            assert self.made.probe_ns == self.now + self.cool_ns

    @rule(number=consumes(calls), took=st.sampled_from([QUICK_NS, SLOW_NS, SLOW_NS + 1, 10 * SLOW_NS]))
    def answer(self, number: int, took: Ns) -> None:
        permit, before, probe = self._end(number)
        self.made.answered(permit, self.now, took)
        self._expect(before, probe, took <= SLOW_NS)

    @rule(number=consumes(calls))
    def fail(self, number: int) -> None:
        permit, before, probe = self._end(number)
        self.made.failed(permit, self.now)
        self._expect(before, probe, good=False)

    @rule(number=consumes(calls))
    def give_up(self, number: int) -> None:
        permit, before, _ = self._end(number)
        self.made.abandoned(permit)
        assert self.made.state is before

    @precondition(lambda self: self.made.state is Breaker.CLOSED)
    @rule()
    def break_down(self) -> None:
        for _ in range(FAILURES):
            if self.made.state is Breaker.CLOSED:
                self.made.failed(self.made.admit(self.now), self.now)
        self._expect(Breaker.CLOSED, probe=False, good=False)

    @invariant()
    def a_closed_breaker_stops_nobody(self) -> None:
        if self.made.state is Breaker.CLOSED:
            assert self.probe is None
            assert self.made.admit(self.now) != NO_PERMIT


Calls.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrderOfCalls = Calls.TestCase
