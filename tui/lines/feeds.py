"""The machinery as lines: connections with their streams, request limits, clocks, this process, and one feed in detail.

A row a stream under the row of its connection. What is not known is `—`; a connection's state is a sign and a word. Nothing here
asks or measures: `Machinery` is one moment of it, taken by the screen (terminal-ui.md 5.5).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from math import isfinite, nan
from typing import Final, NamedTuple

from msgspec import Struct

from feeds.health import Health
from feeds.links import Breaker, ClockView, FeedsView, LinkView, PoolView
from feeds.model import MS, SECOND, BookState, Channel, Instrument, InstrumentId, LinkState, Ns, Status, Stream
from tui.formats import DASH, age, clock, count, countdown, duration, lateness, moment, quantity
from tui.line import Line, Span, cells, fit, join, number, pad, plain
from tui.names import market_name
from tui.process import Cost
from tui.sparkline import Style, sparkline
from tui.table import Column, Layout, fit_columns

SPARK_S: Final = 60
SPARK_CELLS: Final = 15
SILENT_NS: Final[Ns] = 65 * SECOND
"""A stream that must speak and has not for so long is silent, as sessions judge it (reliability 3.0)."""
MUST_SPEAK: Final = frozenset({Channel.TOUCH, Channel.TICKER})
RECORDED: Final = "this is a recording"

STREAM_COLUMNS: Final = (
    Column("name", "stream", 20, "<", 0, help="venue, kind and pair, under the connection that carries it"),
    Column("channel", "channel", 7, "<", 0, help="book, touch, trade, ticker or liq(uidations)"),
    Column("state", "state", 11, "<", 0, help="a book: ● synced, ◐ buffering, ○ empty; another: ● heard, ◐ silent or waiting"),
    Column("rate", "msg/s", 6, ">", 0, help="messages in the last second"),
    Column("bytes", "kB/s", 6, ">", 4, help="and their thousands of bytes"),
    Column("lag", "lag", 6, ">", 2, help="from the venue to here, by the measured offset of its clock"),
    Column("late", "late", 6, ">", 3, help="against its own median of ten minutes: + later, − earlier"),
    Column("p50", "lag p50", 7, ">", 5, help="half of the lags of the last minutes are below"),
    Column("p99", "lag p99", 7, ">", 4, help="99 of 100 are"),
    Column("gaps", "gaps", 5, ">", 1, help="breaks of the sequence since the start"),
    Column("resyncs", "resync", 6, ">", 5, help="books fetched anew"),
    Column("refused", "refused", 7, ">", 6, help="messages that could not be understood, and were set aside"),
    Column("last", "last", 6, ">", 0, help="since the last message"),
    Column(
        "line",
        "msg/s, 60 s",
        SPARK_CELLS,
        "<",
        7,
        help="messages a second over the last minute, while this screen was open",
    ),
)
LINK_COLUMNS: Final = (
    Column("slot", "", 20, "<", 0),
    Column("state", "", 13, "<", 0),
    Column("since", "", 10, "<", 1),
    Column("next", "", 17, "<", 2),
    Column("last", "", 11, "<", 3),
    Column("reconnects", "", 16, "<", 4),
    Column("budget", "", 20, "<", 5),
    Column("where", "", 23, "<", 0, grow=True),
)
POOL_COLUMNS: Final = (
    Column("name", "REST pool", 15, "<", 0),
    Column("used", "weight/min", 11, ">", 0, help="request weight used of what the venue allows in a minute"),
    Column("gate", "gate", 7, "<", 0, help="● open, or ○ and how long the venue wants us to wait"),
    Column("breaker", "breaker", 11, "<", 1, help="○ open: the host fails, so it is not asked for a while"),
    Column("queued", "queued", 6, ">", 2, help="requests that wait"),
    Column("last", "took", 6, ">", 4, help="round trip of the last answer"),
    Column("failed", "failed", 6, ">", 3, help="requests without a good answer"),
    Column("why", "last failure", 12, "<", 5, grow=True, help="in the host's words, cleaned"),
)
CLOCK_COLUMNS: Final = (
    Column("name", "clock of", 15, "<", 0),
    Column("offset", "ahead by", 11, ">", 0, help="a venue's clock minus this machine's"),
    Column("error", "", 9, "<", 0, help="half the best round trip: it is not known better"),
    Column("none", "", 0, "<", 9, grow=True),
)

NOT_RECORDED: Final = frozenset({"next", "reconnects", "budget"})
CHANNELS: Final[Mapping[Channel, str]] = {Channel.LIQUIDATION: "liq"}
ORDER: Final[Mapping[Channel, int]] = {channel: at for at, channel in enumerate(Channel)}
LINK_STATES: Final[Mapping[LinkState, tuple[str, str]]] = {
    LinkState.READY: ("●", "good"),
    LinkState.CONNECTING: ("◐", "warn"),
    LinkState.NOT_READY: ("◐", "warn"),
    LinkState.PAUSED: ("○", "info"),
    LinkState.COOLING: ("○", "warn"),
    LinkState.MAINTENANCE: ("○", "warn"),
    LinkState.DOWN: ("○", "crit"),
    LinkState.CLOSED: ("○", "crit"),
}
BOOK_STATES: Final[Mapping[BookState, tuple[str, str]]] = {
    BookState.SYNCED: ("● synced", "good"),
    BookState.BUFFERING: ("◐ buffering", "warn"),
    BookState.EMPTY: ("○ empty", "crit"),
}
BREAKERS: Final[Mapping[Breaker, tuple[str, str]]] = {
    Breaker.CLOSED: ("● closed", "good"),
    Breaker.HALF_OPEN: ("◐ half open", "warn"),
    Breaker.OPEN: ("○ open", "crit"),
}


class Machinery(Struct, frozen=True, kw_only=True):
    """One moment of everything that feeds the program."""

    view: FeedsView
    carries: Mapping[str, Sequence[Stream]]
    """Slot of a connection → its streams."""
    health: Mapping[Stream, Health]
    markets: Mapping[InstrumentId, tuple[Instrument, Status]]
    """With the state of its book."""
    health_ns: Ns = 0
    """When `health` was reported."""
    trouble: Mapping[tuple[str, str], str] = {}
    """(venue, market) → why its instruments cannot be listed."""
    recorded: bool = False
    """A recording tells neither budgets nor attempts."""


class Terminal(Struct, frozen=True, kw_only=True):
    """Where the screens are drawn, and how that goes."""

    name: str = ""
    """TERM."""
    within: str = ""
    """tmux or screen, where it is inside one."""
    colours: str = ""
    synchronised: bool | None = None
    """Whether it takes a frame as a whole; None where nobody was asked."""
    fps: float = nan
    """Frames a second that are asked for."""
    frames: int = 0
    left_out: int = 0
    frame_ms: float = nan
    """What making the last frame took."""
    bytes_per_s: float = nan
    waiting_bytes: int | None = None
    """Written, and not taken by the terminal yet."""


class Place(NamedTuple):
    """What a row stands for. `slot` "" names no connection, `stream` None the connection as a whole."""

    key: str
    slot: str
    stream: Stream | None = None
    trouble: tuple[str, str] | None = None


Rates = Mapping[Stream, Sequence[tuple[Ns, float]]]
"""Messages a second over time."""


def places(machinery: Machinery) -> list[Place]:
    """The rows from top to bottom: what could not be listed, then each connection with its streams."""
    found = [Place(f"! {venue} {market}", "", None, (venue, market)) for venue, market in machinery.trouble]
    carried: set[Stream] = set()
    for link in machinery.view.links:
        streams = machinery.carries.get(link.slot, ())
        found.append(Place(link.slot, link.slot))
        found += [_place(link.slot, stream) for stream in _sorted(streams, machinery)]
        carried.update(streams)
    left = [stream for stream in machinery.health if stream not in carried]
    if left:
        found.append(Place("-", ""))
        found += [_place("", stream) for stream in _sorted(left, machinery)]
    return found


def _place(slot: str, stream: Stream) -> Place:
    return Place(f"{slot} {stream.instrument} {stream.channel}", slot, stream)


def _sorted(streams: Collection[Stream], machinery: Machinery) -> list[Stream]:
    names = {name: name_of(name, machinery) for name in {stream.instrument for stream in streams}}
    return sorted(streams, key=lambda stream: (names[stream.instrument], stream.instrument, ORDER[stream.channel]))


def name_of(instrument: InstrumentId, machinery: Machinery) -> str:
    """Its short name; its id where nothing is known of it."""
    found = machinery.markets.get(instrument)
    return market_name(found[0]) if found is not None else instrument


class Drawer:
    """Makes the line of a place. One a frame."""

    def __init__(self, machinery: Machinery, rates: Rates, spark: Style, width: int) -> None:
        self.streams = fit_columns(STREAM_COLUMNS, width)
        self._links = fit_columns(LINK_COLUMNS, width)
        self._few = fit_columns([column for column in LINK_COLUMNS if not column.rank], width)
        if machinery.recorded:
            self._links = fit_columns([column for column in LINK_COLUMNS if column.key not in NOT_RECORDED], width)
        self._machinery = machinery
        self._rates = rates
        self._spark: Style = spark
        self._by_slot = {link.slot: link for link in machinery.view.links}

    def line(self, place: Place) -> Line:
        """In exactly the width."""
        link = self._by_slot.get(place.slot)
        if place.stream is not None:
            return self.streams.row(self._stream(place.stream, link))
        if link is not None:
            return self._links.row(link_cells(link, self._machinery), "shade")
        if place.trouble is not None:
            why = self._machinery.trouble.get(place.trouble, "")
            told = {"slot": (" ".join(place.trouble), "title"), "state": ("○ no list", "crit"), "where": (why, "warn")}
        else:
            told = {"slot": ("no connection", "title"), "state": ("○ closed", "stale"), "where": ("carried before", "dim")}
        return self._few.row(told, "shade")

    def _stream(self, stream: Stream, link: LinkView | None) -> dict[str, tuple[str, str]]:
        machinery = self._machinery
        health = machinery.health.get(stream)
        found = {
            "name": (f" {name_of(stream.instrument, machinery)}", "text"),
            "channel": (CHANNELS.get(stream.channel, stream.channel), "dim"),
            "state": state_of(stream, health, link, machinery),
        }
        if health is None:
            return found
        up = link is not None and link.opened_ns > 0
        found |= {
            "rate": (count(health.frames_per_s), "text"),
            "bytes": (quantity(health.bytes_per_s / 1e3), "dim"),
            "lag": (lag_text(health.lag_ms) if up else DASH, "text"),
            "late": (lateness(health.late_ms) if up else DASH, "dim"),
            "p50": (age(health.p50_ms), "dim"),
            "p99": (age(health.p99_ms), "text"),
            "gaps": _fault(health.gaps),
            "resyncs": (count(health.resyncs), "dim"),
            "refused": _fault(health.quarantined),
            "last": (silence(health, machinery), "text"),
        }
        if self.streams.has("line"):
            rates = self._rates.get(stream, ())
            found["line"] = (sparkline(rates, machinery.health_ns, SPARK_S, SPARK_CELLS, self._spark, lo=0.0), "dim")
        return found


def _fault(number_: int) -> tuple[str, str]:
    return count(number_), "warn" if number_ else "dim"


def lag_text(ms: float) -> str:
    """A lag. One below 0 is known, and says that the clock's offset is wrong: it keeps its sign."""
    return lateness(ms) if ms < -0.5 else age(ms)


