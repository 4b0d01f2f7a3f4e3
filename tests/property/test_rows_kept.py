"""What BOOK keeps from the last frame never shows: each frame has the rows that it would have as the first one.

Books change a level at a time, marks wander, and the user turns every knob there is; sizes are drawn from few values, so that a
row that comes to say something else often has another thing in common with the row before it.
"""

from collections.abc import Mapping, Sequence
from math import inf, nan
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from analytics.ladder import AxisView, LadderColumn
from analytics.routes import Axis
from analytics.snapshot import MarketView
from tests.property.test_screen_lines import IDS, MARKETS, axis_views
from tui.lines.book import Ladder, Rows

SIZE: Final = st.sampled_from((0.0, -0.0, 0.4, 1204.0, 1250.0, 5e6, inf, nan))
MARKS: Final = ("bid_row", "ask_row", "last_row", "mine_bid_row", "mine_ask_row", "deepest_bid_row", "deepest_ask_row")
MANY: Final = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


class Looked:
    """All that a frame is made of, and what may happen to it until the next one."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        found = draw(MARKETS.filter(bool))
        self.markets: dict[str, MarketView] = {market.instrument: market for market in found}
        self.drawn = Ladder(unit="quote", cumulative=False, selected=IDS[0], full=dict.fromkeys(IDS, 1000.0))
        self.width = 120
        self.axes: tuple[AxisView, ...] = ()
        self.from_elsewhere()

    def from_elsewhere(self) -> None:
        names = list(self.markets)
        cut = self.draw(st.integers(0, len(names)))
        axes = tuple(self.draw(axis_views(part)) for part in (names[:cut], names[cut:]) if part)
        self.axes = tuple(axis for axis in axes if axis.rows == axes[0].rows)

    def column(self, **changes: Any) -> None:
        """Change one market's column."""
        at = self.draw(st.integers(0, len(self.axes) - 1))
        members: Sequence[LadderColumn] = self.axes[at].members
        which = self.draw(st.integers(0, len(members) - 1))
        made = structs.replace(members[which], **{name: self.draw(value) for name, value in changes.items()})
        self.axis(at, members=(*members[:which], made, *members[which + 1 :]))

    def axis(self, at: int, **changes: Any) -> None:
        axis = structs.replace(self.axes[at], **changes)
        self.axes = (*self.axes[:at], axis, *self.axes[at + 1 :])

    def level(self) -> None:
        side = self.draw(st.sampled_from(("bids", "asks")))
        at = self.draw(st.integers(0, self.axes[0].rows - 1))
        where = self.draw(st.integers(0, len(self.axes) - 1))
        members = self.axes[where].members
        which = self.draw(st.integers(0, len(members) - 1))
        sizes = getattr(members[which], side)
        made = structs.replace(members[which], **{side: (*sizes[:at], self.draw(SIZE), *sizes[at + 1 :])})
        self.axis(where, members=(*members[:which], made, *members[which + 1 :]))

    def thin(self) -> None:
        """One market's book is known only so far, and one level less with each call."""
        members = self.axes[0].members
        first = members[0]
        held = [at for at, size in enumerate(first.bids) if size]
        bids = tuple(0.0 if not held or at >= held[-1] else 1204.0 if at % 3 else 0.0 for at in range(len(first.bids)))
        asks = tuple(reversed(bids))
        self.axis(0, members=(structs.replace(first, bids=bids, asks=asks, hollow=False), *members[1:]))

    def mark(self) -> None:
        self.column(**{self.draw(st.sampled_from(MARKS)): st.one_of(st.none(), st.integers(-8, 8))})

    def hidden(self) -> None:
        self.column(**{self.draw(st.sampled_from(("bids_above", "asks_below"))): SIZE})

    def hollow(self) -> None:
        self.column(hollow=st.booleans())

    def centre(self) -> None:
        centre = self.draw(st.one_of(st.none(), st.integers(-8, 8)))
        for at, axis in enumerate(self.axes):
            fair = axis.fair if centre is not None else None
            self.axis(at, centre=centre, fair=fair)

    def fair(self) -> None:
        if self.axes[0].centre is not None:
            self.axis(0, fair=self.draw(st.sampled_from((None, 0.0, 1.0, 65_012.1))))

    def step(self) -> None:
        self.axis(0, step=self.draw(st.sampled_from((0.5, 1.0, 2.0))), axis=self.draw(st.sampled_from(Axis)))

    def refused(self) -> None:
        name = self.draw(st.sampled_from(sorted(self.markets)))
        self.markets[name] = structs.replace(self.markets[name], refused=self.draw(st.sampled_from(("", "state"))))

    def knobs(self) -> None:
        self.drawn = Ladder(
            unit=self.draw(st.sampled_from(("quote", "base"))),
            cumulative=self.draw(st.booleans()),
            selected=self.draw(st.sampled_from(IDS)),
            full=dict.fromkeys(IDS, self.draw(st.sampled_from((1.0, 1000.0, 5e6)))),
        )

    def resize(self) -> None:
        self.width = self.draw(st.sampled_from((20, 45, 60, 120, 121, 160)))

    def nothing(self) -> None: ...


HAPPENS: Final = (
    *("level", "level", "level", "mark", "mark", "hidden", "hollow", "centre", "fair", "step", "refused", "knobs", "resize"),
    *("nothing", "from_elsewhere", "thin", "thin", "thin"),
)


@MANY
@given(data=st.data(), events=st.lists(st.lists(st.sampled_from(HAPPENS), max_size=3), min_size=2, max_size=12))
def test_no_row_is_older_than_its_frame(data: st.DataObject, events: list[list[str]]) -> None:
    looked = Looked(data.draw)
    kept = Rows()
    for frame in events:
        for what in frame:
            getattr(looked, what)()
        found = kept.make(looked.axes, looked.markets, looked.drawn, looked.width)
        assert found == Rows().make(looked.axes, looked.markets, looked.drawn, looked.width)


def plain_axis(markets: Mapping[str, MarketView], rows: int) -> AxisView:
    """Every row of every market holds something."""
    columns = [
        LadderColumn(
            instrument=name,
            hollow=False,
            bids=tuple(1000.0 + at for at in range(rows)),
            asks=tuple(2000.0 + at for at in range(rows)),
            bid=None,
            ask=None,
        )
        for name in markets
    ]
    return AxisView(
        name="USDT",
        axis=Axis.PRICE,
        step=1.0,
        decimals=0,
        rows=rows,
        centre=0,
        fair=0.0,
        members=tuple(columns),
        cursor=None,
    )


@settings(max_examples=20, deadline=None)
@given(markets=MARKETS.filter(bool), at=st.integers(0, 9))
def test_a_row_that_has_not_changed_is_not_made_again(markets: tuple[MarketView, ...], at: int) -> None:
    named = {market.instrument: market for market in markets}
    axis = plain_axis(named, 10)
    drawn = Ladder(unit="quote", cumulative=False, selected=IDS[0], full=dict.fromkeys(IDS, 1000.0))
    rows = Rows()
    before = rows.make((axis,), named, drawn, 120)
    first = axis.members[0]
    changed = structs.replace(first, bids=(*first.bids[:at], 9e9, *first.bids[at + 1 :]))
    after = rows.make((structs.replace(axis, members=(changed, *axis.members[1:])),), named, drawn, 120)
    assert [row for row, (old, new) in enumerate(zip(before, after, strict=True)) if old is not new] == [at]
