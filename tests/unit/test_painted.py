"""A painted strip looks on a terminal as Textual's own, in fewer bytes."""

import random

import pyte
import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.widgets.painted import PaintedStrip

STYLES = [
    None,
    *map(
        Style.parse,
        (
            "none",
            "#112233 on #445566",
            "#aabbcc on #445566",
            "bold #aabbcc on #445566",
            "bold underline #aabbcc on #445566",
            "reverse #aabbcc on #445566",
            "underline #112233 on #445566",
            "red on #445566",
            "default on default",
            "red",
            "on blue",
            "bold",
        ),
    ),
]
TEXTS = ("a", "  ", " b ", "—", "█▌", "比", "   ")
CONSOLE = Console(color_system="truecolor")


def cells(written: str) -> list[tuple[object, ...]]:
    """What a terminal shows of it; of a blank only what is seen: its ground, and whether it is turned over or underlined."""
    screen = pyte.Screen(200, 2)
    pyte.Stream(screen).feed(f"{written}z")
    return [
        (cell.data, cell.bg, cell.underscore, cell.reverse, *((cell.fg, cell.bold) if cell.data != " " or cell.reverse else ()))
        for cell in (screen.buffer[0][column] for column in range(200))
    ]


@pytest.mark.parametrize("seed", range(60))
def test_it_looks_as_every_style_written_out(seed: int) -> None:
    rng = random.Random(seed)
    segments = [Segment(rng.choice(TEXTS), rng.choice(STYLES)) for _ in range(rng.randint(0, 24))]
    plain = Strip(segments)
    painted = PaintedStrip(segments, plain.cell_length)
    assert cells(painted.render(CONSOLE)) == cells(plain.render(CONSOLE))


def test_a_ladders_row_takes_three_bytes_where_it_took_five() -> None:
    styles = [Style.parse(f"#{shade:06x} on #0d1117") for shade in (0x4FD08A, 0xE06C75, 0xD7DEE6)]
    segments = [Segment("1.23", styles[at % 3]) for at in range(27)]
    painted, plain = PaintedStrip(segments, 108), Strip(segments, 108)
    assert len(painted.render(CONSOLE)) < 0.6 * len(plain.render(CONSOLE))


def test_pieces_of_it_are_as_those_of_any_strip() -> None:
    segments = [Segment("abc", STYLES[2]), Segment("def", STYLES[3])]
    painted, plain = PaintedStrip(segments, 6), Strip(segments, 6)
    assert painted.crop(1, 5) == plain.crop(1, 5)
    assert list(painted.divide([2, 6])) == list(plain.divide([2, 6]))
    assert cells(painted.crop(1, 5).render(CONSOLE)) == cells(plain.crop(1, 5).render(CONSOLE))
