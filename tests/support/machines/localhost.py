"""A running local instance, and how the system's own clients reach it."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.providers import Instance, Offer, Provider
    from gpunb.providers.local import LocalProvider

LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFkI0O9r0kQ2bC6Q2oJwYH0QnmJ2v3b6oZr3cO6u0w1C test"
"""A public key whose private half nobody has."""


def key_pair(directory: Path, name: str = "id_ed25519") -> tuple[Path, str]:
    """A new ed25519 key: the private file (0600) and the public line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    path = directory / name
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return path, f"{line} gpunb-test"


@dataclass
class LocalHost:
    """A running local instance and what is needed to reach it."""

    provider: LocalProvider
    instance: Instance
    key: Path
    known_hosts: Path  # not there yet: the first contact pins

    @property
    def directory(self) -> Path:
        return Path(str(self.instance.raw["directory"]))

    @property
    def home(self) -> Path:
        """The home directory on the host, seen from here."""
        return self.directory / "home"

    @property
    def facts(self) -> dict[str, Any]:
        """For ``gpunb.ssh.Endpoint(**host.facts)``."""
        return {
            "host": self.instance.host,
            "port": self.instance.port,
            "user": self.instance.user,
            "key": self.key,
            "known_hosts": self.known_hosts,
            "alias": f"gpunb-{self.instance.id}",
        }

    @property
    def ssh_options(self) -> list[str]:
        """For the system's ssh, scp, sftp and rsync; without port, user and host."""
        options = {
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "StrictHostKeyChecking": "accept-new",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        return ["-F", "none", *(f"-o{name}={value}" for name, value in options.items())]

    @property
    def target(self) -> str:
        return f"{self.instance.user}@{self.instance.host}"

    def ssh(
        self, *command: str, options: tuple[str, ...] = (), stdin: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command on it with the system's ssh."""
        argv = ["ssh", *self.ssh_options, *options, "-p", str(self.instance.port), self.target, *command]
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, check=False)


def the_offer(provider: Provider) -> Offer:
    """The only one that the local provider has."""
    from gpunb.providers import OfferQuery

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
