"""Script once: one command rents, sends, runs, brings back and ends; one decision, the yes to the price."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.story import Terminal, all_over, supervisor

from gpunb.sessions.ledger.sessions import Ledger

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_script_once(home: Path, tmp_path: Path) -> None:
    del home
    project = tmp_path / "digits"
    (project / "data").mkdir(parents=True)
    (project / "pyproject.toml").write_text("[project]\nname = 'digits'\nversion = '1'\ndependencies = []\n")
    (project / "helpers.py").write_text("def total(rows): return sum(map(int, rows))\n")
    (project / "data" / "x.csv").write_text("1\n2\n39\n")
    (project / "train.py").write_text(
        "import sys, pathlib, helpers\n"
        "rows = pathlib.Path('data/x.csv').read_text().split()\n"
        "pathlib.Path('out').mkdir()\n"
        "pathlib.Path('out/total.txt').write_text(str(helpers.total(rows)))\n"
        "print('epochs', sys.argv[2])\n"
    )
    user = Terminal(project)
    with supervisor():
        ran = user.type("gpunb once train.py --for 10m --budget 3 --save out --yes -- --epochs 3")
    assert (ran.code, ran.out) == (0, "epochs 3\n"), ran.err
    assert (project / "out" / "total.txt").read_text() == "42"
    assert sorted(path.name for path in project.iterdir()) == [
        "data", "helpers.py", "out", "pyproject.toml", "train.py",
    ]  # fmt: skip
    assert "confirmed gone" in ran.err
    assert all_over()
    with Ledger.open() as ledger:
        (receipt,) = ledger.receipts()
    assert (receipt.why, receipt.saved, receipt.unsaved) == ("run", ["out"], [])
    assert (len(user.typed), user.decisions) == (1, 1)
