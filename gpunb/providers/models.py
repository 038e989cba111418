"""Common models of all clouds: offers, instances, volumes, bills, and the parameters of a create call."""

from __future__ import annotations

import enum
import logging
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pydantic import SecretStr

__all__ = [
    "Account",
    "Capability",
    "CreateSpec",
    "Instance",
    "InstanceState",
    "Offer",
    "OfferQuery",
    "Presence",
    "RegistryLogin",
    "UsageLine",
    "Volume",
]

_log = logging.getLogger("gpunb.providers")


class Capability(str, enum.Enum):
    """A feature that only some clouds have."""

    STOP = "stop"
    REBOOT = "reboot"
    RECYCLE = "recycle"
    SPOT = "spot"
    RESERVED = "reserved"
    VOLUMES = "volumes"
    RENAME = "rename"
    LOGS = "logs"
    EVENTS = "events"
    CLOUD_COPY = "cloud-copy"
    HOST_KEY = "host-key"
    SELF_DESTROY = "self-destroy"
    USAGE = "usage"
    PORTS = "ports"
    SAME_PORTS = "same ports"  # numbers from 70000 on ask for the same one outside and inside
    PRIVATE_IMAGES = "private-images"
    TEMPLATES = "templates"
    ONSTART = "onstart"
    ENTRYPOINT = "entrypoint"
    START_COMMAND = "start-command"
    ACCOUNT_KEYS = "account-keys"
    HOSTNAME = "hostname"
    UPDATE = "update"


class InstanceState(str, enum.Enum):
    """An instance's state in gpunb's terms; `Instance.raw_state` keeps the cloud's."""

    CREATING = "creating"
    RUNNING = "running"
    STOPPED = "stopped"
    ENDING = "ending"
    INTERRUPTED = "interrupted"  # outbid or taken back by the host; disk still billed
    OFFLINE = "offline"  # the host lost its network or power
    FAILED = "failed"
    GONE = "gone"
    UNKNOWN = "unknown"


class Presence(str, enum.Enum):
    """Whether the provider still has an instance. UNKNOWN is not GONE."""

    PRESENT = "present"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(slots=True, kw_only=True)
