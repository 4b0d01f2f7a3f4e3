"""All connections, and the one path every record takes: decode, book, listener (DESIGN 1).

The hub is sans-I/O like the sessions it holds. A live driver and a replay hand it the same records; what a session asks for in
return goes to `perform`, which a replay leaves empty. Decode errors are caught here, once: a bad frame is quarantined and
counted, and after five in a minute the session is given up.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct, structs

from feeds.clock import BOUNDARY_NS, LONGEST_STALL_NS, NEVER, Ticker
from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.health import HealthBoard, Probe
from feeds.model import SECOND, Instrument, InstrumentId, Ns, Stream, VenueId
from feeds.recording import ENDED, Answer, Closed, Opened, Record, UserAct
from feeds.text import clean_text
from feeds.venue import Action, Checkpoint, Drop, FetchError, Listener, NoListener, Plan, Session, Venue
from feeds.venues import tardis

QUARANTINE_KEPT = 50
BAD_PER_MINUTE = 5

_instruments = msgspec.json.Decoder(list[Instrument]).decode
_opened = msgspec.json.Decoder(Opened).decode
_closed = msgspec.json.Decoder(Closed).decode
_answer = msgspec.json.Decoder(Answer).decode
_probe = msgspec.json.Decoder(Probe).decode
_checkpoint = msgspec.json.Decoder(Checkpoint).decode
_user_act = msgspec.json.Decoder(UserAct).decode


class Quarantined(Struct, frozen=True):
    """A frame that was refused: when, where, why, and its first bytes, already clean."""

    at_ns: Ns
    conn: str
    reason: str
    text: str


class Connection:
    """One open connection: its session, and how often it has sent nonsense."""

    __slots__ = ("_perform", "bad_ns", "frames", "gone", "name", "plan", "session")

    def __init__(self, name: str, plan: Plan, session: Session, perform: Callable[[str, Sequence[Action]], object]) -> None:
        self.name = name
        self.plan = plan
        self.session = session
        self.frames = 0
        self.bad_ns: deque[Ns] = deque(maxlen=BAD_PER_MINUTE)
        self.gone = False
        self._perform = perform

    @property
    def deadline(self) -> Ns:
        return NEVER if self.gone else self.session.deadline

    def wake(self, now: Ns) -> None:
        actions = self.session.wake(now)
        if actions:
            self._perform(self.name, actions)


class Hub:
    """Owns connections, instruments and health; drives the listener."""

    def __init__(
        self,
        venues: Mapping[VenueId, Venue],
        listener: Listener,
        perform: Callable[[str, Sequence[Action]], object] = lambda _conn, _actions: None,
    ) -> None:
        self.venues = venues
        self.listener = listener
        self.perform = perform
        self.health = HealthBoard()
        self.instruments: dict[InstrumentId, Instrument] = {}
        self.connections: dict[str, Connection] = {}
        self._speaks: dict[Stream, str] = {}
        """Stream → the one connection whose session the listener hears of it."""
        self._coming: dict[str, Connection] = {}
        """Connections under way: what they carry is still told by older ones."""
        self.promoted: Callable[[str], object] = lambda _conn: None
        """Hears of a connection that has taken over from all older ones."""
        self.quarantine: deque[Quarantined] = deque(maxlen=QUARANTINE_KEPT)
        self.quarantined = 0
        self.frames = 0
        self.quiet = False
        """The grid does not reach the listener: books are brought up to a moment from which on things are judged."""
        self.ticker = Ticker(self.on_time, self._connections)
        self._acts: Mapping[str, Callable[[str, bytes, Ns], None]] = {
            "t": self.frame,
            "h": self._on_answer,
            "o": self._on_open,
            "c": self._on_close,
            "i": self._on_instruments,
            "k": self._on_probe,
            "s": self._on_checkpoint,
            "u": self._on_user,
        }

    def handle(self, record: Record) -> None:
        """One record of a recording: the boundaries before it, then what it says. An unknown kind does nothing."""
        now, kind, conn, payload = record
        self.ticker.advance(now)
        act = self._acts.get(kind)
        if act is not None:
            act(conn, payload, now)

    def on_time(self, now: Ns) -> None:
        """A 100 ms boundary."""
        self.health.on_time(now)
        if self.quiet:
            return
        if now % SECOND < BOUNDARY_NS:
            for stream in self.health.streams:
                self.listener.on_health(stream, self.health.report(stream, now), now)
        self.listener.on_time(now)

    def watch(self, instruments: Iterable[Instrument], now: Ns) -> None:
        """Take instruments in, or their changed facts."""
        for instrument in instruments:
            if self.instruments.get(instrument.id) != instrument:
                self.instruments[instrument.id] = instrument
                self.listener.on_instrument(instrument, now)

    def begin(self) -> None:
        """From here on the grid reaches the listener, and frames count."""
        self.quiet = False
        self.frames = self.quarantined = 0
        self.quarantine.clear()
        self.health.begin()

    def open(self, conn: str, plan: Plan, now: Ns) -> None:
        """A connection is up. An open one of the same name is closed first.

        While another carries some of its streams it is under way: nobody hears it until its books are whole. Then it takes over,
        so there is no moment without a book, and the older one can write into nothing any more.
        """
        if conn in self.connections:
            self.close(conn, "reopened", now)
        coming = any(stream in self._speaks for stream in plan.streams)
        heard = (NoListener(), HealthBoard()) if coming else (self.listener, self.health)
        begin = tardis.session if tardis.spoken_at(plan.url) else self.venues[plan.venue].session
        connection = Connection(conn, plan, begin(plan, self.instruments, *heard), self.perform)
        self.connections[conn] = connection
        if coming:
            self._coming[conn] = connection
        else:
            self._speaks.update(dict.fromkeys(plan.streams, conn))
        self._do(conn, connection.session.opened(now))

    def frame(self, conn: str, data: bytes, now: Ns) -> None:
        """One websocket message of a connection; of one that is not open it is dropped and counted."""
        connection = self.connections.get(conn)
        self.frames += 1
        if connection is None:
            self.health.ignored += 1
            return
        connection.frames += 1
        try:
            actions = connection.session.frame(data, now)
        except (*DECODE_ERRORS, BadFrame) as error:
            actions = self._refuse(connection, data, error, now)
        if actions:
            self.perform(conn, actions)
        if self._coming and conn in self._coming:
            self._look(connection, now)

    def answer(self, conn: str, key: str, body: bytes | FetchError, now: Ns) -> None:
        """A REST answer for the session that asked."""
        connection = self.connections.get(conn)
        if connection is None:
            return
        try:
            self._do(conn, connection.session.answer(key, body, now))
        except (*DECODE_ERRORS, BadFrame) as error:
            self._keep(conn, body if isinstance(body, bytes) else b"", error, now)
        if conn in self._coming:
            self._look(connection, now)

    def close(self, conn: str, reason: str, now: Ns, final: bool = False) -> None:
        """The connection is gone: lost, or (`final`) given up on purpose."""
        connection = self.connections.pop(conn, None)
        if connection is None:
            return
        coming = self._coming.pop(conn, None)
        connection.session.closed(clean_text(reason), now, final)
        for stream in connection.plan.streams:
            if self._speaks.get(stream) == conn:
                del self._speaks[stream]
        if coming is None:
            for heir in [one for one in self._coming.values() if not self._older(one)]:
                self._promote(heir, now)

    def head(self) -> Iterable[tuple[str, str, bytes]]:
        """What restates the present in a few lines, for the head of a recording's segment: (kind, conn, payload)."""
        yield "i", "-", msgspec.json.encode(list(self.instruments.values()))
        for name, connection in self.connections.items():
            plan = connection.plan
            streams = [(stream.instrument, str(stream.channel)) for stream in plan.streams]
            yield "o", name, msgspec.json.encode(Opened(plan.venue, plan.market, plan.url, streams))
        for name, connection in self.connections.items():
            for checkpoint in connection.session.checkpoints():
                yield "s", name, msgspec.json.encode(checkpoint)

    def _look(self, connection: Connection, now: Ns) -> None:
        """A connection under way takes over as soon as it can, but not where a book would be lost by it."""
        mine = connection.session.books
        lost = any(
            book.published and not (name in mine and mine[name].published)
            for older in self._older(connection)
            for name, book in older.session.books.items()
        )
        if connection.session.ready and not lost:
            self._promote(connection, now)

    def _promote(self, connection: Connection, now: Ns) -> None:
        streams = connection.plan.streams
        replaced = []
        for older in self._older(connection):
            left = tuple(stream for stream in older.plan.streams if stream not in streams)
            if not left:
                replaced.append(older)
                continue
            shared = [stream for stream in older.plan.streams if stream in streams]
            older.plan = structs.replace(older.plan, streams=left)  # recorders open connections as they like; ours carry the same
            self._do(older.name, older.session.want((), shared, now))
        del self._coming[connection.name]
        self._speaks.update(dict.fromkeys(streams, connection.name))
        connection.session.promote(self.listener, self.health, now)
        for older in replaced:
            older.gone = True
            older.session.retire()
        self.promoted(connection.name)

    def _older(self, connection: Connection) -> list[Connection]:
        """The connections that tell what this one carries, in the order in which they were opened."""
        names = {self._speaks[stream]: None for stream in connection.plan.streams if stream in self._speaks}
        return [self.connections[name] for name in names if name != connection.name]

    def _connections(self) -> list[Connection]:
        return list(self.connections.values())

    def _do(self, conn: str, actions: Sequence[Action]) -> None:
        if actions:
            self.perform(conn, actions)

    def _refuse(self, connection: Connection, data: bytes, error: Exception, now: Ns) -> Sequence[Action]:
        self._keep(connection.name, data, error, now)
        actions = list(connection.session.refused(data, now))
        bad = connection.bad_ns
        bad.append(now)
        if len(bad) == BAD_PER_MINUTE and now - bad[0] <= 60 * SECOND:
            bad.clear()
            actions.append(Drop(f"{BAD_PER_MINUTE} bad frames in a minute", 0))
        return actions

    def _keep(self, conn: str, data: bytes, error: Exception, now: Ns) -> None:
        self.quarantined += 1
        reason = clean_text(str(error) or type(error).__name__, 120)
        self.quarantine.append(Quarantined(now, conn, reason, clean_text(data, 160)))

    def _on_open(self, conn: str, payload: bytes, now: Ns) -> None:
        plan = _opened(payload).plan()
        known = tuple(stream for stream in plan.streams if self._runs_on(stream, plan))
        if plan.streams and not known:
            self.health.say(f"connection {clean_text(conn)} is left out: nothing of {_where(plan)} is known here", now)
            return
        if len(known) < len(plan.streams):
            missing = clean_text(next(stream.instrument for stream in plan.streams if stream not in known))
            self.health.say(f"connection {clean_text(conn)}: no instrument {missing} is known for {_where(plan)}", now)
        self.open(conn, structs.replace(plan, streams=known), now)

    def _runs_on(self, stream: Stream, plan: Plan) -> bool:
        instrument = self.instruments.get(stream.instrument)
        if instrument is None or plan.venue not in self.venues:
            return False
        return (instrument.venue, instrument.market) == (plan.venue, plan.market)

    def _on_close(self, conn: str, payload: bytes, now: Ns) -> None:
        closed = _closed(payload)
        self.close(conn, closed.reason or "closed", now, closed.code == ENDED)

    def _on_answer(self, conn: str, payload: bytes, now: Ns) -> None:
        answer = _answer(payload)
        body = answer.body.encode()
        good = 200 <= answer.status < 300
        self.answer(conn, answer.key, body if good else FetchError(answer.status, clean_text(body)), now)

    def _on_instruments(self, conn: str, payload: bytes, now: Ns) -> None:
        self.watch(_instruments(payload), now)

    def _on_probe(self, conn: str, payload: bytes, now: Ns) -> None:
        self.health.probe(_probe(payload))

    def _on_checkpoint(self, conn: str, payload: bytes, now: Ns) -> None:
        connection = self.connections.get(conn)
        if connection is not None:
            connection.session.restore(_checkpoint(payload), now)
            if conn in self._coming:
                self._look(connection, now)

    def _on_user(self, conn: str, payload: bytes, now: Ns) -> None:
        act = _user_act(payload)
        if act.act == "resync":
            for connection in self._connections():
                self._do(connection.name, connection.session.renew_book(act.instrument, now))
        elif act.act == "stall":
            until = min(max(act.until_ns, now), now + LONGEST_STALL_NS)
            self.health.say(f"this program stood still for {(until - now) / SECOND:.1f} s", until)
            for connection in self._connections():
                connection.session.stood_still(now, until)


def _where(plan: Plan) -> str:
    return clean_text(f"{plan.venue} {plan.market}")
