"""One connection or stream in detail, as lines: facts, last messages (redacted) and what befell it (terminal-ui.md 5.5)."""

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Final

from feeds.links import LinkView
from feeds.model import MS, Channel, Ns, Stream
from tui.formats import DASH, age, clock, count, data_size, lateness, moment, plural, quantity
from tui.line import Line, cells, fit, pad, plain
from tui.lines.feeds import (
    LINK_STATES,
    Machinery,
    Place,
    lag_text,
    name_of,
    next_text,
    reason_text,
    silence,
    since_text,
    state_of,
    trouble_state,
)

NAME: Final = 14
SAID_KEPT: Final = 40


def detail_lines(place: Place, machinery: Machinery, width: int) -> list[Line]:
    """Everything that is known of a row: its connection, its stream, the last messages, and what the venue said."""
    link = next((link for link in machinery.view.links if link.slot == place.slot), None)
    return list(_detail(place, link, machinery, width))


def _detail(place: Place, link: LinkView | None, machinery: Machinery, width: int) -> Iterator[Line]:
    if place.trouble is not None:
        why = machinery.trouble.get(place.trouble, "listed now")
        yield from _facts(
            (("market", " ".join(place.trouble)), ("state", trouble_state(place.trouble, machinery)[0]), ("why", why)), width
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
        f"{count(link.reconnects)} so far, {plural(link.connects_left, 'connect')} left in this minute" if live else DASH,
    )
    yield (
        "carried",
        f"{plural(link.streams, 'stream')}, {plural(link.frames, 'message')}, {data_size(link.bytes) if live else DASH}",
    )
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
    yield "rate", f"{rates}, {plural(health.frames, 'message')} so far"
    up = link is not None and link.opened_ns > 0
    now_text, late_text = (f"{lag_text(health.lag_ms)}{error}", lateness(health.late_ms)) if up else (DASH, DASH)
    yield "lag", f"{now_text}, p50 {age(health.p50_ms)}, p99 {age(health.p99_ms)}"
    yield "lateness", f"{late_text} against its own median{share}"
    yield "faults", f"{plural(health.gaps, 'gap')}, {plural(health.resyncs, 'resync')}"
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
