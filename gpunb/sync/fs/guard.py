"""Hold back files of a stranger's folder that could run on this machine, for fsspec."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from gpunb.sync.local.autorun import HELD, held_note, is_git
from gpunb.sync.planning.plan import LeftOut
from gpunb.sync.planning.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpunb.sync.fs.filesystem import HostsFileSystem

__all__ = ["HeldBack", "without_held"]


class HeldBack(UserWarning):
    """Warning: files that could run on this machine were not fetched."""


def without_held(
    fs: HostsFileSystem, pairs: Sequence[tuple[str, Any]], typed: Any, include: Sequence[str]
) -> list[tuple[str, Any]]:
    """Filter ``(path on the host, local path)``; a `HeldBack` warning names the pairs that were removed.

    Parameters
    ----------
    typed
        What the user asked for, a path or a list: what is named whole may come.
    include
        Patterns that name what may come all the same.
    """
    rules = Rules(None, include=include, guard=True, everything=True)
    given = [fs._strip_protocol(one) for one in (typed if isinstance(typed, list) else [typed])]  # noqa: SLF001 - fsspec's
    roots = sorted((_fixed(one) for one in given), key=len, reverse=True)
    strangers: dict[str, bool] = {}
    kept: list[tuple[str, Any]] = []
    held: list[LeftOut] = []
    for remote, local in pairs:
        path = fs._strip_protocol(remote)  # noqa: SLF001 - fsspec's
        host = path.partition("/")[0]
        if host not in strangers:
            strangers[host] = fs.stranger(host)
        root = next((one for one in roots if path == one or path.startswith(f"{one}/")), host)
        names = [] if path in given else [name for name in path[len(root) :].split("/") if name]
        ways = ["/".join(names[: at + 1]) for at in range(len(names))]
        found = ((way, rules.why_out(way, folder=way != ways[-1])) for way in ways)
        out = next((LeftOut(way, why) for way, why in found if why and why.startswith(HELD)), None)
        # a .git folder comes from no host unasked, as in a sync: it would be mixed into the local one
        if out is not None and (strangers[host] or is_git(out.path.rpartition("/")[2])):
            held.append(out)
        else:
            kept.append((remote, local))
    if held:
        note = held_note(dict.fromkeys(held), option="include=[{!r}]")
        warnings.warn(note, HeldBack, stacklevel=4)
    return kept


def _fixed(path: str) -> str:
    """Return the part of a path before its first pattern."""
    names = path.split("/")
    at = next((at for at, name in enumerate(names) if set(name) & set("*?[")), len(names))
    return "/".join(names[:at])
