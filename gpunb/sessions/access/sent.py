"""Local copies of the code sent to hosts, since a host may later report other code.

One file a run beside the session's keys, mode 0600, without the run's secrets. It
is written before the request leaves, so that what runs is known even if this
process ends.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gpunb import log, paths
from gpunb.errors import GpunbError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["keep", "source"]

FIELDS = ("code", "argv", "shell")
_RUN = re.compile(r"[a-z0-9]{1,64}\Z")


def _path(session_id: str, run_id: str) -> Path | None:
    return paths.session_dir(session_id) / "sent" / f"{run_id}.json" if _RUN.match(run_id) else None


def keep(session_id: str, run_id: str, asked: Mapping[str, Any]) -> None:
    """Save the code or command of run `run_id`; errors are ignored."""
    path = _path(session_id, run_id)
    if path is None:
        return
    try:
        paths.private_dir(path.parent)
        paths.write_private(path, json.dumps({name: asked.get(name) for name in FIELDS}))
    except (GpunbError, OSError) as err:
        log.get(__name__).warning("what run %s runs could not be noted: %s", run_id, err)


def source(session_id: str, run_id: str) -> dict[str, Any] | None:
    """The saved ``code``, ``argv`` or ``shell`` of a run; None if it was not sent from here."""
    path = _path(session_id, run_id)
    try:
        found = json.loads(path.read_text("utf-8")) if path is not None else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
