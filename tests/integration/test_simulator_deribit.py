"""The simulated Deribit on a real socket: books against the truth, frames against recorded ones, refusals, credits, heartbeats.
And the program's own adapter on it.

Time is the test's: the market moves when `advance` is called, so every run is the same.
"""

import asyncio
import gzip
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from feeds.live import Live
from feeds.model import (
    MS,
    SECOND,
    BookState,
    Channel,
    Funding,
    Index,
    Instrument,
    Kind,
    LinkState,
    Liquidation,
    Mark,
    Metric,
    Ns,
    OpenInterest,
    Stats24h,
    Status,
    Stream,
    Trade,
)
from feeds.orderbook import OrderBook
from feeds.simulator.deribit import MAKERS_ALONE, MAKERS_TOO, DeribitServer, liquidation
from feeds.simulator.deribit_rest import A_REQUEST, CREDITS, number
from feeds.simulator.maker import Print
from feeds.simulator.market import STEP_NS, Forced, Step, World
from feeds.venue import Endpoint, NoListener
from feeds.venues.deribit import Deribit
from tests.recordings import recording

START_NS = 1_790_757_082 * SECOND
PERP, DATED, SPOT = "BTC-PERPETUAL", "BTC-25DEC26", "BTC_USDC"
Json = dict[str, Any]


