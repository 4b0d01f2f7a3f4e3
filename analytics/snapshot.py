"""What a screen, a line of JSON or a test may see of the engine: frozen values of one instant (DESIGN 3).

Numbers are as exact as the engine has them; `None` is "no value", and stands wherever a book is not SYNCED, a link is not alive
or a statistic is not warm. Age and reason stand beside the figures. Making text of them is the reader's business.
"""

from collections.abc import Sequence

from msgspec import Struct

from analytics.alert import Alert
from analytics.fx import FxRate
from analytics.ladder import AxisView, LadderQuery
from analytics.tracker import Episode
from feeds.model import Aggressor, Instrument, InstrumentId, Ns

Levels = tuple[tuple[float, float], ...]
History = tuple[tuple[Ns, float], ...]
"""(boundary, bp) of a series on the 1 s grid, oldest first; a gap has no entry."""


class View(Struct, frozen=True):
    """What is looked at: costs depend on it, not on the message rate.

    Empty `instruments`, `routes` or `pairs` means all of them, the pairs being those of `instruments`; None means none at all.
    """

    instruments: tuple[InstrumentId, ...] = ()
    depth: int = 0
    """Levels a side of each book; 0 leaves the books out."""
    sums: bool = True
    """Add up what each book holds within `DEPTH_BPS` of mid."""
    routes: tuple[str, ...] | None = ()
    exits: bool = False
    """Walk each route's way out and its executable size as well."""
    details: bool = False
    """Tell of each route what it is made of and what became of it so far."""
    size_usd: float | None = None
    """What a leg is worth for the routes of this view; None is the configured size, 0 the touch."""
    pairs: tuple[str, ...] | None = ()
    own_spot: bool = False
    """Of the pairs, only those of a derivative with a spot market of its own venue."""
    window_s: int = 0
    """Seconds of history to tell of markets; 0 leaves it out."""
    pair_window_s: int = 0
    """The same of pairs."""
    ladder: LadderQuery | None = None
    tape: int = 0
    """How many large prints, of `instruments`."""


class BookView(Struct, frozen=True):
    """Levels best first, sizes in the venue's unit; fewer than asked for where the book holds no more."""

    instrument: InstrumentId
    bids: Levels
    asks: Levels


class MarketView(Struct, frozen=True, kw_only=True):
    """One market. Prices in quote units, sizes in the venue's unit, depths in quote units within the stated bp of mid."""

    instrument: InstrumentId
    facts: Instrument
    native: str
    refused: str
    """Why it may not be believed now (`fitness.leg_refusal`); empty when it may."""
    link: str
    book: str
    reason: str
    """Why the book last fell."""
    age_ms: float | None
    """Since the book last changed."""
    pulse_ms: float | None
    """Since the connection last said anything."""
    late_ms: float | None
    lag_ms: float | None
    """None: unknown."""
    bid: float | None
    bid_size: float | None
    ask: float | None
    ask_size: float | None
    mid: float | None
    spread_bps: float | None
    micro: float | None
    """Size-weighted price of the touch."""
    depth_quote: dict[str, tuple[float, float]]
    """Band in bp -> quote units of bids and asks within it, of the book as it stands; empty while it may not be believed."""
    depth_reach_bps: tuple[float, ...]
    """How far from mid the last bid and the last ask of the book lie: bands beyond hold at least so much. Empty as above."""
    imbalance: float | None
    mark: float | None
    index: float | None
    mark_index_bps: float | None
    """Of mark and index as they are now, not of the grid's last sample."""
    mark_index_z: float | None
    """Of the last sample, while it is new enough and there is a spread at all."""
    mark_index_n: int
    """Samples behind it."""
    mark_index_history: History
    mechanical_bps: float | None
    """The part of mark-index that the funding rate alone makes until it is paid."""
    residual_bps: float | None
    """mark-index without it."""
    badge: str
    """`MECH` where next to nothing is left: the spread says what funding says, and no more."""
    premium_bps: float | None
    premium_z: float | None
    premium_n: int
    """Samples behind it."""
    premium_history: History
    funding_rate: float | None
    """Fraction per interval; positive when longs pay."""
    funding_interval_s: int | None
    funding_next_ns: Ns | None
    open_interest: float | None
    last_price: float | None
    """Of the last print that was no block trade."""
    last_size: float | None
    last_aggressor: Aggressor | None
    last_ns: Ns | None
    """When it was received."""
    assumed: bool


