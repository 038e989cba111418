"""A third of the hostile cases in each run, on real components; `make attack` prints all as a table."""

from __future__ import annotations

import pytest

from tests.attack.frame import CASES, GROUPS, load
from tests.attack.runner import run_group, table
from tests.support.chance import drawn, whole

LEAST = 8


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("group", GROUPS)
def test_no_attack_of_the_group_works(group: str) -> None:
    names = [one.name for one in load(group)]
    if not whole():
        names = drawn(f"attack {group}").sample(names, min(len(names), max(LEAST, len(names) // 3)))
    found = run_group(group, *names)
    print(table(found))
    wrong = [one for one in found if one["wrong"]]
    assert not wrong, table(wrong)
    assert {one["name"] for one in found} >= set(names)


def test_there_are_sixty_cases_and_more() -> None:
    for group in GROUPS:
        assert load(group)
    assert len(CASES) >= 60
    assert len({one.id for one in CASES}) == len(CASES)
