"""Bytes that no venue should send: whatever is done to a stream of frames, nothing but the known errors leaves the session."""

import json
import os
import random
from collections.abc import Mapping

import pytest

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.model import BookState
from feeds.venues.bitmex import IDS_KEPT, ORDERS_KEPT
from tests.property.test_bybit_fuzz import PIECES as COMMON
from tests.property.test_bybit_fuzz import assert_sound, readable
from tests.unit.test_bitmex import INSTRUMENT_2024, UNI, XBTUSD, Desk, desk

MUTATIONS = int(os.environ.get("FUZZ", "1000"))
PIECES = (
    *COMMON,
    b'"table":"orderBookL2",',
    b'"table":"orderBookL2_25",',
    b'"action":"partial",',
    b'"action":"delete",',
    b'"symbol":"XBTUSD",',
    b'"symbol":"UNIUSDT",',
    b'"id":1,',
    b'"side":"Buy",',
    b'"price":null,',
    b'"timestamp":"1969-12-31T23:59:59Z",',
    b'"timestamp":"9999-12-31T23:59:59-23:59",',
    b'"timestamp":"0001-01-01T00:00:00+23:59",',
    b"pong",
)


class Truth:
    """A venue's book, and the frames that tell of its changes; prices in every row or, as before 2023, where they must be."""

    def __init__(self, rng: random.Random, prices: bool) -> None:
        self.rng = rng
        self.prices = prices
        self.next_id = 1
        self.levels: dict[int, tuple[str, float, float]] = {}

    def partial(self) -> dict[str, object]:
        self.levels.clear()
        for side, sign in (("Buy", -1), ("Sell", 1)):
            for step in range(1, 8):
                self._add(side, 100.0 + sign * step)
        return self._frame("partial", [self._row(id_, True) for id_ in self.levels])

    def change(self) -> dict[str, object]:
        match self.rng.randrange(3):
            case 0:
                side, sign = self.rng.choice([("Buy", -1), ("Sell", 1)])
                taken = {price for _, _, price in self.levels.values()}
                price = next(100.0 + sign * step for step in range(1, 99) if 100.0 + sign * step not in taken)
                return self._frame("insert", [self._row(self._add(side, price), True)])
            case 1 if len(self.levels) > 4:
                id_ = self.rng.choice(list(self.levels))
                row = self._row(id_, self.prices)
                del row["size"], self.levels[id_]
                return self._frame("delete", [row])
            case _:
                some = self.rng.sample(list(self.levels), 2)
                for id_ in some:
                    side, _, price = self.levels[id_]
                    self.levels[id_] = side, float(self.rng.randint(1, 99)), price
                return self._frame("update", [self._row(id_, self.prices) for id_ in some])

    def sides(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        held: dict[str, list[tuple[float, float]]] = {"Buy": [], "Sell": []}
        for side, size, price in self.levels.values():
            held[side].append((price, size))
        return sorted(held["Buy"], reverse=True), sorted(held["Sell"])

    def _add(self, side: str, price: float) -> int:
        id_ = self.next_id
        self.next_id += 1
        self.levels[id_] = side, float(self.rng.randint(1, 99)), price
        return id_

    def _row(self, id_: int, priced: bool) -> dict[str, object]:
        side, size, price = self.levels[id_]
        row: dict[str, object] = {"symbol": "XBTUSD", "id": id_, "side": side, "size": size}
        return {**row, "price": price} if priced else row

    def _frame(self, action: str, rows: list[dict[str, object]]) -> dict[str, object]:
        return {"table": "orderBookL2", "action": action, "data": rows}


def others(rng: random.Random) -> Mapping[str, object]:
    """A frame of another table."""
    at = "2024-11-24T08:15:38.704Z"
    symbol = rng.choice(["XBTUSD", "UNIUSDT", ".BXBT"])
    quote = {"timestamp": at, "symbol": symbol, "bidSize": 1, "bidPrice": 99, "askPrice": 101, "askSize": 2}
    trade = {"timestamp": at, "symbol": symbol, "side": "Buy", "size": 1, "price": 100, "trdMatchID": "x"}
    order = {"orderID": f"{rng.random()}", "symbol": symbol, "side": "Sell", "price": 5, "leavesQty": 7}
    paid = {"timestamp": at, "symbol": symbol, "fundingInterval": "2000-01-01T08:00:00.000Z", "fundingRate": 0.0001}
    table, row = rng.choice(
        [
            ("quote", quote),
            ("trade", trade),
            ("liquidation", order),
            ("funding", paid),
            ("instrument", {**INSTRUMENT_2024, "symbol": symbol}),
        ]
    )
    return {"table": table, "action": rng.choice(["partial", "insert", "update"]), "data": [row]}


def encoded(frame: Mapping[str, object]) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode()


def mutated(frame: bytes, rng: random.Random) -> bytes:
    data = bytearray(frame)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + rng.randint(1, 12)]
            case 2:
                data[at:at] = rng.choice(PIECES)
            case 3:
                data[at : at + rng.randint(1, 8)] = rng.choice(PIECES)
            case 4 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case _:
                data[at:at] = data[at : at + rng.randint(1, 40)]
    return bytes(data)


