"""The two lines at the top of every screen, and the footer: can I believe this screen, and where am I (desk.md 3, "Header").

What does not fit is left out by rank, never cut in the middle: the time, the alerts and the venues go last.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from analytics.alert import Severity
from analytics.fx import FxRate, Missing
from analytics.snapshot import MarketView
from feeds.model import SECOND
from tui.formats import DASH, age, clock, day, lateness, plural, speed, usd
from tui.keys import SCREENS, TABLE
from tui.line import Line, Span, cells, pad
from tui.lines.fx import rate_spans
from tui.names import venue_name
from tui.scene import Scene
from tui.source import LiveStatus

SEPARATOR: Final[Span] = (" │ ", "dim")
SEVERITIES: Final[Mapping[Severity, str]] = {Severity.CRIT: "■", Severity.WARN: "▲", Severity.INFO: "●"}
BAR_CELLS: Final = 12
AGE_CELLS: Final = 5
"""What a rate grows by when it is a second old: nothing changes its line for that."""
VENUE_CELLS: Final = 11
"""A venue with a lag of 999 ms; likewise."""


class Piece(NamedTuple):
    """Part of a line that is shown whole or not at all; the highest `rank` goes first."""

    spans: tuple[Span, ...]
    rank: int

    @property
    def width(self) -> int:
        return sum(cells(text) for text, _ in self.spans)


def compose(pieces: Sequence[Piece], width: int, separator: Span | None = SEPARATOR) -> tuple[Span, ...]:
    """As many pieces as fit into `width`, in their order."""
    kept = [(piece, piece.width) for piece in pieces if piece.spans]
    gap = cells(separator[0]) if separator is not None else 0
    while kept and sum(needed for _, needed in kept) + gap * (len(kept) - 1) > width:
        kept.remove(max(kept, key=lambda each: each[0].rank))
    spans: list[Span] = []
    for piece, _ in kept:
        if spans and separator is not None:
            spans.append(separator)
        spans.extend(piece.spans)
    return tuple(spans)


@lru_cache(64)
def spread(left: tuple[Span, ...], right: tuple[Span, ...], width: int) -> Line:
    """`left` at the left edge and `right` at the right one; `right` wins where they meet."""
    right_width = sum(cells(text) for text, _ in right)
    start = pad(Line(left), max(width - right_width, 0))
    return pad(Line((*start.spans, *right)), width)


def header_lines(scene: Scene, here: str, width: int) -> list[Line]:
    """What is true for all screens, then the tabs and the state of the replay; the rates stand there where the first is full."""
    now, rates = scene.snapshot.now_ns, _rates(scene)
    told = [rate_spans(rate, now) for rate in rates]
    widest = [(*rate_spans(rate, rate.at_ns), (" " * AGE_CELLS, "")) for rate in rates]
    tabs = _tabs(here)
    state = _replay(scene, width - _width(tabs) - 1)
    venues = _venues(scene.snapshot.markets)
    wide_venues = [each._replace(spans=(*each.spans, (" " * (VENUE_CELLS - each.width), ""))) for each in venues]
    last = _right(scene, width)
    room = width - _width(last) - 4
    if not rates or widest[0][0] in compose([*_mine(scene), *_ranked(widest, 5), *wide_venues], room):
        return [_state(scene, told, venues, last, width), spread(tabs, (*state, (" ", "text")), width)]
    room = width - _width(tabs) - _width(state) - 2 * cells(SEPARATOR[0])
    below = [spans for spans, wide in zip(told, widest, strict=True) if wide[0] in compose(_ranked(widest, 0), room)]
    if below:
        right = (*compose(_ranked(below, 0), width), SEPARATOR, *state, (" ", "text"))
        return [_state(scene, (), venues, last, width), spread(tabs, right, width)]
    values = [rate_spans(rate, now, short=True) for rate in rates]
    return [_state(scene, values, venues, last, width), spread(tabs, (*state, (" ", "text")), width)]


def _width(spans: Iterable[Span]) -> int:
    return sum(cells(text) for text, _ in spans)


def _ranked(found: Sequence[tuple[Span, ...]], first: int) -> list[Piece]:
    return [Piece(spans, first + at) for at, spans in enumerate(found)]


def _state(scene: Scene, rates: Sequence[tuple[Span, ...]], venues: Sequence[Piece], right: tuple[Span, ...], width: int) -> Line:
    left = compose([*_mine(scene), *_ranked(rates, 5), *venues], width - _width(right) - 4)
    return spread(((" ", "text"), *left), (*right, (" ", "text")), width)


def _right(scene: Scene, width: int) -> tuple[Span, ...]:
    return compose(
        [
            Piece((("FROZEN", "warn"),) if scene.held is not None else (), 0),
            Piece(((clock(scene.snapshot.now_ns), "text"),), 0),
            Piece(_unacked(scene), 0),
        ],
        width,
    )


def _mine(scene: Scene) -> tuple[Piece, Piece]:
    return Piece(_fees(scene), 2), Piece(_size(scene), 3)


def _rates(scene: Scene) -> Sequence[FxRate]:
    """What stablecoins are worth: the first in any case, another where there is something to say of it."""
    return [rate for at, rate in enumerate(scene.snapshot.fx) if not at or rate.missing is not Missing.UNHEARD]


def _fees(scene: Scene) -> tuple[Span, ...]:
    fees = scene.fees
    if fees.tier == "none":
        return (("FEES none", "warn"),)
    own = f" +{fees.own} own" if fees.own else ""
    text = f"FEES {fees.tier.upper()} taker{own}"
    return ((text, "text"),) if fees.confirmed else ((text, "text"), (" ?", "warn"))


def _size(scene: Scene) -> tuple[Span, ...]:
    return (("size ", "dim"), (usd(scene.size_usd) if scene.size_usd else "touch", "text"))


def _venues(markets: Iterable[MarketView]) -> list[Piece]:
    """One piece a venue: the worst state of its markets, and its worst lag."""
    by_venue: dict[str, list[MarketView]] = {}
    for market in markets:
        by_venue.setdefault(market.facts.venue, []).append(market)
    return [Piece(_venue(venue, found), 1) for venue, found in by_venue.items()]


def _venue(venue: str, markets: Sequence[MarketView]) -> tuple[Span, ...]:
    down = sum(1 for market in markets if market.refused)
    glyph, role = ("●", "good") if not down else ("◐", "warn") if down < len(markets) else ("○", "crit")
    return ((f"{venue_name(venue)} ", "text"), (glyph, role), (_lag(markets), "text" if not down else role))


def _lag(markets: Sequence[MarketView]) -> str:
    """The worst lag; where the clocks' offset is not known, how late data is against its own median, with a sign."""
    lags = [market.lag_ms for market in markets if market.lag_ms is not None]
    if lags:
        return age(max(lags))
    late = [market.late_ms for market in markets if market.late_ms is not None]
    return lateness(max(late)) if late else f" {DASH}"


