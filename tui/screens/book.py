"""BOOK: live order books of all markets of one asset on one price axis, with the tape of large prints."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

from textual.widget import Widget

from analytics.ladder import AxisHold, AxisView, LadderQuery, Unit
from analytics.routes import Axis
from analytics.snapshot import MarketView, View
from feeds.model import InstrumentId
from tui.formats import usd
from tui.line import Line, Row, first_fitting, pad, text_of
from tui.lines.book import (
    LEAST,
    NARROW_LABEL,
    UNIT_NAMES,
    WIDE_SCREEN,
    Ladder,
    Rows,
    axis_title,
    columns_fit,
    fair_row,
    full_bars,
    heads,
    widths,
)
from tui.lines.cursor import cursor_text
from tui.lines.fx import conversion_note
from tui.lines.tape import tape_line, tape_table
from tui.names import market_name
from tui.scene import Scene
from tui.screens.live import LiveScreen
from tui.screens.picker import PickerScreen
from tui.widgets.bindings import bind
from tui.widgets.ladder import LadderGrid
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import EDGE_CELLS, Panel
from tui.widgets.room import Side

GROUPS_BPS: Final = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""What a row spans; 0 is the coarsest tick there is."""
UNITS: Final[tuple[Unit, ...]] = ("quote", "base", "contracts")
DRIFT: Final = 0.3
"""The axis is brought back to the middle when fair has gone this share of the height away from it."""
HEADS: Final = 3
"""Lines over the ladder."""
TAPE_ROWS: Final = 80
TAPE_CELLS: Final = 52
"""Of the panel, as app.tcss has it."""
BESIDE_CELLS: Final = NARROW_LABEL + LEAST + 5
"""Of the order books' panel, where there is one market in it; with less the tape has the screen to itself."""
LEGEND: Final = (
    (
        "order books",
        (
            ("row", "what one row spans; beside it a market's spread, in ticks and bp, or its best bid × ask"),
            ("bp", "how far a row is from the row that fair is in; fair is the median of the markets' mids"),
            ("◂ ▸", "best bid, best ask: raw prices on the row they fall into; bids are rounded down to a row, asks up"),
            ("◆", "where an order of the trade size would end: selling into bids, buying from asks"),
            ("●", "row of the last trade"),
            ("█ ▒", "size on one scale for all markets, cut where it is larger; hatched: not believed now"),
            ("—", "beyond the last level that the venue sends: not known, not empty"),
            ("imb", "imbalance of bids and asks in the band of [obi], smoothed: +1 all bids, −1 all asks"),
        ),
    ),
)


