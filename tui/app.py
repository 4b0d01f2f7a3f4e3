"""The program in the terminal: screens, themes and keys around one source. It makes no figure and draws none.

The source (a replay) is advanced by one task of the loop, so nothing that arrives waits for a frame; screens pull a scene when
they draw. Freezing keeps a scene of every screen and lets the engine go on.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from io import StringIO
from itertools import count as count_up
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from msgspec import Struct, structs
from rich.console import Console
from textual import events, work
from textual.app import App, SystemCommand
from textual.filter import NoColor
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES
from textual.theme import Theme as TextualTheme

from analytics.ladder import make_axes
from analytics.market import Market
from feeds.errors import ArbtopError
from tui.clipboard import copy, run_tool
from tui.driver import Outlet, TerminalDriver
from tui.export import replace_file
from tui.formats import MINUS, stamp, usd
from tui.frame import FrameMeter
from tui.glyphs import GlyphSet
from tui.keys import EVERYWHERE, TABLE
from tui.line import plain
from tui.playback import BUDGET_NS, HURRIED_NS, Playback
from tui.scene import Held, Scene, Whose
from tui.screens.commands import commands
from tui.screens.goto import goto_label
from tui.screens.help import HelpScreen
from tui.screens.live import LiveScreen
from tui.screens.registry import SCREENS
from tui.source import Source
from tui.theme import Theme, load_theme, split_style, theme_names
from tui.widgets.ascii import AsciiFilter
from tui.widgets.bindings import bind
from tui.widgets.keyboard import Keyboard
from tui.widgets.palette import Palette
from tui.widgets.picture import TERMINAL, svg
from tui.worklist import Counts, Filter, Item, Worklist, count, item_of, key_of, mark_of

if TYPE_CHECKING:
    from tui.live import LiveRun

EVERY: Final = Filter()
QUIT_AGAIN_NS: Final = 5_000_000_000
NOTE_NS: Final = 4_000_000_000
"""How long what is said in the corner stays."""
PUMP_S: Final = 0.05
"""How often the source is advanced; a replay hands on what has become due. Twice a frame: each waking finds its caches cold."""
REST_S: Final = 0.01
"""What is left to keys and frames between two calls of a source that is hurried."""
SIZES_USD: Final = tuple(step * 10.0**power for power in (3, 4, 5, 6) for step in (1.0, 2.5, 5.0))
CALM_FPS: Final = 2.0


class Look(Struct, frozen=True, kw_only=True):
    """How the program looks, and where it finds and puts things."""

    theme: Theme
    glyphs: GlyphSet
    themes: Path
    """Where the user's themes are."""
    exports: Path
    recordings: Path = Path()
    """Where a recording goes that `R` begins, unless the user says otherwise."""
    calm: bool = False
    fps: float = 10.0
    group_bps: float = 1.0
    home: str = "desk"


