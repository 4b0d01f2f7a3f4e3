"""No size breaks a screen: the smallest, the largest, and all that a window goes through while somebody pulls at its corner."""

from pathlib import Path
from random import Random

import pytest
from rich.cells import cell_len

from tests.screens.stage import on_stage
from tests.screens.test_snapshots import WAYS

SMALL = ((60, 16), (20, 5), (1, 1), (250, 5))


@pytest.mark.parametrize("size", SMALL, ids=lambda size: f"{size[0]}x{size[1]}")
async def test_no_size_is_too_small_to_go_through_every_screen(recording: Path, size: tuple[int, int]) -> None:
    async with on_stage(recording, size=size, untouched=True) as stage:
        for name, keys in WAYS.items():
            await stage.press(*keys)
            await stage.pilot.press("j", "G", "ctrl+u", "z", "z")
            await stage.settle()
            lines = stage.lines()
            assert [cell_len(line) for line in lines] == [size[0]] * size[1], name


async def test_at_60x16_each_screen_still_shows_rows(recording: Path) -> None:
    async with on_stage(recording, size=(60, 16), untouched=True) as stage:
        await stage.press("1")
        assert "59989.24" in stage.text()
        assert "16:00:31.0Z" in stage.lines()[0]
        assert "■ crit" in stage.text()
        await stage.press("3")
        assert sum("│" in line for line in stage.lines()) >= 8
        await stage.press("7")
        assert sum("crit" in line or "warn" in line for line in stage.lines()) >= 9


@pytest.mark.parametrize("screen", ["desk", "book", "alerts", "route", "alert", "export"])
async def test_a_storm_of_sizes_leaves_the_picture_of_the_last_one(recording: Path, screen: str) -> None:
    random = Random(screen)
    async with on_stage(recording, size=(120, 36), untouched=True) as stage:
        await stage.press(*WAYS[screen])
        for _ in range(12):
            width, height = random.randint(1, 250), random.randint(1, 80)
            await stage.pilot.resize_terminal(width, height)
            if not random.randrange(3):
                assert [cell_len(line) for line in stage.lines()] == [width] * height
        await stage.resize(120, 36)
        after = stage.lines()
    async with on_stage(recording, size=(120, 36), untouched=True) as stage:
        await stage.press(*WAYS[screen])
        before = stage.lines()
    if screen == "book":  # its cursor stands on a place of the ladder: what it says of the price there may be of another
        del after[-2], before[-2]
    assert [line.replace("▸", " ") for line in after] == [line.replace("▸", " ") for line in before]
