"""43 s of Bybit as recorded on 2026-08-09, spot and linear: every book against a replay with `json` and `dict` alone."""

import gzip
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from feeds import symbols
from feeds.health import HealthBoard
from feeds.model import MS, Channel, Funding, Index, Instrument, Kind, Mark, OpenInterest, Stats24h, Stream, Trade
from feeds.venues.bybit import Bybit, BybitSession
from tests.recordings import recording
from tests.unit.test_bybit import Heard

pytestmark = pytest.mark.recordings
VENUE = Bybit()
DEPTH = 200


@cache
def lines() -> list[dict[str, Any]]:
    text = gzip.decompress((recording("bybit-2026-08-09") / "spot-and-linear.jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in text.splitlines()]


@cache
def instruments() -> Mapping[str, Instrument]:
    answers = {}
    for line in lines():
        if line["t"] == "http":
            key = VENUE.catalogue_key(line["url"])
            assert key is not None
            answers[key] = line["data"].encode()
    return {found.id: found for found in VENUE.instruments(answers)}


class Run:
    """One connection of the recording: a session for the streams that were asked for, and its frames in order of time."""

    def __init__(self, conn: str) -> None:
        own = [line for line in lines() if line.get("conn") == conn]
        url = next(line["addr"] for line in own if line["t"] == "connect")
        market = url.rpartition("/")[2]
        topics = [topic for line in own if line["t"] == "send" for topic in json.loads(line["data"])["args"]]
        streams = [stream for topic in topics if (stream := VENUE.stream_of(market, topic, instruments())) is not None]
        self.heard, self.board = Heard(), HealthBoard()
        (plan,) = VENUE.plan(streams, instruments())
        assert plan.url == url
        session = VENUE.session(plan, instruments(), self.heard, self.board)
        assert isinstance(session, BybitSession)
        self.session = session
        frames = [(int(float(line["ts"]) * 1e9), line["data"]) for line in own if line["t"] == "recv"]
        assert frames == sorted(frames, key=lambda frame: frame[0])
        self.frames = frames
        session.opened(frames[0][0])

    def play(self) -> Iterator[dict[str, Any]]:
        """Feed each frame, then hand it out as plain JSON."""
        for now, text in self.frames:
            assert not self.session.frame(text.encode(), now)
            yield json.loads(text)


CONNECTIONS = {"BYBIT.ws.2": "linear", "BYBIT.ws.3": "spot"}


class Plain:
    """A book as the venue documents it: two dicts."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def take(self, message: dict[str, Any]) -> None:
        if message["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        for side, levels in ((self.bids, message["data"]["b"]), (self.asks, message["data"]["a"])):
            for price, size in levels:
                if float(size):
                    side[float(price)] = float(size)
                else:
                    side.pop(float(price), None)

    def levels(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        return sorted(self.bids.items(), reverse=True)[:DEPTH], sorted(self.asks.items())[:DEPTH]


def ids(market: str) -> dict[str, Instrument]:
    return {each.native: each for each in instruments().values() if each.market == market}


def test_every_recorded_update_follows_and_every_hundredth_book_is_right() -> None:
    updates = compared = snapshots = 0
    for conn, market in CONNECTIONS.items():
        run, native, plain = Run(conn), ids(market), dict[str, Plain]()
        for message in run.play():
            if not message.get("topic", "").startswith("orderbook"):
                continue
            symbol = message["data"]["s"]
            plain.setdefault(symbol, Plain()).take(message)
            book = run.session.books[native[symbol].id]
            bids, asks = plain[symbol].levels()
            assert book.published
            assert ((book.bid, book.bid_size), (book.ask, book.ask_size)) == (bids[0], asks[0])
            assert (book.seq, book.venue_ns) == (message["data"]["seq"], message["ts"] * MS)
            snapshots += message["type"] == "snapshot"
            updates += message["type"] == "delta"
            if message["type"] == "delta" and not updates % 100:
                compared += 1
                assert book.levels(10 * DEPTH) == (bids, asks)
        for symbol, expected in plain.items():
            assert run.session.books[native[symbol].id].levels(10 * DEPTH) == expected.levels()
        for stream, health in run.board.streams.items():
            assert (health.gaps, health.resyncs, health.quarantined, health.ignored) == (0, 0, 0, 0), stream
    assert (updates, snapshots, compared) == (2142, 6, 21)


def test_every_recorded_trade_arrives_with_its_takers_side() -> None:
    trades = 0
    for conn, market in CONNECTIONS.items():
        run, native = Run(conn), ids(market)
        told = run.heard.trades
        for message in run.play():
            if message.get("topic", "").startswith("publicTrade"):
                rows = message["data"]
                assert told == [
                    (
                        native[row["s"]],
                        Trade(float(row["p"]), float(row["v"]), row["S"].lower(), row["T"] * MS, row["i"], row["BT"]),
                    )
                    for row in rows
                ]
                trades += len(rows)
                told.clear()
            assert not told
    assert trades == 347


def test_recorded_tickers_merge_into_what_the_venue_last_said() -> None:
    run, native = Run("BYBIT.ws.2"), ids("linear")
    said: dict[str, dict[str, str]] = {}
    told: dict[str, dict[type, Any]] = {}
    for message in run.play():
        topic = message.get("topic", "")
        if topic.startswith("tickers"):
            symbol = message["data"]["symbol"]
            said.setdefault(symbol, {}).update(message["data"])
            for metric in run.heard.metrics:
                assert metric.venue_ns == message["ts"] * MS
                told.setdefault(symbol, {})[type(metric)] = metric
        else:
            assert run.heard.metrics == []
        run.heard.metrics.clear()
    assert sorted(said) == ["BTCUSDT", "DOGEUSDT", "ETHUSDT", "SOLUSDT"]
    for symbol, merged in said.items():
        of = told[symbol]
        assert of[Mark].price == float(merged["markPrice"])
        assert of[Index].price == float(merged["indexPrice"])
        assert of[Funding].rate == float(merged["fundingRate"])
        assert of[Funding].next_ns == int(merged["nextFundingTime"]) * MS
        assert of[Funding].interval_s == 3600 * int(merged["fundingIntervalHour"]) == native[symbol].funding_interval_s
        assert of[OpenInterest].size == float(merged["singleOpenInterest"])
        assert of[Stats24h].base_volume == float(merged["volume24h"])
        assert of[Stats24h].quote_volume == float(merged["turnover24h"])


def test_only_candles_are_ignored_and_acknowledgements_are_no_data() -> None:
    for conn in CONNECTIONS:
        run = Run(conn)
        candles = sum(message.get("topic", "").startswith("kline") for message in run.play())
        assert run.board.ignored == candles > 0
        assert not run.board.said
        total = sum(health.frames for health in run.board.streams.values())
        acknowledged = sum('"op":"subscribe"' in text for _, text in run.frames)
        assert total + candles + acknowledged == len(run.frames)


def test_the_real_instrument_lists_are_read_whole() -> None:
    found = instruments()
    by_market = {market: [each for each in found.values() if each.market == market] for market in ("spot", "linear")}
    assert {market: len(each) for market, each in by_market.items()} == {"spot": 557, "linear": 800}
    assert sum(each.kind is Kind.FUTURE for each in found.values()) == 40
    btc = found["BYBIT:BTC/USDT:USDT"]
    assert (btc.native, btc.tick, btc.lot, btc.min_notional, btc.funding_interval_s) == ("BTCUSDT", 0.1, 0.001, 5.0, 28_800)
    dated = found["BYBIT:BTC/USDT:USDT-261225"]
    assert (dated.native, dated.expiry_ns, dated.funding_interval_s) == ("BTCUSDT-25DEC26", 1798185600000 * MS, 0)
    assert found["BYBIT:BTC/USDC:USDC"].native == "BTCPERP"
    assert {each.funding_interval_s for each in found.values() if each.kind is Kind.PERP} == {3_600, 14_400, 28_800}


def test_the_string_rules_never_contradict_the_real_lists() -> None:
    silent = []
    for found in instruments().values():
        parts = symbols.parse(found.id)
        read = symbols.native_to_parts("BYBIT", found.market, found.native)
        assert read in (None, parts)
        assert symbols.native_name(parts) == found.native
        assert (parts.kind, parts.contract) == (found.kind, found.contract)
        if found.kind is Kind.FUTURE:
            assert symbols.expiry_ns(parts) == found.expiry_ns
        if read is None:
            silent.append(found.native)
    assert silent == ["BTCXUSD"]


def test_the_recorded_requests_cover_what_the_session_would_ask_for() -> None:
    run = Run("BYBIT.ws.3")
    wanted = [Stream(each.id, Channel.BOOK) for each in run.session.instruments.values() if each.native in ("BTCUSDT", "ETHUSDT")]
    recorded = [topic for line in lines() if line["t"] == "send" for topic in json.loads(line["data"])["args"]]
    for send in run.session.subscribe(wanted, ()):
        assert all(topic in recorded for topic in json.loads(send.text)["args"])
