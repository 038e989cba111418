"""Plays a run's records into a sink: a notebook cell or a terminal."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any

from gpunb.errors import (
    JobFailed,
    KernelDied,
    NobodyToAsk,
    ProtocolError,
    RemoteCellError,
    RunError,
    RunTimeout,
)
from gpunb.hints import typed
from gpunb.output import late
from gpunb.output.sanitize.gate import Gate, loads
from gpunb.output.sinks import remote_error
from gpunb.remote.records import Record, RunInfo
from gpunb.text import Seam

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpunb.output.sinks import Sink
    from gpunb.remote.run import RunHandle

__all__ = ["PAUSE", "Player", "ended", "play_history", "show", "wants_restart"]

MAX_OWN = 256 << 20  # bytes of one message of a host that is the user's own
END_OF_INPUT = "\x04"  # sent by Jupyter's frontends for Ctrl-D: input() raises EOFError in the cell
HISTORY_S = 30.0  # without a record of those that are there
MOST_ODD = 3  # malformed records that are reported one by one
MOST_NOTES = 20  # of a host's own notes in one run
PAUSE = 0.25  # seconds in which the end of a cell follows the error that ended it


class Player:
    """Turns records into calls on a sink, through the gate.

    Parameters
    ----------
    trust
        Instead of the host's own: the user trusts this run.
    frames
        Whether HTML that could run code is shown in a closed frame.
    raises
        Whether `outcome` is called at the end: its error is shown by the code that catches it.
    """

    def __init__(
        self,
        handle: RunHandle,
        sink: Sink,
        *,
        interactive: bool,
        trust: str | None = None,
        frames: bool = False,
        raises: bool = False,
    ) -> None:
        self.handle = handle
        self.sink = sink
        self.interactive = interactive
        self.raises = raises
        self.held: dict[str, Any] | None = None  # an error that may be the cell's end
        client = handle.client
        self.gate = Gate(trust or client.trust, space=client.endpoint.alias, hide=handle.hide, frames=frames)
        self.kind = "cell"
        self.error: dict[str, Any] | None = None
        self._asked: Record | None = None
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._odd = 0
        self._notes = 0
        self._seam = Seam()

    def play(self, record: Record) -> None:
        """Show one record; a malformed one is left out."""
        if record.kind != "end":
            self.tell_error()
        try:
            self._play(record)
        except (ProtocolError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as err:
            self._odd += 1
            if self._odd <= MOST_ODD:
                why = err.message if isinstance(err, ProtocolError) else type(err).__name__
                self.sink.note(f"record {record.number} is not shown: {self.gate.line(why, 200)}")
        self._answer(record)

    def _play(self, record: Record) -> None:
        head = record.head
        if record.kind == "stream":
            self._stream(record)
        elif record.kind == "msg":
            self._message(str(head.get("type")), record)
        elif record.kind == "start":
            self.kind = str(head.get("kind"))
        elif record.kind in _NOTES:
            self._notes += 1
            if self.gate.trust == "own" or self._notes <= MOST_NOTES:
                self.sink.note(_NOTES[record.kind](self.gate, record))
        elif record.kind == "comm":
            comm: Callable[[RunHandle, str, int], None] | None = getattr(self.sink, "comm", None)
            if comm is not None:
                comm(self.handle, str(head.get("part")), int(head.get("n", 0)))
        elif record.kind == "input":
            self._asked = record
            if not self.interactive and record.number > self.handle.history:
                prompt = self.gate.line(head.get("prompt", ""), 200)
                answers = typed("attach", self.handle.id) + " gives one"
                self._notes += 1
                if self.gate.trust == "own" or self._notes <= MOST_NOTES:
                    self.sink.note(f"it waits for an answer to {prompt!r}; {answers}")
        elif record.kind == "answered":
            self._asked = None

    def _answer(self, record: Record) -> None:
        if self._asked is None or record.number < self.handle.history or not self.interactive:
            return
        asked, self._asked = self._asked, None
        password = bool(asked.head.get("password"))
        who = f"[{self.gate.line(self.handle.client.name, 80)} asks{' for a password' if password else ''}]"
        prompt = self.gate.line(asked.head.get("prompt", ""))
        if self.gate.trust == "own":
            whole = str(asked.head.get("prompt", ""))[:1000]  # with its line breaks
            hosts = getattr(self.sink, "is_the_hosts", False)
            who, prompt = ("", whole) if hosts else (who, whole.strip())
        before = self._seam.close() if self.gate.trust != "own" else ""
        if before:  # the host's last line and colours must not merge with the prompt, in any sink
            self.sink.stream("stdout", before)
        try:
            text = self.sink.ask(f"{who} {prompt} " if who else prompt, password=password)
        except EOFError:
            text = END_OF_INPUT
        except NotImplementedError:  # this frontend can't ask
            self.handle.close()
            raise NobodyToAsk.of(self.handle.id, prompt) from None
        if not self.handle.answer(asked.number, text):
            self.sink.note("another notebook or terminal answered first")

    def _stream(self, record: Record) -> None:
        data, at = record.parts[0] if record.parts else memoryview(b""), 0
        for name, size in record.head.get("seg", []):
            stream = "stderr" if name == "stderr" else "stdout"
            decoder = self._decoders.get(stream)
            if decoder is None:
                decoder = self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
            text = self.gate.stream(stream, decoder.decode(bytes(data[at : at + max(int(size), 0)])))
            at += max(int(size), 0)
            if text:
                self._seam.printed(text)
                self.sink.stream(stream, text)

    def _message(self, kind: str, record: Record) -> None:
        raw = record.parts[0]
        content = loads(raw, MAX_OWN, MAX_OWN) if self.gate.trust == "own" else loads(raw)
        if kind == "error":
            self.error = self.held = self.gate.error(content)
            if not self.raises:
                self.tell_error()
        elif kind in ("display_data", "update_display_data"):
            update = kind == "update_display_data"
            found = self.gate.display(content, len(raw), update=update)
            if found is not None:
                self.sink.display(found, update=update)
        elif kind == "execute_result":
            found = self.gate.display(content, len(raw))
            if found is not None:
                self.sink.result(found)
        elif kind == "page":
            page: Callable[[dict[str, Any]], None] = getattr(self.sink, "page", self.sink.result)
            found = self.gate.display(content, len(raw))
            if found is not None:
                page(found)
        elif kind == "next_input":
            self._next_input(content)
        elif kind == "clear_output" and self.gate.event():
            self.sink.clear(wait=bool(content.get("wait")))

    def _next_input(self, content: dict[str, Any]) -> None:
        """Put text into a cell of the notebook, if the sink allows it; never from a stranger."""
        put: Callable[..., None] | None = getattr(self.sink, "next_input", None)
        if self.gate.trust == "stranger":
            self.gate.left_out["text for a cell of this notebook"] += 1
        elif put is not None:
            put(self.gate.text(content.get("text", "")), replace=bool(content.get("replace")))

    def tell_error(self) -> None:
        """Show the held error where it was raised, since the cell went on."""
        error, self.held = self.held, None
        if error is None:
            return
        show: Callable[[dict[str, Any]], None] | None = getattr(self.sink, "error", None)
        if show is None or (hasattr(self.sink, "failure") and not self.raises):
            self.sink.stream("stderr", "\n".join(error["traceback"]) + "\n")
        else:
            show(error)

    def finish(self) -> None:
        """Show what is held back, report what was left out, and close the sink."""
        for name, decoder in self._decoders.items():
            text = self.gate.stream(name, decoder.decode(b"", final=True))
            if text:
                self.sink.stream(name, text)
        for name, text in self.gate.ends():
            self.sink.stream(name, text)
        if self.gate.trust != "own" and self._notes > MOST_NOTES:
            self.sink.note(f"{self._notes - MOST_NOTES:,} more notes of the host's are not shown")
        if self._odd > MOST_ODD:
            self.sink.note(f"{self._odd - MOST_ODD:,} more records are not shown")
        if self.gate.left_out and hasattr(self.sink, "offer"):
            left, *rest = self.gate.report()
            self.sink.offer(self.handle.id, left)
        else:
            rest = self.gate.report()
        for text in rest:
            self.sink.note(text)
        self.sink.finish()

    def outcome(self, info: RunInfo, end: Mapping[str, Any]) -> None:
        """Raise the exception that the run's end calls for."""
        if info.state == "ok":
            return
        run, why = info.id, self.gate.line(info.why, 2000)
        if info.state == "died" and self.kind == "cell":
            msg = f"the kernel ended under run {run}: {why}"
            raise KernelDied(
                msg,
                bill="the session runs on and is billed",
                hint="run the cell again: a new kernel starts, its variables are empty; files are there",
            )
        if info.state == "timeout":
            msg = f"run {run} was interrupted: {why}"
            raise RunTimeout(msg, hint="allow more time with --timeout")
        if self.kind == "job":
            msg = f"job {run} {why or info.state}"
            raise JobFailed(msg, exit_code=info.exit_code or 1, hint=typed("logs", run) + " shows its output")
        if self.error is None and end.get("ename"):  # such as a UsageError, which the kernel printed as text
            self.error = self.gate.error({**end, "traceback": []})
        if self.error is not None:
            failure = remote_error(self.error)
            failure.shown = self.held is None
            raise getattr(self.sink, "failure", _itself)(failure)
        msg = f"run {run} ended as {info.state}: {why}"
        raise RunError(msg)


