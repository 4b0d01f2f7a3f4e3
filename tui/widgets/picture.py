"""Pictures of a screen: Textual's export as a small SVG that looks the same in every viewer and fetches nothing.

The export names a web font by address, carries ids, and leaves blocks, lines and braille to whatever font the viewer has, so bars
show seams and charts fall out of step. Here it is read back into cells and written anew: a cell is 12 x 24 units; every block,
line, braille dot and status sign is a shape on that grid; only words are left to a font. The same screen gives the same bytes.
Which screens are taken is not decided here. The grid that is read is that of `rich.console.Console.export_svg`, Rich 15.0.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from typing import Final, NamedTuple
from xml.etree import ElementTree

from rich.cells import cell_len
from rich.terminal_theme import TerminalTheme

CELL_WIDTH: Final = 12
CELL_HEIGHT: Final = 24
FONT_SIZE: Final = 20  # a monospace letter is 0.6 of its size wide: 12 units
BASELINE: Final = 18
MARGIN: Final = 12
# The first that a viewer has is taken; the first holds every letter and sign we use, so a picture is one font throughout.
FONTS: Final = "'DejaVu Sans Mono','Fira Code',Menlo,Consolas,monospace"

RICH_CELL_WIDTH: Final = 12.2
RICH_LINE_HEIGHT: Final = 24.4
RICH_BASELINE: Final = 20
RICH_RECT_TOP: Final = 1.5
SVG: Final = "{http://www.w3.org/2000/svg}"

LIGHT: Final = 2
HEAVY: Final = 4
DOUBLE: Final = 6  # two light lines and the gap between them
WEIGHTS: Final = {"LIGHT": LIGHT, "SINGLE": LIGHT, "HEAVY": HEAVY, "DOUBLE": DOUBLE}
ARMS: Final = {"UP": "U", "DOWN": "D", "LEFT": "L", "RIGHT": "R", "VERTICAL": "UD", "HORIZONTAL": "LR"}
ACROSS: Final = {"U": "LR", "D": "LR", "L": "UD", "R": "UD"}
OPPOSITE: Final = {"U": "D", "D": "U", "L": "R", "R": "L"}
DASHES: Final = {"DOUBLE DASH": 2, "TRIPLE DASH": 3, "QUADRUPLE DASH": 4}
SHADES: Final = {"░": ".25", "▒": ".5", "▓": ".75"}
QUADRANTS: Final = {"UPPER LEFT": (0, 0), "UPPER RIGHT": (6, 0), "LOWER LEFT": (0, 12), "LOWER RIGHT": (6, 12)}
DOTS: Final = ((3, 3), (3, 9), (3, 15), (9, 3), (9, 9), (9, 15), (3, 21), (9, 21))  # braille bits 0 to 7
DOT_SIZE: Final = 4

# Outlines in one cell: moves are absolute, all else is relative, a second outline inside the first is a hole.
CIRCLE: Final = "M1 12a5 5 0 0 1 10 0a5 5 0 0 1-10 0z"
OUTLINES: Final = {
    "●": CIRCLE,
    "○": CIRCLE + "M2.6 12a3.4 3.4 0 0 0 6.8 0a3.4 3.4 0 0 0-6.8 0z",
    "◐": CIRCLE + "M6 8.6a3.4 3.4 0 0 1 0 6.8z",
    "◑": CIRCLE + "M6 8.6a3.4 3.4 0 0 0 0 6.8z",
    "■": "M1.5 7.5h9v9h-9z",
    "□": "M1.5 7.5h9v9h-9zM3 9v6h6v-6z",
    "◆": "M6 6l6 6l-6 6l-6-6z",
    "◇": "M6 6l6 6l-6 6l-6-6zM6 8.3l-3.7 3.7l3.7 3.7l3.7-3.7z",
    "▲": "M6 6.5l6 10.5h-12z",
    "△": "M6 6.5l6 10.5h-12zM6 9.7l-3.3 5.8h6.6z",
    "▼": "M6 17.5l-6-10.5h12z",
    "▽": "M6 17.5l-6-10.5h12zM6 14.3l3.3-5.8h-6.6z",
    "▶": "M1 6l10.5 6l-10.5 6z",
    "◀": "M11 6l-10.5 6l10.5 6z",
    "▸": "M2.5 7.5l7.5 4.5l-7.5 4.5z",
    "◂": "M9.5 7.5l-7.5 4.5l7.5 4.5z",
    "▴": "M6 8.5l4.5 7h-9z",
    "▾": "M6 15.5l-4.5-7h9z",
    "╭": "M5 24v-6a7 7 0 0 1 7-7v2a5 5 0 0 0-5 5v6z",
    "╮": "M7 24v-6a7 7 0 0 0-7-7v2a5 5 0 0 1 5 5v6z",
    "╰": "M5 0v6a7 7 0 0 0 7 7v-2a5 5 0 0 1-5-5v-6z",
    "╯": "M7 0v6a7 7 0 0 1-7 7v-2a5 5 0 0 0 5-5v-6z",
    "╱": "M0 23v1h1l11-23v-1h-1z",
    "╲": "M12 23v1h-1l-11-23v-1h1z",
    "╳": "M0 23v1h1l11-23v-1h-1zM12 23v1h-1l-11-23v-1h1z",
}

_XTERM: Final = (
    *((0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)),
    *((127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255)),
)
TERMINAL: Final = TerminalTheme((0, 0, 0), (229, 229, 229), list(_XTERM[:8]), list(_XTERM[8:]))
"""What the terminal's own colours look like in a picture: xterm's, on its black; Rich's are those of a grey window."""


