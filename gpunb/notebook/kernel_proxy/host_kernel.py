"""The kernel on the host, spoken to with Jupyter's message types."""

from __future__ import annotations

import queue
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, GpunbError, HostError, ProtocolError, RunError, SyncError
from gpunb.output import late
from gpunb.output.late import PublishedSink
from gpunb.output.player import Player
from gpunb.output.sanitize import replies
from gpunb.output.sanitize.gate import loads
from gpunb.output.widget_relay import Relay
from gpunb.remote import new_run_id
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from gpunb.notebook.kernel_proxy.channels import Channels, Request
    from gpunb.remote import AgentClient
    from gpunb.remote.records import Record
    from gpunb.remote.run import RunHandle

    EndNote = Callable[[str], None]

__all__ = ["Ended", "HostKernel"]


@contextmanager
def unnoted(run_id: str, name: str) -> Iterator[EndNote]:  # noqa: ARG001 - a note's signature
    """Record nothing: the default where there is no ledger."""
    yield lambda _: None


def _label(code: str) -> str:
    first = next((line.strip() for line in code.splitlines() if line.strip()), "")
    return first if len(first) <= 40 else f"{first[:39]}…"


@contextmanager
def nowhere(say: Callable[[str], None]) -> Iterator[dict[str, Any]]:  # noqa: ARG001 - a hook's signature
    """Keep no folder the same: the default where there is no ledger."""
    yield {}


class Ended(Exception):
    """The kernel on the host is gone, or the connection to it."""


class _Interrupted(Exception):
    """The cell was interrupted while it asked for input."""


