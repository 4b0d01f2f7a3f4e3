"""A series on the 1 s grid with its z-score by the chosen definition and an hour of history (analytics 3)."""

from math import nan

from analytics.series import Series
from analytics.settings import ZScore
from analytics.stream import EwmMoments, RollingMoments
from feeds.model import Ns


class Statistic:
    """`value` and `z` are those of the last push: nan at a gap or before it is warm. `n`, `mean`, `sd`: the window's."""

    __slots__ = ("_ewm", "_mode", "_rolling", "history", "last_ns", "last_z", "value", "z", "z_ns")

    def __init__(self, settings: ZScore) -> None:
        self._mode = settings.mode
        self._rolling = RollingMoments(settings.window, settings.min_periods)
        self._ewm = EwmMoments(decay=settings.decay, min_periods=settings.min_periods)
        self.history = Series()
        self.value = self.z = nan
        self.last_ns: Ns = 0
        self.last_z = nan
        """The last z that was one, for reports, which say its time with it."""
        self.z_ns: Ns = 0

    @property
    def n(self) -> int:
        return self._rolling.n

    @property
    def mean(self) -> float:
        return self._rolling.mean

    @property
    def sd(self) -> float:
        return self._rolling.sd

    def push(self, now: Ns, value: float) -> None:
        """One sample of the grid; nan is a gap: nothing is carried forward."""
        self.value = value
        self.z = nan
        if value != value:
            return
        rolling = self._rolling
        if self._mode == "prior":
            self.z = rolling.z_prior(value)
        elif self._mode == "ewma":
            self.z = self._ewm.z_prior(value)
        rolling.push(value)
        self._ewm.push(value)
        if self._mode == "inclusive":
            self.z = rolling.z_inclusive()
        self.history.append(now, value)
        self.last_ns = now
        if self.z == self.z:
            self.last_z, self.z_ns = self.z, now

    def gap(self) -> None:
        """The grid moved on without a sample."""
        self.value = self.z = nan
