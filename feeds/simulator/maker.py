"""The orders of one instrument: given where its price should be, what happens to its book in a step, and who trades.

The touch follows the price with a slack, so that it rests and jumps as a real one does. Around it orders come, change and go,
dense near the touch and thinning out as one over the distance. The book is never crossed and never has an empty side.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from math import exp, floor, log
from random import Random

from msgspec import Struct

from feeds.model import Ns
from feeds.simulator.listings import Listing
from feeds.simulator.truebook import TrueBook

LEVELS = 500
"""Levels a side that the book settles at."""
NEAR_BPS = 3.0
"""Within this of the touch orders stand evenly."""
REACH_BPS = 150.0
REACH_TICKS = 700
"""A coarse tick reaches this many ticks, farther than the bps above."""
NEAR_LEVELS_A_BPS = 34.0
TOUCH_FACTOR = 6.0
FILL_LEVELS_A_BPS = 8.0
"""New levels behind a touch that moves."""
LOTS_OF_A_TRADE_QUOTE = 2_500.0


class Print(Struct, frozen=True):
    """A trade: `buy` is the taker's side."""

    key: str
    number: int
    ticks: int
    lots: int
    buy: bool
    now_ns: Ns
    forced: bool = False


class Maker:
    """Moves one `TrueBook`."""

    def __init__(self, listing: Listing, rng: Random, price: float, now_ns: Ns) -> None:
        self.listing = listing
        self.rng = rng
        self.trade_number = rng.randrange(10**8, 10**9)
        spot = listing.market == "spot"
        stride = 1 if spot and listing.venue == "BINANCE" else 3 if listing.venue == "BYBIT" else 40
        self.book = TrueBook(listing, rng.randrange(10**10, 10**11) * (1 if spot else 40), stride, rng)
        self._tick_bps = listing.tick / price * 1e4
        wide_bps = 0.0 if listing.pace >= 2.4 else 0.6 / listing.pace
        self._spread = max(1, round(wide_bps / self._tick_bps))
        self._slack = max(0.6, (0.2 + 0.5 / (listing.pace + 0.5)) / self._tick_bps)
        self._near = NEAR_BPS / self._tick_bps
        self._reach = max(REACH_BPS / self._tick_bps, REACH_TICKS)
        self._span = log(1 + self._reach / self._near)
        self._levels = min(LEVELS, int(self._reach * 0.55))
        near_levels = min(NEAR_LEVELS_A_BPS, 0.6 / self._tick_bps)
        self._lots = listing.lots_of(listing.depth_quote / near_levels, price)
        self._trade_lots = listing.lots_of(LOTS_OF_A_TRADE_QUOTE, price)
        self._trade_chance = min(0.5, listing.pace / 20)
        self._centre = price / listing.tick
        self._bid, self._ask = self._around(self._centre)
        self.last_ticks = self._bid
        self._prints: list[Print] = []
        book = self.book
        book.set_bid(self._bid, self._some_lots(0))
        book.set_ask(self._ask, self._some_lots(0))
        for side, put, touch, sign in (
            (book.bids, book.set_bid, self._bid, -1),
            (book.asks, book.set_ask, self._ask, 1),
        ):
            while len(side) < self._levels:
                away = self._away()
                put(touch + sign * away, self._some_lots(away))
        book.commit(now_ns)

    def step(self, price: float, now_ns: Ns) -> list[Print]:
        """One step of the market: the trades in it. `book.changed` and `book.touched` say what else happened."""
        rng, book, pace = self.rng, self.book, self.listing.pace
        target = price / self.listing.tick
        if abs(target - self._centre) > self._slack:
            self._recentre(target, now_ns)
        else:
            if rng.random() < self._trade_chance:
                self._take(rng.random() < 0.5, int(self._trade_lots * exp(rng.gauss(0.0, 1.3))) + 1, now_ns)
            if self._bid not in book.bids and rng.random() < 0.4:
                book.set_bid(self._bid, self._some_lots(0))
            if self._ask not in book.asks and rng.random() < 0.4:
                book.set_ask(self._ask, self._some_lots(0))
        for _ in range(int(rng.expovariate(1.0 / pace) + 0.5)):
            self._order()
        self._keep_populated()
        book.commit(now_ns)
        made, self._prints = self._prints, []
        return made

    def force(self, buy: bool, value: float, now_ns: Ns) -> Print | None:
        """A forced order of `value` quote units against the touch, in the step that comes next."""
        price = self.last_ticks * self.listing.tick
        return self._take(buy, self.listing.lots_of(value, price), now_ns, forced=True)

    def impact(self, value: float) -> tuple[float, float]:
        """Mean price for selling and for buying `value` quote units now."""
        book = self.book
        return (
            self._walk(((t, book.bids[t]) for t in reversed(book.bid_ticks)), value),
            self._walk(((t, book.asks[t]) for t in book.ask_ticks), value),
        )

    def _walk(self, levels: Iterable[tuple[int, int]], value: float) -> float:
        listing = self.listing
        left, base = value, 0.0
        for ticks, lots in levels:
            price = ticks * listing.tick
            here = min(left, listing.value_of(lots, price))
            base += here / price
            left -= here
            if left <= 0.0:
                break
        return (value - left) / base

    def _around(self, centre: float) -> tuple[int, int]:
        bid = floor(centre - (self._spread - 1) / 2)
        return bid, bid + self._spread

    def _away(self) -> int:
        """A distance from the touch, in ticks."""
        return int(self._near * (exp(self.rng.random() * self._span) - 1.0)) + 1

    def _some_lots(self, away: int) -> int:
        swell = TOUCH_FACTOR if away == 0 else min(3.0, 1.0 + 0.15 * away * self._tick_bps)
        return int(self._lots * swell * exp(self.rng.gauss(-0.3, 0.8))) + 1

    def _order(self) -> None:
        """One order comes, changes or goes."""
        rng, book = self.rng, self.book
        chance = rng.random()
        bid_side = chance < 0.5
        away = 0 if rng.random() < 0.12 else self._away()
        side = book.bids if bid_side else book.asks
        ticks = self._bid - away if bid_side else self._ask + away
        crowded = len(side) > self._levels
        if ticks in side:
            goes = away and (chance * 2.0) % 1.0 < (0.6 if crowded else 0.4)
            lots = 0 if goes else self._some_lots(away)
        elif away == 0:
            return
        else:
            lots = self._some_lots(away)
        (book.set_bid if bid_side else book.set_ask)(ticks, lots)

    def _keep_populated(self) -> None:
        book = self.book
        for bid_side, side, order, put in (
            (True, book.bids, book.bid_ticks, book.set_bid),
            (False, book.asks, book.ask_ticks, book.set_ask),
        ):
            if len(side) < self._levels - 40:
                for _ in range(3):
                    away = self._away()
                    put(self._bid - away if bid_side else self._ask + away, self._some_lots(away))
            elif len(side) > self._levels + 40:
                for _ in range(4):
                    if bid_side:
                        put(order[int(self.rng.random() * (len(order) - 1))], 0)
                    else:
                        put(order[1 + int(self.rng.random() * (len(order) - 1))], 0)
            if abs(order[0 if bid_side else -1] - self._bid) > 1.5 * self._reach:
                put(order[0 if bid_side else -1], 0)

    def _recentre(self, target: float, now_ns: Ns) -> None:
        """The price has moved on: the orders in its way are taken or withdrawn, new ones follow behind."""
        book, rng = self.book, self.rng
        old_bid, old_ask = book.bid_ticks[-1], book.ask_ticks[0]
        self._centre = target
        self._bid, self._ask = bid, ask = self._around(target)
        gone = book.ask_ticks[: bisect_left(book.ask_ticks, ask)]
        if gone and rng.random() < 0.7:
            for ticks in gone[:2]:
                self._print(ticks, book.asks[ticks], True, now_ns)
        book.set_bid(bid, book.bids.get(bid) or self._some_lots(0))
        book.set_ask(ask, book.asks.get(ask) or self._some_lots(0))
        for ticks in gone:
            book.set_ask(ticks, 0)
        gone = book.bid_ticks[bisect_right(book.bid_ticks, bid) :]
        if gone and rng.random() < 0.7:
            for ticks in gone[:-3:-1]:
                self._print(ticks, book.bids[ticks], False, now_ns)
        for ticks in gone:
            book.set_bid(ticks, 0)
        for gap, place, sign, put in ((bid - old_bid, bid, -1, book.set_bid), (old_ask - ask, ask, 1, book.set_ask)):
            for _ in range(min(gap - 1, 2 + int(gap * self._tick_bps * FILL_LEVELS_A_BPS))):
                away = 1 + int(rng.random() * (gap - 1))
                put(place + sign * away, self._some_lots(away))

    def _take(self, buy: bool, lots: int, now_ns: Ns, forced: bool = False) -> Print | None:
        """An aggressive order against the best level, never more than stands there."""
        book = self.book
        ticks = book.ask_ticks[0] if buy else book.bid_ticks[-1]
        held = (book.asks if buy else book.bids)[ticks]
        lots = min(lots, held)
        if lots == held and len(book.asks if buy else book.bids) < 2:
            return None
        (book.set_ask if buy else book.set_bid)(ticks, held - lots)
        return self._print(ticks, lots, buy, now_ns, forced)

    def _print(self, ticks: int, lots: int, buy: bool, now_ns: Ns, forced: bool = False) -> Print:
        self.trade_number += 1
        self.last_ticks = ticks
        made = Print(self.listing.key, self.trade_number, ticks, lots, buy, now_ns, forced)
        self._prints.append(made)
        return made
