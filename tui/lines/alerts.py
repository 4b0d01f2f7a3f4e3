"""Alerts as lines: rows of the work list, the strip on the home screen, one episode in detail with the books at its trigger."""

from collections.abc import Mapping, Sequence
from typing import Final

from analytics.alert import Alert, Leg
from analytics.alerts import Rule
from analytics.snapshot import BookView, MarketView, Snapshot
from feeds.model import MS, Instrument, InstrumentId, Ns
from tui.formats import DASH, age, bps, clock, count, duration, moment, price, quantity, signed
from tui.line import LateRow, Line, Row, Span, fit, number, pad
from tui.lines.header import SEVERITIES
from tui.names import market_name, two_name
from tui.table import Column, Layout, fit_columns
from tui.worklist import Item, Mark

COLUMNS: Final = (
    Column("seq", "#", 4, "<", 0, help="its number in this pass; `:` and the number goes to a second before it"),
    Column("opened", "UTC", 8, "<", 0, help="when it fired, by the receive clock"),
    Column("severity", "sev", 6, "<", 0, help="■ crit ▲ warn ● info"),
    Column("rule", "rule", 9, "<", 1, help="the rule that fired"),
    Column("scope", "market, pair or route", 32, "<", 0, help="what it fired on"),
    Column("value", "value", 9, ">", 0, help="at the trigger"),
    Column("peak", "peak", 9, ">", 3, help="the worst or best since"),
    Column("limit", "limit", 9, ">", 5, help="from where on the rule fires; — where freshness rules decide"),
    Column("lasted", "lasted", 6, ">", 2, help="from opening to closing, or until now"),
    Column("repeats", "×", 3, ">", 6, help="further firings within the cooldown"),
    Column("state", "state", 6, "<", 4, help="open or closed"),
    Column("mark", "mark", 5, "<", 0, help="NEW until you acknowledge it (x) or mute it (m)"),
    Column("why", "closed by", 14, "<", 7, grow=True, help="why it ended"),
)

ENDINGS: Final[Mapping[str, str]] = {"": "below limit", "closed": "source ended", "nodata": "no data"}
"""Why an episode ended, where the engine's word for it does not say it by itself."""
MARK_ROLES: Final[Mapping[Mark, str]] = {Mark.NEW: "title", Mark.ACK: "dim", Mark.MUTED: "dim"}
Facts = Mapping[InstrumentId, MarketView]


def table(width: int) -> Layout:
    return fit_columns(COLUMNS, width)


def nothing_fired(rules: Sequence[Rule]) -> str:
    """What an empty list says: which rules are on."""
    return f"nothing has fired; rules that are on: {', '.join(rule.id for rule in rules) or 'none'}"


def row(layout: Layout, item: Item, facts: Facts, now: Ns) -> Line:
    """One episode; open ones last until `now`."""
    alert = item.alert
    role = "text" if item.mark is Mark.NEW else "dim"
    return layout.row(
        {
            "seq": (f"#{alert.seq}" if alert.seq < 1000 else str(alert.seq), role),
            "opened": (clock(alert.opened_ns, 0).rstrip("Z"), role),
            "severity": (
                f"{SEVERITIES[alert.severity]} {alert.severity}",
                str(alert.severity) if item.mark is Mark.NEW else "dim",
            ),
            "rule": (alert.rule, role),
            "scope": (scope_name(alert.scope, facts), role),
            "value": (_with_unit(alert.value, alert), role),
            "peak": (_with_unit(alert.peak, alert), role),
            "limit": (_with_unit(alert.enter, alert).removeprefix("+") if alert.enter else DASH, "dim"),
            "lasted": (duration(((alert.closed_ns or now) - alert.opened_ns) / MS), role),
            "repeats": (count(alert.repeats) if alert.repeats else "", "dim"),
            "why": (closed_by(alert), "dim"),
            "state": ("open", "warn") if item.open else ("closed", "dim"),
            "mark": (str(item.mark), MARK_ROLES[item.mark]),
        }
    )


