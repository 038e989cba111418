"""``rent --host``: a machine of one's own behind a real sshd, used and left as it was."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


@pytest.fixture
def lab(
    gpunb: Gpunb, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[own_hosts.OwnHost]:
    if not own_hosts.available():
        pytest.skip("needs OpenSSH's ssh, sshd and sftp-server")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    host = own_hosts.OwnHost(tmp_path / "lab3")
    home.mkdir(parents=True, exist_ok=True)
    (home / "gpunb.toml").write_text(host.settings(price_usd_h=0.5))
    try:
        yield host
        from gpunb.sessions.access import host_access

        host_access.close_all()
        assert not own_hosts.marked(f"GPUNB_FOLDER={host.home}"), "a process of a session is left"
    finally:
        host.stop()


def test_rented_used_and_left_as_it_was(gpunb: Gpunb, lab: own_hosts.OwnHost, tmp_path: Path) -> None:
    before = own_hosts.snapshot(lab.home)
    offers = json.loads(gpunb("offers", "--gpus", "0", "--json").out)
    assert [(row["provider"], row["id"], row["usd_h"]) for row in offers["offers"]] == [("ssh", "lab3", 0.5)]

    rented = gpunb(
        "rent", "--host", "lab3", "--name", "lab", "--for", "30m", "--yes", "--python", sys.executable
    )
    assert rented.code == 0, rented.err
    mine = [line for line in lab.keys.read_bytes().splitlines() if b"gpunb-" in line]
    assert len(mine) == 1
    assert mine[0].startswith(b"restrict,pty,port-forwarding,command=")
    assert lab.keys.read_bytes().startswith(before[".ssh/authorized_keys"][1])

    said = gpunb("exec", "lab", "--", "sh", "-c", "echo $HOME; echo $GPUNB_FOLDER; echo kept > mine.txt")
    assert said.code == 0, said.err
    home, folder = said.out.split()[-2:]
    assert home == str(lab.home)
    assert folder.startswith(str(lab.home / ".gpunb/s/"))
    assert not (lab.home / ".gpunb/runs").exists(), "the agent's files lie in the session's own folder"

    script = tmp_path / "work" / "job.py"
    script.write_text("import os\nprint('in', os.environ['GPUNB_SESSION'])\n")
    ran = gpunb("run", "lab", "job.py")
    assert ran.code == 0, ran.err
    data = tmp_path / "work" / "data"
    data.mkdir()
    (data / "a.bin").write_bytes(bytes(range(256)) * 4000)
    sent = gpunb("sync", "data", "lab:data")
    assert sent.code == 0, sent.err
    assert (lab.home / "data/a.bin").read_bytes() == (data / "a.bin").read_bytes()

    ended = gpunb("down", "lab", "--yes")
    assert ended.code == 0, ended.err
    after = dict(own_hosts.snapshot(lab.home))
    for mine_now in ("mine.txt", "data", "data/a.bin"):
        after.pop(mine_now)
    after = {
        name: value for name, value in after.items() if not name.startswith(("job", ".cache", ".ipython"))
    }
    assert after == before, "all but what the user put there is as it was"
    assert json.loads(gpunb("ps", "--json").out) == []
    assert "lab" in gpunb("receipts").out


def test_down_while_the_machine_is_off_and_a_way_out_if_it_stays_so(
    gpunb: Gpunb, lab: own_hosts.OwnHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpunb.sessions.access import host_access
    from gpunb.sessions.lifecycle import taking_down
    from gpunb.sessions.lifecycle.timeouts import Timing

    before = lab.keys.read_bytes()
    rented = gpunb(
        "rent", "--host", "lab3", "--name", "lab", "--for", "30m", "--yes", "--python", sys.executable
    )
    assert rented.code == 0, rented.err
    host_access.close_all()
    port = lab.sshd.port
    lab.sshd.stop()
    monkeypatch.setattr(taking_down, "Timing", lambda: Timing(confirm_s=1.0))
    refused = gpunb("down", "lab", "--yes")
    assert refused.code != 0
    assert "has not confirmed that lab is gone" in refused.err
    (row,) = json.loads(gpunb("ps", "--json").out)
    assert row["state"] == "ending"

    asked = gpunb("down", "lab", "--forget")
    assert asked.code != 0
    for word in ("~/.ssh/authorized_keys", "~/.gpunb/s/", "Nothing is billed"):
        assert word in asked.err + asked.out, "the question says what stays"
    assert len(json.loads(gpunb("ps", "--json").out)) == 1
    done = gpunb("down", "lab", "--forget", "--yes")
    assert done.code == 0, done.err
    assert "NOT CONFIRMED" in done.out
    assert json.loads(gpunb("ps", "--json").out) == []
    (receipt,) = json.loads(gpunb("receipts", "--json").out)
    assert receipt["confirmed"] is None
    assert "~/.gpunb/s/" in receipt["why"]

    lab.sshd.start(port)  # it comes back after all
    assert b"gpunb-" in lab.keys.read_bytes()
    cleaned = gpunb("hosts", "check", "lab3")
    assert "removed what gpunb-" in cleaned.out, cleaned.err
    assert lab.keys.read_bytes() == before
    assert not (lab.home / ".gpunb").exists()


def test_forget_is_for_machines_of_ones_own(demo: Gpunb) -> None:
    refused = demo("down", "demo", "--forget", "--yes")
    assert refused.code == 2
    assert "can't be forgotten" in refused.err
    assert len(json.loads(demo("ps", "--json").out)) == 1
