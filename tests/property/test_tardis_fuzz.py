"""Bytes that no recorder should send: whatever is done to a normalised message, nothing but known errors leaves the session."""

import os
import random

from feeds.errors import DECODE_ERRORS, BadFrame
from feeds.model import BookState
from tests.property.test_bitmex_fuzz import mutated
from tests.property.test_bybit_fuzz import assert_sound, readable
from tests.unit.test_bitmex import XBTUSD
from tests.unit.test_tardis import SNAPSHOT, TRADE, Desk, change, disconnect, message

MUTATIONS = int(os.environ.get("FUZZ", "1000"))


def healthy(rng: random.Random) -> str:
    step = rng.randint(1, 5)
    if rng.random() < 0.6:
        return change(False, [(100.0 - step, rng.randint(0, 9))], [(100.0 + step, rng.randint(0, 9))])
    ticker = message("derivative_ticker", markPrice=1, fundingRate=0.1, fundingTimestamp="2019-10-23T16:00:00Z", openInterest=1)
    return rng.choice([TRADE, disconnect(None), ticker, message("liquidation", price=1, amount=1, side="buy")])


def test_mutated_messages_raise_only_known_errors_and_never_publish_nonsense() -> None:
    rng = random.Random("tardis")
    at = Desk(XBTUSD)
    refused = accepted = changed = 0
    for _ in range(MUTATIONS):
        at.send(SNAPSHOT)
        assert at.book.published
        data = mutated(healthy(rng).encode(), rng)
        before = readable(at.book)
        try:
            at.send(data)
        except (*DECODE_ERRORS, BadFrame):
            refused += 1
            assert readable(at.book) == before
            at.session.refused(data, at.now)
        else:
            accepted += 1
            changed += readable(at.book) != before
        assert_sound(at.book)
        assert at.book.state in (BookState.SYNCED, BookState.BUFFERING)
    assert refused > 2 * MUTATIONS // 5
    assert accepted > MUTATIONS // 50
    assert changed > MUTATIONS // 200
