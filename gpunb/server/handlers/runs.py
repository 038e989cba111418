"""Routes of runs: list, status, output, cancel, interrupt."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpunb.errors import GpunbError, RunNotFound
from gpunb.output.player import Player
from gpunb.server import schemas, shown
from gpunb.server.handlers.base import Handler, authorized, guarded
from gpunb.server.telemetry import reachable
from gpunb.server.work import exactly
from gpunb.services.running import runs
from gpunb.services.running.log_filter import KeptText
from gpunb.text import Escapes, clean, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.presentation import api, models
    from gpunb.remote import AgentClient, RunHandle, RunInfo
    from gpunb.server.hub import Hub
    from gpunb.sessions.model import RunNote, Session

__all__ = ["ROUTES"]

ID = r"([A-Za-z0-9._-]{1,64})"
WAIT_S = 20.0
TEXT_MAX = 4 << 20  # characters in one answer
_MOVES = re.compile("\x1b\\[[0-9]*[ABCDGK]")  # a page has no cursor
# one client follows a run at a time: two tabs that read the same log take turns
_reading = threading.Lock()


class Runs(Handler):
    """``GET sessions/{id}/runs``: the runs of a session."""

    @guarded
    @authorized
    async def get(self, ident: str) -> None:
        """List the session's runs."""
        limit = schemas.number("limit", self.query("limit"), default=50, least=1, most=1000)
        await self.answer(self.hub.hosts, _list, self.hub, ident, limit)


class Run(Handler):
    """``GET runs/{id}``: one run."""

    @guarded
    @authorized
    async def get(self, ident: str) -> None:
        """Return the run's state."""
        await self.answer(self.hub.hosts, _one, self.hub, ident)


class Log(Handler):
    """``GET runs/{id}/log``: a run's output."""

    @guarded
    @authorized
    async def get(self, ident: str) -> None:
        """Return what the run printed."""
        after = schemas.number("after", self.query("after"), default=0, least=0, most=2**53)
        limit = schemas.number("limit", self.query("limit"), default=1000, least=1, most=5000)
        await self.answer(self.hub.hosts, _log, self.hub, ident, after, limit)


class Cancel(Handler):
    """``POST runs/{id}/cancel``: cancellation of a run."""

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """Cancel the run."""
        self.body(schemas.Empty)
        await self.answer(self.hub.hosts, _end, self.hub, ident, "cancel")


class Interrupt(Handler):
    """``POST runs/{id}/interrupt``: interruption of a run."""

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """Send SIGINT to the run."""
        self.body(schemas.Empty)
        await self.answer(self.hub.hosts, _end, self.hub, ident, "interrupt")


def _list(hub: Hub, ident: str, limit: int) -> dict[str, list[models.Run]]:
    context = hub.context()
    session = exactly(context.ledger, ident)
    notes = context.ledger.runs(session.id, limit)
    if any(note.ended is None for note in notes):
        with suppress(GpunbError):  # the ledger's record is shown anyway
            reachable(session)
            runs.refresh(context, context.agent(session), session)
            notes = context.ledger.runs(session.id, limit)
    return {"runs": [shown.run(context.ledger, note, session) for note in notes]}


def _found(hub: Hub, ident: str) -> tuple[RunNote, Session]:
    ledger = hub.ledger()
    note = ledger.find_run(ident)
    if note.id != ident:
        msg = f"there is no run {ident!r}"
        raise RunNotFound(msg, hint="GET sessions/{id}/runs lists them")
    return note, ledger.get(note.session_id)


def _asked(hub: Hub, session: Session, run_id: str) -> tuple[AgentClient, RunInfo]:
    reachable(session)
    context = hub.context()
    client = context.agent(session)
    info = client.run_info(run_id)
    runs.note_end(context, run_id, info)
    return client, info


def _one(hub: Hub, ident: str) -> models.Run:
    note, session = _found(hub, ident)
    code = None
    with suppress(GpunbError):
        _, info = _asked(hub, session, note.id)
        code = info.exit_code
        note, _ = _found(hub, ident)
        note.state = info.state
    return shown.run(hub.ledger(), note, session, code)


