"""Late output: what a cell's threads, asyncio tasks and children print after its end, shown under it.

A run that was started with ``late`` is followed after its end, too. Its output passes the run's own
`Player`, so the gate's limits still hold, and is published under the cell that started it, from one
thread for all runs of this process. A run is dropped when enough others have printed since
(`MOST_KEPT`), when it has reached a cell's limit, or when the connection is closed; the journal on
the host keeps all of it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from gpunb.errors import GpunbError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpunb.output.player import Player
    from gpunb.output.sinks import Sink
    from gpunb.remote.run import RunHandle

__all__ = ["NOTEBOOK_LIMIT", "PublishedSink", "keep", "publisher"]

NOTEBOOK_LIMIT = 10 << 20  # characters of text in one cell's output; the journal has all
MOST_KEPT = 32  # runs that are followed after their end
MOST_RECORDS = 100_000  # of one run after its end
TURN = 100  # records of one run before the others are served
REST_S = 0.01  # seconds between two turns: the kernel's own cells go first


class PublishedSink:
    """Publishes a run's output as messages under one request.

    Parameters
    ----------
    publish
        Sends an IOPub message of that type and content. Called from any thread.
    left
        Characters of text that are shown.
    """

    def __init__(self, publish: Callable[[str, Mapping[str, Any]], None], left: int = NOTEBOOK_LIMIT) -> None:
        self._publish = publish
        self.left = left
        self.hidden = 0

    def stream(self, name: str, text: str) -> None:
        """Publish text, up to the limit of a notebook."""
        shown, self.left = text[: self.left], max(self.left - len(text), 0)
        self.hidden += len(text) - len(shown)
        if shown:
            self._publish("stream", {"name": name, "text": shown})

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        """Publish a display_data or update_display_data."""
        self._publish("update_display_data" if update else "display_data", content)

    def result(self, content: dict[str, Any]) -> None:
        """Publish an execute_result."""
        self._publish("execute_result", content)

    def error(self, content: dict[str, Any]) -> None:
        """Publish a traceback."""
        self._publish("error", content)

    def clear(self, *, wait: bool) -> None:
        """Publish a clear_output."""
        self._publish("clear_output", {"wait": wait})

    def ask(self, prompt: str, *, password: bool) -> str:  # noqa: ARG002
        """Return no answer: after a cell's end no input is read."""
        return ""

    def note(self, text: str) -> None:
        """Print a note on stderr, marked as gpunb's."""
        self._publish("stream", {"name": "stderr", "text": f"gpunb: {text}\n"})

    def finish(self) -> None:
        """Do nothing: no output is held back."""


def publisher(kernel: Any) -> Callable[[str, Mapping[str, Any]], None]:
    """Return a function that publishes on IOPub of the ipykernel `kernel`, under its current cell."""
    parent = kernel.get_parent()

    def publish(kind: str, content: Mapping[str, Any]) -> None:
        ident = f"kernel.{kernel.ident}.{kind}".encode()
        kernel.session.send(kernel.iopub_socket, kind, dict(content), parent=parent, ident=ident)

    return publish


class _Kept:
    """A run that has ended and may still print."""

    def __init__(self, handle: RunHandle, player: Player) -> None:
        self.handle = handle
        self.player = player
        self.waiting = False
        self.records = 0


class _Late:
    """All ended runs that are still followed, and the thread that shows their output."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._ready: queue.SimpleQueue[_Kept] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def keep(self, handle: RunHandle, player: Player) -> None:
        kept = _Kept(handle, player)
        with self._lock:
            self._kept[handle.id] = kept
            gone = [self._kept.popitem(last=False)[1] for _ in range(len(self._kept) - MOST_KEPT)]
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gpunb-late", daemon=True)
                self._thread.start()
        for one in gone:
            one.handle.close()
        handle.wake = lambda: self._wake(kept)
        if not handle.empty:
            self._wake(kept)

    def _wake(self, kept: _Kept) -> None:
        if not kept.waiting:
            kept.waiting = True
            self._ready.put(kept)

    def _work(self) -> None:
        while True:
            kept = self._ready.get()
            kept.waiting = False
            with self._lock:
                if self._kept.get(kept.handle.id) is not kept:
                    continue
                self._kept.move_to_end(kept.handle.id)
            if not _play(kept):
                with self._lock:
                    self._kept.pop(kept.handle.id, None)
                kept.handle.close()
            elif not kept.handle.empty:
                self._wake(kept)
                time.sleep(REST_S)


def _play(kept: _Kept) -> bool:
    """Show some of the received records; False if no more of the run is to be shown."""
    player, sink = kept.player, kept.player.sink
    for _ in range(TURN):
        try:
            record = kept.handle.next(0)
        except GpunbError:
            return False
        if record is None:
            return True
        player.play(record)
        kept.records += 1
        full = getattr(sink, "left", 1) <= 0 or bool(player.gate.cut)
        if full or kept.records >= MOST_RECORDS:
            sink.note(
                f"run {kept.handle.id} goes on after its cell's end; no more of it is shown here: "
                f"`gpunb logs {kept.handle.id}` in a terminal shows all"
            )
            return False
    return True


_late = _Late()


def keep(handle: RunHandle, player: Player, sink: Sink) -> None:
    """Show later output of `handle`'s run in `sink`, after `player` has shown the run to its end."""
    player.sink = sink
    player.interactive = player.raises = False
    _late.keep(handle, player)
