"""Puts the program on a stage: a made-up recording, paused at a stated time, at a stated size, and what then stands in the cells.

Time is the stage's own: nothing is drawn and nothing is played unless a test says so, since frames come once in a quarter of an
hour and the source gets its time from here. What is read is Textual's export of the screen, so it went through every filter.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, cast
from xml.etree import ElementTree

from rich.cells import cell_len
from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input

import tui.app
from analytics.alerts import DEFAULT_RULES, Rule
from analytics.settings import AnalyticsSettings, Fees
from feeds.model import MS, SECOND
from feeds.recording import Recording
from tui.app import ArbtopApp, Look
from tui.glyphs import GLYPHS
from tui.playback import Playback
from tui.process import Cost
from tui.screens.alerts import AlertsScreen
from tui.screens.book import BookScreen
from tui.screens.desk import DeskScreen
from tui.screens.feeds import FeedsScreen
from tui.screens.live import LiveScreen
from tui.session import Replay
from tui.theme import load_theme
from tui.widgets.picture import RICH_BASELINE, RICH_CELL_WIDTH, RICH_LINE_HEIGHT, SVG, svg

SECONDS: Final = 70.0
"""Of the recording."""
AT_S: Final = 66.0
"""After its start: statistics are warm, and a stretch in which routes pay has just begun."""
SIZE: Final = (120, 36)
EARLY_S: Final = 13.0
"""Where a test that changes something begins, since it has to play so far by itself: some alerts are open, some closed."""
NO_FRAMES: Final = 0.001
TICK: Final = 20 * MS
SETTINGS: Final = AnalyticsSettings(
    fees=Fees(confirmed=True, taker_bps={"BINANCE spot": 1.0, "BINANCE perp": 0.5, "BYBIT spot": 1.0, "BYBIT perp": 0.5})
)
"""Fees at which the made-up market pays now and then."""
RULES: Final = (
    *DEFAULT_RULES[:3],
    Rule(id="z", metric=DEFAULT_RULES[3].metric, op="abs>=", enter=2.5, exit=1.0),
    Rule(id="imbalance", metric=DEFAULT_RULES[5].metric, op="abs>=", enter=0.5, exit=0.2, cooldown_ms=30_000),
)
"""Rules of three kinds that it sets off."""


class Clock:
    """Monotonic ns that go on when they are told to."""

    def __init__(self) -> None:
        self.now_ns = 7_000 * SECOND

    def __call__(self) -> int:
        return self.now_ns


class StagedApp(ArbtopApp):
    """The program; `told` is what it has said in the corner."""

    CSS_PATH = str(Path(tui.app.__file__).with_name("app.tcss"))

    source: Playback

    def __init__(self, source: Playback, look: Look, clock: Clock) -> None:
        super().__init__(source, look, clock)
        self.animation_level = "none"
        self.told: list[str] = []

    def notify(self, message: str, **options: Any) -> None:
        self.told.append(message)


class Stage:
    """The program with a user in front of it."""

    def __init__(self, app: StagedApp, pilot: Pilot[int], clock: Clock) -> None:
        self.app = app
        self.pilot = pilot
        self.clock = clock

    @property
    def screen(self) -> LiveScreen:
        """The one on top."""
        screen = self.app.screen
        assert isinstance(screen, LiveScreen)
        return screen

    @property
    def desk(self) -> DeskScreen:
        desk = self.app.screens["desk"]
        assert isinstance(desk, DeskScreen)
        return desk

    @property
    def book(self) -> BookScreen:
        book = self.app.screens["book"]
        assert isinstance(book, BookScreen)
        return book

    @property
    def alerts(self) -> AlertsScreen:
        alerts = self.app.screens["alerts"]
        assert isinstance(alerts, AlertsScreen)
        return alerts

    @property
    def feeds(self) -> FeedsScreen:
        feeds = self.app.screens["feeds"]
        assert isinstance(feeds, FeedsScreen)
        return feeds

    @property
    def told(self) -> str:
        """What was said last."""
        return self.app.told[-1] if self.app.told else ""

    async def press(self, *keys: str) -> None:
        """Press keys one after the other, each with its consequences."""
        for key in keys:
            await self.pilot.press(key)
            await self._draw()

    async def burst(self, *keys: str) -> None:
        """Press keys in one breath: all of them wait before the first has done anything."""
        for key in keys:
            name = _character_to_key(key) if len(key) == 1 else key
            self.app.post_message(events.Key(name, key if len(key) == 1 else None))
        await self.settle()

    async def write(self, text: str) -> None:
        """Type into the line that is open."""
        field = self.app.screen.query_one(Input)
        field.value = ""
        field.insert_text_at_cursor(text)
        await self.settle()

    async def resize(self, width: int, height: int) -> None:
        await self.pilot.resize_terminal(width, height)
        await self.settle()

    async def settle(self) -> None:
        """Let go what waits, and draw; twice, since a screen learns of its height when it has been drawn."""
        await self.pilot.pause()
        await self._draw()

    async def _draw(self) -> None:
        source = self.app.source
        while source.busy:
            source.advance(self.clock.now_ns)
        for _ in range(2):
            if isinstance(self.app.screen, LiveScreen):
                self.app.screen.draw()
            await self.pilot.pause()

    async def play(self, seconds: float) -> None:
        """Let that much of real time go by."""
        self.app.source.advance(self.clock.now_ns)  # what was let go counts from its first call
        for _ in range(round(seconds * SECOND / TICK)):
            self.clock.now_ns += TICK
            self.app.source.advance(self.clock.now_ns)
        await self.settle()

    def exported(self) -> str:
        return self.app.export_screenshot(title="arbtop", simplify=True)

    def picture(self) -> str:
        """A small SVG of the screen."""
        return svg(self.exported())

    def lines(self) -> list[str]:
        """The screen's rows, each as wide as the screen."""
        return cells(self.exported(), *self.app.size)

    def text(self) -> str:
        return "\n".join(self.lines())

    def within(self, widget: Widget) -> list[str]:
        """The rows of one widget, as they stand on the screen; the screen must hold no wide character."""
        place = widget.region
        return [line[place.x : place.right] for line in self.lines()[place.y : place.bottom]]


