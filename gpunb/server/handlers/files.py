"""Routes of a host's files: list, make folders, rename, delete, download as an attachment, upload whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tornado import web
from tornado.iostream import StreamClosedError

from gpunb.errors import BadInput
from gpunb.hints import typed
from gpunb.server import schemas
from gpunb.server.handlers.base import Handler, authorized, guarded
from gpunb.server.telemetry import reachable
from gpunb.server.work import exactly
from gpunb.text import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gpunb.presentation import api
    from gpunb.server.hub import Hub
    from gpunb.sessions.integrations.filesystem import GpuFileSystem

__all__ = ["ROUTES"]

ID = r"([A-Za-z0-9._-]{1,64})"
PIECE = 1 << 20
ENTRIES = 10_000
UPLOAD_MAX = 1 << 40  # bytes; the disk sets the limit
PATH_MAX = 4096
# bytes of a refused upload that are read and thrown away, so that the client sees the refusal
DRAINED = 64 << 20
DRAINED_OF_ANYBODY = 1 << 20


class Files(Handler):
    """``GET``, ``POST``, ``PATCH``, ``DELETE sessions/{id}/files``: folders and names on a host."""

    @guarded
    @authorized
    async def get(self, ident: str) -> None:
        """List a folder."""
        await self.answer(self.hub.hosts, _list, self.hub, ident, _path(self.query("path")))

    @guarded
    @authorized
    async def post(self, ident: str) -> None:
        """Make a folder."""
        self.body(schemas.Empty)
        await self.answer(self.hub.hosts, _make, self.hub, ident, _own(self.query("path")))

    @guarded
    @authorized
    async def patch(self, ident: str) -> None:
        """Rename a file or folder."""
        to = _own(self.body(schemas.Rename).to)
        await self.answer(self.hub.hosts, _rename, self.hub, ident, _own(self.query("path")), to)

    @guarded
    @authorized
    async def delete(self, ident: str) -> None:
        """Delete a file or folder."""
        await self.answer(self.hub.hosts, _delete, self.hub, ident, _own(self.query("path")))


@web.stream_request_body
class File(Handler):
    """``GET``, ``PUT sessions/{id}/file``: download and upload of one file."""

    _target: Any = None
    _name = ""
    _size = 0
    _refused: Exception | None = None

    async def prepare(self, **kwargs: Any) -> None:
        """Check user and target before any of the body is kept.

        A refusal of a short body is sent once that has come: a client whose connection is closed
        while it sends does not read the answer.
        """
        try:
            await super().prepare(**kwargs)
            if self.request.method == "PUT" and not self._finished:
                await self._begin()
        except Exception as err:
            length = self.request.headers.get("Content-Length", "")
            most = DRAINED if self.current_user else DRAINED_OF_ANYBODY
            if self.request.method != "PUT" or not length.isdigit() or int(length) > most:
                raise
            self._refused = err

    async def _begin(self) -> None:
        if not self.current_user:
            raise web.HTTPError(403)
        allowed = self.authorizer.is_authorized(self, self.current_user, "write", self.auth_resource)
        if not await _truth(allowed):
            raise web.HTTPError(403)
        connection: Any = self.request.connection
        connection.set_max_body_size(UPLOAD_MAX)
        path = _path(self.query("path"), empty=False)
        self._target = await self.hub.hosts.run(_create, self.hub, self.path_args[0], path)
        self._name = path

    async def data_received(self, chunk: bytes) -> None:
        """Write a chunk of an upload to the host; the next is read when this one is on its way."""
        if self._target is not None:
            self._size += len(chunk)
            await self.hub.hosts.run(self._target.write, chunk)

    @guarded
    @authorized
    async def get(self, ident: str) -> None:
        """Download a file."""
        file, size, name = await self.hub.hosts.run(
            _open, self.hub, ident, _path(self.query("path"), empty=False)
        )
        try:
            self.set_header("Content-Type", "application/octet-stream")
            self.set_header("Content-Length", str(size))
            self.set_header("Content-Security-Policy", "sandbox; default-src 'none'")
            self.set_attachment_header(name)
            left = size
            while left > 0:
                piece = await self.hub.hosts.run(file.read, min(PIECE, left))
                if not piece:
                    # shorter than announced: the browser must not take it for complete
                    connection: Any = self.request.connection
                    connection.stream.close()
                    return
                left -= len(piece)
                self.write(piece)
                await self.flush()
        except StreamClosedError:
            return
        finally:
            await self.hub.hosts.run(file.close)
        self.finish(set_content_type="application/octet-stream")

    @guarded
    @authorized
    async def put(self, ident: str) -> None:  # noqa: ARG002 - the target was opened in prepare
        """Finish an upload: rename the temporary file to its final name."""
        if self._refused is not None:
            raise self._refused
        target, self._target = self._target, None
        await self.hub.hosts.run(target.close)
        self.send({"path": self._name, "size": self._size})

    def on_connection_close(self) -> None:
        """Abort an upload whose browser has gone; the file that was there before stays."""
        super().on_connection_close()
        self._drop()

    def on_finish(self) -> None:
        """Abort an upload that failed; the file that was there before stays."""
        super().on_finish()
        self._drop()

    def _drop(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            self.hub.hosts.submit(lambda: target.__exit__(InterruptedError, None, None))


async def _truth(found: bool | Awaitable[bool]) -> bool:  # noqa: FBT001
    return found if isinstance(found, bool) else await found


def _path(given: str | None, *, empty: bool = True) -> str:
    """Return the requested path on a host, checked."""
    path = given or ""
    if "\0" in path or len(path) > PATH_MAX or (not path.strip("/") and not empty):
        msg = f"path: {path[:80]!r}: must name a file on the host, in up to {PATH_MAX} characters without NUL"
        raise BadInput(msg, bill="nothing was changed")
    return path


def _own(given: str | None) -> str:
    """Return a path that the user may change: not the home folder itself, gpunb's files or SSH's."""
    path = _path(given, empty=False)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not parts or parts[0] == "~" or {".gpunb", ".ssh"} & {*parts}:
        msg = f"path: {path[:80]!r}: can't be changed from here: it is the home, leads out, or is gpunb's own"
        raise BadInput(msg, bill="nothing was changed", hint=typed("ssh") + " opens a shell there")
    return path


def _make(hub: Hub, ident: str, path: str) -> api.Place:
    _files().mkdir(_free(hub, ident, path))
    return {"path": path}


def _rename(hub: Hub, ident: str, path: str, to: str) -> api.Place:
    place, goal = _place(hub, ident, path), _free(hub, ident, to)
    _files().mv(place, goal, recursive=True)
    return {"path": to}


def _delete(hub: Hub, ident: str, path: str) -> api.Place:
    _files().rm(_place(hub, ident, path), recursive=True)
    return {"path": path}


def _free(hub: Hub, ident: str, path: str) -> str:
    place = _place(hub, ident, path)
    if _files().lexists(place):
        msg = f"path: {path[:80]!r}: is there already"
        raise BadInput(msg, bill="nothing was changed", hint="choose another name")
    return place


def _files() -> GpuFileSystem:
    from gpunb.sessions.integrations.filesystem import GpuFileSystem

    return GpuFileSystem()


def _place(hub: Hub, ident: str, path: str) -> str:
    session = exactly(hub.ledger(), ident)
    reachable(session)
    return f"{session.id}/{path}"


def _list(hub: Hub, ident: str, path: str) -> api.Files:
    place = _place(hub, ident, path)
    rows = _files().ls(place, detail=True)
    base = path.rstrip("/")
    entries: list[api.FileEntry] = []
    for row in rows[:ENTRIES]:
        name = str(row["name"]).rstrip("/").rpartition("/")[2]
        whole = f"{base}/{name}" if base or path.startswith("/") else name
        kind = row["type"] if row["type"] in {"file", "directory", "link"} else "other"
        entries.append(
            {
                "name": clean(name),
                "path": whole,
                "type": kind,
                "size": int(row["size"] or 0),
                "mtime": float(row["mtime"] or 0),
            }
        )
    return {"path": path, "entries": entries, "truncated": len(rows) > ENTRIES}


def _open(hub: Hub, ident: str, path: str) -> tuple[Any, int, str]:
    file: Any = _files().open(_place(hub, ident, path), "rb")
    return file, int(file.size or 0), clean(path.rstrip("/").rpartition("/")[2]) or "file"


def _create(hub: Hub, ident: str, path: str) -> Any:
    return _files().open(_place(hub, ident, path), "wb")


ROUTES: list[tuple[str, type[Handler]]] = [
    (rf"/sessions/{ID}/files", Files),
    (rf"/sessions/{ID}/file", File),
]
