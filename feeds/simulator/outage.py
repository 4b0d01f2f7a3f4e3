"""How a running server as a whole fails its clients: at the door, over REST, in its instruments, in its clock.

Acts like those of `interference.py`. Those on a snapshot lose a message of each book first, so that one is asked for.
"""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from aiohttp import web

from feeds.model import MS, SECOND, Ns
from feeds.simulator import damage
from feeds.simulator.dialect import Dialect, Json
from feeds.simulator.injection import Act, Injection, add_filter, listing_at, parsed, swallow, take_slot
from feeds.simulator.interference import renewed, reset
from feeds.simulator.kit import Connection, VenueServer
from feeds.simulator.listings import Listing

FOREVER_S = 3_600.0
OLDER = 1_000_000
"""By how much the number of a stale snapshot is too low."""
TICK_TIMES = 10


# Getting in.


def refuse(injection: Injection) -> None:
    """Nobody listens any more, and whoever was there is thrown out."""
    injection.hit("refuse")
    injection.server.refuse()
    reset(injection)
    injection.on_lift(injection.server.listen)


def handshake(status: int, retry_after: bool = False) -> Act:
    """Everyone is thrown out and gets this status instead of a websocket."""

    def act(injection: Injection) -> None:
        headers = {"Retry-After": str(injection.rng.randint(1, 3))} if retry_after else {}

        def answer(request: web.Request) -> web.Response:
            injection.hit(f"handshake {status}")
            return web.Response(status=status, headers=headers, text="\x1b]0;refused\x07")

        take_slot(injection, "handshake", answer)
        reset(injection)

    return act


def accept_then_close(injection: Injection) -> None:
    code = injection.rng.choice((1000, 1001, 1011, 1013))

    async def greet(connection: Connection) -> None:
        injection.hit("accept", connection)
        await connection.close(code)

    take_slot(injection, "greeting", greet)
    reset(injection)


Answer: TypeAlias = Callable[[Dialect, Json], list[str]]
"""What is sent in place of an acknowledgement."""


def answers(change: Answer, data: bool) -> Act:
    """Subscriptions on new connections are answered otherwise; `data` whether theirs flow. Everyone has to come anew."""

    def act(injection: Injection) -> None:
        dialect = injection.server.dialect

        async def greet(connection: Connection) -> None:
            def reply(text: str) -> list[str]:
                message = parsed(text)
                if message is None or not dialect.acknowledges(message):
                    return [text]
                injection.hit("answer", connection)
                if change is as_error and dialect.instead:
                    connection.topics.clear()
                return change(dialect, message)

            connection.replies = reply
            injection.on_lift(partial(setattr, connection, "replies", None))
            if not data:
                add_filter(injection, connection, swallow(injection, connection, lambda topic: True))

        take_slot(injection, "greeting", greet)
        reset(injection)

    return act


def as_it_was(dialect: Dialect, message: Json) -> list[str]:
    return [damage.write(message)]


def nothing(dialect: Dialect, message: Json) -> list[str]:
    return []


def as_error(dialect: Dialect, message: Json) -> list[str]:
    """The acknowledgement as this venue refuses, with a text that wants to paint on a terminal."""
    return [damage.write(dialect.refusal(message, "Invalid symbol \x1b[2J\x1b]52;c;aGk=\x07[red]\u202e"))]


# REST.


def rest_status(status: int, snapshots: bool = False, times: int = 0, retry_after: bool = False, text: str = "") -> Act:
    """All requests, or those for a book's snapshot, are answered with a status, so often; 0: always. One is made to be needed."""

    def act(injection: Injection) -> None:
        path = injection.server.dialect.snapshot_path if snapshots else ""
        headers = {"Retry-After": str(injection.rng.randint(1, 3))} if retry_after else {}
        left = times or -1

        async def hook(request: web.Request, at: str) -> web.StreamResponse | None:
            nonlocal left
            if not left or not at.endswith(path):
                return None
            left -= 1
            injection.hit(at)
            return web.Response(status=status, headers=headers, text=text)

        take_slot(injection, "rest_hook", hook)
        if snapshots:
            renewed(injection)

    return act


def hang_snapshot(injection: Injection) -> None:
    """The snapshot is never answered until the fault is lifted."""
    lifted = asyncio.Event()

    async def hook(request: web.Request, path: str) -> web.StreamResponse | None:
        if not path.endswith(injection.server.dialect.snapshot_path):
            return None
        injection.hit(path)
        await asyncio.wait_for(lifted.wait(), FOREVER_S)
        return None

    take_slot(injection, "rest_hook", hook)
    injection.on_lift(lifted.set)
    renewed(injection)


