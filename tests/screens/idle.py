"""When a program on the stage has nothing more to do: its loop has nothing ready, and no timer is due at once.

Textual's own answer sleeps a fiftieth of a second and looks how much CPU the process has had. That is most of the time of a test,
and a process that the machine keeps waiting looks idle. Work in threads is not seen here: who starts it waits for it.
"""

import asyncio
import time
from typing import Any, Final

import pytest

SOON_S: Final = 0.02
"""A frame of Textual, and a little: a timer that is due so soon belongs to what was just done."""
SETTLED: Final = 3
"""Looks in a row, since what arrives by a file descriptor is ready only when the loop has looked at it."""


async def until_idle(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """In place of `textual._wait.wait_for_idle`, with its arguments; the first has no meaning here."""
    loop: Any = asyncio.get_running_loop()
    end = time.monotonic() + max_sleep
    settled = 0
    while settled < SETTLED and time.monotonic() < end:
        await asyncio.sleep(0)
        if loop._ready:
            settled = 0
            continue
        due = [timer.when() for timer in loop._scheduled if not timer.cancelled() and timer.when() < loop.time() + SOON_S]
        if due:
            settled = 0
            await asyncio.sleep(max(min(due) - loop.time(), 0.0))
        else:
            settled += 1


@pytest.fixture(autouse=True)
def _idle_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("app", "pilot"):
        monkeypatch.setattr(f"textual.{module}.wait_for_idle", until_idle)
