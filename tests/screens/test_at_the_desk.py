"""What a trader ran into in an hour at the screens: words that did not agree with the figures, and keys that said nothing."""

import re
from functools import partialmethod
from pathlib import Path

import pytest

from analytics.snapshot import RouteView
from feeds.model import MS, SECOND
from tests.screens.stage import AT_S, StagedApp, on_stage
from tui.app import ArbtopApp
from tui.formats import price, rough, usd
from tui.line import text_of
from tui.lines.desk import verdict
from tui.lines.header import header_lines
from tui.names import market_name
from tui.playback import Playback
from tui.screens.export import ExportScreen


def route(in_bps: float, fees_bps: float) -> RouteView:
    return RouteView(
        route="a > b",
        buy="a",
        sell="b",
        kind="LOCKED",
        axis="price",
        in_bps=in_bps,
        fees_bps=fees_bps,
        edge_bps=in_bps - fees_bps,
        bailout_bps=None,
        base=1.0,
        executable_base=None,
        binding=None,
        refused="",
        episode=None,
        detail=None,
    )


def test_fees_are_blamed_only_for_what_there_was_without_them() -> None:
    assert verdict(route(5.0, 20.0), 0, 40, None)[0] == "no: fees eat it"
    assert verdict(route(-5.0, 20.0), 0, 40, None)[0] == "no: price"
    assert verdict(route(0.0, 0.0), 0, 40, None)[0] == "no: price"
    assert verdict(route(1.0, 0.0), 0, 40, None)[0] == "above fees, not open yet"


