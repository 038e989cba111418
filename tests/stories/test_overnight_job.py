"""Overnight job, laptop closed: the client dies and no supervisor is there when the run ends; one command."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.rentals.supervisors import end_supervisors
from support.story import Terminal, all_over, supervisor, wait_for

from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState
from tests.support.machines import own_hosts

pytestmark = pytest.mark.slow

SCRIPT = """
import pathlib, time
pathlib.Path("model").mkdir()
print("begun", flush=True)
while not pathlib.Path("dawn").exists():
    time.sleep(0.1)
pathlib.Path("model/weights.txt").write_text("trained")
pathlib.Path("model/done").touch()
"""


def test_overnight_job_laptop_closed(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "night"
    project.mkdir()
    (project / "gpunb.toml").touch()
    (project / "train.py").write_text(SCRIPT)
    user = Terminal(project)
    with supervisor():  # of JupyterLab on the laptop
        client = user.start("gpunb once train.py --for 1h --yes")
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
    client.send_signal(signal.SIGKILL)  # the lid is closed: client and supervisor are gone
    client.communicate()
    end_supervisors(home)
    host = own_hosts.home_of(home) / "night"
    (host / "dawn").touch()
    wait_for((host / "model" / "done").exists)
    with Ledger.open() as ledger:
        (session,) = ledger.sessions()
        assert session.state is SessionState.READY
        assert session.lease.idle_s is None, "the host does not end it while its results wait there"
    assert not (project / "model").exists()
    with supervisor():  # the lid is opened; JupyterLab goes on
        wait_for(all_over)
    assert (project / "model" / "weights.txt").read_text() == "trained"
    with Ledger.open() as ledger:
        (receipt,) = ledger.receipts()
    assert receipt.why == "run"
    assert receipt.unsaved == []
    assert Terminal(project).type(f"gpunb logs {receipt.runs[-1]['id']}").out == "begun\n"
    assert (len(user.typed), user.decisions) == (1, 1)
