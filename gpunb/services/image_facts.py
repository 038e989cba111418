"""Image facts read from the registry before a rental: the entrypoint, if requested, and the size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gpunb import paths
from gpunb.errors import BadInput
from gpunb.providers import Capability
from gpunb.providers.machine import image_registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpunb.providers import Offer, Provider
    from gpunb.sessions.lifecycle import RentRequest

__all__ = ["AUTO", "with_facts"]

#: The value for an entrypoint that is read from the image's registry.
AUTO = "auto"


def with_facts(
    asked: RentRequest, offer: Offer, provider: Provider, say: Callable[[str], None]
) -> RentRequest:
    """Add to `asked` the image's own entrypoint, if requested, and its size, if the registry reports it.

    The registry is queried once, without a login and for some seconds at most; if only the size is
    wanted, a failure is ignored.

    Raises
    ------
    BadInput
        The entrypoint was requested and can't be read.
    """
    reads = asked.entrypoint == AUTO
    if reads and provider.can(Capability.START_COMMAND):
        return replace(asked, entrypoint="")  # the entrypoint runs by itself there
    pulled = offer.kind == "container" and provider.can(Capability.PRIVATE_IMAGES)  # from any registry
    if not pulled or not asked.image:
        if reads:
            msg = "rent --entrypoint auto: it needs --image, whose entrypoint can then be read"
            raise BadInput(msg, bill="nothing was rented", hint="--image NAME:TAG, or type the command")
        return asked
    try:
        info = _read(asked.image, str(offer.raw.get("cpu_arch") or "amd64"), say)
    except image_registry.Unread as err:
        if reads:
            msg = f"rent --entrypoint auto: {err.message}"
            hint = "type the command that the image's page names: --entrypoint 'COMMAND ARGUMENTS'"
            raise BadInput(msg, bill="nothing was rented", hint=hint) from err
        return asked
    if reads and not info.command:
        msg = f"rent --entrypoint auto: {asked.image} names no command of its own that can be run"
        raise BadInput(msg, bill="nothing was rented", hint="leave --entrypoint out, or type a command")
    return replace(
        asked,
        entrypoint=info.command if reads else asked.entrypoint,
        image_gb=info.size_gb or asked.image_gb,
    )


def _read(image: str, arch: str, say: Callable[[str], None]) -> image_registry.ImageInfo:
    where = image_registry.reference(image)
    if paths.simulation() is not None and not where.local:
        msg = f"while simulated clouds are in use, {where.host} is not asked"
        raise image_registry.Unread(msg)
    say(f"asking {where.host} for {where.name}")
    return image_registry.look_up(image, arch=arch)
