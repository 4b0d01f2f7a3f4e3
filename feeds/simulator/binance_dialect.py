"""Binance's messages, as faults read and alter them. Facts: protocols.md 1."""

import re
from typing import Any

from feeds.simulator.dialect import Json, Pairs


class BinanceDialect(Pairs):
    """Those of one of its markets."""

    books = re.compile(r"@depth(?!\d)")
    steady = re.compile(r"@depth|@bookTicker|@markPrice")
    repeatable = re.compile(r"@(aggT|t)rade|@bookTicker|@markPrice|@ticker")
    trades = re.compile(r"@(aggT|t)rade")
    trade_id = re.compile(r'"(?:t|a)":"?([0-9a-f-]+)"?')
    native = re.compile(r"([a-z0-9_]+)@")
    vital = ("b", "a", "u", "U")
    times = frozenset({"E", "T"})
    depths = (400,)
    list_paths = ("/exchangeInfo",)
    snapshot_path = "/depth"
    snapshot_number = "lastUpdateId"

    def __init__(self, market: str) -> None:
        self.market = market
        self.features = frozenset({"rest book", "ranged ids", "numbered", "ms times"})
        if market == "spot":
            self.features |= {"notice"}

    def market_of(self, path: str) -> str:
        return self.market

    def is_snapshot(self, message: Json) -> bool:
        return False

    def as_update(self, message: Json) -> None:
        """A book's first message is none of the connection's."""

    def merged(self, now: Json, then: Json) -> Json | None:
        new, old = self.body(now), self.body(then)
        if "U" not in new or "U" not in old:
            return None
        new["U"] = old["U"]
        if "pu" in old:
            new["pu"] = old["pu"]
        for side in self.names:
            levels = dict(map(tuple, old[side])) | dict(map(tuple, new[side]))
            new[side] = [list(level) for level in levels.items()]
        return now

    def acknowledges(self, message: Json) -> bool:
        return True

    def refusal(self, message: Json, text: str) -> Json:
        return {"error": {"code": 2, "msg": text}, "id": message.get("id")}

    def instruments(self, body: Any) -> list[Json]:
        found = body["symbols"]
        assert isinstance(found, list)
        return found

    def name_in(self, row: Json) -> str:
        return str(row.get("symbol"))

    def coarsen(self, row: Json, times: int) -> None:
        for rule in row.get("filters", ()):
            if "tickSize" in rule:
                rule["tickSize"] = f"{float(rule['tickSize']) * times:g}"
