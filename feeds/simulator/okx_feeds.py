"""What the channels of the simulated OKX say: one class each, told at subscription and then as the market moves.

Facts: protocols.md 3.2, 3.3 and 3.7 (frames recorded 2022 to 2026), order and spelling of the fields included: prices and sizes
without trailing zeros, times as text, `seqId` before `prevSeqId`. Mark, index and funding are computed once a second, since the
market does no more; the venue says a mark five times a second. Who subscribes, and what the venue refuses, is in `okx.py`.
"""

import json
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from msgspec import Struct

from feeds.model import MS, SECOND, Ns
from feeds.simulator.formulas import DAY_S, INTEREST_A_DAY, VenueRules
from feeds.simulator.kit import Connection
from feeds.simulator.listings import Kind, Listing
from feeds.simulator.market import STEP_NS, Forced, Step
from feeds.simulator.past import MINUTE_MS, MINUTES

if TYPE_CHECKING:
    from feeds.simulator.okx import OkxServer

DEPTH: Final = 400
BOOK_STEPS: Final = 100 * MS // STEP_NS
TICKER_STEPS: Final = 100 * MS // STEP_NS
KEEPALIVE_NS: Final[Ns] = 60 * SECOND
"""A book that has not changed for so long repeats its number."""
MARK_AGAIN_NS: Final[Ns] = 10 * SECOND
INDEX_AGAIN_NS: Final[Ns] = 60 * SECOND
FUNDING_AGAIN_NS: Final[Ns] = 60 * SECOND
OPEN_INTEREST_NS: Final[Ns] = 3 * SECOND
IMPACT_QUOTE: Final = 20_000.0
INDEX_DIGITS: Mapping[str, int] = {"BTC": 1, "ETH": 2, "SOL": 3}
INDEX_QUOTES: Final = ("USD", "USDT", "USDC")
TYPES: Mapping[Kind, str] = {"spot": "SPOT", "perp": "SWAP", "future": "FUTURES"}
"""How the venue calls a kind of instrument."""

Fields: TypeAlias = dict[str, str]
Batch: TypeAlias = Sequence[tuple[int, int]]


class Fill(Struct, frozen=True):
    """What the takers of one step took at one price and side. `last_id` is the trade id of the last of `count`."""

    ticks: int
    lots: int
    buy: bool
    count: int
    last_id: int
    now_ns: Ns
    number: int
    """The book's."""


class Generation(NamedTuple):
    """One state of a book's window, best first, under the venue's number and with its time."""

    number: int
    at_ns: Ns
    bids: Batch
    asks: Batch


class Feed(ABC):
    """One topic: who reads it, what it has told last, and what it tells next."""

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str]) -> None:
        self.server = server
        self.topic = topic
        self.readers: dict[Connection, None] = {}
        self._head = f'{{"arg":{json.dumps(arg, separators=(",", ":"))},'

    def due(self, step: Step) -> bool:
        """Whether it has to look at what this step brought."""
        return True

    @abstractmethod
    def first(self) -> Iterable[str]:
        """What a new subscriber is told at once; the others, if any, know it already. `readers` does not hold it yet."""

    @abstractmethod
    def next(self, now_ns: Ns) -> Iterable[str]:
        """What all subscribers are told in this step."""

    def message(self, rows: str, action: str = "") -> str:
        """A data frame."""
        kind = f'"action":"{action}",' if action else ""
        return f'{self._head}{kind}"data":[{rows}]}}'


class _ListingFeed(Feed):
    """What happens to an instrument's orders."""

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str], listing: Listing) -> None:
        super().__init__(server, topic, arg)
        self.listing = listing
        self.book = server.world.books[listing.key]


