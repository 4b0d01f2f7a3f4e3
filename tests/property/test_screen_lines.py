"""Whatever the engine says, each line of each screen takes exactly its cells and holds nothing that a terminal obeys.

The figures are worse than an engine's: nan, infinities and 1e300 where numbers stand, hostile names, books without a side.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from math import inf, nan
from pathlib import Path
from typing import Any, Final, cast
from unicodedata import category

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.filter import NoColor
from textual.geometry import Region

from analytics.alert import Alert, AlertState, Leg, Severity
from analytics.fx import COINS, FxRate, Missing, Source
from analytics.ladder import AxisView, CursorView, LadderColumn
from analytics.routes import Axis
from analytics.snapshot import BookView, MarketView, PairView, Print, RouteDetail, RouteView, Snapshot
from analytics.tracker import Episode, RouteQuote
from feeds.model import Contract, Instrument, Kind
from tests.property.test_lines_fit import HOSTILE
from tui.keys import TABLE
from tui.line import NO_LINE, Beside, Line, Row, pad, plain, text_of
from tui.lines import alerts, book, cursor, desk, header, help, route, tape
from tui.playback import PlaybackStatus
from tui.scene import Held, Scene, Whose
from tui.theme import load_theme
from tui.widgets.ascii import AsciiFilter
from tui.widgets.ladder import LadderGrid
from tui.widgets.live_grid import LiveGrid
from tui.widgets.palette import Palette
from tui.worklist import Item, Mark

FINITE: Final = (0.0, -0.0, 1.0, -1.0, 0.05, 65_012.1, -3.7, 1e9, 1e300, -1e300, 5e-324, 1e-9)
NUMBER: Final = st.one_of(st.sampled_from((*FINITE, nan, inf, -inf)), st.floats())
MAYBE: Final = st.one_of(st.none(), NUMBER)
SIZE: Final = st.one_of(st.sampled_from((0.0, 0.5, 1204.0, 1e300, inf, nan)), st.floats(1e-12, 1e12))
NAME: Final = st.one_of(st.sampled_from((*HOSTILE, "[BTC-PERP]", "BINANCE:BTC/USDT", "X" * 300)), st.text(max_size=20))
WORD: Final = st.one_of(st.sampled_from(("", "state", "late", "age", "quote", "no mark", "gap", "silent")), NAME)
NS: Final = st.one_of(st.sampled_from((0, 1, 1_700_000_000 * 10**9, 2**63 - 1)), st.integers(0, 2**63))
COUNT: Final = st.integers(0, 10**12)
WIDTH: Final = st.integers(20, 250)
HISTORY: Final = st.lists(st.tuples(NS, NUMBER), max_size=5).map(lambda found: tuple(sorted(found, key=lambda each: each[0])))
TICK: Final = st.sampled_from((0.01, 0.1, 1.0, 1e-8, 1e300))
IDS: Final = ("A:BTC/USDT", "B:BTC/USDT:USDT", "C:市場/\x1b[2J", "D:[BTC-PERP]")
ID: Final = st.sampled_from(IDS)

INSTRUMENT: Final = st.builds(
    Instrument,
    id=ID,
    venue=NAME,
    market=NAME,
    native=NAME,
    base=NAME,
    quote=NAME,
    settle=NAME,
    kind=st.sampled_from(Kind),
    contract=st.sampled_from(Contract),
    contract_size=st.sampled_from((1.0, 100.0, 1e-8)),
    tick=TICK,
    lot=TICK,
    expiry_ns=st.sampled_from((0, 1_798_000_000 * 10**9)),
    funding_interval_s=st.sampled_from((0, 28_800)),
    assumed=st.booleans(),
)
MARKET: Final = st.builds(
    MarketView,
    instrument=ID,
    facts=INSTRUMENT,
    native=NAME,
    refused=WORD,
    link=WORD,
    book=WORD,
    reason=WORD,
    depth_quote=st.dictionaries(st.sampled_from(("1", "5", "25")), st.tuples(NUMBER, NUMBER), max_size=3),
    mark_index_n=COUNT,
    mark_index_history=HISTORY,
    premium_history=HISTORY,
    premium_n=COUNT,
    depth_reach_bps=st.one_of(st.just(()), st.tuples(NUMBER, NUMBER)),
    badge=st.sampled_from(("", "MECH")),
    funding_interval_s=st.one_of(st.none(), st.integers(1, 10**9)),
    funding_next_ns=st.one_of(st.none(), NS),
    last_aggressor=st.sampled_from((None, "buy", "sell")),
    last_ns=st.one_of(st.none(), NS),
    assumed=st.booleans(),
    **dict.fromkeys(
        (
            *("age_ms", "pulse_ms", "late_ms", "lag_ms", "bid", "bid_size", "ask", "ask_size", "mid", "spread_bps", "micro"),
            *("imbalance", "mark", "index", "mark_index_bps", "mark_index_z", "mechanical_bps", "residual_bps", "premium_bps"),
            *("premium_z", "funding_rate", "open_interest", "last_price", "last_size"),
        ),
        MAYBE,
    ),
)
PAIR: Final = st.builds(
    PairView,
    pair=NAME,
    other=ID,
    reference=ID,
    axis=st.sampled_from(("PRICE", "INDEX", "RAW", "")),
    basis_bps=MAYBE,
    mean_bps=MAYBE,
    sd_bps=MAYBE,
    z=MAYBE,
    n=COUNT,
    signal=st.none(),
    history=HISTORY,
)
QUOTE: Final = st.builds(RouteQuote, **dict.fromkeys(RouteQuote.__struct_fields__, NUMBER))
EPISODE: Final = st.builds(Episode, **{name: NS if name.endswith("_ns") else QUOTE for name in Episode.__struct_fields__})
FX: Final = st.builds(
    FxRate,
    currency=st.sampled_from(COINS),
    usd=NUMBER,
    uncertainty_bps=NUMBER,
    source=st.sampled_from((None, *Source)),
    at_ns=NS,
    estimates=COUNT,
    missing=st.sampled_from(Missing),
)
DETAIL: Final = st.builds(
    RouteDetail,
    fx_bps=MAYBE,
    rates=st.lists(FX, max_size=2).map(tuple),
    buy_price=MAYBE,
    sell_price=MAYBE,
    buy_fee_bps=MAYBE,
    sell_fee_bps=MAYBE,
    fills=st.integers(1, 2),
    out_bps=MAYBE,
    nearest_bps=MAYBE,
    nearest_ns=NS,
    refusals=st.lists(st.tuples(WORD, COUNT), max_size=3).map(tuple),
)
ROUTE: Final = st.builds(
    RouteView,
    route=NAME,
    buy=ID,
    sell=ID,
    kind=st.sampled_from(("LOCKED", "CONVERGENCE", "UNSPLIT")),
    axis=st.sampled_from(("PRICE", "INDEX", "RAW")),
    binding=st.one_of(st.none(), NAME),
    refused=WORD,
    episode=st.one_of(st.none(), EPISODE),
    detail=DETAIL,
    **dict.fromkeys(("in_bps", "fees_bps", "edge_bps", "bailout_bps", "base", "executable_base"), MAYBE),
)
LEG: Final = st.builds(Leg, instrument=st.one_of(ID, NAME), role=NAME, price=MAYBE, size_base=MAYBE, age_ms=MAYBE)
SCOPE: Final = st.one_of(NAME, st.tuples(ID, st.sampled_from((" > ", " / ")), ID).map("".join))
ALERT: Final = st.builds(
    Alert,
    seq=COUNT,
    opened_ns=NS,
    closed_ns=NS,
    rule=NAME,
    severity=st.sampled_from(Severity),
    scope=SCOPE,
    state=st.sampled_from(AlertState),
    value=MAYBE,
    unit=st.one_of(st.sampled_from(("bp", "ms", "sd", "ratio", "")), NAME),
    enter=NUMBER,
    exit=NUMBER,
    peak=MAYBE,
    peak_ns=NS,
    legs=st.lists(LEG, max_size=3).map(tuple),
    fees_bps=MAYBE,
    quality=WORD,
    repeats=COUNT,
    acked_ns=NS,
    recording_pos=COUNT,
)
ITEM: Final = st.builds(Item, alert=ALERT, mark=st.sampled_from(Mark), words=st.just(""))
LEVELS: Final = st.lists(st.tuples(st.sampled_from((65_012.1, 1e-9, 1e300)), SIZE), max_size=12).map(tuple)
BOOK: Final = st.builds(BookView, instrument=ID, bids=LEVELS, asks=LEVELS)
PRINT: Final = st.builds(
    Print,
    instrument=st.one_of(ID, NAME),
    recv_ns=NS,
    price=NUMBER,
    size_base=NUMBER,
    notional_quote=NUMBER,
    aggressor=st.sampled_from(("buy", "sell")),
    block=st.booleans(),
)
MARKETS: Final = st.lists(MARKET, min_size=0, max_size=len(IDS)).map(
    lambda found: tuple(structs.replace(market, instrument=IDS[at]) for at, market in enumerate(found))
)
SNAPSHOT: Final = st.builds(
    Snapshot,
    fx=st.lists(FX, max_size=2).map(tuple),
    now_ns=NS,
    markets=MARKETS,
    books=st.lists(BOOK, max_size=3).map(tuple),
    pairs=st.lists(PAIR, max_size=3).map(tuple),
    routes=st.lists(ROUTE, max_size=3).map(tuple),
    alerts=st.just(()),
    axes=st.just(()),
    tape=st.lists(PRINT, max_size=3).map(tuple),
)
STATUS: Final = st.builds(
    PlaybackStatus,
    now_ns=NS,
    start_ns=NS,
    end_ns=NS,
    share=st.floats(0, 1),
    speed=st.sampled_from((0.1, 1.0, inf)),
    paused=st.booleans(),
    finished=st.booleans(),
    seeking=st.one_of(st.none(), st.floats(0, 1)),
    exact=st.booleans(),
    position=COUNT,
    source=NAME,
    damage=NAME,
)
SCENE: Final = st.builds(
    Scene,
    snapshot=SNAPSHOT,
    status=STATUS,
    fees=st.builds(Whose, tier=NAME, confirmed=st.booleans(), own=COUNT),
    size_usd=SIZE,
    judged_usd=SIZE,
    unacked=st.dictionaries(st.sampled_from(Severity), COUNT),
    items=st.lists(ITEM, max_size=2).map(tuple),
    held=st.one_of(st.none(), st.builds(Held, since_ns=NS, now_ns=NS, alerts=COUNT)),
)
ROW: Final = st.one_of(st.none(), st.integers(-40, 40))


@st.composite
def axis_views(draw: st.DrawFn, names: Sequence[str]) -> AxisView:
    """An axis of some of the markets, with rows that are not those of any price."""
    rows = draw(st.integers(1, 12))
    sizes = st.lists(SIZE, min_size=rows, max_size=rows).map(tuple)
    column = st.builds(
        LadderColumn,
        instrument=st.just(""),
        hollow=st.booleans(),
        bids=sizes,
        asks=sizes,
        bids_above=SIZE,
        asks_below=SIZE,
        bid=MAYBE,
        ask=MAYBE,
        **dict.fromkeys(("bid_row", "ask_row", "last_row", "mine_bid_row", "mine_ask_row"), ROW),
        **dict.fromkeys(("deepest_bid_row", "deepest_ask_row"), st.one_of(st.none(), ROW)),
    )
    centre = draw(ROW)
    return AxisView(
        name=draw(NAME),
        axis=draw(st.sampled_from(Axis)),
        step=draw(st.sampled_from((0.1, 1.0, 6.5, 1e-9, 1e9))),
        decimals=draw(st.integers(0, 12)),
        rows=rows,
        centre=centre,
        fair=draw(st.one_of(st.none(), st.sampled_from((0.0, -3.2, 65_012.1, 1e-9, 1e12)))) if centre is not None else None,
        members=tuple(structs.replace(draw(column), instrument=name) for name in names),
        cursor=None,
    )


CURSOR: Final = st.one_of(
    st.none(),
    st.builds(
        CursorView,
        instrument=ID,
        row=st.integers(-40, 40),
        side=st.sampled_from(("bids", "asks")),
        **dict.fromkeys(("base", "quote", "average_price", "cost_bps"), NUMBER),
    ),
)
FEW: Final = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def sound(lines: Iterable[Line | Beside], width: int) -> None:
    """Each line has its cells, as the widget will draw it, and nothing that moves the cursor or turns the writing round."""
    for line in lines:
        text = text_of(line)
        assert cell_len(text) == width, (width, text)
        assert text_of(pad(Line(line.spans), width)) == text
        assert plain(text) == text
        assert not any(category(character) in ("Cc", "Cf", "Cs") for character in text)


@FEW
@given(scene=SCENE, width=WIDTH, here=st.sampled_from(("desk", "book", "alerts", "")))
def test_no_header_breaks(scene: Scene, width: int, here: str) -> None:
    sound(header.header_lines(scene, here, width), width)


@FEW
@given(keys=st.lists(st.tuples(NAME, NAME), max_size=12).map(tuple), width=WIDTH)
def test_no_footer_breaks(keys: tuple[tuple[str, str], ...], width: int) -> None:
    sound([header.footer_line(keys, width)], width)


@FEW
@given(
    snapshot=SNAPSHOT,
    width=WIDTH,
    spark=st.sampled_from(("braille", "block", "ascii")),
    flash=st.booleans(),
)
def test_no_row_of_desk_breaks(snapshot: Snapshot, width: int, spark: Any, flash: bool) -> None:
    markets, routes = desk.market_table(width), desk.route_table(width)
    facts = {market.instrument: market for market in snapshot.markets}
    basis = desk.same_venue_basis(snapshot)
    sound([*markets.heads, *routes.heads], width)
    for market in snapshot.markets:
        pair = basis.get(market.instrument) or next(iter(snapshot.pairs), None)
        sound([desk.market_line(markets, market, pair, snapshot.now_ns, spark, 50, flash)], width)
    sound((desk.route_line(routes, each, facts, snapshot.now_ns) for each in snapshot.routes), width)


@FEW
@given(each=ROUTE, markets=MARKETS, size_usd=SIZE, now=NS, width=WIDTH)
def test_no_detail_of_a_route_breaks(
    each: RouteView, markets: tuple[MarketView, ...], size_usd: float, now: int, width: int
) -> None:
    facts = {market.instrument: market for market in markets}
    assert each.detail is not None
    sound(route.route_lines(each, each.detail, facts, size_usd, now, width), width)
    assert plain(route.route_title(each, facts)) is not None


@FEW
@given(item=ITEM, trigger=st.one_of(st.none(), SNAPSHOT), markets=MARKETS, now=NS, exact=st.booleans(), width=WIDTH)
def test_no_alert_breaks(
    item: Item, trigger: Snapshot | None, markets: tuple[MarketView, ...], now: int, exact: bool, width: int
) -> None:
    facts = {market.instrument: market for market in markets}
    layout = alerts.table(width)
    sound([layout.head, alerts.row(layout, item, facts, now)], width)
    sound(alerts.detail_lines(item, trigger, facts, now, exact, width), width)


@FEW
@given(data=st.data(), width=WIDTH, unit=st.sampled_from(("quote", "base", "contracts")), cumulative=st.booleans())
def test_no_ladder_breaks(data: st.DataObject, width: int, unit: Any, cumulative: bool) -> None:
    found = data.draw(MARKETS)
    markets = {market.instrument: market for market in found}
    names = list(markets)
    cut = data.draw(st.integers(0, len(names)))
    axes = tuple(data.draw(axis_views(part)) for part in (names[:cut], names[cut:]) if part)
    axes = tuple(structs.replace(axis, rows=axes[0].rows, members=axis.members) for axis in axes if axis.rows == axes[0].rows)
    before = dict.fromkeys(names, data.draw(st.sampled_from((0.0, 1.0, 5e6))))
    full = book.full_bars(axes, unit, cumulative, before)
    drawn = book.Ladder(unit=unit, cumulative=cumulative, selected=data.draw(ID), full=full)
    sound(book.heads(axes, markets, drawn, width), width)
    sound((line for _, line in book.Rows().make(axes, markets, drawn, width)), width)
    for axis in axes:
        pointed = structs.replace(axis, cursor=data.draw(CURSOR))
        text = cursor.cursor_text(pointed, found[0], data.draw(st.integers(-40, 40)), width)
        sound([pad(Line(((text, "text"),)), width)], width)


@FEW
@given(prints=st.lists(PRINT, max_size=4), markets=MARKETS, width=WIDTH)
def test_no_print_breaks(prints: list[Print], markets: tuple[MarketView, ...], width: int) -> None:
    layout = tape.tape_table(width)
    facts = {market.instrument: market for market in markets}
    sound([layout.head, *(tape.tape_line(layout, trade, facts) for trade in prints)], width)


@FEW
@given(
    ids=st.lists(st.sampled_from([key.id for key in TABLE]), unique=True),
    legend=st.lists(st.tuples(NAME, st.lists(st.tuples(NAME, NAME), max_size=3)), max_size=2),
    width=WIDTH,
)
def test_no_help_breaks(ids: list[str], legend: list[tuple[str, list[tuple[str, str]]]], width: int) -> None:
    sound(help.help_lines(ids, legend, width), width)


# The widget.

NOWHERE: Final = Path("no-such-directory")
SPANS: Final = st.lists(st.tuples(NAME, st.sampled_from(("text", "dim", "bid", "ask_bar", "no such role"))), max_size=4).map(
    tuple
)
LINE: Final = st.builds(Line, SPANS, st.sampled_from(("", "cursor", "shade", "no such ground")))
PALETTE: Final = Palette(load_theme("okabe", NOWHERE))


class Watched(LadderGrid):
    """A grid that remembers which lines it asked to have painted."""

    painted: list[Region]

    def refresh(self, *regions: Region, **options: Any) -> Any:
        self.painted = [*getattr(self, "painted", []), *regions]
        return super().refresh(*regions, **options)


class Frame(App[None]):
    """One grid on a screen of its own."""

    filters: tuple[Any, ...] = ()
    CSS = "Watched { width: 100%; height: 100%; }"

    def compose(self) -> ComposeResult:
        yield Watched(id="grid")

    def get_line_filters(self) -> list[Any]:
        return [*self.filters]


def on_grid(size: tuple[int, int], look: Callable[[Watched], object], filters: Sequence[Any] = ()) -> None:
    """Run `look` on a grid of a terminal of that size."""

    async def run() -> None:
        app = Frame()
        app.filters = tuple(filters)
        async with app.run_test(size=size):
            grid = app.query_one(Watched)
            grid.use(PALETTE)
            look(grid)

    asyncio.run(run())


def strips_fit(grid: LiveGrid) -> None:
    width, height = grid.size
    strips = grid.render_lines(Region(0, 0, width, height))
    assert len(strips) == height
    for strip in strips:
        assert strip.cell_length == width
        assert sum(cell_len(segment.text) for segment in strip) == width
        assert not any(category(character) in ("Cc", "Cf", "Cs") for character in strip.text)
    left, right = width // 3, width - width // 4
    assert all(strip.cell_length == right - left for strip in grid.render_lines(Region(left, 0, right - left, height)))


@pytest.mark.parametrize("size", [(20, 5), (37, 9), (80, 24), (250, 80)])
@pytest.mark.parametrize("filters", [(), (NoColor(),), (AsciiFilter(True),), (NoColor(), AsciiFilter(True))])
def test_every_strip_has_the_width_of_the_widget(size: tuple[int, int], filters: Sequence[Any]) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        head=st.lists(LINE, max_size=3),
        lines=st.lists(LINE, max_size=30),
        moves=st.lists(st.sampled_from(("up", "down", "first", "last", "page_up", "page_down")), max_size=6),
        put=st.integers(0, 40),
    )
    def try_it(head: list[Line], lines: list[Line], moves: list[str], put: int) -> None:
        grid.show(head, [Row(str(at), line) for at, line in enumerate(lines)])
        strips_fit(grid)
        grid.go(str(put))
        for move in moves:
            getattr(grid, f"action_{move}")()
        strips_fit(grid)

    grid = cast(Watched, None)

    def look(found: Watched) -> None:
        nonlocal grid
        grid = found
        try_it()

    on_grid(size, look, filters)


def test_only_lines_that_changed_are_painted() -> None:
    def look(grid: Watched) -> None:
        lines = [Line(((f" row {at}", "text"),)) for at in range(10)]
        head = [Line((("head", "head"),))]
        grid.show(head, [Row(str(at), line) for at, line in enumerate(lines)])
        grid.painted = []
        grid.show(head, [Row(str(at), Line(tuple(line.spans))) for at, line in enumerate(lines)])
        assert grid.painted == []
        lines[4] = Line(((" another", "text"),))
        grid.show(head, [Row(str(at), line) for at, line in enumerate(lines)])
        assert grid.painted == [Region(0, 5, 60, 1)]
        grid.painted = []
        grid.action_down()  # the pointer leaves one line and comes to the next
        assert sorted(region.y for region in grid.painted) == [1, 2]
        grid.painted = []
        grid.show(head, [Row(str(at), line) for at, line in enumerate(lines[:7])])
        assert sorted(region.y for region in grid.painted) == [8, 9, 10]

    on_grid((60, 20), look)


def test_a_line_with_nothing_in_it_is_a_line() -> None:
    def look(grid: Watched) -> None:
        grid.show((), [Row("0", Beside((NO_LINE, NO_LINE), (20, 40))), Row("1", NO_LINE)])
        strips_fit(grid)

    on_grid((60, 20), look)


def test_a_new_palette_paints_everything() -> None:
    def look(grid: Watched) -> None:
        grid.show((), [Row(str(at), Line(((f" row {at}", "text"),))) for at in range(10)])
        grid.painted = []
        grid.use(Palette(load_theme("midnight", NOWHERE)))
        assert sorted(region.y for region in grid.painted) == list(range(10))

    on_grid((60, 20), look)
