"""``keys``: API and SSH keys of your accounts at the clouds, and SSH keys of one machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunb.cli.command import verb
from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.presentation.columns import Column
from gpunb.presentation.result import Block, Cell, Note, Result, Table
from gpunb.sessions.foreign_errors import ANY, words
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.cli.context import Context
    from gpunb.providers import Provider

__all__ = ["command"]


@verb(
    "keys",
    asks=True,
    session=True,
    example="keys\nkeys --cloud vast --revoke api:1234\nkeys train",
)
@click.option("--cloud", metavar="NAME", help="Only this cloud. [default: those that have a key here]")
@click.option("--revoke", metavar="KIND:ID", help="Revoke this key; the list has the ids.")
@click.option(
    "--attach", metavar="FILE", type=click.Path(), help="With a SESSION: let this public key log in, too."
)
def command(
    context: Context,
    *,
    cloud: str | None,
    revoke: str | None,
    attach: str | None,
    session: str | None,
    yes: bool,
) -> Result:
    """Show API keys and SSH keys of your accounts, never the secrets; with a SESSION those of its machine.

    gpunb needs no SSH key of an account: each session has a key of its own.
    """
    from gpunb.providers.features import InstanceKeys, feature

    if attach is not None and (session is None or revoke is not None):
        msg = "keys --attach: needs a session, and no --revoke"
        raise BadInput(msg, hint=typed("keys SESSION --attach ~/.ssh/id_ed25519.pub"))
    if session is not None:
        found = context.session(session)
        clouds = [context.provider(found.provider)]
        feature(clouds[0], InstanceKeys)
        instance, where = found.instance_id, found.name
    else:
        clouds, instance, where = _clouds(context, cloud), "", ""
    if attach is not None:
        return _attach(context, clouds[0], instance, where, attach, yes=yes)
    rows: list[dict[str, Any]] = []
    notes: list[Block] = []
    for provider in clouds:
        try:
            rows += _listed(provider, instance)
        except ANY as err:  # noqa: PERF203 - a cloud that is down must not hide the others' keys
            if len(clouds) == 1:
                raise
            notes.append(Note(clean(f"{provider.name}: {words(err)}"), "warn"))
    if revoke is not None:
        return _revoke(context, clouds, rows, revoke, instance, where, yes=yes)
    if not rows:
        return Result([], *notes, Note("no keys", "dim"))
    heads = [
        Column("cloud"),
        Column("id", wrap=True),
        Column("name", drop=2, wrap=True),
        Column("key", drop=1, wrap=True),
    ]
    shown = [[row["provider"], Cell(row["id"], "strong"), row["name"], row["key"]] for row in rows]
    return Result(
        rows, Table(heads, shown), *notes, Note(typed("keys --revoke ID") + " takes one away", "dim")
    )


def _clouds(context: Context, cloud: str | None) -> list[Provider]:
    from gpunb.providers import keys, names
    from gpunb.providers.features import ApiKeys, SshKeys, feature

    if cloud is not None:
        provider = context.provider(cloud)
        if not isinstance(provider, ApiKeys):
            feature(provider, SshKeys)
        return [provider]
    providers = context.clouds(keys.asked(context.settings, names()))
    return [one for one in providers if isinstance(one, (SshKeys, ApiKeys))]


def _listed(provider: Provider, instance: str) -> Iterator[dict[str, Any]]:
    from gpunb.providers.features import ApiKeys, InstanceKeys, SshKeys, feature

    if instance:
        for attached in feature(provider, InstanceKeys).attached_keys(instance):
            yield _row(provider, "machine", {"id": attached.id, "key": attached.line})
        return
    for key in provider.api_keys() if isinstance(provider, ApiKeys) else ():
        yield _row(provider, "api", {"id": key.id, "name": key.name, "key": _may(key.permissions)})
    for record in provider.ssh_keys() if isinstance(provider, SshKeys) else ():
        if isinstance(record, dict):
            yield _row(provider, "ssh", record)


def _row(provider: Provider, kind: str, row: dict[str, Any]) -> dict[str, Any]:
    """A table row of a key: id, name and public half, whatever the cloud calls them."""
    ident = next((row[name] for name in ("id", "_id", "key_id", "fingerprint") if row.get(name)), "")
    line = next((row[name] for name in ("key", "public_key", "publicKey", "ssh_key") if row.get(name)), "")
    words = clean(line).split()
    short = (
        line
        if kind == "api"
        else " ".join([*words[:1], f"…{words[1][-16:]}", *words[2:3]] if words[1:] else words)
    )
    return {
        "provider": provider.name,
        "id": f"{kind}:{clean(ident)[:100]}",
        "name": clean(row.get("name") or "")[:100],
        "key": clean(short)[:200],
    }


def _attach(
    context: Context, provider: Provider, instance: str, where: str, file: str, *, yes: bool
) -> Result:
    from gpunb.providers.features import InstanceKeys, feature
    from gpunb.services.confirmations import Question

    try:
        text = Path(file).expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        msg = f"keys --attach {file!r}: can't be read: {getattr(err, 'strerror', None) or err}"
        raise BadInput(msg) from err
    if "PRIVATE KEY" in text:
        msg = f"keys --attach {file!r}: is the private half, which never leaves this machine"
        raise BadInput(msg, hint=f"--attach {file}.pub")
    words = text.split()
    named = clean(words[2])[:60] if len(words) > 2 else "without a name"
    question = Question(
        text=f"Let the key {named} log in at {where} as {provider.title} keeps it: whoever has it can do "
        "everything there.",
        prompt="Attach it?",
    )
    if not context.confirm(question, yes=yes):
        return Result({"session": where, "attached": False}, Note("nothing was changed", "dim"), exit_code=1)
    with context.progress(f"attach a key to {where}"):
        feature(provider, InstanceKeys).attach_key(instance, text)
    return Result({"session": where, "attached": True}, Note(f"the key {named} may log in at {where}", "ok"))


def _may(permissions: Any) -> str:
    """The permissions of an API key, in its cloud's words."""
    scopes = permissions.get("api") if isinstance(permissions, dict) else None
    return (
        f"may {', '.join(map(str, scopes))}" if isinstance(scopes, dict) and scopes else "may do everything"
    )