def _said(gate: Gate, record: Record) -> str:
    """A note of the host, marked as its own, so that it can't pass for gpunb's."""
    text = gate.line(record.head.get("text", ""))
    return text if gate.trust == "own" else f'the host says: "{text}"'


def _lost(gate: Gate, record: Record) -> str:
    why = gate.line(record.head.get("why") or "", 200)
    return f"{_count(record.head)} bytes of output are lost{f' (the host says: {why})' if why else ''}"


def _trimmed(gate: Gate, record: Record) -> str:
    why = gate.line(record.head.get("why") or "", 200)
    more = f" (it says: {why})" if why else ""
    return f"{_count(record.head)} bytes of output are no longer kept on the host{more}"


def _cut(gate: Gate, record: Record) -> str:  # noqa: ARG001 - one signature
    return f"record {record.number} of {_count(record.head)} bytes is too large to show; the host keeps it"


_NOTES: dict[str, Callable[[Gate, Record], str]] = {
    "note": _said,
    "lost": _lost,
    "trimmed": _trimmed,
    "cut": _cut,
}


def _itself(error: RemoteCellError) -> RemoteCellError:
    return error


def _count(head: Mapping[str, Any]) -> str:
    size = head.get("bytes")
    return f"{size:,}" if type(size) is int else "some"


