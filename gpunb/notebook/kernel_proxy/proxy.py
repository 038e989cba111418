"""The kernel proxy: the local process that Jupyter takes for a kernel that is on the host.

Started by the provisioner, one a notebook. It answers on the five channels of
its connection file, on this machine only, and passes on to a kernel of the
notebook's own on the session's host, through the agent: each cell is a run,
with a journal, so a lost connection loses no output, and a running cell goes
on when this process or the whole machine goes away (``gpunb attach`` shows it).
It is up at once; what needs the host waits until it is connected.
"""

from __future__ import annotations

import argparse
import os
import queue
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import GpunbError, HostError
from gpunb.hints import Hint
from gpunb.notebook.kernel_proxy.channels import Channels, Request
from gpunb.notebook.kernel_proxy.host_kernel import Ended, HostKernel, nowhere, unnoted
from gpunb.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from gpunb.remote import AgentClient

__all__ = ["Bridge", "main"]

END_S = 8.0  # seconds that the host's kernel is given to end
PARENT_CHECK_S = 1.0
# forwarded to the host's kernel unchanged
PASSED = {
    "kernel_info_request": 600.0,
    "complete_request": 30.0,
    "inspect_request": 30.0,
    "history_request": 30.0,
    "is_complete_request": 30.0,
}


class Bridge:
    """Dispatches Jupyter's requests to the host's kernel.

    Parameters
    ----------
    connect
        Gives the client of the host's agent; called in a thread of its own.
    kernel
        The name of the notebook's kernel on the host.
    alive
        Whether the session goes on; called while the connection is lost.
    trust
        The host's trust as the user has set it now; called before each cell.
    noted, inside
        See `gpunb.notebook.kernel_proxy.host_kernel.HostKernel`.
    """

    def __init__(
        self,
        channels: Channels,
        connect: Callable[[], AgentClient],
        kernel: str,
        alive: Callable[[], bool] = lambda: True,
        *,
        trust: Callable[[], str | None] = lambda: None,
        noted: Callable[[str, str], AbstractContextManager[Callable[[str], None]]] = unnoted,
        inside: Callable[[Callable[[str], None]], AbstractContextManager[dict[str, Any]]] = nowhere,
    ) -> None:
        self.alive = alive
        self._noted, self._inside = noted, inside
        self._trust = trust
        self.channels = channels
        self.kernel = kernel
        self.exit_code: int | None = None
        self._connect = connect
        self._host: HostKernel | None = None
        self._failed = ""
        self._ready = threading.Event()
        self._over = threading.Event()
        self._shell: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._abort_before = 0.0

    def run(self) -> int:
        """Serve until shut down, and return the exit code."""
        parent = os.getppid()
        for target in (self._open, self._work):
            threading.Thread(target=target, daemon=True).start()
        self.channels.start(self._shell.put, self._control)
        while not self._over.wait(PARENT_CHECK_S):
            if os.getppid() != parent:  # Jupyter is gone; running cells go on
                self._end(later=True)
                break
            host = self._host
            if host is not None and not host.client.connected and not self.alive():
                host.client.close()  # nothing to wait for
                self._shell.put(None)
        self.channels.close()
        return self.exit_code or 0

    def stop(self) -> None:
        """Handle SIGTERM: end the host's kernel, and this process."""
        threading.Thread(target=self._stop, daemon=True).start()

    def _stop(self) -> None:
        self._end(later=False)
        self._over.set()

    def interrupt(self) -> None:
        """Handle SIGINT, for frontends that interrupt by signal."""
        if self._host is not None:
            self._host.interrupt()

    # -- the host

    def _open(self) -> None:
        try:
            client = self._connect()
            wake = partial(self._shell.put, None)
            here = self.channels, wake, self._noted
            self._host = HostKernel(client, self.kernel, *here, inside=self._inside)
            self._host.fresh()
        except (GpunbError, OSError) as err:
            self._failed = str(err)
            log.get(__name__).warning("a notebook's kernel: %s", err)
        self._ready.set()

    def _end(self, *, later: bool) -> None:
        """End the host's kernel, if it can be reached now."""
        host = self._host
        if host is not None and host.client.connected:
            with suppress(GpunbError):
                host.client.request("end_kernel", kernel=self.kernel, later=later, timeout=END_S)

    def _die(self, why: str, code: int = 1) -> None:
        sys.stderr.write(f"gpunb: {one_line(why)}\n")
        sys.stderr.flush()
        self.exit_code = code
        time.sleep(0.2)  # the last messages leave
        self._over.set()

    # -- requests

    def _work(self) -> None:
        """Handle shell requests one after the other, as a kernel does."""
        self._ready.wait()
        while not self._over.is_set():
            request = self._shell.get()
            try:
                if request is not None:
                    self._handle(request)
                elif self._host is not None:
                    self._host.pump()
            except Ended as err:
                self._die(str(err))
            except Exception:  # noqa: BLE001 - Jupyter must get an error, not silence
                log.get(__name__).exception("a notebook's kernel: unexpected failure")
                self._die("unexpected failure; gpunb's log has the traceback", 70)

    def _handle(self, request: Request) -> None:
        self.channels.parent = request.message
        self.channels.status("busy", request)
        try:
            if self._host is None:
                self._refuse(request)
            else:
                self._serve(self._host, request)
        finally:
            self.channels.status("idle", request)
        if self._host is None:
            self._die(self._failed)

    def _serve(self, host: HostKernel, request: Request) -> None:
        kind, content = request.kind, request.content
        if kind == "execute_request":
            if request.came < self._abort_before:
                self.channels.reply(request, {"status": "aborted"})
                return
            host.client.trust = self._trust() or host.client.trust
            reply = host.execute(request)
            self.channels.reply(request, reply)
            if host.ended:
                raise Ended(host.ended)
            if reply["status"] == "error" and content.get("stop_on_error", True):
                self._abort_before = time.monotonic()
        elif kind in PASSED:
            self.channels.reply(request, host.ask(kind, content, PASSED[kind]))
        elif kind == "comm_info_request":
            self.channels.reply(request, host.comm_info(content))
        elif kind in ("comm_open", "comm_msg", "comm_close"):
            host.relay.send(kind, request.message)
        elif kind == "shutdown_request":
            self._shutdown(request)
        else:
            log.get(__name__).info("a notebook's kernel does not know %s", kind)

    def _refuse(self, request: Request) -> None:
        """Answer with the reason that there is no host, in the cell too."""
        error = {"ename": "GpunbError", "evalue": self._failed, "traceback": self._failed.splitlines()}
        if request.kind == "execute_request":
            self.channels.publish("error", error, request.message)
        if request.kind.endswith("_request"):
            self.channels.reply(request, {"status": "error", "execution_count": 0, **error})

    def _control(self, request: Request) -> None:
        """Handle interrupt and shutdown ahead of queued requests, in a thread of the channels."""
        self.channels.status("busy", request)
        if request.kind == "interrupt_request":
            self.interrupt()
            self.channels.reply(request, {"status": "ok"})
        elif request.kind == "shutdown_request":
            self._shutdown(request)
        elif request.kind == "kernel_info_request" and self._ready.is_set() and self._host is not None:
            with suppress(Ended):
                self.channels.reply(request, self._host.ask(request.kind, request.content, 30.0))
        self.channels.status("idle", request)

    def _shutdown(self, request: Request) -> None:
        self._end(later=False)
        self.channels.reply(request, {"status": "ok", "restart": bool(request.content.get("restart"))})
        self._over.set()


