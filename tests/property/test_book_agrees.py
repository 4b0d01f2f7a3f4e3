"""The book against the reference book: whatever is applied, both show the same, after every step (reliability 8)."""

from math import nan

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from feeds.health import LegHealth, Pulse
from feeds.model import BookState
from feeds.orderbook import HIGH, OrderBook, Side
from tests.market import instruments
from tests.reference_book import ReferenceBook, ReferenceSide

INSTRUMENT = instruments()["binance.usdm"]
NEAR = st.integers(min_value=1, max_value=60)
"""Few prices, so that removals, tombstones and re-adds meet."""
SIZES = st.sampled_from([0.0, 0.0, 0.001, 1.5, 7.0])
CHANGES = st.lists(st.tuples(NEAR.map(float), SIZES), max_size=12)


def new_book() -> OrderBook:
    return OrderBook(INSTRUMENT, LegHealth(Pulse(1)))


def same(first: float, second: float) -> bool:
    return first == second or (first != first and second != second)


def assert_agree(book: OrderBook, reference: ReferenceBook) -> None:
    (bid, bid_size), (ask, ask_size) = reference.best()
    assert same(book.bid, bid)
    assert same(book.ask, ask)
    assert (book.bid_size, book.ask_size) == (bid_size, ask_size)
    assert book.published == (not reference.crossed)
    for count in (0, 1, 3, 25, 10_000):
        assert book.levels(count) == reference.levels(count)
    for bps in (0.0, 5.0, 1_000.0, 20_000.0):
        bid_prices, bid_sizes, ask_prices, ask_sizes = book.within(bps)
        seen = (
            [level for level in zip(bid_prices, bid_sizes, strict=True) if level[1]],
            [level for level in zip(ask_prices, ask_sizes, strict=True) if level[1]],
        )
        assert seen == reference.within(bps)


class BookAgrees(RuleBasedStateMachine):
    """A small book in which every price is soon a tombstone, re-added, covered by a quote or crossed."""

    def __init__(self) -> None:
        super().__init__()
        self.book = new_book()
        self.reference = ReferenceBook()
        self.seq = 0

    @initialize(bids=CHANGES, asks=CHANGES)
    def snapshot_first(self, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> None:
        self.replace(bids, asks)

    @rule(bids=CHANGES, asks=CHANGES)
    def replace(self, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> None:
        self.seq += 3
        bids, asks = list(dict(bids).items()), list(dict(asks).items())
        self.book.replace(bids, asks, self.seq, 0, 1)
        self.reference.replace(bids, asks, self.seq)

    @rule(bids=CHANGES, asks=CHANGES, step=st.integers(min_value=1, max_value=4))
    def apply(self, bids: list[tuple[float, float]], asks: list[tuple[float, float]], step: int) -> None:
        self.seq += step
        self.book.apply(bids, asks, self.seq, 0, 1)
        self.reference.apply(bids, asks, self.seq)

    @rule(split=st.integers(min_value=20, max_value=40), bids=CHANGES, asks=CHANGES)
    def apply_on_its_own_side(self, split: int, bids: list[tuple[float, float]], asks: list[tuple[float, float]]) -> None:
        self.apply([(p, s) for p, s in bids if p < split], [(p, s) for p, s in asks if p >= split], 1)

    @rule(side=st.sampled_from(["bids", "asks"]))
    def remove_a_whole_side(self, side: str) -> None:
        gone = [(float(price), 0.0) for price in range(1, 61)]
        self.apply(gone if side == "bids" else [], gone if side == "asks" else [], 1)

    @rule(bid=NEAR.map(float), ask=NEAR.map(float), sizes=st.tuples(SIZES, SIZES), step=st.integers(min_value=-2, max_value=6))
    def touch(self, bid: float, ask: float, sizes: tuple[float, float], step: int) -> None:
        seq = self.seq + step
        laid = self.book.touch(bid, sizes[0], ask, sizes[1], seq, 0, 1)
        assert laid == self.reference.touch(bid, sizes[0], ask, sizes[1], seq)

    @rule(ask=NEAR.map(float))
    def touch_with_an_empty_side(self, ask: float) -> None:
        assert self.book.touch(nan, 0.0, ask, 1.0, self.seq + 7, 0, 1) == self.reference.touch(nan, 0.0, ask, 1.0, self.seq + 7)

    @invariant()
    def both_show_the_same(self) -> None:
        if self.book.state is BookState.SYNCED:
            assert_agree(self.book, self.reference)


TestBookAgrees = BookAgrees.TestCase
TestBookAgrees.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)

DEEP = st.lists(st.tuples(st.integers(min_value=1, max_value=9_000).map(float), SIZES), max_size=400)


@settings(max_examples=25, deadline=None)
@given(
    sign=st.sampled_from([1, -1]),
    start=st.integers(min_value=0, max_value=6_000),
    batches=st.lists(
        st.tuples(DEEP, st.sampled_from(["best", "some", "deep", "until", "nothing"]), st.integers(min_value=0, max_value=3_000)),
        max_size=8,
    ),
)
def test_a_deep_side_loses_no_level_when_its_band_is_rebuilt(
    sign: int, start: int, batches: list[tuple[list[tuple[float, float]], str, int]]
) -> None:
    side, reference = Side(sign), ReferenceSide(sign)
    levels = [(float(price), 1.0 + price % 7) for price in range(1, start + 1)]
    side.replace(levels)
    reference.replace(levels)
    for changes, read, eaten in batches:
        best_first = [(price, 0.0) for price, _ in reference.levels()[:eaten]]
        for batch in (changes, best_first):
            side.apply(batch)
            reference.apply(batch)
        if read == "best":
            assert side.best()[1] == reference.best()[1]
        elif read == "some":
            assert side.levels(HIGH - 1) == reference.levels()[: HIGH - 1]
        elif read == "deep":
            assert side.levels(2_500) == reference.levels()[:2_500]
        elif read == "until":
            prices, sizes = side.until(4_500.0)
            wanted = [level for level in reference.levels() if sign * level[0] >= sign * 4_500]
            assert [level for level in zip(prices, sizes, strict=True) if level[1]] == wanted
    assert len(side) == len(reference)
    assert side.levels(1 << 30) == reference.levels()


@settings(max_examples=60, deadline=None)
@given(first=DEEP, second=DEEP, sign=st.sampled_from([1, -1]))
def test_a_batch_is_the_same_as_its_levels_one_by_one(
    first: list[tuple[float, float]], second: list[tuple[float, float]], sign: int
) -> None:
    together, apart = Side(sign), Side(sign)
    together.replace(first)
    apart.replace(first)
    together.apply(second)
    for level in second:
        apart.apply([level])
        apart.best()
    assert together.levels(1 << 30) == apart.levels(1 << 30)
    assert together.best()[1] == apart.best()[1]
