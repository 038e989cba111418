"""The Vast back ends of SkyPilot and dstack, unchanged, on the simulated Vast: they search, launch and end.

They were written by other hands against the real cloud, so they find what our own provider and our own
simulation have both got wrong. ``make peers`` installs them into venvs of their own, and runs this;
without them it is skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from gpunb.sim.clock import Clock
from gpunb.sim.serving.runner import Served
from gpunb.sim.vast import VastCloud
from tests.support.rentals.vast_cloud import PUBLIC_KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PEERS = Path(__file__).resolve().parents[2] / "build/peers"

# The address is a setting of Vast's library below it (VAST_URL). Its pause between two looks is shortened.
SKYPILOT = """
import json, os, runpy, sys, time
from sky.provision import common
from sky.provision.vast import instance as vast

vast.POLL_INTERVAL = 1
found = runpy.run_module("sky.catalog.data_fetchers.fetch_vast", run_name="__main__")
offers = found["offerList"]
offer = offers[0]
config = common.ProvisionConfig(
    provider_config={},
    authentication_config={"ssh_public_key": sys.argv[1]},
    docker_config={},
    node_config={
        "ImageId": "vastai/base-image",
        "InstanceType": found["create_instance_type"](offer),
        "DiskSize": 50,
        "Preemptible": False,
    },
    count=1,
    tags={},
    resume_stopped_nodes=True,
    ports_to_open_on_launch=None,
)

def states():
    return [state.name for state, _ in vast.query_instances("mine", "mine-1", {}).values()]

record = vast.run_instances(offer["geolocation"][-2:], "mine", "mine-1", config)
told = {"offers": len(offers), "types": len(found["seen"]), "id": record.head_instance_id, "up": states()}
info = vast.get_cluster_info("", "mine-1", {})
(head,) = info.instances[info.head_instance_id]
told["ssh"] = [head.external_ip, head.ssh_port]
vast.stop_instances("mine-1")
told["stopped"] = states()
again = vast.run_instances(offer["geolocation"][-2:], "mine", "mine-1", config)
told["again"] = [again.head_instance_id, states()]
vast.terminate_instances("mine-1")
until = time.monotonic() + 30
while states() and time.monotonic() < until:
    time.sleep(0.2)
told["left"] = states()
print(json.dumps(told))
"""

# Both addresses are constants: one of a module, one of the client that the back end has made.
DSTACK = """
import json, sys, time
from types import SimpleNamespace
import gpuhunt.providers.vastai
from dstack._internal.core.backends.vastai.compute import VastAICompute
from dstack._internal.core.backends.vastai.models import VastAIAPIKeyCreds, VastAIConfig
from dstack._internal.core.models.resources import ResourcesSpec
from dstack._internal.core.models.runs import Job, JobSpec, Requirements, Run

url, key, public_key = sys.argv[1:]
gpuhunt.providers.vastai.bundles_url = f"{url}/api/v0/bundles/"
compute = VastAICompute(VastAIConfig(creds=VastAIAPIKeyCreds(api_key=key)))
compute.api_client.s.base_url = f"{url}/api/"
told = {"key": compute.api_client.auth_test()}
told["wrong key"] = VastAICompute(VastAIConfig(creds=VastAIAPIKeyCreds(api_key="no"))).api_client
told["wrong key"].s.base_url = f"{url}/api/"
told["wrong key"] = told["wrong key"].auth_test()

