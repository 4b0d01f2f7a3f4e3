"""A framed place for one live grid: the frame and its titles belong to the container, so the grid stays bare and cheap."""

from typing import Final

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container

from tui.line import plain
from tui.table import Layout
from tui.widgets.live_grid import LiveGrid

EDGE_CELLS: Final = 8
"""Of an edge, beside the text on it."""


class Panel(Container):
    """`say` sets the frame's plain texts; they are repainted only when they change."""

    def __init__(self, grid: LiveGrid, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self.grid = grid
        self._said = ("", "")

    def compose(self) -> ComposeResult:
        yield self.grid

    def say(self, title: str, subtitle: str = "", layout: Layout | None = None) -> None:
        """Put `title` into the upper edge and `subtitle` into the lower one, with the columns that `layout` has no room for.

        A short screen has no lower edge: it says them in the upper one.
        """
        short = self.screen.has_class("-short")
        missing = ""
        if layout is not None:
            missing = layout.said_missing(self.size.width - EDGE_CELLS - len(f"{title if short else subtitle} · "))
        title, subtitle = (_joined(title, missing), subtitle) if short else (title, _joined(missing, subtitle))
        if self._said == (title, subtitle):
            return
        self._said = (title, subtitle)
        self.border_title = Text(f" {plain(title)} ") if title else None
        self.border_subtitle = Text(f" {plain(subtitle)} ") if subtitle else None


def _joined(*texts: str) -> str:
    return " · ".join(filter(None, texts))
