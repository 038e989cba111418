"""The host's wall clock is wrong at boot and stepped later: nothing that is counted goes by it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gpunb.agent.shared import clock
from gpunb.output import show
from gpunb.remote import AgentClient
from tests.remote.conftest import end_host, kill_agent, wait_for
from tests.support.machines import sshd as support

pytestmark = pytest.mark.slow

HOUR = 3600.0
# every Python of the host reads its wall clock through this; CLOCK_BOOTTIME and the monotonic one are true
WRONG_CLOCK = """
import time

def _stepped(real, path=__file__.replace("sitecustomize.py", "ahead")):
    def read():
        with open(path) as file:
            return real() + float(file.read())
    return read

time.time = _stepped(time.time)
"""


class Stepped:
    def __init__(self, root: Path, ahead: float) -> None:
        folder = root / "clock"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(WRONG_CLOCK)
        self.file = folder / "ahead"
        self.step(ahead)
        self.sshd = support.Sshd(root, env={"PYTHONPATH": str(folder)}).start()

    def step(self, ahead: float) -> None:
        beside = self.file.with_suffix(".new")
        beside.write_text(str(ahead))
        beside.replace(self.file)

    def client(self) -> AgentClient:
        return AgentClient.connect(self.sshd.endpoint(), python=sys.executable, trust="own")


SLOW, FAST, FAR = (-3 * HOUR, 0.0), (3 * HOUR, 0.0), (0.0, 300 * 24 * HOUR)


@pytest.fixture
def stepped(request):
    if not support.available():
        pytest.skip("OpenSSH's sshd is not installed")
    root = Path(tempfile.mkdtemp(prefix="gpunb-t-"))
    before, after = request.param
    host = Stepped(root, before)
    host.then = after
    yield host
    host.sshd.stop()
    end_host(host.sshd.home)
    shutil.rmtree(root, ignore_errors=True)


@pytest.mark.parametrize("stepped", [SLOW, FAST, FAR], ids=["slow", "fast", "far"], indirect=True)
def test_a_step_ends_no_job_no_lease_and_no_kernel_and_spoils_no_journal(stepped, screen):
    with stepped.client() as client:
        host_time = client.request("ping")["time"]
        assert abs(host_time - time.time() - float(stepped.file.read_text())) < 60, (
            "the clock is stepped there"
        )
        client.set_lease(time.time() + HOUR, 1800.0)
        show(client.run_cell("x = 41; print('#' * 100_000)"), screen)
        job = client.run_job(shell="for i in $(seq 200); do echo $i; sleep 0.1; done", name="counts")
        wait_for(lambda: client.run_info(job.id).last > 1)
        stepped.step(stepped.then)
        time.sleep(12)  # the agent looks every five seconds
        lease = client.lease()
        assert lease["over"] == ""
        assert lease["left_s"] == pytest.approx(HOUR, abs=90)
        assert lease["quiet_s"] < 60
        info = client.run_info(job.id)
        assert info.state == "running"
        assert time.time() - 90 < (info.started or 0) <= time.time()
        show(client.run_cell("print(x + 1)"), screen)
        assert screen.text().endswith("42\n")
        show(job, screen)
        ended = client.run_info(job.id)
        assert ended.state == "ok"
        assert 18 < (ended.ended or 0) - (ended.started or 0) < 90, "what it took, not what the clock says"
        cell = next(run for run in client.runs() if run.size > 100_000)
        assert cell.ended is not None
        assert time.time() - cell.ended < 120, "no journal seems old enough to be cut"


@pytest.mark.parametrize("stepped", [SLOW], ids=["slow"], indirect=True)
def test_an_agent_that_starts_again_goes_on_from_where_it_was(stepped, screen):
    with stepped.client() as client:
        client.set_lease(time.time() + 600.0, None, count_ssh=True)
        kill_agent(stepped.sshd)
        stepped.step(stepped.then)
        wait_for(client.lease, 30)
        lease = client.lease()
        assert (lease["over"], lease["count_ssh"]) == ("", True)
        assert lease["left_s"] == pytest.approx(600, abs=60)
        kept = json.loads((stepped.sshd.home / ".gpunb/lease.json").read_text())
        assert kept["boot"] == clock.boot()
        # another boot: how long it was off is not known, the user's side says so at its next contact
        kill_agent(stepped.sshd)
        kept.update(boot="another", at=kept["at"] + 9e6, left_s=500.0)
        (stepped.sshd.home / ".gpunb/lease.json").write_text(json.dumps(kept))
        wait_for(client.lease, 30)
        assert client.lease()["left_s"] == pytest.approx(500, abs=60)


@pytest.mark.parametrize("stepped", [FAST], ids=["fast"], indirect=True)
def test_the_lease_of_the_first_boot_s_script_is_not_over_before_we_have_said_what_holds(stepped, screen):
    """It is by our clock; one that is ahead there must not end the work of the first minute."""
    folder = stepped.sshd.home / ".gpunb"
    folder.mkdir()
    (folder / "lease.json").write_text(json.dumps({"deadline": time.time() + HOUR}))
    with stepped.client() as client:
        assert client.lease()["left_s"] > 500
        show(client.run_cell("print('runs')"), screen)
        client.set_lease(time.time() + 2 * HOUR, None)
        assert client.lease()["left_s"] == pytest.approx(2 * HOUR, abs=60)
