"""The whole path on the made-up market, whose truth is known: a clean clone needs nothing else."""

import gzip
import json
import os
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from analytics.settings import AnalyticsSettings, Arb, Fees
from analytics.snapshot import View
from feeds.importers import import_capture
from feeds.model import SECOND
from feeds.recording import Recording
from feeds.venues import VENUES
from tests import made, naive
from tests.market import instruments, write_capture_a
from tui.session import Replay

ROOT = Path(__file__).resolve().parents[2]
FREE = AnalyticsSettings(fees=Fees(tier="none"), arb=Arb(5, 3))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "rec"
    made.record(path)
    return path


def state(replay: Replay) -> object:
    """Everything a run has come to, for comparison of two."""
    engine = replay.engine
    return (
        engine.snapshot(View(depth=50, exits=True)),
        list(engine.episodes),
        [replay.episodes.alerts[seq] for seq in sorted(replay.episodes.alerts)],
        {stream: (h.frames, h.gaps, h.ignored) for stream, h in replay.player.hub.health.streams.items()},
        replay.player.position,
    )


def before_the_end(path: Path, settings: AnalyticsSettings = FREE) -> Replay:
    """A run up to just before its connections close."""
    replay = Replay(Recording(path), settings)
    replay.player.until(replay.player.recording.end_ns - 1)
    return replay


def test_every_book_ends_as_the_truth_level_by_level(tmp_path: Path) -> None:
    truth = made.record(tmp_path / "rec", seed=3)
    replay = before_the_end(tmp_path / "rec")
    markets = instruments()
    assert len(truth) == 6
    for name, (bids, asks) in truth.items():
        book = replay.engine.markets[markets[name].id].book
        assert book is not None
        assert book.bids.levels(1 << 30) == list(bids), name
        assert book.asks.levels(1 << 30) == list(asks), name
    assert sum(health.gaps for health in replay.player.hub.health.streams.values()) == 0
    assert replay.player.hub.quarantined == 0


def test_an_imported_capture_gives_the_episodes_of_a_brute_force_scan(tmp_path: Path) -> None:
    files = write_capture_a(tmp_path / "capture", 5, 30)
    import_capture([tmp_path / "capture"], tmp_path / "rec", venues=VENUES)
    replay = Replay(Recording(tmp_path / "rec"), FREE)
    replay.run(inf)
    samples = naive.scan(files, "spot", "usdm", (50_000.0,))[50_000.0]
    expected = naive.windows(samples, 5, 3, 300_000_000, 3)
    found = [e for e in replay.engine.episodes if e.route == "BINANCE:BTC/USDT > BINANCE:BTC/USDT:USDT"]
    assert expected
    assert [e.opened_ns for e in found] == [w.opened for w in expected]
    assert [e.closed_ns for e in found if e.reason == "edge_collapsed"] == [w.closed for w in expected if w.reason == "fell"]


def test_speed_steps_and_pauses_change_nothing(recording: Path) -> None:
    at_once = Replay(Recording(recording), FREE)
    at_once.run(inf)

    stepped = Replay(Recording(recording), FREE)
    while stepped.player.step():
        pass
    stepped.engine.finish(stepped.engine.now_ns)

    paced = Replay(Recording(recording), FREE)
    paced.player.speed = 7.0
    for number in range(100_000):
        paced.player.paused = number % 5 == 0
        paced.player.pace(13_000_000 + number * 1_001)
        if paced.player.finished:
            break
    paced.engine.finish(paced.engine.now_ns)

    assert state(stepped) == state(at_once)
    assert state(paced) == state(at_once)


def test_a_paused_player_hands_nothing_on(recording: Path) -> None:
    player = before_the_end(recording).player
    player.paused = True
    assert player.pace(10 * SECOND) == 0


