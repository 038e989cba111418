"""``hosts``, and GPUs that are given out one by one: real sshds with a simulated nvidia-smi."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from gpunb.settings.files import tomllib
from tests.support import smi
from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

pytestmark = pytest.mark.slow


@pytest.fixture
def lab(gpunb: Gpunb, home: Path, tmp_path: Path) -> Iterator[own_hosts.OwnHost]:
    if not own_hosts.available():
        pytest.skip("needs OpenSSH's ssh, sshd and sftp-server")
    host = own_hosts.OwnHost(tmp_path / "lab3")
    smi.put(host.root / "bin", gpus=3)
    host.bashrc(f'export PATH="{host.root}/bin:$PATH"\n')
    home.mkdir(parents=True, exist_ok=True)
    (home / "gpunb.toml").write_text(f'# mine\n[providers.ssh]\nconfig = "{host.config}"  # kept\n')
    try:
        yield host
        from gpunb.sessions.access import host_access

        host_access.close_all()
    finally:
        host.stop()


def test_a_machine_is_added_checked_listed_and_removed(
    gpunb: Gpunb, lab: own_hosts.OwnHost, home: Path
) -> None:
    file = home / "gpunb.toml"
    before, keys = file.read_text(), own_hosts.snapshot(lab.home)
    assert "no machine is listed" in gpunb("hosts").out
    added = gpunb("hosts", "add", "lab3", "lab3", "--price", "0.4", "--gpus", "0,2", "--tag", "lab")
    assert added.code == 0, added.err
    table = tomllib.loads(file.read_text())["providers"]["ssh"]["hosts"]["lab3"]
    assert table == {"address": "lab3", "price_usd_h": 0.4, "gpus": [0, 2], "tags": ["lab"]}
    assert "# mine" in file.read_text()
    assert "# kept" in file.read_text()
    assert gpunb("hosts", "add", "off", "me@127.0.0.1:1").code == 0

    checked = gpunb("hosts", "check", "lab3")
    assert checked.code == 0, checked.err
    assert "2 of 3 H100 80GB HBM3" in checked.out
    rows = {row["host"]: row for row in json.loads(gpunb("hosts", "--json").out)}
    assert rows["lab3"]["ready"]
    assert [gpu["taken"] for gpu in rows["lab3"]["gpus"]] == ["", "", ""]
    assert not rows["off"]["ready"]
    assert "could not log in to off" in rows["off"]["error"]
    assert "cannot be used" in gpunb("hosts").out

    offers = json.loads(gpunb("offers", "--json").out)["offers"]
    assert [(one["id"], one["gpus"], one["trust"]) for one in offers] == [("lab3", 2, "datacenter")]
    assert offers[0]["usd_h"] == pytest.approx(0.4 * 2 / 3, abs=1e-3)
    for name in ("lab3", "off"):
        assert gpunb("hosts", "remove", name).code == 0
    assert tomllib.loads(file.read_text()).get("providers", {}).get("ssh", {}).get("hosts", {}) == {}
    assert before.splitlines()[0] in file.read_text()
    assert own_hosts.snapshot(lab.home) == keys, "a look changes nothing on the machine"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("add",), "needs a name"),
        (("add", "lab3", "me@h:0"), "must be a name of your ssh configuration"),
        (("add", "a/b", "me@h"), "a name has letters"),
        (("add", "lab3", "me@h", "--trust", "me"), "must be one of stranger, datacenter, own"),
        (("add", "lab3", "me@h", "--gpus", "all"), "--gpus 'all'"),
        (("remove", "lab4"), "there is no machine 'lab4'"),
        (("check", "lab3", "more"), "'more' is one too many"),
        (("list", "--price", "3"), "--price"),
    ],
)
def test_what_breaks_a_rule_is_named(gpunb: Gpunb, home: Path, words: tuple[str, ...], named: str) -> None:
    refused = gpunb("hosts", *words)
    assert refused.code == 2
    assert named in refused.err
    assert not (home / "gpunb.toml").exists()


def test_gpus_are_given_out_one_by_one(gpunb: Gpunb, lab: own_hosts.OwnHost) -> None:
    assert gpunb("hosts", "add", "lab3").code == 0
    before = lab.keys.read_bytes()
    for name, count in (("one", "1"), ("two", "2")):
        rented = gpunb(
            "rent",
            "--host",
            "lab3",
            "--gpus",
            count,
            "--name",
            name,
            "--yes",
            "--for",
            "30m",
            "--python",
            sys.executable,
        )
        assert rented.code == 0, rented.err
    assert gpunb("exec", "one", "--", "printenv", "CUDA_VISIBLE_DEVICES").out.strip() == "0"
    assert gpunb("exec", "two", "--", "printenv", "CUDA_VISIBLE_DEVICES").out.strip() == "1,2"
    (row,) = json.loads(gpunb("hosts", "--json").out)
    taken = {gpu["taken"] for gpu in row["gpus"]}
    assert len(taken) == 2
    assert taken <= set(row["sessions"]), "and a test beside this one may have a session in /var/tmp"
    assert [gpu["taken"] for gpu in row["gpus"]] == [row["gpus"][0]["taken"], *[row["gpus"][1]["taken"]] * 2]
    more = gpunb("rent", "--host", "lab3", "--gpus", "1", "--yes")
    assert more.code != 0
    assert lab.keys.read_bytes().count(b"restrict,") == 2
    assert gpunb("down", "one", "--yes").code == 0
    assert gpunb("exec", "two", "--", "printenv", "GPUNB_SESSION").code == 0, "the other goes on"
    (row,) = json.loads(gpunb("hosts", "--json").out)
    assert [bool(gpu["taken"]) for gpu in row["gpus"]] == [False, True, True]
    assert gpunb("down", "two", "--yes").code == 0
    assert lab.keys.read_bytes() == before