def silence(health: Health, machinery: Machinery) -> str:
    """How long a stream had said nothing when that was last looked at."""
    return age((machinery.health_ns - health.last_ns) / MS) if 0 < health.last_ns <= machinery.health_ns else DASH


def state_of(stream: Stream, health: Health | None, link: LinkView | None, machinery: Machinery) -> tuple[str, str]:
    """Sign and word of one stream."""
    if link is None or not link.opened_ns:
        return "○ down", "stale"
    if stream.channel is Channel.BOOK:
        market = machinery.markets.get(stream.instrument)
        return BOOK_STATES[market[1].book] if market is not None else (DASH, "dim")
    if health is None or not health.last_ns:
        return "◐ waiting", "dim"
    silent = stream.channel in MUST_SPEAK and machinery.health_ns - health.last_ns > SILENT_NS
    return ("◐ silent", "warn") if silent else ("● heard", "good")


def link_cells(link: LinkView, machinery: Machinery) -> dict[str, tuple[str, str]]:
    """One connection."""
    now = machinery.view.now_ns
    sign, role = LINK_STATES[link.state]
    troubled = bool(link.reason) and not (link.state is LinkState.READY and not link.renewing)
    return {
        "slot": (link.slot, "title"),
        "state": (f"{sign} {link.state}", role),
        "since": (since_text(link, now), "text"),
        "next": (next_text(link, machinery), "text" if link.opened_ns and not link.renewing else "warn"),
        "last": (f"last {age((now - link.last_ns) / MS if link.last_ns else None)}", "text"),
        "reconnects": (_plural(link.reconnects, "reconnect"), "dim"),
        "budget": (f"{_plural(link.connects_left, 'connect')} left/min", "dim" if link.connects_left else "warn"),
        "where": (reason_text(link), "warn") if troubled else (link.host, "dim"),
    }


