"""Large prints of all markets as lines, the newest first."""

from collections.abc import Mapping
from typing import Final

from analytics.snapshot import MarketView, Print
from feeds.model import InstrumentId
from tui.formats import clock, compact, price
from tui.line import Line, first_fitting
from tui.names import leg_name, market_name
from tui.table import Column, Layout, fit_columns

TAPE_COLUMNS: Final = (
    Column("time", "received", 8, "<", 0),
    Column("market", "market", 16, "<", 0, grow=True),
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
            "time": (clock(trade.recv_ns, 0).rstrip("Z"), "dim"),
            "market": (_name(market, layout.cells_of("market")) if market is not None else trade.instrument, "text"),
            "side": (f"{sign}{trade.aggressor}" if not trade.block else "block", role),
            "price": (price(trade.price, market.facts.tick if market is not None else None), role),
            "usd": (compact(trade.notional_quote), "title"),
        }
    )


def _name(market: MarketView, room: int) -> str:
    """With its asset in any case: prints of all markets stand in one list."""
    return first_fitting((market_name(market.facts), f"{leg_name(market.facts)} {market.facts.base}"), room)
