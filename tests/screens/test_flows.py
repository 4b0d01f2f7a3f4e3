"""Work done through the screens, as a user does it: the work list, the export, themes and glyphs, the replay."""

import csv
import gzip
import io
import json
import re
import shutil
from pathlib import Path

import pytest

from feeds.model import SECOND
from tests.screens.stage import Stage, on_stage
from tui.export import COLUMNS, export, export_bytes
from tui.glyphs import GLYPHS
from tui.worklist import ORDERS


def listed(stage: Stage) -> list[str]:
    return [line for line in stage.within(stage.alerts.grid)[1:] if line.strip()]


async def write_line(stage: Stage, text: str) -> None:
    """Type a text and Enter."""
    await stage.write(text)
    await stage.press("enter")


# The work list.


async def test_what_is_acknowledged_leaves_the_header(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("7")
        found = re.search(r"■(\d+)", stage.lines()[0])
        assert found is not None
        assert listed(stage)[0].rstrip().count("NEW") == 1
        await stage.press("x")
        assert "ACK" in listed(stage)[0]
        assert f"■{int(found[1]) - 1} " in stage.lines()[0]
        await stage.press("X")
        assert re.search(r"none new, \d+ open", stage.lines()[0])
        assert stage.told == f"{len(stage.app.source.alerts) - 1} acknowledged"


async def test_acknowledge_all_takes_only_what_is_shown(recording: Path) -> None:
    async with on_stage(recording, at_s=66.0) as stage:
        await stage.press("7", "slash")
        await write_line(stage, "rule:z")
        await stage.press("X")
        for alert in stage.app.source.alerts.values():
            assert bool(alert.acked_ns) == (alert.rule == "z")


async def test_a_mute_takes_its_likes_and_is_taken_back(recording: Path) -> None:
    async with on_stage(recording, size=(120, 60)) as stage:
        await stage.press("7")
        item = stage.alerts.items()[0]
        likes = [each for each in stage.alerts.items() if each.alert.scope == item.alert.scope]
        assert len(likes) > 1
        await stage.press("m")
        assert sum("MUTED" in line for line in listed(stage)) == len(likes)
        assert "muted for 10 min" in stage.told
        assert stage.app.source.muted == {(item.alert.rule, item.alert.scope): stage.app.source.status.now_ns + 600 * SECOND}
        await stage.press("m")
        assert not any("MUTED" in line for line in listed(stage))
        assert "heard again" in stage.told


async def test_a_filter_with_a_mistake_says_which(recording: Path) -> None:
    async with on_stage(recording, at_s=66.0) as stage:
        await stage.press("7")
        every = len(stage.alerts.grid.rows)
        await stage.press("slash")
        await stage.write("sev>=bad")
        assert "sev>=bad: a severity is one of info, warn, crit" in stage.text()
        assert len(stage.alerts.grid.rows) == every
        await stage.write("sev<=warn")
        assert "a severity is one of" not in stage.text()
        assert 0 < len(stage.alerts.grid.rows) < every
        assert all("▲" in line for line in listed(stage))
        await stage.press("escape")
        assert len(stage.alerts.grid.rows) == every, "a filter that is given up does not stay"


async def test_every_order_sorts_and_the_last_leads_to_the_first(recording: Path) -> None:
    async with on_stage(recording, size=(160, 60), untouched=True) as stage:
        await stage.press("7")
        seen = []
        for name in ORDERS:
            assert f"ALERTS  {name}" in stage.lines()[2]
            shown = [row.key for row in stage.alerts.grid.rows]
            now = stage.app.source.engine.now_ns
            assert shown == [
                item.key
                for item in sorted(stage.alerts.items(), key=lambda item, name=name: ORDERS[name](item, now))  # type: ignore[misc]
            ]
            seen.append(tuple(shown))
            await stage.press("s")
        assert len(set(seen)) == len(ORDERS)
        assert "ALERTS  newest" in stage.lines()[2]


async def test_the_cursor_stays_on_its_alert_when_the_order_changes(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("7", "j", "j")
        key = stage.alerts.grid.cursor
        await stage.press("s")
        assert stage.alerts.grid.cursor == key
        pointed = [line for line in listed(stage) if line.startswith("▸")]
        assert len(pointed) == 1


async def test_the_detail_has_the_books_at_the_trigger_and_enter_goes_there(recording: Path) -> None:
    async with on_stage(recording, size=(120, 60)) as stage:
        await stage.press("7", "j", "j", "j", "j", "j", "j")
        key = stage.alerts.grid.cursor
        seq = next(item.alert.seq for item in stage.alerts.items() if item.key == key)
        alert, trigger = stage.app.source.alerts[seq], stage.app.source.triggers[seq]
        await stage.press("enter")
        text = stage.text()
        assert f"ALERT #{seq}" in text
        for book in trigger.books:
            assert f"{book.bids[0][0]:.1f}" in text
            assert f"{book.asks[0][0]:.1f}" in text
        await stage.press("enter")
        assert stage.app.screen.name == ("desk" if " > " in alert.scope else "book")
        assert stage.told.startswith(f"1 s before alert #{seq}: {alert.rule} ")
        assert stage.app.source.status.now_ns == alert.opened_ns - SECOND
        assert seq not in stage.app.source.alerts


# The export.


@pytest.mark.parametrize("fmt", ["csv", "jsonl"])
async def test_the_dialog_writes_what_a_headless_export_writes(recording: Path, tmp_path: Path, fmt: str) -> None:
    async with on_stage(recording, tmp_path) as stage:
        await stage.press("7", "e")
        if fmt == "jsonl":
            await stage.press("j", "l")
        preview = [line[2:].rstrip(" │") for line in stage.lines() if line.startswith("│ ")]
        await stage.press("enter")
        (path,) = tmp_path.iterdir()
        assert path.name == f"alerts-20260930T155938Z.{fmt}"
        assert str(path) in stage.told
        assert stage.app.screen.name == "alerts"
        alerts = [stage.app.source.alerts[seq] for seq in sorted(stage.app.source.alerts)]
        other = tmp_path / f"other.{fmt}"
        export(alerts, other)
        assert path.read_bytes() == other.read_bytes() == export_bytes(alerts, fmt)
        text = path.read_text()
        assert any(line and text.startswith(line.rstrip("…")) for line in preview)
        if fmt == "csv":
            rows = list(csv.DictReader(io.StringIO(text)))
            assert tuple(rows[0]) == COLUMNS
        else:
            rows = [json.loads(line) for line in text.splitlines()]
        assert [int(row["seq"]) for row in rows] == [alert.seq for alert in alerts]
        assert [float(row["value"]) for row in rows] == [alert.value for alert in alerts]
        assert [row["scope"] for row in rows] == [alert.scope for alert in alerts]


async def test_only_what_the_filter_shows_is_exported_unless_all_is_chosen(recording: Path, tmp_path: Path) -> None:
    async with on_stage(recording, tmp_path, at_s=66.0) as stage:
        await stage.press("7", "slash")
        await write_line(stage, "rule:z")
        await stage.press("e", "enter")
        (path,) = tmp_path.iterdir()
        shown = [alert for alert in stage.app.source.alerts.values() if alert.rule == "z"]
        assert path.read_bytes() == export_bytes(shown, "csv")
        await stage.press("e", "l", "enter", "enter")
        assert path.read_bytes() == export_bytes(stage.app.source.alerts.values(), "csv")


async def test_a_name_that_is_taken_is_asked_about_once(recording: Path, tmp_path: Path) -> None:
    taken = tmp_path / "alerts-20260930T155938Z.csv"
    taken.write_text("mine")
    async with on_stage(recording, tmp_path) as stage:
        await stage.press("7", "e", "enter")
        assert "Enter again overwrites it" in stage.told
        assert taken.read_text() == "mine"
        assert stage.app.screen.name == "export"
        await stage.press("enter")
        assert taken.read_bytes() == export_bytes(stage.app.source.alerts.values(), "csv")
        assert stage.app.screen.name == "alerts"


@pytest.mark.parametrize("name", ["../../escape.csv", "a b.csv", "alerts.xls", ".hidden.csv", "alerts.jsonl"])
async def test_a_bad_name_is_refused_in_one_line(recording: Path, tmp_path: Path, name: str) -> None:
    inside = tmp_path / "exports"
    inside.mkdir()
    async with on_stage(recording, inside) as stage:
        await stage.press("7", "e", "G", "l")
        await write_line(stage, name)
        await stage.press("enter")
        assert "\n" not in stage.told
        assert name.rpartition("/")[2] in stage.told
        assert stage.app.screen.name == "export"
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_an_export_that_cannot_be_written_is_one_line(recording: Path, tmp_path: Path) -> None:
    async with on_stage(recording, tmp_path / "absent") as stage:
        await stage.press("7", "e", "enter")
        assert "there is no directory" in stage.told
        assert stage.app.screen.name == "export"


# Themes and glyphs.


async def test_a_theme_with_a_mistake_is_refused_with_its_line_and_the_old_one_stays(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "okabe"\n[roles]\nbid = "bold #12345"\n')
    async with on_stage(recording, themes=tmp_path, untouched=True) as stage:
        before = stage.picture()
        stage.app.wear("mine")
        await stage.settle()
        assert re.search(r"mine\.toml line 3: bid in \[roles\]", stage.told)
        assert stage.app.look.theme.name == "okabe"
        assert stage.picture() == before


async def test_the_theme_key_goes_through_all_and_round(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "midnight"\n[roles]\nbid = "#123456"\n')
    async with on_stage(recording, themes=tmp_path, untouched=True) as stage:
        pictures = {}
        for _ in range(4):
            pictures[stage.app.look.theme.name] = stage.picture()
            await stage.press("T")
        assert list(pictures) == ["okabe", "mine", "ansi", "midnight"]
        assert len(set(pictures.values())) == 4
        assert stage.picture() == pictures["okabe"], "a theme leaves nothing of itself behind"
        assert "#123456" in pictures["mine"]


async def test_the_theme_key_passes_over_a_theme_with_a_mistake_and_says_which(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text('base = "midnight"\n[roles]\nbid = "no colour"\n')
    (tmp_path / "mine.toml").write_text('base = "midnight"\n')
    async with on_stage(recording, themes=tmp_path, untouched=True) as stage:
        assert stage.app.theme_names() == ("ansi", "midnight", "okabe", "broken", "mine")
        await stage.press("T")
        assert stage.app.look.theme.name == "mine"
        assert any("broken.toml line 3" in text for text in stage.app.told), stage.app.told
        await stage.press("T", "T", "T")
        assert stage.app.look.theme.name == "okabe"


async def test_glyphs_change_on_the_screen_that_is_shown(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        assert not stage.text().isascii()
        stage.app.use_glyphs(GLYPHS["ascii"])
        await stage.settle()
        assert stage.text().isascii()
        stage.app.use_glyphs(GLYPHS["block"])
        await stage.settle()
        assert set("▁▂▃▄▅▆▇█") & set(stage.text())


# The replay.


async def test_damage_of_the_recording_is_told_once_and_stands_in_every_header(recording: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(recording, damaged)
    packed = damaged / "000001.log.gz"
    lines = gzip.decompress(packed.read_bytes()).split(b"\n")
    lines[500] = b"\x1b[2J"
    packed.unlink()
    packed.with_suffix("").write_bytes(b"\n".join(lines))
    async with on_stage(damaged) as stage:
        told = [text for text in stage.app.told if "the recording is damaged: 000001.log" in text]
        assert len(told) == 1
        for key in "1", "3", "7", "?":
            await stage.press(key)
            assert "▲ DAMAGED" in stage.lines()[1]
        assert [text for text in stage.app.told if "damaged" in text] == told
    async with on_stage(recording) as stage:
        assert "DAMAGED" not in stage.text()
        assert not stage.app.told


async def test_the_replay_bar_says_what_the_replay_does(recording: Path) -> None:
    async with on_stage(recording, at_s=10.0) as stage:
        assert "REPLAY PAUSED" in stage.lines()[1]
        assert "0:10 of 1:09" in stage.lines()[1]
        await stage.press("space")
        assert "REPLAY ▸ 1x" in stage.lines()[1]
        await stage.play(2.0)
        assert stage.app.source.status.now_ns - stage.app.source.start_ns == pytest.approx(12 * SECOND, abs=0.1 * SECOND)
        await stage.press("greater_than_sign")
        assert "REPLAY ▸ 2x" in stage.lines()[1]
        before = stage.app.source.status.now_ns
        await stage.play(2.0)
        assert stage.app.source.status.now_ns - before == pytest.approx(4 * SECOND, abs=0.1 * SECOND)
        await stage.press("space")
        held = stage.app.source.status.now_ns
        await stage.play(2.0)
        assert stage.app.source.status.now_ns == held
        await stage.press("full_stop")
        assert 0 < stage.app.source.status.now_ns - held <= 100_000_000
        await stage.press("comma")
        assert held - SECOND <= stage.app.source.status.now_ns < held


@pytest.mark.parametrize(
    ("text", "elapsed"), [("start", 0.0), ("+5", 18.0), ("-10", 3.0), ("15:59:35", None), ("2026-09-30T15:59:35Z", None)]
)
async def test_going_to_a_time_goes_there(recording: Path, text: str, elapsed: float | None) -> None:
    async with on_stage(recording) as stage:
        await stage.press("colon")
        await write_line(stage, text)
        status = stage.app.source.status
        if elapsed is not None:
            assert (status.now_ns - status.start_ns) / SECOND == pytest.approx(elapsed, abs=0.001)
        else:
            assert "15:59:35.0Z" in stage.lines()[0]


async def test_a_time_that_is_none_is_refused_in_one_line(recording: Path) -> None:
    async with on_stage(recording) as stage:
        before = stage.app.source.status
        for text in ("never", "25:00:00", "#999", "+1000"):
            await stage.press("colon")
            await write_line(stage, text)
            assert stage.told
            assert "\n" not in stage.told
            stage.app.told.clear()
        assert stage.app.source.status == before


async def test_the_end_is_called_the_end_and_one_can_go_back(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("colon")
        await write_line(stage, "end")
        assert "REPLAY END" in stage.lines()[1]
        assert "ended" not in stage.text()
        assert stage.text().count("● <0.1s") == 6, "the last instant stands"
        for key in ("space", "full_stop"):
            await stage.press(key)
            assert stage.told == "at the end: `:` start, or `,` a second back"
            assert "REPLAY END" in stage.lines()[1]
        await stage.press("comma")
        assert "REPLAY END" not in stage.lines()[1]
        assert "● <0.1s" in stage.text()


async def test_alerts_are_the_same_after_going_back_and_forth(recording: Path) -> None:
    async with on_stage(recording, size=(160, 60)) as stage:
        await stage.press("7")
        before = stage.lines()[3:-1]
        await stage.press("colon")
        await write_line(stage, "start")
        assert not stage.alerts.grid.rows
        await stage.press("colon")
        await write_line(stage, "+13")
        assert [re.sub("[▸]", " ", line) for line in stage.lines()[3:-1]] == [re.sub("[▸]", " ", line) for line in before]
