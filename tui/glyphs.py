"""Glyph sets: how the signs of lines and sparklines reach a terminal whose font does not hold them.

Lines are drawn in the canonical glyphs of `tui/line.py`. `braille` and `block` leave them as they are and differ in the
sparkline; `ascii` translates at the very end, cell for cell, also what Textual draws itself (frames, scrollbars, toggles).
Severities and states keep a sign each. Which set `auto` means is decided here. Nothing is drawn here.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from feeds.errors import InputError
from feeds.text import clean_text
from tui.line import cells as plain_cells

FALLBACK: Final = "?"
"""Stands in each cell of a character that has no ASCII of its own."""

_SIGNS: Final[Mapping[str, str]] = {
    # Figures and words.
    "—–−‐‑‒―": "-",
    "·∙": ".",
    "…": "~",  # what pagers write where a line is cut
    "•★⭑‣": "*",
    "◦⭘": "o",
    "▪": "+",
    "×✕✗": "x",
    "±≈": "~",
    "≤": "<",
    "≥": ">",
    "≠": "!",
    "σ": "s",
    "Σ": "S",
    "Δ": "d",
    "µμ": "u",
    "‘’": "'",
    "“”": '"',
    "\u00a0": " ",
    # Severity, state and place: each listed one in lines has a sign that no other has.
    "■": "X",
    "▲△": "!",
    "●": "*",
    "○": "o",
    "◐◑◒◓": "%",
    "□": "=",
    "◆◇": "@",
    "▸→▶▷": ">",
    "◂←◀◁": "<",
    "↑⇧": "^",
    "↓▼▽": "v",
    # Bars, shades and the pieces of frames and scrollbars.
    "█▉▊▋▓▇": "#",
    "▌▍": "]",
    "▐": "[",
    "▎▏▕": "|",
    "▒": ":",
    "░": ".",
    "▁▂": "_",
    "▃": ".",
    "▄▔": "-",
    "▅▆": "=",
    "▀": '"',
    "▖▗▘▙▚▛▜▝▞▟": "+",
}
"""Characters of one cell → the ASCII that each of them becomes."""

_HORIZONTAL: Final = "─━┄┅┈┉╌╍╴╶╸╺╼╾"
_VERTICAL: Final = "│┃┆┇┊┋╎╏║╵╷╹╻╽╿"
_BOX: Final = range(0x2500, 0x2580)

_BRAILLE: Final = range(0x2800, 0x2900)
_BRAILLE_ROWS: Final = ((0x09, "^"), (0x12, "-"), (0x24, "."), (0xC0, "_"))
"""The dots of a row of a braille cell, from the top, and what a cell becomes whose highest dot is there."""


def _ascii_table() -> dict[int, str]:
    table = dict.fromkeys(_BOX, "+")
    for characters, sign in {_HORIZONTAL: "-", "═": "=", _VERTICAL: "|", "╱": "/", "╲": "\\", "╳": "X", **_SIGNS}.items():
        table.update(dict.fromkeys(map(ord, characters), sign))
    for code in _BRAILLE:
        table[code] = next((sign for dots, sign in _BRAILLE_ROWS if code & dots), " ")
    return table


TO_ASCII: Final[Mapping[int, str]] = MappingProxyType(_ascii_table())
"""For `str.translate`: code point of a character of one cell → ASCII."""


class GlyphSet(Struct, frozen=True):
    """One way to draw signs."""

    name: Literal["braille", "block", "ascii"]
    spark: Literal["braille", "block", "ascii"]
    """The style of sparklines, which are drawn in it and not translated."""


GLYPHS: Final[Mapping[str, GlyphSet]] = MappingProxyType(
    {
        "braille": GlyphSet("braille", "braille"),
        "block": GlyphSet("block", "block"),
        "ascii": GlyphSet("ascii", "ascii"),
    }
)


def to_ascii(text: str, cells: Callable[[str], int] = plain_cells) -> str:
    """The text in printable ASCII, of the same number of cells, whatever it holds.

    Args:
        text: anything. What has no ASCII of its own becomes `?` in each of its cells, and nothing where it has none.
        cells: how wide a text is. The measure of plain text by default; text that has not passed `tui.line.plain` is given the
            measure by which it was laid out. It must not shrink when a character is appended.
    """
    drawn = text.translate(TO_ASCII)
    if drawn.isascii() and drawn.isprintable():
        return drawn
    signs = []
    taken = 0
    for end, character in enumerate(text, 1):
        # The width of a character depends on its neighbours (joiners, variation selectors), that of a beginning does not.
        now = cells(text[:end])
        width, taken = now - taken, now
        own = character if character.isascii() and character.isprintable() else TO_ASCII.get(ord(character), "")
        signs.append(own if own and width == 1 else FALLBACK * width)
    return "".join(signs)


def choose_glyphs(name: str, env: Mapping[str, str], encoding: str) -> GlyphSet:
    """The glyph set of a name.

    `auto` is ascii where the locale or the output's encoding is not UTF-8, and on the Linux console (TERM=linux): its fonts hold
    at most 512 glyphs, so no braille, and neither the eighths of a block nor most of our signs; `block` would not do either.
    Anywhere else it is braille.

    Args:
        name: auto, or one of `GLYPHS`.
        env: the process's environment.
        encoding: of the stream that is drawn to; "" when it has none.

    Raises:
        InputError: there is no such set.
    """
    if name in GLYPHS:
        return GLYPHS[name]
    if name != "auto":
        raise InputError(f'no glyph set "{clean_text(name)}"; it must be one of auto, {", ".join(GLYPHS)}')
    utf8 = _is_utf8(encoding) and _is_utf8(_locale_charset(env))
    return GLYPHS["braille" if utf8 and env.get("TERM") != "linux" else "ascii"]


def _is_utf8(charset: str) -> bool:
    return charset.lower().replace("-", "").replace("_", "") == "utf8"


def _locale_charset(env: Mapping[str, str]) -> str:
    """What the locale says of characters, by POSIX precedence; one that names no charset, or is not set, agrees with any."""
    locale = next((value for key in ("LC_ALL", "LC_CTYPE", "LANG") if (value := env.get(key, ""))), "")
    if locale in ("C", "POSIX"):
        return "ascii"
    return locale.partition("@")[0].partition(".")[2] or "utf-8"
