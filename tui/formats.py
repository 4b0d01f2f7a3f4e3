"""How a figure is written: one function a kind of number, so that the same quantity looks the same on every screen.

Each takes a value or none at all. None, nan and infinity are a dash, never a zero; the minus sign is U+2212 everywhere; what
rounds to zero has no minus. Figures are compact and do not know their column: `tui.line.number` puts them into it, and never cuts
one. Durations and sizes are rounded to the nearest; clocks and countdowns are cut, as clocks are.
"""

from bisect import bisect_right
from datetime import datetime, timedelta
from functools import lru_cache
from math import inf
from typing import Final

DASH: Final = "—"
MINUS: Final = "−"
_HUGE: Final = 1e12
"""From here on a number is written with an exponent: no column has room for its digits, and none of them is meant."""
_UNKNOWN_DECIMALS: Final = 8
_MOST_DECIMALS: Final = 12
_NS: Final = 1_000_000_000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_EPOCH: Final = datetime(1970, 1, 1)
_LAST_NS: Final = 253_402_300_800 * _NS
"""The end of the year 9999."""


def _rare(value: float | None, plus: str = "") -> str:
    """No value, or one that is too long to be written in full."""
    if value is None or not -inf < value < inf:
        return DASH
    return f"{value:{plus}.3g}".replace("-", MINUS, 1)


@lru_cache(1024)
def decimals(tick: float | None) -> int:
    """Decimals that a price of this tick needs, 12 at most; 8 when no tick is known, so that little is rounded away."""
    if tick is None or not 0 < tick < inf:
        return _UNKNOWN_DECIMALS
    scaled = ((places, tick * 10**places) for places in range(_MOST_DECIMALS))
    return next((places for places, whole in scaled if abs(whole - round(whole)) < 1e-6 * whole), _MOST_DECIMALS)


_FIXED: Final = tuple(f"{{:z.{places}f}}".format for places in range(_MOST_DECIMALS + 1))


def price(value: float | None, tick: float | None) -> str:
    """A price with the decimals of its tick: 65012.10."""
    if value is None or not -_HUGE < value < _HUGE:
        return _rare(value)
    text = _FIXED[decimals(tick)](value)
    return text.replace("-", MINUS) if value < 0 else text


def signed(value: float | None, digits: int) -> str:
    """A number that always has a sign: +5.8, −0.6, +0.0."""
    if value is None or not -_HUGE < value < _HUGE:
        return _rare(value, "+")
    text = f"{value:+z.{digits}f}"
    return text.replace("-", MINUS) if value < 0 else text


def bps(value: float | None, digits: int = 1) -> str:
    """Basis points: +5.8."""
    return signed(value, digits)


def z(value: float | None) -> str:
    """A z-score: +3.1."""
    return signed(value, 1)


def ratio(value: float | None) -> str:
    """A share between −1 and +1, as an imbalance: +0.31."""
    return signed(value, 2)


def percent(rate: float | None, digits: int = 4) -> str:
    """A rate as a fraction, such as funding per interval, in per cent: 0.000142 is +0.0142%."""
    figure = signed(rate * 100 if rate is not None else None, digits)
    return figure + "%" if figure != DASH else DASH


_THOUSANDS: Final = (("", 1.0), ("k", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12))


def usd(value: float | None) -> str:
    """Dollars in three significant digits at most, cents at the finest: $340, $50k, $1.9M, −$41."""
    if value is None or not -inf < value < inf:
        return DASH
    amount = abs(value)
    if amount < 1:
        amount = round(amount, 2)
    sign = MINUS + "$" if value < 0 and amount else "$"
    for unit, size in _THOUSANDS:
        if amount / size < 999.5:
            return f"{sign}{amount / size:.3g}{unit}"
    return f"{sign}{amount:.3g}"


