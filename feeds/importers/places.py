"""Which venue and market a URL of a capture belongs to, and which topics a subscription names.

Facts: protocols.md 1.1, 2.1, 3.1, 4.1, 5.1.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from feeds.errors import DECODE_ERRORS
from feeds.model import VenueId
from feeds.venues import tardis

PLACES: tuple[tuple[re.Pattern[str], VenueId, str], ...] = (
    (re.compile(r"(?:stream|api\d?|api-gcp)\.binance\.com|data-(?:stream|api)\.binance\.vision"), "BINANCE", "spot"),
    (re.compile(r"(?:fstream|fapi)\.binance\.com"), "BINANCE", "usdm"),
    (re.compile(r"(?:dstream|dapi)\.binance\.com"), "BINANCE", "coinm"),
    (re.compile(r"stream\.bybit\.com/v5/public/spot"), "BYBIT", "spot"),
    (re.compile(r"stream\.bybit\.com/v5/public/linear"), "BYBIT", "linear"),
    (re.compile(r"stream\.bybit\.com/v5/public/inverse"), "BYBIT", "inverse"),
    (re.compile(r"(?:stream|api)\.(?:bybit|bytick)\.com"), "BYBIT", ""),
    (re.compile(r"\w+\.ok(?:x|ex)\.com"), "OKX", "public"),
    (re.compile(r"\w+\.deribit\.com"), "DERIBIT", "public"),
    (re.compile(r"\w+\.bitmex\.com"), "BITMEX", "public"),
)
"""Host and path -> venue, market; the market is empty where the URL does not tell it."""


RAW_SCHEME: Final = "tardis-raw"
"""Of the URL of a connection whose messages Tardis kept as the venue sent them: `tardis-raw://bitmex/public`."""


class _Params(Struct):
    channels: list[str] = []


class _Arg(Struct):
    """OKX's way to name a topic."""

    channel: str
    instId: str = ""
    instType: str = ""


class _Subscription(Struct):
    params: list[str] | _Params = []
    args: list[str | _Arg] = []


_subscription = msgspec.json.Decoder(_Subscription).decode


def place_of(url: str) -> tuple[VenueId, str] | None:
    """(venue, market) of a websocket or REST URL; None for a host that is not known."""
    parts = urlsplit(url)
    if parts.scheme in (tardis.SCHEME, RAW_SCHEME):
        exchange = tardis.EXCHANGES.get(parts.hostname or "")
        return (exchange[0], parts.path.removeprefix("/")) if exchange is not None else None
    where = f"{parts.hostname or ''}{parts.path}"
    return next(
        (
            (venue, market)
            for pattern, venue, market in PLACES
            if (found := pattern.match(where)) and where[found.end() : found.end() + 1] in ("", "/")
        ),
        None,
    )


def topics_in_url(url: str) -> Iterator[str]:
    """Topics that Binance's combined URL subscribes to."""
    for streams in parse_qs(urlsplit(url).query).get("streams", []):
        yield from filter(None, streams.split("/"))


def topics_sent(text: bytes) -> Iterator[str]:
    """Topics of a subscription message, in the forms of Binance, Bybit, OKX, BitMEX and Deribit; none for anything else."""
    try:
        message = _subscription(text)
    except DECODE_ERRORS:
        return
    yield from message.params.channels if isinstance(message.params, _Params) else message.params
    for arg in message.args:
        yield arg if isinstance(arg, str) else ":".join(filter(None, (arg.channel, arg.instId or arg.instType)))
