"""The user's request when renting, beside the offer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb.providers.base import CreateSpec, RegistryLogin
from gpunb.providers.machine import ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.sessions.lifecycle.agreement import Agreement
    from gpunb.sessions.model import Lease

__all__ = ["RentRequest"]

# variables whose values stay out of the ledger: by their names, or as a URL with a password
_SECRET = re.compile(r"key|token|secret|passw|pwd|credential|auth", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]*@")


@dataclass(slots=True, kw_only=True)
class RentRequest:
    """The options of a rental beside the offer.

    Attributes
    ----------
    name
        The session's name; None makes one from the GPU ("h100-1").
    hours, idle_s, budget_usd, budget_most
        The lease, see `gpunb.sessions.cost.lease.lease_for`.
    disk_gb
        GB of disk.
    onstart, ports, login, template, entrypoint, start_command, ssh_key, hostname
        As in `gpunb.providers.base.CreateSpec`.
    save, save_to
        Paths on the host to bring back before the end, and the folder here ("" is the
        present one).
    python
        The host's Python for cells; "" finds it.
    boot_s
        Seconds until SSH must answer; None is `Timing.boot`.
    image_gb
        Size of the image in GB, compressed, if known; 0 is the usual one.
    count_ssh
        Whether a login at the host's terminal counts as activity.
    check
        The start check's tolerances (`gpunb.sessions.start_check.Limits`); None for no check.
    agreed
        What was agreed to; None is the first offer, see `gpunb.sessions.lifecycle.agreement`.
    renter
        The marks of the notebook or shell that rents (`gpunb.sessions.access.renter`), with spaces between.
    ends_with
        The id of the run whose end ends the session, see `gpunb.sessions.lifecycle.run_end`.
    moves_from
        The id of the session that the new one is to take the place of, see `gpunb.services.moving`.
    again
        How its run goes on when its machine is taken, see `gpunb.sessions.attempts`.
    requested
        The id of a requested session in the ledger that gets the machine; "" makes a new session. If nothing
        can be rented for it, it stays requested.
    lease
        The lease that all members of a group have; it is not made from the offer then.
    until
        Unix time at which the lease ends at the latest, however long the rental takes.
    """

    name: str | None = None
    hours: float | None = None
    idle_s: float | None = None
    budget_usd: float | None = None
    budget_most: float | None = None
    disk_gb: float = 0.0
    image: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    onstart: str = ""
    ports: Sequence[int | str] = ()
    login: RegistryLogin | None = None
    template: str = ""
    entrypoint: str = ""
    start_command: str = ""
    ssh_key: str = ""
    hostname: str = ""
    volumes: Mapping[str, str] = field(default_factory=dict)
    bid_usd_h: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    save: Sequence[str] = ()
    save_to: str = ""
    python: str = ""
    boot_s: float | None = None
    image_gb: float = 0.0
    count_ssh: bool = False
    check: Mapping[str, float] | None = None
    agreed: Agreement | None = None
    renter: str = ""
    ends_with: str = ""
    moves_from: str = ""
    again: Mapping[str, Any] = field(default_factory=dict)
    requested: str = ""
    lease: Lease | None = None
    until: float | None = None

    def spec(self, **more: Any) -> CreateSpec:
        """Build the create call's fields; `more` are those that differ from offer to offer."""
        return CreateSpec(
            image=self.image,
            disk_gb=self.disk_gb,
            env=dict(self.env),
            onstart=self.onstart,
            ports=ports.wanted(self.ports),
            login=self.login,
            template=self.template,
            entrypoint=self.entrypoint,
            start_command=self.start_command,
            ssh_key=self.ssh_key,
            hostname=self.hostname,
            bid_usd_h=self.bid_usd_h,
            volumes=dict(self.volumes),
            extra=dict(self.extra),
            **{"label": "", "public_key": "", **more},
        )

    def recorded(self) -> dict[str, Any]:
        """What the ledger keeps of it for a move: variables, None for a secret's value; names of the rest."""
        further = ("onstart", "login", "template", "entrypoint", "start_command", "ssh_key", "hostname")
        return {
            "env": {
                name: None if _SECRET.search(name) or _PASSWORD.search(value) else value
                for name, value in self.env.items()
            },
            "further": [name.replace("_", "-") for name in further if getattr(self, name)],
        }
