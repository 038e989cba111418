"""A real HTTP server on loopback that answers as a test tells it to."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Seen:
    """What came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Scripted:
    """Answers each request with the next of `answers`; the last one stays."""

    answers: list[Answer | Callable[[Any], None]]
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    def take(self) -> Answer | Callable[[Any], None]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def ok(body: bytes = b"{}", **headers: str) -> Answer:
    return 200, headers, body


def hang_up(handler: Any) -> None:
    """Cut the connection without an answer."""
    handler.close_connection = True
    handler.connection.close()


@contextmanager
def serve(*answers: Answer | Callable[[Any], None], context: Any = None) -> Iterator[Scripted]:
    script = Scripted(list(answers))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            with lock:
                script.seen.append(Seen(self.command, self.path, headers, body))
                answer = script.take()
            if callable(answer):
                answer(self)
                return
            status, more, content = answer
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = reply  # noqa: N815 - their names

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError, ValueError):
                super().handle()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    script.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
