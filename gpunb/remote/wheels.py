"""Download wheels for a host that can't reach a package index, for its Python and system.

Any ``pip`` of this machine downloads them; they are kept in gpunb's folder, by
Python version and system.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
import zlib
from typing import TYPE_CHECKING, Any

from gpunb import isolated, paths
from gpunb.errors import BootstrapFailed
from gpunb.progress import SILENT, Progress

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["archive"]

TIMEOUT = 600.0  # seconds
LIMIT = 256 << 20  # bytes; the agent's `install` takes no more
_VERSION = re.compile(r"^3\.(\d{1,2})$")
_MACHINE = re.compile(r"^[a-z0-9_]{1,20}$")


def archive(wanted: dict[str, Any], progress: Progress = SILENT) -> bytes:
    """Build a compressed tar of ipykernel and its dependencies.

    Parameters
    ----------
    wanted
        The host's request: ``python`` ("3.11"), ``machine`` ("x86_64"),
        ``glibc`` (minor version, 0 if it has another C library).

    Raises
    ------
    BootstrapFailed
        The download fails here too, or the host's request names no known system.
    """
    folder = _folder(wanted)
    if not (folder / "complete").exists():
        progress.say("the host can't reach a package index; downloading for it here")
        _download(wanted, folder)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folder.glob("*.whl")):
            tar.add(path, path.name)
    data = zlib.compress(out.getvalue(), 1)
    if len(data) > LIMIT:
        msg = f"the wheels for the host are {len(data)} bytes, over the limit of {LIMIT}"
        raise BootstrapFailed(msg)
    progress.say(f"sending {len(data) / 1e6:.0f} MB of packages to the host")
    return data


def _folder(wanted: dict[str, Any]) -> Path:
    python, machine, glibc = str(wanted.get("python")), str(wanted.get("machine")), wanted.get("glibc")
    if not _VERSION.match(python) or not _MACHINE.match(machine) or not isinstance(glibc, int):
        msg = f"the host asks for wheels of an unknown system: {str(wanted)[:200]}"
        raise BootstrapFailed(msg)
    return paths.private_dir(paths.home() / "wheels" / f"{python}-{machine}-{min(glibc, 99)}")


def _platforms(machine: str, glibc: int) -> list[str]:
    """Return the platform tags that the host's pip accepts, newest first (PEP 600)."""
    if glibc <= 0:
        return [f"musllinux_1_{minor}_{machine}" for minor in (2, 1)]
    found = [f"manylinux_2_{minor}_{machine}" for minor in range(min(glibc, 60), 4, -1)]
    return [*found, f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}"]


def _download(wanted: dict[str, Any], folder: Path) -> None:
    minor = str(wanted["python"]).partition(".")[2]
    tags = _platforms(str(wanted["machine"]), int(wanted["glibc"]))
    argv = [*_pip(), "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    argv += ["--dest", str(folder), "--implementation", "cp", "--python-version", f"3.{minor}"]
    for abi in (f"cp3{minor}", "abi3", "none"):
        argv += ["--abi", abi]
    for tag in tags:
        argv += ["--platform", tag]
    try:
        done = subprocess.run([*argv, "ipykernel"], capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as err:
        msg = f"neither the host nor this machine got ipykernel within {TIMEOUT:.0f} s"
        raise _failed(msg) from err
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip()[-600:]
        msg = f"neither the host nor this machine can get ipykernel from a package index: {words}"
        raise _failed(msg)
    (folder / "complete").touch()


def _pip() -> list[str]:
    """Find a pip on this machine, of any Python."""
    tried = [sys.executable, *(shutil.which(name) for name in ("python3", "python"))]
    for python in tried:
        if python is None:
            continue
        argv = isolated.argv("pip", python=python)
        if subprocess.run([*argv, "--version"], capture_output=True, check=False).returncode == 0:
            return argv
    msg = "the host can't reach a package index, and this machine has no pip to download for it"
    raise _failed(msg)


def _failed(msg: str) -> BootstrapFailed:
    return BootstrapFailed(
        msg, bill="the instance runs and is billed", hint="rent with an image that has ipykernel"
    )
