"""A link against real websocket servers on loopback that misbehave, with each library: what it does, and what it says it does."""

import asyncio
import gc
import logging
import random
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.utils import accept_key

from feeds.budget import Backoff, ConnectBudget
from feeds.clock import ReceiveClock
from feeds.connection import Link
from feeds.links import LinkView
from feeds.model import SECOND, Channel, LinkState, Ns, Stream
from feeds.recording import ENDED, LOST
from feeds.venue import Plan, Terms
from feeds.venues.bybit import Bybit
from feeds.wire import MAX_MESSAGE, Library, dial, hang_up, library

Handler = Callable[[ServerConnection], Awaitable[None]]
STREAM = Stream("BYBIT:BTC/USDT", Channel.BOOK)
BYBIT = Bybit()


class AtOnce(random.Random):
    """Back-off without a wait."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


class Driver:
    """What a link tells, and what a session would ask for on the way."""

    def __init__(self) -> None:
        self.clock = ReceiveClock()
        self.told: list[tuple[str, str]] = []
        self.closes: list[tuple[str, int, str]] = []
        self.frames: list[tuple[str, bytes]] = []
        self.changed = asyncio.Event()
        self.on_open: Callable[[str], object] = lambda _conn: None
        self.on_frame: Callable[[str], object] = lambda _conn: None
        self._ready: set[str] = set()

    def stamp(self) -> Ns:
        return self.clock.stamp()

    def opened(self, conn: str, plan: Plan) -> None:
        self._tell("o", conn)
        self.on_open(conn)

    def frame(self, conn: str, data: bytes) -> None:
        self.frames.append((conn, data))
        self._ready.add(conn)
        self.on_frame(conn)
        self.changed.set()

    def closed(self, conn: str, code: int, reason: str) -> None:
        self._ready.discard(conn)
        self.closes.append((conn, code, reason))
        self._tell("c", conn)

    def link_state(self, conn: str) -> LinkState:
        return LinkState.READY if conn in self._ready else LinkState.NOT_READY

    def _tell(self, kind: str, conn: str) -> None:
        self.told.append((kind, conn))
        self.changed.set()

    def count(self, kind: str) -> int:
        return sum(told == kind for told, _ in self.told)


class Rig:
    def __init__(
        self, url: str, chosen: Library, *, sends_per_s: float = 10.0, tls: ssl.SSLContext | None = None, forbidden_ns: Ns = 0
    ) -> None:
        self.driver = Driver()
        terms = Terms("http://127.0.0.1", "pool", 600, sends_per_s, forbidden_ns=forbidden_ns)
        plan = Plan("BYBIT", "spot", url, (STREAM,))
        self.budget = ConnectBudget(terms.connects_per_minute)
        self.link = Link("slot", plan, terms, self.driver, chosen, self.budget, Backoff(AtOnce()), tls=tls)
        self.task: asyncio.Task[None] | None = None

    async def until(self, true: Callable[[], bool], seconds: float = 5.0) -> None:
        """Look whenever something was told, and now and then; fails after so long."""
        async with asyncio.timeout(seconds):
            while not true():
                self.driver.changed.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.driver.changed.wait(), 0.01)

    async def until_state(self, state: LinkState) -> LinkView:
        await self.until(lambda: self.view.state is state)
        return self.view

    @property
    def view(self) -> LinkView:
        return self.link.view(self.driver.stamp())


@pytest.fixture(params=["websockets", "picows"])
def chosen(request: pytest.FixtureRequest) -> Library:
    return library(request.param == "picows")


@asynccontextmanager
async def rigged(
    handler: Handler,
    chosen: Library,
    *,
    process: Callable[[ServerConnection, Request], Response | Awaitable[Response | None] | None] | None = None,
    server_tls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    sends_per_s: float = 10.0,
    forbidden_ns: Ns = 0,
) -> AsyncIterator[Rig]:
    async with serve(handler, "127.0.0.1", 0, process_request=process, ssl=server_tls) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"{'wss' if server_tls else 'ws'}://localhost:{port}/x"
        rig = Rig(url, chosen, sends_per_s=sends_per_s, tls=tls, forbidden_ns=forbidden_ns)
        rig.task = asyncio.create_task(rig.link.run())
        try:
            yield rig
        finally:
            rig.task.cancel()
            await asyncio.gather(rig.task, return_exceptions=True)


async def stay(socket: ServerConnection) -> None:
    """Send one frame, then only listen."""
    await socket.send("data")
    async for _ in socket:
        pass


def refuse(status: int, **headers: str) -> Callable[[ServerConnection, Request], Response]:
    def process(socket: ServerConnection, request: Request) -> Response:
        response = socket.respond(HTTPStatus(status), "no")
        for name, value in headers.items():
            response.headers[name.replace("_", "-")] = value
        return response

    return process


async def test_frames_and_the_opening_are_told_in_order(chosen: Library) -> None:
    async with rigged(stay, chosen) as rig:
        await rig.until(lambda: bool(rig.driver.frames))
        assert rig.driver.told == [("o", "slot.1")]
        assert rig.driver.frames == [("slot.1", b"data")]
        assert rig.view.state is LinkState.READY
        assert rig.view.frames == 1


async def test_an_accept_then_close_server_is_not_asked_more_than_six_times_a_minute(chosen: Library) -> None:
    connects = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal connects
        connects += 1

    async with rigged(handler, chosen) as rig:
        view = await rig.until_state(LinkState.COOLING)
        assert connects == 6
        assert view.connects_left == 0
        assert view.next_ns - rig.driver.stamp() > 50 * SECOND
        assert rig.driver.count("o") == rig.driver.count("c") == 6


@pytest.mark.parametrize("status", [429, 418])
async def test_retry_after_holds_the_host(chosen: Library, status: int) -> None:
    async with rigged(stay, chosen, process=refuse(status, Retry_After="30")) as rig:
        view = await rig.until_state(LinkState.COOLING)
        assert str(status) in view.reason
        assert 25 * SECOND < view.next_ns - rig.driver.stamp() <= 30 * SECOND
        assert rig.budget.next_ns(rig.driver.stamp()) - rig.driver.stamp() > 25 * SECOND


@pytest.mark.parametrize("status", [403, 451])
async def test_a_refused_region_is_shown_and_never_tried_again_by_itself(chosen: Library, status: int) -> None:
    asked = 0

    def process(socket: ServerConnection, request: Request) -> Response:
        nonlocal asked
        asked += 1
        return refuse(status)(socket, request)

    async with rigged(stay, chosen, process=process) as rig:
        view = await rig.until_state(LinkState.CLOSED)
        assert str(status) in view.reason
        assert view.next_ns == 0
        await asyncio.sleep(0)
        assert asked == 1
        rig.link.reconnect()
        await rig.until(lambda: asked == 2)


async def test_where_403_may_mean_too_often_it_is_a_pause_that_says_when_it_ends(chosen: Library) -> None:
    asked = 0

    def process(socket: ServerConnection, request: Request) -> Response:
        nonlocal asked
        asked += 1
        return refuse(403)(socket, request)

    forbidden_ns = BYBIT.terms("linear").forbidden_ns
    async with rigged(stay, chosen, process=process, forbidden_ns=forbidden_ns) as rig:
        view = await rig.until_state(LinkState.COOLING)
        assert "403" in view.reason
        assert "too many" in view.reason
        assert "another network" in view.reason
        assert 590 * SECOND < view.next_ns - rig.driver.stamp() <= 600 * SECOND
        rig.link.reconnect()  # the user has changed the network
        await rig.until(lambda: asked == 2)
        assert (await rig.until_state(LinkState.COOLING)).next_ns > view.next_ns


async def test_maintenance_is_a_state_of_its_own(chosen: Library) -> None:
    async with rigged(stay, chosen, process=refuse(503)) as rig:
        view = await rig.until_state(LinkState.MAINTENANCE)
        assert view.next_ns > rig.driver.stamp()

    async def restart(socket: ServerConnection) -> None:
        await socket.close(1012, "scheduled \x1b]0;maintenance\x07")

    async with rigged(restart, chosen) as rig:
        view = await rig.until_state(LinkState.MAINTENANCE)
        assert "1012" in view.reason
        assert "\x1b" not in view.reason
        assert rig.driver.closes[0][1] == 1012


async def test_a_certificate_that_nobody_vouches_for_is_fatal_and_never_accepted(chosen: Library) -> None:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_tls)
    async with rigged(stay, chosen, server_tls=server_tls) as rig:
        view = await rig.until_state(LinkState.CLOSED)
        assert "TLS failed" in view.reason
        assert not rig.driver.told
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with rigged(stay, chosen, server_tls=server_tls, tls=trusting) as rig:
        await rig.until_state(LinkState.READY)


async def test_an_alert_of_tls_that_is_not_about_the_certificate_is_tried_again(chosen: Library) -> None:
    async def overloaded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4_096)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x50")  # a fatal alert: internal error
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(overloaded, "127.0.0.1", 0) as server:
        rig = Rig(f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", chosen)
        rig.task = asyncio.create_task(rig.link.run())
        await rig.until(lambda: rig.view.attempt > 1)
        assert rig.view.reason.startswith("TLS failed: ")
        assert "ALERT_INTERNAL_ERROR" in rig.view.reason
        rig.task.cancel()
        async with asyncio.timeout(2):
            await asyncio.gather(rig.task, return_exceptions=True)
        await asyncio.sleep(0)


async def test_plain_text_is_spoken_to_loopback_alone(chosen: Library) -> None:
    rig = Rig("ws://192.0.2.1:9443/x", chosen)
    rig.task = asyncio.create_task(rig.link.run())
    view = await rig.until_state(LinkState.CLOSED)
    assert "only wss://" in view.reason
    rig.task.cancel()
    await asyncio.gather(rig.task, return_exceptions=True)


async def test_a_session_that_gives_up_is_cut_and_opened_anew(chosen: Library) -> None:
    async with rigged(stay, chosen) as rig:
        await rig.until_state(LinkState.READY)
        rig.link.drop("slot.1", "no data for 4.5 s", 0, False)
        await rig.until(lambda: ("o", "slot.2") in rig.driver.told)
        assert rig.driver.told == [("o", "slot.1"), ("c", "slot.1"), ("o", "slot.2")]
        assert rig.driver.closes == [("slot.1", LOST, "no data for 4.5 s")]


async def test_what_was_sent_before_it_was_given_up_is_not_read_after(chosen: Library) -> None:
    """A whole burst may lie there already: reading it needs no pause in which a reader could be stopped."""

    async def pour(socket: ServerConnection) -> None:
        for number in range(20):
            await socket.send(f"{number}")
        await socket.wait_closed()

    async with rigged(pour, chosen) as rig:
        rig.driver.on_frame = lambda conn: rig.link.drop(conn, "nonsense", 30 * SECOND, False)
        await rig.until(lambda: bool(rig.driver.closes))
        assert rig.driver.frames == [("slot.1", b"0")]
        assert rig.driver.closes == [("slot.1", LOST, "nonsense")]


async def test_a_frozen_peer_does_not_keep_the_next_connection_waiting(chosen: Library) -> None:
    over = asyncio.Event()

    async def deaf(socket: ServerConnection) -> None:
        await socket.send("data")
        socket.transport.pause_reading()
        await over.wait()
        socket.transport.abort()

    async with rigged(deaf, chosen) as rig:
        await rig.until_state(LinkState.READY)
        begun = asyncio.get_running_loop().time()
        rig.link.drop("slot.1", "no data", 0, False)
        await rig.until(lambda: rig.driver.count("o") == 2)
        assert asyncio.get_running_loop().time() - begun < 4.0  # a close handshake with it would wait for ever
        over.set()


async def test_a_dead_peer_is_cut_off_and_no_task_of_it_is_left(chosen: Library) -> None:
    """Its socket stayed open, and with it a ping that nobody would ever answer."""
    cut, pinged = asyncio.Event(), asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.partition(": ")[2] for line in asked.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept_key(key)}\r\n".encode())
        writer.write(b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        with suppress(ConnectionError):
            while await reader.read(1024):  # hears everything, and answers nothing
                pinged.set()
        cut.set()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with server:
        before = asyncio.all_tasks()
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        socket = await dial(chosen, url, 0.02, None)
        await asyncio.wait_for(pinged.wait(), 5.0)  # a ping waits for its pong
        await hang_up(socket)
        await asyncio.wait_for(cut.wait(), 5.0)
        del socket
        gc.collect()
        async with asyncio.timeout(5.0):
            while asyncio.all_tasks() - before:
                await asyncio.sleep(0.01)


def test_what_a_peer_sends_is_never_written_to_the_terminal(chosen: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    last = logging.Handler()
    last.emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
    monkeypatch.setattr(logging, "lastResort", last)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("asyncio.of.nobody").warning("heard")
    for name in ("websockets.client", "picows.client"):
        logging.getLogger(name).warning("a peer sent \x1b[2J")
    assert written == ["heard"]


async def test_a_message_larger_than_any_snapshot_ends_the_connection(chosen: Library) -> None:
    heard = asyncio.Event()

    async def boast(socket: ServerConnection) -> None:
        await socket.send("data")
        await heard.wait()
        with suppress(ConnectionClosed):
            await socket.send("x" * (MAX_MESSAGE + 1))
        await socket.wait_closed()

    async with rigged(boast, chosen) as rig:
        rig.driver.on_frame = lambda _conn: heard.set()
        await rig.until(lambda: ("c", "slot.1") in rig.driver.told)
        assert rig.driver.frames[0] == ("slot.1", b"data")
        assert all(data == b"data" for _, data in rig.driver.frames)


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """One whole message of a server, shorter than 64 KiB."""
    head = bytes([0x80 | (0x40 if compressed else 0) | opcode])
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return head + size + payload


def deflated(data: bytes) -> bytes:
    """As permessage-deflate has it, without context of earlier messages."""
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (press.compress(data) + press.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


BROKEN = {
    "a deflate bomb": frame(1, deflated(b"x" * (MAX_MESSAGE + 1)), compressed=True),
    "no deflate stream": frame(1, b"\xff\xff\xff\xff", compressed=True),
    "an opcode of nobody": frame(5, b"data"),
    "the middle of no message": frame(0, b"data"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
async def test_nothing_that_came_behind_a_broken_message_is_handed_over(chosen: Library, broken: bytes) -> None:
    """A book without sequence numbers would go on over the hole."""
    served: list[asyncio.Task[None] | None] = []

    async def serve_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.partition(": ")[2] for line in asked.split("\r\n") if line.lower().startswith("sec-websocket-key"))
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept_key(key)}\r\n".encode())
        writer.write(b"Upgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(frame(1, b"before") + broken + frame(1, b"behind") * 3)
        with suppress(ConnectionError):
            await reader.read(1)  # its goodbye
        writer.close()

    server = await asyncio.start_server(serve_it, "127.0.0.1", 0)
    async with server:
        rig = Rig(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", chosen)
        task = asyncio.create_task(rig.link.run())
        await rig.until(lambda: ("c", "slot.1") in rig.driver.told)
        task.cancel()
        await asyncio.gather(task, *filter(None, served), return_exceptions=True)
    assert {data for _, data in rig.driver.frames} <= {b"before"}


async def test_control_messages_keep_to_the_venues_budget(chosen: Library) -> None:
    heard: list[float] = []
    loop = asyncio.get_running_loop()

    async def listen(socket: ServerConnection) -> None:
        await socket.send("data")
        while True:
            await socket.recv()
            heard.append(loop.time())

    async with rigged(listen, chosen, sends_per_s=4.0) as rig:

        def ask(conn: str) -> None:
            wire = rig.link.wire(conn)
            assert wire is not None
            for number in range(10):
                wire.send(f"{number}")

        rig.driver.on_open = ask
        await rig.until(lambda: len(heard) == 10)
        assert all(heard[at + 5] - heard[at] > 0.9 for at in range(5))  # never more than five in a second


async def test_a_renewal_lets_the_new_one_take_over_before_the_old_one_goes(chosen: Library) -> None:
    async with rigged(stay, chosen) as rig:
        await rig.until_state(LinkState.READY)
        rig.driver.on_frame = lambda conn: rig.link.took_over(conn) if conn == "slot.2" else None
        rig.link.renew("the venue restarts")
        await rig.until(lambda: ("c", "slot.1") in rig.driver.told)
        assert rig.driver.told == [("o", "slot.1"), ("o", "slot.2"), ("c", "slot.1")]
        assert rig.driver.closes == [("slot.1", ENDED, "renewed")]
        await rig.until(lambda: not rig.view.renewing)
        assert rig.view.state is LinkState.READY


async def test_a_renewal_that_fails_leaves_the_old_one(chosen: Library) -> None:
    seen = 0

    async def first_only(socket: ServerConnection) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            await stay(socket)

    async with rigged(first_only, chosen) as rig:
        await rig.until_state(LinkState.READY)
        rig.link.renew("age")
        await rig.until(lambda: ("c", "slot.2") in rig.driver.told)
        await rig.until(lambda: not rig.view.renewing)
        assert ("c", "slot.1") not in rig.driver.told
        assert rig.view.state is LinkState.READY


async def test_the_old_one_lost_in_a_renewal_is_followed_by_the_new_one_alone(chosen: Library) -> None:
    sockets: list[ServerConnection] = []

    async def keep(socket: ServerConnection) -> None:
        sockets.append(socket)
        await stay(socket)

    async with rigged(keep, chosen) as rig:
        await rig.until_state(LinkState.READY)
        rig.link.renew("age")
        await rig.until(lambda: len(sockets) == 2)
        await rig.until(lambda: ("o", "slot.2") in rig.driver.told)
        rig.driver.on_open = lambda _conn: None
        sockets[0].transport.abort()
        await rig.until(lambda: ("c", "slot.1") in rig.driver.told)
        rig.link.took_over("slot.2")
        await rig.until(lambda: not rig.view.renewing)
        assert rig.view.state is LinkState.READY
        assert rig.driver.count("o") == 2


async def test_a_paused_link_is_closed_until_it_is_wanted_again(chosen: Library) -> None:
    async with rigged(stay, chosen) as rig:
        await rig.until_state(LinkState.READY)
        rig.link.pause(True)
        view = await rig.until_state(LinkState.PAUSED)
        assert view.next_ns == 0
        assert rig.driver.closes == [("slot.1", ENDED, "paused by the user")]
        rig.link.pause(False)
        await rig.until_state(LinkState.READY)


async def test_a_pause_that_is_asked_for_while_dialling_is_obeyed(chosen: Library) -> None:
    knocked, let_in = asyncio.Event(), asyncio.Event()

    async def process(socket: ServerConnection, request: Request) -> None:
        knocked.set()
        await let_in.wait()

    async with rigged(stay, chosen, process=process) as rig:
        await knocked.wait()
        rig.link.pause(True)
        let_in.set()
        await rig.until_state(LinkState.PAUSED)
        assert rig.driver.frames == []
        assert rig.driver.closes == [("slot.1", ENDED, "paused by the user")]
        rig.link.pause(False)
        await rig.until_state(LinkState.READY)


async def test_it_can_be_ended_while_it_waits_for_a_handshake(chosen: Library) -> None:
    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        over.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    rig = Rig(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", chosen)
    task = asyncio.create_task(rig.link.run())
    await rig.until_state(LinkState.CONNECTING)
    await asyncio.sleep(0.05)
    task.cancel()
    async with asyncio.timeout(2):
        await asyncio.gather(task, return_exceptions=True)
    assert not rig.driver.told
    await asyncio.wait_for(over.wait(), 5)  # its socket is closed, by nobody's garbage collection
    server.close()


async def test_it_can_be_ended_at_the_very_moment_an_attempt_fails(chosen: Library) -> None:
    """A cancellation that met the end of an attempt was lost, and the link went on knocking."""
    attempt: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def connect(url: str, **options: object) -> object:
        return await attempt

    rig = Rig("ws://127.0.0.1:1/x", chosen._replace(connect=connect))
    task = asyncio.create_task(rig.link.run())
    await rig.until_state(LinkState.CONNECTING)
    await asyncio.sleep(0.01)
    attempt.set_exception(ConnectionRefusedError())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=2)
    assert task.cancelled()


async def test_it_can_be_ended_at_the_very_moment_it_has_connected(chosen: Library) -> None:
    gone = asyncio.Event()

    async def until_gone(socket: ServerConnection) -> None:
        await socket.wait_closed()
        gone.set()

    async with serve(until_gone, "127.0.0.1", 0) as server:

        async def connect(url: str, **options: object) -> object:
            connected = await chosen.connect(url, **options)
            task.cancel()
            return connected

        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        rig = Rig(url, chosen._replace(connect=connect))
        task = asyncio.create_task(rig.link.run())
        await asyncio.wait({task}, timeout=5)
        await asyncio.wait_for(gone.wait(), 5)
    assert task.cancelled()
    assert rig.driver.count("o") == rig.driver.count("c")


async def test_what_was_said_is_shown_clean_and_cut(chosen: Library) -> None:
    async def hostile(socket: ServerConnection) -> None:
        await socket.send("\x1b]52;c;ZXZpbA==\x07" + "x" * 5_000)
        async for _ in socket:
            pass

    async with rigged(hostile, chosen) as rig:
        await rig.until(lambda: bool(rig.driver.frames))
        (_, shown), *_ = rig.view.raw
        assert "\x1b" not in shown
        assert len(shown) < 200


def test_without_the_extra_the_quick_library_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("feeds.wire.find_spec", lambda _name: None)
    assert library().name == "websockets"
    with pytest.raises(Exception, match="extra fast is not installed"):
        library(True)
