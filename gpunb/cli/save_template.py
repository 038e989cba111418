"""``rent --save-template``: the container options stored as a template of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gpunb.cli import container_options
from gpunb.cli.command import no_use
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result
from gpunb.services import searching

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["run"]

#: The parameters of `rent` that a template stores.
_KEPT = {"image", "env", "port", "onstart", "entrypoint", "hostname", "disk"}


def run(context: Context, name: str, disk: str | None, flags: dict[str, Any]) -> Result:
    """Create the template, or change the one of that name; rents nothing.

    Parameters
    ----------
    flags
        The other parameters of `rent`.
    """
    from gpunb.offers import query_from_flags
    from gpunb.providers.features import SavedTemplates, clouds_with, feature
    from gpunb.providers.models import CreateSpec
    from gpunb.services import image_facts

    others = {param.name for param in click.get_current_context().command.params if param.name}
    without = others - _KEPT - {"save_template", "cloud", "yes", "as_json", "verbose"}
    no_use("--save-template", *sorted(without))
    inside = container_options.read(context, **{one: flags[one] for one in container_options.NAMES})
    if inside["entrypoint"] == image_facts.AUTO:
        msg = f"rent --save-template {name} --entrypoint auto: it is read when a machine is rented"
        raise BadInput(
            msg, bill="nothing was rented or kept", hint="type the command that the image's page names"
        )
    named = searching.clouds(context, flags["cloud"]) if flags["cloud"] else []
    clouds = named or [one.name for one in clouds_with(SavedTemplates)]
    cloud = context.provider(clouds[0])
    gigabytes = query_from_flags("", hours=1.0, disk=disk).ask.disk_gb if disk else 0.0
    spec = CreateSpec(label="", public_key="", disk_gb=gigabytes, **inside)
    with context.progress(f"template {name}"):
        ident, changed = feature(cloud, SavedTemplates).save_template(name, spec)
    word = "changed" if changed else "kept"
    notes = [Note(f"{word} the template {name} at {cloud.title}; nothing was rented", "ok")]
    begin = typed("rent", "--template", ident) + " begins from it, for whoever has that id"
    notes.append(Note(begin, "dim"))
    if inside["env"]:
        notes.append(Note("whoever has the id can read its variables: no secret belongs there", "warn"))
    data = {"provider": cloud.name, "name": name, "template": ident, "changed": changed}
    return Result(data, *notes)
