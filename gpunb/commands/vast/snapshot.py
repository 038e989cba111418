"""``vast snapshot``: push the container's present state as an image to a registry of yours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from gpunb.cli import container_options
from gpunb.cli.command import verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.result import Note, Result

if TYPE_CHECKING:
    from gpunb.cli.context import Context

__all__ = ["command"]


@verb(
    "vast snapshot",
    asks=True,
    undone="nothing was pushed",
    session=True,
    first="typed",
    example=(
        "vast snapshot me/x --registry-login me@docker.io\n"
        "vast snapshot train me/x --registry-login me@ghcr.io"
    ),
)
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--registry-login", required=True, metavar="[USER@]SERVER", help="The registry to push to.")
@click.option("--running", is_flag=True, help="Don't pause it meanwhile; files may be half written.")
def command(
    context: Context, *, repository: str, registry_login: str, running: bool, session: str | None, yes: bool
) -> Result:
    """Push a machine's container to your registry as an image, for `rent --image` later (Vast).

    Volumes are not in it. The host does the work, so it is given the registry's password: a token that may
    push to this one repository is enough. Vast answers before it is done; `logs --daemon` shows how it goes.
    """
    from gpunb.providers.features import Snapshots, feature

    found = context.session(session)
    provider = context.provider(found.provider)
    cloud = feature(provider, Snapshots)
    if not re.fullmatch(r"[a-z0-9._-]{1,128}(/[a-z0-9._-]{1,128}){1,4}", repository):
        msg = f"snapshot {repository!r}: must be OWNER/NAME in small letters, without a tag"
        raise BadInput(msg, bill="nothing was changed")
    from gpunb.services.confirmations import Question

    pause = "" if running else " The container is paused until the image is made: runs stand still."
    question = Question(
        text=f"Push the container of {found.name} to {repository} at {registry_login.rpartition('@')[2]}: "
        f"its host is given the password, and the traffic is billed.{pause}",
        prompt="Push it?",
    )
    if not context.confirm(question, yes=yes):
        return Result(
            {"session": found.name, "pushed": False}, Note("nothing was changed", "dim"), exit_code=1
        )
    login = container_options.registry(context, "snapshot", registry_login, undone="nothing was changed")
    with context.progress(f"snapshot of {found.name}"):
        cloud.snapshot(
            found.instance_id,
            repository=repository,
            user=login.user,
            password=login.password,
            registry=login.server,
            pause=not running,
        )
    context.ledger.note(found.id, "snapshot", f"{login.server}/{repository}")
    return Result(
        {"session": found.name, "pushed": True, "image": f"{login.server}/{repository}"},
        Note(f"{provider.title} took the order: {found.name} goes to {login.server}/{repository}", "ok"),
        Note(typed("logs --daemon -s", found.name) + " shows how it goes", "dim"),
    )
