"""BitMEX's public REST on loopback, as far as a client of its market data needs it: the time, and the lists of instruments.

Facts: protocols.md 5.1 and 5.2, rows recorded in 2021 and 2024. Thirty requests a minute; each answer tells how many are left,
and one too many is answered 429 with `retry-after`. Not simulated: bins, trades, quotes, funding and books over REST.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from aiohttp import web

from feeds.model import MS, SECOND
from feeds.simulator.bitmex_tables import INSTRUMENT, INSTRUMENT_LATER, Era, fine_digits, instant, row, span
from feeds.simulator.formulas import INTEREST_A_DAY, VenueRules
from feeds.simulator.kit import WeightPool
from feeds.simulator.listings import Listing

if TYPE_CHECKING:
    from feeds.simulator.bitmex import BitmexServer

REQUESTS_A_MINUTE: Final = 30
BASE_PATH: Final = "/api/v1"
HOUR_MS, YEAR_S = 3_600_000, 31_536_000
LISTED_AT = "2016-05-13T12:00:00.000Z"
XBT_MINOR, USDT_MINOR = 100_000_000, 1_000_000
"""Settlement is counted in these parts of a coin."""
QUANTO_MULTIPLIER: Final = 100
"""Of ETHUSD: parts of a bitcoin for each dollar of its price."""
FEE: Final = 0.0005
TRADED_BEFORE: Final = 10**13
"""Total volume and turnover of a contract up to this session."""

Values: TypeAlias = dict[str, object]


class BitmexRest:
    """Answers for a `BitmexServer`, and the rows of its `instrument` table."""

    def __init__(self, server: "BitmexServer") -> None:
        self.server = server
        self.world = server.world
        self._pool = WeightPool(REQUESTS_A_MINUTE)
        self._standing = {listing.key: _standing(listing) for listing in server.listings.values()}
        self._columns = [*INSTRUMENT, *(INSTRUMENT_LATER if server.era is Era.ARBITRARY else ())]
        self._routes: Mapping[str, Callable[[], str]] = {
            BASE_PATH: self._time,
            f"{BASE_PATH}/instrument/active": self._active,
            f"{BASE_PATH}/instrument/indices": self._indices,
        }

    async def answer(self, request: web.Request) -> web.Response:
        pool, now_ns = self._pool, self.world.now_ns
        allowed = pool.take(1, now_ns) == 200
        wait_s = pool.retry_after_s(now_ns)
        headers = {
            "x-ratelimit-limit": str(pool.limit),
            "x-ratelimit-remaining": str(max(0, pool.limit - pool.used)),
            "x-ratelimit-reset": str(self.server.clock_ns() // SECOND + wait_s),
        }
        route = self._routes.get(request.path.rstrip("/"))
        if not allowed:
            headers["retry-after"] = str(wait_s)
            return _said(429, _error(f"Rate limit exceeded, retry in {wait_s} seconds.", "RateLimitError"), headers)
        if route is None or request.method != "GET":
            return _said(404, _error("Not Found", "HTTPError"), headers)
        return _said(200, route(), headers)

    def row(self, listing: Listing) -> Values:
        """Everything about an instrument as it is now."""
        values = {**self._standing[listing.key], **self._moving(listing)}
        return {name: values.get(name) for name in self._columns}

    def _time(self) -> str:
        return row({"name": "BitMEX API", "version": "2.0.0", "timestamp": self.server.now_ms()})

    def _active(self) -> str:
        rows = [self.row(listing) for listing in self.server.listings.values()]
        if "ETH" in self.world.assets:
            rows.append(self._quanto())
        return f"[{','.join(map(row, rows))}]"

    def _indices(self) -> str:
        """The index behind each of the contracts, as a row of the same table."""
        now = instant(self.server.now_ms())
        rows = []
        for base, quote in dict.fromkeys((listing.base, listing.quote) for listing in self.server.listings.values()):
            price = round(self.world.index(self.server.name, base, quote), 2)
            values: Values = {
                "symbol": index_name(base, quote),
                "rootSymbol": coin(base),
                "state": "Unlisted",
                "typ": "MRCXXX",
                "underlying": coin(base),
                "quoteCurrency": quote,
                "reference": "BMEX",
                "lastPrice": price,
                "markPrice": price,
                "timestamp": now,
            }
            rows.append({name: values.get(name) for name in self._columns})
        return f"[{','.join(map(row, rows))}]"

    def _moving(self, listing: Listing) -> Values:
        figures, now_ms = self.world.figures[listing.key], self.server.now_ms()
        book, digits = self.world.books[listing.key], fine_digits(listing)
        inverse = listing.contract == "inverse"
        minor = XBT_MINOR if inverse else USDT_MINOR
        contracts = int((figures.quote_volume if inverse else figures.base_volume) / listing.contract_size)
        turnover = int((figures.base_volume if inverse else figures.quote_volume) * minor)
        open_contracts = int(figures.open_interest_lots * listing.lot)
        held = open_contracts * listing.contract_size
        mark, index = round(figures.mark, digits), round(figures.index, digits)
        bid, ask = (float(listing.price_text(ticks)) for ticks in (book.bid_ticks[-1], book.ask_ticks[0]))
        last, middle = float(listing.price_text(figures.last_ticks)), round((bid + ask) / 2, digits + 1)
        hour_ms = now_ms // HOUR_MS * HOUR_MS
        return {
            "openingTimestamp": instant(hour_ms),
            "closingTimestamp": instant(hour_ms + HOUR_MS),
            "totalVolume": TRADED_BEFORE + contracts // 24,
            "volume": contracts // 24,
            "volume24h": contracts,
            "totalTurnover": TRADED_BEFORE + turnover // 24,
            "turnover": turnover // 24,
            "turnover24h": turnover,
            "homeNotional24h": figures.base_volume,
            "foreignNotional24h": figures.quote_volume,
            "prevClosePrice": round(figures.day_open, digits),
            "prevPrice24h": _on_tick(listing, figures.day_open),
            "vwap": round(figures.quote_volume / figures.base_volume, 4),
            "highPrice": _on_tick(listing, figures.day_high),
            "lowPrice": _on_tick(listing, figures.day_low),
            "lastPrice": last,
            "lastPriceProtected": last,
            "lastTickDirection": "PlusTick" if last >= figures.mark else "MinusTick",
            "lastChangePcnt": round(last / figures.day_open - 1, 4),
            **dict(zip(("bidPrice", "midPrice", "askPrice"), (bid, middle, ask), strict=True)),
            **dict(zip(("impactBidPrice", "impactMidPrice", "impactAskPrice"), (bid, middle, ask), strict=True)),
            "openInterest": open_contracts,
            "openValue": int(held / mark * minor) if inverse else int(held * mark * minor),
            "fairBasis": round(mark - index, digits),
            "fairPrice": mark,
            "markPrice": mark,
            "indicativeSettlePrice": index,
            "timestamp": instant(now_ms),
            **self._funding(listing),
        }

    def _funding(self, listing: Listing) -> Values:
        figures = self.world.figures[listing.key]
        if listing.kind != "perp":
            years = max(listing.expiry_ns - self.world.now_ns, SECOND) / SECOND / YEAR_S
            return {"fairBasisRate": round((figures.mark / figures.index - 1) / years, 4)}
        rules, rate = VenueRules(listing.venue, listing.funding_interval_s), round(figures.rate, 6)
        return {
            "fairBasisRate": round(rate * YEAR_S / listing.funding_interval_s, 6),
            "fundingTimestamp": instant(figures.next_funding_ns // MS),
            "fundingRate": rate,
            "indicativeFundingRate": round(rules.funding(figures.premium), 6),
        }

    def _quanto(self) -> Values:
        """ETHUSD: bitcoin is paid for dollars of ether. It is listed, and nobody trades it here."""
        index, now_ms = round(self.world.index(self.server.name, "ETH", "USD"), 2), self.server.now_ms()
        values: Values = {
            **_common("ETH", "USD"),
            "symbol": "ETHUSD",
            "typ": "FFWCSX",
            "positionCurrency": "",
            "lotSize": 1,
            "tickSize": 0.05,
            "multiplier": QUANTO_MULTIPLIER,
            "settlCurrency": "XBt",
            "quoteToSettleMultiplier": round(XBT_MINOR / self.world.index(self.server.name, "BTC", "USD"))
            if "BTC" in self.world.assets
            else None,
            "isQuanto": True,
            "isInverse": False,
            **_paid("ETH", "USD", 28_800),
            "fundingTimestamp": instant(VenueRules(self.server.name, 28_800).next_funding_ns(self.world.now_ns) // MS),
            "fundingRate": 0.0001,
            "indicativeFundingRate": 0.0001,
            "hasLiquidity": False,
            "openInterest": 0,
            "openValue": 0,
            "fairMethod": "FundingRate",
            "fairPrice": index,
            "markPrice": index,
            "indicativeSettlePrice": index,
            "minTick": 0.01,
            "timestamp": instant(now_ms),
        }
        return {name: values.get(name) for name in self._columns}


def _standing(listing: Listing) -> Values:
    """What does not change while a contract is listed."""
    inverse, dated = listing.contract == "inverse", listing.kind == "future"
    expiry = instant(listing.expiry_ns // MS) if dated else None
    return {
        **_common(listing.base, listing.quote),
        "symbol": listing.native,
        "typ": "FFCCSX" if dated else "FFWCSX",
        **dict.fromkeys(("expiry", "settle", "listedSettle"), expiry),
        "positionCurrency": listing.quote if inverse else coin(listing.base),
        "referenceSymbol": index_name(listing.base, listing.quote) + ("30M" if dated else ""),
        "lotSize": round(listing.lot),
        "tickSize": listing.tick,
        "multiplier": -XBT_MINOR if inverse else round(listing.contract_size * USDT_MINOR),
        "settlCurrency": "XBt" if inverse else "USDt",
        "underlyingToPositionMultiplier": None if inverse else round(1 / listing.contract_size),
        "underlyingToSettleMultiplier": -XBT_MINOR if inverse else None,
        "quoteToSettleMultiplier": None if inverse else USDT_MINOR,
        "isQuanto": False,
        "isInverse": inverse,
        **(_paid(listing.base, listing.quote, listing.funding_interval_s) if not dated else {}),
        **dict.fromkeys(("prevTotalVolume", "prevTotalTurnover"), TRADED_BEFORE),
        "hasLiquidity": True,
        "fairMethod": "ImpactMidPrice" if dated else "FundingRate",
        "minTick": 10 ** -fine_digits(listing),
    }


def _common(base: str, quote: str) -> Values:
    return {
        "rootSymbol": coin(base),
        "state": "Open",
        "listing": LISTED_AT,
        "front": LISTED_AT,
        **dict.fromkeys(("inverseLeg", "sellLeg", "buyLeg"), ""),
        "underlying": coin(base),
        "quoteCurrency": quote,
        "underlyingSymbol": f"{coin(base)}{'T' if quote == 'USDT' else ''}=",
        "reference": "BMEX",
        "referenceSymbol": index_name(base, quote),
        "maxOrderQty": 10_000_000,
        "maxPrice": 1_000_000,
        "initMargin": 0.01,
        "maintMargin": 0.005,
        "riskLimit": 20_000_000_000,
        "riskStep": 15_000_000_000,
        "capped": False,
        "taxed": True,
        "deleverage": True,
        "makerFee": FEE,
        "takerFee": FEE,
        "settlementFee": 0,
        "insuranceFee": 0,
        **dict.fromkeys(("fundingBaseSymbol", "fundingQuoteSymbol", "fundingPremiumSymbol"), ""),
        "sessionInterval": span(3_600),
        "markMethod": "FairPrice",
        "instantPnl": True,
    }


def _paid(base: str, quote: str, interval_s: int) -> Values:
    """What a perpetual has besides."""
    hours = interval_s // 3_600
    return {
        "fundingBaseSymbol": f".{coin(base)}BON{hours}H",
        "fundingQuoteSymbol": f".{quote}BON{hours}H",
        "fundingPremiumSymbol": f".{coin(base)}{quote}PI{hours}H",
        "fundingInterval": span(interval_s),
        "fundingBaseRate": INTEREST_A_DAY,
        "fundingQuoteRate": 2 * INTEREST_A_DAY,
    }


def coin(base: str) -> str:
    """As the venue calls it."""
    return "XBT" if base == "BTC" else base


def index_name(base: str, quote: str) -> str:
    return f".B{coin(base)}{'T' if quote == 'USDT' else ''}"


def _on_tick(listing: Listing, price: float) -> float:
    """A price that somebody paid."""
    return float(listing.price_text(round(price / listing.tick)))


def _error(message: str, name: str) -> str:
    return f'{{"error":{{"message":"{message}","name":"{name}"}}}}'


def _said(status: int, text: str, headers: Mapping[str, str]) -> web.Response:
    return web.Response(status=status, text=text, headers=headers, content_type="application/json", charset="utf-8")
