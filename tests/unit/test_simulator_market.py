"""The demo exchange's market: the same for a seed, whole at every moment, and true to what it says about itself."""

from collections.abc import Iterator
from itertools import pairwise
from math import log
from statistics import mean

import numpy as np
import pytest
from msgspec import structs

from feeds.model import MS, SECOND, Ns
from feeds.simulator import formulas
from feeds.simulator.listings import Listing, listed, quarter_after
from feeds.simulator.maker import Print
from feeds.simulator.market import PERP_PEAK_BPS, SPOT_PEAK_BPS, STEP_NS, Forced, Step, Window, World
from feeds.simulator.past import MINUTES, BarKind
from feeds.simulator.truebook import KEPT_NS, TrueBook

START_NS: Ns = 1_795_246_003 * SECOND
"""2026-11-21 07:26:43 UTC."""
TAKER_BPS = {"spot": 10.0, "usdm": 5.0, "linear": 5.5}
Levels = list[tuple[float, float]]


def steps(world: World, seconds: float) -> Iterator[Ns]:
    """Advance step by step."""
    for _ in range(round(seconds * SECOND / STEP_NS)):
        world.advance(world.now_ns + STEP_NS)
        yield world.now_ns


def run(world: World, seconds: float) -> None:
    for _ in steps(world, seconds):
        pass


def one(native: str, market: str, venue: str = "BINANCE", start_ns: Ns = START_NS) -> Listing:
    return next(x for x in listed(start_ns) if (x.venue, x.market, x.native) == (venue, market, native))


def still(world: World) -> World:
    """Without windows."""
    world.windows[:] = [Window("", "", 1 << 61, (1 << 61) + 1, 0.0)]
    return world


def seen(book: TrueBook) -> tuple[Levels, Levels]:
    """The levels now, read off the texts that a venue would send."""
    text = book.listing
    return (
        [(float(text.price_text(t)), float(text.size_text(book.bids[t]))) for t in sorted(book.bids, reverse=True)],
        [(float(text.price_text(t)), float(text.size_text(book.asks[t]))) for t in sorted(book.asks)],
    )


def state(world: World) -> list[object]:
    figures = world.figures
    return [(key, book.seq, book.bids, book.asks, figures[key].mark, figures[key].trades) for key, book in world.books.items()]


def test_how_time_is_sliced_changes_nothing() -> None:
    fine, coarse = World(5, START_NS, ("BTC",)), World(5, START_NS, ("BTC",))
    run(fine, 12.0)
    for at_ms in (1, 19, 20, 1_130, 1_131, 6_000, 7_777, 12_005):
        coarse.advance(START_NS + at_ms * MS)
        for key, book in coarse.books.items():
            coarse.truth(key, book.seq)
            coarse.bars(key, "trade", 60_000)
    assert state(fine) == state(coarse)
    assert fine.windows == coarse.windows


def test_another_seed_is_another_market() -> None:
    assert World(5, START_NS, ("BTC",)).latent_usd != World(6, START_NS, ("BTC",)).latent_usd


def test_time_that_does_not_pass_changes_nothing() -> None:
    world = World(5, START_NS, ("BTC",))
    run(world, 1.0)
    before = repr(state(world))
    world.advance(world.now_ns)
    world.advance(world.now_ns - SECOND)
    assert repr(state(world)) == before


def test_no_book_is_ever_crossed_empty_or_disordered() -> None:
    world = World(3, START_NS)
    for _ in steps(world, 25.0):
        for book in world.books.values():
            assert book.bid_ticks[-1] < book.ask_ticks[0]
    for book in world.books.values():
        assert sorted(book.bids) == book.bid_ticks
        assert sorted(book.asks) == book.ask_ticks
        assert min(*book.bids.values(), *book.asks.values()) > 0
        assert 300 <= len(book.bids) <= 600
        assert 300 <= len(book.asks) <= 600


