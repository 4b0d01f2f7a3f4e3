"""The demo exchange as a whole: one market, a server for each of its venues' markets, one task that moves time on.

It listens on 127.0.0.1 only, at ports the system picks. `python -m feeds.simulator` runs it as a process of its own.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from feeds.model import SECOND, Ns
from feeds.simulator.binance import RULES, BinanceServer
from feeds.simulator.bitmex import BitmexServer
from feeds.simulator.bybit import BybitServer
from feeds.simulator.deribit import DeribitServer
from feeds.simulator.kit import VenueServer, WeightPool
from feeds.simulator.listings import ASSETS, VENUES
from feeds.simulator.market import STEP_NS, World
from feeds.simulator.okx import OkxServer
from feeds.venue import Endpoint


def wall_clock() -> Callable[[], Ns]:
    """UTC now that never goes back: the wall time of this call and monotonic time since."""
    base = time.time_ns() - time.monotonic_ns()
    return lambda: base + time.monotonic_ns()


class Exchange:
    """A running demo exchange."""

    def __init__(self, world: World, servers: Sequence[VenueServer], clock: Callable[[], Ns] | None) -> None:
        self.world = world
        self.servers: dict[str, VenueServer] = {server.name: server for server in servers}
        self._clock = clock
        for server in servers:
            server.clock = clock
        self.pump: asyncio.Task[None] | None = None
        """Moves time on; ends only with an error."""

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """`BINANCE.spot` -> where it is."""
        found = {}
        for server in self.servers.values():
            for name in server.names:
                found[name] = Endpoint(f"http://{server.base}", f"ws://{server.base}")
        return found

    async def start(self) -> None:
        for server in self.servers.values():
            await server.start()
        if self._clock is not None:
            self.pump = asyncio.create_task(self._run(self._clock))

    async def stop(self) -> None:
        if self.pump is not None:
            self.pump.cancel()
            with suppress(asyncio.CancelledError):
                await self.pump
            self.pump = None
        for server in self.servers.values():
            await server.stop()

    async def _run(self, clock: Callable[[], Ns]) -> None:
        while True:
            now = clock()
            self.world.advance(now)
            await asyncio.sleep((STEP_NS - (now - self.world.start_ns) % STEP_NS) / SECOND)


def _binance(world: World) -> Iterable[VenueServer]:
    futures = WeightPool(RULES["usdm"].weight_a_minute)
    yield BinanceServer(world, "spot")
    yield BinanceServer(world, "usdm", futures)
    yield BinanceServer(world, "coinm", futures)


SERVERS: Mapping[str, Callable[[World], Iterable[VenueServer]]] = {
    "BINANCE": _binance,
    "BYBIT": lambda world: [BybitServer(world)],
    "OKX": lambda world: [OkxServer(world)],
    "DERIBIT": lambda world: [DeribitServer(world)],
    "BITMEX": lambda world: [BitmexServer(world)],
}
"""Venue -> the servers it consists of."""


async def start(
    seed: int,
    *,
    assets: Sequence[str] = ASSETS,
    venues: Sequence[str] = VENUES,
    clock: Callable[[], Ns] | None = None,
    start_ns: Ns | None = None,
) -> Exchange:
    """Start everything. Time is `clock`'s; with `start_ns` it stands there, and whoever asked calls `world.advance`."""
    if start_ns is None:
        clock = clock or wall_clock()
        start_ns = clock()
    else:
        clock = None
    world = World(seed, start_ns, assets, venues=venues)
    exchange = Exchange(world, [server for venue in venues for server in SERVERS[venue](world)], clock)
    await exchange.start()
    return exchange
