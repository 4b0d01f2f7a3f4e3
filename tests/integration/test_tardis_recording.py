"""A minute of BitMEX and Deribit as Tardis normalised it (2019-04-01): both books against a replay with `json` and `dict`."""

import gzip
import json
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from analytics.routes import RouteKind
from analytics.settings import AnalyticsSettings, Fees, Guards
from feeds.hub import Hub
from feeds.importers import import_capture
from feeds.recording import Recording
from feeds.venues import VENUES
from tests.recordings import recording
from tests.unit.test_bybit import Heard
from tui.session import Replay, ReplayOptions, replay_headless

pytestmark = pytest.mark.recordings
IDS = {"bitmex": "BITMEX:BTC/USD:BTC", "deribit": "DERIBIT:BTC/USD:BTC"}


@cache
def lines() -> list[str]:
    with gzip.open(recording("tardis-2019-04-01") / "bitmex-deribit.normalized.jsonl.gz", "rt") as file:
        return [line.rstrip("\n") for line in file]


class Plain:
    """A book as Tardis documents it: two dicts."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def take(self, message: dict[str, Any]) -> None:
        if message["isSnapshot"]:
            self.bids, self.asks = {}, {}
        for side, levels in ((self.bids, message["bids"]), (self.asks, message["asks"])):
            for level in levels:
                if level["amount"]:
                    side[level["price"]] = level["amount"]
                else:
                    side.pop(level["price"], None)

    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())


def test_both_books_equal_a_naive_replay_and_stand_apart_throughout(tmp_path: Path) -> None:
    report = import_capture([recording("tardis-2019-04-01")], tmp_path / "made", venues=VENUES)
    assert report.damage == ()
    assert {each.conn: each.frames for each in report.connections} == {"bitmex-public": 4476, "deribit-public": 3778}
    heard = Heard()
    hub, plain = Hub(VENUES, heard), {exchange: Plain() for exchange in IDS}
    sent = iter(lines())
    changes = compared = 0
    gaps_bps = []
    for record in Recording(tmp_path / "made").records():
        if record.kind == "c":
            continue
        hub.handle(record)
        if record.kind != "t":
            continue
        assert record.payload.decode() == next(sent)
        message = json.loads(record.payload)
        if message["type"] != "book_change":
            continue
        changes += 1
        exchange = message["exchange"]
        plain[exchange].take(message)
        book = hub.connections[f"{exchange}-public"].session.books[IDS[exchange]]
        assert book.published
        if not changes % 50:
            compared += 1
            assert book.levels(1 << 20) == plain[exchange].levels()
        if plain["bitmex"].asks and plain["deribit"].bids:
            ask, bid = min(plain["bitmex"].asks), max(plain["deribit"].bids)
            gaps_bps.append(1e4 * (bid / ask - 1))
    assert next(sent, None) is None
    for exchange, name in IDS.items():
        assert hub.connections[f"{exchange}-public"].session.books[name].levels(1 << 20) == plain[exchange].levels()
    for stream, health in hub.health.streams.items():
        assert (health.resyncs, health.quarantined, health.ignored) == (0, 0, 0), stream
    assert (changes, compared, len(heard.trades)) == (7489, 149, 765)
    print(f"gross gap BitMEX -> Deribit: {min(gaps_bps):.2f} to {max(gaps_bps):.2f} bp")
    assert 1.7 < min(gaps_bps) < max(gaps_bps) < 6.8


BUY_BITMEX = "BITMEX:BTC/USD:BTC > DERIBIT:BTC/USD:BTC"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tardis") / "made"
    import_capture([recording("tardis-2019-04-01")], directory, venues=VENUES)
    return directory


def test_at_the_fees_of_april_2019_nothing_is_alerted(made: Path) -> None:
    report = replay_headless(ReplayOptions(path=made))
    route = next(each for each in report.routes if each.route == BUY_BITMEX)
    assert route.fees_bps == pytest.approx(4 * 7.5)
    assert route.nearest_in_bps is not None
    assert route.nearest_in_bps == pytest.approx(6.73, abs=0.01)
    assert report.episodes == []
    assert set(report.alerts.values()) == {0}


FREE = AnalyticsSettings(fees=Fees(tier="none"))


def test_without_fees_a_route_without_marks_is_tracked_and_never_alerted(made: Path) -> None:
    """The guards stop it now and then: BitMEX was silent for up to 3.6 s, Deribit half a second late."""
    replay = Replay(Recording(made), FREE)
    replay.run(inf)
    episodes = list(replay.engine.episodes)
    assert {each.route for each in episodes} == {BUY_BITMEX}
    assert {each.kind for each in episodes} == {RouteKind.UNSPLIT}
    assert replay.engine.routes[BUY_BITMEX].unsplit(replay.engine.now_ns) == "no mark"
    assert {each.reason for each in episodes} == {"age", "late", "shutdown"}
    assert replay.episodes.alerts == {}


def test_without_fees_and_with_guards_wide_enough_for_its_silences_it_is_one_episode(made: Path) -> None:
    guards = Guards(max_age_ms=5_000, late_over_own_p50_ms=1_000)
    report = replay_headless(ReplayOptions(path=made, settings=structs.replace(FREE, guards=guards)))
    (episode,) = report.episodes
    assert (episode.route, episode.kind, episode.reason) == (BUY_BITMEX, "UNSPLIT", "shutdown")
    assert episode.opened_utc == "2019-04-01T00:00:10.000Z"
    assert episode.peak_edge_bps == pytest.approx(6.73, abs=0.01)
    assert set(report.alerts.values()) == {0}


def test_no_time_is_made_up_for_the_books_of_a_venue_that_told_none(tmp_path: Path) -> None:
    import_capture([recording("tardis-2019-04-01")], tmp_path / "made", venues=VENUES)
    hub = Hub(VENUES, Heard())
    for record in Recording(tmp_path / "made").records():
        if record.kind != "c":
            hub.handle(record)
    books = {exchange: hub.connections[f"{exchange}-public"].session.books[name] for exchange, name in IDS.items()}
    assert books["bitmex"].venue_ns == 0
    assert books["bitmex"].leg.late_ns != books["bitmex"].leg.late_ns
    assert 0 < books["deribit"].recv_ns - books["deribit"].venue_ns < 1e9
