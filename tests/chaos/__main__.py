"""``python -m tests.chaos [N] [--seed S] [--jobs J] [--minutes M]``: play N schedules from seed S on."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time

from tests.chaos.schedule import Figures, play


def main() -> int:
    """Play, print the figures, and say how to play a bad one alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("n", nargs="?", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, help="no more after so many")
    asked = parser.parse_args()
    if asked.n < 1:
        parser.error(f"N is {asked.n}: it must be 1 or more")
    seeds = range(asked.seed, asked.seed + asked.n)
    began = time.monotonic()
    total = Figures()
    bad: list[int] = []
    context = multiprocessing.get_context("spawn")
    # thousands of faults are thousands of warnings
    with context.Pool(min(asked.jobs, asked.n), logging.disable, (logging.CRITICAL,)) as pool:
        for done, figures in enumerate(pool.imap(play, seeds), 1):
            total.add(figures)
            if asked.n == 1:
                print("\n".join(figures.story))
            if not figures.ok:
                bad.append(seeds[done - 1])
            if done % 100 == 0:
                print(f"{done} of {len(seeds)}", file=sys.stderr, flush=True)
            if asked.minutes and time.monotonic() - began > asked.minutes * 60:
                print(f"{done} of {len(seeds)}: {asked.minutes:g} minutes are over")
                break
    print("\n".join(total.lines()))
    print(f"took {time.monotonic() - began:.0f} s")
    if bad:
        print(f"failed: {len(bad)}; play one alone: make chaos N=1 SEED={bad[0]}")
    return 0 if total.ok else 1


if __name__ == "__main__":
    sys.exit(main())
