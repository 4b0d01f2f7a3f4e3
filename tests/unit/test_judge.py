"""The judge of the fault runs finds a wrong book by whatever a venue calls a state: a number, one that starts over, a time."""

from collections.abc import Callable
from typing import Any

import pytest

from feeds.health import LegHealth, Pulse
from feeds.model import MS, SECOND, Contract, Instrument, Kind
from feeds.orderbook import OrderBook
from feeds.simulator.bitmex import BitmexServer
from feeds.simulator.deribit import DeribitServer
from feeds.simulator.kit import VenueServer
from feeds.simulator.market import STEP_NS, World
from feeds.simulator.okx import OkxServer
from feeds.venue import NoListener
from tests.judge import WHOLE_EVERY, Judge

START_NS = 1_790_757_082 * SECOND
Make = Callable[[World], VenueServer]
MAKES: dict[str, tuple[Make, str]] = {
    "OKX": (OkxServer, "BTC-USDT-SWAP"),
    "DERIBIT": (DeribitServer, "BTC-PERPETUAL"),
    "BITMEX": (BitmexServer, "XBTUSD"),
}


class Stand:
    """A market, a book that holds what it held, and the judge of both."""

    def __init__(self, venue: str) -> None:
        make, self.native = MAKES[venue]
        self.world = World(3, START_NS, ("BTC",), venues=(venue,))
        self.server = make(self.world)
        self.key = f"{venue}.public.{self.native}"
        self.judge = Judge([self.server], NoListener())
        instrument = Instrument(
            id=f"{venue}:BTC/USD:BTC",
            venue=venue,
            market="public",
            native=self.native,
            base="BTC",
            quote="USD",
            settle="BTC",
            kind=Kind.PERP,
            contract=Contract.INVERSE,
            tick=0.1,
            lot=1.0,
        )
        self.book = OrderBook(instrument, LegHealth(Pulse()))
        for _ in range(100):
            self.world.advance(self.world.now_ns + STEP_NS)

    def show(self, spoil: Callable[[list[Any]], None] = lambda levels: None, later_ns: int = 0) -> None:
        """Publish the book as it is now, spoilt, with what the venue calls it."""
        true = self.world.books[self.key]
        at_ns = true.time_of(true.seq) + self.server.clock_offset_ns + later_ns
        bids, asks = true.truth(true.seq)
        spoil(bids)
        listing = self.world.listings[self.key]
        number = self.server.number(listing, true.seq) if isinstance(self.server, OkxServer) else at_ns // MS
        self.book.replace(bids, asks, number, at_ns, at_ns)
        self.judge.on_book(self.book, at_ns)


@pytest.fixture(params=MAKES)
def stand(request: pytest.FixtureRequest) -> Stand:
    return Stand(request.param)


def counts(stand: Stand) -> tuple[int, int]:
    return stand.judge.wrong_count, stand.judge.unknown


def test_a_true_book_is_not_accused_and_all_of_it_was_looked_at(stand: Stand) -> None:
    for _ in range(2 * WHOLE_EVERY):
        stand.show()
        stand.world.advance(stand.world.now_ns + STEP_NS)
    assert counts(stand) == (0, 0)
    assert stand.judge.whole == 2


def test_a_wrong_touch_is_found_at_once(stand: Stand) -> None:
    stand.show(lambda bids: bids.pop(0))
    assert counts(stand) == (1, 0)


def test_a_wrong_level_behind_the_touch_is_found_when_the_whole_is_looked_at(stand: Stand) -> None:
    for _ in range(WHOLE_EVERY):
        stand.show(lambda bids: bids.pop(7))
    assert counts(stand) == (1, 0)
    assert stand.judge.whole == 1


def test_a_state_that_never_was_is_unknown(stand: Stand) -> None:
    stand.world.advance(stand.world.now_ns + STEP_NS)
    stand.book.replace([(1.0, 1.0)], [(2.0, 1.0)], 7, 7 * MS, 1)
    stand.judge.on_book(stand.book, 1)
    assert counts(stand) == (0, 1)


@pytest.mark.parametrize("venue", ["DERIBIT", "BITMEX"])
def test_a_time_of_a_wrong_clock_names_a_state_while_it_is_wrong_and_shortly_after(venue: str) -> None:
    stand = Stand(venue)
    stand.server.clock_offset_ns = 20 * SECOND
    stand.show()
    stand.server.clock_offset_ns = 0
    stand.show(later_ns=20 * SECOND)
    stand.show()
    assert counts(stand) == (0, 0)
    stand.show(lambda bids: bids.pop(0))
    assert counts(stand) == (1, 0)


def test_a_count_that_starts_over_names_the_states_of_before_and_of_after() -> None:
    stand = Stand("OKX")
    stand.show()
    stand.server.restart("public", stand.native)
    stand.show()
    assert counts(stand) == (0, 0)
