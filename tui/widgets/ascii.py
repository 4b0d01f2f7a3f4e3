"""The glyph set `ascii` at its last gate: whatever any widget draws leaves as plain ASCII, cell for cell."""

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.glyphs import to_ascii


class AsciiFilter(LineFilter):
    """A line filter, so frames, notes and prompts of Textual's own go through it as well."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            Segment(text, style, control) if control or text.isascii() else Segment(to_ascii(text, cell_len), style)
            for text, style, control in segments
        ]
