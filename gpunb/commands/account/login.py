"""``login``: check a cloud's API key and store it privately."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from gpunb import log, paths
from gpunb.cli.command import CloudOption, verb
from gpunb.cli.completers import complete_providers
from gpunb.errors import BadInput, WrongState
from gpunb.hints import typed
from gpunb.presentation.result import Block, Fields, Note, Result
from gpunb.units import money_text

if TYPE_CHECKING:
    from pydantic import SecretStr

    from gpunb.cli.context import Context
    from gpunb.providers import Account, Provider

__all__ = ["command", "with_key"]


@verb(
    "login",
    example=(
        "login vast\nlogin vast --scoped --may user_write\nlogin deepinfra --accept-terms\n"
        "login vast --stdin < key.txt"
    ),
)
@click.argument("provider", metavar="CLOUD", shell_complete=complete_providers)
@click.argument("words", nargs=-1, metavar="")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the key from standard input.")
@click.option(
    "--scoped",
    is_flag=True,
    cls=CloudOption,
    help="Make the smallest key that works, and keep that one (Vast).",
)
@click.option(
    "--may",
    multiple=True,
    metavar="CATEGORY",
    cls=CloudOption,
    help="With --scoped: let the key do this, too, such as user_write for `vast variables`.",
)
@click.option(
    "--accept-terms",
    is_flag=True,
    cls=CloudOption,
    help="Accept the cloud's terms, which are shown (DeepInfra).",
)
def command(
    context: Context,
    *,
    provider: str,
    words: tuple[str, ...],
    from_stdin: bool,
    scoped: bool,
    may: tuple[str, ...],
    accept_terms: bool,
) -> Result:
    """Check the key of CLOUD with a harmless call and keep it in the system's keyring.

    Where there is no keyring, it goes into a file that only you can read. The key is asked for, or
    read from standard input; it is never taken from the command line, nor shown again.
    """
    from gpunb.providers import keys, provider_class
    from gpunb.providers.features import ScopedKeys, Terms, feature

    if words:
        # not repeated here: the message would store what the user must not store
        msg = "login takes the cloud's name only; a key on the command line stays in the shell's history"
        hint = "make a new key if that was one, then " + typed("login", provider) + ": it is asked for"
        raise BadInput(msg, hint=hint)
    made = provider_class(provider)
    if not made.needs_key:
        msg = f"{made.title} needs no key"
        raise BadInput(msg)
    if provider in context.settings.simulated:
        msg = f"{provider} is simulated now, and the simulation has its own key"
        raise WrongState(msg, hint=typed("sim down") + ", then log in")
    blocks: list[Block] = []
    if may and not scoped:
        msg = f"--may {may[0]}: is for --scoped, which makes the key"
        raise BadInput(msg, bill="nothing was kept")
    if scoped:
        feature(made, ScopedKeys)
    if accept_terms:
        blocks.append(Note(feature(made, Terms).terms(), "strong"))
    known = keys.find(provider) if accept_terms and not from_stdin else None
    given = known.key if known is not None else _ask(context, made, from_stdin=from_stdin)
    with context.progress(f"login {provider}") as progress:
        progress.say(f"asking {made.title}")
        account = _checked(context, provider, given)
        if scoped:
            progress.say("making a key that may do no more than gpunb needs")
            given = _scoped(context, provider, given, may)
            _checked(context, provider, given)
    place = known.source if known is not None else keys.store(provider, given.get_secret_value())
    if accept_terms:
        from gpunb.settings import writing

        writing.write({"accept_terms": True}, ("providers", provider))
        blocks.append(Note(f"accepted, and remembered in {paths.config_file()}", "ok"))
    blocks += _shown(made.title, account, place, scoped=scoped, may=may)
    if "user_write" in may:
        blocks.append(
            Note("a key with user_write can make further keys: keep it as the account's own", "warn")
        )
    blocks += _shadows(context, provider, place)
    data = {
        "provider": provider,
        "user": account.user,
        "balance_usd": account.balance_usd,
        "spends_from": account.spends_from,
        "stored": place,
        "scoped": scoped,
        "may": list(may),
        "terms_accepted": accept_terms,
    }
    return Result(data, *blocks)


def _ask(context: Context, made: type[Provider], *, from_stdin: bool) -> SecretStr:
    from pydantic import SecretStr

    if from_stdin:
        text = sys.stdin.readline().strip()
        if not text:
            msg = "--stdin: standard input is empty"
            raise BadInput(msg)
    elif context.interactive or (context.frontend == "notebook" and context.shell is not None):
        import getpass

        where = f", made at {made.key_page}" if made.key_page else ""
        text = getpass.getpass(f"key of {made.title}{where} (not shown): ").strip()
        if not text:
            msg = "no key was given"
            raise BadInput(msg)
    else:
        msg = "there is no terminal to ask for the key"
        where = f"; a key is made at {made.key_page}" if made.key_page else ""
        raise BadInput(msg, hint=typed("login CLOUD --stdin < FILE") + where)
    log.add_secret(text)
    return SecretStr(text)


def with_key(context: Context, provider: str, key: SecretStr) -> Provider:
    """The provider at the address of the settings, with another key."""
    from gpunb.providers import ProviderConfig, provider_class

    table = context.settings.provider(provider)
    return provider_class(provider)(ProviderConfig(**{**table, "key": key}))


def _checked(context: Context, provider: str, key: SecretStr) -> Account:
    cloud = with_key(context, provider, key)
    try:
        return cloud.check()
    finally:
        cloud.close()


def _scoped(context: Context, provider: str, key: SecretStr, may: tuple[str, ...]) -> SecretStr:
    from gpunb.providers.features import ScopedKeys, feature

    cloud = with_key(context, provider, key)
    try:
        made = feature(cloud, ScopedKeys).create_scoped_key(more=may)
    finally:
        cloud.close()
    log.add_secret(made.get_secret_value())
    return made


def _shown(title: str, account: Account, place: str, *, scoped: bool, may: tuple[str, ...]) -> list[Block]:
    more = f", and {', '.join(may)}" if may else ""
    balance = None if account.balance_usd is None else money_text(account.balance_usd)
    return [
        Note(f"{title} takes the key", "ok"),
        Fields(
            [
                ("account", account.user),
                ("balance", balance),
                ("spends from", account.spends_from or None),
                ("kept in", place),
                ("the key", f"a new one that may do no more than gpunb needs{more}" if scoped else None),
                ("next", typed("offers --gpu H100") + " shows what can be rented now"),
            ]
        ),
    ]


def _shadows(context: Context, provider: str, place: str) -> list[Block]:
    """Warn of a variable or setting that overrides the key just stored."""
    from gpunb.providers import keys

    if os.environ.get(keys.variable(provider), "").strip() and "environment" not in place:
        return [Note(f"{keys.variable(provider)} is set, and beats the kept key while it is", "warn")]
    if context.settings.provider(provider)["key"] is not None:
        return [Note(f"a key in the settings beats the kept one: providers.{provider}.key", "warn")]
    return []
