"""The rates that simulated OKX and Deribit imply, against what their market's coins are worth; and the same from a recording.

Real sockets and the real adapters; time is the test's.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
import pytest

from analytics.engine import Engine
from analytics.fx import COINS, FxRate, Missing, Source
from analytics.settings import AnalyticsSettings
from feeds.hub import Hub
from feeds.model import MS, SECOND, Channel, Kind, Ns, Stream
from feeds.recording import ENDED, Closed, Header, Opened, Recording, RecordingWriter
from feeds.simulator.run import Exchange, start
from feeds.venue import Action, Send
from feeds.venues import VENUES
from tui.session import Replay

START_NS: Final[Ns] = 1_790_757_082 * SECOND
STEP: Final[Ns] = 100 * MS
LATE: Final[Ns] = 30 * MS
"""From the venue to here."""
MARKS: Final = {"OKX": ("ping", "pong"), "DERIBIT": ('{"jsonrpc":"2.0","id":"mark","method":"public/test"}', '"id":"mark"')}
"""What to send, and what comes back once everything sent before has come."""


class Floor:
    """An engine on both venues, each watched by the ticker of one market only; everything that comes is recorded."""

    def __init__(self, exchange: Exchange, path: Path) -> None:
        self.world = exchange.world
        self.engine = Engine(AnalyticsSettings())
        self.asked: list[tuple[str, str]] = []
        self.hub = Hub(VENUES, self.engine, self.perform)
        self.writer = RecordingWriter(path, Header(start_wall_ns=START_NS, source="test"), self.hub.head)
        self.sockets: dict[str, aiohttp.ClientWebSocketResponse] = {}
        self.seen: dict[Ns, tuple[FxRate, ...]] = {}
        """Boundary -> the rates after it."""

    def perform(self, conn: str, actions: Sequence[Action]) -> None:
        self.asked += [(conn, action.text) for action in actions if isinstance(action, Send)]

    async def join(self, name: str, rest: str, websocket: str, http: aiohttp.ClientSession) -> None:
        venue = VENUES[name]
        answers = {}
        for fetch in venue.catalogue():
            async with http.get(rest + fetch.path) as answer:
                answers[fetch.key] = await answer.read()
        now = self.world.now_ns
        perp = next(each for each in venue.instruments(answers) if (each.kind, each.base) == (Kind.PERP, "BTC"))
        self.hub.watch([perp], now)
        self.writer.write(now, "i", "-", msgspec.json.encode([perp]))
        (plan,) = venue.plan([Stream(perp.id, Channel.TICKER)], self.hub.instruments)
        path = plan.url.partition("//")[2].partition("/")[2]
        self.sockets[name] = await http.ws_connect(f"{websocket}/{path}")
        opened = Opened(name, plan.market, plan.url, [(perp.id, str(Channel.TICKER))])
        self.writer.write(now, "o", name, msgspec.json.encode(opened))
        self.hub.open(name, plan, now)
        await self.hear()

    async def hear(self) -> None:
        """Send what is asked for and hand on all that has come."""
        for conn, text in self.asked:
            await self.sockets[conn].send_str(text)
        self.asked.clear()
        now = self.world.now_ns + LATE
        for conn, socket in self.sockets.items():
            ask, told = MARKS[conn]
            await socket.send_str(ask)
            while told not in (text := await socket.receive_str(timeout=5)):
                self.writer.write(now, "t", conn, text.encode())
                self.hub.ticker.advance(now)
                self.hub.frame(conn, text.encode(), now)

    async def advance(self, span: Ns) -> None:
        until = self.world.now_ns + span
        while self.world.now_ns < until:
            self.world.advance(self.world.now_ns + STEP)
            await self.hear()
            self.hub.ticker.advance(self.world.now_ns + STEP)
            self.seen[self.engine.now_ns] = self.engine.fx.rates

    def close(self) -> None:
        for conn in self.sockets:
            self.writer.write(self.world.now_ns + STEP, "c", conn, msgspec.json.encode(Closed(ENDED, "end")))
        self.writer.close()


@asynccontextmanager
async def floor_on(seed: int, path: Path, venues: Sequence[str] = ("OKX", "DERIBIT")) -> AsyncIterator[Floor]:
    exchange = await start(seed, assets=("BTC", "ETH"), venues=venues, start_ns=START_NS)
    try:
        async with aiohttp.ClientSession() as http:
            floor = Floor(exchange, path)
            for name in venues:
                endpoint = exchange.endpoints[f"{name}.public"]
                await floor.join(name, endpoint.rest, endpoint.websocket, http)
            yield floor
            floor.close()
    finally:
        await exchange.stop()


def off_bps(rate: FxRate, truth: float) -> float:
    return abs(rate.usd / truth - 1) * 1e4


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_truth_is_within_the_uncertainty_of_what_simulated_venues_imply(seed: int, tmp_path: Path) -> None:
    async with floor_on(seed, tmp_path) as floor:
        await floor.advance(SECOND)
        for _ in range(20):
            await floor.advance(SECOND)
            for rate in floor.engine.fx.rates:
                assert rate.source is Source.IMPLIED
                assert rate.estimates >= 4
                assert off_bps(rate, floor.world.usd_per[rate.currency]) <= rate.uncertainty_bps < 10.0
                assert floor.engine.now_ns - rate.at_ns <= 3 * SECOND
        assert floor.hub.quarantined == 0


async def test_a_recording_implies_the_same_rates_at_the_same_moments(tmp_path: Path) -> None:
    async with floor_on(3, tmp_path) as floor:
        await floor.advance(8 * SECOND)
        seen = floor.seen
    replay = Replay(Recording(tmp_path), AnalyticsSettings())
    compared = 0
    for at in sorted(seen):
        replay.play(at + LATE - MS)
        if replay.engine.now_ns in seen:
            assert str(replay.engine.fx.rates) == str(seen[replay.engine.now_ns])
            compared += not any(rate.missing for rate in replay.engine.fx.rates)
    assert compared > 60


async def test_one_venue_alone_has_two_coins_and_its_rate_goes_with_its_connection(tmp_path: Path) -> None:
    async with floor_on(4, tmp_path, ("DERIBIT",)) as floor:
        await floor.advance(2 * SECOND)
        for coin in COINS:
            rate = floor.engine.fx.rate(coin)
            assert rate.estimates >= 2
            assert off_bps(rate, floor.world.usd_per[coin]) <= rate.uncertainty_bps
        floor.hub.close("DERIBIT", "lost", floor.world.now_ns)
        for wait in (4 * SECOND, 2 * SECOND):
            floor.world.advance(floor.world.now_ns + wait)
            floor.hub.ticker.advance(floor.world.now_ns)
        assert [rate.missing for rate in floor.engine.fx.rates] == [Missing.STALE] * 2
