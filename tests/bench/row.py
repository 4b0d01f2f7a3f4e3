"""One printed line of a benchmark."""

from typing import NamedTuple


class Row(NamedTuple):
    """What was measured, the figure, its unit, and what it stands against."""

    name: str
    value: float
    unit: str
    note: str