def _plural(number_: int, word: str) -> str:
    return f"{count(number_)} {word}{'' if number_ == 1 else 's'}"


def since_text(link: LinkView, now: Ns) -> str:
    """How long it has been up, or in the state that it is in."""
    if link.opened_ns:
        return f"up {duration((now - link.opened_ns) / MS)}"
    return f"for {duration((now - link.since_ns) / MS)}" if link.since_ns else DASH


def next_text(link: LinkView, machinery: Machinery) -> str:
    """What comes next, and when."""
    if machinery.recorded:
        return DASH
    now = machinery.view.now_ns
    if link.renewing:
        return "renewing now"
    if link.opened_ns:
        return f"renews in {countdown(link.renews_ns - now)}" if link.renews_ns else "never renewed"
    if link.next_ns > now:
        return f"next try in {countdown(link.next_ns - now)}"
    return {LinkState.PAUSED: "p goes on", LinkState.CLOSED: "r tries again"}.get(link.state, "trying now")


def reason_text(link: LinkView) -> str:
    """Why it is not ready, with the number of the attempt."""
    return f"try {link.attempt}: {link.reason}" if link.attempt and not link.opened_ns else link.reason


def title(machinery: Machinery) -> str:
    """All of it in a line."""
    links = machinery.view.links
    ready = sum(link.state is LinkState.READY for link in links)
    rates = [health.frames_per_s for health in machinery.health.values() if isfinite(health.frames_per_s)]
    bytes_ = sum(health.bytes_per_s for health in machinery.health.values() if isfinite(health.bytes_per_s))
    streams = sum(map(len, machinery.carries.values()))
    told = f"{ready} of {len(links)} ready · {_plural(streams, 'stream')}"
    return f"FEEDS  {told} · {quantity(sum(rates))} msg/s · {size(bytes_)}/s"


