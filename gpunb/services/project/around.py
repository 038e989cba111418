"""One meaning of ``--sync DIR``, ``--here`` and a bound folder, for cells, jobs and kernels.

``--sync DIR`` sends the folder and runs inside of it. ``--here`` is that for the project of the working
folder, and what the run wrote there comes back; it is bound to the session, so that later runs do the same.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, GpunbError
from gpunb.hints import typed
from gpunb.services.project.folder import Project
from gpunb.sessions.project import places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpunb.remote import AgentClient
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["Inside", "bind", "enter", "inside"]

MOST_CHANGED = 2000
WAIT_S = 120.0
_IMPORTABLE = """def _gpunb_importable():
    import importlib, os, sys
    folder = os.path.join(os.path.expanduser("~"), {folder!r})
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
_gpunb_importable()
del _gpunb_importable
"""


@dataclass(frozen=True, slots=True)
class Inside:
    """Where a run works on the host.

    Attributes
    ----------
    cwd
        The folder to run in, relative to the host's home; "" is the home.
    top
        The synced folder that holds it.
    changed
        Its Python files that went just now: their modules are imported anew.
    project
        What comes back after the run; None: nothing does.
    """

    cwd: str = ""
    top: str = ""
    changed: Sequence[str] = ()
    project: Project | None = None

    def placed(self, place: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A cell's ``place``, as `AgentClient.run_cell` takes it, with the folder that it runs in."""
        result = dict(place or {})
        if self.cwd:
            changed = list(self.changed) if len(self.changed) <= MOST_CHANGED else ["*"]
            result.update(folder=self.cwd, top=self.top, changed=changed)
        return result

    def importable(self, client: AgentClient) -> None:
        """Let the kernel import from the folder before a cell runs there: values of its classes go first.

        Raises
        ------
        HostError, RunError
            The kernel does not answer.
        """
        if self.cwd:
            code = _IMPORTABLE.format(folder=self.cwd)
            client.kernel_request("execute_request", {"code": code, "silent": True}, timeout=WAIT_S)

    def bring_back(self) -> None:
        """Bring what the run wrote, and say what came and what did not; a failure is said, and not raised."""
        if self.project is None:
            return
        context, session = self.project.context, self.project.session
        try:
            brought = self.project.bring_back()
        except GpunbError as err:
            again = "the next run brings it, or " + typed("sync", f"{session.name}:{self.top}", "FOLDER")
            context.say((f"not brought back: {err.message}", "bad"), (again, "dim"))
            return
        lines = brought.lines(session, large=False)
        if lines:
            context.say(*lines)
        for text, words in brought.large(session):
            context.offer(text, "Bring it here", words)


def bind(context: Workspace, session: Session, folder: Path | None = None) -> Project:
    """Bind the project of `folder` (default: the working folder) to the session, and send it.

    Raises
    ------
    BadInput
        There is no such project; see `gpunb.services.project.root`.
    SyncError, HostError
        It is bound, and not all of it was sent.
    """
    root = places.root(folder or Path.cwd())
    project = Project(context, session, root)
    places.bind(context.ledger, session, root)
    _send(project)
    return project


def enter(
    context: Workspace, session: Session, *, here: bool | None = None, folder: str | None = None, what: str
) -> Inside:
    """Send what a run needs; returns where it works.

    Parameters
    ----------
    here
        True binds the project of the working folder first, False ends a binding; None takes what is bound.
    folder
        A folder that is sent, without a way back (``--sync``).
    what
        The command, for messages.

    Raises
    ------
    BadInput
        Both are given, or the folder can't be one.
    SyncError, HostError, NotEnoughSpace
        Not all of it was sent: nothing ran.
    """
    if folder is not None:
        if here:
            msg = f"{what} takes one of --here and --sync; both were given"
            raise BadInput(msg, hint="--here is --sync for this project, and brings back what the run wrote")
        from gpunb.services import transfers

        place = places.place(context.ledger, session, Path(folder))
        report = transfers.send(context, session, folder, f"{place}/", f"{what} --sync {folder}")
        return Inside(place, place, [item.path for item in report.plan.items if item.path.endswith(".py")])
    if here is False:
        places.bind(context.ledger, session, None)
        return Inside()
    if here:
        root: Path | None = places.root(Path.cwd())
        places.bind(context.ledger, session, root)
    else:
        root = places.bound(context.ledger, session)
    if root is None:
        return Inside()
    project = Project(context, session, root)
    return Inside(project.cwd(), project.place, _send(project), project)


@contextlib.contextmanager
def inside(context: Workspace, session: Session, **how: Any) -> Iterator[Inside]:
    """`enter` before the block, and bring back what came to be after it, however it ends."""
    found = enter(context, session, **how)
    try:
        yield found
    finally:
        found.bring_back()


def _send(project: Project) -> list[str]:
    """Send the project, and say what did not go; returns the Python files that went."""
    sent = project.send()
    lines = sent.lines(project.session)
    if lines:
        project.context.say(*lines)
    return sent.changed
