"""Lookup of a provider's optional features, and the error for a missing one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gpunb.errors import BadInput, NotSupported
from gpunb.providers.models import Capability

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.providers.base import Provider

__all__ = ["clouds_with", "feature", "lacking", "refusal", "who_can"]


_T = TypeVar("_T")

#: What a cloud without the feature can't do; the text follows "Vast.ai can't".
_WORDS: dict[object, str] = {
    Capability.STOP: "stop an instance and keep it",
    Capability.REBOOT: "reboot an instance",
    Capability.RECYCLE: "make a container anew and keep its GPU",
    Capability.UPDATE: "update a container",
    Capability.RENAME: "rename an instance",
    Capability.LOGS: "show an instance's log",
    Capability.EVENTS: "show an instance's events",
    Capability.VOLUMES: "keep volumes",
    Capability.USAGE: "say what a single instance cost",
}


def lacking(words: str) -> Callable[[type[_T]], type[_T]]:
    """Set what a cloud without the decorated feature can't do."""

    def keep(cls: type[_T]) -> type[_T]:
        _WORDS[cls] = words
        return cls

    return keep


def feature(provider: Provider | type[Provider], wanted: type[_T]) -> _T:
    """Return `provider`, which has the feature `wanted`; a class is asked for what its instances have.

    Raises
    ------
    NotSupported
        It has not; the message names the clouds that have.
    """
    if issubclass(provider if isinstance(provider, type) else type(provider), wanted):
        return provider  # type: ignore[return-value] # a class has its class methods
    raise refusal(provider, wanted)


def clouds_with(wanted: type | Capability) -> list[type[Provider]]:
    """List the installed clouds that have a feature or a capability, by name; a broken one has none."""
    from gpunb.providers import names, provider_class

    result = []
    for name in names():
        try:
            cls = provider_class(name)
        except BadInput:
            continue
        if wanted in cls.capabilities if isinstance(wanted, Capability) else issubclass(cls, wanted):
            result.append(cls)
    return result


def who_can(wanted: type | Capability) -> str:
    """Join the clouds of `clouds_with` as text: "Fluence, local and Vast.ai"; "" if there are none."""
    titles = [cls.title for cls in clouds_with(wanted)]
    return " and ".join(filter(None, [", ".join(titles[:-1]), *titles[-1:]]))


def refusal(provider: Provider | type[Provider], wanted: str | Capability | type) -> NotSupported:
    """Return the message that `provider` can't do it, and which clouds can."""
    if isinstance(wanted, str) and not isinstance(wanted, Capability):
        return NotSupported(f"{provider.title} can't {wanted}", provider=provider.name)
    listed = who_can(wanted)
    able = f"; {listed} can" if listed else ""
    words = _WORDS.get(wanted) or str(getattr(wanted, "value", wanted))
    return NotSupported(f"{provider.title} can't {words}{able}", provider=provider.name)
