"""Machines of the user's own, which a cloud of them lists, looks at and is narrowed to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gpunb.providers.features.asking import lacking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Gpu", "Host", "Machine", "OwnHosts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine of the user's.

    Attributes
    ----------
    name
        The table's name, or the address as it was typed.
    address
        What is given to ssh: ``lab3`` or ``me@10.0.0.7``.
    port
        0 leaves it to the ssh configuration.
    price_usd_h
        What an hour of the whole machine is worth, US dollars.
    gpus
        The numbers of the GPUs that may be given out; None is all.
    share
        Whether a GPU may be given to a session while others compute on it.
    """

    name: str
    address: str
    port: int = 0
    price_usd_h: float = 0.0
    trust: str = "datacenter"
    gpus: tuple[int, ...] | None = None
    tags: tuple[str, ...] = ()
    share: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU of the machine; `taken` says by whom, "" if nobody computes on it."""

    number: int
    name: str
    vram_gb: float
    taken: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as the probe saw it.

    Attributes
    ----------
    reached, proxy
        Its user, address and port, and the command of the way there ("" if it is direct).
    labels
        The instances of gpunb there, of other installations too.
    left
        Id and label of what a rental of this installation left there that was broken off: nothing here
        knows of it any more.
    python
        The Python that the agent could use; "" if there is none.
    """

    host: Host
    reached: str
    proxy: str
    user: str
    cores: float
    ram_gb: float
    disk_gb: float
    cpu: str
    python: str
    gpus: tuple[Gpu, ...]
    labels: tuple[str, ...]
    left: tuple[tuple[str, str], ...] = ()

    @property
    def free(self) -> list[Gpu]:
        """The GPUs that can be given out now."""
        allowed = [gpu for gpu in self.gpus if self.host.gpus is None or gpu.number in self.host.gpus]
        return [gpu for gpu in allowed if self.host.share or not gpu.taken]


@lacking("rent machines of your own")
@runtime_checkable
class OwnHosts(Protocol):
    """Machines that the user can log in to."""

    def only(self, names: Sequence[str]) -> None:
        """Search these alone: names of the settings, or addresses."""

    def hosts(self) -> list[Host]:
        """List those that a search looks at."""

    def table(self, name: str, values: Mapping[str, Any]) -> Host:
        """Read a table of the settings before it is written; `BadInput` names what breaks a rule."""

    def look(self, host: Host, *, ask: bool = False) -> Machine:
        """See what one is and what of it is free; `ask` lets ssh ask for a password at the terminal."""

    def clean(self, host: Host, left: Sequence[Sequence[str]]) -> list[str]:
        """Remove what broken-off rentals of this installation left there; returns the labels."""

    def stays(self, instance_id: str) -> str:
        """Say what is on its machine until it has ended."""

    def drop(self, instance_id: str) -> None:
        """Know of it no more, though its end is not confirmed."""
