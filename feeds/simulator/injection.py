"""A fault at work: whom it hit, what undoes it, and the hooks of connections and servers that it may take.

Every act of `interference.py` and `outage.py` is told one of these, and leaves in it what undoes it, so that any number of faults
can stand at once and be lifted in any order.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import Any, TypeAlias

from feeds.simulator.dialect import Dialect, Json
from feeds.simulator.kit import Connection, VenueServer
from feeds.simulator.listings import Listing

Undo: TypeAlias = Callable[[], Awaitable[None] | None]
Topics: TypeAlias = Callable[[Dialect, str], bool]
"""Which topics of a venue are meant."""


def books(dialect: Dialect, topic: str) -> bool:
    """Those whose messages build on each other."""
    return dialect.is_book(topic)


def all_topics(dialect: Dialect, topic: str) -> bool:
    return True


class Injection:
    """A fault at work. `connection` is None where the whole server is its target."""

    def __init__(self, server: VenueServer, connection: Connection | None, rng: Random) -> None:
        self.server = server
        self.connection = connection
        self.rng = rng
        self.struck: dict[str, int] = {}
        """Topic, path or other target -> how often it was hit: what was really done so far."""
        self.connections: list[int] = []
        """Numbers of the connections that were hit: what they carried is not to be believed afterwards."""
        self._undo: list[Undo] = []

    @property
    def count(self) -> int:
        return sum(self.struck.values())

    def hit(self, what: str, connection: Connection | None = None) -> None:
        self.struck[what] = self.struck.get(what, 0) + 1
        connection = connection or self.connection
        if connection is not None and connection.number not in self.connections:
            self.connections.append(connection.number)

    def on_lift(self, undo: Undo) -> None:
        self._undo.append(undo)

    async def lift(self) -> None:
        """Undo it. What has already been sent stays sent."""
        while self._undo:
            done = self._undo.pop()()
            if done is not None:
                await done

    def targets(self) -> list[Connection]:
        """The connection, or all of the server's."""
        return [self.connection] if self.connection is not None else list(self.server.connections)


Act: TypeAlias = Callable[[Injection], Awaitable[None] | None]


def listing_at(server: VenueServer, connection: Connection, topic: str) -> Listing | None:
    """The instrument a topic on a connection is about."""
    dialect = server.dialect
    native = dialect.native_of(topic)
    venue, _, _ = server.name.partition(".")
    return server.world.listings.get(f"{venue}.{dialect.market_of(connection.path)}.{native}") if native else None


def parsed(text: str) -> Json | None:
    """A message; None for bare text, and for what another fault has made unreadable."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def add_filter(injection: Injection, connection: Connection, rule: Callable[[str, str], list[str]]) -> None:
    connection.filters.append(rule)
    injection.on_lift(partial(connection.filters.remove, rule))


def swallow(injection: Injection, connection: Connection, topics: Callable[[str], bool]) -> Callable[[str, str], list[str]]:
    def rule(topic: str, text: str) -> list[str]:
        if not topics(topic):
            return [text]
        injection.hit(topic, connection)
        return []

    return rule


def take_slot(injection: Injection, name: str, hook: Callable[..., Any]) -> None:
    """Put a hook before those that are in a slot of the server."""
    server = injection.server
    chain = getattr(server, name)
    if not isinstance(chain, _Chain):
        kind = _Chain if name == "handshake" else _AwaitedChain
        chain = kind([] if chain is None else [chain])
        setattr(server, name, chain)
    chain.hooks.insert(0, hook)
    injection.on_lift(partial(chain.hooks.remove, hook))


class _Chain:
    """Several hooks in one slot of a server: the first that answers is heard."""

    def __init__(self, hooks: Sequence[Callable[..., Any]]) -> None:
        self.hooks = list(hooks)

    def __call__(self, *args: Any) -> Any:
        for hook in self.hooks:
            answer = hook(*args)
            if answer is not None:
                return answer
        return None


class _AwaitedChain(_Chain):
    async def __call__(self, *args: Any) -> Any:
        for hook in list(self.hooks):
            answer = await hook(*args)
            if answer is not None:
                return answer
        return None
