"""A painted line looks on a terminal as Textual's own strip, in fewer bytes."""

import random
from pathlib import Path

import pyte
import pytest
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter, NoColor
from textual.strip import Strip

from tui.line import Line
from tui.theme import load_theme
from tui.widgets.ascii import AsciiFilter
from tui.widgets.painted import Paint, Painted, written
from tui.widgets.palette import Palette

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
    assert cells(written(segments, ColorSystem.TRUECOLOR)) == cells(plain.render(CONSOLE))


def test_a_ladders_row_takes_three_bytes_where_it_took_five() -> None:
    styles = [Style.parse(f"#{shade:06x} on #0d1117") for shade in (0x4FD08A, 0xE06C75, 0xD7DEE6)]
    segments = [Segment("1.23", styles[at % 3]) for at in range(27)]
    assert len(written(segments, ColorSystem.TRUECOLOR)) < 0.6 * len(Strip(segments, 108).render(CONSOLE))


@pytest.mark.parametrize("filters", [(), (NoColor(),), (AsciiFilter(True),), (NoColor(), AsciiFilter(True))])
@pytest.mark.parametrize("width", [3, 9, 12, 40])
def test_its_strip_says_the_same(filters: tuple[LineFilter, ...], width: int) -> None:
    line = Line((("BTC ", "title"), ("▐██", "bid_bar"), ("—", "dim"), (" 比", "text")), "shade")
    paint = Paint(Palette(load_theme("midnight", Path("no-such-directory"))), filters, Color(0, 0, 0))
    painted = Painted(line, width, paint)
    assert painted.cells == painted.strip.cell_length == cell_len(painted.strip.text) == width
    assert cells(painted.codes(CONSOLE)) == cells(painted.strip.render(CONSOLE))
