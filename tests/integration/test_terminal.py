"""The program in a real pseudo-terminal: how it ends, stops and resizes, one that does not read, and what is never written.

All on made-up markets. Waiting is for what the program draws; nothing here asserts on how long something took.
"""

import base64
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from msgspec import structs

from feeds.hub import Hub
from feeds.model import SECOND, Instrument
from feeds.recording import Closed, Header, Opened, Recording, RecordingWriter
from feeds.venue import NoListener
from feeds.venues import VENUES
from tests.made import record, subscriptions
from tests.market import SeededMarket, instruments
from tests.terminal import Terminal, plain_environment, replay_command
from tui.driver import TerminalDriver

HOME_SIGN = "CLOSEST TO MONEY"
SECONDS = 60.0
CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)\.(\d)Z")
TERMINATE = re.compile(rb"\x1b\[\?1049l")
CONTINUE_S = 30.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of six markets."""
    path = tmp_path_factory.mktemp("made") / "market"
    record(path, seed=3, seconds=SECONDS)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    return place


Open = Callable[..., Terminal]


@pytest.fixture
def opened(made: Path, home: Path) -> Iterator[Open]:
    """Starts arbtop on the made-up minute and waits for DESK."""
    terminals = []

    def start(*arguments: str, columns: int = 120, rows: int = 36, path: Path = made, **environment: str) -> Terminal:
        terminal = Terminal(replay_command(path, *arguments), plain_environment(home, **environment), columns, rows)
        terminals.append(terminal)
        terminal.wait_for(HOME_SIGN, "BTC/USDT")
        return terminal

    yield start
    for terminal in terminals:
        terminal.__exit__(None, None, None)


def seconds_of(terminal: Terminal) -> float:
    """The time that the header shows, in seconds of the day; a screen that is just opening shows none, which is -1."""
    found = CLOCK.search(terminal.text)
    if found is None:
        return -1.0
    hours, minutes, seconds, tenths = map(int, found.groups())
    return hours * 3600 + minutes * 60 + seconds + tenths / 10


def wait_until_later(terminal: Terminal, than: float) -> None:
    """Until the header's clock has gone on."""
    terminal.wait(f"a time after {than}", lambda: seconds_of(terminal) > than, CONTINUE_S)


# -- the end ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_leaves_the_terminal_as_it_was(opened: Open, number: signal.Signals) -> None:
    terminal = opened()
    assert "the alternate screen" in terminal.kept(), "nothing was taken, so nothing is shown by giving it back"
    terminal.signal(number)
    assert terminal.exit_code() == 0
    assert terminal.kept() == []


@pytest.mark.parametrize("key", ["q", "\x03", "\x11"], ids=["q", "ctrl+c", "ctrl+q"])
def test_a_key_to_leave_leaves_the_terminal_as_it_was(opened: Open, key: str) -> None:
    terminal = opened()
    terminal.type(key)
    assert terminal.exit_code() == 0
    assert terminal.kept() == []


def test_leaving_prints_nothing_over_the_users_shell(opened: Open) -> None:
    terminal = opened()
    terminal.type("q")
    terminal.exit_code()
    after = TERMINATE.split(terminal.read_from())[-1]
    assert re.sub(rb"\x1b\[[?<>]?[\d;]*[a-zA-Z]", b"", after).strip() == b""


def test_a_window_that_is_closed_ends_the_program(opened: Open) -> None:
    terminal = opened()
    terminal.hang_up()
    assert terminal.exit_code() == 0


def test_a_window_that_is_closed_on_a_stopped_program_ends_it(opened: Open) -> None:
    """The system wakes it to say so: it must not go on without a terminal, nor turn round and round at the end of its input."""
    terminal = opened()
    terminal.type("\x1a")
    terminal.wait_stopped()
    terminal.hang_up()
    terminal.exit_code()


