"""FEEDS: every connection with its streams, request limits, clocks, and what this process costs; reconnect, resync, pause.

Its figures are of seconds, so it draws once a second. A recording is looked at in the same way, but nothing of it can be steered.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import isfinite, nan
from typing import TYPE_CHECKING, ClassVar, Final, cast

from textual.widget import Widget

from feeds.model import SECOND, Ns, Stream
from tui.formats import clock
from tui.line import LateRow, Row, text_of
from tui.lines.feed import detail_lines
from tui.lines.feeds import RECORDED, SPARK_S, STREAM_COLUMNS, Drawer, Machinery, Place, name_of, places, title
from tui.lines.help import columns_legend
from tui.lines.machine import CLOCK_COLUMNS, POOL_COLUMNS, Terminal, machine_lines
from tui.process import LoopLag, ProcessMeter
from tui.scene import Scene
from tui.screens.live import Dialog, LiveScreen
from tui.widgets.bindings import bind
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import Panel

if TYPE_CHECKING:
    from feeds.live import Live
    from tui.live import LiveRun

NEAR_NS: Final[Ns] = 2 * SECOND
"""What was taken within this before the picture was frozen is of that moment."""
LEAST_NS: Final[Ns] = SECOND * 9 // 10
"""Between two frames that nobody asked for; a little less than a second, so that none is missed by a late timer."""
COLOURS: Final = {"truecolor": "16M colours", "256": "256 colours", "standard": "16 colours"}


class MachineryScreen(LiveScreen):
    """What the list and the detail have in common: one moment of the machinery a second, and the keys that steer it."""

    BINDINGS: ClassVar = bind("reconnect", "resync", "pause")

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self.machinery: Machinery | None = None
        """What was drawn last."""
        self._held_ns: Ns = 0
        """Since when the picture is frozen that `machinery` belongs to."""
        self.clock_ns: Callable[[], int] = time.monotonic_ns
        self._second = -1
        self._drawn_ns: Ns = 0

    def tick(self) -> None:
        """A frame's period has passed: one is drawn when the source is in another second, and once a real second at most."""
        app, now = self.arbtop, self.clock_ns()
        second = app.source.engine.now_ns // SECOND or app.source.status.now_ns // SECOND
        if second == self._second or now - self._drawn_ns < LEAST_NS:
            return
        drawn = app.meter.frames
        super().tick()
        if app.meter.frames != drawn:
            self._second, self._drawn_ns = second, now

    def look(self, scene: Scene) -> Machinery:
        """The machinery now; as it was while the picture is frozen, or the source on the way to another time."""
        kept = self.machinery
        if scene.held is not None:
            since = scene.held.since_ns
            if kept is None or not (self._held_ns == since or 0 <= since - kept.health_ns <= NEAR_NS):
                kept = self._take()
            self._held_ns = since
        else:
            self._held_ns = 0
            if kept is None or not self.arbtop.source.busy:
                kept = self._take()
        self.machinery = kept
        return kept

    def _take(self) -> Machinery:
        app = self.arbtop
        engine, tape, live = app.source.engine, app.tape, self.live
        carries: Mapping[str, Sequence[Stream]] = tape.carries if tape is not None else {}
        if live is not None:
            carries = {slot: link.plan.streams for slot, link in live.links.items()}
        return Machinery(
            view=app.source.feeds(),
            carries=carries,
            health=dict(engine.health),
            markets={market.id: (market.instrument, market.status) for market in engine.markets.values()},
            health_ns=engine.now_ns - engine.now_ns % SECOND,
            trouble=dict(live.trouble) if live is not None else {},
            shut=live.shut if live is not None else (),
            recorded=tape is not None,
        )

    def said_below(self, scene: Scene, machinery: Machinery) -> str:
        """What must be known of where these figures come from."""
        frozen = f"as of {clock(machinery.view.now_ns, 0)}" if scene.held is not None else ""
        return " · ".join(filter(None, (RECORDED if machinery.recorded else "", frozen)))

    # -- keys --------------------------------------------------------------------------------------------------------------

    @property
    def live(self) -> "Live | None":
        """What can be steered; None of a recording."""
        app = self.arbtop
        return None if app.tape is not None else cast("LiveRun", app.source).live

    def place(self) -> Place | None:
        """What keys act on."""
        return None

    def _steered(self) -> "tuple[Live, Place] | None":
        """What a key is to act on; says why where it cannot."""
        live, place = self.live, self.place()
        if live is None:
            self.arbtop.tell(f"{RECORDED}: there is nothing to steer")
            return None
        if place is None:
            return None
        if place.slot not in live.links:
            shut = live.shut.get(place.trouble, "") if place.trouble is not None else ""
            again = "its list is asked for again by itself" if place.trouble is not None else "no connection carries it now"
            self.arbtop.tell(shut or again)
            return None
        return live, place

    def action_reconnect(self) -> None:
        found = self._steered()
        if found is not None:
            live, place = found
            live.reconnect(place.slot)
            self._told(f"{place.slot} is opened anew")

    def action_pause(self) -> None:
        found = self._steered()
        if found is not None:
            live, place = found
            paused = live.pause(place.slot)
            self._told(f"{place.slot} is paused: p goes on" if paused else f"{place.slot} goes on")

    def action_resync(self) -> None:
        found = self._steered()
        if found is None:
            return
        live, place = found
        if place.stream is None:
            self.arbtop.tell("choose a stream: its instrument's book is fetched anew; r opens the whole connection anew")
            return
        live.resync(place.stream.instrument)
        self._told(f"the book of {name_of(place.stream.instrument, self._take())} is fetched anew")

    def _told(self, text: str) -> None:
        self.arbtop.tell(text)
        self.draw()


