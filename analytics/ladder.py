"""Live ladders of all markets of one base on one price axis (desk F3 and section 3 "2 LADDER"; terminal-ui 5.3).

Row k of an axis stands for the price k * step, or on the INDEX axis for k * step bp above each leg's own index; on the CONVERTED
axis for k * step US dollars, which is another price in each quote. Bids go down to
their row and asks up to theirs: a bid row that is not below another market's ask row is a real cross, and one market's bid row is
always below its ask row, since only levels less than 2e-9 of the price apart could share a row of the grid. With rows rounded to
the nearest, grouping would make crosses of its own.

Pure: what must not jump from one frame to the next (step, centre, the INDEX axis) the caller hands back in as `AxisHold`. Levels
are cut into rows by bisection and summed in C. Drawing, and deciding when to recentre, is the screen's business.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from math import ceil, floor, inf, isclose, isnan, log10, nan
from statistics import median
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from msgspec import Struct

from analytics.batch import Column, Counts
from analytics.market import INDEX_MAX_AGE_NS, Market
from analytics.routes import AXIS_INDEX_AGE_NS, DOLLARS, Axis
from analytics.spread import bps
from analytics.walk import Levels, fill, spend
from feeds.model import Contract, Instrument, InstrumentId, Kind, Ns

Unit: TypeAlias = Literal["quote", "base", "contracts"]
"""What sizes are told in; `contracts` is the venue's own unit."""

TOLERANCE: Final = 1e-9
"""Of the price: a level this near to a row's price lies on it. Prices and rows are binary fractions; ticks are far wider."""
INDEX_STEP_BPS: Final = 0.1
"""The finest step of the INDEX axis, which has no tick."""
ROUND: Final = (1.0, 2.0, 2.5, 5.0)
STICK: Final = 1.1
"""A held step stays until another is nearer to what is wanted by this factor: it cannot flip back and forth as prices wander."""
MOST_DECIMALS: Final = 12
EDGES_KEPT: Final = 64
"""Rows of as many columns as fit on a screen; an axis that stands still has the same ones in each frame."""


class AxisHold(Struct, frozen=True):
    """What an axis looked like in the last frame. `centre` None: follow fair."""

    name: str
    step: float
    centre: int | None = None


class LadderQuery(Struct, frozen=True, kw_only=True):
    """Which ladders, and how. Empty `names` means every market of `base`; otherwise columns stand in the order of `names`."""

    base: str
    rows: int
    group_bps: float = 1.0
    """Wanted height of a row; 0 is the coarsest tick, or 0.1 bp on the INDEX axis."""
    unit: Unit = "quote"
    prefer: Axis | None = None
    """INDEX: even for a single quote, where every index is fresh. PRICE: prices, converted where they are in several quotes and
    the rates are known. None: as desk F3 has it."""
    held: tuple[AxisHold, ...] = ()
    cursor: tuple[InstrumentId, int] | None = None
    """A market and a row number."""
    size_usd: float = 0.0
    """Whose end in each book is marked; 0 marks nothing."""
    names: tuple[InstrumentId, ...] = ()


class LadderColumn(Struct, frozen=True, kw_only=True):
    """One market. `bids` and `asks` say what rests in each row, top row first, 0.0 for nothing; rows have the axis's numbers."""

    instrument: InstrumentId
    hollow: bool
    """No book that may be read on this axis: no sums, no rows."""
    bids: tuple[float, ...]
    asks: tuple[float, ...]
    bids_above: float = 0.0
    asks_below: float = 0.0
    """What rests between the touch and the rows, where the rows have been moved away from it."""
    deepest_bid_row: int | None = None
    deepest_ask_row: int | None = None
    """Of the last level that the book holds: what lies beyond is not known. None: nothing is known of the side."""
    bid: float | None
    """The raw best prices, in quote units on either axis."""
    ask: float | None
    bid_row: int | None = None
    ask_row: int | None = None
    last_row: int | None = None
    """Of the last print, on the side that it hit."""
    mine_bid_row: int | None = None
    """Where an order of `size_usd` sold into the bids would end; None where they do not hold it, or are not in dollars."""
    mine_ask_row: int | None = None


