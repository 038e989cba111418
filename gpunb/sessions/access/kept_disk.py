"""The files of a stopped session, read from the disk that its cloud keeps: nothing is started for them."""

from __future__ import annotations

import posixpath
import re
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpunb.errors import HostError, SyncError
from gpunb.sessions.access.host_access import HostAccess, computer

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gpunb.progress import Progress
    from gpunb.providers.features import StoppedCommands, StoppedFiles
    from gpunb.sessions.model import Session
    from gpunb.sync.bring import Brought

__all__ = ["HOME", "KeptDisk", "listed"]

HOME = "/root"  # the home folder of the containers whose disks are read
_ROW = re.compile(r"(\d+)\t(/.*)")


def listed(provider: StoppedCommands, session: Session, path: str) -> dict[str, int | None]:
    """`path` and all that is in it, with its bytes; None for a folder. Each hard link is a file."""

    def rows(*words: str) -> Iterator[tuple[str, int]]:
        return _rows(provider.execute(session.instance_id, shlex.join(["du", *words])))

    folders = {name for name, _ in rows("-bl", f"{path}/")}  # nothing, if it is a file
    return {name: None if name in folders else size for name, size in rows("-abl", path)}


def _rows(text: str) -> Iterator[tuple[str, int]]:
    name, size = "", 0
    for line in text.split("\n"):
        row = _ROW.fullmatch(line)
        if row is None:
            name += "" if not line or line.startswith("du: ") else f"\n{line}"
            continue
        if name.startswith("/"):
            yield name, size
        size, name = int(row[1]), posixpath.normpath(row[2])
    if name.startswith("/"):
        yield name, size


class KeptDisk(HostAccess):
    """A stopped session's host as far as its disk goes: files come from it, by its computer's own rsync."""

    def __init__(self, provider: StoppedFiles) -> None:
        self._provider = provider
        self._rsync: subprocess.Popen[bytes] | None = None

    def settle(self, session: Session) -> None:
        """Do nothing: nothing runs there."""

    def fetch(
        self,
        session: Session,
        path: str,
        target: Path,
        progress: Progress,
        *,
        folders: Sequence[str] = (),
        **_more: Any,
    ) -> Brought:
        """Bring `path`, in `folders` and the home folder where it is relative; no file here is overwritten.

        Of a pattern all of its fixed part comes.

        Raises
        ------
        SyncError
            Its cloud lists nothing there, or all of the home folder is asked for.
        HostError
            The computer that the disk is on lets nobody in, or its rsync failed.
        """
        from gpunb.ssh import probe
        from gpunb.sync import off_machine
        from gpunb.sync.bring import Brought

        out = Brought()
        for place in _places(path, folders):
            there = listed(self._provider, session, place)
            if place not in there:
                continue
            into = target if not out.to else target.with_name(f"{target.name}-of-{_above(place, path)}")
            served = self._provider.serve_files(session.instance_id, place)
            where = computer(session, served.host, served.port, served.user)
            try:
                probe(where)
            except HostError as err:
                msg = f"the computer of {session.name} at {where} lets nobody in: {err.message}"
                raise SyncError(msg) from err
            came = off_machine.bring(
                where, served.module, place, there, into,
                word=session.name, guard=session.trust != "own", progress=progress, started=self._keep,
            )  # fmt: skip
            for name in ("to", "beside", "held", "left", "failed"):
                getattr(out, name).extend(getattr(came, name))
            out.files, out.bytes, out.moved = (
                out.files + came.files,
                out.bytes + came.bytes,
                out.moved + came.moved,
            )
        if not out.to:
            msg = f"its cloud lists no {path} on the disk of {session.name}"
            raise SyncError(msg)
        return out

    def fetch_project(
        self,
        session: Session,
        place: str,
        root: Path,
        progress: Progress,
        **_more: Any,
    ) -> Brought:
        """Bring all of the project's folder, beside what is here."""
        return self.fetch(session, place, root, progress)

    def drop(self, session_id: str) -> None:  # noqa: ARG002 - as every host's
        """End a transfer that goes on."""
        if self._rsync is not None:
            with suppress(OSError):
                self._rsync.terminate()

    def _keep(self, process: subprocess.Popen[bytes]) -> None:
        self._rsync = process


def _places(path: str, folders: Sequence[str]) -> list[str]:
    """The absolute places where `path` may be, the likeliest first."""
    from gpunb.sync.sftp.host_glob import is_pattern, split

    fixed = split(path)[0] if is_pattern(path) else path
    if fixed.startswith("~"):
        fixed = posixpath.join(HOME, fixed.lstrip("~").lstrip("/"))
    bases = [*dict.fromkeys(folders), HOME]
    places = dict.fromkeys(posixpath.normpath(posixpath.join(base, fixed)) for base in bases)
    whole = [place for place in places if place in {"/", HOME}]
    if whole:
        msg = f"{path} is all of {whole[0]}, which is not read from a disk"
        raise SyncError(msg)
    return list(places)


def _above(place: str, path: str) -> str:
    return posixpath.basename(place.removesuffix(path).rstrip("/")) or "home"
