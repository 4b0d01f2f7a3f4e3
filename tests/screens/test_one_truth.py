"""One instant has one truth: the same figure of the same market, route or alert stands on every screen and dialog (desk.md F12).

What is compared is what stands in the cells, read back as a user reads it.
"""

import re
from pathlib import Path
from typing import Final

import pytest

from analytics.snapshot import View
from feeds.model import SECOND, Instrument
from tests.screens.stage import Stage, numbers, on_stage
from tui.formats import ratio
from tui.lines.alerts import table as alert_table
from tui.lines.desk import market_table, route_table
from tui.names import market_name, quoted_name
from tui.table import Layout
from tui.widgets.live_grid import LiveGrid

WIDE: Final = (250, 60)
"""Room for every column."""
STRIPPED: Final = 4
Cells = dict[str, str]


def split(layout: Layout, line: str) -> Cells:
    """A line of a table back into its cells."""
    found, at = {}, 1
    for column, width in zip(layout.columns, layout.widths, strict=True):
        found[column.key] = line[at : at + width].strip()
        at += width + layout.gap
    return found


def rows_of(stage: Stage, grid: LiveGrid, layout: Layout, heads: int) -> list[Cells]:
    return [split(layout, line) for line in stage.within(grid)[heads:] if line.strip()]


def names_of(instrument: Instrument) -> tuple[str, str]:
    """How a column of the books may be headed."""
    return market_name(instrument), quoted_name(instrument)


def markets_on_desk(stage: Stage) -> dict[str, Cells]:
    grid = stage.desk.markets
    return {row["name"]: row for row in rows_of(stage, grid, market_table(grid.size.width), 2)}


def routes_on_desk(stage: Stage) -> dict[str, Cells]:
    grid = stage.desk.routes
    return {row["name"]: row for row in rows_of(stage, grid, route_table(grid.size.width), 1)}


async def frozen_or_paused(stage: Stage, held: bool) -> None:
    """The picture stands still: because the source does, or although it goes on."""
    if held:
        await stage.press("f", "space")
        await stage.play(1.5)
        assert stage.app.source.status.now_ns > stage.app.source.start_ns + 14 * SECOND


@pytest.mark.parametrize("held", [False, True], ids=["paused", "frozen"])
async def test_a_market_is_the_same_on_desk_and_in_its_book(recording: Path, held: bool) -> None:
    async with on_stage(recording, size=WIDE, untouched=not held) as stage:
        engine = stage.app.source.engine
        snapshot = engine.snapshot(View())
        await frozen_or_paused(stage, held)
        desk = markets_on_desk(stage)
        await stage.press("3", "v")  # without the tape there is room for both prices of each market
        heads = [line.split("│") for line in stage.within(stage.book.grid)[:3]]
        columns = {name.strip(): (name, second, third) for name, second, third in zip(*(line[1:] for line in heads), strict=True)}
        assert len(columns) == len(desk) == len(snapshot.markets) == 6
        for market in snapshot.markets:
            row = desk[market_name(market.facts)]
            first, second, third = next(
                found for name, found in columns.items() if name.rpartition(" ● ")[0].strip() in names_of(market.facts)
            )
            touch = re.fullmatch(r"(\S+) × (\S+)  (\S+) bp", second.strip())
            assert touch is not None, second
            assert touch.groups() == (row["bid"], row["ask"], row["spread"])
            assert row["state"] in first
            assert f"imb {ratio(market.imbalance)}" in third


@pytest.mark.parametrize("held", [False, True], ids=["paused", "frozen"])
async def test_a_route_is_the_same_on_desk_and_in_its_detail(recording: Path, held: bool) -> None:
    async with on_stage(recording, size=WIDE, untouched=not held) as stage:
        await frozen_or_paused(stage, held)
        desk, markets = routes_on_desk(stage), markets_on_desk(stage)
        await stage.press("tab")
        for name in list(desk)[:7]:
            await stage.press("enter")
            detail = {line[2:28].strip(): line[28:] for line in stage.lines() if line.startswith("│")}
            title = stage.lines()[2]
            assert name in title, title
            row = desk[name]
            figures = {key: numbers(text) for key, text in detail.items()}
            of_detail = {
                "in": figures["in: sell over buy"][0],
                "fees": figures["fees of the buy leg"][0] + figures["fees of the sell leg"][0],
                "edge": figures["edge: in − fees"][0],
                "bail": figures["bail out now"][0],
            }
            for key, value in of_detail.items():
                assert numbers(row[key])[0] == pytest.approx(value, abs=0.0501), (name, key)
            assert detail["verdict"].strip(" │").startswith(row["verdict"])
            assert detail["class, axis"].split()[0].rstrip(",") == row["kind"]
            if row["doable"] != "0":
                assert detail["earning its fees now"].strip().startswith(row["doable"])
            for leg in (line for line in stage.lines() if re.match(r"│  (buy|sell) ", line)):
                market = markets[leg[8:29].strip()]
                assert f"bid {market['bid']}  ask {market['ask']}" in leg
                assert market["state"] in leg
                assert f"lag {market['lag']}" in leg
            await stage.press("escape", "j")


