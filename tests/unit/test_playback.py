"""A replay driven for screens: whatever the slices, speeds and ways, it comes to what a headless one comes to."""

import gzip
from itertools import count
from math import inf
from pathlib import Path
from random import Random

import msgspec
import pytest

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState
from analytics.alerts import DEFAULT_RULES
from analytics.engine import Engine
from analytics.settings import AnalyticsSettings, Arb, Fees
from analytics.snapshot import View
from feeds.errors import InputError
from feeds.model import MS, SECOND, Ns
from feeds.recording import Closed, Header, Recording, RecordingWriter
from tests import made
from tui.alert_log import Record, decode_record, read
from tui.export import export_bytes
from tui.journal import Journal
from tui.playback import SPEEDS, Playback
from tui.report import utc
from tui.session import Replay
from tui.triggers import TRIGGERS_KEPT

FREE = AnalyticsSettings(fees=Fees(tier="none"), arb=Arb(5, 3))
TICK = 20 * MS


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "night"
    made.record(path)
    return path


@pytest.fixture(scope="module")
def headless(path: Path) -> Replay:
    replay = Replay(Recording(path), FREE)
    replay.run(inf)
    return replay


class Screen:
    """An app's timer on a clock of its own, which goes on by `cost` each time it is read."""

    def __init__(self, path: Path, speed: float = 1.0, cost: int = 0, **options: Ns) -> None:
        self.real = 7_000 * SECOND
        self.cost = cost
        self.replay = Replay(Recording(path), FREE)
        self.playback = Playback(self.replay, speed, self.clock, **options)

    def clock(self) -> int:
        self.real += self.cost
        return self.real

    def tick(self, times: int = 1, every: int = TICK, budget: int = 8 * MS) -> None:
        for _ in range(times):
            self.real += every
            self.playback.advance(self.real, budget)

    def arrive(self) -> None:
        while self.playback.busy:
            self.tick()

    def go(self, text: str) -> None:
        self.playback.goto(text)
        self.arrive()

    def end(self) -> "Screen":
        self.playback.speed, self.playback.paused = inf, False
        while not self.playback.status.finished:
            self.tick(budget=SECOND)
        return self

    def left(self) -> "Screen":
        """At the end, and the user leaves: what ended the recording is played as well."""
        self.end().playback.close()
        return self


def state(replay: Replay) -> object:
    """Everything a pass has come to."""
    engine = replay.engine
    return (
        engine.snapshot(View(depth=50, exits=True)),
        list(engine.episodes),
        dict(replay.episodes.alerts),
        {stream: (health.frames, health.gaps) for stream, health in replay.player.hub.health.streams.items()},
        replay.player.position,
    )


def straight(path: Path, at: Ns) -> Replay:
    """Played to a time without a stop."""
    replay = Replay(Recording(path), FREE)
    replay.player.until(at)
    return replay


def silent(path: Path, seconds: int) -> Path:
    """Two records with nothing between them."""
    start = 1_790_000_000 * SECOND
    writer = RecordingWriter(path, Header(start_wall_ns=start, source="made"), list)
    for at in (start, start + 1, start + seconds * SECOND):
        writer.write(at, "i", "-", b"[]")
    writer.close()
    return path


# -- what is computed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_no_pattern_of_slices_speeds_and_pauses_changes_a_figure_an_alert_or_a_byte(
    path: Path, headless: Replay, seed: int
) -> None:
    random = Random(seed)
    screen = Screen(path, cost=random.choice([0, 20_000, 300_000]))
    playback = screen.playback
    while not playback.status.finished:
        match random.randrange(8):
            case 0:
                playback.speed = random.choice(SPEEDS)
            case 1:
                playback.toggle()
            case 2:
                playback.faster()
            case 3:
                playback.forward()
            case 4:
                playback.goto(f"+{random.random() / 20:f}" if screen.replay.player.now_ns < playback.end_ns - SECOND else "end")
        screen.tick(
            random.randrange(5), every=random.choice([TICK, 1, 300 * MS, 3 * SECOND]), budget=random.choice([0, MS, 9 * MS])
        )
        playback.engine.snapshot(View(depth=5))
    playback.close()
    assert state(screen.replay) == state(headless)
    for fmt in ("csv", "jsonl"):
        assert export_bytes(playback.alerts.values(), fmt) == export_bytes(headless.episodes.alerts.values(), fmt)
    assert len(headless.episodes.alerts) > 10


