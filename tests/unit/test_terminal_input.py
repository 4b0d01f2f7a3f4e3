"""What is typed into a pseudo-terminal is heard as keys, in whatever pieces it comes, and nothing else is."""

import asyncio
import os
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from textual import events
from textual.message import Message

from tui.widgets.terminal_input import TerminalInput

SOON_S: Final = 5.0


class Heard:
    """The keys and pastes that have come so far, and the terminal's other end."""

    def __init__(self, typing_end: int) -> None:
        self.typing_end = typing_end
        self.typed: list[str] = []
        self.more = asyncio.Event()

    def take(self, message: Message) -> None:
        if isinstance(message, events.Key):
            self.typed.append(message.key)
        elif isinstance(message, events.Paste):
            self.typed.append(f"paste {message.text}")
        self.more.set()

    def type(self, data: bytes) -> None:
        os.write(self.typing_end, data)

    async def until(self, *typed: str) -> None:
        async with asyncio.timeout(SOON_S):
            while self.typed != [*typed]:
                self.more.clear()
                await self.more.wait()


@asynccontextmanager
async def terminal() -> AsyncIterator[tuple[Heard, TerminalInput]]:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    heard = Heard(ours)
    typing = TerminalInput(theirs, heard.take)
    typing.start()
    try:
        yield heard, typing
    finally:
        typing.stop()
        for end in (heard.typing_end, theirs):
            os.close(end)


async def test_keys_come_in_their_order() -> None:
    async with terminal() as (heard, _):
        heard.type(b"3\x1b[A\x1bOP:+90\r")
        await heard.until("3", "up", "f1", "colon", "plus", "9", "0", "enter")


@pytest.mark.parametrize(("pieces", "keys"), [((b"\x1b", b"[B"), ("down",)), ((b"\xc3", b"\xa9x"), ("é", "x"))])
async def test_what_is_cut_apart_is_put_together(pieces: tuple[bytes, bytes], keys: tuple[str, ...]) -> None:
    async with terminal() as (heard, typing):
        heard.type(pieces[0])
        typing._read()  # now, not when the loop comes to it: the second piece must not come along
        assert heard.typed == []
        heard.type(pieces[1])
        await heard.until(*keys)


async def test_an_escape_alone_is_the_key_after_a_moment() -> None:
    async with terminal() as (heard, _):
        heard.type(b"\x1b")
        await heard.until("escape")
        heard.type(b"q")
        await heard.until("escape", "q")


async def test_a_paste_comes_as_one() -> None:
    async with terminal() as (heard, _):
        heard.type(b"\x1b[200~BTC-PERP\x1b[201~q")
        await heard.until("paste BTC-PERP", "q")


async def test_bytes_that_are_no_text_stop_nothing() -> None:
    async with terminal() as (heard, _):
        heard.type(b"\xff\xfeq")
        async with asyncio.timeout(SOON_S):
            while heard.typed[-1:] != ["q"]:
                heard.more.clear()
                await heard.more.wait()


async def test_a_terminal_that_is_gone_is_listened_to_no_more() -> None:
    async with terminal() as (heard, typing):
        loop = asyncio.get_running_loop()
        os.close(heard.typing_end)
        heard.typing_end = os.open(os.devnull, os.O_RDONLY)
        async with asyncio.timeout(SOON_S):
            while typing._loop is not None:
                await asyncio.sleep(0)
        assert not loop.remove_reader(typing._fileno)


async def test_what_is_typed_after_the_stop_is_left_to_others() -> None:
    async with terminal() as (heard, typing):
        heard.type(b"a\x1b")
        await heard.until("a")
        typing.stop()
        heard.type(b"b")
        assert os.read(typing._fileno, 10) == b"b"
        assert typing._rest is None  # nor does the escape come late
        typing.start()
        heard.type(b"c")  # and no half sequence of before is in it
        await heard.until("a", "c")