class BookScreen(LiveScreen):
    """One asset at a time; `i` chooses it."""

    TITLE_ID = "book"
    FOOTER = ("help", ("right", "Market"), "finer", "coarser", "centre", "unit", "cumulative", "instrument", "freeze")
    BINDINGS: ClassVar = bind(
        *(
            "left",
            "right",
            "finer",
            "coarser",
            "centre",
            "keep_centred",
            "unit",
            "cumulative",
            "axis",
            "tape",
            "instrument",
            "copy",
        )
    )
    LEGEND = LEGEND

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self.grid = LadderGrid(id="ladder")
        self.info = LiveGrid(id="ladder-info", cursor=False)
        self.tape = LiveGrid(id="tape")
        self.panel = Panel(self.grid, id="ladder-panel")
        self.tape_panel = Panel(self.tape, id="tape-panel")
        self.base = ""
        self.selected: InstrumentId = ""
        self.group_bps = 1.0
        self.unit: Unit = "quote"
        self.prefer: Axis | None = None
        self.cumulative = False
        self.keep_centred = False
        self.panned = False
        self.tape_wanted: bool | None = None
        """None: where every market has its column beside it."""
        self._held: dict[str, AxisHold] = {}
        self._axes: tuple[AxisView, ...] = ()
        self._full: dict[InstrumentId, float] = {}
        self._rows = Rows()
        self._count = 0
        """Rows in the last frame."""
        self._price: float | None = None
        """What the cursor was on, in what the rows are in. None: it begins in the middle."""
        self._step = 0.0
        """Of the cursor's axis in the last frame."""

    def panels(self) -> Iterable[Widget]:
        with_tape = Side(self.panel, self.tape_panel, id="book-row")
        return with_tape, self.info

    # -- the frame ---------------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.group_bps = min(GROUPS_BPS, key=lambda bps: abs(bps - self.arbtop.look.group_bps))

    def view(self) -> View:
        return View(routes=None, pairs=None, sums=False, tape=TAPE_ROWS, ladder=self.ladder())

    def ladder(self) -> LadderQuery:
        markets = self.arbtop.source.engine.markets
        if not any(market.instrument.base == self.base for market in markets.values()):
            self.look_at(min(markets, default=""))
        return LadderQuery(
            base=self.base,
            rows=max(self.grid.size.height - HEADS, 1),
            group_bps=self.group_bps,
            held=tuple(self._held.values()),
            prefer=self.prefer,
            unit=self.unit,
            cursor=self._cursor(),
            size_usd=self.arbtop.size_usd,
        )

    def _cursor(self) -> tuple[InstrumentId, int] | None:
        axis = self._axis_of(self.selected)
        if axis is None or axis.top is None or not self.grid.cursor:
            return None
        return self.selected, axis.top - int(self.grid.cursor)

    def _axis_of(self, instrument: InstrumentId) -> AxisView | None:
        return next((axis for axis in self._axes if any(each.instrument == instrument for each in axis.members)), None)

    def show(self, scene: Scene) -> None:
        axes = scene.snapshot.axes
        markets = {market.instrument: market for market in scene.snapshot.markets}
        self._remember(axes)
        self._full = full_bars(axes, self.unit, self.cumulative, self._full)
        drawn = Ladder(unit=self.unit, cumulative=self.cumulative, selected=self.selected, full=self._full)
        width = self.grid.size.width
        if not width and not self.panel.has_class("away"):
            return
        if width:
            self.grid.show(heads(axes, markets, drawn, width), self._rows.make(axes, markets, drawn, width))
            self._keep_price(len(self.grid.rows))
        self._show_tape(axes, scene, markets)
        self._show_info(axes, markets)
        self._titles(axes, scene, markets)

    def _keep_price(self, count: int) -> None:
        """The cursor begins in the middle, and stays on its price when the height changes, or what a row spans."""
        axis = self._axis_of(self.selected)
        top = axis.top if axis is not None else None
        step = axis.step if axis is not None else self._step
        if count and (count != self._count or step != self._step or self._price is None):
            row = top - round(self._price / step) if top is not None and self._price is not None else count // 2
            self.grid.go(str(max(min(row, count - 1), 0)))
            self._count, self._step = count, step
        if top is not None and self.grid.cursor:
            self._price = (top - int(self.grid.cursor)) * step

    def _remember(self, axes: tuple[AxisView, ...]) -> None:
        """Keep the axes where they are; let one go back to the middle when its market has left it."""
        self._axes = axes
        self._held = {}
        for axis in axes:
            reach = max(axis.rows * DRIFT, 1.0)
            at = fair_row(axis)
            gone = at is not None and axis.centre is not None and abs(at - axis.centre) > (0 if self.keep_centred else reach)
            if self.panned or not gone:
                self._held[axis.name] = AxisHold(axis.name, axis.step, axis.centre)
            else:
                self._held[axis.name] = AxisHold(axis.name, axis.step, None)

    def _show_tape(self, axes: tuple[AxisView, ...], scene: Scene, markets: dict[InstrumentId, MarketView]) -> None:
        wanted = self.tape_wanted
        if wanted is None:
            room = self.size.width - TAPE_CELLS - 2
            wanted = room >= WIDE_SCREEN and columns_fit(axes, room)
        alone = wanted and self.size.width - TAPE_CELLS < BESIDE_CELLS
        if (self.tape_panel.display, self.panel.has_class("away")) != (wanted, alone):
            self.tape_panel.display = wanted
            self.tape_panel.set_class(alone, "alone")
            self.panel.set_class(alone, "away")
            if self.grid.has_focus or self.tape.has_focus:
                (self.tape if alone else self.grid).focus()
            self.call_after_refresh(self.draw)  # both panels have another width then
        if wanted:
            layout = tape_table(self.tape.size.width)
            lines = [tape_line(layout, trade, markets) for trade in scene.snapshot.tape]
            minimum = usd(self.arbtop.source.engine.settings.tape.min_usd)
            rows = [Row(str(at), line) for at, line in enumerate(lines)]
            self.tape.show((layout.head,), rows, f"none of {minimum} or more so far")
            self.tape_panel.say(f"PRINTS from {minimum}, all markets")

    def _show_info(self, axes: tuple[AxisView, ...], markets: dict[InstrumentId, MarketView]) -> None:
        axis, market = self._axis_of(self.selected), markets.get(self.selected)
        text = ""
        if axis is not None and axis.top is not None and market is not None and self.grid.cursor:
            text = cursor_text(axis, market, axis.top - int(self.grid.cursor), self.info.size.width - 3)
        self.info.show((pad(Line(((f" ▸ {text}", "text"),)), self.info.size.width),), ())

    def _titles(self, axes: tuple[AxisView, ...], scene: Scene, markets: Mapping[InstrumentId, MarketView]) -> None:
        names = [axis_title(axis) for axis in axes]
        how, short = f"one axis for {' and '.join(names)}", " and ".join(names)
        if any(axis.axis is Axis.INDEX for axis in axes):
            how = short = "own index"
        elif any(axis.axis is Axis.CONVERTED for axis in axes):
            quotes = {markets[column.instrument].facts.quote for axis in axes for column in axis.members}
            rates = [rate for rate in scene.snapshot.fx if rate.currency in quotes]
            how, short = f"one axis in USD, {conversion_note(rates)}", "in USD, converted"
        elif len(axes) > 1:
            how, short = f"one axis a quote, {' and '.join(names)}: not comparable", f"{' ┃ '.join(names)} not comparable"
        modes = [
            UNIT_NAMES[self.unit] if self.unit != "base" else self.base,
            "added up from the touch" if self.cumulative else "per row",
        ]
        if self.keep_centred:
            modes.append("kept centred")
        elif self.panned:
            modes.append("moved by you: c centres")
        every = sum(len(axis.members) for axis in axes)
        shown = len(widths(axes, self.grid.size.width, self.selected)[1])
        part = f"  {shown} of {every} markets" if shown < every else ""
        sizes, what = ", ".join(modes), f"BOOK  {self.base}{part}"
        titles = (f"{what}  {how}  sizes in {sizes}", f"{what}  {short}  sizes in {sizes}", f"{what}  {short}  {sizes}")
        below = f"{self._bars()} · ◆ {usd(scene.size_usd)}"
        self.panel.say(first_fitting((*titles, f"{what}  {sizes}", what), self.panel.size.width - EDGE_CELLS), below)

    def _bars(self) -> str:
        """What a full bar stands for."""
        full = max(self._full.values(), default=0.0)
        if self.unit == "quote":
            return f"full bar {usd(full)}"
        return f"full bar {full:g} {self.base}" if self.unit == "base" else "bars: each market its own scale"

    # -- keys --------------------------------------------------------------------------------------------------------------

    def look_at(self, key: str) -> None:
        """Show the asset of a market, with the cursor in that market."""
        market = self.arbtop.source.engine.markets.get(key)
        if market is None:
            return
        self._anew()
        self._price = None
        self.base = market.instrument.base
        self.selected = key

    def _anew(self) -> None:
        self._held = {}
        self._full = {}
        self.panned = False

    def looks(self) -> tuple[object, ...]:
        return *super().looks(), self._cursor(), tuple(self._held.values())

    def on_live_grid_moved(self, event: LiveGrid.Moved) -> None:
        """What the line below says is of the cursor's row."""
        event.stop()
        self.draw()

    def on_ladder_grid_panned(self, event: LadderGrid.Panned) -> None:
        event.stop()
        self.panned = True
        self._held = {
            name: AxisHold(name, hold.step, hold.centre - event.rows if hold.centre is not None else None)
            for name, hold in self._held.items()
        }
        self.draw()

    def action_left(self) -> None:
        self._turn(-1)

    def action_right(self) -> None:
        self._turn(1)

    def _turn(self, step: int) -> None:
        names = [column.instrument for axis in self._axes for column in axis.members]
        if names:
            at = names.index(self.selected) if self.selected in names else 0
            self.selected = names[max(min(at + step, len(names) - 1), 0)]
            self.draw()

    def action_finer(self) -> None:
        self._group(-1)

    def action_coarser(self) -> None:
        self._group(1)

    def _group(self, step: int) -> None:
        at = GROUPS_BPS.index(self.group_bps) + step
        if not 0 <= at < len(GROUPS_BPS):
            self.arbtop.tell("rows span the coarsest tick: finer there is not" if step < 0 else "rows span about 10 bp, the most")
            return
        self.group_bps = GROUPS_BPS[at]
        self._anew()
        self.draw()

    def action_centre(self) -> None:
        self._anew()
        self.draw()

    def action_keep_centred(self) -> None:
        self.keep_centred = not self.keep_centred
        self._anew()
        self.draw()

    def action_unit(self) -> None:
        self.unit = UNITS[(UNITS.index(self.unit) + 1) % len(UNITS)]
        self._full = {}
        self.draw()

    def action_cumulative(self) -> None:
        self.cumulative = not self.cumulative
        self._full = {}
        self.draw()

    def action_axis(self) -> None:
        """Own index, or price, converted where it can be; without a fresh index of every market it stays price, and says so."""
        on_index = any(axis.axis is Axis.INDEX for axis in self._axes)
        self.prefer = Axis.PRICE if on_index or self.prefer is Axis.INDEX else Axis.INDEX
        self._anew()
        self.draw()
        if self.prefer is Axis.INDEX and not any(axis.axis is Axis.INDEX for axis in self._axes):
            self.arbtop.tell("own index: not every market here has a fresh one, so prices stay")

    def action_tape(self) -> None:
        self.tape_wanted = not self.tape_panel.display
        if self.has_class("zoomed"):
            self.action_zoom()
        self.draw()

    def action_instrument(self) -> None:
        markets = self.arbtop.source.engine.markets.values()
        choices = sorted((market.instrument.base, market_name(market.instrument), market.id) for market in markets)
        texts = [(key, f"{base:<8} {name}") for base, name, key in choices]
        self.arbtop.push_screen(PickerScreen("CHOOSE A MARKET", texts, self.selected, self._chosen))

    def _chosen(self, key: str) -> None:
        self.look_at(key)
        self.draw()

    def action_copy(self) -> None:
        """What the line below the books says: the row itself means little without its screen."""
        if self.info.head:
            self.arbtop.put_on_clipboard(text_of(self.info.head[0]).strip(" ▸"))
