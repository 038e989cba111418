"""Every hostile case, on real components; `make attack` prints the same as a table."""

from __future__ import annotations

import pytest

from tests.attack.frame import CASES, GROUPS, load
from tests.attack.runner import run_group, table


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", GROUPS)
def test_no_attack_of_the_group_works(group: str) -> None:
    found = run_group(group)
    print(table(found))
    wrong = [one for one in found if one["wrong"]]
    assert not wrong, table(wrong)
    assert {one["name"] for one in found} == {one.name for one in load(group)}


def test_there_are_sixty_cases_and_more() -> None:
    for group in GROUPS:
        assert load(group)
    assert len(CASES) >= 60
    assert len({one.id for one in CASES}) == len(CASES)
