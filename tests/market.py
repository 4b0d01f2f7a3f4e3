"""A small true market, seeded, whose frames have exactly the venues' wire shape: what tests feed to sessions and importers.

One latent price moves Binance spot, USD-M and COIN-M and Bybit spot, linear and inverse BTC markets; each stands at its own
premium to it, and in some stretches the USD-M perpetual stands 6 to 10 bps above spot for seconds. Every market is a plain dict
of ticks to lots that is never crossed, so after each book frame the true levels are known. Of the program it uses only the words
of `feeds.model`. Shapes: the fixtures of protocols.md 1.4 to 1.6 and 2.4. It is no exchange: it answers no subscriptions and
injects no faults; tests do that.
"""

import argparse
import gzip
import heapq
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec

from feeds.model import MS, Contract, Instrument, Kind, Ns

Json: TypeAlias = dict[str, Any]
Levels: TypeAlias = list[tuple[float, float]]

FUNDING_AT_MS = 1_790_784_000_000
"""2026-09-30 16:00 UTC: the funding time that a run crosses in its middle."""
FUNDING_STEP_MS = 8 * 3_600_000
STEP_MS = 20
DEPTH_EVERY = 5
"""Steps between two depth frames."""
START_PRICE = 60_000.0
LEVELS_A_SIDE = 160
BYBIT_DEPTH = 50
BYBIT_RESEND_MS = 3_000


class Frame(NamedTuple):
    """One message as it arrives. A REST depth answer stands inline, as in format A: it begins with `{"lastUpdateId"`."""

    recv_ns: Ns
    conn: str
    market: str
    data: bytes


class Shape(NamedTuple):
    """How one market counts and writes."""

    venue: str
    symbol: str
    pair: str
    tick: float
    lot: float
    price_digits: int
    size_digits: int
    reach: int
    """How far from the touch levels stand, in ticks."""
    lots: int
    """Largest size of a level, in lots."""
    stride: int
    """Largest step of the update number from one change to the next."""
    premium_bps: float
    latency_us: int
    kind: Kind
    contract: Contract = Contract.LINEAR
    contract_size: float = 1.0
    st: int = 0


SHAPES: Mapping[str, Shape] = {
    "binance.spot": Shape("BINANCE", "BTCUSDT", "", 0.01, 1e-5, 8, 8, 6000, 200_000, 1, 0.0, 4_000, Kind.SPOT),
    "binance.usdm": Shape("BINANCE", "BTCUSDT", "BTCUSDT", 0.1, 1e-3, 2, 3, 600, 5_000, 9, 0.6, 6_000, Kind.PERP, st=1),
    "binance.coinm": Shape(
        "BINANCE", "BTCUSD_PERP", "BTCUSD", 0.1, 1.0, 1, 0, 600, 3_000, 9, -1.5, 7_000, Kind.PERP, Contract.INVERSE, 100.0, 2
    ),
    "bybit.spot": Shape("BYBIT", "BTCUSDT", "", 0.1, 1e-6, 1, 6, 600, 900_000, 3, 0.3, 9_000, Kind.SPOT),
    "bybit.linear": Shape("BYBIT", "BTCUSDT", "", 0.1, 1e-3, 2, 3, 600, 5_000, 3, -0.8, 9_000, Kind.PERP),
    "bybit.inverse": Shape(
        "BYBIT", "BTCUSD", "", 0.1, 1.0, 2, 0, 600, 300_000, 3, -2.0, 10_000, Kind.PERP, Contract.INVERSE, 1.0
    ),
}
MARKETS: tuple[str, ...] = tuple(SHAPES)

_IDS: Mapping[str, str] = {
    "binance.spot": "BINANCE:BTC/USDT",
    "binance.usdm": "BINANCE:BTC/USDT:USDT",
    "binance.coinm": "BINANCE:BTC/USD:BTC",
    "bybit.spot": "BYBIT:BTC/USDT",
    "bybit.linear": "BYBIT:BTC/USDT:USDT",
    "bybit.inverse": "BYBIT:BTC/USD:BTC",
}


