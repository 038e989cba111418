"""Routing of plain cells to the host while ``%gpu on`` is active.

An input transformer rewrites a cell before IPython looks at it, so that the
host gets the text as it was typed, its own magics and ``!`` lines included.
Only the text that the user sent is routed: what a running cell hands to IPython
again (``%%time``, ``run_cell``, ``%run x.ipy``, an extension) stays where that
cell runs. ``%%local`` is removed from its cell here, so that it runs as it would
without gpunb. Nothing heavy is imported until the first ``%gpu on``.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from IPython.core.extensions import ExtensionManager
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import no_var_expand

from gpunb.patterns import later

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from gpunb.services.running.cell_target import Mode

__all__ = ["install", "mode_of", "uninstall"]

HOST_MAGIC = "_gpu_on_host"
# gpunb's own magics, and those that load and unload gpunb, run here
_STAYS = later(r"^(?:[A-Za-z_]\w*\s*=\s*)?%(?:gpu\b|(?:re|un)?load_ext\s+gpunb\b)")
_STAYS_INSIDE = later(r"^[ \t]+(?:[A-Za-z_]\w*\s*=\s*)?%gpu\b")
_CLAUSE = later(r"^(?:else|elif|except|finally)\b")
_CALL = "get_ipython().run_line_magic('gpu'"
_GPU = later(r"^%%gpu\b")
_LOCAL = later(r"^%%local\b")
_SWITCH = later(r"^%gpu\s+(on|off)\b(?!.*(?:\s-h\b|\s--help\b))")


class Router:
    """The input transformer of one shell."""

    # not for deciding whether a cell is complete: that is about the text as typed
    has_side_effects = True

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def __call__(self, lines: list[str]) -> list[str]:
        """Return the cell's lines, those for the host wrapped in a call."""
        marked = _marked(lines)
        if marked is not None:
            return marked
        on = mode_of(self.shell) is not None
        if not on and not any(_SWITCH.match(line) for line in lines):
            return lines
        if not lines or not self._sent_by_user(lines):
            return lines
        return self._routed(lines, on=on)

    def begins(self, _: object) -> None:
        """Note that a cell starts, wherever it runs."""
        mode = sys.modules.get("gpunb.services.running.cell_target")
        if mode is not None:
            mode.begins(self.shell)

    def _routed(self, lines: list[str], *, on: bool) -> list[str]:
        if lines[0].startswith("%%"):  # one piece: another cell magic, for the host
            return [_wrapped(lines)] if on else lines
        out: list[str] = []
        piece: list[str] = []
        at = 0
        while at < len(lines):
            block = self._block(piece, lines, at) if _STAYS_INSIDE.match(lines[at]) else None
            if block is not None:
                head, end = block
                out += _piece(piece[:head], at - len(piece) + head, on=on)
                out += [*piece[head:], *lines[at:end]]
                piece, at = [], end
                continue
            if not (_STAYS.match(lines[at]) and self._whole(piece)):
                piece.append(lines[at])
                at += 1
                continue
            out += _piece(piece, at, on=on)
            piece = []
            switch = _SWITCH.match(lines[at])
            on = switch[1] == "on" if switch else on
            while lines[at].endswith("\\\n") and at + 1 < len(lines):
                out.append(lines[at])
                at += 1
            out.append(lines[at])
            at += 1
        return out + _piece(piece, at, on=on)

    def _block(self, piece: list[str], lines: list[str], at: int) -> tuple[int, int] | None:
        """Find the compound statement around an indented ``%gpu`` at ``lines[at]``; all of it runs here.

        Returns where it begins in `piece` and ends in `lines`; None if that line is text in a string.
        """
        for head in range(len(piece) - 1, -1, -1):
            if not _begins(piece[head]) or (head and piece[head - 1].startswith("@")):
                continue
            if self._whole(piece[:head]):
                break
        else:
            return None
        before = "".join(piece[head:])
        plain = TransformerManager()
        calls = [plain.transform_cell(text).count(_CALL) for text in (before, before + lines[at])]
        if calls[0] == calls[1]:
            return None
        end = at + 1
        while end < len(lines) and not (_begins(lines[end]) and self._whole([*piece[head:], *lines[at:end]])):
            end += 1
        return head, end

    def _whole(self, piece: list[str]) -> bool:
        """Return whether `piece` ends outside any string or bracket, so that a new statement can begin."""
        text = "".join(piece)
        return not text.strip() or self.shell.check_complete(text)[0] != "incomplete"

    def _sent_by_user(self, lines: list[str]) -> bool:
        """Return whether this is the cell that a frontend asked to run, as the user typed it.

        Not a frontend's own code (a variables view, a debugger), and not what a running cell, a
        hook or a callback hands to IPython.
        """
        if _called_by(InteractiveShell.run_code.__code__):
            return False
        kernel = getattr(self.shell, "kernel", None)
        if kernel is None:
            return threading.current_thread() is threading.main_thread()
        message = kernel.get_parent("shell") or {}
        content = message.get("content") or {}
        if (message.get("header") or {}).get("msg_type") != "execute_request":
            return False
        hidden = content.get("silent") or content.get("store_history") is False
        return not hidden and lines == self._as_typed(str(content.get("code", "")))

    def _as_typed(self, code: str) -> list[str]:
        """Return the lines of `code` as the transformers before this one leave them."""
        lines = (code if code.endswith("\n") else f"{code}\n").splitlines(keepends=True)
        for transform in self.shell.input_transformers_cleanup:
            if transform is self:
                break
            lines = transform(lines)
        return lines