class HostKernel:
    """Runs cells in the host's kernel and publishes their output.

    Parameters
    ----------
    wake
        Called from any thread when widgets have messages.
    noted
        Context manager that records a cell's run (its id, its first line) as activity of the session;
        the function that it yields is called with the state in which the run ended.
    inside
        Context manager around a cell that keeps the session's bound folder the same there: it is given what
        shows a line, and yields the cell's ``place``.
    """

    def __init__(
        self,
        client: AgentClient,
        name: str,
        channels: Channels,
        wake: Callable[[], None],
        noted: Callable[[str, str], AbstractContextManager[EndNote]] = unnoted,
        *,
        inside: Callable[[Callable[[str], None]], AbstractContextManager[dict[str, Any]]] = nowhere,
    ) -> None:
        self.client = client
        self.noted = noted
        self.inside = inside
        self.name = name
        self.channels = channels
        self.relay = Relay(client, BridgePort(channels, wake), kernel=name)
        self.ended = ""  # why the kernel ended
        self._running: RunHandle | None = None
        self._interrupted = False

    def fresh(self) -> None:
        """Start a new kernel, also where an earlier proxy left one of this name."""
        self.client.request("restart", kernel=self.name, timeout=300.0)
        self.client.prepare_completion(self.name)

    def pump(self) -> None:
        """Process the widgets' messages that have come.

        Raises
        ------
        Ended
            The session is over.
        """
        if self.relay.pump():
            self.relay.port.call_soon(self.relay)  # after the requests that are queued
        if not self.client.alive:
            raise Ended(self.relay.gone or "the session is over")

    def ask(self, kind: str, content: Mapping[str, Any], wait: float) -> dict[str, Any]:
        """Send a request to the kernel, and return its reply."""
        try:
            answer = self.client.request(
                "kernel", type=kind, content=dict(content), kernel=self.name, wait=wait, timeout=wait + 10.0
            )
        except RunError as err:
            return {"status": "error", "ename": type(err).__name__, "evalue": err.message, "traceback": []}
        except GpunbError as err:
            raise Ended(str(err)) from err
        reply = replies.clean(kind, answer.get("reply"), self.client.trust)
        if kind == "kernel_info_request":
            # the host's control channel and subshells are not served here
            reply.update(supported_features=[], debugger=False)
        return reply

    def comm_info(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the open comms, or those of one target."""
        wanted = content.get("target_name")
        found = {
            comm_id: {"target_name": model.target}
            for comm_id, model in self.relay.models.open.items()
            if wanted in (None, "", model.target)
        }
        return {"status": "ok", "comms": found}

    def interrupt(self) -> None:
        """Interrupt the running cell."""
        handle = self._running
        if handle is not None:
            self._interrupted = True
            handle.interrupt()

    def execute(self, request: Request) -> dict[str, Any]:
        """Run a cell to its end, and return the content of its execute_reply.

        Sets `ended` if the kernel died, or the connection is lost for good; the cell shows that.
        """
        content = request.content
        if content.get("silent"):
            return self.ask("execute_request", content, 600.0)
        sink = BridgeSink(self, request)
        code, run_id = str(content.get("code", "")), new_run_id()

        def say(text: str) -> None:
            self.channels.publish("stream", {"name": "stderr", "text": f"{text}\n"}, request.message)

        try:
            with self.inside(say) as place, self.noted(run_id, _label(code)) as ended:
                handle = self._running = self.client.run_cell(
                    code,
                    run_id=run_id,
                    kernel=self.name,
                    store=bool(content.get("store_history", True)),
                    stdin=bool(content.get("allow_stdin", True)),
                    expressions=content.get("user_expressions") or {},
                    place=place,
                    late=True,
                )
                self._interrupted = False
                sink.run_id = run_id
                player = Player(handle, sink, interactive=True)
                return self._play(handle, player, request, ended)
        except (HostError, SyncError, BadInput) as err:
            if isinstance(err, HostError):
                self.ended = err.message
            error = {"ename": type(err).__name__, "evalue": err.message, "traceback": err.lines()}
            self.channels.publish("error", error, request.message)
            return {"status": "error", "execution_count": 0, **error}
        finally:
            self._running = None

    def _play(self, handle: RunHandle, player: Player, request: Request, ended: EndNote) -> dict[str, Any]:
        reply: dict[str, Any] | None = None
        while True:
            record = handle.next(1.0)
            if record is None:
                continue
            kind = str(record.head.get("type")) if record.kind == "msg" else ""
            if kind == "execute_reply":
                reply = replies.clean("execute_request", _json(record), self.client.trust)
            elif kind == "execute_input":
                self.channels.publish("execute_input", replies.executed(_json(record)), request.message)
            else:
                try:
                    player.play(record)
                except _Interrupted:
                    continue
            if record.kind == "end":
                break
        ended(str(record.head.get("state")))
        player.finish()
        if record.head.get("state") == "died":
            handle.close()
        else:
            late.keep(handle, player, player.sink)
        if reply is not None and self.client.trust != "own" and player.error is not None:
            reply.update(player.error)
        return reply or self._made_up(record, player.error, request)

    def _made_up(self, end: Record, error: dict[str, Any] | None, request: Request) -> dict[str, Any]:
        """Build the reply of a cell whose own reply was lost."""
        state, why = one_line(end.head.get("state"), 16), one_line(end.head.get("why", ""))
        if state == "ok":
            return {"status": "ok", "execution_count": 0, "user_expressions": {}, "payload": []}
        if error is None:
            text = f"the run ended as {state}: {why}"
            error = {"ename": "KernelDied" if state == "died" else "RunError", "evalue": text}
            error["traceback"] = [f"{error['ename']}: {text}"]
            self.channels.publish("error", error, request.message)
        if state == "died":
            self.ended = f"the kernel on the host ended: {why}"
        return {"status": "error", "execution_count": 0, **error}

    def answer(self, request: Request, prompt: str, *, password: bool) -> str:
        """Ask the user for the line that an input() on the host waits for."""
        while not self.channels.inputs.empty():
            self.channels.inputs.get()  # answers to a question that was interrupted
        self.channels.ask_input(request, prompt, password=password)
        while not self._interrupted:
            with suppress(queue.Empty):
                return str(self.channels.inputs.get(timeout=0.2)["content"].get("value", ""))
        raise _Interrupted


class BridgeSink(PublishedSink):
    """Publishes a run's output under the request that it belongs to."""

    is_the_hosts = True

    def __init__(self, kernel: HostKernel, request: Request) -> None:
        super().__init__(lambda kind, content: kernel.channels.publish(kind, content, request.message))
        self.kernel = kernel
        self.request = request
        self.run_id = ""

    def page(self, content: dict[str, Any]) -> None:
        """Do nothing: the page is part of the reply."""

    def comm(self, handle: RunHandle, part: str, number: int) -> None:
        """Bring the widgets up to date with this part before the cell goes on."""
        self.kernel.relay.sync(handle.id, self.request.message, part, number)

    def ask(self, prompt: str, *, password: bool) -> str:
        """Ask in the notebook's input box."""
        return self.kernel.answer(self.request, prompt, password=password)

    def offer(self, run_id: str, text: str) -> None:  # noqa: ARG002 - a sink's signature
        """Say how to see blocked output: this kernel is the host's and has none of gpunb's magics."""
        name = self.kernel.client.name
        self.note(f"{text}; `gpunb trust {name} own` in a terminal lets it, from the next cell on")

    def finish(self) -> None:
        """Name the output that was not shown."""
        if self.hidden:
            self.note(
                f"{self.hidden:,} more characters are not shown here; all are kept: "
                f"`gpunb logs {self.run_id}` in a terminal shows them"
            )
            self.hidden = 0


class BridgePort:
    """The widgets' connection to the browser; all comms here are the host's."""

    def __init__(self, channels: Channels, wake: Callable[[], None]) -> None:
        self.channels = channels
        self.wake = wake
        self._known: set[str] = set()

    def publish(
        self,
        kind: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any],
        buffers: Sequence[Any],
        parent: Mapping[str, Any] | None,
    ) -> None:
        """Publish a message."""
        self.channels.publish(kind, content, parent or self.channels.parent, metadata, buffers)

    def opened(self, comm_id: str, target: str, relay: Relay) -> bool:  # noqa: ARG002 - a port's signature
        """Return whether the comm was known."""
        known = comm_id in self._known
        self._known.add(comm_id)
        return known

    def closed(self, comm_id: str) -> None:
        """Forget a comm."""
        self._known.discard(comm_id)

    def call_soon(self, relay: Relay) -> None:  # noqa: ARG002
        """Call it between two requests."""
        self.wake()

    def note(self, text: str) -> None:
        """Print a note on stderr, marked as gpunb's."""
        self.channels.publish("stream", {"name": "stderr", "text": f"gpunb: {text}\n"}, None)


def _json(record: Record) -> dict[str, Any]:
    try:
        found = loads(record.parts[0]) if record.parts else {}
    except ProtocolError:
        found = {}
    return found if isinstance(found, dict) else {}
