"""``move``: put a session on another machine, with its files, packages and plain variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import offer_options
from gpunb.cli.command import no_use, verb
from gpunb.cli.container_options import variables
from gpunb.errors import BadInput
from gpunb.presentation.result import Block, Note, Result
from gpunb.units import bytes_text, files_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]

SHOWN = 10


@verb(
    "move",
    session=True,
    asks=True,
    undone="nothing was rented",
    example="move --gpu H100\nmove train --gpu H100 --cloud all\nmove train 'vram >= 80' --path /data --yes",
)
@click.argument("query", nargs=-1, metavar="[QUERY...]")
@offer_options.filters
@click.option("--offer", metavar="ID", help="This offer only: the id that `offers` shows.")
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Copy this folder of the host, too.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set a variable on the new machine.")
@click.option("--no-packages", is_flag=True, help="Install no packages on the new machine.")
@click.option("--no-volumes", is_flag=True, help="Leave its volumes where they are; they are billed on.")
def command(
    context: Context,
    *,
    query: tuple[str, ...],
    offer: str | None,
    paths: tuple[str, ...],
    env: tuple[str, ...],
    no_packages: bool,
    no_volumes: bool,
    session: str | None,
    yes: bool,
    **flags: Any,
) -> Result:
    """Move a session to another machine, under the same name and what is left of its lease.

    The new machine is rented, what is visible in the home folder (and /workspace) is copied from host
    to host and compared, packages that are missing there are installed, plain variables carried. Only then
    the name switches, and the old machine ends. If anything fails before, the new one ends
    and the old session goes on as it was. The files of a stopped or interrupted session are copied by
    its cloud, where it can (Vast).
    """
    from gpunb.presentation import tables
    from gpunb.services import moving
    from gpunb.services.running import cell_target

    no_use("keeps the lease", "length")
    flags.pop("length")
    found = context.session(session)
    if found.group_id:
        msg = f"move: {found.name} is a member of a group, and keeps its machine"
        raise BadInput(msg, bill="nothing was changed")
    target = moving.Target(
        query=query,
        disk=flags.pop("disk"),
        flags=flags,
        offer=offer,
        paths=paths,
        packages=not no_packages,
        env=variables("move", env),
        volumes=not no_volumes,
    )
    done = moving.move(context, found, target, yes=yes)
    if done is None:
        return Result({"moved": False}, Note("nothing was rented, and nothing changed", "dim"), exit_code=1)
    now, carried = done.session, done.carried
    mode = cell_target.current(context.shell) if context.shell is not None else None
    if mode is not None and mode.session_id == found.id:
        cell_target.turn_on(context.shell, cell_target.Mode(now.id, now.name))
    from gpunb.sessions.model import machine

    what = [f"{files_text(carried.files)}, {bytes_text(carried.bytes)}"]
    if carried.packages:
        what.append(f"{len(carried.packages)} packages")
    if carried.variables:
        what.append(f"variables {', '.join(carried.variables)}")
    text = f"{now.name} is on {machine(now.gpu, now.gpus)} of {now.provider} now; copied: {'; '.join(what)}"
    blocks: list[Block] = [Note(text, "ok")]
    blocks += [Note(f"left behind: {name}: {why}", "warn") for name, why in [*carried.left.items()][:SHOWN]]
    if len(carried.left) > SHOWN:
        blocks.append(Note(f"and {len(carried.left) - SHOWN} more", "warn"))
    if done.receipt is not None:
        blocks += tables.receipt_blocks(done.receipt)
    if done.unconfirmed is not None:
        err = done.unconfirmed
        blocks += [
            Note(err.message, "bad"),
            Note(f"bill: {err.bill}", "bad"),
            Note(f"next: {err.hint}", "warn"),
        ]
    data = {
        "session": now.name,
        "moved": True,
        "was": {"id": found.id, "receipt": None if done.receipt is None else done.receipt.data()},
        "files": carried.files,
        "bytes": carried.bytes,
        "paths": carried.paths,
        "packages": carried.packages,
        "variables": carried.variables,
        "left": carried.left,
    }
    return Result(data, *blocks, exit_code=int(done.unconfirmed is not None))
