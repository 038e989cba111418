"""One file for OpenSSH's ``Include``, with a block for each live session; kept up to date once it is there.

The user's own ``~/.ssh`` is not changed: its ``config`` includes this file by a line that the user adds once.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from gpunb import log, paths
from gpunb.errors import GpunbError
from gpunb.hints import typed
from gpunb.sessions.access import host_access
from gpunb.sessions.model import SessionState
from gpunb.ssh import config_block

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gpunb.sessions.model import Session

__all__ = ["file", "host_name", "include_line", "install", "is_included", "refresh", "remove"]

_HEAD = "# written anew whenever an address changes; " + typed("ssh --config --remove") + " removes it\n"
_WITH_ADDRESS = frozenset({SessionState.REACHABLE, SessionState.READY})


def file() -> Path:
    """Where the file is, or would be."""
    return paths.home() / "ssh_config"


def host_name(session: Session) -> str:
    """The name by which ssh knows the session's host."""
    return f"gpunb-{session.name}"


def include_line() -> str:
    """The line for the top of ``~/.ssh/config``."""
    return f'Include "{file()}"'


def install(sessions: Iterable[Session]) -> Path:
    """Write the file; from now on `refresh` keeps it up to date.

    Raises
    ------
    OSError
        It can't be written.
    """
    path = file()
    paths.private_dir(path.parent)
    paths.write_private(path, _text(sessions))
    return path


def refresh(sessions: Iterable[Session]) -> None:
    """Bring the file up to date, if it was installed. It never fails: a problem is in the log."""
    path = file()
    try:
        old = path.read_text("utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as err:
        log.get(__name__).warning("%s can't be read: %s", path, err)
        return
    text = _text(sessions)
    if text != old:
        try:
            paths.write_private(path, text)
        except (OSError, GpunbError) as err:
            log.get(__name__).warning("%s can't be written: %s", path, err)


def remove() -> bool:
    """Remove the file; returns whether there was one. An ``Include`` of a missing file is no error to ssh."""
    try:
        file().unlink()
    except FileNotFoundError:
        return False
    return True


def is_included(session: Session) -> bool:
    """Whether plain ``ssh gpunb-NAME`` leads to the session; ssh itself is asked what its files say."""
    endpoint = host_access.endpoint(session)
    try:
        shown = subprocess.run(
            ["ssh", "-G", host_name(session)], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    return (found.get("hostname"), found.get("port")) == (endpoint.host, str(endpoint.port)) and os.fspath(
        endpoint.key
    ) in shown


def _text(sessions: Iterable[Session]) -> str:
    blocks = []
    for session in sorted(sessions, key=lambda one: one.name):
        if session.state not in _WITH_ADDRESS:
            continue
        try:
            blocks.append(config_block(host_access.endpoint(session), host_name(session)))
        except GpunbError as err:
            blocks.append(f"# {session.name}: {err.message}\n".replace("\r", " "))
    return "\n".join([_HEAD, *blocks])
