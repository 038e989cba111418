"""The local end of a stream sync: lists, reads, and writes without leaving the target."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import file_content, file_listing
from gpunb.agent.shared import file_frames as wire
from gpunb.errors import SyncError
from gpunb.sync.local.safe_root import LocalRoot, part_name
from gpunb.sync.local.scan import decoded, folders
from gpunb.sync.planning import locations
from gpunb.sync.planning.side import entry_at
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.sftp.protocol import Attrs
from gpunb.sync.stream.host_files import Refused, as_content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gpunb.sync.planning.plan import Item, Tree
    from gpunb.sync.planning.rules import Rules
    from gpunb.sync.planning.side import Entry

__all__ = ["LocalReader", "LocalSide", "LocalWriter"]


class LocalSide:
    """A local folder as a plan's source or target; see `gpunb.sync.planning.side.Side`.

    Parameters
    ----------
    digest
        Of an open file, as bytes: the one that the other side computes too.
    """

    local, coarse, zstd, rtt = True, False, True, 0.0

    def __init__(
        self,
        root: Path,
        alias: dict[str, str],
        mask: int = 0,
        digest: Callable[[int], bytes] = file_content.whole_digest,
    ) -> None:
        self.root, self.alias, self.mask, self._digest = root, alias, mask, digest
        self._safe: LocalRoot | None = None
        self._asked: deque[str] = deque()
        self._hashes: deque[list[str | None]] = deque()
        self.unkept: Counter[str] = Counter()

    def folders(self, rules: Rules, tree: Tree, *, follow: bool = False) -> Iterator[tuple[str, list[Entry]]]:
        """Yield each folder that goes and its entries that go; the rest is noted in `tree`."""
        return folders(self.root, rules, tree, follow=follow)

    def ask(self, path: str) -> None:
        """Request a folder's listing, which `take` returns."""
        self._asked.append(path)

    def take(self) -> tuple[str, list[Entry], str]:
        """Return the listing of the folder that was requested first."""
        path = self._asked.popleft()
        try:
            found = file_listing.list_folder(os.fsencode(self.root / path))
        except (FileNotFoundError, NotADirectoryError):
            return path, [], ""
        except OSError as err:
            return path, [], err.strerror or str(err)
        entries, mask = map(decoded, found), self.mask
        return path, [e._replace(mode=e.mode & ~mask) if e.mode & mask else e for e in entries], ""

    def item(self, path: str, *, follow: bool) -> Entry | None:
        """Return the entry at an absolute path; None if there is none."""
        try:
            facts = Path(path).stat(follow_symlinks=follow)
        except OSError:
            return None
        about = Attrs(facts.st_size, facts.st_mode, 0, facts.st_mtime_ns, facts.st_ino)
        entry = entry_at(path.rpartition("/")[2], about, self.mask)
        return entry._replace(held=min(entry.size, facts.st_blocks * 512))

    @property
    def folds(self) -> bool:
        """Whether the file system ignores case in names."""
        return locations.folds_here(self.root)

    def room(self, _path: str) -> int | None:
        """Bytes free."""
        return locations.free_here(self.root)

    def enter_soon(self, path: str) -> None:
        """Do nothing: the root is known."""

    def entered(self) -> None:
        """Do nothing: the root is known."""

    def make_root(self, path: str) -> None:
        """Make the folder; raises `SyncError` if it can't be."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            msg = f"the folder {path} can't be made: {err.strerror or err}"
            raise SyncError(msg) from err

    def reader(self, _line: object, _codec: int, *, follow: bool) -> LocalReader:
        """Open a reader of files, for one worker of the stream engine."""
        return LocalReader(self.root, self.alias, follow=follow)

    def writer(self, _line: object, _codec: int) -> LocalWriter:
        """Open a writer of files, for one worker of the stream engine."""
        return LocalWriter(self.safe)

    def hashes_begin(self, paths: Sequence[str]) -> None:
        """Compute the digests that `hashes` returns."""
        found: list[str | None] = []
        for path in paths:
            try:
                fd = os.open(self.alias.get(path, f"{self.root}/{path}"), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    found.append(self._digest(fd).hex())
                finally:
                    os.close(fd)
            except OSError:  # noqa: PERF203 - each by itself
                found.append(None)
        self._hashes.append(found)

    def hashes(self, _paths: Sequence[str]) -> list[str | None]:
        """Return the digest of each whole file; None for one that can't be read."""
        return self._hashes.popleft()

    # -- as a target: what is done once

    def make_folders(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make folders, parents first; return the failures."""
        return each(items, self.safe.make_folder)

    def make_links(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make links; return the failures."""
        return each(items, self.safe.link)

    def set_modes(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Set permissions, and times of files; return the failures."""
        return each(items, lambda item: note_unkept(self.unkept, self.safe.set_mode_and_time(item)))

    def delete(self, paths: Sequence[str], kinds: dict[str, str]) -> list[tuple[str, str]]:
        """Delete in this order; return the failures."""
        failed = []
        for path in paths:
            try:
                self.safe.delete(path, kinds.get(path, "file"))
            except OSError as err:  # noqa: PERF203 - each by itself
                failed.append((path, err.strerror or str(err)))
        return failed

    @property
    def safe(self) -> LocalRoot:
        """The root that all writes go through; opened at the first use."""
        if self._safe is None:
            self._safe = LocalRoot(self.root)
        return self._safe

    def close(self, *, keep: bool = False) -> None:  # noqa: ARG002 - as the host's side has it
        """Close the folder that was written into."""
        if self._safe is not None:
            self._safe.__exit__()
            self._safe = None


def note_unkept(noted: Counter[str], why: str) -> None:
    """Count a file that was written without its mode or time, if `why` says so."""
    if why:
        noted[why] += 1


def each(items: Iterable[Item], do: Callable[[Item], None]) -> list[tuple[str, str]]:
    failed = []
    for item in items:
        try:
            do(item)
        except OSError as err:  # noqa: PERF203 - each by itself
            failed.append((item.path, err.strerror or str(err)))
    return failed


class LocalReader:
    """Reads files of the local source."""

    local = True

    def __init__(self, root: Path, alias: dict[str, str], *, follow: bool = False) -> None:
        self._root, self._alias = str(root), alias
        self._no_links = 0 if follow else os.O_NOFOLLOW
        self._buffer = memoryview(bytearray(wire.PIECE))

    def _open(self, item: Item) -> int:
        path = self._alias.get(item.path)
        if path is not None:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        full = f"{self._root}/{item.path}"
        return os.open(encode(full), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | self._no_links)

    def ask_small(self, items: Sequence[Item]) -> None:
        """Do nothing: local files need no request."""

    def ask_range(self, item: Item, start: int, end: int) -> None:
        """Do nothing: local files need no request."""

    def ask_base(self, item: Item, *, digests: bool) -> None:
        """Do nothing: local files need no request."""

    def small(self, items: Sequence[Item]) -> list[Any]:
        """Return the content of each item, or a `Refused`."""
        result: list[Any] = []
        for item in items:
            try:
                fd = self._open(item)
                try:
                    now = file_content.read_as_listed(fd, item.size, item.mtime_ns, item.inode)
                finally:
                    os.close(fd)
                result.append(Refused(wire.CHANGED) if now is None else as_content(item, *now))
            except OSError as err:  # noqa: PERF203 - each by itself
                result.append(Refused(err.strerror or str(err)))
        return result

    def pieces(self, item: Item, start: int, end: int) -> Iterator[tuple[int, Any]]:
        """Yield a range of a large file in pieces with their offsets; `Refused` on failure."""
        try:
            fd = self._open(item)
        except OSError as err:
            raise Refused(err.strerror or str(err)) from err
        try:
            for at in range(start, end, wire.PIECE):
                want = min(wire.PIECE, end - at)
                if os.preadv(fd, [self._buffer[:want]], at) < want:
                    raise Refused(wire.CHANGED)
                yield at, self._buffer[:want]  # taken before the next one is read
            if not file_content.as_listed(os.fstat(fd), item.size, item.mtime_ns, item.inode):
                raise Refused(wire.CHANGED)
        except OSError as err:
            raise Refused(err.strerror or str(err)) from err
        finally:
            os.close(fd)

    def digests(self, item: Item) -> list[bytes]:
        """Return the digests of the file's blocks."""
        return self._with(item, lambda fd: list(file_content.blocks(fd, item.size)))

    def extents(self, item: Item) -> list[tuple[int, int]]:
        """Return the ranges that hold data."""
        return self._with(item, lambda fd: file_content.extents(fd, item.size))

    def _with(self, item: Item, work: Callable[[int], list[Any]]) -> list[Any]:
        try:
            fd = self._open(item)
        except OSError as err:
            raise Refused(err.strerror or str(err)) from err
        try:
            return work(fd)
        except OSError as err:
            raise Refused(err.strerror or str(err)) from err
        finally:
            os.close(fd)


class LocalWriter:
    """Writes local files; each writer keeps one folder open, which was reached through no link."""

    local = True

    def __init__(self, root: LocalRoot) -> None:
        self._root = root
        self._folder: tuple[str, int] | None = None
        self._part = part_name(f"{id(self)}-{threading.get_ident()}")
        self.unkept: Counter[str] = Counter()

    def close(self) -> None:
        """Close the folder."""
        if self._folder is not None:
            os.close(self._folder[1])
            self._folder = None

    def _in(self, folder: str) -> int:
        if self._folder is None or self._folder[0] != folder:
            self.close()
            with self._root.folder(folder) as fd:
                self._folder = folder, os.dup(fd)
        return self._folder[1]

    def small(
        self, items: Sequence[Item], contents: Sequence[Any], done: Callable[[list[tuple[int, str]]], None]
    ) -> None:
        """Write small files; calls `done` with the failures, by their index in `items`."""
        failed = []
        for index, (item, content) in enumerate(zip(items, contents, strict=True)):
            try:
                self._write(item, content)
            except OSError as err:  # noqa: PERF203 - each by itself
                failed.append((index, err.strerror or str(err)))
        done(failed)

    def _write(self, item: Item, content: Any) -> None:
        above, _, name = item.path.rpartition("/")
        folder = self._in(above)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fill(os.open(self._part, flags, 0o600, dir_fd=folder), item, content)
            file_content.take_name(self._part, name, folder)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self._part, dir_fd=folder)
            raise

    def _fill(self, fd: int, item: Item, content: Any) -> None:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            note_unkept(self.unkept, file_content.stamp(fd, item.mode, item.mtime_ns))
        finally:
            os.close(fd)

    # -- large files

    def _open_part(self, item: Item, flags: int) -> int:
        above, _, name = item.path.rpartition("/")
        flags |= os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(part_name(name), flags, 0o600, dir_fd=self._in(above))

    def begin(self, item: Item, done: Callable[[str], None]) -> None:
        """Create the partial file of a large file."""
        try:
            self._root.drop_part(item.path)
            fd = self._open_part(item, os.O_CREAT | os.O_EXCL)
            try:
                os.ftruncate(fd, item.size)
            finally:
                os.close(fd)
        except OSError as err:
            done(err.strerror or str(err))
        else:
            done("")

    def ask_base(self, item: Item) -> None:
        """Do nothing: local files need no request."""

    def base(self, item: Item) -> list[bytes]:
        """Return the digests of the existing file's blocks, and copy those into the partial file."""
        above, _, name = item.path.rpartition("/")
        source = copy = -1
        try:
            folder = self._in(above)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            source = os.open(part_name(name) if item.part else name, flags, dir_fd=folder)
            facts = os.fstat(source)
            if not stat.S_ISREG(facts.st_mode):
                raise Refused("it is not a file")  # noqa: EM101 - a reason like the others
            size = min(item.size, facts.st_size)
            if item.part:
                return list(file_content.blocks(source, size))
            self._root.drop_part(item.path)
            copy = self._open_part(item, os.O_CREAT | os.O_EXCL)
            result: list[bytes] = []
            file_content.based(source, copy, size, result.append)
        except OSError as err:
            raise Refused(err.strerror or str(err)) from err
        else:
            return result
        finally:
            for fd in (source, copy):
                if fd >= 0:
                    os.close(fd)

    def piece(self, item: Item, at: int, data: Any, failed: Callable[[str], None]) -> None:
        """Write a piece of a large file."""
        try:
            fd = self._open_part(item, 0)
            try:
                file_content.write_at(fd, data, at)
            finally:
                os.close(fd)
        except OSError as err:
            failed(err.strerror or str(err))

    def confirm(self, done: Callable[[], None]) -> None:
        """Call `done` at once: local writes are complete when they return."""
        done()

    def finish(self, item: Item, done: Callable[[str], None]) -> None:
        """Rename a complete large file into place."""
        above, _, name = item.path.rpartition("/")
        try:
            fd = self._open_part(item, 0)
            try:
                os.ftruncate(fd, item.size)
                note_unkept(self.unkept, file_content.stamp(fd, item.mode, item.mtime_ns))
            finally:
                os.close(fd)
            folder = self._in(above)
            with file_content.late_end(name, folder):
                file_content.take_name(part_name(name), name, folder)
        except OSError as err:
            done(err.strerror or str(err))
        else:
            done("")

    def drop(self, item: Item) -> None:
        """Remove the partial file of a large file that failed."""
        self._root.drop_part(item.path)

    def poll(self) -> None:
        """Do nothing: local writes leave nothing pending."""

    def settle(self) -> None:
        """Do nothing: local writes leave nothing pending."""
