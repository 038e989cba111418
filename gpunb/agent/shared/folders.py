"""The agent's folders, sockets and lock files on the host.

``~/.gpunb`` holds what must survive a reboot; sockets live in a short private
folder, since a Unix socket's path is limited to about 100 bytes and home
folders are not always able to hold one. On a machine that several sessions
share, each login of a session has the variable ``GPUNB_FOLDER``, which names
a folder of its own in the place of ``~/.gpunb``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
import tempfile
import time
from typing import IO, Any

from . import clock, processes


def base() -> str:
    """The session's folder, made if needed, readable by its owner only."""
    return _made(os.environ.get("GPUNB_FOLDER") or os.path.join(os.path.expanduser("~"), ".gpunb"))


def runs() -> str:
    """The folder that holds the runs' folders."""
    return _made(os.path.join(base(), "runs"))


def _made(path: str) -> str:
    if not os.path.isdir(path):  # called with every run, and nearly always true
        os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def sockets() -> str:
    """The private folder for sockets.

    Raises
    ------
    PermissionError
        Another user owns a folder of that name, or others may enter it.
    """
    owner = os.environ.get("GPUNB_FOLDER") or os.path.expanduser("~")
    digest = hashlib.sha256(os.path.realpath(owner).encode("utf-8", "surrogateescape")).hexdigest()
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
    """The socket of an agent that starts now."""
    return os.path.join(sockets(), "agent")


def agent_file() -> str:
    """The file with the live agent's process and socket path.

    A login may have another XDG_RUNTIME_DIR or TMPDIR than the one under which the agent began.
    """
    return os.path.join(base(), "agent.json")


def take(path: str) -> IO[str] | None:
    """Lock the file `path` while it is open; None if another process holds it.

    Home folders on NFS and Lustre are often mounted without flock(2). There the lock is another
    file, which names its owner.
    """
    lock = open(path, "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        if isinstance(err, BlockingIOError) or not _own(path + ".owner"):
            lock.close()
            return None
    return lock


def _own(path: str) -> bool:
    """Claim the file `path` for this process, unless the process that it names is alive."""
    mine = {"pid": os.getpid(), "started": processes.start_time(os.getpid()), "boot": clock.boot()}
    for _ in range(50):
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            known = read_json(path)
            if known is None and _age(path) < 2.0:  # another process is writing it
                time.sleep(0.1)
                continue
            known = known if isinstance(known, dict) else {}
            if known.get("boot") == clock.boot() and processes.alive(known.get("pid"), known.get("started")):
                return False
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        else:
            write_json(path, mine)
            return True
    return False


def _age(path: str) -> float:
    try:
        return abs(time.time() - os.stat(path).st_mtime)
    except OSError:
        return 0.0


def write_json(path: str, value: Any) -> None:
    """Write `value` to a temporary file and rename it, so that a reader sees old or new."""
    beside = "%s.%d" % (path, os.getpid())
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(json.dumps(value))
    os.replace(beside, path)


def read_json(path: str) -> Any:
    """Read the value in `path`; None if it is missing or not JSON."""
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
