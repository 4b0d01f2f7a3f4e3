"""A route's episodes: when they open and close, and what they remember (analytics 8.7)."""

from collections.abc import Sequence
from math import isnan, nan

import pytest

from analytics.settings import Arb, Guards
from analytics.tracker import PROBES_MS, Episode, RouteQuote, Tracker
from feeds.model import MS

T0 = 1_000_000 * MS
GUARDS = Guards(dwell_ms=300, updates=3)
ARB = Arb(open_bp=3.0, close_bp=0.0, close_hold_ms=500)


def quoted(edge: float, fresh: float = nan) -> RouteQuote:
    return RouteQuote(100.0, 100.0 * (1 + edge / 1e4), 1.0, edge + 30.0, 30.0, edge, fresh)


Split = tuple[float, float]
"""An edge and its fresh part."""


def run(
    edges: Sequence[float | str | Split], guards: Guards = GUARDS, arb: Arb = ARB, between: dict[int, float] | None = None
) -> tuple[list[Episode], list[Episode], Tracker]:
    """Boundaries 100 ms apart from T0: an edge, one with its fresh part, or the reason of a refusal; `between` maps ms to edges
    seen between two. Without a fresh part the class is UNSPLIT."""
    tracker = Tracker("a > b", arb, guards)
    opened: list[Episode] = []
    closed: list[Episode] = []
    between = between or {}
    for at, edge in enumerate(edges):
        for ms in sorted(between):
            if 100 * (at - 1) < ms < 100 * at:
                tracker.observe(T0 + ms * MS, quoted(between[ms]))
        now = T0 + at * 100 * MS
        if isinstance(edge, str):
            found = tracker.refuse(now, edge)
        elif isinstance(edge, tuple):
            found = tracker.step(now, quoted(*edge), "CONVERGENCE", True)
        else:
            found = tracker.step(now, quoted(edge), "UNSPLIT", True)
        if found is not None:
            (closed if found.closed_ns else opened).append(found)
    return opened, closed, tracker


def ms(at: int) -> int:
    return (at - T0) // MS


def test_a_dwell_of_300_ms_is_three_boundaries_in_a_row() -> None:
    assert run([4.0, 4.0])[0] == []
    opened, _, tracker = run([1.0, 4.0, 4.0, 4.0])
    assert [(ms(e.since_ns), ms(e.opened_ns)) for e in opened] == [(100, 300)]
    assert tracker.open


@pytest.mark.parametrize("broken", [2.999, "late"])
def test_a_boundary_below_open_or_refused_starts_the_dwell_again(broken: float | str) -> None:
    opened, _, _ = run([4.0, 4.0, broken, 4.0, 4.0, 4.0])
    assert [ms(e.opened_ns) for e in opened] == [500]


def test_three_looks_at_one_old_book_do_not_open() -> None:
    tracker = Tracker("a > b", ARB, GUARDS)
    for at in range(10):
        assert tracker.step(T0 + at * 100 * MS, quoted(9.0), "LOCKED", at == 0) is None
    assert not tracker.idle


def test_no_dwell_opens_at_the_first_boundary() -> None:
    opened, _, _ = run([4.0], Guards(dwell_ms=0, updates=1))
    assert [ms(e.opened_ns) for e in opened] == [0]


def test_an_episode_ends_when_the_edge_fell_not_when_the_hold_was_over() -> None:
    _, closed, tracker = run([4.0, 4.0, 4.0, 2.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0])
    assert [(ms(e.closed_ns), e.reason) for e in closed] == [(400, "edge_collapsed")]
    assert tracker.idle


def test_between_close_and_open_it_stays_open() -> None:
    _, closed, tracker = run([4.0] * 3 + [0.0] * 50)
    assert closed == []
    assert tracker.open


def test_a_flicker_shorter_than_the_hold_does_not_split_it() -> None:
    opened, closed, tracker = run([4.0] * 3 + [-1.0] * 5 + [4.0] + [-1.0] * 5 + [4.0])
    assert (len(opened), closed) == (1, [])
    assert tracker.open


@pytest.mark.parametrize("reason", ["stale", "late", "depth"])
def test_a_failed_guard_ends_it_at_once_and_a_new_one_must_dwell(reason: str) -> None:
    opened, closed, _ = run([*[4.0] * 4, reason, *[4.0] * 3])
    assert [(ms(e.closed_ns), e.reason) for e in closed] == [(400, reason)]
    assert [ms(e.opened_ns) for e in opened] == [200, 700]


def test_a_refusal_without_an_episode_is_no_episode() -> None:
    assert run(["stale", 4.0, "stale"])[1] == []


def test_the_probes_keep_the_edge_that_was_in_force() -> None:
    between = {210: 5.0, 249: 6.0, 251: 7.0, 299: 8.0, 301: 9.0, 440: 2.0, 460: 1.0, 690: 3.5, 1_190: 0.5}
    _, closed, _ = run([*[4.0] * 12, 0.25, 0.125, "x"], between=between)
    assert [PROBES_MS[at] + 200 for at in range(5)] == [250, 300, 450, 700, 1_200]
    # the value that stood at 250 came at 249; at 300, 700 and 1,200 the boundary itself says
    assert closed[0].probes_bps == (6.0, 4.0, 2.0, 4.0, 0.25)


