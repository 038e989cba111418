"""Resolve the source and target that the user typed to exact paths, or refuse them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import posixpath
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gpunb.errors import BadInput, NotEnoughSpace, SyncBusy
from gpunb.hints import typed
from gpunb.paths import home, private_dir
from gpunb.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpunb.ssh.endpoint import Endpoint
    from gpunb.sync.planning.plan import Plan
    from gpunb.sync.sftp.protocol import Attrs

__all__ = [
    "Endpoints",
    "Looker",
    "between",
    "down_ends",
    "folds_here",
    "free_here",
    "lock",
    "need_room",
    "typed_name",
    "up_ends",
]

_SYSTEM = {"/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/proc"}
_SYSTEM |= {"/run", "/sbin", "/sys", "/tmp", "/usr", "/var"}  # noqa: S108 - names to refuse


# `model.pt`, and not `run-1.5`
_FILE_LIKE = re.compile(r"[^.]\.[A-Za-z][A-Za-z0-9]{0,11}$")


class Looker(Protocol):
    """Path queries on a host, over SFTP or through the agent."""

    def attrs(self, path: str, *, follow: bool = True) -> Attrs | None:
        """Return the attributes of `path`; None if nothing is there."""

    def real(self, path: str) -> str:
        """Return the absolute path of `path`, links followed."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The two exact endpoints of a sync.

    Attributes
    ----------
    here, there
        The folders here and on the host whose contents correspond.
    single
        For a single file: its name in the target folder; "" for folders.
    source
        For a single file: its own full path.
    """

    here: Path
    there: str
    single: str = ""
    source: str = ""


def up_ends(remote: Looker, source: str, target: str, *, delete: bool) -> Endpoints:
    """Resolve the endpoints of a sync from this machine to the host.

    Raises
    ------
    BadInput
        The source is not there, or the target is one that is never written.
    """
    path = _local(source, "source")
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as err:
        msg = f"source {source!r}: {err.strerror or err}"
        raise BadInput(msg) from err
    if not is_folder and not path.is_file():
        msg = f"source {source!r}: must be a folder or a file"
        raise BadInput(msg)
    there = host_path(remote, target)
    if is_folder:
        _refuse_host(remote, there, target, delete=delete)
        return Endpoints(path.resolve(), there)
    _no_delete(source, delete=delete)
    attrs = remote.attrs(there)
    into = _like_folder(target) or (attrs is not None and stat.S_ISDIR(attrs.mode or 0))
    folder, name = (there, path.name) if into else posixpath.split(there)
    if folder == "/":
        msg = f"target {target!r}: files are not put into / of the host"
        raise BadInput(msg, hint="name a folder, or :NAME for one in the host's home")
    return Endpoints(path.parent.resolve(), folder, name, str(path))


def down_ends(remote: Looker, source: str, target: str, *, delete: bool) -> Endpoints:
    """Resolve the endpoints of a sync from the host to this machine.

    Raises
    ------
    BadInput
        The source is not there, or the target is one that is never written.
    """
    there = host_path(remote, source)
    if there == "/":
        msg = f"source {source!r}: the whole of a host is not fetched"
        raise BadInput(msg, hint="name the folder with your results")
    attrs = remote.attrs(there)
    if attrs is None:
        raise not_there(source, there)
    path = _local(target, "target")
    if stat.S_ISDIR(attrs.mode or 0):
        _expected_folder(source, str(path), into=path.is_dir())
        resolved = path.resolve()
        if resolved == Path("/") or (delete and resolved == Path.home().resolve()):
            msg = f"target {target!r}: a sync into {resolved} is refused"
            raise BadInput(msg, hint="name a folder of its own")
        return Endpoints(resolved, there)
    if not stat.S_ISREG(attrs.mode or 0):
        msg = f"source :{source} is neither a file nor a folder"
        raise BadInput(msg)
    _no_delete(source, delete=delete)
    into = _like_folder(target) or path.is_dir()
    folder, name = (path, typed_name(source)) if into else (path.parent, path.name)
    return Endpoints(folder.resolve(), posixpath.dirname(there), name, there)


def typed_name(source: str) -> str:
    """The name of a single file as the user wrote it; the target of a host's link does not rename it.

    Raises
    ------
    BadInput
        It has none: ``..``.
    """
    name = posixpath.basename(posixpath.normpath(source.rstrip("/")))
    if name in ("", ".", "..", "~"):
        msg = f"source :{source} does not say what the file is called here"
        raise BadInput(msg, hint="name the file, or the target: sync :PATH NAME")
    return name


def _expected_folder(source: str, target: str, *, into: bool) -> None:
    """Refuse a source folder that was typed like a file, whose files would be spread over `target`.

    Raises
    ------
    BadInput
        `source` ends like a file's name, and `target` is a folder of another name.
    """
    name = posixpath.basename(source)
    if into and _FILE_LIKE.search(name) and posixpath.basename(posixpath.abspath(target)) != name:
        msg = f"source :{source} is a folder on the host, and its name is like a file's"
        raise BadInput(
            msg,
            hint=f"sync :{source} {posixpath.join(target, name)} brings it under its name, "
            f":{source}/ what is in it",
        )


def between(one: Looker, two: Looker, source: str, target: str, *, delete: bool) -> tuple[Endpoints, str]:
    """Resolve the endpoints of a sync from host `one` to host `two`, and the source's folder on `one`.

    Raises
    ------
    BadInput
        As `up_ends` and `down_ends`.
    """
    start = host_path(one, source)
    attrs = one.attrs(start)
    if start == "/":
        msg = f"source {source!r}: the whole of a host is not copied"
        raise BadInput(msg, hint="name the folder with your results")
    if attrs is None:
        raise not_there(source, start)
    there = host_path(two, target)
    if stat.S_ISDIR(attrs.mode or 0):
        standing = two.attrs(there)
        _expected_folder(source, there, into=standing is not None and stat.S_ISDIR(standing.mode or 0))
        _refuse_host(two, there, target, delete=delete)
        return Endpoints(Path("/"), there), start
    _no_delete(source, delete=delete)
    old = two.attrs(there)
    into = _like_folder(target) or (old is not None and stat.S_ISDIR(old.mode or 0))
    folder, name = (there, typed_name(source)) if into else posixpath.split(there)
    if folder == "/":
        msg = f"target {target!r}: files are not put into / of the host"
        raise BadInput(msg, hint="name a folder, or :NAME for one in the host's home")
    return Endpoints(Path("/"), folder, name, start), posixpath.dirname(start)


def not_there(source: str, there: str) -> BadInput:
    """The error for a source that is not on the host, with a hint where a pattern was typed."""
    msg = f"source :{source} is not found on the host ({there})"
    folder, name = posixpath.split(source)
    if not set(source) & set("*?["):
        return BadInput(msg, hint=typed("exec ls") + " shows what is")
    if set(folder) & set("*?["):
        folder, name = source[: re.search(r"[^/]*[*?\[]", source).start()], ""  # type: ignore[union-attr]
    only = f" --exclude '*' --exclude '!/{name}'" if name else " --exclude PATTERN"
    hint = (
        f"patterns are not expanded on the host; the folder with only these: sync :{folder or '.'} DST{only}"
    )
    return BadInput(msg, hint=hint)


def host_path(remote: Looker, given: str) -> str:
    """The absolute path on the host: relative to its home unless it begins with ``/``; ``~/`` is the home."""
    if "\0" in given:
        msg = f"path {given!r}: no path holds a NUL"
        raise BadInput(msg)
    if given.startswith("~") and given != "~" and not given.startswith("~/"):
        msg = f"path {given!r}: other users' homes are not looked up; write the whole path"
        raise BadInput(msg)
    rest = given[1:].lstrip("/") if given.startswith("~") else given
    base = "/" if rest.startswith("/") else remote.real(".")
    path = posixpath.normpath(posixpath.join(base, rest)).replace("//", "/")
    # the part that exists may pass through links; `/root/.` or a link to / must not get by
    if remote.attrs(path) is not None:
        return posixpath.normpath(remote.real(path))
    above, name = posixpath.split(path)
    return posixpath.join(posixpath.normpath(remote.real(above)), name) if remote.attrs(above) else path


@contextlib.contextmanager
def lock(endpoint: Endpoint, ends: Endpoints, direction: str) -> Iterator[None]:
    """Prevent two syncs from writing into one place at once, also from two processes."""
    place = ends.there if direction == "up" else str(ends.here)
    what = f"{endpoint.alias if direction == 'up' else 'here'}\0{place}"
    digest = hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    folder = private_dir(home() / "locks")
    handle = os.open(folder / f"sync-{digest}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            msg = f"another sync into {place} is running"
            raise SyncBusy(msg, hint="wait for it, or end it with Ctrl-C where it runs") from err
        yield
    finally:
        os.close(handle)


def need_room(plan: Plan, free: int | None, where: str) -> bool:
    """Whether the deletions must come first, because only they make enough room.

    Raises
    ------
    NotEnoughSpace
        The plan does not fit into `free` bytes (None: not known) in any order.
    """
    needed = plan.needed_bytes()
    if free is None or needed <= free:
        return False
    if needed > free + plan.deleted_bytes:
        msg = f"{where} has {bytes_text(free)} free, the plan needs {bytes_text(needed)}"
        largest = ", ".join(f"{item.path} ({bytes_text(item.size)})" for item in plan.largest(3))
        raise NotEnoughSpace(msg, hint=f"free some room or leave files out; the largest: {largest}")
    return True


def folds_here(path: Path) -> bool:
    """Whether the file system at `path` ignores case in names."""
    from gpunb.agent.shared.file_names import folds_case

    while not path.exists() and path != path.parent:
        path = path.parent
    return folds_case(os.fsencode(path))


def free_here(path: Path) -> int | None:
    """Bytes free at `path`, which need not exist yet."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _local(given: str, field: str) -> Path:
    if not given or "\0" in given:
        msg = f"{field} {given!r}: must be a path"
        raise BadInput(msg)
    return Path(given).expanduser().absolute()


def _like_folder(given: str) -> bool:
    return given in ("", "~") or given.endswith("/") or posixpath.basename(given) in (".", "..")


def _no_delete(source: str, *, delete: bool) -> None:
    if delete:
        msg = f"--delete with the single file {source!r}: only a folder can say what is missing"
        raise BadInput(msg)


def _refuse_host(remote: Looker, there: str, given: str, *, delete: bool) -> None:
    if there in ("/", "/root"):
        msg = f"target {given!r}: a folder's contents are never put straight into {there} of the host"
        raise BadInput(msg, hint="name a folder in it, for example :project")
    if delete and (there in _SYSTEM or there == posixpath.normpath(remote.real("."))):
        msg = f"target {given!r}: --delete in {there} of the host would take what is not yours"
        raise BadInput(msg, hint="name a folder of its own")
