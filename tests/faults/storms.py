"""`python -m tests.faults.storms`: a burst, a loop that stands still, and floods of nonsense: figures, and what must hold.

The exchange runs in a thread of its own, since a loop that stands still must not stop the venue as well; its truth is read under
a lock. At each boundary every published book is asked how far it is behind, and whether that is shown.
"""

import asyncio
import resource
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from analytics.engine import Engine
from analytics.settings import AnalyticsSettings
from feeds.live import Live
from feeds.model import MS, SECOND, InstrumentId, LinkState, Ns
from feeds.orderbook import OrderBook
from feeds.simulator import run
from feeds.simulator.faults import FAULTS
from feeds.simulator.injection import Injection
from feeds.simulator.kit import TEXT, Connection
from feeds.simulator.market import World
from feeds.simulator.truebook import Levels, Touch
from feeds.venues import make_venues, markets_of
from tests.faults.report import percentile
from tests.judge import Judge
from tui.demo import places
from tui.watching import Watch, chosen

BURST_S: Final = 30.0
STALLS_S: Final = (1.5, 5.0)
WARM_S: Final = 33.0
"""Lateness is known after half a minute."""
OLD_NS: Final[Ns] = 600 * MS
"""Farther behind than this a book must be shown as late or silent."""
PULSE_NS: Final[Ns] = SECOND
LAG_P99_MS: Final = 250.0
FLOOD_S: Final = 12.0
FLOOD_MB: Final = 150.0
"""Several times the largest message, far below what a flood of seconds carries."""

T = TypeVar("T")


class LockedWorld:
    """The truth, asked from another thread than the one that moves it on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        usual = world.advance

        def advance(now_ns: Ns) -> None:
            with self._lock:
                usual(now_ns)

        world.advance = advance  # type: ignore[method-assign]

    def truth(self, key: str, seq: int, depth: int | None = None) -> tuple[Levels, Levels]:
        with self._lock:
            return self._world.truth(key, seq, depth)

    def truth_touch(self, key: str, seq: int) -> Touch:
        with self._lock:
            return self._world.truth_touch(key, seq)

    def behind(self, key: str, seq: int, now: Ns) -> Ns:
        """How old the state `seq` is; 0 where nothing has come after it."""
        with self._lock:
            book = self._world.books[key]
            return 0 if seq == book.seq else now - book.time_of(seq)


class AgeJudge(Judge):
    """A judge that also asks, at each boundary, whether what is behind is shown as behind."""

    def __init__(self, world: LockedWorld, stamp: Callable[[], Ns]) -> None:
        super().__init__(world, Engine(AnalyticsSettings()))  # type: ignore[arg-type]  # its truth is all that is asked for
        self.locked = world
        self.stamp = stamp
        self.books: dict[InstrumentId, OrderBook] = {}
        self.lags_ms: list[tuple[Ns, float]] = []
        self.asked = 0
        self.silently_old: list[str] = []
        self.shown_old = 0
        self.handled_after_ms = 0.0
        """Longest time between a frame's stamp and its listener."""

    def on_book(self, book: OrderBook, now: Ns) -> None:
        self.books[book.instrument.id] = book
        self.handled_after_ms = max(self.handled_after_ms, (self.stamp() - now) / MS)
        super().on_book(book, now)

    def on_time(self, now: Ns) -> None:
        for name, book in self.books.items():
            if not book.published or not self.synced(name):
                continue
            self.lags_ms.append((now, book.leg.raw_ns / MS))
            try:
                behind = self.locked.behind(self.key(book.instrument), max(book.seq, book.touch_seq), now)
            except KeyError:
                continue
            self.asked += 1
            if behind > OLD_NS:
                if book.leg.late or now - book.leg.pulse.last_ns > PULSE_NS or book.leg.lag_ns > PULSE_NS:
                    self.shown_old += 1
                else:
                    self.silently_old.append(f"{name} {behind / MS:.0f} ms behind, late by {book.leg.late_ns / MS:.0f} ms")
        super().on_time(now)

    def lag_p99_ms(self, since: Ns, until: Ns) -> float:
        return percentile([lag for at, lag in self.lags_ms if since <= at < until], 0.99)


