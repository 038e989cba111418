"""``make fuzz MINUTES=10``: hypothesis for as long as wanted, each target its share; then atheris."""

from __future__ import annotations

import sys
import time
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from gpunb.agent.shared import frames as protocol
from tests.fuzz.targets import TARGETS, framed, frames


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


def with_atheris(seconds: float) -> None:
    """The frame decoder, guided by coverage: bytes as they come, and as a frame's body. Ends the process."""
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: skipped (pip install atheris)")
        return
    for owner, name in ((protocol.Decoder, "feed"), (protocol, "decode_body"), (protocol, "parts_of")):
        setattr(owner, name, atheris.instrument_func(getattr(owner, name)))

    def one(data: bytes) -> None:
        cut, rest = data[:1], data[1:]
        frames(framed(rest, 1) if cut > b"\x80" else rest, 1 + (cut[0] % 64 if cut else 0))

    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", "-print_final_stats=1"], one)
    atheris.Fuzz()


def main(minutes: float, start: int) -> None:
    print(f"the first turn is {start}")
    share = minutes * 60 / len(TARGETS)
    for name in TARGETS:
        began = time.monotonic()
        count = fuzz(name, share, start=start)
        print(f"{name:28} {count:9,} inputs in {time.monotonic() - began:5.0f} s", flush=True)
    sys.stdout.flush()
    with_atheris(60)


if __name__ == "__main__":
    asked = sys.argv[1:]
    main(float(asked[0]) if asked else 10.0, int(asked[1]) if asked[1:] else int(time.time()))
