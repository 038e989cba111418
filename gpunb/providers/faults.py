"""Fault injection between a cloud's client and the network, for `gpunb.providers.contract`; needs httpx."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

__all__ = ["Fault", "Faults"]

#: The call is not sent; it is done and its answer is lost; it is done and its answer has another shape.
Fault = Literal["down", "lost", "odd"]


class Faults:
    """Records every call of every ``httpx.Client`` while it is `installed`, and injects faults.

    Attributes
    ----------
    calls
        The requests that were begun since `broken` was entered, retries too.
    """

    def __init__(self) -> None:
        self.calls: list[httpx.Request] = []
        self._rule: Callable[[httpx.Request], Fault | None] = _nothing

    @contextmanager
    def installed(self) -> Iterator[Faults]:
        """Intercept the calls between httpx and the network."""
        send = httpx.Client.send

        def broken_send(client: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
            self.calls.append(request)
            fault = self._rule(request)
            if fault == "down":
                msg = "the contract refuses the connection"
                raise httpx.ConnectError(msg, request=request)
            response = send(client, request, **more)
            if fault is None:
                return response
            response.close()
            if fault == "lost":
                msg = "the contract loses the answer"
                raise httpx.ReadError(msg, request=request)
            return httpx.Response(200, json={"message": "under maintenance"}, request=request)

        httpx.Client.send = broken_send  # type: ignore[method-assign, assignment]
        try:
            yield self
        finally:
            httpx.Client.send = send  # type: ignore[method-assign]

    @contextmanager
    def broken(self, rule: Callable[[httpx.Request], Fault | None]) -> Iterator[None]:
        """Inject into each call the fault that `rule` returns for it, None for none."""
        self.calls.clear()
        self._rule = rule
        try:
            yield
        finally:
            self._rule = _nothing

    def odd_after(self, whole: int) -> AbstractContextManager[None]:
        """Let `whole` calls pass, and give all later ones an odd answer."""
        return self.broken(lambda _: "odd" if len(self.calls) > whole else None)

    @staticmethod
    def carries(request: httpx.Request, text: str) -> bool:
        """Return whether `request` may change something, and names `text`."""
        changes = request.method not in ("GET", "HEAD")
        return changes and (text.encode() in request.read() or text in str(request.url))


def _nothing(_request: httpx.Request) -> None:
    return None
