"""Tasks: verbs that take long, as processes that outlive client and server, found again by their id."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gpunb import paths
from gpunb.errors import BadInput
from gpunb.mcp import calls
from gpunb.sessions.ledger import process_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Task", "find", "start"]

PREFIX = "task-"
KEEP = 200
_children: list[subprocess.Popen[bytes]] = []  # reaped at the next look


@dataclass(slots=True)
class Task:
    """A verb at work, or done.

    Attributes
    ----------
    pid, started
        Its process, told from a later one with the same number by its start time.
    """

    id: str
    argv: list[str] = field(default_factory=list)
    pid: int = 0
    started: str = ""
    at: float = 0.0

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        for child in _children[:]:
            if child.poll() is not None:
                _children.remove(child)
        return process_id.started(self.pid) == self.started != ""

    def status(self) -> dict[str, Any]:
        """How it stands: running, done with its result, or failed with its error."""
        head = {"id": self.id, "verb": self.argv[0], "seconds": round(time.time() - self.at, 1)}
        if self.running:
            return {**head, "state": "running", "next": f"wait {self.id}"}
        folder = _folder(self.id)
        answer = calls.answer((folder / "out").read_bytes(), (folder / "err").read_bytes())
        if answer.error is not None:
            return {**head, "state": "failed", "error": answer.text}
        return {**head, "state": "done", "result": answer.data}

    def wait(self, seconds: float) -> dict[str, Any]:
        """As `status`, when it has ended or `seconds` are over."""
        until = time.monotonic() + seconds
        while self.running and time.monotonic() < until:
            time.sleep(0.1)
        return self.status()


def start(argv: Sequence[str], agent: str) -> Task:
    """Start a verb in a session of its own: nothing that ends the client ends it."""
    task = Task(PREFIX + secrets.token_hex(4), list(argv), at=time.time())
    folder = paths.private_dir(_folder(task.id))
    _forget(folder.parent)
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        child = subprocess.Popen(
            calls.line(argv),
            env=calls.environment(agent),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    _children.append(child)
    task.pid, task.started = child.pid, process_id.started(child.pid)
    paths.write_private(folder / "task.json", json.dumps(asdict(task)))
    return task


def find(ident: str) -> Task:
    """The task of that id.

    Raises
    ------
    BadInput
        There is none.
    """
    file = _folder(ident) / "task.json"
    if not ident.removeprefix(PREFIX).isalnum() or not file.is_file():
        msg = f"there is no task {ident!r}"
        raise BadInput(msg, hint="sessions and receipts show what there is")
    return Task(**json.loads(file.read_text("utf-8")))


def _folder(ident: str) -> Path:
    return paths.home() / "tasks" / ident


def _forget(folder: Path) -> None:
    """Remove the oldest tasks that have ended."""
    import shutil

    old = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEEP]
    for path in old:
        if not (path / "task.json").is_file() or not find(path.name).running:
            shutil.rmtree(path, ignore_errors=True)
