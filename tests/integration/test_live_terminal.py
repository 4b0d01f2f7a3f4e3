"""The screens on live data in a real pseudo-terminal and in tmux: the demo, and what is seen where no network is.

Waiting is for what the program draws. Nothing here speaks to another machine: it is the demo, or ports at which nobody listens.
"""

import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from feeds.model import SECOND
from feeds.recording import Recording
from tests.integration.test_live_commands import KEYS, MARKETS, SECRET, children_of, is_running, offline
from tests.integration.test_terminal import seconds_of, wait_until_later
from tests.integration.test_tmux import LOOK_S, Tmux
from tests.terminal import Terminal, plain_environment

DEMO_S: Final = 30.0
AWAY_S: Final = 6.0
"""Longer than any link may be silent."""
WHOLE_S: Final = 0.03
"""A frame is there as a whole when nothing follows for so long: the next is a tenth of a second away."""
STALLED_S: Final = 5.0
QUIT_S: Final = 2.0
QUICK: Final = 5
"""A seed whose first window is over after twenty seconds."""
LIVE: Final = "this is live"
MARKET: Final = re.compile(r"^│.(?:BIN|BYB) .*$", re.MULTILINE)
BELIEVED: Final = re.compile(r"● ")
BELIEVED_TOUCH: Final = re.compile(r"^│.((?:BIN|BYB) \S+ \S+) +● +\S+ +([\d.]+) +([\d.]+) ", re.MULTILINE)

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the simulator is looked for in /proc")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    return place


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "tui", *map(str, arguments)]


Open = Callable[..., Terminal]


@pytest.fixture
def opened(home: Path) -> Iterator[Open]:
    """Starts arbtop, and ends it."""
    terminals: list[Terminal] = []

    def start(*arguments: str | Path, columns: int = 120, rows: int = 36) -> Terminal:
        terminals.append(Terminal(command(*arguments), plain_environment(home, **KEYS), columns, rows))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.__exit__(None, None, None)


def all_up(terminal: Terminal) -> bool:
    found = re.search(r"DEMO ● (\d+) of (\d+) up", terminal.text)
    return found is not None and found[1] == found[2] != "0"


def wait_all_up(terminal: Terminal) -> None:
    terminal.wait("every connection up", lambda: all_up(terminal), DEMO_S)


def test_the_demo_shows_two_venues_that_move_and_a_route_that_opens_and_closes(opened: Open, home: Path) -> None:
    terminal = opened("demo", "--seed", str(QUICK), "--state", home / "log")
    terminal.wait_for("DESK▌", "BIN ●", "BYB ●", deadline_s=DEMO_S)
    wait_all_up(terminal)
    before = terminal.text
    wait_until_later(terminal, seconds_of(terminal))
    terminal.wait("prices that move", lambda: MARKET.findall(terminal.text) != MARKET.findall(before))
    for key in (" ", ",", ":"):
        mark = terminal.count
        terminal.type(key)
        terminal.wait_for_bytes(LIVE.encode(), mark)
    terminal.wait_for("■ OPEN", deadline_s=DEMO_S)
    terminal.wait_for("■ crit route", deadline_s=DEMO_S)
    terminal.wait_for("closed", gone=["■ OPEN"], deadline_s=DEMO_S)
    terminal.type("q")
    assert terminal.exit_code() == 0
    assert (home / "log" / "alerts").exists()


def test_a_demo_that_is_left_ends_at_once_and_leaves_nothing(opened: Open) -> None:
    terminal = opened("demo")
    wait_all_up(terminal)
    children = children_of(terminal.pid)
    assert len(children) == 1
    terminal.type("q")
    assert terminal.exit_code(QUIT_S + 1) == 0
    assert terminal.kept() == []
    assert not any(is_running(child) for child in children)


def test_what_was_live_before_a_stop_is_not_shown_as_live_after_it(opened: Open) -> None:
    terminal = opened("demo")
    wait_all_up(terminal)
    terminal.type("\x1a")
    terminal.wait_stopped()
    assert terminal.kept() == []
    stopped_at = seconds_of(terminal)
    before = touches(terminal.text)
    assert before
    time.sleep(AWAY_S)
    mark = terminal.count
    terminal.signal(signal.SIGCONT)
    terminal.wait_for_bytes(b"\x1b[?1049h", mark)
    terminal.wait("a frame of now", lambda: seconds_of(terminal) > stopped_at + AWAY_S - 1)
    first = "\n".join(terminal.wait_settled(WHOLE_S))  # its head may be there before its rows
    believed = {name: touch for name, touch in touches(first).items() if name in before}
    old = {name for name, touch in believed.items() if touch == before[name]}  # one may stand where it stood, or have come back
    assert len(old) <= len(believed) // 4, f"shown as live, and of before the stop: {old}\n{first}"
    wait_all_up(terminal)
    terminal.wait("books that are believed", lambda: all_believed(terminal.text), DEMO_S)
    terminal.type("q")
    assert terminal.exit_code() == 0


