"""The frontend of Python programs: a call is the yes, and what takes long shows its progress."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from gpunb.cli.context import Context
from gpunb.errors import RemoteCellError
from gpunb.progress import SILENT
from gpunb.services import lease_warnings
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from gpunb.progress import Progress
    from gpunb.sessions.model import Session

__all__ = ["PythonFrontend", "frontend"]


class PythonFrontend(Context):
    """The context of one call from Python.

    No question is asked: what a verb asks, a call has answered. Its bounds are the arguments (``budget``,
    ``hours``, ``max_price``), and what a verb refuses is refused with the same error.
    """

    def __init__(self) -> None:
        shell = _shell()
        super().__init__("terminal" if shell is None else "notebook", shell)

    @property
    def interactive(self) -> bool:
        """Never: a program's input is its own."""
        return False

    @property
    def can_ask(self) -> bool:
        """Never: a program's input is its own."""
        return False

    def live(self, session_id: str) -> Session:
        """The record, if the session has not ended.

        Raises
        ------
        SessionOver
            It has.
        """
        from gpunb.sessions.ledger import names

        session = self.ledger.get(session_id)
        if session.alive:
            return session
        others = [one for one in self.ledger.sessions() if one.name != session.name]
        return names.acting(session.name, others, [session])

    def tell(self, *blocks: Any) -> None:
        """Show messages on stderr, or under the cell in a notebook; a closed stderr shows none."""
        if self.frontend == "notebook" or sys.stderr is not None:
            super().tell(*blocks)

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """Show progress to a user who watches: at a terminal or in a notebook, never in a log."""
        watched = self.frontend == "notebook" or (sys.stderr is not None and sys.stderr.isatty())
        return super().progress(title) if watched else nullcontext(SILENT)


def _shell() -> Any:
    """The shell of the notebook that this process is the kernel of; None elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


@contextmanager
def frontend() -> Iterator[PythonFrontend]:
    """A context for one call; a lease that ends soon is told afterwards, as after a verb.

    The host's traceback of a cell is the cause of its error, so that an uncaught one shows both.
    """
    with PythonFrontend() as context:
        try:
            yield context
        except RemoteCellError as err:
            if err.traceback and err.__cause__ is None:
                err.__cause__ = _HostTraceback(err.traceback)
            raise
        lease_warnings.tell(context)


class _HostTraceback(Exception):
    """The traceback of the host, as the cause of the error here."""

    def __str__(self) -> str:
        return "\n" + "\n".join(clean(line, lines=True) for line in self.args[0])
