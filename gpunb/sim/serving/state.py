"""The marker file of a running simulation, and its start and end.

``<home>/sim/clouds.json`` maps each provider to its address and key while the
simulation runs: gpunb's settings read ``providers`` from it, below everything
that the user set and above the built-in addresses. It is there as long as the
process is; the process ends when the file is gone.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

from gpunb import isolated, paths
from gpunb.errors import GpunbError, WrongState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# the processes that this process started: kept, so that they are waited for when they have ended
_children: dict[int, subprocess.Popen[bytes]] = {}

__all__ = ["directory", "marker_file", "read_marker", "start", "stop", "write_marker"]


def directory() -> Path:
    """Return the simulation's folder: marker, log, hosts."""
    return paths.sim_dir()


def marker_file() -> Path:
    """Return the path of the marker file, which exists while a simulation runs."""
    return directory() / "clouds.json"


def write_marker(path: Path, providers: Mapping[str, Mapping[str, Any]], *, active: bool) -> bytes:
    """Write the marker in one step, readable by its owner only; returns its bytes.

    Parameters
    ----------
    active
        Whether gpunb itself uses the simulation; otherwise only processes
        with its environment variables do.
    """
    content = json.dumps(
        {"pid": os.getpid(), "started": time.time(), "active": active, "providers": providers}, indent=1
    ).encode()
    paths.private_dir(path.parent)
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_bytes(content)
    scratch.chmod(0o600)
    scratch.replace(path)
    return content


def read_marker() -> dict[str, Any] | None:
    """Read the marker; None if no simulation runs. A marker whose process is dead is removed."""
    path = marker_file()
    try:
        data = json.loads(path.read_bytes())
        pid = int(data["pid"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as err:
        msg = f"the simulation's file {path} can't be read: {err}"
        raise GpunbError(msg, hint=f"remove {path}") from err
    if not _alive(pid):
        path.unlink(missing_ok=True)
        return None
    return dict(data)


def start(options: Mapping[str, Any], *, timeout: float = 30.0) -> dict[str, Any]:
    """Start the detached process and wait until its clouds answer.

    Raises
    ------
    WrongState
        One runs already.
    GpunbError
        It did not start; the message ends with its last output.
    """
    if read_marker() is not None:
        msg = "a simulation is up already"
        raise WrongState(msg, hint="gpunb sim status, or gpunb sim down first")
    folder = paths.private_dir(directory())
    log = folder / "sim.log"
    full = {**options, "marker": str(marker_file()), "root": str(folder / "hosts")}
    with open(log, "ab", opener=paths.private_opener) as out:
        process = subprocess.Popen(
            isolated.argv("gpunb.sim.serving.runner", json.dumps(full)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    _children[process.pid] = process
    until = time.monotonic() + timeout
    while (result := read_marker()) is None:
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            process.wait()
            words = log.read_text("utf-8", "replace").strip().splitlines()
            msg = f"the simulation did not start: {words[-1] if words else f'exit code {process.returncode}'}"
            raise GpunbError(msg, hint=f"its log is {log}; is gpunb[sim] installed?")
        time.sleep(0.05)
    return result


def stop(*, timeout: float = 30.0) -> bool:
    """End the simulation and all its hosts; return False if there was none."""
    found = read_marker()
    if found is None:
        return False
    pid = int(found["pid"])
    # the process ends by itself when its marker is gone, so no recycled pid is killed
    marker_file().unlink(missing_ok=True)
    until = time.monotonic() + timeout
    while _alive(pid):
        if time.monotonic() > until:
            msg = f"the simulation (process {pid}) does not end"
            raise GpunbError(msg, hint=f"kill {pid}")
        time.sleep(0.05)
    return True


def _alive(pid: int) -> bool:
    """Return whether the process runs; a child of ours that ended is waited for."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
