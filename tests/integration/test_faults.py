"""Faults of the campaign at a fixed seed, and the list of guards. `make faults` is the campaign as a whole.

Fifty on the first venues, six on each other.

The two halves run side by side, and within them several exchanges with several faults at once, so that a quarter of an hour of
faults takes less than a minute.
"""

from collections import deque
from itertools import pairwise

import pytest

from feeds.simulator.faults import FAULTS
from tests.faults.campaign import MUTE, RESETS, Report, Share, jobs, part_of, shares
from tests.faults.guards import misplaced
from tests.faults.report import broken, evidence, limits, percentile, text
from tests.faults.rig import GROUPS, gaps_between, good_within, most_within
from tests.judge import Turn

SEED = 4
COUNT = 50
HALVES = 2
WORK = (Share(GROUPS[0], COUNT, 5), *(Share(venues, 6, 1) for venues in GROUPS[1:]))
SLOW = MUTE | {
    "one topic muted",
    "accept then close",
    "burst",
    "acknowledgement lost",
    "snapshot too old five times",
    "no snapshot in band",
    "REST 403",
}
"""They stand for long, or cost a host its connects of a minute: the campaign does them."""
QUICK = tuple(name for name in FAULTS if name not in SLOW)


@pytest.mark.parametrize("half", range(HALVES))
def test_no_fault_shows_a_wrong_book_and_every_one_is_recovered_from(half: int) -> None:
    for share, report in zip(WORK, part_of(SEED, WORK, half, HALVES, QUICK), strict=True):
        print("\n".join([", ".join(share.venues), *text(report, SEED)]))
        assert len(report.outcomes) == share.count // HALVES
        assert sum(rig.published for rig in report.rigs) > 20 * len(report.outcomes)  # a judge that saw nothing proves nothing
        assert not [line for line in broken(report) if not timed(line.name)], "\n".join(evidence(report))
        late = percentile(report.loop_late_ms, 0.99) / 1e3
        for one in report.outcomes:
            if one.fault == "half-open":
                assert one.detected_s is not None
                assert one.detected_s < 5.0 + 20 * late + 3.0  # counted by the campaign; here the machine may be busy


def timed(name: str) -> bool:
    """Limits that a busy machine can break by itself."""
    return name.startswith(("half-open", "SYNCED"))


def test_every_limit_is_judged_and_a_broken_one_is_told() -> None:
    (report,) = part_of(SEED, [Share(GROUPS[0], 0, 1)])
    assert not [line for line in limits(report) if line.must and not line.good and not timed(line.name)]
    rig = report.rigs[0]
    rig.wrong.append("a book")
    spoilt = Report(
        asked=0,
        outcomes=[],
        rigs=[type(rig)(**{**{name: getattr(rig, name) for name in rig.__struct_fields__}, "wrong_count": 1})],
        took_s=0.0,
        cpu_s=0.0,
        loop_late_ms=[],
    )
    assert [line.name for line in broken(spoilt)] == ["wrong books published"]
    assert "a book" in "\n".join(evidence(spoilt))


def test_a_campaign_does_every_fault_as_often_as_every_other() -> None:
    count = 3 * len(FAULTS) + 5
    names = [job.fault for job in jobs(1, count)]
    assert {names.count(name) for name in FAULTS} == {3, 4}
    assert jobs(1, count) == jobs(1, count)
    assert jobs(1, count) != jobs(2, count)
    assert RESETS <= set(FAULTS)


def test_a_campaign_gives_half_of_its_faults_to_the_first_venues_and_every_venue_gets_some() -> None:
    assert sum(share.count for share in shares(200, 6)) == 200
    assert [share.count for share in shares(200, 6)] == [101, 33, 33, 33]
    assert [share.venues for share in shares(200, 6)] == list(GROUPS)
    assert shares(300, 6, [("OKX",)]) == [Share(("OKX",), 300, 6)]


def test_the_time_without_a_fault_is_what_no_fault_covers() -> None:
    free = gaps_between([(30, 40), (10, 20), (15, 25)], 0, 50)
    assert free == [(0, 10), (25, 30), (40, 50)]
    assert all(before[1] <= after[0] for before, after in pairwise(free))
    turns = [Turn(5, True), Turn(28, False), Turn(45, True)]
    assert [good_within(turns, *span) for span in free] == [5, 3, 5]


def test_connects_are_counted_in_every_minute_and_not_only_in_whole_ones() -> None:
    assert most_within(deque([0.0, 50.0, 55.0, 58.0, 61.0, 109.0, 200.0]), 60.0) == 5


def test_every_guard_still_stands_where_the_list_of_guards_says() -> None:
    assert misplaced() == []
