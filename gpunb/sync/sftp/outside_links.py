"""The targets of links that lead out of a folder on the host.

They are followed up to `NESTED` behind one another, each folder once, and not into the system's
folders, a folder that holds the one they are in, or nothing.
"""

from __future__ import annotations

import posixpath
import stat
from typing import TYPE_CHECKING

from gpunb.sync.planning.plan import Item, Tree, link_stays_inside
from gpunb.sync.planning.rules import Rules
from gpunb.sync.sftp.side import scan

if TYPE_CHECKING:
    from gpunb.sync.sftp.host_tree import Remote

__all__ = ["LINK", "NESTED", "WHOLE", "follow", "graft"]

NESTED = 8
FOLLOWED = 1000
LINK = "link that "
WHOLE = Rules(None, everything=True)
_BELOW = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
]
_MADE_UP = ("/proc/", "/sys/", "/dev/")
_SYSTEM = {*_BELOW, "/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var"}  # noqa: S108


def follow(remote: Remote, root: str, tree: Tree, came: dict[str, str]) -> tuple[Tree, list[tuple[str, str]]]:
    """Read the targets of links of `tree` that lead out; return them and (path, reason) of all others.

    Parameters
    ----------
    came
        The folders that come anyway: their real paths on the host, and their paths in the tree.
    """
    linked, left = Tree(), []
    todo = [(left_out, 0) for left_out in tree.left_out]
    while todo:
        left_out, depth = todo.pop(0)
        if left_out.rule.startswith("exclude "):
            continue
        if not (left_out.cant_go and left_out.rule.startswith(LINK)):
            left.append((left_out.path, left_out.rule))
            continue
        found = _behind(remote, root, left_out.path, came, full=depth >= NESTED or len(came) > FOLLOWED)
        if isinstance(found, str):
            left.append((left_out.path, found))
        elif isinstance(found, Item):
            linked.items.append(found)
        else:
            sub = Tree()
            graft(sub, left_out.path, 0o755, found)
            linked.items += sub.items
            linked.failed += sub.failed
            todo += [(more, depth + 1) for more in sub.left_out]
    return linked, left


def graft(tree: Tree, path: str, mode: int, found: Tree) -> None:
    """Insert `found` into `tree` as the folder `path`."""
    from gpunb.sync.planning.plan import LeftOut

    tree.items.append(Item(path, "dir", mode=mode & 0o777))
    for item in found.items:
        item.path = f"{path}/{item.path}"
        tree.items.append(item)
    tree.left_out += [LeftOut(f"{path}/{one.path}", one.rule, one.cant_go) for one in found.left_out]
    tree.failed += [(f"{path}/{name}" if name else path, why) for name, why in found.failed]


def _behind(remote: Remote, root: str, path: str, came: dict[str, str], *, full: bool) -> Tree | Item | str:
    """Read a link's target: a folder's tree, or a file or link to make instead; or the reason not to."""
    about = remote.attrs(f"{root}/{path}")
    if about is None:
        return "link that leads to nothing"
    real = posixpath.normpath(remote.real(f"{root}/{path}"))
    mode = about.mode or 0
    again = _into_what_comes(path, real, came)
    if again is not None:
        return again
    if stat.S_ISREG(mode) and not real.startswith(_MADE_UP):
        return Item(path, "file", about.size or 0, about.mtime or 0, mode & 0o777)
    why = _why_not(real, mode, full=full)
    if why:
        return f"link to {real}, {why}"
    came[real] = path
    return scan(remote, f"{root}/{path}", WHOLE)


def _why_not(real: str, mode: int, *, full: bool) -> str:
    if real.startswith(_MADE_UP):
        return "which the system makes up"
    if not stat.S_ISDIR(mode):
        return "which is neither a file nor a folder"
    if real in _SYSTEM or any(real.startswith(f"{one}/") for one in _BELOW):
        return "a folder of the system"
    return f"behind more than {NESTED} others (or one of more than {FOLLOWED})" if full else ""


def _into_what_comes(path: str, real: str, came: dict[str, str]) -> Item | str | None:
    """Replace a link to something that is fetched anyway: the local link, or the reason for none."""
    if any(known.startswith(f"{real.rstrip('/')}/") for known in came):
        return f"link to {real}, which holds it"
    inside = next((known for known in came if real == known or real.startswith(f"{known}/")), None)
    if inside is None:
        return None
    there = came[inside] if real == inside else posixpath.join(came[inside], posixpath.relpath(real, inside))
    goal = posixpath.relpath(there or ".", posixpath.dirname(path) or ".")
    if there and link_stays_inside(path, goal):
        return Item(path, "link", goal=goal)
    return f"link to {real}, which holds it"
