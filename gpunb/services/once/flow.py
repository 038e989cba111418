"""`once`, step by step: rent, send, run, bring back, end.

From the first commit on the end belongs to the run (`gpunb.sessions.lifecycle.run_end`): whatever becomes
of this process, the supervisor brings the results back and ends the session when the run has ended.
"""

from __future__ import annotations

import math
import posixpath
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpunb.errors import Cancelled, GpunbError, JobFailed, Unreachable
from gpunb.hints import typed
from gpunb.services import project, renting_flow, transfers
from gpunb.services.project.around import Inside
from gpunb.services.running import jobs, packages, python_spec, runs
from gpunb.services.running.jobs import Started
from gpunb.sessions import lifecycle
from gpunb.sessions.access.host_access import HOST
from gpunb.sessions.attempts import chain, checkpoints
from gpunb.sessions.lifecycle import run_end
from gpunb.sessions.lifecycle.timeouts import Timing
from gpunb.sessions.model import OVER, SessionState
from gpunb.units import bytes_text, costs_text, files_text, money_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.output import Sink
    from gpunb.services.once.asked import Asked
    from gpunb.services.once.task import Task
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Receipt, Session

__all__ = ["Left", "Outcome", "begin", "bring_only", "came", "finish", "follow", "next_attempt", "rent"]

CANCELLED = 130
ATTEMPT = "GPUNB_ATTEMPT"  # in the run's environment: 1, and one more on each further machine
WAIT_S = 1.0  # between two looks at a session that another process ends
SHOWN = 5


class Left(Exception):
    """The user leaves the run, which goes on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the run ended: the agent's word, and the exit code of a program in a shell."""

    state: str
    exit_code: int
    why: str = ""


def rent(
    context: Workspace, asked: Asked, task: Task, wish: renting_flow.Wish, *, yes: bool, keep: bool
) -> Session | None:
    """Rent a machine for the task; None if the answer was no.

    Without an idle limit: the end of the run ends it, and while no supervisor is there its results wait
    on the host until the lease is over.
    """
    inside = {**wish.inside, "save_to": str(task.root)}
    if not keep:
        inside["ends_with"] = task.job.wish.run_id
    if task.checkpoint:
        inside["again"] = {"checkpoint": task.checkpoint, "asked": asked.plan()}
    idle = wish.idle_s if wish.idle_s is not None or keep else math.inf
    return renting_flow.rent(context, replace(wish, idle_s=idle, save=task.save, inside=inside), yes=yes)


def begin(context: Workspace, session: Session, task: Task, *, detach: bool = False) -> Started:
    """Send the project, install its packages and start the run.

    Raises
    ------
    GpunbError, KeyboardInterrupt
        It was not started; the machine, which holds nothing of worth, is ended, and ``bill`` says so.
    """
    try:
        if task.needs is not None and task.listed is not None:
            python_spec.check_host(context.agent(session), task.needs.python, task.listed.name)
        folder = project.Project(context, session, task.root)
        lines = folder.send().lines(session)
        if lines:
            context.say(*lines)
        jobs.send_left_out(context, session, task.job.local, task.root, folder.place)
        if task.checkpoint:
            _send_checkpoint(context, session, f"{folder.place}/{task.checkpoint}")
        if task.left:
            context.say((f"not installed: {task.left}", "warn"))
        if (
            task.needs is not None
            and task.listed is not None
            and any(map(str.strip, task.needs.files.values()))
        ):
            packages.install(context, session, context.agent(session), path=task.listed, needs=task.needs)
        env = {**task.job.wish.env, ATTEMPT: str(chain.attempt(context.ledger, session))}
        wish = replace(task.job.wish, cwd=posixpath.normpath(f"{folder.place}/{task.inner}"), env=env)
        return jobs.start(context, session, replace(task.job, wish=wish), detach=detach)
    except KeyboardInterrupt:
        msg = f"interrupted before the run on {session.name} began"
        raise Cancelled(msg, bill=_undo(context, session)) from None
    except GpunbError as err:
        begun = context.ledger.run(session.id, task.job.wish.run_id)
        if begun is None or begun.ended is not None:
            err.bill = _undo(context, session)
        raise


def _send_checkpoint(context: Workspace, session: Session, there: str) -> None:
    """Send what the machine before had written, if there was one; from now on this one's comes home."""
    kept = checkpoints.kept(context.ledger, session) if session.follows else None
    if kept is not None:
        transfers.send(context, session, str(kept), f"{there}/", "once: its checkpoint", delete=True)
    context.ledger.update(session.id, again={**session.again, "there": there})


def _undo(context: Workspace, session: Session) -> str:
    """End a session on which nothing ran; returns what is known of the bill."""
    if not session.ends_with:
        return f"{session.name} goes on and {costs_text(session.hourly)}"
    try:
        with context.progress(f"down {session.name}") as progress:
            receipt = lifecycle.down(
                context.ledger,
                context.provider(session.provider),
                session,
                progress=progress,
                save=False,
                why=chain.UNBEGUN,
            )
    except (GpunbError, KeyboardInterrupt) as err:
        bill = err.bill if isinstance(err, GpunbError) else None
        return (
            bill or f"{session.name} is being ended; " + typed("ps") + " shows it until it is confirmed gone"
        )
    return f"confirmed: nothing is rented; it cost {money_text(receipt.cost.total)}"


