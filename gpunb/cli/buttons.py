"""Rows with buttons under what a cell shows: each runs a command that could be typed as well."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from gpunb.hints import typed, written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Press", "offer"]


class Press(NamedTuple):
    """A button: its text, the words of its command, and what speaks against pressing it."""

    text: str
    words: Sequence[str]
    warning: str = ""
    once: bool = False  # after it has worked there is nothing left to do


def offer(shell: InteractiveShell | None, text: str, plain: str, *presses: Press) -> bool:
    """Show `text` and the buttons; a frontend without widgets shows `plain`.

    Returns
    -------
    bool
        False if this Python has no widgets, or no frontend: nothing was shown.
    """
    if getattr(shell, "kernel", None) is None:
        return False
    try:
        row = _row(shell, text, presses)
    except ImportError:
        return False
    view = {"version_major": 2, "version_minor": 0, "model_id": row.model_id}
    shell.display_pub.publish(  # type: ignore[union-attr]
        data={"application/vnd.jupyter.widget-view+json": view, "text/plain": plain}
    )
    return True


def _row(shell: Any, text: str, presses: Sequence[Press]) -> Any:
    import ipywidgets as widgets  # type: ignore[import-untyped]

    words = widgets.HTML(escape(text), layout=widgets.Layout(flex="1 1 auto"))
    out = widgets.Output()

    def button(press: Press) -> Any:
        command = written(typed(*press.words), "notebook")
        made = widgets.Button(
            description=press.text,
            tooltip=f"{command}: {press.warning}" if press.warning else command,
            button_style="warning" if press.warning else "",
            layout=widgets.Layout(width="auto"),
        )

        def pressed(_: object) -> None:
            made.disabled = True  # while it works, too: it is shown below
            out.clear_output()
            done = False
            with out:  # an error is shown there
                _run(shell, press.words)
                done = True
            made.disabled = done and press.once

        made.on_click(pressed)
        return made

    return widgets.VBox([widgets.HBox([words, *map(button, presses)]), out])


def _run(shell: Any, words: Sequence[str]) -> None:
    from IPython.display import display

    from gpunb.cli.main import invoke

    result = invoke(words, frontend="notebook", shell=shell)
    if result.blocks:
        display(result)
