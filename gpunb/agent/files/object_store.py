"""Transfers between this host and an object store, by URLs that the client signs one by one.

Not a part of the running agent: its text is sent through SSH to a Python that
reads it from standard input, and so are the URLs. Neither is ever in a file,
in an argument or in the environment here. It ends with its channel.

Requests are lines of JSON, answers too, each after the nonce::

    {"id": 1, "op": "get", "url", "headers", "secret", "path", "part", "size", "tag", "mtime"}
    {"id": 2, "op": "put", "url", "headers", "secret", "path", "start", "end", "size", "mtime"}
    {"id": 3, "op": "reach", "url"}
    {"id": 4, "op": "hash", "path"}
    -> {"id": 1, "moved": 1048576}  {"id": 1, "ok": true, ...}  {"id": 1, "error": "...", "status": 403}
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import queue
import socket
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

WORKERS = 6
BLOCK = 1 << 20
TRIES = 5
PAUSES = (0.3, 1.0, 3.0, 8.0)
TIMEOUT = 60.0
BEAT = 5.0
CHANGED = "it changed while it was read"
FOLDER = "a folder stands in its place"
KIND = "a URL of another kind than http and https"
AGAIN = (408, 425, 429, 500, 502, 503, 504)


class Broken(Exception):
    """An attempt failed and may be repeated; the partial file is kept."""


class Refused(Exception):
    """A permanent failure; `status` is HTTP's, or 0."""

    def __init__(self, text: str, status: int = 0) -> None:
        Exception.__init__(self, text)
        self.status = status


