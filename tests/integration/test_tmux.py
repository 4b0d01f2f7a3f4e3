"""Every key of the key table in tmux, at three sizes; windows resized, detached and attached. Skipped where there is no tmux.

A key's line says where it is pressed, what comes onto the screen and what goes from it. A test holds that no key is without one.
"""

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.made import record
from tests.terminal import plain_environment, replay_command
from tui.keys import KEYS, TABLE

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux on this machine")

SIZES: Final = ((160, 50), (120, 36), (80, 24))
DEADLINE_S: Final = 30.0
LOOK_S: Final = 0.02
DESK, BOOK, ALERTS, FEEDS = ("1", "DESK▌"), ("3", "BOOK▌"), ("7", "ALERTS▌"), ("8", "FEEDS▌")
RULES: Final = """
[[rule]]
id = "imbalance"
enabled = true
enter = 0.05
exit = 0.01
for_ms = 0
"""


class Tmux:
    """One tmux server of its own with one window that holds arbtop."""

    def __init__(self, home: Path, columns: int, rows: int, command: Sequence[str]) -> None:
        self._socket = home / "tmux"
        self._environment = plain_environment(home, TERM="xterm-256color")
        self.run(
            "-f", "/dev/null", "new-session", "-d", "-c", str(home), "-x", str(columns), "-y", str(rows), shlex.join(command)
        )
        self.run("set-option", "-g", "remain-on-exit", "on")
        self.run("set-option", "-s", "escape-time", "0")

    def run(self, *arguments: str) -> str:
        command = ["tmux", "-u", "-S", str(self._socket), *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=30, check=True).stdout

    @property
    def screen(self) -> str:
        return self.run("capture-pane", "-p")

    def press(self, *keys: str, leaving: Sequence[str] = ()) -> None:
        """Esc is Esc when nothing follows it at once, so what it leaves has to be there before it and gone after it."""
        for key in keys:
            if key == "Escape":
                self.wait_for(*leaving)
            self.run("send-keys", *(("-l", key) if len(key) == 1 else (key,)))
            if key == "Escape":
                self.wait_for(gone=leaving)

    def caught_up(self) -> str:
        """The screen when all that was pressed is done and drawn: keys are taken in their order, and these two are seen."""
        self.press("f")
        self.wait_for("FROZEN")
        self.press("f")
        return self.wait_for(gone=["FROZEN"])

    def wait_for(self, *texts: str, gone: Sequence[str] = (), differs: str | None = None) -> str:
        """Until all of that is so on the screen; returns it."""
        end = time.monotonic() + DEADLINE_S
        while True:
            screen = self.screen
            here = all(text in screen for text in texts) and not any(text in screen for text in gone)
            if here and (differs is None or screen != differs):
                return screen
            assert time.monotonic() < end, f"waited for {texts} without {tuple(gone)}; the screen:\n{screen}"
            time.sleep(LOOK_S)  # tmux tells nobody when a screen has changed

    def wait_dead(self) -> None:
        """Until the program has ended."""
        end = time.monotonic() + DEADLINE_S
        while self.run("display-message", "-p", "#{pane_dead}").strip() != "1":
            assert time.monotonic() < end, f"it does not end; the screen:\n{self.screen}"
            time.sleep(LOOK_S)

    def close(self) -> None:
        self.run("kill-server")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "market"
    record(path, seed=3, seconds=30.0)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "rules.toml").write_text(RULES)
    return tmp_path


