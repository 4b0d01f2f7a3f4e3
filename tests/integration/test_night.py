"""The three-market night of 2024-08-08 and its neighbours, from the collectors' files to books, statistics, routes and exports.

Oracles: the venue's own bookTicker, and `tests/naive.py`, which replays the same files with `json` and `dict` and shares no code
with the program.
"""

import bisect
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest

from analytics.alerts import DEFAULT_RULES, Metric
from analytics.routes import Axis, RouteKind, Scales
from analytics.settings import AnalyticsSettings, Arb, Fees, Guards, Size
from feeds.hub import Hub
from feeds.importers import import_capture
from feeds.model import Channel, Ns, Status, Stream
from feeds.orderbook import OrderBook
from feeds.recording import Recording
from feeds.replay import Player
from feeds.venue import NoListener
from feeds.venues import VENUES
from tests import naive
from tests.recordings import recording
from tui.alert_log import read
from tui.session import Replay, ReplayOptions, replay_headless

pytestmark = pytest.mark.recordings

SPOT, USDM, COINM = "BINANCE:BTC/USDT", "BINANCE:BTC/USDT:USDT", "BINANCE:BTC/USD:BTC"
MARKET_OF = {SPOT: "spot", USDM: "usdm", COINM: "coinm"}
NO_FEES = Fees(tier="none")
MIDNIGHT_2024 = 1_723_161_600_000_000_000
FUNDING_2023 = 1_680_652_800_000_000_000


class Watcher(NoListener):
    """A listener that keeps what a test asks about each book frame."""

    def __init__(self, look: Callable[[OrderBook, Ns], None]) -> None:
        self.look = look
        self.statuses: list[tuple[Stream, Status, Ns]] = []

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        self.statuses.append((stream, status, now))

    def on_book(self, book: OrderBook, now: Ns) -> None:
        self.look(book, now)


def imported(name: str, directory: Path) -> Path:
    import_capture([recording(name)], directory, venues=VENUES)
    return directory


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported("binance-2024-08-08", tmp_path_factory.mktemp("night") / "rec")


@pytest.fixture(scope="module")
def funding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported("binance-2023-04-05", tmp_path_factory.mktemp("funding") / "rec")


@pytest.fixture(scope="module")
def scans() -> dict[float, list[naive.Sample]]:
    files = sorted(recording("binance-2024-08-08").glob("*.gz"))
    return naive.scan(files, "usdm", "spot", (0.0, 50_000.0))


def play(path: Path, settings: AnalyticsSettings, **changes: Any) -> Replay:
    replay = Replay(Recording(path), settings)
    for name, value in changes.items():
        setattr(replay, name, value)
    if changes:
        replay.player = Player(replay.player.recording, replay._build)
    replay.run(inf)
    return replay


