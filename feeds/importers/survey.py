"""The first pass over a capture: which files hold what, which connections there were, which instruments they are about.

Not here: writing anything (`capture`).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from feeds.errors import InputError
from feeds.importers import cryptofeed, cryptofeed_raw, hftbacktest, tardis, tardis_raw
from feeds.importers.instruments import Known, from_answer, from_file, shipped
from feeds.importers.lines import FRAME, REST, SENT, Damage, Item
from feeds.importers.places import place_of, topics_in_url, topics_sent
from feeds.model import Instrument, InstrumentId, Ns, Stream, VenueId
from feeds.recognise import ARBTOP, CRYPTOFEED, CRYPTOFEED_RAW, HFTBACKTEST, TARDIS, TARDIS_RAW, Format, format_of
from feeds.recording.damage import DAY_NS
from feeds.recording.format import NO_CONN, Answer, Opened
from feeds.text import clean_text
from feeds.venue import Venue
from feeds.venues import tardis as normalised

_Items: TypeAlias = Callable[[Path, Damage, Callable[[int], object]], Iterator[Item]]
FORMATS: Mapping[Format, _Items] = {
    HFTBACKTEST: hftbacktest.items,
    CRYPTOFEED_RAW: cryptofeed_raw.items,
    CRYPTOFEED: cryptofeed.items,
    TARDIS: tardis.items,
    TARDIS_RAW: tardis_raw.items,
}
SHOWN = 8
"""How many names a note lists."""
_WORDS = re.compile(r"[^@.:/|]+")


class Link:
    """One connection as one file holds it."""

    def __init__(self, file: "File", venue: VenueId, market: str, url: str) -> None:
        self.file = file
        self.venue = venue
        self.market = market
        self.url = url
        self.frames = 0
        self.start_ns: Ns = 0
        self.end_ns: Ns = 0
        self.topics: dict[str, int] = dict.fromkeys(topics_in_url(url), 0)
        """Topic -> frames, subscribed ones first; "" for acknowledgements."""
        self.connection: Connection | None = None


class File:
    """One capture file."""

    def __init__(self, index: int, path: Path, form: Format) -> None:
        self.index = index
        self.path = path
        self.form = form
        self.in_order = True
        self.start_ns: Ns = 0
        """Of its first frame or answer; 0 when it has none."""
        self.end_ns: Ns = 0
        self.guess = hftbacktest.MarketGuess()
        self.links: dict[str, Link] = {}


class Connection:
    """One connection of the recording: one link, or several that follow each other."""

    def __init__(self, name: str, links: list[Link]) -> None:
        self.name = name
        self.links = links
        self.venue, self.market, self.url = links[0].venue, links[0].market, links[0].url
        self.normalised = links[0].file.form is TARDIS
        self.topics: dict[str, int] = {}
        for link in links:
            link.connection = self
            for topic, frames in link.topics.items():
                self.topics[topic] = self.topics.get(topic, 0) + frames
        self.streams: dict[str, Stream] = {}
        """Topic -> what it means, for the topics that something here reads."""
        self.natives: set[str] = set()

    @property
    def frames(self) -> int:
        return sum(link.frames for link in self.links)

    @property
    def opened(self) -> Opened:
        subscriptions = dict.fromkeys((stream.instrument, str(stream.channel)) for stream in self.streams.values())
        return Opened(self.venue, self.market, self.url.partition("?")[0], list(subscriptions))


class Survey:
    """What the capture holds. Raises `InputError` for what cannot be imported."""

    def __init__(
        self,
        paths: Sequence[Path],
        venues: Mapping[VenueId, Venue],
        market: str | None,
        progress: Callable[[int, int], object],
    ) -> None:
        self.venues = venues
        self.market = market
        self.damage = Damage()
        self.notes: list[str] = []
        self.files = self._recognised(paths)
        self.connections: dict[str, Connection] = {}
        self.instruments: list[Instrument] = []
        self.catalogue_answers: list[Answer] = []
        self._recorded: dict[tuple[VenueId, str, str], Instrument] = {}
        self._progress = progress
        self._done = 0
        self._total = 2 * sum(file.path.stat().st_size for file in self.files)
        for file in self.files:
            self._scan(file)
        self._connect()
        if not self.connections:
            raise InputError(f"{_names(file.path for file in self.files)}: no message of a market data connection in it")
        self._refuse_days_between()
        self.damage.closed = True
        stamps = [file.start_ns for file in self.files if file.start_ns]
        self.start_ns: Ns = min(stamps)
        self.end_ns: Ns = max(file.end_ns for file in self.files)

    def items(self, file: File) -> Iterator[Item]:
        """The file's lines, once more."""
        return FORMATS[file.form](file.path, self.damage, self._read)

    def answer(self, file: File, url: str, body: bytes) -> tuple[str, str, str] | None:
        """(connection, key, path) of a REST answer; None for an instrument list, which stands at the head already.

        `url` is what `Item.url` says: for a snapshot of hftbacktest the symbol, or nothing.
        """
        if file.form is HFTBACKTEST:
            symbol = url or next(iter(file.guess.symbols))
            link = next(iter(file.links.values()), None)
            connection = link.connection if link is not None else None
            return (connection.name if connection is not None else NO_CONN), f"depth:{symbol}", ""
        place = place_of(url)
        venue = self.venues[place[0]] if place is not None else None
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        if place is None or venue is None:
            return NO_CONN, f"rest:{path}", path
        if venue.catalogue_key(url) is not None:
            return None
        key = venue.snapshot_key(url)
        if key is None:
            return NO_CONN, f"rest:{path}", path
        return self._asker(venue.id, place[1], key.partition(":")[2]), key, path

    def settle(self, instruments: Path | None) -> None:
        """Give every topic its instrument. `instruments` is the user's file."""
        known = Known()
        known.add(self._recorded.values())
        if instruments is not None:
            known.add(from_file(instruments, self.venues))
        known.add(shipped())
        used: dict[InstrumentId, Instrument] = {}
        carried: dict[Stream, str] = {}
        for connection in self.connections.values():
            candidates = known.of(connection.venue, connection.market)
            natives = {instrument.native.lower() for instrument in candidates.values()}
            venue = self.venues[connection.venue]
            orphans: list[str] = []
            unread: list[str] = []
            twice: list[str] = []
            for topic in connection.topics:
                if not topic:
                    stream = None
                elif connection.normalised:
                    stream = normalised.stream_of(topic, candidates)
                else:
                    stream = venue.stream_of(connection.market, topic, candidates)
                if stream is None:
                    if topic:
                        (unread if natives.intersection(_WORDS.findall(topic.lower())) else orphans).append(topic)
                    continue
                if carried.setdefault(stream, connection.name) != connection.name:
                    twice.append(topic)
                    continue
                connection.streams[topic] = stream
                instrument = candidates[stream.instrument]
                connection.natives.add(instrument.native)
                used[instrument.id] = instrument
            self._note(
                connection,
                orphans,
                "no instrument is known for them: they are kept and will be ignored; name them with --instruments FILE",
            )
            self._note(connection, unread, "arbtop does not read such channels: they are kept and will be ignored")
            self._note(
                connection, twice, "another connection of this capture carries the same: they are kept and will be ignored"
            )
        self.instruments = list(used.values())
        assumed = [instrument.id for instrument in self.instruments if instrument.assumed]
        if assumed:
            self.notes.append(f"ASSUMED tick, lot and contract size, from the list that comes with arbtop: {_list(assumed)}")

    def _note(self, connection: Connection, topics: list[str], what: str) -> None:
        if topics:
            self.notes.append(f"{connection.name} {_list(topics)}: {what}")

    def _recognised(self, paths: Sequence[Path]) -> list[File]:
        files: list[File] = []
        for path in paths:
            shown = clean_text(str(path), 200)
            if not path.exists():
                raise InputError(f"{shown}: there is no such file or directory")
            inside = sorted(path.iterdir()) if path.is_dir() else [path]
            found = 0
            for file in inside:
                if not file.is_file() or (path.is_dir() and file.name.startswith(".")):
                    continue
                form = format_of(file)
                if form is ARBTOP:
                    raise InputError(f"{shown}: is a recording of arbtop already: replay it with `arbtop replay`")
                if form is not None and form in FORMATS:
                    files.append(File(len(files), file, form))
                    found += 1
                elif path.is_dir():
                    self.notes.append(f"{clean_text(file.name)}: no capture; left out")
                elif form is not None:
                    raise InputError(f"{shown}: {form.name}, which arbtop does not import")
            if not found:
                names = ", ".join(form.name for form in FORMATS)
                raise InputError(f"{shown}: none of the formats that can be imported: {names}")
        if not files:
            raise InputError("no file to import")
        return files

    def _read(self, size: int) -> None:
        self._done += size
        self._progress(min(self._done, self._total), self._total)

    def _scan(self, file: File) -> None:
        last = 0
        homeless: list[int] = []
        for item in self.items(file):
            at, line, kind, conn, url, text = item
            if at < last:
                file.in_order = False
            last = at
            if kind == REST:
                if self._rest(file, item):
                    _widen(file, at)
                    if file.form is HFTBACKTEST and not url:
                        homeless.append(line)
                continue
            link = file.links.get(conn)
            if link is None:
                link = file.links[conn] = self._link(file, url)
            if kind == SENT:
                for topic in topics_sent(text):
                    link.topics.setdefault(clean_text(topic), 0)
            elif kind == FRAME:
                self._frame(file, link, at, text)
        if file.form is HFTBACKTEST:
            self._settle_market(file, homeless)

    def _frame(self, file: File, link: Link, at: Ns, text: bytes) -> None:
        _widen(file, at)
        if not link.frames:
            link.start_ns = at
        link.frames += 1
        link.start_ns = min(link.start_ns, at)
        link.end_ns = max(link.end_ns, at)
        if file.form is HFTBACKTEST:
            file.guess.see(text)
        topic = normalised.topic_of(text) if file.form is TARDIS else self.venues[link.venue].topic(link.market, text)
        topic = topic or ""
        link.topics[topic] = link.topics.get(topic, 0) + 1

    def _rest(self, file: File, item: Item) -> bool:
        """Whether a REST answer is a record at its own time; instrument lists are taken to the head here."""
        if file.form is HFTBACKTEST:
            return True
        place = place_of(item.url)
        if place is None:
            return True
        venue = self._adapter(file, place[0])
        key = venue.catalogue_key(item.url)
        if key is None:
            return True
        found = from_answer(venue, key, item.text)
        if not found:
            self.damage.line(file.path, item.line, "its instrument list cannot be read")
        for instrument in found:
            self._recorded[instrument.venue, instrument.market, instrument.native] = instrument
        parts = urlsplit(item.url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self.catalogue_answers.append(Answer(key, path, 200, item.text.decode("utf-8", "replace")))
        return False

    def _link(self, file: File, url: str) -> Link:
        if file.form is HFTBACKTEST:
            self._adapter(file, hftbacktest.VENUE)
            return Link(file, hftbacktest.VENUE, self.market or "", "")
        place = place_of(url)
        if place is None:
            raise InputError(f"{clean_text(file.path.name)}: messages of {clean_text(url)}, a venue that arbtop does not know")
        self._adapter(file, place[0])
        market = place[1] if file.form is TARDIS else self.market or place[1]
        if not market:
            raise InputError(f"{clean_text(file.path.name)}: {clean_text(url)} does not tell the market: name it with --market")
        return Link(file, place[0], market, url)

    def _adapter(self, file: File, venue: VenueId) -> Venue:
        adapter = self.venues.get(venue)
        if adapter is None:
            raise InputError(
                f"{clean_text(file.path.name)}: holds messages of {venue}, a venue that arbtop has no adapter for yet"
            )
        return adapter

    def _settle_market(self, file: File, homeless: list[int]) -> None:
        """What only the whole file tells: the market, and whose snapshots without a symbol are."""
        name = clean_text(file.path.name)
        markets = ", ".join(hftbacktest.MARKETS)
        if self.market is not None and self.market not in hftbacktest.MARKETS:
            raise InputError(f"{name}: --market {clean_text(self.market)} is none of Binance's: {markets}")
        market = self.market or file.guess.best
        for link in file.links.values():
            if market is None:
                raise InputError(f"{name}: its messages do not tell the market: name it with --market, one of {markets}")
            link.market = market
        if homeless and len(file.guess.symbols) != 1:
            holds = f"{len(file.guess.symbols)} symbols" if file.guess.symbols else "no message of a symbol"
            raise InputError(
                f"{name} line {homeless[0]}: a snapshot that names no symbol, in a file that holds {holds}: split it"
            )

    def _connect(self) -> None:
        """Name the connections. Files of hftbacktest that follow each other in one market are one."""
        chains: list[list[Link]] = []
        links = [link for file in self.files for link in file.links.values() if link.frames]
        for link in sorted(links, key=lambda link: (link.start_ns, link.file.index)):
            before = [chain for chain in chains if _follows(link, chain[-1])]
            if before:
                min(before, key=lambda chain: chain[-1].file.guess.symbols != link.file.guess.symbols).append(link)
            else:
                chains.append([link])
        for chain in chains:
            base = name = f"{chain[0].venue}-{chain[0].market}".lower()
            count = 1
            while name in self.connections:
                count += 1
                name = f"{base}-{count}"
            self.connections[name] = Connection(name, chain)

    def _refuse_days_between(self) -> None:
        """Captures of different days are no one run: a replay would sit through the days between them."""
        links = sorted(
            (link for connection in self.connections.values() for link in connection.links), key=lambda link: link.start_ns
        )
        last = links[0]
        for link in links:
            away_ns = link.start_ns - last.end_ns
            if away_ns > DAY_NS and link.file is not last.file:
                first, second = _told_apart(last.file.path, link.file.path)
                raise InputError(f"{first} ends {away_ns / DAY_NS:.1f} days before {second} begins: import them separately")
            if link.end_ns > last.end_ns:
                last = link

    def _asker(self, venue: VenueId, market: str, native: str) -> str:
        """The connection that a book snapshot belongs to."""
        fitting = [
            connection
            for connection in self.connections.values()
            if connection.venue == venue and (self.market or market or connection.market) == connection.market
        ]
        return next((connection.name for connection in fitting if native in connection.natives), NO_CONN)


def _follows(link: Link, last: Link) -> bool:
    return (
        link.file.form is HFTBACKTEST
        and last.file.form is HFTBACKTEST
        and link.market == last.market
        and link.file is not last.file
        and last.end_ns <= link.start_ns
    )


def _told_apart(one: Path, other: Path) -> tuple[str, str]:
    """Two files as the user knows them: by name, where the names differ."""
    paths = (one, other) if one.name == other.name else (Path(one.name), Path(other.name))
    return clean_text(str(paths[0]), 200), clean_text(str(paths[1]), 200)


def _widen(file: File, at: Ns) -> None:
    file.start_ns = min(file.start_ns or at, at)
    file.end_ns = max(file.end_ns, at)


def _list(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _names(paths: Iterable[Path]) -> str:
    return _list([clean_text(path.name) for path in paths])
