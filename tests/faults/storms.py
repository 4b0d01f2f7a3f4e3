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
from feeds.connection import Link
from feeds.live import Live
from feeds.model import MS, SECOND, InstrumentId, LinkState, Ns
from feeds.orderbook import OrderBook
from feeds.simulator import run
from feeds.simulator.faults import FAULTS
from feeds.simulator.injection import Injection
from feeds.simulator.kit import TEXT, Connection, VenueServer
from feeds.venues import markets_of, placed_venues
from tests.faults.report import percentile
from tests.faults.rig import all_up
from tests.judge import Judge
from tui.demo import places
from tui.watching import Watch, chosen

BURST_S: Final = 30.0
STALLS_S: Final = (1.5, 5.0, 5.0, 5.0)
"""The long ones follow within a minute: the budget of connects would be spent at the second if connections were given up."""
AFTER_A_STALL_S: Final = 3.0
WARM_S: Final = 33.0
"""Lateness is known after half a minute."""
PULSE_NS: Final[Ns] = SECOND
OLD_NS: Final[Ns] = PULSE_NS + 100 * MS
"""Farther behind a book must be shown as late or silent: a pulse may be a second old, and a book is sent each 100 ms."""
LAG_P99_MS: Final = 250.0
READY_S: Final = 150.0
"""A spent budget and the longest back-off."""
FLOOD_S: Final = 12.0
OUTBOX: Final = 64 << 20
FLOODS_MB: Final = (150.0, 60.0)
"""What a first flood may add, the exchange's own buffers among it; and what a second one to the height of the first."""

T = TypeVar("T")


class LockedTruth:
    """The exchange's truth, asked from another thread than the one that moves it on."""

    def __init__(self, exchange: run.Exchange) -> None:
        self._world = exchange.world
        self._lock = threading.Lock()
        self._world.advance = self._locked(self._world.advance)  # type: ignore[method-assign]
        for server in exchange.servers.values():
            server.truth = self._locked(server.truth)  # type: ignore[method-assign]
            server.truth_touch = self._locked(server.truth_touch)  # type: ignore[method-assign]

    def _locked(self, usual: Callable[..., T]) -> Callable[..., T]:
        def ask(*what: Any) -> T:
            with self._lock:
                return usual(*what)

        return ask

    def behind(self, server: VenueServer, key: str, number: int, now: Ns) -> Ns:
        """How old the state that a reader calls so is; 0 where nothing has come after it. Raises KeyError for none."""
        with self._lock:
            book = self._world.books[key]
            seq = server.state(key, number)
            return 0 if seq == book.seq else now - book.time_of(seq)


