"""One key, one meaning: what screens and widgets bind is the key table, and each key of it does what it says."""

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from textual.actions import parse
from textual.binding import Binding
from textual.dom import DOMNode
from textual.widgets import Input

import tui
from tests.screens.stage import Stage, on_stage
from tests.screens.test_snapshots import WAYS
from tui.app import ArbtopApp
from tui.glyphs import to_ascii
from tui.keys import EVERYWHERE, KEYS, TABLE
from tui.lines.feeds import RECORDED
from tui.screens.alerts import AlertsScreen
from tui.screens.book import BookScreen
from tui.screens.desk import DeskScreen
from tui.screens.live import Dialog, LiveScreen
from tui.screens.registry import SCREENS
from tui.widgets.live_grid import LiveGrid

README: Final = Path(__file__).resolve().parents[2] / "README.md"


def classes() -> Iterator[type[DOMNode]]:
    """Every app, screen and widget class of the program."""
    seen = set()
    for module in pkgutil.walk_packages(tui.__path__, "tui."):
        if module.name != "tui.__main__":
            for found in vars(importlib.import_module(module.name)).values():
                if isinstance(found, type) and issubclass(found, DOMNode) and found.__module__.startswith("tui."):
                    seen.add(found)
    return iter(sorted(seen, key=lambda found: found.__qualname__))


def own_bindings(found: type[DOMNode]) -> list[Binding]:
    bindings = [binding for binding in vars(found).get("BINDINGS", ()) if isinstance(binding, Binding)]
    assert len(bindings) == len(vars(found).get("BINDINGS", ())), f"{found}: bindings come from the table alone"
    return bindings


BOUND: Final = [(found, binding) for found in classes() for binding in own_bindings(found)]


# The table.


def test_no_key_stands_in_two_lines_of_the_table() -> None:
    twice = [key for key, count in Counter(key for line in TABLE for key in line.keys).items() if count > 1]
    assert not twice
    assert len(KEYS) == len(TABLE)
    assert len({line.face for line in TABLE}) == len(TABLE)


def test_no_key_looks_like_another_where_signs_are_ascii() -> None:
    faces = {line.id: set(to_ascii(line.face).split()) for line in TABLE}
    for id_, face in faces.items():
        assert not [other for other, its in faces.items() if other != id_ and face & its], id_


@pytest.mark.parametrize(("found", "binding"), BOUND, ids=lambda each: getattr(each, "__name__", getattr(each, "id", None)))
def test_what_a_class_binds_is_a_line_of_the_table(found: type[DOMNode], binding: Binding) -> None:
    line = KEYS[binding.id or ""]
    assert tuple(binding.key.split(",")) == line.keys
    assert (binding.action, binding.description, binding.key_display) == (line.does, line.label, line.face)
    assert (binding.tooltip, binding.priority) == (line.meaning, line.priority)


@pytest.mark.parametrize(("found", "binding"), BOUND, ids=lambda each: getattr(each, "__name__", getattr(each, "id", None)))
def test_no_binding_leads_nowhere(found: type[DOMNode], binding: Binding) -> None:
    place, name, arguments = parse(binding.action)
    owner: type[DOMNode] = ArbtopApp if place == "app" else found
    assert any(callable(getattr(owner, f"{kind}action_{name}", None)) for kind in ("", "_")), f"{owner.__name__}.action_{name}"
    assert name != "open" or arguments[0] in SCREENS


def test_every_line_of_the_table_is_bound() -> None:
    assert {binding.id for _, binding in BOUND} == set(KEYS)


@pytest.mark.parametrize("screen", WAYS)
async def test_on_no_screen_a_key_means_something_else(recording: Path, screen: str) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press(*WAYS[screen])
        for key, active in stage.screen.active_bindings.items():
            line = KEYS[active.binding.id or ""]
            assert key in line.keys
            assert active.binding.action == line.does
        ids = {active.binding.id for active in stage.screen.active_bindings.values()}
        assert set(EVERYWHERE) <= ids
        footer = [entry if isinstance(entry, str) else entry[0] for entry in stage.screen.FOOTER]
        assert set(footer) <= ids, "the footer promises a key that does nothing here"