def test_the_end_of_the_recording_is_told_to_the_engine_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Ns] = []
    monkeypatch.setattr(Engine, "finish", lambda _engine, now: told.append(now))
    screen = Screen(path).end()
    screen.playback.forward()
    screen.tick(5)
    assert not told, "it is looked at before it ends"
    screen.left()
    screen.playback.close()
    assert told == [screen.playback.engine.now_ns]


def test_the_last_instant_stands_until_the_user_leaves(path: Path, headless: Replay) -> None:
    screen = Screen(path).end()
    for way in ((), ("-3", "end"), ("start", "end")):
        for text in way:
            screen.go(text)
        assert screen.playback.status.finished
        seen = screen.playback.engine.snapshot(View())
        assert not [market.refused for market in seen.markets if market.refused]
        assert all(market.bid is not None for market in seen.markets)
    screen.playback.close()
    assert {market.refused for market in screen.playback.engine.snapshot(View()).markets} == {"shutdown"}
    assert state(screen.replay) == state(headless)


def test_a_close_that_is_not_the_end_is_played(tmp_path: Path) -> None:
    start = 1_790_000_000 * SECOND
    for code, left in ((0, 2), (1006, 0)):
        writer = RecordingWriter(tmp_path / f"{code}", Header(start_wall_ns=start, source="made"), list)
        kinds = ("i", "c", "i", "c", "c")
        for at, kind in enumerate(kinds):
            closed = msgspec.json.encode(Closed(code, "gone"))
            writer.write(start + at, kind, "-" if kind == "i" else "one", b"[]" if kind == "i" else closed)
        writer.close()
        screen = Screen(tmp_path / f"{code}").end()
        assert screen.replay.player.position == len(kinds) - left
        screen.playback.close()
        assert screen.replay.player.position == len(kinds)


def hurried(screen: Screen) -> bool:
    return screen.playback.hurried


@pytest.mark.parametrize("speed", [100.0, inf])
def test_a_speed_that_is_not_reached_says_what_is(path: Path, speed: float) -> None:
    screen = Screen(path, speed, cost=MS)
    screen.tick(4, budget=0)
    assert screen.playback.status.reached is None, "too short to tell"
    screen.tick(60, budget=0)
    status = screen.playback.status
    assert hurried(screen)
    assert status.reached is not None
    assert 0.0 < status.reached < 50.0
    screen.playback.toggle()
    screen.tick()
    assert not hurried(screen)
    assert screen.playback.status.reached is None


def test_what_keeps_up_takes_little_of_the_loop_and_a_way_takes_much(path: Path) -> None:
    screen = Screen(path, 5.0)
    screen.tick(60)
    assert not hurried(screen)
    assert screen.playback.status.reached is None
    screen.playback.goto("end")
    assert hurried(screen)
    screen.arrive()
    assert not hurried(screen)


def test_on_a_way_forward_the_alerts_of_where_it_began_stay_alone(path: Path) -> None:
    screen = Screen(path, cost=MS)
    screen.go("+1")
    before = dict(screen.playback.alerts)
    screen.playback.goto("end")
    screen.tick(20, budget=20 * MS)
    while screen.playback.busy:
        assert dict(screen.playback.alerts) == before
        screen.tick(10, budget=20 * MS)
    assert len(screen.playback.alerts) > len(before)


