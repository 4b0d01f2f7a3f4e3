"""DESK, the home screen: markets, the routes closest to money, the latest alerts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from analytics.routes import Axis, Route
from analytics.snapshot import MarketView, RouteView, View
from feeds.model import SECOND, InstrumentId, Ns
from tui.formats import bps, plural, usd
from tui.line import Row, text_of
from tui.lines.alerts import Rows as AlertRows
from tui.lines.alerts import nothing_fired
from tui.lines.alerts import table as alert_table
from tui.lines.desk import (
    MARKET_COLUMNS,
    ROUTE_COLUMNS,
    SPARK_S,
    Touch,
    jumped,
    market_line,
    market_table,
    nearness,
    nothing_listed,
    route_line,
    route_table,
    same_venue_basis,
)
from tui.lines.help import columns_legend
from tui.names import market_name, route_name
from tui.scene import Scene
from tui.screens.export import ExportScreen
from tui.screens.live import LiveScreen
from tui.screens.picker import PickerScreen
from tui.screens.route import RouteScreen
from tui.source import LiveStatus
from tui.table import Layout
from tui.widgets.bindings import bind
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import Panel

RESORT_NS: Final[Ns] = SECOND
"""Rows change places once a second at most: what moves cannot be read."""
ROUTES: Final = 60
"""Routes that are judged for the screen, the nearest first."""
STRIPPED: Final = 20
MARKET_ROWS: Final = 12
MARKET_SHARE: Final = 0.4
"""Of the height: so many rows of markets, or `MARKET_ROWS`, before the panel scrolls."""

AGES: Final = (
    "of which moment",
    (
        ("each frame", "prices, spread, depth, basis, mark − index, funding and routes are of the frame's own moment"),
        ("each second", "premium, every z and the lines are sampled once a second: up to that much older than prices"),
    ),
)
"""The statistics' grid (`Market.second`), said to whoever compares figures of one row."""


