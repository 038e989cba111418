"""What a cloud is to gpunb: offers, instances, and the `Provider` protocol.

A provider is one class in one file. It maps the cloud's own words to the ones
here, and knows nothing of sessions, SSH or notebooks. Only `search`, `create`,
`instances` and `destroy` (and `check`) must be written; the rest has a default
that works through them or says `NotSupported`.
"""

from __future__ import annotations

import enum
import logging
import math
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from gpunb.errors import InstanceGone, NotSupported, ProviderError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    "Provider",
    "ProviderConfig",
    "RegistryLogin",
    "UsageLine",
    "Volume",
]

_log = logging.getLogger("gpunb.providers")


class Capability(str, enum.Enum):
    """Something that only some clouds can do."""

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
    PRIVATE_IMAGES = "private-images"
    TEMPLATES = "templates"
    ONSTART = "onstart"
    ENTRYPOINT = "entrypoint"
    START_COMMAND = "start-command"
    ACCOUNT_KEYS = "account-keys"
    UPDATE = "update"


class InstanceState(str, enum.Enum):
    """An instance's state in gpunb's words; `Instance.raw_state` keeps the cloud's."""

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
    """Whether the provider still has an instance. Unknown is not gone."""

    PRESENT = "present"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(slots=True, kw_only=True)
class Offer:
    """Something rentable now.

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
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def hourly(self, disk_gb: float = 0.0) -> float:
        """US dollars an hour with `disk_gb` GB of disk."""
        extra = disk_gb - self.disk_included_gb
        return self.usd_h + (extra * self.disk_usd_gb_h if extra > 0 else 0.0)

    def billed_h(self, hours: float, *, more: bool = False) -> float:
        """The most hours that a rental of `hours` hours is billed for.

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
        """The most US dollars for `hours` hours (`billed_h`), with disk and traffic."""
        machine = self.hourly(disk_gb) * self.billed_h(hours, more=more)
        return machine + up_gb * self.up_usd_gb + down_gb * self.down_usd_gb


@dataclass(slots=True, kw_only=True)
class OfferQuery:
    """What the user wants, as far as it can be said in fields.

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
    """Who may pull a private image; the password is shown nowhere."""

    server: str
    user: str
    password: SecretStr


@dataclass(slots=True, kw_only=True)
class CreateSpec:
    """Everything that a create call needs beside the offer.

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
        The id of a saved way of starting a container (`gpunb.providers.templates`).
    entrypoint
        The image's own entrypoint as a shell line, to run beside SSH; "" if it need not.
    start_command
        What a container starts instead of its image's own command; "" leaves that.
    ssh_key
        The id of an SSH key of the account that may log in beside `public_key`; "" if none.
    deadline
        Unix time at which the lease ends; armed on the host at first boot
        where the cloud runs a script of ours.
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
    bid_usd_h: float | None = None
    volumes: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


# of an instance's numbers: the highest that there could be, and what stands for "not said"
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
    """The account behind a key: what a harmless call says of it.

    Attributes
    ----------
    spends_from
        Whose money a rental by this key costs, where the cloud says so and it is worth a word.
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
        Where alone it can be used: a machine's id, or a region.
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
    status: str = ""
    instances: tuple[str, ...] = ()
    ends: float | None = None


@dataclass(slots=True, kw_only=True)
class UsageLine:
    """One line of the provider's own bill, US dollars, Unix times."""

    instance_id: str
    kind: str  # "gpu", "disk", "bandwidth" or the provider's word
    usd: float
    start: float | None = None
    end: float | None = None


