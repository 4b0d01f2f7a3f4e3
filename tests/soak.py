"""`make soak`: the demo for minutes, with faults now and then, and what the process holds on to meanwhile: it must be flat.

The simulator runs in a process of its own, as in `arbtop demo`; what is measured is the program alone. Before that it warms up:
the longest window, ten minutes of lateness of every leg, fills by about a MB a minute. Exit code 1 when something is not flat.
"""

import argparse
import asyncio
import gc
import os
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tui.config import Config
from tui.demo import Demo
from tui.headless import LiveOptions, live_run
from tui.live import LiveRun

EVERY_S = 15.0
RSS_SLOPE_MB_PER_H = 12.0
"""Noise of a few hundred kB in ten minutes is some MB an hour; alerts and their books are kept on purpose, up to a bound."""


class Sample(NamedTuple):
    at_s: float
    rss_mb: float
    objects: int
    tasks: int
    descriptors: int
    cpu_s: float
    frames: int
    alerts: int


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
    )


def slope_per_h(samples: list[Sample]) -> float:
    """MB an hour, least squares."""
    n = len(samples)
    mean_t, mean_m = sum(s.at_s for s in samples) / n, sum(s.rss_mb for s in samples) / n
    across = sum((s.at_s - mean_t) ** 2 for s in samples)
    return sum((s.at_s - mean_t) * (s.rss_mb - mean_m) for s in samples) / across * 3600 if across else 0.0


async def soak(run: LiveRun, minutes: float) -> list[Sample]:
    feeding = asyncio.create_task(run.run())
    begun = time.monotonic()
    samples = []
    print("   s    RSS MB  objects  tasks  descriptors  CPU %  frames/s  alerts", flush=True)
    before = sample(run, begun)
    while time.monotonic() - begun < minutes * 60 and not feeding.done():
        await asyncio.sleep(EVERY_S)
        now = sample(run, begun)
        span = now.at_s - before.at_s
        cpu, rate = 100 * (now.cpu_s - before.cpu_s) / span, (now.frames - before.frames) / span
        held = f"{now.at_s:5.0f} {now.rss_mb:9.1f} {now.objects:8,} {now.tasks:6} {now.descriptors:12}"
        print(f"{held} {cpu:6.1f} {rate:9.0f} {now.alerts:7}", flush=True)
        samples.append(now)
        before = now
    run.stop()
    await feeding
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="measured, after the warm-up")
    parser.add_argument("--warm", type=float, default=11.0, help="minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-faults", action="store_true")
    asked = parser.parse_args()
    with live_run(LiveOptions(config=Config(), demo=Demo(seed=asked.seed, faults=not asked.no_faults))) as run:
        samples = asyncio.run(soak(run, asked.warm + asked.minutes))
        faults = run.live.faults
    kept = [one for one in samples if one.at_s >= asked.warm * 60]
    slope = slope_per_h(kept)
    tasks, descriptors = {s.tasks for s in kept}, {s.descriptors for s in kept}
    print(f"after warm-up: RSS {kept[0].rss_mb:.1f} to {kept[-1].rss_mb:.1f} MB, {slope:+.1f} MB an hour; ", end="")
    print(
        f"tasks {min(tasks)} to {max(tasks)}, descriptors {min(descriptors)} to {max(descriptors)}; faults of our own: {faults}"
    )
    flat = slope < RSS_SLOPE_MB_PER_H and kept[-1].descriptors <= kept[0].descriptors + 4 and kept[-1].tasks <= kept[0].tasks + 8
    print("flat" if flat and not faults else "NOT FLAT")
    return 0 if flat and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