@pytest.mark.parametrize("screen", ["desk", "book", "alerts", "feeds"])
async def test_help_lists_every_key_of_its_screen(recording: Path, screen: str) -> None:
    async with on_stage(recording, size=(160, 120), untouched=True) as stage:
        await stage.press(*WAYS[screen])
        ids = {active.binding.id or "" for active in stage.screen.active_bindings.values()}
        await stage.press("question_mark")
        rows = stage.lines()
        for line in map(KEYS.__getitem__, ids):
            assert any(re.match(rf"│.  ?{re.escape(line.face)} +{re.escape(line.meaning)} *│", row) for row in rows), line.id
        for absent in set(KEYS) - ids:
            assert not any(f" {KEYS[absent].meaning} " in row for row in rows), absent


def where(id_: str) -> str:
    """On which screens a key does something, as the README says it."""
    owners = {found for found, binding in BOUND if binding.id == id_}
    bearers = [found for found in classes() if issubclass(found, tuple(owners))]
    if owners & {ArbtopApp, LiveScreen}:
        return "everywhere"
    if LiveGrid in owners:
        return "every list"
    screens = [name.upper() for name, screen in SCREENS.items() if screen in bearers]
    dialogs = [found for found in bearers if issubclass(found, Dialog)]
    return ", ".join([*screens, *(["dialogs"] if dialogs else [])])


def test_the_readme_has_the_table_and_says_where_a_key_works() -> None:
    lines = re.findall(r"^\| `([^|]+)` \| ([^|]+) \| ([^|]+) \|$", README.read_text(), re.MULTILINE)
    listed = {face.replace("` `", " "): (place, meaning) for face, place, meaning in lines}
    for line in TABLE:
        assert listed.get(line.face) == (where(line.id), line.meaning), line.id


# What each key does.

Look = Callable[[Stage], object]
Way = tuple[str, ...]


def screen_of(stage: Stage, kind: type[Any]) -> Any:
    return next(screen for screen in stage.app.screens.values() if isinstance(screen, kind))


def desk(look: Callable[[DeskScreen], object]) -> Look:
    return lambda stage: look(screen_of(stage, DeskScreen))


def book(look: Callable[[BookScreen], object]) -> Look:
    return lambda stage: look(screen_of(stage, BookScreen))


def alerts(look: Callable[[AlertsScreen], object]) -> Look:
    return lambda stage: look(screen_of(stage, AlertsScreen))


def focused(stage: Stage) -> object:
    return stage.app.screen.focused.id if stage.app.screen.focused else None


def cursor(stage: Stage) -> object:
    grid = stage.app.screen.focused
    return grid.cursor if isinstance(grid, LiveGrid) else None


def line(row: int, start: int = 0, end: int | None = None) -> Look:
    return lambda stage: stage.lines()[row][start:end].strip()


def top(stage: Stage) -> object:
    return stage.app.screen.name


def body(stage: Stage) -> object:
    """All but the header."""
    return stage.lines()[2:]


def at_s(stage: Stage) -> object:
    status = stage.app.source.status
    return round((status.now_ns - status.start_ns) / 1e9, 1)


