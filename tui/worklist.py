"""The alerts as a work list: which of them a filter lets through, in which order, and how many wait for the user.

Pure: alerts and mutes go in, items come out. `Worklist` remembers the last answer, since a frame asks ten times a second and
alerts change far less often. Not here: drawing, and the acts themselves (`tui/session.py`).
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from msgspec import Struct

from analytics.alert import Alert, AlertState, Severity
from feeds.model import SECOND, InstrumentId, Ns
from feeds.text import clean_text


class Mark(StrEnum):
    """What the user has done about an episode. ACK wins: what was seen stays seen when its rule is muted later."""

    NEW = "NEW"
    ACK = "ACK"
    MUTED = "MUTED"


class Item(Struct, frozen=True):
    """A line of the list. `words` is what free words are looked for in."""

    alert: Alert
    mark: Mark
    words: str

    @property
    def open(self) -> bool:
        return self.alert.state is AlertState.FIRING

    @property
    def key(self) -> str:
        return key_of(self.alert)


def key_of(alert: Alert) -> str:
    """What names an episode in any pass: numbers begin anew where a pass does not begin at the recording's start."""
    return f"{alert.opened_ns} {alert.rule} {alert.scope}"


Muted: TypeAlias = Mapping[tuple[str, str], Ns]
"""(rule, scope) → until when; what has run out is not in it."""
Test: TypeAlias = Callable[[Item], bool]

RANK: Final[Mapping[Severity, int]] = {Severity.INFO: 0, Severity.WARN: 1, Severity.CRIT: 2}
STATES: Final[Mapping[str, Test]] = {
    "open": lambda item: item.open,
    "closed": lambda item: not item.open,
    "new": lambda item: item.mark is Mark.NEW,
    "acked": lambda item: item.mark is Mark.ACK,
    "muted": lambda item: item.mark is Mark.MUTED,
}
COMPARED: Final[Mapping[str, Callable[[int, int], bool]]] = {
    ">=": lambda rank, limit: rank >= limit,
    "<=": lambda rank, limit: rank <= limit,
    "≥": lambda rank, limit: rank >= limit,
    "≤": lambda rank, limit: rank <= limit,
    "=": lambda rank, limit: rank == limit,
    ":": lambda rank, limit: rank == limit,
}


class Filter(Struct, frozen=True):
    """All `tests` must pass. `problem` names in one line what of the text means nothing; that part lets everything through."""

    text: str = ""
    tests: tuple[Test, ...] = ()
    problem: str = ""

    def passes(self, item: Item) -> bool:
        return all(test(item) for test in self.tests)


def parse(text: str) -> Filter:
    """A filter from words, all of which must hold, in any case.

    `sev>=warn` (also `<=`, `=`), `rule:z` and `venue:bybit` (beginnings of names), `is:open`, `is:closed`, `is:new`, `is:acked`,
    `is:muted`; any other word is looked for in rule, scope, severity and state.
    """
    tests: list[Test] = []
    problems: list[str] = []
    for word in text.lower().split():
        found = _test(word)
        if isinstance(found, str):
            problems.append(found)
        else:
            tests.append(found)
    return Filter(text, tuple(tests), problems[0] if problems else "")


def _test(word: str) -> Test | str:
    """What a word asks for, or what is wrong with it."""
    if word.startswith("sev"):
        for sign, compare in COMPARED.items():
            head, found, name = word.partition(sign)
            if found and head in ("sev", "severity"):
                if name not in RANK:
                    return f"{clean_text(word)}: a severity is one of {', '.join(RANK)}"
                limit = RANK[Severity(name)]
                return lambda item: compare(RANK[item.alert.severity], limit)
        if word[3:4] in ("<", ">"):
            return f"{clean_text(word)}: write sev>=warn, sev<=warn or sev=warn"
    if len(word) > 1 and any(sign in word for sign in "<>=≤≥"):
        return f"{clean_text(word)}: only a severity can be compared: sev>=warn"
    field, found, value = word.partition(":")
    if found and field == "is":
        return STATES.get(value) or f"{clean_text(word)}: after is: write one of {', '.join(STATES)}"
    if found and field in FIELDS:
        names = FIELDS[field]
        return lambda item: any(name.lower().startswith(value) for name in names(item.alert))
    return lambda item: word in item.words


def _venues(alert: Alert) -> Iterable[str]:
    return (name.partition(":")[0] for name in instruments_of(alert))


