"""One wanted connection, kept up: dialled, read, lost, dialled again, and renewed before the venue cuts it (reliability 3.0).

A `Link` lives as long as its streams are wanted; each websocket it opens is a `Wire` with a name of its own, so that what belongs
to an old one has nowhere to arrive. What to say and when to give up is the session's to decide; this file only does it. It uses
no reconnect iterator: an accepted and at once closed handshake would reset its back-off (1,718 connects a second, measured).
"""

import asyncio
import ssl
from collections import deque
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

from aiolimiter import AsyncLimiter

from feeds.budget import Backoff, ConnectBudget, retry_after_ns
from feeds.errors import InputError
from feeds.links import LinkView
from feeds.model import MS, SECOND, LinkState, Ns
from feeds.recording import ENDED, LOST
from feeds.text import clean_text
from feeds.venue import Plan, Terms
from feeds.wire import Library, Socket, dial, hang_up, host_of, say_goodbye

RAW_KEPT: Final = 5
RAW_CHARACTERS: Final = 160
RAW_BYTES: Final = 4 * RAW_CHARACTERS
SLICE_FRAMES: Final = 32
"""Messages handled before the loop gets its turn: a burst is read without a pause otherwise."""
TAKEOVER_NS: Final[Ns] = 60 * SECOND
"""A renewal whose books are not whole by then is given up and tried again."""
RENEW_AGAIN_NS: Final[Ns] = 60 * SECOND
POLICY_NS: Final[Ns] = 300 * SECOND
"""Wait after a close 1008: the venue says that we did something we must not."""
MAINTENANCE_NS: Final[Ns] = 5 * SECOND
POLICY, RESTART = 1008, 1012
FORBIDDEN: Final = {
    403: "refused with 403: this address or region is blocked by the venue; try another network",
    451: "refused with 451: the venue does not serve this region",
}
TOO_MANY_OR_BLOCKED: Final = "refused with 403: too many connects, or this address or region is blocked; try another network"


class Ended(NamedTuple):
    """How a connection, or an attempt at one, ended."""

    code: int
    reason: str
    wait_ns: Ns = 0
    """At least this long before the next attempt."""
    state: LinkState = LinkState.DOWN
    fatal: bool = False
    """Not tried again until the user says so."""


class Driver(Protocol):
    """What a link tells, in the order in which it happens (`feeds.live.Live`)."""

    def stamp(self) -> Ns: ...
    def opened(self, conn: str, plan: Plan) -> None: ...
    def frame(self, conn: str, data: bytes) -> None: ...
    def closed(self, conn: str, code: int, reason: str) -> None: ...
    def link_state(self, conn: str) -> LinkState:
        """Of the session of an open connection."""


class Wire:
    """One websocket from its opening to its end."""

    def __init__(self, conn: str, plan: Plan, socket: Socket, terms: Terms, driver: Driver, chosen: Library) -> None:
        self.conn = conn
        self.plan = plan
        self.frames = 0
        self.bytes = 0
        self.last_ns: Ns = 0
        self.opened_ns = driver.stamp()
        self.raw: deque[tuple[Ns, str, bytes | str]] = deque(maxlen=RAW_KEPT)
        self._socket = socket
        self._driver = driver
        self._chosen = chosen
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._limiter = AsyncLimiter(1.0, 1.0 / terms.sends_per_s)  # spaced: a bucket allows twice the rate at first
        self._given_up: Ended | None = None
        self._reader: asyncio.Task[None] | None = None

    def send(self, text: str) -> None:
        """Send when the venue's message budget allows."""
        self._outbox.put_nowait(text)

    def give_up(self, ended: Ended) -> None:
        """End it from our side. Nothing that arrives later is read."""
        if self._given_up is None:
            self._given_up = ended
            if self._reader is not None:
                self._reader.cancel()

    async def serve(self) -> Ended:
        """Read until it ends; the opening and the end are told whatever happens."""
        self._driver.opened(self.conn, self.plan)
        self._reader = asyncio.create_task(self._read(), name=f"read {self.conn}")
        writer = asyncio.create_task(self._write(), name=f"write {self.conn}")
        ended = Ended(ENDED, "stopped")
        try:
            if self._given_up is not None:
                self._reader.cancel()
            await asyncio.wait({self._reader})
            ended = self._given_up or self._how_it_ended()
        finally:
            for task in (self._reader, writer):
                task.cancel()
            self._driver.closed(self.conn, ended.code, ended.reason)
            await asyncio.gather(self._reader, writer, return_exceptions=True)
            await self._leave(ended)
        return ended

    async def _read(self) -> None:
        recv, frame, conn, raw, stamp = self._socket.recv, self._driver.frame, self.conn, self.raw, self._driver.stamp
        left = SLICE_FRAMES
        while self._given_up is None:  # a message that is there already is had without a pause, and so without a cancellation
            data = await recv(decode=False)
            self.frames += 1
            self.bytes += len(data)
            self.last_ns = now = stamp()
            raw.append((now, "←", data[:RAW_BYTES]))
            frame(conn, data)
            left -= 1
            if not left:
                left = SLICE_FRAMES
                await asyncio.sleep(0)

    async def _write(self) -> None:
        while True:
            text = await self._outbox.get()
            await self._limiter.acquire()
            self.raw.append((self._driver.stamp(), "→", text))
            with suppress(self._chosen.failed, OSError):  # the reader hears of it
                await self._socket.send(text)

    def _how_it_ended(self) -> Ended:
        assert self._reader is not None
        error = None if self._reader.cancelled() else self._reader.exception()
        if isinstance(error, self._chosen.closed):
            code, reason = _goodbye(error, self._socket)
            return ended_by(code, reason)
        if error is not None and not isinstance(error, (OSError, self._chosen.failed)):
            raise error
        return Ended(LOST, clean_text(f"connection lost: {error}" if error is not None else "connection lost", 100))

    async def _leave(self, ended: Ended) -> None:
        """A goodbye where the peer is there to hear it, then the cut: one that does not answer must not keep the socket open."""
        if ended.code == ENDED:
            await say_goodbye(self._socket)
        with suppress(Exception):
            await hang_up(self._socket)


