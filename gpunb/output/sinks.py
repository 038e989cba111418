"""Sinks that show a run's output: a notebook's cell, a terminal or a file."""

from __future__ import annotations

import sys
from collections import deque
from typing import IO, TYPE_CHECKING, Any, Protocol

from gpunb.errors import RemoteCellError
from gpunb.output import late
from gpunb.output.late import NOTEBOOK_LIMIT, PublishedSink
from gpunb.text import Seam, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.remote.run import RunHandle

__all__ = ["NotebookSink", "Sink", "TextSink", "remote_error"]

TAIL = 4 << 10  # characters at the end of hidden text that are shown


class Sink(Protocol):
    """A destination of a run's output, which has passed the `Gate`.

    A sink may also have ``page(content)`` for what a pager shows (else that is a result), and
    ``comm(handle, part, number)`` to bring widgets to that point of the kernel's comm messages,
    ``offer(run_id, text)`` to say what was left out and let the user show it all the same,
    ``error(content)`` for a traceback (else that is text on stderr), ``failure(error)`` to make the
    exception that ends the cell here, ``next_input(text, replace)`` for what the host would put into
    a cell, ``later()`` for the sink of what comes after the cell's end, and ``is_the_hosts``, true if
    all of what it shows is the host's: prompts need no name then.
    """

    def stream(self, name: str, text: str) -> None:
        """Show text of "stdout" or "stderr"."""

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Show a display_data or update_display_data."""

    def result(self, content: dict[str, Any]) -> None:
        """Show an execute_result."""

    def clear(self, *, wait: bool) -> None:
        """Handle a clear_output."""

    def ask(self, prompt: str, *, password: bool) -> str:
        """Ask the user for the answer to an input() on the host."""

    def note(self, text: str) -> None:
        """Show a note of gpunb itself."""

    def finish(self) -> None:
        """Finish the output at the end of the run."""


class TextSink:
    """A sink to a terminal or a file; pictures are shown in their text form."""

    def __init__(self, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self._seam = Seam()

    def stream(self, name: str, text: str) -> None:
        """Write the text as it is."""
        self._seam.printed(text)
        self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        target = self.err if name == "stderr" else self.out
        target.write(text)
        target.flush()

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Write the text/plain form; an update is not shown again."""
        text = content.get("data", {}).get("text/plain")
        if text and not update:
            self.stream("stdout", f"{text}\n")

    def result(self, content: dict[str, Any]) -> None:
        """Write the text/plain form."""
        self.display(content, update=False)

    def clear(self, *, wait: bool) -> None:
        """Do nothing: a terminal's earlier output stays."""

    def ask(self, prompt: str, *, password: bool) -> str:
        """Ask in this terminal, on a new line with colours reset."""
        self._write("stdout", self._seam.close())
        return _ask(prompt, password=password)

    def note(self, text: str) -> None:
        """Print a note on stderr, marked as gpunb's, on a new line with colours reset."""
        self._write("stderr", f"{self._seam.close()}gpunb: {one_line(text)}\n")

    def finish(self) -> None:
        """Flush the file."""
        self.out.flush()


