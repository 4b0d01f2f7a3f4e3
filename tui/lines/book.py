"""Order books of one asset side by side on one price axis, as lines (desk.md F3 and 3 "LADDER").

Rows are prices that stand still: the axis is anchored, books move over it. Bids stand left of the middle of a column, asks right
of it; bars of all markets have one scale, whose steps are coarse so that they do not twitch. What is hatched is not believed.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from math import floor, inf, log10
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from analytics.ladder import AxisView, LadderColumn, Unit
from analytics.routes import Axis
from analytics.snapshot import MarketView
from feeds.model import InstrumentId
from tui.formats import DASH, bps, count, price, quantity, ratio, rough
from tui.line import NO_LINE, Beside, Line, Row, Span, first_fitting, fit, number, pad
from tui.lines.desk import state_of
from tui.names import market_name, quoted_name

UNIT_NAMES: Final[Mapping[Unit, str]] = {"quote": "$", "base": "coin", "contracts": "contracts"}

LABEL: Final = 18
"""Cells of a price axis' labels: price, and bp from fair; the price alone on a narrow screen; bp alone from own index."""
NARROW_LABEL: Final = 11
INDEX_LABEL: Final = 10
WIDE_SCREEN: Final = 100
LEAST: Final = 17
"""Cells below which a column says nothing."""
MOST: Final = 44
WIDE: Final = 25
"""Cells from which each mark has a place of its own."""
SIZE: Final = 6
EIGHTHS: Final = " ▏▎▍▌▋▊▉"
STALE_BAR: Final = "▒"
SHADE_EVERY: Final = 5
NO_MARKS: Final = "     "
MOST_DIGITS: Final = 3
"""Of a row's distance in bp, where rows span less than a tenth of one."""
AXIS_EDGE: Final = "┃"
"""In front of a further axis: what stands right of it has other prices in its rows."""
EDGE: Final[Span] = ("│", "dim")
"""In front of each market."""
CELLS_KEPT: Final = 4096
STEPS: Final = (1.0, 2.0, 5.0)
TITLES: Final[Mapping[Axis, str]] = {Axis.INDEX: "own index", Axis.CONVERTED: "USD, conv."}
"""Of axes that are not named by a quote."""


Amounts: TypeAlias = NDArray[np.float64]


class Ladder(Struct, frozen=True, kw_only=True):
    """How the books are drawn."""

    unit: Unit
    cumulative: bool
    selected: InstrumentId
    """The market that the cursor is in."""
    full: Mapping[InstrumentId, float]
    """Size of each market's full bar."""


def full_bars(
    axes: Sequence[AxisView], unit: Unit, cumulative: bool, before: Mapping[InstrumentId, float]
) -> dict[InstrumentId, float]:
    """Size of a full bar: one for all markets; in contracts, which are of many sizes, each market's own."""
    columns = [column for axis in axes for column in axis.members]
    groups = [[column] for column in columns] if unit == "contracts" else [columns]
    found = {}
    for group in groups:
        full = _full_bar(group, cumulative, max((before.get(column.instrument, 0.0) for column in group), default=0.0))
        found.update(dict.fromkeys((column.instrument for column in group), full))
    return found


def _full_bar(columns: Sequence[LadderColumn], cumulative: bool, before: float) -> float:
    """1, 2 or 5 times a power of ten, so that nine rows in ten stay under it; the rest are cut at it.

    Kept from frame to frame until it is less than what is wanted or more than four times that.
    """
    sizes: list[float] = []
    for column in columns:
        for above, side in ((column.bids_above, column.bids), (column.asks_below, column.asks)):
            sizes += [above + sum(side)] if cumulative else side
    sizes = [size for size in sizes if 0.0 < size < inf]
    sizes.sort()
    wanted = sizes[-1 if cumulative else int(len(sizes) * 0.9)] if sizes else 0.0
    if not wanted:
        return before or 1.0
    if wanted <= before <= 4 * wanted:
        return before
    power = 10.0 ** floor(log10(wanted))
    return next(power * step for step in (*STEPS, 10.0, 20.0) if power * step >= wanted)


