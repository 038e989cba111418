"""``top``: the host's load, live."""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import DURATION, no_use, verb
from gpunb.errors import GpunbError
from gpunb.presentation import load
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

    from gpunb.cli.context import Context
    from gpunb.remote import AgentClient
    from gpunb.sessions.model import Session

__all__ = ["command"]

LOOK_S = 30.0  # the host samples each second for so long after it was asked
KEPT = 120
NOTEBOOK_S = 600.0


@verb("top", reads=True, example="top\ntop --once\ntop --for 5m", session=True)
@click.option("--once", is_flag=True, help="Print once and exit (default when not a terminal).")
@click.option(
    "--for",
    "length",
    type=DURATION,
    metavar="TIME",
    help="Stop after so long. [default: Ctrl-C; notebook: 10m]",
)
def command(context: Context, *, session: str | None, once: bool, length: float | None) -> Result:
    """Show the load of GPUs, processor, memory, disk and network, as it changes each second.

    In a notebook the cell ends at once, and its output is brought up to date for ten minutes.
    Nothing of this keeps a session from being idle.
    """
    single = context.as_json or once or (context.frontend == "terminal" and not sys.stdout.isatty())
    if single:
        no_use("--once" if once else "printed once", "length")
    found = context.session(session)
    client = context.agent(found)
    watcher = Watcher(client)
    if single:
        with watcher:
            samples = watcher.first()
        return Result(
            {"session": found.name, "sample": samples[-1] if samples else None},
            *load.blocks(found.name, samples),
        )
    if context.frontend == "notebook":
        _in_notebook(found, watcher, length or NOTEBOOK_S)
        return Result({"session": found.name})
    _in_terminal(found, watcher, length)
    return Result({"session": found.name})


class Watcher:
    """A context manager that receives the host's samples."""

    def __init__(self, client: AgentClient) -> None:
        self.client = client
        self.samples: list[dict[str, Any]] = []
        self._heard: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._end: Any = None
        self._asked = 0.0

    def __enter__(self) -> Self:
        self._end = self.client.listen(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _hear(self, head: Mapping[str, Any]) -> None:
        if head.get("k") == "telemetry":
            self._heard.put(head)

    def first(self) -> list[dict[str, Any]]:
        """The samples of the last minutes, and one fresh one."""
        answer = self.client.request("telemetry", since=time.time() - 86400, points=2000)
        now = answer.get("time")
        found = [sample for sample in answer.get("samples", []) if isinstance(sample, dict)]
        if isinstance(now, (int, float)):  # the host's clock, which may be wrong
            found = [one for one in found if _at(one) > now - KEPT]
        self.samples = found[-KEPT:]
        next(self.fresh(5.0), None)
        return self.samples

    def fresh(self, until: float | None) -> Iterator[list[dict[str, Any]]]:
        """Yield all samples after each new one, for so many seconds.

        Raises
        ------
        GpunbError
            The host is gone for good.
        """
        end = None if until is None else time.monotonic() + until
        while end is None or time.monotonic() < end:
            if time.monotonic() - self._asked > LOOK_S / 2:
                self.client.request("look", seconds=LOOK_S)
                self._asked = time.monotonic()
            try:
                head = self._heard.get(timeout=0.5)
            except queue.Empty:
                continue
            self.samples = [*self.samples, dict(head)][-KEPT:]
            yield self.samples


def _at(sample: dict[str, Any]) -> float:
    found = sample.get("ts")
    return float(found) if isinstance(found, (int, float)) else 0.0


def _in_terminal(session: Session, watcher: Watcher, length: float | None) -> None:
    from rich.console import Console
    from rich.live import Live

    with watcher, Live(console=Console(), auto_refresh=False, screen=False) as live:
        try:
            live.update(Result(None, *load.blocks(session.name, watcher.first())), refresh=True)
            for samples in watcher.fresh(length):
                live.update(Result(None, *load.blocks(session.name, samples)), refresh=True)
        except KeyboardInterrupt:
            return


def _in_notebook(session: Session, watcher: Watcher, length: float) -> None:
    from IPython.display import display

    with watcher:
        shown: Any = display(Result(None, *load.blocks(session.name, watcher.first())), display_id=True)

    def update() -> None:
        last: list[dict[str, Any]] = []
        try:
            with watcher:
                for last in watcher.fresh(length):
                    shown.update(Result(None, *load.blocks(session.name, last)))
        except GpunbError as err:
            shown.update(Result(None, *load.blocks(session.name, last), Note(err.message, "warn")))
        else:
            note = Note("no longer brought up to date; %gpu top looks again", "dim")
            shown.update(Result(None, *load.blocks(session.name, last), note))

    threading.Thread(target=update, name=f"gpunb-top-{session.name}", daemon=True).start()
