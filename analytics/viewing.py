"""Makes a `Snapshot` of the engine's state for a `View`. Reads everything, changes nothing."""

from collections.abc import Iterable, Sequence
from math import nan
from typing import Final

from analytics.alert import Alert
from analytics.basis import Pair
from analytics.batch import Column
from analytics.book_metrics import microprice, quote_within
from analytics.fees import CROSSINGS_LOCKED, CROSSINGS_UNWOUND
from analytics.fitness import LegGuard, leg_refusal
from analytics.fx import FxRate
from analytics.ladder import make_axes
from analytics.market import DEPTH_BPS, Market
from analytics.routes import Axis, Bailout, Route, Scales
from analytics.settings import AnalyticsSettings
from analytics.snapshot import (
    BookView,
    MarketView,
    PairView,
    Print,
    RouteDetail,
    RouteView,
    Snapshot,
    View,
    known,
    wanted,
)
from analytics.spread import MECHANICAL_BPS, mark_index_bps, mechanical_bps, signal_class
from analytics.tracker import RouteQuote
from feeds.model import MS, SECOND, LinkState, Ns

FUNDING_GRACE_NS: Ns = 60 * SECOND
"""The first messages after a settlement still carry the time that has just passed."""
Z_MAX_AGE_NS: Ns = 5 * SECOND
"""A mark that comes less often than each second leaves gaps on the grid; its z outlives them this long."""


def make_snapshot(
    view: View,
    now: Ns,
    markets: Iterable[Market],
    pairs: Iterable[Pair],
    routes: Iterable[Route],
    alerts: Iterable[Alert],
    tape: tuple[Print, ...],
    settings: AnalyticsSettings,
    leg_guards: Sequence[tuple[str, LegGuard]],
    fx: tuple[FxRate, ...],
) -> Snapshot:
    """`now` is the last boundary; `tape` what the view is to see of it; `leg_guards` are those that routes ask."""
    markets = list(markets)
    oldest = now - view.window_s * SECOND
    seen = [market for market in markets if wanted(market.id, view.instruments)]
    return Snapshot(
        now_ns=now,
        markets=tuple(
            _market(market, now, oldest, leg_refusal(market, settings.guards, now, leg_guards), view.sums) for market in seen
        ),
        books=tuple(_book(market, view.depth) for market in seen) if view.depth else (),
        pairs=tuple(
            _pair(pair, settings.z.threshold, now, now - view.pair_window_s * SECOND)
            for pair in pairs
            if (pair.own_spot or not view.own_spot)
            and wanted(pair.id, view.pairs)
            and (wanted(pair.reference.id, view.instruments) or wanted(pair.other.id, view.instruments))
        )
        if view.pairs is not None
        else (),
        routes=tuple(_route(route, now, view) for route in routes if wanted(route.id, view.routes))
        if view.routes is not None
        else (),
        alerts=tuple(alerts),
        axes=make_axes(view.ladder, markets, now) if view.ladder is not None else (),
        tape=tape,
        fx=fx,
    )


def _book(market: Market, depth: int) -> BookView:
    bids, asks = market.book.levels(depth) if market.book is not None and market.fit else ([], [])
    return BookView(market.id, tuple(bids), tuple(asks))


HEARD: Final = frozenset({LinkState.READY, LinkState.NOT_READY})
"""Links whose lags are of now."""


def _reach_bps(bid_prices: Column, ask_prices: Column) -> tuple[float, ...]:
    """How far from mid the last level lies of bids and of asks, both rising; () with a side empty."""
    if not len(bid_prices) or not len(ask_prices):
        return ()
    mid = float(bid_prices[-1] + ask_prices[0]) / 2
    return (1.0 - float(bid_prices[0]) / mid) * 1e4, (float(ask_prices[-1]) / mid - 1.0) * 1e4


