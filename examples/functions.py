"""A function that runs on a rented machine: ``python examples/functions.py [CLOUD]``.

Without a cloud it is this machine: no account, no bill.
"""

from __future__ import annotations

import sys

import gpunb

CLOUD = sys.argv[1] if len(sys.argv) > 1 else "local"
POINTS = [(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]


def loss(slope: float, rest: float) -> float:
    return sum((slope * x + rest - y) ** 2 for x, y in POINTS) / len(POINTS)


@gpunb.function(cloud=CLOUD, hours=0.5, name="functions")
def fit(rate: float) -> dict[str, float]:
    """Fit a line; it runs there, with `loss` and `POINTS` of this file."""
    slope = rest = 0.0
    for _ in range(200):
        for x, y in POINTS:
            wrong = slope * x + rest - y
            slope, rest = slope - rate * wrong * x, rest - rate * wrong
    return {"rate": rate, "slope": slope, "rest": rest, "loss": loss(slope, rest)}


if __name__ == "__main__":
    with fit:
        best = min(fit.map([0.001, 0.01, 0.1]), key=lambda found: found["loss"])
    print(f"rate {best['rate']}: y = {best['slope']:.2f} x + {best['rest']:.2f}")