class Rect(NamedTuple):
    """A filled rectangle, in units."""

    x: float
    y: float
    width: float
    height: float


BLOCKS: Final = {
    **{character: Rect(0, 24 - 3 * eighths, 12, 3 * eighths) for eighths, character in enumerate("▁▂▃▄▅▆▇█", 1)},
    **{character: Rect(0, 0, 1.5 * eighths, 24) for eighths, character in enumerate("▏▎▍▌▋▊▉", 1)},
    "▔": Rect(0, 0, 12, 3),
    "▀": Rect(0, 0, 12, 12),
    "▕": Rect(10.5, 0, 1.5, 24),
    "▐": Rect(6, 0, 6, 24),
}


class Shape(NamedTuple):
    """How one character is drawn in its cell: rectangles, an outline, or round dots, and how opaque."""

    rects: tuple[Rect, ...] = ()
    outline: str = ""
    dots: str = ""
    opacity: str = ""


class Run(NamedTuple):
    """Text of one style in one row; `rules` is the CSS that Rich gave it."""

    row: int
    column: int
    text: str
    rules: str


class Export(NamedTuple):
    """What an export shows, in cells; `ground` is the colour that covers most of it."""

    columns: int
    rows: int
    title: str
    ground: str
    backgrounds: dict[str, list[Rect]]
    runs: list[Run]


def svg(exported: str) -> str:
    """The text of a self-contained SVG for `exported`, what Textual's `App.export_screenshot` returned.

    Raises ValueError when `exported` is something else.
    """
    export = _read(exported)
    rects: dict[str, list[Rect]] = defaultdict(list)
    paths: dict[str, list[str]] = defaultdict(list)
    words: dict[str, list[str]] = defaultdict(list)
    for colour, found in export.backgrounds.items():
        if colour != export.ground:
            rects[f'fill="{colour}"'] += found
    grounds = [_filled(paint, found) for paint, found in rects.items()]
    rects.clear()
    for run in export.runs:
        _draw(run, rects, paths, words)
    width, height = export.columns * CELL_WIDTH + 2 * MARGIN, export.rows * CELL_HEIGHT + 2 * MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
            f"<title>{escape(export.title)}</title>",
            f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8" fill="{export.ground}"',
            ' stroke="#808080" stroke-opacity=".5"/>',
            f'<g transform="translate({MARGIN} {MARGIN})" stroke-width="{DOT_SIZE}" stroke-linecap="round">',
            '<g shape-rendering="crispEdges">',
            *grounds,
            *(_filled(paint, found) for paint, found in rects.items()),
            "</g>",
            *(f'<path {paint} fill-rule="evenodd" d="{"".join(found)}"/>' for paint, found in paths.items()),
            f'<g font-family="{FONTS}" font-size="{FONT_SIZE}" style="font-variant-ligatures:none">',
            *(f"<g {style}>{''.join(found)}</g>" for style, found in words.items()),
            "</g></g></svg>\n",
        ]
    )


