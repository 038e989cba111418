"""The local provider as a cloud: contract, states on disk, prices."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from gpunb.errors import BadInput, Unavailable
from gpunb.providers import CreateSpec, InstanceState, Provider, ProviderConfig, provider_class
from gpunb.providers.contract import ProviderContract
from gpunb.providers.local import LocalProvider, running
from gpunb.providers.local.processes import MARK, belonging
from tests.support.machines.localhost import LINE, LocalHost, key_pair, the_offer, until


class TestLocalProvider(ProviderContract):
    unknown_id = "nosuch1234"
    many = 2  # real servers

    @pytest.fixture
    def provider(self, home: Path) -> Provider:
        return LocalProvider()


@pytest.mark.slow
class TestLocalProviderWithPrice(ProviderContract):
    unknown_id = "../escape"
    many = 2

    @pytest.fixture
    def provider(self, home: Path) -> Provider:
        return LocalProvider(ProviderConfig(options={"usd_h": "2.5", "disk_usd_gb_h": 0.001}))

    @pytest.fixture
    def spec(self) -> CreateSpec:
        return CreateSpec(label="priced", public_key=LINE, disk_gb=2.0)


def test_it_is_found_by_its_entry_point() -> None:
    assert provider_class("local") is LocalProvider


def test_the_offer_is_this_machine(provider: LocalProvider) -> None:
    offer = the_offer(provider)
    assert offer.cores == len(os.sched_getaffinity(0))
    assert offer.ram_gb == pytest.approx(psutil.virtual_memory().total / 1e9, rel=0.02)
    assert 0 < offer.disk_max_gb < math.inf
    assert offer.trust == "own"
    assert offer.usd_h == 0


def test_gpus_come_from_nvidia_smi(
    provider: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559'\necho 'NVIDIA H100 80GB HBM3, 81559'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    offer = the_offer(provider)
    assert (offer.gpus, offer.gpu, offer.gpu_raw) == (2, "H100 80GB HBM3", "NVIDIA H100 80GB HBM3")
    assert offer.vram_gb == pytest.approx(79.6, abs=0.1)
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    assert the_offer(provider).gpus == 0


def test_another_object_sees_the_same_instances(local_host: LocalHost) -> None:
    seen = LocalProvider().get(local_host.instance.id)
    assert seen.state is InstanceState.RUNNING
    assert (seen.host, seen.port) == ("127.0.0.1", local_host.instance.port)
    assert seen.host_key == local_host.instance.host_key
    assert seen.host_key is not None
    assert seen.host_key.startswith("ssh-ed25519 ")


def test_it_listens_on_loopback_only(local_host: LocalHost) -> None:
    host = running(local_host.directory)
    assert host is not None
    listening = [
        one.laddr for one in psutil.Process(host.pid).net_connections() if one.status == psutil.CONN_LISTEN
    ]
    assert [(one.ip, one.port) for one in listening] == [("127.0.0.1", local_host.instance.port)]


def test_files_are_private(local_host: LocalHost) -> None:
    assert local_host.directory.stat().st_mode & 0o777 == 0o700
    for name in ("state.json", "config.json", "running.json", "host_key", "authorized_keys"):
        assert (local_host.directory / name).stat().st_mode & 0o777 == 0o600, name


def test_port_and_files_stay_over_stop_and_start(local_host: LocalHost) -> None:
    provider, ident, port = local_host.provider, local_host.instance.id, local_host.instance.port
    assert local_host.ssh("echo kept > note; sleep 600 >/dev/null 2>&1 &").returncode == 0
    provider.stop(ident)
    assert belonging(ident) == []
    stopped = provider.get(ident)
    assert (stopped.state, stopped.port) == (InstanceState.STOPPED, port)
    assert local_host.ssh("true").returncode == 255
    provider.start(ident)
    provider.start(ident)  # again is harmless
    again = provider.get(ident)
    assert (again.state, again.port, again.host_key) == (
        InstanceState.RUNNING,
        port,
        local_host.instance.host_key,
    )
    assert local_host.ssh("cat note").stdout == b"kept\n"


def test_no_secret_reaches_the_host(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("VAST_API_KEY", "DEEPINFRA_TOKEN", "MY_SECRET", "SSH_AUTH_SOCK"):
        monkeypatch.setenv(name, "topsecret-1234")
    key, line = key_pair(tmp_path, "k")
    provider = LocalProvider()
    made = provider.create(
        the_offer(provider), CreateSpec(label="env", public_key=line, env={"WANDB_MODE": "offline"})
    )
    host = LocalHost(provider, made, key, tmp_path / "kh")
    env = dict(part.split("=", 1) for part in host.ssh("env -0").stdout.decode().split("\0") if part)
    assert "topsecret-1234" not in env.values()
    assert env["HOME"] == str(host.home)
    assert env["WANDB_MODE"] == "offline"
    assert env[MARK] == made.id
    assert env["PATH"].split(":")[1] == str(Path(sys.executable).parent)
    server = running(host.directory)
    assert server is not None
    assert "topsecret-1234" not in psutil.Process(server.pid).environ().values()


def test_onstart_runs_at_each_start_and_its_output_is_logged(provider: LocalProvider) -> None:
    made = provider.create(
        the_offer(provider),
        CreateSpec(label="boot", public_key=LINE, onstart='echo "hello from $USER"; echo x >> ~/starts'),
    )
    starts = Path(str(made.raw["directory"])) / "home" / "starts"
    until(lambda: "hello from" in provider.logs(made.id))
    provider.reboot(made.id)
    until(lambda: starts.read_text() == "x\nx\n")


def test_a_given_host_key_is_the_hosts(provider: LocalProvider, tmp_path: Path) -> None:
    path, public = key_pair(tmp_path, "host")
    spec = CreateSpec(label="pinned", public_key=LINE, host_key=path.read_text())
    made = provider.create(the_offer(provider), spec)
    assert made.host_key == " ".join(public.split()[:2])
    bad = CreateSpec(label="bad", public_key=LINE, host_key="not a key")
    with pytest.raises(Unavailable, match="host_key"):
        provider.create(the_offer(provider), bad)
    assert provider.find("bad") == []


def test_usage_counts_the_time_it_ran_and_outlives_it(home: Path) -> None:
    provider = LocalProvider(ProviderConfig(options={"usd_h": 3600, "disk_usd_gb_h": 3600}))
    made = provider.create(the_offer(provider), CreateSpec(label="paid", public_key=LINE, disk_gb=1))
    assert (made.usd_h, made.stopped_usd_h) == (7200, 3600)
    began = time.time()
    provider.stop(made.id)
    ran = next(line for line in provider.usage(made.id) if line.kind == "gpu")
    assert ran.start is not None
    assert ran.end is not None
    assert ran.usd == pytest.approx(ran.end - ran.start)  # a dollar a second
    assert ran.end >= began
    provider.start(made.id)
    provider.destroy(made.id)
    bill = provider.usage(made.id)
    assert [line.kind for line in bill] == ["gpu", "gpu", "disk"]
    assert bill[0].usd == ran.usd
    assert bill[2].usd >= bill[0].usd + bill[1].usd
    later = provider.usage(made.id)
    assert later == bill, "what ended costs no more"


def test_it_works_below_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    deep = home / ("d" * 100) / ("e" * 100)
    monkeypatch.setenv("GPUNB_HOME", str(deep))
    key, line = key_pair(tmp_path, "k")
    provider = LocalProvider()
    made = provider.create(the_offer(provider), CreateSpec(label="deep", public_key=line))
    try:
        host = LocalHost(provider, made, key, tmp_path / "kh")
        done = host.ssh(
            "python3 -c 'import os,socket;s=socket.socket(socket.AF_UNIX);"
            's.bind(os.environ["XDG_RUNTIME_DIR"]+"/agent.sock");print("bound")\''
        )
        assert done.stdout == b"bound\n", done.stderr
    finally:
        provider.destroy(made.id)


def test_rename_keeps_the_rest(local_host: LocalHost) -> None:
    provider, ident = local_host.provider, local_host.instance.id
    provider.rename(ident, "other name")
    assert provider.find("test") == []
    assert [one.id for one in provider.find("other name")] == [ident]
    with pytest.raises(BadInput, match="label"):
        provider.rename(ident, "")
    assert local_host.ssh("true").returncode == 0


@pytest.mark.slow
def test_logs_are_bounded_and_tell_of_logins(local_host: LocalHost) -> None:
    local_host.ssh("true")
    text = local_host.provider.logs(local_host.instance.id)
    assert "listening on 127.0.0.1" in text
    assert "took key SHA256:" in text
    assert len(local_host.provider.logs(local_host.instance.id, tail=1).splitlines()) == 1
    noisy = local_host.provider
    made = noisy.create(
        the_offer(noisy),
        CreateSpec(label="noisy", public_key=LINE, onstart="yes 'a line of some length' | head -n 60000"),
    )
    until(lambda: "onstart ended with exit code" in noisy.logs(made.id))
    directory = Path(str(made.raw["directory"]))
    assert sum(found.stat().st_size for found in directory.glob("host.log*")) < 1_200_000