def _marked(lines: list[str]) -> list[str] | None:
    """Return the cell that ``%%local`` or ``%%gpu`` marks; None without a mark.

    The mark may stand below comments, where IPython does not take it for a cell magic, and below
    other cell magics: a cell marked as local must not run on the host because of lines above the mark.
    """
    for at, line in enumerate(lines):
        above = lines[:at]
        bare = not any(one.startswith("%%") for one in above)
        if _LOCAL.match(line):
            return [*([] if bare else above), *lines[at + 1 :]] or [""]
        if _GPU.match(line):
            return [line, *above, *lines[at + 1 :]] if bare else lines
        if line.strip() and not line.startswith(("#", "%%")):
            break
    return None


def _begins(line: str) -> bool:
    """Return whether a statement at the left margin begins with `line`."""
    return bool(line.strip()) and line[0] not in " \t#)]}" and not _CLAUSE.match(line)


def _called_by(code: CodeType) -> bool:
    """Return whether a function of that code is running in this thread."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the call stack is what is asked for
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


def _piece(lines: list[str], end: int, *, on: bool) -> list[str]:
    """Return the lines before line `end` of the cell, wrapped if they hold code for the host."""
    return [_wrapped(lines, end - len(lines))] if on and "".join(lines).strip() else lines


def _wrapped(lines: list[str], above: int = 0) -> str:
    return f"get_ipython().run_cell_magic({HOST_MAGIC!r}, '{above}', {''.join(lines)!r})\n"


def mode_of(shell: Any) -> Mode | None:
    """Return where plain cells of `shell` run, without importing anything."""
    mode = sys.modules.get("gpunb.services.running.cell_target")
    return mode.current(shell) if mode is not None else None


def install(shell: InteractiveShell) -> None:
    """Install the input transformer and the host's completion in `shell`."""
    from gpunb.notebook import host_completion

    router = Router(shell)

    def on_host(line: str, cell: str) -> Any:
        """Run a plain cell, from one of its lines on, on the host that `%gpu on` named."""
        from gpunb.notebook.plain_cell import run

        return run(shell, cell, int(line))

    put_there: Any = shell.register_magic_function
    put_there(no_var_expand(on_host), magic_kind="cell", magic_name=HOST_MAGIC)
    shell.input_transformers_cleanup.append(router)
    shell.events.register("pre_run_cell", router.begins)
    host_completion.install(shell)


def reloading() -> bool:
    """Return whether ``%reload_ext`` is running: what was on stays on then."""
    return _called_by(ExtensionManager.reload_extension.__code__)


def uninstall(shell: InteractiveShell) -> None:
    """Remove both, so that plain cells run here, unless the extension is being reloaded."""
    from gpunb.notebook import host_completion

    mode = sys.modules.get("gpunb.services.running.cell_target")
    if mode is not None and not reloading():
        was = mode.turn_off(shell)
        if was is not None:
            print(f"gpunb: plain cells run here again, no longer on {was.name}", file=sys.stderr)  # noqa: T201
    cleanup = shell.input_transformers_cleanup
    for router in [one for one in cleanup if isinstance(one, Router)]:
        cleanup.remove(router)
        shell.events.unregister("pre_run_cell", router.begins)
    shell.magics_manager.magics["cell"].pop(HOST_MAGIC, None)
    host_completion.uninstall(shell)
