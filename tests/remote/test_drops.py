from __future__ import annotations

import pytest

from tests.remote.drops import run_schedules
from tests.support.chance import drawn
from tests.support.machines import sshd

CUTS = 7  # of 200 that make soak plays


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cuts_lose_nothing():
    if not sshd.available():
        pytest.skip("OpenSSH's sshd is not installed")
    tally, problems = run_schedules(CUTS, seed=drawn("drops").randrange(10_000))
    assert problems == []
    assert sum(count for name, count in tally.items() if name.startswith("cell")) == CUTS
