"""Format D: normalised messages of Tardis, one JSON object a line. `localTimestamp` is when a message came to the recorder.

Every exchange becomes a connection of its own; the lines stay as they are, for the session of `feeds.venues.tardis`. They have no
numbers, so after one that cannot be read every connection begins anew: its book may have missed a change, and nothing else would
tell. Not here: the venues' own messages (`tardis_raw`).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.importers.lines import CONNECT, FRAME, Damage, Item, lines_of
from feeds.model import Ns
from feeds.text import clean_text
from feeds.venues import tardis

UNNAMED: Final = frozenset({tardis.DISCONNECTED, "error"})
"""Types of messages that are about a whole exchange."""


def items(path: Path, damage: Damage, progress: Callable[[int], object]) -> Iterator[Item]:
    """What the file holds, in its order. Bad lines are left out and named."""
    places: dict[str, dict[str, None]] = {}
    last: Ns = 0
    for number, line in lines_of(path, damage, progress):
        try:
            head, at = tardis.head_of(line)
        except (*DECODE_ERRORS, BadFrame):
            damage.line(path, number, "it is no whole message of Tardis, so books begin anew with their next snapshot")
            for place in [place for of_exchange in places.values() for place in of_exchange]:
                yield Item(last, number, CONNECT, place, place, b"")
            continue
        last = at
        if head.exchange not in tardis.EXCHANGES:
            damage.line(path, number, f"its exchange {clean_text(head.exchange)} is none that arbtop knows")
            continue
        if head.type in UNNAMED:  # said to each connection that its exchange has here
            for place in places.get(head.exchange, {}):
                yield Item(at, number, FRAME, place, place, line)
            continue
        found = tardis.place_of(head.exchange, head.symbol)
        assert found is not None  # the exchange is known
        place = f"{tardis.SCHEME}://{head.exchange}/{found[1]}"
        places.setdefault(head.exchange, {})[place] = None
        yield Item(at, number, FRAME, place, place, line)
