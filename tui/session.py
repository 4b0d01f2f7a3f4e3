"""Wires hub, engine, journal and export for one run, without a terminal: what headless replay runs, and what screens sit on.

A replay reads and writes nothing of the user's unless it is given a state directory (DESIGN 3).
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct, structs

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState
from analytics.alerts import DEFAULT_RULES, Rule
from analytics.engine import Engine
from analytics.settings import AnalyticsSettings
from feeds.errors import InputError
from feeds.hub import Hub
from feeds.model import MS, SECOND, Ns
from feeds.recording import Recording
from feeds.replay import Player
from feeds.venues import VENUES
from tui.export import export
from tui.journal import Journal
from tui.report import Report, make_report, utc

PACE_S = 0.02
"""How often a paced replay hands on what has become due."""


class ReplayOptions(Struct, frozen=True, kw_only=True):
    """One headless replay. `speed` is times real time, `inf` as quickly as it goes; `at` a UTC time or `+seconds`."""

    path: Path
    speed: float = inf
    at: str | None = None
    rules: tuple[Rule, ...] = DEFAULT_RULES
    export: Path | None = None
    state: Path | None = None
    settings: AnalyticsSettings = AnalyticsSettings()


EpisodeKey: TypeAlias = tuple[str, str, Ns]
"""Rule, scope and opening time: by these an episode of another pass is the same one."""
Watch: TypeAlias = tuple[str, str]
"""Rule and scope."""


class Replay:
    """A recording, its player, and the engine of the pass that runs. A seek makes a new engine; its alerts start at 1 again.

    What the user has acknowledged or muted is kept here, over all passes. Muting keeps no episode from being made or exported.

    Args:
        heard: gets every alert event of the engine after it is in `alerts`.
    """

    def __init__(
        self,
        recording: Recording,
        settings: AnalyticsSettings,
        rules: tuple[Rule, ...] = DEFAULT_RULES,
        journal: Journal | None = None,
        heard: Callable[[AlertEvent], object] = lambda _event: None,
    ) -> None:
        self.settings = settings
        self.rules = rules
        self.journal = journal
        self.heard = heard
        self.alerts: dict[int, Alert] = {}
        """Episodes of this pass by number, as they stand."""
        self.muted: dict[Watch, Ns] = {}
        """What is muted → until when; what has run out is taken out by `expire`."""
        self.version = 0
        """Grows with every change of `alerts` and `muted`."""
        self.engine: Engine
        self._acked: dict[EpisodeKey, Ns] = {}
        self._logged: dict[EpisodeKey, int] = {}
        if journal is not None:
            end_what_is_open(journal)
        self.player = Player(recording, self._build)

    def play(self, at: Ns, stop: Callable[[], bool] | None = None) -> int:
        """Play up to `at`, in slices if `stop` says so (`Player.until`). The engine is told of the end, once a pass."""
        count = self.player.until(at, stop)
        self._end()
        return count

    def run(self, speed: float, progress: Callable[[float], object] | None = None) -> None:
        """Play to the end at `speed` times real time; `progress` hears the share done."""
        player, recording = self.player, self.player.recording
        span = max(recording.end_ns - recording.start_ns, 1)
        if speed == inf:
            step = max(span // 100, SECOND)
            while not player.finished:
                self.play(player.now_ns + step)
                if progress is not None:
                    progress(min((player.now_ns - recording.start_ns) / span, 1.0))
        else:
            player.speed = speed
            last = time.monotonic_ns()
            while not player.finished:
                time.sleep(PACE_S)
                now = time.monotonic_ns()
                player.pace(now - last)
                last = now
                if progress is not None:
                    progress(min((player.now_ns - recording.start_ns) / span, 1.0))
        self._end()

    def ack(self, seq: int, now: Ns) -> Alert | None:
        """The user has seen the episode: it is marked, once, and so are its later events and its like in later passes.

        Returns:
            The episode as it stands; None when this pass has none of that number.
        """
        alert = self.alerts.get(seq)
        if alert is None or alert.acked_ns:
            return alert
        if self.engine.alerts.ack(seq, now) is None:  # its watch has a later one, and forgot it
            self._on_alert(AlertEvent(AlertKind.ACK, structs.replace(alert, acked_ns=now), now))
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

    def _build(self) -> Hub:
        self.alerts = {}
        self.version += 1
        self.engine = Engine(
            self.settings,
            self.rules,
            emit=self._on_alert,
            position=self._position,
        )
        self._ended = False
        return Hub(VENUES, self.engine)

    def _end(self) -> None:
        if self.player.finished and not self._ended:
            self._ended = True
            self.engine.finish(self.engine.now_ns)

    def _position(self) -> int:
        """Records handed on before now; 0 after a seek, where they are not counted from the recording's start."""
        return 0 if self.player.begun_ns else self.player.position

    def _on_alert(self, event: AlertEvent) -> None:
        alert = event.alert
        key = (alert.rule, alert.scope, alert.opened_ns)
        self._log(event)
        self.alerts[alert.seq] = alert
        self.version += 1
        if alert.acked_ns:
            self._acked[key] = alert.acked_ns
        self.heard(event)
        if event.kind is AlertKind.FIRE and key in self._acked:
            self.engine.alerts.ack(alert.seq, self._acked[key])

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


