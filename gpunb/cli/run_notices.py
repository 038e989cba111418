"""A notice in the notebook when a detached run has ended, by updating its output."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from gpunb import log
from gpunb.errors import GpunbError, RunNotFound
from gpunb.presentation.result import Note, Result
from gpunb.units import duration_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpunb.cli.context import Context
    from gpunb.remote import AgentClient, RunInfo
    from gpunb.sessions.model import Session

__all__ = ["ended_note", "watch"]

LOOK_S = 15.0  # the host's notice may be lost with a broken connection: it is polled as well
_TONES = {"ok": "ok", "cancelled": "warn"}


def ended_note(name: str, session: Session, info: RunInfo) -> Note:
    """Describe how a run ended, in one line."""
    took = (
        f" after {duration_text(max(0.0, info.ended - info.started))}" if info.started and info.ended else ""
    )
    why = f": {info.why}" if info.why else ""
    text = f"{info.kind} {info.id} ({name}) on {session.name} ended {info.state}{took}{why}"
    return Note(text, _TONES.get(info.state, "bad"))


def watch(
    context: Context, session: Session, client: AgentClient, run_id: str, *, name: str, text: str
) -> None:
    """Show `text` in the notebook, and replace it by how the run ended.

    Does not wait. In a terminal, whose process ends, it only shows `text`.
    """
    if context.frontend != "notebook" or context.shell is None:
        context.tell(Note(text))
        return
    from IPython.display import display

    shown: Any = display(Result(None, Note(text, "info")), display_id=True)
    thread = threading.Thread(
        target=_wait, args=(shown, session, client, run_id, name), name=f"gpunb-notice-{run_id}", daemon=True
    )
    thread.start()


def _wait(shown: Any, session: Session, client: AgentClient, run_id: str, name: str) -> None:
    waiting = threading.Event()

    def heard(head: Mapping[str, Any]) -> None:
        if head.get("k") == "run-ended" and head.get("run") == run_id:
            waiting.set()

    end = client.listen(heard)
    try:
        while client.alive:
            try:
                info = client.run_info(run_id)
            except RunNotFound:
                return
            except GpunbError as err:
                log.get(__name__).info("waiting for run %s: %s", run_id, err)
            else:
                if info.over:
                    shown.update(Result(None, ended_note(name, session, info)))
                    _note_end(run_id, info)
                    return
            waiting.wait(LOOK_S)
            waiting.clear()
    finally:
        end()


def _note_end(run_id: str, info: RunInfo) -> None:
    from gpunb.sessions.ledger.sessions import Ledger

    try:
        with Ledger.open() as ledger:
            ledger.finish_run(run_id, info.state, info.ended)
    except GpunbError as err:
        log.get(__name__).info("noting the end of run %s: %s", run_id, err)
