"""What only some clouds have: one protocol each, one way to ask for it, and one refusal.

A provider has a feature when its class has the methods; it may name the protocol among its bases, so that
mypy compares them. ``isinstance(provider, Bids)`` asks, `feature` goes on with it or refuses and names the
clouds that have it. What is an option of the calls that every cloud has is a `Capability` instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from gpunb.errors import BadInput, NotSupported
from gpunb.providers.models import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import SecretStr

    from gpunb.providers.base import Provider
    from gpunb.providers.models import CreateSpec
    from gpunb.providers.templates import Template

__all__ = [
    "ApiKey",
    "ApiKeys",
    "AttachedKey",
    "AuditEntry",
    "Benchmark",
    "Benchmarks",
    "Bids",
    "CloudConnection",
    "CloudCopy",
    "DaemonLog",
    "Images",
    "InstanceCopy",
    "InstanceKeys",
    "Invoice",
    "MachineReports",
    "Papers",
    "Prepay",
    "PriceIncrease",
    "PriceIncreases",
    "Report",
    "SavedTemplates",
    "ScheduledJob",
    "ScopedKeys",
    "ServedFiles",
    "Snapshots",
    "SshKeys",
    "StoppedCommands",
    "StoppedFiles",
    "Templates",
    "Terms",
    "Variables",
    "VolumeClone",
    "VolumeMarket",
    "VolumeSpace",
    "clouds_with",
    "feature",
    "refusal",
]

_T = TypeVar("_T")

#: What a cloud without it can't do; the words follow "Vast.ai can't".
_WORDS: dict[object, str] = {
    Capability.STOP: "stop an instance and keep it",
    Capability.REBOOT: "reboot an instance",
    Capability.RECYCLE: "make a container anew and keep its GPU",
    Capability.UPDATE: "update a container",
    Capability.RENAME: "rename an instance",
    Capability.LOGS: "show an instance's log",
    Capability.EVENTS: "show an instance's events",
    Capability.VOLUMES: "keep volumes",
    Capability.USAGE: "say what a single instance cost",
}


def _lacking(words: str) -> Callable[[type[_T]], type[_T]]:
    def keep(cls: type[_T]) -> type[_T]:
        _WORDS[cls] = words
        return cls

    return keep


def feature(provider: Provider | type[Provider], wanted: type[_T]) -> _T:
    """`provider`, which has the feature `wanted`; a class is asked for what its instances have.

    Raises
    ------
    NotSupported
        It has not; the message names the clouds that have.
    """
    if issubclass(provider if isinstance(provider, type) else type(provider), wanted):
        return provider  # type: ignore[return-value] # a class has its class methods
    raise refusal(provider, wanted)


def clouds_with(wanted: type | Capability) -> list[type[Provider]]:
    """The installed clouds that have a feature or a capability, by name; a broken one has none."""
    from gpunb.providers import names, provider_class

    found = []
    for name in names():
        try:
            cls = provider_class(name)
        except BadInput:
            continue
        if wanted in cls.capabilities if isinstance(wanted, Capability) else issubclass(cls, wanted):
            found.append(cls)
    return found


def refusal(provider: Provider | type[Provider], wanted: str | Capability | type) -> NotSupported:
    """That `provider` can't do it, and which clouds can."""
    if isinstance(wanted, str) and not isinstance(wanted, Capability):
        return NotSupported(f"{provider.title} can't {wanted}", provider=provider.name)
    titles = [cls.title for cls in clouds_with(wanted)]
    listed = " and ".join(filter(None, [", ".join(titles[:-1]), *titles[-1:]]))
    able = f"; {listed} can" if listed else ""
    words = _WORDS.get(wanted) or str(getattr(wanted, "value", wanted))
    return NotSupported(f"{provider.title} can't {words}{able}", provider=provider.name)


# -- instances


@_lacking("take bids")
@runtime_checkable
class Bids(Protocol):
    """Machines that go to the highest bid, and come back when yours is the highest again."""

    def change_bid(self, instance_id: str, usd_h: float | None) -> None:
        """Bid `usd_h` US dollars an hour for the whole machine; None bids what wins now. Safe to repeat."""


