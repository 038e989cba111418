"""A TCP proxy that is a bad network: delay, cut, freeze, restore.

Each direction has a reader and a writer thread with a queue of due times in
between, so delay costs no throughput. As a program (its own process, so that
it does not share the client's interpreter lock)::

    python -m tests.support.machines.proxy --to 127.0.0.1:2222 --rtt 0.05

prints its port and runs until its standard input ends.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_CHUNK = 2**18
_QUEUE = 64 * 2**20  # bytes on the way in one direction


class Proxy:
    """Listens on `port` of 127.0.0.1 and passes on to `host`:`to`.

    Parameters
    ----------
    rtt
        Seconds added to a round trip, half in each direction. May be set later.
    """

    def __init__(self, to: int, *, host: str = "127.0.0.1", rtt: float = 0.0) -> None:
        self.to = (host, to)
        self.rtt = rtt
        self.up = 0  # bytes from clients
        self.down = 0  # bytes to clients
        self._open = threading.Event()  # cleared while frozen
        self._open.set()
        self._refuse = False
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, and every new one at once, until `restore`."""
        self._refuse = True
        self.drop()

    def drop(self) -> None:
        """Reset every connection; new ones work."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def freeze(self) -> None:
        """Pass nothing on, reset nothing: silence, as of a lost route; new connections hang."""
        self._open.clear()

    def restore(self) -> None:
        """A good network again; frozen connections go on with what they held."""
        self._refuse = False
        self._open.set()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._open.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._sockets.add(client)
        self._open.wait()
        if self._refuse:
            self.drop()
            return
        try:
            server = socket.create_connection(self.to, timeout=20)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with contextlib.suppress(OSError):  # the client's may have been dropped meanwhile
            for sock in (server, client):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(server)
        if self._refuse:
            self.drop()
            return
        ends: list[None] = []
        _Lane(self, client, server, "up", ends).start()
        _Lane(self, server, client, "down", ends).start()

    def ended(self, *sockets: socket.socket) -> None:
        with self._lock:
            self._sockets -= set(sockets)
        for sock in sockets:
            sock.close()

    def wait_open(self) -> None:
        self._open.wait()


class _Lane:
    """One direction of one connection."""

    def __init__(
        self, proxy: Proxy, source: socket.socket, sink: socket.socket, way: str, ends: list[None]
    ) -> None:
        self.proxy, self.source, self.sink, self.way, self.ends = proxy, source, sink, way, ends
        self.queue: collections.deque[tuple[float, bytes]] = collections.deque()
        self.held = 0
        self.turn = threading.Condition()

    def start(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._write, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                data = self.source.recv(_CHUNK)
            except OSError:
                data = b""
            due = time.monotonic() + self.proxy.rtt / 2
            with self.turn:
                while self.held > _QUEUE:
                    self.turn.wait()
                self.queue.append((due, data))
                self.held += len(data)
                self.turn.notify_all()
            if not data:
                return

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                with self.turn:
                    while not self.queue:
                        self.turn.wait()
                    due, data = self.queue.popleft()
                    self.held -= len(data)
                    self.turn.notify_all()
                wait = due - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                self.proxy.wait_open()
                if not data:
                    self.sink.shutdown(socket.SHUT_WR)
                    break
                self.sink.sendall(data)
                if self.way == "up":
                    self.proxy.up += len(data)
                else:
                    self.proxy.down += len(data)
        # a reader must not wait for room that nobody makes any more
        with self.turn:
            self.held = -(2**62)
            self.turn.notify_all()
        self.ends.append(None)
        if len(self.ends) == 2:
            self.proxy.ended(self.source, self.sink)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", required=True, help="host:port")
    parser.add_argument("--rtt", type=float, default=0.0, help="seconds")
    given = parser.parse_args()
    host, _, port = given.to.rpartition(":")
    with Proxy(int(port), host=host or "127.0.0.1", rtt=given.rtt) as proxy:
        print(proxy.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
