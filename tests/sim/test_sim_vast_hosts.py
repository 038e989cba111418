"""Rented on the simulated Vast, reached over real SSH: keys, stop and start, late keys, self-destruction."""

from __future__ import annotations

import time

import pytest
from pydantic import SecretStr

from gpunb import ssh
from gpunb.errors import AuthRefused, HostError
from gpunb.providers import local
from gpunb.providers.base import CreateSpec, InstanceState, OfferQuery, Presence, ProviderConfig
from gpunb.providers.vast import VastProvider
from gpunb.sim.clock import Clock
from gpunb.sim.hosts.machines import HostSpec
from gpunb.sim.hosts.real import RealHosts
from gpunb.sim.serving.runner import Served
from gpunb.sim.vast import VastCloud
from tests.support.machines.localhost import LINE

pytestmark = pytest.mark.slow
SPEED = 30.0


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setenv("GPUNB_HOME", str(tmp_path / "gpunb"))
    made = Served(VastCloud(clock=Clock(SPEED), hosts=RealHosts(tmp_path / "hosts"), boot_s=30))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def provider(served):
    config = ProviderConfig(base_url=served.url, key=SecretStr(served.cloud.key), options={"pace": 1 / SPEED})
    made = VastProvider(config)
    yield made
    made.close()


def running(provider, ident):
    for _ in range(300):
        found = provider.get(ident)
        if found.state is InstanceState.RUNNING:
            return found
        assert found.state is not InstanceState.FAILED, found
        time.sleep(0.1)
    raise AssertionError(found)


def endpoint(found, pair, folder):
    return ssh.Endpoint(
        host=found.host,
        port=found.port,
        user=found.user,
        key=pair.private,
        known_hosts=folder / "known_hosts",
        alias="gpunb-test",
    )


def test_a_rental_over_real_ssh_from_create_to_gone(served, provider, tmp_path):
    pair = ssh.generate(tmp_path / "keys", comment="gpunb")
    offer = provider.search(OfferQuery(gpus=["RTX 4090"], disk_gb=20))[0]
    spec = CreateSpec(
        label="gpunb-real", public_key=pair.public_line, disk_gb=20, env={"MINE": "yes"}, deadline=4e9
    )
    instance = provider.create(offer, spec)
    found = running(provider, instance.id)
    where = endpoint(found, pair, tmp_path)
    ssh.wait_reachable(where, timeout=30)
    with ssh.Connection.open(where) as connection:
        shown = connection.run("echo $MINE $CONTAINER_ID; nvidia-smi -L; touch kept", timeout=30)
        assert shown.code == 0, shown
        assert shown.out.decode().startswith(f"yes {instance.id}\n")
        assert shown.out.decode().count("RTX 4090") == offer.gpus
        for _ in range(100):  # the start script ran there
            if connection.run("test -e .no_auto_tmux && test -s .gpunb/lease.json").code == 0:
                break
            time.sleep(0.1)
        else:
            raise AssertionError(connection.run("ls -la").out)
        # another stranger with a key of his own stays out
        other = ssh.generate(tmp_path / "other", comment="other")
        with pytest.raises(AuthRefused):
            ssh.Connection.open(endpoint(found, other, tmp_path)).close()
    provider.stop(instance.id)
    assert provider.get(instance.id).state is InstanceState.STOPPED
    provider.start(instance.id)
    again = endpoint(running(provider, instance.id), pair, tmp_path)
    ssh.wait_reachable(again, timeout=30)
    with ssh.Connection.open(again) as connection:
        assert connection.run("test -e kept").code == 0
    provider.destroy(instance.id)
    for _ in range(100):
        if provider.presence(instance.id) is Presence.GONE:
            break
        time.sleep(0.1)
    assert served.cloud.billed_now() == []
    with pytest.raises(HostError):
        ssh.probe(again, timeout=3)


def test_a_key_that_is_applied_late_is_refused_first_and_taken_later(served, provider, tmp_path):
    # Metta-AI/metta#29, skypilot#6514: running is not ready for SSH
    pair = ssh.generate(tmp_path / "keys", comment="gpunb")
    served.cloud.faults.add("key-late", "create", seconds=60)
    instance = provider.create(
        provider.search(OfferQuery())[0], CreateSpec(label="gpunb-late", public_key=pair.public_line)
    )
    where = endpoint(running(provider, instance.id), pair, tmp_path)
    with pytest.raises(AuthRefused):
        ssh.probe(where)
    provider.get(instance.id)
    for _ in range(100):
        try:
            ssh.probe(where)
        except AuthRefused:  # noqa: PERF203
            time.sleep(0.1)
            provider.get(instance.id)
        else:
            break
    else:
        pytest.fail("the key was never taken")


def test_two_simulations_with_one_seed_end_their_own_hosts_only(home):
    spec = HostSpec(id="20874443", public_keys=[LINE])  # the same seed gives both the same ids
    one, other = RealHosts(home / "one"), RealHosts(home / "other")
    try:
        one.launch(spec)
        kept = other.launch(spec)
        one.close()
        assert local.running(home / "one" / spec.id) is None
        found = local.running(home / "other" / spec.id)
        assert found is not None
        assert found.port == kept.port
    finally:
        one.close()
        other.close()
