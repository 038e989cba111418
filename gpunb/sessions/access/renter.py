"""Renter marks: ids of this notebook or shell, by which it finds its own sessions again.

A notebook is known by its kernel's connection file, which outlives a restart of the kernel. A shell is known
by its process: every `gpunb` typed there has it as an ancestor. A process is distinguished from a later one
with the same number by its start time, and from one of another computer by the computer's name.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from gpunb.sessions.model import AGENT_MARK

__all__ = ["VARIABLE", "agent", "marks"]

VARIABLE = "GPUNB_AGENT_NAME"

MOST = 8  # shells within shells


def marks(*, notebook: bool) -> list[str]:
    """The marks of the caller, the nearest first; none of them contains a space.

    Parameters
    ----------
    notebook
        Whether this process is a kernel or an IPython, and not a command that a shell has started.
    """
    own = [_kernel() or _process(os.getpid())] if notebook else [_process(pid) for pid in _shells()]
    return [*own, agent()] if agent() else own


def agent() -> str:
    """The mark of the agent that this process works for (variable ``GPUNB_AGENT_NAME``), else ""."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", os.environ.get(VARIABLE, "").strip())[:40]
    return AGENT_MARK + name if name else ""


def _kernel() -> str:
    """The mark of this process if it is a kernel, else ""."""
    module = sys.modules.get("ipykernel.kernelapp")
    app = getattr(module, "IPKernelApp", None)
    if app is None or not app.initialized():
        return ""
    name = Path(str(app.instance().connection_file)).stem.replace(" ", "_")
    return f"kernel:{platform.node()}/{name}" if name else ""


def _process(pid: int) -> str:
    from gpunb.sessions.ledger.process_id import started

    return f"shell:{platform.node()}/{pid}/{started(pid)}".replace(" ", "_")


def _shells() -> list[int]:
    """Marks of the parent and, at a terminal, its ancestors up to the terminal's session leader.

    Without a terminal the ancestors are services (cron, a CI runner) that other people's jobs share.
    """
    result = [os.getppid()]
    if Path("/proc/self/stat").exists():
        return [*result, *_ancestors(result[0])]
    import psutil

    try:
        process = psutil.Process(result[0])
        group = os.getsid(0)
        while len(result) < MOST and process.terminal() and process.pid != group:
            above = process.parent()
            if above is None or os.getsid(above.pid) != group:
                break
            process = above
            result.append(process.pid)
    except (psutil.Error, OSError):
        pass
    return result


def _ancestors(pid: int) -> list[int]:
    """The ancestors of `pid` up to its terminal's session leader, from Linux's /proc."""
    result: list[int] = []
    group = os.getsid(0)
    while len(result) < MOST - 1 and pid != group:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            # proc(5): state, parent, process group, session, terminal
            fields = stat.rpartition(")")[2].split()
            above, terminal = int(fields[1]), int(fields[4])
            if not terminal or not above or os.getsid(above) != group:
                break
        except OSError:
            break
        pid = above
        result.append(pid)
    return result
