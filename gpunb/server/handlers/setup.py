"""Routes of the set-up: status, OpenAPI document, settings, login."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gpunb import __version__, log, paths, settings
from gpunb.errors import AuthFailed, BadInput, GpunbError, LedgerError, WrongState
from gpunb.hints import typed
from gpunb.server import API, schemas, shown
from gpunb.server.handlers.base import Handler, authorized, guarded
from gpunb.settings import writing
from gpunb.settings.build import is_secret
from gpunb.settings.files import SIMULATED
from gpunb.text import clean

if TYPE_CHECKING:
    from gpunb.presentation import api
    from gpunb.server.hub import Hub

__all__ = ["ROUTES"]


class Status(Handler):
    """``GET status``: the server's status."""

    @guarded
    @authorized
    async def get(self) -> None:
        """Return the status of the server, its supervisor and the clouds."""
        user = self.current_user
        name = clean(getattr(user, "display_name", None) or getattr(user, "username", ""))
        await self.answer(self.hub.asking, _status, self.hub, name)


class Spec(Handler):
    """``GET spec``: the OpenAPI document."""

    @guarded
    @authorized
    async def get(self) -> None:
        """Return the OpenAPI document."""
        self.finish(
            files("gpunb.server").joinpath("openapi.yaml").read_text("utf-8"),
            set_content_type="application/yaml",
        )


class Settings(Handler):
    """``GET``, ``PATCH settings``: the settings."""

    @guarded
    @authorized
    async def get(self) -> None:
        """Return the settings in effect."""
        await self.answer(self.hub.quick, _settings)

    @guarded
    @authorized
    async def patch(self) -> None:
        """Change the user's settings file."""
        body = self.body(schemas.SettingsPatch)
        changes = body.model_dump(exclude_unset=True)
        if not changes:
            msg = f"body: is empty; there are {', '.join(type(body).model_fields)}"
            raise BadInput(msg, bill="nothing was changed")
        await self.hub.quick.run(writing.write, changes)
        await self.answer(self.hub.quick, _settings)


class Login(Handler):
    """``POST login``: a cloud's key."""

    @guarded
    @authorized
    async def post(self) -> None:
        """Check a cloud's key and store it."""
        raw = schemas.read(self.request.body)
        if isinstance(raw.get("key"), str):
            log.add_secret(raw["key"].strip())
        await self.answer(self.hub.asking, _login, self.hub, schemas.parse(schemas.Login, raw))


def _status(hub: Hub, user: str) -> api.Status:
    found: api.Found = {"orphans": [], "unknown": []}
    watching = shown.nobody()
    try:
        ledger = hub.ledger()
        found = shown.found(ledger)
        watching = shown.supervisor(ledger, hub.host.error)
    except LedgerError as err:
        watching["error"] = clean(err.message)
    return {
        "version": __version__,
        "api": API,
        "user": user,
        "supervisor": watching,
        "found": found,
        "simulated": paths.simulation() is not None,
        "clouds": _clouds(),
    }


def _clouds() -> list[api.CloudInfo]:
    from gpunb.providers import keys, names

    found = settings.load()
    asked = keys.asked(found, names())
    return [_cloud(name, found, asked=name in asked) for name in names()]


def _cloud(name: str, found: settings.Settings, *, asked: bool) -> api.CloudInfo:
    from gpunb.providers import keys, provider_class

    title, needs, can = name, True, []
    with suppress(GpunbError):
        made = provider_class(name)
        title, needs, can = made.title, made.needs_key, shown.capabilities(name)
    key = not needs or name in found.simulated
    if not key:
        with suppress(GpunbError):
            key = keys.find(name) is not None or found.provider(name)["key"] is not None
    return {
        "name": name,
        "title": clean(title),
        "key": key,
        "needs_key": needs,
        "asked": asked,
        "simulated": name in found.simulated,
        "login": None if key else (typed("login", name) + ", or here"),
        "can": can,
    }


def _settings() -> api.Settings:
    about = {name: field.description or "" for name, field in settings.Settings.model_fields.items()}
    own = str(paths.config_file())
    rows = [row for row in settings.origins() if not is_secret(row.key)]
    project = settings.project_file()
    return {
        "settings": [
            {
                "key": row.key,
                "value": _plain(row.value),
                "source": clean(row.source),
                "about": about.get(row.key, ""),
                "own": row.source in {own, "default", SIMULATED},
            }
            for row in rows
        ],
        "user_file": own,
        "project_file": str(project) if project else None,
        "refused": [clean(refused.text()) for refused in settings.refused()],
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return clean(log.redact(str(value)))


def _login(hub: Hub, body: schemas.Login) -> api.LoggedIn:
    from pydantic import SecretStr

    from gpunb.commands.account.login import with_key
    from gpunb.providers import keys, provider_class

    made = provider_class(body.provider)
    if not made.needs_key:
        msg = f"provider: {body.provider!r}: {made.title} needs no key"
        raise BadInput(msg, bill="nothing was kept")
    context = hub.context()
    if body.provider in context.settings.simulated:
        msg = f"{body.provider} is simulated now, and the simulation has its own key"
        raise WrongState(msg, bill="nothing was kept", hint=typed("sim down") + ", then log in")
    cloud = with_key(context, body.provider, SecretStr(body.key.strip()))
    try:
        account = cloud.check()
    except AuthFailed as err:
        err.bill = "nothing was kept"
        raise
    finally:
        cloud.close()
    place = keys.store(body.provider, body.key)
    hub.clouds.renew()
    warning = None
    variable = keys.variable(body.provider)
    if os.environ.get(variable, "").strip() and "environment" not in place:
        warning = f"{variable} is set, and beats the kept key while it is"
    elif context.settings.provider(body.provider)["key"] is not None:
        warning = f"a key in the settings beats the kept one: providers.{body.provider}.key"
    return {
        "provider": body.provider,
        "account": clean(account.user),
        "balance_usd": account.balance_usd,
        "stored": clean(place),
        "warning": warning,
    }


ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/status", Status),
    (r"/spec", Spec),
    (r"/settings", Settings),
    (r"/login", Login),
]
