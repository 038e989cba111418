"""Actions that cost money: priced, confirmed with a token, and carried out as a job."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from gpunb.errors import AuthFailed, BadInput, GpunbError, WrongState
from gpunb.hints import typed
from gpunb.server import schemas, shown
from gpunb.server.work import JobLedger, exactly
from gpunb.services import questions, renting
from gpunb.sessions import lifecycle
from gpunb.sessions.cost import lease
from gpunb.sessions.model import SessionState, machine
from gpunb.sessions.supervisor import process
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.offers import Ranked
    from gpunb.presentation import api, models
    from gpunb.server.hub import Hub
    from gpunb.server.jobs import Job
    from gpunb.services.confirmations import Question
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.lifecycle import RentRequest
    from gpunb.sessions.lifecycle.agreement import Agreement
    from gpunb.sessions.model import Session

__all__ = ["begin", "confirm", "extend", "rent"]

_MODELS: dict[str, type[schemas.Body]] = {
    "rent": schemas.Rent,
    "extend": schemas.Extend,
    "stop": schemas.Stop,
    "start": schemas.Start,
    "down": schemas.Down,
}


# -- confirmation ------------------------------------------------------------------------------


def confirm(hub: Hub, user: str, raw: dict[str, Any]) -> api.Question:
    """Return what an action would cost, and a token for exactly that action.

    Raises
    ------
    GpunbError
        The action could not be carried out as it stands.
    """
    head = schemas.parse(schemas.Confirm, raw)
    rest = {name: value for name, value in raw.items() if name not in {"action", "session", "token"}}
    body = schemas.parse(_MODELS[head.action], rest)
    holds: Any = None
    if isinstance(body, schemas.Rent):
        if head.session is not None:
            msg = f"session: {head.session!r}: is no field of rent"
            raise BadInput(msg, bill="nothing was changed")
        row = _offered(hub, body)
        _keyed(hub, row.offer.provider)
        holds = (row, *_plan(hub, body, row))
        question = renting.question(hub.ledger(), *holds, provider=hub.context().provider)
        arguments = body.arguments()
    else:
        if head.session is None:
            msg = f"session: is missing; {head.action} needs one"
            raise BadInput(msg, bill="nothing was changed")
        ledger = hub.ledger()
        session = exactly(ledger, head.session)
        _fits(session, head.action)
        question = _question(ledger, session, head.action, body)
        arguments = {"session": session.id, **body.arguments()}
    token = hub.tokens.issue(user, head.action, arguments, holds)
    return {
        "token": token,
        "says": clean(question.text),
        "usd": question.usd,
        "expires_s": hub.tokens.life_s,
    }


def _offered(hub: Hub, body: schemas.Rent) -> Ranked:
    ranked = hub.offer(body.offer)
    if ranked is None:
        msg = f"offer: {body.offer[:80]!r}: was not shown by this server in the last minutes"
        raise BadInput(msg, bill="nothing was rented", hint="search again, and choose from what is found")
    return ranked


def _keyed(hub: Hub, name: str) -> None:
    """Refuse to confirm a rental at a cloud without a key; some clouds show offers without one."""
    provider = hub.context().provider(name)
    if provider.needs_key and provider.config.key is None:
        msg = f"there is no key for {provider.title}"
        raise AuthFailed(
            msg, provider=name, bill="nothing was rented", hint=typed("login", name) + ", or here"
        )


def _plan(hub: Hub, body: schemas.Rent, row: Ranked) -> tuple[RentRequest, Agreement]:
    settings = hub.context().settings
    asked = renting.request(
        settings,
        name=body.name,
        hours=body.hours,
        idle_s=body.idle_s,
        budget_usd=body.budget_usd,
        disk_gb=body.disk_gb,
        save_to=str(hub.root),
    )
    return asked, renting.agreement(row, asked, tolerance=settings.price_tolerance)


def _fits(session: Session, action: str) -> None:
    allowed = shown.can(session)
    if action in allowed:
        return
    msg = f"session {session.name} is {session.state.value}: {action} does not fit"
    if action == "stop" and session.state is SessionState.READY:
        msg = f"{session.provider} can't stop an instance and keep it"
    hint = f"what fits: {', '.join(allowed)}" if allowed else "it costs nothing any more"
    raise WrongState(msg, bill="nothing was changed", hint=hint)


def _question(ledger: Ledger, session: Session, action: str, body: schemas.Body) -> Question:
    if isinstance(body, schemas.Extend):
        return questions.to_extend(
            ledger, session, hours=body.hours, idle_s=body.idle_s, budget_usd=body.budget_usd
        )
    if isinstance(body, schemas.Down):
        return questions.to_down(ledger, [session], save=body.save)
    return (questions.to_stop if action == "stop" else questions.to_start)(ledger, session)


# -- actions -----------------------------------------------------------------------------------


def rent(hub: Hub, user: str, body: schemas.Rent) -> Job:
    """Start the rental of a confirmed offer, as it was found then."""
    row, asked, agreed = hub.tokens.use(body.token, user, "rent", body.arguments())
    offer = row.offer

    def work(job: Job) -> dict[str, Any]:
        with JobLedger.of(job) as ledger:
            frontend = renting.RentalFrontend(
                ledger=ledger,
                provider=hub.context(job, ledger).provider,
                progress=lambda: contextlib.nullcontext(job),
                say=job.say,
            )
            session = renting.rent(frontend, [row], asked, agreed)
            assert session is not None  # noqa: S101 - no confirmation is asked for at this point
            return {"session": session.id, "name": session.name}

    title = f"rent {machine(offer.gpu, offer.gpus)} at {offer.provider}"
    return hub.jobs.begin("rent", None, title, work, join=False)


def extend(hub: Hub, user: str, ident: str, body: schemas.Extend) -> models.Session:
    """Extend a session's lease, here and on its host."""
    ledger = hub.ledger()
    session = exactly(ledger, ident)
    hub.tokens.use(body.token, user, "extend", {"session": session.id, **body.arguments()})
    try:
        session = lease.extend(
            ledger, session, hours=body.hours, idle_s=body.idle_s, budget_usd=body.budget_usd
        )
    finally:
        hub.watcher.hurry()
    return shown.session_now(ledger, session, hub.loads.latest().get(session.id))


def begin(hub: Hub, user: str, kind: str, ident: str, body: schemas.Stop) -> Job:
    """Start a job that stops, starts or ends a session; a second request joins the first."""
    ledger = hub.ledger()
    session = exactly(ledger, ident)
    hub.tokens.use(body.token, user, kind, {"session": session.id, **body.arguments()})
    save = body.save if isinstance(body, schemas.Down) else True

    def work(job: Job) -> models.Receipt | None:
        with JobLedger.of(job) as own:
            provider = hub.context(job, own).provider(session.provider)
            if kind == "stop":
                lifecycle.stop(own, provider, session, progress=job)
                return None
            if kind == "start":
                process.ensure(own)
                lifecycle.start(own, provider, session, progress=job)
                return None
            try:
                receipt = lifecycle.down(own, provider, session, progress=job, save=save)
            except GpunbError:
                hub.watcher.hurry()
                raise
            return shown.receipt(receipt)

    return hub.jobs.begin(kind, session.id, f"{kind} {session.name}", work)
