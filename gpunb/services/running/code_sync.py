"""Sync of local modules: the notebook's folder is sent before a cell that imports from it."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpunb.remote import AgentClient
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["send"]

WAIT_S = 120.0
_MAKE_IMPORTABLE = """
import importlib, os, sys
folder = os.path.join(os.path.expanduser("~"), base)
if folder not in sys.path:
    sys.path.insert(0, folder)
importlib.invalidate_caches()
magics = get_ipython().magics_manager.registry.get("AutoreloadMagics")
auto = getattr(magics, "_reloader", None)
auto = auto if getattr(auto, "enabled", False) else None
for name in list(sys.modules):
    where = getattr(sys.modules[name], "__file__", None) or ""
    if auto and (name in auto.modules or (auto.check_all and name not in auto.skip_modules)):
        continue
    if name.partition(".")[0] in changed and (os.path.abspath(where) + os.sep).startswith(folder + os.sep):
        del sys.modules[name]
"""


def send(context: Workspace, session: Session, client: AgentClient, folder: str) -> None:
    """Send changed files of `folder`, and let the host's kernel import from it.

    Modules of which a file changed are forgotten there, packages whole, so
    that the next import takes them as they are now; objects made of the old
    ones stay what they are. Modules that ``%autoreload`` watches there are left to it,
    which also updates old objects.

    Raises
    ------
    SyncError
        A file did not go.
    """
    from gpunb.services import transfers

    base = Path(folder).resolve().name
    report = transfers.send(context, session, folder, f"{base}/", f"%%gpu --sync {folder}")
    changed = sorted(
        {
            PurePosixPath(item.path).parts[0].removesuffix(".py")
            for item in report.plan.items
            if item.path.endswith(".py")
        }
    )
    words = {"base": base, "changed": changed}
    code = f"exec({_MAKE_IMPORTABLE!r}, __import__('json').loads({json.dumps(words)!r}))"
    client.kernel_request("execute_request", {"code": code}, timeout=WAIT_S)
