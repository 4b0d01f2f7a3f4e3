"""How a venue's messages are read and altered: what faults, and whoever judges them, must know of a venue.

A dialect knows shapes and names alone. It makes no message of its own but the few that a fault puts beside a true one, knows no
market and no socket. Each simulated venue has one, in a file beside its server; `Pairs` is for those that write levels as
[price, size] texts.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
Level: TypeAlias = Any
"""What holds one level's price and size in a parsed message, at `price_at` and `size_at`: a list or an object."""

FEATURES: Mapping[str, str] = {
    "book": "the connection carries books",
    "in-band snapshot": "a book begins with a message on the connection",
    "rest book": "a book begins with an answer over REST",
    "rest fallback": "a book whose first message never comes can be had over REST",
    "ranged ids": "an update says which numbers it covers, so that two may overlap",
    "numbered": "updates of a book say what they follow; without that a lost one is proved by nothing",
    "window": "a book is its best levels, so that a level may lie beyond its depth",
    "restart": "the service of a book can start over in mid-stream",
    "notice": "the end of a connection is announced on it",
    "ms times": "times are counts of milliseconds, which can be mistaken for microseconds; texts of a date cannot",
    "ids": "levels are known by ids, one of which may be unheard of",
}
"""What a fault may need of a venue. Where it is missing the fault means nothing, for the reason that stands here."""


class Dialect(ABC):
    """The messages of one venue, or of one of its servers. `message` is one that has been parsed, to be changed in place."""

    features: frozenset[str] = frozenset()
    """Of `FEATURES`, but for `book`, which a connection has by its topics."""
    books: re.Pattern[str]
    """Topics whose messages build on each other."""
    steady: re.Pattern[str]
    """Topics that are never silent for long."""
    repeatable: re.Pattern[str]
    """Topics whose messages can be sent many times over without a change of meaning, trades with new ids apart."""
    trades: re.Pattern[str]
    """Those of them that are trades."""
    trade_id: re.Pattern[str]
    """A trade's id as a message has it; the group is what makes it another's."""
    native: re.Pattern[str]
    """The venue's name of an instrument in a topic, in one of the groups."""
    vital: Sequence[str] = ()
    """Fields of a book's message, within `body`, without which it cannot be used."""
    first_list: str
    """The field that holds a book's levels, or those of its first side."""
    price_at: Any
    size_at: Any
    times: frozenset[str]
    """Fields that hold a time of the venue."""
    depths: Sequence[int]
    """Levels a side that a reader holds for certain, rising: several where there are several kinds of book."""
    window = 0
    """Levels a side that a book has at the most, where it is its best levels."""
    instead = False
    """A client that is refused a channel asks for another in its place: what was refused must not speak afterwards."""
    by_time = False
    """Readers know a state of a book by the venue's ms, not by a number of its own."""
    list_paths: tuple[str, ...]
    """How requests for lists of instruments end."""
    snapshot_path = ""
    """How requests for a book's snapshot end."""
    snapshot_number = ""
    """The field of such an answer that numbers it."""

    @property
    def numbered(self) -> bool:
        return "numbered" in self.features

    def is_book(self, topic: str) -> bool:
        return self.books.search(topic) is not None

    def native_of(self, topic: str) -> str:
        """The instrument that a topic is about, empty for none."""
        match = self.native.search(topic)
        return next(filter(None, match.groups()), "").upper() if match is not None else ""

    def market_of(self, path: str) -> str:
        """The market of a connection at that path."""
        return "public"

    def body(self, message: Json) -> Json:
        """The part of a message that holds its data."""
        data = message.get("data", message)
        if isinstance(data, list):
            data = data[0] if data else {}
        return data if isinstance(data, dict) else message

    @abstractmethod
    def sides(self, message: Json) -> tuple[list[Level], list[Level]] | None:
        """The levels of bids and of asks in a book's message; None for anything else."""

    @abstractmethod
    def standing(self, message: Json, levels: Sequence[Level]) -> list[Level]:
        """Those of a message's levels that it sets and does not delete."""

    @abstractmethod
    def without(self, message: Json, level: Level) -> None:
        """Take a level out of a message."""

    @abstractmethod
    def with_bid(self, message: Json, price: str, size: str) -> list[Json]:
        """What also sets a bid: the message itself, or it and another."""

    @abstractmethod
    def without_bid(self, message: Json, placed: Json, price: str) -> list[Json]:
        """What also deletes a bid that the message `placed` has set, before the message says anything of its price."""

    def ends(self, message: Json) -> bool:
        """Whether a book is whole after a message, and not in the midst of an event that takes several."""
        return True

    @abstractmethod
    def is_snapshot(self, message: Json) -> bool:
        """Whether a book's message begins it anew."""

    @abstractmethod
    def as_update(self, message: Json) -> None:
        """Make an earlier update of a book's snapshot, with the same levels."""

    def estrange(self, message: Json) -> bool:
        """Give a level that a message changes an id that nobody has heard of. Whether there was one."""
        return False

    def put(self, level: Level, at: Any, text: str) -> None:
        """Write a number, as this venue writes numbers."""
        level[at] = text if isinstance(level[at], str) else as_number(text)

    def merged(self, now: Json, then: Json) -> Json | None:
        """An update that also covers the one before it; None where there is no such thing."""
        return None

    def ms_of(self, written: object) -> int | None:
        """A time of the venue in ms; None for what is none."""
        return written if isinstance(written, int) else None

    def time_at(self, at: int) -> object:
        """A time in ms as this venue writes it."""
        return at

    @abstractmethod
    def acknowledges(self, message: Json) -> bool:
        """Whether a control message answers a subscription, well or badly."""

    @abstractmethod
    def refusal(self, message: Json, text: str) -> Json:
        """What the venue says in place of an acknowledgement; `text` is why, where it says so."""

    @abstractmethod
    def instruments(self, body: Any) -> list[Json]:
        """The rows in a list of instruments, to be changed in place."""

    @abstractmethod
    def name_in(self, row: Json) -> str:
        """The instrument that a row of a list is about."""

    @abstractmethod
    def coarsen(self, row: Json, times: int) -> None:
        """State a tick so many times as large."""


