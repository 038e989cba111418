"""Leases: defaults, checks, extension, what is due and what is left."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpunb.errors import BadInput, HostError, WrongState
from gpunb.hints import typed
from gpunb.sessions.access.host_access import HOST
from gpunb.sessions.model import OVER, Cost, Lease, Session, SessionState, offer_from_dict
from gpunb.units import duration_text, money_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.providers.base import Offer
    from gpunb.sessions.access.host_access import HostAccess
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = [
    "DEFAULT_HOURS",
    "DEFAULT_IDLE_S",
    "Due",
    "Standing",
    "cut",
    "due",
    "extend",
    "extended",
    "lease_for",
    "lease_for_all",
    "standing",
]

DEFAULT_HOURS = 2.0
DEFAULT_IDLE_S = 1800.0
BUDGET_FACTOR = 1.2
MAX_HOURS = 8784.0  # a leap year: longer is a typing error
MIN_IDLE_S = 60.0
CONTRACT_S = 900.0  # a lease ends this long before the host's contract: time to save files
WARN_S = 600.0
WARN_SHARE = 0.1


def lease_for(
    offer: Offer,
    *,
    now: float,
    hours: float | None = None,
    idle_s: float | None = None,
    budget_usd: float | None = None,
    budget_most: float | None = None,
    disk_gb: float = 0.0,
    spent: float = 0.0,
) -> Lease:
    """Build the lease of a rental of `offer` that begins at `now`.

    Parameters
    ----------
    hours
        From the create call to the end; None is 2. A rental always has an end.
    idle_s
        Seconds without a run or a transfer; None is 30 minutes, infinity is never.
    budget_usd
        US dollars; None is 1.2 times the price of `hours` (no limit if that is 0),
        infinity is no limit.
    budget_most
        US dollars; replaces a default budget that is larger.
    spent
        US dollars that earlier attempts of this rental cost.

    Raises
    ------
    BadInput
        A value breaks its rule.
    """
    length = _hours(DEFAULT_HOURS if hours is None else hours)
    idle = _idle(DEFAULT_IDLE_S if idle_s is None else idle_s)
    price = offer.total(length, disk_gb=disk_gb)
    if budget_usd is None and budget_most is not None:
        budget_usd = budget_most if price * BUDGET_FACTOR > budget_most else None
    if budget_usd is None:
        budget = spent + price * BUDGET_FACTOR if price > 0 else None
    else:
        first = min(1.0, length)
        least = offer.total(first, disk_gb=disk_gb)
        first_text = "one hour" if first == 1.0 else duration_text(first * 3600.0)
        budget = _budget(budget_usd, least + spent, f"{first_text} of it costs {money_text(least)}")
    deadline = now + length * 3600.0
    if offer.ends is not None and now > 0 and deadline > offer.ends - CONTRACT_S:
        deadline = offer.ends - CONTRACT_S
        if deadline - now < CONTRACT_S:
            msg = f"the contract of offer {offer.id} ends in {duration_text(max(0.0, offer.ends - now))}"
            raise BadInput(msg, bill="nothing was rented", hint="take another offer: " + typed("offers"))
    return Lease(deadline=deadline, idle_s=idle, budget_usd=budget, budget_set=budget_usd is not None)


def lease_for_all(
    offers: Sequence[Offer],
    *,
    now: float,
    hours: float | None = None,
    idle_s: float | None = None,
    budget_usd: float | None = None,
    budget_most: float | None = None,
    disk_gb: float = 0.0,
) -> Lease:
    """Build the one lease of a group: as `lease_for`, with a budget for all machines together.

    Raises
    ------
    BadInput
        A value breaks its rule, or the budget carries some of the machines only.
    """
    length = _hours(DEFAULT_HOURS if hours is None else hours)
    price = math.fsum(offer.total(length, disk_gb=disk_gb) for offer in offers)
    if budget_usd is None and budget_most is not None and price * BUDGET_FACTOR > budget_most:
        budget_usd = budget_most
    if budget_usd is None:
        budget = price * BUDGET_FACTOR if price > 0 else None
    else:
        first = min(1.0, length)
        each = [offer.total(first, disk_gb=disk_gb) for offer in offers]
        carried = sum(math.fsum(each[: number + 1]) <= budget_usd for number in range(len(each)))
        span = "one hour" if first == 1.0 else duration_text(first * 3600.0)
        least = math.fsum(each)
        text = (
            f"{span} of all {len(each)} machines costs {money_text(least)}, and it carries {carried} of them"
        )
        budget = _budget(budget_usd, least, text)
    return Lease(
        deadline=now + length * 3600.0,
        idle_s=_idle(DEFAULT_IDLE_S if idle_s is None else idle_s),
        budget_usd=budget,
        budget_set=budget_usd is not None,
    )


def cut(lease: Lease, ends: float | None) -> Lease | None:
    """Shorten `lease` to end before the contract (`ends`, Unix seconds); None if it already does."""
    if ends is None or lease.deadline is None or lease.deadline <= ends - CONTRACT_S:
        return None
    return replace(lease, deadline=ends - CONTRACT_S)


def extend(
    ledger: Ledger,
    session: Session,
    *,
    hours: float | None = None,
    idle_s: float | None = None,
    budget_usd: float | None = None,
    count_ssh: bool | None = None,
    host: HostAccess = HOST,
) -> Session:
    """Change a session's lease, in the ledger and on its host.

    Parameters
    ----------
    hours
        Added to the deadline, or to now if that is over. A budget that the user did not
        choose grows with it.
    idle_s
        The new idle time, seconds; infinity is never.
    budget_usd
        The new budget for the whole session; infinity is no limit.
    count_ssh
        Whether a login at the host's terminal counts as activity from now on.

    Raises
    ------
    BadInput
        Nothing is asked for, or a value breaks its rule.
    WrongState
        The session is over or ending.
    LimitReached
        The session could then cost more than a cap over all sessions allows.
    HostError
        The ledger has the new lease, but the host could not be reached; the supervisor tries
        again.
    """
    session = ledger.get(session.id)
    lease = extended(ledger, session, hours=hours, idle_s=idle_s, budget_usd=budget_usd, count_ssh=count_ssh)
    from gpunb.sessions.cost import limits

    session_id = session.id
    ledger.update(session_id, lease=lease, admit=lambda: limits.admit(ledger, session_id))
    ledger.touch(session.id)  # an extension is activity
    ledger.note(session.id, "extend", lease.mark)
    session = ledger.get(session.id)
    if session.state in {SessionState.READY, SessionState.REACHABLE}:
        try:
            host.arm(session)
        except HostError as err:
            msg = f"{session.name} has its new lease, but its host could not be told: {err.message}"
            raise type(err)(
                msg,
                bill=err.bill,
                hint="the host may stop the work at the old time; the supervisor sends it the new lease "
                "when it answers again",
            ) from err
        session = ledger.update(session.id, armed=lease.mark)
    return session


def extended(
    ledger: Ledger,
    session: Session,
    *,
    hours: float | None = None,
    idle_s: float | None = None,
    budget_usd: float | None = None,
    count_ssh: bool | None = None,
) -> Lease:
    """Compute the lease that `extend` would set; nothing is changed.

    Raises
    ------
    BadInput, WrongState
        As `extend`.
    """
    if session.state in OVER or session.state in {SessionState.ENDING, SessionState.UNKNOWN}:
        msg = f"session {session.name} is {session.state.value}: its lease can't be extended"
        raise WrongState(msg, hint=typed("rent") + " starts another")
    if hours is None and idle_s is None and budget_usd is None and count_ssh is None:
        msg = "extend: say what to extend: hours, idle time or budget"
        raise BadInput(msg, hint=typed("extend 2h"))
    now = ledger.clock.time()
    lease = replace(session.lease)
    if hours is not None:
        more = _hours(hours)
        lease.deadline = max(now, lease.deadline or now) + more * 3600.0
        if lease.deadline - now > MAX_HOURS * 3600.0:
            msg = f"extend {hours:g} h: the end would be more than {MAX_HOURS:g} h away"
            raise BadInput(msg)
        if cut(lease, session.contract_end) is not None:
            ends = session.contract_end or 0.0
            left = ends - CONTRACT_S - max(now, session.lease.deadline or now)
            at = time.strftime("%Y-%m-%d %H:%M", time.localtime(ends))
            msg = f"extend {hours:g} h: the host's contract for {session.name} ends at {at}"
            most = typed("extend", session.name, f"{int(left // 60)}m") + " is the most"
            move = "move your files to another machine before that: " + typed("rent") + ", " + typed("sync")
            raise BadInput(msg, hint=most if left >= 60 else move)
        if lease.budget_usd is not None and not lease.budget_set:
            price = offer_from_dict(session.offer).total(more, disk_gb=session.disk_gb, more=True)
            lease.budget_usd += max(price, session.usd_h * more) * BUDGET_FACTOR
    if idle_s is not None:
        lease.idle_s = _idle(idle_s)
    if budget_usd is not None:
        cost = ledger.cost(session.id)
        spent = cost.total + (0.0 if cost.beside is None else cost.beside.total)
        lease.budget_usd = _budget(budget_usd, spent, f"{money_text(spent)} are spent already")
        lease.budget_set = True
    if count_ssh is not None:
        lease.count_ssh = count_ssh
    return lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The reason why a session must end now: "deadline", "idle", "budget" or "limit", and a sentence."""

    why: str
    text: str


