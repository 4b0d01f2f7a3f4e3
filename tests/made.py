"""A recording of the made-up market, all of its venues, for tests on a clean clone."""

from pathlib import Path

import msgspec

from feeds.hub import Hub
from feeds.model import Channel, Ns, Stream
from feeds.recording import ENDED, Answer, Closed, Header, Opened, RecordingWriter
from feeds.venue import NoListener
from feeds.venues import VENUES
from feeds.venues.binance import USDM_MARKET_ROUTE
from tests.market import Levels, SeededMarket, instruments, is_snapshot

SEGMENT = 1 << 20
"""Small, so that a recording of seconds has several segments."""


def record(directory: Path, seed: int = 1, seconds: float = 20.0) -> dict[str, tuple[Levels, Levels]]:
    """Write a recording there; returns the true final books by market."""
    market = SeededMarket(seed, seconds)
    made = instruments()
    frames = list(market.frames())
    hub = Hub(VENUES, NoListener())
    writer = RecordingWriter(directory, Header(start_wall_ns=frames[0].recv_ns, source="made"), hub.head, segment_bytes=SEGMENT)

    def put(at: Ns, kind: str, conn: str, payload: bytes) -> None:
        writer.write(at, kind, conn, payload)

    hub.watch(made.values(), frames[0].recv_ns)
    put(frames[0].recv_ns, "i", "-", msgspec.json.encode(list(made.values())))
    for frame in frames:
        at, conn, name, data = frame
        if conn not in hub.connections:
            opened = Opened(made[name].venue, made[name].market, "", subscriptions(conn, name))
            put(at, "o", conn, msgspec.json.encode(opened))
            hub.open(conn, opened.plan(), at)
        if is_snapshot(data):
            answer = Answer(key=f"depth:{made[name].native}", path="", status=200, body=data.decode())
            put(at, "h", conn, msgspec.json.encode(answer))
            hub.answer(conn, answer.key, data, at)
        else:
            put(at, "t", conn, data)
            hub.frame(conn, data, at)
    for conn in list(hub.connections):
        put(frames[-1].recv_ns, "c", conn, msgspec.json.encode(Closed(ENDED, "end")))
    writer.close()
    return {name: truth for name in market.markets if (truth := market.truth(name)) is not None}


def subscriptions(conn: str, name: str) -> list[tuple[str, str]]:
    """What runs on a connection of the made-up market; USD-M has its two routes."""
    instrument = instruments()[name]
    channels = VENUES[instrument.venue].channels(instrument)
    if conn.endswith(".market"):
        channels = [channel for channel in channels if channel in USDM_MARKET_ROUTE]
    elif conn.endswith(".public"):
        channels = [channel for channel in channels if channel not in USDM_MARKET_ROUTE]
    return [(instrument.id, str(channel)) for channel in channels]


def streams(conn: str, name: str) -> tuple[Stream, ...]:
    """The same as streams."""
    return tuple(Stream(instrument, Channel(channel)) for instrument, channel in subscriptions(conn, name))
