"""A theme's roles and grounds as Rich styles, made once each."""

from functools import lru_cache

from rich.style import Style

from tui.theme import Theme


class Palette:
    """Styles of one theme. A role that a theme does not name is the text's: a line is drawn in any case."""

    def __init__(self, theme: Theme) -> None:
        colors = theme.colors
        self._grounds = {"": colors.background, "cursor": colors.cursor, "shade": colors.shade, "panel": colors.surface}
        self._roles = theme.roles
        self.style = lru_cache(maxsize=512)(self._style)

    def _style(self, role: str, ground: str) -> Style:
        """The style of `role` on `ground`: "" the background, cursor, shade, panel."""
        text = self._roles.get(role, self._roles["text"])
        return Style.parse(f"{text} on {self._grounds.get(ground, self._grounds[''])}")
