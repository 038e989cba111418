"""Restart policies of a job: ``never``, ``on-lost[:N]`` or ``on-failure[:N]``.

A job is *lost* if its host or keeper ended during it: a spot machine taken
back, a stop and a start, a kill. *on-failure* covers that too, and a command
that fails.
"""

from __future__ import annotations

import re

PATTERN = re.compile(r"^(never|on-lost|on-failure)(?::([1-9][0-9]{0,3}))?$")
FAILURES = 3  # times that on-failure starts a command again, if no number is given


def parse(text: str) -> tuple[str, int | None]:
    """Parse the policy's name and the maximum number of restarts; None is unlimited.

    Raises
    ------
    ValueError
        Not a policy.
    """
    found = PATTERN.match(text)
    if not found or (found.group(1) == "never" and found.group(2)):
        raise ValueError("restart: %r is not never, on-lost, on-failure or on-failure:N" % (text,))
    name, count = found.groups()
    if count:
        return name, int(count)
    return name, FAILURES if name == "on-failure" else None


def again(text: str, attempt: int, lost: bool) -> bool:
    """Whether a job that ended its `attempt` (from 1) is started once more."""
    name, limit = parse(text)
    if name == "never" or (name == "on-lost" and not lost):
        return False
    return limit is None or attempt <= limit


def pause(attempt: int) -> float:
    """Seconds to wait before `attempt`: none before the first, then 1, 2, 4 to 60."""
    return min(60.0, 2.0 ** (min(attempt, 8) - 2)) if attempt > 1 else 0.0
