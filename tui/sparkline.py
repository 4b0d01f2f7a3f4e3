"""A series as a row of glyphs: the shape of the last minutes beside a figure.

Time runs to the right edge, which is now. Each column stands for one slot of time and holds the last value in it; a slot without
a sample is blank, because a line drawn across a gap would show prices that nobody saw. Slots are counted from the epoch and not
from now, so the picture stands still until a slot is over and then moves by one column. Colour and axes are not made here.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf, isfinite
from operator import itemgetter
from typing import Final, Literal, TypeAlias

Style: TypeAlias = Literal["braille", "block", "ascii"]

BLOCKS: Final = "▁▂▃▄▅▆▇█"
STROKES: Final = "_.-=^"
_BRAILLE: Final = 0x2800
_DOTS: Final = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""The dots of the left and of the right column of a braille cell, from the bottom up."""
_LEVELS: Final = {"braille": 4, "block": len(BLOCKS), "ascii": len(STROKES)}
_NS: Final = 1e9
_time: Final = itemgetter(0)


def sparkline(
    points: Sequence[tuple[int, float | None]],
    now_ns: int,
    window_s: float,
    width: int,
    style: Style,
    lo: float | None = None,
    hi: float | None = None,
) -> str:
    """The last `window_s` seconds of a series in exactly `width` cells.

    Args:
        points: time in ns and value, oldest first, at any distance. None, nan and infinity are gaps; what is later than now is
            not drawn.
        now_ns: the time at the right edge.
        window_s: seconds from edge to edge.
        width: cells. Braille has two columns in one, the others one.
        style: braille, 4 levels a column; block, 8; ascii, 5.
        lo, hi: values at the foot and at the top; what lies outside is drawn there. Without them the least and the greatest value
            drawn. A series that does not move is drawn at half the height.
    """
    if width <= 0:
        return ""
    columns = 2 * width if style == "braille" else width
    window_ns = window_s * _NS
    if not 0 < window_ns < inf:
        return " " * width
    levels = _heights(_slots(points, now_ns, max(1, round(window_ns / columns)), columns), _LEVELS[style], lo, hi)
    if style == "braille":
        return "".join(map(_cell, levels[::2], levels[1::2]))
    glyphs = BLOCKS if style == "block" else STROKES
    return "".join(" " if level is None else glyphs[level] for level in levels)


def _slots(points: Sequence[tuple[int, float | None]], now_ns: int, slot_ns: int, columns: int) -> list[float | None]:
    """The last value of each slot of time up to now, or None."""
    first = now_ns // slot_ns - columns + 1
    values: list[float | None] = [None] * columns
    last = bisect_right(points, now_ns, key=_time)
    start = bisect_left(points, first * slot_ns, 0, last, key=_time)
    for column in range(columns):
        end = bisect_left(points, (first + column + 1) * slot_ns, start, last, key=_time)
        if end > start:
            value = points[end - 1][1]
            values[column] = value if value is not None and isfinite(value) else None
            start = end
    return values


def _heights(values: Sequence[float | None], levels: int, lo: float | None, hi: float | None) -> list[int | None]:
    """The level of each value, from 0 at the foot. Halves keep the widest range from overflowing."""
    seen = [value for value in values if value is not None]
    if not seen:
        return [None] * len(values)
    foot = (lo if lo is not None and isfinite(lo) else min(seen)) / 2
    span = (hi if hi is not None and isfinite(hi) else max(seen)) / 2 - foot
    if span <= 0:
        return [None if value is None else (levels - 1) // 2 for value in values]
    top = levels - 1
    return [None if value is None else int(max(0.0, min(top, (value / 2 - foot) / span * levels))) for value in values]


def _cell(left: int | None, right: int | None) -> str:
    """One braille cell of two columns."""
    if left is None and right is None:
        return " "
    dots = sum(column[level] for column, level in zip(_DOTS, (left, right), strict=True) if level is not None)
    return chr(_BRAILLE + dots)
