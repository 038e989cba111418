"""Trust levels of hosts, from the least to the most."""

from __future__ import annotations

__all__ = ["LEVELS", "rank"]

#: From the least to the most, and what each means.
LEVELS = {
    "stranger": "a marketplace host: what it shows is made harmless, pickles and secrets are refused",
    "datacenter": "a verified data centre: rich output as it is, secrets may go there, pickles are refused",
    "own": "your own machine, or one you trust like it: everything passes",
}


def rank(level: str) -> int:
    """The index of `level` in `LEVELS`; an unknown word counts as stranger."""
    return list(LEVELS).index(level) if level in LEVELS else 0
