"""One exchange, the real feeds on it, and a judge between them and a real engine. What of it a fault hits is found here.

Nothing is patched: the adapters, the connections and the request pools are those of the program, and only learn where the venues
are. One asset and one or two venues a rig keep it cheap, so that many rigs run in one process.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from random import Random
from typing import Final

from analytics.engine import Engine
from analytics.settings import AnalyticsSettings
from feeds.connection import Link
from feeds.live import Live
from feeds.model import MS, SECOND, Channel, InstrumentId, Ns, Stream, VenueId
from feeds.simulator import run
from feeds.simulator.injection import listing_at
from feeds.simulator.kit import Connection, VenueServer
from feeds.venue import Venue
from feeds.venues import markets_of, placed_venues
from feeds.wire import host_of, library
from tests.judge import Judge, Turn
from tui.demo import places
from tui.watching import Watch, chosen

GROUPS: Final[Sequence[tuple[VenueId, ...]]] = (("BINANCE", "BYBIT"), ("OKX",), ("DERIBIT",), ("BITMEX",))
"""Which venues share a rig."""
START_S: Final = 60.0
STEADY_NS: Final[Ns] = 60 * SECOND
WINDOW_S: Final = 59.5
"""A minute, less what a connect may take from the moment it is allowed until it arrives."""


class Rig:
    """Args: assets: of the market; quick: websocket library, as `feeds.wire.library` takes it; venues: that are there."""

    def __init__(
        self,
        seed: int,
        assets: Sequence[str] = ("SOL",),
        quick: bool | None = None,
        venues: Sequence[VenueId] = GROUPS[0],
    ) -> None:
        self.seed = seed
        self.assets = assets
        self.listed = venues
        self._quick = quick
        self.names: dict[str, InstrumentId] = {}
        """The simulator's name of an instrument → ours."""
        self.hits: dict[InstrumentId, list[tuple[Ns, Ns]]] = {}
        """When a book was under a fault: from the strike until it had recovered."""
        self.begun_ns: Ns = 0
        self._running = AsyncExitStack()

    async def start(self) -> None:
        """Raises TimeoutError when not everything is up in time."""
        self.exchange = await run.start(self.seed, assets=self.assets, venues=self.listed)
        self._running.push_async_callback(self.exchange.stop)
        self.servers: Mapping[str, VenueServer] = self.exchange.servers
        bases = {
            name: {"rest": each.rest, "websocket": each.websocket}
            for name, each in self.exchange.endpoints.items()
            if "." in name
        }
        self.venues: Mapping[str, Venue] = placed_venues(places(bases))
        self.judge = Judge(self.servers.values(), Engine(AnalyticsSettings()))
        self.watch = Watch(pinned=tuple(self.assets))
        self.live = Live(
            self.venues,
            self.judge,
            lambda listed: chosen(listed, self.watch),
            markets={name: markets_of(venue) for name, venue in self.venues.items()},
            chosen=library(self._quick),
            rng=Random(self.seed),
        )
        self._running.push_async_callback(self._end, asyncio.create_task(self.live.run()))
        begun = time.monotonic()
        while not all_up(self.live) or not all(map(self.well, self.live.links.values())):
            if time.monotonic() - begun > START_S:
                raise TimeoutError(f"rig {self.seed} {self.listed}: {self.missing() or 'no links'}")
            await asyncio.sleep(0.05)
        self.names = {self.judge.key(each): each.id for each in self.live.hub.instruments.values()}
        self.begun_ns = self.now

    def missing(self) -> str:
        """What is not up."""
        streams = self.streams_of(self.live.links.values())
        bad = [f"{each.instrument} {each.channel} {self.judge.status.get(each)}" for each in streams if not self.judge.good(each)]
        return ", ".join([*bad[:3], *self.live.trouble.values()])

    async def stop(self) -> None:
        """End what has been started."""
        await self._running.aclose()

    async def _end(self, running: asyncio.Task[None]) -> None:
        self.live.stop()
        await running

    @property
    def now(self) -> Ns:
        return self.live.clock.stamp()

    def pools(self) -> dict[str, list[VenueServer]]:
        """Servers that share a request limit, by its name: two faults at once on one of these would be two on the same book."""
        found: dict[str, list[VenueServer]] = {}
        for server in self.servers.values():
            venue, _, market = server.names[0].partition(".")
            found.setdefault(self.venues[venue].terms(market).pool, []).append(server)
        return found

    # -- what is where -----------------------------------------------------------------------------------------------------

    def links_at(self, server: VenueServer, connection: Connection | None = None) -> list[Link]:
        """The program's links to a server, or the one that this connection of it belongs to."""
        links = [link for link in self.live.links.values() if host_of(link.plan.url) == server.base]
        return (
            links if connection is None else [link for link in links if link.plan.url == f"ws://{server.base}{connection.path}"]
        )

    def streams_of(self, links: Iterable[Link]) -> list[Stream]:
        return [stream for link in links for stream in link.plan.streams]

    def books_on(self, server: VenueServer, connections: Iterable[Connection]) -> list[InstrumentId]:
        """Instruments whose books these connections carry."""
        listings = (
            listing_at(server, one, topic) for one in connections for topic in one.topics if server.dialect.is_book(topic)
        )
        return [self.names[listing.key] for listing in listings if listing is not None and listing.key in self.names]

    def strikable(self, server: VenueServer) -> list[Connection]:
        """Connections that are the one of their link: no half-dead one, none that is being renewed."""
        found: dict[str, list[Connection]] = {}
        for connection in server.connections:
            if connection.alive:
                found.setdefault(connection.path, []).append(connection)
        return [some[0] for some in found.values() if len(some) == 1 and not some[0].frozen]

    # -- how it stands -----------------------------------------------------------------------------------------------------

    def well(self, link: Link) -> bool:
        """Whether every stream of a link is good."""
        return all(map(self.judge.good, link.plan.streams))

    def well_since(self, streams: Iterable[Stream]) -> Ns | None:
        """Since when all of them are good; None while one is not."""
        since: Ns = 0
        for stream in streams:
            if not self.judge.good(stream):
                return None
            since = max(since, self.judge.turns[stream][-1].at_ns)
        return since

    def fell_at(self, streams: Iterable[Stream], since: Ns) -> Ns | None:
        """When the first of them ceased to be good after `since`."""
        times = [
            turn.at_ns for stream in streams for turn in self.judge.turns.get(stream, ()) if not turn.good and turn.at_ns >= since
        ]
        return min(times, default=None)

    def fresh(self, link: Link) -> bool:
        """Whether its next back-off is the shortest: it has worked for a minute, or never failed."""
        view = link.view(self.now)
        return not view.attempt or (view.opened_ns > 0 and view.last_ns - view.opened_ns >= STEADY_NS)

    def most_connects(self, window_s: float) -> int:
        """Handshakes that any one host saw within so long, at the most."""
        return max(most_within(server.connects, window_s) for server in self.servers.values())

    def unexplained(self) -> list[str]:
        """Falls of books under no fault of theirs."""
        found = []
        for instrument in self.names.values():
            free = gaps_between(self.hits.get(instrument, ()), self.begun_ns, self.now)
            turns = self.judge.turns[Stream(instrument, Channel.BOOK)]
            for at, turn in enumerate(turns):
                if not turn.good and any(begin <= turn.at_ns < until for begin, until in free):
                    lasted_s = ((turns[at + 1].at_ns if at + 1 < len(turns) else self.now) - turn.at_ns) / SECOND
                    since_s = (
                        turn.at_ns - max((b for _, b in self.hits.get(instrument, ()) if b <= turn.at_ns), default=0)
                    ) / SECOND
                    found.append(f"{instrument} for {lasted_s:.2f} s, {since_s:.1f} s after the last fault: {turn.reason}")
        return found

    def fault_free(self) -> tuple[float, float]:
        """Seconds that books were under no fault of theirs, summed over books; and of them those in which they could be read."""
        end = self.now
        whole, good = 0, 0
        for instrument in self.names.values():
            for begin, until in gaps_between(self.hits.get(instrument, ()), self.begun_ns, end):
                whole += until - begin
                good += good_within(self.judge.turns[Stream(instrument, Channel.BOOK)], begin, until)
        return whole / SECOND, good / SECOND


