"""``make soak MINUTES=30``: the long schedules, of which each run of the tests plays a sample.

``python -m tests.soak [MINUTES] [--seed S] [PART…]``: each part, one after the other, with all cores.
A part with a share of the minutes ends when they are over or when it has played all that it has.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.support.chance import SEED, SOAK


@dataclass(frozen=True)
class Part:
    """One kind of schedule, and its share of the minutes; 0 is as long as it takes."""

    argv: str
    share: float = 0.0

    def command(self, minutes: float, seed: int) -> list[str]:
        words = self.argv.format(seed=seed, minutes=f"{minutes * self.share:.2f}").split()
        return [sys.executable, "-m", *words]


PARTS = {
    "chaos": Part("tests.chaos 10000 --seed {seed} --minutes {minutes}", 0.35),
    "drops": Part("tests.remote.drops --n 200 --seed {seed} --minutes {minutes}", 0.15),
    "killed processes": Part("tests.chaos.real 30 --seed {seed} --minutes {minutes}", 0.15),
    "fuzzing": Part("tests.fuzz.run {minutes} {seed}", 0.34),
    "attacks": Part("tests.attack"),
    "peers": Part("pytest -q -rs tests/sim/test_peers.py"),
    "samples, whole": Part("pytest -q -n auto --dist worksteal -m sample"),
}


def main() -> int:
    """Run the parts, and say of each whether it was well and how it is played again."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=30.0)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    if not 0 < asked.minutes < float("inf"):
        parser.error(f"MINUTES is {asked.minutes:g}: it must be above 0")
    unknown = set(asked.parts) - PARTS.keys()
    if unknown:
        parser.error(f"PART is {', '.join(sorted(unknown))}: it must be one of {', '.join(PARTS)}")
    env = {**os.environ, SOAK: "1", SEED: str(asked.seed)}
    rows, failed = [], 0
    for name in asked.parts or PARTS:
        argv = PARTS[name].command(asked.minutes, asked.seed)
        print(f"\n== {name}: {' '.join(argv[1:])}", flush=True)
        began = time.monotonic()
        status = subprocess.run(argv, env=env, check=False).returncode
        failed += status != 0
        rows.append(f"{'ok' if status == 0 else 'FAILED':6} {name:18} {time.monotonic() - began:6.0f} s")
    print("\n" + "\n".join(rows))
    print(f"again: make soak MINUTES={asked.minutes:g} SEED={asked.seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
