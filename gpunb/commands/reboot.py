"""``reboot``: the machine restarts, its disk stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.commands.result import Note, Result
from gpunb.commands.verb import verb
from gpunb.units import price_text

if TYPE_CHECKING:
    from gpunb.commands.context import Context

__all__ = ["command"]


@verb("reboot", session=True, example="reboot\nreboot train --yes")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def command(context: Context, *, session: str | None, yes: bool) -> Result:
    """Restart the machine. Files stay, runs and variables end; it is billed all the time.

    Vast.ai and local can; the other clouds have no such call.
    """
    from gpunb.providers import Capability
    from gpunb.sessions.rebooting import reboot

    found = context.session(session)
    provider = context.provider(found.provider)
    if not provider.can(Capability.REBOOT):
        provider.refuse("reboot an instance")
    running = [run for run in context.ledger.runs(found.id, 100) if run.ended is None]
    question = f"reboot {found.name}?" + (f" {len(running)} run(s) on it will end." if running else "")
    if not context.ask(question, yes=yes):
        return Result({"session": found.name, "rebooted": False}, Note("nothing was changed", "dim"))
    with context.progress(f"reboot {found.name}") as progress:
        found = reboot(context.ledger, provider, found, progress=progress)
    price = price_text(found.hourly)
    return Result(
        {"session": found.name, "rebooted": True, "state": found.state.value},
        Note(f"{found.name} is {found.state.value} again; it costs {price} an hour", "ok"),
    )
