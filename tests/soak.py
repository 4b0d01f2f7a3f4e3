"""`make soak`: the demo for minutes, with faults now and then, and what the process holds on to meanwhile: it must be flat.

The simulator runs in a process of its own, as in `arbtop demo`; what is measured is the program alone. Before that it warms up
until what fills by design is full: ten minutes of lateness of each leg, later where a fault took the leg away, and the newest 250
alerts with their books, some twenty minutes of faults. Without faults those take hours: the warm-up has a limit. The hour of each
series (`analytics.series`) is taken when the series is made. What is left takes hours to fill, 5,000 alerts and 10,000 episodes:
8 MB in all, about one MB an hour. Exit code 1 when something is not flat.
"""

import argparse
import asyncio
import gc
import os
import resource
import sys
import time
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import NamedTuple

from feeds.clock import BOUNDARY_NS
from feeds.health import MEDIAN_SPAN_NS
from tui.config import Config
from tui.demo import Demo
from tui.headless import LiveOptions, live_run
from tui.live import LiveRun
from tui.triggers import TRIGGERS_KEPT

EVERY_S = 15.0
RSS_SLOPE_MB_PER_H = 12.0
"""Noise of a few hundred kB in ten minutes is some MB an hour, and what alerts fill comes on top."""
RSS_STEP_MB = 8.0
"""The last sample over the first. A message of 20 MiB, which is refused, takes 11 MB of heap for a moment; up to 3 MB of it stay
touched, in one step (measured); nothing of it is held. Many steps are a slope."""


class Sample(NamedTuple):
    at_s: float
    rss_mb: float
    objects: int
    tasks: int
    descriptors: int
    cpu_s: float
    frames: int
    alerts: int
    legs_full: float
    """Share of the lateness windows that are as long as they get, of those that were begun."""
    triggers: int


def legs_full(run: LiveRun) -> float:
    samples = [leg.samples for leg in run.live.hub.health.legs.values() if leg.samples]
    return sum(n * BOUNDARY_NS >= MEDIAN_SPAN_NS for n in samples) / len(samples) if samples else 0.0


def sample(run: LiveRun, begun: float) -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Sample(
        at_s=time.monotonic() - begun,
        rss_mb=pages * resource.getpagesize() / 1e6,
        objects=len(gc.get_objects()),
        tasks=len(asyncio.all_tasks()),
        descriptors=len(os.listdir("/proc/self/fd")),
        cpu_s=used.ru_utime + used.ru_stime,
        frames=run.live.hub.frames,
        alerts=len(run.alerts),
        legs_full=legs_full(run),
        triggers=len(run.triggers),
    )


def slope_per_h(samples: list[Sample]) -> float:
    """MB an hour: the median of the slopes between all pairs of samples (Theil and Sen), which one step does not move."""
    slopes = [(b.rss_mb - a.rss_mb) / (b.at_s - a.at_s) for a, b in combinations(samples, 2)]
    return median(slopes) * 3600 if slopes else 0.0


async def soak(run: LiveRun, warm_s: float, measured_s: float) -> list[Sample]:
    """The samples after the warm-up, which takes `warm_s` at most."""
    feeding = asyncio.create_task(run.run())
    begun = time.monotonic()
    samples: list[Sample] = []
    print("   s    RSS MB  objects  tasks  descriptors  CPU %  frames/s  alerts", flush=True)
    before = sample(run, begun)
    while not feeding.done() and (not samples or before.at_s - samples[0].at_s < measured_s):
        await asyncio.sleep(EVERY_S)
        now = sample(run, begun)
        span = now.at_s - before.at_s
        cpu, rate = 100 * (now.cpu_s - before.cpu_s) / span, (now.frames - before.frames) / span
        held = f"{now.at_s:5.0f} {now.rss_mb:9.1f} {now.objects:8,} {now.tasks:6} {now.descriptors:12}"
        print(f"{held} {cpu:6.1f} {rate:9.0f} {now.alerts:7}", flush=True)
        before = now
        full = now.legs_full == 1.0 and now.triggers == TRIGGERS_KEPT
        if samples or full or now.at_s >= warm_s:
            samples.append(now)
        if len(samples) == 1:
            print(f"full: {now.legs_full:.0%} of the legs, {now.triggers} of {TRIGGERS_KEPT} alerts with books", flush=True)
    run.stop()
    await feeding
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="measured, after the warm-up")
    parser.add_argument("--warm", type=float, default=25.0, help="minutes at most, where it is not full before")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-faults", action="store_true")
    asked = parser.parse_args()
    with live_run(LiveOptions(config=Config(), demo=Demo(seed=asked.seed, faults=not asked.no_faults))) as run:
        kept = asyncio.run(soak(run, asked.warm * 60, asked.minutes * 60))
        faults = run.live.faults
    if not kept:
        print("it ended before it was warm")
        return 1
    slope = slope_per_h(kept)
    tasks, descriptors = {s.tasks for s in kept}, {s.descriptors for s in kept}
    print(f"after warm-up: RSS {kept[0].rss_mb:.1f} to {kept[-1].rss_mb:.1f} MB, {slope:+.1f} MB an hour; ", end="")
    print(
        f"tasks {min(tasks)} to {max(tasks)}, descriptors {min(descriptors)} to {max(descriptors)}; faults of our own: {faults}"
    )
    flat = slope < RSS_SLOPE_MB_PER_H and kept[-1].rss_mb < kept[0].rss_mb + RSS_STEP_MB
    flat &= kept[-1].descriptors <= kept[0].descriptors + 4 and kept[-1].tasks <= kept[0].tasks + 8
    print("flat" if flat and not faults else "NOT FLAT")
    return 0 if flat and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
