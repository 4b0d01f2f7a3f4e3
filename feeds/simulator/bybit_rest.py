"""Bybit's public REST on loopback: time, instruments, books, tickers, bars, funding, open interest, trades.

Facts: protocols.md 2.3, quirks included: rows come newest first, funding with a start alone is refused, an error has HTTP status
200 and a `retCode`, instruments come in pages except spot's, and who asks too often is answered 403 without the usual envelope.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, unquote

from aiohttp import web

from feeds.model import MS, SECOND, Ns
from feeds.simulator.formulas import VenueRules
from feeds.simulator.listings import Listing
from feeds.simulator.maker import Print
from feeds.simulator.past import BarKind

if TYPE_CHECKING:
    from feeds.simulator.bybit import BybitServer

REQUESTS_PER_WINDOW, WINDOW_NS = 600, 5 * SECOND
TOO_FREQUENT = "access too frequent"
BAD_REQUEST = 10_001
YEAR_NS: Ns = 365 * 86_400 * SECOND
DAY_MS = 86_400_000
INTERVALS_MS: Mapping[str, int] = {
    **{str(minutes): minutes * 60_000 for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": DAY_MS,
}
INTEREST_MS: Mapping[str, int] = {
    "5min": 300_000,
    "15min": 900_000,
    "30min": 1_800_000,
    "1h": 3_600_000,
    "4h": 14_400_000,
    "1d": DAY_MS,
}
BAR_KINDS: Mapping[str, BarKind] = {
    "kline": "trade",
    "mark-price-kline": "mark",
    "index-price-kline": "index",
    "premium-index-price-kline": "premium",
}
TRADES_KEPT = 1_000
SPOT_TRADES = 60
LAUNCHED_MS = 1_584_230_400_000

Json: TypeAlias = dict[str, Any]
Query: TypeAlias = Mapping[str, str]


class RefusedError(Exception):
    """A request that is answered with a `retCode`."""

    def __init__(self, message: str, code: int = BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code


class BybitRest:
    """Answers for a `BybitServer`."""

    def __init__(self, server: "BybitServer", page: int) -> None:
        self.server = server
        self.world = server.world
        self._page = page
        self._recent: dict[str, deque[Print]] = {listing.key: deque(maxlen=TRADES_KEPT) for listing in server.listings.values()}
        self._requests: deque[Ns] = deque()
        self._hour_ago: dict[str, float] = {}
        self._routes: Mapping[str, Callable[[Query], Json]] = {
            "time": self._time,
            "instruments-info": self._instruments,
            "orderbook": self._orderbook,
            "tickers": self._tickers,
            "funding/history": self._funding,
            "open-interest": self._open_interest,
            "recent-trade": self._trades,
            **{name: self._bars_of(name) for name in BAR_KINDS},
        }
        server.world.subscribe(lambda step: self._keep(step.prints))

    async def answer(self, request: web.Request) -> web.Response:
        now_ns = self.world.now_ns
        requests = self._requests
        requests.append(now_ns)
        while requests[0] <= now_ns - WINDOW_NS:
            requests.popleft()
        if len(requests) > REQUESTS_PER_WINDOW:
            return web.Response(status=403, text=TOO_FREQUENT)
        route = self._routes.get(request.path.removeprefix("/v5/market/"))
        if route is None or request.method != "GET":
            return web.Response(status=404)
        try:
            return self._enveloped(0, "OK", route(request.query))
        except RefusedError as refusal:
            return self._enveloped(refusal.code, str(refusal), {})

    def _enveloped(self, code: int, message: str, result: Json) -> web.Response:
        body = {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": self.server.now_ms()}
        return web.Response(text=json.dumps(body, separators=(",", ":")), content_type="application/json", charset="utf-8")

    def _keep(self, prints: Iterable[Print]) -> None:
        for made in prints:
            kept = self._recent.get(made.key)
            if kept is not None:
                kept.append(made)

    def _time(self, query: Query) -> Json:
        now_ns = self.server.clock_ns()
        return {"timeSecond": str(now_ns // SECOND), "timeNano": str(now_ns)}

    def _category(self, query: Query) -> str:
        category = query.get("category", "")
        if category not in ("spot", "linear", "inverse"):
            raise RefusedError("Illegal category")
        return category

    def _listing(self, query: Query) -> Listing:
        listing = self.server.listings.get((self._category(query), query.get("symbol", "")))
        if listing is None:
            raise RefusedError("params error: Symbol Invalid")
        return listing

    def _instruments(self, query: Query) -> Json:
        """Derivatives in pages, by symbol; the cursor names where a page began and ended."""
        category = self._category(query)
        found = sorted(
            (one for (market, _), one in self.server.listings.items() if market == category), key=lambda one: one.native
        )
        for name, field in (("symbol", "native"), ("baseCoin", "base")):
            if name in query:
                found = [one for one in found if getattr(one, field) == query[name]]
        if query.get("status", "Trading") != "Trading":
            found = []
        if category == "spot":
            return {"category": category, "list": [self._spot(one) for one in found]}
        size = min(_limit(query, 500, 1_000), self._page)
        last = _cursor(query, "last")
        rest = [one for one in found if one.native > last]
        page = rest[:size]
        cursor = quote(f"first={page[0].native}&last={page[-1].native}", safe="") if len(rest) > size else ""
        return {"category": category, "list": [self._derivative(one) for one in page], "nextPageCursor": cursor}

    def _spot(self, listing: Listing) -> Json:
        lot = plain(f"{listing.lot:.{listing.size_digits}f}")
        return {
            "symbolId": _number(listing),
            "symbol": listing.native,
            "baseCoin": listing.base,
            "quoteCoin": listing.quote,
            "innovation": "0",
            "status": "Trading",
            "marginTrading": "utaOnly",
            "stTag": "0",
            "lotSizeFilter": {
                "basePrecision": lot,
                "quotePrecision": "0.0000001",
                "minOrderQty": lot,
                "maxOrderQty": "230",
                "minOrderAmt": "5",
                "maxOrderAmt": "8000000",
                "maxLimitOrderQty": "230",
                "maxMarketOrderQty": "120",
                "postOnlyMaxLimitOrderSize": "1150",
            },
            "priceFilter": {"tickSize": plain(f"{listing.tick:.{listing.price_digits}f}")},
            "riskParameters": {"priceLimitRatioX": "0.005", "priceLimitRatioY": "0.01"},
            "symbolType": "",
            "xstockMultiplier": "1",
        }

    def _derivative(self, listing: Listing) -> Json:
        dated = listing.kind == "future"
        tick = f"{listing.tick:.{listing.price_digits}f}"
        lot = f"{listing.lot:.{listing.size_digits}f}"
        cap = "0" if dated else plain(f"{self._cap(listing):.8f}")
        return {
            "symbol": listing.native,
            "contractType": listing.market.capitalize() + ("Futures" if dated else "Perpetual"),
            "status": "Trading",
            "baseCoin": listing.base,
            "quoteCoin": listing.quote,
            "launchTime": str(LAUNCHED_MS),
            "deliveryTime": str(listing.expiry_ns // MS),
            "deliveryFeeRate": "0" if dated else "",
            "priceScale": str(listing.price_digits),
            "leverageFilter": {"minLeverage": "1", "maxLeverage": "50.00" if dated else "100.00", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": tick, "maxPrice": f"{1_999_999.8:.{listing.price_digits}f}", "tickSize": tick},
            "lotSizeFilter": {
                "maxOrderQty": f"{1_500:.{listing.size_digits}f}",
                "minOrderQty": lot,
                "qtyStep": lot,
                "postOnlyMaxOrderQty": f"{1_500:.{listing.size_digits}f}",
                "maxMktOrderQty": f"{150:.{listing.size_digits}f}",
                "minNotionalValue": "5",
            },
            "unifiedMarginTrade": True,
            "fundingInterval": listing.funding_interval_s // 60,
            "settleCoin": listing.settle,
            "copyTrading": "none" if dated else "both",
            "upperFundingRate": cap,
            "lowerFundingRate": cap if dated else f"-{cap}",
            "isPreListing": False,
            "preListingInfo": None,
            "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
            "displayName": "",
            "symbolType": "",
            "forbidUplWithdrawal": False,
            "symbolId": _number(listing),
        }

    def _orderbook(self, query: Query) -> Json:
        listing = self._listing(query)
        depth = _limit(query, 1 if listing.market == "spot" else 25, 1_000)
        book = self.world.books[listing.key]
        now_ms = self.server.now_ms()
        text = self.server.price, self.server.size
        return {
            "s": listing.native,
            "b": [[text[0](listing, at), text[1](listing, book.bids[at])] for at in reversed(book.bid_ticks[-depth:])],
            "a": [[text[0](listing, at), text[1](listing, book.asks[at])] for at in book.ask_ticks[:depth]],
            "ts": now_ms,
            "u": self.world.steps + 2,
            "seq": book.seq,
            "cts": now_ms,
        }

    def _tickers(self, query: Query) -> Json:
        category = self._category(query)
        found = [one for (market, _), one in self.server.listings.items() if market == category]
        if "symbol" in query:
            found = [self._listing(query)]
        elif "baseCoin" in query:
            found = [one for one in found if one.base == query["baseCoin"]]
        return {"category": category, "list": [self._full_ticker(one) for one in found]}

    def _full_ticker(self, listing: Listing) -> dict[str, str]:
        """What REST says: everything the topic does, and the best quote of spot."""
        quote_now = self._quote(listing)
        fields = self.ticker(listing) | quote_now
        if listing.market == "spot":
            return fields
        del fields["tickDirection"]
        dated = {"predictedDeliveryPrice", "basisRate", "basis", "deliveryFeeRate", "basisRateYear"}
        blank = dict.fromkeys(sorted(dated), "") | {"preOpenPrice": "", "preQty": "", "curPreListingPhase": ""}
        return blank | {"fundingIntervalHour": "", "fundingCap": ""} | fields | {"deliveryTime": str(listing.expiry_ns // MS)}

    def _quote(self, listing: Listing) -> dict[str, str]:
        bid, bid_lots, ask, ask_lots = self.world.books[listing.key].touch
        price, size = self.server.price, self.server.size
        return {
            "bid1Price": price(listing, bid),
            "bid1Size": size(listing, bid_lots),
            "ask1Price": price(listing, ask),
            "ask1Size": size(listing, ask_lots),
        }

    def ticker(self, listing: Listing) -> dict[str, str]:
        """The fields of the ticker topic as they are now."""
        figures = self.world.figures[listing.key]
        if listing.market == "spot":
            return {
                "symbol": listing.native,
                "lastPrice": self.server.price(listing, figures.last_ticks),
                "highPrice24h": plain(self._traded(listing, figures.day_high)),
                "lowPrice24h": plain(self._traded(listing, figures.day_low)),
                "prevPrice24h": plain(self._traded(listing, figures.day_open)),
                "volume24h": plain(f"{figures.base_volume:.6f}"),
                "turnover24h": plain(f"{figures.quote_volume:.8f}"),
                "price24hPcnt": plain(f"{figures.last_ticks * listing.tick / figures.day_open - 1:.4f}"),
                "usdIndexPrice": f"{figures.index * self.world.usd_per[listing.quote]:.6f}",
            }
        last = figures.last_ticks * listing.tick
        single = figures.open_interest_lots * listing.lot
        inverse = listing.contract == "inverse"
        value = single / figures.mark if inverse else single * figures.mark
        digits = listing.size_digits
        fields = {
            "symbol": listing.native,
            "tickDirection": "PlusTick" if last >= figures.mark else "MinusTick",
            "price24hPcnt": plain(f"{last / figures.day_open - 1:.6f}"),
            "lastPrice": listing.price_text(figures.last_ticks),
            "prevPrice24h": self._traded(listing, figures.day_open),
            "highPrice24h": self._traded(listing, figures.day_high),
            "lowPrice24h": self._traded(listing, figures.day_low),
            "prevPrice1h": self._traded(listing, self._an_hour_ago(listing)),
            "markPrice": self._price(listing, figures.mark),
            "indexPrice": self._price(listing, figures.index),
            "openInterest": f"{2 * single:.{digits}f}",
            "openInterestValue": f"{2 * value:.2f}",
            "turnover24h": f"{figures.base_volume if inverse else figures.quote_volume:.4f}",
            "volume24h": f"{figures.quote_volume:.0f}" if inverse else f"{figures.base_volume:.4f}",
        }
        if listing.kind == "perp":
            fields |= {
                "fundingIntervalHour": str(listing.funding_interval_s // 3_600),
                "fundingCap": plain(f"{self._cap(listing):.8f}"),
                "singleOpenInterest": f"{single:.{digits}f}",
                "singleOpenInterestValue": f"{value:.2f}",
                "nextFundingTime": str(figures.next_funding_ns // MS),
                "fundingRate": plain(f"{figures.rate:.8f}"),
            }
        else:
            to_expiry_ns = max(listing.expiry_ns - self.world.now_ns, SECOND)
            basis = figures.mark / figures.index - 1
            fields |= {
                "deliveryTime": f"{datetime.fromtimestamp(listing.expiry_ns // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}",
                "basisRate": f"{basis:.8f}",
                "deliveryFeeRate": "0",
                "predictedDeliveryPrice": f"{0:.{listing.price_digits}f}",
                "basis": self._price(listing, figures.mark - figures.index),
                "basisRateYear": f"{basis * YEAR_NS / to_expiry_ns:.8f}",
                "nextFundingTime": "",
                "fundingRate": "",
            }
        fields |= self._quote(listing)
        if listing.kind == "perp":
            fields |= {"preOpenPrice": "", "preQty": "", "curPreListingPhase": ""}
        return fields

    def _bars_of(self, name: str) -> Callable[[Query], Json]:
        kind = BAR_KINDS[name]
        written = self._traded if kind == "trade" else self._price

        def answer(query: Query) -> Json:
            listing = self._listing(query)
            if (kind != "trade" and listing.market == "spot") or (kind == "premium" and listing.contract == "inverse"):
                raise RefusedError("Illegal category")
            interval_ms = INTERVALS_MS.get(query.get("interval", ""))
            if interval_ms is None:
                raise RefusedError("Invalid period!")
            start, end = _time(query, "start"), _time(query, "end")
            bars = [
                bar
                for bar in self.world.bars(listing.key, kind, interval_ms)
                if (start is None or bar.open_ms >= start) and (end is None or bar.open_ms <= end)
            ]
            limit = _limit(query, 200, 1_000)
            bars = bars[:limit] if start is not None and end is None else bars[-limit:]
            rows = []
            for bar in reversed(bars):
                prices = (bar.open, bar.high, bar.low, bar.close)
                row = [str(bar.open_ms)]
                row.extend(f"{price:.8f}" if kind == "premium" else written(listing, price) for price in prices)
                if kind == "trade":
                    inverse = listing.contract == "inverse"
                    row.append(f"{bar.quote:.0f}" if inverse else f"{bar.base:.{listing.size_digits}f}")
                    row.append(f"{bar.base if inverse else bar.quote:.4f}")
                rows.append(row)
            return {"category": listing.market, "symbol": listing.native, "list": rows}

        return answer

    def _funding(self, query: Query) -> Json:
        listing = self._listing(query)
        if listing.kind != "perp":
            raise RefusedError("params error: Symbol Invalid")
        start, end = _time(query, "startTime"), _time(query, "endTime")
        if start is not None and end is None:
            raise RefusedError("params error: endTime is required with startTime")
        settled = [
            one
            for one in self.world.figures[listing.key].settled
            if (start is None or one.time_ms >= start) and (end is None or one.time_ms <= end)
        ]
        rows = [
            {"symbol": listing.native, "fundingRate": plain(f"{one.rate:.8f}"), "fundingRateTimestamp": str(one.time_ms)}
            for one in reversed(settled[-_limit(query, 200, 200) :])
        ]
        return {"category": listing.market, "list": rows}

    def _open_interest(self, query: Query) -> Json:
        """Two days of it, in pages: the cursor names the last time of a page."""
        listing = self._listing(query)
        step_ms = INTEREST_MS.get(query.get("intervalTime", ""))
        if listing.market == "spot" or step_ms is None:
            raise RefusedError("params error: intervalTime invalid")
        now_ms = self.server.now_ms()
        start, end = _time(query, "startTime"), _time(query, "endTime")
        first = max(start or 0, now_ms - 2 * DAY_MS)
        last = min(end if end is not None else now_ms, now_ms)
        before = int(_cursor(query, "last") or last + 1)
        times = [at for at in range(-(-first // step_ms) * step_ms, last + 1, step_ms) if at < before]
        rows_a_page = _limit(query, 50, 200)
        page = times[-rows_a_page:][::-1]
        single = self.world.figures[listing.key].open_interest_lots * listing.lot
        rows = [
            {
                "openInterest": f"{2 * single * (1 - 1e-4 * ((now_ms - at) // step_ms)):.{listing.size_digits}f}",
                "timestamp": str(at),
            }
            for at in page
        ]
        cursor = quote(f"first={page[0]}&last={page[-1]}", safe="") if len(times) > rows_a_page else ""
        return {"category": listing.market, "symbol": listing.native, "list": rows, "nextPageCursor": cursor}

    def _trades(self, query: Query) -> Json:
        listing = self._listing(query)
        most = SPOT_TRADES if listing.market == "spot" else TRADES_KEPT
        rows = [
            {
                "execId": str(2_100_000_000_000_000_000 + made.number),
                "symbol": listing.native,
                "price": self.server.price(listing, made.ticks),
                "size": self.server.size(listing, made.lots),
                "side": "Buy" if made.buy else "Sell",
                "time": str(self.server.now_ms(made.now_ns)),
                "isBlockTrade": False,
                "isRPITrade": False,
            }
            for made in list(self._recent[listing.key])[-_limit(query, most if most == SPOT_TRADES else 500, most) :][::-1]
        ]
        return {"category": listing.market, "list": rows}

    def _an_hour_ago(self, listing: Listing) -> float:
        """As it was at the start: this figure need not move."""
        found = self._hour_ago.get(listing.key)
        if found is None:
            found = self._hour_ago[listing.key] = self.world.bars(listing.key, "trade", 60_000)[-61].open
        return found

    def _price(self, listing: Listing, price: float) -> str:
        return f"{price:.{listing.price_digits}f}"

    def _traded(self, listing: Listing, price: float) -> str:
        """A price that somebody paid: on the tick."""
        return listing.price_text(round(price / listing.tick))

    def _cap(self, listing: Listing) -> float:
        return VenueRules("BYBIT", listing.funding_interval_s).cap


def plain(text: str) -> str:
    """A decimal number without trailing zeros."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _limit(query: Query, default: int, most: int) -> int:
    text = query.get("limit", "")
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise RefusedError("params error: limit invalid")
    return min(int(text), most)


def _time(query: Query, name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise RefusedError(f"params error: {name} invalid")
    return int(text)


def _cursor(query: Query, name: str) -> str:
    """A part of a cursor; empty without one."""
    parts = dict(part.partition("=")[::2] for part in unquote(query.get("cursor", "")).split("&") if part)
    return parts.get(name, "")


def _number(listing: Listing) -> int:
    """The venue's number of a symbol."""
    return sum(listing.key.encode())
