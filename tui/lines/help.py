"""Help as lines: keys by group, then the legend of columns and signs. Long texts go on in the next line."""

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from tui.keys import TABLE
from tui.line import Line, pad
from tui.table import Column

FACE: Final = 9
Legend = Sequence[tuple[str, Sequence[tuple[str, str]]]]
"""Headings, each with pairs of a sign or column and what it means."""

SIGNS: Final[Legend] = (
    (
        "signs",
        (
            ("—", "not known now: never 0, never an old number"),
            ("● ◐ ○", "believed · not believed now (the word says why) · no book"),
            ("■ ▲ ●", "critical, warning and information alerts"),
            ("RAW", "two quotes without a common measure: shown, never a route"),
            ("?", "behind FEES: the tier is a default that nobody has confirmed; set [fees] confirmed"),
        ),
    ),
)


def columns_legend(title: str, columns: Iterable[Column]) -> Legend:
    """What a table's columns mean."""
    pairs = [(f"{column.group} {column.title}".strip(), column.help) for column in columns if column.help]
    return ((title, pairs),)


def help_lines(ids: Sequence[str], legend: Legend, width: int) -> list[Line]:
    """Every key of `ids` in the table's order, then the legend and the signs."""
    lines: list[Line] = []
    shown = [key for key in TABLE if key.id in ids]
    for group, keys in groupby(sorted(shown, key=lambda key: _GROUPS.index(key.group)), key=lambda key: key.group):
        lines += _section(group, [(key.face, key.meaning) for key in keys], width, FACE)
    for title, pairs in (*legend, *SIGNS):
        face = max((len(name) for name, _ in pairs), default=0) + 1
        lines += _section(title, pairs, width, min(face, 20))
    return lines


_GROUPS: Final = tuple(dict.fromkeys(key.group for key in TABLE))


def _section(title: str, pairs: Sequence[tuple[str, str]], width: int, face: int) -> list[Line]:
    lines = [pad(Line(((f" {title.upper()}", "head"),)), width)]
    for name, meaning in pairs:
        room = max(width - face - 4, 10)
        first, *rest = textwrap.wrap(meaning, room) or [""]
        lines.append(pad(Line(((f"  {name:<{face}} ", "accent"), (first, "text"))), width))
        lines += [pad(Line(((" " * (face + 3), "text"), (more, "text"))), width) for more in rest]
    lines.append(pad(Line(()), width))
    return lines
