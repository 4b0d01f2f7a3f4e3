"""Faults speak each venue's language: what those of OKX, Deribit and BitMEX do on the wire, told by the venue's shapes alone.

The stage, and what faults do on Bybit and Binance, are in `test_simulator_faults.py`. The dialects are not asked for anything
here: levels, times and ids are read as the venues write them.
"""

import asyncio
import json
import math
import re
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import aiohttp
import pytest

from feeds.simulator.bitmex import BitmexServer
from feeds.simulator.deribit import DeribitServer
from feeds.simulator.dialect import FEATURES
from feeds.simulator.faults import BURST_TIMES, FAULTS, Cure
from feeds.simulator.kit import VenueServer
from feeds.simulator.okx import OkxServer
from tests.unit.test_simulator_faults import CLOSE, Stage, missing, staged, texts

KINDS = ("okx", "deribit", "bitmex")
SERVERS: dict[str, type[VenueServer]] = {"okx": OkxServer, "deribit": DeribitServer, "bitmex": BitmexServer}


@pytest.fixture(params=KINDS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with staged(request.param) as made:
        yield made


class Row(NamedTuple):
    """One level as a message has it; nan for a price or size that it does not tell."""

    bid: bool
    price: float
    size: float


def levels(text: str) -> list[Row]:
    """What a book's message sets, size 0 for what it deletes."""
    message = json.loads(text)
    if "table" in message:
        deletes = message["action"] == "delete"
        return [
            Row(row["side"] == "Buy", float(row["price"]), 0.0 if deletes else float(row.get("size", math.nan)))
            for row in message["data"]
        ]
    data = message["params"]["data"] if "params" in message else message["data"][0]
    return [
        Row(name == "bids", *map(float, level[-2:] if "params" in message else level[:2]))
        for name in ("bids", "asks")
        for level in data[name]
    ]


def books(stage: Stage, told: Sequence[str]) -> list[str]:
    return [text for text in told if stage.part.book in text]


async def alone(stage: Stage, name: str, seed: int = 1) -> tuple[str, list[str]]:
    """The one message of a book that a fault changed, and what was sent in its place."""
    victim, witness, _ = await stage.harmed(name, seed=seed)
    (was,) = missing(victim, witness) or [next(text for text in witness if text in victim and witness.count(text))]
    return was, missing(witness, victim)


NATIVES = {"OKX": "BTC-USDT-SWAP", "DERIBIT": "BTC-PERPETUAL", "BITMEX": "XBTUSD"}


def key_of(stage: Stage) -> str:
    return f"{stage.server.name}.public.{NATIVES[stage.server.name]}"


# The order of a book's messages.


async def test_a_gap_is_one_lost_message_of_a_book(stage: Stage) -> None:
    victim, witness, _ = await stage.harmed("gap")
    (lost,) = missing(victim, witness)
    assert stage.part.book in lost
    assert missing(witness, victim) == []


async def test_a_duplicate_comes_twice_in_a_row(stage: Stage) -> None:
    victim, witness, _ = await stage.harmed("duplicate")
    (twice,) = missing(witness, victim)
    assert stage.part.book in twice
    at = victim.index(twice)
    assert victim[at : at + 2] == [twice, twice]


async def test_a_reorder_swaps_two_messages_of_a_book(stage: Stage) -> None:
    victim, witness, _ = await stage.harmed("reorder")
    assert sorted(victim) == sorted(witness)
    told, true = books(stage, victim), books(stage, witness)
    assert sum(one != other for one, other in zip(told, true, strict=True)) == 2


async def test_a_regress_repeats_an_old_message(stage: Stage) -> None:
    victim, witness, _ = await stage.harmed("regress")
    (old,) = missing(witness, victim)
    first, again = (at for at, text in enumerate(books(stage, victim)) if text == old)
    assert again - first >= 3


async def test_an_update_comes_before_the_snapshot_that_a_damage_makes_necessary(stage: Stage) -> None:
    injection = await stage.inject("delta before snapshot")
    victim, witness = await stage.told()
    assert len(missing(texts(victim), witness)) == 1
    for message in (*stage.part.leaves, stage.part.asks):
        stage.victim.send(json.dumps(message).encode())
    while "early" not in injection.struck:
        await stage.read(stage.victim, stage.target)
        stage.advance(1)
    early, snapshot = books(stage, texts(await stage.read(stage.victim, stage.target)))[:2]
    assert not re.search('"(?:snapshot|partial)"', early)
    assert re.search('"(?:snapshot|partial)"', snapshot)
    assert 0 < len(levels(early)) < len(levels(snapshot))


async def test_a_book_starts_over_in_mid_stream(stage: Stage) -> None:
    injection = await stage.inject("second snapshot")
    assert injection.count > 0
    first = books(stage, texts(await stage.read(stage.victim, stage.target)))[0]
    if stage.server.name == "OKX":
        data = json.loads(first)["data"][0]
        assert data["seqId"] < data["prevSeqId"]
    else:
        assert re.search('"(?:snapshot|partial)"', first)


# Numbers and levels.


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("name", "value"),
    [("negative price", -1.0), ("zero price", 0.0), ("negative size", -0.5), ("infinity", math.inf), ("1e400", math.inf)],
)
async def test_a_bad_number_stands_in_one_level(stage: Stage, name: str, value: float, seed: int) -> None:
    was, (now,) = await alone(stage, name, seed)
    pairs = zip(levels(was), levels(now), strict=True)
    if '"action":"delete"' in now and '"size":' in now:
        return  # a level that goes has no size, and is told one
    ((old, new),) = [pair for pair in pairs if pair[0] != pair[1]]
    bad = new.price if new.price != old.price else new.size
    assert abs(bad) == abs(value)


