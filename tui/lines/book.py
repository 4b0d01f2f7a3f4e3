"""Order books of one asset side by side on one price axis, as lines (desk.md F3 and 3 "LADDER").

Rows are prices that stand still: the axis is anchored, books move over it. Bids stand left of the middle of a column, asks right
of it; bars of all markets have one scale, whose steps are coarse so that they do not twitch. What is hatched is not believed.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, islice, repeat
from math import floor, inf, log10, nan
from typing import Final, NamedTuple

from msgspec import Struct

from analytics.ladder import AxisView, LadderColumn, Unit
from analytics.routes import Axis
from analytics.snapshot import MarketView
from feeds.model import InstrumentId
from tui.formats import DASH, bps, count, price, quantity, ratio, rough
from tui.line import Line, Span, first_fitting, fit, number, pad
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
LINES_KEPT: Final = 2048
CELLS_KEPT: Final = 4096
STEPS: Final = (1.0, 2.0, 5.0)
TITLES: Final[Mapping[Axis, str]] = {Axis.INDEX: "own index", Axis.CONVERTED: "USD, conv."}
"""Of axes that are not named by a quote."""


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


def heads(axes: Sequence[AxisView], markets: Mapping[InstrumentId, MarketView], drawn: Ladder, width: int) -> list[Line]:
    """Three lines over the ladder: markets, raw spread, imbalance and age; never of grouped figures."""
    cells, names = widths(axes, width, drawn.selected)
    first: list[Span] = [(" ", "text")]
    second: list[Span] = [(" ", "text")]
    third: list[Span] = [(" ", "text")]
    for axis in axes:
        shown = [column for column in axis.members if column.instrument in names]
        if not shown:
            continue
        label = label_cells(axis, width)
        edge = (AXIS_EDGE if len(first) > 1 else " ", "text")
        first += [edge, (fit(axis_title(axis), label), "accent")]
        second += [edge, (fit(step_text(axis, label), label), "dim")]
        third += [edge, (_label_head(label), "head")]
        for column in shown:
            market = markets[column.instrument]
            state, role = state_of(market)
            room = max(cells - len(state) - 1, 0)
            name = next((name for name in _names(market) if len(name) <= room), "")
            if not name:  # which market it is matters more than how many milliseconds old
                name, state, room = quoted_name(market.facts), state[0], max(cells - 2, 0)
            first += [("│", "dim"), (fit(name, room), "accent" if column.instrument == drawn.selected else "title")]
            first.append((fit(f" {state}", min(len(state) + 1, cells)), role))
            second.append(("│", "dim"))
            if column.hollow and not market.refused:
                second.append((fit("index late: no place on this axis", cells), "warn"))
            else:
                second.append((fit(_spread(market, cells), cells), "text"))
            third += [("│", "dim"), (fit(_imbalance(market, cells), cells), "text")]
    return [pad(Line(tuple(spans)), width) for spans in (first, second, third)]


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


def _spread(market: MarketView, cells: int) -> str:
    if market.bid is None or market.ask is None:
        return "no spread"
    ticks = count((market.ask - market.bid) / market.facts.tick)
    counted = f"{ticks} tick{'s' if ticks != '1' else ''}"
    touch = f"{price(market.bid, market.facts.tick)} × {price(market.ask, market.facts.tick)}"
    bp = f"{quantity(market.spread_bps)} bp"
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


NO_CELL: Final = (nan, nan, "", Cell("", 0, "", 0, NO_MARKS, False))
"""Like no other: nan equals nothing."""
NO_ROW: Final[tuple[tuple[Cell, ...], tuple[str, Line]]] = ((), ("", Line(())))


class _Column(NamedTuple):
    """What the cells of a column were made of, and the cells."""

    rest: tuple[object, ...]
    """Beside what each row has of its own."""
    bids: Sequence[float]
    asks: Sequence[float]
    marks: Sequence[str]
    cells: list[Cell]


NO_COLUMN: Final = _Column((), (), (), (), [])


class Rows:
    """Makes the rows of one frame after another; what says the same as in the last one is the same object.

    Of a hundred cells ten change in a frame. It keeps nothing that a frame does not compare with what it is given.
    """

    def __init__(self) -> None:
        self._columns: dict[InstrumentId, _Column] = {}
        self._rest: tuple[object, ...] = ()
        """Of the last frame, what all its rows have in common."""
        self._labels: list[Sequence[Span]] = []
        self._cells: list[tuple[Cell, ...]] = []
        self._shaded: Sequence[bool] = ()
        self._rows: list[tuple[str, Line]] = []

    def make(
        self, axes: Sequence[AxisView], markets: Mapping[InstrumentId, MarketView], drawn: Ladder, width: int
    ) -> list[tuple[str, Line]]:
        """One line a screen row, keyed by its place from the top."""
        cells, names = widths(axes, width, drawn.selected)
        room = bar_cells(cells)
        labels: list[Sequence[Span]] = []
        counts: list[int] = []
        columns: list[_Column] = []
        kept: dict[InstrumentId, _Column] = {}
        shaded: Sequence[bool] = ()
        for axis in axes:
            shown = [column for column in axis.members if column.instrument in names]
            if shown:
                labels.append(_labels(axis, label_cells(axis, width)))
                counts.append(len(shown))
                for column in shown:
                    name = column.instrument
                    before = self._columns.get(name, NO_COLUMN)
                    kept[name] = _cells(column, axis, drawn, room, bool(markets[name].refused), before)
                    columns.append(kept[name])
                shaded = shaded or [not ((axis.top or 0) - at) % SHADE_EVERY for at in range(axis.rows)]
        parts = list(zip(*[column.cells for column in columns], strict=True))
        rest = cells, width, tuple(counts), len(parts)
        same = rest == self._rest and labels == self._labels and shaded == self._shaded
        olds = zip(self._cells, self._rows, strict=True) if same else repeat(NO_ROW)
        self._rows = [
            row
            if part == was
            else (
                str(at),
                _line(tuple([label[at] for label in labels]), tuple(counts), part, "shade" if shade else "", cells, width),
            )
            for at, (part, shade, (was, row)) in enumerate(zip(parts, shaded, olds, strict=False))
        ]
        self._columns, self._rest, self._labels, self._cells, self._shaded = kept, rest, labels, parts, shaded
        return self._rows


@lru_cache(LINES_KEPT)
def _line(
    labels: tuple[Span, ...], counts: tuple[int, ...], cells_of_row: tuple[Cell, ...], ground: str, cells: int, width: int
) -> Line:
    """A whole row: for each axis a label, and so many of the cells."""
    spans: list[Span] = []
    left = iter(cells_of_row)
    for label, count_of_axis in zip(labels, counts, strict=True):
        spans += [("  ", "text") if not spans else (AXIS_EDGE, "text"), label]
        for cell in islice(left, count_of_axis):
            spans.append(("│", "dim"))
            spans += _drawn(cell, cells)
    return pad(Line(_merged(spans), ground), width)


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


def _cells(column: LadderColumn, axis: AxisView, drawn: Ladder, room: int, hollow: bool, before: _Column) -> _Column:
    """A column from the top: each row's own size, or the sum from the best price to it."""
    count = len(column.bids)
    top = axis.top or 0
    last_bid = top - column.deepest_bid_row if column.deepest_bid_row is not None else count
    last_ask = top - column.deepest_ask_row if column.deepest_ask_row is not None else -1
    bids: Sequence[float] = column.bids
    asks: Sequence[float] = column.asks
    if drawn.cumulative:
        bids = list(accumulate(bids, initial=column.bids_above))[1 : max(last_bid + 2, 1)]
        bids += [0.0] * (count - len(bids))
        asks = list(accumulate(reversed(asks), initial=column.asks_below))[1 : max(count - last_ask + 1, 1)]
        asks += [0.0] * (count - len(asks))
        asks.reverse()
    if column.hollow:
        return NO_COLUMN._replace(cells=[Cell(DASH, 0, DASH, 0, NO_MARKS, hollow)] * count)
    marks = _marks(column, top, count)
    full, most = drawn.full[column.instrument] / (8 * room) if room else inf, 8 * room
    rest = count, last_bid, last_ask, full, most, hollow
    olds = zip(before.bids, before.asks, before.marks, before.cells, strict=True) if rest == before.rest else repeat(NO_CELL)
    cells = [
        old_cell
        if bid == old_bid and ask == old_ask and mark == old_mark
        else Cell(
            rough(bid) if bid else DASH if at > last_bid else "",
            int(min(most, bid / full + 0.5)),
            rough(ask) if ask else DASH if at < last_ask else "",
            int(min(most, ask / full + 0.5)),
            mark,
            hollow,
        )
        for at, (bid, ask, mark, (old_bid, old_ask, old_mark, old_cell)) in enumerate(zip(bids, asks, marks, olds, strict=False))
    ]
    return _Column(rest, bids, asks, marks, cells)


