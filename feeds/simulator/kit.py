"""What every simulated venue shares: one aiohttp server on loopback, its websocket connections, and the hooks faults are made of.

A connection writes its frames itself, a step's worth at once, straight to the transport: that is cheap, lets a fault put any
bytes on the wire, and the transport's own buffer is the bounded outbox (a reader that lets it grow past `OUTBOX_BYTES` is closed,
as venues do). Server frames are neither masked nor compressed.
"""

import asyncio
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

from aiohttp import WSCloseCode, WSMsgType, web

from feeds.model import MS, SECOND, Ns
from feeds.simulator.dialect import Dialect
from feeds.simulator.market import Step, World
from feeds.simulator.truebook import Levels, Touch

OUTBOX_BYTES: Final = 4 << 20
BACKLOG: Final = 128
LONGEST_REQUEST: Final = 1 << 16
LOGGED: Final = 8_192
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
SHUTDOWN_S: Final = 0.5

Filter: TypeAlias = Callable[[str, str], list[str]]
"""(topic, text) -> what is sent instead: nothing, the text, several."""


def framed(payload: bytes, opcode: int = TEXT, *, final: bool = True, compressed: bool = False) -> bytes:
    """One websocket frame of a server. The flags are honest or not, as the caller likes."""
    first = opcode | (0x80 if final else 0) | (0x40 if compressed else 0)
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


class Connection:
    """One websocket client. `topics` holds what it is subscribed to, in order, with what the venue keeps for each."""

    def __init__(self, server: "VenueServer", request: web.Request, ws: web.WebSocketResponse, number: int) -> None:
        self.server = server
        self.request = request
        self.path = request.path
        self.number = number
        self.ws = ws
        self.topics: dict[str, object] = {}
        self.filters: list[Filter] = []
        self.muted: set[str] = set()
        self.opened_ns: Ns = server.world.now_ns
        self.heard_ns: Ns = server.world.now_ns
        """When its last frame of any kind arrived."""
        self.pinged_ns: Ns = server.world.now_ns
        self.unanswered_ns: Ns = 0
        """When the oldest ping without a pong was sent; 0 where each has one."""
        self.frozen = False
        self.alive = True
        self.sent = 0
        self.controls: deque[float] = deque()
        """When the control messages of the last second arrived (monotonic s)."""
        transport = request.transport
        assert transport is not None
        self.transport: asyncio.Transport = transport
        self.write: Callable[[bytes], None] = transport.write
        """Puts bytes on the wire; a fault may put something slower here."""
        self.replies: Callable[[str], list[str]] | None = None
        """What is sent instead of a control message: nothing, the text, several."""
        self.outbox_bytes = OUTBOX_BYTES
        self._pending: list[bytes] = []

    def publish(self, topic: str, text: str) -> None:
        """Send a data message of a topic at the end of this step, through mutes and filters."""
        if self.frozen or not self.alive or topic in self.muted:
            return
        if not self.filters:
            self._pending.append(framed(text.encode()))
            return
        texts = [text]
        for rule in self.filters:
            texts = [made for each in texts for made in rule(topic, each)]
        self._pending.extend(framed(each.encode("utf-8", "surrogateescape")) for each in texts)

    async def send(self, text: str) -> None:
        """Send a control message at once, past mutes and filters."""
        for each in [text] if self.replies is None else self.replies(text):
            self.send_frame(each.encode("utf-8", "surrogateescape"))

    def send_frame(self, payload: bytes, opcode: int = TEXT, *, compressed: bool = False) -> None:
        """Send one frame at once, with any payload and opcode."""
        self.send_raw(framed(payload, opcode, compressed=compressed))

    def send_raw(self, data: bytes) -> None:
        """Put any bytes on the wire, behind what this step has published so far."""
        self._pending.append(data)
        self.flush()

    def flush(self) -> None:
        """Write what has been published. Ends the connection of a reader that is too slow."""
        if not self._pending:
            return
        if self.frozen or not self.alive or self.transport.is_closing():
            self._pending.clear()
            return
        self.sent += len(self._pending)
        data = b"".join(self._pending) if len(self._pending) > 1 else self._pending[0]
        self._pending.clear()
        self.write(data)
        if self.transport.get_write_buffer_size() > self.outbox_bytes:
            self.server.too_slow += 1
            self.abort()

    def mute(self, topic: str) -> None:
        """Send nothing of a topic from now on, as if nothing happened."""
        self.muted.add(topic)

    def unmute(self, topic: str) -> None:
        self.muted.discard(topic)

    def freeze(self) -> None:
        """Half-open: neither send nor read, not even pings; the socket stays."""
        self.frozen = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def thaw(self) -> None:
        self.frozen = False
        if self.alive and not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        """Reset the TCP connection."""
        self.alive = False
        if self.transport.is_closing():
            return
        handle = self.transport.get_extra_info("socket")
        if handle is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def drop(self) -> None:
        """Close the TCP connection without a close frame: a client sees 1006."""
        self.alive = False
        self.transport.close()

    async def close(self, code: int, reason: str = "") -> None:
        """Close with a close frame, and wait a little for the other side's."""
        self.flush()
        self.alive = False
        if self.frozen:
            self.transport.abort()
            return
        if not self.transport.is_closing():
            await self.ws.close(code=code, message=reason.encode())


