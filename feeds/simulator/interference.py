"""How a running connection is interfered with, its wire and its messages: through the kit's hooks alone.

Acts on messages take a `damage`. An act on a whole server's connections is the same act. What an act is called, what it threatens
and what a correct client does about it is in `faults.py`.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial

from feeds.simulator import damage
from feeds.simulator.damage import Damage, Message, Raw
from feeds.simulator.dialect import Json
from feeds.simulator.injection import Act, Injection, Topics, add_filter, books, listing_at, parsed, swallow
from feeds.simulator.kit import Connection, framed

REMEMBERED = 16
HELD_BYTES = 64 << 20
DRIP_S = 0.02


# Connections.


def close(code: int, reason: str = "") -> Act:
    async def act(injection: Injection) -> None:
        for connection in injection.targets():
            injection.hit(f"close {code}", connection)
            await connection.close(code, reason)

    return act


def vanish(injection: Injection) -> None:
    """The TCP connection ends without a close frame."""
    for connection in injection.targets():
        injection.hit("drop", connection)
        connection.drop()


def reset(injection: Injection) -> None:
    for connection in injection.targets():
        injection.hit("reset", connection)
        connection.abort()


def half_open(injection: Injection) -> None:
    for connection in injection.targets():
        injection.hit("freeze", connection)
        connection.freeze()
        injection.on_lift(connection.thaw)


def silence(injection: Injection) -> None:
    """No data, while pongs go on."""
    for connection in injection.targets():
        add_filter(injection, connection, swallow(injection, connection, lambda topic: True))


def mute_one(injection: Injection) -> None:
    """One topic falls silent while the others flow; for a reader who subscribes to it again as well."""
    for connection in injection.targets():
        steady = [topic for topic in connection.topics if injection.server.dialect.steady.search(topic)]
        if steady:
            topic = injection.rng.choice(steady)
            injection.hit(topic, connection)
            connection.mute(topic)
            injection.on_lift(partial(connection.unmute, topic))


def split(size: int) -> Act:
    """Writes of a few bytes each."""

    def act(injection: Injection) -> None:
        for connection in injection.targets():
            usual = connection.write

            def write(data: bytes, connection: Connection = connection, usual: Callable[[bytes], None] = usual) -> None:
                injection.hit("split", connection)
                for at in range(0, len(data), size):
                    usual(data[at : at + size])

            _write_by(injection, connection, write)

    return act


def drip(low: float, high: float) -> Act:
    """So many bytes a second, by chance between the two: what is late queues up. The rest goes out when the fault is lifted."""

    def act(injection: Injection) -> None:
        for connection in injection.targets():
            _Drip(injection, connection, injection.rng.uniform(low, high))

    return act


class _Drip:
    """A slow wire."""

    def __init__(self, injection: Injection, connection: Connection, bytes_a_second: float) -> None:
        self._injection = injection
        self._connection = connection
        self._usual = connection.write
        self._portion = max(1, int(bytes_a_second * DRIP_S))
        self._queue = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        injection.on_lift(self._end)
        _write_by(injection, connection, self._write)

    def _write(self, data: bytes) -> None:
        self._injection.hit("drip", self._connection)
        self._queue += data
        if len(self._queue) > self._connection.outbox_bytes:
            self._connection.abort()
        elif self._timer is None:
            self._send()

    def _send(self) -> None:
        self._timer = None
        if self._queue and not self._connection.transport.is_closing():
            self._usual(bytes(self._queue[: self._portion]))
            del self._queue[: self._portion]
            self._timer = asyncio.get_running_loop().call_later(DRIP_S, self._send)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._queue and not self._connection.transport.is_closing():
            self._usual(bytes(self._queue))


# Messages.


def spoil(harm: Damage, topics: Topics = books, times: int = 1) -> Act:
    """The next `times` messages of such topics that `harm` can work on, each topic's first let through; 0 for all of them."""

    def act(injection: Injection) -> None:
        for connection in injection.targets():
            add_filter(injection, connection, _Spoiler(injection, connection, harm, topics, times))

    return act


class _Spoiler:
    """A filter that remembers what went out before."""

    def __init__(self, injection: Injection, connection: Connection, harm: Damage, topics: Topics, times: int) -> None:
        self._injection = injection
        self._dialect = injection.server.dialect
        self._connection = connection
        self._harm = harm
        self._topics = topics
        self._left = times or -1
        self._before: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def __call__(self, topic: str, text: str) -> list[str]:
        if not self._left or not self._topics(self._dialect, topic):
            return [text]
        before = self._before[topic]
        ready = before or self._left < 0
        try:
            made = self._harm(Message(self._dialect, topic, text, tuple(before)), self._injection.rng) if ready else None
        except (ValueError, RecursionError):
            made = None  # another fault has made it unreadable
        before.append(text)
        if made is None:
            return [text]
        self._left -= 1
        self._injection.hit(topic, self._connection)
        return _put(self._injection, self._connection, made)


