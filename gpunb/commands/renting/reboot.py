"""``reboot``: restart the machine and keep its disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli.command import CloudOption, verb
from gpunb.presentation.result import Note, Result
from gpunb.units import costs_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb(
    "reboot",
    asks=True,
    undone="nothing was rebooted",
    session=True,
    example="reboot\nreboot train --yes\nreboot train --recycle",
)
@click.option(
    "--recycle",
    is_flag=True,
    cls=CloudOption,
    help="Make the container anew from its image; its files are lost (Vast).",
)
def command(context: Context, *, recycle: bool, session: str | None, yes: bool) -> Result:
    """Restart the machine. Files stay, runs and variables end; it is billed all the time.

    Vast.ai and local can; the other clouds have no such call.
    """
    from gpunb.providers import Capability
    from gpunb.services.questions import to_reboot
    from gpunb.sessions.lifecycle.rebooting import reboot

    found = context.session(session)
    provider = context.provider(found.provider)
    provider.need(Capability.REBOOT)
    if recycle:
        provider.need(Capability.RECYCLE)
    if not context.confirm(to_reboot(context.ledger, found, recycle=recycle), yes=yes):
        return Result(
            {"session": found.name, "rebooted": False}, Note("nothing was changed", "dim"), exit_code=1
        )
    with context.progress(f"reboot {found.name}") as progress:
        found = reboot(context.ledger, provider, found, recycle=recycle, progress=progress)
    costs = costs_text(found.hourly)
    return Result(
        {"session": found.name, "rebooted": True, "state": found.state.value},
        Note(f"{found.name} is {found.state.value} again; it {costs}", "ok"),
    )
