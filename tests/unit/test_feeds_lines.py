"""The machinery as lines: whatever it says, each line has its cells, and what is not known is `—` and never a zero."""

from collections.abc import Mapping, Sequence
from math import inf, nan
from unicodedata import category

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from rich.cells import cell_len

from feeds.health import Health
from feeds.links import Breaker, ClockView, FeedsView, LinkView, PoolView, Recording
from feeds.model import MS, SECOND, BookState, Channel, Contract, Instrument, Kind, LinkState, Ns, Status, Stream
from tests.property.test_lines_fit import HOSTILE
from tui.formats import data_size
from tui.line import Line, pad, plain, text_of
from tui.lines.feed import detail_lines, wrapped
from tui.lines.feeds import (
    BOOK_STATES,
    LINK_STATES,
    RECORDED,
    SILENT_NS,
    Drawer,
    Machinery,
    Place,
    name_of,
    places,
    reason_text,
    state_of,
    title,
)
from tui.lines.machine import BREAKERS, Terminal, machine_lines
from tui.process import Cost

NOW: Ns = 1_790_784_000 * SECOND
HOUR: Ns = 3_600 * SECOND
GOOD = Health(
    frames=120_345,
    frames_per_s=412.0,
    bytes_per_s=188_000.0,
    last_ns=NOW - 12 * MS,
    gaps=0,
    resyncs=1,
    quarantined=0,
    ignored=0,
    late_ms=2.0,
    late_share=0.01,
    lag_ms=11.0,
    lag_error_ms=2.0,
    p50_ms=11.0,
    p99_ms=38.0,
    slowest_gap_ms=1_200.0,
)
COINS = ("BTC", "ETH", "SOL", "XRP", "BNB", "ADA", "DOGE", "AVAX")
MARKETS = (("BINANCE", "spot"), ("BINANCE", "usdm"), ("BYBIT", "spot"), ("BYBIT", "linear"), ("BYBIT", "inverse"))


def instrument(venue: str = "BINANCE", market: str = "spot", base: str = "BTC") -> Instrument:
    spot, inverse = market == "spot", market == "inverse"
    quote, settle = "USD" if inverse else "USDT", "" if spot else base if inverse else "USDT"
    return Instrument(
        id=f"{venue}:{base}/{quote}{f':{settle}' if settle else ''}",
        venue=venue,
        market=market,
        native=f"{base}{quote}",
        base=base,
        quote=quote,
        settle=settle,
        kind=Kind.SPOT if spot else Kind.PERP,
        contract=Contract.INVERSE if inverse else Contract.LINEAR,
        tick=0.1,
        lot=0.001,
    )


def link(slot: str, venue: str, market: str, streams: int = 0, **more: object) -> LinkView:
    facts: dict[str, object] = {
        "host": f"stream.{venue.lower()}.com:443",
        "state": LinkState.READY,
        "since_ns": NOW - 2 * HOUR,
        "opened_ns": NOW - 2 * HOUR,
        "renews_ns": NOW + 21 * HOUR + 50 * 60 * SECOND,
        "connects_left": 6,
        "frames": 4_012_345,
        "bytes": 2_345_678_901,
        "last_ns": NOW - 12 * MS,
        "raw": (
            (NOW - 90 * MS, '← {"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,"b":[["65012.1","0.5"]]}'),
            (NOW - 50 * MS, '→ {"method":"SUBSCRIBE","id":1}'),
        ),
        **more,
    }
    return LinkView(slot=slot, venue=venue, market=market, streams=streams, **facts)  # type: ignore[arg-type]