@_lacking("take money in advance")
@runtime_checkable
class Prepay(Protocol):
    """Money paid into one instance, for a discount."""

    def prepay(self, instance_id: str, usd: float) -> Mapping[str, Any]:
        """Pay `usd` US dollars, once: never sent twice. ``discount_rate`` of the answer is a share (0.2)."""

    def deposit(self, instance_id: str) -> Mapping[str, Any]:
        """What an instance holds: ``balance``, US dollars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceIncrease:
    """A host wants more for a running contract. All of it is accepted, or nothing.

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
        """US dollars an hour for a machine of `gpus` GPUs and `disk_gb` of disk, before and after."""
        old = gpus * self.old_gpu_usd_h + disk_gb * self.old_disk_usd_gb_month / 720.0
        new = gpus * self.new_gpu_usd_h + disk_gb * self.new_disk_usd_gb_month / 720.0
        return old, new


@_lacking("tell of hosts that ask for more")
@runtime_checkable
class PriceIncreases(Protocol):
    """Hosts may ask for more for a machine that runs; nothing changes until the answer."""

    def price_increases(self) -> Sequence[PriceIncrease]:
        """Those that wait for an answer."""

    def answer_price_increase(self, increase_id: int, *, accept: bool) -> None:
        """Accept one, or refuse it: the price stays, and the host may end the rental."""


@_lacking("show the log of its host's daemon")
@runtime_checkable
class DaemonLog(Protocol):
    """The log of what starts containers on the host: why an image could not be pulled."""

    def daemon_log(self, instance_id: str, *, tail: int = 1000) -> str:
        """Its last `tail` lines."""


@_lacking("run anything on a stopped instance")
@runtime_checkable
class StoppedCommands(Protocol):
    """A few commands on the disk of a stopped instance."""

    def execute(self, instance_id: str, command: str) -> str:
        """What `command` (``ls``, ``rm`` or ``du`` with its words) prints; other commands are `BadInput`."""


@_lacking("make an image of an instance")
@runtime_checkable
class Snapshots(Protocol):
    """The container as it is now, pushed as an image to a registry of the user's."""

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
        """Begin the push; `pause` holds the container meanwhile. Never sent twice."""


# -- copies that the cloud makes


class CloudConnection(Protocol):
    """An object store that is linked to the account."""

    id: int
    cloud_type: str
    name: str


class ScheduledJob(Protocol):
    """A copy that is made again and again; `request_body` has ``src``, ``dst`` and ``selected``."""

    id: int
    instance_id: int | None
    frequency: str
    hour_of_the_day: int | None
    day_of_the_week: int | None
    end_time: float | None
    request_body: Any


@_lacking("copy between an instance and an object store itself")
@runtime_checkable
class CloudCopy(Protocol):
    """Copies between an instance, also a stopped one, and an object store that is linked to the account."""

    def connections(self) -> Sequence[CloudConnection]:
        """The linked stores."""

    def start_cloud_copy(
        self, instance_id: str, connection: int, source: str, target: str, *, to_instance: bool
    ) -> None:
        """Begin; absolute paths, in the store ``/bucket/path``. Never sent twice."""

    def cancel_cloud_copy(self, instance_id: str) -> None:
        """End it; what it has moved stays."""

    def copy_state(self, message: str) -> bool | None:
        """What an instance's `message` says of its copy: True done, False failed, None neither."""

    def schedule_cloud_copy(
        self,
        instance_id: str,
        connection: int,
        source: str,
        target: str,
        *,
        every: str,
        start: float,
        end: float,
        hour: int | None = None,
        weekday: int | None = None,
    ) -> None:
        """Copy from the instance ``hourly``, ``daily`` or ``weekly`` between two Unix times (UTC hours)."""

    def scheduled_copies(self, instance_id: str | None = None) -> Sequence[ScheduledJob]:
        """Those of an instance, or of all."""

    def end_scheduled_copy(self, job_id: int) -> None:
        """No further copies of this job."""


