"""Format B: cryptofeed's raw capture. Plain lines, one file a connection, REST answers in files of their own.

`<url> <-> <epoch s>` a connection is up; `<epoch s>: <message>` a message on it; `<url> <- <epoch s>: <text>` what was sent;
`<url> -> <epoch s>: <body>` a REST answer; `configuration: <json>` ends a REST file.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from feeds.importers.lines import CONNECT, FRAME, REST, SENT, Damage, Item, is_message, lines_of, seconds_ns

_MARKED = re.compile(rb"((?:wss?|https?)://\S+) (<->|<-|->) ([\d.]+)(?:: ?(.*))?", re.DOTALL)
_CONFIGURATION = b"configuration:"
_KINDS = {b"<->": CONNECT, b"<-": SENT, b"->": REST}


def items(path: Path, damage: Damage, progress: Callable[[int], object]) -> Iterator[Item]:
    """What the file holds, in its order. Bad lines are left out and named."""
    url = ""
    for number, line in lines_of(path, damage, progress):
        if line.startswith(_CONFIGURATION):
            continue
        marked = _MARKED.fullmatch(line.rstrip())
        if marked is not None:
            at = seconds_ns(marked[3])
            kind = _KINDS[marked[2]]
            where = marked[1].decode("ascii", "replace")
            text = marked[4] or b""
            if at is None or (kind == REST and not is_message(text)):
                damage.line(path, number, "its time or its body is damaged")
                continue
            if kind != REST:
                url = where
            yield Item(at, number, kind, "" if kind == REST else url, where, text)
            continue
        stamp, colon, text = line.partition(b": ")
        at = seconds_ns(stamp)
        if at is None or not colon or not is_message(text):
            damage.line(path, number, "it is not `<epoch seconds>: <JSON message>`")
            continue
        if not url:
            damage.line(path, number, "no line before it names the connection's URL")
            continue
        yield Item(at, number, FRAME, url, url, text)