def machinery(coins: Sequence[str] = COINS, recorded: bool = False, **more: object) -> Machinery:
    """Forty instruments of five markets, five streams each, one connection a market."""
    carries: dict[str, tuple[Stream, ...]] = {}
    markets: dict[str, tuple[Instrument, Status]] = {}
    health: dict[Stream, Health] = {}
    links = []
    for at, (venue, market) in enumerate(MARKETS):
        streams: list[Stream] = []
        for base in coins:
            facts = instrument(venue, market, base)
            markets[facts.id] = facts, Status(LinkState.READY, BookState.SYNCED)
            streams += [Stream(facts.id, channel) for channel in Channel]
        slot = f"{venue}.{market}.1"
        carries[slot] = tuple(streams)
        health |= dict.fromkeys(streams, structs.replace(GOOD, frames_per_s=400.0 + at, lag_ms=11.0 + at))
        links.append(link(slot, venue, market, len(streams)))
    view = FeedsView(
        now_ns=NOW,
        links=tuple(links),
        pools=(
            PoolView(name="binance spot", host="api.binance.com", used=1204, limit=6000, queued=0, last_ms=81.0),
            PoolView(
                name="bybit",
                host="api.bybit.com",
                used=7000,
                limit=7200,
                queued=3,
                gate_ns=NOW + 43 * SECOND,
                breaker=Breaker.OPEN,
                failed=2,
                reason="answered with 429: too many requests",
            ),
        ),
        clocks={("BINANCE", "spot"): ClockView(3.2, 2.0), ("BYBIT", "linear"): ClockView(-1.0, 4.0)},
        said=((NOW - SECOND, "BYBIT linear: subscribe failed: no such topic"), (NOW, "BINANCE spot: error 2: bad request")),
        quarantined=3,
    )
    made = Machinery(view=view, carries=carries, health=health, markets=markets, health_ns=NOW, recorded=recorded, trouble={})
    return structs.replace(made, **more)


def with_link(made: Machinery, **more: object) -> Machinery:
    """The first connection is in another state."""
    first, *rest = made.view.links
    return structs.replace(made, view=structs.replace(made.view, links=(structs.replace(first, **more), *rest)))


def drawn(made: Machinery, width: int = 158) -> Mapping[str, str]:
    drawer = Drawer(made, {}, "block", width)
    return {place.key: text_of(drawer.line(place)) for place in places(made)}


FIRST = "BINANCE.spot.1"


# -- rows ----------------------------------------------------------------------------------------------------------------------


def test_each_stream_stands_under_the_connection_that_carries_it() -> None:
    made = machinery(("BTC", "ETH"))
    found = places(made)
    at = [place.key for place in found].index("BYBIT.spot.1")
    assert [place.slot for place in found[at : at + 11]] == ["BYBIT.spot.1"] * 11
    assert [place.stream.channel for place in found[at + 1 : at + 6] if place.stream is not None] == list(Channel)
    assert len(found) == 5 * 11
    assert len({place.key for place in found}) == len(found)


def test_a_stream_whose_connection_is_gone_is_not_lost_from_sight() -> None:
    made = machinery(("BTC",))
    left = structs.replace(made, view=structs.replace(made.view, links=made.view.links[1:]))
    lines = drawn(left)
    assert "no connection" in lines["-"]
    assert "○ down" in lines[" BINANCE:BTC/USDT book"]
    assert "412" not in lines[" BINANCE:BTC/USDT book"]


def test_a_market_whose_instruments_cannot_be_listed_stands_on_top_with_the_reason() -> None:
    made = machinery(("BTC",), trouble={("BYBIT", "linear"): "api.bybit.com: no answer"})
    first, *_ = places(made)
    line = text_of(Drawer(made, {}, "block", 100).line(first))
    assert "BYBIT linear" in line
    assert "○ no list" in line
    assert "api.bybit.com: no answer" in line


def test_a_market_that_has_closed_for_good_is_called_closed_and_not_waited_for() -> None:
    made = machinery(("BTC",), trouble={("BITMEX", "public"): "venue closed on 2026-09-23", ("BYBIT", "linear"): "no answer"})
    made = structs.replace(made, shut={("BITMEX", "public")})
    first, second, *_ = places(made)
    line = text_of(Drawer(made, {}, "block", 100).line(first))
    assert "BITMEX public" in line
    assert "○ closed" in line
    assert "venue closed on 2026-09-23" in line
    assert "○ no list" in text_of(Drawer(made, {}, "block", 100).line(second))
    told = [text_of(each) for each in detail_lines(first, made, 100)]
    assert any("state" in each and "○ closed" in each for each in told)
    assert any("why" in each and "venue closed on 2026-09-23" in each for each in told)


