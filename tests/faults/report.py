"""What a campaign comes to: the table of faults, the counted limits, and which of them were broken. Pure."""

from collections.abc import Iterable, Sequence
from math import ceil, nan

from msgspec import Struct

from tests.faults.campaign import RESETS, Outcome, Report, RigReport

SYNCED_SHARE = 0.99
CONNECTS_A_MINUTE = 6
HALF_OPEN_S = 5.0
RESET_AIM_S = 3.0
BUSY_MS = 250.0
"""A loop that is late by more now and then finds its links silent: the machine is too busy to judge by time."""
SHOWN = 10


class Line(Struct, frozen=True):
    """One counted limit."""

    name: str
    value: str
    limit: str
    good: bool
    must: bool = True


def percentile(values: Iterable[float], share: float) -> float:
    """The least of the values that a `share` of them does not exceed; nan without any."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else nan


def joined(reports: Iterable[Report]) -> Report:
    """The parts of a campaign as one."""
    parts = list(reports)
    return Report(
        asked=sum(part.asked for part in parts),
        outcomes=[outcome for part in parts for outcome in part.outcomes],
        rigs=[rig for part in parts for rig in part.rigs],
        took_s=max(part.took_s for part in parts),
        cpu_s=sum(part.cpu_s for part in parts),
        loop_late_ms=[late for part in parts for late in part.loop_late_ms],
    )


def limits(report: Report) -> list[Line]:
    """What must hold, and what is aimed at."""
    rigs, outcomes = report.rigs, report.outcomes
    free = sum(rig.fault_free_s for rig in rigs)
    share = sum(rig.synced_s for rig in rigs) / free if free else nan
    lost = [one for one in outcomes if one.recovered_s is None]
    connects = max(rig.most_connects for rig in rigs)
    sure = [one for one in outcomes if not one.disturbed]
    busy = percentile(report.loop_late_ms, 0.99) > BUSY_MS
    half_open = [one.detected_s if one.detected_s is not None else nan for one in sure if one.fault == "half-open"]
    resets = [one for one in sure if one.fault in RESETS and one.recovered_s is not None]
    fresh = percentile([one.recovered_s or 0.0 for one in resets if one.fresh and not one.cooled], 0.95)
    every = percentile([one.recovered_s or 0.0 for one in resets], 0.95)
    return [
        _none("wrong books published", _sum(rigs, "wrong_count")),
        Line("unknown to the judge", str(_sum(rigs, "unknown")), "0", not _sum(rigs, "unknown"), False),
        Line("SYNCED of fault-free book time", f"{share:.3%} of {free:,.0f} s", ">= 99 %", not share < SYNCED_SHARE, not busy),
        _none("never recovered", len(lost)),
        Line("faults done", f"{len(outcomes)} of {report.asked}", "all", len(outcomes) == report.asked),
        _none("did what it must not", sum(bool(one.trouble) for one in sure)),
        _none("stuck without a fault", sum(len(rig.stuck) for rig in rigs)),
        _none("faults of our own tasks", _sum(rigs, "own_faults")),
        Line("most connects of a host in a minute", str(connects), "<= 6", connects <= CONNECTS_A_MINUTE),
        Line(
            "half-open detected, p95",
            f"{percentile(half_open, 0.95):.2f} s of {len(half_open)}",
            "<= 5 s",
            not half_open or percentile(half_open, 0.95) <= HALF_OPEN_S,
        ),
        Line(
            "reset recovered, p95",
            f"{fresh:.2f} s ({every:.2f} s of all)",
            "<= 3 s",
            not fresh > RESET_AIM_S,
            False,
        ),
    ]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """A line a fault: how often, how soon detected and recovered, how long blank; median and p95 in seconds."""
    head = f"{'fault':34} {'n':>4} {'seen':>5} {'detected':>14} {'recovered':>14} {'blank':>14}  cooled"
    lines = [head]
    for name in sorted({one.fault for one in outcomes}):
        own = [one for one in outcomes if one.fault == name]
        seen = [one for one in own if one.detected_s is not None and not one.disturbed]
        columns = (
            [one.detected_s or 0.0 for one in seen],
            [one.recovered_s for one in seen if one.recovered_s is not None],
            [one.blank_s for one in seen],
        )
        cells = " ".join(f"{_pair(values):>14}" for values in columns)
        cooled = sum(one.cooled for one in own)
        lines.append(f"{name:34} {len(own):4} {len(seen):5} {cells}  {cooled or ''}".rstrip())
    return lines


def text(report: Report, seed: int) -> list[str]:
    """Everything that is printed."""
    rigs, outcomes = report.rigs, report.outcomes
    lines = [*table(outcomes), ""]
    judged = _sum(rigs, "published")
    lines.append(
        f"seed {seed}: {len(outcomes)} faults, {judged:,} books and quotes judged, {_sum(rigs, 'whole'):,} of them whole"
    )
    lines.append(f"{len(rigs)} exchanges, {report.took_s:.0f} s, {report.cpu_s:.0f} s of CPU")
    late, lost = report.loop_late_ms, sum(one.disturbed for one in outcomes)
    lines.append(f"the loops were late by {percentile(late, 0.99):.0f} ms p99, {max(late, default=0.0):.0f} ms at the most; ")
    lines[-1] += f"{lost} faults met a machine too busy to judge them by time"
    for one in limits(report):
        verdict = "ok" if one.good else "BROKEN" if one.must else "missed"
        lines.append(f"  {verdict:7} {one.name}: {one.value} ({'must' if one.must else 'aim'} {one.limit})")
    lines.extend(evidence(report))
    return lines


def evidence(report: Report) -> list[str]:
    """The first of whatever was broken, with the seeds."""
    lines = [f"  wrong: rig {rig.seed}: {what}" for rig in report.rigs for what in rig.wrong[:SHOWN]][: 2 * SHOWN]
    for one in report.outcomes:
        if one.recovered_s is None:
            lines.append(f"  never recovered: {one.fault} on {one.place}, seed {one.seed}")
        if one.trouble and not one.disturbed:
            lines.append(f"  {one.fault} on {one.place}, seed {one.seed}: {one.trouble}")
    lines.extend(f"  fell under no fault: rig {rig.seed}: {what}" for rig in report.rigs for what in rig.unexplained)
    lines.extend(f"  stuck: {what}" for rig in report.rigs for what in rig.stuck)
    lines.extend(f"  own fault: rig {rig.seed}: {what}" for rig in report.rigs for what in rig.said)
    return lines


def broken(report: Report) -> list[Line]:
    """The musts that do not hold."""
    return [one for one in limits(report) if one.must and not one.good]


def _none(name: str, count: int) -> Line:
    return Line(name, f"{count:,}", "0", not count)


def _sum(rigs: Iterable[RigReport], name: str) -> int:
    return sum(getattr(rig, name) for rig in rigs)


def _pair(values: Sequence[float]) -> str:
    return f"{percentile(values, 0.5):.2f} / {percentile(values, 0.95):.2f}" if values else "-"
