"""What stood in the books when an alert fired: kept for the newest alerts of a run."""

from typing import Final

from analytics.alert import AlertEvent, AlertKind
from analytics.engine import Engine
from analytics.snapshot import Snapshot, View

TRIGGERS_KEPT: Final = 250
"""One takes about 10 kB."""
TRIGGER_DEPTH: Final = 10


class Triggers:
    """Snapshots of an alert's legs and route at the boundary at which it fired, by its number."""

    def __init__(self) -> None:
        self.kept: dict[int, Snapshot] = {}

    def hear(self, event: AlertEvent, engine: Engine) -> None:
        """An alert event of `engine`."""
        if event.kind is not AlertKind.FIRE:
            return
        alert = event.alert
        legs = tuple(leg.instrument for leg in alert.legs) or (alert.scope,)
        self.kept[alert.seq] = engine.snapshot(View(instruments=legs, depth=TRIGGER_DEPTH, routes=(alert.scope,), pairs=None))
        if len(self.kept) > TRIGGERS_KEPT:
            del self.kept[next(iter(self.kept))]
