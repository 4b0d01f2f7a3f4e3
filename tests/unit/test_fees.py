"""A wrong fee turns a loss into an opportunity: the table row by row, who wins over whom, and what has no fee at all."""

from itertools import pairwise

import pytest

from analytics.fees import DEFAULTS, PAST, FeeSchedule
from feeds.model import SECOND, Contract, Fees, Instrument, Kind


def instrument(
    venue: str = "BINANCE", kind: Kind = Kind.SPOT, contract: Contract = Contract.LINEAR, fees: Fees | None = None
) -> Instrument:
    settle = {Kind.SPOT: ""}.get(kind, "USDT" if contract is Contract.LINEAR else "BTC")
    dated = "-261225" if kind is Kind.FUTURE else ""
    quote = "USDT" if contract is Contract.LINEAR else "USD"
    return Instrument(
        id=f"{venue}:BTC/{quote}" + (f":{settle}{dated}" if settle else ""),
        venue=venue,
        market="m",
        native="BTC",
        base="BTC",
        quote=quote,
        settle=settle,
        kind=kind,
        contract=contract,
        tick=0.1,
        lot=0.001,
        fees=fees,
    )


PERCENT = [
    ("BINANCE", Kind.SPOT, Contract.LINEAR, 0.10, 0.10),
    ("BINANCE", Kind.PERP, Contract.LINEAR, 0.02, 0.05),
    ("BINANCE", Kind.FUTURE, Contract.LINEAR, 0.02, 0.05),
    ("BINANCE", Kind.PERP, Contract.INVERSE, 0.010, 0.05),
    ("BINANCE", Kind.FUTURE, Contract.INVERSE, 0.010, 0.05),
    ("BYBIT", Kind.SPOT, Contract.LINEAR, 0.10, 0.10),
    ("BYBIT", Kind.PERP, Contract.LINEAR, 0.02, 0.055),
    ("BYBIT", Kind.FUTURE, Contract.INVERSE, 0.02, 0.055),
    ("OKX", Kind.SPOT, Contract.LINEAR, 0.08, 0.10),
    ("OKX", Kind.PERP, Contract.INVERSE, 0.02, 0.05),
    ("OKX", Kind.FUTURE, Contract.LINEAR, 0.02, 0.05),
    ("DERIBIT", Kind.SPOT, Contract.LINEAR, 0.0, 0.0),
    ("DERIBIT", Kind.PERP, Contract.INVERSE, 0.0, 0.05),
    ("DERIBIT", Kind.FUTURE, Contract.LINEAR, 0.0, 0.05),
    ("BITMEX", Kind.PERP, Contract.INVERSE, 0.05, 0.05),
]


@pytest.mark.parametrize(("venue", "kind", "contract", "maker", "taker"), PERCENT)
def test_a_default_is_the_published_percentage_as_a_fraction(
    venue: str, kind: Kind, contract: Contract, maker: float, taker: float
) -> None:
    rate = FeeSchedule().rate(instrument(venue, kind, contract))
    assert rate is not None
    assert [rate.maker, rate.taker] == pytest.approx([maker / 100, taker / 100])


def test_a_default_does_not_pass_for_the_users_own_rate() -> None:
    rate = FeeSchedule().rate(instrument())
    assert rate is not None
    assert rate.source.startswith("default, not your tier")
    assert rate.as_of == "2026"
    assert not rate.confirmed


def test_a_confirmed_tier_is_marked_so() -> None:
    rate = FeeSchedule(confirmed=True).rate(instrument())
    assert rate is not None
    assert rate.confirmed
    assert "not your tier" not in rate.source


def test_every_line_of_the_table_says_who_and_when() -> None:
    assert all(row.source and row.as_of for row in DEFAULTS)
    cells = [(row.venue, kind, contract) for row in DEFAULTS for kind in row.kinds for contract in row.contracts]
    assert len(cells) == len(set(cells))


def test_what_the_venue_states_for_the_instrument_wins_over_the_table() -> None:
    rate = FeeSchedule().rate(instrument("DERIBIT", Kind.PERP, Contract.INVERSE, Fees(maker=-0.0001, taker=0.0004)))
    assert rate is not None
    assert (rate.taker, rate.maker, rate.confirmed) == (0.0004, -0.0001, False)
    assert "stated by the venue" in rate.source


@pytest.mark.parametrize(
    "key", ["BINANCE:BTC/USD:BTC", "BINANCE perp inverse", "BINANCE perp", "BINANCE"], ids=["id", "contract", "kind", "venue"]
)
def test_the_users_own_rate_wins_over_everything(key: str) -> None:
    schedule = FeeSchedule("vip0", {key: 0.0003})
    rate = schedule.rate(instrument("BINANCE", Kind.PERP, Contract.INVERSE, Fees(maker=0.0, taker=0.0004)))
    assert rate is not None
    assert (rate.taker, rate.confirmed, rate.source) == (0.0003, True, "your own")
    other = schedule.rate(instrument("OKX", Kind.PERP, Contract.INVERSE))
    assert other is not None
    assert other.taker == 0.0005


def test_the_narrowest_of_the_users_rates_wins() -> None:
    schedule = FeeSchedule(
        "vip0", {"BYBIT": 0.005, "BYBIT perp": 0.004, "BYBIT perp linear": 0.003, "BYBIT:BTC/USDT:USDT": 0.002}
    )
    kinds = [(Kind.PERP, Contract.LINEAR), (Kind.PERP, Contract.INVERSE), (Kind.SPOT, Contract.LINEAR)]
    rates = [schedule.rate(instrument("BYBIT", kind, contract)) for kind, contract in kinds]
    assert [rate.taker for rate in rates if rate is not None] == [0.002, 0.004, 0.005]