async def test_the_start_has_a_time_before_anything_was_judged(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("colon")
        await stage.write("start")
        await stage.press("enter")
        assert "00:00:00" not in stage.lines()[0]
        assert "15:59:25.0Z" in stage.lines()[0]


async def test_an_open_alert_that_was_acknowledged_is_not_no_alert(recording: Path) -> None:
    async with on_stage(recording, at_s=AT_S - 12) as stage:
        stage.app.action_play()
        while not stage.app.source.engine.alerts.open:
            await stage.play(0.2)
        stage.app.action_play()
        await stage.press("7", "X")
        open_ones = len(stage.app.source.engine.alerts.open)
        assert open_ones
        assert f"none new, {open_ones} open" in stage.lines()[0]
        await stage.press("f")
        assert f"none new, {open_ones} open" in stage.lines()[0]


async def test_a_speed_says_what_it_reaches(recording: Path) -> None:
    async with on_stage(recording, at_s=2.0) as stage:
        source = stage.app.source
        assert isinstance(source, Playback)
        source.paused, source.speed = False, 100.0
        for _ in range(30):
            stage.clock.now_ns += 20 * MS
            source.advance(stage.clock.now_ns, 0)
        scene = stage.app.scene(stage.screen)
        assert scene is not None
        assert re.search(r"REPLAY ▸ 100x, reaching [\d.]+x ", text_of(header_lines(scene, "desk", 160)[1]))


@pytest.mark.parametrize("sign", [" > ", " / ", ""])
async def test_from_an_alert_one_lands_on_what_it_is_about(recording: Path, sign: str) -> None:
    async with on_stage(recording, size=(160, 60), at_s=AT_S) as stage:
        await stage.press("7")
        found = (item for item in stage.alerts.items() if sign in item.alert.scope and (sign or " " not in item.alert.scope))
        item = next(found)
        alert = item.alert
        stage.alerts.look_at(item.key)
        await stage.press("enter", "enter")
        assert stage.told.startswith(f"1 s before alert #{alert.seq}: {alert.rule} ")
        assert stage.app.source.status.now_ns == alert.opened_ns - SECOND
        if sign == " > ":
            assert stage.app.screen.name == "desk"
            assert stage.desk.routes.cursor == alert.scope
            assert stage.app.focused is stage.desk.routes
        else:
            assert stage.app.screen.name == "book"
            assert getattr(stage.app.screen, "selected", "") == alert.scope.partition(" / ")[0]


async def test_the_list_has_the_numbers_that_one_can_go_to(recording: Path) -> None:
    for size in ((80, 24), (120, 36)):
        async with on_stage(recording, size=size, at_s=AT_S, untouched=True) as stage:
            await stage.press("7")
            lines = stage.within(stage.alerts.grid)
            for item, line in zip(stage.alerts.items(), lines[1:], strict=False):
                assert f"#{item.alert.seq} " in line
                assert item.alert.rule in line


async def test_a_key_that_does_nothing_here_says_so(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("3")
        for key, face in (("e", "e"), ("slash", "/"), ("x", "x")):
            await stage.press(key)
            assert stage.told == f"{face} does nothing here"
        told = len(stage.app.told)
        await stage.press("1", "slash", "x", "up", "escape", "j")
        assert len(stage.app.told) == told


async def test_a_picture_has_no_note_in_its_corner(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StagedApp, "run_test", partialmethod(ArbtopApp.run_test, notifications=True))
    async with on_stage(recording, tmp_path) as stage:
        ArbtopApp.notify(stage.app, "a note in the corner")
        await stage.settle()
        assert "a note in the corner" in stage.text()
        await stage.press("P")
        (path,) = tmp_path.iterdir()
        assert "a note" not in path.read_text()


async def test_the_cursor_stays_on_the_best_route_until_it_is_moved(recording: Path) -> None:
    async with on_stage(recording, at_s=AT_S - 12) as stage:
        desk = stage.desk
        best = []
        stage.app.action_play()
        for _ in range(12):
            assert desk.routes.cursor == desk.routes.rows[0].key
            best.append(desk.routes.cursor)
            await stage.play(1.0)
        assert len(set(best)) > 1, "nothing changed places"
        await stage.press("tab", "j")
        mine = desk.routes.rows[1].key
        places = set()
        for _ in range(12):
            assert desk.routes.cursor == mine
            places.add([row.key for row in desk.routes.rows].index(mine))
            if len(places) > 1:
                break
            await stage.press("comma")
        assert len(places) > 1, "nothing changed places"


async def test_a_filter_that_hides_every_market_says_so(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("slash")
        await stage.write("zzz")
        assert "no market matches the filter" in stage.text()
        assert "no route matches the filter" in stage.text()


async def test_a_filter_that_compares_what_has_no_order_says_so(recording: Path) -> None:
    async with on_stage(recording, at_s=AT_S, untouched=True) as stage:
        await stage.press("7", "slash")
        await stage.write("zzz>1")
        assert "zzz>1: only a severity can be compared" in stage.text()


async def test_one_alert_is_not_alerts(recording: Path, tmp_path: Path) -> None:
    async with on_stage(recording, tmp_path, at_s=AT_S) as stage:
        await stage.press("7", "slash")
        await stage.write("rule:route")
        await stage.press("enter", "X", "e")
        await stage.press("escape")
        shown = [item.alert for item in stage.alerts.items()][:1]
        assert shown
        stage.app.push_screen(ExportScreen(shown))
        await stage.settle()
        await stage.press("enter")
        assert re.match(r"1 alert: /", stage.told)


async def test_the_palette_has_no_sign_that_ascii_lacks(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("ctrl+p")
        assert "🔎" not in stage.text()


async def test_depth_on_the_screen_is_of_the_prices_beside_it(recording: Path) -> None:
    async with on_stage(recording, size=(250, 60), at_s=AT_S) as stage:
        for _ in range(4):
            for market in stage.app.source.engine.markets.values():
                book = market.book
                assert book is not None
                bids, asks = book.levels(10_000)
                within = [
                    sum(market.instrument.to_quote(size, at) for at, size in side if abs(at / book.mid - 1) <= 5e-4 * (1 + 1e-12))
                    for side in (bids, asks)
                ]
                row = next(line for line in stage.lines() if f"{market_name(market.instrument)} " in line and "●" in line[22:])
                assert price(book.bid, market.instrument.tick) in row
                reaches = [abs(side[-1][0] / book.mid - 1) * 1e4 for side in (bids, asks)]
                said = [usd(sums).replace("$", "") for sums in within]
                if min(reaches) < 5.0:
                    said = [f"{'≥' if reach < 5.0 else ''}{rough(sums)}" for sums, reach in zip(within, reaches, strict=True)]
                assert "/".join(said) in row
            await stage.press("full_stop")