Start = Callable[..., Tmux]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Starts a command in a window, and ends them all."""
    servers: list[Tmux] = []

    def begin(columns: int, rows: int, *command: str) -> Tmux:
        servers.append(Tmux(home, columns, rows, command))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()


@pytest.fixture
def opened(start: Start, made: Path, home: Path) -> Start:
    """arbtop on the made-up half minute, at its twentieth second."""

    def begin(columns: int, rows: int) -> Tmux:
        tmux = start(columns, rows, *replay_command(made, "--at", "+20", "--rules", home / "rules.toml"))
        tmux.wait_for("DESK▌", "BTC/USDT", "REPLAY")
        return tmux

    return begin


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def tmux(request: pytest.FixtureRequest, opened: Start) -> Tmux:
    """arbtop, paused, at each size, with alerts."""
    found = opened(*request.param)
    found.wait_for("▲")
    found.press("Space")
    found.wait_for("PAUSED")
    return found


class Press(NamedTuple):
    """A key where it is pressed. `shows` and `hides` are texts; without both the screen must differ.

    Esc among `keys` leaves what is in `hides`, Esc in `undo` what is in `shows`.
    """

    id: str
    screen: tuple[str, str]
    keys: tuple[str, ...]
    shows: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    """Keys that take it back."""


PRESSES: Final = (
    Press("book", DESK, ("3",), ("BOOK▌",), ("DESK▌",)),
    Press("alerts", DESK, ("7",), ("ALERTS▌",), ("DESK▌",)),
    Press("desk", BOOK, ("1",), ("DESK▌",), ("BOOK▌",)),
    Press("feeds", DESK, ("8",), ("FEEDS▌",), ("DESK▌",)),
    Press("reconnect", FEEDS, ("r",), ("nothing to steer",)),
    Press("resync", FEEDS, ("C-r",), ("nothing to steer",)),
    Press("pause", FEEDS, ("p",), ("nothing to steer",)),
    Press("record", FEEDS, ("R",), ("not recorded again",)),
    Press("down", DESK, ("j",)),
    Press("up", DESK, ("k",)),
    Press("down", DESK, ("Down",)),
    Press("up", DESK, ("Up",)),
    Press("last", DESK, ("G",)),
    Press("first", DESK, ("g",)),
    Press("last", DESK, ("End",)),
    Press("first", DESK, ("Home",)),
    Press("page_down", DESK, ("C-d",)),
    Press("page_up", DESK, ("C-u",)),
    Press("page_down", DESK, ("NPage",)),
    Press("page_up", DESK, ("PPage",)),
    Press("right", BOOK, ("l",)),
    Press("left", BOOK, ("h",)),
    Press("right", BOOK, ("Right",)),
    Press("left", BOOK, ("Left",)),
    Press("next_panel", DESK, ("Tab", "Enter"), ("ROUTE  ",), undo=("Escape",)),
    Press("previous_panel", DESK, ("BTab", "Enter"), ("BOOK▌",), undo=("1", "BTab", "BTab")),
    Press("detail", ALERTS, ("Enter",), ("ALERT #",), undo=("Escape",)),
    Press("back", ALERTS, ("?", "Escape"), ("ALERTS▌",), ("HELP",)),
    Press("filter", DESK, ("/", "z", "z", "z", "Enter"), ("MARKETS · filter “zzz”",), (), ("/", "C-u", "Enter")),
    Press("filter", ALERTS, ("/", "z", "z", "z", "Enter"), ("“zzz”",), (), ("/", "C-u", "Enter")),
    Press("instrument", BOOK, ("i",), ("CHOOSE",), undo=("Escape",)),
    Press("sort", ALERTS, ("s",), (), ("ALERTS  newest",)),
    Press("freeze", DESK, ("f",), ("FROZEN",), undo=("f",)),
    Press("zoom", DESK, ("z",), ("CLOSEST TO MONEY",), ("MARKETS",), ("z",)),
    Press("finer", BOOK, ("[",)),
    Press("coarser", BOOK, ("]",)),
    Press("up", BOOK, ("g", "Up", "Up", "Up"), ("moved by you",)),
    Press("centre", BOOK, ("c",), (), ("moved by you",)),
    Press("keep_centred", BOOK, ("C",), ("kept centred",), undo=("C",)),
    Press("unit", BOOK, ("u",), (), ("sizes in $",)),
    Press("cumulative", BOOK, ("d",), ("added up",), undo=("d",)),
    Press("axis", BOOK, ("o",)),
    Press("bigger", DESK, ("+",), ("size $100k",)),
    Press("smaller", DESK, ("-",), ("size $50k",)),
    Press("theme", DESK, ("T",), ("theme ",)),
    Press("ack", ALERTS, ("x",)),
    Press("mute", ALERTS, ("m",), ("muted",), undo=("m",)),
    Press("ack_all", ALERTS, ("X",), ("acknowledged",)),
    Press("copy", ALERTS, ("y",), ("opied",)),
    Press("export", ALERTS, ("e",), ("EXPORT",), undo=("Escape",)),
    Press("picture", DESK, ("P",), ("picture:",)),
    Press("goto", DESK, (":", *"15:59:55", "Enter"), ("15:59:55.0Z",), ("go to (",)),
    Press("step", DESK, (".",), ("15:59:55.1Z",)),
    Press("step_back", DESK, (",",), ("15:59:54.1Z",)),
    Press("slower", DESK, ("<", "Space"), ("0.5x",), (), ("Space",)),
    Press("faster", DESK, (">", "Space"), (" 1x",), (), ("Space",)),
    Press("goto", DESK, (":",), ("go to (",), undo=("Escape",)),
    Press("play", DESK, ("Space",), (), ("PAUSED",), ("Space",)),
    Press("help", BOOK, ("?",), ("HELP",), undo=("?",)),
    Press("palette", DESK, ("C-p",), ("Search for commands",), undo=("Escape",)),
)
WIDE_ONLY: Final = (Press("tape", BOOK, ("v",), ("PRINTS",), undo=("v",)),)
"""The tape has no room on a narrow screen; on this one it comes when it is asked for."""
ENDS: Final = {"suspend", "quit", "leave"}
"""Pressed in tests of their own."""


def test_every_key_of_the_table_is_pressed() -> None:
    assert {press.id for press in (*PRESSES, *WIDE_ONLY)} | ENDS == set(KEYS)
    assert len(TABLE) == len(KEYS)


def test_every_key_does_what_the_table_says(tmux: Tmux) -> None:
    wide = max(map(len, tmux.screen.splitlines())) > 150
    failed = []
    for press in (*PRESSES, *(WIDE_ONLY if wide else ())):
        key, sign = press.screen
        tmux.press(key)
        tmux.wait_for(sign, *(press.hides if len(press.keys) == 1 else ()))
        before = None if press.shows or press.hides else tmux.caught_up()
        try:
            tmux.press(*press.keys, leaving=press.hides)
            tmux.wait_for(*press.shows, gone=press.hides, differs=before)
            tmux.press(*press.undo, leaving=press.shows)
        except AssertionError as error:
            failed.append(f"{press.id}: {error}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("key", ["q", "C-c", "C-q"])
def test_a_key_to_leave_leaves(opened: Start, key: str) -> None:
    tmux = opened(80, 24)
    tmux.press(key)
    tmux.wait_dead()
    assert "DESK▌" not in tmux.screen


def test_suspended_by_a_key_it_comes_back_with_fg(start: Start, made: Path) -> None:
    tmux = start(120, 36, "/bin/sh", "-i")
    tmux.run("send-keys", shlex.join(replay_command(made)), "Enter")
    tmux.wait_for("DESK▌", "BTC/USDT")
    tmux.press("C-z")
    tmux.wait_for("Stopped", gone=["DESK▌"])
    tmux.run("send-keys", "fg", "Enter")
    tmux.wait_for("DESK▌", "BTC/USDT", "MARKETS", "? Help")
    tmux.press("q")
    tmux.wait_for("Stopped", "fg", gone=["DESK▌"])


def test_detached_and_attached_the_screen_is_whole(opened: Start, home: Path) -> None:
    tmux = opened(120, 36)
    tmux.press("Space")
    tmux.wait_for("PAUSED", "CLOSEST")
    before = tmux.caught_up()
    for _ in range(2):
        client = subprocess.Popen(
            ["script", "-qfc", shlex.join(["tmux", "-u", "-S", str(home / "tmux"), "attach"]), "/dev/null"],
            env=plain_environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + DEADLINE_S
        while not tmux.run("list-clients"):
            assert time.monotonic() < end, "nobody attached"
            time.sleep(LOOK_S)
        tmux.run("detach-client", "-a")
        tmux.run("detach-client", "-s", "0")
        assert client.stdin is not None
        client.stdin.close()
        client.wait(DEADLINE_S)
    tmux.run("resize-window", "-x", "120", "-y", "36")
    tmux.wait_for(before)


def test_a_window_of_another_size_is_filled_at_once(opened: Start) -> None:
    tmux = opened(160, 50)
    for columns, rows in ((80, 24), (200, 60), (60, 16), (120, 36)):
        tmux.run("resize-window", "-x", str(columns), "-y", str(rows))
        screen = tmux.wait_for("DESK▌", "? Help")
        end = time.monotonic() + DEADLINE_S
        while not filled(screen, columns, rows):
            assert time.monotonic() < end, f"{columns}x{rows}:\n{screen}"
            screen = tmux.screen


def filled(screen: str, columns: int, rows: int) -> bool:
    """The footer is in the last row, and a frame reaches the last column."""
    lines = screen.splitlines()
    return len(lines) == rows and "? Help" in lines[-1] and max(map(len, lines)) == columns
