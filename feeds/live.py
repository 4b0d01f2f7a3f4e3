"""Live data: every wanted connection, request and clock of the venues, as one stream of records into the hub (DESIGN 1).

All that changes a session or the listener is a record: it is stamped, the grid is brought up to it, it is written to the
recording where one is made, and handed to the hub as a replay would. So the replay of a recording is the run that made it. What
sessions ask for goes to links (`connection`) and request pools (`rest`); which instruments are watched is the caller's choice.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import stamina

from feeds.breaker import CircuitBreaker
from feeds.budget import Backoff, ConnectBudget
from feeds.clock import LONGEST_STALL_NS, STALL_NS, ReceiveClock
from feeds.connection import Link
from feeds.daemon import DaemonThreads
from feeds.errors import DECODE_ERRORS, ArbtopError, BadFrame
from feeds.health import Probe
from feeds.hub import Hub
from feeds.links import Breaker, ClockView, FeedsView, Recording
from feeds.model import MS, SECOND, Instrument, InstrumentId, LinkState, Ns, Stream, VenueId
from feeds.recording import Answer, Closed, Header, HeadLine, Opened, Record, RecordingWriter, UserAct
from feeds.recording.format import ANSWER, CLOSE, INSTRUMENTS, NO_CONN, OPEN, PROBE, USER
from feeds.rest import RestAnswer, RestPool, Web, open_session
from feeds.text import clean_text
from feeds.venue import Action, Drop, Fetch, FetchError, Listener, Plan, Renew, Send, Terms, Venue
from feeds.wire import Library, host_of, library

Choose = Callable[[Sequence[Instrument]], Sequence[Instrument]]
"""Which of a market's instruments are watched."""

PROBE_S: Final = 60.0
FIRST_PROBES_S: Final = (0.0, 1.0, 3.0)
"""The first round trips include a TLS handshake, so a few follow soon."""
CATALOGUE_AGAIN_S: Final = 3_600.0
CATALOGUE_RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
TELL_S: Final = 0.5
STOP_S: Final = 1.5
AFTER_A_FAULT_S: Final = 5.0


