"""`once`, its client killed (-9) at random moments: results home, no bill after a lease."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.story import Terminal, all_over, supervisor, wait_for

from gpunb.sessions.access import activity
from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.lifecycle import run_end
from tests.support.chance import drawn, whole

if TYPE_CHECKING:
    from pathlib import Path

MOMENTS, FEW = 20, 4  # with make soak, and without
AT_ONCE = 4
# what a client has said last; then come random seconds
STAGES = ("", "renting", "waiting for SSH", "putting the agent", "listing files", "run ", "run ", "ending")
SCRIPT = """
import pathlib, time
out = pathlib.Path("out")
out.mkdir()
for step in range(4):
    (out / "steps.txt").write_text(str(step))
    time.sleep(0.5)
"""


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.timeout(580)
def test_a_client_that_is_killed_loses_nothing_and_leaves_no_bill(
    home: Path, rented_from: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del home, rented_from
    # how long a client is waited for that says nothing: minutes, for a user
    monkeypatch.setattr(run_end, "UNSTARTED_S", 20.0)
    monkeypatch.setattr(activity, "LOST_S", 30.0)
    chance = drawn("once, killed")
    if whole():
        stages = [STAGES[number % len(STAGES)] for number in range(MOMENTS)]
    else:  # one of the few comes as it ends
        stages = [*chance.sample(STAGES[:-1], FEW - 1), STAGES[-1]]
    count = len(stages)
    moments = [(stage, chance.uniform(0.0, 2.5)) for stage in stages]
    with supervisor(), ThreadPoolExecutor(AT_ONCE) as clients:
        list(clients.map(partial(_killed, tmp_path), range(count), moments))
        wait_for(all_over, 300)
    with Ledger.open() as ledger:
        sessions = ledger.sessions(alive=False)
        reached = {"nothing": count - len(sessions), "no run": 0, "ended": 0}
        for session in sessions:
            run = ledger.run(session.id, session.ends_with)
            assert session.ended is not None
            assert session.ended <= (session.lease.deadline or 0.0)
            if run is None or run.state == "died":
                reached["no run"] += 1
                continue
            reached["ended"] += 1
            project = tmp_path / session.save_to.rpartition("/")[2]
            assert (project / "out" / "steps.txt").read_text() == "3", f"{session.name}: {run.state}"
            receipt = ledger.receipt(session.id)
            assert receipt is not None
            assert (receipt.saved, receipt.unsaved) == (["."], [])
    print(reached)  # with -s: how far they came
    assert reached["ended"], "none was killed so late that it had a run"


def _killed(folder: Path, number: int, moment: tuple[str, float]) -> None:
    """Start a client, and kill it so many seconds after it said a word."""
    word, seconds = moment
    project = folder / f"project-{number}"
    project.mkdir()
    (project / "gpunb.toml").touch()
    (project / "train.py").write_text(SCRIPT)
    client = Terminal(project).start("gpunb once train.py --for 10m --yes")
    assert client.stderr is not None
    while word and word not in client.stderr.readline() and client.poll() is None:
        pass
    time.sleep(seconds)
    client.send_signal(signal.SIGKILL)
    client.communicate()
