"""Format D, raw: a venue's own messages as Tardis kept them, `{"localTimestamp": "...", "message": ...}` a line.

The venues' own adapters read them. The lines of tardis-machine's `/replay` do not say whose they are: a line that arbtop fetched
has an `exchange` first (`feeds.machine`), of any other the message's own form tells the venue, and `--market` the market where
names do not. A blank line stands for a lost connection; tardis-machine writes it up to 31 lines early (its buffer), so a book may
be empty a little longer than it was. Binance's REST snapshots are messages of a channel that Tardis made up, `depthSnapshot`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.importers.lines import CONNECT, FRAME, REST, Damage, Item, all_lines_of
from feeds.importers.places import RAW_SCHEME
from feeds.model import Ns
from feeds.text import clean_text
from feeds.venues import tardis

FORMS: Final[Mapping[str, str]] = {
    "table": "bitmex",
    "info": "bitmex",
    "subscribe": "bitmex",
    "jsonrpc": "deribit",
    "arg": "okex",
    "event": "okex",
    "topic": "bybit",
    "op": "bybit",
    "stream": "binance",
}
"""A field that only one venue's messages have -> an exchange of that venue. The first that a message has counts."""
SNAPSHOT: Final = "@depthSnapshot"
SNAPSHOT_URL: Final[Mapping[str, str]] = {
    "binance": "https://api.binance.com/api/v3/depth?symbol=",
    "binance-futures": "https://fapi.binance.com/fapi/v1/depth?symbol=",
    "binance-delivery": "https://dapi.binance.com/dapi/v1/depth?symbol=",
}


ABSENT: Final = msgspec.Raw()


class _Line(Struct, gc=False):
    localTimestamp: tardis.Instant
    message: msgspec.Raw
    exchange: str = ""


class _Message(Struct, gc=False):
    """What tells whose a message is; no more of it is read here."""

    table: msgspec.Raw = ABSENT
    info: msgspec.Raw = ABSENT
    subscribe: msgspec.Raw = ABSENT
    jsonrpc: msgspec.Raw = ABSENT
    arg: msgspec.Raw = ABSENT
    event: msgspec.Raw = ABSENT
    topic: str = ""
    op: msgspec.Raw = ABSENT
    stream: str = ""
    data: msgspec.Raw = ABSENT


_line = msgspec.json.Decoder(_Line).decode
_message = msgspec.json.Decoder(_Message).decode


def items(path: Path, damage: Damage, progress: Callable[[int], object]) -> Iterator[Item]:
    """What the file holds, in its order. Bad lines are left out and named."""
    places: dict[str, str] = {}
    """Place -> the same, in order of appearance."""
    told = ""
    last: Ns = 0
    for number, text in all_lines_of(path, damage, progress):
        if not text or text.isspace():
            for place in places:
                yield Item(last, number, CONNECT, place, place, b"")
            continue
        try:
            line = _line(text)
            at, message = tardis.ns_of(line.localTimestamp), _message(line.message)
        except (*DECODE_ERRORS, BadFrame):
            damage.line(path, number, "it is no whole message of a venue with its time")
            continue
        exchange = line.exchange or told or _form(message)
        if not line.exchange:
            told = exchange
        if exchange not in tardis.EXCHANGES:
            what = f"its exchange {clean_text(exchange)} is none that arbtop knows" if exchange else "it does not tell its venue"
            damage.line(path, number, what)
            continue
        last = at
        market = _market(exchange, message, known=bool(line.exchange))
        if market is None:  # of all markets, and data of none
            continue
        place = f"{RAW_SCHEME}://{exchange}/{market}"
        if message.stream.endswith(SNAPSHOT) and message.data:
            symbol = message.stream.removesuffix(SNAPSHOT).upper()
            yield Item(
                at, number, REST, "", f"{SNAPSHOT_URL.get(exchange, SNAPSHOT_URL['binance'])}{symbol}", bytes(message.data)
            )
            continue
        places.setdefault(place, place)
        yield Item(at, number, FRAME, place, place, bytes(line.message))


def _form(message: _Message) -> str:
    return next((exchange for field, exchange in FORMS.items() if getattr(message, field)), "")


def _market(exchange: str, message: _Message, known: bool) -> str | None:
    """The market of a message; empty where nothing tells it. None for one of Bybit's that is about no symbol.

    `known`: the exchange is stated. Else Binance's form is that of its three markets.
    """
    venue, market = tardis.EXCHANGES[exchange]
    if market:
        return market if known or venue != "BINANCE" else ""
    if not message.topic:
        return None
    found = tardis.place_of(exchange, message.topic.rpartition(".")[2])
    return found[1] if found is not None else None
