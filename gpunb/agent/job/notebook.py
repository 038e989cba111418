"""A notebook run as a job: its cells one by one in a kernel of its own, outputs saved as they come.

``python AGENT_FOLDER notebook INPUT OUTPUT``. The rules are papermill's: the
first error ends it (unless the cell has the tag ``raises-exception``), and
times and states are in each cell's ``papermill`` metadata. The cells' output
is printed too, so that the job's own output can be followed.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import shutil
import signal
import sys
import time
from typing import Any

from ..daemon.kernel_client import Kernel
from ..shared.comm_state import TYPES
from .notebook_widgets import Widgets

SAVE_EVERY = 1.0  # seconds between saves while a cell prints
TEXT_LIMIT = 10 << 20  # characters of text kept in one cell's outputs; the job's own output has all


def main(argv: list[str]) -> int:
    """Run the notebook ``argv[0]`` and write it with its outputs to ``argv[1]``; 1 if a cell failed."""
    with open(argv[0], encoding="utf-8") as file:
        notebook = json.load(file)
    return asyncio.run(Runner(notebook, argv[1]).run())


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).replace(tzinfo=None).isoformat()


class Runner:
    """The execution of one notebook."""

    def __init__(self, notebook: dict[str, Any], target: str) -> None:
        self.notebook = notebook
        self.target = target
        self.cell: dict[str, Any] | None = None
        self.died = ""
        self._message = ""
        self._idle = asyncio.Event()
        self._stopped = asyncio.Event()
        self._clear = False
        self._kept = 0
        self._saved = 0.0
        self._full = False
        self._displays: dict[str, list[dict[str, Any]]] = {}
        self._widgets = Widgets()

    async def run(self) -> int:
        """Run all cells; return the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopped.set)
        about = self.notebook["metadata"].setdefault("papermill", {})
        about.update(start_time=_now(), end_time=None, exception=None)
        started = time.monotonic()
        for cell in self.notebook["cells"]:
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
                cell["metadata"]["papermill"] = {"status": "pending", "exception": None}
        self.save()
        kernel = Kernel("nb-%d" % os.getpid(), self._on_iopub, lambda *_: None, self._on_died)
        try:
            await kernel.start()
            known = await kernel.request("kernel_info_request", {})
            self.notebook["metadata"]["language_info"] = known["language_info"]
            code = "import os as _os; _os.chdir(%r); del _os" % os.getcwd()
            await kernel.request("execute_request", {"code": code, "silent": True, "store_history": False})
            failed = await self._all(kernel)
        finally:
            await kernel.end()
            shutil.rmtree(kernel.folder, ignore_errors=True)
        about.update(end_time=_now(), duration=round(time.monotonic() - started, 6), exception=failed)
        self.save()
        return 143 if self._stopped.is_set() else int(failed)

    async def _all(self, kernel: Kernel) -> bool:
        cells = [
            cell
            for cell in self.notebook["cells"]
            if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
        ]
        for index, cell in enumerate(cells):
            _say("cell %d of %d" % (index + 1, len(cells)))
            if await self._one(kernel, cell, index):
                return True
        return False

    async def _one(self, kernel: Kernel, cell: dict[str, Any], index: int) -> bool:
        """Run one cell; True if the notebook ends with it."""
        self.cell, self._message = cell, "gpunb-cell-%d" % index
        self._idle, self._clear, self._kept = asyncio.Event(), False, 0
        state: dict[str, Any] = {"status": "running", "start_time": _now(), "exception": None}
        cell["metadata"]["papermill"] = state
        started = time.monotonic()
        self.save()
        content = {"code": "".join(cell["source"]), "silent": False, "store_history": True}
        content.update(user_expressions={}, allow_stdin=False, stop_on_error=True)
        reply = asyncio.ensure_future(_answer(kernel, content, self._message, self._idle))
        stop = asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait([reply, stop], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        answer = reply.result() if reply.done() else {"status": "stopped"}
        reply.cancel()
        if self.died or answer["status"] == "stopped":
            self._error("KernelDied" if self.died else "Stopped", self.died or "the job was ended")
        cell["execution_count"] = answer.get("execution_count")
        tags = cell["metadata"].get("tags", [])
        failed = answer["status"] != "ok"
        state.update(status="failed" if failed else "completed", exception=failed)
        state.update(end_time=_now(), duration=round(time.monotonic() - started, 6))
        self.save()
        return failed and (bool(self.died) or self._stopped.is_set() or "raises-exception" not in tags)

    def _on_iopub(self, kind: str, parent: str, parts: list[bytes]) -> None:
        if kind in TYPES:
            self._widgets.take(kind, parts)
            return
        if kind == "update_display_data":
            self._update(json.loads(parts[0].decode("utf-8", "replace")))
        if parent != self._message or self.cell is None:
            return
        content = json.loads(parts[0].decode("utf-8", "replace"))
        if kind == "status":
            if content["execution_state"] == "idle":
                self._idle.set()
        elif kind == "stream":
            self._stream(content["name"], content["text"])
        elif kind in ("display_data", "execute_result"):
            output = {"output_type": kind, "data": content["data"], "metadata": content.get("metadata", {})}
            if kind == "execute_result":
                output["execution_count"] = content.get("execution_count")
            self._add(output)
            name = (content.get("transient") or {}).get("display_id")
            if name:
                self._displays.setdefault(name, []).append(output)
            _print("stdout", str(content["data"].get("text/plain", "")) + "\n")
        elif kind == "clear_output":
            self._clear = True
            if not content.get("wait"):
                self._cleared()
        elif kind == "error":
            self._error(content["ename"], content["evalue"], content["traceback"])

    def _outputs(self) -> list[dict[str, Any]]:
        """The outputs to append to: those of the Output widget that captures now, or the cell's."""
        caught = self._widgets.place(self._message)
        if caught is None:
            caught = [] if self.cell is None else self.cell["outputs"]
        return caught

    def _cleared(self) -> None:
        if self._clear and self.cell is not None:
            self._outputs().clear()
            self._kept = 0
        self._clear = False

    def _add(self, output: dict[str, Any]) -> None:
        self._cleared()
        self._outputs().append(output)
        if time.monotonic() - self._saved > SAVE_EVERY:
            self.save()

    def _stream(self, name: str, text: str) -> None:
        _print(name, text)
        self._cleared()
        if self.cell is None or self._kept > TEXT_LIMIT:
            return
        self._kept += len(text)
        if self._kept > TEXT_LIMIT:
            text += "\n(more is in the job's own output)\n"
        outputs = self._outputs()
        last = outputs[-1] if outputs else {}
        if last.get("name") == name and last.get("output_type") == "stream" and type(last["text"]) is list:
            last["text"].append(text)
            if time.monotonic() - self._saved > SAVE_EVERY:
                self.save()
        else:
            self._add({"output_type": "stream", "name": name, "text": [text]})

    def _error(self, name: str, value: str, traceback: list[str] | None = None) -> None:
        lines = traceback or ["%s: %s" % (name, value)]
        _print("stderr", "\n".join(lines) + "\n")
        self._add({"output_type": "error", "ename": name, "evalue": value, "traceback": lines})

    def _update(self, content: dict[str, Any]) -> None:
        for output in self._displays.get((content.get("transient") or {}).get("display_id", ""), []):
            output.update(data=content["data"], metadata=content.get("metadata", {}))

    def _on_died(self, why: str) -> None:
        self.died = "the notebook's kernel ended: " + why
        self._idle.set()

    def save(self) -> None:
        """Write the notebook, whole or not at all; a full disk is reported once, and the write retried."""
        self._saved = time.monotonic()
        widgets = self._widgets.metadata()
        if widgets:
            self.notebook["metadata"]["widgets"] = widgets
        beside = self.target + ".part"
        try:
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(_joined(self.notebook), file, indent=1, ensure_ascii=False)
                file.write("\n")
            os.replace(beside, self.target)
            self._full = False
        except OSError as err:
            if not self._full:
                _say("can't save %s: %s" % (self.target, err.strerror or err))
            self._full = True


async def _answer(
    kernel: Kernel, content: dict[str, Any], message: str, idle: asyncio.Event
) -> dict[str, Any]:
    """Wait for the kernel's reply and for all output."""
    try:
        answer = await kernel.request("execute_request", content, message_id=message)
        await idle.wait()
    except (asyncio.CancelledError, RuntimeError):
        return {"status": "died"}
    return answer


def _joined(notebook: dict[str, Any]) -> dict[str, Any]:
    """Merge the pieces of each stream in the notebook into one text."""

    def output(one: dict[str, Any]) -> dict[str, Any]:
        return dict(one, text="".join(one["text"])) if one.get("output_type") == "stream" else one

    def holder(one: dict[str, Any]) -> dict[str, Any]:
        found = one.get("outputs")
        return dict(one, outputs=[output(each) for each in found]) if isinstance(found, list) else one

    metadata = dict(notebook["metadata"])
    for kind, about in metadata.get("widgets", {}).items():
        states = {name: dict(one, state=holder(one["state"])) for name, one in about["state"].items()}
        metadata["widgets"] = {kind: dict(about, state=states)}
    return dict(notebook, metadata=metadata, cells=[holder(cell) for cell in notebook["cells"]])


def _print(name: str, text: str) -> None:
    stream = sys.stderr if name == "stderr" else sys.stdout
    stream.write(text.encode("utf-8", "replace").decode("utf-8"))
    stream.flush()


def _say(text: str) -> None:
    _print("stderr", "gpunb: %s\n" % text)
