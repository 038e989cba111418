"""Optional features of an instance: bids, deposits, price increases, logs, commands, snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from gpunb.providers.features.asking import lacking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import SecretStr


__all__ = ["Bids", "DaemonLog", "Prepay", "PriceIncrease", "PriceIncreases", "Snapshots", "StoppedCommands"]


@lacking("take bids")
@runtime_checkable
class Bids(Protocol):
    """Machines that go to the highest bid; an outbid one resumes when yours is the highest again."""

    def change_bid(self, instance_id: str, usd_h: float | None) -> None:
        """Bid `usd_h` US dollars an hour for the whole machine; None bids what wins now. Safe to repeat."""


@lacking("take money in advance")
@runtime_checkable
class Prepay(Protocol):
    """Deposits into one instance, for a discount."""

    def prepay(self, instance_id: str, usd: float) -> Mapping[str, Any]:
        """Pay `usd` US dollars; never sent twice. ``discount_rate`` of the answer is a share (0.2)."""

    def deposit(self, instance_id: str) -> Mapping[str, Any]:
        """Return what the instance's deposit holds: ``balance``, US dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceIncrease:
    """A host's request for a higher price of a running contract, to be accepted or refused as a whole.

    Prices are US dollars: an hour for each GPU, a month (30 days) for each GB of disk, for each GB of
    traffic; the platform's fee is a share (0.25). What the host leaves as it is has the same price before
    and after.
    """

    id: int
    instance_id: str
    old_gpu_usd_h: float
    new_gpu_usd_h: float
    old_disk_usd_gb_month: float
    new_disk_usd_gb_month: float
    old_up_usd_gb: float
    new_up_usd_gb: float
    old_down_usd_gb: float
    new_down_usd_gb: float
    old_fee: float
    new_fee: float
    contract_end: float | None
    new_end: float | None

    def hourly(self, gpus: int, disk_gb: float) -> tuple[float, float]:
        """Return US dollars an hour for `gpus` GPUs and `disk_gb` of disk, before and after."""
        old = gpus * self.old_gpu_usd_h + disk_gb * self.old_disk_usd_gb_month / 720.0
        new = gpus * self.new_gpu_usd_h + disk_gb * self.new_disk_usd_gb_month / 720.0
        return old, new


@lacking("tell of hosts that ask for more")
@runtime_checkable
class PriceIncreases(Protocol):
    """Requests of hosts for higher prices of running machines; nothing changes until the answer."""

    def price_increases(self) -> Sequence[PriceIncrease]:
        """List the requests that wait for an answer."""

    def answer_price_increase(self, increase_id: int, *, accept: bool) -> None:
        """Accept a request, or refuse it: the price stays, and the host may end the rental."""


@lacking("show the log of its host's daemon")
@runtime_checkable
class DaemonLog(Protocol):
    """Log of the host's container daemon: why an image could not be pulled."""

    def daemon_log(self, instance_id: str, *, tail: int = 1000) -> str:
        """Return its last `tail` lines."""


@lacking("run anything on a stopped instance")
@runtime_checkable
class StoppedCommands(Protocol):
    """Commands (a few allowed ones) on the disk of a stopped instance."""

    def execute(self, instance_id: str, command: str) -> str:
        """Return the output of `command` (``ls``, ``rm`` or ``du`` with arguments); others are `BadInput`."""


@lacking("make an image of an instance")
@runtime_checkable
class Snapshots(Protocol):
    """Snapshots of a container, pushed as an image to the user's registry."""

    def snapshot(
        self,
        instance_id: str,
        *,
        repository: str,
        user: str,
        password: SecretStr,
        registry: str = "docker.io",
        pause: bool = True,
    ) -> None:
        """Start the push; `pause` holds the container meanwhile. Never sent twice."""
