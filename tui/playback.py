"""Drives a replay for the screens: hands on what has become due, in slices short enough for the event loop, and goes to a time.

It is the screens' source, and stops before the closes that end a recording, so that its last instant can be studied. Real time is
an argument and every call works within a budget, so nothing here blocks or sleeps; the slices change nothing of what is computed
(`feeds.replay.Player`). Going back plays again from the recording's start: the same statistics, the same alert numbers. Not here:
drawing, files, the wall clock.
"""

import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from analytics.alert import Alert, AlertEvent
from analytics.engine import Engine
from analytics.snapshot import Snapshot
from feeds.clock import BOUNDARY_NS, NEVER
from feeds.errors import InputError
from feeds.hub import Connection
from feeds.links import ClockView, FeedsView, LinkView
from feeds.model import MS, SECOND, Ns, Stream
from feeds.session import BookSession
from feeds.text import clean_text
from feeds.wire import host_of
from tui.report import utc
from tui.session import Replay, iso_ns
from tui.triggers import Triggers

BUDGET_NS: Final = 8 * MS
HURRIED_NS: Final = 30 * MS
"""The budget of a call while it goes to a time, or falls behind a speed: most of the loop's time, and keys are still heard."""
REACHED_OVER_NS: Final = 2 * SECOND
"""Real time over which the speed is measured."""
REACHED: Final = 0.9
"""A share of the asked speed from which on it counts as reached."""
SPEEDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 100.0, inf)
"""Times real time; the last is as quickly as it goes."""
GAP_NS: Final = SECOND
"""A call that comes later than this after the last one was suspended, or its loop stalled: that time is not made up."""
FAR_NS: Final = 900 * SECOND
"""A way longer than this is not played in full: what is warm after it is taken for warm."""
BACK_NS: Final = SECOND
BEFORE_ALERT_NS: Final = SECOND
LONGEST_NUMBER: Final = 16
DAY_NS: Final = 86_400 * SECOND


class PlaybackStatus(Struct, frozen=True, kw_only=True):
    """What the replay bar shows. Times are recorded UTC ns; `share` is of the recorded time that lies behind."""

    now_ns: Ns
    start_ns: Ns
    end_ns: Ns
    share: float
    speed: float
    """Times real time; `inf` as quickly as it goes."""
    paused: bool
    finished: bool
    seeking: float | None
    """Share of the way to a time that is being gone to; None when none is."""
    exact: bool
    """This pass began at the recording's start: alert numbers and statistics are those of an uninterrupted replay."""
    position: int
    """Records handed on in this pass."""
    source: str
    damage: str
    """What of the recording is lost so far, in one line; empty when nothing is."""
    reached: float | None = None
    """Times real time that it really goes, where that is less than `speed`; None where it is not."""


