"""Tardis' normalised messages: each type field by field, books, losses, and captures of them. Messages: protocols.md 6.2."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.health import HealthBoard
from feeds.hub import Hub
from feeds.importers import import_capture
from feeds.importers.places import place_of
from feeds.model import (
    MS,
    SECOND,
    BookState,
    Channel,
    Contract,
    Funding,
    Index,
    Instrument,
    Kind,
    LinkState,
    Liquidation,
    Mark,
    Ns,
    OpenInterest,
    Stream,
    Trade,
)
from feeds.orderbook import OrderBook
from feeds.recording import Recording, decode
from feeds.venue import NOTHING, Action, Drop, NoListener, Plan
from feeds.venues import VENUES, tardis
from feeds.venues.bitmex import Bitmex
from tests.unit.test_bitmex import XBTUSD, ns
from tests.unit.test_bybit import Heard

START = ns("2019-10-23T10:32:49+00:00")
PERPETUAL = Instrument(
    id="DERIBIT:BTC/USD:BTC",
    venue="DERIBIT",
    market="public",
    native="BTC-PERPETUAL",
    base="BTC",
    quote="USD",
    settle="BTC",
    kind=Kind.PERP,
    contract=Contract.INVERSE,
    tick=0.5,
    lot=10.0,
)
BYBIT = Instrument(
    id="BYBIT:BTC/USD:BTC",
    venue="BYBIT",
    market="inverse",
    native="BTCUSD",
    base="BTC",
    quote="USD",
    settle="BTC",
    kind=Kind.PERP,
    contract=Contract.INVERSE,
    tick=0.5,
    lot=1.0,
    funding_interval_s=28_800,
)
INSTRUMENTS = {each.id: each for each in (XBTUSD, PERPETUAL, BYBIT)}
EXCHANGE = {"BITMEX": "bitmex", "DERIBIT": "deribit", "BYBIT": "bybit"}


class Desk:
    """A session with what it was told, and a clock that only the test moves."""

    def __init__(self, of: Instrument) -> None:
        streams = tuple(Stream(of.id, channel) for channel in tardis.CHANNEL_OF.values())
        self.of = of
        self.now: Ns = START
        self.heard, self.board = Heard(), HealthBoard()
        plan = Plan(of.venue, of.market, f"tardis://{EXCHANGE[of.venue]}/{of.market}", streams)
        self.session = tardis.session(plan, INSTRUMENTS, self.heard, self.board)
        assert self.session.opened(START) == []

    def send(self, text: str | bytes) -> Sequence[Action]:
        self.now += MS
        return self.session.frame(text.encode() if isinstance(text, str) else text, self.now)

    @property
    def book(self) -> OrderBook:
        return self.session.books[self.of.id]


def message(kind: str, of: Instrument = XBTUSD, **more: Any) -> str:
    """One line, as the recorded stream writes it: blanks, and the type last."""
    own = {"exchange": EXCHANGE[of.venue], "localTimestamp": "2019-10-23T10:32:49.740123Z", "symbol": of.native}
    return json.dumps({**more, **own, "timestamp": "2019-10-23T10:32:49.669Z", "type": kind})


def change(snapshot: bool, bids: Sequence[tuple[float, float]], asks: Sequence[tuple[float, float]]) -> str:
    sides = {
        side: [{"amount": amount, "price": price} for price, amount in levels]
        for side, levels in (("bids", bids), ("asks", asks))
    }
    return message("book_change", XBTUSD, isSnapshot=snapshot, **sides)


SNAPSHOT = change(True, [(100.0, 5), (99.0, 6)], [(101.0, 7)])
LEVELS = ([(100.0, 5.0), (99.0, 6.0)], [(101.0, 7.0)])
TRADE = (
    '{"type":"trade","symbol":"XBTUSD","exchange":"bitmex","id":"282a0445-0e3a-abeb-f403-11003204ea1b","price":7996,"amount":50,'
    '"side":"sell","timestamp":"2019-10-23T10:32:49.669Z","localTimestamp":"2019-10-23T10:32:49.740Z"}'
)
AT = ns("2019-10-23T10:32:49.669+00:00")


def test_a_recorded_trade_keeps_the_venues_unit_and_the_takers_side() -> None:
    at = Desk(XBTUSD)
    assert at.send(TRADE) is NOTHING
    assert at.heard.trades == [(XBTUSD, Trade(7996.0, 50.0, "sell", AT, "282a0445-0e3a-abeb-f403-11003204ea1b", False))]
    assert XBTUSD.to_quote(50.0, 7996.0) == 50.0


def test_a_trade_without_an_id_is_told_and_one_without_a_side_is_not() -> None:
    at = Desk(XBTUSD)
    at.send(message("trade", price=5, amount=1, side="buy"))
    at.send(message("trade", price=5, amount=1, side="unknown", id="x"))
    assert [trade.id for _, trade in at.heard.trades] == [""]
    assert at.board.stream(Stream(XBTUSD.id, Channel.TRADE)).ignored == 1


def test_a_snapshot_begins_a_book_and_amount_nothing_removes_a_level() -> None:
    at = Desk(XBTUSD)
    at.send(SNAPSHOT)
    assert at.book.levels(9) == LEVELS
    at.send(change(False, [(100.0, 0), (99.5, 2)], [(101.0, 8), (102.0, 0)]))
    assert at.book.levels(9) == ([(99.5, 2.0), (99.0, 6.0)], [(101.0, 8.0)])
    assert (at.book.venue_ns, at.book.leg.raw_ns, at.book.leg.fresh) == (AT, at.now - AT, True)
    at.send(change(True, [(50.0, 1)], []))
    assert at.book.levels(9) == ([(50.0, 1.0)], [])
    assert at.session.link is LinkState.READY


def test_a_change_before_the_snapshot_is_ignored() -> None:
    at = Desk(XBTUSD)
    at.send(change(False, [(100.0, 5)], []))
    assert (at.book.state, at.heard.books) == (BookState.BUFFERING, [])
    assert at.board.stream(Stream(XBTUSD.id, Channel.BOOK)).ignored == 1
    asked = at.session.streams[Stream(XBTUSD.id, Channel.BOOK)]
    assert not asked.heard
    at.send(SNAPSHOT)
    assert asked.heard


def test_the_recorders_own_time_is_not_taken_for_the_venues() -> None:
    """BitMEX's books of 2019 have no time: both places say when the message came."""
    at = Desk(XBTUSD)
    line = json.loads(SNAPSHOT)
    at.send(json.dumps({**line, "timestamp": line["localTimestamp"]}))
    assert (at.book.published, at.book.venue_ns, at.book.leg.fresh) == (True, 0, False)