# -- pace ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.5, 1.0, 5.0])
def test_recorded_time_goes_at_the_speed_that_was_asked_for(path: Path, speed: float) -> None:
    screen = Screen(path, speed)
    screen.tick(151)
    status = screen.playback.status
    assert status.now_ns - status.start_ns == pytest.approx(speed * 3 * SECOND, abs=1)
    assert status.speed == speed


def test_a_call_works_no_longer_than_its_budget_and_the_next_one_goes_on(path: Path) -> None:
    screen = Screen(path, inf, cost=100_000)  # each look at the clock costs 0.1 ms
    screen.tick(budget=2 * MS)
    first = screen.replay.player.position
    assert 0 < first <= 20 * 64
    screen.tick(budget=2 * MS)
    assert screen.replay.player.position > first


def test_a_budget_of_nothing_still_goes_on(path: Path) -> None:
    screen = Screen(path, inf)
    while not screen.playback.status.finished:
        screen.tick(budget=0)


def test_a_short_delay_is_caught_up_record_by_record(path: Path) -> None:
    screen = Screen(path)
    screen.tick(10)
    screen.tick(every=900 * MS)
    screen.tick(10)
    now = screen.playback.status.now_ns
    assert now - screen.playback.start_ns == pytest.approx(19 * TICK + 900 * MS, abs=1)
    assert state(screen.replay) == state(straight(path, now))


def test_a_long_interruption_is_not_made_up(path: Path) -> None:
    screen = Screen(path)
    screen.tick(10)
    before = screen.playback.status.now_ns
    screen.tick(every=5 * SECOND)
    screen.tick(2)
    assert screen.playback.status.now_ns - before == 2 * TICK


def test_a_pause_is_not_made_up_nor_is_anything_handed_on_in_it(path: Path) -> None:
    screen = Screen(path)
    screen.tick(10)
    screen.playback.toggle()
    before = screen.replay.player.position, screen.playback.status.now_ns
    screen.tick(30)
    assert (screen.replay.player.position, screen.playback.status.now_ns) == before
    screen.playback.toggle()
    screen.tick(2)
    assert screen.playback.status.now_ns - before[1] == TICK


def test_what_cannot_keep_up_does_not_run_after_the_clock_for_ever(path: Path) -> None:
    screen = Screen(path, 10.0)
    screen.tick(190, budget=0)  # a boundary each, half of what is due
    assert 900 * MS < screen.playback.worst_late_ns < 1_100 * MS
    before = screen.playback.status.now_ns
    screen.tick(budget=SECOND)
    assert screen.playback.status.now_ns - before <= 10 * SECOND


def test_a_silence_is_walked_in_slices(tmp_path: Path) -> None:
    screen = Screen(silent(tmp_path / "silent", 3_000), inf, cost=MS)
    screen.tick(3)
    status = screen.playback.status
    assert 0.001 < status.share < 0.05
    screen.go("start")
    screen.playback.goto("+2900")
    screen.tick(3)
    assert screen.playback.busy
    screen.arrive()
    assert screen.playback.status.now_ns - status.start_ns == 2_900 * SECOND
    screen.end()
    assert screen.playback.engine.now_ns >= status.end_ns


# -- lateness ------------------------------------------------------------------------------------------------------------------


def test_a_loop_on_time_is_never_later_than_its_own_tick(path: Path) -> None:
    screen = Screen(path)
    screen.tick(200)
    assert 0 <= screen.playback.late_ns <= screen.playback.worst_late_ns <= TICK


@pytest.mark.parametrize("blocked", [400 * MS, 5 * SECOND])
def test_a_blocked_loop_shows_as_lateness_even_where_the_time_is_not_made_up(path: Path, blocked: int) -> None:
    screen = Screen(path)
    screen.tick(20)
    screen.tick(every=blocked)
    screen.tick(100)
    assert blocked - 100 * MS <= screen.playback.worst_late_ns <= blocked + TICK
    assert screen.playback.late_ns <= TICK
    screen.playback.reset_worst()
    screen.tick(100)
    assert screen.playback.worst_late_ns <= TICK


