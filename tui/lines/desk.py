"""The home screen's figures as lines: one row a market, the routes closest to money, the latest alerts (desk.md 2 and 3).

Every column is a line of a table with its unit in its title. A market that may not be believed is hollow: its state says why, and
what it cannot vouch for is `—`.
"""

from collections.abc import Mapping
from math import inf
from typing import Final

from analytics.routes import Axis, RouteKind
from analytics.snapshot import History, MarketView, PairView, RouteView, Snapshot
from feeds.model import SECOND, Instrument, InstrumentId, Kind, Ns
from tui.formats import DASH, age, bps, compact, countdown, duration, interval, lateness, percent, price, quantity, rough, z
from tui.line import Line, first_fitting
from tui.names import market_name, route_name
from tui.source import LiveStatus
from tui.sparkline import Style, sparkline
from tui.table import Column, Layout, fit_columns

SPARK_S: Final = 300
"""Seconds that a sparkline spans."""
SPARK_CELLS: Final = 7
TOO_WIDE: Final = 10_000
"""Samples that a column of z-scores has no room for."""
UNUSUAL: Final = 2.0
"""From this z on a figure is drawn to be seen."""

MARKET_COLUMNS: Final = (
    Column("name", "market", 19, "<", 0, most=21, help="venue, kind and pair; ~ its contract facts are assumed"),
    Column("state", "state", 9, "<", 1, help="● believed, with the book's age; ◐ late or silent; ○ no book"),
    Column("bid", "bid", 9, ">", 0, help="best bid, quote currency"),
    Column("ask", "ask", 9, ">", 0, help="best ask, quote currency"),
    Column("spread", "bp", 6, ">", 5, group="sprd", help="ask − bid in bp of mid"),
    Column("depth1", "±1 bp", 11, ">", 9, group="depth $", help="USD of bids/asks within 1 bp of mid; ≥: the book ends before"),
    Column("depth5", "±5 bp", 11, ">", 8, group="depth $", help="USD of bids/asks within 5 bp of mid; ≥: the book ends before"),
    Column(
        "mark",
        "bp",
        6,
        ">",
        1,
        group="mark − index",
        help="mark against the venue's own index; *: only what the funding rate makes of it",
    ),
    Column("mark_z", "z", 5, ">", 2, group="mark − index", help="its z-score; n12: only 12 samples yet, too few for one"),
    Column("mark_line", "last 5m", SPARK_CELLS, "<", 4, group="mark − index", help="its last five minutes"),
    Column("premium", "bp", 6, ">", 3, group="premium", help="the book's price at impact size against the index"),
    Column("premium_z", "z", 5, ">", 4, group="premium", help="its z-score, or how many samples"),
    Column("premium_line", "last 5m", SPARK_CELLS, "<", 6, group="premium", help="its last five minutes"),
    Column(
        "basis",
        "bp",
        10,
        ">",
        1,
        group="basis",
        help="mid against the same venue's spot, now; i: each against its own index; c: converted at the implied rate; "
        "RAW: other quote, not a price difference",
    ),
    Column("basis_z", "z", 5, ">", 3, group="basis", help="z-score of its last sample, once a second"),
    Column("funding", "rate", 9, ">", 2, group="funding", help="rate of the running interval; positive: longs pay"),
    Column("interval", "per", 3, ">", 2, group="funding", help="the interval"),
    Column("next", "in", 5, ">", 4, group="funding", help="time to the next settlement"),
    Column("interest", "OI $", 5, ">", 10, help="open interest, USD, one side"),
    Column(
        "lag",
        "lag",
        6,
        ">",
        6,
        help="from the venue to here; with a sign: against its own median, the clocks' offset being unknown",
    ),
)

