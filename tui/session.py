"""Wires hub, engine, journal and export for one run, without a terminal: what headless replay runs, and what screens sit on.

A replay reads and writes nothing of the user's unless it is given a state directory (DESIGN 3).
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from msgspec import Struct, structs

from analytics.alert import AlertEvent, AlertKind, AlertState
from analytics.alerts import DEFAULT_RULES, Rule
from analytics.engine import Engine
from analytics.settings import AnalyticsSettings
from feeds.errors import InputError
from feeds.hub import Hub
from feeds.model import MS, SECOND, Ns
from feeds.recording import Recording
from feeds.replay import Player
from feeds.venues import VENUES
from tui.episodes import Episodes
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


class Replay:
    """A recording, its player, and the engine of the pass that runs. A seek makes a new engine; its alerts start at 1 again.

    What the user has acknowledged or muted is kept in `episodes`, over all passes.
    """

    def __init__(
        self,
        recording: Recording,
        settings: AnalyticsSettings,
        rules: tuple[Rule, ...] = DEFAULT_RULES,
        journal: Journal | None = None,
    ) -> None:
        self.settings = settings
        self.rules = rules
        self.episodes = Episodes(journal)
        self.engine: Engine
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

    def end(self) -> None:
        """Hand on the closes that end the recording, where the player has stopped before them (`Player.stays_open`)."""
        self.player.end()
        self._end()

    def _build(self) -> Hub:
        self.episodes.begin()
        self.engine = Engine(self.settings, self.rules, emit=self.episodes.on_alert, position=self._position)
        self.episodes.serve(self.engine)
        self._ended = False
        return Hub(VENUES, self.engine)

    def _end(self) -> None:
        if self.player.finished and not self._ended and not self.player.stays_open:
            self._ended = True
            self.engine.finish(self.engine.now_ns)

    def _position(self) -> int:
        """Records handed on before now; 0 after a seek, where they are not counted from the recording's start."""
        return 0 if self.player.begun_ns else self.player.position


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
            export([replay.episodes.alerts[seq] for seq in sorted(replay.episodes.alerts)], options.export)
        stack.close()
        player = replay.player
        return make_report(
            recording,
            player.hub,
            replay.engine,
            player.position,
            list(replay.episodes.alerts.values()),
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
