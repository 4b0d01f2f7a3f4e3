"""The one state machine behind episodes and alerts: enter, hold, fall, stay down (analytics 8.7 and 13).

It only judges a value against two thresholds in time; what an episode records is `tracker.py`'s and `alerts.py`'s business.
Semantics of `for` and `keep` follow Prometheus.
"""

from enum import StrEnum

from feeds.model import Ns


class Phase(StrEnum):
    INACTIVE = "inactive"
    PENDING = "pending"
    ACTIVE = "active"
    RECOVERING = "recovering"


class Hysteresis:
    """Active once the value has been at `enter` or above for `for_ns` and `updates` new values; inactive again once it has been
    below `exit` for `keep_ns`. nan changes nothing. Feed it values whose loud side is up."""

    __slots__ = ("_enter", "_exit", "_for_ns", "_keep_ns", "_seen", "_updates", "fell_ns", "phase", "since_ns")

    def __init__(self, enter: float, exit: float, for_ns: Ns, keep_ns: Ns, updates: int = 1) -> None:
        if exit > enter:
            raise ValueError("exit must be on the quiet side of enter")
        self._enter = enter
        self._exit = exit
        self._for_ns = for_ns
        self._keep_ns = keep_ns
        self._updates = updates
        self._seen = 0
        self.phase = Phase.INACTIVE
        self.since_ns: Ns = 0
        """When the value first stood at `enter` in this run."""
        self.fell_ns: Ns = 0
        """When it fell under `exit`; 0 while it has not."""

    @property
    def active(self) -> bool:
        """Whether an episode is open: also while it recovers."""
        return self.phase is Phase.ACTIVE or self.phase is Phase.RECOVERING

    def step(self, now: Ns, value: float, fresh: bool = True) -> None:
        """One look at the value. `fresh`: it rests on data that came since the last look."""
        if value != value:
            return
        if not self.active:
            if value < self._enter:
                self.reset()
                return
            if self.phase is Phase.INACTIVE:
                self.phase = Phase.PENDING
                self.since_ns = now
                self._seen = 0
            self._seen += fresh
            if now - self.since_ns >= self._for_ns and self._seen >= self._updates:
                self.phase = Phase.ACTIVE
                self.fell_ns = 0
        elif value >= self._exit:
            self.phase = Phase.ACTIVE
            self.fell_ns = 0
        else:
            if self.phase is Phase.ACTIVE:
                self.phase = Phase.RECOVERING
                self.fell_ns = now
            if now - self.fell_ns >= self._keep_ns:
                self.phase = Phase.INACTIVE

    def reset(self) -> None:
        """Inactive at once: what judged the value may no longer be believed."""
        self.phase = Phase.INACTIVE
        self._seen = 0

    def resume(self, since_ns: Ns) -> None:
        """Active since `since_ns`: an episode that was open when the program stopped."""
        self.phase = Phase.ACTIVE
        self.since_ns = since_ns
        self.fell_ns = 0
