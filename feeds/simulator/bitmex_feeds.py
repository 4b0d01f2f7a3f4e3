"""BitMEX's tables as the simulated venue tells them: one feed for a table of one symbol.

Facts: protocols.md 5.2 and 5.3, frames recorded in 2021, rows recorded in 2024 to 2026. Quirks included: one event of the
matching engine is up to three frames, of what it deleted, updated and inserted, in this order; rows of a book have an id and no
number; best quotes come a second's worth at a time; marks and indices are made every five seconds.

The engine works off a step of the market as the step ends: of its frames the last is of the step's own ms, those before it are of
the ms before. So the time of a frame names the one state that it makes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from uuid import UUID

from feeds.model import SECOND, Ns
from feeds.simulator.bitmex_rest import USDT_MINOR, XBT_MINOR, Values
from feeds.simulator.bitmex_tables import TABLES, Era, fine_digits, instant, number, row, span, symbol_number
from feeds.simulator.listings import Listing
from feeds.simulator.maker import Print
from feeds.simulator.market import STEP_NS, Forced, Step
from feeds.simulator.past import Settled
from feeds.simulator.truebook import TrueBook

if TYPE_CHECKING:
    from feeds.simulator.bitmex import BitmexServer

DEPTHS: Mapping[str, int | None] = {"orderBookL2": None, "orderBookL2_25": 25}
QUOTE_STEPS: Final = SECOND // STEP_NS
NEWS_S: Mapping[tuple[str, ...], int] = {
    ("openInterest", "openValue"): 5,
    ("fairBasisRate", "fairBasis", "fairPrice", "markPrice"): 5,
    ("indicativeSettlePrice",): 5,
    ("fundingTimestamp", "fundingRate", "indicativeFundingRate"): 1,
    (
        "totalVolume",
        "volume",
        "volume24h",
        "totalTurnover",
        "turnover",
        "turnover24h",
        "homeNotional24h",
        "foreignNotional24h",
    ): 5,
    ("vwap", "highPrice", "lowPrice", "lastPrice", "lastPriceProtected", "lastTickDirection", "lastChangePcnt"): 1,
    ("openingTimestamp", "closingTimestamp"): 1,
    ("bidPrice", "midPrice", "askPrice", "impactBidPrice", "impactMidPrice", "impactAskPrice"): 1,
}
"""Fields of `instrument` that are told together -> seconds between two looks at them. A row has those that have changed."""
SHRINKS_STEPS, LEAVES_STEPS = 25, 50
"""After so long half of a liquidation order is left, and none of it."""
MEMO = 8_192
"""Levels whose texts are remembered: more than a book has."""
IDS_OF_A_SYMBOL = 10**8
IDS_APART = 7_368_787
"""Shares no divisor with the above, so that no two prices have one id."""
GROSS_DIGITS = 2
"""Of what one contract is worth, in parts of a bitcoin (recorded)."""

Level: TypeAlias = tuple[int, bool, int]
"""Ticks, whether it is an ask, lots; 0 lots where it is gone."""
Action: TypeAlias = Literal["delete", "update", "insert"]
ACTIONS: Sequence[Action] = ("delete", "update", "insert")


class Feed(ABC):
    """One table of one symbol: what it has told last, and what it tells next."""

    def __init__(self, server: "BitmexServer", listing: Listing, table: str) -> None:
        self.server = server
        self.listing = listing
        self.table = table
        self.topic = f"{table}:{listing.native}"
        self.book: TrueBook = server.world.books[listing.key]
        self.step = -1
        """The last step that it was asked for; what it holds is old when nobody has listened since."""
        self._head = TABLES[table].head(server.era, listing.native)

    def begin(self) -> None:
        """Somebody listens now."""
        if self.step != self.server.world.steps:
            self.step = self.server.world.steps
            self.look()

    def told(self, step: Step) -> Iterable[str]:
        """What all readers are told in this step."""
        self.step = step.number
        return self.next(step)

    def partial(self) -> str:
        """Everything that the readers know by now."""
        return f'{{"table":"{self.table}","action":"partial",{self._head},"data":[{",".join(self.whole())}]}}'

    def frame(self, action: str, rows: Iterable[str]) -> str:
        return f'{{"table":"{self.table}","action":"{action}","data":[{",".join(rows)}]}}'

    def at(self, now_ns: Ns) -> str:
        return instant(self.server.now_ms(now_ns))

    def price(self, ticks: int) -> float:
        return float(self.listing.price_text(ticks))

    def size(self, lots: int) -> int:
        return int(self.listing.size_text(lots))

    @abstractmethod
    def look(self) -> None:
        """Take the market as it is."""

    @abstractmethod
    def whole(self) -> Iterable[str]:
        """The rows of a `partial`."""

    @abstractmethod
    def next(self, step: Step) -> Iterable[str]:
        """The frames of a step."""


class BookFeed(Feed):
    """All levels, or the best 25 of each side: then levels enter and leave as others go and come."""

    def __init__(self, server: "BitmexServer", listing: Listing, table: str) -> None:
        super().__init__(server, listing, table)
        self.depth = DEPTHS[table]
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.seq = -1
        self._rows = server.rows[listing.key]

    def look(self) -> None:
        self.seq = self.book.seq
        self.bids, self.asks = self._window()

    def whole(self) -> Iterable[str]:
        stamps = self._stamps(self.server.now_ms(self.book.time_of(self.seq)))
        asks = [(ticks, True, lots) for ticks, lots in self.asks.items()]
        levels = [*asks, *((ticks, False, lots) for ticks, lots in self.bids.items())]
        return (self._rows.text("insert", level, stamps) for level in sorted(levels, reverse=True))

    def next(self, step: Step) -> Iterable[str]:
        if self.book.seq == self.seq:
            return ()
        frames = parted(self._windowed() if self.depth else self._changed())
        self.seq = self.book.seq
        last_ms, text = self.server.now_ms(step.now_ns), self._rows.text
        made = []
        for later, (action, levels) in zip(range(len(frames) - 1, -1, -1), frames, strict=True):
            stamps = self._stamps(last_ms - later)
            made.append(self.frame(action, [text(action, level, stamps) for level in levels]))
        return made

    def _stamps(self, at_ms: int) -> str:
        if self.server.era is Era.FORMULA:
            return "}"
        text = instant(at_ms)
        return f',"timestamp":"{text}","transactTime":"{text}"}}'

    def _window(self) -> tuple[dict[int, int], dict[int, int]]:
        book, depth = self.book, self.depth
        if depth is None:
            return dict(book.bids), dict(book.asks)
        bids = {ticks: book.bids[ticks] for ticks in book.bid_ticks[-depth:]}
        return bids, {ticks: book.asks[ticks] for ticks in book.ask_ticks[:depth]}

    def _changed(self) -> list[tuple[Action, Level]]:
        """Of a whole book: what is not as it was told."""
        change = self.book.changes_since(self.seq)
        found: list[tuple[Action, Level]] = []
        if change is None:
            return found
        for ask, held, levels in ((False, self.bids, change.bids), (True, self.asks, change.asks)):
            for ticks, lots in levels.items():
                before = held.get(ticks, 0)
                if lots != before:
                    found.append((action_of(before, lots), (ticks, ask, lots)))
                if lots:
                    held[ticks] = lots
                else:
                    held.pop(ticks, None)
        return found

    def _windowed(self) -> list[tuple[Action, Level]]:
        """Of a window: what has come into it, changed within it, and left it."""
        bids, asks = self._window()
        found = [*differences(False, self.bids, bids), *differences(True, self.asks, asks)]
        self.bids, self.asks = bids, asks
        return found


class Rows:
    """An instrument's levels as rows of text."""

    def __init__(self, listing: Listing, era: Era) -> None:
        self._listing = listing
        self._era = era
        self._heads: dict[tuple[int, bool], tuple[str, str]] = {}

    def id_of(self, ticks: int) -> int:
        """The id of a price: by the venue's formula until 2021, by nothing that a reader could know since."""
        first = IDS_OF_A_SYMBOL * symbol_number(self._listing)
        if self._era is Era.FORMULA:
            ticks_of_old: int = round(float(self._listing.price_text(ticks)) * 10 ** fine_digits(self._listing))
            return first - ticks_of_old
        return first + ticks * IDS_APART % IDS_OF_A_SYMBOL

    def text(self, action: Action, level: Level, stamps: str) -> str:
        ticks, ask, lots = level
        head, price = self._heads.get((ticks, ask)) or self._made(ticks, ask)
        shown = price if self._era is Era.ARBITRARY or action == "insert" else ""
        size = f',"size":{self._listing.size_text(lots)}' if lots else ""
        return f"{head}{size}{shown}{stamps}"

    def _made(self, ticks: int, ask: bool) -> tuple[str, str]:
        if len(self._heads) > MEMO:
            self._heads.clear()
        side = "Sell" if ask else "Buy"
        head = f'{{"symbol":"{self._listing.native}","id":{self.id_of(ticks)},"side":"{side}"'
        made = self._heads[ticks, ask] = head, f',"price":{number(float(self._listing.price_text(ticks)))}'
        return made


