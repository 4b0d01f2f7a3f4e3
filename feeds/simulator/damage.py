"""What can be wrong with one message: pure functions from a message to what is sent in its place. No socket, no clock.

A damage is told a message and a source of chance, and answers with the frames to send instead, or None where this message gives
it nothing to work on (no level to spoil, no time to shift): whoever uses it then waits for the next. It knows the shape that all
books share, pairs of lists of [price, size], and the names of their counters and times; nothing else of any venue.
"""

import json
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple, TypeAlias

Json: TypeAlias = dict[str, Any]

TEXT, BINARY = 0x1, 0x2
FINAL, COMPRESSED = 0x80, 0x40
DEFLATE_TAIL = b"\x00\x00\xff\xff"

SIDES: Sequence[tuple[str, str]] = (("b", "a"), ("bids", "asks"))
"""How venues name the two sides of a book."""
TIMES = frozenset({"ts", "cts", "E", "T", "timestamp"})
"""Fields that hold a venue time in ms."""
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

    topic: str
    text: str
    before: Sequence[str] = ()


Damage: TypeAlias = Callable[[Message, Random], Sequence[Frame] | None]


def body(message: Json) -> Json:
    """The part of a message that holds its data."""
    data = message.get("data", message)
    if isinstance(data, list):
        data = data[0] if data else {}
    return data if isinstance(data, dict) else message


def sides(message: Json) -> tuple[list[list[str]], list[list[str]]] | None:
    """Bids and asks of a book message, to be changed in place; None for anything else."""
    data = body(message)
    for bids, asks in SIDES:
        if isinstance(data.get(bids), list) and isinstance(data.get(asks), list):
            return data[bids], data[asks]
    return None


def write(message: Json) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def scaled(price: str, factor: float) -> str:
    """`price` times `factor`, in as many digits, and round enough to be a multiple of any tick."""
    exact = float(price) * factor
    unit = 10.0 ** (math.floor(math.log10(exact)) - 3)
    digits = len(price.partition(".")[2])
    return f"{max(round(exact / unit), 1) * unit:.{digits}f}"


def _standing(levels: list[list[str]]) -> list[list[str]]:
    """Levels that are set, not deleted."""
    return [level for level in levels if float(level[1])]


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
    now, then = json.loads(message.text), json.loads(message.before[-1])
    new, old = body(now), body(then)
    if "U" not in new or "U" not in old:
        return None
    new["U"] = old["U"]
    if "pu" in old:
        new["pu"] = old["pu"]
    for bids, asks in SIDES:
        for side in (bids, asks):
            if side in new and side in old:
                levels = dict(map(tuple, old[side])) | dict(map(tuple, new[side]))
                new[side] = [list(level) for level in levels.items()]
    return (write(now),)


# Numbers and levels.


def number(literal: str, at: int) -> Damage:
    """A level whose price (`at` 0) or size (1) is written as `literal`, in quotes or bare as the literal says."""

    def damage(message: Message, rng: Random) -> Sequence[Frame] | None:
        parsed = json.loads(message.text)
        levels = [level for side in sides(parsed) or () for level in side]
        if not levels:
            return None
        rng.choice(levels)[at] = _MARK
        return (write(parsed).replace(f'"{_MARK}"', literal),)

    return damage


def one_of(*damages: Damage) -> Damage:
    """Chance takes one."""
    return lambda message, rng: rng.choice(damages)(message, rng)


def crossed(message: Message, rng: Random) -> Sequence[Frame] | None:
    """A bid far above an ask."""
    parsed = json.loads(message.text)
    bids, asks = sides(parsed) or ([], [])
    standing = _standing(asks)
    if not standing:
        return None
    bids.append([scaled(max(standing, key=lambda level: float(level[0]))[0], FAR), standing[0][1]])
    return (write(parsed),)


def beyond_depth(message: Message, rng: Random) -> Sequence[Frame] | None:
    """Five bids below the window a depth-limited book covers."""
    parsed = json.loads(message.text)
    bids, _ = sides(parsed) or ([], [])
    standing = _standing(bids)
    if not standing:
        return None
    price, size = standing[-1]
    bids.extend([scaled(price, DEEP - 0.01 * step), size] for step in range(5))
    return (write(parsed),)


def tenfold(side: int) -> Damage:
    """Every price of bids (0) or asks (1) ten times as high: a decimal point in the wrong place."""

    def damage(message: Message, rng: Random) -> Sequence[Frame] | None:
        parsed = json.loads(message.text)
        found = sides(parsed)
        if found is None or not _standing(found[side]):
            return None
        for level in _standing(found[side]):
            level[0] = str(Decimal(level[0]) * 10)
        return (write(parsed),)

    return damage


