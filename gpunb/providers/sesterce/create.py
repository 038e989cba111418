"""The body of a create at Sesterce: what is rented, its key, its script."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpunb.errors import BadInput, NotSupported
from gpunb.hints import typed
from gpunb.providers.edge.payload import parse
from gpunb.providers.edge.text import clean
from gpunb.providers.machine.cloudinit import host_public, user_data
from gpunb.providers.machine.images import default_os
from gpunb.providers.sesterce.rows import KeyRow

if TYPE_CHECKING:
    from gpunb.providers.models import CreateSpec, Offer
    from gpunb.providers.sesterce.provider import SesterceProvider

__all__ = ["body"]

DEFAULT_IMAGE = "nvidia/cuda:12.4.1-devel-ubuntu22.04"


def body(provider: SesterceProvider, offer: Offer, spec: CreateSpec) -> tuple[dict[str, Any], str | None]:
    """Return the body that rents `offer`, and the public half of the host key in it, if there is one."""
    raw, extra = offer.raw, spec.extra
    try:
        cloud, own = raw["cloud"]["_id"], raw["instanceId"]
    except (KeyError, TypeError):
        msg = f"offer {clean(offer.id, 80)} lacks Sesterce's own record; search again"
        raise BadInput(msg, bill="nothing was rented") from None
    if not 1 <= len(spec.label) <= 64:
        msg = f"label {clean(spec.label, 80)!r} has {len(spec.label)} characters; 1 to 64 are taken"
        raise BadInput(msg, bill="nothing was rented")
    made: dict[str, Any] = {
        "name": spec.label,
        "cloudProvider": cloud,
        "instanceId": own,
        "region": offer.region,
        "sshKey": spec.public_key,
    }
    if spec.ssh_key:  # ours is in the first-boot script
        if why := provider.unfit(offer, spec):
            raise NotSupported(why, provider=provider.name, bill="nothing was rented")
        made["sshKeyId"] = _account_key(provider, spec.ssh_key)
        del made["sshKey"]
    volumes = [str(extra["volume_id"])] if extra.get("volume_id") else list(spec.volumes)
    if len(volumes) > 1:
        msg = f"volumes {volumes} are {len(volumes)}; Sesterce mounts one at create"
        raise BadInput(msg, bill="nothing was rented")
    if volumes:
        made["volumeId"] = volumes[0]
    if offer.kind == "container":
        _no_script(provider, spec, "a container")
        image = spec.image or DEFAULT_IMAGE
        if ":" not in image.rpartition("/")[2]:
            msg = f"image {clean(image, 80)!r} must be image:tag for Sesterce"
            raise BadInput(msg, bill="nothing was rented")
        made["dockerContainer"] = {"image": image}
        return made, None
    machine, host_key = _machine(provider, offer, spec)
    made["vm"] = machine
    return made, host_key


def _account_key(provider: SesterceProvider, wanted: str) -> str:
    known = [parse(KeyRow, row, provider=provider.name, what="an SSH key") for row in provider.ssh_keys()]
    if wanted in {row.id for row in known}:
        return wanted
    shown = ", ".join(f"{clean(row.id, 40)} ({clean(row.name, 40)})" for row in known[:8])
    msg = f"ssh_key {clean(wanted, 80)!r} must be the id of a key of the account: {shown or 'it has none'}"
    hint = typed("keys --cloud sesterce") + " lists them"
    raise BadInput(msg, bill="nothing was rented", hint=hint)


def _machine(provider: SesterceProvider, offer: Offer, spec: CreateSpec) -> tuple[dict[str, Any], str | None]:
    configuration = offer.raw.get("configuration")
    options = configuration.get("os") if isinstance(configuration, Mapping) else None
    known = [name for name in options if isinstance(name, str)] if isinstance(options, list) else []
    wanted = spec.extra.get("os") or spec.image or default_os(known)
    if wanted not in known:
        shown = ", ".join(clean(name, 60) for name in known[:12])
        msg = f"os {clean(wanted, 80)!r} must be one of the offer's: {shown or 'none'}"
        raise BadInput(msg, bill="nothing was rented")
    machine: dict[str, Any] = {"os": wanted}
    if not offer.raw.get("cloudInitAvailable"):
        _no_script(provider, spec, "this offer")
        return machine, None
    own = spec.extra.get("cloud_init")
    injected = spec.host_key if provider.takes_host_key(offer, spec.extra) else None
    script = str(own) if own else None
    if script is None:
        script = user_data(
            public_key=spec.public_key,
            host_key=injected,
            env=spec.env,
            onstart=spec.onstart,
            deadline=spec.deadline,
        )
    machine["base64CloudInitScript"] = base64.b64encode(script.encode()).decode()
    return machine, host_public(injected) if injected else None


def _no_script(provider: SesterceProvider, spec: CreateSpec, where: str) -> None:
    for field, value in (("onstart", spec.onstart), ("env", spec.env)):
        if value:
            msg = f"{provider.title} runs no first-boot script on {where}, so {field} can't be set"
            hint = "leave it out, and do it with " + typed("exec") + " once the machine is ready"
            raise NotSupported(msg, provider=provider.name, bill="nothing was rented", hint=hint)
