"""The pictures of the README, made by one command: `make screenshots` draws the screens on the seeded made-up market.

The same code and font give the same files, but for those in `LIVE`, which are of the demo after some seconds. What a picture
shows is in `PICTURES` and `LIVE`; nothing is retouched.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from analytics.alerts import DEFAULT_RULES
from analytics.settings import AnalyticsSettings, Fees
from feeds.model import SECOND
from feeds.recording import Recording
from tests.made import record
from tests.pictures import svg_to_png
from tui.app import ArbtopApp, Look
from tui.config import Config
from tui.demo import Demo
from tui.glyphs import GLYPHS
from tui.headless import LiveOptions, live_run
from tui.playback import Playback
from tui.session import Replay
from tui.source import Source
from tui.theme import load_theme
from tui.widgets.picture import svg

DIRECTORY: Final = Path(__file__).resolve().parents[1] / "screenshots"
SEED: Final = 1
SECONDS: Final = 120.0
AT_NS: Final = 104 * SECOND
"""Into the recording: the USD-M perpetual stands above the rest."""
SETTINGS: Final = AnalyticsSettings(fees=Fees(taker_bps={"BINANCE": 0.8, "BYBIT": 1.0}, confirmed=True))
"""A market maker's fees, since nothing pays at the lowest tier."""


class Picture(NamedTuple):
    name: str
    size: tuple[int, int]
    theme: str
    keys: tuple[str, ...] = ()
    glyphs: str = "braille"


PICTURES: Final = (
    Picture("desk", (160, 42), "okabe"),
    Picture("book", (160, 50), "midnight", ("3", "left_square_bracket")),
    Picture("alerts", (120, 36), "okabe", ("7", "down", "down", "x", "down", "x")),
    Picture("alert", (120, 36), "midnight", ("7", "down", "enter")),
    Picture("route", (120, 36), "okabe", ("tab", "enter")),
    Picture("desk-80x24", (80, 24), "midnight"),
    Picture("book-ascii", (100, 30), "okabe", ("3", "left_square_bracket"), "ascii"),
)


LIVE: Final = (Picture("demo", (160, 46), "okabe"), Picture("feeds", (160, 46), "midnight", ("8",)))
LIVE_S: Final = 40.0
"""The demo's first window stands open then, or has just closed."""


async def draw(source: Source, picture: Picture) -> str:
    """One screen as SVG."""
    nowhere = Path("/nonexistent")
    look = Look(
        theme=load_theme(picture.theme, nowhere), glyphs=GLYPHS[picture.glyphs], themes=nowhere, exports=nowhere, calm=True
    )
    app = ArbtopApp(source, look)
    async with app.run_test(size=picture.size, notifications=False) as pilot:
        await pilot.pause()
        for key in picture.keys:
            await pilot.press(key)
            await pilot.pause()
        app.redraw()
        await pilot.pause()
        return svg(app.export_screenshot(title="arbtop", simplify=True))


async def draw_live() -> dict[str, str]:
    """The demo, each picture of the same run."""
    with live_run(LiveOptions(config=Config(), demo=Demo(seed=3))) as run:
        feeding = asyncio.create_task(run.run())
        await asyncio.sleep(LIVE_S)
        drawn = {picture.name: await draw(run, picture) for picture in LIVE}
        run.stop()
        await feeding
    return drawn


def keep(name: str, text: str) -> None:
    (DIRECTORY / f"{name}.svg").write_text(text, encoding="utf-8")
    png = DIRECTORY / f"{name}.png"
    svg_to_png(text, png)
    print(f"{png.name}: {png.stat().st_size / 1e3:.0f} kB, SVG {len(text) / 1e3:.0f} kB")


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / "made-up"
        record(made, SEED, SECONDS)
        for picture in PICTURES:
            recording = Recording(made)
            replay = Replay(recording, SETTINGS, DEFAULT_RULES)
            source = Playback(replay)
            source.paused = True
            replay.play(recording.start_ns + AT_NS)
            keep(picture.name, asyncio.run(draw(source, picture)))
    for name, text in asyncio.run(draw_live()).items():
        keep(name, text)


if __name__ == "__main__":
    main()
