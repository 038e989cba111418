"""A pytest plug-in: the longest files come first, so that no worker is left alone with one at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

LONGEST = (
    "tests/browser/test_journey.py",
    "tests/browser/test_trouble.py",
    "tests/attack/test_attack.py",
    "tests/chaos/test_chaos.py",
    "tests/notebook/test_whole_notebooks.py",
    "tests/notebook/test_magics.py",
    "tests/notebook/test_onoff.py",
    "tests/notebook/test_widgets.py",
    "tests/commands/renting/test_odd_own_hosts.py",
    "tests/notebook/test_same_as_here.py",
    "tests/notebook/test_host_environment.py",
    "tests/commands/running/test_cell.py",
    "tests/notebook/test_project_folder.py",
    "tests/notebook/test_unanswered.py",
)
"""By the processor time of a file's longest tests, which is what binds where there are few cores."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    # stable: the others stay in their order, and each worker has the same one
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(LONGEST)))
