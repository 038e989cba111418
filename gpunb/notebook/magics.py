"""The magics ``%gpu`` and ``%%gpu``: loaded with the extension; heavy imports wait for the first use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from IPython.core.magic import no_var_expand

from gpunb.notebook import cell_router

if TYPE_CHECKING:
    from types import SimpleNamespace

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["register", "unregister"]

NAME = "gpu"


def register(shell: InteractiveShell) -> None:
    """Add ``%gpu``, ``%%gpu`` and their completion to `shell`."""

    def gpu(line: str, cell: str | None = None) -> Any:
        """Rent a GPU and use it from here; ``%gpu -h`` lists the verbs, ``%%gpu -h`` the cell's options."""
        if cell is not None:
            from gpunb.notebook.cell_magic import run_cell

            return run_cell(shell, line, cell)
        from gpunb.notebook.line_magic import run_line

        return run_line(shell, line)

    # text in braces or after a dollar sign is the user's code: IPython must not expand it
    put_there: Any = shell.register_magic_function  # IPython types it as unbound
    put_there(no_var_expand(gpu), magic_kind="line_cell", magic_name=NAME)
    for key in (f"%{NAME}", f"%%{NAME}"):
        shell.set_hook("complete_command", _complete, str_key=key)
    cell_router.install(shell)
    _say_what_is_left()


def _say_what_is_left() -> None:
    """Print, at each start, sessions with an unclear bill and sessions without a supervisor."""
    from gpunb import paths
    from gpunb.sessions.ledger.peek import nothing_to_say

    file = paths.ledger_file()
    if file.exists() and not nothing_to_say(file):
        from gpunb.services import lease_warnings

        for line in lease_warnings.at_start():
            print(line, file=sys.stderr)  # noqa: T201


def unregister(shell: InteractiveShell) -> None:
    """Remove the magics and close this kernel's connections (not in a reload); sessions go on."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop(NAME, None)
    hooks: Any = getattr(shell.Completer, "custom_completers", None)
    for key in (f"%{NAME}", f"%%{NAME}"):
        if hooks is not None:
            hooks.strs.pop(key, None)
    cell_router.uninstall(shell)
    reach = sys.modules.get("gpunb.sessions.access.host_access")
    if reach is not None and not cell_router.reloading():
        reach.close_all()


def _complete(shell: InteractiveShell, event: SimpleNamespace) -> list[str]:  # noqa: ARG001 - a hook's signature
    from gpunb.notebook.completion import complete

    return complete(event.text_until_cursor, event.symbol)
