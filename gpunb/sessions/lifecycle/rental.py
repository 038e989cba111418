"""One rental in the making: offers tried in order, each create written down, sent once, resolved."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from gpunb.errors import (
    AuthFailed,
    BadInput,
    Cancelled,
    GpunbError,
    HostKeyChanged,
    LedgerError,
    NoFunds,
    NotSupported,
    OfferGone,
    OutcomeUnknown,
    QuotaExhausted,
    RateLimited,
    Unavailable,
    Unreachable,
    WrongState,
)
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.providers.base import CreateSpec, Instance, Offer, Presence, Provider, RegistryLogin
from gpunb.providers.machine import ports
from gpunb.sessions.access.host_access import HOST
from gpunb.sessions.cost.lease import DEFAULT_HOURS, lease_for
from gpunb.sessions.cost.receipts import write_receipt
from gpunb.sessions.cost.segments import opening
from gpunb.sessions.cost.totals import rates, slug
from gpunb.sessions.ledger.sessions import Ledger, label_for, new_id, valid_name
from gpunb.sessions.lifecycle.agreement import Agreement
from gpunb.sessions.lifecycle.bringup import Unfit, bring_up
from gpunb.sessions.lifecycle.ending import Listing, end, settle
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import OVER, Intent, IntentState, Session, SessionState, offer_to_dict
from gpunb.units import hourly_text, money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gpunb.sessions.access.host_access import Reach

__all__ = ["RentRequest", "Rental", "rent"]

# The provider said no, and these words mean that nothing was changed. Everything else
# ("unavailable", an odd answer, a bug) is looked up: 500 after the create took place is
# a real answer (transformerlab#2305).
_REFUSALS = (OfferGone, NoFunds, AuthFailed, RateLimited, QuotaExhausted, NotSupported, BadInput)
# ... and these would meet every further offer of the provider too
# (another host key than ours is no machine's fault: somebody may sit in between)
_FINAL = (AuthFailed, QuotaExhausted, NotSupported, BadInput, Unfit, HostKeyChanged)
_RATE_WAIT_S = 60.0
_RATE_TRIES = 2  # how often an offer is asked for again that a cloud was asked for too soon


@dataclass(slots=True, kw_only=True)
class RentRequest:
    """What the user asked for beside the offer.

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
        Size of the image in GB, compressed, as far as it was said; 0 is the usual one.
    count_ssh
        Whether somebody logged in at the host's terminal counts as activity.
    agreed
        What was agreed to; None is the first offer, see `gpunb.sessions.lifecycle.agreement`.
    renter
        The marks of the notebook or shell that rents (`gpunb.sessions.access.renter`), with spaces between.
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
    agreed: Agreement | None = None
    renter: str = ""

    def spec(self, **more: Any) -> CreateSpec:
        """What a create call needs of this; `more` are the fields that differ from offer to offer."""
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


class _NextOffer(Exception):
    """A turn in the road, not a failure: nothing of this offer is rented, for certain."""

    def __init__(self, cause: GpunbError) -> None:
        super().__init__(cause.message)
        self.cause = cause