def replay_headless(options: ReplayOptions, progress: Callable[[float], object] | None = None) -> Report:
    """Run a recording through the whole path and report on it.

    Raises:
        InputError: the path is no recording, the time is not in it, or the export cannot be written there.
    """
    recording = Recording(options.path)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(options.state / "alerts")) if options.state is not None else None
        replay = Replay(recording, options.settings, options.rules, journal)
        if options.at is not None:
            replay.player.seek(moment(options.at, recording))
        replay.run(options.speed, progress)
        if options.export is not None:
            export([replay.alerts[seq] for seq in sorted(replay.alerts)], options.export)
        stack.close()
        player = replay.player
        return make_report(
            recording,
            player.hub,
            replay.engine,
            player.position,
            list(replay.alerts.values()),
            from_ns=player.begun_ns,
            said=[*journal.messages, *([f"alert log: {journal.state}"] if journal.state else [])] if journal is not None else [],
            lost=journal.lost if journal is not None else 0,
        )


def end_what_is_open(journal: Journal) -> None:
    """Close what an earlier run left open, at the last moment it knew of: another recording does not go on with it."""
    for alert in journal.open_alerts():
        ended = structs.replace(
            alert, state=AlertState.RESOLVED, closed_ns=max(alert.opened_ns, alert.peak_ns), quality="shutdown"
        )
        journal.append(AlertEvent(AlertKind.RESOLVE, ended, ended.closed_ns))


def moment(text: str, recording: Recording) -> Ns:
    """A time in a recording from `2024-08-08T23:58:00Z` or `+90` (seconds from its start), as ns UTC."""
    try:
        at = recording.start_ns + int(float(text[1:]) * SECOND) if text.startswith("+") else iso_ns(text)
    except (ValueError, OverflowError):
        raise InputError(f"--at {text!r} is no time: write 2024-08-08T23:58:00Z, or +90 for 90 s after the start") from None
    if recording.start_ns - MS < at < recording.start_ns:
        at = recording.start_ns  # the start as reports print it, which is cut to ms
    if not recording.start_ns <= at <= recording.end_ns:
        first, last = utc(recording.start_ns), utc(recording.end_ns)
        raise InputError(f"--at {text} lies outside the recording, which runs from {first} to {last}")
    return at


def iso_ns(text: str) -> Ns:
    """An ISO 8601 time, UTC where it states no offset, as ns UTC. Raises ValueError or OverflowError for what is none."""
    when = datetime.fromisoformat(text)
    since = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, UTC)
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds * 1_000