def due(session: Session, cost: Cost, now: float) -> Due | None:
    """The reason to end `session` at `now`, or None.

    A stopped session can't be idle, but its deadline and its budget (disks are billed) hold.
    """
    lease = session.lease
    if lease.deadline is not None and now >= lease.deadline:
        return Due(why="deadline", text="its time is over")
    if lease.budget_usd is not None and lease.counted(cost) >= lease.budget_usd:
        return Due(why="budget", text=f"its budget of {money_text(lease.budget_usd)} is spent")
    if session.state is not SessionState.READY or lease.idle_s is None:
        return None
    if now - session.active_at >= lease.idle_s:
        return Due(why="idle", text=f"nothing ran or moved for {lease.idle_s / 60.0:g} min")
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The status of a lease: its end, what is left, warnings.

    Attributes
    ----------
    ends_at
        The earliest Unix time at which it ends the session if nothing runs from now on;
        None if nothing ends it.
    why
        What would end it then: "deadline", "idle" or "budget".
    idle_left_s, budget_left_usd
        What is left of each, None where there is no limit.
    warning
        A line to show when the end is near, else "".
    traffic
        A line to show when traffic has cost more than the default budget leaves, which does not count it.
    """

    ends_at: float | None = None
    why: str = ""
    idle_left_s: float | None = None
    budget_left_usd: float | None = None
    warning: str = ""
    traffic: str = ""


def standing(session: Session, cost: Cost, now: float) -> Standing:
    """Compute the lease status of a live session at `now`."""
    lease = session.lease
    ends: list[tuple[float, str]] = []
    idle_left = budget_left = None
    if lease.deadline is not None:
        ends.append((lease.deadline, "deadline"))
    if lease.idle_s is not None and session.state is SessionState.READY:
        idle_left = max(0.0, session.active_at + lease.idle_s - now)
        ends.append((now + idle_left, "idle"))
    if lease.budget_usd is not None:
        budget_left = max(0.0, lease.budget_usd - lease.counted(cost))
        if session.hourly > 0:
            own = lease.counted(replace(cost, beside=None))
            share = lease.counted(cost) / own if own > 0 else 1.0  # what others of its group use up, too
            ends.append((now + budget_left / (session.hourly * share) * 3600.0, "budget"))
    if not ends:
        return Standing()
    at, why = min(ends)
    left = max(0.0, at - now)
    near = {
        "deadline": left <= WARN_S,
        "idle": lease.idle_s is not None and left <= min(WARN_S, lease.idle_s / 3.0),
        "budget": left <= WARN_S or (budget_left or 0.0) <= WARN_SHARE * (lease.budget_usd or 0.0),
    }[why]
    warning = ""
    if near:
        reason = {"deadline": "its time", "idle": "its idle time", "budget": "its budget"}[why]
        warning = (
            f"{session.name} ends in {left / 60.0:.0f} min: {reason} is nearly over; "
            + typed("extend")
            + " keeps it"
        )
    return Standing(
        ends_at=at,
        why=why,
        idle_left_s=idle_left,
        budget_left_usd=budget_left,
        warning=warning,
        traffic=_traffic(session, cost),
    )


def _traffic(session: Session, cost: Cost) -> str:
    lease = session.lease
    if lease.budget_set or lease.budget_usd is None or cost.total <= lease.budget_usd or not cost.bandwidth:
        return ""
    return (
        f"{session.name} has cost {money_text(cost.total)}, {money_text(cost.bandwidth)} of it for traffic, "
        f"which the default budget of {money_text(lease.budget_usd)} does not count; "
        + typed("extend", session.name, "--budget", "USD")
        + " limits all"
    )


def _hours(value: float) -> float:
    if not math.isfinite(value) or value <= 0 or value > MAX_HOURS:
        msg = f"lease of {value:g} h: it must end in the future, in at most {MAX_HOURS:g} h"
        raise BadInput(msg, bill="nothing was changed")
    return float(value)


def _idle(value: float) -> float | None:
    if value == math.inf:
        return None
    if not value >= MIN_IDLE_S or value > MAX_HOURS * 3600.0:
        msg = f"idle time of {value:g} s: at least {MIN_IDLE_S:g} s, at most {MAX_HOURS:g} h, or never"
        raise BadInput(msg, bill="nothing was changed")
    return float(value)


def _budget(value: float, least: float, why: str) -> float | None:
    if value == math.inf:
        return None
    if not value > 0 or value < least:
        msg = f"budget of {money_text(value)} is too small: {why}, so at least {money_text(least)} is needed"
        raise BadInput(msg, bill="nothing was changed")
    return float(value)
