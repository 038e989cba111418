"""Execution of one plain cell while ``%gpu on`` is active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.errors import BadInput, GpunbError, RunError
from gpunb.hints import typed
from gpunb.notebook.cell_magic import run_cell
from gpunb.services.running import cell_target

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.presentation.result import Result

__all__ = ["run"]


def run(shell: InteractiveShell, body: str, above: int = 0) -> Result | None:
    """Run `body`, with `above` lines above it in its cell, on the host named by `%gpu on`.

    Raises
    ------
    RemoteCellError
        The cell raised there; it shows the remote traceback.
    GpunbError
        The host can't be used; the cell never falls back to running here.
    """
    mode = cell_target.current(shell)
    if mode is None:
        msg = "no host is on, so the cell was not run"
        raise BadInput(msg, hint=typed("on") + " sends plain cells to the host")
    try:
        return run_cell(shell, f"-s {mode.session_id}", body, above)
    except RunError:
        raise
    except GpunbError as err:
        off = typed("off") + " runs plain cells here again"
        err.hint = err.hint + "; " + off if err.hint else off
        raise