async def test_a_crossing_bid_is_far_above_an_ask(stage: Stage) -> None:
    victim, witness, _ = await stage.harmed("crossed")
    before = {row for text in books(stage, witness) for row in levels(text)}
    (bid,) = [row for text in missing(witness, victim) for row in levels(text) if row not in before]
    assert bid.bid
    assert bid.size > 0
    assert bid.price > 1.01 * stage.server.world.books[key_of(stage)].touch[2] * stage.server.world.listings[key_of(stage)].tick


@pytest.mark.parametrize(("name", "ticks"), [("locked for a moment", 0), ("crossed for a moment", 3)])
async def test_a_bid_is_placed_at_or_above_the_ask_and_taken_back(stage: Stage, name: str, ticks: int) -> None:
    victim, witness, _ = await stage.harmed(name)
    true = {row for text in books(stage, witness) for row in levels(text)}
    extra = [row for text in books(stage, victim) for row in levels(text) if row not in true]
    assert extra[0].bid
    assert extra[0].size > 0
    assert len(extra) == 1 or (extra[1].price, extra[1].size) == (extra[0].price, 0.0)
    listing = stage.server.world.listings[key_of(stage)]
    placed = round(extra[0].price / listing.tick)
    asks = [row.price for text in books(stage, victim) for row in levels(text) if not row.bid and row.size > 0]
    assert placed - ticks in {round(price / listing.tick) for price in asks} or min(asks) <= extra[0].price


@pytest.mark.parametrize(("name", "bid"), [("bids ten times as high", True), ("asks ten times as high", False)])
async def test_one_sides_prices_are_ten_times_as_high(stage: Stage, name: str, bid: bool) -> None:
    was, (now,) = await alone(stage, name)
    for old, new in zip(levels(was), levels(now), strict=True):
        assert new.price == pytest.approx(old.price * (10 if old.bid is bid and old.size else 1))
        assert (new.bid, new.size) == (old.bid, old.size)


async def test_a_wrong_size_is_plausible_and_alone(stage: Stage) -> None:
    was, (now,) = await alone(stage, "wrong size")
    ((old, new),) = [pair for pair in zip(levels(was), levels(now), strict=True) if pair[0] != pair[1]]
    assert (new.bid, new.price) == (old.bid, old.price)
    assert new.size == pytest.approx(3 * old.size)


