"""The Binance session against a model of the venue's rule on the reference book: under any order of events, and under mutation.

What holds under mutation, exactly: no frame makes the hub raise; and after every frame the book shows what the model shows that
was fed the frames the hub did not quarantine, with the books of quarantined depth frames started over. A flipped digit in a frame
that is still valid cannot be seen without a checksum, and both follow it. As long as no altered depth frame was accepted since
the last snapshot, the levels of both are also the market's truth.
"""

import gzip
import json
import os
import random
import re
from decimal import Decimal
from itertools import pairwise
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from feeds.clock import NEVER
from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.hub import Hub
from feeds.model import MS, SECOND, BookState, Channel, Instrument, Ns, Stream
from feeds.orderbook import OrderBook
from feeds.venue import Action, Fetch, Plan
from feeds.venues.binance import Binance
from tests.market import SeededMarket, instruments, is_snapshot, write_capture_a
from tests.property.test_book_agrees import assert_agree, same
from tests.reference_book import ReferenceBook
from tests.unit.test_binance import NOW, SPOT, USDM, Link, Notes, diff, frame

Levels = list[tuple[float, float]]


class Diff(NamedTuple):
    first: int
    last: int
    previous: int
    bids: Levels
    asks: Levels
    at_ns: Ns


class Model:
    """Binance's rule for one book (protocols 0.3), on the reference book; no states but "has a snapshot" or not.

    With it the rules on silence: a snapshot that nothing follows for 15 s goes, and so does a quote that the book does not
    follow, or the book.
    """

    def __init__(self, *, spot: bool, opened_ns: Ns = 0) -> None:
        self.spot = spot
        self.silent_ns = opened_ns + 15 * SECOND
        self.mute_seq = -1
        self.heard = self.ever = False
        self.depth_ns: Ns = 0
        self.over: tuple[int, Ns] | None = None
        self.through_ns: Ns = 0
        self.book: ReferenceBook | None = None
        self.buffer: list[Diff] = []
        self.gaps = 0
        self.floor = 0
        self.floor_ns: Ns = 0
        self.alone = False
        """A snapshot that no diff has followed yet."""
        self.venue_ns: Ns = 0
        self.crossed_ns: Ns = 0

    @property
    def has_book(self) -> bool:
        return self.book is not None

    def follows(self, event: Diff) -> bool:
        assert self.book is not None
        return event.first == self.book.seq + 1 if self.spot else event.previous == self.book.seq

    def contains(self, event: Diff, last: int) -> bool:
        if self.spot:
            return event.first <= last + 1 <= event.last
        return event.first <= last <= event.last or event.previous == last

    def depth(self, event: Diff, now: Ns) -> None:
        book = self.book
        self.heard = self.ever = True
        self.depth_ns = now
        if book is None:
            self.buffer.append(event)
        elif self.follows(event) or (event.last >= book.seq and self.alone and self.contains(event, book.seq)):
            self.lay(event, now)
        elif event.last > book.seq or (not self.spot and self.alone and event.last == book.seq) or self.fell_back(event):
            self.gaps += 1
            old = event.last < book.seq or (event.last == book.seq and (self.spot or not self.alone))
            self.fall(now)
            if old:
                self.floor = 0
            self.buffer.append(event)

    def fell_back(self, event: Diff) -> bool:
        return bool(self.venue_ns) and event.at_ns > self.venue_ns + SECOND

    def lay(self, event: Diff, now: Ns) -> None:
        assert self.book is not None
        self.book.apply(event.bids, event.asks, event.last)
        self.alone = False
        self.venue_ns = event.at_ns
        self.look(now)

    def touch(self, bid: float, bid_size: float, ask: float, ask_size: float, seq: int, at_ns: Ns, now: Ns) -> None:
        if self.book is not None and self.book.touch(bid, bid_size, ask, ask_size, seq):
            self.venue_ns = at_ns or self.venue_ns
            self.look(now)

    def snapshot(self, last: int, bids: Levels, asks: Levels, at_ns: Ns, now: Ns) -> None:
        if self.book is not None:
            return
        if now >= self.silent_ns and not self.ever:
            if last != self.mute_seq:
                self.mute_seq = last
                return
            self.heard = self.ever = True
        kept = [event for event in self.buffer if event.last >= last + self.spot]
        if last < self.floor and now - self.floor_ns < 10 * SECOND:
            return  # older than what has been shown
        if kept and not self.contains(kept[0], last):
            return
        self.book = ReferenceBook()
        self.book.replace(bids, asks, last)
        self.alone, self.venue_ns = True, at_ns
        self.buffer = []
        for number, event in enumerate(kept):
            if number and not self.follows(event):
                self.gaps += 1
                self.fall(now)
                return
            self.lay(event, now)
        self.look(now)

    def fall(self, now: Ns, lost: bool = False) -> None:
        if self.book is not None:
            self.floor, self.floor_ns = self.book.seq + lost, now
        self.book, self.buffer, self.alone, self.crossed_ns, self.over = None, [], False, 0, None

    def look(self, now: Ns) -> None:
        assert self.book is not None
        self.crossed_ns = (self.crossed_ns or now) if self.book.crossed else 0

    def on_time(self, boundary: Ns) -> None:
        if self.crossed_ns and boundary - self.crossed_ns >= 500 * MS:
            self.fall(boundary)
        if boundary % SECOND == 0:
            self.look_at_quote(boundary)
        if self.book is not None and not self.ever and boundary >= self.silent_ns:
            self.mute_seq = self.book.seq
            self.fall(boundary)

    def look_at_quote(self, now: Ns) -> None:
        book = self.book
        if book is None or book._quote is None or book._quote_seq <= book.seq:
            self.over = None
        elif self.over is None or self.over[0] <= book.seq:
            self.over = book._quote_seq, now
        elif now - self.over[1] >= 2 * SECOND:
            since, self.over = self.over[1], None
            own = [side[0][0] if side else nan for side in (book.bids.levels(), book.asks.levels())]
            shown = [price if price > 0 < size else nan for price, size in (book._quote[:2], book._quote[2:])]
            if all(same(one, other) for one, other in zip(own, shown, strict=True)) or self.depth_ns > since:
                book._quote, book._quote_seq = None, -1
                self.look(now)
            elif self.heard and now - self.through_ns >= 15 * SECOND:
                self.through_ns, self.heard = now, False
                self.fall(now)


