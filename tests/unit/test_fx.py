"""Rates implied by indices: what they are, how sure, and that no stuck, late or hostile index moves them (analytics 9, 23)."""

from collections.abc import Iterable
from math import isnan

import pytest

from analytics.fx import AGREE_BPS, COINS, LEAST_BPS, MAX_AGE_NS, FxBoard, FxRate, Missing, Source
from feeds.model import MS, SECOND, Ns, PairIndex

T0: Ns = 1_790_000_000 * SECOND
USDT, USDC = 0.9996, 1.0001
BTC, ETH = 84_000.0, 3_050.0
WORTH = {"USD": 1.0, "USDT": USDT, "USDC": USDC}
PRICES = {"BTC": BTC, "ETH": ETH}
EVERY = tuple((venue, base, quote) for venue in ("OKX", "DERIBIT") for base in PRICES for quote in WORTH)
OKX_USD = ("OKX", "BTC", "USD")


class Told:
    """A board that is told indices once a second, all at their true value unless told otherwise."""

    def __init__(self, **fixed: float) -> None:
        self.board = FxBoard(fixed)
        self.now = T0

    def tell(self, key: tuple[str, str, str], price: float, venue_ns: Ns | None = None) -> None:
        self.board.note(PairIndex(*key, price, self.now - 50 * MS if venue_ns is None else venue_ns), self.now)

    def second(
        self, keys: Iterable[tuple[str, str, str]] = EVERY, wrong: dict[tuple[str, str, str], float] | None = None
    ) -> None:
        """Indices come, the boundary after them, and a second goes by. `wrong`: by what an index is multiplied."""
        for key in keys:
            _, base, quote = key
            self.tell(key, PRICES[base] / WORTH[quote] * (wrong or {}).get(key, 1.0))
        self.board.step(self.now)
        self.now += SECOND

    def rate(self, coin: str = "USDT") -> FxRate:
        return self.board.rate(coin)

    def after(self, span: Ns, coin: str = "USDT") -> FxRate:
        """The rate of a boundary so long after the last second's."""
        self.board.step(self.now - SECOND + span)
        return self.rate(coin)


def bps_off(rate: FxRate, truth: float) -> float:
    return abs(rate.usd / truth - 1) * 1e4


# -- what it is ---------------------------------------------------------------------------------------------------------------


def test_two_indices_of_one_coin_imply_what_a_stablecoin_is_worth() -> None:
    told = Told()
    told.second()
    for coin, truth in (("USDT", USDT), ("USDC", USDC)):
        rate = told.rate(coin)
        assert rate.usd == pytest.approx(truth, rel=1e-12)
        assert (rate.currency, rate.source, rate.missing, rate.estimates) == (coin, Source.IMPLIED, Missing.NONE, 4)
        assert (rate.uncertainty_bps, rate.at_ns) == (LEAST_BPS, T0)


def test_the_uncertainty_is_how_far_the_estimates_lie_apart_and_the_rate_their_median() -> None:
    told = Told()
    told.second(wrong={OKX_USD: 1.0003, ("OKX", "ETH", "USD"): 1.0001, ("DERIBIT", "BTC", "USD"): 0.9998})
    rate = told.rate()
    assert rate.usd == pytest.approx(USDT * (1 + 1.00010) / 2)
    assert rate.uncertainty_bps == pytest.approx((1.0003 / 0.9998 - 1) * 1e4)


def test_a_dollar_is_a_dollar_and_another_currency_is_not_known() -> None:
    told = Told()
    assert (told.rate("USD").usd, told.rate("USD").uncertainty_bps) == (1.0, 0.0)
    assert isnan(told.rate("EUR").usd)
    assert [rate.missing for rate in told.board.rates] == [Missing.UNHEARD, Missing.UNHEARD]


def test_an_index_of_one_stablecoin_in_another_counts_through_the_rate_of_that_one() -> None:
    told = Told()
    told.second([key for key in EVERY if key[2] != "USDC"])
    assert isnan(told.rate("USDC").usd)
    told.tell(("DERIBIT", "USDC", "USDT"), USDC / USDT)
    told.second([key for key in EVERY if key[2] != "USDC" or key[:2] == ("OKX", "BTC")])
    assert told.rate("USDC").usd == pytest.approx(USDC)
    assert told.rate("USDC").estimates == 2
    assert told.rate("USDT").estimates == 4
    # without a rate to go through it says nothing
    alone = Told()
    alone.tell(("DERIBIT", "USDC", "USDT"), USDC / USDT)
    alone.second([key for key in EVERY if key[2] != "USDT"])
    assert alone.rate("USDC").estimates == 4


def test_whether_anything_converts_anew_is_told_once() -> None:
    told = Told()
    assert not told.board.step(told.now)
    for key in EVERY:
        told.tell(key, PRICES[key[1]] / WORTH[key[2]])
    assert [told.board.step(told.now) for _ in range(3)] == [True, False, False]
    assert not told.board.step(told.now + MAX_AGE_NS)
    assert told.board.step(told.now + MAX_AGE_NS + MS)


def test_what_the_user_has_fixed_converts_and_is_called_so_and_what_is_measured_goes_on() -> None:
    told = Told(USDT=0.9990)
    told.second()
    assert told.rate() == FxRate("USDT", 0.9990, source=Source.FIXED)
    assert told.rate("USDC").source is Source.IMPLIED
    assert told.board.departures_bps["USDT"] == pytest.approx((USDT - 1) * 1e4)
    told.now += 60 * SECOND
    assert not told.board.step(told.now) or told.rate().usd == 0.9990
    assert told.rate().usd == 0.9990


