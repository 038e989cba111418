"""The simulated Vast as Vast's own published client sees it, unchanged, and in its own quirks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from gpunb.sim.clock import Clock
from gpunb.sim.serving.runner import Served
from gpunb.sim.serving.transport import InProcessTransport
from gpunb.sim.vast import VastCloud
from tests.support.rentals.vast_client import client_python
from tests.support.rentals.vast_cloud import PUBLIC_KEY


@pytest.fixture(scope="module")
def python():
    found = client_python()
    if found is None:
        pytest.skip("the published client vastai is not installed (VASTAI_PYTHON)")
    return found


@pytest.fixture
def served():
    made = Served(VastCloud(clock=Clock(60.0)))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def env(served, tmp_path):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "VAST_URL": served.url,
        "VAST_API_KEY": served.cloud.key,
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }


@pytest.mark.slow
def test_the_published_command_line_works_unchanged(served, env, python):
    tool = shutil.which("vastai", path=str(Path(python).parent))
    assert tool

    def vastai(*args: str) -> str:
        done = subprocess.run([tool, *args], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout

    offers = json.loads(
        vastai("search", "offers", "num_gpus=1 gpu_ram>=20 verified=true", "-o", "dph", "--raw")
    )
    assert [row["dph_total"] for row in offers] == sorted(row["dph_total"] for row in offers)
    assert all(row["num_gpus"] == 1 and row["gpu_ram"] >= 20_000 for row in offers)
    made = json.loads(
        vastai(
            *("create", "instance", str(offers[0]["id"]), "--image", "pytorch/pytorch", "--disk", "20"),
            *("--ssh", "--direct", "--label", "from-the-cli", "--env", "-e A=b -p 8080:8080", "--raw"),
        )
    )
    ident = str(made["new_contract"])
    served.cloud.clock.advance(120)
    (row,) = json.loads(vastai("show", "instances", "--raw"))
    assert (row["label"], row["actual_status"], str(row["id"])) == ("from-the-cli", "running", ident)
    assert row["extra_env"] == {"A": "b", "-p 8080:8080": "1"}
    assert ident in vastai("show", "instances")
    assert ident in vastai("show", "instance", ident)
    vastai("label", "instance", ident, "renamed")
    assert served.cloud.machines[ident].label == "renamed"
    vastai("stop", "instance", ident)
    assert served.cloud.machines[ident].phase.value == "stopped"
    vastai("start", "instance", ident)
    served.cloud.clock.advance(30)
    assert re.search(r"ssh://root@203\.0\.113\.\d+:\d+", vastai("ssh-url", ident))
    vastai("create", "ssh-key", PUBLIC_KEY)
    assert "ssh-ed25519" in vastai("show", "ssh-keys")
    assert "onstart done" in vastai("logs", ident)
    vastai("destroy", "instance", ident, "-y")
    served.cloud.clock.advance(30)
    assert json.loads(vastai("show", "instances", "--raw")) == []
    assert served.cloud.billed_now() == []


SDK = """
import json
from vastai import VastAI
sdk = VastAI()
offers = sdk.search_offers(query="num_gpus=1", limit=3)
offer = offers[0]["id"]
made = sdk.create_instance(id=offer, image="x", disk=20, ssh=True, direct=True, label="from-the-sdk")
ident = made["new_contract"]
(row,) = sdk.show_instances()
sdk.label_instance(id=ident, label="two")
sdk.stop_instance(id=ident)
stopped = sdk.show_instance(id=ident)
sdk.start_instance(id=ident)
keys = sdk.show_ssh_keys()
user = sdk.show_user()
sdk.destroy_instance(id=ident)
print(json.dumps([len(offers), row["label"], stopped["cur_state"], keys, user["credit"]]))
"""


@pytest.mark.slow
def test_the_published_library_works_unchanged(served, env, python):
    done = subprocess.run(
        [python, "-c", SDK], env=env, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    count, label, state, keys, credit = json.loads(done.stdout.splitlines()[-1])
    assert (count, label, state, keys) == (3, "from-the-sdk", "stopped", [])
    assert 99 < credit <= 100
    served.cloud.clock.advance(30)
    assert served.cloud.billed_now() == []


# what the client does not show


@pytest.fixture
def api():
    cloud = VastCloud(clock=Clock.virtual(), limits=False)
    transport = InProcessTransport(cloud)
    headers = {"Authorization": f"Bearer {cloud.key}"}
    with httpx.Client(transport=transport, base_url="http://vast.test", headers=headers) as client:
        client.cloud = cloud  # type: ignore[attr-defined]
        yield client


def create(api, **changes):
    offers = api.post("/api/v0/bundles/", json={}).json()["offers"]
    body = {"client_id": "me", "image": "x", "disk": 20.0, "label": "a", "runtype": "ssh_direc ssh_proxy"}
    return api.put(f"/api/v0/asks/{offers[0]['id']}/", json={**body, **changes})


def test_the_old_list_is_dead(api):
    # swm-gpu/swm#13
    answer = api.get("/api/v0/instances/")
    assert (answer.status_code, answer.json()["error"]) == (410, "deprecated_endpoint")


def test_a_wrong_key_is_404_with_auth_error(api):
    answer = api.get("/api/v1/instances/", headers={"Authorization": "Bearer nope"})
    assert (answer.status_code, answer.json()["error"]) == (404, "auth_error")


def test_limits_answer_in_plain_text_with_the_threshold(api):
    api.cloud.limiter.enabled = True
    create(api)
    answer = create(api)
    assert answer.status_code == 429
    assert answer.text.startswith("API requests too frequent endpoint threshold=")
    for number in range(11):
        answer = api.post("/api/v0/bundles/", json={})
        assert answer.status_code == (200 if number < 8 else 429)


def test_bad_orders_are_refused(api):
    for changes in (
        {"disk": 7},
        {"disk": "big"},
        {"label": "x" * 257},
        {"image": None},
        {"env": "A=b"},
        {"env": {"A": "x" * 257}},
        {"onstart": "x" * 4049},
        {"price": 1e9},
    ):
        assert create(api, **changes).status_code == 400, changes
    assert create(api).json()["success"] is True


def test_search_answers_by_what_is_asked(api):
    def search(**body):
        return api.post("/api/v0/bundles/", json=body)

    bid = search(type="bid", allocated_storage=100).json()["offers"]
    assert all(
        row["is_bid"] and row["dph_total"] == pytest.approx(row["min_bid"] + 100 * row["storage_cost"] / 720)
        for row in bid
    )
    # numbers come as texts from the client
    assert {row["num_gpus"] for row in search(num_gpus={"eq": "2"}).json()["offers"]} == {2}
    de = search(geolocation={"in": ["DE"]}).json()["offers"]
    assert de
    assert all(row["geolocation"].endswith("DE") for row in de)
    assert search(flavour={"eq": 1}).status_code == 400
    assert search(num_gpus={"about": 1}).status_code == 400
    assert search(order=[["flavour", "asc"]]).status_code == 400
    asks = api.put("/api/v0/search/asks/", json={"select_cols": ["*"], "q": {"limit": 2}})
    assert len(asks.json()["offers"]) == 2


def test_the_list_is_paged_and_refuses_computed_filters(api):
    for number in range(7):
        assert create(api, label=f"n{number}").status_code == 200

    def page(**params):
        return api.get("/api/v1/instances/", params={k: json.dumps(v) for k, v in params.items()})

    first = page(limit=0).json()  # below 1 is 5
    assert len(first["instances"]) == 5
    assert (first["instances_found"], first["total_instances"]) == (7, 7)
    rest = api.get("/api/v1/instances/", params={"limit": "0", "after_token": first["next_token"]}).json()
    assert (len(rest["instances"]), rest["next_token"]) == (2, None)
    assert page(select_filters={"dph_total": {"gte": 0}}).status_code == 400
    one = page(select_filters={"label": {"eq": "n3"}}, select_cols=["id", "label", "nonsense"]).json()
    assert one["instances"][0]["label"] == "n3"
    assert one["instances"][0]["nonsense"] is None


def test_the_row_keeps_vast_s_oddities(api):
    ident = create(api, env={"A": "b"}).json()["new_contract"]

    def show():
        return api.get(f"/api/v0/instances/{ident}/").json()["instances"]

    assert show()["actual_status"] is None
    assert show()["ports"] is None
    api.cloud.clock.advance(30)
    assert show()["actual_status"] == "loading"
    api.cloud.clock.advance(60)
    row = show()
    assert row["public_ipaddr"].endswith("\n")
    assert row["extra_env"] == [["A", "b"]]
    assert row["ports"]["22/tcp"][0]["HostPort"] == str(row["ssh_port"])
    assert api.get("/api/v0/instances/1/").json() == {"instances": None}


def test_the_bill_follows_the_phases(api):
    ident = str(create(api).json()["new_contract"])
    machine = api.cloud.machines[ident]
    api.cloud.clock.advance(60 + 3600)
    api.put(f"/api/v0/instances/{ident}/", json={"state": "stopped"})
    api.cloud.clock.advance(3600)
    bill = api.cloud.bill_of(ident)
    assert bill["gpu"] == pytest.approx(machine.data["gpu_usd_h"])  # not while loading, not while stopped
    assert bill["disk"] == pytest.approx(machine.data["disk_usd_h"] * (7260 / 3600))
    api.delete(f"/api/v0/instances/{ident}/")
    api.cloud.clock.advance(3600)
    assert api.cloud.bill_of(ident) == pytest.approx(bill)
    rows = api.get("/api/v0/charges/").json()["results"]
    assert rows[0]["source"] == f"instance-{ident}"
    assert rows[0]["amount"] == pytest.approx(sum(bill.values()))