def test_a_silence_of_the_market_is_no_lateness(tmp_path: Path) -> None:
    screen = Screen(silent(tmp_path / "silent", 60), 10.0)
    screen.tick(250)
    assert screen.playback.worst_late_ns <= TICK


def test_slow_work_counts_as_lateness_of_the_records_behind_it(path: Path) -> None:
    screen = Screen(path, cost=200 * MS)
    screen.tick(2, budget=900 * MS)
    assert screen.playback.worst_late_ns >= 350 * MS


# -- controls ------------------------------------------------------------------------------------------------------------------


def test_speeds_go_along_their_list_and_stop_at_its_ends(path: Path) -> None:
    playback = Screen(path).playback
    up = []
    for _ in range(8):
        playback.faster()
        up.append(playback.speed)
    assert up == [2.0, 5.0, 10.0, 25.0, 100.0, inf, inf, inf]
    for _ in range(20):
        playback.slower()
    assert playback.speed == 0.1
    playback.speed = 7.0
    playback.faster()
    assert playback.speed == 10.0
    playback.speed = 7.0
    playback.slower()
    assert playback.speed == 5.0


def test_a_step_forward_ends_on_the_next_boundary_and_pauses(path: Path) -> None:
    screen = Screen(path)
    screen.tick(30)
    before = screen.playback.status.now_ns
    screen.playback.forward()
    screen.playback.forward()
    screen.arrive()
    after = screen.playback.status
    assert after.paused
    assert after.now_ns == (before // (100 * MS) + 2) * 100 * MS
    assert screen.playback.engine.now_ns == after.now_ns
    screen.tick(20)
    assert screen.playback.status.now_ns == after.now_ns


def test_a_step_back_is_exactly_where_it_was_and_pauses(path: Path) -> None:
    screen = Screen(path)
    screen.go("+9")
    before = screen.playback.status.now_ns
    screen.playback.back()
    screen.playback.back()
    screen.arrive()
    status = screen.playback.status
    assert (status.paused, status.exact, status.now_ns) == (True, True, before - 2 * SECOND)
    assert state(screen.replay) == state(straight(path, status.now_ns))


def test_a_step_back_at_the_start_stays_there(path: Path) -> None:
    screen = Screen(path)
    screen.tick(5)
    screen.playback.back()
    screen.arrive()
    assert screen.playback.status.now_ns == screen.playback.start_ns


# -- going to a time -----------------------------------------------------------------------------------------------------------


def clock_text(at: Ns) -> str:
    return utc(at)[11:23]


@pytest.mark.parametrize("share", [0.2, 0.55, 0.95])
def test_a_way_back_and_forth_comes_to_what_an_uninterrupted_replay_has_there(path: Path, share: float) -> None:
    screen = Screen(path, cost=20_000)
    start, end = screen.playback.start_ns, screen.playback.end_ns
    at = start + int((end - start) * share) // MS * MS
    screen.go("end" if share < 0.9 else "+3")
    screen.go(utc(at))
    there = screen.playback.status.now_ns
    assert abs(there - at) < MS
    assert state(screen.replay) == state(straight(path, there))
    assert screen.playback.status.exact
    screen.left()
    whole = Replay(Recording(path), FREE)
    whole.run(inf)
    assert state(screen.replay) == state(whole)


def test_each_way_to_write_a_time_means_what_it_says(path: Path, headless: Replay) -> None:
    screen = Screen(path)
    playback = screen.playback
    start, end = playback.start_ns, playback.end_ns
    opened = headless.episodes.alerts[12].opened_ns
    screen.go("end")
    for text, expected in {
        "start": start,
        "+4": start + 4 * SECOND,
        "-1.5": start + 2_500 * MS,
        clock_text(start)[:8]: start,
        clock_text(start + 8 * SECOND): (start + 8 * SECOND) // MS * MS,
        utc(start + 9 * SECOND): (start + 9 * SECOND) // MS * MS,
        utc(start + 9 * SECOND).removesuffix("Z"): (start + 9 * SECOND) // MS * MS,
        " end ": end,
        "#12": opened - SECOND,
    }.items():
        screen.go(text)
        assert playback.status.now_ns == expected, text
    assert 12 not in playback.alerts


def test_a_time_of_day_before_the_start_is_of_the_next_day(tmp_path: Path) -> None:
    before_midnight = (1_790_000_000 // 86_400 + 1) * 86_400 - 10
    writer = RecordingWriter(tmp_path / "n", Header(start_wall_ns=before_midnight * SECOND, source="made"), list)
    for at in range(before_midnight, before_midnight + 20):
        writer.write(at * SECOND, "i", "-", b"[]")
    writer.close()
    screen = Screen(tmp_path / "n")
    screen.go("00:00:04.5")
    assert screen.playback.status.now_ns == (before_midnight + 14) * SECOND + 500 * MS
    screen.go("23:59:52")
    assert screen.playback.status.now_ns == (before_midnight + 2) * SECOND


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "25:00",
        "12:61:00",
        "+",
        "+x",
        "-nan",
        "+inf",
        "#",
        "#0",
        "#99",
        "#x",
        "#1e3",
        "1999-01-01",
        "+86400",
        "-5",
        "\x1b[2J",
        "2024-13-01T00:00",
        "9" * 5_000,
        "#" + "9" * 5_000,
    ],
)
def test_what_is_no_time_of_the_recording_is_one_line_that_names_its_span(path: Path, text: str) -> None:
    screen = Screen(path)
    screen.tick(5)
    with pytest.raises(InputError) as refused:
        screen.playback.goto(text)
    line = str(refused.value)
    assert utc(screen.playback.start_ns) in line
    assert utc(screen.playback.end_ns) in line
    assert line.isprintable()
    assert len(line) < 250
    assert not screen.playback.busy


