"""Bytes that OKX should not send: whatever is done to a stream of frames, nothing but the known errors leaves the session."""

import json
import os
import random

import pytest

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.model import BookState, Channel, Instrument
from feeds.orderbook import OrderBook
from feeds.venues.okx import HANDLERS_KEPT
from tests.property.test_bybit_fuzz import PIECES, assert_sound, mutated, readable
from tests.unit.test_okx import (
    COIN,
    FUNDING,
    INDEX,
    LATER,
    MARK,
    OPEN_INTEREST,
    SPOT,
    SWAP,
    TICKER,
    Desk,
    answer,
    book_frame,
    desk,
    quote_frame,
    waiting,
)

MUTATIONS = int(os.environ.get("FUZZ", "1000"))
OWN_PIECES = (
    b'"seqId":1,',
    b'"prevSeqId":-1,',
    b'"action":"snapshot",',
    b'"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},',
    b'"event":"error",',
    b"pong",
)


def stream(rng: random.Random, of: Instrument) -> list[bytes]:
    """A healthy minute in small: book with a keepalive and a reset, best quote, and a frame of every other channel in turn."""
    frames: list[object] = []
    others = [json.loads(text) for text in (TICKER, MARK, FUNDING, OPEN_INTEREST, INDEX, LATER)]
    last, mid = 1_000, 1_000.0
    for step in range(40):
        bids = [[f"{mid - i - rng.random():.2f}", f"{rng.random():.3f}"] for i in range(1, 4)]
        asks = [[f"{mid + i + rng.random():.2f}", f"{rng.random():.3f}"] for i in range(1, 4)]
        seq = last if step == 5 else 3 if step == 30 else last + rng.randint(1, 50)
        if step == 5:
            bids, asks = [], []
        frames.append(book_frame("update" if step % 20 else "snapshot", seq, last if step % 20 else -1, bids, asks, of=of))
        frames.append(quote_frame(bids[0] if bids else None, asks[0] if asks else None, seq + 1, of=of))
        fill = {"instId": of.native, "tradeId": "1", "px": "1000", "sz": "1", "side": rng.choice(["buy", "sell"]), "ts": "1"}
        frames.append({"arg": {"channel": "trades", "instId": of.native}, "data": [fill]})
        frames.append(others[step % len(others)])
        last = seq
    texts = [json.dumps(frame, separators=(",", ":")) for frame in frames]
    return [text.replace("BTC-USDT-SWAP", of.native).encode() for text in texts]


def sound(at: Desk, book: OrderBook) -> None:
    assert_sound(book)
    session = at.session
    assert len(session.handlers) <= HANDLERS_KEPT
    assert len(session._topics) + len(session._unanswered) + len(session._spoke_ns) + len(session._known) < 64
    assert len(session._joins) <= len(session.feeds)


@pytest.mark.parametrize("instrument", [SPOT, SWAP, COIN], ids=lambda each: each.native)
def test_mutated_frames_raise_only_known_errors_and_never_publish_nonsense(instrument: Instrument) -> None:
    rng = random.Random(f"okx {instrument.native}")
    at = desk(instrument)
    book = at.book(instrument)
    frames = stream(rng, instrument)
    refused = accepted = changed = 0
    for number in range(MUTATIONS):
        healthy = frames[number % len(frames)]
        data = mutated(healthy, rng)
        if not number % 5:
            place = rng.randrange(len(healthy))
            data = healthy[:place] + rng.choice(OWN_PIECES) + healthy[place + rng.randint(0, 8) :]
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
        sound(at, book)
        at.send(healthy)
        sound(at, book)
        if book.state is not BookState.SYNCED or book.crossed_ns:
            at.send(frames[0])  # so that the next nonsense meets a published book
            assert book.published
        at.session.wake(at.now)
    assert refused > 2 * MUTATIONS // 5
    assert accepted > MUTATIONS // 20
    assert changed > MUTATIONS // 100


@pytest.mark.parametrize("instrument", [SPOT, SWAP], ids=lambda each: each.native)
def test_after_nonsense_the_book_is_the_venues_or_none(instrument: Instrument) -> None:
    """Against a book of dicts that takes only what is healthy: what was refused may blank the book, never bend it."""
    rng = random.Random(f"okx truth {instrument.native}")
    at = desk(instrument, channels=[Channel.BOOK])
    book = at.book(instrument)
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    published = 0
    frames = [frame for frame in stream(rng, instrument) if b'"books"' in frame]
    for number in range(MUTATIONS):
        healthy = frames[number % len(frames)]
        nonsense = bytes(healthy[: rng.randrange(1, len(healthy))]) + rng.choice(PIECES)
        try:
            at.send(nonsense)
        except (*DECODE_ERRORS, BadFrame):
            if rng.random() < 0.2:
                at.session.refused(nonsense, at.now)
        message = json.loads(healthy)
        if message["action"] == "snapshot":
            bids, asks = {}, {}
        for side, levels in ((bids, message["data"][0]["bids"]), (asks, message["data"][0]["asks"])):
            side.update((float(price), float(size)) for price, size, *_ in levels)
        at.send(healthy)
        if book.published:
            published += 1
            held = [sorted((level for level in side.items() if level[1]), reverse=side is bids) for side in (bids, asks)]
            assert list(book.levels(1_000)) == held
    assert published > MUTATIONS // 4


def test_mutated_answers_over_rest_raise_only_known_errors_and_never_publish_nonsense() -> None:
    rng = random.Random("okx answers")
    taken = refused = 0
    for _ in range(MUTATIONS // 4):
        at = waiting()
        body = mutated(answer(rng.choice([60, 70, 85, 90, 95])), rng)
        try:
            at.session.answer("depth:BTC-USDT-SWAP", body, at.now)
        except (*DECODE_ERRORS, BadFrame):
            refused += 1
            assert not at.book().published
        taken += at.book().published
        sound(at, at.book())
    assert refused > MUTATIONS // 20
    assert taken > MUTATIONS // 200


def test_names_that_nobody_asked_for_do_not_fill_the_memory() -> None:
    at = desk(SWAP)
    for number in range(HANDLERS_KEPT + 500):
        at.send({"arg": {"channel": "books", "instId": f"C{number}-USDT"}, "data": []})
        at.send(f'{{"arg":{{"channel":"mark-price","instId":"BTC-USDT-SWAP","x":{number}}},"data":[]}}')
        at.send({"event": "error", "code": "60018", "msg": f"channel:books,instId:C{number}-USDT doesn't exist"})
        at.send({"event": "subscribe", "arg": {"channel": "books", "instId": f"C{number}-USDT"}})
    sound(at, at.book())
    assert len(at.board.said) <= 200
