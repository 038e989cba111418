"""``stop``: the machine ends, its disk stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.commands.result import Note, Result
from gpunb.commands.verb import verb
from gpunb.units import costs_text

if TYPE_CHECKING:
    from gpunb.commands.context import Context

__all__ = ["command"]


@verb("stop", asks=True, session=True, example="stop\nstop train --yes")
def command(context: Context, *, session: str | None, yes: bool) -> Result:
    """Stop a session and keep its disk, which most clouds bill. Runs end; `start` brings it back."""
    from gpunb.providers import Capability
    from gpunb.services.questions import to_stop
    from gpunb.sessions import lifecycle

    found = context.session(session)
    provider = context.provider(found.provider)
    if not provider.can(Capability.STOP):
        provider.refuse("stop an instance and keep it")
    if not context.confirm(to_stop(context.ledger, found), yes=yes):
        return Result(
            {"session": found.name, "stopped": False}, Note("nothing was changed", "dim"), exit_code=1
        )
    with context.progress(f"stop {found.name}") as progress:
        found = lifecycle.stop(context.ledger, provider, found, progress=progress)
    costs = costs_text(found.hourly)
    return Result(
        {"session": found.name, "state": found.state.value, "usd_h": found.hourly},
        Note(f"{found.name} is {found.state.value}; it {costs} from now on", "ok"),
    )