@dataclass(slots=True, kw_only=True)
class ProviderConfig:
    """What a provider is given: its address, the account's key, its own settings."""

    base_url: str | None = None
    key: SecretStr | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Provider(ABC):
    """One cloud.

    Every method is synchronous, safe to call from several threads, and raises
    a `gpunb.errors.ProviderError`. `create` sends at most one request that can
    rent something: it is never retried, here or by the HTTP client.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    needs_key: ClassVar[bool] = True
    # Seconds for which `instances` may still lack what `create` has just made. Lists were seen
    # to lag by a minute (skypilot#4431); until then "not listed" proves nothing.
    list_lag_s: ClassVar[float] = 120.0
    # Hours of the month for which it names prices: Vast's pages make $720 of a dollar an hour, and the others
    # name prices by the hour only.
    month_h: ClassVar[float] = 720.0
    # What it does when the account's money is used up, a clause: "it ends what runs".
    broke: ClassVar[str] = "what runs is ended"

    def __init__(self, config: ProviderConfig | None = None) -> None:
        self.config = config or ProviderConfig()

    @abstractmethod
    def check(self) -> Account:
        """Prove with one harmless call that the key works.

        Raises
        ------
        AuthFailed
            The key is missing, wrong or lacks a scope.
        """

    def balance(self) -> float | None:
        """US dollars that the account can spend, below zero a debt; None where no call tells it."""
        return None

    @abstractmethod
    def search(self, query: OfferQuery) -> list[Offer]:
        """Offers that may fit, in any order; may return more than asked for."""

    @abstractmethod
    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Rent `offer`. Returns as soon as the id is known, before it boots.

        Raises
        ------
        OfferGone, NoFunds, BadInput, AuthFailed, RateLimited
            Nothing was rented (``effect == "none"``).
        OutcomeUnknown
            The request was sent and it is not known what it did.
        """

    @abstractmethod
    def instances(self) -> list[Instance]:
        """All instances of the account, running or not (all pages)."""

    @abstractmethod
    def destroy(self, instance_id: str) -> None:
        """Ask for the end. That it is gone is for `presence` to say."""

    def get(self, instance_id: str) -> Instance:
        """One instance.

        Raises
        ------
        InstanceGone
            The provider answered, and does not have it.
        """
        for found in self.instances():
            if found.id == instance_id:
                return found
        msg = f"{self.title} has no instance {instance_id}"
        raise InstanceGone(msg, provider=self.name)

    def of_kind(self, kind: str) -> list[Instance]:
        """Instances of one kind ("container", "vm" or "bare-metal") alone."""
        return [found for found in self.instances() if found.kind == kind]

    def find(self, label: str) -> list[Instance]:
        """Instances whose label is exactly `label`."""
        return [found for found in self.instances() if found.label == label]

    def presence(self, instance_id: str) -> Presence:
        """Whether `instance_id` is there. Gone only if the list agrees."""
        try:
            listed = {found.id: found for found in self.instances()}
        except ProviderError:
            return Presence.UNKNOWN
        found = listed.get(instance_id)
        if found is not None:
            return Presence.GONE if self.ended(found) else Presence.PRESENT
        try:
            single = self.get(instance_id)
        except InstanceGone:
            return Presence.GONE
        except ProviderError:
            return Presence.UNKNOWN
        return Presence.GONE if self.ended(single) else Presence.PRESENT

    def ended(self, instance: Instance) -> bool:
        """Whether `instance` is listed only as a memory: it costs nothing, and never comes back."""
        return instance.state is InstanceState.GONE

    def stop(self, instance_id: str) -> None:
        """Stop it; the disk stays, and is usually billed."""
        self.refuse("stop an instance and keep it")

    def start(self, instance_id: str) -> None:
        """Start a stopped instance."""
        self.refuse("start a stopped instance")

    def reboot(self, instance_id: str) -> None:
        """Restart the machine; the disk stays."""
        self.refuse("reboot an instance")

    def recycle(self, instance_id: str) -> None:
        """Make the container anew from its image; what is on its disk is lost, the GPU is kept."""
        self.refuse("make a container anew and keep its GPU")

    def update(
        self,
        instance_id: str,
        *,
        image: str | None = None,
        env: Mapping[str, str] | None = None,
        start_command: str | None = None,
        login: RegistryLogin | None = None,
    ) -> bool:
        """Change a container, None stays as it is; tells whether it keeps its host key."""
        del instance_id, image, env, start_command, login
        self.refuse("update a container")

    def rename(self, instance_id: str, label: str) -> None:
        """Give it another label."""
        self.refuse("rename an instance")

    def logs(self, instance_id: str, *, tail: int = 1000) -> str:
        """The last `tail` lines of the instance's own log."""
        self.refuse("show an instance's log")

    def events(self, instance_id: str, *, tail: int = 100) -> list[str]:
        """What the cloud says of the instance's way: placed, image pulled, started; oldest first."""
        self.refuse("show an instance's events")

    def host_keys(self, instance_id: str) -> list[str]:
        """The SSH host keys (public lines) that the cloud's own channel shows; empty if none is known.

        For clouds where no host key can be injected: a way to the machine's
        own words that does not lead through the network in between.
        """
        del instance_id
        return []

    def adopted(self, instance_id: str, public_key: str) -> None:
        """Finish what `create` does after its call, for an instance whose answer was lost.

        Called when the instance was found again by its label. Must be safe to repeat.
        """

    def volumes(self) -> list[Volume]:
        """The account's volumes; each is billed until it is deleted."""
        self.refuse("keep volumes")

    def delete_volume(self, volume_id: str) -> None:
        """End a volume, its data and its bill."""
        self.refuse("delete volumes")

    def usage(self, instance_id: str) -> list[UsageLine]:
        """What the provider itself says that the instance cost."""
        self.refuse("say what a single instance cost")

    def usages(self, instance_ids: Sequence[str]) -> list[UsageLine]:
        """`usage` of several instances; one that the cloud knows no more is left out."""
        out: list[UsageLine] = []
        for ident in instance_ids:
            with suppress(InstanceGone):
                out += self.usage(ident)
        return out

    def can(self, capability: Capability) -> bool:
        """Whether this cloud has `capability`."""
        return capability in self.capabilities

    def unfit(self, offer: Offer, spec: CreateSpec) -> str:
        """Why `offer` can't be what `spec` asks for, in a few words; "" if it can, as far as known.

        Asked before a question, so that a yes is not for a machine that lacks what it is rented for, and
        again before the create. `spec` may have no label and no keys yet.
        """
        from gpunb.providers import images

        asked = (
            (spec.ports, Capability.PORTS, "opens no further ports"),
            (spec.login, Capability.PRIVATE_IMAGES, "takes no login for a private image"),
            (spec.template, Capability.TEMPLATES, "has no templates"),
            (spec.onstart, Capability.ONSTART, "runs no script of yours at the start"),
            (spec.ssh_key, Capability.ACCOUNT_KEYS, "puts no SSH key of the account on a machine by its id"),
            (spec.entrypoint, Capability.ENTRYPOINT, "can't run the image's own entrypoint beside SSH"),
            (
                spec.start_command,
                Capability.START_COMMAND,
                "starts no command of yours instead of the image's",
            ),
        )
        if spec.image and offer.kind == "container" and (why := images.misfit(offer, spec.image)):
            return why
        lacks = [words for value, needed, words in asked if value and not self.can(needed)]
        return f"{self.title} {lacks[0]}" if lacks else ""

    def takes_host_key(self, offer: Offer, extra: Mapping[str, Any]) -> bool:
        """Whether `create` gives this offer's machine the `CreateSpec.host_key`.

        Asked before the create: the key is pinned then, and must stay pinned
        if the answer is lost.
        """
        del offer, extra
        return self.can(Capability.HOST_KEY)

    def close(self) -> None:
        """Free what the provider holds open."""

    def refuse(self, what: str) -> NoReturn:
        """Raise `NotSupported` with one sentence that says what can't be done."""
        msg = f"{self.title} can't {what}"
        raise NotSupported(msg, provider=self.name)
