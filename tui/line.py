"""One line of the terminal as text with roles, and the gate that every drawn text passes.

A line is worth what its cells are worth: when a name is one cell wider than it was measured, each figure behind it stands in the
wrong column. So text is first made plain, then measured, then cut or padded to exactly the cells it was given. A text that does
not fit ends in an ellipsis; a number that does not fit is replaced by one, because its first digits are another number.

Roles are words here; what they look like is a matter of the theme. Nothing here knows a terminal.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias
from unicodedata import bidirectional, category, east_asian_width

Span: TypeAlias = tuple[str, str]
"""Text, and the role a theme gives a style to."""


class Line(NamedTuple):
    """Spans from left to right. `ground` is the background of the whole line: "", "cursor" or "shade"."""

    spans: tuple[Span, ...]
    ground: str = ""


NO_LINE: Final = Line(())


class Beside(NamedTuple):
    """Lines side by side, each in cells of its own: where one of them changes, only its cells are painted."""

    lines: tuple[Line, ...]
    widths: tuple[int, ...]

    @property
    def spans(self) -> tuple[Span, ...]:
        """Of the line that they make together."""
        return tuple(span for line, width in zip(*self, strict=True) for span in pad(line, width).spans)


class Row(NamedTuple):
    """A line of a list, and what it stands for."""

    key: str
    line: Line | Beside


class LateRow(Row):
    """A row whose line is made when it is first seen: of five thousand a screen shows forty."""

    _maker: Callable[[], Line]
    _made: Line | None

    @classmethod
    def of(cls, key: str, make: Callable[[], Line]) -> "LateRow":
        row = cls(key, NO_LINE)
        row._maker, row._made = make, None
        return row

    @property
    def line(self) -> Line:
        if self._made is None:
            self._made = self._maker()
        return self._made


ELLIPSIS: Final = "…"
REPLACED: Final = "?"

GLYPHS: Final = "—−│┃▸■▲▼●◐○□↑↓→█▉▊▋▌▍▎▏▐▒▁▂▃▄▅▆▇◆◂·…±≤≥×→─" + "".join(map(chr, range(0x2800, 0x2900)))
"""What the program itself draws beside ASCII; one cell each."""

_OWN: Final = frozenset(map(chr, range(0x20, 0x7F))) | frozenset(GLYPHS)
_is_own: Final = _OWN.issuperset

_UNDRAWN: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Mn", "Me", "Mc", "Zl", "Zp"})
_TURNING: Final = frozenset({"R", "AL", "AN"})
"""Writing from right to left: a terminal that knows it draws the figures behind such a name in another order."""
_DISPUTED: Final = (
    (0x1160, 0x11FF),  # Hangul vowels and finals: no cell of their own, or one
    (0xD7B0, 0xD7FF),
    (0xFFA0, 0xFFA0),  # Hangul fillers
    (0x3164, 0x3164),
    (0x2630, 0x2637),  # signs that became wide in Unicode 16
    (0x268A, 0x268F),
    (0x4DC0, 0x4DFF),
    (0x1D300, 0x1D37F),
    (0x1F3FB, 0x1F3FF),  # skin tones
)
"""Characters that terminals and tables of different years give different widths."""
_NAMES_KEPT: Final = 4096


def plain(text: str) -> str:
    """The text as it may be drawn: each character takes one or two cells, whatever stands beside it, and moves no other.

    Controls, formats, combining marks, surrogates, private and unassigned characters, letters written from right to left and
    characters of disputed width become `?`; spaces of all kinds become a space.
    """
    if (text.isascii() and text.isprintable()) or _is_own(text):
        return text
    return _plain(text)


@lru_cache(_NAMES_KEPT)
def _plain(text: str) -> str:
    return "".join(map(_drawn, text))


def _drawn(character: str) -> str:
    kind = category(character)
    if kind == "Zs":
        return " "
    if kind in _UNDRAWN or bidirectional(character) in _TURNING:
        return REPLACED
    code = ord(character)
    return REPLACED if any(first <= code <= last for first, last in _DISPUTED) else character


def cells(text: str) -> int:
    """Terminal cells that the text takes once it is plain."""
    if (text.isascii() and text.isprintable()) or _is_own(text):
        return len(text)
    return _cells(text)


@lru_cache(_NAMES_KEPT)
def _cells(text: str) -> int:
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in _plain(text))


def first_fitting(texts: Sequence[str], room: int) -> str:
    """The first of `texts`, longest words first, that needs no more than `room` cells; else the last."""
    return next((text for text in texts if cells(text) <= room), texts[-1])


def fit(text: str, width: int, align: str = "<") -> str:
    """The plain text in exactly `width` cells: padded (`align` is <, > or ^), or cut, with an ellipsis in the last cell."""
    if (text.isascii() and text.isprintable()) or _is_own(text):
        room = width - len(text)
    else:
        text = _plain(text)
        room = width - _cells(text)
    if room < 0:
        return _cut(text, width - 1) + ELLIPSIS if width > 0 else ""
    if align == "<":
        return text + " " * room
    if align == ">":
        return " " * room + text
    return " " * (room // 2) + text + " " * (room - room // 2)


def _cut(text: str, width: int) -> str:
    """The first `width` cells of a plain text; half a wide character is a space."""
    if _is_own(text):
        return text[:width]
    taken = 0
    for index, character in enumerate(text):
        taken += 2 if east_asian_width(character) in "WF" else 1
        if taken > width:
            return text[:index] + " " * (width - cells(text[:index]))
    return text


def number(text: str, width: int) -> str:
    """A number at the right of exactly `width` cells. One that does not fit is never cut: it becomes an ellipsis."""
    if (text.isascii() and text.isprintable()) or _is_own(text):
        room = width - len(text)
    else:
        text = _plain(text)
        room = width - _cells(text)
    if room >= 0:
        return " " * room + text
    return " " * (width - 1) + ELLIPSIS if width > 0 else ""


def join(*parts: Line | Span, ground: str = "") -> Line:
    """One line of several lines and spans, side by side; neighbours of one role become one span. Grounds of parts are dropped."""
    spans: list[Span] = []
    for part in parts:
        for text, role in part.spans if isinstance(part, Line) else (part,):
            _append(spans, text, role)
    return Line(tuple(spans), ground)


def _append(spans: list[Span], text: str, role: str) -> None:
    if spans and spans[-1][1] == role:
        spans[-1] = (spans[-1][0] + text, role)
    elif text:
        spans.append((text, role))


def pad(line: Line, width: int) -> Line:
    """The line in exactly `width` cells: blanks of the role text behind it, or cut. When more than blanks is cut off, the last
    cell is an ellipsis.
    """
    room = width
    for text, _ in line.spans:
        if not _is_own(text):
            break
        room -= len(text)
    else:
        if not room:
            return line
        if room > 0:
            return Line((*line.spans, (" " * room, "text")), line.ground)
    room = width - sum(cells(text) for text, _ in line.spans)
    if room >= 0:
        return join(*((plain(text), role) for text, role in line.spans), (" " * room, "text"), ground=line.ground)
    if width <= 0:
        return Line((), line.ground)
    if cells(plain(text_of(line)).rstrip(" ")) <= width:
        return join(*_first(line, width), ground=line.ground)
    kept = _first(line, width - 1)
    return join(*kept, (ELLIPSIS, kept[-1][1] if kept else line.spans[0][1]), ground=line.ground)


def _first(line: Line, width: int) -> list[Span]:
    """The first `width` cells of a line that has more."""
    kept: list[Span] = []
    for text, role in line.spans:
        taken = min(cells(text), width)
        kept.append((_cut(plain(text), taken), role))
        width -= taken
        if width == 0:
            break
    return kept


def text_of(line: Line | Beside) -> str:
    """The text of a line without its roles."""
    return "".join(text for text, _ in line.spans)
