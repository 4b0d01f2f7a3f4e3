"""Every line has exactly the asked width in cells, whatever is in it, by the measure of the library that draws it."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import inf, nan
from operator import itemgetter

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tui import formats
from tui.line import Line, cells, fit, number, pad, plain, text_of
from tui.sparkline import Style, sparkline
from tui.table import Column, fit_columns

HOSTILE = (
    *("市場价格", "\U0001f680\U0001f468\u200d\U0001f469\u200d\U0001f467", "❤\ufe0f", "\U0001f44d\U0001f3fd", "한글\u1160"),
    *("שלום ١٢٣", "\u202eevil", "\x1b[2J\x1b]0;x\x07", "\x9b31m", "e\u0301\u0302", "\ud800", "\ue000", "\u3000\u2003"),
    *("65012.10", "−0.6", "—", "BITMEX XBTUSD", "", "\U0001f1fa\U0001f1f8"),
)
TEXTS = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12)), max_size=4).map("".join)
NUMBERS = st.one_of(st.none(), st.floats(), st.integers(-(2**63), 2**63), st.sampled_from([nan, inf, -inf, 1e300, -0.0, 5e-324]))
WIDTHS = st.integers(0, 250)
ROLES = st.sampled_from(["text", "dim", "bid", "ask", "stale"])
SPANS = st.lists(st.tuples(TEXTS, ROLES), max_size=8).map(tuple)
STYLES: tuple[Style, ...] = ("braille", "block", "ascii")
FORMATS: tuple[Callable[[float | None], str], ...] = (
    *(partial(formats.price, tick=tick) for tick in (0.1, 1e-8, 1e300, None, nan)),
    *(partial(formats.signed, digits=digits) for digits in (0, 3)),
    *(formats.bps, formats.z, formats.usd, formats.quantity, formats.age, formats.percent, formats.interval, formats.countdown),
    *(formats.clock, formats.moment, formats.count, formats.ratio, formats.speed, formats.compact, formats.lateness, formats.day),
)
WORDS = frozenset("0123456789.:+−—$% ekMBTsmhdyxZa-")
POINTS = st.lists(st.tuples(st.integers(0, 10**12), NUMBERS), max_size=60).map(partial(sorted, key=itemgetter(0)))
COLUMNS = st.lists(
    st.builds(
        Column,
        key=st.sampled_from("abcdefgh"),
        title=TEXTS,
        width=st.integers(0, 40),
        align=st.sampled_from("<>^"),
        rank=st.integers(0, 3),
        grow=st.booleans(),
        group=st.one_of(st.just(""), TEXTS),
    ),
    max_size=10,
)


@given(text=TEXTS)
def test_cells_are_those_that_are_drawn(text: str) -> None:
    assert cells(text) == cells(plain(text)) == cell_len(plain(text))
    assert plain(plain(text)) == plain(text)


@given(text=TEXTS, width=WIDTHS, align=st.sampled_from("<>^"))
def test_fit_is_exact(text: str, width: int, align: str) -> None:
    drawn = fit(text, width, align)
    assert cell_len(drawn) == width
    assert plain(drawn) == drawn


@given(text=TEXTS, width=WIDTHS)
def test_number_is_exact_and_whole_or_absent(text: str, width: int) -> None:
    drawn = number(text, width)
    assert cell_len(drawn) == width
    assert drawn.endswith(plain(text)) or drawn.strip() in ("…", "")


@given(spans=SPANS, width=WIDTHS)
def test_pad_is_exact(spans: tuple[tuple[str, str], ...], width: int) -> None:
    line = pad(Line(spans, "cursor"), width)
    assert cell_len(text_of(line)) == sum(cell_len(text) for text, _ in line.spans) == width
    assert line.ground == "cursor"
    if cells("".join(plain(text) for text, _ in spans).rstrip(" ")) > width > 0:
        assert text_of(line).endswith("…")


@given(value=NUMBERS, width=WIDTHS)
def test_every_figure_is_one_cell_a_character_and_fits_its_column(value: float | None, width: int) -> None:
    for written in FORMATS:
        text = written(value)
        assert set(text) <= WORDS
        assert plain(text) == text
        assert len(text) == cells(text) == cell_len(text)
        assert cell_len(number(text, width)) == cell_len(fit(text, width)) == width


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_compact_figures_stay_compact(value: float) -> None:
    assert len(formats.quantity(value)) <= 7 + (value < 0)
    assert len(formats.usd(value)) <= 10 + (value < 0)
    assert len(formats.age(value)) <= 5
    assert "1000k" not in formats.usd(value)
    assert abs(value) >= 999.5e12 or "e+" not in formats.usd(value)


@settings(deadline=None)
@given(
    columns=COLUMNS,
    figures=st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(TEXTS, ROLES)),
    width=st.one_of(st.integers(20, 250), st.integers(0, 20)),
    mark=st.sampled_from([" ", "▸", "市", "\x1b"]),
    gap=st.integers(0, 3),
)
def test_a_row_and_its_titles_are_exact(
    columns: list[Column], figures: dict[str, tuple[str, str]], width: int, mark: str, gap: int
) -> None:
    layout = fit_columns(columns, width, gap)
    row = layout.row(figures, "cursor", mark)
    for line in (row, layout.head, *layout.heads):
        assert cell_len(text_of(line)) == sum(cell_len(text) for text, _ in line.spans) == width
        assert pad(line, width) == line
    assert all(left[1] != right[1] for left, right in pairwise(row.spans))


@given(
    points=POINTS,
    now=st.integers(0, 10**12),
    window=st.one_of(st.floats(), st.floats(0.001, 900)),
    width=WIDTHS,
    lo=NUMBERS,
    hi=NUMBERS,
)
def test_a_sparkline_is_exact(
    points: list[tuple[int, float | None]], now: int, window: float, width: int, lo: float | None, hi: float | None
) -> None:
    for style in STYLES:
        line = sparkline(points, now, window, width, style, lo, hi)
        assert len(line) == cell_len(line) == width
        assert plain(line) == line
