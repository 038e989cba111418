"""A minute of fuzzing of all that reads a stranger's bytes; `make fuzz` goes on for longer."""

from __future__ import annotations

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_our_own_errors_gets_out(name: str) -> None:
    assert fuzz(name, 4.0) > 100
