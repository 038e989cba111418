"""The rules of a run that goes on when its machine is taken: when, how often, and at what cost.

All of it is read from the ledger. The next session is recorded together with the end of the one before it,
at most one for each, and nothing is rented for it until that one is confirmed gone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb.sessions.ledger.sessions import label_for, new_id
from gpunb.sessions.model import OVER, Lease, Session, SessionState
from gpunb.units import duration_text

if TYPE_CHECKING:
    from gpunb.sessions.ledger.sessions import Ledger

__all__ = [
    "LEAST_S", "MOST", "TAKEN", "UNBEGUN", "attempt", "attempts", "ended_chain", "first", "goes_on",
    "is_taken", "lease_left", "newest", "settled", "successor_of", "waits_for",
]  # fmt: skip

TAKEN = "its machine was taken"
"""Why a session ends whose run goes on elsewhere, in its history and its receipt."""

UNBEGUN = "its run never began"
"""Why a session ends on which a client could not start its run."""

MOST = 10
"""Machines on which one run is begun."""

MOST_UNBEGUN = 3
"""Machines in a row on which it could not be begun."""

LEAST_S = 300.0
"""Seconds of the lease that another machine is worth."""

AWAY_S = 600.0
"""Seconds without its host after which a machine counts as lost."""

COUNTED = "counted"  # in `Session.again`: US dollars of the machine before that are off the budget already
_AWAY = {"interrupted", "offline"}
_S = SessionState


def is_taken(ledger: Ledger, session: Session, now: float) -> bool:
    """Whether the cloud has taken the machine of a live session, or its host is away for long.

    A run that has ended leaves its results there, which a machine that comes back still has.
    """
    if not session.again or session.ready is None:
        return False
    note = ledger.run(session.id, session.ends_with)
    if note is not None and note.ended is not None:
        return False
    if session.state is _S.STOPPED:
        return session.cloud_state in _AWAY
    return session.state is _S.READY and session.cloud_state == "offline" and now - session.active_at > AWAY_S


def goes_on(ledger: Ledger, session: Session) -> bool:
    """Whether the run of a session that is over, or whose machine is taken, is to go on elsewhere.

    Not if it has ended, or if the session ended for a reason of the user's or of its lease.
    """
    if not session.again or any(event.kind == "chain-over" for event in ledger.events(session.id)):
        return False
    note = ledger.run(session.id, session.ends_with)
    ends = [event.detail for event in ledger.events(session.id) if event.new == _S.ENDING.value]
    why = ends[-1] if ends else ""
    if session.state not in OVER and session.state is not _S.ENDING:
        why = ""
    if note is not None:
        return note.ended is None and why in {"", TAKEN}
    if not session.follows:
        return False  # the client that was to begin it has said so, or is dead
    return why in {"", UNBEGUN, "run"} or why.startswith(("boot failed", "found again"))


def attempts(ledger: Ledger, session: Session) -> list[Session]:
    """The sessions of one run up to this one, the first of them first."""
    out = [session]
    while out[0].follows:
        out.insert(0, ledger.get(out[0].follows))
    return out


def first(ledger: Ledger, session: Session) -> Session:
    """The session on which the run was first begun."""
    return attempts(ledger, session)[0]


def newest(ledger: Ledger, session: Session) -> Session:
    """The session on which the run goes on now; `session` itself if it goes on nowhere else."""
    while (later := ledger.successor(session.id)) is not None:
        session = later
    return session


def attempt(ledger: Ledger, session: Session) -> int:
    """The number of the attempt that is begun on this session: 1, 2, …."""
    before = attempts(ledger, session)[:-1]
    return 1 + sum(ledger.run(one.id, one.ends_with) is not None for one in before)


def lease_left(ledger: Ledger, session: Session) -> Lease:
    """What the next machine may use: the same end, and what is left of the budget."""
    lease = session.lease
    if lease.budget_usd is None:
        return replace(lease)
    return replace(lease, budget_usd=max(0.0, lease.budget_usd - _counted(ledger, session)))


def ended_chain(ledger: Ledger, session: Session) -> str:
    """Why no further machine may be rented for the run of `session`, or ""."""
    begun = attempt(ledger, session) - (ledger.run(session.id, session.ends_with) is None)
    if begun >= MOST:
        return f"it was begun on {MOST} machines, which is the most"
    last = attempts(ledger, session)[-MOST_UNBEGUN:]
    if len(last) == MOST_UNBEGUN and all(ledger.run(one.id, one.ends_with) is None for one in last):
        return f"it could not be begun on {MOST_UNBEGUN} machines in a row"
    left = lease_left(ledger, session)
    if left.budget_usd is not None and left.budget_usd <= 0.0:
        return "its budget is spent"
    if left.deadline is not None and left.deadline - ledger.clock.time() < LEAST_S:
        return f"less than {duration_text(LEAST_S)} of its time are left"
    return ""


def successor_of(ledger: Ledger, session: Session) -> Session:
    """The record of the next session, before it is in the ledger."""
    from gpunb.remote import new_run_id

    ident = new_id()
    return Session(
        id=ident,
        name=session.name,
        provider=session.provider,
        label=label_for(ledger.installation, ident),
        lease=lease_left(ledger, session),
        gpu=session.gpu,
        gpus=session.gpus,
        trust=session.trust,
        image=session.image,
        disk_gb=session.disk_gb,
        python=session.python,
        save=list(session.save),
        save_to=session.save_to,
        renter=session.renter,
        ends_with=new_run_id(),
        again={**session.again, COUNTED: _counted(ledger, session)},
    )


def settled(ledger: Ledger, session: Session) -> Session:
    """Take off a requested session's budget what the machine before it has cost since it was recorded."""
    budget = session.lease.budget_usd
    if budget is None:
        return session
    counted = _counted(ledger, ledger.get(session.follows))
    lease = replace(session.lease, budget_usd=max(0.0, budget - counted + session.again[COUNTED]))
    return ledger.update(session.id, lease=lease, again={**session.again, COUNTED: counted})


def _counted(ledger: Ledger, session: Session) -> float:
    return session.lease.counted(ledger.cost(session.id))


def waits_for(ledger: Ledger, session: Session) -> Session | None:
    """The session before a requested one whose end is not confirmed yet: until then nothing is rented."""
    before = ledger.get(session.follows)
    return None if before.state in OVER else before
