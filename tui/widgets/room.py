"""Containers that are wholly covered by what they hold: nothing of them is seen, so they are never styled line by line."""

from typing import ClassVar

from textual.containers import Horizontal, Vertical


class Column(Vertical):
    """What it holds stands one above the other."""

    BLANK: ClassVar[bool] = True


class Side(Horizontal):
    """What it holds stands side by side."""

    BLANK: ClassVar[bool] = True
