"""The three lines that people write first: rent --save, run --sync, down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SCRIPT = """
import os
os.makedirs("out/.vscode")
for name, text in {"m.json": "42", ".vscode/tasks.json": "run", "old.txt": "theirs"}.items():
    with open(f"out/{name}", "w") as file:
        file.write(text)
os.symlink("/proc/version", "out/version")
os.symlink("/etc", "out/system")
"""


def test_what_a_synced_script_writes_is_what_save_brings(tmp_path: Path) -> None:
    project = tmp_path / "proj"
    (project / "out").mkdir(parents=True)
    (project / "fit.py").write_text(
        SCRIPT.replace('os.makedirs("out/.vscode")', 'os.makedirs("out/.vscode", exist_ok=True)')
    )
    (project / "out/old.txt").write_text("mine, and longer")
    env = {**os.environ, "GPUNB_HOME": str(tmp_path / "home"), "JUPYTER_DATA_DIR": str(tmp_path / "jupyter")}

    def verb(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "gpunb", *words]
        return subprocess.run(argv, cwd=project, env=env, capture_output=True, text=True, timeout=120)

    try:
        rent = verb("rent", "--cloud", "local", "--name", "fit", "--for", "1h", "--save", "out", "--yes")
        assert rent.returncode == 0, rent.stderr
        run = verb("run", "fit.py", "--sync", ".")
        assert run.returncode == 0, run.stderr
        assert verb("trust", "fit", "stranger").returncode == 0
        down = verb("down", "fit", "--yes", "--json")
        (receipt,) = json.loads(down.stdout)
    finally:
        verb("down", "--all", "--yes", "--no-save")
    found = {
        str(path.relative_to(project)): path.read_text() for path in project.rglob("*") if path.is_file()
    }
    del found["fit.py"]
    assert found == {
        "out/m.json": "42",
        "out/.vscode.held/tasks.json": "run",
        "out/old.txt": "mine, and longer",
        "out/old.fit.txt": "theirs",
    }
    assert receipt["saved"] == ["out"]
    assert {path for path, _ in receipt["unsaved"]} == {"out/system", "out/version"}
    (brought,) = receipt["brought"]
    assert brought["to"] == [str(project / "out")]
    assert brought["held"] == [[".vscode", ".vscode.held"]]
    assert brought["beside"] == [["old.txt", "old.fit.txt"]]
