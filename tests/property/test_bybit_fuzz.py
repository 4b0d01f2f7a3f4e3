"""Bytes that no venue should send: whatever is done to a stream of frames, nothing but the known errors leaves the session."""

import json
import os
import random
from math import isfinite

import pytest

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.model import BookState, Channel
from feeds.orderbook import OrderBook
from tests.unit.test_bybit import INVERSE, LINEAR, SPOT, book_frame, desk

MUTATIONS = int(os.environ.get("FUZZ", "1000"))
PIECES = (
    b"",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"null",
    b"true",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-1",
    b"0",
    b'"nan"',
    b'"inf"',
    b'"0"',
    b'"-1"',
    b"9" * 400,
    b"[" * 3_000,
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x00",
    b"\x1b[2J",
    b'"topic":"orderbook.200.BTCUSDT"',
    b'"u":1,',
    b'"type":"snapshot",',
    b"\xed\xa0\x80",
    "\u202e".encode(),
)


def stream(rng: random.Random) -> list[bytes]:
    """A healthy minute in small: book, best quote, trades, ticker; the updates follow each other."""
    frames: list[dict[str, object]] = []
    u, mid = 1, 1_000.0
    for step in range(40):
        bids = [[f"{mid - i - rng.random():.2f}", f"{rng.random():.3f}"] for i in range(1, 4)]
        asks = [[f"{mid + i + rng.random():.2f}", f"{rng.random():.3f}"] for i in range(1, 4)]
        frames.append(book_frame("snapshot" if not step % 20 else "delta", u, bids, asks))
        frames.append(book_frame("snapshot", u, bids[:1], asks[:1], seq=10 * u + 1, depth=1))
        fill = {"T": 1, "s": "BTCUSDT", "S": rng.choice(["Buy", "Sell"]), "v": "1", "p": "1000", "i": "x", "BT": False}
        frames.append({"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1, "data": [fill]})
        data = {"symbol": "BTCUSDT", "markPrice": "1000", "fundingRate": "0.0001", "openInterest": "5", "volume24h": "1"}
        frames.append({"topic": "tickers.BTCUSDT", "type": "delta", "ts": 1, "data": data, "cs": 1})
        u += 1
    return [json.dumps(frame, separators=(",", ":")).encode() for frame in frames]


def mutated(frame: bytes, rng: random.Random) -> bytes:
    data = bytearray(frame)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + rng.randint(1, 12)]
            case 2:
                data[at:at] = rng.choice(PIECES)
            case 3:
                data[at : at + rng.randint(1, 8)] = rng.choice(PIECES)
            case 4 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case _:
                data[at:at] = data[at : at + rng.randint(1, 40)]
    return bytes(data)


def readable(book: OrderBook) -> tuple[object, ...]:
    return book.published, repr(book.bid), repr(book.ask), book.levels(1_000)


def assert_sound(book: OrderBook) -> None:
    """What a reader may rely on (reliability 7): I1, I2, I5."""
    bids, asks = book.levels(1_000)
    if not book.published:
        assert (bids, asks) == ([], [])
        assert book.bid != book.bid
        assert book.ask != book.ask
        return
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert all(isfinite(price) and price > 0 and isfinite(size) and size > 0 for price, size in bids + asks)
    if bids and asks:
        assert book.bid < book.ask
        assert (bids[0][0], asks[0][0]) == (book.bid, book.ask)


@pytest.mark.parametrize("market", ["spot", "linear", "inverse"])
def test_mutated_frames_raise_only_known_errors_and_never_publish_nonsense(market: str) -> None:
    rng = random.Random(f"bybit {market}")
    instrument = {"spot": SPOT, "linear": LINEAR, "inverse": INVERSE}[market]
    at = desk(instrument, channels=(Channel.BOOK, Channel.TOUCH, Channel.TRADE, Channel.TICKER))
    book = at.book(instrument)
    frames = [frame.replace(b"BTCUSDT", instrument.native.encode()) for frame in stream(rng)]
    refused = accepted = changed = 0
    for number in range(MUTATIONS):
        healthy = frames[number % len(frames)]
        data = mutated(healthy, rng)
        before = readable(book)
        try:
            at.send(data)
        except (*DECODE_ERRORS, BadFrame):
            refused += 1
            assert readable(book) == before
            at.session.refused(data, at.now)
        else:
            accepted += 1
            changed += readable(book) != before
        assert_sound(book)
        at.send(healthy)
        assert_sound(book)
        if book.state is not BookState.SYNCED or book.crossed_ns:
            at.send(frames[0])  # so that the next nonsense meets a published book
            assert book.published
        at.session.wake(at.now)
    assert refused > 2 * MUTATIONS // 5
    assert accepted > MUTATIONS // 10
    assert changed > MUTATIONS // 100
