"""The host's GPUs, as reported by ``nvidia-smi``.

A broken driver makes ``nvidia-smi`` hang for minutes, so it runs in a process
of its own that is abandoned after a timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil

FURTHER = ("/usr/bin", "/usr/local/nvidia/bin", "/usr/lib/wsl/lib")  # not on every login's PATH
TIMEOUT = 10.0  # seconds; an idle driver takes a few to start


class SmiError(Exception):
    """``nvidia-smi`` exists and failed or did not answer; the message holds its output."""


def program() -> str | None:
    """Return the path of ``nvidia-smi``, or None."""
    return shutil.which("nvidia-smi", path=os.pathsep.join([os.environ.get("PATH", os.defpath), *FURTHER]))


async def run(args: list[str], timeout: float = TIMEOUT) -> str:
    """Run ``nvidia-smi`` and return its output; "" on a host without it.

    Raises
    ------
    SmiError
        It failed, or did not answer within `timeout` seconds.
    """
    path = program()
    if path is None:
        return ""
    process = await asyncio.create_subprocess_exec(
        path,
        *args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), timeout)
    except asyncio.TimeoutError:
        raise SmiError("nvidia-smi did not answer within %g s" % timeout) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    text = out.decode("utf-8", "replace")
    if process.returncode:
        raise SmiError("nvidia-smi ended with %s: %s" % (process.returncode, text.strip()[-300:]))
    return text


async def query(fields: str, timeout: float = TIMEOUT) -> list[list[str]]:
    """Query `fields` of each GPU, a list each; an empty list on a host without ``nvidia-smi``.

    Raises
    ------
    SmiError
        See `run`.
    """
    text = await run(["--query-gpu=" + fields, "--format=csv,noheader,nounits"], timeout)
    rows = [[value.strip() for value in line.split(",")] for line in text.splitlines() if line.strip()]
    return [row for row in rows if len(row) == len(fields.split(","))]


async def devices() -> list[str]:
    """List the GPUs that jobs may be given, as ``CUDA_VISIBLE_DEVICES`` names them.

    Raises
    ------
    SmiError
        See `query`.
    """
    limited = os.environ.get("CUDA_VISIBLE_DEVICES")
    if limited is not None:
        return [name.strip() for name in limited.split(",") if name.strip() and name.strip() != "-1"]
    return [row[0] for row in await query("index") if row[0].isdigit()]
