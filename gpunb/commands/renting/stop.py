"""``stop``: stop machines and keep their disks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.cli import several
from gpunb.cli.command import verb
from gpunb.presentation.result import Block, Note, Result
from gpunb.units import costs_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.model import Session

__all__ = ["command"]


@verb("stop", asks=True, undone="nothing was stopped", example="stop\nstop train --yes\nstop train eval")
@several.names
def command(context: Context, *, names: tuple[str, ...], named: tuple[str, ...], yes: bool) -> Result:
    """Stop sessions and keep their disks, which most clouds bill. Runs end; `start` brings them back.

    Without a name: the only live one.
    """
    from gpunb.services.questions import to_stop
    from gpunb.sessions import lifecycle

    chosen = several.chosen(context, (*names, *named))
    for one in chosen:
        lifecycle.check_stop(context.provider(one.provider), one)
    if not context.confirm(to_stop(context.ledger, *chosen), yes=yes):
        rows = [{"session": one.name, "stopped": False} for one in chosen]
        return Result(rows if len(rows) > 1 else rows[0], Note("nothing was changed", "dim"), exit_code=1)

    def stop(one: Session) -> tuple[dict[str, Any], list[Block]]:
        with context.progress(f"stop {one.name}") as progress:
            session = lifecycle.stop(context.ledger, context.provider(one.provider), one, progress=progress)
        text = f"{session.name} is {session.state.value}; it {costs_text(session.hourly)} from now on"
        row = {"session": session.name, "state": session.state.value, "usd_h": session.hourly}
        return row, [Note(text, "ok")]

    data, blocks, failed = several.each("stop", chosen, stop)
    return Result(data if len(chosen) > 1 else data[0], *blocks, exit_code=1 if failed else 0)