def _market(market: Market, now: Ns, oldest: Ns, refused: str, sums: bool) -> MarketView:
    book = market.book
    fit = market.fit and book is not None
    bid, ask = (book.bid, book.ask) if book is not None and fit else (nan, nan)
    leg = book.leg if book is not None else None
    index = market.own_index(now)
    mark = market.mark.price if market.mark is not None and now - market.mark.recv_ns <= 10_000 * MS else nan
    funding = market.funding
    if funding is not None and funding.next_ns and now > funding.next_ns + FUNDING_GRACE_NS:
        funding = None  # what is shown would be the rate of an interval that has ended
    mechanical = mechanical_bps(funding.rate, funding.interval_s, funding.next_ns, now) if funding is not None else nan
    spread = mark_index_bps(market.mark, market.index, now).value_bps
    statistic = market.mark_index
    z = statistic.last_z if spread == spread and now - statistic.z_ns <= Z_MAX_AGE_NS else nan
    residual = spread - mechanical
    trade = market.last_trade if fit else None
    heard = market.status.link in HEARD
    levels = book.depth() if sums and book is not None and not refused else None
    depth = quote_within(*levels, DEPTH_BPS, market.instrument) if levels is not None else ()
    return MarketView(
        instrument=market.id,
        facts=market.instrument,
        native=market.instrument.native,
        refused=refused,
        link=str(market.status.link),
        book=str(market.status.book),
        reason=market.status.reason,
        age_ms=max(now - book.recv_ns, 0) / MS if book is not None and book.recv_ns else None,
        pulse_ms=max(now - leg.pulse.last_ns, 0) / MS if leg is not None else None,
        late_ms=known(leg.late_ns / MS) if leg is not None and heard else None,
        lag_ms=known(leg.lag_ns / MS) if leg is not None and heard else None,
        bid=known(bid),
        bid_size=book.bid_size if book is not None and bid == bid else None,
        ask=known(ask),
        ask_size=book.ask_size if book is not None and ask == ask else None,
        mid=known((bid + ask) / 2),
        spread_bps=known((ask - bid) / (ask + bid) * 2e4),
        micro=known(microprice(bid, book.bid_size, ask, book.ask_size, market.instrument).price) if book is not None else None,
        depth_quote={f"{width:g}": sums for width, sums in zip(DEPTH_BPS, depth, strict=False)},
        depth_reach_bps=_reach_bps(levels[0], levels[2]) if levels is not None else (),
        imbalance=known(market.obi) if not refused else None,
        mark=known(mark),
        index=known(index),
        mark_index_bps=known(spread),
        mark_index_z=known(z),
        mark_index_n=statistic.n,
        mark_index_history=statistic.history.after(oldest),
        mechanical_bps=known(mechanical),
        residual_bps=known(residual),
        badge="MECH" if abs(residual) < MECHANICAL_BPS else "",
        premium_bps=known(market.premium.value) if not refused else None,
        premium_z=known(market.premium.z) if not refused else None,
        premium_n=market.premium.n,
        premium_history=market.premium.history.after(oldest),
        funding_rate=funding.rate if funding is not None else None,
        funding_interval_s=funding.interval_s or None if funding is not None else None,
        funding_next_ns=funding.next_ns or None if funding is not None else None,
        open_interest=known(market.open_interest),
        last_price=trade.price if trade is not None else None,
        last_size=trade.size if trade is not None else None,
        last_aggressor=trade.aggressor if trade is not None else None,
        last_ns=market.last_trade_ns if trade is not None else None,
        assumed=market.instrument.assumed,
    )


def _pair(pair: Pair, threshold: float, now: Ns, oldest: Ns) -> PairView:
    statistic = pair.statistic
    axis, value = pair.measure(now)
    z = statistic.z if axis is pair.axis else nan  # the z-score of another measure is none of this one
    signal = signal_class(z, threshold) if pair.axis is not Axis.RAW else None
    axis = axis or pair.axis
    return PairView(
        pair=pair.id,
        other=pair.other.id,
        reference=pair.reference.id,
        axis=str(axis) if axis is not None else "",
        basis_bps=known(value),
        mean_bps=known(statistic.mean),
        sd_bps=known(statistic.sd),
        z=known(z),
        n=statistic.n,
        signal=str(signal) if signal is not None else None,
        history=statistic.history.after(oldest),
    )


def _route(route: Route, now: Ns, view: View) -> RouteView:
    judged = route.judge(now, view.size_usd)
    quote = judged if isinstance(judged, RouteQuote) else None
    way_out = route.bailout(quote, now) if quote is not None and view.exits else None
    doable = route.executable(now) if quote is not None and view.exits else None
    return RouteView(
        route=route.id,
        buy=route.buy.id,
        sell=route.sell.id,
        kind=str(route.kind(now, quote)),
        axis=str(route.scales(now).axis),
        in_bps=quote.in_bps if quote is not None else None,
        fees_bps=known(route.fees_bps),
        edge_bps=quote.edge_bps if quote is not None else None,
        fresh_bps=known(quote.fresh_bps) if quote is not None else None,
        bailout_bps=known(way_out.bailout_bps) if way_out is not None else None,
        base=quote.base if quote is not None else None,
        executable_base=doable.base if doable is not None else None,
        binding=doable.binding if doable is not None else None,
        refused=judged if isinstance(judged, str) else route.unsplit(now),
        episode=route.tracker.episode(),
        detail=_detail(route, quote, way_out, route.scales(now)) if view.details else None,
    )


def _detail(route: Route, quote: RouteQuote | None, way_out: Bailout | None, scales: Scales) -> RouteDetail:
    nearest = route.nearest
    converted = scales.axis is Axis.CONVERTED
    return RouteDetail(
        buy_price=quote.buy_price if quote is not None else None,
        sell_price=quote.sell_price if quote is not None else None,
        buy_fee_bps=known(route.buy_fee * 1e4),
        sell_fee_bps=known(route.sell_fee * 1e4),
        fills=CROSSINGS_LOCKED if route.locked else CROSSINGS_UNWOUND,
        out_bps=known(way_out.out_bps) if way_out is not None else None,
        fx_bps=route.fx_bps(scales) if converted else None,
        rates=tuple(leg.fx for leg in (route.buy, route.sell) if leg.fx.source is not None) if converted else (),
        nearest_bps=nearest.edge_bps if nearest is not None else None,
        nearest_ns=route.nearest_ns,
        refusals=tuple(sorted(route.refusals.items(), key=lambda each: (-each[1], each[0]))),
    )
