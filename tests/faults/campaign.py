"""A campaign: faults by chance with a seed, each on a connection or server that it fits, several at once but never on one book.

Every request pool of every rig is a place with one fault at a time. What costs connects goes where the host's budget allows them
and, while there is a choice, to connections that have worked for a minute: the back-off of a link that is struck again and again
says nothing of how soon a reset is mended.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

from msgspec import Struct

from feeds.connection import Link
from feeds.errors import DECODE_ERRORS, ArbtopError
from feeds.model import SECOND, InstrumentId, LinkState, Ns, Stream, VenueId
from feeds.simulator.faults import FAULTS, Cure, Fault
from feeds.simulator.injection import Injection
from feeds.simulator.kit import Connection, VenueServer
from tests.faults.rig import GROUPS, WINDOW_S, Rig, until_well
from tui.watching import chosen

SETTLE_NS: Final[Ns] = 2 * SECOND
WATCHED_S: Final = 4.0
"""After a strike: the slowest rule that sees a wrong book needs two seconds of trades or of a quote, and a second to look."""
HIT_WITHIN_S: Final = 20.0
"""So long a fault waits for a message that it can work on."""
LOOK_S: Final = 0.1
TRIES: Final = 5
DISTURBED_MS: Final = 500.0
CALM_NS: Final[Ns] = SECOND
IMPATIENT_S: Final = 15.0
STUCK_S: Final = 150.0
RECOVERY_S: Final = 150.0
"""A spent budget costs a minute, an unanswered subscription a quarter of one."""
AWAY_NS: Final[Ns] = 300 * SECOND
"""Longer than a spent budget or a back-off keeps a link away."""
MOMENT = (2.0, 4.0)
RESETS: Final = frozenset({"close 1000", "close 1001", "close 1006", "reset", "all connections drop", "24 h cut"})
RIGS: Final = 6
"""Of each group of venues in a process: one takes about a fifteenth of a core."""
ASSETS: Final = ("SOL", "ETH", "SOL", "BTC")
POISON: Final = "REST 403"
"""It closes a pool for ten minutes: it is the last that can be done there."""
AT_THE_DOOR: Final = frozenset({"refused", "handshake 429", "handshake 418", "handshake 503", "accept then close"})
MUTE: Final = frozenset({"subscription refused", "never acknowledged", "acknowledged but silent", "delisting"})
SPOILT: Final = frozenset({"times in microseconds", "times missing", "times zero"})


class Job(Struct, frozen=True):
    """A fault to do, and its own source of chance."""

    fault: str
    seed: int
    tries: int = 0
    """How often it found nothing to hit."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one fault. Seconds; None: it never came to that."""

    fault: str
    place: str
    seed: int
    fresh: bool = True
    """The connections that it hit had worked for a minute."""
    cooled: bool = False
    """A host's connect budget was spent meanwhile."""
    provoked: bool = False
    """A book was fetched anew on purpose, so that the fault had something to hit."""
    hits: int = 0
    detected_s: float | None = None
    """From the strike until something that it hit was not shown as good any more."""
    recovered_s: float | None = None
    """From its end until all that it hit was good again; 0 where it was so before."""
    blank_s: float = 0.0
    """From the detection until then."""
    trouble: str = ""
    """What a client must not have done."""
    disturbed: bool = False
    """The machine was too busy meanwhile for its times to say anything."""


class RigReport(Struct, frozen=True, kw_only=True):
    """What a rig saw from its start to its end."""

    seed: int
    published: int
    whole: int
    unknown: int
    wrong_count: int
    wrong: list[str]
    fault_free_s: float
    synced_s: float
    most_connects: int
    unexplained: list[str]
    """Falls of books under no fault of theirs."""
    own_faults: int
    said: list[str]
    stuck: list[str]


class Report(Struct, frozen=True, kw_only=True):
    """A campaign, or a part of it that ran in a process of its own."""

    asked: int
    """Faults that were to be done."""
    outcomes: list[Outcome]
    rigs: list[RigReport]
    took_s: float
    cpu_s: float
    loop_late_ms: list[float]
    """How late the loop came to a task that asked ten times a second: what a busy machine adds to every figure."""


