"""Deribit's methods that answer, over the socket and over HTTP alike: time, instruments, the ticker. Its credits and numbers.

Facts: protocols.md 4 and the venue's own pages of 2026 (rate limits; spot pairs that are matched on another exchange, which have
no trade tape and shorter statistics). Over HTTP an error has status 400, and 429 where the credits are spent. Not there: history,
order books and summaries, which nobody asks for.
"""

import json
from collections.abc import Callable, Mapping
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from aiohttp import web

from feeds.model import MS, SECOND, Ns
from feeds.simulator.listings import Listing

if TYPE_CHECKING:
    from feeds.simulator.deribit import DeribitServer

ROUTED: Final = frozenset({"spot"})
"""Kinds that are matched on another exchange: all pairs that this market lists are."""
CONTRACT_SIZES: Mapping[tuple[str, str], float] = {("inverse", "BTC"): 10.0, ("inverse", "ETH"): 1.0, ("linear", "SOL"): 0.1}
SMALLEST_SPOT: Mapping[str, float] = {"BTC": 0.0001, "ETH": 0.001, "SOL": 0.01}
"""Amounts of spot are written finer than the smallest order."""
INDEX_DIGITS: Mapping[str, int] = {"BTC": 2, "ETH": 2, "SOL": 4, "USDC": 6}
"""Of indices and marks."""
KINDS: Final = ("future", "option", "spot", "future_combo", "option_combo")
CURRENCIES: Final = frozenset({"BTC", "ETH", "SOL", "USDC", "USDT", "EURR", "any"})
NEVER_MS, LAUNCHED_MS = 32_503_708_800_000, 1_534_167_754_000
"""When a perpetual expires, and since when it is traded."""
STRIKES: Final = (0.9, 1.0, 1.1)
"""Of options, in parts of the price."""
TAKER, OPTION_FEE, NO_FEE = 0.0005, 0.0003, 0.0
PRICE_BAND = 0.015
"""How far from its mark an order may be."""
VERSION: Final = "1.2.26"

CREDITS, CREDITS_A_SECOND, A_REQUEST = 50_000, 10_000, 500
SUBSCRIPTION_CREDITS, A_SUBSCRIPTION = 30_000, 3_000
LIST_CREDITS, A_LIST = 500_000, 10_000

Json: TypeAlias = dict[str, Any]


class RefusedError(Exception):
    """A request that is answered with an error."""

    TOO_MANY: Final = 10028

    def __init__(self, code: int, message: str, data: Json | None = None) -> None:
        super().__init__(message)
        self.body: Json = {"code": code} | ({"data": data} if data is not None else {}) | {"message": message}

    @classmethod
    def parameter(cls, name: str, reason: str) -> "RefusedError":
        return cls(-32602, "Invalid params", {"reason": reason, "param": name})


class Credits:
    """A pool that fills up again at a steady rate."""

    def __init__(self, most: int, cost: int) -> None:
        self._most = most
        self._cost = cost
        self._left = float(most)
        self._now_ns: Ns = 0

    def take(self, now_ns: Ns) -> bool:
        """Pay for one request; False where there is not enough."""
        self._left = min(self._most, self._left + (now_ns - self._now_ns) / SECOND * CREDITS_A_SECOND)
        self._now_ns = now_ns
        if self._left < self._cost:
            return False
        self._left -= self._cost
        return True


