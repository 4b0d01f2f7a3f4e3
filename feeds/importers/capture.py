"""Makes a recording of capture files: a survey of all of them first, then one pass that merges them by time.

The survey settles what must stand at the head (instruments, subscriptions) and which files follow each other on one connection;
the merge holds one line a file in memory, except for a file that is not in time order, which is sorted whole. Nothing is written
before the survey is done, so a capture that cannot be used leaves no trace. Not here: what a line of a format means.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from errno import EDQUOT, ENOSPC
from heapq import merge
from pathlib import Path
from typing import Protocol, TypeAlias

from feeds.errors import InputError
from feeds.importers.lines import CONNECT, FRAME, REST
from feeds.importers.report import ConnectionReport, ImportReport, StreamCount
from feeds.importers.survey import Connection, File, Survey
from feeds.model import SECOND, Ns, VenueId
from feeds.recording.format import (
    ANSWER,
    CLOSE,
    ENDED,
    INSTRUMENTS,
    LOST,
    NO_CONN,
    OPEN,
    TEXT,
    Answer,
    Closed,
    Header,
    HeadLine,
    Record,
    RecordingFailed,
    encode,
)
from feeds.recording.writer import SEGMENT_BYTES, RecordingWriter
from feeds.session import SILENCE_MAX_NS
from feeds.text import clean_text
from feeds.venue import Venue
from feeds.venues.tardis import SILENCE_NS

Progress: TypeAlias = Callable[[int, int], object]
"""Told (bytes of capture files read, of how many); every file is read twice."""
_Event: TypeAlias = tuple[Ns, int, int, str, str, bytes]
"""(time, file, line, kind or CONNECT, connection, payload): sorts by the first three, which are never all equal."""


class CaptureHub(Protocol):
    """What knows the books as the records go by, so that later segments can open with them: `feeds.hub.Hub`."""

    def handle(self, record: Record) -> None: ...
    def head(self) -> Iterable[HeadLine]: ...


def import_capture(
    paths: Sequence[Path],
    directory: Path,
    *,
    venues: Mapping[VenueId, Venue],
    market: str | None = None,
    instruments: Path | None = None,
    progress: Progress = lambda _done, _total: None,
    make_hub: Callable[[], CaptureHub] | None = None,
    version: str = "",
    segment_bytes: int = SEGMENT_BYTES,
) -> ImportReport:
    """Import capture files, of one or several formats, as one recording.

    Args:
        paths: files, or directories of files, whose clocks agree.
        directory: where the recording goes; new or empty.
        venues: the adapters there are.
        market: what the files' market is, where their content does not say or says it wrong.
        instruments: a file with instruments for symbols that the capture itself does not describe.
        progress: see `Progress`.
        make_hub: makes the hub that follows along; without one, later segments open without books.
        version: of the program, for the header.
        segment_bytes: text in one segment.

    Raises:
        InputError: nothing that can be imported, a venue without an adapter, captures more than a day apart, an unusable file or
            directory.
        RecordingFailed: the disk refused while writing; what is there is not whole.
    """
    try:
        survey = Survey(paths, venues, market, progress)
        survey.settle(instruments)
        return _Import(survey, directory, make_hub, version, segment_bytes).run()
    except OSError as error:
        where = clean_text(str(error.filename or directory), 200)
        raise InputError(f"{where}: cannot be read: {(error.strerror or 'error').lower()}") from None


class _Import:
    """The second pass."""

    def __init__(
        self,
        survey: Survey,
        directory: Path,
        make_hub: Callable[[], CaptureHub] | None,
        version: str,
        segment_bytes: int,
    ) -> None:
        self.survey = survey
        self.hub = make_hub() if make_hub is not None else None
        self.open: dict[str, Connection] = {}
        self.last_ns: dict[str, Ns] = {}
        """Each connection's last frame."""
        self.holes: list[str] = []
        self.answers = 0
        formats = dict.fromkeys(file.form.name for file in survey.files)
        header = Header(start_wall_ns=survey.start_ns, version=version, source="import of " + ", ".join(formats))
        head = self._head if self.hub is None else self.hub.head
        self.writer = RecordingWriter(directory, header, head, segment_bytes=segment_bytes)
        self.instruments = encode(survey.instruments)

    def run(self) -> ImportReport:
        survey, writer = self.survey, self.writer
        start_ns = survey.start_ns
        if self.hub is not None:
            self.hub.handle(Record(start_ns, INSTRUMENTS, NO_CONN, self.instruments))
        try:
            for answer in survey.catalogue_answers:
                self._answer(start_ns, NO_CONN, answer)
            for at, _, _, kind, conn, payload in merge(*map(self._events, survey.files)):
                if kind == CONNECT:
                    self._close(conn, at, "reconnected")
                    continue
                if kind == TEXT:
                    self._mind_the_hole(conn, at)
                if conn != NO_CONN and conn not in self.open:
                    self._open(conn, at)
                if kind == ANSWER:
                    self.answers += 1
                self._emit(at, kind, conn, payload)
                if writer.failure is not None:
                    break
            for conn in list(self.open):
                self._close(conn, survey.end_ns, "end of the capture", ENDED)
        finally:
            writer.close()
        if writer.failure is not None:
            raise self._failed(writer.failure) from writer.failure.__cause__
        return self._report()

    def _failed(self, failure: RecordingFailed) -> RecordingFailed:
        """The same, with what to do about it."""
        cause = failure.__cause__
        full = isinstance(cause, OSError) and cause.errno in (ENOSPC, EDQUOT)
        mend = "free some space" if full else "mend that"
        where = clean_text(str(self.writer.directory), 200)
        return RecordingFailed(f"{failure}; {where} is not whole: remove it, {mend} and import again")

    def _head(self) -> Iterator[HeadLine]:
        yield INSTRUMENTS, NO_CONN, self.instruments
        for name, connection in self.open.items():
            yield OPEN, name, encode(connection.opened)

    def _emit(self, at: Ns, kind: str, conn: str, payload: bytes) -> None:
        if kind == TEXT:
            self.writer.frame(at, conn, payload)
        else:
            self.writer.write(at, kind, conn, payload)
        if self.hub is not None:
            self.hub.handle(Record(at, kind, conn, payload))

    def _mind_the_hole(self, conn: str, at: Ns) -> None:
        """After a silence at which a live link is given up, a frame is one of a new connection: its books begin anew."""
        silent_ns = at - self.last_ns.get(conn, at)
        self.last_ns[conn] = at
        longest_ns = SILENCE_NS if conn in self.open and self.open[conn].normalised else SILENCE_MAX_NS
        if conn in self.open and silent_ns >= longest_ns:
            self.holes.append(f"{conn} was silent for {silent_ns / SECOND:.1f} s and is taken to have reconnected then")
            self._close(conn, at, f"silent for {silent_ns / SECOND:.1f} s")

    def _open(self, conn: str, at: Ns) -> None:
        connection = self.survey.connections[conn]
        self._emit(at, OPEN, conn, encode(connection.opened))
        self.open[conn] = connection

    def _close(self, conn: str, at: Ns, reason: str, code: int = LOST) -> None:
        if conn in self.open:
            self._emit(at, CLOSE, conn, encode(Closed(code, reason)))
            del self.open[conn]

    def _answer(self, at: Ns, conn: str, answer: Answer) -> None:
        self.answers += 1
        self._emit(at, ANSWER, conn, encode(answer))

    def _events(self, file: File) -> Iterator[_Event]:
        events = self._events_as_written(file)
        return events if file.in_order else iter(sorted(events))

    def _events_as_written(self, file: File) -> Iterator[_Event]:
        survey = self.survey
        names = {conn: link.connection.name for conn, link in file.links.items() if link.connection is not None}
        for at, line, kind, conn, url, text in survey.items(file):
            if kind == FRAME:
                yield at, file.index, line, TEXT, names[conn], text
            elif kind == CONNECT and conn in names:
                yield at, file.index, line, CONNECT, names[conn], b""
            elif kind == REST:
                answer = survey.answer(file, url, text)
                if answer is not None:
                    conn_name, key, path = answer
                    payload = encode(Answer(key, path, 200, text.decode("utf-8", "replace")))
                    yield at, file.index, line, ANSWER, conn_name, payload

    def _report(self) -> ImportReport:
        survey = self.survey
        connections = survey.connections.values()
        return ImportReport(
            directory=self.writer.directory,
            connections=tuple(
                ConnectionReport(
                    connection.name,
                    connection.venue,
                    connection.market,
                    connection.opened.url,
                    tuple(clean_text(link.file.path.name) for link in connection.links),
                    connection.frames,
                    connection.links[0].start_ns,
                    connection.links[-1].end_ns,
                )
                for connection in connections
            ),
            streams=tuple(
                StreamCount(connection.name, topic, connection.streams.get(topic), frames)
                for connection in connections
                for topic, frames in connection.topics.items()
                if frames
            ),
            instruments=tuple(survey.instruments),
            answers=self.answers,
            damage=tuple(survey.damage.told),
            notes=(*survey.notes, *self.holes),
            start_ns=survey.start_ns,
            end_ns=survey.end_ns,
            bytes=self.writer.bytes,
        )
