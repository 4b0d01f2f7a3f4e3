"""Alert rules and the episodes they make: at most one open episode a rule and scope, with a peak and an end (analytics 13).

A rule watches one metric on every market, pair or route that its scope matches. Metrics with thresholds run through a
`Hysteresis`; `route`, `stale` and `gap` are judged elsewhere (tracker, link, book) and arrive as a plain yes or no. An unknown
value neither fires nor clears; one that stays unknown for `nodata_ms` ends an open episode as NODATA. A firing within the
cooldown of the last one is not a new episode: it is counted on that one, and told as its own only if it outlasts the cooldown.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from math import isfinite, nan
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct, convert, structs

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState, Leg, Severity
from analytics.hysteresis import Hysteresis, Phase
from feeds.model import MS, SECOND, Ns

Millis = Annotated[int, Meta(ge=0, le=86_400_000)]
PEAK_EVERY_NS: Ns = SECOND


class Metric(StrEnum):
    ROUTE = "route"
    STALE = "stale"
    GAP = "gap"
    Z = "z"
    BASIS = "basis"
    IMBALANCE = "imbalance"
    DEPEG = "depeg"


class MetricFacts(NamedTuple):
    """Unit of the value; whether the rule's own thresholds judge it; what it is a figure of."""

    unit: str
    thresholds: bool
    scope: str


METRICS: Mapping[Metric, MetricFacts] = {
    Metric.ROUTE: MetricFacts("bp", False, "route"),
    Metric.STALE: MetricFacts("ms", False, "market"),
    Metric.GAP: MetricFacts("ms", False, "market"),
    Metric.Z: MetricFacts("sd", True, "pair"),
    Metric.BASIS: MetricFacts("bp", True, "pair"),
    Metric.IMBALANCE: MetricFacts("ratio", True, "market"),
    Metric.DEPEG: MetricFacts("bp", True, "peg"),
}

Comparison = Literal[">=", "<=", "abs>="]
LOUD: Mapping[str, Callable[[float], float]] = {">=": lambda v: v, "<=": lambda v: -v, "abs>=": abs}
"""Turns a value so that its loud side is up."""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule, as a rule file states it. Times in ms; `enter` and `exit` in the metric's unit."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,39}$")]
    metric: Metric
    enabled: bool = True
    scope: Annotated[str, Meta(min_length=1, max_length=200)] = "*"
    """Glob over the market's, pair's or route's name, or the coin's: `USDT/USD`."""
    op: Comparison = ">="
    enter: float | None = None
    exit: float | None = None
    for_ms: Millis = 0
    keep_ms: Millis = 0
    cooldown_ms: Millis = 0
    nodata_ms: Millis = 10_000
    severity: Severity = Severity.WARN

    def __post_init__(self) -> None:
        facts = METRICS[self.metric]
        if not facts.thresholds:
            if self.enter is not None or self.exit is not None or self.for_ms or self.keep_ms or self.op != ">=":
                where = "[arb] and [guards]" if self.metric is Metric.ROUTE else "the freshness rules"
                raise ValueError(f"rule {self.id}: {self.metric} has no thresholds of its own: they are {where}")
            return
        if self.enter is None or self.exit is None:
            raise ValueError(f"rule {self.id}: {self.metric} needs enter and exit")
        if not (isfinite(self.enter) and isfinite(self.exit)):
            raise ValueError(f"rule {self.id}: enter and exit must be finite numbers")
        if self.loud(self.exit) > self.loud(self.enter):
            raise ValueError(f"rule {self.id}: exit {self.exit} is not on the quiet side of enter {self.enter}")

    def loud(self, value: float) -> float:
        return LOUD[self.op](value)


_SLOW = {"enabled": False, "op": "abs>=", "for_ms": 1_000, "keep_ms": 2_000, "cooldown_ms": 60_000}
DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(id="route", metric=Metric.ROUTE, severity=Severity.CRIT),
    Rule(id="stale", metric=Metric.STALE, cooldown_ms=10_000),
    Rule(id="gap", metric=Metric.GAP, cooldown_ms=10_000),
    convert({"id": "z", "metric": "z", "enter": 3.0, "exit": 2.0, **_SLOW}, Rule),
    convert({"id": "basis", "metric": "basis", "enter": 15.0, "exit": 10.0, **_SLOW}, Rule),
    convert({"id": "imbalance", "metric": "imbalance", "enter": 0.3, "exit": 0.2, **_SLOW}, Rule),
    convert({"id": "depeg", "metric": "depeg", "enter": 20.0, "exit": 15.0, **_SLOW, "enabled": True}, Rule),
)
"""What runs without a rule file: route, stale, gap and depeg; the rest exists and is off."""


def shipped_rules(depeg_bp: float) -> tuple[Rule, ...]:
    """`DEFAULT_RULES` as the configuration has them: a coin that is `depeg_bp` from a dollar fires, until it is within three
    quarters of that."""
    return tuple(
        structs.replace(rule, enter=depeg_bp, exit=0.75 * depeg_bp) if rule.metric is Metric.DEPEG else rule
        for rule in DEFAULT_RULES
    )


