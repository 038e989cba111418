"""Providers: the protocol of all clouds, and one file or package for each cloud.

They are found by the entry-point group ``gpunb.providers``; a class is imported only when asked for.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.providers.base import (
    Account,
    Capability,
    CreateSpec,
    Instance,
    InstanceState,
    Offer,
    OfferQuery,
    Presence,
    Provider,
    ProviderConfig,
    RegistryLogin,
    UsageLine,
    Volume,
)

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "Account",
    "Capability",
    "CreateSpec",
    "Instance",
    "InstanceState",
    "Offer",
    "OfferQuery",
    "Presence",
    "Provider",
    "ProviderConfig",
    "RegistryLogin",
    "UsageLine",
    "Volume",
    "names",
    "provider_class",
]


@cache
def _registry() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="gpunb.providers")}


def names() -> list[str]:
    """List the installed providers' names, sorted; nothing is imported."""
    return sorted(_registry())


def provider_class(name: str) -> type[Provider]:
    """Import and return the class of the provider called `name`.

    Raises
    ------
    BadInput
        No provider has that name, or its module can't be imported.
    """
    point = _registry().get(name)
    if point is None:
        from difflib import get_close_matches

        close = get_close_matches(name, names(), n=1)
        msg = f"there is no provider {name!r}; installed are {', '.join(names())}"
        raise BadInput(msg, hint=f"did you mean {close[0]}?" if close else None)
    try:
        loaded = point.load()
    except ImportError as err:
        msg = f"provider {name!r} can't be imported: {err}"
        raise BadInput(
            msg, hint=f"pip install --upgrade {point.dist.name if point.dist else 'gpunb'}"
        ) from err
    if not (isinstance(loaded, type) and issubclass(loaded, Provider)):
        msg = f"provider {name!r} ({point.value}) is not a subclass of gpunb.providers.Provider"
        raise BadInput(msg)
    return loaded
