"""A circuit breaker that also trips on slowness: whether a call may be made now, told what came of the earlier ones.

It makes no call, reads no clock and knows no host. No library does this: one lets ten of ten callers through while half open,
none trips on latency (ecosystem.md 1, measured). While closed every call may go. Open, none may until the cool-down is over;
then exactly one probe goes, and what comes of it closes the breaker or opens it again for twice as long.
"""

from typing import Final

from feeds.links import Breaker
from feeds.model import SECOND, Ns

NO_PERMIT: Final = 0


class CircuitBreaker:
    """Ask `admit` before each call; hand its permit back through exactly one of `answered`, `failed`, `abandoned`.

    A permit is void once the state has changed: a call that began earlier neither closes what has opened since, nor opens it.

    Args:
        failures: consecutive failures that open it.
        slow: consecutive answers slower than `slow_ns` that open it.
        cool_ns: the first cool-down; doubled after each bad probe up to `cool_max_ns`, and back here after a good one.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        slow: int = 30,
        slow_ns: Ns = 5 * SECOND,
        cool_ns: Ns = 2 * SECOND,
        cool_max_ns: Ns = 60 * SECOND,
    ) -> None:
        self.state = Breaker.CLOSED
        self.probe_ns: Ns = 0
        """When the next probe may go; 0 unless OPEN."""
        self._failures_allowed = failures
        self._slow_allowed = slow
        self._slow_ns = slow_ns
        self._first_cool_ns = self._cool_ns = cool_ns
        self._cool_max_ns = cool_max_ns
        self._failures = 0
        self._slow = 0
        self._permit = NO_PERMIT + 1
        self._probing = False

    def admit(self, now: Ns) -> int:
        """A permit for one call that begins now, or `NO_PERMIT`."""
        if self.state is Breaker.CLOSED:
            return self._permit
        if self.state is Breaker.OPEN and now >= self.probe_ns:
            self._become(Breaker.HALF_OPEN)
        if self.state is Breaker.OPEN or self._probing:
            return NO_PERMIT
        self._probing = True
        return self._permit

    def answered(self, permit: int, now: Ns, took_ns: Ns) -> None:
        """The call was answered after `took_ns`. Too slow an answer is a bad probe."""
        if permit != self._permit:
            return
        slow = took_ns > self._slow_ns
        if self.state is Breaker.HALF_OPEN:
            if slow:
                self._reopen(now)
            else:
                self._close()
            return
        self._failures = 0
        self._slow = self._slow + 1 if slow else 0
        if self._slow >= self._slow_allowed:
            self._open(now)

    def failed(self, permit: int, now: Ns) -> None:
        """The call got no answer, or one that says that the other side is broken."""
        if permit != self._permit:
            return
        if self.state is Breaker.HALF_OPEN:
            self._reopen(now)
            return
        self._failures += 1
        if self._failures >= self._failures_allowed:
            self._open(now)

    def abandoned(self, permit: int) -> None:
        """The call was given up before anything came of it: a probe's slot is free again."""
        if permit == self._permit and self._probing:
            self._become(Breaker.HALF_OPEN)

    def _become(self, state: Breaker) -> None:
        self.state = state
        self.probe_ns = 0
        self._probing = False
        self._permit += 1

    def _open(self, now: Ns) -> None:
        self._become(Breaker.OPEN)
        self.probe_ns = now + self._cool_ns

    def _reopen(self, now: Ns) -> None:
        self._cool_ns = min(2 * self._cool_ns, self._cool_max_ns)
        self._open(now)

    def _close(self) -> None:
        self._become(Breaker.CLOSED)
        self._cool_ns = self._first_cool_ns
        self._failures = self._slow = 0
