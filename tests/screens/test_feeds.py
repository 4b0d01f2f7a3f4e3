"""FEEDS in front of a user: what stands there at each size, what its keys do, and that a recording only says that it is one."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import structs
from rich.cells import cell_len

from feeds.errors import InputError
from feeds.links import FeedsView, Recording
from feeds.model import SECOND, LinkState, Ns
from tests.screens.stage import Stage, on_stage
from tests.unit.test_feeds_lines import NOW, machinery, with_link
from tui.line import LateRow, Line
from tui.lines.feeds import RECORDED, Drawer, Machinery, Place, places
from tui.source import LiveStatus, Source

FIRST = "BINANCE.spot.1"


class Steered:
    """What a live run is steered by: it remembers what it was told."""

    def __init__(self, made: Machinery) -> None:
        self.links = {slot: SimpleNamespace(plan=SimpleNamespace(streams=streams)) for slot, streams in made.carries.items()}
        self.trouble = made.trouble
        self.shut = {market: made.trouble[market] for market in made.shut}
        self.told: list[tuple[str, str]] = []
        self.recorder: SimpleNamespace | None = None
        self._paused: set[str] = set()

    def reconnect(self, slot: str) -> None:
        self.told.append(("reconnect", slot))

    def resync(self, instrument: str) -> None:
        self.told.append(("resync", instrument))

    def pause(self, slot: str) -> bool:
        self.told.append(("pause", slot))
        self._paused ^= {slot}
        return slot in self._paused

    async def stop_recording(self) -> None:
        assert self.recorder is not None
        self.recorded = Recording(directory=str(self.recorder.directory), bytes=2_500_000)
        self.recorder = None


class Other:
    """Something else with some attributes of its own."""

    def __init__(self, it: object, **own: object) -> None:
        self._it = it
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._it, name)


class MadeRun(Other):
    """A source that is live, and whose machinery is made up; the rest is that of a recording."""

    def __init__(self, source: Source, made: Machinery) -> None:
        self.made = made
        markets = {
            name: SimpleNamespace(id=name, instrument=facts, status=status) for name, (facts, status) in made.markets.items()
        }
        engine = Other(source.engine, health=dict(made.health), markets=markets, now_ns=made.health_ns)
        super().__init__(source, engine=engine, live=Steered(made), made=made)

    def feeds(self) -> FeedsView:
        view: FeedsView = self.made.view
        return view

    @property
    def status(self) -> LiveStatus:
        return LiveStatus(now_ns=self.engine.now_ns, demo=False, recording="", trouble="", links=1, up=1)

    def record(self, directory: Path) -> None:
        if directory.exists():
            raise InputError(f"{directory} is there already")
        self.live.recorder = SimpleNamespace(directory=directory)

    def go_on(self, seconds: float) -> None:
        """So much time has passed."""
        self.engine.now_ns += int(seconds * SECOND)
        view = self.made.view
        self.made = structs.replace(self.made, view=structs.replace(view, now_ns=view.now_ns + int(seconds * SECOND)))


def make_live(stage: Stage, made: Machinery) -> MadeRun:
    """From now on the program looks at a live run."""
    run = MadeRun(stage.app.source, made)
    stage.app.source = cast(Any, run)
    stage.app.tape = None
    return run


TROUBLED = with_link(
    machinery(("BTC", "ETH")),
    state=LinkState.DOWN,
    opened_ns=0,
    since_ns=NOW - 12 * SECOND,
    next_ns=NOW + 3 * SECOND,
    attempt=4,
    reason="closed with 1006",
)


# -- what stands there ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(160, 50), (120, 36), (80, 24), (60, 16)], ids=str)
async def test_at_every_size_a_troubled_connection_is_seen_with_its_reason(recording: Path, size: tuple[int, int]) -> None:
    async with on_stage(recording, size=size, untouched=True) as stage:
        make_live(stage, TROUBLED)
        await stage.press("8")
        lines = stage.lines()
        assert [cell_len(line) for line in lines] == [size[0]] * size[1]
        text = "\n".join(lines)
        assert f"{FIRST}" in text
        assert "○ down" in text
        assert "try 4: closed with 1006" in text
        assert "weight/min" in text
        assert sum(" BIN spot " in line for line in lines) >= 3


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (250, 80), (60, 9)], ids=str)
async def test_no_size_breaks_it(recording: Path, size: tuple[int, int]) -> None:
    async with on_stage(recording, size=size, untouched=True) as stage:
        make_live(stage, TROUBLED)
        await stage.press("8", "j", "G", "enter", "G", "escape", "tab", "G", "z", "z")
        assert [cell_len(line) for line in stage.lines()] == [size[0]] * size[1]


async def test_a_recording_shows_its_connections_and_streams_and_says_that_it_is_one(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("8")
        text = stage.text()
        assert "BIN perp BTC/USDT" in text
        assert "● synced" in text
        assert "● ready" in text
        assert RECORDED in text
        assert "left/min" not in text
        assert "7 of 7 ready · 27 streams" in text


async def test_signs_and_words_say_what_hues_say(recording: Path) -> None:
    for theme in ("okabe", "ansi"):
        async with on_stage(recording, theme=theme, untouched=True) as stage:
            make_live(stage, TROUBLED)
            await stage.press("8")
            for words in ("● ready", "○ down", "● synced", "● open", "○ 0:43", "○ open"):
                assert words in stage.text()


async def test_where_signs_are_ascii_all_of_it_is(recording: Path) -> None:
    async with on_stage(recording, glyphs="ascii", untouched=True) as stage:
        make_live(stage, TROUBLED)
        await stage.press("8")
        assert stage.text().isascii()
        await stage.press("enter")
        assert stage.text().isascii()


async def test_before_anything_is_connected_it_says_what_is_being_waited_for(recording: Path) -> None:
    made = machinery(("BTC",))
    nothing = structs.replace(made, carries={}, health={}, markets={}, view=FeedsView(now_ns=NOW))
    async with on_stage(recording, untouched=True) as stage:
        make_live(stage, nothing)
        await stage.press("8")
        assert "nothing is connected yet: instruments are being listed" in stage.text()


async def test_a_venue_that_lists_nothing_is_shown_with_its_reason(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        make_live(stage, machinery(("BTC",), trouble={("BYBIT", "linear"): "api.bybit.com: no answer to the connect"}))
        await stage.press("8")
        assert "○ no list" in stage.text()
        assert "api.bybit.com: no answer to the connect" in stage.text()


async def test_a_venue_that_has_closed_is_called_closed_and_cannot_be_opened_anew(recording: Path) -> None:
    place = ("BITMEX", "public")
    async with on_stage(recording, untouched=True) as stage:
        make_live(stage, machinery(("BTC",), trouble={place: "venue closed on 2026-09-23"}, shut={place}))
        await stage.press("8")
        assert "○ closed" in stage.text()
        assert "venue closed on 2026-09-23" in stage.text()
        await stage.press("g", "r")
        assert stage.told == "venue closed on 2026-09-23"


# -- keys ----------------------------------------------------------------------------------------------------------------------


async def test_keys_act_on_the_connection_and_the_instrument_under_the_cursor(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        run = make_live(stage, machinery(("BTC",)))
        await stage.press("8", "r")
        assert run.live.told == [("reconnect", FIRST)]
        assert FIRST in stage.told
        await stage.press("j", "ctrl+r")
        assert run.live.told[-1] == ("resync", "BINANCE:BTC/USDT")
        assert "BIN spot BTC/USDT" in stage.told
        await stage.press("p")
        assert run.live.told[-1] == ("pause", FIRST)
        assert "is paused: p goes on" in stage.told
        await stage.press("p")
        assert stage.told == f"{FIRST} goes on"


async def test_resync_of_a_whole_connection_is_refused_with_the_way_to_do_it(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        run = make_live(stage, machinery(("BTC",)))
        await stage.press("8", "ctrl+r")
        assert not run.live.told
        assert "choose a stream" in stage.told


@pytest.mark.parametrize("key", ["r", "ctrl+r", "p", "R"])
async def test_of_a_recording_nothing_is_steered(recording: Path, key: str) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("8", "j", key)
        assert RECORDED in stage.told
        await stage.press("enter", key)
        assert len(stage.app.told) == 2
        assert RECORDED in stage.told


@pytest.mark.parametrize("key", ["r", "ctrl+r", "p"])
async def test_a_key_on_a_row_without_a_connection_does_nothing_but_say_so(recording: Path, key: str) -> None:
    async with on_stage(recording, untouched=True) as stage:
        run = make_live(stage, machinery(("BTC",), trouble={("BYBIT", "linear"): "no answer"}))
        await stage.press("8", key)
        assert not run.live.told
        assert stage.told == "its list is asked for again by itself"


async def test_enter_shows_the_last_messages_and_keys_work_there_too(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        run = make_live(stage, machinery(("BTC",)))
        await stage.press("8", "j", "enter")
        text = stage.text()
        assert "FEED  BIN spot BTC/USDT book" in text
        assert '→ {"method":"SUBSCRIBE","id":1}' in text
        assert "BINANCE spot: error 2: bad request" in text
        await stage.press("ctrl+r", "r")
        assert run.live.told == [("resync", "BINANCE:BTC/USDT"), ("reconnect", FIRST)]
        await stage.press("escape")
        assert stage.app.screen is stage.feeds


async def test_the_cursor_stays_on_its_stream_when_a_row_comes_above_it(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        run = make_live(stage, machinery(("BTC",)))
        await stage.press("8", "j", "j")
        before = stage.feeds.grid.cursor
        run.live.trouble = {("BYBIT", "option"): "no answer"}
        await stage.settle()
        assert stage.feeds.grid.cursor == before
        await stage.press("r")
        assert run.live.told == [("reconnect", FIRST)]


async def test_copy_copies_the_row(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        make_live(stage, machinery(("BTC",)))
        await stage.press("8", "j", "y")
        while any(worker.group == "clipboard" for worker in stage.app.workers):
            await stage.settle()
        assert "BIN spot BTC/USDT" in stage.app.clipboard


async def test_record_asks_where_to_and_stops_when_it_runs(recording: Path, tmp_path: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        run = make_live(stage, machinery(("BTC",)))
        await stage.press("8", "R")
        await stage.write(str(tmp_path / "new"))
        await stage.press("enter")
        assert run.live.recorder is not None
        assert run.live.recorder.directory == tmp_path / "new"
        assert stage.told == f"recording into {tmp_path / 'new'}; R ends it"
        await stage.press("R")
        await stage.settle()
        assert run.live.recorder is None
        assert stage.told == f"recorded 2.5 MB: {tmp_path / 'new'}"


async def test_a_directory_that_cannot_be_recorded_into_is_one_line(recording: Path, tmp_path: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        run = make_live(stage, machinery(("BTC",)))
        await stage.press("8", "R")
        await stage.write(str(tmp_path))
        await stage.press("enter")
        assert run.live.recorder is None
        assert "is there already" in stage.told


async def test_recording_is_not_begun_when_the_question_is_left(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        run = make_live(stage, machinery(("BTC",)))
        await stage.press("8", "R", "escape")
        assert run.live.recorder is None
        assert not stage.told


# -- when ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [1, 25])
async def test_it_draws_once_a_second_at_any_speed(recording: Path, speed: int) -> None:
    async with on_stage(recording, untouched=True) as stage:
        run = make_live(stage, machinery(("BTC",)))
        await stage.press("8")
        own, real_ns = stage.feeds, 100 * SECOND
        own.clock_ns = lambda: real_ns
        own.tick()
        drawn = stage.app.meter.frames
        for _ in range(50):
            real_ns += SECOND // 10
            run.go_on(0.1 * speed)
            own._drawn = None  # something has changed each time
            own.tick()
        assert 4 <= stage.app.meter.frames - drawn <= 6


async def test_a_source_that_stands_still_is_not_drawn_again(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        make_live(stage, machinery(("BTC",)))
        await stage.press("8")
        own, real_ns = stage.feeds, 100 * SECOND
        own.clock_ns = lambda: real_ns
        own.tick()
        drawn = stage.app.meter.frames
        for _ in range(30):
            real_ns += SECOND // 10
            own._drawn = None
            own.tick()
        assert stage.app.meter.frames == drawn


async def test_frozen_it_stays_as_it_was_and_says_of_when(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        made = machinery(("BTC",))
        run = make_live(stage, made)
        now: Ns = stage.app.source.status.now_ns
        run.engine.now_ns = now
        run.made = structs.replace(made, view=structs.replace(made.view, now_ns=now))
        await stage.press("8", "f")
        run.made = with_link(run.made, state=LinkState.DOWN, opened_ns=0, reason="gone")
        run.go_on(5)
        await stage.settle()
        assert "○ down" not in stage.text()
        assert "as of " in stage.text()
        await stage.press("f")
        assert "○ down" in stage.text()


def test_only_rows_that_are_seen_are_made() -> None:
    made = machinery()
    drawn: list[str] = []

    class Watched(Drawer):
        def line(self, place: Place) -> Line:
            drawn.append(place.key)
            return super().line(place)

    drawer = Watched(made, {}, "block", 158)
    rows = [LateRow.of(place.key, partial(drawer.line, place)) for place in places(made)]
    assert len(rows) == 205
    assert not drawn
    assert rows[3].line is rows[3].line
    assert drawn == [rows[3].key]


async def test_a_long_list_is_made_as_far_as_it_is_seen(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    line = Drawer.line

    def watched(drawer: Drawer, place: Place) -> Line:
        made.append(place.key)
        return line(drawer, place)

    monkeypatch.setattr(Drawer, "line", watched)
    async with on_stage(recording, size=(160, 50), untouched=True) as stage:
        make_live(stage, machinery())
        await stage.press("8")
        made.clear()
        stage.screen.draw()
        assert len(made) <= 50
        await stage.press("G")
        assert "BYB perp XRP/USD" in stage.text()


async def test_the_loops_lag_is_measured_while_the_program_runs_and_no_timer_is_left(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press("8")
        lag = stage.feeds.lag
        timer = lag._timer
        assert timer is not None
        assert not timer.cancelled()
    assert lag._timer is None


async def test_what_is_recorded_is_said(recording: Path) -> None:
    made = machinery(("BTC",))
    under_way = Recording(directory="/data/rec", bytes=5_000, since_ns=NOW - SECOND)
    async with on_stage(recording, untouched=True) as stage:
        make_live(stage, structs.replace(made, view=structs.replace(made.view, recording=under_way)))
        await stage.press("8", "tab", "z")
        assert "/data/rec" in stage.text()


async def test_textual_still_says_whether_output_is_synchronised(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        assert stage.app._sync_available is False
