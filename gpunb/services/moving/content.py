"""What a move carries from one host to the other: files, packages, plain variables; each checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gpunb.errors import GpunbError, SyncError, VariableError, WrongState
from gpunb.hints import typed
from gpunb.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gpunb.remote import AgentClient
    from gpunb.services.workspace import Workspace
    from gpunb.sessions.ledger.sessions import Ledger
    from gpunb.sessions.model import Session

__all__ = [
    "CLOUDS_OWN",
    "WORK",
    "Carried",
    "carry",
    "idle",
    "lacking",
    "note_folders",
    "run",
    "saved_apart",
    "within",
]

MOST = 1 << 30  # bytes of variables, which pass through this process
LOOK_S = 120.0
WORK = "/workspace"  # where images of marketplaces keep the user's files
CLOUDS_OWN = frozenset({"onstart.sh", "hasbooted"})  # Vast's, in the home folder; each machine has its own
_VISIBLE = "find . -mindepth 1 -maxdepth 1 ! -name '.*' -print0"
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")


@dataclass(slots=True, kw_only=True)
class Carried:
    """What was carried.

    Attributes
    ----------
    packages
        Those that were installed, ``name==version``.
    left
        What stayed behind: its name, and why.
    """

    files: int = 0
    bytes: int = 0
    paths: list[str] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def idle(client: AgentClient, session: Session) -> None:
    """Refuse a session on which something runs: it would be lost with the machine.

    Raises
    ------
    WrongState
        A run has not ended.
    """
    going = [info for info in client.runs() if not info.over]
    if going:
        msg = f"move: {going[0].kind} {going[0].id} ({going[0].name}) still runs on {session.name}"
        hint = typed("logs", going[0].id, "-f") + " follows it, " + typed("cancel", going[0].id) + " ends it"
        raise WrongState(msg, bill="the session runs on and is billed", hint=hint)


def saved_apart(session: Session) -> list[str]:
    """The absolute places of what is to be saved at the session's end: the new machine has to have them."""
    from gpunb.sync.sftp.host_glob import is_pattern, split

    places = (split(path)[0] if is_pattern(path) else path for path in session.save)
    return [place for place in places if place.startswith("/") and place.rstrip("/")]


def note_folders(ledger: Ledger, old: Session, new: Session, home: str, there: str) -> None:
    """Note for `new` where runs and syncs put files: what ``--save`` names is looked for there.

    Parameters
    ----------
    home, there
        The home folders of the old and of the new machine.
    """
    from gpunb.sessions.lifecycle import fetch_results

    for event in ledger.events(old.id):
        if event.kind == fetch_results.FOLDER:
            inside = within(event.detail, [home])
            folder = there + event.detail.removeprefix(home) if inside else event.detail
            fetch_results.note_folder(ledger, new, folder)


def carry(
    context: Workspace,
    old: Session,
    new: Session,
    *,
    paths: Sequence[str],
    install: bool,
    mounts: Sequence[str] = (),
) -> Carried:
    """Copy files, install packages, carry variables; raises if the copy is not what the old host has.

    Parameters
    ----------
    paths
        Folders beside what is visible in the home folder; one that is not there is no error.
    mounts
        Where volumes are mounted, whose files stay on them.
    """
    done = Carried()
    source, target = context.agent(old), context.agent(new)
    roots = _roots(source, target)
    for path in paths:
        if not within(path, [root for root, _ in roots]) and _there(source, path):
            roots.append((path, path))
    _files(context, old, new, [root for root in roots if not within(root[0], mounts)], done)
    if install:
        _packages(context, new, source, target, done, same=bool(old.image) and old.image == new.image)
    _variables(context, source, target, done)
    note_folders(context.ledger, old, new, source.info.home, target.info.home)
    return done


def _roots(source: AgentClient, target: AgentClient) -> list[tuple[str, str]]:
    """What is copied unasked, on both hosts: what is visible in the home folder, and /workspace."""
    home, there = source.info.home, target.info.home
    shown = run(source, ["sh", "-c", f'cd "$1" && {_VISIBLE}', "sh", home])
    names = {name.removeprefix("./") for name in shown.split("\0") if name} - CLOUDS_OWN
    roots = [(f"{home}/{name}", f"{there}/{name}") for name in sorted(names)]
    has_work = run(source, ["sh", "-c", f"test -d {WORK} && cd {WORK} && pwd -P || true"]).strip()
    inside = f"{has_work}/".startswith(f"{home}/") or f"{home}/".startswith(f"{has_work}/")
    return roots if not has_work or inside else [*roots, (WORK, WORK)]