class CursorView(Struct, frozen=True, kw_only=True):
    """What stands from the touch to the cursor's row, that row included, and what taking it costs against mid."""

    instrument: InstrumentId
    row: int
    side: Literal["bids", "asks"]
    base: float
    quote: float
    average_price: float
    cost_bps: float


class AxisView(Struct, frozen=True, kw_only=True):
    """One axis: rows `top`, `top` - 1, ... `top` - `rows` + 1."""

    name: str
    """The quote of a PRICE axis; `own index` and `converted` of the others."""
    axis: Axis
    step: float
    """Height of a row: quote units, bp on the INDEX axis, US dollars on the CONVERTED one."""
    decimals: int
    """Digits after the point that write each row's value exactly."""
    rows: int
    centre: int | None
    """None: there is nothing to centre on, and every column is hollow."""
    fair: float | None
    """Median of the members' mids, in what the rows are in; of the undated ones while there are any."""
    members: tuple[LadderColumn, ...]
    cursor: CursorView | None
    """None: elsewhere, or between bid and ask."""

    @property
    def top(self) -> int | None:
        """The highest row."""
        return self.centre + self.rows // 2 if self.centre is not None else None

    def value(self, row: int) -> float:
        """What a row stands for, as it is to be written: quote units, or bp from own index."""
        return round(row * self.step, self.decimals)


Row = TypeVar("Row", float, Column)


class Grid(NamedTuple):
    """The rows in one market's own prices: row k lies at `origin` + k * `height`."""

    origin: float
    height: float

    def low(self, row: Row) -> Row:
        """The lowest bid that belongs to `row` or above."""
        return (self.origin + row * self.height) * (1 - TOLERANCE)

    def high(self, row: Row) -> Row:
        """The highest ask that belongs to `row` or below."""
        return (self.origin + row * self.height) * (1 + TOLERANCE)

    def bid_row(self, price: float) -> int:
        row = floor((price - self.origin) / self.height)
        return row + 1 if price >= self.low(row + 1) else row

    def ask_row(self, price: float) -> int:
        row = ceil((price - self.origin) / self.height)
        return row - 1 if price <= self.high(row - 1) else row


def make_axes(query: LadderQuery, markets: Iterable[Market], now: Ns) -> tuple[AxisView, ...]:
    """The axes of `query.base`: the INDEX axis first, then prices: by quote, or of all quotes where each can be converted."""
    listed = {
        market.id: market
        for market in markets
        if market.instrument.base == query.base
        and market.instrument.kind is not Kind.OPTION
        and (not query.names or market.id in query.names)
    }
    members = [listed[name] for name in query.names if name in listed] if query.names else list(listed.values())
    held = {hold.name: hold for hold in query.held}
    by_index = indexed(members, query.prefer, Axis.INDEX in held, now)
    priced = [market for market in members if market not in by_index]
    quotes: dict[str, list[Market]] = {}
    for market in priced:
        quotes.setdefault(market.instrument.quote, []).append(market)
    found = [_index_axis(query, by_index, held.get(Axis.INDEX), now)] if by_index else []
    if len(quotes) > 1 and all(market.fx.usd > 0 for market in priced):
        return (*found, _converted_axis(query, priced, held.get(Axis.CONVERTED)))
    return tuple(found + [_price_axis(query, name, quotes[name], held.get(name)) for name in sorted(quotes)])


