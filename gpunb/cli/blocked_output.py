"""Notice and buttons under sanitized output: show it in a sandboxed frame, or trust the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.cli import buttons
from gpunb.cli.buttons import Press

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["offer"]


def offer(shell: InteractiveShell, run_id: str, text: str) -> None:
    """Show `text` and two buttons; text only where there are no widgets."""
    hint = f"gpunb: {text}; `%gpu logs {run_id} --frame` shows it in a closed frame, --trust as it is"
    frame = Press("Show in a closed frame", ["logs", run_id, "--frame"])
    trust = Press("Trust this run", ["logs", run_id, "--trust"], "it may then run code in this page")
    if not buttons.offer(shell, f"gpunb: {text}", hint, frame, trust):
        print(hint)  # noqa: T201