class Playback:
    """One replay, as screens see and control it.

    Args:
        replay: at its beginning; from now on only the playback plays it.
        speed: times real time, to begin with.
        clock: monotonic ns; the same that `advance` is called with.
        far_ns: the longest way that is played in full.
    """

    def __init__(
        self,
        replay: Replay,
        speed: float = 1.0,
        clock: Callable[[], int] = time.monotonic_ns,
        far_ns: Ns = FAR_NS,
    ) -> None:
        self._replay = replay
        self._clock = clock
        self._far_ns = far_ns
        self.start_ns = replay.player.recording.start_ns
        self.end_ns = replay.player.recording.end_ns
        self._name = clean_text(replay.player.recording.path.name)
        self.speed = speed
        self.paused = False
        self.late_ns = 0
        """How late the last record was handed on, against when its time had come at this speed. 0 at `inf` and on the way."""
        self.worst_late_ns = 0
        """The worst of these since `reset_worst`."""
        self._called_ns: int | None = None
        """Real time of the last call of `advance`, while playing."""
        self._from_real_ns = 0
        self._from_ns: Ns = 0
        """The pair of real and recorded time from which is counted what is due."""
        self._target_ns: Ns | None = None
        self._way_from_ns: Ns = 0
        self._reached: deque[tuple[int, Ns]] = deque()
        """Real and recorded time of the last calls, while playing."""
        self._triggers = Triggers()
        self._left: tuple[Mapping[int, Alert], Mapping[int, Snapshot], int] | None = None
        """On the way, alerts, triggers and version of where it began."""
        replay.episodes.heard = self._heard
        replay.player.stays_open = True

    # -- what the screens read ---------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """Of the current pass. While `busy` its figures are of the way: screens keep what they show."""
        return self._replay.engine

    @property
    def alerts(self) -> Mapping[int, Alert]:
        """Episodes of this pass by number; on the way those of where it began."""
        return MappingProxyType(self._replay.episodes.alerts) if self._left is None else self._left[0]

    @property
    def triggers(self) -> Mapping[int, Snapshot]:
        """Books and figures of an alert's legs, and its route, at the boundary at which it fired; of the newest ones."""
        return MappingProxyType(self._triggers.kept) if self._left is None else self._left[1]

    @property
    def muted(self) -> Mapping[tuple[str, str], Ns]:
        """(rule, scope) → until when."""
        return MappingProxyType(self._replay.episodes.muted)

    @property
    def version(self) -> int:
        """Differs whenever `alerts` or `muted` do."""
        return self._replay.episodes.version if self._left is None else self._left[2]

    @property
    def busy(self) -> bool:
        """It is on the way to another time."""
        return self._target_ns is not None

    @property
    def status(self) -> PlaybackStatus:
        player = self._replay.player
        damage = player.recording.damage
        more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
        return PlaybackStatus(
            now_ns=player.now_ns,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            share=_share(player.now_ns - self.start_ns, self.end_ns - self.start_ns),
            speed=self.speed,
            paused=self.paused,
            finished=player.finished,
            seeking=None
            if self._target_ns is None
            else _share(player.now_ns - self._way_from_ns, self._target_ns - self._way_from_ns),
            exact=not player.begun_ns,
            position=player.position,
            source=self._name,
            damage=clean_text(damage[0], 200) + more if damage else "",
            reached=self._speed_reached(),
        )

    @property
    def hurried(self) -> bool:
        """It wants more than a little of the loop's time: it is on the way, or does not reach a speed above real time."""
        behind = self.speed == inf or (self.speed > 1.0 and self._replay.player.stopped)
        return self.busy or (behind and not self.paused and not self._replay.player.finished)

    def feeds(self) -> FeedsView:
        """The machinery as far as a recording tells: which connections are open, what was said, clocks where they were measured.

        Not: attempts, budgets, request limits, the messages themselves.
        """
        player = self._replay.player
        hub = player.hub
        estimates = {place: offset.estimate() for place, offset in hub.health.offsets.items()}
        return FeedsView(
            now_ns=player.now_ns,
            links=tuple(_link(connection) for connection in hub.connections.values()),
            clocks={place: ClockView(found[0] / MS, found[1] / MS) for place, found in estimates.items() if found is not None},
            said=tuple(hub.health.said),
            quarantined=hub.quarantined,
            ignored=hub.health.ignored,
        )

    @property
    def carries(self) -> Mapping[str, Sequence[Stream]]:
        """Name of an open connection → its streams."""
        return {name: connection.plan.streams for name, connection in self._replay.player.hub.connections.items()}

    # -- what the user does ------------------------------------------------------------------------------------------------

    def toggle(self) -> None:
        """Pause, or play on."""
        self.paused = not self.paused
        self._called_ns = None

    def faster(self) -> None:
        """The next higher of `SPEEDS`."""
        self._set_speed(SPEEDS[min(bisect_right(SPEEDS, self.speed), len(SPEEDS) - 1)])

    def slower(self) -> None:
        """The next lower one."""
        self._set_speed(SPEEDS[max(bisect_left(SPEEDS, self.speed) - 1, 0)])

    def forward(self) -> None:
        """On to the next 100 ms boundary, and pause there."""
        self.paused = True
        self._go((self._heading_ns // BOUNDARY_NS + 1) * BOUNDARY_NS)

    def back(self) -> None:
        """A second back, and pause there."""
        self.paused = True
        self._go(max(self._heading_ns - BACK_NS, self.start_ns))

    def goto(self, text: str) -> None:
        """Go to a time; playing or paused as now.

        Args:
            text: a UTC time of day `23:58:12.5`, an ISO time, `+90` or `-10` seconds from now, `#12` for a second before alert 12
                of this pass, `start` or `end`.

        Raises:
            InputError: it is none of these, or not within the recording.
        """
        self._go(self._moment(text.strip()))

    def ack(self, seq: int) -> Alert | None:
        """Mark an episode as seen (`Episodes.ack`); does nothing on the way."""
        return None if self.busy else self._replay.episodes.ack(seq, self._replay.player.now_ns)

    def mute(self, rule: str, scope: str, for_ns: Ns | None = None) -> None:
        """Mute a rule on a scope for so much recorded time, or until it is unmuted."""
        now = self._replay.player.now_ns
        self._replay.episodes.mute(rule, scope, NEVER if for_ns is None else now + for_ns, now)

    def unmute(self, rule: str, scope: str) -> None:
        self._replay.episodes.unmute(rule, scope, self._replay.player.now_ns)

    def close(self) -> None:
        """The user leaves: what ended the recording is handed on if it was reached, so the log says how alerts ended."""
        self._replay.end()

    def reset_worst(self) -> None:
        """Begin to look for the worst lateness anew."""
        self.late_ns = self.worst_late_ns = 0

    # -- what the app's timer does -----------------------------------------------------------------------------------------

    def advance(self, real_ns: int, budget_ns: int = BUDGET_NS) -> None:
        """Hand on what has become due since the last call, for `budget_ns` at most; what is left comes with the next call.

        Args:
            real_ns: now, on the clock of this playback. Called about every 50 ms.
        """
        player = self._replay.player
        deadline = self._clock() + budget_ns
        if self._target_ns is not None:
            self._called_ns = None
            self._replay.play(self._target_ns, lambda: self._clock() >= deadline)
            if not player.stopped:
                self._target_ns = self._left = None
        elif self.paused or player.finished:
            self._called_ns = None
        elif self.speed == inf:
            self._called_ns = None
            self._replay.play(NEVER, lambda: self._clock() >= deadline)
        else:
            self._pace(real_ns, deadline)
        if self.busy or self.paused or player.finished:
            self._reached.clear()
        else:
            self._reached.append((real_ns, player.now_ns))
            while real_ns - self._reached[0][0] > REACHED_OVER_NS:
                self._reached.popleft()
        if not self.busy:
            self._replay.episodes.expire(player.now_ns)

    def _pace(self, real_ns: int, deadline: int) -> None:
        called_ns, self._called_ns = self._called_ns, real_ns
        if called_ns is None:
            self._count_from(real_ns)
            return
        player = self._replay.player
        due_ns = self._from_ns + int((real_ns - self._from_real_ns) * self.speed)
        if player.next_ns <= due_ns:
            self._note(player.next_ns, real_ns)
        if real_ns - called_ns > GAP_NS:
            self._count_from(real_ns)
            return

        noted = player.position

        def note_last() -> int:
            nonlocal noted
            at = self._clock()
            if player.position > noted:
                noted = player.position
                self._note(player.last_ns, at)
            return at

        self._replay.play(due_ns, lambda: note_last() >= deadline)
        note_last()
        if due_ns - player.now_ns > GAP_NS * self.speed:
            self._count_from(real_ns)  # it goes no quicker than this

    def _count_from(self, real_ns: int) -> None:
        self._from_real_ns, self._from_ns = real_ns, self._replay.player.now_ns

    def _note(self, recv_ns: Ns, real_ns: int) -> None:
        due_ns = self._from_real_ns + int((recv_ns - self._from_ns) / self.speed)
        self.late_ns = max(real_ns - due_ns, 0)
        self.worst_late_ns = max(self.worst_late_ns, self.late_ns)

    def _speed_reached(self) -> float | None:
        if not self._reached:
            return None
        (first_real, first), (last_real, last) = self._reached[0], self._reached[-1]
        if last_real - first_real < REACHED_OVER_NS / 4:
            return None
        reached = (last - first) / (last_real - first_real)
        return reached if reached < REACHED * self.speed else None

    def _set_speed(self, speed: float) -> None:
        self._reached.clear()
        self.speed = speed
        self._called_ns = None
        self.late_ns = 0

    # -- going to a time ---------------------------------------------------------------------------------------------------

    @property
    def _heading_ns(self) -> Ns:
        """Where it is, or is going to."""
        return self._replay.player.now_ns if self._target_ns is None else self._target_ns

    def _go(self, target_ns: Ns) -> None:
        """Forward from here where that is near, else anew from the start, or from `far_ns` before where the start is far."""
        player = self._replay.player
        if self._left is None:
            episodes = self._replay.episodes  # copies: on a way forward these go on filling
            self._left = (dict(episodes.alerts), dict(self._triggers.kept), episodes.version)
        ahead = target_ns >= player.now_ns
        begin_ns = player.now_ns if ahead else self.start_ns
        far = target_ns - begin_ns > self._far_ns
        if far or not ahead:
            self._triggers = Triggers()
            player.rewind(target_ns - self._far_ns if far else None)
        self._target_ns = target_ns
        self._way_from_ns = player.now_ns

    def _moment(self, text: str) -> Ns:
        start_ns, end_ns = self.start_ns, self.end_ns
        span = f"the recording runs from {utc(start_ns)} to {utc(end_ns)}"
        shown = clean_text(text, 40)
        if text in ("start", "end"):
            return start_ns if text == "start" else end_ns
        if text.startswith("#"):
            alert = self.alerts.get(int(text[1:])) if text[1:].isdecimal() and len(text) <= LONGEST_NUMBER else None
            if alert is None:
                raise InputError(f"{shown}: no alert of this number so far; there are {len(self.alerts)}, and {span}")
            return max(alert.opened_ns - BEFORE_ALERT_NS, start_ns)
        try:
            if text[:1] in ("+", "-"):
                at = self._heading_ns + int(float(text) * SECOND)
            elif "-" in text or "T" in text:
                at = iso_ns(text)
            else:
                midnight = start_ns - start_ns % DAY_NS
                at = midnight + iso_ns(f"1970-01-01T{text}Z")
                at += DAY_NS if at <= start_ns - SECOND else 0
        except (ValueError, OverflowError):
            forms = "23:58:12, 2024-08-08T23:58:12Z, +90, -10, #12, start or end"
            raise InputError(f"{shown!r} is no time: write {forms}; {span}") from None
        if not start_ns - SECOND < at < end_ns + SECOND:  # the ends as people write them, in whole seconds
            raise InputError(f"{shown} is not in it: {span}")
        return min(max(at, start_ns), end_ns)

    def _heard(self, event: AlertEvent) -> None:
        self._triggers.hear(event, self.engine)


def _link(connection: Connection) -> LinkView:
    plan, session = connection.plan, connection.session
    pulse = session.pulse if isinstance(session, BookSession) else None
    return LinkView(
        slot=connection.name,
        venue=plan.venue,
        market=plan.market,
        host=host_of(plan.url),
        streams=len(plan.streams),
        state=session.link,
        since_ns=pulse.opened_ns if pulse is not None else 0,
        opened_ns=pulse.opened_ns if pulse is not None else 0,
        frames=connection.frames,
        last_ns=pulse.last_ns if pulse is not None and pulse.heard else 0,
    )


def _share(part: int, whole: int) -> float:
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 1.0
