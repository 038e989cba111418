"""Protection of a browser's cookies for this machine from a host behind a forwarded port.

Cookies know no ports: a browser sends those of ``127.0.0.1`` (a Jupyter server's login) to every
port there, and a page there reads those that scripts may read. A forward of a host that is a
stranger therefore has a name of its own, ``NAME.localhost``, which browsers resolve to this
machine (RFC 6761, 6.3). A browser that uses another name is redirected to it before the host sees
a byte; other programs and protocols pass.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

__all__ = ["OwnName", "own_name"]

MOST_HEAD = 64 << 10  # bytes of a request's head
CHUNK = 1 << 16

_METHOD = re.compile(rb"[A-Z]{1,16}( |\Z)")
_SIGNS = (b"cookie:", b"sec-fetch-", b"origin:", b"user-agent: mozilla/", b"upgrade-insecure-requests:")
_PATH = re.compile(rb"/[!-~]{0,8000}\Z")


def own_name(session: str) -> str:
    """Return the host name of a session's forwards."""
    label = re.sub(r"[^a-z0-9]+", "-", session.lower()).strip("-")[:50] or "host"
    return f"{label}.localhost"


class OwnName:
    """A client's socket whose first request, if it is a browser's, must be for `name`.

    Has the part of a socket's methods that a forward uses.
    """

    def __init__(self, client: socket.socket, name: str) -> None:
        self._client = client
        self._name = name.encode()
        self._checked = False

    def recv(self, size: int, /) -> bytes:
        """Receive like a socket; nothing if the browser was redirected to the name."""
        return self._client.recv(size) if self._checked else self._first()

    def _first(self) -> bytes:
        head = b""
        while len(head) < MOST_HEAD:
            data = self._client.recv(CHUNK)
            head += data
            if not data or not _METHOD.match(head[:17]) or b"\r\n\r\n" in head:
                break
        self._checked = True
        if not _METHOD.match(head[:17]):
            return head
        request, *lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")
        fields = [line.strip().lower() for line in lines]
        hosts = [line[5:].strip().rpartition(b":") for line in fields if line.startswith(b"host:")]
        names = {host or port for host, _, port in hosts}
        is_browser = any(line.startswith(_SIGNS) for line in fields)
        if names == {self._name} or not (is_browser or len(head) >= MOST_HEAD):
            return head
        self._send_away(request.split(b" "))
        return b""

    def _send_away(self, words: list[bytes]) -> None:
        path = words[1] if len(words) > 1 and _PATH.match(words[1]) else b"/"
        address = b"http://%s:%d%s" % (self._name, self._client.getsockname()[1], path)
        text = b"This port has a name of its own, so that the host behind it gets no cookie: %s\n" % address
        answer = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: %s\r\nContent-Length: %d\r\n" % (
            address,
            len(text),
        )
        more = b"Content-Type: text/plain\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        with suppress(OSError):
            self._client.sendall(answer + more + text)

    def sendall(self, data: bytes, /) -> None:
        """Send like a socket."""
        self._client.sendall(data)

    def shutdown(self, how: int, /) -> None:
        """Shut down like a socket."""
        self._client.shutdown(how)

    def close(self) -> None:
        """Close like a socket."""
        self._client.close()
