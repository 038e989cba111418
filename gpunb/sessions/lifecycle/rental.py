"""One rental: offers tried in order, each create call recorded, sent once, resolved."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpunb.errors import (
    AuthFailed,
    BadInput,
    Cancelled,
    GpunbError,
    HostKeyChanged,
    LedgerError,
    LimitReached,
    NotSupported,
    OfferGone,
    OutcomeUnknown,
    QuotaExhausted,
    RateLimited,
    Unreachable,
    WrongState,
)
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.sessions.access.host_access import HOST
from gpunb.sessions.cost.lease import DEFAULT_HOURS
from gpunb.sessions.cost.receipts import write_receipt
from gpunb.sessions.cost.totals import slug
from gpunb.sessions.ledger.sessions import Ledger, label_for, valid_name
from gpunb.sessions.lifecycle.agreement import Agreement
from gpunb.sessions.lifecycle.bringup import Unfit, bring_up
from gpunb.sessions.lifecycle.create_call import CreateCall, NextOffer
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import OVER, IntentState, Session, SessionState
from gpunb.sessions.start_check import NotAsOffered
from gpunb.units import hourly_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpunb.providers.base import Offer, Provider
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.lifecycle.rent_request import RentRequest

__all__ = ["Rental", "rent"]

# Errors that every further offer of the provider would meet too
# (another host key than ours is not a machine's fault: it may be a man in the middle)
_FINAL = (AuthFailed, QuotaExhausted, NotSupported, BadInput, LimitReached, Unfit, HostKeyChanged)
_RATE_WAIT_S = 60.0
_RATE_TRIES = 2  # how often an offer is requested again after a rate limit


class Rental(CreateCall):
    """The implementation of `gpunb.sessions.lifecycle.rent`, which is the function to call."""

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
        """Filter the offers by the agreement: a yes to one does not cover a dearer or larger one."""
        if self.agreed is None:
            hours = DEFAULT_HOURS if self.request.hours is None else self.request.hours
            self.agreed = Agreement.to(offers[0], hours=hours, disk_gb=self.request.disk_gb)
        agreed = self.agreed
        fitting = [offer for offer in offers if not agreed.differs(offer)]
        if not fitting:
            msg = f"offer {offers[0].id} does not match what was agreed to: {agreed.differs(offers[0])}"
            raise OfferGone(msg, provider=self.provider.name, bill="nothing was rented", hint=typed("offers"))
        return fitting

    # -- the offers -------------------------------------------------------

    def _try_all(self, offers: Sequence[Offer]) -> Session:
        ledger = self.ledger
        self._record(offers[0])
        if self.watch is not None:
            self.watch(ledger)
        public_key = self.host.prepare(self.id, label_for(ledger.installation, self.id))
        failed: list[str] = []
        queue, again = list(offers), 0
        before = len(ledger.intents(self.id))  # of an earlier process: no label is used twice
        for number, offer in enumerate(queue, 1):
            turn = self._one(offer, before + number, public_key)
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

    def _record(self, first: Offer) -> None:
        """Record the session, or what a requested one is to get; this process then has the claim."""
        request, ledger = self.request, self.ledger
        same: dict[str, Any] = {
            "provider": self.provider.name,
            "lease": self._lease(first, ledger.cost(self.id).total if request.requested else 0.0),
            "image": request.image or "",
            "disk_gb": request.disk_gb,
            "python": request.python,
            **self._facts(first),
        }
        if request.requested:
            self._keep()
            follows = ledger.get(self.id).follows
            before = ledger.get(follows) if follows else None
            if before is not None and before.state not in OVER:
                msg = f"{before.name} is not confirmed gone: no second machine is rented"
                raise WrongState(msg, bill="nothing was rented")
            ledger.update(self.id, **same)
            return
        ledger.add_session(
            Session(
                id=self.id,
                name=request.name or "",
                label=label_for(ledger.installation, self.id),
                save=list(request.save),
                renter=request.renter,
                ends_with=request.ends_with,
                moves_from=request.moves_from,
                again=dict(request.again),
                save_to=request.save_to or os.getcwd(),  # noqa: PTH109 - a string, also if it is gone by now
                **same,
            ),
            slug=slug(first),
            claim_s=self.timing.claim_s,
        )

    def _one(self, offer: Offer, number: int, public_key: str) -> Session | GpunbError:
        """Try one offer; returns the ready session, or why the offer failed."""
        if self.request.disk_gb > offer.disk_max_gb:
            return OfferGone(f"has at most {offer.disk_max_gb:g} GB of disk", provider=self.provider.name)
        if offer.machine_id and offer.machine_id in self.not_as_offered:
            return OfferGone("its machine is not what was offered", provider=self.provider.name)
        if why := self.provider.unfit(offer, self.request.spec()):
            return OfferGone(why, provider=self.provider.name, bill="nothing was rented")
        try:
            return self._try(offer, number, public_key)
        except NextOffer as turn:
            return turn.cause

    def _give_up(self, failed: Sequence[str]) -> None:
        session = self.ledger.get(self.id)
        if session.state is SessionState.REQUESTED and not self.request.requested:
            session = self.ledger.transition(session, SessionState.FAILED, "; ".join(failed))
            if any(intent.state is IntentState.GONE for intent in self.ledger.intents(self.id)):
                write_receipt(self.ledger, None, session, why="boot failed")

    def _tidy(self) -> None:
        """End the session of a rental that broke off before anything was sent."""
        with suppress(GpunbError):
            session = self.ledger.get(self.id)
            if session.state is SessionState.REQUESTED and not self.request.requested:
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
        except GpunbError as err:  # also a host name that is unsafe to pass to ssh
            raise self._boot_failed(offer, err) from err
        return session

    # -- what can go wrong ------------------------------------------------

    def _boot_failed(self, offer: Offer, err: GpunbError) -> Exception:
        """End the instance and confirm that before another offer is tried."""
        self.boots += 1
        self.ledger.note(self.id, "boot-failed", err.message)
        if isinstance(err, NotAsOffered):
            self.not_as_offered.add(offer.machine_id)
        elif not isinstance(err, Unfit):
            self.ledger.add_failure(self.provider.name, offer.machine_id, err.message)
        self.progress.say(f"{err.message}; ending it")
        session = self._end(f"boot failed: {err.message}", self.timing.confirm_s, then=SessionState.REQUESTED)
        if session.state is SessionState.REQUESTED:
            err.bill = None  # the bill of the running instance; the current one is added at the end
            if self.request.start_command and isinstance(err, Unreachable):
                hint = "a start command takes the place of the image's own: it has to start SSH, too"
                err = Unfit(err.message, hint=err.hint or hint)
            return NextOffer(err)
        if session.state in OVER:
            return Cancelled(f"session {session.name} was ended by another process", bill=self._bill(session))
        msg = f"{err.message}; and {self.provider.title} has not confirmed that it is gone"
        return OutcomeUnknown(
            msg,
            provider=self.provider.name,
            bill=self._bill(session),
            hint="gpunb tries no further offer until that is certain; " + typed("ps") + " shows it",
        )

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

    def _now(self) -> Session | None:
        try:
            return self.ledger.get(self.id)
        except GpunbError:
            return None

    def _watch_boot(self) -> None:
        self._keep()
        self._check_price()

    def _check_price(self) -> None:
        """Refuse a price above the agreed one: it can rise after the search."""
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
    host: HostAccess = HOST,
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