class _Window:
    """The best `DEPTH` levels of one side, ticks -> lots, as they were told last."""

    def __init__(self, levels: Mapping[int, int], order: list[int], sign: int) -> None:
        """`order` holds the ticks of `levels`, rising; `sign` is 1 where the best is the least."""
        self.told: dict[int, int] = {}
        self._levels = levels
        self._order = order
        self._sign = sign
        self._edge = self._worst()

    def move(self, changed: Iterable[int]) -> list[tuple[int, int]]:
        """Go on to the side as it is. `changed` are the ticks that may differ from then, whether or not in the window.

        Returns:
            What a reader must be told, best first: 0 for a level that left the window, or was taken.
        """
        edge, order, sign, told = self._worst(), self._order, self._sign, self.told
        low, high = (edge, self._edge) if edge < self._edge else (self._edge, edge)
        self._edge = edge
        found = []
        for ticks in {*changed, *order[bisect_left(order, low) : bisect_right(order, high)]}:
            lots = self._levels.get(ticks, 0) if ticks * sign <= edge * sign else 0
            if told.get(ticks, 0) != lots:
                found.append((ticks, lots))
                if lots:
                    told[ticks] = lots
                else:
                    del told[ticks]
        found.sort(reverse=sign < 0)
        return found

    @property
    def whole(self) -> Batch:
        return sorted(self.told.items(), reverse=self._sign < 0)

    def _worst(self) -> int:
        """The last tick within the window."""
        reach = min(DEPTH, len(self._order))
        return self._order[reach - 1 if self._sign > 0 else -reach]


class BookFeed(_ListingFeed):
    """The best 400 levels of each side."""

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str], listing: Listing) -> None:
        super().__init__(server, topic, arg, listing)
        book = self.book
        self._bids = _Window(book.bids, book.bid_ticks, -1)
        self._asks = _Window(book.asks, book.ask_ticks, 1)
        self._seen = -1
        """The market's number of the state it has looked at; `number` is the venue's of the state it has told."""
        self.number = -1
        self._told_ns: Ns = 0

    def due(self, step: Step) -> bool:
        return step.number % BOOK_STEPS == 0

    def first(self) -> Iterable[str]:
        _, _, bids, asks = self.generation()
        yield self._frame("snapshot", bids, asks, -1)

    def generation(self) -> Generation:
        """The book as it was told last; as it is now, where nobody has been told."""
        if not self.readers and self._look() != ((), ()):
            self._tell(self.server.world.now_ns)
        return Generation(self.number, self._told_ns, self._bids.whole, self._asks.whole)

    def next(self, now_ns: Ns) -> Iterable[str]:
        bids, asks = self._look()
        if bids or asks:
            before = self.number
            self._tell(now_ns)
            yield self._frame("update", bids, asks, before)
        elif now_ns - self._told_ns >= KEEPALIVE_NS:
            self._told_ns = now_ns
            yield self._frame("update", (), (), self.number)

    def restart(self, now_ns: Ns) -> str:
        """The update with which counting goes on from the smaller number that the server has just chosen."""
        before = self.number
        bids, asks = self._look()
        self._tell(now_ns)
        return self._frame("update", bids, asks, before)

    def _tell(self, now_ns: Ns) -> None:
        self.number, self._told_ns = self.server.number(self.listing, self.book.seq), now_ns

    def _look(self) -> tuple[Batch, Batch]:
        """Move to the book as it is; what changed within the window, in it before or in it now."""
        book = self.book
        if book.seq == self._seen:
            return (), ()
        try:
            change = book.changes_since(self._seen)
        except KeyError:  # the first look, or the first for minutes
            bids, asks = [*self._bids.told, *book.bids], [*self._asks.told, *book.asks]
        else:
            bids, asks = ([], []) if change is None else (list(change.bids), list(change.asks))
        self._seen = book.seq
        return self._bids.move(bids), self._asks.move(asks)

    def _frame(self, action: str, bids: Batch, asks: Batch, before: int) -> str:
        levels, at_ms = self.server.levels, self.server.now_ms(self._told_ns)
        sides = f'"asks":[{levels(self.listing, asks)}],"bids":[{levels(self.listing, bids)}]'
        numbers = f'"ts":"{at_ms}","checksum":0,"seqId":{self.number},"prevSeqId":{before}'
        return self.message(f"{{{sides},{numbers}}}", action)


