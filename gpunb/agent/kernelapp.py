"""The kernel's process: ipykernel with an IOPub that loses nothing.

A PUB socket drops what its reader is too slow for, and all of it while there
is no reader. The agent is the only reader, so IOPub is a PUSH socket without
a high-water mark that connects to the agent: what the agent can't take now
waits in the kernel's process, also while the agent is restarted.
"""

from __future__ import annotations

import os
from typing import Any


def iopub_address(connection_ip: str) -> str:
    """Where the agent binds the reading end."""
    return "ipc://%s-out" % connection_ip


def main(argv: list[str]) -> None:
    """Run a kernel for the connection file ``argv[0]`` until it is told to end."""
    os.environ.pop("JPY_PARENT_PID", None)  # the kernel outlives who started it
    import zmq
    from ipykernel.iostream import IOPubThread
    from ipykernel.kernelapp import IPKernelApp

    class KernelApp(IPKernelApp):
        name = "gpunb-kernel"

        def init_iopub(self, context: Any) -> None:
            socket = context.socket(zmq.PUSH)
            socket.sndhwm = 0
            socket.linger = 5000
            socket.connect(iopub_address(self.ip))
            self.configure_tornado_logger()  # type: ignore[no-untyped-call]
            try:
                self.iopub_thread = IOPubThread(socket, pipe=True, session=self.session)
            except TypeError:  # ipykernel 6 takes no session here
                self.iopub_thread = IOPubThread(socket, pipe=True)
            self.iopub_thread.start()
            self.iopub_socket = self.iopub_thread.background_socket

    app = KernelApp.instance()
    app.initialize(["-f", argv[0]])  # type: ignore[no-untyped-call]
    app.start()  # type: ignore[no-untyped-call]
