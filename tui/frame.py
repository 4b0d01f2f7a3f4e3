"""When a frame is drawn and what it costs: left out while the terminal is behind, timed, and counted (terminal-ui.md 4.4).

One meter a program. It draws nothing and knows no widget.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tui.driver import Outlet

BUSY_SHARE: Final = 0.5
"""A frame that took more than this share of its period is followed by one that is left out: feeds come first."""


class FrameMeter:
    """Counts of frames. `clock_ns` is a monotonic clock."""

    def __init__(self, fps: float, clock_ns: Callable[[], int]) -> None:
        self.period_ns = int(1e9 / fps)
        self._clock_ns = clock_ns
        self.frames = 0
        self.skipped = 0
        """Left out: the terminal or the last frame was too slow."""
        self.last_ns = 0
        """What the last frame took to make, without Textual's part."""
        self._rest = False

    def due(self, outlet: Outlet | None) -> bool:
        """Whether to draw now; a frame that is left out is counted."""
        if self._rest or (outlet is not None and outlet.pending_bytes):
            self._rest = False
            self.skipped += 1
            return False
        return True

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Around the making of one frame."""
        began = self._clock_ns()
        yield
        self.last_ns = self._clock_ns() - began
        self.frames += 1
        self._rest = self.last_ns > BUSY_SHARE * self.period_ns
