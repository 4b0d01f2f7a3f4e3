"""The newest samples of a series and their times, side by side as plain numbers, in memory that is taken when the series is made.

Kept as tuples, an hour of 105 series grew the process by 30 MB until the hour was over, and no count of objects showed it, since
the collector does not track tuples of numbers (measured). Two columns are a fifth of that and do not grow.

Not here: what a sample means, when one is due.
"""

from collections.abc import Iterator
from math import nan

import numpy as np

from feeds.model import Ns

HOUR = 3_600
"""Samples of the 1 s grid that are kept."""
SPARE = 400
"""Room behind them: the columns are moved to their front once in so many samples, 0.06 MB in one go."""


class Series:
    """Up to `HOUR` samples, oldest first; `at` must rise. One takes 64 kB, however many it holds."""

    __slots__ = ("_end", "_newest", "_times", "_told", "_values")

    def __init__(self) -> None:
        self._times = np.full(HOUR + SPARE, 0, np.int64)  # written, not only promised: the memory is there from now on
        self._values = np.full(HOUR + SPARE, nan)
        self._end = 0
        self._newest: Ns = -1
        self._told: tuple[int, tuple[tuple[Ns, float], ...]] | None = None

    def append(self, at: Ns, value: float) -> None:
        """The newest sample; at most the oldest goes."""
        end = self._end
        if end == HOUR + SPARE:
            self._times[:HOUR] = self._times[SPARE:]
            self._values[:HOUR] = self._values[SPARE:]
            end = HOUR
        self._times[end] = at
        self._values[end] = value
        self._end = end + 1
        self._newest = at
        self._told = None

    def after(self, oldest: Ns) -> tuple[tuple[Ns, float], ...]:
        """The samples later than `oldest`: a short window does not read the hour.

        A screen asks ten times between two samples: the answer is kept until there is another (five minutes take 28 us to make).
        """
        if self._newest <= oldest:
            return ()
        first = self._oldest
        first += int(self._times[first : self._end].searchsorted(oldest, "right"))
        if self._told is None or self._told[0] != first:
            self._told = first, tuple(self._from(first))
        return self._told[1]

    def __len__(self) -> int:
        return self._end - self._oldest

    def __iter__(self) -> Iterator[tuple[Ns, float]]:
        return self._from(self._oldest)

    def _from(self, first: int) -> Iterator[tuple[Ns, float]]:
        return zip(self._times[first : self._end].tolist(), self._values[first : self._end].tolist(), strict=True)

    @property
    def _oldest(self) -> int:
        return max(self._end - HOUR, 0)
