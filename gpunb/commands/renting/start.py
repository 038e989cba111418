"""``start``: start stopped sessions again."""

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


@verb("start", asks=True, undone="nothing was started", example="start\nstart train\nstart train eval --yes")
@several.names
def command(context: Context, *, names: tuple[str, ...], named: tuple[str, ...], yes: bool) -> Result:
    """Start stopped sessions. Files are there; the kernel's variables are not.

    Without a name: the only live one.
    """
    from gpunb.services.questions import to_start
    from gpunb.sessions import lifecycle

    chosen = several.chosen(context, (*names, *named))
    for one in chosen:
        lifecycle.check_start(context.ledger, one)
    if not context.confirm(to_start(context.ledger, *chosen), yes=yes):
        rows = [{"session": one.name, "started": False} for one in chosen]
        return Result(rows if len(rows) > 1 else rows[0], Note("nothing was changed", "dim"), exit_code=1)

    def start(one: Session) -> tuple[dict[str, Any], list[Block]]:
        with context.progress(f"start {one.name}") as progress:
            session = lifecycle.start(context.ledger, context.provider(one.provider), one, progress=progress)
        text = f"{session.name} is {session.state.value}; it {costs_text(session.hourly)}"
        row = {"session": session.name, "state": session.state.value, "usd_h": session.hourly}
        return row, [Note(text, "ok")]

    data, blocks, failed = several.each("start", chosen, start)
    return Result(data if len(chosen) > 1 else data[0], *blocks, exit_code=1 if failed else 0)
