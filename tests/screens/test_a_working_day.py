"""What a trader ran into on a working day at the screens, with several assets, books that end early and jumps back in time."""

from pathlib import Path

import pytest
from msgspec import structs

from analytics.routes import Axis, RouteKind
from analytics.snapshot import MarketView, Print, RouteView, View
from feeds.model import SECOND, LinkState
from tests.screens.stage import Stage, on_stage
from tests.unit.test_feeds_lines import NOW, machinery, with_link
from tests.unit.test_routes import BIN_COIN, BIN_PERP, BIN_SPOT, Floor
from tui.export import utc_text
from tui.formats import price
from tui.line import text_of
from tui.lines.desk import market_line, market_table, nearness, same_venue_basis, verdict
from tui.lines.feeds import Drawer, places
from tui.lines.tape import tape_line, tape_table
from tui.screens.alert import AlertScreen

PRINT = Print(
    instrument=BIN_PERP.id, recv_ns=NOW, price=100_000.0, size_base=2.0, notional_quote=200_000.0, aggressor="sell", block=False
)


def market_of(floor: Floor, instrument: str) -> MarketView:
    floor.tick()
    return next(market for market in floor.engine.snapshot(View(routes=None)).markets if market.instrument == instrument)


async def ticks(stage: Stage) -> None:
    """What ten frames a second would draw by themselves."""
    for _ in range(4):
        stage.screen.tick()
        await stage.pilot.pause()


def test_a_print_says_of_which_asset_it_is() -> None:
    market = market_of(Floor((BIN_PERP,)), BIN_PERP.id)
    for width in (50, 80):
        assert "BIN perp BTC/USDT" in text_of(tape_line(tape_table(width), PRINT, {BIN_PERP.id: market}))
    narrow = structs.replace(market, facts=structs.replace(market.facts, quote="USDTUSDTUSDT"))
    assert "BIN perp BTC " in text_of(tape_line(tape_table(50), PRINT, {BIN_PERP.id: narrow}))