class AgeJudge(Judge):
    """A judge that also asks, at each boundary, whether what is behind is shown as behind."""

    def __init__(self, exchange: run.Exchange) -> None:
        super().__init__(exchange.servers.values(), Engine(AnalyticsSettings()))
        self.locked = LockedTruth(exchange)
        self.books: dict[InstrumentId, OrderBook] = {}
        self.lags_ms: list[tuple[Ns, float]] = []
        self.asked = 0
        self.silently_old: list[str] = []
        self.shown_old = 0

    def on_book(self, book: OrderBook, now: Ns) -> None:
        self.books[book.instrument.id] = book
        super().on_book(book, now)

    def on_time(self, now: Ns) -> None:
        for name, book in self.books.items():
            if not book.published or not self.synced(name):
                continue
            self.lags_ms.append((now, book.leg.raw_ns / MS))
            try:
                behind = self.locked.behind(
                    self.server(book.instrument),
                    self.key(book.instrument),
                    self.numbers(book, max(book.seq, book.touch_seq))[0],
                    now,
                )
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
        self.failed: list[str] = []
        self.handled_after_ms = 0.0
        """Longest time between a frame's stamp and its handling."""
        self.height_mb = 0.0
        """The greatest RSS in a flood so far."""
        self.injections: list[Injection] = []

    async def start(self) -> None:
        self.there = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.there.run_forever, daemon=True)
        self._thread.start()
        self.exchange = await self.at_the_venue(run.start(self.seed, assets=("SOL",)))
        ends = {name: {"rest": one.rest, "websocket": one.websocket} for name, one in self.exchange.endpoints.items()}
        venues = placed_venues(places({name: bases for name, bases in ends.items() if "." in name}))
        self.judge = AgeJudge(self.exchange)
        watch = Watch(pinned=("SOL",))
        self.live = Live(
            venues,
            self.judge,
            lambda listed: chosen(listed, watch),
            markets={name: markets_of(venue) for name, venue in venues.items()},
            rng=Random(self.seed),
        )
        self._time_frames()
        self._task = asyncio.create_task(self.live.run())
        await self.until_ready()

    def _time_frames(self) -> None:
        """Note how long after its stamp a frame is handled, at the most."""
        hub = self.live.hub
        usual = hub.frame

        def frame(conn: str, data: bytes, now: Ns) -> None:
            self.handled_after_ms = max(self.handled_after_ms, (self.now - now) / MS)
            usual(conn, data, now)

        hub.frame = frame  # type: ignore[method-assign]

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
        return all_up(self.live) and all(map(self.well, self.live.links.values()))

    async def until_ready(self) -> float:
        """Seconds until every stream is good, or until it is plain that they will not be."""
        begun = time.monotonic()
        while not self.ready() and time.monotonic() - begun < READY_S:
            await asyncio.sleep(0.02)
        if not self.ready():
            links = ", ".join(
                f"{link.slot} {link.view(self.now).reason}" for link in self.live.links.values() if not self.well(link)
            )
            self.say(f"not all good after {READY_S:g} s: {links or 'no links'}", False)
        return time.monotonic() - begun

    def well(self, link: Link) -> bool:
        return all(map(self.judge.good, link.plan.streams))

    def say(self, text: str, good: bool = True) -> None:
        print(f"  {'ok' if good else 'BROKEN':7} {text}", flush=True)
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
    wrong, stage.handled_after_ms = judge.wrong_count, 0.0
    time.sleep(seconds)
    begun = stage.now
    await asyncio.sleep(0.5)
    took_s = 0.5 + await stage.until_ready()
    await asyncio.sleep(2.0)
    stage.say(
        f"stall of {seconds:g} s: wrong books {judge.wrong_count - wrong}, all good again after {took_s:.1f} s, "
        f"reconnects {reconnects(stage.live) - before}",
        judge.wrong_count == wrong and took_s < AFTER_A_STALL_S and reconnects(stage.live) == before,
    )
    worst = max((lag for at, lag in judge.lags_ms if at >= begun - SECOND), default=0.0)
    stage.say(
        f"stall of {seconds:g} s: {worst:.0f} ms the latest shown at a boundary, a frame was handled "
        f"{stage.handled_after_ms:.0f} ms after its stamp at the latest"
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


BRACKETS: Final = b"[" * (1 << 20)
HUGE: Final = b'{"stream":"solusdt@depth","data":"' + b"x" * (20 << 20) + b'"}'
FLOODS: Final[dict[str, Callable[[int], bytes]]] = {
    "torn JSON": lambda _n: b'{"stream":"solusdt@depth","data":{"b":[["1"' * 500,
    "streams that nobody asked for": lambda n: b'{"stream":"x%d@kline_1m","topic":"tickers.X%d","data":{}}' % (n, n),
    "a megabyte of brackets": lambda _n: BRACKETS,
    "messages of 20 MiB": lambda _n: HUGE,
    "refusals": lambda n: b'{"success":false,"ret_msg":"no %d","op":"subscribe","error":{"code":2,"msg":"no"},"id":%d}' % (n, n),
}


async def flood(stage: Stage, bound_mb: float) -> None:
    """Nonsense on every connection, of one kind on each, as fast as it is taken; memory must not follow."""
    before, hub, kinds = max(rss_mb(), stage.height_mb), stage.live.hub, list(FLOODS)
    peak, frames, refused = rss_mb(), hub.frames, hub.quarantined
    sent = dict.fromkeys(kinds, 0)

    async def pour() -> None:
        for connection in stage.connections():
            kind = kinds[places_of.setdefault(f"{connection.server.name}{connection.path}", len(places_of)) % len(kinds)]
            connection.outbox_bytes = OUTBOX
            room = (1 << 20) - connection.transport.get_write_buffer_size()
            while room > 0 and connection.alive:
                data = FLOODS[kind](sent[kind])
                connection.send_frame(data, TEXT)
                sent[kind] += 1
                room -= len(data)

    places_of: dict[str, int] = {}
    until = time.monotonic() + FLOOD_S
    while time.monotonic() < until:
        await stage.at_the_venue(pour())
        peak = max(peak, rss_mb())
        await asyncio.sleep(0.02)
    said = ", ".join(f"{count:,} of {kind}" for kind, count in sent.items())
    stage.say(f"flood of {FLOOD_S:g} s: {said}; {hub.frames - frames:,} read, {hub.quarantined - refused:,} quarantined")
    stage.height_mb = max(stage.height_mb, peak)
    took_s = await stage.until_ready()
    stage.say(
        f"flood: RSS {before:.0f} MB before, at the most; {peak:.0f} at its height, {rss_mb():.0f} after; "
        f"all good again {took_s:.1f} s after it",
        peak - before < bound_mb,
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
        for bound_mb in FLOODS_MB:
            await flood(stage, bound_mb)
        judge = stage.judge
        stage.say(f"books published: {judge.published.total():,}, wrong {judge.wrong_count}", not judge.wrong_count)
        for what in judge.wrong:
            print(f"          {what}")
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
    return 1 if stage.failed else 0


if __name__ == "__main__":
    sys.exit(main())
