"""What this process costs: its share of a core, memory, descriptors, tasks, and how late its event loop is.

A monitor that does not say what it takes itself cannot be trusted with a desk's machine (terminal-ui.md 2, no. 1). Memory and
descriptors come from /proc; where that is not there (macOS) they are unknown. Nothing here draws or keeps a task of its own.
"""

import asyncio
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil, nan
from pathlib import Path
from typing import Final

from msgspec import Struct

from feeds.model import MS, SECOND, Ns

PROC: Final = Path("/proc/self")
LEAST_SPAN_NS: Final[Ns] = SECOND // 2
"""A share of a core over less than this is noise: what was found before stands."""
LAG_EVERY_S: Final = 0.1
LAGS_KEPT: Final = 600
"""A minute of them."""
RSS_PAGES: Final = 1
"""Which figure of /proc/self/statm is the resident memory."""
PEAK_UNIT: Final = 1 if sys.platform == "darwin" else 1024
"""Bytes in one unit of `ru_maxrss`: getrusage(2) of the two systems."""


class Cost(Struct, frozen=True, kw_only=True):
    """What the process takes. nan and None are unknown."""

    cpu_share: float = nan
    """Of one core, user and system time, since the sample before."""
    rss_bytes: float = nan
    peak_bytes: float = nan
    """The most resident memory so far."""
    descriptors: int | None = None
    """Open ones: files, sockets, pipes."""
    tasks: int | None = None
    """Of the event loop, unfinished."""
    lag_p50_ms: float = nan
    lag_p99_ms: float = nan
    lag_max_ms: float = nan
    up_ms: float = nan


class LoopLag:
    """How late the event loop calls what is due: what a feed's message would wait. One timer, while it runs."""

    def __init__(self) -> None:
        self.lags_ms: deque[float] = deque(maxlen=LAGS_KEPT)
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure from now on."""
        self.stop()
        self._arm(loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        due_s = loop.time() + LAG_EVERY_S
        self._timer = loop.call_at(due_s, self._called, loop, due_s)

    def _called(self, loop: asyncio.AbstractEventLoop, due_s: float) -> None:
        self.lags_ms.append(max(loop.time() - due_s, 0.0) * 1e3)
        self._arm(loop)


class ProcessMeter:
    """Takes samples of this process.

    Args:
        clock_ns: monotonic.
        cpu_s: user and system time so far.
        proc: where the kernel tells of this process.
    """

    def __init__(
        self,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        cpu_s: Callable[[], float] | None = None,
        proc: Path = PROC,
    ) -> None:
        self._clock_ns = clock_ns
        self._cpu_s = cpu_s or _cpu_s
        self._proc = proc
        self._began_ns = self._at_ns = clock_ns()
        self._used_s = self._cpu_s()
        self._share = nan

    def sample(self, tasks: int | None = None, lags_ms: Sequence[float] = ()) -> Cost:
        """How it stands now.

        Args:
            tasks: unfinished tasks of the loop, where there is one.
            lags_ms: how late the loop was, in any order.
        """
        now = self._clock_ns()
        if now - self._at_ns >= LEAST_SPAN_NS:
            used_s = self._cpu_s()
            self._share = (used_s - self._used_s) / ((now - self._at_ns) / SECOND)
            self._at_ns, self._used_s = now, used_s
        lags = sorted(lags_ms)
        return Cost(
            cpu_share=self._share,
            rss_bytes=self._rss_bytes(),
            peak_bytes=float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT),
            descriptors=self._descriptors(),
            tasks=tasks,
            lag_p50_ms=_rank(lags, 0.5),
            lag_p99_ms=_rank(lags, 0.99),
            lag_max_ms=_rank(lags, 1.0),
            up_ms=(now - self._began_ns) / MS,
        )

    def _rss_bytes(self) -> float:
        try:
            return float(int((self._proc / "statm").read_text().split()[RSS_PAGES]) * resource.getpagesize())
        except (OSError, ValueError, IndexError):
            return nan

    def _descriptors(self) -> int | None:
        try:
            return len(os.listdir(self._proc / "fd")) - 1  # one is that of the listing itself
        except OSError:
            return None


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _rank(values: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that `share` of them do not exceed; nan of none."""
    return values[max(ceil(share * len(values)), 1) - 1] if values else nan