def indexed(members: Sequence[Market], prefer: Axis | None, held: bool, now: Ns) -> list[Market]:
    """Who stands on the INDEX axis (desk F3): every undated market or none; a dated one stands on the axis of its quote.

    Undated markets of one quote need no index: their prices compare. Where the axis is in use already (`held`), an index that
    hesitates hollows its own column for up to ten seconds and does not change the axis of all.
    """
    undated = [market for market in members if not market.instrument.expiry_ns]
    one_quote = len({market.instrument.quote for market in undated}) <= 1
    if prefer is Axis.PRICE or (prefer is None and one_quote):
        return []
    age_ns = INDEX_MAX_AGE_NS if held else AXIS_INDEX_AGE_NS
    return undated if all(market.own_index(now, age_ns) > 0 for market in undated) else []


def round_step(wanted: float, tick: float, held: float = 0.0) -> float:
    """1, 2, 2.5 or 5 times a power of ten, a multiple of `tick` and not below it, nearest to `wanted` by ratio.

    `held` is kept while it is such a step and no other is nearer by a tenth. Where no round step is a multiple of the tick, the
    multiples themselves are round.
    """
    if not wanted > tick:
        return tick
    choices = _round_steps(floor(log10(wanted)), tick)
    if not choices:
        power = floor(log10(wanted / tick))
        choices = tuple(tick * m * 10.0**k for k in (power, power + 1) for m in ROUND if _is_multiple(m * 10.0**k, 1.0))

    def off(step: float) -> float:
        return max(step / wanted, wanted / step)

    best = min((tick, *choices), key=off)
    kept = next((step for step in (tick, *choices) if isclose(step, held)), best)
    return kept if off(kept) <= STICK * off(best) else best


@lru_cache(256)
def _round_steps(power: int, tick: float) -> tuple[float, ...]:
    return tuple(step for k in (power - 1, power, power + 1) for m in ROUND if _is_multiple(step := float(f"{m:g}e{k}"), tick))


def _is_multiple(step: float, tick: float) -> bool:
    times = round(step / tick)
    return times > 0 and isclose(step, times * tick, rel_tol=TOLERANCE)


def _index_axis(query: LadderQuery, members: Sequence[Market], held: AxisHold | None, now: Ns) -> AxisView:
    indices = [market.own_index(now, AXIS_INDEX_AGE_NS) for market in members]
    fair = _fair(members, [bps(market.mid, index) for market, index in zip(members, indices, strict=True)])
    step = query.group_bps or INDEX_STEP_BPS
    grids = [Grid(index, index * step / 1e4) for index in indices]
    return _axis(query, Axis.INDEX, Axis.INDEX, step, held, fair, members, grids)


def _price_axis(query: LadderQuery, name: str, members: Sequence[Market], held: AxisHold | None) -> AxisView:
    fair = _fair(members, [market.mid for market in members])
    step = _price_step(query, members, fair, held)
    return _axis(query, name, Axis.PRICE, step, held, fair, members, [Grid(0.0, step)] * len(members))


def _converted_axis(query: LadderQuery, members: Sequence[Market], held: AxisHold | None) -> AxisView:
    """One axis in US dollars for several quotes. Ticks in another quote are next to dollars', and their rows as round."""
    fair = _fair(members, [market.mid * market.fx.usd for market in members])
    step = _price_step(query, members, fair, held)
    grids = [Grid(0.0, step / market.fx.usd) for market in members]
    return _axis(query, Axis.CONVERTED, Axis.CONVERTED, step, held, fair, members, grids)


def _price_step(query: LadderQuery, members: Sequence[Market], fair: float | None, held: AxisHold | None) -> float:
    tick = max(market.instrument.tick for market in members)
    if not query.group_bps:
        return tick
    if fair is not None:
        return round_step(fair * query.group_bps / 1e4, tick, held.step if held is not None else 0.0)
    return held.step if held is not None and held.step > 0 else tick


def _fair(members: Sequence[Market], mids: Sequence[float]) -> float | None:
    known = [(market.instrument.expiry_ns, mid) for market, mid in zip(members, mids, strict=True) if mid == mid]
    undated = [mid for expiry_ns, mid in known if not expiry_ns]
    return median(undated or [mid for _, mid in known]) if known else None


