"""Jupyter's five kernel channels, bound on this machine from a connection file."""

from __future__ import annotations

import json
import queue
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jupyter_client.session import Session

__all__ = ["Channels", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """One message from Jupyter, and the address of the reply."""

    channel: str
    identities: Sequence[bytes]
    message: Mapping[str, Any]
    came: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> str:
        """The message's msg_type."""
        return str(self.message["header"]["msg_type"])

    @property
    def content(self) -> dict[str, Any]:
        """The message's content."""
        result: dict[str, Any] = self.message["content"]
        return result


class Channels:
    """The kernel's sockets; one thread owns them, and other threads queue messages for it."""

    def __init__(self, session: Session, sockets: dict[str, zmq.Socket[bytes]], context: Any) -> None:
        self.session = session
        self.parent: Mapping[str, Any] | None = None  # the current or last shell request
        self.inputs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._sockets = sockets
        self._context = context
        self._out: queue.SimpleQueue[tuple[str, list[bytes]] | None] = queue.SimpleQueue()
        self._packing = threading.Lock()
        self._bell_in = context.socket(zmq.PAIR)
        self._bell_in.bind("inproc://gpunb-bell")
        self._bell_out = context.socket(zmq.PAIR)
        self._bell_out.connect("inproc://gpunb-bell")
        self._threads: list[threading.Thread] = []

    @classmethod
    def bind(cls, file: str) -> Channels:
        """Bind the sockets as the connection file `file` says.

        Raises
        ------
        OSError, ValueError, KeyError
            The file can't be read, or a port is taken.
        """
        from jupyter_client.session import Session

        info = json.loads(Path(file).read_text("utf-8"))
        session = Session(key=info["key"].encode(), signature_scheme=info["signature_scheme"])
        context: Any = zmq.Context()
        context.linger = 1000
        sockets: dict[str, Any] = {}
        kinds = {"shell": zmq.ROUTER, "control": zmq.ROUTER, "stdin": zmq.ROUTER, "hb": zmq.ROUTER}
        for name, kind in {**kinds, "iopub": zmq.PUB}.items():
            sock = context.socket(kind)
            if kind == zmq.ROUTER:
                sock.setsockopt(zmq.ROUTER_HANDOVER, 1)
            else:
                sock.sndhwm = 0
            sep = ":" if info["transport"] == "tcp" else "-"
            sock.bind(f"{info['transport']}://{info['ip']}{sep}{info[f'{name}_port']}")
            sockets[name] = sock
        return cls(session, sockets, context)

    def start(self, shell: Callable[[Request], None], control: Callable[[Request], None]) -> None:
        """Start to read; `control` is called in a thread of its own, in order."""
        asked: queue.SimpleQueue[Request] = queue.SimpleQueue()

        def work() -> None:
            while True:
                control(asked.get())

        sort = {"shell": shell, "control": asked.put}
        self._threads = [
            threading.Thread(target=self._loop, args=(sort,), daemon=True),
            threading.Thread(target=work, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _loop(self, sort: Mapping[str, Callable[[Request], None]]) -> None:
        poller = zmq.Poller()
        readers = {self._sockets[name]: name for name in ("shell", "control", "stdin", "hb")}
        for sock in [*readers, self._bell_in]:
            poller.register(sock, zmq.POLLIN)
        while True:
            for sock, _ in poller.poll():
                if sock is self._bell_in:
                    sock.recv()
                    if not self._drain():
                        return
                    continue
                name, parts = readers[sock], sock.recv_multipart()
                if name == "hb":
                    sock.send_multipart(parts)
                    continue
                try:
                    identities, rest = self.session.feed_identities(parts)
                    message = self.session.deserialize(rest)
                except ValueError:  # not signed with this kernel's key, or not a message
                    continue
                if name == "stdin":
                    self.inputs.put(message)
                else:
                    sort[name](Request(name, identities, message))

    def _drain(self) -> bool:
        while True:
            try:
                found = self._out.get_nowait()
            except queue.Empty:
                return True
            if found is None:
                for sock in [*self._sockets.values(), self._bell_in]:
                    sock.close()
                return False
            name, parts = found
            self._sockets[name].send_multipart(parts)

    def _send(self, name: str, parts: list[bytes]) -> None:
        with self._packing:
            self._out.put((name, parts))
            self._bell_out.send(b"")

    def publish(
        self,
        kind: str,
        content: Mapping[str, Any],
        parent: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Any] = (),
    ) -> None:
        """Publish an IOPub message."""
        message = self.session.msg(kind, dict(content), parent=_bare(parent), metadata=dict(metadata or {}))
        raw = self.session.serialize(message, ident=[f"kernel.{self.session.session}.{kind}".encode()])
        self._send("iopub", [*raw, *[bytes(buffer) for buffer in buffers]])

    def status(self, state: str, request: Request) -> None:
        """Publish the status, busy or idle, of a request."""
        self.publish("status", {"execution_state": state}, request.message)

    def reply(self, request: Request, content: Mapping[str, Any]) -> None:
        """Reply to a request on the channel that it came from."""
        kind = request.kind.replace("_request", "_reply")
        message = self.session.msg(kind, dict(content), parent=_bare(request.message))
        self._send(request.channel, self.session.serialize(message, ident=list(request.identities)))

    def ask_input(self, request: Request, prompt: str, *, password: bool) -> None:
        """Ask the frontend that sent `request` for a line of input."""
        content = {"prompt": prompt, "password": password}
        message = self.session.msg("input_request", content, parent=_bare(request.message))
        self._send("stdin", self.session.serialize(message, ident=list(request.identities)))

    def close(self) -> None:
        """Send the queued messages, and close the sockets."""
        with self._packing:
            self._out.put(None)
            self._bell_out.send(b"")
        self._threads[0].join(2.0)
        if not self._threads[0].is_alive():
            self._bell_out.close()
            self._context.term()


def _bare(parent: Mapping[str, Any] | None) -> Any:
    return None if parent is None else {"header": parent["header"]}
