"""The basis between two markets of one base on the 1 s grid: derivative against spot or another derivative (analytics 7.1).

`basis = (mid_d - mid_s) / mid_s` in bp on the axis that the pair rule allows (routes.axis_rule). On the RAW axis two different
quotes stand against each other: the figure may be shown under that word and takes part in nothing.
"""

from collections.abc import Sequence
from math import nan

from analytics.fitness import LEG_GUARDS, LegGuard, pair_refusal
from analytics.market import INDEX_MAX_AGE_NS, Market
from analytics.routes import Axis, AxisRule, axis_rule
from analytics.settings import AnalyticsSettings
from analytics.spread import bps
from analytics.statistic import Statistic
from feeds.model import Kind, Ns

_ORDER = {Kind.SPOT: 0, Kind.PERP: 1, Kind.FUTURE: 2, Kind.OPTION: 3}


class Pair:
    """Two markets; `reference` is the one the other is measured against: spot before perp before future."""

    __slots__ = ("_axis_ns", "_guards", "_rule", "_settings", "axis", "other", "own_spot", "reference", "statistic")

    def __init__(
        self,
        one: Market,
        two: Market,
        settings: AnalyticsSettings,
        rule: AxisRule = axis_rule,
        leg_guards: Sequence[tuple[str, LegGuard]] = LEG_GUARDS,
    ) -> None:
        self.reference, self.other = sorted((one, two), key=lambda market: (_ORDER[market.instrument.kind], market.id))
        spot, other = self.reference.instrument, self.other.instrument
        self.own_spot = spot.venue == other.venue and spot.kind is Kind.SPOT and other.kind is not Kind.SPOT
        """A derivative against a spot market of its own venue."""
        self._settings = settings
        self._rule = rule
        self._guards = leg_guards
        self.axis: Axis | None = None
        self._axis_ns: Ns = 0
        self.statistic = Statistic(settings.z)

    @property
    def id(self) -> str:
        return f"{self.other.id} / {self.reference.id}"

    def second(self, now: Ns) -> None:
        """One sample of the grid. A change of axis starts the series anew: two measures do not mix."""
        axis, value = self.measure(now)
        if axis is None:
            self.statistic.gap()
            return
        self._axis_ns = now
        if axis is not self.axis:
            self.axis = axis
            self.statistic = Statistic(self._settings.z)
        self.statistic.push(now, value)

    def measure(self, now: Ns) -> tuple[Axis | None, float]:
        """The basis of the books as they stand, in bp, and its axis; None and nan where the legs may not be compared."""
        mid, reference_mid = self.other.mid, self.reference.mid
        refused = pair_refusal(self.reference, self.other, self._settings.guards, now, self._guards)
        if refused or mid != mid or reference_mid != reference_mid:
            return None, nan
        scales = self._rule(self.reference, self.other, now)
        if scales.axis is not Axis.RAW:
            return scales.axis, bps(mid * scales.sell, reference_mid * scales.buy)
        if self.axis in (Axis.INDEX, Axis.CONVERTED) and now - self._axis_ns < INDEX_MAX_AGE_NS:
            return None, nan  # an index or a rate that hesitates is a gap, not another measure
        return Axis.RAW, bps(mid, reference_mid)

    @property
    def tradable_bps(self) -> float:
        """The basis of the last sample, nan on the RAW axis: for rules, which must not see it."""
        return self.statistic.value if self.axis is not Axis.RAW else nan
