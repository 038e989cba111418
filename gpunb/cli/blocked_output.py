"""Notice and buttons under sanitized output: show it in a sandboxed frame, or trust the run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["offer"]


def offer(shell: InteractiveShell, run_id: str, text: str) -> None:
    """Show `text` and two buttons; text only where there are no widgets."""
    hint = f"{text}; `%gpu logs {run_id} --frame` shows it in a closed frame, --trust as it is"
    if getattr(shell, "kernel", None) is None:
        print(f"gpunb: {hint}")  # noqa: T201
        return
    row = _row(shell, run_id, text)
    view = {"version_major": 2, "version_minor": 0, "model_id": row.model_id}
    shell.display_pub.publish(
        data={"application/vnd.jupyter.widget-view+json": view, "text/plain": f"gpunb: {hint}"}
    )


def _row(shell: InteractiveShell, run_id: str, text: str) -> Any:
    import ipywidgets as widgets  # type: ignore[import-untyped]

    words = widgets.HTML(f"gpunb: {escape(text)}", layout=widgets.Layout(flex="1 1 auto"))
    frame = widgets.Button(description="Show in a closed frame", tooltip=f"%gpu logs {run_id} --frame")
    trust = widgets.Button(
        description="Trust this run",
        tooltip=f"%gpu logs {run_id} --trust: it may then run code in this page",
        button_style="warning",
    )
    for button in (frame, trust):
        button.layout.width = "auto"
    out = widgets.Output()

    def show(option: str) -> None:
        out.clear_output()
        with out:
            from gpunb.cli.main import invoke

            invoke(["logs", run_id, option], frontend="notebook", shell=shell)

    frame.on_click(lambda _: show("--frame"))
    trust.on_click(lambda _: show("--trust"))
    return widgets.VBox([widgets.HBox([words, frame, trust]), out])