class TouchFeed(_ListingFeed):
    """The best quote, whenever its price or size changes. It shares the numbers of the book."""

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str], listing: Listing) -> None:
        super().__init__(server, topic, arg, listing)
        self._told = self.book.touch

    def first(self) -> Iterable[str]:
        self._told = self.book.touch
        yield self._frame(self.server.world.now_ns)

    def next(self, now_ns: Ns) -> Iterable[str]:
        if self.book.touched and self.book.touch != self._told:
            self._told = self.book.touch
            yield self._frame(now_ns)

    def _frame(self, now_ns: Ns) -> str:
        bid, bid_lots, ask, ask_lots = self._told
        levels, number = self.server.levels, self.server.number(self.listing, self.book.seq)
        sides = f'"asks":[{levels(self.listing, [(ask, ask_lots)])}],"bids":[{levels(self.listing, [(bid, bid_lots)])}]'
        return self.message(f'{{{sides},"ts":"{self.server.now_ms(now_ns)}","seqId":{number}}}')


class TradeFeed(_ListingFeed):
    """Trades, those of one taker's price together. The last one is told again to who subscribes."""

    def first(self) -> Iterable[str]:
        last = self.server.last_fills.get(self.listing.key)
        if last is not None:
            yield self._frame(last)

    def next(self, now_ns: Ns) -> Iterable[str]:
        return [self._frame(fill) for fill in self.server.fills.get(self.listing.key, ())]

    def _frame(self, fill: Fill) -> str:
        listing, server = self.listing, self.server
        what = f'"px":"{server.price(listing, fill.ticks)}","sz":"{server.size(listing, fill.lots)}"'
        when = f'"side":"{"buy" if fill.buy else "sell"}","ts":"{server.now_ms(fill.now_ns)}","count":"{fill.count}"'
        ids = f'"instId":"{listing.native}","tradeId":"{fill.last_id}"'
        return self.message(f'{{{ids},{what},{when},"source":"0","seqId":{fill.number}}}')


class _Figures(Feed):
    """Figures that are told when they change, and again after a while. `fields` says them all but the time."""

    again_ns: Ns = 0
    """0: not unless they change."""

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str]) -> None:
        super().__init__(server, topic, arg)
        self._told: Fields = {}
        self._told_ns: Ns = 0

    def due(self, step: Step) -> bool:
        return step.whole_second

    @abstractmethod
    def fields(self) -> Fields: ...

    def first(self) -> Iterable[str]:
        if not self.readers:
            self._told, self._told_ns = self.fields(), self.server.world.now_ns
        yield self._frame()

    def next(self, now_ns: Ns) -> Iterable[str]:
        now = self.fields()
        if now != self._told or 0 < self.again_ns <= now_ns - self._told_ns:
            self._told, self._told_ns = now, now_ns
            yield self._frame()

    def _frame(self) -> str:
        return self.message(json.dumps({**self._told, "ts": str(self.server.now_ms(self._told_ns))}, separators=(",", ":")))


class _ListingFigures(_Figures):
    """Figures of an instrument."""

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str], listing: Listing) -> None:
        super().__init__(server, topic, arg)
        self.listing = listing
        self.figures = server.world.figures[listing.key]

    def price(self, price: float) -> str:
        return plain(f"{price:.{self.listing.price_digits}f}")


class TickerFeed(_ListingFigures):
    """The last trade, the best quote and the day."""

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str], listing: Listing) -> None:
        super().__init__(server, topic, arg, listing)
        self.book = server.world.books[listing.key]
        bars = {bar.open_ms: bar.open for bar in server.world.bars(listing.key, "trade", MINUTE_MS)}
        self._day: Fields = {
            name: self.price(round(bars[at_ms] / listing.tick) * listing.tick)
            for name, at_ms in midnights_ms(server.world.start_ns).items()
        }
        self._key: tuple[int, ...] = ()

    def due(self, step: Step) -> bool:
        return step.number % TICKER_STEPS == 0

    def next(self, now_ns: Ns) -> Iterable[str]:
        key = (*self.book.touch, self.figures.trades)
        if key == self._key:
            return ()
        self._key = key
        return super().next(now_ns)

    def fields(self) -> Fields:
        listing, figures, server = self.listing, self.figures, self.server
        bid, bid_lots, ask, ask_lots = self.book.touch
        contracts = (figures.quote_volume if listing.contract == "inverse" else figures.base_volume) / listing.contract_size
        of_coin = figures.quote_volume if listing.kind == "spot" else figures.base_volume
        return {
            "instType": TYPES[listing.kind],
            "instId": listing.native,
            "last": server.price(listing, figures.last_ticks),
            "lastSz": server.size(listing, figures.last_lots),
            "askPx": server.price(listing, ask),
            "askSz": server.size(listing, ask_lots),
            "bidPx": server.price(listing, bid),
            "bidSz": server.size(listing, bid_lots),
            "open24h": self.price(figures.day_open),
            "high24h": self.price(figures.day_high),
            "low24h": self.price(figures.day_low),
            **self._day,
            "volCcy24h": plain(f"{of_coin:.8f}"),
            "vol24h": plain(f"{contracts:.{listing.size_digits}f}"),
        }


