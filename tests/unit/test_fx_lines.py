"""What the header, a route's detail and BOOK say of dollars that are not the same, and that no stale rate passes for one."""

from collections.abc import Sequence
from math import nan
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from analytics.fx import FxRate, Missing, Source
from analytics.routes import Axis
from analytics.settings import AnalyticsSettings
from analytics.snapshot import MarketView, View
from feeds.model import MS, SECOND, Ns
from tests.unit.test_converted import CHEAP, ROWS, crossing, pegs, rates
from tests.unit.test_routes import BIN_COIN, BIN_SPOT, Floor
from tui.export import export
from tui.line import text_of
from tui.lines.alerts import detail_lines
from tui.lines.book import axis_title, step_text
from tui.lines.cursor import cursor_text
from tui.lines.fx import rate_spans
from tui.lines.header import header_lines
from tui.lines.route import route_lines
from tui.scene import Scene, Whose
from tui.screens.alert import screen_of
from tui.source import LiveStatus
from tui.worklist import item_of

NOW: Ns = 1_790_000_000 * SECOND
USDT = FxRate("USDT", 0.99962, 1.0, Source.IMPLIED, NOW - 300 * MS, 4)
USDC = FxRate("USDC", 1.000104, 2.34, Source.IMPLIED, NOW - 2_100 * MS, 5)


def said(rate: FxRate, short: bool = False) -> str:
    return "".join(text for text, _ in rate_spans(rate, NOW, short))


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (USDT, "USDT/USD .99962 ±1.0 impl"),
        (USDC, "USDC/USD 1.00010 ±2.4 impl 2.1s"),
        (FxRate("USDT", 0.9997, source=Source.FIXED), "USDT/USD .99970 FIXED"),
        (FxRate("USDT", nan, at_ns=NOW - 7 * SECOND, missing=Missing.STALE), "USDT/USD — STALE 7.0s"),
        (FxRate("USDT", nan, at_ns=NOW - 7 * SECOND, missing=Missing.APART), "USDT/USD — SPLIT 7.0s"),
        (FxRate("USDT", nan, missing=Missing.ALONE), "USDT/USD — 1 source"),
        (FxRate("USDT", nan, missing=Missing.UNHEARD), "USDT/USD —"),
    ],
)
def test_a_rate_says_what_it_is_whose_how_sure_and_how_old_or_why_it_is_none(rate: FxRate, text: str) -> None:
    assert said(rate) == text


def test_the_short_form_still_tells_a_measured_rate_from_a_fixed_and_from_none() -> None:
    assert said(USDT, short=True) == "USDT .99962"
    assert said(FxRate("USDT", 0.9997, source=Source.FIXED), short=True) == "USDT .99970 FIXED"
    assert said(FxRate("USDT", nan, at_ns=NOW - 7 * SECOND, missing=Missing.STALE), short=True) == "USDT — STALE 7.0s"


def header(width: int, fx: Sequence[FxRate], floor: Floor | None = None) -> str:
    return heads(width, fx, (floor or Floor(())).engine.snapshot(View()).markets)[0]


def heads(width: int, fx: Sequence[FxRate], markets: Sequence[MarketView]) -> list[str]:
    snapshot = structs.replace(Floor(()).engine.snapshot(View()), now_ns=NOW, fx=tuple(fx), markets=tuple(markets))
    scene = Scene(
        snapshot=snapshot,
        status=LiveStatus(now_ns=NOW, links=1, up=1, recording="", trouble="", demo=True),
        fees=Whose("vip0", False, 0),
        size_usd=50_000.0,
        judged_usd=50_000.0,
        unacked={},
        items=(),
    )
    return [text_of(line) for line in header_lines(scene, "desk", width)]


def of_venues(count: int, lag_ms: float) -> list[MarketView]:
    """One market a venue, all well, with the same lag."""
    floor = Floor((BIN_SPOT,))
    floor.tick()
    (market,) = floor.engine.snapshot(View()).markets
    facts = [structs.replace(market.facts, venue=f"V{at}") for at in range(count)]
    return [structs.replace(market, facts=each, refused="", lag_ms=lag_ms) for each in facts]


def test_where_the_first_line_is_full_of_venues_the_rate_stands_in_the_second() -> None:
    first, second = heads(120, (USDT, USDC), of_venues(5, 28.0))
    assert "USDT" not in first
    assert all(f"V{at} ●28ms" in first for at in range(5))
    assert "USDT/USD .99962 ±1.0 impl │ DEMO ● 1 of 1 up" in second
    first, second = heads(160, (USDT, USDC), of_venues(5, 28.0))
    assert "USDT/USD .99962 ±1.0 impl" in first
    assert "USD" not in second


