"""A strip that says of each style only what is new against the one before it.

Textual writes every segment's whole style and takes it back behind it. In a row of a ladder that is two thirds of the bytes: the
ground never changes within a line. What arrives on the screen is the same.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

RESET: Final = "\x1b[0m"
FOREGROUND, BACKGROUND = "39", "49"
PLAIN: Final = Style.null()


class PaintedStrip(Strip):
    """`segments` in exactly `width` cells. Cut into pieces it is an ordinary strip."""

    def __init__(self, segments: Iterable[Segment], width: int) -> None:
        super().__init__(segments, width)
        self._painted: str | None = None

    def render(self, console: Console) -> str:
        if self._painted is None:
            self._painted = "".join(_written(self._segments, console._color_system or ColorSystem.TRUECOLOR))
        return self._painted


def _written(segments: Iterable[Segment], colours: ColorSystem) -> list[str]:
    now, written = PLAIN, []
    for text, style, _ in segments:
        wanted = style or PLAIN
        if wanted is not now and not (text.isspace() and _blank_alike(now, wanted)):
            written.append(_turn(now, wanted, colours))
            now = wanted
        written.append(text)
    if now is not PLAIN:
        written.append(RESET)
    return written


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
