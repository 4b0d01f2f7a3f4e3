"""ALERTS: the work list. Filter, sort, acknowledge, mute, look at one in detail, export."""

from collections.abc import Iterable
from typing import ClassVar, Final

from textual.widget import Widget

from feeds.model import SECOND, Ns
from tui.line import text_of
from tui.lines.alerts import COLUMNS, Rows, nothing_fired, table
from tui.lines.help import columns_legend
from tui.scene import Scene
from tui.screens.alert import AlertScreen
from tui.screens.export import ExportScreen
from tui.screens.live import LiveScreen
from tui.widgets.bindings import bind
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import Panel
from tui.worklist import ORDERS, Filter, Item, Worklist, arrange, parse

MUTE_NS: Final[Ns] = 600 * SECOND
FILTER_HINT: Final = "filter (words, sev>=warn, rule:z, venue:bybit, is:open|closed|new|acked|muted): "


class AlertsScreen(LiveScreen):
    """One row an episode."""

    TITLE_ID = "alerts"
    FOOTER = ("help", "detail", "ack", "ack_all", "mute", "filter", "sort", "export", "freeze")
    BINDINGS: ClassVar = bind("filter", "sort", "ack", "ack_all", "mute", "export", "copy")
    LEGEND = columns_legend("columns", COLUMNS)

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self.grid = LiveGrid(id="alerts")
        self.panel = Panel(self.grid)
        self.worklist = Worklist()
        self.chosen = Filter()
        self.order = next(iter(ORDERS))
        self._drawn_items: tuple[Item, ...] = ()
        """What the user sees, and keys act on."""
        self._rows = Rows()
        self._frozen: tuple[tuple[Item, ...], Filter, str, tuple[Item, ...]] = ((), self.chosen, "", ())
        """Of a frozen picture: its items, how they were arranged, and what came of it."""

    def panels(self) -> Iterable[Widget]:
        return (self.panel,)

    def items(self) -> tuple[Item, ...]:
        """What the list shows."""
        source = self.arbtop.source
        return self.worklist.refresh(source.version, source.alerts, source.muted, self.chosen, self.order, source.engine.now_ns)

    def _arranged(self, items: tuple[Item, ...], now: Ns) -> tuple[Item, ...]:
        if items is not self._frozen[0] or (self.chosen, self.order) != self._frozen[1:3]:
            self._frozen = items, self.chosen, self.order, arrange(items, self.chosen, self.order, now)
        return self._frozen[3]

    def show(self, scene: Scene) -> None:
        now = scene.snapshot.now_ns
        items = self.items() if scene.held is None else self._arranged(scene.items, now)
        self._drawn_items = items
        facts = {market.instrument: market for market in scene.snapshot.markets}
        layout = table(self.grid.size.width)
        total = len(scene.items)
        empty = "no alert matches the filter" if total else nothing_fired(self.arbtop.source.engine.alerts.rules)
        self.grid.show((layout.head,), self._rows.make(layout, items, facts, now), empty)
        filtered = f" · filter “{self.chosen.text}”: {len(items)} of {total}" if self.chosen.text else f" · {total}"
        self.panel.say(f"ALERTS  {self.order}{filtered}", self.chosen.problem, layout)

    # -- keys --------------------------------------------------------------------------------------------------------------

    def _item(self) -> Item | None:
        """What the cursor is on; None, and a word, while nothing can be done about it."""
        if self.arbtop.on_the_way():
            return None
        selected = self.grid.selected
        if selected is None and self._drawn_items:
            self.arbtop.tell("the alert chosen is not in this list any more: choose another with ↑ ↓")
        return next((item for item in self._drawn_items if selected is not None and item.key == selected.key), None)

    def action_filter(self) -> None:
        self.ask(FILTER_HINT, self.chosen.text, self._filter, self._filter)

    def _filter(self, text: str) -> None:
        self.chosen = parse(text.strip())
        self.draw()

    def action_sort(self) -> None:
        names = list(ORDERS)
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self.draw()

    def action_ack(self) -> None:
        item = self._item()
        if item is not None:
            below = self._drawn_items[self._drawn_items.index(item) + 1 :]
            self.arbtop.source.ack(item.alert.seq)
            self.draw()
            if self.grid.selected is None and below:  # the filter hides what has been acknowledged
                self.grid.go(below[0].key)

    def action_ack_all(self) -> None:
        if self.arbtop.on_the_way():
            return
        waiting = [item.alert.seq for item in self._drawn_items if not item.alert.acked_ns]
        for seq in waiting:
            self.arbtop.source.ack(seq)
        self.arbtop.tell(f"{len(waiting)} acknowledged")
        self.draw()

    def action_mute(self) -> None:
        item = self._item()
        if item is None:
            return
        source, alert = self.arbtop.source, item.alert
        if (alert.rule, alert.scope) in source.muted:
            source.unmute(alert.rule, alert.scope)
            self.arbtop.tell(f"{alert.rule} is heard again on {alert.scope}")
        else:
            source.mute(alert.rule, alert.scope, MUTE_NS)
            self.arbtop.tell(f"muted for 10 min: {alert.rule} on {alert.scope} (still logged and exported)")
        self.draw()

    def action_copy(self) -> None:
        if self.grid.selected is not None:
            self.arbtop.put_on_clipboard(text_of(self.grid.selected.line).strip())

    def action_export(self) -> None:
        self.arbtop.push_screen(ExportScreen([item.alert for item in self._drawn_items]))

    def on_live_grid_chosen(self, event: LiveGrid.Chosen) -> None:
        event.stop()
        item = next((item for item in self._drawn_items if item.key == event.key), None)
        if item is not None:
            self.arbtop.push_screen(AlertScreen(item.alert))

    def leave(self) -> None:
        if self.chosen.text:
            self._filter("")

    def look_at(self, key: str) -> None:
        """Put the cursor on an alert; a filter that hides it goes."""
        if not any(item.key == key for item in self.items()):
            self.chosen = Filter()
        self.grid.go(key)