def test_a_row_says_its_figures_with_units_in_titles() -> None:
    made = machinery(("BTC",))
    drawer = Drawer(made, {}, "block", 158)
    head = text_of(drawer.streams.head).split()
    line = drawn(made)[f"{FIRST} BINANCE:BTC/USDT book"]
    assert line.split() == [
        *("BIN", "spot", "BTC/USDT", "book", "●", "synced", "400", "188", "11ms", "+2ms", "11ms", "38ms", "0", "1", "0", "12ms"),
    ]
    assert {"msg/s", "kB/s", "lag", "late", "gaps", "resync", "refused", "last"} <= set(head)


def test_what_nobody_has_heard_of_yet_is_a_dash_and_not_a_zero() -> None:
    made = machinery(("BTC",))
    lines = drawn(structs.replace(made, health={}))
    assert (
        lines[f"{FIRST} BINANCE:BTC/USDT trade"].split() == ["BIN", "spot", "BTC/USDT", "trade", "◐", "waiting", *("—" * 11)][:17]
    )
    unknown = structs.replace(GOOD, lag_ms=nan, late_ms=nan, p50_ms=nan, p99_ms=nan, last_ns=0)
    made = structs.replace(made, health=dict.fromkeys(made.health, unknown))
    assert drawn(made)[f"{FIRST} BINANCE:BTC/USDT book"].count("—") == 5


def test_lag_and_lateness_of_a_dead_connection_are_not_shown_as_if_they_were_of_now() -> None:
    made = with_link(machinery(("BTC",)), state=LinkState.DOWN, opened_ns=0, reason="connection lost")
    line = drawn(made)[f"{FIRST} BINANCE:BTC/USDT book"]
    assert "○ down" in line
    assert "+2ms" not in line


def test_a_lag_below_0_is_shown_as_it_is_and_not_as_unknown() -> None:
    made = machinery(("BTC",))
    made = structs.replace(made, health=dict.fromkeys(made.health, structs.replace(GOOD, lag_ms=-9.0)))
    assert drawn(made)[f"{FIRST} BINANCE:BTC/USDT book"].split()[8] == "−9ms"


@pytest.mark.parametrize("state", LinkState)
def test_each_state_of_a_connection_is_a_sign_and_a_word(state: LinkState) -> None:
    line = drawn(with_link(machinery(("BTC",)), state=state))[FIRST]
    assert f"{LINK_STATES[state][0]} {state}" in line


@pytest.mark.parametrize("width", [60, 80, 118, 158])
def test_the_reason_of_a_connection_that_is_not_ready_is_on_every_size_of_screen(width: int) -> None:
    made = with_link(
        machinery(("BTC",)), state=LinkState.DOWN, opened_ns=0, since_ns=NOW - 5 * SECOND, attempt=3, reason="timed out"
    )
    assert "try 3: timed out" in drawn(made, width)[FIRST]


def test_a_ready_connection_shows_its_host_and_no_old_reason() -> None:
    made = with_link(machinery(("BTC",)), reason="connection lost")
    line = drawn(made)[FIRST]
    assert "stream.binance.com:443" in line
    assert "lost" not in line


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "renews in 21h50"),
        ({"renews_ns": 0}, "never renewed"),
        ({"renewing": True}, "renewing now"),
        ({"opened_ns": 0, "state": LinkState.DOWN, "next_ns": NOW + 3 * SECOND}, "next try in 0:03"),
        ({"opened_ns": 0, "state": LinkState.CONNECTING}, "trying now"),
        ({"opened_ns": 0, "state": LinkState.PAUSED}, "p goes on"),
        ({"opened_ns": 0, "state": LinkState.CLOSED}, "r tries again"),
    ],
)
def test_what_a_connection_does_next_is_said(more: dict[str, object], says: str) -> None:
    assert says in drawn(with_link(machinery(("BTC",)), **more))[FIRST]


def test_a_recording_claims_no_budgets_attempts_or_renewals() -> None:
    line = drawn(machinery(("BTC",), recorded=True))[FIRST]
    for word in ("left", "reconnect", "renew"):
        assert word not in line
    text = "\n".join(map(text_of, machine_lines(machinery(("BTC",), recorded=True), Cost(), Terminal(), 80)))
    assert "R starts" not in text
    assert RECORDED in text


