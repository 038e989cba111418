"""A real OpenSSH sshd on loopback, for tests: own config, own keys, own home.

sshd can't bind port 0 and tell which port it got, so a listener of ours does,
and hands each connection to ``sshd -i``, as inetd would.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gpunb.ssh import Endpoint, generate, generate_host_key

if TYPE_CHECKING:
    from collections.abc import Mapping

_SFTP = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server"]


def available() -> bool:
    return _sshd() is not None and _sftp_server() is not None


def _sshd() -> str | None:
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def _sftp_server() -> str | None:
    return next((p for p in _SFTP if Path(p).exists()), None)


class Sshd:
    """`start` listens, `stop` ends it and everything that runs under it; both may be repeated."""

    def __init__(
        self,
        root: Path,
        *,
        sftp: bool = True,
        extra: str = "",
        plain: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`plain`: sessions begin as on any host, without a command of ours, and keys are in the home.

        `env` may be changed later: it is that of the next login (not with `plain`).
        """
        self.env = {"XDG_RUNTIME_DIR": str(root), **(env or {})}
        self.root = root
        self.home = root / "home"
        self.home.mkdir(parents=True)
        self.port = 0
        self.program = str(_sshd())
        self.host_line = ""
        self._sftp, self._extra, self._plain = sftp, extra, plain
        self._listener: socket.socket | None = None
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self.key = generate(root / "session", comment="test")
        self.keys = self.home / ".ssh/authorized_keys" if plain else root / "authorized_keys"
        self.keys.parent.mkdir(exist_ok=True)
        self.keys.write_text(self.key.public_line + "\n")
        self.keys.chmod(0o600)
        self.new_host_key()

    def new_host_key(self) -> None:
        """As a provider that reinstalls the machine does."""
        pem, self.host_line = generate_host_key()
        path = self.root / "host_key"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(pem)

    def endpoint(self, **changes: object) -> Endpoint:
        fields: dict[str, object] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "key": self.key.private,
            "known_hosts": self.root / "session" / "known_hosts",
            "alias": "gpunb-test1",
        }
        return Endpoint(**(fields | changes))  # type: ignore[arg-type]

    def start(self, port: int = 0) -> Sshd:
        config = self.root / "sshd_config"
        # sshd starts every session in the passwd entry's home; tests have their own
        enter = self.root / "enter"
        enter.write_text(
            f"#!/bin/sh\nexport HOME='{self.home}'\n. '{self.root}/env'\ncd \"$HOME\" || exit 97\n"
            'if [ -z "$SSH_ORIGINAL_COMMAND" ]; then exec /bin/sh; fi\n'
            'exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        enter.chmod(0o755)
        self.set_env()
        lines = [
            f"HostKey {self.root}/host_key",
            f"AuthorizedKeysFile {self.keys}",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin yes",
            "PrintMotd no",
            "LogLevel ERROR",
            "MaxSessions 30",
            # the login shell's own start-up files stay out of it
            f'SetEnv "HOME={self.home}" "XDG_RUNTIME_DIR={self.root}"',
        ]
        if not self._plain:
            lines.append(f"ForceCommand {enter}")
        if self._sftp:
            lines.append(f"Subsystem sftp {_sftp_server()}")
        # of each setting sshd takes the first
        config.write_text("\n".join([self._extra, *lines]) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._serve, args=(listener, config), daemon=True).start()
        return self

    def set_env(self, **changes: str) -> None:
        """The environment of logins from now on; an empty value takes a variable away."""
        self.env = {name: value for name, value in {**self.env, **changes}.items() if value}
        beside = self.root / "env.new"
        beside.write_text(
            "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.env.items())
        )
        beside.replace(self.root / "env")

    def stop(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            children, self._children = self._children, []
        for child in children:
            for process in _family(child):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            child.wait(10)

    def freeze(self, *, on: bool = True) -> None:
        """Stop (or continue) every sshd process: TCP still answers, SSH does not."""
        with self._lock:
            for child in self._children:
                for process in _family(child):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.suspend() if on else process.resume()

    def _serve(self, listener: socket.socket, config: Path) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._children = [c for c in self._children if c.poll() is None]
                self._children.append(
                    subprocess.Popen(
                        [self.program, "-i", "-f", str(config), "-E", str(self.root / "sshd.log")],
                        stdin=client,
                        stdout=client,
                        stderr=subprocess.DEVNULL,
                    )
                )
            client.close()


def _family(child: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        process = psutil.Process(child.pid)
        return [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return []
