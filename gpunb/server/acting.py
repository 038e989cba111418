"""What touches the bill: said in money, confirmed with a token, carried out as a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpunb.commands.result import clean
from gpunb.errors import AuthFailed, BadInput, GpunbError, WrongState
from gpunb.server import bodies, shown
from gpunb.server.work import JobLedger, exactly
from gpunb.sessions import kernelspecs, lease, lifecycle, supervisor
from gpunb.sessions.model import SessionState, offer_from_dict
from gpunb.units import duration_text, money_text, price_text

if TYPE_CHECKING:
    from gpunb.offers import Ranked
    from gpunb.server.hub import Hub
    from gpunb.server.jobs import Job
    from gpunb.sessions.ledger import Ledger
    from gpunb.sessions.model import Session

__all__ = ["begin", "confirm", "extend", "rent"]

_MODELS: dict[str, type[bodies.Body]] = {
    "rent": bodies.Rent,
    "extend": bodies.Extend,
    "stop": bodies.Stop,
    "start": bodies.Start,
    "down": bodies.Down,
}


# -- confirmation ------------------------------------------------------------------------------


def confirm(hub: Hub, user: str, raw: dict[str, Any]) -> dict[str, Any]:
    """What an action would cost, and a token for exactly that.

    Raises
    ------
    GpunbError
        The action could not be carried out as it stands.
    """
    head = bodies.parse(bodies.Confirm, raw)
    rest = {name: value for name, value in raw.items() if name not in {"action", "session", "token"}}
    body = bodies.parse(_MODELS[head.action], rest)
    holds: Any = None
    usd: float | None
    if isinstance(body, bodies.Rent):
        if head.session is not None:
            msg = f"session: {head.session!r}: is no field of rent"
            raise BadInput(msg, bill="nothing was changed")
        holds = _offered(hub, body)
        _keyed(hub, holds.offer.provider)
        says, usd = _rent_says(hub, body, holds)
        arguments = body.arguments()
    else:
        if head.session is None:
            msg = f"session: is missing; {head.action} needs one"
            raise BadInput(msg, bill="nothing was changed")
        ledger = hub.ledger()
        session = exactly(ledger, head.session)
        _fits(session, head.action)
        says, usd = _says(ledger, session, head.action, body)
        arguments = {"session": session.id, **body.arguments()}
    token = hub.tokens.issue(user, head.action, arguments, holds)
    return {"token": token, "says": clean(says), "usd": usd, "expires_s": hub.tokens.life_s}


def _offered(hub: Hub, body: bodies.Rent) -> Ranked:
    found = hub.offer(body.offer)
    if found is None:
        msg = f"offer: {body.offer[:80]!r}: was not shown by this server in the last minutes"
        raise BadInput(msg, bill="nothing was rented", hint="search again, and choose from what is found")
    return found


def _keyed(hub: Hub, name: str) -> None:
    """Refuse to confirm what can't be rented for want of a key; some clouds show offers without."""
    provider = hub.context().provider(name)
    if provider.needs_key and provider.config.key is None:
        msg = f"there is no key for {provider.title}"
        raise AuthFailed(msg, provider=name, bill="nothing was rented", hint=f"gpunb login {name}, or here")


def _rent_says(hub: Hub, body: bodies.Rent, row: Ranked) -> tuple[str, float]:
    from gpunb.commands.views import machine
    from gpunb.sessions.ledger import valid_name

    offer, disk = row.offer, _disk(hub, body)
    if body.name is not None:
        valid_name(body.name)
        if any(one.name == body.name for one in hub.ledger().sessions()):
            msg = f"name: {body.name!r}: is taken by a live session"
            raise BadInput(msg, bill="nothing was rented", hint="choose another name")
    if disk > offer.disk_max_gb:
        msg = f"disk_gb: {disk:g}: the offer has at most {offer.disk_max_gb:g} GB"
        raise BadInput(msg, bill="nothing was rented")
    settings = hub.context().settings
    until = lease.lease_for(
        offer,
        now=0.0,
        hours=body.hours,
        idle_s=body.idle_s,
        budget_usd=settings.budget if body.budget_usd is None else body.budget_usd,
        budget_most=settings.budget_most,
        disk_gb=disk,
    )
    total = offer.total(body.hours, disk_gb=disk)
    where = f" in {offer.country}" if offer.country and offer.country != offer.provider else ""
    most = f", never more than {money_text(until.budget_usd)}" if until.budget_usd is not None else ""
    says = (
        f"rent {machine(offer.gpu, offer.gpus)} at {offer.provider}{where} for "
        f"{duration_text(body.hours * 3600)}: {price_text(offer.hourly(disk))} an hour with "
        f"{disk:g} GB of disk, {money_text(total)} for all of it{most}"
    )
    return says, round(total, 6)


def _disk(hub: Hub, body: bodies.Rent) -> float:
    return float(hub.context().settings.disk_gb if body.disk_gb is None else body.disk_gb)


def _fits(session: Session, action: str) -> None:
    allowed = shown.can(session)
    if action in allowed:
        return
    msg = f"session {session.name} is {session.state.value}: {action} does not fit"
    if action == "stop" and session.state is SessionState.READY:
        msg = f"{session.provider} can't stop an instance and keep it"
    hint = f"what fits: {', '.join(allowed)}" if allowed else "it costs nothing any more"
    raise WrongState(msg, bill="nothing was changed", hint=hint)


