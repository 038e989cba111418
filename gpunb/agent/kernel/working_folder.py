"""The folder that cells run in, where the client says one, and modules in it that changed."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class WorkingFolder:
    """Enters a folder before a cell, once: where a cell goes from there, the next cell is, as in any kernel.

    Parameters
    ----------
    shell
        The kernel's IPython.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self._folder = ""
        self._next: Mapping[str, Any] = {}
        shell.events.register("pre_run_cell", self._begins)

    def expect(self, place: Mapping[str, Any]) -> None:
        """Note the next cell's ``folder``, the project's ``top`` above it, and its ``changed`` files."""
        self._next = place

    def _begins(self, *_: Any) -> None:
        place, self._next = self._next, {}
        folder, top = place.get("folder"), place.get("top")
        if not isinstance(folder, str) or not isinstance(top, str):
            return
        home = os.path.expanduser("~")
        folder, top = os.path.join(home, folder), os.path.join(home, top)
        if folder != self._folder or not _exists():
            try:
                os.chdir(folder)
            except OSError as err:
                sys.stderr.write("gpunb: the folder %s can't be entered: %s\n" % (folder, err.strerror))
                return
            for one in {self._folder, folder} & {*sys.path}:  # values of its classes may have come before
                sys.path.remove(one)
            self._folder = folder
            sys.path.insert(0, folder)
        changed = place.get("changed")
        if changed:
            self._forget(os.path.realpath(top), {str(path) for path in changed})

    def _forget(self, top: str, changed: set[str]) -> None:
        """Forget modules of which a file changed, packages whole, so that they are imported anew.

        Those that ``%autoreload`` watches are left to it: it updates their objects, too.
        """
        importlib.invalidate_caches()
        magics = self.shell.magics_manager.registry.get("AutoreloadMagics")
        auto = getattr(magics, "_reloader", None)
        auto = auto if getattr(auto, "enabled", False) else None
        ours = {}
        for name, module in list(sys.modules.items()):
            where = os.path.realpath(getattr(module, "__file__", None) or "/")
            if where.startswith(top + os.sep):
                ours[name] = where[len(top) + 1 :].replace(os.sep, "/")
        names = {name.partition(".")[0] for name, path in ours.items() if path in changed or "*" in changed}
        for name in ours:
            if auto and (name in auto.modules or (auto.check_all and name not in auto.skip_modules)):
                continue
            if name.partition(".")[0] in names:
                del sys.modules[name]


def _exists() -> bool:
    """Whether the working folder is still there."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False