def stale_snapshots(times: int) -> Act:
    """Snapshots from before everything the client has buffered, `times` in a row."""

    def act(injection: Injection) -> None:
        left = times
        dialect = injection.server.dialect

        def older(body: Json) -> None:
            dialect.body(body)[dialect.snapshot_number] -= OLDER
            for side in dialect.sides(body) or ():
                del side[::3]

        async def hook(request: web.Request, path: str) -> web.StreamResponse | None:
            nonlocal left
            if not left or not path.endswith(injection.server.dialect.snapshot_path):
                return None
            left -= 1
            injection.hit(path)
            return await _edited(injection.server, request, older)

        take_slot(injection, "rest_hook", hook)
        renewed(injection)

    return act


def late_snapshot(injection: Injection) -> None:
    """A snapshot is taken, everyone is thrown out, and only then it arrives."""
    done = False

    async def hook(request: web.Request, path: str) -> web.StreamResponse | None:
        nonlocal done
        if done or not path.endswith(injection.server.dialect.snapshot_path):
            return None
        done = True
        injection.hit(path)
        answer = await injection.server.rest(request)
        for connection in list(injection.server.connections):
            connection.abort()
        await asyncio.sleep(injection.rng.uniform(0.8, 2.0))
        return answer

    take_slot(injection, "rest_hook", hook)
    renewed(injection)


def delist(injection: Injection) -> None:
    """An instrument is no longer listed, and its topics fall silent."""
    dialect = injection.server.dialect
    found = _some_listing(injection)
    if found is None:
        return

    def without(body: Json) -> None:
        rows = dialect.instruments(body)
        rows[:] = [row for row in rows if dialect.name_in(row) != found.native]

    def about(topic: str) -> bool:
        return dialect.native_of(topic) == found.native

    _edit_lists(injection, without)

    async def greet(connection: Connection) -> None:
        add_filter(injection, connection, swallow(injection, connection, about))

    for connection in injection.targets():
        add_filter(injection, connection, swallow(injection, connection, about))
    take_slot(injection, "greeting", greet)
    injection.hit(found.native)


def change_tick(injection: Injection) -> None:
    """The lists of instruments state a tick ten times as large."""
    dialect = injection.server.dialect
    found = _some_listing(injection)
    if found is None:
        return

    def coarser(body: Json) -> None:
        for row in dialect.instruments(body):
            if dialect.name_in(row) == found.native:
                dialect.coarsen(row, TICK_TIMES)

    _edit_lists(injection, coarser)
    injection.hit(found.native)


# The venue as a whole.


def clock_off(low_s: float, high_s: float) -> Act:
    """The venue's clock, in all it says, is off by so much, forward or back."""

    def act(injection: Injection) -> None:
        by_ns: Ns = int(injection.rng.choice((-1, 1)) * injection.rng.uniform(low_s, high_s) * SECOND) // MS * MS
        injection.server.clock_offset_ns += by_ns
        injection.hit("clock")

        def back() -> None:
            injection.server.clock_offset_ns -= by_ns

        injection.on_lift(back)

    return act


def announce_and_cut(after_s: float) -> Act:
    """The notice of the end, and the end."""

    async def act(injection: Injection) -> None:
        injection.hit("notice")
        old = list(injection.server.connections)
        injection.server.announce_shutdown()

        async def cut() -> None:
            for connection in old:
                if connection.alive:
                    await connection.close(1001, "")

        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        timer = loop.call_later(after_s, lambda: tasks.append(loop.create_task(cut())))

        async def end() -> None:
            timer.cancel()
            await (asyncio.gather(*tasks) if tasks else cut())

        injection.on_lift(end)

    return act


def _some_listing(injection: Injection) -> Listing | None:
    """One that somebody listens to, by chance."""
    found = {
        listing.key: listing
        for connection in injection.targets()
        for topic in connection.topics
        if (listing := listing_at(injection.server, connection, topic)) is not None
    }
    return found[injection.rng.choice(list(found))] if found else None


def _edit_lists(injection: Injection, change: Callable[[Json], None]) -> None:
    async def hook(request: web.Request, path: str) -> web.StreamResponse | None:
        if not path.endswith(injection.server.dialect.list_paths):
            return None
        injection.hit(path)
        return await _edited(injection.server, request, change)

    take_slot(injection, "rest_hook", hook)


async def _edited(server: VenueServer, request: web.Request, change: Callable[[Json], None]) -> web.StreamResponse:
    """The venue's own answer, changed; a refusal as it is."""
    answer = await server.rest(request)
    if not isinstance(answer, web.Response) or answer.status != 200 or answer.text is None:
        return answer
    body = json.loads(answer.text)
    change(body)
    answer.text = damage.write(body)
    return answer
