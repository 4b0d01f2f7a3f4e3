"""What can be wrong with one message: pure functions from a message to what is sent in its place. No socket, no clock.

A damage is told a message and a source of chance, and answers with the frames to send instead, or None where this message gives
it nothing to work on (no level to spoil, no time to shift): whoever uses it then waits for the next. Shapes and names are those
of the venue's dialect; nothing here knows a venue.
"""

import json
import math
import zlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from typing import Any, Literal, NamedTuple, TypeAlias

from feeds.simulator.dialect import Dialect, Json, Level

TEXT, BINARY = 0x1, 0x2
FINAL, COMPRESSED = 0x80, 0x40
DEFLATE_TAIL = b"\x00\x00\xff\xff"

US_PER_MS = 1_000
NESTED = 5_000
HUGE_BYTES = 20 << 20
BOMB_BYTES = 64 << 20
"""What the deflate bomb unfolds to: about 64 KiB on the wire."""
FAR = 1.02
"""How far a level is put beyond the market: farther than it goes within the half second that a crossed book may last."""
DEEP = 0.5
"""A bid at half the price stands beyond every depth."""
_MARK = "\ue000damaged\ue000"


class Raw(NamedTuple):
    """A websocket frame that is no well-formed text. `head` is the first byte: FINAL, COMPRESSED and the opcode."""

    head: int
    payload: bytes


Frame: TypeAlias = str | Raw


class Message(NamedTuple):
    """What was about to be sent. `before`: the same topic's messages that went out before it, oldest first."""

    dialect: Dialect
    topic: str
    text: str
    before: Sequence[str] = ()


Damage: TypeAlias = Callable[[Message, Random], Sequence[Frame] | None]


