"""Starting, following and finding runs, and updating their records in the ledger."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import GpunbError, HostError, JobFailed, RemoteCellError, RunNotFound, WrongState
from gpunb.hints import typed
from gpunb.sessions.access.kept_output import output_file
from gpunb.sessions.attempts import chain
from gpunb.text import clean, did_you_mean, one_line
from gpunb.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gpunb.output import Sink
    from gpunb.remote import AgentClient, RunHandle, RunInfo
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import RunNote, Session

__all__ = [
    "Heeded",
    "RunKept",
    "find",
    "follow",
    "heeded",
    "new_kernel",
    "note",
    "note_end",
    "note_failure",
    "noted",
    "refresh",
    "sentence",
]


@contextlib.contextmanager
def noted(context: Workspace, session: Session, *, kind: str, name: str, run_id: str = "") -> Iterator[str]:
    """Record a run in the ledger before it is started, under a new id if it has none.

    If the host refuses to start it, the record is closed; if the connection
    broke, it stays open, because the run may be there.
    """
    run_id = note(context, session, kind=kind, name=name, run_id=run_id)
    try:
        yield run_id
    except HostError:
        raise
    except GpunbError:
        context.ledger.finish_run(run_id, "error")
        raise


def note(context: Workspace, session: Session, *, kind: str, name: str, run_id: str = "") -> str:
    """Record a run that is started next, under a new id if it has none; returns the id."""
    from gpunb.remote import new_run_id
    from gpunb.sessions.model import RunNote

    run_id = run_id or new_run_id()
    context.ledger.add_run(
        RunNote(
            id=run_id,
            session_id=session.id,
            kind=kind,
            name=name,
            started=time.time(),
            front=context.frontend,
        )
    )
    return run_id


def new_kernel(context: Workspace, session: Session) -> str:
    """A notice if a stop or reboot since the session's last cell has cleared its variables, else ""."""
    cells = (run.started for run in context.ledger.runs(session.id, 1000) if run.kind == "cell")
    last = max(cells, default=0.0)
    for event in reversed(context.ledger.events(session.id)) if last else ():
        if event.at < last:
            break
        if event.kind == "reboot" or event.new == "stopped":
            return f"{session.name} has a new kernel: its variables are empty, files are there"
    return ""


def note_end(context: Workspace, run_id: str, info: RunInfo) -> None:
    """Record how a run ended, if it has."""
    if not info.over:
        return
    now = time.time()
    # the host's clock may be wrong; ours bounds it
    context.ledger.finish_run(run_id, info.state, min(info.ended, now) if info.ended else now)


def follow(
    context: Workspace,
    handle: RunHandle,
    sink: Sink,
    *,
    interactive: bool = True,
    on_interrupt: Callable[[], None] | None = None,
) -> RunInfo:
    """Play a run's output to its end and record the end; `on_interrupt` as in `gpunb.output.show`.

    Raises
    ------
    RemoteCellError, KernelDied, RunTimeout, JobFailed, RunError
        As the run ended.
    """
    from gpunb.output import show

    with heeded(context, handle, sink) as shown:
        try:
            info = show(handle, shown, interactive=interactive, on_interrupt=on_interrupt)
        except RunNotFound:
            raise
        except GpunbError as err:
            note_failure(context, handle, err, shown.words)
            raise
    note_end(context, handle.id, info)
    return info


@contextlib.contextmanager
def heeded(context: Workspace, handle: RunHandle, sink: Sink) -> Iterator[Heeded]:
    """The sink to play the run into: within the block it also shows what happens to host and line."""

    def heard(head: Mapping[str, Any]) -> None:
        text = sentence(head, context, handle.id)
        if text:
            sink.note(text)

    client = handle.client
    before, client.on_line = client.on_line, sink.note
    end_listening = client.listen(heard)
    try:
        yield Heeded(sink, context, handle.id)
    finally:
        end_listening()
        client.on_line = before


def note_failure(context: Workspace, handle: RunHandle, err: GpunbError, words: str = "") -> None:
    """Record how a run ended that failed by `err`, and add what explains it; `words` end its stderr."""
    if isinstance(err, RemoteCellError):
        from gpunb.services.running import host_python

        host_python.explain(err)
    elif isinstance(err, JobFailed):
        from gpunb.services.running import host_python

        host_python.explain_job(err, words)
    if handle.over:
        note_end(context, handle.id, _state(handle))
    elif handle.refused:  # it never began
        context.ledger.finish_run(handle.id, "error")
    elif isinstance(err, HostError):
        err.hint = err.hint or (
            "the run may go on there: " + typed("attach", handle.id) + " shows it when the host is back"
        )


class Heeded:
    """A sink that also keeps the end of stderr, and records that a run waits for an answer."""

    def __init__(self, sink: Sink, context: Workspace, run_id: str) -> None:
        self._sink = sink
        self._context = context
        self._run = run_id
        self.words = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def ask(self, prompt: str, *, password: bool) -> str:
        """Ask the question; meanwhile the ledger shows the run as waiting."""
        from gpunb.sessions.model import WAITING

        ledger = self._context.ledger
        ledger.mark_run(self._run, WAITING)
        try:
            text = self._sink.ask(prompt, password=password)
        except (EOFError, KeyboardInterrupt):
            ledger.mark_run(self._run, "running")
            raise
        ledger.mark_run(self._run, "running")
        ledger.touch_run(self._run)
        return text

    def stream(self, name: str, text: str) -> None:
        """Show the text; keep the end of stderr."""
        if name == "stderr":
            self.words = (self.words + text)[-4000:]
        self._sink.stream(name, text)


def _state(handle: RunHandle) -> RunInfo:
    return handle.client.run_info(handle.id)


