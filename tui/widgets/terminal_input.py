"""What is typed into the terminal, read on the event loop.

Textual reads in a thread that wakes ten times a second, whether anything is typed or not: 0.2 ms a frame, a thirtieth of BOOK's,
and as much while a paused screen costs nothing else. The bytes mean what they mean to Textual: its parser reads them.
"""

import asyncio
import os
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable
from typing import Final

from textual._xterm_parser import XTermParser
from textual.constants import ESCAPE_DELAY
from textual.message import Message

CHUNK_BYTES: Final = 4_096
DECODER: Final = getincrementaldecoder("utf-8")


class TerminalInput:
    """Reads `fileno`, a terminal, between `start` and `stop`; each key, paste or answer of the terminal goes to `heard`."""

    def __init__(self, fileno: int, heard: Callable[[Message], object]) -> None:
        self._fileno = fileno
        self._heard = heard
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parser = XTermParser()
        self._decoder = DECODER("replace")
        self._rest: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen, on the loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._parser, self._decoder = XTermParser(), DECODER("replace")
        self._loop.add_reader(self._fileno, self._read)

    def stop(self) -> None:
        """Leave what is typed from now on to others."""
        if self._loop is not None:
            self._loop.remove_reader(self._fileno)
            self._loop = None
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _read(self) -> None:
        assert self._loop is not None
        try:
            data = os.read(self._fileno, CHUNK_BYTES)
        except OSError:
            data = b""
        if not data:  # the terminal is gone; who writes to it ends the program
            self.stop()
            return
        self._hear(self._parser.feed(text) if (text := self._decoder.decode(data)) else ())
        if self._rest is not None:
            self._rest.cancel()
        self._rest = self._loop.call_later(ESCAPE_DELAY, self._late) if self._loop is not None else None

    def _late(self) -> None:
        """Nothing has come behind an escape: it was the key, not the beginning of a sequence."""
        self._rest = None
        self._hear(self._parser.tick())

    def _hear(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._heard(message)
