"""Relays widgets of a host to a local Jupyter kernel, where they stay live.

Each comm that the host's kernel opens has a local comm of the same id, so the
browser finds its model; messages pass both ways with their buffers. The
host's messages come as one numbered stream (`gpunb.agent.daemon.comms`), handled
in order and once, also across reconnects. While the host is idle, a message
from the browser blocks this kernel until it is handled: so the browser sends
no more than can be handled, and an ``Output`` widget captures what the callback
prints. When the host is gone, the local comms keep their last state, and
controls are disabled.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import secrets
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared.comm_state import FOLDED, TYPES, Model, Models, message_name, parse
from gpunb.errors import GpunbError, HostError, ProtocolError, RunNotFound
from gpunb.output.sanitize import widgets
from gpunb.output.sanitize.gate import Gate, loads
from gpunb.output.widget_port import CONTROL, page_states
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.output.widget_port import Port
    from gpunb.remote.client import AgentClient
    from gpunb.remote.records import Record
    from gpunb.remote.run import RunHandle

__all__ = ["Relay"]

LOG = logging.getLogger("gpunb.remote")
TARGETS = frozenset(["jupyter.widget", CONTROL])  # of hosts that are not one's own
PUMP_S = 0.05  # seconds of processing the host's messages at once
WAIT_S = 60.0  # seconds a browser's message is waited for
PARENTS = 500  # cells and messages whose later output can still be placed
MAX_OPEN = 20_000
MAX_ID = 256
PART = re.compile(r"^[a-z0-9]{1,20}\d{8}$")
OUTPUTS = frozenset(
    ["stream", "display_data", "update_display_data", "execute_result", "clear_output", "error"]
)


class Relay:
    """Joins the comms of one of a host's kernels to one local kernel."""

    def __init__(self, client: AgentClient, port: Port, kernel: str = "main") -> None:
        self.client = client
        self.port = port
        self.kernel = kernel
        self.front = secrets.token_hex(6)
        self.models = Models()
        self.gone = ""
        self.lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._handle: RunHandle | None = None
        self._part = ""
        self._at = 0
        self._seen: set[str] = set()
        self._parents: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._refused: set[str] = set()
        self._held = widgets.Held()
        self._widgets = widgets.WidgetGate()
        self._waiting: list[tuple[dict[str, Any], Sequence[Any]]] = []  # with missing references
        self._controls: set[str] = set()  # comms by which a page asks for all widgets
        self._gates: OrderedDict[str, Gate] = OrderedDict()
        self._last: set[str] = set()  # comms of kernels that have ended

    # -- from the host

    def sync(self, run_id: str, parent: Mapping[str, Any] | None, part: str, number: int) -> None:
        """Process all comm messages up to `number` of `part`; run `run_id` is shown under `parent`.

        Raises
        ------
        HostError
            The connection is closed for good.
        """
        if not PART.match(part):
            return
        with self.lock:
            if parent is not None:
                self._remember(run_id, parent)
            if part in self._seen and part != self._part:
                return
            if self._part and part < self._part:
                self._look_back(part)
                return
            while not self.gone and not self._reached(part, number):
                if self._handle is None and not self._attach(part):
                    return
                if not self._reached(part, number):
                    self._take_next(1.0)
            self._settle(last=True)

    def _reached(self, part: str, number: int) -> bool:
        if self._part > part and self._handle is not None:  # only a newer part is kept: read its beginning
            return self._at >= self._handle.history
        return (self._part, self._at) >= (part, number)

    def pump(self) -> bool:
        """Process received messages without waiting; return whether more may be left after `PUMP_S`.

        A host whose stream never ends must not block the local kernel: the caller calls again later.
        """
        until = time.monotonic() + PUMP_S
        with self.lock, suppress(GpunbError):
            while self._handle is not None and self._take_next(0):
                if time.monotonic() > until:
                    return True
        return False

    @property
    def behind(self) -> bool:
        """Whether received messages are not processed yet."""
        handle = self._handle
        return handle is not None and handle.ready

    def _take_next(self, timeout: float) -> bool:
        handle = self._handle
        if handle is None:
            return False
        try:
            record = handle.next(timeout)
        except GpunbError as err:
            self._end(err.message)
            raise
        if record is None:
            return False
        self._at = record.number
        self._record(record)
        return True

    def _attach(self, part: str, after: int = 0) -> bool:
        """Follow `part`, or the newest part if that one is no longer kept."""
        try:
            handle = self.client.attach(part, after=after, wake=lambda: self.port.call_soon(self))
        except RunNotFound:
            newest = str(self.client.request("comms", kernel=self.kernel).get("part", ""))
            if not PART.match(newest) or newest <= self._part:
                return False
            part, handle = newest, self.client.attach(newest, wake=lambda: self.port.call_soon(self))
        self._handle, self._part, self._at = handle, part, after
        self._seen.add(part)
        return True

    def _record(self, record: Record) -> None:
        head = record.head
        if record.kind == "end":
            if self._handle is not None:
                self._handle.close()
                self._handle = None
            following = head.get("next")
            if not isinstance(following, str) or not PART.match(following) or not self._attach(following):
                self._grey(set(self.models.open) - self._last)
            return
        if record.kind != "msg":
            return
        kind = str(head.get("type"))
        try:
            content, metadata, buffers = self._parsed(record)
        except (ValueError, RecursionError, ProtocolError) as err:
            LOG.info("a comm message of %s: %s", self.client.endpoint.alias, err)
            return
        if kind in TYPES:
            if self._room(record):
                self._comm(kind, content, metadata, buffers, snap=bool(head.get("snap")))
        elif kind in OUTPUTS:
            name = str(head.get("of"))
            parent = self._parents.get(name)
            if parent is not None:  # None: it belongs to another notebook
                if self.client.trust == "own":
                    self.port.publish(kind, content, metadata, buffers, parent)
                else:  # limited and sanitized
                    self._output(name, kind, content, record.size)

    def _parsed(self, record: Record) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
        if self.client.trust != "own":
            for part in record.parts[:2]:
                loads(part, widgets.MOST_MESSAGE)  # limited before it is parsed
        return parse(record.parts)

    def _output(self, name: str, kind: str, content: dict[str, Any], size: int) -> None:
        """Show output that a browser's message caused, through a gate of its own."""
        gate = self._gates.get(name)
        if gate is None or gate.trust != self.client.trust:
            gate = self._gates[name] = Gate(self.client.trust, space=self.client.endpoint.alias)
            while len(self._gates) > PARENTS:
                self._gates.popitem(last=False)
        found: dict[str, Any] | None = None
        if kind == "stream":
            stream = "stderr" if content.get("name") == "stderr" else "stdout"
            found = {"name": stream, "text": gate.stream(stream, gate.text(content.get("text", "")))}
        elif kind == "error":
            found = gate.error(content)
        elif kind == "clear_output":
            found = {"wait": bool(content.get("wait"))} if gate.event() else None
        else:
            found = gate.display(content, size, update=kind == "update_display_data")
        if found is not None:
            self.port.publish(kind, found, {}, (), self._parents[name])

    def _room(self, record: Record) -> bool:
        """Whether a comm message fits the memory limit; reports once if not."""
        if self.client.trust == "own" or self._held.takes(record.size, self.models.open):
            return True
        self._refuse("size", "the host's widgets hold more than is kept here; further changes are not shown")
        return False

    def _comm(
        self,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any],
        buffers: Sequence[Any],
        *,
        snap: bool,
    ) -> None:
        comm_id = content.get("comm_id")
        if not isinstance(comm_id, str) or not 0 < len(comm_id) <= MAX_ID:
            return
        if not snap:
            self._settle(last=True)
        if kind == "comm_open":
            known = snap and comm_id in self.models.open and self._contiguous
            if known or not self._allowed(str(content.get("target_name", ""))):
                return
            if snap and self._stranger:
                self._waiting.append((content, buffers))
                self._settle()
            else:
                self._take_open(content, metadata, buffers)
            return
        if comm_id not in self.models.open:
            return
        if self._stranger:
            make = self._widgets.closing if kind == "comm_close" else self._widgets.change
            try:
                content, metadata, buffers = make(content, buffers)
            except widgets.Refused:
                return
        self._translate(content)
        self.models.take(kind, content, metadata, buffers)
        self.port.publish(kind, content, metadata, buffers, None)
        if kind == "comm_close":
            self.port.closed(comm_id)

    def _take_open(
        self, content: dict[str, Any], metadata: dict[str, Any], buffers: Sequence[Any]
    ) -> str | None:
        """Open a comm of the host's here; return its id, or None if it is refused."""
        if self._stranger:
            try:
                content, metadata, buffers = self._widgets.opening(content, buffers)
            except widgets.Refused as err:
                if str(err):
                    self._refuse(str(err), f"{err} is not shown from a host that is a stranger")
                return None
        comm_id = str(content["comm_id"])
        known = comm_id in self.models.open
        self.models.take("comm_open", content, metadata, buffers)
        self._last.discard(comm_id)
        self._open(comm_id, known=known)
        return comm_id

    def _settle(self, *, last: bool = False) -> list[str]:
        """Open widgets whose references are open; with `last`, also those whose references are missing."""
        opened: list[str] = []
        while self._waiting:
            ready = [one for one in self._waiting if not self._widgets.missing(one[0])]
            if not ready and not last:
                break
            for one in ready or self._waiting[:1]:
                self._waiting.remove(one)
                opened += filter(None, [self._take_open(one[0], {}, one[1])])
        return opened

    @property
    def _stranger(self) -> bool:
        return self.client.trust not in ("own", "datacenter")

    @property
    def _contiguous(self) -> bool:
        """Whether the part being read follows one that was read to its end."""
        before = f"{self._part[:-8]}{int(self._part[-8:]) - 1:08d}"
        return before in self._seen

    def _open(self, comm_id: str, *, known: bool) -> None:
        model = self.models.open[comm_id]
        self._translate({"comm_id": comm_id, "data": {"state": model.state}})
        try:
            there = self.port.opened(comm_id, model.target, self)
        except ProtocolError as err:
            del self.models.open[comm_id]
            self._refuse("id", err.message)
            return
        if there or known:
            self._publish_state(comm_id)
        else:
            content, metadata, buffers = model.opening(comm_id)
            self.port.publish("comm_open", content, metadata, buffers, None)

    def _allowed(self, target: str) -> bool:
        if len(self.models.open) + len(self._waiting) >= (
            MAX_OPEN if self.client.trust == "own" else widgets.MOST_OPEN
        ):
            return False
        if self.client.trust == "own" or target in TARGETS:
            return True
        self._refuse(
            target,
            f"the host opened a comm of target {target[:80]!r}; only widgets are shown from a host "
            f"whose trust is {self.client.trust!r}",
        )
        return False

    def _refuse(self, what: str, text: str) -> None:
        """Report once that something is not shown."""
        if what not in self._refused and len(self._refused) < 20:
            self._refused.add(what)
            self.port.note(one_line(text, 300))

    def _translate(self, content: Mapping[str, Any]) -> None:
        """Replace the message id in an Output widget's state by the local id of that message."""
        data = content.get("data")
        state = data.get("state") if isinstance(data, dict) else None
        if isinstance(state, dict) and isinstance(state.get("msg_id"), str) and state["msg_id"]:
            parent = self._parents.get(state["msg_id"])
            if parent is not None:
                state["msg_id"] = parent["header"]["msg_id"]
            elif self._stranger:  # the output of something else in the page
                state["msg_id"] = ""

    def _look_back(self, part: str) -> None:
        """Show the widgets of an old run in their last state."""
        try:
            handle = self.client.attach(part)
        except RunNotFound:
            self._seen.add(part)
            return
        past, held = Models(), widgets.Held()
        for record in handle.records(60.0):
            if record.kind == "msg" and str(record.head.get("type")) in TYPES:
                with suppress(ValueError, ProtocolError, RecursionError, TypeError):
                    own = self.client.trust == "own"
                    full = len(past.open) >= widgets.MOST_OPEN or not held.takes(record.size, past.open)
                    if own or not full:
                        past.take(str(record.head["type"]), *self._parsed(record))
            if record.number >= handle.history:  # the history is complete; later records are not part of it
                handle.close()
                break
        self._seen.add(part)
        new = [model.opening(comm_id) for comm_id, model in past.open.items() if self._is_new(comm_id, model)]
        if self._stranger:
            self._settle(last=True)
            self._waiting = [(content, buffers) for content, _, buffers in new]
            opened = self._settle(last=True)
        else:
            opened = [name for one in new for name in filter(None, [self._take_open(*one)])]
        self._grey({comm_id for comm_id in opened if comm_id in self.models.open})

    def _is_new(self, comm_id: str, model: Model) -> bool:
        return comm_id not in self.models.open and self._allowed(model.target)

    # -- from the browser

    def send(self, kind: str, message: Mapping[str, Any]) -> None:
        """Send a comm message of the browser to the host, and wait until it is handled there."""
        content = dict(message["content"])
        comm_id = str(content.get("comm_id"))
        metadata, buffers = message.get("metadata") or {}, list(message.get("buffers") or [])
        with self.lock:
            self.pump()
            if self._stranger and self._control(kind, comm_id, content):
                return
            if self.gone or comm_id in self._last:
                self._answer(comm_id, content)
                return
            number = next(self._numbers)
            self._remember(message_name(self.front, number), message)
            self.models.take(kind, content, metadata, buffers)
            parts = [json.dumps(content).encode(), json.dumps(metadata, default=str).encode(), *buffers]
            try:
                args = {"type": kind, "seq": number, "from": self.front, "kernel": self.kernel}
                call = self.client.begin("comm", parts, **args)
            except HostError as err:
                self._end(err.message)
                return
        until = time.monotonic() + WAIT_S
        while not call.done.wait(0.01) and self.client.connected and time.monotonic() < until:
            self.pump()
        self.pump()
        if call.error is not None and not self.gone:
            LOG.info("a comm message was refused: %s", call.error)

    def _control(self, kind: str, comm_id: str, content: Mapping[str, Any]) -> bool:
        """Answer a page's request for all widgets locally, since a stranger could answer anything."""
        data = content.get("data")
        if kind == "comm_open" and content.get("target_name") == CONTROL:
            self._controls.add(comm_id)
        elif comm_id not in self._controls:
            return False
        elif kind == "comm_close":
            self._controls.discard(comm_id)
        elif isinstance(data, dict) and data.get("method") == "request_states":
            states, paths, buffers = page_states(self)
            found = {"method": "update_states", "states": states, "buffer_paths": paths}
            self.port.publish("comm_msg", {"comm_id": comm_id, "data": found}, {}, buffers, None)
        return True

    def _answer(self, comm_id: str, content: Mapping[str, Any]) -> None:
        """Answer for a widget without a host: its last state."""
        data = content.get("data")
        if comm_id not in self.models.open or not isinstance(data, dict):
            return
        if data.get("method") == "request_state":
            self._publish_state(comm_id)
        elif data.get("method") in FOLDED and isinstance(data.get("state"), dict):
            self._publish_state(comm_id, set(data["state"]))

    def _publish_state(self, comm_id: str, keys: set[str] | None = None) -> None:
        picked, buffers = self.models.open[comm_id].picked(keys)
        content = {"comm_id": comm_id, "data": {"method": "update", **picked}}
        self.port.publish("comm_msg", content, {}, buffers, None)

    def states(self) -> dict[str, Model]:
        """Return the widgets that a browser may request after a reload."""
        with self.lock:
            return {
                comm_id: model
                for comm_id, model in self.models.open.items()
                if model.target == "jupyter.widget"
            }

    def _remember(self, name: str, parent: Mapping[str, Any]) -> None:
        self._parents[name] = {"header": dict(parent.get("header") or {})}
        self._parents.move_to_end(name)
        while len(self._parents) > PARENTS:
            self._parents.popitem(last=False)

    # -- the end

    def _end(self, why: str) -> None:
        if not self.gone:
            self.gone = why or "the session is gone"
            self._handle = None
            self._grey(set(self.models.open) - self._last)

    def _grey(self, comm_ids: set[str]) -> None:
        """Disable the controls of widgets whose kernel is gone; their last state stays."""
        self._last |= comm_ids
        for comm_id in comm_ids:
            model = self.models.open[comm_id]
            if model.state.get("disabled") is False:
                model.state["disabled"] = True
                self._publish_state(comm_id, {"disabled"})
