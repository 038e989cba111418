"""The provider for Vast.ai: a market of hosts, from data centres to private machines.

Facts from Vast's documentation, its published client ``vastai`` 1.9.1, and
the issue threads named where they matter.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpunb.errors import (
    BadAnswer,
    BadInput,
    GpunbError,
    InstanceGone,
    OfferGone,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Unavailable,
)
from gpunb.providers.base import (
    Account,
    Capability,
    CreateSpec,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
    Presence,
    UsageLine,
)
from gpunb.providers.edge.payload import rows
from gpunb.providers.edge.text import clean
from gpunb.providers.vast import api, create, search
from gpunb.providers.vast.account import VastAccount
from gpunb.providers.vast.base import is_number, number
from gpunb.providers.vast.cloudcopy import VastCloudCopy
from gpunb.providers.vast.instances import map_instance
from gpunb.providers.vast.offers import map_offers
from gpunb.providers.vast.onstart import HOST_KEY
from gpunb.providers.vast.papers import VastPapers
from gpunb.providers.vast.volumes import VastVolumes
from gpunb.providers.vast.webhooks import VastWebhooks
from gpunb.units import price_text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["VastProvider"]

_log = logging.getLogger("gpunb.providers.vast")

_SEARCH_ROWS = 64  # rows of one answer (gpuhunt and dstack page by price for that reason)
_SEARCH_PAGES = 4  # further pages a minute; Vast allows ten searches
_EXITED_S = 60.0
_CONFIRM_TRIES = 3
_UNDO_TRIES = 8
_UNDO_PAUSE_S = 3.0


_QUEUED = re.compile(r"\bqueued\b", re.IGNORECASE)


def _key(row: Any, at: int) -> object:
    ident = row.get("id") if isinstance(row, dict) else None
    return ident if isinstance(ident, (int, str)) else f"row {at}"


class VastProvider(VastCloudCopy, VastVolumes, VastAccount, VastPapers, VastWebhooks):
    """The provider for Vast.ai.

    Settings
    --------
    ``image``: default image. ``connection``: "auto" (direct where the host
    has a port for it), "direct" or "proxy". ``filters``: further search
    filters in Vast's words (`search.check_filters`). ``http``: arguments of
    `ApiClient`.
    """

    name = api.NAME
    title = api.TITLE
    mounts_where_asked = True
    capabilities = frozenset(
        {
            Capability.STOP,
            Capability.REBOOT,
            Capability.RECYCLE,
            Capability.SPOT,
            Capability.RESERVED,
            Capability.VOLUMES,
            Capability.RENAME,
            Capability.LOGS,
            Capability.CLOUD_COPY,
            Capability.SELF_DESTROY,
            Capability.USAGE,
            Capability.PORTS,
            Capability.SAME_PORTS,
            Capability.PRIVATE_IMAGES,
            Capability.TEMPLATES,
            Capability.ONSTART,
            Capability.ENTRYPOINT,
            Capability.HOSTNAME,
        }
    )

    broke = (
        "Vast.ai stops all instances and bills their disks on, and where no payment method is saved it "
        "deletes them with their data"
    )

    def check(self) -> Account:
        """Return the owner of the key, and the credit that is left."""
        user = self.user()
        return Account(
            provider=self.name,
            user=clean(user.email or user.username or str(user.id or "")),
            balance_usd=user.left,
            spends_from=user.spends_from,
        )

    def balance(self) -> float | None:
        """Return the credit that is left; needs the category user_read."""
        return self.user().left

    # find

    def search(self, query: OfferQuery) -> list[Offer]:
        """Return offers, the cheapest first; works without a key."""
        if query.rental not in search.RENTALS:
            msg = f"rental {query.rental!r} is not one of {', '.join(search.RENTALS)}"
            raise BadInput(msg)
        if query.kinds and "container" not in query.kinds:
            return []
        names = search.gpu_names(query.gpus, self.gpu_names()) if query.gpus else []
        filters = self.config.options.get("filters") or {}
        wanted = search.body(query, names, filters, direct=self._connection == "direct")
        return map_offers(self._all_rows(wanted), rental=query.rental)

    def _all_rows(self, wanted: dict[str, Any]) -> list[Any]:
        """Read all rows of a search: Vast sends the cheapest few dozen, whatever limit is asked for."""
        (by, _), *_ = wanted["order"]
        found: dict[object, Any] = {}
        asked = dict(wanted)
        while True:
            try:
                page = self.search_rows(asked)
            except RateLimited:
                if not found:
                    raise
                break  # the rows so far are worth showing
            fresh = {_key(row, at): row for at, row in enumerate(page)}
            new = fresh.keys() - found.keys()
            found.update(fresh)
            last = page[-1].get(by) if page and isinstance(page[-1], dict) else None
            full = len(page) >= _SEARCH_ROWS and len(found) < wanted["limit"]
            if not full or not new or not isinstance(last, (int, float)) or not self._may_page():
                break
            asked = {**wanted, by: {**wanted.get(by, {}), "gte": last}}
        return list(found.values())

    def _may_page(self) -> bool:
        """Return whether a further page leaves enough of this minute's searches for others."""
        now = time.monotonic()
        self._paged = [at for at in self._paged if now - at < 60.0]
        if len(self._paged) >= _SEARCH_PAGES:
            return False
        self._paged = [*self._paged, now]
        return True

    def search_rows(self, wanted: dict[str, Any]) -> list[Any]:
        """Return Vast's own rows for a search body (`search.body`)."""
        answer = self._api.call("POST", "/api/v0/bundles/", json=wanted, safe=True, effect=False)
        return rows(answer, "offers", provider=self.name, what="a search for offers")

    _paged: Sequence[float] = ()

    # rent

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Rent, check that the instance is what was asked for, and put the session's key on it.

        One request rents; it is never repeated. A later failure never loses
        the id: a key that can't be attached yet is tried again by `get`
        (and is in the start script meanwhile).
        """
        body = create.body(offer, spec, options=self.config.options, base_url=self.base_url)
        try:
            answer = self._call("PUT", f"/asks/{offer.id}/", json=body)
        except api.CreatedAnywayError as err:
            raise self._undone(err.instance_id, err.message) from err
        contract = answer.get("new_contract")
        good = is_number(contract) and int(contract) > 0
        if answer.get("success") is False:
            message = clean(answer.get("msg") or answer.get("error") or answer, 200)
            if good:
                # a bid too low makes a stopped instance whose disk is billed (dstack#4036)
                raise self._undone(str(contract), f"Vast.ai could not start offer {offer.id}: {message}")
            msg = f"Vast.ai did not rent offer {offer.id}: {message}"
            raise OfferGone(msg, provider=self.name, bill="nothing was rented")
        if not good:
            message = clean(repr(answer), 160)
            msg = f"Vast.ai took the order for offer {offer.id} and named no instance: {message}"
            bill = "an instance may have been rented; look for its label"
            raise OutcomeUnknown(msg, provider=self.name, bill=bill)
        instance = self._confirmed(str(contract), offer, spec)
        if spec.public_key and not self._attach(instance.id, spec.public_key):
            instance.message = instance.message or "the session's key is not attached yet; it is tried again"
        return instance

    def unfit(self, offer: Offer, spec: CreateSpec) -> str:
        """Refuse ports on a host that has too few: one behind a router has none."""
        free = offer.raw.get("direct_port_count")
        if spec.ports and isinstance(free, (int, float)) and free < len(spec.ports) + 1:
            return f"its host has {free:g} ports to open"
        return super().unfit(offer, spec)

    def _confirmed(self, instance_id: str, offer: Offer, spec: CreateSpec) -> Instance:
        """Return the new instance, if it already shows; end it if its rental type is the wrong one."""
        bought = Instance(
            provider=self.name,
            id=instance_id,
            label=spec.label,
            state=InstanceState.CREATING,
            raw_state="provisioning",
            rental=offer.rental,
            usd_h=offer.hourly(spec.disk_gb),
        )
        for _ in range(_CONFIRM_TRIES):
            try:
                instance = self.get(instance_id)
            except (InstanceGone, Unavailable, BadAnswer):
                self._sleep(1.0)
                continue
            except GpunbError:  # whatever the error, the instance is there
                break
            is_bid = instance.raw.get("is_bid")
            if isinstance(is_bid, bool) and is_bid != (offer.rental == "spot"):
                got = "interruptible" if is_bid else "on-demand"
                reason = f"Vast.ai rented offer {offer.id} as {got}, not as {offer.rental}"
                raise self._undone(instance_id, f"{reason}, for {price_text(instance.usd_h)}/h")
            return instance
        return bought

    def _undone(self, instance_id: str, reason: str) -> ProviderError:
        """Destroy an unwanted instance, and return an error that says whether that is certain."""
        for _ in range(_UNDO_TRIES):
            try:
                self.destroy(instance_id)
                if self.presence(instance_id) is Presence.GONE:
                    bill = f"instance {instance_id} was ended again at once, and is gone"
                    return OfferGone(reason, provider=self.name, bill=bill)
            except ProviderError as err:
                _log.warning("vast: ending instance %s: %s", instance_id, err.message)
            self._sleep(_UNDO_PAUSE_S)
        return OutcomeUnknown(
            reason,
            provider=self.name,
            bill=f"instance {instance_id} could not be confirmed gone and may be billed",
            hint="look at https://cloud.vast.ai/instances/",
        )

    def adopted(self, instance_id: str, public_key: str) -> None:
        """Attach the session's key: Vast rewrites ``authorized_keys`` with the keys that it knows."""
        self._attach(instance_id, public_key)

    def _attach(self, instance_id: str, public_key: str) -> bool:
        try:
            self.attach_key(instance_id, public_key)
        except GpunbError as err:  # whatever the error, the id of the rented instance must not be lost
            _log.warning("vast: instance %s: the session's key: %s", instance_id, err.message)
            self._late_keys[instance_id] = public_key
            return False
        self._late_keys.pop(instance_id, None)
        return True

    # keep

    def instances(self) -> list[Instance]:
        """List all instances, by the paged v1 list; the v0 list is dead (410, dstack#3969)."""
        return self._list({})

    def find(self, label: str) -> list[Instance]:
        """List instances whose label is `label`, with Vast's own filter."""
        return [instance for instance in self._list({"label": {"eq": label}}) if instance.label == label]

    def get(self, instance_id: str) -> Instance:
        """Return one instance; Vast's ``{"instances": null}`` means that it is gone."""
        ident = number(instance_id, "instance")
        answer = self._call("GET", f"/instances/{ident}/", params={"owner": "me"})
        if "instances" not in answer:
            shown = clean(repr(answer), 160)
            msg = f"Vast.ai: instance {ident}: field instances is missing; the answer was {shown}"
            raise BadAnswer(msg, provider=self.name)
        if answer["instances"] is None:
            msg = f"Vast.ai has no instance {ident}"
            raise InstanceGone(msg, provider=self.name)
        late = self._late_keys.get(ident)
        if late:
            self._attach(ident, late)
        return self._instance(answer["instances"])

    def _instance(self, row: Any) -> Instance:
        """Convert `row`; it is failed only if its container, wanted running, has been exited for a while."""
        instance = map_instance(row, connection=self._connection)
        if instance.state is InstanceState.CREATING and instance.raw.get("actual_status") == "exited":
            since = self._exited.setdefault(instance.id, time.monotonic())
            if time.monotonic() - since >= _EXITED_S:
                message = instance.message or "the container exits as soon as it is started"
                return replace(instance, state=InstanceState.FAILED, message=message)
        else:
            self._exited.pop(instance.id, None)
        return instance

    def presence(self, instance_id: str) -> Presence:
        """Return whether it exists; GONE only if the list and the single answer agree."""
        try:
            listed = self._list({"id": {"eq": int(number(instance_id, "instance"))}})
            if any(instance.id == instance_id for instance in listed):
                return Presence.PRESENT
            self.get(instance_id)
        except InstanceGone:
            return Presence.GONE
        except ProviderError:
            return Presence.UNKNOWN
        return Presence.PRESENT

    def _list(self, filters: dict[str, Any]) -> list[Instance]:
        found = self._pages(
            "/api/v1/instances/",
            "instances",
            what="the list of instances",
            select_filters=filters,
            order_by=[{"col": "id", "dir": "asc"}],
        )
        return [self._instance(row) for row in found]

    @property
    def _connection(self) -> str:
        return str(self.config.options.get("connection") or "auto")

    def destroy(self, instance_id: str) -> None:
        """Request the end. A 404 means gone only if its body says so."""
        try:
            self._call("DELETE", f"/instances/{number(instance_id, 'instance')}/", json={}, safe=True)
        except InstanceGone:
            return

    def stop(self, instance_id: str) -> None:
        """Stop the instance. The disk is billed on, and the GPU may be gone at the next start."""
        self._state(instance_id, "stopped")

    def start(self, instance_id: str) -> None:
        """Start the instance again, if its GPU is still free."""
        self._state(instance_id, "running")

    def _state(self, instance_id: str, state: str) -> None:
        path = f"/instances/{number(instance_id, 'instance')}/"
        answer = self._call("PUT", path, json={"state": state}, safe=True)
        if state == "running" and answer.get("success") is False:
            message = clean(answer.get("msg") or answer.get("error") or answer, 200)
            if _QUEUED.search(message):
                raise self._taken_back(instance_id, message)
        self._done(answer, f"{state} {instance_id}")

    def _taken_back(self, instance_id: str, said: str) -> ProviderError:
        """Cancel a pending start, which Vast would carry out and bill hours later, and check the result."""
        reason = f"the GPU of instance {instance_id} is taken: {said}"
        for _ in range(_UNDO_TRIES):
            try:
                self._state(instance_id, "stopped")
                if (self.get(instance_id).raw or {}).get("intended_status") == "stopped":
                    hint = "try again later, or rent another; Vast.ai can copy its files from the stopped one"
                    return ProviderError(f"{reason} The start was cancelled", provider=self.name, hint=hint)
            except ProviderError as err:
                _log.warning("vast: taking back the start of %s: %s", instance_id, err.message)
            self._sleep(_UNDO_PAUSE_S)
        return OutcomeUnknown(
            reason,
            provider=self.name,
            bill=f"the start of instance {instance_id} is queued: it starts, and is billed, "
            "when the GPU is free",
            hint="stop it again, or look at https://cloud.vast.ai/instances/",
        )

    def reboot(self, instance_id: str) -> None:
        """Restart the container; it keeps its GPU."""
        path = f"/instances/reboot/{number(instance_id, 'instance')}/"
        self._done(self._call("PUT", path, json={}), f"reboot {instance_id}")

    def rename(self, instance_id: str, label: str) -> None:
        """Change the label, 1024 characters at most."""
        if len(label) > 1024:
            msg = f"label: {len(label)} characters; Vast.ai takes 1024"
            raise BadInput(msg)
        path = f"/instances/{number(instance_id, 'instance')}/"
        self._done(self._call("PUT", path, json={"label": label}, safe=True), f"rename {instance_id}")

    def logs(self, instance_id: str, *, tail: int = 1000) -> str:
        """Return a snapshot of the container's log."""
        return self.instance_log(instance_id, tail=tail)

    def host_keys(self, instance_id: str) -> list[str]:
        """Return the host keys that our start script wrote into the container's log."""
        found = self.instance_log(instance_id, tail=200, pattern=HOST_KEY)
        lines: list[str] = re.findall(
            rf"^{HOST_KEY} ([a-z0-9@.-]{{1,64}} [A-Za-z0-9+/=]{{1,4096}})\s*$", found, re.MULTILINE
        )
        return lines[-16:]

    def usage(self, instance_id: str) -> list[UsageLine]:
        """Return what Vast charged for it in the last 90 days, by kind."""
        ident = number(instance_id, "instance")
        return [line for line in self.charges() if line.instance_id == ident]

    def usages(self, instance_ids: Sequence[str]) -> list[UsageLine]:
        """Return `usage` of all of them from a single query of the charges."""
        wanted = {number(ident, "instance") for ident in instance_ids}
        return [line for line in self.charges() if line.instance_id in wanted]
