"""`make faults N=1000`: a campaign in several processes, and what it came to. Exit code 1 when a must is broken."""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import Random

from feeds.simulator.faults import FAULTS
from tests.faults.campaign import RIGS, part_of, shares
from tests.faults.report import broken, joined, text
from tests.faults.rig import GROUPS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="by chance, and printed, when none is given")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rigs", type=int, default=RIGS, help="exchanges in each process")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only this one; may be given several times")
    parser.add_argument("--venue", action="append", help="only the venues that share a rig with this one; likewise")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else Random().randrange(1_000_000)
    faults = tuple(asked.fault or FAULTS)
    print(f"seed {seed}: {asked.count} faults", flush=True)
    groups = [group for group in GROUPS if not asked.venue or set(map(str.upper, asked.venue)) & set(group)]
    if not groups:
        parser.error(f"--venue: one of {', '.join(name for group in GROUPS for name in group)}")
    work = shares(asked.count, asked.rigs, groups)
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("spawn")) as pool:
        parts = [pool.submit(part_of, seed, work, part, asked.processes, faults) for part in range(asked.processes)]
        reports = [joined(some) for some in zip(*(part.result() for part in parts), strict=True)]
    for share, report in zip(work, reports, strict=True):
        print("\n".join([f"-- {', '.join(share.venues)} --", *text(report, seed), ""]))
    return 1 if any(map(broken, reports)) else 0


if __name__ == "__main__":
    sys.exit(main())
