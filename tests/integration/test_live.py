"""A live run on real sockets, against the demo exchange: whole books, renewals, an absent network, the end, and its recording.

The exchange's time is mostly moved faster than the wall's: books do not depend on it, and half a minute of market takes two
seconds. Nothing here speaks to another machine.
"""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from aiohttp import web
from msgspec import structs

from analytics.alerts import DEFAULT_RULES, Metric, Rule
from analytics.engine import Engine
from analytics.settings import AnalyticsSettings
from analytics.snapshot import View
from feeds.live import Live
from feeds.model import MS, SECOND, BookState, Channel, Instrument, LinkState, Ns, Status, Stream
from feeds.orderbook import OrderBook
from feeds.recording import Recording
from feeds.simulator import run as exchange
from feeds.simulator.faults import FAULTS
from feeds.simulator.injection import Injection
from feeds.simulator.kit import RestHook, VenueServer
from feeds.venue import Endpoint, Terms, Venue
from feeds.venues import KINDS, markets_of
from feeds.venues.binance import Binance
from tests.judge import Judge
from tui.export import export
from tui.live import LiveRun
from tui.report import make_report
from tui.session import Replay
from tui.watching import Watch, chosen

MARKETS: Final = (
    ("BINANCE", "spot"),
    ("BINANCE", "usdm"),
    ("BINANCE", "coinm"),
    ("BYBIT", "spot"),
    ("BYBIT", "linear"),
    ("BYBIT", "inverse"),
)
BITCOIN: Final = Watch(pinned=("BTC",))
FAST_NS: Final[Ns] = 100 * MS
"""Of the exchange's time, moved on at each turn."""
PATIENCE_S: Final = 20.0
STOP_WITHIN_S: Final = 2.0


class Whole(Judge):
    """A judge that also counts the moments at which somebody had no book who had one before."""

    def __init__(self, servers: Any, listener: Any) -> None:
        super().__init__(servers, listener)
        self.had: set[Stream] = set()
        self.without: list[Status] = []
        self.books: dict[str, OrderBook] = {}

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        super().on_status(stream, status, now)
        if stream.channel is Channel.BOOK:
            if status.book is BookState.SYNCED and status.link is LinkState.READY:
                self.had.add(stream)
            elif stream in self.had:
                self.without.append(status)

    def on_book(self, book: OrderBook, now: Ns) -> None:
        super().on_book(book, now)
        self.books[book.instrument.id] = book


