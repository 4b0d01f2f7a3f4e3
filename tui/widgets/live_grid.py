"""The one fast base of everything that ticks: lines of text, of which only those that changed are painted.

The widget is handed whole lines (`tui.line.Line`) and turns each into a strip, kept under the line itself and its width: a line
seen before costs a look-up and keeps its finished escape codes. It has no border, padding or opacity of its own, so it may
answer `render_lines` itself and leave Textual's style cache out (terminal-ui.md 4.2; 7.5 ms a frame instead of 9.9). The frame
around it belongs to a container.

Rows have keys: the cursor stays on its row when rows are sorted anew, not on its place.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from textual import events
from textual.actions import SkipAction
from textual.filter import ANSIToTruecolor
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.line import Line, pad
from tui.widgets.bindings import bind
from tui.widgets.brush import Brush
from tui.widgets.painted import PaintedStrip
from tui.widgets.palette import Palette

STRIPS_KEPT = 4096
POINTER = "▸"


class Row(NamedTuple):
    """A line of the body and what it stands for."""

    key: str
    line: Line


class LiveGrid(Widget, can_focus=True):
    """Fixed `head` lines and a body of rows that scrolls under them."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "LiveGrid { height: 1fr; width: 1fr; }"
    BINDINGS: ClassVar = bind("up", "down", "first", "last", "page_up", "page_down", "detail")

    class Chosen(Message):
        """Enter, or a click on the row that has the cursor."""

        def __init__(self, grid: "LiveGrid", key: str) -> None:
            super().__init__()
            self.grid = grid
            self.key = key

        @property
        def control(self) -> "LiveGrid":
            return self.grid

    class Moved(Message):
        """The cursor is on another row."""

        def __init__(self, grid: "LiveGrid", key: str) -> None:
            super().__init__()
            self.grid = grid
            self.key = key

        @property
        def control(self) -> "LiveGrid":
            return self.grid

    def __init__(self, *, id: str | None = None, cursor: bool = True, scrolls: bool = False) -> None:
        super().__init__(id=id)
        self.cursor_shown = cursor
        self.can_focus = cursor or scrolls
        self.cursor = ""
        """Key of the row that the cursor is on; "" while there is none."""
        self.offset_rows = 0
        self.brush: Brush | None = None
        """What writes its lines during a frame of its screen."""
        self._at = 0
        self._palette: Palette | None = None
        self._head: tuple[Line, ...] = ()
        self._rows: tuple[Row, ...] = ()
        self._strips: dict[tuple[Line, int], Strip] = {}
        self._shown: list[Line] = []
        self._lines: list[Strip] = []

    # -- what it shows -----------------------------------------------------------------------------------------------------

    @property
    def rows_shown(self) -> int:
        """Body rows there is room for."""
        return max(self.size.height - len(self._head), 0)

    @property
    def rows(self) -> tuple[Row, ...]:
        return self._rows

    @property
    def head(self) -> tuple[Line, ...]:
        return self._head

    @property
    def selected(self) -> Row | None:
        """The row that the cursor is on; None while that row is not there."""
        if not self.cursor_shown or self._at >= len(self._rows):
            return None
        row = self._rows[self._at]
        return row if row.key == self.cursor else None

    def use(self, palette: Palette) -> None:
        """Draw in these colours from now on."""
        self._palette = palette
        self.forget()

    def forget(self) -> None:
        """Paint everything anew: colours, filters or the size have changed."""
        self._strips.clear()
        self._lines = []
        self._paint()

    def show(self, head: Sequence[Line], rows: Sequence[Row], empty: str = "") -> None:
        """Replace the content; only lines whose strip has changed are repainted. `empty` is said where there are no rows."""
        self._head = tuple(head) if rows or not empty else (*head, Line(((f" {empty}", "dim"),)))
        self._rows = tuple(rows)
        if self.cursor_shown:
            self._find_cursor()
        else:
            self.offset_rows = max(min(self.offset_rows, len(self._rows) - self.rows_shown), 0)
        self._paint()

    def go(self, key: str) -> None:
        """Put the cursor on a row; one that is not there yet gets it when it comes, and no other has it until then."""
        self.cursor = key
        self._find_cursor()
        self._paint()

    def _find_cursor(self) -> None:
        """Where the cursor's row is now. A row that is not there keeps the cursor: keys act on nothing else meanwhile."""
        rows = self._rows
        if not rows:
            self._at = self.offset_rows = 0
            return
        if not self.cursor:
            self.cursor = rows[0].key
        if not (self._at < len(rows) and rows[self._at].key == self.cursor):
            self._at = next((at for at, row in enumerate(rows) if row.key == self.cursor), min(self._at, len(rows) - 1))
        self._follow()

    def _follow(self) -> None:
        shown = self.rows_shown
        if not shown:
            return
        self.offset_rows = max(min(self.offset_rows, self._at), self._at - shown + 1, 0)
        self.offset_rows = min(self.offset_rows, max(len(self._rows) - shown, 0))

    # -- painting ----------------------------------------------------------------------------------------------------------

    def _paint(self) -> None:
        width, height = self.size
        if self._palette is None or not width or not height:
            return
        shown = [*self._head[:height]]
        for at in range(self.offset_rows, min(self.offset_rows + height - len(shown), len(self._rows))):
            line = self._rows[at].line
            pointed = self.cursor_shown and at == self._at and self._rows[at].key == self.cursor
            shown.append(_pointed(line, self.has_focus) if pointed else line)
        old = self._lines
        strip, before = self._strip, self._shown if old and old[0].cell_length == width else []
        kept = zip(shown, before, old, strict=False)  # a line that is the very same one needs no look-up
        new = [last if line is was else strip(line, width) for line, was, last in kept]
        new += [strip(line, width) for line in shown[len(new) :]]
        self._shown, self._lines = shown, new
        changed = [y for y, (a, b) in enumerate(zip(old, new, strict=False)) if a is not b]
        changed += range(len(old), len(new))
        gone = range(len(new), len(old))
        if gone or (changed and not (self.brush is not None and self.brush.take(self, (width, height), changed, new))):
            self.refresh(*[Region(0, y, width, 1) for y in (*changed, *gone)])

    def _strip(self, line: Line, width: int) -> Strip:
        key = (line, width)
        found = self._strips.get(key)
        if found is None:
            if len(self._strips) >= STRIPS_KEPT:
                self._strips.clear()
            found = self._strips[key] = self._make(line, width)
        return found

    def _make(self, line: Line, width: int) -> Strip:
        assert self._palette is not None
        ground = line.ground
        style = self._palette.style
        segments = [Segment(text, style(role, ground)) for text, role in pad(line, width).spans if text]
        for each in self.get_line_filters():
            if not isinstance(each, ANSIToTruecolor):  # a palette has colours of one kind, and no `dim`, where it is enabled
                segments = each.apply(segments, self.background_colors[1])
        return PaintedStrip(segments, width)

    def render_lines(self, crop: Region) -> list[Strip]:
        lines, width = self._lines, self.size.width
        blank = self._strip(Line(()), width) if self._palette is not None else Strip.blank(width)
        found = [lines[y] if y < len(lines) else blank for y in crop.line_range]
        left, right = crop.column_span
        return found if (left, right) == (0, width) else [strip.crop(left, right) for strip in found]

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._head) + len(self._rows)

    def on_resize(self) -> None:
        self._lines = []
        if self.cursor_shown:
            self.offset_rows = 0  # a list that was small for a moment shows its first rows again
            self._follow()
        self._paint()

    def on_focus(self) -> None:
        self._paint()

    def on_blur(self) -> None:
        self._paint()

    # -- moving ------------------------------------------------------------------------------------------------------------

    @property
    def _here(self) -> int:
        """Where moves begin: the cursor's row, or the first that is seen."""
        return self._at if self.cursor_shown else self.offset_rows

    def _move(self, to: int) -> None:
        if not self._rows:
            return
        if not self.cursor_shown:
            self.offset_rows = max(min(to, len(self._rows) - self.rows_shown), 0)
            self._paint()
            return
        at = max(min(to, len(self._rows) - 1), 0)
        if at != self._at or self.selected is None:
            self._at = at
            self.cursor = self._rows[at].key
            self._follow()
            self._paint()
            self.post_message(self.Moved(self, self.cursor))

    def action_up(self) -> None:
        self._move(self._here - 1)

    def action_down(self) -> None:
        self._move(self._here + 1)

    def action_first(self) -> None:
        self._move(0)

    def action_last(self) -> None:
        self._move(len(self._rows) - 1)

    def action_page_up(self) -> None:
        self._move(self._here - max(self.rows_shown // 2, 1))

    def action_page_down(self) -> None:
        self._move(self._here + max(self.rows_shown // 2, 1))

    def action_detail(self) -> None:
        if not self.cursor_shown:
            raise SkipAction  # there is nothing to choose here: the screen may know what Enter means
        if self.selected is not None:
            self.post_message(self.Chosen(self, self.selected.key))

    def on_click(self, event: events.Click) -> None:
        if not self.cursor_shown:
            return
        at = self.offset_rows + event.y - len(self._head)
        if event.y < len(self._head) or at >= len(self._rows):
            return
        if at == self._at and self.selected is not None:
            self.action_detail()
        else:
            self._move(at)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self._move(self._here + 1)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self._move(self._here - 1)


def _pointed(line: Line, focused: bool) -> Line:
    """The row that the cursor is on: a pointer in its first cell, which rows leave blank; the cursor's ground in the focus."""
    spans = line.spans
    if spans and spans[0][0].startswith(" "):
        text, role = spans[0]
        spans = ((POINTER, "accent"), (text[1:], role), *spans[1:])
    return Line(spans, "cursor" if focused else line.ground)
