"""The ``%gpu`` line: the same verbs as in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.cli.main import invoke
from gpunb.errors import GpunbError, RunError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.presentation.result import Result

__all__ = ["run_line"]


def run_line(shell: InteractiveShell, line: str) -> Any:
    """Run `line` (without words, list the sessions); return a `Result`, or the widget that shows it.

    Raises
    ------
    GpunbError
        The verb failed, or a command on the host did: the cell fails, so that Run All stops.
    """
    try:
        result = invoke(line, frontend="notebook", shell=shell)
    except GpunbError:
        raise
    except Exception:
        log.get(__name__).exception("unexpected failure in %%gpu %s", line)
        raise
    if line.strip() in ("-h", "--help"):
        # `%%gpu -h` alone never reaches us: IPython requires a body below it
        from gpunb.notebook.cell_magic import help_text

        print(f"\n{help_text()}")  # noqa: T201
    if result.exit_code == 130:
        raise KeyboardInterrupt
    if result.exit_code:
        if result.blocks:
            from IPython.display import display

            display(result)
        msg = f"%gpu {line.strip()}: exit code {result.exit_code}"
        raise RunError(msg)
    return _opened(shell, result) if result.opening is not None and not result.as_json else result


def _opened(shell: InteractiveShell, result: Result) -> Any:
    """Return the widget that the verb asks for, if a browser may show it."""
    if getattr(shell, "kernel", None) is None or result.opening is None:  # IPython in a terminal
        return result
    from gpunb.notebook import widgets

    return widgets.open_for(result.opening)
