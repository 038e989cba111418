"""Actions of the panel's buttons: a confirmation question with the cost, then the verb's own work."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, GpunbError, WrongState
from gpunb.hints import typed
from gpunb.units import costs_text, duration_text, money_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.cli.context import Context
    from gpunb.sessions.model import Session

__all__ = ["ACTIONS", "do", "question"]

ACTIONS = ("extend", "stop", "start", "down", "cancel")


def question(context: Context, action: str, session: Session, args: dict[str, Any]) -> str:
    """Return one sentence on what the action does to running work and to the bill.

    Raises
    ------
    BadInput
        There is no such action, or it lacks what it needs.
    WrongState
        The session is over.
    """
    if action not in ACTIONS:
        msg = f"action {action[:40]!r} must be one of {', '.join(ACTIONS)}"
        raise BadInput(msg)
    if not session.alive:
        msg = f"session {session.name} has ended ({session.state.value})"
        raise WrongState(msg, bill="it costs nothing any more")
    made: Callable[[Context, Session, dict[str, Any]], str] = _QUESTIONS[action]
    return made(context, session, args)


def do(context: Context, action: str, session: Session, args: dict[str, Any]) -> str:
    """Carry out the action, and return its outcome in one sentence.

    Raises
    ------
    GpunbError
        As the verb of that name.
    """
    made: Callable[[Context, Session, dict[str, Any]], str] = _WORK[action]
    return made(context, session, args)


# -- questions


def _ask_extend(context: Context, session: Session, args: dict[str, Any]) -> str:
    from gpunb.services.questions import to_extend

    return to_extend(context.ledger, session, **_more(session, args)).text


def _more(session: Session, args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for `gpunb.sessions.cost.lease.extend`."""
    given = [name for name in ("hours", "idle_s", "add_usd") if args.get(name) is not None]
    if len(given) != 1:
        msg = "extend needs one of hours, idle_s and add_usd"
        raise BadInput(msg)
    value = float(args[given[0]])
    return {"budget_usd": _budget(session, value)} if given == ["add_usd"] else {given[0]: value}


def _budget(session: Session, more: float) -> float:
    if session.lease.budget_usd is None:
        msg = f"session {session.name} has no budget to extend"
        raise WrongState(msg, hint=typed("extend", session.name, "--budget", "USD") + " sets one")
    return session.lease.budget_usd + more


def _ask_stop(context: Context, session: Session, args: dict[str, Any]) -> str:  # noqa: ARG001
    from gpunb.services.questions import to_stop

    return to_stop(context.ledger, session).text


def _ask_start(context: Context, session: Session, args: dict[str, Any]) -> str:  # noqa: ARG001
    from gpunb.services.questions import to_start

    return to_start(context.ledger, session).text


def _ask_down(context: Context, session: Session, args: dict[str, Any]) -> str:  # noqa: ARG001
    from gpunb.services.questions import to_down

    return to_down(context.ledger, [session]).text


def _ask_cancel(context: Context, session: Session, args: dict[str, Any]) -> str:
    run = _run(context, session, args)
    took = duration_text(time.time() - run.started) if run.started else ""
    return f"End the run {run.name or run.id}{f' after {took}' if took else ''}? {session.name} goes on."


def _run(context: Context, session: Session, args: dict[str, Any]) -> Any:
    if not args.get("run"):
        msg = "cancel needs the run's id"
        raise BadInput(msg)
    run = context.ledger.find_run(str(args["run"]))
    if run.session_id != session.id or run.id != args["run"]:
        msg = f"run {args['run']} is not one of {session.name}"
        raise BadInput(msg)
    return run


# -- execution


def _extend(context: Context, session: Session, args: dict[str, Any]) -> str:
    from gpunb.sessions.cost import lease

    lease.extend(context.ledger, session, **_more(session, args))
    return f"{session.name} lives on"


def _stop(context: Context, session: Session, args: dict[str, Any]) -> str:  # noqa: ARG001
    from gpunb.sessions import lifecycle

    with context.progress(f"stop {session.name}") as progress:
        found = lifecycle.stop(context.ledger, context.provider(session.provider), session, progress=progress)
    costs = costs_text(found.hourly)
    return f"{found.name} is {found.state.value}; it {costs} from now on"


def _start(context: Context, session: Session, args: dict[str, Any]) -> str:  # noqa: ARG001
    from gpunb.sessions import lifecycle
    from gpunb.sessions.supervisor import process

    process.ensure(context.ledger)
    with context.progress(f"start {session.name}") as progress:
        found = lifecycle.start(
            context.ledger, context.provider(session.provider), session, progress=progress
        )
    return f"{found.name} is {found.state.value}"


def _down(context: Context, session: Session, args: dict[str, Any]) -> str:  # noqa: ARG001
    from gpunb.sessions import lifecycle

    with context.progress(f"down {session.name}") as progress:
        receipt = lifecycle.down(
            context.ledger, context.provider(session.provider), session, progress=progress
        )
    data = receipt.data()
    cost = money_text(context.ledger.cost(session.id).total)
    unsaved = data.get("unsaved")
    lost = f"; not brought back: {', '.join(map(str, unsaved))}" if unsaved else ""
    return f"{session.name} is gone, as {session.provider} confirms; it cost {cost}{lost}"


def _cancel(context: Context, session: Session, args: dict[str, Any]) -> str:
    from gpunb.services.running import runs

    run = _run(context, session, args)
    client = context.agent(session)
    client.cancel(run.id)
    with suppress(GpunbError):  # it ends; the next poll reports it
        runs.note_end(context, run.id, client.run_info(run.id))
    return f"{run.name or run.id} was told to end"


_QUESTIONS: dict[str, Any] = {
    "extend": _ask_extend,
    "stop": _ask_stop,
    "start": _ask_start,
    "down": _ask_down,
    "cancel": _ask_cancel,
}
_WORK: dict[str, Any] = {
    "extend": _extend,
    "stop": _stop,
    "start": _start,
    "down": _down,
    "cancel": _cancel,
}
