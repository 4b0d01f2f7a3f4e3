"""Every fault a venue or the network can do to a client, as data, and a schedule that does them by chance with a seed.

The matrix is reliability.md 3.1, as far as a venue can inject it; `damage.py`, `interference.py` and `outage.py` do the work.
A fault says which invariant (reliability.md 7) it threatens and what a correct client does about it. Some no client can notice in
one stream: those say why and what limits the harm, so that nobody counts them as a client's failure.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import Literal

from msgspec import Struct

from feeds.simulator import damage
from feeds.simulator.injection import Act, Injection, all_topics, books, listing_at
from feeds.simulator.interference import (
    close,
    crossed_for_a_moment,
    delta_before_snapshot,
    drip,
    half_open,
    mute_one,
    reset,
    restart_books,
    silence,
    split,
    spoil,
    swap,
    vanish,
    withhold_snapshots,
)
from feeds.simulator.kit import Connection, VenueServer
from feeds.simulator.outage import (
    accept_then_close,
    announce_and_cut,
    answers,
    as_error,
    as_it_was,
    change_tick,
    clock_off,
    delist,
    handshake,
    hang_snapshot,
    late_snapshot,
    nothing,
    refuse,
    rest_status,
    stale_snapshots,
)

BURST_TIMES = 20
STORM = 8
"""More bad messages than a connection forgives in a minute."""


class Cure(StrEnum):
    """What a correct client does, so that all is well again."""

    GOES_ON = "goes on"
    """Nothing is lost: it neither resyncs nor reconnects."""
    EITHER = "goes on or resyncs"
    """By content, or by how strict it is; both are right."""
    RESYNC = "resyncs"
    """The book must start over, by a new subscription, a new snapshot or a new connection."""
    RECONNECT = "reconnects"
    """This connection is of no use any more."""
    COMES_BACK = "comes back afterwards"
    """Nothing helps while the fault lasts; after it the client recovers by itself."""
    STAYS_AWAY = "stays away"
    """It must not try again until its user says so."""


class Fault(Struct, frozen=True, kw_only=True):
    """One kind of fault. `apply` does it; `lasts_s` is how long it stays before it is lifted, at least and at most."""

    name: str
    target: Literal["connection", "server"]
    apply: Act
    threatens: str
    """The invariant of reliability.md 7."""
    recovers_by: Cure
    needs: frozenset[str] = frozenset()
    """Features of the dialect; `book`: the connection carries one."""
    lasts_s: tuple[float, float] = (2.0, 4.0)
    undetectable: bool = False
    """No client can notice it in the one stream it happens in: not to be counted as a wrong book."""
    noticed_by: frozenset[str] = frozenset()
    """Features without which it is undetectable too, and `recovers_by` is what a client does that happens to notice."""
    reason: str = ""
    """Why it is undetectable."""
    mitigated_by: str = ""
    """Which guard limits the harm of an undetectable fault."""

    def fits(self, server: VenueServer, connection: Connection | None = None) -> bool:
        """Whether it can be done there."""
        if (self.target == "connection") != (connection is not None):
            return False
        have, carriers = server.dialect.features, [connection] if connection is not None else server.connections
        if any(books(server.dialect, topic) for each in carriers for topic in each.topics):
            have |= {"book"}
        if "window" in self.needs and connection is not None and not _windows_are_full(server, connection):
            return False
        return self.needs <= have

    def hidden(self, server: VenueServer) -> bool:
        """Whether no client can notice it there."""
        return self.undetectable or not self.noticed_by <= server.dialect.features

    def cure(self, server: VenueServer) -> Cure:
        """What a correct client does there."""
        return Cure.EITHER if self.hidden(server) and not self.undetectable else self.recovers_by

    async def inject(self, target: VenueServer | Connection, rng: Random) -> Injection:
        """Begin. What is returned tells what was hit, and lifts the fault again.

        Raises ValueError where the target is not of the kind this fault needs.
        """
        server, connection = (target.server, target) if isinstance(target, Connection) else (target, None)
        if not self.fits(server, connection):
            raise ValueError(f"{self.name} needs a {self.target} with {', '.join(sorted(self.needs)) or 'nothing else'}")
        injection = Injection(server, connection, rng)
        done = self.apply(injection)
        if done is not None:
            await done
        return injection


def _windows_are_full(server: VenueServer, connection: Connection) -> bool:
    """Whether something can lie beyond the depth of each book there; else it would be a level like any other, and a lie."""
    topics = [topic for topic in connection.topics if books(server.dialect, topic)]
    listings = [listing for topic in topics if (listing := listing_at(server, connection, topic)) is not None]
    return all(len(server.world.books[listing.key].bids) >= server.dialect.window for listing in listings)


_BOOK = frozenset({"book"})


def _wire(name: str, act: Act, threatens: str, cure: Cure, **more: object) -> Fault:
    return Fault(name=name, target="connection", apply=act, threatens=threatens, recovers_by=cure, **more)  # type: ignore[arg-type]


def _message(name: str, harm: damage.Damage, threatens: str, cure: Cure, **more: object) -> Fault:
    """One message of a book is damaged."""
    return _wire(name, spoil(harm), threatens, cure, **{"needs": _BOOK, **more})


def _server(name: str, act: Act, threatens: str, cure: Cure, **more: object) -> Fault:
    return Fault(name=name, target="server", apply=act, threatens=threatens, recovers_by=cure, **more)  # type: ignore[arg-type]


_UNNUMBERED: Mapping[str, object] = {
    "noticed_by": frozenset({"numbered"}),
    "reason": "without numbers a message that is missing, or in the wrong place, is only noticed where it made or took a level",
    "mitigated_by": "an id unheard of, a crossing, trades through the book and a best quote that stands apart from it",
}
_READ_ON: Mapping[str, object] = {
    "noticed_by": frozenset({"numbered"}),
    "reason": "the quick library reads on for a moment after a frame that it refuses; without numbers what follows looks whole",
    "mitigated_by": "the connection is given up at once, and a new one begins with whole books",
}
_LINK = (
    _wire("close 1000", close(1000), "I5", Cure.RECONNECT),
    _wire("close 1001", close(1001, "going away"), "I5", Cure.RECONNECT),
    _wire("close 1006", vanish, "I5", Cure.RECONNECT),
    _wire("close 1012", close(1012, "service restart \x1b[31m"), "I5", Cure.RECONNECT),
    _wire("reset", reset, "I5", Cure.RECONNECT),
    _wire("half-open", half_open, "I6", Cure.RECONNECT, lasts_s=(7.0, 12.0)),
    _wire("pong but no data", silence, "I6", Cure.RECONNECT, lasts_s=(7.0, 12.0)),
    _wire("one topic muted", mute_one, "I6", Cure.EITHER, lasts_s=(8.0, 15.0), **_UNNUMBERED),
    _wire("three-byte writes", split(3), "I5", Cure.GOES_ON),
    _wire("slow bytes", drip(4_000.0, 30_000.0), "I7", Cure.EITHER, lasts_s=(3.0, 6.0)),
    _wire("burst", spoil(damage.burst(BURST_TIMES), all_topics, 0), "I10", Cure.GOES_ON, lasts_s=(5.0, 30.0)),
    _server("all connections drop", reset, "I10", Cure.RECONNECT),
    _server("24 h cut", close(1001), "I5", Cure.RECONNECT),
    _server("shutdown notice", announce_and_cut(3.0), "I5", Cure.RECONNECT, needs=frozenset({"notice"}), lasts_s=(4.0, 5.0)),
)
_ENTRY = (
    _server("refused", refuse, "I10", Cure.COMES_BACK),
    _server("handshake 429", handshake(429, True), "I10", Cure.COMES_BACK),
    _server("handshake 418", handshake(418, True), "I10", Cure.COMES_BACK),
    _server("handshake 403", handshake(403), "I10", Cure.STAYS_AWAY),
    _server("handshake 451", handshake(451), "I10", Cure.STAYS_AWAY),
    _server("handshake 503", handshake(503), "I10", Cure.COMES_BACK),
    _server("accept then close", accept_then_close, "I10", Cure.COMES_BACK, lasts_s=(4.0, 10.0)),
    _server("subscription refused", answers(as_error, data=False), "I5", Cure.COMES_BACK, lasts_s=(6.0, 10.0)),
    _server("never acknowledged", answers(nothing, data=False), "I5", Cure.COMES_BACK, lasts_s=(6.0, 10.0)),
    _server("acknowledged but silent", answers(as_it_was, data=False), "I5", Cure.COMES_BACK, lasts_s=(6.0, 20.0)),
    _server("acknowledgement lost", answers(nothing, data=True), "I5", Cure.EITHER, lasts_s=(6.0, 10.0)),
)
_ORDER = (
    _message("gap", damage.lost, "I3", Cure.RESYNC, **_UNNUMBERED),
    _message("duplicate", damage.twice, "I3", Cure.EITHER),
    _message("overlap", damage.overlapping, "I3", Cure.EITHER, needs=frozenset({"book", "ranged ids"})),
    _wire("reorder", swap, "I3", Cure.RESYNC, needs=_BOOK, **_UNNUMBERED),
    _message("regress", damage.old_again, "I3", Cure.EITHER, **_UNNUMBERED),
    _wire(
        "delta before snapshot",
        delta_before_snapshot,
        "I5",
        Cure.RESYNC,
        needs=frozenset({"book", "in-band snapshot"}),
        lasts_s=(4.0, 6.0),
    ),
    _wire("second snapshot", restart_books, "I3", Cure.EITHER, needs=frozenset({"book", "restart"})),
)
_SNAPSHOT_NEEDS = frozenset({"book", "rest book"})
_SNAPSHOT = (
    _server("snapshot 500", rest_status(500, True, 3), "I5", Cure.RESYNC, needs=_SNAPSHOT_NEEDS, lasts_s=(6.0, 10.0)),
    _server("snapshot never answered", hang_snapshot, "I5", Cure.RESYNC, needs=_SNAPSHOT_NEEDS, lasts_s=(6.0, 12.0)),
    _server("snapshot too old", stale_snapshots(1), "I3", Cure.RESYNC, needs=_SNAPSHOT_NEEDS, lasts_s=(6.0, 10.0)),
    _server("snapshot too old five times", stale_snapshots(5), "I3", Cure.RESYNC, needs=_SNAPSHOT_NEEDS, lasts_s=(10.0, 15.0)),
    _server("snapshot of the connection before", late_snapshot, "I4", Cure.RECONNECT, needs=_SNAPSHOT_NEEDS, lasts_s=(4.0, 6.0)),
)
_NUMBERS = (
    _message("crossed", damage.crossed, "I1", Cure.RESYNC),
    _wire("crossed for a moment", crossed_for_a_moment(3), "I1", Cure.EITHER, needs=_BOOK),
    _wire("locked for a moment", crossed_for_a_moment(0), "I1", Cure.EITHER, needs=_BOOK),
    _message("negative price", damage.one_of(damage.number('"-1"', "price"), damage.number("-1", "price")), "I2", Cure.RESYNC),
    _message("negative size", damage.one_of(damage.number('"-0.5"', "size"), damage.number("-0.5", "size")), "I2", Cure.RESYNC),
    _message("zero price", damage.one_of(damage.number('"0"', "price"), damage.number('"0.00"', "price")), "I2", Cure.RESYNC),
    _message(
        "NaN",
        damage.one_of(*(damage.number(text, at) for text in ('"NaN"', "NaN") for at in ("price", "size"))),
        "I2",
        Cure.RESYNC,
    ),
    _message(
        "infinity",
        damage.one_of(*(damage.number(text, at) for text in ('"inf"', "Infinity", '"-Infinity"') for at in ("price", "size"))),
        "I2",
        Cure.RESYNC,
    ),
    _message(
        "1e400",
        damage.one_of(*(damage.number(text, at) for text in ('"1e400"', "1e400") for at in ("price", "size"))),
        "I2",
        Cure.RESYNC,
    ),
    _message("bids ten times as high", damage.tenfold(0), "I1", Cure.RESYNC),
    _message("level beyond the depth", damage.beyond_depth, "I2", Cure.EITHER, needs=frozenset({"book", "window"})),
    _message(
        "asks ten times as high",
        damage.tenfold(1),
        "I2",
        Cure.GOES_ON,
        undetectable=True,
        reason="asks that are far away, and old ones that should have changed, neither cross the book nor break its sequence",
        mitigated_by="a best quote lies over the touch; a walk fills before it gets there; a renewed book forgets it",
    ),
    _message(
        "wrong size",
        damage.wrong_size,
        "I2",
        Cure.GOES_ON,
        undetectable=True,
        reason="a plausible size with whole ids is what a true message looks like",
        mitigated_by="at the touch a best quote lies over it; deeper, the next change of the level or a renewed book",
    ),
    _message(
        "level lost",
        damage.level_lost,
        "I2",
        Cure.GOES_ON,
        undetectable=True,
        reason="the ids of the message are whole, and there is no checksum",
        mitigated_by="trades outside the touch for 2 s; a crossing when the market moves through the level; a renewed book",
    ),
)
_TEXT = (
    _message("malformed JSON", damage.torn, "I5", Cure.RESYNC),
    _wire("malformed JSON, again and again", spoil(damage.torn, all_topics, STORM), "I5", Cure.RECONNECT),
    _message("wrong type", damage.wrong_type, "I2", Cure.EITHER),
    _message("field missing", damage.field_lost, "I2", Cure.EITHER),
    _message("more fields", damage.more_fields, "I2", Cure.GOES_ON),
    _message("empty", damage.empty, "I5", Cure.RESYNC),
    _message("deep nesting", damage.nested, "I10", Cure.RESYNC),
    _message("byte order mark", damage.byte_order_mark, "I2", Cure.EITHER),
    _message("bad UTF-8", damage.bad_utf8, "I2", Cure.EITHER),
    _message("binary frame", damage.binary, "I2", Cure.EITHER),
    _message("20 MiB message", damage.huge, "I10", Cure.RECONNECT, **_READ_ON),
    _message("deflate bomb", damage.deflate_bomb, "I10", Cure.RECONNECT, **_READ_ON),
)
_REST = (
    _server("REST 429", rest_status(429, retry_after=True, text='{"code":-1003,"msg":"Too many requests"}'), "I10", Cure.GOES_ON),
    _server("REST 418", rest_status(418, retry_after=True, text='{"code":-1003,"msg":"banned"}'), "I10", Cure.GOES_ON),
    _server("REST 403", rest_status(403, text="access too frequent"), "I10", Cure.GOES_ON),
    _server("REST 500", rest_status(500), "I10", Cure.GOES_ON),
)
_STATE = (
    _server("clock wrong", clock_off(5.0, 40.0), "I13", Cure.GOES_ON, lasts_s=(5.0, 10.0)),
    _wire(
        "times in microseconds",
        spoil(damage.in_microseconds, all_topics, 0),
        "I13",
        Cure.COMES_BACK,
        needs=frozenset({"ms times"}),
    ),
    _wire("times missing", spoil(damage.without_time, all_topics, 0), "I13", Cure.COMES_BACK),
    _wire("times zero", spoil(damage.time_zero, all_topics, 0), "I13", Cure.COMES_BACK),
    _server("delisting", delist, "I7", Cure.COMES_BACK, lasts_s=(5.0, 10.0), **_UNNUMBERED),
    _server("tick change", change_tick, "I2", Cure.GOES_ON, lasts_s=(5.0, 10.0)),
)
_BEGINNING = (
    _message("unknown id", damage.unknown_id, "I3", Cure.RESYNC, needs=frozenset({"book", "ids"})),
    _wire(
        "no snapshot in band",
        withhold_snapshots,
        "I3",
        Cure.RESYNC,
        needs=frozenset({"book", "in-band snapshot", "rest fallback"}),
        lasts_s=(14.0, 18.0),
    ),
)

FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for group in (_LINK, _ENTRY, _ORDER, _SNAPSHOT, _NUMBERS, _TEXT, _REST, _STATE, _BEGINNING)
    for fault in group
}
FOR_DEMO: Sequence[Fault] = tuple(fault for fault in FAULTS.values() if fault.recovers_by is not Cure.STAYS_AWAY)
"""Those a dashboard can be watched to recover from."""


class Planned(Struct, frozen=True):
    """A fault to come. `pick` in [0, 1) says which of the connections there are then; `seed` is its own source of chance."""

    at_s: float
    fault: Fault
    server: str
    pick: float
    lasts_s: float
    seed: int


class Schedule:
    """Faults by chance, forever: about one each `every_s` seconds, among `servers` by their names."""

    def __init__(
        self,
        seed: int,
        servers: Mapping[str, VenueServer],
        *,
        every_s: float = 10.0,
        first_s: float = 15.0,
        faults: Sequence[Fault] = FOR_DEMO,
    ) -> None:
        """`first_s`: when the first may come. Raises ValueError where no fault fits any server."""
        self.seed = seed
        self.servers = tuple(servers)
        self.every_s = every_s
        self.first_s = first_s
        self.choices = {
            name: [fault for fault in faults if fault.needs - {"book"} <= server.dialect.features]
            for name, server in servers.items()
        }
        if not any(self.choices.values()):
            raise ValueError("no fault fits these servers")

    def __iter__(self) -> Iterator[Planned]:
        rng = Random(f"{self.seed}/faults")
        at_s = self.first_s
        while True:
            name = rng.choice(self.servers)
            if self.choices[name]:
                fault = rng.choice(self.choices[name])
                yield Planned(at_s, fault, name, rng.random(), rng.uniform(*fault.lasts_s), rng.getrandbits(32))
                at_s += 1.0 + rng.expovariate(1 / max(self.every_s - 1.0, 1e-9))


async def strike(planned: Planned, servers: Mapping[str, VenueServer]) -> Injection | None:
    """Do a planned fault now. None where nothing is there that it could be done to."""
    server = servers[planned.server]
    rng = Random(planned.seed)
    if planned.fault.target == "server":
        return await planned.fault.inject(server, rng) if planned.fault.fits(server) else None
    targets = [connection for connection in server.connections if planned.fault.fits(server, connection)]
    return await planned.fault.inject(targets[int(planned.pick * len(targets))], rng) if targets else None


async def play(
    schedule: Schedule,
    servers: Mapping[str, VenueServer],
    tell: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Do what a schedule plans until cancelled; all that still stands is lifted then."""
    standing: dict[asyncio.Task[None], Injection] = {}

    async def later(injection: Injection, after_s: float) -> None:
        await sleep(after_s)
        await injection.lift()

    now_s = 0.0
    try:
        for planned in schedule:
            await sleep(planned.at_s - now_s)
            now_s = planned.at_s
            injection = await strike(planned, servers)
            if injection is None:
                continue
            tell(f"{planned.at_s:.1f} s: {planned.fault.name} on {planned.server} for {planned.lasts_s:.1f} s")
            task = asyncio.create_task(later(injection, planned.lasts_s))
            standing[task] = injection
            task.add_done_callback(lambda done: standing.pop(done, None))
    finally:
        left = dict(standing)
        for task, injection in left.items():
            task.cancel()
            await injection.lift()
        await asyncio.gather(*left, return_exceptions=True)
