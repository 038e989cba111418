"""The project that was sent to a session's host, as it was then: beside the session's keys, mode 0600.

It is written before a run starts, so that whoever ends the session knows what the run wrote. Without it
the whole folder comes back, which loses nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gpunb import log, paths
from gpunb.sync.written import SentFolder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["keep", "load"]


def _path(session_id: str) -> Path:
    return paths.session_dir(session_id) / "project.json"


def keep(session_id: str, sent: SentFolder) -> None:
    """Save what was sent.

    Raises
    ------
    OSError
        The disk is full, or the folder can't be written.
    """
    text = json.dumps({"folder": sent.folder, "files": dict(sent.files)})
    paths.write_private(_path(session_id), text)


def load(session_id: str) -> SentFolder | None:
    """What was sent to the session's host; None if nothing was, or it can't be read."""
    try:
        found = json.loads(_path(session_id).read_text("utf-8"))
        return SentFolder(str(found["folder"]), {str(one): str(told) for one, told in found["files"].items()})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as err:
        log.get(__name__).warning("what was sent to %s can't be read: %s", session_id, err)
        return None
