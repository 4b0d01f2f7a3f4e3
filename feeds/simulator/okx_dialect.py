"""OKX's messages, as faults read and alter them. Facts: protocols.md 3."""

import re
from typing import Any

from feeds.simulator.dialect import Json, Pairs


class OkxDialect(Pairs):
    """Those of its one public socket."""

    features = frozenset({"in-band snapshot", "rest fallback", "numbered", "window", "restart", "notice", "ms times"})
    books = re.compile(r"^books:")
    steady = re.compile(r"^(?:books|bbo-tbt|tickers|mark-price|index-tickers):")
    repeatable = re.compile(r"^(?:trades|bbo-tbt|tickers|mark-price|index-tickers|funding-rate|open-interest):")
    trades = re.compile(r"^trades:")
    trade_id = re.compile(r'"tradeId":"([0-9]+)"')
    native = re.compile(r"^(?:books|bbo-tbt|trades|tickers|mark-price|funding-rate|open-interest):([A-Z0-9-]+)$")
    names = ("bids", "asks")
    rest = ("0", "1")
    vital = ("asks", "bids", "seqId", "prevSeqId")
    times = frozenset({"ts"})
    depths = (300,)  # a side of the market may be shorter than the window
    window = 400
    list_paths = ("/public/instruments",)
    snapshot_path = "/market/books"
    snapshot_number = "seqId"

    def is_snapshot(self, message: Json) -> bool:
        return message.get("action") == "snapshot"

    def as_update(self, message: Json) -> None:
        message["action"] = "update"
        data = self.body(message)
        data["seqId"] -= 10
        data["prevSeqId"] = data["seqId"] - 10

    def ms_of(self, written: object) -> int | None:
        return int(written) if isinstance(written, str) and written.isdecimal() else None

    def time_at(self, at: int) -> object:
        return str(at)

    def acknowledges(self, message: Json) -> bool:
        return message.get("event") in ("subscribe", "error")

    def refusal(self, message: Json, text: str) -> Json:
        number = {"id": message["id"]} if "id" in message else {}
        return {**number, "event": "error", "code": "60018", "msg": text, "connId": message.get("connId", "")}

    def instruments(self, body: Any) -> list[Json]:
        found = body.get("data", [])
        assert isinstance(found, list)
        return found

    def name_in(self, row: Json) -> str:
        return str(row.get("instId"))

    def coarsen(self, row: Json, times: int) -> None:
        row["tickSz"] = f"{float(row['tickSz']) * times:g}"
