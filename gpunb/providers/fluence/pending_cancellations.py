"""Record of rentals that were cancelled before Fluence allows their termination.

Only an ACTIVE instance can be terminated. One that is cancelled while it is
INITIALIZED is recorded here, and ended when any process lists the instances
after it has become ACTIVE. One small file each, so that processes need no lock.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from gpunb import paths
from gpunb.providers.edge.text import segment
from gpunb.providers.fluence.api import TITLE

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Cancelled"]


class Cancelled:
    """The ids of cancelled rentals, separate for each address of the API."""

    def __init__(self, base_url: str) -> None:
        self._mark = hashlib.sha256(base_url.encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Return the folder of the files."""
        return paths.home() / "fluence" / f"cancelled-{self._mark}"

    def add(self, instance_id: str) -> None:
        """Record an id."""
        self._file(instance_id).touch(mode=0o600)

    def discard(self, instance_id: str) -> None:
        """Remove an id, after its end."""
        self._file(instance_id).unlink(missing_ok=True)

    def ids(self) -> set[str]:
        """List the recorded ids."""
        try:
            return {path.name.replace("+", ":") for path in self.folder.iterdir()}
        except FileNotFoundError:
            return set()

    def age(self, instance_id: str) -> float:
        """Return the seconds since the id was recorded; 0 if it is not."""
        try:
            return max(0.0, time.time() - self._file(instance_id).stat().st_mtime)
        except FileNotFoundError:
            return 0.0

    def _file(self, instance_id: str) -> Path:
        kind, colon, rest = instance_id.rpartition(":")
        name = f"{kind}+{segment(rest, TITLE)}" if colon else segment(instance_id, TITLE)
        return paths.private_dir(self.folder) / name
