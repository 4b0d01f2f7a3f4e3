"""Format C: cryptofeed's capture since version 3. JSON lines: `t` is header, http, connect, send or recv; `data` holds the text.

Connections follow each other in the file rather than being mixed by time, so it is sorted before use.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from feeds.errors import DECODE_ERRORS
from feeds.importers.lines import (
    CONNECT,
    EARLIEST_NS,
    FRAME,
    LATEST_NS,
    REST,
    SENT,
    Damage,
    Item,
    is_message,
    lines_of,
    seconds_ns,
)

HEADER: Final = "header"
_KINDS = {"http": REST, "connect": CONNECT, "send": SENT, "recv": FRAME}


class _Line(Struct, gc=False):
    t: str
    conn: str = ""
    ts: msgspec.Raw = msgspec.Raw(b"")
    addr: str = ""
    url: str = ""
    data: str = ""


_line = msgspec.json.Decoder(_Line).decode


def items(path: Path, damage: Damage, progress: Callable[[int], object]) -> Iterator[Item]:
    """What the file holds, in its order. Bad lines are left out and named."""
    urls: dict[str, str] = {}
    for number, text in lines_of(path, damage, progress):
        try:
            line = _line(text)
        except DECODE_ERRORS:
            damage.line(path, number, "it is no whole JSON object of a capture")
            continue
        if line.t == HEADER:
            continue
        kind = _KINDS.get(line.t)
        at = seconds_ns(bytes(line.ts))
        if kind is None or at is None or not EARLIEST_NS <= at < LATEST_NS:
            damage.line(path, number, "its type or its time is damaged")
            continue
        if line.addr:
            urls[line.conn] = line.addr
        data = line.data.encode("utf-8", "replace")
        if kind in (FRAME, REST) and not is_message(data):
            damage.line(path, number, "its message is damaged")
            continue
        if kind == FRAME and line.conn not in urls:
            damage.line(path, number, "no line before it names the connection's address")
            continue
        yield Item(at, number, kind, "" if kind == REST else line.conn, line.url or urls.get(line.conn, ""), data)
