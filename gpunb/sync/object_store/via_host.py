"""Transfers between the host and an object store, run on the host with URLs signed here one by one.

`gpunb.agent.files.object_store` runs there for as long as its channel is open. It is sent
through standard input, as are the URLs: the host's disk sees neither.
"""

from __future__ import annotations

import collections
import contextlib
import json
import secrets
import time
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gpunb.errors import HostError
from gpunb.ssh.quoting import quote
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpunb.ssh.connection import Connection
    from gpunb.sync.object_store.stores import Signed

__all__ = ["CannotRun", "HostMover", "Job"]

AT_ONCE = 8
SIGN_AGAIN = 2  # times, when a URL has expired in the queue
_SILENT_S = 90.0  # the host sends a heartbeat every 5 s
_START_S = 30.0
_LONGEST = 1 << 20
_FIND = """
nonce=$1; size=$2; code=$3
set -- "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}" /venv/main/bin/python \\
  "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python}" /opt/conda/bin/python python3 python
for p in "$@"; do
  [ -n "$p" ] && command -v "$p" >/dev/null 2>&1 || continue
  "$p" -c 'import sys, ssl; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || continue
  exec "$p" -u -c "$code" "$nonce" "$size"
done
printf '\\n%s {"failed": "no Python 3.8 or newer was found"}\\n' "$nonce"
"""
# exactly its bytes, and not one of what follows them
_READ = (
    "import sys\n"
    "sys.path[:] = [one for one in sys.path if one]\n"
    "import os\n"
    "text = b''\n"
    "while len(text) < int(sys.argv[2]):\n"
    "    text += os.read(0, int(sys.argv[2]) - len(text)) or sys.exit('the line closed')\n"
    "space = {'__name__': 'gpunb_cloud'}\n"
    "exec(compile(text, 'gpunb_cloud', 'exec'), space)\n"
    "space['main'](sys.argv[1])\n"
)


class CannotRun(HostError):
    """The host can't transfer the file; this machine may."""


@dataclass(slots=True)
class Job:
    """One request to the host.

    Attributes
    ----------
    sign
        Called just before it is sent, and again when the URL has expired.
    done
        Called with the host's answer.
    failed
        Called with the reason, one line.
    """

    what: dict[str, Any]
    sign: Callable[[], Signed] | None
    done: Callable[[Mapping[str, Any]], None]
    failed: Callable[[str], None]
    signed: int = 0
    moved: int = 0


class HostMover:
    """The transfer process on one host. A context manager: leaving it ends the process.

    Parameters
    ----------
    moved
        Called with the number of bytes moved; negative before a retry.

    Raises
    ------
    CannotRun
        No Python there.
    """

    def __init__(self, connection: Connection, moved: Callable[[int], None]) -> None:
        self._moved = moved
        self._nonce = secrets.token_hex(12)
        self._buffer = b""
        self._noise = 0
        self._next = 0
        self.notes: list[str] = []
        source = files("gpunb.agent").joinpath("files/object_store.py").read_bytes()
        command = quote(["sh", "-c", _FIND, "gpunb", self._nonce, str(len(source)), _READ])
        self._channel = connection.channel(command)
        self._channel.doing = "while it moved files"
        self._channel.hint = "run the same sync again: it goes on where it was"
        try:
            self._channel.sendall(source)
            first = self._answer(_START_S)
        except BaseException:
            self._channel.close()
            raise
        if "ready" not in first:
            self._channel.close()
            msg = f"the host can't move files by itself: {str(first.get('failed', first))[:300]}"
            raise CannotRun(msg)

    def __enter__(self) -> HostMover:  # noqa: PYI034 - final in practice
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def ask(self, **what: Any) -> Mapping[str, Any]:
        """Send one request that needs no signed URL; raises `CannotRun` with the host's reason."""
        out: list[Mapping[str, Any]] = []
        reasons: list[str] = []
        self.run(iter([Job(what, None, out.append, reasons.append)]))
        if reasons:
            raise CannotRun(reasons[0])
        return out[0]

    def run(self, jobs: Iterator[Job]) -> None:
        """Run jobs, some at once; each calls its own `done` or `failed`.

        Raises
        ------
        Unreachable
            The connection broke. Complete files stay, and partial files are resumed next time.
        """
        running: dict[int, Job] = {}
        waiting: collections.deque[Job] = collections.deque()
        left = True
        while True:
            while len(running) < AT_ONCE and (waiting or left):
                job = waiting.popleft() if waiting else next(jobs, None)
                if job is None:
                    left = False
                    break
                self._begin(job, running)
            if not running:
                if waiting or left:
                    continue
                return
            self._take(running, waiting)

    def _begin(self, job: Job, running: dict[int, Job]) -> None:
        what = dict(job.what)
        if job.sign is not None:
            try:
                signed = job.sign()
            except Exception as err:  # noqa: BLE001 - the store's refusal is this file's, not the others'
                job.failed(f"its URL could not be signed: {str(err).partition(chr(10))[0][:300]}")
                return
            job.signed += 1
            what.update(url=signed.url, headers=dict(signed.headers), secret=dict(signed.secret))
        self._next += 1
        running[self._next] = job
        line = json.dumps({"id": self._next, **what}) + "\n"
        self._channel.sendall(line.encode())

    def _take(self, running: dict[int, Job], waiting: collections.deque[Job]) -> None:
        answer = self._answer(_SILENT_S)
        number = answer.get("id")
        if not isinstance(number, int) or number not in running:
            return
        job = running[number]
        moved = answer.get("moved")
        if isinstance(moved, int):
            job.moved += moved
            self._moved(moved)
        elif "note" in answer:
            self.notes.append(str(answer["note"])[:300])
        elif answer.get("ok") is True:
            del running[number]
            job.done(answer)
        elif "error" in answer:
            del running[number]
            if job.sign is not None and answer.get("status") == 403 and job.signed <= SIGN_AGAIN:
                waiting.append(job)  # most likely it has expired while the host was busy
                return
            self._moved(-job.moved)
            job.failed(one_line(answer["error"], 400))

    def _answer(self, timeout: float) -> dict[str, Any]:
        """Return the next line that carries our nonce."""
        start = self._nonce.encode() + b" "
        deadline = time.monotonic() + timeout
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                if line.startswith(start):
                    with contextlib.suppress(ValueError, RecursionError):
                        data = json.loads(line[len(start) :])
                        if isinstance(data, dict):
                            return data
                self._noise += len(line)
            if len(self._buffer) > _LONGEST or self._noise > _LONGEST:
                msg = "the host sent bytes that are not an answer"
                raise CannotRun(msg)
            self._channel.settimeout(max(0.1, deadline - time.monotonic()))
            self._buffer += self._channel.take(1 << 16)
