"""BitMEX's messages, as faults read and alter them. Facts: protocols.md 5."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from feeds.simulator.dialect import Dialect, Json, Level, as_number

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OWN_IDS = 10**17
"""Beyond those of the venue: of levels that a fault invents."""


class BitmexDialect(Dialect):
    """Levels are rows with an id, a side and a price, of a message with one action for all of them."""

    features = frozenset({"in-band snapshot", "restart", "ids"})
    books = re.compile(r"^orderBookL2(?:_25)?:")
    steady = re.compile(r"^(?:orderBookL2(?:_25)?|quote|instrument):")
    repeatable = re.compile(r"^(?:trade|quote|instrument):")
    trades = re.compile(r"^trade:")
    trade_id = re.compile(r'"trdMatchID":"([0-9a-f-]+)"')
    native = re.compile(r"^\w+:([A-Z0-9_]+)$")
    vital = ("symbol", "id", "side", "size", "price")
    first_list = "data"
    price_at, size_at = "price", "size"
    times = frozenset({"timestamp", "transactTime"})
    depths = (400,)
    by_time = True
    list_paths = ("/instrument/active",)

    def sides(self, message: Json) -> tuple[list[Level], list[Level]] | None:
        rows = message.get("data")
        if not isinstance(rows, list) or not str(message.get("table")).startswith("orderBookL2"):
            return None
        return [row for row in rows if row["side"] == "Buy"], [row for row in rows if row["side"] == "Sell"]

    def standing(self, message: Json, levels: Sequence[Level]) -> list[Level]:
        """Of a change that names neither size nor price nothing can be said."""
        return [level for level in levels if message["action"] != "delete" and "price" in level and "size" in level]

    def without(self, message: Json, level: Level) -> None:
        message["data"] = [row for row in message["data"] if row is not level]

    def with_bid(self, message: Json, price: str, size: str) -> list[Json]:
        made = self._of_one(message, "insert", price)
        made["data"][0]["size"] = as_number(size)
        return [message, made]

    def without_bid(self, message: Json, placed: Json, price: str) -> list[Json]:
        """Then the book is as it was at the time of what placed it."""
        return [self._of_one(placed, "delete", price), message]

    def _of_one(self, message: Json, action: str, price: str) -> Json:
        """A message beside another, about a level of ours."""
        beside = self.body(message)
        row: Json = {name: beside[name] for name in ("symbol", "timestamp", "transactTime") if name in beside}
        row |= {"id": OWN_IDS + round(float(price) * 1e4), "side": "Buy", "price": as_number(price)}
        return {"table": message["table"], "action": action, "data": [row]}

    def estrange(self, message: Json) -> bool:
        if message["action"] not in ("update", "delete"):
            return False
        message["data"][0]["id"] = OWN_IDS
        return True

    def ends(self, message: Json) -> bool:
        """What was inserted is told last."""
        return bool(message["action"] == "insert")

    def is_snapshot(self, message: Json) -> bool:
        return message.get("action") == "partial"

    def as_update(self, message: Json) -> None:
        message["action"] = "update"

    def ms_of(self, written: object) -> int | None:
        """Times are texts: 2024-11-24T08:26:22.356Z."""
        if not isinstance(written, str):
            return None
        try:
            return round((datetime.fromisoformat(written) - _EPOCH) / timedelta(milliseconds=1))
        except ValueError:
            return None

    def time_at(self, at: int) -> object:
        text = (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")

    def acknowledges(self, message: Json) -> bool:
        return "success" in message or "error" in message

    def refusal(self, message: Json, text: str) -> Json:
        return {"status": 400, "error": text, "meta": {}, "request": message.get("request", {})}

    def instruments(self, body: Any) -> list[Json]:
        """The answer is the list."""
        assert isinstance(body, list)
        return body

    def name_in(self, row: Json) -> str:
        return str(row.get("symbol"))

    def coarsen(self, row: Json, times: int) -> None:
        row["tickSize"] *= times
