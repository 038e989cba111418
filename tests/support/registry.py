"""A registry of container images on this machine, with the token that a public one asks for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "anybodys"


class Registry:
    """What it has, what it does wrong, and what it was asked.

    Attributes
    ----------
    wrong
        Path beginning -> status, a body of its own, or seconds of silence (a float).
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.wrong: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.host = ""
        self.stop = threading.Event()

    def add(
        self, name: str, tag: str, config: dict[str, Any], *, sizes: list[int], index: bool = True
    ) -> str:
        """An image; answers how `rent --image` names it."""
        inside = {"mediaType": "application/vnd.oci.image.config.v1+json"}
        blob = json.dumps({"architecture": "amd64", "os": "linux", "config": config}).encode()
        manifest = {
            "schemaVersion": 2,
            "config": inside | {"digest": self._blob(name, blob), "size": len(blob)},
            "layers": [{"digest": f"sha256:{n:064x}", "size": size} for n, size in enumerate(sizes)],
        }
        body = json.dumps(manifest).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.files[f"/v2/{name}/manifests/{digest}"] = body
        if index:
            one = {"digest": digest, "platform": {"os": "linux", "architecture": "amd64"}}
            other = {"digest": f"sha256:{1:064x}", "platform": {"os": "unknown", "architecture": "unknown"}}
            body = json.dumps({"schemaVersion": 2, "manifests": [other, one]}).encode()
        self.files[f"/v2/{name}/manifests/{tag}"] = body
        return f"{self.host}/{name}:{tag}"

    def _blob(self, name: str, body: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.files[f"/v2/{name}/blobs/{digest}"] = body
        return digest

    def answer(self, path: str, auth: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.asked.append((path, auth))
        wrong = next((value for begin, value in self.wrong.items() if path.startswith(begin)), None)
        if isinstance(wrong, float):
            self.stop.wait(wrong)
        elif isinstance(wrong, int):
            return wrong, {}, b"{}"
        elif wrong is not None:
            return wrong
        if path.startswith("/token?"):
            return 200, {}, json.dumps({"token": TOKEN}).encode()
        if path.startswith("/cdn/"):  # blobs lie elsewhere, as with every large registry
            return 200, {}, self.files[path.removeprefix("/cdn")]
        if auth != f"Bearer {TOKEN}":
            realm = f'Bearer realm="http://{self.host}/token",service="registry",scope="repository:x:pull"'
            return 401, {"WWW-Authenticate": realm}, b"{}"
        if path not in self.files:
            return 404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'
        if "/blobs/" in path:
            return 307, {"Location": f"/cdn{path}"}, b""
        return 200, {}, self.files[path]


@contextlib.contextmanager
def registry() -> Iterator[Registry]:
    """One that is up."""
    made = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = made.answer(self.path, self.headers.get("Authorization", ""))
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        made.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()
