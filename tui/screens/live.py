"""What every screen of the program is: a header that is always true, panels, a line to type on, a footer, and one timer.

At each tick the screen says what it looks at (`view`), gets a scene of one instant, and hands lines to its grids (`show`).
Nothing else draws. A screen that is not on top does not tick; what covers it covers it wholly, so no old figure shines through.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget

from analytics.ladder import LadderQuery
from analytics.snapshot import View
from tui.keys import EVERYWHERE, KEYS, REPLAY
from tui.lines.header import footer_line, header_lines
from tui.lines.help import Legend
from tui.scene import Scene
from tui.widgets.bindings import bind
from tui.widgets.brush import Brush
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import Panel
from tui.widgets.prompt import Prompt
from tui.widgets.room import Column

if TYPE_CHECKING:
    from tui.app import ArbtopApp


class LiveScreen(Screen[None], inherit_bindings=False):
    """Base of all screens.

    Subclasses give `TITLE_ID` (the screen's line in the key table, "" for a dialog), `FOOTER` (ids of the keys the footer shows,
    with another label where they do something of the screen's own), `LEGEND` for the help, `panels`, `view` and `show`.
    """

    BINDINGS: ClassVar = bind(*EVERYWHERE, "zoom", "back")
    TITLE_ID: ClassVar[str] = ""
    FOOTER: ClassVar[tuple[str | tuple[str, str], ...]] = ()
    LEGEND: ClassVar[Legend] = ()

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self.VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]
        self.header = LiveGrid(id="header", cursor=False)
        self.footer = LiveGrid(id="footer", cursor=False)
        self.prompt = Prompt()
        self._brush = Brush(self)
        self._grids: tuple[LiveGrid, ...] = ()
        """All that lines are handed to."""
        self._drawn: object = None
        """What the source was, and from where it was looked at, when the last frame was drawn by time."""

    # -- for subclasses ----------------------------------------------------------------------------------------------------

    def panels(self) -> Iterable[Widget]:
        """The widgets between header and footer."""
        return ()

    def view(self) -> View:
        """What this screen looks at now."""
        return View(routes=None, pairs=None, sums=False)

    def ladder(self) -> LadderQuery | None:
        """How it looks at order books, where it does: that may change while the picture is frozen."""
        return None

    def looks(self) -> tuple[object, ...]:
        """From where it looks: a frame of the same instant differs when this does, as after a resize while a replay is paused."""
        return tuple(grid.size for grid in self._grids)

    def foot(self) -> Sequence[str | tuple[str, str]]:
        """What the footer shows."""
        return self.FOOTER

    def show(self, scene: Scene) -> None:
        """Hand lines to the grids."""

    # -- the frame ---------------------------------------------------------------------------------------------------------

    @property
    def arbtop(self) -> "ArbtopApp":
        return cast("ArbtopApp", self.app)

    def compose(self) -> ComposeResult:
        yield self.header
        with Column(id="panels"):
            yield from self.panels()
        yield self.prompt
        yield self.footer

    def on_mount(self) -> None:
        self._grids = tuple(self.query(LiveGrid))
        self._timer = self.set_interval(1 / self.arbtop.fps, self.tick)
        self.colour()

    def on_screen_suspend(self) -> None:
        self._timer.pause()

    def on_screen_resume(self) -> None:
        self._timer.resume()
        self.call_after_refresh(self.draw)

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    def tick(self) -> None:
        """One period has passed."""
        app = self.arbtop
        now = app.moment(), self.looks()
        if now != self._drawn and app.meter.due(app.outlet):  # a replay that stands still costs nothing
            self._drawn = now
            with self._brush.stroke():
                self.draw()

    def draw(self) -> None:
        """Make one frame."""
        if not self.is_current:
            return
        app = self.arbtop
        with app.meter.frame():
            scene = app.scene(self)
            if scene is not None:
                self.frame(scene)

    def look_at(self, key: str) -> None:
        """Put the cursor on what another screen has chosen; a screen without such a thing does nothing."""

    def frame(self, scene: Scene) -> None:
        """Draw everything of this screen from `scene`."""
        self.header.show(header_lines(scene, self.TITLE_ID, self.header.size.width), ())
        named = [(entry, KEYS[entry].label) if isinstance(entry, str) else entry for entry in self.foot()]
        tape = self.arbtop.tape is not None
        keys = tuple((KEYS[id_].face, label) for id_, label in named if tape or KEYS[id_].group != REPLAY)
        self.footer.show([footer_line(keys, self.footer.size.width)], ())
        self.show(scene)

    def colour(self) -> None:
        """Draw in the app's colours from now on."""
        for grid in self._grids:
            grid.brush = self._brush
            grid.use(self.arbtop.palette)

    # -- keys that every screen has ----------------------------------------------------------------------------------------

    def action_zoom(self) -> None:
        """The focused panel alone, or all of them again."""
        panel = next((each for each in self.focused.ancestors if isinstance(each, Panel)), None) if self.focused else None
        zoomed = self.has_class("zoomed")
        for each in self.query(Panel):
            each.set_class(not zoomed and each is panel, "zoom")
        self.set_class(not zoomed and panel is not None, "zoomed")
        self.call_after_refresh(self.draw)

    def action_back(self) -> None:
        if self.prompt.open:
            self.prompt.cancel()
        elif self.has_class("zoomed"):
            self.action_zoom()
        else:
            self.leave()

    def leave(self) -> None:
        """Esc where nothing is left to close: a dialog goes, a screen stays."""

    def ask(
        self,
        label: str,
        text: str,
        done: Callable[[str], object],
        changed: Callable[[str], object] | None = None,
    ) -> None:
        """Let the user type a line; `done` hears it on Enter, `changed` each time it changes, "" when it is given up."""
        self.prompt.ask(label, text, done, changed)


class Dialog(LiveScreen):
    """A screen on top of another: Esc goes back to it. It covers all of it, and its header is as live as any."""

    def leave(self) -> None:
        self.dismiss()