class PairView(Struct, frozen=True, kw_only=True):
    """The basis of a pair on its axis, of the books as they stand; its statistics are those of the 1 s grid."""

    pair: str
    other: InstrumentId
    reference: InstrumentId
    axis: str
    basis_bps: float | None
    mean_bps: float | None
    sd_bps: float | None
    z: float | None
    n: int
    signal: str | None
    """Class of the z-score; None on the RAW axis and before it is warm."""
    history: History


class RouteDetail(Struct, frozen=True, kw_only=True):
    """What a route's figures are made of, in bp; and its past."""

    buy_price: float | None
    sell_price: float | None
    """Average prices at size, in quote units."""
    buy_fee_bps: float | None
    sell_fee_bps: float | None
    """All that the leg pays: once, or twice where it has to be unwound."""
    fills: int
    """Fills of each leg that these are."""
    out_bps: float | None
    fx_bps: float | None = None
    """What a conversion takes: its cost, and twice the uncertainty of its rates; None where nothing is converted."""
    rates: tuple[FxRate, ...] = ()
    """By which it is converted."""
    nearest_bps: float | None
    """The best edge that passed every guard so far."""
    nearest_ns: Ns
    refusals: tuple[tuple[str, int], ...]
    """Boundaries at which the touch looked open and a guard said no, by reason, the most frequent first."""


class RouteView(Struct, frozen=True, kw_only=True):
    """A route at size. `edge_bps` is `in - fees`, less what a conversion takes: what opens an episode, and, while neither funding
    nor borrowing is counted, the exit cost at which the trade breaks even (desk 6.1); `bailout_bps` is what going in and out now
    leaves.
    """

    route: str
    buy: InstrumentId
    sell: InstrumentId
    kind: str
    axis: str
    in_bps: float | None
    fees_bps: float | None
    edge_bps: float | None
    fresh_bps: float | None = None
    """The part of the edge that the marks do not carry, after the same fees; None where marks do not split it."""
    bailout_bps: float | None
    base: float | None
    executable_base: float | None
    binding: str | None
    refused: str
    """Why it may not be believed now; empty when it may."""
    episode: Episode | None
    detail: RouteDetail | None


class Print(Struct, frozen=True, gc=False):
    """A large trade; `block` ones did not touch the book."""

    instrument: InstrumentId
    recv_ns: Ns
    price: float
    size_base: float
    notional_quote: float
    aggressor: Aggressor
    block: bool


class Snapshot(Struct, frozen=True, kw_only=True):
    """One instant: books, best quotes, depths and bases are of the moment, z-scores of the last second of the grid."""

    now_ns: Ns
    markets: tuple[MarketView, ...]
    books: tuple[BookView, ...]
    pairs: tuple[PairView, ...]
    routes: tuple[RouteView, ...]
    alerts: tuple[Alert, ...]
    """Those firing now, oldest first."""
    axes: tuple[AxisView, ...]
    tape: tuple[Print, ...]
    """Newest first."""
    fx: tuple[FxRate, ...] = ()
    """What each stablecoin is worth, to convert by; `usd` is nan where nothing may be converted."""


def known(value: float) -> float | None:
    """nan and infinities as None: what is not known is not a number."""
    return value if value - value == 0.0 else None


def wanted(name: str, names: Sequence[str] | None) -> bool:
    """Whether a view's list asks for `name`; an empty list asks for everything, None for nothing."""
    return names is not None and (not names or name in names)
