"""What a size really costs: walking one book, or two against each other, level by level (analytics 6, 8.2; desk 6.1).

Sides are lists of (price, size) best first with sizes in the venue's unit; every level is converted at its own price by the
instrument. An average price is quote units over base units, which is right for linear and inverse contracts alike. Nothing is
extrapolated beyond what is visible.
"""

from collections.abc import Callable, Sequence
from math import floor, nan
from typing import Literal, NamedTuple

from feeds.model import Instrument

Levels = Sequence[tuple[float, float]]
EPSILON = 1e-12
"""Of the size asked for: all that a side holds is not refused for a rounding of its sum."""


class Fill(NamedTuple):
    """One side walked: average price (nan unless complete), base and quote filled, last price touched."""

    price: float
    base: float
    quote: float
    complete: bool
    worst: float


def spend(levels: Levels, instrument: Instrument, notional: float) -> Fill:
    """Walk until `notional` quote units are filled; one that is not above 0 fills nothing."""
    base = quote = 0.0
    worst = nan
    if not notional > 0.0:
        return Fill(nan, 0.0, 0.0, False, nan)
    slack = EPSILON * notional
    to_quote = instrument.to_quote
    for price, size in levels:
        level = to_quote(size, price)
        worst = price
        rest = notional - quote
        if level >= rest - slack:
            base += rest / price
            return Fill(notional / base, base, notional, True, worst)
        quote += level
        base += level / price
    return Fill(nan, base, quote, False, worst)


def take(levels: Levels, instrument: Instrument, base: float) -> Fill:
    """Walk until `base` base units are filled; none that is not above 0."""
    filled = quote = 0.0
    worst = nan
    if not base > 0.0:
        return Fill(nan, 0.0, 0.0, False, nan)
    slack = EPSILON * base
    to_base = instrument.to_base
    for price, size in levels:
        level = to_base(size, price)
        worst = price
        rest = base - filled
        if level >= rest - slack:
            quote += rest * price
            return Fill(quote / base, base, quote, True, worst)
        filled += level
        quote += level * price
    return Fill(nan, filled, quote, False, worst)


DEPTHS = (16, 64, 256, 4_096)
"""How many levels are read for a fill before it is given up: few at first, since a size rarely goes deep."""


def fill(
    levels: Callable[[int], Levels], walk: Callable[[Levels, Instrument, float], Fill], instrument: Instrument, size: float
) -> Fill:
    """`spend` or `take` on a book's side, reading no more of it than the size needs. `levels(n)` gives the n best."""
    found = walk(levels(DEPTHS[0]), instrument, size)
    for count in DEPTHS[1:]:
        if found.complete:
            break
        found = walk(levels(count), instrument, size)
    return found


Binding = Literal["edge", "depth", "capital", "inventory"]


class Executable(NamedTuple):
    """Two books walked against each other: what can be done now, and what binds it.

    `base` is rounded down to the coarser lot; `profit` and `cost` are in the buy leg's quote before rounding; `depth` means that
    more may stand beyond what is visible, so the size is a lower bound. `base_at_edge` is the largest part of the walk, from its
    start, whose average edge after all fees is at least the wanted one; before rounding too.
    """

    base: float
    cost: float
    profit: float
    average_bps: float
    buy_limit: float
    sell_limit: float
    binding: Binding
    base_at_edge: float


def execute(
    asks: Levels,
    bids: Levels,
    buy: Instrument,
    sell: Instrument,
    *,
    buy_scale: float = 1.0,
    sell_scale: float = 1.0,
    buy_fee: float = 0.0,
    sell_fee: float = 0.0,
    min_marginal_bps: float = 0.0,
    min_average_bps: float = 0.0,
    max_base: float = float("inf"),
    max_cost: float = float("inf"),
) -> Executable:
    """Buy from `asks` and sell into `bids` while the marginal edge, fees in the price, is above `min_marginal_bps`.

    Fees are fractions, the leg's full ones (in and out unless LOCKED). Scales turn each leg's prices into one measure;
    `max_cost`, like what is returned, is in the buy leg's quote, fees included. Greedy is optimal because the marginal edge never
    rises along the walk.
    """
    up, down = 1 + buy_fee, sell_scale / buy_scale * (1 - sell_fee)
    threshold, average = 1 + min_marginal_bps / 1e4, 1 + min_average_bps / 1e4
    ask_at = bid_at = 0
    ask_rest = buy.to_base(asks[0][1], asks[0][0]) if asks else 0.0
    bid_rest = sell.to_base(bids[0][1], bids[0][0]) if bids else 0.0
    base = cost = proceeds = at_edge = 0.0
    buy_limit = sell_limit = nan
    binding: Binding = "depth"
    while ask_at < len(asks) and bid_at < len(bids):
        ask, bid = asks[ask_at][0] * up, bids[bid_at][0] * down
        if bid <= ask * threshold:
            binding = "edge"
            break
        step = min(ask_rest, bid_rest)
        capped = False
        if base + step > max_base:
            step, capped, binding = max_base - base, True, "inventory"
        if cost + step * ask > max_cost:
            step, capped, binding = (max_cost - cost) / ask, True, "capital"
        if proceeds + step * bid >= average * (cost + step * ask):
            at_edge = base + step
        elif proceeds >= average * cost and average * ask > bid:
            at_edge = base + min(step, (proceeds - average * cost) / (average * ask - bid))
        base += step
        cost += step * ask
        proceeds += step * bid
        buy_limit, sell_limit = asks[ask_at][0], bids[bid_at][0]
        if capped:
            break
        ask_rest -= step
        bid_rest -= step
        if ask_rest <= EPSILON:
            ask_at += 1
            ask_rest = buy.to_base(asks[ask_at][1], asks[ask_at][0]) if ask_at < len(asks) else 0.0
        if bid_rest <= EPSILON:
            bid_at += 1
            bid_rest = sell.to_base(bids[bid_at][1], bids[bid_at][0]) if bid_at < len(bids) else 0.0
    profit = proceeds - cost
    return Executable(
        base=round_down(base, buy, sell, buy_limit if buy_limit == buy_limit else 1.0),
        cost=cost,
        profit=profit,
        average_bps=profit / cost * 1e4 if cost else nan,
        buy_limit=buy_limit,
        sell_limit=sell_limit,
        binding=binding,
        base_at_edge=at_edge,
    )


def round_down(base: float, buy: Instrument, sell: Instrument, price: float) -> float:
    """`base` cut to a whole number of the coarser leg's lots, in base units at `price`."""
    lot = max(buy.to_base(buy.lot, price), sell.to_base(sell.lot, price))
    return floor(base / lot * (1 + EPSILON)) * lot
