"""Shell patterns, expanded on the host over SFTP."""

from __future__ import annotations

import contextlib
import stat
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gpunb.errors import SyncError
from gpunb.sync.planning.side import name_problem
from gpunb.sync.sftp import protocol as wire
from gpunb.sync.sftp.host_tree import Remote, encode
from gpunb.sync.sftp.protocol import Attrs, Fault, string

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["is_pattern", "matches", "split"]

MOST = 100_000


def is_pattern(path: str) -> bool:
    """Whether `path` holds ``*``, ``?`` or ``[``."""
    return bool(set(path) & set("*?["))


def split(path: str) -> tuple[str, str]:
    """Split at the first pattern: the fixed folder ("." or "/" if none), and the rest."""
    names = path.split("/")
    at = next((at for at, name in enumerate(names) if is_pattern(name)), len(names))
    fixed = "/".join(names[:at])
    return fixed or ("/" if path.startswith("/") else "."), "/".join(names[at:])


def matches(remote: Remote, root: str, pattern: str) -> list[str]:
    """Return the matching paths below `root`, sorted; ``**`` matches any folders, ``*`` no leading dot.

    Raises
    ------
    SyncError
        More than 100,000 names were looked at.
    """
    seen = [0]
    names = [name for name in pattern.split("/") if name not in ("", ".")]
    return sorted(set(_match(remote, root, "", names, seen)))


def _match(remote: Remote, root: str, path: str, names: list[str], seen: list[int]) -> Iterator[str]:
    if not names:
        if path:
            yield path
        return
    first, rest = names[0], names[1:]
    if not is_pattern(first):
        deeper = f"{path}/{first}" if path else first
        if remote.attrs(f"{root}/{deeper}", follow=bool(rest)) is not None:
            yield from _match(remote, root, deeper, rest, seen)
        return
    if first == "**":
        yield from _match(remote, root, path, rest, seen)
    for name, is_folder, is_link in _names(remote, f"{root}/{path}" if path else root):
        seen[0] += 1
        if seen[0] > MOST:
            msg = f"the pattern has more than {MOST} names to look at; name a smaller folder"
            raise SyncError(msg)
        deeper = f"{path}/{name}" if path else name
        if first == "**":
            if not name.startswith(".") and is_folder:
                yield from _match(remote, root, deeper, names, seen)
            if not rest and not name.startswith(".") and not is_folder:
                yield deeper
            continue
        fits = fnmatchcase(name, first) and (first.startswith(".") or not name.startswith("."))
        if fits and (not rest or is_folder or is_link):
            yield from _match(remote, root, deeper, rest, seen)


def _names(remote: Remote, folder: str) -> list[tuple[str, bool, bool]]:
    """List a folder's names, and whether each is a folder or a link; none if it is no folder."""
    result: list[tuple[str, bool, bool]] = []
    try:
        handle = remote.ask(wire.OPENDIR, string(encode(folder)))
    except Fault:
        return result
    try:
        while len(result) <= MOST:
            batch = remote.ask(wire.READDIR, string(handle))
            if not isinstance(batch, list) or not batch:
                break
            for raw, attrs in batch:
                name = raw.decode("utf-8", "surrogateescape")
                mode = attrs.mode or 0 if isinstance(attrs, Attrs) else 0
                if name_problem(name, name) is None:
                    result.append((name, stat.S_ISDIR(mode), stat.S_ISLNK(mode)))
    except Fault as fault:
        if fault.code != wire.EOF:
            return result
    finally:
        with contextlib.suppress(Fault):
            remote.ask(wire.CLOSE, string(handle))
    return result
