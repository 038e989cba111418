"""A real Jupyter server with the extension, in a home of its own, and the ways into it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import websocket

from gpunb.server import PREFIX
from tests.support.rentals.openapi import check_answer

TOKEN = "0123456789abcdef"
BOUND_S = 60.0
QUICK = str(Path(__file__).parents[1] / "quick")
"""For PYTHONPATH: what Jupyter can do without, and need not wait for."""


class Jupyter:
    """One server process. `home` is its GPUNB_HOME; its Jupyter folders are beside it."""

    def __init__(self, home: Path, **env: str) -> None:
        self.home = home
        self.base = home.parent
        self.env = {
            **os.environ,
            "GPUNB_HOME": str(home),
            "JUPYTER_NO_CONFIG": "1",
            "JUPYTER_CONFIG_DIR": str(self.base / "config"),
            "JUPYTER_RUNTIME_DIR": str(self.base / "runtime"),
            "JUPYTER_DATA_DIR": str(self.base / "jupyter"),
            "IPYTHONDIR": str(self.base / "ipython"),
            "GPUNB_SUPERVISE_EVERY": "1s",
            "PYTHONPATH": os.pathsep.join(filter(None, [QUICK, os.environ.get("PYTHONPATH")])),
            **env,
        }
        self.root = self.base / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.log = self.base / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.opened: list[Any] = []

    def start(self, *more: str) -> Jupyter:
        extensions = {"gpunb": True, "jupyter_server_terminals": True}
        argv = [
            sys.executable, "-m", "jupyter_server", "--no-browser", "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}", "--allow-root",
            "--ServerApp.allow_unauthenticated_access=False", f"--ServerApp.root_dir={self.root}",
            f"--ServerApp.jpserver_extensions={extensions}", *more,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, env=self.env, stdout=log, stderr=log, cwd=self.root)
        file = self.base / "runtime" / f"jpserver-{self.process.pid}.json"
        until(lambda: file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.said()
        self.url = json.loads(until(file.read_text))["url"]
        until(self._listens)
        return self

    def _listens(self) -> bool:
        """The file with the address is written before the server listens there."""
        assert self.process is not None
        assert self.process.poll() is None, self.said()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", urlsplit(self.url).port or 0), 5).close()
            return True
        return False

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self, sig: int = signal.SIGTERM) -> int:
        for one in self.opened:
            one.close()
        self.opened.clear()
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(sig)
        try:
            return process.wait(BOUND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise

    def client(self, *, token: bool = True) -> Client:
        found = Client(self, token=token)
        self.opened.append(found.http)
        return found

    def browser(self) -> Client:
        """Logged in by cookie only, as a page is."""
        found = self.client(token=False)
        found.http.get(f"{self.url}login")  # gives the XSRF cookie
        answer = found.http.get(f"{self.url}api/status", params={"token": TOKEN})
        assert answer.status_code == 200, answer.text
        assert "_xsrf" in found.http.cookies
        return found

    def events(self, client: Client | None = None, **more: Any) -> Events:
        found = Events(self, client, **more)
        self.opened.append(found)
        return found


class Client:
    """Asks the API; each answer is held against the OpenAPI file."""

    def __init__(self, server: Jupyter, *, token: bool) -> None:
        headers = {"Authorization": f"token {TOKEN}"} if token else {}
        self.http = httpx.Client(
            timeout=BOUND_S, headers=headers, follow_redirects=False, verify=False
        )  # http alone
        self.base = server.url.rstrip("/") + PREFIX

    def xsrf(self) -> dict[str, str]:
        found = self.http.cookies.get("_xsrf")
        return {"X-XSRFToken": found} if found else {}

    def ask(
        self, method: str, path: str, body: Any = None, *, xsrf: bool = True, **more: Any
    ) -> httpx.Response:
        more.setdefault("headers", self.xsrf() if xsrf and "Authorization" not in self.http.headers else {})
        if body is not None:
            more["json"] = body
        answer = self.http.request(method, self.base + path, **more)
        check_answer(method, path, answer)
        return answer

    def get(self, path: str, /, **query: Any) -> Any:
        answer = self.ask("GET", path, params=query)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.ask("POST", path, {} if body is None else body)
        assert answer.status_code == status, (path, answer.status_code, answer.text)
        return answer.json()

    def confirmed(self, action: str, **arguments: Any) -> str:
        found = self.post("/confirm", {"action": action, **arguments})
        assert found["says"]
        return str(found["token"])

    def rent(self, name: str | None = None, hours: float = 1.0, **search: Any) -> dict[str, Any]:
        """The first offer, confirmed; the job."""
        offers = self.post("/offers", {"hours": hours, **search})
        assert offers["offers"], offers["failed"]
        arguments = {"offer": offers["offers"][0]["key"], "hours": hours}
        if name is not None:
            arguments["name"] = name
        token = self.confirmed("rent", **arguments)
        found: dict[str, Any] = self.post("/rent", {**arguments, "token": token}, 202)["job"]
        return found

    def act(self, action: str, session: str, **arguments: Any) -> dict[str, Any]:
        token = self.confirmed(action, session=session, **arguments)
        path = f"/sessions/{session}/{action}"
        found: dict[str, Any] = self.post(path, {**arguments, "token": token}, 202)["job"]
        return found

    def wait(self, job: dict[str, Any], state: str | None = "done") -> dict[str, Any]:
        """Until the job is over."""

        def over() -> Any:
            found = self.get(f"/jobs/{job['id']}")["job"]
            return found if found["ended"] is not None else None

        found: dict[str, Any] = until(over)
        assert state is None or found["state"] == state, found
        return found


class Events:
    """A websocket of events."""

    def __init__(self, server: Jupyter, client: Client | None = None, **more: Any) -> None:
        url = server.url.replace("http", "ws", 1).rstrip("/") + PREFIX + "/events"
        cookies = (
            "; ".join(f"{key}={value}" for key, value in client.http.cookies.items()) if client else None
        )
        headers = [] if client is not None else [f"Authorization: token {TOKEN}"]
        headers = more.pop("header", headers)
        self.socket = websocket.create_connection(
            url, timeout=BOUND_S, cookie=cookies, header=headers, **more
        )
        self.heard: list[dict[str, Any]] = []

    def next(self) -> dict[str, Any]:
        from tests.support.rentals.openapi import check_event

        found: dict[str, Any] = json.loads(self.socket.recv())
        check_event(found)
        assert not self.heard or found["n"] > self.heard[-1]["n"]
        self.heard.append(found)
        return found

    def until(self, kind: str, fits: Any = lambda data: True) -> dict[str, Any]:
        """The data of the first event (also among those heard) that fits."""
        end = time.monotonic() + BOUND_S
        for one in self.heard:
            if one["type"] == kind and fits(one["data"]):
                return dict(one["data"])
        while time.monotonic() < end:
            one = self.next()
            if one["type"] == kind and fits(one["data"]):
                return dict(one["data"])
        raise AssertionError(f"no {kind} came; there came {[one['type'] for one in self.heard]}")

    def close(self) -> None:
        self.socket.close()


def until(check: Any, seconds: float = BOUND_S) -> Any:
    """What `check` gives once it gives something."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)