FIELDS: Final[Mapping[str, Callable[[Alert], Iterable[str]]]] = {"rule": lambda alert: (alert.rule,), "venue": _venues}


def instruments_of(alert: Alert) -> list[InstrumentId]:
    """Those of its legs, or, where it has none, those that its scope names."""
    return [leg.instrument for leg in alert.legs] or [name for name in alert.scope.split() if ":" in name]


Order: TypeAlias = Callable[[Item, Ns], tuple[float, ...]]


def _duration_ns(alert: Alert, now: Ns) -> Ns:
    return (alert.closed_ns or now) - alert.opened_ns


ORDERS: Final[Mapping[str, Order]] = {
    "newest": lambda item, now: (-item.alert.opened_ns, -item.alert.seq),
    "oldest": lambda item, now: (item.alert.opened_ns, item.alert.seq),
    "severity": lambda item, now: (-RANK[item.alert.severity], -item.alert.opened_ns, -item.alert.seq),
    "duration": lambda item, now: (-_duration_ns(item.alert, now), item.alert.seq),
    "peak": lambda item, now: (-abs(item.alert.peak) if item.alert.peak is not None else 0.0, item.alert.seq),
}
"""Name → sort key at a time: newest first, the worst, longest or highest first (peaks by their size, whatever their unit)."""


def mark_of(alert: Alert, muted: Muted) -> Mark:
    return Mark.ACK if alert.acked_ns else Mark.MUTED if (alert.rule, alert.scope) in muted else Mark.NEW


def item_of(alert: Alert, muted: Muted) -> Item:
    mark = mark_of(alert, muted)
    state = "open" if alert.state is AlertState.FIRING else "closed"
    return Item(alert, mark, f"{alert.rule} {alert.scope} {alert.severity} {state} {mark}".lower())


def select(alerts: Iterable[Alert], chosen: Filter, order: str, muted: Muted, now: Ns) -> tuple[Item, ...]:
    """What the filter lets through, in the order of that name. `now` is how long open ones have lasted by."""
    return arrange((item_of(alert, muted) for alert in alerts), chosen, order, now)


def arrange(items: Iterable[Item], chosen: Filter, order: str, now: Ns) -> tuple[Item, ...]:
    """The same of items."""
    key = ORDERS[order]
    return tuple(sorted(filter(chosen.passes, items) if chosen.tests else items, key=lambda item: key(item, now)))


class Counts(Struct, frozen=True):
    """For the header, by severity, the worst first: episodes that are open, and those that wait for the user (open or closed,
    neither acknowledged nor muted)."""

    total: int
    open: dict[Severity, int]
    unacked: dict[Severity, int]


def count(items: Iterable[Item]) -> Counts:
    worst_first = sorted(RANK, key=lambda severity: -RANK[severity])
    total, opened, unacked = 0, dict.fromkeys(worst_first, 0), dict.fromkeys(worst_first, 0)
    for item in items:
        severity = item.alert.severity
        total += 1
        opened[severity] += item.open
        unacked[severity] += item.mark is Mark.NEW
    return Counts(total, opened, unacked)


class Worklist:
    """The list of one screen, made again only when the alerts, the filter or the order have changed."""

    def __init__(self) -> None:
        self.items: tuple[Item, ...] = ()
        self.counts = count(())
        """Of all alerts, whatever the filter."""
        self._known: dict[int, Item] = {}
        self._version = -1
        self._muted: Muted = {}
        self._shown: tuple[object, ...] = ()

    def refresh(
        self, version: int, alerts: Mapping[int, Alert], muted: Muted, chosen: Filter, order: str, now: Ns
    ) -> tuple[Item, ...]:
        """The items to show.

        Args:
            version: differs whenever `alerts` or `muted` do.
            now: in recorded time; only the order of durations depends on it, to the second.
        """
        if version != self._version:
            self._take(alerts, muted)
            self._version = version
        shown = (version, chosen, order, now // SECOND if order == "duration" else 0)
        if shown != self._shown:
            self._shown = shown
            self.items = arrange(self._known.values(), chosen, order, now)
        return self.items

    def _take(self, alerts: Mapping[int, Alert], muted: Muted) -> None:
        known = self._known if muted == self._muted else {}
        self._known = {
            seq: item if (item := known.get(seq)) is not None and item.alert is alert else item_of(alert, muted)
            for seq, alert in alerts.items()
        }
        self._muted = dict(muted)
        self.counts = count(self._known.values())
