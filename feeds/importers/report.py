"""What an import did, as values: for the command line to print."""

from pathlib import Path

from msgspec import Struct

from feeds.model import Instrument, Ns, Stream, VenueId


class StreamCount(Struct, frozen=True):
    """Frames of one topic on one connection. `topic` is empty for acknowledgements; `stream` None where nothing here reads it."""

    conn: str
    topic: str
    stream: Stream | None
    frames: int


class ConnectionReport(Struct, frozen=True):
    conn: str
    venue: VenueId
    market: str
    url: str
    files: tuple[str, ...]
    frames: int
    start_ns: Ns
    end_ns: Ns


class ImportReport(Struct, frozen=True):
    """`damage` names what was left out, `notes` what the user should know of what was kept."""

    directory: Path
    connections: tuple[ConnectionReport, ...]
    streams: tuple[StreamCount, ...]
    instruments: tuple[Instrument, ...]
    answers: int
    """REST answers, instrument lists among them."""
    damage: tuple[str, ...]
    notes: tuple[str, ...]
    start_ns: Ns
    end_ns: Ns
    bytes: int
    """Text written, before compression."""

    @property
    def frames(self) -> int:
        return sum(connection.frames for connection in self.connections)
