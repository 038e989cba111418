"""Fetch later from another terminal: started and left in one, seen and awaited in another; two commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.story import Terminal, all_over, supervisor, wait_for

from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SCRIPT = """
import pathlib, time
print("begun", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.1)
pathlib.Path("result.txt").write_text("42")
print("done", flush=True)
"""


def test_fetch_later_from_another_terminal(home: Path, tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "fit", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    (project / "train.py").write_text(SCRIPT)
    one, two = Terminal(project), Terminal(elsewhere)
    with supervisor():
        ran = one.type("gpunb once train.py --for 10m --yes --detach")
        assert ran.code == 0, ran.err
        assert ran.out == ""
        assert "goes on with run" in ran.err
        seen = two.start("gpunb attach")
        assert seen.stdout is not None
        assert seen.stdout.readline() == "begun\n"
        host = own_hosts.home_of(home) / "fit"
        (host / "go").touch()
        out, err = seen.communicate(timeout=60)
        assert (seen.returncode, out) == (0, "done\n"), err
        wait_for(all_over)
    assert (project / "result.txt").read_text() == "42"
    assert list(elsewhere.iterdir()) == []
    assert (len(one.typed) + len(two.typed), one.decisions + two.decisions) == (2, 1)
