"""A real IPython kernel, driven as a notebook drives it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field
from queue import Empty
from typing import TYPE_CHECKING, Any

from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Outcome:
    """What one cell showed."""

    status: str = ""
    text: str = ""
    error: str = ""
    ename: str = ""
    bundles: list[dict[str, Any]] = field(default_factory=list)
    updates: int = 0

    @property
    def html(self) -> str:
        return "\n".join(bundle["text/html"] for bundle in self.bundles if "text/html" in bundle)

    @property
    def plain(self) -> str:
        return "\n".join(bundle.get("text/plain", "") for bundle in self.bundles)


class Notebook:
    """One kernel with the extension loaded."""

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder), env={**os.environ, "PYTHONWARNINGS": "default"})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        loaded = self.run("%load_ext gpunb")
        assert loaded.status == "ok", loaded.error

    def start(self, code: str, *, asks: bool = True) -> str:
        """Begin a cell and return its message id; without `asks` as a front end that has no input box."""
        return str(self.client.execute(code, allow_stdin=asks))

    def run(
        self, code: str, *, answer: str | None = None, seconds: float = 60.0, asks: bool = True
    ) -> Outcome:
        """Run a cell to its end."""
        return self.follow(self.start(code, asks=asks), answer=answer, seconds=seconds)

    def follow(
        self,
        message: str,
        *,
        until: Callable[[Outcome], bool] | None = None,
        answer: str | None = None,
        seconds: float = 60.0,
        outcome: Outcome | None = None,
    ) -> Outcome:
        """Collect a cell's output until it is idle, or `until` says so."""
        found = outcome or Outcome()
        end = time.monotonic() + seconds
        while True:
            assert time.monotonic() < end, f"no end; so far: {found}"
            if answer is not None and self.client.stdin_channel.msg_ready():
                self.client.stdin_channel.get_msg(timeout=1)
                self.client.input(answer)
            try:
                item = self.client.get_iopub_msg(timeout=0.1)
            except Empty:
                continue
            if item["parent_header"].get("msg_id") != message:
                continue
            content, kind = item["content"], item["msg_type"]
            if kind == "stream":
                found.text += content["text"]
            elif kind in ("display_data", "execute_result"):
                found.bundles.append(content["data"])
            elif kind == "update_display_data":
                found.updates += 1
            elif kind == "error":
                found.ename = content["ename"]
                found.error = "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                reply = self.client.get_shell_msg(timeout=30)
                while reply["parent_header"].get("msg_id") != message:  # one that nobody waited for
                    reply = self.client.get_shell_msg(timeout=30)
                found.status = reply["content"]["status"]
                return found
            if until is not None and until(found):
                return found

    def complete(self, code: str) -> list[str]:
        """What Tab offers at the end of `code`."""
        reply = self.client.complete(code, reply=True, timeout=30)["content"]
        return [code[: reply["cursor_start"]] + match for match in reply["matches"]]

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer does it."""
        assert self.manager.provisioner is not None
        pid = self.manager.provisioner.process.pid  # type: ignore[attr-defined]
        self.client.stop_channels()
        os.kill(pid, signal.SIGKILL)
        self.manager.provisioner.process.wait(30)  # type: ignore[attr-defined]
        self.manager.cleanup_resources()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
