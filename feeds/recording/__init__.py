"""The recording format: what a recording is made of, how it is written, how it is read back (DESIGN 3 "Recording").

A recording is a directory of segments `000001.log`, `000002.log`, ... A segment is text:

    arbtop-recording 1
    {"start_wall_ns": ..., "head": 3, ...}
    <recv_ns> <kind> <conn> <payload>
    ...

The first `head` lines after the header restate the present (instruments, open connections, books), so that a segment can be read
alone. A finished segment is gzip, one member a MiB of text, each ending at a line end, beside an index `000001.idx`: a JSON list
of [time of the first line, byte] for each member, then of [time, kind, conn, payload] for each line of kind `i`, `o` and `c`.
"""

from feeds.recording.format import (
    ENDED,
    LOST,
    Answer,
    Closed,
    Header,
    HeadLine,
    Opened,
    Record,
    RecordingFailed,
    UserAct,
    decode,
    encode,
)
from feeds.recording.reader import Recording
from feeds.recording.segments import Segment
from feeds.recording.writer import RecordingWriter

__all__ = [
    "ENDED",
    "LOST",
    "Answer",
    "Closed",
    "HeadLine",
    "Header",
    "Opened",
    "Record",
    "Recording",
    "RecordingFailed",
    "RecordingWriter",
    "Segment",
    "UserAct",
    "decode",
    "encode",
]
