"""A handful of the real stories in each run of the tests; ``make chaos-real`` tells thirty."""

from __future__ import annotations

import pytest

from tests.chaos.real import tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("seed", [0, 3, 5, 9])
def test_killed_processes_leave_no_bill(seed: int) -> None:
    seen = tell(seed)
    assert seen.ok, "\n".join(seen.lines())
