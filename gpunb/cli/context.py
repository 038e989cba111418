"""The context passed to every verb: its frontend, and ledger, settings and clouds, opened lazily."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import BadInput, GpunbError
from gpunb.services.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from gpunb.hints import Frontend
    from gpunb.output import Sink
    from gpunb.progress import Progress
    from gpunb.services.confirmations import Question
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import RunNote, Session

__all__ = ["Context", "known_runs", "known_sessions"]


class Context(Workspace):
    """The context of one call of a verb.

    Parameters
    ----------
    frontend
        "terminal" or "notebook".
    shell
        The notebook's IPython shell, for variables and displays.
    """

    def __init__(self, frontend: Frontend, shell: Any = None) -> None:
        super().__init__(frontend, shell)
        self.verbosity = 0

    # -- life ----------------------------------------------------------------------------------

    def start_log(self) -> None:
        """Start logging to the log file, with the verbosity of ``-v``."""
        log.setup(self.verbosity)

    def sink(self, run_id: str = "", head: str = "") -> Sink:
        """The sink for the output of run `run_id` in this frontend; `head` as in `NotebookSink`.

        With ``--json`` it goes to stderr: stdout holds the JSON only.
        """
        if self.frontend == "notebook" and self.shell is not None:
            from gpunb.output import NotebookSink

            return NotebookSink(self.shell, run_id=run_id, head=head, offer=self._offer)
        return self.text_sink()

    def text_sink(self) -> Sink:
        """The sink that prints an output's text: a terminal's, also in a notebook."""
        from gpunb.output import TextSink

        return TextSink(sys.stderr if self.as_json else sys.stdout, sys.stderr)

    def _offer(self, run_id: str, text: str) -> None:
        """Offer to show all of a stranger's run, under its output."""
        from gpunb.cli import blocked_output

        blocked_output.offer(self.shell, run_id, text)

    # -- user ----------------------------------------------------------------------------------

    @property
    def interactive(self) -> bool:
        """Whether the user can answer a question in this terminal."""
        return self.frontend == "terminal" and not self.as_json and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether the user can answer a question: at a terminal, or in a notebook's frontend."""
        if self.frontend == "terminal":
            return sys.stdin.isatty() and sys.stderr.isatty()
        kernel = getattr(self.shell, "kernel", None)
        if kernel is not None:
            # the frontend says with each cell whether it can ask (nbconvert and papermill can't)
            return bool(getattr(kernel, "_allow_stdin", False))
        return self.shell is not None and sys.stdin.isatty()

    def put(self, question: Question) -> bool:
        """Ask the user; only "y" or "yes" is a yes."""
        from gpunb.presentation.result import Fields
        from gpunb.text import clean

        if question.rows:
            self.tell(Fields(list(question.rows)))
        text = question.prompt if question.rows else f"{clean(question.text)} {question.prompt}"
        return self._answer(f"{text} [y/N]: ").strip().lower() in {"y", "yes"}

    def show_agreed(self, question: Question) -> None:
        """Show what a yes that was given beforehand is for, as a table."""
        from gpunb.presentation.result import Fields

        self.tell(Fields(list(question.rows)))

    def _answer(self, prompt: str) -> str:
        """Read the user's answer after `prompt`; "" at the end of input."""
        try:
            if self.frontend == "notebook":
                return input(prompt)
            print(prompt, end="", file=sys.stderr, flush=True)  # noqa: T201 - stdout holds the result
            return sys.stdin.readline()
        except EOFError:
            return ""

    def say(self, *lines: tuple[str, str]) -> None:
        """Show messages before the result: texts, each with its style."""
        from gpunb.presentation.result import Note

        self.tell(*(Note(text, tone) for text, tone in lines))

    def offer(self, text: str, name: str, words: Sequence[str]) -> None:
        """Show a message, with a button that runs the command where there are buttons."""
        from gpunb.cli import buttons
        from gpunb.hints import written
        from gpunb.text import clean

        plain = clean(written(text, "notebook"))
        press = buttons.Press(name, words, once=True)
        if self.frontend != "notebook" or not buttons.offer(self.shell, plain, plain, press):
            self.say((text, "warn"))

    def tell(self, *blocks: Any) -> None:
        """Show a block before the result (on stderr, or as a display)."""
        from gpunb.presentation.result import Result

        result = Result(None, *blocks)
        if self.frontend == "notebook":
            from IPython.display import display

            display(result)
        else:
            from rich.console import Console

            Console(stderr=True).print(result)

    def progress(self, title: str) -> AbstractContextManager[Progress]:
        """A context manager that shows progress."""
        from gpunb.cli import progress

        return progress.shown(title, self.frontend)

    def run_in_terminal(self, argv: list[str]) -> int | None:
        """Run `argv` attached to this terminal; None where there is no terminal."""
        import subprocess

        if self.frontend != "terminal" or self.as_json:
            return None
        return subprocess.run(argv, check=False).returncode

    def needs_notebook(self, verb: str, instead: str) -> None:
        """Refuse `verb` in a terminal, where there are no variables.

        Raises
        ------
        BadInput
            This is not a notebook.
        """
        if self.shell is None:
            msg = f"{verb} moves variables of a notebook, and a terminal has none"
            raise BadInput(msg, hint=instead)


@contextlib.contextmanager
def _quiet_ledger() -> Iterator[Ledger | None]:
    # completion must never print or fail
    from gpunb import paths

    try:
        if not paths.ledger_file().exists():
            yield None
            return
        from gpunb.sessions.ledger.sessions import Ledger

        with Ledger.open() as ledger:
            yield ledger
    except (GpunbError, OSError) as err:
        logging.getLogger("gpunb.commands").debug("completion: %s", err)


def known_sessions() -> list[Session]:
    """The live sessions, or none if the ledger can't be read."""
    sessions: list[Session] = []
    with _quiet_ledger() as ledger:
        if ledger is not None:
            sessions = ledger.sessions()
    return sessions


def known_runs() -> list[RunNote]:
    """The newest runs, or none if the ledger can't be read."""
    notes: list[RunNote] = []
    with _quiet_ledger() as ledger:
        if ledger is not None:
            notes = ledger.runs(None, 30)
    return notes
