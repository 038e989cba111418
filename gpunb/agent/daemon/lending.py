"""A run's secrets on the host: in memory only, and given to that run alone.

Their names are in the run's description; their values are in the memory of the
agent (or a job's keeper) and in the environment of the run's own process, and
never on disk. The host's owner can read memory: the client decides which hosts
get any.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from typing import TYPE_CHECKING, Any

from ..shared import folders

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .kernel_client import Kernel

MOST = 20
MOST_BYTES = 32 << 10  # all together; a pipe takes that much at once
GONE = "its secrets were in the memory of a process that ended; run it again"
TRIES = 40  # a kernel refuses requests for a moment after a cell has failed


class LendError(Exception):
    """The kernel could not be given the secrets, or did not remove them."""


def checked(raw: Any) -> dict[str, str]:
    """Validate the ``secrets`` of a request.

    Raises
    ------
    ValueError
        They are not names and texts, or too many or too long.
    """
    if raw is None:
        return {}
    if not isinstance(raw, dict) or len(raw) > MOST:
        raise ValueError("secrets: not an object of at most %d names" % MOST)
    for name, value in raw.items():
        if not name.isidentifier() or not isinstance(value, str) or "\0" in value:
            raise ValueError("secrets: %.80r is not a name with a text" % name)
    if sum(len(value.encode("utf-8", "surrogatepass")) for value in raw.values()) > MOST_BYTES:
        raise ValueError("secrets: over %d bytes" % MOST_BYTES)
    return dict(raw)


async def lend(kernel: Kernel, values: Mapping[str, str]) -> None:
    """Set `values` in the kernel's environment."""
    path = os.path.join(folders.sockets(), "s-" + secrets.token_hex(8))

    async def hand_out(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(values).encode("utf-8"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(hand_out, path)
    try:
        await _call(kernel, "lend(%r)" % path)
    finally:
        server.close()
        with contextlib.suppress(OSError):
            os.unlink(path)


async def take_back(kernel: Kernel) -> None:
    """Restore the kernel's environment."""
    await _call(kernel, "take_back()")


async def _call(kernel: Kernel, call: str) -> None:
    code = "__import__('gpunb_agent.kernel.secrets', fromlist=['x'])." + call
    content = {"code": "", "silent": True, "store_history": False, "allow_stdin": False}
    content.update(stop_on_error=False, user_expressions={"r": code})
    why, errors = "", 0
    for _ in range(TRIES):
        reply = await kernel.request("execute_request", content)
        done = reply.get("user_expressions", {}).get("r", {})
        if done.get("status") == "ok":
            return
        why = str(done.get("ename") or reply.get("status"))
        errors += reply.get("status") != "aborted"
        if errors > 3:  # an interrupt may hit this call instead of the cell
            break
        await asyncio.sleep(0.05)
    raise LendError("its secrets could not be set or taken back: %s" % why)
