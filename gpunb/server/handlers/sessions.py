"""Routes of sessions: list, details with history, extend, stop, start, end; and of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpunb.server import acting, schemas, shown
from gpunb.server.handlers.base import Handler, authorized, guarded
from gpunb.server.work import exactly
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.presentation import models

__all__ = ["ROUTES"]

ID = r"([A-Za-z0-9._-]{1,64})"


class Sessions(Handler):
    """``GET sessions``: all sessions."""

    @guarded
    @authorized
    async def get(self) -> None:
        """List the sessions."""
        alive = schemas.word("all", self.query("all"), ("0", "1")) == "0"
        await self.answer(self.hub.quick, self._list, alive)

    def _list(self, alive: bool) -> dict[str, list[models.Session]]:  # noqa: FBT001
        return {"sessions": shown.sessions_now(self.hub.ledger(), self.hub.loads.latest(), alive=alive)}


class Session(Handler):
    """``GET sessions/{id}``: one session."""

    @guarded
    @authorized
    async def get(self, ident: str) -> None:
        """Return the session with its history."""
        await self.answer(self.hub.quick, self._whole, ident)

    def _whole(self, ident: str) -> models.SessionWhole:
        ledger = self.hub.ledger()
        session = exactly(ledger, ident)
        events: list[models.SessionEvent] = [
            {"at": event.at, "kind": clean(event.kind), "state": event.new, "detail": clean(event.detail)}
            for event in ledger.events(session.id)
        ]
        now = shown.session_now(ledger, session, self.hub.loads.latest().get(session.id))
        return {**now, "events": events}


class Extend(Handler):
    """``POST sessions/{id}/extend``: extension of a lease."""

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """Extend the session's lease."""
        body = self.body(schemas.Extend)
        await self.answer(self.hub.hosts, acting.extend, self.hub, self.user, ident, body)


class _Acts(Handler):
    """Base of the actions that become jobs."""

    kind = ""
    model: type[schemas.Stop] = schemas.Stop

    async def act(self, ident: str) -> None:
        """Check the request and its confirmation, and start the job."""
        body = self.body(self.model)
        job = await self.hub.quick.run(acting.begin, self.hub, self.user, self.kind, ident, body)
        self.set_status(202)
        self.send({"job": job.data()})


class Stop(_Acts):
    """``POST sessions/{id}/stop``: stop of a session."""

    kind = "stop"

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """Stop the session."""
        await self.act(ident)


class Start(_Acts):
    """``POST sessions/{id}/start``: start of a stopped session."""

    kind = "start"
    model = schemas.Start

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """Start the session."""
        await self.act(ident)


class Down(_Acts):
    """``POST sessions/{id}/down``: end of a session."""

    kind = "down"
    model = schemas.Down

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """End the session."""
        await self.act(ident)


class Jobs(Handler):
    """``GET jobs``: the server's jobs."""

    @guarded
    @authorized
    async def get(self) -> None:
        """List the jobs."""
        self.send({"jobs": self.hub.jobs.listed()})


class Job(Handler):
    """``GET``, ``DELETE jobs/{id}``: one job."""

    @guarded
    @authorized
    async def get(self, ident: str) -> None:
        """Return the job's state."""
        self.send({"job": self.hub.jobs.get(ident).data()})

    @guarded
    @authorized
    async def delete(self, ident: str) -> None:
        """Interrupt the job, as by Ctrl-C."""
        job = self.hub.jobs.get(ident)
        job.interrupt()
        self.set_status(202)
        self.send({"job": job.data()})


ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/sessions", Sessions),
    (rf"/sessions/{ID}", Session),
    (rf"/sessions/{ID}/extend", Extend),
    (rf"/sessions/{ID}/stop", Stop),
    (rf"/sessions/{ID}/start", Start),
    (rf"/sessions/{ID}/down", Down),
    (r"/jobs", Jobs),
    (r"/jobs/([a-z0-9]{1,64})", Job),
]
