"""Run folders made in advance.

Creating a folder and two files takes longer than all else that the agent does
for an empty cell, so it is done while the agent is idle. A folder becomes a run's
by one rename; until then its name begins with a dot, and listings of runs skip
it.
"""

from __future__ import annotations

import os
import shutil
import threading

MOST = 8
PREFIX = ".spare-"
SOON = 0.002  # seconds after a cell's end until another is made, once the end has been sent


class Spares:
    """A few empty run folders in `parent`, each with an empty ``about.json`` and ``journal``."""

    def __init__(self, parent: str) -> None:
        self.parent = parent
        self._ready: list[str] = []
        self._number = 0
        self._filling = threading.Lock()
        for name in os.listdir(parent):
            if name.startswith(PREFIX):  # an earlier agent's
                shutil.rmtree(os.path.join(parent, name), ignore_errors=True)

    def fill(self) -> None:
        """Make the missing folders; to be called in a thread. Stops on a full disk."""
        with self._filling:
            while len(self._ready) < MOST:
                folder = os.path.join(self.parent, "%s%d" % (PREFIX, self._number))
                self._number += 1
                try:
                    os.mkdir(folder, 0o700)
                    for name in ("about.json", "journal"):
                        os.close(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT, 0o600))
                except OSError:
                    return
                self._ready.append(folder)

    def take(self, folder: str) -> bool:
        """Rename a spare folder to `folder`; False if there is none, and the caller must make it.

        Raises
        ------
        OSError
            There is such a folder with something in it.
        """
        try:
            spare = self._ready.pop()
        except IndexError:
            return False
        try:
            os.rename(spare, folder)
        except FileNotFoundError:  # a clean-up removed it
            return False
        return True
