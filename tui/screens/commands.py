"""What the palette offers: every key that does something here, by its meaning, and the choices that have no key of their own."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.markup import escape
from textual.screen import Screen

from tui.formats import usd
from tui.glyphs import GLYPHS
from tui.keys import KEYS, MOVE

if TYPE_CHECKING:
    from tui.app import ArbtopApp

PREFIXES = {"screens": "view", "look": "view", "act": "do", "replay": "replay"}


def commands(app: "ArbtopApp", screen: Screen[Any], sizes_usd: tuple[float, ...]) -> Iterator[SystemCommand]:
    """Only what applies now: the theme that is worn and the size that is set are not offered again."""
    for id_ in dict.fromkeys(active.binding.id or "" for active in screen.active_bindings.values()):
        key = KEYS.get(id_)
        if key is not None and key.group != MOVE and id_ not in ("palette", "leave"):
            yield SystemCommand(
                f"{PREFIXES[key.group]}: {key.label.lower()}", escape(f"{key.meaning}  {key.face}"), _press(app, key.keys[0])
            )
    for name in app.theme_names():
        if name != app.look.theme.name:
            yield SystemCommand(f"theme: {escape(name)}", "wear this theme", _later(app.wear, name))
    for glyphs in GLYPHS.values():
        if glyphs.name != app.look.glyphs.name:
            yield SystemCommand(f"glyphs: {glyphs.name}", "draw with these signs", _later(app.use_glyphs, glyphs))
    for size in sizes_usd:
        if size != app.size_usd:
            yield SystemCommand(f"size: {usd(size)}", "the trade size of the screens, a leg", _later(app.resize_to, size))
    for place in ("start", "end"):
        yield SystemCommand(f"replay: go to the {place}", f"go to the {place} of the recording", _later(app.go_to, place))


def _press(app: "ArbtopApp", key: str) -> Callable[[], None]:
    return lambda: app.simulate_key(key)


def _later(act: Callable[[Any], object], value: object) -> Callable[[], None]:
    def do() -> None:
        act(value)

    return do
