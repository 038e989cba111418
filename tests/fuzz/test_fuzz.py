"""Some inputs for all that reads a stranger's bytes, others each time; `make fuzz` goes on for longer."""

from __future__ import annotations

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS
from tests.support.chance import drawn


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_our_own_errors_gets_out(name: str) -> None:
    start = drawn(f"fuzz {name}").randrange(10**6)
    assert fuzz(name, 1.0, start=start) > 100, f"the first turn was {start}"