class Rental:
    """The work of `gpunb.sessions.lifecycle.rent`, which is the function to call."""

    def __init__(
        self,
        ledger: Ledger,
        provider: Provider,
        request: RentRequest,
        *,
        host: Reach,
        timing: Timing,
        progress: Progress = SILENT,
        watch: Callable[[Ledger], object] | None = None,
    ) -> None:
        self.ledger = ledger
        self.provider = provider
        self.request = request
        self.host = host
        self.timing = timing
        self.progress = progress
        self.watch = watch
        self.id = new_id()
        self.boots = 0
        self.agreed = request.agreed
        self._budget: float | None = None

    def run(self, offers: Sequence[Offer]) -> Session:
        """Try the offers in order until one is ready."""
        self._check(offers)
        fitting = self._as_agreed(offers)
        try:
            return self._try_all(fitting)
        except KeyboardInterrupt as err:
            raise self._cancelled() from err
        except GpunbError:
            self._tidy()
            raise
        except Exception as err:
            session = self._end("an error in gpunb", self.timing.interrupt_s)
            if hasattr(err, "add_note"):  # Python 3.11
                err.add_note(f"bill: {self._bill(session)}")
            raise
        finally:
            with suppress(LedgerError):
                self.ledger.release(self.id)

    # -- before -----------------------------------------------------------

    def _check(self, offers: Sequence[Offer]) -> None:
        request = self.request
        if not offers:
            msg = "rent: there is no offer to try"
            raise BadInput(msg, bill="nothing was rented", hint=typed("offers"))
        odd = next((offer for offer in offers if offer.provider != self.provider.name), None)
        if odd is not None:
            msg = f"offer {odd.id} is of {odd.provider}, not of {self.provider.name}"
            raise BadInput(msg, bill="nothing was rented")
        if request.name is not None:
            valid_name(request.name)
        if not math.isfinite(request.disk_gb) or request.disk_gb < 0:
            msg = f"disk of {request.disk_gb:g} GB: must be 0 or more"
            raise BadInput(msg, bill="nothing was rented")
        most = max(offer.disk_max_gb for offer in offers)
        if request.disk_gb > most:
            msg = f"disk of {request.disk_gb:g} GB: the offers have at most {most:g} GB"
            raise BadInput(msg, bill="nothing was rented")
        for path in request.save:
            if not path.strip() or "\0" in path:
                msg = f"save path {path!r}: must name a file or folder on the host"
                raise BadInput(msg, bill="nothing was rented")
        self._budget = self._lease(offers[0], 0.0).budget_usd

    def _as_agreed(self, offers: Sequence[Offer]) -> list[Offer]:
        """Those that are what was agreed to: a yes to one offer is none to a dearer or a larger one."""
        if self.agreed is None:
            hours = DEFAULT_HOURS if self.request.hours is None else self.request.hours
            self.agreed = Agreement.to(offers[0], hours=hours, disk_gb=self.request.disk_gb)
        agreed = self.agreed
        fitting = [offer for offer in offers if not agreed.differs(offer)]
        if not fitting:
            msg = f"offer {offers[0].id} does not match what was agreed to: {agreed.differs(offers[0])}"
            raise OfferGone(msg, provider=self.provider.name, bill="nothing was rented", hint=typed("offers"))
        return fitting

    def _lease(self, offer: Offer, spent: float) -> Any:
        request = self.request
        lease = lease_for(
            offer,
            now=self.ledger.clock.time(),
            hours=request.hours,
            idle_s=request.idle_s,
            budget_usd=request.budget_usd,
            budget_most=request.budget_most,
            disk_gb=request.disk_gb,
            spent=spent,
        )
        lease.count_ssh = request.count_ssh
        if self._budget is not None:  # what was agreed to holds for all offers that are tried, together
            lease.budget_usd = self._budget
        return lease

    def _facts(self, offer: Offer) -> dict[str, Any]:
        gpu, disk = rates(offer, self.request.disk_gb)
        return {
            "gpu": offer.gpu,
            "gpus": offer.gpus,
            "trust": offer.trust,
            "offer": offer_to_dict(offer),
            "usd_h": gpu + disk,
            "stopped_usd_h": disk,
        }

    # -- the offers -------------------------------------------------------

    def _try_all(self, offers: Sequence[Offer]) -> Session:
        request, ledger = self.request, self.ledger
        first = offers[0]
        ledger.add_session(
            Session(
                id=self.id,
                name=request.name or "",
                provider=self.provider.name,
                label=label_for(ledger.installation, self.id),
                lease=self._lease(first, 0.0),
                image=request.image or "",
                disk_gb=request.disk_gb,
                python=request.python,
                save=list(request.save),
                renter=request.renter,
                save_to=request.save_to or os.getcwd(),  # noqa: PTH109 - a string, also if it is gone by now
                **self._facts(first),
            ),
            slug=slug(first),
            claim_s=self.timing.claim_s,
        )
        if self.watch is not None:
            self.watch(ledger)
        public_key = self.host.prepare(self.id, label_for(ledger.installation, self.id))
        failed: list[str] = []
        queue, again = list(offers), 0
        for number, offer in enumerate(queue, 1):
            turn = self._one(offer, number, public_key)
            if isinstance(turn, Session):
                return turn
            failed.append(f"{offer.id}: {turn.message}")
            if isinstance(turn, RateLimited) and again < _RATE_TRIES:
                queue.append(offer)  # it is not gone: others rent at the same moment
                again += 1
            if isinstance(turn, _FINAL) or (len(offers) == 1 and number == len(queue)):
                self._give_up(failed)
                if turn.bill is None:
                    turn.bill = self._bill(ledger.get(self.id))
                raise turn
            if self.boots >= self.timing.boots:
                break
            if isinstance(turn, RateLimited):
                self._wait(min(_RATE_WAIT_S, turn.retry_after or 5.0))
            self.progress.say(f"{offer.id}: {turn.message}; trying the next offer")
        self._give_up(failed)
        msg = f"tried {len(failed)} of {len(offers)} offers, and none came up: " + "; ".join(failed)
        raise OfferGone(
            msg,
            provider=self.provider.name,
            bill=self._bill(ledger.get(self.id)),
            hint=typed("offers") + " shows what is there now",
        )

    def _one(self, offer: Offer, number: int, public_key: str) -> Session | GpunbError:
        """The ready session, or why this offer came to nothing."""
        if self.request.disk_gb > offer.disk_max_gb:
            return OfferGone(f"has at most {offer.disk_max_gb:g} GB of disk", provider=self.provider.name)
        if why := self.provider.unfit(offer, self.request.spec()):
            return OfferGone(why, provider=self.provider.name, bill="nothing was rented")
        try:
            return self._try(offer, number, public_key)
        except _NextOffer as turn:
            return turn.cause

    def _give_up(self, failed: Sequence[str]) -> None:
        session = self.ledger.get(self.id)
        if session.state is SessionState.REQUESTED:
            session = self.ledger.transition(session, SessionState.FAILED, "; ".join(failed))
            if any(one.state is IntentState.GONE for one in self.ledger.intents(self.id)):
                write_receipt(self.ledger, None, session, why="boot failed")

    def _tidy(self) -> None:
        """A rental that broke off before anything was sent leaves no live session."""
        with suppress(GpunbError):
            session = self.ledger.get(self.id)
            if session.state is SessionState.REQUESTED:
                self.ledger.transition(session, SessionState.FAILED, "broken off before anything was sent")

    def _try(self, offer: Offer, number: int, public_key: str) -> Session:
        session = self._create(offer, number, public_key)
        try:
            session = bring_up(
                self.ledger,
                self.provider,
                session,
                host=self.host,
                timing=self.timing,
                boot_s=self._boot_s(offer),
                progress=self.progress,
                each=self._watch_boot,
            )
            self._check_price()
        except (LedgerError, Cancelled):
            raise
        except WrongState:
            session = self.ledger.get(self.id)
            if session.state is SessionState.ENDING or session.state in OVER:
                self._ended_elsewhere(session)
            raise
        except GpunbError as err:  # also a host name that no ssh should be given
            raise self._boot_failed(offer, err) from err
        return session

    def _boot_s(self, offer: Offer) -> float:
        return self.request.boot_s or self.timing.boot(offer, self.request.image_gb)

    # -- one create -------------------------------------------------------

    def _create(self, offer: Offer, number: int, public_key: str) -> Session:
        """Intent, one create, answer; the session in state booting."""
        ledger, request = self.ledger, self.request
        session = ledger.get(self.id)
        label = label_for(ledger.installation, self.id, number)
        if number > 1:
            self.host.prepare(self.id, label)
        private, public = (None, None)
        if self.provider.takes_host_key(offer, request.extra):
            private, public = self.host.host_key()
            self.host.pin(session, public)
        lease = self._lease(offer, ledger.cost(self.id).total)
        spec = request.spec(label=label, public_key=public_key, host_key=private, deadline=lease.deadline)
        intent = Intent(
            label=label,
            session_id=self.id,
            provider=self.provider.name,
            offer_id=offer.id,
            summary={
                "image": spec.image,
                "boot_s": self._boot_s(offer),  # whoever goes on with it knows no image's size
                "registry": spec.login.server if spec.login else "",
                "disk_gb": spec.disk_gb,
                "gpu": offer.gpu,
                "gpus": offer.gpus,
                "usd_h": offer.hourly(spec.disk_gb),
                "machine_id": offer.machine_id,
                "volumes": sorted(request.volumes),
                # elsewhere the cloud chooses the place, whatever is asked for
                "mounts": dict(request.volumes) if self.provider.mounts_where_asked else {},
            },
        )
        session = ledger.begin_create(session, intent, lease=lease, **self._facts(offer))
        self.progress.say(f"renting {offer.gpu or offer.id} from {self.provider.title}")
        try:
            instance = self.provider.create(offer, spec)
        except _REFUSALS as err:
            if getattr(err, "effect", "none") == "none":
                self._refused(label, err)
                raise _NextOffer(err) from err
            return self._look_up(label, err)
        except Exception as err:  # noqa: BLE001 - whatever it was, the call may have rented something
            return self._look_up(label, err)
        if not instance.id:
            return self._look_up(label, ValueError("the answer names no instance"))
        if private and not instance.host_key:  # this offer's machine can't be given one
            self.host.unpin(session)
        return self._answered(session, instance)

    def _refused(self, label: str, err: GpunbError) -> None:
        self.ledger.resolve_intent(label, IntentState.REFUSED, err.message)
        session = self.ledger.get(self.id)
        if session.state is SessionState.CREATING:
            self.ledger.transition(session, SessionState.REQUESTED, err.message)
        else:
            self._ended_elsewhere(session)

    def _answered(self, session: Session, instance: Instance) -> Session:
        sent = max(one.sent for one in self.ledger.intents(self.id))
        try:
            session = self.ledger.answer_create(
                session,
                instance.id,
                opening(session, instance, sent),
                cloud_state=instance.state.value,
                host=instance.host,
                port=instance.port,
                user=instance.user,
            )
        except LedgerError as err:
            raise self._unrecorded(instance, err) from err
        if session.state is not SessionState.BOOTING:
            self._ended_elsewhere(session)
        return session

    def _unrecorded(self, instance: Instance, err: LedgerError) -> LedgerError:
        """The ledger broke between the call and its answer: the instance must not outlive this line."""
        gone = False
        with suppress(GpunbError):
            self.provider.destroy(instance.id)
            for step in range(20):
                if self.provider.presence(instance.id) is Presence.GONE:
                    gone = True
                    break
                self.ledger.clock.sleep(self.timing.pause(step))
        if gone:
            err.bill = f"instance {instance.id} was rented and is confirmed gone again"
        else:
            err.bill = (
                f"instance {instance.id} ({instance.label}) of {self.provider.title} was rented and may "
                "be billed; gpunb finds it by its label when the ledger can be written"
            )
        return err

    def _look_up(self, label: str, cause: Exception) -> Session:
        """The answer is lost: ask for the label until it shows up or surely is not there."""
        text = cause.message if isinstance(cause, GpunbError) else f"{type(cause).__name__}: {cause}"
        self.ledger.note(self.id, "answer-lost", text)
        self.ledger.resolve_intent(label, IntentState.SENT, text)  # from now on lists may lag
        end_at = self.ledger.clock.time() + self.timing.lookup_s * 1.5
        step = 0
        while True:
            listing = Listing(self.provider)
            session = settle(self.ledger, listing, self.ledger.get(self.id), self.timing)
            if session.instance_id:
                if session.state is not SessionState.BOOTING:
                    self._ended_elsewhere(session)
                return session
            if not self.ledger.intents(self.id, unresolved=True):
                session = self.ledger.get(self.id)
                if session.state is not SessionState.CREATING:
                    self._ended_elsewhere(session)
                self.ledger.transition(session, SessionState.REQUESTED, "confirmed: nothing came of the call")
                msg = f"{text} (and no instance came of it)"
                lost = Unavailable(msg, provider=self.provider.name)
                raise _NextOffer(lost) from cause
            if self.ledger.clock.time() >= end_at:
                raise self._unknown(text) from cause
            self.progress.say(f"the answer was lost ({text}); looking for {session.label} in the list")
            self._keep()
            self.ledger.clock.sleep(self.timing.pause(step))
            step += 1

    def _unknown(self, text: str) -> GpunbError:
        session = self.ledger.get(self.id)
        if session.state is SessionState.CREATING:
            session = self.ledger.transition(session, SessionState.UNKNOWN, text)
        msg = f"{self.provider.title} did not say whether it rented the machine: {text}"
        return OutcomeUnknown(
            msg,
            provider=self.provider.name,
            bill=session.alarm or self._bill(session),
            hint=typed("ps") + f" shows it; or look for {session.label} on {self.provider.title}'s own page",
        )

    # -- what can go wrong ------------------------------------------------

    def _boot_failed(self, offer: Offer, err: GpunbError) -> Exception:
        """End the instance for certain before anything else is tried."""
        self.boots += 1
        self.ledger.note(self.id, "boot-failed", err.message)
        if not isinstance(err, Unfit):
            self.ledger.add_failure(self.provider.name, offer.machine_id, err.message)
        self.progress.say(f"{err.message}; ending it")
        session = self._end(f"boot failed: {err.message}", self.timing.confirm_s, then=SessionState.REQUESTED)
        if session.state is SessionState.REQUESTED:
            err.bill = None  # said while it still ran; what holds now is said at the end
            if self.request.start_command and isinstance(err, Unreachable):
                hint = "a start command takes the place of the image's own: it has to start SSH, too"
                err = Unfit(err.message, hint=err.hint or hint)
            return _NextOffer(err)
        if session.state in OVER:
            return Cancelled(f"session {session.name} was ended by another process", bill=self._bill(session))
        msg = f"{err.message}; and {self.provider.title} has not confirmed that it is gone"
        return OutcomeUnknown(
            msg,
            provider=self.provider.name,
            bill=self._bill(session),
            hint="gpunb tries no further offer until that is certain; " + typed("ps") + " shows it",
        )

    def _ended_elsewhere(self, session: Session) -> NoReturn:
        """Another process wants this session gone: finish that, then say so."""
        session = self._end(session.detail or "ended by another process", self.timing.confirm_s)
        reason = session.detail or "by another process"
        msg = f"session {session.name} was ended while it was being rented: {reason}"
        raise Cancelled(msg, bill=self._bill(session))

    def _cancelled(self) -> Cancelled:
        session: Session | None
        try:
            self.progress.say(
                "cancelling; ending what was rented (Ctrl-C again leaves that to the supervisor)"
            )
            session = self._end("cancelled by Ctrl-C", self.timing.interrupt_s)
        except (KeyboardInterrupt, GpunbError):
            session = self._now()
        name = f" of {session.name}" if session is not None else ""
        msg = f"the rental{name} was cancelled"
        over = session is None or session.state in OVER
        return Cancelled(
            msg,
            bill=self._bill(session),
            hint=None if over else (typed("ps") + " shows it until it is confirmed gone"),
        )

    def _end(self, why: str, within: float, *, then: SessionState | None = None) -> Session:
        with suppress(GpunbError, OSError):
            self.host.drop(self.id)
        return end(
            self.ledger,
            self.provider,
            self.id,
            why=why,
            within=within,
            timing=self.timing,
            progress=self.progress,
            then=then,
            each=self._keep,
        )

    def _now(self) -> Session | None:
        try:
            return self.ledger.get(self.id)
        except GpunbError:
            return None

    def _bill(self, session: Session | None) -> str:
        """What is known of the bill, in one sentence."""
        if session is None:
            return "nothing was rented"
        if session.state in OVER or session.state is SessionState.REQUESTED:
            spent = self.ledger.cost(session.id).total
            cost = f" (it cost {money_text(spent)})" if spent >= 0.005 else ""
            return f"confirmed: nothing is rented{cost}"
        what = f"instance {session.instance_id}" if session.instance_id else f"the label {session.label}"
        return (
            f"NOT confirmed: {what} at {self.provider.title} may be billed at {price_text(session.usd_h)}/h "
            "until the supervisor has ended it"
        )

    def _keep(self) -> None:
        if not self.ledger.claim(self.id, self.timing.claim_s):
            msg = f"session {self.id} was taken over by another process"
            raise WrongState(msg, hint=typed("ps"))

    def _watch_boot(self) -> None:
        self._keep()
        self._check_price()

    def _check_price(self) -> None:
        """Refuse what the cloud bills above what was agreed to: the price can rise after the search."""
        session = self.ledger.get(self.id)
        if self.agreed is not None and self.agreed.too_dear(session.usd_h):
            shown = self.agreed.offer.hourly(self.request.disk_gb)
            now = f"{self.provider.title} bills {hourly_text(session.usd_h)} for it"
            msg = f"{now}, and {price_text(shown)} was agreed to"
            raise OfferGone(msg, provider=self.provider.name)

    def _wait(self, seconds: float) -> None:
        self._keep()
        self.ledger.clock.sleep(seconds)


