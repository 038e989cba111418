"""The `Port` of a widget relay in the local ipykernel of a notebook."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

from gpunb.errors import ProtocolError
from gpunb.output.widget_port import CONTROL, page_states
from gpunb.output.widget_relay import Relay
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.remote.client import AgentClient
    from gpunb.remote.run import RunHandle

__all__ = ["KernelPort", "follow"]

PAUSE_S = 0.02  # seconds for this kernel's other work while a host sends many messages
_HOST = "gpunb_host"  # an attribute of a local comm: the host whose comm it mirrors


class KernelPort:
    """Publishes on the kernel's IOPub channel and receives messages from its comm manager."""

    def __init__(self, kernel: Any) -> None:
        import comm
        import ipywidgets  # type: ignore[import-untyped]  # noqa: F401 - sets up the comm target that a reloaded page asks

        self.kernel = kernel
        self.manager = comm.get_comm_manager()
        self._waiting = False
        _share_control(self.manager)

    def publish(
        self,
        kind: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any],
        buffers: Sequence[Any],
        parent: Mapping[str, Any] | None,
    ) -> None:
        """Send an IOPub message, after flushing text that was printed before."""
        data = content.get("data")
        state = data.get("state") if isinstance(data, dict) else None
        if kind == "comm_open" or (isinstance(state, dict) and "msg_id" in state):
            sys.stdout.flush()  # an Output widget starts or stops capturing
            sys.stderr.flush()
        ident = f"comm-{content['comm_id']}" if "comm_id" in content else f"kernel.{self.kernel.ident}.{kind}"
        self.kernel.session.send(
            self.kernel.iopub_socket,
            kind,
            dict(content),
            metadata=dict(metadata),
            parent=self.kernel.get_parent() if parent is None else dict(parent),
            ident=ident.encode(),
            buffers=[bytes(buffer) for buffer in buffers],
        )

    def opened(self, comm_id: str, target: str, relay: Relay) -> bool:
        """Register a local comm that receives the browser's messages; return whether one existed."""
        import comm

        twin = self.manager.comms.get(comm_id)
        host = relay.client.endpoint.alias
        if twin is not None and getattr(twin, _HOST, None) != host:
            msg = "the host opened a comm under the id of one that is this notebook's own"
            raise ProtocolError(msg)
        known = twin is not None
        if twin is None:
            twin = comm.create_comm(comm_id=comm_id, target_name=target, primary=False)
            self.manager.register_comm(twin)
            setattr(twin, _HOST, host)
        twin.on_msg(lambda message: relay.send("comm_msg", message))
        twin.on_close(lambda message: relay.send("comm_close", message))
        if target == "jupyter.widget":
            _shared.add(relay)
        return known

    def closed(self, comm_id: str) -> None:
        """Remove the local comm; the browser has been notified already."""
        twin: Any = self.manager.comms.pop(comm_id, None)
        if twin is not None:
            twin._closed = True  # noqa: SLF001 - else it sends comm_close again on garbage collection

    def call_soon(self, relay: Relay) -> None:
        """Call the relay's `pump` on the kernel's own loop, between cells; once for all pending messages."""
        if not self._waiting:
            self._waiting = True
            self.kernel.io_loop.add_callback(self._pump, relay)

    def _pump(self, relay: Relay) -> None:
        more = False
        try:
            more = relay.pump()
        finally:
            self._waiting = more
        if more:  # the user's own cells run in between
            self.kernel.io_loop.call_later(PAUSE_S, self._pump, relay)
        elif relay.behind:  # a message came after the last check, and its call_soon was ignored
            self.call_soon(relay)

    def note(self, text: str) -> None:
        """Print a note on stderr, marked as gpunb's."""
        sys.stderr.write(f"gpunb: {one_line(text)}\n")


_shared: weakref.WeakSet[Relay] = weakref.WeakSet()


def _share_control(manager: Any) -> None:
    """Let a page that is reloaded find the hosts' widgets beside those of this kernel."""
    own = manager.targets.get(CONTROL)
    if own is None or getattr(own, "gpunb", False):
        return

    def opened(comm: Any, message: Any) -> None:
        send = comm.send

        def answer(data: Any = None, metadata: Any = None, buffers: Any = None) -> None:
            if isinstance(data, dict) and data.get("method") == "update_states":
                data, buffers = _with_hosts(data, list(buffers or []))
            send(data, metadata, buffers)

        comm.send = answer
        own(comm, message)

    opened.gpunb = True  # type: ignore[attr-defined]
    manager.register_target(CONTROL, opened)


def _with_hosts(data: dict[str, Any], buffers: list[Any]) -> tuple[dict[str, Any], list[Any]]:
    states, paths = dict(data.get("states") or {}), list(data.get("buffer_paths") or [])
    for relay in list(_shared):
        found, more_paths, more = page_states(relay)
        states |= found
        paths += more_paths
        buffers += more
    return {**data, "states": states, "buffer_paths": paths}, buffers


_relays: weakref.WeakKeyDictionary[AgentClient, Relay] = weakref.WeakKeyDictionary()


def follow(shell: Any, handle: RunHandle, part: str, number: int) -> None:
    """Update the widgets in `shell`'s kernel up to `number` of `part`, before `handle`'s run goes on.

    Without a Jupyter kernel no widgets are shown, and this does nothing.
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return
    relay = _relays.get(handle.client)
    if relay is None:
        relay = _relays[handle.client] = Relay(handle.client, KernelPort(kernel))
    relay.sync(handle.id, kernel.get_parent(), part, number)