ONCE: Final[tuple[tuple[str, Way, str, Look, object, object], ...]] = (
    # id of the line, how to get there, which key, what to look at, before and after
    ("desk", ("3",), "1", top, "book", "desk"),
    ("book", (), "3", top, "desk", "book"),
    ("alerts", (), "7", top, "desk", "alerts"),
    ("feeds", (), "8", top, "desk", "feeds"),
    ("detail", ("8",), "enter", top, "feeds", "feed"),
    ("reconnect", ("8",), "r", lambda stage: RECORDED in stage.told, False, True),
    ("resync", ("8",), "ctrl+r", lambda stage: RECORDED in stage.told, False, True),
    ("pause", ("8",), "p", lambda stage: RECORDED in stage.told, False, True),
    ("record", ("8",), "R", lambda stage: RECORDED in stage.told, False, True),
    ("up", ("7", "j", "j"), "k", alerts(lambda screen: screen.grid.rows.index(screen.grid.selected)), 2, 1),
    ("up", ("7", "j", "j"), "up", alerts(lambda screen: screen.grid.rows.index(screen.grid.selected)), 2, 1),
    ("down", ("7",), "j", alerts(lambda screen: screen.grid.rows.index(screen.grid.selected)), 0, 1),
    ("down", ("7",), "down", alerts(lambda screen: screen.grid.rows.index(screen.grid.selected)), 0, 1),
    ("left", ("3", "l"), "h", book(lambda screen: screen.selected), "BYBIT:BTC/USDT", "BINANCE:BTC/USD:BTC"),
    ("right", ("3",), "l", book(lambda screen: screen.selected), "BINANCE:BTC/USD:BTC", "BYBIT:BTC/USDT"),
    ("first", ("7", "j", "j"), "g", alerts(lambda screen: screen.grid.rows.index(screen.grid.selected)), 2, 0),
    ("last", ("7",), "G", alerts(lambda screen: len(screen.grid.rows) - screen.grid.rows.index(screen.grid.selected)), None, 1),
    ("page_up", ("7", "G"), "ctrl+u", alerts(lambda screen: screen.grid.selected == screen.grid.rows[-1]), True, False),
    ("page_down", ("7",), "ctrl+d", alerts(lambda screen: screen.grid.selected == screen.grid.rows[0]), True, False),
    ("next_panel", ("1",), "tab", focused, "markets", "routes"),
    ("previous_panel", ("1",), "shift+tab", focused, "markets", "strip"),
    ("detail", ("1",), "enter", top, "desk", "book"),
    ("detail", ("1", "tab"), "enter", top, "desk", "route"),
    ("detail", ("1", "shift+tab"), "enter", top, "desk", "alerts"),
    ("detail", ("7",), "enter", top, "alerts", "alert"),
    ("back", ("7", "enter"), "escape", top, "alert", "alerts"),
    ("back", ("z",), "escape", desk(lambda screen: screen.has_class("zoomed")), True, False),
    ("back", ("slash",), "escape", desk(lambda screen: screen.prompt.open), True, False),
    ("filter", (), "slash", desk(lambda screen: screen.prompt.open), False, True),
    ("filter", ("7",), "slash", alerts(lambda screen: screen.prompt.open), False, True),
    ("instrument", ("1",), "i", top, "desk", "picker"),
    ("instrument", ("3",), "i", top, "book", "picker"),
    ("sort", ("7",), "s", alerts(lambda screen: screen.order), "newest", "oldest"),
    ("sort", ("1",), "s", body, None, None),
    ("freeze", (), "f", lambda stage: "FROZEN" in stage.lines()[0], False, True),
    ("freeze", ("f",), "f", lambda stage: "FROZEN" in stage.lines()[0], True, False),
    ("zoom", ("tab",), "z", lambda stage: "MARKETS" in stage.text(), True, False),
    ("zoom", ("tab", "z"), "z", lambda stage: "MARKETS" in stage.text(), False, True),
    ("finer", ("3",), "left_square_bracket", lambda stage: "row 0.5 bp" in stage.text(), False, True),
    ("coarser", ("3",), "right_square_bracket", lambda stage: "row 2 bp" in stage.text(), False, True),
    ("centre", ("3", *["G", *["j"] * 9]), "c", lambda stage: "moved by you" in stage.text(), True, False),
    ("keep_centred", ("3",), "C", lambda stage: "kept centred" in stage.text(), False, True),
    ("unit", ("3",), "u", lambda stage: "sizes in BTC" in stage.text(), False, True),
    ("unit", ("3", "u"), "u", lambda stage: "sizes in contracts" in stage.text(), False, True),
    ("unit", ("3", "u", "u"), "u", lambda stage: "sizes in $" in stage.text(), False, True),
    ("cumulative", ("3",), "d", lambda stage: "added up from the touch" in stage.text(), False, True),
    ("tape", ("3",), "v", lambda stage: "PRINTS" in stage.text(), False, True),
    ("axis", ("3",), "o", lambda stage: "not comparable" in stage.text(), False, True),
    ("axis", ("3", "o"), "o", lambda stage: "own index" in stage.text(), False, True),
    ("bigger", (), "plus", lambda stage: "size $100k" in stage.lines()[0], False, True),
    ("bigger", (), "equals_sign", lambda stage: "size $100k" in stage.lines()[0], False, True),
    ("smaller", (), "minus", lambda stage: "size $25k" in stage.lines()[0], False, True),
    ("theme", (), "T", lambda stage: stage.app.look.theme.name, "okabe", "ansi"),
    ("ack", ("7",), "x", alerts(lambda screen: screen.items()[0].mark), "NEW", "ACK"),
    ("ack", ("7", "enter"), "x", lambda stage: bool(re.search(r"mark +ACK", stage.text())), False, True),
    ("ack_all", ("7",), "X", alerts(lambda screen: {item.mark for item in screen.items()}), {"NEW"}, {"ACK"}),
    ("mute", ("7",), "m", alerts(lambda screen: screen.items()[0].mark), "NEW", "MUTED"),
    ("mute", ("7", "m"), "m", alerts(lambda screen: screen.items()[0].mark), "MUTED", "NEW"),
    ("export", ("7",), "e", top, "alerts", "export"),
    ("export", ("1",), "e", top, "desk", "export"),
    ("play", (), "space", lambda stage: stage.app.source.paused, True, False),
    ("play", ("space",), "space", lambda stage: stage.app.source.paused, False, True),
    ("step_back", (), "comma", at_s, 13.0, 12.0),
    ("step", (), "full_stop", at_s, 13.0, None),
    ("slower", (), "less_than_sign", lambda stage: stage.app.source.speed, 1.0, 0.5),
    ("faster", (), "greater_than_sign", lambda stage: stage.app.source.speed, 1.0, 2.0),
    ("goto", (), "colon", desk(lambda screen: screen.prompt.open), False, True),
    ("help", (), "question_mark", top, "desk", "help"),
    ("help", ("question_mark",), "question_mark", top, "help", "desk"),
    ("palette", (), "ctrl+p", lambda stage: isinstance(stage.app.screen, LiveScreen), True, False),
)
TOUCHING: Final = {"ack", "ack_all", "mute", "play", "step", "step_back", "slower", "faster", "goto"}
"""Those that change the source; the others may share one."""
IN_TESTS_OF_THEIR_OWN: Final = {"copy", "picture", "suspend", "quit", "leave"}