class Rows:
    """The rows of a list, frame after frame: one that has ended is made once, when it is first seen.

    In a day there are thousands; a frame shows forty, of which few are open.
    """

    def __init__(self) -> None:
        self._layout = table(0)
        self._facts: Facts = {}
        self._now: Ns = 0
        self._rest: tuple[object, ...] = ()
        """Beside the items, what rows are made from that outlast a frame."""
        self._items: tuple[Item, ...] = ()
        self._made: dict[int, tuple[Item, Row]] = {}
        """By the item's number."""
        self._rows: list[Row] = []
        self._open: list[int] = []
        """Places of those that last until now."""

    def make(self, layout: Layout, items: tuple[Item, ...], facts: Facts, now: Ns) -> Sequence[Row]:
        """One row an episode; open ones last until `now`."""
        self._layout, self._facts, self._now = layout, facts, now
        rest = layout, tuple(facts)
        if rest != self._rest:
            self._rest, self._made, self._items, self._rows, self._open = rest, {}, (), [], []
        if items != self._items:  # those that have not changed are the same ones, which is quickly seen
            before = self._made
            self._made = {
                item.alert.seq: old
                if (old := before.get(item.alert.seq)) is not None and old[0] is item
                else (item, self._late(item.key, item))
                for item in items
            }
            self._items = items
            self._rows = [made for _, made in self._made.values()]
            self._open = [at for at, item in enumerate(items) if item.open]
        for at in self._open:
            self._rows[at] = self._late(self._rows[at].key, items[at])
        return self._rows

    def _late(self, key: str, item: Item) -> Row:
        return LateRow.of(key, lambda: row(self._layout, item, self._facts, self._now))


def closed_by(alert: Alert) -> str:
    """Why it ended, in a word; nothing while it is open."""
    return "" if not alert.closed_ns else ENDINGS.get(alert.quality, alert.quality.replace("_", " "))


UNITS: Final[Mapping[str, str]] = {"ms": "", "ratio": "", "sd": "σ"}
"""Times carry their own unit, and a ratio has none."""


def figure(value: float | None, unit: str) -> str:
    """A rule's figure in its unit."""
    if unit == "ms":
        return age(value)
    return bps(value, 2) if unit == "bp" else signed(value, 2)


def scope_name(scope: str, facts: Facts) -> str:
    """The short name of a market, pair or route; as it stands where it names what is not there."""
    for separator, sign in ((" > ", " → "), (" / ", " / ")):
        first, found, second = scope.partition(separator)
        if found and first in facts and second in facts:
            return two_name(facts[first].facts, facts[second].facts, sign)
    return market_name(facts[scope].facts) if scope in facts else scope


# One episode.

NAME: Final = 16
LEVELS: Final = 10
BOOK_CELLS: Final = 46


def detail_lines(item: Item, trigger: Snapshot | None, facts: Facts, now: Ns, exact: bool | None, width: int) -> list[Line]:
    """Everything that is known of an episode.

    Args:
        trigger: the books of its legs at the boundary at which it fired; None when they are not kept.
        exact: its position is one in the recording; None: there is no recording.
    """
    alert = item.alert
    made: list[tuple[Span, ...]] = [
        _fact("what", scope_name(alert.scope, facts), "title"),
        _fact("rule", f"{alert.rule}  {SEVERITIES[alert.severity]} {alert.severity}", str(alert.severity)),
        _fact("opened", f"{moment(alert.opened_ns)} UTC"),
        _fact("closed", f"{moment(alert.closed_ns)} UTC" if alert.closed_ns else "open"),
        _fact("lasted", duration(((alert.closed_ns or now) - alert.opened_ns) / MS)),
        _fact("value", _with_unit(alert.value, alert)),
        _fact("peak", f"{_with_unit(alert.peak, alert)}{f'  at {clock(alert.peak_ns, 3)}' if alert.peak_ns else ''}"),
        _fact("limits", _limits(alert)),
        _fact("fees", f"{bps(alert.fees_bps)} bp in and out" if alert.fees_bps is not None else DASH),
        _fact("closed by", closed_by(alert) or DASH),
        _fact("repeats", count(alert.repeats)),
        _fact("mark", f"{item.mark}{f'  {moment(alert.acked_ns)} UTC' if alert.acked_ns else ''}"),
        *([_fact("recording", _position(alert, exact))] if exact is not None else []),
        (),
    ]
    if alert.legs:
        made.append((("LEGS AT THE TRIGGER", "head"),))
        made += [_leg(leg, facts) for leg in alert.legs]
        made.append(())
    lines = [pad(Line(((" ", "text"), *spans)), width) for spans in made]
    return lines + _books(alert, trigger, facts, width)


