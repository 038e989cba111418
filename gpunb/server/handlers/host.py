"""Routes of one host: ports, a terminal, its load, and transfers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb import isolated
from gpunb.errors import BadInput, WrongState
from gpunb.hints import typed
from gpunb.server import schemas, shown
from gpunb.server.handlers.base import Handler, authorized, guarded
from gpunb.server.telemetry import reachable
from gpunb.server.work import JobLedger, exactly
from gpunb.sessions.access import ports

if TYPE_CHECKING:
    from gpunb.presentation import models
    from gpunb.server.hub import Hub
    from gpunb.server.jobs import Job
    from gpunb.sessions.model import Session

__all__ = ["ROUTES"]

ID = r"([A-Za-z0-9._-]{1,64})"
SHOWN = 200  # paths of a plan in one answer


class Ports(Handler):
    """``GET``, ``POST sessions/{id}/ports``: port forwards."""

    @guarded
    @authorized
    async def get(self, ident: str) -> None:
        """List the forwarded ports."""
        await self.answer(self.hub.quick, _ports, self.hub, ident)

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """Forward a port."""
        await self.answer(self.hub.hosts, _forward, self.hub, ident, self.body(schemas.Port).port)


class Port(Handler):
    """``DELETE sessions/{id}/ports/{port}``: one port forward."""

    @guarded
    @authorized
    async def delete(self, ident: str, given: str) -> None:
        """Close the forward."""
        port = schemas.number("port", given, default=0, least=1, most=65535)
        await self.answer(self.hub.quick, _close, self.hub, ident, port)


class Terminal(Handler):
    """``POST sessions/{id}/terminal``: a terminal on the host."""

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """Open a terminal of the Jupyter server in which ssh runs."""
        self.body(schemas.Empty)
        session = await self.hub.quick.run(_up, self.hub, ident)
        manager = self.settings.get("terminal_manager")
        if manager is None or not self.settings.get("terminals_available", True):
            msg = "terminals are switched off in this Jupyter server"
            raise WrongState(msg, hint=typed("ssh -s", session.name) + " in a terminal of yours")
        if shutil.which("ssh") is None:
            msg = "there is no ssh program on the server's machine"
            raise WrongState(msg, hint="install openssh-client")
        argv = isolated.argv("gpunb", "ssh", "-s", session.name)
        model = manager.create(shell_command=argv, cwd=str(self.hub.root))
        self.send({"name": str(model["name"])})


class Telemetry(Handler):
    """``GET sessions/{id}/telemetry``: a host's load."""

    @guarded
    @authorized
    async def get(self, ident: str) -> None:
        """Return the host's load over time."""
        seconds = schemas.number("seconds", self.query("seconds"), default=600, least=10, most=86_400)
        await self.answer(self.hub.hosts, _telemetry, self.hub, ident, seconds)


class Transfer(Handler):
    """``POST sessions/{id}/transfers``: a new transfer."""

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """Start a transfer."""
        job = await self.hub.quick.run(_transfer, self.hub, ident, self.body(schemas.Transfer))
        self.set_status(202)
        self.send({"job": job.data()})


class Transfers(Handler):
    """``GET transfers``: the latest transfers."""

    @guarded
    @authorized
    async def get(self) -> None:
        """List the latest transfers."""
        await self.answer(self.hub.quick, _transfers, self.hub)


def _up(hub: Hub, ident: str) -> Session:
    session = exactly(hub.ledger(), ident)
    reachable(session)
    return session


def _ports(hub: Hub, ident: str) -> dict[str, Any]:
    return {"ports": shown.ports_of(exactly(hub.ledger(), ident).id)}


def _forward(hub: Hub, ident: str, port: int) -> dict[str, Any]:
    session = _up(hub, ident)
    there = [one for one in ports.listed(session.id) if one.host_port == port and not one.reverse]
    if not there:
        ports.open_port(session, port)
    hub.watcher.hurry()
    return _ports(hub, session.id)


def _close(hub: Hub, ident: str, port: int) -> dict[str, Any]:
    session = exactly(hub.ledger(), ident)
    there = ports.listed(session.id)
    chosen = [one for one in there if one.host_port == port]
    if not chosen:
        known = ", ".join(str(one.host_port) for one in there) or "none"
        msg = f"port: {port}: is not forwarded from {session.name} ({known} is)"
        raise BadInput(msg)
    for one in chosen:
        ports.close(one)
    return _ports(hub, session.id)


def _telemetry(hub: Hub, ident: str, seconds: int) -> models.Telemetry:
    session = _up(hub, ident)
    return hub.loads.asked(session, hub.context().agent(session), seconds)


def _transfers(hub: Hub) -> dict[str, Any]:
    ledger = hub.ledger()
    recent = ledger.sessions(alive=False)[-50:]
    chosen = {session.id: session for session in [*recent, *ledger.sessions()]}
    return {"transfers": shown.transfers(ledger, chosen.values())}


def _transfer(hub: Hub, ident: str, body: schemas.Transfer) -> Job:
    from gpunb.services.transfers import move, split

    session = _up(hub, ident)
    ends = {"source": split(body.source), "target": split(body.target)}
    there = [name for name, end in ends.items() if end is not None]
    if len(there) != 1:
        both = f"{body.source[:80]!r}, {body.target[:80]!r}"
        msg = f"source, target: {both}: one of them, and only one, must be on the host"
        raise BadInput(msg, bill="nothing was moved", hint="write the host's side with a colon: :data")
    end = ends[there[0]]
    assert end is not None  # noqa: S101 - it was taken from the existing ones
    if end[0] not in {None, session.id, session.name}:
        msg = f"{there[0]}: {end[0]!r}: is another session than {session.name}"
        raise BadInput(msg, bill="nothing was moved")
    up = there[0] == "target"
    here = str(hub.root / Path(body.source if up else body.target).expanduser())
    if up and not Path(here).exists():
        msg = f"source: {body.source[:80]!r}: there is no such file or folder on the server"
        raise BadInput(msg, bill="nothing was moved", hint=f"paths here begin at {hub.root}")
    source, target = (here, end[1]) if up else (end[1], here)

    def work(job: Job) -> dict[str, Any]:
        with JobLedger.of(job) as ledger:
            report = move(
                hub.context(job, ledger),
                session,
                source,
                target,
                direction="up" if up else "down",
                dry_run=body.dry_run,
                delete=False,
                mirror=False,
                include=(),
                exclude=(),
                checksum=False,
            )
        return shown.report(report.data(), SHOWN)

    what = body.source if up else body.source.partition(":")[2]
    title = f"copy {what} {'to' if up else 'from'} {session.name}"
    return hub.jobs.begin("transfer", session.id, title, work, join=False)


ROUTES: list[tuple[str, type[Handler]]] = [
    (rf"/sessions/{ID}/ports", Ports),
    (rf"/sessions/{ID}/ports/([0-9]{{1,10}})", Port),
    (rf"/sessions/{ID}/terminal", Terminal),
    (rf"/sessions/{ID}/telemetry", Telemetry),
    (rf"/sessions/{ID}/transfers", Transfer),
    (r"/transfers", Transfers),
]
