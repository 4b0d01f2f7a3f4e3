"""What the brush writes is what stands there: after each frame the terminal shows what painting all of it anew would show.

The terminal is `pyte`, fed with every update of the program, the brush's and the compositor's alike.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.console import Console
from textual.screen import Screen

from feeds.model import SECOND
from tests.screens.stage import EARLY_S, SIZE, TICK, Clock, StagedApp, look, playback
from tui.app import ArbtopApp
from tui.playback import Playback
from tui.screens.book import BookScreen
from tui.screens.live import LiveScreen
from tui.widgets.brush import Lines

CONSOLE = Console(color_system="truecolor")
"""All colours: a test's own has few, and styles remember for whom they were first written out."""


class ShownApp(StagedApp):
    """The program with a terminal that only remembers."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.terminal = pyte.Screen(*SIZE)
        self.feed = pyte.Stream(self.terminal).feed
        self.strokes: list[Lines] = []

    def notify(self, message: str, **options: Any) -> None:
        ArbtopApp.notify(self, message, **options)

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        if isinstance(renderable, Lines):
            self.strokes.append(renderable)
        if renderable is not None:
            self.feed(renderable.render_segments(CONSOLE))
        super()._display(screen, renderable)


class Shown:
    """A user in front of it, and time that goes by frame for frame."""

    def __init__(self, app: ShownApp, source: Playback, pilot: Any, clock: Clock) -> None:
        self.app = app
        self.source = source
        self.pilot = pilot
        self.clock = clock

    @property
    def screen(self) -> LiveScreen:
        screen = self.app.screen
        assert isinstance(screen, LiveScreen)
        return screen

    async def frames(self, count: int = 3) -> None:
        """Let so many tenths of a second go by, each with its frame, and look at the terminal after each."""
        for _ in range(count):
            self.tick()
            await self.pilot.pause()
            self.compare()

    def tick(self) -> None:
        for _ in range(SECOND // 10 // TICK):
            self.clock.now_ns += TICK
            self.source.advance(self.clock.now_ns)
        self.screen.tick()

    def compare(self) -> None:
        anew = pyte.Screen(*self.app.size)
        pyte.Stream(anew).feed(self.app.screen._compositor.render_full_update().render_segments(CONSOLE))
        assert seen(self.app.terminal) == seen(anew)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
        await self.pilot.pause()


def seen(terminal: pyte.Screen) -> list[str]:
    """Each row with its text and colours; of a blank only the ground is seen."""
    cells = [[terminal.buffer[y][x] for x in range(terminal.columns)] for y in range(terminal.lines)]
    return ["".join(f"{cell.data}{'' if cell.data == ' ' else cell.fg}{cell.bg}" for cell in row) for row in cells]


@asynccontextmanager
async def shown(recording: Path, home: str) -> AsyncIterator[Shown]:
    clock = Clock()
    source = playback(recording, clock, EARLY_S)
    source.paused = False
    app = ShownApp(source, look(Path("no-such-directory")), clock)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        stage = Shown(app, source, pilot, clock)
        if home != "desk":
            app.action_open(home)
            await pilot.pause()
        stage.screen.draw()
        await pilot.pause()
        yield stage


@pytest.mark.parametrize("home", ["desk", "book", "alerts"])
async def test_the_terminal_shows_what_painting_anew_would(recording: Path, home: str) -> None:
    async with shown(recording, home) as stage:
        await stage.frames(12)
        assert stage.app.strokes
        await stage.press("down", "down", "up")
        await stage.frames()
        await stage.press("tab")
        await stage.frames()
        await stage.press("colon")
        await stage.frames()
        await stage.press("escape")
        await stage.frames()


KEYS = (
    *("left_square_bracket", "right_square_bracket", "right_square_bracket", "u", "d", "right", "left", "home", "up", "up", "c"),
    *("C", "v", "v", "z", "z", "f", "down", "f"),
)


async def test_it_does_so_whatever_is_done_to_the_books(recording: Path) -> None:
    async with shown(recording, "book") as stage:
        for key in KEYS:
            await stage.press(key)
            await stage.frames(2)


@pytest.mark.parametrize("home", ["desk", "book"])
async def test_a_note_in_the_corner_is_not_written_over(recording: Path, home: str) -> None:
    async with shown(recording, home) as stage:
        stage.app.tell("a note in the corner " * 3)
        await stage.pilot.pause()
        await stage.frames(6)
        assert any("a note in the corner" in row for row in stage.app.terminal.display)
        stage.app.clear_notifications()
        await stage.pilot.pause()
        await stage.frames()
        assert not any("a note in the corner" in row for row in stage.app.terminal.display)


async def test_a_theme_and_a_size_are_painted_as_a_whole(recording: Path) -> None:
    async with shown(recording, "book") as stage:
        await stage.frames()
        stage.app.wear("midnight")
        stage.app.clear_notifications()
        await stage.pilot.pause()
        await stage.frames()
        for size in ((80, 24), (160, 50)):
            stage.app.terminal.resize(size[1], size[0])
            await stage.pilot.resize_terminal(*size)
            await stage.pilot.pause()
            await stage.frames()


def waits(screen: BookScreen) -> None:
    screen._layout_required = True


def batches(screen: BookScreen) -> None:
    screen.app._batch_count += 1


@pytest.mark.parametrize("happens", [waits, batches])
async def test_lines_are_not_lost_where_the_brush_may_not_write(recording: Path, happens: Callable[[BookScreen], None]) -> None:
    async with shown(recording, "book") as stage:
        await stage.frames()
        stage.app.strokes.clear()
        screen = stage.screen
        assert isinstance(screen, BookScreen)
        happens(screen)
        stage.tick()
        assert not stage.app.strokes
        stage.app._batch_count = 0
        await stage.pilot.pause()
        stage.screen.check_idle()
        await stage.pilot.pause()
        stage.compare()