def touches(text: str) -> dict[str, tuple[str, str]]:
    """Bid and ask of each market that is shown as believed."""
    return {found[1]: (found[2], found[3]) for found in BELIEVED_TOUCH.finditer(text)}


def all_believed(text: str) -> bool:
    markets = MARKET.findall(text)
    return bool(markets) and all(BELIEVED.search(line) for line in markets)


def test_a_terminal_that_is_not_read_keeps_no_feed_waiting(opened: Open, home: Path) -> None:
    kept = home / "kept"
    terminal = opened("demo", "--record", kept)
    wait_all_up(terminal)
    terminal.wait_for("● REC")
    terminal.stall()
    begun_at = seconds_of(terminal)
    time.sleep(STALLED_S)
    terminal.resume()
    terminal.wait("the time of now", lambda: seconds_of(terminal) >= begun_at + STALLED_S - 1)
    assert all_up(terminal), "a connection was lost meanwhile"
    terminal.wait("books that are believed", lambda: all_believed(terminal.text))
    terminal.type("q")
    terminal.wait_for("once more to end it and leave")
    terminal.type("q")
    assert terminal.exit_code() == 0
    assert terminal.kept() == []
    recording = Recording(kept)
    stamps = [record.recv_ns for record in recording.records() if record.kind == "t"]
    assert recording.damage == []
    assert stamps[-1] - stamps[0] > STALLED_S * SECOND
    assert max(after - before for before, after in pairwise(stamps)) < SECOND, "frames waited for the terminal"


def test_a_recording_is_begun_and_ended_by_a_key(opened: Open, home: Path) -> None:
    terminal = opened("demo")
    wait_all_up(terminal)
    terminal.type("R")
    terminal.wait_for("record into a new directory")
    terminal.type("\r")
    terminal.wait_for("● REC")
    wait_until_later(terminal, seconds_of(terminal) + 1)
    mark = terminal.count
    terminal.type("R")
    terminal.wait_for_bytes(b"recorded", mark)
    terminal.wait_for("DEMO", gone=["● REC"])
    terminal.type("q")
    assert terminal.exit_code() == 0
    (kept,) = (home / "data" / "arbtop" / "recordings").iterdir()
    recording = Recording(kept)
    kinds = {record.kind for record in recording.records()}
    assert {"i", "o", "s", "t"} <= kinds
    assert recording.damage == []


def test_without_a_network_the_screens_open_and_say_why_there_is_nothing(opened: Open, home: Path) -> None:
    terminal = opened("--config", offline(home))
    terminal.wait_for("DESK▌", "MARKETS")
    terminal.wait_for("LIVE ○ no venue answers", *(f"{market}: no instruments: 127.0.0.1:9" for market in MARKETS))
    terminal.wait_for("arbtop doctor says what may be wrong")
    terminal.type("8")
    terminal.wait_for("FEEDS▌", *(f"{market}" for market in MARKETS))
    terminal.type("q")
    assert terminal.exit_code() == 0
    assert terminal.kept() == []


def test_keys_of_the_environment_are_in_no_picture_and_on_no_screen(opened: Open, home: Path) -> None:
    terminal = opened("demo")
    wait_all_up(terminal)
    for key in "378":
        terminal.type(key)
        terminal.type("P")
        terminal.wait_for("picture:")
    terminal.type("q")
    assert terminal.exit_code() == 0
    pictures = list(home.rglob("*.svg"))
    assert pictures
    assert not any(SECRET in path.read_text() for path in pictures)
    assert SECRET.encode() not in terminal.read_from()


def test_a_crash_shows_no_key_of_the_environment(home: Path) -> None:
    crash = (
        "import sys; from tui.screens.desk import DeskScreen\n"
        "def broken(self, scene): raise ZeroDivisionError('made to fail')\n"
        "DeskScreen.show = broken\n"
        "sys.argv = ['arbtop', 'demo']\n"
        "from tui.cli import main; main()\n"
    )
    with Terminal([sys.executable, "-c", crash], plain_environment(home, **KEYS), 120, 36) as terminal:
        assert terminal.exit_code() == 1
        assert terminal.kept() == []
        said = terminal.read_from()
        assert b"made to fail" in said
        assert SECRET.encode() not in said


@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux on this machine")
def test_in_tmux_the_demo_comes_up_and_is_left(home: Path) -> None:
    tmux = Tmux(home, 120, 36, command("demo", "--seed", "3"))
    try:
        end = time.monotonic() + DEMO_S
        while not re.search(r"DEMO ● (\d+) of \1 up", tmux.screen):
            assert time.monotonic() < end, tmux.screen
            time.sleep(LOOK_S)
        before = tmux.wait_for("DESK▌", "BTC/USDT")
        tmux.wait_for("DESK▌", differs=before)
        tmux.press("q")
        tmux.wait_dead()
    finally:
        tmux.close()
