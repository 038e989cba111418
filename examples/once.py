#!/usr/bin/env -S gpunb once --for 30m
# /// script
# dependencies = []
# ///
"""Estimate pi on a rented machine: `gpunb once once.py -- --points 2000000`, or `./once.py --points 2000000`.

The folder is sent, this runs there, `out/pi.json` comes back, and the machine ends; the exit code is this
script's. Typed as `./once.py` all words are the script's own; with `gpunb once` its own stand behind `--`.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200_000)
    args = parser.parse_args()
    chance = random.Random(0)
    inside = sum(chance.random() ** 2 + chance.random() ** 2 <= 1.0 for _ in range(args.points))
    found = {"pi": 4.0 * inside / args.points, "points": args.points, "python": platform.python_version()}
    out = Path("out")
    out.mkdir(exist_ok=True)
    (out / "pi.json").write_text(json.dumps(found), encoding="utf-8")
    print(f"pi is about {found['pi']:.4f}")


if __name__ == "__main__":
    main()
