"""A replay that stands still draws nothing by time: what the user does must still be seen at once, and be of where he is now.

Unlike elsewhere here nothing is drawn for the program: only keys, and its own ticks.
"""

import re
from pathlib import Path

import pytest

from tests.screens.stage import Stage, on_stage
from tui.line import text_of


async def keys(stage: Stage, *pressed: str) -> None:
    """Press them and let the next ticks come, as ten a second do."""
    for key in pressed:
        await stage.pilot.press(key)
        await stage.pilot.pause()
    await ticks(stage)


async def ticks(stage: Stage) -> None:
    for _ in range(3):
        stage.screen.tick()
        await stage.pilot.pause()


def said_and_pointed(stage: Stage) -> tuple[str, str]:
    """The price in the line below the books, and the one of the row that the cursor is on."""
    book = stage.book
    (said,) = stage.within(book.info)
    found = re.search(r" to ([^ :]+)", said)
    assert found is not None, said
    assert book.grid.selected is not None
    return found[1], text_of(book.grid.selected.line).split()[0]


@pytest.mark.parametrize("pressed", ["j", "k", "G", "g", "c", "l", "h", "[", "]", "C", "o", "d", "ctrl+d"])
async def test_the_line_below_the_books_is_of_the_row_that_the_cursor_is_on(recording: Path, pressed: str) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await keys(stage, "3", "c", "j", "j")
        await keys(stage, pressed)
        said, pointed = said_and_pointed(stage)
        assert said == pointed
        assert not stage.within(stage.book.info)[0].rstrip().endswith("—")


async def test_a_move_is_answered_before_the_next_tick(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await keys(stage, "3", "c")
        await stage.pilot.press("j")
        await stage.pilot.pause()
        assert len(set(said_and_pointed(stage))) == 1


async def test_after_a_way_to_another_time_the_line_below_has_its_figures(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await keys(stage, "3", "c", "j", "j")
        stage.app.go_to("+20")
        while stage.app.source.busy:
            stage.app.source.advance(stage.clock.now_ns)
        await ticks(stage)
        assert len(set(said_and_pointed(stage))) == 1
        assert not stage.within(stage.book.info)[0].rstrip().endswith("—")


@pytest.mark.parametrize("pressed", [("v",), ("v", "v"), ("z",), ("z", "z"), ("/",), (":", "escape"), ("v", "z")])
@pytest.mark.parametrize("screen", ["1", "3", "7"])
async def test_a_new_layout_is_drawn_in_its_own_width(recording: Path, screen: str, pressed: tuple[str, ...]) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await keys(stage, screen, *pressed)
        by_itself = stage.text()
        await stage.settle()
        assert by_itself == stage.text()


@pytest.mark.parametrize("size", [(160, 50), (80, 24), (200, 60), (60, 16)])
@pytest.mark.parametrize("screen", ["1", "3", "7"])
async def test_a_new_size_is_filled(recording: Path, screen: str, size: tuple[int, int]) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await keys(stage, screen)
        await stage.pilot.resize_terminal(*size)
        await stage.pilot.pause()
        await ticks(stage)
        by_itself = stage.text()
        await stage.settle()
        assert by_itself == stage.text()


async def test_prints_say_that_there_are_none(recording: Path) -> None:
    async with on_stage(recording, at_s=0.0) as stage:
        await keys(stage, "3", "v")
        book = stage.book
        assert not book.tape.rows
        assert "none of $100k or more so far" in stage.within(book.tape)[1]


async def test_what_a_screen_has_no_room_for_is_said(recording: Path) -> None:
    async with on_stage(recording, size=(120, 36), untouched=True) as stage:
        desk = stage.desk
        said = str(desk.markets_panel.border_subtitle)
        assert "no room for sprd, depth $" in said
        assert "no room" not in str(desk.routes_panel.border_subtitle)
    async with on_stage(recording, size=(80, 24), untouched=True) as stage:
        desk = stage.desk
        assert "no room for 8 columns" in str(desk.markets_panel.border_title)
        assert "no room for 4 columns" in str(desk.routes_panel.border_title)
    async with on_stage(recording, size=(60, 16), untouched=True) as stage:
        desk = stage.desk
        assert desk.markets.rows_shown < 6
        assert f"MARKETS  {desk.markets.rows_shown} of 6" in str(desk.markets_panel.border_title)
    async with on_stage(recording, size=(250, 60), untouched=True) as stage:
        assert "no room" not in stage.text()