# -- what must not move it ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [1.02, 0.98, 1.2, 1e6, 1e-6])
@pytest.mark.parametrize("key", [key for key in EVERY if key[2] != "USDC"])
def test_one_index_that_is_far_off_neither_moves_the_rate_nor_widens_it(key: tuple[str, str, str], off: float) -> None:
    told = Told()
    told.second(wrong={key: off})
    rate = told.rate()
    assert bps_off(rate, USDT) < 1e-6
    assert (rate.uncertainty_bps, rate.estimates) == (LEAST_BPS, 3)


@pytest.mark.parametrize("drift", [0.9995, 1.0005])
def test_an_index_that_stands_still_while_its_market_moves_does_not_move_the_rate(drift: float) -> None:
    """It repeats its price with new times, so nothing but the others can tell."""
    told = Told()
    level = 1.0
    for _ in range(60):
        for key in EVERY:
            _, base, quote = key
            told.tell(key, PRICES[base] / WORTH[quote] * (1.0 if key == OKX_USD else level))
        told.board.step(told.now)
        assert bps_off(told.rate(), USDT) < 1e-6
        assert told.rate().uncertainty_bps <= AGREE_BPS + 0.1
        told.now += SECOND
        level *= drift
    assert told.rate().estimates == 3


def test_an_index_sent_again_and_again_with_the_same_time_grows_old() -> None:
    told = Told()
    stuck = T0
    keys = [key for key in EVERY if key[:2] != ("OKX", "BTC")]
    for _ in range(7):
        told.tell(OKX_USD, BTC, stuck)
        told.tell(("OKX", "BTC", "USDT"), BTC / USDT, stuck)
        told.second(keys)
    assert told.rate().estimates == 3


def test_two_indices_of_different_moments_are_no_estimate() -> None:
    told = Told()
    told.second()
    for at in (1, 2, 3):
        told.second([key for key in EVERY if key != OKX_USD])
        assert told.rate().estimates == (4 if at <= 2 else 3)


@pytest.mark.parametrize(("span", "known"), [(MAX_AGE_NS, True), (MAX_AGE_NS + MS, False)])
def test_a_rate_older_than_five_seconds_is_none_and_says_so(span: Ns, known: bool) -> None:
    told = Told()
    told.second()
    rate = told.after(span)
    assert isnan(rate.usd) is not known
    assert (rate.missing, rate.at_ns) == (Missing.NONE if known else Missing.STALE, T0)
    assert isnan(told.board.departures_bps["USDT"]) is not known


def test_one_estimate_alone_is_no_rate() -> None:
    told = Told()
    told.second([key for key in EVERY if key[:2] == ("OKX", "BTC")])
    assert (isnan(told.rate().usd), told.rate().missing) == (True, Missing.ALONE)
    assert isnan(told.board.departures_bps["USDT"])


def test_estimates_of_which_no_more_than_half_agree_are_no_rate() -> None:
    deribit = {("DERIBIT", base, "USD"): 1.02 for base in PRICES}
    told = Told()
    told.second(wrong=deribit)
    assert (isnan(told.rate().usd), told.rate().missing) == (True, Missing.APART)
    two = Told()
    two.second([key for key in EVERY if key[1] == "BTC"], {OKX_USD: 1.02})
    assert two.rate().missing is Missing.APART


@pytest.mark.parametrize("near", [False, True])
def test_two_of_five_that_agree_are_not_enough(near: bool) -> None:
    """Estimates of three venues and more, each somewhere else: the middle of them is no rate."""
    told = Told()
    for at, off in enumerate((1.0, 1.00001, 0.99 if not near else 1.00002, 1.02, 1.03)):
        told.tell((f"V{at}", "BTC", "USD"), BTC * off)
        told.tell((f"V{at}", "BTC", "USDT"), BTC / USDT)
    told.board.step(told.now)
    assert isnan(told.rate().usd) is not near


def test_a_clock_that_once_ran_ahead_does_not_silence_its_index_for_good() -> None:
    told = Told()
    told.tell(OKX_USD, BTC * 2, T0 + 10**9 * SECOND)
    for _ in range(6):
        told.second()
    assert told.rate().estimates == 3
    told.second()
    assert (told.rate().estimates, bps_off(told.rate(), USDT) < 1e-6) == (4, True)


def test_a_late_index_does_not_take_a_newer_one_back() -> None:
    told = Told()
    told.second()
    told.tell(OKX_USD, BTC * 1.0005, T0 - SECOND)
    told.board.step(told.now)
    assert bps_off(told.rate(), USDT) < 1e-6
    assert told.rate().uncertainty_bps == LEAST_BPS


# -- a coin that leaves its dollar ----------------------------------------------------------------------------------------------


def test_a_coin_that_falls_is_told_though_the_indices_disagree_how_far() -> None:
    told = Told()
    wrong = {("OKX", base, "USD"): 0.97 for base in PRICES} | {("DERIBIT", base, "USD"): 0.95 for base in PRICES}
    told.second(wrong=wrong)
    assert isnan(told.rate().usd)
    assert told.board.departures_bps["USDT"] == pytest.approx((0.97 * USDT - 1) * 1e4)


def test_sources_that_disagree_do_not_make_a_coin_fall_while_one_of_them_stands() -> None:
    told = Told()
    told.second(wrong={("DERIBIT", base, "USD"): 0.95 for base in PRICES})
    assert isnan(told.rate().usd)
    assert told.board.departures_bps["USDT"] == pytest.approx((USDT - 1) * 1e4)


def test_every_coin_has_a_departure_from_the_start() -> None:
    assert tuple(FxBoard({}).departures_bps) == COINS