ROUTE_COLUMNS: Final = (
    Column("name", "route: buy → sell", 32, "<", 0, most=34, help="buy at the first, sell at the second"),
    Column("legs", "legs", 4, "<", 3, help="state of both legs"),
    Column("in", "in bp", 7, ">", 0, help="sell price over buy price at size, before fees"),
    Column("fees", "fees bp", 7, ">", 0, help="every taker fee: four, or two between spots"),
    Column("edge", "edge bp", 9, ">", 0, help="in − fees: opens an episode; also the exit cost at which the trade breaks even"),
    Column("bail", "bail bp", 8, ">", 4, help="in and out at once, all fees paid"),
    Column("doable", "doable", 8, ">", 5, help="base units that earn their fees now"),
    Column(
        "kind",
        "class",
        11,
        "<",
        6,
        help="LOCKED spot to spot; CONVERGENCE must be unwound; STANDING: carried by the marks, UNSPLIT: no marks, never alerted",
    ),
    Column("verdict", "verdict", 20, "<", 0, grow=True, help="OPEN while an episode runs; else why not"),
)

REASONS: Final[Mapping[str, str]] = {
    "state": "no: book not in sync",
    "shutdown": "no: a source ended",
    "disconnected": "no: a link is down",
    "stale": "no: a leg is stale",
    "age": "no: a leg is silent",
    "late": "no: a leg is late",
    "lag": "no: a leg lags",
    "skew": "no: legs' lags differ",
    "quote": "RAW: no common axis",
    "fees": "no: a fee is unknown",
    "fx": "no: size not in USD",
    "depth": "no: book too thin",
    "size": "no: leg too small",
    "lot": "no: below venue's lot",
    "unit": "no: not plausible",
    "no mark": "no marks: not alerted",
    "stale mark": "mark stale: no alert",
    "mark jump": "mark jumped: no alert",
    "standing": "standing: no alert",
}
"""Refusals by the engine's word for them."""

STATES: Final[Mapping[str, str]] = {"state": "no book", "shutdown": "ended", "disconnected": "down", "age": "silent"}
HOLLOW: Final = frozenset({"state", "shutdown", "disconnected"})


def same_venue_basis(snapshot: Snapshot) -> dict[InstrumentId, PairView]:
    """Each derivative's basis to its own venue's spot; in the same quote where there is one."""
    facts = {market.instrument: market.facts for market in snapshot.markets}
    found: dict[InstrumentId, PairView] = {}
    for pair in snapshot.pairs:
        other, spot = facts.get(pair.other), facts.get(pair.reference)
        if other is None or spot is None or spot.kind is not Kind.SPOT or other.kind is Kind.SPOT or other.venue != spot.venue:
            continue
        if pair.other not in found or other.quote == spot.quote:
            found[pair.other] = pair
    return found


def nothing_listed(status: LiveStatus) -> list[Line]:
    """Said in place of the markets while a live run has none: a line for each that could not be had, or that it is under way."""
    if not status.unlisted:
        return [Line(((" the venues' instruments are being listed", "dim"),))]
    lines = [Line(((f" {text}", "warn"),)) for text in sorted(status.unlisted)]
    return [*lines, Line(((" it is tried again and again; arbtop doctor says what may be wrong", "dim"),))]


def market_table(width: int) -> Layout:
    return fit_columns(MARKET_COLUMNS, width)


def route_table(width: int) -> Layout:
    return fit_columns(ROUTE_COLUMNS, width)


Touch = tuple[float | None, float | None]
JUMP_BPS: Final = 1.0


def jumped(before: Touch | None, market: MarketView) -> bool:
    """Whether the touch has gone a basis point or more since the last frame: worth a look, which every change is not."""
    if before is None or before[0] is None or before[1] is None or market.bid is None or market.ask is None:
        return False
    limit = JUMP_BPS / 1e4
    return abs(market.bid - before[0]) >= limit * market.bid or abs(market.ask - before[1]) >= limit * market.ask


