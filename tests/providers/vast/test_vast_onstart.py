"""The start script, run by a real bash in a home of its own, against a served simulated Vast."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from pydantic import SecretStr

from gpunb.agent.daemon.watchdog import Watchdog
from gpunb.agent.shared import clock
from gpunb.providers.base import CreateSpec, OfferQuery, ProviderConfig
from gpunb.providers.vast import VastProvider
from gpunb.providers.vast.onstart import BOOT_GRACE_S, HOST_KEY, LEASE_GRACE_S, MAX_BYTES, compose
from gpunb.sim.clock import Clock
from gpunb.sim.serving.runner import Served
from gpunb.sim.vast import VastCloud
from tests.support.rentals.vast_cloud import PUBLIC_KEY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here"),
]


@pytest.fixture
def home(tmp_path):
    """A home, a clock that a test moves (``now``), and a sleep that does not sleep long."""
    for name in ("home", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "now").write_text("1000000")
    sleep, real = tmp_path / "bin/sleep", shutil.which("sleep")
    sleep.write_text(f"#!/bin/sh\nexec {real} 0.05\n")
    date = tmp_path / "bin/date"
    date.write_text(f"#!/bin/sh\ncat {tmp_path}/now\n")
    (tmp_path / "environment").write_text("ALREADY=there\n")
    for tool in (sleep, date):
        tool.chmod(0o755)
    yield tmp_path
    pid = tmp_path / "home/.gpunb/lease.pid"
    if pid.exists():
        number = int(pid.read_text())
        pid.unlink()  # the keeper ends by itself when it is not the one in the file
        with contextlib.suppress(ProcessLookupError):  # it may end between any look and the next call
            for _ in range(100):
                os.kill(number, 0)
                time.sleep(0.02)
            os.kill(number, signal.SIGKILL)


def run(home, script, path=None, **more):
    env = {
        "HOME": str(home / "home"),
        "PATH": f"{home}/bin:{path or os.environ['PATH']}",
        "GPUNB_ENVIRONMENT": str(home / "environment"),
        "GPUNB_SSHD": str(home / "sshd"),
        **more,
    }
    return subprocess.run(
        ["bash"], input=script.encode(), env=env, capture_output=True, timeout=30, check=False
    )


def test_it_turns_tmux_off_lets_the_key_in_and_shows_the_environment(home):
    script = compose(deadline=None, public_key=PUBLIC_KEY, user_script="echo mine")
    for _ in range(2):  # at every start of the container
        done = run(home, script, MY_TOKEN="a b=c", CONTAINER_ID="7")
        assert (done.returncode, done.stdout.decode().strip()) == (0, "mine"), done.stderr
    assert (home / "home/.no_auto_tmux").exists()
    keys = home / "home/.ssh/authorized_keys"
    assert keys.read_text().splitlines() == [PUBLIC_KEY]
    assert keys.stat().st_mode & 0o777 == 0o600
    lines = (home / "environment").read_text().splitlines()
    assert lines.count("ALREADY=there") == 1
    assert lines.count("MY_TOKEN=a b=c") == 1
    assert "CONTAINER_ID=7" in lines
    assert not any(line.startswith(("HOME=", "PWD=", "SHLVL=")) for line in lines)


def test_it_writes_the_ssh_server_s_keys_into_the_log_when_they_are_there(home):
    (home / "sshd").mkdir()
    (home / "sshd/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAA root@host\n")
    done = run(home, compose(deadline=None, public_key=PUBLIC_KEY))
    assert done.stdout.decode().splitlines() == [f"{HOST_KEY} ssh-ed25519 AAAA"]


def test_a_compressed_script_does_the_same(home):
    script = compose(deadline=None, public_key=PUBLIC_KEY, user_script="echo one\n" * 900)
    assert len(script) <= MAX_BYTES
    done = run(home, script)
    assert done.stdout.decode().split() == ["one"] * 900
    assert (home / "home/.no_auto_tmux").exists()


def test_it_fits_with_everything_in_it():
    script = compose(deadline=1.9e9, public_key="ssh-rsa " + "A" * 720 + " somebody@somewhere")
    assert len(script.encode()) <= MAX_BYTES


@pytest.fixture
def rented(home):
    served = Served(VastCloud(clock=Clock(200.0)))
    served.start()
    config = ProviderConfig(base_url=served.url, key=SecretStr(served.cloud.key), options={"pace": 1 / 200})
    provider = VastProvider(config)
    offer = provider.search(OfferQuery())[0]
    instance = provider.create(offer, CreateSpec(label="gpunb-l", public_key=PUBLIC_KEY, deadline=1_000_100))
    machine = served.cloud.machines[instance.id]
    env = {
        "CONTAINER_ID": instance.id,
        "CONTAINER_API_KEY": machine.data["api_key"],
    }
    yield served, machine, env
    provider.close()
    served.stop()


def armed(home):
    """The keeper has looked at the clock."""
    for _ in range(200):
        if (home / "home/.gpunb/lease.pid").exists():
            return True
        time.sleep(0.02)
    return False


def destroyed(served, within=5.0):
    until = time.monotonic() + within
    while time.monotonic() < until:
        if any(call.method == "DELETE" and call.status == 200 for call in served.cloud.calls):
            return True
        time.sleep(0.05)
    return False


def test_the_instance_ends_itself_when_nobody_else_does(home, rented):
    served, machine, env = rented
    assert run(home, machine.data["onstart"], **env).returncode == 0
    assert armed(home)
    (home / "now").write_text(str(1_000_100 + LEASE_GRACE_S - 5))
    assert not destroyed(served, 0.5), "before the supervisor's time was over"
    (home / "now").write_text(str(1_000_100 + max(LEASE_GRACE_S, BOOT_GRACE_S) + 5))
    assert destroyed(served)
    assert not machine.alive or machine.phase.value == "ending"


def put(path, text):
    """As the agent writes: the watch, which reads all the time, sees old or new."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def test_a_renewed_lease_counts_and_a_late_start_leaves_time_to_renew(home, rented):
    served, machine, env = rented
    put(home / "now", "2000000")  # started long after the lease's end: a stopped session, resumed
    assert run(home, machine.data["onstart"], **env).returncode == 0
    assert armed(home)
    assert not destroyed(served, 0.5)
    # the agent writes the new deadline as JSON, a float
    put(home / "home/.gpunb/lease.json", '{"idle_s": 600.0, "deadline": 2010000.0}')
    put(home / "now", str(2_000_000 + BOOT_GRACE_S + 60))
    assert not destroyed(served, 0.5)
    put(home / "home/.gpunb/lease.json", '{"deadline": null, "idle_s": null}')
    put(home / "now", str(2_010_000 + LEASE_GRACE_S + 60))
    assert not destroyed(served, 0.5), "no deadline, no end"
    put(home / "home/.gpunb/lease.json", '{"deadline": 2010000.0}')
    assert destroyed(served)


