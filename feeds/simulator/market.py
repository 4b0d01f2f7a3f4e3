"""The one market under every venue of the demo exchange: pure, seeded, no I/O, no clock. Time is an argument.

A latent US dollar price an asset (diffusion and jumps, a part of it common) and a drifting stablecoin; each instrument follows
it with its venue's lag and an Ornstein-Uhlenbeck premium of known half-life. Now and then one of them stands apart for seconds:
those windows are real, they can be traded in the books, and `World.windows` lists them. Truth is queryable: `truth`.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import exp, log, sqrt
from random import Random
from typing import NamedTuple

from msgspec import Struct

from feeds.model import MS, SECOND, Ns
from feeds.simulator import formulas
from feeds.simulator.listings import ASSETS, START_PRICES_USD, VENUES, Listing, listed
from feeds.simulator.maker import Maker, Print
from feeds.simulator.past import MINUTES, Bar, BarKind, Growing, Past, Settled, asset_path, gathered, minute_of
from feeds.simulator.truebook import Levels, Touch, TrueBook

STEP_NS: Ns = 20 * MS
LEAP_NS: Ns = 5 * SECOND
"""Asked to leap farther, the market goes on from the present."""
YEAR_S = 31_536_000
VOLATILITY = {"BTC": 0.45, "ETH": 0.6, "SOL": 0.75}
"""Of a year."""
COMMON = 0.75
"""Correlation of an asset with the market."""
JUMPS_A_SECOND = 0.04
JUMP_BPS = 2.5
STABLE_HALF_LIFE_S = 1_800.0
CARRY_A_YEAR = 0.055
"""What a dated future pays over spot."""
LAGS_KEPT = 16

WINDOW_EVERY_S = (40.0, 90.0)
FIRST_WINDOW_S = (12.0, 20.0)
WINDOW_LASTS_S = (5.0, 15.0)
WINDOWS_AHEAD_NS: Ns = 120 * SECOND
WINDOW_OPENS_NS: Ns = 400 * MS
WINDOW_CLOSES_NS: Ns = 800 * MS
PERP_PEAK_BPS = (36.0, 60.0)
SPOT_PEAK_BPS = (44.0, 60.0)
"""Spot cannot be sold short, so it only ever stands below; its route pays 31 bps in fees, a perpetual's against another 21."""

BURST_EVERY_S = 70.0
FORCED_A_SECOND = 1 / 15
FORCED_IN_BURST_A_SECOND = 6.0
FORCED_QUOTE, FORCED_IN_BURST_QUOTE = 6_000.0, 40_000.0
BURST_DRIFT_BPS = 0.04

ELSEWHERE = 0.55
"""Weight in an index of the venues that are not simulated: they trade at the latent price."""


INDEX_WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "BINANCE": {"BINANCE": 0.3, "BYBIT": 0.15},
    "BYBIT": {"BINANCE": 0.2, "BYBIT": 0.25},
    "OKX": {"BINANCE": 0.2, "OKX": 0.25},
    "DERIBIT": {"OKX": 0.1},
    "BITMEX": {"BINANCE": 0.1},
}
"""Venue -> what its indices weigh the spots of which venue with."""


class Coin(NamedTuple):
    """A stablecoin: what it is worth on average, in US dollars, and how far it strays."""

    mean: float
    sd: float


STABLE: Mapping[str, Coin] = {"USDT": Coin(0.9996, 0.0003), "USDC": Coin(0.9999, 0.0001)}


class Window(Struct, frozen=True):
    """A stretch in which one listing stands apart from all others by up to `peak_bps` (negative: below)."""

    venue: str
    listing: str
    begin_ns: Ns
    end_ns: Ns
    peak_bps: float

    def offset_bps(self, now_ns: Ns) -> float:
        """How far apart it stands at `now_ns`."""
        if not self.begin_ns <= now_ns < self.end_ns:
            return 0.0
        opening = (now_ns - self.begin_ns) / WINDOW_OPENS_NS
        closing = (self.end_ns - now_ns) / WINDOW_CLOSES_NS
        return self.peak_bps * min(1.0, opening, closing)


class Forced(Struct, frozen=True):
    """A liquidation. `position_long`: whose position was closed out."""

    key: str
    position_long: bool
    ticks: int
    """What it traded at."""
    bankrupt_ticks: int
    lots: int
    now_ns: Ns