def within(path: str, folders: Iterable[str]) -> bool:
    """Whether `path` is one of `folders` or lies in one."""
    return any(f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/") for folder in folders)


def _there(client: AgentClient, path: str) -> bool:
    from gpunb.ssh import quote

    return client.connection.run(quote(["test", "-e", path]), timeout=LOOK_S).code == 0


def run(client: AgentClient, argv: Sequence[str]) -> str:
    """What a short command prints on the host; raises `WrongState` if it fails."""
    from gpunb.ssh import quote

    done = client.connection.run(quote(argv), timeout=LOOK_S)
    if done.code:
        why = done.err.decode("utf-8", "replace").strip()[-300:]
        msg = f"move: {client.name} could not be looked at: {why}"
        raise WrongState(msg)
    return done.out.decode("utf-8", "surrogateescape")


def _files(
    context: Workspace, old: Session, new: Session, roots: Iterable[tuple[str, str]], done: Carried
) -> None:
    """Copy each, then plan the same copy again: nothing may be left to do.

    Raises
    ------
    SyncError
        A file did not go, or changed meanwhile.
    """
    from gpunb.services import transfers

    for source, target in roots:
        ends = (old, source, new, target)
        report = transfers.relay(context, ends, everything=True)
        failed = [f"{path}: {why}" for path, why in report.failed]
        if not failed:
            again = transfers.relay(context, ends, everything=True, dry_run=True, checksum=False)
            failed = [f"{item.path}: it changed while it was copied" for item in again.plan.items]
        if failed:
            msg = f"move: {len(failed)} of the files in {source} are not on the new machine: {failed[0]}"
            raise SyncError(msg, hint="end what writes there, and " + typed("move", old.name) + " again")
        done.files += report.sent_files
        done.bytes += report.sent_bytes
        done.paths.append(source)
        done.left.update({f"{source}/{item.path}": item.rule for item in report.plan.left_out[:20]})


def _packages(
    context: Workspace, new: Session, source: AgentClient, target: AgentClient, done: Carried, *, same: bool
) -> None:
    """Install what the old Python has and the new one lacks.

    Raises
    ------
    JobFailed
        They could not be installed.
    """
    from gpunb.services.running import packages

    here, there = _frozen(source), _frozen(target)
    if here is None or there is None:
        done.left["packages"] = "a host's Python has no pip to list them"
        return
    wanted, strange = lacking(here, there, same=same)
    done.left.update(dict.fromkeys(strange, "it was not installed from an index"))
    if wanted:
        needs = packages.Needs("pip", {"requirements.txt": "\n".join(wanted) + "\n"})
        packages.install(context, new, target, path=Path(f"packages of {source.name}"), needs=needs)
    done.packages = wanted


def _frozen(client: AgentClient) -> list[str] | None:
    from gpunb.services.running import host_python

    try:
        return run(client, host_python.pip(client, ["freeze"])).splitlines()
    except WrongState:
        return None


def lacking(here: Sequence[str], there: Sequence[str], *, same: bool) -> tuple[list[str], list[str]]:
    """Compare two outputs of ``pip freeze``: what the second lacks, and what no index has.

    Parameters
    ----------
    same
        Whether both have one image: then another version is a difference, too. Else it is the image's.
    """
    known = {_plain(found[1]): found[2] for line in there if (found := _PINNED.fullmatch(line.strip()))}
    installed = {line.strip() for line in there}
    wanted, strange = [], []
    for line in (one.strip() for one in here):
        found = _PINNED.fullmatch(line)
        if not line or line.startswith("#") or line in installed:
            continue
        if found is None:
            # a folder of the old machine, or an address, which may hold a token
            strange.append(line.partition(" @ ")[0].removeprefix("-e ")[:100])
        elif _plain(found[1]) not in known or (same and known[_plain(found[1])] != found[2]):
            wanted.append(line)
    return wanted, strange


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _variables(context: Workspace, source: AgentClient, target: AgentClient, done: Carried) -> None:
    """Carry what travels in forms that can't run code, smallest first; the rest is named."""
    from gpunb.remote import get, put
    from gpunb.remote.variables import movable

    sizes, left = movable(source)
    done.left.update(left)
    names, total = [], 0
    for name in sorted(sizes, key=sizes.__getitem__):
        total += sizes[name]
        if total > MOST:
            done.left[name] = f"variables are carried up to {bytes_text(MOST)} in all"
        else:
            names.append(name)
    if not names:
        return
    with context.progress("variables") as progress:
        try:
            values = get(source, names, progress=progress)
        except VariableError as err:
            values = dict(err.values or {})
            done.left.update({name: err.message for name in names if name not in values})
        except GpunbError:
            raise
        if values:
            done.variables = sorted(put(target, values, progress=progress).names)