def test_every_kept_state_reads_as_it_was() -> None:
    world = World(2, START_NS, ("BTC",))
    kept: list[tuple[str, int, tuple[Levels, Levels]]] = []
    for count, _ in enumerate(steps(world, 6.0)):
        for key, book in world.books.items():
            if book.changed and count % 7 == 0:
                kept.append((key, book.seq, seen(book)))
    order = kept[::3] + kept[::-2] + kept[1::5]
    assert len(order) > 200
    for key, seq, (bids, asks) in order:
        assert world.truth(key, seq) == (bids, asks)
        assert world.truth(key, seq, 50) == (bids[:50], asks[:50])
        assert world.truth_touch(key, seq) == (*bids[0], *asks[0])


def test_truth_lasts_two_minutes_and_is_refused_beyond_and_between() -> None:
    listing = one("BTCUSDT", "usdm")
    world = World(2, START_NS, ("BTC",), [listing])
    book = world.books[listing.key]
    states = [(now, book.seq, seen(book)) for now in steps(world, 400.0) if now // STEP_NS % 500 == 0]
    young = [(seq, levels) for now, seq, levels in states if now > world.now_ns - 120 * SECOND]
    old = [seq for now, seq, _ in states if now < world.now_ns - KEPT_NS - 31 * SECOND]
    assert len(young) >= 11
    assert len(old) > 10
    for seq, levels in reversed(young):
        assert world.truth(listing.key, seq) == levels
    for seq in (*old, book.seq + 1, book.seq - 1 if book.seq - 1 not in book._lasts else 0):
        with pytest.raises(KeyError):
            world.truth(listing.key, seq)
        with pytest.raises(KeyError):
            world.truth_touch(listing.key, seq)


def test_truth_does_not_tell_of_a_batch_that_is_not_finished() -> None:
    listing = one("BTCUSDT", "usdm")
    world = World(2, START_NS, ("BTC",), [listing])
    book = world.books[listing.key]
    before = seen(book)
    book.set_bid(book.bid_ticks[-1], 0)
    assert world.truth(listing.key, book.seq) == before


@pytest.mark.parametrize("native", ["spot", "usdm", "coinm"])
def test_what_has_changed_since_a_state_makes_it_the_present(native: str) -> None:
    world = World(4, START_NS, ("BTC",))
    book = next(b for b in world.books.values() if b.listing.market == native and b.listing.kind != "future")
    bids, asks, seq = dict(book.bids), dict(book.asks), book.seq
    holes = 0
    for count, _ in enumerate(steps(world, 8.0)):
        if count % 5:
            continue
        change = book.changes_since(seq)
        if change is None:
            continue
        assert change.last == book.seq
        assert change.first > seq
        holes += change.first > seq + 1
        for side, changed in ((bids, change.bids), (asks, change.asks)):
            side.update(changed)
            for ticks in [t for t, lots in side.items() if not lots]:
                del side[ticks]
        seq = change.last
        assert (bids, asks) == (book.bids, book.asks)
    assert (holes == 0) == (native == "spot")
    assert book.changes_since(book.seq) is None


def test_a_touch_that_changed_is_told_and_one_that_did_not_is_not() -> None:
    world = World(4, START_NS, ("BTC",))
    touches = {key: book.touch for key, book in world.books.items()}
    told = 0
    for _ in steps(world, 3.0):
        for key, book in world.books.items():
            assert book.touched == (book.touch != touches[key])
            touches[key] = book.touch
            told += book.touched
    assert told > 300


def test_a_leap_goes_on_from_the_present_and_what_follows_still_joins() -> None:
    world = World(4, START_NS, ("BTC",))
    run(world, 1.0)
    seqs = {key: book.seq for key, book in world.books.items()}
    heard: list[Step] = []
    world.subscribe(heard.append)
    world.advance(START_NS + 3_600 * SECOND)
    assert len(heard) == 1
    assert world.now_ns == START_NS + 3_600 * SECOND
    for key, book in world.books.items():
        change = book.changes_since(seqs[key])
        assert change is None or change.last == book.seq
    run(world, 1.0)
    assert all(book.bid_ticks[-1] < book.ask_ticks[0] for book in world.books.values())


def net_bps(world: World, buy: str, sell: str, value: float) -> float:
    """What is left of buying here and selling there for `value` quote units, after four taker fees."""
    paid = sum(price * base for price, base in taken(world, buy, value, True))
    base = sum(base for _, base in taken(world, buy, value, True))
    got, left = 0.0, base
    for price, here in taken(world, sell, value * 2, False):
        part = min(here, left)
        got += part * price
        left -= part
    assert left < 1e-9
    fees = 2 * (TAKER_BPS[world.listings[buy].market] + TAKER_BPS[world.listings[sell].market])
    return (got / paid - 1) * 1e4 - fees


def taken(world: World, key: str, value: float, asks: bool) -> list[tuple[float, float]]:
    """(price, base units) of the levels that `value` quote units take."""
    book = world.books[key]
    side = world.truth(key, book.seq)[1 if asks else 0]
    found = []
    for price, size in side:
        part = min(size, value / price)
        found.append((price, part))
        value -= part * price
        if value <= 1e-9:
            break
    assert value <= 1e-6
    return found


def best_net_bps(world: World, asset: str) -> float:
    """Over the routes of an asset in USDT. Spot can be bought only."""
    routes = [x for x in world.listings.values() if x.base == asset and x.contract == "linear" and not x.expiry_ns]
    return max(
        net_bps(world, buy.key, sell.key, 50_000.0)
        for buy in routes
        for sell in routes
        if buy is not sell and sell.kind == "perp"
    )


PLACES = [("BINANCE", "usdm"), ("BYBIT", "linear"), ("BINANCE", "spot"), ("BYBIT", "spot")]


@pytest.mark.parametrize(("venue", "market"), PLACES)
@pytest.mark.parametrize("asset", ["BTC", "ETH", "SOL"])
def test_the_smallest_window_opens_a_route_after_every_fee_and_closes_it(asset: str, venue: str, market: str) -> None:
    world = World(11, START_NS, (asset,))
    listing = one(f"{asset}USDT", market, venue)
    peak = -SPOT_PEAK_BPS[0] if market == "spot" else PERP_PEAK_BPS[0] * (-1 if listing.premium_mean_bps < 0 else 1)
    begin_ns = START_NS + 2 * SECOND
    world.windows[:] = [
        Window(venue, listing.key, begin_ns, begin_ns + 5 * SECOND, peak),
        *still(World(1, START_NS, (asset,))).windows,
    ]
    nets = {now: best_net_bps(world, asset) for now in steps(world, 9.0) if now // STEP_NS % 25 == 0}
    before = [net for now, net in nets.items() if now < begin_ns]
    within = [net for now, net in nets.items() if begin_ns + 1.5 * SECOND < now < begin_ns + 4 * SECOND]
    after = [net for now, net in nets.items() if now > begin_ns + 6 * SECOND]
    assert max(before) < 0.0
    assert min(within) > 3.0
    assert max(after) < 0.0


@pytest.mark.parametrize("seed", range(8))
def test_windows_come_as_they_are_announced(seed: int) -> None:
    world = World(seed, START_NS, ("BTC", "SOL"), [x for x in listed(START_NS) if x.base != "ETH" and x.kind != "future"])
    first = world.windows[0]
    assert 12 * SECOND <= first.begin_ns - START_NS <= 20 * SECOND
    assert world.windows[-1].begin_ns >= START_NS + 120 * SECOND
    for window, following in pairwise(world.windows):
        assert 40 * SECOND <= following.begin_ns - window.begin_ns <= 90 * SECOND
    for window in world.windows:
        assert 5 * SECOND <= window.end_ns - window.begin_ns <= 15 * SECOND
        assert 35.0 <= abs(window.peak_bps) <= 60.0
        assert window.offset_bps((window.begin_ns + window.end_ns) // 2) == window.peak_bps
        assert window.offset_bps(window.begin_ns - 1) == window.offset_bps(window.end_ns) == 0.0
        if world.listings[window.listing].kind == "spot":
            assert window.peak_bps < 0.0


def test_outside_its_windows_no_route_pays() -> None:
    world = still(World(8, START_NS, ("BTC", "SOL")))
    nets = [best_net_bps(world, asset) for now in steps(world, 40.0) if now // STEP_NS % 100 == 0 for asset in world.assets]
    assert max(nets) < 0.0


def test_the_premium_halves_in_the_time_it_says() -> None:
    listing = structs.replace(one("BTCUSDT", "usdm"), half_life_s=3.0)
    world = still(World(3, START_NS, ("BTC",), [listing]))
    book = world.books[listing.key]
    assert world.half_lives_s == {listing.key: 3.0}
    premia = []
    for now in steps(world, 400.0):
        if now // STEP_NS % 10 == 0:
            mid = sum(book.touch[::2]) / 2 * listing.tick
            premia.append((mid * world.usd_per["USDT"] / world.latent_usd["BTC"] - 1) * 1e4)
    x = np.array(premia)
    lag = 10
    kept = np.corrcoef(x[:-lag], x[lag:])[0, 1]
    assert -lag * 0.2 * log(2) / log(kept) == pytest.approx(3.0, rel=0.3)
    assert x.std() == pytest.approx(listing.premium_sd_bps, rel=0.25)


def test_each_venue_funds_by_its_own_formula() -> None:
    binance, bybit = formulas.VenueRules("BINANCE", 28_800), formulas.VenueRules("BYBIT", 28_800)
    assert binance.funding(0.0002) == pytest.approx(0.0001)
    assert bybit.funding(0.0002) == pytest.approx(0.0001)
    assert binance.funding(0.0010) == bybit.funding(0.0010) == pytest.approx(0.0005)
    assert binance.funding(-0.0010) == pytest.approx(-0.0005)
    assert binance.funding(0.9) == binance.cap == pytest.approx(0.004)
    short = formulas.VenueRules("BINANCE", 14_400), formulas.VenueRules("BYBIT", 14_400)
    assert [rules.funding(0.0) for rules in short] == pytest.approx([0.00005, 0.00005])
    assert short[0].funding(0.0010) == pytest.approx(0.00025)
    assert short[1].funding(0.0010) == pytest.approx(0.0005)


def test_later_premia_weigh_more() -> None:
    values = [0.1, -0.3, 0.7, 0.2]
    average = formulas.WeightedPremium()
    for value in values:
        average.add(value)
    assert average.mean == pytest.approx(float(np.average(values, weights=[1, 2, 3, 4])))
    assert formulas.WeightedPremium().mean == 0.0


def test_marks_premia_and_indices_are_those_of_the_books() -> None:
    assert formulas.premium(101.0, 102.0, 100.0) == pytest.approx(0.01)
    assert formulas.premium(98.0, 99.0, 100.0) == pytest.approx(-0.01)
    assert formulas.premium(99.0, 101.0, 100.0) == 0.0
    rules = formulas.VenueRules("BINANCE", 28_800)
    assert rules.mark(100.0, 0.001, 14_400.0, 2.0, 99.0) == pytest.approx(100.05)
    assert rules.mark(100.0, 0.001, -5.0, 0.5, 101.0) == pytest.approx(100.5)
    assert formulas.index_price([(100.0, 1.0), (102.0, 1.0), (1_000.0, 1.0)]) == pytest.approx((100 + 102 + 102 * 1.05) / 3)
    average = formulas.MovingAverage(3)
    assert [average.add(value) for value in (1.0, 2.0, 3.0, 7.0)] == [1.0, 1.5, 2.0, 4.0]


def test_published_figures_follow_the_formulas() -> None:
    listing = one("SOLUSDT", "usdm")
    spots = [x for x in listed(START_NS) if x.base == "SOL" and x.kind == "spot"]
    world = still(World(9, START_NS, ("SOL",), [*spots, listing]))
    book, figures = world.books[listing.key], world.figures[listing.key]
    rules = formulas.VenueRules("BINANCE", listing.funding_interval_s)
    basis: list[float] = []
    mid = sum(book.touch[::2]) / 2 * listing.tick
    basis.append(mid - figures.index)
    for now in steps(world, 40.0):
        if now % SECOND < STEP_NS:
            mid = sum(book.touch[::2]) / 2 * listing.tick
            basis.append(mid - figures.index)
            last = figures.last_ticks * listing.tick
            left = (figures.next_funding_ns - now) / SECOND
            expected = rules.mark(figures.index, figures.rate, left, mean(basis[-30:]), last)
            assert figures.mark == pytest.approx(expected, rel=1e-12)
            assert abs(figures.index * world.usd_per["USDT"] / world.latent_usd["SOL"] - 1) < 5e-4
    assert figures.premium == pytest.approx(listing.premium_mean_bps * 1e-4, abs=5e-4)


@pytest.mark.parametrize(("venue", "market"), [("BINANCE", "usdm"), ("BYBIT", "linear"), ("BINANCE", "coinm")])
def test_a_funding_time_settles_once_and_history_has_no_hole(venue: str, market: str) -> None:
    eight = START_NS // (28_800 * SECOND) * 28_800 * SECOND + 28_800 * SECOND
    native = "BTCUSD_PERP" if market == "coinm" else "BTCUSDT"
    listing = one(native, market, venue)
    world = World(9, eight - 2 * SECOND, ("BTC",), [listing])
    figures = world.figures[listing.key]
    assert figures.next_funding_ns == eight
    about = figures.rate
    run(world, 5.0)
    assert figures.next_funding_ns == eight + 28_800 * SECOND
    times = [settled.time_ms for settled in figures.settled]
    assert times[-1] == eight // MS
    assert len(times) >= 5
    assert {b - a for a, b in pairwise(times)} == {28_800_000}
    assert figures.settled[-1].rate == pytest.approx(about, abs=1e-6)


def test_bars_go_back_two_days_without_a_hole_and_reach_the_present() -> None:
    world = World(9, START_NS, ("BTC",))
    run(world, 130.0)
    for listing in world.listings.values():
        kinds: tuple[BarKind, ...] = ("trade",) if listing.kind == "spot" else ("trade", "mark", "index", "premium")
        for kind in kinds:
            bars = world.bars(listing.key, kind, 60_000)
            assert len(bars) == MINUTES + 3
            assert {b.open_ms - a.open_ms for a, b in pairwise(bars)} == {60_000}
            assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars)
        index = world.bars(listing.key, "index", 60_000)
        assert index[-1].close == world.figures[listing.key].index
        assert all(abs(b.open / a.close - 1) < 0.004 for a, b in pairwise(index))
        hours = world.bars(listing.key, "trade", 3_600_000)
        assert sum(bar.base for bar in hours) == pytest.approx(sum(bar.base for bar in world.bars(listing.key, "trade", 60_000)))


def test_trades_happen_inside_the_book_and_forced_ones_close_the_side_they_say() -> None:
    world = World(12, START_NS, ("BTC", "SOL"))
    touches = {key: book.touch for key, book in world.books.items()}
    prints: list[Print] = []
    forced: list[Forced] = []

    def heard(step: Step) -> None:
        for made in step.prints:
            bid, _, ask, _ = touches[made.key]
            assert made.ticks >= ask if made.buy else made.ticks <= bid
            assert made.lots > 0
        prints.extend(step.prints)
        forced.extend(step.forced)
        touches.update({key: book.touch for key, book in world.books.items()})

    world.subscribe(heard)
    run(world, 120.0)
    assert len(prints) > 5_000
    compelled = {(made.key, made.ticks, made.lots): made for made in prints if made.forced}
    assert len(forced) > 10
    for each in forced:
        assert compelled[each.key, each.ticks, each.lots].buy != each.position_long
        assert (each.bankrupt_ticks < each.ticks) == each.position_long
    assert max(sum(1 for x in forced if 0 <= x.now_ns - each.now_ns < 5 * SECOND) for each in forced) > 8


def test_a_dated_future_never_expires_soon_and_is_named_by_its_date() -> None:
    names = {x.native for x in listed(START_NS) if x.kind == "future"}
    assert names == {"BTCUSDT_261225", "ETHUSDT_261225", "BTCUSDT-25DEC26", "ETHUSDT-25DEC26"}
    for day in range(0, 800, 7):
        now = START_NS + day * 86_400 * SECOND
        expiry = quarter_after(now)
        assert expiry.weekday() == 4
        assert expiry.month in (3, 6, 9, 12)
        assert 20 * 86_400 <= expiry.timestamp() - now / SECOND <= 120 * 86_400


def test_a_stopped_subscriber_hears_nothing_more() -> None:
    world = World(4, START_NS, ("BTC",))
    heard: list[Step] = []
    stop = world.subscribe(heard.append)
    run(world, 0.2)
    stop()
    run(world, 0.2)
    assert [step.number for step in heard] == list(range(1, 11))
