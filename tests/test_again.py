"""``.ci/again`` repeats what a busy machine may have failed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AGAIN = Path(__file__).parents[1] / ".ci/again"
ONCE = "import pathlib\nseen = pathlib.Path('seen').exists()\npathlib.Path('seen').touch()\n"


@pytest.mark.parametrize(
    ("raises", "repeated"),
    [
        ("assert seen", True),
        ("if not seen: raise TimeoutError('not yet')", True),
        ("if not seen: pytest.fail('Timeout >20.0s')", True),
        ("if not seen: subprocess.run(['sleep', '9'], timeout=0.01)", True),
        ("if not seen: raise EOFError", False),
        ("if not seen: raise OSError('Socket is closed')", False),
        ("if not seen: raise Unreachable('the line broke')", False),
        ("if not seen: {}['x']", False),
    ],
)
@pytest.mark.parametrize("workers", ["0", "1"])
def test_only_assertions_and_timeouts_are_run_again(
    tmp_path: Path, raises: str, repeated: bool, workers: str
) -> None:
    if workers == "1" and "EOFError" not in raises:
        pytest.skip("that a worker's verdict arrives is seen once")
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
