"""DESK's figures in Textual's `DataTable`, as most would build it: the yardstick of `tests/bench/screens.py`.

Two tables of the same figures as DESK's grids, one cell a column, at the same rate, and only cells that changed are updated.
"""

import asyncio
import time
from typing import Any

from rich.text import Text
from textual.app import App, ComposeResult
from textual.widgets import DataTable, Static

from analytics.snapshot import View
from tui.app import PUMP_S, Look
from tui.driver import Outlet, TerminalDriver
from tui.frame import FrameMeter
from tui.line import Line, text_of
from tui.lines.desk import SPARK_S, market_line, market_table, route_line, route_table, same_venue_basis
from tui.playback import Playback
from tui.screens.desk import ROUTES
from tui.table import Layout
from tui.widgets.palette import Palette

WIDTH = 158
"""Cells inside DESK's panels on a terminal of 160."""


class TableApp(App[int]):
    """Exits by itself when it has been measured."""

    CSS = "Static { height: 2; } #markets { height: 10; } #routes { height: 1fr; }"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, source: Playback, look: Look) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.source = self.tape = source
        self.outlet: Outlet | None = None
        self.meter = FrameMeter(look.fps, time.monotonic_ns)
        self._fps = look.fps
        self._palette = Palette(look.theme)
        self._cells: dict[tuple[str, str, str], tuple[str, str]] = {}
        self.markets: DataTable[Text] = DataTable(id="markets", cursor_type="row")
        self.routes: DataTable[Text] = DataTable(id="routes", cursor_type="row")

    def compose(self) -> ComposeResult:
        yield Static("arbtop", markup=False)
        yield self.markets
        yield self.routes

    def on_mount(self) -> None:
        for table, layout in ((self.markets, market_table(WIDTH)), (self.routes, route_table(WIDTH))):
            table.cell_padding = 0
            for column, width in zip(layout.columns, layout.widths, strict=True):
                table.add_column(column.title, width=width + 1, key=column.key)
        self.run_worker(self._pump(), exit_on_error=True)
        self.set_interval(1 / self._fps, self._tick)

    async def _pump(self) -> None:
        while True:
            self.source.advance(time.monotonic_ns())
            await asyncio.sleep(PUMP_S)

    def _tick(self) -> None:
        if self.meter.due(self.outlet):
            with self.meter.frame():
                self._draw()

    def _draw(self) -> None:
        engine = self.source.engine
        snapshot = engine.snapshot(View(window_s=SPARK_S, routes=engine.nearest_routes(ROUTES), exits=True))
        now = snapshot.now_ns
        facts = {market.instrument: market for market in snapshot.markets}
        basis = same_venue_basis(snapshot)
        layout = market_table(WIDTH)
        for market in snapshot.markets:
            line = market_line(layout, market, basis.get(market.instrument), now, "braille", 50)
            self._put(self.markets, layout, market.instrument, line)
        layout = route_table(WIDTH)
        for at, route in enumerate(snapshot.routes):
            self._put(self.routes, layout, str(at), route_line(layout, route, facts, now))

    def _put(self, table: DataTable[Any], layout: Layout, row: str, line: Line) -> None:
        if row not in table.rows:
            table.add_row(*("" for _ in layout.columns), key=row)
        text, at = text_of(line), 1
        for column, width in zip(layout.columns, layout.widths, strict=True):
            cell = text[at : at + width], _role(line, at + width - 1)
            at += width + layout.gap
            if self._cells.get((table.id or "", row, column.key)) != cell:
                self._cells[table.id or "", row, column.key] = cell
                table.update_cell(row, column.key, Text(cell[0], style=self._palette.style(cell[1], "")))


def _role(line: Line, place: int) -> str:
    """The role of the cell at a place."""
    for text, role in line.spans:
        if place < len(text):
            return role
        place -= len(text)
    return "text"
