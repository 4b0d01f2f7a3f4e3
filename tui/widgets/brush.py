"""Puts the changed lines of a screen's grids onto the terminal in one write, past Textual's compositor.

A frame changes lines of grids that stand where they stood. The compositor would ask every widget around them for its lines, cut
all of these at every edge, and come to it two timers and a message a grid later: 1.5 ms of BOOK's frame. It draws from the same
lines whenever it draws, and compares with nothing, so what is written here it need not know.

Not for a grid that something lies over or that is cut off, nor while the screen is to be laid out or painted as a whole: such
lines take the long way.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

from rich.console import Console
from textual._compositor import CompositorUpdate
from textual.geometry import Region
from textual.screen import Screen
from textual.widget import Widget

from tui.widgets.painted import Painted

Placed: TypeAlias = tuple[int, int, Painted]
"""Column, row, and the line that begins there."""
NOWHERE: Final = Region()


class Lines(CompositorUpdate):
    """Lines and parts of lines at their places, in the order in which they are written."""

    def __init__(self, placed: Sequence[Placed]) -> None:
        self.placed = placed

    def render_segments(self, console: Console) -> str:
        return "".join([f"\x1b[{y + 1};{x + 1}H{painted.codes(console)}" for x, y, painted in self.placed])


class Brush:
    """Of one screen."""

    def __init__(self, screen: Screen[None]) -> None:
        self._screen = screen
        self._placing: Mapping[Widget, tuple[Region, Region]] | None = None
        """The compositor's, in which the places were found; it makes a new one when anything moves."""
        self._places: dict[Widget, Region] = {}
        self._taken: list[Placed] | None = None

    @contextmanager
    def stroke(self) -> Iterator[None]:
        """Around a frame: what is taken meanwhile is written at its end."""
        self._taken = [] if self._free() else None
        try:
            yield
        finally:
            taken, self._taken = self._taken, None
            if taken:
                self._screen.app._display(self._screen, Lines(taken))  # type: ignore[arg-type]  # an update is no renderable

    def take(self, grid: Widget, size: tuple[int, int], placed: Sequence[Placed]) -> bool:
        """Whether lines at their places in a grid of `size` will be written; if not, the grid must ask for a repaint of them."""
        if self._taken is None:
            return False
        place = self._place(grid)
        if place.size != size:
            return False
        left, top = place.offset
        self._taken += [(left + x, top + y, painted) for x, y, painted in placed]
        return True

    def _free(self) -> bool:
        screen = self._screen
        app = screen.app
        waits = screen._layout_required or screen._scroll_required or screen._repaint_required
        return not waits and screen.is_current and not app._batch_count and not app.is_inline

    def _place(self, grid: Widget) -> Region:
        """Where all of the grid is seen; `NOWHERE` where part of it is not."""
        placing = self._screen._compositor.visible_widgets
        if placing is not self._placing:
            self._placing, self._places = placing, {}
        found = self._places.get(grid)
        if found is None:
            found = self._places[grid] = self._look(grid, placing)
        return found

    def _look(self, grid: Widget, placing: Mapping[Widget, tuple[Region, Region]]) -> Region:
        region, clip = placing.get(grid, (NOWHERE, NOWHERE))
        if not (clip.contains_region(region) and self._screen.size.region.contains_region(region)):
            return NOWHERE
        for other, (place, cut) in placing.items():  # what lies in front comes first
            if other is grid:
                return region
            if place.intersection(cut).overlaps(region):
                break
        return NOWHERE
