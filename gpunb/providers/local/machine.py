"""Hardware of this machine: processor, memory, disk, and the GPUs that ``nvidia-smi`` shows."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

__all__ = ["cores", "cpu_model", "disk_free_gb", "gpus", "ram_gb"]

_SMI = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


def cores() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_model() -> str:
    """Return the processor's name, as the kernel gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def ram_gb() -> float:
    """Return the memory of the machine, GB."""
    return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE") / 1e9


def disk_free_gb(path: Path) -> float:
    """Return the GB that this user may still write where `path` is or will be."""
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).free / 1e9
        except OSError:  # does not exist yet, or is not readable
            continue
    return 0.0


def gpus() -> list[tuple[str, float]]:
    """Return name and memory in GB of each GPU; empty without a working ``nvidia-smi`` on the PATH."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run(
            [tool, *_SMI], capture_output=True, text=True, errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    result = []
    for line in done.stdout.splitlines() if done.returncode == 0 else []:
        name, _, memory = line.rpartition(",")
        try:
            result.append((name.strip(), float(memory) / 1024))
        except ValueError:
            continue
    return result
