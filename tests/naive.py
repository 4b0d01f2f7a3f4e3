"""A replay of Binance captures with `json` and `dict` and nothing of the program: the oracle for books and routes on real data.

Slow and plain on purpose. Reads the collector's own files (`<receive time> <combined JSON>`), keeps each book as two dicts, and
lays a bookTicker that is newer than the book over it.
"""

import gzip
import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

GRID = 100_000_000
DEEP = 600
"""Levels looked at for a size; a size that needs more fails the test."""


class Line(NamedTuple):
    at: int
    market: str
    message: dict[str, Any]


def market_of(message: dict[str, Any]) -> str | None:
    """Which market a depth frame belongs to: no `pu` spot, an underscore COIN-M, else USD-M."""
    data = message.get("data", {})
    if data.get("e") != "depthUpdate":
        return None
    return "spot" if "pu" not in data else "coinm" if "_" in data["s"] else "usdm"


def lines(path: Path, skip: Callable[[str, dict[str, Any]], bool] = lambda _market, _message: False) -> Iterator[Line]:
    """One file in order, times in ns. `skip` leaves messages out."""
    raw = gzip.decompress(path.read_bytes()).decode().splitlines()
    messages = [(int(line.split(" ", 1)[0]), json.loads(line.split(" ", 1)[1])) for line in raw]
    unit = 1000 if messages[0][0] < 10**17 else 1
    market = next(found for _, message in messages if (found := market_of(message)))
    for at, message in messages:
        if not skip(market, message):
            yield Line(at * unit, market, message)


def merged(paths: Iterable[Path]) -> Iterator[Line]:
    """Several files on one clock: by time, then by the order of the files."""
    found = [[(line.at, number, at, line) for at, line in enumerate(lines(path))] for number, path in enumerate(paths)]
    return (entry[3] for entry in heapq.merge(*found, key=lambda entry: entry[:3]))


class Book:
    """One market's book by the venue's documented procedure."""

    def __init__(self, market: str) -> None:
        self.spot = market == "spot"
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.u = -1
        self.synced = False
        self.gaps = 0
        self.waiting: list[dict[str, Any]] = []
        self.bare = False
        self.touch: dict[str, Any] | None = None
        self.last = 0
        self.changes = 0

    def take(self, line: Line) -> None:
        message = line.message
        self.last = line.at
        if "stream" not in message:
            if not self.synced:
                self._snapshot(message)
            return
        data = message["data"]
        if "@bookTicker" in message["stream"]:
            if self.synced and data["u"] > self.u and (self.touch is None or data["u"] >= self.touch["u"]):
                self.touch = data
                self.changes += 1
        elif "@depth" in message["stream"]:
            if not self.synced:
                self.waiting.append(data)
            elif self._follows(data):
                self._apply(data)
            elif data["u"] > self.u:
                self.gaps += 1
                self.synced = False
                self.touch = None
                self.waiting = [data]

    def _follows(self, data: dict[str, Any]) -> bool:
        if self.bare and data["U"] <= self.u <= data["u"]:
            return True
        return bool(data["U"] == self.u + 1 if self.spot else data["pu"] == self.u)

    def _snapshot(self, snapshot: dict[str, Any]) -> None:
        last = snapshot["lastUpdateId"]
        kept = [d for d in self.waiting if (d["u"] > last if self.spot else d["u"] >= last)]
        if kept and kept[0]["U"] > last + 1 and kept[0].get("pu") != last:
            return
        self.bids = {float(p): float(q) for p, q in snapshot["bids"]}
        self.asks = {float(p): float(q) for p, q in snapshot["asks"]}
        self.u = last
        self.synced = self.bare = True
        for data in kept:
            self._apply(data)
        self.waiting = []

    def _apply(self, data: dict[str, Any]) -> None:
        for side, levels in ((self.bids, data["b"]), (self.asks, data["a"])):
            for price, size in levels:
                if float(size):
                    side[float(price)] = float(size)
                else:
                    side.pop(float(price), None)
        self.u = data["u"]
        self.bare = False
        self.changes += 1

    def best_bids(self, count: int) -> list[tuple[float, float]]:
        """Best levels, a newer touch laid over them."""
        bids = heapq.nlargest(count, self.bids.items())
        if self.touch is None or self.touch["u"] <= self.u:
            return bids
        bid = float(self.touch["b"])
        return [(bid, float(self.touch["B"])), *[level for level in bids if level[0] < bid]]

    def best_asks(self, count: int) -> list[tuple[float, float]]:
        """The same of asks."""
        asks = heapq.nsmallest(count, self.asks.items())
        if self.touch is None or self.touch["u"] <= self.u:
            return asks
        ask = float(self.touch["a"])
        return [(ask, float(self.touch["A"])), *[level for level in asks if level[0] > ask]]


