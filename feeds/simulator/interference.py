"""How a running connection is interfered with, its wire and its messages: through the kit's hooks alone.

Acts on messages take a `damage`. An act on a whole server's connections is the same act. What an act is called, what it threatens
and what a correct client does about it is in `faults.py`.
"""

import asyncio
import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from functools import partial

from feeds.simulator import damage
from feeds.simulator.damage import Damage, Json, Message, Raw
from feeds.simulator.injection import BOOK, Act, Injection, add_filter, listing_at, swallow
from feeds.simulator.kit import Connection, VenueServer, framed
from feeds.simulator.listings import Listing

STEADY = re.compile(r"@depth|@bookTicker|@markPrice|orderbook\.|tickers\.")
"""Topics that are never silent for long."""
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


def silence(pattern: re.Pattern[str]) -> Act:
    """Nothing of the topics that match, while pongs and the rest go on."""

    def act(injection: Injection) -> None:
        for connection in injection.targets():
            add_filter(injection, connection, swallow(injection, connection, pattern))

    return act


def mute_one(injection: Injection) -> None:
    """One topic falls silent while the others flow; for a reader who subscribes to it again as well."""
    for connection in injection.targets():
        steady = [topic for topic in connection.topics if STEADY.search(topic)]
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


def spoil(harm: Damage, topics: re.Pattern[str] = BOOK, times: int = 1) -> Act:
    """The next `times` messages of such topics that `harm` can work on, each topic's first let through; 0 for all of them."""

    def act(injection: Injection) -> None:
        for connection in injection.targets():
            add_filter(injection, connection, _Spoiler(injection, connection, harm, topics, times))

    return act


class _Spoiler:
    """A filter that remembers what went out before."""

    def __init__(self, injection: Injection, connection: Connection, harm: Damage, topics: re.Pattern[str], times: int) -> None:
        self._injection = injection
        self._connection = connection
        self._harm = harm
        self._topics = topics
        self._left = times or -1
        self._before: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def __call__(self, topic: str, text: str) -> list[str]:
        if not self._left or not self._topics.search(topic):
            return [text]
        before = self._before[topic]
        ready = before or self._left < 0
        made = self._harm(Message(topic, text, tuple(before)), self._injection.rng) if ready else None
        before.append(text)
        if made is None:
            return [text]
        self._left -= 1
        self._injection.hit(topic, self._connection)
        return _put(self._injection, self._connection, made)


def swap(injection: Injection) -> None:
    """A message comes after the one that follows it."""
    for connection in injection.targets():
        held: dict[str, str] = {}

        def rule(topic: str, text: str, held: dict[str, str] = held, connection: Connection = connection) -> list[str]:
            if topic in held:
                return [text, held.pop(topic)]
            if held or not BOOK.search(topic) or topic in injection.struck:
                return [text]
            held[topic] = text
            injection.hit(topic, connection)
            return []

        add_filter(injection, connection, rule)


def crossed_for_a_moment(gap_ticks: int) -> Act:
    """A bid `gap_ticks` above the best ask (0: locked), taken back by the message after it."""

    def act(injection: Injection) -> None:
        for connection in injection.targets():
            placed: dict[str, str] = {}

            def rule(topic: str, text: str, placed: dict[str, str] = placed, connection: Connection = connection) -> list[str]:
                if (
                    not BOOK.search(topic)
                    or (topic in injection.struck and topic not in placed)
                    or (placed and topic not in placed)
                ):
                    return [text]
                message = json.loads(text)
                bids, _ = damage.sides(message) or ([], [])
                if topic in placed:
                    price = placed.pop(topic)
                    if all(float(level[0]) != float(price) for level in bids):
                        bids.append([price, "0"])
                    return [damage.write(message)]
                found = listing_at(injection.server, connection, topic)
                seq = _state(injection.server, found, message) if found is not None else None
                if found is None or seq is None:
                    return [text]
                ask = round(injection.server.world.truth_touch(found.key, seq)[2] / found.tick)
                placed[topic] = found.price_text(ask + gap_ticks)
                bids.append([placed[topic], found.size_text(7)])
                injection.hit(topic, connection)
                return [damage.write(message)]

            add_filter(injection, connection, rule)

    return act


def delta_before_snapshot(injection: Injection) -> None:
    """One update is lost, so that the book is asked for anew; then an update comes ahead of the snapshot."""
    for connection in injection.targets():
        spoil(damage.lost)(injection)

        def rule(topic: str, text: str, connection: Connection = connection) -> list[str]:
            if not BOOK.search(topic) or '"type":"snapshot"' not in text:
                return [text]
            early = json.loads(text)
            early["type"] = "delta"
            data = damage.body(early)
            data["u"] -= 1
            for side in damage.sides(early) or ():
                del side[len(side) // 2 :]
            injection.hit("early", connection)
            return [damage.write(early), text]

        add_filter(injection, connection, rule)


def restart_books(injection: Injection) -> None:
    """The venue's service starts over: a snapshot in mid-stream, numbered 1."""
    for connection in injection.targets():
        books = [topic for topic in connection.topics if BOOK.search(topic)]
        found = listing_at(injection.server, connection, injection.rng.choice(books)) if books else None
        restart = getattr(injection.server, "restart", None)
        if found is not None and restart is not None:
            for _ in range(restart(found.market, found.native)):
                injection.hit(found.native, connection)


def _state(server: VenueServer, listing: Listing, message: Json) -> int | None:
    """The state of the true book that a message leads to."""
    data = damage.body(message)
    for name in ("seq", "u"):
        try:
            server.world.truth_touch(listing.key, data[name])
        except KeyError:
            continue
        return int(data[name])
    return None


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