def _fact(name: str, text: str, role: str = "text") -> tuple[Span, ...]:
    return ((f"{name:<{NAME}}", "dim"), (text, role))


def _with_unit(value: float | None, alert: Alert) -> str:
    text = figure(value, alert.unit)
    unit = UNITS.get(alert.unit, alert.unit)
    return f"{text} {unit}".rstrip() if value is not None else text


def _limits(alert: Alert) -> str:
    if not alert.enter and not alert.exit:
        return "the freshness rules"
    enter, leave = (_with_unit(limit, alert).removeprefix("+") for limit in (alert.enter, alert.exit))
    return f"fires from {enter}, clears at {leave}"


def _position(alert: Alert, exact: bool) -> str:
    where = (
        f"record {alert.recording_pos:,}" if alert.recording_pos and exact else "this pass did not begin at the recording's start"
    )
    return f"{where}   Enter goes to a second before it (or :#{alert.seq} from anywhere)"


def _leg(leg: Leg, facts: Facts) -> tuple[Span, ...]:
    market = facts.get(leg.instrument)
    name = market_name(market.facts) if market is not None else leg.instrument
    at = price(leg.price, market.facts.tick / 2 if market is not None else None)  # a mid may lie between two ticks
    base = f" × {quantity(leg.size_base)} {market.facts.base if market is not None else ''}" if leg.size_base is not None else ""
    return (
        (fit(leg.role, 6), "dim"),
        (fit(name, 22), "text"),
        (f"{at}{base}" if base else f"mid {at}", "text"),
        (f"   book {age(leg.age_ms)} old", "dim"),
    )


def _books(alert: Alert, trigger: Snapshot | None, facts: Facts, width: int) -> list[Line]:
    """The books at the trigger, side by side as far as they fit."""
    if trigger is None:
        return [pad(Line((("  the books at the trigger are not kept any more", "dim"),)), width)]
    seen = {market.instrument: market for market in trigger.markets}
    columns = [_book(book, seen[book.instrument]) for book in trigger.books if book.instrument in seen]
    beside = max((width - 1) // (BOOK_CELLS + 1), 1)
    lines: list[Line] = []
    for first in range(0, len(columns), beside):
        group = columns[first : first + beside]
        for at in range(max(map(len, group))):
            spans: list[Span] = [(" ", "text")]
            for column in group:
                spans += [*(column[at] if at < len(column) else ((" " * BOOK_CELLS, "text"),)), (" ", "text")]
            lines.append(pad(Line(tuple(spans)), width))
        lines.append(pad(Line(()), width))
    return lines


def _book(book: BookView, market: MarketView) -> list[tuple[Span, ...]]:
    """One book, best levels first, in base units: BOOK_CELLS wide."""
    instrument = market.facts
    heading = f"{market_name(instrument)}  {f'imbalance {signed(market.imbalance, 2)}' if market.imbalance is not None else ''}"
    out: list[tuple[Span, ...]] = [
        ((fit(heading, BOOK_CELLS), "title"),),
        ((fit(f"{f'size {instrument.base}':>10} {'bid':>12}  {'ask':<12} {'size':<8}", BOOK_CELLS), "head"),),
    ]
    for at in range(min(max(len(book.bids), len(book.asks)), LEVELS)):
        bid, ask = _level(book.bids, at, instrument), _level(book.asks, at, instrument)
        out.append(
            (
                (f"{number(bid[1], 10)} {number(bid[0], 12)}", "bid"),
                ("  ", "text"),
                (fit(f"{fit(ask[0], 12)} {ask[1]}", BOOK_CELLS - 25), "ask"),
            )
        )
    if len(out) == 2:
        out.append(((fit("  no book that could be read", BOOK_CELLS), "dim"),))
    return out


def _level(levels: Sequence[tuple[float, float]], at: int, instrument: Instrument) -> tuple[str, str]:
    if at >= len(levels):
        return "", ""
    level_price, size = levels[at]
    return price(level_price, instrument.tick), quantity(instrument.to_base(size, level_price))
