"""What holds for every trace of values, known or not: the invariants of analytics 13 and reliability I11."""

from collections import defaultdict
from itertools import pairwise
from math import nan

from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.alert import AlertEvent, AlertKind, AlertState
from analytics.alerts import AlertBook, Context, Metric, Rule
from feeds.model import MS, SECOND, Ns

T0: Ns = 1_790_000_000 * SECOND
STEP: Ns = 100 * MS
SPANS = st.sampled_from((0, 0, 100, 300, 1_000, 2_500))
RULES = st.builds(
    Rule,
    id=st.just("z"),
    metric=st.just(Metric.Z),
    op=st.sampled_from((">=", "abs>=")),
    enter=st.just(3.0),
    exit=st.sampled_from((3.0, 2.0, 0.5)),
    for_ms=SPANS,
    keep_ms=SPANS,
    cooldown_ms=SPANS,
    nodata_ms=st.sampled_from((0, 500, 10_000)),
)
VALUES = st.sampled_from((0.0, 1.0, 2.5, 3.0, 3.5, -4.0, nan))
RUNS = st.lists(st.tuples(VALUES, st.integers(1, 12)), min_size=1, max_size=30)
"""Values and for how many boundaries each stands."""
BOUNDARIES = 370  # longer than any trace: the last peaks are told


def trace(rule: Rule, runs: dict[str, list[tuple[float, int]]]) -> list[AlertEvent]:
    """Every scope's values on one grid."""
    events: list[AlertEvent] = []
    book = AlertBook([rule], events.append)
    series = {scope: [value for value, times in run for _ in range(times)] for scope, run in runs.items()}
    for at in range(BOUNDARIES):
        now = T0 + at * STEP
        for scope, values in series.items():
            if at < len(values):
                book.judge(rule.metric, scope, now, values[at], Context)
        if now % SECOND == 0:
            book.peaks(now)
    assert [alert.seq for alert in book.open] == sorted(alert.seq for alert in book.open)
    return events


@settings(max_examples=300, deadline=None)
@given(rule=RULES, first=RUNS, second=RUNS)
def test_no_trace_breaks_an_episode(rule: Rule, first: list[tuple[float, int]], second: list[tuple[float, int]]) -> None:
    events = trace(rule, {"a": first, "b": second})
    fired = [event for event in events if event.kind is AlertKind.FIRE]
    assert [event.alert.seq for event in fired] == list(range(1, len(fired) + 1))
    by_scope: dict[str, list[AlertEvent]] = defaultdict(list)
    for event in events:
        by_scope[event.alert.scope].append(event)
    for told in by_scope.values():
        firing = False
        for event in told:
            if event.kind is AlertKind.FIRE:
                assert not firing, "two open episodes"
                firing = True
            elif event.kind is not AlertKind.PEAK:
                assert firing, "an end without a beginning"
                firing = False
                assert event.alert.opened_ns <= event.alert.closed_ns <= event.at_ns
            assert (event.alert.state is AlertState.FIRING) is firing
        fires = [event.at_ns for event in told if event.kind is AlertKind.FIRE]
        assert all(later - earlier >= rule.cooldown_ms * MS for earlier, later in pairwise(fires))
        for earlier, later in pairwise([e for e in told if e.kind is AlertKind.PEAK]):
            # once a second; except the last count of repeats, which goes out before a new episode takes its place
            before_fire = any(e.kind is AlertKind.FIRE and e.at_ns == later.at_ns for e in told)
            assert later.at_ns - earlier.at_ns >= SECOND or before_fire


@settings(max_examples=100, deadline=None)
@given(rule=RULES, run=RUNS, unknown=st.lists(st.integers(0, 359), max_size=40))
def test_looking_away_never_fires_an_alert(rule: Rule, run: list[tuple[float, int]], unknown: list[int]) -> None:
    """Every FIRE stands on a known loud value at its own boundary."""
    values = [value for value, times in run for _ in range(times)]
    for at in unknown:
        if at < len(values):
            values[at] = nan
    for event in trace(rule, {"a": [(value, 1) for value in values]}):
        if event.kind is AlertKind.PEAK:
            continue
        value = values[(event.at_ns - T0) // STEP]
        if event.kind is AlertKind.FIRE:
            assert rule.loud(value) >= (rule.exit or 0.0)
        elif event.kind is AlertKind.NODATA:
            assert value != value
        elif event.kind is AlertKind.RESOLVE:
            assert rule.loud(value) < (rule.exit or 0.0)


@settings(max_examples=100, deadline=None)
@given(rule=RULES, first=RUNS, second=RUNS)
def test_one_scope_does_not_touch_another(rule: Rule, first: list[tuple[float, int]], second: list[tuple[float, int]]) -> None:
    def story(events: list[AlertEvent]) -> list[tuple[str, Ns, int, float | None]]:
        return [(str(e.kind), e.at_ns, e.alert.repeats, e.alert.peak) for e in events if e.alert.scope == "a"]

    assert story(trace(rule, {"a": first})) == story(trace(rule, {"a": first, "b": second}))
