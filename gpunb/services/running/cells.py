"""A cell in the session's kernel: started, recorded and followed, the same for every frontend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.errors import GpunbError, HostError, RemoteCellError
from gpunb.services.running import runs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpunb.output import Sink
    from gpunb.remote import RunHandle, RunInfo
    from gpunb.services.project.around import Inside
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["label", "let_go", "run", "start", "tell_failure"]


def start(
    context: Workspace,
    session: Session,
    code: str,
    *,
    name: str = "",
    timeout: float | None = None,
    secrets: Mapping[str, str] | None = None,
    stdin: bool = False,
    place: Mapping[str, Any] | None = None,
    late: bool = False,
) -> RunHandle:
    """Start `code` in the session's own kernel, after the cells that wait there, and record the run.

    Parameters
    ----------
    name
        What lists call it; by default its first line.
    timeout
        Seconds after which the host interrupts it; by default the setting ``cell_timeout``.
    secrets, stdin, place, late
        As in `gpunb.remote.client.AgentClient.run_cell`.

    Raises
    ------
    HostError
        The host can't be reached now. The run may have started; its record stays open.
    """
    client = context.agent(session)
    called = label(code, name)
    with runs.noted(context, session, kind="cell", name=called) as run_id:
        return client.run_cell(
            code,
            name=called,
            run_id=run_id,
            timeout=timeout or context.settings.cell_timeout,
            secrets=secrets,
            stdin=stdin,
            place=place,
            late=late,
        )


def let_go(context: Workspace, handle: RunHandle) -> RunInfo:
    """Stop following a run that goes on; returns its state, once the host has it.

    Raises
    ------
    RunError
        The host refused it.
    """
    try:
        return handle.info()
    except HostError:
        raise
    except GpunbError:
        context.ledger.finish_run(handle.id, "error")
        raise
    finally:
        handle.close()


def run(
    context: Workspace,
    session: Session,
    code: str,
    sink: Callable[[str], Sink],
    *,
    here: bool | None = None,
    folder: str | None = None,
    place: Mapping[str, Any] | None = None,
    before: Callable[[Inside], object] | None = None,
    **options: Any,
) -> RunInfo:
    """Run `code` in the session's kernel and show its output in a sink until it ends.

    Parameters
    ----------
    here, folder
        The folder that it works in; see `gpunb.services.project.around.enter`. By default the one that is
        bound to the session, if there is one; what the cell wrote in it comes back.
    before
        Called when the folder is there, before the cell is sent.
    sink
        Makes the sink from the run's id: one that keeps (`gpunb.output.kept.KeptOutputs`), a terminal's or
        a notebook's.
    options
        Those of `start`.

    Raises
    ------
    RemoteCellError
        The cell raised; a sink without ``failure`` has been shown the traceback, once.
    KernelDied, RunTimeout, RunError, HostError
        As the run ended.
    """
    from gpunb.services.project import around

    fresh = runs.new_kernel(context, session)
    with around.inside(context, session, here=here, folder=folder, what="%%gpu") as inside:
        if before is not None:
            before(inside)
        handle = start(context, session, code, place=inside.placed(place), **options)
        shown = sink(handle.id)
        if fresh:
            shown.note(fresh)
        return _followed(context, handle, shown)


def _followed(context: Workspace, handle: RunHandle, shown: Sink) -> RunInfo:
    """Follow the run to its end; what it raised is shown once."""
    try:
        return runs.follow(context, handle, shown)
    except RemoteCellError as err:
        tell_failure(shown, err)
        raise


def tell_failure(shown: Sink, err: RemoteCellError) -> None:
    """Show what the cell raised, once, unless the sink makes the exception that shows it."""
    if err.shown or hasattr(shown, "failure"):
        return
    tell = getattr(shown, "error", None)
    if tell is not None:
        tell({"ename": err.ename, "evalue": err.evalue, "traceback": err.traceback})
    elif err.traceback:
        shown.stream("stderr", "\n".join(err.traceback) + "\n")
    else:
        shown.stream("stderr", f"{err.message}\n")
    err.shown = True


def label(code: str, name: str = "") -> str:
    """What lists call the cell: `name`, or its first line."""
    first = name or next((text.strip() for text in code.splitlines() if text.strip()), "")
    return first if name or len(first) <= 40 else f"{first[:39]}…"