class MarkFeed(_ListingFigures):
    """The mark, when it changes, else every 10 s."""

    again_ns = MARK_AGAIN_NS

    def fields(self) -> Fields:
        listing = self.listing
        return {"instId": listing.native, "instType": TYPES[listing.kind], "markPx": self.price(self.figures.mark)}


class FundingFeed(_ListingFigures):
    """The rate that is predicted for the next funding time, and the one before."""

    kinds = ("perp",)
    again_ns = FUNDING_AGAIN_NS

    def fields(self) -> Fields:
        listing, figures = self.listing, self.figures
        cap = plain(f"{VenueRules('OKX', listing.funding_interval_s).cap:.8f}")
        next_ms, interval_ms = figures.next_funding_ns // MS, listing.funding_interval_s * 1_000
        return {
            "formulaType": "withRate",
            "fundingRate": f"{figures.rate:.16f}",
            "fundingTime": str(next_ms),
            "impactValue": f"{IMPACT_QUOTE:.16f}",
            "instId": listing.native,
            "instType": TYPES[listing.kind],
            "interestRate": f"{INTEREST_A_DAY * listing.funding_interval_s / DAY_S:.16f}",
            "maxFundingRate": cap,
            "method": "current_period",
            "minFundingRate": f"-{cap}",
            "nextFundingRate": "",
            "nextFundingTime": str(next_ms + interval_ms),
            "premium": f"{figures.premium:.16f}",
            "prevFundingTime": str(next_ms - interval_ms),
            "settFundingRate": f"{figures.settled[-1].rate:.16f}",
            "settState": "settled",
        }


class OpenInterestFeed(_ListingFigures):
    """Open contracts of one side, every three seconds."""

    again_ns = OPEN_INTEREST_NS

    def fields(self) -> Fields:
        listing, figures = self.listing, self.figures
        lots, quote = figures.open_interest_lots, listing.quote
        return {
            "instId": listing.native,
            "instType": TYPES[listing.kind],
            "oi": self.server.size(listing, lots),
            "oiCcy": plain(f"{listing.base_of(lots, figures.mark):.8f}"),
            "oiUsd": plain(f"{listing.value_of(lots, figures.mark) * self.server.world.usd_per[quote]:.8f}"),
        }

    def next(self, now_ns: Ns) -> Iterable[str]:
        return super().next(now_ns) if now_ns - self._told_ns >= OPEN_INTEREST_NS else ()


