"""Two machines, one behind the other: sshds in network namespaces of their own. Needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import psutil

from tests.support.machines import own_hosts

if TYPE_CHECKING:
    from pathlib import Path

_NET = f"10.213.{os.getpid() % 250}"
JUMP, BEHIND = f"{_NET}.2", f"{_NET}.130"


def available() -> bool:
    """Whether namespaces can be made here."""
    if os.geteuid() != 0 or shutil.which("ip") is None or not own_hosts.available():
        return False
    return subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Behind:
    """``jump`` can be reached from here; ``lab3`` only from there."""

    def __init__(self, root: Path) -> None:
        self.names = [f"gpnb-{os.getpid()}-{which}" for which in ("jump", "lab3")]
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.jump = own_hosts.OwnHost(root / "jump", name="jump")
        self.lab = own_hosts.OwnHost(root / "lab3")
        for host in (self.jump, self.lab):
            host.sshd.stop()  # they listen in their namespaces
        self.config = root / "config"

    def start(self) -> Behind:
        first, second = self.names
        for name in self.names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        here, there = f"g{os.getpid()}h", f"g{os.getpid()}j"
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", first)
        _ip("addr", "add", f"{_NET}.1/25", "dev", here)
        _ip("link", "set", here, "up")
        _ip("-n", first, "addr", "add", f"{JUMP}/25", "dev", there)
        _ip("-n", first, "link", "set", there, "up")
        _ip("-n", first, "link", "add", "inner", "type", "veth", "peer", "name", "outer", "netns", second)
        for name, device, address in ((first, "inner", f"{_NET}.129"), (second, "outer", BEHIND)):
            _ip("-n", name, "addr", "add", f"{address}/25", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
        _ip("route", "add", "prohibit", f"{_NET}.128/25")  # a default route might lead somewhere
        for name, host in zip(self.names, (self.jump, self.lab), strict=True):
            daemon = ["/usr/sbin/sshd", "-D", "-p", "22", "-f", str(host.root / "sshd_config")]
            daemon += ["-E", str(host.root / "sshd.log"), "-o", f"PidFile={host.root}/pid"]
            self.daemons.append(subprocess.Popen(["ip", "netns", "exec", name, *daemon]))
        self._await(JUMP)
        lines = [f"Host jump\n  HostName {JUMP}", f"Host lab3\n  HostName {BEHIND}\n  ProxyJump jump"]
        for text, host in zip(lines, (self.jump, self.lab), strict=True):
            more = [f"IdentityFile {host.sshd.key.private}", "User root", "IdentitiesOnly yes"]
            more += [f"UserKnownHostsFile {host.known_hosts}", "StrictHostKeyChecking yes"]
            with self.config.open("a") as file:
                file.write("\n  ".join([text, *more]) + "\n")
        self.jump.known_hosts.write_text(f"{JUMP} {self.jump.sshd.host_line}\n")
        self.lab.known_hosts.write_text(f"{BEHIND} {self.lab.sshd.host_line}\n")
        self.lab.config = self.config
        return self

    @staticmethod
    def _await(address: str) -> None:
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection((address, 22), 1):
                return
            assert time.monotonic() < until, "the sshd of the namespace does not listen"
            time.sleep(0.05)

    def reachable_from_here(self) -> bool:
        try:
            socket.create_connection((BEHIND, 22), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        for daemon in self.daemons:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in [*psutil.Process(daemon.pid).children(recursive=True), psutil.Process(daemon.pid)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            daemon.wait(10)
        for host in (self.jump, self.lab):
            host.stop()
        gone = [["netns", "delete", name] for name in self.names]
        for words in (*gone, ["route", "delete", "prohibit", f"{_NET}.128/25"]):
            subprocess.run(["ip", *words], check=False, capture_output=True)
