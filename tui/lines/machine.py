"""Request limits, clocks, and what this process costs, as lines (terminal-ui.md 5.5).

What is not known is `—`. Nothing here asks or measures.
"""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Final

from msgspec import Struct

from feeds.links import Breaker, ClockView, PoolView
from feeds.model import MS, Ns
from tui.formats import DASH, age, count, countdown, data_size, duration, lateness
from tui.line import Line, Span, cells, fit, join, number, pad, plain
from tui.lines.feeds import RECORDED, Machinery, fault
from tui.process import Cost
from tui.table import Column, Layout, fit_columns

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

BREAKERS: Final[Mapping[Breaker, tuple[str, str]]] = {
    Breaker.CLOSED: ("● closed", "good"),
    Breaker.HALF_OPEN: ("◐ half open", "warn"),
    Breaker.OPEN: ("○ open", "crit"),
}


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
    return [layout.head, *(rows or [pad(Line(((f" {nothing}", "dim"),)), width)])]


def clock_lines(machinery: Machinery, width: int) -> list[Line]:
    """A line a clock; also of those that are not known."""
    view = machinery.view
    layout = fit_columns(CLOCK_COLUMNS, width)
    known = {(link.venue, link.market): None for link in view.links} | dict.fromkeys(view.clocks)
    return [layout.head, *(_clock_line(layout, place, view.clocks.get(place)) for place in sorted(known))]


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
        "failed": fault(pool.failed),
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
        ("process", f"{cpu} · {number(data_size(cost.rss_bytes), 6)}, peak {data_size(cost.peak_bytes)}"),
        ("", f"{held} · up {duration(cost.up_ms)}"),
        ("loop lag", f"p50 {_ms(cost.lag_p50_ms)} · p99 {_ms(cost.lag_p99_ms)} · most {_ms(cost.lag_max_ms)} in 60 s"),
        ("frames", f"{share} · last {_ms(terminal.frame_ms)}"),
        ("terminal", where),
        ("", f"{number(data_size(terminal.bytes_per_s), 6)}/s out · {number(data_size(terminal.waiting_bytes), 6)} waiting"),
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
    return f"● {number(data_size(recording.bytes), 7)} in {lasted:<6} → {recording.directory}"


def _figure(value: float, width: int, digits: int = 0) -> str:
    return number(f"{value:.{digits}f}" if 0 <= value < 1e5 else DASH, width)


def _ms(value: float) -> str:
    """Milliseconds where tenths matter, in 6 cells."""
    return number(f"{value:.1f}ms" if 0 <= value < 99.95 else age(value), 6)