class Link:
    """One planned connection of a venue, up as much of the time as the venue and the budgets allow.

    Args:
        slot: its lasting name; each websocket of it is `slot.generation`.
        tls: None for the default context, which verifies.
    """

    def __init__(
        self,
        slot: str,
        plan: Plan,
        terms: Terms,
        driver: Driver,
        chosen: Library,
        budget: ConnectBudget,
        backoff: Backoff,
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.slot = slot
        self.plan = plan
        self.terms = terms
        self.reconnects = 0
        self.paused = False
        self._driver = driver
        self._chosen = chosen
        self._budget = budget
        self._backoff = backoff
        self._proxy = proxy
        self._tls = tls
        self._generation = 0
        self._wire: Wire | None = None
        self._coming: Wire | None = None
        self._renewal: asyncio.Task[Ended] | None = None
        self._state = LinkState.CONNECTING
        self._since_ns = driver.stamp()
        self._reason = ""
        self._wait_until_ns: Ns = 0
        self._next_ns: Ns = 0
        self._fatal = False
        self._renew_ns: Ns = 0
        self._nudge = asyncio.Event()
        self._taken_over = asyncio.Event()
        self._frames = 0
        self._bytes = 0

    # -- what it is told ---------------------------------------------------------------------------------------------------

    def wire(self, conn: str) -> Wire | None:
        """Its open websocket of that name."""
        return next((wire for wire in (self._wire, self._coming) if wire is not None and wire.conn == conn), None)

    def drop(self, conn: str, reason: str, wait_ns: Ns, fatal: bool) -> None:
        """The session gives a connection up."""
        wire = self.wire(conn)
        if wire is not None:
            wire.give_up(Ended(LOST, reason, wait_ns, fatal=fatal))

    def renew(self, reason: str) -> None:
        """Open another connection, and let it take over."""
        self._reason = reason
        self._renew_ns = 1
        self._nudge.set()

    def reconnect(self) -> None:
        """The user wants it opened anew, now; also one that was given up for good."""
        self._fatal = self.paused = False
        self._wait_until_ns = 0
        self._backoff.reset()
        if self._wire is not None:
            self._wire.give_up(Ended(LOST, "reconnected by the user"))
        self._nudge.set()

    def pause(self, paused: bool) -> None:
        """Close it until it is wanted again, or go on."""
        self.paused = paused
        if paused:
            for wire in filter(None, (self._wire, self._coming)):
                wire.give_up(Ended(ENDED, "paused by the user", state=LinkState.PAUSED))
        self._nudge.set()

    def took_over(self, conn: str) -> None:
        """The hub hears `conn` from now on."""
        if self._coming is not None and self._coming.conn == conn:
            self._taken_over.set()

    # -- its life ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        serving: asyncio.Task[Ended] | None = None
        try:
            while True:
                if serving is None:
                    await self._turn()
                    self._wire = await self._open()
                    if self._wire is None:
                        continue
                    serving = self._serve(self._wire)
                if await self._until_ended_or_due(serving):
                    ended = serving.result()
                    wire, self._wire, serving = self._wire, None, None
                    self._renew_ns = 0
                    assert wire is not None
                    self._count(wire)
                    self._note_end(ended, wire)
                else:
                    serving = await self._renewed(serving)
        finally:
            tasks = [task for task in (serving, self._renewal) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _serve(self, wire: Wire) -> asyncio.Task[Ended]:
        return asyncio.create_task(wire.serve(), name=f"serve {wire.conn}")

    async def _turn(self) -> None:
        """Wait until an attempt may be made: paused, given up, back-off, the host's budget."""
        while True:
            now = self._driver.stamp()
            if self.paused:
                self._become(LinkState.PAUSED, "paused by the user")
                self._next_ns = 0
                await self._sleep(None)
                continue
            if self._fatal:
                self._next_ns = 0
                await self._sleep(None)
                continue
            budget_ns = self._budget.next_ns(now)
            self._next_ns = max(self._wait_until_ns, budget_ns)
            if self._next_ns <= now:
                self._budget.take(now)
                self._next_ns = 0
                return
            if budget_ns > max(self._wait_until_ns, now):
                self._become(LinkState.COOLING, self._reason or "too many connects in a minute")
            await self._sleep(self._next_ns - now)

    async def _sleep(self, wait_ns: Ns | None) -> None:
        self._nudge.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if wait_ns is None else max(wait_ns, MS) / SECOND):
                await self._nudge.wait()

    async def _open(self) -> Wire | None:
        """One attempt; None when it failed, and then it is known when the next may be made."""
        if self._state is not LinkState.MAINTENANCE:
            self._become(LinkState.CONNECTING, self._reason)
        self._generation += 1
        try:
            socket = await dial(self._chosen, self.plan.url, self.terms.ping_s, self._proxy, self._tls)
        except Exception as error:  # noqa: BLE001 - each becomes a state and a reason that are shown
            self._note_end(self._refusal(error), None)
            return None
        wire = Wire(f"{self.slot}.{self._generation}", self.plan, socket, self.terms, self._driver, self._chosen)
        if self.paused:  # while it was dialled
            wire.give_up(Ended(ENDED, "paused by the user", state=LinkState.PAUSED))
        return wire

    async def _until_ended_or_due(self, serving: asyncio.Task[Ended]) -> bool:
        """True when the connection has ended, False when it is to be renewed."""
        wire = self._wire
        assert wire is not None
        if not self._renew_ns:
            self._renew_ns = wire.opened_ns + self.terms.lives_ns if self.terms.lives_ns else 0
        while not serving.done():
            now = self._driver.stamp()
            if self._renew_ns and now >= self._renew_ns:
                return False
            self._nudge.clear()
            nudged = asyncio.create_task(self._nudge.wait())
            wait_s = (self._renew_ns - now) / SECOND if self._renew_ns else None
            try:
                await asyncio.wait({serving, nudged}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                nudged.cancel()
        return True

    async def _renewed(self, serving: asyncio.Task[Ended]) -> asyncio.Task[Ended]:
        """Bring a second connection up beside the one that serves; returns the task of whichever serves afterwards."""
        now = self._driver.stamp()
        self._renew_ns = now + RENEW_AGAIN_NS  # in case it comes to nothing
        if self._budget.next_ns(now) > now:
            self._renew_ns = self._budget.next_ns(now)
            return serving
        self._budget.take(now)
        coming = await self._open()
        if coming is None:
            self._become(self._driver.link_state(self._wire.conn) if self._wire else LinkState.DOWN, self._reason)
            return serving
        self._coming = coming
        self._taken_over.clear()
        renewal = self._renewal = self._serve(coming)
        taken = asyncio.create_task(self._taken_over.wait())
        try:
            await asyncio.wait({renewal, serving, taken}, timeout=TAKEOVER_NS / SECOND, return_when=asyncio.FIRST_COMPLETED)
            if not self._taken_over.is_set() and serving.done():
                await asyncio.wait({renewal, taken}, timeout=MS / SECOND, return_when=asyncio.FIRST_COMPLETED)
        finally:
            taken.cancel()
        old = self._wire
        assert old is not None
        if renewal.done() or not (self._taken_over.is_set() or serving.done()):
            coming.give_up(Ended(ENDED, "renewal given up"))
            await asyncio.gather(renewal, return_exceptions=True)
            self._count(coming)
            self._coming = self._renewal = None
            return serving
        old.give_up(Ended(ENDED, "renewed"))
        await asyncio.gather(serving, return_exceptions=True)
        self._count(old)
        self._wire, self._coming, self._renewal = coming, None, None
        self._reason = ""
        self._renew_ns = coming.opened_ns + self.terms.lives_ns if self.terms.lives_ns else 0
        return renewal

    # -- how it stands -----------------------------------------------------------------------------------------------------

    def _note_end(self, ended: Ended, wire: Wire | None) -> None:
        now = self._driver.stamp()
        if wire is not None:
            self.reconnects += 1
            self._backoff.ended(wire.opened_ns, wire.last_ns)
        delay_ns = self._backoff.delay_ns()
        self._wait_until_ns = now + max(delay_ns, ended.wait_ns)
        self._fatal = ended.fatal
        self._reason = ended.reason
        self._become(LinkState.CLOSED if ended.fatal else ended.state, ended.reason)

    def _refusal(self, error: Exception) -> Ended:
        """What a failed attempt means."""
        if isinstance(error, self._chosen.refused):
            return self._answered(error)
        if isinstance(error, ssl.SSLError):
            text = getattr(error, "verify_message", "") or str(error)
            untrusted = isinstance(error, ssl.SSLCertVerificationError)
            mend = "; check the clock, a proxy, the network" if untrusted else ""
            return Ended(LOST, clean_text(f"TLS failed: {text}{mend}", 160), fatal=untrusted)
        if isinstance(error, InputError):
            return Ended(LOST, clean_text(str(error), 160), fatal=True)
        if isinstance(error, TimeoutError):
            return Ended(LOST, "no answer to the connect")
        if isinstance(error, OSError):
            return Ended(LOST, clean_text(error.strerror or str(error) or type(error).__name__, 100))
        return Ended(LOST, clean_text(f"handshake failed: {error or type(error).__name__}", 100))

    def _answered(self, error: Exception) -> Ended:
        response: Any = getattr(error, "response", None)
        status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
        if status == 403 and self.terms.forbidden_ns:
            return Ended(LOST, TOO_MANY_OR_BLOCKED, self.terms.forbidden_ns, LinkState.COOLING)
        if status in FORBIDDEN:
            return Ended(LOST, FORBIDDEN[status], fatal=True)
        if status in (418, 429):
            wait_ns = retry_after_ns(response.headers.get("Retry-After"), self._driver.stamp())
            self._budget.hold(self._driver.stamp() + wait_ns)
            return Ended(LOST, f"refused with {status}: too many requests", wait_ns, LinkState.COOLING)
        if status == 503:
            return Ended(LOST, "refused with 503: maintenance", MAINTENANCE_NS, LinkState.MAINTENANCE)
        return Ended(LOST, f"handshake answered with {status}")

    def _become(self, state: LinkState, reason: str) -> None:
        if state is not self._state:
            self._state, self._since_ns = state, self._driver.stamp()
        self._reason = reason

    def _count(self, wire: Wire) -> None:
        self._frames += wire.frames
        self._bytes += wire.bytes

    @property
    def state(self) -> LinkState:
        """As the connection that speaks has it; while none is up, why not."""
        return self._state if self._wire is None else self._driver.link_state(self._wire.conn)

    def view(self, now: Ns) -> LinkView:
        """How it stands."""
        wire = self._wire
        state, reason = self._state, self._reason
        if wire is not None:
            state = self._driver.link_state(wire.conn)
            reason = reason if state is not LinkState.READY or self._coming is not None else ""
        open_wires = [each for each in (self._wire, self._coming) if each is not None]
        return LinkView(
            slot=self.slot,
            venue=self.plan.venue,
            market=self.plan.market,
            host=host_of(self.plan.url),
            streams=len(self.plan.streams),
            state=state,
            since_ns=wire.opened_ns if wire is not None else self._since_ns,
            reason=reason,
            next_ns=self._next_ns if wire is None else 0,
            attempt=self._backoff.failures,
            opened_ns=wire.opened_ns if wire is not None else 0,
            renews_ns=self._renew_ns if wire is not None and self._renew_ns > 1 else 0,
            renewing=self._coming is not None,
            reconnects=self.reconnects,
            connects_left=self._budget.left(now),
            frames=self._frames + sum(each.frames for each in open_wires),
            bytes=self._bytes + sum(each.bytes for each in open_wires),
            last_ns=max((each.last_ns for each in open_wires), default=0),
            raw=tuple((at, f"{way} {clean_text(said, RAW_CHARACTERS)}") for at, way, said in wire.raw)
            if wire is not None
            else (),
        )


def ended_by(code: int, reason: str) -> Ended:
    """What a peer's close code means."""
    said = clean_text(reason, 80)
    text = f"closed with {code}{f': {said}' if said else ''}"
    if code == RESTART:
        return Ended(code, f"maintenance: {text}", MAINTENANCE_NS, LinkState.MAINTENANCE)
    if code == POLICY:
        return Ended(code, f"{text}: a rule of the venue was broken", POLICY_NS, LinkState.COOLING)
    return Ended(code, text)


def _goodbye(error: Exception, socket: Socket) -> tuple[int, str]:
    """Close code and reason of the peer; 1006 where it said none."""
    received = getattr(error, "rcvd", None)
    if received is not None:
        return int(received.code), str(received.reason)
    code = getattr(socket, "close_code", None)
    return int(code) if code else LOST, str(getattr(socket, "close_reason", None) or "")
