"""The base class `Provider`, which every cloud subclasses.

A provider is one class in one file. It maps the cloud's own records to
`gpunb.providers.models`, and knows nothing of sessions, SSH or notebooks. Only
`search`, `create`, `instances` and `destroy` (and `check`) must be written; the
rest has a default that calls them or raises `NotSupported`. Features that only
some clouds have are in `gpunb.providers.features`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from gpunb.errors import InstanceGone, ProviderError
from gpunb.providers.models import (
    Account,
    Capability,
    CreateSpec,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
    Presence,
    RegistryLogin,
    UsageLine,
    Volume,
)

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


@dataclass(slots=True, kw_only=True)
class ProviderConfig:
    """Configuration of a provider: its address, the account's key, its own settings."""

    base_url: str | None = None
    key: SecretStr | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Provider(ABC):
    """Base class of all clouds.

    Every method is synchronous, safe to call from several threads, and raises
    a `gpunb.errors.ProviderError`. `create` sends at most one request that can
    rent something: it is never retried, here or by the HTTP client.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    needs_key: ClassVar[bool] = True
    # The environment variable that holds the account's key, the one that the cloud's own client reads;
    # "" stands for NAME_API_KEY.
    key_variable: ClassVar[str] = ""
    # Where a key is made, for people: the cloud's own page.
    key_page: ClassVar[str] = ""
    # The class that simulates it, "package.module:Class", for `gpunb sim` and tests; "" where there is none.
    simulation: ClassVar[str] = ""
    # Seconds for which `instances` may still lack what `create` has just made. Lists were seen
    # to lag by a minute (skypilot#4431); until then "not listed" proves nothing.
    list_lag_s: ClassVar[float] = 120.0
    # Hours of the month for which it names prices: Vast's pages make $720 of a dollar an hour, and the others
    # name prices by the hour only.
    month_h: ClassVar[float] = 720.0
    # Whether a volume is mounted at the path that was asked for; else the cloud chooses the path.
    mounts_where_asked: ClassVar[bool] = False
    # What the cloud does when the account's money is used up, as a clause: "it ends what runs".
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
        """Return US dollars that the account can spend, below zero a debt; None where no call tells it."""
        return None

    @abstractmethod
    def search(self, query: OfferQuery) -> list[Offer]:
        """Search for offers that may fit, in any order; may return more than asked for."""

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
        """List all instances of the account, running or not (all pages)."""

    @abstractmethod
    def destroy(self, instance_id: str) -> None:
        """Request the end of the instance; `presence` tells whether it is gone."""

    def get(self, instance_id: str) -> Instance:
        """Return one instance.

        Raises
        ------
        InstanceGone
            The provider answered, and does not have it.
        """
        for instance in self.instances():
            if instance.id == instance_id:
                return instance
        msg = f"{self.title} has no instance {instance_id}"
        raise InstanceGone(msg, provider=self.name)

    def of_kind(self, kind: str) -> list[Instance]:
        """List instances of one kind only ("container", "vm" or "bare-metal")."""
        return [instance for instance in self.instances() if instance.kind == kind]

    def find(self, label: str) -> list[Instance]:
        """List instances whose label is exactly `label`."""
        return [instance for instance in self.instances() if instance.label == label]

    def presence(self, instance_id: str) -> Presence:
        """Return whether `instance_id` exists; GONE only if the list agrees."""
        try:
            listed = {instance.id: instance for instance in self.instances()}
        except ProviderError:
            return Presence.UNKNOWN
        instance = listed.get(instance_id)
        if instance is not None:
            return Presence.GONE if self.ended(instance) else Presence.PRESENT
        try:
            single = self.get(instance_id)
        except InstanceGone:
            return Presence.GONE
        except ProviderError:
            return Presence.UNKNOWN
        return Presence.GONE if self.ended(single) else Presence.PRESENT

    def ended(self, instance: Instance) -> bool:
        """Return whether `instance` is over but still listed: it costs nothing, and never comes back."""
        return instance.state is InstanceState.GONE

    def stop(self, instance_id: str) -> None:
        """Stop the instance; its disk stays, and is usually billed."""
        self.refuse(Capability.STOP)

    def start(self, instance_id: str) -> None:
        """Start a stopped instance."""
        self.refuse(Capability.STOP)

    def reboot(self, instance_id: str) -> None:
        """Restart the machine; the disk stays."""
        self.refuse(Capability.REBOOT)

    def recycle(self, instance_id: str) -> None:
        """Recreate the container from its image; what is on its disk is lost, the GPU is kept."""
        self.refuse(Capability.RECYCLE)

    def update(
        self,
        instance_id: str,
        *,
        image: str | None = None,
        env: Mapping[str, str] | None = None,
        start_command: str | None = None,
        login: RegistryLogin | None = None,
    ) -> bool:
        """Change a container; None leaves a value as it is. Returns whether its host key stays the same."""
        del instance_id, image, env, start_command, login
        self.refuse(Capability.UPDATE)

    def rename(self, instance_id: str, label: str) -> None:
        """Change the instance's label."""
        self.refuse(Capability.RENAME)

    def logs(self, instance_id: str, *, tail: int = 1000) -> str:
        """Return the last `tail` lines of the instance's own log."""
        self.refuse(Capability.LOGS)

    def events(self, instance_id: str, *, tail: int = 100) -> list[str]:
        """Return the cloud's events of the instance (placed, image pulled, started), oldest first."""
        self.refuse(Capability.EVENTS)

    def host_keys(self, instance_id: str) -> list[str]:
        """Return the SSH host keys (public lines) that the cloud's own channel shows; empty if none is known.

        For clouds where no host key can be injected: a way to the machine's
        output that does not lead through the network in between.
        """
        del instance_id
        return []

    def adopted(self, instance_id: str, public_key: str) -> None:
        """Finish the steps of `create` after its call, for an instance whose answer was lost.

        Called when the instance was found again by its label. Must be safe to repeat.
        """

    def volumes(self) -> list[Volume]:
        """List the account's volumes; each is billed until it is deleted."""
        self.refuse(Capability.VOLUMES)

    def delete_volume(self, volume_id: str) -> None:
        """Delete a volume with its data; its bill ends."""
        self.refuse(Capability.VOLUMES)

    def usage(self, instance_id: str) -> list[UsageLine]:
        """Return the provider's own bill of the instance."""
        self.refuse(Capability.USAGE)

    def usages(self, instance_ids: Sequence[str]) -> list[UsageLine]:
        """Return `usage` of several instances, without those that the cloud no longer knows."""
        out: list[UsageLine] = []
        for ident in instance_ids:
            with suppress(InstanceGone):
                out += self.usage(ident)
        return out

    def can(self, capability: Capability) -> bool:
        """Return whether this cloud has `capability`."""
        return capability in self.capabilities

    def unfit(self, offer: Offer, spec: CreateSpec) -> str:
        """Return why `offer` can't meet `spec`, in a few words; "" if it can, as far as known.

        Asked before a question, so that a yes is not for a machine that lacks what it is rented for, and
        again before the create. `spec` may have no label and no keys yet.
        """
        from gpunb.providers.machine import images, ports

        asked = (
            (spec.ports, Capability.PORTS, "opens no further ports"),
            (ports.same(spec.ports), Capability.SAME_PORTS, "opens ports from 1 to 65535"),
            (spec.login, Capability.PRIVATE_IMAGES, "takes no login for a private image"),
            (spec.template, Capability.TEMPLATES, "has no templates"),
            (spec.onstart, Capability.ONSTART, "runs no script of yours at the start"),
            (spec.ssh_key, Capability.ACCOUNT_KEYS, "puts no SSH key of the account on a machine by its id"),
            (spec.hostname, Capability.HOSTNAME, "does not let you choose the machine's own name"),
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
        """Return whether `create` can give this offer's machine the `CreateSpec.host_key`.

        Asked before the create: the key is pinned then, and must stay pinned
        if the answer is lost.
        """
        del offer, extra
        return self.can(Capability.HOST_KEY)

    def close(self) -> None:
        """Release the provider's connections and other resources."""

    def need(self, capability: Capability) -> None:
        """Raise unless the cloud has `capability`.

        Raises
        ------
        NotSupported
            It has not; the message names the clouds that have.
        """
        if not self.can(capability):
            self.refuse(capability)

    def refuse(self, what: str | Capability) -> NoReturn:
        """Raise `NotSupported`, saying in one sentence what can't be done and which clouds can."""
        from gpunb.providers import features

        raise features.refusal(self, what)
