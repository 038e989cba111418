"""A function over many inputs: one command, and two decisions in the file: which machine, for how long."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpunb.sessions.ledger.sessions import Ledger
from tests.support.machines import own_hosts
from tests.support.rentals.supervisors import end_supervisors

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "functions.py"
COMMANDS = [[sys.executable, str(EXAMPLE), own_hosts.CLOUD]]


def test_function_map(home: Path, tmp_path: Path) -> None:
    try:
        for command in COMMANDS:
            done = subprocess.run(
                command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=110
            )
            assert done.returncode == 0, done.stderr
        assert done.stdout == "rate 0.1: y = 2.00 x + 1.00\n"
        assert own_hosts.instances() == []
        with Ledger.open() as ledger:
            (session,) = ledger.sessions(alive=False)
            assert session.state.value == "gone"
            calls = [(run.kind, run.name, run.state) for run in ledger.runs(session.id)]
            assert calls == [("cell", "fit(…)", "ok")] * 3
            receipt = ledger.receipt(session.id)
            assert receipt is not None
            assert receipt.confirmed is not None
    finally:
        end_supervisors(home)
    assert len(COMMANDS) == 1
    decisions = EXAMPLE.read_text().split("@gpunb.function(")[1].split(")")[0].split(", ")
    assert [one.partition("=")[0] for one in decisions] == ["cloud", "hours", "name"]