def instruments() -> dict[str, Instrument]:
    """Market name -> its one instrument."""
    found = {}
    for market, shape in SHAPES.items():
        coin_settled = shape.contract is Contract.INVERSE
        found[market] = Instrument(
            id=_IDS[market],
            venue=shape.venue,
            market=market.partition(".")[2],
            native=shape.symbol,
            base="BTC",
            quote="USD" if coin_settled else "USDT",
            settle="" if shape.kind is Kind.SPOT else "BTC" if coin_settled else "USDT",
            kind=shape.kind,
            contract=shape.contract,
            contract_size=shape.contract_size,
            tick=shape.tick,
            lot=shape.lot,
            funding_interval_s=0 if shape.kind is Kind.SPOT else 28_800,
        )
    return found


def is_snapshot(data: bytes) -> bool:
    """Whether a frame is a REST depth answer."""
    return data.startswith(b'{"lastUpdateId"')


class _Book:
    """One market's true book in ticks and lots, and what has changed since the last frame that told."""

    def __init__(self, shape: Shape, rng: random.Random, middle: float) -> None:
        self.shape = shape
        self.rng = rng
        self.seq = rng.randrange(10**9, 10**10)
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.changed_bids: dict[int, int] = {}
        self.changed_asks: dict[int, int] = {}
        self.first_id = 0
        touch = self.ticks(middle)
        for at in range(LEVELS_A_SIDE):
            away = 0 if not at else rng.randrange(1, shape.reach)
            self.bids[touch - away] = self.some_lots()
            self.asks[touch + 1 + away] = self.some_lots()

    def ticks(self, price: float) -> int:
        return round(price / self.shape.tick)

    def some_lots(self) -> int:
        return 1 + int(self.shape.lots * self.rng.random() ** 3)

    def price(self, ticks: int) -> str:
        return f"{ticks * self.shape.tick:.{self.shape.price_digits}f}"

    def size(self, lots: int) -> str:
        return f"{lots * self.shape.lot:.{self.shape.size_digits}f}"

    def best(self) -> tuple[int, int]:
        return max(self.bids), min(self.asks)

    def rows(self, side: Mapping[int, int], zero: str = "") -> list[list[str]]:
        return [[self.price(ticks), self.size(lots) if lots or not zero else zero] for ticks, lots in side.items()]

    def levels(self, depth: int = 1 << 30) -> tuple[Levels, Levels]:
        """The true levels as a reader of the wire would know them, best first."""
        return (
            [(float(self.price(t)), float(self.size(self.bids[t]))) for t in sorted(self.bids, reverse=True)[:depth]],
            [(float(self.price(t)), float(self.size(self.asks[t]))) for t in sorted(self.asks)[:depth]],
        )

    def step(self, middle: float) -> None:
        """Twenty milliseconds of orders: the touch follows `middle`, some sizes change, far levels come and go."""
        rng = self.rng
        want = self.ticks(middle)
        for ticks in sorted(t for t in self.asks if t <= want):
            self._set_ask(ticks, 0)
        for ticks in sorted((t for t in self.bids if t > want), reverse=True):
            self._set_bid(ticks, 0)
        if want not in self.bids:
            self._set_bid(want, self.some_lots())
        if want + 1 not in self.asks:
            self._set_ask(want + 1, self.some_lots())
        for _ in range(rng.randrange(4)):
            if rng.random() < 0.5:
                self._set_bid(want - rng.randrange(self.shape.reach // 20), self.some_lots())
            else:
                self._set_ask(want + 1 + rng.randrange(self.shape.reach // 20), self.some_lots())
        while len(self.bids) < LEVELS_A_SIDE:
            self._set_bid(want - rng.randrange(1, self.shape.reach), self.some_lots())
        while len(self.asks) < LEVELS_A_SIDE:
            self._set_ask(want + 1 + rng.randrange(1, self.shape.reach), self.some_lots())
        while len(self.bids) > LEVELS_A_SIDE + 20:
            self._set_bid(min(self.bids), 0)
        while len(self.asks) > LEVELS_A_SIDE + 20:
            self._set_ask(max(self.asks), 0)

    def take(self, *, buy: bool) -> tuple[int, int]:
        """An aggressive order against the touch, which it never empties: (ticks, lots)."""
        bid, ask = self.best()
        held = self.asks[ask] if buy else self.bids[bid]
        lots = max(1, min(held - 1, self.some_lots()))
        if held > lots:
            (self._set_ask if buy else self._set_bid)(ask if buy else bid, held - lots)
        return (ask if buy else bid), lots

    def settle(self) -> tuple[int, int, dict[int, int], dict[int, int]]:
        """What has changed since the last call: (first id, last id, bids, asks)."""
        told = self.first_id, self.seq, self.changed_bids, self.changed_asks
        self.first_id, self.changed_bids, self.changed_asks = 0, {}, {}
        return told

    def _set_bid(self, ticks: int, lots: int) -> None:
        self._count()
        self.changed_bids[ticks] = lots
        if lots:
            self.bids[ticks] = lots
        else:
            del self.bids[ticks]

    def _set_ask(self, ticks: int, lots: int) -> None:
        self._count()
        self.changed_asks[ticks] = lots
        if lots:
            self.asks[ticks] = lots
        else:
            del self.asks[ticks]

    def _count(self) -> None:
        self.seq += self.rng.randint(1, self.shape.stride)
        self.first_id = self.first_id or self.seq


class _Venue(ABC):
    """What one market sends; subclasses write it. `send` takes market, route, message, venue ms, whether it moves the book."""

    def __init__(self, name: str, book: _Book, rng: random.Random, send: Callable[[str, str, Json, int, bool], None]) -> None:
        self.name = name
        self.book = book
        self.rng = rng
        self._send = send
        self._trade_id = rng.randrange(10**8, 10**9)

    @abstractmethod
    def step(self, number: int, now_ms: int, index: float, mark: float, funding_ms: int) -> None: ...

    def send(self, route: str, message: Json, at_ms: int, *, moves_book: bool = False) -> None:
        self._send(self.name, route, message, at_ms, moves_book)


class _Binance(_Venue):
    """Depth diffs joined to one REST answer, best quotes that share their numbering, trades, mark prices, forced orders."""

    def __init__(
        self,
        name: str,
        book: _Book,
        rng: random.Random,
        send: Callable[[str, str, Json, int, bool], None],
        depth_suffix: str,
        trade_stream: str,
    ) -> None:
        super().__init__(name, book, rng, send)
        self._spot = book.shape.kind is Kind.SPOT
        self._trade_stream = "trade" if self._spot else trade_stream
        self._depth_suffix = depth_suffix
        self._previous_u = book.seq
        self._touch: tuple[str, ...] = ()

    def step(self, number: int, now_ms: int, index: float, mark: float, funding_ms: int) -> None:
        rng = self.rng
        if rng.random() < 0.2:
            buy = rng.random() < 0.5
            ticks, lots = self.book.take(buy=buy)
            self._trade(ticks, lots, buy=buy, now_ms=now_ms)
        if number % DEPTH_EVERY == 0:
            self._best_quote(now_ms)
            self._depth(now_ms)
        elif rng.random() < 0.9:  # else the quote comes late, and the diff that holds it first
            self._best_quote(now_ms)
        if number == 2 * DEPTH_EVERY + 2:
            self.send("public", self.rest_answer(now_ms), now_ms + 70)
        if not self._spot and now_ms % 1_000 < STEP_MS:
            self._mark_price(now_ms - now_ms % 1_000, index, mark, funding_ms)
        if not self._spot and rng.random() < 0.01:
            self._force_order(now_ms)

    def _public(self, stream: str, data: Json, at_ms: int, *, route: str = "public", moves_book: bool = False) -> None:
        if not self._spot and stream != "trade":
            data["st"] = self.book.shape.st
        message = {"stream": f"{self.book.shape.symbol.lower()}@{stream}", "data": data}
        self.send(route, message, at_ms, moves_book=moves_book)

    def _symbol(self) -> Json:
        shape = self.book.shape
        return {"s": shape.symbol} if self._spot else {"s": shape.symbol, "ps": shape.pair}

    def _depth(self, now_ms: int) -> None:
        first, last, bids, asks = self.book.settle()
        if not first:
            return
        rows = {"b": self.book.rows(bids), "a": self.book.rows(asks)}
        if self._spot:
            data = {"e": "depthUpdate", "E": now_ms, **self._symbol(), "U": first, "u": last, **rows}
        else:
            ids = {"U": first, "u": last, "pu": self._previous_u}
            data = {"e": "depthUpdate", "E": now_ms, "T": now_ms - 3, **self._symbol(), **ids, **rows}
        self._previous_u = last
        self._public(f"depth{self._depth_suffix}", data, now_ms, moves_book=True)

    def _best_quote(self, now_ms: int) -> None:
        book = self.book
        bid, ask = book.best()
        touch = book.price(bid), book.size(book.bids[bid]), book.price(ask), book.size(book.asks[ask])
        if touch == self._touch:
            return
        self._touch = touch
        quote: Json = {"u": book.seq, **self._symbol(), "b": touch[0], "B": touch[1], "a": touch[2], "A": touch[3]}
        if not self._spot:
            quote = {"e": "bookTicker", **quote, "T": now_ms - 1, "E": now_ms}
        self._public("bookTicker", quote, now_ms)

    def rest_answer(self, now_ms: int) -> Json:
        shape, (bids, asks) = self.book.shape, (self.book.bids, self.book.asks)
        times = {} if self._spot else {"E": now_ms, "T": now_ms - 2}
        names = {"symbol": shape.symbol, "pair": shape.pair} if shape.contract is Contract.INVERSE else {}
        rows = {
            "bids": self.book.rows({t: bids[t] for t in sorted(bids, reverse=True)}),
            "asks": self.book.rows({t: asks[t] for t in sorted(asks)}),
        }
        return {"lastUpdateId": self.book.seq, **times, **names, **rows}

    def _trade(self, ticks: int, lots: int, *, buy: bool, now_ms: int) -> None:
        self._trade_id += 1
        price, size = self.book.price(ticks), self.book.size(lots)
        symbol = self.book.shape.symbol
        if self._trade_stream == "aggTrade":
            last = 2 * self._trade_id
            data: Json = {"e": "aggTrade", "E": now_ms, "a": self._trade_id, "s": symbol, "p": price, "q": size}
            if self.book.shape.st == 1:
                data["nq"] = size
            data |= {"f": last - 1, "l": last, "T": now_ms - 1, "m": not buy}
        elif self._spot:
            data = {"e": "trade", "E": now_ms, "s": symbol, "t": self._trade_id, "p": price, "q": size}
            data |= {"T": now_ms - 1, "m": not buy, "M": True}
        else:
            data = {"e": "trade", "E": now_ms, "T": now_ms - 1, "s": symbol, "t": self._trade_id, "p": price, "q": size}
            data |= {"X": "MARKET", "m": not buy}
        self._public(self._trade_stream, data, now_ms, route="market" if self._trade_stream == "aggTrade" else "public")

    def _mark_price(self, at_ms: int, index: float, mark: float, funding_ms: int) -> None:
        values = {"p": f"{mark:.8f}", "ap": f"{mark:.8f}", "P": f"{index:.8f}", "i": f"{index:.8f}"}
        funding = {"r": f"{0.0001 + (mark / index - 1) / 10:.8f}", "T": funding_ms}
        data = {"e": "markPriceUpdate", "E": at_ms, "s": self.book.shape.symbol, **values, **funding}
        self._public("markPrice@1s", data, at_ms, route="market")

    def _force_order(self, now_ms: int) -> None:
        book = self.book
        bid, ask = book.best()
        sell = self.rng.random() < 0.5
        size = book.size(book.some_lots())
        names = {"ps": book.shape.pair, "st": book.shape.st}
        order: Json = {"s": book.shape.symbol, "S": "SELL" if sell else "BUY", "o": "LIMIT", "f": "IOC", "q": size}
        order |= {"p": book.price(bid - 200 if sell else ask + 200), "ap": book.price(bid if sell else ask), "X": "FILLED"}
        order |= {"l": size, "z": size, "T": now_ms - 4, **names}
        message = {"stream": f"{book.shape.symbol.lower()}@forceOrder", "data": {"e": "forceOrder", "E": now_ms, "o": order}}
        self.send("market", message, now_ms)


class _Bybit(_Venue):
    """Top-50 views as snapshot and deltas, best quotes, trades, tickers that tell only what changed, liquidations."""

    def __init__(self, name: str, book: _Book, rng: random.Random, send: Callable[[str, str, Json, int, bool], None]) -> None:
        super().__init__(name, book, rng, send)
        self._category = name.partition(".")[2]
        self._view: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._u = rng.randrange(10**6, 10**7)
        self._first = True
        self._touch: tuple[str, ...] = ()
        self._touch_u = rng.randrange(10**6, 10**7)
        self._touch_ms = 0
        self._told: dict[str, str] = {}
        self._interest = rng.randrange(40_000_000, 60_000_000)
        self._last_price = ""

    def step(self, number: int, now_ms: int, index: float, mark: float, funding_ms: int) -> None:
        rng = self.rng
        if rng.random() < 0.2:
            buy = rng.random() < 0.5
            ticks, lots = self.book.take(buy=buy)
            self._trade(ticks, lots, buy=buy, now_ms=now_ms)
        self._best_quote(now_ms)
        if number % DEPTH_EVERY == 0:
            self._depth(now_ms)
            self._ticker(now_ms, index, mark, funding_ms)
        if self._category != "spot" and rng.random() < 0.01:
            self._liquidation(now_ms)

    def restart(self, now_ms: int) -> None:
        """The service starts over: the next book frame is a snapshot with u = 1."""
        self._u, self._first = 0, True
        self._depth(now_ms)

    def _topic(
        self, name: str, kind: str, data: object, now_ms: int, *, cts: bool = False, cs: bool = False, moves_book: bool = False
    ) -> None:
        head: Json = {"topic": f"{name}.{self.book.shape.symbol}"}
        times: Json = {"ts": now_ms}
        order = {**head, **times, "type": kind} if self.rng.random() < 0.5 else {**head, "type": kind, **times}
        message = {**order, "data": data}
        if cts:
            message["cts"] = now_ms - 4
        if cs:
            message["cs"] = self.book.seq
        self.send("", message, now_ms, moves_book=moves_book)

    def _depth(self, now_ms: int) -> None:
        book = self.book
        book.settle()
        bids = {t: book.bids[t] for t in sorted(book.bids, reverse=True)[:BYBIT_DEPTH]}
        asks = {t: book.asks[t] for t in sorted(book.asks)[:BYBIT_DEPTH]}
        told_bids, told_asks = ({}, {}) if self._first else self._view
        rows = {"b": book.rows(_difference(told_bids, bids), "0"), "a": book.rows(_difference(told_asks, asks), "0")}
        if not (rows["b"] or rows["a"]):
            return
        self._u += 1
        data = {"s": book.shape.symbol, **rows, "u": self._u, "seq": book.seq}
        kind = "snapshot" if self._first else "delta"
        self._first, self._view = False, (bids, asks)
        self._topic(f"orderbook.{BYBIT_DEPTH}", kind, data, now_ms, cts=True, moves_book=True)

    def _best_quote(self, now_ms: int) -> None:
        book = self.book
        bid, ask = book.best()
        touch = book.price(bid), book.size(book.bids[bid]), book.price(ask), book.size(book.asks[ask])
        if touch == self._touch:
            if now_ms - self._touch_ms < BYBIT_RESEND_MS:
                return
        else:
            self._touch_u += 1
        self._touch, self._touch_ms = touch, now_ms
        data = {"s": book.shape.symbol, "b": [list(touch[:2])], "a": [list(touch[2:])], "u": self._touch_u, "seq": book.seq}
        self._topic("orderbook.1", "snapshot", data, now_ms, cts=True)

    def _trade(self, ticks: int, lots: int, *, buy: bool, now_ms: int) -> None:
        book = self.book
        self._trade_id += 1
        self._last_price = book.price(ticks)
        fill: Json = {"T": now_ms - 1, "s": book.shape.symbol, "S": "Buy" if buy else "Sell", "v": book.size(lots)}
        fill["p"] = self._last_price
        if self._category != "spot":
            fill["L"] = "PlusTick" if buy else "MinusTick"
        fill |= {"i": str(self._trade_id), "BT": False, "RPI": False, "seq": book.seq}
        self._topic("publicTrade", "snapshot", [fill], now_ms)

    def _ticker(self, now_ms: int, index: float, mark: float, funding_ms: int) -> None:
        book = self.book
        last = self._last_price or book.price(book.best()[0])
        if self._category == "spot":
            if last == self._told.get("lastPrice"):
                return
            facts = {"lastPrice": last, "highPrice24h": "61000.0", "lowPrice24h": "59000.0", "prevPrice24h": "60100.0"}
            facts |= {"volume24h": "9416.834648", "turnover24h": "565010078.88", "price24hPcnt": "-0.0016"}
            self._told = {"symbol": book.shape.symbol, **facts, "usdIndexPrice": f"{index:.6f}"}
            self._topic("tickers", "snapshot", self._told, now_ms, cs=True)
            return
        self._interest += self.rng.randrange(-500, 501)
        both, single = (f"{self._interest * part / 1000:.3f}" for part in (1.0, 0.5))
        bid, ask = book.best()
        facts = {
            "symbol": book.shape.symbol,
            "lastPrice": last,
            "prevPrice24h": "60100.00",
            "markPrice": f"{mark:.2f}",
            "indexPrice": f"{index:.2f}",
            "openInterest": both,
            "openInterestValue": f"{self._interest * mark / 1000:.2f}",
            "turnover24h": "3734121786.2434",
            "volume24h": "44701.1000",
            "fundingIntervalHour": "8",
            "fundingCap": "0.00333",
            "singleOpenInterest": single,
            "nextFundingTime": str(funding_ms),
            "fundingRate": f"{0.0001 + (mark / index - 1) / 10:.8f}",
            "bid1Price": book.price(bid),
            "bid1Size": book.size(book.bids[bid]),
            "ask1Price": book.price(ask),
            "ask1Size": book.size(book.asks[ask]),
        }
        changed = {key: value for key, value in facts.items() if self._told.get(key) != value}
        kind = "delta" if self._told else "snapshot"
        self._told = facts
        self._topic("tickers", kind, {"symbol": book.shape.symbol, **changed}, now_ms, cs=True)

    def _liquidation(self, now_ms: int) -> None:
        book = self.book
        bid, ask = book.best()
        long = self.rng.random() < 0.5
        row = {"T": now_ms - 300, "s": book.shape.symbol, "S": "Buy" if long else "Sell", "v": book.size(book.some_lots())}
        row["p"] = book.price(bid - 30 if long else ask + 30)
        self._topic("allLiquidation", "snapshot", [row], now_ms)


def _difference(told: Mapping[int, int], true: Mapping[int, int]) -> dict[int, int]:
    """What turns one view into the other; 0 deletes."""
    gone = {ticks: 0 for ticks in told if ticks not in true}
    return gone | {ticks: lots for ticks, lots in true.items() if told.get(ticks) != lots}


class SeededMarket:
    """One run of the market. Iterate `frames()` once; between two frames `truth` is what the frames so far have told.

    Args:
        seed: the same seed gives the same bytes.
        seconds: length of the run; a funding time lies in its middle.
        markets: which of `MARKETS`.
        depth_suffix: interval suffix of Binance depth streams, `@100ms` or `@0ms`.
        trade_stream: `aggTrade` as the adapters ask for, or `trade` as the hftbacktest collector records; futures only.
        restart_after_s: when Bybit's service starts over with u = 1; None for never.
    """

    def __init__(
        self,
        seed: int,
        seconds: float,
        *,
        markets: Sequence[str] = MARKETS,
        depth_suffix: str = "@100ms",
        trade_stream: str = "aggTrade",
        restart_after_s: float | None = None,
    ) -> None:
        self._rng = random.Random(seed)
        self._steps = int(seconds * 1000 / STEP_MS)
        self.start_ms = FUNDING_AT_MS - int(seconds * 500) // STEP_MS * STEP_MS
        self.markets = tuple(markets)
        self._restart = None if restart_after_s is None else int(restart_after_s * 1000 / STEP_MS)
        self._waiting: list[tuple[Ns, int, Frame, tuple[Levels, Levels] | None]] = []
        self._sent = 0
        self._last_recv: dict[str, Ns] = {}
        self._truth: dict[str, tuple[Levels, Levels]] = {}
        self._latent = START_PRICE
        self._now_ms = self.start_ms
        self._venues: dict[str, _Venue] = {}
        for name in self.markets:
            shape, rng = SHAPES[name], random.Random(f"{seed} {name}")
            book = _Book(shape, rng, START_PRICE * (1 + shape.premium_bps / 1e4))
            if shape.venue == "BINANCE":
                self._venues[name] = _Binance(name, book, rng, self._send, depth_suffix, trade_stream)
            else:
                self._venues[name] = _Bybit(name, book, rng, self._send)
        self.stretches = self._plan_stretches()
        """(from, to) in venue ms: when the USD-M perpetual stands 6 to 10 bps above spot."""

    def truth(self, market: str) -> tuple[Levels, Levels] | None:
        """True bids and asks, best first, as of the last book frame handed out; None before the first."""
        return self._truth.get(market)

    def rest_answer(self, market: str) -> bytes:
        """What Binance would answer to a depth request now: for tests that answer a session's `Fetch`."""
        venue = self._venues[market]
        if not isinstance(venue, _Binance):
            raise TypeError(f"{market} has no snapshots by REST")
        return msgspec.json.encode(venue.rest_answer(self._now_ms))

    def frames(self) -> Iterator[Frame]:
        """Every frame in the order of receipt."""
        for number in range(self._steps):
            self._now_ms = now_ms = self.start_ms + number * STEP_MS
            self._step(number, now_ms)
            yield from self._due(now_ms * MS)
        yield from self._due(1 << 62)

    def _plan_stretches(self) -> list[tuple[int, int]]:
        planned, at, end = [], self.start_ms + 3_000, self.start_ms + self._steps * STEP_MS
        while at < end:
            length = self._rng.randrange(2_000, 5_000)
            planned.append((at, min(at + length, end)))
            at += length + self._rng.randrange(3_000, 7_000)
        return planned

    def _step(self, number: int, now_ms: int) -> None:
        rng = self._rng
        self._latent *= 1 + rng.gauss(0, 0.1) / 1e4
        lifted = any(begin <= now_ms < end for begin, end in self.stretches)
        lift_bps = 8.0 + rng.uniform(-1.0, 1.0)
        funding_ms = FUNDING_AT_MS if now_ms - now_ms % 1_000 <= FUNDING_AT_MS else FUNDING_AT_MS + FUNDING_STEP_MS
        for name, venue in self._venues.items():
            premium_bps = venue.book.shape.premium_bps + rng.uniform(-0.1, 0.1)
            mark = self._latent * (1 + premium_bps / 1e4)  # a venue's average over minutes sees nothing of a stretch of seconds
            if lifted and name == "binance.usdm":
                premium_bps = lift_bps
            venue.book.step(self._latent * (1 + premium_bps / 1e4))
            venue.step(number, now_ms, self._latent, mark, funding_ms)
            if number == self._restart and isinstance(venue, _Bybit):
                venue.restart(now_ms)

    def _send(self, market: str, route: str, message: Json, at_ms: int, moves_book: bool) -> None:
        venue, shape = self._venues[market], SHAPES[market]
        conn = f"{market}.{route}" if market == "binance.usdm" else market
        recv_ns = at_ms * MS + shape.latency_us * 1_000 + venue.rng.randrange(1_000_000)
        if "lastUpdateId" not in message:  # a REST answer does not wait behind the stream
            recv_ns = self._last_recv[conn] = max(recv_ns, self._last_recv.get(conn, 0))
        truth = None
        if moves_book:
            truth = venue.book.levels(BYBIT_DEPTH if shape.venue == "BYBIT" else 1 << 30)
        self._sent += 1
        frame = Frame(recv_ns, conn, market, msgspec.json.encode(message))
        heapq.heappush(self._waiting, (recv_ns, self._sent, frame, truth))

    def _due(self, until: Ns) -> Iterator[Frame]:
        waiting = self._waiting
        while waiting and waiting[0][0] <= until:
            frame, truth = heapq.heappop(waiting)[2:]
            if truth is not None:
                self._truth[frame.market] = truth
            yield frame


def write_capture_a(directory: Path, seed: int, seconds: float) -> list[Path]:
    """Format A files (hftbacktest's collector), one a Binance market: gzipped lines `<recv ns> <combined json>`. Returns them."""
    directory.mkdir(parents=True, exist_ok=True)
    market = SeededMarket(
        seed, seconds, markets=("binance.spot", "binance.usdm", "binance.coinm"), depth_suffix="@0ms", trade_stream="trade"
    )
    lines: dict[str, list[bytes]] = {name: [] for name in market.markets}
    for frame in market.frames():
        lines[frame.market].append(b"%d %b\n" % (frame.recv_ns, frame.data))
    written = []
    for name, held in lines.items():
        path = directory / f"{name.partition('.')[2]}-{SHAPES[name].symbol.lower()}.gz"
        path.write_bytes(gzip.compress(b"".join(held), 6, mtime=0))
        written.append(path)
    return written


def main() -> None:
    """`python -m tests.market DIRECTORY`: a made-up capture to try the program on."""
    parser = argparse.ArgumentParser(description="Write a made-up capture of Binance spot, USD-M and COIN-M BTC.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for path in write_capture_a(given.directory, given.seed, given.seconds):
        print(path)


if __name__ == "__main__":
    main()
