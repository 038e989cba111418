"""Interface of the hosts behind simulated instances, and `PaperHosts` without sockets.

`PaperHosts` only hands out addresses: chaos schedules and protocol tests need no
more. ``gpunb.sim.hosts.real`` starts a real SSH server for each instance.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["NOWHERE", "Host", "HostSpec", "Hosts", "PaperHosts"]

#: An address at which nothing listens: a container that never starts.
NOWHERE = ("127.0.0.1", 1)


@dataclass(slots=True, kw_only=True)
class HostSpec:
    """The specification of a host.

    Attributes
    ----------
    id
        The instance's id; unique in one simulation.
    public_keys
        OpenSSH lines that may log in.
    host_key
        A private host key (OpenSSH PEM) to use, or None for one of its own.
    gpu, gpus, vram_mib
        What ``nvidia-smi`` shows; no GPU, no ``nvidia-smi``.
    cuda
        The CUDA version of the driver.
    gpu_trouble
        "dead" for GPUs that can't allocate, "lost" for an ``nvidia-smi`` that fails.
    onstart
        A shell script to run once at first boot; with `onstart_always` at each start.
    command, image
        A container's start command, in place of the entrypoint of its image: it alone decides
        which keys count then. `PaperHosts` does not run it.
    """

    id: str
    user: str = "root"
    public_keys: Sequence[str] = ()
    host_key: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    onstart: str = ""
    onstart_always: bool = False
    command: str = ""
    image: str = ""
    gpu: str = ""
    gpus: int = 0
    vram_mib: int = 0
    cuda: float = 12.4
    gpu_trouble: str = ""


@dataclass(slots=True)
class Host:
    """A host's address.

    `output` is what its start command printed; `exited` says that it ended, and
    that nothing listens.
    """

    address: str
    port: int
    user: str
    host_public: str = ""
    handle: Any = None
    output: Sequence[str] = ()
    exited: bool = False


class Hosts(Protocol):
    """Launches and ends hosts. Methods may take seconds; each is called from a thread of its own."""

    real: bool

    def launch(self, spec: HostSpec) -> Host:
        """Start a host and wait until its SSH server listens."""

    def authorize(self, host: Host, public_keys: Sequence[str]) -> None:
        """Add keys that may log in."""

    def stop(self, host: Host) -> None:
        """Power off the host; the disk stays."""

    def wipe(self, host: Host) -> None:
        """Power off the host and erase its disk; authorized keys stay."""

    def copy(self, host: Host, source: str, other: Host, target: str) -> None:
        """Copy files from one host's disk to another's; either may be off."""

    def serve_files(self, host: Host, module: str, user: str) -> tuple[str, int]:
        """Return the SSH address that serves its disk by rsync as `module`, also while off."""

    def files(self, host: Host) -> dict[str, int]:
        """List the files on its disk with their sizes, if there is a disk."""

    def remove(self, host: Host, path: str) -> None:
        """Delete one file."""

    def start(self, host: Host) -> Host:
        """Power on the host again; the address may have changed."""

    def terminate(self, host: Host) -> None:
        """End the host, and delete everything of it."""

    def close(self) -> None:
        """End all hosts."""


class PaperHosts:
    """Hosts that are only an address (TEST-NET-3, RFC 5737): nothing listens there."""

    real = False

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.alive: dict[str, Host] = {}

    def launch(self, spec: HostSpec) -> Host:
        """Return the next address."""
        number = next(self._numbers)
        host = Host(f"203.0.113.{number % 254 + 1}", 20000 + number % 40000, spec.user, handle=spec.id)
        self.alive[spec.id] = host
        return host

    def authorize(self, host: Host, public_keys: Sequence[str]) -> None:
        """Do nothing."""

    def serve_files(self, host: Host, module: str, user: str) -> tuple[str, int]:  # noqa: ARG002
        """Return the machine's own address; nothing listens there."""
        return host.address, host.port

    def stop(self, host: Host) -> None:
        """Do nothing."""

    def wipe(self, host: Host) -> None:
        """Do nothing."""

    def copy(self, host: Host, source: str, other: Host, target: str) -> None:
        """Do nothing."""

    def files(self, host: Host) -> dict[str, int]:  # noqa: ARG002 - the protocol's names
        """Return no files."""
        return {}

    def remove(self, host: Host, path: str) -> None:
        """Do nothing."""

    def start(self, host: Host) -> Host:
        """Return the same address as before."""
        return host

    def terminate(self, host: Host) -> None:
        """Forget the host."""
        self.alive.pop(host.handle, None)

    def close(self) -> None:
        """Forget all hosts."""
        self.alive.clear()
