"""`%gpu once` in a real kernel: output while the run goes on, and the exit code in the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.story import all_over, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from support.machines.kernel import Notebook

pytestmark = pytest.mark.slow

SCRIPT = """
import os, pathlib, sys, time
print("begun", flush=True)
while not pathlib.Path(os.environ["GO"]).exists():
    time.sleep(0.05)
pathlib.Path("out.txt").write_text("x")
print("done")
sys.exit(3)
"""


def test_once_in_a_cell(notebook: Notebook, work: Path, tmp_path: Path) -> None:
    (work / "gpunb.toml").touch()
    (work / "job.py").write_text(SCRIPT)
    go = tmp_path / "go"
    message = notebook.start(f"%gpu once job.py --for 10m -e GO={go}")
    shown = notebook.follow(message, until=lambda now: "begun" in now.text, seconds=100)
    assert not (work / "out.txt").exists(), "its output came while it ran"
    go.touch()
    shown = notebook.follow(message, seconds=100, outcome=shown)
    assert shown.text.index("begun\n") < shown.text.index("done\n")
    assert (work / "out.txt").read_text() == "x"
    assert "exit code 3" in f"{shown.plain}{shown.error}"
    assert "confirmed gone" in shown.plain
    assert shown.status == "error", "Run All stops here"
    wait_for(all_over)
