"""Writing a host's file into the project here: never through a link, never over what is newer here."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING

from gpunb.sessions.project.local_tree import signature
from gpunb.sync.local.safe_root import LocalRoot, umask
from gpunb.sync.planning.rules import PART

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gpunb.sessions.project.host_folder import HostFile
    from gpunb.sessions.project.local_tree import Sig

__all__ = ["Landing"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Landing:
    """The folder `root` as the target of a host's files. A context manager.

    Parameters
    ----------
    word
        What is put into the name of a copy that lies beside the file here: the session's name.
    runs
        Whether a file may be executable here.
    """

    def __init__(self, root: Path, word: str, *, runs: bool) -> None:
        self._root, self._word = LocalRoot(root), word
        self._mask = umask() if runs else umask() | 0o111

    def __enter__(self) -> Landing:  # noqa: PYI034 - final in practice
        return self

    def __exit__(self, *_: object) -> None:
        self._root.__exit__()

    def put(
        self,
        file: HostFile,
        content: Iterable[bytes],
        expected: Sig | None,
        *,
        aside: str = "",
        end: str = "",
    ) -> tuple[str, Sig]:
        """Write `file`, if what is here under its name is still `expected`; else beside it.

        Parameters
        ----------
        expected
            The file here that may be replaced; None: there is none.
        aside
            The name of an earlier copy beside it, which is replaced if it is `expected`.
        end
            What the name of a copy gets besides, so that nothing runs it. With it, a copy is made in any
            case.

        Returns
        -------
        path, sig
            Where it is now.

        Raises
        ------
        OSError
            It could not be written: no room, or a link or a file stands where a folder must be.
        """
        above, _, name = file.path.rpartition("/")
        self._make(above)
        with self._root.folder(above) as folder:
            part = f"{PART}{secrets.token_hex(8)}"
            try:
                sig = self._fill(os.open(part, _NEW, 0o600, dir_fd=folder), file, content)
                wanted = aside.rpartition("/")[2] or name
                if (aside or not end) and _take(part, wanted, folder, expected):
                    chosen = wanted
                else:
                    chosen = self._beside(part, name, folder, end)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=folder)
        return (f"{above}/{chosen}" if above else chosen), sig

    def sig(self, path: str) -> Sig | None:
        """What is here under `path`; None if nothing is. A link or a folder is a thing that never matches."""
        above, _, name = path.rpartition("/")
        try:
            with self._root.folder(above) as folder:
                facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError:
            return -1, -1, -1
        return signature(facts) if stat.S_ISREG(facts.st_mode) else (-1, -1, -1)

    def _make(self, path: str) -> None:
        done = ""
        for name in path.split("/") if path else ():
            with self._root.folder(done) as folder, contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=folder)
            done = f"{done}/{name}" if done else name

    def _fill(self, handle: int, file: HostFile, content: Iterable[bytes]) -> Sig:
        try:
            for piece in content:
                view = memoryview(piece)
                while view:
                    view = view[os.write(handle, view) :]
            os.fchmod(handle, file.mode & 0o777 & ~self._mask | 0o600)
            with contextlib.suppress(OverflowError):
                os.utime(handle, ns=(file.mtime, file.mtime))
            return signature(os.fstat(handle))
        finally:
            os.close(handle)

    def _beside(self, part: str, name: str, folder: int, end: str) -> str:
        """Give the file the first free name beside `name`."""
        stem, dot, last = name.rpartition(".")
        stem, tail = (stem, f"{dot}{last}") if stem else (name, "")
        stem = os.fsdecode(os.fsencode(stem)[: 200 - len(os.fsencode(tail + end + self._word))])
        for number in range(1, 1000):
            more = "" if number == 1 else f"-{number}"
            chosen = f"{stem}.{self._word}{more}{tail}{end}"
            if _take(part, chosen, folder, None):
                return chosen
        raise OSError(errno.EEXIST, f"no free name was found beside {name}")


def _take(part: str, name: str, folder: int, expected: Sig | None) -> bool:
    """Rename the finished file if what has the name is as expected; whether it was."""
    if expected is None:
        try:
            os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as err:  # a disk without hard links
            if err.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            with contextlib.suppress(FileNotFoundError):
                os.stat(name, dir_fd=folder, follow_symlinks=False)
                return False
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        return True
    try:
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return _take(part, name, folder, None)
    if not stat.S_ISREG(now.st_mode) or signature(now) != expected:
        return False
    os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    return True
