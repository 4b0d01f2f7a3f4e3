"""Choose an asset or a market by typing part of its name."""

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual.widget import Widget

from tui.line import Line, Row, pad
from tui.scene import Scene
from tui.screens.live import Dialog
from tui.widgets.bindings import bind
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import Panel


class PickerScreen(Dialog):
    """`choices` are (key, text) pairs; `done` gets the key that was chosen."""

    FOOTER = (("detail", "Choose"), "back", "filter", ("down", "Move"))
    BINDINGS: ClassVar = bind("filter")

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], now: str, done: Callable[[str], object]) -> None:
        super().__init__(name="picker")
        self.choices = choices
        self.filter = ""
        self._done = done
        self._title = title
        self.grid = LiveGrid(id="picker")
        self.grid.go(now)
        self.panel = Panel(self.grid)

    def panels(self) -> Iterable[Widget]:
        return (self.panel,)

    def show(self, scene: Scene) -> None:
        width = self.grid.size.width
        words = self.filter.casefold().split()
        found = [(key, text) for key, text in self.choices if all(word in text.casefold() for word in words)]
        if found and self.grid.cursor not in dict(found):  # else Enter would choose nothing until the cursor is moved
            self.grid.go(found[0][0])
        self.grid.show((), [Row(key, pad(Line(((f" {text}", "text"),)), width)) for key, text in found])
        self.panel.say(f"{self._title}{f'  “{self.filter}”' if self.filter else ''}", f"{len(found)} of {len(self.choices)}")

    def action_filter(self) -> None:
        self.ask("name: ", self.filter, self._filter, self._filter)

    def _filter(self, text: str) -> None:
        self.filter = text.strip()
        self.draw()

    def on_live_grid_chosen(self, event: LiveGrid.Chosen) -> None:
        event.stop()
        key = event.key
        self.dismiss()
        self._done(key)
