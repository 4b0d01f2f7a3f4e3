"""Opens the screens, on a recording or on live data: what needs no terminal is made first, so that what is wrong is one line."""

import asyncio
import gc
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from feeds.recording import Recording
from tui.glyphs import GlyphSet, choose_glyphs
from tui.headless import LiveOptions, live_run
from tui.journal import Journal
from tui.live import LiveRun
from tui.playback import Playback
from tui.session import Replay, ReplayOptions, moment
from tui.settings import Ui, themes_dir
from tui.source import Source
from tui.theme import Theme, load_theme

if TYPE_CHECKING:
    from tui.app import ArbtopApp

GC_THRESHOLDS: Final = (20_000, 20, 50)


def run_replay(options: ReplayOptions, ui: Ui, exports: Path) -> int:
    """Play a recording on the screens until the user leaves; returns the exit code.

    Raises:
        InputError: the path is no recording, the time is not in it, or the theme is not sound.
    """
    dressed = Dressed.of(ui)
    recording = Recording(options.path)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(options.state / "alerts")) if options.state is not None else None
        replay = Replay(recording, options.settings, options.rules, journal)
        source = Playback(replay, options.speed)
        if options.at is not None:
            moment(options.at, recording)  # refused here, while there is still a line to say so
            source.goto(options.at)
        app = dressed.app(source, exports)
        settle_memory()
        app.run()
        source.close()
        return app.return_code or 0


def run_live(options: LiveOptions, ui: Ui) -> int:
    """The screens on live data until the user leaves; returns the exit code.

    Raises:
        ArbtopError: an address, theme or place that cannot be used, or a simulator that does not start.
    """
    dressed = Dressed.of(ui)
    with live_run(options) as source:
        paths = options.config.paths
        app = dressed.app(source, paths.exports_dir(), paths.recordings_dir())
        settle_memory()
        asyncio.run(_beside(source, app))
        return app.return_code or 0


async def _beside(source: LiveRun, app: "ArbtopApp") -> None:
    """The source runs beside the app, not in it, so that leaving closes every connection in order before the loop ends."""
    feeding = asyncio.create_task(source.run())
    feeding.add_done_callback(lambda task: app.exit(return_code=1) if not task.cancelled() and task.exception() else None)
    try:
        await app.run_async()
    finally:
        source.stop()
        await feeding


class Dressed(NamedTuple):
    """How the screens look, made and found sound before a terminal is touched."""

    theme: Theme
    glyphs: GlyphSet
    themes: Path
    ui: Ui

    @classmethod
    def of(cls, ui: Ui) -> "Dressed":
        """Raises InputError for a theme that is not sound."""
        themes = themes_dir()
        glyphs = choose_glyphs(ui.glyphs, os.environ, getattr(sys.__stderr__, "encoding", "") or "")
        return cls(load_theme(ui.theme, themes), glyphs, themes, ui)

    def app(self, source: Source, exports: Path, recordings: Path = Path()) -> "ArbtopApp":
        """The program on a source; the terminal's library is loaded here."""
        from tui.app import ArbtopApp, Look

        ui = self.ui
        look = Look(
            theme=self.theme,
            glyphs=self.glyphs,
            themes=self.themes,
            exports=exports,
            recordings=recordings,
            calm=ui.calm,
            fps=ui.fps,
            group_bps=ui.group_bp,
            home=ui.home,
        )
        return ArbtopApp(source, look)


def settle_memory() -> None:
    """What is there now stays for good, so the collector need not look at it again: with a deep book a full collection held the
    loop for 130 to 180 ms, and 20 ms since, and a frame of BOOK cost an eighth more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