def rent(spot):
    resources = ResourcesSpec.model_validate({"gpu": {"memory": "16GB..", "count": 1}})
    wanted = Requirements(resources=resources, spot=spot)
    offers = list(compute.get_offers_by_requirements(wanted, False, False))
    spec = JobSpec(
        job_num=0, job_name="train-0-0", commands=["true"], env={}, image_name="dstackai/base:py3.12",
        requirements=wanted,
    )
    data = compute.run_job(
        run=Run.model_construct(project_name="main", run_spec=SimpleNamespace(run_name="train")),
        job=Job(job_spec=spec, job_submissions=[]),
        instance_offer=offers[0],
        project_ssh_public_key=public_key,
        project_ssh_private_key="",
        volumes=[],
        placement_group=None,
        requirements=wanted,
        extra_authorized_keys=[],
    )
    until = time.monotonic() + 30
    while data.hostname is None and time.monotonic() < until:
        compute.update_provisioning_data(data, public_key, "")
        time.sleep(0.2)
    ssh = [data.hostname, data.ssh_port]
    return {"offers": len(offers), "id": data.instance_id, "usd_h": data.price, "ssh": ssh}

told["on demand"], told["spot"] = rent(False), rent(True)
for one in (told["on demand"], told["spot"], told["spot"]):
    compute.terminate_instance(one["id"], "")
    time.sleep(0.3)  # its server, too, waits after "too frequent"
time.sleep(0.5)
told["left"] = compute.api_client.get_instance(told["spot"]["id"])
print(json.dumps(told))
"""


@pytest.fixture
def served():
    # a second is a minute there, so that the limits are kept and nobody waits for them
    made = Served(VastCloud(clock=Clock(60.0)))
    made.start()
    yield made
    made.stop()


def told_by(name: str, package: str, script: str, home: Path, *args: str, **env: str) -> dict:
    """What `script` prints at its end, run in the venv of `name`."""
    python = PEERS / name / "bin/python"
    if not list(PEERS.glob(f"{name}/lib/python*/site-packages/{package}")):
        pytest.skip(f"{name} is not installed: make peers")
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    done = subprocess.run(
        [python, "-c", script, *args],
        env={**clean, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", **env},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told: dict = json.loads(done.stdout.splitlines()[-1])
    return told


def no_answer_was_missing(cloud: VastCloud) -> None:
    """No call of theirs met a route that is not there."""
    assert {(call.method, call.path) for call in cloud.calls if not call.endpoint} == set()
    assert not [call for call in cloud.calls if call.status in (405, 422) or call.status >= 500]


def test_skypilot_searches_launches_stops_and_ends(served, tmp_path):
    key = tmp_path / "key.pub"
    key.write_text(PUBLIC_KEY)
    env = {"VAST_URL": served.url, "VAST_API_KEY": served.cloud.key}
    told = told_by("skypilot", "sky", SKYPILOT, tmp_path, str(key), **env)
    assert told["offers"] > 5
    assert told["types"] > 5
    assert (told["up"], told["stopped"]) == (["UP"], ["STOPPED"])
    assert told["again"] == [told["id"], ["UP"]], "the same instance was started again"
    assert told["left"] == []
    # which machine is not asserted: vastai 1.9.1 drops a query from its first quoted value on, and SkyPilot
    # quotes the place before it names GPU, count and memory
    machine = served.cloud.machines[told["id"]]
    assert machine.label == "mine-1-head"
    assert told["ssh"][0].startswith("203.0.113.")
    assert PUBLIC_KEY.split()[1] in machine.data["onstart"]
    assert served.cloud.billed_now() == []
    no_answer_was_missing(served.cloud)


def test_dstack_searches_launches_and_ends(served, tmp_path):
    args = (served.url, served.cloud.key, PUBLIC_KEY)
    told = told_by("dstack", "dstack", DSTACK, tmp_path, *args)
    assert (told["key"], told["wrong key"]) == (True, False)
    for kind in ("on demand", "spot"):
        machine = served.cloud.machines[told[kind]["id"]]
        assert told[kind]["offers"] > 0
        assert told[kind]["ssh"][0].startswith("203.0.113.")
        assert machine.data["is_bid"] == (kind == "spot")
        disk_usd = machine.data["disk_usd_h"]
        assert told[kind]["usd_h"] == pytest.approx(machine.data["gpu_usd_h"] + disk_usd, rel=0.05)
    assert told["left"] is None
    assert served.cloud.billed_now() == []
    no_answer_was_missing(served.cloud)
