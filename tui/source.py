"""What the screens draw from and act on, whatever it is: live feeds or a recording that is played.

A replay offers more (`tui.playback`): it can be paused and taken to a time. Not here: drawing.
"""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from analytics.alert import Alert
from analytics.engine import Engine
from analytics.snapshot import Snapshot
from feeds.links import FeedsView
from feeds.model import Ns
from tui.playback import PlaybackStatus


class LiveStatus(Struct, frozen=True, kw_only=True):
    """What the header shows of a live run."""

    now_ns: Ns
    demo: bool
    recording: str
    """Directory that is recorded into; empty while nothing is."""
    trouble: str
    """What the user must know of log and recording, in a few words; empty when all is well."""
    links: int
    """Connections wanted."""
    up: int
    """Those that carry data."""
    unlisted: tuple[str, ...] = ()
    """A line for each market whose instruments could not be listed so far: which, and why; clean."""
    seeking: None = None
    """A live run is always where it is."""
    damage: str = ""
    exact: bool = True


class Source(Protocol):
    """What every source has."""

    @property
    def engine(self) -> Engine: ...
    @property
    def alerts(self) -> Mapping[int, Alert]: ...
    @property
    def triggers(self) -> Mapping[int, Snapshot]:
        """Books and figures of an alert's legs at the boundary at which it fired."""

    @property
    def muted(self) -> Mapping[tuple[str, str], Ns]: ...
    @property
    def version(self) -> int:
        """Differs whenever `alerts` or `muted` do."""

    @property
    def busy(self) -> bool:
        """It is on the way to another time."""

    @property
    def status(self) -> LiveStatus | PlaybackStatus: ...
    def ack(self, seq: int) -> Alert | None: ...
    def mute(self, rule: str, scope: str, for_ns: Ns | None = None) -> None: ...
    def unmute(self, rule: str, scope: str) -> None: ...
    def reset_worst(self) -> None:
        """The program was away: lateness is measured anew."""

    def feeds(self) -> FeedsView:
        """The machinery."""
