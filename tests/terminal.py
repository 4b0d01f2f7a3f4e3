"""A real pseudo-terminal for tests: starts a program in it, reads what it draws, types, resizes, and stands still when told to.

A thread drains the terminal as a quick one would; `stall` makes it a slow one. `pyte` says what stands on the screen. Whether a
terminal was given back as it was found is judged by the modes that were set and taken back, and by its line settings. Waiting is
always for something to arrive, up to a deadline, and a failure shows the screen.
"""

import errno
import fcntl
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Final, Self, TypeAlias

import pyte

ROOT: Final = Path(__file__).resolve().parents[1]
DEADLINE_S: Final = 20.0
TICK_S: Final = 0.02
"""Between two looks at what no file descriptor tells: whether a process has stopped."""
ENCODING: Final = "utf-8"
MODE: Final = re.compile(rb"\x1b\[\?([\d;]+)([hl])")
MODES: Final[Mapping[int, str]] = {
    1049: "the alternate screen",
    1000: "mouse clicks",
    1002: "mouse drags",
    1003: "mouse moves",
    1006: "mouse coordinates",
    1015: "mouse coordinates of urxvt",
    1004: "focus reports",
    2004: "bracketed paste",
    2048: "size reports",
}
"""What a program may switch on and must switch off again."""
WRAPS: Final = 7
CURSOR: Final = 25
LineSettings: TypeAlias = list[int | list[bytes | int]]


def replay_command(*arguments: str | Path) -> list[str]:
    """`arbtop replay …` of this work tree."""
    return [sys.executable, "-m", "tui", "replay", *map(str, arguments)]


def plain_environment(home: Path, **more: str | None) -> dict[str, str]:
    """A user's environment with a home of its own, and nothing of this process but the path; None takes a variable out."""
    found: dict[str, str | None] = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "STATE", "CACHE")},
        **more,
    }
    return {name: value for name, value in found.items() if value is not None}


