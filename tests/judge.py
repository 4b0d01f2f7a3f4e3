"""Holds every published book against the simulator's truth: a listener that hands everything on, and counts what was wrong.

A touch is judged at each publish, all levels at every `WHOLE_EVERY`-th. What the simulator no longer knows is counted as well,
since a judge that cannot judge proves nothing.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from feeds.health import Health
from feeds.model import MS, BookState, Channel, Instrument, InstrumentId, LinkState, Metric, Ns, PairIndex, Status, Stream, Trade
from feeds.orderbook import OrderBook
from feeds.simulator.kit import VenueServer
from feeds.venue import Listener

WHOLE_EVERY: Final = 16
KEPT: Final = 20
CLOCKS: Final = 4
"""Offsets of a venue's clock that are remembered: a book may hold what came under an earlier one."""


class Turn(NamedTuple):
    """From when on a stream was good, or was not."""

    at_ns: Ns
    good: bool
    reason: str = ""
    """Why it was not."""


class Judge:
    """Args: servers: whose truth it is; listener: who hears it all."""

    def __init__(self, servers: Iterable[VenueServer], listener: Listener) -> None:
        self.servers = {name: server for server in servers for name in server.names}
        self.listener = listener
        self._clocks: dict[str, deque[Ns]] = {}
        self.published: Counter[InstrumentId] = Counter()
        """Books and touches that a reader could see, by instrument."""
        self.whole = 0
        self.unknown = 0
        """Publishes whose update the simulator does not know."""
        self.wrong: list[str] = []
        """The first few that differ from the truth."""
        self.wrong_count = 0
        self.excused: set[InstrumentId] = set()
        """Books whose data was falsified in a way that nobody could tell: until they start over what they show is not counted."""
        self.under: dict[InstrumentId, str] = {}
        """What is or was last done to a book: named with what is wrong."""
        self.status: dict[Stream, Status] = {}
        self.turns: dict[Stream, list[Turn]] = {}
        """When a stream became good, and when it ceased to be: a ready link, and of a book a SYNCED one that is not crossed."""
        self.shown: dict[InstrumentId, Ns] = {}
        """When a book was last published."""
        self.fell: dict[InstrumentId, Ns] = {}
        """When a book was last not readable."""
        self._seen = 0
        self._crossed: set[Stream] = set()

    def key(self, instrument: Instrument) -> str:
        return f"{instrument.venue}.{instrument.market}.{instrument.native}"

    def on_book(self, book: OrderBook, now: Ns) -> None:
        self._judge(book, now)
        self.listener.on_book(book, now)

    def on_touch(self, book: OrderBook, now: Ns) -> None:
        self._judge(book, now)
        self.listener.on_touch(book, now)

    def on_time(self, now: Ns) -> None:
        self.listener.on_time(now)

    def on_instrument(self, instrument: Instrument, now: Ns) -> None:
        self.listener.on_instrument(instrument, now)

    def on_status(self, stream: Stream, status: Status, now: Ns) -> None:
        self.status[stream] = status
        if stream.channel is Channel.BOOK and status.book is not BookState.SYNCED:
            self.fell[stream.instrument] = now
            self.excused.discard(stream.instrument)
            self._crossed.discard(stream)
        self._turn(stream, now)
        self.listener.on_status(stream, status, now)

    def on_trade(self, instrument: Instrument, trade: Trade, now: Ns) -> None:
        self.listener.on_trade(instrument, trade, now)

    def on_metric(self, instrument: Instrument, metric: Metric, now: Ns) -> None:
        self.listener.on_metric(instrument, metric, now)

    def on_pair_index(self, index: PairIndex, now: Ns) -> None:
        self.listener.on_pair_index(index, now)

    def on_health(self, stream: Stream, health: Health, now: Ns) -> None:
        self.listener.on_health(stream, health, now)

    def server(self, instrument: Instrument) -> VenueServer:
        return self.servers[f"{instrument.venue}.{instrument.market}"]

    def depth(self, book: OrderBook) -> int:
        """Levels a side that are compared: what a book of this kind holds for certain."""
        depths = self.server(book.instrument).dialect.depths
        held = max(len(book.bids.levels(depths[0] + 1)), len(book.asks.levels(depths[0] + 1)))
        return depths[0] if held <= depths[0] else depths[-1]

    def synced(self, instrument: InstrumentId) -> bool:
        """Whether a reader may use the book, and its link carries data."""
        status = self.status.get(Stream(instrument, Channel.BOOK))
        return status is not None and status.book is BookState.SYNCED and status.link is LinkState.READY

    def good(self, stream: Stream) -> bool:
        """Whether a stream is as it should be now."""
        turns = self.turns.get(stream)
        return turns is not None and turns[-1].good

    def _turn(self, stream: Stream, now: Ns) -> None:
        status = self.status.get(stream)
        good = status is not None and status.link is LinkState.READY
        if good and stream.channel is Channel.BOOK:
            good = status is not None and status.book is BookState.SYNCED and stream not in self._crossed
        turns = self.turns.setdefault(stream, [])
        if not turns or turns[-1].good is not good:
            turns.append(Turn(now, good, "" if good or status is None else status.reason or "crossed"))

    def _judge(self, book: OrderBook, now: Ns) -> None:
        instrument = book.instrument
        if not book.published:
            if book.state is BookState.SYNCED:
                stream = Stream(instrument.id, Channel.BOOK)
                self._crossed.add(stream)
                self._turn(stream, now)
            return
        if self._crossed:
            stream = Stream(instrument.id, Channel.BOOK)
            if stream in self._crossed:
                self._crossed.discard(stream)
                self._turn(stream, now)
        self.shown[instrument.id] = now
        if instrument.id in self.excused:
            return
        self.published[instrument.id] += 1
        self._seen += 1
        laid = book.touch_seq > book.seq
        touch = book.bid, book.bid_size, book.ask, book.ask_size
        numbers = self.numbers(book, book.touch_seq if laid else book.seq)
        server, key = self.server(instrument), self.key(instrument)
        true = [_known(server.truth_touch, key, number) for number in numbers]
        if touch not in true and true[0] is None:
            self.unknown += 1
        elif touch not in true:
            what = f"touch {touch}, true {true[0]}"
            self._accuse(instrument, f"{instrument.id} at {book.seq}/{book.touch_seq}: {what}")
        elif not self._seen % WHOLE_EVERY:
            self._judge_levels(book, server, key)

    def numbers(self, book: OrderBook, seq: int) -> Sequence[int]:
        """What the venue may call the state that a book shows: by its clock as it is, first, or as it has lately been.

        Only the first can prove a book wrong: a time that is off may name another state by accident.
        """
        server = self.server(book.instrument)
        if not server.dialect.by_time:
            return (seq,)
        at_ms = seq if server.dialect.numbered else book.venue_ns // MS
        clocks = self._clocks.setdefault(server.name, deque(maxlen=CLOCKS))
        if server.clock_offset_ns not in clocks:
            clocks.append(server.clock_offset_ns)
        return [at_ms - offset // MS for offset in sorted(clocks, key=lambda offset: offset != server.clock_offset_ns)]

    def _judge_levels(self, book: OrderBook, server: VenueServer, key: str) -> None:
        depth = self.depth(book)
        held = book.bids.levels(depth), book.asks.levels(depth)
        numbers = self.numbers(book, book.seq)
        true = [_known(server.truth, key, number, depth) for number in numbers]
        now = true[0]
        self.whole += now is not None
        self.unknown += now is None and held not in true
        if now is None or held in true:
            return
        for name, right, shown in zip(("bids", "asks"), now, held, strict=True):
            if right != shown:
                first = next((pair for pair in zip(right, shown, strict=False) if pair[0] != pair[1]), (len(right), len(shown)))
                self._accuse(book.instrument, f"{book.instrument.id} at {book.seq}: {name} differ, true and held: {first}")

    def _accuse(self, instrument: Instrument, text: str) -> None:
        self.wrong_count += 1
        if len(self.wrong) < KEPT:
            under = self.under.get(instrument.id)
            self.wrong.append(f"{text} ({under})" if under else text)


_Truth = TypeVar("_Truth")


def _known(ask: Callable[..., _Truth], *what: object) -> _Truth | None:
    """None for a state that the exchange knows no more, or never knew."""
    try:
        return ask(*what)
    except KeyError:
        return None
