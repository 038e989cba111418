"""Small files shared by several processes: replaced atomically, private, never partially written."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gpunb.errors import InstanceGone, Unavailable
from gpunb.paths import write_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["locked", "read_json", "write_json"]


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace `path` by JSON in one step, keys sorted; raise `OSError` on failure."""
    write_private(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read the object in `path`; None if there is no such file.

    Raises
    ------
    ValueError
        The file holds something else than a JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    value = json.loads(text)
    if not isinstance(value, dict):
        msg = f"{path.name} holds a {type(value).__name__} where an object is expected"
        raise ValueError(msg)  # noqa: TRY004  (damaged content, like the JSON error beside it)
    return value


@contextmanager
def locked(directory: Path, *, timeout: float = 60.0) -> Iterator[None]:
    """Lock the instance in `directory` against changes by other processes.

    Raises
    ------
    InstanceGone
        The folder is not there, or went while we waited.
    Unavailable
        Another process held it for `timeout` seconds.
    """
    gone = f"there is no local instance {directory.name}"
    try:
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        raise InstanceGone(gone, provider="local") from None
    except OSError as err:
        msg = f"local instance {directory.name} can't be locked: {err.strerror}"
        raise Unavailable(msg, provider="local", hint=f"make {directory} writable") from err
    try:
        limit = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > limit:
                    name = directory.name
                    msg = f"another process has been busy with local instance {name} for {timeout:.0f} s"
                    raise Unavailable(msg, provider="local", hint="try again in a moment") from None
                time.sleep(0.02)
        if not directory.is_dir():
            raise InstanceGone(gone, provider="local")
        yield
    finally:
        os.close(handle)
