"""Kernelspecs: Jupyter offers each live session's host as a kernel for whole notebooks.

One folder a session in the user's own Jupyter data folder (``JUPYTER_DATA_DIR``
overrides it). It holds a name, an id and no secret.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb import isolated, log, paths
from gpunb.errors import LedgerUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpunb.sessions.model import Session

__all__ = ["folder", "install", "remove", "spec", "sweep"]

PREFIX = "gpunb-"
OWNER = "owner"  # in the metadata: whose ledger the session is in


def folder(session_id: str) -> Path:
    """The folder of the session's kernelspec."""
    return _kernels() / f"{PREFIX}{session_id.lower()}"


def spec(session: Session) -> dict[str, Any]:
    """The content of the session's kernel.json."""
    gpu = f"{session.gpus} x {session.gpu}" if session.gpus > 1 else session.gpu
    home = os.environ.get("GPUNB_HOME")
    result: dict[str, Any] = {
        "argv": isolated.argv(
            "gpunb.notebook.kernel_proxy.proxy", "-f", "{connection_file}", "--session", session.id
        ),
        "display_name": " · ".join(part for part in ("Python 3", gpu, session.name) if part),
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {
            "kernel_provisioner": {"provisioner_name": "gpunb", "config": {"session": session.id}},
            "gpunb": {"session": session.id, "name": session.name, OWNER: _owner()},
        },
    }
    if home:
        result["env"] = {"GPUNB_HOME": home}
    return result


def install(session: Session) -> Path | None:
    """Write the session's kernelspec; None if Jupyter's folder can't be written (not an error)."""
    path = folder(session.id)
    try:
        # a user who can write here decides what a notebook's kernel runs
        paths.private_dir(path)
        paths.write_private(path / "kernel.json", json.dumps(spec(session), indent=1, ensure_ascii=False))
    except (OSError, LedgerUnwritable) as err:
        log.get(__name__).warning("no kernelspec for %s: %s", session.name, err)
        return None
    return path


def remove(session_id: str) -> None:
    """Remove the session's kernelspec, if there is one."""
    path = folder(session_id)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)


def sweep(alive: Iterable[Session]) -> list[str]:
    """Remove the kernelspecs of this ledger's ended sessions; returns their ids."""
    keep = {session.id for session in alive}
    gone = []
    for path in sorted(_kernels().glob(f"{PREFIX}*/kernel.json")):
        try:
            about = json.loads(path.read_text("utf-8"))["metadata"]["gpunb"]
            session_id, owner = str(about["session"]), about[OWNER]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not ours
        if owner == _owner() and session_id not in keep:
            remove(session_id)
            gone.append(session_id)
    return gone


def _kernels() -> Path:
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "kernels"


def _owner() -> str:
    return str(paths.home())
