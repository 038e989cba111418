"""`Project`: a folder here and its place on a session's host, kept the same around each run."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gpunb.errors import SyncError
from gpunb.hints import typed
from gpunb.sessions.project import places, results
from gpunb.sessions.project.bringing import Limits, note
from gpunb.sessions.project.host_folder import HostFolder
from gpunb.sessions.project.local_tree import LocalTree, signature
from gpunb.sessions.project.report import Brought, Sent
from gpunb.sessions.project.state import Known, State, locked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gpunb.services.workspace import Workspace
    from gpunb.sessions.model import Session
    from gpunb.sessions.project.local_tree import Sig
    from gpunb.sync import SyncReport

__all__ = ["Project"]

SMALL_FILES, SMALL_BYTES = 500, 8 << 20
"""What goes in one request; a larger file goes by a sync."""

_trees: dict[tuple[str, Path, bool], LocalTree] = {}


class Project:
    """The folder `root` and its place on the host of `session`.

    Parameters
    ----------
    root
        The folder here, as `gpunb.services.project.root` finds it.
    limits
        What comes back by itself.
    """

    def __init__(
        self, context: Workspace, session: Session, root: Path, limits: Limits | None = None
    ) -> None:
        self.context, self.session = context, session
        self.root = root.expanduser().resolve()
        self.limits = limits or Limits()
        self.place = places.place(context.ledger, session, self.root)

    def cwd(self, here: Path | None = None) -> str:
        """The folder there that corresponds to `here` (the working folder), relative to the host's home."""
        folder = (here or Path.cwd()).resolve()
        inside = folder.relative_to(self.root) if folder.is_relative_to(self.root) else Path()
        return str(PurePosixPath(self.place, *inside.parts))

    def send(self) -> Sent:
        """Bring the host's folder to what is here. Nothing newer there is replaced.

        Where nothing changed here, nothing is asked of the host.

        Raises
        ------
        SyncError
            A file did not go.
        BadInput
            The folder is gone here, or holds too many files.
        Unreachable, HostError, NotEnoughSpace
        """
        with locked(self.session.id, self.root):
            return _Going(self).run()

    def bring_back(self, limits: Limits | None = None) -> Brought:
        """Bring what is new there since the last time, as far as `limits` allow.

        It needs no `send` by this process: what both sides had is on the disk here.

        Raises
        ------
        Unreachable, HostError
            The connection broke; the same call goes on.
        """
        return results.bring_back(self.session, self.root, self.place, limits or self.limits)

    def host(self, state: State) -> HostFolder:
        """The host's end, through the agent."""
        from gpunb.sessions.access import host_access

        return HostFolder(host_access.agent(self.session), self.place, state.token)


