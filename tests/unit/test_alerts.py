"""Alert rules and their episodes, one trace at a time (analytics 13)."""

from math import inf, nan
from typing import Any

import msgspec
import pytest

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState, Leg, Severity
from analytics.alerts import DEFAULT_RULES, AlertBook, Context, Metric, Rule
from feeds.model import MS, SECOND, Ns

T0: Ns = 1_790_000_000 * SECOND
STEP: Ns = 100 * MS


def rule(**facts: Any) -> Rule:
    return msgspec.convert({"id": "z", "metric": "z", "enter": 3.0, "exit": 2.0, "op": ">=", **facts}, Rule)


class Trace:
    """An alert book and what it said; one value a boundary."""

    def __init__(self, *rules: Rule, first_seq: int = 1) -> None:
        self.events: list[AlertEvent] = []
        self.book = AlertBook(rules, self.events.append, first_seq=first_seq, arb=(3.0, 0.5))
        self.now = T0

    def judge(self, *values: float, metric: Metric = Metric.Z, scope: str = "a / b") -> "Trace":
        for value in values:
            self.book.judge(metric, scope, self.now, value, Context)
            self._second()
        return self

    def say(self, *actives: bool, metric: Metric = Metric.GAP, scope: str = "a", value: float = 1.0) -> "Trace":
        for active in actives:
            self.book.say(metric, scope, self.now, active, value, Context)
            self._second()
        return self

    def _second(self) -> None:
        if self.now % SECOND == 0:
            self.book.peaks(self.now)
        self.now += STEP

    @property
    def told(self) -> list[tuple[str, int]]:
        """Kind and ms since the start."""
        return [(str(event.kind), (event.at_ns - T0) // MS) for event in self.events]


@pytest.mark.parametrize("metric", [Metric.GAP, Metric.STALE])
def test_the_peak_of_what_lasts_follows_it_while_it_is_open_and_no_oftener_than_each_second(metric: Metric) -> None:
    trace = Trace(rule(metric=metric, enter=None, exit=None, op=">="))
    for step in range(35):
        trace.say(True, metric=metric, value=float(step * 100))
    assert trace.told == [("FIRE", 0), ("PEAK", 1_000), ("PEAK", 2_000), ("PEAK", 3_000)]
    assert [event.alert.peak for event in trace.events] == [0.0, 1_000.0, 2_000.0, 3_000.0]


def test_an_episode_is_one_fire_and_one_resolve_however_long_it_lasts() -> None:
    trace = Trace(rule()).judge(1.0, 3.0, 3.0, 2.5, 3.0, 1.0, 1.0)
    assert trace.told == [("FIRE", 100), ("RESOLVE", 500)]
    assert trace.events[-1].alert.closed_ns == T0 + 5 * STEP


def test_for_and_keep_are_waited_for_and_the_end_is_when_it_fell() -> None:
    trace = Trace(rule(for_ms=200, keep_ms=300)).judge(3.0, 3.0, 1.0, 3.0, 3.0, 3.0, 1.0, 2.5, 1.0, 1.0, 1.0, 1.0)
    assert trace.told == [("FIRE", 500), ("RESOLVE", 1_100)]
    assert trace.events[-1].alert.closed_ns == T0 + 8 * STEP


def test_the_peak_is_told_once_a_second_at_most_and_stands_in_the_end() -> None:
    trace = Trace(rule()).judge(3.0, *[4.0 + at for at in range(25)], 1.0)
    assert trace.told == [("FIRE", 0), ("PEAK", 1_000), ("PEAK", 2_000), ("RESOLVE", 2_600)]
    assert [event.alert.peak for event in trace.events] == [3.0, 13.0, 23.0, 28.0]
    assert trace.events[-1].alert.peak_ns == T0 + 25 * STEP
    assert trace.events[-1].alert.value == 3.0


@pytest.mark.parametrize(
    ("op", "enter", "exit_at", "values", "peak"),
    [
        ("<=", -3.0, -2.0, (0.0, -3.0, -5.0, -4.0, -1.9), -5.0),
        ("abs>=", 3.0, 2.0, (0.0, -3.0, 2.5, -6.0, 5.0, 1.0), -6.0),
        (">=", 3.0, 2.0, (-9.0, 3.0, 4.0, 1.0), 4.0),
    ],
)
def test_each_comparison_knows_its_loud_side(
    op: str, enter: float, exit_at: float, values: tuple[float, ...], peak: float
) -> None:
    trace = Trace(rule(op=op, enter=enter, exit=exit_at)).judge(*values)
    assert [kind for kind, _ in trace.told] == ["FIRE", "RESOLVE"]
    assert trace.events[-1].alert.peak == peak


def test_a_repeat_within_the_cooldown_is_counted_and_not_fired() -> None:
    trace = Trace(rule(cooldown_ms=60_000)).judge(*[3.0, 1.0] * 8)
    assert [kind for kind, _ in trace.told] == ["FIRE", "RESOLVE", "PEAK"]
    assert trace.events[-1].alert.repeats == 5  # told with the second; two more since
    assert trace.events[-1].alert.state is AlertState.RESOLVED
    trace.judge(*[1.0] * 10)
    assert trace.events[-1].alert.repeats == 7


def test_repeats_are_told_before_a_new_episode_takes_their_place() -> None:
    trace = Trace(rule(cooldown_ms=500)).judge(3.0, 1.0, 3.0, 1.0, 1.0, 3.0)
    assert trace.told == [("FIRE", 0), ("RESOLVE", 100), ("PEAK", 500), ("FIRE", 500)]
    assert [(event.alert.seq, event.alert.repeats) for event in trace.events[2:]] == [(1, 1), (2, 0)]


def test_a_repeat_that_outlasts_the_cooldown_is_told() -> None:
    trace = Trace(rule(id="gap", metric="gap", enter=None, exit=None, cooldown_ms=1_000))
    trace.say(True, False, *[True] * 20, False)
    assert trace.told == [("FIRE", 0), ("RESOLVE", 100), ("PEAK", 1_000), ("FIRE", 1_000), ("RESOLVE", 2_200)]


def test_a_repeat_told_late_does_not_end_before_it_began() -> None:
    trace = Trace(rule(cooldown_ms=500, keep_ms=400)).judge(3.0, *[1.0] * 3)
    trace.judge(1.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert all(e.alert.closed_ns >= e.alert.opened_ns for e in trace.events if e.alert.closed_ns)
    # while it waits for its end below exit, a suppressed one is not fired
    waiting = Trace(rule(cooldown_ms=700, keep_ms=400)).judge(3.0, *[1.0] * 5, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert [kind for kind, _ in waiting.told if kind == "FIRE"] == ["FIRE"]


def test_an_unknown_value_neither_fires_nor_clears() -> None:
    trace = Trace(rule(for_ms=200)).judge(3.0, nan, nan, 3.0, nan, nan, nan, 1.0)
    assert trace.told == [("FIRE", 300), ("RESOLVE", 700)]


def test_an_episode_gone_blind_ends_as_no_data() -> None:
    trace = Trace(rule(nodata_ms=500)).judge(3.0, *[nan] * 4, 3.0, *[nan] * 7, 3.0)
    assert trace.told == [("FIRE", 0), ("NODATA", 1_100), ("FIRE", 1_300)]
    assert (trace.events[1].alert.quality, trace.events[1].alert.state) == ("nodata", AlertState.RESOLVED)


def test_nothing_open_has_no_data_to_miss() -> None:
    assert Trace(rule(nodata_ms=100)).judge(*[nan] * 50).told == []


def test_numbers_run_without_a_hole_over_all_rules_and_scopes() -> None:
    trace = Trace(rule(id="one"), rule(id="two", scope="b*"), first_seq=41)
    for scope in ("a", "b", "c"):
        trace.judge(3.0, scope=scope)
    assert [(e.alert.seq, e.alert.rule, e.alert.scope) for e in trace.events] == [
        (41, "one", "a"),
        (42, "one", "b"),
        (43, "two", "b"),
        (44, "one", "c"),
    ]
    assert [alert.seq for alert in trace.book.open] == [41, 42, 43, 44]
    assert trace.book.fired == {"one": 3, "two": 1}


@pytest.mark.parametrize(
    ("scope", "matches"),
    [
        ("*", (True, True, True)),
        ("BINANCE:BTC/*", (True, True, False)),
        ("* > BYBIT:*", (False, True, False)),
        ("BINANCE:BTC/USDT", (True, False, False)),
        ("binance:*", (False, False, False)),
    ],
)
def test_a_rule_looks_only_at_the_scopes_its_glob_names(scope: str, matches: tuple[bool, ...]) -> None:
    for name, wanted in zip(("BINANCE:BTC/USDT", "BINANCE:BTC/USDT > BYBIT:BTC/USDT", "OKX:ETH/USDT"), matches, strict=True):
        assert bool(Trace(rule(scope=scope)).judge(3.0, scope=name).told) is wanted


def test_a_rule_switched_off_says_nothing() -> None:
    trace = Trace(rule(enabled=False)).judge(9.0)
    assert trace.told == []
    assert not trace.book.watched(Metric.Z)


def test_a_resumed_episode_goes_on_without_firing_again() -> None:
    old = Alert(
        seq=7,
        opened_ns=T0 - SECOND,
        rule="z",
        severity=Severity.WARN,
        scope="a / b",
        value=3.5,
        unit="sd",
        enter=3.0,
        exit=2.0,
        peak=4.0,
    )
    trace = Trace(rule(cooldown_ms=5_000), first_seq=8)
    trace.book.resume(
        [old, msgspec.structs.replace(old, seq=5, rule="gone"), msgspec.structs.replace(old, seq=6, state=AlertState.RESOLVED)]
    )
    assert [alert.seq for alert in trace.book.open] == [7]
    trace.judge(3.0, 5.0, 1.0, 3.0)
    assert trace.told == [("RESOLVE", 200)]
    assert (trace.events[0].alert.seq, trace.events[0].alert.peak) == (7, 5.0)
    trace.judge(1.0, *[3.0] * 50)
    assert [(e.alert.seq, str(e.kind)) for e in trace.events if e.kind is AlertKind.FIRE] == [(8, "FIRE")]
    assert trace.events[-1].at_ns - old.opened_ns >= 5 * SECOND


def test_a_resumed_episode_between_exit_and_enter_is_still_open() -> None:
    trace = Trace(rule(), first_seq=2)
    trace.book.resume(
        [
            Alert(
                seq=1,
                opened_ns=T0,
                rule="z",
                severity=Severity.WARN,
                scope="a / b",
                value=3.5,
                unit="sd",
                enter=3.0,
                exit=2.0,
                peak=3.5,
            )
        ]
    )
    trace.judge(2.5, 2.5)
    assert trace.told == []


def test_no_peak_follows_a_fire_within_a_second() -> None:
    trace = Trace(rule()).judge(*[0.0] * 19, *[3.0 + at for at in range(20)])
    assert trace.told == [("FIRE", 1_900), ("PEAK", 3_000)]


def test_an_end_is_never_before_its_beginning() -> None:
    trace = Trace(*DEFAULT_RULES).say(True)
    trace.book.say(Metric.GAP, "a", trace.now, False, nan, Context, closed_ns=T0 - SECOND)
    assert trace.events[-1].alert.closed_ns == T0


def test_an_alert_says_what_it_saw() -> None:
    events: list[AlertEvent] = []
    book = AlertBook(DEFAULT_RULES, events.append, position=lambda: 123, arb=(3.0, 0.5))
    legs = (Leg("a", "buy", 1.0, 2.0, 3.0),)
    book.say(Metric.ROUTE, "a > b", T0, True, 4.5, lambda: Context(legs, 20.0))
    book.say(Metric.ROUTE, "a > b", T0 + STEP, False, nan, Context, "stale", T0 + 7)
    fired, ended = (event.alert for event in events)
    assert (fired.value, fired.unit, fired.enter, fired.exit, fired.severity) == (4.5, "bp", 3.0, 0.5, Severity.CRIT)
    assert (fired.legs, fired.fees_bps, fired.recording_pos) == (legs, 20.0, 123)
    assert (ended.quality, ended.closed_ns, ended.value) == ("stale", T0 + 7, 4.5)


def test_a_value_that_is_unknown_is_none_in_an_alert() -> None:
    trace = Trace(*DEFAULT_RULES).say(True, value=nan)
    assert (trace.events[0].alert.value, trace.events[0].alert.peak, trace.events[0].alert.peak_ns) == (None, None, 0)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"exit": 3.5}, "exit 3.5 is not on the quiet side of enter 3.0"),
        ({"op": "<="}, "exit 2.0 is not on the quiet side"),
        ({"op": "abs>=", "exit": -4.0}, "not on the quiet side"),
        ({"enter": None}, "needs enter and exit"),
        ({"exit": None}, "needs enter and exit"),
        ({"enter": nan}, "must be finite"),
        ({"exit": nan}, "must be finite"),
        ({"enter": inf}, "must be finite"),
        ({"metric": "route"}, r"route has no thresholds of its own: they are \[arb\] and \[guards\]"),
        ({"metric": "stale", "exit": None}, "the freshness rules"),
        ({"metric": "gap", "enter": None, "exit": None, "for_ms": 5}, "the freshness rules"),
        ({"op": ">"}, "Invalid enum value"),
        ({"id": "No Good"}, "matching regex"),
        ({"scope": ""}, "length >= 1"),
        ({"cooldown_ms": -1}, ">= 0"),
        ({"unknown": 1}, "unknown field"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_in_words(facts: dict[str, Any], words: str) -> None:
    with pytest.raises((msgspec.ValidationError, ValueError), match=words):
        rule(**facts)


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two rules are called z"):
        Trace(rule(), rule())


def test_the_shipped_rules_are_route_stale_gap_and_depeg_and_nothing_about_imbalance_or_z() -> None:
    assert [each.id for each in DEFAULT_RULES if each.enabled] == ["route", "stale", "gap", "depeg"]


def test_what_was_pending_does_not_ripen_while_nothing_is_known() -> None:
    events: list[AlertEvent] = []
    rule = Rule(id="z", metric=Metric.Z, enter=3.0, exit=2.0, for_ms=1_000, nodata_ms=5_000)
    book = AlertBook((rule,), events.append)
    hour = 3_600 * SECOND
    book.judge(Metric.Z, "pair", SECOND, 3.1, Context)
    for second in range(2, 3_600):
        book.judge(Metric.Z, "pair", second * SECOND, nan, Context)
    book.judge(Metric.Z, "pair", hour, 3.1, Context)
    assert events == []
    book.judge(Metric.Z, "pair", hour + SECOND, 3.1, Context)
    assert [event.kind for event in events] == [AlertKind.FIRE]


def test_an_acknowledged_episode_stays_so_in_all_that_is_told_of_it_later() -> None:
    trace = Trace(rule(cooldown_ms=60_000)).judge(3.0)
    acked = trace.book.ack(1, trace.now)
    trace.judge(*[4.0] * 12, 1.0, 3.0, 1.0, *[1.0] * 12)
    assert [kind for kind, _ in trace.told] == ["FIRE", "ACK", "PEAK", "RESOLVE", "PEAK"]
    assert acked is not None
    assert [event.alert.acked_ns for event in trace.events] == [0, *[acked.acked_ns] * 4]
    assert acked.acked_ns == T0 + STEP
    assert trace.events[-1].alert.repeats == 1


def test_an_episode_that_has_ended_can_be_acknowledged_and_a_second_time_changes_nothing() -> None:
    trace = Trace(rule()).judge(3.0, 1.0)
    first = trace.book.ack(1, trace.now)
    assert trace.book.ack(1, trace.now + STEP) == first
    assert trace.told == [("FIRE", 0), ("RESOLVE", 100), ("ACK", 200)]
    assert trace.events[-1].alert.state is AlertState.RESOLVED


def test_an_acknowledged_episode_does_not_mark_the_next_one_nor_is_a_forgotten_one_found() -> None:
    trace = Trace(rule()).judge(3.0)
    trace.book.ack(1, trace.now)
    trace.judge(1.0, 3.0)
    assert trace.book.open[0].seq == 2
    assert trace.book.open[0].acked_ns == 0
    assert trace.book.ack(1, trace.now) is None
    assert trace.book.ack(9, trace.now) is None


def test_acknowledging_changes_neither_when_an_episode_ends_nor_its_peak() -> None:
    values = (3.0, 5.0, 2.5, 4.0, 1.0, 3.5, 1.0)
    plain, marked = Trace(rule()), Trace(rule())
    for value in values:
        plain.judge(value)
        marked.judge(value)
        for alert in marked.book.open:
            marked.book.ack(alert.seq, marked.now)
    ends = [
        [msgspec.structs.replace(event.alert, acked_ns=0) for event in trace.events if event.kind is AlertKind.RESOLVE]
        for trace in (plain, marked)
    ]
    assert ends[0] == ends[1]
    assert len(ends[0]) == 2


def test_an_alert_whose_market_is_gone_does_not_fire_for_ever() -> None:
    trace = Trace(rule()).judge(5.0, 5.0)
    trace.book.end_gone(lambda metric, scope: True, trace.now)
    assert [alert.state for alert in trace.book.open] == [AlertState.FIRING]
    trace.book.end_gone(lambda metric, scope: scope != "a / b", trace.now)
    assert not trace.book.open
    assert (trace.events[-1].kind, trace.events[-1].alert.quality) == (AlertKind.RESOLVE, "gone")
