"""The provider ``ssh``: a session is a key and a folder on a machine that is there anyway."""

from __future__ import annotations

import getpass
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from gpunb import log
from gpunb.errors import GpunbError, InstanceGone, OfferGone, OutcomeUnknown, Unavailable
from gpunb.hints import typed
from gpunb.providers.base import (
    Account,
    CreateSpec,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
)
from gpunb.providers.features import OwnHosts
from gpunb.providers.ssh import hosts, machines, record, scripts
from gpunb.providers.ssh.instances import Instances
from gpunb.providers.ssh.openssh import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.providers.base import Capability
    from gpunb.providers.features import Host, Machine

__all__ = ["SshProvider"]

_AT_ONCE = 16


class SshProvider(Instances, OwnHosts):
    """The provider of machines that the user can log in to.

    Each machine is one offer, whole or in part. A rental adds the session's key to its
    ``authorized_keys`` and a folder for the agent; an end removes exactly these and the session's processes.
    The machine itself is never started, stopped or changed otherwise.

    Options of its `ProviderConfig`: ``hosts``, a table for each machine (`gpunb.providers.ssh.hosts.Host`),
    and ``config``, a file for ``ssh -F`` in the place of the user's configuration.
    """

    name: ClassVar[str] = "ssh"
    title: ClassVar[str] = "ssh"
    needs_key: ClassVar[bool] = False
    list_lag_s: ClassVar[float] = 0.0  # the list is written before anything is sent
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    broke: ClassVar[str] = "nothing happens: these machines have no account"

    def check(self) -> Account:
        """Prove that there is an ssh here, and that the machines' tables keep their rules; asks no machine.

        Raises
        ------
        BadInput
            A table breaks a rule.
        Unavailable
            There is no ssh here.
        """
        if shutil.which("ssh") is None:
            msg = "there is no ssh on this machine"
            raise Unavailable(msg, provider=self.name, bill=NOTHING, hint="install OpenSSH's client")
        known = hosts.listed(self.config.options)
        message = f"{len(known)} machines: {', '.join(known)}" if known else "no machine is listed"
        return Account(provider=self.name, user=getpass.getuser(), message=message)

    def only(self, names: Sequence[str]) -> None:
        """Search these machines alone: names of the settings, or addresses. ssh may ask at the terminal."""
        self.wanted = [hosts.named(self.config.options, fromkey) for fromkey in dict.fromkeys(names)]

    def hosts(self) -> list[Host]:
        """The machines to search: those of `only`, or all of the settings."""
        return self.wanted or list(hosts.listed(self.config.options).values())

    def table(self, name: str, values: Mapping[str, Any]) -> Host:
        """Read a table of the settings before it is written; `BadInput` names what breaks a rule."""
        return hosts.listed({"hosts": {name: values}})[name]

    def look(self, host: Host, *, ask: bool = False) -> Machine:
        """Log in and see what the machine is and what of it is free; changes nothing there.

        Raises
        ------
        BadInput
            ssh refuses the address.
        Unavailable
            The login failed, or no answer came.
        """
        route = self.ssh.route(host)
        answer = self.ssh.run(host, scripts.PROBE, {}, ask=ask)
        if not answer.done:
            msg = f"{host.name} broke off while it was looked at: {answer.said}"
            raise Unavailable(msg, provider=self.name, bill=NOTHING)
        return machines.seen(host, route, answer, {one.id for one in record.load_all()})

    def search(self, query: OfferQuery) -> list[Offer]:
        """Look at all machines at once; one that can't be reached is left out, with a line in the log.

        Raises
        ------
        Unavailable
            None could be reached, or the only one.
        """
        known, ask = self.hosts(), bool(self.wanted) and self._can_ask()
        if ask:  # one question after the other
            found = [self._looked(host, ask=True) for host in known]
        else:
            with ThreadPoolExecutor(min(_AT_ONCE, len(known) or 1)) as pool:
                found = list(pool.map(self._looked, known))
        failed = [one for one in found if isinstance(one, GpunbError)]
        if failed and len(failed) == len(found):
            if len(failed) == 1:
                raise failed[0]
            msg = "none of the machines can be used: " + "; ".join(one.message for one in failed)
            raise Unavailable(msg, provider=self.name, bill=NOTHING, hint=typed("hosts"))
        offers = [machines.offer(one, query) for one in found if not isinstance(one, GpunbError)]
        return [offer for offer in offers if offer is not None]

    def unfit(self, offer: Offer, spec: CreateSpec) -> str:
        """Say that a machine of one's own runs what it runs."""
        if spec.image:
            return "a machine of your own takes no image: it runs what it runs"
        if spec.volumes:
            return "a machine of your own takes no volumes"
        return super().unfit(offer, spec)

    def create(self, offer: Offer, spec: CreateSpec) -> Instance:
        """Add the session's key and a folder of its own to the machine, and prove that the key lets in.

        Raises
        ------
        BadInput
            A field of `spec` breaks a rule.
        OfferGone
            The machine can't be used so, with the reason; nothing is left there.
        OutcomeUnknown
            It broke off in the middle. The instance stays in the list, and is ended by `destroy`.
        """
        if spec.bid_usd_h is not None:
            self.refuse("be rented by a bid")
        if spec.volumes:
            self.refuse("attach volumes")
        host = hosts.named(self.config.options, offer.id)
        made = record.begun(offer, host, spec)
        self.clean(host, offer.raw.get("left", ()))
        values = scripts.setup_values(made, spec.env, share=host.share)
        known = self.ssh.known_keys(self.ssh.route(host))
        made.host_key = next(iter(known), "")
        made.save()
        try:
            answer = self.ssh.run(host, scripts.SETUP, values, ask=self._can_ask())
        except Unavailable as err:
            if err.effect == "unknown":
                raise OutcomeUnknown(err.message, provider=self.name, hint=err.hint) from err
            made.delete()
            raise OfferGone(err.message, provider=self.name, bill=NOTHING, hint=err.hint) from err
        if answer.failed is not None:
            made.delete()
            msg = f"{host.name} can't be used: {answer.failed[1]}"
            raise OfferGone(msg, provider=self.name, bill=NOTHING)
        if not answer.done:
            msg = f"{host.name} broke off while the session's key was put there: {answer.said}"
            raise OutcomeUnknown(msg, provider=self.name)
        self._prove(made, host, known)
        made.phase = "running"
        made.save()
        return self._view(made, InstanceState.RUNNING)

    def instances(self) -> list[Instance]:
        """List what was begun and not ended; a machine that gives no answer is unknown, not gone."""
        records = record.load_all()
        if not records:
            return []
        with ThreadPoolExecutor(min(_AT_ONCE, len(records))) as pool:
            states = list(pool.map(self._state, records))
        return [self._view(one, state) for one, state in zip(records, states, strict=True)]

    def get(self, instance_id: str) -> Instance:
        """Return one instance; `InstanceGone` if there is none of that id."""
        one = self._record(instance_id)
        if one is None:
            msg = f"there is no instance {instance_id[:60]!r} on a machine of yours"
            raise InstanceGone(msg, provider=self.name)
        return self._view(one, self._state(one))

    def _looked(self, host: Host, *, ask: bool = False) -> Machine | GpunbError:
        try:
            return self.look(host, ask=ask)
        except GpunbError as err:
            log.get(__name__).warning("%s is left out: %s", host.name, err.message)
            return err

    @staticmethod
    def _can_ask() -> bool:
        """Whether ssh's questions reach the user: it asks at the terminal, whatever its input is."""
        return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
