"""``.ci/again`` repeats what a busy machine may have failed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.outcomes import Failed

from gpunb.errors import Unreachable
from tests.support.verdicts import may_be_slow

AGAIN = Path(__file__).parents[1] / ".ci/again"
ONCE = "import pathlib\nseen = pathlib.Path('seen').exists()\npathlib.Path('seen').touch()\n"


def test_only_what_waits_may_be_a_matter_of_time() -> None:
    waited = [AssertionError(), TimeoutError(), subprocess.TimeoutExpired("x", 1), Failed("Timeout >20.0s")]
    assert all(map(may_be_slow, waited))
    others = [
        EOFError(),
        OSError("Socket is closed"),
        ConnectionResetError(),
        Unreachable("x"),
        KeyError("x"),
    ]
    assert not any(map(may_be_slow, others))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raises", "repeated", "workers"),
    [
        ("assert seen", True, "0"),
        ("if not seen: pytest.fail('Timeout >20.0s')", True, "1"),
        ("if not seen: raise EOFError", False, "0"),
        ("if not seen: raise Unreachable('the line broke')", False, "1"),
    ],
)
def test_only_assertions_and_timeouts_are_run_again(
    tmp_path: Path, raises: str, repeated: bool, workers: str
) -> None:
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['tests.support.verdicts']\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest, subprocess\nfrom gpunb.errors import Unreachable\n\n\n"
        f"def test_it():\n    {ONCE.replace(chr(10), chr(10) + '    ')}{raises}\n"
    )
    env = {**os.environ, "PYTHONPATH": str(AGAIN.parents[1]), "GPUNB_AGAIN_ROOT": str(tmp_path)}
    env.pop("PYTEST_ADDOPTS", None)
    first = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", workers],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert first.returncode == 1, first.stdout
    again = subprocess.run(
        [str(AGAIN), sys.executable, "1"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert (again.returncode == 0) == repeated, again.stdout
    assert ("PASSED ALONE" in again.stdout) == repeated
    assert ("NOT ONCE MORE" in again.stdout) != repeated
