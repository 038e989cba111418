"""Where a run's output is shown: a notebook's cell, a terminal or a file."""

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

TAIL = 4 << 10  # characters of what is not shown that are shown all the same: its end


class Sink(Protocol):
    """Where a run's output goes. What it is given has passed the `Gate`.

    A sink may also have ``page(content)`` for what a pager shows (else that is a result), and
    ``comm(handle, part, number)`` to bring widgets to that point of the kernel's comm messages,
    ``offer(run_id, text)`` to say what was left out and let the user show it all the same,
    ``error(content)`` for a traceback (else that is text on stderr), ``failure(error)`` to make the
    exception that ends the cell here, ``next_input(text, replace)`` for what the host would put into
    a cell, ``later()`` for the sink of what comes after the cell's end, and ``is_the_hosts``, true if
    all of what it shows is the host's: prompts need no name then.
    """

    def stream(self, name: str, text: str) -> None:
        """Text for "stdout" or "stderr"."""

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """A display_data or update_display_data."""

    def result(self, content: dict[str, Any]) -> None:
        """An execute_result."""

    def clear(self, *, wait: bool) -> None:
        """A clear_output."""

    def ask(self, prompt: str, *, password: bool) -> str:
        """An input() on the host."""

    def note(self, text: str) -> None:
        """A word of gpunb's own."""

    def finish(self) -> None:
        """The run is over; everything is shown."""


class TextSink:
    """A terminal or a file; pictures become their text form."""

    def __init__(self, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self._seam = Seam()

    def stream(self, name: str, text: str) -> None:
        """Written as it is."""
        self._seam.printed(text)
        self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        target = self.err if name == "stderr" else self.out
        target.write(text)
        target.flush()

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Its text/plain form; an update is not shown again."""
        text = content.get("data", {}).get("text/plain")
        if text and not update:
            self.stream("stdout", f"{text}\n")

    def result(self, content: dict[str, Any]) -> None:
        """Its text/plain form."""
        self.display(content, update=False)

    def clear(self, *, wait: bool) -> None:
        """A terminal's past is left as it is."""

    def ask(self, prompt: str, *, password: bool) -> str:
        """Asked in this terminal, on a line and in colours of its own."""
        self._write("stdout", self._seam.close())
        return _ask(prompt, password=password)

    def note(self, text: str) -> None:
        """On stderr, marked as ours, on a line and in colours of its own."""
        self._write("stderr", f"{self._seam.close()}gpunb: {one_line(text)}\n")

    def finish(self) -> None:
        """Flush."""
        self.out.flush()


class NotebookSink:
    """The output of the cell that runs now, in IPython or Jupyter.

    Parameters
    ----------
    limit
        Characters of text shown; what comes beyond is counted, its tail is
        shown at the end, and all of it stays in the run's journal.
    offer
        Shows, for a run's id and a sentence, how what was left out can be seen all the same.
    head
        The line that a cell of the same kind begins with, if any.
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
        """Deltas, as printed; in the order in which the host flushed its two streams."""
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
        """The whole MIME bundle, under the display_id that the host gave."""
        self.shell.display_pub.publish(
            data=content.get("data", {}),
            metadata=content.get("metadata", {}),
            transient=content.get("transient") or {},
            update=update,
        )

    def result(self, content: dict[str, Any]) -> None:
        """As this cell's own result, with its number here; or to who has taken the hook's place."""
        data, about = content.get("data", {}), content.get("metadata", {})
        hook: Any = self.shell.displayhook
        if sys.displayhook != hook:  # %%capture and its kind
            sys.displayhook(_Bundle(data, about))
            return
        hook.start_displayhook()
        hook.write_output_prompt()
        hook.write_format_data(data, about)
        if content.get("transient") and getattr(hook, "msg", None) is not None:
            hook.msg["content"]["transient"] = content["transient"]  # by which it is brought up to date
        hook.finish_displayhook()

    def error(self, content: dict[str, Any]) -> None:
        """A traceback that did not end its cell, or has more behind it."""
        made = remote_error(content).named()
        self.shell._showtraceback(type(made), made, made.traceback)  # noqa: SLF001

    def later(self) -> Sink:
        """Under this cell, whatever runs then; at the prompt of an IPython without a notebook."""
        kernel = getattr(self.shell, "kernel", None)
        return TextSink() if kernel is None else PublishedSink(late.publisher(kernel), self.left)

    def failure(self, error: RemoteCellError) -> RemoteCellError:
        """As the exception it was there; one that is shown already is not shown again."""
        made = error.named()
        if made.shown:
            _once_shown(self.shell, made)
        return made

    def clear(self, *, wait: bool) -> None:
        """The cell's output so far."""
        self.shell.display_pub.clear_output(wait=wait)

    def comm(self, handle: RunHandle, part: str, number: int) -> None:
        """Widgets are live here if this is a Jupyter kernel."""
        from gpunb.output import ipykernel_port

        ipykernel_port.follow(self.shell, handle, part, number)

    def page(self, content: dict[str, Any]) -> None:
        """In the pager of this front end."""
        from IPython.core.page import page

        data = content.get("data")
        page({str(kind): text for kind, text in data.items()} if isinstance(data, dict) else "")

    def next_input(self, text: str, *, replace: bool) -> None:
        """In this cell, or in one below it; a cell for the host."""
        head = "" if text.startswith("%%gpu") else self.head
        self.shell.set_next_input(f"{head}{text}", replace=replace)

    def ask(self, prompt: str, *, password: bool) -> str:
        """In the notebook's own input box."""
        sys.stdout.write(self._seam.close())
        return _ask(prompt, password=password)

    def note(self, text: str) -> None:
        """On stderr, marked as ours, on a line and in colours of its own."""
        sys.stderr.write(f"{self._seam.close()}gpunb: {one_line(text)}\n")

    def offer(self, run_id: str, text: str) -> None:
        """Two buttons, where there are widgets."""
        if self._offer is not None:
            self._offer(run_id, text)
        else:
            self.note(f"{text}; `%gpu replay {run_id} --trust` shows it as it is")

    def finish(self) -> None:
        """Name what was not shown, and show its end."""
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
    """A result as its MIME bundle."""

    def __init__(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._data = data
        self._metadata = metadata

    def __repr__(self) -> str:
        return str(self._data.get("text/plain", ""))

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._data, self._metadata


def remote_error(content: Mapping[str, Any]) -> RemoteCellError:
    """The exception that a traceback's content tells of."""
    return RemoteCellError(content["ename"], content["evalue"], content["traceback"])


def _once_shown(shell: InteractiveShell, error: RemoteCellError) -> None:
    """Have IPython fail the cell with `error` without a second traceback."""
    vars(shell).pop("_showtraceback", None)
    own = shell._showtraceback  # noqa: SLF001 - what shows every traceback, in all kinds of shells

    def show(etype: Any, evalue: Any, stb: Any) -> None:
        vars(shell).pop("_showtraceback", None)
        if evalue is not error:
            own(etype, evalue, stb)
        else:
            vars(shell)["_last_traceback"] = stb  # what the reply says

    vars(shell)["_showtraceback"] = show


def _ask(prompt: str, *, password: bool) -> str:
    if password:
        import getpass

        return getpass.getpass(prompt)
    return input(prompt)