class Terminal:
    """One program in one terminal; leaving the `with` ends both.

    Args:
        command: program and arguments.
        environment: all of it.
        columns, rows: size to begin with, in cells.
        redirect: what a shell would get behind the command, such as `2>errors`.
        draining: False begins as a terminal whose reader stands still.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        columns: int = 160,
        rows: int = 50,
        *,
        redirect: str = "",
        draining: bool = True,
    ) -> None:
        self._ours, self._theirs = os.openpty()
        self._set_size(columns, rows)
        self._before: LineSettings = termios.tcgetattr(self._ours)
        self._news = Condition()
        self._bytes = bytearray()
        self._draining = draining
        self._closing = False
        self._wake_out, self._wake_in = os.pipe()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._fed = 0
        tty = os.ttyname(self._theirs)
        # A shell that leads its session and opens the terminal has it as its controlling one, and then becomes the program.
        line = f'exec "$@" <"{tty}" >"{tty}" 2>&1 {redirect}'
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", line, "sh", *command], env=dict(environment), start_new_session=True, cwd=environment.get("HOME")
        )
        self._code: int | None = None
        self._thread = Thread(target=self._drain, daemon=True, name="terminal")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.hang_up()

    # -- the reader --------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_out, selectors.EVENT_READ)
            reading = False
            while True:
                with self._news:
                    if self._closing:
                        return
                    draining = self._draining
                if draining != reading:
                    if draining:
                        selector.register(self._ours, selectors.EVENT_READ)
                    else:
                        selector.unregister(self._ours)
                    reading = draining
                for key, _ in selector.select():
                    if key.fd == self._wake_out:
                        os.read(self._wake_out, 64)
                        break
                else:
                    if not self._read():
                        return

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 1 << 16)
        except OSError as error:  # nobody has the other end any more
            if error.errno != errno.EIO:
                raise
            data = b""
        with self._news:
            self._bytes += data
            self._news.notify_all()
        return bool(data)

    def _tell_reader(self) -> None:
        os.write(self._wake_in, b".")

    def stall(self) -> None:
        """The reader stands still: what is written fills the terminal's buffer, then nothing more is taken."""
        with self._news:
            self._draining = False
        self._tell_reader()

    def resume(self) -> None:
        """The reader goes on."""
        with self._news:
            self._draining = True
        self._tell_reader()

    def hang_up(self) -> None:
        """The terminal is gone, as when its window is closed. Nothing can be done with it after that."""
        with self._news:
            if self._closing:
                return
            self._closing = True
        self._tell_reader()
        self._thread.join()
        for fd in (self._ours, self._theirs, self._wake_out, self._wake_in):
            os.close(fd)

    # -- what was drawn ----------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def count(self) -> int:
        """Bytes read so far: a mark to look from."""
        with self._news:
            return len(self._bytes)

    def read_from(self, mark: int = 0) -> bytes:
        """Every byte that was read after a mark."""
        with self._news:
            return bytes(self._bytes[mark:])

    @property
    def lines(self) -> list[str]:
        """The screen, one text a row."""
        with self._news:
            return self._lines()

    def _lines(self) -> list[str]:
        # A terminal ignores what it does not know; pyte draws the end of this one (kitty's keyboard protocol).
        self._stream.feed(re.sub(rb"\x1b\[[<>=]\d*u", b"", bytes(self._bytes[self._fed :])))
        self._fed = len(self._bytes)
        return list(self._screen.display)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait(self, what: str, found: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Until `found`, looked at after each arrival.

        Raises:
            AssertionError: with the screen, when it is not in time, or the program has ended without it.
        """
        end = time.monotonic() + deadline_s
        with self._news:
            while not found():
                left = end - time.monotonic()
                ended = self._process.poll() is not None and not _readable(self._ours)
                if left <= 0 or (ended and not found()):
                    why = f"it ended with {self._process.returncode}" if ended else f"{deadline_s:g} s are over"
                    screen = "\n".join(self._lines())
                    raise AssertionError(f"waited for {what}; {why}; the screen:\n{screen}")
                self._news.wait(min(left, 0.1))

    def wait_for(self, *texts: str, gone: Sequence[str] = (), deadline_s: float = DEADLINE_S) -> None:
        """Until all texts stand on the screen, and none of `gone` does."""

        def found() -> bool:
            screen = "\n".join(self._lines())
            return all(text in screen for text in texts) and not any(text in screen for text in gone)

        self.wait(f"{texts} without {tuple(gone)}", found, deadline_s)

    def wait_for_bytes(self, data: bytes, mark: int = 0, deadline_s: float = DEADLINE_S) -> None:
        """Until these bytes were written after a mark."""
        self.wait(repr(data), lambda: self._bytes.find(data, mark) >= 0, deadline_s)

    def wait_settled(self, still_s: float = 0.5) -> list[str]:
        """Until the same lines have stood for so long: what is said of a key (a mark) may be drawn a frame before what it does.

        Returns:
            Those lines.
        """
        seen: list[str] = []
        since = time.monotonic()

        def found() -> bool:
            nonlocal seen, since
            now, lines = time.monotonic(), self._lines()
            if lines != seen:
                seen, since = lines, now
            return now - since >= still_s

        self.wait(f"a screen that stands for {still_s:g} s", found)
        return seen

    # -- what a user does --------------------------------------------------------------------------------------------------

    def type(self, keys: str | bytes) -> None:
        """Send keys as a terminal would."""
        os.write(self._ours, keys.encode(ENCODING) if isinstance(keys, str) else keys)

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size; the program is told by SIGWINCH."""
        with self._news:
            self._lines()
            self._screen.resize(rows, columns)
        self._set_size(columns, rows)
        os.kill(self.pid, signal.SIGWINCH)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # -- the process -------------------------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_stopped(self, deadline_s: float = DEADLINE_S) -> None:
        """Until the program is stopped, as by Ctrl-Z, and what it wrote before that was read."""
        options = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
        end = time.monotonic() + deadline_s
        with self._news:
            while (state := os.waitid(os.P_PID, self.pid, options)) is None:
                assert time.monotonic() < end, "it does not stop"
                self._news.wait(TICK_S)
        assert state.si_code == os.CLD_STOPPED, f"it ended with {state.si_status} where it should have stopped"
        self._read_rest()

    def exit_code(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for the end; negative for a signal's number. All that was written is there then."""
        if self._code is None:
            self._code = self._process.wait(deadline_s)
            if self._draining and not self._closing:
                self._read_rest()
        return self._code

    def _read_rest(self) -> None:
        """What was written reaches this end at once, but in the thread's own time."""
        with self._news:
            while _readable(self._ours):
                self._news.wait(TICK_S)

    def kept(self) -> list[str]:
        """What the program has not given back; empty when the terminal is as it was found."""
        on: dict[int, bool] = {}
        for match in MODE.finditer(self.read_from()):
            on |= {int(mode): match[2] == b"h" for mode in match[1].split(b";")}
        kept = [name for mode, name in MODES.items() if on.get(mode, False)]
        kept += [name for mode, name in ((CURSOR, "the cursor"), (WRAPS, "line wrap")) if not on.get(mode, True)]
        if termios.tcgetattr(self._ours) != self._before:
            kept.append("the line settings")
        return kept


def _readable(fd: int) -> bool:
    """Whether there is something to read."""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        return bool(selector.select(0))