def _axis(
    query: LadderQuery,
    name: str,
    axis: Axis,
    step: float,
    held: AxisHold | None,
    fair: float | None,
    members: Sequence[Market],
    grids: Sequence[Grid],
) -> AxisView:
    centre: int | None
    if held is not None and held.centre is not None:
        centre = held.centre if held.step == step or not held.step else round(held.centre * held.step / step)
    else:
        centre = round(fair / step) if fair is not None else None
    columns = []
    cursor = None
    for market, grid in zip(members, grids, strict=True):
        row = query.cursor[1] if query.cursor is not None and query.cursor[0] == market.id else None
        column, pointed = _column(query, market, grid, centre, row)
        columns.append(column)
        cursor = pointed or cursor
    return AxisView(
        name=str(name),
        axis=axis,
        step=step,
        decimals=_decimals(step),
        rows=query.rows,
        centre=centre,
        fair=fair,
        members=tuple(columns),
        cursor=cursor,
    )


@lru_cache(256)
def _decimals(step: float) -> int:
    return next((n for n in range(MOST_DECIMALS) if isclose(round(step, n), step, rel_tol=TOLERANCE)), MOST_DECIMALS)


def _column(
    query: LadderQuery, market: Market, grid: Grid, centre: int | None, cursor: int | None
) -> tuple[LadderColumn, CursorView | None]:
    """A market's column, and what the cursor points at in it."""
    book = market.book
    if book is None or not market.fit:
        return _hollow(query, market, nan, nan), None
    instrument = market.instrument
    unknown = isnan(_scale(instrument, query.unit))
    if centre is None or book.mid != book.mid or unknown or grid.height != grid.height:
        return _hollow(query, market, book.bid, book.ask), None
    top = centre + query.rows // 2
    bid_prices, bid_sizes, ask_prices, ask_sizes = book.depth()
    bid_row, ask_row = grid.bid_row(book.bid), grid.ask_row(book.ask)
    bids_above, bids = _bid_rows(instrument, query.unit, bid_prices, bid_sizes, grid, top, query.rows)
    asks_below, asks = _ask_rows(instrument, query.unit, ask_prices, ask_sizes, grid, top, query.rows)
    column = LadderColumn(
        instrument=market.id,
        hollow=False,
        bids=bids,
        asks=asks,
        bids_above=bids_above,
        asks_below=asks_below,
        deepest_bid_row=grid.bid_row(float(bid_prices[0])),
        deepest_ask_row=grid.ask_row(float(ask_prices[-1])),
        bid=book.bid,
        ask=book.ask,
        bid_row=bid_row,
        ask_row=ask_row,
        last_row=_last_row(market, grid),
        mine_bid_row=_end_row(bid_prices[::-1], bid_sizes[::-1], instrument, query.size_usd, grid.bid_row),
        mine_ask_row=_end_row(ask_prices, ask_sizes, instrument, query.size_usd, grid.ask_row),
    )
    if cursor is None or bid_row < cursor < ask_row:
        return column, None
    if cursor <= bid_row:
        taken = slice(bid_prices.searchsorted(grid.low(cursor)), None)
        return column, _pointed(market, cursor, "bids", bid_prices[taken], bid_sizes[taken], book.mid)
    taken = slice(ask_prices.searchsorted(grid.high(cursor), "right"))
    return column, _pointed(market, cursor, "asks", ask_prices[taken], ask_sizes[taken], book.mid)


def _hollow(query: LadderQuery, market: Market, bid: float, ask: float) -> LadderColumn:
    empty = (0.0,) * query.rows
    best = (bid if bid == bid else None, ask if ask == ask else None)
    return LadderColumn(instrument=market.id, hollow=True, bids=empty, asks=empty, bid=best[0], ask=best[1])


def _scale(instrument: Instrument, unit: Unit) -> float:
    """What a venue's unit, its price left aside, is in `unit`; nan where a quanto's is not known."""
    scales: Mapping[Unit, float] = {
        "quote": instrument.to_quote(1.0, 1.0),
        "base": instrument.to_base(1.0, 1.0),
        "contracts": 1.0,
    }
    return scales[unit]


