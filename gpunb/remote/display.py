"""Plays a run into what the user looks at: a notebook cell or a terminal."""

from __future__ import annotations

import codecs
import json
import sys
from collections import deque
from typing import IO, TYPE_CHECKING, Any, Protocol

from gpunb.errors import JobFailed, KernelDied, RemoteCellError, RunError, RunTimeout
from gpunb.remote.records import Record, RunInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from gpunb.remote.run import RunHandle

__all__ = ["NotebookSink", "Sink", "TextSink", "show"]

NOTEBOOK_LIMIT = 10 << 20  # characters of text in one cell's output; the journal has all
TAIL = 4 << 10


class Sink(Protocol):
    """Where a run's output goes.

    A sink may also have ``page(content)`` for what a pager shows (else that is a result), and
    ``comm(handle, part, number)`` to bring widgets to that point of the kernel's comm messages.
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

    def stream(self, name: str, text: str) -> None:
        """Written as it is."""
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
        """Asked in this terminal."""
        return _ask(f"[host] {prompt}", password=password)

    def note(self, text: str) -> None:
        """On stderr, marked as ours."""
        self.stream("stderr", f"gpunb: {text}\n")

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
    """

    def __init__(self, shell: InteractiveShell, *, run_id: str = "", limit: int = NOTEBOOK_LIMIT) -> None:
        self.shell = shell
        self.run_id = run_id
        self.left = limit
        self.hidden = 0
        self._tail: deque[str] = deque()
        self._tail_size = 0

    def stream(self, name: str, text: str) -> None:
        """Deltas, as printed."""
        target = sys.stderr if name == "stderr" else sys.stdout
        if len(text) <= self.left:
            self.left -= len(text)
            target.write(text)
            return
        if self.left:
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
        """As this cell's own result, with its number here."""
        hook = self.shell.displayhook
        hook.start_displayhook()
        hook.write_output_prompt()
        hook.write_format_data(content.get("data", {}), content.get("metadata", {}))
        hook.finish_displayhook()

    def clear(self, *, wait: bool) -> None:
        """The cell's output so far."""
        self.shell.display_pub.clear_output(wait=wait)

    def comm(self, handle: RunHandle, part: str, number: int) -> None:
        """Widgets are live here if this is a Jupyter kernel."""
        from gpunb.remote import comms

        comms.follow(self.shell, handle, part, number)

    def page(self, content: dict[str, Any]) -> None:
        """In the pager of this front end."""
        from IPython.core.page import page

        data = content.get("data")
        page({str(kind): text for kind, text in data.items()} if isinstance(data, dict) else "")

    def ask(self, prompt: str, *, password: bool) -> str:
        """In the notebook's own input box."""
        return _ask(f"[host] {prompt}", password=password)

    def note(self, text: str) -> None:
        """On stderr, marked as ours."""
        sys.stderr.write(f"gpunb: {text}\n")

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


def _ask(prompt: str, *, password: bool) -> str:
    if password:
        import getpass

        return getpass.getpass(prompt)
    return input(prompt)


