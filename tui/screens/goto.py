"""What the line says on which a time is typed."""

from feeds.model import SECOND
from tui.formats import clock
from tui.playback import PlaybackStatus


def goto_label(status: PlaybackStatus) -> str:
    first, last = clock(status.start_ns, 0), clock(status.end_ns + SECOND - 1, 0)
    return f"go to ({first} to {last}, +90, −10, #alert, start, end): "