def _end(hub: Hub, ident: str, how: str) -> models.Run:
    note, session = _found(hub, ident)
    client, info = _asked(hub, session, note.id)
    if not info.over:
        if how == "cancel":
            info = client.cancel(note.id)
            runs.note_end(hub.context(), note.id, info)
        else:
            client.interrupt(note.id)
    return _one(hub, ident)


def _log(hub: Hub, ident: str, after: int, limit: int) -> api.Log:
    note, session = _found(hub, ident)
    client, info = _asked(hub, session, note.id)
    sink = _Records()
    last = after
    if info.last > after:
        with _reading:
            handle = client.attach(note.id, after=after)
            try:
                last = _read(handle, sink, min(info.last, after + limit))
            finally:
                handle.close()
    ended = info.over and last >= info.last
    return {
        "records": sink.records,
        "text": _text(sink.records, plain),
        "coloured": _text(sink.records, str),
        "next": last,
        "ended": ended,
        "state": info.state,
    }


def _text(records: list[api.LogRecord], made: Callable[[str], str]) -> str:
    """Join the output into one text, records rendered by `made`, overwritten lines in their final form."""
    text = KeptText()
    for record in records:
        if record["kind"] not in {"end", "input"}:
            stream = "stdout" if record["kind"] == "stdout" else "stderr"
            text.stream(stream, made(record["text"]) + ("" if record["kind"] in _STREAMS else "\n"))
    text.finish()
    return text.text()


_STREAMS = frozenset({"stdout", "stderr"})


def _read(handle: RunHandle, sink: _Records, until: int) -> int:
    """Play records up to number `until` into `sink`; return the number of the last."""
    player = Player(handle, sink, interactive=False)
    last = handle.taken
    for record in handle.records(WAIT_S, until):
        sink.number = last = record.number
        player.play(record)
        if record.kind == "input":
            sink.add("input", str(record.head.get("prompt", ""))[:1000])
        if record.kind == "end":
            sink.add("end", f"{record.head.get('state', '')} {record.head.get('why') or ''}".strip())
        if last >= until or sink.size >= TEXT_MAX:
            break
    player.finish()
    return last


class _Records:
    """A sink that collects the output as numbered texts."""

    def __init__(self) -> None:
        self.records: list[api.LogRecord] = []
        self.number = 0
        self.size = 0

    def add(self, kind: str, text: str) -> None:
        """Add a text, keeping its colours only: a host must send no other control sequences to a browser."""
        kept = _tidy(text)
        self.size += len(kept)
        self.records.append({"n": self.number, "kind": kind, "text": kept})

    def stream(self, name: str, text: str) -> None:
        self.add(name, text)

    def display(self, content: dict[str, Any], *, update: bool) -> None:
        text = content.get("data", {}).get("text/plain")
        if text and not update:
            self.add("display", str(text))

    def result(self, content: dict[str, Any]) -> None:
        text = content.get("data", {}).get("text/plain")
        if text:
            self.add("result", str(text))

    def error(self, content: dict[str, Any]) -> None:
        lines = [str(line) for line in content.get("traceback", [])]
        self.add("error", "\n".join(lines) or str(content.get("ename", "error")))

    def clear(self, *, wait: bool) -> None:
        """Keep the output: a log is never cleared."""

    def ask(self, prompt: str, *, password: bool) -> str:  # noqa: ARG002
        """Ignore a question: a log only watches."""
        return ""

    def note(self, text: str) -> None:
        self.add("note", clean(text))

    def finish(self) -> None:
        """Do nothing: no output is held back."""


def _tidy(text: str) -> str:
    """Keep newlines, tabs, overwriting and colours of `text`, and drop all other control characters."""
    escapes = Escapes()
    return _MOVES.sub("", escapes.feed(text) + escapes.finish())


ROUTES: list[tuple[str, type[Handler]]] = [
    (rf"/sessions/{ID}/runs", Runs),
    (rf"/runs/{ID}", Run),
    (rf"/runs/{ID}/log", Log),
    (rf"/runs/{ID}/cancel", Cancel),
    (rf"/runs/{ID}/interrupt", Interrupt),
]
