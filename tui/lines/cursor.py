"""What stands between the touch and the cursor of BOOK, and what taking it would cost, as one line in as many words as fit."""

from collections.abc import Mapping, Sequence
from typing import Final

from analytics.ladder import AxisView, LadderColumn
from analytics.routes import Axis
from analytics.snapshot import MarketView
from tui.formats import DASH, compact, price, quantity
from tui.line import first_fitting
from tui.lines.book import row_name
from tui.names import market_name, quoted_name

UNITS: Final[Mapping[Axis, str]] = {Axis.INDEX: " bp from own index", Axis.CONVERTED: " USD"}
"""What rows are in, where it is not the market's own quote."""


def cursor_text(axis: AxisView, market: MarketView, k: int, room: int) -> str:
    """What stands between the touch and the cursor, in up to `room` cells where its shortest form has room there.

    No figures where they are of another row or market, as on the way to a time.
    """
    return first_fitting(_cursor_texts(axis, market, k), room)


def _cursor_texts(axis: AxisView, market: MarketView, k: int) -> Sequence[str]:
    """The same in longer and shorter words."""
    unit = UNITS.get(axis.axis, "")
    where = f"{market_name(market.facts)} to {row_name(axis, k)}{unit}"
    column = next((each for each in axis.members if each.instrument == market.instrument), None)
    if column is None or column.hollow:
        return (f"{where}: no book that may be read here",)
    if column.bid_row is not None and column.ask_row is not None and column.bid_row < k < column.ask_row:
        return (f"{where}: inside the spread",)
    cursor = axis.cursor
    if cursor is None or (cursor.instrument, cursor.row) != (market.instrument, k):
        return (f"{where}: {DASH}",)
    base, quote = market.facts.base, market.facts.quote
    beyond = _beyond(column, cursor.side, k)
    known = "all that is known, " if beyond else ""
    size, value = f"{quantity(cursor.base)} {base}", f"{compact(cursor.quote)} {quote}"
    average, costs = f"average {price(cursor.average_price, market.facts.tick)}", f"costs {quantity(cursor.cost_bps)} bp"
    short = f"{quoted_name(market.facts)} to {row_name(axis, k)}"
    return (
        f"{where}: {known}{cursor.side} {size} = {value}, {average}, {costs} from mid",
        f"{where}: {known}{cursor.side} {size} = {value}, {costs} from mid",
        f"{short}: {known}{cursor.side} {size} = {value}, {costs}",
        f"{short}: {'all: ' if beyond else ''}{size} = {value}, {costs}",
        f"{row_name(axis, k)}: {size}, {costs}",
    )


def _beyond(column: LadderColumn, side: str, k: int) -> bool:
    """Whether row k lies beyond the last level that the book holds."""
    if side == "bids":
        return column.deepest_bid_row is not None and k < column.deepest_bid_row
    return column.deepest_ask_row is not None and k > column.deepest_ask_row
