"""Every request to a cloud and its answer, kept without secrets and personal data, and played again.

A recorded answer has the form of the files in ``tests/providers/records``, with its request beside it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import re
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from gpunb import log

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HIDDEN = "hidden"
_KEPT = ("retry-after", "x-ratelimit-remaining")
#: fields whose text is a person's, a secret's or a script's, whatever the cloud
_PERSONAL = re.compile(
    r"(e_?mail|user_?name|(full|first|last|nick)_?name|phone|(?<!ip_)address(?!es)|company|tax|\bvat|(credit|_)card|"
    r"paypal|keys?$|token|secret|password|sid$|onstart|user_?data|cloud_?init|(^|_)script|args|environment|env$)",
    re.IGNORECASE,
)
_OWNER = re.compile(
    r"(user|client|account|team|owner|customer|organization|project|workspace)_?id$", re.IGNORECASE
)
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_KEY = re.compile(r"\b(ssh-[a-z0-9-]+|ecdsa-[a-z0-9-]+) AAAA[A-Za-z0-9+/=]+( [^\s\"\\]+)?")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f:]{1,12}(?![\w:])", re.IGNORECASE)
_COMMON = frozenset(["root", "ubuntu", "user", "gpunb", "localhost", "runner"])


class Scrubber:
    """Takes out what is nobody else's business; the same thing becomes the same word everywhere.

    Parameters
    ----------
    secrets
        Texts that must not be there: the account's key, the installation's name.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        own = (getpass.getuser(), socket.gethostname(), str(Path.home()))
        names = [one for one in own if len(one) > 3 and one.lower() not in _COMMON and one != "/root"]
        self._secrets = sorted({one for one in (*secrets, *names) if len(one) > 3}, key=len, reverse=True)
        self._addresses: dict[str, str] = {}

    def text(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _KEY.sub(r"\1 AAAA", _EMAIL.sub("user@example.com", text))
        text = _IPV4.sub(self._address, _IPV6.sub(self._address, text))
        return log.redact(text)

    def value(self, value: Any, name: str = "") -> Any:
        """A JSON value without them; `name` is its field's."""
        if isinstance(value, dict):
            if _PERSONAL.search(name):
                return {f"{HIDDEN}{at}": HIDDEN for at in range(len(value))}
            account = {"email", "username"} & set(value)
            return {
                self.text(key): self.value(one, "user_id" if account and key == "id" else key)
                for key, one in value.items()
            }
        if isinstance(value, list):
            return [self.value(one, name) for one in value]
        if isinstance(value, str):
            return (HIDDEN if value else "") if _PERSONAL.search(name) else self.text(value)
        if isinstance(value, int) and not isinstance(value, bool) and _OWNER.search(name):
            return 1
        return value

    def body(self, content: bytes) -> Any:
        """A body without them: parsed if it is JSON, None if it is empty."""
        if not content:
            return None
        try:
            return self.value(json.loads(content))
        except ValueError:
            return self.text(content.decode("utf-8", "replace"))

    def _address(self, found: re.Match[str]) -> str:
        text = found.group()
        if ":" not in text and any(int(one) > 255 for one in text.split(".")):
            return text  # a version
        return self._addresses.setdefault(text, f"192.0.2.{len(self._addresses) % 250 + 1}")


class Recorder:
    """The calls of this process to one cloud, in order."""

    def __init__(self, base_url: str) -> None:
        self.where = urlsplit(base_url)
        self.calls: list[tuple[httpx.Request, httpx.Response]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self) -> Iterator[Recorder]:
        """Record, until this is left; calls of other processes (a supervisor's) are not seen."""
        real = httpx.HTTPTransport.handle_request

        def handle(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            answer = real(transport, request)
            if (request.url.host, request.url.scheme) != (self.where.hostname, self.where.scheme):
                return answer
            answer.read()
            kept = {
                name: one
                for name, one in answer.headers.items()
                if name not in {"content-encoding", "content-length"}
            }
            whole = httpx.Response(answer.status_code, headers=kept, content=answer.content)
            with self._lock:
                self.calls.append((request, whole))
            return whole

        httpx.HTTPTransport.handle_request = handle  # type: ignore[method-assign]
        try:
            yield self
        finally:
            httpx.HTTPTransport.handle_request = real  # type: ignore[method-assign]

    def write(self, folder: Path, scrub: Scrubber, source: str) -> int:
        """Write a file for each call; returns how many."""
        base = self.where.path.rstrip("/")
        for at, (request, answer) in enumerate(self.calls, 1):
            path = request.url.path.removeprefix(base)
            asked = {
                "method": request.method,
                "path": scrub.text(path),
                "query": scrub.value(dict(request.url.params)),
                "body": scrub.body(request.content),
            }
            record = {
                "source": source,
                "request": asked,
                "status": answer.status_code,
                "headers": {name: answer.headers[name] for name in _KEPT if name in answer.headers},
                "body": scrub.body(answer.content),
            }
            slug = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")[:60]
            name = f"{at:03}-{request.method.lower()}-{slug}.json"
            (folder / name).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        return len(self.calls)


class Replay:
    """Answers a provider's calls by a recorded folder: for a method and path in turn, the last one again."""

    def __init__(self, folder: Path) -> None:
        self.records = [json.loads(one.read_text("utf-8")) for one in sorted(folder.glob("[0-9]*.json"))]
        self._left: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for one in self.records:
            asked = one["request"]
            self._left.setdefault((asked["method"], asked["path"]), []).append(one)

    def transport(self) -> httpx.MockTransport:
        """For the option ``http`` of a provider's configuration."""
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        waiting = self._left.get((request.method, request.url.path))
        if not waiting:
            return httpx.Response(
                404, json={"error": f"{request.method} {request.url.path} was not recorded"}
            )
        one = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        body = one["body"]
        content = b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        return httpx.Response(one["status"], headers=one["headers"], content=content)
