"""Bytes that Deribit should not send: whatever is done to a stream of frames, nothing but the known errors leaves the session."""

import json
import os
import random

import pytest

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.model import BookState, Channel
from feeds.venues.deribit import REQUESTS_KEPT
from tests.property.test_bybit_fuzz import assert_sound, mutated, readable
from tests.unit.test_deribit import PERP, SPOT, Desk, desk, notice

MUTATIONS = int(os.environ.get("FUZZ", "1000"))
PIECES = (
    b'"channel":"book.BTC-PERPETUAL.100ms",',
    b'"channel":"book.BTC-PERPETUAL.none.20.100ms",',
    b'"channel":"deribit_price_index.btc_usd",',
    b'"prev_change_id":1,',
    b'"change_id":1,',
    b'"type":"change",',
    b'"type":"test_request",',
    b'"method":"heartbeat",',
    b'"id":2,"result":[],',
    b'"id":2,"error":{"code":13009},',
    b'["delete",1000.5,0.0],',
    b'["new",1.0,1.0],',
    b"1e15",
    b".raw",
)


def stream(rng: random.Random, native: str, index: str) -> list[bytes]:
    """A healthy minute in small: book, best quote, trades, ticker, index, answers; the changes follow each other."""
    frames: list[dict[str, object]] = []
    mid, at = 1_000.0, 1_789_344_931_302
    for step in range(40):
        bids = [(round(mid - i - rng.random(), 2), round(rng.random() + 0.01, 3)) for i in range(1, 4)]
        asks = [(round(mid + i + rng.random(), 2), round(rng.random() + 0.01, 3)) for i in range(1, 4)]
        whole = not step % 20
        book = {
            "timestamp": at,
            "type": "snapshot" if whole else "change",
            "change_id": 10 + step,
            "instrument_name": native,
            "bids": [["new", *level] for level in bids] + ([] if whole else [["delete", mid - 500, 0.0]]),
            "asks": [["change", *level] for level in asks],
        }
        frames.append(notice(f"book.{native}.100ms", book if whole else {**book, "prev_change_id": 9 + step}))
        best = {"best_bid_price": mid - 1, "best_bid_amount": 5.0, "best_ask_price": mid + 1, "best_ask_amount": 5.0}
        frames.append(notice(f"quote.{native}", {"timestamp": at + 1, "instrument_name": native, **best}))
        fill = {"timestamp": at, "price": mid, "amount": 8.7e3, "direction": rng.choice(["buy", "sell"]), "trade_id": "7"}
        flag = {"liquidation": rng.choice(["M", "T", "MT"])}
        frames.append(notice(f"trades.{native}.100ms", [{**fill, **flag, "instrument_name": native}]))
        ticker = {"mark_price": mid, "index_price": mid + 1, "current_funding": 1e-5, "open_interest": 5, "stats": {"volume": 1}}
        frames.append(notice(f"ticker.{native}.100ms", {"timestamp": at, "instrument_name": native, **ticker}))
        frames.append(notice(f"deribit_price_index.{index}", {"timestamp": at, "price": mid, "index_name": index}))
        at += 100
    frames.append({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}})
    frames.append({"jsonrpc": "2.0", "id": 2, "result": [f"book.{native}.100ms"]})
    return [json.dumps(frame, separators=(",", ":")).encode() for frame in frames]


def spoiled(frame: bytes, rng: random.Random) -> bytes:
    if rng.randrange(6):
        return mutated(frame, rng)
    at = rng.randrange(len(frame) + 1)
    return frame[:at] + rng.choice(PIECES) + frame[at + rng.choice((0, 0, 5)) :]


def assert_small(at: Desk) -> None:
    """Nothing that the other side sends piles up."""
    assert len(at.session.handlers) <= 6
    assert len(at.session._awaited) <= REQUESTS_KEPT
    assert len(at.session._own_topics) <= 4
    assert len(at.session.streams) == 4
    assert (
        sum(map(len, at.book(next(iter(at.session.instruments[s.instrument] for s in at.session.streams))).levels(10_000))) < 400
    )


@pytest.mark.parametrize("market", ["perp", "spot"])
def test_mutated_frames_raise_only_known_errors_and_never_publish_nonsense(market: str) -> None:
    rng = random.Random(f"deribit {market}")
    instrument, index = {"perp": (PERP, "btc_usd"), "spot": (SPOT, "btc_usdt")}[market]
    at = desk(instrument, channels=(Channel.BOOK, Channel.TOUCH, Channel.TRADE, Channel.TICKER))
    book = at.book(instrument)
    frames = stream(rng, instrument.native, index)
    refused = accepted = changed = 0
    for number in range(MUTATIONS):
        healthy = frames[number % len(frames)]
        data = spoiled(healthy, rng)
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
        try:
            at.send(healthy)
        except BadFrame:  # the nonsense has put the book back in time, and the quote is of far later
            assert b'"channel":"quote.' in healthy
            at.session.refused(healthy, at.now)
        assert_sound(book)
        if book.state is not BookState.SYNCED or book.crossed_ns:
            at.session.refused(frames[0], at.now)
            at.send(frames[0])  # so that the next nonsense meets a published book
            assert book.published
        at.session.wake(at.now)
        at.session.pulse.last_ns = at.now
    assert_small(at)
    assert refused > 2 * MUTATIONS // 5
    assert accepted > MUTATIONS // 10
    assert changed > MUTATIONS // 100
