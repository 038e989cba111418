"""Renting a group: one rental a member, and all of them, or at least as many as were asked for, or none."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING

from gpunb.errors import Cancelled, GpunbError, OfferGone, OutcomeUnknown, WrongState
from gpunb.hints import typed
from gpunb.progress import SILENT, Progress
from gpunb.sessions.cost.lease import Due
from gpunb.sessions.foreign_errors import words
from gpunb.sessions.lifecycle.ending import begin_end, end
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import Group, Session, SessionState
from gpunb.units import money_text, price_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.providers.base import Provider
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = ["AT_ONCE", "BROKEN_OFF", "broken_off", "form"]

_S = SessionState
AT_ONCE = 8  # rentals at a time; each cloud's own rate limit holds besides
BROKEN_OFF = "fewer members came than the group needs"
_COMING = frozenset({_S.CREATING, _S.BOOTING, _S.REACHABLE, _S.READY})
_WAIT_S = 1.0


class _Forming:
    """The rentals of one group's members."""

    def __init__(
        self, ledger: Ledger, group: Group, rent: Callable[[Session], object], timing: Timing
    ) -> None:
        self.ledger = ledger
        self.group = group
        self.rent = rent
        self.timing = timing
        self.failed: dict[int, BaseException] = {}
        self.reasons: dict[int, BaseException] = {}
        self.cancelled = False
        self._lock = threading.Lock()

    def hopeless(self) -> bool:
        """Whether fewer members than needed can still come."""
        return self.cancelled or self.group.wanted - len(self.failed) < self.group.at_least

    def one(self, member: Session) -> None:
        """Rent one member, unless it is of no use any more; the rest ends as soon as that is so for all."""
        if self.hopeless():
            return
        try:
            self.rent(member)
        except Exception as err:  # noqa: BLE001 - told at the end, when all members are looked at
            with self._lock:
                if not self.hopeless():  # else it is only the end that another one's failure has brought
                    self.reasons[member.rank] = err
                self.failed[member.rank] = err
                self.cancelled = self.cancelled or isinstance(err.__cause__, KeyboardInterrupt)
        if self.hopeless():
            self.begin_ends()

    def begin_ends(self) -> None:
        """Have every member end; the rentals that are under way see it, and end what they have."""
        for member in self.members():
            if member.alive:
                with suppress(WrongState):
                    begin_end(self.ledger, member.id, "cancelled" if self.cancelled else BROKEN_OFF)

    def members(self) -> list[Session]:
        """The members as the ledger has them now."""
        return [self.ledger.get(member.id) for member in self.group.members]

    def run(self, at_once: int) -> None:
        """Rent all members, at most so many at a time."""
        if at_once <= 1:
            for member in self.group.members:
                self.one(member)
            return
        pool = ThreadPoolExecutor(min(at_once, len(self.group.members)), "gpunb-rent")
        left: set[Future[None]] = {pool.submit(self.one, member) for member in self.group.members}
        try:
            while left:
                _, left = wait(left, timeout=_WAIT_S, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt:
            self.cancelled = True
            self.begin_ends()
            with suppress(KeyboardInterrupt):  # a second one leaves the rest to the supervisor
                wait(left, timeout=self.timing.interrupt_s)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def form(
    ledger: Ledger,
    group: Group,
    rent: Callable[[Session], object],
    *,
    provider: Callable[[str], Provider],
    at_once: int = AT_ONCE,
    progress: Progress = SILENT,
    timing: Timing | None = None,
) -> Group:
    """Rent the members of a recorded group; returns it, complete, or ends those that came.

    While it is not known what came of one member's create call, no other one is sent.

    Parameters
    ----------
    rent
        Rents the machine of one member; as `gpunb.sessions.lifecycle.rent`, for a requested session.

    Raises
    ------
    OfferGone
        Fewer came than are needed; what came is confirmed gone, and the message has what it cost.
    OutcomeUnknown
        The same, but of something it is not known whether it is gone.
    Cancelled
        Ctrl-C, also with what was confirmed.
    """
    times = timing or Timing()
    work = _Forming(ledger, group, rent, times)
    work.run(at_once)
    ready = [member for member in work.members() if member.state is _S.READY]
    if len(ready) >= group.at_least and not work.cancelled:
        ledger.form_group(group.id)
        ledger.touch(ready[0].id)
        _end_rest(work, [one for one in work.members() if one.state is _S.REQUESTED], provider, progress)
        return ledger.group(group.name)
    work.begin_ends()
    _end_rest(work, work.members(), provider, progress)
    raise _none(work)


def _end_rest(
    work: _Forming, members: list[Session], provider: Callable[[str], Provider], progress: Progress
) -> None:
    within = work.timing.interrupt_s if work.cancelled else work.timing.confirm_s
    for member in members:
        if member.alive and member.state is not _S.UNKNOWN:
            why = "cancelled" if work.cancelled else BROKEN_OFF
            with suppress(GpunbError):  # it stays ending, and is told of; the supervisor goes on
                end(
                    work.ledger,
                    provider(member.provider),
                    member.id,
                    why=why,
                    within=within,
                    timing=work.timing,
                    progress=progress,
                )
        with suppress(GpunbError):
            work.ledger.release(member.id)


def _none(work: _Forming) -> GpunbError:
    """The error of a group that did not come about, with the reasons and the bill."""
    group, members = work.group, work.members()
    came = sum(member.ready is not None for member in members)
    spent = sum(work.ledger.cost(member.id).total for member in members)
    left = [member for member in members if member.alive]
    cost = f" (it cost {money_text(spent)})" if spent >= 0.005 else ""
    bill = f"confirmed: nothing is rented{cost}"
    if left:
        names = ", ".join(f"{one.name} ({one.label})" for one in left)
        usd_h = price_text(sum(one.usd_h for one in left))
        bill = f"NOT confirmed: {names} may be billed at {usd_h}/h until the supervisor has ended it{cost}"
    if work.cancelled:
        msg = f"the rental of {group.name} was cancelled"
        return Cancelled(msg, bill=bill, hint=typed("ps") + " shows the rest" if left else None)
    reasons = "; ".join(f"{group.name}.{rank}: {words(err)}" for rank, err in sorted(work.reasons.items()))
    need = f"{group.at_least} of {group.wanted}" if group.at_least < group.wanted else f"all {group.wanted}"
    msg = f"{group.name} needs {need} members, and {came} came, which are ended: {reasons}"
    first = members[0].provider
    unsure = [err for err in work.failed.values() if isinstance(err, OutcomeUnknown)]
    if left or unsure:
        return OutcomeUnknown(
            msg, provider=first, bill=bill, hint=typed("ps") + " shows it until it is confirmed gone"
        )
    hint = typed("offers") + " shows what is there now; --at-least N takes fewer"
    return OfferGone(msg, provider=first, bill=bill, hint=hint)


def broken_off(ledger: Ledger) -> dict[str, Due]:
    """The members of groups that nobody rents any more and that can't be complete, by id: they end.

    Groups that are complete by now are recorded as such. Where enough members are on their way, each is
    brought up by the supervisor as any session is.
    """
    out: dict[str, Due] = {}
    for group in ledger.groups():
        live = [member for member in group.live if member.state is not _S.ENDING]
        if group.formed is not None or any(ledger.in_hand(member.id) for member in live):
            continue
        coming = [member for member in live if member.state in _COMING]
        if len(coming) < group.at_least:
            text = f"{group.name} was broken off with {len(coming)} of the {group.at_least} members it needs"
            out.update({member.id: Due(why="group", text=text) for member in live})
        elif all(member.state is _S.READY for member in coming) and len(coming) == len(live):
            ledger.form_group(group.id)
            ledger.touch(live[0].id)
    return out