@_lacking("copy from a stopped instance")
@runtime_checkable
class InstanceCopy(StoppedCommands, Protocol):
    """Copies from one instance, also a stopped one, to one that runs."""

    def copy_between(self, source_id: str, source: str, target_id: str, target: str) -> None:
        """Begin; absolute paths. Never sent twice."""

    def cancel_copy_between(self, target_id: str) -> None:
        """End it; what it has moved stays."""

    def copy_state(self, message: str) -> bool | None:
        """As in `CloudCopy`, of the target's message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFiles:
    """The SSH login, with the instance's key, behind which an rsync daemon has its files as `module`."""

    host: str
    port: int
    user: str
    module: str


@_lacking("give the files of a stopped instance")
@runtime_checkable
class StoppedFiles(StoppedCommands, Protocol):
    """Files of a stopped instance, from the computer that it is on."""

    def serve_files(self, instance_id: str, path: str) -> ServedFiles:
        """Have the computer let rsync come for the absolute `path`."""


# -- volumes


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpace:
    """Room for a volume.

    Attributes
    ----------
    id
        What `VolumeMarket.rent_volume` and `VolumeClone.clone_volume` take.
    where
        What ``volumes --where`` takes: a machine, a cluster, a region. `place` is that in words.
    usd_gb_h
        US dollars an hour for each GB.
    ends
        When the host's contract ends, and the data with it, Unix seconds.
    """

    id: str
    where: str
    place: str
    usd_gb_h: float
    least_gb: float = 1.0
    most_gb: float | None = None
    ends: float | None = None


@_lacking("rent out a volume alone")
@runtime_checkable
class VolumeMarket(Protocol):
    """Volumes that are rented by themselves (`Capability.VOLUMES` lists and ends them)."""

    def volume_market(
        self, size_gb: float, where: str | None = None, *, network: bool = False
    ) -> Sequence[VolumeSpace]:
        """Where `size_gb` can be had now and used at once; with `network` what a whole cluster reaches."""

    def rent_volume(self, space: VolumeSpace, name: str, size_gb: int, *, network: bool = False) -> str:
        """Rent it; returns its id. Never sent twice: a lost answer is `OutcomeUnknown`, `name` finds it."""


@_lacking("copy a volume onto another machine")
@runtime_checkable
class VolumeClone(VolumeMarket, Protocol):
    """A second volume with the same data elsewhere."""

    def clone_volume(
        self, volume_id: str, offer_id: str, *, size_gb: float | None = None
    ) -> Mapping[str, Any]:
        """Rent it at `VolumeSpace.id`. Never sent twice."""


# -- the account


@_lacking("show terms to accept here")
@runtime_checkable
class Terms(Protocol):
    """Terms that must be accepted before the first rental (the setting ``accept_terms`` of the cloud)."""

    @classmethod
    def terms(cls) -> str:
        """Their text, as the cloud words it."""


@_lacking("make a key that may do less")
@runtime_checkable
class ScopedKeys(Protocol):
    """Keys that may do no more than gpunb needs."""

    def create_scoped_key(self, name: str = "gpunb", more: Sequence[str] = ()) -> SecretStr:
        """Make one that may do `more`, in the cloud's words, too; it is shown this once. Never sent twice."""


class ApiKey(Protocol):
    """A key of the account, without the key itself; `permissions` in the cloud's words."""

    id: int
    name: str
    permissions: Any


@_lacking("list its API keys")
@runtime_checkable
class ApiKeys(Protocol):
    """The account's API keys."""

    def api_keys(self) -> Sequence[ApiKey]:
        """All, never with the secret."""

    def delete_api_key(self, key_id: int) -> None:
        """Revoke one."""


@_lacking("list its SSH keys")
@runtime_checkable
class SshKeys(Protocol):
    """The account's SSH keys: machines that are rented later get them."""

    def ssh_keys(self) -> Sequence[Any]:
        """Their records as the cloud words them: id or fingerprint, name, public half."""

    def delete_ssh_key(self, key_id: str, /) -> None:
        """Remove one; machines that run keep it."""