class Client:
    """A raw websocket client: what it was sent, parsed."""

    def __init__(self, world: World, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.world = world
        self.ws = ws
        self.asked = 0

    async def ask(self, method: str, **params: object) -> tuple[Json, list[Json]]:
        """A request: its answer, and the notifications before it."""
        self.asked += 1
        return await self.say(json.dumps({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}))

    async def say(self, text: str) -> tuple[Json, list[Json]]:
        await self.ws.send_str(text)
        frames: list[Json] = []
        while True:
            frame = await self.ws.receive_json(timeout=5)
            if "method" not in frame:
                return frame, frames
            frames.append(frame)

    async def subscribe(self, *channels: str) -> list[str]:
        answer, _ = await self.ask("public/subscribe", channels=channels)
        found: list[str] = answer["result"]
        return found

    async def advance(self, steps: int) -> list[Json]:
        """Move the market on; what was sent since the last request, beginnings included."""
        frames: list[Json] = []
        while steps > 0:
            self.world.advance(self.world.now_ns + min(steps, 50) * STEP_NS)
            steps -= 50
            frames += (await self.ask("public/get_time"))[1]
        return frames


@pytest.fixture
async def server() -> AsyncIterator[DeribitServer]:
    made = DeribitServer(World(11, START_NS, ("BTC", "ETH", "SOL"), venues=("DERIBIT",)))
    await made.start()
    yield made
    await made.stop()


async def client(server: DeribitServer, http: aiohttp.ClientSession) -> Client:
    return Client(server.world, await http.ws_connect(f"ws://{server.base}/ws/api/v2"))


def channel_of(frame: Json) -> str:
    found: str = frame["params"]["channel"]
    return found


def data_of(frames: Sequence[Json], begin: str) -> list[Any]:
    """Data of the channels whose names begin so."""
    return [frame["params"]["data"] for frame in frames if channel_of(frame).startswith(begin)]


class NaiveBook:
    """The rule of protocols.md 0.3, and no more."""

    def __init__(self) -> None:
        self.sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self.change_id = -1
        self.kinds: list[str] = []

    def take(self, data: Json) -> None:
        self.kinds.append(data["type"])
        if data["type"] == "snapshot":
            assert "prev_change_id" not in data
            self.sides = ({}, {})
        else:
            assert data["prev_change_id"] == self.change_id < data["change_id"]
        self.change_id = data["change_id"]
        for side, changes in zip(self.sides, (data["bids"], data["asks"]), strict=True):
            for action, price, amount in changes:
                assert (action == "new") == (price not in side)
                if action == "delete":
                    assert amount == 0
                    del side[price]
                else:
                    assert side.get(price) != amount > 0
                    side[price] = amount

    @property
    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        bids, asks = self.sides
        return sorted(bids.items(), reverse=True), sorted(asks.items())


# -- books -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("native", [PERP, DATED, SPOT, "ETH-PERPETUAL", "SOL_USDC-PERPETUAL"])
async def test_a_book_kept_by_the_rule_is_the_truth_of_its_ms_after_each_update(
    server: DeribitServer, http: aiohttp.ClientSession, native: str
) -> None:
    reader, book = await client(server, http), NaiveBook()
    truth = server.world.books[f"DERIBIT.public.{native}"]
    assert await reader.subscribe(f"book.{native}.100ms") == [f"book.{native}.100ms"]
    for data in data_of(await reader.advance(600), "book."):
        book.take(data)
        seq = truth.state_at(data["timestamp"])
        assert seq == book.change_id
        assert book.levels == truth.truth(seq)
    assert book.kinds[0] == "snapshot"
    assert set(book.kinds[1:]) == {"change"}
    assert 50 < len(book.kinds) <= 121
    assert len(book.levels[0]) > 100


async def test_a_ms_in_which_nothing_came_to_be_names_no_state(server: DeribitServer) -> None:
    book = server.world.books[f"DERIBIT.public.{PERP}"]
    server.world.advance(START_NS + SECOND)
    now_ms = book.time_of(book.seq) // MS
    assert book.state_at(now_ms) == book.seq
    for at_ms in (now_ms - 1, now_ms + 1, 0, START_NS // MS - 20):
        with pytest.raises(KeyError):
            book.state_at(at_ms)


async def test_what_came_and_went_between_two_messages_is_not_told(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe(f"book.{SPOT}.100ms")
    (feed,) = server._feeds.values()
    book = feed.book  # type: ignore[attr-defined]
    bid, lots, _, _ = book.touch
    for there in (lots + 5, lots):
        book.set_bid(bid, there)
        book.commit(server.world.now_ns + STEP_NS)
    step = Step(5, server.world.now_ns + STEP_NS, [], [], False)
    before = book.seq
    assert feed.next(step) is None
    book.set_bid(bid, lots + 7)
    book.commit(server.world.now_ns + 2 * STEP_NS)
    told = json.loads(feed.next(step) or "")["params"]["data"]
    assert [action for action, _, _ in told["bids"]] == ["change"]
    assert told["prev_change_id"] < before < told["change_id"], "the chain goes on from what was told, not from what was seen"


async def test_a_second_subscriber_joins_a_running_count_without_disturbing_the_first(
    server: DeribitServer, http: aiohttp.ClientSession
) -> None:
    first, second = await client(server, http), await client(server, http)
    books = NaiveBook(), NaiveBook()
    await first.subscribe(f"book.{PERP}.100ms")
    heard = await first.advance(33)
    await second.subscribe(f"book.{PERP}.100ms")
    heard += await first.advance(50)
    for book, frames in zip(books, (heard, (await second.ask("public/test"))[1]), strict=True):
        for data in data_of(frames, "book."):
            book.take(data)
    assert books[0].levels == books[1].levels
    assert books[0].change_id == books[1].change_id


@pytest.mark.parametrize("channel", [f"book.{PERP}.100ms", f"book.{PERP}.none.10.100ms", f"quote.{PERP}"])
async def test_after_a_pause_without_readers_a_channel_does_not_begin_with_old_levels(
    server: DeribitServer, http: aiohttp.ClientSession, channel: str
) -> None:
    reader = await client(server, http)
    await reader.subscribe(channel)
    assert (await reader.ask("public/unsubscribe", channels=[channel, "quote.ETH-PERPETUAL"]))[0]["result"] == [channel]
    assert await reader.advance(200) == []
    await reader.subscribe(channel)
    (begun,) = data_of((await reader.ask("public/test"))[1], "")
    book = server.world.books[f"DERIBIT.public.{PERP}"]
    assert book.state_at(begun["timestamp"]) == book.seq


async def test_a_snapshot_in_mid_stream_is_what_the_count_goes_on_from(
    server: DeribitServer, http: aiohttp.ClientSession
) -> None:
    reader, book = await client(server, http), NaiveBook()
    await reader.subscribe(f"book.{PERP}.100ms")
    frames = await reader.advance(23)
    assert server.restart("public", PERP) == 1
    for data in data_of(frames + await reader.advance(40), "book."):
        book.take(data)
    assert book.kinds.count("snapshot") == 2
    assert book.levels == server.world.truth(f"DERIBIT.public.{PERP}", book.change_id)


@pytest.mark.parametrize("depth", [1, 10, 20])
async def test_a_grouped_book_is_its_best_levels_whole_each_time(
    server: DeribitServer, http: aiohttp.ClientSession, depth: int
) -> None:
    reader = await client(server, http)
    truth = server.world.books[f"DERIBIT.public.{PERP}"]
    await reader.subscribe(f"book.{PERP}.none.{depth}.100ms")
    told = data_of(await reader.advance(200), "book.")
    assert len(told) > 10
    for data in told:
        seq = truth.state_at(data["timestamp"])
        assert seq == data["change_id"]
        assert tuple([tuple(level) for level in data[side]] for side in ("bids", "asks")) == truth.truth(seq, depth)
    assert all(news(one) != news(other) for one, other in itertools.pairwise(told))


def news(data: Json) -> Json:
    """What a message says besides when, and its number."""
    return {name: value for name, value in data.items() if name not in ("timestamp", "change_id")}


async def test_every_best_quote_is_that_of_its_ms(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    truth = server.world.books[f"DERIBIT.public.{PERP}"]
    await reader.subscribe(f"quote.{PERP}")
    told = data_of(await reader.advance(400), "quote.")
    assert len(told) > 40
    for data in told:
        found = tuple(data[f"best_{name}"] for name in ("bid_price", "bid_amount", "ask_price", "ask_amount"))
        assert found == truth.truth_touch(truth.state_at(data["timestamp"]))
    assert all(news(one) != news(other) for one, other in itertools.pairwise(told))


# -- requests --------------------------------------------------------------------------------------------------------------


async def test_what_the_venue_does_not_take_is_silently_missing_from_the_answer(
    server: DeribitServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    good = [f"quote.{PERP}", f"book.{DATED}.agg2", "deribit_price_index.eth_usdt", f"ticker.{SPOT}.100ms"]
    bad = [
        "bogus.channel",
        "book.NOSUCH-PERPETUAL.100ms",
        f"book.{PERP}.50ms",
        f"book.{PERP}.none.5.100ms",
        f"book.{PERP}.25.10.100ms",
        "deribit_price_index.sol_usd",
        "deribit_price_index.usdt_usd",
        f"trades.{SPOT}.100ms",
        "",
    ]
    answer, frames = await reader.ask("public/subscribe", channels=[*bad, *good, good[0]])
    assert frames == [], "the answer comes first"
    assert sorted(answer["result"]) == sorted(good)
    assert list(answer) == ["jsonrpc", "id", "result", "usIn", "usOut", "usDiff", "testnet"]
    assert answer["usIn"] + answer["usDiff"] == answer["usOut"]
    assert {channel_of(frame) for frame in await reader.advance(100)} == set(good)


async def test_a_raw_channel_fails_its_whole_request(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    answer, _ = await reader.ask("public/subscribe", channels=[f"quote.{PERP}", f"book.{PERP}.raw"])
    assert answer["error"] == {"code": 13778, "message": "raw_subscriptions_not_available_for_unauthorized"}
    assert await reader.advance(50) == []


async def test_a_channel_subscribed_to_twice_begins_once_and_all_end_at_once(
    server: DeribitServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    channels = [f"quote.{PERP}", f"book.{PERP}.100ms"]
    await reader.subscribe(*channels)
    assert len((await reader.ask("public/test"))[1]) == 2
    assert sorted(await reader.subscribe(*channels)) == sorted(channels)
    assert (await reader.ask("public/test"))[1] == []
    assert (await reader.ask("public/unsubscribe_all"))[0]["result"] == "ok"
    assert await reader.advance(50) == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("hello", {"code": -32700, "message": "Parse error"}),
        ("[" * 5_000, {"code": -32700, "message": "Parse error"}),
        ("[]", {"code": -32600, "message": "Invalid Request"}),
        ('{"method":5}', {"code": -32600, "message": "Invalid Request"}),
        ('{"method":"public/test","params":[]}', {"code": -32600, "message": "Invalid Request"}),
        ('{"method":"public/nope"}', {"code": -32601, "message": "Method not found"}),
        ('{"method":"private/buy"}', {"code": 13009, "data": {"reason": "invalid_token"}, "message": "unauthorized"}),
        (
            '{"method":"public/set_heartbeat","params":{"interval":5}}',
            {"code": -32602, "data": {"reason": "value must be >= 10", "param": "interval"}, "message": "Invalid params"},
        ),
        (
            '{"method":"public/set_heartbeat","params":{"interval":"x"}}',
            {"code": -32602, "data": {"reason": "must be a number", "param": "interval"}, "message": "Invalid params"},
        ),
        (
            '{"method":"public/subscribe","params":{"channels":[7]}}',
            {"code": -32602, "data": {"reason": "must be a non-empty list", "param": "channels"}, "message": "Invalid params"},
        ),
        (
            '{"method":"public/hello"}',
            {"code": -32602, "data": {"reason": "value required", "param": "client_name"}, "message": "Invalid params"},
        ),
    ],
)
async def test_nonsense_is_answered_with_its_error_and_closes_nothing(
    server: DeribitServer, http: aiohttp.ClientSession, text: str, error: Json
) -> None:
    reader = await client(server, http)
    answer, _ = await reader.say(text)
    assert answer["error"] == error
    assert "id" not in answer
    assert (await reader.ask("public/hello", client_name="x", client_version="1"))[0]["result"] == {"version": "1.2.26"}


async def test_an_id_is_echoed_as_it_was_written(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    for written in ("abc", 7):
        answer, _ = await reader.say(json.dumps({"jsonrpc": "2.0", "id": written, "method": "public/test", "params": {}}))
        assert answer["id"] == written


async def test_time_follows_the_venues_own_clock(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    server.clock_offset_ns = 7 * SECOND
    answer, _ = await reader.ask("public/get_time")
    assert answer["result"] * MS == server.world.now_ns + 7 * SECOND
    assert answer["usIn"] * 1_000 == server.world.now_ns + 7 * SECOND
    await reader.subscribe(f"quote.{PERP}")
    ((quote,), at_ms) = (data_of((await reader.ask("public/test"))[1], ""), (START_NS + 7 * SECOND) // MS)
    assert quote["timestamp"] == at_ms


# -- heartbeats and credits ------------------------------------------------------------------------------------------------


async def beats(reader: Client) -> list[str]:
    """What the server said of itself in half a minute, in which the client says nothing."""
    reader.world.advance(reader.world.now_ns + 31 * SECOND)
    frame = await reader.ws.receive(timeout=5)
    return [json.loads(frame.data)["params"]["type"]] if frame.type is aiohttp.WSMsgType.TEXT else ["closed"]


async def test_a_client_that_does_not_answer_a_test_request_is_cut_off(
    server: DeribitServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    assert (await reader.ask("public/set_heartbeat", interval=30))[0]["result"] == "ok"
    assert await beats(reader) == ["test_request"]
    assert (await reader.ask("public/test"))[0]["result"] == {"version": "1.2.26"}
    assert await beats(reader) == ["heartbeat"], "it has just spoken"
    assert await beats(reader) == ["test_request"]
    await reader.ask("public/get_time")
    assert await beats(reader) == ["closed"], "only public/test is an answer"


async def test_without_heartbeats_nobody_is_asked(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.ask("public/set_heartbeat", interval=10)
    assert (await reader.ask("public/disable_heartbeat"))[0]["result"] == "ok"
    for _ in range(3):
        server.world.advance(server.world.now_ns + 31 * SECOND)
    assert (await reader.ask("public/test"))[1] == []


async def test_who_spends_more_than_its_credits_is_told_so_and_cut_off(
    server: DeribitServer, http: aiohttp.ClientSession
) -> None:
    reader = await client(server, http)
    for _ in range(10):
        await reader.subscribe(f"quote.{PERP}")
    answer, _ = await reader.ask("public/subscribe", channels=[f"quote.{DATED}"])
    assert answer["error"] == {"code": 10028, "message": "too_many_requests"}
    assert (await reader.ws.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
    server.world.advance(server.world.now_ns + 300 * MS)
    again = await client(server, http)
    assert await again.subscribe(f"quote.{DATED}") == [f"quote.{DATED}"], "credits come back"


async def test_credits_are_shared_by_all_who_ask_over_http(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    url = f"http://{server.base}/api/v2/public/get_time"
    for _ in range(CREDITS // A_REQUEST):
        server.answers.spend("public/get_time")
    async with http.get(url) as answer:
        assert answer.status == 429
        assert (await answer.json())["error"]["code"] == 10028
    server.world.advance(server.world.now_ns + SECOND)
    async with http.get(url) as answer:
        assert (answer.status, (await answer.json())["result"]) == (200, server.world.now_ns // MS)


async def test_a_reader_who_does_not_read_is_cut_off(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe(*(f"book.{native}.100ms" for native in server.listings))
    server.connections[0].outbox_bytes = 1 << 16
    reader.ws._response.connection.transport.pause_reading()  # type: ignore[union-attr]
    for _ in range(400):
        if not server.connections or not server.connections[0].alive:
            break
        for native in server.listings:
            server.restart("public", native)
        server.world.advance(server.world.now_ns + 5 * STEP_NS)
    assert server.too_slow == 1


# -- trades ----------------------------------------------------------------------------------------------------------------


async def test_every_trade_is_told_once_an_interval_in_one_message(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    natives = (PERP, "SOL_USDC-PERPETUAL")
    await reader.subscribe(*(f"trades.{native}.100ms" for native in natives))
    prints: list[Print] = []
    server.world.subscribe(lambda step: prints.extend(step.prints))
    messages = data_of(await reader.advance(500), "trades.")
    assert max(map(len, messages)) > 1
    told = [fill for fills in messages for fill in fills]
    for native in natives:
        own = [fill for fill in told if fill["instrument_name"] == native]
        listing = server.listings[native]
        made = [each for each in prints if each.key == listing.key]
        assert [(fill["price"], fill["amount"], fill["direction"], fill["timestamp"]) for fill in own] == [
            (
                float(listing.price_text(each.ticks)),
                float(listing.size_text(each.lots)),
                "buy" if each.buy else "sell",
                each.now_ns // MS,
            )
            for each in made
        ]
        assert {later["trade_seq"] - fill["trade_seq"] for fill, later in itertools.pairwise(own)} == {1}
        sizes = {"BTC": 10.0, "SOL": 0.1}
        assert all(fill["contracts"] * sizes[listing.base] == pytest.approx(fill["amount"]) for fill in own)


@pytest.mark.parametrize(
    ("number_of", "forced", "flag"),
    [(1, True, "T"), (MAKERS_TOO, True, "MT"), (1, False, ""), (MAKERS_ALONE, False, "M")],
)
async def test_a_trade_says_whose_position_it_closed_by_force(
    server: DeribitServer, http: aiohttp.ClientSession, number_of: int, forced: bool, flag: str
) -> None:
    reader = await client(server, http)
    await reader.subscribe(f"trades.{PERP}.100ms", f"trades.{DATED}.100ms")
    made = [
        Print(server.listings[native].key, number_of, 160_000, 7, True, server.world.now_ns, forced) for native in (PERP, DATED)
    ]
    server.on_step(Step(5, server.world.now_ns, made, [], False))
    server.connections[0].flush()
    ((perp,), (dated,)) = data_of((await reader.ask("public/test"))[1], "trades.")
    assert perp.get("liquidation", "") == flag
    assert "liquidation" not in dated


async def test_trades_of_before_a_subscription_are_not_told_with_it(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe(f"trades.{DATED}.100ms")
    made = Print(server.listings[DATED].key, 1, 33_000, 7, True, server.world.now_ns)
    server.on_step(Step(3, server.world.now_ns, [made], [], False))
    await reader.ask("public/unsubscribe_all")
    await reader.advance(10)
    await reader.subscribe(f"trades.{DATED}.100ms")
    told = data_of(await reader.advance(10), "trades.")
    assert made.number not in [fill["trade_seq"] for fills in told for fill in fills]


async def test_a_ticker_is_told_when_something_has_changed(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe(f"ticker.{DATED}.100ms")
    assert 10 < len(data_of(await reader.advance(500), "ticker.")) < 80, "a hundred intervals, of which many bring nothing"


# -- frames against recorded ones ------------------------------------------------------------------------------------------

FIXTURES: Mapping[str, Sequence[str]] = {
    f"book.{PERP}.100ms": (
        (
            '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"timestamp":1789344931302,'
            '"type":"snapshot","change_id":118850968930,"instrument_name":"BTC-PERPETUAL","bids":[["new",76914.0,1000200.0],'
            '["new",76909.0,4040.0]],"asks":[["new",76914.5,999990.0]]}}}'
        ),
        (
            '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.100ms","data":{"timestamp":1789344931639,'
            '"type":"change","change_id":118850969743,"instrument_name":"BTC-PERPETUAL","bids":[["change",76914.0,1.0002e6],'
            '["new",76899.0,10.0],["delete",76893.0,0.0]],"asks":[["delete",77027.5,0.0]],"prev_change_id":118850968930}}}'
        ),
    ),
    f"book.{PERP}.none.10.100ms": (
        (
            '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BTC-PERPETUAL.none.10.100ms","data":{"timestamp":'
            '1789344931549,"change_id":118850969613,"instrument_name":"BTC-PERPETUAL","bids":[[76914.0,1.0002e6],[76909.0,4040.0]],'
            '"asks":[[76914.5,999990.0],[76917.5,8450.0]]}}}'
        ),
    ),
    f"quote.{PERP}": (
        (
            '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"quote.BTC-PERPETUAL","data":{"timestamp":1765541767174,'
            '"instrument_name":"BTC-PERPETUAL","best_ask_price":92288.5,"best_bid_price":92288.0,"best_ask_amount":99470.0,'
            '"best_bid_amount":133440.0}}}'
        ),
    ),
    f"trades.{PERP}.100ms": (
        (
            '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms","data":[{"timestamp":'
            '1789344933994,"price":76917.5,"amount":8450.0,"direction":"buy","index_price":76906.67,"instrument_name":"BTC-PERPETUAL",'
            '"trade_seq":140284854,"mark_price":76917.12,"tick_direction":0,"starbase_match_id":225046781992378368,"trade_id":'
            '"267258393","contracts":845.0,"starbase_timestamp":1789344933994718924}]}}'
        ),
    ),
    f"ticker.{PERP}.100ms": (
        (
            '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-PERPETUAL.100ms","data":{"timestamp":1790755218559,'
            '"state":"open","stats":{"high":84548.5,"low":82900.5,"price_change":-0.8525,"volume":9341.40027576,"volume_usd":'
            '781497780.0,"volume_notional":781497780.0},"index_price":83251.03,"instrument_name":"BTC-PERPETUAL","last_price":83216.0,'
            '"settlement_price":83223.11,"min_price":81963.5,"max_price":84460.5,"open_interest":797578130,"mark_price":83212.14,'
            '"interest_value":-4.467407940520975e-5,"current_funding":-2.1714e-4,"estimated_delivery_price":83251.03,"funding_8h":'
            '-3.1e-6,"best_ask_price":83212.5,"best_bid_price":83212.0,"best_ask_amount":261910.0,"best_bid_amount":71750.0}}}'
        ),
    ),
    f"ticker.{DATED}.100ms": (
        (
            '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-25DEC26.100ms","data":{"timestamp":1790755218589,'
            '"state":"open","stats":{"high":8.55e4,"low":83950.0,"price_change":-0.8593,"volume":26.06185762,"volume_usd":2201640.0,'
            '"volume_notional":2201640.0},"index_price":83251.03,"instrument_name":"BTC-25DEC26","last_price":84225.0,'
            '"settlement_price":84233.38,"min_price":82957.5,"max_price":85487.5,"open_interest":311779840,"mark_price":84222.65,'
            '"estimated_delivery_price":83251.03,"best_ask_price":84227.5,"best_bid_price":84225.0,"best_ask_amount":53160.0,'
            '"best_bid_amount":4530.0}}}'
        ),
    ),
    f"ticker.{SPOT}.100ms": (
        # a recorded answer about the book, without its levels: 2026-10-08
        (
            '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC_USDC.100ms","data":{"timestamp":1791434519816,'
            '"state":"open","stats":{"high":84365.25,"low":82161.31,"price_change":-1.9132,"volume":7075.57926735},"index_price":82471.6,'
            '"instrument_name":"BTC_USDC","last_price":82500.0,"min_price":80822.16,"max_price":84121.04,"mark_price":82471.6,'
            '"best_ask_price":82457.67,"best_bid_price":82457.66,"best_ask_amount":0.30284909,"best_bid_amount":4.923e-05}}}'
        ),
    ),
    "deribit_price_index.btc_usd": (
        (
            '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"deribit_price_index.btc_usd","data":{"timestamp":1535098298227,'
            '"price":6521.17,"index_name":"btc_usd"}}}'
        ),
    ),
}
"""Recorded frames: protocols.md 4.4 and the venue's documents; that of spot was published."""


def layout(value: object) -> object:
    """Keys in their order, and what kind of value stands at each; a list is one of its items."""
    if isinstance(value, dict):
        return [(key, layout(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [layout(item) for item in value[:1]] if value and not isinstance(value[0], str) else ["level"]
    return type(value).__name__


def without_sides(frame: Json) -> Json:
    """A side of a change may be empty: what its levels look like the naive books have read already."""
    data = frame["params"]["data"]
    return {**frame["params"], "data": {**data, "bids": 0, "asks": 0} if "bids" in data else data}


@pytest.mark.parametrize("channel", FIXTURES)
async def test_frames_have_the_keys_their_order_and_the_types_of_recorded_ones(
    server: DeribitServer, http: aiohttp.ClientSession, channel: str
) -> None:
    reader = await client(server, http)
    await reader.subscribe(channel)
    frames = await reader.advance(150)
    for recorded in map(json.loads, FIXTURES[channel]):
        kind = recorded["params"]["data"]["type"] if channel.endswith(f"{PERP}.100ms") and "book" in channel else None
        made = [frame for frame in frames if kind is None or frame["params"]["data"]["type"] == kind]
        assert len(made) >= 1
        for frame in made:
            flagged = json.loads(json.dumps(frame))
            if isinstance(flagged["params"]["data"], list):
                for fill in flagged["params"]["data"]:
                    fill.pop("liquidation", None)
            assert list(flagged) == list(recorded)
            assert layout(without_sides(flagged)) == layout(without_sides(recorded))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1000200.0, "1.0002e6"),
        (999990.0, "999990.0"),
        (1000.0, "1.0e3"),
        (6180.0, "6180.0"),
        (200.0, "200.0"),
        (10.0, "10.0"),
        (85500.0, "8.55e4"),
        (83950.0, "83950.0"),
        (781497780.0, "781497780.0"),
        (-0.00021714, "-2.1714e-4"),
        (-4.467407940520975e-05, "-4.467407940520975e-5"),
        (0.000031, "3.1e-5"),
        (0.0945, "0.0945"),
        (-0.8525, "-0.8525"),
        (0.0, "0.0"),
    ],
)
def test_numbers_are_written_as_the_venue_writes_them(value: float, text: str) -> None:
    assert number(value) == text
    assert json.loads(text) == value


NOT_OF_THEN: Mapping[str, set[str]] = {
    "ticker": {
        ".stats.volume_usd",  # recorded since
        ".stats.volume_notional",
        ".current_funding",  # the recorded ones are of options
        ".funding_8h",
        ".interest_value",
    },
    "book": set(),
}
"""What simulated frames have and those recorded in 2021 have not."""
OF_OPTIONS = {
    f".{name}" for name in ("ask_iv", "bid_iv", "mark_iv", "greeks", "interest_rate", "underlying_index", "underlying_price")
}
"""What only those of options have."""


def keys(value: object, path: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {path}
    return set().union(*(keys(item, f"{path}.{key}") for key, item in value.items()))


@pytest.mark.recordings
async def test_frames_have_the_keys_of_the_recording(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    text = gzip.decompress((recording("deribit-2021-07-22") / "options.jsonl.gz").read_bytes()).decode()
    recorded: dict[str, set[str]] = {}
    for line in map(json.loads, text.splitlines()):
        frame = json.loads(line["data"]) if line["t"] == "recv" else {}
        if frame.get("method") == "subscription":
            kind = channel_of(frame).partition(".")[0]
            recorded.setdefault(kind, set()).update(keys(frame["params"]["data"]))
    reader = await client(server, http)
    await reader.subscribe(f"ticker.{PERP}.100ms", f"book.{PERP}.100ms")
    made: dict[str, set[str]] = {}
    for frame in await reader.advance(100):
        made.setdefault(channel_of(frame).partition(".")[0], set()).update(keys(frame["params"]["data"]))
    assert made.keys() == NOT_OF_THEN.keys()
    for kind, found in made.items():
        assert found - recorded[kind] == NOT_OF_THEN[kind], kind
        assert {key for key in recorded[kind] - found if not key.startswith(tuple(OF_OPTIONS))} == set(), kind


# -- lists -----------------------------------------------------------------------------------------------------------------

FUTURE_KEYS = [
    "min_trade_amount",
    "block_trade_tick_size",
    "underlying_type",
    "instrument_id",
    "is_active",
    "price_index",
    "state",
    "base_currency_uuid",
    "block_trade_min_trade_amount",
    "taker_commission",
    "max_leverage",
    "base_currency",
    "settlement_currency",
    "contract_size",
    "kind",
    "max_non_default_leverage",
    "quote_currency_uuid",
    "future_type",
    "tick_size_steps",
    "expiration_timestamp",
    "instrument_name",
    "block_trade_commission",
    "creation_timestamp",
    "settlement_period",
    "index_id",
    "product_group",
    "max_liquidation_commission",
    "instrument_type",
    "counter_currency",
    "tick_size",
    "maker_commission",
    "quote_currency",
    "lot_size",
]
OPTION_KEYS = [
    "state",
    "price_index",
    "kind",
    "instrument_name",
    "maker_commission",
    "taker_commission",
    "instrument_type",
    "underlying_type",
    "expiration_timestamp",
    "instrument_id",
    "product_group",
    "creation_timestamp",
    "is_active",
    "contract_size",
    "tick_size",
    "strike",
    "counter_currency",
    "option_type",
    "min_trade_amount",
    "block_trade_commission",
    "block_trade_min_trade_amount",
    "block_trade_tick_size",
    "settlement_currency",
    "settlement_period",
    "base_currency",
    "index_id",
    "quote_currency",
    "tick_size_steps",
    "lot_size",
    "base_currency_uuid",
    "quote_currency_uuid",
]
"""As recorded in September 2026."""


async def listed(server: DeribitServer, http: aiohttp.ClientSession, query: str) -> list[Json]:
    async with http.get(f"http://{server.base}/api/v2/public/get_instruments?{query}") as answer:
        assert answer.status == 200
        body = await answer.json()
    assert list(body) == ["jsonrpc", "result", "usIn", "usOut", "usDiff", "testnet"]
    found: list[Json] = body["result"]
    return found


async def test_lists_hold_each_kind_with_its_fields(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    futures = await listed(server, http, "currency=any&kind=future&expired=false")
    assert {row["instrument_name"] for row in futures} == {
        listing.native for listing in server.listings.values() if listing.kind != "spot"
    }
    assert all(list(row) == FUTURE_KEYS for row in futures)
    (perp,) = [row for row in futures if row["instrument_name"] == PERP]
    assert (perp["contract_size"], perp["min_trade_amount"], perp["tick_size"], perp["instrument_type"]) == (
        10,
        10,
        0.5,
        "reversed",
    )
    options = await listed(server, http, "currency=BTC&kind=option")
    assert options
    assert all(list(row) == OPTION_KEYS for row in options)
    spot = await listed(server, http, "currency=any&kind=spot")
    assert {row["instrument_name"] for row in spot} == {"BTC_USDC", "ETH_USDC", "SOL_USDC"}
    assert all(row["is_csr"] is row["is_cbe_routed"] is True for row in spot)
    assert not any(name.startswith("block_trade") for row in spot for name in row)


async def test_a_list_is_of_what_was_asked_for(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    names = {row["instrument_name"] for row in await listed(server, http, "currency=BTC")}
    assert {PERP, DATED, SPOT} < names
    assert "ETH-PERPETUAL" not in names
    assert any(name.endswith("-C") for name in names)
    assert {row["instrument_name"] for row in await listed(server, http, "currency=USDC&kind=future")} == {"SOL_USDC-PERPETUAL"}
    assert await listed(server, http, "currency=any&expired=true") == []


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("get_instruments?currency=DOGE", 400, -32602),
        ("get_instruments?currency=any&kind=bogus", 400, -32602),
        ("get_instruments", 400, -32602),
        ("ticker?instrument_name=NOSUCH", 400, -32602),
        ("nope", 400, -32601),
    ],
)
async def test_over_http_an_error_has_its_status_and_its_code(
    server: DeribitServer, http: aiohttp.ClientSession, path: str, status: int, code: int
) -> None:
    async with http.get(f"http://{server.base}/api/v2/public/{path}") as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (status, code)


async def test_a_ticker_says_the_same_over_http_and_over_the_socket(server: DeribitServer, http: aiohttp.ClientSession) -> None:
    reader = await client(server, http)
    await reader.subscribe(f"ticker.{PERP}.100ms")
    (told,) = data_of((await reader.ask("public/test"))[1], "ticker.")
    async with http.get(f"http://{server.base}/api/v2/public/ticker?instrument_name={PERP}") as answer:
        assert (await answer.json())["result"] == told


@pytest.mark.parametrize("name", ["btc_usd", "eth_usdc", "sol_usdt", "usdc_usdt"])
async def test_an_index_is_told_each_second(server: DeribitServer, http: aiohttp.ClientSession, name: str) -> None:
    reader = await client(server, http)
    await reader.subscribe(f"deribit_price_index.{name}")
    base, quote = name.upper().split("_")
    told = data_of(await reader.advance(150), "deribit")
    assert [(data["timestamp"] - START_NS // MS) % 1_000 for data in told] == [0] * 4
    usd = server.world.usd_per
    true = usd["USDC"] / usd["USDT"] if base == "USDC" else server.world.index("DERIBIT", base, quote)
    assert told[-1]["price"] == pytest.approx(true, rel=1e-5)


# -- the adapter -----------------------------------------------------------------------------------------------------------


class Told(NoListener):
    """What the adapter told. Every book and best quote is judged by the true one of its ms."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.books: dict[str, OrderBook] = {}
        self.judged: dict[str, int] = {}
        self.wrong: list[str] = []
        self.metrics: dict[tuple[str, type], Metric] = {}
        self.trades: dict[str, list[Trade]] = {}
        self.closes: list[tuple[str, Liquidation]] = []
        self.statuses: dict[Stream, Status] = {}
        self.fell: list[str] = []

    def on_book(self, book: OrderBook, now: Ns) -> None:
        native = book.instrument.native
        self.books[native] = book
        if not book.published:
            return
        self.judged[native] = self.judged.get(native, 0) + 1
        truth = self.world.books[f"DERIBIT.public.{native}"]
        try:
            seq = truth.state_at(max(book.seq, book.touch_seq))
            if (book.bid, book.bid_size, book.ask, book.ask_size) != truth.truth_touch(seq):
                self.wrong.append(f"touch of {native} at {book.seq}/{book.touch_seq}")
            if not self.judged[native] % 20 and self.levels(native) != truth.truth(truth.state_at(book.seq)):
                self.wrong.append(f"levels of {native} at {book.seq}")
        except KeyError as error:
            self.wrong.append(str(error))

    on_touch = on_book

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        self.statuses[stream] = status
        if stream.channel is Channel.BOOK and status.book is not BookState.SYNCED:
            self.fell.append(status.reason)

    def on_metric(self, instrument: Instrument, metric: Metric, now: Ns) -> None:
        self.metrics[instrument.native, type(metric)] = metric
        if isinstance(metric, Liquidation):
            self.closes.append((instrument.native, metric))

    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None:
        self.trades.setdefault(instrument.native, []).append(trade)

    def levels(self, native: str) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        book = self.books[native]
        return book.bids.levels(10_000), book.asks.levels(10_000)


class Rig:
    """The exchange, and the program's feeds on it."""

    def __init__(self, server: DeribitServer) -> None:
        self.server = server
        self.world = server.world
        self.told = Told(server.world)
        places = {"public": Endpoint(f"http://{server.base}", f"ws://{server.base}")}
        self.live = Live(
            {"DERIBIT": Deribit(places)},
            self.told,
            lambda instruments: [each for each in instruments if each.base == "BTC"],
            markets={"DERIBIT": ("public",)},
            rng=random.Random(1),
        )

    async def move(self, until: Callable[[], bool], by_ns: Ns = 100 * MS) -> None:
        async with asyncio.timeout(20):
            while not until():
                self.world.advance(self.world.now_ns + by_ns)
                await asyncio.sleep(0.001)

    async def rest(self, until: Callable[[], bool]) -> None:
        """Let what is on its way arrive; time stands still."""
        async with asyncio.timeout(20):
            while not until():
                await asyncio.sleep(0.001)

    def synced(self) -> bool:
        books = [status for stream, status in self.told.statuses.items() if stream.channel is Channel.BOOK]
        return len(books) == 3 and all(each == Status(LinkState.READY, BookState.SYNCED, each.reason) for each in books)

    def more(self, updates: int) -> Callable[[], bool]:
        """Until so many more have been judged of each book."""
        wanted = {native: self.told.judged.get(native, 0) + updates for native in (PERP, DATED, SPOT)}
        return lambda: all(self.told.judged.get(native, 0) >= count for native, count in wanted.items())

    def arrived(self) -> bool:
        """Everything that was sent."""
        return sum(link.frames for link in self.live.view().links) == sum(each.sent for each in self.server.connections)


@asynccontextmanager
async def rigged() -> AsyncIterator[Rig]:
    server = DeribitServer(World(5, time.time_ns(), ("BTC",), venues=("DERIBIT",)))
    await server.start()
    rig = Rig(server)
    task = asyncio.create_task(rig.live.run())
    try:
        await rig.move(rig.synced)
        yield rig
    finally:
        rig.live.stop()
        await task
        await server.stop()
    assert rig.live.faults == 0, list(rig.live.hub.health.said)


async def test_the_adapter_keeps_every_book_and_every_figure() -> None:
    async with rigged() as rig:
        told, world = rig.told, rig.world
        await rig.move(rig.more(250))
        assert world.steps % 5 == 0, "whatever has changed has just been told"
        await rig.rest(rig.arrived)
        assert told.wrong == []
        assert set(told.fell) == {""}, "a book fell"
        for native in (PERP, DATED, SPOT):
            truth = world.books[f"DERIBIT.public.{native}"]
            assert told.levels(native) == truth.truth(truth.state_at(told.books[native].seq))
        for native in (PERP, DATED):
            figures, listing = world.figures[f"DERIBIT.public.{native}"], rig.server.listings[native]
            mark, index = told.metrics[native, Mark], told.metrics[native, Index]
            assert isinstance(mark, Mark)
            assert isinstance(index, Index)
            assert (mark.price, index.price) == (round(figures.mark, 2), round(figures.index, 2))
            interest = told.metrics[native, OpenInterest]
            assert isinstance(interest, OpenInterest)
            assert interest.size == figures.open_interest_lots * listing.lot
            stats = told.metrics[native, Stats24h]
            assert isinstance(stats, Stats24h)
            assert (stats.base_volume, stats.quote_volume) == pytest.approx((figures.base_volume, figures.quote_volume))
        funding = told.metrics[PERP, Funding]
        assert isinstance(funding, Funding)
        assert (funding.rate, funding.interval_s) == (round(world.figures[f"DERIBIT.public.{PERP}"].rate, 8), 28_800)
        assert (DATED, Funding) not in told.metrics
        assert (SPOT, Mark) not in told.metrics
        spot = told.metrics[SPOT, Index]
        assert isinstance(spot, Index)
        assert spot.price == round(world.figures[f"DERIBIT.public.{SPOT}"].index, 2)
        assert told.trades.keys() == {PERP, DATED}
        assert rig.live.hub.quarantined == 0


async def test_the_adapter_reads_ticks_lots_and_contracts_from_the_lists() -> None:
    async with rigged() as rig:
        found = {each.native: each for each in rig.live.hub.instruments.values()}
        assert {native: (each.kind, each.tick, each.lot, each.settle) for native, each in found.items()} == {
            PERP: (Kind.PERP, 0.5, 10.0, "BTC"),
            DATED: (Kind.FUTURE, 0.5, 10.0, "BTC"),
            SPOT: (Kind.SPOT, 0.01, 0.0001, ""),
        }
        assert found[DATED].expiry_ns == rig.server.listings[DATED].expiry_ns


async def test_trades_of_a_routed_pair_are_not_asked_for_in_vain() -> None:
    async with rigged() as rig:
        asked = {stream for link in rig.live.links.values() for stream in link.plan.streams}
        spot = next(each.id for each in rig.live.hub.instruments.values() if each.native == SPOT)
        assert {stream.channel for stream in asked if stream.instrument == spot} == {Channel.BOOK, Channel.TOUCH, Channel.TICKER}
        assert all(status.link is LinkState.READY for status in rig.told.statuses.values())
        assert not any("does not take" in text for _, text in rig.live.hub.health.said)


async def test_liquidations_arrive_with_their_trades() -> None:
    async with rigged() as rig:
        forced: list[Forced] = []
        prints: list[Print] = []
        rig.world.subscribe(lambda step: forced.extend(step.forced) or prints.extend(step.prints))  # type: ignore[func-returns-value]
        rig.told.closes.clear()
        await rig.move(lambda: len(forced) > 2 and len(rig.told.closes) > 2)
        listing = rig.server.listings[PERP]
        expected = [
            (position, float(listing.price_text(made.ticks)), float(listing.size_text(made.lots)))
            for made in prints
            if made.key == listing.key
            for position in sides_of(made, liquidation(listing, made))
        ]
        found = [(close.position, close.price, close.size) for native, close in rig.told.closes if native == PERP]
        assert found == expected[: len(found)]
        assert len(found) == len(rig.told.closes)


def sides_of(made: Print, flag: str) -> list[str]:
    """Whose positions a trade closed, spelled out."""
    taker, maker = ("short", "long") if made.buy else ("long", "short")
    return {"": [], "T": [taker], "M": [maker], "MT": [taker, maker]}[flag]


async def test_a_lost_change_is_noticed_and_the_book_begins_anew() -> None:
    async with rigged() as rig:
        (connection,) = rig.server.connections
        lost: list[str] = []

        def lose(topic: str, text: str) -> list[str]:
            if lost or topic != f"book.{PERP}.100ms":
                return [text]
            lost.append(text)
            return []

        connection.filters.append(lose)
        await rig.move(lambda: "gap" in rig.told.fell)
        await rig.move(rig.synced)
        await rig.move(rig.more(30))
        assert rig.told.wrong == []


async def test_a_snapshot_in_mid_stream_disturbs_nobody() -> None:
    async with rigged() as rig:
        assert rig.server.restart("public", PERP) == 1
        await rig.move(rig.more(30))
        assert (rig.told.wrong, set(rig.told.fell)) == ([], {""})


async def test_the_adapter_answers_when_it_is_asked_whether_it_is_there() -> None:
    async with rigged() as rig:
        (connection,) = rig.server.connections
        kept = rig.server.clients[connection]
        for _ in range(3):
            beat_ns = kept.beat_ns
            await rig.move(lambda beat_ns=beat_ns: kept.beat_ns > beat_ns, 10 * SECOND)  # type: ignore[misc]
            await rig.rest(lambda: not kept.tested)
        assert rig.server.connections == [connection]


async def test_a_clock_of_the_venue_that_is_set_back_leaves_no_old_quote_over_the_book() -> None:
    """The truth is asked for by the ms that the venue says, so the judge of this test is only asked while its clock is right."""
    async with rigged() as rig:
        rig.server.clock_offset_ns = 20 * SECOND
        seen: list[int] = []
        await rig.move(lambda: seen.append(1) or len(seen) > 30)  # type: ignore[func-returns-value]
        rig.server.clock_offset_ns = 0
        await rig.rest(lambda: True)
        ahead_ms = rig.told.books[PERP].seq
        await rig.move(lambda: rig.told.books[PERP].seq < ahead_ms)
        rig.told.wrong.clear()
        await rig.move(rig.more(60))
        assert rig.told.wrong == []