class Step(Struct, frozen=True):
    """What happened in one step. Books say themselves whether they changed (`changed`, `touched`)."""

    number: int
    now_ns: Ns
    prints: list[Print]
    forced: list[Forced]
    whole_second: bool
    """Mark, index, funding and open interest have just been computed."""


class Figures:
    """What a venue publishes of one instrument besides its book. Prices are in quote units, volumes in base and quote units."""

    __slots__ = (
        "average_basis",
        "base_volume",
        "day_high",
        "day_low",
        "day_open",
        "index",
        "last_lots",
        "last_ticks",
        "mark",
        "mark_average",
        "next_funding_ns",
        "open_interest_lots",
        "premium",
        "quote_volume",
        "rate",
        "settled",
        "trades",
    )

    def __init__(self) -> None:
        self.mark = self.mark_average = self.index = self.premium = self.average_basis = 0.0
        self.rate = 0.0
        self.next_funding_ns: Ns = 0
        self.settled: list[Settled] = []
        self.last_ticks = self.last_lots = 0
        self.open_interest_lots = 0
        self.day_open = self.day_high = self.day_low = 0.0
        self.base_volume = self.quote_volume = 0.0
        self.trades = 0


class _Instrument:
    """One listing at work: its orders, its premium, its figures, its bars."""

    def __init__(self, world: "World", listing: Listing) -> None:
        self.listing = listing
        self.rng = Random(f"{world.seed}/{listing.key}")
        self.keep = 0.5 ** (STEP_NS / SECOND / listing.half_life_s)
        self.kick = listing.premium_sd_bps * sqrt(1 - self.keep * self.keep)
        self.premium_bps = self.rng.gauss(listing.premium_mean_bps, listing.premium_sd_bps)
        price = world.fair_price(listing, self.premium_bps)
        self.maker = Maker(listing, self.rng, price, world.start_ns)
        self.book = self.maker.book
        scale = 1.0 / world.usd_per[listing.quote]
        self.past = Past(listing, world.seed, world.paths[listing.base], scale, self.premium_bps, world.start_ns)
        self.rules = formulas.VenueRules(listing.venue, listing.funding_interval_s or 28_800)
        self.basis = formulas.MovingAverage(self.rules.basis_span_s)
        self.marks = formulas.MovingAverage(30)
        self.figures = self._first_figures(price, world.start_ns)
        self.grown: dict[BarKind, list[Bar]] = {"trade": [], "mark": [], "index": [], "premium": []}
        self.growing: dict[BarKind, Growing] = {"trade": Growing(minute_of(world.start_ns), price)}

    def _first_figures(self, price: float, now_ns: Ns) -> Figures:
        listing, figures = self.listing, Figures()
        figures.last_ticks = self.maker.last_ticks
        figures.last_lots = 1
        figures.day_open, figures.day_high, figures.day_low = self.past.day()
        figures.quote_volume = listing.depth_quote * 30_000
        figures.base_volume = figures.quote_volume / price
        figures.trades = int(figures.quote_volume / 2_500)
        if listing.kind != "spot":
            figures.open_interest_lots = listing.lots_of(listing.depth_quote * 20_000, price)
        self.average = formulas.WeightedPremium()
        if listing.kind == "perp":
            figures.settled, self.average = self.past.funding(self.rules)
            figures.rate = self.rules.funding(self.average.mean)
            figures.next_funding_ns = self.rules.next_funding_ns(now_ns)
        return figures

    def traded(self, made: Print) -> None:
        listing, figures = self.listing, self.figures
        price = made.ticks * listing.tick
        quote = listing.value_of(made.lots, price)
        figures.last_ticks, figures.last_lots = made.ticks, made.lots
        figures.day_high, figures.day_low = max(figures.day_high, price), min(figures.day_low, price)
        figures.base_volume += quote / price
        figures.quote_volume += quote
        figures.trades += 1
        self.growing["trade"].add(price, quote / price, quote)

    def publish(self, index: float, now_ns: Ns) -> None:
        """Once a second: index, mark, premium, funding, open interest."""
        listing, figures, rules = self.listing, self.figures, self.rules
        figures.index = index
        if listing.kind != "spot":
            bid, _, ask, _ = self.book.touch
            figures.average_basis = self.basis.add((bid + ask) / 2 * listing.tick - index)
            figures.open_interest_lots += round(self.rng.gauss(0.0, 1e-5) * figures.open_interest_lots)
        if listing.kind == "perp":
            if now_ns >= figures.next_funding_ns:
                self._settle(now_ns)
            if now_ns // SECOND % rules.premium_every_s == 0:
                figures.premium = formulas.premium(*self.maker.impact(formulas.IMPACT_QUOTE), index)
                self.average.add(figures.premium)
                figures.rate = rules.funding(figures.premium if rules.terms.continuous else self.average.mean)
            last = figures.last_ticks * listing.tick
            to_funding_s = (figures.next_funding_ns - now_ns) / SECOND
            figures.mark = rules.mark(index, figures.rate, to_funding_s, figures.average_basis, last)
        elif listing.kind == "future":
            figures.mark = formulas.dated_mark(index, figures.average_basis)
        figures.mark_average = self.marks.add(figures.mark)
        self._grow({"index": index, "mark": figures.mark, "premium": figures.premium}, minute_of(now_ns))

    def _grow(self, values: dict[BarKind, float], minute_ms: int) -> None:
        growing = self.growing
        if growing["trade"].open_ms != minute_ms:
            for kind, bar in growing.items():
                self.grown[kind].append(bar.bar)
                del self.grown[kind][:-MINUTES]
                growing[kind] = Growing(minute_ms, bar.close)
        for kind, value in values.items():
            if kind in growing:
                growing[kind].add(value)
            else:
                growing[kind] = Growing(minute_ms, value)

    def _settle(self, now_ns: Ns) -> None:
        figures = self.figures
        figures.settled.append(Settled(figures.next_funding_ns // MS, figures.rate, figures.mark))
        self.average = formulas.WeightedPremium()
        figures.next_funding_ns = self.rules.next_funding_ns(now_ns)


class World:
    """The market. `books`, `figures` and `windows` are its state now; `advance` moves it on."""

    def __init__(
        self,
        seed: int,
        start_ns: Ns,
        assets: Sequence[str] = ASSETS,
        listings: Sequence[Listing] | None = None,
        venues: Sequence[str] = VENUES,
    ) -> None:
        """`assets` and `venues` name what is listed where `listings` does not; the latter must not name another asset."""
        self.seed = seed
        self.start_ns = start_ns
        self.now_ns = start_ns
        self.steps = 0
        self.assets = tuple(assets)
        self.listings: dict[str, Listing] = {made.key: made for made in (listings or listed(start_ns, assets, venues))}
        rng = Random(f"{seed}/latent")
        self._rng = rng
        self.latent_usd = {asset: START_PRICES_USD[asset] * exp(rng.gauss(0.0, 0.02)) for asset in self.assets}
        self._coin_rng = Random(f"{seed}/coins")
        self.usd_per = {
            "USD": 1.0,
            "USDT": STABLE["USDT"].mean + rng.gauss(0.0, STABLE["USDT"].sd),
            "USDC": STABLE["USDC"].mean + self._coin_rng.gauss(0.0, STABLE["USDC"].sd),
        }
        """US dollars for one of each quote."""
        step_s = STEP_NS / SECOND
        self._volatility = {asset: VOLATILITY[asset] * sqrt(step_s / YEAR_S) for asset in self.assets}
        self._behind = {asset: deque([price] * LAGS_KEPT, LAGS_KEPT) for asset, price in self.latent_usd.items()}
        self.paths = {
            asset: asset_path(Random(f"{seed}/past/{asset}"), price, VOLATILITY[asset] * sqrt(60 / YEAR_S))
            for asset, price in self.latent_usd.items()
        }
        self._instruments = {key: _Instrument(self, listing) for key, listing in self.listings.items()}
        self.books: dict[str, TrueBook] = {key: one.book for key, one in self._instruments.items()}
        self.figures: dict[str, Figures] = {key: one.figures for key, one in self._instruments.items()}
        self._window_rng = Random(f"{seed}/windows")
        self.windows: list[Window] = []
        """Past ones and those of the next minutes, in order."""
        self._window_places = [one for one in self.listings.values() if one.kind in ("spot", "perp") and one.contract == "linear"]
        self._windows_until(start_ns + WINDOWS_AHEAD_NS)
        self._burst_rng = Random(f"{seed}/bursts")
        self._burst_at_ns = start_ns + int(self._burst_rng.expovariate(1 / BURST_EVERY_S) * SECOND)
        self._burst_end_ns = 0
        self._burst_asset, self._burst_long = self.assets[0], True
        self._callbacks: list[Callable[[Step], None]] = []
        self._dollar_spots = {
            (book.listing.venue, book.listing.base): book for book in self.books.values() if book.listing.kind == "spot"
        }
        """(venue, asset) -> its spot, whichever dollar it is quoted in."""
        self._publish(start_ns)

    @property
    def half_lives_s(self) -> dict[str, float]:
        """Listing key -> true half-life of its premium."""
        return {key: listing.half_life_s for key, listing in self.listings.items()}

    def subscribe(self, callback: Callable[[Step], None]) -> Callable[[], None]:
        """Call `callback` after each step; what is returned ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def advance(self, now_ns: Ns) -> None:
        """Make the steps up to `now_ns`. Where that is more than `LEAP_NS` away, one step at the present."""
        target = (now_ns - self.start_ns) // STEP_NS
        if target - self.steps > LEAP_NS // STEP_NS:
            self.steps = target - 1
        while self.steps < target:
            self.steps += 1
            self._step(self.start_ns + self.steps * STEP_NS)

    def truth(self, key: str, seq: int, depth: int | None = None) -> tuple[Levels, Levels]:
        """Bids and asks of a listing at update `seq`, best first, as the wire's text reads.

        Raises KeyError for a state older than two minutes or one that never was.
        """
        return self.books[key].truth(seq, depth)

    def truth_touch(self, key: str, seq: int) -> Touch:
        """Best bid, size, best ask, size of a listing at update `seq`. Raises KeyError like `truth`."""
        return self.books[key].truth_touch(seq)

    def bars(self, key: str, kind: BarKind, interval_ms: int) -> list[Bar]:
        """Every bar there is, oldest first; the last one still grows."""
        one = self._instruments[key]
        return gathered([*one.past.bars(kind), *one.grown[kind], one.growing[kind].bar], interval_ms)

    def fair_price(self, listing: Listing, premium_bps: float) -> float:
        """Where a listing's mid should be, in its quote currency."""
        price = self._behind[listing.base][-1 - listing.lag_steps] * (1 + premium_bps * 1e-4)
        price /= self.usd_per[listing.quote]
        if listing.expiry_ns:
            price *= exp(CARRY_A_YEAR * max(0, listing.expiry_ns - self.now_ns) / SECOND / YEAR_S)
        return price

    def index(self, venue: str, asset: str, quote: str) -> float:
        """A venue's index of an asset in a quote: the spots that are simulated, and the rest at the latent price."""
        constituents = [(self.latent_usd[asset], ELSEWHERE)]
        for name, weight in INDEX_WEIGHTS[venue].items():
            book = self._dollar_spots.get((name, asset))
            if book is not None:
                bid, _, ask, _ = book.touch
                constituents.append(((bid + ask) / 2 * book.listing.tick * self.usd_per[book.listing.quote], weight))
        return formulas.index_price(constituents) / self.usd_per[quote]

    def _step(self, now_ns: Ns) -> None:
        whole_second = now_ns // SECOND != self.now_ns // SECOND
        self.now_ns = now_ns
        self._move_latent()
        self._windows_until(now_ns + WINDOWS_AHEAD_NS)
        offsets = {w.listing: w.offset_bps(now_ns) for w in self.windows[-8:] if w.begin_ns <= now_ns < w.end_ns}
        prints: list[Print] = []
        forced = self._force(now_ns)
        for key, one in self._instruments.items():
            mean = one.listing.premium_mean_bps
            one.premium_bps = mean + (one.premium_bps - mean) * one.keep + one.rng.gauss(0.0, one.kick)
            price = self.fair_price(one.listing, one.premium_bps + offsets.get(key, 0.0))
            made = one.maker.step(price, now_ns)
            if made:
                for each in made:
                    one.traded(each)
                prints.extend(made)
        if whole_second:
            self._publish(now_ns)
        step = Step(self.steps, now_ns, prints, forced, whole_second)
        for callback in self._callbacks:
            callback(step)

    def _move_latent(self) -> None:
        rng = self._rng
        common = rng.gauss(0.0, 1.0)
        if rng.random() < JUMPS_A_SECOND * STEP_NS / SECOND:
            common += rng.choice((-1.0, 1.0)) * rng.expovariate(1.0) * 25.0
        own = sqrt(1 - COMMON * COMMON)
        jump_chance = JUMPS_A_SECOND * STEP_NS / SECOND
        bursting = self.now_ns < self._burst_end_ns
        for asset, price in self.latent_usd.items():
            moved = self._volatility[asset] * (COMMON * common + own * rng.gauss(0.0, 1.0))
            if rng.random() < jump_chance:
                moved += rng.choice((-1e-4, 1e-4)) * rng.expovariate(1 / JUMP_BPS)
            if bursting and asset == self._burst_asset:
                moved += (-BURST_DRIFT_BPS if self._burst_long else BURST_DRIFT_BPS) * 1e-4
            moved -= 2e-6 * log(price / START_PRICES_USD[asset])
            price *= exp(moved)
            self.latent_usd[asset] = price
            self._behind[asset].append(price)
        keep = 0.5 ** (STEP_NS / SECOND / STABLE_HALF_LIFE_S)
        for coin, chance in (("USDT", rng), ("USDC", self._coin_rng)):
            mean, sd = STABLE[coin]
            drawn = (self.usd_per[coin] - mean) * keep
            self.usd_per[coin] = mean + drawn + chance.gauss(0.0, sd * sqrt(1 - keep * keep))

    def _windows_until(self, until_ns: Ns) -> None:
        """List the windows that begin before then, and one more."""
        rng, places = self._window_rng, self._window_places
        while places and (not self.windows or self.windows[-1].begin_ns < until_ns):
            if self.windows:
                place = rng.choice(places)
                begin_ns = self.windows[-1].begin_ns + int(rng.uniform(*WINDOW_EVERY_S) * SECOND)
            else:
                place = rng.choice([one for one in places if one.kind == "perp" and one.base == self.assets[0]] or places)
                begin_ns = self.start_ns + int(rng.uniform(*FIRST_WINDOW_S) * SECOND)
            end_ns = begin_ns + int(rng.uniform(*WINDOW_LASTS_S) * SECOND)
            sign = rng.choice((-1.0, 1.0))
            if place.kind == "spot" or place.premium_mean_bps < 0.0:
                sign = -1.0
            elif place.premium_mean_bps > 0.0:
                sign = 1.0
            peak = rng.uniform(*(SPOT_PEAK_BPS if place.kind == "spot" else PERP_PEAK_BPS))
            self.windows.append(Window(place.venue, place.key, begin_ns, end_ns, sign * peak))

    def _force(self, now_ns: Ns) -> list[Forced]:
        """Liquidations of this step: a few always, many in a burst on one asset and side."""
        rng = self._burst_rng
        if now_ns >= self._burst_at_ns:
            self._burst_asset, self._burst_long = rng.choice(self.assets), rng.random() < 0.5
            self._burst_end_ns = now_ns + int(rng.uniform(3.0, 7.0) * SECOND)
            self._burst_at_ns = self._burst_end_ns + int(rng.expovariate(1 / BURST_EVERY_S) * SECOND)
        bursting = now_ns < self._burst_end_ns
        chance = (FORCED_IN_BURST_A_SECOND if bursting else FORCED_A_SECOND) * STEP_NS / SECOND
        if rng.random() >= chance:
            return []
        places = [
            one
            for one in self._instruments.values()
            if one.listing.kind == "perp" and (not bursting or one.listing.base == self._burst_asset)
        ]
        if not places:
            return []
        one = rng.choice(places)
        long = self._burst_long if bursting else rng.random() < 0.5
        value = (FORCED_IN_BURST_QUOTE if bursting else FORCED_QUOTE) * exp(rng.gauss(0.0, 0.8))
        made = one.maker.force(not long, value, now_ns)
        if made is None:
            return []
        bankrupt = round(made.ticks * (1 - 0.0012 if long else 1 + 0.0012))
        return [Forced(made.key, long, made.ticks, bankrupt, made.lots, now_ns)]

    def _publish(self, now_ns: Ns) -> None:
        found: dict[tuple[str, str, str], float] = {}
        for one in self._instruments.values():
            place = (one.listing.venue, one.listing.base, one.listing.quote)
            if place not in found:
                found[place] = self.index(*place)
            one.publish(found[place], now_ns)