class Player:
    """Turns records into calls on a sink."""

    def __init__(self, handle: RunHandle, sink: Sink, *, interactive: bool) -> None:
        self.handle = handle
        self.sink = sink
        self.interactive = interactive
        self.kind = "cell"
        self.error: dict[str, Any] | None = None
        self._asked: Record | None = None
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}

    def play(self, record: Record) -> None:
        """Show one record."""
        head = record.head
        if record.kind == "stream":
            self._stream(record)
        elif record.kind == "msg":
            self._message(str(head.get("type")), record)
        elif record.kind == "start":
            self.kind = str(head.get("kind"))
        elif record.kind == "note":
            self.sink.note(str(head.get("text", ""))[:500])
        elif record.kind == "lost":
            self.sink.note(f"{head.get('bytes')} bytes of output are lost: {head.get('why')}")
        elif record.kind == "trimmed":
            size = head.get("bytes")
            self.sink.note(f"{size:,} bytes of output are no longer kept on the host: {head.get('why')}")
        elif record.kind == "comm":
            comm: Callable[[RunHandle, str, int], None] | None = getattr(self.sink, "comm", None)
            if comm is not None:
                comm(self.handle, str(head.get("part")), int(head.get("n", 0)))
        elif record.kind == "input":
            self._asked = record
        elif record.kind == "answered":
            self._asked = None
        if self._asked is not None and record.number >= self.handle.history and self.interactive:
            asked, self._asked = self._asked, None
            text = self.sink.ask(
                str(asked.head.get("prompt", ""))[:1000], password=bool(asked.head.get("password"))
            )
            if not self.handle.answer(asked.number, text):
                self.sink.note("somebody else answered first")

    def _stream(self, record: Record) -> None:
        data, at = record.parts[0] if record.parts else memoryview(b""), 0
        for name, size in record.head.get("seg", []):
            decoder = self._decoders.get(name)
            if decoder is None:
                decoder = self._decoders[name] = codecs.getincrementaldecoder("utf-8")("replace")
            text = decoder.decode(bytes(data[at : at + size]))
            at += size
            if text:
                self.sink.stream("stderr" if name == "stderr" else "stdout", text)

    def _message(self, kind: str, record: Record) -> None:
        content = json.loads(bytes(record.parts[0]))
        if kind == "error":
            self.error = content
        elif kind in ("display_data", "update_display_data"):
            self.sink.display(content, update=kind == "update_display_data")
        elif kind == "execute_result":
            self.sink.result(content)
        elif kind == "page":
            page: Callable[[dict[str, Any]], None] = getattr(self.sink, "page", self.sink.result)
            page(content)
        elif kind == "clear_output":
            self.sink.clear(wait=bool(content.get("wait")))

    def finish(self) -> None:
        """Show what the decoders hold back, and close the sink."""
        for name, decoder in self._decoders.items():
            text = decoder.decode(b"", final=True)
            if text:
                self.sink.stream("stderr" if name == "stderr" else "stdout", text)
        self.sink.finish()

    def outcome(self, info: RunInfo) -> None:
        """Raise what the run's end calls for."""
        if info.state == "ok":
            return
        run = info.id
        if info.state == "died" and self.kind == "cell":
            msg = f"the kernel ended under run {run}: {info.why}"
            raise KernelDied(
                msg,
                bill="the session runs on and is billed",
                hint="run the cell again: a new kernel starts, its variables are empty; files are there",
            )
        if info.state == "timeout":
            msg = f"run {run} was interrupted: {info.why}"
            raise RunTimeout(msg, hint="give it more with --timeout")
        if self.kind == "job":
            msg = f"job {run} {info.why or info.state}"
            raise JobFailed(msg, exit_code=info.exit_code or 1, hint=f"gpunb logs {run} shows its output")
        if self.error is not None:
            lines = [str(line) for line in self.error.get("traceback", [])]
            raise RemoteCellError(str(self.error.get("ename", "")), str(self.error.get("evalue", "")), lines)
        msg = f"run {run} ended as {info.state}: {info.why}"
        raise RunError(msg)


def show(handle: RunHandle, sink: Sink, *, interactive: bool = True) -> RunInfo:
    """Play a run into `sink` until it ends.

    Ctrl-C once interrupts the run on the host and shows how it ends; a second
    time leaves it: it goes on there and can be attached again.

    Raises
    ------
    RemoteCellError, KernelDied, RunTimeout, JobFailed, RunError
        As the run ended.
    """
    player = Player(handle, sink, interactive=interactive)
    interrupts = 0
    while True:
        try:
            record = handle.next(1.0)
            if record is None:
                continue
            player.play(record)
            if record.kind == "end":
                break
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 1 or not interactive:
                handle.close()
                msg = f"left run {handle.id}; it goes on on the host"
                raise RunError(
                    msg,
                    bill="the session runs on and is billed",
                    hint=f"gpunb attach {handle.id} shows it again, gpunb cancel {handle.id} ends it",
                ) from None
            sink.note("interrupting the run on the host (Ctrl-C again leaves it)")
            handle.interrupt()
    player.finish()
    info = _ended(handle, record)
    handle.close()
    player.outcome(info)
    return info


def _ended(handle: RunHandle, record: Record) -> RunInfo:
    """The run's end as its end record tells it: no further round trip."""
    head = record.head
    raw = {
        "run": handle.id,
        "kind": "",
        "state": head.get("state"),
        "ended": head.get("ts"),
        "exit": head.get("exit"),
    }
    return RunInfo.parse({**raw, "why": head.get("why") or "", "last": record.number})
