"""The split of an edge by marks: its parts make up the whole, what is carried opens nothing, funding beside it has a sign."""

from math import isnan
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from analytics.routes import RouteKind
from analytics.settings import AnalyticsSettings, Arb, Guards
from analytics.snapshot import MarketView, View
from feeds.model import SECOND, Funding, Instrument
from tests.unit.test_routes import BIN_COIN, BIN_PERP, BIN_SPOT, BYB_FUT, BYB_PERP, SMALL, T0, Floor
from tui.formats import bps
from tui.lines.desk import funding_carry, verdict

PARTS: Final = st.floats(-60.0, 60.0)
"""A part of a cross price, in bp."""
INDEX: Final = 100_000.0
LEGS: Final = st.sampled_from([(BIN_PERP, BYB_FUT), (BYB_FUT, BIN_PERP), (BIN_PERP, BYB_PERP), (BIN_PERP, BIN_COIN)])


def placed(legs: tuple[Instrument, Instrument], index: float, premium: float, fresh: float, quick: bool = True) -> Floor:
    """Two derivatives: the sell leg stands above the buy leg by three parts in bp, the buy leg at its mark and index."""
    buy, sell = legs
    guards = Guards(dwell_ms=0, updates=1) if quick else Guards()
    floor = Floor(legs, AnalyticsSettings(guards=guards, size=SMALL))
    sell_index = INDEX * (1 + index / 1e4)
    sell_mark = sell_index * (1 + premium / 1e4)
    for leg, at_index, at_mark in ((buy, INDEX, INDEX), (sell, sell_index, sell_mark)):
        floor.index(leg, at_index)
        floor.mark(leg, at_mark)
    price = sell_mark * (1 + fresh / 1e4)
    floor.write(buy, INDEX * (1 - 1e-9), INDEX)
    floor.write(sell, price, price * (1 + 1e-9))
    return floor


@settings(max_examples=80, deadline=None)
@given(legs=LEGS, index=PARTS, premium=PARTS, fresh=PARTS)
def test_index_gap_premium_and_fresh_part_multiply_to_the_cross(
    legs: tuple[Instrument, Instrument], index: float, premium: float, fresh: float
) -> None:
    found = placed(legs, index, premium, fresh).judged(*legs)
    fees = found.fees_bps
    assert found.fresh_bps == pytest.approx(fresh - fees, abs=1e-6)
    gap = 0.0 if legs[0].quote != legs[1].quote else index  # the axis of the own index has none
    whole = (1 + gap / 1e4) * (1 + premium / 1e4) * (1 + (found.fresh_bps + fees) / 1e4)
    assert found.in_bps == pytest.approx((whole - 1) * 1e4, abs=1e-6)
    assert found.gate_bps == min(found.edge_bps, found.fresh_bps)


@settings(max_examples=60, deadline=None)
@given(legs=LEGS, index=PARTS, premium=PARTS, fresh=PARTS)
def test_an_alert_needs_both_and_the_class_says_which_is_missing(
    legs: tuple[Instrument, Instrument], index: float, premium: float, fresh: float
) -> None:
    floor = placed(legs, index, premium, fresh)
    found = floor.judged(*legs)
    floor.tick()
    told = "FIRE" in [str(event.kind) for event in floor.events if event.alert.scope == f"{legs[0].id} > {legs[1].id}"]
    open_bp = Arb().open_bp
    assert told == (found.edge_bps >= open_bp and found.fresh_bps >= open_bp)
    view = floor.seen(*legs)
    standing = found.edge_bps >= open_bp > found.fresh_bps
    assert view.kind == (RouteKind.STANDING if standing else RouteKind.CONVERGENCE)
    assert (view.episode is not None) == told


