"""A loop that stood still: nothing is judged by the time in which nobody looked, and a dead link is found all the same."""

import json
from math import isnan
from pathlib import Path

import msgspec
import pytest

from feeds.clock import LONGEST_STALL_NS, STALL_NS, ReceiveClock
from feeds.hub import Hub
from feeds.live import Live
from feeds.model import MS, SECOND, BookState, Channel, LinkState, Ns, Stream
from feeds.recording import Opened, Record, Recording, UserAct, decode
from feeds.venue import Drop, NoListener, Plan, Send
from feeds.venues import VENUES
from tests.market import instruments
from tests.unit.test_binance import COINM, NOW, SPOT, USDM, Link, followed

STALL: Ns = 5 * SECOND


def stand_still(link: Link, span: Ns = STALL) -> None:
    """Nobody looks for so long; then every boundary that was missed is called at its own time."""
    link.session.stood_still(link.now, link.now + span)
    link.wait(span)


def drops(link: Link) -> list[str]:
    return [action.reason for action in link.asked if isinstance(action, Drop)]


def test_a_stall_is_no_silence_of_the_link_and_the_rest_of_its_limit_counts_on() -> None:
    link = followed(USDM)
    link.wait(SECOND)
    stand_still(link)
    assert (drops(link), link.book.state) == ([], BookState.SYNCED)
    link.wait(900 * MS)
    assert drops(link) == []
    link.wait(100 * MS)
    assert drops(link) == ["no data for 7.0 s"]
    assert isnan(link.book.bid)


def test_one_stall_after_the_other_does_not_keep_a_dead_link_up() -> None:
    link = followed(USDM)
    for _ in range(20):
        stand_still(link, SECOND)
        link.wait(500 * MS)
    assert drops(link) == ["no data for 6.0 s"]


def test_the_age_of_what_is_shown_goes_on_through_a_stall() -> None:
    link = followed(SPOT)
    last_ns = link.book.leg.pulse.last_ns
    stand_still(link)
    assert link.book.leg.pulse.last_ns == last_ns == link.now - STALL


def test_what_a_session_reads_first_after_a_stall_is_late() -> None:
    link = followed(SPOT)
    stand_still(link)
    assert link.book.leg.late
    assert link.book.leg.lag_ns == STALL


