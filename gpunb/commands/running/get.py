"""``get``: copy variables of the host's kernel to the notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import verb
from gpunb.errors import VariableError
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.model import Session

__all__ = ["command", "fetch"]


@verb("get", example="get accuracy history", session=True, first="dashed")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--trust", is_flag=True, help="Take pickles too: what the host sends may then run code here.")
def command(context: Context, *, names: tuple[str, ...], trust: bool, session: str | None) -> Result:
    """Bring variables of the host into the notebook. From a terminal, use `sync` for files.

    From a host that is not your own, only forms that can't run code here are taken: plain values,
    lists, dicts and tuples of them, arrays and tensors of numbers, and tables by Arrow.
    """
    context.needs_notebook("get", typed("sync :FILE .") + " brings a file back")
    found = context.session(session)
    values = fetch(context, found, names, trust=trust)
    kinds = {name: type(value).__name__ for name, value in values.items()}
    return Result(
        {"names": kinds, "session": found.name},
        Note(f"got {', '.join(f'{name} ({kind})' for name, kind in kinds.items())} from {found.name}", "ok"),
    )


def fetch(
    context: Context, session: Session, names: tuple[str, ...], *, trust: bool = False
) -> dict[str, Any]:
    """Bring `names` from the host and set them in the notebook; with `trust`, as pickles too.

    Raises
    ------
    VariableError
        One can't be sent; nothing was set. Or one can't be rebuilt here; the others are set.
    """
    from gpunb.services import variables

    try:
        values = variables.get(context, session, names, trust=trust)
    except VariableError as err:
        if err.values:
            context.shell.user_ns.update(err.values)
            err.message += f"; {', '.join(err.values)} arrived"
        raise
    context.shell.user_ns.update(values)
    return values
