"""Binance's public REST on loopback: instruments, snapshots, marks, funding, bars, 24 h figures, with weights and paging quirks.

Facts: protocols.md 1.3 to 1.6, shapes as recorded from the venue. One object answers for one market.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from aiohttp import web

from feeds.model import MS
from feeds.simulator.listings import Listing
from feeds.simulator.past import Bar, BarKind

if TYPE_CHECKING:
    from feeds.simulator.binance import BinanceServer

Query: TypeAlias = Mapping[str, str]
Json: TypeAlias = dict[str, Any]

PREFIX = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}
NEVER_MS = 4_133_404_800_000
"""The delivery date of a perpetual."""
LISTED_MS = 1_569_398_400_000
DAY_MS = 86_400_000
MINUTES_IN = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "8h": 480, "1d": 1_440}
INTERVALS_MS = {name: minutes * 60_000 for name, minutes in MINUTES_IN.items()}
FUTURES_DEPTHS = (5, 10, 20, 50, 100, 500, 1_000)
FUNDING_WITHIN_5_MIN = 500
LONGEST_COINM_KLINES_MS = 200 * DAY_MS
HOURS_AS_OFTEN = 8
"""Symbols with another funding interval are listed by fundingInfo."""


class RequestError(Exception):
    """An error answer: HTTP status, Binance's code and words."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class BinanceRest:
    """Answers requests of one market. A path's entry is (weight of a query, answer to a query)."""

    def __init__(self, server: "BinanceServer") -> None:
        self.server = server
        self.world = server.world
        self.market = server.market
        self.native = {listing.native: listing for listing in server.listings.values()}
        prefix = PREFIX[self.market]
        spot = self.market == "spot"
        paths: dict[str, tuple[Callable[[Query], int], Callable[[Query], object]]] = {
            "/ping": (_one, lambda query: {}),
            "/time": (_one, lambda query: {"serverTime": server.now_ms()}),
            "/exchangeInfo": ((lambda query: 20) if spot else _one, self._exchange_info),
            "/depth": (self._depth_weight, self._depth),
            "/klines": (self._klines_weight, lambda query: self._klines(query, "trade")),
            "/ticker/24hr": (lambda query: (2 if spot else 1) if "symbol" in query else (80 if spot else 40), self._days),
            "/ticker/bookTicker": (lambda query: 2 if "symbol" in query else 4, self._touches),
        }
        if not spot:
            paths |= {
                "/premiumIndex": (self._premium_weight, self._premium_index),
                "/fundingRate": (_one if self.market == "coinm" else _nothing, self._funding_rate),
                "/fundingInfo": (_nothing, self._funding_info),
                "/openInterest": (_one, self._open_interest),
                "/markPriceKlines": (self._klines_weight, lambda query: self._klines(query, "mark")),
                "/indexPriceKlines": (self._klines_weight, lambda query: self._klines(query, "index")),
                "/premiumIndexKlines": (self._klines_weight, lambda query: self._klines(query, "premium")),
            }
        self._paths = {f"{prefix}{path}": entry for path, entry in paths.items()}

    async def answer(self, request: web.Request) -> web.Response:
        entry = self._paths.get(request.path)
        if entry is None:
            return web.Response(status=404, text="<html><body><h2>404 Not found</h2></body></html>", content_type="text/html")
        pool, now_ns = self.server.pool, self.world.now_ns
        weigh, make = entry
        headers = {}
        try:
            status = pool.take(weigh(request.query), now_ns)
            headers["X-MBX-USED-WEIGHT-1M"] = str(pool.used)
            if status == 200:
                return _json(make(request.query), 200, headers)
            headers["Retry-After"] = str(pool.retry_after_s(now_ns))
            words = f"Too much request weight used; current limit is {pool.limit} request weight per 1 MINUTE."
            return _json({"code": -1003, "msg": words}, status, headers)
        except RequestError as refused:
            return _json({"code": refused.code, "msg": str(refused)}, refused.status, headers)

    def day(self, listing: Listing) -> Json:
        """The 24 h figures, as `/ticker/24hr` has them for any market and then some."""
        figures = self.world.figures[listing.key]
        book = self.world.books[listing.key]
        last = figures.last_ticks * listing.tick
        bid, bid_lots, ask, ask_lots = book.touch
        digits = listing.price_digits
        now_ms = self.server.now_ms()
        inverse = listing.contract == "inverse"
        contracts = figures.quote_volume / listing.contract_size
        return {
            "symbol": listing.native,
            "pair": f"{listing.base}{listing.quote}",
            "priceChange": f"{last - figures.day_open:.{digits}f}",
            "priceChangePercent": f"{(last / figures.day_open - 1) * 100:.3f}",
            "weightedAvgPrice": f"{figures.quote_volume / figures.base_volume:.{digits}f}",
            "prevClosePrice": f"{figures.day_open:.{digits}f}",
            "lastPrice": listing.price_text(figures.last_ticks),
            "lastQty": listing.size_text(figures.last_lots),
            "bidPrice": listing.price_text(bid),
            "bidQty": listing.size_text(bid_lots),
            "askPrice": listing.price_text(ask),
            "askQty": listing.size_text(ask_lots),
            "openPrice": f"{figures.day_open:.{digits}f}",
            "highPrice": f"{figures.day_high:.{digits}f}",
            "lowPrice": f"{figures.day_low:.{digits}f}",
            "volume": f"{contracts if inverse else figures.base_volume:.{listing.size_digits}f}",
            "quoteVolume": f"{figures.quote_volume:.{8 if self.market == 'spot' else 2}f}",
            "baseVolume": f"{figures.base_volume:.8f}",
            "openTime": now_ms - DAY_MS,
            "closeTime": now_ms,
            "firstId": 1,
            "lastId": figures.trades,
            "count": figures.trades,
        }

    def _listing(self, query: Query, name: str = "symbol") -> Listing:
        native = query.get(name)
        if not native:
            raise RequestError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        found = self.native.get(native)
        if found is None and name == "pair":
            found = next((one for one in self.native.values() if f"{one.base}{one.quote}" == native), None)
        if found is None:
            raise RequestError(-1121, "Invalid symbol.")
        return found

    def _named(self, query: Query) -> list[Listing]:
        """The one that is asked for, or all."""
        if "pair" in query:
            return [one for one in self.native.values() if f"{one.base}{one.quote}" == query["pair"]]
        return [self._listing(query)] if "symbol" in query else list(self.native.values())

    def _exchange_info(self, query: Query) -> object:
        limits = [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.server.pool.limit},
            {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1_200},
        ]
        symbols = [_symbol(listing) for listing in self._named(query)]
        body: Json = {"timezone": "UTC", "serverTime": self.server.now_ms()}
        if self.market == "usdm":
            body["futuresType"] = "U_MARGINED"
        body |= {"rateLimits": limits, "exchangeFilters": []}
        if self.market == "usdm":
            assets = {one.settle for one in self.native.values()}
            body["assets"] = [{"asset": name, "marginAvailable": True, "autoAssetExchange": "-10000"} for name in sorted(assets)]
        return {**body, "symbols": symbols}

    def _depth_weight(self, query: Query) -> int:
        limit = _whole(query, "limit", 100 if self.market == "spot" else 500)
        steps = ((100, 5), (500, 25), (1_000, 50)) if self.market == "spot" else ((50, 2), (100, 5), (500, 10), (1_000, 20))
        return next((weight for most, weight in steps if limit <= most), 250 if self.market == "spot" else 20)

    def _depth(self, query: Query) -> object:
        listing = self._listing(query)
        limit = _whole(query, "limit", 100 if self.market == "spot" else 500)
        if self.market != "spot" and limit not in FUTURES_DEPTHS:
            raise RequestError(-4021, f"'{limit}' is not valid depth limit.")
        if limit < 1:
            raise RequestError(-1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.")
        limit = min(limit, 5_000)
        book = self.world.books[listing.key]
        price, size = listing.price_text, listing.size_text
        body: Json = {"lastUpdateId": book.seq}
        if self.market != "spot":
            now_ms = self.server.now_ms()
            body |= {"E": now_ms, "T": now_ms - 8}
        if self.market == "coinm":
            body |= {"symbol": listing.native, "pair": f"{listing.base}{listing.quote}"}
        body["bids"] = [[price(t), size(book.bids[t])] for t in book.bid_ticks[: -limit - 1 : -1]]
        body["asks"] = [[price(t), size(book.asks[t])] for t in book.ask_ticks[:limit]]
        return body

    def _klines_weight(self, query: Query) -> int:
        if self.market == "spot":
            return 2
        limit = _whole(query, "limit", 500)
        return next((weight for most, weight in ((99, 1), (499, 2), (1_000, 5)) if limit <= most), 10)

    def _klines(self, query: Query, kind: BarKind) -> object:
        """From `startTime` on where it is given, else the most recent up to `endTime`."""
        listing = self._listing(query, "pair" if kind == "index" else "symbol")
        interval_ms = INTERVALS_MS.get(query.get("interval", ""))
        if interval_ms is None:
            raise RequestError(-1120, "Invalid interval.")
        most = 1_000 if self.market == "spot" else 1_500
        limit = min(_whole(query, "limit", 500), most)
        start_ms, end_ms = _range(query)
        if self.market == "coinm" and end_ms - start_ms > LONGEST_COINM_KLINES_MS and {"startTime", "endTime"} <= query.keys():
            raise RequestError(-4088, "Maximum time interval is 200 days.")
        bars = [bar for bar in self.world.bars(listing.key, kind, interval_ms) if start_ms <= bar.open_ms <= end_ms]
        bars = bars[:limit] if "startTime" in query else bars[-limit:]
        return [self._bar(listing, kind, bar, interval_ms) for bar in bars]

    def _bar(self, listing: Listing, kind: BarKind, bar: Bar, interval_ms: int) -> list[object]:
        digits = listing.price_digits if kind == "trade" else 8
        prices = [f"{value:.{digits}f}" for value in (bar.open, bar.high, bar.low, bar.close)]
        close_ms = bar.open_ms + interval_ms - 1
        if kind != "trade":
            return [bar.open_ms, *prices, "0", close_ms, "0", 12, "0", "0", "0"]
        inverse = listing.contract == "inverse"
        volume = bar.quote / listing.contract_size if inverse else bar.base
        other = bar.base if inverse else bar.quote
        size = f"{volume:.{listing.size_digits}f}"
        taker = f"{volume * 0.49:.{listing.size_digits}f}"
        return [bar.open_ms, *prices, size, close_ms, f"{other:.8f}", bar.trades, taker, f"{other * 0.49:.8f}", "0"]

    def _days(self, query: Query) -> object:
        """COIN-M answers with a list always."""
        without = {
            "spot": ("pair", "baseVolume"),
            "usdm": ("pair", "baseVolume", "prevClosePrice", "bidPrice", "bidQty", "askPrice", "askQty"),
            "coinm": ("quoteVolume", "prevClosePrice", "bidPrice", "bidQty", "askPrice", "askQty"),
        }[self.market]
        days = [{key: value for key, value in self.day(one).items() if key not in without} for one in self._named(query)]
        return days[0] if "symbol" in query and self.market != "coinm" else days

    def _touches(self, query: Query) -> object:
        found: list[Json] = []
        for listing in self._named(query):
            day = self.day(listing)
            touch = {key: day[key] for key in ("symbol", "bidPrice", "bidQty", "askPrice", "askQty")}
            if self.market == "coinm":
                touch["pair"] = day["pair"]
            if self.market != "spot":
                touch["time"] = self.server.now_ms()
            found.append(touch)
        return found[0] if "symbol" in query and self.market != "coinm" else found

    def _premium_weight(self, query: Query) -> int:
        return 10 if self.market == "coinm" or "symbol" not in query else 1

    def _premium_index(self, query: Query) -> object:
        found: list[Json] = []
        for listing in self._named(query):
            figures = self.world.figures[listing.key]
            perpetual = listing.kind == "perp"
            entry: Json = {"symbol": listing.native}
            if self.market == "coinm":
                entry["pair"] = f"{listing.base}{listing.quote}"
            found.append(
                entry
                | {
                    "markPrice": f"{figures.mark:.8f}",
                    "indexPrice": f"{figures.index:.8f}",
                    "estimatedSettlePrice": f"{figures.mark * 1.0008:.8f}",
                    "lastFundingRate": f"{figures.rate:.8f}" if perpetual else "",
                    "interestRate": "0.00010000" if perpetual else "",
                    "nextFundingTime": figures.next_funding_ns // MS if perpetual else 0,
                    "time": self.server.now_ms() // 1_000 * 1_000,
                }
            )
        return found[0] if "symbol" in query and self.market == "usdm" else found

    def _funding_rate(self, query: Query) -> object:
        """Rising. From `startTime` on where it is given, else the most recent up to `endTime`."""
        limit = min(_whole(query, "limit", 100), 1_000)
        start_ms, end_ms = _range(query)
        if self.market == "coinm":
            self._listing(query)
        found: list[Json] = [
            {
                "symbol": listing.native,
                "fundingTime": each.time_ms + each.time_ms // 3_600_000 % 3,
                "fundingRate": f"{each.rate:.8f}",
                "markPrice": f"{each.mark:.8f}",
                "rateType": "Regular",
            }
            for listing in self._named(query)
            for each in self.world.figures[listing.key].settled
            if start_ms <= each.time_ms <= end_ms
        ]
        found.sort(key=lambda entry: entry["fundingTime"])
        return found[:limit] if "startTime" in query else found[-limit:]

    def _funding_info(self, query: Query) -> object:
        found = []
        for listing in self.native.values():
            hours = listing.funding_interval_s // 3_600
            if hours and hours != HOURS_AS_OFTEN:
                cap = f"{0.0005 * hours:.8f}"
                found.append(
                    {
                        "symbol": listing.native,
                        "adjustedFundingRateCap": cap,
                        "adjustedFundingRateFloor": f"-{cap}",
                        "fundingIntervalHours": hours,
                        "disclaimer": False,
                        "updateTime": LISTED_MS,
                    }
                )
        return found

    def _open_interest(self, query: Query) -> object:
        listing = self._listing(query)
        lots = self.world.figures[listing.key].open_interest_lots
        body: Json = {"symbol": listing.native, "openInterest": listing.size_text(lots), "time": self.server.now_ms()}
        if self.market == "coinm":
            body |= {"pair": f"{listing.base}{listing.quote}", "contractType": _contract_type(listing)}
        return body


def _symbol(listing: Listing) -> Json:
    """One entry of exchangeInfo."""
    tick, lot = listing.price_text(1), listing.size_text(1)
    price_filter = {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764.00", "tickSize": _plain(tick)}
    lot_filter = {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000.00", "stepSize": lot}
    if listing.market == "spot":
        price_filter["tickSize"] = tick
        least: Json = {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        }
        return {
            "symbol": listing.native,
            "status": "TRADING",
            "baseAsset": listing.base,
            "baseAssetPrecision": 8,
            "quoteAsset": listing.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
            "icebergAllowed": True,
            "ocoAllowed": True,
            "quoteOrderQtyMarketAllowed": True,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": True,
            "filters": [price_filter, lot_filter, least],
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        }
    common: Json = {
        "symbol": listing.native,
        "pair": f"{listing.base}{listing.quote}",
        "contractType": _contract_type(listing),
        "deliveryDate": listing.expiry_ns // MS or NEVER_MS,
        "onboardDate": LISTED_MS,
        "baseAsset": listing.base,
        "quoteAsset": listing.quote,
        "marginAsset": listing.settle,
        "pricePrecision": listing.price_digits,
        "quantityPrecision": listing.size_digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.015000",
        "marketTakeBound": "0.05",
        "filters": [price_filter, lot_filter],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
    }
    if listing.market == "coinm":
        return common | {"contractStatus": "TRADING", "contractSize": int(listing.contract_size)}
    common["filters"].append({"filterType": "MIN_NOTIONAL", "notional": "100"})
    return common | {"status": "TRADING"}


def _contract_type(listing: Listing) -> str:
    return "CURRENT_QUARTER" if listing.kind == "future" else "PERPETUAL"


def _plain(text: str) -> str:
    """A number without trailing zeros."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _one(query: Query) -> int:
    return 1


def _nothing(query: Query) -> int:
    return 0


def _whole(query: Query, name: str, otherwise: int) -> int:
    text = query.get(name)
    if text is None:
        return otherwise
    if not text.isdecimal():
        raise RequestError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


def _range(query: Query) -> tuple[int, int]:
    return _whole(query, "startTime", 0), _whole(query, "endTime", 1 << 62)


def _json(body: object, status: int, headers: Mapping[str, str]) -> web.Response:
    text = json.dumps(body, separators=(",", ":"))
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