class QuoteFeed(Feed):
    """Every best quote, a second's worth in one frame."""

    def __init__(self, server: "BitmexServer", listing: Listing, table: str) -> None:
        super().__init__(server, listing, table)
        self.last = ""
        self._rows: list[str] = []
        self._phase = symbol_number(listing) % QUOTE_STEPS

    def look(self) -> None:
        self._rows = []
        self.last = self._row(self.book.time_of(self.book.seq))

    def whole(self) -> Iterable[str]:
        return (self.last,)

    def next(self, step: Step) -> Iterable[str]:
        if self.book.touched:
            self.last = self._row(step.now_ns)
            self._rows.append(self.last)
        if not self._rows or step.number % QUOTE_STEPS != self._phase:
            return ()
        rows, self._rows = self._rows, []
        return (self.frame("insert", rows),)

    def _row(self, now_ns: Ns) -> str:
        bid, bid_lots, ask, ask_lots = self.book.touch
        values: Values = {"timestamp": self.at(now_ns), "symbol": self.listing.native}
        values |= {"bidSize": self.size(bid_lots), "bidPrice": self.price(bid)}
        return row(values | {"askPrice": self.price(ask), "askSize": self.size(ask_lots)})


class TradeFeed(Feed):
    """Every trade. A `partial` holds the last one."""

    def __init__(self, server: "BitmexServer", listing: Listing, table: str) -> None:
        super().__init__(server, listing, table)
        self._last_ticks = server.world.figures[listing.key].last_ticks
        self._rose = True

    def look(self) -> None:
        last = self.server.last_trades.get(self.listing.key)
        self._last_ticks = last.ticks if last is not None else self._last_ticks

    def whole(self) -> Iterable[str]:
        last = self.server.last_trades.get(self.listing.key)
        return (self._row(last),) if last is not None else ()

    def next(self, step: Step) -> Iterable[str]:
        key = self.listing.key
        rows = [self._row(made) for made in step.prints if made.key == key]
        return (self.frame("insert", rows),) if rows else ()

    def _row(self, made: Print) -> str:
        listing, size, price = self.listing, self.size(made.lots), self.price(made.ticks)
        if listing.contract == "inverse":
            gross = size * round(listing.contract_size * XBT_MINOR / price, GROSS_DIGITS)
            home, foreign = gross / XBT_MINOR, size * listing.contract_size
        else:
            home = size * listing.contract_size
            foreign = home * price
            gross = foreign * USDT_MINOR
        values: Values = {
            "timestamp": self.at(made.now_ns),
            "symbol": listing.native,
            "side": "Buy" if made.buy else "Sell",
            "size": size,
            "price": price,
            "tickDirection": self._direction(made.ticks),
            "trdMatchID": str(UUID(int=(0x6D1000 << 64) + made.number)),
            "grossValue": round(gross),
            "homeNotional": home,
            "foreignNotional": foreign,
        }
        return row(values | ({"trdType": "Regular"} if self.server.era is Era.ARBITRARY else {}))

    def _direction(self, ticks: int) -> str:
        zero = "Zero" if ticks == self._last_ticks else ""
        if not zero:
            self._rose = ticks > self._last_ticks
            self._last_ticks = ticks
        return f"{zero}{'Plus' if self._rose else 'Minus'}Tick"