def _amounts(instrument: Instrument, unit: Unit, prices: Column, sizes: Column) -> Column:
    """What each level holds, told in `unit` at its own price."""
    inverse = instrument.contract is Contract.INVERSE
    if unit == "base" and inverse:
        sizes = sizes / prices
    elif unit == "quote" and not inverse:
        sizes = sizes * prices
    return sizes * _scale(instrument, unit)


def _bid_rows(
    instrument: Instrument, unit: Unit, prices: Column, sizes: Column, grid: Grid, top: int, rows: int
) -> tuple[float, tuple[float, ...]]:
    """What rests above the first row, and in each."""
    cuts = prices.searchsorted(_bid_edges(grid, top, rows))
    above, *sums = _between(cuts, _amounts(instrument, unit, prices[cuts[0] :], sizes[cuts[0] :]))
    return above, tuple(sums)


def _ask_rows(
    instrument: Instrument, unit: Unit, prices: Column, sizes: Column, grid: Grid, top: int, rows: int
) -> tuple[float, tuple[float, ...]]:
    """What rests below the last row, and in each."""
    cuts = prices.searchsorted(_ask_edges(grid, top, rows), "right")
    *sums, below = _between(cuts, _amounts(instrument, unit, prices[: cuts[-1]], sizes[: cuts[-1]]))
    return below, tuple(sums)


@lru_cache(EDGES_KEPT)
def _bid_edges(grid: Grid, top: int, rows: int) -> Column:
    edges = grid.low(np.arange(top - rows + 1.0, top + 3.0))
    edges[-1] = inf
    return edges


@lru_cache(EDGES_KEPT)
def _ask_edges(grid: Grid, top: int, rows: int) -> Column:
    edges = grid.high(np.arange(top - rows - 1.0, top + 1.0))
    edges[0] = -inf
    return edges


@lru_cache(EDGES_KEPT)
def _from_the_top(rows: int) -> Counts:
    return np.arange(rows - 1, -1, -1)


def _between(cuts: Counts, amounts: Column) -> list[float]:
    """Sums from each cut up to the next, the last first: cuts rise with the price, rows are told from the top.

    As few calls as can be: the first of each kind in a frame costs 10 to 30 us, since its code is no longer in the CPU's cache.
    """
    rows = len(cuts) - 1
    row_of_each = _from_the_top(rows).repeat(cuts[1:] - cuts[:-1])
    found: list[float] = np.bincount(row_of_each, amounts, rows).tolist()
    return found


def _last_row(market: Market, grid: Grid) -> int | None:
    """A buyer takes from the asks, so the print lies on their row."""
    trade = market.last_trade
    if trade is None:
        return None
    return grid.ask_row(trade.price) if trade.aggressor == "buy" else grid.bid_row(trade.price)


def _end_row(prices: Column, sizes: Column, instrument: Instrument, size_usd: float, row: Callable[[float], int]) -> int | None:
    """The row of the last level that `size_usd` needs of a side, best first."""
    if not size_usd or instrument.quote not in DOLLARS:
        return None  # nothing to look for, and looking would read the whole book

    def best(count: int) -> Levels:
        return list(zip(prices[:count].tolist(), sizes[:count].tolist(), strict=True))

    found = fill(best, spend, instrument, size_usd)
    return row(found.worst) if found.complete else None


def _pointed(
    market: Market, row: int, side: Literal["bids", "asks"], prices: Column, sizes: Column, mid: float
) -> CursorView | None:
    base = float(_amounts(market.instrument, "base", prices, sizes).sum())
    quote = float(_amounts(market.instrument, "quote", prices, sizes).sum())
    if not base > 0.0:
        return None
    average = quote / base
    cost = mid - average if side == "bids" else average - mid
    return CursorView(
        instrument=market.id, row=row, side=side, base=base, quote=quote, average_price=average, cost_bps=cost / mid * 1e4
    )
