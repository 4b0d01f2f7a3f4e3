"""One alert in detail: what fired, on which legs, with which books, and where that is in the recording. Enter goes there."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from textual.widget import Widget

from analytics.alert import Alert
from analytics.snapshot import Snapshot
from feeds.model import SECOND
from tui.export import utc_text
from tui.line import Row, text_of
from tui.lines.alerts import Facts, detail_lines, scope_name
from tui.playback import BEFORE_ALERT_NS, Playback
from tui.scene import Scene
from tui.screens.live import Dialog
from tui.widgets.bindings import bind
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import Panel
from tui.worklist import item_of, key_of

GO_THERE: Final = ("detail", "Go there")


class AlertScreen(Dialog):
    """`alert` as it was when it was opened: it is looked for in each pass by what it is, not by its number."""

    FOOTER = ("back", GO_THERE, "ack", "copy", ("down", "Scroll"))
    BINDINGS: ClassVar = bind("ack", "copy", "detail")

    def __init__(self, alert: Alert) -> None:
        super().__init__(name="alert")
        self.alert = alert
        self.grid = LiveGrid(id="alert", cursor=False, scrolls=True)
        self.panel = Panel(self.grid)
        self._trigger: Snapshot | None = None
        self._facts: Facts = {}

    def panels(self) -> Iterable[Widget]:
        return (self.panel,)

    def foot(self) -> Sequence[str | tuple[str, str]]:
        """A live run goes nowhere."""
        return self.FOOTER if self.arbtop.tape is not None else [key for key in self.FOOTER if key != GO_THERE]

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
        facts = self._facts = {market.instrument: market for market in scene.snapshot.markets}
        lines = detail_lines(
            item_of(self.alert, source.muted),
            self._trigger,
            facts,
            scene.snapshot.now_ns,
            scene.status.exact if self.arbtop.tape is not None else None,
            self.grid.size.width,
        )
        self.grid.show((), [Row(str(at), line) for at, line in enumerate(lines)])
        gone = "" if there is not None else "  (not in this pass, or not yet)"
        mend = "Enter goes to a second before it" if self.arbtop.tape is not None else ""
        self.panel.say(f"ALERT #{self.alert.seq}{gone}", mend)

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
        self.arbtop.with_tape(self._go_there)

    def _go_there(self, tape: Playback) -> None:
        """Where the alert is not yet: so to the screen of what it is about."""
        app, alert = self.arbtop, self.alert
        at = max(alert.opened_ns - BEFORE_ALERT_NS, tape.start_ns)
        where, key = screen_of(alert.scope)
        app.action_open(where)
        app.screens[where].look_at(key)
        app.go_to(utc_text(at) or "start")
        lead_s = (alert.opened_ns - at) / SECOND
        app.tell(f"{lead_s:.3g} s before alert #{alert.seq}: {alert.rule} {scope_name(alert.scope, self._facts)}")


def screen_of(scope: str) -> tuple[str, str]:
    """The screen that shows what an alert is about, and what there: a route on DESK, the book of a market or a pair's first.

    What a coin is worth stands over every screen: DESK as it is.
    """
    return ("desk", scope) if " > " in scope or ":" not in scope else ("book", scope.partition(" / ")[0])