def wrong_size(message: Message, rng: Random) -> Sequence[Frame] | None:
    """One level's size three times as large: plausible, and nothing else is wrong."""
    parsed = json.loads(message.text)
    levels = [level for side in sides(parsed) or () for level in _standing(side)]
    if not levels:
        return None
    level = rng.choice(levels)
    level[1] = f"{float(level[1]) * 3:.{len(level[1].partition('.')[2])}f}"
    return (write(parsed),)


def level_lost(message: Message, rng: Random) -> Sequence[Frame] | None:
    """One level of a message is missing, and its ids are whole."""
    parsed = json.loads(message.text)
    choices = [side for side in sides(parsed) or () if side]
    if not choices:
        return None
    side = rng.choice(choices)
    del side[rng.randrange(len(side))]
    return (write(parsed),)


# Text that is no message, or not the one that was promised.


def torn(message: Message, rng: Random) -> Sequence[Frame]:
    return (message.text[: rng.randrange(1, len(message.text) - 1)],)


def wrong_type(message: Message, rng: Random) -> Sequence[Frame] | None:
    parsed = json.loads(message.text)
    data = body(parsed)
    names = [name for name in ("b", "a", "bids", "asks", "u", "U", "seq") if name in data]
    if not names:
        return None
    data[rng.choice(names)] = rng.choice(({"a": 1}, True, "x", [["x", "y"]], [[[]]], -1.5))
    return (write(parsed),)


def field_lost(message: Message, rng: Random) -> Sequence[Frame]:
    parsed = json.loads(message.text)
    data = body(parsed)
    holder = data if rng.random() < 0.7 else parsed
    del holder[rng.choice(list(holder))]
    return (write(parsed),)


def more_fields(message: Message, rng: Random) -> Sequence[Frame]:
    parsed = json.loads(message.text)
    extra = {"zz": rng.randrange(1000), "newField": {"deep": [1, "two", None]}, "\u202eb": "x\x1b[31m", "": ""}
    body(parsed).update(extra)
    parsed.update(extra)
    return (write(parsed),)


def empty(message: Message, rng: Random) -> Sequence[Frame]:
    return (rng.choice(("", "{}", "[]", "null", '""', " ")),)


def nested(message: Message, rng: Random) -> Sequence[Frame]:
    """Arrays within arrays, alone or where a side of a book should stand."""
    deep = "[" * NESTED + "]" * NESTED
    inside = re.sub(r'"(b|bids)":\[', lambda found: f'"{found[1]}":[{deep},', message.text, count=1)
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


def _times(shift: Callable[[int], int | str | None]) -> Damage:
    def damage(message: Message, rng: Random) -> Sequence[Frame] | None:
        parsed = json.loads(message.text)
        if not _retime(parsed, shift):
            return None
        return (write(parsed),)

    return damage


def _retime(value: Any, shift: Callable[[int], int | str | None]) -> bool:
    """Shift every time within; None removes it. Tells whether there was one."""
    found = False
    if isinstance(value, list):
        for item in value:
            found |= _retime(item, shift)
    elif isinstance(value, dict):
        for name in list(value):
            at = value[name]
            if name in TIMES and isinstance(at, int):
                found = True
                if (moved := shift(at)) is None:
                    del value[name]
                else:
                    value[name] = moved
            else:
                found |= _retime(at, shift)
    return found


def clock_off(by_ms: int) -> Damage:
    return _times(lambda at: at + by_ms)


in_microseconds: Damage = _times(lambda at: at * US_PER_MS)
without_time: Damage = _times(lambda at: None)
time_zero: Damage = _times(lambda at: 0)


IDEMPOTENT: Mapping[str, re.Pattern[str]] = {
    "trade": re.compile(r"@(aggT|t)rade|publicTrade\."),
    "touch": re.compile(r"@bookTicker|orderbook\.1\."),
    "ticker": re.compile(r"@markPrice|@ticker|tickers\."),
}
"""Topics whose messages can be sent many times over without a change of meaning, trades with new ids apart."""
_TRADE_ID = re.compile(r'"(?:i|t|a)":"?([0-9a-f-]+)"?')


def burst(times: int) -> Damage:
    """The message and as many more that say the same, each trade as a trade of its own."""

    def damage(message: Message, rng: Random) -> Sequence[Frame] | None:
        if not any(pattern.search(message.topic) for pattern in IDEMPOTENT.values()):
            return None
        more = []
        for _ in range(times - 1):
            text = message.text
            if IDEMPOTENT["trade"].search(message.topic):
                text = _TRADE_ID.sub(lambda found: found[0].replace(found[1], str(rng.randrange(10**17, 10**18))), text)
            more.append(text)
        return (message.text, *more)

    return damage