def _says(ledger: Ledger, session: Session, action: str, body: bodies.Body) -> tuple[str, float | None]:
    name = session.name
    runs = sum(one.ended is None for one in ledger.runs(session.id, 100))
    ends = f"; {runs} run{'s' if runs > 1 else ''} on it will end" if runs else ""
    so_far = money_text(ledger.cost(session.id).total)
    if isinstance(body, bodies.Extend):
        return _extend_says(ledger, session, body)
    if isinstance(body, bodies.Down):
        back = f", after {', '.join(session.save)} was brought back" if body.save and session.save else ""
        loss = (
            f"end {name} for good{back}: what is only on its disk is lost{ends}; it has cost {so_far} so far"
        )
        return loss, 0.0
    if action == "stop":
        price = price_text(session.stopped_usd_h)
        return f"stop {name}: it will cost {price} an hour for its disk, until it is down{ends}", 0.0
    price = price_text(session.usd_h)
    if session.lease.deadline is None:
        return f"start {name}: {price} an hour until it is stopped or down", None
    hours = max(0.0, session.lease.deadline - ledger.clock.time()) / 3600.0
    usd = session.usd_h * hours
    left = f"{money_text(usd)} for the {duration_text(hours * 3600)} that its lease has left"
    return f"start {name}: {price} an hour, {left}", round(usd, 6)


def _extend_says(ledger: Ledger, session: Session, body: bodies.Extend) -> tuple[str, float]:
    if body.hours is None and body.idle_s is None and body.budget_usd is None:
        msg = "extend: says nothing; it needs hours, idle_s or budget_usd"
        raise BadInput(msg, bill="nothing was changed")
    parts, usd = [], 0.0
    if body.hours is not None:
        offer = offer_from_dict(session.offer)
        usd = max(offer.total(body.hours, disk_gb=session.disk_gb), session.usd_h * body.hours)
        parts.append(f"{duration_text(body.hours * 3600)} more, at most {money_text(usd)}")
    if body.idle_s is not None:
        parts.append(f"an idle time of {duration_text(body.idle_s)}")
    if body.budget_usd is not None:
        spent = ledger.cost(session.id).total
        if body.budget_usd <= spent:
            msg = f"budget_usd: {body.budget_usd:g}: ${spent:.2f} are spent already, so it must be more"
            raise BadInput(msg, bill="nothing was changed")
        parts.append(f"a budget of {money_text(body.budget_usd)} for all of it")
        usd = max(usd, body.budget_usd - (session.lease.budget_usd or spent))
    return f"give {session.name} {', '.join(parts)}", round(usd, 6)


# -- what is done ------------------------------------------------------------------------------


def rent(hub: Hub, user: str, body: bodies.Rent) -> Job:
    """Begin to rent what was confirmed, as it was found then."""
    row: Ranked = hub.tokens.use(body.token, user, "rent", body.arguments())
    settings = hub.context().settings
    offer, disk = row.offer, _disk(hub, body)
    request = lifecycle.RentRequest(
        name=body.name,
        hours=body.hours,
        idle_s=settings.idle if body.idle_s is None else body.idle_s,
        budget_usd=settings.budget if body.budget_usd is None else body.budget_usd,
        budget_most=settings.budget_most,
        disk_gb=disk,
        python=settings.python or "",
        save=list(settings.save),
        save_to=str(hub.root),
    )
    from gpunb.commands.views import machine

    def work(job: Job) -> dict[str, Any]:
        with JobLedger.of(job) as ledger:
            provider = hub.context(job, ledger).provider(offer.provider)
            session = lifecycle.rent(
                ledger, provider, [offer], request, progress=job, watch=supervisor.ensure
            )
            kernelspecs.sweep(ledger.sessions())
            kernelspecs.install(session)
            return {"session": session.id, "name": session.name}

    title = f"rent {machine(offer.gpu, offer.gpus)} at {offer.provider}"
    return hub.jobs.begin("rent", None, title, work, join=False)


def extend(hub: Hub, user: str, ident: str, body: bodies.Extend) -> dict[str, Any]:
    """Give a session another lease, here and on its host."""
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


def begin(hub: Hub, user: str, kind: str, ident: str, body: bodies.Stop) -> Job:
    """Begin to stop, start or end a session; a second one joins the first."""
    ledger = hub.ledger()
    session = exactly(ledger, ident)
    hub.tokens.use(body.token, user, kind, {"session": session.id, **body.arguments()})
    save = body.save if isinstance(body, bodies.Down) else True

    def work(job: Job) -> dict[str, Any] | None:
        with JobLedger.of(job) as own:
            provider = hub.context(job, own).provider(session.provider)
            if kind == "stop":
                lifecycle.stop(own, provider, session, progress=job)
                return None
            if kind == "start":
                supervisor.ensure(own)
                lifecycle.start(own, provider, session, progress=job)
                return None
            try:
                receipt = lifecycle.down(own, provider, session, progress=job, save=save)
            except GpunbError:
                hub.watcher.hurry()
                raise
            return shown.receipt(receipt)

    return hub.jobs.begin(kind, session.id, f"{kind} {session.name}", work)
