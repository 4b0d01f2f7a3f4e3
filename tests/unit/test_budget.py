"""No host is asked too often, whatever goes wrong, and nobody waits longer than he must."""

from heapq import heapify, heappop, heappush
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.budget import LONGEST_RETRY_AFTER_NS, RETRY_AFTER_NS, WINDOW_NS, Backoff, ConnectBudget, retry_after_ns
from feeds.model import SECOND, Ns

START: Ns = 1_790_784_000 * SECOND


@given(seed=st.integers(0, 2**32), failures=st.integers(0, 3_000))
def test_a_delay_is_never_longer_than_the_doubled_base_or_the_cap(seed: int, failures: int) -> None:
    backoff = Backoff(Random(seed))
    backoff.failures = failures
    assert 0 <= backoff.delay_ns() <= min(30.0, 0.5 * 2.0 ** min(failures, 20)) * SECOND
    assert backoff.failures == failures + 1


def test_delays_spread_over_the_whole_of_their_range_so_that_connections_that_fell_together_do_not_come_together() -> None:
    firsts = [Backoff(Random(seed)).delay_ns() / SECOND for seed in range(400)]
    assert min(firsts) < 0.02
    assert max(firsts) > 0.48
    assert sum(firsts) / len(firsts) == pytest.approx(0.25, abs=0.03)
    late = Backoff(Random(1))
    late.failures = 50
    assert max(late.delay_ns() for _ in range(200)) > 29 * SECOND


@pytest.mark.parametrize(
    ("opened", "last", "failures"),
    [
        (START, START + 60 * SECOND, 0),
        (START, START + 60 * SECOND - 1, 4),
        (START, 0, 4),
        (START, START, 4),
    ],
)
def test_only_a_minute_with_data_is_success_and_an_accepted_handshake_is_none(opened: Ns, last: Ns, failures: int) -> None:
    backoff = Backoff(Random(0))
    for _ in range(4):
        backoff.delay_ns()
    backoff.ended(opened, last)
    assert backoff.failures == failures


def test_the_user_starts_it_over() -> None:
    backoff = Backoff(Random(0))
    backoff.delay_ns()
    backoff.reset()
    assert backoff.failures == 0


def test_a_spent_budget_says_when_it_is_there_again() -> None:
    budget = ConnectBudget(2)
    assert budget.left(START) == 2
    assert budget.take(START)
    assert budget.take(START + 10 * SECOND)
    now = START + 20 * SECOND
    assert (budget.left(now), budget.next_ns(now)) == (0, START + 60 * SECOND)
    assert not budget.take(START + 60 * SECOND - 1)
    assert budget.take(START + 60 * SECOND)
    assert budget.left(START + 70 * SECOND) == 1
    assert budget.left(START + 200 * SECOND) == 2


def test_a_ban_holds_every_connection_to_the_host_and_a_shorter_one_does_not_shorten_it() -> None:
    budget = ConnectBudget()
    budget.hold(START + 120 * SECOND)
    budget.hold(START + 5 * SECOND)
    assert budget.next_ns(START) == START + 120 * SECOND
    assert not budget.take(START + 119 * SECOND)
    assert budget.take(START + 120 * SECOND)


LIFE = st.tuples(st.integers(0, 90), st.booleans())
"""How long a connection lives, in s, and whether it carried data."""


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lives=st.lists(st.lists(LIFE, min_size=1, max_size=6), min_size=1, max_size=20),
    bans=st.lists(st.tuples(st.integers(0, 600), st.integers(1, 120)), max_size=3),
    per_minute=st.integers(1, 8),
)
def test_for_any_faults_no_minute_sees_more_connects_than_the_budget(
    seed: int, lives: list[list[tuple[int, bool]]], bans: list[tuple[int, int]], per_minute: int
) -> None:
    """Links that share a host; each repeats its own list of lives, attempts as early as it may."""
    budget, random = ConnectBudget(per_minute), Random(seed)
    backoffs = [Backoff(random) for _ in lives]
    connects: list[Ns] = []
    due = [(START, 0, link) for link in range(len(lives))] + [(START + at * SECOND, 1, length) for at, length in bans]
    heapify(due)
    held: list[tuple[Ns, Ns]] = []
    while due:
        now, is_ban, which = heappop(due)
        if now > START + 600 * SECOND:
            break
        if is_ban:
            budget.hold(now + which * SECOND)
            held.append((now, now + which * SECOND))
        elif not budget.take(now):
            assert budget.next_ns(now) > now, "refused, but told to come at once"
            heappush(due, (budget.next_ns(now), 0, which))
        else:
            connects.append(now)
            life_s, carried = lives[which][backoffs[which].failures % len(lives[which])]
            end = now + life_s * SECOND
            backoffs[which].ended(now, end if carried else 0)
            heappush(due, (end + backoffs[which].delay_ns(), 0, which))
    for at in connects:
        assert sum(at <= other < at + WINDOW_NS for other in connects) <= per_minute
        assert not any(begin < at < until for begin, until in held)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        (" 120 ", 120),
        ("0", 1),
        ("999999999", 259_200),
        ("Fri, 10 Oct 2025 07:28:00 GMT", None),
        ("Wed, 30 Sep 2026 12:01:30 GMT", 90),
        ("Wed, 30 Sep 2099 12:01:30 GMT", 259_200),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("nan", None),
        ("1e9", None),
        ("٣", None),
        ("9" * 5_000, None),
        ("Wed, 99999999999999999999 Sep 2026 12:01:30 GMT", None),
    ],
)
def test_a_retry_after_is_kept_and_nonsense_is_a_minute(value: str | None, seconds: int | None) -> None:
    now = 1_790_769_600 * SECOND  # 2026-09-30 12:00:00 UTC
    expected = RETRY_AFTER_NS if seconds is None else seconds * SECOND
    assert retry_after_ns(value, now) == expected
    assert expected <= LONGEST_RETRY_AFTER_NS


@given(st.text(max_size=60))
def test_no_header_breaks_it(value: str) -> None:
    assert SECOND <= retry_after_ns(value, START) <= LONGEST_RETRY_AFTER_NS
