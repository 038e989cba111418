"""Two of the real stories in each run of the tests, others each time; ``make chaos-real`` tells thirty."""

from __future__ import annotations

import pytest

from tests.chaos.real import tell
from tests.support.chance import drawn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("odd", [False, True], ids=["local", "a cloud"])
def test_killed_processes_leave_no_bill(odd: bool) -> None:
    # an even seed is a story about the local provider
    seed = drawn("real chaos").randrange(0, 1000, 2) + odd
    seen = tell(seed)
    assert seen.ok, "\n".join([f"make chaos-real N=1 SEED={seed}", *seen.lines()])
