"""Large prints of all markets as lines, the newest first."""

from collections.abc import Mapping
from typing import Final

from analytics.snapshot import MarketView, Print
from feeds.model import InstrumentId
from tui.formats import clock, compact, price
from tui.line import Line
from tui.names import quoted_name
from tui.table import Column, Layout, fit_columns

TAPE_COLUMNS: Final = (
    Column("time", "received", 11, "<", 0),
    Column("market", "market", 13, "<", 0, grow=True),
    Column("side", "side", 5, "<", 0),
    Column("price", "price", 9, ">", 1),
    Column("usd", "$", 6, ">", 0),
)


def tape_table(width: int) -> Layout:
    return fit_columns(TAPE_COLUMNS, width)


def tape_line(layout: Layout, trade: Print, markets: Mapping[InstrumentId, MarketView]) -> Line:
    """One large print."""
    market = markets.get(trade.instrument)
    role = "bid" if trade.aggressor == "buy" else "ask"
    sign = "↑" if trade.aggressor == "buy" else "↓"
    return layout.row(
        {
            "time": (clock(trade.recv_ns), "dim"),
            "market": (quoted_name(market.facts) if market is not None else trade.instrument, "text"),
            "side": (f"{sign}{trade.aggressor}" if not trade.block else "block", role),
            "price": (price(trade.price, market.facts.tick if market is not None else None), role),
            "usd": (compact(trade.notional_quote), "title"),
        }
    )
