"""Book metrics against level-by-level and lot-by-lot oracles, and against what must not change them. See analytics.md 10, 18."""

from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.book_metrics import ONE_SIDED, Imbalance, bands, imbalance, microprice, quote_within
from feeds.model import Contract, Instrument
from tests.contracts import contract_of

Side = tuple[list[float], list[float]]
WIDTHS = (5.0, 10.0, 25.0, 50.0)


SPOT = contract_of(Contract.LINEAR, 1.0)
LINEAR = contract_of(Contract.LINEAR, 0.01)
INVERSE = contract_of(Contract.INVERSE, 100.0)
KINDS = (SPOT, LINEAR, INVERSE)


def book(seed: int, levels: int = 60, scale: float = 1.0) -> tuple[Side, Side]:
    rng = np.random.default_rng(seed)
    bids = 1000 - 0.01 - np.cumsum(rng.integers(1, 40, levels)) * 0.01
    asks = 1000 + 0.01 + np.cumsum(rng.integers(1, 40, levels)) * 0.01
    sizes = rng.lognormal(0, 1.5, (2, levels))
    return ((bids * scale).tolist(), sizes[0].tolist()), ((asks * scale).tolist(), sizes[1].tolist())


@pytest.mark.parametrize("instrument", KINDS, ids=["spot", "linear", "inverse"])
def test_band_sums_convert_every_level_at_its_own_price(instrument: Instrument) -> None:
    for seed in range(20):
        bids, asks = book(seed)
        mid = (bids[0][0] + asks[0][0]) / 2
        for band in bands(*bids, *asks, WIDTHS, instrument):
            inside = [
                [(p, s) for p, s in zip(*side, strict=True) if abs(p - mid) / mid * 1e4 <= band.width_bps + 1e-8]
                for side in (bids, asks)
            ]
            sums = [sum(instrument.to_base(s, p) for p, s in side) for side in inside]
            sums += [sum(instrument.to_quote(s, p) for p, s in side) for side in inside]
            found = (band.bid_base, band.ask_base, band.bid_quote, band.ask_quote)
            assert found == pytest.approx(sums, rel=1e-12)
            assert (band.bid_whole, band.ask_whole) == tuple(len(side) < 60 for side in inside)
            if sums[0] + sums[1]:
                assert band.imbalance.value == pytest.approx((sums[0] - sums[1]) / (sums[0] + sums[1]), abs=1e-12)


@pytest.mark.parametrize("instrument", KINDS, ids=["spot", "linear", "inverse"])
def test_the_depth_of_a_frame_is_that_of_the_bands(instrument: Instrument) -> None:
    for seed in range(20):
        bids, asks = book(seed)
        below = np.array(bids[0])[::-1], np.array(bids[1])[::-1]
        above = np.array(asks[0]), np.array(asks[1])
        found = quote_within(*below, *above, WIDTHS, instrument)
        for sums, band in zip(found, bands(*bids, *asks, WIDTHS, instrument), strict=True):
            assert sums == pytest.approx((band.bid_quote, band.ask_quote), rel=1e-12)
    nothing = np.array([]), np.array([])
    assert quote_within(*nothing, *above, WIDTHS, instrument) == ()
    assert quote_within(*below, *nothing, WIDTHS, instrument) == ()


def test_a_level_exactly_on_the_edge_belongs_to_the_band_at_any_scale() -> None:
    for scale in np.geomspace(1e-6, 1e6, 60).tolist():
        bids = [99.99 * scale, 99.9 * scale, 99.89 * scale], [1.0, 2.0, 4.0]
        asks = [100.01 * scale, 100.1 * scale, 100.11 * scale], [1.0, 2.0, 4.0]
        (band,) = bands(*bids, *asks, (10.0,), SPOT)
        assert (band.bid_base, band.ask_base) == (3.0, 3.0)


def test_prices_times_1000_leave_every_ratio_alone() -> None:
    for seed in range(20):
        small, large = book(seed), book(seed, scale=1000.0)
        for a, b in zip(bands(*small[0], *small[1], WIDTHS, SPOT), bands(*large[0], *large[1], WIDTHS, SPOT), strict=True):
            assert (a.bid_base, a.ask_base) == (b.bid_base, b.ask_base)
            assert a.bid_quote * 1000 == pytest.approx(b.bid_quote, rel=1e-12)
            assert a.vamp * 1000 == pytest.approx(b.vamp, rel=1e-12, nan_ok=True)
        (bid, bid_size), (ask, ask_size) = ((side[0][0], side[1][0]) for side in small)
        assert microprice(bid, bid_size, ask, ask_size, SPOT).deviation_bps == pytest.approx(
            microprice(bid * 1000, bid_size, ask * 1000, ask_size, SPOT).deviation_bps, rel=1e-6, abs=1e-9
        )


def test_the_order_in_which_levels_arrived_does_not_show() -> None:
    bids, asks = book(3)
    rng = np.random.default_rng(4)
    pairs = [list(zip(*side, strict=True)) for side in (bids, asks)]
    for _ in range(5):
        arrived = [[side[i] for i in rng.permutation(len(side))] for side in pairs]
        kept = [sorted(arrived[0], reverse=True), sorted(arrived[1])]
        sides = [([p for p, _ in side], [s for _, s in side]) for side in kept]
        assert bands(*sides[0], *sides[1], WIDTHS, SPOT) == bands(*bids, *asks, WIDTHS, SPOT)