@pytest.mark.parametrize(("id_", "way", "key", "look", "before", "after"), ONCE, ids=[f"{e[0]}-{'-'.join(e[1])}" for e in ONCE])
async def test_a_key_does_what_it_says(
    recording: Path, id_: str, way: Way, key: str, look: Look, before: object, after: object
) -> None:
    assert key in KEYS[id_].keys
    async with on_stage(recording, untouched=id_ not in TOUCHING) as stage:
        await stage.press(*way)
        was = look(stage)
        await stage.press(key)
        now = look(stage)
        assert was != now
        assert before is None or was == before
        assert after is None or now == after


def test_no_key_is_left_untried() -> None:
    assert {each[0] for each in ONCE} | IN_TESTS_OF_THEIR_OWN == set(KEYS)


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ((), "BIN spot BTC/USDT"),
        (("tab",), "BIN perp"),
        (("7",), "route"),
        (("3",), "costs"),
        (("7", "enter"), "LEGS AT THE TRIGGER"),
        (("tab", "enter"), "WATERFALL"),
    ],
    ids=["desk", "routes", "alerts", "book", "alert", "route"],
)
async def test_copy_copies_what_is_under_the_cursor_and_says_where_to(recording: Path, way: Way, says: str) -> None:
    async with on_stage(recording, untouched=True) as stage:
        await stage.press(*way, "y")
        while any(worker.group == "clipboard" for worker in stage.app.workers):
            await stage.settle()
        assert says in stage.app.clipboard
        assert re.match(r"copied \d+ characters through the terminal \(OSC 52\)", stage.told)


async def test_the_picture_is_of_what_is_seen(recording: Path, tmp_path: Path) -> None:
    async with on_stage(recording, tmp_path) as stage:
        await stage.press("7", "P")
        (path,) = tmp_path.iterdir()
        assert path.name == "arbtop-alerts-20260930T155938Z.svg"
        assert stage.told == f"picture: {path}"
        drawn = path.read_text()
        assert "ALERTS" in drawn
        assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
async def test_leaving_leaves_with_0(recording: Path, key: str) -> None:
    async with on_stage(recording) as stage:
        await stage.pilot.press(key)
        assert stage.app.return_code == 0


async def test_leaving_works_while_something_is_typed(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("slash", "q")
        assert stage.app.screen.query_one(Input).value == "q"
        await stage.pilot.press("ctrl+c")
        assert stage.app.return_code == 0


async def test_what_is_typed_is_typed_whatever_key_it_is(recording: Path) -> None:
    async with on_stage(recording) as stage:
        await stage.press("7", "slash", *"1xf", "space", *"m?")
        assert stage.app.screen.query_one(Input).value == "1xf m?"
        assert top(stage) == "alerts"
        assert {item.mark for item in screen_of(stage, AlertsScreen).items()} <= {"NEW"}


async def test_a_number_leaves_every_dialog(recording: Path) -> None:
    async with on_stage(recording, untouched=True) as stage:
        for name, keys in WAYS.items():
            await stage.press(*keys, "3")
            assert top(stage) == "book", name
            assert len(stage.app.screen_stack) == 2
