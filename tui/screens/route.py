"""One route in detail, live: Enter on a row of DESK."""

from collections.abc import Iterable
from typing import ClassVar

from textual.widget import Widget

from analytics.snapshot import View
from tui.line import Row, text_of
from tui.lines.route import route_lines, route_title
from tui.scene import Scene
from tui.screens.live import Dialog
from tui.widgets.bindings import bind
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import Panel


class RouteScreen(Dialog):
    """`route` is the route's id."""

    FOOTER = ("back", "copy", "bigger", "smaller", "freeze", "play")
    BINDINGS: ClassVar = bind("copy")

    def __init__(self, route: str) -> None:
        super().__init__(name="route")
        self.route = route
        self.grid = LiveGrid(id="route", cursor=False, scrolls=True)
        self.panel = Panel(self.grid)

    def panels(self) -> Iterable[Widget]:
        return (self.panel,)

    def view(self) -> View:
        return View(routes=(self.route,), pairs=None, sums=False, exits=True, details=True, size_usd=self.arbtop.size_usd)

    def show(self, scene: Scene) -> None:
        snapshot = scene.snapshot
        facts = {market.instrument: market for market in snapshot.markets}
        route = next((each for each in snapshot.routes if each.route == self.route), None)
        if route is None or route.detail is None:
            self.panel.say(f"ROUTE  {self.route}: not there any more")
            self.grid.show((), ())
            return
        lines = route_lines(route, route.detail, facts, scene.size_usd, snapshot.now_ns, self.grid.size.width)
        self.grid.show((), [Row(str(at), line) for at, line in enumerate(lines)])
        self.panel.say(f"ROUTE  {route_title(route, facts)}")

    def action_copy(self) -> None:
        self.arbtop.put_on_clipboard("\n".join(text_of(row.line).rstrip() for row in self.grid.rows))
