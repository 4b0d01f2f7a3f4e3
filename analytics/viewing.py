"""Makes a `Snapshot` of the engine's state for a `View`. Reads everything, changes nothing."""

from collections.abc import Iterable
from math import nan

from analytics.alert import Alert
from analytics.basis import Pair
from analytics.book_metrics import microprice
from analytics.market import Market
from analytics.routes import Axis, Route, RouteKind
from analytics.snapshot import BookView, MarketView, PairView, RouteView, Snapshot, View, known, wanted
from analytics.spread import MECHANICAL_BPS, mechanical_bps, signal_class
from analytics.tracker import RouteQuote
from feeds.model import MS, SECOND, Ns

FUNDING_GRACE_NS: Ns = 60 * SECOND
"""The first messages after a settlement still carry the time that has just passed."""


def make_snapshot(
    view: View,
    now: Ns,
    markets: Iterable[Market],
    pairs: Iterable[Pair],
    routes: Iterable[Route],
    alerts: Iterable[Alert],
    threshold: float,
) -> Snapshot:
    """`now` is the last boundary; `threshold` the z-score of a strong signal."""
    seen = [market for market in markets if wanted(market.id, view.instruments)]
    return Snapshot(
        now_ns=now,
        markets=tuple(_market(market, now) for market in seen),
        books=tuple(_book(market, view.depth) for market in seen) if view.depth else (),
        pairs=tuple(
            _pair(pair, threshold)
            for pair in pairs
            if wanted(pair.reference.id, view.instruments) or wanted(pair.other.id, view.instruments)
        ),
        routes=tuple(_route(route, now, view.exits) for route in routes if wanted(route.id, view.routes)),
        alerts=tuple(alerts),
    )


def _book(market: Market, depth: int) -> BookView:
    bids, asks = market.book.levels(depth) if market.book is not None and market.fit else ([], [])
    return BookView(market.id, tuple(bids), tuple(asks))


def _market(market: Market, now: Ns) -> MarketView:
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
    residual = market.mark_index.value - mechanical
    return MarketView(
        instrument=market.id,
        native=market.instrument.native,
        link=str(market.status.link),
        book=str(market.status.book),
        reason=market.status.reason,
        age_ms=max(now - book.recv_ns, 0) / MS if book is not None and book.recv_ns else None,
        pulse_ms=max(now - leg.pulse.last_ns, 0) / MS if leg is not None else None,
        late_ms=known(leg.late_ns / MS) if leg is not None else None,
        lag_ms=known(leg.lag_ns / MS) if leg is not None else None,
        bid=known(bid),
        bid_size=book.bid_size if book is not None and bid == bid else None,
        ask=known(ask),
        ask_size=book.ask_size if book is not None and ask == ask else None,
        mid=known((bid + ask) / 2),
        spread_bps=known((ask - bid) / (ask + bid) * 2e4),
        micro=known(microprice(bid, book.bid_size, ask, book.ask_size, market.instrument).price) if book is not None else None,
        depth_quote={
            f"{band.width_bps:g}": (band.bid_quote, band.ask_quote) for band in market.bands if band.bid_quote == band.bid_quote
        },
        imbalance=known(market.obi),
        mark=known(mark),
        index=known(index),
        mark_index_bps=known(market.mark_index.value),
        mark_index_z=known(market.mark_index.z),
        mechanical_bps=known(mechanical),
        residual_bps=known(residual),
        badge="MECH" if abs(residual) < MECHANICAL_BPS else "",
        premium_bps=known(market.premium.value),
        premium_z=known(market.premium.z),
        funding_rate=funding.rate if funding is not None else None,
        funding_interval_s=funding.interval_s or None if funding is not None else None,
        funding_next_ns=funding.next_ns or None if funding is not None else None,
        open_interest=known(market.open_interest),
        last_price=market.last_trade.price if market.last_trade is not None and fit else None,
        assumed=market.instrument.assumed,
    )


def _pair(pair: Pair, threshold: float) -> PairView:
    statistic = pair.statistic
    signal = signal_class(statistic.z, threshold) if pair.axis is not Axis.RAW else None
    return PairView(
        pair=pair.id,
        axis=str(pair.axis) if pair.axis is not None else "",
        basis_bps=known(statistic.value),
        mean_bps=known(statistic.mean),
        sd_bps=known(statistic.sd),
        z=known(statistic.z),
        n=statistic.n,
        signal=str(signal) if signal is not None else None,
    )


def _route(route: Route, now: Ns, exits: bool) -> RouteView:
    judged = route.judge(now)
    quote = judged if isinstance(judged, RouteQuote) else None
    way_out = route.bailout(quote, now) if quote is not None and exits else None
    doable = route.executable(now) if quote is not None and exits else None
    kind = route.kind(now)
    return RouteView(
        route=route.id,
        buy=route.buy.id,
        sell=route.sell.id,
        kind=str(kind),
        axis=str(route.scales(now).axis),
        in_bps=quote.in_bps if quote is not None else None,
        fees_bps=known(route.fees_bps),
        edge_bps=quote.edge_bps if quote is not None else None,
        exit_bps=quote.in_bps - quote.fees_bps if quote is not None else None,
        bailout_bps=known(way_out.bailout_bps) if way_out is not None else None,
        base=quote.base if quote is not None else None,
        executable_base=doable.base if doable is not None else None,
        binding=doable.binding if doable is not None else None,
        refused=judged if isinstance(judged, str) else "no mark" if kind is RouteKind.UNSPLIT else "",
        episode=route.tracker.episode(),
    )
