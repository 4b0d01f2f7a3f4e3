"""The screens by name, in the order of their keys. A new one is a file, a line here and a line in `tui/keys.py`."""

from collections.abc import Mapping
from typing import Final

from tui.screens.alerts import AlertsScreen
from tui.screens.book import BookScreen
from tui.screens.desk import DeskScreen
from tui.screens.feeds import FeedsScreen
from tui.screens.live import LiveScreen

SCREENS: Final[Mapping[str, type[LiveScreen]]] = {
    "desk": DeskScreen,
    "book": BookScreen,
    "alerts": AlertsScreen,
    "feeds": FeedsScreen,
}
