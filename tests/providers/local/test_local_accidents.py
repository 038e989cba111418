"""The local provider where processes are killed, many call at once, files are damaged and ports taken."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from gpunb.errors import InstanceGone, Unavailable
from gpunb.providers import CreateSpec, InstanceState, Presence
from gpunb.providers.local import LocalProvider, processes, running
from gpunb.providers.local.processes import belonging
from tests.support.machines.localhost import LINE, LocalHost, alive, the_offer, until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow


def leave_a_detached_process(host: LocalHost) -> int:
    """A grandchild with a session of its own, as a daemon on the host would be."""
    done = host.ssh("setsid sleep 600 </dev/null >/dev/null 2>&1 & sleep 0.2; pgrep -n -f 'sleep 60[0]'")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


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
@pytest.mark.sample(3)
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


def test_a_client_that_keeps_logging_in_leaves_nothing_behind(local_host: LocalHost) -> None:
    # a notebook's reconnect started an agent again between the last look for processes and the deletion
    stop = threading.Event()
    logins: list[int] = []

    def knock() -> None:
        while not stop.is_set():
            done = local_host.ssh("setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!")
            if done.returncode == 0:
                logins.append(int(done.stdout))

    threads = [threading.Thread(target=knock) for _ in range(4)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 20
    while len(logins) < 4 and time.monotonic() < until:
        time.sleep(0.05)
    local_host.provider.destroy(local_host.instance.id)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert logins
    assert processes.belonging(local_host.instance.id) == []
    assert [pid for pid in logins if processes.token(pid) is not None] == []
