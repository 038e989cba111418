"""The twins for asyncio: each method that waits has one, called the same with ``_async`` behind it."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

__all__ = ["twin"]

P = ParamSpec("P")
T = TypeVar("T")


def twin(waits: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same call in a thread, to be awaited. A wait that is cancelled leaves the work going."""

    @functools.wraps(waits)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(waits, *args, **kwargs)

    call.__name__ = f"{waits.__name__}_async"
    call.__qualname__ = f"{waits.__qualname__}_async"
    call.__doc__ = f"Await `{waits.__name__}`."
    return call