def test_a_crash_in_a_screen_gives_the_terminal_back_and_shows_the_traceback_after_that(made: Path, home: Path) -> None:
    crash = (
        "import sys; from tui.screens.book import BookScreen\n"
        "def broken(self, scene): raise ZeroDivisionError('made to fail')\n"
        "BookScreen.show = broken\n"
        f"sys.argv = ['arbtop', 'replay', {str(made)!r}]\n"
        "from tui.cli import main; main()\n"
    )
    with Terminal([sys.executable, "-c", crash], plain_environment(home), 120, 36) as terminal:
        terminal.wait_for(HOME_SIGN)
        terminal.type("3")
        assert terminal.exit_code() == 1
        assert terminal.kept() == []
        after = TERMINATE.split(terminal.read_from())[-1]
        assert b"made to fail" in after


# -- stopped and continued -------------------------------------------------------------------------------------------------


def test_a_stopped_program_gives_the_terminal_back_and_goes_on_from_where_it_was(opened: Open) -> None:
    terminal = opened()
    wait_until_later(terminal, seconds_of(terminal))
    terminal.type("\x1a")
    terminal.wait_stopped()
    assert terminal.kept() == []
    before = seconds_of(terminal)
    mark = terminal.count
    terminal.signal(signal.SIGCONT)
    terminal.wait_for_bytes(b"\x1b[?1049h", mark)
    whole = f"MARKETS.*{HOME_SIGN}".encode()
    terminal.wait("a whole screen", lambda: re.search(whole, terminal.read_from(mark), re.DOTALL) is not None)
    wait_until_later(terminal, before)
    assert seconds_of(terminal) - before < 5.0, "time that the program was stopped was played"
    assert "the alternate screen" in terminal.kept()
    terminal.type("q")
    assert terminal.exit_code() == 0
    assert terminal.kept() == []


@pytest.mark.parametrize("stopped", [False, True])
def test_woken_without_a_key_having_stopped_it_it_takes_the_terminal_anew(opened: Open, stopped: bool) -> None:
    """`kill -STOP` and `kill -CONT`, or the latter alone: what the terminal was like before is not forgotten for it."""
    terminal = opened()
    if stopped:
        terminal.signal(signal.SIGSTOP)
        terminal.wait_stopped()
    mark = terminal.count
    terminal.signal(signal.SIGCONT)
    terminal.wait_for_bytes(b"\x1b[?1049h", mark)
    wait_until_later(terminal, seconds_of(terminal))
    assert "the alternate screen" in terminal.kept()
    terminal.type("3")
    terminal.wait_for("BOOK  BTC")
    terminal.type("q")
    assert terminal.exit_code() == 0
    assert terminal.kept() == []


# -- no terminal -----------------------------------------------------------------------------------------------------------


