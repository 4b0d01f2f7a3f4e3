"""One alert in detail: what fired, on which legs, with which books, and where that is in the recording. Enter goes there."""

from collections.abc import Iterable
from typing import ClassVar

from textual.widget import Widget

from analytics.alert import Alert
from analytics.snapshot import Snapshot, View
from tui.export import utc_text
from tui.line import text_of
from tui.lines.alerts import detail_lines
from tui.playback import BEFORE_ALERT_NS
from tui.scene import Scene
from tui.screens.live import Dialog
from tui.widgets.bindings import bind
from tui.widgets.live_grid import LiveGrid, Row
from tui.widgets.panel import Panel
from tui.worklist import item_of, key_of


class AlertScreen(Dialog):
    """`alert` as it was when it was opened: it is looked for in each pass by what it is, not by its number."""

    FOOTER = ("back", ("detail", "Go there"), "ack", "copy", ("down", "Scroll"))
    BINDINGS: ClassVar = bind("ack", "copy", "detail")

    def __init__(self, alert: Alert) -> None:
        super().__init__(name="alert")
        self.alert = alert
        self.grid = LiveGrid(id="alert", cursor=False, scrolls=True)
        self.panel = Panel(self.grid)
        self._trigger: Snapshot | None = None

    def panels(self) -> Iterable[Widget]:
        return (self.panel,)

    def view(self) -> View:
        return View(routes=None)

    def on_mount(self) -> None:
        self._trigger = self.arbtop.source.triggers.get(self.alert.seq)
        super().on_mount()

    def show(self, scene: Scene) -> None:
        source = self.arbtop.source
        there = self._now()
        if scene.held is None:
            self.alert = there or self.alert
        else:
            key = key_of(self.alert)
            self.alert = next((item.alert for item in scene.items if item.key == key), self.alert)
        facts = {market.instrument: market for market in scene.snapshot.markets}
        lines = detail_lines(
            item_of(self.alert, source.muted),
            self._trigger,
            facts,
            scene.snapshot.now_ns,
            scene.status.exact,
            self.grid.size.width,
        )
        self.grid.show((), [Row(str(at), line) for at, line in enumerate(lines)])
        gone = "" if there is not None else "  (not in this pass, or not yet)"
        self.panel.say(f"ALERT #{self.alert.seq}{gone}", "Enter goes to a second before it")

    def _now(self) -> Alert | None:
        """The same episode as it stands in the present pass."""
        alerts = self.arbtop.source.alerts
        found = alerts.get(self.alert.seq)
        key = key_of(self.alert)
        if found is not None and key_of(found) == key:
            return found
        return next((alert for alert in alerts.values() if key_of(alert) == key), None)

    def action_ack(self) -> None:
        there = self._now()
        if there is not None and not self.arbtop.on_the_way():
            self.arbtop.source.ack(there.seq)
            self.draw()

    def action_copy(self) -> None:
        self.arbtop.put_on_clipboard("\n".join(text_of(row.line).rstrip() for row in self.grid.rows))

    def action_detail(self) -> None:
        app, at = self.arbtop, max(self.alert.opened_ns - BEFORE_ALERT_NS, self.arbtop.source.start_ns)
        self.dismiss()
        app.go_to(utc_text(at) or "start")