def refresh(context: Workspace, client: AgentClient, session: Session) -> list[RunInfo]:
    """List the host's runs and update their records in the ledger."""
    from gpunb.sessions.model import HOSTS, WAITING, RunNote

    infos = client.runs()
    notes = {note.id: note for note in context.ledger.runs(session.id, 10_000)}
    for info in infos:
        note = notes.get(info.id)
        if note is not None and note.ended is None and not info.over:
            state = info.state if info.waiting is None else WAITING
            if note.state != state:
                context.ledger.mark_run(info.id, state)
        if note is None:
            started = info.started or info.created or time.time()
            context.ledger.add_run(
                RunNote(
                    id=info.id,
                    session_id=session.id,
                    kind=info.kind,
                    name=info.name,
                    started=started,
                    front=HOSTS,
                )
            )
        if info.over and (note is None or note.ended is None):
            note_end(context, info.id, info)
    return infos


def find(
    context: Workspace, run: str | None, session_name: str | None, *, whole: bool = False
) -> tuple[Session, str]:
    """Find the session and whole id of `run` (an id or its prefix).

    Without `run`: the newest run of the session.

    Parameters
    ----------
    whole
        Whether only a whole id is accepted, since the run will be ended.

    Raises
    ------
    RunNotFound
        No run fits, or several do.
    WrongState
        Its session has ended, and the output with it.
    """
    ledger = context.ledger
    named = context.session(session_name) if session_name is not None else None
    if run is None:
        session = named or context.session(None)
        newest = ledger.runs(session.id, 1)
        if not newest:
            msg = f"session {session.name} has no runs yet"
            raise RunNotFound(msg, hint=typed("run SCRIPT") + " starts a job, %%gpu runs a cell")
        if not session.alive:
            raise _ended(session, newest[0])
        return session, newest[0].id
    try:
        note = ledger.find_run(run)
    except RunNotFound as err:
        if err.close:
            raise
        return _ask_host(context, run, session_name, err, whole=whole)
    if whole and note.id != run:
        raise _only_begins(run, [note.id])
    if named is not None and named.id != note.session_id:
        msg = f"run {note.id} is not one of {named.name}"
        raise RunNotFound(msg, hint=typed("runs -s", named.name) + " lists those")
    session = ledger.get(note.session_id)
    later = chain.newest(ledger, session)
    if later.id != session.id and note.id == session.ends_with:
        session, note = later, _going_on(ledger, later)
    if not session.alive:
        raise _ended(session, note)
    return session, note.id


class RunKept(WrongState):
    """The run's session has ended, and what it printed is kept here.

    Attributes
    ----------
    note, file
        The run, and its text.
    """

    def __init__(self, message: str, *, note: RunNote, file: Path) -> None:
        super().__init__(message, hint=typed("logs", note.id) + " shows it")
        self.note = note
        self.file = file


def _ended(session: Session, note: RunNote) -> WrongState:
    kept = output_file(session.id, note.id)
    if kept.is_file():
        msg = f"run {note.id} was on session {session.name}, which has ended; its output is in {kept}"
        return RunKept(msg, note=note, file=kept)
    msg = f"run {note.id} was on session {session.name}, which has ended, and its output with it"
    return WrongState(
        msg, hint=typed("runs") + " shows how it ended; rent --save brings files back next time"
    )


def _going_on(ledger: Ledger, session: Session) -> RunNote:
    """The run on the newest of its machines.

    Raises
    ------
    WrongState
        It is not begun there yet.
    """
    note = ledger.run(session.id, session.ends_with)
    if note is None:
        why = f": {session.detail}" if session.detail else ""
        msg = f"the machine of the run was taken, and it is not begun yet on {session.name}{why}"
        raise WrongState(msg, hint=typed("show", session.name) + " tells more")
    return note


def _ask_host(
    context: Workspace, run: str, session_name: str | None, unknown: RunNotFound, *, whole: bool
) -> tuple[Session, str]:
    """Look for a run missing from the ledger on the host, if there is one obvious host."""
    known = [note.id for note in context.ledger.runs(None, 200)]
    try:
        session = context.session(session_name)
        known += [info.id for info in refresh(context, context.agent(session), session)]
    except GpunbError as err:
        log.get(__name__).info("can't ask the host for run %s: %s", run, err)
        unknown.hint = did_you_mean(run, known) or unknown.hint
        raise unknown from None
    close = {run_id for run_id in known if run_id.startswith(run)}
    if len(close) != 1:
        unknown.hint = did_you_mean(run, known) or unknown.hint
        raise unknown
    if whole and run not in close:
        raise _only_begins(run, sorted(close))
    return session, close.pop()


def _only_begins(run: str, ids: list[str]) -> RunNotFound:
    msg = f"there is no run {run!r}: it is only the beginning of {', '.join(ids)}"
    return RunNotFound(msg, hint=f"type the whole id: {ids[0]}")


def sentence(head: Mapping[str, Any], context: Workspace, followed: str) -> str | None:
    """Format an agent's notice for a user who follows run `followed`; None if not shown."""
    kind = head.get("k")
    if kind == "lease-warning":
        left = head.get("left_s")
        if not isinstance(left, (int, float)) or not 0 < left < 1e9:
            return None
        return f"the lease ends in {duration_text(float(left))}; extend gives it more"
    if kind == "lease-over":
        return f"the host says that the lease is over: {one_line(head.get('why', ''), 200)!r}"
    other = head.get("kind") == "job" and head.get("run") != followed
    if kind == "run-ended" and context.frontend == "terminal" and other:
        what = f"{head.get('kind')} {head.get('run')} ({head.get('name')})"
        return clean(f"{what} ended {head.get('state')} {head.get('why') or ''}")[:300]
    return None
