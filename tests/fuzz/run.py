"""``make fuzz MINUTES=10``: hypothesis for as long as wanted, each target its share; then atheris."""

from __future__ import annotations

import sys
import time
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS, frames


def fuzz(name: str, seconds: float, *, start: int = 0) -> int:
    """Feed target `name` for about `seconds`; how many inputs it took. Raises what it let out."""
    check, strategies = TARGETS[name]
    taken = 0
    until = time.monotonic() + seconds
    turn = start
    while True:

        def once(*args: Any) -> None:
            nonlocal taken
            taken += 1
            check(*args)

        quick = settings(
            max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )  # fmt: skip
        # hypothesis knows tests by their arguments' names
        names = [f"a{number}" for number in range(len(strategies))]
        scope: dict[str, Any] = {"once": once}
        exec(f"def target({', '.join(names)}): once({', '.join(names)})", scope)
        seed(turn)(quick(given(*strategies)(scope["target"])))()
        turn += 1
        if time.monotonic() >= until:
            return taken


def with_atheris(seconds: float) -> str:
    """The frame decoder, guided by coverage."""
    try:
        import atheris
    except ImportError:
        return "atheris is not installed: skipped (pip install atheris)"
    atheris.instrument_func(frames)
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={int(seconds)}"],
        lambda data: frames(data, 1 + data[0] % 64 if data else 1),
    )
    atheris.Fuzz()  # ends the process
    return ""


def main(minutes: float) -> None:
    share = minutes * 60 / len(TARGETS)
    for name in TARGETS:
        began = time.monotonic()
        count = fuzz(name, share, start=int(time.time()))
        print(f"{name:28} {count:9,} inputs in {time.monotonic() - began:5.0f} s", flush=True)
    print(with_atheris(60), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
