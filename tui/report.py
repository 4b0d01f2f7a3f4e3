"""What a headless run says at its end: per market, pair and route, with every figure's unit; as text and as JSON.

A figure that is not known is None (`null`, `—`), never 0. The last z of a series carries its time, since it is not one of now.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from analytics.alert import Alert
from analytics.basis import Pair
from analytics.engine import Engine
from analytics.market import Market
from analytics.routes import Axis, Route, RouteKind
from analytics.snapshot import known
from analytics.statistic import Statistic
from analytics.tracker import PROBES_MS, Episode
from feeds.health import StreamHealth
from feeds.hub import Hub
from feeds.model import MS, SECOND, Channel, LinkState, Ns, Stream
from feeds.recording import Recording

DASH = "—"


class SeriesReport(Struct, frozen=True, kw_only=True):
    """A series on the 1 s grid over its last window: bp, and the last z with its time."""

    name: str
    label: str
    """`RAW` where two quotes stand against each other unconverted."""
    n: int
    mean_bps: float | None
    sd_bps: float | None
    z: float | None
    z_utc: str | None


class MarketReport(Struct, frozen=True, kw_only=True):
    market: str
    assumed: bool
    """Its contract facts come from the shipped list, not from the venue."""
    frames: int
    gaps: int
    resyncs: int
    quarantined: int
    book: str
    reason: str
    last_utc: str | None
    """Its last frame, of any stream."""
    lag_ms: float | None
    """None: unknown, no clock probe."""
    late_share: float | None
    mark_index: SeriesReport | None
    premium: SeriesReport | None


class StreamReport(Struct, frozen=True, kw_only=True):
    """One channel of a market over the whole run."""

    market: str
    channel: str
    frames: int
    frames_per_s: float | None
    bytes: int
    gaps: int
    quarantined: int
    ignored: int
    longest_silence_ms: float


class EpisodeReport(Struct, frozen=True, kw_only=True):
    route: str
    kind: str
    opened_utc: str
    closed_utc: str | None
    duration_s: float | None
    reason: str
    open_edge_bps: float
    peak_edge_bps: float
    mean_edge_bps: float | None
    base: float
    edge_after_ms: dict[str, float]


class RouteReport(Struct, frozen=True, kw_only=True):
    """A route's best moment that passed every guard, and what it was refused for while its touch looked open."""

    route: str
    axis: str
    fees_bps: float | None
    nearest_edge_bps: float | None
    nearest_in_bps: float | None
    nearest_utc: str | None
    refused: dict[str, int]
    """Boundaries at which the touch looked open and the route was refused, by reason."""
    why: str
    """Why it was refused when last judged."""