class Offer:
    """An offer: a machine that can be rented now.

    Attributes
    ----------
    gpu
        Normalised GPU model ("H100 SXM"); "" for a machine without one.
    vram_gb
        Memory of one GPU, GB.
    usd_h
        US dollars an hour for the machine while it runs, without disk.
    disk_usd_gb_h
        US dollars an hour for each GB of disk beyond `disk_included_gb`.
    disk_sized
        Whether a create says how large the disk is to be; else it is what comes with the machine,
        `disk_included_gb` where the cloud tells it.
    up_usd_gb, down_usd_gb
        US dollars for each GB sent by / to the host.
    increment_s
        The billing step in seconds; with `clock_hours` a started hour of the
        clock is billed whole, so that a rental of 20 minutes can cost two hours.
    bills_boot
        Whether the gpu is billed while the machine boots (the disk always is). True where
        the cloud does not say.
    bills_offline
        Whether anything is billed while the host is offline. True where the cloud does not say.
    ends
        When the contract ends by the host's own wish, Unix seconds; None where the cloud knows no such end.
    reserve_h
        Hours that the account must be able to pay for before the rental starts.
    inet_up_mbps, inet_down_mbps
        The host's own line, megabits a second; 0 where the cloud does not say.
    trust
        "own", "datacenter" or "stranger", from the provider's facts.
    proxy
        The way to its SSH server, if that is not reached directly; as in `gpunb.ssh.endpoint.Endpoint`.
    raw
        The cloud's own record, unknown fields kept.
    """

    provider: str
    id: str
    gpu: str = ""
    gpu_raw: str = ""
    gpus: int = 0
    vram_gb: float = 0.0
    usd_h: float = 0.0
    disk_usd_gb_h: float = 0.0
    disk_included_gb: float = 0.0
    disk_max_gb: float = math.inf
    disk_sized: bool = True
    up_usd_gb: float = 0.0
    down_usd_gb: float = 0.0
    increment_s: float = 1.0
    clock_hours: bool = False
    bills_boot: bool = True
    bills_offline: bool = True
    ends: float | None = None
    reserve_h: float = 0.0
    rental: str = "on-demand"  # "on-demand", "spot" or "reserved"
    kind: str = "container"  # "container", "vm" or "bare-metal"
    region: str = ""
    country: str = ""
    cpu: str = ""
    cores: float = 0.0
    ram_gb: float = 0.0
    inet_up_mbps: float = 0.0
    inet_down_mbps: float = 0.0
    disk_mbps: float = 0.0
    reliability: float | None = None
    verified: bool = False
    trust: str = "stranger"
    machine_id: str = ""
    host_id: str = ""
    cuda: float | None = None
    available: int = 1
    proxy: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def hourly(self, disk_gb: float = 0.0) -> float:
        """Return US dollars an hour with `disk_gb` GB of disk."""
        extra = disk_gb - self.disk_included_gb
        return self.usd_h + (extra * self.disk_usd_gb_h if extra > 0 else 0.0)

    def billed_h(self, hours: float, *, more: bool = False) -> float:
        """Return the most hours that a rental of `hours` hours is billed for.

        Rounded up to the billing step. Where hours of the clock are billed, a rental touches one more
        than its length has, unless it begins at a full hour.

        Parameters
        ----------
        more
            Whether `hours` come after a time that is paid: its last hour of the clock is paid whole.
        """
        step = 3600.0 if self.clock_hours else self.increment_s
        if step <= 0:
            return hours
        steps = math.ceil(hours * 3600.0 / step - 1e-9)
        if self.clock_hours and steps > 0 and not more:
            steps += 1
        return steps * step / 3600.0

    def total(
        self,
        hours: float,
        *,
        disk_gb: float = 0.0,
        up_gb: float = 0.0,
        down_gb: float = 0.0,
        more: bool = False,
    ) -> float:
        """Return the most US dollars for `hours` hours (`billed_h`), with disk and traffic."""
        machine = self.hourly(disk_gb) * self.billed_h(hours, more=more)
        return machine + up_gb * self.up_usd_gb + down_gb * self.down_usd_gb


@dataclass(slots=True, kw_only=True)
class OfferQuery:
    """The user's search, as far as fields can express it.

    A provider may pass on what its API can filter; whatever it returns is
    filtered again by ``gpunb.offers``. Empty fields do not filter.
    """

    gpus: Sequence[str] = ()
    count_min: int = 0
    count_max: int | None = None
    vram_gb: float = 0.0
    max_usd_h: float | None = None
    regions: Sequence[str] = ()
    kinds: Sequence[str] = ()
    rental: str = "on-demand"
    disk_gb: float = 0.0
    hours: float = 1.0
    up_gb: float = 0.0
    down_gb: float = 0.0
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLogin:
    """Credentials for a private image's registry; the password is shown nowhere."""

    server: str
    user: str
    password: SecretStr


@dataclass(slots=True, kw_only=True)
class CreateSpec:
    """Parameters of a create call beside the offer.

    Attributes
    ----------
    label
        Unique name of the intent; the instance is found by it if the answer is lost.
    public_key
        The session's public key, one OpenSSH line.
    host_key
        A private host key (OpenSSH PEM) to inject, where the cloud can
        (`Provider.takes_host_key`); None elsewhere.
    onstart
        A shell script of the user's, run when the machine starts.
    ports
        Ports to open to the world beside SSH's, ``8000``, ``8000/tcp`` or ``8000/udp``.
    login
        For a private image, the registry's.
    template
        The id of a saved way of starting a container (`gpunb.providers.machine.templates`).
    entrypoint
        The image's own entrypoint as a shell line, to run beside SSH; "" if it need not.
    start_command
        What a container starts instead of its image's own command; "" leaves that.
    ssh_key
        The id of an SSH key of the account that may log in beside `public_key`; "" if none.
    hostname
        The machine's host name; "" leaves it to the cloud.
    deadline
        Unix time at which the lease ends; armed on the host at first boot
        where the cloud runs a script of ours.
    identity
        The folder here that holds the session's private key and its pinned host key. For a machine that no
        cloud's API ends, the provider logs in by it; it goes nowhere. None where there is no session.
    """

    label: str
    public_key: str
    host_key: str | None = None
    image: str | None = None
    disk_gb: float = 0.0
    env: Mapping[str, str] = field(default_factory=dict)
    onstart: str = ""
    ports: Sequence[int | str] = ()
    login: RegistryLogin | None = None
    template: str = ""
    entrypoint: str = ""
    start_command: str = ""
    ssh_key: str = ""
    hostname: str = ""
    bid_usd_h: float | None = None
    volumes: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    identity: Path | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