# Limits, clocks, this process.

TWO_COLUMNS: Final = 100
"""From this width on two parts stand side by side."""
OWN_CELLS: Final = 60
LABEL: Final = 10
RULE: Final[Span] = (" │", "dim")


def machine_lines(machinery: Machinery, cost: Cost, terminal: Terminal, width: int) -> list[Line]:
    """Request limits and clocks beside what this process is and costs; one above the other where it is narrow."""
    if width < TWO_COLUMNS:
        own = process_lines(machinery, cost, terminal, width)
        return [*pool_lines(machinery, width), *own, *clock_lines(machinery, width)]
    left = width - OWN_CELLS - cells(RULE[0])
    limits = [*pool_lines(machinery, left), *clock_lines(machinery, left)]
    own = process_lines(machinery, cost, terminal, OWN_CELLS)
    return [join(_line_at(limits, at, left), RULE, _line_at(own, at, OWN_CELLS)) for at in range(max(len(limits), len(own)))]


def _line_at(lines: Sequence[Line], at: int, width: int) -> Line:
    return lines[at] if at < len(lines) else pad(Line(()), width)


def pool_lines(machinery: Machinery, width: int) -> list[Line]:
    """A line a request limit."""
    pools = machinery.view.pools
    layout = fit_columns(POOL_COLUMNS, width)
    nothing = RECORDED if machinery.recorded else "nothing has been asked for yet"
    rows = [layout.row(pool_cells(pool, machinery.view.now_ns)) for pool in pools]
    return [layout.head(), *(rows or [pad(Line(((f" {nothing}", "dim"),)), width)])]


