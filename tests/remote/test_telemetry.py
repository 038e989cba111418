from __future__ import annotations

import itertools
import json
import os
import sys
import time

import pytest

from gpunb.remote import AgentClient
from tests.remote.conftest import wait_for
from tests.support import smi

pytestmark = pytest.mark.slow


@pytest.fixture
def gpus(host):
    smi.put_on(host, 2)
    with AgentClient.connect(host.endpoint(), python=sys.executable, trust="own") as found:
        yield found


def test_a_sample_a_second_while_somebody_looks(gpus, host):
    heard = []
    gpus.listen(lambda head: heard.append(head) if head["k"] == "telemetry" else None)
    gpus.request("look", seconds=30)
    wait_for(lambda: len(heard) >= 4)
    last = heard[-1]
    assert [one["i"] for one in last["gpus"]] == ["0", "1"]
    gpu = last["gpus"][0]
    assert 0 <= gpu["util"] <= 100
    assert gpu["mem"][1] == 81559 * 2**20
    assert gpu["mem"][0] < gpu["mem"][1]
    assert 0 < gpu["power"] < 700
    assert 0 <= last["cpu"] <= 100
    assert 0 < last["mem"][0] <= last["mem"][1]
    assert 0 < last["disk"][0] <= last["disk"][1]
    gaps = [b["ts"] - a["ts"] for a, b in itertools.pairwise(heard)]
    assert min(gaps) < 5  # else it samples each ten seconds
    kept = [json.loads(line) for line in (host.home / ".gpunb" / "telemetry").read_text().splitlines()]
    assert {one["ts"] for one in heard} <= {one["ts"] for one in kept}


def test_the_past_is_thinned_and_survives_the_agent(gpus, host):
    now = time.time()
    with open(host.home / ".gpunb" / "telemetry", "a") as file:
        for at in range(100):
            sample = {
                "ts": now - 5000 + at,
                "cpu": float(at),
                "mem": [at, 100],
                "gpus": [{"i": "0", "util": at}],
            }
            file.write(json.dumps(sample) + "\n")
        file.write('{"ts": 12, "cp')  # a line that a crash tore
        file.write("\n")
    found = gpus.request("telemetry", since=now - 5001, until=now - 4000, points=10)["samples"]
    assert len(found) == 10
    assert found[0]["cpu"] == pytest.approx(4.5)
    assert found[0]["gpus"][0] == {"i": "0", "util": pytest.approx(4.5)}
    assert found[-1]["mem"] == [pytest.approx(94.5), 100]
    assert gpus.request("telemetry", since=now - 5001, until=now - 4991)["samples"][0]["cpu"] == 0.0


def test_a_host_whose_smi_hangs_or_fails_still_tells_the_rest(host):
    smi.put_on(host, 2)
    (host.root / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 600\n")
    with AgentClient.connect(host.endpoint(), python=sys.executable, trust="own") as client:
        heard = []
        client.listen(lambda head: heard.append(head) if head["k"] == "telemetry" else None)
        client.request("look", seconds=30)
        wait_for(lambda: len(heard) >= 2)
        assert heard[-1]["gpus"] == []
        assert heard[-1]["mem"][1] > 0


def test_the_file_stays_small(tmp_path, monkeypatch):
    import asyncio

    from gpunb.agent.daemon import telemetry

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(telemetry, "FILE_LIMIT", 2000)

    async def fill():
        kept = telemetry.Telemetry(lambda head: None)
        for at in range(200):
            kept._remember({"ts": at, "cpu": 1.0})
        return kept

    kept = asyncio.run(fill())
    assert os.path.getsize(kept.path) < 2100
    found = kept.history(0, 1e9, 1000)
    assert found[-1]["ts"] == 199
    assert len(found) < 200