class ArbtopApp(App[int], inherit_bindings=False):
    """One source, three screens. Exits with 0, or 1 when the source failed."""

    CSS_PATH = "app.tcss"
    TITLE = "arbtop"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar = bind(*(id_ for id_ in EVERYWHERE))
    COMMAND_PALETTE_BINDING = "ctrl+p"

    def __init__(self, source: Source, look: Look, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(driver_class=TerminalDriver)
        self.source = source
        self.tape = source if isinstance(source, Playback) else None
        """The source where it is a recording: only that can be paused and taken to a time."""
        self.look = look
        self.fps = min(look.fps, CALM_FPS) if look.calm else look.fps
        self.outlet: Outlet | None = None
        """Where frames go out; None in a test without a terminal."""
        self.meter = FrameMeter(self.fps, clock_ns)
        self.palette = Palette(look.theme)
        self.size_usd = source.engine.settings.size.default
        self._clock_ns = clock_ns
        self._keyboard = Keyboard(self)
        self._ascii = AsciiFilter(look.glyphs.spark == "ascii")
        self._held: dict[str, Scene] | None = None
        self._still: tuple[Market, ...] = ()
        """Books as they stood when the picture was frozen."""
        self._marked_items: tuple[Item, ...] = ()
        self._marked_version = -1
        self._marked_now: tuple[tuple[Item, ...], Counts] = ((), count(()))
        """Of a frozen picture's items, at a version of the source."""
        self._last: dict[str, Scene] = {}
        self._worklist = Worklist()
        self._damage_told = False
        self._asked_to_quit_ns = -QUIT_AGAIN_NS
        self._warned_ns = -NOTE_NS
        self._curtain = ExitStack()
        self.screens: Mapping[str, LiveScreen] = {name: make(name) for name, make in SCREENS.items()}

    # -- life --------------------------------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        for name, screen in self.screens.items():
            self.install_screen(screen, name)
        self._wear(self.look.theme)
        self.screen_change_signal.subscribe(self, self._opening, immediate=True)
        self.push_screen(self.look.home)
        if self.tape is not None:
            self.run_worker(self._pump(self.tape), name="source", group="source", exit_on_error=True)
        self.run_worker(self._keyboard.run(), name="keyboard", group="keyboard", exit_on_error=True)
        self.app_resume_signal.subscribe(self, self._resumed)

    def _resumed(self, _app: App[Any]) -> None:
        """Back from the shell: the terminal shows nothing of ours any more."""
        self.source.reset_worst()
        self.refresh(layout=True)

    def _opening(self, screen: Screen[Any]) -> None:
        """Nothing of a screen that opens is shown until it has drawn: Textual would show it empty first.

        Every change of screens comes here, so a screen that is gone before it could draw leaves that to the one that is then on
        top.
        """
        self._curtain.close()
        self._curtain.enter_context(self.batch_update())
        # Behind its resuming, which asks for its first frame, and then behind that frame.
        screen.call_later(screen.call_after_refresh, self._opened, screen)

    def _opened(self, screen: Screen[Any]) -> None:
        if screen is self.screen:
            self._curtain.close()
            screen.refresh()

    async def on_event(self, event: events.Event) -> None:
        if not self._keyboard.held(event):
            await super().on_event(event)

    def on_key(self, event: events.Key) -> None:
        """A key of the table that nothing here is bound to says so, instead of leaving the user to wonder."""
        screen = self.screen
        if not isinstance(screen, LiveScreen) or screen.prompt.open or event.key in screen.active_bindings:
            return
        key = next((key for key in TABLE if event.key in key.keys), None)
        if key is not None:
            self.tell(f"{key.face} does nothing here")

    async def _pump(self, tape: Playback) -> None:
        while True:
            hurried = tape.hurried
            tape.advance(self._clock_ns(), HURRIED_NS if hurried else BUDGET_NS)
            await asyncio.sleep(REST_S if hurried else PUMP_S)

    def get_line_filters(self) -> list[Any]:
        filters: list[Any] = [*super().get_line_filters()]
        if self.no_color:
            filters.append(NoColor())  # Textual's own is greys, which are colours to a terminal
        if self._ascii.enabled:
            filters.append(self._ascii)
        return filters

    # -- what is drawn -----------------------------------------------------------------------------------------------------

    def moment(self) -> tuple[object, ...]:
        """Differs whenever a frame would."""
        status = self.source.status
        return status, self.source.version, self.source.engine, self.size_usd

    def scene(self, screen: LiveScreen) -> Scene | None:
        """What `screen` is drawn from now. While the source goes somewhere else, what was there stays, and the header says so."""
        name = screen.name or ""
        if self._held is not None:
            still = self._held.get(name) or self._held["desk"]
            query = screen.ladder()
            if query is not None:  # the books stand still, but the user looks at them from elsewhere
                now = still.snapshot.now_ns
                still = structs.replace(still, snapshot=structs.replace(still.snapshot, axes=make_axes(query, self._still, now)))
            since = still.snapshot.now_ns
            news = sum(1 for _ in takewhile(lambda item: item.alert.opened_ns > since, self.items()))
            marked, counts = self._marked(still.items)
            held = Held(since, self.source.status.now_ns, news)
            return structs.replace(still, held=held, items=marked, unacked=counts.unacked, firing=sum(counts.open.values()))
        status = self.source.status
        if status.seeking is not None and self._last:
            return structs.replace(self._last.get(name) or self._last["desk"], status=status)
        if self._last and status.seeking is None:
            self._last = {}
        return self._make(screen)

    def _marked(self, items: tuple[Item, ...]) -> tuple[tuple[Item, ...], Counts]:
        """Those of the frozen picture with what the user has done about them since; made anew only where there is news."""
        version = self.source.version
        if items is not self._marked_items or version != self._marked_version:
            marked = tuple(self._marked_one(item) for item in items)
            self._marked_items, self._marked_version, self._marked_now = items, version, (marked, count(marked))
        return self._marked_now

    def _marked_one(self, item: Item) -> Item:
        alert, now = item.alert, self.source.alerts.get(item.alert.seq)
        if now is not None and now.acked_ns != alert.acked_ns and key_of(now) == item.key:
            alert = structs.replace(alert, acked_ns=now.acked_ns)
        muted = self.source.muted
        return item if alert is item.alert and mark_of(alert, muted) is item.mark else item_of(alert, muted)

    def on_the_way(self) -> bool:
        """Whether the source is going somewhere; says so, since nothing can be done to alerts until it is there."""
        if self.source.busy:
            self.tell("on the way: wait until it has arrived")
        return self.source.busy

    def _make(self, screen: LiveScreen, details: bool = False) -> Scene:
        """`details`: with those of every route, since one may be opened when the engine has gone on."""
        source = self.source
        engine = source.engine
        fees = engine.fees
        view = screen.view()
        status = source.status
        if status.damage and not self._damage_told:
            self._damage_told = True
            self.tell(f"the recording is damaged: {status.damage}", "warning")
        items = self.items()
        snapshot = engine.snapshot(structs.replace(view, details=True) if details else view)
        if not snapshot.now_ns:  # before the first boundary
            snapshot = structs.replace(snapshot, now_ns=status.now_ns)
        return Scene(
            snapshot=snapshot,
            status=status,
            fees=Whose(fees.tier, fees.confirmed, len(fees.overrides)),
            size_usd=self.size_usd,
            judged_usd=engine.settings.size.default,
            unacked=self._worklist.counts.unacked,
            items=items,
            firing=sum(self._worklist.counts.open.values()),
        )

    def items(self) -> tuple[Item, ...]:
        """Every alert of this pass, the newest first."""
        source = self.source
        return self._worklist.refresh(source.version, source.alerts, source.muted, EVERY, "newest", source.engine.now_ns)

    def redraw(self) -> None:
        """Draw the screen on top now: something was pressed."""
        if isinstance(self.screen, LiveScreen):
            self.screen.draw()

    # -- what keys do ------------------------------------------------------------------------------------------------------

    def action_open(self, name: str) -> None:
        """Show a screen; dialogs on top of the one that is there are left."""
        while isinstance(self.screen, LiveScreen) and self.screen.name not in self.screens and len(self.screen_stack) > 1:
            self.pop_screen()
        if self.screen is not self.screens[name]:
            self.switch_screen(name)

    def action_freeze(self) -> None:
        if self._held is None and self.on_the_way():
            return
        if self._held is None:
            self._held = {name: self._make(screen, details=True) for name, screen in self.screens.items()}
            self._still = self.source.engine.still()
        else:
            self._held = None
            self._still = ()
        self.redraw()

    def action_bigger(self) -> None:
        self.resize_to(next((size for size in SIZES_USD if size > self.size_usd), self.size_usd))

    def action_smaller(self) -> None:
        self.resize_to(next((size for size in reversed(SIZES_USD) if size < self.size_usd), self.size_usd))

    def resize_to(self, size_usd: float) -> None:
        """Take another trade size for the screens; episodes and alerts keep the configuration's."""
        if self._held is not None:
            self.tell("frozen: f first, then another size")
            return
        self.size_usd = size_usd
        judged = self.source.engine.settings.size.default
        self.tell(
            f"size {usd(size_usd)} a leg on the screens" + ("" if size_usd == judged else f"; alerts stay at {usd(judged)}")
        )
        self.redraw()

    def with_tape(self, act: Callable[[Playback], object]) -> None:
        """Do something to the recording; a live run says that it is none."""
        if self.tape is None:
            self.tell("this is live: only a recording can be paused, stepped or taken to a time")
            return
        act(self.tape)
        self.redraw()

    def action_play(self) -> None:
        self.with_tape(lambda tape: self._unless_at_end(tape, tape.toggle))

    def action_step(self) -> None:
        self.with_tape(lambda tape: self._unless_at_end(tape, lambda: self._leave_for(tape.forward)))

    def _unless_at_end(self, tape: Playback, act: Callable[[], object]) -> None:
        """Behind the end there is nothing to play: it says what leads back."""
        if tape.status.finished and not tape.busy:
            self.tell("at the end: `:` start, or `,` a second back")
        else:
            act()

    def action_step_back(self) -> None:
        self.with_tape(lambda tape: self._leave_for(tape.back))

    def action_slower(self) -> None:
        self.with_tape(Playback.slower)

    def action_faster(self) -> None:
        self.with_tape(Playback.faster)

    def action_goto(self) -> None:
        self.with_tape(self._ask_where)

    def _ask_where(self, tape: Playback) -> None:
        if isinstance(self.screen, LiveScreen):
            self.screen.ask(goto_label(tape.status), "", self.go_to)

    def go_to(self, text: str) -> None:
        """Take the replay to a time or an alert."""
        typed = text.strip().replace(MINUS, "-")
        if typed:
            self.with_tape(lambda tape: self._leave_for(lambda: tape.goto(typed)))

    def _leave_for(self, go: Callable[[], object]) -> None:
        """Keep what every screen shows until the source has arrived."""
        if self._held is None and not self.source.busy:
            self._last = {name: self._make(screen, details=True) for name, screen in self.screens.items()}
        self.attempt(go)
        self.redraw()

    @property
    def live(self) -> "LiveRun | None":
        """The source where it is live."""
        return None if self.tape is not None else cast("LiveRun", self.source)

    def action_record(self) -> None:
        live = self.live
        if live is None:
            self.tell("this is a recording: it is not recorded again")
        elif live.live.recorder is not None:
            self.run_worker(self._stop_recording(live), name="recording", group="recording", exit_on_error=False)
        elif isinstance(self.screen, LiveScreen):
            name = f"{'demo' if live.status.demo else 'live'}-{stamp(live.status.now_ns)}"
            self.screen.ask("record into a new directory: ", str(self.look.recordings / name), self._record)

    def _record(self, text: str) -> None:
        typed, live = text.strip(), self.live
        if typed and live is not None and self.attempt(lambda: live.record(Path(typed).expanduser())):
            self.tell(f"recording into {typed}; R ends it")
            self.redraw()

    async def _stop_recording(self, live: "LiveRun") -> None:
        await live.live.stop_recording()
        recorded = live.live.recorded
        self.tell(recorded.failure or f"recorded {recorded.bytes / 1e6:,.1f} MB: {recorded.directory}")
        self.redraw()

    async def action_quit(self) -> None:
        """Leave; where something is recorded, the second time."""
        live = self.live
        now = self._clock_ns()
        if live is not None and live.live.recorder is not None and now - self._asked_to_quit_ns > QUIT_AGAIN_NS:
            self._asked_to_quit_ns = now
            self.tell("recording: once more to end it and leave", "warning")
            return
        self.exit()

    def action_help(self) -> None:
        if isinstance(self.screen, HelpScreen):
            self.screen.dismiss()
        elif isinstance(self.screen, LiveScreen):
            self.push_screen(HelpScreen(self.screen))

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """Textual's; where a theme has the terminal's own colours, in those of a usual dark terminal."""
        if not self.look.theme.ansi:
            return super().export_screenshot(title=title, simplify=simplify)
        width, height = self.size
        console = Console(
            width=width,
            height=height,
            file=StringIO(),
            force_terminal=True,
            color_system="truecolor",
            record=True,
            legacy_windows=False,
        )
        shown = self._background_screens
        console.print(self.screen._compositor.render_update(full=True, screen_stack=shown, simplify=simplify))
        return console.export_svg(title=title or self.title, theme=TERMINAL)

    def action_picture(self) -> None:
        """Save what is seen, without the notes in the corner: with the frame that does without them."""
        self.screen.query("ToastRack").set(display=False)
        self.screen.call_after_refresh(self._take_picture)

    def _take_picture(self) -> None:
        name = self.screen.name if self.screen.name in self.screens else "dialog"
        shown = self.scene(self.screen) if isinstance(self.screen, LiveScreen) else None
        at = shown.snapshot.now_ns if shown is not None else self.source.status.now_ns
        path = self._free(f"arbtop-{name}-{stamp(at)}")
        drawn = svg(self.export_screenshot(title=f"arbtop {name}", simplify=True))
        if self.attempt(lambda: replace_file(path, drawn.encode())):
            self.tell(f"picture: {path}")

    def _free(self, name: str) -> Path:
        """The name, or the first with a number behind it that no picture has."""
        paths = (self.look.exports / f"{name}{f'-{number}' if number else ''}.svg" for number in count_up())
        return next(path for path in paths if not path.exists())

    @work(thread=True, group="clipboard")
    def put_on_clipboard(self, text: str) -> None:
        """Copy, and say where it went. In a thread: a tool that hangs keeps no feed waiting."""
        said = copy(text, os.environ, run_tool, lambda clean: self.call_from_thread(self.copy_to_clipboard, clean))
        self.call_from_thread(self.tell, said)

    def theme_names(self) -> tuple[str, ...]:
        """Every theme there is; only the one that is worn, with a note, where the user's own cannot be listed."""
        found: list[tuple[str, ...]] = []
        self.attempt(lambda: found.append(theme_names(self.look.themes)))
        return found[0] if found else (self.look.theme.name,)

    def action_next_theme(self) -> None:
        names = self.theme_names()
        at = names.index(self.look.theme.name) if self.look.theme.name in names else -1
        for name in (*names[at + 1 :], *names[: max(at, 0)]):  # one that is not sound is told, and passed over
            if self.wear(name):
                return

    # -- looks -------------------------------------------------------------------------------------------------------------

    def wear(self, name: str) -> bool:
        """Take a theme by name; one that is not sound is refused with its line."""
        if not self.attempt(lambda: self._wear(load_theme(name, self.look.themes))):
            return False
        self.tell(f"theme {name}")
        return True

    def _wear(self, theme: Theme) -> None:
        self.look = structs.replace(self.look, theme=theme)
        self.palette = Palette(theme)
        chosen = textual_theme(theme)
        self.register_theme(chosen)
        if self.theme == chosen.name:
            self.refresh_css(animate=False)
        self.theme = chosen.name
        self._recolour()

    def use_glyphs(self, glyphs: GlyphSet) -> None:
        """Take another set of signs."""
        self.look = structs.replace(self.look, glyphs=glyphs)
        self._ascii.enabled = glyphs.spark == "ascii"
        self._recolour()
        self.tell(f"glyphs {glyphs.name}")

    def _recolour(self) -> None:
        for screen in self.screen_stack:
            screen.refresh(layout=True)
            if isinstance(screen, LiveScreen):
                screen.colour()
        for screen in self.screens.values():
            screen.colour()

    # -- words -------------------------------------------------------------------------------------------------------------

    def tell(self, text: str, severity: Any = "information") -> None:
        """A line in the corner, for a few seconds, in place of the last one: it stands over figures. Warnings stay."""
        if severity == "information" and self._clock_ns() >= self._warned_ns + NOTE_NS:
            self.clear_notifications()
        elif severity != "information":
            self._warned_ns = self._clock_ns()
        self.notify(plain(text), severity=severity, timeout=NOTE_NS / 1e9, markup=False)

    def attempt(self, act: Callable[[], object]) -> bool:
        """Do something that the user asked for; a refusal is told in one line."""
        try:
            act()
        except ArbtopError as error:
            self.tell(str(error), "error")
            return False
        return True

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        return commands(self, screen, SIZES_USD)


def textual_theme(theme: Theme) -> TextualTheme:
    """Our theme in Textual's words, for frames, prompts, notes and the palette."""

    def colour(role: str) -> str:
        return _textual(split_style(theme.roles[role])[1])

    colors = theme.colors
    border = _textual(colors.border)
    own = {"border": border, "border-blurred": border, "footer-key-foreground": colour("accent")}
    return TextualTheme(
        name=f"arbtop-{theme.name}",
        primary=colour("accent"),
        secondary=colour("title"),
        accent=colour("accent"),
        warning=colour("warn"),
        error=colour("crit"),
        success=colour("good"),
        foreground=colour("text"),
        background=_textual(colors.background),
        surface=_textual(colors.surface),
        panel=_textual(colors.surface),
        dark=theme.dark,
        ansi=theme.ansi,
        variables={**(BUILTIN_THEMES[f"ansi-{'dark' if theme.dark else 'light'}"].variables if theme.ansi else {}), **own},
    )


def _textual(colour: str) -> str:
    """Textual spells the terminal's own colours `ansi_red`."""
    return colour if colour.startswith("#") else f"ansi_{colour}"