@pytest.mark.parametrize(
    ("channel", "silent_ns", "says"),
    [
        (Channel.TICKER, SILENT_NS, "● heard"),
        (Channel.TICKER, SILENT_NS + 1, "◐ silent"),
        (Channel.TRADE, 9 * HOUR, "● heard"),  # nobody has to trade
    ],
)
def test_a_stream_that_must_speak_and_does_not_is_called_silent(channel: Channel, silent_ns: Ns, says: str) -> None:
    made = machinery(("BTC",))
    stream = Stream("BINANCE:BTC/USDT", channel)
    health = structs.replace(GOOD, last_ns=NOW - silent_ns)
    assert state_of(stream, health, made.view.links[0], made)[0] == says


@pytest.mark.parametrize("state", BookState)
def test_a_book_that_is_not_synced_says_so_in_a_word(state: BookState) -> None:
    made = machinery(("BTC",))
    facts, status = made.markets["BINANCE:BTC/USDT"]
    made = structs.replace(made, markets={**made.markets, facts.id: (facts, structs.replace(status, book=state))})
    assert BOOK_STATES[state][0] in drawn(made)[f"{FIRST} BINANCE:BTC/USDT book"]


def test_silence_is_counted_from_when_streams_were_looked_at_not_from_the_frame() -> None:
    made = machinery(("BTC",))
    late = structs.replace(made, view=structs.replace(made.view, now_ns=NOW + 900 * MS))
    assert drawn(late)[f"{FIRST} BINANCE:BTC/USDT book"].split()[-1] == "12ms"


# -- limits, clocks, process ---------------------------------------------------------------------------------------------------


def machine(made: Machinery, width: int = 158, **more: object) -> str:
    cost = Cost(
        cpu_share=0.09,
        rss_bytes=61e6,
        peak_bytes=70e6,
        descriptors=43,
        tasks=21,
        lag_p50_ms=0.2,
        lag_p99_ms=6.0,
        lag_max_ms=141.0,
        up_ms=90_000.0,
    )
    terminal = Terminal(
        name="xterm-256color",
        within="tmux",
        colours="256 colours",
        synchronised=False,
        fps=10.0,
        frames=990,
        left_out=10,
        frame_ms=7.9,
        bytes_per_s=96_000.0,
        waiting_bytes=0,
    )
    return "\n".join(map(text_of, machine_lines(made, structs.replace(cost, **more), terminal, width)))


@pytest.mark.parametrize("width", [78, 80, 118, 158])
def test_limits_clocks_and_own_cost_are_there_whole(width: int) -> None:
    text = machine(machinery(("BTC",)), width)
    for part in (
        *("1204/6000", "7000/7200", "○ 0:43", "○ open", "● closed", "+3ms", "± 2ms", "−1ms"),
        *("9 % of a core", "61 MB", "43 descriptors", "21 tasks", "p50  0.2ms", "p99  6.0ms", "most  141ms in 60 s"),
        *("9.9 of 10 fps", "10 left out", "tmux · xterm-256color · 256 colours", "96 kB/s out", "0 B waiting", "3 refused"),
        *("recorder", "off · R starts it"),
    ):
        assert part in text, part


def test_where_the_system_does_not_tell_memory_and_descriptors_are_dashes() -> None:
    text = machine(machinery(("BTC",)), rss_bytes=nan, descriptors=None, cpu_share=nan, lag_p99_ms=nan)
    assert "— % of a core" in text
    assert "— descriptors" in text
    assert "—, peak 70 MB" in text


def test_a_recording_under_way_says_how_much_and_where_to_and_a_failed_one_why() -> None:
    made = machinery(("BTC",))
    under_way = Recording(directory="/data/rec", bytes=12_400_000, since_ns=NOW - 123 * SECOND)
    text = machine(structs.replace(made, view=structs.replace(made.view, recording=under_way)))
    assert "12 MB in 2m03s  → /data/rec" in text
    failed = structs.replace(under_way, failure="no space left")
    assert "▲ stopped: no space left" in machine(structs.replace(made, view=structs.replace(made.view, recording=failed)))


