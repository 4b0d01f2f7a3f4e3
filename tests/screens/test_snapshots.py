"""What every screen looks like, at every size and in every look: as text, and a few of them as pictures.

Meant changes: `.venv/bin/python -m pytest tests/screens --snapshot-update`, then read the difference.
"""

import asyncio
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from rich.cells import cell_len
from syrupy.assertion import SnapshotAssertion

from tests.screens.stage import Stage, on_stage, still_process
from tui.screens import registry


class Shot(NamedTuple):
    """How the program is looked at."""

    width: int
    height: int
    theme: str = "okabe"
    glyphs: str = "braille"


class Seen(NamedTuple):
    text: tuple[str, ...]
    picture: str


WAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "desk": ("1",),
    "book": ("3",),
    "alerts": ("7",),
    "feeds": ("8",),
    "feed": ("8", "enter"),
    "help": ("1", "question_mark"),
    "route": ("1", "tab", "enter"),
    "alert": ("7", "enter"),
    "export": ("7", "e"),
    "picker": ("3", "i"),
}
"""The keys that lead to each screen and dialog; the number of a screen leaves a dialog."""
SCREENS: Final = ("desk", "book", "alerts")
SIZES: Final = ((200, 60), (160, 50), (120, 36), (80, 24), (60, 16))
ALL: Final = tuple(Shot(*size) for size in SIZES)
LOOKS: Final = (
    *(Shot(120, 36, theme) for theme in ("midnight", "ansi")),
    *(Shot(120, 36, "okabe", glyphs) for glyphs in ("ascii", "block")),
)
PICTURES: Final = (*(Shot(*size) for size in SIZES[1:4]), *(Shot(120, 36, theme) for theme in ("midnight", "ansi")))


@cache
def seen(recording: Path, shot: Shot) -> Mapping[str, Seen]:
    """Every screen in one look, walked through once."""
    return asyncio.run(_walk(recording, shot))


async def _walk(recording: Path, shot: Shot) -> Mapping[str, Seen]:
    found = {}
    async with on_stage(recording, size=(shot.width, shot.height), theme=shot.theme, glyphs=shot.glyphs, untouched=True) as stage:
        still_process(stage)
        for name, keys in WAYS.items():
            await _go(stage, keys)
            found[name] = Seen(tuple(stage.lines()), stage.picture())
    return found


async def _go(stage: Stage, keys: tuple[str, ...]) -> None:
    if keys[0] == "1" and len(keys) > 1:
        await stage.press("1")
        stage.screen.set_focus(None)
        await stage.press("tab")  # always from the first panel
        keys = keys[1:]
    await stage.press(*keys)


def name_of(shot: Shot) -> str:
    return f"{shot.width}x{shot.height}-{shot.theme}-{shot.glyphs}"


@pytest.mark.parametrize("screen", WAYS)
@pytest.mark.parametrize("shot", ALL, ids=name_of)
def test_no_screen_changes_unnoticed(recording: Path, as_text: SnapshotAssertion, shot: Shot, screen: str) -> None:
    lines = seen(recording, shot)[screen].text
    assert [cell_len(line) for line in lines] == [shot.width] * shot.height
    assert "\n".join(line.rstrip() for line in lines) + "\n" == as_text


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("shot", LOOKS, ids=name_of)
def test_no_look_changes_unnoticed(recording: Path, as_text: SnapshotAssertion, shot: Shot, screen: str) -> None:
    lines = seen(recording, shot)[screen].text
    assert [cell_len(line) for line in lines] == [shot.width] * shot.height
    assert "\n".join(line.rstrip() for line in lines) + "\n" == as_text


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("shot", PICTURES, ids=name_of)
def test_no_colour_changes_unnoticed(recording: Path, as_svg: SnapshotAssertion, shot: Shot, screen: str) -> None:
    assert seen(recording, shot)[screen].picture == as_svg


@pytest.mark.parametrize("screen", SCREENS)
def test_a_picture_in_the_terminals_own_colours_is_that_of_a_dark_terminal(recording: Path, screen: str) -> None:
    """Not in the grey of the cursor's row, the one ground that is drawn at all there."""
    picture = seen(recording, Shot(120, 36, "ansi"))[screen].picture
    assert re.findall(r'rx="8" fill="(#\w+)"', picture) == ["#000000"]
    assert "#e5e5e5" in picture
    assert 'fill="#7f7f7f" d="M' in picture, "the cursor's row is grey"


@pytest.mark.parametrize("screen", WAYS)
def test_ascii_is_ascii_on_every_screen(recording: Path, screen: str) -> None:
    assert "\n".join(seen(recording, Shot(120, 36, "okabe", "ascii"))[screen].text).isascii()


@pytest.mark.parametrize("screen", WAYS)
@pytest.mark.parametrize("shot", ALL, ids=name_of)
def test_every_screen_says_where_it_is_and_how_to_leave(recording: Path, shot: Shot, screen: str) -> None:
    text = seen(recording, shot)[screen].text
    assert {"route": "ROUTE", "alert": "ALERT #", "picker": "CHOOSE"}.get(screen, screen.upper()) in "\n".join(text)
    assert "REPLAY PAUSED" in text[1]
    assert " ? " in text[-1] if screen in registry.SCREENS else " Esc " in text[-1]