def test_on_the_way_screens_keep_what_they_had_and_hear_how_far_it_is(path: Path) -> None:
    screen = Screen(path, cost=200_000)
    screen.go("end")
    playback = screen.playback
    alerts, triggers, version = dict(playback.alerts), dict(playback.triggers), playback.version
    playback.goto("start")
    playback.goto("end")
    shares = []
    while playback.busy:
        share = playback.status.seeking
        assert share is not None
        shares.append(share)
        assert (dict(playback.alerts), dict(playback.triggers), playback.version) == (alerts, triggers, version)
        assert playback.ack(1) is None
        screen.tick()
    assert len(shares) > 5
    assert shares == sorted(shares)
    assert 0.0 <= shares[0] < 0.2 < 0.8 < shares[-1] <= 1.0
    assert playback.status.seeking is None
    assert playback.version != version


def test_a_way_that_is_too_long_to_play_begins_before_the_time_and_says_so(path: Path) -> None:
    for begin in ("start", "end"):
        screen = Screen(path, far_ns=5 * SECOND)
        if begin == "end":
            screen.end()
        playback = screen.playback
        screen.go(utc(playback.start_ns + 15 * SECOND))
        status = playback.status
        assert not status.exact
        sought = Replay(Recording(path), FREE)
        sought.player.seek(status.now_ns - 5 * SECOND)
        sought.player.until(status.now_ns)
        assert state(screen.replay) == state(sought)
        view = View(depth=1_000)
        assert playback.engine.snapshot(view).books == straight(path, status.now_ns).engine.snapshot(view).books
        screen.go("start")
        assert playback.status.exact


def test_a_way_begun_anew_in_small_slices_is_the_same(path: Path) -> None:
    """Also while books are only brought up to date, which no figure may hear of."""
    screen = Screen(path, cost=MS, far_ns=5 * SECOND)
    screen.playback.goto(utc(screen.playback.start_ns + 15 * SECOND))
    while screen.playback.busy:
        screen.tick(budget=0)
    whole = Screen(path, far_ns=5 * SECOND)
    whole.go(utc(screen.playback.start_ns + 15 * SECOND))
    assert state(screen.replay) == state(whole.replay)