def test_a_ticker_tells_what_it_has_and_no_interval() -> None:
    at = Desk(PERPETUAL)
    row = {"lastPrice": 7987.5, "openInterest": 84129491, "fundingRate": -0.00001568, "indexPrice": 7989.28, "markPrice": 7987.56}
    at.send(message("derivative_ticker", PERPETUAL, **row))
    assert at.heard.metrics == [
        Mark(7987.56, AT),
        Index(7989.28, AT),
        Funding(-0.00001568, 0, 0, AT),
        OpenInterest(84129491.0, AT),
    ]
    at.heard.metrics.clear()
    at.send(message("derivative_ticker", PERPETUAL, markPrice=1))
    assert at.heard.metrics == [Mark(1.0, AT)]
    heard = Heard()
    at.session.promote(heard, HealthBoard(), at.now)
    assert heard.metrics == [Mark(1.0, AT)]


def test_a_tickers_next_funding_is_told_and_bybits_open_interest_is_one_sided() -> None:
    at = Desk(BYBIT)
    at.send(message("derivative_ticker", BYBIT, fundingRate=0.0001, fundingTimestamp="2019-10-23T16:00:00.000Z", openInterest=10))
    assert at.heard.metrics == [Funding(0.0001, 28_800, ns("2019-10-23T16:00:00+00:00"), AT), OpenInterest(5.0, AT)]


@pytest.mark.parametrize(("side", "position"), [("buy", "short"), ("sell", "long")])
def test_a_liquidation_names_the_position_not_the_order(side: str, position: str) -> None:
    at = Desk(XBTUSD)
    at.send(message("liquidation", id="x", price=10106, amount=9214, side=side))
    (told,) = at.heard.metrics
    assert isinstance(told, Liquidation)
    assert (told.position, told.price, told.size, told.venue_ns) == (position, 10106.0, 9214.0, AT)


