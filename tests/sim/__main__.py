"""Big doses of the simulation, and figures of what a cluster costs.

    python3 -m tests.sim storm [--nodes N] [--seconds S] [--seed N] [--storms N] [--skew] [--rate N] [--faults S]
    python3 -m tests.sim traffic [--nodes N] [--rate N] [--seconds S] [--seed N] [--clients N] [--whole N] [--cut S]
    python3 -m tests.sim engine [--entries N] [--json FILE]

storm: plays storms, one a seed, and says what was wrong, or how long the nodes took to be equal. traffic: see
traffic.py. engine: what one real Redis takes, see real_engine.py.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time

from tests.bench.table import arguments, show
from tests.sim.play import directory, play
from tests.sim.real_engine import measured
from tests.sim.traffic import Load, Traffic
from tests.sim.world import Storm


def storm(options: argparse.Namespace) -> int:
    """Play storms; 1 if anything was wrong."""
    healed, wrong = [], 0
    for seed in range(options.seed, options.seed + options.storms):
        began = time.monotonic()
        played = play(
            Storm(
                seed,
                nodes=options.nodes,
                seconds=options.seconds,
                rate=options.rate or 2.0,
                faults=options.faults,
                skew=options.skew,
            )
        )
        wrong += bool(played.wrong)
        healed.append(played.healed)
        word = played.wrong or f"equal {played.healed:g} s after the storm, {played.entries} entries"
        print(f"seed {seed}: {word} (took {time.monotonic() - began:.0f} s)", flush=True)
    print(
        f"{len(healed)} storms, {wrong} wrong; equal after {statistics.median(healed):g} s, {max(healed):g} s at most"
    )
    return 1 if wrong else 0


def traffic(options: argparse.Namespace) -> int:
    """Play a load, and print its figures."""
    load = Load(
        options.nodes,
        options.rate or 50_000.0,
        options.seconds,
        options.seed,
        options.clients,
        options.whole,
        options.cut,
    )
    with directory() as place:
        played = Traffic(load, place)
        show("sim traffic", played.play(), options, nodes=load.nodes, rate=load.rate, clients=load.clients)
        played.close()
    return 0


def engine(options: argparse.Namespace) -> int:
    """Measure one real engine."""
    show("sim engine", measured(options.entries), options)
    return 0


PARTS = {"storm": storm, "traffic": traffic, "engine": engine}


def main() -> int:
    """Play what is asked for."""
    parser = arguments(__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0, help="logins a second on all nodes")
    parser.add_argument("--storms", type=int, default=1)
    parser.add_argument("--skew", action="store_true", help="clocks differ")
    parser.add_argument("--faults", type=float, default=10.0, help="seconds from one fault to the next")
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--whole", type=int, default=1, help="how many nodes have books")
    parser.add_argument("--cut", type=int, default=600, help="for how long one is then cut off, in seconds")
    parser.add_argument("--entries", type=int, default=200_000)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    return PARTS[options.part](options)


if __name__ == "__main__":
    sys.exit(main())