def clock_lines(machinery: Machinery, width: int) -> list[Line]:
    """A line a clock; also of those that are not known."""
    view = machinery.view
    layout = fit_columns(CLOCK_COLUMNS, width)
    known = {(link.venue, link.market): None for link in view.links} | dict.fromkeys(view.clocks)
    return [layout.head(), *(_clock_line(layout, place, view.clocks.get(place)) for place in sorted(known))]


def pool_cells(pool: PoolView, now: Ns) -> dict[str, tuple[str, str]]:
    """One request limit."""
    shut = pool.gate_ns > now
    return {
        "name": (pool.name, "text"),
        "used": (f"{count(pool.used)}/{count(pool.limit)}", "warn" if pool.used >= 0.8 * pool.limit else "text"),
        "gate": (f"○ {countdown(pool.gate_ns - now)}", "warn") if shut else ("● open", "good"),
        "breaker": BREAKERS[pool.breaker],
        "queued": (count(pool.queued), "text"),
        "last": (age(pool.last_ms), "dim"),
        "failed": _fault(pool.failed),
        "why": (pool.reason, "dim"),
    }


def _clock_line(layout: Layout, place: tuple[str, str], found: ClockView | None) -> Line:
    error = age(found.error_ms) if found is not None else DASH
    return layout.row(
        {
            "name": (" ".join(place), "text"),
            "offset": (lateness(found.offset_ms) if found is not None else DASH, "text"),
            "error": (f"± {error}" if error != DASH else "", "dim"),
            "none": ("", "dim"),
        }
    )


def process_lines(machinery: Machinery, cost: Cost, terminal: Terminal, width: int) -> list[Line]:
    """What this process costs, what it records, where it draws."""
    view = machinery.view
    drawn = terminal.frames + terminal.left_out
    reached = terminal.fps * terminal.frames / drawn if drawn else nan
    synced = {True: "frames as a whole", False: "no synchronised output", None: ""}[terminal.synchronised]
    where = " · ".join(filter(None, (terminal.within, terminal.name or "TERM is not set", terminal.colours, synced)))
    step = lateness(view.wall_step_ms)
    cpu = f"cpu {_figure(cost.cpu_share * 100, 3)} % of a core"
    held = f"{count(cost.descriptors):>4} descriptors · {count(cost.tasks):>3} tasks"
    share = f"{_figure(reached, 4, 1)} of {_figure(terminal.fps, 2)} fps · {count(terminal.left_out):>3} left out"
    facts = (
        ("process", f"{cpu} · {number(size(cost.rss_bytes), 6)}, peak {size(cost.peak_bytes)}"),
        ("", f"{held} · up {duration(cost.up_ms)}"),
        ("loop lag", f"p50 {_ms(cost.lag_p50_ms)} · p99 {_ms(cost.lag_p99_ms)} · most {_ms(cost.lag_max_ms)} in 60 s"),
        ("frames", f"{share} · last {_ms(terminal.frame_ms)}"),
        ("terminal", where),
        ("", f"{number(size(terminal.bytes_per_s), 6)}/s out · {number(size(terminal.waiting_bytes), 6)} waiting"),
        ("feeds", f"{count(view.quarantined):>4} refused · {count(view.ignored):>4} ignored messages"),
        ("wall clock", RECORDED if machinery.recorded else f"{number(step, 6)} against receive time since the start"),
        ("recorder", recorder_text(machinery)),
    )
    role = "warn" if view.recording.failure else "text"
    return [
        pad(Line(((f" {fit(name, LABEL)} ", "dim"), (plain(text), role if name == "recorder" else "text"))), width)
        for name, text in facts
    ]


