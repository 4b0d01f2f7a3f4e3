"""The columns of BitMEX's tables, with their types, as a `partial` states them; and how instants, spans and numbers are written.

Facts: protocols.md 5.2 and 5.3, partials recorded in 2021 (books, quotes, trades) and REST rows of 2021 and 2024; the types of
the other tables are those of the venue's columns of the same meaning. No market and no socket.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Final

from msgspec import Struct

from feeds.simulator.listings import Listing

XBTUSD_NUMBER: Final = 88
"""The venue's number of its first perpetual; those of others are made up."""


class Era(Enum):
    """How books are written."""

    ARBITRARY = "since 2023"
    """An id stands for nothing, every row has its price and its times."""
    FORMULA = "until 2021"
    """An id stands for a price, which updates and deletes do not have; no row has a time."""


class Table(Struct, frozen=True):
    """What a `partial` says of its table before its rows."""

    keys: Sequence[str]
    types: Mapping[str, str]
    foreign: Mapping[str, str]
    attributes: Mapping[str, str]
    later: Mapping[str, str] = {}
    """Columns that came after 2021."""

    def head(self, era: Era, native: str) -> str:
        types = self.types if era is Era.FORMULA else {**self.types, **self.later}
        return (
            f'"keys":[{",".join(map(quoted, self.keys))}],"types":{_object(types)},"foreignKeys":{_object(self.foreign)},'
            f'"attributes":{_object(self.attributes)},"filter":{{"symbol":"{native}"}}'
        )


def quoted(text: str) -> str:
    return f'"{text}"'


def _object(found: Mapping[str, str]) -> str:
    return "{" + ",".join(f'"{name}":"{text}"' for name, text in found.items()) + "}"


SYMBOL, LONG, FLOAT, WHEN, SPAN, YES, GUID = (
    "symbol",
    "long",
    "float",
    "timestamp",
    "timespan",
    "boolean",
    "guid",
)
INSTRUMENT: Mapping[str, str] = {
    **dict.fromkeys(("symbol", "rootSymbol", "state", "typ"), SYMBOL),
    **dict.fromkeys(("listing", "front", "expiry", "settle", "listedSettle"), WHEN),
    "relistInterval": SPAN,
    **dict.fromkeys(("inverseLeg", "sellLeg", "buyLeg"), SYMBOL),
    **dict.fromkeys(("optionStrikePcnt", "optionStrikeRound", "optionStrikePrice", "optionMultiplier"), FLOAT),
    **dict.fromkeys(
        ("positionCurrency", "underlying", "quoteCurrency", "underlyingSymbol", "reference", "referenceSymbol"), SYMBOL
    ),
    **dict.fromkeys(("calcInterval", "publishInterval", "publishTime"), SPAN),
    "maxOrderQty": LONG,
    "maxPrice": FLOAT,
    "lotSize": LONG,
    "tickSize": FLOAT,
    "multiplier": LONG,
    "settlCurrency": SYMBOL,
    **dict.fromkeys(("underlyingToPositionMultiplier", "underlyingToSettleMultiplier", "quoteToSettleMultiplier"), LONG),
    **dict.fromkeys(("isQuanto", "isInverse"), YES),
    **dict.fromkeys(("initMargin", "maintMargin"), FLOAT),
    **dict.fromkeys(("riskLimit", "riskStep"), LONG),
    "limit": FLOAT,
    **dict.fromkeys(("capped", "taxed", "deleverage"), YES),
    **dict.fromkeys(("makerFee", "takerFee", "settlementFee", "insuranceFee"), FLOAT),
    **dict.fromkeys(("fundingBaseSymbol", "fundingQuoteSymbol", "fundingPremiumSymbol"), SYMBOL),
    "fundingTimestamp": WHEN,
    "fundingInterval": SPAN,
    **dict.fromkeys(("fundingRate", "indicativeFundingRate"), FLOAT),
    "rebalanceTimestamp": WHEN,
    "rebalanceInterval": SPAN,
    **dict.fromkeys(("openingTimestamp", "closingTimestamp"), WHEN),
    "sessionInterval": SPAN,
    **dict.fromkeys(
        ("prevClosePrice", "limitDownPrice", "limitUpPrice", "bankruptLimitDownPrice", "bankruptLimitUpPrice"), FLOAT
    ),
    **dict.fromkeys(("prevTotalVolume", "totalVolume", "volume", "volume24h"), LONG),
    **dict.fromkeys(("prevTotalTurnover", "totalTurnover", "turnover", "turnover24h"), LONG),
    **dict.fromkeys(("homeNotional24h", "foreignNotional24h"), FLOAT),
    **dict.fromkeys(("prevPrice24h", "vwap", "highPrice", "lowPrice", "lastPrice", "lastPriceProtected"), FLOAT),
    "lastTickDirection": SYMBOL,
    "lastChangePcnt": FLOAT,
    **dict.fromkeys(("bidPrice", "midPrice", "askPrice", "impactBidPrice", "impactMidPrice", "impactAskPrice"), FLOAT),
    "hasLiquidity": YES,
    **dict.fromkeys(("openInterest", "openValue"), LONG),
    "fairMethod": SYMBOL,
    **dict.fromkeys(("fairBasisRate", "fairBasis", "fairPrice"), FLOAT),
    "markMethod": SYMBOL,
    **dict.fromkeys(("markPrice", "indicativeTaxRate", "indicativeSettlePrice", "optionUnderlyingPrice"), FLOAT),
    **dict.fromkeys(("settledPriceAdjustmentRate", "settledPrice"), FLOAT),
    "timestamp": WHEN,
}
"""In the order of a row of 2021."""
INSTRUMENT_LATER: Mapping[str, str] = {"instantPnl": YES, "minTick": FLOAT, "fundingBaseRate": FLOAT, "fundingQuoteRate": FLOAT}

