"""A live run without a terminal: engine, alert log, feeds and recording wired together. Screens, `watch` and `record` sit on it.

It is the screens' source. Not here: which venues and instruments (`tui/config.py`, `tui/watching.py`), sockets (`feeds.live`).
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from types import MappingProxyType
from typing import Final

from msgspec import structs

from analytics.alert import Alert, AlertEvent, AlertKind, AlertState
from analytics.alerts import DEFAULT_RULES, Rule
from analytics.engine import Engine
from analytics.settings import AnalyticsSettings
from analytics.snapshot import Snapshot
from feeds.clock import NEVER
from feeds.links import FeedsView
from feeds.live import Live
from feeds.model import LinkState, Ns, VenueId
from feeds.text import clean_text
from feeds.venue import Venue
from feeds.wire import Library
from tui.episodes import Episodes
from tui.journal import Journal
from tui.source import LiveStatus
from tui.triggers import Triggers
from tui.watching import Watch, chosen

CHORES_S: Final = 1.0
ALERTS_KEPT: Final = 5_000


class LiveRun:
    """One live run.

    Args:
        venues: by id, knowing where they are.
        markets: which of each venue's markets are used.
        journal: where alerts are logged, whose numbers and open alerts go on; None logs nothing.
        demo: the venues are the simulator's.
    """

    def __init__(
        self,
        settings: AnalyticsSettings,
        venues: Mapping[VenueId, Venue],
        markets: Mapping[VenueId, Sequence[str]],
        watch: Watch,
        *,
        rules: tuple[Rule, ...] = DEFAULT_RULES,
        journal: Journal | None = None,
        demo: bool = False,
        chosen_library: Library | None = None,
        proxy: str | None = None,
        rng: random.Random | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.episodes = Episodes(journal, self._heard, ALERTS_KEPT)
        resumed = journal.open_alerts() if journal is not None else ()
        self.engine = Engine(
            settings,
            rules,
            emit=self.episodes.on_alert,
            position=self._position,
            first_seq=journal.next_seq if journal is not None else 1,
            resume=resumed,
        )
        self.episodes.serve(self.engine, resumed)
        self._triggers = Triggers()
        self.heard: Callable[[AlertEvent], object] = lambda _event: None
        """Gets every alert event after the run has taken it in."""
        self._demo = demo
        self.live = Live(
            venues,
            self.engine,
            lambda listed: chosen(listed, watch),
            markets=markets,
            chosen=chosen_library,
            proxy=proxy,
            rng=rng,
            ca_file=ca_file,
        )

    # -- what the screens read ---------------------------------------------------------------------------------------------

    @property
    def alerts(self) -> Mapping[int, Alert]:
        return MappingProxyType(self.episodes.alerts)

    @property
    def triggers(self) -> Mapping[int, Snapshot]:
        return MappingProxyType(self._triggers.kept)

    @property
    def muted(self) -> Mapping[tuple[str, str], Ns]:
        return MappingProxyType(self.episodes.muted)

    @property
    def version(self) -> int:
        return self.episodes.version

    @property
    def busy(self) -> bool:
        return False

    @property
    def now_ns(self) -> Ns:
        """Of the last boundary; before the first record, the clock."""
        return self.engine.now_ns or self.live.stamp()

    @property
    def status(self) -> LiveStatus:
        live = self.live
        states = [link.state for link in live.links.values()]
        return LiveStatus(
            now_ns=self.now_ns,
            demo=self._demo,
            recording=clean_text(str(live.recorder.directory), 500) if live.recorder is not None else "",
            trouble=self._trouble(),
            links=len(live.links),
            up=sum(state is LinkState.READY for state in states),
            unlisted=tuple(f"{venue} {market}: no instruments: {why}" for (venue, market), why in live.trouble.items()),
        )

    def feeds(self) -> FeedsView:
        return self.live.view()

    # -- what the user does ------------------------------------------------------------------------------------------------

    def ack(self, seq: int) -> Alert | None:
        return self.episodes.ack(seq, self.now_ns)

    def mute(self, rule: str, scope: str, for_ns: Ns | None = None) -> None:
        now = self.now_ns
        self.episodes.mute(rule, scope, NEVER if for_ns is None else now + for_ns, now)

    def unmute(self, rule: str, scope: str) -> None:
        self.episodes.unmute(rule, scope, self.now_ns)

    def reset_worst(self) -> None:
        """Nothing is measured here: data that waited while the program was away is late by the venue's own time."""

    def record(self, directory: Path) -> None:
        """Record from now on. Raises InputError."""
        self.live.record(directory, version_of("arbtop"))

    # -- life --------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled or stopped. What is open then ends as `shutdown`; alerts stay open in the log."""
        chores = asyncio.create_task(self._chores())
        try:
            await self.live.run()
        finally:
            chores.cancel()
            await asyncio.gather(chores, return_exceptions=True)
            self.engine.finish(self.engine.now_ns)

    def stop(self) -> None:
        self.live.stop()

    async def _chores(self) -> None:
        every = {(name, market) for name, markets in self.live.markets.items() for market in markets} - self.live.shut.keys()
        waiting = bool(self.alerts)
        while True:
            await asyncio.sleep(CHORES_S)
            if waiting and every <= self.live.listed:
                waiting = False
                self._end_gone()
            self.episodes.expire(self.now_ns)
            if self.episodes.journal is not None:
                self.episodes.journal.retry(self.now_ns)

    def _end_gone(self) -> None:
        """Alerts of the last run end whose market is listed no more, or whose rule there is no more."""
        self.engine.end_gone()
        rules = {rule.id for rule in self.engine.alerts.rules}
        for alert in list(self.alerts.values()):
            if alert.state is AlertState.FIRING and alert.rule not in rules:
                ended = structs.replace(alert, state=AlertState.RESOLVED, closed_ns=self.now_ns, quality="gone")
                self.episodes.on_alert(AlertEvent(AlertKind.RESOLVE, ended, self.now_ns))

    def _heard(self, event: AlertEvent) -> None:
        self._triggers.hear(event, self.engine)
        self.heard(event)

    def _position(self) -> int:
        return self.live.records

    def _trouble(self) -> str:
        journal, recorder = self.episodes.journal, self.live.recorder
        said = [journal.state] if journal is not None and journal.state else []
        if recorder is not None and recorder.failure is not None:
            said.append("RECORDING STOPPED")
        return ", ".join(said)
