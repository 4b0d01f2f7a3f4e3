"""Opens the screens on a recording: everything that needs no terminal is made first, so that what is wrong is one line."""

import gc
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from feeds.recording import Recording
from tui.glyphs import choose_glyphs
from tui.journal import Journal
from tui.playback import Playback
from tui.session import Replay, ReplayOptions, moment
from tui.settings import Ui, themes_dir
from tui.theme import load_theme

GC_THRESHOLDS: Final = (20_000, 20, 50)


def run_replay(options: ReplayOptions, ui: Ui, exports: Path) -> int:
    """Play a recording on the screens until the user leaves; returns the exit code.

    Raises:
        InputError: the path is no recording, the time is not in it, or the theme is not sound.
    """
    themes = themes_dir()
    theme = load_theme(ui.theme, themes)
    glyphs = choose_glyphs(ui.glyphs, os.environ, getattr(sys.__stderr__, "encoding", "") or "")
    recording = Recording(options.path)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(options.state / "alerts")) if options.state is not None else None
        replay = Replay(recording, options.settings, options.rules, journal)
        source = Playback(replay, options.speed)
        if options.at is not None:
            moment(options.at, recording)  # refused here, while there is still a line to say so
            source.goto(options.at)
        from tui.app import ArbtopApp, Look

        look = Look(
            theme=theme,
            glyphs=glyphs,
            themes=themes,
            exports=exports,
            calm=ui.calm,
            fps=ui.fps,
            group_bps=ui.group_bp,
            home=ui.home,
        )
        app = ArbtopApp(source, look)
        settle_memory()
        app.run()
        return app.return_code or 0


def settle_memory() -> None:
    """What is there now stays for good, so the collector need not look at it again: with a deep book a full collection held the
    loop for 130 to 180 ms, and 20 ms since, and a frame of BOOK cost an eighth more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