def test_a_seek_gives_the_books_of_that_moment_and_statistics_that_start_over(recording: Path) -> None:
    there = Recording(recording)
    assert len(there.segments) >= 3
    for share in (0.2, 0.5, 0.9):
        at = there.start_ns + int((there.end_ns - there.start_ns) * share)
        straight = Replay(Recording(recording), FREE)
        straight.player.until(at)
        sought = Replay(Recording(recording), FREE)
        sought.player.until(there.end_ns - 1)
        sought.player.seek(at)
        view = View(depth=10_000)
        assert sought.engine.snapshot(view).books == straight.engine.snapshot(view).books
        assert sought.engine.now_ns == straight.engine.now_ns
        assert sought.player.hub.health.streams.keys() == straight.player.hub.health.streams.keys()
        basis = next(iter(sought.engine.pairs.values())).statistic
        assert basis.n < next(iter(straight.engine.pairs.values())).statistic.n or share < 0.3


def test_a_late_segment_can_be_played_alone(recording: Path) -> None:
    there = Recording(recording)
    segment = there.segments[-1]
    alone = Replay(Recording(segment.path), FREE)
    alone.player.until(there.end_ns - 1)
    whole = before_the_end(recording)
    view = View(depth=10_000)
    assert alone.engine.snapshot(view).books == whole.engine.snapshot(view).books


def test_exports_are_the_same_bytes_in_every_process(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[fees]\ntier = "none"\n[arb]\nopen_bp = 5\nclose_bp = 3\n')
    exports = []
    for seed, zone, suffix in (("1", "UTC", "csv"), ("2", "Asia/Tokyo", "csv"), ("3", "America/New_York", "jsonl")):
        target = tmp_path / f"{seed}.{suffix}"
        run = ["replay", str(recording), "--headless", "--speed", "max", "--export", str(target)]
        subprocess.run(
            [sys.executable, "-m", "tui", "--config", str(tmp_path / "config.toml"), *run],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "s")},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        exports.append(target.read_bytes())
    assert exports[0] == exports[1]
    rows = [json.loads(line) for line in exports[2].splitlines()]
    assert len(rows) == len(exports[0].splitlines()) - 1 > 1
    assert {row["rule"] for row in rows} == {"route"}
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert not (tmp_path / "s").exists()  # nothing of the user's was touched


def test_with_vip0_fees_nothing_opens_though_the_gap_is_there(recording: Path) -> None:
    replay = Replay(Recording(recording), AnalyticsSettings())
    replay.run(inf)
    assert not replay.engine.episodes
    assert max(route.nearest.in_bps for route in replay.engine.routes.values() if route.nearest is not None) > 5


def test_after_a_hole_in_a_capture_the_connection_is_a_new_one_and_its_book_waits_for_a_snapshot(tmp_path: Path) -> None:
    files = write_capture_a(tmp_path / "capture", 2, 30)
    spot = next(path for path in files if path.name.startswith("spot"))
    lines = gzip.decompress(spot.read_bytes()).splitlines(keepends=True)
    start = int(lines[0].split(b" ", 1)[0])
    seconds = [(int(line.split(b" ", 1)[0]) - start) / 1e9 for line in lines]
    later = [line for line, at in zip(lines, seconds, strict=True) if at >= 16]
    kept = [line for line, at in zip(lines, seconds, strict=True) if at < 8]
    spot.write_bytes(gzip.compress(b"".join(kept + later)))
    report = import_capture([tmp_path / "capture"], tmp_path / "rec", venues=VENUES)
    assert [note for note in report.notes if "silent for" in note] == [
        note for note in report.notes if note.startswith("binance-spot was silent for 8.")
    ]
    records = [record for record in Recording(tmp_path / "rec").records() if record.conn == "binance-spot"]
    kinds = [record.kind for record in records if record.kind in "oc"]
    assert kinds == ["o", "c", "o", "c"]
    replay = Replay(Recording(tmp_path / "rec"), FREE)
    replay.player.until(start + 12 * SECOND)
    view = replay.engine.snapshot(View()).markets
    assert next(m for m in view if m.instrument == "BINANCE:BTC/USDT").bid is None
    replay.player.until(start + 20 * SECOND)
    spot_view = next(m for m in replay.engine.snapshot(View()).markets if m.instrument == "BINANCE:BTC/USDT")
    assert spot_view.link == "ready"
    assert spot_view.book == "buffering"
    assert spot_view.bid is None
