"""A line as the terminal gets it: codes that say of each style only what is new against the one before it.

Textual writes every segment's whole style and takes it back behind it. In a row of a ladder that is two thirds of the bytes: the
ground never changes within a line. What arrives on the screen is the same. Its strip, for the compositor, is made only where one
is asked for: with its eight caches it is the dearest part of a line.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.strip import Strip

from tui.line import Line, pad
from tui.widgets.palette import Palette

RESET: Final = "\x1b[0m"
FOREGROUND, BACKGROUND = "39", "49"
PLAIN: Final = Style.null()


class Paint(NamedTuple):
    """What lines are drawn with: a theme's styles, and what filters make of them. `behind` is the colour behind them."""

    palette: Palette
    filters: tuple[LineFilter, ...]
    behind: Color

    def segments(self, line: Line, cells: int) -> list[Segment]:
        """The line in exactly so many cells."""
        style, ground = self.palette.style, line.ground
        found = [Segment(text, style(role, ground)) for text, role in pad(line, cells).spans if text]
        for each in self.filters:
            found = each.apply(found, self.behind)
        return found


class Painted:
    """A line in exactly `cells` cells."""

    __slots__ = ("_codes", "_line", "_paint", "_strip", "cells")

    def __init__(self, line: Line, cells: int, paint: Paint) -> None:
        self.cells = cells
        self._line = line
        self._paint = paint
        self._codes: str | None = None
        self._strip: Strip | None = None

    def codes(self, console: Console) -> str:
        """Text and colours, from wherever the cursor is."""
        if self._codes is None:
            segments = self._paint.segments(self._line, self.cells)
            self._codes = written(segments, console._color_system or ColorSystem.TRUECOLOR)
        return self._codes

    @property
    def strip(self) -> Strip:
        """The same as Textual has it."""
        if self._strip is None:
            self._strip = Strip(self._paint.segments(self._line, self.cells), self.cells)
        return self._strip


def written(segments: Iterable[Segment], colours: ColorSystem) -> str:
    """The codes of segments that stand side by side; behind them nothing of theirs is left switched on."""
    now, found = PLAIN, []
    for text, style, _ in segments:
        wanted = style or PLAIN
        if wanted is not now and not (text.isspace() and _blank_alike(now, wanted)):
            found.append(_turn(now, wanted, colours))
            now = wanted
        found.append(text)
    if now is not PLAIN:
        found.append(RESET)
    return "".join(found)


@lru_cache(4096)
def _blank_alike(one: Style, other: Style) -> bool:
    """Whether blanks look the same in both: only the ground shows, where nothing is underlined or turned over."""
    return one.bgcolor == other.bgcolor and not (_attributes(one) or _attributes(other))


@lru_cache(4096)
def _turn(before: Style, after: Style, colours: ColorSystem) -> str:
    """What turns one style into the other."""
    had, wanted = _attributes(before), _attributes(after)
    codes: list[str] = []
    if had and had != wanted:
        before, codes = PLAIN, ["0"]
        had = ()
    if had != wanted:
        codes += wanted
    for old, new in (
        (_colour(before, colours, True), _colour(after, colours, True)),
        (_colour(before, colours, False), _colour(after, colours, False)),
    ):
        if old != new:
            codes.append(new)
    return f"\x1b[{';'.join(codes)}m" if codes else ""


def _attributes(style: Style) -> tuple[str, ...]:
    """Bold, underline and their like, as codes."""
    return tuple(Strip.render_ansi(style.without_color, ColorSystem.TRUECOLOR).split(";")) if style._attributes else ()


def _colour(style: Style, colours: ColorSystem, foreground: bool) -> str:
    colour = style.color if foreground else style.bgcolor
    if colour is None:
        return FOREGROUND if foreground else BACKGROUND
    return ";".join(colour.downgrade(colours).get_ansi_codes(foreground))