@cache
def _playback(path: Path, at_s: float) -> Playback:
    return playback(path, Clock(), at_s)


def playback(path: Path, clock: Clock, at_s: float) -> Playback:
    """The recording, played so far and paused."""
    replay = Replay(Recording(path), SETTINGS, RULES)
    source = Playback(replay, clock=clock)
    source.paused = True
    replay.play(source.start_ns + int(at_s * SECOND))
    return source


def look(exports: Path, theme: str = "okabe", glyphs: str = "braille", themes: Path = Path("no-such-directory")) -> Look:
    return Look(
        theme=load_theme(theme, themes), glyphs=GLYPHS[glyphs], themes=themes, exports=exports, fps=NO_FRAMES, home="desk"
    )


@asynccontextmanager
async def on_stage(
    path: Path,
    exports: Path = Path("no-such-directory"),
    size: tuple[int, int] = SIZE,
    *,
    theme: str = "okabe",
    glyphs: str = "braille",
    themes: Path = Path("no-such-directory"),
    at_s: float | None = None,
    untouched: bool = False,
) -> AsyncIterator[Stage]:
    """The program on the recording `path`. `untouched` says that the test only looks, so that many may share one source."""
    clock = Clock()
    if untouched:
        source = _playback(path, AT_S if at_s is None else at_s)
    else:
        source = playback(path, clock, EARLY_S if at_s is None else at_s)
    app = StagedApp(source, look(exports, theme, glyphs, themes), clock)
    async with app.run_test(size=size) as pilot:
        for field in app.screen.query(Input):
            field.cursor_blink = False
        stage = Stage(app, pilot, clock)
        await stage.settle()
        yield stage


def cells(exported: str, width: int, height: int) -> list[str]:
    """The rows of Textual's export, each of exactly `width` cells."""
    rows = [[" "] * width for _ in range(height)]
    body = ElementTree.fromstring(exported).find(f"{SVG}g[@clip-path]")
    assert body is not None
    for text in body.iterfind(f".//{SVG}text"):
        row = rows[round((float(text.attrib["y"]) - RICH_BASELINE) / RICH_LINE_HEIGHT)]
        column = round(float(text.attrib["x"]) / RICH_CELL_WIDTH)
        for character in (text.text or "").replace("\xa0", " ").rstrip("\n"):
            wide = cell_len(character) == 2
            row[column : column + 1 + wide] = [character, ""] if wide else [character]
            column += 1 + wide
    return ["".join(row) for row in rows]


def numbers(text: str) -> list[float]:
    """The figures in a text, in its order."""
    return [float(found.replace("−", "-")) for found in re.findall(r"[+−]?\d+(?:\.\d+)?", text)]


class StillProcess:
    """A process that always costs the same."""

    def sample(self, tasks: int, lags_ms: Sequence[float]) -> Cost:
        return Cost(
            cpu_share=0.08,
            rss_bytes=96e6,
            peak_bytes=98e6,
            descriptors=27,
            tasks=59,
            lag_p50_ms=0.3,
            lag_p99_ms=3.1,
            lag_max_ms=12.0,
            up_ms=134_000.0,
        )


def still_process(stage: "Stage") -> None:
    """FEEDS shows what this process costs, and that differs from run to run."""
    stage.feeds.meter = cast(Any, StillProcess())
