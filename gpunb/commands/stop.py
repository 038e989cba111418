"""``stop``: the machine ends, its disk stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.commands.result import Note, Result
from gpunb.commands.verb import verb
from gpunb.units import price_text

if TYPE_CHECKING:
    from gpunb.commands.context import Context

__all__ = ["command"]


@verb("stop", session=True, example="stop\nstop train --yes")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
def command(context: Context, *, session: str | None, yes: bool) -> Result:
    """Stop a session and keep its disk, which most clouds bill. Runs end; `start` brings it back."""
    from gpunb.sessions import lifecycle

    found = context.session(session)
    running = [run for run in context.ledger.runs(found.id, 100) if run.ended is None]
    question = f"stop {found.name}?" + (f" {len(running)} run(s) on it will end." if running else "")
    if not context.ask(question, yes=yes):
        return Result({"session": found.name, "stopped": False}, Note("nothing was changed", "dim"))
    with context.progress(f"stop {found.name}") as progress:
        found = lifecycle.stop(context.ledger, context.provider(found.provider), found, progress=progress)
    price = price_text(found.hourly)
    return Result(
        {"session": found.name, "state": found.state.value, "usd_h": found.hourly},
        Note(f"{found.name} is {found.state.value}; it costs {price} an hour from now on", "ok"),
    )