def _unacked(scene: Scene) -> tuple[Span, ...]:
    spans = [
        (f"{SEVERITIES[severity]}{count} ", str(severity)) for severity in Severity if (count := scene.unacked.get(severity, 0))
    ]
    if not spans:
        return ((f"none new, {scene.firing} open", "dim"),) if scene.firing else (("no alerts", "dim"),)
    spans.reverse()  # the worst first
    text, role = spans[-1]
    return (*spans[:-1], (text.rstrip(), role))


@lru_cache(32)
def _tabs(here: str) -> tuple[Span, ...]:
    tabs: list[Span] = [(" ", "text")]
    for key in TABLE:
        if key.group == SCREENS:
            name = key.label.upper()
            tabs.append((f"▐{key.face} {name}▌", "accent") if key.id == here else (f" {key.face} {name} ", "dim"))
    return tuple(tabs)


def _replay(scene: Scene, room: int) -> tuple[Span, ...]:
    status = scene.status
    held = scene.held
    if held is not None:
        since = f"{(held.now_ns - held.since_ns) / SECOND:+.0f} s"
        news = f" · {plural(held.alerts, 'new alert')}" if held.alerts else ""
        return compose(
            [Piece((("FROZEN ", "warn"), (clock(held.since_ns), "text")), 0), Piece(((f"  {since}{news}", "text"),), 1)],
            room,
            None,
        )
    if isinstance(status, LiveStatus):
        return _live(status, room)
    elapsed, whole = (status.now_ns - status.start_ns) / SECOND, (status.end_ns - status.start_ns) / SECOND
    if status.seeking is not None:
        word, role = f"GOING THERE {status.seeking:.0%}", "warn"
    elif status.finished:
        word, role = "END", "warn"
    elif status.paused:
        word, role = f"PAUSED {speed(status.speed)}", "warn"
    else:
        reached = "" if status.reached is None else f", reaching {speed(_rough(status.reached))}"
        word, role = f"▸ {speed(status.speed)}{reached}", "good"
    filled = min(max(int(status.share * BAR_CELLS), 0), BAR_CELLS)
    times = f"  {_minutes(elapsed)}", f" of {_minutes(whole)}"
    return _played(word, role, bool(status.damage), status.exact, day(scene.snapshot.now_ns), filled, times, room)


