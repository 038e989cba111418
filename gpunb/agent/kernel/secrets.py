"""Runs inside the kernel: sets a cell's secrets in the environment while the cell runs.

They come over a private socket, so they are in no code, history or file.
"""

from __future__ import annotations

import json
import os
import socket

MOST = 1 << 20  # bytes

_before: dict[str, str | None] = {}


def lend(path: str) -> None:
    """Set the variables that the agent sends on the socket `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(10)
        line.connect(path)
        data = b""
        while len(data) <= MOST:
            more = line.recv(65536)
            if not more:
                break
            data += more
    for name, value in json.loads(data.decode("utf-8")).items():
        _before.setdefault(name, os.environ.get(name))
        os.environ[name] = value


def take_back() -> None:
    """Restore the variables that were there before."""
    while _before:
        name, value = _before.popitem()
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