# upper bounds of an instance's numbers, and the value that stands for "not given"
_SANE: tuple[tuple[str, float, float | None], ...] = (
    ("usd_h", 1e5, 0.0),
    ("stopped_usd_h", 1e5, 0.0),
    ("port", 65_535, 0),
    ("ends", 1e11, None),
    ("created", 1e11, None),
)


@dataclass(slots=True, kw_only=True)
class Instance:
    """A rented machine as its provider sees it.

    `host`, `port` and `user` are empty until the provider knows them;
    `host_key` is an OpenSSH public key line if the provider can vouch for it.
    `usd_h` and `stopped_usd_h` are US dollars an hour, running and stopped.
    `remedy` is what the user can do about a failure that every other offer would meet too.
    `ends` is when the cloud ends the contract by itself, Unix seconds.
    `ports` has the ports beside SSH's that are open to the world: ``{"8000/tcp": "203.0.113.7:40512"}``.
    `kind` is as an offer's, "" where the cloud does not say; `image` (or operating system), `command` and
    `ssh_key` (a name, or the public line) are what it was made of, as far as the cloud tells.

    A number that no machine has (a price of NaN or a billion, a port of 70000) counts as not
    said, with a warning in the log: an instance is never left out for it, and no such price
    reaches a budget, which NaN would never end and a billion at once.
    """

    provider: str
    id: str
    label: str = ""
    state: InstanceState = InstanceState.UNKNOWN
    raw_state: str = ""
    message: str = ""
    remedy: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    host_key: str | None = None
    usd_h: float = 0.0
    stopped_usd_h: float = 0.0
    ends: float | None = None
    ports: Mapping[str, str] = field(default_factory=dict)
    rental: str = "on-demand"
    kind: str = ""
    image: str = ""
    command: str = ""
    ssh_key: str = ""
    created: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, top, unsaid in _SANE:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= top):
                _log.warning("%s: instance %s: %s %.40r is not expected", self.provider, self.id, name, value)
                setattr(self, name, unsaid)


@dataclass(slots=True, kw_only=True)
class Account:
    """The account behind a key, as returned by a harmless call.

    Attributes
    ----------
    spends_from
        The account that pays for a rental by this key, where the cloud says so and it is not obvious.
    """

    provider: str
    user: str = ""
    balance_usd: float | None = None
    message: str = ""
    spends_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A disk that outlives instances, and is billed until it is deleted.

    Attributes
    ----------
    place
        The only place where it can be used: a machine's id, or a region.
    machine_id, cluster_id
        That place where it is one machine or one cluster: `Offer.machine_id`, ``cluster_id`` of `Offer.raw`.
    usd_h
        US dollars an hour; None where the cloud does not say.
    instances
        Ids of the instances that it is attached to now, as far as known.
    ends
        When its host's contract, and with it the data, ends, Unix seconds; None where none is named.
    """

    provider: str
    id: str
    name: str = ""
    size_gb: float = 0.0
    usd_h: float | None = None
    place: str = ""
    machine_id: str = ""
    cluster_id: str = ""
    status: str = ""
    instances: tuple[str, ...] = ()
    ends: float | None = None


@dataclass(slots=True, kw_only=True)
class UsageLine:
    """One line of the provider's own bill, US dollars, Unix times."""

    instance_id: str
    kind: str  # "gpu", "disk", "bandwidth" or the provider's own term
    usd: float
    start: float | None = None
    end: float | None = None
