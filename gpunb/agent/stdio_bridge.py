"""The bridge on the host between an SSH channel's stdin and stdout and the agent's socket."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time

from .shared import folders, processes
from .shared.bulk_channel import lend

CHUNK = 1 << 18
START_TIMEOUT = 40.0  # seconds: less than the client's timeout, so that it gets our error


def _connect(path: str) -> socket.socket | None:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(path)
    except OSError:
        line.close()
        return None
    return line


def agent_line(python: str, package: str, version: str) -> socket.socket:
    """Connect to the agent, and start it if there is none.

    Raises
    ------
    TimeoutError
        The agent did not start; the message has the end of its log.
    """
    line, lives = _find()
    if line is not None:
        return line
    log_path = os.path.join(folders.base(), "agent.out")
    if not lives:  # a live agent will soon listen again
        log = open(log_path, "wb")
        try:
            subprocess.call(  # returns at once: the agent detaches
                [python, package, "serve", version],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=os.path.expanduser("~"),
            )
        finally:
            log.close()
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        line, _ = _find()
        if line is not None:
            return line
        time.sleep(0.01)
    words = [_tail(path) for path in (os.path.join(folders.base(), "agent.log"), log_path)]
    text = "; ".join(word for word in words if word) or "it has said nothing"
    what = "runs and does not listen" if lives else "did not start"
    raise TimeoutError("the agent %s within %d s: %s" % (what, START_TIMEOUT, text))


def _find() -> tuple[socket.socket | None, bool]:
    """Connect to the agent at its recorded or default socket; return also whether it is alive."""
    known = folders.read_json(folders.agent_file())
    if isinstance(known, dict) and isinstance(known.get("socket"), str):
        line = _connect(known["socket"])
        if line is not None or processes.alive(known.get("pid"), known.get("started")):
            return line, True
    return _connect(folders.agent_socket()), False


def _tail(path: str) -> str:
    """Return the end of a log."""
    try:
        with open(path, "rb") as file:
            return file.read()[-300:].decode("utf-8", "replace").strip()
    except OSError:
        return ""


def copy(source: int, sink: int) -> None:
    """Copy bytes from the descriptor `source` to `sink` until either closes."""
    try:
        while True:
            data = os.read(source, CHUNK)
            if not data:
                return
            view = memoryview(data)
            while view:
                view = view[os.write(sink, view) :]
    except OSError:
        return


def join(line: socket.socket, ready: bytes) -> int:
    """Write `ready`, then copy bytes both ways until the channel or the agent ends."""
    os.write(1, ready)

    def outward() -> None:
        copy(line.fileno(), 1)
        os._exit(0)  # the agent is gone, or the reader is

    threading.Thread(target=outward, daemon=True).start()
    copy(0, line.fileno())
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    return 0


def attach(python: str, package: str, version: str, nonce: str) -> int:
    """Join this process's stdin and stdout to the agent."""
    return join(agent_line(python, package, version), b"\n%s ready\n" % nonce.encode())


def bulk(token: str, nonce: str) -> int:
    """Listen on a private socket for one transfer of variables, and pass stdin and stdout to its client."""
    path = os.path.join(folders.sockets(), "b" + token)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    try:
        os.chmod(path, 0o600)
        server.listen(1)
        os.write(1, b"\n%s ready %s\n" % (nonce.encode(), path.encode()))
        if not _called(server):
            return 1
        line, _ = server.accept()
    finally:
        os.unlink(path)
        server.close()
    with line:
        lend(line)
    return 0


def _called(server: socket.socket) -> bool:
    """Wait until the kernel calls, after its running cell; False if the user is gone before."""
    poll = select.poll()
    poll.register(server, select.POLLIN)
    poll.register(1, 0)  # that its reader has gone is always reported
    return any(end == server.fileno() for end, _ in poll.poll())


def main(argv: list[str]) -> int:
    """Run one of the verbs that the client asks for over SSH."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if argv[0] == "attach":
        return attach(sys.executable, package, argv[1], argv[2])
    return bulk(argv[1], argv[2])
