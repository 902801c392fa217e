"""Run simulated schedules: `python -m tests.simulation [--kind session] [--seed N | --schedules N]`."""

import argparse
import multiprocessing
import sys
from pathlib import Path

from tests.simulation.campaign import campaign, replay
from tests.simulation.kinds import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--kind", choices=sorted(KINDS), action="append", help="default: all")
    parser.add_argument("--seed", type=int, help="run this one, and make it smaller if it fails")
    parser.add_argument("--whole", action="store_true", help="do not make it smaller")
    parser.add_argument("--schedules", type=int, default=1000, help="how many of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep the progress here, and go on from it")
    options = parser.parse_args()
    kinds = options.kind or sorted(KINDS)
    if options.seed is not None:
        return max(replay(kind, options.seed, not options.whole) for kind in kinds)
    return campaign(kinds, options.schedules, options.first, options.processes, options.state)


if __name__ == "__main__":
    sys.exit(main())