def test_an_episode_shorter_than_a_probe_has_none_for_it() -> None:
    _, closed, _ = run([4.0, 4.0, 4.0, "stale"])
    assert closed[0].probes_bps == (4.0,)


def test_probes_go_on_below_close_they_ask_what_was_left() -> None:
    _, closed, _ = run([4.0] * 3 + [-2.0] * 6)
    assert ms(closed[0].closed_ns) == 300
    assert closed[0].probes_bps == (4.0, -2.0, -2.0, -2.0)  # at 250, 300, 450 and 700; sure of its end at 800


def test_peak_mean_and_updates_are_those_of_its_life() -> None:
    _, closed, _ = run([*[4.0] * 3, 8.0, 4.0, 4.0, "stale"], between={350: 12.0})
    (episode,) = closed
    assert (episode.peak.edge_bps, ms(episode.peak_ns)) == (12.0, 350)
    assert episode.mean_edge_bps == pytest.approx((4 * 100 + 8 * 50 + 12 * 50 + 4 * 100) / 300)
    assert episode.updates == 5
    assert episode.opened == quoted(4.0)


def test_the_hold_after_the_fall_counts_for_nothing() -> None:
    fallen = run([4.0] * 3 + [6.0, 2.0] + [-50.0] * 6, between={610: 90.0})[1][0]
    assert fallen.mean_edge_bps == pytest.approx((4 + 6 + 2) / 3)
    assert (fallen.last, fallen.peak.edge_bps, fallen.updates) == (quoted(-50.0), 6.0, 4)


def test_a_flicker_inside_counts_for_the_mean() -> None:
    _, closed, _ = run([*[4.0] * 3, -2.0, 4.0, "stale"])
    assert closed[0].mean_edge_bps == pytest.approx((4 - 2) / 2)


def test_an_open_episode_can_be_read_and_changes_nothing_by_it() -> None:
    _, _, tracker = run([4.0] * 3 + [5.0])
    first = tracker.episode()
    assert first is not None
    assert (first.closed_ns, first.reason, first.last) == (0, "", quoted(5.0))
    assert tracker.episode() == first


def test_an_episode_of_one_boundary_has_the_mean_of_its_opening() -> None:
    opened, closed, _ = run([4.0, 4.0, 4.0, "stale"])
    assert opened[0].mean_edge_bps == closed[0].mean_edge_bps == 4.0
    assert not isnan(closed[0].peak.edge_bps)


# -- with a fresh part ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [(2.9, 9.0), (9.0, 2.9), (9.0, -50.0)])
def test_both_edges_must_stand_at_open_for_all_of_the_dwell(low: Split) -> None:
    assert run([low] * 20)[0] == []
    opened, _, _ = run([(9.0, 3.0), (3.0, 9.0), low, (9.0, 9.0), (3.0, 3.0), (9.0, 9.0)])
    assert [ms(e.opened_ns) for e in opened] == [500]


def test_what_fell_first_is_the_reason_of_the_end() -> None:
    for fallen, reason in (
        ((9.0, -0.1), "fresh_edge_collapsed"),
        ((-0.1, 9.0), "edge_collapsed"),
        ((-0.1, -0.1), "edge_collapsed"),
    ):
        _, closed, tracker = run([*[(9.0, 9.0)] * 4, fallen, *[(-5.0, -5.0)] * 6])
        assert [(ms(e.closed_ns), e.reason) for e in closed] == [(400, reason)]
        assert tracker.idle


def test_a_fresh_edge_that_flickers_shorter_than_the_hold_does_not_end_it() -> None:
    opened, closed, tracker = run([*[(9.0, 9.0)] * 3, *[(9.0, -1.0)] * 5, (9.0, 0.0), *[(9.0, -1.0)] * 5, (9.0, 2.0)])
    assert (len(opened), closed) == (1, [])
    assert tracker.open


def test_peak_and_mean_are_of_the_edge_that_is_earned() -> None:
    _, closed, _ = run([*[(9.0, 4.0)] * 3, (11.0, 5.0), (9.0, 4.0), "stale"])
    assert (closed[0].peak.edge_bps, closed[0].peak.fresh_bps) == (11.0, 5.0)
    assert closed[0].mean_edge_bps == pytest.approx((9 + 11) / 2)


def test_an_episode_is_of_one_class() -> None:
    opened, closed, _ = run([*[9.0] * 4, *[(9.0, 9.0)] * 6, *[9.0] * 6])
    assert [(e.kind, ms(e.opened_ns)) for e in opened] == [("UNSPLIT", 200), ("CONVERGENCE", 700), ("UNSPLIT", 1_300)]
    assert [(e.kind, ms(e.closed_ns), e.reason) for e in closed] == [
        ("UNSPLIT", 400, "split"),
        ("CONVERGENCE", 1_000, "unsplit"),
    ]


def test_a_dwell_begun_without_marks_counts_for_nothing_with_them() -> None:
    opened, _, _ = run([9.0, 9.0, (9.0, 9.0), (9.0, 9.0), (9.0, 9.0)])
    assert [(e.kind, ms(e.since_ns), ms(e.opened_ns)) for e in opened] == [("CONVERGENCE", 200, 400)]
