"""How long to wait before asking a host again: back-off of one connection, connects a host is asked for, a Retry-After header.

Sans-I/O: time and randomness are handed in, nothing here waits. The figures are those of reliability 3.0: jitter alone still lets
a server that accepts and closes see a median of nine connects a minute, so a budget stands beside it.
"""

import re
from collections import deque
from email.utils import parsedate_to_datetime
from random import Random
from typing import Final

from feeds.model import SECOND, Ns

BASE_S: Final = 0.5
CAP_S: Final = 30.0
STEADY_NS: Final[Ns] = 60 * SECOND
"""A connection that carried data for so long worked: the back-off starts over."""
WINDOW_NS: Final[Ns] = 60 * SECOND
RETRY_AFTER_NS: Final[Ns] = 60 * SECOND
"""Where a Retry-After header is absent or senseless."""
LONGEST_RETRY_AFTER_NS: Final[Ns] = 3 * 86_400 * SECOND
"""The longest ban that Binance documents (protocols.md 1.3)."""

_DOUBLINGS = 6
"""0.5 s doubled so often is past the cap: a larger exponent only overflows in the end."""
_SECONDS = re.compile(r"[0-9]{1,9}")


class Backoff:
    """Full jitter for one connection: U(0, min(30, 0.5 · 2^n)) s after the n-th failure since it last worked for a minute."""

    def __init__(self, random: Random) -> None:
        self.failures = 0
        """Attempts that ended since it last worked for a minute."""
        self._random = random

    def delay_ns(self) -> Ns:
        """An attempt failed or a connection ended: how long to wait before the next. Counts the failure."""
        ceiling_s = min(CAP_S, BASE_S * 2.0 ** min(self.failures, _DOUBLINGS))
        self.failures += 1
        return int(self._random.uniform(0.0, ceiling_s) * SECOND)

    def ended(self, opened_ns: Ns, last_ns: Ns) -> None:
        """A connection opened at `opened_ns` ended, its last data came at `last_ns` (0: never). To be told before `delay_ns`."""
        if last_ns - opened_ns >= STEADY_NS:
            self.failures = 0

    def reset(self) -> None:
        """Start over: the user asks for it."""
        self.failures = 0


class ConnectBudget:
    """At most `per_minute` connects to a host in any 60 s (from t to before t + 60 s), whatever their back-off says."""

    def __init__(self, per_minute: int = 6) -> None:
        self._connects: deque[Ns] = deque(maxlen=per_minute)
        self._per_minute = per_minute
        self._held_ns: Ns = 0

    def next_ns(self, now: Ns) -> Ns:
        """When the next connect is allowed: `now` or later."""
        oldest_ns = self._connects[0] + WINDOW_NS if len(self._connects) == self._per_minute else now
        return max(now, oldest_ns, self._held_ns)

    def take(self, now: Ns) -> bool:
        """Take one connect, or False when none is allowed: connections share the host, and another may have been first."""
        if self.next_ns(now) > now:
            return False
        self._connects.append(now)
        return True

    def left(self, now: Ns) -> int:
        """Connects that are left of the last 60 s."""
        return self._per_minute - sum(now - at < WINDOW_NS for at in self._connects)

    def hold(self, until: Ns) -> None:
        """The host asks for a pause (429, 418): no connect before `until`. A shorter pause does not shorten a longer one."""
        self._held_ns = max(self._held_ns, until)


def retry_after_ns(value: str | None, now: Ns, default_ns: Ns = RETRY_AFTER_NS) -> Ns:
    """A Retry-After header, seconds or an HTTP date, as a span of at least 1 s and at most three days.

    Args:
        value: the header; None where there is none.
        now: UTC ns, what a date is counted from.
        default_ns: the span where the header is absent, senseless or a date that has passed.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(max(int(text), 1) * SECOND, LONGEST_RETRY_AFTER_NS)
    try:
        wait_ns = int(parsedate_to_datetime(text).timestamp()) * SECOND - now
    except (ValueError, OverflowError):
        return default_ns
    return min(max(wait_ns, SECOND), LONGEST_RETRY_AFTER_NS) if wait_ns > 0 else default_ns
