"""One instrument's true order book in whole ticks and lots, and its last minutes: any state in them can be asked for again.

A change batch is written to flat arrays with the sizes before and after, so a cursor walks forward and back between states. The
book itself knows no market: `market.py` decides what happens, the venue servers tell of it, tests compare with it.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from random import Random
from typing import TypeAlias

from msgspec import Struct

from feeds.model import MS, SECOND, Ns
from feeds.simulator.listings import Listing

Levels: TypeAlias = list[tuple[float, float]]
Touch: TypeAlias = tuple[float, float, float, float]

KEPT_NS: Ns = 150 * SECOND
"""How far back states can be asked for at least."""
TRIM_NS: Ns = 30 * SECOND
KEPT_BATCHES = 512
"""However old: after a leap of the market what is told next follows a state from before it."""
MEMO = 8_192
"""Prices and sizes whose floats are remembered: more than a book has levels."""


class Change(Struct, frozen=True):
    """What happened between two states. `bids` and `asks` map ticks to lots afterwards, 0 for none."""

    first: int
    """The update number of the first change."""
    last: int
    bids: dict[int, int]
    asks: dict[int, int]


class TrueBook:
    """Bids and asks as ticks -> lots; `seq` is the update number of the last change.

    `stride` is 1 where every change has a number of its own and they follow without a hole; above it numbers are shared with
    other instruments and leave holes.
    """

    def __init__(self, listing: Listing, seq: int, stride: int, rng: Random) -> None:
        self.listing = listing
        self.seq = seq
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.bid_ticks: list[int] = []
        self.ask_ticks: list[int] = []
        """Both rise: the best bid is the last, the best ask the first."""
        self.touched = False
        """Whether the last batch changed the best price or size of a side."""
        self.changed = False
        """Whether the last step had a batch."""
        self._stride = stride
        self._rng = rng
        self._pending: dict[int, int] = {}  # key -> lots before this batch
        self._keys = array("q")  # ticks * 2 + side, 1 for asks
        self._before = array("q")
        self._after = array("q")
        self._firsts = array("q")
        self._lasts = array("q")
        self._times = array("q")
        self._ends = array("q")  # index in the change arrays where a batch ends
        self._touches = array("q")  # four a batch
        self._cursor: _Cursor | None = None
        self._prices: dict[int, float] = {}
        self._sizes: dict[int, float] = {}

    def set_bid(self, ticks: int, lots: int) -> None:
        self._set(self.bids, self.bid_ticks, ticks, lots, ticks * 2)

    def set_ask(self, ticks: int, lots: int) -> None:
        self._set(self.asks, self.ask_ticks, ticks, lots, ticks * 2 + 1)

    def _set(self, side: dict[int, int], order: list[int], ticks: int, lots: int, key: int) -> None:
        before = side.get(ticks, 0)
        if before == lots:
            return
        self._pending.setdefault(key, before)
        if lots:
            if not before:
                insort(order, ticks)
            side[ticks] = lots
        else:
            del side[ticks]
            del order[bisect_left(order, ticks)]

    def commit(self, now_ns: Ns) -> bool:
        """End a batch; whether there was one. A level that is as it was before is no change."""
        pending = self._pending
        self.changed = self.touched = False
        if not pending:
            return False
        self._pending = {}
        changed = 0
        for key, before in pending.items():
            after = (self.asks if key & 1 else self.bids).get(key >> 1, 0)
            if after != before:
                self._keys.append(key)
                self._before.append(before)
                self._after.append(after)
                changed += 1
        if not changed:
            return False
        first = self.seq + 1
        if self._stride > 1:
            first += self._rng.randrange(self._stride)
        self.seq = first + changed - 1 + (self._rng.randrange(changed) if self._stride > 1 else 0)
        self._firsts.append(first)
        self._lasts.append(self.seq)
        self._times.append(now_ns)
        self._ends.append(len(self._keys))
        bid, ask = self.bid_ticks[-1], self.ask_ticks[0]
        touch = (bid, self.bids[bid], ask, self.asks[ask])
        self.touched = self._touches[-4:].tolist() != list(touch)
        self._touches.extend(touch)
        self.changed = True
        if now_ns - self._times[0] > KEPT_NS + TRIM_NS:
            self._trim(now_ns - KEPT_NS)
        return True

    @property
    def touch(self) -> tuple[int, int, int, int]:
        """Best bid in ticks, its lots, best ask, its lots."""
        bid, ask = self.bid_ticks[-1], self.ask_ticks[0]
        return bid, self.bids[bid], ask, self.asks[ask]

    def changes_since(self, seq: int) -> Change | None:
        """Everything that followed the state `seq`, each level as it is now. None where nothing did.

        Raises KeyError when that state is too old, or never was.
        """
        if seq == self.seq:
            return None
        at = self._batch(seq) + 1
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for key in self._keys[self._ends[at - 1] :]:
            ticks = key >> 1
            if key & 1:
                asks[ticks] = self.asks.get(ticks, 0)
            else:
                bids[ticks] = self.bids.get(ticks, 0)
        return Change(self._firsts[at], self.seq, bids, asks)

    def time_of(self, seq: int) -> Ns:
        """When the state `seq` came to be. Raises KeyError like `truth`."""
        return self._times[self._batch(seq)]

    def state_at(self, at_ms: int) -> int:
        """The number of the state that came to be in a ms, where a venue orders its books by time. Raises KeyError like `truth`.

        Steps of the market are farther apart than that, so a ms names one state.
        """
        at = bisect_left(self._times, at_ms * MS)
        if at == len(self._times) or self._times[at] >= (at_ms + 1) * MS:
            raise KeyError(f"{self.listing.key} has no state of {at_ms} ms")
        return self._lasts[at]

    def changes_of(self, seq: int) -> list[tuple[int, bool, int, int]]:
        """What made the state `seq`: ticks, whether it is an ask, lots before and after. Raises KeyError like `truth`."""
        at = self._batch(seq)
        made = range(self._ends[at - 1] if at else 0, self._ends[at])
        return [(self._keys[i] >> 1, bool(self._keys[i] & 1), self._before[i], self._after[i]) for i in made]

    def truth(self, seq: int, depth: int | None = None) -> tuple[Levels, Levels]:
        """Bids and asks at the state `seq`, best first, as a reader of the wire's text knows them.

        Raises KeyError for a state that is older than `KEPT_NS`, or never was.
        """
        at = self._batch(seq)
        cursor = self._cursor
        if cursor is None:
            cursor = self._cursor = _Cursor(dict(self.bids), dict(self.asks), len(self._lasts) - 1)
            for key, before in self._pending.items():
                cursor.put(key, before)
        self._walk(cursor, at)
        bids = sorted(cursor.bids, reverse=True)[:depth]
        asks = sorted(cursor.asks)[:depth]
        price, size = self.price, self.size
        return [(price(t), size(cursor.bids[t])) for t in bids], [(price(t), size(cursor.asks[t])) for t in asks]

    def truth_touch(self, seq: int) -> Touch:
        """Best bid, its size, best ask, its size at the state `seq`. Raises KeyError like `truth`."""
        at = self._batch(seq) * 4
        bid, bid_lots, ask, ask_lots = self._touches[at : at + 4]
        return self.price(bid), self.size(bid_lots), self.price(ask), self.size(ask_lots)

    def price(self, ticks: int) -> float:
        """`ticks` as the wire's text reads."""
        found = self._prices.get(ticks)
        if found is None:
            if len(self._prices) > MEMO:
                self._prices.clear()
            found = self._prices[ticks] = float(self.listing.price_text(ticks))
        return found

    def size(self, lots: int) -> float:
        """`lots` as the wire's text reads."""
        found = self._sizes.get(lots)
        if found is None:
            if len(self._sizes) > MEMO:
                self._sizes.clear()
            found = self._sizes[lots] = float(self.listing.size_text(lots))
        return found

    def _batch(self, seq: int) -> int:
        at = bisect_left(self._lasts, seq)
        if at == len(self._lasts) or self._lasts[at] != seq:
            raise KeyError(f"{self.listing.key} has no state {seq}")
        return at

    def _walk(self, cursor: "_Cursor", at: int) -> None:
        """Bring a cursor to the state after batch `at`."""
        ends = self._ends
        if at > cursor.at:
            for change in range(ends[cursor.at], ends[at]):
                cursor.put(self._keys[change], self._after[change])
        else:
            for change in range(ends[cursor.at] - 1, ends[at] - 1, -1):
                cursor.put(self._keys[change], self._before[change])
        cursor.at = at

    def _trim(self, oldest_ns: Ns) -> None:
        cut = min(bisect_right(self._times, oldest_ns), len(self._lasts) - KEPT_BATCHES)
        if cut <= 0:
            return
        cursor = self._cursor
        if cursor is not None:
            if cursor.at < cut:
                self._walk(cursor, cut)
            cursor.at -= cut
        changes = self._ends[cut - 1]
        del self._keys[:changes], self._before[:changes], self._after[:changes]
        del self._firsts[:cut], self._lasts[:cut], self._times[:cut], self._touches[: cut * 4]
        self._ends = array("q", [end - changes for end in self._ends[cut:]])


class _Cursor:
    """A past state of a book: what its levels were after batch `at`."""

    __slots__ = ("asks", "at", "bids")

    def __init__(self, bids: dict[int, int], asks: dict[int, int], at: int) -> None:
        self.bids = bids
        self.asks = asks
        self.at = at

    def put(self, key: int, lots: int) -> None:
        side = self.asks if key & 1 else self.bids
        if lots:
            side[key >> 1] = lots
        else:
            side.pop(key >> 1, None)