def disconnect(symbols: Sequence[str] | None, exchange: str = "bitmex") -> str:
    more = {} if symbols is None else {"symbols": symbols}
    return json.dumps({"type": "disconnect", "exchange": exchange, "localTimestamp": "2019-10-23T10:33:00.000Z", **more})


@pytest.mark.parametrize("symbols", [["XBTUSD"], [], None])
def test_a_disconnect_empties_the_book_until_its_next_snapshot(symbols: Sequence[str] | None) -> None:
    at = Desk(XBTUSD)
    at.send(SNAPSHOT)
    assert at.send(disconnect(symbols)) is NOTHING
    assert (at.book.state, at.book.reason) == (BookState.BUFFERING, "disconnect")
    at.send(change(False, [(98.0, 1)], []))
    assert not at.book.published
    at.send(SNAPSHOT)
    assert at.book.levels(9) == LEVELS


@pytest.mark.parametrize("frame", [disconnect(["ETHUSD"]), disconnect([], "deribit")], ids=["another symbol", "another exchange"])
def test_a_disconnect_of_others_leaves_the_book(frame: str) -> None:
    at = Desk(XBTUSD)
    at.send(SNAPSHOT)
    assert at.send(frame) is NOTHING
    assert at.book.published


def test_a_book_that_cannot_be_fetched_anew_asks_for_a_new_connection() -> None:
    at = Desk(XBTUSD)
    at.send(SNAPSHOT)
    at.send(change(False, [(101.5, 1)], []))
    at.now += SECOND
    (drop,) = at.session.wake(at.now)
    assert isinstance(drop, Drop)
    assert "begins anew with a new connection only" in drop.reason


def test_trades_that_come_late_are_not_held_against_the_book() -> None:
    at = Desk(XBTUSD)
    at.send(SNAPSHOT)
    for _ in range(5):
        at.now += 600 * MS
        assert at.send(TRADE) is NOTHING
    assert at.book.published


def test_an_exchange_is_given_up_later_than_its_recorder_would() -> None:
    at = Desk(XBTUSD)
    at.send(SNAPSHOT)
    assert at.session.wake(at.now + 14 * SECOND) is NOTHING
    assert at.book.published
    (drop,) = at.session.wake(at.now + 15 * SECOND)
    assert isinstance(drop, Drop)
    assert at.send(SNAPSHOT) is NOTHING
    assert not at.book.published


@pytest.mark.parametrize(
    "frame",
    [
        message("book_snapshot", bids=[], asks=[]),
        message("trade", PERPETUAL, price=1, amount=1, side="buy"),
        TRADE.replace('"bitmex"', '"deribit"'),
        TRADE.replace("XBTUSD", "ETHUSD"),
        TRADE.replace('"bitmex"', '"kraken"'),
    ],
    ids=["a type that is not read", "another venue", "another exchange", "another symbol", "an exchange that is not known"],
)
def test_what_nobody_asked_for_is_counted_and_is_a_sign_of_life(frame: str) -> None:
    at = Desk(XBTUSD)
    assert at.send(frame) is NOTHING
    assert (at.board.ignored, at.session.pulse.last_ns, at.heard.trades) == (1, at.now, [])


HOSTILE: Sequence[tuple[str, Callable[[], str | bytes]]] = [
    ("negative amount", lambda: change(False, [(100.0, -1)], [])),
    ("zero price", lambda: change(False, [(0.0, 1)], [])),
    ("no amount", lambda: message("book_change", isSnapshot=True, bids=[{"price": 1}], asks=[])),
    ("no side", lambda: message("book_change", isSnapshot=True, bids=[])),
    ("no snapshot flag", lambda: message("book_change", bids=[], asks=[])),
    ("an old time", lambda: SNAPSHOT.replace("2019-10-23T10:32:49.669Z", "1999-10-23T10:32:49.669Z")),
    ("an old receive time", lambda: SNAPSHOT.replace("2019-10-23T10:32:49.740123Z", "1999-10-23T10:32:49.669Z")),
    ("no zone", lambda: SNAPSHOT.replace("49.669Z", "49.669")),
    ("an old funding time", lambda: message("derivative_ticker", fundingTimestamp="1999-10-23T10:32:49.669Z")),
    ("NaN", lambda: TRADE.replace("7996", "NaN")),
    ("1e400", lambda: TRADE.replace("7996", "1e400")),
    ("depth", lambda: '{"type":' + "[" * 5_000),
    ("bad UTF-8", lambda: b'{"type":"\xff"}'),
    ("no message", lambda: "[]"),
]


