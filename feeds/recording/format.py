"""The words of the recording format: the record, its kinds, and the typed payloads of those that are JSON.

Not here: files (`writer`, `reader`). Source: DESIGN 3 "Recording".
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from feeds.errors import ArbtopError
from feeds.health import Probe
from feeds.model import Channel, Instrument, InstrumentId, Ns, Stream, VenueId
from feeds.venue import Checkpoint, Plan

VERSION: Final = 1
SIGNATURE: Final = b"arbtop-recording"
NO_CONN: Final = "-"
"""The connection token of a record that belongs to none."""

OPEN, CLOSE, TEXT, BINARY, ANSWER, INSTRUMENTS, PROBE, USER, CHECKPOINT = "o", "c", "t", "b", "h", "i", "k", "u", "s"
HEAD_KINDS: Final = frozenset({INSTRUMENTS, OPEN, CHECKPOINT})
"""What a segment's head is made of."""
TOLD_KINDS: Final = frozenset({INSTRUMENTS, OPEN, CLOSE})
"""What a segment's index repeats: without these, nothing that is left of a damaged segment can be used."""


class Record(NamedTuple):
    """One thing that happened. `recv_ns` is UTC receive time and never falls; `payload` is the frame or the JSON of its kind."""

    recv_ns: Ns
    kind: str
    conn: str
    payload: bytes


HeadLine: TypeAlias = tuple[str, str, bytes]
"""(kind, conn, payload) of a restating line; its time is the segment's."""


class RecordingFailed(ArbtopError):  # noqa: N818 - a state that is shown, never raised at the caller of `write`
    """The disk refused: from here on nothing is recorded. What was written before is whole."""


class Header(Struct, frozen=True, kw_only=True):
    """Line 2 of every segment."""

    start_wall_ns: Ns
    """Receive time at which the recording process, or the imported capture, began."""
    start_monotonic_ns: int = 0
    version: str = ""
    """Of the program that wrote it."""
    config_hash: str = ""
    source: str = ""
    head: int = 0
    """How many restating lines follow in this segment."""


class Opened(Struct, frozen=True):
    """Kind `o`: a connection is up. `subscriptions` are (instrument id, channel)."""

    venue: VenueId
    market: str
    url: str
    subscriptions: list[tuple[InstrumentId, str]]

    def plan(self) -> Plan:
        """The same as a session takes it. A channel of a later version is left out."""
        streams = tuple(Stream(name, _CHANNELS[channel]) for name, channel in self.subscriptions if channel in _CHANNELS)
        return Plan(self.venue, self.market, self.url, streams)

    @classmethod
    def of(cls, plan: Plan) -> "Opened":
        return cls(plan.venue, plan.market, plan.url, [(stream.instrument, str(stream.channel)) for stream in plan.streams])


ENDED = 0
"""Code of a connection given up on purpose: the source ended, or nobody wants it any more."""
LOST = 1006
"""The websocket's code for a connection that broke without a goodbye."""


class Closed(Struct, frozen=True):
    """Kind `c`: a connection is gone. `code` is the websocket's, `ENDED` where it was given up on purpose."""

    code: int = ENDED
    reason: str = ""


class Answer(Struct, frozen=True):
    """Kind `h`: a REST answer. `key` pairs it with the session's `Fetch`; `path` is empty where a capture does not say."""

    key: str
    path: str
    status: int
    body: str


class UserAct(Struct, frozen=True, omit_defaults=True):
    """Kind `u`: something the user did, or that befell the program, that changed what is computed.

    `resync` fetches the book of `instrument` anew; `end` ends the recording; `stall` says that nothing was looked at from the
    record's time to `until_ns`, though the venues went on.
    """

    act: str
    instrument: InstrumentId = ""
    until_ns: Ns = 0


_CHANNELS: Mapping[str, Channel] = {str(channel): channel for channel in Channel}

encode = msgspec.json.encode
_DECODERS: Mapping[str, Callable[[bytes], object]] = {
    OPEN: msgspec.json.Decoder(Opened).decode,
    CLOSE: msgspec.json.Decoder(Closed).decode,
    ANSWER: msgspec.json.Decoder(Answer).decode,
    INSTRUMENTS: msgspec.json.Decoder(list[Instrument]).decode,
    PROBE: msgspec.json.Decoder(Probe).decode,
    USER: msgspec.json.Decoder(UserAct).decode,
    CHECKPOINT: msgspec.json.Decoder(Checkpoint).decode,
}
JSON_KINDS: Final = frozenset(_DECODERS)


def is_token(conn: str) -> bool:
    """Whether a connection can have this name."""
    return 0 < len(conn) <= 64 and conn.isascii() and conn.isprintable() and " " not in conn


def decode(kind: str, payload: bytes) -> object:
    """The typed value of a JSON kind. Raises one of `feeds.errors.DECODE_ERRORS`; `KeyError` for a frame kind."""
    return _DECODERS[kind](payload)