class InstrumentFeed(Feed):
    """Everything about an instrument once, then what has changed."""

    def __init__(self, server: "BitmexServer", listing: Listing, table: str) -> None:
        super().__init__(server, listing, table)
        self.known: Values = {}

    def look(self) -> None:
        self.known = self.server.answers.row(self.listing)

    def whole(self) -> Iterable[str]:
        return (row(self.known),)

    def next(self, step: Step) -> Iterable[str]:
        if not step.whole_second:
            return ()
        now, second = self.server.answers.row(self.listing), step.now_ns // SECOND
        made = []
        for names, every_s in NEWS_S.items():
            if second % every_s:
                continue
            changed = {name: now[name] for name in names if now[name] != self.known[name]}
            if changed:
                self.known |= changed | {"timestamp": now["timestamp"]}
                made.append(
                    self.frame("update", (row({"symbol": self.listing.native, **changed, "timestamp": now["timestamp"]}),))
                )
        return made


class FundingFeed(Feed):
    """What was paid last, and what is paid next when it is."""

    def __init__(self, server: "BitmexServer", listing: Listing, table: str) -> None:
        super().__init__(server, listing, table)
        self._settled = server.world.figures[listing.key].settled
        self._told = 0

    def look(self) -> None:
        self._told = len(self._settled)

    def whole(self) -> Iterable[str]:
        return map(self._row, self._settled[self._told - 1 : self._told])

    def next(self, step: Step) -> Iterable[str]:
        rows = [self._row(paid) for paid in self._settled[self._told :]]
        self._told += len(rows)
        return (self.frame("insert", rows),) if rows else ()

    def _row(self, paid: Settled) -> str:
        interval_s, rate = self.listing.funding_interval_s, round(paid.rate, 6)
        values: Values = {"timestamp": instant(paid.time_ms), "symbol": self.listing.native}
        values |= {"fundingInterval": span(interval_s), "fundingRate": rate}
        return row(values | {"fundingRateDaily": round(rate * 86_400 / interval_s, 6)})


