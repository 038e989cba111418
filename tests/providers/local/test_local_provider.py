"""The local provider as a cloud: contract, states on disk, crashes, prices."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from gpunb import paths
from gpunb.errors import BadInput, InstanceGone, NotSupported, OfferGone, Unavailable
from gpunb.providers import (
    CreateSpec,
    InstanceState,
    Offer,
    OfferQuery,
    Presence,
    Provider,
    ProviderConfig,
    provider_class,
)
from gpunb.providers.contract import ProviderContract
from gpunb.providers.local import LocalProvider, running
from gpunb.providers.local.processes import MARK, belonging
from tests.support.localhost import LocalHost, key_pair

if TYPE_CHECKING:
    from collections.abc import Callable

LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFkI0O9r0kQ2bC6Q2oJwYH0QnmJ2v3b6oZr3cO6u0w1C test"


class TestLocalProvider(ProviderContract):
    unknown_id = "nosuch1234"

    @pytest.fixture
    def provider(self, home: Path) -> Provider:
        return LocalProvider()


@pytest.mark.slow
class TestLocalProviderWithPrice(ProviderContract):
    unknown_id = "../escape"

    @pytest.fixture
    def provider(self, home: Path) -> Provider:
        return LocalProvider(ProviderConfig(options={"usd_h": "2.5", "disk_usd_gb_h": 0.001}))

    @pytest.fixture
    def spec(self) -> CreateSpec:
        return CreateSpec(label="priced", public_key=LINE, disk_gb=2.0)


@pytest.fixture
def provider(home: Path) -> LocalProvider:
    return LocalProvider()


def the_offer(provider: Provider) -> Offer:
    (offer,) = provider.search(OfferQuery())
    return offer


def until(what: Callable[[], object], seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def leave_a_detached_process(host: LocalHost) -> int:
    """A grandchild with a session of its own, as a daemon on the host would be."""
    done = host.ssh("setsid sleep 600 </dev/null >/dev/null 2>&1 & sleep 0.2; pgrep -n -f 'sleep 60[0]'")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


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


def test_reboot_ends_what_ran_and_keeps_the_rest(local_host: LocalHost) -> None:
    pid = leave_a_detached_process(local_host)
    local_host.provider.reboot(local_host.instance.id)
    assert not alive(pid)
    assert local_host.provider.get(local_host.instance.id).port == local_host.instance.port
    assert local_host.ssh("echo up").stdout == b"up\n"


def test_a_taken_port_is_named_and_the_instance_stays_stopped(local_host: LocalHost) -> None:
    provider, ident, port = local_host.provider, local_host.instance.id, local_host.instance.port
    provider.stop(ident)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        with pytest.raises(Unavailable) as caught:
            provider.start(ident)
        assert f"port {port}" in caught.value.message
        assert str(port) in (caught.value.hint or "")
        assert caught.value.effect == "none"
        assert "stopped" in (caught.value.bill or "")
        assert provider.get(ident).state is InstanceState.STOPPED
        assert belonging(ident) == []
    provider.start(ident)
    assert local_host.ssh("true").returncode == 0


def test_a_killed_host_is_offline_and_can_be_started(local_host: LocalHost) -> None:
    provider, ident = local_host.provider, local_host.instance.id
    host = running(local_host.directory)
    assert host is not None
    detached = leave_a_detached_process(local_host)
    os.kill(host.pid, signal.SIGKILL)
    until(lambda: provider.get(ident).state is InstanceState.OFFLINE)
    assert provider.presence(ident) is Presence.PRESENT
    assert "start" in provider.get(ident).message
    assert alive(detached)
    provider.start(ident)
    assert not alive(detached), "a machine that boots has nothing of its last life running"
    assert provider.get(ident).port == local_host.instance.port
    assert local_host.ssh("echo back").stdout == b"back\n"


def test_destroy_clears_what_a_killed_host_left(local_host: LocalHost) -> None:
    provider, ident, port = local_host.provider, local_host.instance.id, local_host.instance.port
    host = running(local_host.directory)
    assert host is not None
    detached = leave_a_detached_process(local_host)
    runtime = Path(local_host.ssh('printf %s "$XDG_RUNTIME_DIR"').stdout.decode())
    assert runtime.is_dir()
    assert runtime.stat().st_mode & 0o777 == 0o700
    os.kill(host.pid, signal.SIGKILL)
    provider.destroy(ident)
    assert provider.presence(ident) is Presence.GONE
    assert not alive(detached)
    assert not local_host.directory.exists()
    assert not runtime.exists()
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))


def test_destroy_finds_a_process_that_cleared_its_environment(local_host: LocalHost) -> None:
    done = local_host.ssh("env -i /usr/bin/setsid sleep 601 </dev/null >/dev/null 2>&1 & echo $!; sleep 0.2")
    assert done.returncode == 0
    pids = [
        one.pid
        for one in psutil.process_iter(["cmdline"])
        if one.info["cmdline"] and one.info["cmdline"][-2:] == ["sleep", "601"]
    ]
    assert pids
    local_host.provider.destroy(local_host.instance.id)
    assert not any(alive(pid) for pid in pids)


@pytest.mark.slow
def test_a_process_that_ignores_sigterm_is_ended_too(local_host: LocalHost) -> None:
    done = local_host.ssh("(trap '' TERM; exec setsid sleep 602) </dev/null >/dev/null 2>&1 & echo $!")
    pid = int(done.stdout)
    until(lambda: "602" in " ".join(psutil.Process(pid).cmdline()))
    local_host.provider.destroy(local_host.instance.id)
    assert not alive(pid)


def test_it_survives_a_creator_that_is_killed(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "creator.py"
    script.write_text(
        "import os, signal\n"
        "from gpunb.providers import CreateSpec, OfferQuery\n"
        "from gpunb.providers.local import LocalProvider\n"
        "provider = LocalProvider()\n"
        "(offer,) = provider.search(OfferQuery())\n"
        f"made = provider.create(offer, CreateSpec(label='orphan', public_key={LINE!r}))\n"
        "print(made.id, flush=True)\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, start_new_session=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (found,) = LocalProvider().find("orphan")
    assert found.id == done.stdout.decode().strip()
    assert found.state is InstanceState.RUNNING
    with socket.create_connection((found.host, found.port), timeout=10) as link:
        assert link.recv(8).startswith(b"SSH-2.0")


@pytest.mark.slow
@pytest.mark.parametrize("after_ms", [0, 20, 60, 120, 200, 300, 450])
def test_a_creator_killed_in_the_middle_leaves_nothing_that_is_not_listed(
    home: Path, tmp_path: Path, after_ms: int
) -> None:
    script = tmp_path / "creator.py"
    script.write_text(
        "from gpunb.providers import CreateSpec, OfferQuery\n"
        "from gpunb.providers.local import LocalProvider\n"
        "provider = LocalProvider()\n"
        "(offer,) = provider.search(OfferQuery())\n"
        "print('go', flush=True)\n"
        f"provider.create(offer, CreateSpec(label='cut', public_key={LINE!r}))\n"
        "import time; time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        time.sleep(after_ms / 1000)
        child.kill()
    provider = LocalProvider()
    found = provider.find("cut")
    assert len(found) <= 1
    for one in found:
        assert one.state in {InstanceState.CREATING, InstanceState.RUNNING}
        provider.destroy(one.id)
        assert belonging(one.id) == []
    until(lambda: not [p for p in psutil.process_iter() if str(home) in " ".join(command_of(p))])
    assert provider.instances() == []


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.slow
def test_a_host_whose_folder_was_deleted_ends_itself(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    made = provider.create(the_offer(provider), CreateSpec(label="doomed", public_key=LINE))
    host = running(Path(str(made.raw["directory"])))
    assert host is not None
    shutil.rmtree(host.directory)
    until(lambda: not alive(host.pid))
    assert provider.presence(made.id) is Presence.GONE


def test_many_creates_at_once(provider: LocalProvider) -> None:
    offer = the_offer(provider)
    with ThreadPoolExecutor(4) as pool:
        made = list(
            pool.map(
                lambda n: provider.create(offer, CreateSpec(label=f"many-{n}", public_key=LINE)), range(4)
            )
        )
    assert len({one.port for one in made}) == 4
    assert {one.label for one in provider.instances()} == {f"many-{n}" for n in range(4)}
    with ThreadPoolExecutor(8) as pool:  # each twice, at once
        list(pool.map(provider.destroy, [one.id for one in made] * 2))
    assert provider.instances() == []
    assert [found for one in made for found in belonging(one.id)] == []


def test_stop_start_and_destroy_at_once_end_in_one_state(local_host: LocalHost) -> None:
    provider, ident = local_host.provider, local_host.instance.id
    calls = [provider.stop, provider.start, provider.reboot, provider.stop, provider.start]

    def attempt(call: Callable[[str], None]) -> None:
        with contextlib.suppress(InstanceGone):
            call(ident)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(attempt, [*calls, provider.destroy]))
    assert provider.presence(ident) is Presence.GONE
    assert belonging(ident) == []


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


def test_a_damaged_state_file_is_shown_and_can_be_destroyed(local_host: LocalHost) -> None:
    provider, ident = local_host.provider, local_host.instance.id
    host = running(local_host.directory)
    assert host is not None
    for text in ("{ half", "[]", '{"id": "x"}'):
        (local_host.directory / "state.json").write_text(text)
        seen = provider.get(ident)
        assert seen.state is InstanceState.FAILED
        assert "damaged" in seen.message
        with pytest.raises(Unavailable, match="damaged"):
            provider.stop(ident)
    provider.destroy(ident)
    assert not alive(host.pid)
    assert provider.instances() == []


def test_an_interrupted_destroy_is_shown_and_goes_on(local_host: LocalHost) -> None:
    state = local_host.directory / "state.json"
    raw = json.loads(state.read_text()) | {"phase": "ending"}
    state.write_text(json.dumps(raw))
    provider, ident = local_host.provider, local_host.instance.id
    assert provider.get(ident).state is InstanceState.ENDING
    assert provider.presence(ident) is Presence.PRESENT
    with pytest.raises(InstanceGone):
        provider.start(ident)
    provider.destroy(ident)
    assert provider.presence(ident) is Presence.GONE


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"label": ""}, BadInput, "label"),
        ({"label": "a\x1b[2Jb"}, BadInput, "label"),
        ({"public_key": "rubbish"}, BadInput, "public_key"),
        ({"public_key": LINE + "\n" + LINE}, BadInput, "public_key"),
        ({"disk_gb": -1.0}, BadInput, "disk_gb"),
        ({"disk_gb": 1e9}, BadInput, "1e+09 GB are more than"),
        ({"disk_gb": math.nan}, BadInput, "disk_gb"),
        ({"env": {"1X": "a"}}, BadInput, "1X"),
        ({"env": {"X": "a\0b"}}, BadInput, "NUL"),
        ({"bid_usd_h": 0.1}, NotSupported, "bid"),
        ({"volumes": {"v": "/v"}}, NotSupported, "volumes"),
    ],
)
def test_a_bad_spec_rents_nothing(
    provider: LocalProvider, change: dict[str, object], error: type[Exception], words: str
) -> None:
    spec = CreateSpec(**{"label": "x", "public_key": LINE} | change)  # type: ignore[arg-type]
    with pytest.raises(error, match=words.replace("+", r"\+")):
        provider.create(the_offer(provider), spec)
    assert provider.instances() == []
    assert not paths.local_dir().exists()


def test_another_clouds_offer_is_refused(provider: LocalProvider) -> None:
    with pytest.raises(OfferGone, match="vast/77"):
        provider.create(Offer(provider="vast", id="77"), CreateSpec(label="x", public_key=LINE))


@pytest.mark.parametrize("value", [-1, "cheap", math.inf, None])
def test_a_price_must_be_one(home: Path, value: object) -> None:
    with pytest.raises(BadInput, match="usd_h"):
        LocalProvider(ProviderConfig(options={"usd_h": value})).search(OfferQuery())


def test_a_home_that_is_no_folder_is_said_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("mine")
    monkeypatch.setenv("GPUNB_HOME", str(blocker / "home"))
    provider = LocalProvider()
    for call in (
        provider.check,
        lambda: provider.create(the_offer(provider), CreateSpec(label="x", public_key=LINE)),
    ):
        with pytest.raises(Unavailable) as caught:
            call()
        assert str(blocker) in caught.value.message
        assert "GPUNB_HOME" in (caught.value.hint or "")
        assert caught.value.bill == "nothing was rented"
    assert provider.instances() == []
    assert blocker.read_text() == "mine"


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_full_or_read_only_home_leaves_nothing_behind(home: Path, tmp_path: Path, how: str) -> None:
    """A file size limit of 0 fails every write as a full disk does; another user's folder is read-only."""
    script = tmp_path / "creator.py"
    paths.private_dir(paths.local_dir())
    limit = "import os, resource\nfrom gpunb.providers.local import LocalProvider, launcher, server\n"
    if how == "full":
        limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    elif os.getuid() == 0:
        limit += "os.setuid(65534)\n"
    else:
        paths.local_dir().chmod(0o500)
    script.write_text(
        limit + "import sys\n"
        "from gpunb.errors import Unavailable\n"
        "from gpunb.providers import CreateSpec, OfferQuery\n"
        "provider = LocalProvider()\n"
        "(offer,) = provider.search(OfferQuery())\n"
        "try:\n"
        f"    provider.create(offer, CreateSpec(label='x', public_key={LINE!r}))\n"
        "except Unavailable as err:\n"
        "    sys.stdout.write(str(err))\n"
    )
    read_end, write_end = os.pipe()  # a pipe is not held to the file size limit
    with subprocess.Popen([sys.executable, script], stdout=write_end, stderr=subprocess.PIPE) as child:
        os.close(write_end)
        with os.fdopen(read_end) as out:
            said = out.read()
        _, errors = child.communicate(timeout=60)
    paths.local_dir().chmod(0o700)
    assert str(paths.local_dir()) in said, (said, errors)
    assert "GPUNB_HOME" in said
    assert "nothing was rented" in said
    assert list(paths.local_dir().iterdir()) == []


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