def test_a_mirrored_book_swaps_the_roles() -> None:
    bids, asks = book(5)
    mirrored_bids = [2000 - p for p in asks[0]], asks[1]
    mirrored_asks = [2000 - p for p in bids[0]], bids[1]
    for a, b in zip(bands(*bids, *asks, WIDTHS, SPOT), bands(*mirrored_bids, *mirrored_asks, WIDTHS, SPOT), strict=True):
        assert a.imbalance.value == pytest.approx(-b.imbalance.value, abs=1e-12, nan_ok=True)
    assert imbalance(*bids, *asks, 10, SPOT).value == -imbalance(*mirrored_bids, *mirrored_asks, 10, SPOT).value


def test_one_empty_side_is_flagged_and_two_are_no_value() -> None:
    bids, asks = book(6)
    empty: Side = ([], [])
    for side, other, wanted in ((bids, empty, 1.0), (empty, asks, -1.0)):
        (band,) = bands(*side, *other, (10.0,), SPOT)
        assert (band.imbalance.value, band.imbalance.flag) == (wanted, ONE_SIDED)
        assert isnan(band.bid_base)
        assert isnan(band.ask_quote)
        assert isnan(band.vamp)
        top = imbalance(*side, *other, 5, SPOT)
        assert (top.value, top.flag) == (wanted, ONE_SIDED)
    (band,) = bands(*empty, *empty, (10.0,), SPOT)
    assert isnan(band.imbalance.value)
    assert band.imbalance.flag == ""
    assert isnan(imbalance(*empty, *empty, 5, SPOT).value)
    assert imbalance(*bids, *asks, 5, SPOT).flag == ""


def test_a_band_narrower_than_the_spread_is_empty_not_balanced() -> None:
    (band,) = bands([99.0], [1.0], [101.0], [1.0], (5.0,), SPOT)
    assert (band.bid_base, band.ask_quote) == (0.0, 0.0)
    assert isnan(band.imbalance.value)
    assert isnan(band.vamp)
    assert band.bid_whole


def test_a_band_that_the_subscribed_depth_cuts_short_says_so() -> None:
    narrow, wide = bands([99.99, 99.9], [1.0, 1.0], [100.01, 100.9], [1.0, 1.0], (5.0, 50.0), SPOT)
    assert (narrow.bid_whole, narrow.ask_whole) == (True, True)
    assert (wide.bid_whole, wide.ask_whole) == (False, True)


@pytest.mark.parametrize("widths", [(0.0,), (-5.0,), (10.0, 5.0), (5.0, 5.0)])
def test_widths_that_do_not_rise_are_refused(widths: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        bands([99.0], [1.0], [101.0], [1.0], widths, SPOT)


def test_imbalance_of_n_levels_ignores_how_deep_the_book_is_subscribed() -> None:
    bids, asks = book(7)
    top = imbalance(*bids, *asks, 10, LINEAR)
    assert top.bid_base == pytest.approx(sum(bids[1][:10]) * 0.01)
    assert top.value == imbalance(bids[0][:10], bids[1][:10], asks[0][:10], asks[1][:10], 10, LINEAR).value
    assert Imbalance(3.0, 1.0).value == 0.5
    assert Imbalance(3.0, 1.0).ratio == 3.0
    assert isnan(Imbalance(3.0, 0.0).ratio)


@settings(max_examples=100, deadline=None)
@given(
    bid=st.floats(1e-6, 1e6),
    spread=st.floats(1e-6, 0.05),
    bid_size=st.floats(1e-6, 1e9),
    ask_size=st.floats(1e-6, 1e9),
    instrument=st.sampled_from(KINDS),
)
def test_the_microprice_leans_to_the_thinner_side_by_obi_times_half_the_spread(
    bid: float, spread: float, bid_size: float, ask_size: float, instrument: Instrument
) -> None:
    ask = bid * (1 + spread)
    micro = microprice(bid, bid_size, ask, ask_size, instrument)
    bid_base, ask_base = instrument.to_base(bid_size, bid), instrument.to_base(ask_size, ask)
    mid = (bid + ask) / 2
    assert micro.price == pytest.approx((ask * bid_base + bid * ask_base) / (bid_base + ask_base), rel=1e-12)
    obi = imbalance([bid], [bid_size], [ask], [ask_size], 1, instrument).value
    assert micro.price == pytest.approx(mid + obi * (ask - bid) / 2, rel=1e-12)
    assert micro.deviation_bps == pytest.approx((micro.price - mid) / mid * 1e4, abs=1e-7)
    assert bid * (1 - 1e-12) <= micro.price <= ask * (1 + 1e-12)


def test_a_touch_without_size_has_no_microprice() -> None:
    assert isnan(microprice(99.0, 0.0, 101.0, 0.0, SPOT).price)
    assert isnan(microprice(nan, nan, 101.0, 1.0, SPOT).deviation_bps)


def test_vamp_weighs_each_side_by_the_other() -> None:
    (band,) = bands([100.0, 99.0], [1.0, 1.0], [102.0], [6.0], (200.0,), SPOT)
    assert band.vamp == pytest.approx((99.5 * 6.0 + 102.0 * 2.0) / 8.0)
