"""``start``: a stopped session runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.commands.result import Note, Result
from gpunb.commands.verb import verb
from gpunb.units import costs_text

if TYPE_CHECKING:
    from gpunb.commands.context import Context

__all__ = ["command"]


@verb("start", asks=True, session=True, example="start\nstart train")
def command(context: Context, *, session: str | None, yes: bool) -> Result:
    """Start a stopped session. Files are there; the kernel's variables are not."""
    from gpunb.services.questions import to_start
    from gpunb.sessions import lifecycle

    found = context.session(session)
    if not context.confirm(to_start(context.ledger, found), yes=yes):
        return Result(
            {"session": found.name, "started": False}, Note("nothing was changed", "dim"), exit_code=1
        )
    with context.progress(f"start {found.name}") as progress:
        found = lifecycle.start(context.ledger, context.provider(found.provider), found, progress=progress)
    costs = costs_text(found.hourly)
    return Result(
        {"session": found.name, "state": found.state.value, "usd_h": found.hourly},
        Note(f"{found.name} is {found.state.value}; it {costs}", "ok"),
    )