class Context(NamedTuple):
    """What an alert says of its trigger, made only when one fires."""

    legs: tuple[Leg, ...] = ()
    fees_bps: float | None = None


class _Watch:
    """One rule on one scope."""

    __slots__ = ("alert", "fired_ns", "hold", "peaked", "peaked_ns", "rule", "suppressed", "unknown_ns")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.hold: Hysteresis | None = None
        if rule.enter is not None and rule.exit is not None:
            self.hold = Hysteresis(rule.loud(rule.enter), rule.loud(rule.exit), rule.for_ms * MS, rule.keep_ms * MS)
        self.alert: Alert | None = None
        """The open episode, or the last one."""
        self.suppressed = False
        """An episode runs that the cooldown keeps from being told."""
        self.fired_ns: Ns = 0
        self.unknown_ns: Ns = 0
        self.peaked = False
        self.peaked_ns: Ns = 0


class AlertBook:
    """All rules and their episodes. The owner of alert sequence numbers while the engine runs.

    Args:
        rules: enabled or not; ids must differ.
        emit: gets every event at once, in order.
        position: records handed on so far, for an alert's place in the recording.
        first_seq: the first alert's number.

    Raises:
        ValueError: two rules of one id.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        emit: Callable[[AlertEvent], object],
        position: Callable[[], int] = lambda: 0,
        first_seq: int = 1,
        arb: tuple[float, float] = (nan, nan),
    ) -> None:
        rules = tuple(rules)
        twice = [rule.id for at, rule in enumerate(rules) if any(rule.id == other.id for other in rules[:at])]
        if twice:
            raise ValueError(f"two rules are called {twice[0]}")
        self._rules = {metric: [rule for rule in rules if rule.enabled and rule.metric is metric] for metric in Metric}
        self._emit = emit
        self._position = position
        self._next_seq = first_seq
        self._arb = arb
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._matching: dict[tuple[Metric, str], tuple[Rule, ...]] = {}
        self.fired: dict[str, int] = {rule.id: 0 for rule in rules if rule.enabled}

    @property
    def rules(self) -> list[Rule]:
        """The enabled ones."""
        return [rule for rules in self._rules.values() for rule in rules]

    def watched(self, metric: Metric) -> bool:
        """Whether any enabled rule looks at the metric at all."""
        return bool(self._rules[metric])

    def resume(self, alerts: Iterable[Alert]) -> None:
        """Take up episodes that were open when the program stopped, so that they neither fire again nor get lost."""
        by_id = {rule.id: rule for rules in self._rules.values() for rule in rules}
        for alert in alerts:
            rule = by_id.get(alert.rule)
            if rule is None or alert.state is not AlertState.FIRING:
                continue
            watch = self._watch(rule, alert.scope)
            watch.alert, watch.fired_ns = alert, alert.opened_ns
            if watch.hold is not None:
                watch.hold.resume(alert.opened_ns)

    def end_gone(self, there: Callable[[Metric, str], bool], now: Ns) -> None:
        """End the episodes whose market, pair or route there is no more: nothing would ever be said of them again."""
        for (_, scope), watch in self._watches.items():
            alert = watch.alert
            if alert is not None and alert.state is AlertState.FIRING and not there(watch.rule.metric, scope):
                self._resolve(watch, alert, now, now, "gone")

    def judge(self, metric: Metric, scope: str, now: Ns, value: float, context: Callable[[], Context]) -> None:
        """A look at a metric whose rules have thresholds; nan is unknown."""
        for rule in self._match(metric, scope):
            watch = self._watch(rule, scope)
            hold = watch.hold
            if hold is None:
                continue
            if value != value:
                self._unknown(rule, watch, now)
                continue
            watch.unknown_ns = 0
            hold.step(now, rule.loud(value))
            self._follow(rule, watch, scope, now, hold.active, value, context, hold.fell_ns)

    def say(
        self,
        metric: Metric,
        scope: str,
        now: Ns,
        active: bool,
        value: float,
        context: Callable[[], Context],
        quality: str = "",
        closed_ns: Ns = 0,
    ) -> None:
        """A look at a metric that has been judged. `quality` says why an episode ends, `closed_ns` when it did."""
        for rule in self._match(metric, scope):
            self._follow(rule, self._watch(rule, scope), scope, now, active, value, context, closed_ns or now, quality)

    def peak(self, metric: Metric, scope: str, value: float, at: Ns) -> None:
        """A peak that was seen between two looks."""
        for rule in self._match(metric, scope):
            watch = self._watch(rule, scope)
            alert = watch.alert
            if alert is None or alert.state is not AlertState.FIRING:
                continue
            if alert.peak is None or rule.loud(value) > rule.loud(alert.peak):
                watch.alert = structs.replace(alert, peak=value, peak_ns=at)
                watch.peaked = True

    def ack(self, seq: int, now: Ns) -> Alert | None:
        """The user has seen it: the open or last episode of its watch is marked, once, and stays so in all that is told of it.

        Returns:
            The episode as it stands; None when its watch has a later one or no watch ever had it.
        """
        for watch in self._watches.values():
            alert = watch.alert
            if alert is not None and alert.seq == seq:
                if not alert.acked_ns:
                    alert = watch.alert = structs.replace(alert, acked_ns=now)
                    self._emit(AlertEvent(AlertKind.ACK, alert, now))
                return alert
        return None

    def peaks(self, now: Ns) -> None:
        """Once a second: tell the episodes whose peak or repeats have grown."""
        for watch in self._watches.values():
            if watch.peaked and watch.alert is not None and now - watch.peaked_ns >= PEAK_EVERY_NS:
                self._tell(watch, watch.alert, now)

    @property
    def open(self) -> list[Alert]:
        """Episodes that fire now, in the order they were opened."""
        firing = [w.alert for w in self._watches.values() if w.alert is not None and w.alert.state is AlertState.FIRING]
        return sorted(firing, key=lambda alert: alert.seq)

    def _match(self, metric: Metric, scope: str) -> Sequence[Rule]:
        found = self._matching.get((metric, scope))
        if found is None:
            found = tuple(rule for rule in self._rules[metric] if fnmatchcase(scope, rule.scope))
            self._matching[metric, scope] = found
        return found

    def _watch(self, rule: Rule, scope: str) -> _Watch:
        watch = self._watches.get((rule.id, scope))
        if watch is None:
            watch = self._watches[rule.id, scope] = _Watch(rule)
        return watch

    def _follow(
        self,
        rule: Rule,
        watch: _Watch,
        scope: str,
        now: Ns,
        active: bool,
        value: float,
        context: Callable[[], Context],
        closed_ns: Ns,
        quality: str = "",
    ) -> None:
        alert = watch.alert
        firing = alert is not None and alert.state is AlertState.FIRING
        if not active:
            watch.suppressed = False
            if firing and alert is not None:
                self._resolve(watch, alert, now, closed_ns, quality)
        elif firing and alert is not None:
            if value == value and (alert.peak is None or rule.loud(value) > rule.loud(alert.peak)):
                watch.alert = structs.replace(alert, peak=value, peak_ns=now)
                watch.peaked = True
        elif alert is not None and now - watch.fired_ns < rule.cooldown_ms * MS:
            if not watch.suppressed:
                watch.suppressed = True
                watch.alert = structs.replace(alert, repeats=alert.repeats + 1)
                watch.peaked = True
        elif not (watch.suppressed and watch.hold is not None and watch.hold.phase is Phase.RECOVERING):
            self._fire(rule, watch, scope, now, value, context())

    def _tell(self, watch: _Watch, alert: Alert, now: Ns) -> None:
        watch.peaked, watch.peaked_ns = False, now
        self._emit(AlertEvent(AlertKind.PEAK, alert, now))

    def _fire(self, rule: Rule, watch: _Watch, scope: str, now: Ns, value: float, context: Context) -> None:
        enter, exit_at = (rule.enter, rule.exit) if rule.enter is not None else self._limits(rule)
        known = value if value == value else None
        if watch.peaked and watch.alert is not None:
            self._tell(watch, watch.alert, now)  # the last one's repeats, before the new one takes its place
        watch.suppressed = False
        watch.fired_ns = watch.peaked_ns = now
        watch.alert = Alert(
            seq=self._next_seq,
            opened_ns=now,
            rule=rule.id,
            severity=rule.severity,
            scope=scope,
            value=known,
            unit=METRICS[rule.metric].unit,
            enter=enter if enter is not None else 0.0,
            exit=exit_at if exit_at is not None else 0.0,
            peak=known,
            peak_ns=now if known is not None else 0,
            legs=context.legs,
            fees_bps=context.fees_bps,
            recording_pos=self._position(),
        )
        self._next_seq += 1
        self.fired[rule.id] += 1
        self._emit(AlertEvent(AlertKind.FIRE, watch.alert, now))

    def _limits(self, rule: Rule) -> tuple[float, float]:
        return self._arb if rule.metric is Metric.ROUTE else (0.0, 0.0)

    def _resolve(self, watch: _Watch, alert: Alert, now: Ns, closed_ns: Ns, quality: str) -> None:
        watch.peaked = False
        closed_ns = max(closed_ns, alert.opened_ns)  # one told late, after a cooldown, may have fallen before
        watch.alert = structs.replace(alert, state=AlertState.RESOLVED, closed_ns=closed_ns, quality=quality)
        kind = AlertKind.NODATA if quality == "nodata" else AlertKind.RESOLVE
        self._emit(AlertEvent(kind, watch.alert, now))

    def _unknown(self, rule: Rule, watch: _Watch, now: Ns) -> None:
        """No value: nothing moves, until an open episode has been blind for too long."""
        alert = watch.alert
        watch.unknown_ns = watch.unknown_ns or now
        if now - watch.unknown_ns < rule.nodata_ms * MS:
            return
        if watch.hold is not None:
            watch.hold.reset()  # what was pending has not lasted: nothing was known of it
        if alert is not None and alert.state is AlertState.FIRING:
            self._resolve(watch, alert, now, now, "nodata")
