"""A live run whose loop stands still while the exchange goes on: no reconnect for it, nothing wrong shown, nothing dead kept.

The stall is the clock's: it leaps, and the exchange's time with it, whose messages wait in the sockets as after a real one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from analytics.engine import Engine
from feeds.clock import ReceiveClock
from feeds.model import MS, SECOND, Ns
from feeds.simulator import run as exchange
from feeds.simulator.kit import Connection
from tests.integration.test_live import assert_same, live_run_at, now_in, whole
from tests.judge import Judge
from tui.live import LiveRun

STALL_NS: Ns = 5 * SECOND
STEP_NS: Ns = 100 * MS
PATIENCE_S = 20.0
STOOD = "stood still"


class Rig:
    """An exchange and a run of all of it, whose clocks are one and leap when they are told to."""

    def __init__(self, at: exchange.Exchange, run: LiveRun) -> None:
        self.exchange = at
        self.run = run
        self.ahead_ns: Ns = 0
        self.judge = Judge(at.servers.values(), run.engine)
        run.live.clock = ReceiveClock(time.time_ns, self.monotonic)
        run.live.hub.listener = self.judge
        self.wall_ns = run.live.clock.stamp

    def monotonic(self) -> Ns:
        return time.monotonic_ns() + self.ahead_ns

    def leap(self, span: Ns) -> None:
        """Nobody looks for so long, and the exchange goes on."""
        self.ahead_ns += span
        self.exchange.world.advance(self.wall_ns())

    async def until(self, true: Callable[[], bool]) -> Ns:
        """Let time pass a little faster than it does, in steps that are no stalls. How long it took."""
        begun = self.wall_ns()
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self.leap(STEP_NS)
                await asyncio.sleep(0.02)
        return self.wall_ns() - begun

    async def pass_by(self, span: Ns) -> None:
        until = self.wall_ns() + span
        await self.until(lambda: self.wall_ns() >= until)

    def fresh(self) -> bool:
        """Every link carries data, every book is SYNCED and none is late."""
        return whole(self.run) and not any(market.book.leg.late for market in self.run.engine.markets.values() if market.book)

    @property
    def reconnects(self) -> int:
        return sum(link.reconnects for link in self.run.live.links.values())


@asynccontextmanager
async def rigged(directory: Path | None = None) -> AsyncIterator[Rig]:
    at = await exchange.start(3, assets=("BTC",), start_ns=time.time_ns())
    run = live_run_at(at, ("BINANCE", "BYBIT"))
    rig = Rig(at, run)
    if directory is not None:
        run.record(directory)
    task = asyncio.create_task(run.run())
    try:
        await rig.until(rig.fresh)
        yield rig
    finally:
        run.stop()
        await task
        await at.stop()
    assert run.live.faults == 0
    assert (rig.judge.wrong, rig.judge.unknown) == ([], 0)


async def test_three_stalls_within_a_minute_cost_no_connection_and_are_replayed_as_they_were(tmp_path: Path) -> None:
    moments = []
    async with rigged(tmp_path / "recorded") as rig:
        for _ in range(3):
            told = rig.judge.published.total()
            rig.leap(STALL_NS)
            took_ns = await rig.until(lambda told=told: rig.fresh() and rig.judge.published.total() > told + 100)  # type: ignore[misc]
            assert took_ns < 3 * SECOND
            assert rig.reconnects == 0
            await rig.pass_by(4 * SECOND)
            moments.append(now_in(rig.run))
        stalls = [text for _, text in rig.run.live.hub.health.said if STOOD in text]
        streams = rig.run.live.hub.health.streams.values()
        assert (rig.reconnects, sum(each.gaps + each.resyncs for each in streams)) == (0, 0)
        assert len(stalls) >= 3
    assert_same(rig.run, moments, tmp_path / "recorded", tmp_path)


async def test_in_a_stall_nothing_is_shown_as_younger_than_it_is() -> None:
    async with rigged() as rig:
        engine: Engine = rig.run.engine
        seen: list[tuple[Ns, Ns]] = []
        usual = rig.judge.on_time

        def on_time(now: Ns) -> None:
            usual(now)
            seen.extend((now, market.book.leg.pulse.last_ns) for market in engine.markets.values() if market.book)

        rig.run.live.hub.listener.on_time = on_time  # type: ignore[method-assign]
        begun = rig.wall_ns()
        rig.leap(STALL_NS)
        until = rig.wall_ns()
        await rig.until(lambda: engine.now_ns >= until and rig.fresh())
        inside = [last for now, last in seen if begun + SECOND <= now <= until]
        assert len(inside) > 8 * 35
        assert max(inside) <= begun + STEP_NS


@pytest.mark.parametrize("when", ["in the stall", "after it"])
async def test_a_link_that_dies_in_a_stall_or_after_it_is_found_within_five_seconds_of_its_end(when: str) -> None:
    async with rigged() as rig:
        dead: list[Connection] = [one for server in rig.exchange.servers.values() for one in server.connections]
        assert len(dead) == 7
        if when == "after it":
            rig.leap(STALL_NS)
            await rig.until(rig.fresh)
        for connection in dead:
            connection.freeze()
        await asyncio.sleep(0.2)  # until what is on its way has been read: from here on time runs faster than that
        if when == "in the stall":
            rig.leap(STALL_NS)
        over = rig.wall_ns()
        await rig.until(lambda: all(link.reconnects for link in rig.run.live.links.values()))
        down = [next(turn.at_ns for turn in turns if turn.at_ns > over) for turns in rig.judge.turns.values()]
        assert len(down) > 30
        over = max(over, *(until for until, text in rig.run.live.hub.health.said if STOOD in text))  # a busy machine adds its own
        assert max(down) - over <= STALL_NS, list(rig.run.live.hub.health.said)
        for connection in dead:
            connection.thaw()
