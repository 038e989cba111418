"""Where the agent keeps its files on the host, and who may read them.

``~/.gpunb`` holds what must survive a reboot; sockets live in a short private
folder, since a Unix socket's path is limited to about 100 bytes and home
folders are not always able to hold one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from typing import Any


def base() -> str:
    """``~/.gpunb``, made if need be, readable by its owner only."""
    return _made(os.path.join(os.path.expanduser("~"), ".gpunb"))


def runs() -> str:
    """The folder of the runs' folders."""
    return _made(os.path.join(base(), "runs"))


def _made(path: str) -> str:
    if not os.path.isdir(path):  # asked for with every run, and it nearly always is
        os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def sockets() -> str:
    """The private folder of the sockets.

    Raises
    ------
    PermissionError
        Somebody else made a folder of that name, or others may enter it.
    """
    digest = hashlib.sha256(
        os.path.realpath(os.path.expanduser("~")).encode("utf-8", "surrogateescape")
    ).hexdigest()
    parent = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    if len(parent) > 60 or not os.path.isdir(parent):
        parent = "/tmp"  # noqa: S108 - the folder made in it is private and checked
    path = os.path.join(parent, "gpunb-%d-%s" % (os.getuid(), digest[:10]))
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise PermissionError("%s is not a private folder of this user" % path)
    return path


def agent_socket() -> str:
    """The socket on which the agent answers."""
    return os.path.join(sockets(), "agent")


def write_json(path: str, value: Any) -> None:
    """Write `value` beside `path` and rename, so that a reader sees old or new."""
    beside = "%s.%d" % (path, os.getpid())
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(json.dumps(value))
    os.replace(beside, path)


def read_json(path: str) -> Any:
    """The value in `path`, or None if it is not there or not JSON."""
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