class Report(Struct, frozen=True, kw_only=True):
    """One headless run."""

    source: str
    from_utc: str | None
    to_utc: str | None
    records: int
    frames: int
    gaps: int
    ignored: int
    quarantined: int
    fees: str
    size_usd: float
    open_bp: float
    close_bp: float
    window: int
    """Samples of 1 s that mean, sd and z are of, at most."""
    z_mode: str
    markets: list[MarketReport]
    streams: list[StreamReport]
    pairs: list[SeriesReport]
    routes: list[RouteReport]
    nearest: RouteReport | None
    episodes: list[EpisodeReport]
    alerts: dict[str, int]
    """Episodes by rule; enabled rules that never fired are there with 0."""
    alerts_open: int
    alerts_lost: int
    """Records of the alert log that could not be written; 0 without `--state`."""
    notes: list[str]
    """Damage in the recording, what venues said, quarantined frames."""

    def text(self) -> str:
        """For people: fixed columns, units in the heads."""
        lines = [
            f"{self.source}  {self.from_utc or DASH} to {self.to_utc or DASH}",
            f"{self.frames:,} frames, {self.gaps} gaps, {self.quarantined} quarantined, {self.ignored:,} not asked for",
            f"fees {self.fees}, size {_dollars(self.size_usd)}, open {self.open_bp:g} bp, close {self.close_bp:g} bp",
            "",
        ]
        within_a_day = self.to_utc is not None and self.from_utc is not None and _same_day(self.from_utc, self.to_utc)

        def clock(at: str | None) -> str:
            """A time of the run: without its date where the head says it all."""
            return DASH if at is None else at[11:] if within_a_day else at

        heads = ("market", "frames", "gaps", "last frame", "book at end", "lag", "late")
        rows = [
            (
                f"{m.market}{' (assumed)' if m.assumed else ''}",
                f"{m.frames:,}",
                str(m.gaps),
                clock(m.last_utc),
                f"{m.book}{f' ({m.reason})' if m.reason else ''}",
                "unknown" if m.lag_ms is None else f"{m.lag_ms:.0f} ms",
                DASH if m.late_share is None else f"{m.late_share:.2%}",
            )
            for m in self.markets
        ]
        lines += _table(heads, rows)
        series = [*self.pairs, *(s for m in self.markets for s in (m.mark_index, m.premium) if s is not None)]
        if series:
            heads = ("series, 1 s grid", "axis", f"n of {self.window}", "mean bp", "sd bp", f"last z ({self.z_mode})", "at")
            figures = [
                (s.name, s.label, str(s.n), _bp(s.mean_bps), _figure(s.sd_bps, ".2f"), _figure(s.z, "+.2f"), clock(s.z_utc))
                for s in series
            ]
            lines += ["", *_table(heads, figures)]
        if self.routes:
            heads = ("route", "axis", "fees bp", "best edge bp", "in bp", "at", "refused")
            figures = [
                (
                    r.route,
                    r.axis,
                    _figure(r.fees_bps, ".2f"),
                    _bp(r.nearest_edge_bps),
                    _bp(r.nearest_in_bps),
                    clock(r.nearest_utc),
                    " ".join(f"{why} {count}" for why, count in r.refused.items()) or (DASH if r.nearest_utc else r.why),
                )
                for r in self.routes
            ]
            lines += ["", *_table(heads, figures)]
        if self.episodes:
            spans = [
                (
                    e.route,
                    e.kind,
                    clock(e.opened_utc),
                    DASH if e.duration_s is None else f"{e.duration_s:.1f} s",
                    _bp(e.open_edge_bps),
                    _bp(e.peak_edge_bps),
                    (e.reason or "open") + (", not alerted: no mark" if e.kind == RouteKind.UNSPLIT else ""),
                )
                for e in self.episodes
            ]
            lines += ["", *_table(("episode", "class", "opened", "lasted", "open bp", "peak bp", "end"), spans)]
        elif self.nearest is not None:
            lines += ["", f"no route episode; nearest: {self.nearest.route} {_bp(self.nearest.nearest_edge_bps)} bp"]
        else:
            lines += ["", "no route episode"]
        fired = ", ".join(f"{rule} {count}" for rule, count in self.alerts.items()) or "no rule"
        lines += [f"alerts: {fired}" + (f" ({self.alerts_open} still open)" if self.alerts_open else "")]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def make_report(
    recording: Recording,
    hub: Hub,
    engine: Engine,
    records: int,
    alerts: Sequence[Alert],
    *,
    from_ns: Ns = 0,
    said: Sequence[str] = (),
    lost: int = 0,
) -> Report:
    """The state of a finished run as a report.

    Args:
        from_ns: where the run began, if not at the recording's start.
        said: notes of others, such as the alert log's.
        lost: alert records that are on no disk.
    """
    routes = [_route(route) for route in engine.routes.values()]
    reachable = [route for route in routes if route.nearest_edge_bps is not None]
    fees = engine.settings.fees
    label = {"vip0": "VIP0 taker", "none": "none"}[fees.tier] + (" with your own rates" if fees.taker_bps else "")
    fired = Counter(dict.fromkeys(engine.alerts.fired, 0))
    fired.update(alert.rule for alert in alerts)
    notes = [*recording.damage, *(text for _at, text in hub.health.said), *said]
    notes += [f"{utc(bad.at_ns)} {bad.conn}: frame refused: {bad.reason}" for bad in hub.quarantine]
    notes += [
        f"{market.id}: its book was never in sequence, no snapshot met its updates"
        for market in engine.markets.values()
        if market.book is None and any(s.instrument == market.id and s.channel is Channel.BOOK for s in hub.health.streams)
    ]
    notes += [f"rule {rule.id}: nothing here is called {rule.scope}" for rule in engine.unmatched_rules()]
    if not records:
        notes.append("nothing was recorded")
    elif hub.connections:
        notes.append("the recording ends without closing its connections: it was cut off, or is still being written")
    return Report(
        source=recording.path.name,
        from_utc=utc(from_ns or recording.start_ns) if records else None,
        to_utc=utc(recording.end_ns) if records else None,
        records=records,
        frames=hub.frames,
        gaps=sum(stream.gaps for stream in hub.health.streams.values()),
        ignored=hub.health.ignored,
        quarantined=hub.quarantined,
        fees=label + ("" if fees.confirmed or fees.tier == "none" else ", unconfirmed"),
        size_usd=engine.settings.size.default,
        open_bp=engine.settings.arb.open_bp,
        close_bp=engine.settings.arb.close_bp,
        window=engine.settings.z.window,
        z_mode=engine.settings.z.mode,
        markets=[_market(market, hub) for market in engine.markets.values()],
        streams=[
            _stream(stream, health, recording.end_ns - (from_ns or recording.start_ns))
            for stream, health in sorted(hub.health.streams.items())
        ],
        pairs=[_pair(pair) for pair in engine.pairs.values()],
        routes=routes,
        nearest=max(reachable, key=lambda route: route.nearest_edge_bps or -1e9) if reachable else None,
        episodes=[_episode(episode) for episode in engine.episodes],
        alerts=dict(fired),
        alerts_open=len(engine.alerts.open),
        alerts_lost=lost,
        notes=notes,
    )


