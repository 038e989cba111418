"""``put``: copy variables of the notebook to the host's kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import verb
from gpunb.errors import VariableError
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result
from gpunb.text import did_you_mean
from gpunb.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpunb.cli.context import Context
    from gpunb.remote import PutReport
    from gpunb.sessions.model import Session

__all__ = ["command", "own", "send"]


@verb("put", example="put x_train y_train", session=True, first="dashed")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def command(context: Context, *, names: tuple[str, ...], session: str | None) -> Result:
    """Send variables of the notebook to the host. From a terminal, use `sync` for files.

    Arrays go as they are in memory, other objects by pickle.
    """
    context.needs_notebook("put", typed("sync FILE :") + " sends a file")
    found = context.session(session)
    report = send(context, found, names)
    data = {
        "names": list(report.names),
        "unchanged": list(report.same),
        "bytes": report.bytes,
        "seconds": report.seconds,
        "session": found.name,
    }
    sent = [name for name in report.names if name not in report.same]
    text = f"sent {', '.join(sent)} to {found.name} ({bytes_text(report.bytes)})" if sent else ""
    if report.same:
        text += ("; " if text else "") + f"{', '.join(report.same)} was there unchanged"
    return Result(data, Note(text, "ok"))


def send(context: Context, session: Session, names: tuple[str, ...]) -> PutReport:
    """Send the notebook's variables `names`.

    Raises
    ------
    VariableError
        One does not exist or can't be sent; nothing was sent.
    """
    from gpunb.services import variables

    return variables.put(context, session, own(context, names))


def own(context: Context, names: Iterable[str]) -> dict[str, Any]:
    """The notebook's variables `names`.

    Raises
    ------
    VariableError
        One does not exist.
    """
    there = context.shell.user_ns
    for name in names:
        if name not in there:
            known = [key for key in there if not key.startswith("_")]
            msg = f"the notebook has no variable {name!r}; nothing was sent"
            raise VariableError(msg, hint=did_you_mean(name, known))
    return {name: there[name] for name in names}