class DeskScreen(LiveScreen):
    """Three panels; the middle one takes what is left of the height."""

    TITLE_ID = "desk"
    FOOTER = ("help", "next_panel", "detail", "freeze", "filter", "sort", "zoom", "play", "quit")
    BINDINGS: ClassVar = bind("filter", "sort", "instrument", "copy", "export")
    LEGEND = (*columns_legend("markets", MARKET_COLUMNS), AGES, *columns_legend("routes", ROUTE_COLUMNS))

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self.markets = LiveGrid(id="markets")
        self.routes = LiveGrid(id="routes")
        self.strip = LiveGrid(id="strip")
        self.markets_panel = Panel(self.markets, id="markets-panel")
        self.routes_panel = Panel(self.routes, id="routes-panel")
        self.strip_panel = Panel(self.strip, id="strip-panel")
        self.filter = ""
        self.by_asset = False
        self._touches: dict[InstrumentId, Touch] = {}
        self._first: dict[LiveGrid, str] = {self.routes: "", self.strip: ""}
        """Key of the first row of a panel, while its cursor has not been moved from there."""
        self._nearest: tuple[str, ...] = ()
        self._sorted_ns: Ns = -1
        self._every = 0
        """Routes that there are for the filter."""
        self._strip_rows = AlertRows()
        self._ranked_when: tuple[Ns, float] | None = None
        self._ranks: Mapping[str, int] = {}

    def panels(self) -> Iterable[Widget]:
        return self.markets_panel, self.routes_panel, self.strip_panel

    def view(self) -> View:
        return View(window_s=SPARK_S, routes=self._order(), exits=True, size_usd=self.arbtop.size_usd, own_spot=True)

    def _order(self) -> tuple[str, ...]:
        engine = self.arbtop.source.engine
        if engine.now_ns - self._sorted_ns >= RESORT_NS or engine.now_ns < self._sorted_ns or not self._nearest:
            self._sorted_ns = engine.now_ns - engine.now_ns % RESORT_NS
            self._nearest = engine.nearest_routes(ROUTES, self._wanted if self.filter else None)
            self._every = sum(route.axis is not Axis.RAW and self._wanted(route) for route in engine.routes.values())
        return self._nearest

    def _ranked(self, routes: Sequence[RouteView]) -> Mapping[str, int]:
        """The places of the routes: by what each would leave at the size of the screen, as it was when they were sorted last."""
        when = self._sorted_ns, self.arbtop.size_usd
        if when != self._ranked_when:
            self._ranked_when = when
            self._ranks = {route.route: at for at, route in enumerate(sorted(routes, key=nearness))}
        return self._ranks

    def _wanted(self, route: Route) -> bool:
        return self._matches(route_name(route.buy.instrument, route.sell.instrument))

    def show(self, scene: Scene) -> None:
        snapshot = scene.snapshot
        now = snapshot.now_ns
        spark = self.arbtop.look.glyphs.spark
        facts = {market.instrument: market for market in snapshot.markets}
        basis = same_venue_basis(snapshot)

        table = market_table(self.markets.size.width)
        z_from = self.arbtop.source.engine.settings.z.min_periods
        markets = [market for market in sorted(snapshot.markets, key=_market_order) if self._matches(market_name(market.facts))]
        rows = []
        for market in markets:
            name = market.instrument
            flash = not self.arbtop.look.calm and jumped(self._touches.get(name), market)
            self._touches[name] = (market.bid, market.ask)
            rows.append(Row(name, market_line(table, market, basis.get(name), now, spark, z_from, flash)))
        heads = [*table.heads]
        if not snapshot.markets and isinstance(scene.status, LiveStatus):
            heads += nothing_listed(scene.status)
        self.markets.show(heads, rows, "no market matches the filter" if snapshot.markets else "")
        self._fit_markets(max(len(markets), 1) + len(heads))

        layout = route_table(self.routes.size.width)
        rank = self._ranked(snapshot.routes)
        routes = sorted(snapshot.routes, key=lambda route: rank.get(route.route, len(rank)))
        if self.by_asset:
            routes.sort(key=lambda route: route.route.partition(":")[2].partition("/")[0])
        rows = [Row(route.route, route_line(layout, route, facts, now)) for route in routes]
        found = [row for row in rows if self._matches(text_of(row.line))] if self.filter else rows
        self._keep_first(self.routes, found)
        self.routes.show(layout.heads, found, self._no_route())

        strip = alert_table(self.strip.size.width)
        latest = self._strip_rows.make(strip, scene.items[:STRIPPED], facts, now)
        self._keep_first(self.strip, latest)
        heads = [] if self.has_class("-short") else [strip.head]
        self.strip.show(heads, latest, nothing_fired(self.arbtop.source.engine.alerts.rules))
        self._titles(scene, len(rows), table, layout)

    def _keep_first(self, grid: LiveGrid, rows: Sequence[Row]) -> None:
        """The cursor stays on the best route, and the latest alert, until the user moves it; from then on it follows its row."""
        if grid.cursor != self._first.get(grid):
            self._first.pop(grid, None)
        elif rows:
            self._first[grid] = grid.cursor = rows[0].key

    def _no_route(self) -> str:
        routes = self.arbtop.source.engine.routes.values()
        if not routes:
            return "no asset has two markets here"
        if all(route.axis is Axis.RAW for route in routes):
            return "RAW: no two markets of an asset have a common axis: their quotes differ, and an index is missing"
        return "no route matches the filter"

    def _titles(self, scene: Scene, routes: int, table: Layout, layout: Layout) -> None:
        settings = self.arbtop.source.engine.settings
        found = f" · filter “{self.filter}”" if self.filter else ""
        shown, every = min(self.markets.rows_shown, len(self.markets.rows)), len(scene.snapshot.markets)
        part = f"  {shown} of {every}" if 0 < shown < every else ""
        self.markets_panel.say(f"MARKETS{part}{found}", f"z over {settings.z.window} s, from {settings.z.min_periods} on", table)
        judged = "" if scene.size_usd == scene.judged_usd else f" (alerts at {usd(scene.judged_usd)})"
        size = f"at {usd(scene.size_usd)} a leg{judged}" if scene.size_usd else "at the touch"
        fees = "all fees" if self.has_class("-short") else "after every fee in and out"
        counted = plural(routes, "route") if routes >= self._every else f"{routes} of {self._every} routes"
        self.routes_panel.say(
            f"CLOSEST TO MONEY  {size}, {fees}{found}",
            f"{'by asset' if self.by_asset else 'nearest first'} · {counted} · opens at edge {bps(settings.arb.open_bp)} bp",
            layout,
        )
        self.strip_panel.say("ALERTS", "7 opens the list")

    def _fit_markets(self, lines: int) -> None:
        short = self.has_class("-short")
        height = min(lines, max(MARKET_ROWS, int(self.size.height * MARKET_SHARE))) + (1 if short else 2)
        height = min(height, max(self.size.height // 2 - (3 if short else 0), 5))
        if self.markets_panel.styles.height is None or self.markets_panel.styles.height.value != height:
            self.markets_panel.styles.height = height

    def _matches(self, text: str) -> bool:
        if not self.filter:
            return True
        text = text.casefold()
        return all(word in text for word in self.filter.casefold().split())

    # -- keys --------------------------------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        self.ask("filter rows: ", self.filter, self._filter, self._filter)

    def _filter(self, text: str) -> None:
        self.filter = text.strip()
        self._sorted_ns = -1
        self.draw()

    def leave(self) -> None:
        if self.filter:
            self._filter("")

    def action_sort(self) -> None:
        self.by_asset = not self.by_asset
        self.draw()

    def action_instrument(self) -> None:
        markets = self.arbtop.source.engine.markets.values()
        choices = sorted((market_name(market.instrument), market.id) for market in markets)
        texts = [(key, name) for name, key in choices]
        self.arbtop.push_screen(PickerScreen("CHOOSE A MARKET", texts, self.markets.cursor, self.look_at))

    def action_export(self) -> None:
        self.arbtop.push_screen(ExportScreen([item.alert for item in self.arbtop.items()]))

    def on_live_grid_chosen(self, event: LiveGrid.Chosen) -> None:
        event.stop()
        app = self.arbtop
        if event.grid is self.markets:
            app.screens["book"].look_at(event.key)
            app.action_open("book")
        elif event.grid is self.routes:
            app.push_screen(RouteScreen(event.key))
        else:
            app.screens["alerts"].look_at(event.key)
            app.action_open("alerts")

    def action_copy(self) -> None:
        grid = self.focused
        if isinstance(grid, LiveGrid) and grid.selected is not None:
            self.arbtop.put_on_clipboard(text_of(grid.selected.line).strip())

    def look_at(self, key: str) -> None:
        """Put the cursor on a market or a route, and the focus on its panel; a filter that hides it goes."""
        route = self.arbtop.source.engine.routes.get(key)
        if route is not None:
            if not self._wanted(route):
                self._filter("")
            self._first.pop(self.routes, None)
            self.routes.go(key)
            self.routes.focus()
            return
        market = self.arbtop.source.engine.markets.get(key)
        if market is not None and not self._matches(market_name(market.instrument)):
            self._filter("")
        self.markets.go(key)


def _market_order(market: MarketView) -> tuple[str, str, int, str]:
    facts = market.facts
    return facts.base, facts.venue, ("spot", "perp", "future", "option").index(facts.kind), facts.id
