"""A live run as the screens see it, without a network: what it says of itself before, while and after nothing can be had."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from analytics.settings import AnalyticsSettings
from analytics.snapshot import View
from feeds.errors import InputError
from feeds.model import SECOND, Channel, LinkState, Stream
from feeds.recording import Recording as Recorded
from feeds.venue import Plan
from feeds.venues import VENUES
from tests.market import instruments
from tui.headless import figure_lines, link_lines, progress_text
from tui.line import text_of
from tui.lines.desk import nothing_listed
from tui.live import LiveRun
from tui.watching import Watch


@pytest.fixture
def run() -> LiveRun:
    """A run that has been made and not begun: nothing is opened."""
    return LiveRun(AnalyticsSettings(), VENUES, dict.fromkeys(VENUES, ()), Watch())


def with_a_market(run: LiveRun) -> Plan:
    """Take the made-up instruments in, and open a connection that says nothing."""
    venue = VENUES["BYBIT"]
    found = [each for each in instruments().values() if each.venue == "BYBIT" and each.market == "linear"]
    run.live.take("i", "-", found)
    (plan, *_) = venue.plan([Stream(each.id, Channel.BOOK) for each in found], run.live.hub.instruments)
    return plan


def test_before_anything_has_come_it_is_connecting_and_not_in_trouble(run: LiveRun) -> None:
    status = run.status
    assert (status.links, status.up, status.trouble, status.recording, status.unlisted) == (0, 0, "", "", ())
    assert status.now_ns > 0
    assert [text_of(line).strip() for line in nothing_listed(status)] == ["the venues' instruments are being listed"]


def test_each_market_that_could_not_be_listed_is_a_line_with_its_reason(run: LiveRun) -> None:
    run.live.trouble["BYBIT", "spot"] = "api.bybit.com: no connection"
    run.live.trouble["BINANCE", "usdm"] = "fapi.binance.com: HTTP 451"
    said = [text_of(line).strip() for line in nothing_listed(run.status)]
    assert said[:2] == [
        "BINANCE usdm: no instruments: fapi.binance.com: HTTP 451",
        "BYBIT spot: no instruments: api.bybit.com: no connection",
    ]
    assert "doctor" in said[2]


def test_a_run_without_data_prints_lines_that_are_json(run: LiveRun) -> None:
    with_a_market(run)
    lines = [*figure_lines(run), *link_lines(run.feeds())]
    assert lines
    assert all(msgspec.json.decode(line)["type"] in {"fx", "market", "pair", "route"} for line in lines)
    assert progress_text(run).startswith("0 of 0 connections")


def test_an_open_connection_without_data_is_not_up(run: LiveRun) -> None:
    plan = with_a_market(run)
    run.live.opened("BYBIT.linear.1.1", plan)
    assert run.live.link_state("BYBIT.linear.1.1") is LinkState.NOT_READY
    assert run.status.up == 0
    markets = run.engine.snapshot(View(routes=None)).markets
    assert markets
    assert all(market.bid is None and market.refused for market in markets)


def test_a_recording_holds_what_the_run_took_and_says_where_it_ended(run: LiveRun, tmp_path: Path) -> None:
    run.record(tmp_path / "kept")
    assert run.status.recording == str(tmp_path / "kept")
    plan = with_a_market(run)
    run.live.opened("BYBIT.linear.1.1", plan)
    run.live.closed("BYBIT.linear.1.1", 1006, "gone")
    asyncio.run(run.live.stop_recording())
    assert run.status.recording == ""
    assert run.live.recorded.failure == ""
    records = list(Recorded(tmp_path / "kept").records())
    assert [record.kind for record in records] == ["i", "i", "o", "c", "u"]
    assert b"end" in records[-1].payload


def test_a_second_recording_into_the_same_place_is_refused(run: LiveRun, tmp_path: Path) -> None:
    run.record(tmp_path / "kept")
    with_a_market(run)
    with pytest.raises(InputError):
        LiveRun(AnalyticsSettings(), VENUES, dict.fromkeys(VENUES, ()), Watch()).record(tmp_path / "kept")
    asyncio.run(run.live.stop_recording())


def test_a_mute_is_over_when_its_time_is(run: LiveRun) -> None:
    run.mute("stale", "X", 2 * SECOND)
    run.mute("gap", "X")
    assert set(run.muted) == {("stale", "X"), ("gap", "X")}
    run.episodes.expire(run.now_ns + 3 * SECOND)
    assert set(run.muted) == {("gap", "X")}