def market_line(
    layout: Layout, market: MarketView, basis: PairView | None, now: Ns, spark: Style, z_from: int, flash: bool = False
) -> Line:
    """One market. `spark` is the style of the sparklines, a z needs `z_from` samples, `flash` marks its touch for this frame."""
    role = "text" if not market.refused else "stale"
    tick = market.facts.tick
    cells = {
        "name": (market_name(market.facts) + ("~" if market.assumed else ""), "title" if not market.refused else "stale"),
        "state": state_of(market),
        "bid": (price(market.bid, tick), "flash" if flash else "bid" if not market.refused else "stale"),
        "ask": (price(market.ask, tick), "flash" if flash else "ask" if not market.refused else "stale"),
        "spread": (quantity(market.spread_bps), role),
        "depth1": (_depth(market, "1"), role),
        "depth5": (_depth(market, "5"), role),
        "mark": (bps(market.mark_index_bps) + ("*" if market.badge else ""), "text"),
        "mark_z": _z(market.mark_index_z, market.mark_index_n, z_from),
        "premium": (bps(market.premium_bps), role),
        "premium_z": _z(market.premium_z, market.premium_n, z_from),
        "funding": (percent(market.funding_rate), "text"),
        "interval": (interval(market.funding_interval_s), "dim"),
        "next": (countdown(market.funding_next_ns - now if market.funding_next_ns is not None else None), "text"),
        "interest": (compact(interest_usd(market)), "text"),
        "lag": lag_of(market),
    }
    if layout.has("mark_line"):
        cells["mark_line"] = (_line(market.mark_index_history, now, spark), "dim")
    if layout.has("premium_line"):
        cells["premium_line"] = (_line(market.premium_history, now, spark), "dim")
    if market.facts.kind is Kind.SPOT:
        cells.update(dict.fromkeys(NOT_OF_SPOT, ("", "dim")))
    elif basis is not None:
        raw = basis.axis == Axis.RAW
        sign = AXIS_SIGNS.get(basis.axis, "{}") if basis.basis_bps is not None else "{}"
        cells["basis"] = (sign.format(bps(basis.basis_bps)), "dim" if raw else "text")
        cells["basis_z"] = (_z(basis.z, basis.n, z_from)[0], "dim") if raw else _z(basis.z, basis.n, z_from)
    return layout.row(cells)


AXIS_SIGNS: Final[Mapping[str, str]] = {Axis.RAW: "RAW {}", Axis.INDEX: "{}i", Axis.CONVERTED: "{}c"}
"""What is not simply a difference of prices says so."""
NOT_OF_SPOT: Final = (
    *("mark", "mark_z", "mark_line", "premium", "premium_z", "premium_line", "basis", "basis_z"),
    *("funding", "interval", "next", "interest"),
)
"""What a spot market does not have: blank, not unknown."""


def state_of(market: MarketView) -> tuple[str, str]:
    """Glyph and word: `●` and the book's age, or why it is not believed."""
    if not market.refused:
        return f"● {_age(market.age_ms)}", "good"
    if market.refused in HOLLOW:
        word = market.reason if market.refused == "state" and market.reason else STATES.get(market.refused, market.refused)
        return f"○ {word}", "crit"
    return f"◐ {STATES.get(market.refused, market.refused)}", "warn"


def _age(ms: float | None) -> str:
    """In tenths of a second, since no eye follows a finer one at ten frames a second."""
    if ms is None:
        return DASH
    return "<0.1s" if ms < 100 else age(ms - ms % 100) if ms >= 1000 else f"{ms // 100 / 10:.1f}s"


def lag_of(market: MarketView) -> tuple[str, str]:
    """Lag, or lateness with a sign where the clocks' offset is unknown."""
    if market.lag_ms is not None:
        return age(market.lag_ms), "text"
    return (lateness(market.late_ms), "dim") if market.late_ms is not None else (DASH, "dim")


def interest_usd(market: MarketView) -> float | None:
    """Open interest in quote units at mark, else at mid."""
    at = market.mark if market.mark is not None else market.mid
    if market.open_interest is None or at is None:
        return None
    return market.facts.to_quote(market.open_interest, at)


def _depth(market: MarketView, band: str) -> str:
    found = market.depth_quote.get(band)
    if found is None:
        return DASH
    if all(reach >= float(band) for reach in market.depth_reach_bps):
        return f"{compact(found[0])}/{compact(found[1])}"
    sides = zip(found, market.depth_reach_bps, strict=True)
    return "/".join(f"{'≥' if reach < float(band) else ''}{rough(amount)}" for amount, reach in sides)


def _z(value: float | None, n: int, least: int) -> tuple[str, str]:
    """A z-score, or how many samples there are while they are too few for one."""
    if value is None and 0 < n < least:
        return f"n{n}" if n < TOO_WIDE else f"n{TOO_WIDE - 1}", "dim"
    return z(value), "title" if value is not None and abs(value) >= UNUSUAL else "text"