class AttachedKey(Protocol):
    """An SSH key of one instance."""

    id: int

    @property
    def line(self) -> str:
        """The public half, one OpenSSH line."""


@_lacking("show the keys of an instance")
@runtime_checkable
class InstanceKeys(Protocol):
    """The SSH keys that the cloud keeps on one instance."""

    def attached_keys(self, instance_id: str) -> Sequence[AttachedKey]:
        """All of them."""

    def attach_key(self, instance_id: str, public_key: str) -> None:
        """Let one more log in; one that is there already is fine."""

    def detach_key(self, instance_id: str, key_id: int) -> None:
        """Take one off."""


@_lacking("keep variables for an account")
@runtime_checkable
class Variables(Protocol):
    """Variables that every container of the account is given, and every host reads."""

    def env_vars(self) -> Mapping[str, SecretStr]:
        """All of them."""

    def set_env_var(self, name: str, value: SecretStr) -> str:
        """Set one; returns its name as the cloud keeps it."""

    def delete_env_var(self, name: str) -> None:
        """Forget one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """Money that came into an account, or left it otherwise than by a machine's time.

    Attributes
    ----------
    usd
        US dollars; above 0 what came in.
    at
        Unix time, in seconds; None where the cloud does not say.
    kind
        The cloud's word: ``credit``, ``transfer``, ``reserved`` …
    """

    provider: str
    id: str
    at: float | None
    kind: str
    usd: float
    source: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One call that changed something of the account, by whatever program.

    Attributes
    ----------
    what
        Method and path. The call's arguments are left out: they can hold keys.
    """

    provider: str
    at: float | None
    what: str
    address: str = ""
    key_id: str = ""


@_lacking("show invoices and an audit log")
@runtime_checkable
class Papers(Protocol):
    """What a cloud keeps on paper of an account: invoices and an audit log."""

    def invoices(self, *, since: float, until: float) -> Sequence[Invoice]:
        """The invoices from `since` to `until` (Unix time, in seconds), the oldest first."""

    def audit_log(self, *, since: float) -> Sequence[AuditEntry]:
        """What was done from `since` on, the newest first."""


# -- what a cloud shows beside offers


@_lacking("list images of its own")
@runtime_checkable
class Images(Protocol):
    """Images that the cloud keeps for its containers."""

    def default_images(self) -> Sequence[Mapping[str, Any]]:
        """Their records as the cloud words them: ``image``, ``expose``, ``environment``."""


@_lacking("list templates")
@runtime_checkable
class Templates(Protocol):
    """Saved ways of starting a container."""

    def templates(self) -> Sequence[Template]:
        """All that the account sees."""

    def template(self, wanted: str) -> Template:
        """The one with the id, or the name, `wanted`; none or several are `BadInput`."""


@_lacking("keep templates")
@runtime_checkable
class SavedTemplates(Templates, Protocol):
    """Templates of the account."""

    def save_template(self, name: str, spec: CreateSpec) -> tuple[str, bool]:
        """Keep image, variables, ports, scripts and disk of `spec`: its id, and whether one changed."""


class Report(Protocol):
    """What a renter said of a machine; `created_at` as Unix seconds or in the cloud's words."""

    problem: str
    message: str
    created_at: float | str | None


class Benchmark(Protocol):
    """What GPUs reached on a machine; `value` in what its `type` counts, the higher the better."""

    machine_id: int | None
    gpu_name: str
    num_gpus: int
    value: float | None
    type: str
    image: str
    last_update: float | None


@_lacking("show benchmarks")
@runtime_checkable
class Benchmarks(Protocol):
    """What machines reached in the cloud's own tests."""

    def benchmarks(self, of: str) -> Sequence[Benchmark]:
        """The newest of the machine with that number, or of GPUs with such a name."""


@_lacking("show what renters reported")
@runtime_checkable
class MachineReports(Protocol):
    """What renters reported of a machine lately."""

    def machine_reports(self, machine_id: str) -> Sequence[Report]:
        """Reports of the machine with that `Offer.machine_id`."""