_TRADED = {"symbol": "instrument", "side": "side"}
_BOOK = Table(
    ("symbol", "id", "side"),
    {"symbol": SYMBOL, "id": LONG, "side": SYMBOL, "size": LONG, "price": FLOAT},
    _TRADED,
    {"symbol": "parted", "id": "sorted"},
    {"timestamp": WHEN, "transactTime": WHEN},
)
_BY_TIME = {"timestamp": "sorted", "symbol": "grouped"}
TABLES: Mapping[str, Table] = {
    "orderBookL2": _BOOK,
    "orderBookL2_25": _BOOK,
    "quote": Table(
        (),
        {"timestamp": WHEN, "symbol": SYMBOL, "bidSize": LONG, "bidPrice": FLOAT, "askPrice": FLOAT, "askSize": LONG},
        {"symbol": "instrument"},
        _BY_TIME,
    ),
    "trade": Table(
        (),
        {
            "timestamp": WHEN,
            "symbol": SYMBOL,
            "side": SYMBOL,
            "size": LONG,
            "price": FLOAT,
            "tickDirection": SYMBOL,
            "trdMatchID": GUID,
            "grossValue": LONG,
            "homeNotional": FLOAT,
            "foreignNotional": FLOAT,
        },
        _TRADED,
        _BY_TIME,
        {"trdType": SYMBOL},
    ),
    "instrument": Table(
        ("symbol",),
        INSTRUMENT,
        {"inverseLeg": "instrument", "sellLeg": "instrument", "buyLeg": "instrument"},
        {"symbol": "unique"},
        INSTRUMENT_LATER,
    ),
    "funding": Table(
        ("timestamp", "symbol"),
        {"timestamp": WHEN, "symbol": SYMBOL, "fundingInterval": SPAN, "fundingRate": FLOAT, "fundingRateDaily": FLOAT},
        {"symbol": "instrument"},
        _BY_TIME,
    ),
    "liquidation": Table(
        ("orderID",),
        {"orderID": GUID, "symbol": SYMBOL, "side": SYMBOL, "price": FLOAT, "leavesQty": LONG},
        _TRADED,
        {"orderID": "unique"},
    ),
}


def row(found: Mapping[str, object]) -> str:
    """A row of any table."""
    return "{" + ",".join(f'"{name}":{_value(value)}' for name, value in found.items()) + "}"


def _value(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value)
    return f'"{value}"'


def number(value: float) -> str:
    """As the venue writes numbers: whole ones without a point, small ones without an exponent."""
    text = repr(value)
    if "e" in text:
        return f"{Decimal(text):f}"
    return text.removesuffix(".0")


@lru_cache(256)
def instant(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1_000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"


def span(seconds: int) -> str:
    """A time that something lasts: the instant so long after the year 2000 began."""
    return f"2000-01-{1 + seconds // 86_400:02d}T{seconds // 3_600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.000Z"


def fine_digits(listing: Listing) -> int:
    """Digits of prices that nobody trades at, and of the tick that a contract had when it was listed."""
    return max(2, listing.price_digits)


def symbol_number(listing: Listing) -> int:
    return XBTUSD_NUMBER if listing.native == "XBTUSD" else 100 + sum(listing.native.encode()) % 800