class IndexFeed(_Figures):
    """The index of a pair, be there an instrument on it or not."""

    again_ns = INDEX_AGAIN_NS

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str], base: str, quote: str) -> None:
        super().__init__(server, topic, arg)
        self._pair = (base, quote)
        self._digits = INDEX_DIGITS[base]
        world = server.world
        path = [price / world.usd_per[quote] for price in world.paths.get(base, ())] or [server.index(base, quote)] * (
            MINUTES + 1
        )
        day, start_ms = path[-1_441:], world.start_ns // MS
        self._open, self._high, self._low = day[0], max(day), min(day)
        self._day: Fields = {
            name: self._text(path[-1 - (start_ms - at_ms) // MINUTE_MS]) for name, at_ms in midnights_ms(world.start_ns).items()
        }

    def fields(self) -> Fields:
        price = self.server.index(*self._pair)
        self._high, self._low = max(self._high, price), min(self._low, price)
        return {
            "instId": "-".join(self._pair),
            "idxPx": self._text(price),
            "open24h": self._text(self._open),
            "high24h": self._text(self._high),
            "low24h": self._text(self._low),
            **self._day,
        }

    def _text(self, price: float) -> str:
        return plain(f"{price:.{self._digits}f}")


class LiquidationFeed(Feed):
    """Liquidations of all contracts of a type, at most one a contract and second. Recent ones are told to who subscribes."""

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str], kind: str) -> None:
        super().__init__(server, topic, arg)
        self._kind = kind
        self._fresh: dict[str, Forced] = {}

    def due(self, step: Step) -> bool:
        self._fresh.update((made.key, made) for made in step.forced if self._is_ours(made))
        return step.whole_second

    def first(self) -> Iterable[str]:
        """Newest first, as the venue does not order them by time."""
        recent: dict[str, list[Forced]] = {}
        for made in reversed(self.server.recent_forced):
            if self._is_ours(made):
                recent.setdefault(made.key, []).append(made)
        if recent:
            yield self.message(",".join(map(self._row, recent.values())))

    def next(self, now_ns: Ns) -> Iterable[str]:
        fresh, self._fresh = self._fresh, {}
        return [self.message(self._row([made])) for made in fresh.values()]

    def _is_ours(self, made: Forced) -> bool:
        listing = self.server.by_key.get(made.key)
        return listing is not None and TYPES[listing.kind] == self._kind

    def _row(self, closes: Sequence[Forced]) -> str:
        listing = self.server.by_key[closes[0].key]
        family = f"{listing.base}-{listing.quote}"
        tail = f'"instFamily":"{family}","instId":"{listing.native}","instType":"{self._kind}","uly":"{family}"'
        return f'{{"details":[{",".join(self._close(listing, made) for made in closes)}],{tail}}}'

    def _close(self, listing: Listing, made: Forced) -> str:
        server = self.server
        position, order = ("long", "sell") if made.position_long else ("short", "buy")
        sides = f'"bkLoss":"0","bkPx":"{server.price(listing, made.bankrupt_ticks)}","ccy":"","posSide":"{position}"'
        return f'{{{sides},"side":"{order}","sz":"{server.size(listing, made.lots)}","ts":"{server.now_ms(made.now_ns)}"}}'


class StatusFeed(Feed):
    """Maintenance of the venue: what is said of it last is told to who subscribes."""

    def __init__(self, server: "OkxServer", topic: str, arg: Mapping[str, str]) -> None:
        super().__init__(server, topic, arg)
        self.works: Fields = {}

    def first(self) -> Iterable[str]:
        if self.works:
            yield self.told()

    def next(self, now_ns: Ns) -> Iterable[str]:
        return ()

    def told(self) -> str:
        return self.message(json.dumps(self.works, separators=(",", ":")))


class Offer(NamedTuple):
    """A channel of instruments: which kinds have it, and what tells it."""

    kinds: tuple[Kind, ...]
    make: Callable[["OkxServer", str, Mapping[str, str], Listing], Feed]


ALL: tuple[Kind, ...] = ("spot", "perp", "future")
DERIVATIVES: tuple[Kind, ...] = ("perp", "future")
OFFERS: Mapping[str, Offer] = {
    "bbo-tbt": Offer(ALL, TouchFeed),
    "books": Offer(ALL, BookFeed),
    "trades": Offer(ALL, TradeFeed),
    "tickers": Offer(ALL, TickerFeed),
    "mark-price": Offer(DERIVATIVES, MarkFeed),
    "funding-rate": Offer(("perp",), FundingFeed),
    "open-interest": Offer(DERIVATIVES, OpenInterestFeed),
}
"""Channels of an instrument, in the order in which the venue tells of one."""


def midnights_ms(now_ns: Ns) -> Mapping[str, int]:
    """The last beginnings of a day, in London and in Hong Kong."""
    now_ms, day_ms, east_ms = now_ns // MS, DAY_S * 1_000, 8 * 3_600_000
    return {"sodUtc0": now_ms // day_ms * day_ms, "sodUtc8": (now_ms + east_ms) // day_ms * day_ms - east_ms}


def plain(text: str) -> str:
    """A decimal number without trailing zeros."""
    return text.rstrip("0").rstrip(".") if "." in text else text
