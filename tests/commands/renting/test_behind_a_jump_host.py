"""A machine that only a jump host can reach: OpenSSH's sshds in two network namespaces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from gpunb.output import show
from tests.support.machines import namespaces, own_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.machines.terminal import Gpunb

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not namespaces.available(), reason="needs root, network namespaces and OpenSSH"),
]

LINES = 12
JOB = f"import time\nfor n in range({LINES}):\n    print('line', n, flush=True)\n    time.sleep(0.5)\n"
SERVER = (
    "import http.server, threading\n"
    "class Page(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers(); self.wfile.write(b'from behind')\n"
    "page = http.server.HTTPServer(('127.0.0.1', 0), Page)\n"
    "threading.Thread(target=page.serve_forever, daemon=True).start()\n"
    "print(page.server_port)"
)


@pytest.fixture
def net(
    gpunb: Gpunb, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[namespaces.Behind]:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    made = namespaces.Behind(tmp_path)
    try:
        made.start()
        home.mkdir(parents=True, exist_ok=True)
        (home / "gpunb.toml").write_text(made.lab.settings())
        yield made
        from gpunb.sessions.access import host_access

        host_access.close_all()
    finally:
        made.stop()


def test_rent_cells_sync_job_forward_killed_client_and_end(
    gpunb: Gpunb, net: namespaces.Behind, tmp_path: Path
) -> None:
    from gpunb.sessions.access import host_access
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.ssh import forward
    from tests.remote.conftest import Screen

    assert not net.reachable_from_here(), "there is a way beside the jump host"
    both = {host.name: host.keys.read_bytes() for host in (net.jump, net.lab)}
    rented = gpunb(
        "rent", "--host", "lab3", "--name", "lab", "--for", "30m", "--yes", "--python", sys.executable
    )
    assert rented.code == 0, rented.err
    with Ledger.open() as ledger:
        session = ledger.one("lab")
    assert (session.host, session.port) == (namespaces.BEHIND, 22)
    assert "-W" in str(session.offer["proxy"])

    client = host_access.agent(session)
    screen = Screen()
    show(client.run_cell(SERVER), screen)
    port = int(screen.text())
    with forward.local(client.connection, "127.0.0.1", port) as there:
        address = f"http://127.0.0.1:{there.port}/"
        assert urllib.request.urlopen(address, timeout=20).read() == b"from behind"

    data = tmp_path / "work" / "data"
    (data / "deep").mkdir(parents=True)
    for number in range(40):
        (data / "deep" / f"{number}").write_bytes(os.urandom(5000 + number))
    (data / "large").write_bytes(os.urandom(24 << 20))  # large enough for connections beside this one
    assert gpunb("sync", "data", "lab:data").code == 0
    for one in data.rglob("*"):
        if one.is_file():
            assert (net.lab.home / "data" / one.relative_to(data)).read_bytes() == one.read_bytes()
    (net.lab.home / "data" / "new").write_text("made there")
    assert gpunb("sync", "lab:data", "data").code == 0
    assert (data / "new").read_text() == "made there"

    (tmp_path / "work" / "job.py").write_text(JOB)
    command = [sys.executable, "-m", "gpunb", "run", "lab", "job.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if "line 2" in line:
                break
        killed.send_signal(signal.SIGKILL)
    until = time.monotonic() + 60
    while (logs := gpunb("logs", "lab")).out.count("line") < LINES:
        assert time.monotonic() < until, (logs.out, logs.err)
        time.sleep(0.5)
    assert [line for line in logs.out.splitlines() if line.startswith("line")] == [
        f"line {number}" for number in range(LINES)
    ]

    ended = gpunb("down", "lab", "--yes")
    assert ended.code == 0, ended.err
    assert {host.name: host.keys.read_bytes() for host in (net.jump, net.lab)} == both
    assert not (net.lab.home / ".gpunb").exists()
    assert not own_hosts.marked(f"GPUNB_FOLDER={net.lab.home}")
    assert not _ways(), "a command of the way there is left"


def _ways() -> list[str]:
    import psutil

    found = []
    for one in psutil.process_iter(["cmdline"]):
        words = " ".join(one.info["cmdline"] or [])
        if namespaces.BEHIND in words and "-W" in words:
            found.append(words)
    return found


def test_a_jump_host_that_is_off_is_named(gpunb: Gpunb, net: namespaces.Behind) -> None:
    rented = gpunb(
        "rent", "--host", "lab3", "--name", "lab", "--for", "30m", "--yes", "--python", sys.executable
    )
    assert rented.code == 0, rented.err
    from gpunb.sessions.access import host_access

    host_access.close_all()
    net.daemons[0].terminate()
    net.daemons[0].wait(10)
    refused = gpunb("exec", "lab", "--", "true")
    assert refused.code != 0
    assert "can't be reached by `ssh" in refused.err
    assert "Connection refused" in refused.err