def test_a_rebate_of_the_users_is_taken() -> None:
    rate = FeeSchedule("vip0", {"BYBIT spot": -0.0001}).rate(instrument("BYBIT"))
    assert rate is not None
    assert rate.taker == -0.0001
    assert rate.maker == 0.0010


def test_the_tier_without_fees_is_all_zero_and_says_so() -> None:
    schedule = FeeSchedule("none", {"BINANCE": 0.001})
    for each in (instrument(), instrument("DERIBIT", Kind.OPTION), instrument(fees=Fees(0.1, 0.1))):
        rate = schedule.rate(each)
        assert rate is not None
        assert (rate.taker, rate.maker, rate.source) == (0.0, 0.0, "no fees: tier none")
        assert not rate.confirmed
    assert schedule.round_trip_bps(instrument(), instrument("OKX", Kind.PERP)) == 0.0


@pytest.mark.parametrize(
    "unknown",
    [
        instrument("KRAKEN"),
        instrument("DERIBIT", Kind.OPTION, Contract.INVERSE),
        instrument("BITMEX", Kind.PERP, Contract.QUANTO),
        instrument("BITMEX", Kind.FUTURE, Contract.INVERSE),
    ],
    ids=lambda each: each.id,
)
def test_an_instrument_without_an_entry_gets_no_invented_fee(unknown: Instrument) -> None:
    schedule = FeeSchedule()
    assert schedule.rate(unknown) is None
    assert schedule.round_trip_bps(instrument(), unknown) is None
    assert schedule.round_trip_bps(unknown, instrument()) is None


def test_a_route_that_must_be_unwound_pays_four_fees() -> None:
    schedule = FeeSchedule()
    perp = instrument("BINANCE", Kind.PERP)
    assert schedule.round_trip_bps(perp, instrument("BYBIT", Kind.PERP)) == pytest.approx(2 * (5.0 + 5.5))
    assert schedule.round_trip_bps(instrument(), perp) == pytest.approx(30.0)
    assert schedule.round_trip_bps(perp, instrument()) == pytest.approx(30.0)


def test_spot_to_spot_pays_two_fees() -> None:
    assert FeeSchedule().round_trip_bps(instrument(), instrument("OKX")) == pytest.approx(20.0)


APRIL_2019, MAY_2019 = 1_554_076_800 * SECOND, 1_556_668_800 * SECOND
PERCENT_IN_APRIL_2019 = [
    ("BITMEX", Kind.PERP, Contract.INVERSE, -0.025, 0.075),
    ("BITMEX", Kind.FUTURE, Contract.INVERSE, -0.025, 0.075),
    ("DERIBIT", Kind.PERP, Contract.INVERSE, -0.025, 0.075),
    ("DERIBIT", Kind.FUTURE, Contract.INVERSE, -0.02, 0.05),
    ("BINANCE", Kind.SPOT, Contract.LINEAR, 0.10, 0.10),  # not in that table: as today
]


@pytest.mark.parametrize(("venue", "kind", "contract", "maker", "taker"), PERCENT_IN_APRIL_2019)
def test_a_recording_of_april_2019_is_judged_by_what_was_paid_then(
    venue: str, kind: Kind, contract: Contract, maker: float, taker: float
) -> None:
    for now in (APRIL_2019, MAY_2019 - 1):
        rate = FeeSchedule().at(now).rate(instrument(venue, kind, contract))
        assert rate is not None
        assert [rate.maker, rate.taker] == pytest.approx([maker / 100, taker / 100])
        assert not rate.confirmed


@pytest.mark.parametrize("now", [0, APRIL_2019 - 1, MAY_2019, 1_790_757_082 * SECOND])
def test_fees_of_the_past_are_of_their_month_alone(now: int) -> None:
    schedule = FeeSchedule()
    assert schedule.at(now) is schedule


def test_the_users_own_rates_and_the_tier_without_fees_hold_in_the_past_too() -> None:
    perp = instrument("BITMEX", Kind.PERP, Contract.INVERSE)
    own = FeeSchedule("vip0", {"BITMEX perp": 0.0001}, confirmed=True).at(APRIL_2019).rate(perp)
    assert own is not None
    assert (own.taker, own.maker, own.source) == (0.0001, -0.00025, "your own")
    free = FeeSchedule("none").at(APRIL_2019)
    assert free.round_trip_bps(perp, instrument("DERIBIT", Kind.PERP, Contract.INVERSE)) == 0.0


def test_every_line_of_the_past_says_who_and_when_and_no_two_months_overlap() -> None:
    for month in PAST:
        assert all(row.source and row.as_of for row in month.rows)
        cells = [(row.venue, kind, contract) for row in month.rows for kind in row.kinds for contract in row.contracts]
        assert len(cells) == len(set(cells))
    spans = sorted((month.since_ns, month.until_ns) for month in PAST)
    assert all(since < until for since, until in spans)
    assert all(one[1] <= other[0] for one, other in pairwise(spans))


@pytest.mark.parametrize("tier", ["vip1", "", "VIP0"])
def test_an_unknown_tier_is_refused(tier: str) -> None:
    with pytest.raises(ValueError, match="write one of vip0, none"):
        FeeSchedule(tier)


@pytest.mark.parametrize("key", ["Binance", "BINANCE Spot", "BINANCE margin", "BINANCE spot inverse x", ""])
def test_a_misspelt_key_is_refused_and_does_not_silently_do_nothing(key: str) -> None:
    with pytest.raises(ValueError, match="names nothing"):
        FeeSchedule("vip0", {key: 0.001})


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 0.11, 7.5, -0.2])
def test_a_rate_in_percent_or_bp_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        FeeSchedule("vip0", {"BINANCE spot": rate})