class Mover:
    """Runs the requests, a few at a time."""

    def __init__(self, nonce: str) -> None:
        self.nonce = nonce
        self.jobs: queue.Queue[dict[str, Any]] = queue.Queue()
        self.lock = threading.Lock()
        self.opener = urllib.request.build_opener()

    def say(self, **answer: Any) -> None:
        """Send one line to the client."""
        line = self.nonce + " " + json.dumps(answer) + "\n"
        with self.lock:
            sys.stdout.write(line)
            sys.stdout.flush()

    def serve(self) -> None:
        """Read requests until the input ends."""
        for _ in range(WORKERS):
            threading.Thread(target=self.work, daemon=True).start()
        threading.Thread(target=self.beat, daemon=True).start()
        self.say(ready=True)
        for line in iter(sys.stdin.readline, ""):
            self.jobs.put(json.loads(line))
        os._exit(0)  # the client is gone; partial files stay for the next time

    def beat(self) -> None:
        """Send a heartbeat at regular intervals."""
        while True:
            time.sleep(BEAT)
            self.say(beat=True)

    def work(self) -> None:
        """Handle requests one after another."""
        while True:
            job = self.jobs.get()
            try:
                answer = getattr(self, "op_" + job["op"])(job)
                self.say(id=job["id"], ok=True, **answer)
            except Refused as err:
                self.say(id=job["id"], error=str(err), status=err.status)
            except OSError as err:
                self.say(id=job["id"], error=err.strerror or str(err), status=0)
            except Exception as err:  # noqa: BLE001 - one file's failure is not the others'
                self.say(id=job["id"], error="%s: %s" % (type(err).__name__, err), status=0)

    def op_reach(self, job: dict[str, Any]) -> dict[str, Any]:
        """Check whether the object store is reachable from here."""
        parts = urllib.parse.urlsplit(job["url"])
        port = parts.port or (443 if parts.scheme == "https" else 80)
        begin = time.monotonic()
        try:
            socket.create_connection((parts.hostname or "", port), timeout=8.0).close()
        except OSError as err:
            raise Refused("%s can't be reached from the host: %s" % (parts.hostname, err)) from err
        return {"seconds": time.monotonic() - begin}

    def op_hash(self, job: dict[str, Any]) -> dict[str, Any]:
        """Compute a file's MD5, as an object store's ETag has it; with parts, of its parts' MD5s."""
        part, count = job.get("part") or 0, job.get("parts") or 0
        parts: list[bytes] = []
        digest = hashlib.md5()  # noqa: S324 - to compare with the store's
        left = part
        with open(job["path"], "rb") as source:
            while True:
                cut = part and len(parts) < count - 1  # the last part takes the rest
                block = source.read(min(BLOCK, left) if cut else BLOCK)
                if not block:
                    break
                digest.update(block)
                left -= len(block)
                if cut and left == 0:
                    parts.append(digest.digest())
                    digest, left = hashlib.md5(), part  # noqa: S324
        if not part:
            return {"md5": digest.hexdigest()}
        parts.append(digest.digest())
        return {"md5": "%s-%d" % (hashlib.md5(b"".join(parts)).hexdigest(), len(parts))}  # noqa: S324

    # -- from the store

    def op_get(self, job: dict[str, Any]) -> dict[str, Any]:
        """Download into the partial file, resume where it ends, and rename it into place."""
        part, path = job["part"], job["path"]
        if os.path.isdir(path):
            raise Refused(FOLDER)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.persist(job, lambda: self.fetch(job, part))
        size = os.path.getsize(part)
        if job.get("size") is not None and size != job["size"]:
            os.unlink(part)
            raise Refused("%d bytes came instead of %d" % (size, job["size"]))
        if job.get("mtime") is not None:
            # a disk may keep no times; the content counts
            with contextlib.suppress(OSError, OverflowError):
                os.utime(part, (job["mtime"], job["mtime"]))
        os.replace(part, path)
        return {"bytes": size}

    def fetch(self, job: dict[str, Any], part: str) -> None:
        """Attempt the download once."""
        have = os.path.getsize(part) if os.path.exists(part) else 0
        size = job.get("size")
        if size is not None and have >= size > 0:
            if have == size:
                return
            have = 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = "bytes=%d-" % have
            if job.get("tag"):
                headers["If-Range"] = job["tag"]
        with self.open(job, headers=headers) as answer:
            resumed = have and answer.status == 206
            if have and not resumed:
                self.say(id=job["id"], moved=-have)
            self.take(job, answer, part, append=bool(resumed))

    def take(self, job: dict[str, Any], answer: Any, part: str, *, append: bool) -> None:
        """Write a response body to the partial file."""
        expected = answer.headers.get("Content-Length")
        came = 0
        count = Counter(self, job["id"])
        with open(part, "ab" if append else "wb") as target:
            try:
                while True:
                    try:
                        block = answer.read(BLOCK)
                    except (OSError, http.client.HTTPException, ValueError) as err:
                        raise Broken("the store's line broke: %s" % err) from err
                    if not block:
                        break
                    target.write(block)
                    came += len(block)
                    count.add(len(block))
            finally:
                count.flush()
        if expected is not None and came < int(expected):
            raise Broken("the store's connection broke after %d of %s bytes" % (came, expected))

    # -- to the store

    def op_put(self, job: dict[str, Any]) -> dict[str, Any]:
        """Upload a file, or bytes `start` to `end` of it."""
        tag: list[str] = []

        def once() -> None:
            with open(job["path"], "rb") as source:
                facts = os.fstat(source.fileno())
                if facts.st_size < job["size"]:  # a file may grow: the listed part is sent
                    raise Refused(CHANGED)
                headers = {"Content-Length": str(job["end"] - job["start"])}
                body = self.body(job, source)
                with self.open(job, method="PUT", headers=headers, data=body) as answer:
                    answer.read()
                    tag.append(answer.headers.get("ETag") or "")
                after = os.stat(job["path"])
            same = (after.st_size, after.st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
            if not same and not (after.st_size > facts.st_size and after.st_ino == facts.st_ino):
                raise Refused(CHANGED)

        self.persist(job, once)
        return {"tag": tag[-1], "bytes": job["end"] - job["start"]}

    def body(self, job: dict[str, Any], source: Any) -> Iterator[bytes]:
        """Yield the bytes in blocks; if the attempt fails, the count is taken back."""
        source.seek(job["start"])
        left = job["end"] - job["start"]
        count = Counter(self, job["id"])
        sent = 0
        try:
            while left:
                block = source.read(min(BLOCK, left))
                if not block:
                    raise Refused(CHANGED)
                left -= len(block)
                yield block
                sent += len(block)
                count.add(len(block))
        finally:
            if left:
                count.add(-sent)
            count.flush()

    # -- HTTP

    def persist(self, job: dict[str, Any], attempt: Any) -> None:
        """Retry an attempt that failed by a temporary error."""
        for number in range(TRIES):
            try:
                attempt()
            except Broken as err:
                if number == TRIES - 1:
                    raise Refused("%s (%d times)" % (err, TRIES)) from err
                self.say(id=job["id"], note=str(err))
                time.sleep(PAUSES[number])
            else:
                return

    def open(
        self, job: dict[str, Any], *, headers: dict[str, str], method: str = "GET", data: Any = None
    ) -> Any:
        """Open the URL and return the response; raises on an error status."""
        request = urllib.request.Request(job["url"], data=data, method=method)  # noqa: S310 - checked below
        if request.type not in ("http", "https"):
            raise Refused(KIND)
        for name, value in list(job.get("headers", {}).items()) + list(headers.items()):
            request.add_header(name, value)
        for name, value in job.get("secret", {}).items():
            request.add_unredirected_header(name, value)  # not sent to the target of a redirect
        if data is not None and not request.has_header("Content-type"):
            request.add_unredirected_header("Content-type", "")
        try:
            return self.opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as err:
            words = " ".join(err.read(600).decode("utf-8", "replace").split())
            err.close()
            text = "the store answered %d %s%s" % (err.code, err.reason, ": " + words[:300] if words else "")
            if err.code in AGAIN:
                raise Broken(text) from err
            if err.code == 416:  # the partial file is longer than the object, or of another one
                if os.path.exists(job.get("part") or ""):
                    os.unlink(job["part"])
                raise Broken(text) from err
            raise Refused(text, err.code) from err
        except urllib.error.URLError as err:
            why = err.reason
            if isinstance(why, OSError) and why.errno == errno.ENOSPC:
                raise why from err
            raise Broken("the store can't be reached from the host: %s" % why) from err
        except (http.client.HTTPException, OSError) as err:
            raise Broken("the store's line broke: %s" % err) from err


class Counter:
    """Reports the bytes moved to the client, at most five times a second."""

    def __init__(self, mover: Mover, ident: int) -> None:
        self.mover, self.ident = mover, ident
        self.waiting = 0
        self.told = time.monotonic()

    def add(self, count: int) -> None:
        """Add `count` bytes."""
        self.waiting += count
        if time.monotonic() - self.told > 0.2:
            self.flush()

    def flush(self) -> None:
        """Report the count now."""
        if self.waiting:
            self.mover.say(id=self.ident, moved=self.waiting)
        self.waiting = 0
        self.told = time.monotonic()


def main(nonce: str) -> None:
    """Run the transfer process."""
    Mover(nonce).serve()
