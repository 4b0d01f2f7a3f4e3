"""The lifetime of a route's opportunity: prices, peak, and what was left after 50 to 1,000 ms (analytics 8.7).

IDLE until the edge has stood at `open` for the dwell; CLOSED once it has been under `close` for the hold, at the moment it fell,
or at once when a guard fails. Where an edge is split by marks, the fresh part must stand as well, at the same thresholds and in
the same time: what the marks carry is a standing basis and opens nothing (analytics 8.6). A flicker shorter than the hold does
not split an episode; a change of class does, for an episode is of one class.
"""

from math import nan

from msgspec import Struct, structs

from analytics.hysteresis import Hysteresis, Phase
from analytics.settings import Arb, Guards
from feeds.clock import BOUNDARY_NS
from feeds.model import MS, Ns

PROBES_MS = (50, 100, 250, 500, 1_000)


class RouteQuote(Struct, frozen=True, gc=False):
    """A route at one instant: average prices at size, the size in base units, `in` and edge in bp, and what both fees cost.

    `fresh_bps` is the fresh edge, after the same fees as the edge; nan where there is none, which gates nothing. `fx_bps` is what
    a conversion between the legs' quotes takes from both: its cost, and twice the uncertainty of its rate; 0 without one.
    """

    buy_price: float
    sell_price: float
    base: float
    in_bps: float
    fees_bps: float
    edge_bps: float
    fresh_bps: float = nan
    fx_bps: float = 0.0

    @property
    def gate_bps(self) -> float:
        """What opens and closes an episode: the lower one of edge and fresh edge."""
        return self.fresh_bps if self.fresh_bps < self.edge_bps else self.edge_bps


class Episode(Struct, frozen=True, kw_only=True):
    """One opportunity. Times are ns; edges in bp after every fee; `probes_bps` is the edge 50 to 1,000 ms after open.

    `last`, the mean and the updates reach to the moment it closed, which for a collapsed edge is when it fell; the probes go on
    for as long as it was looked at, also below `close`: they ask what was left for a slower hand.
    """

    route: str
    kind: str
    since_ns: Ns
    opened_ns: Ns
    closed_ns: Ns = 0
    reason: str = ""
    """edge_collapsed, fresh_edge_collapsed, stale, late, ..., unsplit or split (another class), shutdown; empty while open."""
    opened: RouteQuote
    peak: RouteQuote
    peak_ns: Ns
    last: RouteQuote
    mean_edge_bps: float = nan
    updates: int = 0
    probes_bps: tuple[float, ...] = ()


class _Open:
    """The open episode, as it grows."""

    __slots__ = (
        "fallen",
        "fallen_reason",
        "integral",
        "kind",
        "last",
        "last_ns",
        "opened",
        "opened_ns",
        "peak",
        "peak_ns",
        "probes",
        "since_ns",
        "updates",
    )

    def __init__(self, now: Ns, since_ns: Ns, quote: RouteQuote, kind: str) -> None:
        self.kind = kind
        self.since_ns = since_ns
        self.opened = self.peak = self.last = quote
        self.opened_ns = self.peak_ns = self.last_ns = now
        self.integral = 0.0
        self.updates = 1
        self.probes: list[float] = []
        self.fallen: Episode | None = None
        """As it stood when an edge last fell under `close`."""
        self.fallen_reason = ""

    def observe(self, now: Ns, quote: RouteQuote) -> None:
        self.fill_probes(now)
        self.integral += self.last.edge_bps * (now - self.last_ns)
        if quote.edge_bps > self.peak.edge_bps:
            self.peak, self.peak_ns = quote, now
        self.last, self.last_ns = quote, now
        self.updates += 1

    def fill_probes(self, now: Ns) -> None:
        """Every probe due before `now` gets the edge that was in force."""
        while len(self.probes) < len(PROBES_MS) and self.opened_ns + PROBES_MS[len(self.probes)] * MS < now:
            self.probes.append(self.last.edge_bps)

    def episode(self, route: str) -> Episode:
        span = self.last_ns - self.opened_ns
        return Episode(
            route=route,
            kind=self.kind,
            since_ns=self.since_ns,
            opened_ns=self.opened_ns,
            opened=self.opened,
            peak=self.peak,
            peak_ns=self.peak_ns,
            last=self.last,
            mean_edge_bps=self.integral / span if span else self.opened.edge_bps,
            updates=self.updates,
            probes_bps=tuple(self.probes),
        )


class Tracker:
    """One route's episodes. Fed at each 100 ms boundary; `observe` takes what happens between two while one is open."""

    __slots__ = ("_close_bp", "_hold", "_kind", "_open", "route")

    def __init__(self, route: str, arb: Arb, guards: Guards) -> None:
        self.route = route
        # a boundary stands for its 100 ms, so a dwell of 300 ms is three of them in a row
        dwell_ns = max(guards.dwell_ms * MS - BOUNDARY_NS, 0)
        self._hold = Hysteresis(arb.open_bp, arb.close_bp, dwell_ns, arb.close_hold_ms * MS, guards.updates)
        self._close_bp = arb.close_bp
        self._open: _Open | None = None
        self._kind = ""

    @property
    def idle(self) -> bool:
        """Neither open nor on the way to it."""
        return self._hold.phase is Phase.INACTIVE

    @property
    def open(self) -> bool:
        return self._open is not None

    def step(self, now: Ns, quote: RouteQuote, kind: str, fresh: bool) -> Episode | None:
        """A boundary at which the route may be believed. Returns the episode when this boundary opened or closed it.

        `kind` is its class now: another one than at the last boundary ends what was open, and a dwell begins anew. `fresh`: the
        quote rests on data that came since the last boundary.
        """
        hold = self._hold
        if kind != self._kind:
            self._kind = kind
            if self._open is not None:
                return self.refuse(now, "split" if quote.fresh_bps == quote.fresh_bps else "unsplit")
            hold.reset()
        if self._open is not None:
            self._open.observe(now, quote)
        hold.step(now, quote.gate_bps, fresh)
        if self._open is not None and hold.fell_ns == now:
            self._open.fallen = self._open.episode(self.route)
            self._open.fallen_reason = "edge_collapsed" if quote.edge_bps < self._close_bp else "fresh_edge_collapsed"
        if self._open is None:
            if not hold.active:
                return None
            self._open = _Open(now, hold.since_ns, quote, kind)
            return self._open.episode(self.route)
        return None if hold.active else self._close(hold.fell_ns, self._open.fallen_reason, self._open.fallen)

    def refuse(self, now: Ns, reason: str) -> Episode | None:
        """A boundary at which it may not be believed: whatever was open closes here. Returns the closed episode."""
        self._hold.reset()
        return self._close(now, reason)

    def observe(self, now: Ns, quote: RouteQuote) -> None:
        """The edge between boundaries: feeds peak, mean and the probes; never opens or closes."""
        if self._open is not None:
            self._open.observe(now, quote)

    @property
    def peak(self) -> tuple[float, Ns]:
        """Best edge of the open episode and when; nan without one."""
        return (self._open.peak.edge_bps, self._open.peak_ns) if self._open is not None else (nan, 0)

    def episode(self) -> Episode | None:
        """The open episode as it stands."""
        return self._open.episode(self.route) if self._open is not None else None

    def _close(self, at: Ns, reason: str, fallen: Episode | None = None) -> Episode | None:
        if self._open is None:
            return None
        self._open.fill_probes(at)
        found = self._open.episode(self.route)
        self._open = None
        return structs.replace(fallen or found, closed_ns=at, reason=reason, probes_bps=found.probes_bps)
