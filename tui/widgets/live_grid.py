"""The one fast base of everything that ticks: lines of text, of which only those that changed are painted.

The widget is handed whole lines (`tui.line.Line`) and keeps each as it was painted, under the line itself and its width: a line
seen before costs a look-up and keeps its finished escape codes. A line may be several side by side (`tui.line.Beside`): where one
of them changes it is painted alone. The widget has no border, padding or opacity of its own, so it may answer
`render_lines` itself and leave Textual's style cache out (terminal-ui.md 4.2; 7.5 ms a frame instead of 9.9). The frame around it
belongs to a container.

Rows have keys: the cursor stays on its row when rows are sorted anew, not on its place.
"""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, ClassVar, Final, NamedTuple

from textual import events
from textual.actions import SkipAction
from textual.errors import NoWidget
from textual.filter import ANSIToTruecolor
from textual.geometry import Region, Size
from textual.message import Message
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from tui.line import NO_LINE, Beside, Line, Row
from tui.widgets.bindings import bind
from tui.widgets.brush import Brush, Placed
from tui.widgets.painted import Paint, Painted
from tui.widgets.palette import Palette

LINES_KEPT = 4096
POINTER = "▸"
NO_SIZE = Size()


class Drawn(NamedTuple):
    """A line as it stands there: what it was drawn from, part by part, and each part as it was painted."""

    line: Line | Beside
    parts: tuple[Line, ...]
    widths: tuple[int, ...]
    painted: tuple[Painted, ...]


UNDRAWN: Final = Drawn(Line(()), (), (), ())
"""Of a line of its own: no line that is shown is the same one."""


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
        self._paint_with: Paint | None = None
        self._stage: Screen[Any] | None = None
        self._head: tuple[Line | Beside, ...] = ()
        self._rows: tuple[Row, ...] = ()
        self._kept: dict[tuple[Line, int], Painted] = {}
        self._drawn: list[Drawn] = []
        self._width = 0
        """Cells of the lines that are drawn."""

    @property
    def size(self) -> Size:
        """All of it, since it is bare; nothing while it is not shown. Textual's own walks up to the screen each time."""
        if self._stage is None:
            return NO_SIZE
        try:
            return self._stage.find_widget(self).region.size
        except NoWidget:
            return NO_SIZE

    # -- what it shows -----------------------------------------------------------------------------------------------------

    @property
    def rows_shown(self) -> int:
        """Body rows there is room for."""
        return max(self.size.height - len(self._head), 0)

    @property
    def rows(self) -> tuple[Row, ...]:
        return self._rows

    @property
    def head(self) -> tuple[Line | Beside, ...]:
        return self._head

    @property
    def selected(self) -> Row | None:
        """The row that the cursor is on; None while that row is not there."""
        if not self.cursor_shown or self._at >= len(self._rows):
            return None
        row = self._rows[self._at]
        return row if row.key == self.cursor else None

    def use(self, palette: Palette) -> None:
        """Draw in these colours, with the filters that there are now, from now on."""
        # a palette has colours of one kind, and no `dim`, where `ANSIToTruecolor` is enabled
        filters = tuple(each for each in self.get_line_filters() if not isinstance(each, ANSIToTruecolor))
        self._paint_with = Paint(palette, filters, self.background_colors[1])
        self._kept.clear()
        self._drawn = []
        self._paint()

    def show(self, head: Sequence[Line | Beside], rows: Sequence[Row], empty: str = "") -> None:
        """Replace the content; only what has changed is repainted. `empty` is said where there are no rows."""
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
        width, height = size = self.size
        if self._paint_with is None or not width or not height:
            return
        shown = [*self._head[:height]]
        for at in range(self.offset_rows, min(self.offset_rows + height - len(shown), len(self._rows))):
            line = self._rows[at].line
            pointed = self.cursor_shown and at == self._at and self._rows[at].key == self.cursor
            shown.append(_pointed(line, self.has_focus) if pointed else line)
        stood = self._drawn if self._width == width else []
        changed: list[Placed] = []
        drawn = [
            old if line is old.line else self._draw(line, old, y, width, changed)
            for y, (line, old) in enumerate(zip(shown, chain(stood, repeat(UNDRAWN)), strict=False))
        ]
        gone = range(len(drawn), len(self._drawn))
        self._drawn, self._width = drawn, width
        if gone or (changed and not (self.brush is not None and self.brush.take(self, size, changed))):
            regions = [Region(x, y, painted.cells, 1) for x, y, painted in changed]
            self.refresh(*regions, *[Region(0, y, width, 1) for y in gone])

    def _draw(self, line: Line | Beside, old: Drawn, y: int, width: int, changed: list[Placed]) -> Drawn:
        """Draw a line; its parts that do not stand there already are added to `changed`."""
        parts, widths = (line.lines, line.widths) if isinstance(line, Beside) else ((line,), (width,))
        olds = zip(old.parts, old.painted, strict=True) if widths == old.widths else repeat((None, None))
        found = []
        x = 0
        for part, cells, (before, last) in zip(parts, widths, olds, strict=False):
            painted = last if last is not None and part is before else self._painted(part, cells)
            if painted is not last:
                changed.append((x, y, painted))
            found.append(painted)
            x += cells
        return Drawn(line, parts, widths, tuple(found))

    def _painted(self, line: Line, width: int) -> Painted:
        key = (line, width)
        found = self._kept.get(key)
        if found is None:
            assert self._paint_with is not None
            if len(self._kept) >= LINES_KEPT:
                self._kept.clear()
            found = self._kept[key] = Painted(line, width, self._paint_with)
        return found

    def render_lines(self, crop: Region) -> list[Strip]:
        drawn, width = self._drawn, self.size.width
        blank = self._painted(NO_LINE, width).strip if self._paint_with is not None else Strip.blank(width)
        found = [_strip(drawn[y]) if y < len(drawn) else blank for y in crop.line_range]
        left, right = crop.column_span
        return found if (left, right) == (0, width) else [strip.crop(left, right) for strip in found]

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._head) + len(self._rows)

    def on_mount(self) -> None:
        self._stage = self.screen

    def on_resize(self) -> None:
        self._drawn = []
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


def _strip(drawn: Drawn) -> Strip:
    first, *others = drawn.painted
    return Strip.join([first.strip, *[each.strip for each in others]]) if others else first.strip


def _pointed(line: Line | Beside, focused: bool) -> Line | Beside:
    """The row that the cursor is on: a pointer in its first cell, which rows leave blank; the cursor's ground in the focus."""
    if isinstance(line, Beside):
        first, *rest = line.lines
        others = [each._replace(ground="cursor") for each in rest] if focused else rest
        return line._replace(lines=(_with_pointer(first, focused), *others))
    return _with_pointer(line, focused)


def _with_pointer(line: Line, focused: bool) -> Line:
    spans = line.spans
    if spans and spans[0][0].startswith(" "):
        text, role = spans[0]
        spans = ((POINTER, "accent"), (text[1:], role), *spans[1:])
    return Line(spans, "cursor" if focused else line.ground)