def _marks(column: LadderColumn, top: int, count: int) -> list[str]:
    """The signs in the middle of a column, from the top."""
    places = (
        (column.mine_bid_row, 0, "◆"),
        (column.bid_row, 1, "◂"),
        (column.last_row, 2, "●"),
        (column.ask_row, 3, "▸"),
        (column.mine_ask_row, 4, "◆"),
    )
    found = [NO_MARKS] * count
    for row, place, sign in places:
        if row is not None and 0 <= top - row < count:
            before = found[top - row]
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


def _labels(axis: AxisView, width: int) -> Sequence[Span]:
    """Each row's price, and how far it is from fair; nothing where there is nothing to centre on."""
    if axis.top is None:
        return [(" " * width, "dim")] * axis.rows
    step_bps = 0.0
    if axis.fair and axis.axis is not Axis.INDEX and width >= LABEL:
        step_bps = float(f"{axis.step / axis.fair * 1e4:.4g}")  # exact enough for a tenth at the edges, and the same for long
    rows_shown = range(axis.top, axis.top - axis.rows, -1)
    return _label_spans(axis.axis is Axis.INDEX, axis.step, axis.decimals, rows_shown, fair_row(axis), step_bps, width)


@lru_cache(64)
def _label_spans(
    index: bool, step: float, decimals: int, rows_shown: range, at: int | None, step_bps: float, width: int
) -> Sequence[Span]:
    found = []
    digits = min(max(-floor(log10(abs(step_bps))), 1), MOST_DIGITS) if step_bps else 1
    for k in rows_shown:
        role = "text" if k == at else "dim"
        name = _name(index, round(k * step, decimals), decimals)
        if at is None or not step_bps:
            found.append((f"{number(name, width - 1)} ", role))
        else:
            found.append((f"{number(name, 10)}{number(bps((k - at) * step_bps, digits), 7)} ", role))
    return found


