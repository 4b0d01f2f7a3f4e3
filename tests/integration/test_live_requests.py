"""What a live run makes of its requests: an answer is for who asked, and what is missing from a list this time is no new fact."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from feeds.live import Live
from feeds.model import MS, Instrument, Ns
from feeds.orderbook import OrderBook
from feeds.simulator import run as exchange
from feeds.simulator.kit import VenueServer
from feeds.venue import NoListener
from feeds.venues.binance import Binance
from tests.integration.test_live import places_of
from tui.watching import Watch, chosen

PATIENCE_S = 10.0


class Rig:
    def __init__(self, at: exchange.Exchange, market: str) -> None:
        self.exchange = at
        self.server: VenueServer = at.servers[f"BINANCE.{market}"]
        self.venue = Binance(places_of(at, "BINANCE"))
        self.told: list[Instrument] = []
        rig = self

        class Told(NoListener):
            def on_instrument(self, instrument: Instrument, now: Ns) -> None:
                rig.told.append(instrument)

        self.live = Live(
            {"BINANCE": self.venue},
            Told(),
            lambda listed: chosen(listed, Watch(pinned=("BTC",))),
            markets={"BINANCE": (market,)},
        )

    def asked(self, end: str) -> int:
        """How often the exchange was asked for paths that end so."""
        return sum(path.partition("?")[0].endswith(end) for _, path in self.server.requests)


@asynccontextmanager
async def rigged(market: str) -> AsyncIterator[Rig]:
    at = await exchange.start(3, assets=("BTC",), start_ns=time.time_ns())
    rig = Rig(at, market)
    task = asyncio.create_task(rig.live.run())
    try:
        yield rig
    finally:
        rig.live.stop()
        await task
        await at.stop()
    assert rig.live.faults == 0


async def until(rig: Rig, true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            rig.exchange.world.advance(rig.exchange.world.now_ns + 100 * MS)
            await asyncio.sleep(0.005)


async def test_a_list_without_funding_intervals_changes_no_instrument_so_that_no_statistic_starts_over() -> None:
    async with rigged("usdm") as rig:
        await until(rig, lambda: bool(rig.live.links))
        told = list(rig.told)
        intervals = {each.id: each.funding_interval_s for each in told if each.funding_interval_s}
        assert intervals

        async def no_funding(request: web.Request, path: str) -> web.StreamResponse | None:
            return web.Response(status=400) if path.endswith("/fundingInfo") else None

        rig.server.rest_hook = no_funding
        listed = await rig.live.catalogue(rig.venue, "usdm")
        assert {each.id: each.funding_interval_s for each in listed if each.id in intervals} == dict.fromkeys(intervals, 0)
        rig.live.watch(rig.venue, [each for each in listed if each.id in rig.live.hub.instruments])
        assert rig.told == told
        known = rig.live.hub.instruments
        assert {name: known[name].funding_interval_s for name in intervals} == intervals
        assert any("funding" in text for _, text in rig.live.hub.health.said), "and the user hears of it"


async def test_a_connection_is_not_given_the_answer_to_what_an_earlier_one_asked() -> None:
    """A renewal asks for the books that the old connection is just asking for too, and its stream began later."""
    async with rigged("spot") as rig:
        await until(rig, lambda: any(book.published for book in books(rig)))
        go_on = asyncio.Event()

        async def held(request: web.Request, path: str) -> web.StreamResponse | None:
            if path.endswith("/depth"):
                await go_on.wait()
            return None

        before = rig.asked("/depth")
        rig.server.rest_hook = held
        (link,) = rig.live.links.values()
        (name,) = (each.id for each in rig.told if each.native == "BTCUSDT")
        rig.live.resync(name)
        await until(rig, lambda: rig.asked("/depth") == before + 1)
        link.renew("in time")
        await until(rig, lambda: len(rig.live.hub.connections) == 2)
        await until(rig, lambda: rig.asked("/depth") > before + 1)
        go_on.set()
        await until(rig, lambda: len(rig.live.hub.connections) == 1 and any(book.published for book in books(rig)))


def books(rig: Rig) -> list[OrderBook]:
    return [book for connection in rig.live.hub.connections.values() for book in connection.session.books.values()]
