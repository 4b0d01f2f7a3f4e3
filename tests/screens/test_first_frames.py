"""The first frame of a screen is a whole one: what opens never shows an empty frame first."""

from pathlib import Path

import pytest

from tests.screens.stage import on_stage
from tests.screens.test_snapshots import WAYS


@pytest.mark.parametrize("size", [(120, 36), (60, 16)], ids=str)
@pytest.mark.parametrize("screen", WAYS)
async def test_no_screen_opens_with_an_empty_frame(
    recording: Path, screen: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_stage(recording, size=size, untouched=True) as stage:
        app, shown = stage.app, []
        display = app._display

        def spy(of: object, update: object) -> None:
            if update is not None and not app._batch_count:
                shown.append((app.screen.name, stage.text()))
            display(of, update)  # type: ignore[arg-type]

        monkeypatch.setattr(app, "_display", spy)
        *way, last = WAYS[screen]
        for key in way:
            await stage.pilot.press(key)
        await stage.pilot.press(last)
        frames = [text for name, text in shown if name == screen]
        assert frames or screen == "desk"
        for text in frames:
            header, second, body, *_, footer = text.splitlines()
            assert "REPLAY PAUSED" in second, text
            assert header.strip()
            assert body.strip()
            assert footer.strip()


async def test_screens_that_are_left_before_they_are_drawn_hide_nothing(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        for name in ("book", "alerts", "desk", "book"):
            stage.app.action_open(name)
            stage.app.action_help()
            stage.app.action_help()
        await stage.settle()
        assert not stage.app._batch_count
        assert "BOOK  BTC" in stage.text()
