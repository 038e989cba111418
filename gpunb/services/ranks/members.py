"""The members of a group by rank, the choice of some of them, and connections to all at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.errors import BadInput, GpunbError, HostError, WrongState
from gpunb.hints import typed
from gpunb.output.folding import ranks_text
from gpunb.units import hourly_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from gpunb.remote import AgentClient
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

    T = TypeVar("T")

__all__ = ["Member", "Members", "connect", "parallel"]

MOST_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its rank, and its session."""

    rank: int
    session: Session


@dataclass(frozen=True, slots=True)
class Members:
    """Members of a group, in the order of their ranks.

    Attributes
    ----------
    name
        The group's.
    size
        How many the whole group has: ``GPUNB_SIZE``.
    lost
        The group's members that can't run anything now: what they are.
    """

    name: str
    members: tuple[Member, ...]
    size: int
    lost: tuple[tuple[int, str], ...] = ()

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks of these members."""
        return tuple(member.rank for member in self.members)

    def chosen(self, text: str | None, what: str = "--rank") -> Members:
        """Those of the ranks in `text`, such as ``0,2-3``; all without one.

        Raises
        ------
        BadInput
            It can't be read, or names a rank that there is not.
        WrongState
            One of them can't run anything now.
        """
        wanted = set(range(self.size)) if text is None else set(_ranks(text, what))
        away = [(rank, state) for rank, state in self.lost if rank in wanted]
        if away:
            words = ", ".join(f"[{rank}] is {state}" for rank, state in away)
            others = f"{what} {ranks_text(self.ranks)} leaves it out" if self.ranks else None
            msg = f"{self.name}: {words}; nothing was run"
            raise WrongState(msg, hint=others or typed("ps") + " shows the members")
        if text is None:
            return self
        missing = sorted(wanted - set(self.ranks))
        if missing:
            there = ranks_text(self.ranks)
            msg = f"{what} {text}: {self.name} has no rank {ranks_text(missing)}; it has {there}"
            raise BadInput(msg, hint=typed("ps") + " shows the members")
        return Members(self.name, tuple(one for one in self.members if one.rank in wanted), self.size)

    def environment(self, member: Member) -> dict[str, str]:
        """The variables by which a member's runs know their rank."""
        return {"GPUNB_RANK": str(member.rank), "GPUNB_SIZE": str(self.size)}


def _ranks(text: str, what: str) -> Iterator[int]:
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (
            first.isdecimal() and first.isascii() and (not dash or (last.isdecimal() and last.isascii()))
        ):
            msg = f"{what} {text!r}: {part.strip()!r} is not a rank"
            raise BadInput(msg, hint=f"name ranks and ranges of them: {what} 0,2-3")
        low, high = int(first), int(last or first)
        if low > high or high > 10_000:
            msg = f"{what} {text!r}: {part.strip()!r} is not a range of ranks"
            raise BadInput(msg, hint=f"the lower one comes first: {what} 0,2-3")
        yield from range(low, high + 1)


def parallel(members: Members, do: Callable[[Member], T]) -> dict[int, T]:
    """Call `do` for all members at once; returns what it returned, by rank.

    Raises
    ------
    GpunbError
        The first one of the lowest rank that failed, with its rank.
    """
    with ThreadPoolExecutor(min(len(members), MOST_AT_ONCE), thread_name_prefix="gpunb-rank") as pool:
        made = {member.rank: pool.submit(do, member) for member in members}
        try:
            for future in made.values():
                future.exception()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for rank, future in made.items():
        err = future.exception()
        if isinstance(err, GpunbError):
            err.message = f"[{rank}] {err.message}"
            raise err
    return {rank: future.result() for rank, future in made.items()}


def connect(context: Workspace, members: Members) -> dict[int, AgentClient]:
    """The agents of all members, connected and answering, by rank.

    Raises
    ------
    HostError
        One can't be reached; says which.
    """
    from gpunb.errors import Unreachable
    from gpunb.services.workspace import ANSWER_S
    from gpunb.sessions.access import host_access
    from gpunb.ssh import probe

    context.watch()
    fresh = {member.rank: context.ledger.get(member.session.id) for member in members}

    def one(member: Member) -> AgentClient:
        session = fresh[member.rank]
        client = host_access.agent(session)
        try:
            host_access.arm(client, session, timeout=ANSWER_S)
        except Unreachable:
            probe(host_access.endpoint(session))
            host_access.drop(session.id)
            client = host_access.agent(session)
        return client

    with context.progress(f"connecting to {members.name}"):
        try:
            return parallel(members, one)
        except HostError as err:
            price = hourly_text(sum(session.hourly for session in fresh.values()))
            err.bill = err.bill or f"{members.name} is billed ({price}) until it is down or its lease ends"
            err.hint = err.hint or typed("ps") + " shows its members; --rank leaves one out"
            raise