def test_a_way_is_played_on_or_paused_as_before(path: Path) -> None:
    screen = Screen(path)
    screen.go("+3")
    at = screen.playback.status.now_ns
    screen.tick(3)
    assert screen.playback.status.now_ns == at + 2 * TICK
    screen.playback.toggle()
    screen.go("-1")
    at = screen.playback.status.now_ns
    screen.tick(3)
    assert screen.playback.status.now_ns == at


def test_damage_is_one_line_of_the_status(tmp_path: Path) -> None:
    made.record(tmp_path / "rec", seconds=3.0)
    segment = tmp_path / "rec" / "000001.log"
    packed = segment.with_name("000001.log.gz")
    lines = gzip.decompress(packed.read_bytes()).split(b"\n")
    lines[500] = b"\x1b[2J"
    packed.unlink()
    segment.write_bytes(b"\n".join(lines))
    screen = Screen(tmp_path / "rec")
    assert screen.playback.status.damage == ""
    screen.end()
    damage = screen.playback.status.damage
    assert segment.name in damage
    assert damage.isprintable()


# -- what an alert leaves behind -----------------------------------------------------------------------------------------------


def test_each_alert_keeps_the_books_of_its_legs_at_its_trigger(path: Path) -> None:
    screen = Screen(path).end()
    playback = screen.playback
    screen.go("-8")
    assert 0 < len(playback.alerts) < 15
    assert playback.triggers.keys() == playback.alerts.keys()
    for seq, alert in playback.alerts.items():
        snapshot = playback.triggers[seq]
        assert snapshot.now_ns == alert.opened_ns
        assert {book.instrument for book in snapshot.books} == {leg.instrument for leg in alert.legs}
        assert alert.rule != "route" or [route.route for route in snapshot.routes] == [alert.scope]
        for leg in alert.legs:
            book = next(book for book in snapshot.books if book.instrument == leg.instrument)
            if leg.role == "buy":
                assert book.asks[0][0] <= (leg.price or 0.0)
                assert len(book.asks) == 10


def test_only_the_newest_triggers_are_kept(path: Path, headless: Replay) -> None:
    screen = Screen(path)
    fired = headless.episodes.alerts[1]
    for seq in range(1, TRIGGERS_KEPT + 3):
        screen.replay.episodes.heard(event(fired, seq))
    assert list(screen.playback.triggers) == list(range(3, TRIGGERS_KEPT + 3))


def event(alert: Alert, seq: int) -> AlertEvent:
    return AlertEvent(AlertKind.FIRE, msgspec.structs.replace(alert, seq=seq), alert.opened_ns)


# -- ack and mute --------------------------------------------------------------------------------------------------------------


def test_an_acknowledged_episode_stays_so_to_its_end_and_through_a_way_back(path: Path) -> None:
    screen = Screen(path)
    playback = screen.playback
    while not playback.engine.alerts.open:
        screen.tick()
    seq = playback.engine.alerts.open[0].seq
    acked = playback.ack(seq)
    assert acked is not None
    assert acked.acked_ns == playback.status.now_ns
    screen.left()
    ended = playback.alerts[seq]
    assert (ended.state, ended.acked_ns) == (AlertState.RESOLVED, acked.acked_ns)
    screen.go("start")
    screen.go("end")
    assert playback.alerts[seq] == ended
    assert [alert.seq for alert in playback.alerts.values() if alert.acked_ns] == [seq]


