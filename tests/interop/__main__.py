"""Exchange messages with other programs through a relay that cuts, delays and half-closes; see `make interop`."""

import argparse
import asyncio
import sys
import time
from collections import Counter

from .exchange import cases, exchange
from .faulty_relay import KINDS
from .peers import NAMES, PEERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.interop", description=__doc__)
    parser.add_argument("--peers", default=",".join(NAMES), help="programs, of %(default)s (default: all)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of faults (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--rounds", type=int, default=1, help="seeds of each case")
    options = parser.parse_args()
    wanted = options.peers.split(",")
    missing = [name for name in wanted if name not in PEERS]
    chosen = cases(tuple(options.kinds.split(",")), [name for name in wanted if name in PEERS])
    seeds = range(options.rounds) if options.seed is None else [options.seed]
    failures, counts, began = 0, Counter(), time.monotonic()
    faults = dict.fromkeys(("in the opening", "among the messages"), 0)
    #: Exchanges that were opened, by the program and its role.
    opened = {f"{name} as {'server' if role == 'client' else 'client'}": 0 for name, role, *_ in chosen}
    for seed in seeds:
        for case in chosen:
            name, role, _, kind = case
            counts[name] += 1
            try:
                result = asyncio.run(exchange(case, seed))
            except Exception as error:
                failures += 1
                print(f"{case}, --seed {seed}: {error!r}", flush=True)
            else:
                opened[f"{name} as {'server' if role == 'client' else 'client'}"] += result.opened
                if kind != "none":
                    faults["among the messages" if result.among_messages else "in the opening"] += 1
                if options.seed is not None:
                    print(case, result)
    print("opened:", ", ".join(f"{number} {who}" for who, number in opened.items()))
    print("faults:", ", ".join(f"{number} {where}" for where, number in faults.items()))
    unused = [who for who, number in opened.items() if not number]
    if missing:
        print("not installed:", ", ".join(missing))
    if unused:
        print("never opened:", ", ".join(unused))
    print(f"{dict(counts)} exchanges, {failures} failures, {time.monotonic() - began:.0f} s")
    return failures > 0 or bool(missing or unused)


if __name__ == "__main__":
    sys.exit(main())
