"""Golden figures: how each kind of number is written."""

from collections.abc import Callable
from functools import partial
from math import inf, nan

import pytest

from tui import formats
from tui.formats import DASH, MINUS

SECOND, HOUR, DAY = 10**9, 3600 * 10**9, 86400 * 10**9
MOMENT = 1723161492345678901
EVERY: dict[str, Callable[[float | None], str]] = {
    "price": partial(formats.price, tick=0.1),
    "bps": formats.bps,
    "signed": partial(formats.signed, digits=3),
    "z": formats.z,
    "ratio": formats.ratio,
    "percent": formats.percent,
    "usd": formats.usd,
    "compact": formats.compact,
    "quantity": formats.quantity,
    "rough": formats.rough,
    "duration": formats.duration,
    "count": formats.count,
    "age": formats.age,
    "lateness": formats.lateness,
    "interval": formats.interval,
    "countdown": formats.countdown,
    "clock": formats.clock,
    "moment": formats.moment,
    "day": formats.day,
    "speed": formats.speed,
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("value", [None, nan, inf, -inf])
def test_what_is_not_known_is_a_dash_and_never_a_zero(name: str, value: float | None) -> None:
    assert EVERY[name](value) == ("max" if (name, value) == ("speed", inf) else DASH)


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"clock", "moment", "day"}))
@pytest.mark.parametrize("value", [-1e-12, -0.0, -0.0001, -1e-6, -0.4, -3.0, -65012.1, -1e9, -1e13, -1e300, 4e-7])
def test_there_is_one_minus_sign_and_none_before_a_zero(name: str, value: float) -> None:
    text = EVERY[name](value)
    assert "-" not in text
    assert not text.startswith(MINUS) or any(digit in text for digit in "123456789")


@pytest.mark.parametrize(
    ("tick", "places"),
    [
        *((0.1, 1), (0.01, 2), (0.5, 1), (0.25, 2), (1, 0), (10, 0), (2.5, 1), (5e-5, 5), (1e-8, 8), (1e-10, 10), (1e-15, 12)),
        *((None, 8), (nan, 8), (inf, 8), (0.0, 8), (-1.0, 8), (1e307, 0)),
    ],
)
def test_a_price_shows_each_digit_that_its_tick_can_move(tick: float | None, places: int) -> None:
    assert formats.decimals(tick) == places


@pytest.mark.parametrize(
    ("value", "tick", "text"),
    [
        (65012.1, 0.01, "65012.10"),
        (65012.1, 0.1, "65012.1"),
        (65012.1, 1, "65012"),
        (0.00001234, 1e-8, "0.00001234"),
        (-37.63, 0.01, "−37.63"),
        (-0.004, 0.01, "0.00"),
        (0.0, 0.5, "0.0"),
        (123456789012.0, 0.1, "123456789012.0"),
        (1.234e15, 0.1, "1.23e+15"),
        (-1e300, 0.1, "−1e+300"),
        (0.123, None, "0.12300000"),
    ],
)
def test_price(value: float, tick: float | None, text: str) -> None:
    assert formats.price(value, tick) == text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("+5.8", formats.bps(5.8)),
        ("−0.6", formats.bps(-0.6)),
        ("+0.0", formats.bps(0.0)),
        ("+0.0", formats.bps(-0.04)),
        ("+5.80", formats.bps(5.8, 2)),
        ("−1e+300", formats.bps(-1e300)),
        ("+214.000", formats.signed(214, 3)),
        ("+6", formats.signed(5.8, 0)),
        ("+3.1", formats.z(3.1)),
        ("+0.31", formats.ratio(0.31)),
        ("−0.82", formats.ratio(-0.82)),
        ("+0.0142%", formats.percent(0.000142)),
        ("−0.0012%", formats.percent(-0.000012)),
        ("+0.0000%", formats.percent(-1e-9)),
        ("+1.4%", formats.percent(0.0142, 1)),
        ("1x", formats.speed(1.0)),
        ("0.5x", formats.speed(0.5)),
        ("max", formats.speed(inf)),
        ("100kx", formats.speed(100_000.0)),
    ],
)
def test_what_has_a_sign_or_a_unit(text: str, written: str) -> None:
    assert written == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (50_000, "$50k"),
        (1.9e6, "$1.9M"),
        (2.1e9, "$2.1B"),
        (340, "$340"),
        (-41, "−$41"),
        (0, "$0"),
        (-0.004, "$0"),
        (0.42, "$0.42"),
        (41.26, "$41.3"),
        (1234, "$1.23k"),
        (999.4, "$999"),
        (999.6, "$1k"),
        (999_499, "$999k"),
        (999_950, "$1M"),
        (999_950_000, "$1B"),
        (-1.23e13, "−$12.3T"),
        (1e18, "$1e+18"),
    ],
)
def test_dollars_never_read_a_thousand_thousands(value: float, text: str) -> None:
    assert formats.usd(value) == text
    assert formats.compact(value) == text.replace("$", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4e-6, "4e−06"),
        (0.00001, "0.00001"),
        (0.00042, "0.00042"),
        (0.00096, "0.0010"),
        (0.0042, "0.0042"),
        (0.042, "0.042"),
        (0.0996, "0.100"),
        (0.521, "0.521"),
        (0.9996, "1.00"),
        (1.43, "1.43"),
        (9.996, "10.0"),
        (12.4, "12.4"),
        (99.96, "100"),
        (1204, "1204"),
        (9999.6, "10.0k"),
        (12_400, "12.4k"),
        (124_000, "124k"),
        (999_600, "1.0M"),
        (3.1e6, "3.1M"),
        (2.5e9, "2.5B"),
        (1e15, "1e+15"),
        (-1.5, "−1.50"),
        (0.0, "0"),
    ],
)
def test_a_size_keeps_its_cells_where_rounding_reaches_the_next_unit(value: float, text: str) -> None:
    assert formats.quantity(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (-0.3, "0"), (7.6, "8"), (41, "41"), (1204, "1204"), (12_400, "12.4k"), (-3, "−3")]
)
def test_a_count_has_no_decimals(value: float, text: str) -> None:
    assert formats.count(value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (-0.2, "0ms"),
        (-1.0, DASH),
        (0, "0ms"),
        (12, "12ms"),
        (999.4, "999ms"),
        (999.6, "1.0s"),
        (1800, "1.8s"),
        (9960, "10s"),
        (59_000, "59s"),
        (59_600, "1m"),
        (125_000, "2m"),
        (59.6 * 60_000, "1h"),
        (3 * 3_600_000, "3h"),
        (23.6 * 3_600_000, "1d"),
        (4 * 86_400_000, "4d"),
        (20_000 * 86_400_000, "55y"),
        (1e300, DASH),
    ],
)
def test_an_age_never_takes_more_than_five_cells(ms: float, text: str) -> None:
    assert formats.age(ms) == text
    assert len(text) <= 5