def utc(at: Ns) -> str:
    """`2024-08-08T23:58:00.123Z`."""
    whole = datetime.fromtimestamp(at // SECOND, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{at % SECOND // MS:03d}Z"


def _market(market: Market, hub: Hub) -> MarketReport:
    own = [health for stream, health in hub.health.streams.items() if stream.instrument == market.id]
    leg = hub.health.legs.get(market.id)
    book = hub.health.streams.get(Stream(market.id, Channel.BOOK))
    status = market.last_status if market.status.link is LinkState.CLOSED else market.status
    return MarketReport(
        market=market.id,
        assumed=market.instrument.assumed,
        frames=sum(health.frames for health in own),
        gaps=book.gaps if book is not None else 0,
        resyncs=book.resyncs if book is not None else 0,
        quarantined=sum(health.quarantined for health in own),
        book=str(status.book),
        reason=status.reason,
        last_utc=utc(last_ns) if (last_ns := max((health.last_ns for health in own), default=0)) else None,
        lag_ms=known(leg.lag_ns / MS) if leg is not None else None,
        late_share=known(leg.late_share) if leg is not None else None,
        mark_index=_series(market.mark_index, f"{market.id} mark - index", "own index"),
        premium=_series(market.premium, f"{market.id} impact mid - index", "own index"),
    )


def _stream(stream: Stream, health: StreamHealth, span_ns: Ns) -> StreamReport:
    seconds = span_ns / SECOND
    return StreamReport(
        market=stream.instrument,
        channel=str(stream.channel),
        frames=health.frames,
        frames_per_s=health.frames / seconds if seconds else None,
        bytes=health.bytes,
        gaps=health.gaps,
        quarantined=health.quarantined,
        ignored=health.ignored,
        longest_silence_ms=health.slowest_ns / MS,
    )


def _pair(pair: Pair) -> SeriesReport:
    label = str(pair.axis) if pair.axis is not None else DASH
    found = _series(pair.statistic, pair.id, label)
    return found or SeriesReport(name=pair.id, label=label, n=0, mean_bps=None, sd_bps=None, z=None, z_utc=None)


def _series(statistic: Statistic, name: str, label: str) -> SeriesReport | None:
    if not statistic.n:
        return None
    return SeriesReport(
        name=name,
        label=label,
        n=statistic.n,
        mean_bps=known(statistic.mean),
        sd_bps=known(statistic.sd),
        z=known(statistic.last_z),
        z_utc=utc(statistic.z_ns) if statistic.z_ns else None,
    )


def _route(route: Route) -> RouteReport:
    return RouteReport(
        route=route.id,
        axis=str(route.axis),
        fees_bps=known(route.fees_bps),
        nearest_edge_bps=route.nearest.edge_bps if route.nearest is not None else None,
        nearest_in_bps=route.nearest.in_bps if route.nearest is not None else None,
        nearest_utc=utc(route.nearest_ns) if route.nearest_ns else None,
        refused=dict(route.refusals),
        why=route.last_reason if route.axis is not Axis.RAW else "quote",
    )


def _episode(episode: Episode) -> EpisodeReport:
    closed = episode.closed_ns
    return EpisodeReport(
        route=episode.route,
        kind=episode.kind,
        opened_utc=utc(episode.opened_ns),
        closed_utc=utc(closed) if closed else None,
        duration_s=(closed - episode.opened_ns) / SECOND if closed else None,
        reason=episode.reason,
        open_edge_bps=episode.opened.edge_bps,
        peak_edge_bps=episode.peak.edge_bps,
        mean_edge_bps=known(episode.mean_edge_bps),
        base=episode.opened.base,
        edge_after_ms={str(ms): edge for ms, edge in zip(PROBES_MS, episode.probes_bps, strict=False)},
    )


def _same_day(begun: str, ended: str) -> bool:
    """Whether a time of day says which of the run's moments is meant."""
    return datetime.fromisoformat(ended) - datetime.fromisoformat(begun) < timedelta(days=1)


def _figure(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form).replace("-", "−")


def _bp(value: float | None) -> str:
    return _figure(value, "+.2f")


def _dollars(value: float) -> str:
    return f"${value:,.0f} a leg" if value else "the touch"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; the first to the left, the rest to the right."""
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    return [
        "  ".join(
            cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    ]
