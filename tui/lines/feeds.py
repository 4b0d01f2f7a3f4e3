"""The machinery as lines: connections with their streams.

A row a stream under the row of its connection. What is not known is `—`; a connection's state is a sign and a word. Nothing here
asks or measures: `Machinery` is one moment of it, taken by the screen (terminal-ui.md 5.5).
"""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import Final, NamedTuple

from msgspec import Struct

from feeds.health import Health
from feeds.links import FeedsView, LinkView
from feeds.model import MS, SECOND, BookState, Channel, Instrument, InstrumentId, LinkState, Ns, Status, Stream
from tui.formats import DASH, age, count, countdown, data_size, duration, lateness, plural, quantity
from tui.line import Line
from tui.names import market_name
from tui.sparkline import Style, sparkline
from tui.table import Column, fit_columns

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
        "60 s of msg/s",
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
    shut: Collection[tuple[str, str]] = ()
    """Those of them that are closed for good."""
    recorded: bool = False
    """A recording tells neither budgets nor attempts."""


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
            state = trouble_state(place.trouble, self._machinery)
            told = {"slot": (" ".join(place.trouble), "title"), "state": state, "where": (why, "warn")}
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
        up = link is not None and link.opened_ns > 0 and link.state is not LinkState.DOWN
        found |= {
            "rate": (count(health.frames_per_s), "text"),
            "bytes": (quantity(health.bytes_per_s / 1e3), "dim"),
            "lag": (lag_text(health.lag_ms) if up else DASH, "text"),
            "late": (lateness(health.late_ms) if up else DASH, "dim"),
            "p50": (age(health.p50_ms), "dim"),
            "p99": (age(health.p99_ms), "text"),
            "gaps": fault(health.gaps),
            "resyncs": (count(health.resyncs), "dim"),
            "refused": fault(health.quarantined),
            "last": (silence(health, machinery), "text"),
        }
        if self.streams.has("line"):
            rates = self._rates.get(stream, ())
            found["line"] = (sparkline(rates, machinery.health_ns, SPARK_S, SPARK_CELLS, self._spark, lo=0.0), "dim")
        return found


def trouble_state(market: tuple[str, str], machinery: Machinery) -> tuple[str, str]:
    """Sign and word of a market without instruments."""
    if market in machinery.shut:
        sign, role = LINK_STATES[LinkState.CLOSED]
        return f"{sign} {LinkState.CLOSED}", role
    return "○ no list", "crit"


def fault(number_: int) -> tuple[str, str]:
    """A count of what ought not to happen, and its role."""
    return count(number_), "warn" if number_ else "dim"


def lag_text(ms: float) -> str:
    """A lag. One below 0 is known, and says that the clock's offset is wrong: it keeps its sign."""
    return lateness(ms) if ms < -0.5 else age(ms)


def silence(health: Health, machinery: Machinery) -> str:
    """How long a stream had said nothing when that was last looked at."""
    return age((machinery.health_ns - health.last_ns) / MS) if 0 < health.last_ns <= machinery.health_ns else DASH


def state_of(stream: Stream, health: Health | None, link: LinkView | None, machinery: Machinery) -> tuple[str, str]:
    """Sign and word of one stream."""
    if link is None or not link.opened_ns or link.state is LinkState.DOWN:
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
        "reconnects": (plural(link.reconnects, "reconnect"), "dim"),
        "budget": (f"{plural(link.connects_left, 'connect')} left/min", "dim" if link.connects_left else "warn"),
        "where": (reason_text(link), "warn") if troubled else (link.host, "dim"),
    }


def since_text(link: LinkView, now: Ns) -> str:
    """How long it has been up, or in the state that it is in."""
    if link.opened_ns and link.state is not LinkState.DOWN:
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
    told = f"{ready} of {len(links)} ready · {plural(streams, 'stream')}"
    return f"FEEDS  {told} · {quantity(sum(rates))} msg/s · {data_size(bytes_)}/s"
