"""Keys, variables, snapshots, reports and what else an account has, on the simulated clouds."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from support.rentals.clouds import simulated

from gpunb.sessions.ledger.sessions import Ledger
from gpunb.sessions.model import SessionState
from gpunb.sim.ending import provider
from tests.commands.renting.test_cloud_verbs import pretend_session, rented

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

    from gpunb.sim.serving.runner import Simulation

LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl laptop"
pytestmark = pytest.mark.slow


@pytest.fixture
def clouds(gpunb: Gpunb) -> Iterator[Simulation]:
    del gpunb
    with simulated(real=False) as simulation:
        yield simulation


def test_keys_of_all_clouds_without_a_secret_and_each_is_revoked(gpunb: Gpunb, clouds: Simulation) -> None:
    vast: Any = provider("vast", clouds.description()["vast"])
    secret = vast.create_scoped_key("another program").get_secret_value()
    account = clouds["vast"].accounts[clouds["vast"].key]
    account.data["ssh_keys"] = [{"id": 77, "ssh_key": LINE, "public_key": LINE}]
    for name in ("deepinfra", "sesterce", "fluence"):
        cloud: Any = provider(name, clouds.description()[name])
        cloud.add_ssh_key("laptop", LINE)
        cloud.close()
    listed = gpunb("keys", "--json")
    rows = {(row["provider"], row["id"].partition(":")[0]): row for row in listed.json}
    assert set(rows) == {
        ("vast", "api"), ("vast", "ssh"), ("deepinfra", "ssh"), ("sesterce", "ssh"), ("fluence", "ssh"),
    }  # fmt: skip
    assert "instance_write" in rows["vast", "api"]["key"]
    assert rows["sesterce", "ssh"]["key"].startswith("ssh-ed25519 …")
    shown = gpunb("keys")
    assert secret not in shown.out + listed.out
    assert clouds["vast"].key not in shown.out + listed.out
    for (cloud_name, _), row in rows.items():
        ran = gpunb("keys", "--cloud", cloud_name, "--revoke", row["id"], "--yes")
        assert ran.code == 0, (row, ran.err)
    assert gpunb("keys", "--json").json == []
    assert "none of 0 keys has that id" in gpunb("keys", "--revoke", "api:1", "--yes").err
    vast.close()


def test_keys_of_one_machine(gpunb: Gpunb, clouds: Simulation, tmp_path: Path) -> None:
    cloud, made, _ = rented(clouds, "vast")
    pretend_session("vast", "one", made.id)
    (row,) = gpunb("keys", "one", "--json").json
    assert row["id"].startswith("machine:")
    (tmp_path / "id.pub").write_text(f"{LINE[:-8].replace('IOMq', 'IOMr')} desk\n")
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert "the private half" in gpunb("keys", "one", "--attach", str(tmp_path / "id"), "--yes").err
    assert "needs a session" in gpunb("keys", "--attach", "x").err
    assert "needs a confirmation" in gpunb("keys", "one", "--attach", str(tmp_path / "id.pub")).err
    added = gpunb("keys", "one", "--attach", str(tmp_path / "id.pub"), "--yes")
    assert added.code == 0, added.err
    listed = gpunb("keys", "one", "--json").json
    assert [one["key"].rpartition(" ")[2] for one in listed if one != row] == ["desk"]
    (new,) = (one for one in listed if one != row)
    assert gpunb("keys", "one", "--revoke", new["id"], "--yes").code == 0
    assert gpunb("keys", "one", "--revoke", row["id"], "--yes").code == 0
    assert clouds["vast"].machines[made.id].data["key_ids"] == {}
    pretend_session("fluence", "two", "4711")
    assert "Fluence can't show the keys of an instance" in gpunb("keys", "two").err
    cloud.close()


def test_variables_go_in_by_a_pipe_and_never_out(
    gpunb: Gpunb, clouds: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = clouds["vast"].accounts[clouds["vast"].key].data
    assert "keeps no variables" in gpunb("vast", "variables").out
    refused = gpunb("vast", "variables", "--set", "TOKEN=abc", "--yes")
    assert refused.code == 2
    assert "abc" not in refused.err
    assert "no terminal to ask" in gpunb("vast", "variables", "--set", "TOKEN", "--yes").err
    for value in ("first one", "second"):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{value}\n"))
        ran = gpunb("vast", "variables", "--set", "token", "--stdin", "--yes")
        assert ran.code == 0, ran.err
        assert kept["secrets"] == {"TOKEN": value}
        assert value not in ran.out + ran.err
    shown = gpunb("vast", "variables")
    assert "TOKEN" in shown.out
    assert "second" not in shown.out
    assert "its host reads them" in shown.out
    assert gpunb("vast", "variables", "--delete", "TOKEN", "--yes").code == 0
    assert kept["secrets"] == {}
    assert "Sesterce can't keep variables" in gpunb("vast", "variables", "--cloud", "sesterce").err


def test_a_snapshot_is_pushed_with_a_password_that_is_said_nowhere(
    gpunb: Gpunb, clouds: Simulation, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpunb.providers.machine import registries

    cloud, made, _ = rented(clouds, "vast")
    pretend_session("vast", "one", made.id)
    monkeypatch.setenv(registries.VARIABLE, "hunter2-of-the-registry")
    line = ["vast", "snapshot", "one", "me/x", "--registry-login", "me@ghcr.io", "--yes"]
    ran = gpunb(*line)
    assert ran.code == 0, ran.err
    taken = clouds["vast"].machines[made.id].data["snapshot"]
    assert (taken["container_registry"], taken["personal_repo"]) == ("ghcr.io", "me/x")
    assert (taken["docker_login_pass"], taken["pause"]) == ("hunter2-of-the-registry", "true")
    assert "hunter2" not in ran.out + ran.err
    assert not [f for f in home.rglob("*") if f.is_file() and b"hunter2-of" in f.read_bytes()]
    assert "without a tag" in gpunb(*[("me/x:1" if word == "me/x" else word) for word in line]).err
    cloud.close()


def test_what_is_shown_beside_offers(gpunb: Gpunb, clouds: Simulation) -> None:
    machine = next(str(rig.machine_id) for rig in clouds["vast"].rigs if rig.machine_id % 3 == 0)
    assert "slow network" in gpunb("offers", "--reports", machine).out
    assert "no problem of machine 4" in gpunb("offers", "--reports", "4").out
    (row,) = gpunb("offers", "--templates", "pytorch", "--json").json
    assert row["name"] == "PyTorch (Vast)"
    assert "no template with 'nothing'" in gpunb("offers", "--templates", "nothing").out
    why = gpunb("offers", "--cloud", "sesterce", "--type", "vm", "--why")
    assert "systems: " in why.out
    assert "cloud-init" in why.out
    images = gpunb("offers", "--images")
    assert images.code == 0, images.err
    assert "fluencelabs/debian-ssh-root" in images.out
    assert "DeepInfra can't list templates" in gpunb("offers", "--cloud", "deepinfra", "--templates", "x").err
    assert "takes one of these" in gpunb("offers", "--images", "--reports", "4").err
    cloud: Any = clouds["vast"]
    gpu = next(iter(cloud.offers.values()))["gpu_name"]
    tested = gpunb("offers", "--benchmarks", gpu, "--json").json
    assert gpu in {row["gpu"] for row in tested}
    assert all(gpu.split()[-1] in row["gpu"] for row in tested)
    one = str(tested[0]["machine"])
    table = gpunb("offers", "--benchmarks", one)
    assert f"{tested[0]['value']:g}" in table.out
    assert {str(row["machine"]) for row in gpunb("offers", "--benchmarks", one, "--json").json} == {one}
    assert "no benchmarks of 4" in gpunb("offers", "--benchmarks", "4").out
    assert "has no such GPU" in gpunb("offers", "--benchmarks", "Voodoo").err
    assert "Sesterce can't show benchmarks; Vast.ai can" in (
        gpunb("offers", "--cloud", "sesterce", "--benchmarks", "4").err
    )


def test_what_else_an_account_pays_for(gpunb: Gpunb, clouds: Simulation) -> None:
    cloud, made, _ = rented(clouds, "vast")
    other, made2, _ = rented(clouds, "deepinfra")
    pretend_session("vast", "one", made.id)
    rows = {row["id"]: row for row in gpunb("ps", "--account", "--json").json}
    assert rows[made.id]["session"] == "one"
    assert rows[made2.id]["session"] == ""
    assert rows[made2.id]["usd_h"] > 0
    assert "not of this gpunb" in gpunb("ps", "--account").out
    clouds["fluence"].faults.add("wrong-shape", "list", times=9)
    ran = gpunb("ps", "--account")
    assert made.id in ran.out, "a cloud that can't say hides no other"
    assert "what it has is not known" in ran.out
    assert ran.code == 1
    cloud.close()
    other.close()


def test_a_stopped_session_is_listed_and_cleaned_without_a_start(gpunb: Gpunb, clouds: Simulation) -> None:
    cloud, made, _ = rented(clouds, "vast")
    pretend_session("vast", "one", made.id)
    clouds["vast"].machines[made.id].data["files"].update({"/root/out/a.bin": 5000, "/root/out/b.bin": 1})
    with Ledger.open() as ledger:
        ledger.transition(ledger.find("one"), SessionState.STOPPED)
    assert gpunb("exec", "one", "--", "ls", "/root/out").out.split() == ["/root/out/a.bin", "/root/out/b.bin"]
    assert gpunb("exec", "one", "--", "rm", "/root/out/b.bin").code == 0
    assert "/root/out/b.bin" not in clouds["vast"].machines[made.id].data["files"]
    used = gpunb("exec", "--json", "-s", "one", "--", "du", "-ab", "/root/out").json["stdout"]
    assert used == "5000\t/root/out/a.bin\n9096\t/root/out\n"
    refused = gpunb("exec", "one", "--", "ls", "/root/out;reboot")
    assert refused.code == 2
    assert "one plain command" in refused.err
    cloud.close()


def test_volumes_elsewhere(gpunb: Gpunb, clouds: Simulation) -> None:
    vast: Any = provider("vast", clouds.description()["vast"])
    assert gpunb("volumes", "--cloud", "vast", "--create", "data", "--size", "20", "--yes").code == 0
    (made,) = vast.volumes()
    offers = gpunb("volumes", "--cloud", "vast", "--offers", "--size", "20", "--json").json
    assert offers == sorted(offers, key=lambda row: row["usd_h"])
    where = next(row["where"] for row in offers if row["where"] != made.machine_id)
    ran = gpunb("volumes", "--clone", "data", "--where", where, "--json", "--yes")
    assert ran.code == 0, ran.err
    copy = next(one for one in vast.volumes() if one.id == ran.json["id"])
    assert (copy.machine_id, copy.size_gb) == (where, 20)
    assert "less than its 20 GB" in gpunb("volumes", "--clone", "data", "--size", "5", "--yes").err
    net = gpunb("volumes", "--cloud", "vast", "--create", "shared", "--size", "30", "--network", "--yes")
    assert net.code == 0, net.err
    shared = next(one for one in vast.volumes() if one.cluster_id and not one.machine_id)
    assert shared.place == f"cluster {shared.cluster_id}"
    listed = {row["id"]: row for row in gpunb("volumes", "--json").json}
    assert listed[shared.id]["ends"] > 0
    assert "20" in gpunb("volumes").out
    line = ["rent", "--cloud", "vast", "--for", "1h", "--volume", "shared:/data"]
    assert "volume shared (30 GB) at /data" in (asked := gpunb(*line)).out + asked.err
    from gpunb.providers import OfferQuery
    from gpunb.services.volume_mounts import Mount

    fits = [one for one in vast.search(OfferQuery()) if Mount(shared, "/data").fits(one)]
    assert fits
    assert {str(one.raw["cluster_id"]) for one in fits} == {shared.cluster_id}
    vast.close()


def test_a_bid_when_renting_is_what_is_paid(gpunb: Gpunb, clouds: Simulation) -> None:
    assert "only interruptible" in gpunb("rent", "--cloud", "vast", "--bid", "3", "--yes").err
    poor = gpunb("rent", "--cloud", "vast", "--spot", "--bid", "0.001", "--yes")
    assert poor.code == 2
    assert "wins none" in poor.err
    asked = gpunb("rent", "--cloud", "vast", "--spot", "--for", "1h", "--gpu", "4090", "--bid", "7.5")
    assert asked.code == 2
    assert "$7.5" in asked.err
    assert clouds["vast"].machines == {}


def test_recycle_makes_the_container_anew(gpunb: Gpunb) -> None:
    with simulated(["vast"]):
        assert gpunb("rent", "--cloud", "vast", "--name", "one", "--for", "1h", "--yes").code == 0
        assert gpunb("exec", "--", "sh", "-c", "echo hi > ~/kept && ls ~/kept").code == 0
        assert "files and variables are lost" in gpunb("reboot", "one", "--recycle").err
        ran = gpunb("reboot", "one", "--recycle", "--yes")
        assert ran.code == 0, ran.err
        assert gpunb("exec", "--", "sh", "-c", "test ! -e ~/kept").code == 0
        assert gpunb("down", "--yes").code == 0
    with simulated(["fluence"], real=False):
        pretend_session("fluence", "two", "4711")
        assert "Fluence can't" in gpunb("reboot", "two", "--recycle", "--yes").err
