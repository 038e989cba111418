"""Completion of option values: GPUs, kinds, regions, clouds and folders; also after a comma."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import click
    from click.shell_completion import CompletionItem

__all__ = ["clouds", "complete_providers", "folders", "gpus", "kinds", "regions", "states"]


def gpus(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete GPU model names, without blanks."""
    from gpunb.offers.gpus import known_names

    return _behind_comma((name.replace(" ", "") for name in known_names()), incomplete)


def kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete kinds of machine."""
    from gpunb.offers.language.fields import KINDS

    return _behind_comma(dict.fromkeys(KINDS.values()), incomplete)


def regions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete regions and country codes."""
    from gpunb.offers.regions import GROUPS, codes

    return _behind_comma([*GROUPS, *codes()], incomplete)


def clouds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete names of installed clouds."""
    from gpunb.providers import names

    return _behind_comma([*names(), "all"], incomplete)


def states(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete states of sessions and of instances."""
    from gpunb.providers import InstanceState
    from gpunb.sessions.model import SessionState

    known = [state.value for state in SessionState] + [state.value for state in InstanceState]
    return _behind_comma(dict.fromkeys(known), incomplete)


def folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete local folders, by the shell."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def _behind_comma(known: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Complete the last item of a comma-separated list from `known`, in the letter case being typed."""
    from click.shell_completion import CompletionItem

    before, comma, word = incomplete.rpartition(",")
    small = word.islower()
    fit = (one for one in known if one.lower().startswith(word.lower()))
    return [CompletionItem(f"{before}{comma}{one.lower() if small else one}") for one in fit]


def complete_providers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:  # noqa: ARG001
    """Complete names of installed clouds that need a key."""
    from click.shell_completion import CompletionItem

    from gpunb.providers import keys, names

    keyed = (name for name in names() if name not in {keys.LOCAL, keys.SSH})
    return [CompletionItem(name) for name in keyed if name.startswith(incomplete)]