class _Order:
    """A liquidation order."""

    def __init__(self, values: Values, step: int) -> None:
        self.values = values
        self.step = step
        """When it appeared."""


class LiquidationFeed(Feed):
    """The list of orders that close positions: they appear whole, shrink, and go."""

    def __init__(self, server: "BitmexServer", listing: Listing, table: str) -> None:
        super().__init__(server, listing, table)
        self._orders: list[_Order] = []
        self._number = 0

    def look(self) -> None:
        self._orders = []

    def whole(self) -> Iterable[str]:
        return (row(order.values) for order in self._orders)

    def next(self, step: Step) -> Iterable[str]:
        frames = []
        if self._orders:
            ages = [(order, step.number - order.step) for order in self._orders]
            shrunk = [self._half(order) for order, age in ages if age == SHRINKS_STEPS]
            gone = [self._named(order) for order, age in ages if age >= LEAVES_STEPS]
            self._orders = [order for order, age in ages if age < LEAVES_STEPS]
            frames += [self.frame("update", shrunk)] if shrunk else []
            frames += [self.frame("delete", gone)] if gone else []
        fresh = [self._order(made, step.number) for made in step.forced if made.key == self.listing.key]
        if fresh:
            self._orders += fresh
            frames.append(self.frame("insert", (row(order.values) for order in fresh)))
        return frames

    def _order(self, made: Forced, step: int) -> _Order:
        self._number += 1
        values: Values = {
            "orderID": str(UUID(int=(symbol_number(self.listing) << 96) + (step << 32) + self._number)),
            "symbol": self.listing.native,
            "side": "Sell" if made.position_long else "Buy",
            "price": self.price(made.bankrupt_ticks),
            "leavesQty": self.size(made.lots),
        }
        return _Order(values, step)

    def _half(self, order: _Order) -> str:
        lot, left = int(self.listing.lot), order.values["leavesQty"]
        assert isinstance(left, int)
        order.values["leavesQty"] = left // lot // 2 * lot
        return row({name: order.values[name] for name in ("orderID", "symbol", "leavesQty")})

    def _named(self, order: _Order) -> str:
        return row({name: order.values[name] for name in ("orderID", "symbol")})


def differences(ask: bool, before: Mapping[int, int], after: Mapping[int, int]) -> list[tuple[Action, Level]]:
    """What leads from one state of a side to another: ticks -> lots each."""
    changed = [ticks for ticks, lots in after.items() if before.get(ticks) != lots]
    changed += [ticks for ticks in before if ticks not in after]
    return [(action_of(before.get(ticks, 0), after.get(ticks, 0)), (ticks, ask, after.get(ticks, 0))) for ticks in changed]


def parted(changes: Iterable[tuple[Action, Level]]) -> list[tuple[Action, list[Level]]]:
    """Changes as the frames that tell them: by action, highest price first."""
    found: dict[Action, list[Level]] = {}
    for action, level in changes:
        found.setdefault(action, []).append(level)
    return [(action, sorted(found[action], reverse=True)) for action in ACTIONS if action in found]


def action_of(before: int, after: int) -> Action:
    """What a change from so many lots to so many is called."""
    return "delete" if not after else "update" if before else "insert"
