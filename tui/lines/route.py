"""One route in detail: the waterfall from `in` to what is left, both legs, why it was refused, what it was at best."""

from collections.abc import Mapping, Sequence
from typing import Final

from analytics.routes import RouteKind
from analytics.snapshot import MarketView, RouteDetail, RouteView
from feeds.model import InstrumentId, Ns
from tui.formats import DASH, age, bps, clock, count, plural, price, quantity, usd
from tui.line import Line, Span, pad
from tui.lines.desk import REASONS, doable, funding_carry, lag_of, state_of, verdict
from tui.lines.fx import conversion_note
from tui.names import market_name, route_name

NAME: Final = 26
FIGURE: Final = 10


def route_title(route: RouteView, facts: Mapping[InstrumentId, MarketView]) -> str:
    buy, sell = facts.get(route.buy), facts.get(route.sell)
    return route_name(buy.facts, sell.facts) if buy is not None and sell is not None else route.route


def route_lines(
    route: RouteView, detail: RouteDetail, facts: Mapping[InstrumentId, MarketView], size_usd: float, now: Ns, width: int
) -> list[Line]:
    """`size_usd` 0 is the touch."""
    buy, sell = facts.get(route.buy), facts.get(route.sell)
    size = usd(size_usd) if size_usd else "the touch"
    carry_bps = funding_carry(buy, sell)
    made: list[tuple[Span, ...]] = [
        _title(f"waterfall, bp of the buy price, at {size}"),
        _figure("in: sell over buy", bps(route.in_bps, 2), "text", "both books walked to the size"),
        _figure(
            "fees of the buy leg",
            bps(_less(detail.buy_fee_bps), 2),
            "text",
            f"{market_name(buy.facts) if buy else route.buy}, {plural(detail.fills, 'fill')}",
        ),
        _figure(
            "fees of the sell leg",
            bps(_less(detail.sell_fee_bps), 2),
            "text",
            f"{market_name(sell.facts) if sell else route.sell}, {plural(detail.fills, 'fill')}",
        ),
        *_conversion(detail),
        _figure(
            "edge: in − fees" if detail.fx_bps is None else "edge: in − fees − fx",
            bps(route.edge_bps, 2),
            _sign(route.edge_bps),
            "also the exit cost at which it breaks even",
        ),
        *_split(route, carry_bps),
        _figure("exit cost now", bps(detail.out_bps, 2), "text", "buying back and selling out at the same size"),
        _figure("bail out now", bps(route.bailout_bps, 2), _sign(route.bailout_bps), "in and out at once, every fee paid"),
        (),
        _title("legs"),
        *_leg("buy", buy, detail.buy_price),
        *_leg("sell", sell, detail.sell_price),
        (),
        _title("can it be done"),
        _figure("base units at size", quantity(route.base), "text", buy.facts.base if buy else ""),
        _figure(
            "earning its fees now",
            doable(route, buy.facts if buy else None),
            "text",
            f"bound by {route.binding}" if route.binding else "",
        ),
        _figure("class, axis", "", "text", f"{route.kind}, compared by {route.axis}"),
        _figure("verdict", "", "text", verdict(route, now, width, carry_bps)[0]),
        (),
        _title("so far"),
        _figure(
            "best edge that passed",
            bps(detail.nearest_bps, 2),
            _sign(detail.nearest_bps),
            f"at {clock(detail.nearest_ns)}" if detail.nearest_ns else "",
        ),
    ]
    if route.episode is not None:
        episode = route.episode
        made.append(
            _figure(
                "episode open for",
                age((now - episode.opened_ns) / 1e6),
                "good",
                f"peak {bps(episode.peak.edge_bps, 2)} bp at {clock(episode.peak_ns)}",
            )
        )
    made += [_figure("refused with edge", count(times), "text", REASONS.get(reason, reason)) for reason, times in detail.refusals]
    if not detail.refusals:
        made.append(_figure("refused with edge", "0", "text", "tenths of a second with a guard against the touch"))
    return [pad(Line(((" ", "text"), *spans)), width) for spans in made]


def _conversion(detail: RouteDetail) -> Sequence[tuple[Span, ...]]:
    """What comparing dollars of two kinds takes from the edge, and by which rates; nothing where there is no conversion."""
    if detail.fx_bps is None:
        return ()
    cost = "its cost, there and back, and twice the uncertainty"
    return (
        _figure("fx: dollars converted", bps(_less(detail.fx_bps), 2), "text", cost),
        _figure("", "", "text", f"at {conversion_note(detail.rates)}"),
    )


def _split(route: RouteView, carry_bps: float | None) -> Sequence[tuple[Span, ...]]:
    """What the marks say of the edge: nothing between spots."""
    if route.kind == RouteKind.LOCKED:
        return ()
    side = "" if carry_bps is None else ", for the holder" if carry_bps > 0 else ", against the holder" if carry_bps < 0 else ""
    return (
        _figure(
            "fresh edge", bps(route.fresh_bps, 2), _sign(route.fresh_bps), "each leg counted from its mark: opens an episode"
        ),
        _figure("funding, bp a day", bps(carry_bps, 2), _sign(carry_bps), f"both legs at the rates of now{side}"),
    )


def _less(value: float | None) -> float | None:
    return -value if value is not None else None


def _sign(value: float | None) -> str:
    return "text" if value is None else "good" if value > 0 else "bad"


def _title(text: str) -> tuple[Span, ...]:
    return ((text.upper(), "head"),)


def _figure(name: str, figure: str, role: str, note: str) -> tuple[Span, ...]:
    return ((f" {name:<{NAME}}", "text"), (f"{figure:>{FIGURE}}  ", role), (note, "dim"))


def _leg(side: str, market: MarketView | None, at: float | None) -> Sequence[tuple[Span, ...]]:
    if market is None:
        return [((f" {side}: {DASH}", "dim"),)]
    state, role = state_of(market)
    tick = market.facts.tick
    lag, _ = lag_of(market)
    touch = f"bid {price(market.bid, tick)}  ask {price(market.ask, tick)}"
    return [
        (
            (f" {side:<5}{market_name(market.facts):<{NAME - 5}}", "text"),
            (f"{price(at, tick):>{FIGURE}}  ", "text"),
            (f"{state}  ", role),
            (f"lag {lag}  {touch}", "dim"),
        )
    ]