def all_up(live: Live) -> bool:
    """Whether every market of every venue has its links."""
    linked = {(link.plan.venue, link.plan.market) for link in live.links.values()}
    return all((name, market) in linked for name, venue in live.venues.items() for market in markets_of(venue))


def most_within(times_s: deque[float], window_s: float) -> int:
    """How many of rising times lie in any stretch of that length, at the most."""
    most, at = 0, 0
    times = list(times_s)
    for last, time_s in enumerate(times):
        while times[at] <= time_s - window_s:
            at += 1
        most = max(most, last - at + 1)
    return most


def gaps_between(spans: Iterable[tuple[Ns, Ns]], begin: Ns, end: Ns) -> list[tuple[Ns, Ns]]:
    """What of begin..end no span covers."""
    found = []
    for first, last in sorted(spans):
        if first > begin:
            found.append((begin, min(first, end)))
        begin = max(begin, last)
    if end > begin:
        found.append((begin, end))
    return found


def good_within(turns: Sequence[Turn], begin: Ns, end: Ns) -> Ns:
    """How much of begin..end was good."""
    total = 0
    for at, turn in enumerate(turns):
        until = turns[at + 1].at_ns if at + 1 < len(turns) else end
        if turn.good:
            total += max(0, min(until, end) - max(turn.at_ns, begin))
    return total


async def until_well(rig: Rig, streams: Sequence[Stream], since: Ns, settle_ns: Ns, within_s: float) -> Ns | None:
    """Wait until all are good for a while and their books were published after `since`; since when they were, None: too late."""
    books = [stream.instrument for stream in streams if stream.channel is Channel.BOOK]
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        well = rig.well_since(streams)
        if well is not None and rig.now - max(well, since) >= settle_ns:
            shown = rig.judge.shown
            if all(shown.get(book, 0) > max(well, since) - 100 * MS for book in books):
                return well
        await asyncio.sleep(0.05)
    return None
