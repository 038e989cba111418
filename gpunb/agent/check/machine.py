"""What the host is: its GPUs by ``nvidia-smi``, whether they work, the speed of its disk, cores and memory.

All parts run beside each other and each has a limit, so that a broken one costs seconds, not minutes.
A tool that is missing is no trouble: its values are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from typing import Any

from ..daemon import gpus, telemetry
from ..shared import folders
from . import gpu_work

SMI_S = 30.0  # a driver that does not answer by then is broken; eight GPUs take up to fifteen to wake
WORK_S = 4.5
DISK_S = 3.0
DISK_BYTES = 64 << 20
CHUNK = 4 << 20
BASIC = "name,memory.total,driver_version"
FURTHER = "ecc.errors.uncorrected.volatile.total,clocks_throttle_reasons.active,mig.mode.current"
# bits of the reasons why clocks are low: the hardware protects itself, by heat or by power
SLOWED = {0x08: "hardware slowdown", 0x40: "hardware thermal slowdown", 0x80: "power brake"}
_CUDA = re.compile(r"CUDA Version: *(\d+\.\d+)")
_SLICE = re.compile(r"^ +MIG +(\S+)", re.MULTILINE)


async def examine(*, with_gpus: bool, with_disk: bool) -> dict[str, Any]:
    """Examine the host.

    Returns
    -------
    dict
        ``gpus`` (a row each: ``name``, ``mib``, ``ecc``, ``slowed``), ``smi`` ("" if it answered, "missing",
        or its trouble), ``driver``, ``cuda``, ``slices`` (of MIG), ``image_cuda``, ``work`` (lines of
        `gpu_work`), ``work_over`` (whether that ended by itself), ``disk_mbps`` (MB/s), ``cores``, ``ram_gb``
        and ``took_s``.
    """
    began = time.monotonic()
    result: dict[str, Any] = {"cores": cores(), "ram_gb": ram_gb()}
    parts = []
    if with_gpus:
        result["image_cuda"] = image_cuda()
        parts += [_smi(), _work()]
    if with_disk:
        parts.append(asyncio.get_running_loop().run_in_executor(None, _disk))  # type: ignore[arg-type]
    for part in await asyncio.gather(*parts):
        result.update(part)
    result["took_s"] = round(time.monotonic() - began, 2)
    return result


async def _smi() -> dict[str, Any]:
    """Query ``nvidia-smi``; newer fields in a call of their own, for an old one refuses the whole list."""
    if gpus.program() is None:
        return {"smi": "missing", "gpus": []}
    try:
        rows, further, table = await asyncio.gather(
            gpus.query(BASIC, SMI_S), _maybe(gpus.query(FURTHER, SMI_S)), _maybe(gpus.run([], SMI_S))
        )
    except (gpus.SmiError, OSError) as err:
        return {"smi": str(err)[-300:] or "failed", "gpus": []}
    out = []
    for index, (name, total, _) in enumerate(rows):
        more = further[index] if further and index < len(further) else ["", "", ""]
        out.append({"name": name, "mib": _number(total), "ecc": _number(more[0]), "slowed": _slowed(more[1])})
    result: dict[str, Any] = {"smi": "", "gpus": out, "driver": rows[0][2] if rows else "", "slices": []}
    if table and (cuda := _CUDA.search(table)):
        result["cuda"] = cuda.group(1)
    if any(row[2] == "Enabled" for row in further or []):
        listed = await _maybe(gpus.run(["-L"], SMI_S))
        result["slices"] = _SLICE.findall(listed or "")
    return result


async def _maybe(asked: Any) -> Any:
    try:
        return await asked
    except (gpus.SmiError, OSError):
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _slowed(text: str) -> str:
    try:
        bits = int(text, 16)
    except ValueError:
        return ""
    return ", ".join(words for bit, words in SLOWED.items() if bits & bit)


async def _work() -> dict[str, Any]:
    """Run `gpu_work` for at most `WORK_S` seconds; what it printed until then counts."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        os.path.abspath(gpu_work.__file__),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    lines: list[dict[str, Any]] = []
    reading = asyncio.ensure_future(_lines(process.stdout, lines))
    _, late = await asyncio.wait([reading], timeout=WORK_S)
    if late:
        reading.cancel()
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    # a process that hangs in a broken driver does not end: nothing waits for it
    return {"work": lines, "work_over": not late}


async def _lines(stream: asyncio.StreamReader | None, into: list[dict[str, Any]]) -> None:
    while True:
        line = await stream.readline() if stream else b""
        if not line:
            return
        try:
            into.append(json.loads(line.decode("utf-8", "replace")))
        except ValueError:  # a library printed something of its own
            continue


def _disk() -> dict[str, Any]:
    """Write 64 MB to the home folder's disk, and return MB/s; nothing where it is full."""
    path = os.path.join(folders.base(), "speed-%d" % os.getpid())
    chunk, written = os.urandom(CHUNK), 0
    try:
        space = os.statvfs(folders.base())
        if space.f_bavail * space.f_frsize < 8 * DISK_BYTES:
            return {}
        with open(path, "wb", buffering=0) as file:
            began = time.monotonic()
            while written < DISK_BYTES and time.monotonic() - began < DISK_S:
                written += file.write(chunk) or 0
                os.fdatasync(file.fileno())
            took = time.monotonic() - began
    except OSError:
        return {}
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
    return {"disk_mbps": round(written / 1e6 / max(took, 1e-3), 1)}


def cores() -> float:
    """Return the processors that the host may use, by its container's limit where there is one."""
    try:
        there = float(len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):
        there = float(os.cpu_count() or 1)
    limit = (telemetry.lines("/sys/fs/cgroup/cpu.max") or [""])[0].split()
    if len(limit) == 2 and limit[0].isdigit() and limit[1].isdigit():
        there = min(there, int(limit[0]) / int(limit[1]))
    return round(there, 1)


def ram_gb() -> float | None:
    """Return the host's memory in GB (1024^3 bytes), by its container's limit where there is one."""
    found = telemetry.memory()
    return None if found is None else round(found[1] / 2**30, 1)


def image_cuda() -> str:
    """Return the CUDA version that the image was made for, "" if it does not say."""
    for value in (os.environ.get("CUDA_VERSION", ""), _first_process().get("CUDA_VERSION", "")):
        if re.match(r"\d+\.\d+", value):
            return value
    try:
        with open("/usr/local/cuda/version.json") as file:
            return str(json.load(file)["cuda"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _first_process() -> dict[str, str]:
    """Read the container's variables: a login by SSH does not have them."""
    try:
        with open("/proc/1/environ", "rb") as file:
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return {}
    return dict(one.partition("=")[::2] for one in text.split("\0") if "=" in one)
