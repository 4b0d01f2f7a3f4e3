"""Keys one at a time: each one waits until the one before it has done all that it does.

Textual hands a key to what has the focus when it is read. Where several arrive in one breath (a slow ssh, a macro, a paste into a
terminal that does not mark it), those behind a key that opens a prompt or a dialog would go to what was there before. Here a
key is let through when nothing of the last one is under way any more: its way up from the focus, what it set off on that way,
and a screen that opens, up to its first frame. What a key means is not decided here.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.message_pump import MessagePump
from textual.screen import Screen

PATIENCE_S: Final = 1.0
"""After that the next key comes in any case: something hangs, and a user who wants to leave must not hang with it."""
Typed = events.Key | events.Paste


class Keyboard:
    """The keys of one app. The app asks `held` for each that it gets, and runs `run` all the time."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._waiting: asyncio.Queue[Typed] = asyncio.Queue()
        self._due: Typed | None = None

    def held(self, event: events.Event) -> bool:
        """Whether an event is a key that has to wait; it comes back to the app when it is its turn."""
        if not isinstance(event, Typed) or event.is_forwarded or event is self._due:
            return False
        self._waiting.put_nowait(event)
        return True

    async def run(self) -> None:
        """Let keys through, one by one."""
        app = self._app
        while True:
            self._due = event = await self._waiting.get()
            before = self._top_and_way()
            app.post_message(event)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._done(*before)

    def _top_and_way(self) -> tuple[Screen[Any], list[DOMNode]]:
        """The screen on top, and what a key that comes now goes through: from the focus up to the app."""
        app = self._app
        return app.screen, list((app.focused or app.screen).ancestors_with_self)

    async def _done(self, top: Screen[Any], way: list[DOMNode]) -> None:
        """Until the key that came there has done what it does."""
        await _passed(self._app)
        await _passed(*way)
        seen = None
        while (now := self._top_and_way()) != seen:  # once at least: what a key posts goes the same way behind it
            seen = now
            if now[0] is not top:
                top = now[0]
                await _passed(top)
                drawn = asyncio.Event()
                if top.call_after_refresh(drawn.set):
                    await drawn.wait()
            await _passed(*now[1])


async def _passed(*pumps: MessagePump) -> None:
    """Until each, one after the other, has handled all that waits there; a closed one handles nothing more."""
    for pump in pumps:
        handled = asyncio.Event()
        if pump.call_later(handled.set):
            await handled.wait()