def label_cells(axis: AxisView, width: int) -> int:
    """Cells of the labels of an axis."""
    return INDEX_LABEL if axis.axis is Axis.INDEX else LABEL if width >= WIDE_SCREEN else NARROW_LABEL


def columns_fit(axes: Sequence[AxisView], width: int) -> bool:
    """Whether every market has a column with bars in it."""
    count = sum(len(axis.members) for axis in axes)
    return width - 1 - sum(label_cells(axis, width) + 1 for axis in axes) >= count * (WIDE + 1)


def widths(axes: Sequence[AxisView], width: int, selected: InstrumentId) -> tuple[int, tuple[InstrumentId, ...]]:
    """Cells of a column, and which markets there is room for: all, or those from around the selected one."""
    names = [column.instrument for axis in axes for column in axis.members]
    room = width - 1 - sum(label_cells(axis, width) + 1 for axis in axes)
    count = max(min(len(names), room // (LEAST + 1)), 1)
    at = names.index(selected) if selected in names else 0
    first = max(min(at - count // 2, len(names) - count), 0)
    return max(min(room // count - 1, MOST), 1), tuple(names[first : first + count])


def heads(
    axes: Sequence[AxisView], markets: Mapping[InstrumentId, MarketView], drawn: Ladder, width: int
) -> Sequence[Line | Beside]:
    """Three lines over the ladder: markets, raw spread, imbalance and age; never of grouped figures."""
    cells, names = widths(axes, width, drawn.selected)
    parts: list[tuple[Line, Line, Line]] = []
    counts: list[tuple[int, int]] = []
    for axis in axes:
        shown = [column for column in axis.members if column.instrument in names]
        if not shown:
            continue
        label = label_cells(axis, width)
        counts.append((label, len(shown)))
        edge = (AXIS_EDGE if parts else "  ", "text")
        parts.append(
            (
                Line((edge, (fit(axis_title(axis), label), "accent"))),
                Line((edge, (fit(step_text(axis, label), label), "dim"))),
                Line((edge, (_label_head(label), "head"))),
            )
        )
        parts += [_column_head(column, markets[column.instrument], drawn, cells) for column in shown]
    if not parts:
        return [pad(NO_LINE, width)] * 3
    rooms = part_cells(counts, cells, width)
    return [Beside(lines, rooms) for lines in zip(*parts, strict=True)]


def _column_head(column: LadderColumn, market: MarketView, drawn: Ladder, cells: int) -> tuple[Line, Line, Line]:
    state, role = state_of(market)
    room = max(cells - len(state) - 1, 0)
    name = next((name for name in _names(market) if len(name) <= room), "")
    if not name:  # which market it is matters more than how many milliseconds old
        name, state, room = quoted_name(market.facts), state[0], max(cells - 2, 0)
    named = (fit(name, room), "accent" if column.instrument == drawn.selected else "title")
    if column.hollow and not market.refused:
        spread = (fit("index late: no place on this axis", cells), "warn")
    else:
        text = _spread(market.bid, market.ask, market.spread_bps, market.facts.tick, cells)
        spread = (fit(text, cells), "text")
    return (
        Line((EDGE, named, (fit(f" {state}", min(len(state) + 1, cells)), role))),
        Line((EDGE, spread)),
        Line((EDGE, (fit(_imbalance(market, cells), cells), "text"))),
    )


def part_cells(counts: Sequence[tuple[int, int]], cells: int, width: int) -> tuple[int, ...]:
    """Cells of each part of a line, together `width`. `counts`: for each axis the cells of its label, and how many columns."""
    found: list[int] = []
    for label, columns in counts:
        found += [label + (1 if found else 2), *[cells + 1] * columns]
    ends = [min(end, width) for end in accumulate(found)]
    ends[-1:] = [width]
    return tuple(end - start for start, end in zip((0, *ends), ends, strict=False))


def _names(market: MarketView) -> tuple[str, ...]:
    return market_name(market.facts), quoted_name(market.facts)


def _label_head(label: int) -> str:
    if label == LABEL:
        return f"{number('price', 10)}{number('bp', 7)} "
    return f"{number('bp' if label == INDEX_LABEL else 'price', label - 1)} "


def axis_title(axis: AxisView) -> str:
    return TITLES.get(axis.axis, axis.name)


def step_text(axis: AxisView, room: int) -> str:
    """What one row spans; in bp too where there is room."""
    if axis.axis is Axis.INDEX:
        return f"row {axis.step:g} bp"
    text = f"row {axis.step:g}"
    in_bps = f" {axis.step / axis.fair * 1e4:.2g} bp" if axis.fair else ""
    return text + in_bps if len(text + in_bps) <= room else text


@lru_cache(256)
def _spread(bid: float | None, ask: float | None, spread_bps: float | None, tick: float, cells: int) -> str:
    if bid is None or ask is None:
        return "no spread"
    ticks = count((ask - bid) / tick)
    counted = f"{ticks} tick{'s' if ticks != '1' else ''}"
    touch = f"{price(bid, tick)} × {price(ask, tick)}"
    bp = f"{quantity(spread_bps)} bp"
    return first_fitting((f"{touch}  {bp}", f"spread {counted} {bp}", f"{counted} {bp}", counted), cells)


def _imbalance(market: MarketView, cells: int) -> str:
    last = f"last {price(market.last_price, market.facts.tick)}" if market.last_price is not None else ""
    text = f"imb {ratio(market.imbalance)}"
    return f"{text}  {last}" if last and len(text) + len(last) + 2 <= cells else text


class Cell(NamedTuple):
    """What one row of one market shows: texts, and bars in eighths of a cell. Equal ones are drawn once."""

    bid: str
    bid_bar: int
    ask: str
    ask_bar: int
    marks: str
    """Five signs from bid to ask: own size, best bid, last trade, best ask, own size; blanks where none."""
    hollow: bool


NO_ROW: Final = Row("", NO_LINE)


class _Column(NamedTuple):
    """What the lines of a column were made of, the lines, and which of them are others than in the frame before."""

    rest: tuple[object, ...]
    """Beside what each row has of its own."""
    bids: Amounts
    asks: Amounts
    marks: Mapping[int, str]
    lines: list[Line]
    changed: Sequence[int]


NO_COLUMN: Final = _Column((), np.empty(0), np.empty(0), {}, [], ())


class Rows:
    """Makes the rows of one frame after another; what says the same as in the last one is the same object.

    Of a hundred cells ten change in a frame. It keeps nothing that a frame does not compare with what it is given.
    """

    def __init__(self) -> None:
        self._columns: dict[InstrumentId, _Column] = {}
        self._labels: list[Sequence[Line]] = []
        self._rest: tuple[object, ...] = ()
        """Of the last frame, what all its rows have in common."""
        self._rows: list[Row] = []

    def make(self, axes: Sequence[AxisView], markets: Mapping[InstrumentId, MarketView], drawn: Ladder, width: int) -> list[Row]:
        """One line a screen row, keyed by its place from the top: a part for each axis' label, and one for each market."""
        cells, names = widths(axes, width, drawn.selected)
        parts: list[Sequence[Line]] = []
        labels: list[Sequence[Line]] = []
        counts: list[tuple[int, int]] = []
        kept: dict[InstrumentId, _Column] = {}
        top = 0
        for axis in axes:
            shown = [column for column in axis.members if column.instrument in names]
            if shown:
                top = top if parts else axis.top or 0
                label = label_cells(axis, width)
                counts.append((label, len(shown)))
                labels.append(_labels(axis, label, top, first=not parts))
                parts.append(labels[-1])
                for column in shown:
                    name = column.instrument
                    before = self._columns.get(name, NO_COLUMN)
                    kept[name] = _column(column, axis, drawn, cells, bool(markets[name].refused), top, before)
                    parts.append(kept[name].lines)
        rooms = part_cells(counts, cells, width)
        rest = rooms, tuple(kept), min(map(len, parts), default=0)
        if rest == self._rest and labels == self._labels:
            rows, anew = self._rows.copy(), sorted({at for column in kept.values() for at in column.changed})
        else:
            rows, anew = [NO_ROW] * rest[2], [*range(rest[2])]
        for at in anew:
            rows[at] = Row(str(at), Beside(tuple([part[at] for part in parts]), rooms))
        self._columns, self._labels, self._rest, self._rows = kept, labels, rest, rows
        return rows


def _ground(row: int) -> str:
    """Of a whole row, by its number: prices that are five rows apart are found by it."""
    return "" if row % SHADE_EVERY else "shade"


def _merged(spans: Sequence[Span]) -> tuple[Span, ...]:
    """The same with blanks of one role, and neighbours of one role in one piece: half as many pieces to colour."""
    found: list[Span] = []
    for text, role in spans:
        if text.isspace():
            role = "text"
        if found and found[-1][1] == role:
            found[-1] = (found[-1][0] + text, role)
        elif text:
            found.append((text, role))
    return tuple(found)


def half_cells(cells: int) -> int:
    """Cells of one side of a column; the marks stand between the two."""
    return (cells - (5 if cells >= WIDE else 3)) // 2


def bar_cells(cells: int) -> int:
    """Cells that a bar has in a column."""
    half = half_cells(cells)
    return max(half - min(SIZE, half) - 1, 0)


def _column(
    column: LadderColumn, axis: AxisView, drawn: Ladder, cells: int, hollow: bool, shaded_from: int, before: _Column
) -> _Column:
    """A column from the top: each row's own size, or the sum from the best price to it."""
    count = len(column.bids)
    if column.hollow:
        rest: tuple[object, ...] = count, cells, hollow, shaded_from
        if rest == before.rest:
            return before._replace(changed=())
        unknown = Cell(DASH, 0, DASH, 0, NO_MARKS, hollow)
        lines = [_cell_line(unknown, cells, _ground(shaded_from - at)) for at in range(count)]
        return NO_COLUMN._replace(rest=rest, lines=lines, changed=range(count))
    top = axis.top or 0
    last_bid = top - column.deepest_bid_row if column.deepest_bid_row is not None else count
    last_ask = top - column.deepest_ask_row if column.deepest_ask_row is not None else -1
    bids, asks = np.array(column.bids), np.array(column.asks)
    if drawn.cumulative:
        bids, asks = column.bids_above + bids.cumsum(), column.asks_below + asks[::-1].cumsum()[::-1]
        bids[max(last_bid + 1, 0) :] = 0.0
        asks[: max(last_ask, 0)] = 0.0
    marks = _marks(column, top, count)
    most = 8 * bar_cells(cells)
    full = drawn.full[column.instrument] / most if most else inf
    rest = count, last_bid, last_ask, full, cells, hollow, shaded_from
    if rest == before.rest:
        lines = before.lines.copy()
        rows = {at for at, _ in marks.items() ^ before.marks.items()}
        rows.update(((bids != before.bids) | (asks != before.asks)).nonzero()[0].tolist())
    else:
        lines, rows = [NO_LINE] * count, {*range(count)}
    changed = []
    for at in rows:
        bid, ask = float(bids[at]), float(asks[at])
        cell = Cell(
            rough(bid) if bid else DASH if at > last_bid else "",
            int(min(most, bid / full + 0.5)),
            rough(ask) if ask else DASH if at < last_ask else "",
            int(min(most, ask / full + 0.5)),
            marks.get(at, NO_MARKS),
            hollow,
        )
        line = _cell_line(cell, cells, _ground(shaded_from - at))
        if line is not lines[at]:
            lines[at] = line
            changed.append(at)
    return _Column(rest, bids, asks, marks, lines, changed)


def _marks(column: LadderColumn, top: int, count: int) -> dict[int, str]:
    """The signs in the middle of a column, by row from the top; of rows that have some."""
    places = (
        (column.mine_bid_row, 0, "◆"),
        (column.bid_row, 1, "◂"),
        (column.last_row, 2, "●"),
        (column.ask_row, 3, "▸"),
        (column.mine_ask_row, 4, "◆"),
    )
    found: dict[int, str] = {}
    for row, place, sign in places:
        if row is not None and 0 <= top - row < count:
            before = found.get(top - row, NO_MARKS)
            found[top - row] = before[:place] + sign + before[place + 1 :]
    return found


def fair_row(axis: AxisView) -> int | None:
    """The row that fair is nearest to."""
    return round(axis.fair / axis.step) if axis.fair is not None else None


def row_name(axis: AxisView, k: int) -> str:
    """What row k stands for: a price, or bp from own index."""
    return _name(axis.axis is Axis.INDEX, axis.value(k), axis.decimals)


def _name(index: bool, value: float, decimals: int) -> str:
    return bps(value, decimals) if index else f"{value:.{decimals}f}"


def _labels(axis: AxisView, width: int, shaded_from: int, *, first: bool) -> Sequence[Line]:
    """Each row's price, and how far it is from fair; nothing where there is nothing to centre on."""
    edge = ("  " if first else AXIS_EDGE, "text")
    if axis.top is None:
        return [Line((edge, (" " * width, "dim")), _ground(shaded_from - at)) for at in range(axis.rows)]
    step_bps = 0.0
    if axis.fair and axis.axis is not Axis.INDEX and width >= LABEL:
        step_bps = float(f"{axis.step / axis.fair * 1e4:.4g}")  # exact enough for a tenth at the edges, and the same for long
    rows_shown = range(axis.top, axis.top - axis.rows, -1)
    on_index = axis.axis is Axis.INDEX
    return _label_lines(on_index, axis.step, axis.decimals, rows_shown, fair_row(axis), step_bps, width, edge, shaded_from)


@lru_cache(64)
def _label_lines(
    index: bool,
    step: float,
    decimals: int,
    rows_shown: range,
    fair: int | None,
    step_bps: float,
    width: int,
    edge: Span,
    shaded_from: int,
) -> Sequence[Line]:
    found = []
    digits = min(max(-floor(log10(abs(step_bps))), 1), MOST_DIGITS) if step_bps else 1
    for at, k in enumerate(rows_shown):
        name = _name(index, round(k * step, decimals), decimals)
        if fair is None or not step_bps:
            text = f"{number(name, width - 1)} "
        else:
            text = f"{number(name, 10)}{number(bps((k - fair) * step_bps, digits), 7)} "
        found.append(Line((edge, (text, "text" if k == fair else "dim")), _ground(shaded_from - at)))
    return found


@lru_cache(CELLS_KEPT)
def _cell_line(cell: Cell, cells: int, ground: str) -> Line:
    """A row of one market: bid, the marks in the middle, ask. Where it is narrow, own size hides the best price's mark."""
    half, room = half_cells(cells), bar_cells(cells)
    middle = 5 if cells >= WIDE else 3
    gap = " " * (half - min(SIZE, half) - room)
    mine_bid, best_bid, last, best_ask, mine_ask = tuple(cell.marks)
    bid = (mine_bid, "mine") if mine_bid != " " else (best_bid, "bid")
    ask = (mine_ask, "mine") if mine_ask != " " else (best_ask, "ask")
    spans = [EDGE, _bid_bar(cell, room), (gap + number(cell.bid, min(SIZE, half)), _role(cell.bid, cell.hollow, "bid"))]
    if cell.marks == NO_MARKS:
        spans.append((" " * middle, "text"))
    elif middle == 5:
        spans += [(mine_bid, "mine"), (best_bid, "bid"), (last, "title"), (best_ask, "ask"), (mine_ask, "mine")]
    else:
        spans += [bid, (last, "title"), ask]
    spans += [(number(cell.ask, min(SIZE, half)) + gap, _role(cell.ask, cell.hollow, "ask")), _ask_bar(cell, room)]
    return Line(_merged(spans), ground)


def _role(text: str, hollow: bool, side: str) -> str:
    return "dim" if text == DASH else "stale" if hollow else side


def _bid_bar(cell: Cell, room: int) -> Span:
    """In halves of a cell: the terminal has no eighths that grow to the left."""
    whole, part = divmod(cell.bid_bar // 4, 2)
    bar = ("▐" if part else "").rjust(room - whole) + (STALE_BAR if cell.hollow else "█") * whole
    return bar, "stale" if cell.hollow else "bid_bar"


def _ask_bar(cell: Cell, room: int) -> Span:
    whole, part = divmod(cell.ask_bar, 8)
    bar = (STALE_BAR if cell.hollow else "█") * whole + (EIGHTHS[part] if part else "")
    return bar.ljust(room), "stale" if cell.hollow else "ask_bar"