class FeedsScreen(MachineryScreen):
    """The list, and below it limits, clocks and this process."""

    TITLE_ID = "feeds"
    FOOTER = ("help", "detail", "reconnect", "resync", "pause", "next_panel", "zoom", "freeze", "quit")
    BINDINGS: ClassVar = bind("copy")
    LEGEND = (
        *columns_legend("streams", STREAM_COLUMNS),
        *columns_legend("request limits", POOL_COLUMNS),
        *columns_legend("clocks", CLOCK_COLUMNS),
    )

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self.grid = LiveGrid(id="feeds")
        self.machine = LiveGrid(id="machine", cursor=False, scrolls=True)
        self.panel = Panel(self.grid)
        self.machine_panel = Panel(self.machine, id="machine-panel")
        self.meter = ProcessMeter()
        self.lag = LoopLag()
        self._rates: dict[Stream, deque[tuple[Ns, float]]] = {}
        self._rates_ns: Ns = 0
        self._places: dict[str, Place] = {}
        self._written = (0, 0)
        """Bytes that the terminal had taken, and when, at the last look."""
        self._bytes_per_s = nan

    def panels(self) -> Iterable[Widget]:
        return self.panel, self.machine_panel

    def on_mount(self) -> None:
        super().on_mount()
        self.lag.start(asyncio.get_running_loop())

    def on_unmount(self) -> None:
        self.lag.stop()

    def show(self, scene: Scene) -> None:
        machinery = self.look(scene)
        self._note_rates(machinery)
        width = self.grid.size.width
        drawer = Drawer(machinery, self._rates, self.arbtop.look.glyphs.spark, width)
        shown = places(machinery)
        self._places = {place.key: place for place in shown}
        empty = "no connection is open here" if machinery.recorded else "nothing is connected yet: instruments are being listed"
        self.grid.show((drawer.streams.head,), [LateRow.of(place.key, partial(drawer.line, place)) for place in shown], empty)
        lines = machine_lines(
            machinery,
            self.meter.sample(len(asyncio.all_tasks()), self.lag.lags_ms),
            self._terminal(),
            self.machine.size.width,
        )
        self.machine.show((), [Row(str(at), line) for at, line in enumerate(lines)])
        self._fit_machine(len(lines))
        self.panel.say(title(machinery), self.said_below(scene, machinery) or "r reconnect · ^r resync · p pause")
        self.machine_panel.say("REQUEST LIMITS · CLOCKS · THIS PROCESS")

    def _note_rates(self, machinery: Machinery) -> None:
        """The last second of every stream, once."""
        now = machinery.health_ns
        if now < self._rates_ns:
            self._rates.clear()
        if now == self._rates_ns:
            return
        self._rates_ns = now
        for stream, health in machinery.health.items():
            if isfinite(health.frames_per_s):
                self._rates.setdefault(stream, deque(maxlen=SPARK_S)).append((now, health.frames_per_s))

    def _terminal(self) -> Terminal:
        app, meter = self.arbtop, self.arbtop.meter
        outlet = app.outlet
        if outlet is not None:
            now, taken = self.clock_ns(), outlet.written_bytes
            before, at = self._written
            if at and now - at >= SECOND // 2:
                self._bytes_per_s = (taken - before) / ((now - at) / SECOND)
            if not at or now - at >= SECOND // 2:
                self._written = (taken, now)
        return Terminal(
            name=os.environ.get("TERM", ""),
            within="tmux" if "TMUX" in os.environ else "screen" if "STY" in os.environ else "",
            colours="no colour (NO_COLOR)" if app.no_color else COLOURS.get(app.console.color_system or "", "no colour"),
            synchronised=app._sync_available if outlet is not None else None,
            fps=app.fps,
            frames=meter.frames,
            left_out=meter.skipped,
            frame_ms=meter.last_ns / 1e6 if meter.frames else nan,
            bytes_per_s=self._bytes_per_s,
            waiting_bytes=outlet.pending_bytes if outlet is not None else None,
        )

    def _fit_machine(self, lines: int) -> None:
        height = min(lines + (1 if self.has_class("-short") else 2), max(self.size.height // 3, 4))
        if self.machine_panel.styles.height is None or self.machine_panel.styles.height.value != height:
            self.machine_panel.styles.height = height

    def place(self) -> Place | None:
        selected = self.grid.selected
        return self._places.get(selected.key) if selected is not None else None

    def action_copy(self) -> None:
        if self.grid.selected is not None:
            self.arbtop.put_on_clipboard(text_of(self.grid.selected.line).strip())

    def on_live_grid_chosen(self, event: LiveGrid.Chosen) -> None:
        event.stop()
        place = self._places.get(event.key)
        if place is not None:
            self.arbtop.push_screen(FeedScreen(place, self.machinery))

    def look_at(self, key: str) -> None:
        """Put the cursor on a connection or a stream."""
        self.grid.go(key)


class FeedScreen(MachineryScreen, Dialog):
    """One row in detail: the connection, the stream, the last messages, what the venue said."""

    FOOTER = ("back", "reconnect", "resync", "pause", "copy", ("down", "Scroll"))
    BINDINGS: ClassVar = bind("copy")

    def __init__(self, place: Place, machinery: Machinery | None) -> None:
        super().__init__(name="feed")
        self.machinery = machinery
        self.grid = LiveGrid(id="feed", cursor=False, scrolls=True)
        self.panel = Panel(self.grid)
        self._place = place

    def panels(self) -> Iterable[Widget]:
        return (self.panel,)

    def show(self, scene: Scene) -> None:
        machinery = self.look(scene)
        place = self._place
        lines = detail_lines(place, machinery, self.grid.size.width)
        self.grid.show((), [Row(str(at), line) for at, line in enumerate(lines)])
        what = f"{name_of(place.stream.instrument, machinery)} {place.stream.channel}" if place.stream is not None else place.key
        self.panel.say(f"FEED  {what}", self.said_below(scene, machinery))

    def place(self) -> Place | None:
        return self._place

    def action_copy(self) -> None:
        self.arbtop.put_on_clipboard("\n".join(text_of(row.line).rstrip() for row in self.grid.rows))
