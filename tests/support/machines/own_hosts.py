"""Machines of one's own: real sshds with the ssh configuration of the user who may log in to them."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gpunb.agent.shared import processes
from gpunb.providers import CreateSpec, OfferQuery, ProviderConfig
from gpunb.providers.ssh import SshProvider
from gpunb.ssh import generate
from tests.support.machines import sshd as support
from tests.support.machines.localhost import LocalHost

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gpunb.providers import Instance
    from gpunb.providers.base import Provider

KEEPS = b"# my keys\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFkI0O9r0kQ2bC6Q2oJwYH0Qn a\xff\xfe\n"


class OwnHost:
    """An sshd, known to the user's ssh as ``lab3``; the user's key and known_hosts are in `config` alone.

    The machine's account has a home of its own, and never that of whoever runs the tests.
    """

    def __init__(self, root: Path, *, name: str = "lab3", extra: str = "", sftp: bool = True) -> None:
        self.sshd = support.Sshd(root, plain=True, extra=extra, sftp=sftp)
        self.name, self.root, self.home = name, root, self.sshd.home
        with self.sshd.keys.open("ab") as file:
            file.write(KEEPS)
        self.config = root / "ssh_config"
        self.known_hosts = root / "known_hosts"
        self.sshd.start()
        self.configure()

    def configure(self, **more: str) -> None:
        """Write the user's ssh configuration."""
        lines = {
            "HostName": "127.0.0.1",
            "Port": str(self.sshd.port),
            "User": getpass.getuser(),
            "IdentityFile": str(self.sshd.key.private),
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            **more,
        }
        self.config.write_text(
            f"Host {self.name}\n" + "".join(f"  {key} {value}\n" for key, value in lines.items())
        )
        self.known_hosts.write_text(f"[127.0.0.1]:{self.sshd.port} {self.sshd.host_line}\n")

    def options(self, **table: Any) -> dict[str, Any]:
        return {"config": str(self.config), "hosts": {self.name: {"address": self.name, **table}}}

    def provider(self, **table: Any) -> SshProvider:
        return SshProvider(ProviderConfig(options=self.options(**table)))

    def settings(self, **table: Any) -> str:
        """The user's settings file that lists the machine."""
        more = "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
        return (
            f'[providers.ssh]\nconfig = "{self.config}"\n\n'
            f'[providers.ssh.hosts.{self.name}]\naddress = "{self.name}"\n{more}'
        )

    @property
    def keys(self) -> Path:
        return self.sshd.keys

    def bashrc(self, text: str) -> None:
        """What the machine's login shell reads first."""
        (self.home / ".bashrc").write_text(text)

    def stop(self) -> None:
        processes.end_tree(None, f"HOME={self.home}", grace=1.0)
        self.sshd.stop()


def wanted() -> bool:
    """Whether what rents from `local` shall rent from a machine of provider ssh: ``TEST_HOSTS=ssh``."""
    which = os.environ.get("TEST_HOSTS", "local")
    assert which in {"local", "ssh"}, "TEST_HOSTS is local or ssh"
    return which == "ssh"


CLOUD = "ssh" if wanted() else "local"
"""What is rented from."""
HOME = "/own-host/home" if wanted() else "/local/"
"""What is in the path of a home folder there."""
only_local = pytest.mark.skipif(wanted(), reason="a machine of one's own is never stopped or killed")
_the_cloud: list[OwnHost] = []


@contextlib.contextmanager
def the_cloud(home: Path, root: Path) -> Iterator[OwnHost]:
    """A machine that is the only cloud of this GPUNB_HOME, with the Python of the tests."""
    from gpunb.sessions.access import host_access

    host = OwnHost(root / "own-host")
    home.mkdir(parents=True, exist_ok=True)
    settings = f'clouds = ["ssh"]\npython = "{sys.executable}"\n{host.settings(trust="own")}'
    (home / "gpunb.toml").write_text(settings)
    _the_cloud.append(host)
    try:
        yield host
        host_access.close_all()
    finally:
        _the_cloud.remove(host)
        host.stop()


def provider() -> Provider:
    """The cloud `CLOUD` of this GPUNB_HOME."""
    from gpunb.providers.local import LocalProvider

    return _the_cloud[-1].provider(trust="own") if wanted() else LocalProvider()


def instances() -> list[Instance]:
    """What is rented there."""
    return provider().instances()


def home_of(home: Path, instance_id: str = "*") -> Path:
    """The home folder of the only instance that is there, or of that one."""
    if wanted():
        return _the_cloud[-1].home
    (found,) = (home / "local").glob(f"{instance_id}/home")
    return found


class RentedHost(LocalHost):
    """A rented machine of provider ssh, for what is written for one of provider local."""

    machine: OwnHost

    @property
    def directory(self) -> Path:
        return self.machine.root

    @property
    def home(self) -> Path:
        return self.machine.home


@contextlib.contextmanager
def rented_host(root: Path) -> Iterator[RentedHost]:
    """A machine on which a session's key and folder are."""
    machine = OwnHost(root / "lab3")
    provider = machine.provider(trust="own")
    try:
        (offer,) = provider.search(OfferQuery())
        key = generate(root / "session_key", comment="test")
        spec = CreateSpec(label="test", public_key=key.public_line, identity=root / "session_key")
        made = provider.create(offer, spec)
        host = RentedHost(provider, made, key.private, root / "session_known_hosts")  # type: ignore[arg-type]
        host.machine = machine
        yield host
        provider.destroy(made.id)
    finally:
        machine.stop()


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def snapshot(home: Path) -> Mapping[str, tuple[int, bytes]]:
    """Every file below `home`, with its mode and its bytes."""
    return {
        str(one.relative_to(home)): (one.lstat().st_mode & 0o777, one.read_bytes() if one.is_file() else b"")
        for one in sorted(home.rglob("*"))
    }


def marked(text: str) -> list[int]:
    """Processes whose environment holds `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if text.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def available() -> bool:
    return support.available() and shutil.which("ssh") is not None
