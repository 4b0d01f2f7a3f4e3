"""Pictures as PNG, for screenshots/ and for looking at a screen while working on it. The SVG is `tui.widgets.picture`."""

from functools import cache
from pathlib import Path

import resvg_py

from tui.widgets.picture import FONTS
from tui.widgets.picture import svg as svg


def svg_to_png(svg_text: str, path: Path, scale: float = 1) -> None:
    """Draw `svg_text`, what `svg` returned, into the PNG file `path`, `scale` pixels a unit, with the fonts of this machine.

    Raises ValueError when `svg_text` is not SVG, RuntimeError when this machine has none of the fonts: without the check the
    picture would lack its words and nobody would be told.
    """
    if not _finds_a_font():
        raise RuntimeError(f"no font to draw with: install one of {FONTS}")
    path.write_bytes(resvg_py.svg_to_bytes(svg_string=svg_text, zoom=scale))


@cache
def _finds_a_font() -> bool:
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24" font-family="{FONTS}">'
    letter, nothing = (resvg_py.svg_to_bytes(svg_string=f"{frame}{text}</svg>") for text in ('<text y="18">M</text>', ""))
    return bool(letter != nothing)
