"""What kind of recording a file is, told by how its text begins, never by its name.

Not here: reading any of them (`feeds.recording`, `feeds.importers`). The formats of others are described with the public captures
they were learned from: hftbacktest's collector, cryptofeed's raw capture and its version 3, Tardis' normalised and raw lines.
"""

import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

START_BYTES: Final = 64 << 10
GZIP_MAGIC: Final = b"\x1f\x8b"


class Format(Struct, frozen=True):
    """One recorder's format: how it is called in messages, and whether `arbtop import` reads it."""

    name: str
    importable: bool


ARBTOP: Final = Format("an arbtop recording", False)
HFTBACKTEST: Final = Format("a capture of hftbacktest's collector", True)
CRYPTOFEED_RAW: Final = Format("a raw capture of cryptofeed", True)
CRYPTOFEED: Final = Format("a capture of cryptofeed 3", True)
TARDIS: Final = Format("normalised messages of Tardis", True)
TARDIS_RAW: Final = Format("raw messages of Tardis", True)

_BEGINNINGS: Mapping[Format, re.Pattern[bytes]] = {
    ARBTOP: re.compile(rb"arbtop-recording \d"),
    HFTBACKTEST: re.compile(rb'\s*\d{13,19} \{"'),
    CRYPTOFEED_RAW: re.compile(rb"\s*(?:(?:wss?|https?)://\S+ (?:<->|<-|->) \d|\d{9,10}(?:\.\d+)?: [{\[]|configuration: \{)"),
    CRYPTOFEED: re.compile(rb'\s*\{"t": ?"(?:header|http|connect|send|recv)"'),
    TARDIS_RAW: re.compile(rb'\s*\{(?:"exchange": ?"[^"\n]*", ?)?"localTimestamp": ?"[^"\n]*", ?"message": ?'),
    TARDIS: re.compile(rb'\s*\{[^\n]{0,60000}"localTimestamp": ?"'),
}


def format_of(path: Path) -> Format | None:
    """The format of a file, plain or gzip; None for anything else. Raises `OSError`."""
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    if start.startswith(GZIP_MAGIC):
        try:
            start = zlib.decompressobj(31).decompress(start, START_BYTES)
        except zlib.error:
            return None
    return next((form for form, beginning in _BEGINNINGS.items() if beginning.match(start)), None)
