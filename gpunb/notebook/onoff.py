"""While ``%gpu on`` holds, plain cells become cells of the host.

An input transformer rewrites a cell before IPython looks at it, so that the
host gets the text as it was typed, its own magics and ``!`` lines included.
``%%local`` is taken off its cell here, so that it runs as it would without us.
Nothing heavy is imported until the first ``%gpu on``.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from IPython.core.magic import no_var_expand

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.commands.mode import Mode

__all__ = ["install", "mode_of", "uninstall"]

HOST_MAGIC = "_gpu_on_host"
# ours, and what loads and unloads us, stay here
_STAYS = re.compile(r"^(?:[A-Za-z_]\w*\s*=\s*)?%(?:gpu\b|(?:re|un)?load_ext\s+gpunb\b)")
_LOCAL = re.compile(r"^%%local\s*$")
_SWITCH = re.compile(r"^%gpu\s+(on|off)\b(?!.*(?:\s-h\b|\s--help\b))")


class Router:
    """The input transformer of one shell."""

    # not for deciding whether a cell is complete: that is about the text as typed
    has_side_effects = True

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def __call__(self, lines: list[str]) -> list[str]:
        """The cell's lines, those for the host wrapped."""
        if lines and _LOCAL.match(lines[0]):
            return lines[1:] or [""]
        on = mode_of(self.shell) is not None
        if not on and not any(_SWITCH.match(line) for line in lines):
            return lines
        if not lines or lines[0].startswith("%%gpu") or self._hidden():
            return lines
        return self._routed(lines, on=on)

    def _routed(self, lines: list[str], *, on: bool) -> list[str]:
        if lines[0].startswith("%%"):  # one piece: another cell magic, for the host
            return [_wrapped(lines)] if on else lines
        out: list[str] = []
        piece: list[str] = []
        at = 0
        while at < len(lines):
            if not (_STAYS.match(lines[at]) and self._whole(piece)):
                piece.append(lines[at])
                at += 1
                continue
            out += _piece(piece, on=on)
            piece = []
            switch = _SWITCH.match(lines[at])
            on = switch[1] == "on" if switch else on
            while lines[at].endswith("\\\n") and at + 1 < len(lines):
                out.append(lines[at])
                at += 1
            out.append(lines[at])
            at += 1
        return out + _piece(piece, on=on)

    def _whole(self, piece: list[str]) -> bool:
        """Whether a new statement can begin after `piece`: it is not inside a string or a bracket."""
        text = "".join(piece)
        return not text.strip() or self.shell.check_complete(text)[0] != "incomplete"

    def _hidden(self) -> bool:
        """Whether this is a front end's own code (a variables view, a debugger), not the user's."""
        kernel = getattr(self.shell, "kernel", None)
        if kernel is None:
            return False
        message = kernel.get_parent("shell") or {}
        content = message.get("content") or {}
        return bool(content.get("silent")) or content.get("store_history") is False


def _piece(lines: list[str], *, on: bool) -> list[str]:
    return [_wrapped(lines)] if on and "".join(lines).strip() else lines


def _wrapped(lines: list[str]) -> str:
    return f"get_ipython().run_cell_magic({HOST_MAGIC!r}, '', {''.join(lines)!r})\n"


def mode_of(shell: Any) -> Mode | None:
    """Where plain cells of `shell` go, without importing anything."""
    mode = sys.modules.get("gpunb.commands.mode")
    return mode.current(shell) if mode is not None else None


def install(shell: InteractiveShell) -> None:
    """Add the transformer and the host's completion to `shell`."""
    from gpunb.notebook import asking

    router = Router(shell)

    def on_host(line: str, cell: str) -> Any:  # noqa: ARG001 - a cell magic's signature
        """Run a plain cell on the host that `%gpu on` named."""
        from gpunb.notebook.hosted import run

        return run(shell, cell)

    put_there: Any = shell.register_magic_function
    put_there(no_var_expand(on_host), magic_kind="cell", magic_name=HOST_MAGIC)
    shell.input_transformers_cleanup.append(router)
    asking.install(shell)


def uninstall(shell: InteractiveShell) -> None:
    """Take it all away; plain cells run here."""
    from gpunb.notebook import asking

    mode = sys.modules.get("gpunb.commands.mode")
    if mode is not None:
        mode.turn_off(shell)
    cleanup = shell.input_transformers_cleanup
    cleanup[:] = [one for one in cleanup if not isinstance(one, Router)]
    shell.magics_manager.magics["cell"].pop(HOST_MAGIC, None)
    asking.uninstall(shell)
