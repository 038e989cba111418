"""``%%gpu -s GROUP``: a cell on all members, values to them by rank and back as lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.commands.parts import on_all
from gpunb.commands.running.put import own
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result
from gpunb.services.project import around
from gpunb.services.ranks import cells, values
from gpunb.services.ranks.members import connect
from gpunb.services.running import runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.cli.context import Context
    from gpunb.remote import AgentClient
    from gpunb.services.ranks.members import Member, Members

__all__ = ["run_on_all"]


def run_on_all(
    context: Context,
    members: Members,
    body: str,
    options: Mapping[str, Any],
    place: Mapping[str, Any],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    scattered: Sequence[str],
) -> Result | None:
    """Run `body` on all `members`, with the flags of ``%%gpu`` in `options`.

    Raises
    ------
    BadInput
        A flag that has no meaning on several machines.
    GpunbError
        As `gpunb.services.ranks.cells.run`.
    """
    if options["here"]:
        msg = f"%%gpu -s {members.name} --here: what several machines wrote can't come back to one project"
        raise BadInput(msg, hint="--sync DIR sends a folder to each, and the cell runs inside it")
    both = [name for name in scattered if name in inputs]
    if both:
        msg = f"%%gpu: {both[0]!r} is both sent to all (-i) and dealt out (--scatter)"
        raise BadInput(msg)
    sent = own(context, inputs), own(context, scattered)
    secrets = on_all.secrets(context, members, options["secret_names"])
    kept: dict[int, AgentClient] = {}
    inside: dict[int, around.Inside] = {}

    def before(clients: Mapping[int, AgentClient]) -> None:
        kept.update(clients)
        if options["folder"] is not None:
            for member in members:
                inside[member.rank] = around.enter(
                    context, member.session, folder=options["folder"], what="%%gpu"
                )
                inside[member.rank].importable(clients[member.rank])
        if inputs or scattered:
            values.put(context, members, clients, *sent)

    def placed(member: Member) -> Mapping[str, Any]:
        return inside[member.rank].placed(place) if inside else place

    about = {"name": options["name"], "timeout": options["timeout"], "secrets": secrets, "place": placed}
    about["stdin"] = context.can_ask or options["detach"]
    if options["detach"]:
        before(connect(context, members))
        return _detached(context, members, body, kept, about)
    screen = on_all.screen(context, members)
    cells.run(context, members, body, screen, keep_going=options["keep_going"], before=before, **about)
    if outputs:
        context.shell.user_ns.update(values.get(context, members, kept, outputs, trust=options["trust"]))
    return None


def _detached(
    context: Context, members: Members, body: str, clients: Mapping[int, AgentClient], about: dict[str, Any]
) -> Result:
    found = []
    for member, handle in cells.start(context, members, body, clients, **about):
        try:
            info = handle.info()
        finally:
            handle.close()
        runs.note_end(context, info.id, info)
        found.append(
            {"rank": member.rank, "session": member.session.name, "run": info.id, "state": info.state}
        )
    ids = " ".join(str(one["run"]) for one in found)
    text = f"the cell runs on {members.name}: runs {ids}; " + typed("attach", "RUN") + " shows one"
    return Result({"group": members.name, "members": found}, Note(text))