def recorder_text(machinery: Machinery) -> str:
    recording = machinery.view.recording
    if machinery.recorded:
        return RECORDED
    if recording.failure:
        return f"▲ stopped: {recording.failure}"
    if not recording.directory:
        return "off · R starts it"
    lasted = duration((machinery.view.now_ns - recording.since_ns) / MS)
    return f"● {number(size(recording.bytes), 7)} in {lasted:<6} → {recording.directory}"


_BYTES: Final = ((999.5, "B", 1.0), (999.5e3, "kB", 1e3), (999.5e6, "MB", 1e6), (999.5e9, "GB", 1e9), (999.5e12, "TB", 1e12))


def size(bytes_: float | None) -> str:
    """An amount of bytes with its unit, in 6 cells: 512 B, 61 MB, 1.2 GB."""
    if bytes_ is None or not 0 <= bytes_ < _BYTES[-1][0]:
        return DASH
    _, unit, scale = next(step for step in _BYTES if bytes_ < step[0])
    figure = bytes_ / scale
    return f"{figure:.1f} {unit}" if scale > 1 and figure < 9.95 else f"{figure:.0f} {unit}"


def _figure(value: float, width: int, digits: int = 0) -> str:
    return number(f"{value:.{digits}f}" if 0 <= value < 1e5 else DASH, width)


def _ms(value: float) -> str:
    """Milliseconds where tenths matter, in 6 cells."""
    return number(f"{value:.1f}ms" if 0 <= value < 99.95 else age(value), 6)


# One feed in detail.

NAME: Final = 14
SAID_KEPT: Final = 40


def detail_lines(place: Place, machinery: Machinery, width: int) -> list[Line]:
    """Everything that is known of a row: its connection, its stream, the last messages, and what the venue said."""
    link = next((link for link in machinery.view.links if link.slot == place.slot), None)
    return list(_detail(place, link, machinery, width))


def _detail(place: Place, link: LinkView | None, machinery: Machinery, width: int) -> Iterator[Line]:
    if place.trouble is not None:
        yield from _facts(
            (("market", " ".join(place.trouble)), ("no list", machinery.trouble.get(place.trouble, "listed now"))), width
        )
    elif link is None:
        yield from _facts((("connection", "none carries it now"),), width)
    else:
        yield from _facts(_link_facts(link, machinery), width)
    if place.stream is not None:
        yield _heading("THE STREAM", width)
        yield from _facts(_stream_facts(place.stream, link, machinery), width)
    if link is not None:
        yield _heading("LAST MESSAGES  newest first, cleaned, cut at 160 characters", width)
        nothing = "a recording keeps them in its files" if machinery.recorded else "none since it was opened"
        yield from _log(reversed(link.raw), width, nothing)
    about = {link.venue, link.slot} if link is not None else set(place.trouble or ())
    said = [each for each in reversed(machinery.view.said) if not about or any(word in each[1] for word in about)]
    yield _heading("WHAT WAS SAID  newest first", width)
    yield from _log(said[:SAID_KEPT], width, "nothing")


