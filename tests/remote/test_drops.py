from __future__ import annotations

import pytest

from tests.remote.drops import run_schedules
from tests.support.machines import sshd


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_cuts_lose_nothing():
    if not sshd.available():
        pytest.skip("OpenSSH's sshd is not installed")
    tally, problems = run_schedules(20, seed=1000)
    assert problems == []
    assert sum(count for name, count in tally.items() if name.startswith("cell")) == 20