async def test_the_tape_can_be_closed_while_it_is_zoomed(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("3", "v", "tab", "z")
        assert "BOOK  BTC" not in stage.text()
        await stage.press("v")
        assert not stage.book.tape_panel.display
        assert "BOOK  BTC" in stage.text()


async def test_where_no_book_has_room_beside_it_the_tape_has_the_screen(recording: Path) -> None:
    async with on_stage(recording, untouched=True, size=(80, 24)) as stage:
        await stage.press("3", "v")
        book = stage.book
        assert "PRINTS" in stage.text()
        assert "BOOK  BTC" not in stage.text()
        assert book.tape.size.width == 80
        assert book.tape.has_focus
        await stage.pilot.resize_terminal(120, 24)
        await stage.settle()
        assert "PRINTS" in stage.text()
        assert "BOOK  BTC" in stage.text()
        assert book.grid.has_focus
        await stage.pilot.resize_terminal(80, 24)
        await stage.settle()
        assert "BOOK  BTC" not in stage.text()
        await stage.press("v")
        assert "BOOK  BTC" in stage.text()
        assert "PRINTS" not in stage.text()
        assert book.grid.has_focus
        assert book.grid.size.width == 80


async def test_no_row_is_pointed_at_that_no_key_acts_on(recording: Path) -> None:
    """Back before the alert that was chosen, it is not in the list any more."""
    async with on_stage(recording) as stage:
        await stage.press("7", "g")
        await stage.play(8.0)
        await stage.press("g")
        chosen = stage.alerts.grid.cursor
        first = min(item.alert.opened_ns for item in stage.app.items())
        stage.app.go_to(utc_text(first + SECOND) or "")
        await stage.settle()
        assert chosen not in {row.key for row in stage.alerts.grid.rows}
        assert stage.alerts.grid.rows, "nothing is left to point at"
        assert not any(line.startswith("▸") for line in stage.within(stage.alerts.grid))
        await stage.press("x")
        assert "choose another" in stage.told
        await stage.press("down")
        assert sum(line.startswith("▸") for line in stage.within(stage.alerts.grid)) == 1


async def test_who_jumps_to_a_book_sees_its_touch(recording: Path) -> None:
    """Paused: one frame is all there is, and the axis of before may lie somewhere else."""
    async with on_stage(recording, at_s=1.0) as stage:
        await stage.press("3", *["up"] * 60)
        moved = stage.book.panned
        assert moved
        market = next(iter(stage.app.source.engine.markets))
        stage.book.look_at(market)
        stage.app.go_to("+40")
        while stage.app.source.busy:
            stage.app.source.advance(stage.clock.now_ns)
        await ticks(stage)
        grid = stage.book.grid
        assert abs(int(grid.cursor) - len(grid.rows) // 2) <= 1
        assert sum("▸" in line[3:] or "◆" in line for line in stage.within(grid))


@pytest.mark.parametrize("key", ["[", "]"])
async def test_the_cursor_stays_on_its_price_when_rows_span_more_or_less(recording: Path, key: str) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("3", "c", "j", "j")
        before = stage.book._price  # what is seen is rounded to rows
        await stage.press(key)
        assert before is not None
        assert stage.book._price == pytest.approx(before, abs=stage.book._step)


async def test_at_the_ends_of_grouping_the_keys_say_so(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("3", *"[" * 8)
        assert "finer there is not" in stage.told
        await stage.press(*"]" * 9)
        assert "the most" in stage.told


def routed(**changes: object) -> RouteView:
    given: dict[str, object] = {"route": "a > b", "buy": "a", "sell": "b", "kind": RouteKind.CONVERGENCE, "axis": Axis.PRICE}
    given |= {"in_bps": 30.0, "fees_bps": 20.0, "edge_bps": 10.0, "refused": "", "episode": None, "detail": None}
    given |= {"bailout_bps": None, "base": 1.0, "executable_base": None, "binding": None, **changes}
    return RouteView(**given)  # type: ignore[arg-type]


def test_nearest_is_what_would_be_left_and_of_a_standing_basis_only_what_is_fresh() -> None:
    paying, near, far = routed(), routed(edge_bps=-5.0), routed(edge_bps=-20.0)
    standing = routed(kind=RouteKind.STANDING, edge_bps=30.0, fresh_bps=-12.0)
    unknown = routed(edge_bps=None)
    assert sorted([unknown, far, standing, near, paying], key=nearness) == [paying, near, standing, far, unknown]
    assert verdict(standing, 0, 40, None) == ("standing, fresh −12.0 bp", "dim")
    assert verdict(standing, 0, 60, -3.0)[0] == "standing, fresh −12.0 bp, funding −3.0 bp/day"
    assert len(verdict(standing, 0, 20, -3.0)[0]) <= 20


async def test_routes_stand_in_the_order_of_the_edge_that_is_shown(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.settle()
        scene = stage.app.scene(stage.desk)
        assert scene is not None
        shown = {route.route: nearness(route) for route in scene.snapshot.routes}
        order = [shown[row.key] for row in stage.desk.routes.rows]
        assert len(order) == 30
        assert order == sorted(order)


async def test_routes_left_out_are_counted(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.desk.ROUTES", 7)
    async with on_stage(recording, untouched=True) as stage:
        assert "7 of 30 routes" in str(stage.desk.routes_panel.border_subtitle)
        await stage.press("/")
        await stage.write("byb spot")
        assert "7 of 14 routes" in str(stage.desk.routes_panel.border_subtitle)
        assert "1 of 6" in str(stage.desk.markets_panel.border_title)


def test_depth_beyond_the_last_level_of_a_book_is_at_least() -> None:
    floor = Floor((BIN_PERP,))
    floor.write(BIN_PERP, 100_000.0, 100_000.1, 2.0, (30.0, 3.0))
    market = market_of(floor, BIN_PERP.id)
    assert market.depth_reach_bps == pytest.approx((3.005, 3.005))
    floor.write(BIN_PERP, 100_000.0, 100_000.1, 2.0, (60.0, 3.0))
    deep = market_of(floor, BIN_PERP.id)
    table = market_table(250)

    def said(view: MarketView) -> str:
        return text_of(market_line(table, view, None, 0, "braille", 50))

    assert "≥500k/≥500k" in said(market)
    assert "200k/200k" in said(market)
    assert "≥" not in said(deep)


def test_a_basis_by_indices_and_one_that_is_raw_say_so() -> None:
    floor = Floor((BIN_SPOT, BIN_COIN, BIN_PERP))
    for each in (BIN_SPOT, BIN_COIN, BIN_PERP):
        floor.write(each, 100_000.0, 100_000.2)

    def said() -> dict[str, str]:
        floor.tick()
        seen = floor.engine.snapshot(View(routes=None))
        basis = same_venue_basis(seen)
        lines = {m.instrument: market_line(market_table(250), m, basis.get(m.instrument), 0, "braille", 50) for m in seen.markets}
        return {name: text_of(line) for name, line in lines.items()}

    assert "RAW +0.0" in said()[BIN_COIN.id]
    assert "RAW" not in said()[BIN_PERP.id]
    for each, index in ((BIN_COIN, 100_010.0), (BIN_SPOT, 100_000.0), (BIN_PERP, 100_000.0)):
        floor.index(each, index)
    assert "−1.0i" in said()[BIN_COIN.id]


def test_a_connection_that_is_down_shows_nothing_that_lives() -> None:
    found = with_link(machinery(), state=LinkState.DOWN, since_ns=NOW - 40 * SECOND)
    drawer = Drawer(found, {}, "braille", 250)
    slot = found.view.links[0].slot
    lines = [text_of(drawer.line(place)) for place in places(found) if place.slot == slot]
    assert len(lines) > 2
    assert "for 40s" in lines[0]
    for line in lines[1:]:
        assert "○ down" in line
        assert "heard" not in line


async def test_a_leg_at_an_alert_is_a_mid_and_written_to_the_half_tick(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        item = next(item for item in stage.app.items() if any(leg.size_base is None for leg in item.alert.legs))
        stage.alerts.look_at(item.key)
        await stage.press("7", "enter")
        text = stage.text()
        for leg in item.alert.legs:
            assert f"mid {price(leg.price, 0.01)}".rstrip("0").rstrip(".") in text


async def test_a_live_alert_speaks_of_no_recording(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with on_stage(recording) as stage:
        await stage.press("7", "enter")
        assert isinstance(stage.screen, AlertScreen)
        assert "recording " in stage.text()
        monkeypatch.setattr(stage.app, "tape", None)
        await stage.settle()
        assert "recording " not in stage.text()
        assert "Go there" not in stage.text()


async def test_what_is_said_in_the_corner_takes_the_place_of_the_last(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        cleared = []
        stage.app.clear_notifications = lambda: cleared.append(1)  # type: ignore[method-assign]
        stage.app.tell("one")
        stage.app.tell("two")
        assert len(cleared) == 2
        stage.app.tell("mind this", "warning")
        stage.app.tell("three")
        assert len(cleared) == 2, "a warning was taken away"
        stage.clock.now_ns += 5 * SECOND
        stage.app.tell("four")
        assert len(cleared) == 3
