"""A job's keeper process: starts the command, writes its journal, stays until it ends.

One small process per job, in a session of its own, so that neither a broken
connection nor the end of the agent affects the job or loses its output. A
second keeper for the same job finds the first one's lock and exits.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from ..shared import folders, processes, restart_policy
from ..shared.journal import MAX_RECORD, MIN_GAP, Journal, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DRAIN = 0.5  # seconds of reading after the command's end, while children hold its pipes open
RETRY = 1.0  # seconds between two tries to write to a full disk
RESERVE = 16 << 10  # bytes reserved for the records that must be written
GRACE = 5.0  # seconds between TERM and KILL as the host goes down
FULL = "the host's disk was full"


def main(argv: list[str]) -> int:
    """Run the job whose folder is ``argv[0]``."""
    folder = argv[0]
    lock = folders.take(os.path.join(folder, "keeper.lock"))
    if lock is None:
        return 0
    try:
        return Keeper(folder).run()
    finally:
        lock.close()


class Keeper:
    """Runs one job's command, as often as its restart policy says, and writes its journal."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.about: dict[str, Any] = folders.read_json(os.path.join(folder, "about.json"))
        self.id: str = self.about["id"]
        self.policy = str(self.about.get("restart") or "never")
        self.secrets: dict[str, str] = {}
        if self.about.get("secrets"):  # the agent sends them here, once
            self.secrets = json.loads(sys.stdin.buffer.read().decode("utf-8") or "{}")
        self.lost = 0
        self.ending = False
        self.command: subprocess.Popen[bytes] | None = None
        known = folders.read_json(self._path("process.json")) or {}
        self.attempt = int(known.get("attempt", 0)) + 1
        self.process: dict[str, Any] = {
            "keeper": os.getpid(),
            "keeper_started": processes.start_time(os.getpid()),
            "attempt": self.attempt,
        }
        self._reserve()
        self.journal: Journal = self._persist(lambda: Journal(self._path("journal"), self.id))

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    # -- a disk that may be full

    def _reserve(self) -> None:
        """Reserve disk space, so that the end can be recorded on a full disk."""
        with contextlib.suppress(OSError), open(self._path("reserve"), "wb") as file:
            file.write(b"\0" * RESERVE)

    def _persist(self, step: Callable[[], Any]) -> Any:
        """Retry `step` until the disk has room; gives up the reserve first."""
        while True:
            try:
                return step()
            except OSError:
                try:
                    os.unlink(self._path("reserve"))
                except OSError:
                    if self.ending:
                        raise
                    time.sleep(RETRY)

    def _write(self, head: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
        """Write one record; what does not fit on the disk is counted, and reported by the next that fits."""
        try:
            self._tell_lost()
            self.journal.append(head, parts)
        except OSError:
            self.lost += sum(len(part) for part in parts)

    def _tell_lost(self) -> None:
        if self.lost:
            self.journal.append({"k": "lost", "bytes": self.lost, "why": FULL})
            self.lost = 0

    def _surely(self, head: dict[str, Any]) -> None:
        """Write one record, and wait as long as the disk is full."""
        self._persist(self._tell_lost)
        self._persist(lambda: self.journal.append(head))

    def _note_process(self) -> None:
        self._persist(lambda: folders.write_json(self._path("process.json"), self.process))

    # -- the command

    def run(self) -> int:
        """Start the command, and again as its policy says; record how it ended."""
        signal.signal(signal.SIGTERM, self._on_term)
        self._note_process()
        why = "its host or its keeper was lost"
        if not self.journal.last_head:
            self._surely({"k": "start", "kind": "job", "name": self.about.get("name", "")})
        while True:
            if self.attempt > 1:
                text = "started again (attempt %d): %s" % (self.attempt, why)
                self._surely({"k": "note", "text": text, "attempt": self.attempt})
                self._wait(restart_policy.pause(self.attempt))
            end = self._marked("cancelled", 130) or self._once()
            if self.ending and self.policy != "never" and not self._marked("cancelled", None):
                with contextlib.suppress(OSError):
                    self.journal.append({"k": "note", "text": "the host goes down; the job was ended there"})
                return 0  # no end record: the job counts as lost, and is restarted with the host
            failed = end["state"] in ("error", "died")
            if not failed or self.ending or not restart_policy.again(self.policy, self.attempt, lost=False):
                self._surely(end)
                with contextlib.suppress(OSError):
                    os.unlink(self._path("reserve"))
                return 0
            why = end["why"]
            self.attempt += 1
            self.process = {**self.process, "attempt": self.attempt, "pid": None, "started": None}
            self._note_process()

    def _on_term(self, *_: Any) -> None:
        """Handle SIGTERM: the host shuts down, or the agent ends its work."""
        self.ending = True
        if self.policy != "never" and self.command is not None:
            self.process["term_until"] = time.monotonic() + GRACE
            processes.send(processes.tree(self.command.pid, "GPUNB_RUN=" + self.id), signal.SIGTERM)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.ending and not self._marked("cancelled", None):
            time.sleep(0.1)

    def _marked(self, name: str, code: int | None) -> dict[str, Any] | None:
        """Return the end record if the folder has the marker file `name`, else None."""
        if not os.path.exists(self._path(name)):
            return None
        why = "cancelled" if name == "cancelled" else "its time was over"
        return {"k": "end", "state": name, "exit": code, "why": why}

    def _once(self) -> dict[str, Any]:
        """Run the command once; return its end record."""
        if self.ending:
            return {"k": "end", "state": "died", "exit": None, "why": "its host went down"}
        try:
            command = self.command = self._start()
        except (OSError, ValueError) as err:
            what = self.about.get("argv") or [self.about.get("shell")]
            text = "can't start %s: %s" % (what[0], getattr(err, "strerror", None) or err)
            data = text.encode("utf-8", "replace") + b"\n"
            self._write({"k": "stream", "seg": [["stderr", len(data)]]}, [data])
            return {"k": "end", "state": "error", "exit": 127, "why": text}
        self.process.update(pid=command.pid, started=processes.start_time(command.pid))
        with contextlib.suppress(OSError):  # a full disk must not delay the output
            folders.write_json(self._path("process.json"), self.process)
        self._copy(command)
        code = command.wait()
        self.command = None
        if code < 0:
            self._late_term()
        shown = 128 - code if code < 0 else code
        marked = self._marked("cancelled", shown) or self._marked("timeout", shown)
        if marked is not None:
            return marked
        if code < 0:
            why = "ended by signal %d" % -code
            if code == -signal.SIGKILL:
                why += " (SIGKILL); most likely the host ran out of memory"
            return {"k": "end", "state": "died", "exit": shown, "why": why}
        why = "exit code %d" % code if code else ""
        return {"k": "end", "state": "error" if code else "ok", "exit": code, "why": why}

    def _late_term(self) -> None:
        """Wait briefly for SIGTERM: at a shutdown it may arrive just after the command's."""
        until = time.monotonic() + (1.0 if self.policy != "never" else 0.0)
        while time.monotonic() < until and not self.ending:
            time.sleep(0.05)

    def _start(self) -> subprocess.Popen[bytes]:
        about = self.about
        env = dict(os.environ, PYTHONUNBUFFERED="1", GPUNB_RUN=self.id, GPUNB_ATTEMPT=str(self.attempt))
        env["PATH"] = os.path.dirname(sys.executable) + os.pathsep + env.get("PATH", os.defpath)
        placed = folders.read_json(self._path("placed.json")) or {}
        if placed.get("gpus"):
            env.update(CUDA_VISIBLE_DEVICES=",".join(placed["gpus"]), CUDA_DEVICE_ORDER="PCI_BUS_ID")
        env.update(about.get("env") or {})
        env.update(self.secrets)
        argv = about.get("argv") or ["/bin/sh", "-c", about["shell"]]
        cwd = os.path.expanduser(about.get("cwd") or "~")
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )

    def _overdue(self) -> None:
        """Kill a command that ignored TERM while the host shuts down."""
        if time.monotonic() > self.process.get("term_until", float("inf")) and self.command is not None:
            processes.send(processes.tree(self.command.pid, "GPUNB_RUN=" + self.id), signal.SIGKILL)

    def _copy(self, command: subprocess.Popen[bytes]) -> None:
        """Write the command's output, in the order read, until it ends and its pipes are empty."""
        selector = selectors.DefaultSelector()
        for name in ("stdout", "stderr"):
            pipe = getattr(command, name)
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, name)
        segments: list[tuple[str, bytes]] = []
        pending = 0
        flushed = 0.0
        dry_at = None
        while selector.get_map():
            now = time.monotonic()
            wait = flushed + MIN_GAP - now
            if segments and (wait <= 0 or pending >= MAX_RECORD):
                self._write(*joined(segments))
                segments, pending, flushed = [], 0, now
            events = selector.select(max(0.0, wait) if segments else 0.1)
            for key, _ in events:
                data = os.read(key.fd, 1 << 16)
                if data:
                    segments.append((key.data, data))
                    pending += len(data)
                else:
                    selector.unregister(key.fileobj)
            self._overdue()
            if command.poll() is not None:
                dry_at = dry_at or time.monotonic() + DRAIN
                if not events and not segments and time.monotonic() > dry_at:
                    break
        if segments:
            self._write(*joined(segments))
        selector.close()
        for pipe in (command.stdout, command.stderr):
            if pipe is not None:
                pipe.close()
