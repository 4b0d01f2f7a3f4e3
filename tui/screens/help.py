"""The help of one screen: its keys, those of every screen, and what its columns and signs mean. Read from what is there."""

from collections.abc import Iterable
from typing import ClassVar

from textual.widget import Widget

from tui.line import Row
from tui.lines.help import help_lines
from tui.scene import Scene
from tui.screens.live import Dialog, LiveScreen
from tui.widgets.bindings import bind
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import Panel


class HelpScreen(Dialog):
    """Esc or `?` goes back."""

    FOOTER = ("back", ("down", "Scroll"), ("page_down", "Page"))
    BINDINGS: ClassVar = bind("help")

    def __init__(self, about: LiveScreen) -> None:
        super().__init__(name="help")
        ids = [binding.binding.id for binding in about.active_bindings.values() if binding.binding.id]
        self._ids = tuple(dict.fromkeys(ids))
        self._about = about
        self.grid = LiveGrid(id="help", cursor=False, scrolls=True)
        self.panel = Panel(self.grid)

    def panels(self) -> Iterable[Widget]:
        return (self.panel,)

    def show(self, scene: Scene) -> None:
        lines = help_lines(self._ids, self._about.LEGEND, self.grid.size.width)
        self.grid.show((), [Row(str(at), line) for at, line in enumerate(lines)])
        self.panel.say(f"HELP  {self._about.TITLE_ID.upper()}".rstrip())
