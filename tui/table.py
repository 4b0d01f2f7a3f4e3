"""Tables as data: a screen lists its columns, a width chooses which of them are drawn, and rows are texts by column.

A narrow screen loses whole columns, the least important first; no column is squeezed until its numbers are gone. The choice
depends on the width alone, never on what the cells hold, so nothing dances. Sorting and scrolling are not done here.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, groupby
from typing import Final

from msgspec import Struct

from tui.formats import DASH, plural
from tui.line import Line, Span, first_fitting, fit, number, pad

NO_CELL: Final = (DASH, "dim")


class Column(Struct, frozen=True):
    """One column. `width` is in cells; of a column that grows it is the least. One with `most` grows first, and only so far.

    `rank` 0 is always drawn, a higher one goes sooner when the screen is narrow. A column to the right (`align` >) holds numbers,
    which are never cut. `help` is for the help screen.
    """

    key: str
    title: str
    width: int
    align: str = ">"
    rank: int = 0
    grow: bool = False
    most: int = 0
    help: str = ""
    group: str = ""
    """A heading over neighbours of the same group, which then have a line of their own."""


class Layout(Struct, frozen=True, dict=True):
    """The columns that a width has room for, from left to right, and the cells each one has."""

    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    width: int
    gap: int
    missing: tuple[str, ...] = ()
    """Names of the columns that there is no room for; one of its heading where the whole group is missing."""

    def said_missing(self, room: int) -> str:
        """What a wider line would show as well, in up to `room` cells; empty where that is nothing, or not to be said in them."""
        count = len(self.missing)
        named, counted = f"no room for {', '.join(self.missing)}", f"no room for {plural(count, 'column')}"
        return first_fitting((named, counted, ""), room) if count else ""

    @cached_property
    def head(self) -> Line:
        """The titles, each aligned as its cells, in exactly `width` cells."""
        between = " " * self.gap
        titles = between.join(
            fit(column.title, cells, column.align) for column, cells in zip(self.columns, self.widths, strict=True)
        )
        return Line(((fit(" " + titles, self.width), "head"),) if self.width > 0 else ())

    def has(self, key: str) -> bool:
        """Whether the column is drawn."""
        return any(column.key == key for column in self.columns)

    def cells_of(self, key: str) -> int:
        """Cells of a column; 0 where it is not drawn."""
        return next((cells for column, cells in zip(self.columns, self.widths, strict=True) if column.key == key), 0)

    @cached_property
    def heads(self) -> tuple[Line, ...]:
        """The titles, under a line of headings where a column has one."""
        if not any(column.group for column in self.columns):
            return (self.head,)
        spans: list[Span] = [(" ", "dim")]
        used = 1
        for group, members in groupby(zip(self.columns, self.widths, strict=True), key=lambda each: each[0].group):
            width = sum(cells + self.gap for _, cells in members)
            used += width
            spans.append((_heading(group, width - self.gap) + " " * self.gap, "dim"))
        return pad(Line(tuple(spans)), self.width), self.head

    def row(self, cells: Mapping[str, tuple[str, str]], ground: str = "", mark: str = " ") -> Line:
        """One row in exactly `width` cells.

        Args:
            cells: text and role by the key of the column. A column that is not in it holds a dim dash.
            ground: the background of the line.
            mark: one cell in front, the pointer of the row that the cursor is on.
        """
        if self.width <= 0:
            return Line((), ground)
        spans: list[Span] = []
        run, role, used = fit(mark, 1), "accent" if mark != " " else "text", 1
        gap = ""
        for column, width in zip(self.columns, self.widths, strict=True):
            text, cell_role = cells.get(column.key, NO_CELL)
            drawn = number(text, width) if column.align == ">" else fit(text, width, column.align)
            if cell_role == role or not text or not drawn:
                run += gap + drawn
            else:
                spans.append((run + gap, role))
                run, role = drawn, cell_role
            used += len(gap) + width
            gap = " " * self.gap
        if used < self.width:
            if role != "text":
                spans.append((run, role))
                run, role = "", "text"
            run += " " * (self.width - used)
        spans.append((run, role))
        return Line(tuple(spans), ground)


def _heading(group: str, width: int) -> str:
    """The name in the middle of a bracket over its columns."""
    if not group:
        return " " * width
    if len(group) + 2 <= width:
        return f" {group} ".center(width, "─")
    return fit(group if len(group) <= width else group.partition(" ")[0], width)


def fit_columns(columns: Sequence[Column], width: int, gap: int = 1) -> Layout:
    """Which columns a line of `width` cells has room for, one cell in front being the pointer's.

    Columns of rank 0 come first, and the right one goes when even they are too wide; the first is never dropped, only narrowed.
    The others follow by rank, then from the left, and the first that has no room ends the choice: a wider line shows the same and
    more. What is left goes to the columns that have a `most` until they have that, then to those that grow, in equal parts.
    """
    return _fit_columns(tuple(columns), width, gap)


@lru_cache(256)
def _fit_columns(columns: tuple[Column, ...], width: int, gap: int) -> Layout:
    room = max(0, width - 1)
    wanted = sorted(range(len(columns)), key=lambda place: (columns[place].rank, place))
    ends = accumulate(columns[place].width + (gap if order else 0) for order, place in enumerate(wanted))
    fitting = sum(end <= room for end in ends)
    chosen = [columns[place] for place in sorted(wanted[: max(1, fitting)])]
    widths = [min(column.width, room) for column in chosen]
    for place, column in enumerate(chosen):
        left = room - sum(widths) - gap * (len(chosen) - 1)
        widths[place] += max(min(left, column.most - column.width), 0)
    growing = [place for place, column in enumerate(chosen) if column.grow]
    for place, extra in zip(growing, _parts(room - sum(widths) - gap * (len(chosen) - 1), len(growing)), strict=True):
        widths[place] += extra
    return Layout(tuple(chosen), tuple(widths), width, gap, _names([each for each in columns if each not in chosen], chosen))


def _names(missing: Iterable[Column], chosen: Iterable[Column]) -> tuple[str, ...]:
    """What the missing ones are called by a user: groups once, unless a part of one is drawn."""
    drawn = {column.group for column in chosen}
    names = (
        column.title if not column.group else f"{column.group} {column.title}" if column.group in drawn else column.group
        for column in missing
    )
    return tuple(dict.fromkeys(names))


def _parts(whole: int, count: int) -> Iterable[int]:
    """A number of cells in equal parts, what is over going to the first ones."""
    return [whole // count + (part < whole % count) for part in range(count)]