class Pairs(Dialect):
    """Levels are lists of texts that begin with price and size, 0 deleting."""

    names: tuple[str, str] = ("b", "a")
    """Of bids and asks."""
    rest: Sequence[str] = ()
    """What a level has besides."""
    price_at, size_at = 0, 1

    @property
    def first_list(self) -> str:  # type: ignore[override]
        return self.names[0]

    def sides(self, message: Json) -> tuple[list[Level], list[Level]] | None:
        data = self.body(message)
        for bids, asks in (self.names, ("bids", "asks")):
            if isinstance(data.get(bids), list) and isinstance(data.get(asks), list):
                return data[bids], data[asks]
        return None

    def standing(self, message: Json, levels: Sequence[Level]) -> list[Level]:
        return [level for level in levels if float(level[1])]

    def without(self, message: Json, level: Level) -> None:
        for side in self.sides(message) or ():
            side[:] = [each for each in side if each is not level]

    def with_bid(self, message: Json, price: str, size: str) -> list[Json]:
        bids, _ = self.sides(message) or ([], [])
        bids.append([price, size, *self.rest])
        return [message]

    def without_bid(self, message: Json, placed: Json, price: str) -> list[Json]:
        bids, _ = self.sides(message) or ([], [])
        if all(float(level[0]) != float(price) for level in bids):
            bids.append([price, "0", *self.rest])
        return [message]


def as_number(text: str) -> float | int:
    """A number as JSON has it, whole where the text is."""
    value = float(text)
    return int(value) if value.is_integer() and "." not in text else value
