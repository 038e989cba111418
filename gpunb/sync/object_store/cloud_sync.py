"""`cloud_sync`: one sync between an object store's URL and the host.

Decides which files are sent and how, in both directions;
`gpunb.sync.object_store.store_transfer` decides whether the host sends them.
"""

from __future__ import annotations

import functools
import hashlib
import os
import posixpath
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gpunb.errors import BadInput, NotEnoughSpace, SyncError
from gpunb.hints import typed
from gpunb.progress import SILENT
from gpunb.sync.base_flow import is_folder
from gpunb.sync.object_store.drivers import open_store
from gpunb.sync.object_store.sides import NEVER, HostBeside, StoreSide
from gpunb.sync.object_store.store_transfer import Parts, Work
from gpunb.sync.object_store.stores import Signed, Stored
from gpunb.sync.planning import locations
from gpunb.sync.planning.notes import credentials_held
from gpunb.sync.planning.rules import PART, Rules
from gpunb.sync.report import CloudReport
from gpunb.sync.sftp.host_tree import Remote
from gpunb.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gpunb.progress import Progress
    from gpunb.ssh.connection import Connection
    from gpunb.sync.object_store.via_here import Relay
    from gpunb.sync.object_store.via_host import HostMover, Job
    from gpunb.sync.planning.side import Entry

__all__ = ["cloud_sync"]


def cloud_sync(
    conn: Connection,
    url: str,
    path: str,
    *,
    direction: Literal["up", "down"],
    via: Literal["auto", "host", "here"] = "auto",
    allow_credentials: bool = False,
    dry_run: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    checksum: bool = False,
    hold: bool = False,
    options: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
) -> CloudReport:
    """Make the host's `path` hold what `url` holds ("up"), or the reverse ("down").

    A URL of one object is a file, any other a folder whose contents land in
    the target. A file that has the object's size and time is not fetched again;
    one that has the object's size and is not younger is not sent again.

    Parameters
    ----------
    via
        "host": by the host itself, or an error that says why not; "here":
        through this machine; "auto": the first where it can.
    allow_credentials
        Let the host have headers that open more than one object (a password
        in a URL, a hub's token), in its memory, where nothing can be signed.
    checksum
        Compare by MD5 where the store has one.
    hold
        On the way to the host, leave out what looks like credentials.
    options
        For the store's fsspec driver.

    Returns
    -------
    CloudReport
        With the files that could not go in `failed`.

    Raises
    ------
    BadInput
        An unknown scheme, a URL or path that is not there, a target that is refused.
    SyncError
        No permission, no credentials, or ``via="host"`` where the host can't.
    NotEnoughSpace
        The host's disk has no room; nothing was written.
    """
    if direction not in ("up", "down"):
        msg = f"direction {direction!r}: must be 'up' or 'down'"
        raise BadInput(msg)
    if via not in ("auto", "host", "here"):
        msg = f"via {via!r}: must be 'auto', 'host' or 'here'"
        raise BadInput(msg)
    began = time.monotonic()
    store = open_store(url, options)
    report = CloudReport(store.title)
    rules = Rules(None, include=include, exclude=exclude, hold=hold and direction == "up")
    with store, Remote(conn) as remote:
        kind = _Up if direction == "up" else _Down
        work = kind(conn, remote, store, path, report, progress, via=via, allow=allow_credentials)
        progress.say(f"listing {store.title}")
        work.plan(rules, checksum=checksum)
        report.warnings += [*credentials_held(report.left_out), *rules.without_effect()]
        if report.items and not dry_run:
            work.carry_out()
    report.seconds = time.monotonic() - began
    return report


