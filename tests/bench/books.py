"""The book's cost against the `SortedDict` reference, in one run on one seeded stream: us a message and ratio; and its memory.

The stream has the shape of a deep Binance perpetual (performance.md): 5,000 levels a side, 34, 142 and 611 levels a message at
the 50th, 90th and 99th percentile, most of them near the touch. Levels are decoded beforehand; each message ends with reading
both best prices. Figures are of this machine: nothing is asserted, except that both end on the same book.
"""

import random
import time
import tracemalloc
from itertools import pairwise
from statistics import median

from feeds.health import LegHealth, Pulse
from feeds.orderbook import OrderBook
from tests.market import instruments
from tests.reference_book import ReferenceSide

Levels = list[tuple[float, float]]
Message = tuple[Levels, Levels]

LEVELS_A_SIDE = 5_000
MESSAGES = 5_000
REFERENCE_MESSAGES = 1_500
ROUNDS = 3
BOOKS = 5
MIDDLE = 600_000
"""In ticks of 0.1."""
SIZES_BY_SHARE = ((0.0, 1), (0.5, 34), (0.9, 142), (0.99, 611), (1.0, 900))
"""Levels a message by share of messages, linear between."""


def stream(seed: int, messages: int = MESSAGES) -> tuple[Message, list[Message]]:
    """A snapshot and the messages after it; the same for the same seed, never crossed."""
    rng = random.Random(seed)
    bids = {MIDDLE - 1 - int(LEVELS_A_SIDE * 2 * rng.random()): 1.0 for _ in range(2 * LEVELS_A_SIDE)}
    asks = {MIDDLE + 1 + int(LEVELS_A_SIDE * 2 * rng.random()): 1.0 for _ in range(2 * LEVELS_A_SIDE)}
    first = prices(dict(list(bids.items())[:LEVELS_A_SIDE])), prices(dict(list(asks.items())[:LEVELS_A_SIDE]))
    made = []
    middle = MIDDLE
    for _ in range(messages):
        moved = middle + rng.randint(-3, 3)
        count = size_of(rng.random())
        changed: tuple[dict[int, float], dict[int, float]] = ({}, {})
        for tick in range(min(moved, middle), max(moved, middle) + 1):  # what the touch has run over
            changed[0][tick] = 0.0
            changed[1][tick] = 0.0
        while len(changed[0]) + len(changed[1]) < count:
            side = rng.randrange(2)
            away = 1 + int(rng.expovariate(1 / 300.0))
            size = 0.0 if rng.random() < 0.45 else rng.randint(1, 9_999) / 1_000
            changed[side][moved - away if side == 0 else moved + away] = size
        middle = moved
        made.append((prices(changed[0]), prices(changed[1])))
    return first, made


def prices(side: dict[int, float]) -> Levels:
    return [(tick / 10, size) for tick, size in side.items()]


def size_of(share: float) -> int:
    for (low, least), (high, most) in pairwise(SIZES_BY_SHARE):
        if share <= high:
            return round(least + (most - least) * (share - low) / (high - low))
    return SIZES_BY_SHARE[-1][1]


def new_book() -> OrderBook:
    return OrderBook(instruments()["binance.usdm"], LegHealth(Pulse(1)))


def run_book(first: Message, messages: list[Message]) -> tuple[float, OrderBook]:
    """Seconds of CPU, and the book at the end."""
    book = new_book()
    book.replace(*first, 0, 1, 1)
    begin = time.process_time()
    for number, (bids, asks) in enumerate(messages, 1):
        book.apply(bids, asks, number, 1, 1)
    return time.process_time() - begin, book


def run_reference(first: Message, messages: list[Message]) -> tuple[float, ReferenceSide, ReferenceSide]:
    """The same on `SortedDict`."""
    bid_side, ask_side = ReferenceSide(1), ReferenceSide(-1)
    bid_side.replace(first[0])
    ask_side.replace(first[1])
    begin = time.process_time()
    for bids, asks in messages:
        bid_side.apply(bids)
        ask_side.apply(asks)
        bid_side.best()
        ask_side.best()
    return time.process_time() - begin, bid_side, ask_side


def memory_of_books() -> float:
    """MB that five deep books hold after the whole stream, by tracemalloc; the stream itself is not counted."""
    streams = [stream(seed) for seed in range(BOOKS)]
    tracemalloc.start()
    held = []
    for first, messages in streams:
        book = new_book()
        book.replace(*first, 0, 1, 1)
        for number, (bids, asks) in enumerate(messages, 1):
            book.apply(bids, asks, number, 1, 1)
        held.append(book)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / 1e6


def rows() -> list[tuple[str, float, str]]:
    """(name, value, note) for the table of `make bench`."""
    first, messages = stream(1)
    ours = median(run_book(first, messages)[0] for _ in range(ROUNDS)) / len(messages) * 1e6
    part = messages[:REFERENCE_MESSAGES]
    ours_on_part, book = min((run_book(first, part) for _ in range(ROUNDS)), key=lambda run: run[0])
    reference, bid_side, ask_side = min((run_reference(first, part) for _ in range(ROUNDS)), key=lambda run: run[0])
    if (book.bids.levels(1 << 30), book.asks.levels(1 << 30)) != (bid_side.levels(), ask_side.levels()):
        raise AssertionError("the book and the reference end on different levels")
    each = sorted(len(bids) + len(asks) for bids, asks in messages)
    shape = ", ".join(f"p{share} {each[len(each) * share // 100]}" for share in (50, 90, 99))
    top = time.process_time()
    for _ in range(1_000):
        book.levels(25)
    top = (time.process_time() - top) * 1e3
    return [
        ("book us/message", ours, f"both sides and best, {LEVELS_A_SIDE} levels a side, levels/message {shape}"),
        ("SortedDict us/message", reference / len(part) * 1e6, f"the reference on the first {len(part)} messages of that stream"),
        ("book vs SortedDict", reference / ours_on_part, "times faster on the same messages, best of three each"),
        ("book top 25 us/read", top, "both sides, as a screen reads it"),
        ("five books MB", memory_of_books(), f"held after {MESSAGES} messages each, tracemalloc"),
    ]


if __name__ == "__main__":
    for name, value, note in rows():
        print(f"{name:24} {value:10.2f}  {note}")
