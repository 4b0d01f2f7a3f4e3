"""An implied rate is never outside what honest indices say, whatever fewer than half of the sources tell (analytics 23)."""

from math import isnan

from hypothesis import given
from hypothesis import strategies as st

from analytics.fx import AGREE_BPS, LEAST_BPS, FxBoard, Source
from feeds.model import SECOND, Ns, PairIndex

T0: Ns = 1_790_000_000 * SECOND
SOURCES = [(venue, base) for venue in ("OKX", "DERIBIT") for base in ("BTC", "ETH")]
PRICES = st.floats(1e-9, 1e14)


@given(
    truth=st.floats(0.9, 1.1),
    noise_bps=st.lists(st.floats(-AGREE_BPS / 4, AGREE_BPS / 4), min_size=2, max_size=6),
    hostile=st.lists(st.floats(1e-12, 1e12), max_size=5),
)
def test_a_hostile_minority_moves_no_rate_out_of_what_the_honest_say(
    truth: float, noise_bps: list[float], hostile: list[float]
) -> None:
    honest = [truth * (1 + each / 1e4) for each in noise_bps]
    hostile = hostile[: len(honest) - 1]
    board = FxBoard({})
    for at, each in enumerate((*hostile, *honest)):
        for quote, price in (("USD", each), ("USDT", 1.0)):
            board.note(PairIndex(f"V{at}", "BTC", quote, price, T0), T0)
    board.step(T0)
    assert min(honest) * (1 - 1e-12) <= board.rate("USDT").usd <= max(honest) * (1 + 1e-12)
    assert board.rate("USDT").uncertainty_bps <= 2 * AGREE_BPS + 0.1


@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from(SOURCES),
            st.sampled_from(("USD", "USDT", "USDC")),
            PRICES,
            st.integers(-10, 10),
            st.integers(0, 4),
        ),
        max_size=60,
    )
)
def test_whatever_indices_say_a_rate_is_a_number_with_a_pedigree_or_none(
    frames: list[tuple[tuple[str, str], str, float, int, int]],
) -> None:
    board, again = FxBoard({}), FxBoard({})
    now = T0
    for (venue, base), quote, price, skew_s, wait_s in frames:
        now += wait_s * SECOND
        for each in (board, again):
            each.note(PairIndex(venue, base, quote, price, now + skew_s * SECOND), now)
            each.step(now)
        for rate in board.rates:
            if isnan(rate.usd):
                assert rate.missing
            else:
                assert (rate.source, str(rate.missing)) == (Source.IMPLIED, "")
                assert rate.usd > 0
                assert rate.estimates >= 2
                assert LEAST_BPS <= rate.uncertainty_bps <= 2 * AGREE_BPS + 0.1
                assert now - rate.at_ns <= 5 * SECOND
        assert str(board.rates) == str(again.rates)