async def test_a_lost_level_is_lost_alone(stage: Stage) -> None:
    was, (now,) = await alone(stage, "level lost")
    assert len(levels(was)) == len(levels(now)) + 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_wrong_type_and_a_missing_field_change_one_message(stage: Stage, seed: int) -> None:
    for name in ("wrong type", "field missing", "deep nesting"):
        was, (now,) = await alone(stage, name, seed)
        assert stage.part.book in was
        assert now != was


async def test_an_id_that_nobody_has_heard_of_is_changed() -> None:
    async with staged("bitmex") as stage:
        was, (now,) = await alone(stage, "unknown id")
        before, after = json.loads(was), json.loads(now)
        assert after["action"] in ("update", "delete")
        assert after["data"][0] != before["data"][0]
        assert after["data"][0]["id"] not in {
            row["id"] for text in books(stage, stage.before) for row in json.loads(text)["data"]
        }


async def test_the_first_message_of_a_book_never_comes_and_what_follows_does() -> None:
    async with staged("okx") as stage:
        injection = await stage.inject("no snapshot in band")
        await stage.told()
        for message in (*stage.part.leaves, stage.part.asks):
            stage.victim.send(json.dumps(message).encode())
        while "withheld" not in injection.struck:
            await stage.read(stage.victim, stage.target)
        stage.advance(20)
        told = books(stage, texts(await stage.read(stage.victim, stage.target)))
        assert told
        assert not [text for text in told if '"snapshot"' in text]


# Times, the end, answers.


def times(text: str) -> list[str]:
    return re.findall(r'"(?:ts|timestamp|transactTime)":"?([^,"}]+)"?', text)


async def test_times_are_missing_or_zero_while_it_lasts(stage: Stage) -> None:
    victim, witness, _ = await stage.harmed("times missing")
    assert any(map(times, witness))
    assert not any(map(times, victim))
    victim, _, _ = await stage.harmed("times zero")
    zero = "1970-01-01T00:00:00.000Z" if stage.server.name == "BITMEX" else "0"
    assert {at for text in victim for at in times(text)} == {zero}


@pytest.mark.parametrize("kind", ["okx", "deribit"])
async def test_times_are_a_thousand_times_as_high(kind: str) -> None:
    async with staged(kind) as stage:
        victim, witness, _ = await stage.harmed("times in microseconds")
        assert [times(text) for text in victim] == [[f"{at}000" for at in times(text)] for text in witness]


async def test_a_burst_is_twenty_times_everything_but_the_book_and_each_trade_is_new(stage: Stage) -> None:
    victim, witness, _ = await stage.harmed("burst", 200)
    assert books(stage, victim) == books(stage, witness)
    others, more = len(witness) - len(books(stage, witness)), len(victim) - len(books(stage, victim))
    assert others * BURST_TIMES >= more > others * (BURST_TIMES - 6)
    ids = [found for text in victim for found in re.findall(r'"(?:tradeId|trade_id|trdMatchID)":"?([^",]+)', text)]
    assert ids
    assert len(set(ids)) == len(ids)


async def test_the_notice_of_okx_goes_before_the_end() -> None:
    async with staged("okx") as stage:
        injection = await stage.inject("shutdown notice")
        victim, _ = await stage.told(5)
        assert any('"code":"64008"' in text for text in texts(victim))
        lifting = asyncio.create_task(injection.lift())
        for wire in (stage.victim, stage.witness):
            await wire.until(lambda frame: frame.head == CLOSE)
            wire.send(struct.pack("!H", 1001), CLOSE)
        await lifting