def _read(exported: str) -> Export:
    try:
        root = ElementTree.fromstring(exported)
    except ElementTree.ParseError as error:
        raise ValueError(f"not an SVG: {error}") from error
    chrome, clip, body = root.find(f"{SVG}rect"), root.find(f".//{SVG}clipPath/{SVG}rect"), root.find(f"{SVG}g[@clip-path]")
    if chrome is None or clip is None or body is None:
        raise ValueError("not an export of a screen: it has no frame")
    columns = round((float(clip.attrib["width"]) + 1) / RICH_CELL_WIDTH)
    rows = round((float(clip.attrib["height"]) + 1) / RICH_LINE_HEIGHT)
    rules = dict(re.findall(r"\.(\S+-r\d+) \{ (.*) \}", root.findtext(f"{SVG}style", "")))
    backgrounds: dict[str, list[Rect]] = defaultdict(list)
    area: Counter[str] = Counter({chrome.attrib["fill"]: columns * rows})  # what nothing is drawn on shows the frame's ground
    for rect in body.iterfind(f"{SVG}rect"):
        row, column = _place(rect, RICH_RECT_TOP)
        span = round(float(rect.attrib["width"]) / RICH_CELL_WIDTH)
        backgrounds[rect.attrib["fill"]].append(Rect(column * CELL_WIDTH, row * CELL_HEIGHT, span * CELL_WIDTH, CELL_HEIGHT))
        area[chrome.attrib["fill"]] -= span
        area[rect.attrib["fill"]] += span
    runs = [
        Run(*_place(text, RICH_BASELINE), _plain(text.text), rules[text.attrib["class"]])
        for text in body.iterfind(f".//{SVG}text")
    ]
    return Export(columns, rows, _plain(root.findtext(f"{SVG}text")), area.most_common(1)[0][0], backgrounds, runs)


def _place(element: ElementTree.Element, top: float) -> tuple[int, int]:
    return round((float(element.attrib["y"]) - top) / RICH_LINE_HEIGHT), round(float(element.attrib["x"]) / RICH_CELL_WIDTH)


def _plain(text: str | None) -> str:
    return (text or "").replace("\xa0", " ")


def _draw(run: Run, rects: dict[str, list[Rect]], paths: dict[str, list[str]], words: dict[str, list[str]]) -> None:
    """Sort what `run` shows into the rectangles, the paths and the words of its paint."""
    colour = re.findall(r"fill: (#\w+)", run.rules)[0]
    fill = f'fill="{colour}"'
    top = run.row * CELL_HEIGHT
    lefts = [run.column * CELL_WIDTH]
    for character in run.text:
        left = lefts[-1]
        lefts.append(left + cell_len(character) * CELL_WIDTH)
        shape = _shape(character)
        if shape is not None:
            paint = fill + (f' fill-opacity="{shape.opacity}"' if shape.opacity else "")
            if shape.rects:
                rects[paint] += [rect._replace(x=rect.x + left, y=rect.y + top) for rect in shape.rects]
            if shape.outline:
                paths[fill].append(_moved(shape.outline, left, top))
            if shape.dots:
                paths[f'stroke="{colour}"'].append(_moved(shape.dots, left, top))
    for rule, height in (("underline", 20), ("line-through", 11)):
        if rule in run.rules:
            rects[fill].append(Rect(lefts[0], top + height, lefts[-1] - lefts[0], LIGHT))
    style = fill + ' font-weight="700"' * ("bold" in run.rules) + ' font-style="italic"' * ("italic" in run.rules)
    # A sign outside ASCII may come from another font of another width: alone, it cannot push its neighbours.
    for word in re.finditer(r"[!-~]+(?: [!-~]+)*|[^ -~]", run.text):
        if _shape(word[0]) is None:
            left, right = lefts[word.start()], lefts[word.end()]
            length = f' textLength="{right - left}"' if len(word[0]) > 1 else ""
            words[style].append(f'<text x="{left}" y="{top + BASELINE}"{length}>{escape(word[0], quote=False)}</text>')


def _moved(outline: str, left: int, top: int) -> str:
    return re.sub(r"M([\d.]+) ([\d.]+)", lambda move: f"M{float(move[1]) + left:g} {float(move[2]) + top:g}", outline)