@lru_cache(32)
def _played(
    word: str, role: str, damaged: bool, exact: bool, date: str, filled: int, times: tuple[str, str], room: int
) -> tuple[Span, ...]:
    """What the replay is doing, what is wrong with it, and how far it is: as much as there is room for."""
    return compose(
        [
            Piece((("REPLAY ", "accent"), (word, role)), 0),
            Piece((("  ▲ DAMAGED", "warn"),) if damaged else (), 1),
            Piece((("  ▲ NOT FROM START", "warn"),) if not exact else (), 1),
            Piece(((f"  {date}", "dim"),), 3),
            Piece((("  ", "dim"), ("█" * filled, "accent"), ("·" * (BAR_CELLS - filled), "dim")), 2),
            Piece(((times[0], "text"), (times[1], "dim")), 1),
        ],
        room,
        None,
    )


def _rough(times: float) -> float:
    """In two figures: a third would change at every frame."""
    return float(f"{times:.2g}")


def _live(status: LiveStatus, room: int) -> tuple[Span, ...]:
    """A made-up market says so; what is not all up says how much is; DESK and FEEDS say why."""
    word = "DEMO" if status.demo else "LIVE"
    glyph, role = ("●", "good") if status.links and status.up == status.links else ("◐", "warn") if status.up else ("○", "crit")
    missing = len(status.unlisted)
    links = f" {status.up} of {status.links} up" if status.links else " no venue answers" if missing else " connecting"
    return compose(
        [
            Piece(((f"{word} ", "accent"), (glyph, role)), 0),
            Piece(((links, "dim" if status.up == status.links and status.links else role),), 2),
            Piece(((f"  ▲ {status.trouble}", "crit"),) if status.trouble else (), 1),
            Piece(((f"  ▲ {plural(missing, 'market')} not listed", "warn"),) if missing and status.links else (), 1),
            Piece((("  ● REC", "warn"),) if status.recording else (), 1),
            Piece(((f"  {day(status.now_ns)}", "dim"),), 3),
        ],
        room,
        None,
    )


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    return f"{minutes}:{rest:02d}"


@lru_cache(32)
def footer_line(keys: tuple[tuple[str, str], ...], width: int) -> Line:
    """The keys that matter most here, as (face, label); those at the end go first where there is no room."""
    pieces = [Piece(((f" {face}", "accent"), (f" {label} ", "dim")), at) for at, (face, label) in enumerate(keys)]
    return pad(Line(compose(pieces, width, None)), width)