def jobs(seed: int, count: int, faults: Sequence[str] = tuple(FAULTS)) -> list[Job]:
    """Every fault as often as every other, give or take one, in an order by chance."""
    rng = Random(f"{seed}/campaign")
    found: list[Job] = []
    while len(found) < count:
        names = rng.sample(faults, len(faults))
        found.extend(Job(name, rng.getrandbits(32)) for name in names[: count - len(found)])
    return found


def fitting(servers: Iterable[VenueServer], faults: Sequence[str]) -> list[str]:
    """Those of some faults that one of these servers has what they need for."""
    features = [server.dialect.features | {"book"} for server in servers]
    return [name for name in faults if any(FAULTS[name].needs <= have for have in features)]


def connects(fault: Fault, links: int, lasts_s: float) -> int:
    """About how many connects it costs its host."""
    if fault.name in AT_THE_DOOR:
        return 4 * links
    if fault.name in MUTE:
        return links * (1 + int(lasts_s / 4))
    if fault.name in SPOILT:
        return 3 * links
    if fault.recovers_by in (Cure.RECONNECT, Cure.STAYS_AWAY):
        return links
    return 1 if fault.name in ("one topic muted", "slow bytes", "acknowledgement lost") else 0


def momentary(fault: Fault) -> bool:
    """Whether it has happened when it has struck: what lasts is then only the wait for something to strike."""
    return fault.lasts_s == MOMENT and fault.recovers_by in (Cure.RESYNC, Cure.RECONNECT, Cure.EITHER)


class Target(Struct, frozen=True):
    """Whom a job strikes."""

    server: VenueServer
    connection: Connection | None
    links: list[Link]
    streams: list[Stream]
    books: list[InstrumentId]


class Place:
    """One pool of one rig, where one fault stands at a time."""

    def __init__(self, rig: Rig, name: str, servers: Sequence[VenueServer]) -> None:
        self.rig = rig
        self.name = name
        self.servers = servers
        self.retired = False

    def target(self, job: Job, strict: bool) -> Target | None:
        """Whom the job may strike here now."""
        fault, rng, rig = FAULTS[job.fault], Random(job.seed), self.rig
        found: list[Target] = []
        for server in self.servers:
            connections = rig.strikable(server)
            if fault.target == "server":
                if fault.fits(server) and len(connections) == len(rig.links_at(server)):
                    links = rig.links_at(server)
                    found.append(Target(server, None, links, rig.streams_of(links), rig.books_on(server, connections)))
            else:
                for connection in connections:
                    links = rig.links_at(server, connection)
                    if fault.fits(server, connection) and links:
                        books = rig.books_on(server, [connection])
                        found.append(Target(server, connection, links, rig.streams_of(links), books))
        rng.shuffle(found)
        return next((one for one in found if self._may(fault, one, strict)), None)

    def _may(self, fault: Fault, target: Target, strict: bool) -> bool:
        rig = self.rig
        well = rig.well_since(target.streams)
        if well is None or rig.now - well < CALM_NS:
            return False
        cost = connects(fault, len(target.links), fault.lasts_s[1])
        if not cost:
            return True
        if strict and not all(map(rig.fresh, target.links)):
            return False
        return target.links[0].view(rig.now).connects_left >= min(cost + 1, 5 if strict else 4)