def write(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def scaled(price: str, factor: float) -> str:
    """`price` times `factor`, in as many digits, and round enough to be a multiple of any tick."""
    exact = float(price) * factor
    unit = 10.0 ** (math.floor(math.log10(exact)) - 3)
    digits = len(price.partition(".")[2])
    return f"{max(round(exact / unit), 1) * unit:.{digits}f}"


def _sides(message: Message) -> tuple[Json, tuple[list[Level], list[Level]]]:
    """A message, parsed, and its bids and asks: none of a message that is not a book's."""
    parsed = json.loads(message.text)
    return parsed, message.dialect.sides(parsed) or ([], [])


# Order: what a sequence rule must notice.


def lost(message: Message, rng: Random) -> Sequence[Frame]:
    return ()


def twice(message: Message, rng: Random) -> Sequence[Frame]:
    return message.text, message.text


def old_again(message: Message, rng: Random) -> Sequence[Frame] | None:
    """A message of a while ago comes again, before this one."""
    if len(message.before) < 3:
        return None
    return rng.choice(message.before[:-2]), message.text


def overlapping(message: Message, rng: Random) -> Sequence[Frame] | None:
    """This message also covers the one before it, as a venue that batches anew would send it. Only where ids are ranges."""
    if not message.before:
        return None
    made = message.dialect.merged(json.loads(message.text), json.loads(message.before[-1]))
    return None if made is None else (write(made),)


def unknown_id(message: Message, rng: Random) -> Sequence[Frame] | None:
    """A change of a level that nobody has heard of."""
    parsed = json.loads(message.text)
    return (write(parsed),) if message.dialect.estrange(parsed) else None


# Numbers and levels.


def number(literal: str, at: Literal["price", "size"]) -> Damage:
    """A level whose price or size is written as `literal`, in quotes or bare as the literal says."""

    def damage(message: Message, rng: Random) -> Sequence[Frame] | None:
        parsed, sides = _sides(message)
        levels = [level for side in sides for level in side]
        if not levels:
            return None
        dialect = message.dialect
        rng.choice(levels)[dialect.price_at if at == "price" else dialect.size_at] = _MARK
        return (write(parsed).replace(f'"{_MARK}"', literal),)

    return damage


def one_of(*damages: Damage) -> Damage:
    """Chance takes one."""
    return lambda message, rng: rng.choice(damages)(message, rng)


def crossed(message: Message, rng: Random) -> Sequence[Frame] | None:
    """A bid far above an ask."""
    dialect = message.dialect
    parsed, (_, asks) = _sides(message)
    standing = dialect.standing(parsed, asks)
    if not standing:
        return None
    highest = max((level[dialect.price_at] for level in standing), key=float)
    made = dialect.with_bid(parsed, scaled(str(highest), FAR), str(standing[0][dialect.size_at]))
    return tuple(map(write, made))


def beyond_depth(message: Message, rng: Random) -> Sequence[Frame] | None:
    """Five bids below the window a depth-limited book covers."""
    dialect = message.dialect
    parsed, (bids, _) = _sides(message)
    standing = dialect.standing(parsed, bids)
    if not standing:
        return None
    price, size = str(standing[-1][dialect.price_at]), str(standing[-1][dialect.size_at])
    for step in range(5):
        dialect.with_bid(parsed, scaled(price, DEEP - 0.01 * step), size)
    return (write(parsed),)


def tenfold(side: int) -> Damage:
    """Every price of bids (0) or asks (1) ten times as high: a decimal point in the wrong place."""

    def damage(message: Message, rng: Random) -> Sequence[Frame] | None:
        dialect = message.dialect
        parsed, sides = _sides(message)
        standing = dialect.standing(parsed, sides[side])
        for level in standing:
            dialect.put(level, dialect.price_at, str(Decimal(str(level[dialect.price_at])) * 10))
        return (write(parsed),) if standing else None

    return damage


def wrong_size(message: Message, rng: Random) -> Sequence[Frame] | None:
    """One level's size three times as large: plausible, and nothing else is wrong."""
    dialect = message.dialect
    parsed, sides = _sides(message)
    levels = [level for side in sides for level in dialect.standing(parsed, side)]
    if not levels:
        return None
    level = rng.choice(levels)
    size = str(level[dialect.size_at])
    dialect.put(level, dialect.size_at, f"{float(size) * 3:.{len(size.partition('.')[2])}f}")
    return (write(parsed),)


def level_lost(message: Message, rng: Random) -> Sequence[Frame] | None:
    """One level of a message is missing, and its ids are whole."""
    parsed, sides = _sides(message)
    choices = [side for side in sides if side]
    if not choices:
        return None
    side = rng.choice(choices)
    message.dialect.without(parsed, side[rng.randrange(len(side))])
    return (write(parsed),)


# Text that is no message, or not the one that was promised.


def torn(message: Message, rng: Random) -> Sequence[Frame]:
    return (message.text[: rng.randrange(1, len(message.text) - 1)],)


def wrong_type(message: Message, rng: Random) -> Sequence[Frame] | None:
    parsed = json.loads(message.text)
    data = message.dialect.body(parsed)
    names = [name for name in message.dialect.vital if name in data]
    if not names:
        return None
    data[rng.choice(names)] = rng.choice(({"a": 1}, True, "x", [["x", "y"]], [[[]]], -1.5))
    return (write(parsed),)


def field_lost(message: Message, rng: Random) -> Sequence[Frame]:
    parsed = json.loads(message.text)
    data = message.dialect.body(parsed)
    holder = data if rng.random() < 0.7 else parsed
    del holder[rng.choice(list(holder))]
    return (write(parsed),)


def more_fields(message: Message, rng: Random) -> Sequence[Frame]:
    parsed = json.loads(message.text)
    extra = {"zz": rng.randrange(1000), "newField": {"deep": [1, "two", None]}, "\u202eb": "x\x1b[31m", "": ""}
    message.dialect.body(parsed).update(extra)
    parsed.update(extra)
    return (write(parsed),)


def empty(message: Message, rng: Random) -> Sequence[Frame]:
    return (rng.choice(("", "{}", "[]", "null", '""', " ")),)


def nested(message: Message, rng: Random) -> Sequence[Frame]:
    """Arrays within arrays, alone or where a side of a book should stand."""
    deep = "[" * NESTED + "]" * NESTED
    head = f'"{message.dialect.first_list}":['
    inside = message.text.replace(head, f"{head}{deep},", 1)
    return (rng.choice((deep, inside)),)


def byte_order_mark(message: Message, rng: Random) -> Sequence[Frame]:
    return ("\ufeff" + message.text,)


def bad_utf8(message: Message, rng: Random) -> Sequence[Frame]:
    data = bytearray(message.text.encode())
    data[rng.randrange(len(data))] = rng.choice((0xFF, 0xC0, 0xFE))
    return (Raw(FINAL | TEXT, bytes(data)),)


def binary(message: Message, rng: Random) -> Sequence[Frame]:
    """The message itself, in a frame of the wrong kind."""
    return (Raw(FINAL | BINARY, message.text.encode()),)


def huge(message: Message, rng: Random) -> Sequence[Frame]:
    return (message.text[:-1] + ',"pad":"' + "x" * HUGE_BYTES + '"}',)


def deflate_bomb(message: Message, rng: Random) -> Sequence[Frame]:
    """Little on the wire that unfolds to much, as permessage-deflate carries it, whether or not that was agreed upon."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    step = b" " * (1 << 20)
    packed = b"".join(deflate.compress(step) for _ in range(BOMB_BYTES // len(step))) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return (Raw(FINAL | COMPRESSED | TEXT, packed.removesuffix(DEFLATE_TAIL)),)


# Times.


Shift: TypeAlias = Callable[[int], int | None]


def _times(shift: Shift) -> Damage:
    """Every time in a message; where `shift` gives None there is none any more."""

    def damage(message: Message, rng: Random) -> Sequence[Frame] | None:
        parsed = json.loads(message.text)
        return (write(parsed),) if _retime(message.dialect, parsed, shift) else None

    return damage


def _retime(dialect: Dialect, value: Any, shift: Shift) -> bool:
    """Shift every time within. Tells whether there was one."""
    found = False
    if isinstance(value, list):
        for item in value:
            found |= _retime(dialect, item, shift)
    elif isinstance(value, dict):
        for name in list(value):
            was = value[name]
            at = dialect.ms_of(was) if name in dialect.times else None
            if at is None:
                found |= _retime(dialect, was, shift)
                continue
            found = True
            if (moved := shift(at)) is None:
                del value[name]
            else:
                value[name] = dialect.time_at(moved)
    return found


in_microseconds: Damage = _times(lambda at: at * US_PER_MS)
without_time: Damage = _times(lambda at: None)
time_zero: Damage = _times(lambda at: 0)


def burst(times: int) -> Damage:
    """The message and as many more that say the same, each trade as a trade of its own."""

    def damage(message: Message, rng: Random) -> Sequence[Frame] | None:
        dialect = message.dialect
        if not dialect.repeatable.search(message.topic):
            return None
        trades = dialect.trades.search(message.topic) is not None
        more = []
        for _ in range(times - 1):
            text = message.text
            if trades:
                text = dialect.trade_id.sub(lambda found: found[0].replace(found[1], str(rng.randrange(10**17, 10**18))), text)
            more.append(text)
        return (message.text, *more)

    return damage