def quotes_by_sequence(path: Path) -> dict[str, tuple[list[int], list[tuple[float, float, float, float]]]]:
    """Every bookTicker of a recording by market: sequence numbers, rising, and (bid, size, ask, size)."""
    found: dict[str, dict[int, tuple[float, float, float, float]]] = defaultdict(dict)
    for record in Recording(path).records():
        if record.kind == "t" and b"@bookTicker" in record.payload[:60]:
            data = json.loads(record.payload)["data"]
            found[record.conn][data["u"]] = (float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"]))
    return {conn: (sorted(quotes), [quotes[u] for u in sorted(quotes)]) for conn, quotes in found.items()}


def books_against_quotes_and_dicts(path: Path, folder: str) -> tuple[Counter[str], Counter[str], Counter[str], Hub]:
    """Play a recording; at every depth frame compare with the venue's quote, at every 1,000th with the naive book."""
    compared: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    quotes = quotes_by_sequence(path)
    files = sorted(recording(folder).glob("*.gz"))
    plain = {market: naive.Book(market) for market in ("spot", "usdm", "coinm")}
    lines: dict[str, Iterator[naive.Line]] = {}
    by_market: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        by_market[file.name.split("-")[0]].append(file)
    for market, own in by_market.items():
        lines[market] = naive.merged(own)

    def look(book: OrderBook, now: Ns) -> None:
        market = MARKET_OF[book.instrument.id]
        (bid, ask), conn = book.best_of_levels(), f"binance-{market}"
        sequence, known = quotes[conn]
        at = bisect.bisect_right(sequence, book.seq) - 1
        if at >= 0:
            compared[market] += 1
            equal[market] += (*bid, *ask) == known[at]
        frames[market] += 1
        if frames[market] % 1000 == 0:
            own = plain[market]
            for line in lines[market]:
                own.take(line)
                if own.u == book.seq and own.synced:
                    break
            assert dict(book.bids.levels(1 << 30)) == own.bids, f"{market} bids at update {book.seq}"
            assert dict(book.asks.levels(1 << 30)) == own.asks, f"{market} asks at update {book.seq}"
            whole[market] += 1

    hub = Hub(VENUES, Watcher(look))
    for record in Recording(path).records():
        hub.handle(record)
    return compared, equal, whole, hub


def test_books_of_the_night_equal_the_venues_quotes_and_a_dict_replay(night: Path) -> None:
    compared, equal, whole, hub = books_against_quotes_and_dicts(night, "binance-2024-08-08")
    print(
        f"\n2024-08-08 touch = bookTicker: { {m: f'{equal[m]} of {compared[m]}' for m in compared} }; whole books {dict(whole)}"
    )
    assert hub.frames == 291_911
    assert sum(stream.gaps for stream in hub.health.streams.values()) == 0
    assert hub.quarantined == 0
    assert compared["usdm"] > 6_000
    assert equal["usdm"] == compared["usdm"]
    assert compared["coinm"] > 44_000
    assert equal["coinm"] == compared["coinm"]
    assert compared["spot"] > 6_000
    assert equal["spot"] >= 0.999 * compared["spot"]
    assert whole["usdm"] >= 6
    assert whole["coinm"] >= 44
    assert whole["spot"] >= 6


def test_books_across_the_funding_time_and_spot_without_a_snapshot_is_never_synced(funding: Path) -> None:
    compared, equal, whole, hub = books_against_quotes_and_dicts(funding, "binance-2023-04-05")
    print(
        f"\n2023-04-05 touch = bookTicker: { {m: f'{equal[m]} of {compared[m]}' for m in compared} }; whole books {dict(whole)}"
    )
    assert sum(stream.gaps for stream in hub.health.streams.values()) == 0
    assert equal["usdm"] == compared["usdm"] > 10_000
    assert whole["usdm"] >= 10
    assert compared["spot"] == 0
    assert hub.health.streams[Stream(SPOT, Channel.BOOK)].frames > 1_000


def without_one_depth_frame(source: Path, target: Path) -> int:
    """A copy of the capture without the 6,000th USD-M depth frame. Returns that frame's receive time."""
    target.mkdir()
    cut = 0
    for file in sorted(source.glob("*.gz")):
        if "usdm" not in file.name:
            shutil.copy(file, target / file.name)
            continue
        kept, depths = [], 0
        for line in gzip.decompress(file.read_bytes()).splitlines(keepends=True):
            depths += b'"depthUpdate"' in line[:120]
            if depths == 6_000 and not cut:
                cut = int(line.split(b" ", 1)[0])
                continue
            kept.append(line)
        (target / file.name).write_bytes(gzip.compress(b"".join(kept), 1))
    return cut


@pytest.fixture(scope="module")
def gapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    base = tmp_path_factory.mktemp("gapped")
    cut = without_one_depth_frame(recording("binance-2024-08-08"), base / "capture")
    import_capture([base / "capture"], base / "rec", venues=VENUES)
    return base / "rec", cut


def test_a_deleted_depth_frame_is_one_gap_and_no_price_until_a_snapshot(gapped: tuple[Path, int]) -> None:
    path, cut = gapped
    prices: list[Ns] = []
    synced: list[tuple[Ns, str, str]] = []

    def look(book: OrderBook, now: Ns) -> None:
        if book.instrument.id == USDM and book.bid == book.bid:
            prices.append(now)

    watcher = Watcher(look)
    hub = Hub(VENUES, watcher)
    for record in Recording(path).records():
        hub.handle(record)
    health = hub.health.streams[Stream(USDM, Channel.BOOK)]
    synced = [(now, str(s.book), s.reason) for stream, s, now in watcher.statuses if stream == Stream(USDM, Channel.BOOK)]
    assert health.gaps == 1
    assert sum(stream.gaps for stream in hub.health.streams.values()) == 1
    assert prices
    assert max(prices) < cut  # the capture holds no further snapshot
    assert any(now > cut and reason == "gap" for now, _, reason in synced)


def at_the_touch(**changes: Any) -> AnalyticsSettings:
    guards = Guards(dwell_ms=0, updates=1, min_leg_usd=0)
    return AnalyticsSettings(fees=NO_FEES, size=Size(0), guards=guards, arb=Arb(5, 3), **changes)


@pytest.mark.parametrize("size", [0.0, 50_000.0])
def test_route_episodes_equal_a_brute_force_scan(night: Path, scans: dict[float, list[naive.Sample]], size: float) -> None:
    settings = at_the_touch() if not size else AnalyticsSettings(fees=NO_FEES, size=Size(size), arb=Arb(5, 3))
    replay = play(night, settings)
    dwell, updates = (300_000_000, 3) if size else (0, 1)
    expected = naive.windows(scans[size], 5, 3, dwell, updates)
    found = [(e.opened_ns, e.closed_ns) for e in replay.engine.episodes if e.route == f"{USDM} > {SPOT}"]
    print(f"\nUSD-M > spot at {size or 'the touch'}: engine {[(c - o) / 1e9 for o, c in found]} s")
    print(f"brute force {[(w.closed - w.opened) / 1e9 for w in expected]} s")
    assert found == [(w.opened, w.closed) for w in expected]
    assert len(found) == (1 if size else 4)
    assert len(replay.engine.episodes) == len(found)
    # the collectors took no marks: nobody can say what of it is fresh, so it is tracked by its edge alone and told to nobody
    assert {e.kind for e in replay.engine.episodes} == {RouteKind.UNSPLIT}
    assert not [alert for alert in replay.episodes.alerts.values() if alert.rule == "route"]


def test_with_vip0_fees_no_route_opens_and_the_report_names_the_nearest(night: Path) -> None:
    report = replay_headless(ReplayOptions(path=night))
    assert report.episodes == []
    assert report.nearest is not None
    assert report.nearest.route == f"{USDM} > {SPOT}"
    assert report.nearest.fees_bps == pytest.approx(30.0)
    assert report.nearest.nearest_edge_bps == pytest.approx(-23.505, abs=0.01)
    assert report.nearest.route in report.text()
    assert report.alerts["route"] == 0


def test_basis_is_reported_and_usd_against_usdt_only_as_raw(night: Path) -> None:
    report = replay_headless(ReplayOptions(path=night))
    pairs = {pair.name: pair for pair in report.pairs}
    plain, raw = pairs[f"{USDM} / {SPOT}"], pairs[f"{COINM} / {SPOT}"]
    for pair in (plain, raw):
        print(f"\n{pair.name} {pair.label} n={pair.n} mean={pair.mean_bps:+.3f} bp sd={pair.sd_bps:.3f} bp z={pair.z:+.2f}")
        assert pair.n > 300
        assert pair.sd_bps is not None
        assert pair.z is not None
        assert pair.mean_bps is not None
    assert plain.label == "price"
    assert raw.label == "RAW"
    assert plain.mean_bps == pytest.approx(-3.695, abs=0.01)
    assert all(route.axis == "RAW" and route.nearest_edge_bps is None for route in report.routes if COINM in route.route)


def test_the_stale_guard_and_the_quote_rule_keep_false_windows_out(night: Path) -> None:
    """Without them, USD-M's frozen book is traded against COIN-M for five minutes; with them there is nothing."""
    half = Fees(taker_bps={"BINANCE": 2.5})  # four fees of 2.5 are two of 5
    settings = AnalyticsSettings(fees=half, size=Size(0), guards=Guards(dwell_ms=0, updates=1, min_leg_usd=0))
    route = f"{COINM} > {USDM}"

    class Unguarded(Replay):
        def _build(self) -> Hub:
            hub = super()._build()
            self.engine._leg_guards = ()
            self.engine._axis_rule = lambda _buy, _sell, _now: Scales(Axis.PRICE, 1.0, 1.0)
            self.freeze(hub)
            return hub

        def freeze(self, hub: Hub) -> None:
            """Take the link rule out: a silent connection's book stays as it was."""
            handle = hub.open

            def opened(conn: str, plan: Any, now: Ns) -> None:
                handle(conn, plan, now)
                hub.connections[conn].session.silence_ns = 1 << 60  # type: ignore[attr-defined]

            hub.open = opened  # type: ignore[method-assign]

    loose = Unguarded(Recording(night), settings)
    loose.run(inf)
    false = [e for e in loose.engine.episodes if e.route == route and e.opened_ns > MIDNIGHT_2024]
    print(f"\nunguarded COIN-M > USD-M after midnight: {len(false)} windows, peak {max(e.peak.edge_bps for e in false):+.2f} bp")
    assert false
    guarded = play(night, settings)
    assert not [e for e in guarded.engine.episodes if e.route == route]


def test_one_stale_episode_for_usdm_and_no_number_from_it_afterwards(night: Path) -> None:
    replay = Replay(Recording(night), AnalyticsSettings(fees=NO_FEES))
    replay.player.until(MIDNIGHT_2024 + 5_000_000_000)
    seen = set()
    from analytics.snapshot import View

    while not replay.player.finished:
        view = replay.engine.snapshot(View(depth=5, exits=True))
        market = next(m for m in view.markets if m.instrument == USDM)
        if market.link == "closed":
            break
        seen.add(market.book)
        assert market.bid is market.ask is market.mid is market.spread_bps is market.imbalance is market.micro is None
        assert market.depth_quote == {}
        assert next(b for b in view.books if b.instrument == USDM).bids == ()
        assert all(pair.basis_bps is None and pair.z is None for pair in view.pairs if USDM in pair.pair)
        assert all(route.edge_bps is None and route.refused for route in view.routes if USDM in route.route)
        replay.player.until(replay.player.now_ns + 7_300_000_000)
    stale = [alert for alert in replay.episodes.alerts.values() if alert.rule == "stale"]
    assert seen == {"empty"}
    assert [alert.scope for alert in stale] == [USDM]
    assert 2_000_000_000 <= stale[0].opened_ns - (MIDNIGHT_2024 - 200_000_000) <= 2_400_000_000


def test_the_mark_index_series_has_no_artefact_at_the_funding_time(funding: Path) -> None:
    replay = play(funding, AnalyticsSettings())
    market = replay.engine.markets[USDM]
    series = list(market.mark_index.history)
    steps = {later[0]: abs(later[1] - earlier[1]) for earlier, later in pairwise(series)}
    ordered = sorted(steps.values())
    p99 = ordered[int(0.99 * len(ordered))]
    at_funding = [step for at, step in steps.items() if 0 <= at - FUNDING_2023 <= 2_000_000_000]
    print(f"\nmark-index 2023: n={len(series)}, steps at 00:00:00 {at_funding} bp, p99 of all {p99:.3f} bp")
    assert len(series) > 300
    assert at_funding
    assert all(step <= p99 for step in at_funding)


@pytest.mark.parametrize("name", ["binance-2024-08-08", "binance-2023-04-05", "bybit-2026-08-09", "binance-coinm-2021-04-17"])
def test_late_stays_under_one_percent_of_the_time(name: str, tmp_path: Path) -> None:
    replay = play(imported(name, tmp_path / "rec"), AnalyticsSettings())
    legs = replay.player.hub.health.legs
    print(f"\nLATE {name}: { {m: f'{leg.late_samples} of {leg.samples}' for m, leg in legs.items()} } of 100 ms")
    assert len(legs) >= 2
    for leg in legs.values():
        assert leg.samples > 250
        assert leg.late_samples < 0.01 * leg.samples
        assert leg.lag_ns != leg.lag_ns  # no probe in any of them: lag is unknown


def test_bybit_runs_through_the_one_path(tmp_path: Path) -> None:
    report = replay_headless(ReplayOptions(path=imported("bybit-2026-08-09", tmp_path / "rec")))
    assert report.gaps == 0
    assert report.quarantined == 0
    assert len(report.markets) == 6
    pairs = {pair.name: pair for pair in report.pairs}
    assert pairs["BYBIT:BTC/USDT:USDT / BYBIT:BTC/USDT"].n >= 35
    assert all(market.mark_index is not None for market in report.markets if market.market.endswith(":USDT"))


RULES = """
[[rule]]
id = "z"
metric = "z"
enabled = true
op = "abs>="
enter = 2.5
exit = 1.5
for_ms = 0
keep_ms = 1000
cooldown_ms = 5000

[[rule]]
id = "basis"
metric = "basis"
enabled = true
op = "abs>="
enter = 4.5
exit = 4.0

[[rule]]
id = "imbalance"
metric = "imbalance"
enabled = true
op = "abs>="
enter = 0.3
exit = 0.2
for_ms = 1000
keep_ms = 2000
"""
CONFIG = """
[fees]
tier = "none"

[size]
default = 50_000

[arb]
open_bp = 5
close_bp = 3
"""


@pytest.mark.timeout(240)
def test_exports_are_the_same_bytes_at_any_speed_hash_seed_zone_and_beside_a_journal(
    gapped: tuple[Path, int], tmp_path: Path
) -> None:
    path, _ = gapped
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "config.toml").write_text(CONFIG)
    runs = [("max", "1", "UTC"), ("200", "2", "Asia/Tokyo"), ("max", "2", "Asia/Tokyo"), ("200", "1", "UTC")]
    exports = []
    for number, (speed, seed, zone) in enumerate(runs):
        home, state = tmp_path / f"home{number}", tmp_path / f"state{number}"
        own = home / ".local" / "state" / "arbtop" / "alerts"
        own.mkdir(parents=True)
        if number:  # both the user's own state directory and the one named hold the first run's journal
            shutil.copy(tmp_path / "state0" / "alerts" / "alerts.jsonl", own / "alerts.jsonl")
            shutil.copytree(tmp_path / "state0", state)
        before = {file.name: file.read_bytes() for file in own.iterdir()}
        target = tmp_path / f"out{number}.csv"
        arguments = ["--config", str(tmp_path / "config.toml"), "replay", str(path), "--headless", "--json", "--speed", speed]
        named = ["--state", str(state)] if number != 3 else []  # and once without one
        done = subprocess.run(
            [sys.executable, "-m", "tui", *arguments, "--rules", str(tmp_path / "rules.toml"), "--export", str(target), *named],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "TZ": zone,
                "HOME": str(home),
                "XDG_STATE_HOME": str(home / ".local/state"),
            },
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        fired = json.loads(done.stdout)["alerts"]
        assert set(fired) == {str(metric) for metric in Metric} == {rule.id for rule in DEFAULT_RULES}
        assert all(count >= 1 for rule, count in fired.items() if rule not in ("route", "depeg")), fired
        assert fired["depeg"] == 0  # no venue of that night tells an index of its pairs
        assert fired["route"] == 0  # without marks no route with a derivative is told; the made-up market's are
        assert {file.name: file.read_bytes() for file in own.iterdir()} == before
        exports.append(target.read_bytes())
        print(f"\nspeed {speed}, hash seed {seed}, {zone}: alerts by rule {fired}, {len(exports[-1])} bytes")
    logged, _ = read(tmp_path / "state1" / "alerts")
    rows = len(exports[0].splitlines()) - 1
    assert [alert.seq for alert in logged] == list(range(1, 2 * rows + 1))  # the log goes on, the exports do not
    assert len(exports[0].splitlines()) > 6
    assert exports.count(exports[0]) == len(runs)