def kept(at: Desk) -> int:
    session = at.session
    return sum(len(side.prices) for levels in session._levels.values() for side in levels.sides.values()) + sum(
        map(len, session._orders.values())
    )


@pytest.mark.parametrize("prices", [False, True], ids=["2021", "2024"])
def test_mutated_frames_raise_only_known_errors_and_never_publish_nonsense(prices: bool) -> None:
    rng = random.Random(f"bitmex {prices}")
    at, truth = desk(XBTUSD, UNI), Truth(rng, prices)
    book = at.book()
    refused = accepted = changed = 0
    for number in range(MUTATIONS):
        if not number % 50 or book.state is not BookState.SYNCED or book.crossed_ns:
            at.send(encoded(truth.partial()))
            assert (book.published, book.levels(99)) == (True, truth.sides())
        data = mutated(encoded(truth.change() if rng.random() < 0.8 else others(rng)), rng)
        before = readable(book)
        try:
            at.send(data)
        except (*DECODE_ERRORS, BadFrame):
            refused += 1
            assert readable(book) == before
            at.session.refused(data, at.now)
        else:
            accepted += 1
            changed += readable(book) != before
        assert_sound(book)
        at.send(encoded(truth.partial()))  # what a mutation made of a frame may be a change that never was
        for _ in range(3):
            at.send(encoded(truth.change()))
        assert (book.published, book.levels(99)) == (True, truth.sides())
        at.session.wake(at.now)
        assert kept(at) <= 2 * IDS_KEPT + ORDERS_KEPT
    assert refused > 2 * MUTATIONS // 5
    assert accepted > MUTATIONS // 10
    assert changed > MUTATIONS // 200


@pytest.mark.parametrize("prices", [False, True], ids=["2021", "2024"])
def test_lost_frames_leave_a_book_that_is_right_or_not_published(prices: bool) -> None:
    """What was lost shows when an id is not there; until then the book is that of the frames that came."""
    rng = random.Random(f"loss {prices}")
    at, truth = desk(XBTUSD), Truth(rng, prices)
    book = at.book()
    found = 0
    for _ in range(max(1, MUTATIONS // 20)):
        at.send(encoded(truth.partial()))
        lost: set[int] = set()
        for _ in range(30):
            held = set(truth.levels)
            frame = truth.change()
            if rng.random() < 0.1:
                lost |= held ^ set(truth.levels)
                continue
            at.send(encoded(frame))
            touched = {row["id"] for row in frame["data"]}  # type: ignore[attr-defined]
            if touched & lost and frame["action"] != "insert":
                assert not book.published
        found += not book.published
        at.send(encoded(truth.partial()))
        assert (book.published, book.levels(99)) == (True, truth.sides())
    assert found