@cache
def _shape(character: str) -> Shape | None:
    """How `character` is drawn; None when that is left to a font."""
    name = unicodedata.name(character, "") if len(character) == 1 else ""
    if character in OUTLINES:
        return Shape(outline=OUTLINES[character])
    if character in SHADES:
        return Shape((Rect(0, 0, CELL_WIDTH, CELL_HEIGHT),), opacity=SHADES[character])
    if "\u2800" <= character <= "\u28ff" and name:
        bits = ord(character) - 0x2800
        return Shape(dots="".join(f"M{x} {y}h0" for bit, (x, y) in enumerate(DOTS) if bits >> bit & 1))
    if name.startswith("QUADRANT "):
        return Shape(tuple(Rect(x, y, 6, 12) for corner, (x, y) in QUADRANTS.items() if corner in name))
    if character in BLOCKS:
        return Shape((BLOCKS[character],))
    return Shape(tuple(_lines(name.removeprefix("BOX DRAWINGS ")))) if name.startswith("BOX DRAWINGS ") else None


def _lines(name: str) -> Iterator[Rect]:
    """The strokes of a line, a corner or a crossing, by its Unicode name, as in DOWN LIGHT AND RIGHT HEAVY."""
    dashes = next((count for words, count in DASHES.items() if words in name), 1)
    arms: dict[str, int] = {}
    weight = LIGHT
    for part in re.sub(r"\w+ DASH ", "", name).split(" AND "):
        words = part.split()
        weight = next((WEIGHTS[word] for word in words if word in WEIGHTS), weight)
        arms |= {arm: weight for word in words for arm in ARMS.get(word, "")}
    for arm, weight in arms.items():
        for offset in (-2, 2) if weight == DOUBLE else (0,):
            yield from _stroke(arm, offset, LIGHT if weight == DOUBLE else weight, _start(arm, offset, arms), dashes)


def _start(arm: str, offset: int, arms: dict[str, int]) -> float:
    """How far from the cell's centre the stroke of `arm` begins, so that it meets what crosses it without a gap or a stub."""
    before, after = (arms.get(other, 0) for other in ACROSS[arm])
    opposite = OPPOSITE[arm] in arms
    if DOUBLE not in (before, after):
        return -max(before, after) / 2
    beside = {-2: before, 0: min(before, after), 2: after}[offset]
    if beside == DOUBLE and not (offset == 0 and opposite):
        return 1
    return 0 if opposite else -3


def _stroke(arm: str, offset: int, thickness: int, start: float, dashes: int) -> Iterator[Rect]:
    vertical = arm in "UD"
    length, breadth = (CELL_HEIGHT, CELL_WIDTH) if vertical else (CELL_WIDTH, CELL_HEIGHT)
    side = breadth / 2 + offset - thickness / 2
    low, high = (length / 2 + start, length) if arm in "DR" else (0, length / 2 - start)
    if dashes == 1:
        yield Rect(side, low, thickness, high - low) if vertical else Rect(low, side, high - low, thickness)
    elif arm in "DR":  # one of the two arms draws the whole dashed line
        step = length // dashes
        for begin in range(0, length, step):
            yield Rect(side, begin, thickness, step * 2 // 3) if vertical else Rect(begin, side, step * 2 // 3, thickness)


def _filled(paint: str, rects: Iterable[Rect]) -> str:
    """One path for `rects`, those that touch joined along rows and then down columns."""
    along: list[Rect] = []
    for rect in sorted(rects, key=lambda rect: (rect.y, rect.height, rect.x)):
        last = along[-1] if along else rect
        if along and (last.y, last.height) == (rect.y, rect.height) and rect.x <= last.x + last.width:
            along[-1] = last._replace(width=max(last.width, rect.x + rect.width - last.x))
        else:
            along.append(rect)
    joined: list[Rect] = []
    for rect in sorted(along, key=lambda rect: (rect.x, rect.width, rect.y)):
        last = joined[-1] if joined else rect
        if joined and (last.x, last.width) == (rect.x, rect.width) and rect.y <= last.y + last.height:
            joined[-1] = last._replace(height=max(last.height, rect.y + rect.height - last.y))
        else:
            joined.append(rect)
    drawn = "".join(f"M{r.x:g} {r.y:g}h{r.width:g}v{r.height:g}h{-r.width:g}z" for r in joined)
    return f'<path {paint} d="{drawn}"/>'
