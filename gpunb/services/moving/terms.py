"""What a move asks for: whether a session can move, the new machine, and what is left of the lease."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, WrongState
from gpunb.hints import typed
from gpunb.services import renting_flow
from gpunb.sessions.lifecycle.rescue import EARLY_S
from gpunb.sessions.model import SessionState
from gpunb.units import bytes_text, costs_text, duration_text, files_text, hourly_text, money_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.services.moving.rented_with import RentedWith
    from gpunb.services.moving.stopped import Disk
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Lease, Session

__all__ = ["Target", "check", "clouds", "rest", "standing", "wish"]

LEAST_S = 600.0  # a lease with less left is not worth a move


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a session is to move.

    Attributes
    ----------
    query, flags, offer, disk
        The search, as in `gpunb.services.renting_flow.Wish`; without a cloud the session's own is asked.
    paths
        Folders of the host that are copied beside what is visible in its home folder.
    packages
        Whether packages that the new machine lacks are installed there.
    env
        Variables of the new machine, beside those of the old one's rental.
    volumes
        Whether the session's volumes are mounted on the new machine, too.
    """

    query: Sequence[str] = ()
    flags: Mapping[str, Any] = field(default_factory=dict)
    offer: str | None = None
    disk: str | None = None
    paths: Sequence[str] = ()
    packages: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: bool = True


def clouds(session: Session, target: Target) -> tuple[str, ...]:
    """The clouds that are asked for offers."""
    return tuple(target.flags.get("cloud") or ()) or (session.provider,)


def standing(session: Session) -> str:
    """The session's state in a word: "stopped" or, where its cloud stopped it, "interrupted"."""
    if session.state is SessionState.STOPPED and session.cloud_state in {"interrupted", "offline"}:
        return session.cloud_state
    return session.state.value


def check(ledger: Ledger, session: Session) -> None:
    """Refuse a session that can't move now, before anything is rented.

    Raises
    ------
    WrongState, BadInput
        With the reason.
    """
    bill = "nothing was rented"
    if session.state not in {SessionState.READY, SessionState.STOPPED}:
        msg = f"move: {session.name} is {session.state.value}: only a ready or a stopped session moves"
        boots = session.state in {SessionState.CREATING, SessionState.BOOTING, SessionState.REACHABLE}
        hint = typed("ps") + " shows when it is ready" if boots else None
        raise WrongState(msg, bill=f"{bill}; it {costs_text(session.hourly)}", hint=hint)
    if session.ends_with:
        msg = f"move: {session.name} ends with its run {session.ends_with}, which can't be moved"
        raise WrongState(msg, bill=bill)
    left = _left_s(ledger, session)
    # a stopped session with files to save is started for them before its end
    least = LEAST_S + (EARLY_S if session.state is SessionState.STOPPED and session.save else 0.0)
    if left is not None and left < least:
        msg = f"move: the lease of {session.name} ends in {duration_text(max(0.0, left))}"
        raise BadInput(msg, bill=bill, hint=typed("extend", session.name, "2h") + " first")


def _left_s(ledger: Ledger, session: Session) -> float | None:
    deadline = session.lease.deadline
    return None if deadline is None else deadline - ledger.clock.time()


def _left_usd(ledger: Ledger, session: Session) -> float | None:
    """What is left of a budget that the user chose; a default one grows with the machine's price."""
    lease = session.lease
    if not lease.budget_set:
        return None
    if lease.budget_usd is None:
        return float("inf")
    return max(0.0, lease.budget_usd - lease.counted(ledger.cost(session.id)))


def wish(
    ledger: Ledger, session: Session, target: Target, had: RentedWith, disk: Disk | None
) -> renting_flow.Wish:
    """The rental of the new machine.

    Parameters
    ----------
    had
        What the session was rented with.
    disk
        What its cloud is to copy from the disk of a stopped session; None for one that runs.
    """
    left_s, left_usd = _left_s(ledger, session), _left_usd(ledger, session)
    flags = {**target.flags, "cloud": clouds(session, target)}
    lease = f"the {duration_text(left_s)}" if left_s is not None else "the time"
    money = f" and {money_text(left_usd)}" if left_usd is not None and left_usd != float("inf") else ""
    name = session.name if disk is None else f"{session.name}, which is {standing(session)},"
    before = (
        f"Move {name} to another machine for {lease}{money} that its lease has left: {_carried(disk)}, "
        f"then its present machine ({hourly_text(session.hourly)}) ends for good; until the copy is "
        "verified both are billed" + "".join(f"; {words}" for words in had.words(target))
    )
    same = flags["cloud"] == (session.provider,)
    return renting_flow.Wish(
        query=target.query,
        flags=flags,
        offer=target.offer,
        length=left_s,
        disk=target.disk or (f"{session.disk_gb:g}" if session.disk_gb else None),
        idle_s=float("inf") if session.lease.idle_s is None else session.lease.idle_s,
        budget_usd=left_usd,
        python=session.python or None,
        save=session.save,
        volumes=had.mounts() if target.volumes else (),
        count_ssh=session.lease.count_ssh,
        before=before,
        inside={
            "image": (session.image or None) if same else None,
            "env": {**had.env, **target.env},
            "save_to": session.save_to or None,
            "ports": tuple(session.ports),
            "moves_from": session.id,
        },
    )


def _carried(disk: Disk | None) -> str:
    if disk is None:
        return "files, packages and plain variables are copied"
    return (
        f"{files_text(len(disk.files))}, {bytes_text(sum(disk.files.values()))}, are copied by "
        f"{disk.title} itself from its disk, and that traffic is billed; packages outside of them are not"
    )


def rest(ledger: Ledger, session: Session, made: Session) -> Lease:
    """The lease of `made` from the switch on: the old one's end, and what is left of its budget."""
    lease = ledger.get(made.id).lease
    deadline, end = session.lease.deadline, lease.deadline
    if deadline is not None:
        end = deadline if end is None else min(end, deadline)
    left = _left_usd(ledger, session)
    budget = lease.budget_usd if left is None else (None if left == float("inf") else left)
    return replace(lease, deadline=end, budget_usd=budget)
