"""A framed place for one live grid: the frame and its titles belong to the container, so the grid stays bare and cheap."""

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container

from tui.line import plain
from tui.widgets.live_grid import LiveGrid


class Panel(Container):
    """`say` sets the frame's plain texts; they are repainted only when they change."""

    def __init__(self, grid: LiveGrid, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self.grid = grid
        self._said = ("", "")

    def compose(self) -> ComposeResult:
        yield self.grid

    def say(self, title: str, subtitle: str = "") -> None:
        """Put `title` into the upper edge and `subtitle` into the lower one."""
        if self._said == (title, subtitle):
            return
        self._said = (title, subtitle)
        self.border_title = Text(f" {plain(title)} ") if title else None
        self.border_subtitle = Text(f" {plain(subtitle)} ") if subtitle else None
