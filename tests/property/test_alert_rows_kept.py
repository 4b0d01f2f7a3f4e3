"""What the list of alerts keeps from the last frame never shows, and it makes no row that nobody sees.

Episodes open, peak, end, are acknowledged and forgotten, the user sorts and resizes, markets come to be known: each frame has the
rows that it would have as the first one.
"""

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from analytics.alert import AlertState
from feeds.model import SECOND, Ns
from tests.property.test_screen_lines import ITEM, MARKETS
from tests.unit.test_worklist import ALERTS, T0
from tui.lines import alerts
from tui.lines.alerts import Rows, row, table
from tui.worklist import Item, Mark, item_of

HAPPENS: Final = st.sampled_from(
    ("opens", "peaks", "ends", "acked", "forgotten", "sorted", "resized", "known", "later", "nothing")
)


class Looked:
    """A list, and what may happen to it until the next frame."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.now: Ns = T0
        self.width = 160
        self.facts = {market.instrument: market for market in draw(MARKETS)}
        self.items: tuple[Item, ...] = ()
        self._seq = 0

    def opens(self) -> None:
        item: Item = self.draw(ITEM)
        self._seq += 1
        opened = structs.replace(item.alert, seq=self._seq, opened_ns=self.now, state=AlertState.FIRING, closed_ns=0)
        self.items = (structs.replace(item, alert=opened), *self.items)

    def _change(self, **facts: Any) -> None:
        if self.items:
            at = self.draw(st.integers(0, len(self.items) - 1))
            item = self.items[at]
            mark = facts.pop("mark", item.mark)
            changed = structs.replace(item, alert=structs.replace(item.alert, **facts), mark=mark)
            self.items = (*self.items[:at], changed, *self.items[at + 1 :])

    def peaks(self) -> None:
        self._change(peak=self.draw(st.floats(-50, 50)))

    def ends(self) -> None:
        self._change(state=AlertState.RESOLVED, closed_ns=self.now)

    def acked(self) -> None:
        self._change(acked_ns=self.now, mark=Mark.ACK)

    def forgotten(self) -> None:
        self.items = self.items[:-1]

    def sorted(self) -> None:
        self.items = tuple(reversed(self.items))

    def resized(self) -> None:
        self.width = self.draw(st.sampled_from((40, 80, 120, 160)))

    def known(self) -> None:
        self.facts = {market.instrument: market for market in self.draw(MARKETS)}

    def later(self) -> None:
        self.now += 7 * SECOND

    def nothing(self) -> None: ...


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data(), frames=st.lists(st.lists(HAPPENS, max_size=4), min_size=2, max_size=12), seen=st.integers(0, 5))
def test_no_row_is_older_than_its_frame(data: st.DataObject, frames: list[list[str]], seen: int) -> None:
    looked = Looked(data.draw)
    kept = Rows()
    for frame in frames:
        for what in frame:
            getattr(looked, what)()
        layout = table(looked.width)
        rows = kept.make(layout, looked.items, looked.facts, looked.now)
        assert [made.key for made in rows] == [item.key for item in looked.items]
        for made, item in list(zip(rows, looked.items, strict=True))[:seen]:
            assert made.line == row(layout, item, looked.facts, looked.now)


def test_of_thousands_only_those_are_made_that_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def watched(layout: Any, item: Item, *rest: Any) -> Any:
        made.append(item.alert.seq)
        return row(layout, item, *rest)

    monkeypatch.setattr(alerts, "row", watched)
    closed, opened = ALERTS[0], ALERTS[1]
    items = tuple(item_of(structs.replace(closed if seq % 20 else opened, seq=seq), {}) for seq in range(5_000))
    rows = Rows()
    first = [each.line for each in rows.make(table(160), items, {}, T0)[:40]]
    assert made == [*range(40)]
    again = [each.line for each in rows.make(table(160), items, {}, T0 + SECOND)[:40]]
    assert made[40:] == [0, 20]  # what is open has lasted longer
    assert [at for at, (old, new) in enumerate(zip(first, again, strict=True)) if old is not new] == [0, 20]
    del made[:]
    further = [
        each.line for each in rows.make(table(160), (item_of(structs.replace(closed, seq=5_000), {}), *items), {}, T0)[:41]
    ]
    assert made == [5_000, 0, 20]
    assert all(old is new for at, (old, new) in enumerate(zip(first, further[1:], strict=True)) if at % 20)


def test_a_list_that_has_emptied_is_empty_at_another_width_too() -> None:
    rows = Rows()
    assert len(rows.make(table(160), (item_of(ALERTS[1], {}),), {}, T0)) == 1
    assert rows.make(table(80), (), {}, T0) == []
