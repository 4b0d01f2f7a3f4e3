"""The alerts of a run as the user deals with them: seen, acknowledged, muted, logged. The engine only makes them.

What has been acknowledged or muted is kept over all passes of a replay. Muting keeps no episode from being made or exported.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from msgspec import structs

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState
from analytics.engine import Engine
from feeds.model import Ns
from tui.journal import Journal

EpisodeKey: TypeAlias = tuple[str, str, Ns]
"""Rule, scope and opening time: by these an episode of another pass is the same one."""
Watch: TypeAlias = tuple[str, str]
"""Rule and scope."""


class Episodes:
    """Every episode of one engine, and what the user has done about it.

    Args:
        journal: the alert log; None logs nothing.
        heard: gets every alert event after it is in `alerts`.
        keep: how many are kept at most, the oldest closed ones going first; None keeps all, as a recording's end is known.
    """

    def __init__(
        self,
        journal: Journal | None = None,
        heard: Callable[[AlertEvent], object] = lambda _event: None,
        keep: int | None = None,
    ) -> None:
        self.journal = journal
        self.keep = keep
        self.heard = heard
        self.alerts: dict[int, Alert] = {}
        """By number, as they stand."""
        self.muted: dict[Watch, Ns] = {}
        """What is muted → until when; what has run out is taken out by `expire`."""
        self.version = 0
        """Grows with every change of `alerts` and `muted`."""
        self._engine: Engine | None = None
        self._acked: dict[EpisodeKey, Ns] = {}
        self._logged: dict[EpisodeKey, int] = {}

    def begin(self) -> None:
        """A new pass: its engine comes with `serve`, and makes its episodes anew."""
        self.alerts = {}
        self.version += 1

    def serve(self, engine: Engine, resumed: Iterable[Alert] = ()) -> None:
        """The engine whose events these are; `resumed` were open when the last run ended, and go on under their numbers."""
        self._engine = engine
        for alert in resumed:
            self.alerts[alert.seq] = alert
            self._logged[alert.rule, alert.scope, alert.opened_ns] = alert.seq
            self.version += 1

    def on_alert(self, event: AlertEvent) -> None:
        """Hear an event of the engine."""
        alert = event.alert
        key = (alert.rule, alert.scope, alert.opened_ns)
        self._log(event)
        self.alerts[alert.seq] = alert
        self.version += 1
        if self.keep is not None and len(self.alerts) > self.keep:
            self._forget_oldest()
        if alert.acked_ns:
            self._acked[key] = alert.acked_ns
        self.heard(event)
        if event.kind is AlertKind.FIRE and key in self._acked and self._engine is not None:
            self._engine.alerts.ack(alert.seq, self._acked[key])

    def ack(self, seq: int, now: Ns) -> Alert | None:
        """The user has seen the episode: it is marked, once, and so are its later events and its like in later passes.

        Returns:
            The episode as it stands; None when this pass has none of that number.
        """
        alert = self.alerts.get(seq)
        if alert is None or alert.acked_ns or self._engine is None:
            return alert
        if self._engine.alerts.ack(seq, now) is None:  # its watch has a later one, and forgot it
            self.on_alert(AlertEvent(AlertKind.ACK, structs.replace(alert, acked_ns=now), now))
        return self.alerts[seq]

    def mute(self, rule: str, scope: str, until_ns: Ns, now: Ns) -> None:
        """Mark all episodes of a rule on a scope as muted until then."""
        self.muted[rule, scope] = until_ns
        self._tell_muted(rule, scope, now)

    def unmute(self, rule: str, scope: str, now: Ns) -> None:
        """Take that back."""
        if self.muted.pop((rule, scope), None) is not None:
            self._tell_muted(rule, scope, now)

    def expire(self, now: Ns) -> None:
        """Take out what is muted no longer."""
        for watch in [watch for watch, until_ns in self.muted.items() if until_ns <= now]:
            del self.muted[watch]
            self.version += 1

    def _forget_oldest(self) -> None:
        """It stays in the log."""
        oldest = next((one for one in self.alerts.values() if one.state is AlertState.RESOLVED), None)
        if oldest is not None:
            del self.alerts[oldest.seq]
            key = (oldest.rule, oldest.scope, oldest.opened_ns)
            self._acked.pop(key, None)
            self._logged.pop(key, None)

    def _tell_muted(self, rule: str, scope: str, now: Ns) -> None:
        self.version += 1
        last = next((alert for alert in reversed(self.alerts.values()) if (alert.rule, alert.scope) == (rule, scope)), None)
        if last is not None:
            self._log(AlertEvent(AlertKind.MUTE, last, now))

    def _log(self, event: AlertEvent) -> None:
        """Into the journal, whose numbers go on where the last run stopped; an episode of an earlier pass keeps its number."""
        if self.journal is None:
            return
        alert = event.alert
        number = self._logged.setdefault((alert.rule, alert.scope, alert.opened_ns), self.journal.next_seq)
        logged = structs.replace(alert, seq=number, muted_until_ns=self.muted.get((alert.rule, alert.scope), 0))
        self.journal.append(structs.replace(event, alert=logged))