class Run:
    """One job on one target."""

    def __init__(self, place: Place, job: Job, target: Target, late_ms: Sequence[float]) -> None:
        self._late_ms = late_ms
        self.rig = place.rig
        self.place = place
        self.job = job
        self.fault = FAULTS[job.fault]
        self.target = target
        self.hidden = self.fault.hidden(target.server)
        self.cure = self.fault.cure(target.server)
        self.rng = Random(job.seed)
        self.hit_ns: Ns | None = None
        self.cooled = False
        self.provoked = False
        self.trouble = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def __call__(self) -> Outcome:
        rig, fault, target = self.rig, self.fault, self.target
        fresh = all(map(rig.fresh, target.links))
        looked = len(self._late_ms)
        connected = len(target.server.connects)
        lasts_s = self.rng.uniform(*fault.lasts_s)
        begin = rig.now
        rig.judge.under.update(dict.fromkeys(target.books, f"{fault.name}, seed {self.job.seed}"))
        if self.hidden:
            rig.judge.excused.update(target.books)
        injection = await fault.inject(target.connection or target.server, Random(self.job.seed))
        if injection.count:
            self.hit_ns = begin
        self._listen(injection)
        self._provoke()
        await self._stand(injection, lasts_s)
        if fault.recovers_by is Cure.STAYS_AWAY:
            self._look_closed(len(target.server.connects) - connected)
        if not target.server.dialect.numbered and self._disturbed(looked):
            self.hidden = True  # what stood still did not see the silence either, and without numbers nothing else tells
            rig.judge.excused.update(target.books)
        await injection.lift()
        lifted = rig.now
        if fault.recovers_by is Cure.STAYS_AWAY:
            lifted = await self._come_back(len(target.server.connects))
        strike = self.hit_ns if self.hit_ns is not None else begin
        base = strike if momentary(fault) else lifted
        await self._pause(max(0.0, WATCHED_S - (rig.now - strike) / SECOND))
        if self.hidden:
            await self._forget()
        self._provoke_again()
        well = await self._until_well(base)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        end = rig.now if well is None else max(well, base)
        for book in target.books:
            rig.hits.setdefault(book, []).append((begin, end))
        fell = rig.fell_at(target.streams, strike)
        self._judge_response(fell)
        return Outcome(
            fault=fault.name,
            place=f"rig {rig.seed} {target.server.name}{target.connection.path if target.connection else ''}",
            seed=self.job.seed,
            fresh=fresh,
            cooled=self.cooled,
            provoked=self.provoked,
            hits=injection.count,
            detected_s=None if fell is None else (fell - strike) / SECOND,
            recovered_s=None if well is None else max(0, well - base) / SECOND,
            blank_s=0.0 if fell is None or well is None else max(0, well - fell) / SECOND,
            trouble=self.trouble,
            disturbed=self._disturbed(looked),
        )

    def _disturbed(self, looked: int) -> bool:
        """Whether the loop has stood still since."""
        return max(self._late_ms[looked:], default=0.0) > DISTURBED_MS

    def _listen(self, injection: Injection) -> None:
        """Note when it first hits something."""
        usual = injection.hit

        def hit(what: str, connection: Connection | None = None) -> None:
            if self.hit_ns is None:
                self.hit_ns = self.rig.now
            usual(what, connection)

        injection.hit = hit  # type: ignore[method-assign]

    async def _stand(self, injection: Injection, lasts_s: float) -> None:
        begun = time.monotonic()
        while True:
            await self._pause(0.05)
            stood = time.monotonic() - begun
            if self.fault.recovers_by is Cure.STAYS_AWAY and stood < RECOVERY_S and not self._all_away():
                continue  # the back-off has not let everyone knock yet
            if stood >= lasts_s and (injection.count or stood >= HIT_WITHIN_S):
                return

    def _all_away(self) -> bool:
        return all(map(self._away, self.target.links))

    def _away(self, link: Link) -> bool:
        """Whether it knocks no more: for good, or where a venue lets in again, for minutes."""
        view = link.view(self.rig.now)
        return view.state is LinkState.CLOSED or view.next_ns - self.rig.now > AWAY_NS

    async def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            now = self.rig.now
            self.cooled |= any(link.view(now).state is LinkState.COOLING for link in self.target.links)
            left = until - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, 0.1))

    async def _until_well(self, base: Ns) -> Ns | None:
        waiting = asyncio.create_task(until_well(self.rig, self.target.streams, base, SETTLE_NS, RECOVERY_S))
        while not waiting.done():
            await self._pause(0.1)
        return waiting.result()

    def _provoke(self) -> None:
        """Give a fault in REST something to hit."""
        name, rig, target = self.fault.name, self.rig, self.target
        if name in ("delisting", "tick change"):
            self._tasks.append(asyncio.create_task(self._list_again()))
        elif name.startswith("REST"):
            if name != POISON and target.books and "rest book" in target.server.dialect.features and self.rng.random() < 0.5:
                self.provoked = True
                rig.live.resync(self.rng.choice(target.books))
            else:
                venue, market = rig.venues[target.links[0].plan.venue], target.links[0].plan.market
                self._tasks.append(asyncio.create_task(self._ask(venue.id, market)))

    def _provoke_again(self) -> None:
        if self.fault.name in ("delisting", "tick change"):
            self._tasks.append(asyncio.create_task(self._list_again()))

    async def _ask(self, venue: str, market: str) -> None:
        await self.rig.live.ask(venue, market, self.rig.venues[venue].clock(market))

    async def _list_again(self) -> None:
        """As the program does each hour."""
        rig = self.rig
        for link in self.target.links:
            venue = rig.venues[link.plan.venue]
            try:
                listed = await rig.live.catalogue(venue, link.plan.market)
            except (*DECODE_ERRORS, ArbtopError):
                continue
            rig.live.watch(venue, chosen(listed, rig.watch))

    async def _forget(self) -> None:
        """What nobody could notice is gone when the books are fetched anew."""
        for book in self.target.books:
            self.rig.live.resync(book)
        self.provoked = True
        await self._pause(0.2)

    def _look_closed(self, connects_made: int) -> None:
        states = {link.view(self.rig.now).state for link in self.target.links}
        if not self._all_away():
            self.trouble = f"refused for good and shown as {', '.join(sorted(states))}"
        elif connects_made > len(self.target.links):
            self.trouble = f"refused for good and tried again: {connects_made} connects"

    async def _come_back(self, connects_made: int) -> Ns:
        """Nobody knocks again until the user says so."""
        await self._pause(1.5)
        if len(self.target.server.connects) != connects_made:
            self.trouble = self.trouble or "came back by itself"
        for link in self.target.links:
            self.rig.live.reconnect(link.slot)
        return self.rig.now

    def _judge_response(self, fell: Ns | None) -> None:
        if self.hit_ns is None or self.trouble:
            return
        cure = self.cure
        if cure in (Cure.RESYNC, Cure.RECONNECT) and fell is None and self._must_be_seen():
            self.trouble = "not noticed"
        if cure is Cure.GOES_ON and fell is not None and not self.provoked:
            reasons = {status.reason for stream in self.target.streams if (status := self.rig.judge.status.get(stream))}
            self.trouble = f"fell though nothing was lost ({', '.join(sorted(filter(None, reasons)))})"

    def _must_be_seen(self) -> bool:
        """A renewal before a cut that was announced is seen by nobody, and that is right."""
        return self.fault.name != "shutdown notice"