class WeightPool:
    """Request weight used in this minute. Markets that share a limit share a pool."""

    def __init__(self, limit: int, ban_after: int = 20) -> None:
        self.limit = limit
        self.ban_after = ban_after
        """Requests beyond the limit that turn 429 into 418."""
        self.used = 0
        self.refused = 0
        self._minute = -1

    def take(self, weight: int, now_ns: Ns) -> int:
        """Count a request: the HTTP status it gets, 200, 429 or 418."""
        minute = now_ns // (60 * SECOND)
        if minute != self._minute:
            self._minute, self.used, self.refused = minute, 0, 0
        self.used += weight
        if self.used <= self.limit:
            return 200
        self.refused += 1
        return 418 if self.refused > self.ban_after else 429

    def retry_after_s(self, now_ns: Ns) -> int:
        """Until the next minute."""
        return 60 - now_ns // SECOND % 60


Greeting: TypeAlias = Callable[[Connection], Awaitable[None]]
Handshake: TypeAlias = Callable[[web.Request], web.Response | None]
RestHook: TypeAlias = Callable[[web.Request, str], Awaitable[web.StreamResponse | None]]


class VenueServer(ABC):
    """Base of a venue's server: REST and websockets on one port of 127.0.0.1.

    A venue defines `name`, `dialect` and what is abstract, and may override the rest.
    """

    name = ""
    """As endpoints are called: BINANCE.spot."""
    dialect: Dialect
    """How its messages are read and altered: all that faults know of it."""
    controls_per_s: int | None = None
    """Control messages a connection may send in a second, pings and pongs included; more closes it with 1008."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.connections: list[Connection] = []
        self.connects: deque[float] = deque(maxlen=LOGGED)
        """Monotonic seconds of every websocket handshake, also refused ones."""
        self.requests: deque[tuple[float, str]] = deque(maxlen=LOGGED)
        """Monotonic seconds and path with query of every REST request."""
        self.handshake: Handshake | None = None
        """Answers a websocket request instead of accepting it, where it returns something."""
        self.greeting: Greeting | None = None
        """Runs as soon as a websocket is accepted: accept-then-close."""
        self.rest_hook: RestHook | None = None
        """Answers a REST request instead of the venue, where it returns something. It may wait."""
        self.clock: Callable[[], Ns] | None = None
        """What the market's steps follow; None where whoever runs it says how time goes."""
        self.clock_offset_ns: Ns = 0
        """How far the venue's clock is off, in every time it sends."""
        self.too_slow = 0
        self.port = 0
        self._numbers = 0
        self._runner: web.AppRunner | None = None
        self._listening: asyncio.Server | None = None
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The endpoints this server is: more than one where a venue serves several markets at one address."""
        return (self.name,)

    @property
    def base(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def now_ms(self, now_ns: Ns | None = None) -> int:
        """The venue's clock at a moment of the market; now, where that is not given."""
        return self.clock_ns(now_ns) // MS

    def clock_ns(self, now_ns: Ns | None = None) -> Ns:
        """The same in ns."""
        if now_ns is None:
            now_ns = self.world.now_ns if self.clock is None else self.clock()
        return now_ns + self.clock_offset_ns

    @abstractmethod
    def websocket_paths(self) -> Iterable[str]:
        """aiohttp path patterns that are websockets."""

    @abstractmethod
    async def rest(self, request: web.Request) -> web.StreamResponse:
        """Answer a REST request."""

    @abstractmethod
    async def received(self, connection: Connection, text: str) -> None:
        """A text message of a client."""

    @abstractmethod
    def on_step(self, step: Step) -> None:
        """Publish what a step of the market brought."""

    async def opened(self, connection: Connection) -> None:  # noqa: B027 - a venue may have nothing to do
        """A websocket was accepted."""

    def closed(self, connection: Connection) -> None:  # noqa: B027 - likewise
        """A websocket that was accepted is gone."""

    def state(self, key: str, number: int) -> int:
        """The true book's number of the state that a reader calls so. Raises KeyError like `TrueBook.truth`."""
        return self.world.books[key].state_at(number) if self.dialect.by_time else number

    def truth_touch(self, key: str, number: int) -> Touch:
        """The touch of the state that a reader calls so: by the venue's number, or by its ms where `dialect.by_time`."""
        return self.world.truth_touch(key, self.state(key, number))

    def truth(self, key: str, number: int, depth: int | None = None) -> tuple[Levels, Levels]:
        """The levels of that state."""
        return self.world.truth(key, self.state(key, number), depth)

    def restart(self, market: str, native: str) -> int:
        """The service of an instrument's books starts over in mid-stream. Tells how many readers were sent that."""
        return 0

    def announce_shutdown(self) -> None:  # noqa: B027 - a venue may send none
        """The notice that every connection ends soon."""

    async def start(self) -> None:
        """Listen, and follow the market."""
        app = web.Application(client_max_size=LONGEST_REQUEST)
        for path in self.websocket_paths():
            app.router.add_get(path, self._websocket)
        app.router.add_route("*", "/{tail:.*}", self._rest)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S, handle_signals=False)
        await self._runner.setup()
        await self.listen()
        self._unsubscribe = self.world.subscribe(self._stepped)

    async def listen(self) -> None:
        """Accept connections, at the same port as before where there was one."""
        if self._listening is not None or self._runner is None or self._runner.server is None:
            return
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            self._runner.server, "127.0.0.1", self.port, backlog=BACKLOG, reuse_address=True
        )
        self.port = self._listening.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Close the listening port; connections that stand go on."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()

    async def stop(self) -> None:
        """Cut everything off."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for connection in list(self.connections):
            connection.abort()
        self.refuse()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _stepped(self, step: Step) -> None:
        if self.connections:
            self.on_step(step)
            for connection in self.connections:
                connection.flush()

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        self.connects.append(time.monotonic())
        if self.handshake is not None:
            answer = self.handshake(request)
            if answer is not None:
                return answer
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return await self._rest(request)
        ws = web.WebSocketResponse(
            autoping=False, autoclose=True, compress=False, max_msg_size=LONGEST_REQUEST, timeout=SHUTDOWN_S
        )
        await ws.prepare(request)
        self._numbers += 1
        connection = Connection(self, request, ws, self._numbers)
        try:
            if self.greeting is not None:
                await self.greeting(connection)
            if connection.alive:
                self.connections.append(connection)
                await self.opened(connection)
                await self._read(connection)
        finally:
            connection.alive = False
            if connection in self.connections:
                self.connections.remove(connection)
                self.closed(connection)
        return ws

    async def _read(self, connection: Connection) -> None:
        async for message in connection.ws:
            connection.heard_ns = self.world.now_ns
            if message.type is WSMsgType.PING:
                connection.send_frame(message.data, PONG)
            elif message.type is WSMsgType.PONG:
                connection.unanswered_ns = 0
            if not await self._within_budget(connection):
                return
            if message.type is WSMsgType.TEXT:
                await self.received(connection, message.data)

    async def _within_budget(self, connection: Connection) -> bool:
        if self.controls_per_s is None:
            return True
        now = time.monotonic()
        controls = connection.controls
        controls.append(now)
        while controls[0] < now - 1.0:
            controls.popleft()
        if len(controls) <= self.controls_per_s:
            return True
        await connection.close(WSCloseCode.POLICY_VIOLATION, "Too many requests")
        return False

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((time.monotonic(), request.path_qs))
        if self.rest_hook is not None:
            answer = await self.rest_hook(request, request.path)
            if answer is not None:
                return answer
        return await self.rest(request)