_SIZES: Final = (
    (0.0, "{:.0e}", 1.0),
    (0.0000095, "{:.5f}", 1.0),
    (0.00095, "{:.4f}", 1.0),
    (0.0095, "{:.3f}", 1.0),
    (0.9995, "{:.2f}", 1.0),
    (9.995, "{:.1f}", 1.0),
    (99.95, "{:.0f}", 1.0),
    (9999.5, "{:.1f}k", 1e-3),
    (99.95e3, "{:.0f}k", 1e-3),
    (999.5e3, "{:.1f}M", 1e-6),
    (99.95e6, "{:.0f}M", 1e-6),
    (999.5e6, "{:.1f}B", 1e-9),
    (99.95e9, "{:.0f}B", 1e-9),
    (999.5e9, "{:.1f}T", 1e-12),
    (99.95e12, "{:.0f}T", 1e-12),
    (999.5e12, "{:.0e}", 1.0),
)
"""From which size on, how it is written, and times what. The steps stand where rounding reaches the next one."""
_SIZE_STEPS: Final = tuple(step for step, _, _ in _SIZES)
_SIZE_FORMS: Final = tuple((form.format, scale) for _, form, scale in _SIZES)


def quantity(value: float | None) -> str:
    """A size without its unit, about three figures in 6 cells, 7 below a thousandth: 0.00042 0.042 1.43 12.4 1204 12.4k 3.1M."""
    if value is None or not -inf < value < inf:
        return DASH
    if value < 0:
        return MINUS + quantity(-value)
    if not value:
        return "0"
    form, scale = _SIZE_FORMS[bisect_right(_SIZE_STEPS, value) - 1]
    text = form(value * scale)
    return text.replace("-", MINUS) if value < _SIZE_STEPS[1] else text


def count(n: float | None) -> str:
    """A whole number, in full up to four figures: 41, 1204, 12.4k, 3.1M."""
    if n is None or not -inf < n < inf:
        return DASH
    return f"{n:z.0f}".replace("-", MINUS) if -99.95 < n < 99.95 else quantity(n)


_AGES: Final = (
    (999.5, "{:z.0f}ms", 1.0),
    (9.95e3, "{:.1f}s", 1e-3),
    (59.5e3, "{:.0f}s", 1e-3),
    (59.5e3 * _MINUTE, "{:.0f}m", 1e-3 / _MINUTE),
    (23.5e3 * _HOUR, "{:.0f}h", 1e-3 / _HOUR),
    (999.5e3 * _DAY, "{:.0f}d", 1e-3 / _DAY),
    (999.5e3 * _DAY * 365, "{:.0f}y", 1e-3 / _DAY / 365),
)
"""Below which age in ms, how it is written, and times what."""
_AGE_STEPS: Final = tuple(step for step, _, _ in _AGES)
_AGE_FORMS: Final = tuple((form.format, scale) for _, form, scale in _AGES)
_OLDEST_MS: Final = _AGE_STEPS[-1]


def age(ms: float | None) -> str:
    """An age in milliseconds, in 5 cells: 12ms 1.8s 59s 2m 3h 4d. What lies in the future has no age."""
    if ms is None or not -0.5 <= ms < _OLDEST_MS:
        return DASH
    form, scale = _AGE_FORMS[bisect_right(_AGE_STEPS, ms)]
    return form(ms * scale)


def duration(ms: float | None) -> str:
    """A span of time to the second, in 6 cells: 12ms 7.0s 59s 1m05s 2h03m 4d02h."""
    if ms is None or not 59.5e3 <= ms < _LAST_NS / 1e6:
        return age(ms)
    seconds = round(ms / 1e3)
    for unit, size, smaller, part in (("d", _DAY, "h", _HOUR), ("h", _HOUR, "m", _MINUTE), ("m", _MINUTE, "s", 1)):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // part:02}{smaller}"
    return f"{seconds}s"


_INTERVALS: Final = (("d", _DAY), ("h", _HOUR), ("m", _MINUTE))


@lru_cache(256)
def interval(seconds: float | None) -> str:
    """A fixed span of time in the largest unit that divides it: 8h, 1h, 30m, 90s. A span is longer than nothing."""
    if seconds is None or not 0 < seconds < _HUGE:
        return DASH
    whole = (f"{seconds / size:.0f}{unit}" for unit, size in _INTERVALS if seconds % size == 0)
    return next(whole, f"{seconds:.4g}s".replace("-", MINUS))


