"""A venue that has closed is neither asked nor connected to, and FEEDS, doctor and `instruments` say why.

The servers of this machine stand in for it: were it asked all the same, they would know.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

import tui.doctor as doctor
import tui.listing as listing
from analytics.alert import AlertState
from analytics.settings import AnalyticsSettings
from feeds.live import Live
from feeds.model import Instrument, Instruments, Stream
from feeds.simulator.bitmex import BitmexServer
from feeds.simulator.market import World
from feeds.venue import Endpoint, NoListener, Plan
from feeds.venues import markets_of
from feeds.venues.bitmex import CLOSED, Bitmex
from tests.integration.test_live_commands import run
from tests.terminal import plain_environment
from tests.unit.test_journal import alert
from tui.config import Config
from tui.doctor import examine
from tui.listing import list_instruments
from tui.live import LiveRun
from tui.settings import Venues
from tui.watching import Watch

LOOK_S = 0.3


class Gone(Bitmex):
    """As the venue is at its real address, but at one of this machine."""

    def closed(self, market: str) -> str:
        return CLOSED

    def plan(self, wanted: Sequence[Stream], instruments: Instruments) -> Sequence[Plan]:
        """As if it were open: it is for those that use the venue to obey."""
        return Open(self._endpoints).plan(wanted, instruments)


class Open(Bitmex):
    def closed(self, market: str) -> str:
        return ""


@pytest.fixture
async def server() -> AsyncIterator[BitmexServer]:
    made = BitmexServer(World(3, time.time_ns(), ("BTC",), venues=("BITMEX",)))
    await made.start()
    yield made
    await made.stop()


def places(server: BitmexServer) -> Mapping[str, Endpoint]:
    return {"public": Endpoint(f"http://{server.base}", f"ws://{server.base}")}


async def listed(server: BitmexServer) -> list[Instrument]:
    live = Live({"BITMEX": Open(places(server))}, NoListener(), lambda found: found, markets={})
    async with live.requests():
        return list(await live.catalogue(live.venues["BITMEX"], "public"))


async def test_nothing_is_asked_or_opened_and_the_reason_is_kept(server: BitmexServer) -> None:
    gone = Gone(places(server))
    instruments = await listed(server)
    server.requests.clear()
    live = Live({"BITMEX": gone}, NoListener(), lambda found: found, markets={"BITMEX": markets_of(gone)})
    task = asyncio.create_task(live.run())
    async with asyncio.timeout(5):
        while not live.trouble:
            await asyncio.sleep(0.01)
    live.watch(gone, instruments)
    answer = await live.ask("BITMEX", "public", gone.clock("public"))
    await asyncio.sleep(LOOK_S)
    assert (list(server.requests), list(server.connects), live.links) == ([], [], {})
    assert live.trouble == live.shut == {("BITMEX", "public"): CLOSED}
    assert (answer.status, answer.reason) == (0, CLOSED)
    assert [text for _, text in live.hub.health.said] == [f"BITMEX public: no instruments: {CLOSED}"]
    live.stop()
    await task
    assert live.faults == 0


async def test_at_another_address_it_is_open(server: BitmexServer) -> None:
    live = Live({"BITMEX": Bitmex(places(server))}, NoListener(), lambda found: found[:1], markets={"BITMEX": ("public",)})
    task = asyncio.create_task(live.run())
    async with asyncio.timeout(5):
        while not server.connections:
            await asyncio.sleep(0.01)
    live.stop()
    await task
    assert (live.trouble, live.shut) == ({}, {})


async def test_alerts_of_what_is_gone_still_end_while_a_closed_venue_is_wanted(server: BitmexServer) -> None:
    """They wait for every market to be listed: a closed one never is."""
    gone = Gone(places(server))
    live_run = LiveRun(AnalyticsSettings(), {"BITMEX": gone}, {"BITMEX": markets_of(gone)}, Watch())
    live_run.episodes.alerts[1] = alert(1, rule="no such rule")
    task = asyncio.create_task(live_run.run())
    async with asyncio.timeout(10):
        while live_run.alerts[1].state is not AlertState.RESOLVED:
            await asyncio.sleep(0.05)
    live_run.stop()
    await task
    assert live_run.status.unlisted == (f"BITMEX public: no instruments: {CLOSED}",)


@pytest.fixture
def only_gone(server: BitmexServer, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A configuration whose only venue has closed."""
    venues = {"BITMEX": Gone(places(server))}
    for module in (doctor, listing):
        monkeypatch.setattr(module, "run_venues", lambda *_: nullcontext(venues))
    return Config(venues=Venues(live=("bitmex",)))


async def test_doctor_says_it_in_one_line_that_is_no_failure(server: BitmexServer, only_gone: Config) -> None:
    found = [one for one in await examine(only_gone, None) if one.name.startswith("BITMEX")]
    assert [(one.name, one.state, one.text) for one in found] == [("BITMEX public", "warn", CLOSED)]
    assert "take bitmex out of [venues] live" in found[0].mend
    assert (list(server.requests), list(server.connects)) == ([], [])


async def test_the_list_of_instruments_has_a_line_for_it(server: BitmexServer, only_gone: Config) -> None:
    rows, trouble = await list_instruments(only_gone, None, True)
    assert rows == []
    assert len(trouble) == 1
    assert trouble[0].startswith("BITMEX public: ")
    assert CLOSED in trouble[0]
    assert not server.requests


def test_doctor_does_not_exit_with_1_for_a_venue_that_has_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_gone: Config
) -> None:
    for name, value in plain_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "config.toml"
    config.write_text('[venues]\nlive = ["bitmex"]\n')
    result = run("--config", str(config), "doctor")
    assert CLOSED in result.stdout
    assert result.exit_code == 0, result.stdout


def test_the_real_venue_is_closed_at_every_address_of_its_own() -> None:
    real = Bitmex()
    assert real.closed("public") == CLOSED
    for rest, websocket in (
        ("https://www.bitmex.com", "ws://127.0.0.1:1"),
        ("http://127.0.0.1:1", "wss://ws.bitmex.com"),
        ("https://testnet.bitmex.com", "wss://ws.testnet.bitmex.com"),
        ("https://bitmex.com", "wss://bitmex.com"),
    ):
        assert Bitmex({"public": Endpoint(rest, websocket)}).closed("public") == CLOSED
    for elsewhere in ("http://127.0.0.1:1", "https://bitmex.com.example.org", "https://notbitmex.com"):
        assert Bitmex({"public": Endpoint(elsewhere, elsewhere.replace("http", "ws"))}).closed("public") == ""
