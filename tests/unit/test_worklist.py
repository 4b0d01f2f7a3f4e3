"""The work list: what a filter lets through, in which order, how many wait, and how seldom it is made again."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from analytics.alert import Alert, AlertState, Leg, Severity
from feeds.model import SECOND, Ns
from tui import worklist
from tui.worklist import ORDERS, Counts, Filter, Mark, Worklist, count, item_of, parse, select

T0: Ns = 1_790_000_000 * SECOND
NOW = T0 + 100 * SECOND
ROUTE = "BINANCE:BTC/USDT > BYBIT:BTC/USDT:USDT"
PAIR = "BINANCE:ETH/USDT:USDT / BINANCE:ETH/USDT"


def alert(seq: int, rule: str, scope: str, severity: Severity, *, lasted: int | None = None, **facts: Any) -> Alert:
    made = Alert(
        seq=seq, opened_ns=T0 + seq * SECOND, rule=rule, severity=severity, scope=scope, value=1.0, unit="bp", enter=1.0, exit=0.5
    )
    if lasted is not None:
        made = msgspec.structs.replace(made, state=AlertState.RESOLVED, closed_ns=made.opened_ns + lasted * SECOND)
    return msgspec.structs.replace(made, **facts)


ALERTS = (
    alert(1, "route", ROUTE, Severity.CRIT, lasted=3, peak=6.0),
    alert(2, "z", PAIR, Severity.WARN, peak=-9.5),
    alert(3, "stale", "BYBIT:BTC/USDT:USDT", Severity.INFO, lasted=50, acked_ns=NOW),
    alert(4, "gap", "BINANCE:BTC/USDT", Severity.WARN, lasted=3, peak=120.0),
    alert(5, "route", ROUTE, Severity.CRIT, peak=6.0, acked_ns=NOW),
)
MUTED = {("gap", "BINANCE:BTC/USDT"): NOW + SECOND}


def seqs(text: str = "", order: str = "oldest", muted: Mapping[tuple[str, str], Ns] = MUTED) -> list[int]:
    return [item.alert.seq for item in select(ALERTS, parse(text), order, muted, NOW)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("route", [1, 5]),
        ("ROUTE bybit", [1, 5]),
        ("btc", [1, 3, 4, 5]),
        ("btc usdt:usdt warn", []),
        ("crit open", [5]),
        ("muted", [4]),
        ("sev>=warn", [1, 2, 4, 5]),
        ("sev≥warn", [1, 2, 4, 5]),
        ("severity<=warn", [2, 3, 4]),
        ("sev=info", [3]),
        ("sev:crit", [1, 5]),
        ("SEV>=CRIT", [1, 5]),
        ("rule:z", [2]),
        ("rule:r", [1, 5]),
        ("venue:bybit", [1, 3, 5]),
        ("venue:bin", [1, 2, 4, 5]),
        ("is:open", [2, 5]),
        ("is:closed", [1, 3, 4]),
        ("is:new", [1, 2]),
        ("is:acked", [3, 5]),
        ("is:muted", [4]),
        ("is:open sev>=crit venue:binance route", [5]),
        ("binance:btc/usdt", [1, 4, 5]),
        ("nothing-like-it", []),
    ],
)
def test_every_word_of_a_filter_must_hold(text: str, expected: list[int]) -> None:
    assert seqs(text) == expected
    assert parse(text).problem == ""


@pytest.mark.parametrize("text", ["sev>=", "sev>=loud", "sev>warn", "is:", "is:gone", "is:open\x1b[2J", "sev>=\x07"])
def test_a_filter_that_means_nothing_says_so_in_one_line_and_hides_nothing(text: str) -> None:
    found = parse(text)
    assert found.problem
    assert found.problem.isprintable()
    assert seqs(text) == [1, 2, 3, 4, 5]
    assert seqs(f"{text} rule:z") == [2]


@pytest.mark.parametrize("text", ["zzz>1", "peak>=3", "rule<z", "z=2"])
def test_only_a_severity_can_be_compared_and_what_else_is_says_so(text: str) -> None:
    found = parse(text)
    assert found.problem == f"{text}: only a severity can be compared: sev>=warn"
    assert seqs(text) == [1, 2, 3, 4, 5]


def test_the_venues_of_an_alert_are_those_of_its_legs() -> None:
    legs = (Leg("OKX:BTC/USDT", "watch"),)
    item = item_of(alert(1, "z", "custom", Severity.WARN, legs=legs), {})
    assert parse("venue:okx").passes(item)
    assert not parse("venue:custom").passes(item)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("newest", [5, 4, 3, 2, 1]),
        ("oldest", [1, 2, 3, 4, 5]),
        ("severity", [5, 1, 4, 2, 3]),
        ("duration", [2, 5, 3, 1, 4]),  # open ones: 98 s and 95 s so far; 1 and 4 tie
        ("peak", [4, 2, 1, 5, 3]),  # by size; 1 and 5 tie; none is last
    ],
)
def test_each_order_puts_first_what_it_says_and_ties_by_number(order: str, expected: list[int]) -> None:
    assert seqs(order=order) == expected
    assert order in ORDERS


def test_a_seen_episode_stays_seen_when_its_rule_is_muted() -> None:
    muted = {("route", ROUTE): NOW + 1}
    marks = {item.alert.seq: item.mark for item in select(ALERTS, Filter(), "oldest", muted, NOW)}
    assert marks == {1: Mark.MUTED, 2: Mark.NEW, 3: Mark.ACK, 4: Mark.NEW, 5: Mark.ACK}


def test_the_header_counts_open_ones_and_those_that_wait_by_severity() -> None:
    counts = count(item_of(each, MUTED) for each in ALERTS)
    assert counts == Counts(
        5,
        {Severity.CRIT: 1, Severity.WARN: 1, Severity.INFO: 0},
        {Severity.CRIT: 1, Severity.WARN: 1, Severity.INFO: 0},
    )
    assert list(counts.open) == [Severity.CRIT, Severity.WARN, Severity.INFO]


class Counted:
    """`item_of` and `arrange`, counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = self.arranged = 0
        self._item_of, self._arrange = worklist.item_of, worklist.arrange
        monkeypatch.setattr(worklist, "item_of", self.item_of)
        monkeypatch.setattr(worklist, "arrange", self.arrange)

    def item_of(self, *args: Any) -> Any:
        self.made += 1
        return self._item_of(*args)

    def arrange(self, *args: Any) -> Any:
        self.arranged += 1
        return self._arrange(*args)