@lru_cache(CELLS_KEPT)
def _drawn(cell: Cell, cells: int) -> tuple[Span, ...]:
    """A row of one market: bid, the marks in the middle, ask. Where it is narrow, own size hides the best price's mark."""
    half, room = half_cells(cells), bar_cells(cells)
    middle = 5 if cells >= WIDE else 3
    gap = " " * (half - min(SIZE, half) - room)
    mine_bid, best_bid, last, best_ask, mine_ask = tuple(cell.marks)
    bid = (mine_bid, "mine") if mine_bid != " " else (best_bid, "bid")
    ask = (mine_ask, "mine") if mine_ask != " " else (best_ask, "ask")
    spans = [_bid_bar(cell, room), (gap + number(cell.bid, min(SIZE, half)), _role(cell.bid, cell.hollow, "bid"))]
    if cell.marks == NO_MARKS:
        spans.append((" " * middle, "text"))
    elif middle == 5:
        spans += [(mine_bid, "mine"), (best_bid, "bid"), (last, "title"), (best_ask, "ask"), (mine_ask, "mine")]
    else:
        spans += [bid, (last, "title"), ask]
    spans += [(number(cell.ask, min(SIZE, half)) + gap, _role(cell.ask, cell.hollow, "ask")), _ask_bar(cell, room)]
    rest = cells - middle - 2 * half
    return _merged([*spans, (" " * rest, "text")])


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
