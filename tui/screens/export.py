"""The export dialog: which alerts, which format, which times, which name; a preview of the very bytes; Enter writes."""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, get_args

from msgspec import structs
from textual.widget import Widget

from analytics.alert import Alert
from feeds.errors import ArbtopError
from tui.exporting import Exporting, Format, Scope, Times, default_name
from tui.formats import plural
from tui.line import Line, Row, pad
from tui.scene import Scene
from tui.screens.live import Dialog
from tui.widgets.bindings import bind
from tui.widgets.live_grid import LiveGrid
from tui.widgets.panel import Panel

PREVIEWED: Final = 8
FIELDS: Final = ("scope", "fmt", "times", "name")
NAMES: Final = {"scope": "alerts", "fmt": "format", "times": "times", "name": "file"}
WORDS: Final = {
    "shown": "those shown now",
    "all": "all of this pass",
    "unacked": "those not acknowledged",
    "csv": "CSV",
    "jsonl": "JSON lines",
    "utc": "UTC, ISO 8601 to the ns",
    "epoch_ns": "ns since 1970",
    "local": "this machine's time zone, ISO 8601",
}
CHOICES: Final = {"scope": get_args(Scope), "fmt": get_args(Format), "times": get_args(Times)}


class ExportScreen(Dialog):
    """Up and down choose a field, left and right its value; Enter on the file's name edits it."""

    FOOTER = (("detail", "Write"), ("up", "Field"), ("right", "Change"), "back")
    BINDINGS: ClassVar = bind("left", "right")

    def __init__(self, shown: Sequence[Alert]) -> None:
        super().__init__(name="export")
        self.shown = shown
        self.fields = LiveGrid(id="export-fields")
        self.preview = LiveGrid(id="export-preview", cursor=False)
        self.fields_panel = Panel(self.fields, id="export-fields-panel")
        self.preview_panel = Panel(self.preview)
        self._overwrite = ""
        """The name that the user has been asked about."""
        self._chosen: Exporting | None = None

    def panels(self) -> Iterable[Widget]:
        return self.fields_panel, self.preview_panel

    @property
    def chosen(self) -> Exporting:
        if self._chosen is None:
            app = self.arbtop
            self._chosen = Exporting(directory=app.look.exports, name=default_name(app.source.status.now_ns))
        return self._chosen

    def _alerts(self) -> list[Alert]:
        return self.chosen.chosen(self.shown, self.arbtop.source.alerts.values())

    def show(self, scene: Scene) -> None:
        alerts = self._alerts()
        width = self.fields.size.width
        self.fields.show((), [Row(field, self._field(field, width)) for field in FIELDS])
        self.fields_panel.say(f"EXPORT  {plural(len(alerts), 'alert')}", f"into {self.chosen.directory}")
        cells = self.preview.size.width
        lines = self.chosen.preview(alerts, PREVIEWED)
        self.preview.show((), [Row(str(at), pad(Line(((f" {text}", "text"),)), cells)) for at, text in enumerate(lines)])
        self.preview_panel.say("PREVIEW  the first lines of the file")

    def _field(self, field: str, width: int) -> Line:
        value = str(getattr(self.chosen, field))
        shown = WORDS.get(value, value) if field in CHOICES else value
        hint = "  h l changes" if field in CHOICES else "  l edits"
        return pad(Line(((f" {NAMES[field]:<8} ", "dim"), (shown, "title"), (hint, "dim"))), width)

    # -- keys --------------------------------------------------------------------------------------------------------------

    def action_left(self) -> None:
        self._turn(-1)

    def action_right(self) -> None:
        self._turn(1)

    def _turn(self, step: int) -> None:
        field = self.fields.cursor
        if field not in CHOICES:
            self.ask("file name: ", self.chosen.name, self._rename)
            return
        choices = CHOICES[field]
        value = choices[(choices.index(getattr(self.chosen, field)) + step) % len(choices)]
        self._chosen = self.chosen.with_format(value) if field == "fmt" else structs.replace(self.chosen, **{field: value})
        self.draw()

    def _rename(self, name: str) -> None:
        self._chosen = structs.replace(self.chosen, name=name.strip())
        self.draw()

    def on_live_grid_chosen(self, event: LiveGrid.Chosen) -> None:
        event.stop()
        self.write()

    def write(self) -> None:
        """Write the file; a name that is taken is asked about once."""
        chosen, app = self.chosen, self.arbtop
        try:
            if chosen.taken and self._overwrite != chosen.name:
                self._overwrite = chosen.name
                app.tell(f"{chosen.name} is there already: Enter again overwrites it", "warning")
                return
            alerts = self._alerts()
            path = chosen.write(alerts, overwrite=self._overwrite == chosen.name)
        except ArbtopError as error:
            app.tell(str(error), "error")
            return
        self.dismiss()
        app.tell(f"{plural(len(alerts), 'alert')}: {path}")