@pytest.mark.parametrize("venues", [0, 2, 5])
def test_the_rate_stands_once_and_no_lag_or_age_moves_it_to_another_line(venues: int) -> None:
    older = structs.replace(USDT, at_ns=USDT.at_ns - SECOND)
    for width in range(60, 220):
        places = set()
        for rate, lag_ms in ((USDT, 9.0), (USDT, 999.0), (older, 28.0)):
            lines = heads(width, (rate,), of_venues(venues, lag_ms))
            assert [len(line) for line in lines] == [width, width]
            places.add(tuple(line.count("USDT/USD .99962 ±1.0 impl") for line in lines))
        assert len(places) == 1
        assert sum(places.pop()) <= 1


def test_the_header_shows_both_coins_where_there_is_room_then_one_then_its_value_alone() -> None:
    texts = {width: header(width, (USDT, USDC)) for width in (160, 100, 77, 60)}
    assert "USDT/USD .99962 ±1.0 impl │ USDC/USD 1.00010 ±2.4 impl 2.1s" in texts[160]
    assert "USDT/USD .99962 ±1.0 impl" in texts[100]
    assert "USDC" not in texts[77]
    assert "USDT .99962" in texts[77]
    assert "USDT" not in texts[60]
    assert all(len(text) == width for width, text in texts.items())


def test_a_coin_that_no_venue_tells_takes_no_room_but_the_first_is_named_all_the_same() -> None:
    missing = [FxRate(coin, nan, missing=Missing.UNHEARD) for coin in ("USDT", "USDC")]
    assert "│ USDT/USD — " in header(160, missing)
    assert "USDC" not in header(160, missing)
    assert "USDC/USD" in header(160, [missing[0], USDC])


# -- where it is used -----------------------------------------------------------------------------------------------------------


def details(settings: AnalyticsSettings) -> str:
    floor = crossing(100_200.0, settings)
    rates(floor, apart_bps=4.0)
    floor.tick()
    name = f"{BIN_SPOT.id} > {BIN_COIN.id}"
    snapshot = floor.engine.snapshot(View(routes=(name,), exits=True, details=True))
    (route,) = snapshot.routes
    assert route.detail is not None
    facts = {market.instrument: market for market in snapshot.markets}
    return "\n".join(text_of(line).rstrip() for line in route_lines(route, route.detail, facts, 10_000.0, floor.now, 120))


def test_a_routes_detail_says_that_its_rate_is_implied_and_what_the_conversion_takes() -> None:
    text = details(CHEAP)
    assert "fx: dollars converted         −13.00  its cost, there and back, and twice the uncertainty" in text
    assert "at USDT/USD .99820 ±4.0 bp, implied, not tradable" in text
    assert "edge: in − fees − fx" in text
    assert "compared by converted" in text


def test_a_routes_detail_says_that_its_rate_is_the_users() -> None:
    text = details(structs.replace(CHEAP, fx={"USDT": 0.9990}))
    assert "fx: dollars converted          −5.00" in text
    assert "at USDT/USD .99900 fixed by you" in text
    assert "implied" not in text


def test_an_axis_in_dollars_calls_itself_so_and_its_rows_dollars() -> None:
    floor = crossing(99_800.2)
    rates(floor)
    floor.tick()
    snapshot = floor.engine.snapshot(View(routes=None, pairs=None, ladder=ROWS))
    (axis,) = snapshot.axes
    assert axis.axis is Axis.CONVERTED
    assert (axis_title(axis), step_text(axis, 18)) == ("USD, conv.", "row 1 0.1 bp")
    (spot,) = [market for market in snapshot.markets if market.instrument == BIN_SPOT.id]
    assert cursor_text(axis, spot, 99_790, 200).startswith("BIN spot BTC/USDT to 99790 USD: ")


def test_an_alert_of_a_coin_can_be_opened_and_exported_though_it_has_no_legs(tmp_path: Path) -> None:
    floor = Floor(())
    pegs(floor, 0.9950)
    (alert,) = floor.engine.alerts.open
    lines = [text_of(line).rstrip() for line in detail_lines(item_of(alert, {}), None, {}, floor.now, None, 100)]
    assert any(line.endswith("USDT/USD") for line in lines)
    assert screen_of(alert.scope) == ("desk", "USDT/USD")
    export([alert], tmp_path / "out.jsonl")
    row = msgspec.json.decode((tmp_path / "out.jsonl").read_bytes())
    assert (row["rule"], row["scope"], row["unit"], row["enter"], row["exit"]) == ("depeg", "USDT/USD", "bp", 20.0, 15.0)
    assert row["value"] == pytest.approx(-50.0)
