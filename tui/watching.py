"""Which instruments a live run watches: the user's coins and kinds among what a venue lists (desk.md 7, `[watch]`).

Pure: the lists come from `feeds.live`, which opens what is chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from feeds.model import Contract, Instrument, Kind

Coin = Annotated[str, Meta(pattern=r"^[A-Z0-9]{1,20}$")]
WatchKind = Literal["spot", "perp_usdt", "perp_coin", "future_1", "future_2"]


class Watch(Struct, frozen=True, forbid_unknown_fields=True):
    """`[watch]`: base coins, kinds of instruments, and the quotes of spot pairs and linear contracts.

    `else_quotes`: where a market lists a coin's kind in none of `quotes`, the first of these that it does. Deribit has none in
    USDT.
    """

    pinned: Annotated[tuple[Coin, ...], Meta(min_length=1, max_length=40)] = ("BTC", "ETH", "SOL")
    kinds: Annotated[tuple[WatchKind, ...], Meta(min_length=1)] = ("spot", "perp_usdt", "perp_coin", "future_1", "future_2")
    quotes: Annotated[tuple[Coin, ...], Meta(min_length=1, max_length=10)] = ("USDT",)
    else_quotes: Annotated[tuple[Coin, ...], Meta(max_length=10)] = ("USDC", "USD")


KINDS: Final[Mapping[str, Callable[[Instrument], bool]]] = {
    "spot": lambda each: each.kind is Kind.SPOT,
    "perp_usdt": lambda each: each.kind is Kind.PERP and each.contract is Contract.LINEAR,
    "perp_coin": lambda each: each.kind is Kind.PERP and each.contract is Contract.INVERSE,
}
FUTURES: Final[Mapping[str, int]] = {"future_1": 0, "future_2": 1}
"""Kind → which of the coming expiries of one coin, market and settlement."""


def chosen(listed: Sequence[Instrument], watch: Watch) -> list[Instrument]:
    """What of a market's list is watched, in the order of the user's coins."""
    found: list[Instrument] = []
    for coin in watch.pinned:
        own = _in_wanted_quotes([each for each in listed if each.base == coin], watch)
        for kind, fits in KINDS.items():
            if kind in watch.kinds:
                found.extend(each for each in own if fits(each))
        found.extend(_dated(own, [FUTURES[kind] for kind in watch.kinds if kind in FUTURES]))
    return found


def _in_wanted_quotes(own: Sequence[Instrument], watch: Watch) -> list[Instrument]:
    """Inverse contracts have but one quote; of the others, kind by kind, those in the user's."""
    found = [each for each in own if each.contract is Contract.INVERSE]
    for kind in Kind:
        linear = [each for each in own if each.kind is kind and each.contract is Contract.LINEAR]
        quotes = {each.quote for each in linear}
        wanted = quotes.intersection(watch.quotes) or next(({quote} for quote in watch.else_quotes if quote in quotes), set())
        found.extend(each for each in linear if each.quote in wanted)
    return found


def _dated(own: Sequence[Instrument], wanted: Sequence[int]) -> list[Instrument]:
    dated = sorted((each for each in own if each.kind is Kind.FUTURE), key=lambda each: (each.quote, each.expiry_ns))
    found: list[Instrument] = []
    for quote in dict.fromkeys(each.quote for each in dated):
        expiries = [each for each in dated if each.quote == quote]
        found.extend(expiries[at] for at in wanted if at < len(expiries))
    return found
