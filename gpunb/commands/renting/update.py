"""``update``: change the image, variables or start command of a running container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpunb.cli import container_options
from gpunb.cli.command import verb
from gpunb.errors import BadInput
from gpunb.presentation.result import Note, Result
from gpunb.text import clean
from gpunb.units import costs_text

if TYPE_CHECKING:
    from gpunb.cli.context import Context
    from gpunb.sessions.lifecycle.rebooting import Changes

__all__ = ["command"]


@verb(
    "update",
    asks=True,
    undone="nothing was changed",
    session=True,
    example="update train --image me/train:2 -e EPOCHS=3\nupdate --start-command 'serve.sh' --yes",
)
@click.option("--image", metavar="NAME", help="The container's image from now on.")
@click.option(
    "-e",
    "--env",
    multiple=True,
    metavar="NAME=VALUE",
    help="Its variables from now on: these alone, none that it had.",
)
@click.option(
    "--start-command",
    metavar="COMMAND",
    help="Start this instead of the image's own command; '' is the image's own again.",
)
@click.option(
    "--registry-login",
    metavar="[USER@]SERVER",
    help="Pull a private image; needed at each update of one, as the cloud does not tell it again.",
)
def command(
    context: Context,
    *,
    image: str | None,
    env: tuple[str, ...],
    start_command: str | None,
    registry_login: str | None,
    session: str | None,
    yes: bool,
) -> Result:
    """Change a session's container, and keep its machine, lease and price. Its files and variables are lost.

    Fluence's containers only. Ports stay as they were rented.
    """
    from gpunb.cli.container_options import variables
    from gpunb.providers import Capability
    from gpunb.services.questions import to_update
    from gpunb.sessions.lifecycle.rebooting import Changes, update

    found = context.session(session)
    provider = context.provider(found.provider)
    provider.need(Capability.UPDATE)
    named = {
        "image": image,
        "env": variables("update", env) if env else None,
        "start_command": None if start_command is None else start_command.strip(),
    }
    if registry_login is None and all(value is None for value in named.values()):
        msg = "update: names nothing to change"
        raise BadInput(
            msg, bill="nothing was changed", hint="--image, --env, --start-command, --registry-login"
        )
    login = None
    if registry_login is not None:
        login = container_options.registry(context, "update", registry_login, undone="nothing was changed")
    elif any(intent.summary.get("registry") for intent in context.ledger.intents(found.id)):
        msg = f"update: {provider.title} does not say which login its image was pulled with"
        raise BadInput(msg, bill="nothing was changed", hint="--registry-login USER@SERVER, also if it stays")
    changes = Changes(login=login, **named)  # type: ignore[arg-type]
    if not context.confirm(to_update(context.ledger, found, _words(changes)), yes=yes):
        return Result(
            {"session": found.name, "updated": False}, Note("nothing was changed", "dim"), exit_code=1
        )
    with context.progress(f"update {found.name}") as progress:
        found = update(context.ledger, provider, found, changes, progress=progress)
    return Result(
        {"session": found.name, "updated": True, "state": found.state.value, "image": found.image},
        Note(f"{found.name} is {found.state.value} again; it {costs_text(found.hourly)}", "ok"),
    )


def _words(changes: Changes) -> str:
    """Describe all changes, without values that may be secret."""
    parts = [f"image {clean(changes.image)[:120]}"] if changes.image is not None else []
    if changes.env is not None:
        parts.append(f"variables {', '.join(changes.env) or 'none'}")
    if changes.start_command is not None:
        parts.append(f"starts {clean(changes.start_command)[:100] or 'what the image names'}")
    if changes.login is not None:
        parts.append(f"pulled as {changes.login.user} at {changes.login.server}")
    return ", ".join(parts)
