"""What an agent may do by itself, what a person confirms, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from gpunb.errors import ConfirmationNeeded, GpunbError
from gpunb.hints import typed
from gpunb.mcp import calls, elicitation
from gpunb.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp.server.mcpserver import Context

__all__ = ["agreed", "inside", "own"]


PREFIX = "this needs a confirmation, and no question can be asked here. "


def own(name: str, what: str) -> None:
    """Refuse what ends or costs for a session that a person rented.

    Raises
    ------
    ConfirmationNeeded
        No agent rented it.
    """
    from gpunb.services.workspace import Workspace

    with Workspace() as context:
        session = context.ledger.one(name)
    if not session.agent:
        msg = f"{session.name} was rented by a person: an agent does not {what} it"
        raise ConfirmationNeeded(
            msg, bill="nothing was changed", hint=typed(what, session.name) + " is for a person to type"
        )


def inside(path: str) -> str:
    """A path of this machine, if it is in the folder that the server works in.

    Raises
    ------
    ConfirmationNeeded
        It leads out of it.
    """
    here = Path.cwd().resolve()
    if not (here / path).resolve().is_relative_to(here):
        msg = f"{path!r} is outside of {here}, the folder that this server works in"
        raise ConfirmationNeeded(
            msg, bill="nothing was moved", hint=typed("sync SRC DST") + " is for a person to type"
        )
    return path


async def agreed(
    context: Context[Any], argv: Sequence[str], agent: str
) -> tuple[list[str], calls.Answer | None]:
    """The words with which the verb goes ahead, with ``--yes`` if a person need not be asked, or said yes.

    If there is nothing to ask (a machine that costs nothing), the verb has done it: its answer comes, too.
    The question is the verb's own, with its price. It is put by MCP elicitation where the client can.

    Raises
    ------
    GpunbError
        The verb refuses it; or a person must say yes, and can't here, or did not.
    Asked
        The client puts the question, and calls again with the answer.
    """
    from gpunb.settings import load

    if argv[0] not in load(cwd=Path("/")).agent.confirmed:
        return [*argv, "--yes"], None
    found = await to_thread.run_sync(calls.verb, argv, agent)
    if found.error is None:
        return list(argv), found
    if found.error.get("type") != "ConfirmationNeeded":
        raise GpunbError(
            plain(found.error.get("message")), bill=found.error.get("bill"), hint=found.error.get("next")
        )
    question = plain(found.error.get("message")).removeprefix(PREFIX)
    line = shlex.join(["gpunb", *argv])
    why = await elicitation.asked(context, question, argv)
    if why:
        msg = f"{why}: {question}"
        raise ConfirmationNeeded(msg, bill="nothing was changed", hint=f"a person can type: {line}")
    return [*argv, "--yes"], None