def follow(context: Workspace, started: Started, sink: Sink) -> Outcome:
    """Show the run to its end.

    Ctrl-C asks whether to end it or leave it running; where nobody can be asked, it ends.

    Raises
    ------
    Left
        It is left running.
    HostError
        The host can't be reached; the run may go on.
    """
    handle = started.handle
    asked: list[str] = []

    def interrupted() -> None:
        answer = _ask(sink) if context.can_ask else "e"
        if answer == "l":
            handle.close()
            raise Left
        if answer == "e":
            asked.append(answer)
            sink.note("ending the run; its results come back")
            handle.interrupt()

    try:
        info = runs.follow(context, handle, sink, on_interrupt=interrupted)
    except JobFailed as err:
        note = context.ledger.find_run(handle.id)
        code = CANCELLED if asked else err.exit_code
        return Outcome(note.state, code, err.message.removeprefix(f"job {handle.id} "))
    return Outcome(info.state, CANCELLED if asked else info.exit_code or 0)


def next_attempt(context: Workspace, session: Session) -> tuple[Session, Started] | None:
    """After its machine went away: the session on which the run goes on, and the run there, once it is begun.

    Returns
    -------
    tuple or None
        None if it goes on nowhere else.

    Raises
    ------
    RunKept
        It has ended there, and so has the session.
    """
    ledger = context.ledger
    with context.progress(f"the line to {session.name} is away; what becomes of its run") as progress:
        while True:
            now = chain.newest(ledger, session)
            note = ledger.run(now.id, now.ends_with)
            if now.id == session.id:
                now = ledger.get(session.id)
                over = now.state in {*OVER, SessionState.ENDING}
                lost = over or chain.is_taken(ledger, now, ledger.clock.time())
                ended = note is not None and note.ended is not None
                if not lost or not (ended or chain.goes_on(ledger, now)):
                    return None
            if now.state in OVER:
                if not chain.goes_on(ledger, now):
                    if note is not None:
                        runs.find(context, now.ends_with, None)  # raises: its text is here
                    return None
            elif now.id != session.id and now.state is not SessionState.ENDING and note is not None:
                with suppress(Unreachable):  # a line may break, and a session end: the next look says which
                    handle = context.agent(now).attach(now.ends_with)
                    return now, Started(handle, "", "", "", None, Inside())
            progress.say(f"{now.name} is {now.state.value}{f': {now.detail}' if now.detail else ''}")
            ledger.clock.sleep(WAIT_S)


def _ask(sink: Sink) -> str:
    """Ask for "e" (end) or "l" (leave); at anything else it is followed on. A second Ctrl-C leaves."""
    try:
        given = sink.ask("\nend it now, or leave it running? [end/leave; Enter goes on] ", password=False)
    except (KeyboardInterrupt, EOFError, NotImplementedError):
        return "l"
    return given.strip().lower()[:1]


def finish(context: Workspace, session: Session) -> tuple[Receipt | None, list[tuple[str, str]]]:
    """Bring the results back and end the session; returns its receipt, and what did not come.

    If something did not come, nothing is ended before the lease is, and the supervisor tries again.
    """
    ledger = context.ledger
    with context.progress(f"ending {session.name}") as progress:
        while (session := ledger.get(session.id)).state not in OVER:
            failed = run_end.bring_home(ledger, session, HOST, Timing(), progress)
            if failed:
                return None, failed
            if failed is not None:
                provider = context.provider(session.provider)
                return lifecycle.down(
                    ledger, provider, session, progress=progress, save=False, why=run_end.RUN
                ), []
            progress.say("the supervisor brings the results back and ends it")
            ledger.clock.sleep(WAIT_S)
    return ledger.receipt(session.id), []


def bring_only(context: Workspace, session: Session) -> list[tuple[str, str]]:
    """Bring the results back of a session that stays; returns what did not come."""
    with context.progress(f"results of {session.name}") as progress:
        try:
            return run_end.bring_home(context.ledger, session, HOST, Timing(), progress) or []
        finally:
            with suppress(GpunbError):
                context.ledger.release(session.id)


def came(context: Workspace, session: Session) -> Iterator[tuple[str, str]]:
    """Lines on what came back, with their style, from the session's history."""
    from gpunb.sessions.cost.receipts import build_receipt

    receipt = build_receipt(context.ledger, None, context.ledger.get(session.id))
    for facts in receipt.brought:
        if not facts["files"]:
            yield "the run wrote nothing that is not here", "dim"
            continue
        where = ", ".join(facts["to"])
        yield f"{files_text(facts['files'])} ({bytes_text(facts['bytes'])}) came back to {where}", "ok"
        beside = [f"{path} as {name}" for path, name in (*facts["beside"], *facts["held"])]
        if beside:
            more = f" and {len(beside) - SHOWN} more" if len(beside) > SHOWN else ""
            yield f"beside what is here: {', '.join(beside[:SHOWN])}{more}", "warn"
    for path, reason in receipt.unsaved:
        yield f"not brought back: {path}: {reason}", "warn"