def test_each_state_of_a_breaker_is_a_sign_and_a_word() -> None:
    assert len({text for text, _ in BREAKERS.values()}) == len(Breaker)
    assert all(text.partition(" ")[2] == str(state) for state, (text, _) in BREAKERS.items())


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (61e6, "61 MB"), (1.24e9, "1.2 GB"), (nan, "—"), (None, "—"), (-1, "—")],
)
def test_an_amount_of_bytes_has_its_unit(amount: float | None, text: str) -> None:
    assert data_size(amount) == text


# -- in detail -----------------------------------------------------------------------------------------------------------------


def detail(made: Machinery, place: Place, width: int = 118) -> str:
    return "\n".join(map(text_of, detail_lines(place, made, width)))


def test_the_detail_shows_the_last_messages_newest_first_and_what_its_venue_said() -> None:
    made = machinery(("BTC",))
    place = next(place for place in places(made) if place.stream is not None)
    text = detail(made, place)
    assert text.index("→ {") < text.index("← {")
    assert "BINANCE spot: error 2: bad request" in text
    assert "BYBIT linear" not in text


def test_a_long_message_goes_on_in_the_next_line_and_loses_nothing() -> None:
    made = with_link(machinery(("BTC",)), raw=((NOW, "← " + "0123456789" * 15),))
    text = detail(made, Place(FIRST, FIRST), 60)
    assert "".join(line[16:].rstrip() for line in text.splitlines() if "0123" in line).startswith("← " + "0123456789" * 15)


def test_wrapping_loses_no_character_and_no_piece_is_too_wide() -> None:
    for text in (*HOSTILE, "市場" * 30):
        pieces = wrapped(text, 7)
        assert "".join(pieces) == plain(text)
        assert all(cell_len(piece) <= 7 for piece in pieces)


def test_the_attempt_is_counted_only_while_it_is_one() -> None:
    trying = link("s", "BINANCE", "spot", opened_ns=0, attempt=3, reason="refused")
    assert reason_text(trying) == "try 3: refused"
    assert reason_text(structs.replace(trying, opened_ns=NOW)) == "refused"


# -- whatever it says, each line has its cells ---------------------------------------------------------------------------------

NUMBER = st.one_of(st.sampled_from((0.0, -0.0, 1.0, -1.0, 1e300, -1e300, 5e-324, nan, inf, -inf)), st.floats())
NAME = st.one_of(st.sampled_from((*HOSTILE, "BINANCE.usdm.1", "X" * 300)), st.text(max_size=20))
NS = st.one_of(st.sampled_from((0, 1, NOW, 2**63 - 1)), st.integers(0, 2**63))
COUNT = st.one_of(st.integers(0, 10**15), st.just(0))
IDS = ("BINANCE:BTC/USDT", "市場:\x1b[2J", "X" * 200)
STREAM = st.builds(Stream, st.sampled_from(IDS), st.sampled_from(Channel))
HEALTH = st.builds(
    Health,
    **{
        name: COUNT if name in ("frames", "gaps", "resyncs", "quarantined", "ignored") else NS if name == "last_ns" else NUMBER
        for name in Health.__struct_fields__
    },
)
RAW = st.lists(st.tuples(NS, NAME), max_size=3).map(tuple)
LINK = st.builds(
    LinkView,
    slot=NAME,
    venue=NAME,
    market=NAME,
    host=NAME,
    state=st.sampled_from(LinkState),
    reason=NAME,
    renewing=st.booleans(),
    raw=RAW,
    **dict.fromkeys(("streams", "attempt", "reconnects", "connects_left", "frames", "bytes"), COUNT),
    **dict.fromkeys(("since_ns", "next_ns", "opened_ns", "renews_ns", "last_ns"), NS),
)
POOL = st.builds(
    PoolView,
    name=NAME,
    host=NAME,
    gate_ns=NS,
    breaker=st.sampled_from(Breaker),
    last_ms=NUMBER,
    reason=NAME,
    **dict.fromkeys(("used", "limit", "queued", "answered", "failed"), COUNT),
)
VIEW = st.builds(
    FeedsView,
    now_ns=NS,
    links=st.lists(LINK, max_size=3, unique_by=lambda each: each.slot).map(tuple),
    pools=st.lists(POOL, max_size=2).map(tuple),
    clocks=st.dictionaries(st.tuples(NAME, NAME), st.builds(ClockView, NUMBER, NUMBER), max_size=2),
    said=RAW,
    recording=st.builds(Recording, directory=NAME, bytes=COUNT, since_ns=NS, failure=NAME),
    wall_step_ms=NUMBER,
    quarantined=COUNT,
    ignored=COUNT,
)
STATUS = st.builds(Status, st.sampled_from(LinkState), st.sampled_from(BookState), NAME)
FACTS = st.builds(structs.replace, st.just(instrument()), base=NAME, quote=NAME, venue=NAME, native=NAME)
COST = st.builds(
    Cost,
    descriptors=st.one_of(st.none(), COUNT),
    tasks=st.one_of(st.none(), COUNT),
    **dict.fromkeys(("cpu_share", "rss_bytes", "peak_bytes", "lag_p50_ms", "lag_p99_ms", "lag_max_ms", "up_ms"), NUMBER),
)
TERMINAL = st.builds(
    Terminal,
    name=NAME,
    within=NAME,
    colours=NAME,
    synchronised=st.one_of(st.none(), st.booleans()),
    frames=COUNT,
    left_out=COUNT,
    waiting_bytes=st.one_of(st.none(), COUNT),
    **dict.fromkeys(("fps", "frame_ms", "bytes_per_s"), NUMBER),
)


