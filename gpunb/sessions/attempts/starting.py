"""The process that rents the next machine of a run and begins it there: apart from the supervisor.

It belongs to nobody who could be closed: the session that it works for is in the ledger, and if it dies,
the supervisor starts another one.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from gpunb import isolated, paths

if TYPE_CHECKING:
    from gpunb.sessions.model import Session

__all__ = ["COMMAND", "start"]

COMMAND = tuple(isolated.argv("gpunb.services.once.next_machine"))


# They outlive us on purpose; dropping a handle would make Python warn of a child not waited for.
_running: dict[str, subprocess.Popen[bytes]] = {}


def start(session: Session) -> None:
    """Start that process for `session`, unless the last one for it still runs."""
    for ident, child in list(_running.items()):
        if child.poll() is not None:
            _running.pop(ident, None)
    if session.id in _running:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    out = paths.private_opener(str(paths.private_dir(paths.home() / "log") / "once.out"), flags)
    try:
        _running[session.id] = subprocess.Popen(
            [*COMMAND, session.id],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=paths.home(),
        )
    finally:
        os.close(out)
