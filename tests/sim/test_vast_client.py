"""Every command of Vast's published client that is a renter's business, against the simulated Vast.

The list is the client's own. A command that it gets with its next version, and that is neither called
here nor left out by name, fails the test.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from typing import Any

import pytest

from gpunb.sim.clock import Clock
from gpunb.sim.serving.runner import Served
from gpunb.sim.vast import VastCloud
from tests.support.rentals.vast_client import Answer, VastClient, client_python
from tests.support.rentals.vast_cloud import PUBLIC_KEY

pytestmark = pytest.mark.slow

#: Not called, and why.
LEFT_OUT = {
    **dict.fromkeys(("help", "repl", "update", "uninstall", "set api-key", "set role"), "asks no cloud"),
    **dict.fromkeys(
        (
            *("create team", "destroy team", "create team-role", "show team-role", "show team-roles"),
            *("update team-role", "remove team-role", "invite member", "show members", "remove member"),
        ),
        "manages a team of people, rents nothing",
    ),
    **dict.fromkeys(
        (
            *("tfa activate", "tfa delete", "tfa login", "tfa resend-sms", "tfa regen-codes", "tfa send-sms"),
            *("tfa send-email", "tfa auth-new", "tfa totp-setup", "tfa update"),
        ),
        "needs a code from a telephone",
    ),
    **dict.fromkeys(
        (
            *("show deployment", "show deployment-versions", "stop deployment", "start deployment"),
            "delete deployment",
        ),
        "Vast's library alone makes deployments",
    ),
    "show instance-backup-files": "the simulation copies no disks, so there is no backup",
    "run benchmarks": "rents by itself and measures a model for minutes",
}


@dataclass
class Stage:
    """The client, its cloud, and the ids that earlier commands gave."""

    client: VastClient
    cloud: VastCloud
    ids: dict[str, Any] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)

    def run(self, line: str, code: object = 0, **values: Any) -> Answer:
        """One command; it must end with `code`, and each of its calls with an answer."""
        words = [word.format(**self.ids, **values) for word in line.split()]
        before = len(self.cloud.calls)
        answer = self.client(*words)
        calls = [call for call in list(self.cloud.calls)[before:] if call.endpoint != "result"]
        told = (line, answer, [(call.method, call.path, call.status) for call in calls])
        assert answer.code == code, told
        assert calls, told
        assert all(call.status < 400 for call in calls), told
        assert "rror" not in answer.err, told
        names = (" ".join(words[:2]), words[0])
        self.called.add(next(name for name in names if name in self.client.commands))
        return answer


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    python = client_python()
    if python is None:
        pytest.skip("the published client vastai is not installed (VASTAI_PYTHON)")
    home = tmp_path_factory.mktemp("client")
    served = Served(VastCloud(clock=Clock(60.0), limits=False))
    served.start()
    # the client's own rsync to the host: on paper there is no host, so its words are written down
    rsync = home / "bin" / "rsync"
    rsync.parent.mkdir()
    rsync.write_text(f'#!/bin/sh\necho "$@" >> {home}/rsync.txt\n')
    rsync.chmod(rsync.stat().st_mode | stat.S_IXUSR)
    env = {
        "PATH": f"{rsync.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "VAST_API_KEY": served.cloud.key,
        "VASTAI_NO_UPDATE_CHECK": "1",
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }
    client = VastClient(python, env, served.url)
    cloud = served.cloud
    cloud.accounts[cloud.key].data["connections"] = [{"id": "31", "name": "bucket", "cloud_type": "s3"}]
    permissions = home / "permissions.json"
    permissions.write_text(json.dumps({"api": {"misc": {}, "user_read": {}}}))
    profile = home / "profile.json"
    profile.write_text(json.dumps({"fullname": "A Renter"}))
    yield Stage(
        client,
        cloud,
        {"permissions": permissions, "profile": profile, "rsync": home / "rsync.txt", "home": home},
    )
    client.close()
    served.stop()


def _find(stage: Stage) -> None:
    offers = stage.run("search offers num_gpus=1 --order dph --raw").data
    assert offers
    stage.ids["offers"] = [row["id"] for row in offers]
    rows = stage.run("search benchmarks gpu_name=RTX_4090 --raw").data
    assert rows
    assert {row["gpu_name"] for row in rows} == {"RTX 4090"}
    assert stage.run("search benchmarks --limit 2 --raw").data["next_token"] == "2"
    stage.run("search templates name=nothing")
    assert stage.run("search invoices --raw").data[0]["amount_cents"] == 10_000


def _templates(stage: Stage) -> None:
    stage.run("create template --name mine --image pytorch/pytorch --ssh --direct")
    (made,) = stage.run("search templates name=mine").data
    again = stage.run(
        "update template {hash} --name mine --image pytorch/pytorch --ssh", hash=made["hash_id"]
    )
    (changed,) = stage.run("search templates name=mine").data
    assert changed["id"] == made["id"], again
    assert changed["hash_id"] != made["hash_id"]
    stage.ids["template"] = changed["hash_id"]


def _instances(stage: Stage) -> None:
    run, ids, cloud = stage.run, stage.ids, stage.cloud
    first, second, third, fourth = ids["offers"][:4]
    asked = "--image pytorch/pytorch --disk 20 --ssh --direct --raw"
    run("create ssh-key {key} -y", key=PUBLIC_KEY)
    made = run(f"create instance {first} {asked} --label one").data
    one = ids["one"] = made["new_contract"]
    run(f"create instances {second} {third} {asked}")
    launched = run("launch instance --gpu-name RTX_4090 --num-gpus 1 --image x --disk 20 --raw").data
    ids["launched"] = launched["new_contract"]
    bid = cloud.offers[str(fourth)]["min_bid"]
    ids["bid"] = run(f"create instance {fourth} {asked} --bid_price {bid}").data["new_contract"]
    cloud.clock.advance(120)
    rows = run("show instances --raw").data
    assert len(rows) == 5
    ids["two"], ids["three"] = sorted({row["id"] for row in rows} - {one, ids["launched"], ids["bid"]})
    assert run("show instance {one} --raw").data["label"] == "one"
    run("label instance {one} uno")
    assert cloud.machines[str(one)].label == "uno"
    run("change bid {bid} --price {more}", more=round(bid * 1.2, 3))
    assert run("prepay instance {one} 5").out
    assert run("show deposit {one}").out
    # 1.9.1 fetches the text, and then takes it for the answer that names the text's address
    run("execute {one} ls", code="AttributeError: 'str' object has no attribute 'get'")
    assert "onstart done" in run("logs {one}").out
    assert "ssh://" in run("ssh-url {one}").out
    assert "scp://" in run("scp-url {two}").out
    run("take snapshot {one} --repo me/kept --docker_login_user u --docker_login_pass p")
    run("update instance {one} --template_hash_id {template}")
    assert cloud.machines[str(one)].data["template"] == ids["template"]
    run("reboot instance {one}")
    cloud.clock.advance(60)
    run("recycle instance {one}")
    cloud.clock.advance(60)
    run("stop instance {one}")
    run("start instance {one}")
    run("stop instances {two} {three}")
    run("start instances {two} {three}")
    cloud.clock.advance(60)
    assert {row["actual_status"] for row in run("show instances --raw").data} == {"running"}


def _keys_on_the_account_and_on_an_instance(stage: Stage) -> None:
    run, ids = stage.run, stage.ids
    (row,) = run("show ssh-keys --raw").data
    machine = stage.cloud.machines[str(ids["one"])]
    # the number that it has on the account, and no other, takes it from an instance
    assert row["id"] in machine.data["key_ids"]
    run("detach ssh {one} {key}", key=row["id"])
    assert machine.data["key_ids"] == {}
    run("attach ssh {one} {key}", key=PUBLIC_KEY)
    run("update ssh-key {id} {key}", id=row["id"], key=PUBLIC_KEY)
    run("delete ssh-key {id}", id=row["id"])
    assert "api-key created" in run("create api-key --name small --permission_file {permissions}").out
    (key,) = run("show api-keys --raw").data["apikeys"]
    assert "small" in run("show api-key {id}", id=key["id"]).out
    run("delete api-key {id}", id=key["id"])
    run("create env-var HF_HOME /workspace")
    run("update env-var HF_HOME /data")
    assert "HF_HOME" in run("show env-vars").out
    run("delete env-var HF_HOME")


def _copies(stage: Stage) -> None:
    run, ids = stage.run, stage.ids
    assert "initiated" in run("copy C.{one}:/root/ C.{two}:/workspace/").out
    assert "/workspace/hasbooted" in stage.cloud.machines[str(ids["two"])].data["files"]
    run("cancel copy {two}")
    run("copy local:{home} C.{one}:/workspace/")
    run("copy C.{one}:/workspace/ local:{home}/back")
    told = ids["rsync"].read_text("utf-8")
    address, port = stage.cloud.machines[str(ids["one"])].address
    assert f"vastai_kaalia@{address}::C.{ids['one']}//workspace/" in told
    assert f"-p {port} " in told
    assert "bucket" in run("show connections").out
    to = "--src /a --dst /b --instance {one} --connection 31 --transfer {way}"
    run(f"cloud copy {to}", way="Instance To Cloud")
    run("cancel sync {one}")
    run(f"cloud copy {to} --schedule DAILY --day * --hour 3", way="Instance To Cloud")
    (job,) = run("show scheduled-jobs --raw").data
    run("delete scheduled-job {id}", id=job["id"])


def _volumes(stage: Stage) -> None:
    run = stage.run
    offers = run("search volumes disk_space>=100 --raw").data
    here, there = offers[0]["id"], offers[1]["id"]
    run(f"create volume {here} --size 20 --name data")
    (volume,) = run("show volumes --raw").data
    run(f"clone volume {{id}} {there}", id=volume["id"])
    shared = run("search network-volumes disk_space>=100 --raw").data
    run("create network-volume {id} --size 20 --name shared", id=shared[0]["id"])
    for row in run("show volumes --raw").data:
        run("delete volume {id}", id=row["id"])
    run("show instance-backups --raw")


def _the_account_and_its_papers(stage: Stage) -> None:
    run, ids = stage.run, stage.ids
    assert run("show user --raw").data["username"] == "sim"
    run("set user --file {profile}")
    assert "198.51.100.7" in run("show ipaddrs").out
    assert "/api/v0/asks/" in run("show audit-logs").out
    run("tfa status")
    payments = run("show invoices-v1 --invoices --raw").data["results"]
    assert payments[0]["type"] == "credit"
    assert len(run("show invoices-v1 --charges --limit 2 --raw").data["results"]) == 2
    assert "Total" in run("show invoices").out
    assert run("show invoices --instance_label uno --end_date 2100-01-01 --raw").data
    run("create subaccount --email sub@example.org --username sub --password p --type client")
    run("transfer credit sub@example.org 7 --skip")
    (sub,) = run("show subaccounts --raw").data
    assert (sub["username"], sub["credit"], sub["parent_id"]) == ("sub", 7, 4711)
    ids["sub"] = sub["id"]


def _serverless(stage: Stage) -> None:
    run = stage.run
    run("create endpoint --endpoint_name mine")
    (endpoint,) = run("show endpoints --raw").data
    run("update endpoint {id} --max_workers 3", id=endpoint["id"])
    run("get endpt-logs {id}", id=endpoint["id"])
    run("get endpt-workers {id}", id=endpoint["id"])
    run("create workergroup --template_hash {template} --endpoint_name mine")
    (group,) = run("show workergroups --raw").data
    run("update workergroup {id} --gpu_ram 24 --template_hash {template}", id=group["id"])
    run("update workers {id}", id=group["id"])
    run("get wrkgrp-logs {id}", id=group["id"])
    run("delete workergroup {id}", id=group["id"])
    run("delete endpoint {id}", id=endpoint["id"])
    run("show deployments --raw")


def _price_increases(stage: Stage) -> None:
    run, cloud = stage.run, stage.cloud
    ids = [str(stage.ids[name]) for name in ("one", "two")]
    for one in ids:
        cloud.afflict("price-increase", one)
    assert len(run("show pending-price-increases --raw").data["pending_price_increases"]) == 2
    run(f"accept price-increase {ids[0]} --yes")
    run(f"reject price-increase {ids[1]} --yes")


def _the_end(stage: Stage) -> None:
    run, cloud = stage.run, stage.cloud
    run("destroy instance {one} -y")
    run("destroy instances {two} {three} {launched} {bid} -y")
    cloud.clock.advance(60)
    assert cloud.billed_now() == []
    run("delete template --hash-id {template}")
    run("reset api-key")  # the last: this key is no more


def test_every_command_that_is_a_renter_s_business_is_answered(stage):
    for part in (
        *(_find, _templates, _instances, _keys_on_the_account_and_on_an_instance, _copies, _volumes),
        *(_the_account_and_its_papers, _serverless, _price_increases, _the_end),
    ):
        part(stage)
    hosts = {name for name, host in stage.client.commands.items() if host}
    rest = set(stage.client.commands) - hosts - stage.called
    assert rest == set(LEFT_OUT), (sorted(rest - set(LEFT_OUT)), sorted(set(LEFT_OUT) - rest))
