"""A cell on all members of a group: each in its own kernel and journal, all on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.services.ranks.members import connect
from gpunb.services.ranks.playing import Playing
from gpunb.services.running import cells, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpunb.output import Sink
    from gpunb.output.group_screen import GroupScreen
    from gpunb.remote import AgentClient, RunHandle
    from gpunb.services.ranks.members import Member, Members
    from gpunb.services.ranks.playing import Ended
    from gpunb.services.workspace import Workspace

__all__ = ["run", "start"]


def run(
    context: Workspace,
    members: Members,
    code: str,
    screen: GroupScreen,
    *,
    keep_going: bool = False,
    interactive: bool = True,
    before: Callable[[Mapping[int, AgentClient]], object] | None = None,
    sink: Callable[[Member, str, Sink], Sink] | None = None,
    **options: Any,
) -> list[Ended]:
    """Run `code` in the kernel of each member and show the output until all have ended.

    Parameters
    ----------
    keep_going
        Whether the others go on when one has failed.
    before
        Called with the connected agents before anything runs.
    sink
        Makes a rank's sink from its member, its run's id and its sink of the screen.
    options
        Those of `start`.

    Raises
    ------
    HostError
        A member can't be reached; nothing ran.
    RemoteCellError, KernelDied, RunTimeout, RunError
        As the run of the first rank ended that failed.
    """
    clients = connect(context, members)
    if before is not None:
        before(clients)
    playing = Playing(context, members, screen, keep_going=keep_going, interactive=interactive)
    try:
        for member, handle in start(context, members, code, clients, **options):
            shown = screen.sink(member.rank)
            playing.add(member, handle, shown if sink is None else sink(member, handle.id, shown))
    except BaseException:
        playing.abandon()
        raise
    return playing.follow()


def start(
    context: Workspace,
    members: Members,
    code: str,
    clients: Mapping[int, AgentClient],
    *,
    name: str = "",
    timeout: float | None = None,
    secrets: Mapping[str, str] | None = None,
    stdin: bool = False,
    place: Callable[[Member], Mapping[str, Any]] | None = None,
) -> Iterator[tuple[Member, RunHandle]]:
    """Start `code` in the kernel of each member, which knows its rank by ``GPUNB_RANK`` and ``GPUNB_SIZE``.

    Parameters
    ----------
    name, timeout, secrets, stdin
        As in `gpunb.services.running.cells.start`.
    place
        Makes a member's ``place``, as `gpunb.remote.client.AgentClient.run_cell` takes it.
    """
    called = cells.label(code, name)
    with context.ledger.together():
        ids = {one.rank: runs.note(context, one.session, kind="cell", name=called) for one in members}
    limit = timeout or context.settings.cell_timeout
    for member in members:
        handle = clients[member.rank].run_cell(
            code,
            name=called,
            run_id=ids[member.rank],
            timeout=limit,
            secrets=secrets,
            stdin=stdin,
            place={**(place(member) if place else {}), "env": members.environment(member)},
        )
        yield member, handle
