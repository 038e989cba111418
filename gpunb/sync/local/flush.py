"""Flush files and folders to disk, so that a power cut after the host's end loses nothing."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from gpunb.errors import SyncError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["flush"]

MANY = 500  # from this number on, one sync(2) is quicker than an fsync for each file


def flush(paths: Sequence[Path]) -> None:
    """Flush the content of these files, and the entries of these folders, to disk.

    Raises
    ------
    SyncError
        The disk does not take it.
    """
    if len(paths) > MANY:
        os.sync()  # Linux waits for all of it (sync(2)); elsewhere the folders' own calls follow
        paths = [path for path in paths if path.is_dir()][-MANY:]
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as err:
            if path.is_dir():
                continue  # a folder that its owner may not read: its names are flushed with the rest
            msg = f"{path}: could not be flushed to the disk: {err.strerror or err}"
            raise SyncError(msg) from err
        try:
            if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync alone leaves it in the disk's own cache
                fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            else:
                os.fsync(handle)
        except OSError as err:
            msg = f"{path}: could not be flushed to the disk: {err.strerror or err}"
            raise SyncError(msg, hint="look at that disk before you end the session") from err
        finally:
            os.close(handle)
