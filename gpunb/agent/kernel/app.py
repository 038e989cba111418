"""The kernel's process: ipykernel with an IOPub that loses no message.

A PUB socket drops messages if its reader is too slow, and all of them while
there is no reader. The agent is the only reader, so IOPub is written to files
that the agent reads (`iopub_log`).
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from ..shared import folders
from . import first_completion, outstream
from .interrupts import Interrupts
from .iopub_log import Outlet
from .working_folder import WorkingFolder

if TYPE_CHECKING:
    from collections.abc import Mapping


def poke_address(connection_ip: str) -> str:
    """Return the address of the agent's notification socket."""
    return connection_ip + "-poke"


def drain() -> None:
    """Send the output of child processes and C code during a cell before the cell's end."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "drain"):
            stream.drain()


def leave(kernel: Any) -> None:
    """Handle SIGTERM, at a job's end or a shutdown: interrupt the cell, run atexit, flush files."""
    kernel.shell.run_code = _refuse  # a cell whose request is being read would hold the loop
    for stream in (kernel.shell_stream, kernel.control_stream, kernel):
        loop = getattr(stream, "io_loop", None)
        if loop is not None:
            loop.add_callback(loop.stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # while a cell runs
        raise KeyboardInterrupt


async def _refuse(*_args: Any, **_options: Any) -> bool:
    raise KeyboardInterrupt


def no_gpu(shell: Any) -> None:
    """Define `%gpu` on the host to explain that it works only on the user's own computer."""
    from IPython.core.error import UsageError

    def gpu(line: str, cell: str | None = None) -> None:  # noqa: ARG001 - a magic's signature
        msg = (
            "%gpu and %%gpu work on your own computer, and this code runs on the rented host already: "
            "leave the line out here, and type gpunb in a terminal of your own computer"
        )
        raise UsageError(msg)

    for kind in ("line", "cell"):
        shell.register_magic_function(gpu, kind, "gpu")


class Numbering:
    """Numbers a cell and its lines as in the notebook that sent it.

    So ``In``, ``Out``, ``_5`` and the lines of a traceback match the notebook.

    Parameters
    ----------
    shell
        The kernel's IPython.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self._above: list[str] = []
        shell.input_transformers_post.append(self._move_down)
        shell.events.register("pre_run_cell", self._begun)

    def expect(self, place: Mapping[str, Any]) -> None:
        """Set the next cell's number to ``count`` and its first line below ``above`` lines."""
        above, count = place.get("above"), place.get("count")
        self._above = [str(line) + "\n" for line in above or []]
        if type(count) is int and count > 0 and count != self.shell.execution_count:
            self._number(count)

    def _number(self, count: int) -> None:
        history = self.shell.history_manager
        if count < self.shell.execution_count:  # the history has each number once per session
            history.writeout_cache()
            history.end_session()
            history.new_session()
        for log in (history.input_hist_parsed, history.input_hist_raw):
            del log[count:]
            log.extend([""] * (count - len(log)))
        self.shell.execution_count = count

    def _move_down(self, lines: list[str]) -> list[str]:
        return [*self._above, *lines]

    def _begun(self, *_: Any) -> None:
        self._above = []


def main(argv: list[str]) -> None:
    """Run a kernel for the connection file ``argv[0]`` until it is told to end."""
    os.environ.pop("JPY_PARENT_PID", None)  # the kernel outlives who started it
    import faulthandler

    from ipykernel.iostream import IOPubThread
    from ipykernel.ipkernel import IPythonKernel
    from ipykernel.kernelapp import IPKernelApp
    from ipykernel.kernelbase import Kernel
    from traitlets import Type, Unicode
    from traitlets.config import Config

    class SteadyKernel(IPythonKernel):
        def pre_handler_hook(self) -> None:
            about: Any = self.get_parent("shell")  # type: ignore[no-untyped-call]
            if about["header"].get("msg_type") == "execute_request":
                self.saved_sigint_handler = interrupts.hold()
            else:
                super().pre_handler_hook()  # type: ignore[no-untyped-call]

        async def execute_request(self, stream: Any, ident: Any, parent: Any) -> None:
            place = parent["content"].get("gpunb_place")
            if place:
                numbering.expect(place)
                working.expect(place)
                os.environ.update(place.get("env") or {})  # its rank in a group
            try:
                running = super().execute_request(stream, ident, parent)  # type: ignore[no-untyped-call]
                if inspect.isawaitable(running):
                    await running
            except (Exception, KeyboardInterrupt, asyncio.CancelledError) as err:
                interrupts.hold()
                self.log.exception("the cell ended without a reply")
                name = type(err).__name__ if isinstance(err, Exception) else "KeyboardInterrupt"
                reply = {"status": "error", "ename": name, "evalue": "", "traceback": []}
                session: Any = self.session
                session.send(stream, "execute_reply", reply, parent, ident=ident)

        def do_complete(self, code: str, cursor_pos: int) -> Any:
            first_completion.settle()
            return super().do_complete(code, cursor_pos)  # type: ignore[no-untyped-call]

    class DirectIOPub(IOPubThread):
        """An IOPub that sends without a thread: unlike a socket, a file needs none."""

        def send_multipart(self, *args: Any, **more: Any) -> None:
            self._really_send(*args, **more)  # type: ignore[no-untyped-call]

    class KernelApp(IPKernelApp):
        name = "gpunb-kernel"
        kernel_class = Type(SteadyKernel, klass=Kernel)
        outstream_class = Unicode("gpunb_agent.kernel.outstream.SteadyStream").tag(config=True)

        def init_iopub(self, context: Any) -> None:
            outlet = Outlet(folder, poke_address(self.ip), context)
            self.configure_tornado_logger()  # type: ignore[no-untyped-call]
            direct: Any = DirectIOPub
            try:
                self.iopub_thread = direct(outlet, pipe=True, session=self.session)
            except TypeError:  # ipykernel 6 takes no session here
                self.iopub_thread = direct(outlet, pipe=True)
            self.iopub_thread.start()
            self.iopub_socket = self.iopub_thread.background_socket

    # ipykernel waits before each reply for output in transit; here all output precedes a cell's end
    folder = outstream.FOLDER = os.path.dirname(os.path.abspath(argv[0]))
    app = KernelApp.instance(config=Config(Kernel={"_execute_sleep": 0.0}))
    app.initialize(["-f", argv[0]])  # type: ignore[no-untyped-call]
    shell: Any = app.shell
    interrupts = Interrupts(shell)
    numbering = Numbering(shell)
    working = WorkingFolder(shell)
    no_gpu(shell)
    shell.events.register("post_run_cell", lambda *_: drain())
    signal.signal(signal.SIGTERM, lambda *_: leave(app.kernel))
    pipes = {name: getattr(getattr(sys, name), "_fid", None) for name in ("stdout", "stderr")}
    folders.write_json(os.path.join(folder, "pipes.json"), pipes)
    if not faulthandler.is_enabled():
        faulthandler.enable()  # on the descriptor, which ipykernel arranges
    app.start()  # type: ignore[no-untyped-call]