def test_a_periodic_stream_is_not_asked_for_anew_because_of_a_stall() -> None:
    link = Link(COINM, (Channel.TRADE, Channel.TICKER))
    mark = {"E": link.now // MS, "p": "5", "i": "5", "r": "0.0001", "T": 7}
    link.send("markPrice@1s", mark)
    link.wait(2 * SECOND, pulse=True)
    stand_still(link)
    link.wait(900 * MS, pulse=True)
    assert (link.status(Channel.TICKER).link, len(link.subscribed)) == (LinkState.READY, 1)
    link.wait(100 * MS, pulse=True)
    assert (link.status(Channel.TICKER).link, len(link.subscribed)) == (LinkState.NOT_READY, 3)


def test_an_acknowledgement_that_waits_to_be_read_is_not_overdue() -> None:
    link = Link(COINM, (Channel.TRADE,), acknowledges=False)
    link.wait(3 * SECOND, pulse=True)
    stand_still(link)
    link.wait(1_900 * MS, pulse=True)
    assert len(link.subscribed) == 1
    request = next(json.loads(action.text)["id"] for action in link.asked if isinstance(action, Send))
    link.raw(json.dumps({"result": None, "id": request}))
    link.wait(10 * SECOND, pulse=True)
    assert (len(link.subscribed), link.status(Channel.TRADE).link) == (1, LinkState.READY)


def test_a_crossed_book_has_its_grace_when_the_stall_is_over() -> None:
    link = followed(SPOT)
    link.diff(12, 12, b=[(101.5, 1.0)])
    link.wait(300 * MS, pulse=True)
    stand_still(link)
    assert (link.fetches, link.book.state) == (1, BookState.SYNCED)
    assert isnan(link.book.bid)
    link.wait(400 * MS, pulse=True)
    assert link.fetches == 1
    link.wait(100 * MS, pulse=True)
    assert (link.fetches, link.book.reason) == (2, "crossed")


def test_a_best_quote_over_a_book_is_not_held_against_it_in_a_stall() -> None:
    link = followed(SPOT)
    link.send("bookTicker", {"u": 30, "b": "99.5", "B": "1", "a": "100.5", "A": "1"})
    link.wait(SECOND, pulse=True)
    stand_still(link)
    link.wait(1_900 * MS, pulse=True)
    assert (link.fetches, link.book.state) == (1, BookState.SYNCED)
    link.wait(1_100 * MS, pulse=True)
    assert (link.fetches, link.book.reason) == (2, "tape")


def test_trades_outside_a_book_before_and_after_a_stall_do_not_contradict_it() -> None:
    link = followed(SPOT)
    for _ in range(2):
        link.send("trade", {"p": "120", "q": "1", "m": False, "T": link.now // MS, "t": 4})
        assert link.fetches == 1
        link.wait(SECOND, pulse=True)
        stand_still(link, SECOND)


@pytest.mark.parametrize("until_ns", [1 << 62, 0, -(1 << 62)])
def test_a_damaged_stall_does_not_blind_a_replay(until_ns: Ns) -> None:
    hub = Hub(VENUES, NoListener())
    hub.watch(instruments().values(), NOW)
    plan = Plan("BINANCE", "spot", "wss://host/stream", (Stream(SPOT.id, Channel.TRADE),))
    hub.handle(Record(NOW, "o", "a", msgspec.json.encode(Opened.of(plan))))
    hub.handle(Record(NOW + 1, "u", "-", msgspec.json.encode(UserAct("stall", until_ns=until_ns))))
    hub.ticker.advance(NOW + LONGEST_STALL_NS + 5 * SECOND)
    assert hub.connections["a"].session.link is LinkState.DOWN


# --- noticed where it happens


class Leaping:
    """A monotonic clock that stands until it is told how long nobody looked."""

    def __init__(self) -> None:
        self.at_ns: Ns = 0
        self.clock = ReceiveClock(lambda: NOW, lambda: self.at_ns)


def run_of(leaping: Leaping) -> Live:
    live = Live(VENUES, NoListener(), lambda listed: listed, markets=dict.fromkeys(VENUES, ()), clock=leaping.clock)
    live.take("i", "-", list(instruments().values()))
    live.opened("a", Plan("BINANCE", "usdm", "wss://host/stream", (Stream(USDM.id, Channel.TOUCH),)))
    return live


QUOTE = b'{"stream":"btcusdt@bookTicker","data":{"u":5,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1","E":1}}'


@pytest.mark.parametrize("how", ["a frame", "a record"])
def test_who_comes_first_after_a_stall_records_it_before_the_boundaries_that_were_missed(how: str, tmp_path: Path) -> None:
    leaping = Leaping()
    live = run_of(leaping)
    live.record(tmp_path / "kept", "1")
    live.frame("a", QUOTE)
    missed_ns = live.hub.ticker.next_ns
    leaping.at_ns += STALL
    if how == "a frame":
        live.frame("a", QUOTE)
    else:
        live.resync(USDM.id)
    assert live.link_state("a") is LinkState.READY
    assert live.recorder is not None
    live.recorder.close()
    records = [record for record in Recording(tmp_path / "kept").records() if record.kind == "u"]
    assert records[0].recv_ns == missed_ns - 1
    assert decode("u", records[0].payload) == UserAct("stall", until_ns=live.stamp())
    assert "stood still for 4.9 s" in live.hub.health.said[-1][1]


def test_what_is_shorter_or_longer_is_not_excused() -> None:
    leaping = Leaping()
    live = run_of(leaping)
    live.frame("a", QUOTE)
    leaping.at_ns += STALL_NS
    live.resync(USDM.id)
    assert not live.hub.health.said
    leaping.at_ns += LONGEST_STALL_NS + SECOND
    live.resync(USDM.id)
    assert live.link_state("a") is LinkState.DOWN