@settings(max_examples=25, deadline=None)
@given(
    premium=st.floats(20.0, 200.0),
    wobble=st.lists(st.floats(-4.0, 4.0), min_size=20, max_size=20),
    spot=st.booleans(),
    every=st.integers(1, 9),
)
def test_a_premium_that_its_mark_has_opens_nothing_however_large(
    premium: float, wobble: list[float], spot: bool, every: int
) -> None:
    """The mark is told only each so many boundaries, and the price moves about it by less than the fees."""
    buy = BIN_SPOT if spot else BIN_PERP
    floor = Floor((buy, BYB_FUT), AnalyticsSettings(size=SMALL))
    for step, off in enumerate(wobble):
        if step % every == 0:
            floor.marks(**({} if spot else {"bin_perp": INDEX}), byb_fut=INDEX * (1 + premium / 1e4))
        price = INDEX * (1 + (premium + off) / 1e4)
        floor.write(buy, INDEX - 0.5, INDEX + 0.5)
        floor.write(BYB_FUT, price - 0.5, price + 0.5)
        floor.tick()
    assert not floor.engine.episodes
    assert floor.events == []


def market(instrument: Instrument, rate: float | None, hours: int = 8) -> MarketView:
    floor = Floor((instrument,))
    if rate is not None:
        floor.engine.on_metric(instrument, Funding(rate, hours * 3_600, T0 + 3_600 * SECOND, T0), floor.now)
    floor.tick()
    return floor.engine.snapshot(View()).markets[0]


@settings(max_examples=40, deadline=None)
@given(one=st.floats(-0.003, 0.003), other=st.floats(-0.003, 0.003), hours=st.sampled_from((1, 4, 8)))
def test_the_funding_of_a_route_is_what_its_way_back_pays(one: float, other: float, hours: int) -> None:
    buy, sell = market(BIN_PERP, one), market(BYB_PERP, other, hours)
    carry = funding_carry(buy, sell)
    assert carry == pytest.approx((other * 24 / hours - one * 3) * 1e4, abs=1e-9)
    assert carry is not None
    back = funding_carry(sell, buy)
    assert back == pytest.approx(-carry, abs=1e-9)


def test_who_is_short_of_a_perp_is_paid_and_what_has_no_funding_adds_none() -> None:
    perp, future, spot = market(BIN_PERP, 0.0001), market(BYB_FUT, None), market(BIN_SPOT, None)
    assert funding_carry(spot, perp) == pytest.approx(3.0)
    assert funding_carry(perp, future) == pytest.approx(-3.0)
    assert funding_carry(spot, future) is None
    assert funding_carry(market(BYB_PERP, None), perp) is None
    assert funding_carry(perp, None) is None


def test_a_standing_basis_is_called_so_with_the_funding_where_there_is_room() -> None:
    floor = placed((BIN_PERP, BYB_FUT), 0.0, 48.0, 0.0)
    floor.tick()
    view = floor.seen(BIN_PERP, BYB_FUT)
    fresh = f"standing, fresh {bps(view.fresh_bps)}"
    assert verdict(view, floor.now, 60, -3.0)[0] == f"{fresh} bp, funding −3.0 bp/day"
    assert verdict(view, floor.now, len(fresh), -3.0)[0] == fresh
    assert verdict(view, floor.now, len(fresh) - 1, -3.0)[0] == "standing basis"
    assert verdict(view, floor.now, 60, None)[0] == f"{fresh} bp"


def test_an_open_episode_that_nobody_is_told_of_is_not_shown_as_open() -> None:
    floor = Floor((BIN_PERP, BYB_FUT), AnalyticsSettings(guards=Guards(dwell_ms=0, updates=1), size=SMALL))
    floor.write(BIN_PERP, INDEX - 10.0, INDEX)
    floor.write(BYB_FUT, INDEX + 480.0, INDEX + 490.0)
    floor.tick()
    view = floor.seen(BIN_PERP, BYB_FUT)
    assert view.episode is not None
    assert verdict(view, floor.now, 60, None)[0] == "no marks: not alerted"
    marked = structs.replace(view, refused="", kind=str(RouteKind.CONVERGENCE))  # marks that came since the boundary
    assert "OPEN" not in verdict(marked, floor.now, 60, None)[0]
    assert isnan(view.episode.opened.fresh_bps)