def _line(history: History, now: Ns, style: Style) -> str:
    return sparkline(history, now, SPARK_S, SPARK_CELLS, style)


def nearness(route: RouteView) -> float:
    """The less, the nearer to money at size: of a basis that stands only the fresh part counts. What is not known comes last."""
    edge_bps = route.fresh_bps if route.kind == RouteKind.STANDING else route.edge_bps
    return -edge_bps if edge_bps is not None else inf


def route_line(layout: Layout, route: RouteView, facts: Mapping[InstrumentId, MarketView], now: Ns) -> Line:
    """One route at the size of the screen."""
    buy, sell = facts.get(route.buy), facts.get(route.sell)
    name = route_name(buy.facts, sell.facts) if buy is not None and sell is not None else route.route
    edge_role = "text" if route.edge_bps is None else "good" if route.edge_bps > 0 else "bad"
    bail_role = "text" if route.bailout_bps is None else "good" if route.bailout_bps > 0 else "bad"
    cells = {
        "name": (name, "title" if route.episode is not None else "text"),
        "legs": ("".join(state_of(leg)[0][0] if leg is not None else "○" for leg in (buy, sell)), "text"),
        "in": (bps(route.in_bps), "text"),
        "fees": (bps(-route.fees_bps if route.fees_bps is not None else None), "dim"),
        "edge": (bps(route.edge_bps), edge_role),
        "bail": (bps(route.bailout_bps), bail_role),
        "doable": (doable(route, buy.facts if buy is not None else None), "text"),
        "kind": (SHORT.get(route.kind, route.kind) if route.axis != "RAW" else "RAW", "dim"),
        "verdict": verdict(route, now, layout.cells_of("verdict"), funding_carry(buy, sell)),
    }
    return layout.row(cells)


SHORT: Final[Mapping[str, str]] = {RouteKind.STANDING: "STANDING"}
"""A class whose name the column has no room for."""
DAY_S: Final = 86_400


def funding_carry(buy: MarketView | None, sell: MarketView | None) -> float | None:
    """What funding pays whoever is long `buy` and short `sell`, in bp a day at the rates of now; negative: what it costs.

    None without a perpetual, and where a leg, a rate or its interval is not known.
    """
    if buy is None or sell is None:
        return None
    legs = [(leg, sign) for leg, sign in ((buy, -1.0), (sell, 1.0)) if leg.facts.kind is Kind.PERP]
    carry = 0.0
    for leg, sign in legs:
        if leg.funding_rate is None or not leg.funding_interval_s:
            return None
        carry += sign * leg.funding_rate * 1e4 * DAY_S / leg.funding_interval_s
    return carry if legs else None


def doable(route: RouteView, buy: Instrument | None) -> str:
    """Base units that pay now; `—` where nothing does or it is not known."""
    if route.executable_base is None or buy is None:
        return DASH
    return f"{quantity(route.executable_base)} {buy.base}" if route.executable_base else "0"


def verdict(route: RouteView, now: Ns, room: int, carry_bps: float | None) -> tuple[str, str]:
    """What to make of it, in words that need no colour; the peak, or the funding a day, where there is room for all of it."""
    if route.episode is not None and route.episode.kind != RouteKind.UNSPLIT:
        lasted = duration((now - route.episode.opened_ns) / SECOND * 1e3)
        text = f"■ OPEN {lasted}, peak {bps(route.episode.peak.edge_bps)}"
        return text if len(text) <= room else f"■ OPEN {lasted}", "good"
    if route.refused:
        return REASONS.get(route.refused, route.refused), "stale"
    if route.kind == RouteKind.STANDING:
        fresh = f"standing, fresh {bps(route.fresh_bps)}"
        texts = (f"{fresh} bp, funding {bps(carry_bps)} bp/day", fresh) if carry_bps is not None else (f"{fresh} bp", fresh)
        return first_fitting((*texts, "standing basis"), room), "dim"
    if route.edge_bps is not None and route.edge_bps > 0:
        return "above fees, not open yet", "warn"
    return ("no: fees eat it" if route.in_bps is not None and route.in_bps > 0 else "no: price"), "dim"
