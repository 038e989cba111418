"""The host's side of a sync through the agent: listings, attributes and one-time operations.

No answer of the host becomes a path here unless it is a valid file name. File
content goes through `gpunb.sync.stream.host_files`.
"""

from __future__ import annotations

import json
import struct
import sys
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from gpunb.agent.shared import file_frames as wire
from gpunb.errors import SyncError
from gpunb.sync.local.scan import decoded
from gpunb.sync.planning.side import entry_at, kept
from gpunb.sync.sftp.host_tree import encode
from gpunb.sync.sftp.protocol import Attrs
from gpunb.sync.stream.file_channel import FileChannel, HostFault, answer, bad
from gpunb.sync.stream.host_files import HostReader, HostWriter, count_unkept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpunb.remote import AgentClient
    from gpunb.sync.planning.plan import Item, Tree
    from gpunb.sync.planning.rules import Rules
    from gpunb.sync.planning.side import Entry

__all__ = ["HostSide"]

MOST_ENTRIES = 5_000_000
JOBS = 500


class HostSide:
    """The first channel to a host: for listings, and for operations that are done once per sync.

    See `gpunb.sync.planning.side.HostEnd`.
    """

    local = coarse = False
    mask = 0  # permission bits that the umask removes here

    def __init__(self, client: AgentClient) -> None:
        self.client = client
        self.line = FileChannel.first(client)
        self.root = ""
        self.alias: dict[str, str] = {}
        self.zstd = False
        self.folds = False
        self.free: int | None = None
        self.home = ""
        self._facts: dict[str, dict[str, Any]] = {}
        self._asked: deque[str] = deque()
        self._entering = False
        self.unkept: Counter[str] = Counter()

    def close(self, *, keep: bool = False) -> None:
        """Close the channel, or with `keep` leave it open for the next sync if nothing is pending."""
        interrupted = sys.exc_info()[0] is not None  # answers may still be on their way
        if keep and not interrupted and not self._asked and not self._entering:
            self.line.keep(self.client)
        else:
            self.line.close()

    # -- before the plan

    def look(self, path: str) -> None:
        """Fetch in one round trip all facts that the checks of a path need."""
        found = self.line.call("look", path=path)
        try:
            self.home = str(found["home"])
            self.zstd, self.folds = bool(found["zstd"]), bool(found["folds"])
            self.free = None if found["free"] is None else int(found["free"])
            self._facts = dict(found["facts"])
        except (KeyError, TypeError, ValueError) as err:
            words = "a look without its facts"
            raise bad(words) from err

    def attrs(self, path: str, *, follow: bool = True) -> Attrs | None:
        """Return the attributes of `path`; None if nothing is there."""
        found = self._of(path).get("stat" if follow else "lstat")
        if found is None:
            return None
        try:
            mode, size, mtime, inode = (int(number) for number in found)
        except (TypeError, ValueError) as err:
            words = f"no facts about {path!r}"
            raise bad(words) from err
        return Attrs(size, mode, mtime // 10**9, mtime % 10**9, inode)

    def real(self, path: str) -> str:
        """Return the absolute path of `path`, links followed."""
        text = self.home if path == "." else self._of(path).get("real")
        if not isinstance(text, str) or not text.startswith("/") or "\0" in text:
            words = f"{text!r} as the real path of {path!r}"
            raise bad(words)
        return text

    def _of(self, path: str) -> dict[str, Any]:
        self.entered()
        if path not in self._facts:
            self._facts[path] = self.line.call("facts", path=path)
        found: Any = self._facts[path]  # the host's answer may be anything
        return found if isinstance(found, dict) else {}

    @property
    def rtt(self) -> float:
        """Seconds of a round trip."""
        return self.line.rtt

    def room(self, _path: str) -> int | None:
        """Bytes free at the path that `look` was asked for."""
        return self.free

    def make_root(self, path: str) -> None:
        """Make `path` the root of later paths, if it is not yet; `SyncError` names what is wrong with it."""
        if self.root == path:
            return
        try:
            self.line.call("enter", path=path, make=True)
        except HostFault as err:
            found = self.line.call("facts", path=path).get("stat")
            why = "is not a folder" if found else f"can't be made: {err.message}"
            msg = f"{path} on the host {why}" if found else f"the folder {path} on the host {why}"
            raise SyncError(msg) from err
        self.root = path

    def enter_soon(self, path: str) -> None:
        """Send `enter` of an existing folder without waiting for the answer."""
        self.line.post("enter", path=path)
        self.root, self._entering = path, True

    def entered(self) -> None:
        """Read the pending answer of `enter_soon`."""
        if self._entering:
            self._entering = False
            answer(self.line.expect(b"J"))

    # -- as a source: all of it, from the top

    def folders(self, rules: Rules, tree: Tree, *, follow: bool = False) -> Iterator[tuple[str, list[Entry]]]:
        """Yield each folder that goes and its entries that go; the rest is noted in `tree`."""
        self.line.send(b"T", json.dumps({**rules.pruning(), "follow": follow}).encode())
        self.entered()
        due = {""}
        seen = 0
        while True:
            kind, body = self.line.receive()
            if kind == ord("Z"):
                return
            if kind != ord("L"):
                words = f"a frame of kind {kind} in a listing"
                raise bad(words)
            path, why, _, entries = _listing(body)
            if path not in due:
                continue  # left out here, or unknown
            due.remove(path)
            seen += len(entries)
            if seen > MOST_ENTRIES:
                msg = f"the host lists more than {MOST_ENTRIES} files; sync a smaller folder"
                raise SyncError(msg)
            if why:
                tree.failed.append((path, why))
                continue
            going = kept(path, entries, rules, tree, self.mask)
            start = f"{path}/" if path else ""
            due.update(start + entry.name for entry in going if entry.kind == wire.FOLDER)
            yield path, going

    # -- as a target: folder by folder, requested ahead

    def ask(self, path: str) -> None:
        """Request one folder's listing, which `take` returns."""
        self._asked.append(path)
        self.line.hold(b"L", encode(path))

    def take(self) -> tuple[str, list[Entry], str]:
        """Return the listing that was requested first: path, entries, and why it could not be read.

        A folder that is not there has no entries and no reason.
        """
        self.entered()
        self.line.flush()
        path = self._asked.popleft()
        found, why, code, entries = _listing(self.line.expect(b"L"))
        if found != path:
            words = "the listing of another folder"
            raise bad(words)
        if code in (2, 20):  # not there, or not a folder
            return path, [], ""
        return path, entries, why

    def item(self, path: str, *, follow: bool) -> Entry | None:
        """Return the entry at an absolute path; None if there is none."""
        attrs = self.attrs(path, follow=follow)
        return None if attrs is None else entry_at(path.rpartition("/")[2], attrs, self.mask)

    def reader(self, line: Callable[[HostSide], FileChannel], codec: int, *, follow: bool) -> HostReader:  # noqa: ARG002
        """Open a reader of files on a channel from `line`, for one worker of the stream engine."""
        return HostReader(line(self), self.alias, codec)

    def writer(self, line: Callable[[HostSide], FileChannel], codec: int) -> HostWriter:
        """Open a writer of files on a channel from `line`, for one worker of the stream engine."""
        return HostWriter(line(self), codec)

    # -- operations once per sync

    def hashes(self, paths: Sequence[str]) -> list[str | None]:
        """Return the digest of each whole file, which `hashes_begin` requested."""
        self.entered()
        found = answer(self.line.expect(b"J")).get("hashes")
        if not isinstance(found, list) or len(found) != len(paths):
            words = "other hashes than asked for"
            raise bad(words)
        return [one if isinstance(one, str) else None for one in found]

    def hashes_begin(self, paths: Sequence[str]) -> None:
        """Request the digests of whole files."""
        self.line.post("hashes", paths=[self.alias.get(path, path) for path in paths])

    def make_folders(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make folders, parents first; return the failures."""
        return self._jobs("folders", [i.path for i in items], [[i.path] for i in items])

    def make_links(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Make links; return the failures."""
        return self._jobs("links", [i.path for i in items], [[i.path, i.goal] for i in items])

    def set_modes(self, items: Sequence[Item]) -> list[tuple[str, str]]:
        """Set permissions, and times of files; return the failures."""
        jobs = [[i.path, i.mode, i.mtime_ns if i.kind == "file" else None] for i in items]
        return self._jobs("modes", [i.path for i in items], jobs)

    def delete(self, paths: Sequence[str], kinds: dict[str, str]) -> list[tuple[str, str]]:
        """Delete in this order; return the failures."""
        return self._jobs("delete", paths, [[path, kinds.get(path) == "dir"] for path in paths])

    def _jobs(self, op: str, paths: Sequence[str], jobs: list[Any]) -> list[tuple[str, str]]:
        self.entered()
        self.line.post(op, jobs=jobs)
        found = answer(self.line.expect(b"J"))
        failed, unkept = found.get("failed"), found.get("unkept")
        for why, count in unkept.items() if isinstance(unkept, dict) else ():
            count_unkept(self.unkept, why, count)
        try:
            return [(paths[int(index)], str(why)[:200]) for index, why in failed or ()]
        except (TypeError, ValueError, IndexError) as err:
            words = "failures of other things than asked for"
            raise bad(words) from err


def _listing(body: memoryview) -> tuple[str, str, int, list[Entry]]:
    """Parse a listing frame: path, reason, errno and entries."""
    data = bytes(body)
    try:
        named, code, count = struct.unpack_from(">HHH", data)
        middle, start = 6 + named, 6 + named + count
        entries = list(map(decoded, wire.unpack_entries(data[start:])))
    except (ValueError, struct.error) as err:
        words = "a listing that can't be read"
        raise bad(words) from err
    path = data[6:middle].decode("utf-8", "surrogateescape")
    why = data[middle:start].decode("utf-8", "replace")
    return path, why, code, entries