@st.composite
def machineries(draw: st.DrawFn) -> Machinery:
    view = draw(VIEW)
    return Machinery(
        view=view,
        carries={each.slot: tuple(draw(st.lists(STREAM, max_size=4, unique=True))) for each in view.links},
        health=draw(st.dictionaries(STREAM, HEALTH, max_size=6)),
        markets=draw(st.dictionaries(st.sampled_from(IDS), st.tuples(FACTS, STATUS), max_size=3)),
        health_ns=draw(NS),
        trouble=draw(st.dictionaries(st.tuples(NAME, NAME), NAME, max_size=2)),
        recorded=draw(st.booleans()),
    )


def sound(lines: Sequence[Line], width: int) -> None:
    for line in lines:
        text = text_of(line)
        assert cell_len(text) == width, (width, text)
        assert text_of(pad(line, width)) == text
        assert plain(text) == text
        assert not any(category(character) in ("Cc", "Cf", "Cs") for character in text)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    made=machineries(),
    cost=COST,
    terminal=TERMINAL,
    width=st.integers(20, 250),
    rate=NUMBER,
    spark=st.sampled_from(("braille", "block", "ascii")),
)
def test_no_line_breaks(made: Machinery, cost: Cost, terminal: Terminal, width: int, rate: float, spark: str) -> None:
    drawer = Drawer(made, {stream: [(made.health_ns, rate)] for stream in made.health}, spark, width)  # type: ignore[arg-type]
    shown = places(made)
    assert len({place.key for place in shown}) == len(shown) or made.trouble or made.view.links
    sound([drawer.streams.head, *map(drawer.line, shown)], width)
    sound(machine_lines(made, cost, terminal, width), width)
    for place in shown:
        sound(detail_lines(place, made, width), width)
        assert name_of(place.stream.instrument, made) if place.stream is not None else True
    assert title(made)


@pytest.mark.parametrize("width", [58, 60, 80, 118, 158])
def test_columns_stand_where_they_stood_whatever_the_figures_are(width: int) -> None:
    calm, wild = machinery(("BTC",)), machinery(("BTC",))
    wild = structs.replace(
        wild, health={stream: structs.replace(GOOD, frames_per_s=98_765.0, gaps=99_999, lag_ms=-inf) for stream in wild.health}
    )
    for key, line in drawn(calm, width).items():
        other = drawn(wild, width)[key]
        assert [at for at, sign in enumerate(line) if sign in "●◐○"] == [at for at, sign in enumerate(other) if sign in "●◐○"]
        assert line.rstrip()[-1:].isascii() == other.rstrip()[-1:].isascii() or "—" in other or "…" in other