def rent(
    ledger: Ledger,
    provider: Provider,
    offers: Sequence[Offer],
    request: RentRequest,
    *,
    progress: Progress = SILENT,
    host: Reach = HOST,
    timing: Timing | None = None,
    watch: Callable[[Ledger], object] | None = None,
) -> Session:
    """Rent the first of `offers` that comes up; returns the ready session.

    For each offer: the intent is committed, one create call is sent, its answer is committed.
    A lost answer is looked up by the label, never sent again; a host that does not boot is
    ended, and confirmed gone, before the next offer is tried.

    Parameters
    ----------
    watch
        Called once the session is in the ledger and before anything is rented:
        `gpunb.sessions.supervisor.process.ensure`, where no server supervises.

    Raises
    ------
    BadInput
        The request breaks a rule; nothing was sent.
    OfferGone
        All offers failed, with a reason for each; what was rented is confirmed gone.
    OutcomeUnknown
        It is not known whether something is rented. The session stays in the ledger (unknown
        or ending), and the supervisor finishes it.
    Cancelled
        Ctrl-C, or another process ended the session; ``bill`` says what was confirmed.
    AuthFailed, NoFunds, QuotaExhausted, NotSupported, RateLimited
        The provider refused; nothing was rented.
    """
    rental = Rental(
        ledger, provider, request, host=host, timing=timing or Timing(), progress=progress, watch=watch
    )
    return rental.run(offers)