def test_a_stepped_clock_neither_ends_the_instance_nor_keeps_it(home, rented):
    """The agent writes the end in seconds since the boot too, and for that boot they are what counts."""
    served, machine, env = rented
    env = {**env, "GPUNB_UPTIME": str(home / "uptime")}
    put(home / "uptime", "5000.25 1.0")
    assert run(home, machine.data["onstart"], **env).returncode == 0
    assert armed(home)
    lease = Watchdog(None)  # the real one, as it writes
    lease.path = str(home / "home/.gpunb/lease.json")
    lease.set({"left_s": 7200.0, "idle_s": 600.0})
    text = (home / "home/.gpunb/lease.json").read_text()
    up = clock.uptime()
    assert up is not None
    (home / "now").write_text("9000000")  # NTP
    put(home / "uptime", f"{up + 7000 + LEASE_GRACE_S:.2f} 1.0")
    assert not destroyed(served, 0.5), "before its end by the clock that nobody steps"
    (home / "now").write_text("100000")
    put(home / "uptime", f"{up + 7200 + LEASE_GRACE_S + 60:.2f} 1.0")
    assert destroyed(served), text


def test_without_curl_and_wget_python_does_it(home, rented):
    served, machine, env = rented
    tools = home / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "chmod", "cp", "env", "grep", "mkdir", "sed", "setsid", "tr", "touch"):
        (tools / name).symlink_to(shutil.which(name) or "/bin/false")
    (tools / "python3").symlink_to(sys.executable)
    assert run(home, machine.data["onstart"], path=str(tools), **env).returncode == 0
    assert armed(home)
    (home / "now").write_text("9000000")
    assert destroyed(served)


def test_without_the_instance_s_key_nothing_is_armed(home):
    done = run(home, compose(deadline=1_000_100), CONTAINER_ID="1")
    assert not (home / "home/.gpunb/lease.pid").exists(), done
