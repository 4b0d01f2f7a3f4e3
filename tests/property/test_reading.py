"""A reading kept for one version of a book must never outlive it: a route judged on levels that are gone costs money."""

from random import Random

from analytics.reading import Reading
from analytics.walk import fill, spend, take
from feeds.health import LegHealth, Pulse
from feeds.model import BookState
from feeds.orderbook import OrderBook
from tests.market import instruments

INSTRUMENT = next(iter(instruments().values()))


def test_whatever_happens_to_a_book_a_kept_reading_is_what_it_says_now() -> None:
    rng = Random(7)
    for _ in range(30):
        book, reading = OrderBook(INSTRUMENT, LegHealth(Pulse())), Reading()
        for seq in range(1, 60):
            bids = [(float(rng.randrange(50, 100)), rng.choice((0.0, 0.5, 3.0))) for _ in range(rng.randrange(6))]
            asks = [(float(rng.randrange(100, 150)), rng.choice((0.0, 0.5, 3.0))) for _ in range(rng.randrange(6))]
            act = rng.random()
            if act < 0.1:
                book.replace(bids, asks, seq, 0, seq)
            elif act < 0.15:
                book.fall(BookState.BUFFERING, "gap")
            elif act < 0.3:
                book.touch(float(rng.randrange(90, 100)), 1.0, float(rng.randrange(100, 110)), 1.0, seq, 0, seq)
            elif book.state is BookState.SYNCED:
                book.apply(bids, asks, seq, 0, seq)
            size = rng.choice((10.0, 200.0, 1e5))
            for walk, base in ((spend, size), (take, size / 100)):
                for _ in range(2):
                    assert repr(reading.bought(book, walk, base)) == repr(fill(book.ask_levels, walk, INSTRUMENT, base))
                    assert repr(reading.sold(book, walk, base)) == repr(fill(book.bid_levels, walk, INSTRUMENT, base))


def test_two_books_of_one_version_are_not_taken_for_each_other() -> None:
    reading = Reading()
    books = [OrderBook(INSTRUMENT, LegHealth(Pulse())) for _ in range(2)]
    for at, book in enumerate(books):
        book.replace([(99.0 - at, 1.0)], [(100.0 + at, 1.0)], 1, 0, 1)
    assert [reading.bought(book, take, 0.5).price for book in books] == [100.0, 101.0]
