"""The provider for Fluence: containers, virtual machines and bare metal in one class."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gpunb.errors import (
    AuthFailed,
    BadAnswer,
    BadInput,
    InstanceGone,
    NotSupported,
    OutcomeUnknown,
    ProviderError,
)
from gpunb.hints import typed
from gpunb.providers import keys
from gpunb.providers.base import (
    Account,
    Capability,
    CreateSpec,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
    Provider,
    ProviderConfig,
    RegistryLogin,
    UsageLine,
)
from gpunb.providers.edge.text import clean, segment
from gpunb.providers.features import Images, SshKeys, Templates
from gpunb.providers.fluence import hostkey, validation
from gpunb.providers.fluence.api import NAME, TITLE, NotYet, client
from gpunb.providers.fluence.mapping import (
    container_body,
    credentials,
    instance,
    key_of,
    machine_body,
    settings_of,
    split_id,
    template,
)
from gpunb.providers.fluence.pending_cancellations import Cancelled
from gpunb.providers.fluence.plans import PATHS, container_offers, machine_offers
from gpunb.providers.machine.cloudinit import host_public

if TYPE_CHECKING:
    from gpunb.providers.machine.templates import Template

__all__ = ["FluenceProvider"]

_log = logging.getLogger("gpunb.providers.fluence")

#: Seconds for which a cancelled rental that Fluence does not know is kept on record.
_FORGET_AFTER_S = 3600.0
#: Seconds for which the details may lack an update; after that they count.
_APPLY_S = 180.0


class FluenceProvider(Provider, SshKeys, Images, Templates):
    """The provider for Fluence's GPU cloud.

    Ids of virtual machines and bare metal begin with "vm:" and "bm:", because
    each kind has endpoints of its own. Billing is by clock hours
    (`gpunb.providers.fluence.clock_hours`). `CreateSpec.extra` may hold
    ``location`` for containers.
    Options: ``http`` (further arguments of `ApiClient`) and ``host_key`` (true
    gives containers a host key of ours, `gpunb.providers.fluence.hostkey`).
    """

    name: ClassVar[str] = NAME
    title: ClassVar[str] = TITLE
    key_page: ClassVar[str] = "https://console.fluence.network/settings/api-keys"
    key_variable: ClassVar[str] = "FLUENCE_API_KEY"
    simulation: ClassVar[str] = "gpunb.sim.fluence.cloud:FluenceCloud"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {
            Capability.RENAME,
            Capability.LOGS,
            Capability.EVENTS,
            Capability.USAGE,
            Capability.HOST_KEY,  # where `takes_host_key` says so
            Capability.PORTS,
            Capability.PRIVATE_IMAGES,
            Capability.ENTRYPOINT,  # Fluence runs it by itself
            Capability.START_COMMAND,
            Capability.TEMPLATES,
            Capability.UPDATE,
        }
    )

    def __init__(self, config: ProviderConfig | None = None) -> None:
        super().__init__(config)
        key = self.config.key
        if key is None and (found := keys.find(self.name)):
            key = found.key
        self.http = client(self.config.base_url, key, self.config.options)
        self.cancelled = Cancelled(self.http.base_url)
        self._unbilled: set[str] = set()  # ended, with nothing more to be billed
        self._updates: dict[
            str, tuple[float, dict[str, Any]]
        ] = {}  # until when each update is expected to show, and its values
        self._sshd_up: set[str] = set()  # containers whose log shows that our command reached sshd

    # -- the protocol ------------------------------------------------------------

    def check(self) -> Account:
        """Prove the key by listing the containers, the shortest answer that needs one."""
        found = self.http.call("GET", "/gpu/instances/", expect=list)
        return Account(provider=self.name, message=f"{len(found)} containers in the list")

    def search(self, query: OfferQuery) -> list[Offer]:
        """Return the plans of the kinds asked for; one kind that fails does not hide the others."""
        result: list[Offer] = []
        failed: list[ProviderError] = []
        kinds = [kind for kind in PATHS if not query.kinds or kind in query.kinds]
        for kind in kinds:
            offers = self._plans(kind)
            if isinstance(offers, ProviderError):
                failed.append(offers)
            else:
                result += offers
        if failed and len(failed) == len(kinds):
            raise failed[0]
        return result

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Deploy; the account must hold the price of three hours."""
        kind = offer.kind
        host_key = spec.host_key if self.takes_host_key(offer, spec.extra) else None
        if kind == "container":
            body = container_body(offer, spec, host_key=host_key)
        else:
            body = machine_body(offer, spec)
        answer = self.http.call("POST", f"/gpu/instances/{PATHS[kind]}", json=body, safe=False, effect=True)
        found = answer.get("instance_id")
        if not isinstance(found, str) or not found:
            msg = (
                f"Fluence took the deployment, but its answer has no instance_id: {clean(repr(answer), 160)}"
            )
            raise OutcomeUnknown(msg, provider=self.name, bill="an instance may be running and billed")
        made = instance({"id": found, "name": spec.label, "status": "INITIALIZED"}, kind)
        made.usd_h = offer.usd_h
        made.host_key = host_public(host_key) if host_key else None
        return made

    def takes_host_key(self, offer: Offer, extra: Mapping[str, Any]) -> bool:
        """Return True for containers, if the user has confirmed that the image has sshd."""
        del extra
        return hostkey.wanted(self.config.options) and offer.kind == "container"

    def unfit(self, offer: Offer, spec: CreateSpec) -> str:
        """Refuse ports and images except for containers, and private images of other registries."""
        inside = (spec.ports, spec.login, spec.entrypoint, spec.start_command, spec.template)
        if offer.kind != "container" and any(inside):
            return f"a {offer.kind} of {TITLE} has no ports to open and no image"
        if len(spec.ports) > validation.MOST_PORTS - 1:
            return f"{TITLE} opens {validation.MOST_PORTS} ports, SSH's among them"
        if spec.login and spec.login.server not in validation.REGISTRIES:
            return f"{TITLE} takes private images of {' and '.join(validation.REGISTRIES)} only"
        return super().unfit(offer, spec)

    def instances(self) -> list[Instance]:
        """List instances of all kinds; terminate those that were cancelled too early for it."""
        result: list[Instance] = []
        for kind, path in PATHS.items():
            result += [
                instance(row, kind) for row in self.http.call("GET", f"/gpu/instances/{path}", expect=list)
            ]
        self._end_cancelled(result)
        return result

    def get(self, instance_id: str) -> Instance:
        """Return one instance in detail: address, billing."""
        kind, _ = split_id(instance_id)
        detail = self.detail(instance_id)
        one = instance(detail, kind)
        if instance_id in self.cancelled.ids() and _may_live(one):
            one.state = InstanceState.ENDING
        elif kind == "container" and one.raw_state.startswith("ACTIVE"):
            if self._being_updated(instance_id, detail):
                one.state, one.message = InstanceState.CREATING, "the update is being applied"
            else:
                self._look_at_command(detail, one)
        return one

    def destroy(self, instance_id: str) -> None:
        """Terminate the instance; one that is not ACTIVE yet is recorded, and terminated when it is."""
        kind, _ = split_id(instance_id)
        # recorded first: whatever fails from here on, the next list ends it
        self.cancelled.add(instance_id)
        try:
            one = instance(self.detail(instance_id), kind)
        except InstanceGone:
            self.cancelled.discard(instance_id)
            raise
        if self.ended(one):
            self.cancelled.discard(instance_id)
        elif _initialized(one):
            _log.warning("Fluence ends %s only when it is ACTIVE; it is remembered until then", instance_id)
        else:
            self._delete(instance_id)

    def ended(self, instance: Instance) -> bool:
        """Return whether it ended or failed; such instances stay in the list.

        An ended one costs nothing more. A failed one is refunded whole, by Fluence's page; it counts as
        ended when its own record has no hour to come, which is requested once.
        """
        if _may_live(instance) or instance.id in self._unbilled:
            return not _may_live(instance)
        if instance.raw_state.startswith("FAILED"):
            try:
                detail = self.detail(instance.id)
            except InstanceGone:
                detail = {}
            except ProviderError:
                return False
            billing = detail.get("billing")
            if isinstance(billing, Mapping) and (billing.get("next_billing_period") or _hourly(billing) > 0):
                return False
        self._unbilled.add(instance.id)
        return True

    def rename(self, instance_id: str, label: str) -> None:
        """Rename it. A container is updated whole, so its registry credentials must be public."""
        validation.check_name(label, "label")
        kind, _ = split_id(instance_id)
        if kind == "container":
            self.update(instance_id, name=label)
        else:
            self.http.call("PUT", self._path(instance_id), json={"name": label}, safe=True, expect=None)

    def logs(self, instance_id: str, *, tail: int = 1000) -> str:
        """Return a container's output."""
        return "\n".join(self._lines(instance_id, "logs", tail))

    def usage(self, instance_id: str) -> list[UsageLine]:
        """Return Fluence's own charges for the instance so far."""
        detail = self.detail(instance_id)
        billing = detail.get("billing")
        spent = billing.get("total_spendings") if isinstance(billing, Mapping) else None
        if spent is None:
            return []
        try:
            usd = float(spent)
        except (TypeError, ValueError):
            msg = f"fluence: billing: field total_spendings is {clean(repr(spent), 80)}, not an amount"
            raise BadAnswer(msg, provider=self.name) from None
        return [UsageLine(instance_id=instance_id, kind="gpu", usd=usd)]

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    # -- Fluence only --------------------------------------------------------------

    def detail(self, instance_id: str) -> dict[str, Any]:
        """Return Fluence's own record of one instance."""
        result: dict[str, Any] = self.http.call("GET", self._path(instance_id))
        return result

    def default_images(self) -> list[dict[str, Any]]:
        """List Fluence's default images, with their ports and whether they need an SSH key."""
        return list(self.http.call("GET", "/gpu/default-images/", expect=list))

    def templates(self) -> list[Template]:
        """List the default images as templates."""
        return [one for one in map(template, self.default_images()) if one is not None]

    def template(self, wanted: str) -> Template:
        """Return the one default image with the slug, the name or the reference `wanted`.

        Raises
        ------
        BadInput
            There is none, or several.
        """
        templates = [one for one in self.templates() if wanted in {one.id, one.name, one.image}]
        if len(templates) == 1:
            return templates[0]
        msg = f"template {clean(wanted, 80)!r}: {TITLE} has {len(templates) or 'none'} of that name"
        hint = typed("offers --cloud fluence --templates ''") + " lists its default images"
        raise BadInput(msg, bill="nothing was rented", hint=hint)

    def events(self, instance_id: str, *, tail: int = 100) -> list[str]:
        """Return the cluster's events of a container: scheduling, image, start."""
        return self._lines(instance_id, "events", tail)

    def update(
        self,
        instance_id: str,
        *,
        name: str | None = None,
        image: str | None = None,
        env: Mapping[str, str] | None = None,
        start_command: str | None = None,
        login: RegistryLogin | None = None,
    ) -> bool:
        """Change a container; values not named stay, although Fluence replaces everything.

        A start command of "" is the image's own. Where ours gives sshd its key, ours stays, and the user's
        is started beside it; the answer is whether that is so, and the host key the same as before.

        The ports stay whatever is sent, and the SSH key is sent again: without it a container that is
        made anew would accept no login. Credentials can't be read back: name
        them again for a private image. A second update while one is being
        applied is refused by Fluence (`NotYet`).
        """
        kind, _ = split_id(instance_id)
        if kind != "container":
            msg = f"{TITLE} can only rename a {kind}; for other changes rent another"
            raise NotSupported(msg, provider=self.name)
        detail = self.detail(instance_id)
        settings = settings_of(detail)
        if image is not None:
            settings["image"] = validation.check_image(image)
        ours = hostkey.is_ours(settings.get("startup_command"))
        had = {str(row["name"]): str(row.get("value", "")) for row in settings["environment"]}
        beside = had.get(hostkey.BESIDE, "")
        if env is not None:
            had = dict(env)
        if start_command is not None:
            beside = validation.check_command(start_command)
            if not ours:
                settings["startup_command"] = beside or None
        had.pop(hostkey.BESIDE, None)
        if ours and beside:
            had[hostkey.BESIDE] = beside
        settings["environment"] = validation.check_env(had)
        if login is not None:
            settings["credentials"] = validation.check_credentials(credentials(login))
        settings = {name: value for name, value in settings.items() if value is not None}
        body = {
            "name": validation.check_name(name or str(detail.get("name", ""))),
            "container_settings": settings,
        }
        if key := key_of(detail):
            body["ssh_key"] = key
        self.http.call("PUT", self._path(instance_id), json=body, safe=False, expect=None)
        self._sshd_up.discard(instance_id)
        self._updates[instance_id] = (time.monotonic() + _APPLY_S, _shown(settings))
        return ours

    def _being_updated(self, instance_id: str, detail: Mapping[str, Any]) -> bool:
        """Return whether the container from before the update still runs, by the details."""
        until, wanted = self._updates.get(instance_id, (0.0, {}))
        if time.monotonic() < until and _shown(settings_of(detail)) != wanted:
            return True
        self._updates.pop(instance_id, None)
        return False

    def ssh_keys(self) -> Sequence[Any]:
        """List the account's keys."""
        return list(self.http.call("GET", "/ssh_keys", expect=list))

    def add_ssh_key(self, name: str, public_key: str) -> None:
        """Add a key to the account; one that is there already is fine."""
        body = {"name": name, "publicKey": validation.check_ssh_key(public_key)}
        self.http.call("POST", "/ssh_keys", json=body, safe=True, expect=None)

    def delete_ssh_key(self, fingerprint: str) -> None:
        """Remove a key; running instances keep it."""
        self.http.call("DELETE", "/ssh_keys", params={"fingerprint": fingerprint}, safe=True, expect=None)

    def _plans(self, kind: str) -> list[Offer] | ProviderError:
        try:
            if kind == "container":
                return list(container_offers(self.http.call("GET", "/gpu/plans/", expect=list)))
            return list(machine_offers(self.http.call("GET", f"/gpu/plans/{PATHS[kind]}"), kind))
        except AuthFailed:
            raise
        except ProviderError as err:
            _log.warning("Fluence's %s plans are left out: %s", kind, err.message)
            return err

    def _path(self, instance_id: str) -> str:
        kind, own = split_id(instance_id)
        middle = f"{PATHS[kind]}/" if PATHS[kind] else ""
        return f"/gpu/instances/{middle}{segment(own, TITLE)}"

    def _lines(self, instance_id: str, what: str, tail: int) -> list[str]:
        kind, _ = split_id(instance_id)
        if kind != "container":
            self.refuse(f"show the {what} of a {kind}")
        if tail < 1:
            msg = f"tail {tail} must be 1 or more"
            raise BadInput(msg)
        lines = self.http.call("GET", f"{self._path(instance_id)}/{what}", params={"last": tail}, expect=list)
        return [str(line) for line in lines]

    def _look_at_command(self, detail: Mapping[str, Any], one: Instance) -> None:
        """Mark a container as failed if our command gave up: it never comes up, and is billed until ended."""
        if one.id in self._sshd_up or not hostkey.is_ours(settings_of(detail).get("startup_command")):
            return
        try:
            log = self._lines(one.id, "logs", 50)
        except ProviderError as err:
            _log.info("the log of %s says nothing of its sshd: %s", one.id, err.message)
            return
        if hostkey.started(log):
            self._sshd_up.add(one.id)
        elif why := hostkey.why_stopped(log):
            one.state = InstanceState.FAILED
            one.message = f"{why}, and the option {hostkey.OPTION} of {NAME} starts it; {one.raw_state}"
            one.remedy = hostkey.HINT

    def _delete(self, instance_id: str) -> None:
        try:
            self.http.call("DELETE", self._path(instance_id), safe=True, effect=True, expect=None)
        except NotYet:
            _log.warning("Fluence does not end %s yet; it is remembered", instance_id)

    def _end_cancelled(self, found: list[Instance]) -> None:
        waiting = self.cancelled.ids()
        if not waiting:
            return
        for one in found:
            if one.id not in waiting:
                continue
            waiting.discard(one.id)
            if not _may_live(one):
                self.cancelled.discard(one.id)
                continue
            if not _initialized(one):
                try:
                    self._delete(one.id)
                except ProviderError as err:
                    _log.warning("cancelled %s could not be ended: %s", one.id, err.message)
            one.state = InstanceState.ENDING
            one.message = "cancelled; Fluence ends an instance only when it is ACTIVE"
        for instance_id in waiting:
            if self.cancelled.age(instance_id) > _FORGET_AFTER_S:
                self._forget_if_gone(instance_id)

    def _forget_if_gone(self, instance_id: str) -> None:
        try:
            self.detail(instance_id)
        except InstanceGone:
            self.cancelled.discard(instance_id)
        except ProviderError as err:
            _log.info("cancelled %s is not in the list: %s", instance_id, err.message)


def _shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a container's settings that comes back as it was sent."""
    variables = {str(row.get("name")): row.get("value") for row in settings.get("environment") or ()}
    return {"image": settings.get("image"), "command": settings.get("startup_command"), "env": variables}


def _hourly(billing: Mapping[str, Any]) -> float:
    try:
        return float(billing.get("hourly_usage") or 0.0)
    except (TypeError, ValueError):
        return 0.0


def _initialized(one: Instance) -> bool:
    return one.raw_state.startswith("INITIALIZED")


def _may_live(one: Instance) -> bool:
    """Return whether it is neither ENDED nor FAILED in Fluence's own state; those cost nothing more."""
    return not one.raw_state.startswith(("ENDED", "FAILED"))