def show(
    handle: RunHandle,
    sink: Sink,
    *,
    interactive: bool = True,
    on_interrupt: Callable[[], None] | None = None,
) -> RunInfo:
    """Play a run into `sink` until it ends.

    Ctrl-C once interrupts the run on the host and shows how it ends. A second one,
    for a cell that does not react, offers to restart the host's kernel; if the user
    declines, the run goes on there and can be attached again.

    Parameters
    ----------
    on_interrupt
        Called at each Ctrl-C instead of that; what it raises ends the playing.

    Raises
    ------
    RemoteCellError, KernelDied, RunTimeout, JobFailed, RunError
        As the run ended.
    """
    player = Player(handle, sink, interactive=interactive, raises=True)
    interrupts = 0
    while True:
        try:
            record = handle.next(1.0 if player.held is None else PAUSE)
            if record is None:
                player.tell_error()
                continue
            player.play(record)
            if record.kind == "end":
                break
        except KeyboardInterrupt:
            if on_interrupt is not None:
                on_interrupt()
                continue
            interrupts += 1
            if interrupts > 1 and interactive and player.kind == "cell" and wants_restart(sink):
                sink.note("restarting the host's kernel")
                handle.client.restart_kernel()
                continue
            if interrupts > 1 or not interactive:
                handle.close()
                msg = f"Detached; run {handle.id} continues on the host"
                raise RunError(
                    msg,
                    bill="the session runs on and is billed",
                    hint=typed("attach", handle.id)
                    + " shows it again, "
                    + typed("cancel", handle.id)
                    + " ends it",
                ) from None
            # a cell is interrupted by a notebook's button
            more = (
                "again: offers to restart the kernel" if player.kind == "cell" else "Ctrl-C again to detach"
            )
            sink.note(f"interrupting the run on the host ({more})")
            handle.interrupt()
    info = ended(handle, record)
    if info.state == "ok":
        player.tell_error()
    player.finish()
    try:
        player.outcome(info, record.head)
    finally:
        if handle.stays and info.state != "died" and hasattr(sink, "later"):
            late.keep(handle, player, sink.later())
        else:
            handle.close()
    return info


def wants_restart(sink: Sink) -> bool:
    """Ask whether the host's kernel is to be restarted; false where nobody can be asked."""
    try:
        answer = sink.ask(
            "The cell goes on. Restart the host's kernel and lose its variables? [y/N] ", password=False
        )
    except (EOFError, KeyboardInterrupt, NotImplementedError):  # no terminal, or interrupted again
        return False
    return answer.strip().lower() in ("y", "yes")


def ended(handle: RunHandle, record: Record) -> RunInfo:
    """Build the run's info from its end record, without a further round trip."""
    head = record.head
    raw = {
        "run": handle.id,
        "kind": "",
        "state": head.get("state"),
        "ended": head.get("ts"),
        "exit": head.get("exit"),
    }
    return RunInfo.parse({**raw, "why": head.get("why") or "", "last": record.number})


def play_history(
    handle: RunHandle, sink: Sink, last: int, *, trust: str | None = None, frames: bool = False
) -> None:
    """Play the records up to number `last` into `sink`; `trust` and `frames` as in `Player`."""
    player = Player(handle, sink, interactive=False, trust=trust, frames=frames)
    try:
        if last > handle.taken:  # not `seen`: all of it may be here already
            for record in handle.records(HISTORY_S, last):
                player.play(record)
                if record.number >= last:
                    break
        player.finish()
    finally:
        handle.close()
