"""The key table: one key, one meaning, on every screen (terminal-ui.md 5.1).

Every binding of the program is made from this table (`tui/widgets/bindings.py`), and help, footer and README are read from it. A
screen says which lines it answers to; nobody else names a key. Only what exists has a line.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class Key(Struct, frozen=True):
    """One line of the table. `keys` are Textual's names, the first one is shown as `face`."""

    id: str
    keys: tuple[str, ...]
    face: str
    label: str
    """One or two words, for the footer."""
    meaning: str
    """A sentence, for the help."""
    group: str
    action: str = ""
    """Of the screen or widget that has the key; the id where it is not given."""
    priority: bool = False
    """Also while something is typed."""

    @property
    def does(self) -> str:
        return self.action or self.id


SCREENS: Final = "screens"
MOVE: Final = "move"
LOOK: Final = "look"
ACT: Final = "act"
REPLAY: Final = "replay"

TABLE: Final[tuple[Key, ...]] = (
    Key("desk", ("1",), "1", "Desk", "DESK: markets, routes closest to money, alerts", SCREENS, "app.open('desk')"),
    Key("book", ("3",), "3", "Book", "BOOK: order books of one asset on one price axis", SCREENS, "app.open('book')"),
    Key("alerts", ("7",), "7", "Alerts", "ALERTS: the work list", SCREENS, "app.open('alerts')"),
    Key("feeds", ("8",), "8", "Feeds", "FEEDS: connections, limits, clocks, this process", SCREENS, "app.open('feeds')"),
    Key("up", ("up", "k"), "Up k", "Up", "one row up", MOVE),
    Key("down", ("down", "j"), "Down j", "Down", "one row down", MOVE),
    Key("left", ("left", "h"), "Left h", "Left", "one market to the left", MOVE),
    Key("right", ("right", "l"), "Right l", "Right", "one market to the right", MOVE),
    Key("first", ("g", "home"), "g", "First", "the first row", MOVE),
    Key("last", ("G", "end"), "G", "Last", "the last row", MOVE),
    Key("page_up", ("ctrl+u", "pageup"), "^u", "Half page up", "half a page up", MOVE),
    Key("page_down", ("ctrl+d", "pagedown"), "^d", "Half page down", "half a page down", MOVE),
    Key("next_panel", ("tab",), "Tab", "Panel", "the next panel", MOVE, "app.focus_next"),
    Key("previous_panel", ("shift+tab",), "S-Tab", "Panel back", "the panel before", MOVE, "app.focus_previous"),
    Key("detail", ("enter",), "Enter", "Detail", "what is under the cursor, in detail; in a dialog: do it", MOVE),
    Key("back", ("escape",), "Esc", "Back", "back: closes a dialog, a filter, a zoomed panel", MOVE),
    Key("filter", ("slash",), "/", "Filter", "show only rows that match what you type", LOOK),
    Key("instrument", ("i",), "i", "Asset", "choose an asset or a market", LOOK),
    Key("sort", ("s",), "s", "Sort", "sort by the next order", LOOK),
    Key("freeze", ("f",), "f", "Freeze", "hold the picture; the engine and the alerts go on", LOOK, "app.freeze"),
    Key("zoom", ("z",), "z", "Zoom", "the focused panel alone, and back", LOOK),
    Key("finer", ("left_square_bracket",), "[", "Finer", "finer price grouping", LOOK),
    Key("coarser", ("right_square_bracket",), "]", "Coarser", "coarser price grouping", LOOK),
    Key("centre", ("c",), "c", "Centre", "bring the price back to the middle", LOOK),
    Key("keep_centred", ("C",), "C", "Keep centred", "keep the price in the middle all the time, or let rows stand", LOOK),
    Key("unit", ("u",), "u", "Unit", "sizes in $, coin or the venue's contracts", LOOK),
    Key("cumulative", ("d",), "d", "Cumulative", "sizes added up from the best price, or each row's own", LOOK),
    Key("tape", ("v",), "v", "Tape", "show or hide the tape of large prints", LOOK),
    Key("axis", ("o",), "o", "Axis", "compare by price, or in bp of each market's own index", LOOK),
    Key("bigger", ("plus", "equals_sign"), "+", "Bigger", "a bigger trade size", LOOK, "app.bigger"),
    Key("smaller", ("minus",), "−", "Smaller", "a smaller trade size", LOOK, "app.smaller"),
    Key("theme", ("T",), "T", "Theme", "the next colour theme", LOOK, "app.next_theme"),
    Key("ack", ("x",), "x", "Ack", "acknowledge this alert", ACT),
    Key("ack_all", ("X",), "X", "Ack all", "acknowledge every alert that is shown", ACT),
    Key("mute", ("m",), "m", "Mute", "mute this rule for this market or route for ten minutes, or unmute it", ACT),
    Key("reconnect", ("r",), "r", "Reconnect", "open the selected connection anew, now", ACT),
    Key("resync", ("ctrl+r",), "^r", "Resync", "fetch the selected book anew", ACT),
    Key("pause", ("p",), "p", "Pause", "pause the selected connection, or go on with it", ACT),
    Key("record", ("R",), "R", "Record", "record what arrives into a new directory, or stop", ACT, "app.record"),
    Key("copy", ("y",), "y", "Copy", "copy this row", ACT),
    Key("export", ("e",), "e", "Export", "export alerts to a file", ACT),
    Key("picture", ("P",), "P", "Picture", "save the screen as an SVG", ACT, "app.picture"),
    Key("play", ("space",), "Space", "Play", "play or pause", REPLAY, "app.play"),
    Key("step_back", ("comma",), ",", "Step back", "one second back", REPLAY, "app.step_back"),
    Key("step", ("full_stop",), ".", "Step", "a tenth of a second on", REPLAY, "app.step"),
    Key("slower", ("less_than_sign",), "<", "Slower", "play slower", REPLAY, "app.slower"),
    Key("faster", ("greater_than_sign",), ">", "Faster", "play faster", REPLAY, "app.faster"),
    Key("goto", ("colon",), ":", "Go to", "go to a time or to an alert: 23:58:12, +90, −10, #12, start, end", REPLAY, "app.goto"),
    Key("help", ("question_mark",), "?", "Help", "this help", ACT, "app.help"),
    Key("palette", ("ctrl+p",), "^p", "Palette", "every command by name", ACT, "app.command_palette", True),
    Key("suspend", ("ctrl+z",), "^z", "Suspend", "to the shell; `fg` comes back", ACT, "app.suspend_process", True),
    Key("quit", ("q",), "q", "Quit", "leave arbtop", ACT, "app.quit"),
    Key("leave", ("ctrl+c", "ctrl+q"), "^c", "Quit", "leave arbtop, from anywhere", ACT, "app.quit", True),
)
"""In the order in which help shows them."""

KEYS: Final[Mapping[str, Key]] = {key.id: key for key in TABLE}
EVERYWHERE: Final = tuple(key.id for key in TABLE if key.group in (SCREENS, REPLAY) or key.does.startswith("app."))
"""What every screen answers to."""
