"""Exchange messages with other programs through a relay that cuts, delays and half-closes; see `make interop`."""

import argparse
import asyncio
import sys
import time
from collections import Counter

from .exchange import cases, exchange
from .faulty_relay import KINDS
from .peers import PEERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interop", description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help="default: all that are installed: %(default)s")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of faults (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--rounds", type=int, default=1, help="seeds of each case")
    options = parser.parse_args()
    chosen = cases(tuple(options.kinds.split(",")), options.peers.split(","))
    seeds = range(options.rounds) if options.seed is None else [options.seed]
    failures, counts, began = 0, Counter(), time.monotonic()
    for seed in seeds:
        for case in chosen:
            counts[case[0]] += 1
            try:
                outcome = asyncio.run(exchange(case, seed))
            except Exception as error:
                failures += 1
                print(f"{case}, --seed {seed}: {error!r}", flush=True)
            else:
                if options.seed is not None:
                    print(case, outcome)
    print(f"{dict(counts)} exchanges, {failures} failures, {time.monotonic() - began:.0f} s")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
