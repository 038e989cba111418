"""Routes of renting: search for offers, confirm an action, rent."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from gpunb.errors import AuthFailed, GpunbError
from gpunb.presentation import shapes
from gpunb.server import acting, schemas
from gpunb.server.failures import error_body
from gpunb.server.handlers.base import Handler, authorized, guarded
from gpunb.services import searching
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.offers.search import Answer
    from gpunb.presentation import api
    from gpunb.server.hub import Hub

__all__ = ["ROUTES"]


class Offers(Handler):
    """``POST offers``: a search."""

    @guarded
    @authorized
    async def post(self) -> None:
        """Search the clouds for offers."""
        await self.answer(self.hub.asking, search, self.hub, self.body(schemas.Offers))


class Confirm(Handler):
    """``POST confirm``: cost of an action and its token."""

    @guarded
    @authorized
    async def post(self) -> None:
        """Return what an action costs, and a token for it."""
        raw = schemas.read(self.request.body)
        await self.answer(self.hub.quick, acting.confirm, self.hub, self.user, raw)


class Rent(Handler):
    """``POST rent``: a rental."""

    @guarded
    @authorized
    async def post(self) -> None:
        """Start a rental."""
        job = await self.hub.quick.run(acting.rent, self.hub, self.user, self.body(schemas.Rent))
        self.set_status(202)
        self.send({"job": job.data()})


def search(hub: Hub, body: schemas.Offers) -> api.Offers:
    """Return the offers of all clouds that answer, and the error of each that does not."""
    from gpunb.offers import query_from_flags
    from gpunb.offers import search as ask

    context = hub.context()
    settings = context.settings
    hours = settings.hours if body.hours is None else body.hours
    disk = settings.disk_gb if body.disk_gb is None else body.disk_gb
    flags: dict[str, Any] = {"gpu": (body.gpu,)} if body.gpu.strip() else {}
    flags |= {"spot": body.rental == "spot", "reserved": body.rental == "reserved"}
    wanted = query_from_flags(body.query, hours=hours, disk=disk, limit=body.limit, **flags)
    failed: list[api.CloudFailure] = []
    providers = {}
    for name in searching.clouds(context, body.clouds):
        with _noted(failed, name):
            providers[name] = context.provider(name)
    result = ask(providers, wanted, history=searching.KeptHistory(context.ledger))
    titles = {name: provider.title for name, provider in providers.items()}
    failed += [_answer(answer, titles) for answer in result.failed]
    rows = {shape["key"]: (shape, row) for row in result.rows for shape in (shapes.ranked_shape(row),)}
    hub.keep_offers({key: row for key, (_, row) in rows.items()})
    shown = [shape for shape, _ in rows.values()]
    return {
        "offers": shown,
        "facets": shapes.facets(shown),
        "failed": failed,
        "matched": result.matched,
        "hours": hours,
        "disk_gb": disk,
    }


@contextlib.contextmanager
def _noted(failed: list[api.CloudFailure], name: str) -> Iterator[None]:
    try:
        yield
    except GpunbError as err:
        failed.append(_failed(name, name, err))


def _answer(one: Answer, titles: dict[str, str]) -> api.CloudFailure:
    err = one.error
    assert err is not None  # noqa: S101 - it is one of the failed ones
    return _failed(one.provider, titles.get(one.provider, one.provider), err)


def _failed(name: str, title: str, err: GpunbError) -> api.CloudFailure:
    body = error_body(err)
    return {
        "provider": name,
        "title": clean(title),
        "message": body["message"],
        "reason": body["reason"],
        "hint": body["hint"],
        "login": isinstance(err, AuthFailed),
    }


ROUTES: list[tuple[str, type[Handler]]] = [(r"/offers", Offers), (r"/confirm", Confirm), (r"/rent", Rent)]
