"""The files of a project that go to a host, listed again at the price of asking for their times.

The one module of the project that knows the sync's rules. A folder whose time has not changed holds the
names that it held, so that a second look is one ``stat`` for each file; where a folder or an ignore file
changed, the rules are asked again.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpunb.errors import BadInput
from gpunb.sync.planning.rules import Rules

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MOST", "LocalTree", "Sig", "signature"]

MOST = 100_000
"""Files of a folder that is kept the same on both sides."""

RECENT_NS = 20_000_000
"""A file or folder that changed so shortly before it was listed may change again within the same tick."""

_IGNORE_FILES = frozenset([".gitignore", ".gpunbignore"])

Sig = tuple[int, int, int]
"""Size, mtime in ns and inode."""


@dataclass(slots=True)
class LocalTree:
    """The files of `root` that go.

    Attributes
    ----------
    files
        Each file's size, mtime and inode, and its permission bits.
    folders
        Each folder's mtime.
    links
        Whether there are links: those go by a whole sync only.
    """

    root: Path
    hold: bool
    files: dict[str, Sig] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    _rules: Rules | None = None
    _deciding: tuple[tuple[str, int], ...] = ()
    _names: dict[str, dict[str, bool]] = field(default_factory=dict)  # of each folder, with whether they go
    _began: int = 0

    def look(self) -> None:
        """Bring `files` and `folders` up to date.

        Raises
        ------
        BadInput
            The folder is gone, or more than `MOST` files of it would go.
        """
        if self._rules is None or not self._again(self._rules):
            self._list()

    def _again(self, rules: Rules) -> bool:
        """Ask for the times of what is known, list folders that changed; False if the rules may differ."""
        if self._deciding != self._asked():
            return False
        top, look = f"{self.root}/", os.lstat
        self._began = time.time_ns() - RECENT_NS
        try:
            stale = [one for one, mtime in self.folders.items() if look(top + one).st_mtime_ns != mtime]
            for folder in stale:
                self._list_folder(folder, rules)
            for path, known in self.files.items():
                facts = look(top + path)
                if (facts.st_size, facts.st_mtime_ns, facts.st_ino) != known:
                    decides = path.rpartition("/")[2] in _IGNORE_FILES
                    secret = self.hold and rules.why_out(path, folder=False) is not None
                    if decides or secret or not stat.S_ISREG(facts.st_mode):
                        return False
                    self.files[path] = signature(facts)
                    self.modes[path] = facts.st_mode & 0o777
        except OSError:
            return False
        return True

    def _list(self) -> None:
        self._began = time.time_ns() - RECENT_NS
        if not self.root.is_dir():
            msg = f"the folder {self.root} is gone"
            raise BadInput(msg, hint="bind another one with --here, or none with --no-here")
        self._deciding = self._asked()
        self._rules = rules = Rules(self.root, hold=self.hold)
        self.files, self.modes, self.folders, self.links, self._names = {}, {}, {}, {}, {}
        self._list_folder("", rules)

    def _list_folder(self, top: str, rules: Rules) -> None:
        """List a folder, and the folders below it that are new.

        Raises
        ------
        OSError
            An ignore file came or went: the rules are other ones.
        """
        todo = [top]
        while todo:
            folder = todo.pop()
            start = f"{folder}/" if folder else ""
            before = self._names.get(folder, {})
            names: dict[str, bool] = {}
            try:
                mtime = os.lstat(f"{self.root}/{folder}").st_mtime_ns
                with os.scandir(f"{self.root}/{folder}") as listing:
                    entries = sorted(listing, key=lambda one: one.name)
            except OSError:
                if not folder:
                    raise
                self.folders.pop(folder, None)
                continue  # it is gone, or may not be read: its files do not go
            self.folders[folder] = -1 if mtime > self._began else mtime
            quiet = rules.quiet_in(folder)
            for entry in entries:
                name, path = entry.name, start + entry.name
                known = before.get(name)
                goes = known if known is not None else self._goes(rules, entry, path, quiet=quiet)
                names[name] = goes
                if not goes:
                    continue
                if entry.is_symlink():
                    self.links[path] = os.readlink(entry.path)  # noqa: PTH115 - a text
                elif entry.is_dir():
                    if path not in self.folders:
                        todo.append(path)
                elif path not in self.files:
                    facts = entry.stat(follow_symlinks=False)
                    self.files[path] = signature(facts)
                    self.modes[path] = facts.st_mode & 0o777
            self._names[folder] = names
            lost = before.keys() - names.keys()
            for name in lost:
                self._forget(start + name)
            if before and not _IGNORE_FILES.isdisjoint(lost | (names.keys() - before.keys())):
                msg = "the rules are other ones"
                raise OSError(msg)
            if len(self.files) > MOST:
                msg = f"{self.root} holds more than {MOST:,} files that would go to the host"
                raise BadInput(
                    msg, hint="bind a smaller folder, or name what stays in a .gpunbignore (data/, runs/)"
                )

    @staticmethod
    def _goes(rules: Rules, entry: os.DirEntry[str], path: str, *, quiet: bool) -> bool:
        plain = entry.is_file(follow_symlinks=False)
        if quiet and plain and entry.name[0] != ".":
            return True
        folder = entry.is_dir(follow_symlinks=False)
        if not (plain or folder or entry.is_symlink()):
            return False
        venv = folder and os.path.lexists(f"{entry.path}/pyvenv.cfg")
        return rules.why_out(path, folder=folder, names=("pyvenv.cfg",) if venv else ()) is None

    def _forget(self, path: str) -> None:
        """Drop what was known of a path that is gone, and of all that was below it."""
        for known in (self.files, self.modes, self.links, self.folders, self._names):
            known.pop(path, None)
        if any(folder.startswith(f"{path}/") for folder in self.folders):
            for one in [folder for folder in self.folders if folder.startswith(f"{path}/")]:
                self.folders.pop(one)
                self._names.pop(one, None)
        for known in (self.files, self.modes, self.links):
            for one in [one for one in known if one.startswith(f"{path}/")]:
                known.pop(one)

    def _asked(self) -> tuple[tuple[str, int], ...]:
        """The times of what decides about the files and is not among them."""
        found = []
        for folder in (self.root, *self.root.parents):
            for name in (*sorted(_IGNORE_FILES), ".git/index", ".git/info/exclude"):
                path = f"{folder}/{name}"
                try:
                    found.append((path, os.lstat(path).st_mtime_ns))
                except OSError:
                    continue
            if os.path.lexists(f"{folder}/.git"):
                break
        return tuple(found)


def signature(facts: os.stat_result) -> Sig:
    """A file's size, mtime and inode."""
    return facts.st_size, facts.st_mtime_ns, facts.st_ino