@pytest.mark.parametrize("held", [False, True], ids=["paused", "frozen"])
async def test_an_alert_is_the_same_in_strip_list_and_detail(recording: Path, held: bool) -> None:
    async with on_stage(recording, size=WIDE, untouched=not held) as stage:
        await frozen_or_paused(stage, held)
        strip = stage.desk.strip
        stripped = rows_of(stage, strip, alert_table(strip.size.width), 1)
        verdicts = {name: row["verdict"] for name, row in routes_on_desk(stage).items()}
        await stage.press("7")
        grid = stage.alerts.grid
        listed = rows_of(stage, grid, alert_table(grid.size.width), 1)
        assert listed[: len(stripped)] == stripped
        assert len(stripped) == STRIPPED
        for row in listed[:8]:
            await stage.press("enter")
            detail = {line[2:18].strip(): line[18:].strip("│ ") for line in stage.lines() if line.startswith("│")}
            await stage.press("escape", "j")
            assert detail["what"] == row["scope"]
            assert detail["rule"].split() == [row["rule"], *row["severity"].split()]
            assert row["opened"].rstrip("Z") in detail["opened"]
            assert detail["value"] == row["value"]
            assert detail["peak"].startswith(row["peak"])
            assert detail["lasted"] == row["lasted"]
            assert detail["mark"].split()[0] == row["mark"]
            assert detail["closed by"] == (row["why"] or "—")
            if row["state"] == "open" and row["rule"] == "route":
                lasted, peak = verdicts[row["scope"]].removeprefix("■ OPEN ").split(", peak ")
                assert lasted == row["lasted"]
                assert numbers(peak)[0] == pytest.approx(numbers(row["peak"])[0], abs=0.0501)


async def test_the_header_is_the_same_everywhere_and_counts_what_the_list_holds(recording: Path) -> None:
    async with on_stage(recording, size=WIDE, untouched=True) as stage:
        headers = []
        for keys in (("1",), ("3",), ("7",), ("enter",), ("escape", "e"), ("1", "question_mark"), ("3", "i")):
            await stage.press(*keys)
            headers.append(stage.lines()[0])
        assert len(set(headers)) == 1, headers
        counts = {glyph: int(count) for glyph, count in re.findall(r"([■▲●])(\d+)\b(?!ms)", headers[0])}
        await stage.press("7")
        waiting = [item for item in stage.alerts.items() if item.mark == "NEW"]
        by_severity = {
            glyph: sum(item.alert.severity == name for item in waiting) for glyph, name in (("■", "crit"), ("▲", "warn"))
        }
        assert counts == by_severity
        assert sum(by_severity.values()) == len(stage.app.source.alerts)


async def test_a_frozen_picture_does_not_move_while_the_source_plays_on(recording: Path) -> None:
    async with on_stage(recording, at_s=16.0) as stage:
        await stage.press("f")
        before = {}
        for key in ("1", "3", "7"):
            await stage.press(key)
            before[key] = stage.lines()[2:]
        known = len(stage.app.source.alerts)
        await stage.press("space")
        await stage.play(3.0)
        come = len(stage.app.source.alerts) - known
        assert come > 0
        for key in ("1", "3", "7"):
            await stage.press(key)
            lines = stage.lines()
            assert lines[2:] == before[key]
            assert "FROZEN" in lines[0]
            assert "15:59:41.0Z" in lines[0]
            assert f"FROZEN 15:59:41.0Z  +3 s · {come} new alert" in lines[1]


async def test_a_picture_that_thaws_shows_now(recording: Path) -> None:
    async with on_stage(recording, at_s=16.0) as stage:
        frozen = stage.lines()
        await stage.press("f", "space")
        await stage.play(3.0)
        await stage.press("f")
        assert "FROZEN" not in stage.text()
        thawed = stage.lines()
        assert "15:59:44.0Z" in thawed[0]
        assert thawed[2:] != frozen[2:]
        async with on_stage(recording, at_s=19.0) as other:
            assert [re.sub(r"^│▸", "│ ", line) for line in other.lines()[2:-1]] == [
                re.sub(r"^│▸", "│ ", line) for line in thawed[2:-1]
            ]


async def test_what_the_help_says_is_sampled_moves_once_a_second_and_prices_with_the_frame(recording: Path) -> None:
    async with on_stage(recording, at_s=66.15) as stage:
        await stage.press("question_mark")
        await stage.resize(200, 100)
        assert re.search(r"each frame +prices, spread, depth, basis, mark − index", stage.text())
        assert re.search(r"each second +premium, every z", stage.text())
        await stage.press("escape")
        engine = stage.app.source.engine
        touches, depths, bases, grid = set(), set(), set(), set()
        for _ in range(7):
            seen = engine.snapshot(stage.screen.view())
            touches.add(tuple((market.bid, market.ask) for market in seen.markets))
            depths.add(tuple(tuple(market.depth_quote.items()) for market in seen.markets))
            bases.add(tuple(pair.basis_bps for pair in seen.pairs))
            markets = tuple((m.premium_bps, m.premium_z, m.mark_index_z) for m in seen.markets)
            grid.add((markets, tuple((pair.z, pair.n) for pair in seen.pairs)))
            await stage.press("full_stop")
        assert min(len(touches), len(depths), len(bases)) > 1
        assert len(grid) == 1