class Rig:
    """An exchange that stands still, and a client of some of its markets."""

    def __init__(self, at: exchange.Exchange, live: Live, judge: Whole) -> None:
        self.exchange = at
        self.world = at.world
        self.live = live
        self.judge = judge
        self.task: asyncio.Task[None] | None = None
        self.levels = 0
        """Levels that came in book messages, zeros and whole books included."""
        take = live.frame

        def frame(conn: str, data: bytes) -> None:
            self.levels += levels_in(data)
            take(conn, data)

        live.frame = frame  # type: ignore[method-assign]

    async def move(self, until: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Move the exchange's time on until it is so."""
        async with asyncio.timeout(patience_s):
            while not until():
                self.world.advance(self.world.now_ns + FAST_NS)
                await asyncio.sleep(0.001)

    async def rest(self, until: Callable[[], bool]) -> None:
        """Let what is on its way arrive; time stands still."""
        async with asyncio.timeout(PATIENCE_S):
            while not until():
                await asyncio.sleep(0.001)

    def begin(self) -> None:
        self.task = asyncio.create_task(self.live.run())

    @property
    def wanted(self) -> list[Instrument]:
        return list(self.live.hub.instruments.values())

    def synced(self) -> bool:
        return bool(self.wanted) and all(self.judge.synced(each.id) for each in self.wanted)

    def up_to_date(self) -> bool:
        """Every book is of the exchange's last second."""
        books = [(self.judge.books[each.id], self.world.books[self.judge.key(each)]) for each in self.wanted]
        return all(true.time_of(book.seq) > self.world.now_ns - SECOND for book, true in books)

    async def end(self) -> None:
        self.live.stop()
        assert self.task is not None
        async with asyncio.timeout(STOP_WITHIN_S):
            await self.task


def levels_in(data: bytes) -> int:
    """Levels of both sides in a book's message; none in any other."""
    message = msgspec.json.decode(data)
    body = message.get("data", message) if isinstance(message, dict) else {}
    sides = (body.get("b"), body.get("a")) if isinstance(body, dict) else ()
    return sum(len(side) for side in sides if isinstance(side, list))


Make = Callable[[Mapping[str, Endpoint]], Venue]
"""A venue that knows where its markets are."""
REAL: Final[Mapping[str, Make]] = {kind.id: kind for kind in KINDS}


def places_of(at: exchange.Exchange, venue: str) -> dict[str, Endpoint]:
    return {name.partition(".")[2]: place for name, place in at.endpoints.items() if name.startswith(f"{venue}.")}


@asynccontextmanager
async def bitcoin_exchange(seed: int = 3) -> AsyncIterator[exchange.Exchange]:
    at = await exchange.start(seed, assets=("BTC",), start_ns=time.time_ns())
    try:
        yield at
    finally:
        await at.stop()


@asynccontextmanager
async def rigged(
    venue: str, market: str, *, make: Make | None = None, websocket: str = "", begin: bool = True
) -> AsyncIterator[Rig]:
    """`websocket`: where its websockets are instead; `begin` False leaves the beginning to the test."""
    async with bitcoin_exchange() as at:
        found = places_of(at, venue)
        if websocket:
            found[market] = Endpoint(found[market].rest, websocket)
        judge = Whole(at.servers.values(), Engine(AnalyticsSettings()))
        live = Live(
            {venue: (make or REAL[venue])(found)},
            judge,
            lambda listed: chosen(listed, BITCOIN),
            markets={venue: (market,)},
            rng=random.Random(1),
        )
        rig = Rig(at, live, judge)
        if begin:
            rig.begin()
        try:
            yield rig
        finally:
            live.stop()
            if rig.task is not None:
                await rig.task
        assert live.faults == 0, list(live.hub.health.said)


def server_of(at: exchange.Exchange, venue: str, market: str) -> VenueServer:
    return at.servers[f"{venue}.{market}" if f"{venue}.{market}" in at.servers else venue]


# -- books -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("venue", "market"), MARKETS)
async def test_after_thousands_of_updates_every_level_is_the_exchanges(venue: str, market: str) -> None:
    async with rigged(venue, market) as rig:
        judge = rig.judge
        await rig.move(
            lambda: rig.synced() and rig.levels > 10_000 and min(judge.published[each.id] for each in rig.wanted) > 200
        )
        await rig.rest(rig.up_to_date)
        for instrument in rig.wanted:
            book = judge.books[instrument.id]
            bids, asks = judge.server(instrument).truth(judge.key(instrument), book.seq, judge.depth(book))
            assert len(bids) >= 100
            assert (book.bids.levels(len(bids)), book.asks.levels(len(asks))) == (bids, asks)
        assert (judge.wrong, judge.unknown, judge.without) == ([], 0, [])
        assert judge.whole > 20, "too little was judged to prove anything"
        assert rig.live.hub.quarantined == 0


# -- renewals --------------------------------------------------------------------------------------------------------------


class Mortal(Binance):
    """Binance, were a connection renewed each second instead of before the end of its day."""

    def terms(self, market: str) -> Terms:
        return structs.replace(super().terms(market), lives_ns=SECOND)


async def renewed(rig: Rig) -> None:
    """Until another connection carries every stream, and more has come since; nobody must have been without a book meanwhile."""
    before = set(rig.live.hub.connections)
    await rig.move(lambda: not before & set(rig.live.hub.connections))
    published = dict(rig.judge.published)
    await rig.move(lambda: all(rig.judge.published[name] > count + 20 for name, count in published.items()))
    await rig.rest(rig.up_to_date)
    assert rig.synced()
    assert (rig.judge.without, rig.judge.wrong, rig.judge.unknown) == ([], [], 0)
    assert [link.reconnects for link in rig.live.view().links] == [0] * len(rig.live.links), "it was not renewed but lost"


@pytest.mark.parametrize("market", ["spot", "usdm", "coinm"])
async def test_a_connection_that_grows_old_is_renewed_without_a_moment_without_a_book(market: str) -> None:
    async with rigged("BINANCE", market, make=Mortal) as rig:
        await rig.move(rig.synced)
        await renewed(rig)


async def test_a_notice_of_shutdown_is_heeded_before_the_cut() -> None:
    async with rigged("BINANCE", "spot") as rig:
        await rig.move(rig.synced)
        server = server_of(rig.exchange, "BINANCE", "spot")
        injection = await FAULTS["shutdown notice"].inject(server, random.Random(1))
        await renewed(rig)
        await injection.lift()
        await rig.move(lambda: rig.levels > 2_000)
        assert (rig.judge.without, rig.judge.wrong) == ([], [])


# -- an absent network -----------------------------------------------------------------------------------------------------


async def test_begun_without_a_network_it_recovers_by_itself() -> None:
    async with rigged("BYBIT", "linear", begin=False) as rig:
        server = server_of(rig.exchange, "BYBIT", "linear")
        server.refuse()
        rig.begin()
        await rig.rest(lambda: bool(rig.live.trouble))
        assert "no connection" in rig.live.trouble["BYBIT", "linear"]
        await server.listen()
        await rig.move(rig.synced)
        assert rig.live.trouble == {}
        assert rig.judge.wrong == []


# -- the end ---------------------------------------------------------------------------------------------------------------


def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@asynccontextmanager
async def mute_door() -> AsyncIterator[tuple[str, set[asyncio.StreamWriter]]]:
    """Where a connection is accepted, and never a word is said; and who is inside."""
    inside: set[asyncio.StreamWriter] = set()

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside.add(writer)

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", inside
    finally:
        server.close()
        for writer in inside:
            writer.transport.abort()


def never(path_end: str) -> RestHook:
    """Requests whose path ends so get no answer."""

    async def hook(_request: web.Request, path: str) -> web.StreamResponse | None:
        if path.endswith(path_end):
            await asyncio.sleep(PATIENCE_S)
        return None

    return hook


async def test_it_stops_while_the_instruments_are_listed() -> None:
    async with rigged("BINANCE", "spot", begin=False) as rig:
        server = server_of(rig.exchange, "BINANCE", "spot")
        server.rest_hook = never("")
        rig.begin()
        await rig.rest(lambda: bool(server.requests))
        await rig.end()


async def test_it_stops_while_a_handshake_is_not_answered() -> None:
    async with mute_door() as (door, inside), rigged("BYBIT", "spot", websocket=door) as rig:
        await rig.rest(lambda: bool(inside))
        assert [link.state for link in rig.live.view().links] == [LinkState.CONNECTING]
        await rig.end()


async def test_it_stops_in_the_middle_of_a_back_off() -> None:
    async with rigged("BYBIT", "spot", websocket=f"ws://127.0.0.1:{closed_port()}") as rig:
        await rig.rest(lambda: any(link.attempt and link.next_ns for link in rig.live.view().links))
        await rig.end()


async def test_it_stops_while_a_snapshot_is_waited_for() -> None:
    async with rigged("BINANCE", "spot", begin=False) as rig:
        server_of(rig.exchange, "BINANCE", "spot").rest_hook = never("/depth")
        rig.begin()
        await rig.move(lambda: any(link.frames > 10 for link in rig.live.view().links))
        assert not rig.synced()
        await rig.end()


@pytest.mark.parametrize(("venue", "market"), MARKETS)
async def test_it_stops_in_the_middle_of_data(venue: str, market: str) -> None:
    async with rigged(venue, market) as rig:
        await rig.move(rig.synced)
        await rig.end()
        assert rig.live.hub.connections == {}


async def test_it_stops_while_a_peer_is_dead() -> None:
    """A goodbye that nobody hears must not be waited for."""
    async with rigged("BYBIT", "linear") as rig:
        await rig.move(rig.synced)
        for connection in server_of(rig.exchange, "BYBIT", "linear").connections:
            connection.freeze()
        await rig.end()


async def test_it_stops_during_a_renewal() -> None:
    async with rigged("BINANCE", "usdm", make=Mortal) as rig:
        await rig.move(rig.synced)
        server_of(rig.exchange, "BINANCE", "usdm").rest_hook = never("/depth")
        await rig.move(lambda: any(link.renewing for link in rig.live.view().links))
        await rig.end()


# -- a recording of it -----------------------------------------------------------------------------------------------------

RULES: Final = (
    *DEFAULT_RULES,
    Rule(id="leaning", metric=Metric.IMBALANCE, enter=0.05, exit=0.02, for_ms=200),
    Rule(id="apart", metric=Metric.BASIS, op="abs>=", enter=1.0, exit=0.5, for_ms=200),
)
"""The usual rules, and some that fire within seconds."""
EVERY_FIGURE: Final = View(details=True, exits=True, window_s=60)


class Moment(NamedTuple):
    """What a run knows at a moment, down to the last level."""

    at_ns: Ns
    books: Mapping[str, tuple[object, ...]]
    figures: bytes


def moment_of(engine: Engine, at: Ns) -> Moment:
    books = {
        name: (book.state, book.seq, book.bids.levels(400), book.asks.levels(400))
        for name, market in engine.markets.items()
        if (book := market.book) is not None
    }
    return Moment(at, books, msgspec.json.format(msgspec.json.encode(engine.snapshot(EVERY_FIGURE))))


def now_in(run: LiveRun) -> Moment:
    """The run at this moment, its boundaries called up to it."""
    at = run.live.stamp()
    run.live.hub.ticker.advance(at)
    return moment_of(run.engine, at)


def live_run_at(at: exchange.Exchange, venues: Sequence[str], watch: Watch = BITCOIN) -> LiveRun:
    made = {venue: REAL[venue](places_of(at, venue)) for venue in venues}
    markets = {venue: markets_of(one) for venue, one in made.items()}
    return LiveRun(AnalyticsSettings(), made, markets, watch, rules=RULES, rng=random.Random(1))


def differences(one: object, other: object, path: str = "") -> list[str]:
    """Where two documents differ, in a few lines."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [text for key in {**one, **other} for text in differences(one.get(key), other.get(key), f"{path}.{key}")][:20]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [text for at, pair in enumerate(zip(one, other, strict=True)) for text in differences(*pair, f"{path}[{at}]")][:20]
    return [] if one == other else [f"{path}: {one!r:.80} in the run, {other!r:.80} in the replay"]


def assert_same(run: LiveRun, moments: Sequence[Moment], directory: Path, place: Path) -> Replay:
    """The replay knows at each moment what the run knew then, and ends as it ended."""
    replay = Replay(Recording(directory), AnalyticsSettings(), RULES)
    for moment in moments:
        replay.play(moment.at_ns)
        found = moment_of(replay.engine, moment.at_ns)
        assert differences(moment.books, found.books) == []
        assert differences(msgspec.json.decode(moment.figures), msgspec.json.decode(found.figures)) == []
    replay.run(inf)
    assert [msgspec.json.encode(alert) for alert in replay.episodes.alerts.values()] == [
        msgspec.json.encode(alert) for alert in run.alerts.values()
    ]
    for name, alerts in (("run", run.alerts), ("replay", replay.episodes.alerts)):
        for kind in ("csv", "jsonl"):
            export([alerts[seq] for seq in sorted(alerts)], place / f"{name}.{kind}")
    for kind in ("csv", "jsonl"):
        assert (place / f"run.{kind}").read_bytes() == (place / f"replay.{kind}").read_bytes()
    return replay


STRUCK: Final = (
    ("gap", "BINANCE.usdm"),
    ("reset", "BINANCE.spot"),
    ("crossed", "BYBIT"),
    ("snapshot 500", "BINANCE.coinm"),
    ("half-open", "BYBIT"),
)
"""A fault, and the server that it strikes."""


def advanced_clock() -> Callable[[], Ns]:
    """The wall's time, but for the first look, which is ahead of the market's first window by that much less."""
    usual = exchange.wall_clock()
    first = iter([usual() - 12 * SECOND])
    return lambda: next(first, None) or usual()


async def strike(at: exchange.Exchange, name: str, server_name: str) -> Injection:
    fault, server = FAULTS[name], at.servers[server_name]
    target = server if fault.target == "server" else next(one for one in server.connections if fault.fits(server, one))
    return await fault.inject(target, random.Random(1))


def whole(run: LiveRun, links: int = 7) -> bool:
    """So many connections are there, each carries data, and every book is SYNCED."""
    markets = run.engine.markets.values()
    return (
        run.status.links == links
        and run.status.up == run.status.links
        and all(market.book is not None and market.book.published for market in markets)
    )


def noticed(run: LiveRun) -> int:
    """Gaps, books that began anew, and connections that were given up, so far."""
    streams = run.live.hub.health.streams.values()
    return sum(each.gaps + each.resyncs for each in streams) + sum(link.reconnects for link in run.live.links.values())


async def struck(run: LiveRun, at: exchange.Exchange, name: str, server_name: str) -> list[Moment]:
    """A fault until it is noticed; a moment before it, and one in it."""
    await until(lambda: whole(run))
    moments, before = [now_in(run)], noticed(run)
    injection = await strike(at, name, server_name)
    await until(lambda: noticed(run) > before)
    moments.append(now_in(run))
    await injection.lift()
    return moments


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.01)


async def test_the_replay_of_a_recording_with_faults_is_the_run_that_made_it(tmp_path: Path) -> None:
    at = await exchange.start(3, assets=("BTC",), clock=advanced_clock())
    try:
        run = live_run_at(at, ("BINANCE", "BYBIT"))
        directory = tmp_path / "recorded"
        run.record(directory)
        task = asyncio.create_task(run.run())
        moments: list[Moment] = []
        for name, place in STRUCK:
            moments += await struck(run, at, name, place)
        await until(lambda: whole(run))
        moments.append(now_in(run))
        run.stop()
        await task
        replay = assert_same(run, moments, directory, tmp_path)
        assert {alert.rule for alert in run.alerts.values()} >= {"gap", "leaning", "apart"}, "too little happened"
        of_run = make_report(Recording(directory), run.live.hub, run.engine, replay.player.position, list(run.alerts.values()))
        of_replay = make_report(
            Recording(directory),
            replay.player.hub,
            replay.engine,
            replay.player.position,
            list(replay.episodes.alerts.values()),
        )
        heard = [note for note in of_run.notes if note in of_replay.notes]
        assert msgspec.json.encode(structs.replace(of_run, notes=heard)) == msgspec.json.encode(of_replay)
        assert structs.replace(of_run, notes=heard).text() == of_replay.text()
        assert run.live.recorded.failure == ""
        assert run.live.faults == 0
    finally:
        await at.stop()


async def test_a_run_that_ends_while_nothing_arrives_is_replayed_to_its_end(tmp_path: Path) -> None:
    """What time alone has done since the last message belongs to the run."""
    async with bitcoin_exchange() as at:
        run = live_run_at(at, ("BYBIT",))
        directory = tmp_path / "recorded"
        run.record(directory)
        task = asyncio.create_task(run.run())
        await until(lambda: moved(at) and whole(run, 3))
        server = at.servers["BYBIT"]
        server.refuse()
        for connection in list(server.connections):
            connection.abort()
        silent_ns = run.live.stamp() + SECOND
        await until(lambda: run.live.stamp() > silent_ns)
        moments = [now_in(run)]
        run.stop()
        await task
        replay = assert_same(run, moments, directory, tmp_path)
        assert replay.engine.now_ns == run.engine.now_ns
        assert moment_of(replay.engine, 0) == moment_of(run.engine, 0)


async def test_a_recording_begun_in_the_middle_holds_every_book_from_its_head_on(tmp_path: Path) -> None:
    async with bitcoin_exchange() as at:
        run = live_run_at(at, ("BINANCE", "BYBIT"))
        task = asyncio.create_task(run.run())
        await until(lambda: moved(at) and whole(run))
        run.record(tmp_path / "recorded")
        begun_ns = run.live.stamp()
        moments = []
        for _ in range(3):
            wanted = run.live.hub.frames + 200
            await until(lambda wanted=wanted: moved(at) and run.live.hub.frames > wanted)  # type: ignore[misc]
            moments.append(now_in(run))
        run.stop()
        await task
        replay = Replay(Recording(tmp_path / "recorded"), AnalyticsSettings(), RULES)
        assert replay.player.recording.start_ns >= begun_ns
        for moment in moments:
            replay.play(moment.at_ns)
            assert moment_of(replay.engine, moment.at_ns).books == moment.books
        assert len(moments[0].books) == 8
        replay.run(inf)
        assert replay.player.recording.damage == []


def moved(at: exchange.Exchange) -> bool:
    """Moves the exchange's time on by a little; always true."""
    at.world.advance(at.world.now_ns + FAST_NS)
    return True