def test_an_episode_that_its_rule_has_forgotten_can_still_be_acknowledged(path: Path) -> None:
    screen = Screen(path).end()
    watches = [(alert.rule, alert.scope) for alert in screen.playback.alerts.values()]
    earlier = next(at for at, watch in enumerate(watches) if watch in watches[at + 1 :]) + 1
    before, version = screen.playback.alerts[earlier], screen.playback.version
    assert screen.replay.engine.alerts.ack(earlier, 1) is None
    acked = screen.playback.ack(earlier)
    assert acked == msgspec.structs.replace(before, acked_ns=screen.playback.status.now_ns)
    assert screen.playback.alerts[earlier] == acked
    assert screen.playback.version > version
    assert screen.playback.ack(earlier) == acked
    assert screen.playback.ack(999) is None


def test_what_is_muted_runs_out_in_recorded_time_and_goes_on_making_episodes(path: Path, headless: Replay) -> None:
    screen = Screen(path)
    playback = screen.playback
    one, other = ("route", headless.episodes.alerts[1].scope), ("route", headless.episodes.alerts[2].scope)
    playback.mute(*one, for_ns=5 * SECOND)
    playback.mute(*other)
    assert playback.muted.keys() == {one, other}
    screen.go("+4")
    assert playback.muted.keys() == {one, other}
    version = playback.version
    screen.go("+2")
    screen.tick()
    assert playback.muted.keys() == {other}
    assert playback.version > version
    playback.unmute(*other)
    assert not playback.muted
    screen.left()
    assert export_bytes(playback.alerts.values(), "csv") == export_bytes(headless.episodes.alerts.values(), "csv")


def test_the_log_has_each_episode_once_with_its_marks_however_often_it_was_played(
    tmp_path: Path, path: Path, headless: Replay
) -> None:
    earlier = len(headless.episodes.alerts)
    with Journal(tmp_path) as journal:
        Replay(Recording(path), FREE, DEFAULT_RULES, journal).run(inf)
    with Journal(tmp_path) as journal:
        replay = Replay(Recording(path), FREE, DEFAULT_RULES, journal)
        ticks = count(0, TICK)
        playback = Playback(replay, inf, lambda: 0)
        while not replay.player.finished:
            playback.advance(next(ticks))
        first = playback.alerts[1]
        playback.ack(1)
        playback.mute(first.rule, first.scope, for_ns=60 * SECOND)
        for text in ("start", "end"):
            playback.goto(text)
            while playback.busy:
                playback.advance(next(ticks))
        shown = playback.alerts
        until = playback.muted[first.rule, first.scope]
    logged, report = read(tmp_path)
    assert [alert.seq for alert in logged] == list(range(1, earlier + len(shown) + 1))
    own = [msgspec.structs.replace(alert, seq=alert.seq - earlier, muted_until_ns=0) for alert in logged[earlier:]]
    assert own == list(shown.values())
    muted = [alert.muted_until_ns for alert in logged[earlier:] if (alert.rule, alert.scope) == (first.rule, first.scope)]
    assert set(muted) == {until}
    assert (report.bad, report.missing) == (0, 0)


def test_a_mute_and_its_end_are_logged_with_the_newest_episode_of_the_rule(tmp_path: Path, path: Path) -> None:
    with Journal(tmp_path) as journal:
        replay = Replay(Recording(path), FREE, DEFAULT_RULES, journal)
        replay.run(inf)
        last = replay.episodes.alerts[max(replay.episodes.alerts)]
        for until_ns in (9 * SECOND, 0):
            if until_ns:
                replay.episodes.mute(last.rule, last.scope, until_ns, SECOND)
            else:
                replay.episodes.unmute(last.rule, last.scope, 2 * SECOND)
            record = decode_record(journal.file.read_bytes().splitlines()[-1])
            assert isinstance(record, Record)
            assert (record.kind, record.seq, record.payload.muted_until_ns) == (AlertKind.MUTE, last.seq, until_ns)
        size = journal.file.stat().st_size
        replay.episodes.unmute(last.rule, last.scope, 3 * SECOND)
        replay.episodes.mute("route", "nothing of this name", 9 * SECOND, 3 * SECOND)
        assert journal.file.stat().st_size == size
