"""A stopped session's files on their way to another machine: its cloud copies them from the kept disk.

What is on that disk is listed before anything is rented, and compared with what the new machine has.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpunb.errors import BadInput, SyncError, WrongState
from gpunb.hints import typed
from gpunb.services import provider_copies
from gpunb.services.moving import content, terms
from gpunb.sessions.access.activity import moving
from gpunb.sessions.access.kept_disk import HOME, listed
from gpunb.units import costs_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gpunb.hints import Hint
    from gpunb.providers.features import InstanceCopy
    from gpunb.remote import AgentClient
    from gpunb.services.moving.terms import Target
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session

__all__ = ["Disk", "carry", "check", "look"]

PACKAGES = "what a stopped machine has installed outside of the copied folders can't be listed"
_SIZES = """
import os, sys
def show(path):
    sys.stdout.buffer.write(b"%d\\t%s\\0" % (os.lstat(path).st_size, path))
for root in map(os.fsencode, sys.argv[1:]):
    if not os.path.isdir(root) and os.path.lexists(root):
        show(root)
    for folder, folders, names in os.walk(root):
        for name in names + folders:
            path = os.path.join(folder, name)
            if name in names or os.path.islink(path):
                show(path)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What is copied from a stopped session's disk.

    Attributes
    ----------
    title
        The cloud's name.
    roots
        The absolute paths that are copied, each with whether it is a folder.
    files
        All files in them: absolute path to bytes.
    left
        What stays behind: its path, and why.
    """

    title: str
    roots: Mapping[str, bool]
    files: Mapping[str, int]
    left: Mapping[str, str]


def look(context: Workspace, session: Session, target: Target, mounts: Sequence[str]) -> Disk:
    """List what a move of the stopped `session` copies; starts and rents nothing.

    Parameters
    ----------
    mounts
        Where volumes are mounted, whose files stay on them.

    Raises
    ------
    WrongState
        Its cloud does not list the disk.
    BadInput
        ``--path`` names nothing that is there.
    """
    provider = check(context, session, target)
    title = context.provider(session.provider).title
    files: dict[str, int] = {}
    roots: dict[str, bool] = {}
    left = dict.fromkeys(mounts, "it is on a volume, and stays there")
    with context.progress(f"looking into {session.name}, which is {terms.standing(session)}"):
        in_home = listed(provider, session, HOME)
        if HOME not in in_home:
            msg = f"move: {title} does not list what is on the disk of {session.name}"
            raise WrongState(msg, bill=_bill(session), hint=_start_first(session))
        names = {path.removeprefix(f"{HOME}/").partition("/")[0] for path in in_home if path != HOME}
        names -= content.CLOUDS_OWN
        wanted = [(f"{HOME}/{name}", in_home) for name in sorted(names) if not name.startswith(".")]
        apart = [content.WORK, *map(_absolute, target.paths), *content.saved_apart(session)]
        for path in map(posixpath.normpath, apart):
            there = listed(provider, session, path)
            if there:
                wanted.append((path, there))
            elif path in map(_absolute, target.paths):
                msg = f"move --path {path}: {title} finds nothing there on {session.name}"
                raise BadInput(msg, bill=_bill(session))
    for path, there in wanted:
        if path == HOME or content.within(path, [*mounts, *roots]):
            continue
        roots[path] = there.get(path) is None
        files.update({name: size for name, size in there.items() if size is not None and _in(name, path)})
    files = {name: size for name, size in files.items() if not content.within(name, mounts)}
    return Disk(title=title, roots=roots, files=files, left={**left, "packages": PACKAGES})


def _in(name: str, path: str) -> bool:
    return content.within(name, [path])


def check(context: Workspace, session: Session, target: Target) -> InstanceCopy:
    """Return the cloud of the stopped `session`, if that can copy its disk to what is to be rented.

    Raises
    ------
    WrongState
        It does not copy from stopped instances, or not to the clouds that are asked.
    """
    from gpunb.providers.features import InstanceCopy

    provider = context.provider(session.provider)
    how = terms.standing(session)
    if not isinstance(provider, InstanceCopy):
        msg = f"move: {session.name} is {how}, and {provider.title} copies no files from such a machine"
        raise WrongState(msg, bill=_bill(session), hint=_start_first(session))
    if terms.clouds(session, target) != (session.provider,):
        msg = f"move: {session.name} is {how}, and {provider.title} copies its files only to its own machines"
        raise WrongState(msg, bill=_bill(session), hint=_start_first(session))
    return provider


def _bill(session: Session) -> str:
    return f"nothing was rented; {session.name} {costs_text(session.hourly)}"


def _start_first(session: Session) -> Hint | str:
    again = ", then " + typed("move", session.name)
    if terms.standing(session) == "interrupted":
        return typed("start", session.name) + " when its cloud has a machine for it again" + again
    return typed("start", session.name) + again


def _absolute(path: str) -> str:
    return posixpath.normpath(posixpath.join(HOME, path))


def carry(context: Workspace, session: Session, made: Session, disk: Disk) -> content.Carried:
    """Have the cloud copy what `look` listed, and compare the new machine's files with that list.

    Raises
    ------
    SyncError
        The cloud says that a copy failed, or a file is not there as it is on the old disk.
    WrongState
        The session was started meanwhile.
    """
    client = context.agent(made)
    what = f"{session.name}, by {disk.title}"
    with moving(context.ledger, made, "up", what) as transfer:
        for path, folder in disk.roots.items():
            _copy(context, session, made, path, folder=folder, client=client)
        there = _sizes(client, disk.roots)
        wrong = [path for path, size in disk.files.items() if there.get(path) != size]
        if wrong:
            msg = (
                f"move: {len(wrong)} of the {len(disk.files)} files of {session.name} are not on the new "
                f"machine as they are on its disk: {wrong[0]}"
            )
            raise SyncError(msg, hint=typed("move", session.name) + " again, or " + _start_first(session))
        transfer.files, transfer.bytes = len(disk.files), sum(disk.files.values())
    content.note_folders(context.ledger, session, made, HOME, client.info.home)
    now = context.ledger.get(session.id)
    if (now.state, now.state_at) != (session.state, session.state_at):
        msg = f"move: {session.name} was started meanwhile, and its files may be newer than the copy"
        raise WrongState(msg, hint=typed("move", session.name) + " again")
    return content.Carried(
        files=len(disk.files),
        bytes=sum(disk.files.values()),
        paths=list(disk.roots),
        left=dict(disk.left),
    )


def _copy(
    context: Workspace, session: Session, made: Session, path: str, *, folder: bool, client: AgentClient
) -> None:
    from gpunb.providers.features import InstanceCopy, feature

    provider = context.provider(session.provider)
    copies: InstanceCopy = feature(provider, InstanceCopy)
    above = posixpath.dirname(_there(client, path))
    content.run(client, ["mkdir", "-p", above])
    end = "/" if folder else ""

    def begin() -> None:
        copies.copy_between(session.instance_id, path + end, made.instance_id, path + end)

    provider_copies.to_its_end(
        context, (provider, copies), made, f"{path} of {session.name}", begin, copies.cancel_copy_between
    )


def _there(client: AgentClient, path: str) -> str:
    """The place of a container's `path` on the new machine, whose home folder may be another one."""
    return client.info.home + path.removeprefix(HOME) if content.within(path, [HOME]) else path


def _sizes(client: AgentClient, roots: Mapping[str, bool]) -> dict[str, int]:
    """The files in `roots` on the new machine: absolute path, as on the old disk, to bytes."""
    if not roots:
        return {}
    home = client.info.home
    text = content.run(client, [client.info.python, "-c", _SIZES, *(_there(client, path) for path in roots)])
    rows = (row.partition("\t") for row in text.split("\0") if row)
    return {HOME + path[len(home) :] if _in(path, home) else path: int(size) for size, _, path in rows}
