"""Keys that arrive in one breath do what they do when they come one by one: none goes to what was there before."""

from pathlib import Path

import pytest
from textual.widgets import Input

from feeds.model import SECOND
from tests.screens.stage import Stage, on_stage
from tui.screens.alerts import AlertsScreen

ENTER, ESC = "enter", "escape"
BATCHES = {
    "a filter, then a time": ("/", *"btc", ENTER, ":", *"+5", ENTER),
    "a filter with keys of the screen in it": ("/", *"e1xq7", ENTER),
    "a filter that is given up, then another": ("/", *"abc", ESC, "/", *"usdt", ENTER, "s"),
    "a line that stays open": ("7", "/", *"sev>=warn"),
    "a dialog, then its keys": ("7", "j", "j", ENTER, "x", ESC, "j"),
    "a dialog of a dialog's screen": ("tab", "j", ENTER, "?", ESC, ESC, "j"),
    "a choice by name": ("3", "i", "/", *"byb", ENTER, ENTER, "u"),
    "a screen that was never open": ("3", "l", "l", "u", "d"),
    "an export under another name": ("7", "e", "down", "down", "down", "right", *"x", ENTER),
    "there and back": ("?", ESC, "7", "?", "?", "1", "tab"),
}


async def state(stage: Stage) -> object:
    """What tells one way through the keys from another."""
    screen, alerts = stage.screen, stage.app.screens["alerts"]
    desk = stage.desk
    assert isinstance(alerts, AlertsScreen)
    return (
        [each.name for each in stage.app.screen_stack],
        screen.focused.id if screen.focused else None,
        screen.prompt.open,
        [field.value for field in screen.query(Input)],
        desk.filter,
        alerts.chosen.text,
        stage.app.source.status.now_ns,
        [alert.seq for alert in stage.app.source.alerts.values() if alert.acked_ns],
        stage.lines(),
    )


@pytest.mark.parametrize("keys", BATCHES.values(), ids=BATCHES)
async def test_keys_in_one_breath_do_what_they_do_one_by_one(recording: Path, keys: tuple[str, ...]) -> None:
    async with on_stage(recording) as stage:
        await stage.press(*keys)
        slowly = await state(stage)
    async with on_stage(recording) as stage:
        await stage.burst(*keys)
        assert await state(stage) == slowly


async def test_a_filter_and_a_time_in_one_breath_are_both_heard(recording: Path) -> None:
    async with on_stage(recording) as stage:
        before = stage.app.source.status.now_ns
        await stage.burst("/", *"btc", ENTER, ":", *"+5", ENTER)
        assert "filter “btc”" in stage.text()
        assert stage.app.source.status.now_ns == before + 5 * SECOND
        assert not stage.screen.prompt.open
