"""OKX's public REST on loopback: time, instruments, books, past funding.

Facts: protocols.md 3.5 and 3.6, quirks included: a refusal has HTTP status 200 and a code unless a parameter is missing, a book
has one level a side unless more are asked for, history is newest first and `after` means older. Bars, tickers and open interest
are left out: nothing that reads this venue asks for them over REST.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from aiohttp import web

from feeds.model import MS, SECOND, Ns
from feeds.simulator.listings import Listing
from feeds.simulator.okx_feeds import DEPTH, TYPES, plain

if TYPE_CHECKING:
    from feeds.simulator.okx import OkxServer

WINDOW_NS: Final[Ns] = 2 * SECOND
TOO_MANY, NO_INSTRUMENT, MISSING, WRONG = "50011", "51001", "50014", "51000"
RATES_A_PAGE: Final = 400
LISTED_MS: Final = 1_611_916_828_000
SMALLEST_SPOT: Mapping[str, str] = {"BTC": "0.00001", "ETH": "0.001", "SOL": "0.01"}
LARGEST, LARGEST_MARKET = "100000000", "4000"

Row: TypeAlias = dict[str, str]
Query: TypeAlias = Mapping[str, str]


class _Route(NamedTuple):
    """A path: how many requests of it in 2 s, counted apart by which parameter, and who answers."""

    requests: int
    apart_by: str
    answer: Callable[[Query], list[Any]]


class RefusedError(Exception):
    """A request that is answered with a code."""

    def __init__(self, code: str, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class OkxRest:
    """Answers for an `OkxServer`."""

    def __init__(self, server: "OkxServer") -> None:
        self.server = server
        self.world = server.world
        self._requests: dict[tuple[str, str], deque[Ns]] = {}
        self._routes: Mapping[str, _Route] = {
            "/api/v5/public/time": _Route(10, "", self._time),
            "/api/v5/public/instruments": _Route(20, "instType", self._instruments),
            "/api/v5/public/funding-rate-history": _Route(10, "instId", self._funding),
            "/api/v5/market/books": _Route(40, "", self._book),
        }

    async def answer(self, request: web.Request) -> web.Response:
        route = self._routes.get(request.path)
        if route is None or request.method != "GET":
            return web.Response(status=404)
        try:
            self._count(request.path, route, request.query)
            return _enveloped("0", "", route.answer(request.query))
        except RefusedError as refusal:
            return _enveloped(refusal.code, str(refusal), [], refusal.status)

    def _count(self, path: str, route: _Route, query: Query) -> None:
        now_ns = self.world.now_ns
        made = self._requests.setdefault((path, query.get(route.apart_by, "")), deque())
        while made and now_ns - made[0] >= WINDOW_NS:
            made.popleft()
        if len(made) >= route.requests:
            raise RefusedError(TOO_MANY, "Too Many Requests", 429)
        made.append(now_ns)

    def _listing(self, query: Query) -> Listing:
        found = self.server.listings.get(_needed(query, "instId"))
        if found is None:
            raise RefusedError(NO_INSTRUMENT, "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
        return found

    def _time(self, query: Query) -> list[Row]:
        return [{"ts": str(self.server.now_ms())}]

    def _book(self, query: Query) -> list[Any]:
        """The book as its channel has told it last, where somebody reads that: both come from one generator."""
        listing, depth = self._listing(query), _number(query, "sz", 1, DEPTH)
        number, at_ns, bids, asks = self.server.generation(listing)
        levels = self.server.levels
        return [
            {
                "asks": json.loads(f"[{levels(listing, asks[:depth])}]"),
                "bids": json.loads(f"[{levels(listing, bids[:depth])}]"),
                "ts": str(self.server.now_ms(at_ns)),
                "seqId": number,
            }
        ]

    def _funding(self, query: Query) -> list[Row]:
        """`before` is newer than, `after` older than."""
        listing = self._listing(query)
        if listing.kind != "perp":
            raise RefusedError(WRONG, "Parameter instId error")
        after, before = _number(query, "after", 1 << 62), _number(query, "before", -1)
        settled = [one for one in self.world.figures[listing.key].settled if before < one.time_ms < after]
        return [
            {
                "formulaType": "withRate",
                "fundingRate": f"{one.rate:.16f}",
                "fundingTime": str(one.time_ms),
                "instId": listing.native,
                "instType": TYPES[listing.kind],
                "method": "current_period",
                "realizedRate": f"{one.rate:.16f}",
            }
            for one in settled[: -_number(query, "limit", RATES_A_PAGE, RATES_A_PAGE) - 1 : -1]
        ]

    def _instruments(self, query: Query) -> list[Row]:
        kind = _needed(query, "instType")
        if kind not in (*TYPES.values(), "MARGIN", "OPTION"):
            raise RefusedError(WRONG, "Parameter instType error")
        found = [one for one in self.server.listings.values() if TYPES[one.kind] == kind]
        return [self._row(one) for one in found if query.get("instId", one.native) == one.native]

    def _row(self, listing: Listing) -> Row:
        spot, inverse = listing.kind == "spot", listing.contract == "inverse"
        family = "" if spot else f"{listing.base}-{listing.quote}"
        lot = plain(f"{listing.lot:.{listing.size_digits}f}")
        dated_ms = str(listing.expiry_ns // MS) if listing.expiry_ns else ""
        return {
            "alias": self._alias(listing),
            "auctionEndTime": "",
            "baseCcy": listing.base if spot else "",
            "category": "1",
            "contTdSwTime": "",
            "ctMult": "" if spot else "1",
            "ctType": "" if spot else listing.contract,
            "ctVal": "" if spot else plain(f"{listing.contract_size:.8f}"),
            "ctValCcy": "" if spot else listing.quote if inverse else listing.base,
            "expTime": dated_ms,
            "instFamily": family,
            "instId": listing.native,
            "instIdCode": str(sum(listing.native.encode())),
            "instType": TYPES[listing.kind],
            "lever": "10" if spot else "100",
            "listTime": str(LISTED_MS),
            "lotSz": lot,
            "maxIcebergSz": LARGEST,
            "maxLmtSz": LARGEST,
            "maxMktSz": LARGEST_MARKET,
            "maxStopSz": LARGEST_MARKET,
            "maxTriggerSz": LARGEST,
            "maxTwapSz": LARGEST,
            "minSz": SMALLEST_SPOT[listing.base] if spot else lot,
            "openType": "",
            "optType": "",
            "quoteCcy": listing.quote if spot else "",
            "ruleType": "normal",
            "settleCcy": listing.settle,
            "state": "live",
            "stk": "",
            "tickSz": plain(f"{listing.tick:.{listing.price_digits}f}"),
            "uly": family,
        }

    def _alias(self, listing: Listing) -> str:
        """How the nearest ends of quarters are called."""
        if not listing.expiry_ns:
            return ""
        end = datetime.fromtimestamp(listing.expiry_ns // SECOND, UTC)
        now = datetime.fromtimestamp(self.world.now_ns // SECOND, UTC)
        quarters = (end.year - now.year) * 4 + (end.month - 1) // 3 - (now.month - 1) // 3
        return "quarter" if quarters == 0 else "next_quarter"


def _enveloped(code: str, message: str, rows: list[Any], status: int = 200) -> web.Response:
    text = json.dumps({"code": code, "data": rows, "msg": message}, separators=(",", ":"))
    return web.Response(status=status, text=text, content_type="application/json", charset="utf-8")


def _needed(query: Query, name: str) -> str:
    if not query.get(name):
        raise RefusedError(MISSING, f"Parameter {name} can not be empty.", 400)
    return query[name]


def _number(query: Query, name: str, default: int, most: int = 1 << 62) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not 0 < int(text) <= most:
        raise RefusedError(WRONG, f"Parameter {name} error")
    return int(text)
