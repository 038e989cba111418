"""Two Pythons that differ: that of the tests here, and 3.9 there, made once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.remote.test_pythons import with_ipykernel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

THERE = "3.9"  # what the tests run on is 3.10 or newer
PROGRAM = '''
import dataclasses
import sys

import gpunb
import gpunb.errors

LIMITS: dict[str, tuple[int, ...]] = {"of": (1, 2)}


@dataclasses.dataclass
class Found:
    version: "tuple[int, int]"
    names: list[str] | None = None


def version() -> tuple[int, ...]:
    return tuple(sys.version_info[:2])


with gpunb.rent(cloud="local", hours=0.5, python=sys.argv[1]) as s:

    @s.function
    def there(x: int | None, *, names: list[str]) -> Found:
        """Annotations that 3.9 could not evaluate."""
        return Found(version(), [*names, str(x), str(LIMITS)])

    found = there(5, names=["a"])
    print(version(), found.version, found.names)

    @s.function
    def typed(x):
        match x:
            case _:
                return x

    try:
        typed(1)
    except gpunb.errors.RemoteCellError as err:
        print(err.ename)
'''


def test_source_travels_between_versions(work: Path) -> None:
    there = with_ipykernel(THERE)
    (work / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py", there],
        cwd=work,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{tuple(sys.version_info[:2])} (3, 9) ['a', '5', \"{{'of': (1, 2)}}\"]",
        "SyntaxError",
    ]
