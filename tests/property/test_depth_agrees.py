"""A book's arrays against its lists and the reference: whatever happens, whenever they are read (reliability 8)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.health import LegHealth, Pulse
from feeds.model import BookState
from feeds.orderbook import OrderBook
from tests.market import instruments
from tests.reference_book import ReferenceBook

INSTRUMENT = instruments()["binance.usdm"]
PRICES = st.integers(1, 60).map(float)
"""Few, so that removals, tombstones and re-adds meet."""
CHANGES = st.lists(st.tuples(PRICES, st.sampled_from([0.0, 0.0, 0.5, 3.0])), max_size=15)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["apply", "apply", "apply", "replace", "touch", "fall"]),
        CHANGES,
        CHANGES,
        PRICES,
        PRICES,
        st.booleans(),
    ),
    max_size=40,
)


def read(book: OrderBook) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The arrays as lists, best first."""
    bid_prices, bid_sizes, ask_prices, ask_sizes = book.depth()
    for prices in (bid_prices, ask_prices):
        assert (np.diff(prices) > 0).all()
    bids = list(zip(bid_prices.tolist(), bid_sizes.tolist(), strict=True))
    return bids[::-1], list(zip(ask_prices.tolist(), ask_sizes.tolist(), strict=True))


@pytest.mark.parametrize("limit", [0, 12, 2_048])
@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_arrays_hold_what_the_levels_hold_at_whatever_moments_they_are_read(
    limit: int, steps: list[tuple[int, str, list[tuple[float, float]], list[tuple[float, float]], float, float, bool]]
) -> None:
    """Two books, so that none reads what was noted for the other; with logs that are dropped at once, now and then, and never."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feeds.depth.LONGEST_LOG", limit)
        books = [OrderBook(INSTRUMENT, LegHealth(Pulse(1))) for _ in range(2)]
        references = [ReferenceBook() for _ in range(2)]
        seq = 0
        for which, what, bids, asks, bid, ask, reads in steps:
            book, reference = books[which], references[which]
            seq += 2
            if what == "replace" or (book.state is not BookState.SYNCED and what != "fall"):
                book.replace(list(dict(bids).items()), list(dict(asks).items()), seq, 0, 1)
                reference.replace(dict(bids).items(), dict(asks).items(), seq)
            elif what == "apply":
                book.apply(bids, asks, seq, 0, 1)
                reference.apply(bids, asks, seq)
            elif what == "touch":
                book.touch(bid, 1.5, ask, 2.5, seq + 3, 0, 1)
                reference.touch(bid, 1.5, ask, 2.5, seq + 3)
            else:
                book.fall(BookState.BUFFERING, "gap")
                assert read(book) == ([], [])
            if reads and book.state is BookState.SYNCED:
                assert read(book) == reference.levels(1_000) == book.levels(1_000)
        for book, reference in zip(books, references, strict=True):
            if book.state is BookState.SYNCED:
                assert read(book) == reference.levels(1_000)