def _revoke(  # noqa: PLR0917 - one call
    context: Context,
    clouds: list[Provider],
    rows: list[dict[str, Any]],
    given: str,
    instance: str,
    where: str,
    *,
    yes: bool,
) -> Result:
    from gpunb.providers.features import ApiKeys, InstanceKeys, SshKeys, feature
    from gpunb.services.confirmations import Question

    found = [row for row in rows if row["id"] == given]
    if len(found) != 1:
        msg = f"keys --revoke {given!r}: {len(found) or 'none'} of {len(rows)} keys has that id"
        raise BadInput(msg, hint=typed("keys") + " lists them; --cloud names the cloud")
    (row,) = found
    provider = next(cloud for cloud in clouds if cloud.name == row["provider"])
    kind, _, ident = given.partition(":")
    loses = {
        "api": "Whatever uses it is locked out at once; if gpunb does, it can end nothing there any more.",
        "ssh": "Machines that are rented later do not get it; those that run keep it.",
        "machine": f"It opens no login at {where} any more; without the session's own, gpunb can't log in.",
    }[kind]
    named = f" ({row['name']})" if row["name"] else ""
    question = Question(
        text=f"Revoke the key {given}{named} at {provider.title}. {loses}",
        prompt="Revoke it?",
        undone="nothing was revoked",
    )
    if not context.confirm(question, yes=yes):
        return Result({"revoked": False, **row}, Note("nothing was revoked", "dim"), exit_code=1)
    with context.progress(f"revoke {given}"):
        if kind == "api":
            feature(provider, ApiKeys).delete_api_key(int(ident))
        elif kind == "ssh":
            feature(provider, SshKeys).delete_ssh_key(ident)
        else:
            feature(provider, InstanceKeys).detach_key(instance, int(ident))
    return Result({"revoked": True, **row}, Note(f"revoked {given} at {provider.title}", "ok"))
