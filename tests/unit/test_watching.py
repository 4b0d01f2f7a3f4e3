"""Which instruments a live run watches: too many cost connections, a missing one is a market that the user never sees."""

from itertools import permutations

import msgspec
import pytest

from feeds.model import SECOND, Contract, Instrument, Kind
from tui.watching import Watch, chosen

DAY = 86_400 * SECOND


def instrument(
    name: str, kind: Kind, contract: Contract = Contract.LINEAR, *, expiry_days: int = 0, quote: str = "USDT"
) -> Instrument:
    base = name.partition("/")[0].partition(":")[2]
    return Instrument(
        id=name,
        venue="BYBIT",
        market="linear",
        native=name,
        base=base,
        quote=quote,
        kind=kind,
        contract=contract,
        contract_size=1.0,
        tick=0.1,
        lot=0.001,
        expiry_ns=expiry_days * DAY,
    )


SPOT = instrument("BYBIT:BTC/USDT", Kind.SPOT)
SPOT_USDC = instrument("BYBIT:BTC/USDC", Kind.SPOT, quote="USDC")
PERP = instrument("BYBIT:BTC/USDT:USDT", Kind.PERP)
COIN = instrument("BYBIT:BTC/USD:BTC", Kind.PERP, Contract.INVERSE, quote="USD")
DATED = [instrument(f"BYBIT:BTC/USDT:USDT-{days}", Kind.FUTURE, expiry_days=days) for days in (7, 30, 90)]
COIN_DATED = instrument("BYBIT:BTC/USD:BTC-9", Kind.FUTURE, Contract.INVERSE, expiry_days=9, quote="USD")
OPTION = instrument("BYBIT:BTC/USDT:USDT-1-C", Kind.OPTION, expiry_days=1)
ETHER = instrument("BYBIT:ETH/USDT:USDT", Kind.PERP)
DOGE = instrument("BYBIT:DOGE/USDT:USDT", Kind.PERP)
LISTED = [DOGE, OPTION, DATED[2], DATED[0], COIN_DATED, ETHER, COIN, PERP, SPOT_USDC, SPOT, DATED[1]]


def test_a_new_user_watches_spot_perpetuals_and_the_next_two_futures_of_the_pinned_coins() -> None:
    assert chosen(LISTED, Watch()) == [SPOT, PERP, COIN, COIN_DATED, DATED[0], DATED[1], ETHER]


def test_where_a_coin_is_not_traded_in_the_users_quote_the_next_best_is_watched_and_no_more() -> None:
    perp_usdc = instrument("DERIBIT:BTC/USDC:USDC", Kind.PERP, quote="USDC")
    perp_usd = instrument("DERIBIT:BTC/USD:USD", Kind.PERP, quote="USD")
    euro = instrument("DERIBIT:BTC/EUR", Kind.SPOT, quote="EUR")
    assert chosen([perp_usd, perp_usdc, COIN, euro], Watch()) == [perp_usdc, COIN]
    assert chosen([perp_usd, perp_usdc, PERP, SPOT_USDC], Watch()) == [SPOT_USDC, PERP]
    assert chosen([perp_usd, perp_usdc, COIN], Watch(else_quotes=())) == [COIN]


def test_the_users_coins_come_in_his_order_and_no_others() -> None:
    assert chosen(LISTED, Watch(pinned=("DOGE", "ETH"))) == [DOGE, ETHER]


@pytest.mark.parametrize(
    ("kinds", "found"),
    [
        (("spot",), [SPOT]),
        (("perp_usdt",), [PERP]),
        (("perp_coin",), [COIN]),
        (("future_1",), [COIN_DATED, DATED[0]]),
        (("future_2",), [DATED[1]]),
    ],
)
def test_each_kind_is_one_that_can_be_left_out(kinds: tuple[str, ...], found: list[Instrument]) -> None:
    assert chosen(LISTED, msgspec.convert({"pinned": ("BTC",), "kinds": kinds}, Watch)) == found


def test_another_quote_is_watched_only_where_it_is_asked_for() -> None:
    assert chosen(LISTED, Watch(pinned=("BTC",), kinds=("spot",), quotes=("USDC", "USDT"))) == [SPOT_USDC, SPOT]
    assert chosen(LISTED, Watch(pinned=("BTC",), kinds=("perp_usdt", "perp_coin"), quotes=("USDC",))) == [COIN]


def test_futures_are_told_apart_by_expiry_and_not_by_their_place_in_the_list() -> None:
    for listed in permutations(DATED):
        assert chosen(listed, Watch(pinned=("BTC",))) == DATED[:2]


def test_nothing_is_chosen_twice_and_a_coin_that_is_not_listed_is_no_error() -> None:
    assert chosen(LISTED, Watch(pinned=("NONE",))) == []
    found = chosen(LISTED, Watch())
    assert len({each.id for each in found}) == len(found)


@pytest.mark.parametrize("wrong", [{"pinned": []}, {"kinds": []}, {"pinned": ["btc"]}, {"kinds": ["option"]}, {"coins": ["BTC"]}])
def test_a_table_that_would_watch_nothing_is_refused(wrong: dict[str, list[str]]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Watch)
