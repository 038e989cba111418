"""Signed calls of a cloud that something has changed there: the supervisor looks at once, and no more.

Off unless the user's settings have Vast's secret (``notify.vast_secret``). What a call says is not read: who
could forge one could make the supervisor ask the cloud a moment earlier. What a flood of them, or a machine
in between, can take away is that moment: the supervisor looks at each tick anyway.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import SettingsError
from gpunb.sessions.notices.outbox import own

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gpunb.providers.features import SignedCalls
    from gpunb.sessions.model import Clock
    from gpunb.settings import NotifySettings

__all__ = ["BODY_MOST", "CALLS_MOST", "WakeUps", "call"]

BODY_MOST = 64 * 1024
CALLS_MOST = 120  # a minute; the others are told to come later
AT_ONCE = 8
PATIENCE_S = 5.0  # for one call, from its first byte to its last
STEP_S = 0.5
CLOUD = "vast"
_log = log.get(__name__)


class WakeUps:
    """The receiver of one supervisor; listens while `serve` is told to.

    Parameters
    ----------
    clock
        Compares the time of a call.
    settings
        Returns the user's settings of notices.
    """

    def __init__(self, clock: Clock, *, settings: Callable[[], NotifySettings] = own) -> None:
        self.clock = clock
        self.settings = settings
        self.refused = 0
        self._rung = threading.Event()
        self._server: _Server | None = None
        self._set: tuple[str, str] | None = None  # address and secret that `_server` has
        self._trouble = ""

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens; None if it does not."""
        return None if self._server is None else self._server.server_address[:2]  # type: ignore[return-value]

    def serve(self, *, on: bool) -> None:
        """Listen as the settings say, or no more; never fails."""
        if self._server is not None and self._server.refused:
            _log.warning("%d calls to the webhook of Vast.ai were refused", self._server.refused)
            self.refused, self._server.refused = self.refused + self._server.refused, 0
        wanted = self._set
        if not on:
            wanted = None
        else:
            with suppress(SettingsError):  # as they were the last time that they could be read
                to = self.settings()
                secret = "" if to.vast_secret is None else to.vast_secret.get_secret_value()
                wanted = (to.vast_listen, secret) if secret else None
        if wanted == self._set and (self._server is not None or wanted is None):
            return
        self.close()
        self._set = wanted
        if wanted is not None:
            self._open(*wanted)

    def _open(self, listen: str, secret: str) -> None:
        try:
            self._server = _Server(listen, secret, self.clock, self._rung)
        except OSError as err:
            trouble = f"calls of Vast.ai can't be taken at {listen}: {err.strerror or err}"
            if trouble != self._trouble:
                _log.error("%s; the supervisor looks at each tick all the same", trouble)
            self._trouble = trouble
            return
        self._trouble = ""
        threading.Thread(
            target=self._server.serve_forever, args=(STEP_S,), name="gpunb-wakeups", daemon=True
        ).start()

    def taken(self) -> set[str]:
        """The clouds that have called since this was last asked."""
        rung = self._rung.is_set()
        self._rung.clear()
        return {CLOUD} if rung else set()

    def wait(self, halt: threading.Event, seconds: float, *, least: float) -> None:
        """Wait until `halt` is set or `seconds` are over; after `least` a cloud's call ends it, too."""
        if self._server is None:
            halt.wait(seconds)
            return
        begun = time.monotonic()
        while (past := time.monotonic() - begun) < seconds and not halt.wait(min(STEP_S, seconds - past)):
            if self._rung.is_set() and time.monotonic() - begun >= least:
                return

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        self._set = None


def call(to: NotifySettings) -> str:
    """Call the receiver of the supervisor as Vast.ai does; returns why it did not take it, else ""."""
    import ipaddress

    import httpx

    if to.vast_secret is None:
        return "notify.vast_secret is not set"
    host, _, port = to.vast_listen.rpartition(":")
    if ipaddress.ip_address(host.strip("[]")).is_unspecified:  # all addresses of this computer
        host = "[::1]" if ":" in host else "127.0.0.1"
    body = b'{"notif_type": "test"}'
    signed = _calls().call_headers(to.vast_secret.get_secret_value(), body, time.time())
    try:
        with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
            status = client.post(f"http://{host}:{port}/", content=body, headers=signed).status_code
    except httpx.HTTPError as err:
        return f"nothing takes them at {to.vast_listen} ({type(err).__name__})"
    return "" if status == httpx.codes.NO_CONTENT else f"{to.vast_listen} answers {status}"


def _calls() -> SignedCalls:
    from gpunb.providers import provider_class
    from gpunb.providers.features import SignedCalls, feature

    return feature(provider_class(CLOUD), SignedCalls)


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, listen: str, secret: str, clock: Clock, rung: threading.Event) -> None:
        host, _, port = listen.rpartition(":")
        host = host.strip("[]")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.secret = secret
        self.clock = clock
        self.rung = rung
        self.refused = 0
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        self._calls: deque[float] = deque()
        self._seen: dict[str, float] = {}  # mark of a call: until when it would be taken again
        super().__init__((host, int(port)), _Call)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a connection, if there are not too many already."""
        with self._lock:
            full = len(self._open) >= AT_ONCE
            if not full:
                self._open[request] = time.monotonic()
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that is over."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off who takes too long, byte by byte."""
        with self._lock:
            late = [one for one, since in self._open.items() if time.monotonic() - since > PATIENCE_S]
        for one in late:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A broken connection is nobody's trouble."""

    def too_many(self) -> bool:
        """Count a call, and say whether there are too many this minute."""
        now = self.clock.time()
        with self._lock:
            while self._calls and not 0.0 <= now - self._calls[0] <= 60.0:
                self._calls.popleft()
            if len(self._calls) >= CALLS_MOST:
                return True
            self._calls.append(now)
            return False

    def judge(self, headers: Mapping[str, str], body: bytes) -> int:
        """The HTTP status for a call; rings if it is signed, recent and new."""
        now = self.clock.time()
        found = _calls().call_mark(self.secret, body, headers, now=now)
        if found is None:
            return 401
        mark, until = found
        with self._lock:
            self._seen = {seen: at for seen, at in self._seen.items() if at >= now}
            again = mark in self._seen
            self._seen[mark] = until
        if not again:
            self.rung.set()
        return 204


class _Call(BaseHTTPRequestHandler):
    """One call: only a signed POST of a bounded body is anything."""

    server: _Server
    timeout = PATIENCE_S

    def do_POST(self) -> None:
        """Judge the call."""
        lengths = self.headers.get_all("Content-Length") or []
        if self.server.too_many():
            self._answer(429)
        elif len(lengths) != 1 or not lengths[0].isascii() or not lengths[0].isdigit():
            self._answer(411)
        elif len(lengths[0]) > 9 or int(lengths[0]) > BODY_MOST:
            self._answer(413)
        else:
            body = self.rfile.read(int(lengths[0]))
            if len(body) == int(lengths[0]):
                self._answer(
                    self.server.judge({name.lower(): value for name, value in self.headers.items()}, body)
                )

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Refuse what is no call."""
        self._answer(405 if code == 501 else code)

    def finish(self) -> None:
        """Close so that the answer arrives: what was not read is thrown away, up to a bound."""
        with suppress(OSError):
            super().finish()
            self.connection.shutdown(socket.SHUT_WR)
            left = 4 * BODY_MOST
            while left > 0 and (got := self.connection.recv(min(left, BODY_MOST))):
                left -= len(got)

    def _answer(self, status: int) -> None:
        if status != 204:
            self.server.refused += 1
        self.close_connection = True
        self.send_response_only(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing: what comes in is a stranger's."""