@pytest.mark.parametrize("make", [make for _, make in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_a_hostile_message_is_refused_and_changes_nothing(make: Callable[[], str | bytes]) -> None:
    at = Desk(XBTUSD)
    at.send(SNAPSHOT)
    with pytest.raises((*DECODE_ERRORS, BadFrame)):
        at.send(make())
    assert at.book.levels(9) == LEVELS
    heir = Heard()
    at.session.promote(heir, HealthBoard(), at.now)
    assert (at.heard.metrics, heir.metrics) == ([], [])


def test_a_refused_change_blanks_its_book() -> None:
    at = Desk(XBTUSD)
    at.send(SNAPSHOT)
    (drop,) = at.session.refused(change(False, [(100.0, -1)], []).encode(), at.now + 3 * SECOND)
    assert isinstance(drop, Drop)
    assert (at.book.state, at.book.reason) == (BookState.BUFFERING, "decode")
    assert at.session.refused(TRADE.replace("7996", "-1").encode(), at.now) is NOTHING
    assert at.board.stream(Stream(XBTUSD.id, Channel.TRADE)).quarantined == 1


def test_a_message_that_nobody_can_read_may_have_been_a_change_of_any_book() -> None:
    """There is no number by which a missing change would ever be found."""
    at = Desk(XBTUSD)
    at.send(SNAPSHOT)
    (drop,) = at.session.refused(b"{", at.now + 3 * SECOND)
    assert isinstance(drop, Drop)
    assert (at.book.state, at.book.reason) == (BookState.BUFFERING, "decode")


@pytest.mark.parametrize(
    ("url", "spoken"),
    [
        ("tardis://bitmex/public", True),
        ("ws://127.0.0.1:8001/ws-stream-normalized?options=%7B%7D", True),
        ("tardis-raw://bitmex/public", False),
        ("wss://ws.bitmex.com/realtime", False),
        ("", False),
    ],
)
def test_the_hub_gives_a_connection_the_session_of_what_is_spoken_at_its_url(url: str, spoken: bool) -> None:
    hub = Hub(VENUES, NoListener())
    hub.watch([XBTUSD], START)
    hub.open("one", Plan("BITMEX", "public", url, (Stream(XBTUSD.id, Channel.BOOK),)), START)
    assert isinstance(hub.connections["one"].session, tardis.TardisSession) is spoken


@pytest.mark.parametrize(
    ("exchange", "symbol", "place"),
    [
        ("bitmex", "XBTUSD", ("BITMEX", "public")),
        ("binance-delivery", "BTCUSD_PERP", ("BINANCE", "coinm")),
        ("bybit", "BTCUSDT", ("BYBIT", "linear")),
        ("bybit", "BTCPERP", ("BYBIT", "linear")),
        ("bybit", "BTC-26DEC25", ("BYBIT", "linear")),
        ("bybit", "BTCUSD", ("BYBIT", "inverse")),
        ("bybit", "BTCUSDH26", ("BYBIT", "inverse")),
        ("bybit-spot", "BTCUSDT", ("BYBIT", "spot")),
        ("okex-swap", "BTC-USDT-SWAP", ("OKX", "public")),
        ("kraken", "XBTUSD", None),
    ],
)
def test_an_exchange_and_a_symbol_tell_venue_and_market(exchange: str, symbol: str, place: tuple[str, str] | None) -> None:
    assert tardis.place_of(exchange, symbol) == place
    market = place[1] if place is not None else "x"
    assert place_of(f"tardis://{exchange}/{market}") == place


# captures


def line(text: str, local: str) -> str:
    return json.dumps({**json.loads(text), "localTimestamp": local})


def test_each_exchange_of_a_capture_becomes_a_connection_of_its_own_with_its_lines_as_they_were(tmp_path: Path) -> None:
    other = line(message("trade", PERPETUAL, price=5, amount=10, side="buy"), "2019-10-23T10:32:50.000001Z")
    lost = disconnect(None)
    path = tmp_path / "normalised.jsonl"
    path.write_text("\n".join([SNAPSHOT, other, '{"torn', TRADE.replace("bitmex", "kraken"), lost]) + "\n")
    report = import_capture([path], tmp_path / "made", venues=VENUES)
    assert [(each.conn, each.venue, each.market, each.url) for each in report.connections] == [
        ("bitmex-public", "BITMEX", "public", "tardis://bitmex/public"),
        ("deribit-public", "DERIBIT", "public", "tardis://deribit/public"),
    ]
    assert report.damage == (
        "normalised.jsonl line 3: it is no whole message of Tardis, so books begin anew with their next snapshot; left out",
        "normalised.jsonl line 4: its exchange kraken is none that arbtop knows; left out",
    )
    records = list(Recording(tmp_path / "made").records())
    frames = [(record.conn, record.payload.decode()) for record in records if record.kind == "t"]
    assert frames == [("bitmex-public", SNAPSHOT), ("deribit-public", other), ("bitmex-public", lost)]
    assert next(record.recv_ns for record in records if record.kind == "t") == START + 740_123_000
    hub = Hub(VENUES, NoListener())
    for record in records:
        if record.kind != "c":
            hub.handle(record)
        if record.payload == SNAPSHOT.encode():
            assert hub.connections["bitmex-public"].session.books[XBTUSD.id].levels(9) == LEVELS
    assert hub.connections["bitmex-public"].session.books[XBTUSD.id].reason == "disconnect"


@pytest.mark.parametrize("torn", ['{"torn', "[]", '{"type":"trade"}'])
def test_after_a_line_that_cannot_be_read_no_book_is_believed_until_its_next_snapshot(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "normalised.jsonl"
    after = [line(change(False, [(98.0, 1)], []), "2019-10-23T10:32:51.000000Z"), line(SNAPSHOT, "2019-10-23T10:32:52.000000Z")]
    path.write_text("\n".join([SNAPSHOT, torn, *after]) + "\n")
    import_capture([path], tmp_path / "made", venues=VENUES)
    hub, seen = Hub(VENUES, NoListener()), []
    for record in Recording(tmp_path / "made").records():
        hub.handle(record)
        if record.kind == "t":
            seen.append(hub.connections["bitmex-public"].session.books[XBTUSD.id].published)
    assert seen == [True, False, True]


def test_a_stream_of_few_symbols_may_be_silent_for_longer_than_a_link(tmp_path: Path) -> None:
    path = tmp_path / "normalised.jsonl"
    later = [line(change(False, [(98.0, 1)], []), f"2019-10-23T10:33:{second:02}.000000Z") for second in (3, 17, 33)]
    path.write_text("\n".join([SNAPSHOT, *later]) + "\n")
    report = import_capture([path], tmp_path / "made", venues=VENUES)
    assert report.notes[1:] == ("bitmex-public was silent for 16.0 s and is taken to have reconnected then",)
    kinds = [record.kind for record in Recording(tmp_path / "made").records()]
    assert kinds == ["i", "o", "t", "t", "t", "c", "o", "t", "c"]


def test_the_list_of_a_closed_venue_is_still_read_from_a_file(tmp_path: Path) -> None:
    from tests.unit.test_bitmex import INSTRUMENT_2024

    path, own = tmp_path / "normalised.jsonl", tmp_path / "active.json"
    path.write_text(SNAPSHOT + "\n")
    own.write_bytes(msgspec.json.encode([{**INSTRUMENT_2024, "tickSize": 0.5}]))
    report = import_capture([path], tmp_path / "made", venues={"BITMEX": Bitmex()}, instruments=own)
    (found,) = report.instruments
    assert (found.id, found.tick, found.assumed) == (XBTUSD.id, 0.5, False)
    (opened,) = [decode("o", record.payload) for record in Recording(tmp_path / "made").records() if record.kind == "o"]
    assert opened.url == "tardis://bitmex/public"  # type: ignore[attr-defined]