@pytest.mark.parametrize(("ms", "text"), [(3.0, "+3ms"), (-1.2, "−1ms"), (-0.2, "+0ms"), (1e300, DASH)])
def test_lateness_has_a_sign_and_zero_is_not_negative(ms: float, text: str) -> None:
    assert formats.lateness(ms) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((28_800, "8h"), (14_400, "4h"), (3600, "1h"), (1800, "30m"), (5400, "90m"), (86_400, "1d"), (90, "90s"), (0.1, "0.1s")),
        *((0, DASH), (-1, DASH)),
    ],
)
def test_interval(seconds: float, text: str) -> None:
    assert formats.interval(seconds) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (-5 * SECOND, "0:00"),
        (3 * SECOND + 999_999_999, "0:03"),
        (56 * 60 * SECOND + 3 * SECOND, "56:03"),
        (HOUR - 1, "59:59"),
        (HOUR, "1h00"),
        (HOUR + 56 * 60 * SECOND, "1h56"),
        (DAY, "1d00"),
        (126 * DAY + 5 * HOUR, "126d05"),
        (2000 * DAY, "2000d"),
    ],
)
def test_a_countdown_names_its_units_and_stops_at_zero(ns: int, text: str) -> None:
    assert formats.countdown(ns) == text


def test_clocks_are_cut_and_not_rounded_into_the_next_second() -> None:
    assert formats.clock(MOMENT) == "23:58:12.3Z"
    assert formats.clock(MOMENT, 0) == "23:58:12Z"
    assert formats.clock(MOMENT, 9) == "23:58:12.345678901Z"
    assert formats.clock(DAY - 1) == "23:59:59.9Z"
    assert formats.clock(0) == "00:00:00.0Z"
    assert formats.clock(-1) == DASH


def test_a_moment_is_utc_and_one_that_no_calendar_has_is_a_dash() -> None:
    assert formats.moment(MOMENT) == "2024-08-08 23:58:12.345"
    assert formats.moment(SECOND) == "1970-01-01 00:00:01.000"
    assert formats.moment(253_402_300_800 * SECOND - 1) == "9999-12-31 23:59:59.999"
    assert formats.moment(253_402_300_800 * SECOND) == DASH
    assert formats.day(MOMENT) == "2024-08-08"
    assert formats.stamp(MOMENT) == "20240808T235812Z"
    assert formats.stamp(None) == formats.stamp(nan) == "unknown"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "0.012"),
        (1.0, "1.0"),
        (1.23, "1.2"),
        (9.96, "10"),
        (340.4, "340"),
        (996.0, "1.0k"),
        (51_900.0, "52k"),
        (1_249_000.0, "1.2M"),
        (99_600_000.0, "100M"),
        (3.1e9, "3.1B"),
    ],
)
def test_a_rough_size_has_two_figures(value: float, text: str) -> None:
    assert formats.rough(value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (12.0, "12ms"),
        (7_000.0, "7.0s"),
        (59_400.0, "59s"),
        (65_000.0, "1m05s"),
        (3_600_000.0, "1h00m"),
        (2 * 86_400_000.0, "2d00h"),
    ],
)
def test_a_duration_is_told_to_the_second(ms: float, text: str) -> None:
    assert formats.duration(ms) == text
