"""Deribit's messages, as faults read and alter them. Facts: protocols.md 4."""

import re
from collections.abc import Sequence
from typing import Any

from feeds.simulator.dialect import Dialect, Json, Level, as_number


class DeribitDialect(Dialect):
    """Levels are [action, price, amount] in numbers, in `data` of `params`."""

    features = frozenset({"in-band snapshot", "numbered", "restart", "ms times"})
    books = re.compile(r"^book\.[^.]+\.(?!none\.)")
    steady = re.compile(r"^(?:book|quote|ticker|deribit_price_index)\.")
    repeatable = re.compile(r"^(?:trades|quote|ticker|deribit_price_index)\.")
    trades = re.compile(r"^trades\.")
    trade_id = re.compile(r'"trade_id":"(?:[A-Z]+-)?([0-9]+)"')
    native = re.compile(r"^(?:book|quote|ticker|trades)\.([A-Za-z0-9_-]+)")
    vital = ("timestamp", "change_id", "prev_change_id", "instrument_name", "bids", "asks")
    first_list = "bids"
    price_at, size_at = 1, 2
    times = frozenset({"timestamp"})
    depths = (20, 400)
    by_time = instead = True
    list_paths = ("/public/get_instruments",)

    def body(self, message: Json) -> Json:
        return super().body(message.get("params", message))

    def sides(self, message: Json) -> tuple[list[Level], list[Level]] | None:
        data = self.body(message)
        bids, asks = data.get("bids"), data.get("asks")
        return (bids, asks) if isinstance(bids, list) and isinstance(asks, list) else None

    def standing(self, message: Json, levels: Sequence[Level]) -> list[Level]:
        return [level for level in levels if level[0] != "delete"]

    def without(self, message: Json, level: Level) -> None:
        for side in self.sides(message) or ():
            side[:] = [each for each in side if each is not level]

    def with_bid(self, message: Json, price: str, size: str) -> list[Json]:
        bids, _ = self.sides(message) or ([], [])
        bids.append(["new", as_number(price), as_number(size)])
        return [message]

    def without_bid(self, message: Json, placed: Json, price: str) -> list[Json]:
        bids, _ = self.sides(message) or ([], [])
        if all(level[1] != float(price) for level in bids):
            bids.append(["delete", as_number(price), 0.0])
        return [message]

    def is_snapshot(self, message: Json) -> bool:
        return self.body(message).get("type") == "snapshot"

    def as_update(self, message: Json) -> None:
        data = self.body(message)
        data["type"] = "change"
        data["change_id"] -= 10
        data["prev_change_id"] = data["change_id"] - 10

    def acknowledges(self, message: Json) -> bool:
        """A subscription's answer is a list."""
        return isinstance(message.get("result"), list)

    def refusal(self, message: Json, text: str) -> Json:
        """What is refused is missing, without a word."""
        return {**message, "result": []}

    def instruments(self, body: Any) -> list[Json]:
        found = body.get("result", [])
        assert isinstance(found, list)
        return found

    def name_in(self, row: Json) -> str:
        return str(row.get("instrument_name"))

    def coarsen(self, row: Json, times: int) -> None:
        row["tick_size"] *= times