class Sample(NamedTuple):
    at: int
    edge: float | None
    changes: int


def scan(
    paths: Iterable[Path], buy: str, sell: str, sizes: tuple[float, ...], fees: float = 0.0, max_age: int = 10**9
) -> dict[float, list[Sample]]:
    """The edge of buying `buy` and selling `sell`, both linear, on the 100 ms grid; None where a leg may not be believed.

    `sizes` in quote units, 0 for the touch. A leg whose connection has been silent for longer than `max_age` has no edge.
    """
    books = {name: Book(name) for name in (buy, sell)}
    samples: dict[float, list[Sample]] = {size: [] for size in sizes}
    boundary = 0

    def look() -> None:
        one, other = books[buy], books[sell]
        fit = one.synced and other.synced and boundary - one.last <= max_age and boundary - other.last <= max_age
        sides = (one.best_asks(DEEP), other.best_bids(DEEP)) if fit else ([], [])
        for size in sizes:
            edge = _edge(*sides, size) - fees if fit else None
            samples[size].append(Sample(boundary, edge, one.changes + other.changes))

    for line in merged(paths):
        boundary = boundary or -(-line.at // GRID) * GRID
        while boundary <= line.at:
            look()
            boundary += GRID
        if line.market in (buy, sell):
            books[line.market].take(line)
    look()
    return samples


def _edge(asks: list[tuple[float, float]], bids: list[tuple[float, float]], size: float) -> float:
    """What buying `size` quote units of the asks and selling as much into the bids brings, in bp of the buy price."""
    if not size:
        return (bids[0][0] - asks[0][0]) / asks[0][0] * 1e4
    base = spent = 0.0
    for price, quantity in asks:
        if spent + price * quantity >= size:
            base += (size - spent) / price
            spent = size
            break
        spent += price * quantity
        base += quantity
    got, rest = 0.0, base
    for price, quantity in bids:
        taken = min(rest, quantity)
        got += taken * price
        rest -= taken
        if rest <= 1e-12:
            break
    assert spent == size, "the levels looked at do not hold the size"
    assert rest <= 1e-12, "the levels looked at do not hold the size"
    return (got / base - size / base) / (size / base) * 1e4


class Window(NamedTuple):
    opened: int
    closed: int
    reason: str


def windows(
    samples: list[Sample], enter: float, leave: float, dwell: int = 0, updates: int = 1, hold: int = 500_000_000
) -> list[Window]:
    """Open at the first boundary at which the edge has stood at `enter` for `dwell` (a boundary stands for its 100 ms) and
    `updates` changes; close where it fell under `leave` and stayed there for `hold`, or at once where it may not be believed."""
    found: list[Window] = []
    at = 0
    while at < len(samples):
        edge = samples[at].edge
        if edge is None or edge < enter:
            at += 1
            continue
        begin, changed = at, 0
        while at < len(samples) and samples[at].edge is not None and samples[at].edge >= enter:  # type: ignore[operator]
            changed += samples[at].changes != samples[at - 1].changes if at else 1
            if samples[at].at - samples[begin].at + GRID >= dwell and changed >= updates:
                break
            at += 1
        else:
            continue
        opened, fell = samples[at].at, 0
        while True:
            at += 1
            if at == len(samples):
                found.append(Window(opened, samples[-1].at, "end"))
                break
            edge = samples[at].edge
            if edge is None:
                found.append(Window(opened, samples[at].at, "unfit"))
                break
            if edge >= leave:
                fell = 0
                continue
            fell = fell or samples[at].at
            if samples[at].at - fell >= hold:
                found.append(Window(opened, fell, "fell"))
                break
        at += 1
    return found