class Campaign:
    """Rigs, the jobs that are left, and a worker for each place."""

    def __init__(
        self,
        rigs: Sequence[Rig],
        work: Callable[[Sequence[str]], Sequence[Job]],
        tell: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """`work`: the jobs, given the faults that can be done in these rigs."""
        self.rigs = rigs
        self.left: list[Job] = []
        self.last: list[Job] = []
        self.asked = 0
        self._plan = work
        self.outcomes: list[Outcome] = []
        self.stuck: list[str] = []
        self._busy = 0
        self._tell = tell
        self._late_ms: list[float] = []

    async def run(self) -> Report:
        begun, cpu = time.monotonic(), time.process_time()
        watch = asyncio.create_task(_watch_loop(self._late_ms))
        try:
            await asyncio.gather(*(rig.start() for rig in self.rigs))
            work = self._plan(fitting(self.rigs[0].servers.values(), tuple(FAULTS)))
            self.asked = len(work)
            self.left = sorted((job for job in work if job.fault != POISON), key=lambda job: -_weight(FAULTS[job.fault]))
            self.last = [job for job in work if job.fault == POISON]
            places = [Place(rig, *pool) for rig in self.rigs for pool in rig.pools().items()]
            await asyncio.gather(*map(self._work, places))
            reports = [self._report(rig) for rig in self.rigs]
        finally:
            watch.cancel()
            await asyncio.gather(*(rig.stop() for rig in self.rigs))
        return Report(
            asked=self.asked,
            outcomes=self.outcomes,
            rigs=reports,
            took_s=time.monotonic() - begun,
            cpu_s=time.process_time() - cpu,
            loop_late_ms=self._late_ms,
        )

    async def _work(self, place: Place) -> None:
        idle_since = time.monotonic()
        while self.left or (self.last and not place.retired) or self._busy:
            idle_s = time.monotonic() - idle_since
            found = self._next(place, idle_s < IMPATIENT_S)
            if found is None:
                if idle_s > STUCK_S and self._ill(place):
                    self.stuck.append(f"rig {place.rig.seed} {place.name}: {self._ill(place)}")
                    return
                await asyncio.sleep(0.2)
                continue
            job, target = found
            self._busy += 1
            try:
                outcome = await Run(place, job, target, self._late_ms)()
            finally:
                self._busy -= 1
            if outcome.hits:
                self.outcomes.append(outcome)
                self._tell(f"{len(self.outcomes)}")
            elif job.tries + 1 < TRIES:
                waiting = self.last if job.fault == POISON else self.left
                waiting.append(Job(job.fault, job.seed + 1, job.tries + 1))
            if job.fault == POISON:
                place.retired = True
                return
            idle_since = time.monotonic()

    def _next(self, place: Place, strict: bool) -> tuple[Job, Target] | None:
        for waiting in (self.left, [] if self.left else self.last):
            tried: set[str] = set()
            for at, job in enumerate(waiting):
                if job.fault in tried:
                    continue
                tried.add(job.fault)
                target = place.target(job, strict)
                if target is not None:
                    del waiting[at]
                    return job, target
        return None

    def _ill(self, place: Place) -> str:
        links = [link for server in place.servers for link in place.rig.links_at(server)]
        bad = [stream for stream in place.rig.streams_of(links) if not place.rig.judge.good(stream)]
        return ", ".join(f"{stream.instrument} {stream.channel} {place.rig.judge.status.get(stream)}" for stream in bad[:3])

    def _report(self, rig: Rig) -> RigReport:
        judge, free = rig.judge, rig.fault_free()
        return RigReport(
            seed=rig.seed,
            published=judge.published.total(),
            whole=judge.whole,
            unknown=judge.unknown,
            wrong_count=judge.wrong_count,
            wrong=judge.wrong,
            fault_free_s=free[0],
            synced_s=free[1],
            most_connects=rig.most_connects(WINDOW_S - max(self._late_ms, default=0.0) / 1e3),
            unexplained=rig.unexplained(),
            own_faults=rig.live.faults,
            said=[text for _, text in rig.live.hub.health.said if "Error" in text][-5:] if rig.live.faults else [],
            stuck=[line for line in self.stuck if line.startswith(f"rig {rig.seed} ")],
        )


async def _watch_loop(late_ms: list[float]) -> None:
    while True:
        asked = time.monotonic()
        await asyncio.sleep(LOOK_S)
        late_ms.append((time.monotonic() - asked - LOOK_S) * 1e3)


def _weight(fault: Fault) -> float:
    """About how long it takes, so that the longest begin first."""
    return fault.lasts_s[1] + (20.0 if fault.name in AT_THE_DOOR | MUTE else 0.0)


class Share(Struct, frozen=True):
    """What one group of venues gets of a campaign."""

    venues: tuple[VenueId, ...]
    count: int
    rigs: int


def shares(count: int, rigs: int, groups: Sequence[tuple[VenueId, ...]] = GROUPS) -> list[Share]:
    """A campaign of so many faults: half of them are the first group's, which has half of the places."""
    if len(groups) == 1:
        return [Share(groups[0], count, rigs)]
    each = count // (2 * (len(groups) - 1))
    return [
        Share(groups[0], count - each * (len(groups) - 1), max(1, rigs // 2)),
        *(Share(venues, each, max(1, rigs // 2)) for venues in groups[1:]),
    ]


def part_of(
    seed: int, work: Sequence[Share], part: int = 0, parts: int = 1, faults: tuple[str, ...] = tuple(FAULTS)
) -> list[Report]:
    """A part of a campaign, in this process: each `parts`-th of the faults of each group of venues. A report a group."""
    tell = _tell if sys.stderr.isatty() else lambda _text: None
    campaigns = []
    for share in work:
        numbers = [seed * 1_000 + part * share.rigs + number for number in range(share.rigs)]
        rigs = [Rig(number, (ASSETS[number % len(ASSETS)],), quick=number % 2 == 0, venues=share.venues) for number in numbers]

        def plan(known: Sequence[str], share: Share = share) -> Sequence[Job]:
            return jobs(seed, share.count, [name for name in known if name in faults])[part::parts]

        campaigns.append(Campaign(rigs, plan, tell))

    async def all_of_them() -> list[Report]:
        return await asyncio.gather(*(campaign.run() for campaign in campaigns))

    return asyncio.run(all_of_them())


def _tell(text: str) -> None:
    print(f"\r{text} ", end="", file=sys.stderr, flush=True)