class DeribitRest:
    """Answers for a `DeribitServer`."""

    def __init__(self, server: "DeribitServer") -> None:
        self.server = server
        self.world = server.world
        self._usual = Credits(CREDITS, A_REQUEST)
        self._pools: Mapping[str, Credits] = {
            "public/subscribe": Credits(SUBSCRIPTION_CREDITS, A_SUBSCRIPTION),
            "public/get_instruments": Credits(LIST_CREDITS, A_LIST),
        }
        self._methods: Mapping[str, Callable[[Json], object]] = {
            "public/get_time": lambda params: self.server.now_ms(),
            "public/hello": self._hello,
            "public/test": lambda params: {"version": VERSION},
            "public/get_instruments": self._instruments,
            "public/ticker": self._ticker,
        }

    def spend(self, method: str) -> None:
        """Pay for a request. Who asks without signing in shares the credits of its address.

        Raises:
            RefusedError: they are spent.
        """
        if not self._pools.get(method, self._usual).take(self.world.now_ns):
            raise RefusedError(RefusedError.TOO_MANY, "too_many_requests")

    def call(self, method: str, params: Json) -> object:
        """The result of a method. Raises RefusedError."""
        found = self._methods.get(method)
        if found is not None:
            return found(params)
        if method.startswith("private/"):
            raise RefusedError(13009, "unauthorized", {"reason": "invalid_token"})
        raise RefusedError(-32601, "Method not found")

    async def answer(self, request: web.Request) -> web.Response:
        if request.method != "GET" or not request.path.startswith("/api/v2/"):
            return web.Response(status=404)
        taken_ns, method = self.server.clock_ns(), request.path.removeprefix("/api/v2/")
        try:
            self.spend(method)
            answer: Json = {"result": self.call(method, dict(request.query))}
            status = 200
        except RefusedError as refusal:
            answer = {"error": refusal.body}
            status = 429 if refusal.body["code"] == RefusedError.TOO_MANY else 400
        return web.Response(status=status, text=answered(answer, None, taken_ns), content_type="application/json")

    def _hello(self, params: Json) -> Json:
        for name in ("client_name", "client_version"):
            if not isinstance(params.get(name), str):
                raise RefusedError.parameter(name, "value required")
        return {"version": VERSION}

    def _instruments(self, params: Json) -> list[Json]:
        currency, kind = params.get("currency"), params.get("kind")
        if currency not in CURRENCIES:
            raise RefusedError.parameter("currency", "invalid value")
        if kind is not None and kind not in KINDS:
            raise RefusedError.parameter("kind", "invalid value")
        if params.get("expired") in (True, "true"):
            return []
        rows = [self._row(listing) for listing in self.server.listings.values()]
        rows.extend(
            row for listing in self.server.listings.values() if listing.kind == "future" for row in self._options(listing)
        )
        return [row for row in rows if kind in (None, row["kind"]) and currency in ("any", *_currencies(row))]

    def _row(self, listing: Listing) -> Json:
        spot, perpetual = listing.kind == "spot", listing.kind == "perp"
        smallest = SMALLEST_SPOT[listing.base] if spot else listing.lot
        row: Json = {
            "min_trade_amount": smallest,
            "block_trade_tick_size": 0.01,
            "underlying_type": "crypto",
            "instrument_id": _number(listing.native),
            "is_active": True,
            "price_index": f"{listing.base}_{listing.quote}".lower(),
            "state": "open",
            "base_currency_uuid": _uuid(listing.base),
            "block_trade_min_trade_amount": 200_000,
            "taker_commission": NO_FEE if spot else TAKER,
            "max_leverage": 50 if perpetual else 25,
            "base_currency": listing.base,
            "settlement_currency": listing.settle,
            "contract_size": CONTRACT_SIZES.get((listing.contract, listing.base), smallest),
            "kind": "spot" if spot else "future",
            "max_non_default_leverage": 5.0,
            "quote_currency_uuid": _uuid(listing.quote),
            "future_type": "reversed" if listing.contract == "inverse" else "linear",
            "tick_size_steps": [],
            "expiration_timestamp": listing.expiry_ns // MS or NEVER_MS,
            "instrument_name": listing.native,
            "block_trade_commission": TAKER / 2,
            "creation_timestamp": LAUNCHED_MS,
            "settlement_period": "perpetual" if perpetual else "month",
            "index_id": _number(f"{listing.base}_{listing.quote}"),
            "product_group": listing.base,
            "max_liquidation_commission": 0.0075,
            "instrument_type": "reversed" if listing.contract == "inverse" else "linear",
            "counter_currency": listing.quote,
            "tick_size": listing.tick,
            "maker_commission": NO_FEE,
            "quote_currency": listing.quote,
            "lot_size": 1,
        }
        if not spot:
            return row
        routed = {name: value for name, value in row.items() if name not in NOT_OF_SPOT}
        return routed | {"is_cbe_routed": True, "is_csr": True}

    def _options(self, dated: Listing) -> list[Json]:
        """Calls and puts that expire with a dated future: they are listed, and no more."""
        price = self.world.figures[dated.key].index
        rows = []
        for part in STRIKES:
            strike = round(price * part, -3 if dated.base == "BTC" else -2)
            for right in ("call", "put"):
                name = f"{dated.native}-{strike:.0f}-{right[0].upper()}"
                rows.append(
                    {
                        "state": "open",
                        "price_index": f"{dated.base}_usd".lower(),
                        "kind": "option",
                        "instrument_name": name,
                        "maker_commission": OPTION_FEE,
                        "taker_commission": OPTION_FEE,
                        "instrument_type": "reversed",
                        "underlying_type": "crypto",
                        "expiration_timestamp": dated.expiry_ns // MS,
                        "instrument_id": _number(name),
                        "product_group": dated.base,
                        "creation_timestamp": LAUNCHED_MS,
                        "is_active": True,
                        "contract_size": 1.0,
                        "tick_size": 0.0001,
                        "strike": strike,
                        "counter_currency": "USD",
                        "option_type": right,
                        "min_trade_amount": 0.1 if dated.base == "BTC" else 1.0,
                        "block_trade_commission": OPTION_FEE,
                        "block_trade_min_trade_amount": 25,
                        "block_trade_tick_size": 0.0001,
                        "settlement_currency": dated.base,
                        "settlement_period": "month",
                        "base_currency": dated.base,
                        "index_id": _number(f"{dated.base}_USD"),
                        "quote_currency": dated.base,
                        "tick_size_steps": [{"tick_size": 0.0005, "above_price": 0.005}],
                        "lot_size": 1,
                        "base_currency_uuid": _uuid(dated.base),
                        "quote_currency_uuid": _uuid(dated.base),
                    }
                )
        return rows

    def _ticker(self, params: Json) -> Json:
        listing = self.server.listings.get(params.get("instrument_name", ""))
        if listing is None:
            raise RefusedError.parameter("instrument_name", "wrong format")
        found = json.loads(self.ticker(listing, self.server.now_ms()))
        assert isinstance(found, dict)
        return found

    def ticker(self, listing: Listing, now_ms: int) -> str:
        """An instrument's figures as they are, as the wire has them."""
        figures, numbers = self.world.figures[listing.key], self.server.numbers[listing.key]
        digits, spot = INDEX_DIGITS[listing.base], listing.kind == "spot"
        index = round(figures.index, digits)
        mark = index if spot else round(figures.mark, digits)
        last = figures.last_ticks * listing.tick
        told = number(index)
        lowest, highest = ceil(mark * (1 - PRICE_BAND) / listing.tick), floor(mark * (1 + PRICE_BAND) / listing.tick)
        bid, bid_lots, ask, ask_lots = self.server.world.books[listing.key].touch
        stats = (
            f'"high":{_on_tick(listing, figures.day_high)},"low":{_on_tick(listing, figures.day_low)},'
            f'"price_change":{number(round((last / figures.day_open - 1) * 100, 4))},'
            f'"volume":{number(round(figures.base_volume, 8))}'
        )
        if not spot:
            value = number(float(round(figures.quote_volume)))
            stats += f',"volume_usd":{value},"volume_notional":{value}'
        fields = [f'"timestamp":{now_ms},"state":"open","stats":{{{stats}}},"index_price":{told}']
        fields.append(f'"instrument_name":"{listing.native}","last_price":{numbers.price(figures.last_ticks)}')
        if not spot:
            fields.append(f'"settlement_price":{number(round(figures.day_open, digits))}')
        fields.append(f'"min_price":{_price(listing, lowest)},"max_price":{_price(listing, highest)}')
        if not spot:
            held = figures.open_interest_lots * listing.lot
            whole = listing.contract == "inverse"
            fields.append(f'"open_interest":{round(held) if whole else number(round(held, listing.size_digits))}')
        fields.append(f'"mark_price":{number(mark)}')
        if listing.kind == "perp":
            fields.append(f'"interest_value":{number(figures.rate / 8)},"current_funding":{number(round(figures.rate, 8))}')
        if not spot:
            fields.append(f'"estimated_delivery_price":{told}')
        if listing.kind == "perp":
            paid = figures.settled[-1].rate if figures.settled else 0.0
            fields.append(f'"funding_8h":{number(round(paid, 8))}')
        fields.append(
            f'"best_ask_price":{numbers.price(ask)},"best_bid_price":{numbers.price(bid)},'
            f'"best_ask_amount":{numbers.size(ask_lots)},"best_bid_amount":{numbers.size(bid_lots)}'
        )
        return f"{{{','.join(fields)}}}"