def countdown(ns: float | None) -> str:
    """Nanoseconds still to go, in 6 cells: 126d05 (days, hours), 1h56 (hours, minutes), 56:03 (minutes, seconds).

    What is past has 0:00 to go.
    """
    if ns is None or not -inf < ns < _LAST_NS:
        return DASH
    seconds = max(0, int(ns // _NS))
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}:{seconds % _MINUTE:02}"
    if seconds < _DAY:
        return f"{seconds // _HOUR}h{seconds % _HOUR // _MINUTE:02}"
    days = seconds // _DAY
    return f"{days}d{seconds % _DAY // _HOUR:02}" if days < 1000 else f"{days}d"


def clock(ns: float | None, digits: int = 1) -> str:
    """The time of day, UTC, of nanoseconds since 1970: 14:03:27.4Z. `digits` of a second, 0 to 9."""
    if ns is None or not 0 <= ns < _LAST_NS:
        return DASH
    seconds, part = divmod(int(ns), _NS)
    fraction = f".{part:09}"[: digits + 1] if digits else ""
    return f"{seconds % _DAY // _HOUR:02}:{seconds % _HOUR // _MINUTE:02}:{seconds % _MINUTE:02}{fraction}Z"


def moment(ns: float | None) -> str:
    """Date and time, UTC, of nanoseconds since 1970: 2024-08-08 23:58:12.345."""
    if ns is None or not 0 <= ns < _LAST_NS:
        return DASH
    return (_EPOCH + timedelta(microseconds=int(ns) // 1000)).isoformat(sep=" ", timespec="milliseconds")


def speed(x: float | None) -> str:
    """How fast a recording plays: 1x, 0.5x; infinity is max."""
    if x == inf:
        return "max"
    if x is None or not -inf < x < inf:
        return DASH
    return f"{x:z.4g}x".replace("-", MINUS) if abs(x) < 9999.5 else quantity(x) + "x"


def compact(value: float | None) -> str:
    """An amount whose unit stands elsewhere, as `usd` writes it without its sign: 50k, 1.9M, 340."""
    return usd(value).replace("$", "", 1)


_ROUGH: Final = tuple((10.0**power, 10.0 ** (power - 1)) for power in range(-4, 19))
_ROUGH_FROM: Final = tuple(start for start, _ in _ROUGH)


def rough(value: float | None) -> str:
    """A size in two significant figures, in 5 cells: 340, 52k, 1.2M. For places where many change at once: a third is noise."""
    if value is None or not 1.0 <= value < 1e18:
        return quantity(value)
    step = _ROUGH[max(bisect_right(_ROUGH_FROM, value) - 1, 0)][1]
    amount = round(value / step) * step
    for unit, size in _THOUSANDS:
        if amount / size < 999.5:
            return f"{amount / size:.1f}{unit}" if amount / size < 9.95 else f"{amount / size:.0f}{unit}"
    return f"{amount:.0e}"


def lateness(ms: float | None) -> str:
    """Milliseconds against a leg's own median, where a lag is not known: +3ms, −1ms."""
    text = age(abs(ms) if ms is not None else None)
    if ms is None or text == DASH:
        return DASH
    return (MINUS if ms < 0 and text != "0ms" else "+") + text


def day(ns: float | None) -> str:
    """The day, UTC: 2024-08-08."""
    return _day(int(ns // (_DAY * _NS))) if ns is not None and 0 <= ns < _LAST_NS else DASH


@lru_cache(16)
def _day(number: int) -> str:
    return (_EPOCH + timedelta(days=number)).strftime("%Y-%m-%d")


def stamp(ns: float | None) -> str:
    """A moment as part of a file name: 20240808T235812Z."""
    text = moment(ns)
    return text[:19].translate({ord("-"): None, ord(":"): None, ord(" "): "T"}) + "Z" if text != DASH else "unknown"


_BYTES: Final = ((999.5, "B", 1.0), (999.5e3, "kB", 1e3), (999.5e6, "MB", 1e6), (999.5e9, "GB", 1e9), (999.5e12, "TB", 1e12))


def data_size(bytes_: float | None) -> str:
    """An amount of bytes with its unit, in 6 cells: 512 B, 61 MB, 1.2 GB."""
    if bytes_ is None or not 0 <= bytes_ < _BYTES[-1][0]:
        return DASH
    _, unit, scale = next(step for step in _BYTES if bytes_ < step[0])
    figure = bytes_ / scale
    return f"{figure:.1f} {unit}" if scale > 1 and figure < 9.95 else f"{figure:.0f} {unit}"


def plural(number: int, word: str) -> str:
    """So many of them: 1 route, 12 routes."""
    return f"{count(number)} {word}{'' if number == 1 else 's'}"
