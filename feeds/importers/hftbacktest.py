"""Format A: the collector of hftbacktest, for Binance. `<receive time> <combined-stream message>` a line, in us or ns.

A REST depth snapshot stands among them as a line without `stream`, and without a symbol on spot and USD-M. A file does not say
which market it is from: the messages tell (README of the recordings; protocols.md 1.5 `st` for later ones).
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from feeds.errors import DECODE_ERRORS
from feeds.importers.lines import EARLIEST_NS, FRAME, LATEST_NS, REST, Damage, Item, lines_of
from feeds.model import MS, Ns

VENUE: Final = "BINANCE"
SPOT, USDM, COINM = "spot", "usdm", "coinm"
MARKETS: Final = (SPOT, USDM, COINM)
_COINM_SYMBOL = re.compile(r"[A-Z0-9]+USD_(?:PERP|\d{6})")
_FAMILY = {1: USDM, 2: COINM}
_UNITS: Final = ((13, MS), (16, 1_000), (19, 1))
"""Digits of a time today, and what makes it ns."""


class _Data(Struct, gc=False):
    e: str = ""
    s: str = ""
    ps: str = ""
    st: int = 0
    pu: int | None = None
    E: int | None = None
    X: str = ""


class _Message(Struct, gc=False):
    stream: str | None = None
    data: _Data | None = None
    lastUpdateId: int | None = None
    symbol: str = ""
    id: int | str | None = None
    code: int | None = None


_message = msgspec.json.Decoder(_Message).decode


class MarketGuess:
    """Finds out from its messages which market a file is from, and which symbols it holds."""

    def __init__(self) -> None:
        self.market: str | None = None
        self.symbols: dict[str, None] = {}
        """Upper case, in order of appearance."""
        self._weak: str | None = None

    def see(self, text: bytes) -> None:
        """One frame that `items` let through."""
        message = _message(text)
        data = message.data
        if message.stream is None or data is None:
            return
        symbol = (data.s or message.stream.partition("@")[0]).upper()
        self.symbols[symbol] = None
        if self.market is not None:
            return
        if _COINM_SYMBOL.fullmatch(symbol) or _FAMILY.get(data.st) == COINM:
            self.market = COINM
        elif data.e == "depthUpdate":
            self.market = USDM if data.pu is not None else SPOT
        elif data.e == "bookTicker" or data.e == "markPriceUpdate" or data.X:
            self._weak = USDM
        elif not data.e or data.e == "trade":
            self._weak = self._weak or SPOT  # spot alone has best quotes without an event name, and trades without X

    @property
    def best(self) -> str | None:
        """The market, by a depth update where there was one; None where nothing said."""
        return self.market or self._weak


def items(path: Path, damage: Damage, progress: Callable[[int], object]) -> Iterator[Item]:
    """What the file holds, in its order. Bad lines are left out and named."""
    for number, line in lines_of(path, damage, progress):
        stamp, _, text = line.partition(b" ")
        at = _time(stamp)
        if at is None:
            damage.line(path, number, "it does not begin with a receive time in ms, us or ns")
            continue
        try:
            message = _message(text)
        except DECODE_ERRORS:
            damage.line(path, number, "it holds no whole message")
            continue
        if message.lastUpdateId is not None and message.stream is None:
            yield Item(at, number, REST, "", message.symbol, text)
        elif message.stream is not None or message.id is not None or message.code is not None:
            yield Item(at, number, FRAME, "", "", text)
        else:
            damage.line(path, number, "it holds neither a stream's message nor a snapshot")


def _time(stamp: bytes) -> Ns | None:
    if not stamp.isdigit():
        return None
    unit = next((unit for digits, unit in _UNITS if len(stamp) == digits), 0)
    at = int(stamp[:19]) * unit
    return at if EARLIEST_NS <= at < LATEST_NS else None
