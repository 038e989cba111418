"""Acme, the made-up cloud of docs/adding-a-cloud.md: a server of its API, and the page's provider."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import types
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-cloud.md"
KEY = "acme-secret-key"
PAGE_ROWS = 2  # machines in one answer
PLANS = [
    {"id": "h100", "gpu": "H100", "count": 1, "usd_per_hour": 2.0, "memory_gb": 80, "interruptible": False},
    {"id": "h100x2", "gpu": "H100", "count": 2, "usd_per_hour": 4.0, "memory_gb": 80, "interruptible": False},
    {"id": "spot", "gpu": "H100", "count": 1, "usd_per_hour": 0.8, "memory_gb": 80, "interruptible": True},
]


def example() -> types.ModuleType:
    """The page's first Python block, as a module."""
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
    module = types.ModuleType("gpunb_acme")
    sys.modules[module.__name__] = module
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    return module


class Acme(BaseHTTPRequestHandler):
    """Acme's five endpoints."""

    protocol_version = "HTTP/1.1"
    machines: ClassVar[dict[str, dict[str, Any]]] = {}
    made = 0
    lose_answers = False

    def answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> dict[str, Any]:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def serve(self) -> None:
        data = self.body()
        url = urlsplit(self.path)
        route, _, ident = url.path[1:].partition("/")
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.answer(401, {"error": "bad key"})
        elif url.path == "/me":
            self.answer(200, {"email": "a@b.c", "balance": 12.5})
        elif url.path == "/plans":
            self.answer(200, {"plans": PLANS})
        elif self.command == "POST":
            self.create(data)
        elif route == "machines" and not ident:
            self.list(parse_qs(url.query).get("after", [""])[0])
        elif ident not in self.machines or self.machines[ident]["status"] == "deleting":
            self.answer(404, {"error": "no such machine"})
        elif self.command == "DELETE":
            self.machines[ident] |= {"status": "deleting", "left": 3}
            self.answer(200, {})
        else:
            self.machines[ident]["name"] = data["name"]
            self.answer(200, {})

    def create(self, data: dict[str, Any]) -> None:
        plan = next((one for one in PLANS if one["id"] == data["plan"]), None)
        if plan is None:
            self.answer(409, {"error": "sold out"})
            return
        type(self).made += 1
        one = {
            "id": f"m-{self.made:06}",
            "name": data["name"],
            "status": "booting",
            "created": time.time(),
            **{name: plan[name] for name in ("usd_per_hour", "interruptible")},
        }
        self.machines[one["id"]] = one
        if self.lose_answers:
            self.close_connection = True
        else:
            self.answer(201, one)

    def list(self, after: str) -> None:
        for ident, one in list(self.machines.items()):
            if one["status"] == "deleting":
                one["left"] -= 1
                if one["left"] <= 0:
                    del self.machines[ident]
        rows = [one for ident, one in sorted(self.machines.items()) if ident > after]
        more = rows[PAGE_ROWS - 1]["id"] if len(rows) > PAGE_ROWS else None
        self.answer(200, {"machines": rows[:PAGE_ROWS], "next": more})
        for one in rows[:PAGE_ROWS]:
            if one["status"] == "booting":
                one |= {"status": "up", "ip": "203.0.113.7", "ssh_port": 2200}

    do_GET = do_POST = do_PATCH = do_DELETE = serve  # noqa: N815

    def log_message(self, *_words: object) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    """The address of a new, empty Acme."""
    Acme.machines.clear()
    Acme.lose_answers = False
    with ThreadingHTTPServer(("127.0.0.1", 0), Acme) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