def _link_facts(link: LinkView, machinery: Machinery) -> Iterator[tuple[str, str]]:
    now = machinery.view.now_ns
    live = not machinery.recorded
    yield "connection", link.slot
    yield "host", link.host or DASH
    yield "state", f"{LINK_STATES[link.state][0]} {link.state}  {since_text(link, now)}"
    yield "why", reason_text(link) or DASH
    yield "opened", f"{moment(link.opened_ns)} UTC" if link.opened_ns else DASH
    yield "next", next_text(link, machinery)
    yield (
        "reconnects",
        f"{count(link.reconnects)} so far, {_plural(link.connects_left, 'connect')} left in this minute" if live else DASH,
    )
    yield "carried", f"{_plural(link.streams, 'stream')}, {_plural(link.frames, 'message')}, {size(link.bytes) if live else DASH}"
    yield "last message", f"{age((now - link.last_ns) / MS)} ago" if link.last_ns else DASH


def _stream_facts(stream: Stream, link: LinkView | None, machinery: Machinery) -> Iterator[tuple[str, str]]:
    market = machinery.markets.get(stream.instrument)
    health = machinery.health.get(stream)
    yield "stream", f"{name_of(stream.instrument, machinery)} {stream.channel}"
    yield "instrument", f"{stream.instrument}{f', at the venue {market[0].native}' if market is not None else ''}"
    yield "state", state_of(stream, health, link, machinery)[0]
    if stream.channel is Channel.BOOK and market is not None:
        yield "book last fell", market[1].reason or DASH
    if health is None:
        return
    share = f", late {health.late_share:.0%} of the time" if isfinite(health.late_share) else ""
    error = f" ± {age(health.lag_error_ms)}" if isfinite(health.lag_error_ms) else ""
    rates = f"{count(health.frames_per_s)} msg/s, {quantity(health.bytes_per_s / 1e3)} kB/s"
    yield "rate", f"{rates}, {_plural(health.frames, 'message')} so far"
    up = link is not None and link.opened_ns > 0
    now_text, late_text = (f"{lag_text(health.lag_ms)}{error}", lateness(health.late_ms)) if up else (DASH, DASH)
    yield "lag", f"{now_text}, p50 {age(health.p50_ms)}, p99 {age(health.p99_ms)}"
    yield "lateness", f"{late_text} against its own median{share}"
    yield "faults", f"{_plural(health.gaps, 'gap')}, {_plural(health.resyncs, 'resync')}"
    yield "messages", f"{count(health.quarantined)} refused, {count(health.ignored)} ignored"
    yield "silence", f"{silence(health, machinery)} now, {age(health.slowest_gap_ms)} at most"


def _heading(text: str, width: int) -> Line:
    return pad(Line(((f" {text}", "head"),)), width)


def _facts(facts: Iterable[tuple[str, str]], width: int) -> Iterator[Line]:
    for name, text in facts:
        first, *rest = wrapped(text, width - NAME - 2)
        yield pad(Line(((f" {fit(name, NAME)} ", "dim"), (first, "text"))), width)
        for more in rest:
            yield pad(Line(((" " * (NAME + 2), "dim"), (more, "text"))), width)
    yield pad(Line(()), width)


def _log(entries: Iterable[tuple[Ns, str]], width: int, nothing: str) -> Iterator[Line]:
    empty = True
    for at, text in entries:
        empty = False
        first, *rest = wrapped(text, width - NAME - 2)
        yield pad(Line(((f" {fit(clock(at, 3), NAME)} ", "dim"), (first, "text"))), width)
        for more in rest:
            yield pad(Line(((" " * (NAME + 2), "dim"), (more, "text"))), width)
    if empty:
        yield pad(Line(((f" {nothing}", "dim"),)), width)
    yield pad(Line(()), width)


def wrapped(text: str, width: int) -> list[str]:
    """The plain text in pieces of at most `width` cells, broken anywhere: it is shown as it came."""
    pieces, piece, taken = [], "", 0
    for character in plain(text):
        own = cells(character)
        if taken + own > max(width, 2):
            pieces.append(piece)
            piece, taken = "", 0
        piece += character
        taken += own
    return [*pieces, piece]