class _Up(Work):
    """Sync from the object store to the host."""

    def plan(self, rules: Rules, *, checksum: bool) -> None:
        single, storeds = self.store.find()
        if not single and not storeds:
            msg = f"{self.store.title}: holds no files"
            raise BadInput(msg, hint="check the name of the bucket and the path")
        if single:
            storeds = [self._named(storeds[0])]
        else:
            self.there = locations.host_path(self.remote, self.path)
            if self.there in ("/", "/root"):
                msg = f"target {self.path!r}: a folder's contents are never put straight into {self.there}"
                raise BadInput(msg, hint="name a folder in it, for example :data")
        store = StoreSide(storeds)
        self.report.failed += store.clashes
        side = HostBeside(self.remote, self.there, store, sure=True)

        def alike(new: Entry, old: Entry) -> bool | None:
            if old.size != new.size:
                return False
            return None if checksum and new.goal else not checksum and new.mtime == old.mtime

        plan = self.compare(store, side, rules, alike, exists=is_folder(self.remote, self.there))
        self.goes([store.objects[item.path] for item in plan.items])

    def _named(self, item: Stored) -> Stored:
        """Return the single object with the name that it gets on the host."""
        there = locations.host_path(self.remote, self.path)
        attrs = self.remote.attrs(there)
        into = self.path.endswith("/") or posixpath.basename(self.path) in ("", ".", "..", "~")
        if into or (attrs is not None and stat.S_ISDIR(attrs.mode or 0)):
            self.there, name = there, item.path
        else:
            self.there, name = posixpath.split(there)
        if self.there == "/":
            msg = f"target {self.path!r}: files are not put into / of the host"
            raise BadInput(msg, hint="name a folder, or :NAME for one in the host's home")
        self.single = name
        return Stored(name, item.size, item.tag, item.mtime, item.key)

    def sign(self, item: Stored) -> Signed:
        return self.store.sign_read(item)

    def carry_out(self) -> None:
        existing = self.there
        while self.remote.attrs(existing) is None and existing != "/":
            existing = existing.rpartition("/")[0] or "/"
        free, needed = self.remote.free_bytes(existing), self.report.total_bytes
        if free is not None and needed > free:
            text = f"the host ({existing}) has {bytes_text(free)} free, and {bytes_text(needed)} would come"
            raise NotEnoughSpace(text, hint="free some room, or leave files out with --exclude")
        self.remote.make_folders(self.there)
        with locations.lock(self.conn.endpoint, locations.Endpoints(Path(os.curdir), self.there), "up"):
            super().carry_out()

    def part(self, item: Stored) -> str:
        """The partial file of exactly this version of the object."""
        mark = f"{item.path}\0{item.size}\0{item.tag}\0{item.mtime}"
        name = PART + hashlib.blake2b(mark.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        return f"{posixpath.dirname(self.on_host(item))}/{name}"

    def by_host(self, mover: HostMover) -> None:
        def jobs() -> Iterator[Job]:
            for item in self.report.items:
                what = {"op": "get", "path": self.on_host(item), "part": self.part(item), "size": item.size}
                yield self.job(item, {**what, "tag": item.tag, "mtime": item.mtime})

        mover.run(jobs())

    def through_here(self, relay: Relay) -> None:
        jobs = [(item, self.on_host(item), self.part(item)) for item in self.report.items]
        relay.run(relay.fetch, jobs, self.done, self.failed)


class _Down(Work):
    """Sync from the host to the object store."""

    up = False

    def plan(self, rules: Rules, *, checksum: bool) -> None:
        there = locations.host_path(self.remote, self.path)
        attrs = self.remote.attrs(there)
        if attrs is None:
            msg = f"source :{self.path} is not found on the host ({there})"
            raise BadInput(msg, hint=typed("exec ls") + " shows what is")
        self.store.check_writable()
        if stat.S_ISDIR(attrs.mode or 0):
            self._check_folder(there)
            self.there = there
        else:
            self.there, self.single = posixpath.split(there)
        store = StoreSide(self._known())
        side = HostBeside(self.remote, self.there, store, sure=checksum)

        def alike(new: Entry, old: Entry) -> bool | None:
            """Whether it is the store's: of its size and not younger, and of its content where that is known.

            A file may have been written anew and have an older time all the same:
            kept by a copy, or of a host whose clock is behind.
            """
            if old.size != new.size or (not checksum and (old.mtime == NEVER or new.mtime > old.mtime)):
                return False
            return None if old.goal else not checksum

        plan = self.compare(side, store, rules, alike, exists=True)
        self.goes(
            [Stored(item.path, item.size, "", item.mtime, self._key_for(item.path)) for item in plan.items]
        )

    def _check_folder(self, there: str) -> None:
        if there == "/":
            msg = f"source :{self.path}: the whole of a host is not sent"
            raise BadInput(msg, hint="name the folder with your results")
        if self.store.key("x") == self.store.key("y"):
            msg = f"{self.store.title}: takes one file, and :{self.path} is a folder"
            raise BadInput(msg, hint="name one file, or a store: s3://bucket/path")

    def _key_for(self, path: str) -> str:
        """The key of a file: below the URL; for a single file the URL itself, unless it is a folder's."""
        folder = not self.single or self.store.url.endswith("/") or "/" not in self.store.root
        return self.store.key(path if folder else "")

    def _known(self) -> list[Stored]:
        """List the objects that exist already; none if the object store does not list."""
        try:
            storeds = self.store.find()[1]
        except (BadInput, SyncError):  # not there, or writing is all that is allowed
            return []
        if self.single:
            storeds = [
                replace(item, path=self.single) for item in storeds if item.key == self._key_for(self.single)
            ]
        return [item for item in storeds if item.key == self._key_for(item.path)]

    def sign(self, item: Stored) -> Signed:
        return self.store.sign_write(item.key)

    def done(self, item: Stored) -> None:
        """Count the file once the object store confirms its size; the host's word is not enough."""
        if not self.store.signs_reading or item.key.startswith(("http://", "https://")):
            super().done(item)
            return
        now = self.store.stored(item.key)
        if now is None or now.size != item.size:
            size = "nothing" if now is None else bytes_text(now.size)
            self.failed(item, f"the store has {size} of it instead of {bytes_text(item.size)}")
            return
        super().done(item)

    def by_host(self, mover: HostMover) -> None:
        uploads: list[Parts] = []

        def jobs() -> Iterator[Job]:
            for item in self.report.items:
                try:
                    parts = self.store.multipart(item.key, item.size)
                except Exception as err:  # noqa: BLE001 - drivers raise what their libraries do
                    self.failed(item, str(err).partition("\n")[0][:300])
                    continue
                if parts is None:
                    yield self._whole(item)
                    continue
                upload = Parts(self, item, parts, functools.partial(self._put, item))
                uploads.append(upload)
                yield from upload.jobs()

        try:
            mover.run(jobs())
        finally:
            for upload in uploads:
                upload.settle()

    def _put(self, item: Stored, start: int, end: int) -> dict[str, Any]:
        what: dict[str, Any] = {"op": "put", "path": self.on_host(item), "size": item.size}
        return {**what, "start": start, "end": end}

    def _whole(self, item: Stored) -> Job:
        return self.job(item, self._put(item, 0, item.size))

    def through_here(self, relay: Relay) -> None:
        jobs = [(item, self.on_host(item), item.key) for item in self.report.items]
        relay.run(relay.send, jobs, self.done, self.failed)