class NotebookSink:
    """A sink to the cell that runs now, in IPython or Jupyter.

    Parameters
    ----------
    limit
        Characters of text shown; what comes beyond is counted, its tail is
        shown at the end, and all of it stays in the run's journal.
    offer
        Called with a run's id and a sentence: shows how to display blocked output.
    head
        The first line of a cell of the same kind, if any.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        *,
        run_id: str = "",
        head: str = "",
        limit: int = NOTEBOOK_LIMIT,
        offer: Callable[[str, str], None] | None = None,
    ) -> None:
        self.shell = shell
        self.run_id = run_id
        self.head = head
        self._offer = offer
        self.left = limit
        self.hidden = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0
        self._seam = Seam()
        self._last = ""

    def stream(self, name: str, text: str) -> None:
        """Print text as it comes, in the order in which the host flushed its two streams."""
        target, other = (sys.stderr, sys.stdout) if name == "stderr" else (sys.stdout, sys.stderr)
        if name != self._last:
            other.flush()
            self._last = name
        if len(text) <= self.left:
            self.left -= len(text)
            self._seam.printed(text)
            target.write(text)
            return
        if self.left:
            self._seam.printed(text[: self.left])
            target.write(text[: self.left])
            text, self.left = text[self.left :], 0
        self.hidden += len(text)
        self._tail.append(text[-TAIL:])
        self._tail_size += len(self._tail[-1])
        while self._tail_size - len(self._tail[0]) >= TAIL:
            self._tail_size -= len(self._tail.popleft())

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Display the whole MIME bundle, with the host's display_id."""
        self.shell.display_pub.publish(
            data=content.get("data", {}),
            metadata=content.get("metadata", {}),
            transient=content.get("transient") or {},
            update=update,
        )

    def result(self, content: dict[str, Any]) -> None:
        """Show the cell's result with its local number, or pass it to a replaced display hook."""
        data, about = content.get("data", {}), content.get("metadata", {})
        hook: Any = self.shell.displayhook
        if sys.displayhook != hook:  # %%capture and its kind
            sys.displayhook(_Bundle(data, about))
            return
        hook.start_displayhook()
        hook.write_output_prompt()
        hook.write_format_data(data, about)
        if content.get("transient") and getattr(hook, "msg", None) is not None:
            hook.msg["content"]["transient"] = content["transient"]  # its display_id, for later updates
        hook.finish_displayhook()

    def error(self, content: dict[str, Any]) -> None:
        """Show a traceback that did not end its cell, or has more behind it."""
        made = remote_error(content).named()
        self.shell._showtraceback(type(made), made, made.traceback)  # noqa: SLF001

    def later(self) -> Sink:
        """Return the sink for late output under this cell; without a notebook, one to the terminal."""
        kernel = getattr(self.shell, "kernel", None)
        return TextSink() if kernel is None else PublishedSink(late.publisher(kernel), self.left)

    def failure(self, error: RemoteCellError) -> RemoteCellError:
        """Return the host's exception to raise here; one that was shown is not shown again."""
        made = error.named()
        if made.shown:
            _once_shown(self.shell, made)
        return made

    def clear(self, *, wait: bool) -> None:
        """Clear the cell's output so far."""
        self.shell.display_pub.clear_output(wait=wait)

    def comm(self, handle: RunHandle, part: str, number: int) -> None:
        """Update the widgets, if this is a Jupyter kernel."""
        from gpunb.output import ipykernel_port

        ipykernel_port.follow(self.shell, handle, part, number)

    def page(self, content: dict[str, Any]) -> None:
        """Show the content in this frontend's pager."""
        from IPython.core.page import page

        data = content.get("data")
        page({str(kind): text for kind, text in data.items()} if isinstance(data, dict) else "")

    def next_input(self, text: str, *, replace: bool) -> None:
        """Put text into this cell, or into a new one below it, marked to run on the host."""
        head = "" if text.startswith("%%gpu") else self.head
        self.shell.set_next_input(f"{head}{text}", replace=replace)

    def ask(self, prompt: str, *, password: bool) -> str:
        """Ask in the notebook's own input box."""
        sys.stdout.write(self._seam.close())
        return _ask(prompt, password=password)

    def note(self, text: str) -> None:
        """Print a note on stderr, marked as gpunb's, on a new line with colours reset."""
        sys.stderr.write(f"{self._seam.close()}gpunb: {one_line(text)}\n")

    def offer(self, run_id: str, text: str) -> None:
        """Show buttons to display blocked output, or a note where there are no widgets."""
        if self._offer is not None:
            self._offer(run_id, text)
        else:
            self.note(f"{text}; `%gpu logs {run_id} --trust` shows it as it is")

    def finish(self) -> None:
        """Report the text that was not shown, and show its end."""
        if self.hidden:
            tail = "".join(self._tail)[-TAIL:]
            sys.stdout.write("\n")
            self.note(
                f"{self.hidden:,} more characters are not shown here; all are kept: "
                f"`%gpu logs {self.run_id}` shows them. The last of them:"
            )
            sys.stdout.write(tail)
        sys.stdout.flush()
        sys.stderr.flush()


class _Bundle:
    """A result that displays as its MIME bundle."""

    def __init__(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._data = data
        self._metadata = metadata

    def __repr__(self) -> str:
        return str(self._data.get("text/plain", ""))

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._data, self._metadata


def remote_error(content: Mapping[str, Any]) -> RemoteCellError:
    """Build the exception from a traceback message."""
    return RemoteCellError(content["ename"], content["evalue"], content["traceback"])


def _once_shown(shell: InteractiveShell, error: RemoteCellError) -> None:
    """Make IPython fail the cell with `error` without showing the traceback again."""
    vars(shell).pop("_showtraceback", None)
    own = shell._showtraceback  # noqa: SLF001 - what shows every traceback, in all kinds of shells

    def show(etype: Any, evalue: Any, stb: Any) -> None:
        vars(shell).pop("_showtraceback", None)
        if evalue is not error:
            own(etype, evalue, stb)
        else:
            vars(shell)["_last_traceback"] = stb  # this goes into the execute_reply

    vars(shell)["_showtraceback"] = show


def _ask(prompt: str, *, password: bool) -> str:
    if password:
        import getpass

        return getpass.getpass(prompt)
    return input(prompt)
