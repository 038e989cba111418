"""Fixtures for all: a gpunb home of its own, and a running local instance in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.providers import Instance
    from gpunb.providers.local import LocalProvider


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


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short, empty GPUNB_HOME; local instances that a test leaves are destroyed."""
    short = Path(tempfile.mkdtemp(prefix="gpnb", dir="/tmp"))
    path = short / "home"
    monkeypatch.setenv("GPUNB_HOME", str(path))
    try:
        yield path
    finally:
        from gpunb.providers.local import LocalProvider

        os.environ["GPUNB_HOME"] = str(path)  # the test may have set another
        provider = LocalProvider()
        for instance in provider.instances():
            provider.destroy(instance.id)
        shutil.rmtree(short, ignore_errors=True)


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


@pytest.fixture
def local_host(home: Path, tmp_path: Path) -> Iterator[LocalHost]:
    """A running instance of the local provider; destroyed afterwards."""
    from gpunb.providers import CreateSpec, OfferQuery
    from gpunb.providers.local import LocalProvider

    key, line = key_pair(tmp_path, "session_key")
    provider = LocalProvider()
    (offer,) = provider.search(OfferQuery())
    instance = provider.create(offer, CreateSpec(label="test", public_key=line))
    try:
        yield LocalHost(provider, instance, key, tmp_path / "session_known_hosts")
    finally:
        provider.destroy(instance.id)
