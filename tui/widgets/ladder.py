"""The grid of the order books: its rows fill the height, and moving beyond an edge moves the prices under it."""

from textual.message import Message

from tui.widgets.live_grid import LiveGrid


class LadderGrid(LiveGrid):
    """Rows are keyed by their place from the top; which price stands there is the screen's business."""

    class Panned(Message):
        """The user has gone `rows` beyond an edge; negative is up, towards higher prices."""

        def __init__(self, rows: int) -> None:
            super().__init__()
            self.rows = rows

    def _move(self, to: int) -> None:
        last = len(self.rows) - 1
        if self.rows and not 0 <= to <= last:
            self.post_message(self.Panned(to if to < 0 else to - last))
        super()._move(to)
