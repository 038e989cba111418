"""Detached supervisors that a test's rent has started: ended, as nothing else would."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psutil

from gpunb.sessions.supervisor import watchers

if TYPE_CHECKING:
    from pathlib import Path


def end_supervisors(home: Path) -> None:
    """Terminate every ``gpunb supervise`` whose GPUNB_HOME is `home`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if "supervise" in process.cmdline() and process.environ().get("GPUNB_HOME") == str(home):
                process.terminate()
                found.append(process)
    _, alive = psutil.wait_procs(found, timeout=10)
    for process in alive:
        process.kill()
    for child in watchers._children:
        child.wait(10)
    watchers._children.clear()