NOT_OF_SPOT: Final = frozenset(
    {
        "block_trade_tick_size",
        "block_trade_min_trade_amount",
        "block_trade_commission",
        "max_leverage",
        "max_non_default_leverage",
        "max_liquidation_commission",
        "settlement_currency",
        "settlement_period",
        "future_type",
    }
)
"""Fields that a pair has not: it has no leverage, is not settled, and is not traded in blocks."""


def answered(answer: Json, number_of: object, taken_ns: Ns) -> str:
    """An answer or an error as the wire has it. `number_of` is the request's id, None where it had none."""
    head: Json = {"jsonrpc": "2.0"} | ({"id": number_of} if number_of is not None else {})
    taken_us = taken_ns // 1_000
    spent_us = 40 + taken_us % 160
    times = {"usIn": taken_us, "usOut": taken_us + spent_us, "usDiff": spent_us, "testnet": False}
    return json.dumps(head | answer | times, separators=(",", ":"))


def number(value: float) -> str:
    """A JSON number as the venue writes it: with an exponent where that is shorter, and never without a point."""
    text = repr(value)
    if not value:
        return "0.0"
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = len(whole) + int(exponent or 0) - 1 - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    short = f"{digits[0]}.{digits[1:] or '0'}e{power}"
    return sign + (short if exponent or len(short) < len(text) else text)


def _price(listing: Listing, ticks: int) -> str:
    return number(float(listing.price_text(ticks)))


def _on_tick(listing: Listing, price: float) -> str:
    return _price(listing, round(price / listing.tick))


def _currencies(row: Json) -> tuple[str, ...]:
    """By which an instrument is found."""
    settle = row.get("settlement_currency")
    return (settle,) if settle is not None else (row["base_currency"], row["quote_currency"])


def _number(name: str) -> int:
    """The venue's number of something."""
    return sum(at * byte for at, byte in enumerate(name.encode(), 1))


def _uuid(coin: str) -> str:
    """Looks like one; the same for a coin each time."""
    text = f"{int.from_bytes(coin.encode()) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}"
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-a{text[17:20]}-{text[20:]}"
