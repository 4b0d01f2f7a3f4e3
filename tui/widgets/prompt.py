"""The line to type on: a filter, a time to go to, a file name. One a screen, hidden until it is asked for."""

from collections.abc import Callable

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Label

LONGEST = 200


class TypedLine(Input):
    """An input whose Enter is done with when the next key comes."""

    async def action_submit(self) -> None:
        if isinstance(self.parent, Prompt):
            self.parent.submit(self.value)


class Prompt(Horizontal):
    """`ask` opens it with the focus; Enter or Esc give the focus back to where it was."""

    def __init__(self) -> None:
        super().__init__(classes="prompt")
        self.display = False
        self._label = Label("", markup=False)
        self._input = TypedLine(compact=True, max_length=LONGEST, select_on_focus=False)
        self._done: Callable[[str], object] = lambda _text: None
        self._changed: Callable[[str], object] | None = None
        self._before: Widget | None = None
        self._was = ""

    def compose(self) -> ComposeResult:
        yield self._label
        yield self._input

    @property
    def open(self) -> bool:
        return bool(self.display)

    def ask(self, label: str, text: str, done: Callable[[str], object], changed: Callable[[str], object] | None) -> None:
        """Let the user edit `text`."""
        self._label.update(Text(label))
        self._done, self._changed = done, changed
        self._before = self.screen.focused
        self._was = text
        with self._input.prevent(Input.Changed):
            self._input.value = text
        self._input.cursor_position = len(text)
        self.display = True
        self.screen.set_focus(self._input)  # at once: keys that came in the same breath are meant for this line

    def cancel(self) -> None:
        """Nothing typed counts."""
        if self._changed is not None:
            self._changed(self._was)
        self._close()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.open and self._changed is not None:
            self._changed(event.value)

    def submit(self, text: str) -> None:
        """What is typed counts."""
        done = self._done
        self._close()
        done(text)

    def _close(self) -> None:
        before = self._before
        self.screen.set_focus(before if before is not None and before.is_mounted else None)
        self.display = False