REFUSED = {"okx": '"event":"error"', "deribit": '"result":[]', "bitmex": '"status":400'}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("subscription refused", False),
        ("never acknowledged", False),
        ("acknowledged but silent", False),
        ("acknowledgement lost", True),
    ],
)
async def test_a_subscription_is_answered_as_the_fault_says(kind: str, name: str, data: bool) -> None:
    async with staged(kind) as stage:
        injection = await stage.inject(name)
        with pytest.raises(ConnectionResetError):
            await stage.victim.frame()
        wire = await stage.client()
        wire.send(json.dumps(stage.part.asks).encode())
        while not injection.struck.get("answer"):
            await asyncio.sleep(0)
        stage.advance(30)
        told = texts(await stage.read(wire, stage.server.connections[-1]))
        acknowledged = any(stage.part.answered.decode() in text and REFUSED[kind] not in text for text in told)
        assert acknowledged is (name == "acknowledged but silent")
        assert any(REFUSED[kind] in text for text in told) is (name == "subscription refused")
        assert bool(books(stage, told)) is data


async def test_what_deribit_has_refused_does_not_speak_beside_what_is_asked_for_in_its_place() -> None:
    async with staged("deribit") as stage:
        injection = await stage.inject("subscription refused")
        wire = await stage.client()
        wire.send(json.dumps(stage.part.asks).encode())
        while not injection.struck.get("answer"):
            await asyncio.sleep(0)
        await injection.lift()
        stage.advance(30)
        told = texts(await stage.read(wire, stage.server.connections[-1]))
        assert not books(stage, told)


# Lists.

LISTS = {
    "okx": ("/api/v5/public/instruments?instType=SWAP", "data", "instId", "BTC-USDT-SWAP", "tickSz"),
    "deribit": (
        "/api/v2/public/get_instruments?currency=any&kind=future&expired=false",
        "result",
        "instrument_name",
        "BTC-PERPETUAL",
        "tick_size",
    ),
    "bitmex": ("/api/v1/instrument/active", "", "symbol", "XBTUSD", "tickSize"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_delisted_instrument_is_in_no_list_and_says_nothing_and_a_changed_tick_is_in_the_list(kind: str) -> None:
    async with staged(kind) as stage:
        path, where, name, native, tick = LISTS[kind]

        async def listed() -> list[Any]:
            async with aiohttp.ClientSession() as session, session.get(f"http://{stage.server.base}{path}") as answer:
                body = await answer.json()
            return [row for row in (body[where] if where else body) if row[name] == native]

        (before,) = await listed()
        injection = await stage.inject("delisting")
        stage.advance(100)  # of one second lists may be asked for once
        assert await listed() == []
        assert await stage.read(stage.victim, stage.target) == []
        await injection.lift()
        injection = await stage.inject("tick change")
        stage.advance(100)
        (row,) = await listed()
        assert float(row[tick]) == pytest.approx(10 * float(before[tick]))


# What is left out, and why.


def test_what_a_venue_cannot_suffer_is_missing_for_a_reason_that_is_written_down() -> None:
    everywhere = {"rest book", "ranged ids"}  # books of all three begin in band, and no update covers two
    cannot = {
        "okx": everywhere | {"ids"},
        "deribit": everywhere | {"ids", "window", "notice", "rest fallback"},
        "bitmex": everywhere | {"numbered", "window", "notice", "rest fallback", "ms times"},
    }
    for kind, features in cannot.items():
        assert FEATURES.keys() - SERVERS[kind].dialect.features - {"book"} == features
    assert all(FEATURES.values())


def test_a_lost_message_of_a_book_without_numbers_is_nobodys_fault() -> None:
    server = BitmexServer.__new__(BitmexServer)
    hidden = {name for name, fault in FAULTS.items() if fault.hidden(server) and not fault.undetectable}
    assert hidden == {"gap", "reorder", "regress", "one topic muted", "20 MiB message", "deflate bomb", "delisting"}
    assert {FAULTS[name].cure(server) for name in hidden} == {Cure.EITHER}
    numbered = OkxServer.__new__(OkxServer)
    assert not [name for name in hidden if FAULTS[name].hidden(numbered)]
    assert FAULTS["gap"].cure(numbered) is Cure.RESYNC
