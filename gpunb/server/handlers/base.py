"""Base class of all handlers: authentication, authorization, JSON in and out, errors as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from gpunb import __version__, log
from gpunb.server import schemas
from gpunb.server.failures import NoRoute, error_body, status_of
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.cookies import Morsel  # noqa: F401 - tornado's annotations name it

    from gpunb.presentation.api import Problem
    from gpunb.server.hub import Hub
    from gpunb.server.threads import Pool

__all__ = ["Handler", "Missing", "authorized", "guarded", "user_of"]

guarded = web.authenticated
_STATUS_WORDS = {403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 413: "TooLarge"}


def user_of(handler: Any) -> str:
    """Return the name under which the requester's confirmations are kept.

    A client with the server's own token is its owner: without cookies it has no lasting name.
    Others have the name that the identity provider gives.
    """
    if handler.token_authenticated:
        return "token"
    if not handler.identity_provider.auth_enabled:
        return "anybody"
    return f"user:{handler.current_user.username}"


class Handler(APIHandler):
    """A route below ``/gpunb/api/v1/``; `auth_resource` is the resource that an authorizer checks."""

    auth_resource = "gpunb"

    @property
    def hub(self) -> Hub:
        """The state that all handlers share."""
        return cast("Hub", self.settings["gpunb_hub"])

    @property
    def user(self) -> str:
        """The name of the requester, for confirmations."""
        return user_of(self)

    def set_default_headers(self) -> None:
        """Forbid caching in the browser and in proxies."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    def body(self, model: type[schemas.M]) -> schemas.M:
        """Return the request's body, validated."""
        return schemas.parse(model, schemas.read(self.request.body))

    def query(self, name: str) -> str | None:
        """Return a query value as it was sent; tornado's own strips blanks and control characters."""
        found = self.request.query_arguments.get(name)
        return found[-1].decode("utf-8", "surrogateescape") if found else None

    async def answer(self, pool: Pool, work: Callable[..., Any], *args: Any, status: int = 200) -> None:
        """Run `work` in `pool` and send its result, or its error."""
        found = await pool.run(work, *args)
        self.set_status(status)
        self.send(found)

    def send(self, found: Any) -> None:
        """Send strict JSON (no NaN)."""
        self.finish(json.dumps(found, allow_nan=False))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send every error with the same four fields."""
        info = kwargs.get("exc_info")
        err = info[1] if info else None
        if isinstance(err, web.HTTPError) or err is None:
            reason = getattr(err, "log_message", None) or getattr(err, "reason", None) or ""
            word = _STATUS_WORDS.get(status_code, "HttpError")
            reason = str(reason).replace("%%", "%")
            body: Problem = {"message": clean(reason or word), "reason": word, "hint": None, "bill": None}
        else:
            body = error_body(err)
            status_code = status_of(err)
            self.set_status(status_code)
            after = getattr(err, "retry_after", None)
            if after:
                self.set_header("Retry-After", str(max(1, round(after))))
        self.finish(json.dumps(body))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log expected failures in one line, others with their traceback."""
        if value is not None and not isinstance(value, web.HTTPError):
            if status_of(value) == 500:
                log.get(__name__).error("%s %s", self.request.method, self.request.path, exc_info=value)
                super().log_exception(typ, value, tb)
            return
        super().log_exception(typ, value, tb)


class Missing(Handler):
    """Handler of unknown routes, such as those a page of another version asks for."""

    @guarded
    async def get(self) -> None:
        """Answer that there is no such route."""
        msg = f"gpunb {__version__} has no {self.request.path}: page and server are of different versions"
        raise NoRoute(msg, hint="install the same gpunb for both, restart the server, and reload the page")

    post = put = patch = delete = get
