"""What the program says to the terminal goes out through a thread of our own, which never makes the event loop wait.

Textual's writer takes thirty writes and then blocks the loop until the terminal reads (Ctrl-S, a stalled ssh, a paused tmux):
feeds would stand still. Here every write is queued and counted; screens ask `Outlet.pending_bytes` and leave frames out while
the terminal is behind, so the queue stays short. A terminal that is gone ends the program instead of hanging it.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

from tui.widgets.terminal_input import TerminalInput

LAST_WORDS_S: Final = 1.0
"""How long an end waits for the terminal to take what is queued: long enough to restore it, not for ever."""


class Outlet:
    """A queue of writes to one file descriptor, and the thread that empties it."""

    def __init__(self, fileno: int, on_gone: Callable[[], object]) -> None:
        self._fileno = fileno
        self._on_gone = on_gone
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = Thread(target=self._run, daemon=True, name="arbtop-output")
        self.queued_bytes = 0
        """Handed in so far; only the writer's caller changes it."""
        self.written_bytes = 0
        """Taken by the terminal so far; only the thread changes it."""
        self._thread.start()

    @property
    def pending_bytes(self) -> int:
        """What the terminal has not taken yet."""
        return self.queued_bytes - self.written_bytes

    def write(self, text: str) -> None:
        """Queue text; never waits."""
        data = text.encode("utf-8", "replace")
        self.queued_bytes += len(data)
        self._queue.put(data)

    def close(self) -> None:
        """Wait a moment for the rest to go out; a terminal that does not read keeps nobody."""
        self._queue.put(None)
        self._thread.join(LAST_WORDS_S)

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            view = memoryview(data)
            try:
                while view:
                    sent = os.write(self._fileno, view)
                    view = view[sent:]
            except OSError:  # the terminal is gone: what is still queued has no reader
                self._on_gone()
                return
            self.written_bytes += len(data)


class TerminalDriver(LinuxDriver):
    """Textual's driver with an `Outlet` in place of its writer; SIGTERM and SIGHUP end the program with the terminal restored.

    An app that has an attribute `outlet` finds it there while the terminal is its own.
    """

    outlet: Outlet | None = None
    _input: TerminalInput | None = None

    def write(self, data: str) -> None:
        if self.outlet is not None:
            self.outlet.write(data)

    def start_application_mode(self) -> None:
        if self.outlet is not None:  # it runs: SIGCONT comes to programs that no key has stopped, too
            if not os.isatty(self.fileno):
                return  # the system sends it behind SIGHUP when the terminal is gone
            self.suspend_application_mode()
        loop = asyncio.get_running_loop()
        assert self._file is not None  # the command line refuses to draw where stderr is no terminal
        self.outlet = Outlet(self._file.fileno(), lambda: loop.call_soon_threadsafe(self._leave))
        if hasattr(self._app, "outlet"):
            self._app.outlet = self.outlet
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self._input = TerminalInput(self.fileno, self.process_message)
        self._input.start()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._leave)

    def run_input_thread(self) -> None:
        """Nothing: Textual's thread ends at once. At the end of its input it would turn for ever, and keep the program alive."""

    def disable_input(self) -> None:
        if self._input is not None:
            self._input.stop()
        super().disable_input()

    def close(self) -> None:
        super().close()
        if self.outlet is not None:
            self.outlet.close()
            self.outlet = None

    def _leave(self) -> None:
        app: App[Any] = self._app
        with suppress(RuntimeError):
            app.exit()