def lines_on_stderr(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_redirected_stderr_is_refused_in_one_line(made: Path, home: Path) -> None:
    errors = home / "errors"
    with Terminal(replay_command(made), plain_environment(home), redirect=f"2>'{errors}'") as terminal:
        assert terminal.exit_code() == 2
        assert terminal.read_from() == b""
    (line,) = lines_on_stderr(errors)
    assert line.startswith("arbtop: stderr is no terminal: ")


def test_keys_from_a_pipe_are_refused_in_one_line(made: Path, home: Path) -> None:
    with Terminal(replay_command(made), plain_environment(home), redirect="</dev/null") as terminal:
        assert terminal.exit_code() == 2
        assert terminal.read_from().decode().startswith("arbtop: stdin is no terminal: ")
        assert terminal.read_from().count(b"\n") == 1


def test_no_terminal_at_all_is_refused_in_one_line(made: Path, home: Path) -> None:
    done = subprocess.run(
        replay_command(made),
        env=plain_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("arbtop: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_terminal_that_cannot_draw_is_refused_in_one_line(made: Path, home: Path, term: str | None) -> None:
    with Terminal(replay_command(made), plain_environment(home, TERM=term)) as terminal:
        assert terminal.exit_code() == 2
        said = terminal.read_from().decode()
        assert said.startswith("arbtop: TERM is dumb: ")
        assert said.count("\n") == 1
        assert "\x1b" not in said


# -- keys ------------------------------------------------------------------------------------------------------------------


def test_keys_that_come_in_one_breath_go_where_they_are_meant(opened: Open) -> None:
    terminal = opened()
    wait_until_later(terminal, 1.0)
    terminal.type(" ")
    terminal.wait_for("PAUSED")
    before = seconds_of(terminal)
    terminal.type("/usdt\r:+5\r7/sev>=warn\r?")
    terminal.wait_for("HELP  ALERTS")
    terminal.wait("five seconds later", lambda: 4.8 < seconds_of(terminal) - before < 5.2)
    terminal.type("17")
    terminal.wait_for("filter “sev>=warn”")
    terminal.type("1")
    terminal.wait_for("· filter “usdt”", "MARKETS")


# -- sizes -----------------------------------------------------------------------------------------------------------------


def test_a_storm_of_sizes_ends_on_a_right_screen(opened: Open) -> None:
    terminal = opened()
    rng = random.Random(1)
    for number in range(60):
        terminal.resize(rng.randint(20, 250), rng.randint(5, 80))
        if not number % 15:
            terminal.type("137"[number // 15 % 3])
    terminal.type("1 ")
    terminal.resize(120, 36)
    terminal.wait_for(HOME_SIGN, "MARKETS", "? Help", "DESK▌")
    terminal.wait("every line in its place", lambda: well_framed(terminal.lines))
    assert "Traceback" not in terminal.text
    terminal.type("q")
    assert terminal.exit_code() == 0
    assert terminal.kept() == []
    assert b"Traceback" not in terminal.read_from()


def well_framed(lines: list[str]) -> bool:
    """Frames begin and end where they should, so no line has slipped."""
    edges = {"╭": "╮", "│": "│", "╰": "╯"}
    framed = [line for line in lines if line[0] in edges]
    return len(framed) >= 20 and all(line[-1] == edges[line[0]] for line in framed)


# -- a terminal that does not read -----------------------------------------------------------------------------------------


def test_a_terminal_that_stands_still_stops_no_record(made: Path, home: Path) -> None:
    """The child says on a file where the replay is, each half second; the loop that says it is the one that draws."""
    told = home / "told"
    child = (
        "import asyncio, sys; from tui.app import ArbtopApp\n"
        "mount = ArbtopApp.on_mount\n"
        "async def tell(self):\n"
        f"    with open({str(told)!r}, 'w', buffering=1) as file:\n"
        "        while True:\n"
        "            file.write(f'{self.source.status.position} {self.meter.skipped} {self.outlet.pending_bytes}\\n')\n"
        "            await asyncio.sleep(0.1)\n"
        "def on_mount(self):\n"
        "    mount(self)\n"
        "    self.run_worker(tell(self))\n"
        "ArbtopApp.on_mount = on_mount\n"
        f"sys.argv = ['arbtop', 'replay', {str(made)!r}]\n"
        "from tui.cli import main; main()\n"
    )
    with Terminal([sys.executable, "-c", child], plain_environment(home), 160, 50) as terminal:

        def last() -> tuple[int, int, int]:
            lines = told.read_text().splitlines() if told.exists() else []
            return tuple(map(int, lines[-1].split())) if lines else (0, 0, 0)  # type: ignore[return-value]

        terminal.wait_for(HOME_SIGN)
        terminal.type("3")
        terminal.wait_for("BOOK  BTC", gone=["no book"])
        terminal.stall()
        before = last()[1]
        terminal.wait("frames left out", lambda: last()[1] > before + 3 and last()[2] > 0)
        position, skipped, _ = last()
        terminal.wait("records and left out frames", lambda: last()[0] > position + 300 and last()[1] > skipped + 10)
        assert last()[2] < 200_000, "frames pile up while nobody reads"
        terminal.resume()
        terminal.wait("nothing pending", lambda: last()[2] == 0)
        terminal.type(" ")
        terminal.wait_for("PAUSED", "BOOK  BTC")
        terminal.wait("every line in its place", lambda: well_framed(terminal.lines))
        shown = terminal.wait_settled()
        mark = terminal.count
        terminal.resize(159, 50)
        terminal.resize(160, 50)
        terminal.wait("a screen drawn anew", lambda: terminal.count > mark + 5_000 and well_framed(terminal.lines))
        terminal.wait_for("PAUSED", "BOOK  BTC")
        assert terminal.wait_settled() == shown, "what was left out is missing on the screen"
        terminal.type("q")
        assert terminal.exit_code() == 0


def test_the_end_comes_although_nobody_reads(opened: Open) -> None:
    terminal = opened(columns=160, rows=50)
    terminal.type("3")
    terminal.wait_for("BOOK  BTC")
    terminal.stall()
    terminal.type("713713")
    terminal.signal(signal.SIGTERM)
    assert terminal.exit_code(deadline_s=10.0) == 0


# -- what comes from outside -----------------------------------------------------------------------------------------------

CLIPBOARD = "\x1b]52;c;SEFDS0VE\x07"
TITLE = "\x1b]0;pwn\x07"
COLOUR = "\x1b[31;5m"
C1 = "\x9b2J"
TURNED = "\u202e"
MARKUP = "[BTC-PERP]"
WIDE = "比特币"
HOSTILE = {
    "bybit.spot": (f"A{CLIPBOARD}B", f"USDT{TURNED}"),
    "bybit.linear": (MARKUP, "USDT"),
    "bybit.inverse": (WIDE + COLOUR, f"USD\n{C1}"),
    "binance.usdm": (MARKUP, f"USDT{TITLE}"),
}
HOSTILE_S = 90.0
"""So long that a slow machine has gone through every screen before the replay ends: its clock says that a frame was drawn."""
FORBIDDEN = ("\x1b]52;c;SEFD", "\x1b]0;", COLOUR, "\x1b[2J", TURNED)
CONTROLS = re.compile("[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
COPIED = re.compile("\x1b\\]52;c;([A-Za-z0-9+/=]*)\x07")
POINTER = re.compile("\x1b\\]22;[a-z-]*\x07")
"""Textual tells the terminal which mouse pointer to show."""
COMMANDS = re.compile("\x1b(?![\\[(])")
"""Escapes other than those that move, colour and switch modes."""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up market with names that no venue should give; two links are closed with such reasons."""
    path = tmp_path_factory.mktemp("hostile") / "market"
    market = SeededMarket(5, HOSTILE_S, markets=tuple(HOSTILE))
    named = {name: spoilt(instrument, *HOSTILE[name]) for name, instrument in instruments().items() if name in HOSTILE}
    frames = list(market.frames())
    begin = frames[0].recv_ns
    hub = Hub(VENUES, NoListener())
    writer = RecordingWriter(path, Header(start_wall_ns=begin, source="made"), hub.head)
    hub.watch(named.values(), begin)
    writer.write(begin, "i", "-", msgspec.json.encode(list(named.values())))
    conns: set[str] = set()
    closed: set[str] = set()
    for at, conn, name, data in frames:
        if conn not in conns:
            conns.add(conn)
            streams = [(named[name].id, channel) for _, channel in subscriptions(conn, name)]
            opened = Opened(named[name].venue, named[name].market, "", streams)
            writer.write(at, "o", conn, msgspec.json.encode(opened))
        if conn == "bybit.spot" and at > begin + 10 * SECOND:
            if conn not in closed:
                closed.add(conn)
                writer.write(at, "c", conn, msgspec.json.encode(Closed(1006, f"gone{CLIPBOARD}{C1}{MARKUP}{TURNED}")))
            continue
        writer.write(at, "t", conn, data)
        if not len(data) % 50:
            writer.write(at, "t", conn, f'{{"bad": "{TITLE}{C1}{MARKUP}'.encode())
    writer.close()
    return path


def spoilt(instrument: Instrument, base: str, quote: str) -> Instrument:
    """The same market under another name."""
    return structs.replace(instrument, id=f"{instrument.venue}:{base}/{quote}:{instrument.market}", base=base, quote=quote)


SIGNS = {
    "desk": HOME_SIGN,
    "route": "ROUTE  ",
    "book": "BOOK  ",
    "picker": "CHOOSE A MARKET",
    "alerts": "ALERTS  ",
    "alert": "ALERT #",
    "export": "EXPORT  ",
    "help": "HELP",
    "goto": "go to (",
}
"""What shows that a dialog was there at all."""
FILTER_LINE, NAME_LINE = "filter rows:", "name:"
"""To type on, of DESK and of the picker."""
FILTERED = "btc"
UNZOOMED = "MARKETS  "
"""The panel beside the one that is zoomed."""
ESC = "\x1b"


class Step(NamedTuple):
    """A key, what comes onto the screen by it and what goes."""

    key: str
    shows: str = ""
    hides: str = ""


def there_and_back(name: str, opening: str, *within: str) -> list[Step]:
    """Into a dialog by a key, and out of it by Esc, which is Esc for certain when nothing is typed until the dialog has gone."""
    sign = SIGNS[name]
    return [Step(opening, shows=sign), *map(Step, within), Step(ESC, hides=sign)]


SCREENS_AND_DIALOGS = {
    "route": [Step("\t"), *there_and_back("route", "\r", "y")],
    "desk": [
        *(Step("1"), Step("z", hides=UNZOOMED), Step(ESC, shows=UNZOOMED), Step("\t"), Step("s")),
        *(Step("/", shows=FILTER_LINE), *map(Step, FILTERED), Step("\r", FILTERED, FILTER_LINE), Step(ESC, hides=FILTERED)),
        *(Step("/", shows=FILTER_LINE), Step("\x15"), Step("\r", hides=FILTER_LINE)),
    ],
    "book": [Step("3", shows=SIGNS["book"]), *map(Step, "udollllyv")],
    "picker": [
        *(Step("i", shows=SIGNS["picker"]), Step("j"), Step("/", shows=NAME_LINE), Step("比"), Step("\r", hides=NAME_LINE)),
        *(Step("\r", hides=SIGNS["picker"]), Step("c")),
    ],
    "alerts": [Step("7", shows=SIGNS["alerts"]), *map(Step, "sxmmXy")],
    "alert": there_and_back("alert", "\r", "y"),
    "export": there_and_back("export", "e", "\x1b[C"),
    "help": [step for screen in "137" for step in (Step(screen), *there_and_back("help", "?"))],
    "goto": [*there_and_back("goto", ":"), Step("P")],
}
RULES = """
[[rule]]
id = "z"
enabled = true
enter = 1.0
exit = 0.5
for_ms = 0
[[rule]]
id = "basis"
enabled = true
enter = 0.5
exit = 0.2
for_ms = 0
[[rule]]
id = "imbalance"
enabled = true
enter = 0.05
exit = 0.01
for_ms = 0
"""


def walk(path: Path, home: Path, *arguments: str) -> tuple[dict[str, str], str]:
    """Every screen and dialog, the palette and the lines to type on: what was seen of each, and all that was written."""
    rules = home / "rules.toml"
    rules.write_text(RULES)
    command = replay_command(path, "--at", "+14", "--rules", rules, *arguments)
    seen: dict[str, str] = {}
    with Terminal(command, plain_environment(home), 160, 50) as terminal:
        terminal.wait_for(HOME_SIGN, MARKUP)
        for name, steps in SCREENS_AND_DIALOGS.items():
            for key, shows, hides in steps:
                before = seconds_of(terminal)
                terminal.type(key)
                terminal.wait_for(shows, gone=[hides] if hides else [])
                wait_until_later(terminal, before + 0.05)
                seen[name] = seen.get(name, "") + terminal.text
        terminal.type("\x10")
        terminal.wait_for("glyphs: block", "acknowledge this alert")
        terminal.type("desk")
        terminal.wait_for("view: desk", gone=["glyphs: block"])
        terminal.type("\x03")
        assert terminal.exit_code() == 0
        written = terminal.read_from().decode()
    for name, sign in SIGNS.items():
        assert sign in seen[name], f"{name} was not there:\n{seen[name]}"
    return seen, written


def test_no_control_byte_of_a_venue_reaches_the_terminal(hostile: Path, home: Path) -> None:
    seen, written = walk(hostile, home)
    for sequence in FORBIDDEN:
        assert sequence not in written, repr(sequence)
    copied = [base64.b64decode(text).decode() for text in COPIED.findall(written)]
    assert copied, "nothing was copied"
    assert not [text for text in copied if CONTROLS.search(text) or "\x1b" in text or TURNED in text]
    rest = POINTER.sub("", COPIED.sub("", written))
    assert CONTROLS.findall(rest) == []
    assert COMMANDS.findall(rest) == []
    for name in ("desk", "route", "book", "picker", "alerts"):
        assert MARKUP in seen[name], f"{MARKUP} is not shown as itself on {name}"


def test_in_the_set_ascii_only_ascii_reaches_the_terminal(hostile: Path, home: Path) -> None:
    _, written = walk(hostile, home, "--glyphs", "ascii")
    foreign = [(found[0], written[max(found.start() - 60, 0) : found.end()]) for found in re.finditer(r"[^\x00-\x7f]", written)]
    assert foreign == []


def test_the_hostile_recording_is_one(hostile: Path) -> None:
    """Else the test above shows nothing."""
    read = b"".join(record.payload for record in Recording(hostile).records()).decode()
    for text in ("]52;c;SEFD", "]0;pwn", MARKUP, WIDE):
        assert text in read


# -- what the terminal is told ---------------------------------------------------------------------------------------------


def test_no_color_is_no_colour(opened: Open) -> None:
    terminal = opened(NO_COLOR="1")
    for key, sign in (("3", "BOOK  BTC"), ("7", "ALERTS  newest"), ("?", "HELP")):
        terminal.type(key)
        terminal.wait_for(sign)
    terminal.type("\x03")
    terminal.exit_code()
    colours = re.findall(rb"\x1b\[[\d;]*?(?:\b[34]8;[25];|\b(?:3|4|9|10)[0-7]\b)[\d;]*m", terminal.read_from())
    assert colours == []


def test_colours_are_there_without_it(opened: Open) -> None:
    terminal = opened()
    terminal.type("q")
    terminal.exit_code()
    assert b"38;2;" in terminal.read_from()


def test_all_that_is_drawn_goes_through_our_writer(opened: Open, home: Path, made: Path) -> None:
    """Textual's own writer waits for a terminal that stands still. It is there, and must never be given anything."""
    child = (
        "import sys; from textual.drivers._writer_thread import WriterThread\n"
        "def used(self, text): open('used', 'a').write(repr(text))\n"
        "WriterThread.write = used\n"
        f"sys.argv = ['arbtop', 'replay', {str(made)!r}]\n"
        "from tui.cli import main; main()\n"
    )
    with Terminal([sys.executable, "-c", child], plain_environment(home), 120, 36) as terminal:
        terminal.wait_for(HOME_SIGN)
        terminal.type("q")
        assert terminal.exit_code() == 0
        assert terminal.kept() == []
    assert not (home / "used").exists()


@pytest.mark.parametrize(
    "name", ["write", "start_application_mode", "close", "stop_application_mode", "run_input_thread", "disable_input"]
)
def test_what_the_driver_replaces_is_what_textual_calls(name: str) -> None:
    """A new name in Textual would leave ours unheard."""
    base = TerminalDriver.__mro__[1]
    assert name in base.__dict__, f"textual's driver has no {name} any more"
