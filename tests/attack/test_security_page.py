"""docs/security.md names tests: each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

from tests.attack.frame import CASES, GROUPS, load

ROOT = Path(__file__).parents[2]


def named() -> list[str]:
    rows = [line for line in (ROOT / "docs/security.md").read_text().splitlines() if line.startswith("| ")]
    cells = [row.rstrip("| ").rsplit("|", 1)[-1] for row in rows if "`" in row]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_test_that_the_page_names_exists() -> None:
    for group in GROUPS:
        load(group)
    cases = {one.id for one in CASES}
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    found = named()
    assert len(found) > 35
    assert [name for name in found if name not in cases and name not in tests] == []