class Stage:
    """The exchange in its thread, the feeds in this one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.lines: list[str] = []
        self.failed: list[str] = []
        self.injections: list[Injection] = []

    async def start(self) -> None:
        self.there = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.there.run_forever, daemon=True)
        self._thread.start()
        self.exchange = await self.at_the_venue(run.start(self.seed, assets=("SOL",)))
        self.world = LockedWorld(self.exchange.world)
        ends = {name: {"rest": one.rest, "websocket": one.websocket} for name, one in self.exchange.endpoints.items()}
        venues = make_venues(places({name: bases for name, bases in ends.items() if "." in name}))
        self.judge = AgeJudge(self.world, lambda: self.live.clock.stamp())
        watch = Watch(pinned=("SOL",))
        self.live = Live(
            venues,
            self.judge,
            lambda listed: chosen(listed, watch),
            markets={name: markets_of(venue) for name, venue in venues.items()},
            rng=Random(self.seed),
        )
        self._task = asyncio.create_task(self.live.run())
        await self.until_ready()

    async def stop(self) -> None:
        self.live.stop()
        await self._task
        await self.at_the_venue(self.exchange.stop())
        self.there.call_soon_threadsafe(self.there.stop)
        await asyncio.to_thread(self._thread.join)
        self.there.close()

    async def at_the_venue(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.there))

    @property
    def now(self) -> Ns:
        return self.live.clock.stamp()

    def ready(self) -> bool:
        links = self.live.links.values()
        return len(links) == 7 and all(self.judge.good(stream) for link in links for stream in link.plan.streams)

    async def until_ready(self, within_s: float = 90.0) -> float:
        """Seconds until every stream is good. Raises TimeoutError."""
        begun = time.monotonic()
        async with asyncio.timeout(within_s):
            while not self.ready():
                await asyncio.sleep(0.02)
        return time.monotonic() - begun

    def say(self, text: str, good: bool = True) -> None:
        self.lines.append(f"  {'ok' if good else 'BROKEN':7} {text}")
        if not good:
            self.failed.append(text)

    def connections(self) -> list[Connection]:
        return [connection for server in self.exchange.servers.values() for connection in server.connections]

    async def strike(self, name: str) -> None:
        """A fault on every connection it fits."""

        async def do() -> None:
            for connection in self.connections():
                if FAULTS[name].fits(connection.server, connection):
                    self.injections.append(await FAULTS[name].inject(connection, Random(self.seed)))

        await self.at_the_venue(do())

    async def lift(self) -> None:
        async def do() -> None:
            while self.injections:
                await self.injections.pop().lift()

        await self.at_the_venue(do())


async def burst(stage: Stage) -> None:
    """Twenty times the messages on every connection for half a minute."""
    judge, live = stage.judge, stage.live
    before, frames, usual_ns = reconnects(live), live.hub.frames, stage.now
    await asyncio.sleep(5.0)
    usual = (live.hub.frames - frames) / 5.0
    frames, begun = live.hub.frames, stage.now
    await stage.strike("burst")
    await asyncio.sleep(BURST_S)
    ended = stage.now
    await stage.lift()
    rate = (live.hub.frames - frames) / BURST_S
    await asyncio.sleep(4.0)
    lags = [judge.lag_p99_ms(*span) for span in ((usual_ns, begun), (begun, ended), (ended + 2 * SECOND, ended + 4 * SECOND))]
    stage.say(
        f"burst: {usual:,.0f} frames a second, then {rate:,.0f} for {BURST_S:g} s; reconnects {reconnects(live) - before}",
        reconnects(live) == before,
    )
    stage.say(
        f"burst: lag p99 {lags[0]:.0f} ms before, {lags[1]:.0f} ms during, {lags[2]:.0f} ms from 2 s after its end",
        lags[2] < LAG_P99_MS,
    )
    honest(stage, "burst")


async def stall(stage: Stage, seconds: float) -> None:
    """The loop stands still while the venue goes on."""
    judge = stage.judge
    before = reconnects(stage.live)
    wrong, judge.handled_after_ms = judge.wrong_count, 0.0
    time.sleep(seconds)
    begun = stage.now
    await asyncio.sleep(0.5)
    took_s = 0.5 + await stage.until_ready()
    await asyncio.sleep(2.0)
    stage.say(
        f"stall of {seconds:g} s: wrong books {judge.wrong_count - wrong}, all good again after {took_s:.1f} s, "
        f"reconnects {reconnects(stage.live) - before}",
        judge.wrong_count == wrong,
    )
    worst = max((lag for at, lag in judge.lags_ms if at >= begun - SECOND), default=0.0)
    stage.say(
        f"stall of {seconds:g} s: {worst:.0f} ms the latest shown at a boundary, a frame reached its listener "
        f"{judge.handled_after_ms:.0f} ms after its stamp at the latest"
    )
    honest(stage, f"stall of {seconds:g} s")


def honest(stage: Stage, name: str) -> None:
    """Whatever was behind was shown as such."""
    judge = stage.judge
    old = len(judge.silently_old)
    first = f": {judge.silently_old[0]}" if old else ""
    stage.say(
        f"{name}: of {judge.asked:,} looks at a book {judge.shown_old} found it behind and marked, {old} unmarked{first}", not old
    )
    judge.asked = judge.shown_old = 0
    judge.silently_old.clear()


FLOODS: Final[dict[str, Callable[[int], bytes]]] = {
    "torn JSON": lambda _n: b'{"stream":"solusdt@depth","data":{"b":[["1"' * 500,
    "streams that nobody asked for": lambda n: b'{"stream":"x%d@kline_1m","topic":"tickers.X%d","data":{}}' % (n, n),
    "a megabyte of brackets": lambda _n: b"[" * (1 << 20),
    "messages of 20 MiB": lambda _n: b'{"stream":"solusdt@depth","data":"' + b"x" * (20 << 20) + b'"}',
    "refusals": lambda n: b'{"success":false,"ret_msg":"no %d","op":"subscribe","error":{"code":2,"msg":"no"},"id":%d}' % (n, n),
}


async def flood(stage: Stage, name: str) -> None:
    """Nonsense on every connection, as fast as the client takes it; memory must not follow."""
    make, before = FLOODS[name], rss_mb()
    peak, sent = before, 0
    until = time.monotonic() + FLOOD_S

    async def pour() -> int:
        poured = 0
        for connection in stage.connections():
            room = (1 << 20) - connection.transport.get_write_buffer_size()
            while room > 0 and connection.alive:
                data = make(sent + poured)
                connection.outbox_bytes = 64 << 20
                connection.send_frame(data, TEXT)
                room -= len(data)
                poured += 1
        return poured

    hub = stage.live.hub
    frames = hub.frames
    while time.monotonic() < until:
        sent += await stage.at_the_venue(pour())
        peak = max(peak, rss_mb())
        await asyncio.sleep(0.02)
    took_s = await stage.until_ready()
    stage.say(
        f"flood, {name}: {sent:,} sent, {hub.frames - frames:,} read, {hub.quarantined:,} quarantined so far; "
        f"RSS {before:.0f} MB, {peak:.0f} at its height, {rss_mb():.0f} after; all good again after {took_s:.1f} s",
        peak - before < FLOOD_MB,
    )


def reconnects(live: Live) -> int:
    return sum(link.reconnects for link in live.links.values())


def rss_mb() -> float:
    """Of this process, in which the exchange runs too; the highest so far where the present one cannot be asked for."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


async def storms(seed: int) -> Stage:
    stage = Stage(seed)
    await stage.start()
    try:
        await asyncio.sleep(WARM_S)
        honest(stage, "in peace")
        await burst(stage)
        for seconds in STALLS_S:
            await stall(stage, seconds)
        for name in FLOODS:
            await asyncio.sleep(3.0)
            await flood(stage, name)
        judge = stage.judge
        stage.say(f"books published: {judge.published.total():,}, wrong {judge.wrong_count}", not judge.wrong_count)
        stage.lines.extend(f"          {what}" for what in judge.wrong)
        cold = sum(link.view(stage.now).state is not LinkState.READY for link in stage.live.links.values())
        stage.say(
            f"faults of our own tasks: {stage.live.faults}; links that are not ready at the end: {cold}", not stage.live.faults
        )
    finally:
        await stage.stop()
    return stage


def main() -> int:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print(f"storms, seed {seed}", flush=True)
    stage = asyncio.run(storms(seed))
    print("\n".join(stage.lines))
    return 1 if stage.failed else 0


if __name__ == "__main__":
    sys.exit(main())