def test_a_frame_without_news_makes_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    alerts = {each.seq: each for each in ALERTS}
    everything = parse("")
    listed = Worklist()
    first = listed.refresh(1, alerts, MUTED, everything, "newest", NOW)
    assert [item.alert.seq for item in first] == [5, 4, 3, 2, 1]
    assert listed.refresh(1, alerts, MUTED, everything, "newest", NOW + 60 * SECOND) is first
    assert (counted.made, counted.arranged) == (5, 1)
    alerts[2] = msgspec.structs.replace(alerts[2], peak=-10.0)
    again = listed.refresh(2, alerts, MUTED, everything, "newest", NOW)
    assert (counted.made, counted.arranged) == (6, 2)
    assert again[3].alert.peak == -10.0
    assert again[0] is first[0]


def test_a_changed_filter_order_or_mute_shows_at_once() -> None:
    alerts = {each.seq: each for each in ALERTS}
    listed = Worklist()
    for version, muted, text, order, expected in (
        (1, MUTED, "", "newest", [5, 4, 3, 2, 1]),
        (1, MUTED, "is:open", "newest", [5, 2]),
        (1, MUTED, "is:open", "oldest", [2, 5]),
        (2, {}, "is:new", "oldest", [1, 2, 4]),
        (3, MUTED, "is:new", "oldest", [1, 2]),
    ):
        items = listed.refresh(version, alerts, muted, parse(text), order, NOW)
        assert [item.alert.seq for item in items] == expected
    assert listed.counts.total == 5


def test_open_episodes_grow_in_the_order_of_durations() -> None:
    alerts = {1: alert(1, "z", PAIR, Severity.WARN, lasted=30), 2: alert(2, "z", PAIR, Severity.WARN)}
    listed, everything = Worklist(), parse("")
    early = listed.refresh(1, alerts, {}, everything, "duration", T0 + 10 * SECOND)
    late = listed.refresh(1, alerts, {}, everything, "duration", T0 + 60 * SECOND)
    assert [[item.alert.seq for item in items] for items in (early, late)] == [[1, 2], [2, 1]]


def test_another_pass_of_the_same_numbers_leaves_nothing_of_the_last_one() -> None:
    listed, everything = Worklist(), parse("")
    listed.refresh(1, {each.seq: each for each in ALERTS}, {}, everything, "oldest", NOW)
    other = alert(1, "gap", "BYBIT:BTC/USDT", Severity.INFO)
    items = listed.refresh(2, {1: other}, {}, everything, "oldest", NOW)
    assert [item.alert for item in items] == [other]
    assert listed.counts.total == 1
