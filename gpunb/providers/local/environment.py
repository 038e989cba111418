"""Environment of a host's processes, made from nothing."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.providers.local.processes import MARK

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HANDED_ON", "check_env", "environment", "remove_runtime_dir"]

# Variables of our environment that a host process needs; nothing else is passed on, so no
# key or token of the user's can be.
HANDED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "TMPDIR", "TZ")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RUNTIME_PREFIX = "gpunb-local-"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def check_env(env: Mapping[str, str]) -> None:
    """Refuse variables that no process could be started with, by name.

    Raises
    ------
    BadInput
        A name that is no variable's name, or a value that holds a NUL.
    """
    for name, value in env.items():
        if not _ENV_NAME.match(name):
            msg = f"env: {name!r} is not a variable's name (letters, digits and _, no digit first)"
            raise BadInput(msg, bill="nothing was rented")
        if "\0" in value:
            msg = f"env: the value of {name} has a NUL byte, which no variable can hold"
            raise BadInput(msg, bill="nothing was rented")


def environment(
    directory: Path, ident: str, user: str, more: Mapping[str, str], *, last: Mapping[str, str]
) -> dict[str, str]:
    """Build the environment of the host's processes from nothing.

    `last` is the one of its last launch: its run-time directory is used again if it is still there.
    """
    base = directory.absolute()
    inherited = [part for part in os.environ.get("PATH", "").split(":") if part.startswith("/")]
    path = [str(base / "bin"), str(Path(sys.executable).parent), *inherited, *_SYSTEM_PATH.split(":")]
    runtime = _runtime_dir(last)
    if runtime is None:
        # Unix socket paths end at 107 bytes (unix(7)), so not below a folder of any length
        short = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else None  # noqa: S108
        runtime = Path(tempfile.mkdtemp(prefix=_RUNTIME_PREFIX, dir=short))
    env = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    env.setdefault("LANG", "C.UTF-8")
    env |= dict(more)
    env |= {
        "HOME": str(base / "home"),
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh",
        "PATH": more.get("PATH") or ":".join(dict.fromkeys(path)),
        "XDG_RUNTIME_DIR": str(runtime),
        MARK: ident,
    }
    return env


def _runtime_dir(env: Mapping[str, str]) -> Path | None:
    """Return the run-time directory of `env`, if it exists and is certainly ours."""
    path = Path(env.get("XDG_RUNTIME_DIR", ""))
    if path.name.startswith(_RUNTIME_PREFIX) and path.is_dir() and not path.is_symlink():
        return path
    return None


def remove_runtime_dir(env: Mapping[str, str]) -> None:
    """Delete the run-time directory of a host that has ended."""
    runtime = _runtime_dir(env)
    if runtime is not None:
        shutil.rmtree(runtime, ignore_errors=True)