class _Going:
    """One `send`."""

    def __init__(self, project: Project) -> None:
        from gpunb.services.transfers import is_stranger

        self.project = project
        hold = is_stranger(project.context, project.session)
        key = project.session.id, project.root, hold
        self.tree = _trees.setdefault(key, LocalTree(project.root, hold))
        self.state = State.load(project.session.id, project.root)
        self.sent = Sent(project.place)

    def run(self) -> Sent:
        self.tree.look()
        if not self.state.sent:
            self._whole()
            return self.sent
        self._taken()
        changed = [path for path, sig in self.tree.files.items() if self._differs(path, sig)]
        gone = self._gone()
        folders = sorted(self.tree.folders.keys() - set(self.state.folders))
        if not (changed or gone or folders or self.tree.links != self.state.links):
            self.state.save()
            return self.sent
        self._some(changed, folders, gone)
        self.state.save()
        return self.sent

    def _taken(self) -> None:
        """Note what had stayed on the host, and was brought by the command that was shown."""
        for path, known in list(self.state.known.items()):
            sig = self.tree.files.get(path) if known.left else None
            if sig is not None and sig[:2] == known.left:
                self.state.set(path, Known(sig, known.left, known.ours, known.aside))

    def _differs(self, path: str, sig: Sig) -> bool:
        known = self.state.known.get(path)
        return known is None or known.here != sig

    def _gone(self) -> list[tuple[str, int, int]]:
        """Files that went from here, and are deleted here."""
        return [
            (path, *known.there)
            for path, known in self.state.known.items()
            if known.ours and known.there and path not in self.tree.files
            and not os.path.lexists(self.project.root / path)
        ]  # fmt: skip

    # -- all of it, by a sync

    def _whole(self) -> None:
        """Send all of it, the first time. What came back just now, and may be written just now, stays."""
        state, project = self.state, self.project
        host = project.host(state)
        self._bring(host)
        here = dict(self.tree.files)
        came = [path for path, _ in self.sent.brought.taken] if self.sent.brought is not None else []
        stays = [path for path, known in state.known.items() if known.left]
        report = self._sync(project.root, "", [_pattern(path) for path in (*stays, *came)])
        note(state, host.changes(state.number), here)
        state.sent = True
        state.folders, state.links = sorted(self.tree.folders), dict(self.tree.links)
        self._code(item.path for item in report.plan.items)
        self._keep(stays)
        state.save()

    def _sync(self, source: Path, to: str, exclude: Sequence[str] = ()) -> SyncReport:
        from gpunb.services import transfers

        project = self.project
        report = transfers.send(
            project.context, project.session, str(source), f"{project.place}/{to}",
            f"the project {project.root.name}", exclude=exclude,
        )  # fmt: skip
        self.sent.files += report.sent_files
        self.sent.bytes += report.sent_bytes
        return report

    # -- what changed, and nothing else: a run may write the rest just now

    def _some(self, changed: list[str], folders: list[str], gone: list[tuple[str, int, int]]) -> None:
        host = self.project.host(self.state)
        large = [path for path in changed if self.tree.files[path][0] > SMALL_BYTES]
        newer: list[str] = []
        for batch in self._batches([path for path in changed if path not in large]):
            found = self._write(host, batch, folders, gone)
            if found is None:
                self.state.forget()
                self._whole()
                return
            newer += found
            folders = []
        if newer or large:
            self._bring(host)
            left = [path for path in (*newer, *large) if self.state.known.get(path, Known()).left]
            self._keep(left)
            for batch in self._batches([path for path in newer if path not in left]):
                self._keep(self._write(host, batch, [], []) or [])
            here = {path: self.tree.files[path] for path in large if path not in left}
            for path in here:
                self._sync(self.project.root / path, path)
                self._code([path])
            if here:
                note(self.state, host.changes(self.state.number), here)
        if self.tree.links != self.state.links:
            only = ["*", "!*/", *(f"!{_pattern(path)}" for path in self.tree.links)]
            self._sync(self.project.root, "", only)
            self.state.links = dict(self.tree.links)
        self.state.folders = sorted(self.tree.folders)
        for path, _, _ in gone:
            self.state.drop(path)

    def _batches(self, paths: list[str]) -> Iterator[list[str]]:
        """Split small files into requests; one also where no file goes, for folders and deletions."""
        batch: list[str] = []
        room = SMALL_BYTES
        for path in paths:
            room -= self.tree.files[path][0]
            if batch and (room < 0 or len(batch) >= SMALL_FILES):
                yield batch
                batch, room = [], SMALL_BYTES - self.tree.files[path][0]
            batch.append(path)
        yield batch

    def _write(
        self, host: HostFolder, paths: list[str], folders: list[str], gone: list[tuple[str, int, int]]
    ) -> list[str] | None:
        """Write files there; returns those of which a newer one is there, None if the folder is gone."""
        files, contents, sigs = [], [], []
        for path in paths:
            try:
                with (self.project.root / path).open("rb") as file:
                    before = os.fstat(file.fileno())
                    content = file.read()
                    after = os.fstat(file.fileno())
            except FileNotFoundError:
                continue
            except OSError as err:
                raise self._failed(path, err.strerror or str(err)) from err
            if signature(before) != signature(after) or len(content) != after.st_size:
                after = before  # it is being written: what is there now goes, and the next time goes again
            known = self.state.known.get(path)
            files.append((path, after.st_mode & 0o777, after.st_mtime_ns, known.there if known else None))
            contents.append(content)
            sigs.append(signature(after))
        done = host.write(files, contents, folders=folders, gone=gone)
        if done is None:
            return None
        newer = []
        for (path, *_), sig, content, result in zip(files, sigs, contents, done, strict=True):
            if result is None:
                newer.append(path)
            elif isinstance(result, str):
                raise self._failed(path, result)
            else:
                aside = known.aside if (known := self.state.known.get(path)) else ""
                self.state.set(path, Known(sig, result, ours=True, aside=aside))
                self.sent.files += 1
                self.sent.bytes += len(content)
        self._code(path for path in paths if path not in newer)
        return newer

    def _bring(self, host: HostFolder) -> None:
        """What is new there comes first: it is not replaced unseen."""
        project = self.project
        out = results.fetch(project.session, project.root, host, self.state, project.limits)
        self.sent.brought = out
        self.tree.look()

    def _keep(self, paths: list[str]) -> None:
        name, place, root = self.project.session.name, self.project.place, self.project.root
        for path in paths:
            again = typed("sync", os.path.relpath(root / path), f"{name}:{place}/{path}")
            why = "it changed on the host too, and that has not come; to replace it there: " + again
            self.sent.kept.append((path, why))

    def _code(self, paths: Iterable[str]) -> None:
        self.sent.changed += [path for path in paths if path.endswith(".py")]

    def _failed(self, path: str, why: str) -> SyncError:
        name, place = self.project.session.name, self.project.place
        msg = f"{path} was not sent to {name}: {why}"
        again = typed("sync", str(self.project.root), f"{name}:{place}")
        return SyncError(msg, hint=again + " shows what goes and what not")


def _pattern(path: str) -> str:
    """The exclude pattern that means this one path."""
    return "/" + "".join(f"\\{letter}" if letter in "\\*?[]!# " else letter for letter in path)
