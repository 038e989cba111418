"""Stores on loopback: an S3 (moto) behind a line that breaks on command, and a plain web server."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BLOCK = 1 << 16


@dataclass
class Fault:
    """What happens to a request: refused with `status`, or cut after `cut` bytes of its answer."""

    method: str
    part: str  # of the path
    status: int = 0
    cut: int | None = None
    times: int = 1
    ours: bool = False  # also requests of this machine's S3 client

    def fits(self, method: str, path: str, agent: str) -> bool:
        by_here = "boto" in agent.lower()
        return self.times > 0 and method == self.method and self.part in path and (self.ours or not by_here)


@dataclass
class Line:
    """A proxy in front of a store, that sees who asks for what."""

    target: tuple[str, int]
    seen: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, agent
    faults: list[Fault] = field(default_factory=list)
    on_request: Callable[[], None] | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def by_host(self, method: str) -> list[str]:
        """Paths that the host itself asked for."""
        return [path for m, path, agent in self.seen if m == method and agent.startswith("Python-urllib")]

    def fault(self, method: str, path: str, agent: str) -> Fault | None:
        for one in self.faults:
            if one.fits(method, path, agent):
                one.times -= 1
                return one
        return None


def _handler(line: Line) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            agent = self.headers.get("User-Agent", "")
            path = unquote(urlsplit(self.path).path)
            line.seen.append((self.command, path, agent))
            if line.on_request is not None:
                line.on_request()
            fault = line.fault(self.command, path, agent)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault is not None and fault.status:
                self.send_response(fault.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            upstream = http.client.HTTPConnection(*line.target, timeout=30)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                    self.send_header(name, value)
            left = fault.cut if fault is not None else None
            data = b"" if self.command == "HEAD" else answer.read()
            if answer.getheader("Content-Length") is None:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data if left is None else data[:left])
                if left is not None:
                    self.wfile.flush()
                    self.close_connection = True
            upstream.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def s3_line() -> Iterator[Line]:
    """An S3 server, and the proxy that its clients see."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    line = Line(server.get_host_and_port())
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _handler(line))
    line.port = proxy.server_address[1]
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield line
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(5)
        server.stop()


@contextlib.contextmanager
def web(root: Path, *, password: str = "", until: Callable[[], bool] | None = None) -> Iterator[str]:
    """A web server for the files of `root`: ranges, ``PUT``, a password, links that expire."""
    import base64

    wanted = "Basic " + base64.b64encode(f"me:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def refuse(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def allowed(self) -> bool:
            if password and self.headers.get("Authorization") != wanted:
                self.refuse(401)
                return False
            if until is not None and not until():
                self.refuse(403)
                return False
            return True

        def do_GET(self) -> None:
            path = root / unquote(urlsplit(self.path).path).lstrip("/")
            if not self.allowed():
                return
            if not path.is_file():
                self.refuse(404)
                return
            data, start = path.read_bytes(), 0
            asked = self.headers.get("Range", "")
            if asked:
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start = int(first)
                size = len(data)
                data = data[start : int(last) + 1 if last else None]
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if self.allowed():
                (root / unquote(urlsplit(self.path).path).lstrip("/")).write_bytes(data)
                self.refuse(201)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def grep(root: Path, words: list[bytes]) -> list[str]:
    """Files below `root` that hold one of the words."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found += [f"{path}: {word.decode()}" for word in words if word in data]
    return found
