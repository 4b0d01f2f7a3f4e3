"""What one frame is drawn from: a snapshot, the state of the replay, and what the header says. Frozen values.

Every widget of a frame draws from one scene, so no two of them can disagree.
"""

from collections.abc import Mapping

from msgspec import Struct

from analytics.alert import Severity
from analytics.snapshot import Snapshot
from feeds.model import Ns
from tui.playback import PlaybackStatus
from tui.source import LiveStatus
from tui.worklist import Item


class Whose(Struct, frozen=True):
    """Whose fees routes pay: the tier, whether the user has confirmed it, and how many rates are the user's own."""

    tier: str
    confirmed: bool
    own: int


class Held(Struct, frozen=True):
    """The picture is frozen: since when, and what has come meanwhile."""

    since_ns: Ns
    now_ns: Ns
    alerts: int


class Scene(Struct, frozen=True, kw_only=True):
    """One frame's worth."""

    snapshot: Snapshot
    status: PlaybackStatus | LiveStatus
    fees: Whose
    size_usd: float
    """What one leg of a route is worth on the screens."""
    judged_usd: float
    """What it is worth for episodes and alerts: the configuration's."""
    unacked: Mapping[Severity, int]
    """Alerts that nobody has acknowledged."""
    items: tuple[Item, ...]
    """Every episode so far, the newest first."""
    firing: int = 0
    """Alerts that are open, whatever the user has done about them."""
    held: Held | None = None