def assert_invariants(book: OrderBook, model: Model) -> None:
    """I1, I2, I5 of reliability 7, and the model's touch."""
    if model.book is None or model.book.crossed:
        assert not book.published
        assert book.bid != book.bid
        assert book.ask != book.ask
        assert book.levels(3) == ([], [])
        return
    assert book.published
    assert not book.bid >= book.ask
    (bid, bid_size), (ask, ask_size) = model.book.best()
    assert same(book.bid, bid)
    assert same(book.ask, ask)
    assert (book.bid_size, book.ask_size) == (bid_size, ask_size)
    assert book.seq == model.book.seq


def assert_whole(book: OrderBook, model: Model) -> None:
    assert_invariants(book, model)
    if model.book is not None:
        assert_agree(book, model.book)
        for levels, sign in zip(book.levels(1 << 30), (-1, 1), strict=True):
            assert all(price > 0 and size > 0 for price, size in levels)
            assert levels == sorted(set(levels), key=lambda level: sign * level[0])


# --- any order of events

PRICES = st.integers(min_value=90, max_value=110).map(float)
ROWS = st.lists(st.tuples(PRICES, st.sampled_from([0.0, 1.0, 2.5])), max_size=4)


class SessionAgrees(RuleBasedStateMachine):
    """A venue that numbers its events, and a wire that loses, repeats, delays and spoils them."""

    instrument: Instrument

    def __init__(self) -> None:
        super().__init__()
        self.start()
        self.seq = 100
        self.told = 100  # last number of the last diff that the venue made
        self.old: list[Diff] = []
        self.snapshots: list[tuple[int, Levels, Levels]] = []
        self.true = ReferenceBook()
        self.true.replace([(95.0, 1.0)], [(105.0, 1.0)], 100)

    def start(self, now: Ns = NOW) -> None:
        self.link = Link(self.instrument, now=now)
        self.model = Model(spot=self.instrument is SPOT, opened_ns=now)

    def make(self, bids: Levels, asks: Levels) -> Diff:
        first = self.told + 1 if self.instrument is SPOT else self.told + 3
        event = Diff(first, first + 2, self.told, bids, asks, self.link.now // MS * MS)
        self.true.apply(bids, asks, event.last)
        self.seq = self.told = event.last
        self.old.append(event)
        self.snapshots.append((event.last, *self.true.levels(99)))
        return event

    def deliver(self, event: Diff) -> None:
        self.link.diff(*event[:5], at_ms=event.at_ns // MS)
        self.model.depth(event, self.link.now)

    @rule(bids=ROWS, asks=ROWS)
    def delta(self, bids: Levels, asks: Levels) -> None:
        self.deliver(self.make(bids, asks))

    @rule(bids=ROWS)
    def gap(self, bids: Levels) -> None:
        self.make(bids, [])
        self.deliver(self.make([], []))

    @precondition(lambda self: self.old)
    @rule(back=st.integers(min_value=1, max_value=6))
    def duplicate_or_old(self, back: int) -> None:
        self.deliver(self.old[-min(back, len(self.old))])

    @precondition(lambda self: self.old)
    @rule(back=st.integers(min_value=1, max_value=6))
    def snapshot(self, back: int) -> None:
        """Of now, or late: of some diffs ago, older than the buffer or even than the last gap."""
        last, bids, asks = self.snapshots[-min(back, len(self.snapshots))]
        self.link.snapshot(last, bids, asks)
        self.model.snapshot(last, bids, asks, 0, self.link.now)

    @rule(bid=PRICES, ask=PRICES, ahead=st.integers(min_value=-4, max_value=4), sizes=st.sampled_from([(1.0, 2.0), (0.0, 1.0)]))
    def best_quote(self, bid: float, ask: float, ahead: int, sizes: tuple[float, float]) -> None:
        seq = self.seq + ahead
        self.link.send("bookTicker", {"u": seq, "b": bid, "B": sizes[0], "a": ask, "A": sizes[1]})
        self.model.touch(bid, sizes[0], ask, sizes[1], seq, 0, self.link.now)

    @rule(spoil=st.sampled_from([("u", None), ("b", [["nan", "1"]]), ("a", [["100", "-1"]]), ("U", 10**6), ("b", [["100"]])]))
    def bad_depth_frame(self, spoil: tuple[str, object]) -> None:
        spoilt = {**diff(self.instrument, 5, 9, 4, [], [], 1), spoil[0]: spoil[1]}
        data = frame(f"{self.instrument.native.lower()}@depth@100ms", spoilt)
        with pytest.raises((*DECODE_ERRORS, BadFrame)):
            self.link.raw(data)
        self.link.session.refused(data, self.link.now)
        self.model.fall(self.link.now, lost=True)

    @rule(steps=st.integers(min_value=1, max_value=7))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            self.link.wait(100 * MS, pulse=True)
            self.model.on_time(self.link.now)

    @rule()
    def connection_is_replaced(self) -> None:
        before = self.link
        before.session.closed("cut", before.now)
        assert not before.session.books[self.instrument.id].published
        self.start(before.now)
        before.snapshot(self.told)  # I4: the answer of the old generation has nowhere to arrive
        assert not before.book.published

    @invariant()
    def session_and_model_agree(self) -> None:
        assert_whole(self.link.book, self.model)
        assert self.link.gaps == self.model.gaps


class SpotSessionAgrees(SessionAgrees):
    instrument = SPOT


class FuturesSessionAgrees(SessionAgrees):
    instrument = USDM


TestSpotSession = SpotSessionAgrees.TestCase
TestFuturesSession = FuturesSessionAgrees.TestCase
TestSpotSession.settings = TestFuturesSession.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


# --- a whole market, whole and mutated

MARKETS = ("binance.spot", "binance.usdm", "binance.coinm")
MUTATIONS = int(os.environ.get("FUZZ", "2000"))
DEPTH_NAME = re.compile(rb'\{"stream":"[a-z0-9_]{1,40}@depth(?:@[0-9]{1,5}m?s)?"')
EXTREMES = (0, -1, 1e308, -1e308, 10**30, "nan", "inf", "-inf", "1e400", "-5", "0", "", "1e15", "0x1f", "9" * 400)
SWAPS: tuple[object, ...] = (None, True, 7, 7.5, "x", [], {}, [[1]], {"u": 1})


class Run(Notes):
    """One Binance market through the hub, with the model beside it."""

    def __init__(self, market: str, seed: int, seconds: float) -> None:
        super().__init__()
        self.market = market
        self.instrument = instruments()[market]
        self.source = SeededMarket(seed, seconds, markets=[market])
        self.model = Model(spot=market == "binance.spot", opened_ns=NEVER)
        self.venue = Binance()
        self.fetches = 0
        self.hub = Hub({"BINANCE": self.venue}, self, self.perform)
        self.answers: list[Ns] = []
        self.now: Ns = 0
        self.tainted = False
        self.compared = 0
        self.readable = 0

    @property
    def book(self) -> OrderBook:
        return self.hub.connections[self.book_conn].session.books[self.instrument.id]

    def on_time(self, now: Ns) -> None:
        self.model.on_time(now)

    def perform(self, _conn: str, actions: object) -> None:
        assert isinstance(actions, (list, tuple))
        if any(isinstance(action, Fetch) and action.key.startswith("depth:") for action in actions):
            self.fetches += 1
            self.answers.append(self.now + 60 * MS)

    def open(self, now: Ns) -> None:
        self.now = now
        self.hub.watch([self.instrument], now)
        streams = [Stream(self.instrument.id, channel) for channel in self.venue.channels(self.instrument)]
        for plan in self.venue.plan(streams, self.hub.instruments):
            route = plan.url.split("/")[-2] if self.market == "binance.usdm" else ""
            self.hub.open(f"{self.market}.{route}".rstrip("."), Plan(plan.venue, plan.market, plan.url, plan.streams), now)

    def answer(self, body: bytes) -> None:
        before = self.hub.quarantined
        self.hub.answer(self.book_conn, f"depth:{self.instrument.native}", body, self.now)
        if self.hub.quarantined > before or self.model.has_book:
            return
        read = json.loads(body)
        at_ns = read.get("E", 0) * MS
        self.model.snapshot(read["lastUpdateId"], numbers(read["bids"]), numbers(read["asks"]), at_ns, self.now)
        self.tainted &= not self.model.has_book

    @property
    def book_conn(self) -> str:
        return "binance.usdm.public" if self.market == "binance.usdm" else self.market

    def frame(self, conn: str, data: bytes, *, altered: bool) -> None:
        before, ignored = self.hub.quarantined, self.hub.health.ignored
        self.hub.frame(conn, data, self.now)
        if self.hub.quarantined > before:
            if DEPTH_NAME.match(data):
                self.model.fall(self.now, lost=True)
            return
        try:
            message: Any = json.loads(data.decode("utf-8", "replace"), strict=False)
        except json.JSONDecodeError:  # its name is already none that is carried, so nobody read on
            assert self.hub.health.ignored > ignored
            return
        if not isinstance(message.get("stream"), str):
            return
        name, data_ = message["stream"], message.get("data")
        if re.fullmatch(rf"{self.instrument.native.lower()}@depth(?:@[0-9]{{1,5}}m?s)?", name):
            self.tainted |= altered
            ids = whole(data_["U"]), whole(data_["u"]), whole(data_.get("pu", -1))
            self.model.depth(Diff(*ids, numbers(data_["b"]), numbers(data_["a"]), whole(data_["E"]) * MS), self.now)
        elif name == f"{self.instrument.native.lower()}@bookTicker":
            quote = float(data_["b"]), float(data_["B"]), float(data_["a"]), float(data_["A"])
            self.model.touch(*quote, whole(data_["u"]), whole(data_.get("E", 0)) * MS, self.now)

    def compare(self, data: bytes, *, whole: bool) -> None:
        self.readable += self.book.published
        (assert_whole if whole else assert_invariants)(self.book, self.model)
        truth = self.source.truth(self.market)
        if b"@depth" not in data or truth is None or self.tainted or not self.book.published:
            return
        if self.book.seq == json.loads(data)["data"]["u"]:
            assert (self.book.bids.levels(1 << 30), self.book.asks.levels(1 << 30)) == truth
            self.compared += 1


def whole(value: str | float) -> int:
    """As the decoder takes numbers that come as text: exactly, exponents too."""
    return int(Decimal(value))


def numbers(rows: list[list[str]]) -> Levels:
    return [(float(price), float(size)) for price, size in rows]


@pytest.mark.parametrize("market", MARKETS)
def test_the_book_is_the_truth_after_every_frame_of_a_healthy_market(market: str) -> None:
    run = Run(market, 11, 12.0)
    quote: dict[int, tuple[float, float, float, float]] = {}
    checked = 0
    for item in run.source.frames():
        if not run.now:
            run.open(item.recv_ns)
            run.answers.clear()
        run.hub.ticker.advance(item.recv_ns)
        run.now = item.recv_ns
        if is_snapshot(item.data):
            run.answer(item.data)
            continue
        run.frame(item.conn, item.data, altered=False)
        if b"@bookTicker" in item.data:
            told = json.loads(item.data)["data"]
            quote[told["u"]] = (float(told["b"]), float(told["B"]), float(told["a"]), float(told["A"]))
        run.compare(item.data, whole=False)
        if b"@depth" in item.data and run.book.published and run.book.touch_seq <= run.book.seq:
            newest = max(u for u in quote if u <= run.book.seq)  # the best oracle there is: protocols 0.3
            assert (run.book.bid, run.book.bid_size, run.book.ask, run.book.ask_size) == quote[newest]
            checked += 1
    assert run.compared > 100
    assert checked > 100
    assert run.touches
    assert (run.hub.quarantined, run.hub.health.ignored, run.model.gaps) == (0, 0, 0)
    assert {type(metric).__name__ for _, metric in run.metrics} == (
        set() if market == "binance.spot" else {"Mark", "Index", "Funding", "Liquidation"}
    )
    assert run.trades


def mutate(rng: random.Random, data: bytes) -> bytes:
    """One of: flipped bytes, truncation, a key deleted, a value of another type, an extreme number."""
    kind = rng.randrange(5)
    if kind == 0:
        flipped = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            flipped[rng.randrange(len(flipped))] = rng.choice([at for at in range(256) if at != 0x5C])
        return bytes(flipped)
    if kind == 1:
        return data[: rng.randrange(len(data))]
    message = json.loads(data)
    holder = message["data"] if rng.random() < 0.95 else message
    if isinstance(holder.get("o"), dict) and rng.random() < 0.7:
        holder = holder["o"]
    key = rng.choice(list(holder))
    if kind == 2:
        del holder[key]
    else:
        values = SWAPS if kind == 3 else EXTREMES
        rows = holder[key]
        if isinstance(rows, list) and rows and rng.random() < 0.8:
            rng.choice(rows)[rng.randrange(2)] = rng.choice(values)
        else:
            holder[key] = rng.choice(values)
    return json.dumps(message, separators=(",", ":")).encode()


@pytest.mark.parametrize("market", MARKETS)
def test_mutated_frames_never_raise_and_never_leave_a_book_that_the_rule_does_not_give(market: str) -> None:
    rng = random.Random(f"fuzz {market}")
    run = Run(market, 5, MUTATIONS * 0.03)
    mutated = 0
    for item in run.source.frames():
        if not run.now:
            run.open(item.recv_ns)
        run.hub.ticker.advance(item.recv_ns)
        run.now = item.recv_ns
        if is_snapshot(item.data):
            continue
        while run.answers and run.answers[0] <= run.now:
            run.answers.pop(0)
            body = run.source.rest_answer(market)
            run.answer(body if rng.random() < 0.8 else body[: rng.randrange(len(body))])
            assert_whole(run.book, run.model)
        if rng.random() < (0.1 if b"@depth" in item.data else 0.7):  # a depth frame costs the book two seconds at worst
            mutated += 1
            run.frame(item.conn, mutate(rng, item.data), altered=True)
            assert_invariants(run.book, run.model)
        if rng.random() < 0.01:
            continue  # lost on the way
        run.frame(item.conn, item.data, altered=False)
        run.compare(item.data, whole=mutated % 40 == 0)
        if mutated == MUTATIONS:
            break
    assert mutated == MUTATIONS
    assert run.hub.quarantined > MUTATIONS // 2
    assert run.compared > 40
    assert run.fetches > 10
    assert run.readable > 1_000
    assert run.book.state in (BookState.SYNCED, BookState.BUFFERING)
    assert len(run.hub.quarantine) <= 50
    assert {stream.channel for stream in run.hub.health.streams} == set(run.venue.channels(run.instrument))


def test_a_fetch_is_the_only_thing_a_healthy_session_asks_for_after_opening() -> None:
    asked: list[Action] = []
    run = Run("binance.spot", 2, 3.0)
    run.hub.perform = lambda _conn, actions: asked.extend(actions)
    for item in run.source.frames():
        if not run.now:
            run.open(run.now or item.recv_ns)
            asked.clear()
        run.now = item.recv_ns
        run.hub.ticker.advance(item.recv_ns)
        if is_snapshot(item.data):
            run.answer(item.data)
        else:
            run.frame(item.conn, item.data, altered=False)
    assert asked == []
    assert Stream(run.instrument.id, Channel.BOOK) in run.hub.health.streams


# --- the generator itself


def test_the_same_seed_gives_the_same_bytes_and_time_never_falls(tmp_path: Path) -> None:
    first, second, other = (list(SeededMarket(seed, 3.0).frames()) for seed in (4, 4, 5))
    assert first == second
    assert first != other
    assert all(a.recv_ns <= b.recv_ns for a, b in pairwise(first))
    one, two = (write_capture_a(tmp_path / name, 4, 3.0) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert [path.name for path in one] == ["spot-btcusdt.gz", "usdm-btcusdt.gz", "coinm-btcusd_perp.gz"]
    for path in one:
        lines = [line.split(b" ", 1) for line in gzip.decompress(path.read_bytes()).splitlines()]
        assert all(int(a[0]) <= int(b[0]) for a, b in pairwise(lines))
        assert sum(is_snapshot(text) for _, text in lines) == 1
        assert all("stream" in json.loads(text) for _, text in lines if not is_snapshot(text))


@pytest.mark.parametrize("market", ["bybit.spot", "bybit.linear", "bybit.inverse"])
def test_bybit_frames_of_the_generator_lead_a_plain_dict_to_its_truth(market: str) -> None:
    source = SeededMarket(6, 10.0, markets=[market], restart_after_s=5.0)
    sides: dict[str, dict[float, float]] = {"b": {}, "a": {}}
    last, snapshots = 0, 0
    for item in source.frames():
        message = json.loads(item.data)
        if not message["topic"].startswith("orderbook.50."):
            continue
        data = message["data"]
        if message["type"] == "snapshot":
            sides = {"b": {}, "a": {}}
            snapshots += 1
        else:
            assert data["u"] == last + 1
        last = data["u"]
        for key, side in sides.items():
            side.update(numbers(data[key]))
        bids, asks = ([(price, size) for price, size in sorted(side.items()) if size] for side in sides.values())
        assert (bids[::-1], asks) == source.truth(market)
    assert snapshots == 2


def test_in_its_stretches_the_perpetual_stands_6_to_10_bps_above_spot() -> None:
    source = SeededMarket(8, 20.0, markets=("binance.spot", "binance.usdm"))
    quotes: dict[str, dict[str, float]] = {}
    inside: list[float] = []
    for item in source.frames():
        if b"@bookTicker" not in item.data:
            continue
        data = json.loads(item.data)["data"]
        quotes[item.market] = {key: float(data[key]) for key in "ba"}
        at_ms = item.recv_ns // MS
        if len(quotes) == 2 and any(begin + 200 < at_ms < end - 200 for begin, end in source.stretches):
            inside.append((quotes["binance.usdm"]["b"] / quotes["binance.spot"]["a"] - 1) * 1e4)
    assert len(source.stretches) >= 2
    assert all(end - begin >= 2_000 for begin, end in source.stretches[:-1])
    assert all(6.0 < bps < 10.0 for bps in inside)
    assert len(inside) > 100
