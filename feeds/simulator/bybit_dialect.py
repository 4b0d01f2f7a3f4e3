"""Bybit's messages, as faults read and alter them. Facts: protocols.md 2."""

import re
from typing import Any

from feeds.simulator.dialect import Json, Pairs


class BybitDialect(Pairs):
    """Those of all its categories."""

    features = frozenset({"in-band snapshot", "numbered", "window", "restart", "ms times"})
    books = re.compile(r"orderbook\.(?!1\.)")
    steady = re.compile(r"orderbook\.|tickers\.")
    repeatable = re.compile(r"publicTrade\.|orderbook\.1\.|tickers\.")
    trades = re.compile(r"publicTrade\.")
    trade_id = re.compile(r'"i":"?([0-9a-f-]+)"?')
    native = re.compile(r"\.([A-Z0-9-]+)$")
    vital = ("b", "a", "u", "seq")
    times = frozenset({"ts", "cts", "T"})
    depths = (200,)
    window = 200
    list_paths = ("/instruments-info",)

    def market_of(self, path: str) -> str:
        return path.rpartition("/")[2]

    def is_snapshot(self, message: Json) -> bool:
        return message.get("type") == "snapshot"

    def as_update(self, message: Json) -> None:
        message["type"] = "delta"
        self.body(message)["u"] -= 1

    def acknowledges(self, message: Json) -> bool:
        return message.get("op") != "ping"

    def refusal(self, message: Json, text: str) -> Json:
        return {"success": False, "ret_msg": text, "conn_id": message.get("conn_id", ""), "op": "subscribe"}

    def instruments(self, body: Any) -> list[Json]:
        found = body.get("result", {}).get("list", [])
        assert isinstance(found, list)
        return found

    def name_in(self, row: Json) -> str:
        return str(row.get("symbol"))

    def coarsen(self, row: Json, times: int) -> None:
        rule = row["priceFilter"]
        rule["tickSize"] = f"{float(rule['tickSize']) * times:g}"