class Live:
    """The feeds of a running program.

    Args:
        venues: by id; where they are is theirs to know.
        listener: hears everything, as in a replay.
        choose: which instruments of a market are watched; called again when its list has been fetched anew.
        chosen: websocket library.
        proxy: for websockets and REST; None for none.
        rng: for jitter.
        ca_file: further certificates to trust, PEM; there is no way not to verify.

    Raises:
        OSError, ssl.SSLError: the file cannot be used.
    """

    def __init__(
        self,
        venues: Mapping[VenueId, Venue],
        listener: Listener,
        choose: Choose,
        *,
        markets: Mapping[VenueId, Sequence[str]],
        chosen: Library | None = None,
        proxy: str | None = None,
        rng: random.Random | None = None,
        ca_file: Path | None = None,
        clock: ReceiveClock | None = None,
    ) -> None:
        self.venues = venues
        self.clock = clock or ReceiveClock()
        self.hub = Hub(venues, listener, self._perform)
        self.hub.promoted = self._promoted
        self.links: dict[str, Link] = {}
        self.recorder: RecordingWriter | None = None
        self.records = 0
        """Records handed on since the recording began; 0 while there is none."""
        self.recorded = Recording()
        """The recording that ended last."""
        self.faults = 0
        """Errors of our own that ended a task, which was begun again."""
        self.trouble: dict[tuple[VenueId, str], str] = {}
        """(venue, market) → why its instruments could not be listed, while that is so."""
        self.shut: Mapping[tuple[VenueId, str], str] = {
            (name, market): why for name, own in markets.items() for market in own if (why := venues[name].closed(market))
        }
        """(venue, market) → why it is closed for good. It is in `trouble` too, and nothing of it is asked or opened."""
        self.make_breaker: Callable[[], CircuitBreaker] = CircuitBreaker
        """Of a request pool."""
        self._choose = choose
        self.markets = markets
        self.library = chosen or library()
        self._proxy = proxy
        self._rng = rng or random.Random()
        self._ca_file = ca_file
        self.tls = ssl.create_default_context() if ca_file is not None else None
        if self.tls is not None:
            self.tls.load_verify_locations(ca_file)
        self._budgets: dict[str, ConnectBudget] = {}
        self._slots: dict[str, int] = {}
        self._fetches: dict[str, set[asyncio.Task[None]]] = {}
        self._asked = 0
        self.listed: set[tuple[VenueId, str]] = set()
        """(venue, market) whose instruments have been listed."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._web: Web | None = None
        self._pools: dict[str, RestPool] = {}
        self._stopping = asyncio.Event()
        self._streams: dict[Stream, str] = {}

    # -- life --------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until `stop`. Leaves nothing behind: every connection is closed, and the closing is recorded."""
        asyncio.get_running_loop().set_default_executor(DaemonThreads())
        async with self.requests():
            await self._run()

    @asynccontextmanager
    async def requests(self) -> AsyncIterator[None]:
        """While the block lasts REST requests can be made."""
        stamina.instrumentation.set_on_retry_hooks([])  # it would write to stderr, where screens are drawn
        session = open_session(self._ca_file)
        self._web = Web(session, self._proxy)
        try:
            yield
        finally:
            for pool in self._pools.values():
                await pool.close()
            self._pools.clear()
            self._web = None
            await session.close()

    async def _run(self) -> None:
        try:
            self._begin(self._keep_time, "time")
            for venue in self.venues.values():
                for market in self.markets[venue.id]:
                    self._begin(lambda v=venue, m=market: self._follow(v, m), f"instruments {venue.id} {market}")  # type: ignore[misc]
                for market in self._hosts(venue):
                    self._begin(lambda v=venue, m=market: self._ask_time(v, m), f"clock {venue.id} {market}")  # type: ignore[misc]
            await self._stopping.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*self._tasks, return_exceptions=True), STOP_S)
            self._note_end()
            self.hub.ticker.finish()
            await self._close_recording()

    def stop(self) -> None:
        self._stopping.set()

    # -- records -----------------------------------------------------------------------------------------------------------

    def stamp(self) -> Ns:
        return self.clock.stamp()

    def frame(self, conn: str, data: bytes) -> None:
        now = self.clock.stamp()
        if now >= self.hub.ticker.next_ns:
            self._advance(now)
        if self.recorder is None:
            self.hub.frame(conn, data, now)
            return
        self.recorder.frame(now, conn, data)
        self.hub.frame(conn, data, now)
        self.records += 1

    def take(self, kind: str, conn: str, value: object) -> None:
        """A record that is no frame: handed on as its recorded bytes."""
        now = self.clock.stamp()
        self._advance(now)
        self._hand_on(Record(now, kind, conn, msgspec.json.encode(value)))

    def _hand_on(self, record: Record) -> None:
        if self.recorder is not None:
            self.recorder.write(*record)
        self.hub.handle(record)
        if self.recorder is not None:
            self.records += 1

    def _advance(self, now: Ns) -> None:
        """Bring the grid up to `now`.

        Where that is late the loop stood still while the venues went on: their messages wait to be read, and their silence
        means nothing. It is a record, of the moment before the first boundary that was missed, since all that follows from these
        boundaries is to follow in a replay too.
        """
        ticker = self.hub.ticker
        if ticker.next_ns and STALL_NS <= now - ticker.next_ns <= LONGEST_STALL_NS:
            self._hand_on(Record(ticker.next_ns - 1, USER, NO_CONN, msgspec.json.encode(UserAct("stall", until_ns=now))))
        ticker.advance(now)

    def opened(self, conn: str, plan: Plan) -> None:
        self.take(OPEN, conn, Opened.of(plan))

    def closed(self, conn: str, code: int, reason: str) -> None:
        for task in self._fetches.pop(conn, ()):
            task.cancel()
        self.take(CLOSE, conn, Closed(code, reason))

    def link_state(self, conn: str) -> LinkState:
        connection = self.hub.connections.get(conn)
        return connection.session.link if connection is not None else LinkState.DOWN

    def say(self, text: str) -> None:
        """A line for the user."""
        self.hub.health.say(clean_text(text, 200), self.clock.stamp())

    # -- recording ---------------------------------------------------------------------------------------------------------

    def record(self, directory: Path, version: str, config_hash: str = "") -> None:
        """Record into a new directory from now on. Raises InputError when it cannot begin."""
        header = Header(
            start_wall_ns=self.clock.stamp(),
            start_monotonic_ns=self.clock.start_monotonic_ns,
            version=version,
            config_hash=config_hash,
            source="live",
        )
        self.recorder = RecordingWriter(directory, header, self._head)
        self.records = 0

    async def stop_recording(self) -> None:
        """End the recording; what is left of it is compressed in a thread."""
        self._note_end()
        await self._close_recording()

    def _note_end(self) -> None:
        """What time alone has done since the last message is in the recording only if that says how long it went on."""
        if self.recorder is not None:
            self.take(USER, NO_CONN, UserAct("end"))

    async def _close_recording(self) -> None:
        recorder, self.recorder = self.recorder, None
        self.records = 0
        if recorder is not None:
            await asyncio.to_thread(recorder.close)
            self.recorded = self._about(recorder)
            if recorder.failure is not None:
                self.say(str(recorder.failure))

    def _about(self, recorder: RecordingWriter) -> Recording:
        return Recording(
            directory=clean_text(str(recorder.directory), 500),
            bytes=recorder.bytes,
            since_ns=recorder.header.start_wall_ns,
            failure=clean_text(str(recorder.failure), 200) if recorder.failure is not None else "",
        )

    def _head(self) -> Iterable[HeadLine]:
        lines = list(self.hub.head())
        if not self.records:
            self.records = len(lines)
        return lines

    # -- what the user does ------------------------------------------------------------------------------------------------

    def reconnect(self, slot: str) -> None:
        self.links[slot].reconnect()

    def pause(self, slot: str) -> bool:
        """Pause a connection, or go on with it; returns whether it is paused now."""
        link = self.links[slot]
        link.pause(not link.paused)
        return link.paused

    def resync(self, instrument: InstrumentId) -> None:
        """Fetch a book anew: it is blank until it has come."""
        self.take(USER, NO_CONN, UserAct("resync", instrument))

    # -- what sessions ask for ---------------------------------------------------------------------------------------------

    def _perform(self, conn: str, actions: Sequence[Action]) -> None:
        link = self.links.get(conn.rpartition(".")[0])
        if link is None:
            return
        for action in actions:
            if isinstance(action, Send):
                wire = link.wire(conn)
                if wire is not None:
                    wire.send(action.text)
            elif isinstance(action, Fetch):
                task = self._begin(lambda f=action: self._fetch(conn, link.plan, f), f"fetch {action.key}", again=False)  # type: ignore[misc]
                self._fetches.setdefault(conn, set()).add(task)
                task.add_done_callback(self._fetches[conn].discard)
            elif isinstance(action, Drop):
                link.drop(conn, action.reason, action.wait_ns, action.fatal)
            else:
                assert isinstance(action, Renew)
                link.renew(action.reason)

    async def _fetch(self, conn: str, plan: Plan, fetch: Fetch) -> None:
        self._asked += 1
        own = msgspec.structs.replace(fetch, key=f"{conn} {self._asked} {fetch.key}")  # never an answer to an earlier question
        answer = await self.ask(plan.venue, fetch.market or plan.market, own)
        if conn in self.hub.connections:  # else its session is gone, and nobody waits for it
            said = answer.outcome
            text = said.reason if isinstance(said, FetchError) else said.decode("utf-8", "replace")
            self.take(ANSWER, conn, Answer(fetch.key, fetch.path, answer.status, text))

    async def ask(self, venue: VenueId, market: str, fetch: Fetch) -> RestAnswer:
        """One REST request in its turn; never raises for what a network can do. Within `requests` only.

        A closed market is not asked: why it is closed is the answer.
        """
        why = self.venues[venue].closed(market)
        if why:
            now = self.clock.stamp()
            return RestAnswer(0, b"", now, now, why)
        terms = self.venues[venue].terms(market)
        return await self._pool(terms).fetch(fetch, terms.rest)

    def _pool(self, terms: Terms) -> RestPool:
        found = self._pools.get(terms.pool)
        if found is None:
            assert self._web is not None
            found = self._pools[terms.pool] = RestPool(terms, self._web, self.clock.stamp, self.make_breaker())
        return found

    def _promoted(self, conn: str) -> None:
        link = self.links.get(conn.rpartition(".")[0])
        if link is not None:
            link.took_over(conn)

    # -- instruments and clocks --------------------------------------------------------------------------------------------

    async def _follow(self, venue: Venue, market: str) -> None:
        """List a market's instruments, watch the chosen ones, and look again each hour."""
        if (venue.id, market) in self.shut:
            self._no_list(venue, market, self.shut[venue.id, market])
            return
        failures = 0
        while True:
            try:
                found = await self._listed(venue, market)
            except (*DECODE_ERRORS, BadFrame, ArbtopError) as error:
                self._no_list(venue, market, clean_text(str(error), 160))
                wait_s = CATALOGUE_RETRY_S[min(failures, len(CATALOGUE_RETRY_S) - 1)]
                failures += 1
                await asyncio.sleep(wait_s * (0.5 + self._rng.random() / 2))
                continue
            failures = 0
            self.trouble.pop((venue.id, market), None)
            self.listed.add((venue.id, market))
            self.watch(venue, self._choose(found))
            await asyncio.sleep(CATALOGUE_AGAIN_S)

    async def _listed(self, venue: Venue, market: str) -> Sequence[Instrument]:
        """`catalogue`; while the host's breaker keeps it waiting, the user is told why."""
        asked = asyncio.create_task(self.catalogue(venue, market), name=f"catalogue {venue.id} {market}")
        terms = venue.terms(market)
        try:
            while not (await asyncio.wait({asked}, timeout=TELL_S))[0]:
                pool = self._pools[terms.pool].view(self.clock.stamp())
                if pool.breaker is not Breaker.CLOSED:
                    self._no_list(venue, market, f"{host_of(terms.rest)}: {pool.reason}")
            return asked.result()
        finally:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    def _no_list(self, venue: Venue, market: str, reason: str) -> None:
        if (venue.id, market) in self.listed:
            self.say(f"{venue.id} {market}: the list of instruments could not be fetched anew: {reason}")
            return
        if self.trouble.get((venue.id, market)) != reason:
            self.say(f"{venue.id} {market}: no instruments: {reason}")
        self.trouble[venue.id, market] = reason

    async def catalogue(self, venue: Venue, market: str) -> Sequence[Instrument]:
        """A market's instruments, every page of the list. Raises BadFrame, or a decode error, where it cannot be had."""
        answers: dict[str, bytes] = {}
        asked = [fetch for fetch in venue.catalogue() if fetch.market == market]
        for at, first in enumerate(asked):
            fetch: Fetch | None = first
            while fetch is not None:
                if fetch.key in answers:
                    raise BadFrame(f"{market}: the list of instruments goes round in circles")
                body = (await self.ask(venue.id, market, fetch)).outcome
                if isinstance(body, FetchError):
                    text = f"{host_of(venue.terms(market).rest)}: {body.reason}"
                    if at:  # what comes after the list only adds to it
                        self.say(f"{venue.id} {market}: {fetch.key}: {text}")
                        break
                    raise BadFrame(text)
                answers[fetch.key] = body
                fetch = venue.next_page(fetch.key, body)
        return venue.instruments(answers)

    def watch(self, venue: Venue, instruments: Sequence[Instrument]) -> None:
        """Take instruments in, and open what carries those of their streams that nothing carries yet."""
        known = self.hub.instruments
        instruments = [
            msgspec.structs.replace(each, funding_interval_s=known[each.id].funding_interval_s)
            if not each.funding_interval_s and each.id in known  # what a list leaves out this time is no new fact
            else each
            for each in instruments
        ]
        changed = [each for each in instruments if known.get(each.id) != each]
        if changed:
            self.take(INSTRUMENTS, NO_CONN, changed)
        wanted = [
            stream
            for instrument in instruments
            if not venue.closed(instrument.market)
            for channel in venue.channels(instrument)
            if (stream := Stream(instrument.id, channel)) not in self._streams
        ]
        for plan in venue.plan(wanted, self.hub.instruments):
            terms = venue.terms(plan.market)
            slot = self._slot(plan)
            self._streams.update(dict.fromkeys(plan.streams, slot))
            link = self.links[slot] = Link(
                slot,
                plan,
                terms,
                self,
                self.library,
                self._budgets.setdefault(host_of(plan.url), ConnectBudget(terms.connects_per_minute)),
                Backoff(self._rng),
                self._proxy,
                self.tls,
            )
            self._begin(link.run, f"link {slot}")

    def _slot(self, plan: Plan) -> str:
        name = f"{plan.venue}.{plan.market}"
        number = self._slots[name] = self._slots.get(name, 0) + 1
        return f"{name}.{number}"

    def _hosts(self, venue: Venue) -> list[str]:
        """One market of each REST host of a venue."""
        hosts: dict[str, str] = {}
        for market in self.markets[venue.id]:
            hosts.setdefault(venue.terms(market).rest, market)
        return list(hosts.values())

    async def _ask_time(self, venue: Venue, market: str) -> None:
        """Measure a host's clock once a minute, and tell it to every market on that host."""
        first = iter(FIRST_PROBES_S)
        rest = venue.terms(market).rest
        while True:
            await asyncio.sleep(next(first, PROBE_S))
            answer = await self.ask(venue.id, market, venue.clock(market))
            body = answer.outcome
            if isinstance(body, FetchError):
                continue
            try:
                server_ns = venue.server_ns(body)
            except (*DECODE_ERRORS, BadFrame):
                continue
            for each in self.markets[venue.id]:
                if venue.terms(each).rest == rest:
                    self.take(PROBE, NO_CONN, Probe(venue.id, each, answer.sent_ns, answer.received_ns, server_ns))

    # -- tasks -------------------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        """Call the boundaries at which nothing arrives."""
        ticker = self.hub.ticker
        while True:
            now = self.clock.stamp()
            if ticker.next_ns:
                self._advance(now)
            wait_ns = ticker.next_ns - self.clock.stamp() if ticker.next_ns else 20 * MS
            await asyncio.sleep(max(wait_ns, MS) / SECOND)

    def _begin(self, work: Callable[[], Awaitable[None]], name: str, again: bool = True) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guarded(work, name, again), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Callable[[], Awaitable[None]], name: str, again: bool) -> None:
        """A fault of ours ends one task, never the program: it is counted, told, and the task begun again."""
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - counted and told
                self.faults += 1
                self.say(f"{name}: {type(error).__name__}: {error}")
                if not again:
                    return
                await asyncio.sleep(AFTER_A_FAULT_S)
            else:
                return

    # -- how it stands -----------------------------------------------------------------------------------------------------

    def view(self) -> FeedsView:
        """Everything about the machinery, to be shown."""
        now = self.clock.stamp()
        recorder = self.recorder
        clocks = {}
        for place, offset in self.hub.health.offsets.items():
            estimate = offset.estimate()
            if estimate is not None:
                clocks[place] = ClockView(estimate[0] / MS, estimate[1] / MS)
        return FeedsView(
            now_ns=now,
            links=tuple(link.view(now) for link in self.links.values()),
            pools=tuple(pool.view(now) for pool in self._pools.values()),
            clocks=clocks,
            said=tuple(self.hub.health.said),
            recording=self._about(recorder) if recorder is not None else Recording(),
            wall_step_ms=self.clock.wall_step_ns() / MS,
            quarantined=self.hub.quarantined,
            ignored=self.hub.health.ignored,
        )
