"""A job's keeper: starts the command, writes its journal, stays until it ends.

One small process a job, in a session of its own, so that neither a broken
line nor the end of the agent touches the job or a byte that it prints.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from typing import Any

from . import places, processes
from .journal import MAX_RECORD, MIN_GAP, Journal, joined

DRAIN = 0.5  # seconds to read on after the command ended, for what its children hold open


def main(argv: list[str]) -> int:
    """Keep the job whose folder is ``argv[0]``."""
    folder = argv[0]
    about = places.read_json(os.path.join(folder, "about.json"))
    journal = Journal(os.path.join(folder, "journal"), about["id"])
    process = {"keeper": os.getpid(), "keeper_started": processes.start_time(os.getpid())}
    places.write_json(os.path.join(folder, "process.json"), process)
    if not journal.last_head:
        journal.append({"k": "start", "kind": "job", "name": about.get("name", "")})
    try:
        command = _start(about)
    except OSError as err:
        what = about.get("argv") or [about.get("shell")]
        text = "can't start %s: %s" % (what[0], err.strerror or err)
        journal.append({"k": "stream", "seg": [["stderr", len(text) + 1]]}, [text.encode() + b"\n"])
        journal.append({"k": "end", "state": "error", "exit": 127, "why": text})
        return 0
    process.update(pid=command.pid, started=processes.start_time(command.pid))
    places.write_json(os.path.join(folder, "process.json"), process)
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    _copy(command, journal)
    code = command.wait()
    if os.path.exists(os.path.join(folder, "cancelled")):
        journal.append({"k": "end", "state": "cancelled", "exit": _shell_code(code), "why": "cancelled"})
    elif os.path.exists(os.path.join(folder, "timeout")):
        journal.append(
            {"k": "end", "state": "timeout", "exit": _shell_code(code), "why": "its time was over"}
        )
    elif code < 0:
        why = "ended by signal %d" % -code
        if code == -signal.SIGKILL:
            why += " (SIGKILL); most likely the host ran out of memory"
        journal.append({"k": "end", "state": "died", "exit": _shell_code(code), "why": why})
    else:
        state = "ok" if code == 0 else "error"
        journal.append(
            {"k": "end", "state": state, "exit": code, "why": "" if code == 0 else "exit code %d" % code}
        )
    return 0


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code


def _start(about: dict[str, Any]) -> subprocess.Popen[bytes]:
    env = dict(os.environ, PYTHONUNBUFFERED="1", GPUNB_RUN=about["id"])
    env["PATH"] = os.path.dirname(sys.executable) + os.pathsep + env.get("PATH", os.defpath)
    env.update(about.get("env") or {})
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


def _copy(command: subprocess.Popen[bytes], journal: Journal) -> None:
    """Write what the command prints, in the order read, until it ends and its pipes are dry."""
    selector = selectors.DefaultSelector()
    for name in ("stdout", "stderr"):
        pipe = getattr(command, name)
        os.set_blocking(pipe.fileno(), False)
        selector.register(pipe, selectors.EVENT_READ, name)
    segments: list[tuple[str, bytes]] = []
    pending = 0
    flushed = 0.0
    lost = 0
    dry_at = None
    while selector.get_map():
        now = time.monotonic()
        wait = flushed + MIN_GAP - now
        if segments and (wait <= 0 or pending >= MAX_RECORD):
            lost = _write(journal, segments, lost)
            segments, pending, flushed = [], 0, now
        events = selector.select(max(0.0, wait) if segments else 0.1)
        for key, _ in events:
            data = os.read(key.fd, 1 << 16)
            if data:
                segments.append((key.data, data))
                pending += len(data)
            else:
                selector.unregister(key.fileobj)
        if command.poll() is not None:
            dry_at = dry_at or time.monotonic() + DRAIN
            if not events and not segments and time.monotonic() > dry_at:
                break
    if segments:
        _write(journal, segments, lost)


def _write(journal: Journal, segments: list[tuple[str, bytes]], lost: int) -> int:
    head, parts = joined(segments)
    try:
        if lost:
            journal.append({"k": "lost", "bytes": lost, "why": "the host's disk was full"})
            lost = 0
        journal.append(head, parts)
    except OSError:
        lost += len(parts[0])
    return lost
