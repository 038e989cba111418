"""Check that the rented GPUs work on their host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.errors import GpunbError
from gpunb.text import one_line

if TYPE_CHECKING:
    from gpunb.remote import AgentClient
    from gpunb.sessions.model import Session

__all__ = ["gpu_trouble"]

WAIT_S = 15.0


def gpu_trouble(client: AgentClient, session: Session) -> str:
    """A warning if ``nvidia-smi`` fails there or shows fewer GPUs than are rented, else "".

    A host without that tool is not checked: AMD's and Intel's have none, and slim images neither.
    """
    if not session.gpus or not session.gpu:
        return ""
    try:
        told = client.request("gpus", timeout=WAIT_S)
    except GpunbError:
        return ""
    trouble, count = one_line(told.get("trouble") or "", 300), told.get("count")
    if trouble:
        what = f"the GPU of {session.name} does not answer ({trouble})"
    elif type(count) is int and 0 < count < session.gpus:
        what = f"{session.name} shows {count} GPU{'s' if count > 1 else ''}, and {session.gpus} are rented"
    else:
        return ""
    return f"{what}; it is billed all the same: exec -- nvidia-smi looks again, down {session.name} ends it"
