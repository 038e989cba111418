"""Two Pythons that differ: 3.12 here and 3.9 there, each with what it needs, made once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.remote.test_pythons import VENVS, interpreter, with_ipykernel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
HERE, THERE = "3.12", "3.9"
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


def python_with_gpunb(version: str) -> str:
    """A Python `version` that has gpunb as it stands here, made once."""
    folder = VENVS / f"here-{version}"
    python = folder / "bin" / "python"
    if (
        not python.exists()
        or subprocess.run([python, "-c", "import gpunb, paramiko"], capture_output=True).returncode
    ):
        base = interpreter(version)
        if base is None:
            pytest.skip(f"Python {version} is not on this machine")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([base, "-m", "venv", folder], check=True, capture_output=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", ROOT]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"gpunb for Python {version} can't be installed: {done.stderr[-300:]}")
    return str(python)


def test_source_travels_between_versions(work: Path) -> None:
    here, there = python_with_gpunb(HERE), with_ipykernel(THERE)
    (work / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [here, "program.py", there], cwd=work, env=os.environ, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "(3, 12) (3, 9) ['a', '5', \"{'of': (1, 2)}\"]",
        "SyntaxError",
    ]
