"""One stream's subscription on one connection: asked for, acknowledged, heard, and when its silence is a fault (reliability 3.0).

Only rules and their times: the session sends, tells and drops. Data seen is readiness, whatever was acknowledged. A stream that
was never heard cannot bring down a connection on which others flow: it stays not ready and is asked for now and then.
"""

from enum import Enum

from feeds.clock import NEVER
from feeds.health import StreamHealth
from feeds.model import SECOND, Channel, Ns, Stream

ACK_NS: Ns = 5 * SECOND
FIRST_DATA_NS: Ns = 15 * SECOND
RETRY_NS: Ns = 15 * SECOND
"""Between two subscriptions of one stream; from the second in vain on `RARELY_NS`."""
RARELY_NS: Ns = 60 * SECOND
BOOK_SILENCE_NS: Ns = 65 * SECOND
PERIODS = 3
"""So many periods may a periodic stream be silent."""
MUST_SPEAK = frozenset({Channel.BOOK, Channel.TOUCH, Channel.TICKER})
"""Trades and liquidations may never come."""

NO_ANSWER = "no answer"
NO_DATA = "no data"


class Verdict(Enum):
    FINE = "fine"
    AGAIN = "subscribe again"
    GIVE_UP = "give the connection up"


class Subscription:
    """What is known of one stream here.

    Args:
        limit_ns: silence after which a stream that has spoken is at fault; 0 where silence says nothing.
    """

    __slots__ = ("asked_ns", "ever", "fault", "health", "heard", "limit_ns", "refused", "request", "retry_ns", "stream", "tries")

    def __init__(self, stream: Stream, health: StreamHealth, limit_ns: Ns) -> None:
        self.stream = stream
        self.health = health
        self.limit_ns = limit_ns
        self.asked_ns: Ns = 0
        self.request = ""
        """The request that has not been answered yet."""
        self.heard = False
        """Whether data came since it was last asked for."""
        self.refused = False
        """Whether the venue has said no since then."""
        self.ever = False
        """Whether data ever came on this connection."""
        self.fault = ""
        """Why it is not ready."""
        self.tries = 0
        """How often it was asked for again since data last came."""
        self.retry_ns: Ns = 0

    @property
    def declined(self) -> bool:
        """Whether the venue has refused it."""
        return self.fault not in ("", NO_ANSWER, NO_DATA)

    def ask(self, now: Ns) -> None:
        """It is being subscribed to, for the first time or again."""
        self.asked_ns = now
        self.heard = self.refused = False
        self.request = ""

    def hear(self) -> bool:
        """Data came. True when a fault ends with it."""
        faulty = bool(self.fault)
        self.heard = self.ever = True
        self.tries = 0
        self.request = self.fault = ""
        return faulty

    def acknowledge(self) -> bool:
        """The venue has taken the request. True when a fault ends with it: no answer, or the no to an earlier request."""
        self.request = ""
        if self.fault in ("", NO_DATA) or self.refused:
            return False
        self.fault = ""
        return True

    def stood_still(self, span: Ns) -> None:
        """Nobody looked for so long: every time that runs is put off by that."""
        self.asked_ns = (max(self.health.last_ns, self.asked_ns) if self.heard else self.asked_ns) + span
        self.retry_ns += span

    def decline(self, reason: str) -> None:
        """The venue has refused the request."""
        self.request = ""
        self.refused = True
        self.fault = reason
        self.retry_ns = max(self.retry_ns, self.asked_ns + RETRY_NS)

    def judge(self, now: Ns, alone: bool) -> Verdict:
        """What is to be done now. `alone`: no stream of the connection has ever been heard."""
        if self.heard:
            if now < self._silent_ns():
                return Verdict.FINE
            self.heard = False
            self.fault = NO_DATA
        late = now >= self._speak_ns()
        if not self.fault:
            unanswered = self.request and now >= self.asked_ns + ACK_NS
            if not late and not unanswered:
                return Verdict.FINE
            self.fault = NO_ANSWER if unanswered else NO_DATA
        if late and self.tries and (self.ever or alone):
            self.asked_ns = now
            return Verdict.GIVE_UP
        if now < self.retry_ns:
            return Verdict.FINE
        self.tries += 1
        self.retry_ns = now + (RETRY_NS if self.tries == 1 else RARELY_NS)
        return Verdict.AGAIN

    def due(self, now: Ns) -> Ns:
        """When it is to be judged next."""
        if self.heard:
            return self._silent_ns()
        if self.fault:
            times = (self.retry_ns, self._speak_ns() if self.tries else NEVER)
        else:
            times = (self._speak_ns(), self.asked_ns + ACK_NS if self.request else NEVER)
        return min((at for at in times if at > now), default=NEVER)

    def _silent_ns(self) -> Ns:
        return max(self.health.last_ns, self.asked_ns) + self.limit_ns if self.limit_ns else NEVER

    def _speak_ns(self) -> Ns:
        """When it must have spoken; a periodic stream that has spoken before says so within its limit."""
        if self.stream.channel not in MUST_SPEAK:
            return NEVER
        return self.asked_ns + (min(self.limit_ns, FIRST_DATA_NS) if self.ever and self.limit_ns else FIRST_DATA_NS)
