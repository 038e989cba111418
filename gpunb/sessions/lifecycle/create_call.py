"""One create call of a rental: recorded, sent once, its answer resolved."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from gpunb import paths
from gpunb.errors import (
    AuthFailed,
    BadInput,
    Cancelled,
    GpunbError,
    LedgerError,
    LimitReached,
    NoFunds,
    NotSupported,
    OfferGone,
    OutcomeUnknown,
    QuotaExhausted,
    RateLimited,
    Unavailable,
    WrongState,
)
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.providers.base import Instance, Offer, Presence, Provider
from gpunb.sessions.cost import limits
from gpunb.sessions.cost.lease import cut, lease_for
from gpunb.sessions.cost.segments import opening
from gpunb.sessions.cost.totals import rates
from gpunb.sessions.ledger.sessions import Ledger, label_for, new_id
from gpunb.sessions.lifecycle.ending import Listing, end, resolve_lost_create
from gpunb.sessions.model import OVER, Intent, IntentState, Lease, Session, SessionState, offer_to_dict
from gpunb.units import money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.lifecycle.rent_request import RentRequest
    from gpunb.sessions.lifecycle.timeouts import Timing

__all__ = ["CreateCall", "NextOffer"]

# The provider refused, and these errors mean that nothing was changed. Everything else
# ("unavailable", an odd answer, a bug) is looked up: 500 after the create took place is
# a real answer (transformerlab#2305).
_REFUSALS = (OfferGone, NoFunds, AuthFailed, RateLimited, QuotaExhausted, NotSupported, BadInput)


class NextOffer(Exception):
    """Raised to try the next offer: nothing of this one is rented, for certain."""

    def __init__(self, cause: GpunbError) -> None:
        super().__init__(cause.message)
        self.cause = cause


class _OtherLost(Exception):
    """Raised where the create calls of other members of the group have no known outcome."""

    def __init__(self, members: list[Session]) -> None:
        super().__init__()
        self.members = members


class CreateCall:
    """Base class of `gpunb.sessions.lifecycle.rental.Rental`: the create call and its answer."""

    def __init__(
        self,
        ledger: Ledger,
        provider: Provider,
        request: RentRequest,
        *,
        host: HostAccess,
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
        self.id = request.requested or new_id()
        self.boots = 0
        self.not_as_offered: set[str] = set()  # machines
        self.agreed = request.agreed
        self._budget: float | None = None

    # -- the call and its answer ------------------------------------------

    def _create(self, offer: Offer, number: int, public_key: str) -> Session:
        """Commit the intent, send one create call, commit the answer; the session is then booting."""
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
        spec = request.spec(
            label=label,
            public_key=public_key,
            host_key=private,
            deadline=lease.deadline,
            identity=paths.session_dir(self.id),
        )
        intent = Intent(
            label=label,
            session_id=self.id,
            provider=self.provider.name,
            offer_id=offer.id,
            summary={
                "image": spec.image,
                "boot_s": self._boot_s(offer),  # a process that resumes it does not know the image's size
                "check": None if request.check is None else dict(request.check),
                "registry": spec.login.server if spec.login else "",
                "disk_gb": spec.disk_gb,
                "gpu": offer.gpu,
                "gpus": offer.gpus,
                "usd_h": offer.hourly(spec.disk_gb),
                "machine_id": offer.machine_id,
                "volumes": sorted(request.volumes),
                # other clouds choose the mount path themselves
                "mounts": dict(request.volumes) if self.provider.mounts_where_asked else {},
                **request.recorded(),
            },
        )
        session = self._begin(session, intent, lease, offer)
        self.progress.say(f"renting {offer.gpu or offer.id} from {self.provider.title}")
        try:
            instance = self.provider.create(offer, spec)
        except _REFUSALS as err:
            if getattr(err, "effect", "none") == "none":
                self._refused(label, err)
                raise NextOffer(err) from err
            return self._look_up(label, err)
        except Exception as err:  # noqa: BLE001 - whatever it was, the call may have rented something
            return self._look_up(label, err)
        if not instance.id:
            return self._look_up(label, ValueError("the answer names no instance"))
        if private and not instance.host_key:  # this offer's machine can't be given one
            self.host.unpin(session)
        return self._answered(session, instance)

    def _begin(self, session: Session, intent: Intent, lease: Lease, offer: Offer) -> Session:
        """Commit the intent; while another member's create call has no known outcome, that is waited for."""
        ledger, step = self.ledger, 0

        def admit() -> None:
            if found := ledger.lost_in_group(session):
                raise _OtherLost(found)
            limits.admit(ledger, self.id)

        while True:
            try:
                return ledger.begin_create(session, intent, admit=admit, lease=lease, **self._facts(offer))
            except LimitReached as err:
                raise NextOffer(err) from err
            except _OtherLost as err:
                given_up = [one for one in err.members if one.state is not SessionState.CREATING]
                if given_up:
                    lost = f"it is not known what {self.provider.title} rented for {given_up[0].name}"
                    msg = f"{lost}: no further machine of its group is asked for"
                    raise Unavailable(
                        msg,
                        provider=self.provider.name,
                        bill=f"nothing was rented for {session.name}",
                    ) from None
                self.progress.say(f"waiting to learn what came of the create call of {err.members[0].name}")
            self._keep()
            ledger.clock.sleep(self.timing.pause(step))
            step += 1

    def _refused(self, label: str, err: GpunbError) -> None:
        self.ledger.resolve_intent(label, IntentState.REFUSED, err.message)
        session = self.ledger.get(self.id)
        if session.state is SessionState.CREATING:
            self.ledger.transition(session, SessionState.REQUESTED, err.message)
        else:
            self._ended_elsewhere(session)

    def _answered(self, session: Session, instance: Instance) -> Session:
        sent = max(intent.sent for intent in self.ledger.intents(self.id))
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
        """End the instance after the ledger failed between the call and its answer."""
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
        """After a lost answer, look for the label until it shows up or is surely absent."""
        text = cause.message if isinstance(cause, GpunbError) else f"{type(cause).__name__}: {cause}"
        self.ledger.note(self.id, "answer-lost", text)
        self.ledger.resolve_intent(label, IntentState.SENT, text)  # from now on lists may lag
        end_at = self.ledger.clock.time() + self.timing.lookup_s * 1.5
        step = 0
        while True:
            listing = Listing(self.provider)
            session = resolve_lost_create(self.ledger, listing, self.ledger.get(self.id), self.timing)
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
                raise NextOffer(lost) from cause
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

    # -- what it asks for -------------------------------------------------

    def _lease(self, offer: Offer, spent: float) -> Any:
        request = self.request
        if request.lease is not None:
            return cut(request.lease, offer.ends) or replace(request.lease)
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
        if request.until is not None and lease.deadline is not None:
            lease.deadline = min(lease.deadline, request.until)
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

    def _boot_s(self, offer: Offer) -> float:
        return self.request.boot_s or self.timing.boot(offer, self.request.image_gb)

    # -- its end and its bill ---------------------------------------------

    def _ended_elsewhere(self, session: Session) -> NoReturn:
        """Finish the end that another process began, then raise."""
        session = self._end(session.detail or "ended by another process", self.timing.confirm_s)
        reason = session.detail or "by another process"
        msg = f"session {session.name} was ended while it was being rented: {reason}"
        raise Cancelled(msg, bill=self._bill(session))

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

    def _bill(self, session: Session | None) -> str:
        """One sentence on what is known of the bill."""
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