def swap(injection: Injection) -> None:
    """A message comes after the one that follows it."""
    dialect = injection.server.dialect
    for connection in injection.targets():
        held: dict[str, str] = {}

        def rule(topic: str, text: str, held: dict[str, str] = held, connection: Connection = connection) -> list[str]:
            if topic in held:
                return [text, held.pop(topic)]
            if held or not dialect.is_book(topic) or topic in injection.struck:
                return [text]
            held[topic] = text
            injection.hit(topic, connection)
            return []

        add_filter(injection, connection, rule)


def crossed_for_a_moment(gap_ticks: int) -> Act:
    """A bid `gap_ticks` above the best ask (0: locked), taken back by the message after it."""

    def act(injection: Injection) -> None:
        dialect, world = injection.server.dialect, injection.server.world
        for connection in injection.targets():
            placed: dict[str, tuple[Json, str]] = {}

            def rule(
                topic: str, text: str, placed: dict[str, tuple[Json, str]] = placed, connection: Connection = connection
            ) -> list[str]:
                if (
                    not dialect.is_book(topic)
                    or (topic in injection.struck and topic not in placed)
                    or (placed and topic not in placed)
                ):
                    return [text]
                message = parsed(text)
                if message is None:
                    return [text]
                if topic in placed:
                    return list(map(damage.write, dialect.without_bid(message, *placed.pop(topic))))
                found = listing_at(injection.server, connection, topic) if dialect.ends(message) else None
                if found is None:
                    return [text]
                _, _, ask, _ = world.books[found.key].touch
                price = found.price_text(ask + gap_ticks)
                made = dialect.with_bid(message, price, found.size_text(7))
                placed[topic] = made[-1], price
                injection.hit(topic, connection)
                return list(map(damage.write, made))

            add_filter(injection, connection, rule)

    return act


def renewed(injection: Injection) -> None:
    """A message of a book is lost, or torn where a loss alone is not noticed, so that the book is asked for anew."""
    spoil(damage.lost if injection.server.dialect.numbered else damage.torn)(injection)


def delta_before_snapshot(injection: Injection) -> None:
    """A book is asked for anew; then an update comes ahead of the snapshot."""
    dialect = injection.server.dialect
    renewed(injection)
    for connection in injection.targets():

        def rule(topic: str, text: str, connection: Connection = connection) -> list[str]:
            early = parsed(text) if dialect.is_book(topic) else None
            if early is None or not dialect.is_snapshot(early):
                return [text]
            dialect.as_update(early)
            for side in dialect.sides(early) or ():
                for level in side[len(side) // 2 :]:
                    dialect.without(early, level)
            injection.hit("early", connection)
            return [damage.write(early), text]

        add_filter(injection, connection, rule)


def withhold_snapshots(injection: Injection) -> None:
    """A book is asked for anew, and its first message never comes; what follows does."""
    dialect = injection.server.dialect
    renewed(injection)
    for connection in injection.targets():

        def rule(topic: str, text: str, connection: Connection = connection) -> list[str]:
            message = parsed(text) if dialect.is_book(topic) else None
            if message is None or not dialect.is_snapshot(message):
                return [text]
            injection.hit("withheld", connection)
            return []

        add_filter(injection, connection, rule)


def restart_books(injection: Injection) -> None:
    """The venue's service of a book starts over in mid-stream."""
    for connection in injection.targets():
        topics = [topic for topic in connection.topics if injection.server.dialect.is_book(topic)]
        found = listing_at(injection.server, connection, injection.rng.choice(topics)) if topics else None
        if found is not None:
            for _ in range(injection.server.restart(found.market, found.native)):
                injection.hit(found.native, connection)


def _write_by(injection: Injection, connection: Connection, write: Callable[[bytes], None]) -> None:
    usual = connection.write
    connection.write = write

    def back() -> None:
        if connection.write is write:
            connection.write = usual

    injection.on_lift(back)


def _put(injection: Injection, connection: Connection, made: Iterable[damage.Frame]) -> list[str]:
    """The texts of what is to be sent; anything else goes out here, ahead of them."""
    texts = []
    for frame in made:
        if isinstance(frame, Raw):
            connection.send_raw(framed(frame.payload, frame.head & 0x0F, compressed=bool(frame.head & damage.COMPRESSED)))
        else:
            if len(frame) > connection.outbox_bytes // 2:
                injection.on_lift(partial(setattr, connection, "outbox_bytes", connection.outbox_bytes))
                connection.outbox_bytes = HELD_BYTES
            texts.append(frame)
    return texts