def connect(session_id: str) -> AgentClient:
    """Connect to the agent of that session.

    Raises
    ------
    GpunbError
        The session is over, or its host can't be reached.
    """
    from gpunb.sessions.access import host_access
    from gpunb.sessions.ledger.sessions import Ledger

    with Ledger.open() as ledger:
        session = ledger.find(session_id)
    return host_access.agent(session)


def goes_on(session_id: str) -> bool:
    """Return whether the session is not over, as far as the ledger can be read."""
    from gpunb.sessions.ledger.sessions import Ledger

    try:
        with Ledger.open() as ledger:
            return ledger.find(session_id).alive
    except GpunbError:
        return True


def trust_of(session_id: str) -> str | None:
    """Return the session's trust now; None if the ledger can't be read."""
    from gpunb.sessions.ledger.sessions import Ledger

    try:
        with Ledger.open() as ledger:
            return ledger.find(session_id).trust
    except GpunbError:
        return None


@contextmanager
def noted(session_id: str, run_id: str, name: str) -> Iterator[Callable[[str], None]]:
    """Record a cell in the ledger, like `%%gpu`'s: it keeps the session from being idle."""
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import RunNote

    def end(state: str) -> None:
        with suppress(GpunbError), Ledger.open() as ledger:
            ledger.finish_run(run_id, state)

    with suppress(GpunbError), Ledger.open() as ledger:
        session = ledger.find(session_id)
        ledger.add_run(
            RunNote(id=run_id, session_id=session.id, name=name, started=time.time(), front="kernel")
        )
    try:
        yield end
    except HostError:
        raise  # it may go on on the host
    except GpunbError:
        end("error")
        raise


@contextmanager
def in_project(session_id: str, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Keep the folder that is bound to the session the same around a cell; yields the cell's place in it.

    Raises
    ------
    SyncError, BadInput, HostError
        Not all of it was sent: the cell does not run.
    """
    from gpunb.services.project import around
    from gpunb.services.workspace import Workspace

    class Speaking(Workspace):
        def say(self, *lines: tuple[str, str]) -> None:
            for text, _ in lines:
                say(text.at("notebook") if isinstance(text, Hint) else text)

    with (
        Speaking("notebook") as context,
        around.inside(context, context.ledger.find(session_id), what="the notebook") as inside,
    ):
        yield inside.placed()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the proxy: the entry point of the kernelspec."""
    parser = argparse.ArgumentParser(prog="python -m gpunb.notebook.kernel_proxy.proxy")
    parser.add_argument("-f", dest="file", required=True, help="Jupyter's connection file")
    parser.add_argument("--session", required=True, help="the session's id or name")
    parser.add_argument("--kernel", default="", help="the kernel's name on the host")
    given, _ = parser.parse_known_args(argv)  # `jupyter run` adds arguments of its own, as for any kernel
    from gpunb.remote import new_run_id

    bridge = Bridge(
        Channels.bind(given.file),
        lambda: connect(given.session),
        given.kernel or f"nb{new_run_id()}",
        lambda: goes_on(given.session),
        trust=lambda: trust_of(given.session),
        noted=partial(noted, given.session),
        inside=partial(in_project, given.session),
    )
    signal.signal(signal.SIGTERM, lambda *_: bridge.stop())
    signal.signal(signal.SIGINT, lambda *_: bridge.interrupt())
    code = bridge.run()
    sys.stdout.flush()
    os._exit(code)  # threads may still wait for a host that is gone


if __name__ == "__main__":
    main()
