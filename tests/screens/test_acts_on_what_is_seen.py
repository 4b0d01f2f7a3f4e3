"""Keys act on what the user sees, and no screen shows two instants at once: frozen, on the way to another time, as rows move."""

from pathlib import Path
from typing import cast

import pytest

from feeds.model import SECOND
from tests.screens.stage import on_stage
from tui.line import text_of
from tui.screens.alert import AlertScreen
from tui.screens.alerts import AlertsScreen
from tui.screens.book import BookScreen
from tui.screens.desk import DeskScreen


def alerts_screen(stage: object) -> AlertsScreen:
    return cast(AlertsScreen, stage.app.screens["alerts"])  # type: ignore[attr-defined]


async def test_a_new_alert_does_not_slip_under_a_cursor_that_was_never_moved(recording: Path) -> None:
    async with on_stage(recording, at_s=50.0) as stage:
        await stage.press("7")
        seen = alerts_screen(stage).grid.cursor
        before = len(stage.app.source.alerts)
        await stage.play(0.1)
        stage.app.source.goto("+12")
        await stage.settle()
        assert len(stage.app.source.alerts) > before
        await stage.press("x")
        acked = [alert for alert in stage.app.source.alerts.values() if alert.acked_ns]
        assert [f"{alert.opened_ns} {alert.rule} {alert.scope}" for alert in acked] == [seen]


async def test_enter_on_the_strip_opens_the_list_on_that_alert_and_no_other(recording: Path) -> None:
    async with on_stage(recording, at_s=50.0) as stage:
        await stage.press("7", "j", "j", "1")
        stage.app.source.goto("+12")
        await stage.settle()
        desk = cast(DeskScreen, stage.app.screens["desk"])
        newest = desk.strip.rows[0].key
        desk.strip.focus()
        desk.strip.go(newest)
        await stage.press("enter")
        selected = alerts_screen(stage).grid.selected
        assert selected is not None
        assert selected.key == newest


async def test_an_alert_that_leaves_the_filter_takes_the_key_with_it(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("7", "slash")
        await stage.write("is:new")
        await stage.press("enter", "j")
        screen = alerts_screen(stage)
        first = screen.grid.selected
        assert first is not None
        stage.app.source.ack(next(item.alert.seq for item in screen.items() if item.key == first.key))
        await stage.settle()
        assert screen.grid.selected is None
        acked = sum(1 for alert in stage.app.source.alerts.values() if alert.acked_ns)
        await stage.press("x")
        assert sum(1 for alert in stage.app.source.alerts.values() if alert.acked_ns) == acked


async def test_frozen_ack_all_and_export_take_what_is_shown(recording: Path) -> None:
    async with on_stage(recording, at_s=40.0) as stage:
        await stage.press("7", "f")
        shown = len(alerts_screen(stage).grid.rows)
        stage.app.source.goto("+25")
        await stage.settle()
        assert len(stage.app.source.alerts) > shown
        await stage.press("e")
        assert f"EXPORT  {shown} alerts" in stage.text()
        await stage.press("escape", "X")
        assert stage.told == f"{shown} acknowledged"
        assert sum(1 for alert in stage.app.source.alerts.values() if alert.acked_ns) == shown
        assert " NEW" not in stage.text()


async def test_a_frozen_picture_refuses_another_size(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("3", "f")
        before = stage.lines()
        await stage.press("plus", "plus")
        assert "frozen" in stage.told
        assert stage.lines()[2:] == before[2:]


async def test_a_frozen_desk_is_sorted_as_it_stood(recording: Path) -> None:
    async with on_stage(recording) as stage:
        desk = cast(DeskScreen, stage.app.screens["desk"])
        await stage.press("f")
        stood = [text_of(row.line) for row in desk.routes.rows]
        stage.app.source.goto("+25")
        await stage.settle()
        await stage.press("s")
        assert "by asset" in stage.text()
        assert sorted(text_of(row.line) for row in desk.routes.rows) == sorted(stood), "figures of another moment"
        assets = [row.key.partition(":")[2].partition("/")[0] for row in desk.routes.rows]
        assert assets == sorted(assets)
        await stage.press("s")
        assert [text_of(row.line) for row in desk.routes.rows] == stood, "the order of another moment"


async def test_a_frozen_picture_can_be_left_on_the_way(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("f")
        stage.app.source.goto("start")
        assert stage.app.source.busy
        stage.app.action_freeze()
        assert "FROZEN" not in stage.lines()[0]


async def test_on_the_way_every_screen_shows_the_instant_that_was_left(recording: Path) -> None:
    async with on_stage(recording) as stage:
        left = stage.app.source.engine.now_ns
        stage.app.go_to("start")
        assert stage.app.source.busy
        for screen in stage.app.screens.values():
            scene = stage.app.scene(screen)
            assert scene is not None
            assert scene.snapshot.now_ns == left
        alerts_screen(stage).action_ack_all()
        assert "on the way" in stage.told
        assert not any(alert.acked_ns for alert in stage.app.source.alerts.values())


async def test_a_detail_stays_with_its_alert_when_numbers_begin_anew(recording: Path) -> None:
    async with on_stage(recording, at_s=50.0) as stage:
        stage.app.source._far_ns = 20 * SECOND
        await stage.press("7", "enter")
        dialog = cast(AlertScreen, stage.app.screen)
        was = dialog.alert
        stage.app.source.goto("-5")
        await stage.settle()
        assert not stage.app.source.status.exact
        assert (dialog.alert.opened_ns, dialog.alert.scope) == (was.opened_ns, was.scope)
        assert "NOT FROM START" in stage.lines()[1]


async def test_the_cursors_words_are_of_its_own_row_or_none(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("3")
        book = cast(BookScreen, stage.app.screens["book"])
        stage.app.go_to("start")
        book.grid.action_down()
        book.draw()
        assert "average" not in stage.text().splitlines()[-2]


async def test_at_the_smallest_size_a_route_is_still_seen(recording: Path) -> None:
    async with on_stage(recording, size=(60, 16)) as stage:
        desk = cast(DeskScreen, stage.app.screens["desk"])
        assert desk.routes.rows_shown >= 1


async def test_a_picture_never_replaces_another(recording: Path, tmp_path: Path) -> None:
    async with on_stage(recording, tmp_path) as stage:
        await stage.press("P", "P")
        assert len(list(tmp_path.glob("*.svg"))) == 2


async def test_a_minus_as_the_screens_write_it_is_a_minus(recording: Path) -> None:
    async with on_stage(recording) as stage:
        at = stage.app.source.status.now_ns
        await stage.press("colon")
        await stage.write("−10")
        await stage.press("enter")
        assert stage.app.source.status.now_ns == at - 10 * SECOND


@pytest.mark.parametrize("key", ["1", "7"])
async def test_esc_takes_a_filter_away(recording: Path, key: str) -> None:
    async with on_stage(recording) as stage:
        await stage.press(key, "slash")
        await stage.write("zzz")
        await stage.press("enter")
        assert "zzz" in stage.text()
        await stage.press("escape")
        assert "zzz" not in stage.text()


async def test_a_hollow_column_is_not_known_instead_of_empty(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("3")
        for market in stage.app.source.engine.markets.values():
            assert market.book is not None
            market.book.leg.pulse.alive = False
        await stage.settle()
        assert "no book that may be read here" in stage.text()
        assert "inside the spread" not in stage.text()
        assert " — " in stage.lines()[12]
